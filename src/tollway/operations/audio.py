"""Sound: speech made from words, and words read from speech.

**Speech.** What it holds: the characters where they are priced, else the words by their bytes and the longest speech that they
can be: SPEECH_S_PER_CHARACTER_MAX for each character, longer where a slower `speed` was asked for. What it is charged: the
characters, which are counted here; or what the provider says it used, which it does in events alone (`stream_format: sse`); or the
length of the sound that came, read from its own head.

**Transcription**, and the same in English words (**translation**). What it holds: the longest sound that the file can be, by
SOUND_BYTES_PER_S_MIN. What it is charged: the usage that the provider tells, else the duration that its reply tells, else, as an
estimate, what the file says of itself.
"""

from __future__ import annotations

import math
from typing import Any

from tollway import sound
from tollway.calls import USAGE_ESTIMATED, Call, Reply, Usage
from tollway.dialects import openai_media
from tollway.dialects.openai_media import BytesRelay, EventsRelay
from tollway.errors import BadRequest, UpstreamBroken
from tollway.multipart import Part
from tollway.operations import (
    STREAM_HEAD,
    Passing,
    asked,
    content_type_line,
    media_type,
)
from tollway.pricing.bound import input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply

#: The longest that one character takes to say, in seconds at usual speed: a Chinese one, or a digit that is read out, takes a
#: quarter, an English letter a fifteenth (4 096 characters in 268 s: https://sanand0.github.io/blog, "OpenAI TTS cost",
#: 2025-11-02); doubled, for instructions to speak slowly.
SPEECH_S_PER_CHARACTER_MAX = 0.5
#: No speech is bounded below this.
SPEECH_S_LEAST = 10.0
SPEECH_CHARACTERS_PER_S = 15.0
#: Audio tokens of speech: $12 for a million tokens are $0.015 for a minute (https://platform.openai.com/docs/pricing, 2026-11).
SPEECH_TOKENS_PER_S = 1250 / 60
#: The same, bounded.
SPEECH_TOKENS_PER_S_MAX = 25
#: `response_format: pcm` is 24 kHz, 16 bits, one channel (https://platform.openai.com/docs/guides/text-to-speech, 2026-11).
PCM_BYTES_PER_S = 48_000

#: 8 kbit/s: less than any speech codec in use makes of a second (Opus from 6, but for packets' heads; AMR from 4.75, which no
#: provider takes; https://www.rfc-editor.org/rfc/rfc6716, 2.1.1).
SOUND_BYTES_PER_S_MIN = 1000
#: Tokens of a second of sound that is heard: 32 for Gemini (https://ai.google.dev/gemini-api/docs/audio, 2026-11), the most of
#: any; OpenAI's models count 10.
SOUND_TOKENS_PER_S_MAX = 32
#: Tokens of words in a second of speech, at most: a fast speaker says five syllables.
TRANSCRIPT_TOKENS_PER_S_MAX = 10

JSON_FORMATS = frozenset({"", "json", "verbose_json", "diarized_json"})
#: Parts that are sound even where they are sent without a file's name.
SOUND_PARTS = frozenset({"file", "file[]"})
SUBTITLE_FORMATS = frozenset({"srt", "vtt"})
SOUND_TYPES = (b"audio/", b"video/", b"application/octet-stream", b"application/ogg", b"binary/octet-stream")


class Speech(Passing):
    name = "audio_speech"
    call_type = "aspeech"
    needed = "input"

    def parse(self, call: Call) -> None:
        super().parse(call)
        _characters(call)

    def streams(self, call: Call) -> bool:
        return bool(asked(call, "stream_format", str, "a string") == "sse")

    def is_streamed(self, call: Call) -> bool:
        return True  # sound is passed on as it comes

    # --- what it may cost

    def dearest(self, call: Call, price: Price) -> int:
        characters = _characters(call)
        speed = asked(call, "speed", float, "a number") or 1.0
        seconds = max(SPEECH_S_LEAST, characters * SPEECH_S_PER_CHARACTER_MAX) / min(1.0, max(0.05, speed))
        return max(
            most_expensive(price, _input_tokens(call), math.ceil(seconds * SPEECH_TOKENS_PER_S_MAX)),
            most_expensive(price, 0, 0, characters=characters, seconds=seconds),
        )

    def estimate(self, call: Call, reply: Reply) -> Usage:
        relay = reply.relay
        seconds = None
        if isinstance(relay, BytesRelay):
            if asked(call, "response_format", str, "a string") == "pcm":
                seconds = relay.output_bytes / PCM_BYTES_PER_S
            else:
                seconds = sound.seconds_of(relay.opening, relay.output_bytes)
        return _spoken(call, seconds)

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        """All that was asked for: a provider that has begun says it, whether somebody listens or not."""
        return _spoken(call, None)

    # --- and back

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        reply = Reply(status=200, head=STREAM_HEAD, body=None, deployment=deployment, attempt=None)
        kind = media_type(wire)
        if kind == b"text/event-stream":
            reply.relay = EventsRelay(1, self.dialect.encode_stream_error)
        elif not kind or kind.startswith(SOUND_TYPES):
            reply.head = content_type_line(wire)
            reply.relay = BytesRelay(_counted(call, deployment.price))
        else:
            raise UpstreamBroken(f"The provider sent {kind.decode('latin-1')!r} where sound was asked for.")
        return reply

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        """Some servers give sound inside of JSON."""
        body = wire.body or b""
        if (error := openai_media.error_in(body)) is not None:
            raise error
        reply = Reply(status=200, head=content_type_line(wire), body=body, deployment=deployment, attempt=None)
        reply.usage = _counted(call, deployment.price)
        return reply


def _characters(call: Call) -> int:
    words = asked(call, "input", str, "a string")
    if words is None:
        raise BadRequest("input must be a string.", param="input")
    return len(words)


def _input_tokens(call: Call) -> int:
    return input_tokens_bound(
        sum(len(bytes(call.fields[name])) for name in ("input", "instructions") if name in call.fields)
    )


def _counted(call: Call, price: Price | None) -> Usage | None:
    """Usage where speech is priced by what is known before it is made."""
    if price is None or (price.character and not price.rates.audio_out):
        return Usage(characters=_characters(call))
    return None


def _spoken(call: Call, seconds: float | None) -> Usage:
    """Usage of so many seconds of speech, in what this deployment's price is made of."""
    price = call.deployment.price
    counted = _counted(call, price)
    if counted is not None:
        return counted
    if seconds is None:
        seconds = _characters(call) / SPEECH_CHARACTERS_PER_S
    if price.rates.audio_out:
        return Usage(input=_input_tokens(call), audio_out=math.ceil(seconds * SPEECH_TOKENS_PER_S))
    return Usage(characters=_characters(call), seconds=round(seconds, 3))


class Transcriptions(Passing):
    """`name` is "audio_transcriptions" or "audio_translations"."""

    needed = "file"
    form_taken = True
    json_taken = False

    def __init__(self, dialect: Any, *, name: str = "audio_transcriptions", call_type: str = "atranscription") -> None:
        super().__init__(dialect)
        self.name = name
        self.call_type = call_type

    # --- what it may cost

    def dearest(self, call: Call, price: Price) -> int:
        file_bytes, text_bytes = _sizes(call)
        seconds = file_bytes / SOUND_BYTES_PER_S_MIN
        return max(
            most_expensive(
                price,
                input_tokens_bound(text_bytes) + math.ceil(seconds * SOUND_TOKENS_PER_S_MAX),
                math.ceil(seconds * TRANSCRIPT_TOKENS_PER_S_MAX),
            ),
            most_expensive(price, 0, 0, seconds=seconds),
        )

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        return _heard(call, _seconds_told(call))

    # --- and back

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = wire.body or b""
        if (media := deployment.provider.media_wire(self.name)) is not None:
            made = media.decode(call.encoded, media_type(wire), body)
            head = b"content-type: %b\r\n" % made.content_type.encode("ascii")
            reply = Reply(status=200, head=head, body=made.body, deployment=deployment, attempt=None)
            reply.usage = made.usage
            return reply
        wanted = asked(call, "response_format", str, "a string") or ""
        reply = Reply(status=200, head=content_type_line(wire), body=body, deployment=deployment, attempt=None)
        if wanted in JSON_FORMATS:
            reply.usage = openai_media.read_transcript(body)
            return reply
        if body.lstrip().startswith(b"{") and (error := openai_media.error_in(body)) is not None:
            raise error
        if media_type(wire) == b"text/html":
            raise UpstreamBroken("The provider sent a page where a transcript was asked for.")
        end_s = openai_media.subtitles_end_s(body) if wanted in SUBTITLE_FORMATS else None
        if end_s:
            reply.usage = _heard(call, end_s)
            reply.usage_source = USAGE_ESTIMATED
        return reply

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        """Models that know no events answer in the format that was asked for: whisper-1 ignores `stream`."""
        reply = Reply(status=200, head=STREAM_HEAD, body=None, deployment=deployment, attempt=None)
        kind = media_type(wire)
        if kind == b"text/event-stream":
            reply.relay = EventsRelay(1, self.dialect.encode_stream_error)
        elif kind.startswith(b"text/") and kind != b"text/html":
            reply.head = content_type_line(wire)
            reply.relay = BytesRelay()
        else:
            raise UpstreamBroken(f"The provider sent {kind.decode('latin-1')!r} where a transcript was asked for.")
        return reply


def _sounds(call: Call) -> list[Part]:
    return [part for part in call.form.parts if part.is_file or part.name in SOUND_PARTS]


def _sizes(call: Call) -> tuple[int, int]:
    """(bytes of sound, bytes of text) in the form."""
    whole = sum(part.end - part.value for part in call.form.parts)
    sounds = sum(part.end - part.value for part in _sounds(call))
    return sounds, whole - sounds


def _seconds_told(call: Call) -> float:
    """How long the file says it lasts; the longest it can be where it does not say."""
    total = 0.0
    for part in _sounds(call):
        view = call.form.view(part)
        most = len(view) / SOUND_BYTES_PER_S_MIN
        told = sound.seconds_of(bytes(view[: sound.LOOKED_AT_BYTES]), len(view), bytes(view[-sound.LOOKED_AT_BYTES :]))
        total += min(told or most, most)
    return round(total, 3)


def _heard(call: Call, seconds: float) -> Usage:
    """Usage of so many seconds of sound, in what this deployment's price is made of."""
    price = call.deployment.price
    if price is None or price.second or not price.rates.audio_in:
        return Usage(seconds=seconds)
    return Usage(audio_in=math.ceil(seconds * SOUND_TOKENS_PER_S_MAX))
