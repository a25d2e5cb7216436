"""OpenAI's error bodies, ours and theirs. https://platform.openai.com/docs/guides/error-codes (2026-11-22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tollway.errors import PublicError, UpstreamError
from tollway.failures import failure, read_error_body, retry_after_s, said_in, stream_failure


def encode_error(error: PublicError) -> bytes:
    """`{"error": {message, type, param, code}}`. Where the error has no code of its own, `code` is the status as
    text.
    """
    code = error.code or str(error.status)
    return msgspec.json.encode(
        {"error": {"message": error.message, "type": error.type, "param": error.param, "code": code}}
    )


def encode_stream_error(error: PublicError) -> bytes:
    """The same as one event. No `[DONE]` may follow: clients would take a broken reply for a whole one."""
    return b"data: " + encode_error(error) + b"\n\n"


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    return failure(status, read_error_body(body), provider=provider, retry_after_s=retry_after_s(headers))


def error_in_stream(value: Any, event_name: str = "") -> UpstreamError | None:
    """The error that stands where a chunk or a reply should, under a status of 200; None if the value is none."""
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return stream_failure(said_in(value["error"]))
    if "choices" in value:
        return None
    if (
        event_name == "error"
        or value.get("object") == "error"
        or ("message" in value and ("code" in value or "type" in value))
    ):
        return stream_failure(said_in(value))
    return None
