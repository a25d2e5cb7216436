"""What a request's blocks are made of: media, names and ids as Converse takes them, and whose model it is.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html (2026-11-22)
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from tollway.conversation import Audio, Document, FileId, Image, Inline, Link, Source, Video
from tollway.errors import BadRequest

NAME = "bedrock_converse"
#: Signed thought is Claude's on Bedrock too, and Anthropic's own API trusts it.
SIGNER = "anthropic_messages"

# --- models --------------------------------------------------------------------------------------------------------

CLAUDE, NOVA, NOVA_2, GPT, DEEPSEEK, MISTRAL, OTHER = "claude", "nova", "nova-2", "gpt", "deepseek", "mistral", "other"
#: A profile or a custom model that its owner named by a number: nothing tells whose model is behind it.
HIDDEN = "hidden"

_FAMILIES = (
    (re.compile(r"claude"), CLAUDE),
    (re.compile(r"amazon\.nova-2"), NOVA_2),
    (re.compile(r"amazon\.nova"), NOVA),
    (re.compile(r"openai\.gpt"), GPT),
    (re.compile(r"deepseek"), DEEPSEEK),
    (re.compile(r"mistral"), MISTRAL),
)
_CLAUDE_VERSION = re.compile(r"claude-(?:[a-z]+-)?v?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def family_of(model: str) -> str:
    """Whose model it is, by its id or ARN."""
    for pattern, family in _FAMILIES:
        if pattern.search(model):
            return family
    return HIDDEN if "arn:" in model else OTHER


def claude_version(model: str) -> tuple[int, int]:
    """(4, 5) for "anthropic.claude-sonnet-4-5-20250929-v1:0"; (0, 0) where the name does not say."""
    found = _CLAUDE_VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


# --- media ---------------------------------------------------------------------------------------------------------

_IMAGE_FORMATS = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "gif": "gif", "webp": "webp"}
_VIDEO_FORMATS = {
    "mp4": "mp4",
    "quicktime": "mov",
    "mov": "mov",
    "webm": "webm",
    "x-matroska": "mkv",
    "mkv": "mkv",
    "x-flv": "flv",
    "flv": "flv",
    "mpeg": "mpeg",
    "mpg": "mpg",
    "x-ms-wmv": "wmv",
    "wmv": "wmv",
    "3gpp": "three_gp",
}
_AUDIO_FORMATS = {
    **{name: name for name in ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "pcm", "webm")},
    "mpeg": "mp3",
    "x-wav": "wav",
    "wave": "wav",
    "pcm16": "pcm",
}
_DOCUMENT_FORMATS = {
    "pdf": "pdf",
    "csv": "csv",
    "msword": "doc",
    "doc": "doc",
    "vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "docx": "docx",
    "vnd.ms-excel": "xls",
    "xls": "xls",
    "vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "xlsx": "xlsx",
    "html": "html",
    "htm": "html",
    "plain": "txt",
    "txt": "txt",
    "markdown": "md",
    "md": "md",
}
#: The first bytes of pictures, in base64, for those that come without their media type.
_IMAGE_STARTS = (("iVBORw0", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp"))


def image_block(part: Image) -> dict[str, Any]:
    source = part.source
    known = _format(source, _IMAGE_FORMATS)
    if not known and isinstance(source, Inline):
        known = next((name for start, name in _IMAGE_STARTS if source.data.startswith(start)), "")
    return {"format": known or "png", "source": _source(source, "image")}


def video_block(part: Video) -> dict[str, Any]:
    return {"format": _format(part.source, _VIDEO_FORMATS) or "mp4", "source": _source(part.source, "video")}


def audio_block(part: Audio) -> dict[str, Any]:
    known = _AUDIO_FORMATS.get(part.format) or _format(part.source, _AUDIO_FORMATS)
    return {"format": known or "wav", "source": _source(part.source, "audio")}


def document_block(part: Document, name: str) -> dict[str, Any]:
    """A document of plain text is sent as text where it is to be cited, else as a file, which more models take."""
    block: dict[str, Any] = {"name": name}
    if part.text is not None:
        data = base64.b64encode(part.text.encode("utf-8", "surrogatepass")).decode()
        block |= {"format": "txt", "source": {"text": part.text} if part.citations else {"bytes": data}}
    else:
        ending = part.title.rpartition(".")[2].lower()
        known = _format(part.source, _DOCUMENT_FORMATS) or _DOCUMENT_FORMATS.get(ending)
        textual = isinstance(part.source, Inline) and part.source.media_type.startswith(("text/", "application/json"))
        block |= {"format": known or ("txt" if textual else "pdf"), "source": _source(part.source, "document")}
    if part.context:
        block["context"] = part.context
    if part.citations:
        block["citations"] = {"enabled": True}
    return block


def _format(source: Source, formats: dict[str, str]) -> str:
    if isinstance(source, Inline):
        return formats.get(source.media_type.partition(";")[0].rpartition("/")[2].strip().lower(), "")
    where = source.url if isinstance(source, Link) else ""
    return formats.get(where.partition("?")[0].rpartition(".")[2].lower(), "")


def _source(source: Source, kind: str) -> dict[str, Any]:
    """Bytes, or a place in Amazon S3. Raises BadRequest for any other URL and for files uploaded elsewhere: nobody
    would see that the model was not given them.
    """
    if isinstance(source, Inline):
        return {"bytes": source.data}
    if isinstance(source, Link) and source.url.startswith("s3://"):
        return {"s3Location": {"uri": source.url}}
    what = "the id of a file" if isinstance(source, FileId) else "a URL"
    raise BadRequest(
        f"messages[].content[{kind}] names {what}: this model is reached over Amazon Bedrock's Converse API, which takes "
        f"the {kind} itself, in base64, or an s3:// location.",
        param=f"messages[].content[{kind}]",
        code="unsupported_parameter",
    )


# --- names and ids -------------------------------------------------------------------------------------------------

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_.:-]")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\s()\[\]-]")
_SPACES = re.compile(r"\s+")
ID_CHARS_MAX = 64
NAME_CHARS_MAX = 190


def clean_id(call_id: str) -> str:
    """What Converse takes for an id; one that is too long keeps its start and gets a digest for the rest."""
    cleaned = _NOT_IN_IDS.sub("_", call_id) or "call"
    if len(cleaned) <= ID_CHARS_MAX:
        return cleaned
    return cleaned[: ID_CHARS_MAX - 17] + "-" + sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def document_name(title: str, taken: set[str]) -> str:
    """A name in the few characters that Converse takes, unlike those that are `taken`; it becomes one of them."""
    plain = _SPACES.sub(" ", _NOT_IN_NAMES.sub("-", title)).strip()[:NAME_CHARS_MAX] or "document"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain} ({number})"
    taken.add(name)
    return name


# --- JSON ----------------------------------------------------------------------------------------------------------


def arguments_object(text: str) -> Raw:
    """The arguments' own bytes where they are a JSON object; {} where a model wrote something else."""
    raw = text.encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(raw, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Raw(b"{}")
    return Raw(raw)


def is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
