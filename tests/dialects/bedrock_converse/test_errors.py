from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tollway.dialects.bedrock_converse import decode_error
from tollway.dialects.bedrock_converse.errors import frame_failure
from tollway.dialects.bedrock_converse.frames import FrameCutter
from tollway.errors import (
    ContextWindowExceeded,
    UpstreamAccountError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)

Frame = Callable[..., bytes]

# Statuses and names: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (2026-11-22)
CASES: list[tuple[int, str, dict[str, Any], type[Exception], int]] = [
    (
        429,
        "ThrottlingException",
        {"message": "Too many tokens, please wait before trying again."},
        UpstreamRateLimited,
        429,
    ),
    (400, "ServiceQuotaExceededException", {"message": "Your quota is used up."}, UpstreamRateLimited, 429),
    (400, "ThrottlingException", {"message": "Rate exceeded"}, UpstreamRateLimited, 429),
    (403, "AccessDeniedException", {"message": "You don't have access to the model"}, UpstreamAccountError, 503),
    (403, "UnrecognizedClientException", {"message": "The security token is invalid."}, UpstreamAccountError, 503),
    (400, "ExpiredTokenException", {"message": "The security token is expired"}, UpstreamAccountError, 503),
    (403, "InvalidSignatureException", {"message": "The signature does not match."}, UpstreamAccountError, 503),
    (404, "ResourceNotFoundException", {"message": "Could not resolve the foundation model"}, UpstreamRefused, 404),
    (400, "ValidationException", {"message": "The provided model identifier is invalid."}, UpstreamRefused, 400),
    (400, "ValidationException", {"message": "Input is too long for requested model."}, ContextWindowExceeded, 400),
    (
        400,
        "ValidationException",
        {"message": "Too many input tokens. Max input tokens: 8192, request input token count: 9000"},
        ContextWindowExceeded,
        400,
    ),
    (
        400,
        "ValidationException",
        {"message": "The model returned the following errors: prompt is too long: 208310 tokens > 200000 maximum"},
        ContextWindowExceeded,
        400,
    ),
    (408, "ModelTimeoutException", {"message": "The request took too long"}, UpstreamTimeout, 408),
    (424, "ModelErrorException", {"message": "failed", "originalStatusCode": 500}, UpstreamFailed, 500),
    (424, "ModelErrorException", {"message": "failed", "originalStatusCode": 429}, UpstreamRateLimited, 429),
    (424, "ModelErrorException", {"message": "failed", "originalStatusCode": 403}, UpstreamFailed, 502),
    (424, "ModelErrorException", {"message": "failed"}, UpstreamFailed, 502),
    (429, "ModelNotReadyException", {"message": "The model is not ready"}, UpstreamFailed, 503),
    (500, "InternalServerException", {"message": "Something broke"}, UpstreamFailed, 500),
    (503, "ServiceUnavailableException", {"message": "Try again"}, UpstreamFailed, 503),
]


@pytest.mark.parametrize(("status", "name", "body", "kind", "ours"), CASES, ids=lambda value: str(value)[:40])
def test_an_answer_means_what_its_name_says(
    status: int, name: str, body: dict[str, Any], kind: type[Exception], ours: int
) -> None:
    headers = [(b"x-amzn-errortype", f"{name}:http://internal.amazon.com/coral/".encode())]
    error = decode_error(status, headers, json.dumps(body).encode(), "bedrock")
    assert type(error) is kind
    assert error.status == ours
    if kind is UpstreamAccountError:
        assert body["message"] not in error.message  # what is wrong with our account is ours alone
    else:
        assert error.message == body["message"]


def test_the_name_may_stand_in_the_body() -> None:
    body = b'{"__type":"com.amazon.coral.service#ThrottlingException","Message":"Slow down"}'
    error = decode_error(400, [], body, "bedrock")
    assert isinstance(error, UpstreamRateLimited)
    assert error.message == "Slow down"


def test_when_to_come_back_is_told() -> None:
    error = decode_error(429, [(b"retry-after", b"7")], b'{"message":"Too many requests"}')
    assert error.retry_after_s == 7


def test_an_answer_that_is_no_json_is_read_too() -> None:
    error = decode_error(503, [], b"<html><body>Service Unavailable</body></html>", "bedrock")
    assert isinstance(error, UpstreamFailed)
    assert error.message.endswith("a web page instead of an API's answer (status 503). It says: Service Unavailable")


@pytest.mark.parametrize(
    ("name", "payload", "kind", "status"),
    [
        ("throttlingException", {"message": "Too many requests"}, UpstreamRateLimited, 429),
        ("validationException", {"message": "Input is too long for requested model."}, ContextWindowExceeded, 400),
        ("validationException", {"message": "Something is wrong"}, UpstreamRefused, 400),
        ("internalServerException", {"message": "Broken"}, UpstreamFailed, 500),
        ("serviceUnavailableException", {"message": "Busy"}, UpstreamFailed, 503),
        ("modelTimeoutException", {"message": "Too slow"}, UpstreamTimeout, 408),
        ("modelStreamErrorException", {"message": "x", "originalStatusCode": 503}, UpstreamFailed, 503),
        ("modelStreamErrorException", {"message": "x"}, UpstreamFailed, 502),
        ("somethingNewException", {"message": "?"}, UpstreamFailed, 500),
    ],
)
def test_an_exception_in_a_stream_means_the_same(
    frame: Frame, name: str, payload: dict[str, Any], kind: type[Exception], status: int
) -> None:
    (thrown,) = FrameCutter().feed(frame(name, payload, kind="exception"))
    error = frame_failure(thrown)
    assert type(error) is kind
    assert error.status == status


def test_what_the_model_said_goes_before_what_the_api_says(frame: Frame) -> None:
    payload = {"message": "The model failed.", "originalStatusCode": 500, "originalMessage": "out of memory"}
    (thrown,) = FrameCutter().feed(frame("modelStreamErrorException", payload, kind="exception"))
    assert frame_failure(thrown).message == "out of memory"


def test_an_error_frame_has_its_message_in_its_headers(frame: Frame) -> None:
    (failed,) = FrameCutter().feed(frame("throttlingException", b"", kind="error", __error_message="Slow down"))
    error = frame_failure(failed)
    assert isinstance(error, UpstreamRateLimited)
    assert error.message == "Slow down"
