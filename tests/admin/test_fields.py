"""No field of LiteLLM's is taken in silence: each is obeyed, as is shown here, or refused by its name.

`litellm_fields.json` holds the names of the fields of LiteLLM Proxy 1.106.2's requests (2026-11-21).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tollway.admin import budgets, customers, key_requests, organizations, teams, users
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, chat_reply, model_entry

from .test_people import Manager

FIELDS: dict[str, list[str]] = json.loads((Path(__file__).parent / "litellm_fields.json").read_text())
OURS: dict[str, Any] = {
    "GenerateKeyRequest": key_requests.GenerateKeyRequest,
    "UpdateKeyRequest": key_requests.UpdateKeyRequest,
    "RegenerateKeyRequest": key_requests.RegenerateKeyRequest,
    "NewUserRequest": users.NewUser,
    "UpdateUserRequest": users.UpdateUser,
    "NewTeamRequest": teams.NewTeam,
    "UpdateTeamRequest": teams.UpdateTeam,
    "TeamMemberAddRequest": teams.AddMember,
    "BudgetNewRequest": budgets.BudgetRequest,
    "NewCustomerRequest": customers.CustomerFields,
    "UpdateCustomerRequest": customers.CustomerFields,
    "NewOrganizationRequest": organizations.NewOrganization,
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_a_request_is_known(name: str) -> None:
    ours = OURS[name]
    assert set(FIELDS[name]) <= set(ours.model_fields) | set(getattr(ours, "NOT_OBEYED", ()))


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    async with SmallGateway(tmp_path, [model_entry(), model_entry("other")]) as gateway:
        gateway.upstream.reply_to(None, chat_reply())  # a call costs a tenth of a cent and counts 260 tokens
        yield Manager(gateway)


@pytest.mark.parametrize(
    ("request_name", "route", "more"),
    [
        ("GenerateKeyRequest", "POST /key/generate", {}),
        ("NewUserRequest", "POST /user/new", {}),
        ("NewTeamRequest", "POST /team/new", {}),
        ("TeamMemberAddRequest", "POST /team/member_add", {"team_id": "t", "member": {"user_id": "u"}}),
        ("BudgetNewRequest", "POST /budget/new", {}),
        ("NewCustomerRequest", "POST /customer/new", {"user_id": "c"}),
        ("NewOrganizationRequest", "POST /organization/new", {"organization_alias": "o"}),
    ],
)
async def test_a_field_that_nothing_would_obey_is_refused_by_its_name(
    manage: Manager, request_name: str, route: str, more: dict[str, Any]
) -> None:
    ours = OURS[request_name]
    refused = key_requests._REFUSED if route == "POST /key/generate" else ours.NOT_OBEYED - ours.model_fields.keys()
    for name in set(FIELDS[request_name]) & refused:
        answer = await manage(route, {**more, name: "something"}, status=400)
        assert answer["error"]["param"] == name


# --- what is obeyed

#: What stops a key with these limits, or a key of whom they are set for, and with which statuses its calls are answered.
LIMITS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "max_budget": ({"max_budget": 0.0015}, [200, 422]),
    "spend": ({"max_budget": 0.0015, "spend": 0.001}, [422]),
    "budget_limits": ({"budget_limits": [{"budget_duration": "1d", "max_budget": 0.0015}]}, [200, 422]),
    "model_max_budget": ({"model_max_budget": {MODEL: {"budget_limit": 0.0015, "time_period": "1d"}}}, [200, 422]),
    "rpm_limit": ({"rpm_limit": 1}, [200, 429]),
    "tpm_limit": ({"tpm_limit": 261}, [200, 429]),
    "model_rpm_limit": ({"model_rpm_limit": {MODEL: 1}}, [200, 429]),
    "model_tpm_limit": ({"model_tpm_limit": {MODEL: 261}}, [200, 429]),
    "max_parallel_requests": ({"max_parallel_requests": 0}, [429]),
    "models": ({"models": ["other"]}, [403]),
    "blocked": ({"blocked": True}, [401]),
}
#: What is said of a key alone.
OF_A_KEY: dict[str, tuple[dict[str, Any], list[int]]] = {
    "allowed_routes": ({"allowed_routes": ["/v1/models"]}, [403]),
    "key_type": ({"key_type": "management"}, [403]),
    "budget_id": ({"budget_id": "b"}, [200, 422]),
    "team_id": ({"team_id": "poor"}, [200, 422]),
    "user_id": ({"user_id": "poor"}, [200, 422]),
    "organization_id": ({"organization_id": "poor"}, [200, 422]),
}


async def _statuses(manage: Manager, key: str, wanted: list[int]) -> list[int]:
    return [await manage.call(key) for _ in wanted]


@pytest.mark.parametrize("name", [*LIMITS, *OF_A_KEY])
async def test_what_is_set_for_a_key_holds(manage: Manager, name: str) -> None:
    for route, more in (
        ("POST /budget/new", {"budget_id": "b"}),
        ("POST /team/new", {"team_id": "poor"}),
        ("POST /user/new", {"user_id": "poor", "auto_create_key": False}),
        ("POST /organization/new", {"organization_id": "poor", "organization_alias": "poor"}),
    ):
        await manage(route, {**more, "max_budget": 0.0015})
    fields, statuses = {**LIMITS, **OF_A_KEY}[name]
    key = (await manage("POST /key/generate", fields))["key"]
    assert await _statuses(manage, key, statuses) == statuses


async def test_what_is_set_for_a_team_holds_for_its_keys(manage: Manager) -> None:
    for name, (fields, statuses) in LIMITS.items():
        team = await manage("POST /team/new", fields)
        key = (await manage("POST /key/generate", {"team_id": team["team_id"]}))["key"]
        assert await _statuses(manage, key, statuses) == statuses, name


async def test_what_is_set_for_a_user_holds_for_its_keys(manage: Manager) -> None:
    for name in LIMITS.keys() - users.UserFields.NOT_OBEYED:
        fields, statuses = LIMITS[name]
        made = await manage("POST /user/new", {"user_id": name, **fields})
        other = (await manage("POST /key/generate", {"user_id": name}))["key"]
        assert [await manage.call(made["key"]), *await _statuses(manage, other, statuses[1:])] == statuses, name


@pytest.mark.parametrize(
    "fields",
    [
        {"team_member_budget": 0.0015, "team_member_budget_duration": "1d"},
        {"team_member_rpm_limit": 1},
        {"team_member_tpm_limit": 261},
    ],
)
async def test_what_is_set_for_a_teams_members_holds_for_each(manage: Manager, fields: dict[str, Any]) -> None:
    team_id = (await manage("POST /team/new", fields))["team_id"]
    for name in ("ann", "bob"):
        await manage("POST /team/member_add", {"team_id": team_id, "member": {"role": "user", "user_id": name}})
        key = (await manage("POST /key/generate", {"team_id": team_id, "user_id": name}))["key"]
        assert await manage.call(key) == 200
        assert await manage.call(key) in (422, 429)


async def test_a_new_user_is_put_into_teams_with_a_role_and_a_budget(manage: Manager) -> None:
    for name in ("plain", "led"):
        await manage("POST /team/new", {"team_id": name})
    joined = ["plain", {"team_id": "led", "user_role": "admin", "max_budget_in_team": 0.0015}]
    made = await manage(
        "POST /user/new", {"user_id": "u", "user_role": "internal_user", "teams": joined, "key_alias": "k"}
    )
    assert (made["teams"], made["key_alias"]) == (["plain", "led"], "k")
    about = await manage("GET /team/info", team_id="led", key=made["key"])
    assert ("u", "admin") in [(one["user_id"], one["role"]) for one in about["team_info"]["members_with_roles"]]
    key = (await manage("POST /key/generate", {"team_id": "led", "user_id": "u"}))["key"]
    assert await _statuses(manage, key, [200, 422]) == [200, 422]
    await manage("POST /user/new", {"user_id": "v", "key_alias": "k"}, status=400)
    await manage("GET /user/info", user_id="v", key=made["key"], status=403)
    assert [user["user_id"] for user in (await manage("GET /user/list"))["users"]] == ["u"]


async def test_what_is_said_of_a_key_besides_limits_is_obeyed(manage: Manager) -> None:
    fields = {
        "aliases": {"mine": MODEL},
        "metadata": {"tags": ["a"]},
        "tags": ["b"],
        "duration": "1h",
        "key_alias": "one",
    }
    key = (await manage("POST /key/generate", fields))["key"]
    assert await manage.call(key, model="mine") == 200
    (row,) = await manage("GET /spend/logs", api_key=key)
    assert set(row["request_tags"]) >= {"a", "b"}
    assert row["metadata"]["user_api_key_alias"] == "one"
    manage.gateway.clock.advance(3_601)
    assert await manage.call(key) == 401
    forever = (await manage("POST /key/generate", {"duration": "-1", "soft_budget": 0.0005}))["key"]
    assert await manage.call(forever) == 200
    assert (await manage("GET /key/info", key=forever))["info"]["soft_budget_cooldown"] is True


async def test_a_budgets_period_ends_for_whoever_has_it(manage: Manager) -> None:
    limits = {"max_budget": 0.0015, "budget_duration": "1h"}
    await manage("POST /team/new", {"team_id": "t", **limits})
    own = (await manage("POST /key/generate", limits))["key"]
    keys = [
        own,
        (await manage("POST /key/generate", {"team_id": "t"}))["key"],
        (await manage("POST /user/new", {"user_id": "u", **limits}))["key"],
    ]
    for key in keys:
        assert await _statuses(manage, key, [200, 422]) == [200, 422]
    manage.gateway.clock.advance(3_600)
    for key in keys:
        assert await manage.call(key) == 200


async def test_a_key_with_the_permission_sees_what_everybody_spent_and_nothing_else(manage: Manager) -> None:
    plain = (await manage("POST /key/generate", {"permissions": {"get_spend_routes": False}}))["key"]
    made = await manage("POST /key/generate", {"permissions": {"get_spend_routes": True}})
    assert made["permissions"] == {"get_spend_routes": True}
    await manage.call(MASTER_KEY)
    for route in (
        "GET /global/spend",
        "GET /spend/logs",
        "GET /spend/keys",
        "GET /global/spend/keys",
        "GET /global/activity",
    ):
        await manage(route, key=made["key"])
        await manage(route, key=plain, status=401)
    assert len(await manage("GET /spend/logs", key=made["key"])) == 1
    for route in ("GET /user/list", "GET /key/list", "GET /audit"):
        await manage(route, key=made["key"], status=401)
    await manage("POST /global/spend/reset", key=made["key"], status=401)
    refused = await manage("POST /key/generate", {"permissions": {"allow_pii_controls": True}}, status=400)
    assert refused["error"]["param"] == "permissions"
    mere = (await manage("POST /user/new", {"user_id": "mere", "user_role": "internal_user"}))["key"]
    await manage("POST /key/generate", {"permissions": {"get_spend_routes": True}}, key=mere, status=403)


async def test_nobody_is_given_a_key_that_would_be_replaced_where_nobody_looks(manage: Manager) -> None:
    for fields in ({"auto_rotate": True, "rotation_interval": "30d"}, {"rotation_interval": "30d"}):
        message = (await manage("POST /key/generate", fields, status=400))["error"]["message"]
        assert "/key/regenerate" in message
        assert "grace_period" in message
    assert (await manage("POST /key/generate", {"auto_rotate": False}))["key"].startswith("sk-")


async def test_a_replaced_key_opens_until_its_grace_is_over_and_spends_what_the_new_one_does(manage: Manager) -> None:
    old = (await manage("POST /key/generate", {"max_budget": 0.0035}))["key"]
    new = (await manage("POST /key/regenerate", {"key": old, "grace_period": "1h"}))["key"]
    assert [await manage.call(key) for key in (old, new)] == [200, 200]
    assert (await manage("GET /key/info", key=new))["info"]["spend"] == 0.002
    manage.gateway.clock.advance(3_599)
    assert await manage.call(old) == 200
    manage.gateway.clock.advance(1)
    assert await manage.call(old) == 401
    assert await manage.call(new) == 422
    at_once = (await manage("POST /key/regenerate", {"key": new}))["key"]
    assert await manage.call(new) == 401
    assert (await manage("GET /key/info", key=at_once))["info"]["spend"] == 0.003


async def test_limits_by_model_may_stand_in_the_metadata(manage: Manager) -> None:
    limited = {"metadata": {"model_rpm_limit": {MODEL: 1}, "note": "kept"}}
    team = await manage("POST /team/new", limited)
    assert team["metadata"] == {"model_rpm_limit": {MODEL: 1}, "note": "kept"}
    keys = [
        (await manage("POST /key/generate", limited))["key"],
        (await manage("POST /key/generate", {"team_id": team["team_id"]}))["key"],
    ]
    for key in keys:
        assert await _statuses(manage, key, [200, 429]) == [200, 429]
    for route in ("POST /team/new", "POST /key/generate"):
        await manage(route, {"metadata": {"model_rpm_limit": {MODEL: "many"}}}, status=400)
