from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.providers import registry


@pytest.mark.parametrize("name", ["cohere", "cohere_chat"])
def test_what_cohere_does_not_support_is_dropped_and_said(name: str) -> None:
    provider: Any = registry.find(name)
    fields = {"n": Raw(b"1"), "store": Raw(b"true"), "max_completion_tokens": Raw(b"9"), "seed": Raw(b"1")}
    assert sorted(provider.adapt(fields)) == ["n", "store"]
    assert {k: bytes(v) for k, v in fields.items()} == {"seed": b"1", "max_tokens": b"9"}


@pytest.mark.parametrize(
    "base", ["https://api.cohere.com", "https://api.cohere.com/v2/chat", "https://api.cohere.com/v1"]
)
def test_an_address_of_the_native_api_does_as_well(base: str, wire: Any) -> None:
    out = wire(registry.find("cohere"), environment={"CO_API_KEY": "k"}, api_base=base)
    assert out.url == "https://api.cohere.com/compatibility/v1/chat/completions"
