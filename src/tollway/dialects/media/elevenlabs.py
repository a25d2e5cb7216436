"""ElevenLabs' speech and transcripts (https://elevenlabs.io/docs/api-reference/text-to-speech/stream,
.../speech-to-text/convert, 2026-11-22).

Speech: the voice, an id of ElevenLabs', stands in the path and the format in the query. Transcripts come with their words and
times, and say how long the sound was.
"""

from __future__ import annotations

import re
from typing import Any

from tollway.dialects.media import (
    Asked,
    Made,
    Sent,
    Transcript,
    Word,
    broken,
    form_body,
    json_body,
    object_in,
    refuse,
    the_file,
    transcript_format,
    transcript_made,
)
from tollway.errors import BadRequest

#: OpenAI's formats in its own; those with a rate in their name may be asked for as they are.
FORMATS = {"mp3": "mp3_44100_128", "opus": "opus_48000_128", "pcm": "pcm_24000"}
_OWN_FORMAT = re.compile(r"(?:mp3|opus|pcm|ulaw|alaw)_\d{4,5}(?:_\d{2,3})?")
_VOICE = re.compile(r"[A-Za-z0-9]{8,64}")
#: Its own fields of speech, which may be sent beside OpenAI's.
OWN_SPEECH = (
    "apply_text_normalization",
    "language_code",
    "next_text",
    "previous_text",
    "pronunciation_dictionary_locators",
    "seed",
)
OWN_TRANSCRIPT = ("diarize", "num_speakers", "seed", "tag_audio_events", "timestamps_granularity")


class Speech:
    def encode(self, asked: Asked) -> Sent:
        voice = asked.text("voice")
        if not _VOICE.fullmatch(voice):
            raise BadRequest(
                f"voice {voice!r} is no id of a voice of ElevenLabs'; send one, or let the deployment set `voice` in extra_body.",
                param="voice",
            )
        wanted = asked.text("response_format") or "mp3"
        format_ = FORMATS.get(wanted, wanted)
        if not _OWN_FORMAT.fullmatch(format_):
            raise refuse("response_format", wanted, FORMATS)
        if asked.text("stream_format") == "sse":
            raise refuse("stream_format", "sse", ("audio",))
        settings: dict[str, Any] = dict(asked.fields.get("voice_settings") or {})
        if (speed := asked.number("speed")) is not None:
            settings.setdefault("speed", speed)
        fields = {name: asked.fields.get(name) for name in OWN_SPEECH}
        body = json_body(
            {"text": asked.text("input"), "model_id": asked.model, "voice_settings": settings or None, **fields}
        )
        known = ("input", "voice", "response_format", "stream_format", "speed", "voice_settings", *OWN_SPEECH)
        return Sent(body, "application/json", f"/{voice}/stream?output_format={format_}", dropped=asked.without(known))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        raise broken(body, "sound")


class Transcription:
    def encode(self, asked: Asked) -> Sent:
        transcript_format(asked)
        fields = {name: asked.fields.get(name) for name in OWN_TRANSCRIPT}
        own = {
            "model_id": asked.model,
            "language_code": asked.text("language") or None,
            "temperature": asked.number("temperature"),
            **fields,
        }
        body, content_type = form_body(own, [("file", "sound", the_file(asked, "file"))])
        known = (
            "file",
            "response_format",
            "stream",
            "language",
            "temperature",
            "timestamp_granularities",
            *OWN_TRANSCRIPT,
        )
        return Sent(body, content_type, dropped=asked.without(known))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        said = object_in(body, "a transcript")
        text = said.get("text")
        if not isinstance(text, str):
            raise broken(body, "a transcript")
        listed = said.get("words")
        words = [
            Word(str(word["text"]), float(word["start"]), float(word["end"]))
            for word in (listed if isinstance(listed, list) else ())
            if isinstance(word, dict)
            and word.get("type", "word") == "word"
            and isinstance(word.get("text"), str)
            and isinstance(word.get("start"), int | float)
            and isinstance(word.get("end"), int | float)
        ]
        seconds = said.get("audio_duration_secs")
        language = said.get("language_code")
        return transcript_made(
            asked,
            Transcript(
                text,
                language if isinstance(language, str) else "",
                float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None,
                words,
            ),
        )
