from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.errors import ConfigError
from tollway.providers import MissingSetting
from tollway.providers.azure_ai import AzureAI

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
    assert bound.path("embeddings", "m") == "/embeddings?api-version=2024-05-01-preview"
    assert bound.path("images_generations", "m") is None


def test_an_address_of_claude_s_door_is_sent_to_the_right_provider(entry: Any) -> None:
    with pytest.raises(ConfigError, match="write the model as anthropic/"):
        FOUNDRY.base_url(entry(api_base=RESOURCE + "/anthropic"), {})


def test_a_missing_address_is_named(entry: Any) -> None:
    with pytest.raises(MissingSetting, match="set AZURE_AI_API_BASE or api_base"):
        FOUNDRY.base_url(entry(), {})


def test_a_reasoning_model_gets_its_output_limit_under_the_newer_name(entry: Any) -> None:
    bound = FOUNDRY.at(entry(api_base=RESOURCE, base_model="azure/gpt-5"), {})
    fields = {"model": Raw(b'"prod"'), "max_tokens": Raw(b"9")}
    assert bound.adapt(fields) == []
    assert list(fields) == ["model", "max_completion_tokens"]
