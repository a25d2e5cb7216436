"""Invitations: made by administrators, opened once by who is invited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import Response

from tollway.admin.dashboard.sessions import digest_of
from tollway.admin.invitations import INVITATION_S_MAX
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, SignInSettings

from .office import MASTER_KEY, FakeOffice
from .people import OWN, PASSWORD, Browser, manage, new_user

CHOSEN = "a password of my own"


@pytest.fixture
def office(tmp_path: Path) -> FakeOffice:
    office = FakeOffice(Config(access=AccessSettings(master_key=Secret(MASTER_KEY))))
    office.data_folder = tmp_path
    return office


@pytest.fixture
async def browser(office: FakeOffice) -> AsyncIterator[Browser]:
    browser = Browser(office)
    yield browser
    await browser.client.aclose()


async def invitation(office: FakeOffice, user_id: str = "ada") -> str:
    if await office.storage.people.users.get(user_id) is None:
        fields = {"user_id": user_id, "user_email": f"{user_id}@example.com", "auto_create_key": False}
        await manage(office, "/user/new", fields)
    return str((await manage(office, "/invitation/new", {"user_id": user_id}))["id"])


async def accept(browser: Browser, link: str, password: str = CHOSEN) -> Response:
    body = {"invitation_id": link, "password": password}
    return await browser.client.post("/ui/api/invitation/accept", json=body, headers=OWN)


async def test_an_invitation_has_litellms_fields_and_an_address(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    made = await manage(office, "/invitation/new", {"user_id": "ada"})
    assert made.pop("url") == f"http://gateway/ui?invitation_id={made['id']}"
    assert {**made, "id": ""} == {
        "id": "",
        "user_id": "ada",
        "is_accepted": False,
        "accepted_at": None,
        "expires_at": "2026-11-28T22:39:02.232000Z",
        "created_at": "2026-11-21T22:39:02.232000Z",
        "created_by": "default_user_id",
        "updated_at": "2026-11-21T22:39:02.232000Z",
        "updated_by": "default_user_id",
    }
    await browser.sign_in(None, MASTER_KEY)
    assert (await browser.get("/invitation/info", invitation_id=made["id"])).json() == made
    kept = await office.storage.sign_ins.get(digest_of(made["id"]))
    assert made["id"] not in repr(kept)


async def test_its_address_is_the_one_that_people_know(office: FakeOffice) -> None:
    office.config = Config(access=office.config.access, sign_in=SignInSettings(public_url="https://llm.example"))
    await new_user(office, "ada")
    made = await manage(office, "/invitation/new", {"user_id": "ada"})
    assert made["url"].startswith("https://llm.example/ui?invitation_id=")


async def test_who_is_invited_chooses_a_password_and_is_signed_in(office: FakeOffice, browser: Browser) -> None:
    link = await invitation(office)
    shown = await browser.client.post("/ui/api/invitation", json={"invitation_id": link}, headers=OWN)
    assert shown.json() == {"user_id": "ada", "user_email": "ada@example.com"}
    answer = await accept(browser, link)
    assert answer.status_code == 200, answer.text
    assert answer.json()["user_id"] == "ada"
    assert (await browser.get("/user/info")).json()["user_id"] == "ada"
    assert (await Browser(office).sign_in("ada@example.com", CHOSEN)).status_code == 200


async def test_it_is_accepted_once(office: FakeOffice, browser: Browser) -> None:
    link = await invitation(office)
    browsers = [Browser(office) for _ in range(5)]
    answers = await asyncio.gather(*(accept(one, link, f"password of {n}") for n, one in enumerate(browsers)))
    assert sorted(answer.status_code for answer in answers) == [200, *[404] * 4]
    assert (await accept(browser, link)).status_code == 404
    shown = await browser.client.post("/ui/api/invitation", json={"invitation_id": link}, headers=OWN)
    assert shown.status_code == 404
    await browser.sign_in(None, MASTER_KEY)
    info = (await browser.get("/invitation/info", invitation_id=link)).json()
    assert info["is_accepted"] is True
    assert info["updated_by"] == "ada"


async def test_accepting_one_ends_the_others_and_every_session(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    first, second = await invitation(office), await invitation(office)
    await browser.sign_in("ada", PASSWORD)
    assert (await accept(Browser(office), first)).status_code == 200
    assert (await browser.session())["signed_in"] is False
    assert (await accept(browser, second)).status_code == 404


@pytest.mark.parametrize("password", ["short", "x" * 1001])
async def test_a_poor_password_does_not_use_it_up(office: FakeOffice, browser: Browser, password: str) -> None:
    link = await invitation(office)
    assert (await accept(browser, link, password)).status_code in (400, 422)
    assert (await accept(browser, link)).status_code == 200


async def test_it_opens_nothing_after_its_time_or_for_who_is_gone_or_blocked(
    office: FakeOffice, browser: Browser
) -> None:
    late, blocked, gone, deleted, closed = [await invitation(office, name) for name in ("a", "b", "c", "d", "e")]
    await manage(office, "/user/update", {"user_id": "b", "blocked": True})
    await manage(office, "/user/delete", {"user_ids": ["c"]})
    await manage(office, "/invitation/delete", {"invitation_id": deleted})
    await manage(office, "/invitation/update", {"invitation_id": closed, "is_accepted": True})
    for link in (blocked, gone, deleted, closed):
        assert (await accept(browser, link)).status_code == 404
    office.clock += timedelta(seconds=INVITATION_S_MAX)
    assert (await accept(browser, late)).status_code == 404


async def test_another_site_accepts_nothing(office: FakeOffice, browser: Browser) -> None:
    link = await invitation(office)
    body = {"invitation_id": link, "password": CHOSEN}
    answer = await browser.client.post(
        "/ui/api/invitation/accept", json=body, headers={"origin": "http://evil.example"}
    )
    assert answer.status_code == 403


async def test_nobody_is_invited_who_is_not_there(office: FakeOffice, browser: Browser) -> None:
    await manage(office, "/invitation/new", {"user_id": "nobody"}, status=404)
    for path in ("/invitation/update", "/invitation/delete"):
        await manage(office, path, {"invitation_id": "guessed", "is_accepted": True}, status=404)
    await browser.sign_in(None, MASTER_KEY)
    session = browser.client.cookies["tollway_session"]
    assert (await browser.get("/invitation/info", invitation_id=session)).status_code == 404  # another kind of ticket


async def test_a_viewer_sees_no_invitation_for_it_would_make_him_whoever_is_invited(
    office: FakeOffice, browser: Browser
) -> None:
    link = await invitation(office)
    await new_user(office, "viewer", "proxy_admin_viewer")
    await browser.sign_in("viewer")
    assert (await browser.get("/invitation/info", invitation_id=link)).status_code == 401
    assert link not in (await browser.get("/audit")).text
