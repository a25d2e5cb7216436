"""Which deployments rest in which worker: notes that the workers of one machine leave for each other.

    benches/N.json       what worker N knows of its deployments; older than `STALE_S`: that worker is gone
    benches/HASH.free    a deployment was let out by hand, at the file's own time of change

Each worker benches for itself, from the failures that it saw. Only where several serve is anything written, once a second and only
what changed; a release reaches every worker within `LOOK_S`. Nothing here is on a call's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from msgspec import MsgspecError, Struct, json

from tollway.routing.choice import Health

LOOK_S = 1.0
#: What changes with every call (when one last went well) is written down this often, and so is that the worker lives.
BEAT_S = 10.0
STALE_S = 30.0
#: A release that is older than this was seen by every worker that lives.
RELEASE_KEPT_S = 60.0
ERROR_CHARACTERS_MAX = 500
NOTE_BYTES_MAX = 16 << 20


class BenchState(Struct, frozen=True, array_like=True):
    """What one worker knows of one deployment. Times are seconds since 1970, 0 for never; `failures` are those of the minute that
    is counted. It rests until `resting_until_s`, where that is not over."""

    resting_until_s: float
    failures: int
    last_ok_s: float
    last_error: str


class WorkerBenches(Struct, frozen=True):
    """One worker's deployments by id, as they were at `at_s`."""

    worker: int
    at_s: float
    deployments: dict[str, BenchState]


_decode = json.Decoder(WorkerBenches).decode


class Benches:
    """One worker's side of it: `health` is its own, by deployment id. Owns its task from `open` to `close`."""

    def __init__(
        self,
        folder: Path,
        health: Mapping[str, Health],
        *,
        worker: int,
        workers: int,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._health = health
        self._worker = worker
        self._workers = workers
        self._monotonic = monotonic
        self._wall = wall
        self._written: dict[str, BenchState] = {}
        self._written_at = 0.0
        self._opened_at = 0.0
        self._releases: dict[str, float] = {}  # that were obeyed: when each was
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        if self._workers > 1:
            self._opened_at = self._wall()
            self._task = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            with contextlib.suppress(OSError):
                self._path(self._worker).unlink(missing_ok=True)

    def own(self) -> WorkerBenches:
        """What this worker knows, of the deployments that it ever tried."""
        now, ahead_s = self._monotonic(), self._wall() - self._monotonic()
        return WorkerBenches(
            self._worker,
            self._wall(),
            {
                name: BenchState(
                    one.benched_until + ahead_s if one.benched_until > now else 0.0,
                    one.failures,
                    one.last_ok + ahead_s if one.last_ok else 0.0,
                    one.last_error[:ERROR_CHARACTERS_MAX],
                )
                for name, one in self._health.items()
                if one.last_ok or one.last_error or one.benched_until
            },
        )

    def all(self) -> list[WorkerBenches]:
        """Every worker's that lives, this one's as it is now. Reads files: for a thread."""
        found = [self.own()]
        for worker in range(self._workers):
            if worker == self._worker:
                continue
            with contextlib.suppress(OSError, MsgspecError):
                told = _decode(self._path(worker).read_bytes()[:NOTE_BYTES_MAX])
                if self._wall() - told.at_s < STALE_S:
                    found.append(told)
        return sorted(found, key=lambda one: one.worker)

    def release(self, deployment_id: str) -> None:
        """Lets a deployment out, here at once and in the others within a second. Writes a file: for a thread."""
        self._let_out(deployment_id)
        if self._workers > 1:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            now = self._wall()
            path = self._folder / f"{_digest(deployment_id)}.free"
            path.touch(mode=0o600)
            os.utime(path, (now, now))

    # --- the others

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(OSError):  # the next second tries again; nobody's call rests on it
                for digest in await asyncio.to_thread(self._released):
                    for name in [name for name in self._health if _digest(name) == digest]:
                        self._let_out(name)
                await self._note()

    async def _note(self) -> None:
        told = self.own()
        due = told.at_s - self._written_at >= BEAT_S
        if due or _what_counts(told.deployments) != _what_counts(self._written):
            await asyncio.to_thread(self._write, json.encode(told))
            self._written, self._written_at = told.deployments, told.at_s

    def _write(self, note: bytes) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(self._worker)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(note)
        fresh.replace(path)

    def _released(self) -> list[str]:
        """Digests of what was let out since this was last asked; forgets what everybody saw."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.endswith(".free"):
                    continue
                at_s = entry.stat().st_mtime
                if self._wall() - at_s > RELEASE_KEPT_S:
                    self._releases.pop(entry.name, None)
                    Path(entry.path).unlink(missing_ok=True)
                elif at_s > self._opened_at and self._releases.get(entry.name) != at_s:
                    self._releases[entry.name] = at_s
                    found.append(entry.name.removesuffix(".free"))
        return found

    def _let_out(self, deployment_id: str) -> None:
        known = self._health.get(deployment_id)
        if known is not None:
            known.benched_until, known.failures = 0.0, 0

    def _path(self, worker: int) -> Path:
        return self._folder / f"{worker}.json"


def _what_counts(states: Mapping[str, BenchState]) -> dict[str, tuple[float, int, str]]:
    """What others hear of at once. A clock that is set a little does not count."""
    return {name: (round(one.resting_until_s), one.failures, one.last_error) for name, one in states.items()}


def _digest(deployment_id: str) -> str:
    return sha256(deployment_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
