"""What the gateway must know of a request before it goes anywhere, and the little it changes in one that passes.

Names stand in two spellings, as in `decode`. What cannot be read here is left alone: the provider, or `decode_request`,
says what is wrong with it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.dialects import decode_field
from tollway.dialects.gemini.decode import camel
from tollway.dialects.gemini.parts import FOREIGN_MARK, SIGNING, UNSIGNED_CALL, generation
from tollway.errors import BadRequest

_SETTINGS = "generationConfig"
_NULL = Raw(b"null")
CHOICES_MAX = 8
_Fields = dict[str, Raw]
_encode = msgspec.json.encode


def spelling(fields: _Fields, name: str) -> str | None:
    """How a top-level member is spelt in this request; None where it is not given."""
    if name in fields:
        return name
    snake = _HUMP.sub(lambda found: "_" + found[0].lower(), name)
    return snake if snake in fields else None


_HUMP = re.compile(r"[A-Z]")


class Limits(Struct, frozen=True):
    """`output_tokens_max` is for each of `choices`; `thinks` says that thought was asked for or set up."""

    output_tokens_max: int | None = None
    choices: int = 1
    thinks: bool = False


_NO_LIMITS = Limits()


def limits_in(fields: _Fields) -> Limits:
    """Of `generationConfig`. Raises BadRequest naming the member that is no count."""
    settings = _settings(fields)
    if not settings:
        return _NO_LIMITS
    output = _count(settings, "maxOutputTokens")
    if output is not None and output < 1:
        raise BadRequest("generationConfig.maxOutputTokens must be at least 1.", param="generationConfig")
    choices = _count(settings, "candidateCount")
    if choices is not None and not 1 <= choices <= CHOICES_MAX:
        raise BadRequest(
            f"generationConfig.candidateCount must be between 1 and {CHOICES_MAX}.", param="generationConfig"
        )
    return Limits(output, choices or 1, "thinkingConfig" in settings)


def lower_output_limit(fields: _Fields, limit: int) -> None:
    """Sets the output limit; every other setting keeps its bytes."""
    put_settings(fields, {"maxOutputTokens": Raw(_encode(limit))})


def put_settings(fields: _Fields, settings: dict[str, Any], *, under: bool = False) -> None:
    """Puts members into `generationConfig`, over those of the same names, or under them."""
    standing = _settings(fields)
    fields.pop(spelling(fields, _SETTINGS) or _SETTINGS, None)
    fields[_SETTINGS] = Raw(_encode({**settings, **standing} if under else {**standing, **settings}))


def _settings(fields: _Fields) -> _Fields:
    place = spelling(fields, _SETTINGS)
    if place is None or fields[place] == _NULL:
        return {}
    return camel(decode_field(_SETTINGS, fields[place], _Fields))


def _count(settings: _Fields, name: str) -> int | None:
    if name not in settings:
        return None
    count: int = decode_field(f"{_SETTINGS}.{name}", settings[name], int)
    return count


# --- media ---------------------------------------------------------------------------------------------------------


class _Blob(Struct, gc=False):
    mimeType: str = ""
    mime_type: str = ""
    data: Raw = Raw()


class _Part(Struct):
    inlineData: _Blob | None = None
    inline_data: _Blob | None = None
    fileData: _Blob | None = None
    file_data: _Blob | None = None
    functionResponse: _Holder | None = None
    function_response: _Holder | None = None


class _Holder(Struct):
    """A content, or a tool's result: what has parts."""

    parts: list[_Part] | _Part | None = None


_decode_contents = msgspec.json.Decoder(list[_Holder] | _Holder).decode
#: How the names of all members end that hold media; in a text the quote would have a backslash before it.
_MEDIA_END = b'ata"'


class Carried(Struct):
    """Beside text: pictures, other media, and how many bytes of the request were their base64."""

    images: int = 0
    others: int = 0
    data_bytes: int = 0


def media_in(body: bytes, fields: _Fields) -> Carried | None:
    """What a request carries beside text; None for nothing, which is found out at the speed of memory."""
    carried = Carried(others=1 if spelling(fields, "cachedContent") else 0)
    # From behind it is searched three times as quickly; JSON lets a client write letters of a name as \\u0061.
    if body.rfind(_MEDIA_END) >= 0 or body.rfind(b"\\u00") >= 0:
        try:
            contents = _decode_contents(fields["contents"])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            return Carried(others=1)  # it will be refused; its text is its bytes, its media a window
        for content in contents if isinstance(contents, list) else [contents]:
            _add_media(content, carried)
    return carried if carried.images or carried.others else None


def _add_media(holder: _Holder, carried: Carried) -> None:
    parts = holder.parts
    for part in parts if isinstance(parts, list) else [parts] if parts is not None else []:
        for blob in (part.inlineData, part.inline_data, part.fileData, part.file_data):
            if blob is None:
                continue
            carried.data_bytes += len(bytes(blob.data))
            if (blob.mimeType or blob.mime_type).lower().startswith("image/"):
                carried.images += 1
            else:
                carried.others += 1
        for inner in (part.functionResponse, part.function_response):
            if inner is not None:
                _add_media(inner, carried)


# --- thought of others ---------------------------------------------------------------------------------------------


def without_foreign_thought(raw: Raw, model: str) -> Raw:
    """A request's `contents` without the signatures that another maker gave and `wire_signature` marked, for requests that
    pass to Google: it refuses a whole request for one. A call, which newer models want signed, gets the word for no
    signature. Gives back the same object where there is none.
    """
    if bytes(raw).rfind(FOREIGN_MARK) < 0:
        return raw
    try:
        contents = msgspec.json.decode(raw, type=list[Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw
    found = False
    unsigned = generation(model) >= SIGNING
    for content in contents:
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list):
            continue
        kept = [part for part in parts if not _is_foreign(part) or not _is_thought(part)]
        for part in kept:
            if _is_foreign(part):
                part.pop("thoughtSignature", None)
                part.pop("thought_signature", None)
                if unsigned and ("functionCall" in part or "function_call" in part):
                    part["thoughtSignature"] = UNSIGNED_CALL
                found = True
        found = found or len(kept) < len(parts)
        content["parts"] = kept
    return Raw(_encode([content for content in contents if _says_something(content)])) if found else raw


def _is_foreign(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    signature = part.get("thoughtSignature") or part.get("thought_signature")
    return isinstance(signature, str) and signature.startswith(FOREIGN_MARK.decode())


def _is_thought(part: dict[str, Any]) -> bool:
    """Thought, or an empty text that was there for the signature alone."""
    return part.get("thought") is True or part.get("text") == ""


def _says_something(content: Any) -> bool:
    return not isinstance(content, dict) or content.get("parts") != []
