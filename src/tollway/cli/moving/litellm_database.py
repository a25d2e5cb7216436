"""LiteLLM's PostgreSQL database, read in one read-only transaction: everything comes from the same moment.

Columns were taken from its schema of 1.106.2 (2026-11-21); an older database has fewer, and what is missing reads as absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, LiteralString

from tollway.errors import StorageError
from tollway.storage import shown_url

if TYPE_CHECKING:  # an extra's, loaded with the first database
    from psycopg.sql import Composed

Row = dict[str, Any]

#: Rows that come in one answer: the spend log may have a hundred million.
ROWS_READ_MAX = 5_000
CONNECT_S_MAX = 10
#: The table that every LiteLLM database has.
KEYS = "LiteLLM_VerificationToken"
#: Tables that hold things this gateway has no place for; those with rows in them are named in the report.
WITHOUT_PLACE = {
    "LiteLLM_AccessGroupTable": "access groups made through the API",
    "LiteLLM_AgentsTable": "agents",
    "LiteLLM_Config": "settings stored in the database (put them into config.yaml)",
    "LiteLLM_GuardrailsTable": "guardrails",
    "LiteLLM_JWTKeyMapping": "JWT to key mappings",
    "LiteLLM_MCPServerTable": "MCP servers",
    "LiteLLM_ManagedFileTable": "managed files",
    "LiteLLM_ManagedVectorStoresTable": "vector stores",
    "LiteLLM_ModelAccessGroupBudgetTable": "budgets of access groups",
    "LiteLLM_ObjectPermissionTable": "object permissions",
    "LiteLLM_PolicyTable": "policies",
    "LiteLLM_ProjectTable": "projects",
    "LiteLLM_PromptTable": "prompts",
    "LiteLLM_SSOConfig": "single sign-on settings (put them into the environment)",
    "LiteLLM_SearchToolsTable": "search tools",
}


class LiteLLMDatabase:
    """A context manager. Raises StorageError when the database cannot be read, or is not LiteLLM's."""

    def __init__(self, url: str) -> None:
        self.shown = shown_url(url)
        self._url = url

    def __enter__(self) -> LiteLLMDatabase:
        import psycopg

        from tollway.storage.postgres import without_foreign_words  # tells what to install where the driver is missing

        self._errors = psycopg.Error
        try:
            self._connection = psycopg.connect(without_foreign_words(self._url), connect_timeout=CONNECT_S_MAX)
            self._connection.read_only = True
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with self._connection.cursor() as cursor:
                cursor.execute("SET LOCAL TIME ZONE 'UTC'")
                cursor.execute(
                    "SELECT c.relname FROM pg_class AS c WHERE c.relkind IN ('r', 'p') AND c.relname LIKE 'LiteLLM\\_%'"
                    " AND pg_table_is_visible(c.oid)"
                )
                self.tables = frozenset(name for (name,) in cursor.fetchall())
        except psycopg.Error as error:
            raise StorageError(f"The database {self.shown} cannot be read: {_told(error)}") from error
        if KEYS not in self.tables:
            self._connection.close()
            raise StorageError(f"The database {self.shown} has no table {KEYS}: it is not LiteLLM's.")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def count(self, table: str) -> int:
        """How many rows a table has; 0 where there is no such table."""
        if table not in self.tables:
            return 0
        return int(self._query(_statement("SELECT count(*) FROM {}", table))[0]["count"])

    def rows(self, table: str) -> list[Row]:
        """All rows of a table of which there are few enough to hold: keys, teams, users."""
        return self._query(_statement("SELECT * FROM {}", table)) if table in self.tables else []

    def stream(self, table: str, order: str, *, since: object = None, without: tuple[str, ...] = ()) -> Iterator[Row]:
        """The rows of a table in the order of a column, those from `since` on, a few thousand at a time. `without`: columns
        that are not read.
        """
        from psycopg.rows import dict_row
        from psycopg.sql import SQL, Identifier

        if table not in self.tables:
            return
        found = self._query(
            "SELECT attname AS name FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (Identifier(table).as_string(),),
        )
        columns = SQL(", ").join(Identifier(one["name"]) for one in found if one["name"] not in without)
        where = _statement(" WHERE {} >= %s", order) if since is not None else SQL("")
        statement = SQL("SELECT {} FROM {}{} ORDER BY {}").format(columns, Identifier(table), where, Identifier(order))
        try:
            with self._connection.cursor(name="stream", row_factory=dict_row) as cursor:
                cursor.itersize = ROWS_READ_MAX
                yield from cursor.execute(statement, (since,) if since is not None else ())
        except self._errors as error:
            raise StorageError(f"{table} cannot be read: {_told(error)}") from error

    def count_from(self, table: str, order: str, since: object) -> int:
        if table not in self.tables:
            return 0
        if since is None:
            return self.count(table)
        found = self._query(_statement("SELECT count(*) FROM {} WHERE {} >= %s", table, order), (since,))
        return int(found[0]["count"])

    def calls_of_day(self, day: str) -> int:
        """How many calls the daily sums know of a day, like 2026-11-22."""
        table = "LiteLLM_DailyUserSpend"
        if table not in self.tables:
            return 0
        found = self._query(_statement("SELECT sum(api_requests) AS calls FROM {} WHERE date = %s", table), (day,))
        return int(found[0]["calls"] or 0)

    def _query(self, statement: LiteralString | Composed, values: tuple[object, ...] = ()) -> list[Row]:
        from psycopg.rows import dict_row

        try:
            with self._connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(statement, values).fetchall()
        except self._errors as error:
            raise StorageError(f"The database {self.shown} cannot be read: {_told(error)}") from error


def _statement(text: LiteralString, *names: str) -> Composed:
    """Names of tables and columns in the places of `{}`, quoted as names are; values stay `%s`."""
    from psycopg.sql import SQL, Identifier

    return SQL(text).format(*(Identifier(name) for name in names))


def _told(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
