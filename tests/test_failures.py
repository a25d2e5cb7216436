from __future__ import annotations

import json

import pytest

from tollway.errors import (
    ContentPolicyViolation,
    ContextWindowExceeded,
    UpstreamAccountError,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from tollway.failures import Said, clean, failure, read_error_body, retry_after_s, said_in, stream_failure


def _openai(message: str, **rest: object) -> bytes:
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **rest}}).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_openai("Bad parameter foo"), "Bad parameter foo"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "Overloaded"),
        (b'[{"error":{"code":400,"message":"API says no","status":"INVALID_ARGUMENT"}}]', "API says no"),
        (b'{"detail":"Not here"}', "Not here"),
        (b'{"detail":[{"loc":["body"],"msg":"Field required"}]}', "Field required"),
        (b'{"message":"plain"}', "plain"),
        (b'{"error":"just words"}', "just words"),
        (_openai('Provider said: {"error": {"message": "the inner words"}}'), "the inner words"),
        (_openai('{"error": {"message": "{\\"error\\": {\\"message\\": \\"deepest\\"}}"}}'), "deepest"),
        (
            b"<html><head><title>t</title></head><body><h1>502 Bad</h1>\n <p>Gateway</p></body></html>",
            "502 Bad Gateway",
        ),
        (b"upstream connect error", "upstream connect error"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_providers_own_words_are_found_in_whatever_it_sends(body: bytes, message: str) -> None:
    assert read_error_body(body).message == message


def test_a_long_plain_text_is_cut() -> None:
    assert len(read_error_body(b"x" * 5000).message) == 300


def test_code_param_and_type_are_kept_where_openai_puts_them() -> None:
    said = read_error_body(_openai("m", type="invalid_request_error", param="tools[0].name", code="bad_name"))
    assert said == Said("m", "invalid_request_error", "bad_name", "tools[0].name")


def test_the_word_none_is_nothing() -> None:
    assert said_in({"message": "m", "param": "None", "code": "null"}) == Said("m")


@pytest.mark.parametrize(
    "secret",
    [
        "sk-abcdefgh12345678",
        "sk-proj-abc_def-123456",
        "Bearer eyJhbGciOi.abc.def",
        "AIzaSyA1234567890abcdef",
        "gsk_abcdefghijkl",
    ],
)
def test_nothing_that_looks_like_a_secret_leaves(secret: str) -> None:
    assert secret not in clean(f"Incorrect API key provided: {secret}. Find yours in the console.")


@pytest.mark.parametrize(
    ("status", "said", "kind", "public"),
    [
        (400, Said("no"), UpstreamRefused, 400),
        (422, Said("no"), UpstreamRefused, 422),
        (404, Said("no such model"), UpstreamRefused, 404),
        (413, Said("too large"), UpstreamRefused, 413),
        (400, Said("x", code="context_length_exceeded"), ContextWindowExceeded, 400),
        (400, Said("This model's Maximum Context Length is 8192 tokens"), ContextWindowExceeded, 400),
        (400, Said("prompt is too long: 210000 tokens > 200000 maximum"), ContextWindowExceeded, 400),
        (400, Said("current length is 9000 while limit is 8192"), ContextWindowExceeded, 400),
        (400, Said("x", code="content_policy_violation"), ContentPolicyViolation, 400),
        (400, Said("Your request was rejected as a result of the safety system."), ContentPolicyViolation, 400),
        (401, Said("Incorrect API key provided: sk-abcdefgh1234"), UpstreamAccountError, 503),
        (402, Said("pay"), UpstreamAccountError, 503),
        (403, Said("no"), UpstreamAccountError, 503),
        (400, Said("Your credit balance is too low to access the API."), UpstreamAccountError, 503),
        (400, Said("API key not valid. Please pass a valid API key."), UpstreamAccountError, 503),
        (429, Said("quota", code="insufficient_quota"), UpstreamAccountError, 503),
        (429, Said("slow down"), UpstreamRateLimited, 429),
        (408, Said("x"), UpstreamTimeout, 408),
        (504, Said("x"), UpstreamTimeout, 408),
        (500, Said("x"), UpstreamFailed, 500),
        (502, Said("x"), UpstreamFailed, 502),
        (503, Said("x"), UpstreamFailed, 503),
        (529, Said("Overloaded", "overloaded_error"), UpstreamFailed, 503),
    ],
)
def test_a_status_and_its_words_say_what_failed(
    status: int, said: Said, kind: type[UpstreamError], public: int
) -> None:
    error = failure(status, said, provider="openai")
    assert type(error) is kind
    assert error.status == public
    assert error.upstream_status == status


def test_trouble_with_our_account_is_told_without_the_providers_words() -> None:
    error = failure(401, Said("Incorrect API key provided: sk-ab***yz", code="invalid_api_key"), provider="openai")
    assert error.message == (
        "The provider openai refused this gateway's account (401). An administrator must check its key or billing."
    )
    assert (error.type, error.retryable_by_client, error.code) == ("upstream_error", False, None)


def test_no_account_trouble_uses_words_that_make_agents_throw_their_key_away() -> None:
    for said in (Said("You exceeded your current quota", code="insufficient_quota"), Said("credit balance is too low")):
        message = failure(429, said, provider="x").message.lower() if said.code else failure(400, said).message.lower()
        assert not any(words in message for words in ("out of budget", "insufficient_quota", "credit balance", "quota"))


def test_an_overloaded_provider_keeps_its_type() -> None:
    assert failure(529, Said("Overloaded", "overloaded_error")).type == "overloaded_error"


def test_a_provider_without_words_still_gives_a_sentence() -> None:
    assert (
        failure(500, Said(), provider="acme").message
        == "The provider acme answered with status 500 and no explanation."
    )


def test_the_code_of_an_exceeded_context_window_is_always_openais() -> None:
    assert (
        failure(400, Said("prompt is too long: 2 tokens > 1 maximum", "invalid_request_error")).code
        == "context_length_exceeded"
    )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (Said("x", "overloaded_error"), 503),
        (Said("x", "rate_limit_error"), 429),
        (Said("x", "", "429"), 429),
        (Said("x", "server_error"), 500),
        (Said("x", "invalid_request_error"), 400),
        (Said("x", "", "insufficient_quota"), 503),
        (Said("x"), 500),
        (Said("x", "", "17"), 500),
    ],
)
def test_an_error_inside_a_stream_tells_its_status_by_a_word(said: Said, status: int) -> None:
    assert stream_failure(said).status == status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"Retry-After", b"1.5")], 1.5),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"3")], 3.0),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([], None),
    ],
)
def test_how_long_to_wait_is_read_from_either_header(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
