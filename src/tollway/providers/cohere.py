"""Cohere. Chat and ranking go to its own API (https://docs.cohere.com/reference/chat, .../rerank), embeddings and sound to
its Compatibility API (https://docs.cohere.com/docs/compatibility-api), which stands at the same address (2026-11-22).
"""

from __future__ import annotations

import re
from typing import Any

from tollway.providers import OPENAI_PATHS, Introduction, drop_fields
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Cohere",
    docs="https://docs.cohere.com/reference/chat",
    base_url="https://api.cohere.com",
    base_url_env=("COHERE_API_BASE",),
    key_env=("COHERE_API_KEY", "CO_API_KEY"),
    operations=("chat", "embeddings", "audio_transcriptions"),
    rerank="cohere",
)
_COMPATIBLE = "/compatibility/v1"


def clean(url: str) -> str:
    """People wrote down the address of one of its doors: https://api.cohere.com/v2/chat, .../compatibility/v1."""
    return re.sub(r"(/v[12](/(chat|embed|rerank))?|/compatibility/v1)$", "", url)


class Cohere(OpenAICompatible):
    """`name` is "cohere" or "cohere_chat": the two prefixes mean the same."""

    dialect = "cohere_chat"

    def __init__(self, name: str) -> None:
        super().__init__(name, INTRODUCTION, clean=clean)

    def path(self, operation: str, model: str) -> str | None:
        if operation in ("chat", "rerank"):
            return "/v2/" + operation
        return _COMPATIBLE + OPENAI_PATHS[operation] if operation in INTRODUCTION.operations else None

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return self.path("chat", model)

    def adapt_operation(self, operation: str, fields: dict[str, Any]) -> list[str]:
        """The Compatibility API lists what its embeddings do not support."""
        return drop_fields(fields, ("dimensions", "user")) if operation == "embeddings" else []
