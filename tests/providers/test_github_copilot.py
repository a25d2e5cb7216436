from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import Config, ModelEntry
from tollway.providers import MissingSetting, registry
from tollway.providers.github_copilot import body_headers
from tollway.testing.gateway import SmallGateway, chat_reply, chat_stream
from tollway.testing.upstream import FakeReply

EXCHANGE = "/copilot_internal/v2/token"
FREE = {"input_cost_per_token": "0", "output_cost_per_token": "0"}


def copilot(model: str = "gpt-4.1", **changes: Any) -> ModelEntry:
    changes.setdefault("api_key", Secret("gho_kept"))
    return ModelEntry(model_name="small", provider_model=f"github_copilot/{model}", prices=FREE, **changes)


def exchanged(gateway: SmallGateway, **changes: Any) -> None:
    said = {
        "token": "tid=1;exp=2;sku=x:mac",
        "expires_at": int(gateway.clock.now()) + 1_800_000_000,
        "refresh_in": 1500,
        "endpoints": {"api": "https://api.individual.githubcopilot.com"},
    }
    gateway.upstream.reply_to(EXCHANGE, FakeReply.json({**said, **changes}))


async def test_the_kept_token_is_exchanged_and_the_editor_s_headers_go_along(tmp_path: Path) -> None:
    """https://github.com/microsoft/vscode-copilot-chat (2026-11-22)"""
    async with SmallGateway(tmp_path, [copilot()]) as gateway:
        exchanged(gateway)
        gateway.upstream.reply_to("/chat/completions", chat_reply())
        assert (await gateway.ask()).status == 200
        assert (await gateway.ask()).status == 200
        exchange, chat, _ = gateway.upstream.requests
        assert (exchange.method, exchange.origin.host) == ("GET", "api.github.com")
        assert exchange.headers["authorization"] == "token gho_kept"
        assert exchange.headers["editor-version"].startswith("vscode/")
        assert exchange.body == b""
        assert chat.origin.host == "api.githubcopilot.com"
        assert chat.headers["authorization"] == "Bearer tid=1;exp=2;sku=x:mac"
        assert chat.headers["copilot-integration-id"] == "vscode-chat"
        assert chat.headers["editor-version"].startswith("vscode/")
        assert chat.headers["editor-plugin-version"].startswith("copilot-chat/")
        assert chat.headers["x-initiator"] == "user"
        assert "copilot-vision-request" not in chat.headers
        assert chat.json()["model"] == "gpt-4.1"


async def test_streams_come_through(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [copilot()]) as gateway:
        exchanged(gateway)
        gateway.upstream.reply_to("/chat/completions", chat_stream("Hel", "lo"))
        answer = await gateway.ask(stream=True)
        assert answer.text == "Hello"
        assert answer.whole


async def test_a_model_that_speaks_responses_alone_is_asked_in_them(tmp_path: Path) -> None:
    entry = copilot("gpt-5.3-codex", mode="responses", api_base="https://api.business.githubcopilot.com")
    async with SmallGateway(tmp_path, [entry]) as gateway:
        exchanged(gateway)
        said = {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": "gpt-5.3-codex",
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
                }
            ],
            "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
        }
        gateway.upstream.reply_to("/responses", FakeReply.json(said))
        answer = await gateway.ask()
        assert answer.json()["choices"][0]["message"]["content"] == "Hi"
        assert gateway.upstream.requests[1].origin.host == "api.business.githubcopilot.com"
        assert gateway.upstream.requests[1].headers["x-initiator"] == "user"


async def test_a_token_s_file_is_where_litellm_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "access-token").write_text("gho_in_a_file\n")
    config = Config(environment={"GITHUB_COPILOT_TOKEN_DIR": Secret(str(tmp_path))})
    async with SmallGateway(tmp_path, [copilot(api_key=None)], config=config) as gateway:
        exchanged(gateway)
        gateway.upstream.reply_to("/chat/completions", chat_reply())
        assert (await gateway.ask()).status == 200
        assert gateway.upstream.requests[0].headers["authorization"] == "token gho_in_a_file"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_token_that_github_refuses_is_told_without_it(status: int, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [copilot()]) as gateway:
        gateway.upstream.reply_to(EXCHANGE, FakeReply.json({"message": "gho_kept is bad"}, status=status))
        answer = await gateway.ask()
        assert answer.status == 503
        assert f"GitHub gives this gateway no token for this model ({status})" in answer.json()["error"]["message"]
        assert b"gho_kept" not in answer.body


def test_without_a_token_it_is_said_where_one_would_be_looked_for(tmp_path: Path) -> None:
    provider: Any = registry.find("github_copilot")
    with pytest.raises(MissingSetting, match="GITHUB_COPILOT_ACCESS_TOKEN"):
        provider.signer(copilot(api_key=None), {"GITHUB_COPILOT_TOKEN_DIR": Secret(str(tmp_path))})


@pytest.mark.parametrize(
    ("body", "initiator", "vision"),
    [
        (b'{"messages":[{"role":"user","content":"x"}]}', b"user", False),
        (b'{"messages":[{"role":"user","content":"x"},{"role":"assistant"},{"role":"user","content":"y"}]}', b"user", False),
        (b'{"messages":[{"role":"assistant","content":null},{"role":"tool","content":"y"}]}', b"agent", False),
        (b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}', b"user", True),
        (b'{"input":[{"role":"user","content":[{"type":"input_image"}]},{"type":"function_call_output"}]}', b"agent", True),
        (b'{"input":"x"}', b"user", False),
        (b'{"input":["a","b"]}', b"user", False),  # an embedding
        (b"\xff", b"user", False),
    ],
)  # fmt: skip
def test_the_last_message_tells_who_asks(body: bytes, initiator: bytes, vision: bool) -> None:
    lines = dict(body_headers(body))
    assert lines[b"x-initiator"] == initiator
    assert (b"copilot-vision-request" in lines) is vision
