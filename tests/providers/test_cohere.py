from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.providers import registry


@pytest.mark.parametrize("name", ["cohere", "cohere_chat"])
def test_chat_is_spoken_in_its_own_dialect_alone(name: str) -> None:
    provider: Any = registry.find(name)
    assert provider.dialects("m") == ("cohere_chat",)
    assert provider.chat_path("cohere_chat", "m", streaming=True) == "/v2/chat"


def test_what_its_embeddings_do_not_support_is_dropped_and_said() -> None:
    provider: Any = registry.find("cohere")
    fields = {"input": Raw(b'"a"'), "dimensions": Raw(b"9"), "user": Raw(b'"u"'), "encoding_format": Raw(b'"float"')}
    assert sorted(provider.adapt_operation("embeddings", fields)) == ["dimensions", "user"]
    assert sorted(fields) == ["encoding_format", "input"]


@pytest.mark.parametrize(
    "base",
    [
        "https://proxy.example",
        "https://proxy.example/v1",
        "https://proxy.example/v2/chat",
        "https://proxy.example/v2/rerank",
        "https://proxy.example/compatibility/v1",
    ],
)
def test_an_address_of_one_of_its_doors_does_for_all(base: str, wire: Any) -> None:
    for operation, path in (
        ("chat", "/v2/chat"),
        ("rerank", "/v2/rerank"),
        ("embeddings", "/compatibility/v1/embeddings"),
    ):
        out = wire(registry.find("cohere"), operation, environment={"CO_API_KEY": "k"}, api_base=base)
        assert out.url == "https://proxy.example" + path
