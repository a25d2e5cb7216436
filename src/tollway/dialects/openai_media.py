"""OpenAI's words for what is not chat: the replies of its embeddings, pictures, sound and moderation, and their streams.

https://platform.openai.com/docs/api-reference/images, .../audio, .../embeddings (2026-11-22). Replies pass through as
the bytes they came in; what is looked for is usage, errors that come with a status of 200, and the model's name. The
frame of errors and requests is that of `openai_chat`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tollway.calls import Cost, Usage
from tollway.dialects import HELD_BYTES_MAX
from tollway.errors import PublicError, UpstreamBroken, UpstreamError
from tollway.failures import said_in, stream_failure
from tollway.sse import EventCutter, event_data

_ABSENT = Raw()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_decode_any = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode

# --- usage ---------------------------------------------------------------------------------------------------------


class _Details(Struct, gc=False):
    text_tokens: float | None = None
    image_tokens: float | None = None
    audio_tokens: float | None = None


class _UsageFields(Struct, gc=False):
    """`input_tokens_details` is how pictures spell it, `input_token_details` how transcriptions do."""

    input_tokens: float | None = None
    output_tokens: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    input_tokens_details: _Details | None = None
    input_token_details: _Details | None = None
    output_tokens_details: _Details | None = None
    seconds: float | None = None


_decode_usage = msgspec.json.Decoder(_UsageFields).decode
_NO_DETAILS = _Details()


def usage_of(raw: Raw | bytes, made: str) -> Usage | None:
    """Disjoint buckets of a usage object. `made` is what the output tokens are where no details tell: "text", "image",
    "audio", or "" where there is no output (embeddings).

    None where nothing is counted: null, no usage at all, or zeros, by which compatible servers mean the same.
    """
    try:
        fields = _decode_usage(raw)
    except _UNREADABLE:
        return None
    told_in = _count(fields.input_tokens) or _count(fields.prompt_tokens)
    told_out = _count(fields.output_tokens) or _count(fields.completion_tokens)
    if not made:
        told_in, told_out = told_in or _count(fields.total_tokens), 0
    into = fields.input_tokens_details or fields.input_token_details or _NO_DETAILS
    out = fields.output_tokens_details or _NO_DETAILS
    audio_in = min(_count(into.audio_tokens), told_in)
    image_in = min(_count(into.image_tokens), told_in - audio_in)
    seconds = fields.seconds or 0.0
    if not (told_in or told_out or seconds > 0):
        return None
    text_out = told_out if made == "text" else min(_count(out.text_tokens), told_out)
    return Usage(
        input=told_in - audio_in - image_in,
        audio_in=audio_in,
        image_in=image_in,
        output=text_out,
        audio_out=told_out - text_out if made == "audio" else 0,
        image_out=told_out - text_out if made == "image" else 0,
        seconds=max(0.0, seconds),
    )


def _count(number: float | None) -> int:
    return int(number) if number is not None and 0 < number < 1e15 else 0


# --- whole replies -------------------------------------------------------------------------------------------------


class _ListReply(Struct, gc=False):
    data: list[Raw] | None = None
    model: Any = None
    usage: Raw = _ABSENT


_decode_list = msgspec.json.Decoder(_ListReply).decode


def _list_in(body: bytes, of_what: str) -> _ListReply:
    try:
        reply = _decode_list(body)
    except _UNREADABLE as error:
        raise error_in(body) or UpstreamBroken(f"The provider sent a reply that holds no list of {of_what}.") from error
    if not reply.data:
        raise error_in(body) or UpstreamBroken(f"The provider sent a reply without {of_what}.")
    return reply


def rename_embeddings(body: bytes, model: str) -> tuple[bytes, Usage | None]:
    """A whole reply with our name for its model; every other value keeps its bytes. Raises UpstreamBroken, and the
    provider's error where a reply with status 200 is one.
    """
    reply = _list_in(body, "embeddings")
    usage = usage_of(reply.usage, "") if reply.usage else None
    if isinstance(reply.model, str) and reply.model != model:
        members = _decode_members(body)
        members["model"] = Raw(msgspec.json.encode(model))
        body = msgspec.json.encode(members)
    return body, usage


class _Moderated(Struct, gc=False):
    results: list[Raw] | None = None
    model: Any = None
    usage: Raw = _ABSENT


_decode_moderated = msgspec.json.Decoder(_Moderated).decode


def rename_moderations(body: bytes, model: str) -> tuple[bytes, Usage | None]:
    """A whole reply with our name for its model; every other value keeps its bytes. Raises as `rename_embeddings` does."""
    try:
        reply = _decode_moderated(body)
    except _UNREADABLE as error:
        raise error_in(body) or UpstreamBroken("The provider sent a reply that holds no list of results.") from error
    if not reply.results:
        raise error_in(body) or UpstreamBroken("The provider sent a reply without results.")
    usage = usage_of(reply.usage, "") if reply.usage else None
    if isinstance(reply.model, str) and reply.model != model:
        members = _decode_members(body)
        members["model"] = Raw(msgspec.json.encode(model))
        body = msgspec.json.encode(members)
    return body, usage


def read_pictures(body: bytes) -> tuple[int, Usage | None]:
    """(how many pictures, usage) in a whole reply. Raises as `rename_embeddings` does."""
    reply = _list_in(body, "pictures")
    assert reply.data is not None
    return len(reply.data), usage_of(reply.usage, "image") if reply.usage else None


class _Transcript(Struct, gc=False):
    text: Raw = _ABSENT
    segments: Raw = _ABSENT
    duration: float | str | None = None
    usage: Raw = _ABSENT


_decode_transcript = msgspec.json.Decoder(_Transcript).decode


def read_transcript(body: bytes) -> Usage | None:
    """Usage of a transcript in JSON: what it says was used, else how long it says the sound was. Raises as
    `rename_embeddings` does.
    """
    try:
        reply = _decode_transcript(body)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider sent a transcript that is not JSON.") from error
    if not reply.text and not reply.segments:
        raise error_in(body) or UpstreamBroken("The provider sent a reply without a transcript.")
    usage = usage_of(reply.usage, "text") if reply.usage else None
    if usage is not None:
        return usage
    try:
        seconds = float(reply.duration or 0)
    except ValueError:
        return None
    return Usage(seconds=seconds) if 0 < seconds < 1e9 else None


_CUE_END = re.compile(rb"-->[ \t]*(?:(\d{2,4}):)?([0-5]\d):([0-5]\d)[.,](\d{3})")


def subtitles_end_s(body: bytes) -> float | None:
    """Where the last subtitle of an SRT or WebVTT file ends; None where there is none."""
    last = _CUE_END.match(body, at) if (at := body.rfind(b"-->")) >= 0 else None
    if last is None:
        return None
    return int(last[1] or 0) * 3600 + int(last[2]) * 60 + int(last[3]) + int(last[4]) / 1000


def error_in(body: bytes) -> UpstreamError | None:
    """The error that a body says it is, under a status of 200; None if it is none."""
    try:
        value = _decode_any(body)
    except _UNREADABLE:
        return None
    return _error_of(value)


def _error_of(value: Any) -> UpstreamError | None:
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return stream_failure(said_in(value["error"]))
    if value.get("type") == "error" or value.get("object") == "error":
        return stream_failure(said_in(value))
    return None


# --- streams -------------------------------------------------------------------------------------------------------


class BytesRelay:
    """A stream of bytes that is no text: sound. See `tollway.dialects.Relay`.

    Everything passes at once; it is finished when the provider has ended it. `opening` are its first bytes, which tell
    how long so many bytes of sound last. `usage` is known from the start, or None.
    """

    reply_id = ""
    opening_bytes_max = 4096

    def __init__(self, usage: Usage | None = None) -> None:
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.output_bytes = 0
        self.opening = b""
        self.usage = usage

    def feed(self, data: bytes) -> bytes:
        self.content_started = True
        self.output_bytes += len(data)
        if len(self.opening) < self.opening_bytes_max:
            self.opening += data[: self.opening_bytes_max - len(self.opening)]
        return data

    def end(self) -> bytes:
        self.complete = True
        self.finishing = self.content_started  # no sound at all is no answer
        return b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        return b""

    def fail(self, error: PublicError) -> None:
        """There are no words for it in a sound: the connection has to be cut."""
        return


#: The events that end a piece of work and tell its usage -> what was made.
FINAL_EVENTS = {
    "image_generation.completed": "image",
    "image_edit.completed": "image",
    "transcript.text.done": "text",
    "speech.audio.done": "audio",
}


class _Event(Struct, gc=False):
    type: Any = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT


_decode_event = msgspec.json.Decoder(_Event).decode


class EventsRelay:
    """A stream of pictures, of a transcript or of sound as events, passed on as they came. See `tollway.dialects.Relay`.

    `works` is how many final events are asked for: one for each picture. A server that has none of them is done when it
    ends its stream.
    """

    reply_id = ""

    def __init__(self, works: int, encode_error: Callable[[PublicError], bytes]) -> None:
        self._cutter = EventCutter()
        self._encode_error = encode_error
        self._works_left = works
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._unsent = b""
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.output_bytes = 0
        self.usage: Usage | None = None
        self.pieces = 0  # final events seen

    def feed(self, data: bytes) -> bytes:
        return self._relay(self._cutter.feed(data))

    def end(self) -> bytes:
        rest = self._cutter.rest()
        out = self._relay([rest]) if rest.strip() else b""
        self.complete = True
        self.finishing = self.content_started
        return out

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        self.complete = True
        return b"".join(self._held)

    def fail(self, error: PublicError) -> bytes:
        self.complete = True
        return self._unsent + b"".join(self._held) + self._encode_error(error)

    def _relay(self, events: list[bytes]) -> bytes:
        out: list[bytes] = []
        for event in events:
            try:
                self._look_at(event)
            except UpstreamError:
                self._unsent = b"".join(out)
                raise
            if self.finishing:
                self._hold(event + b"\n\n")
            else:
                out.append(event + b"\n\n")
        return b"".join(out)

    def _look_at(self, event: bytes) -> None:
        data = event_data(event)
        if data is None:
            return
        if data.strip() == b"[DONE]":
            self.complete = True
            self.finishing = self.content_started
            return
        try:
            seen = _decode_event(data)
        except _UNREADABLE as error:
            raise UpstreamBroken("The provider sent a stream event that is not JSON.") from error
        if (seen.error or seen.type == "error") and (failure := _error_of(_decode_any(data))) is not None:
            raise failure
        self.content_started = True
        self.output_bytes += len(data)
        made = FINAL_EVENTS.get(seen.type) if isinstance(seen.type, str) else None
        if made is None:
            return
        self.pieces += 1
        self._works_left -= 1
        self.finishing = self._works_left <= 0
        if seen.usage and (usage := usage_of(seen.usage, made)) is not None:
            self.usage = _plus(self.usage, usage)
        if made == "image":
            self.usage = replace(self.usage, images=self.pieces) if self.usage is not None else None

    def _hold(self, event: bytes) -> None:
        # The finishing event itself may be a picture; what follows it is small.
        if self._held:
            self._held_bytes += len(event)
            if self._held_bytes > HELD_BYTES_MAX:
                raise UpstreamBroken(f"The provider sent more than {HELD_BYTES_MAX} bytes after its last event.")
        self._held.append(event)


def _plus(one: Usage | None, other: Usage) -> Usage:
    if one is None:
        return other
    return Usage(
        input=one.input + other.input,
        audio_in=one.audio_in + other.audio_in,
        image_in=one.image_in + other.image_in,
        output=one.output + other.output,
        audio_out=one.audio_out + other.audio_out,
        image_out=one.image_out + other.image_out,
        seconds=one.seconds + other.seconds,
    )
