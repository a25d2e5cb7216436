"""A storage in SQL that SQLite and PostgreSQL both speak. Which of them it is, and its threads, is the Database's
business.
"""

from __future__ import annotations

from tollway.storage.session import Database
from tollway.storage.sql_keys import KEY_CHANGES, SqlKeyStore
from tollway.storage.sql_leases import SqlLeaseStore
from tollway.storage.sql_people import SqlPeopleStore
from tollway.storage.sql_sign_ins import SqlSignInStore
from tollway.storage.sql_spend import SqlSpendStore


class SqlStorage:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.keys = SqlKeyStore(database)
        self.spend = SqlSpendStore(database)
        self.leases = SqlLeaseStore(database)
        self.people = SqlPeopleStore(database)
        self.sign_ins = SqlSignInStore(database)

    @property
    def shared(self) -> bool:
        return self._database.shared

    async def key_changes(self) -> int:
        rows = await self._database.read(lambda session: session.rows(KEY_CHANGES))
        return rows[0][0] if rows else 0

    async def next_key_change(self, seen: int) -> int:
        await self._database.listen_for_key_changes()
        while (now := await self.key_changes()) == seen:
            await self._database.pause_for_key_change()
        return now

    async def check(self) -> None:
        await self._database.read(lambda session: session.rows("SELECT 1 FROM spent WHERE scope = ''"))

    async def close(self) -> None:
        await self._database.close()
