"""Budgets that several workers share: each spends only what it has leased.

A worker asks storage for a slice of a budget, takes holds from the slice as one worker alone takes them from the budget, and
asks again when it is short. So what always holds, over all workers, is

    spent + what is outstanding in leases <= limit        (but for what a provider bills above its hold)

A call whose worker has too little leased waits for the next request, which goes out every few milliseconds for all calls
together. It is refused when what is *spent* leaves too little. When other workers' leases stand in the way it waits its turn, as
behind other calls' holds: those workers see that their leases are wanted, and give back what no call of theirs holds. Who spends
steadily leases for a minute, so that the storage may be away for half of one. With the storage down, leases in hand are spent to
the end; then calls of budgeted keys get 503, or go on without a lease where that is wished.

`granted` and `settled` only rise (but for what is given back), so worker and storage need not agree on what is already ingested:
the storage counts charges against a lease as it ingests them, the worker as they are settled.

What a worker knows of the others' spending is what storage told it last, with each lease and every few seconds: `Account.spent`
is behind by what the others spent since or have not stored yet. A call counts to the period that it began in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from tollway.errors import BudgetExceeded, StorageError, Unavailable
from tollway.ledger.budgets import Account, Budgets, Hold
from tollway.storage import LeaseKept, LeaseState, LeaseStore, LeaseWant, Spent

log = logging.getLogger("tollway")

#: A call waits this long for the storage to answer, then it is refused as unavailable.
LEASE_WAIT_MS_MAX = 2_000
#: Requests for leases are gathered this long.
GATHER_S = 0.002
#: How often a worker looks whether others want what it has leased.
LOOK_S = 0.1
AWAY_S = 1.0
#: How often a worker takes over what the others spent of budgets that it is not asking for.
REFRESH_S = 5.0
#: Pauses before a lease that others' leases stood in the way of is asked for again.
AGAIN_S_FIRST = 0.01
AGAIN_S_MAX = 0.1
#: A worker likes to lease for so many calls of the size it needs, where there is plenty; and when it goes on spending, for
#: so many seconds of it, so that a database may be away for half of them and nobody notices.
SLICE_CALLS = 64
SLICE_S = 60.0
SLICE_GROWTH_MAX = 8
#: A lease that was of no use for so many looks goes back.
IDLE_LOOKS_MAX = 100
#: Budgets in one request.
WANTS_MAX = 500


class Lease:
    """What this worker may spend of one period of a budget, what it did, and what of it is held for calls in flight."""

    __slots__ = (
        "again_at",
        "again_s",
        "asked_at",
        "granted",
        "held",
        "idle_looks",
        "limit",
        "low",
        "period_start_us",
        "seen",
        "settled",
        "size",
        "slice",
        "stale",
        "used_then",
    )

    def __init__(self, period_start_us: int) -> None:
        self.period_start_us = period_start_us
        self.granted = 0
        self.settled = 0
        self.held = 0
        self.low = 0  # below this much room the next slice is asked for ahead of need
        self.limit: int | None = None  # the budget's, when last asked
        self.stale = False  # more is spent and leased than the limit allows: what calls give back is not there any more
        self.again_at = 0.0
        self.again_s = AGAIN_S_FIRST
        self.seen = 0
        self.idle_looks = 0
        self.size = 0  # of a call
        self.slice = 0  # what was liked beyond need when last asked, when that was, and what was used until then
        self.asked_at = 0.0
        self.used_then = 0

    def next_slice(self, now: float) -> int:
        """What to ask for beyond need: more for who spends steadily, at most `SLICE_GROWTH_MAX` times what it was."""
        used, seconds = self.settled + self.held, now - self.asked_at
        steadily = round((used - self.used_then) * SLICE_S / seconds) if seconds > 0 else 0
        self.slice = max(SLICE_CALLS * self.size, min(steadily, SLICE_GROWTH_MAX * self.slice))
        self.asked_at, self.used_then = now, used
        return self.slice

    @property
    def room(self) -> int:
        return self.granted - self.settled - self.held

    def room_within(self, limit: int) -> int:
        """The room there is when the budget's limit is `limit` now. What calls have given back to a stale lease is gone."""
        room = self.room
        if room > 0 and (self.stale or (self.limit is not None and limit < self.limit)):
            self.granted -= room
            return 0
        return room

    def following(self, period_start_us: int) -> Lease:
        """The lease of a new period. Calls in flight keep to theirs."""
        return Lease(period_start_us)


class LeasedHold(Hold):
    """A hold whose amount is also held in the leases of this worker."""

    __slots__ = ("leases",)

    def __init__(self, budgets: Budgets, accounts: Sequence[Account], leases: Sequence[Lease], amount: int) -> None:
        super().__init__(budgets, accounts, amount)
        self.leases = leases

    def settle(self, cost: int, now: float) -> list[tuple[str, str, int, int]]:
        if not self.open:
            return []
        self.open = False
        charges = []
        for account, lease in zip(self.accounts, self.leases, strict=True):
            account.held -= self.amount
            lease.held -= self.amount
            lease.settled += cost
            if now >= account.resets_at:
                account.roll(now)
            if lease is account.lease:
                account.spent += cost
            account.total += cost
            charges.append((account.scope, account.id, lease.period_start_us, cost))
        for account in self.accounts:
            if account.waiters:
                self.budgets.let_in(account, now)
        return charges


class LeasedBudgets(Budgets):
    """Takes holds from leases. Owns the task that asks for them and gives them back, from `open` to `close`."""

    def __init__(
        self,
        *,
        store: LeaseStore,
        epoch: int,
        workers: int,
        wait_s_max: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        exceeded_status: int = 422,
        unleased_when_away: bool = False,
    ) -> None:
        """`unleased_when_away`: without the storage calls go on beyond what is leased, rather than being refused."""
        super().__init__(wait_s_max=wait_s_max, clock=clock, exceeded_status=exceeded_status)
        self.unleased_when_away = unleased_when_away
        self._store = store
        self._epoch = epoch
        self._workers = workers
        self._monotonic = monotonic
        self._needs: dict[Account, int] = {}  # what a call that waits needs; 0: asked for ahead of need
        self._in_hand: set[Account] = set()
        self._asking = asyncio.Event()
        self._turn = asyncio.Lock()  # one request after the other: each says what all before it came to
        self._accounts: Mapping[tuple[str, str], Account] = {}
        self._on_wanted: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    def open(self, accounts: Mapping[tuple[str, str], Account], on_wanted: Callable[[], None]) -> None:
        """`accounts` by scope and id; `on_wanted` is called when others wait for what this worker has leased or spent."""
        self._accounts = accounts
        self._on_wanted = on_wanted
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    async def close(self) -> None:
        """Asks no more. What is leased stays so until all is ingested: `LeaseStore.end` is the ledger's to call."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- calls

    def take_now(self, accounts: Sequence[Account], wanted: int, now: float) -> Hold | None:
        return None  # what is leased is looked at by `take`

    def try_take(self, accounts: Sequence[Account], wanted: int, least: int, now: float) -> Hold | Account:
        """As with one worker, but from what is leased; what is short is asked for."""
        amount = self._within_spent(accounts, wanted, least, now)
        leases = [account.lease or _begin(account) for account in accounts]
        blocked = None
        for account, lease in zip(accounts, leases, strict=True):
            if account.limit is not None and lease.room_within(account.limit) < amount:
                self._need(account, amount)
                blocked = blocked or account
        if blocked is not None:
            return blocked
        for account, lease in zip(accounts, leases, strict=True):
            account.held += amount
            lease.held += amount
            if lease.room < lease.low and account not in self._needs:
                self._need(account, 0)
        return LeasedHold(self, accounts, leases, amount)

    def charge_only(self, accounts: Sequence[Account]) -> Hold:
        return LeasedHold(self, accounts, [account.lease or _begin(account) for account in accounts], 0)

    def _need(self, account: Account, amount: int) -> None:
        self._needs[account] = max(amount, self._needs.get(account, 0))
        self._asking.set()

    # --- storage

    async def ask(self) -> None:
        """Asks once for everything that is needed and due; lets in whom the answer lets in. Never raises StorageError."""
        async with self._turn:
            now = self._monotonic()
            due = [account for account in self._needs if _lease_of(account).again_at <= now][:WANTS_MAX]
            asked = [(account, _lease_of(account), self._needs.pop(account)) for account in due]
            asked = [one for one in asked if one[0].limit is not None]
            if not asked:
                return
            wants = [_want(account, lease, amount, now) for account, lease, amount in asked]
            try:
                async with asyncio.timeout(LEASE_WAIT_MS_MAX / 1000):
                    states = await self._store.lease(self._epoch, wants, workers=self._workers)
            except (StorageError, TimeoutError) as error:
                self._refuse(due, error)
                return
            for (account, lease, amount), want, state in zip(asked, wants, states, strict=True):
                lease.limit = want.limit_nano
                lease.stale = _is_over(state, want.limit_nano)
                self._granted(account, lease, amount, state)
        for account in due:
            self.let_in(account, self._clock())

    async def look(self) -> None:
        """Gives back what others want and no call here holds, and what has long been of no use. Raises StorageError."""
        async with self._turn:
            wanted = set()
            for state in await self._store.states(self._epoch, wanted_only=True):
                account = self._accounts.get((state.scope, state.id))
                if account is not None and _lease_of(account).period_start_us == state.period_start_us:
                    wanted.add(account)
            if wanted:
                self._on_wanted()
            await self._give_back([*wanted, *(account for account in self._in_hand - wanted if _is_idle(account))])

    async def refresh(self, stored: Mapping[tuple[str, str], Spent] | None = None) -> None:
        """Takes over what the storage knows to be spent, and gives back what a lowered limit, or a charge that nobody had
        leased (of a call charged again at another price), leaves no room for.

        `stored` is what was read before, for budgets that nothing was charged to here. Raises StorageError.
        """
        async with self._turn:
            states = {
                (state.scope, state.id, state.period_start_us): state for state in await self._store.states(self._epoch)
            }
            for name, account in self._accounts.items():
                lease = _lease_of(account)
                state = states.get((*name, lease.period_start_us))
                if state is not None:
                    account.spent = state.spent_nano + lease.settled - state.charged_nano
                    if account.limit is not None and _is_over(state, account.limit):
                        lease.stale = True
                elif stored is not None and name in stored and stored[name].period_start_us == lease.period_start_us:
                    account.spent = stored[name].spend_nano + lease.settled
                if account.limit is not None and lease.room < 0:
                    self._need(account, 0)  # the others must know what is held here without a lease
            await self._give_back(
                [account for account in self._in_hand if account.limit is None or _lease_of(account).stale]
            )

    async def _give_back(self, accounts: Sequence[Account]) -> None:
        kept = []
        for account in accounts:
            lease = _lease_of(account)
            lease.granted -= max(0, lease.room)
            lease.low = lease.slice = 0
            kept.append(LeaseKept(account.scope, account.id, lease.period_start_us, lease.granted))
            if lease.granted <= lease.settled:
                self._in_hand.discard(account)
        if kept:
            try:
                await self._store.give_back(self._epoch, kept)
            except (StorageError, asyncio.CancelledError):
                self._in_hand.update(accounts)  # once more, later
                raise

    def _granted(self, account: Account, lease: Lease, amount: int, state: LeaseState) -> None:
        if not state.known:
            self._refuse_all(account, Unavailable("The key was deleted while the call waited for its budget."))
            return
        if lease is not account.lease:
            return  # a new period began meanwhile; what was granted belongs to the old one
        if state.period_start_us > lease.period_start_us:  # another worker's clock was the first to see it begin
            account.begin_period(state.period_start_us)
            account.spent = state.spent_nano
            return
        got = state.granted_nano - lease.granted
        lease.granted = state.granted_nano
        lease.low = 0 if got <= amount else got // 2
        lease.idle_looks = 0
        account.spent = state.spent_nano + lease.settled - state.charged_nano
        if lease.granted > lease.settled:
            self._in_hand.add(account)
        if amount and lease.room < amount:
            lease.again_at = self._monotonic() + lease.again_s
            lease.again_s = min(2 * lease.again_s, AGAIN_S_MAX)
        else:
            lease.again_s = AGAIN_S_FIRST

    def _refuse(self, accounts: Sequence[Account], error: Exception) -> None:
        """The storage is away: who waits for more than this worker has leased is told so."""
        for account in accounts:
            lease = _lease_of(account)
            lease.again_at = self._monotonic() + AGAIN_S_MAX
            self._in_hand.add(account)  # it may have been granted all the same; then it is given back some day
            waiters = account.waiters
            if waiters and self.unleased_when_away:
                self._let_in_unleased(account)
            elif waiters and lease.held and waiters[0].least <= lease.granted - lease.settled:
                self._need(account, waiters[0].least)  # calls in flight will leave something
            elif waiters:
                self._refuse_all(
                    account,
                    Unavailable(f"The database is away, and what this worker may spend is spent. {account.label}"),
                )
                log.warning("budgets cannot be leased: %s", error)

    def _let_in_unleased(self, account: Account) -> None:
        """What they hold is told to the others once the storage is back."""
        while account.waiters:
            waiter = account.waiters.popleft()
            if waiter.future.done():
                continue
            try:
                amount = self._within_spent(waiter.accounts, waiter.wanted, waiter.least, self._clock())
            except BudgetExceeded as error:
                waiter.future.set_exception(error)
                continue
            leases = [_lease_of(one) for one in waiter.accounts]
            for one, lease in zip(waiter.accounts, leases, strict=True):
                one.held += amount
                lease.held += amount
            waiter.future.set_result(LeasedHold(self, waiter.accounts, leases, amount))

    def _refuse_all(self, account: Account, error: Unavailable) -> None:
        while account.waiters:
            waiter = account.waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_exception(error)

    async def _go_on(self) -> None:
        now = self._monotonic
        look_at = 0.0
        refresh_at = now() + REFRESH_S
        while True:
            try:
                await self._until_asked(self._pause_s())
                self._asking.clear()
                if self._needs:
                    await asyncio.sleep(GATHER_S)
                    await self.ask()
                async with asyncio.timeout(LEASE_WAIT_MS_MAX / 1000):  # calls that need a lease stand behind this
                    if self._in_hand and now() >= look_at:
                        look_at = now() + LOOK_S
                        await self.look()
                    if now() >= refresh_at:
                        refresh_at = now() + REFRESH_S
                        await self.refresh()
            except (StorageError, TimeoutError):
                look_at = now() + AWAY_S  # those who wait are told by `ask`
            except Exception:
                log.exception("leasing failed")
                await asyncio.sleep(AWAY_S)

    def _pause_s(self) -> float:
        """Until the next request is due, or the next look."""
        pause_s = LOOK_S if self._in_hand else REFRESH_S
        if self._needs:
            due_s = min(_lease_of(account).again_at for account in self._needs) - self._monotonic()
            pause_s = max(0.0, min(due_s, LOOK_S))
        return pause_s

    async def _until_asked(self, s_max: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(s_max):
                await self._asking.wait()


def _begin(account: Account) -> Lease:
    account.lease = Lease(account.period_start_us)
    return account.lease


def _lease_of(account: Account) -> Lease:
    return account.lease or _begin(account)


def _want(account: Account, lease: Lease, amount: int, now: float) -> LeaseWant:
    if amount:
        lease.size = amount
    waiting = sum(waiter.wanted for waiter, _ in zip(account.waiters, range(SLICE_CALLS), strict=False))
    limit = account.limit or 0
    room = max(0, lease.room_within(limit))
    least = max(0, amount - room)
    return LeaseWant(
        scope=account.scope,
        id=account.id,
        period_start_us=lease.period_start_us,
        limit_nano=limit,
        granted_nano=lease.granted,
        least_nano=least,
        more_nano=max(least, waiting - room) + lease.next_slice(now),
        cover_nano=room - lease.room,
    )


def _is_over(state: LeaseState, limit: int) -> bool:
    """Because it was lowered, or something was spent or is held that nobody had leased."""
    return state.spent_nano + state.outstanding_nano > limit


def _is_idle(account: Account) -> bool:
    lease = _lease_of(account)
    if lease.held or lease.settled != lease.seen:
        lease.idle_looks = 0
    lease.seen = lease.settled
    lease.idle_looks += 1
    return lease.idle_looks > IDLE_LOOKS_MAX
