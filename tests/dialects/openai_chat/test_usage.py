from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Cost, Usage
from tollway.dialects.openai_chat.usage import usage_from_json, usage_to_fields, with_cost


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        ({"prompt_tokens": 13, "completion_tokens": 7, "total_tokens": 20}, Usage(input=13, output=7)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 10, "image_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 6},
            },
            Usage(input=45, cache_read=40, audio_in=10, image_in=5, output=24, reasoning=20, audio_out=6),
        ),
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 1,
                "prompt_cache_hit_tokens": 30,
                "prompt_cache_miss_tokens": 20,
            },
            Usage(input=20, cache_read=30, output=1),
        ),
        (  # xAI: reasoning stands beside completion
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 315,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(input=10, output=5, reasoning=300),
        ),
        (  # Gemini's compatible endpoint: thought is in the total alone
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 65},
            Usage(input=10, output=5, reasoning=50),
        ),
        (  # a server that does not count cached tokens as prompt
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 85,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 10,
            },
            Usage(input=10, cache_read=60, cache_write_5m=10, output=5),
        ),
        (
            {
                "prompt_tokens": 18,
                "completion_tokens": 6,
                "total_tokens": 24,
                "prompt_tokens_details": {
                    "cached_tokens": 5,
                    "cache_creation_tokens": 3,
                    "cache_creation_token_details": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
                },
            },
            Usage(input=10, cache_read=5, cache_write_5m=1, cache_write_1h=2, output=6),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 2, "num_search_queries": 3}, Usage(input=5, output=2, searches=3)),
        ({"prompt_tokens": None, "completion_tokens": 7.0, "total_tokens": 7}, Usage(output=7)),
        ({"prompt_tokens": "9", "prompt_tokens_details": [], "completion_tokens": 2}, Usage(output=2)),
        ({}, Usage()),
    ],
)
def test_usage_falls_into_disjoint_buckets(wire: dict[str, Any], usage: Usage) -> None:
    assert usage_from_json(json.dumps(wire).encode()) == usage


@pytest.mark.parametrize("wire", [b"null", b"[]", b"7", b"{"])
def test_what_is_no_usage_is_none(wire: bytes) -> None:
    assert usage_from_json(wire) is None


def test_only_tiers_with_a_price_of_their_own_are_kept() -> None:
    tiers = [usage_from_json(b"{}", tier).service_tier for tier in ("priority", "flex", "default", "auto", None)]  # type: ignore[union-attr]
    assert tiers == ["priority", "flex", "", "", ""]


_counts = st.one_of(st.none(), st.integers(-5, 10**6))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": _counts,
            "completion_tokens": _counts,
            "total_tokens": _counts,
            "prompt_cache_hit_tokens": _counts,
            "cache_creation_input_tokens": _counts,
            "prompt_tokens_details": st.dictionaries(
                st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"]), _counts
            ),
            "completion_tokens_details": st.dictionaries(
                st.sampled_from(["reasoning_tokens", "audio_tokens", "image_tokens"]), _counts
            ),
        },
    )
)
def test_no_bucket_is_negative_and_the_sum_is_the_providers_total(wire: dict[str, Any]) -> None:
    usage = usage_from_json(json.dumps(wire).encode())
    assert usage is not None
    assert all(count >= 0 for count in msgspec.to_builtins(usage)[:15])
    prompt, completion, total = (max(wire.get(f"{name}_tokens") or 0, 0) for name in ("prompt", "completion", "total"))
    if total and total >= prompt + completion:
        assert usage.input_total + usage.output_total == total
    else:
        assert usage.input_total >= prompt
        assert usage.output_total >= completion


_buckets = st.integers(0, 10**6)


@given(
    st.builds(
        Usage,
        input=_buckets,
        cache_read=_buckets,
        cache_write_5m=_buckets,
        cache_write_1h=_buckets,
        audio_in=_buckets,
        image_in=_buckets,
        output=_buckets,
        reasoning=_buckets,
        audio_out=_buckets,
        image_out=_buckets,
        searches=_buckets,
    )
)
def test_usage_that_we_write_reads_back_the_same(usage: Usage) -> None:
    assert usage_from_json(msgspec.json.encode(usage_to_fields(usage))) == usage


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, b"0"),
        (1, b"0.000000001"),
        (1_500_000_000, b"1.5"),
        (2_000_000_000, b"2"),
        (123_456_789_012_345_678, b"123456789.012345678"),
    ],
)
def test_cost_is_written_to_the_last_nano_dollar(nano: int, text: bytes) -> None:
    assert msgspec.json.encode(usage_to_fields(Usage(), Cost(total=nano))["cost"]) == text


def test_our_cost_replaces_the_providers_and_leaves_the_rest_as_it_was() -> None:
    raw = b'{"prompt_tokens":1.0,"cost":9,"strange":{"a" : 1e5}}'
    assert bytes(with_cost(raw, Cost(total=5))) == b'{"prompt_tokens":1.0,"cost":0.000000005,"strange":{"a" : 1e5}}'
    assert bytes(with_cost(raw, None)) == raw
