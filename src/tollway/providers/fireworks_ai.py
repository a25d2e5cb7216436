"""Fireworks AI.

Quirk: its own models live under `accounts/fireworks/models/`, and people leave that out
(https://docs.fireworks.ai/getting-started/concepts, 2026-11-22).
"""

from __future__ import annotations

from tollway.providers import Introduction

INTRODUCTION = Introduction(
    display="Fireworks AI",
    docs="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    base_url="https://api.fireworks.ai/inference/v1",
    base_url_env=("FIREWORKS_API_BASE",),
    key_env=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    also_speaks=("openai_completions",),  # https://docs.fireworks.ai/api-reference/post-completions (2026-11-22)
    rerank="jina",  # https://docs.fireworks.ai/api-reference/post-rerank (2026-11-22)
)


def rename(model: str) -> str:
    return model if "/" in model else f"accounts/fireworks/models/{model}"
