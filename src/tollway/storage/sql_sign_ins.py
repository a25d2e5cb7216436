"""Passwords' hashes and tickets in SQL."""

# ruff: noqa: S608  statements are put together from the names of our own columns only

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from tollway.storage.session import Database, Session
from tollway.storage.sign_ins import Ticket

_COLUMNS = ", ".join(Ticket.__struct_fields__)
_SELECT = f"SELECT {_COLUMNS} FROM tickets WHERE digest = :digest"
_INSERT = f"INSERT INTO tickets ({_COLUMNS}) VALUES ({', '.join(f':{name}' for name in Ticket.__struct_fields__)})"
_END = "DELETE FROM tickets WHERE user_id = :user_id"
_KEEP_HASH = """
INSERT INTO passwords (user_id, hash, changed_us) VALUES (:user_id, :hash, :now)
ON CONFLICT (user_id) DO UPDATE SET hash = :hash, changed_us = :now
"""
_OVER = "DELETE FROM tickets WHERE kind = :kind AND (ends_us <= :now OR used_us < :idle)"
#: The one that makes room goes in the same transaction as the one that comes.
_TOO_MANY = """
DELETE FROM tickets WHERE digest IN (
    SELECT digest FROM tickets WHERE kind = :kind ORDER BY used_us DESC, digest LIMIT 1000000 OFFSET :kept)
"""


class SqlSignInStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def password_of(self, user_id: str) -> str | None:
        statement = "SELECT hash FROM passwords WHERE user_id = :user_id"
        rows = await self._database.read(lambda session: session.rows(statement, {"user_id": user_id}))
        return str(rows[0][0]) if rows else None

    async def set_password(self, user_id: str, hashed: str | None, *, now_us: int) -> None:
        def work(session: Session) -> None:
            if hashed is None:
                session.execute("DELETE FROM passwords WHERE user_id = :user_id", {"user_id": user_id})
            else:
                session.execute(_KEEP_HASH, {"user_id": user_id, "hash": hashed, "now": now_us})
            session.execute(_END, {"user_id": user_id})

        await self._database.write(work)

    async def users_with_password(self) -> set[str]:
        rows = await self._database.read(lambda session: session.rows("SELECT user_id FROM passwords"))
        return {str(user_id) for (user_id,) in rows}

    async def add(self, ticket: Ticket, *, tickets_max: int, idle_us_max: int) -> None:
        of_kind = {"kind": ticket.kind}
        over = {**of_kind, "now": ticket.begun_us, "idle": ticket.begun_us - idle_us_max}

        def work(session: Session) -> None:
            session.execute(_OVER, over)
            session.execute(_TOO_MANY, {**of_kind, "kept": tickets_max - 1})
            session.execute(_INSERT, structs.asdict(ticket))

        await self._database.write(work)

    async def get(self, digest: bytes) -> Ticket | None:
        return _one(await self._database.read(lambda session: session.rows(_SELECT, {"digest": digest})))

    async def take(self, digest: bytes) -> Ticket | None:
        def work(session: Session) -> list[tuple[Any, ...]]:
            rows = session.rows(_SELECT + session.lock, {"digest": digest})
            if rows:
                session.execute("DELETE FROM tickets WHERE digest = :digest", {"digest": digest})
            return rows

        return _one(await self._database.write(work))

    async def touch(self, digest: bytes, used_us: int) -> None:
        statement = "UPDATE tickets SET used_us = :used WHERE digest = :digest"
        await self._database.write(lambda session: session.execute(statement, {"digest": digest, "used": used_us}))

    async def end(self, user_ids: Sequence[str]) -> int:
        values = [{"user_id": user_id} for user_id in sorted(set(user_ids))]
        return await self._database.write(lambda session: sum(session.execute(_END, each) for each in values))


def _one(rows: Sequence[tuple[Any, ...]]) -> Ticket | None:
    return Ticket(**dict(zip(Ticket.__struct_fields__, rows[0], strict=True))) if rows else None
