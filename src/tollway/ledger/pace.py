"""How fast a caller may go: calls and tokens a minute, and calls at the same time.

A minute is any sixty seconds: what was used at a moment counts until a minute after it. Uses within a second are kept as one,
which counts as long as the last of them, so that a window keeps at most sixty-odd numbers and never lets more through than
its limit. A take that is refused takes nothing.

Of several processes each keeps to its *share* of a limit. Where they share through a lessor, shares move to where they are
needed (`ledger/sharing.py`); else each has the limit divided by the number of processes.
"""

from __future__ import annotations

from typing import Protocol

WINDOW_S = 60.0
#: Uses within so many seconds are kept as one.
SPAN_S = 1.0
#: The share of a limit that is not there.
UNBOUNDED = 1 << 60

#: What a limit is of.
REQUESTS = "requests"
TOKENS = "tokens"
PARALLEL = "max_parallel_requests"


class Window:
    """What may be used in any minute: of the `limit`, this process's `share`. `take` costs 0.2 us."""

    __slots__ = ("_amount", "_ends", "_last", "_spans", "limit", "share", "used")

    def __init__(self, limit: int, share: int | None = None) -> None:
        self.limit = limit
        self.share = limit if share is None else share
        self.used = 0  # at most what it was at the last take: what is older than a minute may still be in it
        self._amount = 0  # of the span that goes on
        self._last = 0.0
        self._ends = 0.0
        self._spans: list[tuple[float, int]] | None = None  # (last use, amount) of those before, the oldest first

    def take(self, amount: int, now: float) -> bool:
        if now >= self._ends:
            self._begin_span(now)
        wanted = self.used + amount
        if wanted > self.share:
            self._forget(now)
            wanted = self.used + amount
            if wanted > self.share:
                return False
        self.used = wanted
        self._amount += amount
        self._last = now
        return True

    def used_at(self, now: float) -> int:
        self._forget(now)
        return self.used

    def correct(self, difference: int, now: float, taken_at: float | None = None) -> None:
        """Adds what a call used more than was taken for it, or gives back what it used less of what it took at `taken_at`."""
        if now >= self._ends:
            self._begin_span(now)
        if difference >= 0:
            self.used += difference
            self._amount += difference
            self._last = now
        else:
            self._give_back(-difference, now, now if taken_at is None else taken_at)

    def remaining(self, now: float) -> int:
        return max(0, self.limit - self.used_at(now))

    def wait_s(self, amount: int, now: float) -> float:
        """Seconds until `amount` fits into the share, at most a window."""
        over = self.used_at(now) + amount - self.share
        if over <= 0:
            return 0.0
        spans: list[tuple[float, int]] = [*(self._spans or ()), (self._last, self._amount)]
        for last, used in spans:
            over -= used
            if over <= 0:
                return max(0.0, last + WINDOW_S - now)
        return WINDOW_S

    def frees_s(self, now: float) -> float | None:
        """Seconds until the oldest use is a minute old; None when nothing was used."""
        self._forget(now)
        if self._spans:
            return max(0.0, self._spans[0][0] + WINDOW_S - now)
        return max(0.0, self._last + WINDOW_S - now) if self._amount else None

    def _begin_span(self, now: float) -> None:
        if self._amount:
            if self._spans is None:
                self._spans = []
            self._spans.append((self._last, self._amount))
            self._amount = 0
        self._ends = now + SPAN_S
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Lets go of what is a minute old."""
        before = now - WINDOW_S
        if self._amount and self._last <= before:
            self.used -= self._amount
            self._amount = 0
        spans = self._spans
        if spans and spans[0][0] <= before:
            old = 0
            while old < len(spans) and spans[old][0] <= before:
                self.used -= spans[old][1]
                old += 1
            del spans[:old]

    def _give_back(self, amount: int, now: float, taken_at: float) -> None:
        """To the span that it was taken in. What that holds no longer is a minute old, and gone already."""
        spans = self._spans or []
        i = len(spans)
        while i and spans[i - 1][0] >= taken_at:
            i -= 1
        if i == len(spans):
            given = min(amount, self._amount)
            self._amount -= given
        else:
            last, used = spans[i]
            given = min(amount, used)
            spans[i] = (last, used - given)
        self.used -= given


class Sharing(Protocol):
    """Where the share of a limit comes from, when it is not there for good."""

    def begin(self) -> float:
        """The moment until which a call may wait for shares, handed to each `more`."""

    async def more(self, pace: Pace, kind: str, amount: int, until: float) -> bool:
        """Asks for room for `amount` more. Whether to try again; False when the limit is used up. Raises Unavailable when
        it cannot be known, and that is to refuse calls.
        """

    def frees_s(self, pace: Pace, kind: str) -> float | None:
        """Seconds until another process may have less in use; None when none has any."""

    def overdrawn(self, pace: Pace, kind: str) -> None:
        """More was used than there is a share for."""

    def changed(self, pace: Pace) -> None:
        """The limits of a pace are others now."""


class Pace:
    """One caller's limits; None is no limit. `name` is who it is of: the same in all processes that share the limits."""

    __slots__ = (
        "_processes",
        "name",
        "parallel",
        "parallel_max",
        "parallel_share",
        "requests",
        "sharing",
        "tokens",
    )

    def __init__(
        self,
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        parallel_max: int | None = None,
        processes: int = 1,
        sharing: Sharing | None = None,
        name: tuple[str, str] = ("", ""),
    ) -> None:
        self._processes = processes
        self.sharing = sharing
        self.name = name
        self.requests: Window | None = None
        self.tokens: Window | None = None
        self.parallel = 0
        self.parallel_max: int | None = None
        self.parallel_share = UNBOUNDED
        self.change(rpm=rpm, tpm=tpm, parallel_max=parallel_max)

    def take(self, tokens: int, now: float) -> str | None:
        """Takes a call's place; or takes nothing and says which limit has no room for it. About 0.5 us."""
        if self.parallel >= self.parallel_share:
            return PARALLEL
        requests = self.requests
        if requests is not None and not requests.take(1, now):
            return REQUESTS
        if self.tokens is not None and not self.tokens.take(tokens, now):
            if requests is not None:
                requests.correct(-1, now)
            return TOKENS
        self.parallel += 1
        return None

    def change(self, *, rpm: int | None, tpm: int | None, parallel_max: int | None) -> None:
        """New limits; what was used in this minute stays used."""
        requests, tokens = self.requests, self.tokens
        before = (requests and requests.limit, tokens and tokens.limit, self.parallel_max)
        if before == (rpm, tpm, parallel_max):
            return
        self.requests = self._changed(requests, rpm)
        self.tokens = self._changed(tokens, tpm)
        held = self.parallel if self.parallel_max is None else self.parallel_share
        self.parallel_max = parallel_max
        self.parallel_share = UNBOUNDED if parallel_max is None else self._share(parallel_max, held)
        if self.sharing is not None:
            self.sharing.changed(self)

    def window(self, kind: str) -> Window | None:
        return self.requests if kind == REQUESTS else self.tokens if kind == TOKENS else None

    def _changed(self, window: Window | None, limit: int | None) -> Window | None:
        if limit is None:
            return None
        if window is None:
            return Window(limit, self._share(limit, 0))
        window.limit = limit
        window.share = self._share(limit, window.share)
        return window

    def _share(self, limit: int, held: int) -> int:
        """What of a limit this process may use: what it holds of a shared one, else its part."""
        if self.sharing is not None:
            return min(held, limit)
        return limit if self._processes == 1 else max(1, limit // self._processes)
