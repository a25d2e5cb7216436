"""Azure OpenAI (https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle, 2026-11-22).

Quirks: a model is a deployment and stands in the path, with the API's version behind it:
`{resource}/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21`. With `api_version: v1` (or
"preview", "latest") it is the newer `{resource}/openai/v1/chat/completions`, where the deployment is named in the
body. The key goes in `api-key`; a Microsoft Entra token, given or fetched (see `entra`), as a bearer. Reasoning models want
`max_completion_tokens`, and only `base_model` or the deployment's name tells which they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import (
    OPENAI_PATHS,
    Introduction,
    MissingSetting,
    Provider,
    Signer,
    entra,
    first_of,
    greeting,
    header_lines,
    is_entra_token,
    is_openai_reasoning,
    name_output_limit,
    plain_url,
    text_of,
)

INTRODUCTION = Introduction(
    display="Azure OpenAI",
    docs="https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    base_url_env=("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT"),
    key_env=("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN"),
    auth="api-key",
    other_env=("AZURE_API_VERSION", "OPENAI_API_VERSION", *entra.VARIABLES),
    parameters=entra.PARAMETERS,
)
VERSION_VARIABLES = ("AZURE_API_VERSION", "OPENAI_API_VERSION")

#: In force where nobody names a version; the one that LiteLLM's people are used to.
VERSION_DEFAULT = "2025-02-01-preview"
#: These mean the API without dated versions.
UNDATED = ("v1", "preview", "latest")


class Azure(Provider):
    """`version` is "v1" or a date; `deployment` is set where `api_base` names one itself."""

    name = "azure"
    dialect = "openai_chat"
    introduction = INTRODUCTION

    def __init__(self, version: str = VERSION_DEFAULT, deployment: str = "", base_model: str = "") -> None:
        self.version = version
        self.deployment = deployment
        self.base_model = base_model

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Azure:
        written = entry.api_base or first_of(INTRODUCTION.base_url_env, environment) or ""
        url = urlsplit(written.strip())
        version = entry.api_version or parse_qs(url.query).get("api-version", [""])[0]
        if not version and re.search(r"/openai/v1(/|$)", url.path):
            version = "v1"
        version = version or first_of(VERSION_VARIABLES, environment) or VERSION_DEFAULT
        named = re.search(r"/openai/deployments/([^/]+)", url.path)
        return Azure(
            "v1" if version in UNDATED else version,
            named[1] if named else "",
            entry.base_model or "",
        )

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """The resource's address with `/openai`; people write anything from nothing to the whole path behind it."""
        written = entry.api_base or first_of(INTRODUCTION.base_url_env, environment)
        if not written:
            raise MissingSetting(self.name, (*INTRODUCTION.base_url_env, "api_base"), "the address of your resource")
        bare = re.sub(r"/openai(/.*)?$", "", written.strip().split("?", 1)[0].rstrip("/"))
        return plain_url(self.name, bare, entry) + "/openai"

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """None where a token is fetched. Raises MissingSetting, ConfigError."""
        return entra.key_or_token(self.name, INTRODUCTION.key_env, entry, environment)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        bearer = (key is not None and key.is_bearer) or is_entra_token(key)
        return header_lines(self.name, greeting("bearer" if bearer else "api-key", key), entry)

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        if self.key(entry, environment) is not None:
            return None
        return entra.signer(self.name, entry, environment)

    def path(self, operation: str, model: str) -> str | None:
        path = OPENAI_PATHS.get(operation) if operation in INTRODUCTION.operations else None
        if path is None:
            return None
        if self.version == "v1":
            return "/v1" + path
        deployment = self.deployment or quote(model, safe="")
        return f"/deployments/{deployment}{path}?api-version={quote(self.version, safe='')}"

    def dialects(self, model: str) -> tuple[str, ...]:
        """Responses exist under the undated API (https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses,
        2026-11-22)."""
        return (self.dialect, "openai_responses") if self.version == "v1" else (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return "/v1/responses" if dialect == "openai_responses" else self.path("chat", model)

    def model_name(self, model: str) -> str:
        return model

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        if "max_tokens" in fields and self._is_reasoning(fields):
            return name_output_limit(fields, "max_completion_tokens")
        return []

    def _is_reasoning(self, fields: dict[str, Any]) -> bool:
        name = self.base_model.rsplit("/", 1)[-1] or self.deployment or text_of(fields.get("model"))
        return is_openai_reasoning(name)
