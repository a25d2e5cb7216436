"""Which deployments rest in which worker: notes between the workers of one machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tollway.routing.choice import Health
from tollway.storage.benches import STALE_S, Benches

NOW_S = 1_800_000_000.0


class Worker:
    def __init__(self, folder: Path, number: int, *, workers: int = 2) -> None:
        self.now = 100.0
        self.health: dict[str, Health] = {"d1": Health(), "untouched": Health()}
        self.benches = Benches(
            folder / "benches",
            self.health,
            worker=number,
            workers=workers,
            monotonic=lambda: self.now,
            wall=lambda: NOW_S + self.now,
        )

    def fail(self) -> None:
        self.health["d1"].failed(
            self.now, reason="too many", at_once=True, allowed_fails=3, cooldown_s=60.0, retry_after_s=None
        )


def test_a_worker_tells_in_the_walls_time_what_it_knows(tmp_path: Path) -> None:
    worker = Worker(tmp_path, 0, workers=1)
    worker.fail()
    (told,) = worker.benches.all()
    state = told.deployments["d1"]
    assert (state.resting_until_s, state.failures, state.last_error) == (NOW_S + 160, 1, "too many")
    assert "untouched" not in told.deployments
    worker.now += 61
    assert worker.benches.own().deployments["d1"].resting_until_s == 0.0


async def test_what_one_worker_writes_the_others_read_until_it_is_gone(tmp_path: Path) -> None:
    one, two = Worker(tmp_path, 0), Worker(tmp_path, 1)
    one.fail()
    await one.benches._note()
    told = {found.worker: found.deployments for found in await asyncio.to_thread(two.benches.all)}
    assert told[0]["d1"].last_error == "too many"
    assert told[1] == {}
    two.now += STALE_S + 1
    assert [found.worker for found in await asyncio.to_thread(two.benches.all)] == [1]


async def test_a_note_is_written_anew_only_when_something_changed_or_is_due(tmp_path: Path) -> None:
    worker = Worker(tmp_path, 0)
    path = tmp_path / "benches" / "0.json"
    await worker.benches._note()
    path.unlink()
    worker.now += 1
    worker.health["d1"].succeeded(worker.now)
    await worker.benches._note()
    assert not path.exists() or "d1" in path.read_text()  # a first success is news, a second one is not
    path.unlink(missing_ok=True)
    worker.now += 1
    worker.health["d1"].succeeded(worker.now)
    await worker.benches._note()
    assert not path.exists()
    worker.now += 10
    await worker.benches._note()
    assert path.exists()


def test_a_release_reaches_the_other_workers_once(tmp_path: Path) -> None:
    one, two = Worker(tmp_path, 0), Worker(tmp_path, 1)
    one.fail()
    two.fail()
    one.benches.release("d1")
    assert one.benches.own().deployments["d1"].resting_until_s == 0.0
    (digest,) = two.benches._released()
    assert two.benches._released() == []
    assert (tmp_path / "benches" / f"{digest}.free").exists()
    two.now += 120
    os.utime(tmp_path / "benches" / f"{digest}.free", (NOW_S, NOW_S))
    two.benches._released()
    assert not (tmp_path / "benches" / f"{digest}.free").exists()


async def test_a_note_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    one, two = Worker(tmp_path, 0), Worker(tmp_path, 1)
    await one.benches._note()
    (tmp_path / "benches" / "0.json").write_bytes(b"{")
    assert [found.worker for found in await asyncio.to_thread(two.benches.all)] == [1]
