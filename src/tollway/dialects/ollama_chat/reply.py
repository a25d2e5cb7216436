"""Ollama's answers, whole and streamed: a stream is one JSON object a line, the last of which says `done`.

https://docs.ollama.com/api/streaming (2026-11-22). A tool call comes whole, its arguments as an object. Calls have had ids
since 0.12 only: where there is none, one is made of when the reply was made and of the call's place in it.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Usage
from tollway.conversation import (
    Event,
    Finished,
    LikelyToken,
    LogprobsPiece,
    ReasoningPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.errors import UpstreamBroken, UpstreamError
from tollway.failures import said_in, stream_failure
from tollway.sse import EVENT_BYTES_MAX

#: "load" and "unload" answer a request without messages, which nobody sends from here.
FINISH_FROM_WIRE = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop"}


class _Function(Struct, gc=False):
    name: str = ""
    arguments: Raw = Raw(b"{}")


class _Call(Struct, gc=False):
    function: _Function
    id: str | None = None


class _Message(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Token(Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[_Token] | None = None


class _Chunk(Struct):
    """A line of a stream, or a whole reply."""

    model: str | None = None
    created_at: str | None = None
    message: _Message | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[_Token] | None = None
    error: Raw = Raw()


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, or the error that the reply is."""
    chunk = _read(body)
    if chunk.message is None:
        raise UpstreamBroken("The provider sent a reply without a message.")
    events: list[Event] = []
    _Reader().read(chunk, events, whole=True)
    return events


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no JSON."""
    try:
        return _usage(_decode_chunk(body))
    except _UNREADABLE:
        return None


class EventDecoder:
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._reader = _Reader()
        self.complete = False
        self.before_error: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for line in self._lines(data):
                if line.strip() and not self.complete:
                    chunk = _read(line)
                    self._reader.read(chunk, events)
                    self.complete = bool(chunk.done)
        except UpstreamError:
            self.before_error = events
            raise
        return events

    def end(self) -> list[Event]:
        return self.feed(b"\n") if self._rest else []

    def _lines(self, data: bytes) -> list[bytes]:
        *lines, rest = data.split(b"\n")
        if lines:
            self._rest.append(lines[0])
            lines[0] = b"".join(self._rest)
            self._rest = []
            self._rest_bytes = 0
        if rest:
            self._rest.append(rest)
            self._rest_bytes += len(rest)
            if self._rest_bytes > EVENT_BYTES_MAX:
                raise UpstreamBroken(f"The provider sent a line of more than {EVENT_BYTES_MAX} bytes.")
        return lines


def _read(line: bytes) -> _Chunk:
    try:
        chunk = _decode_chunk(line)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider sent something that is not JSON of Ollama's shape.") from error
    if chunk.error and bytes(chunk.error) != b"null":
        raise stream_failure(said_in({"error": _decode_any(chunk.error)}))
    return chunk


class _Reader:
    """Chunks in their order: the first starts the reply."""

    def __init__(self) -> None:
        self._started = False
        self._call_prefix = ""
        self._calls = 0

    def read(self, chunk: _Chunk, events: list[Event], *, whole: bool = False) -> None:
        if not self._started:
            self._started = True
            self._call_prefix = "call_" + re.sub(r"\D", "", chunk.created_at or "")
            events.append(Started("", chunk.model or ""))
        message = chunk.message
        if message is not None:
            if message.thinking:
                events.append(ReasoningPiece(message.thinking))
            if message.content:
                events.append(TextPiece(message.content))
            for call in message.tool_calls or ():
                self._read_call(call, events)
        if chunk.logprobs:
            events.append(LogprobsPiece([_likely(token) for token in chunk.logprobs]))
        if chunk.done or whole:
            usage = _usage(chunk)
            if usage is not None:
                events.append(UsageSeen(usage))
            reason = chunk.done_reason or "stop"
            reason = FINISH_FROM_WIRE.get(reason, reason)
            events.append(Finished("tool_calls" if reason == "stop" and self._calls else reason))

    def _read_call(self, call: _Call, events: list[Event]) -> None:
        call_id = call.id or f"{self._call_prefix}_{self._calls}"
        events.append(ToolCallStarted(self._calls, call_id, call.function.name))
        arguments = bytes(call.function.arguments).decode("utf-8", "replace")
        events.append(ToolArgumentsPiece(self._calls, "{}" if arguments == "null" else arguments))
        self._calls += 1


def _usage(chunk: _Chunk) -> Usage | None:
    """None where nothing is counted. A prompt that was served from the cache alone is told as none at all."""
    if chunk.prompt_eval_count is None and chunk.eval_count is None:
        return None
    return Usage(input=max(chunk.prompt_eval_count or 0, 0), output=max(chunk.eval_count or 0, 0))


def _likely(token: _Token) -> LikelyToken:
    return LikelyToken(token.token, token.logprob, tuple(_likely(other) for other in token.top_logprobs or ()))
