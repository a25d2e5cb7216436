"""Pictures and sound in APIs that are not OpenAI's: what a client asked in OpenAI's words, what goes to such a provider, and what
came back in OpenAI's words again.

A wire is one small object for one operation of one API. It is pure, like every dialect; who is asked, and with what key, is the
provider's business. A transcript comes back in each of OpenAI's formats, subtitles too: they are made of its words and their
times.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from tollway.calls import Usage
from tollway.errors import BadRequest, UpstreamBroken, UpstreamError
from tollway.failures import read_error_body, stream_failure

#: A subtitle is ended after so many characters, so many seconds, or a silence of so many.
CUE_CHARS_MAX = 84
CUE_S_MAX = 7.0
CUE_SILENCE_S = 1.5
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")


class File(Struct, frozen=True):
    """A file of a form, under the name of its field without `[]`."""

    field: str
    data: bytes


class Asked(Struct):
    """`fields` are OpenAI's, decoded; those of a form are texts, or lists of them. `model` is the provider's name for it."""

    model: str
    fields: dict[str, Any]
    files: list[File]
    created_s: int = 0  # seconds of the epoch

    def text(self, name: str) -> str:
        """A field as text; "" where it is not there or null. Raises BadRequest."""
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be a string.", param=name)
        return value

    def number(self, name: str) -> float | None:
        """Raises BadRequest."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        try:
            if isinstance(value, bool):
                raise ValueError  # JSON's true is no number
            return float(value)
        except (TypeError, ValueError) as error:
            raise BadRequest(f"{name} must be a number.", param=name) from error

    def without(self, known: Iterable[str]) -> list[str]:
        """The names of the fields that are not `known`, and so do not travel."""
        usual = {"model", *known}
        return sorted(name for name, value in self.fields.items() if name not in usual and value is not None)


class Sent(Struct):
    """What goes out: `tail` follows the path of the operation."""

    body: bytes
    content_type: str
    tail: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    dropped: Sequence[str] = ()


class Made(Struct):
    """What the client gets. `pieces` is how many pictures there are."""

    body: bytes
    content_type: str
    usage: Usage | None = None
    pieces: int = 0


class MediaWire(Protocol):
    def encode(self, asked: Asked) -> Sent:
        """Raises BadRequest for what this API cannot be asked."""
        ...

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        """A whole reply. Raises UpstreamError. Never asked for speech, which is passed on as it comes."""
        ...


class PollingWire(MediaWire, Protocol):
    """A wire whose first reply is a ticket: the picture is asked for until it is there."""

    hosts: tuple[str, ...]  # beside the deployment's own host, those under these names may be asked: ".example.com"

    def next_step(self, asked: Asked, content_type: bytes, body: bytes) -> Step | None:
        """What to ask for after this reply; None where it is the last, which `decode` reads. Raises UpstreamError for work
        that failed.
        """
        ...


class Step(Struct, frozen=True):
    """A GET of a path at the deployment's host, or of a whole URL. `waits`: the work is not done yet. `greets`: with the key."""

    target: str
    waits: bool = True
    greets: bool = True


# --- bodies --------------------------------------------------------------------------------------------------------


def json_body(fields: Mapping[str, Any]) -> bytes:
    """Without what is None."""
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def form_body(fields: Mapping[str, Any], files: Sequence[tuple[str, str, bytes]] = ()) -> tuple[bytes, str]:
    """(body, content type) of a form of texts and (field, file name, data). The boundary is in none of the values."""
    texts = [(name, value if isinstance(value, str) else msgspec.json.encode(value).decode()) for name, value in fields.items()
             if value is not None]  # fmt: skip
    heads = [
        b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), value.encode())
        for name, value in texts
    ]
    heads += [
        b'Content-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: application/octet-stream\r\n\r\n%b'
        % (name.encode(), file.encode(), data)
        for name, file, data in files
    ]
    boundary = _boundary(heads)
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, head) for head in heads)
    return lines + b"--%b--\r\n" % boundary, f"multipart/form-data; boundary={boundary.decode()}"


def _boundary(parts: Sequence[bytes]) -> bytes:
    """From the parts themselves: nobody can foresee what holds its own digest."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"tollway-" + digest.hexdigest()[:40].encode()


def refuse(name: str, value: str, known: Iterable[str]) -> BadRequest:
    return BadRequest(f"{name} {value!r} is not offered by this model; it has {', '.join(known)}.", param=name)


def the_file(asked: Asked, field: str) -> bytes:
    """The one file of that field. Raises BadRequest."""
    found = [file.data for file in asked.files if file.field == field]
    if len(found) != 1:
        raise BadRequest(f"This model takes one {field}, not {len(found)}.", param=field)
    return found[0]


def object_in(body: bytes, of_what: str) -> dict[str, Any]:
    """The JSON object of a reply. Raises UpstreamBroken."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamBroken(f"The provider sent {of_what} that is not JSON.") from error
    if not isinstance(value, dict):
        raise UpstreamBroken(f"The provider sent {of_what} that is no JSON object.")
    return value


def broken(body: bytes, what: str) -> UpstreamError:
    """The error that a reply with status 200 holds, or that it holds no `what`."""
    said = read_error_body(body)
    return stream_failure(said) if said.message else UpstreamBroken(f"The provider sent a reply without {what}.")


# --- pictures ------------------------------------------------------------------------------------------------------


class Picture(Struct, omit_defaults=True):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


def pictures_made(asked: Asked, pictures: Sequence[Picture]) -> Made:
    """https://platform.openai.com/docs/api-reference/images/object (2026-11-22)"""
    body = msgspec.json.encode({"created": asked.created_s, "data": pictures})
    return Made(body, "application/json", Usage(images=len(pictures)), len(pictures))


def size_of(asked: Asked) -> tuple[int, int] | None:
    """(width, height) in pixels; None where nobody says or it is left to the model. Raises BadRequest."""
    size = asked.text("size")
    if not size or size == "auto":
        return None
    found = _SIZE.fullmatch(size)
    if found is None:
        raise BadRequest("size must be written like 1024x1024.", param="size")
    return int(found[1]), int(found[2])


def nearest_ratio(size: tuple[int, int], known: Sequence[str]) -> str:
    """The one of `known` ("16:9") whose shape is nearest to a size's."""

    def distance(ratio: str) -> float:
        width, _, height = ratio.partition(":")
        return abs(math.log(int(width) / int(height)) - math.log(size[0] / size[1]))

    return min(known, key=distance)


def one_picture(asked: Asked) -> None:
    """Raises BadRequest where more are asked for."""
    if (asked.number("n") or 1) != 1:
        raise BadRequest("n must be 1: this model makes one picture a call.", param="n")


def picture_of(data: bytes) -> Picture:
    return Picture(b64_json=base64.b64encode(data).decode("ascii"))


# --- transcripts ---------------------------------------------------------------------------------------------------


class Word(Struct):
    """One word, with its punctuation, from one second to another."""

    word: str
    start: float
    end: float


class Transcript(Struct):
    text: str
    language: str = ""
    seconds: float | None = None  # of the whole sound, where the provider says it
    words: list[Word] = []


FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


def transcript_format(asked: Asked) -> str:
    """Raises BadRequest."""
    wanted = asked.text("response_format") or "json"
    if wanted not in FORMATS:
        raise refuse("response_format", wanted, FORMATS)
    if asked.fields.get("stream") in (True, "true"):
        raise BadRequest("stream is not offered by this model: its transcript comes whole.", param="stream")
    return wanted


def transcript_made(asked: Asked, transcript: Transcript) -> Made:
    """https://platform.openai.com/docs/api-reference/audio/verbose-json-object (2026-11-22)"""
    usage = Usage(seconds=round(transcript.seconds, 3)) if transcript.seconds else None
    wanted = transcript_format(asked)
    if wanted == "text":
        return Made(transcript.text.encode() + b"\n", "text/plain; charset=utf-8", usage)
    if wanted in ("srt", "vtt"):
        kind = "application/x-subrip" if wanted == "srt" else "text/vtt; charset=utf-8"
        return Made(_subtitles(transcript.words, wanted).encode(), kind, usage)
    said: dict[str, Any] = {"text": transcript.text}
    if wanted == "verbose_json":
        last = transcript.words[-1].end if transcript.words else 0.0
        segments = [
            {"id": number, "start": cue[0].start, "end": cue[-1].end, "text": " ".join(word.word for word in cue)}
            for number, cue in enumerate(_cues(transcript.words))
        ]
        said = {
            "task": "transcribe",
            "language": transcript.language,
            "duration": transcript.seconds or last,
            **said,
            "segments": segments,
            "words": transcript.words,
        }
    if transcript.seconds:
        said["usage"] = {"type": "duration", "seconds": transcript.seconds}
    return Made(msgspec.json.encode(said), "application/json", usage)


def _cues(words: Sequence[Word]) -> list[list[Word]]:
    cues: list[list[Word]] = []
    length = 0
    for word in words:
        cue = cues[-1] if cues else []
        if (
            not cue
            or length + len(word.word) > CUE_CHARS_MAX
            or word.end - cue[0].start > CUE_S_MAX
            or word.start - cue[-1].end > CUE_SILENCE_S
        ):
            cues.append([word])
            length = len(word.word)
        else:
            cue.append(word)
            length += 1 + len(word.word)
    return cues


def _subtitles(words: Sequence[Word], wanted: str) -> str:
    comma = "," if wanted == "srt" else "."
    lines = [] if wanted == "srt" else ["WEBVTT\n"]
    for number, cue in enumerate(_cues(words), 1):
        text = " ".join(word.word for word in cue).replace("-->", "->")
        times = f"{_time(cue[0].start, comma)} --> {_time(cue[-1].end, comma)}"
        lines.append(f"{number}\n{times}\n{text}\n" if wanted == "srt" else f"{times}\n{text}\n")
    return "\n".join(lines) + ("\n" if lines else "")


def _time(seconds: float, comma: str) -> str:
    millis = round(max(0.0, seconds) * 1000)
    return f"{millis // 3_600_000:02d}:{millis // 60_000 % 60:02d}:{millis // 1000 % 60:02d}{comma}{millis % 1000:03d}"
