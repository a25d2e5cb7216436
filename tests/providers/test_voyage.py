from __future__ import annotations

from typing import Any

from msgspec import Raw

from tollway.providers import registry


def test_openai_s_words_for_embeddings_become_its_own() -> None:
    provider: Any = registry.find("voyage")
    fields = {
        "input": Raw(b'"a"'),
        "dimensions": Raw(b"256"),
        "encoding_format": Raw(b'"float"'),
        "user": Raw(b'"u"'),
        "input_type": Raw(b'"query"'),
    }
    assert provider.adapt_operation("embeddings", fields) == ["user"]
    assert {name: bytes(value) for name, value in fields.items()} == {
        "input": b'"a"',
        "output_dimension": b"256",
        "input_type": b'"query"',
    }


def test_vectors_in_base64_and_its_own_word_for_their_length_stay() -> None:
    provider: Any = registry.find("voyage")
    fields = {"encoding_format": Raw(b'"base64"'), "dimensions": Raw(b"1"), "output_dimension": Raw(b"2")}
    assert provider.adapt_operation("embeddings", fields) == []
    assert {name: bytes(value) for name, value in fields.items()} == {
        "encoding_format": b'"base64"',
        "output_dimension": b"2",
    }
