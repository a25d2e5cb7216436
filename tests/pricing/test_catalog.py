from __future__ import annotations

import gzip
import math
import re
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from tollway.calls import Usage, UsageDetails
from tollway.errors import ConfigError
from tollway.pricing.bound import most_expensive
from tollway.pricing.catalog import (
    Catalog,
    ModelFacts,
    custom_price,
    family_of,
    image_kind,
    listed_price,
    load,
    place_of,
)
from tollway.pricing.cost import cost_of
from tollway.pricing.price import AS_LISTED, Terms


def small(rows: dict[str, dict[str, dict[str, Any]]]) -> Catalog:
    return load(gzip.compress(msgspec.json.encode({"as_of": "2026-01-02", "about": "a test", "rows": rows})))


CHAT = {"mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}


def found(catalog: Catalog, provider: str, model: str) -> ModelFacts:
    facts = catalog.find(provider, model)
    assert facts is not None, f"{provider}/{model}"
    return facts


def every_row(catalog: Catalog) -> list[ModelFacts]:
    names = [name for rows in catalog._rows.values() for name in rows]
    facts = [catalog.facts(name) for name in names]
    return [one for one in facts if one is not None]


def test_every_row_can_be_read_and_every_chat_row_with_both_token_prices_is_priced(catalog: Catalog) -> None:
    rows = every_row(catalog)
    assert len(rows) == len(catalog) > 4000
    for facts in rows:
        row = facts.row
        if facts.mode == "chat" and "input_cost_per_token" in row and "output_cost_per_token" in row:
            song = not (row["input_cost_per_token"] or row["output_cost_per_token"]) and "output_cost_per_image" in row
            assert (facts.price is None) == song, facts.name
        if facts.price is None:
            continue
        assert re.fullmatch(rf"{catalog.as_of}:[0-9a-f]{{8}}", facts.price.version)
        if facts.price.free:
            assert not any(
                value for key, value in row.items() if key in ("input_cost_per_token", "output_cost_per_token")
            )


def test_every_priced_row_has_a_bound_above_its_cost_at_all_times(catalog: Catalog) -> None:
    usage = Usage(100_000, 90_000, 10_000, 5_000, 3_000, 2_000, 5_000, 4_000, 300, 2_000, 2, 1, 10, 9.5, 3)
    bounded: dict[str, Any] = {"searches": 2, "images": 1, "characters": 10, "seconds": 9.5, "queries": 3}
    for facts in every_row(catalog):
        price = facts.price
        if price is None:
            continue
        bound = most_expensive(price, usage.input_total, usage.output_total, **bounded)
        for tier in ("", *price.services):
            assert cost_of(msgspec.structs.replace(usage, service_tier=tier), price).total <= bound, facts.name
        for other in price.others:
            if other.until_s == math.inf:
                assert cost_of(usage, other.price).total <= bound, facts.name


def test_prices_keep_every_digit_of_the_list(catalog: Catalog) -> None:
    facts = catalog.facts("databricks/databricks-claude-opus-4")
    assert facts is not None
    assert facts.price is not None
    assert facts.row["input_cost_per_token"] == 1.5000020000000002e-05
    # 15 000 020 000 000 002 attodollars and a fifth decimal digit more: 10 million million tokens show it.
    assert cost_of(Usage(input=10**12), facts.price).total == 15_000_020_000_000_002


def test_the_facts_of_a_model_are_those_of_its_row(catalog: Catalog) -> None:
    facts = found(catalog, "openai", "gpt-4o")
    assert (facts.name, facts.provider, facts.mode) == ("gpt-4o", "openai", "chat")
    assert (facts.input_tokens_max, facts.output_tokens_max) == (128_000, 16_384)
    assert {"vision", "function_calling", "prompt_caching", "pdf_input"} <= facts.abilities
    assert "reasoning" not in facts.abilities
    assert facts.input_modalities == ("text", "image", "pdf")
    assert facts.output_modalities == ("text",)
    assert facts.source.startswith("https://")
    assert facts.row["litellm_provider"] == "openai"
    assert facts.row["cache_read_input_token_cost"] == 1.25e-06
    claude = found(catalog, "anthropic", "claude-opus-4-6")
    assert {"adaptive_thinking", "reasoning"} <= claude.abilities
    assert "assistant_prefill" not in claude.abilities  # stated as false
    assert claude.image_tokens_max == 5_000
    assert found(catalog, "openai", "whisper-1").input_modalities == ("audio",)
    assert found(catalog, "openai", "text-embedding-3-small").output_modalities == ("embedding",)
    assert found(catalog, "openai", "gpt-image-1").output_modalities == ("image",)


def test_max_tokens_is_the_output_limit_only_where_a_window_is_known() -> None:
    catalog = small({"x": {"a": {**CHAT, "max_tokens": 10}, "b": {**CHAT, "max_tokens": 10, "max_input_tokens": 99}}})
    assert found(catalog, "x", "a").output_tokens_max is None
    assert (found(catalog, "x", "b").output_tokens_max, found(catalog, "x", "b").input_tokens_max) == (10, 99)


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2099-01-01", "gpt-4o"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::abc", "ft:gpt-4o-2024-08-06"),
        ("azure", "gpt-4o", "azure/gpt-4o"),
        ("anthropic", "claude-opus-4-6", "claude-opus-4-6"),
        ("anthropic", "claude-opus-4-6-20991231", "claude-opus-4-6"),
        ("gemini", "gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("gemini", "models/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("vertex_ai", "gemini-2.5-flash", "gemini-2.5-flash"),
        ("vertex_ai", "claude-opus-4-6@20260205", "vertex_ai/claude-opus-4-6"),
        ("bedrock", "us.anthropic.claude-opus-4-6-v1", "us.anthropic.claude-opus-4-6-v1"),
        ("bedrock", "zz.anthropic.claude-opus-4-6-v1:0", "anthropic.claude-opus-4-6-v1"),
        ("bedrock", "converse/us-east-1/anthropic.claude-opus-4-6-v1", "anthropic.claude-opus-4-6-v1"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-6-v1",
            "us.anthropic.claude-opus-4-6-v1",
        ),
        ("cohere_chat", "command-r-08-2024", "command-r-08-2024"),
        ("openai", "gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct"),
        ("fireworks_ai", "deepseek-v3p2", "fireworks_ai/accounts/fireworks/models/deepseek-v3p2"),
        ("replicate", "meta/meta-llama-3-70b-instruct", "replicate/meta/llama-3-70b-instruct"),
        ("replicate", "anthropic/claude-4-sonnet:abc", "replicate/anthropic/claude-4-sonnet"),
        ("amazon_nova", "nova-lite-v1", "amazon-nova/nova-lite-v1"),
    ],
)
def test_a_model_is_found_by_the_name_its_provider_knows(
    catalog: Catalog, provider: str, model: str, name: str
) -> None:
    facts = found(catalog, provider, model)
    assert facts.name == name
    assert facts.provider == family_of(provider)
    assert facts.price is not None


def test_a_model_at_another_provider_is_not_the_same_model(catalog: Catalog) -> None:
    assert catalog.find("hosted_vllm", "gpt-4o") is None
    assert catalog.find("openai", "claude-opus-4-6") is None
    assert catalog.find("gemini", "claude-opus-4-6") is None
    assert catalog.facts("no-such-model") is None


def test_the_row_of_a_region_comes_before_the_row_of_the_model() -> None:
    catalog = small(
        {
            "bedrock": {"bedrock/eu-west-1/meta.llama-v1:0": {**CHAT, "input_cost_per_token": 3e-06}},
            "bedrock_converse": {
                "meta.llama-v1:0": CHAT,
                "eu.meta.llama-v1:0": {**CHAT, "input_cost_per_token": 2e-06},
            },
        }
    )
    prices = {
        model: found(catalog, "bedrock", model).row["input_cost_per_token"]
        for model in ("meta.llama-v1:0", "eu.meta.llama-v1:0", "eu-west-1/meta.llama-v1:0", "jp.meta.llama-v1:0:48k")
    }
    assert list(prices.values()) == [1e-06, 2e-06, 3e-06, 1e-06]


def test_a_picture_is_priced_by_its_size_where_the_model_is_listed_only_so(catalog: Catalog) -> None:
    small_one = catalog.find_image("azure", "dall-e-3")
    large = catalog.find_image("azure", "dall-e-3", size="1024x1792", quality="hd")
    assert small_one is not None
    assert large is not None
    assert small_one.price is not None
    assert large.price is not None
    assert cost_of(Usage(images=1), small_one.price).total == 44_000_032  # as listed, per pixel
    assert cost_of(Usage(images=1), large.price).total == 132_000_016
    every_size = catalog.find("azure", "dall-e-3")
    assert every_size is not None
    assert every_size.price is not None

    def cost(size: str, quality: str, n: int = 1) -> int:
        assert every_size is not None
        assert every_size.price is not None
        usage = Usage(images=n, details=UsageDetails(image_kind=image_kind(size, quality)))
        return cost_of(usage, every_size.price).total

    assert cost("", "") == cost("1024x1024", "standard") == cost("auto", "auto") == 44_000_032
    assert cost("1024x1792", "hd", 3) == 396_000_048
    # Neither size nor quality known, or one that is not listed: the dearest, as is what is held before.
    assert cost_of(Usage(images=1), every_size.price).total == cost("640x480", "hd") == 132_000_016
    assert most_expensive(every_size.price, 0, 0, images=1) == 132_000_016
    by_token = catalog.find_image("openai", "gpt-image-1", size="1024x1024", quality="low")
    assert by_token is not None
    assert by_token.name == "gpt-image-1"
    assert catalog.find_image("openai", "no-such-model") is None


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("gpt-3.5-turbo-instruct", "text-completion-openai"),
        ("claude-opus-4-6", "anthropic"),
        ("gemini-2.5-flash", "gemini"),
        ("text-embedding-004", "vertex_ai"),
        ("text-embedding-3-small", "openai"),
        ("anthropic.claude-opus-4-6-v1", "bedrock"),
        ("command-r-08-2024", "cohere"),
        ("rerank-v3.5", "cohere"),
        ("deepseek-chat", "deepseek"),
        # not in the catalog: by the look of the name
        ("claude-something-new", "anthropic"),
        ("gpt-99", "openai"),
        ("o9-mini", "openai"),
        ("chatgpt-99", "openai"),
        ("dall-e-3", "openai"),
        ("gemini-99", "gemini"),
        ("command-r", "cohere"),
        ("mistral-large-latest", "mistral"),
        ("ministral-8b-latest", "mistral"),
        ("grok-4", "xai"),
        ("kimi-k2", "moonshot"),
        ("llama3", None),
        ("oven", None),
    ],
)
def test_the_provider_of_a_bare_name_is_told(catalog: Catalog, model: str, provider: str | None) -> None:
    assert catalog.infer_provider(model) == provider


def test_a_wildcard_stands_for_the_names_a_provider_takes(catalog: Catalog) -> None:
    openai = catalog.names_of_provider("openai")
    assert {"gpt-4o", "o3", "text-embedding-3-small", "gpt-3.5-turbo-instruct", "sora-2"} <= set(openai)
    assert openai == sorted(set(openai))
    assert not any("-x-" in name or name.startswith("openai/") for name in openai)
    assert "gemini-2.5-flash" in catalog.names_of_provider("gemini")
    assert {"gemini-2.5-flash", "claude-opus-4-6"} <= set(catalog.names_of_provider("vertex_ai"))
    assert "nova-lite-v1" in catalog.names_of_provider("amazon_nova")
    assert not any("*" in name or "commitment" in name for name in catalog.names_of_provider("bedrock"))
    assert catalog.names_of_provider("nobody") == []
    for name in openai:
        assert catalog.find("openai", name) is not None


def test_bytes_that_hold_no_catalog_are_refused(shipped_bytes: bytes) -> None:
    for data in (b"", b"{}", gzip.compress(b"{}"), gzip.compress(b'{"rows": []}'), shipped_bytes[:-9]):
        with pytest.raises(ConfigError, match="the model catalog cannot be read"):
            load(data)


# --- prices written in a configuration


def test_written_prices_stand_alone_and_cached_tokens_cost_what_input_costs(catalog: Catalog) -> None:
    base = found(catalog, "openai", "gpt-4o")
    price = custom_price({"input_cost_per_token": "1e-06", "output_cost_per_token": 2e-06}, base)
    assert price is not None
    assert (price.rates.input, price.rates.cache_read, price.rates.output) == (1000, 1000, 2000)
    assert re.fullmatch(r"config:[0-9a-f]{8}", price.version)
    assert list(price.services) == ["batch"]
    given = {"input_cost_per_token": "1e-06", "output_cost_per_token": 2e-06, "cache_read_input_token_cost": "1e-07"}
    cached = custom_price(given, None)
    assert cached is not None
    assert cached.rates.cache_read == 100
    assert cached.version != price.version


def test_one_written_price_is_completed_by_the_catalog(catalog: Catalog) -> None:
    base = found(catalog, "openai", "gpt-4o")
    dearer_output = custom_price({"output_cost_per_token": "20e-06"}, base)
    assert dearer_output is not None
    assert (dearer_output.rates.input, dearer_output.rates.cache_read, dearer_output.rates.output) == (
        2500,
        1250,
        20_000,
    )
    dearer_input = custom_price({"input_cost_per_token": "3e-06"}, base)
    assert dearer_input is not None
    assert (dearer_input.rates.input, dearer_input.rates.cache_read, dearer_input.rates.output) == (3000, 3000, 10_000)
    cache_only = custom_price({"cache_read_input_token_cost": 0}, base)
    assert cache_only is not None
    assert (cache_only.rates.input, cache_only.rates.cache_read) == (2500, 0)


def test_nothing_written_is_the_price_of_the_catalog_and_half_a_price_alone_is_none(catalog: Catalog) -> None:
    base = found(catalog, "openai", "gpt-4o")
    assert custom_price({}, base) == base.price
    assert custom_price({}, None) is None
    assert custom_price({"input_cost_per_token": "1e-06"}, None) is None


def test_written_zeros_are_free_whatever_the_catalog_asks(catalog: Catalog) -> None:
    price = custom_price(
        {"input_cost_per_token": 0, "output_cost_per_token": 0}, found(catalog, "anthropic", "claude-opus-4-6")
    )
    assert price is not None
    assert price.free


def test_a_mode_may_be_written_too(catalog: Catalog) -> None:
    price = custom_price({"input_cost_per_second": "0.0002"}, None, mode="audio_transcription")
    assert price is not None
    assert price.second == 200_000
    whisper = custom_price({"input_cost_per_second": "0.00005"}, found(catalog, "openai", "whisper-1"))
    assert whisper is not None
    assert whisper.second == 50_000


@pytest.mark.parametrize(
    "prices",
    [
        {"input_cost_per_token": "cheap", "output_cost_per_token": 0},
        {"input_cost_per_token": -1, "output_cost_per_token": 0},
        {"search_context_cost_per_query": 5},
        {"tiered_pricing": [{"range": "wide"}]},
    ],
)
def test_a_price_that_cannot_be_read_is_refused(prices: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a price cannot be read"):
        custom_price(prices, None)


@pytest.mark.parametrize(
    ("prices", "piece", "nano"),
    [
        ({"output_cost_per_image": "0.04"}, "image", 40_000_000),
        ({"input_cost_per_character": "1.5e-05"}, "character", 15_000),
        ({"input_cost_per_second": "0.0001"}, "second", 100_000),
        ({"input_cost_per_query": "0.002"}, "query", 2_000_000),
    ],
)
def test_a_price_for_pieces_needs_no_mode_and_no_row(prices: dict[str, Any], piece: str, nano: int) -> None:
    price = custom_price(prices, None)
    assert price is not None
    assert getattr(price, piece) == nano


def test_what_a_provider_asks_with_every_model_need_not_stand_in_its_row(catalog: Catalog) -> None:
    usage = Usage(searches=1, details=UsageDetails(file_searches=4))
    for provider, model, nano in (("openai", "gpt-5.4", 20_000_000), ("anthropic", "claude-haiku-4-5", 10_000_000)):
        price = found(catalog, provider, model).price
        assert price is not None
        assert cost_of(usage, price).total == nano
    mini = found(catalog, "openai", "gpt-4.1-mini").price
    assert mini is not None
    assert mini.search == 25_000_000  # its own row says more


@pytest.mark.parametrize(
    ("provider", "host", "location", "place"),
    [
        ("openai", "api.openai.com", "", ""),
        ("openai", "EU.api.openai.com", "", "eu"),
        ("openai", "us.api.openai.com", "", "us"),
        ("openai", "jp.api.openai.com", "", "eu"),
        ("openai", "eu.api.openai.com.example.com", "", ""),
        ("azure", "eu.api.openai.com", "", ""),
        ("vertex_ai", "", "global", ""),
        ("vertex_ai", "", "", ""),
        ("vertex_ai", "", "europe-west4", "regional"),
        ("vertex_ai", "", "us", "regional"),
    ],
)
def test_where_calls_go_is_told_by_the_address_or_the_location(
    provider: str, host: str, location: str, place: str
) -> None:
    assert place_of(provider, host, location) == place


def test_a_place_asks_a_tenth_more_for_the_tokens_of_the_models_that_say_so(catalog: Catalog) -> None:
    newer, older = found(catalog, "openai", "gpt-5.5"), found(catalog, "openai", "gpt-4o")
    usage = Usage(input=1_000_000, cache_read=1000, output=10_000, searches=1)
    for facts, rate in ((newer, Fraction(11, 10)), (older, Fraction(1))):
        assert facts.price is not None
        price = listed_price(facts, place="eu")
        assert price is not None
        here, there = cost_of(usage, facts.price), cost_of(usage, price)
        assert there.tools == here.tools > 0
        assert there.total - there.tools == (here.total - here.tools) * rate
        assert (price.version == facts.price.version) == (rate == 1)
    assert listed_price(older, place="eu") is older.price


def test_terms_are_put_on_listed_and_on_written_prices(catalog: Catalog) -> None:
    facts = found(catalog, "openai", "gpt-4o")
    half = Terms("*0.5", rate=Fraction(1, 2))
    listed, written = (
        listed_price(facts, terms=half),
        custom_price({"input_cost_per_token": "3e-06"}, facts, terms=half),
    )
    assert listed is not None
    assert facts.price is not None
    assert written is not None
    assert listed.version == facts.price.version + "*0.5"
    assert cost_of(Usage(input=10, output=10), listed).total == 62_500
    assert cost_of(Usage(input=10, output=10), written).total == 65_000
    assert listed_price(None, terms=half) is None
    assert custom_price({}, facts, terms=AS_LISTED) is facts.price
