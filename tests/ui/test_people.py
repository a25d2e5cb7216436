"""The pages of teams, users, organisations, budgets and customers in a real browser: what is done there is what the API says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import ANSWER_USD, OpenPage, Watch, configuration
from .gateway import Gateway
from .scripted import ATTACK, Scripted
from .test_dashboard import call, serious

pytestmark = pytest.mark.e2e

PAGES = ("teams", "users", "organizations", "budgets", "budgets?tab=tags", "customers")
Api = Callable[..., Any]


@pytest.fixture
def api(tollway: Gateway) -> Api:
    return asking(tollway)


def asking(gateway: Gateway) -> Api:
    """Asks the gateway's API as the master key."""

    def ask(route: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        method, path = route.split(" ")
        headers = {"authorization": f"Bearer {gateway.master_key}"}
        answer = gateway.client.request(method, path, params=query, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    return ask


@pytest.fixture(scope="module")
def untouched(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in which nobody was made yet."""
    gateway = Gateway(configuration(scripted.url), tmp_path_factory.mktemp("untouched"))
    yield gateway
    gateway.stop()


def act(page: Page | Locator, name: str, action: str) -> None:
    page.get_by_role("button", name=f"Actions for {name}", exact=True).click()
    root = page if isinstance(page, Page) else page.page
    root.get_by_role("menuitem", name=action, exact=True).click()


def row(page: Page | Locator, name: str) -> Locator:
    return page.get_by_role("row").filter(has_text=name)


def pick(dialog: Locator, label: str, option: str) -> None:
    dialog.get_by_role("combobox", name=label, exact=True).click()
    dialog.page.get_by_role("option", name=option, exact=True).click()


def confirm(page: Page, action: str = "Delete") -> None:
    page.get_by_role("dialog").last.get_by_role("button", name=action, exact=True).click()


# --- each page: made, changed, seen, gone


def test_a_team_is_made_filled_limited_blocked_and_deleted(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    page = open_page("/ui/teams")
    page.get_by_role("button", name="Create team").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Research")
    dialog.get_by_label("Budget in dollars").fill("12.000000001")
    dialog.get_by_label("Requests per minute").fill("600")
    dialog.get_by_label("Budget of each member").fill("3")
    dialog.get_by_role("combobox", name="Models it may call").click()
    page.get_by_role("option", name="gpt-4o", exact=True).click()
    page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Create team").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row(page, "Research")).to_contain_text("$0.00 of $12.00")
    (team,) = api("GET /v2/team/list", search="research")["teams"]
    assert (team["max_budget"], team["budget_duration"], team["rpm_limit"]) == (12.000000001, "monthly", 600)
    assert team["models"] == ["gpt-4o"]
    team_id = team["team_id"]

    act(page, "Research", "Change")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Budget in dollars")).to_have_value("12.000000001")
    dialog.get_by_label("Requests per minute").fill("")
    dialog.get_by_label("Tokens per minute").fill("5000")
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "Research")).to_contain_text("5K tpm")
    changed = api("GET /team/info", team_id=team_id)["team_info"]
    assert (changed["rpm_limit"], changed["tpm_limit"], changed["max_budget"]) == (None, 5000, 12.000000001)

    page.get_by_role("button", name="Research", exact=True).click()
    drawer = page.get_by_role("dialog", name="Research")
    drawer.get_by_role("button", name="Add a member").click()
    adding = page.get_by_role("dialog", name="Add a member")
    adding.get_by_label("E-mail address or user id").fill("grace@example.com")
    adding.get_by_label("Budget in this team").fill("0.5")
    adding.get_by_role("button", name="Add a member").click()
    member = row(drawer, "grace@example.com")
    expect(member).to_contain_text("$0.00 of $0.50")
    drawer.get_by_label("Role of grace@example.com").select_option("admin")
    expect(drawer.get_by_label("Role of grace@example.com")).to_have_value("admin")
    act(drawer, "grace@example.com", "Set budget and limits")
    held = page.get_by_role("dialog", name="Budget of grace@example.com in the team")
    held.get_by_label("Budget in dollars").fill("0.75")
    held.get_by_role("button", name="Save").click()
    expect(member).to_contain_text("of $0.75")
    info = api("GET /team/info", team_id=team_id)
    (grace,) = [one for one in info["team_info"]["members_with_roles"] if one["user_email"] == "grace@example.com"]
    assert grace["role"] == "admin"
    (membership,) = [one for one in info["team_memberships"] if one["user_id"] == grace["user_id"]]
    assert membership["litellm_budget_table"]["max_budget"] == 0.75
    assert membership["litellm_budget_table"]["budget_duration"] == "monthly"

    key = tollway.new_key("of research", team_id=team_id, user_id=grace["user_id"])
    assert call(tollway, key).status_code == 200
    drawer.get_by_role("tab", name="Keys").click()
    expect(row(drawer, "of research")).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    drawer.get_by_role("tab", name="Spend").click()
    expect(row(drawer, "grace@example.com")).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    expect(row(drawer, "gpt-4o")).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    expect(drawer).to_contain_text("in 30 days, 1 calls")
    drawer.get_by_role("tab", name="Rules for members").click()
    drawer.get_by_label("Make keys", exact=True).check()
    expect(drawer.get_by_role("status")).to_have_text("Saved")
    assert api("GET /team/permissions_list", team_id=team_id)["team_member_permissions"] == ["/key/generate"]
    drawer.get_by_role("tab", name="Members", exact=True).click()
    act(drawer, "grace@example.com", "Remove")
    confirm(page, "Remove")
    expect(member).to_have_count(0)
    assert call(tollway, key).status_code == 401  # the member's keys in the team are gone, as the dialog said
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    other = tollway.new_key("another of research", team_id=team_id)
    act(page, "Research", "Block")
    expect(row(page, "Research")).to_contain_text("Blocked")
    assert call(tollway, other).status_code == 401
    act(page, "Research", "Unblock")
    expect(row(page, "Research")).to_contain_text("Active")
    page.reload()
    act(page, "Research", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("Its 1 keys are deleted with it")
    confirm(page)
    expect(row(page, "Research")).to_have_count(0)
    api("GET /team/info", team_id=team_id, status=404)


def test_a_user_is_made_with_a_key_changed_found_and_deleted(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    team_id = api("POST /team/new", {"team_alias": "For Ada"})["team_id"]
    page = open_page("/ui/users")
    page.get_by_role("button", name="Create user").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("E-mail address").fill("ada@example.com")
    dialog.get_by_label("Name").fill("Ada Lovelace")
    dialog.get_by_label("User id").fill("ada")
    dialog.get_by_label("Budget in dollars").fill("7.5")
    pick(dialog, "Team", "For Ada")
    dialog.get_by_label("Make a first key").check(force=True)
    dialog.get_by_role("button", name="Create user").click()
    secret = page.get_by_test_id("secret").inner_text()
    page.keyboard.press("Escape")
    found = row(page, "ada@example.com")
    expect(found).to_contain_text("$0.00 of $7.50")
    made = api("GET /user/info", user_id="ada")
    assert made["user_info"]["user_role"] == "internal_user"
    assert (made["user_info"]["max_budget"], made["user_info"]["user_alias"]) == (7.5, "Ada Lovelace")
    assert [one["team_id"] for one in made["teams"]] == [team_id]
    assert call(tollway, secret).status_code == 200

    act(page, "ada@example.com", "Change")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Role").click()
    page.get_by_role("option", name="Viewer of everything").click()
    dialog.get_by_label("Budget in dollars").fill("")
    dialog.get_by_role("button", name="Save").click()
    expect(found).to_contain_text("Viewer of everything")
    expect(found).to_contain_text("no budget")
    changed = api("GET /user/info", user_id="ada")["user_info"]
    assert (changed["user_role"], changed["max_budget"]) == ("proxy_admin_viewer", None)

    api("POST /user/new", {"user_id": "somebody-else", "auto_create_key": False})
    page.get_by_label("Search by e-mail, name or id").fill("LOVELACE")
    expect(page.get_by_role("status").filter(has_text="1 users")).to_be_visible()
    page.get_by_role("button", name="ada@example.com").first.click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_contain_text("Viewer of everything")
    expect(drawer.get_by_role("link", name="For Ada")).to_have_attribute("href", f"/ui/teams?team={team_id}")
    drawer.get_by_role("tab", name="Keys").click()
    expect(row(drawer, "sk-...")).to_have_count(1)
    drawer.get_by_role("tab", name="Spend").click()
    expect(row(drawer, "gpt-4o")).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    page.keyboard.press("Escape")
    act(page, "ada@example.com", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("1 keys are deleted with this user")
    confirm(page)
    expect(page.get_by_text("Nothing fits")).to_be_visible()
    assert call(tollway, secret).status_code == 401
    assert api("GET /user/list", search="lovelace")["total"] == 0
    page.get_by_role("button", name="Clear the search").click()
    expect(row(page, "somebody-else")).to_be_visible()
    api("POST /user/delete", {"user_ids": ["somebody-else"]})
    api("POST /team/delete", {"team_ids": [team_id]})


def test_a_new_user_is_invited_blocked_and_let_in_again(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    page = open_page("/ui/users")
    page.get_by_role("button", name="Create user").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("E-mail address").fill("mary@example.com")
    dialog.get_by_label("Invite to choose a password").check(force=True)
    dialog.get_by_role("button", name="Create user").click()
    expect(page.get_by_role("dialog", name="Invite mary@example.com")).to_be_visible()
    assert page.get_by_test_id("invitation").inner_text().startswith(f"{tollway.url}/ui?invitation_id=")
    page.keyboard.press("Escape")
    (mary,) = api("GET /user/list", search="mary@")["users"]
    key = tollway.new_key("of mary", user_id=mary["user_id"])
    act(page, "mary@example.com", "Block")
    confirm(page, "Block")
    expect(row(page, "mary@example.com")).to_contain_text("Blocked")
    assert call(tollway, key).status_code in (401, 403)
    act(page, "mary@example.com", "Unblock")
    expect(row(page, "mary@example.com")).not_to_contain_text("Blocked")
    assert call(tollway, key).status_code == 200
    api("POST /user/delete", {"user_ids": [mary["user_id"]]})


def test_an_organisation_holds_teams_and_members_and_is_deleted_once_it_is_empty(open_page: OpenPage, api: Api) -> None:
    api("POST /budget/new", {"budget_id": "fifty a month", "max_budget": 50, "budget_duration": "monthly"})
    page = open_page("/ui/organizations")
    page.get_by_role("button", name="Create organisation").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Acme")
    pick(dialog, "Shared budget", "fifty a month")
    expect(dialog.get_by_label("Budget in dollars")).to_have_count(0)  # the limits are those of the shared budget
    dialog.get_by_role("button", name="Create organisation").click()
    expect(row(page, "Acme")).to_contain_text("$0.00 of $50.00")
    (made,) = api("GET /organization/list", search="acme", page=1)["organizations"]
    assert made["budget_id"] == "fifty a month"
    organization_id = made["organization_id"]

    act(page, "Acme", "Change")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("combobox", name="Shared budget")).to_have_value("fifty a month")
    pick(dialog, "Shared budget", "None")
    dialog.get_by_label("Budget in dollars").fill("80")
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "Acme")).to_contain_text("of $80.00")
    changed = api("GET /organization/info", organization_id=organization_id)
    assert changed["litellm_budget_table"]["max_budget"] == 80.0
    assert api("POST /budget/info", {"budgets": ["fifty a month"]})[0]["max_budget"] == 50.0  # nobody else's changed

    team = {"team_alias": "Acme's team", "organization_id": organization_id}
    team_id = api("POST /team/new", team)["team_id"]
    page.reload()
    page.get_by_role("button", name="Acme", exact=True).click()
    drawer = page.get_by_role("dialog", name="Acme")
    expect(drawer.get_by_role("link", name="Acme's team")).to_be_visible()
    drawer.get_by_role("tab", name="Members").click()
    drawer.get_by_role("button", name="Add a member").click()
    adding = page.get_by_role("dialog", name="Add a member")
    adding.get_by_label("E-mail address or user id").fill("linus")
    adding.get_by_role("combobox", name="Role").click()
    page.get_by_role("option", name="Organisation administrator").click()
    adding.get_by_role("button", name="Add a member").click()
    expect(drawer.get_by_label("Role of linus")).to_have_value("org_admin")
    drawer.get_by_label("Role of linus").select_option("internal_user")
    expect(drawer.get_by_label("Role of linus")).to_have_value("internal_user")
    (member,) = api("GET /organization/info", organization_id=organization_id)["members"]
    assert (member["user_id"], member["user_role"]) == ("linus", "internal_user")
    act(drawer, "linus", "Remove")
    confirm(page, "Remove")
    expect(drawer.get_by_text("No members yet")).to_be_visible()
    page.keyboard.press("Escape")

    act(page, "Acme", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("It still has 1 teams")
    confirm(page)
    expect(page.get_by_role("alert")).to_contain_text(f"has the team '{team_id}'; delete or move it first")
    page.keyboard.press("Escape")
    api("POST /team/delete", {"team_ids": [team_id]})
    page.reload()
    act(page, "Acme", "Delete")
    confirm(page)
    expect(row(page, "Acme")).to_have_count(0)
    assert api("GET /organization/list", search="acme", page=1)["total"] == 0
    api("POST /budget/delete", {"id": "fifty a month"})
    api("POST /user/delete", {"user_ids": ["linus"]})


def test_a_shared_budget_is_made_named_by_others_changed_and_deleted(
    open_page: OpenPage, tollway: Gateway, api: Api
) -> None:
    page = open_page("/ui/budgets")
    page.get_by_role("button", name="Create budget").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("free tier")
    dialog.get_by_label("Budget in dollars").fill("0.000000002")
    dialog.get_by_label("Tokens per minute").fill("1000")
    dialog.get_by_role("button", name="Create budget").click()
    expect(row(page, "free tier")).to_contain_text("1K tpm")
    (made,) = api("POST /budget/info", {"budgets": ["free tier"]})
    assert (made["max_budget"], made["budget_duration"], made["tpm_limit"]) == (0.000000002, "monthly", 1000)
    act(page, "free tier", "Change")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Budget in dollars")).to_have_value("0.000000002")
    dialog.get_by_label("Budget in dollars").fill("2")
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "free tier")).to_contain_text("$2.00")
    (changed,) = api("POST /budget/info", {"budgets": ["free tier"]})
    assert (changed["max_budget"], changed["tpm_limit"]) == (2.0, 1000)

    tollway.new_key("on the free tier", budget_id="free tier")
    api("POST /customer/new", {"user_id": "c-free", "budget_id": "free tier"})
    act(page, "free tier", "Who is held to it")
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_role("listitem").filter(has_text="on the free tier")).to_be_visible()
    expect(drawer.get_by_role("heading", name="Customers (1)")).to_be_visible()
    page.keyboard.press("Escape")
    act(page, "free tier", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("2 are held to it")
    confirm(page)
    expect(row(page, "free tier")).to_have_count(0)
    assert api("GET /budget/list", search="free tier", page=1)["total"] == 0
    api("POST /customer/delete", {"user_ids": ["c-free"]})


def test_a_tag_that_calls_brought_gets_a_budget(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    key = tollway.new_key("for tags")
    assert call(tollway, key, metadata={"tags": ["nightly job"]}).status_code == 200
    page = open_page("/ui/budgets?tab=tags")
    found = row(page, "nightly job")
    expect(found).to_contain_text("brought by calls, not registered")
    expect(found).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    act(page, "nightly job", "Give a budget")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Description").fill("the report at night")
    dialog.get_by_label("Budget in dollars").fill("4")
    dialog.get_by_role("button", name="Create tag").click()
    expect(found).to_contain_text("of $4.00")
    tag = api("POST /tag/info", {"names": ["nightly job"]})["nightly job"]
    assert (tag["description"], tag["litellm_budget_table"]["max_budget"]) == ("the report at night", 4.0)
    page.get_by_role("button", name="nightly job", exact=True).click()
    expect(row(page.get_by_role("dialog"), "for tags")).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    page.keyboard.press("Escape")
    act(page, "nightly job", "Delete")
    confirm(page)
    expect(found).to_contain_text("brought by calls, not registered")
    api("POST /tag/info", {"names": ["nightly job"]}, status=404)


def test_a_customer_who_was_only_named_is_blocked_given_a_budget_and_forgotten(
    open_page: OpenPage, tollway: Gateway, api: Api
) -> None:
    key = tollway.new_key("for customers")
    assert call(tollway, key, user="customer-7").status_code == 200
    page = open_page("/ui/customers")
    found = row(page, "customer-7")
    expect(found).to_contain_text("named in calls, not registered")
    expect(found).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    act(page, "customer-7", "Block")
    expect(found).to_contain_text("Blocked")
    refused = call(tollway, key, user="customer-7")
    assert refused.status_code in (400, 401, 403)
    page.get_by_role("combobox", name="State").click()
    page.get_by_role("option", name="Active").click()
    expect(found).to_have_count(0)
    page.get_by_role("combobox", name="State").click()
    page.get_by_role("option", name="Blocked").click()
    act(page, "customer-7", "Unblock")
    expect(page.get_by_text("No customer is in this state.")).to_be_visible()
    page.get_by_role("combobox", name="State").click()
    page.get_by_role("option", name="Any").click()
    assert call(tollway, key, user="customer-7").status_code == 200
    act(page, "customer-7", "Change")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Seventh Heaven Ltd")
    dialog.get_by_label("Budget in dollars").fill("9")
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "Seventh Heaven Ltd")).to_contain_text("of $9.00")
    info = api("GET /customer/info", end_user_id="customer-7")
    assert (info["alias"], info["litellm_budget_table"]["max_budget"]) == ("Seventh Heaven Ltd", 9.0)
    page.get_by_role("button", name="Seventh Heaven Ltd").first.click()
    expect(row(page.get_by_role("dialog"), "gpt-4o")).to_be_visible()
    page.keyboard.press("Escape")
    act(page, "Seventh Heaven Ltd", "Delete")
    confirm(page)
    expect(found).to_contain_text("named in calls, not registered")
    assert api("GET /customer/info", end_user_id="customer-7")["litellm_budget_table"] is None

    page.get_by_role("button", name="Register customer").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Customer id").fill("customer-8")
    dialog.get_by_role("button", name="Register customer").click()
    expect(row(page, "customer-8")).to_contain_text("Active")
    api("POST /customer/delete", {"user_ids": ["customer-8"]})


def test_a_key_is_made_for_a_team_a_user_and_a_budget(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    team_id = api("POST /team/new", {"team_alias": "Key owners"})["team_id"]
    api("POST /user/new", {"user_id": "key-owner", "user_email": "owner@example.com", "auto_create_key": False})
    api("POST /team/member_add", {"team_id": team_id, "member": {"user_id": "key-owner", "role": "user"}})
    api("POST /budget/new", {"budget_id": "ten", "max_budget": 10})
    page = open_page(f"/ui/teams?team={team_id}")
    page.get_by_role("dialog").get_by_role("tab", name="Keys").click()
    page.get_by_role("dialog").get_by_role("link", name="Create key").click()
    dialog = page.get_by_role("dialog", name="Create key")
    dialog.get_by_label("Name").fill("owned")
    pick(dialog, "User", "owner@example.com")
    pick(dialog, "Shared budget", "ten")
    dialog.get_by_role("button", name="Create key").click()
    secret = page.get_by_test_id("secret").inner_text()
    info = tollway.key_info(secret)
    assert (info["team_id"], info["user_id"], info["budget_id"]) == (team_id, "key-owner", "ten")
    page.keyboard.press("Escape")
    expect(page.get_by_role("row", name="owned")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(2)  # the heads, and this team's only key
    page.get_by_role("button", name="Show all keys").click()
    expect(page).to_have_url(f"{tollway.url}/ui/keys")
    api("POST /team/delete", {"team_ids": [team_id]})
    api("POST /user/delete", {"user_ids": ["key-owner"]})
    api("POST /budget/delete", {"id": "ten"})


# --- what every page owes


@pytest.mark.parametrize(
    ("path", "says", "offers"),
    [
        ("teams", "No teams yet", "Create team"),
        ("users", "No users yet", "Create user"),
        ("organizations", "No organisations yet", "Create organisation"),
        ("budgets", "No shared budgets yet", "Create budget"),
        ("budgets?tab=tags", "No tags yet", "Create tag"),
        ("customers", "No customers yet", "Register customer"),
    ],
)
def test_an_empty_page_says_what_to_do_next(
    open_page: OpenPage, untouched: Gateway, watch: Watch, path: str, says: str, offers: str
) -> None:
    watch.own = untouched.url
    page = open_page(f"/ui/{path}", of=untouched)
    expect(page.get_by_text(says)).to_be_visible()
    page.get_by_role("button", name=offers).last.click()
    expect(page.get_by_role("dialog").get_by_role("button", name=offers)).to_be_visible()


def test_what_the_gateway_refuses_is_said_where_it_was_asked(open_page: OpenPage, api: Api) -> None:
    api("POST /user/new", {"user_id": "taken", "auto_create_key": False})
    page = open_page("/ui/users")
    page.get_by_role("button", name="Create user").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("User id").fill("taken")
    dialog.get_by_role("button", name="Create user").click()
    expect(dialog.get_by_role("alert")).to_contain_text("User with id taken already exists")
    api("POST /user/delete", {"user_ids": ["taken"]})


@pytest.mark.parametrize("path", PAGES)
def test_opening_a_page_asks_at_most_four_questions(open_page: OpenPage, watch: Watch, path: str) -> None:
    page = open_page(f"/ui/{path}")
    page.wait_for_load_state("networkidle")
    asked = [request.url for request in watch.requests if request.resource_type in ("fetch", "xhr", "eventsource")]
    assert 1 <= len(asked) <= 4, asked
    sizes = [request.sizes()["responseBodySize"] for request in watch.requests if "/ui" in request.url]
    print(f"{path}: {sum(sizes)} bytes in {len(sizes)} files, {len(asked)} questions")
    assert sum(sizes) < 300_000


def test_what_others_wrote_is_text_on_every_page(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    said = f"of them {ATTACK}"
    api("POST /user/new", {"user_id": said, "user_alias": said, "user_email": said, "auto_create_key": False})
    organization_id = api("POST /organization/new", {"organization_alias": said})["organization_id"]
    team = {"team_alias": said, "organization_id": organization_id, "members_with_roles": [{"user_id": said}]}
    team_id = api("POST /team/new", team)["team_id"]
    api(
        "POST /organization/member_add",
        {"organization_id": organization_id, "member": {"user_id": said, "role": "org_admin"}},
    )
    api("POST /budget/new", {"budget_id": said, "max_budget": 100})
    api("POST /tag/new", {"name": said, "description": said, "budget_id": said})
    api("POST /customer/new", {"user_id": said, "alias": said, "budget_id": said})
    key = tollway.new_key(f"key {said}", team_id=team_id, user_id=said, budget_id=said)
    assert call(tollway, key, user=said, metadata={"tags": [said]}).status_code == 200
    script = "<script>window.attacked=1</script>"
    for path in PAGES:
        page = open_page(f"/ui/{path}")
        expect(page.get_by_text(script).first).to_be_attached()
        page.get_by_role("button", name=said, exact=True).first.click()
        drawer = page.get_by_role("dialog")
        expect(drawer).to_contain_text(script)
        for tab in drawer.get_by_role("tab").all():
            tab.click()
            page.wait_for_load_state("networkidle")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        act(page, said, "Delete")
        expect(page.get_by_role("dialog")).to_contain_text(script)
        assert page.evaluate("window.attacked") is None
    api("POST /team/delete", {"team_ids": [team_id]})
    api("DELETE /organization/delete", {"organization_ids": [organization_id]})
    for route, body in (("user", {"user_ids": [said]}), ("customer", {"user_ids": [said]}), ("tag", {"name": said})):
        api(f"POST /{route}/delete", body)
    api("POST /budget/delete", {"id": said})


@pytest.fixture
def somebody(tollway: Gateway, api: Api) -> Iterator[None]:
    """One of each, with a call, so that every page has something to show."""
    api(
        "POST /user/new", {"user_id": "one", "user_email": "one@example.com", "max_budget": 2, "auto_create_key": False}
    )
    api("POST /organization/new", {"organization_id": "one", "organization_alias": "One", "max_budget": 2})
    members = [{"user_id": "one", "role": "admin"}]
    api("POST /team/new", {"team_id": "one", "team_alias": "One", "max_budget": 2, "members_with_roles": members})
    api("POST /organization/member_add", {"organization_id": "one", "member": {"user_id": "one", "role": "org_admin"}})
    api("POST /budget/new", {"budget_id": "one", "max_budget": 2, "budget_duration": "monthly"})
    api("POST /tag/new", {"name": "one", "budget_id": "one"})
    api("POST /customer/new", {"user_id": "one", "budget_id": "one"})
    key = tollway.new_key("key of one", team_id="one", user_id="one")
    assert call(tollway, key, user="one", metadata={"tags": ["one"]}).status_code == 200
    yield
    api("POST /team/delete", {"team_ids": ["one"]})
    api("DELETE /organization/delete", {"organization_ids": ["one"]})
    for route, body in (("user", {"user_ids": ["one"]}), ("customer", {"user_ids": ["one"]}), ("tag", {"name": "one"})):
        api(f"POST /{route}/delete", body)
    api("POST /budget/delete", {"id": "one"})


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize(("locale", "colors"), [("en-US", "light"), ("fr-FR", "dark"), ("es-ES", "light")])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious_in_list_drawer_and_form(
    open_page: OpenPage, axe_script: str, path: str, locale: str, colors: str
) -> None:
    page = open_page(f"/ui/{path}", locale=locale, color_scheme=colors)
    first = page.locator("tbody tr").first
    expect(first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert serious(page, axe_script) == []
    first.get_by_role("button").first.click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_be_visible()
    for tab in drawer.get_by_role("tab").all() or [None]:
        if tab is not None:
            tab.click()
        page.wait_for_load_state("networkidle")
        assert serious(page, axe_script) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    first.get_by_role("button").last.click()
    page.get_by_role("menuitem").nth(1).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert serious(page, axe_script) == []


@pytest.mark.usefixtures("somebody")
def test_the_keyboard_opens_a_team_and_goes_back_to_where_it_was(open_page: OpenPage) -> None:
    page = open_page("/ui/teams")
    name = page.get_by_role("button", name="One", exact=True)
    name.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.url.endswith("/ui/teams?team=one")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(name).to_be_focused()
    menu = page.get_by_role("button", name="Actions for One", exact=True)
    menu.focus()
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="Change", exact=True).press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()


def test_what_a_role_may_not_do_is_not_offered(open_page: OpenPage, tollway: Gateway, api: Api) -> None:
    for user in ("lead", "plain"):
        fields = {"user_id": user, "user_email": f"{user}@example.com", "user_role": "internal_user"}
        api("POST /user/new", {**fields, "password": "a long password", "auto_create_key": False})
    members = [{"user_id": "lead", "role": "admin"}, {"user_id": "plain", "role": "user"}]
    api("POST /team/new", {"team_id": "theirs", "team_alias": "Theirs", "members_with_roles": members})
    api("POST /team/new", {"team_id": "others", "team_alias": "Others"})

    def sees(user: str) -> Page:
        page = open_page("/ui/teams", signed_in=False)
        page.get_by_label("User name").fill(f"{user}@example.com")
        page.get_by_label("Master key or password").first.fill("a long password")
        page.keyboard.press("Enter")
        expect(row(page, "Theirs")).to_be_visible()
        expect(row(page, "Others")).to_have_count(0)
        for link in ("Users", "Budgets", "Customers"):
            expect(page.get_by_role("link", name=link, exact=True)).to_have_count(0)
        expect(page.get_by_role("button", name="Create team")).to_have_count(0)
        page.get_by_role("button", name="Theirs", exact=True).click()
        drawer = page.get_by_role("dialog", name="Theirs")
        expect(row(drawer, "lead@example.com")).to_be_visible()
        expect(drawer.get_by_role("button", name="Change", exact=True)).to_have_count(0)
        return page

    plain = sees("plain").get_by_role("dialog", name="Theirs")
    expect(plain.get_by_role("button", name="Add a member")).to_have_count(0)
    expect(plain.get_by_role("tab", name="Rules for members")).to_have_count(0)
    expect(plain.get_by_label("Role of lead@example.com")).to_have_count(0)
    page = sees("lead")
    drawer = page.get_by_role("dialog", name="Theirs")
    act(drawer, "plain@example.com", "Remove")
    confirm(page, "Remove")
    expect(row(drawer, "plain@example.com")).to_have_count(0)
    assert [one["user_id"] for one in api("GET /team/info", team_id="theirs")["team_info"]["members_with_roles"]] == [
        "lead",
        "default_user_id",
    ]
    api("POST /team/delete", {"team_ids": ["theirs", "others"]})
    api("POST /user/delete", {"user_ids": ["lead", "plain"]})


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-US", ("Teams", "Users", "Organisations", "Budgets", "Customers")),
        ("fr-FR", ("Équipes", "Utilisateurs", "Organisations", "Budgets", "Clients finaux")),
        ("es-ES", ("Equipos", "Usuarios", "Organizaciones", "Presupuestos", "Clientes finales")),
    ],
)
def test_every_page_opens_in_each_language(open_page: OpenPage, locale: str, words: tuple[str, ...]) -> None:
    page = open_page("/ui", locale=locale)
    for word in words:
        page.get_by_role("link", name=word, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=word)).to_be_visible()
    assert page.locator("html").get_attribute("lang") == locale[:2]


def test_teams_are_searched_sorted_and_turned_over_on_the_server(
    open_page: OpenPage, untouched: Gateway, watch: Watch
) -> None:
    api = asking(untouched)
    watch.own = untouched.url
    made = [api("POST /team/new", {"team_alias": f"team {number:03}"})["team_id"] for number in range(120)]
    page = open_page("/ui/teams", of=untouched)
    expect(page.get_by_text("120 teams")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("button", name="Name").click()
    expect(page.locator("tbody tr").first).to_contain_text("team 000")
    page.get_by_role("button", name="Page 3", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(20)
    expect(page.locator("tbody tr").last).to_contain_text("team 119")
    page.get_by_label("Search by name or id").fill("TEAM 07")
    expect(page.locator("tbody tr")).to_have_count(10)
    assert all("/v2/team/list" in one.url for one in watch.requests if "/team/" in one.url)
    for start in range(0, 120, 60):
        api("POST /team/delete", {"team_ids": made[start : start + 60]})
