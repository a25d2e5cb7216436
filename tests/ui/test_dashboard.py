"""The dashboard in a real browser, in front of a real gateway and a scripted provider."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from .conftest import ANSWER_USD, NAMES, OpenPage, Watch, configuration
from .gateway import Gateway
from .scripted import ATTACK, Scripted

pytestmark = pytest.mark.e2e


def call(tollway: Gateway, key: str, model: str = "gpt-4o", text: str = "Hello", **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    headers = {"authorization": f"Bearer {key}"}
    return tollway.client.post("/v1/chat/completions", json=body, headers=headers)


def action(page: Page, key: str, name: str) -> None:
    page.get_by_role("button", name=f"Actions for {key}").click()
    page.get_by_role("menuitem", name=name, exact=True).click()


def test_a_key_is_made_used_watched_blocked_and_rotated(open_page: OpenPage, tollway: Gateway) -> None:
    keys = open_page("/ui/keys")
    keys.get_by_role("button", name="Create key").first.click()
    dialog = keys.get_by_role("dialog")
    dialog.get_by_label("Name").fill("for the story")
    dialog.get_by_label("Budget in dollars").fill("5")
    dialog.get_by_role("button", name="Create key").click()
    secret = keys.get_by_test_id("secret").inner_text()
    assert secret.startswith("sk-")
    keys.keyboard.press("Escape")
    expect(keys.get_by_test_id("secret")).to_have_count(0)
    row = keys.get_by_role("row", name="for the story")
    expect(row).to_contain_text("of $5.00")
    assert tollway.key_info(secret)["max_budget"] == 5.0

    logs = open_page("/ui/logs")
    logs.get_by_label("Live").check(force=True)
    expect(logs.get_by_role("status")).to_have_class(re.compile("good"))
    assert call(tollway, secret, text="Tell me of the sea").status_code == 200
    line = logs.get_by_role("row", name="for the story").first
    expect(line).to_contain_text("200")
    line.get_by_role("button").click()
    drawer = logs.get_by_role("dialog")
    expect(drawer).to_contain_text(f"${ANSWER_USD:.5f}".rstrip("0"))
    expect(drawer.get_by_role("row", name="Input")).to_contain_text("1,200")
    drawer.get_by_role("tab", name="Request").click()
    expect(drawer).to_contain_text("Tell me of the sea")
    drawer.get_by_role("tab", name="Response").click()
    expect(drawer).to_contain_text("You said: Tell me of the sea")
    drawer.get_by_role("button", name="Copy as curl").click()
    copied = logs.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl '{tollway.url}/v1/chat/completions'")
    assert secret not in copied

    action(keys, "for the story", "Block")
    expect(row).to_contain_text("Blocked")
    refused = call(tollway, secret)
    assert refused.status_code == 401
    assert "blocked" in refused.text
    action(keys, "for the story", "Unblock")
    expect(row).to_contain_text("Active")
    action(keys, "for the story", "Rotate")
    keys.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    expect(keys.get_by_test_id("secret")).to_be_visible()
    rotated = keys.get_by_test_id("secret").inner_text()
    assert rotated != secret
    assert call(tollway, rotated).status_code == 200
    assert call(tollway, secret).status_code == 401


def test_signing_in_takes_the_master_key_or_the_password_and_signing_out_ends_it(
    open_page: OpenPage, tollway: Gateway
) -> None:
    page = open_page("/ui/keys", signed_in=False)
    page.get_by_label("Master key or password").first.fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("neither the master key nor the user name and password")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Master key or password").first.fill("correct horse battery")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()  # where one wanted to go
    assert page.evaluate("document.cookie") == ""
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="master key").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    used = httpx.get(f"{tollway.url}/key/list", cookies={cookie["name"]: cookie["value"]})
    assert used.status_code == 401


def test_the_playground_streams_and_compares_two_models(open_page: OpenPage, scripted: Scripted) -> None:
    page = open_page("/ui/playground")
    scripted.go.clear()
    scripted.hold = True
    page.get_by_label("Your message").fill("What is the weather in Paris?")
    page.get_by_label("Tools, as a JSON array").fill(
        '[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]'
    )
    page.get_by_label("System message").fill("Be short.")
    page.get_by_label("Compare with a second model").check()
    page.get_by_role("button", name="Send").click()
    for at in (1, 2):
        expect(page.get_by_role("region", name=f"Model {at}")).to_contain_text("You said")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    scripted.hold = False
    scripted.go.set()
    for at in (1, 2):
        column = page.get_by_role("region", name=f"Model {at}")
        expect(column).to_contain_text("You said: What is the weather in Paris?")
        expect(column).to_contain_text("Let me think.")
        expect(column).to_contain_text("Calls the tool weather")
        facts = column.get_by_test_id(f"facts-{at - 1}")
        expect(facts).to_contain_text("1,200 in, 34 out")
        expect(facts).to_contain_text("$0.0033")
        expect(facts).to_contain_text("first token")
    asked = scripted.received[-1]
    assert asked["messages"][0] == {"role": "system", "content": "Be short."}
    page.get_by_role("button", name="Code", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("curl")
    dialog.get_by_role("tab", name="Python").click()
    expect(dialog).to_contain_text("from openai import OpenAI")
    dialog.get_by_role("tab", name="Node").click()
    expect(dialog).to_contain_text('import OpenAI from "openai"')


def test_an_image_goes_along_and_a_stored_call_is_asked_again(open_page: OpenPage, scripted: Scripted) -> None:
    page = open_page("/ui/playground")
    picture = page.screenshot()
    page.locator("input[type=file]").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture})
    expect(page.get_by_role("button", name="Remove the image")).to_be_visible()
    page.get_by_label("Your message").fill("What is this picture of a desk?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Model 1")).to_contain_text("You said: What is this picture of a desk?")
    expect(page.get_by_role("region", name="Model 1").get_by_role("img", name="Image of this message")).to_be_visible()
    sent = scripted.received[-1]["messages"][-1]["content"]
    assert sent[1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    page.goto("/ui/logs")
    page.get_by_label("Tag").fill("playground")
    page.get_by_role("row").nth(1).get_by_role("button").click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_role("tab", name="Request").click()
    expect(drawer.get_by_role("img", name="Image of this message")).to_be_visible()
    drawer.get_by_role("button", name="Open in the playground").click()
    expect(page.get_by_role("region", name="Model 1")).to_contain_text("What is this picture of a desk?")


def test_the_overview_adds_up_what_was_spent(open_page: OpenPage, tollway: Gateway) -> None:
    key = tollway.new_key("for the overview")
    for _ in range(3):
        assert call(tollway, key).status_code == 200
    page = open_page("/ui")
    expect(page.get_by_text("Today")).to_be_visible()
    expect(page.get_by_role("figure", name="Spend per day")).to_be_visible()
    row = page.get_by_role("row", name="for the overview")
    expect(row.get_by_role("cell").nth(1)).to_have_text(f"${3 * ANSWER_USD:.2f}")
    expect(row.get_by_role("cell").nth(2)).to_have_text("3")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    text = download.value.path().read_text()
    assert "for the overview" in text
    assert text.splitlines()[0] == "kind,name,alias,spend_usd,calls,failed,input_tokens,output_tokens"


def test_calls_are_found_by_status_model_and_the_words_of_an_error(open_page: OpenPage, tollway: Gateway) -> None:
    key = tollway.new_key("for the filters")
    call(tollway, key, model="failing")
    call(tollway, key, model="second")
    page = open_page("/ui/logs")
    found = page.get_by_role("row", name="for the filters")
    expect(found).to_have_count(2)
    page.get_by_label("Text in errors").fill("onerror")
    expect(found).to_have_count(1)
    expect(found).to_contain_text("400")
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_label("Model").fill("second")
    expect(found).to_have_count(1)
    expect(found).to_contain_text("200")
    page.get_by_label("Cost at least").fill("1")
    expect(page.get_by_text("No calls here")).to_be_visible()


def test_models_show_their_price_and_whether_they_answer(open_page: OpenPage) -> None:
    page = open_page("/ui/models")
    row = page.get_by_role("row", name="second openai")
    expect(row).to_contain_text("$2.50 in, $10.00 out")
    page.get_by_role("button", name="Check health").click()
    expect(row).to_contain_text("answers")
    expect(page.get_by_role("row", name="failing openai")).to_contain_text("400")


def test_snippets_are_filled_in_with_a_key_that_works(open_page: OpenPage, tollway: Gateway) -> None:
    page = open_page("/ui/connect")
    page.get_by_role("combobox", name="Client").click()
    page.get_by_role("option", name="curl").click()
    expect(page.get_by_role("region", name="In a shell")).to_contain_text("YOUR_KEY")
    page.get_by_role("button", name="Make a key for it").click()
    expect(page.get_by_text("This key is filled in below")).to_be_visible()
    text = page.get_by_role("region", name="In a shell").inner_text()
    found = re.search(r"Bearer (sk-[\w-]+)", text)
    assert found is not None
    assert call(tollway, found[1]).status_code == 200


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-US", ("Overview", "Logs", "Keys", "Models", "Playground", "Connect")),
        ("fr-FR", ("Vue d’ensemble", "Journal", "Clés", "Modèles", "Essais", "Connexion")),
        ("es-ES", ("Resumen", "Registro", "Claves", "Modelos", "Pruebas", "Conectar")),
    ],
)
def test_every_page_opens_in_each_language(open_page: OpenPage, locale: str, words: tuple[str, ...]) -> None:
    page = open_page("/ui", locale=locale)
    for word in words:
        page.get_by_role("link", name=word, exact=True).click()
        expect(page.get_by_role("heading", level=1, name=word)).to_be_visible()
    assert page.locator("html").get_attribute("lang") == locale[:2]


@pytest.mark.parametrize("path", ["/ui", "/ui/logs", "/ui/keys", "/ui/models", "/ui/playground", "/ui/connect"])
def test_opening_a_page_asks_little(open_page: OpenPage, watch: Watch, path: str) -> None:
    page = open_page(path)
    page.wait_for_load_state("networkidle")
    asked = [request.url for request in watch.requests if request.resource_type in ("fetch", "xhr", "eventsource")]
    assert 1 <= len(asked) <= 4, asked
    sizes = [request.sizes()["responseBodySize"] for request in watch.requests if "/ui" in request.url]
    print(f"{path}: {sum(sizes)} bytes in {len(sizes)} files")
    assert sum(sizes) < 300_000


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("path", ["/ui", "/ui/logs", "/ui/keys", "/ui/models", "/ui/playground", "/ui/connect", "out"])
def test_axe_finds_nothing_serious(open_page: OpenPage, axe_script: str, path: str, colors: str) -> None:
    page = open_page("/ui" if path == "out" else path, signed_in=path != "out", color_scheme=colors)
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert serious(page, axe_script) == []
    if path == "/ui/keys":
        page.get_by_role("button", name="Create key").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert serious(page, axe_script) == []


def serious(page: Page, axe_script: str) -> list[str]:
    page.evaluate(axe_script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']} at {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_what_others_wrote_is_shown_as_text(open_page: OpenPage, tollway: Gateway) -> None:
    key = tollway.new_key(f"alias {ATTACK}", metadata={"tags": [f"tag {ATTACK}"]})
    call(tollway, key, model=ATTACK, text=f"prompt {ATTACK}", user=f"user {ATTACK}")
    call(tollway, key, model="failing", text=ATTACK)
    for path in ("/ui", "/ui/logs", "/ui/keys", "/ui/models", "/ui/playground", "/ui/connect"):
        page = open_page(path)
        page.wait_for_load_state("networkidle")
        if path in ("/ui", "/ui/logs", "/ui/keys", "/ui/models"):
            expect(page.get_by_text("<script>window.attacked=1</script>").first).to_be_attached()
        if path == "/ui/logs":
            page.get_by_role("row", name="alias").nth(1).get_by_role("button").click()
            for tab in ("Request", "Response", "As it was sent"):
                page.get_by_role("tab", name=tab).click()
                expect(page.get_by_role("dialog")).to_contain_text("<script>window.attacked=1</script>")
        assert page.evaluate("window.attacked") is None


def test_the_keyboard_reaches_a_call_and_the_way_back(open_page: OpenPage, tollway: Gateway) -> None:
    call(tollway, tollway.new_key("for the keyboard"))
    page = open_page("/ui/logs")
    row = page.get_by_role("row", name="for the keyboard").get_by_role("button")
    row.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row).to_be_focused()


def test_the_api_page_is_drawn_from_this_gateway_alone(open_page: OpenPage) -> None:
    page = open_page("/docs")
    for group, path in (("calls", "/v1/chat/completions"), ("key", "/key/generate")):
        page.get_by_role("heading", name=f"{group} Expand operation").click()
        expect(page.get_by_text(path).first).to_be_visible()


def test_every_model_is_offered_in_the_playground(open_page: OpenPage) -> None:
    page = open_page("/ui/playground")
    page.get_by_role("combobox", name="Model", exact=True).click()
    for name in NAMES:
        expect(page.get_by_role("option", name=name)).to_be_visible()


def test_every_workers_calls_are_seen_live(
    scripted: Scripted, open_page: OpenPage, tmp_path: Path, watch: Watch
) -> None:
    gateway = Gateway(configuration(scripted.url), tmp_path, "--num_workers", "2")
    watch.own = gateway.url
    try:
        page = open_page("/ui/logs", of=gateway)
        page.get_by_label("Live").check(force=True)
        expect(page.get_by_role("status")).to_have_class(re.compile("good"))
        key = gateway.new_key("for two workers")
        answers = 0
        deadline = time.monotonic() + 60.0
        # Each on a connection of its own; the other worker knows the key after half a second.
        while answers < 8 and time.monotonic() < deadline:
            answers += httpx.post(
                f"{gateway.url}/v1/chat/completions",
                json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]},
                headers={"authorization": f"Bearer {key}"},
                timeout=60,
            ).is_success
            time.sleep(0.05)
        expect(page.get_by_role("row", name="for two workers")).to_have_count(8)
        page.reload()  # on whichever worker: the session is known to both
        for _ in range(6):
            assert page.context.request.get(f"{gateway.url}/key/list").status == 200
    finally:
        gateway.stop()
