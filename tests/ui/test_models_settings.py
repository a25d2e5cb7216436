"""The models, the settings, and what every page must keep to: how much it loads and how often it asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from .conftest import ANSWER_USD, OpenPage, Watch, configuration
from .gateway import Gateway
from .scripted import Scripted
from .test_dashboard import call, serious

BYTES_MAX = 300_000
REQUESTS_MAX = 4
#: Every page, and every part of one that asks for something of its own.
PAGES = (
    *("/ui", "/ui/logs", "/ui/keys", "/ui/teams", "/ui/users", "/ui/organizations", "/ui/budgets", "/ui/customers"),
    *("/ui/models", "/ui/playground", "/ui/connect", "/ui/settings", "/ui/settings?tab=routing"),
    *("/ui/settings?tab=state", "/ui/settings?tab=audit"),
)
WEATHER = '[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]'


@pytest.fixture(scope="module")
def tollway(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that may keep secrets, with a pair of deployments of which one is out of quota."""
    config = configuration(scripted.url)
    (first, *_) = config["model_list"]
    for model in ("gpt-4o", "busy"):
        params = {**first["litellm_params"], "model": f"openai/{model}"}
        config["model_list"].append({"model_name": "pair", "litellm_params": params})
    config["router_settings"] = {"num_retries": 1, "cooldown_time": 600, "fallbacks": [{"pair": ["gpt-4o"]}]}
    gateway = Gateway(config, tmp_path_factory.mktemp("models"), LITELLM_SALT_KEY="a long random text of nobody's")
    yield gateway
    gateway.stop()


def act(page: Page, row: Any, what: str) -> None:
    row.get_by_role("button", name="Actions for").click()
    page.get_by_role("menuitem", name=what, exact=True).click()


def test_a_model_is_tried_added_changed_and_deleted(open_page: OpenPage, tollway: Gateway, scripted: Scripted) -> None:
    page = open_page("/ui/models")
    page.get_by_role("button", name="Add a model").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Provider", exact=True).click()
    page.get_by_role("option", name=re.compile("openai_like")).click()
    dialog.get_by_role("combobox", name="The provider's model").fill("fail-always")
    dialog.get_by_role("textbox", name="Name for clients").fill("added here")
    dialog.get_by_label("API key").first.fill("sk-typed-by-hand-0123")
    dialog.get_by_label("Address (api_base)").fill(f"{scripted.url}/v1")
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.get_by_role("status")).to_contain_text("400 after")
    expect(dialog.get_by_role("status")).to_contain_text("No:")
    dialog.get_by_role("combobox", name="The provider's model").fill("gpt-4o")
    dialog.get_by_label("Price, million tokens in").fill("3")
    dialog.get_by_label("Price, million tokens out").fill("0.25")
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.get_by_role("status")).to_contain_text("You said: Say ok.")
    expect(dialog.get_by_role("status")).to_contain_text("1,200 in, 34 out")
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name="added here")
    expect(row).to_contain_text("$3.00 in, $0.25 out")
    expect(row).to_contain_text("added through the API")
    assert call(tollway, tollway.new_key("for the added"), model="added here").status_code == 200
    assert "sk-typed-by-hand" not in page.content()
    act(page, row, "Test")
    expect(row.get_by_role("status").last).to_contain_text("You said: Say ok.")
    act(page, row, "Change")
    expect(dialog.get_by_label("Price, million tokens in")).to_have_value("$3")
    dialog.get_by_label("Price, million tokens in").fill("4")
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.get_by_role("status")).to_contain_text("answered after")  # with the key that it has already
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("$4.00 in, $0.25 out")
    assert call(tollway, tollway.new_key("for the changed"), model="added here").status_code == 200
    act(page, row, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_a_stored_credential_gives_a_model_its_key(open_page: OpenPage, tollway: Gateway, scripted: Scripted) -> None:
    page = open_page("/ui/models")
    page.get_by_role("button", name="Credentials").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("shared")
    dialog.get_by_label("API key").first.fill("sk-of-the-credential-01")
    dialog.get_by_label("Address (api_base)").fill(f"{scripted.url}/v1")
    dialog.get_by_role("button", name="Add credential").click()
    expect(dialog.get_by_role("cell", name="shared", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Add a model").click()
    dialog.get_by_role("combobox", name="Provider", exact=True).click()
    page.get_by_role("option", name="OpenAI (openai)").click()
    dialog.get_by_role("combobox", name="The provider's model").fill("gpt-4o-mi")
    page.get_by_role("option", name="gpt-4o-mini", exact=True).click()
    expect(dialog).to_contain_text("$0.15 in, $0.60 out")  # what the price list says
    dialog.get_by_role("combobox", name="Credential").click()
    page.get_by_role("option", name="shared").click()
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name="openai/gpt-4o-mini")).to_contain_text("added through the API")
    assert call(tollway, tollway.new_key("by credential"), model="gpt-4o-mini").status_code == 200


def test_a_model_of_the_file_says_where_it_is_written(open_page: OpenPage) -> None:
    page = open_page("/ui/models")
    row = page.get_by_role("row", name="second")
    expect(row).to_contain_text("config.yaml:")
    row.get_by_role("button", name="Actions for").click()
    expect(page.get_by_role("menuitem", name=re.compile(r"Written in .*config\.yaml:\d+"))).to_be_disabled()
    expect(page.get_by_role("menuitem", name="Change", exact=True)).to_have_count(0)


def test_a_deployment_that_rests_says_why_and_until_when_and_is_let_out(open_page: OpenPage, tollway: Gateway) -> None:
    key = tollway.new_key("for the pair")
    for _ in range(30):  # each deployment is chosen by chance
        assert call(tollway, key, model="pair").status_code == 200
    page = open_page("/ui/models")
    row = page.get_by_role("row", name="openai/busy")
    expect(row).to_contain_text("rests until")
    expect(row).to_contain_text("Too many at once.")
    expect(row).to_contain_text("when it fails: gpt-4o")
    well = page.get_by_role("row", name=re.compile(r"^pair .* openai.gpt-4o "))
    expect(well).to_contain_text("ready")
    expect(well).to_contain_text(re.compile(r"p50 .*, p95 .* · 0 of \d+ failed"))
    act(page, row, "End its rest")
    expect(row).to_contain_text("ready")


def test_settings_say_what_is_in_force_and_where_it_came_from(open_page: OpenPage, tollway: Gateway) -> None:
    page = open_page("/ui/settings")
    routing = page.get_by_role("region", name="routing")
    row = routing.get_by_role("row", name="cooldown_s")
    expect(row).to_contain_text("600")
    expect(row).to_contain_text(re.compile(r"config\.yaml:\d+"))
    expect(page.get_by_role("row", name="master_key").first).to_contain_text("LITELLM_MASTER_KEY")
    for secret in (tollway.master_key, "sk-provider", "random text of nobody"):
        assert secret not in page.content()
    expect(page.get_by_role("row", name="head_bytes_max")).to_have_count(0)
    page.get_by_label("Show defaults, too").check(force=True)
    expect(page.get_by_role("row", name="head_bytes_max")).to_contain_text("default")
    page.get_by_label("Search").fill("cooldown_s")
    expect(page.get_by_role("region", name="routing").get_by_role("row")).to_have_count(2)
    page.get_by_role("tab", name="Routing").click()
    expect(page.get_by_text("when it fails: gpt-4o")).to_be_visible()
    expect(page.get_by_text("openai/busy · 50 %")).to_be_visible()
    page.get_by_role("tab", name="State").click()
    expect(page.get_by_role("region", name="Storage")).to_contain_text("tollway.db")
    expect(page.get_by_role("region", name="Gateway")).to_contain_text("console")
    licences = page.context.request.get(f"{tollway.url}/ui/assets/licences.txt").text()
    assert "react-dom " in licences
    assert "Permission is hereby granted" in licences


def test_the_changes_are_told_by_whom_and_what_differed(open_page: OpenPage, tollway: Gateway) -> None:
    headers = {"authorization": f"Bearer {tollway.master_key}", "litellm-changed-by": "grace"}
    for path, body in (
        ("/team/new", {"team_id": "t-audit", "team_alias": "before"}),
        ("/team/update", {"team_id": "t-audit", "team_alias": "after"}),
    ):
        assert httpx.post(f"{tollway.url}{path}", json=body, headers=headers).status_code == 200
    page = open_page("/ui/settings?tab=audit")
    page.get_by_label("By whom").fill("grace")
    page.get_by_label("Its id").fill("t-audit")
    entry = page.get_by_role("article", name="changed Team t-audit")
    entry.get_by_role("button", name="1 changes").click()
    expect(entry).to_contain_text('- alias: "before"')
    expect(entry).to_contain_text('+ alias: "after"')
    expect(entry).not_to_contain_text("updated_us")
    page.get_by_label("By whom").fill("nobody at all")
    expect(page.get_by_text("No changes here")).to_be_visible()


def test_a_tools_answer_is_given_by_hand_and_the_model_goes_on(open_page: OpenPage, scripted: Scripted) -> None:
    page = open_page("/ui/playground")
    page.get_by_label("Tools, as a JSON array").fill(WEATHER)
    page.get_by_label("Your message").fill("How is the weather?")
    page.get_by_role("button", name="Send").click()
    page.get_by_label("Answer of weather").fill("Rain all day")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Model 1")).to_contain_text("You said: Rain all day")
    *_, asked, answered = scripted.received[-1]["messages"]
    assert answered == {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "Rain all day"}


def test_the_overview_shows_times_users_and_whoever_else_is_asked_for(open_page: OpenPage, tollway: Gateway) -> None:
    made = httpx.post(
        f"{tollway.url}/user/new",
        json={"user_id": "u-1", "user_email": "ada@example.com", "max_budget": 0.01},
        headers={"authorization": f"Bearer {tollway.master_key}"},
    )
    assert made.status_code == 200, made.text
    for _ in range(2):
        assert call(tollway, made.json()["key"], user="customer-1").status_code == 200
    page = open_page("/ui")
    expect(page.get_by_role("figure", name="How long answers took")).to_be_visible()
    expect(page.get_by_role("row", name="ada@example.com").first).to_contain_text(f"${2 * ANSWER_USD:.5f}")
    expect(page.get_by_role("meter", name="u-1")).to_have_attribute("aria-valuenow", re.compile("^6[0-9]$"))
    page.get_by_label("More sums").select_option("end_user")
    expect(page.get_by_role("row", name="customer-1")).to_contain_text("2")
    page.get_by_role("button", name="1 day", exact=True).click()
    figure = page.get_by_role("figure", name="Calls per hour")
    chart = figure.get_by_role("application")
    chart.focus()
    page.keyboard.press("ArrowLeft")  # the newest hour is said in words, too
    expect(figure.get_by_role("status")).to_contain_text("Answered:")


def test_calls_are_found_by_team_user_and_end_user(open_page: OpenPage, tollway: Gateway) -> None:
    headers = {"authorization": f"Bearer {tollway.master_key}"}
    assert httpx.post(f"{tollway.url}/team/new", json={"team_id": "t-logs"}, headers=headers).status_code == 200
    call(tollway, tollway.new_key("of the team", team_id="t-logs"), user="c-logs")
    page = open_page("/ui/logs?team=t-logs")
    found = page.get_by_role("row", name="of the team")
    expect(found).to_have_count(1)
    page.get_by_label("End user").fill("c-logs")
    expect(found).to_have_count(1)
    page.get_by_label("End user").fill("another")
    expect(page.get_by_text("No calls here")).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_little_and_asks_little(open_page: OpenPage, tollway: Gateway, watch: Watch, path: str) -> None:
    page = open_page(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    asked = [request.url for request in watch.requests if request.resource_type in ("fetch", "xhr", "eventsource")]
    assert 1 <= len(asked) <= REQUESTS_MAX, asked
    assert len(asked) == len(set(asked))
    sizes = {request.url: request.sizes()["responseBodySize"] for request in watch.requests}
    # A browser asks for brotli over TLS and on this machine alone; the others get gzip.
    files = [url for url in sizes if "/ui/assets/" in url]
    zipped = sum(_gzip_bytes(url) for url in files)
    print(f"{path:28} {sum(sizes.values()):7} bytes, {zipped} of them or their like in gzip, {len(sizes)} requests")
    assert files
    assert sum(sizes.values()) < BYTES_MAX
    assert zipped + sum(size for url, size in sizes.items() if url not in files) < BYTES_MAX


def _gzip_bytes(url: str) -> int:
    with httpx.stream("GET", url, headers={"accept-encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        return sum(len(part) for part in answer.iter_raw())


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_axe_finds_nothing_serious_in_models_and_settings(open_page: OpenPage, axe_script: str, colors: str) -> None:
    page = open_page("/ui/models", color_scheme=colors)
    page.wait_for_load_state("networkidle")
    assert serious(page, axe_script) == []
    page.get_by_role("button", name="Add a model").click()
    page.get_by_role("dialog").get_by_role("combobox", name="Provider", exact=True).click()
    page.get_by_role("option", name="OpenAI (openai)").click()
    assert serious(page, axe_script) == []
    for tab in ("configuration", "routing", "state", "audit"):
        page.goto(f"/ui/settings?tab={tab}")
        page.wait_for_load_state("networkidle")
        assert serious(page, axe_script) == []


@pytest.mark.parametrize(("locale", "word"), [("fr-FR", "Réglages"), ("es-ES", "Ajustes")])
def test_settings_speak_the_readers_language(open_page: OpenPage, locale: str, word: str) -> None:
    page = open_page("/ui/settings?tab=state", locale=locale)
    expect(page.get_by_role("heading", level=1, name=word)).to_be_visible()


def test_every_word_is_there_in_each_language() -> None:
    folder = Path(__file__).parents[2] / "ui" / "src" / "i18n"
    words = {
        name: set(re.findall(r'^  "([\w.]+)":', (folder / f"{name}.ts").read_text(), re.MULTILINE))
        for name in ("en", "fr", "es")
    }
    assert words["fr"] == words["es"] == words["en"]
