from __future__ import annotations

import logging

import pytest
from msgspec.structs import replace

from tollway.config.settings import Config, LogSettings
from tollway.ledger.budgets import Account
from tollway.snapshot import Caller, Key, Snapshots
from tollway.storage import KEY_SCOPE, KeyRecord, SpendEntry
from tollway.testing import FakeClock
from tollway.testing.storage import MemoryStorage
from tollway.upkeep import Upkeep

TOKEN = b"\x07" * 32
DAY_S = 86_400.0


class OneSnapshot:
    """Stands for a Snapshot: upkeep looks at its configuration and keys alone."""

    number = 1

    def __init__(self, config: Config, keys: dict[bytes, Caller]) -> None:
        self.config = config
        self.keys = keys


def a_key(account: Account, soft_budget_nano: int | None = None) -> Key:
    record = KeyRecord(token=TOKEN, key_name="sk-...0007", key_alias="seven", soft_budget_nano=soft_budget_nano)
    return Key(record, account, (account,), None)


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
        entry = SpendEntry(1, seq, started_us, None, None, "", "m", 0, False, (), b"")
        await storage.spend.ingest([entry])
    account = Account(KEY_SCOPE, TOKEN.hex(), label="")
    config = replace(Config(), logs=LogSettings(spend_retention="7d"))

    await an_upkeep(storage, clock, account, config=config).once()

    rows, total = await storage.spend.recent()
    assert total == 1
    assert [row.seq for row in rows] == [1]


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
