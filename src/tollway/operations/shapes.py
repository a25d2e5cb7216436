"""What operations look for in bodies. It stands apart because the operations are compiled (`hatch_compile.py`), and a compiled
module keeps too little of its structs' types to decode them.
"""

from __future__ import annotations

from msgspec import Raw, Struct


class Part(Struct, gc=False):
    """A message, or a part of one, and what is in it, as far as media are looked for."""

    type: str | None = None
    content: str | list[Part] | None = None


class InputTokens(Struct):
    """Anthropic's count of tokens."""

    input_tokens: int


class TotalTokens(Struct):
    """Gemini's count of tokens, or Anthropic's."""

    totalTokens: int | None = None
    input_tokens: int | None = None


class _Billed(Struct):
    input_tokens: float | None = None
    images: float | None = None


class _Meta(Struct):
    billed_units: _Billed | None = None


class CohereEmbedded(Struct):
    """What Cohere says an embedding used."""

    meta: _Meta | None = None


class ToldResponse(Struct):
    """What must be known of a response to keep it."""

    id: str = ""
    status: str = ""
    output: list[Raw] = []
