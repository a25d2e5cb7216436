"""What clients of one API get of providers of another, where the tools are of a kind that one of them alone knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tollway.testing import FakeReply
from tollway.testing.gateway import SmallGateway, chat_reply, model_entry


async def test_what_a_provider_wants_otherwise_holds_for_translated_requests_too(tmp_path: Path) -> None:
    """OpenAI's reasoning models refuse `max_tokens`, whoever asks."""
    models = [model_entry("gpt-5", provider_model="openai/gpt-5", host="provider.example")]
    async with SmallGateway(tmp_path, models) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        said = {"model": "gpt-5", "max_tokens": 300, "messages": [{"role": "user", "content": "x"}]}
        answer = await gateway.ask(path="/v1/messages", body=json.dumps(said).encode())
        assert answer.json()["content"] == [{"type": "text", "text": "Hello"}]
        sent = gateway.upstream.requests[-1].json()
        assert (sent["max_completion_tokens"], "max_tokens" in sent) == (300, False)


async def test_a_tool_of_plain_text_is_called_as_one_by_a_model_that_knows_functions_alone(tmp_path: Path) -> None:
    block = {"type": "tool_use", "id": "t", "name": "patch", "input": {"input": "*** Begin Patch"}}
    reply = {"id": "msg_1", "role": "assistant", "content": [block], "stop_reason": "tool_use"}
    reply["usage"] = {"input_tokens": 1, "output_tokens": 1}
    models = [model_entry("claude", provider_model="anthropic/claude-opus-4-6", api_base=None)]
    async with SmallGateway(tmp_path, models) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(reply))
        custom: dict[str, Any] = {"type": "custom", "custom": {"name": "patch"}}
        chat = {"model": "claude", "messages": [{"role": "user", "content": "x"}], "tools": [custom]}
        (call,) = (await gateway.ask(body=json.dumps(chat).encode())).json()["choices"][0]["message"]["tool_calls"]
        assert call == {"id": "t", "type": "custom", "custom": {"name": "patch", "input": "*** Begin Patch"}}
        asked = {"model": "claude", "input": "x", "tools": [{"type": "custom", "name": "patch"}]}
        answer = await gateway.ask(path="/v1/responses", body=json.dumps(asked).encode())
        (item,) = answer.json()["output"]
        assert (item["type"], item["call_id"], item["input"]) == ("custom_tool_call", "t", "*** Begin Patch")
