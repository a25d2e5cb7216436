from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import MissingSetting, registry
from tollway.testing.gateway import SmallGateway, chat_reply
from tollway.testing.upstream import FakeReply

ACCOUNT = "https://myorg-acc.snowflakecomputing.com"
FREE = {"input_cost_per_token": "0", "output_cost_per_token": "0"}


def snowflake(model: str, **changes: Any) -> ModelEntry:
    changes.setdefault("api_key", Secret("pat/abc"))
    return ModelEntry(
        model_name="small", provider_model=f"snowflake/{model}", api_base=ACCOUNT + "/api/v2", prices=FREE, **changes
    )


@pytest.mark.parametrize(
    "base",
    [
        ACCOUNT,
        ACCOUNT + "/api/v2",
        ACCOUNT + "/api/v2/cortex/v1",
        ACCOUNT + "/api/v2/cortex/v1/chat/completions",
        ACCOUNT + "/api/v2/cortex/v1/messages",
        ACCOUNT + "/api/v2/cortex/inference:complete",
    ],
)
def test_an_address_may_be_written_as_any_of_its_apis(base: str, wire: Any) -> None:
    out = wire(registry.find("snowflake"), api_key="jwt", api_base=base)
    assert out.url == ACCOUNT + "/api/v2/cortex/v1/chat/completions"
    assert out.headers == {"authorization": "Bearer jwt"}


def test_the_account_alone_is_enough(wire: Any) -> None:
    out = wire(
        registry.find("snowflake"), environment={"SNOWFLAKE_ACCOUNT_ID": "myorg-acc", "SNOWFLAKE_JWT": "pat/abc"}
    )
    assert out.url == ACCOUNT + "/api/v2/cortex/v1/chat/completions"
    assert out.headers == {"authorization": "Bearer abc"}
    with pytest.raises(MissingSetting, match="SNOWFLAKE_ACCOUNT_ID"):
        wire(registry.find("snowflake"), api_key="k")


async def test_chat_goes_out_as_the_documentation_shows_it(tmp_path: Path) -> None:
    """https://docs.snowflake.com/en/user-guide/snowflake-cortex/open_ai_sdk (2026-11-22)"""
    async with SmallGateway(tmp_path, [snowflake("openai-gpt-5")]) as gateway:
        gateway.upstream.reply_to("/api/v2/cortex/v1/chat/completions", chat_reply())
        assert (await gateway.ask(max_tokens=100)).status == 200
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == "myorg-acc.snowflakecomputing.com"
        assert sent.headers["authorization"] == "Bearer abc"
        assert sent.json() == {
            "model": "openai-gpt-5",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_completion_tokens": 100,
        }


async def test_anthropic_s_clients_reach_claude_in_their_own_dialect(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [snowflake("claude-sonnet-4-5")]) as gateway:
        said = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 2},
        }
        gateway.upstream.reply_to("/api/v2/cortex/v1/messages", FakeReply.json(said))
        gateway.upstream.reply_to("/api/v2/cortex/v1/chat/completions", chat_reply())
        answer = await gateway.ask(path="/v1/messages", max_tokens=20)
        assert answer.json()["content"][0]["text"] == "Hello"
        assert gateway.upstream.requests[0].headers["anthropic-version"] == "2023-06-01"
        assert (await gateway.ask()).status == 200
        assert gateway.upstream.requests[1].path == "/api/v2/cortex/v1/chat/completions"


async def test_a_refused_token_is_an_error_of_ours(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [snowflake("llama3.1-8b")]) as gateway:
        said = {"code": "390303", "message": "Invalid OAuth access token abc", "success": False}
        gateway.upstream.reply_to(None, FakeReply.json(said, status=401))
        answer = await gateway.ask()
        assert answer.status == 503
        assert b"abc" not in answer.body
