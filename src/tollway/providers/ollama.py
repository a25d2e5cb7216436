"""Ollama. Chat goes to its own API (https://docs.ollama.com/api/chat), which alone knows `num_ctx`, `keep_alive` and how
to think; embeddings and text completions to its OpenAI-compatible one (https://docs.ollama.com/api/openai-compatibility),
which stands at the same address (2026-11-22).
"""

from __future__ import annotations

import re

from tollway.providers import CHAT_PATHS, OPENAI_PATHS, Introduction
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Ollama",
    docs="https://docs.ollama.com/api",
    base_url="http://localhost:11434",
    base_url_env=("OLLAMA_API_BASE",),
    key_env=("OLLAMA_API_KEY",),
    key_needed=False,
    operations=("chat", "embeddings"),
)


def clean(url: str) -> str:
    """People write the address with the path of one of its APIs: http://localhost:11434/v1, .../api/chat."""
    return re.sub(r"/(v1|api(/(chat|generate|embed|embeddings))?)$", "", url)


class Ollama(OpenAICompatible):
    """`name` is "ollama" or "ollama_chat": the two prefixes mean the same."""

    dialect = "ollama_chat"

    def __init__(self, name: str) -> None:
        super().__init__(name, INTRODUCTION, clean=clean)

    def path(self, operation: str, model: str) -> str | None:
        if operation == "chat":
            return "/api/chat"
        return "/v1" + OPENAI_PATHS[operation] if operation in INTRODUCTION.operations else None

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect, "openai_completions")

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return self.path("chat", model) if dialect == self.dialect else "/v1" + CHAT_PATHS[dialect]
