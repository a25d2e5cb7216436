from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.dialects.gemini import decode_error, encode_error, encode_stream_error
from tollway.errors import (
    BadRequest,
    ContextWindowExceeded,
    PublicError,
    Unauthenticated,
    UnknownModel,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (BadRequest("no"), {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}),
        (Unauthenticated("no"), {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}),
        (PublicError("x", status=418), {"code": 418, "message": "x", "status": "INVALID_ARGUMENT"}),
        (UpstreamBroken("x"), {"code": 502, "message": "x", "status": "UNAVAILABLE"}),
        (
            UpstreamRateLimited("slow", retry_after_s=2.5),
            {
                "code": 429,
                "message": "slow",
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}],
            },
        ),
        (
            BadRequest("no", param="contents", code="c"),
            {
                "code": 400,
                "message": "no",
                "status": "INVALID_ARGUMENT",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "domain": "tollway",
                        "reason": "c",
                        "metadata": {"param": "contents"},
                    }
                ],
            },
        ),
    ],
)
def test_an_error_body_is_googles(error: PublicError, body: dict[str, Any]) -> None:
    assert json.loads(encode_error(error)) == {"error": body}
    assert encode_stream_error(error) == b"data: " + encode_error(error) + b"\n\n"


def test_an_unknown_model_says_why() -> None:
    assert json.loads(encode_error(UnknownModel("x")))["error"]["details"][0]["reason"] == "model_not_found"


def said(code: int, message: str, status: str, **rest: Any) -> bytes:
    return json.dumps([{"error": {"code": code, "message": message, "status": status, **rest}}]).encode()


QUOTA = "You exceeded your current quota, please check your plan and billing details."
DETAILS = [
    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaValue": "10"}]},
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22.5s"},
]


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (429, said(429, QUOTA, "RESOURCE_EXHAUSTED", details=DETAILS), UpstreamRateLimited, "RESOURCE_EXHAUSTED"),
        (429, said(429, QUOTA, "RESOURCE_EXHAUSTED"), UpstreamRateLimited, "RESOURCE_EXHAUSTED"),
        (429, b"", UpstreamRateLimited, None),
        (429, said(429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED"), UpstreamAccountError, None),
        (
            400,
            said(
                400, "The input token count (9) exceeds the maximum number of tokens allowed (8).", "INVALID_ARGUMENT"
            ),
            ContextWindowExceeded,
            "context_length_exceeded",
        ),
        (
            400,
            said(
                400, "Unable to submit request because the input token count is 9 but model only supports up to 8.", "X"
            ),
            ContextWindowExceeded,
            "context_length_exceeded",
        ),
        (
            400,
            said(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
            UpstreamAccountError,
            None,
        ),
        (400, said(400, "Invalid value", "INVALID_ARGUMENT"), UpstreamRefused, "INVALID_ARGUMENT"),
        (403, said(403, "denied", "PERMISSION_DENIED"), UpstreamAccountError, None),
        (404, said(404, "models/x is not found", "NOT_FOUND"), UpstreamRefused, "NOT_FOUND"),
        (500, said(500, "An internal error", "INTERNAL"), UpstreamFailed, "INTERNAL"),
        (503, said(503, "overloaded", "UNAVAILABLE"), UpstreamFailed, "UNAVAILABLE"),
        (504, said(504, "late", "DEADLINE_EXCEEDED"), UpstreamTimeout, "DEADLINE_EXCEEDED"),
    ],
)
def test_a_providers_error_has_its_kind(status: int, body: bytes, kind: type[UpstreamError], code: str | None) -> None:
    error = decode_error(status, [], body, "gemini")
    assert type(error) is kind
    assert (error.upstream_status, error.code) == (status, code)


def test_when_to_come_back_is_in_the_details_or_the_header() -> None:
    body = said(429, QUOTA, "RESOURCE_EXHAUSTED", details=DETAILS)
    assert decode_error(429, [], body).retry_after_s == 22.5
    assert decode_error(429, [(b"Retry-After", b"3")], body).retry_after_s == 3
    assert decode_error(429, [], said(429, QUOTA, "RESOURCE_EXHAUSTED")).retry_after_s is None
    nested = json.dumps({"error": {"message": body.decode(), "code": 429}}).encode()
    assert decode_error(429, [], nested).retry_after_s == 22.5
