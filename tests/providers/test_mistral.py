from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.providers import registry


@pytest.mark.parametrize("name", ["mistral", "codestral"])
def test_what_mistral_refuses_is_renamed_or_dropped_and_said(name: str) -> None:
    provider = registry.find(name)
    assert provider is not None
    fields = {
        "model": Raw(b'"mistral-large-latest"'),
        "messages": Raw(b"[]"),
        "max_completion_tokens": Raw(b"9"),
        "seed": Raw(b"1"),
        "stream_options": Raw(b'{"include_usage":true}'),
        "store": Raw(b"false"),
        "user": Raw(b'"u"'),
        "top_k": Raw(b"3"),
    }
    assert sorted(provider.adapt(fields)) == ["store", "user"]
    assert {k: bytes(v) for k, v in fields.items()} == {
        "model": b'"mistral-large-latest"',
        "messages": b"[]",
        "max_tokens": b"9",
        "random_seed": b"1",
        "top_k": b"3",
    }


def test_the_own_word_wins_over_openai_s() -> None:
    provider: Any = registry.find("mistral")
    fields = {"seed": Raw(b"1"), "random_seed": Raw(b"2"), "dimensions": Raw(b"256")}
    assert provider.adapt(fields) == []
    assert {k: bytes(v) for k, v in fields.items()} == {"random_seed": b"2", "output_dimension": b"256"}
