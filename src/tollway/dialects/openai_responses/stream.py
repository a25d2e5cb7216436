"""Responses as answers to be written, streamed and whole.
https://platform.openai.com/docs/api-reference/responses-streaming (2026-11-22).

A stream is a response that grows: items one after the other, each with its beginning, its pieces and its end, every event
numbered, and at last the response itself. A whole reply is that last response, so the two cannot differ. One id and one
`created_at` stand in all of it, and an item keeps its id. There is no `[DONE]`.

Another maker's thought goes into `reasoning` items, what it signed or sealed into their `encrypted_content` with a label
(see `thought`). A call that its maker signed gets such an item before it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
    ImagePiece,
    Inline,
    LikelyToken,
    LogprobsPiece,
    OpaquePiece,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects import About, read_sealed
from tollway.dialects.openai_responses.encode import annotation_of
from tollway.dialects.openai_responses.errors import encode_stream_error, failed_fields
from tollway.dialects.openai_responses.thought import OWN_ID, Sealed, seal
from tollway.dialects.openai_responses.tools import NAME, ToolBook, text_of
from tollway.dialects.openai_responses.usage import usage_to_fields
from tollway.errors import PublicError

INCOMPLETE_TO_WIRE = {"length": "max_output_tokens", "content_filter": "content_filter", "refusal": "content_filter"}

#: What a response says of its request where the request did not.
#: https://platform.openai.com/docs/api-reference/responses/object (2026-11-22)
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}

_encode = msgspec.json.Encoder().encode
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
#: OpenAI takes ids of up to 64 characters; a word before it and a number after it stand in an item's.
_ID_CHARS_MAX = 44


class EventEncoder:
    """Events as a stream of a response. See `tollway.dialects.StreamEncoder`.

    `whole`: nobody listens, only the response at the end is wanted.
    """

    def __init__(self, about: About, *, whole: bool = False) -> None:
        self._about = about
        self._id = about.id
        self._created_s = about.created_s
        self._wire = _Wire(heard=not whole)
        self._book = ToolBook(asked=about.asked)
        self._chars = 0  # of all texts
        self._logprobs: list[LikelyToken] = []  # of the text that comes next
        self._begun = False
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._output: list[Raw] = []  # the items that ended, and empty places for those that are open
        self._open: _Message | _Thought | None = None
        self._calls: dict[int, _Call] = {}  # open ones, by our index
        self._stem = ""  # of the ids of items

    def feed(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if type(event) is TextPiece:
                text = event.text
                if text and event.choice == 0:
                    message = self._open
                    if type(message) is not _Message:
                        message = self._message(out)
                    if self._logprobs:
                        message.likely(self._logprobs)
                        self._logprobs = []
                    message.piece("output_text", text, out)
                    self._chars += len(text)
            elif isinstance(event, UsageSeen):
                self._usage = event.usage
            elif isinstance(event, Started):
                self._id, self._stem = self._about.id or event.id, ""
                self._created_s = event.created_s or self._created_s
                self._begin(out)
            elif event.choice == 0:  # the dialect has one choice
                self._write(event, out)
        return b"".join(out)

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        out: list[bytes] = []
        response = self.end(usage, cost, out)
        name = b"response.incomplete" if self._incomplete() else b"response.completed"
        self._wire.write(out, name, b'"response":' + _encode(response))
        return b"".join(out)

    def end(self, usage: Usage | None, cost: Cost | None, out: list[bytes]) -> dict[str, Any]:
        """Ends what is open and gives the whole response."""
        self._begin(out)
        self._close_all(out)
        counted = usage if usage is not None else self._usage
        reason = self._incomplete()
        response = self._response("incomplete" if reason else "completed")
        response["incomplete_details"] = {"reason": reason} if reason else None
        response["output"] = self._output
        if counted is not None:
            response["usage"] = usage_to_fields(counted, cost)
            if counted.service_tier:
                response["service_tier"] = counted.service_tier
            if counted.searches:
                response["tool_usage"] = {"web_search": {"num_requests": counted.searches}}
        return response

    def fail(self, error: PublicError) -> bytes:
        """An `error` event, on which the official SDKs raise, and the failed response, which others wait for."""
        out = [encode_stream_error(error, self._wire.number)]
        self._wire.number += 1
        if self._begun:
            response = self._response("failed")
            response["error"] = failed_fields(error)
            response["output"] = [item for item in self._output if item]
            self._wire.write(out, b"response.failed", b'"response":' + _encode(response))
        return b"".join(out)

    # --- the response ----------------------------------------------------------------------------------------------

    def _begin(self, out: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            if self._wire.heard:
                response = b'"response":' + _encode(self._response("in_progress"))
                self._wire.write(out, b"response.created", response)
                self._wire.write(out, b"response.in_progress", response)

    def _response(self, status: str) -> dict[str, Any]:
        asked = self._about.asked or {}
        fields: dict[str, Any] = {
            "id": self._id,
            "object": "response",
            "created_at": self._created_s,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._about.model,
            "output": [],
            "usage": None,
        }
        for name, value in _ECHOED.items():
            given = asked.get(name)
            fields[name] = value if given is None or bytes(given) == b"null" else given
        return fields

    def _incomplete(self) -> str:
        return INCOMPLETE_TO_WIRE.get(self._finished.reason, "") if self._finished is not None else ""

    # --- items -----------------------------------------------------------------------------------------------------

    def _write(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, ToolArgumentsPiece):
            call = self._calls.get(event.index)
            if call is not None and event.text:
                call.piece(event.text, out)
        elif isinstance(event, ReasoningPiece):
            self._write_thought(event, out)
        elif isinstance(event, RefusalPiece):
            if event.text:
                message = self._open if isinstance(self._open, _Message) else self._message(out)
                message.piece("refusal", event.text, out)
        elif isinstance(event, ToolCallStarted):
            if not event.server_side:  # what the provider runs itself is nothing for the client to do
                self._write_call(event, out)
        elif isinstance(event, Finished):
            self._finished = event
            self._close_all(out)
        else:
            self._write_rarer(event, out)

    def _write_rarer(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, CitationPiece):
            if isinstance(self._open, _Message):
                self._open.cite(event.citation, self._chars, out)
        elif isinstance(event, LogprobsPiece):
            self._logprobs += event.tokens
        elif isinstance(event, ImagePiece):
            self._write_image(event, out)
        elif isinstance(event, OpaquePiece) and event.dialect == NAME:
            self._write_whole(event.raw, out)

    def _write_thought(self, event: ReasoningPiece, out: list[bytes]) -> None:
        maker, item_id, blob = read_sealed(event.redacted)
        if maker == NAME:  # it was on its way back to where it came from
            item = {"id": item_id, "type": "reasoning", "summary": [], "encrypted_content": blob}
            self._write_whole(Raw(_encode(item)), out)
            return
        if not (event.text or event.signature or event.redacted):
            return
        thought = self._open
        if not isinstance(thought, _Thought) or thought.block != event.block:
            index = self._next(out)
            thought = self._open = _Thought(self._wire, self._item_id(OWN_ID, index), index, event.block)
            thought.begin(out)
        if event.text:
            thought.piece(event.text, out)
        thought.signature += event.signature
        thought.redacted += event.redacted
        thought.maker = event.maker or thought.maker

    def _write_call(self, event: ToolCallStarted, out: list[bytes]) -> None:
        if event.signature:
            index = self._next(out)
            signature = _Thought(self._wire, self._item_id(OWN_ID, index), index, -1)
            signature.begin(out)
            signature.signature, signature.call_id, signature.maker = event.signature, event.id, "gemini"
            self._output.append(signature.end("completed", out))
        index = self._next(out)
        self._output.append(Raw())
        item_id = self._item_id(_CALL_IDS.get(self._book.kind_of(event.name), "fc_"), index)
        call = self._calls[event.index] = _Call(self._wire, self._book, item_id, index, event)
        call.begin(out)

    def _write_image(self, event: ImagePiece, out: list[bytes]) -> None:
        """A picture that the model made. The dialect tells its bytes alone."""
        if isinstance(event.source, Inline):
            item = {"id": self._item_id("ig_", self._next(out)), "type": "image_generation_call", "status": "completed"}
            self._write_whole(Raw(_encode({**item, "result": event.source.data})), out)

    def _write_whole(self, raw: Raw, out: list[bytes]) -> None:
        """An item that is no other dialect's business, as it came."""
        index = self._next(out)
        place = b'"output_index":%d,"item":%b' % (index, bytes(raw))
        self._wire.write(out, b"response.output_item.added", place)
        self._wire.write(out, b"response.output_item.done", place)
        self._output.append(Raw(bytes(raw)))

    def _message(self, out: list[bytes]) -> _Message:
        index = self._next(out)
        message = self._open = _Message(self._wire, self._item_id("msg_", index), index)
        message.begin(out)
        return message

    def _next(self, out: list[bytes]) -> int:
        """The place of the item that begins now. What came before it ends: calls only where their arguments are whole,
        since some servers send those of several calls mixed.
        """
        self._begin(out)
        self._close_open("completed", out)
        for number in [number for number, call in self._calls.items() if call.is_whole()]:
            self._close_call(number, "completed", out)
        return len(self._output)

    def _item_id(self, word: str, index: int) -> str:
        if not self._stem:
            self._stem = _NOT_IN_IDS.sub("_", self._id.removeprefix("resp_"))[-_ID_CHARS_MAX:]
        return f"{word}{self._stem}_{index}"

    def _close_all(self, out: list[bytes]) -> None:
        status = "incomplete" if self._incomplete() else "completed"
        self._close_open(status, out)
        for number in list(self._calls):
            self._close_call(number, status, out)

    def _close_open(self, status: str, out: list[bytes]) -> None:
        if self._open is not None:
            self._output.append(self._open.end(status, out))
            self._open = None

    def _close_call(self, number: int, status: str, out: list[bytes]) -> None:
        call = self._calls.pop(number)
        self._output[call.index] = call.end(status, out)


def encode_reply(events: list[Event], about: About, usage: Usage | None = None, cost: Cost | None = None) -> bytes:
    """The whole reply: what the stream of the events would end with. `usage` None: what the events told of it."""
    encoder = EventEncoder(about, whole=True)
    encoder.feed(events)
    return _encode(encoder.end(usage, cost, []))


class _Wire:
    """Numbers the events of one stream. `heard`: somebody listens; if not, whoever writes may save itself the trouble."""

    __slots__ = ("heard", "number")

    def __init__(self, *, heard: bool) -> None:
        self.heard = heard
        self.number = 0

    def write(self, out: list[bytes], name: bytes, rest: bytes) -> None:
        if self.heard:
            out.append(b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, self.number, rest))
            self.number += 1


class _Message:
    """A message that is being written: parts one after the other, texts and refusals."""

    __slots__ = (
        "_annotations",
        "_chars",
        "_delta",
        "_head",
        "_kind",
        "_likely",
        "_logprobs",
        "_parts",
        "_place",
        "_tail",
        "_texts",
        "_wire",
        "id",
        "index",
    )

    def __init__(self, wire: _Wire, id: str, index: int) -> None:
        self._wire = wire
        self.id = id
        self.index = index
        self._kind = ""
        self._texts: list[str] = []
        self._parts: list[Raw] = []
        self._annotations: list[Any] = []
        self._logprobs: list[Any] = []
        self._likely = b""  # those of the next piece
        self._place = b'"item_id":"%b","output_index":%d,' % (id.encode(), index)
        self._delta = self._head = self._tail = b""

    def begin(self, out: list[bytes]) -> None:
        if self._wire.heard:
            item = {"id": self.id, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
            _item_event(self._wire, b"added", self.index, Raw(_encode(item)), out)

    def piece(self, kind: str, text: str, out: list[bytes]) -> None:
        if kind != self._kind:
            self._end_part(out)
            self._begin_part(kind, out)
        self._texts.append(text)
        # Written out here and not through `_Wire.write`: nearly every event of nearly every stream passes this line.
        wire = self._wire
        if not wire.heard:
            return
        if self._likely:
            tail, self._likely = b',"logprobs":%b}\n\n' % self._likely, b""
            out.append(b"%b%d%b%b%b" % (self._head, wire.number, self._delta, _encode(text), tail))
        else:
            out.append(b"%b%d%b%b%b" % (self._head, wire.number, self._delta, _encode(text), self._tail))
        wire.number += 1

    def likely(self, tokens: list[LikelyToken]) -> None:
        told = [_token_fields(token) for token in tokens]
        self._logprobs += told
        self._likely = _encode(told)

    def cite(self, cited: Citation, chars: int, out: list[bytes]) -> None:
        """`chars`: so many of the message's came before now, those of this text among them."""
        if self._kind != "output_text":
            return
        fields = annotation_of(cited, chars - sum(map(len, self._texts)))
        if fields is not None:
            place = b'%b"content_index":%d,"annotation_index":%d,"annotation":%b' % (
                self._place,
                len(self._parts),
                len(self._annotations),
                _encode(fields),
            )
            self._wire.write(out, b"response.output_text.annotation.added", place)
            self._annotations.append(fields)

    def end(self, status: str, out: list[bytes]) -> Raw:
        self._end_part(out)
        item = {"id": self.id, "type": "message", "status": status, "content": self._parts, "role": "assistant"}
        raw = Raw(_encode(item))
        _item_event(self._wire, b"done", self.index, raw, out)
        return raw

    def _begin_part(self, kind: str, out: list[bytes]) -> None:
        self._kind = kind
        if not self._wire.heard:
            return
        self._wire.write(out, b"response.content_part.added", self._part_place(_part_fields(kind, Raw(b'""'))))
        name = b"response.%b.delta" % kind.encode()
        self._head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        self._delta = b',%b"content_index":%d,"delta":' % (self._place, len(self._parts))
        self._tail = b',"logprobs":[]}\n\n' if kind == "output_text" else b"}\n\n"

    def _end_part(self, out: list[bytes]) -> None:
        if not self._kind:
            return
        text = Raw(_encode("".join(self._texts)))
        part = _part_fields(self._kind, text, self._annotations, self._logprobs)
        if self._wire.heard:
            said, more = b"refusal", b""
            if self._kind == "output_text":
                said, more = b"text", b',"logprobs":' + _encode(self._logprobs)
            done = b'%b"content_index":%d,"%b":%b%b' % (self._place, len(self._parts), said, bytes(text), more)
            self._wire.write(out, b"response.%b.done" % self._kind.encode(), done)
            self._wire.write(out, b"response.content_part.done", self._part_place(part))
        self._parts.append(part)
        self._texts, self._annotations, self._logprobs = [], [], []
        self._kind = ""

    def _part_place(self, part: Raw) -> bytes:
        return b'%b"content_index":%d,"part":%b' % (self._place, len(self._parts), bytes(part))


def _part_fields(kind: str, text: Raw, annotations: list[Any] | None = None, logprobs: list[Any] | None = None) -> Raw:
    if kind == "refusal":
        return Raw(_encode({"type": "refusal", "refusal": text}))
    part = {"type": "output_text", "annotations": annotations or [], "logprobs": logprobs or [], "text": text}
    return Raw(_encode(part))


def _token_fields(token: LikelyToken) -> dict[str, Any]:
    top = [_likely_fields(one) for one in token.top]
    return {**_likely_fields(token), "top_logprobs": top}


def _likely_fields(token: LikelyToken) -> dict[str, Any]:
    said = list(token.text.encode("utf-8", "surrogatepass"))
    return {"token": token.text, "bytes": said, "logprob": token.logprob}


class _Thought:
    """A `reasoning` item that is being written; its text is told as the summary, which is where clients look."""

    __slots__ = ("_place", "_texts", "_wire", "block", "call_id", "id", "index", "maker", "redacted", "signature")

    def __init__(self, wire: _Wire, id: str, index: int, block: int) -> None:
        self._wire = wire
        self.id = id
        self.index = index
        self.block = block
        self.signature = ""
        self.redacted = ""
        self.call_id = ""
        self.maker = ""
        self._texts: list[str] = []
        self._place = b'"item_id":"%b","output_index":%d,"summary_index":0,' % (id.encode(), index)

    def begin(self, out: list[bytes]) -> None:
        item = {"id": self.id, "type": "reasoning", "summary": []}
        _item_event(self._wire, b"added", self.index, Raw(_encode(item)), out)

    def piece(self, text: str, out: list[bytes]) -> None:
        if not self._texts:
            self._write(b"part.added", b'"part":{"type":"summary_text","text":""}', out)
        self._texts.append(text)
        self._write(b"text.delta", b'"delta":' + _encode(text), out)

    def end(self, status: str, out: list[bytes]) -> Raw:
        item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": []}
        if self._texts:
            text = Raw(_encode("".join(self._texts)))
            part = Raw(_encode({"type": "summary_text", "text": text}))
            self._write(b"text.done", b'"text":' + bytes(text), out)
            self._write(b"part.done", b'"part":' + bytes(part), out)
            item["summary"] = [part]
        if self.signature or self.redacted:
            maker = "" if self.maker == "anthropic_messages" else self.maker
            item["encrypted_content"] = seal(Sealed(self.signature, self.redacted, self.call_id, maker))
        raw = Raw(_encode(item))
        _item_event(self._wire, b"done", self.index, raw, out)
        return raw

    def _write(self, name: bytes, rest: bytes, out: list[bytes]) -> None:
        self._wire.write(out, b"response.reasoning_summary_" + name, self._place + rest)


#: How the ids of calls' items begin, by the kind of the tool.
_CALL_IDS = {"custom": "ctc_", "tool_search": "tsc_", "local_shell": "lsh_", "shell": "sh_", "apply_patch": "apc_"}


class _Call:
    """A call that is being written, as an item of its tool's kind. Only a function's arguments are told in pieces: what
    stands in for another kind of tool is JSON, of which the client wants the inside.
    """

    __slots__ = ("_book", "_kind", "_place", "_started", "_texts", "_wire", "id", "index")

    def __init__(self, wire: _Wire, book: ToolBook, id: str, index: int, started: ToolCallStarted) -> None:
        self._wire = wire
        self._book = book
        self._kind = book.kind_of(started.name)
        self._started = started
        self.id = id
        self.index = index
        self._texts: list[str] = []
        self._place = b'"item_id":"%b","output_index":%d,' % (id.encode(), index)

    def begin(self, out: list[bytes]) -> None:
        _item_event(self._wire, b"added", self.index, self._item("in_progress"), out)

    def piece(self, text: str, out: list[bytes]) -> None:
        self._texts.append(text)
        if self._kind == "function":
            delta = self._place + b'"delta":' + _encode(text)
            self._wire.write(out, b"response.function_call_arguments.delta", delta)

    def is_whole(self) -> bool:
        """Its arguments are a JSON object, so nothing can follow."""
        try:
            msgspec.json.decode("".join(self._texts), type=dict[str, Raw])
        except (msgspec.DecodeError, UnicodeEncodeError):
            return False
        return True

    def end(self, status: str, out: list[bytes]) -> Raw:
        said = "".join(self._texts)
        if self._kind == "function":
            done = self._place + b'"arguments":' + _encode(said)
            self._wire.write(out, b"response.function_call_arguments.done", done)
        elif self._kind == "custom":
            text = _encode(text_of(said))
            self._wire.write(out, b"response.custom_tool_call_input.delta", self._place + b'"delta":' + text)
            self._wire.write(out, b"response.custom_tool_call_input.done", self._place + b'"input":' + text)
        raw = self._item(status)
        _item_event(self._wire, b"done", self.index, raw, out)
        return raw

    def _item(self, status: str) -> Raw:
        call = self._book.call_item(self._started.id, self._started.name, "".join(self._texts))
        return Raw(_encode({"id": self.id, "status": status, **call}))


def _item_event(wire: _Wire, moment: bytes, index: int, item: Raw, out: list[bytes]) -> None:
    if wire.heard:
        wire.write(out, b"response.output_item." + moment, b'"output_index":%d,"item":%b' % (index, bytes(item)))
