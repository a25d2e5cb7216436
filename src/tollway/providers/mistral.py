"""Mistral AI, and Codestral, its endpoint for code.

Quirks: a field outside its own schema is refused with 422 `extra_forbidden`. Of what OpenAI's clients send every day
that is `max_completion_tokens` (https://github.com/editor-code-assistant/eca/issues/315, 2026-02-18) and
`stream_options.include_usage` (https://github.com/BerriAI/litellm/issues/8978, 2025-03-04); usage comes in the last
chunk of every stream unasked (https://docs.mistral.ai/api/endpoint/chat, 2026-11-22). Its embeddings have no
`dimensions` but an `output_dimension`, its chat no `seed` but a `random_seed`.
"""

from __future__ import annotations

from typing import Any

from tollway.providers import Introduction, drop_fields

INTRODUCTION = Introduction(
    display="Mistral AI",
    docs="https://docs.mistral.ai/api",
    base_url="https://api.mistral.ai/v1",
    base_url_env=("MISTRAL_API_BASE", "MISTRAL_AZURE_API_BASE"),
    key_env=("MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY"),
    operations=("chat", "embeddings", "audio_transcriptions", "moderations"),
    output_limit="max_tokens",
    stream_usage=False,
)

CODESTRAL = Introduction(
    display="Codestral",
    docs="https://docs.mistral.ai/capabilities/code_generation",
    base_url="https://codestral.mistral.ai/v1",
    base_url_env=("CODESTRAL_API_BASE",),
    key_env=("CODESTRAL_API_KEY",),
    operations=("chat",),
    output_limit="max_tokens",
    stream_usage=False,
)

#: OpenAI's words and its own.
_RENAMED = {"seed": "random_seed", "dimensions": "output_dimension"}
#: OpenAI's fields that its schema does not have (ChatCompletionRequest, https://github.com/mistralai/client-python
#: 3.7.0).
_UNKNOWN = (
    "audio",
    "logit_bias",
    "modalities",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
    "web_search_options",
)


def adapt(fields: dict[str, Any]) -> list[str]:
    for theirs, ours in _RENAMED.items():
        if theirs in fields:
            value = fields.pop(theirs)
            fields.setdefault(ours, value)
    return drop_fields(fields, _UNKNOWN)
