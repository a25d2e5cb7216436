"""What only a server can do: be shared by hosts, killed and started again, and be somebody else's, too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tollway.calls import Cost
from tollway.errors import StorageError
from tollway.ledger import ledger as ledgers
from tollway.ledger.budgets import Budgets
from tollway.ledger.ledger import Ledger
from tollway.storage import AliasTaken, KeyExists, LeaseWant, SpendFilter, open_storage, shown_url
from tollway.storage.people import AuditFilter, Team
from tollway.storage.postgres import KEEPALIVE_S, UNACKNOWLEDGED_MS_MAX, _connect, without_foreign_words
from tollway.storage.record import CallRecord
from tollway.testing import FakeClock
from tollway.testing.postgres import PostgresServer

from .samples import a_call, a_key, token

DAY_US = 86_400_000_000


def sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def test_what_was_kept_is_there_after_closing(postgres_url: str) -> None:
    storage = await open_storage(postgres_url)
    assert storage.shared
    await storage.keys.create(a_key("a"))
    await storage.spend.ingest([a_call(1, ("key", token("a").hex(), 0, 5))])
    await storage.close()
    storage = await open_storage(postgres_url.replace("postgresql://", "postgres://"))
    (record,) = await storage.keys.load_all()
    assert record.spend_nano == 5
    await storage.close()


async def test_a_schema_from_the_future_is_refused_and_left_alone(postgres_url: str) -> None:
    await (await open_storage(postgres_url)).close()
    sql(postgres_url, "UPDATE tollway.schema_version SET number = 9999")
    with pytest.raises(StorageError, match="newer Tollway"):
        await open_storage(postgres_url)
    assert sql(postgres_url, "SELECT number FROM tollway.schema_version") == [(9999,)]


def test_a_host_that_vanishes_is_noticed_unless_the_url_says_otherwise(postgres_url: str) -> None:
    for url, idle_s in ((postgres_url, KEEPALIVE_S), (f"{postgres_url}&keepalives_idle=77", 77)):
        with _connect(url) as connection:
            asked = connection.info.get_parameters()
        assert asked["tcp_user_timeout"] == str(UNACKNOWLEDGED_MS_MAX)
        assert (asked["keepalives"], asked["keepalives_idle"]) == ("1", str(idle_s))
        assert (asked["keepalives_interval"], asked["keepalives_count"]) == ("2", "3")
        assert asked["application_name"] == "tollway"


async def test_a_database_of_an_older_program_is_stepped_up_with_all_that_is_in_it(postgres_url: str) -> None:
    rows = [
        a_call(n, at=n * DAY_US // 3, cost=n, key=token("a") if n % 2 else None, tags=("x",) if n % 4 else ())
        for n in range(1, 30)
    ]
    storage = await open_storage(postgres_url)
    await storage.keys.create(a_key("a"))
    await storage.people.teams.create(Team(id="t"))
    await storage.spend.ingest([*rows, a_call(30, ("team", "t", 0, 7), ("key", token("a").hex(), 0, 5))])
    before = [await storage.spend.groups(list(by), SpendFilter()) for by in (("day", "key"), ("tag",), ())]
    audited = await storage.people.audit(AuditFilter(), limit=10)
    await storage.close()
    described = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    described += " WHERE table_schema = 'tollway' ORDER BY 1, 2"
    columns = sql(postgres_url, described)
    for undone in (
        *("DROP TABLE tollway.passwords", "DROP TABLE tollway.tickets"),
        "ALTER TABLE tollway.spend_places DROP COLUMN endpoint",
        "UPDATE tollway.schema_version SET number = 4",
    ):
        sql(postgres_url, undone)
    storage = await open_storage(postgres_url)
    assert sql(postgres_url, described) == columns
    assert [await storage.spend.groups(list(by), SpendFilter()) for by in (("day", "key"), ("tag",), ())] == before
    assert await storage.spend.ingest(rows) == 0
    assert await storage.people.audit(AuditFilter(), limit=10) == audited
    assert list((await storage.people.load()).teams) == ["t"]
    assert {(one.scope, one.spend_nano) for one in await storage.spend.all_spent()} == {("team", 7)}
    (key,) = await storage.keys.load_all()
    assert key.spend_nano == 5
    await storage.sign_ins.set_password("u", "hash", now_us=1)
    await storage.close()


async def test_tables_of_other_programs_are_not_touched(postgres_url: str) -> None:
    sql(postgres_url, "CREATE TABLE keys (a int); INSERT INTO keys VALUES (1)")
    storage = await open_storage(postgres_url)
    await storage.keys.create(a_key("a"))
    await storage.close()
    assert sql(postgres_url, "SELECT * FROM public.keys") == [(1,)]


async def test_many_that_open_a_new_database_at_once_make_it_once(postgres_url: str) -> None:
    storages = await asyncio.gather(*(open_storage(postgres_url) for _ in range(5)))
    for storage in storages:
        await storage.check()
        await storage.close()
    assert len(sql(postgres_url, "SELECT * FROM tollway.schema_version")) == 1


async def test_a_schema_is_made_whole_or_not_at_all(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tollway.storage.postgres.schema_statements", lambda name: ["CREATE TABLE a (b int)", "CREATE x"]
    )
    with pytest.raises(StorageError, match="cannot be opened"):
        await open_storage(postgres_url)
    assert sql(postgres_url, "SELECT 1 FROM pg_namespace WHERE nspname = 'tollway'") == []


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@/x?host=/no/such/folder", "postgresql://h:secret@127.0.0.1:1/x"]
)
async def test_a_server_that_is_not_there_is_named_without_its_password(url: str) -> None:
    with pytest.raises(StorageError, match="cannot be opened") as caught:
        await open_storage(url)
    assert "secret" not in str(caught.value)


def test_words_of_other_programs_in_the_url_are_left_out() -> None:
    assert without_foreign_words("postgresql://u:p%40@h/d?schema=public&sslmode=require&connection_limit=10") == (
        "postgresql://u:p%40@h/d?sslmode=require"
    )
    assert shown_url("postgresql://u:p%40@h:5432/d?sslmode=require") == "postgresql://h:5432/d"


def test_without_its_driver_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no psycopg here')")
    program = (
        "import asyncio; from tollway.storage import open_storage\n"
        "try: asyncio.run(open_storage('postgresql://h/d'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == "StorageError A PostgreSQL database needs its driver: pip install 'tollway[postgres]'\n"


async def test_keys_that_another_host_changes_are_told_of_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollway.storage.postgres.TOLD_S_MAX", 300.0)  # and nobody looks by himself
    one, two = await open_storage(postgres_url), await open_storage(postgres_url)
    seen = await one.key_changes()
    waiting = asyncio.ensure_future(one.next_key_change(seen))
    for wanted in ("a", "b"):
        await two.keys.create(a_key(wanted))
        async with asyncio.timeout(30):
            seen = await waiting
        waiting = asyncio.ensure_future(one.next_key_change(seen))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await one.close()
    await two.close()


async def test_two_hosts_that_give_one_alias_or_token_at_once_get_one_key(postgres_url: str) -> None:
    storages = [await open_storage(postgres_url) for _ in range(2)]
    for n in range(20):
        made = await asyncio.gather(
            *(storage.keys.create(a_key(f"{n}-{m}", key_alias=f"alias-{n}")) for m, storage in enumerate(storages)),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in made) == ["AliasTaken", "NoneType"], made
        again = await asyncio.gather(
            *(storage.keys.create(a_key(f"again-{n}")) for storage in storages), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in again) == ["KeyExists", "NoneType"], again
    assert issubclass(AliasTaken, StorageError)
    assert issubclass(KeyExists, StorageError)
    for storage in storages:
        await storage.close()


async def test_hosts_that_write_the_same_sums_at_once_lose_nothing(postgres_url: str) -> None:
    storages = [await open_storage(postgres_url) for _ in range(3)]
    await storages[0].keys.create(a_key("a"))
    charges = (("key", token("a").hex(), 0, 1), ("global", "", 0, 1), ("team", "t", 0, 1))

    async def write(epoch: int) -> None:
        for start in range(0, 100, 10):
            batch = [
                a_call(
                    n,
                    *charges,
                    epoch=epoch,
                    cost=1,
                    at=n,
                    key=token("a"),
                    model=f"m{(n * epoch) % 7}",
                    end_user=f"e{n % 5}",
                )
                for n in range(start, start + 10)
            ]
            assert await storages[epoch].spend.ingest(batch, leased=True) == 10

    await asyncio.gather(*(write(epoch) for epoch in range(3)))
    (group,) = await storages[0].spend.groups([], SpendFilter())
    assert (group.calls, group.spend_nano) == (300, 300)
    record = await storages[0].keys.get(token("a"))
    assert record is not None
    assert record.spend_nano == 300
    assert {spent.total_nano for spent in await storages[0].spend.all_spent()} == {300}
    for storage in storages:
        await storage.close()


async def test_hosts_never_lease_more_than_the_budget_while_they_charge_it(postgres_url: str) -> None:
    storages = [await open_storage(postgres_url) for _ in range(3)]
    limit = 1_000
    granted = [0, 0, 0]

    async def spend(epoch: int) -> int:
        storage, spent = storages[epoch], 0
        for n in range(40):
            want = LeaseWant(
                scope="team", id="t", period_start_us=0, limit_nano=limit, granted_nano=granted[epoch], least_nano=20,
                more_nano=40,
            )  # fmt: skip
            (state,) = await storage.leases.lease(epoch, [want], workers=3)
            granted[epoch] = state.granted_nano
            if state.granted_nano - spent >= 20:
                await storage.spend.ingest([a_call(n, ("team", "t", 0, 20), epoch=epoch, at=n, cost=20)], leased=True)
                spent += 20
        return spent

    spent = sum(await asyncio.gather(*(spend(epoch) for epoch in range(3))))
    stored = await storages[0].spend.spent("team", "t")
    assert stored is not None
    assert stored.spend_nano == spent
    outstanding = sum(holder.outstanding_nano for holder in await storages[0].leases.holders())
    assert 900 < spent + outstanding <= limit
    for storage in storages:
        await storage.close()


async def test_a_day_that_another_host_forgot_is_made_again(postgres_url: str) -> None:
    one, two = await open_storage(postgres_url), await open_storage(postgres_url)
    await one.spend.ingest([a_call(1, at=5)])
    assert await two.spend.forget_before(DAY_US, rows_max=10) == 1
    assert await one.spend.ingest([a_call(2, at=6)]) == 1
    assert [row.seq for row in (await two.spend.recent())[0]] == [2]
    await one.close()
    await two.close()


async def test_rows_of_a_day_lie_in_a_partition_of_its_own_and_a_page_reads_the_newest_alone(postgres_url: str) -> None:
    storage = await open_storage(postgres_url)
    await storage.spend.ingest([a_call(n, at=n * DAY_US // 2) for n in range(20)])
    plan = "\n".join(
        row[0]
        for row in sql(
            postgres_url, "EXPLAIN SELECT detail FROM tollway.spend_rows ORDER BY started_us DESC, id DESC LIMIT 5"
        )
    )
    assert "Merge Append" not in plan
    assert "Sort" not in plan
    assert len(sql(postgres_url, "SELECT 1 FROM pg_inherits WHERE inhparent = 'tollway.spend_rows'::regclass")) >= 10
    await storage.close()


# A server that is killed


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


async def test_a_server_that_is_killed_and_comes_back_loses_nothing_and_counts_nothing_twice(
    own_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "DRAIN_S", 0.005)
    monkeypatch.setattr(ledgers, "RETRY_S_MAX", 0.05)
    monkeypatch.setattr(ledgers, "BATCH_ROWS_MAX", 50)
    storage = await open_storage(own_server.new_database())
    await storage.keys.create(a_key("a"))
    troubles: list[str] = []
    ledger = Ledger(
        spend=storage.spend,
        leases=storage.leases,
        budgets=Budgets(wait_s_max=1, clock=FakeClock().now),
        directory=tmp_path,
        epoch=1,
        fsync="never",
        on_trouble=troubles.append,
    )
    await ledger.open()
    seq = 0

    async def write(rounds: int) -> None:
        nonlocal seq
        for _ in range(rounds):
            for _ in range(20):
                seq += 1
                charges = (("key", token("a").hex(), 0, 10), ("global", "", 0, 10))
                ledger.write(CallRecord(1, seq, seq, seq, key=token("a"), cost=Cost(total=10), charges=charges))
            await asyncio.sleep(0.001)

    for _ in range(2):
        await write(50)
        await asyncio.to_thread(own_server.kill)
        await write(50)
        ledger.check_open()  # calls go on
        await asyncio.to_thread(own_server.start)
        await write(50)
    async with asyncio.timeout(120):
        while ledger.rows_drained < ledger.rows_written:
            await ledger.flush()
    assert await storage.spend.count(SpendFilter()) == seq == 6_000
    (group,) = await storage.spend.groups([], SpendFilter())
    assert (group.calls, group.spend_nano) == (seq, 10 * seq)
    record = await storage.keys.get(token("a"))
    assert record is not None
    assert record.spend_nano == 10 * seq
    assert troubles
    assert all("stay in the journal" in trouble for trouble in troubles)
    await ledger.close()
    await storage.close()
    assert list(tmp_path.iterdir()) == []


async def _asked_again_and_again(storage: Any) -> None:
    """A killed server's children see it a moment later."""
    while True:
        await storage.keys.load_all()


async def test_a_server_that_was_restarted_while_nothing_was_asked_is_not_an_error(own_server: PostgresServer) -> None:
    storage = await open_storage(own_server.new_database())
    await storage.keys.create(a_key("a"))
    await storage.keys.load_all()
    own_server.kill()
    with pytest.raises(StorageError):
        await asyncio.wait_for(_asked_again_and_again(storage), 60)
    own_server.start()
    assert len(await storage.keys.load_all()) == 1
    await storage.keys.create(a_key("b"))
    seen = await storage.key_changes()
    waiting = asyncio.ensure_future(storage.next_key_change(seen))
    await asyncio.sleep(0)
    await storage.keys.create(a_key("c"))
    async with asyncio.timeout(30):
        assert await waiting > seen
    await storage.close()


async def test_a_database_of_the_third_schema_gets_its_further_tables(postgres_url: str) -> None:
    await (await open_storage(postgres_url)).close()
    shape = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'tollway' ORDER BY 1, 2"
    new = sql(postgres_url, shape)
    for statement in (
        "DROP TABLE tollway.entities",
        "DROP TABLE tollway.audit",
        "DROP TABLE tollway.passwords",
        "DROP TABLE tollway.tickets",
        "ALTER TABLE tollway.spend_places DROP COLUMN endpoint",
        "UPDATE tollway.schema_version SET number = 3",
    ):
        sql(postgres_url, statement)
    storage = await open_storage(postgres_url)
    await storage.people.teams.create(Team(id="t"))
    assert list((await storage.people.load()).teams) == ["t"]
    await storage.sign_ins.set_password("u", "hash", now_us=1)
    assert await storage.sign_ins.password_of("u") == "hash"
    await storage.close()
    assert sql(postgres_url, shape) == new
