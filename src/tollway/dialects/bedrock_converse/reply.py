"""Converse's answers, whole and streamed.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html (2026-11-22). A stream's
event is one frame; `messageStop` tells why the model stopped, and `metadata`, which comes last, what was used. Replies
carry neither an id nor the model's name.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
    ImagePiece,
    Inline,
    OpaquePiece,
    ReasoningPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects import label_sealed
from tollway.dialects.bedrock_converse.errors import frame_failure
from tollway.dialects.bedrock_converse.frames import Frame, FrameCutter
from tollway.dialects.bedrock_converse.parts import NAME, SIGNER
from tollway.dialects.bedrock_converse.usage import ServiceTier, TokenUsage, usage_of
from tollway.errors import UpstreamBroken, UpstreamError

FINISH_FROM_WIRE = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
#: The model wrote something that cannot be used: taken for a stop, an agent would think it done.
UNREADABLE_FINISHES = frozenset({"malformed_model_output", "malformed_tool_use"})
#: What a block of a stream that is handed on whole, a picture or sealed thought, may grow to.
BLOCK_BYTES_MAX = 32 << 20


class ToolUse(Struct, gc=False):
    toolUseId: str = ""
    name: str = ""
    type: str | None = None
    input: Raw = Raw()


class WebLocation(Struct, gc=False):
    url: str | None = None
    domain: str | None = None


class Location(Struct):
    web: WebLocation | None = None


class SourceContent(Struct, gc=False):
    text: str | None = None


class WireCitation(Struct):
    title: str | None = None
    source: str | None = None
    sourceContent: list[SourceContent] | None = None
    location: Location | None = None


class ImageSource(Struct, gc=False):
    bytes: str | None = None


class WireImage(Struct):
    format: str | None = None
    source: ImageSource | None = None


class BlockStart(Struct):
    toolUse: ToolUse | None = None
    image: WireImage | None = None
    toolResult: Raw = Raw()


class ToolUseDelta(Struct, gc=False):
    input: str | None = None


class ThoughtDelta(Struct, gc=False):
    text: str | None = None
    signature: str | None = None
    redactedContent: str | None = None


class BlockDelta(Struct):
    text: str | None = None
    toolUse: ToolUseDelta | None = None
    reasoningContent: ThoughtDelta | None = None
    citation: Raw = Raw()
    image: WireImage | None = None


class StreamEvent(Struct):
    """All events of a stream in one: which members it has, its name tells."""

    contentBlockIndex: int = 0
    start: BlockStart | None = None
    delta: BlockDelta | None = None
    stopReason: str | None = None
    additionalModelResponseFields: Raw = Raw()
    usage: TokenUsage | None = None
    serviceTier: ServiceTier | None = None
    trace: Raw = Raw()


class ThoughtText(Struct, gc=False):
    text: str = ""
    signature: str | None = None


class WireThought(Struct):
    reasoningText: ThoughtText | None = None
    redactedContent: str | None = None


class CitedText(Struct, gc=False):
    text: str | None = None


class Cited(Struct):
    content: list[CitedText] | None = None
    citations: list[Raw] | None = None


class Block(Struct):
    text: str | None = None
    toolUse: ToolUse | None = None
    reasoningContent: WireThought | None = None
    citationsContent: Cited | None = None
    image: WireImage | None = None


class WireMessage(Struct):
    content: list[Raw] | None = None


class Output(Struct):
    message: WireMessage | None = None


class Reply(Struct):
    output: Output | None = None
    stopReason: str | None = None
    additionalModelResponseFields: Raw = Raw()
    usage: TokenUsage | None = None
    serviceTier: ServiceTier | None = None
    trace: Raw = Raw()


_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_event = msgspec.json.Decoder(StreamEvent).decode
_decode_citation = msgspec.json.Decoder(WireCitation).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


# --- whole ---------------------------------------------------------------------------------------------------------


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken."""
    reply = _read(body)
    if reply.output is None or reply.output.message is None or reply.output.message.content is None:
        raise UpstreamBroken("The provider sent a reply without a message.")
    events: list[Event] = [Started("", "")]
    blocks = _Blocks()
    for index, raw in enumerate(reply.output.message.content):
        _whole_block(index, raw, blocks, events)
    if _given(reply.trace):
        events.append(_trace(reply.trace))
    if reply.usage is not None:
        events.append(UsageSeen(usage_of(reply.usage, reply.serviceTier)))
    if reply.stopReason:
        events.append(_finished(reply.stopReason, reply.additionalModelResponseFields))
    return events


def decode_usage(body: bytes) -> Usage | None:
    """From a whole reply; None where it tells none."""
    try:
        reply = _read(body)
    except UpstreamBroken:
        return None
    return usage_of(reply.usage, reply.serviceTier) if reply.usage is not None else None


def _read(body: bytes) -> Reply:
    try:
        return _decode_reply(body)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider sent a reply that is not JSON of Converse's shape.") from error


def _whole_block(index: int, raw: Raw, blocks: _Blocks, events: list[Event]) -> None:
    """A whole block is told as a stream would tell it."""
    try:
        block = _decode_block(raw)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider sent a content block of a shape that is not Converse's.") from error
    if block.text is not None:
        blocks.delta(index, BlockDelta(text=block.text), events)
    elif block.toolUse is not None:
        blocks.start(index, BlockStart(toolUse=block.toolUse), raw, events)
    elif block.reasoningContent is not None:
        thought = block.reasoningContent.reasoningText or ThoughtText()
        for delta in (
            ThoughtDelta(text=thought.text),
            ThoughtDelta(signature=thought.signature),
            ThoughtDelta(redactedContent=block.reasoningContent.redactedContent),
        ):
            blocks.delta(index, BlockDelta(reasoningContent=delta), events)
    elif block.citationsContent is not None:
        for piece in block.citationsContent.content or ():
            blocks.delta(index, BlockDelta(text=piece.text), events)
        for citation in block.citationsContent.citations or ():
            blocks.delta(index, BlockDelta(citation=citation), events)
    elif block.image is not None:
        blocks.start(index, BlockStart(image=block.image), raw, events)
        blocks.delta(index, BlockDelta(image=block.image), events)
    else:
        events.append(OpaquePiece(NAME, Raw(bytes(raw))))
    blocks.stop(index, events)


def _finished(reason: str, additional: Raw) -> Finished:
    """Raises UpstreamBroken for a reply that its model spoilt."""
    if reason in UNREADABLE_FINISHES:
        broken = UpstreamBroken(f"The model's answer cannot be used ({reason}).", code=reason)
        broken.cools = False  # the model's mistake in this one answer; the next may be right
        raise broken
    sequence: Any = None
    if _given(additional):  # `encode_request` asks for it
        fields: Any = msgspec.json.decode(additional)
        sequence = fields.get("stop_sequence") if isinstance(fields, dict) else None
    return Finished(FINISH_FROM_WIRE.get(reason, reason), sequence if isinstance(sequence, str) else None)


def _trace(raw: Raw) -> OpaquePiece:
    return OpaquePiece(NAME, Raw(b'{"trace":' + bytes(raw) + b"}"))


def _given(raw: Raw) -> bool:
    return bool(raw) and bytes(raw) != b"null"


# --- streamed ------------------------------------------------------------------------------------------------------


class EventDecoder:
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`. It is complete with `metadata`."""

    def __init__(self) -> None:
        self._cutter = FrameCutter()
        self._blocks = _Blocks()
        self.complete = False
        self.before_error: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for frame in self._cutter.feed(data):
                if not self.complete:
                    self._read(frame, events)
        except UpstreamError:
            self.before_error = events
            raise
        return events

    def end(self) -> list[Event]:
        """Half a frame is none; whether the reply was whole, `messageStop` has told."""
        return []

    def _read(self, frame: Frame, events: list[Event]) -> None:
        if frame.kind != "event":
            raise frame_failure(frame)
        try:
            event = _decode_event(frame.payload)
        except _UNREADABLE as error:
            raise UpstreamBroken("The provider sent a stream event that is not JSON of Converse's shape.") from error
        name = frame.name
        if name == "contentBlockDelta":
            if event.delta is not None:
                self._blocks.delta(event.contentBlockIndex, event.delta, events)
        elif name == "contentBlockStart":
            if event.start is not None:
                self._blocks.start(event.contentBlockIndex, event.start, frame.payload, events)
        elif name == "contentBlockStop":
            self._blocks.stop(event.contentBlockIndex, events)
        elif name == "messageStart":
            events.append(Started("", ""))
        elif name == "messageStop":
            self._blocks.stop_all(events)
            if event.stopReason:
                events.append(_finished(event.stopReason, event.additionalModelResponseFields))
        elif name == "metadata":
            if _given(event.trace):
                events.append(_trace(event.trace))
            if event.usage is not None:
                events.append(UsageSeen(usage_of(event.usage, event.serviceTier)))
            self.complete = True


class _Open:
    """A block while it grows."""

    __slots__ = ("call", "citations", "held", "held_bytes", "picture", "text_start", "thought", "unsaid")

    def __init__(self, text_start: int) -> None:
        self.text_start = text_start
        self.call: int | None = None
        self.unsaid = b""  # arguments of a call that has told none yet
        self.thought: int | None = None
        self.picture = ""
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.citations: list[Raw] = []


class _Blocks:
    """Content blocks as pieces; counts thoughts and tool calls, and the characters of the text for its citations."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._calls = 0
        self._thoughts = 0
        self._text_chars = 0

    def start(self, index: int, start: BlockStart, raw: bytes | Raw, events: list[Event]) -> None:
        """`raw` is the whole of what the start came in, for what has no word here."""
        call = start.toolUse
        if call is not None:
            block = self._block(index)
            block.call = self._calls
            block.unsaid = bytes(call.input) or b"{}"
            self._calls += 1
            events.append(ToolCallStarted(block.call, call.toolUseId, call.name, call.type == "server_tool_use"))
        elif start.image is not None:
            self._block(index).picture = start.image.format or "png"
        elif _given(start.toolResult):
            events.append(OpaquePiece(NAME, Raw(bytes(raw))))

    def delta(self, index: int, delta: BlockDelta, events: list[Event]) -> None:
        block = self._open.get(index) or self._block(index)
        if delta.text is not None:
            if delta.text:
                self._text_chars += len(delta.text)
                events.append(TextPiece(delta.text))
        elif delta.toolUse is not None:
            if delta.toolUse.input and block.call is not None:
                block.unsaid = b""
                events.append(ToolArgumentsPiece(block.call, delta.toolUse.input))
        elif delta.reasoningContent is not None:
            self._think(block, delta.reasoningContent, events)
        elif delta.image is not None:
            if delta.image.source is not None and delta.image.source.bytes:
                _hold(block, delta.image.source.bytes)
        elif _given(delta.citation):
            block.citations.append(Raw(bytes(delta.citation)))

    def stop(self, index: int, events: list[Event]) -> None:
        """What could only be told whole. A call without arguments has {}, which clients must be able to read."""
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.call is not None and block.unsaid:
            events.append(ToolArgumentsPiece(block.call, block.unsaid.decode()))
        if block.held:
            data = base64.b64encode(b"".join(block.held)).decode()
            if block.picture:
                events.append(ImagePiece(Inline(f"image/{block.picture}", data)))
            else:
                sealed = label_sealed(NAME, "", data)
                events.append(ReasoningPiece(redacted=sealed, block=self._thought(block), maker=NAME))
        end = self._text_chars
        events.extend(CitationPiece(_citation(raw, block.text_start, end)) for raw in block.citations)

    def stop_all(self, events: list[Event]) -> None:
        for index in sorted(self._open):
            self.stop(index, events)

    def _think(self, block: _Open, delta: ThoughtDelta, events: list[Event]) -> None:
        if delta.redactedContent:
            _hold(block, delta.redactedContent)
        if delta.text:
            events.append(ReasoningPiece(delta.text, block=self._thought(block)))
        if delta.signature:
            events.append(ReasoningPiece(signature=delta.signature, block=self._thought(block), maker=SIGNER))

    def _thought(self, block: _Open) -> int:
        if block.thought is None:
            block.thought = self._thoughts
            self._thoughts += 1
        return block.thought

    def _block(self, index: int) -> _Open:
        block = self._open[index] = _Open(self._text_chars)
        return block


def _hold(block: _Open, piece: str) -> None:
    """Pieces are base64 each for itself: put together they are not."""
    try:
        data = base64.b64decode(piece, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UpstreamBroken("The provider sent bytes that are not base64.") from error
    block.held.append(data)
    block.held_bytes += len(data)
    if block.held_bytes > BLOCK_BYTES_MAX:
        raise UpstreamBroken(f"The provider sent a content block of more than {BLOCK_BYTES_MAX} bytes.")


def _citation(raw: Raw, start: int, end: int) -> Citation:
    try:
        told = _decode_citation(raw)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider sent a citation of a shape that is not Converse's.") from error
    web = told.location.web if told.location is not None else None
    return Citation(
        url=(web.url or "") if web is not None else "",
        title=told.title or "",
        quote="".join(content.text or "" for content in told.sourceContent or ()),
        start=start,
        end=end,
        raw=raw,
        dialect=NAME,
    )
