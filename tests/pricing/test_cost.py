from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.calls import Cost, Usage, UsageDetails
from tollway.pricing.catalog import Catalog
from tollway.pricing.cost import cost_of
from tollway.pricing.price import Price, price_from_map

#: Bucket of usage -> its key in the map and the bucket that stands in for it.
TOKENS = {
    "input": ("input_cost_per_token", ""),
    "cache_read": ("cache_read_input_token_cost", "input"),
    "cache_write_5m": ("cache_creation_input_token_cost", "input"),
    "audio_in": ("input_cost_per_audio_token", "input"),
    "image_in": ("input_cost_per_image_token", "input"),
    "output": ("output_cost_per_token", ""),
    "reasoning": ("output_cost_per_reasoning_token", "output"),
    "audio_out": ("output_cost_per_audio_token", "output"),
    "image_out": ("output_cost_per_image_token", "output"),
}
INPUTS = ("input", "cache_read", "cache_write_5m", "audio_in", "image_in")

decimals = st.decimals(0, 1, allow_nan=False, places=16).map(str) | st.integers(0, 400_000).map(lambda u: f"{u}e-10")


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {"mode": "chat"}
    for bucket, (key, _) in TOKENS.items():
        if bucket in ("input", "output") or draw(st.booleans()):
            row[key] = draw(decimals)
            if draw(st.booleans()):
                row[f"{key}_above_1k_tokens"] = draw(decimals)
    if draw(st.booleans()):
        row["search_context_cost_per_query"] = {"search_context_size_medium": draw(decimals)}
    if draw(st.booleans()):
        row["input_cost_per_request"] = draw(decimals)
    return row


counts = st.integers(0, 600) | st.integers(0, 10**7)
usages = st.builds(Usage, **dict.fromkeys([*TOKENS, "searches"], counts))


def expected(row: dict[str, Any], usage: Usage) -> Decimal:
    """The same sum in another arithmetic, read from the row in another way."""
    suffix = "_above_1k_tokens" if sum(getattr(usage, bucket) for bucket in INPUTS) > 1000 else ""
    with localcontext() as context:
        context.prec = 100

        def rate(bucket: str) -> Decimal:
            key, neighbour = TOKENS[bucket]
            value = row.get(key + suffix, row.get(key))
            if bucket == "reasoning" and Decimal(row.get(key, -1)) == Decimal(row["output_cost_per_token"]):
                value = row.get(key + suffix) if suffix else None  # it follows the output's
            return rate(neighbour) if value is None else Decimal(value)

        dollars = sum((getattr(usage, bucket) * rate(bucket) for bucket in TOKENS), Decimal(0))
        search = row.get("search_context_cost_per_query", {}).get("search_context_size_medium", 0)
        dollars += usage.searches * Decimal(search) + Decimal(row.get("input_cost_per_request", 0))
        return (dollars * 10**9).to_integral_value(ROUND_HALF_EVEN)


@settings(max_examples=300, deadline=None)
@given(row=rows(), usage=usages)
def test_a_cost_is_the_exact_sum_rounded_once_half_even(row: dict[str, Any], usage: Usage) -> None:
    price = price_from_map(row, version="test")
    assert price is not None
    cost = cost_of(usage, price)
    assert cost.total == expected(row, usage)
    parts = cost.input + cost.cache_read + cost.cache_write + cost.output + cost.tools
    assert abs(parts - cost.total) <= 3
    assert 0 <= cost.reasoning <= cost.output + 1
    assert all(type(part) is int for part in (cost.total, cost.input, cost.output, cost.tools))


def price_of(**row: Any) -> Price:
    price = price_from_map({"mode": "chat", "output_cost_per_token": 0, **row}, version="test")
    assert price is not None
    return price


def test_half_a_nano_dollar_is_rounded_to_the_even_neighbour() -> None:
    half = price_of(input_cost_per_token="5e-10")
    assert [cost_of(Usage(input=tokens), half).total for tokens in range(8)] == [0, 0, 1, 2, 2, 2, 3, 4]


def test_a_total_is_rounded_once_and_not_part_by_part() -> None:
    price = price_of(input_cost_per_token="4e-10", cache_read_input_token_cost="4e-10", output_cost_per_token="4e-10")
    cost = cost_of(Usage(input=1, cache_read=1, output=1), price)
    assert cost == Cost(total=1)


def test_gpt_4o_costs_what_its_price_list_says(catalog: Catalog) -> None:
    facts = catalog.find("openai", "gpt-4o")
    assert facts is not None
    assert facts.price is not None
    cost = cost_of(Usage(input=9, cache_read=4, output=5, reasoning=2), facts.price)
    assert cost == Cost(total=97_500, input=22_500, output=70_000, cache_read=5_000, reasoning=20_000)


def test_claude_opus_4_6_costs_what_its_price_list_says(catalog: Catalog) -> None:
    facts = catalog.find("anthropic", "claude-opus-4-6")
    assert facts is not None
    assert facts.price is not None
    cost = cost_of(Usage(input=10, cache_write_5m=3, cache_read=5, output=6), facts.price)
    assert cost == Cost(total=221_250, input=50_000, output=150_000, cache_read=2_500, cache_write=18_750)
    hour = cost_of(Usage(cache_write_1h=3, searches=2), facts.price)
    assert hour == Cost(total=20_030_000, cache_write=30_000, tools=20_000_000)


def test_all_tokens_of_a_call_above_a_threshold_cost_the_higher_rate() -> None:
    price = price_of(input_cost_per_token="2e-06", input_cost_per_token_above_200k_tokens="4e-06")
    assert cost_of(Usage(input=200_000), price).total == 400_000_000
    assert cost_of(Usage(input=200_001), price).total == 800_004_000
    assert cost_of(Usage(input=1, cache_read=200_000), price).total == 800_004_000


def test_the_service_tier_that_was_served_is_charged() -> None:
    price = price_of(input_cost_per_token="2e-06", input_cost_per_token_priority="3.5e-06")
    totals = {
        tier: cost_of(Usage(input=100, service_tier=tier), price).total for tier in ("", "priority", "batch", "x")
    }
    assert totals == {"": 200_000, "priority": 350_000, "batch": 100_000, "x": 200_000}


def test_pieces_are_charged_where_their_tokens_are_not_known() -> None:
    row = {"input_cost_per_token": "1e-06", "output_cost_per_image": "0.04", "output_cost_per_image_token": "3e-05"}
    picture = price_of(mode="image_generation", **row)
    assert cost_of(Usage(input=10, images=2), picture).total == 80_010_000
    assert cost_of(Usage(input=10, images=2, image_out=1000), picture).total == 30_010_000


def test_a_duration_is_charged_by_its_decimals_and_only_when_no_token_was() -> None:
    whisper = price_of(mode="audio_transcription", input_cost_per_second="0.0001")
    assert cost_of(Usage(seconds=12.34), whisper) == Cost(total=1_234_000, input=1_234_000)
    assert cost_of(Usage(seconds=0.000005), whisper).total == 0  # half a nano-dollar
    assert cost_of(Usage(seconds=0.000015), whisper).total == 2
    both = price_of(mode="audio_transcription", input_cost_per_second="0.0001", input_cost_per_audio_token="1e-06")
    assert cost_of(Usage(seconds=10.0, audio_in=100), both).total == 100_000


def test_characters_queries_and_calls_have_their_price() -> None:
    speech = price_of(mode="audio_speech", input_cost_per_character="1.5e-05")
    assert cost_of(Usage(characters=11), speech).total == 165_000
    rerank = price_of(mode="rerank", input_cost_per_query="0.002")
    assert cost_of(Usage(queries=3), rerank).total == 6_000_000
    online = price_of(input_cost_per_token="1e-06", input_cost_per_request="0.005", input_cost_per_character="1e-06")
    assert cost_of(Usage(input=1, characters=5), online).total == 5_001_000


def test_free_is_zero_in_every_bucket() -> None:
    free = price_of(input_cost_per_token=0)
    used: dict[str, Any] = dict.fromkeys(
        (*TOKENS, "cache_write_1h", "searches", "images", "characters", "seconds", "queries"), 7
    )
    assert cost_of(Usage(**used), free) == Cost()
    assert cost_of(Usage(**used, service_tier="batch"), free) == Cost()


def test_parts_follow_their_own_exact_share() -> None:
    price = price_of(
        input_cost_per_token="1.5e-09", output_cost_per_token="2.5e-09", cache_read_input_token_cost="1e-10"
    )
    cost = cost_of(Usage(input=3, output=1, reasoning=2, cache_read=4), price)
    assert cost == Cost(total=12, input=5, output=8, cache_read=0, reasoning=5)
    assert Fraction(price.rates.input, price.per_nano) == Fraction(3, 2)


def test_cached_sound_and_pictures_have_their_own_rate_and_are_part_of_what_was_read() -> None:
    price = price_of(
        input_cost_per_token="1e-06",
        output_cost_per_token="1e-06",
        cache_read_input_token_cost="1e-07",
        cache_read_input_audio_token_cost="3e-07",
        cache_read_input_image_token_cost="2e-07",
    )
    usage = Usage(input=10, cache_read=100, details=UsageDetails(cache_read_audio=20, cache_read_image=30))
    cost = cost_of(usage, price)
    assert (cost.total, cost.cache_read) == (10_000 + 17_000, 50 * 100 + 20 * 300 + 30 * 200)


def test_a_place_multiplies_tokens_and_nothing_else_on_top_of_the_tier() -> None:
    price = price_of(
        input_cost_per_token="5e-06",
        output_cost_per_token="25e-06",
        search_context_cost_per_query={"search_context_size_medium": "0.01"},
        provider_specific_entry={"us": 1.1, "fast": 2.0},
    )
    usage = Usage(input=1000, output=100, searches=3, service_tier="fast", details=UsageDetails(place="us"))
    cost = cost_of(usage, price)
    assert cost == Cost(total=46_500_000, input=11_000_000, output=5_500_000, tools=30_000_000)
    elsewhere = cost_of(Usage(input=1000, output=100, details=UsageDetails(place="global")), price)
    assert elsewhere.total == 7_500_000


def test_searches_of_files_and_of_a_size_and_sources_are_charged() -> None:
    price = price_of(
        input_cost_per_token="1e-06",
        output_cost_per_token="1e-06",
        file_search_cost_per_1k_calls="2.5",
        citation_cost_per_token="2e-06",
        search_context_cost_per_query={
            "search_context_size_low": "0.005",
            "search_context_size_medium": "0.008",
            "search_context_size_high": "0.012",
        },
    )
    details = UsageDetails(citations=10, file_searches=2, search_size="high")
    cost = cost_of(Usage(input=1, searches=1, details=details), price)
    assert (cost.total, cost.input, cost.tools) == (1_000 + 20_000 + 17_000_000, 21_000, 17_000_000)
    assert cost_of(Usage(searches=1, details=UsageDetails(search_size="low")), price).total == 5_000_000
    assert cost_of(Usage(searches=1), price).total == 8_000_000
