"""Errors as the Responses API tells them, ours and theirs.

An error answer has the body of all of OpenAI's APIs. Inside a stream two shapes are about: the reference tells of a flat
`error` event, what OpenAI sends nests the same under `error`, and the official SDKs raise on the latter alone. Ours has
both. https://platform.openai.com/docs/api-reference/responses-streaming/error (2026-11-22),
https://github.com/maximhq/bifrost/issues/5040 (2026-11-22)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tollway.errors import ContentPolicyViolation, PublicError, UpstreamError
from tollway.failures import STATUS_BY_WORD, Said, failure, read_error_body, retry_after_s, said_in, stream_failure

#: Codes that a failed response names for what is wrong with the request.
#: https://platform.openai.com/docs/api-reference/responses/object (2026-11-22)
_REQUEST_CODES = frozenset(
    {"invalid_prompt", "empty_image_file", "failed_to_download_image", "data_residency_mismatch"}
)
_REQUEST_CODE_BEGINNINGS = ("invalid_", "image_", "unsupported_image")
_POLICY_CODES = frozenset(
    {"bio_policy", "cyber_policy", "misalignment_policy_violation", "image_content_policy_violation"}
)
_STATUS_BY_CODE = {"vector_store_timeout": 504, "server_is_overloaded": 529, "slow_down": 429}


def encode_error(error: PublicError) -> bytes:
    """`{"error": {message, type, param, code}}`. Where the error has no code of its own, `code` is the status as
    text.
    """
    return msgspec.json.encode({"error": _error_fields(error)})


def encode_stream_error(error: PublicError, sequence_number: int = 0) -> bytes:
    """The same as one event. No `response.completed` may follow."""
    inner = _error_fields(error)
    flat = {name: inner[name] for name in ("code", "message", "param")}
    event = {"type": "error", "sequence_number": sequence_number, **flat, "error": inner}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _error_fields(error: PublicError) -> dict[str, Any]:
    code = error.code or str(error.status)
    return {"message": error.message, "type": error.type, "param": error.param, "code": code}


def failed_fields(error: PublicError) -> dict[str, str]:
    """The `error` of a response whose status is "failed"."""
    fallback = "rate_limit_exceeded" if error.status == 429 else "server_error"
    return {"code": error.code or fallback, "message": error.message}


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    return failure(status, read_error_body(body), provider=provider, retry_after_s=retry_after_s(headers))


def error_in_stream(value: Any) -> UpstreamError:
    """The error of an `error` event, of a failed response, or of a reply that is an error under a status of 200."""
    said = said_in(value)
    code = said.code
    if code in _POLICY_CODES:
        return ContentPolicyViolation(said.message or code, upstream_status=400, code=code, param=said.param or None)
    if code in STATUS_BY_WORD or code.isdigit():
        return stream_failure(said)
    if code in _STATUS_BY_CODE:
        return failure(_STATUS_BY_CODE[code], said)
    if code in _REQUEST_CODES or code.startswith(_REQUEST_CODE_BEGINNINGS):
        return failure(400, Said(said.message, "invalid_request_error", code, said.param))
    return stream_failure(said)
