"""PostgreSQL through psycopg (extra `postgres`): one thread that writes, a few that read, and a connection on which the
database tells of changes. Everything lies in a schema of its own, so that the database may be another program's, too.

Rows are copied in; when one of them is there already, the batch is inserted once more row by row. A day's rows are a
partition, made when its first row comes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tollway.errors import StorageError
from tollway.storage import AliasTaken, KeyExists, shown_url
from tollway.storage.lanes import Lane
from tollway.storage.rollups import DAY_US, ROW_COLUMNS, Digest
from tollway.storage.schemas import HEAD, newer_schema, schema_statements, step_statements
from tollway.storage.session import numbers_of

try:
    import psycopg
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict
except ImportError as missing:
    raise StorageError("A PostgreSQL database needs its driver: pip install 'tollway[postgres]'") from missing

T = TypeVar("T")

SCHEMA = "tollway"
READERS = 2
CONNECT_S_MAX = 5
#: A server that takes nothing of what was sent to it for so long is gone; one that says nothing is asked after `KEEPALIVE_S`
#: whether it is there, and so many times more, `KEEPALIVE_AGAIN_S` apart. Else a host that vanishes holds a thread for minutes.
UNACKNOWLEDGED_MS_MAX = 10_000
KEEPALIVE_S = 5
KEEPALIVE_AGAIN_S = 2
KEEPALIVES_MAX = 3
#: In libpq's words, where the URL says nothing of its own (https://www.postgresql.org/docs/18/libpq-connect.html, 2026-11-22).
_WATCHED = {
    "tcp_user_timeout": UNACKNOWLEDGED_MS_MAX,
    "keepalives": 1,
    "keepalives_idle": KEEPALIVE_S,
    "keepalives_interval": KEEPALIVE_AGAIN_S,
    "keepalives_count": KEEPALIVES_MAX,
}
#: A statement that takes longer, or waits longer for others, fails.
STATEMENT_S_MAX = 60
LOCK_S_MAX = 10
#: How long a change that nobody told of may go unseen.
TOLD_S_MAX = 1.5
#: Whoever brings a database up to date, makes a partition or gives numbers holds this lock.
_UPGRADE_LOCK = 0x746F6C6C776179
#: What others write into a DATABASE_URL and libpq does not take (Prisma's, https://www.prisma.io/docs, 2026-11-22).
_NOT_LIBPQS = {
    *("schema", "connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "statement_cache_size"),
    *("sslaccept", "sslidentity", "sslpassword"),
}

_COPY_ROWS = f"COPY spend_rows ({', '.join((*ROW_COLUMNS[:-1], 'request_crc', 'detail'))}) FROM STDIN (FORMAT BINARY)"
_INSERT_ROWS = f"""
INSERT INTO spend_rows ({", ".join((*ROW_COLUMNS[:-1], "request_crc", "detail"))})
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[], %s::bigint[],
    %s::bigint[], %s::bytea[])
ON CONFLICT (started_us, id) DO NOTHING RETURNING id
"""  # noqa: S608  our own columns
# PostgreSQL's binary COPY: a head, then for each row the number of its fields, and each field with its length before it
# (https://www.postgresql.org/docs/18/sql-copy.html, 2026-11-22).
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_ROW_WITH_CUSTOMER = Struct("!hiqiqiqiqiqihiqiqi").pack
_ROW = Struct("!hiqiqiqiiqihiqiqi").pack


class PostgresSession:
    """One connection, used in its own thread only."""

    lock = " FOR UPDATE"
    mentions = "position(CAST(:mention AS bytea) IN r.detail) > 0"

    def __init__(self, connection: psycopg.Connection[Any], *, writes: bool) -> None:
        self._connection = connection
        self._begin = "BEGIN" if writes else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        self.places, self.workers = numbers_of(self)
        self._days: set[int] = set()  # that have a partition
        self.listening = False

    # --- as every session

    def rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(_spoken(statement), _clean(values)).fetchall()

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        return self._connection.execute(_spoken(statement), _clean(values)).rowcount

    def execute_many(self, statement: str, values: Sequence[Mapping[str, Any]]) -> int:
        if not values:
            return 0
        with self._connection.cursor() as cursor:
            cursor.executemany(_spoken(statement), [_clean(one) or {} for one in values])
            return cursor.rowcount

    def wait_for_turn(self) -> None:
        self._connection.execute(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")

    def insert_spend(self, digested: Digest) -> Sequence[int] | None:
        rows, crcs = digested.rows, digested.request_crcs
        self._make_partitions({row[1] // DAY_US for row in rows})
        self._connection.execute("SAVEPOINT spend")
        try:
            with self._connection.cursor() as cursor, cursor.copy(_COPY_ROWS) as copy:
                copy.write(_copied(rows, crcs))
            self._connection.execute("RELEASE SAVEPOINT spend")
        except errors.UniqueViolation:  # a journal is replayed
            self._connection.execute("ROLLBACK TO SAVEPOINT spend")
            return self._insert_new(rows, crcs)
        return None

    def _insert_new(self, rows: Sequence[tuple[Any, ...]], crcs: Sequence[int]) -> Sequence[int]:
        *columns, details = zip(*rows, strict=True)
        found = self._connection.execute(_INSERT_ROWS, [*map(list, columns), list(crcs), list(map(bytes, details))])
        inserted = {one for (one,) in found}
        places = []
        for place, row in enumerate(rows):
            if row[0] in inserted:
                inserted.remove(row[0])  # the same row twice in one batch counts once
                places.append(place)
        return places

    def _make_partitions(self, days: set[int]) -> None:
        for day in sorted(days - self._days):
            self.wait_for_turn()  # who is second finds it made
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS spend_rows_{day} PARTITION OF spend_rows"
                f" FOR VALUES FROM ({day * DAY_US}) TO ({(day + 1) * DAY_US})"
            )
            self._days.add(day)

    def add_up(self, table: str, names: Sequence[str], sums: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        columns = (*names, *sums)
        added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums)
        self._connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({', '.join(['%s::bigint[]'] * len(columns))})"  # noqa: S608
            f" ON CONFLICT ({', '.join(names)}) DO UPDATE SET {added}",
            [list(column) for column in zip(*rows, strict=True)],
        )

    def request_ids(self, crc: int) -> list[int]:
        return [
            one
            for (one,) in self.rows(
                "SELECT id FROM spend_rows WHERE request_crc = :crc ORDER BY started_us DESC", {"crc": crc}
            )
        ]

    def forget_before(self, before_us: int, rows_max: int) -> int:
        """Drops the partitions of whole days, the oldest first, until `rows_max` rows went."""
        forgotten = 0
        for day in self._partitions():
            if (day + 1) * DAY_US > before_us or forgotten >= rows_max:
                break
            forgotten += self.rows(f"SELECT count(*) FROM spend_rows_{day}")[0][0]  # noqa: S608
            self._connection.execute(f"DROP TABLE spend_rows_{day}")
            self._days.discard(day)
        return forgotten

    def _partitions(self) -> list[int]:
        found = self.rows(
            "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'spend_rows'::regclass"
        )
        return sorted(int(name.rpartition("_")[2]) for (name,) in found)

    # --- as its lane wants it

    @property
    def broken(self) -> bool:
        return self._connection.closed

    def begin(self) -> None:
        try:
            self._connection.execute(self._begin)
        except psycopg.OperationalError as error:
            if self._connection.closed:  # the server was restarted since
                raise _Stale from error
            raise

    def commit(self) -> None:
        self._connection.execute("COMMIT")
        self.places.keep()
        self.workers.keep()

    def roll_back(self) -> None:
        self.places.forget_new()
        self.workers.forget_new()
        self._days.clear()  # another host may have dropped one
        if not self._connection.closed:
            try:
                self._connection.execute("ROLLBACK")
            except psycopg.Error:
                self._connection.close()

    def close(self) -> None:
        self._connection.close()

    # --- being told

    def listen(self) -> int:
        """Listens for changed keys; returns the descriptor that can be read when something came."""
        if not self.listening:
            self._connection.execute("LISTEN tollway_keys")
            self.listening = True
        return self._connection.fileno()

    def hear(self) -> None:
        """Takes what came. Raises psycopg.OperationalError when the connection is broken."""
        for _ in self._connection.notifies(timeout=0):
            pass


class _Stale(Exception):
    """The connection broke while nothing was done on it."""


class PostgresDatabase:
    """A database that is open. Owns its threads and connections until `close`."""

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._shown = repr(shown_url(url))
        self._writer = self._lane("write", writes=True)
        self._soon = self._lane("soon", writes=True)
        self._readers = tuple(self._lane(f"read-{n}", writes=False) for n in range(READERS))
        self._listener = Lane(
            "listen",
            connect=lambda: _Listener(_connect(url), writes=False),
            translate=self._translate,
            again=lambda error: isinstance(error, _Stale),
        )
        self._open = True

    async def read(self, work: Callable[[PostgresSession], T]) -> T:
        self._check_open()
        return await min(self._readers, key=lambda lane: lane.waiting).run(work)

    async def write(self, work: Callable[[PostgresSession], T]) -> T:
        self._check_open()
        return await self._writer.run(work)

    async def write_soon(self, work: Callable[[PostgresSession], T]) -> T:
        self._check_open()
        return await self._soon.run(work)

    async def listen_for_key_changes(self) -> None:
        self._check_open()
        await self._listener.run(lambda session: session.listen())

    async def pause_for_key_change(self) -> None:
        self._check_open()
        loop = asyncio.get_running_loop()
        descriptor = await self._listener.run(lambda session: session.listen())
        told = asyncio.Event()
        loop.add_reader(descriptor, told.set)
        try:
            async with asyncio.timeout(TOLD_S_MAX):
                await told.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(descriptor)
        self._check_open()
        await self._listener.run(lambda session: session.hear())

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        lanes: tuple[Lane[Any], ...] = (*self._readers, self._listener, self._soon, self._writer)
        for lane in lanes:
            await lane.close()

    def _lane(self, name: str, *, writes: bool) -> Lane[PostgresSession]:
        return Lane(
            name,
            connect=lambda: PostgresSession(_connect(self._url), writes=writes),
            translate=self._translate,
            again=_may_go_well,
        )

    def _translate(self, error: Exception) -> StorageError | None:
        if isinstance(error, errors.UniqueViolation):
            if error.diag.constraint_name == "keys_key_alias_key":
                return AliasTaken("Another key has this alias.")
            if error.diag.constraint_name in ("keys_pkey", "key_predecessors_pkey"):
                return KeyExists("Another key has this token.")
        if isinstance(error, (psycopg.Error, _Stale, UnicodeError, OverflowError)):
            return StorageError(f"The storage {self._shown} failed: {_told(error)}")
        return None

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("The storage is closed.")


class _Listener(PostgresSession):
    """A connection on which nothing is asked: what it is told is told outside transactions."""

    def begin(self) -> None:
        return

    def commit(self) -> None:
        return

    def roll_back(self) -> None:
        self._connection.close()


def _may_go_well(error: Exception) -> bool:
    """Errors that undid everything and that a second try may not meet: others were in the way, or a day's partition was
    dropped since it was last seen.
    """
    return isinstance(error, (_Stale, errors.DeadlockDetected, errors.SerializationFailure, errors.CheckViolation))


async def open_postgres(url: str) -> PostgresDatabase:
    """Opens a database; makes its tables when there are none, brings older ones up to date."""
    url = without_foreign_words(url)
    await asyncio.to_thread(_prepare, url)
    return PostgresDatabase(url)


def _connect(url: str) -> psycopg.Connection[Any]:
    asked: dict[str, Any] = {**_WATCHED, **conninfo_to_dict(url)}
    asked.update(connect_timeout=CONNECT_S_MAX, application_name="tollway")
    connection: psycopg.Connection[Any] = psycopg.connect(autocommit=True, **asked)
    connection.execute(
        f"SET search_path = {SCHEMA}; SET statement_timeout = '{STATEMENT_S_MAX}s'; SET lock_timeout = '{LOCK_S_MAX}s';"
        " SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning; SET jit = off"
    )
    return connection


def _prepare(url: str) -> None:
    """Brings the schema to what this program expects, whole or not at all. Others who are at it, too, wait."""
    shown = shown_url(url)
    try:
        with _connect(url) as connection:
            connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
            with connection.transaction():
                connection.execute(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
                found = _upgraded(connection)
    except psycopg.Error as error:
        raise StorageError(f"The storage {shown!r} cannot be opened: {_told(error)}") from error
    if found > int(HEAD):
        raise newer_schema(shown, f"{found:04}")


def _upgraded(connection: psycopg.Connection[Any]) -> int:
    """The schema's number after it was brought up to date; a newer one is left alone."""
    ours = connection.execute(f"SELECT to_regclass('{SCHEMA}.schema_version') IS NOT NULL").fetchone()
    if ours == (False,):
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [SCHEMA]).fetchone() is None:
            connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for statement in schema_statements("postgres"):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (%s)", [int(HEAD)])
        return int(HEAD)
    row = connection.execute("SELECT max(number) FROM schema_version").fetchone()
    found = int(row[0]) if row is not None else 0
    for number in range(found + 1, int(HEAD) + 1):
        for statement in step_statements("postgres", number):
            connection.execute(statement)
        connection.execute("UPDATE schema_version SET number = %s", [number])
    return max(found, int(HEAD))


def without_foreign_words(url: str) -> str:
    """The URL without what other programs' drivers want to be told in it."""
    parts = urlsplit(url)
    if not parts.query:
        return url
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in _NOT_LIBPQS]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _told(error: Exception) -> str:
    """The first line of what went wrong: the others may hold what was asked."""
    return str(error).partition("\n")[0] or type(error).__name__


@lru_cache(maxsize=512)
def _spoken(statement: str) -> Any:
    """A statement with its values named as psycopg wants them."""
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", statement.replace("%", "%%"))


def _clean(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """PostgreSQL takes every character but one."""
    if values is None or not any(type(value) is str and "\0" in value for value in values.values()):
        return values
    return {name: value.replace("\0", "\ufffd") if type(value) is str else value for name, value in values.items()}


def _copied(rows: Sequence[tuple[Any, ...]], crcs: Sequence[int]) -> bytes:
    parts: list[bytes | bytearray] = [_COPY_HEAD]
    for (number, started_us, place, customer, cost, status, session, detail), crc in zip(rows, crcs, strict=True):
        size = len(detail)
        if customer is None:
            parts.append(_ROW(9, 8, number, 8, started_us, 8, place, -1, 8, cost, 2, status, 8, session, 8, crc, size))
        else:
            parts.append(
                _ROW_WITH_CUSTOMER(
                    9, 8, number, 8, started_us, 8, place, 8, customer, 8, cost, 2, status, 8, session, 8, crc, size
                )
            )
        parts.append(detail)
    parts.append(_COPY_END)
    return b"".join(parts)
