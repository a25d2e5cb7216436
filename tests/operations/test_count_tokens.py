"""Counting tokens, as Anthropic's own SDK asks for it."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2 as httpx
import pytest

from tollway.testing import FakeReply

HELLO: Any = [{"role": "user", "content": "Hello there, how are you?"}]


def sdk(table: Any, key: str, base: str = "") -> anthropic.AsyncAnthropic:
    http_client = httpx.AsyncClient(transport=httpx.ASGITransport(app=table.app))
    return anthropic.AsyncAnthropic(
        api_key=key, base_url=f"http://gateway.example{base}", http_client=http_client, max_retries=0
    )


@pytest.mark.parametrize("base", ["", "/anthropic"])
async def test_anthropic_counts_for_itself_and_nothing_is_charged(table: Any, base: str) -> None:
    key = await table.give_key(max_budget_nano=1)  # room for next to nothing
    table.upstream.reply_to("/v1/messages/count_tokens", FakeReply.json(b'{"input_tokens": 14}'))
    async with sdk(table, key, base) as client:
        raw = await client.messages.with_raw_response.count_tokens(model="claude", system="Be kind.", messages=HELLO)
    assert (await raw.parse()).input_tokens == 14
    assert "x-tollway-estimated" not in raw.headers
    (sent,) = table.upstream.requests
    assert (sent.method, sent.path) == ("POST", "/v1/messages/count_tokens")
    assert sent.json() == {"model": "claude-opus-4-6", "system": "Be kind.", "messages": HELLO}
    assert sent.headers["x-api-key"] == "sk-ant"
    record = await table.record()
    assert (record.call_type, record.cost.total, record.held_nano) == ("acount_tokens", 0, 0)
    assert (await table.storage.keys.load_all())[0].spend_nano == 0


async def test_for_others_the_bytes_are_counted_and_that_is_said(table: Any) -> None:
    key = await table.give_key()
    async with sdk(table, key) as client:
        raw = await client.messages.with_raw_response.count_tokens(model="chat", messages=HELLO)
    told = (await raw.parse()).input_tokens
    assert 5 < told < 12
    assert raw.headers["x-tollway-estimated"] == "true"
    assert table.upstream.requests == []
    record = await table.record()
    assert (record.call_type, record.model_group, record.cost.total) == ("acount_tokens", "chat", 0)


async def test_a_picture_counts_by_itself_and_not_by_its_bytes(table: Any) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a" * 100_000}}
    asked = {"model": "chat", "messages": [{"role": "user", "content": [picture]}]}
    answer = await table.post("/v1/messages/count_tokens", asked)
    assert 1_600 <= answer.json()["input_tokens"] < 1_700


async def test_what_the_provider_refuses_is_told_in_anthropics_words(table: Any) -> None:
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: too short"}}
    table.upstream.reply_to("/v1/messages/count_tokens", FakeReply.json(said, status=400))
    async with sdk(table, await table.give_key()) as client:
        with pytest.raises(anthropic.BadRequestError, match="messages: too short"):
            await client.messages.count_tokens(model="claude", messages=[])


@pytest.mark.parametrize("body", [{"messages": []}, {"model": "claude"}])
async def test_model_and_messages_are_needed(table: Any, body: dict[str, Any]) -> None:
    answer = await table.post("/v1/messages/count_tokens", body)
    assert answer.status == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
