from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from tollway.calls import Usage
from tollway.pricing.price import PICTURE_PIXELS_MAX, Price, Terms, exact_nano, price_from_map, price_version, uplift_in


def priced(row: dict[str, Any], name: str = "") -> Price:
    price = price_from_map({"mode": "chat", **row}, version="test", name=name)
    assert price is not None
    return price


def nano(price: Price, units: int) -> Fraction:
    return Fraction(units, price.per_nano)


CHAT = {"input_cost_per_token": "2e-06", "output_cost_per_token": "8e-06"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2.5e-06", Fraction(2500)),
        (2.5e-06, Fraction(2500)),
        (Decimal("0.0000025"), Fraction(2500)),
        (1, Fraction(10**9)),
        (0, Fraction(0)),
        ("1.5000020000000002e-05", Fraction(15000020000000002, 10**12)),
        (0.1, Fraction(10**8)),
    ],
)
def test_a_price_is_read_exactly_as_it_is_written(value: object, expected: Fraction) -> None:
    assert exact_nano("input_cost_per_token", value) == expected


@pytest.mark.parametrize(
    "value", ["", "free", "-1e-06", -1, True, None, "NaN", float("inf"), "1e-999999", "1e999999", [1], "1000001"]
)
def test_what_is_no_price_is_refused_by_the_name_of_its_key(value: object) -> None:
    with pytest.raises(ValueError, match="'input_cost_per_token'"):
        exact_nano("input_cost_per_token", value)


def test_rates_that_are_left_out_cost_what_their_nearest_neighbour_costs() -> None:
    rates = priced(CHAT).rates
    assert msgspec.structs.asdict(rates) == {
        **dict.fromkeys(("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_in", "image_in"), 2000),
        **dict.fromkeys(("cache_read_audio", "cache_read_image"), 2000),
        **dict.fromkeys(("output", "reasoning", "audio_out", "image_out"), 8000),
    }
    cached = priced({**CHAT, "cache_creation_input_token_cost": "3e-06", "cache_read_input_token_cost": "1e-07"}).rates
    assert (cached.cache_read, cached.cache_write_5m, cached.cache_write_1h) == (100, 3000, 3000)


def test_rates_are_whole_in_the_smallest_unit_that_makes_them_so() -> None:
    assert priced(CHAT).per_nano == 1
    halves = priced({**CHAT, "cache_read_input_token_cost": "2.5e-09"})
    assert (halves.per_nano, halves.rates.cache_read, halves.rates.input) == (4, 10, 8000)  # a batch asks 1.25
    odd = priced({**CHAT, "input_cost_per_token": "1.5000020000000002e-05"})
    assert nano(odd, odd.rates.input) == Fraction("15000.020000000002")


def test_a_row_without_a_price_for_its_mode_is_unpriced_and_a_written_zero_is_free() -> None:
    assert price_from_map({"mode": "chat"}, version="test") is None
    assert price_from_map({"mode": "chat", "output_cost_per_token": "1e-06"}, version="test") is None
    assert price_from_map({"mode": "chat", "input_cost_per_second": "0.01"}, version="test") is None
    assert price_from_map({"mode": "embedding", "output_cost_per_token": 0}, version="test") is None
    free = priced({"input_cost_per_token": 0, "output_cost_per_token": "0.0"})
    assert free.free
    assert not priced(CHAT).free


def test_zero_tokens_beside_a_price_that_calls_of_the_mode_do_not_count_is_unpriced() -> None:
    song = {"input_cost_per_token": 0, "output_cost_per_token": 0, "output_cost_per_image": "0.04"}
    assert price_from_map({"mode": "chat", **song}, version="test") is None
    assert priced({**song, "mode": "image_generation"}).image == 40_000_000
    rerank = {"mode": "rerank", "input_cost_per_token": 0, "output_cost_per_token": 0, "input_cost_per_query": "0.002"}
    assert priced(rerank).query == 2_000_000


def test_a_fee_per_call_or_search_does_not_hide_behind_free_tokens() -> None:
    price = priced({"input_cost_per_token": 0, "output_cost_per_token": 0, "input_cost_per_request": "0.005"})
    assert (price.free, price.by_piece, price.request) == (False, True, 5_000_000)


def test_service_tiers_have_their_own_rates_and_fall_back_to_the_plain_ones() -> None:
    price = priced(
        {
            **CHAT,
            "cache_read_input_token_cost": "1e-06",
            "input_cost_per_token_priority": "4e-06",
            "output_cost_per_token_priority": "16e-06",
            "input_cost_per_token_flex": "1e-06",
        }
    )
    priority, flex = price.services["priority"].rates, price.services["flex"].rates
    assert (priority.input, priority.output, priority.cache_read) == (4000, 16000, 1000)
    assert (flex.input, flex.output) == (1000, 8000)
    assert price.rates_for(Usage(service_tier="default")) is price.rates


def test_a_batch_is_half_the_price_unless_the_row_says_otherwise() -> None:
    price = priced({**CHAT, "output_cost_per_token_batches": "5e-06"})
    batch = price.services["batch"].rates
    assert (batch.input, batch.cache_read, batch.output) == (1000, 1000, 5000)


TIERED = {
    **CHAT,
    "cache_read_input_token_cost": "5e-07",
    "cache_creation_input_token_cost": "2.5e-06",
    "cache_creation_input_token_cost_above_1hr": "4e-06",
    "input_cost_per_token_above_200k_tokens": "4e-06",
    "output_cost_per_token_above_200k_tokens": "12e-06",
    "cache_creation_input_token_cost_above_200k_tokens": "5e-06",
    "input_cost_per_token_priority": "3e-06",
    "input_cost_per_token_above_200k_tokens_batches": "1.5e-06",
}


def test_a_threshold_applies_above_and_not_at_its_number_of_tokens() -> None:
    price = priced(TIERED)
    assert price.rates_for(Usage(input=200_000)).input == 2000
    assert price.rates_for(Usage(input=200_001)).input == 4000
    assert price.rates_for(Usage(input=1, cache_read=100_000, cache_write_1h=100_000)).output == 12000


def test_at_xai_a_threshold_applies_at_its_number_too() -> None:
    price = priced({**TIERED, "litellm_provider": "xai"})
    assert price.rates_for(Usage(input=199_999)).input == 2000
    assert price.rates_for(Usage(input=200_000)).input == 4000


def test_above_a_threshold_what_is_not_stated_stays_and_an_hour_never_costs_less_than_five_minutes() -> None:
    rates = priced(TIERED).rates_for(Usage(input=200_001))
    assert (rates.cache_read, rates.cache_write_5m, rates.cache_write_1h) == (500, 5000, 5000)


def test_a_service_tier_without_a_rate_above_the_threshold_meets_the_dearer_of_the_stated_ones() -> None:
    price = priced(TIERED)
    assert price.rates_for(Usage(input=200_001, service_tier="priority")).input == 4000
    assert price.rates_for(Usage(input=200_001, service_tier="batch")).input == 1500
    assert price.rates_for(Usage(input=200_001, service_tier="batch")).output == 6000


def test_a_rate_missing_at_a_higher_threshold_is_that_of_the_next_lower_one() -> None:
    price = priced({**TIERED, "input_cost_per_token_above_512k_tokens": "6e-06"})
    rates = price.rates_for(Usage(input=512_001))
    assert (rates.input, rates.output, rates.cache_read) == (6000, 12000, 500)
    assert [ceiling.above for ceiling in price.ceilings] == [-1, 200_000, 512_000]


def test_tiered_pricing_charges_by_the_range_and_a_boundary_belongs_to_the_lower_one() -> None:
    ranges = [
        {"range": ["32000.0", "128000.0"], "input_cost_per_token": "2e-06", "output_cost_per_token": "4e-06"},
        {
            "range": [0, "32000.0"],
            "input_cost_per_token": "1e-06",
            "output_cost_per_token": "3e-06",
            "output_cost_per_reasoning_token": "9e-06",
        },
    ]
    price = priced({"tiered_pricing": ranges})
    low, high = price.rates_for(Usage(input=32_000)), price.rates_for(Usage(input=32_001))
    assert (low.input, low.cache_read, low.output, low.reasoning) == (1000, 1000, 3000, 9000)
    assert (high.input, high.cache_read, high.output, high.reasoning) == (2000, 2000, 4000, 4000)
    assert price.rates_for(Usage(input=900_000)) == high


def test_a_web_search_costs_the_usual_context_size_and_is_bounded_by_the_largest() -> None:
    sizes = {"search_context_size_low": "0.03", "search_context_size_medium": "0.035", "search_context_size_high": 0.05}
    price = priced({**CHAT, "search_context_cost_per_query": sizes})
    assert (price.search, price.dearest.search) == (35_000_000, 50_000_000)


def test_one_duration_listed_on_both_sides_is_one_rate() -> None:
    whisper = {"mode": "audio_transcription", "input_cost_per_second": "0.0001", "output_cost_per_second": "0.0001"}
    assert priced(whisper).second == 100_000
    assert priced({**whisper, "output_cost_per_second": 0}).second == 100_000


def test_a_film_costs_what_its_dearest_resolution_costs() -> None:
    film = {"mode": "video_generation", "output_cost_per_second": "0.1", "output_cost_per_second_1080p": "0.3"}
    assert priced(film).second == 300_000_000


def test_a_price_per_pixel_takes_the_size_from_the_name_or_from_the_usage() -> None:
    row = {"mode": "image_generation", "input_cost_per_pixel": "4e-08", "output_cost_per_pixel": 0}
    assert priced(row, "azure/hd/1024-x-1792/dall-e-3").image == 40 * 1024 * 1792
    flux = priced(row, "flux")
    assert flux.image_of("hd/512x768") == 40 * 512 * 768
    assert flux.image_of("large") == flux.image == 40 << 20
    assert flux.dearest.image == 40 * PICTURE_PIXELS_MAX


def test_a_picture_made_may_be_called_input_only_where_pictures_are_made() -> None:
    assert priced({"mode": "image_generation", "input_cost_per_image": "0.009"}).image == 9_000_000
    assert priced({**CHAT, "input_cost_per_image": "0.009"}).image == 0


def test_pictures_priced_by_token_cover_output_of_which_the_kind_is_not_told() -> None:
    row = {"mode": "image_generation", "input_cost_per_token": "5e-06", "output_cost_per_image_token": "4e-05"}
    assert priced(row).rates.output == 40_000


OFF_PEAK = {
    **CHAT,
    "cache_read_input_token_cost": "2e-07",
    "input_cost_per_token_cache_hit": "2e-07",
    "off_peak_pricing": {
        "input_cost_per_token": "1e-06",
        "output_cost_per_token": "4e-06",
        "cache_read_input_token_cost": "1e-07",
        "windows": [
            {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
            {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
        ],
    },
}
FRIDAY_S = 1_795_132_800  # 2026-11-20 00:00 UTC


@pytest.mark.parametrize(
    ("hours", "cheap"),
    [(0, True), (1, False), (9.99, False), (10, True), (23.99, True), (24, True), (30, True), (73, False)],
)
def test_off_peak_hours_have_their_own_price_and_version(hours: float, cheap: bool) -> None:
    price = priced(OFF_PEAK)
    now = price.at(FRIDAY_S + hours * 3600)
    assert now.rates.input == (1000 if cheap else 2000)
    assert now.rates.cache_read == (100 if cheap else 200)
    assert now.version == ("test/off-peak" if cheap else "test")
    assert bool(now.others) is not cheap


def test_off_peak_weekdays_are_counted_where_the_row_says() -> None:
    pricing = {**OFF_PEAK["off_peak_pricing"], "weekday_timezone": "Asia/Shanghai"}  # type: ignore[dict-item]
    late_friday_utc = FRIDAY_S + 16.5 * 3600
    weekend_only = {**pricing, "windows": [{"hours_utc": "00:00-00:00", "weekdays": [6, 7]}]}
    assert priced({**OFF_PEAK, "off_peak_pricing": weekend_only}).at(late_friday_utc).rates.input == 1000
    assert priced({**OFF_PEAK, "off_peak_pricing": weekend_only}).at(late_friday_utc - 3600).rates.input == 2000


def test_one_off_peak_window_may_stand_without_a_list_and_wrap_past_midnight() -> None:
    price = priced({**CHAT, "off_peak_pricing": {"hours_utc": "16:30-00:30", "input_cost_per_token": "1e-06"}})
    cheap = [price.at(FRIDAY_S + hours * 3600).rates.input for hours in (0.4, 0.5, 16.4, 16.5, 23.9, 24.4)]
    assert cheap == [1000, 2000, 2000, 1000, 1000, 1000]
    assert price.at(FRIDAY_S).rates.output == 8000


def test_bounds_hold_for_the_dearest_hour() -> None:
    price = priced({**CHAT, "off_peak_pricing": {"hours_utc": "16:30-00:30", "output_cost_per_token": "9e-06"}})
    assert price.rates.output == 8000
    assert price.ceilings[0].output == 9000


def test_off_peak_weekdays_of_an_unknown_place_are_refused() -> None:
    pricing = {**OFF_PEAK["off_peak_pricing"], "weekday_timezone": "Mars/Olympus"}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="'Mars/Olympus'"):
        priced({**OFF_PEAK, "off_peak_pricing": pricing})


def test_a_version_changes_with_the_prices_and_with_nothing_else() -> None:
    version = price_version("2026-11-21", {"mode": "chat", **CHAT})
    assert version.startswith("2026-11-21:")
    assert len(version) == 19
    assert version == price_version("2026-11-21", {**CHAT, "mode": "chat", "supports_vision": True, "source": "x"})
    assert version != price_version("2026-11-21", {"mode": "chat", **CHAT, "output_cost_per_token": "9e-06"})


ARGON = {
    **CHAT,
    "later_pricing": [
        {"from": "2027-01-01", "input_cost_per_token": "6e-06"},
        {"from": "2026-12-01", "input_cost_per_token": "4e-06", "output_cost_per_token": "1.75e-05"},
    ],
    "earlier_pricing": [{"until": "2026-10-01", "input_cost_per_token": "9e-06", "input_cost_per_request": "0.01"}],
}
DAY_S = 86_400
DECEMBER_S = 1_796_083_200  # 2026-12-01 00:00 UTC


@pytest.mark.parametrize(
    ("now_s", "input", "output", "version"),
    [
        (DECEMBER_S - 62 * DAY_S, 9000, 8000, "test/before-2026-10-01"),
        (DECEMBER_S - 61 * DAY_S, 2000, 8000, "test"),
        (DECEMBER_S - 1, 2000, 8000, "test"),
        (DECEMBER_S, 4000, 17500, "test/2026-12-01"),
        (DECEMBER_S + 31 * DAY_S, 6000, 8000, "test/2027-01-01"),
    ],
)
def test_a_price_holds_from_its_day_on(now_s: float, input: int, output: int, version: str) -> None:
    price = priced(ARGON).at(now_s)
    assert (nano(price, price.rates.input), nano(price, price.rates.output)) == (input, output)
    assert price.version == version


def test_bounds_hold_for_every_price_that_is_still_to_come_and_not_for_what_is_over() -> None:
    price = priced(ARGON)
    (ceiling,) = price.ceilings
    assert (nano(price, ceiling.input), nano(price, ceiling.output)) == (6000, 17500)
    assert (price.dearest.request, price.by_piece) == (0, False)


def test_a_day_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        priced({**CHAT, "later_pricing": [{"from": "soon", "input_cost_per_token": "1e-06"}]})


def test_fast_is_a_tier_of_its_own_and_a_place_multiplies_all_tokens() -> None:
    row = {
        **CHAT,
        "cache_read_input_token_cost": "2e-07",
        "input_cost_per_token_above_200k_tokens": "4e-06",
        "provider_specific_entry": {"us": 1.1, "fast": 2, "first_frame": "x"},
    }
    price = priced(row)
    fast = price.services["fast"].rates
    assert [nano(price, rate) for rate in (fast.input, fast.cache_read, fast.output)] == [4000, 400, 16000]
    assert nano(price, price.rates_for(Usage(input=200_001, service_tier="fast")).input) == 8000
    assert price.places == {"us": Fraction(11, 10)}
    assert nano(price, price.ceilings[-1].output) == 17_600


@pytest.mark.parametrize("factor", [0.5, 101, "much", None, True])
def test_a_factor_out_of_all_measure_is_refused(factor: object) -> None:
    with pytest.raises(ValueError, match="fast"):
        priced({**CHAT, "provider_specific_entry": {"fast": factor}})


def test_a_row_says_what_its_places_ask() -> None:
    row = {"regional_processing_uplift_multiplier_eu": 1.1, "regional_endpoint_uplift_multiplier": "1.05"}
    assert uplift_in(row, "eu") == Fraction(11, 10)
    assert uplift_in(row, "regional") == Fraction(21, 20)
    assert uplift_in(row, "us") == uplift_in(row, "") == uplift_in({}, "eu") == 1


def test_terms_are_in_every_rate_and_each_call_pays_its_fee() -> None:
    row = {**CHAT, "search_context_cost_per_query": {"search_context_size_low": "0.01"}, "mode": "chat"}
    terms = Terms("*x", rate=Fraction(19, 20), tokens=Fraction(11, 10), request_nano=Fraction(1_000_000))
    price = price_from_map(row, version="test", terms=terms)
    assert price is not None
    assert price.version == "test*x"
    assert nano(price, price.rates.input) == 2000 * Fraction(19, 20) * Fraction(11, 10)
    assert nano(price, price.search) == 9_500_000
    assert nano(price, price.request) == nano(price, price.dearest.request) == 1_000_000
    free = price_from_map(
        {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0}, version="", terms=terms
    )
    assert free is not None
    assert not free.free


@pytest.mark.parametrize(
    ("row", "piece"),
    [
        ({"output_cost_per_image": "0.04"}, "image"),
        ({"input_cost_per_character": "1e-06"}, "character"),
        ({"input_cost_per_second": "0.0001"}, "second"),
        ({"input_cost_per_query": "0.002"}, "query"),
    ],
)
def test_a_price_for_pieces_needs_no_mode(row: dict[str, Any], piece: str) -> None:
    price = price_from_map(row, version="test")
    assert price is not None
    assert getattr(price, piece) > 0
    assert price.by_piece


def test_one_price_for_tokens_without_a_mode_does_not_make_the_others_free() -> None:
    assert price_from_map({"input_cost_per_token": "1e-06"}, version="test") is None


def test_files_searched_and_sources_read_have_their_prices() -> None:
    price = priced({**CHAT, "file_search_cost_per_1k_calls": 2.5, "citation_cost_per_token": "2e-06"})
    assert (price.file_search, price.citation) == (2_500_000, 2000)
    assert (price.by_piece, price.counted, price.free) == (False, False, False)


def test_reasoning_that_costs_what_output_costs_does_so_in_every_tier() -> None:
    row = {
        **CHAT,
        "output_cost_per_reasoning_token": 8e-06,
        "output_cost_per_token_flex": "4e-06",
        "output_cost_per_token_above_200k_tokens": "12e-06",
    }
    price = priced(row)
    assert price.services["flex"].rates.reasoning == price.services["flex"].rates.output
    assert price.rates_for(Usage(input=200_001)).reasoning == 12_000
    dearer = priced({**row, "output_cost_per_reasoning_token": "9e-06"})
    assert dearer.rates_for(Usage(input=200_001)).reasoning == dearer.rates.reasoning
