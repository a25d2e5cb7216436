"""OpenAI itself.

Quirk: the reasoning models refuse `max_tokens` and want `max_completion_tokens`
(https://platform.openai.com/docs/api-reference/chat/create, 2026-11-22).
"""

from __future__ import annotations

from typing import Any

from tollway.providers import Introduction, is_openai_reasoning, name_output_limit, text_of

INTRODUCTION = Introduction(
    display="OpenAI",
    docs="https://platform.openai.com/docs/api-reference",
    base_url="https://api.openai.com/v1",
    base_url_env=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    key_env=("OPENAI_API_KEY",),
    # https://platform.openai.com/docs/api-reference/authentication (2026-11-22)
    header_env={"openai-organization": "OPENAI_ORGANIZATION", "openai-project": "OPENAI_PROJECT"},
)


def adapt(fields: dict[str, Any]) -> list[str]:
    if "max_tokens" in fields and is_openai_reasoning(text_of(fields.get("model"))):
        return name_output_limit(fields, "max_completion_tokens")
    return []
