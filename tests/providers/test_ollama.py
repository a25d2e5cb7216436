from __future__ import annotations

from typing import Any

import pytest

from tollway.providers import registry


@pytest.mark.parametrize("name", ["ollama", "ollama_chat"])
@pytest.mark.parametrize(
    "base", ["http://h:11434", "http://h:11434/v1", "http://h:11434/api", "http://h:11434/api/chat"]
)
def test_an_address_of_one_of_its_apis_does_for_both(name: str, base: str, wire: Any) -> None:
    assert wire(registry.find(name), "chat", api_base=base).url == "http://h:11434/api/chat"
    assert wire(registry.find(name), "embeddings", api_base=base).url == "http://h:11434/v1/embeddings"


def test_chat_is_its_own_and_text_completions_are_openai_s() -> None:
    provider: Any = registry.find("ollama")
    assert provider.dialects("m") == ("ollama_chat", "openai_completions")
    assert provider.chat_path("openai_completions", "m", streaming=False) == "/v1/completions"


def test_it_offers_no_pictures_and_no_sound() -> None:
    provider: Any = registry.find("ollama")
    assert provider.path("images_generations", "m") is None
    assert provider.path("audio_speech", "m") is None
