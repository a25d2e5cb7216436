"""Reads the body, bounded in bytes and time; below this line the call is complete."""

from __future__ import annotations

from tollway.calls import Call, Reply
from tollway.policies import Step
from tollway.snapshot import Snapshot

READ_HEADERS = frozenset(
    {
        b"x-litellm-customer-id",
        b"x-litellm-end-user-id",
        b"x-litellm-session-id",
        b"x-litellm-tags",
        b"x-litellm-timeout",
        b"x-session-id",
    }
)


def read(next: Step) -> Step:
    """Fills the call from its body. Raises BodyTooLarge, BodyTimeout or BadRequest."""

    async def step(call: Call) -> Reply:
        snapshot: Snapshot = call.snapshot
        call.body = await call.line.read_body(snapshot.body_bytes_max)
        if not READ_HEADERS.isdisjoint(call.client_headers):
            _read_headers(call)
        more = call.operation.parse(call)
        if more is not None:
            await more
        return await next(call)

    return step


def _read_headers(call: Call) -> None:
    seen = call.client_headers
    if (tags := seen.get(b"x-litellm-tags")) is not None:
        call.tags.extend(tag.strip() for tag in tags.decode("latin-1").split(",") if tag.strip())
    if (session := seen.get(b"x-litellm-session-id") or seen.get(b"x-session-id")) is not None:
        call.session_id = session[:200].decode("latin-1")
    if (user := seen.get(b"x-litellm-end-user-id") or seen.get(b"x-litellm-customer-id")) is not None:
        call.end_user = user[:200].decode("latin-1")
    if (timeout := seen.get(b"x-litellm-timeout")) is not None:
        try:
            call.timeout_s = max(0.001, float(timeout))
        except ValueError:
            call.timeout_s = None
