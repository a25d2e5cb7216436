"""Google's Gemini API, in its own dialect (https://ai.google.dev/api, 2026-11-22).

Quirks: the model and whether the answer streams stand in the path; a stream comes as events only with `alt=sse`. The key
goes in `x-goog-api-key`. Embeddings and pictures go through the door that Google keeps for OpenAI's clients, which wants
the same key as a bearer (https://ai.google.dev/gemini-api/docs/openai, 2026-11-22).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import (
    OPENAI_PATHS,
    Introduction,
    Provider,
    first_of,
    greeting,
    header_lines,
    key_of,
    plain_url,
)

INTRODUCTION = Introduction(
    display="Google Gemini",
    docs="https://ai.google.dev/api",
    base_url="https://generativelanguage.googleapis.com",
    base_url_env=("GEMINI_API_BASE",),
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    auth="x-goog-api-key",
    operations=("chat", "embeddings", "images_generations"),
)
VERSION_DEFAULT = "v1beta"

_VERSION = re.compile(r"/(v1(?:alpha|beta\d*)?)(?:/openai|/models)?$")


class Gemini(Provider):
    """`version` is the API's, which an address may name."""

    name = "gemini"
    dialect = "gemini"
    introduction = INTRODUCTION

    def __init__(self, version: str = VERSION_DEFAULT) -> None:
        self.version = version

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Gemini:
        named = _VERSION.search(self._written(entry, environment))
        return Gemini(named[1]) if named else self

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """Without the version: people write it with and without, and some with `/openai` behind it."""
        return _VERSION.sub("", plain_url(self.name, self._written(entry, environment), entry))

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        return key_of(self.name, INTRODUCTION, entry, environment)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, [], entry)

    def operation_headers(self, operation: str, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        shown = greeting(INTRODUCTION.auth if operation == "chat" else "bearer", key)
        own = {name.lower() for name in entry.extra_headers}
        return header_lines(self.name, [line for line in shown if line[0] not in own], replace(entry, extra_headers={}))

    def path(self, operation: str, model: str) -> str | None:
        if operation == "chat":
            return self.chat_path(self.dialect, model, streaming=False)
        if operation not in INTRODUCTION.operations:
            return None
        return f"/{VERSION_DEFAULT}/openai{OPENAI_PATHS[operation]}"

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        method = "streamGenerateContent?alt=sse" if streaming else "generateContent"
        place = model if model.startswith("tunedModels/") else f"models/{model}"
        return f"/{self.version}/{quote(place)}:{method}"

    def model_name(self, model: str) -> str:
        return model.removeprefix("models/")

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        return []

    def _written(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        written = entry.api_base or first_of(INTRODUCTION.base_url_env, environment) or INTRODUCTION.base_url or ""
        return written.strip().rstrip("/").removesuffix("/chat/completions")
