"""OpenClaw in a home of its own: onboarded as the user's page says, then asked by command line or by its gateway."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx

from .installed import Installed
from .processes import Child, free_port

COMMAND_S_MAX = 240.0
START_S_MAX = 240.0
TURN_S_MAX = 240.0
# A name that stands for this machine, so that Tollway looks remote to OpenClaw: only its lookup is changed.
REMOTE_NAME = "gateway.example"
LOOKUP = f"""
const dns = require('node:dns');
const own = dns.lookup, promised = dns.promises.lookup;
const there = (name) => (name === '{REMOTE_NAME}' ? '127.0.0.1' : name);
dns.lookup = (name, ...rest) => own(there(name), ...rest);
dns.promises.lookup = (name, ...rest) => promised(there(name), ...rest);
"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class OpenClaw:
    """One home folder. `onboard` first; then `exec`, `infer`, or `serve` and `turn`."""

    def __init__(self, installed: Installed, home: Path) -> None:
        self.installed = installed
        self.home = home
        self.environment = installed.environment() | {"HOME": str(home), "NO_COLOR": "1", "TZ": "UTC"}
        self.server: Child | None = None
        self.key = ""
        self.client = httpx.Client(timeout=TURN_S_MAX)
        home.mkdir(parents=True, exist_ok=True)

    @property
    def config_path(self) -> Path:
        return self.home / ".openclaw" / "openclaw.json"

    def run(
        self, *arguments: str, s_max: float = COMMAND_S_MAX, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.installed.node), str(self.installed.openclaw.resolve()), *arguments],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=s_max,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"openclaw {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def onboard(self, base_url: str, key: str) -> dict[str, Any]:
        """`openclaw onboard --auth-choice litellm-api-key` of the user's page, without questions."""
        skipped = ("health", "daemon", "channels", "hooks", "search", "skills", "ui")
        done = self.run(
            *("onboard", "--non-interactive", "--accept-risk", *(f"--skip-{what}" for what in skipped)),
            *("--auth-choice", "litellm-api-key", "--litellm-api-key", key),
            *("--custom-base-url", base_url, "--json"),
        )
        return _json_in(done.stdout)

    def configure(self, changes: dict[str, Any]) -> None:
        """Merges `changes` into openclaw.json, as a person with an editor does."""
        config = json.loads(self.config_path.read_text()) if self.config_path.exists() else {}
        _merge(config, changes)
        self.config_path.parent.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(json.dumps(config, indent=2))

    def exec(self, message: str, *, model: str, fallbacks: tuple[str, ...] = (), check: bool = True) -> dict[str, Any]:
        """One isolated agent turn by `openclaw agent exec --json`: final, usage, costUsd, model, ..."""
        chain = [part for fallback in fallbacks for part in ("--fallback", fallback)]
        done = self.run("agent", "exec", "--json", "--model", model, *chain, message, check=check)
        return _json_in(done.stdout)

    def infer(self, *arguments: str) -> dict[str, Any]:
        return _json_in(self.run("infer", *arguments, "--json").stdout)

    # ---- OpenClaw's own gateway: turns in a second instead of a start of ten ---------------------------

    def serve(self) -> None:
        """Starts `openclaw gateway run` with its HTTP endpoint on."""
        self.port = free_port()
        self.configure({"gateway": {"port": self.port, "http": {"endpoints": {"chatCompletions": {"enabled": True}}}}})
        self.token = json.loads(self.config_path.read_text())["gateway"]["auth"]["token"]
        self.server = Child(
            "openclaw",
            [str(self.installed.node), str(self.installed.openclaw.resolve()), "gateway", "run"],
            environment=self.environment,
            cwd=self.home,
            output=self.home / "openclaw.log",
        )
        self.server.wait_until("is ready", self._ready, START_S_MAX)

    def _ready(self) -> bool:
        try:
            return self.client.get(f"http://127.0.0.1:{self.port}/v1/models", headers=self._auth()).status_code == 200
        except httpx.TransportError:
            return False

    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def turn(self, message: str | list[dict[str, Any]], *, model: str, session: str) -> str:
        """One agent turn in a session; what the agent said. Raises `AssertionError` when the turn failed."""
        answer = self.client.post(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            headers=self._auth() | {"x-openclaw-model": model},
            json={"model": "openclaw", "user": session, "messages": [{"role": "user", "content": message}]},
        )
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}\n{self.log()}"
        content = answer.json()["choices"][0]["message"]["content"]
        assert isinstance(content, str), answer.text
        return content

    def log(self) -> str:
        return ANSI.sub("", self.server.tail(20_000)) if self.server else ""

    def looks_remote(self) -> None:
        """From now on `REMOTE_NAME` means this machine to every OpenClaw process of this home."""
        hook = self.home / "lookup.cjs"
        hook.write_text(LOOKUP)
        self.environment["NODE_OPTIONS"] = f"--require={hook}"

    def stop(self) -> None:
        self.client.close()
        if self.server is not None:
            self.server.stop()


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _json_in(output: str) -> dict[str, Any]:
    """The JSON object that a command printed last: log lines may stand before it."""
    start = 0 if output.startswith("{") else output.find("\n{") + 1
    decoded, _ = json.JSONDecoder().raw_decode(output[start:])
    assert isinstance(decoded, dict), output
    return decoded
