"""A finished call is never lost and never counted twice, whatever storage and disk do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Cost
from tollway.errors import StorageError, Unavailable
from tollway.ledger import journal as journals
from tollway.ledger import ledger as ledgers
from tollway.ledger.budgets import Budgets
from tollway.ledger.ledger import Ledger, new_epoch
from tollway.ledger.record import CallRecord, decode_record
from tollway.outbox import Outbox
from tollway.storage import KeyRecord, SpendEntry
from tollway.testing import FakeClock
from tollway.testing.storage import MemoryStorage

TOKEN = b"\x07" * 32


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "DRAIN_S", 0.005)
    monkeypatch.setattr(ledgers, "RETRY_S_MAX", 0.01)
    monkeypatch.setattr(ledgers, "FLUSH_S_MAX", 2.0)


@pytest.fixture(params=["at once", "at a turn's end"], autouse=True)
def leaving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "at_once", request.param == "at once")


TURN_CALLS = 5


class Worker:
    """One worker's ledger. `die` leaves its files as a killed process does."""

    at_once = True  # else so many calls settle in one turn of the event loop

    def __init__(self, storage: MemoryStorage, directory: Path, epoch: int = 1) -> None:
        self.troubles: list[str] = []
        self.seq = 0
        self.ledger = Ledger(
            spend=storage.spend,
            budgets=Budgets(wait_s_max=1, clock=FakeClock().now),
            directory=directory,
            epoch=epoch,
            fsync="never",
            on_trouble=self.troubles.append,
        )

    def write(self, count: int = 1, **fields: Any) -> None:
        outbox = None if self.at_once else Outbox(lambda flush: None)
        for _ in range(count):
            self.seq += 1
            self.ledger.write(
                CallRecord(
                    epoch=self.ledger.epoch,
                    seq=self.seq,
                    started_us=self.seq,
                    ended_us=self.seq,
                    key=TOKEN,
                    cost=Cost(total=10),
                    charges=(("key", TOKEN.hex(), 0, 10),),
                    **fields,
                ),
                outbox,
            )
            if outbox is not None and self.seq % TURN_CALLS == 0:
                outbox.flush()
        if outbox is not None:
            outbox.flush()

    def die(self) -> None:
        task = self.ledger._task
        assert task is not None
        task.cancel()
        os.close(self.ledger._journal._lock)
        os.close(self.ledger._journal._fd)


async def stored(storage: MemoryStorage) -> tuple[int, int]:
    """(rows, nano-dollars of the key)"""
    _, rows = await storage.spend.recent()
    (key,) = await storage.keys.load_all()
    return rows, key.spend_nano


async def until(reached: Any, *, s_max: float = 30.0) -> None:
    async with asyncio.timeout(s_max):
        while not reached():
            await asyncio.sleep(0.002)


@pytest.fixture
async def storage() -> MemoryStorage:
    storage = MemoryStorage()
    await storage.keys.create(KeyRecord(token=TOKEN, key_name="sk-...key"))
    return storage


async def test_what_is_written_is_in_storage_after_a_flush_and_the_files_are_gone_after_the_end(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    worker.write(2_500)
    await worker.ledger.flush()
    assert await stored(storage) == (2_500, 25_000)
    await worker.ledger.close()
    assert list(tmp_path.iterdir()) == []
    assert worker.troubles == []


async def test_what_a_killed_worker_left_is_moved_into_storage_once_however_often_it_is_replayed(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    first = Worker(storage, tmp_path, epoch=1)
    await first.ledger.open()
    first.write(10)
    await first.ledger.flush()
    first.write(5)
    first.die()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for epoch in (2, 3):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)  # as if the next one had died before it could delete them
        following = Worker(storage, tmp_path, epoch=epoch)
        await following.ledger.open()
        assert await stored(storage) == (15, 150)
        await following.ledger.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_starting_worker_leaves_the_journals_of_living_ones_alone(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    living, following = Worker(storage, tmp_path, epoch=1), Worker(storage, tmp_path, epoch=2)
    await living.ledger.open()
    storage.break_down()
    living.write(3)
    storage.recover()
    assert await following.ledger.take_over_the_dead() == 0
    await following.ledger.open()
    await living.ledger.flush()
    assert await stored(storage) == (3, 30)
    await following.ledger.close()
    await living.ledger.close()


async def test_damage_in_a_dead_workers_journal_costs_that_record_alone_and_its_file_is_kept(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    first = Worker(storage, tmp_path)
    storage.break_down()
    await first.ledger.open()
    first.write(5)
    first.die()
    storage.recover()
    path = tmp_path / "1-0.log"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    following = Worker(storage, tmp_path, epoch=2)
    await following.ledger.open()
    assert await stored(storage) == (4, 40)
    assert (tmp_path / "1-0.damaged").read_bytes() == content
    assert "1 records in the spend journal cannot be read" in following.troubles[0]
    await following.ledger.close()


async def test_calls_go_on_while_the_storage_is_away_and_all_is_there_when_it_is_back(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    storage.break_down()
    worker.write(100)
    await until(lambda: worker.troubles)
    worker.ledger.check_open()
    worker.write(100)
    storage.recover()
    await until(lambda: worker.ledger.rows_drained == 200)
    assert await stored(storage) == (200, 2_000)
    assert len(worker.troubles) == 1
    await worker.ledger.close()


@pytest.mark.parametrize("failures", [0, 1, 3, 7])
async def test_what_does_not_fit_the_queue_is_read_back_from_the_files_and_nothing_is_lost_or_doubled(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(ledgers, "QUEUE_ROWS_MAX", 50)
    monkeypatch.setattr(ledgers, "BATCH_ROWS_MAX", 20)
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 4_000)
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    storage.break_down()
    for _ in range(30):
        worker.write(10)
        await asyncio.sleep(0)
    assert worker.ledger._journal.segment > 3
    ingest, left = storage.spend.ingest, iter(range(failures))

    async def failing(batch: Sequence[SpendEntry], **how: Any) -> int:
        await asyncio.sleep(0)
        if worker.seq < 400:
            worker.write()  # calls end all the while
        if len(batch) < 20 and next(left, None) is not None:
            raise StorageError("away again")
        return await ingest(batch, **how)

    monkeypatch.setattr(storage.spend, "ingest", failing)
    storage.recover()
    await until(lambda: worker.ledger._lost_track_at is None and not worker.ledger._queue)
    monkeypatch.setattr(storage.spend, "ingest", ingest)
    await worker.ledger.flush()
    assert await stored(storage) == (worker.seq, worker.seq * 10)
    assert worker.ledger.rows_drained == worker.ledger.rows_written
    await worker.ledger.close()
    assert list(tmp_path.iterdir()) == []


async def test_an_end_while_the_storage_fails_in_the_middle_of_reading_back_keeps_the_files_for_the_next_start(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "QUEUE_ROWS_MAX", 50)
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    storage.break_down()
    worker.write(300)
    await worker.ledger.close()
    storage.recover()
    following = Worker(storage, tmp_path, epoch=2)
    await following.ledger.open()
    assert await stored(storage) == (300, 3_000)
    await following.ledger.close()


async def test_segments_whose_records_are_in_storage_are_deleted(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 4_000)
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    for _ in range(10):
        worker.write(20)
        await worker.ledger.flush()
    assert len(list(tmp_path.glob("*.log"))) <= 2
    await worker.ledger.close()


@pytest.mark.pure
async def test_a_full_disk_closes_the_ledger_to_new_calls_until_all_that_was_refused_is_written_or_stored(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    storage.break_down()
    worker.write(2)
    append = worker.ledger._journal.append

    def refuse(*payloads: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker.ledger._journal, "append", refuse)
    worker.write(3)  # calls that were already served
    with pytest.raises(Unavailable, match="is the disk full"):
        worker.ledger.check_open()
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        worker.ledger.check_open()
    monkeypatch.setattr(worker.ledger._journal, "append", append)
    await until(lambda: not worker.ledger._journal_broken)
    worker.ledger.check_open()
    worker.write(1)
    worker.die()  # now nothing hangs on what is in memory
    storage.recover()
    following = Worker(storage, tmp_path, epoch=2)
    await following.ledger.open()
    assert await stored(storage) == (6, 60)
    assert "No space left" in worker.troubles[-1] or "No space left" in worker.troubles[0]
    await following.ledger.close()


@pytest.mark.pure
async def test_a_disk_that_stays_full_loses_nothing_that_the_storage_takes(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()

    def refuse(*payloads: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker.ledger._journal, "append", refuse)
    worker.write(3)
    await worker.ledger.flush()
    assert await stored(storage) == (3, 30)
    with pytest.raises(Unavailable):
        worker.ledger.check_open()
    await worker.ledger.close()


async def test_a_journal_that_holds_all_it_may_refuses_new_calls(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 1_000)
    worker = Worker(storage, tmp_path)
    worker.ledger._journal_segments_max = 3
    await worker.ledger.open()
    storage.break_down()
    worker.write(40)
    with pytest.raises(Unavailable, match="away for too long"):
        worker.ledger.check_open()
    storage.recover()
    await until(lambda: worker.ledger.rows_drained == 40)
    await until(lambda: not worker.ledger._is_full())  # files go after their rows are counted
    worker.ledger.check_open()
    await worker.ledger.close()


async def test_a_full_journal_may_be_told_to_let_calls_go_on_uncounted(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 1_000)
    worker = Worker(storage, tmp_path)
    worker.ledger._journal_segments_max = 3
    worker.ledger._serve_when_full = True
    await worker.ledger.open()
    storage.break_down()
    worker.write(200)
    worker.ledger.check_open()
    kept, dropped = worker.ledger.rows_written, worker.ledger.rows_dropped
    assert kept + dropped == 200
    assert kept < 60
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) < 6_000  # each segment may end a turn too late
    assert [trouble for trouble in worker.troubles if "written down nowhere from here on" in trouble]
    storage.recover()
    await until(lambda: worker.ledger.rows_drained == kept)
    await until(lambda: f"{dropped} calls since the start" in worker.troubles[-1])
    worker.write(5)
    await worker.ledger.flush()
    assert await stored(storage) == (kept + 5, 10 * kept + 50)
    await worker.ledger.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.pure
async def test_a_full_disk_may_be_told_to_let_calls_go_on_as_far_as_memory_goes_without_a_record(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "QUEUE_ROWS_MAX", 50)
    worker = Worker(storage, tmp_path)
    worker.ledger._serve_when_full = True
    await worker.ledger.open()
    storage.break_down()

    def refuse(*payloads: bytes) -> int:
        raise OSError(28, "No space left on device")

    append = worker.ledger._journal.append
    monkeypatch.setattr(worker.ledger._journal, "append", refuse)
    worker.write(80)
    worker.ledger.check_open()
    assert (worker.ledger.rows_written, worker.ledger.rows_dropped) == (50, 30)
    monkeypatch.setattr(worker.ledger._journal, "append", append)
    storage.recover()
    await worker.ledger.flush()
    await until(lambda: worker.ledger.rows_drained == 50)
    assert await stored(storage) == (50, 500)
    await worker.ledger.close()


async def test_a_drain_that_fails_in_a_way_nobody_foresaw_goes_on(
    storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    ingest = storage.spend.ingest

    async def failing(batch: Sequence[SpendEntry], **how: Any) -> int:
        raise KeyError("a defect")

    monkeypatch.setattr(storage.spend, "ingest", failing)
    worker.write(3)
    await until(lambda: worker.troubles)
    monkeypatch.setattr(storage.spend, "ingest", ingest)
    await until(lambda: worker.ledger.rows_drained == 3)
    assert await stored(storage) == (3, 30)
    assert "a defect" in caplog.text
    await worker.ledger.close()


async def test_a_record_that_a_client_made_huge_is_written_without_its_longest_parts(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    worker = Worker(storage, tmp_path)
    await worker.ledger.open()
    worker.write(metadata=b"[" + b"1," * 3_000_000 + b"1]", model="m" * 1_000_000, end_user="u", tags=("t",) * 9)
    worker.die()
    following = Worker(storage, tmp_path, epoch=2)
    await following.ledger.open()
    ((row,), _) = await storage.spend.recent()
    record = decode_record(row.detail)
    assert (record.cost.total, record.metadata, record.model, record.tags) == (10, b"", "m" * 200, ())
    await following.ledger.close()


def test_epochs_of_one_moment_differ_and_later_ones_are_greater() -> None:
    now_us = 1_800_000_000_000_000
    assert len({new_epoch(now_us) for _ in range(50)}) > 45
    assert new_epoch(now_us) < new_epoch(now_us + 2_000) < 1 << 60
