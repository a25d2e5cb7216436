"""What somebody who has a little tries to get more by: another one's keys, teams, calls; a lock that was put on him."""

from __future__ import annotations

from typing import Any

import pytest

from tollway.admin import application
from tollway.admin.dashboard import application as dashboard
from tollway.admin.dashboard.sessions import SAFE_METHODS
from tollway.testing.gateway import MASTER_KEY

from .outsider import OWN_PAGE, PASSWORD, Outsider

VIEWERS = ("internal_user_viewer", "proxy_admin_viewer")
#: What changes nothing of what `Outsider.everything` tells, or is asked for by who is not signed in.
_PASSED_OVER = {
    "POST /ui/api/session",
    "DELETE /ui/api/session",
    "POST /ui/api/password",
    "POST /ui/api/chat/completions",
}


def changing(routes: Any) -> list[application.Route]:
    return [one for one in routes if one.method not in SAFE_METHODS and f"{one.method} {one.path}" not in _PASSED_OVER]


#: A body for every route: each endpoint finds in it what it asks for, and everything it names is there.
BODY: dict[str, Any] = {
    "user_id": "victim",
    "user_ids": ["victim"],
    "user_email": "x@y.z",
    "user_role": "proxy_admin",
    "blocked": True,
    "team_id": "t",
    "team_ids": ["t"],
    "team_alias": "taken",
    "team_member_permissions": ["/key/delete"],
    "organization_id": "o",
    "organization_ids": ["o"],
    "organization_alias": "taken",
    "key": "sk-of-the-victim-0001",
    "keys": ["sk-of-the-victim-0001"],
    "key_alias": "taken",
    "max_budget": 1_000,
    "member": {"user_id": "me", "role": "admin"},
    "members": [{"user_id": "me", "role": "admin"}],
    "role": "admin",
    "models": ["large"],
    "permissions": ["/key/delete"],
    "reset_to": 0,
    "budget_id": "b",
    "name": "tag",
    "id": "x",
}
BODIES: dict[str, Any] = {
    "/key/generate": {"user_id": "me", "max_budget": 1_000},
    "/key/service-account/generate": {"team_id": "t"},
    "/key/update": {"key": "sk-of-the-victim-0001", "max_budget": 1_000},
    "/key/bulk_update": {"keys": [{"key": "sk-of-the-victim-0001", "max_budget": 7}]},
    "/key/regenerate": {"key": "sk-of-the-victim-0001", "new_key": "sk-of-the-attacker-01"},
    "/key/{key}/regenerate": {"new_key": "sk-of-the-attacker-02"},
    "/team/update": {"team_id": "t", "team_alias": "mine"},
    "/team/member_add": {"team_id": "t", "member": {"user_id": "new", "role": "admin"}},
    "/team/bulk_member_add": {"team_id": "t", "members": [{"user_id": "newer", "role": "admin"}]},
    "/team/member_delete": {"team_id": "t", "user_id": "me"},
    "/team/model/add": {"team_id": "t", "models": ["large", "small"]},
    "/team/permissions_bulk_update": {"team_ids": ["t"], "permissions": ["/key/delete", "/key/block"]},
    "/organization/update": {"organization_id": "o", "organization_alias": "mine"},
    "/customer/new": {"user_id": "customer"},
    "/customer/update": {"user_id": "customer", "blocked": True},
    "/end_user/new": {"user_id": "another customer"},
    "/end_user/update": {"user_id": "another customer", "blocked": True},
    "/tag/update": {"name": "tag", "max_budget": 7},
    "/budget/delete": {"id": "free"},
    "/end_user/delete": {"user_ids": ["another customer"]},
    "/team/new": {"team_alias": "mine"},
    "/user/new": {"user_role": "proxy_admin"},
    "/organization/new": {"organization_alias": "mine"},
    "/budget/new": {"max_budget": 1_000},
    "/tag/new": {"name": "mine"},
    "/user/update": {"user_id": "victim", "user_role": "proxy_admin", "password": "the attacker knows it"},
    "/team/member_update": {"team_id": "t", "user_id": "me", "role": "admin"},
    "/user/bulk_update": {"all_users": True, "user_updates": {"max_budget": 1}},
    "/organization/member_add": {"organization_id": "o", "member": {"user_id": "new", "role": "org_admin"}},
    "/organization/member_update": {"organization_id": "o", "user_id": "me", "role": "org_admin"},
    "/organization/member_delete": {"organization_id": "o", "user_id": "me"},
    "/credentials": {"credential_name": "mine", "credential_values": {"api_key": "k"}},
    "/credentials/{name}": {"credential_values": {"api_key": "k"}},
    "/model/new": {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "k"}},
    "/model/update": {"model_info": {"id": "x"}, "litellm_params": {"rpm": 1}},
    "/model/{id}/update": {"litellm_params": {"rpm": 1}},
    "/model/delete": {"id": "x"},
    "/invitation/new": {"user_id": "victim"},
    "/health/test_connection": {"litellm_params": {"model": "openai/m", "api_key": "k"}},
}


def address_of(route: application.Route) -> str:
    named = {"{key}": "sk-of-the-victim-0001", "{id}": "x", "{name}": "c"}
    path = route.path
    for mark, value in named.items():
        path = path.replace(mark, value)
    return f"{route.method} {path}"


@pytest.fixture
async def peopled(outsider: Outsider) -> Outsider:
    """`me` is in every team and organisation, with all that these can give."""
    await outsider.done("POST /budget/new", {"budget_id": "b", "max_budget": 1})
    await outsider.done("POST /budget/new", {"budget_id": "free", "max_budget": 1})
    await outsider.done("POST /organization/new", {"organization_id": "o", "organization_alias": "acme"})
    await outsider.done("POST /team/new", {"team_id": "t", "organization_id": "o"})
    await outsider.new_user("victim", "internal_user")
    await outsider.done("POST /key/generate", {"key": "sk-of-the-victim-0001", "user_id": "victim", "max_budget": 1})
    await outsider.done("POST /tag/new", {"name": "tag"})
    model = {"model_name": "stored", "litellm_params": {"model": "openai/m", "api_key": "k"}, "model_info": {"id": "x"}}
    await outsider.done("POST /model/new", model)
    await outsider.done("POST /credentials", {"credential_name": "c", "credential_values": {"api_key": "k"}})
    return outsider


async def in_all(outsider: Outsider) -> None:
    await outsider.done("POST /team/member_add", {"team_id": "t", "member": {"user_id": "me", "role": "admin"}})
    member = {"user_id": "me", "role": "org_admin"}
    await outsider.done("POST /organization/member_add", {"organization_id": "o", "member": member})


@pytest.mark.parametrize("role", VIEWERS)
async def test_a_viewer_changes_nothing_whatever_route_is_asked_with_key_or_cookie(
    peopled: Outsider, role: str
) -> None:
    key = await peopled.new_user("me", role)
    await in_all(peopled)
    page = await peopled.sign_in("me")
    before = await peopled.everything()
    for route in changing((*application.ROUTES, *dashboard.ROUTES)):
        body = BODIES.get(route.path, BODY)
        for asked in ({"key": key}, {"headers": page}):
            answer = await peopled.ask(address_of(route), body, **asked)
            assert answer.status < 500, (route.path, answer.body)
            assert await peopled.everything() == before, (route.path, answer.status, answer.body)
    assert peopled.gateway.upstream.requests == []


#: What asks, tries, or is done to what is not there: none of it is seen in `everything`.
QUIET = {
    *("/key/health", "/v2/key/info", "/organization/info", "/budget/info", "/tag/info", "/global/spend/end_users"),
    *("/spend/calculate", "/utils/transform_request", "/utils/token_counter", "/health/test_connection"),
    *("/invitation/new", "/invitation/update", "/invitation/delete", "/key/{key}/reset_spend", "/global/spend/reset"),
    *("/tollway/deployments/release", "/tollway/leases/release"),
}


async def test_the_same_bodies_change_something_when_an_administrator_asks(peopled: Outsider) -> None:
    """Else the test above would prove nothing."""
    await peopled.new_user("me", "internal_user")
    member = {"user_id": "me", "role": "internal_user"}
    await peopled.done("POST /organization/member_add", {"organization_id": "o", "member": member})
    await peopled.done("POST /team/member_add", {"team_id": "t", "member": {"user_id": "me", "role": "user"}})
    quiet = {}
    deletions = ("member_delete", "model/delete", "delete", "DELETE")

    def turn(route: application.Route) -> int:
        """Members go before teams, and these before their organisation."""
        return next((at + 1 for at, word in enumerate(deletions) if address_of(route).find(word) >= 0), 0)

    for route in sorted(changing(application.ROUTES), key=turn):
        before = await peopled.everything()
        answer = await peopled.ask(address_of(route), BODIES.get(route.path, BODY))
        if await peopled.everything() == before:
            quiet[route.path] = answer.body
    assert set(quiet) - {"/key/{key}/regenerate", "/key/delete"} == QUIET, quiet


@pytest.mark.parametrize("forged", ["no token", "another's token", "another site", "no origin"])
async def test_no_other_site_changes_anything_with_an_administrators_cookie(peopled: Outsider, forged: str) -> None:
    page = await peopled.sign_in(password=MASTER_KEY)
    other = await peopled.sign_in(password=MASTER_KEY)
    asking = {
        "no token": {name: value for name, value in page.items() if name != "x-tollway-csrf"},
        "another's token": {**page, "x-tollway-csrf": other["x-tollway-csrf"]},
        "another site": {**page, "sec-fetch-site": "cross-site"},
        "no origin": {name: value for name, value in page.items() if name != "sec-fetch-site"},
    }[forged]
    before = await peopled.everything()
    routes = [
        one
        for one in (*application.ROUTES, *dashboard.ROUTES)
        if one.method not in SAFE_METHODS and "{key}" not in one.path
    ]
    for route in routes:
        answer = await peopled.ask(address_of(route), BODIES.get(route.path, BODY), headers=asking)
        gone_through = route.access is application.Access.PUBLIC
        assert gone_through or answer.status == 403, (route.path, answer.status, answer.body)
        assert await peopled.everything() == before, route.path
    assert (await peopled.ask("GET /ui/api/session", headers=page)).json()["signed_in"]


async def test_an_id_that_somebody_else_chose_is_never_a_session(peopled: Outsider) -> None:
    chosen = "tollway_session=an-id-that-the-attacker-knows-00000000000000"
    answer = await peopled.ask("POST /ui/api/session", {"password": MASTER_KEY}, headers={**OWN_PAGE, "cookie": chosen})
    assert chosen not in answer.headers["set-cookie"]
    assert not (await peopled.ask("GET /ui/api/session", headers={"cookie": chosen})).json()["signed_in"]
    page = await peopled.sign_in(password=MASTER_KEY)
    await peopled.new_user("me", "internal_user")
    signed = await peopled.ask("POST /ui/api/session", {"user": "me", "password": PASSWORD}, headers=page)
    assert signed.status == 200
    assert (await peopled.ask("GET /user/list", headers=page)).status == 401  # who was there before is not any more


async def test_a_key_that_was_blocked_is_not_opened_again_by_who_has_it(peopled: Outsider) -> None:
    mine = await peopled.new_user("me", "internal_user")
    other = (await peopled.done("POST /key/generate", {"key_alias": "second"}, key=mine))["key"]
    page = await peopled.sign_in("me")
    await peopled.done("POST /key/block", {"key": other})
    for route, body in (
        ("POST /key/unblock", {"key": other}),
        ("POST /key/update", {"key": other, "blocked": False}),
        ("POST /key/regenerate", {"key": other, "blocked": False}),
    ):
        for asked in ({"key": mine}, {"headers": page}):
            answer = await peopled.ask(route, body, **asked)
            assert answer.status == 403, (route, answer.body)
    assert (await peopled.gateway.ask(key=other)).status == 401
    again = await peopled.done("POST /key/regenerate", {"key": other}, key=mine)
    assert (await peopled.gateway.ask(key=again["key"])).status == 401  # a new text for a closed door
    await peopled.done("POST /key/unblock", {"key": again["key"]})
    assert (await peopled.gateway.ask(key=again["key"])).status == 200


async def test_a_teams_member_unblocks_its_keys_only_where_the_team_permits_that(peopled: Outsider) -> None:
    mine = await peopled.new_user("me", "internal_user")
    await peopled.done("POST /team/member_add", {"team_id": "t", "member": {"user_id": "me", "role": "user"}})
    permit = {"team_id": "t", "team_member_permissions": ["/key/update", "/key/regenerate"]}
    await peopled.done("POST /team/permissions_update", permit)
    of_team = (await peopled.done("POST /key/generate", {"team_id": "t"}))["key"]
    await peopled.done("POST /key/block", {"key": of_team})
    for path in ("update", "regenerate"):
        answer = await peopled.ask(f"POST /key/{path}", {"key": of_team, "blocked": False}, key=mine)
        assert answer.status == 403, answer.body
    permit["team_member_permissions"] = ["/key/update", "/key/unblock"]
    await peopled.done("POST /team/permissions_update", permit)
    await peopled.done("POST /key/update", {"key": of_team, "blocked": False}, key=mine)
    assert (await peopled.gateway.ask(key=of_team)).status == 200


async def test_a_team_admin_makes_no_key_in_the_name_of_who_is_not_in_the_team(peopled: Outsider) -> None:
    mine = await peopled.new_user("me", "internal_user")
    await in_all(peopled)
    answer = await peopled.ask("POST /key/generate", {"team_id": "t", "user_id": "victim"}, key=mine)
    assert answer.status == 403, answer.body
    await peopled.done("POST /team/member_add", {"team_id": "t", "member": {"user_id": "victim"}}, key=mine)
    await peopled.done("POST /key/generate", {"team_id": "t", "user_id": "victim"}, key=mine)


async def test_what_others_spent_in_a_session_of_the_same_name_stays_theirs(peopled: Outsider) -> None:
    mine = await peopled.new_user("me", "internal_user")
    session = {"x-litellm-session-id": "shared-name"}
    assert (await peopled.gateway.ask(key="sk-of-the-victim-0001", headers=session)).status == 200
    assert (await peopled.gateway.ask(key=mine, headers=session, max_tokens=250)).status == 200
    (row,) = (await peopled.done("GET /spend/logs/ui", key=mine))["data"]
    assert (row["session_total_count"], row["user"]) == (1, "me")
    rows = (await peopled.done("GET /spend/logs/ui"))["data"]
    assert {row["session_total_count"] for row in rows} == {2}


@pytest.mark.parametrize("asking", ["key", "cookie"])
async def test_nobody_sees_another_ones_call_user_key_or_team(peopled: Outsider, asking: str) -> None:
    key = await peopled.new_user("me", "internal_user")
    answered = await peopled.gateway.ask(key="sk-of-the-victim-0001", user="the victims customer")
    call = answered.headers["x-litellm-call-id"]
    await peopled.done("POST /team/new", {"team_id": "theirs", "team_alias": "the victims team"})
    asked: dict[str, Any] = {"key": key} if asking == "key" else {"headers": await peopled.sign_in("me")}
    days = {"start_date": "2026-01-01", "end_date": "2027-12-31"}
    for route, query in (
        ("GET /key/info", {"key": "sk-of-the-victim-0001"}),
        ("GET /key/list", {"user_id": "victim"}),
        ("GET /key/list", {"return_full_object": "true", "include_created_by_keys": "true"}),
        ("GET /user/info", {"user_id": "victim"}),
        ("GET /team/info", {"team_id": "theirs"}),
        ("GET /team/list", {}),
        ("GET /v2/team/list", {}),
        ("GET /organization/info", {"organization_id": "o"}),
        ("GET /spend/logs", {"request_id": call}),
        ("GET /spend/logs", {"user_id": "victim"}),
        ("GET /spend/logs/v2", {"end_user": "the%20victims%20customer"}),
        ("GET /spend/logs/v2", {"request_id": call}),
        (f"GET /spend/logs/ui/{call}", {}),
        ("GET /spend/keys", {}),
        ("GET /spend/users", {"user_id": "victim"}),
        ("GET /user/daily/activity", {"user_id": "victim", **days}),
        ("GET /team/daily/activity", {"team_ids": "theirs", **days}),
        ("GET /team/daily/activity", days),
        ("GET /organization/daily/activity", {"organization_ids": "o", **days}),
        ("GET /ui/api/logs", {"user": "victim"}),
        ("GET /ui/api/logs", {"end_user": "the%20victims%20customer"}),
        (f"GET /ui/api/logs/{call}", {}),
        ("GET /ui/api/spend", {"user_id": "victim"}),
        ("GET /ui/api/spend", {"end_user": "the%20victims%20customer"}),
        ("GET /ui/api/spend", {"team_id": "theirs"}),
        ("GET /ui/api/overview", {}),
        ("GET /ui/api/shares", {"by": "end_user"}),
        ("GET /audit", {}),
        ("GET /config/effective", {}),
        ("GET /tollway/state", {}),
        ("GET /tollway/deployments", {}),
        ("GET /credentials", {}),
        ("GET /invitation/info", {"invitation_id": "x"}),
    ):
        answer = await peopled.ask(route, **asked, query=query)
        assert answer.status < 500, (route, answer.body)
        told = answer.body.replace(b"victim'", b"").replace(b'"victim"}', b"")
        assert answer.status in (401, 403, 404) or b"victim" not in told, (route, query, answer.body)
        assert b"theirs" not in answer.body or answer.status != 200, (route, answer.body)
