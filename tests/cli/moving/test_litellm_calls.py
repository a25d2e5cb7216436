from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.cli.moving.litellm_calls import EPOCHS, call_of, day_of, start_of_day
from tollway.storage import KeyRecord
from tollway.storage.rollups import OF_ALL, OF_TAG, SEQ_BITS

NOW = datetime(2026, 11, 20, 12)  # noqa: DTZ001  LiteLLM's columns have no zone
TOKEN = sha256(b"sk-somebodys")


def row(**columns: Any) -> dict[str, Any]:
    return {
        "request_id": "r-1",
        "api_key": TOKEN.hexdigest(),
        "startTime": NOW,
        "endTime": NOW + timedelta(seconds=1),
        "spend": 0.25,
        **columns,
    }


def test_the_same_call_has_the_same_number_and_others_have_others() -> None:
    calls = [call_of(row(request_id=f"r-{number % 2_000}")) for number in range(4_000)]
    numbers = {(call.epoch, call.seq) for call in calls}
    assert len(numbers) == 2_000
    assert all(1 <= epoch <= EPOCHS and 0 <= seq < 1 << SEQ_BITS for epoch, seq in numbers)


def test_an_imported_call_charges_nobody() -> None:
    record = call_of(row())
    assert record.charges == ()
    assert record.cost.total == 250_000_000
    assert record.key == TOKEN.digest()


@pytest.mark.parametrize("name", ["", "litellm_proxy_master_key"])
def test_a_call_with_the_master_key_has_no_key(name: str) -> None:
    assert call_of(row(api_key=name)).key is None


tokens = st.integers(0, 10_000)


@given(tokens, tokens, tokens, tokens, tokens, tokens, tokens)
def test_buckets_sum_up_to_what_was_logged_whatever_its_details_say(
    taken: int, given_: int, cached: int, written: int, heard: int, thought: int, spoken: int
) -> None:
    metadata = {
        "additional_usage_values": {"cache_read_input_tokens": cached, "cache_creation_input_tokens": written},
        "usage_object": {
            "prompt_tokens_details": {"audio_tokens": heard},
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": spoken},
        },
    }
    usage = call_of(row(prompt_tokens=taken, completion_tokens=given_, metadata=metadata)).usage
    if not taken and not given_:
        assert usage is None
        return
    assert usage is not None
    assert (usage.input_total, usage.output_total) == (taken, given_)
    assert min(usage.input, usage.cache_read, usage.output, usage.reasoning) >= 0


def test_a_failure_keeps_its_status_and_its_words_without_keys() -> None:
    error = {"error_code": "429", "error_class": "RateLimitError", "error_message": "no, sk-abcdefgh12345678 is slow"}
    record = call_of(row(status="failure", metadata={"error_information": error}))
    assert (record.status_code, record.error_type) == (429, "RateLimitError")
    assert record.error_message == "no, sk-*** is slow"
    assert call_of(row(status="failure")).status_code == 500


def test_a_row_without_a_time_is_no_call() -> None:
    with pytest.raises(ValueError, match="startTime"):
        call_of(row(startTime=None))


def test_a_daily_row_stands_where_its_keys_calls_would() -> None:
    key = KeyRecord(token=TOKEN.digest(), key_name="sk-...", user_id="ada", team_id="red", organization_id="org")
    given = {
        "date": "1970-01-03",
        "api_key": TOKEN.hexdigest(),
        "model": "openai/gpt-4o",
        "model_group": "gpt-4o",
        "custom_llm_provider": "openai",
        "endpoint": "/chat/completions",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cache_read_input_tokens": 3,
        "spend": 0.5,
        "api_requests": 4,
        "failed_requests": 1,
    }
    found = day_of(given, OF_ALL, "", {key.token: key})
    assert found == (
        2,
        (OF_ALL, "", key.token, "ada", "red", "org", "openai/gpt-4o", "gpt-4o", "openai", "/chat/completions"),
        [4, 1, 500_000_000, 10, 5, 3, 0],
    )
    tagged = day_of({**given, "tag": "blue"}, OF_TAG, "tag", {})
    assert tagged is not None
    assert tagged[1] == (
        OF_TAG,
        "blue",
        key.token,
        None,
        None,
        None,
        "openai/gpt-4o",
        "gpt-4o",
        "openai",
        "/chat/completions",
    )
    assert day_of(given, OF_TAG, "tag", {}) is None
    assert day_of({**given, "date": "yesterday"}, OF_ALL, "", {}) is None
    assert start_of_day(2).isoformat() == "1970-01-03T00:00:00"
