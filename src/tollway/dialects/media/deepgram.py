"""Deepgram's speech and transcripts (https://developers.deepgram.com/reference/text-to-speech/speak-request,
.../reference/speech-to-text/listen-pre-recorded, 2026-11-22).

Everything but the words or the sound itself stands in the query. A voice is a model (`aura-2-thalia-en`); where the model is
named without one (`aura-2`), OpenAI's `voice` completes it.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from tollway.dialects.media import (
    Asked,
    Made,
    Sent,
    Transcript,
    Word,
    broken,
    json_body,
    object_in,
    refuse,
    the_file,
    transcript_format,
    transcript_made,
)

#: OpenAI's formats: https://developers.deepgram.com/docs/tts-media-output-settings (2026-11-22).
FORMATS = {
    "mp3": {"encoding": "mp3"},
    "opus": {"encoding": "opus", "container": "ogg"},
    "aac": {"encoding": "aac"},
    "flac": {"encoding": "flac"},
    "wav": {"encoding": "linear16", "container": "wav", "sample_rate": "24000"},
    "pcm": {"encoding": "linear16", "container": "none", "sample_rate": "24000"},
}
_VOICELESS = re.compile(r"aura(?:-\d+)?")
#: Its own settings of transcripts, which may be sent beside OpenAI's; each is one word or a list of them.
OWN = (
    "detect_language",
    "diarize",
    "dictation",
    "filler_words",
    "keyterm",
    "keywords",
    "measurements",
    "mip_opt_out",
    "multichannel",
    "numerals",
    "paragraphs",
    "profanity_filter",
    "punctuate",
    "redact",
    "replace",
    "search",
    "smart_format",
    "tag",
    "utterances",
    "version",
)


class Speech:
    def encode(self, asked: Asked) -> Sent:
        wanted = asked.text("response_format") or "mp3"
        if wanted not in FORMATS:
            raise refuse("response_format", wanted, FORMATS)
        if asked.text("stream_format") == "sse":
            raise refuse("stream_format", "sse", ("audio",))
        voice = asked.text("voice")
        voiced = bool(voice) and _VOICELESS.fullmatch(asked.model) is not None
        model = f"{asked.model}-{voice}" if voiced else asked.model
        known = ("input", "response_format", "stream_format", *(("voice",) if voiced else ()))
        query = urlencode({"model": model, **FORMATS[wanted]})
        body = json_body({"text": asked.text("input")})
        return Sent(body, "application/json", f"?{query}", dropped=asked.without(known))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        raise broken(body, "sound")


class Transcription:
    def encode(self, asked: Asked) -> Sent:
        transcript_format(asked)
        query: list[tuple[str, str]] = [("model", asked.model)]
        language = asked.text("language")
        if language:
            query.append(("language", language))
        elif "detect_language" not in asked.fields:
            query.append(("detect_language", "true"))  # as OpenAI's models do
        given = {"smart_format": True, **asked.fields}  # without it there is no punctuation
        for name in OWN:
            value = given.get(name)
            listed = value if isinstance(value, list) else [value]
            query.extend((name, _word(each)) for each in listed if each is not None)
        known = ("file", "response_format", "stream", "language", "timestamp_granularities", *OWN)
        return Sent(the_file(asked, "file"), "audio/*", "?" + urlencode(query), dropped=asked.without(known))

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        said = object_in(body, "a transcript")
        try:
            channels = said["results"]["channels"]
            best = [channel["alternatives"][0] for channel in channels if channel["alternatives"]]
            text = "\n".join(str(found["transcript"]) for found in best)
            words = [
                Word(str(word.get("punctuated_word") or word["word"]), float(word["start"]), float(word["end"]))
                for word in (best[0].get("words") or () if best else ())
            ]
            language = str(channels[0].get("detected_language") or "") if channels else ""
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise broken(body, "a transcript") from error
        about = said.get("metadata")
        seconds: Any = about.get("duration") if isinstance(about, dict) else None
        known = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None
        return transcript_made(asked, Transcript(text, language or asked.text("language"), known, words))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
