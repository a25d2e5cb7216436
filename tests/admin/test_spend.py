from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tollway.admin import LiveSpend, spend
from tollway.calls import Cost, Usage, call_id
from tollway.config.settings import Config, MoneySettings
from tollway.ledger.record import AttemptRecord, CallRecord, encode_record

from .conftest import Asking
from .office import FakeOffice

DAY_US = 86_400_000_000
NOON = 1_795_262_400_000_000  # 2026-11-21 12:00 UTC

# The fields of LiteLLM Proxy 1.106.2's rows (2026-11-21).
ROW = {
    *("request_id", "call_type", "api_key", "spend", "total_tokens", "prompt_tokens", "completion_tokens", "startTime"),
    *("endTime", "request_duration_ms", "completionStartTime", "model", "model_id", "model_group"),
    *("custom_llm_provider", "api_base", "user", "metadata", "cache_hit", "cache_key", "request_tags", "team_id"),
    *("organization_id", "end_user", "requester_ip_address", "messages", "response", "session_id", "status"),
    *("mcp_namespaced_tool_name", "billing_agent_id", "agent_id", "proxy_server_request", "litellm_call_id"),
    *("created_at", "updated_at"),
}


def a_record(seq: int, **fields: Any) -> CallRecord:
    values: dict[str, Any] = {
        "started_us": NOON + seq,
        "ended_us": NOON + seq + 1_097_000,
        "provider_model": "openai/gpt-4o",
        "request_id": f"chatcmpl-{seq}",
        "usage": Usage(input=9, cache_read=4, output=5, reasoning=2),
        "charges": (("global", "", 0, 97_500),),
        "cost": Cost(total=97_500, input=22_500, cache_read=5_000, output=70_000, reasoning=20_000),
        **fields,
    }
    return CallRecord(epoch=7, seq=seq, **values)


async def keep(office: FakeOffice, *records: CallRecord) -> None:
    await office.storage.spend.ingest([(record, encode_record(record)) for record in records])


async def test_a_row_is_litellms_made_from_the_journals_record(ask: Asking, office: FakeOffice) -> None:
    await keep(
        office,
        a_record(
            1,
            first_byte_us=NOON + 500_000,
            model="gpt-4o",
            model_group="gpt-4o",
            deployment_id="d1",
            provider="openai",
            api_base="http://127.0.0.1:1/v1",
            end_user="enduser1",
            session_id="s1",
            tags=("alpha",),
            metadata=b'{"foo":"bar"}',
            client_ip="127.0.0.1",
            user_agent="python-httpx/0.28.1",
            attempts=(AttemptRecord("d0", "openai", 500, 1_500, 0),),
        ),
    )
    (row,) = (await ask.get("/spend/logs")).json()
    assert set(row) == ROW
    assert (row["request_id"], row["api_key"], row["user"]) == (
        "chatcmpl-1",
        "litellm_proxy_master_key",
        "default_user_id",
    )
    assert (row["spend"], row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (9.75e-05, 13, 7, 20)
    assert (row["startTime"], row["endTime"]) == ("2026-11-21T12:00:00.000001Z", "2026-11-21T12:00:01.097001Z")
    assert (row["request_duration_ms"], row["completionStartTime"]) == (1097, "2026-11-21T12:00:00.500000Z")
    assert (row["model"], row["model_group"], row["custom_llm_provider"]) == ("openai/gpt-4o", "gpt-4o", "openai")
    assert row["request_tags"] == ["alpha", "User-Agent: python-httpx", "User-Agent: python-httpx/0.28.1"]
    assert (row["end_user"], row["team_id"], row["status"], row["cache_hit"]) == ("enduser1", "", "success", "None")
    about = row["metadata"]
    assert (about["tollway"]["metadata"], about["spend_logs_metadata"]) == ({"foo": "bar"}, None)
    assert about["usage_object"]["prompt_tokens_details"] == {"audio_tokens": 0, "cached_tokens": 4}
    assert about["usage_object"]["completion_tokens_details"]["reasoning_tokens"] == 2
    assert about["cost_breakdown"]["input_cost"] == 2.75e-05
    assert about["cost_breakdown"]["output_cost"] == 7e-05
    assert about["cost_breakdown"]["total_cost"] == 9.75e-05
    assert about["error_information"] is None
    assert about["tollway"]["attempts"] == [
        {"deployment_id": "d0", "provider": "openai", "status": 500, "duration_ms": 1.5, "cost": 0.0}
    ]
    assert office.flushes == 1


async def test_a_failed_call_says_what_went_wrong(ask: Asking, office: FakeOffice) -> None:
    await keep(
        office,
        a_record(1, status_code=429, error_type="throttling_error", error_message="slow down", usage=None, cost=Cost()),
    )
    (row,) = (await ask.get("/spend/logs")).json()
    assert (row["status"], row["spend"], row["total_tokens"]) == ("failure", 0.0, 0)
    error = row["metadata"]["error_information"]
    assert (error["error_code"], error["error_class"], error["error_message"]) == (
        "429",
        "throttling_error",
        "slow down",
    )


async def test_rows_are_found_by_request_id_key_and_user(ask: Asking, office: FakeOffice) -> None:
    key = "sk-0123456789abcdef"
    token = sha256(key.encode()).digest()
    await keep(office, a_record(1, key=token, user_id="u1"), a_record(2, request_id="chatcmpl-1"), a_record(3))

    async def found(**query: str) -> list[str]:
        return [row["litellm_call_id"] for row in (await ask.get("/spend/logs", **query)).json()]

    assert await found(request_id="chatcmpl-1") == [call_id(7, 2), call_id(7, 1)]
    assert await found(request_id="nobody") == []
    assert await found(api_key=token.hex()) == [call_id(7, 1)]
    answer = await ask.get("/spend/logs", api_key=key)
    assert [row["api_key"] for row in answer.json()] == [token.hex()]
    assert key not in answer.text
    assert await found(api_key="litellm_proxy_master_key") == [call_id(7, 3), call_id(7, 2)]
    assert await found(user_id="u1") == [call_id(7, 1)]


async def test_dates_give_one_sum_a_day_unless_rows_are_asked_for(ask: Asking, office: FakeOffice) -> None:
    token = sha256(b"sk-a").digest()
    await keep(
        office,
        a_record(1),
        a_record(2, key=token, user_id="u1", provider_model="claude-opus-4-6"),
        a_record(3, started_us=NOON + 5 * DAY_US),
    )
    days = {"start_date": "2026-11-20", "end_date": "2026-11-22"}
    assert (await ask.get("/spend/logs", **days)).json() == [
        {
            "litellm_proxy_master_key": 9.75e-05,
            token.hex(): 9.75e-05,
            "startTime": "2026-11-21",
            "spend": 0.000195,
            "users": {"default_user_id": 9.75e-05, "u1": 9.75e-05},
            "models": {"openai/gpt-4o": 9.75e-05, "claude-opus-4-6": 9.75e-05},
        },
        {"startTime": "2026-11-22", "spend": 0.0, "users": {}, "models": {}},
    ]
    rows = (await ask.get("/spend/logs", **days, summarize="false")).json()
    assert [row["litellm_call_id"] for row in rows] == [call_id(7, 2), call_id(7, 1)]
    last_day_counts_whole = (await ask.get("/spend/logs", start_date="2026-11-21", end_date="2026-11-21")).json()
    assert last_day_counts_whole[0]["spend"] == 0.000195
    until_a_moment = {"start_date": "2026-11-21", "end_date": "2026-11-21 11:59:59"}
    assert (await ask.get("/spend/logs", **until_a_moment)).json() == []


@pytest.mark.parametrize("day", ["bad", "2026-13-01", "0001-01-01", "9999-12-31"])
async def test_a_day_that_is_none_is_refused(ask: Asking, day: str) -> None:
    answer = await ask.get("/spend/logs", start_date=day, end_date="2026-01-01")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "start_date"


async def test_more_rows_than_one_answer_holds_are_said_to_be_more(
    ask: Asking, office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spend, "ROWS_MAX", 2)
    await keep(office, a_record(1), a_record(2))
    assert "x-tollway-truncated" not in (await ask.get("/spend/logs")).headers
    await keep(office, a_record(3))
    answer = await ask.get("/spend/logs")
    assert (answer.headers["x-tollway-truncated"], answer.headers["x-tollway-total"]) == ("true", "3")
    assert [row["litellm_call_id"] for row in answer.json()] == [call_id(7, 3), call_id(7, 2)]


async def test_the_gateways_own_spend_is_shown_with_its_budget(ask: Asking, office: FakeOffice) -> None:
    assert (await ask.get("/global/spend")).json() == {"spend": 0.0, "max_budget": 0.0}
    await keep(office, a_record(1))
    assert (await ask.get("/global/spend")).json()["spend"] == 9.75e-05
    office.live["global", ""] = LiveSpend(1_500_000_000, 2_000_000_000)
    office.config = Config(money=MoneySettings(max_budget_usd="10.5"))
    assert (await ask.get("/global/spend")).json() == {"spend": 1.5, "max_budget": 10.5}
    assert (await ask.get("/global/spend/logs")).json() == [{"date": "2026-11-21", "spend": 9.75e-05}]


async def test_the_report_sums_by_team_customer_and_key(ask: Asking, office: FakeOffice) -> None:
    await keep(office, a_record(1, team_id="t1", end_user="e1"), a_record(2, team_id="t1"), a_record(3))
    days = {"start_date": "2026-11-01", "end_date": "2026-11-30"}
    (day,) = (await ask.get("/global/spend/report", **days)).json()
    assert day["group_by_day"] == "2026-11-21T00:00:00+00:00"
    assert {team["team_name"]: team["total_spend"] for team in day["teams"]} == {"t1": 0.000195, "Unassigned": 9.75e-05}
    assert day["teams"][1]["metadata"] == [
        {"model": "openai/gpt-4o", "spend": 0.000195, "total_tokens": 40, "api_key": "litellm_proxy_master_key"}
    ]
    (day,) = (await ask.get("/global/spend/report", group_by="customer", customer_id="e1", **days)).json()
    assert [(one["customer"], one["total_spend"]) for one in day["customers"]] == [("e1", 9.75e-05)]
    (key,) = (await ask.get("/global/spend/report", group_by="api_key", **days)).json()
    assert (key["total_cost"], key["total_input_tokens"], key["total_output_tokens"]) == (0.0002925, 39, 21)
    assert key["model_details"][0]["model"] == "openai/gpt-4o"
    assert (await ask.get("/global/spend/report", group_by="moon", **days)).status_code == 422
