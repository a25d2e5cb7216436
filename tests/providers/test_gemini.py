from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.providers import registry


def test_what_google_refuses_is_dropped_and_said() -> None:
    provider: Any = registry.find("gemini")
    fields = {"store": Raw(b"false"), "frequency_penalty": Raw(b"0"), "reasoning_effort": Raw(b'"low"'), "n": Raw(b"2")}
    assert sorted(provider.adapt(fields)) == ["frequency_penalty", "store"]
    assert sorted(fields) == ["n", "reasoning_effort"]


@pytest.mark.parametrize(
    "base", ["https://proxy.example", "https://proxy.example/v1beta", "https://proxy.example/v1beta/openai/"]
)
def test_an_address_of_the_native_api_does_as_well(base: str, wire: Any) -> None:
    out = wire(registry.find("gemini"), environment={"GOOGLE_API_KEY": "k", "GEMINI_API_BASE": base})
    assert out.url == "https://proxy.example/v1beta/openai/chat/completions"
    assert out.headers == {"authorization": "Bearer k"}
