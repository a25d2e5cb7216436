"""Responses as answers to be read, whole and streamed.
https://platform.openai.com/docs/api-reference/responses-streaming (2026-11-22).

Both are read by one `_ItemReader`: from a stream it learns of an item piece by piece, from a whole response at once. An
item's end tells what its pieces did not, so servers that leave pieces out are understood. What OpenAI sealed of its
thought becomes a block of its own, labelled with its item's id, so that it can be given back.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
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
from tollway.dialects import ServerSentDecoder, label_sealed
from tollway.dialects.openai_responses.decode import Annotation, citation
from tollway.dialects.openai_responses.errors import error_in_stream
from tollway.dialects.openai_responses.thought import unseal
from tollway.dialects.openai_responses.tools import NAME, flat_name
from tollway.dialects.openai_responses.usage import ResponseHead, usage_of
from tollway.errors import UpstreamBroken, UpstreamError

FINISH_FROM_WIRE = {"max_output_tokens": "length", "max_messages": "length", "content_filter": "content_filter"}


class StreamEvent(Struct, gc=False):
    type: str = ""
    delta: Any = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    item: Raw = Raw()
    response: Raw = Raw()
    error: Raw = Raw()
    annotation: Raw = Raw()
    logprobs: Any = None


class _Likely(Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[_Likely] | None = None


class _Kind(Struct, gc=False):
    type: str = ""


class _Source(Struct):
    url: str = ""
    title: str | None = None
    snippet: str | None = None


class _Found(Struct):
    """https://docs.perplexity.ai/docs/agent-api/tools/web-search (2026-11-22)"""

    results: list[_Source] = []


class _Part(Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[Raw] | None = None
    logprobs: Any = None


class _Item(Struct):
    """A message, a call or a thought; items of other kinds are not read as one."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str = ""
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None


decode_event = msgspec.json.Decoder(StreamEvent).decode
decode_head = msgspec.json.Decoder(ResponseHead).decode
decode_any = msgspec.json.Decoder().decode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_found = msgspec.json.Decoder(_Found).decode
_decode_annotation = msgspec.json.Decoder(Annotation).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

_READABLE_ITEMS = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
#: The end of a reply. A response that was stopped by its caller ends as one that is whole.
FINISHING = frozenset({"response.completed", "response.incomplete", "response.cancelled"})


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, or the error that stands where the reply should."""
    head = read_reply(body)
    events: list[Event] = [_started(head)]
    reader = _ItemReader()
    reader.all_done(head.output, events)
    _finish(head, reader, events)
    return events


def read_reply(body: bytes) -> ResponseHead:
    """A `response` object that is no error and has an output. Raises UpstreamBroken, or the error that it is."""
    try:
        head = decode_head(body)
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent a reply that is not JSON of a response's shape.") from error
    if head.status == "failed" or bytes(head.error) not in (b"", b"null"):
        raise error_in_stream(decode_any(head.error) if head.error else decode_any(body))
    if not bytes(head.output).startswith(b"["):
        raise UpstreamBroken("The provider sent a reply without output.")
    return head


def read_event(payload: bytes) -> StreamEvent:
    """One event; kinds that are not known are read too. An error is raised."""
    try:
        event = decode_event(payload)
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent a stream event that is not JSON of a response's shape.") from error
    if event.type == "error" or (event.error and event.error != Raw(b"null")):
        raise error_in_stream(decode_any(payload))
    return event


def read_head(event: StreamEvent) -> ResponseHead:
    """The response in an event that has one."""
    try:
        return decode_head(event.response)
    except UNREADABLE as error:
        raise UpstreamBroken(f"The provider sent a {event.type!r} event without a response.") from error


def failure_of(head: ResponseHead) -> UpstreamError:
    """The error that a failed response tells of."""
    return error_in_stream(decode_any(head.error) if head.error else None)


def _started(head: ResponseHead) -> Started:
    created = head.created_at
    seconds = int(created) if isinstance(created, (int, float)) and 0 <= created < 1e15 else 0
    return Started(str(head.id or ""), head.model if isinstance(head.model, str) else "", seconds)


def _finish(head: ResponseHead, reader: _ItemReader, events: list[Event]) -> None:
    usage = usage_of(head)
    if usage is not None:
        events.append(UsageSeen(usage))
    events += reader.sources()
    if head.status == "incomplete":
        details = head.incomplete_details
        reason = details.get("reason") if isinstance(details, dict) else None
        events.append(Finished(FINISH_FROM_WIRE.get(str(reason), "length" if reason is None else str(reason))))
    elif head.status in (None, "completed", "cancelled"):
        events.append(Finished("tool_calls" if reader.calls else "stop"))
    else:
        raise UpstreamBroken(f"The provider sent a reply of status {str(head.status)[:40]!r}, which has not ended.")


class EventDecoder(ServerSentDecoder):
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = _ItemReader()
        self._started = False

    def _read(self, payload: bytes, _: bytes, events: list[Event]) -> None:
        if payload.startswith(b"[DONE]"):
            return
        event = read_event(payload)
        kind = event.type
        if kind == "response.output_text.delta":
            self._reader.text(event, events)
        elif kind in FINISHING or kind == "response.failed":
            self._end(event, events)
        elif event.response:
            self._start(read_head(event), events)
        else:
            take = _READERS.get(kind)
            if take is not None and (event.delta is None or isinstance(event.delta, str)):
                take(self._reader, event, events)

    def _start(self, head: ResponseHead, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            events.append(_started(head))

    def _end(self, event: StreamEvent, events: list[Event]) -> None:
        head = read_head(event)
        self._start(head, events)
        if event.type == "response.failed" or head.status == "failed":
            usage = usage_of(head)
            if usage is not None:
                events.append(UsageSeen(usage))  # what failed is billed too
            raise failure_of(head)
        if head.status is None:
            head.status = event.type.removeprefix("response.")
        if bytes(head.output).startswith(b"["):
            self._reader.all_done(head.output, events)
        _finish(head, self._reader, events)
        self.complete = True


class _Open:
    """What is known of an item that came in pieces, and which of its parts were told."""

    __slots__ = ("began", "cited", "done", "kind", "number", "told")

    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.number = number  # among the thoughts or calls
        self.told: set[Any] = set()
        self.began: dict[int, int] = {}  # characters of the reply before each of its texts
        self.cited: dict[int, int] = {}  # annotations of each of its texts that were told
        self.done = False


class _ItemReader:
    """Items as pieces; counts thoughts and tool calls."""

    def __init__(self) -> None:
        self._items: dict[int, _Open] = {}
        self._thoughts = 0
        self._call_ids: set[str] = set()
        self._signatures: dict[str, str] = {}  # of calls to come, by their ids
        self._chars = 0  # of all texts
        self._cited: set[str] = set()
        self._found: list[Citation] = []
        self.calls = 0

    # --- pieces ----------------------------------------------------------------------------------------------------

    def added(self, event: StreamEvent, events: list[Event]) -> None:
        before = self._items.get(event.output_index)
        if before is None or before.done:  # some servers count two items as one
            self._begin(event.output_index, event.item, events)

    def text(self, event: StreamEvent, events: list[Event]) -> None:
        delta = event.delta
        if delta:
            begun = self._items.get(event.output_index)
            if begun is None:
                begun = self._at(event, "message")
            place = event.content_index
            if place not in begun.told:
                begun.told.add(place)
                begun.began[place] = self._chars
            if event.logprobs:
                _read_logprobs(event.logprobs, events)
            self._chars += len(delta)
            events.append(TextPiece(delta))

    def annotation(self, event: StreamEvent, events: list[Event]) -> None:
        begun = self._at(event, "message")
        if event.annotation:
            begun.cited[event.content_index] = begun.cited.get(event.content_index, 0) + 1
            self._cite(event.annotation, begun.began.get(event.content_index, 0), events)

    def text_done(self, event: StreamEvent, events: list[Event]) -> None:
        if event.text and event.content_index not in self._at(event, "message").told:
            event.delta = event.text
            self.text(event, events)

    def refusal(self, event: StreamEvent, events: list[Event]) -> None:
        if event.delta:
            self._at(event, "message").told.add(event.content_index)
            events.append(RefusalPiece(event.delta))

    def refusal_done(self, event: StreamEvent, events: list[Event]) -> None:
        if event.refusal and event.content_index not in self._at(event, "message").told:
            event.delta = event.refusal
            self.refusal(event, events)

    def summary(self, event: StreamEvent, events: list[Event]) -> None:
        self._think(event, ("summary", event.summary_index), events)

    def thought(self, event: StreamEvent, events: list[Event]) -> None:
        self._think(event, ("content", event.content_index), events)

    def arguments(self, event: StreamEvent, events: list[Event]) -> None:
        begun = self._items.get(event.output_index)
        if event.delta and begun is not None and begun.kind == "function_call":
            begun.told.add(0)
            events.append(ToolArgumentsPiece(begun.number, event.delta))

    def input(self, event: StreamEvent, events: list[Event]) -> None:
        """A custom tool's input is plain text; elsewhere arguments are JSON, so it comes out inside some."""
        begun = self._items.get(event.output_index)
        if event.delta and begun is not None and begun.kind == "custom_tool_call":
            head = "" if begun.told else '{"input":"'
            begun.told.add(0)
            events.append(ToolArgumentsPiece(begun.number, head + _encode(event.delta)[1:-1].decode()))

    # --- whole items -----------------------------------------------------------------------------------------------

    def item_done(self, event: StreamEvent, events: list[Event]) -> None:
        self.done(event.output_index, event.item, events)

    def all_done(self, output: Raw, events: list[Event]) -> None:
        """The whole output at the end. Where items came before it, only calls that nobody told of are told now: not
        every server counts its items in the stream as they stand here.
        """
        try:
            items = _decode_raws(output)
        except UNREADABLE as error:
            raise UpstreamBroken("The provider sent a response with an output that is no list.") from error
        first = max(self._items, default=-1) + 1
        for index, raw in enumerate(items):
            if first == 0 or self._is_new_call(raw):
                self.done(first + index, raw, events)

    def _is_new_call(self, raw: Raw) -> bool:
        if _kind_of(raw) not in ("function_call", "custom_tool_call"):
            return False
        item = _read_item(raw)
        return (item.call_id or item.id) not in self._call_ids

    def done(self, index: int, raw: Raw, events: list[Event]) -> None:
        begun = self._items.get(index)
        if begun is None:
            begun = self._begin(index, raw, events)
        if begun.done:
            return
        begun.done = True
        if begun.kind not in _READABLE_ITEMS:
            if begun.kind == "search_results":
                self._found += _sources_in(raw)
            events.append(OpaquePiece(NAME, Raw(bytes(raw))))
            return
        item = _read_item(raw)
        if begun.kind == "message":
            for place, part in enumerate(item.content or ()):
                self._part_done(begun, place, part, events)
        elif begun.kind == "reasoning":
            self._thought_done(begun, item, events)
        elif begun.kind == "function_call":
            if item.arguments and not begun.told:
                events.append(ToolArgumentsPiece(begun.number, item.arguments))
        else:
            rest = '"}' if begun.told else _encode({"input": item.input or ""}).decode()
            events.append(ToolArgumentsPiece(begun.number, rest))

    def _part_done(self, begun: _Open, place: int, part: _Part, events: list[Event]) -> None:
        if place not in begun.told and part.text:
            begun.began[place] = self._chars
            self._chars += len(part.text)
            if part.logprobs:
                _read_logprobs(part.logprobs, events)
            events.append(TextPiece(part.text))
        elif place not in begun.told and part.refusal:
            events.append(RefusalPiece(part.refusal))
        for raw in (part.annotations or ())[begun.cited.get(place, 0) :]:
            self._cite(raw, begun.began.get(place, 0), events)

    def _cite(self, raw: Raw, before: int, events: list[Event]) -> None:
        try:
            told = _decode_annotation(raw)
        except UNREADABLE:
            return  # null, or something that is no annotation
        self._cited.add(told.url or "")
        events.append(CitationPiece(citation(raw, told, before)))

    def sources(self) -> list[Event]:
        """What was found in the web and not cited by its place in the text, at the reply's end: Perplexity tells it in an item of
        its own, and most often there alone.
        """
        found = {one.url: one for one in self._found if one.url and one.url not in self._cited}
        return [CitationPiece(one) for one in found.values()]

    def _begin(self, index: int, raw: Raw, events: list[Event]) -> _Open:
        kind = _kind_of(raw)
        begun = self._items[index] = _Open(kind, 0)
        if kind in ("function_call", "custom_tool_call"):
            item = _read_item(raw)
            begun.number = self.calls
            self.calls += 1
            call_id = item.call_id or item.id or f"call_{begun.number}"
            self._call_ids.add(call_id)
            signature = self._signatures.pop(call_id, "")
            name = flat_name(item.namespace, item.name) if item.namespace else item.name
            events.append(ToolCallStarted(begun.number, call_id, name, signature=signature))
        return begun

    def _at(self, event: StreamEvent, kind: str) -> _Open:
        """The item that a piece belongs to; some servers do not announce it."""
        begun = self._items.get(event.output_index)
        if begun is None:
            begun = self._items[event.output_index] = _Open(kind, 0)
        return begun

    def _think(self, event: StreamEvent, place: tuple[str, int], events: list[Event]) -> None:
        """Summary and content say the same at different lengths: the one that came first is told."""
        begun = self._at(event, "reasoning")
        if not event.delta:
            return
        if not begun.told:
            begun.number = self._thoughts
            self._thoughts += 1
        elif place not in begun.told:
            if all(kind != place[0] for kind, _ in begun.told):
                return
            events.append(ReasoningPiece("\n\n", block=begun.number))
        begun.told.add(place)
        events.append(ReasoningPiece(event.delta, block=begun.number))

    def _thought_done(self, begun: _Open, item: _Item, events: list[Event]) -> None:
        if not begun.told:
            parts = item.summary or item.content or []
            text = "\n\n".join([part.text or "" for part in parts])
            begun.number = self._thoughts
            if text:
                self._thoughts += 1
                begun.told.add(("summary", 0))
                events.append(ReasoningPiece(text, block=begun.number))
        if not item.encrypted_content:
            return
        sealed = unseal(item.encrypted_content)
        if sealed is None:
            blob = label_sealed(NAME, item.id or "", item.encrypted_content)
            events.append(ReasoningPiece(redacted=blob, block=self._thoughts))
            self._thoughts += 1
        elif sealed.call_id:
            self._signatures[sealed.call_id] = sealed.signature
        else:
            if not begun.told:
                self._thoughts += 1
            if sealed.redacted:
                events.append(ReasoningPiece(redacted=sealed.redacted, block=begun.number))
            if sealed.signature:
                maker = sealed.maker or "anthropic_messages"
                events.append(ReasoningPiece(signature=sealed.signature, block=begun.number, maker=maker))


def _read_logprobs(value: Any, events: list[Event]) -> None:
    try:
        likely = msgspec.convert(value, list[_Likely])
    except msgspec.ValidationError:
        return  # numbers that nobody can read are no reason to lose the text
    events.append(LogprobsPiece([_token(one) for one in likely]))


def _token(likely: _Likely) -> LikelyToken:
    top = tuple([LikelyToken(one.token, one.logprob) for one in likely.top_logprobs or ()])
    return LikelyToken(likely.token, likely.logprob, top)


def _sources_in(raw: Raw) -> list[Citation]:
    try:
        found = _decode_found(raw)
    except UNREADABLE:
        return []  # another server's item of that name
    return [Citation(one.url, one.title or "", one.snippet or "") for one in found.results]


def _kind_of(raw: Raw) -> str:
    try:
        return _decode_kind(raw).type
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent an output item of an unknown shape.") from error


def _read_item(raw: Raw) -> _Item:
    try:
        return _decode_item(raw)
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent an output item of a shape that is not a response's.") from error


_READERS = {
    "response.output_item.added": _ItemReader.added,
    "response.output_item.done": _ItemReader.item_done,
    "response.output_text.done": _ItemReader.text_done,
    "response.output_text.annotation.added": _ItemReader.annotation,
    "response.refusal.delta": _ItemReader.refusal,
    "response.refusal.done": _ItemReader.refusal_done,
    "response.reasoning_summary_text.delta": _ItemReader.summary,
    "response.reasoning_text.delta": _ItemReader.thought,
    "response.function_call_arguments.delta": _ItemReader.arguments,
    "response.custom_tool_call_input.delta": _ItemReader.input,
}
