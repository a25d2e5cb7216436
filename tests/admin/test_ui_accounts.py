"""Users with passwords: how they get one, sign in with it, change it, and when their sessions end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.admin.dashboard import accounts
from tollway.admin.dashboard.accounts import WAITING_MAX
from tollway.admin.dashboard.pace import (
    FAILURES_OF_ACCOUNT_PER_MINUTE_MAX,
    FAILURES_PER_MINUTE_MAX,
    NAMES_MAX,
    Pace,
)
from tollway.admin.passwords import hash_of, is_right
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, SignInSettings
from tollway.errors import RateLimited

from .office import MASTER_KEY, FakeOffice
from .people import MASTER, PASSWORD, Browser, manage, new_user

OTHER = "another long password"


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


# --- hashes


def test_a_hash_is_argon2id_and_says_nothing_of_the_password() -> None:
    first, second = hash_of(PASSWORD), hash_of(PASSWORD)
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert PASSWORD not in first
    assert is_right(first, PASSWORD)
    assert not is_right(first, PASSWORD + " ")
    assert not is_right(None, PASSWORD)
    assert not is_right("no hash", PASSWORD)
    assert is_right(hash_of("\ud800 lone"), "\ud800 lone")


def test_a_user_who_is_not_there_takes_as_long_as_one_who_is() -> None:
    hashed = hash_of(PASSWORD)

    def quickest_s(of: str | None) -> float:
        taken = []
        for _ in range(5):
            began = time.process_time()
            is_right(of, "wrong")
            taken.append(time.process_time() - began)
        return min(taken)

    quickest_s(None)
    there, away = quickest_s(hashed), quickest_s(None)
    assert 0.5 < there / away < 2


# --- signing in


@pytest.mark.parametrize("name", ["ada", "ada@example.com", "ADA@Example.COM"])
async def test_a_user_signs_in_by_id_or_address(office: FakeOffice, browser: Browser, name: str) -> None:
    await new_user(office, "ada", "internal_user", user_email="ada@example.com")
    answer = await browser.sign_in(name)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["signed_in"] is True
    assert (told["role"], told["user_id"], told["user_email"]) == ("internal_user", "ada", "ada@example.com")
    assert told["has_password"] is True


async def test_the_master_key_is_a_proxy_admin_and_nobody_by_name(browser: Browser) -> None:
    told = (await browser.sign_in(None, MASTER_KEY)).json()
    assert (told["role"], told["user_id"], told["has_password"]) == ("proxy_admin", None, False)


async def test_unknown_users_wrong_passwords_and_users_without_one_get_the_same_answer(
    office: FakeOffice, browser: Browser
) -> None:
    await new_user(office, "ada", user_email="ada@example.com")
    await manage(office, "/user/new", {"user_id": "bob", "auto_create_key": False})
    answers = [
        await browser.sign_in(name, password)
        for name, password in (("ada", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("x@example.com", PASSWORD))
    ]
    assert {(one.status_code, one.text) for one in answers} == {(401, answers[0].text)}
    assert all("set-cookie" not in one.headers for one in answers)


async def test_an_address_that_two_users_have_is_nobodys(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada", user_email="ada@example.com")
    await new_user(office, "other", user_email="Ada@example.com")
    assert (await browser.sign_in("ada@example.com")).status_code == 401
    assert (await browser.sign_in("ada")).status_code == 200


async def test_nobody_is_the_one_behind_the_master_key(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "default_user_id")
    assert (await browser.sign_in("default_user_id")).status_code == 401


async def test_a_user_without_a_role_may_only_look_at_what_is_his(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    assert (await browser.sign_in("ada")).json()["role"] == "internal_user_viewer"
    assert (await browser.get("/user/info")).json()["user_id"] == "ada"
    assert (await browser.post("/key/generate", {})).status_code == 401


async def test_a_role_that_changes_counts_at_the_next_request(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada", "proxy_admin")
    await browser.sign_in("ada")
    assert (await browser.get("/user/list")).status_code == 200
    await manage(office, "/user/update", {"user_id": "ada", "user_role": "internal_user"})
    assert (await browser.get("/user/list")).status_code == 401
    assert (await browser.session())["role"] == "internal_user"


# --- passwords that others set


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
async def test_a_password_has_a_length(office: FakeOffice, password: str) -> None:
    await new_user(office, "ada")
    for path, body in (
        ("/user/new", {"user_id": "bob", "password": password}),
        ("/user/update", {"user_id": "ada", "password": password}),
    ):
        refused = await manage(office, path, body, status=400)
        assert "8 to 1000 characters" in refused["error"]["message"]
    assert await office.storage.people.users.get("bob") is None


async def test_no_password_or_hash_is_in_any_answer_or_the_audit_log(office: FakeOffice, browser: Browser) -> None:
    made = await new_user(office, "ada", "internal_user")
    updated = await manage(office, "/user/update", {"user_id": "ada", "password": OTHER})
    await browser.sign_in(None, MASTER_KEY)
    told = [str(made), str(updated), str(await browser.session())]
    for path in ("/user/info?user_id=ada", "/user/list", "/audit", "/config/effective", "/spend/users"):
        answer = await browser.get(path)
        assert answer.status_code == 200, path
        told.append(answer.text)
    hashed = await office.storage.sign_ins.password_of("ada")
    assert hashed is not None
    for text in told:
        assert "argon2" not in text
        assert hashed not in text
        assert PASSWORD not in text
        assert OTHER not in text
    assert '"action":"password_set"' in told[5]


async def test_another_password_ends_every_session_on_every_worker(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    elsewhere = Browser(office)
    await browser.sign_in("ada")
    await elsewhere.sign_in("ada")
    await manage(office, "/user/update", {"user_id": "ada", "password": OTHER})
    for one in (browser, elsewhere):
        assert (await one.session())["signed_in"] is False
        assert (await one.get("/user/info")).status_code == 401
    assert (await browser.sign_in("ada")).status_code == 401
    assert (await browser.sign_in("ada", OTHER)).status_code == 200
    await elsewhere.client.aclose()


async def test_a_user_who_is_blocked_is_out_and_stays_out(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    await browser.sign_in("ada")
    await manage(office, "/user/update", {"user_id": "ada", "blocked": True})
    assert (await browser.get("/user/info")).status_code == 401
    assert (await browser.sign_in("ada", "wrong password")).status_code == 401  # says nothing to a stranger
    refused = await browser.sign_in("ada")
    assert refused.status_code == 403
    assert "blocked" in refused.json()["error"]["message"]
    await manage(office, "/user/update", {"user_id": "ada", "blocked": False})
    assert (await browser.session())["signed_in"] is False  # the old session is not back
    assert (await browser.sign_in("ada")).status_code == 200


async def test_a_user_who_is_deleted_is_out_and_leaves_no_password(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    await browser.sign_in("ada")
    await manage(office, "/user/delete", {"user_ids": ["ada"]})
    assert (await browser.get("/user/info")).status_code == 401
    await manage(office, "/user/new", {"user_id": "ada", "auto_create_key": False})
    assert (await browser.sign_in("ada")).status_code == 401


async def test_new_users_have_what_the_configuration_gives_them(office: FakeOffice) -> None:
    params = {"user_role": "internal_user", "max_budget": 2.5, "budget_duration": "30d", "models": ["gpt-4o"]}
    office.config = Config(access=office.config.access, sign_in=SignInSettings(default_user_params=params))
    made = await manage(office, "/user/new", {"user_id": "ada", "models": ["other"], "auto_create_key": False})
    assert (made["user_role"], made["max_budget"], made["models"]) == ("internal_user", 2.5, ["other"])
    admin = await manage(office, "/user/new", {"user_id": "root", "user_role": "proxy_admin", "auto_create_key": False})
    assert (admin["max_budget"], admin["models"]) == (None, [])


# --- the own password


async def test_who_knows_the_old_password_sets_a_new_one_and_stays_signed_in_here_alone(
    office: FakeOffice, browser: Browser
) -> None:
    await new_user(office, "ada")
    elsewhere = Browser(office)
    await browser.sign_in("ada")
    await elsewhere.sign_in("ada")
    before = browser.client.cookies["tollway_session"]
    answer = await browser.post("/ui/api/password", {"old_password": PASSWORD, "new_password": OTHER})
    assert answer.status_code == 200, answer.text
    assert browser.client.cookies["tollway_session"] != before
    assert (await browser.get("/user/info")).status_code == 200
    assert (await elsewhere.get("/user/info")).status_code == 401
    assert (await elsewhere.sign_in("ada")).status_code == 401
    assert (await elsewhere.sign_in("ada", OTHER)).status_code == 200
    await elsewhere.client.aclose()


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [("wrong password", OTHER, 403), ("", OTHER, 403), (PASSWORD, "short", 400), (PASSWORD, "x" * 1500, 400)],
)
async def test_without_the_old_password_or_with_a_poor_new_one_nothing_changes(
    office: FakeOffice, browser: Browser, old: str, new: str, status: int
) -> None:
    await new_user(office, "ada")
    await browser.sign_in("ada")
    answer = await browser.post("/ui/api/password", {"old_password": old, "new_password": new})
    assert answer.status_code == status
    assert (await browser.session())["signed_in"] is True
    assert (await Browser(office).sign_in("ada")).status_code == 200


async def test_the_old_password_cannot_be_guessed_from_a_session_either(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    await browser.sign_in("ada")
    statuses = [
        (await browser.post("/ui/api/password", {"old_password": "wrong", "new_password": OTHER})).status_code
        for _ in range(FAILURES_PER_MINUTE_MAX + 1)
    ]
    assert statuses == [*[403] * FAILURES_PER_MINUTE_MAX, 429]


async def test_who_has_no_password_of_his_own_has_none_to_change(office: FakeOffice, browser: Browser) -> None:
    await browser.sign_in(None, MASTER_KEY)
    body = {"old_password": MASTER_KEY, "new_password": OTHER}
    assert (await browser.post("/ui/api/password", body)).status_code == 400
    answer = await Browser(office).client.post("/ui/api/password", json=body, headers=MASTER)
    assert answer.status_code == 400  # a key is no session


# --- how often


async def test_an_account_waits_whatever_address_fails(office: FakeOffice) -> None:
    await new_user(office, "ada")
    app = Browser(office).client._transport.app  # type: ignore[attr-defined]  # one worker, many addresses
    statuses = []
    for number in range(FAILURES_OF_ACCOUNT_PER_MINUTE_MAX + 1):
        browser = Browser(office, f"198.51.100.{number}")
        browser.client._transport.app = app  # type: ignore[attr-defined]  # as above
        statuses.append((await browser.sign_in("ada" if number % 2 else "ADA", "wrong")).status_code)
    assert statuses == [*[401] * FAILURES_OF_ACCOUNT_PER_MINUTE_MAX, 429]
    fresh = Browser(office, "203.0.113.1")
    fresh.client._transport.app = app  # type: ignore[attr-defined]  # as above
    assert (await fresh.sign_in("ada")).status_code == 429
    assert (await fresh.sign_in(None, MASTER_KEY)).status_code == 200  # the administrator is not kept out
    office.clock += timedelta(seconds=61)
    assert (await fresh.sign_in("ada")).status_code == 200


def test_what_is_remembered_of_failures_is_bounded() -> None:
    pace = Pace()
    for number in range(3 * NAMES_MAX):
        pace.failed(f"address {number}", f"account {number}", number * 10.0)
    remembered: Any = pace
    assert len(remembered._addresses._failed) == len(remembered._accounts._failed) == NAMES_MAX
    for _ in range(100):
        pace.failed("one", "one", 1e6)
    assert len(remembered._addresses._failed["one"]) == FAILURES_PER_MINUTE_MAX
    with pytest.raises(RateLimited):
        pace.check("one", "", 1e6)
    pace.check("one", "", 1e6 + 61)


async def test_only_so_many_wait_for_a_comparison(office: FakeOffice, browser: Browser) -> None:
    await new_user(office, "ada")
    of_worker = accounts.Accounts(office)
    of_worker._waiting = WAITING_MAX
    with pytest.raises(RateLimited, match="at once"):
        await of_worker.who("ada", PASSWORD, address="127.0.0.1")


async def test_where_administrators_alone_are_let_in_a_users_password_opens_nothing(
    office: FakeOffice, browser: Browser
) -> None:
    await new_user(office, "ada", "internal_user", password=PASSWORD)
    await new_user(office, "grace", "proxy_admin", password=PASSWORD)
    office.config = replace(office.config, sign_in=SignInSettings(admins_only=True))
    refused = await browser.sign_in("ada")
    assert (refused.status_code, refused.json()["error"]["message"]) == (403, "This dashboard is for administrators.")
    assert (await browser.sign_in("grace")).status_code == 200
    assert (await browser.sign_in(None, MASTER_KEY)).status_code == 200
