"""An older file becomes a current one, with everything that was in it."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tollway.storage import SpendEntry, SpendFilter, open_storage
from tollway.storage.schemas import HEAD, schema_statements, step_statements
from tollway.testing.storage import MemoryStorage

from .samples import a_call, a_key, token

DAY_US = 86_400_000_000
ROWS = [
    a_call(
        n,
        at=n * DAY_US // 3,
        cost=n,
        key=token("a") if n % 2 else None,
        end_user="e" if n % 3 == 0 else None,
        tags=("x", "y") if n % 4 == 0 else (),
        failed=n % 5 == 0,
        input_tokens=10 * n,
        output_tokens=n,
        provider="openai",
        duration_ms=n,
        model=f"m{n % 2}",
    )
    for n in range(1, 30)
]


def an_older_file(path: Path, revision: int, entries: list[SpendEntry]) -> None:
    statements = (Path(__file__).parent / "schema_0002.sql").read_text().split(";\n\n")
    connection = sqlite3.connect(path)
    for statement in statements:
        if revision == 2 or not any(name in statement for name in ("leases", "changes")):
            connection.execute(statement)
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, PRIMARY KEY (version_num))")
    connection.execute("INSERT INTO alembic_version VALUES (?)", (f"{revision:04}",))
    for record, detail in entries:
        usage = record.usage
        assert usage is not None
        values = {
            **{name: getattr(record, name) for name in ("epoch", "seq", "started_us", "key", "user_id", "team_id")},
            "end_user": record.end_user,
            "request_id": record.request_id,
            "request_crc": 0,
            "run_no": 0,
            "model": record.provider_model,
            "cost_nano": record.cost.total,
            "failed": int(record.failed),
            "input_tokens": usage.input_total,
            "output_tokens": usage.output_total,
            "detail": detail,
        }
        names = ", ".join(values)
        connection.execute(
            f"INSERT INTO spend_rows ({names}) VALUES ({', '.join(f':{name}' for name in values)})", values
        )
    connection.commit()
    connection.close()


def described(path: Path) -> dict[str, Any]:
    connection = sqlite3.connect(path)
    found: dict[str, Any] = {}
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
        found[name] = re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split())) if name != "alembic_version" else None
    found["version"] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("revision", [1, 2])
async def test_an_older_file_is_stepped_up_to_the_schema_of_a_new_one(tmp_path: Path, revision: int) -> None:
    an_older_file(tmp_path / "older.db", revision, [])
    for name in ("older.db", "new.db"):
        await (await open_storage(tmp_path / name)).close()
    assert described(tmp_path / "older.db") == described(tmp_path / "new.db")


async def test_rows_of_an_older_file_are_kept_whole_and_added_up(tmp_path: Path) -> None:
    an_older_file(tmp_path / "older.db", 2, ROWS)
    storage, expected = await open_storage(tmp_path / "older.db"), MemoryStorage()
    await expected.spend.ingest(ROWS)
    await storage.keys.create(a_key("a"))
    rows, total = await storage.spend.recent()
    assert total == len(ROWS)
    assert [row.detail for row in rows] == [detail for _, detail in reversed(ROWS)]
    assert [row.seq for row in await storage.spend.by_request_id("chatcmpl-7-5")] == [5]
    for by in (["day", "key", "model"], ["end_user"], ["tag", "day"], ["provider"], []):
        found = await storage.spend.groups(by, SpendFilter())  # type: ignore[arg-type]
        assert found == await expected.spend.groups(by, SpendFilter())  # type: ignore[arg-type]
    assert await storage.spend.times(["model"], SpendFilter()) == await expected.spend.times(["model"], SpendFilter())
    assert await storage.spend.ingest(ROWS) == 0
    assert await storage.spend.ingest([a_call(30)]) == 1
    await storage.close()


async def test_a_damaged_detail_of_an_older_file_is_added_up_by_its_columns(tmp_path: Path) -> None:
    record, _ = ROWS[4]
    an_older_file(tmp_path / "older.db", 2, [(record, b"damaged")])
    storage = await open_storage(tmp_path / "older.db")
    (group,) = await storage.spend.groups(["model"], SpendFilter())
    assert (group.model, group.spend_nano, group.calls, group.failed) == ("m1", 5, 1, 1)
    assert (group.input_tokens, group.output_tokens) == (50, 5)
    await storage.close()


async def test_a_step_that_fails_leaves_the_older_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_older_file(tmp_path / "older.db", 2, ROWS)
    before = described(tmp_path / "older.db")

    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("no more")

    monkeypatch.setattr("tollway.storage.sqlite.fill_0003", fail)
    with pytest.raises(Exception, match="no more"):
        await open_storage(tmp_path / "older.db")
    assert described(tmp_path / "older.db") == before
    monkeypatch.undo()
    storage = await open_storage(tmp_path / "older.db")
    assert (await storage.spend.recent())[1] == len(ROWS)
    await storage.close()


def test_the_head_is_the_last_step() -> None:
    assert step_statements("sqlite", int(HEAD))
    with pytest.raises(FileNotFoundError):
        step_statements("sqlite", int(HEAD) + 1)


def test_both_databases_have_the_same_tables() -> None:
    def tables(database: str) -> dict[str, set[str]]:
        found = {}
        for statement in schema_statements(database):
            if statement.startswith("CREATE TABLE"):
                name, columns = statement.removeprefix("CREATE TABLE ").split(" (", 1)
                lines = [line.split()[0].strip('"') for line in columns.splitlines() if line.startswith("  ")]
                found[name] = {line for line in lines if line.islower() or line == "key"}
        return found

    lite, big = tables("sqlite"), tables("postgres")
    assert lite.pop("spend_requests") == {"no", "last_us", "crcs", "ids"}
    assert big.pop("schema_version") == {"number"}
    assert big["spend_rows"] - lite["spend_rows"] == {"request_crc"}
    big["spend_rows"].discard("request_crc")
    assert lite == big
