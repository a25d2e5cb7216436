"""What is done now and then, beside the calls: budgets begin their new periods, old spend rows go, soft budgets are told of.

One worker of a gateway does it (the first). Everything here may be late by a round; enforcement never waits for it: an account
rolls by itself when it is looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tollway.config import parse_duration
from tollway.errors import StorageError
from tollway.ledger.budgets import NEVER, Account, usd
from tollway.snapshot import Snapshots
from tollway.storage import KEY_SCOPE, Storage

log = logging.getLogger("tollway")

ROUND_S = 15.0
#: Rows forgotten in one go, so that writers need not wait long.
FORGOTTEN_ROWS_MAX = 5_000


class Upkeep:
    """Owns a task from `open` to `close`."""

    def __init__(
        self,
        *,
        accounts: dict[tuple[str, str], Account],
        snapshots: Snapshots,
        storage: Storage,
        wall: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._snapshots = snapshots
        self._storage = storage
        self._wall = wall
        self._begun: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._go_round())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _go_round(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            try:
                await self.once()
            except StorageError as error:
                log.warning("upkeep is put off, the storage does not answer: %s", error)

    async def once(self) -> None:
        """One round. Raises StorageError."""
        await self._begin_periods()
        await self._forget_old_rows()
        await self._forget_old_changes()
        self._tell_soft_budgets()

    async def _begin_periods(self) -> None:
        for name, account in list(self._accounts.items()):
            account.roll(self._wall())
            begun = account.period_start_us
            if begun == self._begun.setdefault(name, begun):
                continue
            reset_us = None if account.resets_at == NEVER else int(account.resets_at * 1_000_000)
            if account.scope == KEY_SCOPE:
                await self._storage.keys.roll_budget(bytes.fromhex(account.id), begun, reset_us)
            else:
                await self._storage.spend.roll_budget(account.scope, account.id, begun, reset_us)
            self._begun[name] = begun

    async def _forget_old_rows(self) -> None:
        retention = self._snapshots.current.config.logs.spend_retention
        if retention is None:
            return
        before_us = int((self._wall() - parse_duration(retention).seconds) * 1_000_000)
        forgotten = FORGOTTEN_ROWS_MAX
        while forgotten == FORGOTTEN_ROWS_MAX:
            forgotten = await self._storage.spend.forget_before(before_us, rows_max=FORGOTTEN_ROWS_MAX)

    async def _forget_old_changes(self) -> None:
        bounds = self._snapshots.current.config.storage
        before_us = int((self._wall() - bounds.audit_days_max * 86_400) * 1_000_000)
        forgotten = FORGOTTEN_ROWS_MAX
        while forgotten == FORGOTTEN_ROWS_MAX:
            forgotten = await self._storage.people.forget_audit(
                before_us, kept=bounds.audit_rows_max, rows_max=FORGOTTEN_ROWS_MAX
            )

    def _tell_soft_budgets(self) -> None:
        snapshot = self._snapshots.current
        for caller in snapshot.keys.values():
            key = caller.key
            if key is not None and key.record.soft_budget_nano is not None:
                self._tell(key.spend_account, key.record.soft_budget_nano, f"the key {key.label}")
        for account, soft_nano in snapshot.others.soft:
            self._tell(account, soft_nano, account.label)

    def _tell(self, account: Account, soft_nano: int, whose: str) -> None:
        """Once a period."""
        name = (account.scope, account.id)
        if account.spent >= soft_nano and self._told.get(name) != account.period_start_us:
            self._told[name] = account.period_start_us
            log.warning(
                "%s has crossed its soft budget: spent $%.4f of $%.4f", whose, usd(account.spent), usd(soft_nano)
            )
