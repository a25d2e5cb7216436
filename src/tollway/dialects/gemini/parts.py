"""What requests and replies share: media, thought signatures, tool arguments, and which generation a model is of."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec
from msgspec import Raw

from tollway.conversation import Audio, Document, FileId, Image, Inline, Link, Part, Reasoning, Source, Video

NAME = "gemini"

# --- generations of models -----------------------------------------------------------------------------------------

_GENERATION = re.compile(r"(?:^|/)gemini-(?:(\d+)(?:\.(\d+))?(?![\d.])|[a-z-]+-latest$)")
#: What `gemini-flash-latest` and its like stand for at least. https://ai.google.dev/gemini-api/docs/models (2026-11-22)
_LATEST = (3, 1)

#: From this generation on: calls must be signed, results may hold media, tools and a JSON reply go together, and
#: thought has levels. https://ai.google.dev/gemini-api/docs/gemini-3 (2026-11-22)
SIGNING = (3, 0)


def generation(model: str) -> tuple[int, int]:
    """(3, 1) for `gemini-3.1-pro-preview`; (0, 0) where the name does not say (a tuned model): what is said to such a
    one is what every generation understands.
    """
    found = _GENERATION.search(model)
    if found is None:
        return (0, 0)
    return _LATEST if found[1] is None else (int(found[1]), int(found[2] or 0))


# --- media ---------------------------------------------------------------------------------------------------------

_SOUND_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "mp4": "m4a"}


def media_part(media_type: str, source: Source) -> Part:
    """An Image, Audio, Video or Document, by its media type."""
    family, _, kind = media_type.lower().partition("/")
    if family == "image":
        return Image(source)
    if family == "audio":
        return Audio(source, _SOUND_FORMATS.get(kind, kind))
    if family == "video":
        return Video(source)
    return Document(source)


def file_source(uri: str) -> Source:
    return Link(uri) if "://" in uri else FileId(uri)


#: What Gemini reads, by how files of it are called. https://ai.google.dev/gemini-api/docs/file-input-methods (2026-11-22)
_TYPES_BY_ENDING = {
    **{kind: f"image/{kind}" for kind in ("png", "webp", "heic", "heif", "gif", "bmp")},
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    **{kind: f"audio/{kind}" for kind in ("wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a")},
    **{kind: f"video/{kind}" for kind in ("mp4", "mpeg", "avi", "wmv", "webm")},
    "mov": "video/quicktime",
    "pdf": "application/pdf",
    "json": "application/json",
    **{kind: f"text/{kind}" for kind in ("html", "css", "csv", "xml")},
    "txt": "text/plain",
    "md": "text/markdown",
}
_INLINE_TYPES: dict[type[Any], str] = {Image: "image/png", Audio: "audio/wav", Video: "video/mp4"}


def media_fields(part: Image | Audio | Document | Video) -> dict[str, Any]:
    """`inlineData` or `fileData`. A link's media type is told where its name tells it: Gemini finds out the others."""
    source = part.source
    if isinstance(source, Inline):
        media_type = source.media_type or _INLINE_TYPES.get(type(part), "application/pdf")
        return {"inlineData": {"mimeType": media_type, "data": source.data}}
    uri = source.url if isinstance(source, Link) else source.id
    ending = uri.partition("?")[0].rpartition(".")[2].lower()
    guessed = _TYPES_BY_ENDING.get(ending)
    if guessed is None:
        return {"fileData": {"fileUri": uri}}
    return {"fileData": {"mimeType": guessed, "fileUri": uri}}


# --- thought signatures --------------------------------------------------------------------------------------------
#
# `thoughtSignature` is bytes, so base64 in JSON; Google's Python SDK decodes what it gets and sends it back in the
# URL-safe alphabet (google-genai 3.4.0, `_common.BaseModel`). What others sign with is put into base64 for Gemini's
# clients, under a mark, so that it comes back exactly.

#: How both marks begin in base64: nothing else is worth decoding.
FOREIGN_MARK = b"dG9sbHdheS"
_SIGNATURE_MARK = b"tollway-signature:"
_REDACTED_MARK = b"tollway-redacted:"

#: Takes the place of a signature that a call never had, because another model made it. Gemini 3 refuses calls without.
#: https://ai.google.dev/gemini-api/docs/thought-signatures (2026-11-22)
UNSIGNED_CALL = "skip_thought_signature_validator"


def wire_signature(signature: str, redacted: str = "", maker: str = NAME) -> str:
    """What a client of Gemini's keeps and gives back for it. Google's own is told from others by having no mark."""
    if redacted:
        return base64.b64encode(_REDACTED_MARK + redacted.encode("utf-8", "surrogatepass")).decode()
    if maker == NAME and _is_plain_base64(signature):
        return signature
    return base64.b64encode(_SIGNATURE_MARK + f"{maker}:{signature}".encode("utf-8", "surrogatepass")).decode()


def _is_plain_base64(signature: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(signature, validate=True)).decode() == signature
    except (binascii.Error, ValueError):
        return False


def read_signature(wire: str) -> tuple[str, str, str]:
    """(signature, redacted thought, maker) of what `wire_signature` or Google made. One of the first two is ""."""
    if wire.startswith(FOREIGN_MARK.decode()):
        try:
            content = base64.b64decode(wire, validate=True)
        except (binascii.Error, ValueError):
            return wire, "", NAME
        if content.startswith(_SIGNATURE_MARK):
            maker, _, signature = content[len(_SIGNATURE_MARK) :].decode("utf-8", "surrogatepass").partition(":")
            return signature, "", maker
        if content.startswith(_REDACTED_MARK):
            return "", content[len(_REDACTED_MARK) :].decode("utf-8", "surrogatepass"), ""
    return wire, "", NAME if wire else ""


_THOUGHT_MARK = b"tollway-thought:"


def pack_thought(thought: list[Reasoning]) -> str:
    """What another maker thought before a call, as the call's signature: agents such as Google's own CLI keep nothing
    else of it, and a maker may want its thought back before its call.
    """
    kept = [(part.text, part.signature, part.redacted, part.maker) for part in thought]
    return base64.b64encode(_THOUGHT_MARK + msgspec.json.encode(kept)).decode()


def unpack_thought(wire: str) -> list[Reasoning] | None:
    """What `pack_thought` packed; None for anything else."""
    if not wire.startswith(FOREIGN_MARK.decode()):
        return None
    try:
        content = base64.b64decode(wire, validate=True)
        if not content.startswith(_THOUGHT_MARK):
            return None
        kept = msgspec.json.decode(content[len(_THOUGHT_MARK) :], type=list[tuple[str, str, str, str]])
    except (binascii.Error, ValueError):
        return None
    return [Reasoning(text, signature, redacted, maker=maker) for text, signature, redacted, maker in kept]


_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def is_base64(text: str) -> bool:
    """In either alphabet: the API takes both, and refuses a request with anything else."""
    return _BASE64.fullmatch(text) is not None


# --- tool arguments ------------------------------------------------------------------------------------------------


def arguments_text(args: Raw) -> str:
    """A call's `args` as the JSON text that other dialects want: numbers and texts as they came, on one line."""
    raw = bytes(args)
    return "{}" if not raw or raw == b"null" else one_line(raw).decode()


def arguments_object(text: str) -> Raw | None:
    """The arguments' own bytes, {} for none; None where they are not a JSON object, which is all that `args` can be."""
    if not text.strip():
        return Raw(b"{}")
    raw = text.encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(raw, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Raw(one_line(raw))


def one_line(raw: bytes) -> bytes:
    """The same JSON without line ends, which would tear an event in two. What is not streamed is written for people."""
    return msgspec.json.format(raw, indent=-1) if b"\n" in raw or b"\r" in raw else raw
