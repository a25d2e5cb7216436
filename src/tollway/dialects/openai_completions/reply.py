"""Text completions as answers, whole and streamed. https://platform.openai.com/docs/api-reference/completions/object
(2026-11-22). Thought and calls have no place in them: a completion is asked without tools, and its thought is not shown.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Event,
    Finished,
    LikelyToken,
    LogprobsPiece,
    Refusal,
    RefusalPiece,
    Started,
    Text,
    TextPiece,
    UsageSeen,
    WholeChoice,
    fold,
)
from tollway.dialects import About, ServerSentDecoder
from tollway.dialects.openai_chat.errors import encode_stream_error, error_in_stream
from tollway.dialects.openai_chat.usage import usage_from_json, usage_to_fields
from tollway.errors import PublicError, UpstreamBroken
from tollway.sse import event_name

#: What else there may be is a stop to somebody who asked for text.
FINISHES = frozenset({"stop", "length", "content_filter"})
FINISH_TO_WIRE = {"refusal": "content_filter"}


class _Logprobs(Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(Struct):
    index: int | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    created: float | None = None
    usage: Raw = Raw()
    error: Raw = Raw()


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


# --- decoding ------------------------------------------------------------------------------------------------------


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, or the error that the reply holds instead of choices."""
    chunk = _read_chunk(body, "")
    if chunk.choices is None:
        raise UpstreamBroken("The provider sent a reply without choices.")
    return EventDecoder().events_of(chunk)


class EventDecoder(ServerSentDecoder):
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        super().__init__()
        self._started = False

    def _read(self, payload: bytes, event: bytes, events: list[Event]) -> None:
        if payload.startswith(b"[DONE]"):
            self.complete = True
        else:
            events += self.events_of(_read_chunk(payload, event_name(event)))

    def events_of(self, chunk: _Chunk) -> list[Event]:
        events: list[Event] = []
        if not self._started and (chunk.id or chunk.choices):
            self._started = True
            events.append(Started(chunk.id or "", chunk.model or "", int(chunk.created or 0)))
        for choice in chunk.choices or ():
            number = choice.index or 0
            if choice.text:
                events.append(TextPiece(choice.text, number))
            if choice.logprobs is not None and choice.logprobs.tokens:
                events.append(LogprobsPiece(_likely_tokens(choice.logprobs), number))
            if choice.finish_reason:
                events.append(Finished(choice.finish_reason, None, number))
        if chunk.usage:
            usage = usage_from_json(chunk.usage)
            if usage is not None:
                events.append(UsageSeen(usage))
        return events


def _read_chunk(payload: bytes, name: str) -> _Chunk:
    try:
        chunk = _decode_chunk(payload)
    except _UNREADABLE as error:
        try:
            value = _decode_any(payload)
        except _UNREADABLE:
            raise UpstreamBroken("The provider sent something that is not JSON.") from error
        raise error_in_stream(value, name) or UpstreamBroken(
            f"The provider sent something of a shape that is not a text completion's ({error})."
        ) from error
    if chunk.choices is None or chunk.error:
        found = error_in_stream(_decode_any(payload), name)
        if found is not None:
            raise found
    return chunk


def _likely_tokens(told: _Logprobs) -> list[LikelyToken]:
    tops = told.top_logprobs or [None] * len(told.tokens)
    tokens: list[LikelyToken] = []
    for text, logprob, top in zip(told.tokens, told.token_logprobs, tops, strict=False):
        others = tuple(LikelyToken(other, number) for other, number in (top or {}).items())
        tokens.append(LikelyToken(text, logprob or 0.0, others))
    return tokens


# --- encoding ------------------------------------------------------------------------------------------------------


class EventEncoder:
    """Events as a stream: one id and one `created` in all chunks, usage on or after the last."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._head = _chunk_head(about.id, about.created_s, about.model)
        self._finished: dict[int, str] = {}
        self._usage: Usage | None = None
        self._offsets: dict[int, int] = {}

    def feed(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if isinstance(event, (TextPiece, RefusalPiece)):
                if event.text:
                    out.append(self._chunk(event.choice, event.text))
            elif isinstance(event, LogprobsPiece):
                offset = self._offsets.get(event.choice, 0)
                out.append(self._chunk(event.choice, "", logprobs=_logprobs_fields(event.tokens, offset)))
                self._offsets[event.choice] = offset + sum(len(token.text) for token in event.tokens)
            elif isinstance(event, Started):
                about = self._about
                self._head = _chunk_head(event.id or about.id, event.created_s or about.created_s, about.model)
            elif isinstance(event, UsageSeen):
                self._usage = event.usage
            elif isinstance(event, Finished):
                self._finished[event.choice] = _finish(event.reason)
        return b"".join(out)

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        counted = usage if usage is not None else self._usage
        told = Raw(_encode(usage_to_fields(counted, cost))) if counted is not None else None
        out: list[bytes] = []
        last = max(self._finished, default=-1)
        for number, reason in sorted(self._finished.items()):
            rides = told if number == last and not self._about.usage_wanted else None
            out.append(self._chunk(number, "", reason, usage=rides))
        if told is not None and self._about.usage_wanted:
            out.append(self._head + b'[],"usage":' + bytes(told) + b"}\n\n")
        return b"".join(out) + b"data: [DONE]\n\n"

    def fail(self, error: PublicError) -> bytes:
        return encode_stream_error(error)

    def _chunk(
        self,
        number: int,
        text: str,
        reason: str | None = None,
        *,
        logprobs: dict[str, Any] | None = None,
        usage: Raw | None = None,
    ) -> bytes:
        choice = {"text": text, "index": number, "logprobs": logprobs, "finish_reason": reason}
        rides = b"" if usage is None else b',"usage":' + bytes(usage)
        return self._head + _encode([choice]) + rides + b"}\n\n"


def _chunk_head(reply_id: str, created_s: int, model: str) -> bytes:
    fields = {"id": reply_id, "object": "text_completion", "created": created_s, "model": model}
    return b"data: " + _encode(fields)[:-1] + b',"choices":'


def encode_reply(events: list[Event], about: About, usage: Usage | None = None, cost: Cost | None = None) -> bytes:
    """The whole reply: the fold of the events. `usage` None: what the events told of it."""
    reply = fold(events)
    counted = usage if usage is not None else reply.usage
    fields: dict[str, Any] = {
        "id": reply.id or about.id,
        "object": "text_completion",
        "created": reply.created_s or about.created_s,
        "model": about.model,
        "choices": [_choice_fields(number, choice) for number, choice in enumerate(reply.choices or [WholeChoice()])],
    }
    if counted is not None:
        fields["usage"] = usage_to_fields(counted, cost)
    return _encode(fields)


def _choice_fields(number: int, choice: WholeChoice) -> dict[str, Any]:
    return {
        "text": "".join(part.text for part in choice.parts if isinstance(part, (Text, Refusal))),
        "index": number,
        "logprobs": _logprobs_fields(choice.logprobs, 0) if choice.logprobs else None,
        "finish_reason": _finish(choice.finish or "stop"),
    }


def _finish(reason: str) -> str:
    reason = FINISH_TO_WIRE.get(reason, reason)
    return reason if reason in FINISHES else "stop"


def _logprobs_fields(tokens: list[LikelyToken], offset: int) -> dict[str, Any]:
    """OpenAI's older form: lists side by side. `text_offset` counts characters of the whole text."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{other.text: other.logprob for other in token.top} for token in tokens],
        "text_offset": offsets,
    }
