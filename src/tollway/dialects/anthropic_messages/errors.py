"""Anthropic's error bodies, ours and theirs. https://docs.claude.com/en/api/errors (2026-11-22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tollway.errors import PublicError, UpstreamError
from tollway.failures import failure, read_error_body, retry_after_s, said_in, stream_failure

TYPE_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def encode_error(error: PublicError) -> bytes:
    """`{"type": "error", "error": {type, message}}` with the type that Anthropic has for the status."""
    kind = "overloaded_error" if error.type == "overloaded_error" else TYPE_BY_STATUS.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "api_error"
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": error.message}})


def encode_stream_error(error: PublicError) -> bytes:
    """The same as one event. No `message_stop` may follow."""
    return b"event: error\ndata: " + encode_error(error) + b"\n\n"


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    return failure(status, read_error_body(body), provider=provider, retry_after_s=retry_after_s(headers))


def error_in_stream(value: Any) -> UpstreamError:
    """The error of an `error` event."""
    return stream_failure(said_in(value))
