"""Teams, users and the others through the whole gateway: LiteLLM's fields and statuses (1.106.2, 2026-11-21), and what is in
force when an answer is sent.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tollway.config.settings import Config, MoneySettings, ProviderBudget
from tollway.errors import StorageError
from tollway.storage.people import TEAM_SCOPE, AuditFilter
from tollway.testing.gateway import MASTER_KEY, MODEL, PROVIDER_KEY, Answer, SmallGateway, chat_reply, model_entry

#: The fields of LiteLLM's answers, by path and place in them.
SHAPES: dict[str, list[str]] = json.loads((Path(__file__).parent / "litellm_shapes.json").read_text())
#: What a call of `Manager.call` costs.
CALL_USD = 0.001


class Manager:
    """Asks the management API of a small gateway."""

    def __init__(self, gateway: SmallGateway) -> None:
        self.gateway = gateway

    async def __call__(
        self, route: str, body: Any = None, *, key: str | None = MASTER_KEY, status: int = 200, **query: Any
    ) -> Any:
        answer = await self.asked(route, body, key=key, **query)
        assert answer.status == status, answer.body
        return answer.json()

    async def asked(self, route: str, body: Any = None, *, key: str | None = MASTER_KEY, **query: Any) -> Answer:
        method, path = route.split(" ")
        asked = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        return await self.gateway.ask(
            key=key,
            path=path,
            method=method,
            query=asked.encode(),
            headers={"content-type": "application/json"},
            body=b"" if body is None else msgspec.json.encode(body),
        )

    async def call(self, key: str, **fields: Any) -> int:
        return (await self.gateway.ask(key=key, max_tokens=250, **fields)).status


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    async with SmallGateway(tmp_path, [model_entry(), model_entry("other")]) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Manager(gateway)


def shape(place: str, found: Any, *, more: set[str] | None = None) -> None:
    """Exactly LiteLLM's fields, and those of ours that are said."""
    assert set(found) == set(SHAPES[place]) | (more or set())


# --- shapes


async def test_a_team_answers_in_litellms_fields_wherever_it_is_asked_for(manage: Manager) -> None:
    await manage("POST /user/new", {"user_id": "alice", "user_email": "alice@x.com", "auto_create_key": False})
    made = await manage(
        "POST /team/new",
        {
            "team_alias": "core",
            "models": [MODEL],
            "max_budget": 10,
            "tpm_limit": 1000,
            "budget_duration": "7d",
            "members_with_roles": [{"role": "admin", "user_id": "alice"}],
        },
    )
    shape("POST /team/new", made)
    assert (made["max_budget"], made["tpm_limit"], made["models"], made["spend"]) == (10.0, 1000, [MODEL], 0.0)
    assert made["budget_reset_at"].endswith("T00:00:00Z")
    assert made["members_with_roles"] == [
        {"user_id": "alice", "user_email": "alice@x.com", "role": "admin"},
        {"user_id": "default_user_id", "user_email": None, "role": "admin"},
    ]
    team_id = made["team_id"]
    added = await manage(
        "POST /team/member_add",
        {"team_id": team_id, "member": {"role": "user", "user_id": "bob"}, "max_budget_in_team": 1},
    )
    shape("POST /team/member_add", added)
    (user,), (membership,) = added["updated_users"], added["updated_team_memberships"]
    shape("POST /team/member_add updated_users", user)
    shape("POST /team/member_add updated_team_memberships", membership)
    shape("POST /team/member_add litellm_budget_table", membership["litellm_budget_table"])
    assert (user["user_role"], user["teams"]) == ("internal_user", [team_id])
    assert membership["litellm_budget_table"]["max_budget"] == 1.0
    updated = await manage("POST /team/member_update", {"team_id": team_id, "user_id": "bob", "max_budget_in_team": 2})
    shape("POST /team/member_update", updated)
    assert updated["max_budget_in_team"] == 2.0
    found = await manage("GET /team/info", team_id=team_id)
    shape("GET /team/info", found)
    shape("GET /team/info team_info", found["team_info"])
    shape("GET /team/info members_with_roles", found["team_info"]["members_with_roles"][0])
    shape("GET /team/info team_memberships", found["team_memberships"][2])
    assert found["team_memberships"][2]["litellm_budget_table"]["max_budget"] == 2.0
    (listed,) = await manage("GET /team/list")
    shape("GET /team/list", listed)
    shape("GET /team/list team_memberships", listed["team_memberships"][0])
    page = await manage("GET /v2/team/list")
    assert [team["team_id"] for team in page.pop("teams")] == [team_id]
    assert page == {"total": 1, "page": 1, "page_size": 10, "total_pages": 1}
    changed = await manage("POST /team/update", {"team_id": team_id, "max_budget": 20})
    shape("POST /team/update", changed)
    shape("POST /team/update data", changed["data"])
    assert (changed["data"]["max_budget"], changed["data"]["tpm_limit"]) == (20.0, 1000)
    for path in ("block", "unblock"):
        row = await manage(f"POST /team/{path}", {"team_id": team_id})
        shape(f"POST /team/{path}", row)
        assert row["blocked"] is (path == "block")
    shape("POST /team/member_delete", await manage("POST /team/member_delete", {"team_id": team_id, "user_id": "bob"}))
    deleted = await manage("POST /team/delete", {"team_ids": [team_id]})
    assert deleted == {"deleted_teams": [team_id]}
    await manage("GET /team/info", team_id=team_id, status=404)


async def test_a_user_answers_in_litellms_fields(manage: Manager) -> None:
    made = await manage(
        "POST /user/new",
        {
            "user_id": "alice",
            "user_email": "alice@x.com",
            "user_role": "internal_user",
            "max_budget": 5,
            "budget_duration": "30d",
        },
    )
    shape("POST /user/new", made)
    assert made["key"].startswith("sk-")
    assert (made["user_id"], made["max_budget"], made["user_role"]) == ("alice", 5.0, "internal_user")
    found = await manage("GET /user/info", user_id="alice")
    shape("GET /user/info", found)
    shape("GET /user/info user_info", found["user_info"])
    assert [key["user_id"] for key in found["keys"]] == ["alice"]
    assert await manage("GET /user/info", key=made["key"]) == found
    page = await manage("GET /user/list")
    shape("GET /user/list", page)
    shape("GET /user/list users", page["users"][0])
    assert (page["total"], page["page_size"], page["users"][0]["key_count"]) == (1, 25, 1)
    changed = await manage("POST /user/update", {"user_id": "alice", "max_budget": 7, "user_email": "a@y.com"})
    assert (changed["data"]["max_budget"], changed["data"]["user_email"]) == (7.0, "a@y.com")
    await manage("POST /user/new", {"user_id": "alice"}, status=409)
    assert await manage.call(made["key"]) == 200
    assert (await manage("POST /user/delete", {"user_ids": ["alice"]}))["deleted_users"] == 1
    assert await manage.call(made["key"]) == 401


async def test_budgets_customers_and_tags_answer_in_litellms_fields(manage: Manager) -> None:
    made = await manage("POST /budget/new", {"budget_id": "b1", "max_budget": 1, "budget_duration": "1d"})
    shape("POST /budget/new", made)
    assert (made["max_budget"], made["budget_duration"], made["created_by"]) == (1.0, "1d", "default_user_id")
    shape("GET /budget/list", (await manage("GET /budget/list"))[0])
    shape("POST /budget/info", (await manage("POST /budget/info", {"budgets": ["b1", "none"]}))[0])
    settings = await manage("GET /budget/settings", budget_id="b1")
    assert {one["field_name"]: one["field_value"] for one in settings}["max_budget"] == 1.0
    customer = await manage("POST /customer/new", {"user_id": "c1", "budget_id": "b1"})
    shape("POST /customer/new", customer)
    shape("POST /customer/new litellm_budget_table", customer["litellm_budget_table"])
    shape("GET /customer/info", await manage("GET /customer/info", end_user_id="c1"))
    assert await manage.call(MASTER_KEY, user="somebody", tags=["alpha"]) == 200
    listed = await manage("GET /customer/list")
    assert [one["user_id"] for one in listed] == ["c1", "somebody"]
    assert listed[1]["spend"] == CALL_USD
    shape("GET /customer/list", listed[1])
    assert await manage("GET /end_user/list") == listed
    tag = await manage("POST /tag/new", {"name": "t9", "description": "d", "models": []})
    shape("POST /tag/new", tag)
    shape("POST /tag/new tag", tag["tag"])
    own, dynamic = await manage("GET /tag/list")
    shape("GET /tag/list", own)
    shape("GET /tag/list dynamic", dynamic)
    assert dynamic["name"] == "alpha"
    assert await manage("GET /spend/tags") == [
        {"individual_request_tag": "alpha", "log_count": 1, "total_spend": CALL_USD}
    ]
    gone = await manage("POST /customer/delete", {"user_ids": ["c1"]})
    assert gone == {"deleted_customers": 1, "message": "Successfully deleted customers with ids: ['c1']"}
    await manage("POST /tag/delete", {"name": "t9"})
    await manage("POST /budget/delete", {"id": "b1"})
    assert await manage("GET /budget/list") == []


async def test_an_organisation_is_made_changed_shown_and_deleted_once_it_is_empty(manage: Manager) -> None:
    made = await manage("POST /organization/new", {"organization_alias": "acme", "max_budget": 100, "models": [MODEL]})
    name = made["organization_id"]
    assert (made["litellm_budget_table"]["max_budget"], made["models"], made["teams"]) == (100.0, [MODEL], [])
    changed = await manage("PATCH /organization/update", {"organization_id": name, "max_budget": 50})
    assert changed["budget_id"] == made["budget_id"]
    assert changed["litellm_budget_table"]["max_budget"] == 50.0
    team = await manage("POST /team/new", {"organization_id": name})
    assert [one["team_id"] for one in (await manage("GET /organization/info", organization_id=name))["teams"]] == [
        team["team_id"]
    ]
    await manage("DELETE /organization/delete", {"organization_ids": [name]}, status=400)
    await manage("POST /team/delete", {"team_ids": [team["team_id"]]})
    await manage("DELETE /organization/delete", {"organization_ids": [name]})
    assert await manage("GET /organization/list") == []
    assert await manage("GET /budget/list") == []


async def test_activity_by_day_adds_up_in_litellms_fields(manage: Manager) -> None:
    team = await manage("POST /team/new", {})
    key = (await manage("POST /key/generate", {"team_id": team["team_id"], "key_alias": "k"}))["key"]
    for _ in range(2):
        assert await manage.call(key, tags=["x"]) == 200
    days = {"start_date": "2000-01-01", "end_date": "2001-01-01"}
    assert (await manage("GET /user/daily/activity", **days))["results"] == []
    day = _day(manage)
    for route, name in (("user", "Unassigned"), ("team", team["team_id"]), ("tag", "x")):
        found = await manage(f"GET /{route}/daily/activity", start_date=day, end_date=day)
        shape("GET /user/daily/activity", found)
        shape("GET /user/daily/activity metadata", found["metadata"])
        (result,) = found["results"]
        shape("GET /user/daily/activity results", result)
        shape("GET /user/daily/activity metrics", result["metrics"])
        shape("GET /user/daily/activity breakdown", result["breakdown"])
        shape("GET /user/daily/activity models", result["breakdown"]["models"][f"openai/{MODEL}"])
        (of_key,) = result["breakdown"]["api_keys"].values()
        shape("GET /user/daily/activity api_keys", of_key)
        shape("GET /user/daily/activity api_keys metadata", of_key["metadata"])
        assert of_key["metadata"]["key_alias"] == "k"
        assert list(result["breakdown"]["entities"]) == [name]
        assert result["metrics"]["spend"] == found["metadata"]["total_spend"] == 2 * CALL_USD
        assert result["metrics"]["completion_tokens"] == 500
        assert result["metrics"]["api_requests"] == result["metrics"]["successful_requests"] == 2
    shape("GET /spend/keys", (await manage("GET /spend/keys"))[0])
    for wrong in ({}, {"start_date": "x", "end_date": day}, {"start_date": "1970-01-01", "end_date": "2020-01-01"}):
        await manage("GET /team/daily/activity", **wrong, status=400)


def _day(manage: Manager) -> str:
    return datetime.fromtimestamp(manage.gateway.clock.now(), UTC).date().isoformat()


# --- further keys


async def test_further_paths_of_keys_answer_in_litellms_fields(manage: Manager) -> None:
    made = await manage(
        "POST /key/generate", {"key_alias": "a", "budget_limits": [{"budget_duration": "1d", "max_budget": 1}]}
    )
    shape("POST /key/generate", made)
    shape("POST /key/generate budget_limits", made["budget_limits"][0])
    shape("POST /key/health", await manage("POST /key/health", key=made["key"]))
    assert (await manage("GET /key/aliases"))["aliases"] == ["a"]
    both = await manage("POST /v2/key/info", {"keys": [made["key"], "sk-nobody"]})
    assert [one["key_alias"] for one in both["info"]] == ["a"]
    done = await manage(
        "POST /key/bulk_update",
        {"keys": [{"key": made["key"], "max_budget": 3}, {"key": "sk-nobody", "max_budget": 3}]},
    )
    assert [one["key_info"]["max_budget"] for one in done["successful_updates"]] == [3.0]
    assert [one["key"] for one in done["failed_updates"]] == ["sk-nobody"]
    refused = await manage("POST /key/service-account/generate", {"team_id": None}, status=400)
    assert refused == {
        "detail": "team_id is required for service account keys. Please specify `team_id` in the request body."
    }
    team = await manage("POST /team/new", {})
    of_team = await manage("POST /key/service-account/generate", {"team_id": team["team_id"], "key_alias": "robot"})
    assert (of_team["user_id"], of_team["metadata"]) == (None, {"service_account_id": "robot"})
    assert await manage.call(made["key"]) == 200
    reset = await manage(f"POST /key/{made['token']}/reset_spend", {"reset_to": 0})
    assert (reset["previous_spend"], reset["spend"]) == (CALL_USD, 0.0)
    await manage(f"POST /key/{made['token']}/reset_spend", {"reset_to": 1}, status=400)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"budget_id": "nobody"}, "budget_id"),
        ({"organization_id": "nope"}, "organization_id"),
        ({"budget_limits": [{"max_budget": 1}]}, "budget_limits"),
        ({"budget_limits": [{"max_budget": 1, "budget_duration": "1d"}] * 2}, "budget_limits"),
        ({"budget_limits": [{"max_budget": 1, "budget_duration": "2mo"}]}, "budget_duration"),
        ({"budget_limits": [{"max_budget": 1, "budget_duration": "1d", "max": 2}]}, "budget_limits"),
        ({"model_max_budget": {"m": 5}}, "model_max_budget"),
        ({"model_max_budget": {"m": {"budget_limit": "x"}}}, "model_max_budget"),
        ({"model_max_budget": {"m": {"budget_limit": -1}}}, "budget_limit"),
        ({"model_rpm_limit": {"m": -1}}, "model_rpm_limit"),
    ],
)
async def test_limits_that_cannot_be_are_refused_by_name(manage: Manager, fields: dict[str, Any], param: str) -> None:
    answer = await manage("POST /key/generate", fields, status=400)
    assert answer["error"]["param"] == param
    assert await manage("GET /key/list") == {"keys": [], "total_count": 0, "current_page": 1, "total_pages": 0}


async def test_limits_of_keys_are_in_force_when_their_answer_is_sent(manage: Manager) -> None:
    await manage("POST /budget/new", {"budget_id": "b", "max_budget": CALL_USD})
    key = (await manage("POST /key/generate", {"budget_id": "b"}))["key"]
    assert [await manage.call(key) for _ in range(2)] == [200, 422]
    await manage("POST /budget/update", {"budget_id": "b", "max_budget": 1})
    assert await manage.call(key) == 200
    await manage("POST /key/update", {"key": key, "model_rpm_limit": {MODEL: 1}})
    assert [await manage.call(key) for _ in range(2)] == [200, 429]
    await manage("POST /key/update", {"key": key, "model_rpm_limit": None})
    await manage(
        "POST /key/update", {"key": key, "model_max_budget": {MODEL: {"max_budget": 0, "budget_duration": "1d"}}}
    )
    assert await manage.call(key) == 422
    assert await manage.call(key, model="other") == 200
    shown = (await manage("GET /key/info", key=key))["info"]
    assert shown["model_max_budget"] == {MODEL: {"budget_limit": 0.0, "time_period": "1d"}}
    assert shown["budget_id"] == "b"


# --- in force


async def test_a_team_is_in_force_when_its_answer_is_sent(manage: Manager) -> None:
    team = (await manage("POST /team/new", {"team_id": "t", "max_budget": CALL_USD, "models": [MODEL]}))["team_id"]
    key = (await manage("POST /key/generate", {"team_id": team}))["key"]
    assert [await manage.call(key) for _ in range(2)] == [200, 422]
    shown = (await manage("GET /team/info", team_id=team))["team_info"]
    assert (shown["spend"], shown["max_budget"]) == (CALL_USD, CALL_USD)
    await manage("POST /team/update", {"team_id": team, "spend": 0})
    assert [await manage.call(key) for _ in range(2)] == [200, 422]
    await manage("POST /team/update", {"team_id": team, "max_budget": None})
    assert await manage.call(key) == 200
    await manage("POST /team/model/add", {"team_id": team, "models": ["other"]})
    assert await manage.call(key, model="other") == 200
    await manage("POST /team/model/delete", {"team_id": team, "models": ["other"]})
    assert await manage.call(key, model="other") == 403
    await manage("POST /team/model/delete", {"team_id": team, "models": [MODEL]}, status=400)
    await manage("POST /team/block", {"team_id": team})
    assert await manage.call(key) == 401
    await manage("POST /team/unblock", {"team_id": team})
    assert await manage.call(key) == 200
    await manage("POST /team/delete", {"team_ids": [team]})
    assert await manage.call(key) == 401
    assert await manage.gateway.storage.spend.spent(TEAM_SCOPE, team) is None
    await manage("POST /team/new", {"team_id": "t"})
    assert (await manage("GET /team/info", team_id="t"))["team_info"]["spend"] == 0.0


async def test_members_spend_their_own_budgets_and_lose_their_keys_with_their_place(manage: Manager) -> None:
    await manage("POST /team/new", {"team_id": "t", "team_member_budget": CALL_USD})
    await manage("POST /team/member_add", {"team_id": "t", "member": [{"user_id": "a"}, {"user_id": "b"}]})
    one, two = [(await manage("POST /key/generate", {"team_id": "t", "user_id": name}))["key"] for name in "ab"]
    assert [await manage.call(key) for key in (one, two, one)] == [200, 200, 422]
    await manage("POST /team/member_update", {"team_id": "t", "user_id": "a", "max_budget_in_team": 1})
    assert [await manage.call(key) for key in (one, two)] == [200, 422]
    memberships = (await manage("GET /team/info", team_id="t"))["team_memberships"]
    assert {row["user_id"]: (row["spend"], row["budget_source"]) for row in memberships} == {
        "default_user_id": (0.0, "team_default"),
        "a": (2 * CALL_USD, "member"),
        "b": (CALL_USD, "team_default"),
    }
    await manage("POST /team/member_delete", {"team_id": "t", "user_id": "a"})
    assert await manage.call(one) == 401
    await manage("POST /team/member_delete", {"team_id": "t", "user_id": "a"}, status=400)
    await manage("POST /team/member_add", {"team_id": "t", "member": {"user_id": "b"}}, status=400)
    await manage("POST /team/delete", {"team_ids": ["t"]})
    assert await manage("GET /budget/list") == []


async def test_a_budget_that_is_shared_is_not_changed_by_one_who_names_it(manage: Manager) -> None:
    await manage("POST /budget/new", {"budget_id": "b", "max_budget": 1, "rpm_limit": 5})
    await manage("POST /customer/new", {"user_id": "c1", "budget_id": "b"})
    changed = await manage("POST /customer/update", {"user_id": "c1", "max_budget": 2})
    assert changed["budget_id"] != "b"
    assert (changed["litellm_budget_table"]["max_budget"], changed["litellm_budget_table"]["rpm_limit"]) == (2.0, 5)
    assert (await manage("POST /budget/info", {"budgets": ["b"]}))[0]["max_budget"] == 1.0
    await manage("POST /customer/new", {"user_id": "c2", "budget_id": "none"}, status=400)


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("customer", {"user_id": "c1"}),
        ("organization", {"organization_id": "o1", "organization_alias": "o"}),
        ("tag", {"name": "t1"}),
    ],
)
async def test_who_is_given_a_shared_budget_leaves_none_of_its_own_behind(
    manage: Manager, kind: str, who: dict[str, str]
) -> None:
    update = ("PATCH" if kind == "organization" else "POST") + f" /{kind}/update"
    await manage(f"POST /{kind}/new", {**who, "max_budget": 1})
    (own,) = await manage("GET /budget/list")
    await manage("POST /budget/new", {"budget_id": "b", "max_budget": 2})
    taken = {"user_id": "another", "budget_id": own["budget_id"]}
    refused = await manage("POST /customer/new", taken, status=400)
    assert "alone. Make one to share" in refused["error"]["message"]
    await manage(update, {**who, "budget_id": own["budget_id"]})  # its own: nothing changes
    assert {one["budget_id"] for one in await manage("GET /budget/list")} == {own["budget_id"], "b"}
    await manage(update, {**who, "budget_id": "b"})
    assert [one["budget_id"] for one in await manage("GET /budget/list")] == ["b"]
    await manage(update, {**who, "max_budget": 3})
    assert len(await manage("GET /budget/list")) == 2
    await manage(update, {**who, "budget_id": None})
    assert [one["budget_id"] for one in await manage("GET /budget/list")] == ["b"], "the shared one stays"


async def test_customers_and_tags_are_in_force_when_their_answer_is_sent(manage: Manager) -> None:
    await manage("POST /customer/new", {"user_id": "c", "max_budget": CALL_USD})
    assert [await manage.call(MASTER_KEY, user="c") for _ in range(2)] == [200, 422]
    assert (await manage("GET /customer/info", end_user_id="c"))["spend"] == CALL_USD
    await manage("POST /customer/block", {"user_ids": ["c", "stranger"]})
    assert [await manage.call(MASTER_KEY, user=name) for name in ("c", "stranger", "else")] == [401, 401, 200]
    await manage("POST /customer/unblock", {"user_ids": ["stranger"]})
    assert await manage.call(MASTER_KEY, user="stranger") == 200
    await manage("POST /tag/new", {"name": "g", "max_budget": 0})
    assert await manage.call(MASTER_KEY, tags=["g"]) == 422
    await manage("POST /tag/update", {"name": "g", "max_budget": None})
    assert await manage.call(MASTER_KEY, tags=["g"]) == 200


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /team/new", {"tpd_limit": 5}),
        ("POST /team/new", {"guardrails": ["g"]}),
        ("POST /team/new", {"max_budge": 5}),
        ("POST /user/new", {"object_permission": {"mcp_servers": ["x"]}}),
        ("POST /customer/new", {"user_id": "c", "allowed_model_region": "eu"}),
        ("POST /customer/new", {"user_id": "c", "default_model": "m"}),
        ("POST /tag/new", {"name": "t", "models": ["m"]}),
        ("POST /budget/new", {"temp_budget_increase": 5}),
        ("POST /budget/new", {"max_budget": -1}),
        ("POST /user/new", {"user_role": "king"}),
        ("POST /team/new", {"members_with_roles": [{"role": "king", "user_id": "u"}]}),
        ("POST /team/new", {"organization_id": "nobody"}),
        ("POST /team/permissions_update", {"team_id": "t", "team_member_permissions": ["/all"]}),
    ],
)
async def test_what_would_have_no_effect_or_cannot_be_is_refused_and_nothing_is_made(
    manage: Manager, route: str, body: dict[str, Any]
) -> None:
    await manage(route, body, status=400)
    people = await manage.gateway.storage.people.load()
    assert (people.teams, people.users, people.customers, people.tags, people.budgets) == ({}, {}, {}, {}, {})


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /team/update", {"team_id": "x"}),
        ("POST /team/delete", {"team_ids": ["x"]}),
        ("POST /team/block", {"team_id": "x"}),
        ("POST /team/member_add", {"team_id": "x", "member": {"user_id": "u"}}),
        ("POST /user/update", {"user_id": "x"}),
        ("POST /user/delete", {"user_ids": ["x"]}),
        ("PATCH /organization/update", {"organization_id": "x"}),
        ("DELETE /organization/delete", {"organization_ids": ["x"]}),
        ("POST /customer/update", {"user_id": "x"}),
        ("POST /customer/delete", {"user_ids": ["x"]}),
        ("POST /budget/update", {"budget_id": "x"}),
        ("POST /budget/delete", {"id": "x"}),
        ("POST /tag/update", {"name": "x"}),
        ("POST /tag/delete", {"name": "x"}),
        ("POST /tag/info", {"names": ["x"]}),
        ("GET /audit/7", None),
    ],
)
async def test_who_is_not_there_is_404(manage: Manager, route: str, body: Any) -> None:
    assert (await manage(route, body, status=404))["error"]["type"] == "not_found_error"


async def test_provider_budgets_show_what_was_spent(tmp_path: Path) -> None:
    money = MoneySettings(provider_budgets={"openai": ProviderBudget("0.5", "1d")})
    async with SmallGateway(tmp_path, config=Config(money=money)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        manage = Manager(gateway)
        assert await manage.call(MASTER_KEY) == 200
        (row,) = (await manage("GET /provider/budgets"))["providers"].items()
        assert (row[0], row[1]["budget_limit"], row[1]["spend"]) == ("openai", 0.5, CALL_USD)
        await gateway.app.reload(replace(gateway.app.config, money=MoneySettings()))
        await manage("GET /provider/budgets", status=400)


# --- the audit log


async def test_every_change_is_in_the_audit_log_with_who_and_what_and_no_secret(manage: Manager) -> None:
    key = await manage("POST /key/generate", {"metadata": {"api_key": "hidden", "note": "sk-abcdefgh12345"}})
    await manage("POST /key/update", {"key": key["key"], "max_budget": 5})
    await manage("POST /team/new", {"team_id": "t"})
    await manage("POST /team/update", {"team_id": "t", "max_budget": 1})
    await manage("POST /team/block", {"team_id": "t"})
    await manage("POST /team/delete", {"team_ids": ["t"]})
    page = await manage("GET /audit", page_size=100)
    assert page["total"] == len(page["audit_logs"]) == 6
    assert [(one["action"], one["table_name"]) for one in page["audit_logs"]] == [
        ("deleted", "LiteLLM_TeamTable"),
        ("blocked", "LiteLLM_TeamTable"),
        ("updated", "LiteLLM_TeamTable"),
        ("created", "LiteLLM_TeamTable"),
        ("updated", "LiteLLM_VerificationToken"),
        ("created", "LiteLLM_VerificationToken"),
    ]
    updated = page["audit_logs"][2]
    assert (updated["changed_by"], updated["changed_by_api_key"]) == ("default_user_id", "litellm_proxy_master_key")
    assert "limits" not in updated["before_value"]
    assert updated["updated_values"]["limits"] == {"max_budget_nano": 1_000_000_000}
    assert await manage(f"GET /audit/{updated['id']}") == updated
    written = json.dumps(page)
    assert key["key"] not in written
    assert "hidden" not in written
    assert "sk-abcdefgh12345" not in written
    (found,) = (await manage("GET /audit", object_id="t", action="created"))["audit_logs"]
    assert found["object_id"] == "t"
    await manage("GET /audit", start_date="yesterday", status=400)


async def test_an_administrator_may_say_for_whom_a_change_was_made_and_nobody_else(manage: Manager) -> None:
    admin = (await manage("POST /user/new", {"user_id": "root", "user_role": "proxy_admin"}))["key"]
    mere = (await manage("POST /user/new", {"user_id": "mere", "user_role": "internal_user"}))["key"]
    for key in (admin, mere):
        answer = await manage.gateway.ask(
            key=key,
            path="/key/generate",
            headers={"content-type": "application/json", "litellm-changed-by": "somebody"},
            body=b"{}",
        )
        assert answer.status == 200
    entries, _ = await manage.gateway.storage.people.audit(AuditFilter(table="LiteLLM_VerificationToken"), limit=9)
    assert [one.actor for one in entries] == ["mere", "somebody", "default_user_id", "default_user_id"]


async def test_a_change_stands_where_the_audit_log_cannot_be_written(
    manage: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(entries: object) -> None:
        raise StorageError("away")

    monkeypatch.setattr(manage.gateway.storage.people, "note", fail)
    await manage("POST /team/new", {"team_id": "t"})
    assert "is not in the audit log: away" in caplog.text


async def test_the_configuration_is_shown_with_its_sources_and_without_its_secrets(manage: Manager) -> None:
    answer = await manage.asked("GET /config/effective")
    shown = answer.json()
    assert shown["routing"]["retries"] == {"value": 2, "source": "default"}
    assert shown["models"][0]["model_name"]["value"] == MODEL
    assert MASTER_KEY.encode() not in answer.body
    assert PROVIDER_KEY.encode() not in answer.body
