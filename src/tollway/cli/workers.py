"""The parent of several workers: starts them on one socket, starts again the ones that die, and ends them together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from tollway.cli.flags import GRACEFUL_STOP_S_MAX, Flags
from tollway.cli.local_models import LocalAddress
from tollway.cli.shares import SharesForWorkers
from tollway.cli.worker import WorkerSettings
from tollway.errors import TollwayError

#: So many deaths within the window mean that the fault is not one worker's.
DEATHS_MAX = 5
DEATHS_WINDOW_S = 60.0
#: Once all have served, one that does not come up (the database is away) is tried again after such pauses.
START_AGAIN_S_FIRST = 0.5
START_AGAIN_S_MAX = 10.0
#: How often the parent looks for what dead workers left, though it saw none die; and when the database did not answer.
TAKE_OVER_S = 30.0
TAKE_OVER_AGAIN_S = 2.0
#: When all have ended, so much time is left for what one of them did not write into the database itself.
LAST_TAKE_OVER_S_MAX = 10.0
#: What a worker may take beyond its graceful stop before it is killed.
STOP_S_MARGIN = 2.0


class Workers:
    """Owns the worker processes of one gateway."""

    def __init__(
        self,
        sock: socket.socket,
        flags: Flags,
        *,
        master_key: str | None,
        local: Mapping[str, LocalAddress],
        take_over_the_dead: Callable[[], Awaitable[int]],
        say: Callable[[str], None],
    ) -> None:
        """`take_over_the_dead` brings the database up to date, and moves into it what dead workers left; it may raise
        TollwayError.
        """
        self._sock = sock
        self._flags = flags
        self._master_key = master_key
        self._local = local
        self._shares = SharesForWorkers()
        self._take_over_the_dead = take_over_the_dead
        self._one_died = asyncio.Event()
        self._say = say
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready: set[int] = set()
        self._all_ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._deaths: list[float] = []
        self._failed = False

    async def run(self, on_started: Callable[[], None]) -> int:
        """Until SIGTERM or SIGINT, or until workers die too often. `on_started` is called once all of them listen.

        Returns the exit code.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._forward, signal.SIGHUP)
        try:
            await self._take_over_the_dead()  # before several workers would do it at once
        except TollwayError as error:
            self._say(str(error))
            return 1
        keepers = [asyncio.create_task(self._keep(index)) for index in range(self._flags.workers)]
        announcing = asyncio.create_task(_call_after(self._all_ready, on_started))
        taking_over = asyncio.create_task(self._look_after_the_dead())
        await self._stopping.wait()
        announcing.cancel()
        taking_over.cancel()
        await self._end_all(keepers)
        self._shares.close()
        await self._take_over_the_last()
        return 1 if self._failed else 0

    def _on_ready(self, index: int) -> None:
        self._ready.add(index)
        if len(self._ready) == self._flags.workers:
            self._all_ready.set()

    async def _keep(self, index: int) -> None:
        pause_s = START_AGAIN_S_FIRST
        while not self._stopping.is_set():
            self._ready.discard(index)
            process = await self._start(index)
            code = await process.wait()
            if self._stopping.is_set():
                return
            served = index in self._ready
            if served:
                pause_s = START_AGAIN_S_FIRST
            if served and code == 0 and self._flags.requests_max:
                continue  # it answered as many calls as it may
            self._one_died.set()
            if served or not self._all_ready.is_set():
                self._count_death(index, code)
                continue
            # What it needs to come up is away. Giving up would end the others, which do without.
            self._say(f"worker {index} did not come up ({_how(code)}); it is tried again in {pause_s:.1f} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            pause_s = min(START_AGAIN_S_MAX, 2 * pause_s)

    async def _look_after_the_dead(self) -> None:
        """What a dead worker wrote and leased is needed by the living: its calls must count, its lease come back."""
        pause_s = TAKE_OVER_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._one_died.wait()
            self._one_died.clear()
            try:
                await self._take_over_the_dead()
                pause_s = TAKE_OVER_S
            except TollwayError as error:
                if pause_s == TAKE_OVER_S:
                    self._say(f"what dead workers left is not taken over yet: {error}")
                pause_s = TAKE_OVER_AGAIN_S

    async def _take_over_the_last(self) -> None:
        """Nobody serves any more. What is not taken over now is at the next start."""
        try:
            async with asyncio.timeout(LAST_TAKE_OVER_S_MAX):
                await self._take_over_the_dead()
        except (TollwayError, TimeoutError) as error:
            self._say(f"what dead workers left is taken over at the next start: {error}")

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        ready_read, ready_write = os.pipe()
        shares = await self._shares.connect()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tollway.cli.worker",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(self._sock.fileno(), ready_write, shares.fileno()),
        )
        os.close(ready_write)
        shares_fd = shares.fileno()
        shares.close()
        self._processes[index] = process
        if self._stopping.is_set():  # the others have had their signal; this one came too late for it
            process.terminate()
        _watch_ready(ready_read, lambda: self._on_ready(index))
        settings = WorkerSettings(
            flags=self._flags,
            index=index,
            count=self._flags.workers,
            socket_fd=self._sock.fileno(),
            ready_fd=ready_write,
            shares_fd=shares_fd,
            master_key=self._master_key,
            local=dict(self._local),
        )
        if process.stdin is not None:
            process.stdin.write(msgspec.json.encode(settings) + b"\n")
            with contextlib.suppress(ConnectionError):  # it died already: `_keep` finds out
                await process.stdin.drain()
        return process

    def _count_death(self, index: int, code: int) -> None:
        now = time.monotonic()
        self._deaths = [death for death in self._deaths if now - death < DEATHS_WINDOW_S] + [now]
        how = _how(code)
        if len(self._deaths) >= DEATHS_MAX:
            self._say(f"worker {index} {how}, the {DEATHS_MAX}th death within a minute: giving up")
            self._failed = True
            self._stopping.set()
        else:
            self._say(f"worker {index} {how}; starting it again")

    def _stop(self) -> None:
        if self._stopping.is_set():  # asked twice: do not wait for calls in flight
            self._forward(signal.SIGKILL)
        self._stopping.set()

    def _forward(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)

    async def _end_all(self, keepers: list[asyncio.Task[None]]) -> None:
        self._forward(signal.SIGTERM)
        _done, late = await asyncio.wait(keepers, timeout=GRACEFUL_STOP_S_MAX + STOP_S_MARGIN)
        if late:
            self._forward(signal.SIGKILL)
            await asyncio.wait(late, timeout=STOP_S_MARGIN)


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


async def _call_after(event: asyncio.Event, then: Callable[[], None]) -> None:
    await event.wait()
    then()


def _watch_ready(ready_read: int, on_ready: Callable[[], None]) -> None:
    """Calls `on_ready` when the worker says its byte; a worker that dies closes its end without."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(ready_read)
        said = os.read(ready_read, 1)
        os.close(ready_read)
        if said:
            on_ready()

    loop.add_reader(ready_read, readable)
