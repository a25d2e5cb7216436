"""Single sign-on with a real OpenID Connect provider that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, expect

from .gateway import Gateway
from .identity import Identity, follow

pytestmark = pytest.mark.e2e

CONFIG: dict[str, Any] = {
    "model_list": [],
    "litellm_settings": {"default_internal_user_params": {"max_budget": 3, "budget_duration": "30d"}},
}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    identity = Identity(tmp_path_factory.mktemp("identity") / "identity.log")
    yield identity
    identity.stop()


@pytest.fixture(scope="module", params=["by its issuer", "by its endpoints"])
def gateway(
    request: pytest.FixtureRequest, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    variables = identity.variables if request.param == "by its issuer" else identity.endpoints
    gateway = Gateway(CONFIG, tmp_path_factory.mktemp("gateway"), "--num_workers", "2", **variables)
    yield gateway
    gateway.stop()


@pytest.fixture
def person() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


def sign_in(person: httpx.Client, gateway: Gateway, login: str) -> httpx.Response:
    started = person.get(f"{gateway.url}/sso/key/generate")
    assert started.status_code == 303
    return person.get(follow(person, started.headers["location"], login, gateway.url))


def session(person: httpx.Client, gateway: Gateway) -> dict[str, Any]:
    told: dict[str, Any] = person.get(f"{gateway.url}/ui/api/session").json()
    return told


def user_info(gateway: Gateway, user_id: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {gateway.master_key}"}
    return gateway.client.get("/user/info", params={"user_id": user_id}, headers=headers)


def test_the_way_there_asks_for_everything_that_binds_it_to_this_browser(
    person: httpx.Client, gateway: Gateway, identity: Identity
) -> None:
    started = person.get(f"{gateway.url}/sso/key/generate")
    assert started.headers["location"].startswith(f"{identity.issuer}/auth?")
    asked = {name: value for name, (value,) in parse_qs(urlsplit(started.headers["location"]).query).items()}
    assert asked["redirect_uri"] == f"{gateway.url}/sso/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert asked["scope"] == "openid email profile groups"
    cookie = started.headers["set-cookie"]
    assert cookie.endswith("Max-Age=600; Path=/sso; HttpOnly; SameSite=Lax")
    again = person.get(f"{gateway.url}/sso/key/generate").headers["location"]
    assert parse_qs(urlsplit(again).query)["state"] != [asked["state"]]


def test_the_first_sign_in_makes_the_user_with_the_role_of_his_groups(person: httpx.Client, gateway: Gateway) -> None:
    answer = sign_in(person, gateway, "bob")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    assert answer.headers["cache-control"] == "no-store"
    told = session(person, gateway)
    assert (told["user_id"], told["user_email"], told["role"]) == ("bob", "bob@example.com", "internal_user")
    assert told["has_password"] is False
    info = user_info(gateway, "bob").json()["user_info"]
    assert (info["user_role"], info["max_budget"], info["budget_duration"]) == ("internal_user", 3.0, "30d")
    assert (info["sso_user_id"], info["user_alias"]) == ("bob", "Bob")
    assert person.get(f"{gateway.url}/user/list").status_code == 401
    assert person.get(f"{gateway.url}/user/info").json()["user_id"] == "bob"
    with httpx.Client() as elsewhere:
        sign_in(elsewhere, gateway, "bob")
        assert session(elsewhere, gateway)["user_id"] == "bob"


def test_any_number_of_people_sign_in_and_administrators_are_such(person: httpx.Client, gateway: Gateway) -> None:
    sign_in(person, gateway, "ada")
    assert session(person, gateway)["role"] == "proxy_admin"
    assert person.get(f"{gateway.url}/user/list").status_code == 200


def test_a_user_whom_an_administrator_made_is_found_by_his_checked_address(
    person: httpx.Client, gateway: Gateway
) -> None:
    headers = {"authorization": f"Bearer {gateway.master_key}"}
    gateway.client.post("/user/delete", json={"user_ids": ["bob"]}, headers=headers)
    body = {"user_id": "robert", "user_email": "Bob@Example.com", "auto_create_key": False}
    assert gateway.client.post("/user/new", json=body, headers=headers).status_code == 200
    with httpx.Client() as impostor:  # says that the address is his, which nobody checked
        refused = sign_in(impostor, gateway, "mallory")
        assert refused.headers["location"] == "/ui/?sso_error=domain"
        assert session(impostor, gateway)["signed_in"] is False
    sign_in(person, gateway, "bob")
    assert session(person, gateway)["user_id"] == "robert"
    gateway.client.post("/user/delete", json={"user_ids": ["robert"]}, headers=headers)
    assert session(person, gateway)["signed_in"] is False


def test_who_has_an_address_elsewhere_is_not_signed_in(person: httpx.Client, gateway: Gateway) -> None:
    answer = sign_in(person, gateway, "eve")
    assert answer.headers["location"] == "/ui/?sso_error=domain"
    assert "tollway_session" not in person.cookies
    assert user_info(gateway, "eve").status_code == 200  # the master key may ask of anybody
    assert user_info(gateway, "eve").json()["user_info"] is None


def test_who_is_blocked_is_not_signed_in(person: httpx.Client, gateway: Gateway) -> None:
    sign_in(person, gateway, "bob")
    headers = {"authorization": f"Bearer {gateway.master_key}"}
    gateway.client.post("/user/update", json={"user_id": "bob", "blocked": True}, headers=headers)
    assert session(person, gateway)["signed_in"] is False
    with httpx.Client() as again:
        assert sign_in(again, gateway, "bob").headers["location"] == "/ui/?sso_error=blocked"
    gateway.client.post("/user/update", json={"user_id": "bob", "blocked": False}, headers=headers)


def test_a_way_back_that_began_in_another_browser_signs_nobody_in(person: httpx.Client, gateway: Gateway) -> None:
    started = person.get(f"{gateway.url}/sso/key/generate")
    back = follow(person, started.headers["location"], "ada", gateway.url)
    with httpx.Client() as victim:
        assert victim.get(back).headers["location"] == "/ui/?sso_error=expired"
        victim.get(f"{gateway.url}/sso/key/generate")  # a sign-in of her own is under way
        assert victim.get(back).headers["location"] == "/ui/?sso_error=expired"
        assert session(victim, gateway)["signed_in"] is False
    assert person.get(back).headers["location"] == "/ui/"
    used = person.get(back)  # the code and the cookie are used up
    assert used.headers["location"] == "/ui/?sso_error=expired"


def test_no_secret_is_in_the_gateways_log(gateway: Gateway, identity: Identity) -> None:
    log = gateway.log.read_text(errors="replace")
    assert identity.client_secret not in log
    assert gateway.master_key not in log


def test_a_person_clicks_through_it(browser: Browser, gateway: Gateway) -> None:
    context = browser.new_context(base_url=gateway.url, locale="en-US")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto("/ui/keys")
    page.get_by_role("link", name="SSO").click()
    page.get_by_placeholder("Enter any login").fill("ada")
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()  # where one wanted to go
    page.get_by_role("button", name="ada@example.com").click()
    expect(page.get_by_role("menu")).to_contain_text("Administrator")
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("link", name="SSO")).to_be_visible()
    context.close()
