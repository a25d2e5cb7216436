from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, json

from tollway.providers import openai, registry


@pytest.mark.parametrize(
    "model",
    [
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
        "gpt-5",
        "gpt-5.1-codex",
        "gpt-5-mini",
        "ft:o4-mini:me::x",
        "codex-mini-latest",
    ],
)
def test_a_reasoning_model_gets_its_output_limit_under_the_newer_name(model: str) -> None:
    fields: dict[str, Any] = {"model": Raw(json.encode(model)), "max_tokens": Raw(b"9")}
    assert openai.adapt(fields) == []
    assert bytes(fields["max_completion_tokens"]) == b"9"
    assert "max_tokens" not in fields


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1", "omni-moderation-latest", "my-o1-like", "chatgpt-4o-latest", ""]
)
def test_other_models_keep_the_older_name(model: str) -> None:
    fields: dict[str, Any] = {"model": Raw(json.encode(model)), "max_tokens": Raw(b"9")}
    assert openai.adapt(fields) == []
    assert bytes(fields["max_tokens"]) == b"9"


def test_fields_that_were_encoded_anew_do_as_well() -> None:
    fields: dict[str, Any] = {"model": "gpt-5", "max_tokens": 9}
    assert openai.adapt(fields) == []
    assert fields == {"model": "gpt-5", "max_completion_tokens": 9}


def test_organisation_and_project_go_along_when_they_are_set(wire: Any) -> None:
    environment = {"OPENAI_API_KEY": "k", "OPENAI_ORGANIZATION": "org-1", "OPENAI_PROJECT": "proj-1"}
    out = wire(registry.find("openai"), environment=environment)
    assert out.headers == {"authorization": "Bearer k", "openai-organization": "org-1", "openai-project": "proj-1"}


def test_openai_over_aiohttp_is_openai(wire: Any) -> None:
    out = wire(registry.find("aiohttp_openai"), environment={"OPENAI_API_KEY": "k"})
    assert out.url == "https://api.openai.com/v1/chat/completions"
