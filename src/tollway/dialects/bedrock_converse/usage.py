"""Converse's TokenUsage to our buckets.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html and
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (2026-11-22). The counts are disjoint:
`inputTokens` holds neither what was read from the cache nor what was written to it; `totalTokens` is the sum of all.
Thought is counted as output and not told apart. `cacheDetails` tells how long what was written is kept.
"""

from __future__ import annotations

from msgspec import Struct

from tollway.calls import Usage


class CacheDetail(Struct, gc=False):
    ttl: str | None = None
    inputTokens: int | None = None


class TokenUsage(Struct):
    inputTokens: int | None = None
    outputTokens: int | None = None
    totalTokens: int | None = None
    cacheReadInputTokens: int | None = None
    cacheWriteInputTokens: int | None = None
    cacheDetails: list[CacheDetail] | None = None


class ServiceTier(Struct, gc=False):
    type: str | None = None


#: Tiers whose price is not the ordinary one.
PRICED_TIERS = frozenset({"priority", "flex"})


def usage_of(fields: TokenUsage, tier: ServiceTier | None = None) -> Usage:
    """Disjoint buckets, none negative, whose sums are the provider's own total where it tells one."""
    read, written = _count(fields.cacheReadInputTokens), _count(fields.cacheWriteInputTokens)
    fresh, output = _count(fields.inputTokens), _count(fields.outputTokens)
    beyond = fresh + read + written + output - _count(fields.totalTokens)
    if fields.totalTokens and 0 < beyond == read + written <= fresh:
        fresh -= beyond  # a model whose input holds what was cached: the total decides
    details = fields.cacheDetails or ()
    hour = min(sum(_count(detail.inputTokens) for detail in details if detail.ttl == "1h"), written)
    served = (tier.type or "") if tier is not None else ""
    return Usage(
        input=fresh,
        cache_read=read,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        output=output,
        service_tier=served if served in PRICED_TIERS else "",
    )


def _count(value: int | None) -> int:
    return value if value is not None and 0 <= value < 10**15 else 0
