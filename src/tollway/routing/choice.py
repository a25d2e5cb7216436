"""The next deployment for a call, and which ones are benched.

Weighted shuffle among the deployments of lowest `order` that are not benched. A deployment without a weight counts as 1 (so does
one without `order` as order 1): nobody is starved because a sibling has a number. When all are benched, the one whose bench ends
first is tried: the last candidate is never benched out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

FAILURE_WINDOW_S = 60.0


class Health:
    """What one deployment's recent calls showed. Changed by the gateway, read by `choose`. Seconds are monotonic."""

    __slots__ = ("benched_until", "failures", "last_error", "last_ok", "window_start")

    def __init__(self) -> None:
        self.benched_until = 0.0
        self.failures = 0
        self.window_start = 0.0
        self.last_ok = 0.0
        self.last_error = ""

    def succeeded(self, now: float) -> None:
        self.last_ok = now
        self.failures = 0

    def failed(
        self,
        now: float,
        *,
        reason: str,
        at_once: bool,
        allowed_fails: int,
        cooldown_s: float,
        retry_after_s: float | None,
    ) -> None:
        """Benches after `allowed_fails` failures within a minute, or at once (rate limits, refused accounts)."""
        self.last_error = reason
        if now - self.window_start > FAILURE_WINDOW_S:
            self.window_start = now
            self.failures = 0
        self.failures += 1
        if at_once or self.failures > allowed_fails:
            bench_s = cooldown_s if retry_after_s is None else max(cooldown_s, min(retry_after_s, FAILURE_WINDOW_S))
            self.benched_until = max(self.benched_until, now + bench_s)


class Candidate(Protocol):
    weight: float
    order: int
    health: Health


C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], *, now: float, chance: float, tried: Sequence[C] = ()) -> C:
    """One of `candidates`; those in `tried` only when there is no other. `chance` is in [0, 1)."""
    if len(candidates) == 1:
        return candidates[0]
    if not tried:
        # Most often all are alike and well: then one throw decides.
        chosen = candidates[int(chance * len(candidates))]
        weight, order = chosen.weight, chosen.order
        for candidate in candidates:
            if candidate.health.benched_until > now or candidate.weight != weight or candidate.order != order:
                break
        else:
            return chosen
    open_ = [c for c in candidates if c.health.benched_until <= now and c not in tried]
    if not open_:
        left = [c for c in candidates if c not in tried] or list(candidates)
        return min(left, key=lambda c: (c.health.benched_until, c.order))
    lowest = min(c.order for c in open_)
    open_ = [c for c in open_ if c.order == lowest]
    if len(open_) == 1:
        return open_[0]
    total = sum(c.weight for c in open_)
    if total <= 0:
        return open_[int(chance * len(open_))]
    point = chance * total
    for candidate in open_:
        point -= candidate.weight
        if point < 0:
            return candidate
    return open_[-1]
