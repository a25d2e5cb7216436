"""Snowflake Cortex (https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api, 2026-11-22).

Address: the account's, with `/api/v2/cortex/v1`. Greeting: a programmatic access token, a key pair's JSON Web Token or an OAuth
token as a bearer; LiteLLM's people write `pat/` before the first of them.

Quirks: every model speaks chat completions, Claude models Anthropic's Messages too. The output limit is
`max_completion_tokens` (https://docs.snowflake.com/en/user-guide/snowflake-cortex/open_ai_sdk).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import CHAT_PATHS, Introduction
from tollway.providers.openai_compatible import OpenAICompatible

MESSAGES = "anthropic_messages"
INTRODUCTION = Introduction(
    display="Snowflake Cortex",
    docs="https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api",
    base_url="https://{SNOWFLAKE_ACCOUNT_ID}.snowflakecomputing.com",
    base_url_env=("SNOWFLAKE_API_BASE",),
    base_url_end="/api/v2/cortex/v1",
    key_env=("SNOWFLAKE_JWT",),
    operations=("chat",),
    output_limit="max_completion_tokens",
)
ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")


def clean(url: str) -> str:
    """People wrote down the address of its older API: .../api/v2/cortex/inference:complete."""
    return re.sub(r"/cortex/inference:\w+$|(?<=/v1)/messages$", "", url)


class Snowflake(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("snowflake", INTRODUCTION, clean=clean)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        key = super().key(entry, environment)
        return None if key is None else Secret(key.reveal().strip().removeprefix("pat/"))

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect, MESSAGES) if model.startswith("claude") else (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return "/messages" if dialect == MESSAGES else CHAT_PATHS[dialect]

    def operation_headers(self, operation: str, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        """Anthropic's clients need it; chat completions do not look at it."""
        model = entry.provider_model.removeprefix("snowflake/")
        written = {name.lower() for name in entry.extra_headers}
        wanted = operation == "chat" and model.startswith(("claude", "*")) and "anthropic-version" not in written
        return [ANTHROPIC_VERSION] if wanted else []
