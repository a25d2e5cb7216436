"""The pictures in `docs/dashboard.md`: run with `make screenshots`. No test, so that no test run draws them anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, configuration
from .gateway import Gateway
from .scripted import Scripted

FOLDER = Path(__file__).parents[2] / "docs" / "images"
SIZE = {"width": 1280, "height": 800}
BYTES_MAX = 100_000
QUESTIONS = ("What is a toll road?", "Write a haiku about budgets.", "Summarise this contract.", "Why is the sky blue?")


@pytest.fixture(scope="session")
def tollway(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = configuration(scripted.url)
    config["model_list"] = config["model_list"][:1]
    (first,) = config["model_list"]
    for name in ("gpt-4o-mini", "o4-mini", "gpt-4.1"):
        params = {**first["litellm_params"], "model": f"openai/{name}"}
        del params["input_cost_per_token"], params["output_cost_per_token"]
        config["model_list"].append({"model_name": name, "litellm_params": params})
    config["litellm_settings"] = {"max_budget": 25.0, "budget_duration": "monthly"}
    gateway = Gateway(config, tmp_path_factory.mktemp("tollway"))
    _work(gateway)
    _people(gateway)
    yield gateway
    gateway.stop()


def _work(gateway: Gateway) -> None:
    """Enough calls for the pages to have something to show."""
    for place, (alias, budget) in enumerate((("openclaw", 0.12), ("claude-code", 5.0), ("nightly-report", 0.05))):
        key = gateway.new_key(
            alias, max_budget=budget, budget_duration="monthly", rpm_limit=60, metadata={"tags": [f"team-{place}"]}
        )
        for turn in range(9 - 2 * place):
            model = ("gpt-4o", "gpt-4o-mini", "o4-mini")[(turn + place) % 3]
            _ask(gateway, key, model if turn != 4 else "gpt-5", QUESTIONS[turn % len(QUESTIONS)], stream=turn % 2 == 0)


TEAMS = (("Research", "labs", 40.0, 5), ("Support", "operations", 0.05, 3), ("Website", "operations", 12.5, 4))
USERS = ("ada", "grace", "linus", "margaret", "edsger")
CUSTOMERS = ("harbour-books", "northwind", "alpine-cafe", "lighthouse", "old-mill")


def _people(gateway: Gateway) -> None:
    """An organisation chart, and calls by it."""

    def make(path: str, **fields: object) -> None:
        headers = {"authorization": f"Bearer {gateway.master_key}"}
        answer = gateway.client.post(path, json=fields, headers=headers)
        assert answer.status_code == 200, answer.text

    make("/budget/new", budget_id="free tier", max_budget=1, budget_duration="monthly", rpm_limit=20)
    make("/budget/new", budget_id="professional", max_budget=25, budget_duration="monthly", tpm_limit=200_000)
    make("/budget/new", budget_id="one week's trial", max_budget=5, budget_duration="7d")
    make("/customer/new", user_id="northwind", alias="Northwind Traders", budget_id="professional")
    make("/customer/new", user_id="alpine-cafe", alias="Alpine Café", budget_id="free tier")
    for place, name in enumerate(USERS):
        role = ("proxy_admin", "internal_user", "internal_user", "proxy_admin_viewer", "internal_user")[place]
        budget = {"max_budget": 10.0, "budget_duration": "monthly"} if place % 2 else {}
        make(
            "/user/new", user_id=name, user_email=f"{name}@example.com", user_role=role, auto_create_key=False, **budget
        )
    for name, alias in (("labs", "Example Labs"), ("operations", "Example Operations")):
        make(
            "/organization/new",
            organization_id=name,
            organization_alias=alias,
            max_budget=100,
            budget_duration="monthly",
        )
    for place, (alias, organization, budget, size) in enumerate(TEAMS):
        members = [{"user_id": user, "role": "user" if at else "admin"} for at, user in enumerate(USERS[:size])]
        make(
            "/team/new",
            team_id=alias.lower(),
            team_alias=alias,
            organization_id=organization,
            max_budget=budget,
            budget_duration="monthly",
            team_member_budget=2.5,
            rpm_limit=100 * (place + 1),
            models=["gpt-4o", "o4-mini"] if place else [],
            members_with_roles=members,
        )
        for at, user in enumerate(USERS[:size]):
            key = gateway.new_key(f"{alias.lower()}-{user}", team_id=alias.lower(), user_id=user)
            for turn in range(5 - at):
                _ask(
                    gateway, key, ("gpt-4o", "o4-mini")[turn % 2], QUESTIONS[turn % 4], user=CUSTOMERS[(turn + at) % 5]
                )
    make("/customer/block", user_ids=["old-mill"])


def _ask(gateway: Gateway, key: str, model: str, text: str, *, stream: bool = False, **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **more}
    return gateway.client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def picture(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"dashboard-{name}.jpg"
    page.screenshot(path=path, type="jpeg", quality=70)
    assert path.stat().st_size < BYTES_MAX, f"{path.name} has {path.stat().st_size} bytes"


@pytest.mark.parametrize(
    ("name", "colors"),
    [
        ("overview", "light"),
        ("logs", "dark"),
        ("keys", "light"),
        ("teams", "light"),
        ("users", "light"),
        ("organizations", "dark"),
        ("budgets", "light"),
        ("customers", "light"),
        ("models", "light"),
        ("settings", "light"),
        ("connect", "light"),
    ],
)
def test_a_page(open_page: OpenPage, name: str, colors: str) -> None:
    page = open_page("/ui" if name == "overview" else f"/ui/{name}", color_scheme=colors)
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]  # the two numbers it wants
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    picture(page, name)


def test_a_call(open_page: OpenPage) -> None:
    page = open_page("/ui/logs")
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]  # as above
    page.get_by_role("row").nth(1).get_by_role("button").first.click()
    picture(page, "call")


def test_the_playground(open_page: OpenPage) -> None:
    page = open_page("/ui/playground")
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]  # as above
    page.get_by_label("Compare with a second model").check()
    page.get_by_label("Your message").fill("What is a toll road?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_test_id("facts-1")).to_contain_text("total")
    picture(page, "playground")


def test_a_team(open_page: OpenPage) -> None:
    page = open_page("/ui/teams?team=research")
    page.set_viewport_size(SIZE)  # type: ignore[arg-type]  # as above
    expect(page.get_by_role("dialog").get_by_text("grace@example.com")).to_be_visible()
    picture(page, "team")
