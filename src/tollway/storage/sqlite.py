"""SQLite through the standard library's own driver: one thread that writes, a few that read, each with its own
connection.

In WAL mode readers and the writer do not wait for each other. Another process that writes to the same file is waited
for, at most `BUSY_MS_MAX`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tollway.errors import StorageError
from tollway.storage.lanes import Lane
from tollway.storage.rollups import ROW_COLUMNS, Digest
from tollway.storage.schemas import HEAD, fill_0003, newer_schema, schema_statements, step_statements
from tollway.storage.session import numbers_of

T = TypeVar("T")

BUSY_MS_MAX = 5_000
READERS = 2
#: Rows whose request ids are kept together; a batch may go beyond.
RUN_ROWS_MAX = 4_096
#: How often somebody who waits for changed keys looks.
LOOK_S = 0.5

_ON_OPEN = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # a power cut may lose the last commits, never break the file
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8000",
    "PRAGMA journal_size_limit = 67108864",
)

# `DO NOTHING` for a repeated id alone: `INSERT OR IGNORE` would also swallow rows that break another rule.
_INSERT_SPEND = (
    f"INSERT INTO spend_rows ({', '.join(ROW_COLUMNS)})"  # noqa: S608  our own columns
    f" VALUES ({', '.join('?' * len(ROW_COLUMNS))}) ON CONFLICT (id) DO NOTHING"
)
_RUN_BEGIN = "INSERT INTO spend_requests (last_us, crcs, ids) VALUES (:last_us, :crcs, :ids)"
_RUN_GO_ON = """
UPDATE spend_requests SET crcs = CAST(crcs || :crcs AS BLOB), ids = CAST(ids || :ids AS BLOB),
    last_us = max(last_us, :last_us) WHERE no = :no
"""


class SqliteSession:
    """One connection, used in its own thread only."""

    lock = ""  # whoever writes is alone
    mentions = "instr(r.detail, :mention) > 0"

    broken = False  # a file does not break off

    def __init__(self, connection: sqlite3.Connection, *, writes: bool = True) -> None:
        self._connection = connection
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self.places, self.workers = numbers_of(self)
        self._run: tuple[int, int] | None = None  # (no, rows) of the run of request ids that is written

    def rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values or {}).fetchall()

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        return self._connection.execute(statement, values or {}).rowcount

    def execute_many(self, statement: str, values: Sequence[Mapping[str, Any]]) -> int:
        return self._connection.executemany(statement, values).rowcount if values else 0

    def wait_for_turn(self) -> None:
        return  # whoever writes is alone

    def insert_spend(self, digested: Digest) -> Sequence[int] | None:
        connection = self._connection
        rows, crcs = digested.rows, digested.request_crcs
        connection.execute("SAVEPOINT spend")
        new = None
        if connection.executemany(_INSERT_SPEND, rows).rowcount == len(rows):
            connection.execute("RELEASE spend")
        else:
            # Some were there: a journal is replayed. Once more, one by one, to know which.
            connection.execute("ROLLBACK TO spend")
            connection.execute("RELEASE spend")
            new = [place for place, row in enumerate(rows) if connection.execute(_INSERT_SPEND, row).rowcount == 1]
            rows, crcs = [rows[place] for place in new], [crcs[place] for place in new]
        if rows:
            self._remember_requests(rows, crcs)
        return new

    def _remember_requests(self, rows: Sequence[tuple[Any, ...]], crcs: Sequence[int]) -> None:
        """Ids of providers are random: an index on them costs as much as all the rest of a row. A run of rows keeps them in
        two arrays, and a search reads all arrays: four megabytes for a million rows.
        """
        values = {
            "crcs": array("I", crcs).tobytes(),
            "ids": array("q", [row[0] for row in rows]).tobytes(),
            "last_us": max(row[1] for row in rows),
        }
        if self._run is not None and self._run[1] < RUN_ROWS_MAX:
            no, before = self._run
            if self.execute(_RUN_GO_ON, {**values, "no": no}):
                self._run = (no, before + len(rows))
                return
        self._connection.execute(_RUN_BEGIN, values)
        self._run = (int(self.rows("SELECT last_insert_rowid()")[0][0]), len(rows))

    def request_ids(self, crc: int) -> list[int]:
        wanted = array("I", [crc]).tobytes()
        found: list[int] = []
        runs = self._connection.execute(
            "SELECT crcs, ids FROM spend_requests WHERE instr(crcs, ?) ORDER BY no DESC", (wanted,)
        )
        for crcs, ids in runs:
            at = crcs.find(wanted)
            while at >= 0:
                if at % 4 == 0:
                    found.append(int.from_bytes(ids[2 * at : 2 * at + 8], sys.byteorder))
                at = crcs.find(wanted, at + 1)
        return found

    def add_up(self, table: str, names: Sequence[str], sums: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
            self._connection.executemany(
                f"INSERT INTO {table} ({', '.join((*names, *sums))}) VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608
                f" ON CONFLICT ({', '.join(names)}) DO UPDATE SET {added}",
                rows,
            )

    def forget_before(self, before_us: int, rows_max: int) -> int:
        statement = """
            DELETE FROM spend_rows WHERE id IN (
                SELECT id FROM spend_rows WHERE started_us < :before ORDER BY started_us LIMIT :rows_max)"""
        forgotten = self.execute(statement, {"before": before_us, "rows_max": rows_max})
        if forgotten < rows_max:
            self.execute("DELETE FROM spend_requests WHERE last_us < :before", {"before": before_us})
        return forgotten

    def begin(self) -> None:
        self._connection.execute(self._begin)

    def commit(self) -> None:
        self._connection.execute("COMMIT")
        self.places.keep()
        self.workers.keep()

    def roll_back(self) -> None:
        self.places.forget_new()
        self.workers.forget_new()
        self._run = None
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class SqliteDatabase:
    """A file that is open. Owns its threads and connections until `close`."""

    shared = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = self._lane("write", writes=True)
        self._readers = tuple(self._lane(f"read-{n}", writes=False) for n in range(READERS))
        self._open = True

    def _lane(self, name: str, *, writes: bool) -> Lane[SqliteSession]:
        return Lane(
            name,
            connect=lambda: SqliteSession(_connect(self._path, writes=writes), writes=writes),
            translate=self._translate,
        )

    def _translate(self, error: Exception) -> StorageError | None:
        if isinstance(error, (sqlite3.Error, UnicodeError, OverflowError)):
            return StorageError(f"The storage {str(self._path)!r} failed: {error}")
        return None

    async def read(self, work: Callable[[SqliteSession], T]) -> T:
        """Does `work`, which only reads, beside the writer."""
        self._check_open()
        return await min(self._readers, key=lambda lane: lane.waiting).run(work)

    async def write(self, work: Callable[[SqliteSession], T]) -> T:
        """Does `work` in one transaction: whole, or not at all. It goes on when the one who waits is cancelled."""
        self._check_open()
        return await self._writer.run(work)

    async def write_soon(self, work: Callable[[SqliteSession], T]) -> T:
        return await self.write(work)

    async def listen_for_key_changes(self) -> None:
        self._check_open()

    async def pause_for_key_change(self) -> None:
        self._check_open()
        await asyncio.sleep(LOOK_S)

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
        raise newer_schema(str(path), found)


def _is_ours(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())


def _revision(connection: sqlite3.Connection) -> str:
    rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(rows[0][0]) if rows else ""


def _step_up(connection: sqlite3.Connection) -> None:
    """The steps that an older file lacks, all of them or none. Another process may be at it, too: then there is nothing left."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = int(_revision(connection))
        for number in range(found + 1, int(HEAD) + 1):
            for statement in step_statements("sqlite", number):
                connection.execute(statement)
            connection.execute("UPDATE alembic_version SET version_num = ?", (f"{number:04}",))
        if found < 3:  # after the other steps: it writes into today's tables
            fill_0003(connection, SqliteSession(connection))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_ours(connection):  # another process was faster
            return
        if connection.execute("SELECT 1 FROM sqlite_master").fetchall():
            raise StorageError(f"The file {str(path)!r} is another program's SQLite database; name another one.")
        for statement in schema_statements("sqlite"):
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
