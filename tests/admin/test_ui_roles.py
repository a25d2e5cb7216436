"""What each role may do, whoever asks and by whatever path: the decision table, held route by route.

A user who is signed in is judged as a key of that user's is, so each question is put both ways.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import msgpack

from tollway.admin import Principal, application, roles
from tollway.admin.dashboard import application as dashboard
from tollway.admin.roles import Access, judge
from tollway.calls import Secret, Usage
from tollway.config.settings import AccessSettings, Config
from tollway.errors import Unauthenticated
from tollway.ledger.record import CallRecord
from tollway.storage import KeyRecord
from tollway.storage.people import KINDS, Member, Organization, Team
from tollway.storage.record import encode_record
from tollway.testing.storage import MemoryStorage

from .office import MASTER_KEY, FakeOffice
from .people import Browser, new_user

ROUTES = (*application.ROUTES, *dashboard.ROUTES)
#: Who may call a route at all, by what the route says. What those who may see and change there is tried below.
TABLE = {
    Access.PUBLIC: {"anybody", "no role", *roles.USER_ROLES},
    Access.KEY: {"no role", *roles.USER_ROLES},
    Access.OWN: {*roles.USER_ROLES},
    Access.OWN_SPEND: {*roles.USER_ROLES},
    Access.VIEWER: {"proxy_admin", "proxy_admin_viewer"},
    Access.SPEND: {"proxy_admin", "proxy_admin_viewer"},
    Access.ADMIN: {"proxy_admin"},
}
LOOKING = ("internal_user_viewer", "proxy_admin_viewer")
#: Routes that ask and change nothing, although they are not GETs.
ASKING = frozenset(
    {
        *("POST /v2/key/info", "POST /key/health", "POST /organization/info", "POST /budget/info", "POST /tag/info"),
        *(
            "POST /spend/calculate",
            "POST /utils/token_counter",
            "POST /utils/transform_request",
            "POST /ui/api/invitation",
        ),
        "POST /global/spend/end_users",
        *("POST /ui/api/session", "DELETE /ui/api/session", "POST /ui/api/invitation/accept"),
        "POST /ui/api/password",  # the own one, with the old one
        "POST /ui/api/chat/completions",  # in one's own name
    }
)


@pytest.mark.parametrize("route", ROUTES, ids=lambda one: f"{one.method} {one.path}")
@pytest.mark.parametrize("role", ["no role", *roles.USER_ROLES])
def test_each_route_lets_in_whom_the_table_says(route: application.Route, role: str) -> None:
    spoken = "" if role == "no role" else role
    record = KeyRecord(token=b"", key_name="", user_id="ada")
    for principal in (Principal("key", record, spoken), Principal("user", role=spoken, user="ada")):
        allowed = role in TABLE[route.access]
        try:
            judge(route.access, principal, route.path)
        except Unauthenticated:
            assert not allowed
        else:
            assert allowed


@pytest.mark.parametrize("access", Access)
def test_the_master_key_may_call_every_route(access: Access) -> None:
    judge(access, Principal("master"), "/")


def test_what_changes_something_for_everybody_is_for_administrators_alone() -> None:
    """Routes that change something and let others in than administrators: each was thought about, and is tried below."""
    found = {
        f"{one.method} {one.path}"
        for one in ROUTES
        if one.method != "GET" and one.access is not Access.ADMIN and f"{one.method} {one.path}" not in ASKING
    }
    assert {name.split()[1].split("/")[1] for name in found} <= {"key", "team", "organization"}


# --- a gateway with people in it


@pytest.fixture
def office(tmp_path: Path) -> FakeOffice:
    office = FakeOffice(Config(access=AccessSettings(master_key=Secret(MASTER_KEY))))
    office.data_folder = tmp_path
    return office


def token(name: str) -> bytes:
    return name.encode().ljust(32, b".")


@pytest.fixture
async def peopled(office: FakeOffice) -> FakeOffice:
    """`me` is a member of everything, and administrator of the team and the organisation; `other` is somebody else."""
    people, keys = office.storage.people, office.storage.keys
    await people.teams.create(Team(id="t1", members=(Member(user_id="me", role="admin"),), organization_id="o1"))
    await people.teams.create(Team(id="t2", members=(Member(user_id="other"),)))
    await people.organizations.create(Organization(id="o1", members=(Member(user_id="me", role="org_admin"),)))
    for name, user_id, team_id in (
        ("mine", "me", None),
        ("team's", "other", "t1"),
        ("other's", "other", None),
        ("other team's", "other", "t2"),
    ):
        record = KeyRecord(token=token(name), key_name="sk-...", key_alias=name, user_id=user_id, team_id=team_id)
        await keys.create(record)
    for seq, user in enumerate(("me", "other"), 1):
        call = CallRecord(
            epoch=1,
            seq=seq,
            started_us=round(office.clock.timestamp() * 1e6),
            ended_us=round(office.clock.timestamp() * 1e6) + 1,
            key=token("mine" if user == "me" else "other's"),
            user_id=user,
            model="gpt-4o",
            model_group=f"asked-by-{user}",
            request_id=f"request-of-{user}",
            usage=Usage(input=10, output=1),
            tags=(f"tag-of-{user}",),
        )
        await office.storage.spend.ingest([(call, encode_record(call))])
    return office


async def everything(storage: MemoryStorage) -> bytes:
    """All that is stored but for sessions and who looked at what."""
    people = [await getattr(storage.people, kind).all() for kind in KINDS]
    keys = sorted(await storage.keys.load_all(), key=lambda one: one.token)
    return msgpack.encode([people, keys, sorted(await storage.sign_ins.users_with_password())])


def body_for(path: str) -> dict[str, Any]:
    """Something that would change what is there, for whoever might."""
    return {
        "key": token("mine").hex(),
        "keys": [token("mine").hex(), token("team's").hex()],
        "key_alias": "changed",
        "team_id": "t1",
        "team_ids": ["t1"],
        "team_alias": "changed",
        "user_id": "me",
        "user_ids": ["me"],
        "user_role": "proxy_admin",
        "organization_id": "o1",
        "organization_ids": ["o1"],
        "member": {"user_id": "me", "role": "org_admin" if "organization" in path else "admin"},
        "role": "admin",
        "models": ["gpt-4o"],
        "team_member_permissions": ["/key/generate"],
        "max_budget": 1000,
    }


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", token("mine").hex(), path)


@pytest.mark.parametrize("role", LOOKING)
async def test_a_viewer_changes_nothing_by_whatever_route(peopled: FakeOffice, role: str) -> None:
    """Even one who administrates a team and an organisation."""
    await new_user(peopled, "me", role)
    browser = Browser(peopled)
    assert (await browser.sign_in("me")).status_code == 200
    before = await everything(peopled.storage)
    tried = 0
    for route in ROUTES:
        if route.method == "GET" or f"{route.method} {route.path}" in ASKING:
            continue
        full, path = body_for(route.path), filled(route.path)
        for body in (full, {"key": full["key"], "team_id": "t1"}, {"user_id": "me"}, {}):
            answer = await browser.send(route.method, path, body)
            assert answer.status_code in (400, 401, 403, 404, 405, 422), (route, answer.status_code, answer.text)
        tried += 1
        assert await everything(peopled.storage) == before, route
    assert tried > 60
    await browser.client.aclose()


@pytest.mark.parametrize("role", ["internal_user", "internal_user_viewer", "org_admin"])
async def test_who_may_see_what_is_his_sees_no_one_elses(peopled: FakeOffice, role: str) -> None:
    await new_user(peopled, "me", role)
    browser = Browser(peopled)
    await browser.sign_in("me")
    overview = await browser.get("/ui/api/overview")
    assert overview.status_code == 200
    assert "asked-by-me" in overview.text
    assert [one["name"] for one in overview.json()["keys"]] == [token("mine").hex()]
    logs = await browser.get("/ui/api/logs")
    assert [one["model_group"] for one in logs.json()["calls"]] == ["asked-by-me"]
    (mine,) = logs.json()["calls"]
    assert (await browser.get(f"/ui/api/logs/{mine['id']}")).status_code == 200
    others = Browser(peopled)
    await others.sign_in(None, MASTER_KEY)
    seen = (await others.get("/ui/api/logs")).json()["calls"]
    (foreign,) = [one for one in seen if one["model_group"] == "asked-by-other"]
    assert (await browser.get(f"/ui/api/logs/{foreign['id']}")).status_code == 404
    for query in ({"key": token("other's").hex()}, {"model": "asked-by-other"}, {"tag": "tag-of-other"}):
        assert (await browser.get("/ui/api/logs", **query)).json()["calls"] == []
    assert (await browser.get("/ui/api/logs", user="other")).status_code == 403
    for path in ("/user/info?user_id=other", "/key/info?key=" + token("other's").hex(), "/team/info?team_id=t2"):
        assert (await browser.get(path)).status_code in (401, 403, 404), path
    for one in (browser, others):
        await one.client.aclose()


@pytest.mark.parametrize("role", ["internal_user", "internal_user_viewer"])
async def test_no_question_answers_with_somebody_elses_call_or_key(peopled: FakeOffice, role: str) -> None:
    """Every GET there is, and each other question that changes nothing."""
    await new_user(peopled, "me", role)
    browser = Browser(peopled)
    await browser.sign_in("me")
    for route in ROUTES:
        if route.path in ("/ui/api/live", "/openapi.json") or "{page" in route.path:
            continue
        if route.method == "GET":
            answer = await browser.get(filled(route.path), start_date="2026-11-01", end_date="2026-12-01")
        elif f"{route.method} {route.path}" in ASKING and "/ui/" not in route.path:
            answer = await browser.send(route.method, filled(route.path), body_for(route.path))
        else:
            continue
        assert answer.status_code < 500, (route, answer.text)
        for secret in ("asked-by-other", "request-of-other", "tag-of-other", "other team's", token("other's").hex()):
            assert secret not in answer.text, route
    await browser.client.aclose()


async def test_the_live_log_tells_a_user_of_his_own_calls_alone(peopled: FakeOffice) -> None:
    from tollway.admin.dashboard.live import LiveLog

    live = LiveLog(peopled)
    for row in await peopled.storage.spend.page(_all(), limit=10):
        live.tell(_record(row.detail))
    mine, _ = live._since(0, "me")
    everybodys, _ = live._since(0, None)
    assert b"asked-by-me" in mine
    assert b"asked-by-other" not in mine
    assert b"asked-by-other" in everybodys


def _all() -> Any:
    from tollway.storage import SpendFilter

    return SpendFilter()


def _record(detail: bytes) -> CallRecord:
    from tollway.ledger.record import decode_record

    return decode_record(detail)


async def test_an_internal_user_makes_and_changes_keys_of_his_own_alone(peopled: FakeOffice) -> None:
    await new_user(peopled, "me", "internal_user")
    browser = Browser(peopled)
    await browser.sign_in("me")
    made = await browser.post("/key/generate", {"key_alias": "new"})
    assert made.status_code == 200
    assert made.json()["user_id"] == "me"
    assert (await browser.post("/key/generate", {"user_id": "other"})).status_code == 403
    assert (await browser.post("/key/update", {"key": token("mine").hex(), "rpm_limit": 5})).status_code == 200
    for key in ("other's", "other team's"):
        answer = await browser.post("/key/update", {"key": token(key).hex(), "rpm_limit": 5})
        assert answer.status_code in (401, 403, 404), key
        assert (await browser.post("/key/delete", {"keys": [token(key).hex()]})).status_code in (401, 403, 404), key
    assert (await browser.post("/ui/api/session/link")).status_code == 401
    assert (await browser.post("/invitation/new", {"user_id": "other"})).status_code == 401
    assert (await browser.post("/user/update", {"user_id": "me", "user_role": "proxy_admin"})).status_code == 401


async def test_a_proxy_admin_by_role_may_do_what_the_master_key_may_but_make_its_links(peopled: FakeOffice) -> None:
    await new_user(peopled, "me", "proxy_admin")
    browser = Browser(peopled)
    await browser.sign_in("me")
    assert (await browser.get("/user/list")).status_code == 200
    assert (await browser.post("/user/new", {"user_id": "new"})).status_code == 200
    assert (await browser.post("/ui/api/session/link")).status_code == 403
