from __future__ import annotations

from typing import Any

import pytest

from tollway.providers import registry


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("text-completion-openai", "openai_completions"),
        ("text-completion-inception", "openai_completions"),
        ("text-completion-codestral", "mistral_fim"),
        ("azure_text", "openai_completions"),
    ],
)
def test_one_dialect_is_spoken_and_chat_is_translated_into_it(name: str, dialect: str) -> None:
    provider: Any = registry.find(name)
    assert provider.dialects("m") == (dialect,)
    assert provider.path("embeddings", "m") is None


def test_the_whole_address_of_fill_in_the_middle_may_be_written(wire: Any) -> None:
    out = wire(
        registry.find("text-completion-codestral"),
        api_key="k",
        api_base="https://codestral.mistral.ai/v1/fim/completions",
    )
    assert out.url == "https://codestral.mistral.ai/v1/fim/completions"


def test_azure_s_undated_api_has_the_model_in_the_body(wire: Any) -> None:
    out = wire(registry.find("azure_text"), api_key="k", api_base="https://r.openai.azure.com", api_version="v1")
    assert out.url == "https://r.openai.azure.com/openai/v1/completions"


@pytest.mark.parametrize(
    ("model", "dialects"),
    [
        ("gpt-3.5-turbo-instruct", ("openai_completions",)),
        ("ft:davinci-002:me::x", ("openai_completions",)),
        ("gpt-4o", ("openai_chat", "openai_responses")),
        ("gpt-3.5-turbo", ("openai_chat", "openai_responses")),
    ],
)
def test_openai_answers_text_completions_by_three_older_models_alone(
    model: str, dialects: tuple[str, ...], entry: Any
) -> None:
    provider: Any = registry.find("openai")
    assert provider.dialects(model) == dialects
    elsewhere = provider.at(entry(api_base="http://vllm.example/v1"), {})
    assert elsewhere.dialects(model) == ("openai_chat",)


@pytest.mark.parametrize("name", ["hosted_vllm", "together_ai", "fireworks_ai", "deepinfra", "openrouter", "local"])
def test_who_documents_text_completions_gets_them_as_they_are(name: str) -> None:
    provider: Any = registry.find(name)
    assert "openai_completions" in provider.dialects("m")
    assert provider.chat_path("openai_completions", "m", streaming=False) == "/completions"


def test_a_server_s_own_endpoints_may_be_told(entry: Any) -> None:
    provider: Any = registry.find("openai_like")
    assert provider.dialects("m") == ("openai_chat",)
    told = provider.at(entry(about={"supported_endpoints": ["/v1/chat/completions", "/v1/completions"]}), {})
    assert told.dialects("m") == ("openai_chat", "openai_completions")
    elsewhere: Any = registry.find("together_ai")
    bound = elsewhere.at(entry(api_base="http://mine.example/v1"), {})
    assert bound.dialects("m") == ("openai_chat",)
