"""Cohere's answers, whole and streamed. https://docs.cohere.com/docs/streaming (2026-11-22)

A stream's events each say their `type`; `message-end` brings the reason and the usage. Content and calls have an `index`
of their own, and so have a whole reply's by their place.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
    ReasoningPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects import ServerSentDecoder
from tollway.dialects.cohere_chat.encode import NAME
from tollway.dialects.cohere_chat.errors import finish_failure
from tollway.dialects.cohere_chat.usage import usage_from_json
from tollway.errors import UpstreamBroken, UpstreamError
from tollway.failures import said_in, stream_failure

FINISH_FROM_WIRE = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
}

#: The block of thought that a plan is; those of content are counted after it.
_PLAN_BLOCK = 0


class _Content(Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Message(Struct):
    """A whole reply's. In a stream each of the lists is one thing alone."""

    content: list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None
    citations: list[Raw] | None = None


class _Reply(Struct):
    message: _Message | None = None
    id: str | None = None
    finish_reason: str | None = None
    usage: Raw = Raw()


class _Piece(Struct):
    content: _Content | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[Any] | None = None
    citations: Raw = Raw()


class _Delta(Struct):
    message: _Piece | None = None
    finish_reason: str | None = None
    usage: Raw = Raw()
    error: str | None = None


class _Event(Struct):
    type: str = ""
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None


_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


# --- whole replies -------------------------------------------------------------------------------------------------


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, or the error that stands where the reply should."""
    try:
        reply = _decode_reply(body)
    except _UNREADABLE as error:
        raise _error_in(body) or UpstreamBroken("The provider sent a reply that is not Cohere's.") from error
    message = reply.message
    if message is None:
        raise _error_in(body) or UpstreamBroken("The provider sent a reply without a message.")
    events: list[Event] = [Started(reply.id or "", "")]
    if message.tool_plan:
        events.append(ReasoningPiece(message.tool_plan, block=_PLAN_BLOCK))
    for at, content in enumerate(message.content or ()):
        events += _content_pieces(content, at)
    for at, call in enumerate(message.tool_calls or ()):
        events += _call_pieces(call, at)
    for raw in message.citations or ():
        events += _citation_pieces(raw)
    return events + _end(reply.finish_reason, reply.usage, "")


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no JSON."""
    try:
        reply = _decode_reply(body)
    except _UNREADABLE:
        return None
    return usage_from_json(reply.usage) if reply.usage else None


# --- streams -------------------------------------------------------------------------------------------------------


class EventDecoder(ServerSentDecoder):
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, int] = {}  # Cohere's index of a call to ours

    def _read(self, payload: bytes, _: bytes, events: list[Event]) -> None:
        if payload.strip() == b"[DONE]":
            self.complete = True
            return
        try:
            event = _decode_event(payload)
        except _UNREADABLE as error:
            raise _error_in(payload) or UpstreamBroken(
                "The provider sent a stream event of an unknown shape."
            ) from error
        delta = event.delta
        if event.type == "message-start":
            events.append(Started(event.id or "", ""))
        elif event.type == "message-end":
            told = delta if delta is not None else _Delta()
            events += _end(told.finish_reason, told.usage, told.error or "")
            self.complete = True
        elif not event.type:
            raise _error_in(payload) or UpstreamBroken("The provider sent a stream event without a type.")
        elif delta is not None and delta.message is not None:
            self._read_piece(event, delta.message, events)

    def _read_piece(self, event: _Event, piece: _Piece, events: list[Event]) -> None:
        index = event.index or 0
        if isinstance(piece.content, _Content):
            events += _content_pieces(piece.content, index)
        if piece.tool_plan:
            events.append(ReasoningPiece(piece.tool_plan, block=_PLAN_BLOCK))
        call = piece.tool_calls
        if isinstance(call, _Call):
            if event.type == "tool-call-start":
                self._calls[index] = len(self._calls)
                events += _call_pieces(call, self._calls[index])
            elif call.function is not None and call.function.arguments and index in self._calls:
                events.append(ToolArgumentsPiece(self._calls[index], call.function.arguments))
        if event.type == "citation-start" and piece.citations:
            events += _citation_pieces(piece.citations)


# --- pieces --------------------------------------------------------------------------------------------------------


def _content_pieces(content: _Content, at: int) -> list[Event]:
    pieces: list[Event] = []
    if content.thinking:
        pieces.append(ReasoningPiece(content.thinking, block=_PLAN_BLOCK + 1 + at))
    if content.text:
        pieces.append(TextPiece(content.text))
    return pieces


def _call_pieces(call: _Call, ours: int) -> list[Event]:
    function = call.function or _Function()
    pieces: list[Event] = [ToolCallStarted(ours, call.id or f"call_{ours}", function.name or "")]
    if function.arguments:
        pieces.append(ToolArgumentsPiece(ours, function.arguments))
    return pieces


class _Source(Struct):
    document: dict[str, Any] | None = None
    id: str | None = None


class _Citation(Struct):
    start: int = -1
    end: int = -1
    text: str = ""
    sources: list[_Source] | None = None
    type: str | None = None


_decode_citation = msgspec.json.Decoder(_Citation).decode


def _citation_pieces(raw: Raw) -> list[Event]:
    """One for each source. Citations of a plan or of thought point into what is no text here."""
    try:
        told = _decode_citation(raw)
    except _UNREADABLE:
        return []
    if told.type not in (None, "TEXT_CONTENT"):
        return []
    pieces: list[Event] = []
    for source in told.sources or [_Source()]:
        data = source.document or {}
        url, title = (data.get(name) if isinstance(data.get(name), str) else "" for name in ("url", "title"))
        citation = Citation(url or "", title or source.id or "", told.text, told.start, told.end, raw, NAME)
        pieces.append(CitationPiece(citation))
    return pieces


def _end(reason: str | None, usage: Raw, message: str) -> list[Event]:
    """Usage and the finish. Raises the error that a reason is."""
    said = reason or "COMPLETE"
    failed = finish_failure(said, message)
    if failed is not None:
        raise failed
    pieces: list[Event] = []
    counted = usage_from_json(usage) if usage else None
    if counted is not None:
        pieces.append(UsageSeen(counted))
    pieces.append(Finished(FINISH_FROM_WIRE.get(said, said.lower())))
    return pieces


def _error_in(payload: bytes) -> UpstreamError | None:
    """The error that stands where a reply or an event should, under a status of 200; None if there is none."""
    try:
        value = _decode_any(payload)
    except _UNREADABLE:
        return None
    if isinstance(value, dict) and ("error" in value or isinstance(value.get("message"), str)):
        return stream_failure(said_in(value))
    return None
