from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.calls import Usage
from tollway.pricing.bound import (
    IMAGE_INPUT_TOKENS_MAX,
    OUTPUT_TOKENS_UNLIMITED,
    WINDOW_TOKENS_OTHERWISE,
    Media,
    affordable_output_tokens,
    input_tokens_bound,
    most_expensive,
)
from tollway.pricing.catalog import Catalog
from tollway.pricing.cost import cost_of
from tollway.pricing.price import Price, price_from_map

KEYS = (
    "input_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "input_cost_per_audio_token",
    "input_cost_per_image_token",
    "output_cost_per_token",
    "output_cost_per_reasoning_token",
    "output_cost_per_audio_token",
    "output_cost_per_image_token",
)
PIECES = ("input_cost_per_request", "output_cost_per_image", "input_cost_per_character", "input_cost_per_second")
SUFFIXES = ("", "_above_1k_tokens", "_above_5k_tokens", "_priority", "_flex", "_batches", "_above_1k_tokens_priority")

decimals = st.integers(0, 10**6).map(lambda units: f"{units}e-11")


@st.composite
def prices(draw: st.DrawFn) -> Price:
    names = [key + suffix for key in KEYS for suffix in SUFFIXES] + list(PIECES)
    row: dict[str, Any] = {key: draw(decimals) for key in draw(st.sets(st.sampled_from(names), max_size=12))}
    row |= {"mode": "chat", "input_cost_per_token": draw(decimals), "output_cost_per_token": "1e-06"}
    sizes = draw(st.lists(decimals, max_size=2))
    row["search_context_cost_per_query"] = dict(
        zip(("search_context_size_medium", "search_context_size_high"), sizes, strict=False)
    )
    price = price_from_map(row, version="test")
    assert price is not None
    return price


def split(draw: Callable[..., Any], total: int, buckets: tuple[str, ...]) -> dict[str, int]:
    parts = {}
    for bucket in draw(st.permutations(buckets)):
        parts[bucket] = draw(st.integers(0, total))
        total -= parts[bucket]
    return parts


@settings(max_examples=400, deadline=None)
@given(data=st.data(), price=prices(), input_tokens=st.integers(0, 9000), output_tokens=st.integers(0, 9000))
def test_no_usage_within_a_bound_costs_more_than_it(
    data: st.DataObject, price: Price, input_tokens: int, output_tokens: int
) -> None:
    n = data.draw(st.integers(1, 3))
    inputs = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_in", "image_in")
    pieces = {piece: data.draw(st.integers(0, 5)) for piece in ("searches", "images", "characters", "queries")}
    seconds = data.draw(st.floats(0, 100, allow_nan=False))
    usage = Usage(
        **split(data.draw, input_tokens, inputs),
        **split(data.draw, output_tokens * n, ("output", "reasoning", "audio_out", "image_out")),
        **pieces,
        seconds=seconds,
        service_tier=data.draw(st.sampled_from(("", "priority", "flex", "batch", "other"))),
    )
    assert cost_of(usage, price).total <= most_expensive(
        price, input_tokens, output_tokens, n, seconds=seconds, **pieces
    )


@settings(max_examples=200, deadline=None)
@given(
    price=prices(),
    small=st.tuples(st.integers(0, 9000), st.integers(0, 9000), st.integers(1, 4)),
    more=st.tuples(st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 4)),
)
def test_a_larger_call_never_has_a_smaller_bound(
    price: Price, small: tuple[int, int, int], more: tuple[int, int, int]
) -> None:
    large = tuple(one + other for one, other in zip(small, more, strict=True))
    assert most_expensive(price, *small) <= most_expensive(price, *large)


@settings(max_examples=200, deadline=None)
@given(price=prices(), input_tokens=st.integers(0, 9000), n=st.integers(1, 4), nano=st.integers(0, 10**9))
def test_the_affordable_output_is_the_largest_whose_bound_fits(
    price: Price, input_tokens: int, n: int, nano: int
) -> None:
    limit = affordable_output_tokens(price, input_tokens, n, nano)
    if limit == -1:
        assert most_expensive(price, input_tokens, 0, n) > nano
    else:
        assert most_expensive(price, input_tokens, limit, n) <= nano
        assert most_expensive(price, input_tokens, limit + 1, n) > nano


def test_the_dearest_bucket_tier_and_service_count(catalog: Catalog) -> None:
    facts = catalog.find("anthropic", "claude-opus-4-6")
    assert facts is not None
    assert facts.price is not None
    # An hour in the cache is dearest: 10 dollars per million tokens; output is 25. Served in the US both are a tenth more.
    assert most_expensive(facts.price, 1000, 2000, 2) == (1000 * 10_000 + 2000 * 2 * 25_000) * 11 // 10
    assert most_expensive(facts.price, 0, 0, searches=3) == 30_000_000


def test_a_bound_is_rounded_up() -> None:
    price = price_from_map(
        {"mode": "chat", "input_cost_per_token": "4e-10", "output_cost_per_token": "1e-10"}, version="test"
    )
    assert price is not None
    assert most_expensive(price, 1, 0) == 1
    assert most_expensive(price, 5, 0) == 2
    assert most_expensive(price, 0, 0) == 0


def test_free_models_hold_nothing_and_need_no_limit() -> None:
    free = price_from_map({"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0}, version="test")
    assert free is not None
    assert most_expensive(free, 10**6, 10**6, 8, images=3, seconds=9.5) == 0
    assert affordable_output_tokens(free, 10**6, 1, 0) == OUTPUT_TOKENS_UNLIMITED


@pytest.mark.parametrize(
    ("row", "counted", "nano"),
    [
        ({"mode": "embedding", "input_cost_per_token": "2e-08"}, {"input_tokens": 1000}, 20_000),
        ({"mode": "image_generation", "output_cost_per_image": "0.04"}, {"images": 3}, 120_000_000),
        ({"mode": "audio_speech", "input_cost_per_character": "1.5e-05"}, {"characters": 100}, 1_500_000),
        ({"mode": "audio_transcription", "input_cost_per_second": "0.0001"}, {"seconds": 60.5}, 6_050_000),
        ({"mode": "rerank", "input_cost_per_query": "0.002"}, {"queries": 2}, 4_000_000),
    ],
)
def test_every_mode_has_a_bound(row: dict[str, Any], counted: dict[str, Any], nano: int) -> None:
    price = price_from_map(row, version="test")
    assert price is not None
    assert most_expensive(price, counted.pop("input_tokens", 0), 0, **counted) == nano


def test_text_is_bounded_by_its_bytes_and_media_by_what_the_catalog_knows() -> None:
    assert input_tokens_bound(0) == 0
    assert input_tokens_bound(7) == 4
    assert input_tokens_bound(7, bytes_per_token=3) == 3
    assert input_tokens_bound(10, Media(images=2)) == 5 + 2 * IMAGE_INPUT_TOKENS_MAX
    assert input_tokens_bound(10, Media(images=2), image_tokens=5_000) == 10_005
    assert input_tokens_bound(10, Media(images=9), window_tokens=8_000) == 8_005
    assert input_tokens_bound(10, Media(others=1), window_tokens=200_000) == 200_005
    assert input_tokens_bound(10, Media(others=1)) == 5 + WINDOW_TOKENS_OTHERWISE
