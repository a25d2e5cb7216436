"""Cohere's `usage` to our buckets. https://docs.cohere.com/reference/chat#response.body.usage (2026-11-22)

It tells twice what was used: `billed_units`, and `tokens`, which count the prompt that Cohere itself writes around a
conversation as well. What is billed is what is charged; where nothing was (a server of one's own), the tokens count.
`cached_tokens` is a part of `tokens` and has no price, so it does not count apart.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Usage


class _Units(Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None
    search_units: float | None = None


class _Usage(Struct):
    billed_units: _Units | None = None
    tokens: _Units | None = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_NOTHING = _Units()


def usage_from_json(raw: Raw) -> Usage | None:
    """None where nothing is counted, or not in numbers."""
    try:
        told = _decode_usage(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    billed, tokens = told.billed_units or _NOTHING, told.tokens or _NOTHING
    counted = billed if _count(billed.input_tokens) or _count(billed.output_tokens) else tokens
    usage = Usage(
        input=_count(counted.input_tokens),
        output=_count(counted.output_tokens),
        searches=_count(billed.search_units),
    )
    return usage if usage.input or usage.output or usage.searches else None


def _count(number: float | None) -> int:
    return int(number) if number is not None and 0 < number < 1e15 else 0
