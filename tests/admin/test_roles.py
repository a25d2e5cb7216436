"""What each role may do, decided by the gateway and by nobody who asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tollway.admin.application import ROUTES
from tollway.admin.roles import USER_ROLES, Access
from tollway.policies.authenticate import INFO_ROUTES, _route_allowed
from tollway.testing.gateway import SmallGateway, chat_reply

from .test_people import Manager


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    """A team `t` in the organisation `o`, one user of each role, a team admin and a plain member."""
    async with SmallGateway(tmp_path) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        manage = Manager(gateway)
        await manage("POST /organization/new", {"organization_id": "o", "organization_alias": "acme"})
        await manage("POST /team/new", {"team_id": "t", "organization_id": "o"})
        await manage("POST /team/new", {"team_id": "foreign"})
        for role in USER_ROLES:
            await manage("POST /user/new", {"user_id": role, "user_role": role, "auto_create_key": False})
        await manage("POST /user/new", {"user_id": "boss", "user_role": "internal_user", "auto_create_key": False})
        await manage("POST /user/new", {"user_id": "nobody", "auto_create_key": False})
        await manage(
            "POST /organization/member_add",
            {"organization_id": "o", "member": {"role": "org_admin", "user_id": "org_admin"}},
        )
        members = [
            {"role": "admin", "user_id": "boss"},
            {"role": "user", "user_id": "internal_user"},
            {"role": "user", "user_id": "internal_user_viewer"},
        ]
        await manage("POST /team/member_add", {"team_id": "t", "member": members})
        yield manage


async def key_of(manage: Manager, user_id: str, **fields: object) -> str:
    made = await manage("POST /key/generate", {"user_id": user_id, **fields})
    return str(made["key"])


@pytest.mark.parametrize("role", [*USER_ROLES, "nobody"])
async def test_each_route_is_open_to_whom_its_access_says(manage: Manager, role: str) -> None:
    key = await key_of(manage, role)
    may = {
        Access.ADMIN: role == "proxy_admin",
        Access.VIEWER: role in ("proxy_admin", "proxy_admin_viewer"),
        Access.OWN: role != "nobody",
    }
    for route in ROUTES:
        if route.access not in may or route.path == "/health":
            continue
        path = route.path.replace("{key}", "sk-x").replace("{id}", "1").replace("{name}", "x")
        answer = await manage.asked(f"{route.method} {path}", {} if route.method != "GET" else None, key=key)
        refused = answer.status == 401 and b"Only proxy admin can be used" in answer.body
        # Whoever has a role that makes no keys is refused by the endpoint, in the same words.
        if route.path in ("/key/generate", "/key/service-account/generate") and role.endswith("viewer"):
            continue
        assert refused is not may[route.access], (path, answer.body)


async def test_a_role_opens_nothing_to_a_key_that_is_kept_to_calls(manage: Manager) -> None:
    key = await key_of(manage, "proxy_admin", key_type="llm_api")
    assert (await manage.asked("GET /key/list", key=key)).status == 403
    assert await manage.call(key) == 200


async def test_an_internal_user_makes_sees_and_changes_its_own_keys_and_no_others(manage: Manager) -> None:
    mine, other = await key_of(manage, "internal_user"), await key_of(manage, "boss")
    made = await manage("POST /key/generate", {"key_alias": "second"}, key=mine)
    assert made["user_id"] == "internal_user"
    assert made["created_by"] == "internal_user"
    await manage("POST /key/generate", {"user_id": "boss"}, key=mine, status=403)
    for field, value in (("spend", 0.5), ("organization_id", "o"), ("budget_id", "b")):
        await manage("POST /key/generate", {field: value}, key=mine, status=403)
        await manage("POST /key/update", {"key": made["key"], field: value}, key=mine, status=403)
    for field in ("user_id", "team_id"):
        await manage("POST /key/update", {"key": made["key"], field: "t"}, key=mine, status=403)
        await manage("POST /key/regenerate", {"key": made["key"], field: None}, key=mine, status=403)
    assert (await manage("POST /key/update", {"key": made["key"], "max_budget": 1}, key=mine))["max_budget"] == 1.0
    listed = await manage("GET /key/list", key=mine)
    assert listed["total_count"] == 2
    await manage("GET /key/list", key=mine, user_id="boss", status=403)
    shown = await manage.gateway.ask(key=mine, path="/key/info", method="GET", query=f"key={other}".encode(), body=b"")
    assert shown.status == 403
    for path in ("update", "block", "unblock", "regenerate"):
        await manage(f"POST /key/{path}", {"key": other, "max_budget": 9}, key=mine, status=404)
    await manage("POST /key/delete", {"keys": [other]}, key=mine, status=404)
    assert await manage.call(other) == 200
    await manage("POST /key/delete", {"keys": [made["key"]]}, key=mine)


async def test_who_may_only_look_changes_nothing(manage: Manager) -> None:
    for role in ("proxy_admin_viewer", "internal_user_viewer"):
        key = await key_of(manage, role)
        own = await key_of(manage, role)
        await manage("POST /key/generate", {}, key=key, status=401)
        for path in ("update", "block", "regenerate"):
            assert (await manage.asked(f"POST /key/{path}", {"key": own}, key=key)).status == 403
        for route, body in (
            ("POST /team/update", {"team_id": "t", "team_alias": "x"}),
            ("POST /team/member_add", {"team_id": "t", "member": {"user_id": "x"}}),
            ("POST /team/delete", {"team_ids": ["t"]}),
            (
                "POST /organization/member_add",
                {"organization_id": "o", "member": {"user_id": "x", "role": "org_admin"}},
            ),
        ):
            assert (await manage.asked(route, body, key=key)).status == 403, route


async def test_a_viewer_of_everything_sees_everything(manage: Manager) -> None:
    key = await key_of(manage, "proxy_admin_viewer")
    assert len(await manage("GET /team/list", key=key)) == 2
    assert (await manage("GET /user/list", key=key))["total"] == 7
    assert (await manage("GET /key/list", key=key))["total_count"] == 1
    await manage("GET /user/info", key=key, user_id="boss")
    await manage("GET /audit", key=key)


async def test_an_internal_user_sees_its_own_teams_user_and_spend(manage: Manager) -> None:
    key = await key_of(manage, "internal_user")
    assert [team["team_id"] for team in await manage("GET /team/list", key=key)] == ["t"]
    await manage("GET /team/info", key=key, team_id="foreign", status=404)
    assert (await manage("GET /user/info", key=key))["user_id"] == "internal_user"
    await manage("GET /user/info", key=key, user_id="boss", status=403)
    days = {"start_date": "2026-11-20", "end_date": "2026-11-23"}
    await manage("GET /user/daily/activity", key=key, user_id="boss", **days, status=403)
    await manage("GET /team/daily/activity", key=key, team_ids="t", **days, status=403)
    await manage("POST /team/permissions_update", {"team_id": "t", "team_member_permissions": ["/team/daily/activity"]})
    await manage("GET /team/daily/activity", key=key, team_ids="t", **days)
    await manage("GET /team/daily/activity", key=key, team_ids="t,foreign", **days, status=403)
    assert await manage("GET /organization/list", key=key) == []


async def test_a_member_may_with_its_teams_keys_what_the_team_permits(manage: Manager) -> None:
    key = await key_of(manage, "internal_user")
    of_team = await key_of(manage, "boss", team_id="t")
    await manage("POST /key/generate", {"team_id": "t"}, key=key, status=403)
    await manage("POST /key/update", {"key": of_team, "key_alias": "x"}, key=key, status=404)
    await manage(
        "POST /team/permissions_update",
        {"team_id": "t", "team_member_permissions": ["/key/generate", "/key/info", "/key/update", "/key/list"]},
    )
    made = await manage("POST /key/generate", {"team_id": "t"}, key=key)
    assert (made["team_id"], made["user_id"]) == ("t", "internal_user")
    await manage("POST /key/generate", {"team_id": "t", "user_id": "boss"}, key=key, status=403)
    await manage("POST /key/generate", {"team_id": "foreign"}, key=key, status=403)
    await manage("POST /key/update", {"key": of_team, "key_alias": "x"}, key=key)
    await manage("POST /key/block", {"key": of_team}, key=key, status=403)
    assert (await manage("GET /key/list", key=key, team_id="t"))["total_count"] == 2


async def test_nobody_takes_a_key_out_of_its_team(manage: Manager) -> None:
    await manage(
        "POST /team/permissions_update", {"team_id": "t", "team_member_permissions": ["/key/update", "/key/regenerate"]}
    )
    key = await key_of(manage, "internal_user", team_id="t")
    for path in ("update", "regenerate"):
        for value in (None, "foreign"):
            await manage(f"POST /key/{path}", {"key": key, "team_id": value}, key=key, status=403)
    await manage("POST /key/update", {"key": key, "team_id": "t", "key_alias": "x"}, key=key)


async def test_a_user_who_is_made_anew_has_none_of_the_roles_of_the_one_before(manage: Manager) -> None:
    await manage("POST /user/delete", {"user_ids": ["org_admin", "boss"]})
    for name in ("org_admin", "boss"):
        await manage("POST /user/new", {"user_id": name, "user_role": "internal_user", "auto_create_key": False})
        key = await key_of(manage, name)
        await manage("POST /team/update", {"team_id": "t", "team_alias": "x"}, key=key, status=403)


async def test_a_team_admin_says_who_is_in_the_team_and_not_what_it_may_spend(manage: Manager) -> None:
    key = await key_of(manage, "boss")
    await manage("POST /team/member_add", {"team_id": "t", "member": {"user_id": "new"}}, key=key)
    await manage("POST /team/member_update", {"team_id": "t", "user_id": "new", "max_budget_in_team": 1}, key=key)
    await manage("POST /team/member_delete", {"team_id": "t", "user_id": "new"}, key=key)
    await manage("POST /team/update", {"team_id": "t", "team_alias": "ours"}, key=key)
    for field, value in (
        *(("max_budget", 5), ("max_budget", None), ("models", ["small"]), ("tpm_limit", 1), ("spend", 0)),
        *(("organization_id", None), ("blocked", False), ("model_aliases", {"a": "b"}), ("budget_limits", [])),
    ):
        await manage("POST /team/update", {"team_id": "t", field: value}, key=key, status=403)
    await manage("POST /team/model/add", {"team_id": "t", "models": ["x"]}, key=key, status=403)
    await manage("POST /team/delete", {"team_ids": ["t"]}, key=key, status=403)
    await manage("POST /team/new", {"team_id": "mine"}, key=key, status=403)
    await manage("POST /team/update", {"team_id": "foreign", "team_alias": "ours"}, key=key, status=403)
    made = await manage("POST /key/generate", {"team_id": "t", "user_id": "internal_user"}, key=key)
    await manage("POST /key/block", {"key": made["key"]}, key=key)
    assert await manage.call(made["key"]) == 401


async def test_an_org_admin_rules_its_teams_and_none_besides(manage: Manager) -> None:
    key = await key_of(manage, "org_admin")
    await manage("POST /team/new", {"team_id": "ours", "organization_id": "o", "max_budget": 5}, key=key)
    await manage("POST /team/update", {"team_id": "t", "max_budget": 5}, key=key)
    await manage("POST /team/update", {"team_id": "t", "organization_id": None}, key=key, status=403)
    await manage("POST /team/new", {"team_id": "free"}, key=key, status=403)
    await manage("POST /team/update", {"team_id": "foreign", "organization_id": "o"}, key=key, status=403)
    await manage("POST /team/delete", {"team_ids": ["ours"]}, key=key)
    assert [one["organization_id"] for one in await manage("GET /organization/list", key=key)] == ["o"]
    await manage(
        "POST /organization/member_add",
        {"organization_id": "o", "member": {"role": "internal_user", "user_id": "boss"}},
        key=key,
    )
    await manage("PATCH /organization/update", {"organization_id": "o", "max_budget": 9}, key=key, status=401)
    made = await manage("POST /key/generate", {"team_id": "t"}, key=key)
    assert made["team_id"] == "t"


async def test_a_role_is_in_force_and_gone_when_its_answer_is_sent(manage: Manager) -> None:
    key = await key_of(manage, "nobody")
    await manage("GET /user/list", key=key, status=401)
    await manage("POST /user/update", {"user_id": "nobody", "user_role": "proxy_admin"})
    await manage("GET /user/list", key=key)
    await manage("POST /user/update", {"user_id": "nobody", "user_role": None})
    await manage("GET /user/list", key=key, status=401)


async def test_nobody_makes_itself_more_than_it_is(manage: Manager) -> None:
    for role in ("internal_user", "org_admin", "internal_user_viewer", "proxy_admin_viewer"):
        key = await key_of(manage, role)
        await manage("POST /user/update", {"user_id": role, "user_role": "proxy_admin"}, key=key, status=401)
        await manage("POST /user/new", {"user_id": "x", "user_role": "proxy_admin"}, key=key, status=401)
    key = await key_of(manage, "org_admin")
    await manage("POST /key/generate", {"user_id": "proxy_admin"}, key=key, status=403)


async def test_a_key_of_somebody_elses_gives_nobody_his_role(manage: Manager) -> None:
    boss = await key_of(manage, "boss")
    await manage("POST /team/member_add", {"team_id": "t", "member": {"user_id": "proxy_admin"}}, key=boss)
    made = await manage("POST /key/generate", {"user_id": "proxy_admin", "team_id": "t"}, key=boss)
    theirs = await key_of(manage, "proxy_admin", team_id="t")
    assert (await manage.asked("GET /user/list", key=theirs)).status == 200
    taken = await manage("POST /key/regenerate", {"key": theirs}, key=boss)
    for key in (made["key"], taken["key"]):
        await manage("GET /user/list", key=key, status=401)
        await manage("GET /key/list", key=key, status=401)
        await manage("POST /key/update", {"key": key, "allowed_routes": []}, key=key, status=401)
        assert await manage.call(key) == 200
    again = await manage("POST /key/regenerate", {"key": taken["key"]})
    await manage("GET /user/list", key=again["key"], status=401)


def test_a_key_that_is_kept_to_calls_reaches_no_route_that_asks_for_a_role() -> None:
    for route in ROUTES:
        if route.access not in (Access.PUBLIC, Access.KEY):
            assert not _route_allowed(("llm_api_routes",), route.path), route.path
            assert _route_allowed(("management_routes",), route.path), route.path


#: What `allowed_routes` says, and of some paths whether a proxy admin's key with that may call them.
ALLOWED: dict[str, tuple[str, str]] = {
    "llm_api_routes": (
        "POST /v1/chat/completions, GET /v1/models, POST /utils/token_counter",
        "GET /key/info, GET /spend/logs, POST /key/generate, GET /health, GET /config/effective, GET /ui/api/overview",
    ),
    "management_routes": (
        "GET /key/info, GET /spend/logs, POST /key/generate, GET /team/list, GET /audit, GET /credentials",
        "POST /v1/chat/completions, GET /v1/models, POST /v1/messages, POST /utils/token_counter",
    ),
    "info_routes": (
        "GET /key/info, GET /key/list, GET /v1/models, GET /model/info, GET /team/list, GET /user/info",
        "POST /v1/chat/completions, POST /key/generate, GET /spend/logs, GET /audit",
    ),
    "/v1/chat/completions": ("POST /v1/chat/completions", "POST /chat/completions, GET /v1/models, GET /key/info"),
    "/v1/*": ("POST /v1/chat/completions, GET /v1/models", "POST /chat/completions, GET /key/info"),
    "/key/*": ("GET /key/info, POST /key/generate", "GET /team/list, POST /v1/chat/completions"),
}


@pytest.mark.parametrize("allowed", ALLOWED)
async def test_allowed_routes_opens_what_it_names_to_whoever_may_go_there(manage: Manager, allowed: str) -> None:
    await manage("POST /user/new", {"user_id": "root", "user_role": "proxy_admin", "auto_create_key": False})
    key = (await manage("POST /key/generate", {"user_id": "root", "allowed_routes": [allowed]}))["key"]
    for routes, is_open in zip(ALLOWED[allowed], (True, False), strict=True):
        for route in routes.split(", "):
            answer = await manage.asked(route, {}, key=key)
            kept_out = answer.status == 403 and "not allowed to call this route" in answer.body.decode()
            assert kept_out is not is_open, (route, answer.body)


async def test_a_role_opens_no_more_than_the_keys_routes_and_the_routes_no_more_than_the_role(manage: Manager) -> None:
    await manage("POST /user/new", {"user_id": "mere", "user_role": "internal_user", "auto_create_key": False})
    key = (await manage("POST /key/generate", {"user_id": "mere", "allowed_routes": ["management_routes"]}))["key"]
    await manage("GET /user/list", key=key, status=401)
    await manage("POST /team/new", {}, key=key, status=403)
    await manage("GET /user/info", key=key)


def test_every_path_that_tells_of_things_is_served_or_one_of_the_data_planes() -> None:
    served = {route.path for route in ROUTES} | {"/models", "/v1/models"}
    of_others = {"/v2/user/info", "/v2/model/info"}  # LiteLLM has these too
    assert served | of_others >= INFO_ROUTES
