"""Anthropic's own SDK in front of the gateway, with providers that speak Anthropic's dialect and OpenAI's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import httpx2 as httpx
import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply, model_entry
from tollway.testing.upstream import FakeReply

CLAUDE = ModelEntry(
    model_name="claude",
    provider_model="anthropic/claude-opus-4-6",
    api_key=Secret("sk-ant-of-the-provider"),
    api_base="http://claude.example",
    place="claude",
)
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-6-20260205",
    "content": [{"type": "text", "text": "Hello there"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 6},
}
STREAM = [
    (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
        b'"model":"claude-opus-4-6-20260205","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":10,"output_tokens":1}}}\n\n'
    ),
    (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
    ),
    (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"Hello there"}}\n\n'
    ),
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    (
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"output_tokens":6}}\n\n'
    ),
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
ASK: dict[str, Any] = {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def client(gateway: SmallGateway, key: str = MASTER_KEY) -> anthropic.AsyncAnthropic:
    transport = httpx.ASGITransport(app=gateway.app)  # type: ignore[arg-type]
    http_client = httpx.AsyncClient(transport=transport, base_url="http://gateway.example")
    return anthropic.AsyncAnthropic(
        api_key=key, base_url="http://gateway.example", http_client=http_client, max_retries=0
    )


async def test_claude_answers_its_own_sdk_with_its_own_words_and_is_charged(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[CLAUDE]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(MESSAGE))

        message = await client(gateway).messages.create(model="claude", metadata={"user_id": "u1"}, **ASK)

        assert (message.content[0].text, message.model, message.id) == ("Hello there", "claude", "msg_1")
        assert message.usage.cache_read_input_tokens == 5
        (sent,) = gateway.upstream.requests
        assert (sent.method, sent.path) == ("POST", "/v1/messages")
        assert sent.headers["x-api-key"] == "sk-ant-of-the-provider"
        assert sent.json() == {
            "model": "claude-opus-4-6",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
            "metadata": {"user_id": "u1"},
        }
        (record,) = await gateway.records()
        assert record.cost.total == 221_250
        assert (record.call_type, record.end_user) == ("anthropic_messages", "u1")


async def test_a_stream_of_claude_comes_event_by_event_with_its_usage(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[CLAUDE]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.stream(*STREAM))

        async with client(gateway).messages.stream(model="claude", **ASK) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()

        assert text == "Hello there"
        assert (final.model, final.stop_reason, final.usage.output_tokens) == ("claude", "end_turn", 6)
        (record,) = await gateway.records()
        assert record.usage is not None
        assert (record.usage.input, record.usage.output, record.streamed) == (10, 6, True)


async def test_another_providers_model_answers_in_the_same_words(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[model_entry("small")]) as gateway:
        gateway.upstream.reply_to(None, chat_reply("Hello", output_tokens=250))

        message = await client(gateway).messages.create(model="small", system="Be brief.", **ASK)

        assert (message.type, message.content[0].text, message.stop_reason) == ("message", "Hello", "end_turn")
        assert (message.model, message.usage.output_tokens) == ("small", 250)
        (sent,) = gateway.upstream.requests
        assert sent.path == "/v1/chat/completions"
        body = sent.json()
        assert [m["role"] for m in body["messages"]] == ["system", "user"]
        assert body["max_tokens"] == 50


@pytest.mark.parametrize(
    ("key", "status", "kind"),
    [("sk-nobody-knows-this-key", 401, "authentication_error"), (MASTER_KEY, 400, "invalid_request_error")],
)
async def test_errors_are_anthropics(tmp_path: Path, key: str, status: int, kind: str) -> None:
    async with SmallGateway(tmp_path, models=[CLAUDE]) as gateway:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client(gateway, key).messages.create(model="nobody-serves-this", **ASK)

        assert caught.value.status_code == status
        assert caught.value.body["type"] == "error"  # type: ignore[index]
        assert caught.value.body["error"]["type"] == kind  # type: ignore[index]
