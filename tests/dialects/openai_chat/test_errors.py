from __future__ import annotations

import json

import pytest

from tollway.dialects.openai_chat import decode_error, encode_error, encode_stream_error
from tollway.errors import BadRequest, PublicError, UnknownModel, UpstreamRateLimited, UpstreamRefused


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (BadRequest("no"), {"message": "no", "type": "invalid_request_error", "param": None, "code": "400"}),
        (
            UnknownModel("x"),
            {
                "message": "Invalid model name passed in model=x. Call `/v1/models` to view available models for your key.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            },
        ),
    ],
)
def test_an_error_body_is_openais(error: PublicError, body: dict[str, object]) -> None:
    assert json.loads(encode_error(error)) == {"error": body}
    assert encode_stream_error(error) == b"data: " + encode_error(error) + b"\n\n"


def test_a_providers_error_keeps_its_words_and_when_to_come_back() -> None:
    body = b'{"error":{"message":"Rate limit reached for gpt-4o","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
    error = decode_error(429, [(b"retry-after", b"20")], body, "openai")
    assert isinstance(error, UpstreamRateLimited)
    assert (error.message, error.code, error.retry_after_s) == (
        "Rate limit reached for gpt-4o",
        "rate_limit_exceeded",
        20.0,
    )


def test_a_refusal_keeps_the_parameter() -> None:
    error = decode_error(
        400, [], b'{"error":{"message":"bad","type":"invalid_request_error","param":"top_p","code":null}}'
    )
    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.param, error.code) == (400, "top_p", None)
