"""Budgets are held, then settled.

An `Account` is one budget of one scope: a key's, a team's, the whole gateway's. A call takes a `Hold`, an upper bound of its
cost, from all its accounts at once, and settles it with the real cost. What always holds, and is tested:

    spent + held <= limit        (but for what a provider bills above its hold: charged in full, flagged)

A call is refused at once only when what is *spent* leaves too little. When only other calls' holds stand in the way it waits,
first come first served. A call that asks for more than is left gets less: the caller of `Budgets.take` must then lower the
call's output limit to what the hold pays for.

All amounts are nano-dollars; `now` is seconds of the epoch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tollway.errors import BudgetExceeded, RateLimited

if TYPE_CHECKING:
    from tollway.ledger.leases import Lease

NEVER = float("inf")
NANO = 1_000_000_000
#: Calls that may wait for one account; a further one is refused.
WAITERS_MAX = 10_000
HOUR_S = 3600.0


class Account:
    """One budget: what may be spent in the current period, what was, and what is held for calls in flight.

    `lease` is what this worker may spend of it; None where one worker has it all.
    """

    __slots__ = (
        "held",
        "id",
        "label",
        "lease",
        "limit",
        "next_reset",
        "period_start_us",
        "resets_at",
        "scope",
        "spent",
        "total",
        "waiters",
    )

    def __init__(
        self,
        scope: str,
        id: str,
        *,
        label: str,
        limit: int | None = None,
        spent: int = 0,
        total: int = 0,
        resets_at: float = NEVER,
        period_start_us: int = 0,
        next_reset: Callable[[float], float] | None = None,
    ) -> None:
        self.scope = scope
        self.id = id
        self.label = label
        self.limit = limit
        self.spent = spent
        self.total = total
        self.held = 0
        self.lease: Lease | None = None
        self.resets_at = resets_at
        self.period_start_us = period_start_us
        self.next_reset = next_reset
        self.waiters: deque[Waiter] = deque()

    def roll(self, now: float) -> bool:
        """Starts a new period if the old one is over. Holds in flight are kept: they are settled in the period they end in."""
        if now < self.resets_at:
            return False
        start, self.resets_at = self._period_of(now)
        self._begin(round(start * 1_000_000))
        return True

    def begin_period(self, start_us: int) -> None:
        """Takes over a newer period that others have begun already."""
        self.resets_at = self.next_reset(start_us / 1_000_000) if self.next_reset is not None else NEVER
        self._begin(start_us)

    def _begin(self, start_us: int) -> None:
        self.spent = 0
        self.period_start_us = start_us
        if self.lease is not None:
            self.lease = self.lease.following(start_us)

    def _period_of(self, now: float) -> tuple[float, float]:
        """Where the period of `now` begins and ends: workers that look at different times must name the same one."""
        start, next_reset = self.resets_at, self.next_reset
        if next_reset is None:
            return start, NEVER
        end = next_reset(start)
        length_s = end - start
        if end <= now and length_s < 24 * HOUR_S:
            # Short ones follow the clock: a long pause need not be walked through.
            for back_s in (2 * length_s, 26 * HOUR_S):
                if now - back_s > start and (near := next_reset(now - back_s)) <= now:
                    end = near
                    break
        while end <= now:
            start, end = end, next_reset(end)
        return start, end


class Hold:
    """An amount set aside in every account of one call. Settled or released exactly once."""

    __slots__ = ("accounts", "amount", "budgets", "open")

    def __init__(self, budgets: Budgets, accounts: Sequence[Account], amount: int) -> None:
        self.budgets = budgets
        self.accounts = accounts
        self.amount = amount
        self.open = True

    def settle(self, cost: int, now: float) -> list[tuple[str, str, int, int]]:
        """Gives the hold back and charges `cost`. Returns one charge per account: (scope, id, period start, nano-dollars)."""
        if not self.open:
            return []
        self.open = False
        amount = self.amount
        charges = []
        waited_for = False
        for account in self.accounts:
            account.held -= amount
            if now >= account.resets_at:
                account.roll(now)
            account.spent += cost
            account.total += cost
            charges.append((account.scope, account.id, account.period_start_us, cost))
            if account.waiters:
                waited_for = True
        if waited_for:
            for account in self.accounts:
                self.budgets.let_in(account, now)
        return charges


class Holds:
    """What one call holds that may go on beyond its first hold: that, and what was added. Settled as one."""

    __slots__ = ("first", "more")

    def __init__(self, first: Hold) -> None:
        self.first = first
        self.more: list[Hold] = []

    @property
    def amount(self) -> int:
        return self.first.amount + sum(hold.amount for hold in self.more)

    def add(self, hold: Hold, now: float) -> None:
        """One that comes when all is settled already is given back."""
        if self.first.open:
            self.more.append(hold)
        else:
            hold.settle(0, now)

    def settle(self, cost: int, now: float) -> list[tuple[str, str, int, int]]:
        charges = self.first.settle(cost, now)  # before the others let somebody in to what was spent
        for hold in self.more:
            hold.settle(0, now)
        return charges


class Waiter:
    """A call that waits for other calls' holds to be given back; it stands in the queue of `blocked_by`."""

    __slots__ = ("accounts", "blocked_by", "future", "least", "timer", "wanted")

    def __init__(
        self, future: asyncio.Future[Hold], accounts: Sequence[Account], blocked_by: Account, wanted: int, least: int
    ) -> None:
        self.future = future
        self.accounts = accounts
        self.blocked_by = blocked_by
        self.wanted = wanted
        self.least = least
        self.timer: asyncio.TimerHandle | None = None


class Budgets:
    """Takes holds from accounts. Single-threaded: one per worker."""

    def __init__(self, *, wait_s_max: float, clock: Callable[[], float], exceeded_status: int = 422) -> None:
        self._wait_s_max = wait_s_max
        self._clock = clock
        self._exceeded_status = exceeded_status

    def change(self, *, wait_s_max: float, exceeded_status: int) -> None:
        """Other settings, for the calls that come and refuse from now on; who waits already waits as long as before."""
        self._wait_s_max = wait_s_max
        self._exceeded_status = exceeded_status

    def take_now(self, accounts: Sequence[Account], wanted: int, now: float) -> Hold | None:
        """A hold of all that is wanted, if nothing stands in its way; else None: see `take`. About 0.5 us."""
        for account in accounts:
            if now >= account.resets_at:
                account.roll(now)
            if account.waiters or (account.limit is not None and account.limit - account.spent - account.held < wanted):
                return None
        for account in accounts:
            account.held += wanted
        return Hold(self, accounts, wanted)

    def try_take(self, accounts: Sequence[Account], wanted: int, least: int, now: float) -> Hold | Account:
        """A hold of `wanted`, or of less where less is left (never under `least`), or the account that other calls' holds block.

        Raises BudgetExceeded when what is spent leaves less than `least`. About 0.6 us for one account.
        """
        amount = self._within_spent(accounts, wanted, least, now)
        for account in accounts:
            if account.limit is not None and account.limit - account.spent - account.held < amount:
                return account
        for account in accounts:
            account.held += amount
        return Hold(self, accounts, amount)

    def _within_spent(self, accounts: Sequence[Account], wanted: int, least: int, now: float) -> int:
        """What of `wanted` there would be room for without the other calls' holds. Raises BudgetExceeded under `least`."""
        amount = wanted
        for account in accounts:
            if now >= account.resets_at:
                account.roll(now)
            if account.limit is not None and account.limit - account.spent < amount:
                amount = account.limit - account.spent
                if amount < least:
                    raise self._exceeded(account, least)
        return amount

    async def take(self, accounts: Sequence[Account], wanted: int, least: int) -> Hold:
        """As `try_take`, but waits its turn while only other calls' holds stand in the way, at most `wait_s_max`."""
        queued = _first_queue(accounts)
        if queued is None:
            taken = self.try_take(accounts, wanted, least, self._clock())
            if isinstance(taken, Hold):
                return taken
            blocked = taken
        else:
            self._within_spent(accounts, wanted, least, self._clock())
            blocked = queued
        if len(blocked.waiters) >= WAITERS_MAX:
            raise self._busy(blocked)
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop.create_future(), accounts, blocked, wanted, least)
        blocked.waiters.append(waiter)
        waiter.timer = loop.call_later(self._wait_s_max, self._give_up, waiter)
        # Others may have waited for a thing that is no longer so (a reset, a raised limit).
        self.let_in(blocked, self._clock())
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.future.result().settle(0, self._clock())
            else:  # those behind it may be let in now
                waiter.future.cancel()
                self.let_in(waiter.blocked_by, self._clock())
            raise
        finally:
            waiter.timer.cancel()

    def add_now(self, accounts: Sequence[Account], more: int, now: float) -> Hold | None:
        """More for a call that goes on, if there is room for it at this moment."""
        try:
            taken = self.try_take(accounts, more, more, now)
        except BudgetExceeded:
            return None
        return taken if isinstance(taken, Hold) else None

    def charge_only(self, accounts: Sequence[Account]) -> Hold:
        """A hold of nothing, by which a call without a limit is charged all the same."""
        return Hold(self, accounts, 0)

    def let_in(self, account: Account, now: float) -> None:
        """Gives waiting calls their holds, in order, as far as there is room."""
        waiters = account.waiters
        while waiters:
            first = waiters[0]
            if first.future.done():
                waiters.popleft()
                continue
            try:
                taken = self.try_take(first.accounts, first.wanted, first.least, now)
            except BudgetExceeded as error:
                waiters.popleft()
                first.future.set_exception(error)
                continue
            if isinstance(taken, Hold):
                waiters.popleft()
                first.future.set_result(taken)
            elif taken is account:
                return
            else:  # its own turn here has come, but another account blocks it: it waits there
                waiters.popleft()
                first.blocked_by = taken
                taken.waiters.append(first)

    def _give_up(self, waiter: Waiter) -> None:
        account = waiter.blocked_by
        self.let_in(account, self._clock())  # a new period may have begun
        if not waiter.future.done():
            waiter.future.set_exception(self._busy(waiter.blocked_by))
            self.let_in(account, self._clock())  # those behind it may want less

    def _exceeded(self, account: Account, least: int) -> BudgetExceeded:
        limit = account.limit or 0
        text = f"Budget has been exceeded! {account.label} Current cost: {usd(account.spent)}, Max budget: {usd(limit)}"
        if account.spent < limit:
            text += f". The shortest answer to this call could cost {usd(least)}."
        return BudgetExceeded(text, status=self._exceeded_status, retryable_by_client=False)

    def _busy(self, account: Account) -> RateLimited:
        return RateLimited(
            f"All that is left of the budget is set aside for calls in flight. {account.label} "
            f"Current cost: {usd(account.spent)}, set aside: {usd(account.held)}, Max budget: {usd(account.limit or 0)}",
            headers=((b"retry-after", b"1"),),
        )


def _first_queue(accounts: Sequence[Account]) -> Account | None:
    """The first account for which calls wait: a further one stands behind them."""
    for account in accounts:
        if account.waiters:
            return account
    return None


def usd(nano: int) -> float:
    """For people and JSON; sums are made of nano-dollars, never of these."""
    return nano / NANO
