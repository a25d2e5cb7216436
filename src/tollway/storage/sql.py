"""Keys, spend and leases in SQL that SQLite and PostgreSQL both speak. Which of them it is, and its threads, is the Database's
business.

A statement names its values (`:token`); a piece of work is a plain function over a Session and is done whole or not at
all.
"""

# ruff: noqa: S608  statements are put together from the names of our own columns only

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import msgpack, structs

from tollway.storage import (
    GROUP_SUMS,
    KEY_SCOPE,
    AliasTaken,
    KeyExists,
    KeyFilter,
    KeyRecord,
    KeySort,
    LeaseKept,
    LeaseState,
    LeaseWant,
    Predecessor,
    SpendColumn,
    SpendEntry,
    SpendFilter,
    SpendGroup,
    SpendRow,
    Spent,
    judge_lease,
    merge_key_changes,
    merge_predecessors,
    sum_charges,
)

T = TypeVar("T")

REQUEST_ROWS_MAX = 1_000
DAY_US = 86_400_000_000


class Session(Protocol):
    """One connection inside a transaction."""

    def rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]: ...

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        """Returns how many rows it changed."""

    def execute_many(self, statement: str, values: Sequence[Mapping[str, Any]]) -> int:
        """Returns how many rows were changed in all."""

    def insert_spend(self, batch: Sequence[SpendEntry]) -> Sequence[SpendEntry]:
        """Inserts what is not there yet and returns it; must come first in its transaction."""


class Database(Protocol):
    async def read(self, work: Callable[[Any], T]) -> T: ...

    async def write(self, work: Callable[[Any], T]) -> T: ...

    async def close(self) -> None: ...


class SqlStorage:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.keys = SqlKeyStore(database)
        self.spend = SqlSpendStore(database)
        self.leases = SqlLeaseStore(database)

    async def key_changes(self) -> int:
        rows = await self._database.read(lambda session: session.rows(_KEY_CHANGES))
        return rows[0][0] if rows else 0

    async def check(self) -> None:
        await self._database.read(lambda session: session.rows("SELECT 1 FROM spent WHERE scope = ''"))

    async def close(self) -> None:
        await self._database.close()


# Keys

_KEY_COLUMNS = KeyRecord.__struct_fields__
_KEY_SELECT = f"SELECT {', '.join(_KEY_COLUMNS)} FROM keys"
_KEY_INSERT = f"INSERT INTO keys ({', '.join(_KEY_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _KEY_COLUMNS)})"

_KEY_CHANGES = "SELECT number FROM changes WHERE name = 'keys'"
_COUNT_KEY_CHANGE = """
INSERT INTO changes (name, number) VALUES ('keys', 1) ON CONFLICT (name) DO UPDATE SET number = changes.number + 1
"""


class SqlKeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, record: KeyRecord) -> None:
        def work(session: Session) -> None:
            _check_free(session, record.token, record.key_alias)
            session.execute(_KEY_INSERT, _key_values(record))
            session.execute(_COUNT_KEY_CHANGE)

        await self._database.write(work)

    async def get(self, token: bytes) -> KeyRecord | None:
        return await self._database.read(lambda session: _key(session, token))

    async def get_by_alias(self, alias: str) -> KeyRecord | None:
        rows = await self._database.read(
            lambda session: session.rows(f"{_KEY_SELECT} WHERE key_alias = :alias", {"alias": alias})
        )
        return _key_record(rows[0]) if rows else None

    async def update(self, token: bytes, changes: Mapping[str, Any], *, now_us: int) -> KeyRecord | None:
        def work(session: Session) -> KeyRecord | None:
            record = _key(session, token)
            return _change_key(session, record, changes, now_us) if record is not None else None

        return await self._database.write(work)

    async def delete(self, tokens: Sequence[bytes]) -> list[bytes]:
        def work(session: Session) -> list[bytes]:
            deleted = [t for t in tokens if session.execute("DELETE FROM keys WHERE token = :token", {"token": t})]
            for token in deleted:
                session.execute("DELETE FROM leases WHERE scope = 'key' AND id = :id", {"id": token.hex()})
            if deleted:
                session.execute(_COUNT_KEY_CHANGE)
            return deleted

        return await self._database.write(work)

    async def page(
        self, which: KeyFilter, *, sort: KeySort = "created_us", descending: bool = True, limit: int, offset: int = 0
    ) -> tuple[list[KeyRecord], int]:
        conditions, values = _equal(which, KeyFilter.__struct_fields__)
        where = _where(conditions)
        if sort not in _KEY_COLUMNS:  # it becomes part of the statement
            raise ValueError(f"Keys are not sorted by {sort!r}.")
        order = f"{sort} IS NULL, {sort} {'DESC' if descending else 'ASC'}, token"

        def work(session: Session) -> tuple[list[KeyRecord], int]:
            ((total,),) = session.rows(f"SELECT count(*) FROM keys{where}", values)
            rows = session.rows(
                f"{_KEY_SELECT}{where} ORDER BY {order} LIMIT :limit OFFSET :offset",
                {**values, "limit": limit, "offset": offset},
            )
            return [_key_record(row) for row in rows], total

        return await self._database.read(work)

    async def load_all(self) -> list[KeyRecord]:
        return [_key_record(row) for row in await self._database.read(lambda session: session.rows(_KEY_SELECT))]

    async def predecessors(self) -> list[Predecessor]:
        statement = "SELECT old, token, until_us FROM key_predecessors"
        return [Predecessor(*row) for row in await self._database.read(lambda session: session.rows(statement))]

    async def regenerate(
        self, old: bytes, new: bytes, *, key_name: str, grace_until_us: int, changes: Mapping[str, Any], now_us: int
    ) -> KeyRecord | None:
        def work(session: Session) -> KeyRecord | None:
            record = _key(session, old)
            if record is None:
                return None
            _check_free(session, new, None)
            # Older predecessors follow by their foreign key.
            session.execute(
                "UPDATE keys SET token = :new, key_name = :name WHERE token = :old",
                {"new": new, "name": key_name, "old": old},
            )
            session.execute(
                "INSERT INTO key_predecessors (old, token, until_us) VALUES (:old, :new, :until)",
                {"old": old, "new": new, "until": grace_until_us},
            )
            session.execute(
                "UPDATE leases SET id = :new WHERE scope = 'key' AND id = :old", {"new": new.hex(), "old": old.hex()}
            )
            return _change_key(session, structs.replace(record, token=new, key_name=key_name), changes, now_us)

        return await self._database.write(work)

    async def roll_budget(self, token: bytes, started_us: int, next_reset_us: int | None) -> bool:
        statement = """
            UPDATE keys SET spend_nano = 0, period_start_us = :started, budget_reset_us = :reset
            WHERE token = :token AND period_start_us < :started"""
        values = {"token": token, "started": started_us, "reset": next_reset_us}
        renew = "UPDATE keys SET budget_reset_us = :reset WHERE token = :token AND period_start_us = :started"
        return await self._database.write(lambda session: _roll(session, statement, renew, values))


def _key(session: Session, token: bytes) -> KeyRecord | None:
    rows = session.rows(f"{_KEY_SELECT} WHERE token = :token", {"token": token})
    return _key_record(rows[0]) if rows else None


def _key_record(row: tuple[Any, ...]) -> KeyRecord:
    values = dict(zip(_KEY_COLUMNS, row, strict=True))
    values["fields"] = msgpack.decode(values["fields"])
    if values["blocked"] is not None:
        values["blocked"] = bool(values["blocked"])
    return KeyRecord(**values)


def _key_values(record: KeyRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _KEY_COLUMNS}
    values["fields"] = msgpack.encode(record.fields)
    return values


def _check_free(session: Session, token: bytes, alias: str | None) -> None:
    taken = "SELECT 1 FROM keys WHERE token = :token UNION ALL SELECT 1 FROM key_predecessors WHERE old = :token"
    if session.rows(taken, {"token": token}):
        raise KeyExists("Another key has this token.")
    if alias is not None and session.rows("SELECT 1 FROM keys WHERE key_alias = :alias", {"alias": alias}):
        raise AliasTaken(f"Another key has the alias {alias!r}.")


def _change_key(session: Session, record: KeyRecord, changes: Mapping[str, Any], now_us: int) -> KeyRecord:
    changed = merge_key_changes(record, changes, now_us=now_us)
    if changed.key_alias != record.key_alias and changed.key_alias is not None:
        _check_free(session, b"", changed.key_alias)
    columns = [name for name in (*changes, "updated_us") if name != "token"]
    values = _key_values(changed)
    session.execute(
        f"UPDATE keys SET {', '.join(f'{name} = :{name}' for name in columns)} WHERE token = :token", values
    )
    session.execute(_COUNT_KEY_CHANGE)
    return changed


# Spend

_ROW_COLUMNS = SpendRow.__struct_fields__
_FAILED = _ROW_COLUMNS.index("failed")
_NEWEST_FIRST = "ORDER BY r.started_us DESC, r.epoch DESC, r.seq DESC"
_ROW_SELECT = f"SELECT {', '.join(f'r.{name}' for name in _ROW_COLUMNS)} FROM spend_rows AS r"

# A charge of the period in force adds to spend, one of a newer period begins it, one of an older one counts in the
# total alone.
_CHARGE_KEY = """
UPDATE keys SET
    total_spend_nano = total_spend_nano + :nano,
    spend_nano = CASE WHEN period_start_us = :period THEN spend_nano + :nano
                      WHEN period_start_us < :period THEN :nano ELSE spend_nano END,
    period_start_us = CASE WHEN period_start_us < :period THEN :period ELSE period_start_us END,
    last_active_us = CASE WHEN last_active_us >= :at THEN last_active_us ELSE :at END
WHERE token = :token
"""
_CHARGE_SCOPE = """
INSERT INTO spent (scope, id, spend_nano, total_nano, period_start_us) VALUES (:scope, :id, :nano, :nano, :period)
ON CONFLICT (scope, id) DO UPDATE SET
    total_nano = spent.total_nano + :nano,
    spend_nano = CASE WHEN spent.period_start_us = :period THEN spent.spend_nano + :nano
                      WHEN spent.period_start_us < :period THEN :nano ELSE spent.spend_nano END,
    period_start_us = CASE WHEN spent.period_start_us < :period THEN :period ELSE spent.period_start_us END
"""
# One question per run of rows: see the index in `tables.py`.
_BY_REQUEST = f"""
WITH RECURSIVE runs (run_no) AS (
    SELECT min(run_no) FROM spend_rows
    UNION ALL SELECT run_no + 1 FROM runs WHERE run_no < (SELECT max(run_no) FROM spend_rows)
)
{_ROW_SELECT.replace("FROM spend_rows AS r", "FROM runs CROSS JOIN spend_rows AS r")}
WHERE r.run_no = runs.run_no AND r.request_crc = :crc AND r.request_id = :id
{_NEWEST_FIRST} LIMIT {REQUEST_ROWS_MAX}
"""


class SqlSpendStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ingest(self, batch: Sequence[SpendEntry], *, leased: bool = False) -> int:
        if not batch:
            return 0
        return await self._database.write(lambda session: _ingest(session, batch, leased))

    async def page(self, which: SpendFilter, *, limit: int, offset: int = 0) -> tuple[list[SpendRow], int]:
        where, values = _spend_where(which)

        def work(session: Session) -> tuple[list[SpendRow], int]:
            ((total,),) = session.rows(f"SELECT count(*) FROM spend_rows AS r{where}", values)
            rows = session.rows(
                f"{_ROW_SELECT}{where} {_NEWEST_FIRST} LIMIT :limit OFFSET :offset",
                {**values, "limit": limit, "offset": offset},
            )
            return _spend_rows(rows), total

        return await self._database.read(work)

    async def recent(self, limit: int = 10_000) -> tuple[list[SpendRow], int]:
        return await self.page(SpendFilter(), limit=limit)

    async def by_request_id(self, request_id: str) -> list[SpendRow]:
        values = {"id": request_id, "crc": zlib.crc32(request_id.encode("utf-8", "replace"))}
        return _spend_rows(await self._database.read(lambda session: session.rows(_BY_REQUEST, values)))

    async def row(self, epoch: int, seq: int) -> SpendRow | None:
        statement = f"{_ROW_SELECT} WHERE r.epoch = :epoch AND r.seq = :seq"
        rows = await self._database.read(lambda session: session.rows(statement, {"epoch": epoch, "seq": seq}))
        return _spend_rows(rows)[0] if rows else None

    async def groups(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendGroup]:
        if not set(by) <= set(SpendGroup.__struct_fields__):  # they become part of the statement
            raise ValueError(f"Spend is not grouped by {by!r}.")
        where, values = _spend_where(which)
        columns = [f"r.started_us / {DAY_US} AS day" if name == "day" else f"r.{name} AS {name}" for name in by]
        sums = [
            f"coalesce(sum({what}), 0)" for what in ("r.cost_nano", "1", "r.failed", "input_tokens", "output_tokens")
        ]
        grouped = f" GROUP BY {', '.join(map(str, range(1, len(by) + 1)))}" if by else ""
        statement = f"SELECT {', '.join([*columns, *sums])} FROM spend_rows AS r{where}{grouped}"

        def work(session: Session) -> list[SpendGroup]:
            names = (*by, *GROUP_SUMS)
            groups = [SpendGroup(**dict(zip(names, row, strict=True))) for row in session.rows(statement, values)]
            if "key" not in by:
                return groups
            return merge_predecessors(groups, dict(session.rows("SELECT old, token FROM key_predecessors")))

        found = await self._database.read(work)
        return sorted(found, key=lambda group: [_null_first(getattr(group, name)) for name in by])

    async def spent(self, scope: str, scope_id: str) -> Spent | None:
        statement = f"{_SPENT_SELECT} WHERE scope = :scope AND id = :id"
        rows = await self._database.read(lambda session: session.rows(statement, {"scope": scope, "id": scope_id}))
        return Spent(*rows[0]) if rows else None

    async def all_spent(self) -> list[Spent]:
        return [Spent(*row) for row in await self._database.read(lambda session: session.rows(_SPENT_SELECT))]

    async def roll_budget(self, scope: str, scope_id: str, started_us: int, next_reset_us: int | None) -> bool:
        statement = """
            INSERT INTO spent (scope, id, spend_nano, total_nano, period_start_us, reset_us)
            VALUES (:scope, :id, 0, 0, :started, :reset)
            ON CONFLICT (scope, id) DO UPDATE SET spend_nano = 0, period_start_us = :started, reset_us = :reset
            WHERE spent.period_start_us < :started"""
        renew = "UPDATE spent SET reset_us = :reset WHERE scope = :scope AND id = :id AND period_start_us = :started"
        values = {"scope": scope, "id": scope_id, "started": started_us, "reset": next_reset_us}
        return await self._database.write(lambda session: _roll(session, statement, renew, values))

    async def forget_before(self, before_us: int, *, rows_max: int) -> int:
        statement = """
            DELETE FROM spend_rows WHERE (epoch, seq) IN (
                SELECT epoch, seq FROM spend_rows WHERE started_us < :before ORDER BY started_us LIMIT :rows_max)"""
        values = {"before": before_us, "rows_max": rows_max}
        return await self._database.write(lambda session: session.execute(statement, values))


_SPENT_SELECT = f"SELECT {', '.join(Spent.__struct_fields__)} FROM spent"


def _ingest(session: Session, batch: Sequence[SpendEntry], leased: bool) -> int:
    inserted = session.insert_spend(batch)
    key_charges: list[dict[str, Any]] = []
    scope_charges: list[dict[str, Any]] = []
    for (scope, scope_id, period), (nano, at) in sum_charges(inserted).items():
        if scope == KEY_SCOPE:
            key_charges.append({"token": bytes.fromhex(scope_id), "nano": nano, "period": period, "at": at})
        else:
            scope_charges.append({"scope": scope, "id": scope_id, "nano": nano, "period": period})
    if session.execute_many(_CHARGE_KEY, key_charges) != len(key_charges):
        key_charges = _charge_successors(session, key_charges)
    session.execute_many(_CHARGE_SCOPE, scope_charges)
    if leased:
        scope_charges.extend({**charge, "scope": KEY_SCOPE, "id": charge["token"].hex()} for charge in key_charges)
        epoch = batch[0].epoch
        session.execute_many(_CHARGE_LEASE, [{**charge, "epoch": epoch} for charge in scope_charges])
    return len(inserted)


def _charge_successors(session: Session, charges: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some keys were not there. Calls that began before their key was regenerated are paid by what it became.

    Returns all charges to keys that are there.
    """
    paid = []
    for charge in charges:
        # A token is a key's or a predecessor's, never both: what was charged already is not found here.
        for (successor,) in session.rows("SELECT token FROM key_predecessors WHERE old = :token", charge):
            session.execute(_CHARGE_KEY, {**charge, "token": successor})
            paid.append({**charge, "token": successor})
        if session.rows("SELECT 1 FROM keys WHERE token = :token", charge):
            paid.append(charge)
    return paid


def _roll(session: Session, statement: str, renew: str, values: Mapping[str, Any]) -> bool:
    if session.execute(statement, values):
        return True
    # A charge of the new period was here first and began it; only the next reset is still unknown.
    session.execute(renew, values)
    return False


def _spend_rows(rows: Iterable[tuple[Any, ...]]) -> list[SpendRow]:
    # A database's booleans are 0 and 1.
    return [SpendRow(**{**dict(zip(_ROW_COLUMNS, row, strict=True)), "failed": bool(row[_FAILED])}) for row in rows]


def _equal(which: KeyFilter | SpendFilter, names: Iterable[str], prefix: str = "") -> tuple[list[str], dict[str, Any]]:
    values = {name: value for name in names if (value := getattr(which, name)) is not None}
    return [f"{prefix}{name} = :{name}" for name in values], values


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _spend_where(which: SpendFilter) -> tuple[str, dict[str, Any]]:
    conditions, values = _equal(which, ("user_id", "team_id", "end_user", "model"), "r.")
    if which.from_us is not None:
        conditions.append("r.started_us >= :from_us")
        values["from_us"] = which.from_us
    if which.until_us is not None:
        conditions.append("r.started_us < :until_us")
        values["until_us"] = which.until_us
    if which.key is not None:
        conditions.append("r.key IN (SELECT :key UNION ALL SELECT old FROM key_predecessors WHERE token = :key)")
        values["key"] = which.key
    if which.master_key:
        conditions.append("r.key IS NULL")
    return _where(conditions), values


def _null_first(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


# Leases

_CHARGE_LEASE = """
INSERT INTO leases (scope, id, period_start_us, epoch, granted_nano, charged_nano, wanted)
VALUES (:scope, :id, :period, :epoch, 0, :nano, 0)
ON CONFLICT (scope, id, period_start_us, epoch) DO UPDATE SET charged_nano = leases.charged_nano + :nano
"""
_GRANT = """
INSERT INTO leases (scope, id, period_start_us, epoch, granted_nano, charged_nano, wanted)
VALUES (:scope, :id, :period, :epoch, :granted, 0, 0)
ON CONFLICT (scope, id, period_start_us, epoch) DO UPDATE SET granted_nano = :granted
"""
_OF_PERIOD = "scope = :scope AND id = :id AND period_start_us = :period"


class SqlLeaseStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, epoch: int, wants: Sequence[LeaseWant], *, workers: int) -> list[LeaseState]:
        return await self._database.write(lambda session: [_lease(session, epoch, want, workers) for want in wants])

    async def give_back(self, epoch: int, kept: Sequence[LeaseKept]) -> None:
        statement = f"""
            UPDATE leases SET wanted = 0,
                granted_nano = CASE WHEN granted_nano > :granted THEN :granted ELSE granted_nano END
            WHERE {_OF_PERIOD} AND epoch = :epoch"""

        def work(session: Session) -> None:
            for lease in kept:
                values = _place(session, lease.scope, lease.id, lease.period_start_us)[0]
                session.execute(statement, {**values, "epoch": epoch, "granted": lease.granted_nano})

        await self._database.write(work)

    async def states(self, epoch: int, *, wanted_only: bool = False) -> list[LeaseState]:
        statement = (
            "SELECT scope, id, period_start_us, granted_nano, charged_nano, wanted FROM leases"
            f" WHERE epoch = :epoch{' AND wanted = 1' if wanted_only else ''}"
        )

        def work(session: Session) -> list[LeaseState]:
            found = []
            for scope, scope_id, period, granted, charged, wanted in session.rows(statement, {"epoch": epoch}):
                _, spent, in_force = _place(session, scope, scope_id, period)
                if in_force is not None and in_force <= period:
                    found.append(
                        LeaseState(
                            scope=scope,
                            id=scope_id,
                            period_start_us=period,
                            granted_nano=granted,
                            charged_nano=charged,
                            spent_nano=spent,
                            wanted=bool(wanted),
                        )
                    )
            return found

        return await self._database.read(work)

    async def end(self, epoch: int) -> None:
        statement = "DELETE FROM leases WHERE epoch = :epoch"
        await self._database.write(lambda session: session.execute(statement, {"epoch": epoch}))


def _lease(session: Session, epoch: int, want: LeaseWant, workers: int) -> LeaseState:
    place, spent, in_force = _place(session, want.scope, want.id, want.period_start_us)
    if in_force is None or in_force > want.period_start_us:
        return LeaseState(
            scope=want.scope,
            id=want.id,
            period_start_us=in_force or want.period_start_us,
            spent_nano=spent,
            known=in_force is not None,
        )
    rows = session.rows(f"SELECT epoch, granted_nano, charged_nano, wanted FROM leases WHERE {_OF_PERIOD}", place)
    others = sum(max(0, granted - charged) for other, granted, charged, _ in rows if other != epoch)
    before, charged, wanted = next((row[1:] for row in rows if row[0] == epoch), (0, 0, 0))
    granted, blocked = judge_lease(
        want, granted=before, charged=charged, wanted=bool(wanted), others=others, spent=spent, workers=workers
    )
    if blocked:
        session.execute(
            f"UPDATE leases SET wanted = 1 WHERE {_OF_PERIOD} AND epoch <> :epoch AND granted_nano > charged_nano",
            {**place, "epoch": epoch},
        )
    if granted != before:
        session.execute(_GRANT, {**place, "epoch": epoch, "granted": granted})
        if before == charged == 0:  # the first of its period: leases of older ones are of no use any more
            session.execute(
                "DELETE FROM leases WHERE scope = :scope AND id = :id AND period_start_us < :period AND epoch = :epoch",
                {**place, "epoch": epoch},
            )
    return LeaseState(
        scope=want.scope,
        id=want.id,
        period_start_us=want.period_start_us,
        granted_nano=granted,
        charged_nano=charged,
        spent_nano=spent,
        wanted=bool(wanted),
    )


def _place(session: Session, scope: str, scope_id: str, period: int) -> tuple[dict[str, Any], int, int | None]:
    """Where a budget's leases stand, what was spent in `period` or a newer one that is in force, and which one is in
    force; None for a key that is gone.
    """
    place = {"scope": scope, "id": scope_id, "period": period}
    if scope != KEY_SCOPE:
        rows = session.rows("SELECT spend_nano, period_start_us FROM spent WHERE scope = :scope AND id = :id", place)
        spent, in_force = rows[0] if rows else (0, 0)
    else:
        of_key = "SELECT spend_nano, period_start_us FROM keys WHERE token = :token"
        rows = session.rows(of_key, {"token": bytes.fromhex(scope_id)})
        if not rows:
            by_old = "SELECT token FROM key_predecessors WHERE old = :old"
            for (token,) in session.rows(by_old, {"old": bytes.fromhex(scope_id)}):
                place["id"] = token.hex()
                rows = session.rows(of_key, {"token": token})
        if not rows:
            return place, 0, None
        spent, in_force = rows[0]
    return place, spent if in_force >= period else 0, in_force
