"""What providers tell of a call reaches its price: from the words of their replies to nano-dollars."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tollway.calls import Usage, UsageDetails
from tollway.dialects.anthropic_messages.usage import usage_from_fields, usage_to_fields
from tollway.dialects.gemini.usage import usage_from_json as gemini_usage
from tollway.dialects.openai_chat.usage import usage_from_json as chat_usage
from tollway.dialects.openai_responses.usage import ResponseHead, usage_of
from tollway.pricing.catalog import Catalog
from tollway.pricing.cost import cost_of
from tollway.storage.record import CallRecord, decode_record, encode_record


def charged(catalog: Catalog, provider: str, model: str, usage: Usage | None) -> int:
    facts = catalog.find(provider, model)
    assert facts is not None
    assert facts.price is not None
    assert usage is not None
    return cost_of(usage, facts.price).total


def encoded(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def test_anthropics_fast_mode_and_place_are_charged(catalog: Catalog) -> None:
    told = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "standard"}
    costs = [
        charged(catalog, "anthropic", "claude-opus-5", usage_from_fields({**told, **more}))
        for more in (
            {},
            {"inference_geo": "global", "speed": "standard"},
            {"inference_geo": "us"},
            {"speed": "fast"},
            {"speed": "fast", "inference_geo": "us"},
        )
    ]
    assert costs == [7_500_000, 7_500_000, 8_250_000, 15_000_000, 16_500_000]
    again = usage_from_fields(usage_to_fields(usage_from_fields({**told, "speed": "fast", "inference_geo": "us"})))
    assert (again.service_tier, again.details) == ("fast", UsageDetails(place="us"))


def test_geminis_cached_sound_has_its_own_rate(catalog: Catalog) -> None:
    told = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 600,
        "candidatesTokenCount": 0,
        "totalTokenCount": 1000,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 500}, {"modality": "TEXT", "tokenCount": 500}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 400}, {"modality": "TEXT", "tokenCount": 200}],
    }
    usage = gemini_usage(encoded(told))
    assert usage == Usage(input=300, cache_read=600, audio_in=100, details=UsageDetails(cache_read_audio=400))
    facts = catalog.find("gemini", "gemini-2.5-flash")
    assert facts is not None
    assert facts.price is not None
    rates, per = facts.price.rates, facts.price.per_nano
    assert rates.cache_read_audio > rates.cache_read
    whole = 300 * rates.input + 100 * rates.audio_in + 200 * rates.cache_read + 400 * rates.cache_read_audio
    assert cost_of(usage, facts.price).total == whole // per


def test_perplexitys_fee_depends_on_the_size_of_the_search(catalog: Catalog) -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    for size, fee in (("low", 5_000_000), ("medium", 8_000_000), ("high", 12_000_000)):
        usage = chat_usage(encoded({**told, "search_context_size": size}))
        assert charged(catalog, "perplexity", "sonar", usage) == 30_000 + fee
    deep = chat_usage(encoded({**told, "citation_tokens": 1000, "num_search_queries": 3, "search_context_size": "low"}))
    assert charged(catalog, "perplexity", "sonar-deep-research", deep) == 10 * 2000 + 20 * 8000 + 2_000_000 + 15_000_000
    odd = chat_usage(encoded({**told, "search_context_size": {"a": 1}}))
    assert odd == Usage(input=10, output=20)


def test_cached_sound_in_openais_words_is_part_of_what_was_read() -> None:
    into = {
        "cached_tokens": 60,
        "audio_tokens": 10,
        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 90, "image_tokens": 5},
    }
    usage = chat_usage(encoded({"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": into}))
    assert usage == Usage(input=30, cache_read=60, audio_in=10, output=5, details=UsageDetails(cache_read_audio=60))


def test_every_search_of_files_is_charged(catalog: Catalog) -> None:
    output = [
        {"type": "file_search_call", "status": "completed"},
        {"type": "file_search_call", "status": "failed"},
        {"type": "web_search_call", "status": "completed", "action": {"type": "search"}},
        {"type": "message", "status": "completed"},
    ]
    told = {"output": output, "usage": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}}
    usage = usage_of(msgspec.json.decode(encoded(told), type=ResponseHead))
    assert usage == Usage(input=100, output=10, searches=1, details=UsageDetails(file_searches=1))
    assert charged(catalog, "openai", "gpt-4o", usage) == 250_000 + 100_000 + 10_000_000 + 2_500_000


def test_what_is_told_is_kept_in_the_record_and_records_of_before_are_read() -> None:
    usage = Usage(input=1, service_tier="fast", details=UsageDetails(place="us", image_kind="hd/1024x1792"))
    record = CallRecord(1, 2, 3, 4, usage=usage)
    assert decode_record(encode_record(record)).usage == usage
    told = msgspec.msgpack.decode(encode_record(record))
    place = CallRecord.__struct_fields__.index("usage")
    told[place] = told[place][:16]  # as it was written when there were no details
    assert decode_record(msgspec.msgpack.encode(told)).usage == Usage(input=1, service_tier="fast")
