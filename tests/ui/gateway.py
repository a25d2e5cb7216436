"""A running Tollway for the browser: its configuration, its process, and the few calls that tests make beside the pages."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

START_S_MAX = 120.0
STOP_S_MAX = 60.0
TOLLWAY = Path(os.environ.get("TOLLWAY_E2E_COMMAND") or Path(sys.executable).with_name("tollway"))


class Gateway:
    """Raises RuntimeError with the gateway's own words when it does not come up."""

    def __init__(self, config: dict[str, Any], folder: Path, *flags: str, **variables: str) -> None:
        self.master_key = "sk-" + secrets.token_urlsafe(24)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "tollway.log"
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [str(TOLLWAY), "--config", str(path), "--host", "127.0.0.1", "--port", str(self.port), *flags],
                env={**kept, "HOME": str(folder), "LITELLM_MASTER_KEY": self.master_key, **variables},
                cwd=folder,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self.client = httpx.Client(base_url=self.url, timeout=60.0)
        deadline = time.monotonic() + START_S_MAX
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the gateway did not come up:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return self.client.get("/health/readiness").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def new_key(self, alias: str, **more: Any) -> str:
        headers = {"authorization": f"Bearer {self.master_key}"}
        answer = self.client.post("/key/generate", json={"key_alias": alias, **more}, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    def key_info(self, key: str) -> dict[str, Any]:
        answer = self.client.get("/key/info", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["info"]
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
