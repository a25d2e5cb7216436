"""The scripted provider (`provider.mjs`) as a child process, and the journal of what reached it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .installed import Installed
from .processes import Child, wait_for

START_S_MAX = 60.0
SCRIPT = Path(__file__).with_name("provider.mjs")


@dataclass(frozen=True)
class Received:
    """One request as the provider got it; `left` says that its client went before the answer was whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    left: bool = False

    @property
    def json(self) -> dict[str, Any]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded

    @property
    def model(self) -> str | None:
        return self.json.get("model") if self.body.startswith("{") else None

    def says(self, word: str) -> bool:
        return word in self.body


class Provider:
    def __init__(self, installed: Installed, folder: Path) -> None:
        self.journal = folder / "provider.jsonl"
        self.journal.touch()
        command = [str(installed.node), str(SCRIPT), str(installed.packages), str(self.journal)]
        self.child = Child(
            "provider", command, environment=installed.environment(), cwd=folder, output=folder / "provider.log"
        )
        self.port = self.child.wait_until("listens", self._port, START_S_MAX)
        self.url = f"http://127.0.0.1:{self.port}"

    def _port(self) -> int | None:
        lines = [line for line in self.child.tail().splitlines() if line.startswith('{"port"')]
        return int(json.loads(lines[0])["port"]) if lines else None

    def received(self, word: str = "", *, path: str = "") -> list[Received]:
        """The requests whose body holds `word` and whose path holds `path`, in the order they came."""
        entries: dict[int, dict[str, Any]] = {}
        for line in self.journal.read_text().splitlines():
            entry = json.loads(line)
            entries.setdefault(entry["n"], {}).update(entry)
        whole = [
            Received(e["method"], e["path"], e["headers"], e["body"], left="left_at" in e)
            for e in entries.values()
            if "path" in e
        ]
        return [request for request in whole if request.says(word) and path in request.path]

    def wait_until_left(self, word: str, s_max: float = 60.0) -> Received:
        """Waits for the client of the first request with `word` to be gone before its answer was whole."""

        def left() -> Received | None:
            return next((request for request in self.received(word) if request.left), None)

        return wait_for(f"the client of {word} leaves the provider", left, s_max)

    def stop(self) -> None:
        self.child.stop()
