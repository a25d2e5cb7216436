"""Azure AI Foundry, and models that Azure serves at an address of their own.

https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints (2026-11-22). Quirks: a Foundry
resource (`*.services.ai.azure.com`) has two doors: `/openai/v1`, the lasting one, and `/models?api-version=...`,
taken when the entry names a dated `api_version` or writes `/models` itself. Azure's own hosts want the key in
`api-key`, other ones and Microsoft Entra tokens as a bearer. Claude models of a Foundry resource speak Anthropic's
dialect: `anthropic/` with `api_base: https://<resource>.services.ai.azure.com/anthropic` reaches them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError
from tollway.providers import (
    OPENAI_PATHS,
    Introduction,
    MissingSetting,
    first_of,
    greeting,
    header_lines,
    is_entra_token,
    is_openai_reasoning,
    key_of,
    name_output_limit,
    plain_url,
    text_of,
)

INTRODUCTION = Introduction(
    display="Azure AI Foundry",
    docs="https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints",
    base_url_env=("AZURE_AI_API_BASE",),
    key_env=("AZURE_AI_API_KEY",),
    auth="api-key",
)

#: Hosts of Azure's own gateway; what is deployed elsewhere (`*.models.ai.azure.com`) wants a bearer.
OWN_HOSTS = (".services.ai.azure.com", ".openai.azure.com", ".cognitiveservices.azure.com")
#: What `/models` takes where nobody names a version.
MODELS_VERSION_DEFAULT = "2024-05-01-preview"
UNDATED = ("v1", "preview", "latest")


class AzureAI:
    """`version` is set when the entry goes through `/models`; `auth` is how the entry's host wants to be greeted."""

    name = "azure_ai"
    dialect = "openai_chat"
    introduction = INTRODUCTION

    def __init__(self, version: str = "", auth: str = "api-key", base_model: str = "") -> None:
        self.version = version
        self.auth = auth
        self.base_model = base_model

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> AzureAI:
        written = self._written(entry, environment)
        url = urlsplit(written)
        dated = entry.api_version or parse_qs(url.query).get("api-version", [""])[0]
        if dated in UNDATED:
            dated = ""
        if "/models" in url.path:
            dated = dated or MODELS_VERSION_DEFAULT
        own = _is_own(url.hostname or "")
        through_models = own and "/openai/v1" not in url.path
        return AzureAI(dated if through_models else "", "api-key" if own else "bearer", entry.base_model or "")

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        written = self._written(entry, environment)
        if not written:
            raise MissingSetting(self.name, (*INTRODUCTION.base_url_env, "api_base"), "the address of your resource")
        url = plain_url(self.name, written.split("?", 1)[0], entry)
        path = urlsplit(url).path
        if path.endswith("/anthropic"):
            place = f"{entry.place}: " if entry.place else ""
            raise ConfigError(
                [f"{place}{url} speaks Anthropic's API: write the model as anthropic/... with this api_base"]
            )
        if path.strip("/"):
            return url
        if not _is_own(urlsplit(url).hostname or ""):
            return url + "/v1"
        return url + ("/models" if self.version else "/openai/v1")

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        return key_of(self.name, INTRODUCTION, entry, environment)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, greeting("bearer" if is_entra_token(key) else self.auth, key), entry)

    def path(self, operation: str, model: str) -> str | None:
        path = OPENAI_PATHS.get(operation)
        if path is None or not self.version:
            return path
        if operation not in ("chat", "embeddings"):
            return None  # `/models` has no more than these two
        return f"{path}?api-version={quote(self.version, safe='')}"

    def model_name(self, model: str) -> str:
        return model

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        name = self.base_model.rsplit("/", 1)[-1] or text_of(fields.get("model"))
        if "max_tokens" in fields and is_openai_reasoning(name):
            return name_output_limit(fields, "max_completion_tokens")
        return []

    def _written(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        return (entry.api_base or first_of(INTRODUCTION.base_url_env, environment) or "").strip()


def _is_own(host: str) -> bool:
    return host.endswith(OWN_HOSTS)
