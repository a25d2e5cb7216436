"""A clock that moves only when it is told to."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class FakeClock:
    """Stands in for the wall clock and the monotonic clock at once; both move by `advance` alone.

    `now` is in seconds since 1970, `monotonic` in seconds since the clock was made. Whatever takes a `Callable[[],
    float]` takes one of the two.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._start = now
        self._elapsed = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, s: float) -> None:
        """Moves on by `s` seconds; what is due by then is called in the order of its time.

        Tasks that this wakes run when the caller awaits next. Raises ValueError for a step back.
        """
        if s < 0:
            raise ValueError(f"A clock does not go back: advance({s!r}).")
        end = self._elapsed + s
        while self._due and self._due[0][0] <= end:
            when, _, call = heapq.heappop(self._due)
            self._elapsed = max(self._elapsed, when)
            call()
        self._elapsed = end

    def call_after(self, s: float, call: Callable[[], None]) -> None:
        """Calls `call` once the clock has moved on by `s` seconds."""
        heapq.heappush(self._due, (self._elapsed + s, next(self._order), call))
