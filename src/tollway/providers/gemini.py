"""Google's Gemini API, through the door it keeps for OpenAI's clients.

https://ai.google.dev/gemini-api/docs/openai (2026-11-22).

Quirk: a field outside its schema is refused with 400 `Unknown name ...: Cannot find field.`: seen for `store`
(https://github.com/Gitlawb/openclaude/issues/664, 2026-04-13), `metadata`
(https://github.com/ed-donner/agents/issues/45, 2025-05-23) and `frequency_penalty`
(https://github.com/sleepydeer666/RPGBox/issues/2, 2026-08-29).
"""

from __future__ import annotations

from typing import Any

from tollway.providers import Introduction, drop_fields

INTRODUCTION = Introduction(
    display="Google Gemini",
    docs="https://ai.google.dev/gemini-api/docs/openai",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    base_url_end="/v1beta/openai",
    base_url_env=("GEMINI_API_BASE",),
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    operations=("chat", "embeddings", "images_generations"),
)

_UNKNOWN = (
    "frequency_penalty",
    "logit_bias",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "verbosity",
)


def adapt(fields: dict[str, Any]) -> list[str]:
    return drop_fields(fields, _UNKNOWN)
