"""Hugging Face: the router to its inference providers, and dedicated endpoints, which speak the same.

Quirk: the router wants the provider behind the model, `org/model:provider`
(https://huggingface.co/docs/inference-providers, 2026-11-22), where LiteLLM's people write `provider/org/model`.
"""

from __future__ import annotations

from tollway.providers import Introduction

INTRODUCTION = Introduction(
    display="Hugging Face",
    docs="https://huggingface.co/docs/inference-providers",
    base_url="https://router.huggingface.co/v1",
    base_url_end="/v1",
    base_url_env=("HF_API_BASE", "HUGGINGFACE_API_BASE"),
    key_env=("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    operations=("chat",),
)


def rename(model: str) -> str:
    """("groq/meta-llama/Llama-3.3-70B") -> "meta-llama/Llama-3.3-70B:groq"; two parts or one stay as they are."""
    parts = model.split("/")
    return f"{parts[1]}/{parts[2]}:{parts[0]}" if len(parts) == 3 else model
