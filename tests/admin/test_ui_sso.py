"""Single sign-on at the gateway's own paths: which user came, and what is refused before a provider is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx import Response
from msgspec.structs import replace

from tollway.admin.dashboard import sso
from tollway.admin.dashboard.oidc import Person, SignInFailed
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, SignInSettings

from .office import MASTER_KEY, FakeOffice
from .people import Browser, manage
from .test_ui_oidc import ISSUER, Lying

SETTINGS = SignInSettings(generic_client_id="tollway", generic_client_secret=Secret("s3cret"), generic_issuer=ISSUER)
ADA = Person(id="ada", subject="subject", email="ada@example.com", name="Ada", role=None)


@pytest.fixture
def lying() -> Lying:
    return Lying()


@pytest.fixture
def office(tmp_path: Path, lying: Lying) -> FakeOffice:
    office = FakeOffice(Config(access=AccessSettings(master_key=Secret(MASTER_KEY)), sign_in=SETTINGS))
    office.data_folder = tmp_path
    office.upstream = lying.upstream
    return office


@pytest.fixture
async def browser(office: FakeOffice) -> AsyncIterator[Browser]:
    browser = Browser(office)
    yield browser
    await browser.client.aclose()


def configure(office: FakeOffice, **more: Any) -> None:
    office.config = replace(office.config, sign_in=replace(office.config.sign_in, **more))


async def come_back(office: FakeOffice, browser: Browser, person: Person, monkeypatch: pytest.MonkeyPatch) -> Response:
    """Goes there and comes back as somebody."""

    async def finish(*_: Any, **__: Any) -> Person:
        return person

    monkeypatch.setattr("tollway.admin.dashboard.oidc.Client.finish", finish)
    started = await browser.client.get(sso.LOGIN)
    assert started.status_code == 303, started.text
    (state,) = parse_qs(urlsplit(started.headers["location"]).query)["state"]
    return await browser.client.get(sso.CALLBACK, params={"code": "the-code", "state": state})


async def test_the_way_leads_to_the_provider_and_back_to_the_address_that_people_know(
    office: FakeOffice, browser: Browser
) -> None:
    configure(office, public_url="https://llm.example")
    started = await browser.client.get(sso.LOGIN, params={"provider": "generic"})
    asked = parse_qs(urlsplit(started.headers["location"]).query)
    assert asked["redirect_uri"] == ["https://llm.example/sso/callback"]
    back = await browser.client.get(sso.CALLBACK, params={"error": "access_denied", "state": asked["state"][0]})
    assert back.headers["location"] == "/ui/?sso_error=denied"
    assert await browser.session() == {"signed_in": False, "sso": [{"name": "generic", "label": "SSO"}]}


async def test_a_page_of_another_site_is_never_where_it_goes_on(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def finish(*_: Any, **__: Any) -> Person:
        return ADA

    monkeypatch.setattr("tollway.admin.dashboard.oidc.Client.finish", finish)
    for to, page in (
        ("/ui/keys", "/ui/keys"),
        ("https://evil.example", "/ui/"),
        ("//evil.example/ui", "/ui/"),
        ("/ui//x", "/ui/"),
    ):
        started = await browser.client.get(sso.LOGIN, params={"to": to})
        (state,) = parse_qs(urlsplit(started.headers["location"]).query)["state"]
        back = await browser.client.get(sso.CALLBACK, params={"code": "x", "state": state})
        assert back.headers["location"] == page


async def test_a_provider_that_is_not_configured_is_nobodys(office: FakeOffice, browser: Browser) -> None:
    answer = await browser.client.get(sso.LOGIN, params={"provider": "google"})
    assert answer.headers["location"] == "/ui/?sso_error=not_configured"
    office.config = replace(office.config, sign_in=SignInSettings())
    assert (await browser.client.get(sso.LOGIN)).headers["location"] == "/ui/?sso_error=not_configured"
    assert await browser.session() == {"signed_in": False}


@pytest.mark.parametrize("cookie", ["", "x", "A" * 100, "é", "../../x"])
async def test_a_cookie_that_is_none_of_ours_begins_nothing(browser: Browser, cookie: str) -> None:
    sent = [(b"cookie", f"{sso.COOKIE}={cookie}".encode("latin-1"))]
    answer = await browser.client.get(sso.CALLBACK, params={"code": "x", "state": "x"}, headers=sent)
    assert answer.headers["location"] == "/ui/?sso_error=expired"


async def test_a_cookie_that_was_changed_or_is_too_old_begins_nothing(office: FakeOffice, browser: Browser) -> None:
    started = await browser.client.get(sso.LOGIN)
    (state,) = parse_qs(urlsplit(started.headers["location"]).query)["state"]
    cookie = started.headers["set-cookie"].partition("=")[2].partition(";")[0]
    changed = cookie[:60] + ("A" if cookie[60] != "A" else "B") + cookie[61:]
    for value, code in ((changed, "expired"), (cookie, "failed")):
        sent = [(b"cookie", f"{sso.COOKIE}={value}".encode())]
        answer = await browser.client.get(sso.CALLBACK, params={"error": "x", "state": state}, headers=sent)
        assert answer.headers["location"] == f"/ui/?sso_error={code}"
    office.clock += timedelta(seconds=sso.ATTEMPT_S_MAX)
    sent = [(b"cookie", f"{sso.COOKIE}={cookie}".encode())]
    answer = await browser.client.get(sso.CALLBACK, params={"error": "x", "state": state}, headers=sent)
    assert answer.headers["location"] == "/ui/?sso_error=expired"


async def test_who_comes_the_first_time_gets_a_user_that_only_looks(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await come_back(office, browser, ADA, monkeypatch)
    assert answer.headers["location"] == "/ui/"
    user = await office.storage.people.users.get("ada")
    assert user is not None
    assert (user.role, user.email, user.alias) == ("internal_user_viewer", "ada@example.com", "Ada")
    assert (await browser.session())["role"] == "internal_user_viewer"


async def test_whoever_is_named_as_the_administrator_is_one(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(office, admin_id="ada")
    await come_back(office, browser, replace(ADA, role="internal_user"), monkeypatch)
    assert (await browser.session())["role"] == "proxy_admin"


async def test_new_users_join_the_teams_that_the_configuration_names(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manage(office, "/team/new", {"team_id": "all"})
    configure(office, default_user_params={"teams": ["all", "gone"], "user_role": "internal_user", "max_budget": 1.5})
    await come_back(office, browser, ADA, monkeypatch)
    info = (await browser.get("/user/info")).json()
    assert [team["team_id"] for team in info["teams"]] == ["all"]
    assert (info["user_info"]["user_role"], info["user_info"]["max_budget"]) == ("internal_user", 1.5)


async def test_the_provider_says_the_role_anew_each_time_and_silence_leaves_it(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said, role in (("proxy_admin", "proxy_admin"), (None, "proxy_admin"), ("internal_user", "internal_user")):
        await come_back(office, browser, replace(ADA, role=said), monkeypatch)
        assert (await browser.session())["role"] == role


async def test_who_came_before_is_found_by_what_the_provider_knows_him_by(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await come_back(office, browser, ADA, monkeypatch)
    await come_back(office, browser, replace(ADA, id="married", email="new@example.com"), monkeypatch)
    assert (await browser.session())["user_id"] == "ada"
    # Somebody else with his name, whom the provider does not know as him.
    for other in (replace(ADA, subject="other"), replace(ADA, id="x", subject="other")):
        stranger = Browser(office)
        answer = await come_back(office, stranger, other, monkeypatch)
        assert answer.headers["location"] == "/ui/?sso_error=taken"
        assert (await stranger.session())["signed_in"] is False
    await manage(office, "/user/new", {"user_id": "grace", "sso_user_id": "known already", "auto_create_key": False})
    await come_back(office, browser, replace(ADA, id="known already", subject="g"), monkeypatch)
    assert (await browser.session())["user_id"] == "grace"
    await manage(office, "/user/update", {"user_id": "ada", "sso_user_id": None})
    await come_back(office, browser, replace(ADA, subject="moved"), monkeypatch)
    assert (await browser.session())["user_id"] == "ada"


@pytest.mark.parametrize(
    ("person", "code"),
    [
        (replace(ADA, email="ada@elsewhere.example"), "domain"),
        (replace(ADA, email=None), "domain"),
        (replace(ADA, email="ada@example.com.evil.example"), "domain"),
        (replace(ADA, email="ada@evil.example@example.com"), None),
        (replace(ADA, id="default_user_id"), "failed"),
    ],
)
async def test_who_has_no_address_where_it_must_be_stays_out(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch, person: Person, code: str | None
) -> None:
    configure(office, email_domains=("example.com",))
    answer = await come_back(office, browser, person, monkeypatch)
    assert answer.headers["location"] == (f"/ui/?sso_error={code}" if code else "/ui/")
    assert (await browser.session())["signed_in"] is (code is None)


async def test_what_a_provider_does_wrong_is_logged_without_the_code(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def finish(*_: Any, **__: Any) -> Person:
        raise SignInFailed("failed", "generic: its ID token is no good")

    monkeypatch.setattr("tollway.admin.dashboard.oidc.Client.finish", finish)
    started = await browser.client.get(sso.LOGIN)
    (state,) = parse_qs(urlsplit(started.headers["location"]).query)["state"]
    answer = await browser.client.get(sso.CALLBACK, params={"code": "the-code", "state": state})
    assert answer.headers["location"] == "/ui/?sso_error=failed"
    assert "its ID token is no good" in caplog.text
    assert "the-code" not in caplog.text


async def test_without_the_package_it_says_what_to_install(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def start(*_: Any, **__: Any) -> Any:
        raise ImportError("authlib")

    monkeypatch.setattr("tollway.admin.dashboard.oidc.Client.start", start)
    assert (await browser.client.get(sso.LOGIN)).headers["location"] == "/ui/?sso_error=not_installed"
    assert "tollway[sso]" in caplog.text


# --- nothing beside it


async def test_where_single_sign_on_alone_opens_the_dashboard_no_password_does(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = (await manage(office, "/ui/api/session/link", {}))["url"]
    configure(office, sso_alone=True)
    told = await browser.session()
    assert (told["passwords"], "sso_first" in told) == (False, False)
    refused = await browser.sign_in(None, MASTER_KEY)
    assert (refused.status_code, refused.json()["error"]["message"].partition(":")[0]) == (
        403,
        "Sign in by single sign-on",
    )
    made = await come_back(office, browser, ADA, monkeypatch)
    assert (made.status_code, (await browser.session())["user_id"]) == (303, "ada")
    other = Browser(office)
    once = parse_qs(urlsplit(link).query)["once"][0]
    entered = await other.client.post("/ui/api/session", json={"once": once}, headers={"origin": "http://gateway"})
    assert entered.status_code == 200, "whoever holds the master key is not locked out"
    await other.client.aclose()


async def test_passwords_are_not_switched_off_where_there_is_nothing_else(office: FakeOffice, browser: Browser) -> None:
    office.config = replace(office.config, sign_in=SignInSettings(sso_alone=True, sso_first=True))
    told = await browser.session()
    assert "passwords" not in told
    assert "sso_first" not in told
    assert (await browser.sign_in(None, MASTER_KEY)).status_code == 200


async def test_the_page_is_told_to_go_there_at_once(office: FakeOffice, browser: Browser) -> None:
    configure(office, sso_first=True)
    assert (await browser.session())["sso_first"] is True


async def test_who_is_no_administrator_is_not_let_in_where_these_alone_are(
    office: FakeOffice, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await come_back(office, browser, ADA, monkeypatch)
    assert (await browser.session())["signed_in"]
    configure(office, admins_only=True)
    assert not (await browser.session())["signed_in"], "who is in is out"
    back = await come_back(office, browser, ADA, monkeypatch)
    assert back.headers["location"] == "/ui/?sso_error=admins"
    assert not (await browser.session())["signed_in"]
    await come_back(office, browser, replace(ADA, role="proxy_admin_viewer"), monkeypatch)
    assert (await browser.session())["signed_in"]
