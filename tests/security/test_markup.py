"""What others write (names, prompts, errors) stays text: in answers, in their heads, and in the pages that show it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tollway.admin.dashboard.files import policy
from tollway.testing import FakeReply
from tollway.testing.gateway import MASTER_KEY

from .outsider import Outsider

MARKUP = "<img src=x onerror=alert(1)>"
BREAKS = "a\r\nx-evil: 1\r\n\r\n<script>alert(1)</script>"
PAGES = Path(__file__).parents[2] / "ui" / "src"
#: Ways by which text becomes markup or a program.
SINKS = re.compile(
    r"dangerouslySetInnerHTML|\.(?:inner|outer)HTML|insertAdjacentHTML|document\.write|createContextualFragment|srcDoc"
    r"|\beval\(|new Function|javascript:|postMessage|addEventListener\(\"message\""
)


@pytest.mark.skipif(not PAGES.is_dir(), reason="the pages' sources are not beside the tests")
def test_no_page_makes_markup_or_a_program_of_text() -> None:
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted(PAGES.rglob("*.ts*"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if SINKS.search(line)
    ]
    assert not found


def test_no_page_may_run_what_stands_in_it() -> None:
    scripts = next(part for part in policy("n").split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self'"
    assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy("n").split("; "))


async def everything_is_named(outsider: Outsider, text: str) -> None:
    """As many names as take a text; some refuse it."""
    for route, body in (
        ("POST /team/new", {"team_id": "t", "team_alias": text, "metadata": {text: text}}),
        ("POST /organization/new", {"organization_alias": text}),
        ("POST /user/new", {"user_id": text, "user_email": text, "user_alias": text}),
        ("POST /key/generate", {"key": "sk-named-with-markup", "key_alias": text, "metadata": {text: text}}),
        ("POST /tag/new", {"name": text, "description": text}),
        ("POST /customer/new", {"user_id": text, "alias": text}),
        ("POST /budget/new", {"budget_id": text, "max_budget": 5}),
        ("POST /credentials", {"credential_name": text, "credential_values": {text: text}}),
        (
            "POST /model/new",
            {
                "model_name": text,
                "litellm_params": {"model": f"openai/{text}", "api_key": "k"},
                "model_info": {"id": text},
            },
        ),
    ):
        answer = await outsider.ask(route, body)
        assert answer.status < 500, (route, answer.body)


@pytest.mark.parametrize("text", [MARKUP, BREAKS], ids=["markup", "line breaks"])
async def test_what_others_wrote_is_answered_as_json_and_never_in_a_head(outsider: Outsider, text: str) -> None:
    heads: list[tuple[bytes, bytes]] = []

    def seen(message: dict[str, Any]) -> None:
        heads.extend(message.get("headers", ()))

    await everything_is_named(outsider, text)
    gateway = outsider.gateway
    failing = FakeReply.json({"error": {"message": text, "type": text, "code": text}}, status=400)
    gateway.upstream.reply_to(None, failing)
    calls = {"metadata": {"tags": [text], text: text}, "user": text, "num_retries": 0, "on_message": seen}
    for key in (MASTER_KEY, "sk-named-with-markup"):
        for model in (text, "small", f"small/{text}"):
            answer = await gateway.ask(key=key, model=model, messages=[{"role": "user", "content": text}], **calls)
            assert answer.headers["content-type"] == "application/json"
    for path in (
        *("/model/info", "/v1/models", "/key/list", "/team/list", "/user/list", "/organization/list", "/tag/list"),
        *("/customer/list", "/budget/list", "/credentials", "/spend/logs", "/audit", "/config/effective"),
        *("/ui/api/logs", "/ui/api/overview", "/tollway/deployments", f"/{text}", f"/key/{text}", f"/v1/models/{text}"),
        *(f"/ui/api/{text}", f"/ui/api/logs/{text}", f"/ui/assets/{text}", f"/credentials/by_name/{text}"),
    ):
        answer = await gateway.ask(path=path, method="GET", body=b"", on_message=seen)
        told = answer.body.replace(b"\\u003c", b"<")
        assert b"<img" not in told or answer.headers["content-type"].startswith("application/json"), path
    page = await gateway.ask(
        path=f"/ui/{text}", method="GET", key=None, body=b"", query=b"sso_error=" + b"<img", on_message=seen
    )
    assert b"onerror" not in page.body
    assert b"<script>alert" not in page.body
    for name, value in heads:
        assert not {b"\r", b"\n", b"\0"} & {bytes([letter]) for letter in name + value}, (name, value)
        assert name != b"x-evil"


@pytest.mark.parametrize(
    "to", ["https://attacker.example", "//attacker.example", "/\\attacker.example", "javascript:alert(1)", "/ui/..//x"]
)
async def test_nobody_is_led_to_another_site(outsider: Outsider, to: str) -> None:
    for path in ("/sso/key/generate", "/sso/callback"):
        answer = await outsider.gateway.ask(path=path, method="GET", key=None, body=b"", query=f"to={to}".encode())
        assert answer.headers["location"].startswith("/ui/?sso_error=")
    for path in ("//attacker.example/ui/", "/ui//attacker.example/", "/key/info/", "//attacker.example"):
        answer = await outsider.gateway.ask(path=path, method="GET", key=None, body=b"")
        assert "attacker.example" not in answer.headers.get("location", "").partition("//")[2].partition("/")[0]


@pytest.mark.parametrize(
    "name", ["..%2f..%2fpyproject.toml", "../files.py", "....//x.js", "index.html", ".js", "a\0.js", "x.js/../../y.css"]
)
async def test_no_other_file_is_served(outsider: Outsider, name: str) -> None:
    answer = await outsider.gateway.ask(path=f"/ui/assets/{name}", method="GET", key=None, body=b"")
    assert answer.status == 404
