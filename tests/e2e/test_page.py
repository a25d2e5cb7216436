"""The page for OpenClaw's users (`docs/openclaw.md`), line by line, with the wheel that people install."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .inputs import word
from .installed import ROOT, Installed
from .openclaw import OpenClaw
from .processes import Child, free_port, wait_for
from .provider import Provider

PAGES = ("openclaw.md", "openclaw.fr.md", "openclaw.es.md")
START_S_MAX = 120.0
ASKED = {"messages": [{"role": "user", "content": "hello"}]}


def blocks(page: str = "openclaw.md") -> list[tuple[str, str]]:
    """The fenced blocks of a page: their language and their text."""
    return re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


def block(holding: str) -> str:
    (found,) = [text for _, text in blocks() if holding in text]
    return found


class Shell:
    """A person's terminal: an empty home, the wheel's commands in PATH, and the page's lines typed into it.

    The page's port 4000 may be taken on the machine of a test; another one is written in its place.
    """

    def __init__(self, bin_dir: Path, home: Path, **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.port = home, free_port()
        self.url = f"http://localhost:{self.port}"
        path = os.pathsep.join((str(bin_dir), os.environ["PATH"]))
        self.environment = {"PATH": path, "HOME": str(home), "PORT": str(self.port), **environment}
        self.server: Child | None = None

    def typed(self, text: str) -> str:
        return text.replace("http://localhost:4000", self.url)

    def run(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.typed(line)],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=START_S_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def curl(self, line: str) -> httpx.Response:
        """A curl line of the page, sent as curl would; its body is what matters."""
        return httpx.Response(200, content=self.run(line.replace("curl ", "curl -sS --fail-with-body ", 1)))

    def start(self, line: str) -> Child:
        self.server = Child(
            "tollway",
            ["bash", "-c", f"exec {line}"],
            environment=self.environment,
            cwd=self.home,
            output=self.home / "log",
        )
        self.server.wait_until("is ready", self._ready, START_S_MAX)
        return self.server

    def _ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health/readiness").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()


@pytest.fixture
def shell(wheel_bin: Path, tmp_path: Path, provider: Provider) -> Iterator[Shell]:
    """A terminal in which both provider keys are set, and both providers are the scripted one."""
    shell = Shell(
        wheel_bin,
        tmp_path / "person",
        ANTHROPIC_API_KEY="sk-ant-provider",
        OPENAI_API_KEY="sk-provider",
        ANTHROPIC_API_BASE=provider.url,
        OPENAI_BASE_URL=f"{provider.url}/v1",
    )
    yield shell
    shell.stop()


def test_the_pages_of_all_languages_show_the_same_lines() -> None:
    english, *others = (blocks(page) for page in PAGES)
    assert len(english) > 8
    assert others == [english] * len(others)


@pytest.mark.slow
def test_one_model_is_served_to_this_machine_without_any_key(shell: Shell, provider: Provider) -> None:
    line = next(line for line in block("pip install").splitlines() if line.startswith("tollway "))
    assert line == "tollway --model claude-opus-4-6"
    server = shell.start(line)
    says = word("TEXT")
    for path, headers in (("/chat/completions", {}), ("/v1/chat/completions", {"Authorization": "Bearer sk-your-key"})):
        body = {"model": "whatever", "messages": [{"role": "user", "content": says}]}
        answer = httpx.post(shell.url + path, json=body, headers=headers, timeout=60.0)
        assert answer.json()["choices"][0]["message"]["content"] == "E2E-TEXT-OK from claude-opus-4-6", answer.text
    assert {request.path for request in provider.received(says)} == {"/v1/messages"}

    # The master key that was made at the first start is the one that manages.
    (made,) = set(re.findall(r"^\s*(sk-[\w-]{16,})\s*$", server.tail(), re.MULTILINE))
    shell.environment["LITELLM_MASTER_KEY"] = made
    assert shell.curl(block("/key/generate")).json()["key"].startswith("sk-")
    foreign = httpx.post(f"{shell.url}/v1/chat/completions", json=ASKED, headers={"Origin": "http://elsewhere.example"})
    assert foreign.status_code == 401


@pytest.mark.slow
def test_the_config_file_the_virtual_key_and_the_usage_lines_work_as_written(shell: Shell, provider: Provider) -> None:
    (shell.home / "config.yaml").write_text(block("model_list:") + "\n" + block("router_settings:"))
    export, line = block("LITELLM_MASTER_KEY=").splitlines()
    shell.environment["LITELLM_MASTER_KEY"] = shell.run(f"{export}; printf %s $LITELLM_MASTER_KEY")
    shell.start(line)

    made = shell.curl(block("/key/generate")).json()
    assert (made["key_alias"], made["max_budget"], made["budget_duration"]) == ("openclaw", 50.0, "monthly")
    shell.environment["LITELLM_API_KEY"] = made["key"]
    auth = {"Authorization": f"Bearer {made['key']}"}
    for model in ("claude-opus-4-6", "gpt-4o"):
        body = {"model": model, "messages": [{"role": "user", "content": word("TEXT")}]}
        answer = httpx.post(f"{shell.url}/chat/completions", json=body, headers=auth, timeout=60.0)
        assert answer.json()["choices"][0]["message"]["content"] == f"E2E-TEXT-OK from {model}", answer.text
    assert httpx.post(f"{shell.url}/chat/completions", json={"model": "gpt-4o", **ASKED}).status_code == 401

    key_info, spend_logs = (f"curl {line}" for line in re.split(r"^curl ", block("/key/info"), flags=re.MULTILINE)[1:])
    key_info, spend_logs = (re.sub(r"^#.*$", "", line, flags=re.MULTILINE) for line in (key_info, spend_logs))

    def rows() -> list[dict[str, object]] | None:
        found = [row for row in shell.curl(spend_logs).json() if row["status"] == "success"]
        return found if len(found) == 2 else None

    spent = sum(float(str(row["spend"])) for row in wait_for("both rows are there", rows, 60.0))
    info = shell.curl(key_info).json()["info"]
    assert (info["key_alias"], info["max_budget"], info["budget_duration"]) == ("openclaw", 50.0, "monthly")
    assert info["spend"] == pytest.approx(spent)
    assert spent > 0
    assert info["budget_reset_at"][8:10] == "01", "a monthly budget starts anew on the first"


@pytest.mark.slow
def test_openclaw_takes_the_config_file_as_written(
    shell: Shell, installed: Installed, provider: Provider, tmp_path: Path
) -> None:
    (shell.home / "config.yaml").write_text(block("model_list:"))
    shell.environment["LITELLM_MASTER_KEY"] = "sk-" + os.urandom(24).hex()
    shell.start("tollway --config config.yaml")
    key = shell.curl(block("/key/generate")).json()["key"]

    claw = OpenClaw(installed, tmp_path / "claw")
    try:
        claw.config_path.parent.mkdir(parents=True)
        claw.environment["LITELLM_API_KEY"] = key
        for config in ("mediaModels", "openai-completions"):
            claw.config_path.write_text(shell.typed(block(config)))
            assert json.loads(claw.run("config", "validate", "--json").stdout)["valid"] is True
        for model in ("claude-opus-4-6", "gpt-4o"):
            assert claw.exec(word("TEXT"), model=f"litellm/{model}")["final"] == f"E2E-TEXT-OK from {model}"
    finally:
        claw.stop()


@pytest.mark.slow
def test_openclaw_is_onboarded_with_the_lines_of_the_page(installed: Installed, fresh_openclaw: OpenClaw) -> None:
    flags = block("--custom-base-url").split()
    assert flags[:4] == ["openclaw", "onboard", "--auth-choice", "litellm-api-key"]
    fresh_openclaw.onboard("http://localhost:4000", "sk-your-key")
    written = fresh_openclaw.config_path.read_text()
    assert '"baseUrl": "http://localhost:4000"' in written
    assert '"primary": "litellm/claude-opus-4-6"' in written
