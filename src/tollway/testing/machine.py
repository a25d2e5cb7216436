"""How fast the machine is just now, for tests that bound time."""

from __future__ import annotations

import time
from hashlib import sha256

#: What the piece of work below takes on a quiet core of the 2-vCPU machine that the bounds were measured on.
QUIET_MS = 15.0


def _work() -> float:
    began = time.perf_counter()
    seen: dict[int, str] = {}
    for n in range(60_000):
        seen[n % 1_000] = f"{n}-{len(seen)}"
    sha256("".join(seen.values()).encode() * 50).digest()
    return (time.perf_counter() - began) * 1000


def slowness() -> float:
    """How many times as long as on a quiet core a fixed piece of work takes: at least 1, at most 5. Takes 0.1 to 0.5 s."""
    return min(5.0, max(1.0, sorted(_work() for _ in range(7))[3] / QUIET_MS))
