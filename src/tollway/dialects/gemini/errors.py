"""Google's error bodies, ours and theirs: `{"error": {code, message, status, details}}`, in a list where a stream was
asked for. https://cloud.google.com/apis/design/errors#http_mapping, https://ai.google.dev/gemini-api/docs/troubleshooting
(2026-11-22)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from tollway.errors import (
    ContentPolicyViolation,
    ContextWindowExceeded,
    PublicError,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
)
from tollway.failures import Said, failure, read_error_body, retry_after_s, said_in, stream_failure

STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: And back, where a stream tells the word alone.
STATUS_BY_WORD = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "INTERNAL": 500,
    "UNKNOWN": 500,
}


def _body(error: PublicError) -> dict[str, Any]:
    word = STATUS_WORDS.get(error.status) or ("INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    body: dict[str, Any] = {"code": error.status, "message": error.message, "status": word}
    details: list[dict[str, Any]] = []
    if error.param or error.code not in (None, "", word):
        info: dict[str, Any] = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "tollway"}
        info["reason"] = error.code or error.type
        if error.param:
            info["metadata"] = {"param": error.param}
        details.append(info)
    delay = getattr(error, "retry_after_s", None)
    if delay is not None:
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{delay:.3f}".rstrip("0").rstrip(".") + "s"})
    if details:
        body["details"] = details
    return {"error": body}


def encode_error(error: PublicError) -> bytes:
    """Google's error body, with the word it has for the status and when to come back, where that is known."""
    return msgspec.json.encode(_body(error))


def encode_stream_error(error: PublicError) -> bytes:
    """The same as one event. Google's SDKs raise at a chunk that is an error."""
    return b"data: " + encode_error(error) + b"\n\n"


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    after = retry_after_s(headers)
    if after is None:
        after = _retry_delay_s(body)
    return _failure(status, read_error_body(body), provider, after)


def error_in_stream(value: Any, payload: bytes = b"") -> UpstreamError | None:
    """The error that stands where a chunk or a reply should, under a status of 200; None if the value is none."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict) or not value.get("error"):
        return None
    said = said_in(value["error"])
    status = int(said.code) if said.code.isdigit() else STATUS_BY_WORD.get(said.type, 0)
    if not 400 <= status <= 599:
        return stream_failure(said)
    return _failure(status, said, "", _retry_delay_s(payload))


_TOO_LONG = re.compile(
    r"input token count is \d+ but .{0,40}only supports up to \d+|exceeds? the maximum number of tokens"
)
#: Billing, not pace: no waiting helps.
_PURSE_TEXTS = ("credits are depleted", "prepayment")


def _failure(status: int, said: Said, provider: str, after: float | None) -> UpstreamError:
    """Google says "You exceeded your current quota, please check your plan and billing details" of any limit, one per
    minute too, and tells when to come back: its status decides, not these words.
    """
    text = said.message.lower()
    if status == 429:
        if any(words in text for words in _PURSE_TEXTS):
            said.code = "insufficient_quota"
            return failure(status, said, provider=provider, retry_after_s=after)
        message = said.message or f"The provider {provider or 'behind this model'} answered with status 429."
        return UpstreamRateLimited(message, upstream_status=status, code=said.type or None, retry_after_s=after)
    if status == 400 and _TOO_LONG.search(text):
        return ContextWindowExceeded(said.message, upstream_status=status)
    if said.code.isdigit():
        said.code = said.type  # the status again; its word says more
    return failure(status, said, provider=provider, retry_after_s=after)


# --- when to come back ---------------------------------------------------------------------------------------------

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,7}(?:\.\d{1,9})?)s"')


def _retry_delay_s(body: bytes) -> float | None:
    """`retryDelay` of a RetryInfo among the details, or in an error that is told as text in another."""
    found = _DELAY.search(body.replace(b'\\"', b'"')) if b"retryDelay" in body else None
    return float(found[1]) if found is not None else None


# --- replies that are refusals -------------------------------------------------------------------------------------

#: The model wrote a tool call, or a whole reply, that cannot be read: taken for a stop, an agent would think it done.
UNREADABLE_FINISHES = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"}
)


def finish_failure(reason: str, message: str) -> UpstreamError | None:
    """The error that a finish reason is; None for one that ends a reply."""
    words = f": {message}" if message else ""
    if reason in UNREADABLE_FINISHES:
        broken = UpstreamBroken(f"The model's answer cannot be used ({reason}{words}).", code=reason.lower())
        broken.cools = False  # the model's mistake in this one answer; the next may be right
        return broken
    if reason == "MISSING_THOUGHT_SIGNATURE":
        return UpstreamRefused(f"The model wants its thought signatures back ({reason}{words}).", code=reason.lower())
    if reason == "PUP_LIMITED_DISABLED":
        return UpstreamAccountError(
            "The provider refused this gateway's account. An administrator must check it.",
            retryable_by_client=False,
        )
    return None


def blocked_prompt(reason: str, message: str) -> ContentPolicyViolation:
    words = f": {message}" if message else ""
    return ContentPolicyViolation(f"The provider blocked the prompt ({reason}{words}).", code="content_filter")
