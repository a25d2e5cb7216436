"""Anthropic: Claude, in its own dialect (https://platform.claude.com/docs/en/api/messages, 2026-11-22).

Greeting: `x-api-key` for API keys. Tokens of a subscription (`sk-ant-oat...`) and ANTHROPIC_AUTH_TOKEN go as a
bearer, the former with the beta flag that lets them in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Raw

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import Introduction, Provider, address, greeting, header_lines, key_of

INTRODUCTION = Introduction(
    display="Anthropic",
    docs="https://platform.claude.com/docs/en/api/messages",
    base_url="https://api.anthropic.com",
    base_url_env=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    key_env=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    auth="x-api-key",
    operations=("chat",),
)

VERSION = "2023-06-01"
OAUTH_BETA = "oauth-2025-04-20"

#: What a feature's beta flag is called (https://platform.claude.com/docs/en/api/beta-headers, 2026-11-22).
BETAS = {
    "code_execution": "code-execution-2025-05-22",
    "compaction": "compact-2026-01-12",
    "computer_use": "computer-use-2025-11-24",
    "context_1m": "context-1m-2025-08-07",
    "context_management": "context-management-2025-06-27",
    "extended_cache_ttl": "extended-cache-ttl-2025-04-11",
    "fast_mode": "fast-mode-2026-02-01",
    "files": "files-api-2025-04-14",
    "fine_grained_tool_streaming": "fine-grained-tool-streaming-2025-05-14",
    "interleaved_thinking": "interleaved-thinking-2025-05-14",
    "mcp": "mcp-client-2025-11-20",
    "skills": "skills-2025-10-02",
    "structured_outputs": "structured-outputs-2025-11-13",
    "task_budgets": "task-budgets-2026-03-13",
}

#: Every flag ends with its date: "context-1m-2025-08-07", "claude-code-20250219".
_FLAG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-\d{4}-?\d{2}-?\d{2}")


def betas(wanted: Iterable[str], *, standing: str = "") -> str:
    """The value of the `anthropic-beta` header; "" when there is nothing to say.

    `wanted` are names of features (keys of BETAS) and values of clients' own headers; `standing` is what `headers`
    already asked for. Passed on is what has the form of a flag, so that tomorrow's flags work; the flag that belongs
    to a token is the gateway's own affair and never taken from a client.
    """
    flags = [flag.strip() for flag in standing.split(",") if flag.strip()]
    for item in wanted:
        asked = map(str.strip, BETAS.get(item, item).split(","))
        flags.extend(flag for flag in asked if _FLAG.fullmatch(flag) and flag != OAUTH_BETA)
    return ",".join(dict.fromkeys(flags))


class Anthropic(Provider):
    name = "anthropic"
    dialect = "anthropic_messages"
    introduction = INTRODUCTION

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Anthropic:
        return self

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """People write it with and without `/v1`, and some with the whole path."""
        url = address(self.name, INTRODUCTION, entry, environment)
        return url.removesuffix("/messages").removesuffix("/v1").rstrip("/")

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        key = key_of(self.name, INTRODUCTION, entry, environment)
        if key is not None and not entry.api_key and not environment.get("ANTHROPIC_API_KEY"):
            return Secret(key.reveal(), is_bearer=True)
        return key

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        version = ("anthropic-version", VERSION)
        subscription = key is not None and key.reveal().strip().startswith("sk-ant-oat")
        auth = "bearer" if subscription or (key is not None and key.is_bearer) else "x-api-key"
        lines = header_lines(self.name, [*greeting(auth, key), version], entry)
        return _with_flag(lines, OAUTH_BETA) if subscription else lines

    def path(self, operation: str, model: str) -> str | None:
        return "/v1/messages" if operation == "chat" else None

    def model_name(self, model: str) -> str:
        return model

    def adapt(self, fields: dict[str, Raw]) -> list[str]:
        return []


def _with_flag(lines: list[tuple[bytes, bytes]], flag: str) -> list[tuple[bytes, bytes]]:
    written = [value.decode("latin-1") for name, value in lines if name == b"anthropic-beta"]
    flags = dict.fromkeys([flag, *(item.strip() for value in written for item in value.split(",") if item.strip())])
    rest = [line for line in lines if line[0] != b"anthropic-beta"]
    return [*rest, (b"anthropic-beta", ",".join(flags).encode("latin-1"))]
