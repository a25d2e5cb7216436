"""Azure AI Foundry, and models that Azure serves at an address of their own.

https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints (2026-11-22). Quirks: a Foundry
resource (`*.services.ai.azure.com`) has three doors: `/openai/v1`, the lasting one; `/models?api-version=...`,
taken when the entry names a dated `api_version` or writes `/models` itself; and `/anthropic`, where Claude models speak
Anthropic's dialect (https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry): models whose name or
`base_model` begins with "claude", or an address that ends with it. Azure's own hosts want the key in `api-key`, other ones
and Microsoft Entra tokens, given or fetched (see `entra`), as a bearer.
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

CHAT, MESSAGES = "openai_chat", "anthropic_messages"

INTRODUCTION = Introduction(
    display="Azure AI Foundry",
    docs="https://learn.microsoft.com/azure/ai-foundry/foundry-models/concepts/endpoints",
    base_url_env=("AZURE_AI_API_BASE",),
    key_env=("AZURE_AI_API_KEY", "AZURE_AD_TOKEN"),
    auth="api-key",
    other_env=entra.VARIABLES,
    parameters=entra.PARAMETERS,
)

#: Hosts of Azure's own gateway; what is deployed elsewhere (`*.models.ai.azure.com`) wants a bearer.
OWN_HOSTS = (".services.ai.azure.com", ".openai.azure.com", ".cognitiveservices.azure.com")
#: What `/models` takes where nobody names a version.
MODELS_VERSION_DEFAULT = "2024-05-01-preview"
UNDATED = ("v1", "preview", "latest")
#: https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry (2026-11-22)
ANTHROPIC_VERSION = "2023-06-01"

_DOOR = re.compile(r"/(?:openai/v1|models|anthropic(?:/v1(?:/messages)?)?)$")
_CLAUDE_DOOR = re.compile(r"/anthropic(?:/v1(?:/messages)?)?/?$")


class AzureAI(Provider):
    """`version` is set when the entry goes through `/models`; `auth` is how the entry's host wants to be greeted; `door` stands
    before OpenAI's paths; `claude` is set where the address or the `base_model` says that Claude is there.
    """

    name = "azure_ai"
    dialect = CHAT
    introduction = INTRODUCTION

    def __init__(
        self,
        version: str = "",
        auth: str = "api-key",
        base_model: str = "",
        *,
        door: str = "",
        own: bool = False,
        claude: bool = False,
    ) -> None:
        self.version = version
        self.auth = auth
        self.base_model = base_model
        self.door = door
        self.own = own
        self.claude = claude

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> AzureAI:
        url = urlsplit(self._written(entry, environment))
        dated = entry.api_version or parse_qs(url.query).get("api-version", [""])[0]
        if dated in UNDATED:
            dated = ""
        if "/models" in url.path:
            dated = dated or MODELS_VERSION_DEFAULT
        own = _is_own(url.hostname or "")
        through_models = bool(dated) and own and "/openai/v1" not in url.path
        bare = not _DOOR.sub("", url.path.removesuffix("/").removesuffix("/chat/completions")).strip("/")
        elsewhere = "/v1" if bare and not own else ""
        base_model = (entry.base_model or "").rsplit("/", 1)[-1]
        return AzureAI(
            dated if through_models else "",
            "api-key" if own else "bearer",
            entry.base_model or "",
            door=elsewhere if not (own and bare) else "/models" if through_models else "/openai/v1",
            own=own,
            claude=bool(_CLAUDE_DOOR.search(url.path)) or (own and base_model.startswith("claude")),
        )

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """The resource's address without a door."""
        written = self._written(entry, environment)
        if not written:
            raise MissingSetting(self.name, (*INTRODUCTION.base_url_env, "api_base"), "the address of your resource")
        url = plain_url(self.name, written.split("?", 1)[0], entry)
        if _is_own(urlsplit(url).hostname or "") or _CLAUDE_DOOR.search(url):
            return _DOOR.sub("", url)
        return url

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """None where a token is fetched. Raises MissingSetting, ConfigError."""
        return entra.key_or_token(self.name, INTRODUCTION.key_env, entry, environment)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        bearer = (key is not None and key.is_bearer) or is_entra_token(key)
        auth = "api-key" if self.claude else self.auth
        return header_lines(self.name, greeting("bearer" if bearer else auth, key), entry)

    def operation_headers(self, operation: str, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        """Anthropic's version goes with chat; the doors of OpenAI's API do not look at it."""
        written = {name.lower() for name in entry.extra_headers}
        if operation != "chat" or "anthropic-version" in written or not self._may_be_claude(entry):
            return []
        return [(b"anthropic-version", ANTHROPIC_VERSION.encode())]

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        if self.key(entry, environment) is not None:
            return None
        return entra.signer(self.name, entry, environment)

    def dialects(self, model: str) -> tuple[str, ...]:
        return (MESSAGES,) if self._is_claude(model) else (CHAT,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return self.path("chat", model)

    def path(self, operation: str, model: str) -> str | None:
        if self._is_claude(model):
            return "/anthropic/v1/messages" if operation == "chat" else None
        path = OPENAI_PATHS.get(operation) if operation in INTRODUCTION.operations else None
        if path is None or not self.version:
            return path and self.door + path
        if operation not in ("chat", "embeddings"):
            return None  # `/models` has no more than these two
        return f"{self.door}{path}?api-version={quote(self.version, safe='')}"

    def model_name(self, model: str) -> str:
        return model

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        name = self.base_model.rsplit("/", 1)[-1] or text_of(fields.get("model"))
        if "max_tokens" in fields and is_openai_reasoning(name):
            return name_output_limit(fields, "max_completion_tokens")
        return []

    def _is_claude(self, model: str) -> bool:
        return self.claude or (self.own and not self.base_model and model.startswith("claude"))

    def _may_be_claude(self, entry: ModelEntry) -> bool:
        """An entry for many models may have Claude's among them."""
        model = entry.provider_model.rpartition("azure_ai/")[2]
        return self._is_claude(model) or (self.own and model.startswith("*"))

    def _written(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        return (entry.api_base or first_of(INTRODUCTION.base_url_env, environment) or "").strip()


def _is_own(host: str) -> bool:
    return host.endswith(OWN_HOSTS)
