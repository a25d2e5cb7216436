from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.dialects.openai_responses import decode_error, decode_reply, encode_error, encode_stream_error
from tollway.errors import (
    BadRequest,
    ContentPolicyViolation,
    ContextWindowExceeded,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)


def test_an_error_body_is_openais() -> None:
    assert json.loads(encode_error(BadRequest("no", param="input"))) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "input", "code": "400"}
    }


def test_an_error_in_the_stream_has_both_shapes_that_are_about() -> None:
    name, data, *rest = encode_stream_error(UpstreamBroken("gone"), 7).split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "sequence_number": 7,
        "code": "502",
        "message": "gone",
        "param": None,
        "error": {"message": "gone", "type": "upstream_error", "param": None, "code": "502"},
    }


def test_a_providers_error_keeps_its_words_and_when_to_come_back() -> None:
    body = b'{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
    error = decode_error(429, [(b"retry-after", b"20")], body, "openai")
    assert isinstance(error, UpstreamRateLimited)
    assert (error.message, error.code, error.retry_after_s) == ("Rate limit reached", "rate_limit_exceeded", 20.0)


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("server_error", UpstreamFailed, 500),
        ("rate_limit_exceeded", UpstreamRateLimited, 429),
        ("slow_down", UpstreamRateLimited, 429),
        ("server_is_overloaded", UpstreamFailed, 503),
        ("vector_store_timeout", UpstreamTimeout, 408),
        ("invalid_prompt", UpstreamRefused, 400),
        ("image_too_large", UpstreamRefused, 400),
        ("empty_image_file", UpstreamRefused, 400),
        ("bio_policy", ContentPolicyViolation, 400),
        ("image_content_policy_violation", ContentPolicyViolation, 400),
        ("context_length_exceeded", ContextWindowExceeded, 400),
        ("insufficient_quota", UpstreamAccountError, 503),
        ("novel", UpstreamFailed, 500),
        (None, UpstreamFailed, 500),
    ],
)
def test_a_failed_response_means_what_its_code_says(code: Any, kind: type[UpstreamError], status: int) -> None:
    body = {"id": "resp_1", "status": "failed", "output": [], "error": {"code": code, "message": "Words."}}
    with pytest.raises(kind) as caught:
        decode_reply(json.dumps(body).encode())
    assert type(caught.value) is kind
    assert caught.value.status == status
    if kind is not UpstreamAccountError:
        assert caught.value.message == "Words."
