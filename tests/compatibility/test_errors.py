"""What a client is told when its provider fails: in its own API's words, with what it must know to act."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.config.settings import Config, RoutingSettings
from tollway.testing import FakeReply
from tollway.testing.gateway import SmallGateway

from .table import BASE, CLIENTS, HELLO, PROVIDERS, entries

#: Where each API's error keeps its sentence.
ANSWERED = [
    (client, provider)
    for client in CLIENTS
    for provider in ("openai_chat", "anthropic_messages", "gemini", "cohere_chat")
]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    models = [replace(entry, retries=0) for entry in entries()]
    config = Config(routing=RoutingSettings(cooldowns=False))
    async with SmallGateway(tmp_path, models, config=config) as gateway:
        yield gateway


async def ask(gateway: SmallGateway, client: str, provider: str, reply: FakeReply) -> Any:
    gateway.upstream.reply_to(None, reply, host=f"{provider}.example")
    body = dict(BASE[client]) if client == "gemini" else {**BASE[client], "model": provider}
    return await gateway.ask(path=CLIENTS[client][1].format(model=provider), body=json.dumps(body).encode())


def failing(status: int, message: str, *, headers: dict[str, str] | None = None, **rest: Any) -> FakeReply:
    return FakeReply.json({"error": {"message": message, **rest}}, status, headers)


@pytest.mark.parametrize(("client", "provider"), ANSWERED)
@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_account_of_ours_is_a_503_that_nobody_tries_again(
    gateway: SmallGateway, client: str, provider: str, status: int
) -> None:
    answer = await ask(
        gateway, client, provider, failing(status, "Incorrect API key provided: sk-live-abcdef0123456789")
    )
    assert answer.status == 503
    assert answer.headers["x-should-retry"] == "false"
    assert "sk-live" not in answer.body.decode()
    error = answer.json()["error"]
    assert (
        f"refused this gateway's account ({status}). An administrator must check its key or billing."
        in error["message"]
    )
    kinds = {"anthropic_messages": "api_error", "openai_chat": "upstream_error", "openai_responses": "upstream_error"}
    assert error.get("status", error.get("type")) == kinds.get(client, "UNAVAILABLE")


@pytest.mark.parametrize("client", CLIENTS)
async def test_when_to_come_back_reaches_the_caller(gateway: SmallGateway, client: str) -> None:
    date = {"date": "Wed, 21 Oct 2026 07:27:15 GMT", "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}
    for headers, message, seconds in (
        ({"retry-after": "7"}, "slow down", "7"),
        ({"retry-after-ms": "2500"}, "slow down", "3"),
        (date, "slow down", "45"),
        (None, "Rate limit reached. Please try again in 7.66s.", "8"),
    ):
        answer = await ask(gateway, client, "openai_chat", failing(429, message, headers=headers))
        assert (answer.status, answer.headers["retry-after"]) == (429, seconds)


@pytest.mark.parametrize("client", ["openai_chat", "openai_responses"])
async def test_the_providers_code_and_field_survive(gateway: SmallGateway, client: str) -> None:
    refused = failing(400, "Unknown voice.", type="invalid_request_error", param="voice", code="unknown_voice")
    answer = await ask(gateway, client, "openai_chat", refused)
    error = answer.json()["error"]
    assert answer.status == 400
    assert (error["message"], error["param"], error["code"]) == ("Unknown voice.", "voice", "unknown_voice")


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_prompt_that_is_too_long_is_known_in_every_api(gateway: SmallGateway, client: str) -> None:
    reply = FakeReply.json(
        {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 2 > 1"}}, 400
    )
    answer = await ask(gateway, client, "anthropic_messages", reply)
    assert answer.status == 400
    assert "prompt is too long" in answer.json()["error"]["message"]
    if client != "anthropic_messages":
        assert "context_length_exceeded" in answer.body.decode()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "answered with nothing"), (b"\n<!doctype html><title>Hi</title>", "a web page instead of an API's answer")],
)
async def test_an_answer_that_is_a_page_or_nothing_is_called_that(
    gateway: SmallGateway, client: str, provider: str, body: bytes, words: str
) -> None:
    reply = FakeReply.json(body, 200, {"content-type": "text/html"})
    answer = await ask(gateway, client, provider, reply)
    assert answer.status == 502
    assert words in answer.json()["error"]["message"]
    assert (await ask(gateway, client, provider, FakeReply.json(HELLO[provider]))).status == 200
