"""One schema, written three times: for a new file, as tables, and as the steps of the migrations."""

from __future__ import annotations

import asyncio
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from tollway.storage import migrations, open_storage
from tollway.storage.tables import TABLES, metadata, schema_text

from .samples import a_call


def test_the_shipped_schema_is_made_from_the_tables() -> None:
    shipped = resources.files("tollway.storage").joinpath("schema_sqlite.sql").read_text("utf-8")
    assert shipped == schema_text(SQLiteDialect()), "run: python -m tollway.storage.tables > .../schema_sqlite.sql"


async def test_migrating_from_nothing_gives_the_schema_of_a_new_file(tmp_path: Path) -> None:
    await (await open_storage(tmp_path / "new.db")).close()
    await asyncio.to_thread(migrations.upgrade, f"sqlite:///{tmp_path / 'migrated.db'}")
    assert _schema(tmp_path / "migrated.db") == _schema(tmp_path / "new.db")


async def test_a_migrated_file_opens_and_works(tmp_path: Path) -> None:
    await asyncio.to_thread(migrations.upgrade, f"sqlite:///{tmp_path / 't.db'}")
    storage = await open_storage(tmp_path / "t.db")
    assert await storage.spend.ingest([a_call(1)]) == 1
    await storage.close()


def test_the_migrations_and_the_tables_are_one(tmp_path: Path) -> None:
    migrations.upgrade(f"sqlite:///{tmp_path / 't.db'}")
    engine = create_engine(f"sqlite:///{tmp_path / 't.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_head_is_the_last_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_the_same_tables_can_be_made_in_postgresql() -> None:
    text = schema_text(postgresql.dialect())  # type: ignore[no-untyped-call]
    assert text.count("CREATE TABLE") == len(TABLES)
    assert "token BYTEA NOT NULL" in text


def _schema(path: Path) -> dict[str, Any]:
    connection = sqlite3.connect(path)
    found: dict[str, Any] = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        found[table] = (
            connection.execute(f"PRAGMA table_info({table})").fetchall(),
            [row[2:] for row in connection.execute(f"PRAGMA foreign_key_list({table})")],
            sorted(
                (row[1:3], connection.execute(f"PRAGMA index_info({row[1]})").fetchall())
                for row in connection.execute(f"PRAGMA index_list({table})")
            ),
        )
    found["version"] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return found


async def test_an_older_file_is_stepped_up_to_the_same_schema_without_alembic(tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    await asyncio.to_thread(migrations.upgrade, f"sqlite:///{older}", to="0001")
    new = tmp_path / "new.db"

    for path in (older, new):
        await (await open_storage(path)).close()

    assert _schema(older) == _schema(new)


def _schema(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [
            (name, *map(str, row)) for name in tables for row in connection.execute(f"PRAGMA table_info({name})")
        ]
        indexes = connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'").fetchall()
        version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return sorted(columns) + sorted(indexes) + version
    finally:
        connection.close()
