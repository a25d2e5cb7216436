from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.calls import Usage
from tollway.dialects.bedrock_converse import decode_usage


def usage(fields: dict[str, Any], **more: Any) -> Usage | None:
    return decode_usage(json.dumps({"usage": fields, **more}).encode())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"inputTokens": 30, "outputTokens": 628, "totalTokens": 658}, Usage(input=30, output=628)),
        (
            # Written by Claude on Bedrock: the total holds what was written to the cache.
            {
                "inputTokens": 3,
                "outputTokens": 401,
                "totalTokens": 2191,
                "cacheReadInputTokens": 0,
                "cacheWriteInputTokens": 1787,
            },
            Usage(input=3, output=401, cache_write_5m=1787),
        ),
        (
            {
                "inputTokens": 3,
                "outputTokens": 4,
                "totalTokens": 607,
                "cacheReadInputTokens": 100,
                "cacheWriteInputTokens": 500,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 200}, {"ttl": "5m", "inputTokens": 300}],
            },
            Usage(input=3, output=4, cache_read=100, cache_write_5m=300, cache_write_1h=200),
        ),
        (
            # A total that says the input holds what was read.
            {"inputTokens": 130, "outputTokens": 4, "totalTokens": 134, "cacheReadInputTokens": 100},
            Usage(input=30, output=4, cache_read=100),
        ),
        ({"inputTokens": -5, "outputTokens": None, "totalTokens": 0}, Usage()),
        (
            # More kept for an hour than was written at all: not more than that counts.
            {"cacheWriteInputTokens": 5, "cacheDetails": [{"ttl": "1h", "inputTokens": 9}]},
            Usage(cache_write_1h=5),
        ),
    ],
)
def test_buckets_are_disjoint_and_sum_to_the_total(fields: dict[str, Any], expected: Usage) -> None:
    assert usage(fields) == expected
    if fields.get("totalTokens"):
        assert expected.input_total + expected.output_total == fields["totalTokens"]


@pytest.mark.parametrize(
    ("tier", "told"), [("priority", "priority"), ("flex", "flex"), ("default", ""), ("reserved", "")]
)
def test_a_tier_with_its_own_price_is_told(tier: str, told: str) -> None:
    assert usage({"inputTokens": 1}, serviceTier={"type": tier}) == Usage(input=1, service_tier=told)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"usage":null}', b'{"usage":7}'])
def test_a_reply_without_usage_tells_none(body: bytes) -> None:
    assert decode_usage(body) is None
