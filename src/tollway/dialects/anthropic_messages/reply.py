"""Messages as answers, whole and streamed. https://docs.claude.com/en/docs/build-with-claude/streaming (2026-11-22).

What another maker signed is labelled where a client keeps it (`tollway.dialects.label_sealed`), so that it is never put to
Anthropic as its own. The signature of a call (Google's) has no place in this dialect: it travels in a block of empty
thinking before the call, whose label names the call.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
    Opaque,
    OpaquePiece,
    Part,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Started,
    Text,
    TextPiece,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    UsageSeen,
    fold,
)
from tollway.dialects import HELD_BYTES_MAX, About, ServerSentDecoder, label_sealed, read_sealed
from tollway.dialects.anthropic_messages.decode import Cited, citation
from tollway.dialects.anthropic_messages.encode import NAME, clean_id
from tollway.dialects.anthropic_messages.errors import encode_stream_error, error_in_stream
from tollway.dialects.anthropic_messages.usage import merge_usage, usage_from_fields, usage_to_fields
from tollway.errors import PublicError, UpstreamBroken

FINISH_FROM_WIRE = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "compaction": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}
FINISH_TO_WIRE = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}


class Delta(Struct, gc=False):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class MessageStart(Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: Raw = Raw()


class StreamEvent(Struct, gc=False):
    type: str
    index: int = 0
    delta: Delta | None = None
    content_block: Raw = Raw()
    message: MessageStart | None = None
    usage: Raw = Raw()
    error: Raw = Raw()


class _Block(Struct, gc=False):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw()
    citations: list[Raw] | None = None


class _Reply(Struct):
    id: str = ""
    model: str = ""
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Raw = Raw()


decode_event = msgspec.json.Decoder(StreamEvent).decode
decode_any = msgspec.json.Decoder().decode
_decode_block = msgspec.json.Decoder(_Block).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_cited = msgspec.json.Decoder(Cited).decode
_encode = msgspec.json.Encoder().encode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


# --- decoding ------------------------------------------------------------------------------------------------------


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, or the error that stands where the reply should."""
    try:
        reply = _decode_reply(body)
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent a reply that is not JSON of Anthropic's shape.") from error
    if reply.content is None:
        value = decode_any(body)
        if value.get("error"):
            raise error_in_stream(value)
        raise UpstreamBroken("The provider sent a reply without content.")
    events: list[Event] = [Started(reply.id, reply.model)]
    reader = _BlockReader()
    for index, raw in enumerate(reply.content):
        reader.start(index, raw, events)
        reader.stop(index, events)
    seen: dict[str, Any] = {}
    if reply.usage and merge_usage(seen, reply.usage):
        events.append(UsageSeen(usage_from_fields(seen)))
    if reply.stop_reason:
        events.append(_finished(reply.stop_reason, reply.stop_sequence))
    return events


def _finished(reason: str, sequence: str | None) -> Finished:
    return Finished(FINISH_FROM_WIRE.get(reason, reason), sequence)


class EventDecoder(ServerSentDecoder):
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = _BlockReader()
        self._usage: dict[str, Any] = {}

    def _read(self, payload: bytes, _: bytes, events: list[Event]) -> None:
        event = read_event(payload)
        kind = event.type
        if kind == "content_block_delta":
            if event.delta is not None:
                self._blocks.delta(event.index, event.delta, payload, events)
        elif kind == "content_block_start":
            self._blocks.start(event.index, event.content_block, events)
        elif kind == "content_block_stop":
            self._blocks.stop(event.index, events)
        elif kind == "message_start":
            if event.message is not None:
                events.append(Started(event.message.id, event.message.model))
                self._see_usage(event.message.usage, events)
        elif kind == "message_delta":
            self._see_usage(event.usage, events)
            if event.delta is not None and event.delta.stop_reason:
                events.append(_finished(event.delta.stop_reason, event.delta.stop_sequence))
        elif kind == "message_stop":
            self.complete = True

    def _see_usage(self, raw: Raw, events: list[Event]) -> None:
        if raw and merge_usage(self._usage, raw):
            events.append(UsageSeen(usage_from_fields(self._usage)))


def read_event(payload: bytes) -> StreamEvent:
    """One event. Kinds that are not known (more may come, says the API's page) are read too; an error is raised."""
    try:
        event = decode_event(payload)
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent a stream event that is not JSON of Anthropic's shape.") from error
    if event.type == "error" or event.error:
        raise error_in_stream(decode_any(payload))
    return event


class _BlockReader:
    """Content blocks as pieces; counts thoughts and tool calls."""

    def __init__(self) -> None:
        self._thoughts: dict[int, int] = {}
        self._calls: dict[int, int] = {}
        self._inputs: dict[int, bytes] = {}  # of calls whose arguments have not come in pieces
        self._signatures: dict[str, str] = {}  # of calls to come, by their ids
        self._chars = 0  # of all texts
        self._text_began = 0
        self._cited: list[Raw] = []  # by the text that is open; its end is known when it stops
        self._cited_bytes = 0

    def start(self, index: int, raw: Raw, events: list[Event]) -> None:
        try:
            block = _decode_block(raw)
        except UNREADABLE as error:
            raise UpstreamBroken("The provider sent a content block of a shape that is not Anthropic's.") from error
        kind = block.type
        if kind == "text":
            self._text_began = self._chars
            if block.text:
                self._chars += len(block.text)
                events.append(TextPiece(block.text))
            for cited in block.citations or ():
                self._cite(cited)
        elif kind in ("thinking", "redacted_thinking"):
            number = self._thoughts[index] = len(self._thoughts)
            if block.data:
                events.append(ReasoningPiece(redacted=block.data, block=number))
            if block.thinking:
                events.append(ReasoningPiece(block.thinking, block=number))
            if block.signature:
                self._sign(block.signature, number, events)
        elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            number = self._calls[index] = len(self._calls)
            signature = self._signatures.pop(clean_id(block.id), "") if self._signatures else ""
            events.append(ToolCallStarted(number, block.id, block.name, kind != "tool_use", signature))
            self._inputs[index] = bytes(block.input) or b"{}"
        else:
            events.append(OpaquePiece(NAME, Raw(bytes(raw))))

    def delta(self, index: int, delta: Delta, payload: bytes, events: list[Event]) -> None:
        kind = delta.type
        if kind == "text_delta":
            self._chars += len(delta.text)
            events.append(TextPiece(delta.text))
        elif kind == "input_json_delta":
            if delta.partial_json and index in self._calls:
                self._inputs.pop(index, None)
                events.append(ToolArgumentsPiece(self._calls[index], delta.partial_json))
        elif kind == "thinking_delta":
            events.append(ReasoningPiece(delta.thinking, block=self._thoughts.get(index, 0)))
        elif kind == "signature_delta":
            self._sign(delta.signature, self._thoughts.get(index, 0), events)
        else:
            whole = msgspec.json.decode(payload, type=dict[str, Raw])["delta"]
            cited = msgspec.json.decode(whole, type=dict[str, Raw]).get("citation")
            if kind == "citations_delta" and cited is not None:
                self._cite(cited)
            else:
                events.append(OpaquePiece(NAME, Raw(bytes(whole))))

    def stop(self, index: int, events: list[Event]) -> None:
        """A call whose arguments did not come in pieces has them in its block: at least {}, which clients must be able
        to read.
        """
        given = self._inputs.pop(index, None)
        if given is not None:
            events.append(ToolArgumentsPiece(self._calls[index], given.decode()))
        if self._cited:
            for raw in self._cited:
                try:
                    told = _decode_cited(raw)
                except UNREADABLE:
                    told = Cited()  # kept for the way back; nobody else can tell what it cites
                events.append(CitationPiece(citation(raw, told, self._text_began, self._chars)))
            self._cited = []
            self._cited_bytes = 0

    def _cite(self, raw: Raw) -> None:
        self._cited.append(Raw(bytes(raw)))
        self._cited_bytes += len(bytes(raw))
        if self._cited_bytes > HELD_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent more than {HELD_BYTES_MAX} bytes of citations for one text.")

    def _sign(self, signature: str, number: int, events: list[Event]) -> None:
        maker, call_id, blob = read_sealed(signature) if ":" in signature else ("", "", signature)
        if call_id:
            self._signatures[call_id] = blob
        elif blob:
            events.append(ReasoningPiece(signature=blob, block=number, maker=maker or NAME))


# --- encoding ------------------------------------------------------------------------------------------------------


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode({"type": name, **fields}))


class EventEncoder:
    """Events as a stream of messages: blocks one after the other, each with its start and stop.

    Some servers send the arguments of several calls mixed. A block takes nothing after its stop, so what comes while a
    call is not whole waits until that call's arguments are a JSON object, or for the end.
    """

    def __init__(self, about: About) -> None:
        self._about = about
        self._id = about.id
        self._begun = False
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._refused = False
        self._blocks = 0  # so many were begun; the last may be open
        self._open: tuple[str, int] | None = None  # its kind, and the number of its thought or call
        self._arguments: list[str] = []  # of the open call
        self._waiting: list[Event] = []  # until the open call is whole
        self._waiting_bytes = 0
        self._delta_head = self._text_head = b""

    def feed(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if type(event) is TextPiece and self._open == _TEXT_OPEN and event.choice == 0:
                if event.text:
                    out.append(self._text_head + _encode(event.text) + b"}}\n\n")
            elif isinstance(event, UsageSeen):
                self._usage = event.usage
            elif isinstance(event, Started):
                self._id = event.id or self._id
            elif isinstance(event, Finished):
                if event.choice == 0:
                    self._finished = event
            elif event.choice == 0:  # the dialect has one choice
                self._take(event, out)
        return b"".join(out)

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        out: list[bytes] = []
        self._begin(out)
        waiting, self._waiting = self._waiting, []
        for event in _each_call_together(waiting):
            self._write(event, out)
        self._close(out)
        counted = usage if usage is not None else self._usage
        finished = self._finished or Finished("stop")
        delta = {"stop_reason": _stop_reason(finished, self._refused), "stop_sequence": finished.stop_sequence}
        out.append(_event("message_delta", {"delta": delta, "usage": usage_to_fields(counted or Usage(), cost)}))
        out.append(_event("message_stop", {}))
        return b"".join(out)

    def fail(self, error: PublicError) -> bytes:
        return encode_stream_error(error)

    def _take(self, event: Event, out: list[bytes]) -> None:
        """Writes an event, or lets it wait for the end of the open call."""
        opened = self._open
        if opened is None or opened[0] != "call":
            self._write(event, out)
        elif isinstance(event, ToolArgumentsPiece) and event.index == opened[1]:
            self._write(event, out)
            if self._waiting and self._is_whole():
                waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
                for waited in waiting:
                    self._take(waited, out)
        elif not self._waiting and self._is_whole():
            self._write(event, out)
        elif not isinstance(event, TextPiece) or event.text:
            self._waiting.append(event)
            self._waiting_bytes += len(getattr(event, "text", "")) + len(getattr(event, "raw", b"")) + 64
            if self._waiting_bytes > HELD_BYTES_MAX:
                raise UpstreamBroken(
                    f"The provider sent more than {HELD_BYTES_MAX} bytes before the arguments of a tool call were whole."
                )

    def _is_whole(self) -> bool:
        """The open call's arguments are a JSON object, so nothing can follow."""
        if not self._arguments or not self._arguments[-1].rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self._arguments), type=dict[str, Raw])
        except (msgspec.DecodeError, UnicodeEncodeError):
            return False
        return True

    def _write(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, (TextPiece, RefusalPiece)):
            if event.text:
                self._refused = self._refused or isinstance(event, RefusalPiece)
                if self._open != _TEXT_OPEN:
                    self._start("text", 0, {"type": "text", "text": ""}, out)
                out.append(self._text_head + _encode(event.text) + b"}}\n\n")
        elif isinstance(event, ToolArgumentsPiece):
            if event.text and self._open == ("call", event.index):
                self._arguments.append(event.text)
                delta = b'{"type":"input_json_delta","partial_json":' + _encode(event.text) + b"}}\n\n"
                out.append(self._delta_head + delta)
        elif isinstance(event, ToolCallStarted):
            self._write_call(event, out)
        elif isinstance(event, ReasoningPiece):
            self._write_thought(event, out)
        elif isinstance(event, CitationPiece):
            self._write_citation(event.citation, out)
        elif isinstance(event, OpaquePiece) and event.dialect == NAME:
            self._write_opaque(event.raw, out)

    def _write_call(self, event: ToolCallStarted, out: list[bytes]) -> None:
        if event.signature:
            self._start("signature", 0, {"type": "thinking", "thinking": "", "signature": ""}, out)
            self._write_signature(_call_signature(event.id, event.signature), out)
        kind = "server_tool_use" if event.server_side else "tool_use"
        self._start("call", event.index, {"type": kind, "id": event.id, "name": event.name, "input": {}}, out)
        self._arguments = []

    def _write_thought(self, event: ReasoningPiece, out: list[bytes]) -> None:
        if event.redacted:
            self._start("redacted", event.block, {"type": "redacted_thinking", "data": event.redacted}, out)
            return
        if self._open != ("thought", event.block):
            self._start("thought", event.block, {"type": "thinking", "thinking": "", "signature": ""}, out)
        if event.text:
            out.append(self._delta_head + b'{"type":"thinking_delta","thinking":' + _encode(event.text) + b"}}\n\n")
        if event.signature:
            self._write_signature(_own_signature(event.signature, event.maker), out)

    def _write_signature(self, signature: str, out: list[bytes]) -> None:
        out.append(self._delta_head + b'{"type":"signature_delta","signature":' + _encode(signature) + b"}}\n\n")

    def _write_citation(self, cited: Citation, out: list[bytes]) -> None:
        fields = _citation_fields(cited)
        if fields is not None:
            if self._open != _TEXT_OPEN:
                self._start("text", 0, {"type": "text", "text": ""}, out)
            out.append(self._delta_head + b'{"type":"citations_delta","citation":' + _encode(fields) + b"}}\n\n")

    def _write_opaque(self, raw: Raw, out: list[bytes]) -> None:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
        if str(fields.get("type", "")).endswith("_delta"):
            if self._open is not None:
                out.append(self._delta_head + bytes(raw) + b"}\n\n")
        else:
            self._start("opaque", 0, fields, out)

    def _begin(self, out: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            message: dict[str, Any] = {
                "id": self._id,
                "type": "message",
                "role": "assistant",
                "model": self._about.model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": usage_to_fields(self._usage or Usage()),
            }
            out.append(_event("message_start", {"message": message}))

    def _start(self, kind: str, number: int, block: dict[str, Any], out: list[bytes]) -> None:
        self._begin(out)
        self._close(out)
        out.append(_event("content_block_start", {"index": self._blocks, "content_block": block}))
        self._delta_head = _delta_head(self._blocks)
        self._text_head = self._delta_head + b'{"type":"text_delta","text":'
        self._open = (kind, number)
        self._blocks += 1

    def _close(self, out: list[bytes]) -> None:
        if self._open is not None:
            out.append(_event("content_block_stop", {"index": self._blocks - 1}))
            self._open = None


_TEXT_OPEN = ("text", 0)


def _each_call_together(events: list[Event]) -> list[Event]:
    """The arguments of each call directly after its start: nothing more will come, so the order is ours."""
    pieces: dict[int, list[Event]] = {}
    for event in events:
        if isinstance(event, ToolCallStarted):
            pieces[event.index] = []
        elif isinstance(event, ToolArgumentsPiece) and event.index in pieces:
            pieces[event.index].append(event)
    together: list[Event] = []
    for event in events:
        if isinstance(event, ToolCallStarted):
            together += [event, *pieces[event.index]]
        elif not isinstance(event, ToolArgumentsPiece):
            together.append(event)
    return together


def _own_signature(signature: str, maker: str) -> str:
    return signature if maker in ("", NAME) or not signature else label_sealed(maker, "", signature)


def _call_signature(call_id: str, signature: str) -> str:
    return label_sealed("gemini", clean_id(call_id), signature)


def _citation_fields(cited: Citation) -> Any:
    """What a client reads of it; None for what this dialect cannot tell."""
    if cited.dialect == NAME and cited.raw is not None:
        return cited.raw
    if not cited.url:
        return None
    return {
        "type": "web_search_result_location",
        "url": cited.url,
        "title": cited.title,
        "cited_text": cited.quote,
        "encrypted_index": "",
    }


def _delta_head(block: int) -> bytes:
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % block


def _stop_reason(finished: Finished, refused: bool) -> str:
    if finished.reason == "stop" and finished.stop_sequence is not None:
        return "stop_sequence"
    if finished.reason == "stop" and refused:
        return "refusal"
    return FINISH_TO_WIRE.get(finished.reason, finished.reason)


def encode_reply(events: list[Event], about: About, usage: Usage | None = None, cost: Cost | None = None) -> bytes:
    """The whole reply: the fold of the events. `usage` None: what the events told of it. The dialect has one choice."""
    reply = fold(events)
    counted = usage if usage is not None else reply.usage
    choice = reply.choices[0] if reply.choices else None
    finished = Finished(choice.finish or "stop", choice.stop_sequence) if choice is not None else Finished("stop")
    parts = choice.parts if choice is not None else []
    refused = any(isinstance(part, Refusal) for part in parts)
    return _encode(
        {
            "id": reply.id or about.id,
            "type": "message",
            "role": "assistant",
            "model": about.model,
            "content": [block for part in parts for block in _blocks_of(part)],
            "stop_reason": _stop_reason(finished, refused),
            "stop_sequence": finished.stop_sequence,
            "usage": usage_to_fields(counted or Usage(), cost),
        }
    )


def _blocks_of(part: Part) -> list[Any]:
    if isinstance(part, Text) and part.citations:
        cited = [fields for fields in map(_citation_fields, part.citations) if fields is not None]
        return [{"type": "text", "text": part.text, "citations": cited}]
    if isinstance(part, (Text, Refusal)):
        return [{"type": "text", "text": part.text}]
    if isinstance(part, Reasoning):
        if part.redacted:
            return [{"type": "redacted_thinking", "data": part.redacted}]
        return [_thinking(part.text, _own_signature(part.signature, part.maker))]
    if isinstance(part, ToolCall):
        kind = "server_tool_use" if part.server_side else "tool_use"
        call = {"type": kind, "id": part.id, "name": part.name, "input": _input(part.arguments)}
        return [_thinking("", _call_signature(part.id, part.signature)), call] if part.signature else [call]
    if isinstance(part, Opaque) and part.dialect == NAME:
        fields = msgspec.json.decode(part.raw, type=dict[str, Any])
        return [] if str(fields.get("type", "")).endswith("_delta") else [part.raw]
    return []


def _thinking(text: str, signature: str) -> dict[str, str]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _input(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
