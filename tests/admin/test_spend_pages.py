"""Calls by pages and what they come to: LiteLLM's `/spend/logs/v2`, `/spend/logs/ui` and `/global/*` (1.106.2, 2026-11-21)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tollway.config.settings import Config, LogSettings
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, chat_reply, model_entry

from .test_people import CALL_USD, Manager, _day


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    config = Config(logs=LogSettings(store_bodies=True))
    async with SmallGateway(tmp_path, [model_entry(), model_entry("other")], config=config) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Manager(gateway)


async def _user(manage: Manager, name: str, role: str = "internal_user") -> str:
    made = await manage("POST /user/new", {"user_id": name, "user_role": role, "key_alias": f"{name}'s"})
    return str(made["key"])


async def test_calls_come_by_numbered_pages_and_by_what_they_were(manage: Manager) -> None:
    ann, bob = await _user(manage, "ann"), await _user(manage, "bob")
    for key, fields in (
        (ann, {"litellm_session_id": "s1"}),
        (bob, {"model": "other"}),
        (ann, {"litellm_session_id": "s1"}),
    ):
        assert await manage.call(key, user="c1", **fields) == 200
    first = await manage("GET /spend/logs/v2", page_size=2)
    second = await manage("GET /spend/logs/v2", page_size=2, page=2)
    assert (first["total"], first["total_pages"], len(first["data"]), len(second["data"])) == (3, 2, 2, 1)
    assert [row["user"] for row in first["data"] + second["data"]] == ["ann", "bob", "ann"]
    for query, total in (
        ({"user_id": "ann"}, 2),
        ({"api_key": bob}, 1),
        ({"model": "other"}, 1),
        ({"status_filter": "failure"}, 0),
        ({"end_user": "c1"}, 3),
        ({"session_id": "s1"}, 2),
        ({"min_spend": "0.002"}, 0),
        ({"max_spend": "0.002", "status_filter": "success"}, 3),
        ({"request_id": first["data"][1]["litellm_call_id"]}, 1),
        ({"start_date": "2000-01-01", "end_date": "2000-01-02"}, 0),
    ):
        assert (await manage("GET /spend/logs/v2", **query))["total"] == total, query
    await manage("GET /spend/logs/v2", page=101, page_size=100, status=400)
    await manage("GET /spend/logs/v2", min_spend="much", status=400)
    await manage("GET /spend/logs/v2", error_code="429", status=422)


async def test_a_calls_session_is_told_beside_it_and_its_bodies_by_its_id(manage: Manager) -> None:
    for _ in range(3):
        assert await manage.call(MASTER_KEY, litellm_session_id="s1") == 200
    rows = (await manage("GET /spend/logs/ui", page_size=1))["data"]
    assert {name: rows[0][f"session_{name}"] for name in ("total_count", "total_tokens", "models")} == {
        "total_count": 3,
        "total_tokens": 780,
        "models": [f"openai/{MODEL}"],
    }
    assert rows[0]["session_total_spend"] == pytest.approx(3 * CALL_USD)
    assert (await manage("GET /spend/logs/session/ui", session_id="s1"))["total"] == 3
    bodies = await manage(f"GET /spend/logs/ui/{rows[0]['litellm_call_id']}")
    assert bodies["messages"] == [{"role": "user", "content": "Say hello."}]
    assert bodies["response"]["choices"][0]["message"]["content"] == "Hello"
    assert bodies["proxy_server_request"]["model"] == MODEL
    await manage("GET /spend/logs/ui/nobodys", status=404)


async def test_who_may_not_see_all_sees_the_own_spend_alone(manage: Manager) -> None:
    ann, bob = await _user(manage, "ann"), await _user(manage, "bob", "internal_user_viewer")
    for key in (ann, ann, bob):
        assert await manage.call(key, tags=["t"]) == 200
    (theirs,) = await manage("GET /spend/logs", user_id="bob")
    for route in ("GET /spend/logs/v2", "GET /spend/logs/ui"):
        assert [row["user"] for row in (await manage(route, key=ann))["data"]] == ["ann", "ann"]
    assert {row["user"] for row in await manage("GET /spend/logs", key=bob)} == {"bob"}
    assert await manage("GET /spend/logs", key=ann, request_id=theirs["litellm_call_id"]) == []
    await manage(f"GET /spend/logs/ui/{theirs['litellm_call_id']}", key=ann, status=404)
    await manage("GET /spend/logs", key=ann, user_id="bob", status=403)
    assert [row["key_alias"] for row in await manage("GET /spend/keys", key=ann)] == ["ann's"]
    assert [row["user_id"] for row in await manage("GET /spend/users", key=ann)] == ["ann"]
    assert [row["log_count"] for row in await manage("GET /spend/tags", key=ann)] == [2]
    assert (await manage("GET /global/activity", key=ann))["sum_api_requests"] == 2
    await manage("GET /global/spend/keys", key=ann, status=401)


async def test_totals_name_who_spent_most_first(manage: Manager) -> None:
    team = (await manage("POST /team/new", {"team_alias": "core"}))["team_id"]
    key = (await manage("POST /key/generate", {"key_alias": "k", "team_id": team}))["key"]
    for who, fields in ((key, {"tags": ["a"]}), (key, {"tags": ["a", "b"]}), (MASTER_KEY, {"model": "other"})):
        assert await manage.call(who, user="c1", **fields) == 200
    day = {"start_date": _day(manage), "end_date": _day(manage)}
    assert [(row["key_alias"], row["total_spend"]) for row in await manage("GET /global/spend/keys")] == [
        ("k", 2 * CALL_USD),
        (None, CALL_USD),
    ]
    assert [row["model"] for row in await manage("GET /global/spend/models", limit=1)] == [f"openai/{MODEL}"]
    assert await manage("GET /global/spend/provider", **day) == [{"provider": "openai", "spend": 3 * CALL_USD}]
    found = await manage("GET /global/spend/teams")
    assert found["teams"] == ["core", "Unassigned"]
    assert found["daily_spend"] == [{"date": _day(manage), "core": 2 * CALL_USD, "Unassigned": CALL_USD}]
    tags = (await manage("GET /global/spend/tags", **day))["spend_per_tag"]
    assert tags == [
        {"name": "a", "spend": 2 * CALL_USD, "log_count": 2},
        {"name": "b", "spend": CALL_USD, "log_count": 1},
    ]
    assert (await manage("GET /global/spend/tags", tags="b", **day))["spend_per_tag"] == tags[1:]
    assert await manage("GET /global/spend/all_tag_names") == {"tag_names": ["a", "b"]}
    assert await manage("POST /global/spend/end_users", {}) == [
        {"end_user": "c1", "total_count": 3, "total_spend": 3 * CALL_USD}
    ]
    assert [one["model"] for one in await manage("GET /global/activity/model")] == [MODEL, "other"]
    assert (await manage("GET /user/daily/activity", user_id="default_user_id", **day))["metadata"][
        "total_spend"
    ] == CALL_USD


async def test_activity_is_told_by_endpoint_and_on_one_page(manage: Manager) -> None:
    assert await manage.call(MASTER_KEY) == 200
    messages = {"model": MODEL, "max_tokens": 250, "messages": [{"role": "user", "content": "Hi"}]}
    await manage("POST /v1/messages", messages)
    for route in ("GET /user/daily/activity", "GET /user/daily/activity/aggregated"):
        found = await manage(route, start_date=_day(manage), end_date=_day(manage))
        endpoints: dict[str, Any] = found["results"][0]["breakdown"]["endpoints"]
        assert {name: one["metrics"]["api_requests"] for name, one in endpoints.items()} == {
            "/chat/completions": 1,
            "/messages": 1,
        }
        assert found["metadata"]["total_api_requests"] == 2
    await manage("GET /user/daily/activity/aggregated", status=400)


async def test_the_master_key_sets_back_what_keys_and_teams_spent(manage: Manager) -> None:
    team = (await manage("POST /team/new", {"max_budget": 0.0015}))["team_id"]
    key = (await manage("POST /key/generate", {"team_id": team}))["key"]
    assert [await manage.call(key) for _ in range(2)] == [200, 422]
    root = await _user(manage, "root", "proxy_admin")
    await manage("POST /global/spend/reset", key=root, status=403)
    await manage("POST /global/spend/reset")
    about = (await manage("GET /team/info", team_id=team))["team_info"]
    assert about["spend"] == 0.0
    info = (await manage("GET /key/info", key=key))["info"]
    assert (info["spend"], info["total_spend"]) == (0.0, CALL_USD)
    assert await manage.call(key) == 200
