"""Signing in to the dashboard in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage
from .gateway import Gateway
from .test_dashboard import serious

pytestmark = pytest.mark.e2e


def new_link(tollway: Gateway) -> str:
    headers = {"authorization": f"Bearer {tollway.master_key}"}
    answer = tollway.client.post("/ui/api/session/link", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


def test_a_link_signs_in_once_and_leaves_no_token_in_the_address(open_page: OpenPage, tollway: Gateway) -> None:
    link = new_link(tollway)
    page = open_page(link, signed_in=False)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert page.url == f"{tollway.url}/ui/"
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    late = open_page(link, signed_in=False)
    expect(late.get_by_role("alert")).to_contain_text("used already or is too old")
    expect(late.get_by_role("button", name="Sign in")).to_be_visible()
    assert not re.search("once", late.url)


def new_user(tollway: Gateway, user_id: str, role: str, **more: str) -> None:
    headers = {"authorization": f"Bearer {tollway.master_key}"}
    body = {"user_id": user_id, "user_role": role, "auto_create_key": False, **more}
    answer = tollway.client.post("/user/new", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def sign_in(page: Page, user: str, password: str) -> None:
    page.get_by_label("User name").fill(user)
    page.get_by_label("Master key or password").first.fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_user_signs_in_by_address_and_changes_the_own_password(open_page: OpenPage, tollway: Gateway) -> None:
    new_user(tollway, "grace", "internal_user", user_email="grace.signs.in@example.com", password="a first password")
    page = open_page("/ui/keys", signed_in=False)
    sign_in(page, "Grace.Signs.In@example.com", "a first password")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    pages = page.get_by_role("navigation")
    for name in ("Users", "Budgets"):
        expect(pages.get_by_role("link", name=name, exact=True)).to_have_count(0)
    page.get_by_role("button", name="grace.signs.in@example.com").click()
    expect(page.get_by_role("menu")).to_contain_text("User")
    page.get_by_role("menuitem", name="Change password").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Old password").first.fill("not the old one")
    dialog.get_by_label("New password").first.fill("a second password")
    dialog.get_by_label("New password, once more").first.fill("a second passwort")
    expect(dialog).to_contain_text("The two are not the same")
    dialog.get_by_label("New password, once more").first.fill("a second password")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The old password is wrong")
    dialog.get_by_label("Old password").first.fill("a first password")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.get_by_role("button", name="grace.signs.in@example.com").click()
    page.get_by_role("menuitem", name="Sign out").click()
    sign_in(page, "grace", "a first password")
    expect(page.get_by_role("alert")).to_contain_text("neither the master key nor the user name and password")
    sign_in(page, "grace", "a second password")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()


def test_an_internal_user_makes_a_key_of_his_own_and_sees_no_other(open_page: OpenPage, tollway: Gateway) -> None:
    new_user(tollway, "linus", "internal_user", password="a first password")
    tollway.new_key("of somebody else")
    page = open_page("/ui/keys", signed_in=False)
    sign_in(page, "linus", "a first password")
    page.get_by_role("button", name="Create key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("of linus")
    dialog.get_by_role("button", name="Create key").click()
    secret = page.get_by_test_id("secret").inner_text()
    assert tollway.key_info(secret)["user_id"] == "linus"
    page.keyboard.press("Escape")
    expect(page.get_by_role("row", name="of linus")).to_be_visible()
    expect(page.get_by_role("row", name="of somebody else")).to_have_count(0)


def test_an_administrator_invites_and_who_is_invited_chooses_a_password(
    open_page: OpenPage, tollway: Gateway, axe_script: str
) -> None:
    new_user(tollway, "margaret", "proxy_admin_viewer", user_email="margaret@example.com")
    users = open_page("/ui/users")
    users.get_by_role("button", name="Actions for margaret@example.com").click()
    users.get_by_role("menuitem", name="Invite").click()
    link = users.get_by_test_id("invitation").inner_text()
    assert link.startswith(f"{tollway.url}/ui?invitation_id=")
    page = open_page(link, signed_in=False)
    expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_value("margaret@example.com")
    assert "invitation" not in page.url
    assert serious(page, axe_script) == []
    page.get_by_label("New password").first.fill("chosen by margaret")
    page.get_by_label("New password, once more").first.fill("chosen by margaret")
    page.get_by_role("button", name="Set password and sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="margaret@example.com").click()
    expect(page.get_by_role("menu")).to_contain_text("Viewer of everything")
    late = open_page(link, signed_in=False)
    expect(late.get_by_role("alert")).to_contain_text("used already or is too old")
    late.get_by_role("button", name="Sign in").click()
    sign_in(late, "margaret@example.com", "chosen by margaret")
    expect(late.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "said"),
    [("en-US", "took too long"), ("fr-FR", "a pris trop de temps"), ("es-ES", "tardó demasiado")],
)
def test_what_went_wrong_is_said_in_the_readers_language(open_page: OpenPage, locale: str, said: str) -> None:
    page = open_page("/ui/?sso_error=expired", signed_in=False, locale=locale)
    expect(page.get_by_role("alert")).to_contain_text(said)
    assert "sso_error" not in page.url
    unknown = open_page("/ui/?sso_error=<script>", signed_in=False, locale=locale)
    expect(unknown.get_by_role("alert")).to_be_visible()


def test_no_button_offers_a_sign_on_that_is_not_configured(open_page: OpenPage) -> None:
    page = open_page("/ui", signed_in=False)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("link")).to_have_count(0)


def test_who_may_only_look_is_offered_nothing_to_change(open_page: OpenPage, tollway: Gateway) -> None:
    new_user(tollway, "looker", "internal_user_viewer", password="a first password")
    tollway.new_key("of the looker", user_id="looker")
    page = open_page("/ui/keys", signed_in=False)
    sign_in(page, "looker", "a first password")
    expect(page.get_by_role("row", name="of the looker")).to_be_visible()
    expect(page.get_by_role("button", name="Create key")).to_have_count(0)
    page.get_by_role("button", name="Actions for of the looker").click()
    expect(page.get_by_role("menuitem")).to_have_count(1)


def test_a_user_plays_for_a_team_and_finds_the_call_in_the_log(
    open_page: OpenPage, tollway: Gateway, axe_script: str
) -> None:
    new_user(tollway, "joan", "internal_user", user_email="joan@example.com", password="joan's password")
    headers = {"authorization": f"Bearer {tollway.master_key}"}
    body = {"team_id": "core", "team_alias": "Core", "members_with_roles": [{"user_id": "joan", "role": "user"}]}
    answer = tollway.client.post("/team/new", json={**body, "models": ["second"]}, headers=headers)
    assert answer.status_code == 200, answer.text
    page = open_page("/ui/playground", signed_in=False)
    sign_in(page, "joan", "joan's password")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    page.get_by_role("combobox", name="On whose budget").click()
    page.get_by_role("option", name="Core").click()
    expect(page.get_by_role("combobox", name="Model", exact=True)).to_have_value("second")
    page.get_by_label("Your message").fill("Hello from Joan")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Model 1")).to_contain_text("You said: Hello from Joan")
    assert serious(page, axe_script) == []
    (call,) = tollway.client.get("/ui/api/logs", params={"user": "joan"}, headers=headers).json()["calls"]
    assert (call["team_id"], call["key_alias"]) == ("core", "dashboard:joan@example.com")
