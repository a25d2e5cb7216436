"""OpenAI itself.

Quirks: the reasoning models refuse `max_tokens` and want `max_completion_tokens`
(https://platform.openai.com/docs/api-reference/chat/create, 2026-11-22). Three older models answer text completions and
nothing else, all others no text completions (https://platform.openai.com/docs/deprecations, 2026-11-22).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from msgspec import Raw

from tollway.providers import USUAL_OPERATIONS, Introduction, is_openai_reasoning, name_output_limit, text_of
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="OpenAI",
    docs="https://platform.openai.com/docs/api-reference",
    base_url="https://api.openai.com/v1",
    base_url_env=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    key_env=("OPENAI_API_KEY",),
    # https://platform.openai.com/docs/api-reference/authentication (2026-11-22)
    header_env={"openai-organization": "OPENAI_ORGANIZATION", "openai-project": "OPENAI_PROJECT"},
    also_speaks=("openai_responses",),
    operations=(*USUAL_OPERATIONS, "images_variations", "moderations"),
)
_TEXT_MODEL = re.compile(r"(ft:)?(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)\b")


def adapt(fields: dict[str, Any]) -> list[str]:
    if "max_tokens" in fields:
        model = fields.get("model")
        if _is_reasoning_json(bytes(model)) if isinstance(model, Raw) else is_openai_reasoning(text_of(model)):
            return name_output_limit(fields, "max_completion_tokens")
    return []


@lru_cache(maxsize=256)
def _is_reasoning_json(model: bytes) -> bool:
    """Of a name as it stands in JSON: this is asked for nearly every call."""
    return is_openai_reasoning(text_of(Raw(model)))


class OpenAI(OpenAICompatible):
    def __init__(self, name: str) -> None:
        super().__init__(name, INTRODUCTION, adapt=adapt)

    def dialects(self, model: str) -> tuple[str, ...]:
        if _TEXT_MODEL.match(model) and not self._elsewhere:
            return ("openai_completions",)
        return super().dialects(model)
