from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Cost, Usage
from tollway.dialects.openai_responses import decode_usage
from tollway.dialects.openai_responses.usage import usage_to_fields


def usage_in(usage: Any, **response: Any) -> Usage | None:
    return decode_usage(json.dumps({"id": "resp_1", "output": [], **response, "usage": usage}).encode())


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ({"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}, Usage(input=5, output=3)),
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "output_tokens": 20,
                "output_tokens_details": {"reasoning_tokens": 15},
                "total_tokens": 120,
            },
            Usage(input=10, cache_read=60, cache_write_5m=30, output=5, reasoning=15),
        ),
        (
            {
                "input_tokens": 50,
                "input_tokens_details": {
                    "cached_tokens": 0,
                    "cache_write_tokens": 30,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
                },
                "output_tokens": 1,
            },
            Usage(input=20, cache_write_5m=10, cache_write_1h=20, output=1),
        ),
        # thought beside the output, as the totals tell
        (
            {
                "input_tokens": 5,
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 10},
                "total_tokens": 18,
            },
            Usage(input=5, output=3, reasoning=10),
        ),
        ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}}, Usage(cache_read=5)),
        ({"input_tokens": 5.0, "output_tokens": "x", "input_tokens_details": 3}, Usage(input=5)),
        ({"input_tokens": None, "output_tokens_details": None}, Usage()),
        (None, None),
        ([], None),
        ("x", None),
    ],
)
def test_usage_is_read_in_disjoint_buckets(wire: Any, ours: Usage | None) -> None:
    assert usage_in(wire) == ours


def test_only_tiers_with_a_price_of_their_own_are_told() -> None:
    for tier, told in (("priority", "priority"), ("flex", "flex"), ("default", ""), (None, ""), (7, "")):
        assert usage_in({"input_tokens": 1}, service_tier=tier) == Usage(input=1, service_tier=told)


def test_searches_are_counted_by_the_provider_or_else_by_their_items() -> None:
    output = [
        {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "web_search_call", "status": "completed", "action": {"type": "open_page"}},
        {"type": "web_search_call", "status": "failed"},
        {"type": "web_search_call"},
        {"type": "message", "content": []},
    ]
    assert usage_in({"input_tokens": 1}, output=output) == Usage(input=1, searches=2)
    counted = {"web_search": {"num_requests": 1}, "image_gen": {}}
    assert usage_in({"input_tokens": 1}, output=output, tool_usage=counted) == Usage(input=1, searches=1)
    assert usage_in({"input_tokens": 1}, output={"web_search_call": 1}, tool_usage=[1]) == Usage(input=1)


def test_what_is_no_json_has_no_usage() -> None:
    assert decode_usage(b"<html>") is None
    assert decode_usage(b"{}") is None


counts = st.integers(0, 10**9)


@given(
    st.builds(
        Usage,
        input=counts,
        cache_read=counts,
        cache_write_5m=counts,
        cache_write_1h=counts,
        output=counts,
        reasoning=counts,
    )
)
def test_usage_goes_out_and_comes_back(usage: Usage) -> None:
    fields = usage_to_fields(usage)
    assert usage_in(fields) == usage
    assert fields["total_tokens"] == usage.input_total + usage.output_total


numbers = st.one_of(st.none(), st.integers(-5, 100), st.floats(-5, 100), st.just("x"))


@given(
    st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "total_tokens"]), numbers),
    st.dictionaries(st.sampled_from(["cached_tokens", "cache_write_tokens"]), numbers),
    st.dictionaries(st.sampled_from(["reasoning_tokens"]), numbers),
)
def test_no_bucket_is_ever_negative(usage: dict[str, Any], into: dict[str, Any], out: dict[str, Any]) -> None:
    read = usage_in({**usage, "input_tokens_details": into, "output_tokens_details": out})
    assert read is not None
    assert min(read.input, read.cache_read, read.cache_write_5m, read.output, read.reasoning) >= 0


def test_the_cost_is_exact() -> None:
    assert bytes(usage_to_fields(Usage(), Cost(total=2100))["cost"]) == b"0.0000021"
