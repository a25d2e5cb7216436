"""Keys in SQL."""

# ruff: noqa: S608  statements are put together from the names of our own columns only

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import msgpack, structs

from tollway.storage import (
    AliasTaken,
    KeyExists,
    KeyFilter,
    KeyRecord,
    KeySort,
    Predecessor,
    merge_key_changes,
)
from tollway.storage.session import Database, Session, equal, roll, where_text

_KEY_COLUMNS = KeyRecord.__struct_fields__
_KEY_SELECT = f"SELECT {', '.join(_KEY_COLUMNS)} FROM keys"
_KEY_INSERT = f"INSERT INTO keys ({', '.join(_KEY_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _KEY_COLUMNS)})"


#: How often keys, or whoever else is kept in memory, were changed.
KEY_CHANGES = "SELECT number FROM changes WHERE name = 'keys'"
COUNT_KEY_CHANGE = """
INSERT INTO changes (name, number) VALUES ('keys', 1) ON CONFLICT (name) DO UPDATE SET number = changes.number + 1
"""


class SqlKeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, record: KeyRecord) -> None:
        def work(session: Session) -> None:
            _check_free(session, record.token, record.key_alias)
            session.execute(_KEY_INSERT, _key_values(record))
            session.execute(COUNT_KEY_CHANGE)

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
            record = _key(session, token, lock=True)
            return _change_key(session, record, changes, now_us) if record is not None else None

        return await self._database.write(work)

    async def delete(self, tokens: Sequence[bytes]) -> list[bytes]:
        def work(session: Session) -> list[bytes]:
            deleted = [t for t in tokens if session.execute("DELETE FROM keys WHERE token = :token", {"token": t})]
            for token in deleted:
                session.execute("DELETE FROM leases WHERE scope = 'key' AND id = :id", {"id": token.hex()})
            if deleted:
                session.execute(COUNT_KEY_CHANGE)
            return deleted

        return await self._database.write(work)

    async def page(
        self, which: KeyFilter, *, sort: KeySort = "created_us", descending: bool = True, limit: int, offset: int = 0
    ) -> tuple[list[KeyRecord], int]:
        conditions, values = equal(which, KeyFilter.__struct_fields__)
        where = where_text(conditions)
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
            record = _key(session, old, lock=True)
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
        return await self._database.write(lambda session: roll(session, statement, renew, values))


def _key(session: Session, token: bytes, *, lock: bool = False) -> KeyRecord | None:
    rows = session.rows(f"{_KEY_SELECT} WHERE token = :token{session.lock if lock else ''}", {"token": token})
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
    session.execute(COUNT_KEY_CHANGE)
    return changed
