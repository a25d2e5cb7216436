"""How processes share limits: who may use how much of one, at this moment.

A limit (calls or tokens in any minute, calls at the same time) is divided into shares, one for each process that uses it, and

    the sum of all shares <= the limit

whatever is asked for. A process sees to it by itself that it never has more in use than its share: nobody is asked about a
single call. It gives a share back only as far as nothing of it is in use, so that at any moment the uses of the minute before,
of all processes together, are within the limit.

A process that falls silent keeps its share for its lease, and a minute longer where the limit is one of minutes: it may have
used all of it just before. All times are the lessor's own; processes tell durations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

#: A process that was not heard of for so long is dead; it stops using its shares in good time before.
LEASE_MS = 12_000
#: Who waits for a share says so again and again; others need not make room any more when it did not for so long.
WANTED_MS = 600
#: After a lessor lost what it knew, it grants nothing for so long: whoever lives tells it again what it holds.
RECALL_MS = 3_000


class Claim(Struct, frozen=True, array_like=True):
    """What a process says of one limit: what it uses and what its share is, as far as it knows.

    It needs at least `least` more (0: nothing waits), `wanted` for all that waits there, and likes to have `more` beyond.
    `frees_ms` is when its oldest use is over (-1: not known), `window_ms` how long uses count.
    """

    name: str
    limit: int
    used: int
    share: int
    least: int = 0
    wanted: int = 0
    more: int = 0
    frees_ms: int = -1
    window_ms: int = 60_000


class Share(Struct, frozen=True, array_like=True):
    """What became of a claim. Of the shares of other processes `idle` is not in use; their oldest use is over in `frees_ms`
    (-1: they use nothing).
    """

    share: int
    idle: int
    frees_ms: int


class Settled(Struct, frozen=True, array_like=True):
    """The answer to claims, in their order. `wanted` names limits that processes wait for: who holds idle shares of them gives
    them back. `memory` changes when the lessor has lost what it knew; while it is `recalling`, it grants nothing.
    """

    shares: list[Share]
    wanted: list[str]
    processes: int
    memory: str
    recalling: bool = False


class Lessor(Protocol):
    """Who divides limits: Redis, or the parent of the workers."""

    @property
    def described(self) -> str:
        """Who it is, for people: without a password."""

    async def settle(
        self, process: str, sequence: int, memory: str, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS
    ) -> Settled:
        """Takes note of claims and grants what fits, at once for all. Renews the process's lease, also without claims.

        A `sequence` not above one before is answered without effect. `memory` is that of the last answer, "" before the
        first. `lease_ms` 0: the process leaves. Raises StorageError.
        """

    async def close(self) -> None: ...


def grant(claim: Claim, *, others: int, processes: int) -> int:
    """What a process gets beyond what it has, when `others` is the sum of the other shares."""
    free = claim.limit - others - max(claim.share, claim.used)
    if free <= 0 or free < claim.least:
        return 0
    needed = min(free, claim.wanted)
    return needed + min(claim.more, (free - needed) // (2 * processes))


class Register:
    """A lessor's book, in memory. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float], memory: str = "") -> None:
        self._clock = clock
        self._memory = memory
        self._leases: dict[str, float] = {}  # by process: until when
        self._sequences: dict[str, int] = {}
        self._held: dict[str, dict[str, tuple[Claim, int, float]]] = {}  # by limit and process: (claim, share, when)
        self._wanted: dict[str, float] = {}  # by limit: until when

    def settle(self, process: str, sequence: int, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS) -> Settled:
        now = self._clock()
        if sequence <= self._sequences.get(process, 0):
            return Settled([], [], self._living(now), self._memory)
        self._sequences[process] = sequence
        self._leases[process] = now + lease_ms / 1000
        processes = self._living(now)
        shares = [self._settle(process, claim, now, processes) for claim in claims]
        self._wanted = {name: until for name, until in self._wanted.items() if until > now}
        return Settled(shares, list(self._wanted), processes, self._memory)

    def gone(self, process: str) -> None:
        """It is known to be dead."""
        if process in self._leases:
            self._leases[process] = min(self._leases[process], self._clock())

    def forget(self) -> None:
        """Lets go of what the dead held, once it cannot be in use any more."""
        now = self._clock()
        for name, held in list(self._held.items()):
            for process, (claim, _, _) in list(held.items()):
                if self._leases.get(process, 0.0) + claim.window_ms / 1000 <= now:
                    del held[process]
            if not held:
                del self._held[name]
        kept = {process for held in self._held.values() for process in held}
        for process in [one for one, until in self._leases.items() if until <= now and one not in kept]:
            del self._leases[process], self._sequences[process]

    def _living(self, now: float) -> int:
        return max(1, sum(until > now for until in self._leases.values()))

    def _settle(self, process: str, claim: Claim, now: float, processes: int) -> Share:
        held = self._held.setdefault(claim.name, {})
        others = idle = 0
        frees_ms = -1
        for other, (told, share, when) in list(held.items()):
            if other == process:
                continue
            until = self._leases.get(other, 0.0)
            if until + told.window_ms / 1000 <= now:
                del held[other]
                continue
            others += share
            if until > now:
                over_s = when + told.frees_ms / 1000 if told.frees_ms >= 0 else None
                # What it used longest ago may be over by now: it will say how much of it.
                idle += share if over_s is not None and over_s <= now else max(0, share - told.used)
            else:
                over_s = until + told.window_ms / 1000
            if over_s is not None:
                over_ms = max(0, int((over_s - now) * 1000))
                frees_ms = over_ms if frees_ms < 0 else min(frees_ms, over_ms)
        granted = grant(claim, others=others, processes=processes)
        if claim.least and granted < claim.least:
            self._wanted[claim.name] = now + WANTED_MS / 1000
        share = max(claim.share, claim.used) + granted
        if share:
            held[process] = (claim, share, now)
        else:
            held.pop(process, None)
            if not held:
                del self._held[claim.name]
        return Share(share, idle, frees_ms)
