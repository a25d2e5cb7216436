"""Limits that several processes share: each lets calls through within its share, and asks for more when it is short.

A share is asked for when the first call needs it, for all that wait at that moment together, and kept while it is used: a
caller's steady pace costs its process no further question. What a process holds idle it gives back when others want it, at
the latest after `LOOK_S`, and by itself after `SWEEP_S`. What always holds is in `storage/shares.py`.

A call waits only where its process has no room, `ANSWER_S_MAX` for the lessor and `WAIT_S_MAX` in all for others to give
back. When the lessor is away or slow nobody waits: shares in hand are used until their lease ends, and beyond them each
process keeps to the limit divided by the number of processes that were last seen; or calls are refused, where that was wished.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from tollway.errors import StorageError, Unavailable
from tollway.ledger.pace import PARALLEL, REQUESTS, TOKENS, UNBOUNDED, WINDOW_S, Pace
from tollway.storage.shares import LEASE_MS, Claim, Lessor, Share

log = logging.getLogger("tollway")

SHARED = "shared"
#: A lessor that takes longer is away, as far as calls are concerned.
ANSWER_S_MAX = 0.5
#: A call waits so long in all, for what other processes hold idle.
WAIT_S_MAX = 0.8
#: Pauses before a share is asked for again that others hold idle, or told again; and of what is used up.
AGAIN_S = 0.05
USED_UP_S = 0.1
#: How often a process that holds shares looks whether others want them; that also renews its lease.
LOOK_S = 0.2
#: How often it gives back what it has no use for.
SWEEP_S = 5.0
#: A share is told again after so long: the lessor forgets what nobody told for three times that.
TELL_S = 100.0
#: A pause before a lessor that is away is asked again.
AWAY_S = 1.0
#: A request to the lessor is given up after so long.
REQUEST_S_MAX = 5.0
#: The task is told once more to end, when it has not after so long.
CANCEL_AGAIN_S = 0.1
#: Shares are used so much shorter than the lessor holds them for taken.
LEASE_MS_SPARED = 2_000
#: Beyond what is needed a process likes to have this part of its even share.
AHEAD = 4
#: Claims in one request.
CLAIMS_MAX = 500
#: Meters that are looked at before others have their turn.
SWEPT_AT_ONCE = 200


class Meter:
    """One limit that this process uses: what it tells the lessor of it, and which calls wait."""

    __slots__ = ("after", "frees_at", "kind", "name", "pace", "told_at", "told_used", "too_much", "waiting")

    def __init__(self, pace: Pace, kind: str) -> None:
        self.pace = pace
        self.kind = kind
        self.name = _name(pace.name, kind)
        self.waiting: dict[asyncio.Future[bool], int] = {}
        self.after = 0.0  # for calls that wait nothing is asked before
        self.too_much = UNBOUNDED  # and so much is known not to be there until then
        self.frees_at: float | None = None  # when other processes may use less
        self.told_at = 0.0
        self.told_used = 0

    @property
    def due_at(self) -> float:
        return self.after if self.waiting else self.told_at + AGAIN_S

    @property
    def limit(self) -> int | None:
        if self.kind == PARALLEL:
            return self.pace.parallel_max
        window = self.pace.window(self.kind)
        return window.limit if window is not None else None

    @property
    def share(self) -> int:
        if self.kind == PARALLEL:
            return self.pace.parallel_share if self.pace.parallel_max is not None else 0
        window = self.pace.window(self.kind)
        return window.share if window is not None else 0

    @share.setter
    def share(self, share: int) -> None:
        if self.kind == PARALLEL:
            if self.pace.parallel_max is not None:
                self.pace.parallel_share = share
        elif (window := self.pace.window(self.kind)) is not None:
            window.share = share

    def used(self, now: float) -> int:
        if self.kind == PARALLEL:
            return self.pace.parallel
        window = self.pace.window(self.kind)
        return window.used_at(now) if window is not None else 0

    def ahead(self, processes: int) -> int:
        return (self.limit or 0) // (AHEAD * processes)

    def claim(self, now: float, processes: int) -> Claim:
        """What is to be said now. A limit that is gone is given back."""
        limit = self.limit
        if limit is None:
            return Claim(self.name, 0, 0, 0)
        window = self.pace.window(self.kind)
        frees_s = window.frees_s(now) if window is not None else None
        used, share = self.used(now), self.share
        room = max(0, share - used)
        least = max(0, min(self.waiting.values()) - room) if self.waiting else 0
        return Claim(
            self.name,
            limit,
            used,
            share,
            least=least,
            wanted=max(least, sum(self.waiting.values()) - room) if least else 0,
            more=self.ahead(processes) if least or used > share else 0,
            frees_ms=-1 if frees_s is None else int(frees_s * 1000) + 1,
            window_ms=0 if self.kind == PARALLEL else int(WINDOW_S * 1000),
        )

    def take_note(self, asked: Claim, answer: Share, now: float) -> None:
        """What the lessor said to a claim. Calls that wait try again, or are told that it is of no use."""
        self.told_at = now
        self.told_used = asked.used
        self.too_much = UNBOUNDED
        limit = self.limit
        if limit is not None:
            self.share = min(answer.share, limit)
            self.frees_at = None if answer.frees_ms < 0 else now + answer.frees_ms / 1000
        if limit is None or not asked.least or answer.share >= max(asked.share, asked.used) + asked.least:
            self.tell_waiting(again=True)
        elif answer.idle > 0:
            self.after = now + AGAIN_S
        else:
            self.after = now + USED_UP_S
            self.too_much = asked.least + max(0, asked.share - asked.used)
            self.tell_waiting(again=False)

    def tell_waiting(self, *, again: bool) -> None:
        for waiting in self.waiting:
            if not waiting.done():
                waiting.set_result(again)
        self.waiting.clear()


class SharedPaces:
    """`tollway.ledger.pace.Sharing` through a lessor. Owns the task that asks and gives back, from `open` to `close`.

    `process` is this process's name among all that share, `processes` how many there are at least, `refuse` whether calls are
    refused while the lessor is away. `clock` is that of the paces.
    """

    def __init__(
        self,
        lessor: Lessor,
        *,
        process: str,
        processes: int,
        refuse: bool = False,
        clock: Callable[[], float] = time.monotonic,
        answer_s_max: float = ANSWER_S_MAX,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self.lessor = lessor
        self.processes = processes
        self.away_since: float | None = None  # by the wall's clock
        self.away_why = ""
        self._processes_least = processes
        self._process = process
        self._refuse = refuse
        self._clock = clock
        self._answer_s_max = answer_s_max
        self._lease_ms = lease_ms
        self._lease_s = (lease_ms - LEASE_MS_SPARED) / 1000
        self._sequence = 0
        self._memory = ""
        self._forgotten = False  # by the lessor, at its last answer
        self._leased_until = 0.0
        self._meters: dict[tuple[Pace, str], Meter] = {}
        self._by_name: dict[str, Meter] = {}
        self._to_tell: dict[Meter, None] = {}
        self._given_up: list[Claim] = []  # names under which nothing is used any more
        self._asking = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    async def close(self) -> None:
        """Gives back everything but what was used in the last minute."""
        await self.fall_silent()
        now = self._clock()
        meters = list(self._meters.values())
        for meter in meters:
            meter.share = min(meter.share, meter.used(now))
        with contextlib.suppress(StorageError, TimeoutError):
            while self.away_since is None and len(meters) > CLAIMS_MAX:
                await self._settle(meters[:CLAIMS_MAX])
                del meters[:CLAIMS_MAX]
            if self.away_since is None:
                await self._settle(meters, leaving=True)
        await self.lessor.close()

    async def fall_silent(self) -> None:
        """Ends the task. What it holds stays its own until the lease is over."""
        while self._task is not None and not self._task.done():
            # Told once, it may go on all the same: before Python 3.12 `asyncio.wait_for`, by which the Redis client sends, lets
            # a cancellation go that comes when its work is just done (https://github.com/python/cpython/pull/98518, 2026-11-22).
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=CANCEL_AGAIN_S)

    @property
    def state(self) -> str:
        """One of "shared", "local" and "refusing"."""
        return SHARED if self.away_since is None else "refusing" if self._refuse else "local"

    # --- calls

    def begin(self) -> float:
        return time.monotonic() + WAIT_S_MAX

    async def more(self, pace: Pace, kind: str, amount: int, until: float) -> bool:
        meter = self._meter(pace, kind)
        limit, now = meter.limit, time.monotonic()
        used = meter.used(self._clock())
        if limit is None or meter.share - used >= amount:
            return True
        if amount > limit or now >= until or (now < meter.after and amount >= meter.too_much):
            return False
        if kind != PARALLEL and used + amount > limit:
            return False  # what a minute holds was used right here
        if self.state != SHARED:
            return self._fall_back(meter, amount)
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        meter.waiting[waiting] = amount
        self._tell(meter)
        try:
            await asyncio.wait((waiting,), timeout=min(self._answer_s_max, until - now))
            if not waiting.done() and (left_s := until - time.monotonic()) > 0:
                if meter.told_at < now:
                    self._lost(f"no answer within {self._answer_s_max:g} s")
                else:
                    await asyncio.wait((waiting,), timeout=left_s)
        finally:
            meter.waiting.pop(waiting, None)
        if self.state != SHARED:
            return self._fall_back(meter, amount)
        return waiting.done() and waiting.result()

    def frees_s(self, pace: Pace, kind: str) -> float | None:
        meter = self._meters.get((pace, kind))
        if meter is None or meter.frees_at is None or self.away_since is not None:
            return None
        return max(0.0, meter.frees_at - time.monotonic())

    def overdrawn(self, pace: Pace, kind: str) -> None:
        self._tell(self._meter(pace, kind))

    def changed(self, pace: Pace) -> None:
        for kind in (REQUESTS, TOKENS, PARALLEL):
            if (meter := self._meters.get((pace, kind))) is not None:
                meter.after = 0.0
                self._tell(meter)
            elif kind == PARALLEL and pace.parallel and pace.parallel_max is not None:
                self._tell(self._meter(pace, kind))  # calls are under way that nobody counted

    def rename(self, pace: Pace, name: tuple[str, str]) -> None:
        """The key of this pace got another token."""
        before, pace.name = pace.name, name
        for kind in (REQUESTS, TOKENS, PARALLEL):
            if (meter := self._meters.get((pace, kind))) is not None:
                self._given_up.append(Claim(_name(before, kind), 0, 0, 0))
                self._by_name.pop(meter.name, None)
                meter.name = _name(name, kind)
                self._by_name[meter.name] = meter
                self._tell(meter)

    def _meter(self, pace: Pace, kind: str) -> Meter:
        meter = self._meters.get((pace, kind))
        if meter is None:
            meter = self._meters[pace, kind] = Meter(pace, kind)
            self._by_name[meter.name] = meter
        return meter

    def _tell(self, meter: Meter) -> None:
        self._to_tell[meter] = None
        self._asking.set()

    def _fall_back(self, meter: Meter, amount: int) -> bool:
        """The lessor is away: there is room up to this process's part of the limit."""
        if self._refuse:
            raise Unavailable("Rate limits cannot be checked: what keeps count of them does not answer.")
        meter.share = max(meter.share, self._part(meter))
        return meter.share - meter.used(self._clock()) >= amount

    def _part(self, meter: Meter) -> int:
        return max(1, (meter.limit or 0) // self.processes)

    # --- the lessor

    async def _go_on(self) -> None:
        look_at, sweep_at = 0.0, time.monotonic() + SWEEP_S
        while True:
            await self._until(look_at)
            await asyncio.sleep(0)  # calls that come at the same moment ask together
            try:
                await self._settle(self._due())
                if time.monotonic() >= sweep_at:
                    await self._sweep()
                    sweep_at = time.monotonic() + SWEEP_S
            except (StorageError, TimeoutError) as error:
                self._lost(str(error) or f"no answer within {REQUEST_S_MAX:g} s")
                self._end_lease()
            except Exception:
                log.exception("sharing rate limits failed")
                self._lost("it failed here")
                self._end_lease()
            pause_s = AWAY_S if self.away_since is not None else LOOK_S if self._meters else self._lease_s / 2
            if self._forgotten:  # it waits for all to tell it again, and not for long
                pause_s = AGAIN_S
            look_at = time.monotonic() + pause_s

    async def _until(self, look_at: float) -> None:
        """Until the next look is due, or something is to be told to a lessor that answers."""
        while (now := time.monotonic()) < look_at:
            due_at = min((meter.due_at for meter in self._to_tell), default=look_at)
            if due_at <= now and self.away_since is None:
                break
            self._asking.clear()
            pause_s = look_at - now if self.away_since is not None else min(due_at, look_at) - now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._asking.wait()

    def _due(self) -> list[Meter]:
        now = time.monotonic()
        return [meter for meter in self._to_tell if meter.due_at <= now][:CLAIMS_MAX]

    async def _settle(self, meters: Sequence[Meter], *, leaving: bool = False) -> None:
        """Tells claims, and takes note of the answers. Without any it is a look, which renews the lease all the same."""
        began, now = time.monotonic(), self._clock()
        self._forgotten = False
        if self._leased_until < began and self.away_since is None:
            self._let_lapse(now)
        for meter in meters:
            self._to_tell.pop(meter, None)
        asked = [meter.claim(now, self.processes) for meter in meters]
        given_up, self._given_up = self._given_up, []
        self._sequence += 1
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                settled = await self.lessor.settle(
                    self._process,
                    self._sequence,
                    self._memory,
                    [*asked, *given_up],
                    lease_ms=0 if leaving else self._lease_ms,
                )
        except BaseException:
            self._to_tell.update(dict.fromkeys(meters))
            self._given_up = given_up
            raise
        answered = time.monotonic()
        self._leased_until = began + self._lease_s
        self.processes = max(settled.processes, self._processes_least)
        forgot = self._memory not in ("", settled.memory)
        self._memory = settled.memory
        for meter, claim, share in zip(meters, asked, settled.shares, strict=False):
            meter.take_note(claim, share, answered)
            if meter.waiting:
                self._to_tell[meter] = None
        self._make_room(settled.wanted)
        if forgot:
            self._forgotten = True
            self._to_tell.update(dict.fromkeys(self._meters.values()))
        if forgot or settled.recalling:  # it grants nothing until all have told it what they hold
            self._lost("it lost what it knew")
        elif self.away_since is not None and answered - began <= self._answer_s_max:
            self._found()

    def _make_room(self, wanted: Sequence[str]) -> None:
        now = self._clock()
        for name in wanted:
            meter = self._by_name.get(name)
            if meter is not None and not meter.waiting:
                used = meter.used(now)
                if meter.share > used or meter.told_used != used:
                    meter.share = min(meter.share, used)
                    self._tell(meter)

    async def _sweep(self) -> None:
        """Gives back what is of no use here, and tells what was not told for long."""
        now, told_before = self._clock(), time.monotonic() - TELL_S
        for i, (key, meter) in enumerate(list(self._meters.items())):
            if i % SWEPT_AT_ONCE == SWEPT_AT_ONCE - 1:
                await asyncio.sleep(0)
            if meter.waiting:
                continue
            used = meter.used(now)
            kept = used + meter.ahead(self.processes) if used else 0
            if not used and not meter.share and meter not in self._to_tell:
                del self._meters[key]
                if self._by_name.get(meter.name) is meter:
                    del self._by_name[meter.name]
            elif meter.share > kept:
                meter.share = kept
                self._tell(meter)
            elif meter.told_at < told_before or meter.limit is None:
                self._tell(meter)

    def _lost(self, why: str) -> None:
        if self.away_since is not None:
            return
        self.away_since = time.time()
        self.away_why = why
        instead = (
            "calls of limited callers are refused"
            if self._refuse
            else f"each of {self.processes} processes keeps to its part of every limit"
        )
        log.warning("rate limits are not shared: %s: %s; until it is back %s", self.lessor.described, why, instead)
        for meter in self._meters.values():
            meter.tell_waiting(again=True)  # to find that out

    def _found(self) -> None:
        log.warning("rate limits are shared again: %s", self.lessor.described)
        self.away_since = None
        now = self._clock()
        for meter in self._meters.values():  # what was taken meanwhile counts, what is idle of a part does not
            meter.after = 0.0
            if meter.share > (used := meter.used(now)):
                meter.share = used
            self._tell(meter)

    def _let_lapse(self, now: float) -> None:
        """This process was asleep: what it did not use may be others' by now."""
        for meter in self._meters.values():
            meter.share = min(meter.share, meter.used(now))

    def _end_lease(self) -> None:
        if time.monotonic() < self._leased_until:
            return
        for meter in self._meters.values():
            meter.share = min(meter.share, 0 if self._refuse else self._part(meter))


def _name(name: tuple[str, str], kind: str) -> str:
    return f"{kind}:{name[0]}:{name[1]}"
