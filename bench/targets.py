"""What is measured: how each target is started, what its process tree has used, and how it is stopped.

Everything is started in a session of its own and stopped by pid. Loopback only; files go to a temporary folder.
"""

# ruff: noqa: S603  the commands are written here; nginx and perf are whichever the machine has
from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GATEWAY_CORE, OTHER_CORE = 0, 1
READY_S_MAX = 30.0
STOP_S_MAX = 8.0
MASTER_KEY = "sk-bench-" + os.urandom(12).hex()
MODEL = "gpt-4o-mini"
PATH = "/v1/chat/completions"


class Failed(Exception):
    """A target that does not start, dies or answers wrongly; its last words are in the message."""


class Process:
    """A program that was started, on a core of its own where that is allowed."""

    def __init__(self, command: list[str], folder: Path, name: str, core: int, *, pipes: bool = False) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        pipe = subprocess.PIPE if pipes else None
        with self.log.open("wb") as log, on_core(core):
            self.popen = subprocess.Popen(
                command, cwd=folder, stdin=pipe or subprocess.DEVNULL, stdout=pipe or log, stderr=log, text=True,
                start_new_session=True, env=environment(),
            )  # fmt: skip
        self.pid = self.popen.pid

    def check(self) -> None:
        if self.popen.poll() is not None:
            raise Failed(f"{self.name} ended with {self.popen.returncode}: {self.log.read_text()[-800:]}")

    def line(self) -> str:
        """The next line it prints."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            self.popen.wait(STOP_S_MAX)
            self.check()
        return line

    def ask(self, question: Any) -> Any:
        """One line of JSON in, one out."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(question) + "\n")
        self.popen.stdin.flush()
        return json.loads(self.line())

    def stop(self) -> None:
        """Asks the program to end; what is left of it and its children after some seconds is killed."""
        family = tree(self.pid)
        if self.popen.poll() is None:
            self.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_S_MAX)
        for pid in family:
            with suppress(OSError):
                # Only what still stands in the session that was begun for it: pids are used again.
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


class Target(ABC):
    """One program between load and provider. `cold_s` is from its start to its first answer."""

    name = ""
    deferred_s = 0.0  # for so long it may work on after its last answer (spend rows); counted too

    def __init__(self, folder: Path, provider_port: int) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.provider_port = provider_port
        self.port = free_port()
        self.key = MASTER_KEY
        self.answers = self.streams = 0  # what it has answered: JSON, events
        started = time.perf_counter()
        self.process = Process(self.command(), folder, self.name, GATEWAY_CORE)
        try:
            self._await_answer(started)
        except BaseException:
            self.process.stop()
            raise
        self.cold_s = time.perf_counter() - started
        self.answers += 1

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    def prepare(self) -> None:  # noqa: B027  most targets have nothing to do here
        """What is done between the first answer and the first measurement."""

    def head(self, path: str) -> str:
        return (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer {self.key}\r\n"
            "user-agent: OpenAI/Python 2.0.0\r\naccept: application/json\r\naccept-encoding: gzip, deflate\r\n"
            "connection: keep-alive\r\ncontent-type: application/json\r\n"
        )

    def ask(self, path: str, body: Any = None) -> Any:
        """An HTTP request with the key in force; the JSON of its answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=READY_S_MAX) as answer:  # noqa: S310  a URL of our own on loopback
                self.said = dict(answer.headers)
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failed(f"{self.name} answered {path} with {error.code}: {error.read()[:800]!r}") from error

    def _await_answer(self, started: float) -> None:
        question = {"model": MODEL, "messages": [{"role": "user", "content": "Are you there?"}]}
        while True:
            self.process.check()
            try:
                self.ask(PATH, question)
            except OSError as error:
                if time.perf_counter() - started > READY_S_MAX:
                    raise Failed(f"{self.name} is not ready after {READY_S_MAX:g} s: {error}") from error
                time.sleep(0.01)
            else:
                return


class Tollway(Target):
    """The governed path: a virtual key with a budget and limits, journal and spend rows on."""

    name = "tollway"
    deferred_s = 0.8  # the ledger moves its rows into storage every half second

    def command(self) -> list[str]:
        config = self.folder / "config.yaml"
        config.write_text(
            f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: openai/{MODEL}\n"
            f"      api_key: sk-provider\n      api_base: http://127.0.0.1:{self.provider_port}/v1\n"
            f"general_settings:\n  master_key: {MASTER_KEY}\n"
        )
        installed = Path(sys.executable).with_name("tollway")
        flags = ["--config", str(config), "--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1"]
        return [str(installed), *flags]

    def prepare(self) -> None:
        limits = {"max_budget": 1_000_000, "budget_duration": "30d", "rpm_limit": 10**9, "tpm_limit": 10**12}
        self.key = self.ask("/key/generate", {"key_alias": "bench", "models": [MODEL], **limits})["key"]
        self.ask("/key/info")
        self.memory_mb = pss_mb(self.process.pid)

    def stored(self) -> tuple[int, float]:
        """(calls, dollars) in the spend log: every call that was settled before this is asked."""
        self.key = MASTER_KEY
        rows = self.ask("/spend/logs")
        calls = int(self.said.get("x-tollway-total") or len(rows))
        before, after = (time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86_400)) for days in (-1, 1))
        sums = self.ask(f"/global/spend/report?group_by=api_key&start_date={before}&end_date={after}")
        return calls, sum(group["total_cost"] for group in sums)


class PlainProxy(Target):
    """What lean Python costs at least."""

    name = "uvicorn"

    def command(self) -> list[str]:
        return [sys.executable, str(HERE / "plain_proxy.py"), str(self.port), str(self.provider_port)]


class Nginx(Target):
    """A reverse proxy in C that does nothing else: one worker, connections kept on both sides."""

    name = "nginx"

    def command(self) -> list[str]:
        folder = self.folder
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
        config = folder / "nginx.conf"
        config.write_text(
            f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit;\n"
            f"events {{ worker_connections 1024; }}\nhttp {{ access_log off; keepalive_requests 1000000000;\n{paths}\n"
            "client_body_buffer_size 1m; client_max_body_size 64m;\n"
            f"upstream provider {{ server 127.0.0.1:{self.provider_port}; keepalive 256;"
            " keepalive_requests 1000000000; }\n"
            f"server {{ listen 127.0.0.1:{self.port}; proxy_http_version 1.1; proxy_set_header Connection '';\n"
            "proxy_buffering off; location / { proxy_pass http://provider; } } }\n"
        )
        return [shutil.which("nginx") or "nginx", "-c", str(config), "-e", str(folder / "error.log")]


TARGETS: dict[str, type[Target]] = {target.name: target for target in (Tollway, PlainProxy, Nginx)}


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started meanwhile stay on this core, where the machine has it and allows it."""
    before = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def environment() -> dict[str, str]:
    """Ours, without what would change how a gateway starts, but for whether it takes what was compiled (`TOLLWAY_COMPILED=0`)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITELLM_", "TOLLWAY_"))}
    if (compiled := os.environ.get("TOLLWAY_COMPILED")) is not None:
        kept["TOLLWAY_COMPILED"] = compiled
    return kept


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def tree(pid: int) -> list[int]:
    """A process and all that came of it."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return found


def cpu_us(pid: int) -> float:
    """Microseconds that the tree has been on a CPU, in user and system mode."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").glob("*/schedstat"):
                total += int(task.read_text().split()[0])
    return total / 1000


def pss_mb(pid: int) -> float:
    """Megabytes that the tree holds, pages shared with others counted by their share."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
