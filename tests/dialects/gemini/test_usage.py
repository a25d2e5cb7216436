from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Cost, Usage, UsageDetails
from tollway.dialects.gemini.usage import searches_in, usage_from_json, usage_to_fields, with_cost


def counted(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}, Usage(input=10, output=4)),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(input=10)),
        (
            {
                "promptTokenCount": 10,
                "cachedContentTokenCount": 6,
                "candidatesTokenCount": 4,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 17,
            },
            Usage(input=4, cache_read=6, output=4, reasoning=3),
        ),
        # Tools' results beside the prompt, as the page has it, and within it.
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 19},
            Usage(input=15, output=4),
        ),
        (
            {"promptTokenCount": 15, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 19},
            Usage(input=15, output=4),
        ),
        # Thought within the candidates' count.
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "totalTokenCount": 17},
            Usage(input=10, output=4, reasoning=3),
        ),
        # A total that the parts do not reach: output that nobody named.
        ({"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 20}, Usage(input=10, output=10)),
        (
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 30,
                "candidatesTokenCount": 20,
                "totalTokenCount": 120,
                "promptTokensDetails": counted(TEXT=40, AUDIO=20, IMAGE=30, VIDEO=10),
                "cacheTokensDetails": counted(TEXT=20, IMAGE=10),
                "candidatesTokensDetails": counted(TEXT=5, AUDIO=6, IMAGE=9),
                "trafficType": "ON_DEMAND_FLEX",
            },
            Usage(
                input=30,
                cache_read=30,
                audio_in=20,
                image_in=20,
                output=5,
                audio_out=6,
                image_out=9,
                service_tier="flex",
                details=UsageDetails(cache_read_image=10),
            ),
        ),
        ({"promptTokenCount": "10", "candidatesTokenCount": -4, "trafficType": 1}, Usage(input=10)),
        (
            {"promptTokenCount": 2.0, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": "1"}]},
            Usage(input=1, audio_in=1),
        ),
        ({}, Usage()),
    ],
)
def test_usage_falls_into_disjoint_buckets(fields: dict[str, Any], usage: Usage) -> None:
    assert usage_from_json(json.dumps(fields).encode()) == usage


@pytest.mark.parametrize("raw", [b"null", b"[]", b"{", b"1"])
def test_what_is_no_usage_is_none(raw: bytes) -> None:
    assert usage_from_json(raw) is None


counts = st.integers(0, 10**6)


@given(counts, counts, counts, counts, counts, st.lists(counts, min_size=6, max_size=6))
def test_the_sums_are_the_providers_total_whatever_its_details_say(
    prompt: int, cached: int, output: int, thoughts: int, tools: int, details: list[int]
) -> None:
    total = prompt + output + thoughts + tools
    fields = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": output,
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tools,
        "totalTokenCount": total,
        "promptTokensDetails": counted(AUDIO=details[0], IMAGE=details[1]),
        "cacheTokensDetails": counted(AUDIO=details[2], IMAGE=details[3]),
        "candidatesTokensDetails": counted(AUDIO=details[4], IMAGE=details[5]),
    }
    usage = usage_from_json(json.dumps(fields).encode())
    assert usage is not None
    assert usage.input_total + usage.output_total == total
    assert all(getattr(usage, name) >= 0 for name in Usage.__struct_fields__ if name not in ("service_tier", "details"))


@given(st.builds(Usage, *[counts] * 10))
def test_usage_that_we_write_keeps_the_totals(usage: Usage) -> None:
    again = usage_from_json(json.dumps(usage_to_fields(usage)).encode())
    assert again is not None
    assert (again.input_total, again.output_total) == (usage.input_total, usage.output_total)
    assert (again.cache_read, again.reasoning, again.audio_in, again.image_in) == (
        usage.cache_read,
        usage.reasoning,
        usage.audio_in,
        usage.image_in,
    )
    assert (again.audio_out, again.image_out) == (usage.audio_out, usage.image_out)


@pytest.mark.parametrize(
    ("grounding", "model", "searches"),
    [
        (b'{"webSearchQueries":["a","b",""]}', "gemini-3.1-pro", 2),
        (b'{"webSearchQueries":["a","b"]}', "gemini-2.5-pro", 1),
        (b'{"webSearchQueries":[]}', "gemini-2.5-pro", 0),
        (b"{}", "gemini-3-pro", 0),
        (b"1", "gemini-3-pro", 0),
    ],
)
def test_searches_are_counted_by_the_models_generation(grounding: bytes, model: str, searches: int) -> None:
    assert searches_in(Raw(grounding), model) == searches


def test_the_cost_stands_beside_what_the_provider_said() -> None:
    assert bytes(with_cost(b'{"a":1.50}', Cost(total=1))) == b'{"a":1.50,"cost":0.000000001}'
    assert bytes(with_cost(b"[]", Cost(total=1))) == b"[]"
