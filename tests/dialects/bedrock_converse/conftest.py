"""Frames of Amazon's event stream, written by Amazon's own Transcribe client: an encoder that is not ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from amazon_transcribe.eventstream import EventStreamMessageSerializer

Frame = Callable[..., bytes]


def write_frame(name: str, payload: Any = None, *, kind: str = "event", **more: Any) -> bytes:
    """`more` are further headers: `int_=5` is the header "int". A payload that is not bytes is written as JSON."""
    naming = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}[kind]
    headers: dict[str, Any] = {naming: name, ":content-type": "application/json", ":message-type": kind}
    headers |= {key.rstrip("_").replace("__", ":").replace("_", "-"): value for key, value in more.items()}
    body = payload if isinstance(payload, bytes) else json.dumps({} if payload is None else payload).encode()
    written: bytes = EventStreamMessageSerializer().serialize(headers, body)
    return written


@pytest.fixture(scope="session")
def frame() -> Frame:
    return write_frame
