"""Budgets that are raised for a time: their limits come back by themselves when that is over.

Whoever knows of a raise says it once, and the account's limit is in force at once. No call looks at the clock for it: a task does,
every `LOOK_S`, which is how late a limit may come back. Each worker has its own, and asks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from tollway.ledger.budgets import Account

LOOK_S = 0.5


class Raises:
    """Changes the limits of the accounts that it was told of. Owns a task from `open` to `close`. Limits and `by` are
    nano-dollars, `until` is seconds of the epoch.
    """

    def __init__(self, *, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._raised: dict[Account, tuple[float, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self, on_end: Callable[[], None]) -> None:
        """`on_end` is called when limits came back."""
        self._task = asyncio.get_running_loop().create_task(self._go_on(on_end))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def begin(self, account: Account, limit: int, *, by: int, until: float) -> None:
        """The account's limit is `limit`, and so much more until then. What was said of it before holds no longer."""
        if until <= self._wall():
            self.forget(account)
            account.limit = limit
        else:
            self._raised[account] = (until, limit)
            account.limit = limit + by

    def forget(self, account: Account) -> None:
        """Its limit is others' to say."""
        self._raised.pop(account, None)

    def end(self) -> bool:
        """Takes back what is over by now; whether there was any."""
        now = self._wall()
        over = [(account, limit) for account, (until, limit) in self._raised.items() if until <= now]
        for account, limit in over:
            self.forget(account)
            account.limit = limit
        return bool(over)

    async def _go_on(self, on_end: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._raised and self.end():
                on_end()
