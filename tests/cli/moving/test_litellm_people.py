from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from tollway.cli.moving.litellm_people import Notes, budget_of, key_of, nano, team_of, us, user_of
from tollway.storage.people import Limits, Window, raise_of

TOKEN = sha256(b"sk-somebodys").hexdigest()


def key(**columns: Any) -> Any:
    notes = Notes()
    came = key_of({"token": TOKEN, "key_alias": "a key", **columns}, {}, (), notes)
    assert came is not None
    return came.record, {what for _, what in notes.counts}


@pytest.mark.parametrize(
    ("dollars", "nanos"),
    [
        (0.1, 100_000_000),
        (9.750000000000001e-05, 97_500),
        (None, 0),
        (-3.0, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (1e30, (1 << 63) - 1),
    ],
)
def test_floats_become_the_amount_that_they_show(dollars: Any, nanos: int) -> None:
    assert nano(dollars) == nanos


def test_a_time_without_a_zone_is_utc() -> None:
    moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert us(moment.replace(tzinfo=None)) == us(moment) == 1_000_000
    assert us(None) is None


def test_columns_that_an_older_database_lacks_are_absent() -> None:
    record, noted = key()
    assert (record.models, record.max_budget_nano, record.spend_nano, record.expires_us) == ([], None, 0, None)
    assert noted == set()


def test_what_the_key_spent_ever_is_never_less_than_in_its_period() -> None:
    record, _ = key(spend=4.5, total_spend=0.0)
    assert record.total_spend_nano == record.spend_nano == 4_500_000_000


def test_limits_in_the_metadata_become_limits_and_leave_it() -> None:
    record, noted = key(
        metadata={
            "model_rpm_limit": {"gpt-4o": 5},
            "model_tpm_limit": {"gpt-4o": 500},
            "tags": ["blue"],
            "note": "kept",
            "enforced_params": ["user"],
        }
    )
    assert record.fields["model_rpm_limit"] == {"gpt-4o": 5}
    assert record.fields["model_tpm_limit"] == {"gpt-4o": 500}
    assert record.fields["tags"] == ["blue"]
    assert record.metadata == {"note": "kept", "enforced_params": ["user"]}
    assert noted == {"enforced_params"}


def test_a_budget_that_is_raised_for_a_time_stays_raised_and_one_that_nobody_can_read_is_noted() -> None:
    moment = "1970-01-01T00:00:01"
    record, noted = key(metadata={"temp_budget_increase": 2.5, "temp_budget_expiry": moment, "note": "kept"})
    assert raise_of(record) == (2_500_000_000, 1_000_000)
    assert (record.metadata, noted) == ({"note": "kept"}, set())
    for metadata in ({"temp_budget_increase": 2.5}, {"temp_budget_increase": 2.5, "temp_budget_expiry": "soon"}):
        record, noted = key(metadata=metadata)
        assert raise_of(record) is None
        assert (record.metadata, noted) == (metadata, {"temp_budget_increase"})


def test_json_that_was_stored_as_text_is_read() -> None:
    record, _ = key(
        metadata='{"note": "kept"}', model_max_budget='{"gpt-4o": {"budget_limit": 2, "time_period": "1d"}}'
    )
    assert record.metadata == {"note": "kept"}
    assert record.fields["model_budgets"] == {"gpt-4o": [2_000_000_000, "1d"]}


def test_routes_that_all_mean_nothing_here_open_no_door() -> None:
    record, noted = key(allowed_routes=["mcp_routes"])
    assert record.allowed_routes == ["/none"]
    assert noted == {"allowed_routes: mcp_routes"}
    record, _ = key(allowed_routes=["mcp_routes", "llm_api_routes"])
    assert record.allowed_routes == ["llm_api_routes"]


def test_a_period_that_cannot_be_read_is_noted_and_the_limit_stays() -> None:
    record, noted = key(max_budget=5.0, budget_duration="fortnight")
    assert (record.max_budget_nano, record.budget_duration) == (5_000_000_000, None)
    assert noted == {"budget_duration: fortnight"}


def test_a_member_keeps_a_budget_of_his_own_and_not_the_one_that_all_have() -> None:
    notes = Notes()
    budgets = {name: budget_of({"budget_id": name, "max_budget": 5.0}, notes) for name in ("own", "all")}
    row = {
        "team_id": "t",
        "members_with_roles": [
            {"user_id": "ada", "role": "admin"},
            {"user_id": "bob"},
            {"user_email": "x@example.com"},
        ],
        "metadata": {"team_member_budget_id": "all"},
    }
    memberships = [
        {"user_id": "ada", "team_id": "t", "budget_id": "own", "spend": 1.5},
        {"user_id": "bob", "team_id": "t", "budget_id": "all", "spend": 0.0},
        {"user_id": "gone", "team_id": "t", "budget_id": "own", "spend": 9.0},
    ]
    came, spends = team_of(row, {}, memberships, budgets, notes)
    assert came.entity.member_budget_id == "all"
    assert [(one.user_id, one.role, one.budget_id) for one in came.entity.members] == [
        ("ada", "admin", "own"),
        ("bob", "user", None),
    ]
    assert [(one.user_id, one.spend_nano) for one in spends] == [("ada", 1_500_000_000)]
    assert ("team", "a member known by e-mail alone") in notes.counts


def test_a_users_limits_are_carried() -> None:
    notes = Notes()
    row = {
        "user_id": "ada",
        "max_budget": 10.0,
        "soft_budget": 8.0,
        "budget_duration": "30d",
        "rpm_limit": 60,
        "tpm_limit": 1_000,
        "max_parallel_requests": 3,
        "model_max_budget": {"gpt-4o": 2.5},
        "password": "scrypt:...",
    }
    assert user_of(row, notes).entity.limits == Limits(
        max_budget_nano=10_000_000_000,
        soft_budget_nano=8_000_000_000,
        budget_duration="30d",
        rpm=60,
        tpm=1_000,
        parallel_max=3,
        model_budgets={"gpt-4o": Window(2_500_000_000)},
    )
    assert notes.examples == {("user", "password"): ["ada"]}


def test_examples_are_few_and_the_count_is_whole() -> None:
    notes = Notes()
    for number in range(10):
        notes.add("key", "guardrails", f"key-{number}")
    assert notes.counts["key", "guardrails"] == 10
    assert notes.examples["key", "guardrails"] == ["key-0", "key-1", "key-2"]
