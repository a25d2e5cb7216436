"""Ollama's errors: `{"error": "what went wrong"}`, in a stream as a line of its own.

https://docs.ollama.com/api/errors (2026-11-22)
"""

from __future__ import annotations

from collections.abc import Sequence

from tollway.errors import UpstreamError
from tollway.failures import failure, read_error_body, retry_after_s


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """What a provider's error answer means; `provider` is the name that people know it by."""
    return failure(status, read_error_body(body), provider=provider, retry_after_s=retry_after_s(headers))
