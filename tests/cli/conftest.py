"""The command in processes of its own, with a small stand-in for the gateway behind it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from tollway.cli import main

STAND_INS = Path(__file__).parent / "fake_gateway"
STRONG = "sk-Zr4vQ9mT2xLw7cKd"
#: Environment variables of the person who runs the tests, which the command would take for theirs.
_FOREIGN = ("LITELLM_", "TOLLWAY_", "HOST", "PORT", "NUM_WORKERS", "DEBUG", "DETAILED_DEBUG", "CONFIG_FILE_PATH", "UV")


#: Waits that only end a hang. Machines that run tests may be slow and busy.
HANGS_S = 60.0


class Running:
    """A started command: what it says, how it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # the test has closed the pipe while this thread was reading
            for line in self.process.stdout:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, part: str, s_max: float = HANGS_S) -> str:
        """The first line that holds the part, from here on."""
        deadline = time.monotonic() + s_max
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"{part!r} was not said within {s_max} s, but: {self.said}") from None
            assert line is not None, f"it ended without saying {part!r}: {self.said}"
            self.said.append(line)
            if part in line:
                return line

    def so_far(self) -> list[str]:
        """All lines that it said by now."""
        with contextlib.suppress(Empty):
            while (line := self._lines.get_nowait()) is not None:
                self.said.append(line)
            self._lines.put(None)
        return self.said

    def rest(self) -> list[str]:
        """All lines to its end."""
        while (line := self._lines.get(timeout=HANGS_S)) is not None:
            self.said.append(line)
        return self.said

    def ends(self, s_max: float = HANGS_S) -> int:
        return self.process.wait(timeout=s_max)


Start = Callable[..., Running]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A process environment in which nothing of this machine's person is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {
        "PYTHONPATH": str(STAND_INS),
        "PYTHONUNBUFFERED": "1",
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "TOLLWAY_DATA_DIR": str(tmp_path),
        "OPENAI_API_KEY": "sk-none",
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts `tollway ARGUMENTS`; stdout and stderr come as one. Nothing started is left behind."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> Running:
        process = subprocess.Popen(
            [sys.executable, "-c", "from tollway.cli.main import run; run()", *arguments],
            env=environment | variables,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return Running(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=HANGS_S)
        with contextlib.suppress(AttributeError):
            process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str = "GET", path: str = "/", headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The decoded answer to one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS_S)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return {"status": answer.status, **json.loads(answer.read())}


def gone(pid: int) -> bool:
    """Whether no process of that number runs (a zombie does not run)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(true: Callable[[], bool], s_max: float = HANGS_S) -> float:
    """Waits for something that another process does; returns the seconds it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < s_max, f"it did not happen within {s_max} s"
        threading.Event().wait(0.02)
    return time.monotonic() - began


# --- commands that ask a gateway

HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
OTHER = "f" * 64
KEYS = [
    {"token": HASH, "key_alias": "agent", "spend": 3.0, "max_budget": 10.0, "models": ["gpt-4o"], "blocked": True},
    {"token": OTHER, "key_alias": None, "key_name": "sk-...abcd", "spend": 0.0, "max_budget": None, "models": []},
]


class FakeGateway:
    """Answers from a table of (method, path) and keeps what it was sent. An answer may be a function of the query."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {
            ("POST", "/key/generate"): (200, {"key": "sk-new", "token": HASH}),
            ("POST", "/key/regenerate"): (200, {"key": "sk-newer"}),
            ("POST", "/key/update"): (200, {}),
            ("POST", "/key/block"): (200, {}),
            ("POST", "/key/unblock"): (200, {}),
            ("POST", "/key/delete"): (200, {"deleted_keys": [HASH]}),
            ("GET", "/key/list"): (200, {"keys": KEYS, "total_count": 2}),
            ("GET", "/key/info"): (200, {"key": HASH, "info": {"key_alias": "agent", "spend": 3.0, "team_id": None}}),
            ("GET", "/v1/models"): (200, {"data": [{"id": "gpt-4o"}]}),
            ("POST", "/v1/chat/completions"): (200, {"choices": [{"message": {"content": "All well."}}]}),
            ("GET", "/health"): (
                200,
                {"healthy_endpoints": [{"model": "a"}], "unhealthy_endpoints": [{"model": "b", "error": "no\nkey"}]},
            ),
        }
        self.seen: list[tuple[str, str, Any]] = []
        self.keys: set[str | None] = set()
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer("GET", None)

            def do_POST(self) -> None:
                self.answer("POST", json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def answer(self, method: str, sent: Any) -> None:
                path, _, query = self.path.partition("?")
                gateway.seen.append((method, path, sent if sent is not None else query))
                gateway.keys.add(self.headers["authorization"])
                found = gateway.answers.get((method, path), (404, {"detail": "Not Found"}))
                status, told = found(dict(urllib.parse.parse_qsl(query))) if callable(found) else found
                body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                self.send_response(status)
                if status == 307:
                    self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    fake = FakeGateway()
    monkeypatch.setenv("TOLLWAY_URL", fake.url)
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-master")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("http_proxy", "HTTP_PROXY", "CONFIG_FILE_PATH", "HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)
    yield fake
    fake.close()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tollway", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert isinstance(ended.value.code, int)
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run
