"""Cohere through its Compatibility API (https://docs.cohere.com/docs/compatibility-api, 2026-11-22).

Quirks, all from that page: a list of OpenAI's fields is not supported, and of the output limits only `max_tokens` is.
"""

from __future__ import annotations

import re
from typing import Any

from tollway.providers import Introduction, drop_fields

INTRODUCTION = Introduction(
    display="Cohere",
    docs="https://docs.cohere.com/docs/compatibility-api",
    base_url="https://api.cohere.ai/compatibility/v1",
    base_url_end="/compatibility/v1",
    base_url_env=("COHERE_API_BASE",),
    key_env=("COHERE_API_KEY", "CO_API_KEY"),
    operations=("chat", "embeddings", "audio_transcriptions"),
    output_limit="max_tokens",
)

_UNSUPPORTED = (
    "audio",
    "dimensions",
    "logit_bias",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "service_tier",
    "store",
    "top_logprobs",
    "user",
)


def clean(url: str) -> str:
    """People who came from Cohere's own API wrote its address down: https://api.cohere.com/v2/chat."""
    return url if url.endswith("/compatibility/v1") else re.sub(r"/v[12](/chat)?$", "", url)


def adapt(fields: dict[str, Any]) -> list[str]:
    return drop_fields(fields, _UNSUPPORTED)
