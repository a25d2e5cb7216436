"""Realtime: a conversation by sound and words over a WebSocket. What a session is asked, what it holds and what it used; no I/O.

https://platform.openai.com/docs/api-reference/realtime-server-events (2026-11-22). A session is made of turns: each ends with
the provider's `response.done`, which tells the usage, and is charged and written down as a call of its own.

What a turn holds: what its conversation counts already (each response reads all of it again), and `HELD_S` seconds of sound both
ways at the dearest rate. Before more than that passes, the next `HELD_S` seconds are held; a session whose budget has no room for
them ends.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Call, Usage, UsageDetails
from tollway.operations import forwarded_head
from tollway.pricing.bound import input_tokens_bound, most_expensive
from tollway.providers.azure import Azure
from tollway.providers.openai_compatible import OpenAICompatible
from tollway.snapshot import Deployment

#: How many seconds of sound a turn holds at a time, each way.
HELD_S = 60
#: Tokens of a second of sound: 1 for 100 ms that are heard, 1 for 50 ms that are spoken
#: (https://platform.openai.com/docs/guides/realtime-costs, 2026-11-22).
HEARD_TOKENS_PER_S = 10
SPOKEN_TOKENS_PER_S = 20
#: 24 kHz, 16 bits, one channel; G.711 has 8 kHz and 8 bits.
PCM_BYTES_PER_S = 48_000
G711_BYTES_PER_S = 8_000
OUTPUT_BYTES_PER_TOKEN = 4

HELD_IN = HELD_S * HEARD_TOKENS_PER_S
HELD_OUT = HELD_S * SPOKEN_TOKENS_PER_S

APPEND = "input_audio_buffer.append"
CREATED, DONE = "response.created", "response.done"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
SESSION_EVENTS = frozenset({"session.created", "session.updated"})
SPOKEN_EVENTS = frozenset({"response.audio.delta", "response.output_audio.delta"})
WRITTEN_EVENTS = frozenset(
    {"response.text.delta", "response.output_text.delta", "response.function_call_arguments.delta"}
)
#: As a browser offers it, which cannot set headers.
KEY_SUBPROTOCOL = "openai-insecure-api-key."
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
SUBPROTOCOL = "realtime"


class Realtime:
    """One turn of a session as a call: what policies ask of an operation."""

    name = "realtime"
    call_type = "_arealtime"
    streams_any = False

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect

    def bound(self, call: Call) -> tuple[int, int]:
        """Of a turn that begins now; `call.encoded` is the ears of its session."""
        carried = call.encoded.carried
        most = max(most_expensive(price, carried + HELD_IN, HELD_OUT) for price in call.model.reachable)
        return most, most

    def shorten(self, call: Call, nano: int) -> None:
        raise RuntimeError("no hold of a realtime turn is smaller than its bound")

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        return Usage(audio_in=HELD_IN)


def further_bound(call: Call, sent: int, made: int) -> int:
    """Nano-dollars of so many tokens more than the turn holds yet, at the dearest rate."""
    return max(most_expensive(price, sent, made) for price in call.model.reachable)


def handshake_head(call: Call, deployment: Deployment, offered: list[str]) -> bytes | None:
    """The head of the request that opens the provider's session; None where it has none that is known here. Holds the
    provider's key.
    """
    provider, model = deployment.provider, quote(deployment.target, safe="")
    if isinstance(provider, Azure):
        if provider.version == "v1":
            path = f"/v1/realtime?model={model}"
        else:
            name = quote(provider.deployment, safe="") or model
            path = f"/realtime?api-version={quote(provider.version, safe='')}&deployment={name}"
    elif isinstance(provider, OpenAICompatible) and provider.dialect == "openai_chat":
        path = f"/realtime?model={model}"
    else:
        return None
    head = deployment.heads.get("chat")
    if head is None:
        return None
    _, _, standing = head.partition(b"\r\n")
    base = urlsplit(deployment.public_base).path.rstrip("/")
    head = b"GET %b%b HTTP/1.1\r\n%b" % (base.encode(), path.encode(), standing)
    forwarded = forwarded_head(call, "openai_chat")
    if BETA_SUBPROTOCOL in offered and b"openai-beta" not in call.client_headers:
        forwarded += b"openai-beta: realtime=v1\r\n"
    return head + forwarded


def key_offered(subprotocols: list[str]) -> bytes | None:
    """The key that a browser put where alone it can."""
    for offered in subprotocols:
        if offered.startswith(KEY_SUBPROTOCOL):
            return offered.removeprefix(KEY_SUBPROTOCOL).encode("latin-1", "replace")
    return None


# --- usage ---------------------------------------------------------------------------------------------------------


class _Details(Struct, gc=False):
    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: _Details | None = None


class _Usage(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None
    seconds: float | None = None


class _Response(Struct, gc=False):
    id: Any = None
    usage: Raw = Raw()


class _Event(Struct, gc=False):
    """What of an event is looked at; sound and words are measured by their bytes and never decoded."""

    type: str = ""
    response: Raw = Raw()
    session: Raw = Raw()
    usage: Raw = Raw()
    audio: Raw = Raw()
    delta: Raw = Raw()


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_NO_DETAILS = _Details()


def usage_of(raw: Raw | bytes) -> Usage | None:
    """Disjoint buckets of a response's usage; None where nothing is counted."""
    try:
        told = _decode_usage(raw)
    except _UNREADABLE:
        return None
    into, out = told.input_token_details or _NO_DETAILS, told.output_token_details or _NO_DETAILS
    cached = into.cached_tokens_details or _NO_DETAILS
    total_in, total_out = _count(told.input_tokens), _count(told.output_tokens)
    seconds = told.seconds or 0.0
    if not (total_in or total_out or seconds > 0):
        return None
    read = min(_count(into.cached_tokens), total_in)
    read_audio = min(_count(cached.audio_tokens), read)
    read_image = min(_count(cached.image_tokens), read - read_audio)
    audio_in = min(max(0, _count(into.audio_tokens) - read_audio), total_in - read)
    image_in = min(max(0, _count(into.image_tokens) - read_image), total_in - read - audio_in)
    audio_out = min(_count(out.audio_tokens), total_out)
    details = UsageDetails(cache_read_audio=read_audio, cache_read_image=read_image)
    return Usage(
        input=total_in - read - audio_in - image_in,
        cache_read=read,
        audio_in=audio_in,
        image_in=image_in,
        output=total_out - audio_out,
        audio_out=audio_out,
        seconds=max(0.0, seconds),
        details=details if read_audio or read_image else None,
    )


def _count(number: int | None) -> int:
    return number if number is not None and 0 < number < 10**12 else 0


class Told(Struct):
    """What an event of the provider's means for the money. `usage` is what it tells, if anything."""

    type: str
    usage: Usage | None = None
    response_id: str = ""


class Ears:
    """Hears what passes in one session, and knows how many tokens it can be at most.

    `sent` and `made` are bounds of what came from each side since the last response, `carried` what the conversation counted
    when it was read last. `responding`: the provider is at work on a response.
    """

    __slots__ = (
        "_bytes_in_per_s",
        "_bytes_out_per_s",
        "carried",
        "made",
        "responding",
        "sent",
        "spoken",
        "transcriber",
    )

    def __init__(self) -> None:
        self.carried = 0
        self.responding = False
        self.transcriber = ""  # the model that writes down what is heard; billed apart
        self._bytes_in_per_s = self._bytes_out_per_s = G711_BYTES_PER_S  # until a session says that it is less dense
        self._forget()

    def _forget(self) -> None:
        self.sent = self.made = self.spoken = 0

    def hear_client(self, message: str | bytes) -> None:
        """Raises nothing: what cannot be read is the provider's to refuse, and counts as words."""
        try:
            event = _decode_event(message)
        except _UNREADABLE:
            self.sent += input_tokens_bound(len(message))
            return
        if event.type == APPEND:
            self.sent += _tokens(event.audio, self._bytes_in_per_s, HEARD_TOKENS_PER_S)
        else:
            self.sent += input_tokens_bound(len(message))

    def hear_provider(self, message: str | bytes) -> Told:
        try:
            event = _decode_event(message)
        except _UNREADABLE:
            return Told("")
        told = Told(event.type)
        if event.type in SPOKEN_EVENTS:
            spoken = _tokens(event.delta, self._bytes_out_per_s, SPOKEN_TOKENS_PER_S)
            self.spoken += spoken
            self.made += spoken
        elif event.type in WRITTEN_EVENTS:
            self.made += -(-len(bytes(event.delta)) // OUTPUT_BYTES_PER_TOKEN)
        elif event.type == CREATED:
            self.responding = True
        elif event.type == DONE:
            self._hear_end(event, told)
        elif event.type == TRANSCRIBED:
            told.usage = usage_of(event.usage) if bytes(event.usage) else None
        elif event.type in SESSION_EVENTS:
            self._hear_session(event.session)
        return told

    def unsaid(self) -> Usage:
        """What was used, by what was heard: of a response whose end did not come or does not tell."""
        return Usage(
            cache_read=self.carried,
            audio_in=self.sent,
            output=self.made - self.spoken,
            audio_out=self.spoken,
        )

    def begin_turn(self, usage: Usage) -> None:
        """A response is over: the next one reads again what this one read and said."""
        self.carried = usage.input_total + usage.output_total
        self.responding = False
        self._forget()

    def _hear_end(self, event: _Event, told: Told) -> None:
        try:
            response = _decode_response(event.response)
        except _UNREADABLE:
            return
        told.response_id = response.id if isinstance(response.id, str) else ""
        if bytes(response.usage):
            told.usage = usage_of(response.usage)

    def _hear_session(self, raw: Raw) -> None:
        """How dense its sound is, and who writes it down: in the API's words of today and of its beta."""
        try:
            session = msgspec.json.decode(raw)
        except _UNREADABLE:
            return
        sound = session.get("audio") if isinstance(session, dict) else None
        into = _member(sound, "input") or {}
        out = _member(sound, "output") or {}
        self._bytes_in_per_s = _density(_member(into, "format") or session.get("input_audio_format"))
        self._bytes_out_per_s = _density(_member(out, "format") or session.get("output_audio_format"))
        transcription = _member(into, "transcription") or session.get("input_audio_transcription")
        model = _member(transcription, "model")
        self.transcriber = model if isinstance(model, str) else ""


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _density(format: Any) -> int:
    """Bytes of a second of sound: `{"type": "audio/pcm"}`, "pcm16"; anything else is taken for the denser kind."""
    named = _member(format, "type") if isinstance(format, dict) else format
    return PCM_BYTES_PER_S if named in ("audio/pcm", "pcm16") else G711_BYTES_PER_S


def _tokens(base64: Raw, bytes_per_s: int, tokens_per_s: int) -> int:
    return math.ceil(len(bytes(base64)) * 3 / 4 / bytes_per_s * tokens_per_s)
