"""A running Tollway: its configuration, its process, and the management calls that the user's page makes."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from .processes import Child, free_port, wait_for

START_S_MAX = 120.0
ROWS_S_MAX = 60.0
# Another installed command may be tried, as that of a built wheel.
TOLLWAY = Path(os.environ.get("TOLLWAY_E2E_COMMAND") or Path(sys.executable).with_name("tollway"))
# What one answer of `provider.mjs` costs, in US dollars: 1200 tokens in and 34 out, at list prices.
GPT_4O_USD = 1200 * 2.5e-6 + 34 * 10e-6
CLAUDE_USD = 1200 * 5e-6 + 34 * 25e-6
PRICES_OF_GPT_4O = {"input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001}


def configuration(provider_url: str, faults_url: str) -> dict[str, Any]:
    """A `config.yaml` with both wires, whatever else OpenClaw uses, and models that fail in each way there is."""

    def openai(name: str, model: str, **more: Any) -> dict[str, Any]:
        params = {"model": f"openai/{model}", "api_key": "sk-provider", "api_base": f"{provider_url}/v1", **more}
        return {"model_name": name, "litellm_params": params}

    def claude(name: str, **more: Any) -> dict[str, Any]:
        params = {"model": "anthropic/claude-opus-4-6", "api_key": "sk-provider", "api_base": provider_url, **more}
        return {"model_name": name, "litellm_params": params}

    def faulty(name: str, **more: Any) -> dict[str, Any]:
        return openai(f"faulty-{name}", name, api_base=faults_url, **{**PRICES_OF_GPT_4O, **more})

    statuses = ("400", "401", "402", "429", "500", "529")
    return {
        "model_list": [
            openai("gpt-4o", "gpt-4o"),
            openai("o4-mini", "o4-mini"),
            claude("claude-opus-4-6"),
            claude("claude-with-fallbacks"),
            openai("text-embedding-3-small", "text-embedding-3-small"),
            openai("gpt-image-2", "gpt-image-2"),
            openai("tts-1", "tts-1"),
            openai("whisper-1", "whisper-1"),
            openai("gpt-4o-transcribe", "gpt-4o-transcribe"),  # what OpenClaw asks for unless told otherwise
            openai("with-fallback", "broken-500", **PRICES_OF_GPT_4O),
            *(openai(f"broken-{status}", f"broken-{status}", **PRICES_OF_GPT_4O) for status in statuses),
            faulty("stall", timeout=3),
            faulty("stall-in-stream", stream_timeout=2),
            faulty("reset-before-head"),
            faulty("reset-in-stream"),
            faulty("end-without-finish"),
            faulty("trickle"),
            faulty("page-502"),
            faulty("rate-limited"),
            faulty("usage-late"),
            openai("stall-with-fallback", "stall", api_base=faults_url, timeout=2, **PRICES_OF_GPT_4O),
        ],
        "router_settings": {
            "num_retries": 0,
            "fallbacks": [
                {"with-fallback": ["gpt-4o"]},
                {"claude-with-fallbacks": ["claude-opus-4-6", "gpt-4o"]},
                {"stall-with-fallback": ["gpt-4o"]},
            ],
        },
    }


class Gateway:
    """`url` has no `/v1`, as on the user's page."""

    def __init__(self, config: dict[str, Any], folder: Path, *, command: Path = TOLLWAY, **more: str) -> None:
        self.master_key = "sk-" + secrets.token_urlsafe(24)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LITELLM_MASTER_KEY": self.master_key, **more}
        self.child = Child(
            "tollway",
            [str(command), "--config", str(path), "--host", "127.0.0.1", "--port", str(self.port)],
            environment=environment,
            cwd=folder,
            output=folder / "tollway.log",
        )
        self.client = httpx.Client(base_url=self.url, timeout=60.0)
        try:
            self.child.wait_until("is ready", self._ready, START_S_MAX)
        except BaseException:
            self.stop()
            raise

    def _ready(self) -> bool:
        try:
            return self.client.get("/health/readiness").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.client.close()
        self.child.stop()

    # ---- the page's calls ----------------------------------------------------------------------------

    def as_master(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.master_key}"}

    def new_key(self, alias: str, **more: Any) -> str:
        """POST /key/generate with the body of the user's page; `more` changes fields of it."""
        body = {"key_alias": alias, "max_budget": 50.00, "budget_duration": "monthly", **more}
        answer = self.client.post("/key/generate", json=body, headers=self.as_master())
        assert answer.status_code == 200, answer.text
        key = answer.json()["key"]
        assert isinstance(key, str)
        return key

    def key_info(self, key: str) -> dict[str, Any]:
        """GET /key/info with the key itself, as on the user's page."""
        answer = self.client.get("/key/info", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        info = answer.json()["info"]
        assert isinstance(info, dict)
        return info

    def rows(self, key: str) -> list[dict[str, Any]]:
        """The spend rows of one key so far, oldest first."""
        answer = self.client.get("/spend/logs", params={"api_key": key}, headers=self.as_master())
        assert answer.status_code == 200, answer.text
        rows = answer.json()
        assert isinstance(rows, list)
        return sorted(rows, key=lambda row: row["startTime"])

    def wait_for_rows(self, key: str, enough: int | Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The spend rows of one key, once there are enough: rows reach storage a moment after the answer."""

        def look() -> list[dict[str, Any]] | None:
            rows = self.rows(key)
            done = len(rows) >= enough if isinstance(enough, int) else enough(rows)
            return rows if done else None

        return wait_for("the spend rows are written", look, ROWS_S_MAX)
