"""What only a file can do: be new, old, foreign, full, locked, and read by two at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tollway.errors import StorageError
from tollway.storage import SpendFilter, open_storage
from tollway.storage.schemas import HEAD
from tollway.storage.sql_spend import _row_where
from tollway.storage.sqlite import RUN_ROWS_MAX

from .samples import a_call, a_key, token


async def test_what_was_kept_is_there_after_closing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tollway.db'}"
    storage = await open_storage(url)
    await storage.keys.create(a_key("a"))
    await storage.spend.ingest([a_call(1, ("key", token("a").hex(), 0, 5))])
    await storage.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tollway.db"]
    storage = await open_storage(tmp_path / "tollway.db")
    (record,) = await storage.keys.load_all()
    assert record.spend_nano == 5
    await storage.close()


async def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    await (await open_storage(tmp_path / "tollway.db")).close()
    assert os.stat(tmp_path / "tollway.db").st_mode & 0o777 == 0o600


async def test_a_schema_from_the_future_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tollway.db"
    await (await open_storage(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StorageError, match="newer Tollway"):
        await open_storage(path)


@pytest.mark.parametrize("content", [b"this is not a database at all" * 100])
async def test_what_is_no_storage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(StorageError, match="cannot be opened"):
        await open_storage(tmp_path / "x")
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(StorageError, match="another program"):
        await open_storage(tmp_path / "other.db")
    with pytest.raises(StorageError, match="cannot be opened"):
        await open_storage(tmp_path / "no" / "such" / "folder.db")
    for url in ("sqlite://", "sqlite:///:memory:", "mysql://host/db"):
        with pytest.raises(StorageError):
            await open_storage(url)


def test_opening_a_storage_imports_nothing_of_other_databases(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from tollway.storage import open_storage\n"
        "async def run(): await (await open_storage(sys.argv[1])).close()\n"
        "asyncio.run(run()); asyncio.run(run())\n"
        "print([name for name in ('sqlalchemy', 'alembic', 'psycopg', 'fastapi') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "t.db")], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


async def test_a_batch_with_one_bad_row_is_not_kept_at_all(tmp_path: Path) -> None:
    storage = await open_storage(tmp_path / "t.db")
    with pytest.raises(StorageError) as caught:
        await storage.spend.ingest([a_call(1, ("global", "", 0, 5)), a_call(2, epoch=(1 << 64) - 1)])
    assert isinstance(caught.value.__cause__, OverflowError)
    with pytest.raises(StorageError):
        await storage.spend.ingest([a_call(1, ("global", "", 0, 5)), a_call(2, cost=(1 << 64) - 1)])
    assert await storage.spend.recent() == ([], 0)
    assert await storage.spend.all_spent() == []
    assert await storage.spend.ingest([a_call(1)]) == 1
    await storage.close()


async def test_a_full_disk_leaves_nothing_half_done_and_heals(tmp_path: Path) -> None:
    storage = await open_storage(tmp_path / "t.db")
    writer = storage._database._writer  # type: ignore[attr-defined]
    await writer.run(lambda session: session.rows("PRAGMA max_page_count = 40"))
    with pytest.raises(StorageError) as caught:
        await storage.spend.ingest([a_call(n, ("global", "", 0, 5), metadata=b"x" * 4000) for n in range(100)])
    assert "full" in str(caught.value.__cause__)
    assert await storage.spend.recent() == ([], 0)
    assert await storage.spend.all_spent() == []
    await writer.run(lambda session: session.rows("PRAGMA max_page_count = 100000"))
    assert (
        await storage.spend.ingest([a_call(n, ("global", "", 0, 5), metadata=b"x" * 4000) for n in range(100)]) == 100
    )
    await storage.close()


async def test_a_file_that_another_process_keeps_locked_is_an_error_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollway.storage.sqlite.BUSY_MS_MAX", 20)
    storage = await open_storage(tmp_path / "t.db")
    await storage.keys.create(a_key("a"))
    other = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        await storage.keys.create(a_key("b"))
    assert len(await storage.keys.load_all()) == 1
    other.execute("ROLLBACK")
    other.close()
    await storage.keys.create(a_key("b"))
    await storage.close()


async def test_two_programs_share_one_file(tmp_path: Path) -> None:
    one, two = await open_storage(tmp_path / "t.db"), await open_storage(tmp_path / "t.db")
    await one.keys.create(a_key("a"))
    charge = ("key", token("a").hex(), 0, 5)
    assert await one.spend.ingest([a_call(1, charge), a_call(2, charge)]) == 2
    assert await two.spend.ingest([a_call(2, charge), a_call(3, charge)]) == 1
    record = await one.keys.get(token("a"))
    assert record is not None
    assert record.spend_nano == 15
    await one.close()
    await two.close()


async def test_a_request_is_found_however_many_runs_there_are_and_after_opening_again(tmp_path: Path) -> None:
    storage = await open_storage(tmp_path / "t.db")
    rows = RUN_ROWS_MAX + 600
    for start in range(0, 2 * rows, 500):
        await storage.spend.ingest([a_call(n) for n in range(start, start + 500)])
    for seq in (0, rows, 2 * rows - 1):
        assert [row.seq for row in await storage.spend.by_request_id(f"chatcmpl-7-{seq}")] == [seq]
    read = storage._database.read  # type: ignore[attr-defined]
    ((runs,),) = await read(lambda session: session.rows("SELECT count(*) FROM spend_requests"))
    assert 2 <= runs <= 3
    await storage.close()
    again = await open_storage(tmp_path / "t.db")
    await again.spend.ingest([a_call(1, epoch=8)])
    assert len(await again.spend.by_request_id("chatcmpl-8-1")) == 1
    assert len(await again.spend.by_request_id("chatcmpl-7-1")) == 1
    while await again.spend.forget_before(1 << 60, rows_max=5_000):
        pass
    ((runs,),) = await again._database.read(  # type: ignore[attr-defined]
        lambda session: session.rows("SELECT count(*) FROM spend_requests")
    )
    assert runs == 0
    assert await again.spend.by_request_id("chatcmpl-7-1") == []
    await again.close()


async def test_filters_and_counts_read_the_narrow_index_alone(tmp_path: Path) -> None:
    storage = await open_storage(tmp_path / "t.db")
    plans = []

    def explain(session: Any) -> None:
        for which in (
            SpendFilter(from_us=1, key=token("a"), failed=True, cost_min_nano=1),
            SpendFilter(end_user="e", session_id="s"),
        ):
            where, values = _row_where(session, which, (5, 5))
            statement = f"EXPLAIN QUERY PLAN SELECT count(*) FROM spend_rows AS r{where}"
            plans.append(" / ".join(row[-1] for row in session.rows(statement, values)))

    await storage._database.read(explain)  # type: ignore[attr-defined]
    assert all("SEARCH r USING COVERING INDEX spend_rows_by_time" in plan for plan in plans), plans
    await storage.close()


def test_the_head_is_a_number() -> None:
    assert HEAD.isdigit()
