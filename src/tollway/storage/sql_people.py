"""Teams, users and all other entities in SQL, and the audit log. An entity is a row of its kind with everything in it."""

# ruff: noqa: S608  statements are put together from the names of our own columns only

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic

from msgspec import msgpack

from tollway.storage.people import (
    KINDS,
    SCOPES,
    AuditEntry,
    AuditFilter,
    Credential,
    Customer,
    EntityExists,
    Organization,
    People,
    SharedBudget,
    StoredModel,
    T,
    Tag,
    Team,
    User,
)
from tollway.storage.session import Database, Session, where_text
from tollway.storage.sql_keys import COUNT_KEY_CHANGE, KEY_CHANGES

#: Nobody has asked for everybody for so long: they are read again when somebody does.
PEOPLE_S_MAX = 60.0

_SELECT = "SELECT detail FROM entities WHERE kind = :kind"
_INSERT = """
INSERT INTO entities (kind, id, created_us, detail) VALUES (:kind, :id, :created, :detail) ON CONFLICT (kind, id) DO NOTHING
"""
_SET_SPENT = """
INSERT INTO spent (scope, id, spend_nano, total_nano, period_start_us) VALUES (:scope, :id, :nano, :nano, 0)
ON CONFLICT (scope, id) DO UPDATE SET spend_nano = :nano,
    total_nano = CASE WHEN spent.total_nano < :nano THEN :nano ELSE spent.total_nano END
"""
_AUDIT_COLUMNS = ("at_us", "actor", "actor_key", "action", "table_name", "object_id", "detail")
_AUDIT_INSERT = (
    f"INSERT INTO audit ({', '.join(_AUDIT_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _AUDIT_COLUMNS)})"
)
_AUDIT_SELECT = f"SELECT id, {', '.join(_AUDIT_COLUMNS)} FROM audit"
_AUDIT_NAMES = {
    "actor": "actor",
    "actor_key": "actor_key",
    "action": "action",
    "table": "table_name",
    "object_id": "object_id",
}


class SqlEntityStore(Generic[T]):
    def __init__(self, database: Database, kind: str, type: type[T]) -> None:
        self._database = database
        self._kind = kind
        self._scope = SCOPES.get(kind)
        self._decode: Callable[[bytes], T] = msgpack.Decoder(type).decode

    async def create(self, entity: T, *, spend_nano: int = 0) -> None:
        values = {
            "kind": self._kind,
            "id": entity.id,
            "created": entity.created_us,
            "detail": msgpack.encode(entity),
        }

        def work(session: Session) -> None:
            if not session.execute(_INSERT, values):
                raise EntityExists(f"There is one in {self._kind} with the id {entity.id!r} already.")
            if self._scope is not None:
                _forget_spent(session, self._scope, entity.id)
            if spend_nano and self._scope is not None:
                session.execute(_SET_SPENT, {"scope": self._scope, "id": entity.id, "nano": spend_nano})
            session.execute(COUNT_KEY_CHANGE)

        await self._database.write(work)

    async def get(self, id: str) -> T | None:
        return await self._database.read(lambda session: self._one(session, id))

    async def all(self) -> list[T]:
        statement = f"{_SELECT} ORDER BY created_us, id"

        def work(session: Session) -> list[T]:
            return [self._decode(detail) for (detail,) in session.rows(statement, {"kind": self._kind})]

        return await self._database.read(work)

    async def change(self, id: str, change: Callable[[T], T]) -> tuple[T, T] | None:
        statement = "UPDATE entities SET detail = :detail WHERE kind = :kind AND id = :id"

        def work(session: Session) -> tuple[T, T] | None:
            before = self._one(session, id, lock=True)
            if before is None:
                return None
            after = change(before)
            session.execute(statement, {"kind": self._kind, "id": id, "detail": msgpack.encode(after)})
            session.execute(COUNT_KEY_CHANGE)
            return before, after

        return await self._database.write(work)

    async def delete(self, ids: Sequence[str]) -> list[T]:
        statement = "DELETE FROM entities WHERE kind = :kind AND id = :id"

        def work(session: Session) -> list[T]:
            deleted = []
            for name in ids:
                found = self._one(session, name, lock=True)
                if found is not None:
                    session.execute(statement, {"kind": self._kind, "id": name})
                    if self._scope is not None:
                        _forget_spent(session, self._scope, name)
                    deleted.append(found)
            if deleted:
                session.execute(COUNT_KEY_CHANGE)
            return deleted

        return await self._database.write(work)

    def _one(self, session: Session, id: str, *, lock: bool = False) -> T | None:
        statement = f"{_SELECT} AND id = :id{session.lock if lock else ''}"
        rows = session.rows(statement, {"kind": self._kind, "id": id})
        return self._decode(rows[0][0]) if rows else None


class SqlPeopleStore:
    """Everybody stays in memory as long as they are asked for, by the number of changes that they were read at: who asks again
    pays for a number. `PEOPLE_S_MAX` after the last question they are let go.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loading = asyncio.Lock()  # who comes while everybody is read waits, and need not read them once more
        self._kept: tuple[int, People] | None = None
        self._used_s = 0.0
        self._forgetting: asyncio.TimerHandle | None = None
        self.teams = SqlEntityStore(database, "teams", Team)
        self.users = SqlEntityStore(database, "users", User)
        self.organizations = SqlEntityStore(database, "organizations", Organization)
        self.customers = SqlEntityStore(database, "customers", Customer)
        self.budgets = SqlEntityStore(database, "budgets", SharedBudget)
        self.tags = SqlEntityStore(database, "tags", Tag)
        self.models = SqlEntityStore(database, "models", StoredModel)
        self.credentials = SqlEntityStore(database, "credentials", Credential)

    async def load(self) -> People:
        async with self._loading:
            self._kept = kept = await self._database.read(self._read)
        loop = asyncio.get_running_loop()
        self._used_s = loop.time()
        if self._forgetting is None or self._forgetting.cancelled():
            self._forgetting = loop.call_later(PEOPLE_S_MAX, self._forget_idle)
        return kept[1]

    def _read(self, session: Session) -> tuple[int, People]:
        rows = session.rows(KEY_CHANGES)
        number = int(rows[0][0]) if rows else 0  # before the entities: what changes meanwhile is read again
        kept = self._kept
        if kept is not None and kept[0] == number:
            return kept
        found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        decode = {kind: msgpack.Decoder(made).decode for kind, made in KINDS.items()}
        for kind, name, detail in session.rows("SELECT kind, id, detail FROM entities ORDER BY created_us, id"):
            if kind in found:
                found[kind][name] = decode[kind](detail)
        return number, People(**found)

    def _forget_idle(self) -> None:
        loop = asyncio.get_running_loop()
        idle_s = loop.time() - self._used_s
        if idle_s < PEOPLE_S_MAX:
            self._forgetting = loop.call_later(PEOPLE_S_MAX - idle_s, self._forget_idle)
        else:
            self._kept = self._forgetting = None

    async def set_spent(self, scope: str, scope_id: str, nano: int) -> None:
        def work(session: Session) -> None:
            session.execute(_SET_SPENT, {"scope": scope, "id": scope_id, "nano": nano})
            session.execute(COUNT_KEY_CHANGE)

        await self._database.write(work)

    async def forget_spent(self, scopes: Sequence[tuple[str, str]]) -> None:
        def work(session: Session) -> None:
            for scope, scope_id in sorted(scopes):
                _forget_spent(session, scope, scope_id)

        await self._database.write(work)

    async def note(self, entries: Sequence[AuditEntry]) -> None:
        values = [
            {
                "at_us": one.at_us,
                "actor": one.actor,
                "actor_key": one.actor_key,
                "action": one.action,
                "table_name": one.table,
                "object_id": one.object_id,
                "detail": msgpack.encode((one.before, one.after)),
            }
            for one in entries
        ]
        await self._database.write(lambda session: session.execute_many(_AUDIT_INSERT, values))

    async def audit(self, which: AuditFilter, *, limit: int, offset: int = 0) -> tuple[list[AuditEntry], int]:
        conditions = [
            f"{column} = :{name}" for name, column in _AUDIT_NAMES.items() if getattr(which, name) is not None
        ]
        if which.from_us is not None:
            conditions.append("at_us >= :from_us")
        if which.until_us is not None:
            conditions.append("at_us < :until_us")
        where = where_text(conditions)
        values = {name: value for name in AuditFilter.__struct_fields__ if (value := getattr(which, name)) is not None}

        def work(session: Session) -> tuple[list[AuditEntry], int]:
            ((total,),) = session.rows(f"SELECT count(*) FROM audit{where}", values)
            rows = session.rows(
                f"{_AUDIT_SELECT}{where} ORDER BY id DESC LIMIT :limit OFFSET :offset",
                {**values, "limit": limit, "offset": offset},
            )
            return [_audit_entry(row) for row in rows], total

        return await self._database.read(work)

    async def audit_entry(self, id: int) -> AuditEntry | None:
        rows = await self._database.read(lambda session: session.rows(f"{_AUDIT_SELECT} WHERE id = :id", {"id": id}))
        return _audit_entry(rows[0]) if rows else None

    async def forget_audit(self, before_us: int, *, kept: int, rows_max: int) -> int:
        statement = (
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at_us < :before_us"
            " OR id <= (SELECT max(id) FROM audit) - :kept ORDER BY id LIMIT :rows_max)"
        )
        values = {"before_us": before_us, "kept": kept, "rows_max": rows_max}
        return await self._database.write(lambda session: session.execute(statement, values))


def _forget_spent(session: Session, scope: str, scope_id: str) -> None:
    for table in ("spent", "leases"):
        session.execute(f"DELETE FROM {table} WHERE scope = :scope AND id = :id", {"scope": scope, "id": scope_id})


def _audit_entry(row: tuple[Any, ...]) -> AuditEntry:
    number, at_us, actor, actor_key, action, table, object_id, detail = row
    before, after = msgpack.decode(detail)
    return AuditEntry(
        at_us=at_us,
        actor=actor,
        actor_key=actor_key,
        action=action,
        table=table,
        object_id=object_id,
        before=before,
        after=after,
        id=number,
    )
