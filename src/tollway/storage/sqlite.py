"""SQLite through the standard library's own driver: one thread that writes, a few that read, each with its own
connection.

In WAL mode readers and the writer do not wait for each other. Another process that writes to the same file is waited
for, at most `BUSY_MS_MAX`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from tollway.errors import StorageError
from tollway.storage import SpendEntry, SpendRow
from tollway.storage.migrations import HEAD

T = TypeVar("T")

BUSY_MS_MAX = 5_000
READERS = 2
#: Pieces of work that may wait for one connection; a further one is refused with StorageError.
WAITING_MAX = 10_000
#: How many rows share a part of the index of request ids (a power of two, given as its exponent).
RUN_ROWS_LOG2 = 12

_ON_OPEN = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # a power cut may lose the last commits, never break the file
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8000",
    "PRAGMA journal_size_limit = 67108864",
)

# `DO NOTHING` for a repeated key alone: `INSERT OR IGNORE` would also swallow rows that break another rule.
_ROW_COLUMNS = SpendRow.__struct_fields__
_INSERT_SPEND = (
    f"INSERT INTO spend_rows ({', '.join(_ROW_COLUMNS)}, run_no, request_crc)"  # noqa: S608  our own columns
    f" VALUES ({', '.join('?' * (len(_ROW_COLUMNS) + 2))}) ON CONFLICT (epoch, seq) DO NOTHING"
)


class SqliteSession:
    """One connection, used in its own thread only."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._run_no = -1
        self._run_rows = 0

    def rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values or {}).fetchall()

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        return self._connection.execute(statement, values or {}).rowcount

    def execute_many(self, statement: str, values: Sequence[Mapping[str, Any]]) -> int:
        return self._connection.executemany(statement, values).rowcount if values else 0

    def insert_spend(self, batch: Sequence[SpendEntry]) -> Sequence[SpendEntry]:
        """Inserts what is not there yet and returns it. Must be the first thing done in its transaction.

        The driver looks for an adapter for every `bytes` and `bool` that it is given, and for no `bytearray` and `int`: that is a
        tenth of what a row costs.
        """
        connection = self._connection
        run_no = self._run_for(len(batch))
        crc = zlib.crc32
        values = [
            (
                entry.epoch,
                entry.seq,
                entry.started_us,
                bytearray(entry.key) if entry.key is not None else None,
                entry.user_id,
                entry.request_id,
                entry.model,
                entry.cost_nano,
                int(entry.failed),
                bytearray(entry.detail),
                entry.team_id,
                entry.end_user,
                entry.input_tokens,
                entry.output_tokens,
                run_no,
                crc(entry.request_id.encode()),
            )
            for entry in batch
        ]
        if connection.executemany(_INSERT_SPEND, values).rowcount == len(batch):
            return batch
        # Some were there: a journal is replayed. Once more, one by one, to know which.
        connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        inserted = [connection.execute(_INSERT_SPEND, row).rowcount == 1 for row in values]
        return [entry for entry, new in zip(batch, inserted, strict=True) if new]

    def _run_for(self, rows: int) -> int:
        if self._run_no < 0:
            ((last, count),) = self.rows(
                "SELECT coalesce(max(run_no), 0), count(*) FROM spend_rows"
                " WHERE run_no = (SELECT max(run_no) FROM spend_rows)"
            )
            self._run_no, self._run_rows = last, count
        if self._run_rows >> RUN_ROWS_LOG2:
            self._run_no += 1
            self._run_rows = 0
        self._run_rows += rows
        return self._run_no

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class _Lane:
    """One thread and its connection; what it is given is done in order."""

    def __init__(self, path: Path, name: str, *, writes: bool) -> None:
        self.waiting = 0
        self._path = path
        self._writes = writes
        self._session: SqliteSession | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"tollway-storage-{name}")

    async def run(self, work: Callable[[SqliteSession], T]) -> T:
        if self.waiting >= WAITING_MAX:
            raise StorageError(f"The storage is behind: {self.waiting} pieces of work wait for it.")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)
        finally:
            self.waiting -= 1

    def _do(self, work: Callable[[SqliteSession], T]) -> T:
        try:
            session = self._session
            if session is None:
                session = self._session = SqliteSession(_connect(self._path, writes=self._writes))
            return work(session) if not self._writes else _in_transaction(session, work)
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise StorageError(f"The storage {str(self._path)!r} failed: {error}") from error

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class SqliteDatabase:
    """A file that is open. Owns its threads and connections until `close`."""

    def __init__(self, path: Path) -> None:
        self._writer = _Lane(path, "write", writes=True)
        self._readers = tuple(_Lane(path, f"read-{n}", writes=False) for n in range(READERS))
        self._open = True

    async def read(self, work: Callable[[SqliteSession], T]) -> T:
        """Does `work`, which only reads, beside the writer."""
        self._check_open()
        return await min(self._readers, key=lambda lane: lane.waiting).run(work)

    async def write(self, work: Callable[[SqliteSession], T]) -> T:
        """Does `work` in one transaction: whole, or not at all. It goes on when the one who waits is cancelled."""
        self._check_open()
        return await self._writer.run(work)

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        # The writer last: the last connection that closes folds the WAL into the file.
        for lane in (*self._readers, self._writer):
            await lane.close()

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("The storage is closed.")


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Opens a file; makes it when it is new (readable by its owner alone), brings an older one up to date."""
    await asyncio.to_thread(_prepare, path)
    return SqliteDatabase(path)


def _in_transaction(session: SqliteSession, work: Callable[[SqliteSession], T]) -> T:
    session.begin()
    try:
        result = work(session)
        session.commit()
    except BaseException:
        session.roll_back()
        raise
    return result


def _connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    # `check_same_thread` stays on: a connection that wandered to another thread would be a defect here.
    connection = sqlite3.connect(path, timeout=BUSY_MS_MAX / 1000, isolation_level=None)
    for statement in _ON_OPEN:
        connection.execute(statement).fetchall()
    if not writes:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _prepare(path: Path) -> None:
    """Brings the file's schema to what this program expects: makes a new file, steps an older one up."""
    try:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = _connect(path, writes=True)
        try:
            if not _is_ours(connection):
                _create(connection, path)
            found = _revision(connection)
            if found.isdigit() and int(found) < int(HEAD):
                _step_up(connection)
                found = HEAD
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"The storage {str(path)!r} cannot be opened: {error}") from error
    if found != HEAD:
        raise StorageError(
            f"The storage {str(path)!r} has the schema {found!r}, this program knows schemas up to {HEAD!r}:"
            " it was used by a newer Tollway. Start that version, or name another file."
        )


def _is_ours(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())


def _revision(connection: sqlite3.Connection) -> str:
    rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(rows[0][0]) if rows else ""


def _step_up(connection: sqlite3.Connection) -> None:
    """The steps that an older file lacks, all of them or none. Another process may be at it, too: then there is nothing left."""
    steps = resources.files("tollway.storage").joinpath("steps")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(int(_revision(connection)) + 1, int(HEAD) + 1):
            for statement in steps.joinpath(f"{number:04}.sql").read_text("utf-8").split(";\n"):
                connection.execute(statement)
            connection.execute("UPDATE alembic_version SET version_num = ?", (f"{number:04}",))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _create(connection: sqlite3.Connection, path: Path) -> None:
    statements = resources.files("tollway.storage").joinpath("schema_sqlite.sql").read_text("utf-8").split(";\n")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_ours(connection):  # another process was faster
            return
        if connection.execute("SELECT 1 FROM sqlite_master").fetchall():
            raise StorageError(f"The file {str(path)!r} is another program's SQLite database; name another one.")
        for statement in statements:
            connection.execute(statement)
        connection.execute(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
