from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import MissingSetting
from tollway.providers.azure_ai import AzureAI
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

FOUNDRY = AzureAI()
RESOURCE = "https://res.services.ai.azure.com"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"api_base": RESOURCE}, RESOURCE + "/openai/v1/chat/completions"),
        ({"api_base": RESOURCE + "/openai/v1/"}, RESOURCE + "/openai/v1/chat/completions"),
        ({"api_base": RESOURCE, "api_version": "preview"}, RESOURCE + "/openai/v1/chat/completions"),
        (
            {"api_base": RESOURCE, "api_version": "2024-05-01-preview"},
            RESOURCE + "/models/chat/completions?api-version=2024-05-01-preview",
        ),
        ({"api_base": RESOURCE + "/models"}, RESOURCE + "/models/chat/completions?api-version=2024-05-01-preview"),
        (
            {"api_base": RESOURCE + "/models/chat/completions?api-version=2025-01-01"},
            RESOURCE + "/models/chat/completions?api-version=2025-01-01",
        ),
        (
            {"api_base": RESOURCE + "/openai/v1", "api_version": "2024-05-01-preview"},
            RESOURCE + "/openai/v1/chat/completions",
        ),
    ],
)
def test_a_foundry_resource_is_reached_by_the_door_the_entry_asks_for(
    settings: dict[str, str], url: str, wire: Any
) -> None:
    out = wire(FOUNDRY, api_key="k", **settings)
    assert out.url == url
    assert out.headers == {"api-key": "k"}


def test_a_deployment_with_an_address_of_its_own_wants_a_bearer(wire: Any) -> None:
    out = wire(FOUNDRY, api_key="k", api_base="https://mistral-large.eastus2.models.ai.azure.com")
    assert out.url == "https://mistral-large.eastus2.models.ai.azure.com/v1/chat/completions"
    assert out.headers == {"authorization": "Bearer k"}


def test_an_entra_token_goes_as_a_bearer(wire: Any) -> None:
    assert wire(FOUNDRY, api_key="eyJa.b.c", api_base=RESOURCE).headers == {"authorization": "Bearer eyJa.b.c"}


def test_the_old_door_has_chat_and_embeddings_only(entry: Any) -> None:
    bound = FOUNDRY.at(entry(api_base=RESOURCE + "/models"), {})
    assert bound.path("embeddings", "m") == "/models/embeddings?api-version=2024-05-01-preview"
    assert bound.path("images_generations", "m") is None


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("claude-opus-4-6", {"api_base": RESOURCE}),
        ("mine", {"api_base": RESOURCE, "base_model": "azure_ai/claude-sonnet-4-6"}),
        ("mine", {"api_base": RESOURCE + "/anthropic"}),
        ("mine", {"api_base": RESOURCE + "/anthropic/v1/messages"}),
    ],
)
def test_claude_speaks_its_own_dialect_at_a_door_of_its_own(model: str, settings: dict[str, str], entry: Any) -> None:
    written = replace(entry(api_key="k", **settings), provider_model="azure_ai/" + model)
    bound = FOUNDRY.at(written, {})
    assert bound.base_url(written, {}) == RESOURCE
    assert bound.dialects(model) == ("anthropic_messages",)
    assert bound.chat_path("anthropic_messages", model, streaming=True) == "/anthropic/v1/messages"
    assert bound.path("embeddings", model) is None
    lines = [*bound.headers(bound.key(written, {}), written), *bound.operation_headers("chat", None, written)]
    assert lines == [(b"api-key", b"k"), (b"anthropic-version", b"2023-06-01")]


def test_a_model_that_only_has_claude_s_name_elsewhere_is_asked_as_that_address_wants(entry: Any) -> None:
    written = replace(entry(api_base="https://h.example/v1"), provider_model="azure_ai/claude-like")
    bound = FOUNDRY.at(written, {})
    assert bound.dialects("claude-like") == ("openai_chat",)
    assert bound.operation_headers("chat", None, written) == []


async def test_a_chat_with_claude_in_foundry_goes_out_in_anthropic_s_dialect(tmp_path: Path) -> None:
    entry = ModelEntry(
        model_name="small",
        provider_model="azure_ai/claude-opus-4-6",
        api_base=RESOURCE,
        provider_params={"azure_ad_token": Secret("given")},
        prices={"input_cost_per_token": "0.000005", "output_cost_per_token": "0.000025"},
    )
    async with SmallGateway(tmp_path, [entry]) as gateway:
        said = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-4-6",
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 2},
        }
        gateway.upstream.reply_to("/anthropic/v1/messages", FakeReply.json(said))
        answer = await gateway.ask(max_tokens=50)
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
        sent = gateway.upstream.requests[0]
        assert sent.headers["authorization"] == "Bearer given"
        assert sent.headers["anthropic-version"] == "2023-06-01"
        assert "api-key" not in sent.headers
        assert sent.json()["max_tokens"] == 50
        assert (await gateway.records())[0].cost.total == 10 * 5_000 + 2 * 25_000


def test_a_missing_address_is_named(entry: Any) -> None:
    with pytest.raises(MissingSetting, match="set AZURE_AI_API_BASE or api_base"):
        FOUNDRY.base_url(entry(), {})


def test_a_reasoning_model_gets_its_output_limit_under_the_newer_name(entry: Any) -> None:
    bound = FOUNDRY.at(entry(api_base=RESOURCE, base_model="azure/gpt-5"), {})
    fields = {"model": Raw(b'"prod"'), "max_tokens": Raw(b"9")}
    assert bound.adapt(fields) == []
    assert list(fields) == ["model", "max_completion_tokens"]
