"""Child processes: a bound on their start, output kept for the failure report, ended by their own process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

STOP_S_MAX = 60.0
POLL_S = 0.1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, look: Callable[[], T | None], s_max: float) -> T:
    """Looks until something true is there. Raises `TimeoutError` naming what was waited for."""
    deadline = time.monotonic() + s_max
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {s_max:.0f} s; last seen: {found!r}")
        time.sleep(POLL_S)


class Child:
    """A process whose output goes to a file; `stop` ends it and every process it started."""

    def __init__(self, name: str, command: list[str], *, environment: dict[str, str], cwd: Path, output: Path) -> None:
        self.name = name
        self.output = output
        with output.open("ab") as sink:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def tail(self, chars_max: int = 6000) -> str:
        return self.output.read_text(errors="replace")[-chars_max:]

    def wait_until(self, what: str, look: Callable[[], T | None], s_max: float) -> T:
        """As `wait_for`, but gives up at once, with the output, when the process ends."""

        def look_while_running() -> T | None:
            if self.ended():
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            return look()

        try:
            return wait_for(f"{self.name}: {what}", look_while_running, s_max)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.tail()}") from None

    def stop(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S_MAX)
                return
