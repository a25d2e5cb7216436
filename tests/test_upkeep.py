from __future__ import annotations

import logging

import pytest
from msgspec.structs import replace

from tollway.config.settings import Config, LogSettings, StorageSettings
from tollway.ledger.budgets import Account
from tollway.snapshot import Caller, Key, Others, Snapshots, Standing
from tollway.storage import KEY_SCOPE, KeyRecord
from tollway.storage.people import AuditEntry, AuditFilter
from tollway.storage.record import CallRecord, encode_record
from tollway.testing import FakeClock
from tollway.testing.storage import MemoryStorage
from tollway.upkeep import Upkeep

TOKEN = b"\x07" * 32
DAY_S = 86_400.0


class OneSnapshot:
    """Stands for a Snapshot: upkeep looks at its configuration and keys alone."""

    number = 1

    def __init__(self, config: Config, keys: dict[bytes, Caller], soft: tuple[tuple[Account, int], ...] = ()) -> None:
        self.config = config
        self.keys = keys
        self.others = Others({}, {}, soft=soft)


def a_key(account: Account, soft_budget_nano: int | None = None) -> Key:
    record = KeyRecord(token=TOKEN, key_name="sk-...0007", key_alias="seven", soft_budget_nano=soft_budget_nano)
    return Key(record, account, Standing(accounts=(account,)))


def an_upkeep(
    storage: MemoryStorage, clock: FakeClock, account: Account, *, config: Config | None = None, key: Key | None = None
) -> Upkeep:
    keys = {TOKEN: Caller("key", key)} if key is not None else {}
    snapshots = Snapshots(OneSnapshot(config or Config(), keys))  # type: ignore[arg-type]
    accounts = {(account.scope, account.id): account}
    return Upkeep(accounts=accounts, snapshots=snapshots, storage=storage, wall=clock.now)


async def test_a_period_that_ends_without_a_call_begins_anew_in_storage_too() -> None:
    clock, storage = FakeClock(), MemoryStorage()
    await storage.keys.create(KeyRecord(token=TOKEN, key_name="sk-...0007", spend_nano=500, total_spend_nano=500))
    ends_at = clock.now() + 10
    account = Account(
        KEY_SCOPE, TOKEN.hex(), label="Key=seven", spent=500, resets_at=ends_at, next_reset=lambda now: now + DAY_S
    )
    upkeep = an_upkeep(storage, clock, account)
    await upkeep.once()
    before = await storage.keys.get(TOKEN)

    clock.advance(11)
    await upkeep.once()

    after = await storage.keys.get(TOKEN)
    assert before is not None
    assert after is not None
    assert (before.spend_nano, after.spend_nano, after.total_spend_nano) == (500, 0, 500)
    assert after.period_start_us == int(ends_at * 1_000_000)
    assert after.budget_reset_us == int((ends_at + DAY_S) * 1_000_000)


async def test_rows_older_than_the_retention_are_forgotten_and_newer_ones_kept() -> None:
    clock, storage = FakeClock(), MemoryStorage()
    now_us = int(clock.now() * 1_000_000)
    week_us = int(7 * DAY_S * 1_000_000)
    for seq, started_us in enumerate((now_us - week_us - 1, now_us - week_us + 1_000_000)):
        record = CallRecord(1, seq, started_us, started_us)
        await storage.spend.ingest([(record, encode_record(record))])
    account = Account(KEY_SCOPE, TOKEN.hex(), label="")
    config = replace(Config(), logs=LogSettings(spend_retention="7d"))

    await an_upkeep(storage, clock, account, config=config).once()

    rows, total = await storage.spend.recent()
    assert total == 1
    assert [row.seq for row in rows] == [1]


async def test_the_audit_log_keeps_so_many_days_and_so_many_changes() -> None:
    clock, storage = FakeClock(), MemoryStorage()
    now_us = int(clock.now() * 1_000_000)
    old = [AuditEntry(at_us=1, actor="", actor_key="", action="created", table="t", object_id="old")] * 7_000
    new = [AuditEntry(at_us=now_us, actor="", actor_key="", action="created", table="t", object_id="new")] * 1_500
    await storage.people.note([*old, *new])
    config = replace(Config(), storage=StorageSettings(audit_days_max=7, audit_rows_max=1_000))

    await an_upkeep(storage, clock, Account(KEY_SCOPE, TOKEN.hex(), label=""), config=config).once()

    left, total = await storage.people.audit(AuditFilter(), limit=1)
    assert (total, left[0].object_id) == (1_000, "new")


async def test_a_soft_budget_is_told_of_once_a_period(caplog: pytest.LogCaptureFixture) -> None:
    clock, storage = FakeClock(), MemoryStorage()
    await storage.keys.create(KeyRecord(token=TOKEN, key_name="sk-...0007"))
    account = Account(KEY_SCOPE, TOKEN.hex(), label="", next_reset=lambda now: now + DAY_S)
    upkeep = an_upkeep(storage, clock, account, key=a_key(account, soft_budget_nano=1_000_000_000))
    with caplog.at_level(logging.WARNING, "tollway"):
        await upkeep.once()
        assert caplog.messages == []
        account.spent = 1_200_000_000
        await upkeep.once()
        await upkeep.once()

    assert caplog.messages == ["the key seven has crossed its soft budget: spent $1.2000 of $1.0000"]


async def test_teams_and_others_are_told_of_too(caplog: pytest.LogCaptureFixture) -> None:
    account = Account("team", "t", label="Team=t", spent=7)
    upkeep = an_upkeep(MemoryStorage(), FakeClock(), account)
    upkeep._snapshots = Snapshots(OneSnapshot(Config(), {}, ((account, 7),)))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "tollway"):
        await upkeep.once()
        await upkeep.once()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["Team=t has crossed its soft budget: spent $0.0000 of $0.0000"]
