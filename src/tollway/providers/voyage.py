"""Voyage AI (https://docs.voyageai.com/reference/embeddings-api, .../reranker-api, 2026-11-22).

Quirks: a field outside its schema is refused with 400 "Argument '...' is not supported by our API"; the length of a vector
is `output_dimension`; `encoding_format` is "base64" or nothing.
"""

from __future__ import annotations

from typing import Any

from tollway.providers import Introduction, drop_fields, text_of
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Voyage AI",
    docs="https://docs.voyageai.com/reference/embeddings-api",
    base_url="https://api.voyageai.com/v1",
    base_url_env=("VOYAGE_API_BASE",),
    key_env=("VOYAGE_API_KEY", "VOYAGE_AI_API_KEY", "VOYAGE_AI_TOKEN"),
    operations=("embeddings",),
    rerank="voyage",
)


class Voyage(OpenAICompatible):
    def adapt_operation(self, operation: str, fields: dict[str, Any]) -> list[str]:
        if operation != "embeddings":
            return []
        if "dimensions" in fields:
            fields.setdefault("output_dimension", fields.pop("dimensions"))
        if "encoding_format" in fields and text_of(fields["encoding_format"]) != "base64":
            del fields["encoding_format"]  # "float" is what it answers in unasked
        return drop_fields(fields, ("user",))
