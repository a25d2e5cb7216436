from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from .browser import axe, chromium
from .gateway import Gateway
from .scripted import ATTACK, INPUT_TOKENS, OUTPUT_TOKENS, Scripted

#: Dollars a token, and what one answer of the provider costs with them.
PRICES = {"input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001}
ANSWER_USD = INPUT_TOKENS * 2.5e-6 + OUTPUT_TOKENS * 1e-5
#: The names that the gateway serves; one of them is an attack.
NAMES = ("gpt-4o", "second", "failing", ATTACK)


def configuration(url: str) -> dict[str, Any]:
    def deployment(name: str, model: str) -> dict[str, Any]:
        params = {"model": f"openai/{model}", "api_key": "sk-provider", "api_base": f"{url}/v1", **PRICES}
        return {"model_name": name, "litellm_params": params}

    models = dict(zip(NAMES, ("gpt-4o", "gpt-4o", "fail", "gpt-4o"), strict=True))
    return {
        "model_list": [deployment(name, model) for name, model in models.items()],
        "router_settings": {"num_retries": 0},
        "general_settings": {"store_prompts_in_spend_logs": True},
    }


@pytest.fixture(scope="session")
def scripted() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.stop()


@pytest.fixture(scope="session")
def tollway(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(
        configuration(scripted.url),
        tmp_path_factory.mktemp("tollway"),
        UI_USERNAME="ada",
        UI_PASSWORD="correct horse battery",
    )
    yield gateway
    gateway.stop()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for the tests of this folder. Playwright keeps an event loop running in this thread until it is left:
    a scope beyond the folder would take the loop from every asynchronous test that comes after."""
    found = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.executable,
            env=found.environment,
            args=["--no-sandbox", "--no-zygote", "--force-color-profile=srgb"],
        )
        yield browser
        browser.close()


class Watch:
    """What a page did: the requests it made, and what the browser complained of."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.requests: list[Request] = []
        self.complaints: list[str] = []

    def see(self, page: Page) -> None:
        page.on("request", lambda request: self.requests.append(request))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        # A refused call is the test's own doing; its page says so, and the browser does, too.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


OpenPage = Callable[..., Page]


@pytest.fixture
def watch(tollway: Gateway) -> Iterator[Watch]:
    """Every page of the test is watched: nothing goes to another host, nothing is forbidden by the page's own policy."""
    watch = Watch(tollway.url)
    yield watch
    foreign = [r.url for r in watch.requests if not re.match(rf"({re.escape(watch.own)}/|data:|blob:)", r.url)]
    assert not foreign
    assert not watch.complaints


@pytest.fixture
def open_page(browser: Browser, tollway: Gateway, watch: Watch) -> Iterator[OpenPage]:
    """Opens a page of the dashboard in a browser that nobody used before."""
    contexts: list[BrowserContext] = []

    def open_page(
        path: str = "/ui", *, of: Gateway = tollway, locale: str = "en-US", signed_in: bool = True, **more: Any
    ) -> Page:
        context = browser.new_context(
            base_url=of.url,
            locale=locale,
            viewport={"width": 1440, "height": 900},
            reduced_motion="reduce",  # nothing is half faded in when it is looked at
            **more,
        )
        context.set_default_timeout(30_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        if signed_in:
            answer = context.request.post(
                "/ui/api/session", data={"password": of.master_key}, headers={"origin": of.url}
            )
            assert answer.ok, answer.text()
        page = context.new_page()
        watch.see(page)
        page.goto(path)
        return page

    expect.set_options(timeout=30_000)
    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe_script() -> str:
    return axe()
