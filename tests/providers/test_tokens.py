from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.errors import UpstreamAccountError, UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamUnreachable
from tollway.providers.tokens import (
    PAUSE_S,
    RENEW_S,
    WAIT_S,
    Token,
    TokenSigner,
    answer,
    ask,
    form,
    token,
    token_in,
    word_in,
)
from tollway.testing import FakeUpstream
from tollway.testing.upstream import FakeReply
from tollway.upstream.wire import Origin, WireRequest

HOUR_S = 3600.0
UPSTREAM = FakeUpstream()


class SignIn:
    """A new token with each fetch; good for `life_s`."""

    def __init__(self, life_s: float = HOUR_S) -> None:
        self.now = 1_000_000.0
        self.life_s = life_s
        self.fetched = 0
        self.fails: UpstreamError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.signer = TokenSigner("Somebody", self.fetch, wall=lambda: self.now)

    async def fetch(self, upstream: Any, now_s: float) -> Token:
        assert upstream is UPSTREAM
        self.fetched += 1
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return Token(Secret(f"token-{self.fetched}"), now_s, now_s + self.life_s)

    async def shown(self) -> bytes:
        await self.signer.prepare(UPSTREAM)
        request = WireRequest(Origin("https", "h", 443), b"", b"")
        self.signer.sign(request)
        return request.head

    async def settled(self) -> None:
        task = self.signer._renewing
        if task is not None:
            await asyncio.wait({task})
            await asyncio.sleep(0)


async def test_many_calls_wait_for_one_token() -> None:
    sign_in = SignIn()
    lines = await asyncio.gather(*(sign_in.shown() for _ in range(5)))
    assert lines == [b"authorization: Bearer token-1\r\n"] * 5
    assert sign_in.fetched == 1


async def test_a_token_is_renewed_ahead_while_the_old_one_serves() -> None:
    sign_in = SignIn()
    await sign_in.shown()
    sign_in.now += HOUR_S - RENEW_S - 1
    await sign_in.shown()
    assert sign_in.fetched == 1
    sign_in.gate.clear()
    sign_in.now += 2
    assert await sign_in.shown() == b"authorization: Bearer token-1\r\n"  # nobody waits for the new one
    assert await sign_in.shown() == b"authorization: Bearer token-1\r\n"
    sign_in.gate.set()
    await sign_in.settled()
    assert await sign_in.shown() == b"authorization: Bearer token-2\r\n"
    assert sign_in.fetched == 2


async def test_a_call_waits_when_the_token_is_about_to_end() -> None:
    sign_in = SignIn()
    await sign_in.shown()
    sign_in.now += HOUR_S - WAIT_S + 1
    assert await sign_in.shown() == b"authorization: Bearer token-2\r\n"


async def test_a_short_lived_token_serves_for_two_thirds_of_its_life() -> None:
    sign_in = SignIn(life_s=90)
    await sign_in.shown()
    sign_in.now += 59
    await sign_in.shown()
    assert sign_in.fetched == 1
    sign_in.now += 2
    assert await sign_in.shown() == b"authorization: Bearer token-1\r\n"
    await sign_in.settled()
    assert sign_in.fetched == 2


async def test_a_renewal_that_fails_harms_nobody_while_the_old_token_lasts() -> None:
    sign_in = SignIn()
    await sign_in.shown()
    sign_in.now += HOUR_S - RENEW_S + 1
    sign_in.fails = UpstreamUnreachable("away")
    assert await sign_in.shown() == b"authorization: Bearer token-1\r\n"
    await sign_in.settled()
    assert await sign_in.shown() == b"authorization: Bearer token-1\r\n"
    assert sign_in.fetched == 2  # and nobody asks again at once
    sign_in.fails = None
    sign_in.now += PAUSE_S + 1
    await sign_in.shown()
    await sign_in.settled()
    assert await sign_in.shown() == b"authorization: Bearer token-3\r\n"


async def test_a_sign_in_that_refuses_us_is_not_asked_by_every_call() -> None:
    sign_in = SignIn()
    sign_in.fails = UpstreamAccountError("no", status=503)
    for _ in range(3):
        with pytest.raises(UpstreamAccountError, match="no"):
            await sign_in.shown()
    assert sign_in.fetched == 1
    sign_in.fails = None
    sign_in.now += PAUSE_S + 1
    assert await sign_in.shown() == b"authorization: Bearer token-2\r\n"


async def test_a_caller_who_leaves_does_not_cancel_the_token_of_the_others() -> None:
    sign_in = SignIn()
    sign_in.gate.clear()
    leaving, staying = asyncio.ensure_future(sign_in.shown()), asyncio.ensure_future(sign_in.shown())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    sign_in.gate.set()
    assert await staying == b"authorization: Bearer token-1\r\n"
    assert sign_in.fetched == 1


# --- asking --------------------------------------------------------------------------------------------------------


async def test_a_form_goes_out_as_oauth_wants_it() -> None:
    upstream = FakeUpstream()
    upstream.reply_to("/t/token", FakeReply.json({"access_token": "t", "expires_in": 60}))
    request = form(
        "https://in.example:8443/t/token?x=1", {"grant_type": "client_credentials", "a": "b c&"}, [("RqUID", "7")]
    )
    assert await answer(upstream, request, "X") == {"access_token": "t", "expires_in": 60}
    sent = upstream.requests[0]
    assert (sent.method, sent.path, sent.query) == ("POST", "/t/token", {"x": ["1"]})
    assert sent.headers["host"] == "in.example:8443"
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sent.headers["rquid"] == "7"
    assert sent.body == b"grant_type=client_credentials&a=b+c%26"
    assert (sent.origin.host, sent.origin.port) == ("in.example", 8443)


@pytest.mark.parametrize("url", ["ftp://h/x", "nothing", "https://h/a b", "https://h/ä"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sign-in"):
        ask("GET", url)


def test_a_header_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="header"):
        ask("GET", "https://h/", [("a", "b\nc: d")])


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (FakeReply.json({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret S3CRET."},
                        status=401), UpstreamAccountError, "invalid_client AADSTS7000215"),
        (FakeReply.json({"error": "bad_verification_code"}), UpstreamAccountError, "bad_verification_code"),
        (FakeReply.json({"error": "<b>S3CRET"}, status=400), UpstreamAccountError, "(400)"),
        (FakeReply.json(b"S3CRET", status=403), UpstreamAccountError, "(403)"),
        (FakeReply.json({}, status=503), UpstreamFailed, "503"),
        (FakeReply.json({}, status=429), UpstreamFailed, "429"),
        (FakeReply.json([1]), UpstreamBroken, "no JSON object"),
    ],
)  # fmt: skip
async def test_what_a_sign_in_refuses_is_told_in_a_word(
    reply: FakeReply, error: type[UpstreamError], said: str
) -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, reply)
    with pytest.raises(error) as caught:
        await answer(upstream, ask("GET", "https://in.example/"), "Somebody")
    assert said in caught.value.message
    assert "Somebody" in caught.value.message
    assert "S3CRET" not in caught.value.message


@pytest.mark.parametrize(
    ("expires_in", "life_s"), [(60, 60), ("3599", 3599), (None, 1800), ("soon", 1800), (-5, 1800), (True, 1)]
)
def test_a_token_lives_as_long_as_it_is_said_to(expires_in: Any, life_s: float) -> None:
    found = token_in({"access_token": "abc", "expires_in": expires_in}, 1000.0, "X")
    assert found.expires_s == 1000.0 + life_s


@pytest.mark.parametrize("text", [None, 7, "", "a b", "a\r\nb: c", "ä", "x" * 40_000])
def test_what_no_header_can_hold_is_no_token(text: Any) -> None:
    with pytest.raises(UpstreamBroken, match="no token"):
        token(text, "X", 0.0, 1.0)


def test_words_are_short_and_plain() -> None:
    assert word_in(None) == word_in({}) == word_in({"error": {"a": 1}}) == ""
    assert word_in({"errorCode": "BXNIM0415E"}) == "BXNIM0415E"
