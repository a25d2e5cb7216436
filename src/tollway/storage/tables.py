"""The tables, in types that SQLite and PostgreSQL share. What a new SQLite file gets is in `schema_sqlite.sql`, made
from here:

    python -m tollway.storage.tables > src/tollway/storage/schema_sqlite.sql

Opening a storage does not import this module: SQLAlchemy takes 16 MB and a third of a second (2.1.9, measured
2026-11-22), which a gateway that starts in a second cannot spare. Tests hold the file, the migrations and this module
to one schema.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("token", LargeBinary(32), primary_key=True),
    Column("key_name", Text, nullable=False),
    Column("key_alias", Text, unique=True),
    Column("user_id", Text),
    Column("team_id", Text),
    Column("organization_id", Text),
    Column("blocked", Boolean),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("max_budget_nano", BigInteger),
    Column("soft_budget_nano", BigInteger),
    Column("budget_duration", Text),
    Column("budget_reset_us", BigInteger),
    Column("period_start_us", BigInteger, nullable=False),
    Column("spend_nano", BigInteger, nullable=False),
    Column("total_spend_nano", BigInteger, nullable=False),
    Column("rpm_limit", BigInteger),
    Column("tpm_limit", BigInteger),
    Column("parallel_max", BigInteger),
    Column("last_active_us", BigInteger),
    Column("fields", LargeBinary, nullable=False),  # msgpack
)

key_predecessors = Table(
    "key_predecessors",
    metadata,
    Column("old", LargeBinary(32), primary_key=True),
    Column("token", LargeBinary(32), ForeignKey("keys.token", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Index("key_predecessors_by_token", "token"),
)

spend_rows = Table(
    "spend_rows",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("started_us", BigInteger, nullable=False),
    Column("key", LargeBinary(32)),
    Column("user_id", Text),
    Column("team_id", Text),
    Column("end_user", Text),
    Column("request_id", Text, nullable=False),
    Column("request_crc", BigInteger, nullable=False),
    Column("run_no", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("failed", SmallInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    # In the order of time, so that rows are added at its end, which is nearly free; an index on (key, started_us) would
    # be written all over and costs 2 us a row with 200 keys. Whoever filters or sums reads this index alone, not the
    # wide rows.
    Index(
        "spend_rows_by_time",
        *("started_us", "key", "user_id", "team_id", "end_user", "model"),
        *("cost_nano", "failed", "input_tokens", "output_tokens"),
    ),
    # Ids of providers are random, and an index on them costs 7 us a row. Rows are numbered in runs of 4 096 as they
    # come in, so only the last run's part of this index is written (0.6 us a row); a search asks once per run.
    Index("spend_rows_by_request", "run_no", "request_crc"),
)

spent = Table(
    "spent",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("spend_nano", BigInteger, nullable=False),
    Column("total_nano", BigInteger, nullable=False),
    Column("period_start_us", BigInteger, nullable=False),
    Column("reset_us", BigInteger),
)

# What workers may spend of shared budgets; outstanding is what was granted less what was charged.
leases = Table(
    "leases",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("period_start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("granted_nano", BigInteger, nullable=False),
    Column("charged_nano", BigInteger, nullable=False),
    Column("wanted", SmallInteger, nullable=False),
    Index("leases_by_epoch", "epoch", "wanted"),
)

# How often something was changed ("keys"), for those who keep it in memory.
changes = Table(
    "changes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

TABLES = (keys, key_predecessors, spend_rows, spent, leases, changes)


def schema_text(dialect: Dialect) -> str:
    """The statements that make every table and index, each ended by a semicolon and an empty line."""
    statements: list[str] = []
    for table in TABLES:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements.extend(str(CreateIndex(index).compile(dialect=dialect)) for index in indexes)
    return "\n".join(_tidied(statement) + ";\n" for statement in statements)


def _tidied(statement: str) -> str:
    return "\n".join(line.rstrip().replace("\t", "  ") for line in statement.strip().splitlines())


if __name__ == "__main__":
    from sqlalchemy.dialects.sqlite.base import SQLiteDialect

    print(schema_text(SQLiteDialect()), end="")
