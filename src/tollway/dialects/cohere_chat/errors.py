"""Cohere's errors: `{"id": "...", "message": "what went wrong"}`. https://docs.cohere.com/reference/errors (2026-11-22)

Two of its statuses are nobody else's: 498 says that its safety system blocked input or output, 499 that the call was
cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence

from tollway.errors import ContentPolicyViolation, UpstreamBroken, UpstreamError, UpstreamTimeout
from tollway.failures import Said, failure, read_error_body, retry_after_s, stream_failure

BLOCKED = 498


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    said = read_error_body(body)
    if status == BLOCKED:
        return ContentPolicyViolation(said.message or "The provider blocked the content.", upstream_status=status)
    return failure(status, said, provider=provider, retry_after_s=retry_after_s(headers))


def finish_failure(reason: str, message: str) -> UpstreamError | None:
    """The error that a finish reason is; None for one that ends a reply."""
    if reason == "TIMEOUT":
        return UpstreamTimeout(message or "The provider took too long for its answer.")
    if reason == "ERROR":
        if message:
            return stream_failure(Said(message=message))
        return UpstreamBroken("The provider broke off its answer.")
    return None
