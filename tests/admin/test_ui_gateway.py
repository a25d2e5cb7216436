"""The dashboard in front of a whole gateway: the playground's calls, and who hears of calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tollway.admin.dashboard.sessions import COOKIE
from tollway.admin.passwords import hash_of
from tollway.storage.people import Limits, Member, Team, User
from tollway.testing.gateway import MASTER_KEY, MODEL, Answer, SmallGateway, chat_reply, chat_stream

OWN = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
CHAT = msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True})


async def signed_in(gateway: SmallGateway) -> dict[str, str]:
    """The headers of somebody who is signed in."""
    body = msgspec.json.encode({"password": MASTER_KEY})
    answer = await gateway.ask(path="/ui/api/session", key=None, headers=OWN, body=body)
    assert answer.status == 200, answer.body
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith(f"{COOKIE}=")
    return {**OWN, "cookie": cookie, "x-tollway-csrf": answer.json()["csrf"]}


async def play(gateway: SmallGateway, headers: dict[str, str], **more: Any) -> Answer:
    return await gateway.ask(path="/ui/api/chat/completions", key=None, headers=headers, body=CHAT, **more)


async def test_the_playgrounds_calls_stream_and_are_written_down_as_such(gateway: SmallGateway) -> None:
    headers = await signed_in(gateway)
    gateway.upstream.reply_to(None, chat_stream("Hel", "lo"))
    answer = await play(gateway, headers)
    assert (answer.status, answer.text) == (200, "Hello")
    assert len(answer.pieces) > 1
    (record,) = await gateway.records()
    assert (record.key, record.tags, record.cost.total) == (None, ("playground",), 1_000_000)
    assert record.client_ip == "203.0.113.9"


async def test_nobody_plays_without_a_session_and_its_token(gateway: SmallGateway) -> None:
    headers = await signed_in(gateway)
    del headers["x-tollway-csrf"]
    assert (await play(gateway, headers)).status == 403
    assert (await play(gateway, OWN)).status == 401
    assert gateway.upstream.requests == []


async def test_a_cookie_opens_no_path_of_the_data_plane(gateway: SmallGateway) -> None:
    answer = await gateway.ask(key=None, headers=await signed_in(gateway))
    assert answer.status == 401


async def test_who_watches_hears_of_calls_and_of_no_body(gateway: SmallGateway) -> None:
    listeners = gateway.app.told.listeners
    headers = await signed_in(gateway)
    watching = gateway.begin(path="/ui/api/live", method="GET", key=None, headers=headers, body=b"")
    gateway.upstream.reply_to(None, chat_stream("a word that nobody else should read"))
    while not watching.answer.pieces:
        await asyncio.sleep(0)
    assert len(gateway.app.told.listeners) == len(listeners) + 1
    await play(gateway, headers)
    while b"event: calls" not in watching.answer.body:
        await asyncio.sleep(0)
    answer = await watching.hang_up()
    assert b"playground" in answer.body
    assert b"nobody else" not in answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_sessions_lie_beside_the_data(gateway: SmallGateway) -> None:
    assert gateway.app.folder == Path(gateway.directory)


# --- in a user's own name


async def signed_in_as(gateway: SmallGateway, user: User) -> dict[str, str]:
    """The headers of this user, who was made and came in."""
    await gateway.storage.people.users.create(user)
    await gateway.storage.sign_ins.set_password(user.id, hash_of("a long password"), now_us=1)
    await gateway.app.keys_changed()
    body = msgspec.json.encode({"user": user.id, "password": "a long password"})
    answer = await gateway.ask(path="/ui/api/session", key=None, headers=OWN, body=body)
    assert answer.status == 200, answer.body
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return {**OWN, "cookie": cookie, "x-tollway-csrf": answer.json()["csrf"]}


async def new_team(gateway: SmallGateway, team: Team) -> None:
    await gateway.storage.people.teams.create(team)
    await gateway.app.keys_changed()


def of_team(headers: dict[str, str], team: str) -> dict[str, str]:
    return {**headers, "x-litellm-team-id": team}


async def test_a_user_plays_in_his_own_name_and_his_budget_pays(gateway: SmallGateway) -> None:
    limits = Limits(max_budget_nano=1_500_000)
    headers = await signed_in_as(gateway, User(id="ada", email="ada@example.com", role="internal_user", limits=limits))
    gateway.upstream.reply_to(None, chat_stream("Hel", "lo"))
    answer = await play(gateway, headers)
    assert (answer.status, answer.text) == (200, "Hello")
    (record,) = await gateway.records()
    assert (record.user_id, record.key_alias, record.tags) == ("ada", "dashboard:ada@example.com", ("playground",))
    assert [charge[:2] for charge in record.charges if charge[0] == "key"] == []
    assert gateway.app.ledger.accounts["user", "ada"].spent == record.cost.total == 1_000_000
    await gateway.app.keys_changed()
    assert gateway.app.ledger.accounts["user", "ada"].spent == 1_000_000
    refused = await play(gateway, headers)
    assert (refused.status, refused.json()["error"]["type"]) == (422, "budget_exceeded")
    assert b"User=ada" in refused.body
    assert len(gateway.upstream.requests) == 1


async def test_in_a_team_its_budget_and_limits_hold_and_its_name_is_written_down(gateway: SmallGateway) -> None:
    headers = await signed_in_as(gateway, User(id="ada", role="internal_user"))
    limits = Limits(max_budget_nano=5_000_000, model_rpm={MODEL: 1})
    await new_team(gateway, Team(id="t1", alias="core", members=(Member(user_id="ada"),), limits=limits))
    gateway.upstream.reply_to(None, chat_stream("Hel", "lo"))
    assert (await play(gateway, of_team(headers, "t1"))).status == 200
    (record,) = await gateway.records()
    assert (record.user_id, record.team_id) == ("ada", "t1")
    assert gateway.app.ledger.accounts["team", "t1"].spent == 1_000_000
    assert (await play(gateway, of_team(headers, "t1"))).status == 429


async def test_nobody_plays_for_a_team_of_others_or_with_models_of_others(gateway: SmallGateway) -> None:
    headers = await signed_in_as(gateway, User(id="ada", role="internal_user", models=("another",)))
    await new_team(gateway, Team(id="t1", members=(Member(user_id="bob"),)))
    refused = await play(gateway, of_team(headers, "t1"))
    assert (refused.status, refused.json()["error"]["message"]) == (403, "You are no member of the team 't1'.")
    refused = await play(gateway, headers)
    assert refused.status in (401, 403)
    assert b"small" in refused.body
    assert gateway.upstream.requests == []


@pytest.mark.parametrize("role", ["internal_user_viewer", "proxy_admin_viewer", None])
async def test_who_may_only_look_calls_no_model(gateway: SmallGateway, role: str | None) -> None:
    headers = await signed_in_as(gateway, User(id="ada", role=role))
    assert (await play(gateway, headers)).status == 403
    assert (await offered(gateway, headers)).status == 403
    assert gateway.upstream.requests == []


async def test_a_user_who_is_blocked_or_shows_no_token_calls_nothing(gateway: SmallGateway) -> None:
    headers = await signed_in_as(gateway, User(id="ada", role="internal_user"))
    without = {name: value for name, value in headers.items() if name != "x-tollway-csrf"}
    assert (await play(gateway, without)).status == 403
    await gateway.storage.people.users.change("ada", lambda user: replace(user, blocked=True))
    assert (await play(gateway, headers)).status == 401
    assert gateway.upstream.requests == []


async def test_a_key_has_no_playground_but_an_administrators(gateway: SmallGateway) -> None:
    await gateway.storage.people.users.create(User(id="ada", role="internal_user"))
    key = await gateway.make_key(user_id="ada")
    answer = await gateway.ask(path="/ui/api/chat/completions", key=key, headers=OWN, body=CHAT)
    assert answer.status == 403
    assert b"/v1/chat/completions" in answer.body


async def offered(gateway: SmallGateway, headers: dict[str, str], query: bytes = b"") -> Answer:
    return await gateway.ask(path="/ui/api/playground", method="GET", key=None, headers=headers, body=b"", query=query)


async def test_each_is_offered_the_models_that_his_calls_may_have(gateway: SmallGateway) -> None:
    headers = await signed_in_as(gateway, User(id="ada", role="internal_user", models=("another",)))
    await new_team(gateway, Team(id="t1", alias="core", members=(Member(user_id="ada"),)))
    await new_team(gateway, Team(id="t2", members=(Member(user_id="bob"),)))
    own = await offered(gateway, headers)
    assert own.json() == {"models": [], "teams": [{"team_id": "t1", "team_alias": "core"}]}
    assert (await offered(gateway, headers, b"team=t1")).json()["models"] == [MODEL]
    assert (await offered(gateway, headers, b"team=t2")).status == 403
    master = await offered(gateway, await signed_in(gateway))
    assert master.json() == {"models": [MODEL], "teams": []}


# --- who sees which calls


@pytest.mark.parametrize(("role", "sees_all"), [("internal_user", False), ("proxy_admin_viewer", True)])
async def test_a_key_sees_and_hears_of_the_calls_that_its_user_may_see(
    gateway: SmallGateway, role: str, sees_all: bool
) -> None:
    await gateway.storage.people.users.create(User(id="ada", role=role))
    key = await gateway.make_key("sk-of-ada-of-the-small-gateway", user_id="ada")
    watching = gateway.begin(path="/ui/api/live", method="GET", key=key, body=b"")
    while not watching.answer.pieces:
        await asyncio.sleep(0)
    for asking in (MASTER_KEY, key):
        gateway.upstream.reply_to(None, chat_reply("Hello"))
        assert (await gateway.ask(key=asking)).status == 200
    while watching.answer.body.count(b'"at_ms"') < 1 + sees_all:
        await asyncio.sleep(0)
    heard = (await watching.hang_up()).body
    logged = (await gateway.ask(path="/ui/api/logs", method="GET", key=key, body=b"")).json()["calls"]
    assert heard.count(b'"at_ms"') == len(logged) == 1 + sees_all
    assert [call["user_id"] for call in logged].count("ada") == 1
