"""Several workers' budgets on one storage, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.calls import Cost
from tollway.errors import BudgetExceeded, RateLimited, Unavailable
from tollway.ledger.budgets import Account, Hold
from tollway.ledger.leases import AGAIN_S_MAX, IDLE_LOOKS_MAX, SLICE_CALLS, SLICE_S, LeasedBudgets
from tollway.ledger.record import CallRecord
from tollway.storage import KeyRecord, LeaseWant, SpendEntry, Spent
from tollway.testing.clock import FakeClock
from tollway.testing.storage import MemoryStorage

TOKEN = sha256(b"sk-a").digest()
KEY = TOKEN.hex()
LIMIT = 1000


class Worker:
    """One worker's budgets, and the rows it has not stored yet."""

    def __init__(self, storage: MemoryStorage, clock: FakeClock, epoch: int, *, limit: int, workers: int) -> None:
        self.budgets = LeasedBudgets(
            store=storage.leases,
            epoch=epoch,
            workers=workers,
            wait_s_max=10.0,
            clock=clock.now,
            monotonic=clock.now,
        )
        self.key = Account("key", KEY, label=f"Key=a in {epoch}", limit=limit)
        self.everything = Account("global", "", label="Gateway.")
        self.accounts = (self.key, self.everything)
        self.budgets._accounts = {(account.scope, account.id): account for account in self.accounts}
        self._storage = storage
        self._clock = clock
        self._epoch = epoch
        self._rows: list[SpendEntry] = []
        self._seq = 0

    def take(self, wanted: int, least: int = 1) -> asyncio.Task[Hold]:
        return asyncio.get_running_loop().create_task(self.budgets.take(self.accounts, wanted, least))

    def settle(self, hold: Hold, cost: int) -> None:
        self._seq += 1
        charges = hold.settle(cost, self._clock.now())
        record = CallRecord(self._epoch, self._seq, 1, 1, key=TOKEN, cost=Cost(total=cost), charges=tuple(charges))
        self._rows.append((record, b""))

    async def drain(self) -> None:
        await self._storage.spend.ingest(self._rows, leased=True)
        self._rows.clear()


class Gateway:
    def __init__(self, workers: int = 2, *, limit: int = LIMIT) -> None:
        self.storage = MemoryStorage()
        self.clock = FakeClock(now=1_800_000_000.0)
        self.workers = [
            Worker(self.storage, self.clock, epoch, limit=limit, workers=workers) for epoch in range(1, workers + 1)
        ]

    async def start(self) -> Sequence[Worker]:
        await self.storage.keys.create(KeyRecord(token=TOKEN, key_name="sk-...a", max_budget_nano=LIMIT))
        return self.workers

    async def round(self, *, drain: bool = True) -> None:
        """What every worker does by itself within a tenth of a second."""
        self.clock.advance(AGAIN_S_MAX)
        for worker in self.workers:
            await worker.budgets.ask()
        for worker in self.workers:
            await worker.budgets.look()
            if drain:
                await worker.drain()
        await settled()

    async def spent(self) -> int:
        record = await self.storage.keys.get(TOKEN)
        assert record is not None
        return record.spend_nano


async def settled() -> None:
    """Lets every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_call_waits_for_its_lease_and_the_next_ones_need_none() -> None:
    gateway = Gateway()
    one, _ = await gateway.start()
    first = one.take(2)
    await settled()
    assert not first.done()
    await one.budgets.ask()
    assert (await first).amount == 2
    leased = gateway.storage.leases.outstanding("key", KEY)
    assert 2 < leased <= LIMIT // 2
    for _ in range(leased // 2 - 1):
        hold = one.budgets.try_take(one.accounts, 2, 1, gateway.clock.now())
        assert isinstance(hold, Hold)
    assert gateway.storage.leases.outstanding("key", KEY) == leased


async def test_every_call_that_waits_is_served_by_one_request() -> None:
    gateway = Gateway()
    one, _ = await gateway.start()
    calls = [one.take(5) for _ in range(20)]
    await settled()
    await one.budgets.ask()
    await settled()
    assert all(call.done() for call in calls)


async def test_two_workers_never_hold_more_than_the_budget_and_idle_leases_are_recalled() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    first = one.take(100)
    await settled()
    await gateway.round()
    one.settle(await first, 0)
    assert one.key.lease is not None
    assert one.key.lease.room > 100
    second = two.take(LIMIT)  # needs what the other holds idle
    await settled()
    await two.budgets.ask()
    await settled()
    assert not second.done()
    await gateway.round()
    await gateway.round()
    assert (await second).amount == LIMIT
    assert one.key.lease.granted == 0


async def test_what_calls_in_flight_hold_is_not_recalled() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    first = one.take(400)
    await settled()
    await gateway.round()
    second = two.take(700)
    for _ in range(5):
        await settled()
        await gateway.round()
    assert not second.done()
    assert gateway.storage.leases.outstanding("key", KEY) >= 400
    one.settle(await first, 100)
    for _ in range(3):
        await gateway.round()
    assert (await second).amount == 700


async def test_a_call_is_refused_when_what_all_workers_spent_leaves_too_little() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    first = one.take(990)
    await settled()
    await gateway.round()
    refused, shortened = two.take(500, 20), two.take(500, 5)
    await gateway.round()
    assert not refused.done()  # it may cost less than it holds
    one.settle(await first, 990)
    for _ in range(4):
        await gateway.round()
    with pytest.raises(BudgetExceeded) as caught:
        await refused
    assert caught.value.status == 422
    assert (await shortened).amount == 10
    assert two.key.spent == 990
    with pytest.raises(BudgetExceeded):
        await two.take(500, 20)


async def test_a_call_behind_others_leases_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    two.budgets._wait_s_max = 0.0
    first = one.take(LIMIT)
    await settled()
    await gateway.round()
    await first
    with pytest.raises(RateLimited):
        await two.take(10)


async def test_without_storage_what_is_leased_is_spent_to_the_end_then_calls_are_refused_as_unavailable() -> None:
    gateway = Gateway()
    one, _ = await gateway.start()
    first = one.take(10)
    await settled()
    await gateway.round()
    hold = await first
    assert one.key.lease is not None
    rest = one.key.lease.room
    gateway.storage.break_down()
    taken = await one.take(rest)
    waits = one.take(8)
    await settled()
    await one.budgets.ask()
    await settled()
    assert not waits.done()  # calls in flight will leave something
    one.settle(hold, 1)
    one.settle(taken, rest)
    assert (await waits).amount == 8
    refused = one.take(10)
    await settled()
    gateway.clock.advance(1)
    await one.budgets.ask()
    one.settle(await waits, 9)
    gateway.clock.advance(1)
    await one.budgets.ask()
    with pytest.raises(Unavailable):
        await refused
    gateway.storage.recover()
    again = one.take(10)
    await settled()
    await gateway.round()
    assert (await again).amount == 10


async def test_a_lease_of_no_use_goes_back_by_itself() -> None:
    gateway = Gateway()
    one, _ = await gateway.start()
    first = one.take(10)
    await settled()
    await gateway.round()
    one.settle(await first, 4)
    await one.drain()
    assert gateway.storage.leases.outstanding("key", KEY) > 0
    for _ in range(IDLE_LOOKS_MAX + 2):
        await one.budgets.look()
    assert gateway.storage.leases.outstanding("key", KEY) == 0
    assert one.budgets._in_hand == set()


async def test_a_new_period_needs_a_new_lease_and_calls_count_to_the_one_they_began_in() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    reset = gateway.clock.now() + 60
    for worker in (one, two):
        worker.key.resets_at, worker.key.next_reset = reset, lambda now: (now // 60 + 1) * 60
    first = one.take(900)
    await settled()
    await gateway.round()
    hold = await first
    gateway.clock.advance(200)  # three periods on
    second = two.take(900)
    await settled()
    await gateway.round()
    one.settle(hold, 900)
    third = one.take(100)
    await settled()
    await gateway.round()
    two.settle(await second, 900)
    assert (await third).amount == 100
    await gateway.round()
    assert one.key.period_start_us == two.key.period_start_us == int(reset + 120) * 1_000_000
    assert await gateway.spent() == 900
    record = await gateway.storage.keys.get(TOKEN)
    assert record is not None
    assert record.total_spend_nano == 1800


async def test_a_worker_whose_clock_is_behind_takes_over_the_period_that_others_began() -> None:
    gateway = Gateway()
    one, _ = await gateway.start()
    await gateway.storage.keys.roll_budget(TOKEN, 1_800_000_060_000_000, None)
    one.key.resets_at, one.key.next_reset = 1_800_000_060.0, lambda now: (now // 60 + 1) * 60
    first = one.take(10)
    await settled()
    await gateway.round()
    await gateway.round()
    assert (await first).amount == 10
    assert (one.key.period_start_us, one.key.resets_at) == (1_800_000_060_000_000, 1_800_000_120.0)


async def test_a_lowered_limit_and_spend_set_by_hand_are_obeyed_after_a_refresh() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    first = one.take(100)
    await settled()
    await gateway.round()
    one.settle(await first, 100)
    for worker in (one, two):
        worker.key.limit = 300
        await gateway.storage.keys.update(TOKEN, {"spend_nano": 250}, now_us=1)
        await worker.budgets.refresh({("key", KEY): Spent("key", KEY, 250, 250)})
    assert one.key.spent == 350  # the 100 are not stored yet
    assert two.key.spent == 250
    assert one.key.lease is not None
    assert one.key.lease.room == 0
    with pytest.raises(BudgetExceeded):
        await two.take(100, 60)


async def test_the_task_asks_looks_and_ends() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    wanted: list[str] = []
    for worker in (one, two):
        worker.budgets._monotonic = asyncio.get_running_loop().time
        worker.budgets.open(worker.budgets._accounts, lambda: wanted.append("drain"))
    hold = await one.take(10)
    one.settle(hold, 10)
    assert (await two.take(LIMIT - 10)).amount == LIMIT - 10
    assert wanted == ["drain"]
    for worker in (one, two):
        await worker.budgets.close()


async def test_what_others_spent_of_a_budget_without_a_limit_is_known_after_a_refresh() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    for worker in (one, two):
        worker.settle(worker.budgets.charge_only(worker.accounts), 10)
        await worker.drain()
    one.settle(one.budgets.charge_only(one.accounts), 5)
    for worker in (one, two):
        await worker.budgets.refresh()
    assert (one.everything.spent, two.everything.spent) == (25, 20)


async def test_who_spends_steadily_leases_for_a_minute_and_who_gives_back_begins_anew() -> None:
    gateway = Gateway(1, limit=1_000_000)
    (one,) = await gateway.start()
    for _ in range(800):  # four calls of 10 a second
        taken = one.take(10)
        await settled()
        await one.budgets.ask()
        one.settle(await taken, 10)
        gateway.clock.advance(0.25)
    lease = one.key.lease
    assert lease is not None
    assert 2 * SLICE_CALLS * 10 < lease.slice <= SLICE_S * 40 + 100
    assert lease.low > 20 * 40  # it asks while there is enough for twenty seconds
    await one.drain()
    everything = LeaseWant(
        scope="key", id=KEY, period_start_us=0, limit_nano=1_000_000, granted_nano=0, least_nano=992_000, more_nano=0
    )
    await gateway.storage.leases.lease(2, [everything], workers=1)  # another one wants all that is left
    await one.budgets.look()
    assert (lease.slice, lease.room) == (0, 0)


async def test_what_calls_hold_that_began_without_a_limit_is_known_to_the_others_once_there_is_one() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    for worker in (one, two):
        worker.key.limit = None
    holds = [await one.take(400), await one.take(300)]
    for worker in (one, two):
        worker.key.limit = LIMIT
    await one.budgets.refresh()
    await one.budgets.ask()
    assert gateway.storage.leases.outstanding("key", KEY) == 700
    waiting = two.take(400)
    await settled()
    await two.budgets.ask()
    await settled()
    assert not waiting.done()
    for hold in holds:
        one.settle(hold, 100)
    for _ in range(3):
        await gateway.round()
    assert (await waiting).amount == 400


async def test_what_cost_more_than_was_leased_is_known_to_the_others_before_it_is_stored() -> None:
    gateway = Gateway()
    one, _ = await gateway.start()
    taken = one.take(100)
    await settled()
    await gateway.round()
    one.settle(await taken, 600)
    assert one.key.lease is not None
    one.budgets._need(one.key, 0)
    gateway.clock.advance(AGAIN_S_MAX)
    await one.budgets.ask()
    assert gateway.storage.leases.outstanding("key", KEY) >= 600


async def test_without_storage_calls_may_be_told_to_go_on_beyond_what_is_leased() -> None:
    gateway = Gateway()
    one, two = await gateway.start()
    one.budgets.unleased_when_away = True
    gateway.storage.break_down()
    waiting = [one.take(100) for _ in range(3)]
    await settled()
    await one.budgets.ask()
    holds = [await task for task in waiting]
    assert [hold.amount for hold in holds] == [100, 100, 100]
    one.settle(holds[0], 40)
    gateway.storage.recover()
    gateway.clock.advance(AGAIN_S_MAX)
    await one.budgets.refresh()
    await one.budgets.ask()
    assert gateway.storage.leases.outstanding("key", KEY) >= 240  # what is held still, and what is not stored yet
    with_it = two.take(900, 900)
    await settled()
    await gateway.round()
    assert not with_it.done()
    for hold in holds[1:]:
        one.settle(hold, 10)
    for _ in range(4):
        await gateway.round()
    assert (await with_it).amount == 900


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 2), st.integers(1, 400), st.integers(1, 400)),
        st.tuples(st.just("settle"), st.integers(0, 2), st.integers(0, 100), st.integers(0, 10)),
        st.tuples(
            st.sampled_from(["ask", "look", "drain", "tick", "cancel"]), st.integers(0, 2), st.just(0), st.just(0)
        ),
    ),
    max_size=60,
)


class Play:
    """Calls of several workers in any order, watched after each step."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.waiting: list[tuple[Worker, asyncio.Task[Hold], int]] = []
        self.holding: list[tuple[Worker, Hold]] = []
        self.charged = 0

    async def step(self, action: str, worker: Worker, size: int, more: int) -> None:
        if action == "take":
            self.waiting.append((worker, worker.take(max(size, more), min(size, more)), min(size, more)))
        elif action == "settle" and self.holding:
            self.settle(more % len(self.holding), size)
        elif action == "cancel" and self.waiting:
            self.waiting[0][1].cancel()
        elif action == "ask":
            await worker.budgets.ask()
        elif action == "look":
            await worker.budgets.look()
        elif action == "drain":
            await worker.drain()
        elif action == "tick":
            self.gateway.clock.advance(AGAIN_S_MAX)
        await self.look_over()

    def settle(self, place: int, percent: int) -> None:
        worker, hold = self.holding.pop(place)
        self.charged += hold.amount * percent // 100
        worker.settle(hold, hold.amount * percent // 100)

    async def look_over(self) -> None:
        await settled()
        for one in [one for one in self.waiting if one[1].done()]:
            self.waiting.remove(one)
            self.ended(*one)
        held = sum(hold.amount for _, hold in self.holding)
        assert self.charged + held <= LIMIT
        assert await self.gateway.spent() + self.gateway.storage.leases.outstanding("key", KEY) <= LIMIT

    def ended(self, worker: Worker, task: asyncio.Task[Hold], least: int) -> None:
        if task.cancelled():
            return
        if task.exception() is None:
            assert task.result().amount >= least
            self.holding.append((worker, task.result()))
        else:
            assert isinstance(task.exception(), BudgetExceeded)
            assert LIMIT - self.charged < least, "it would have fitted"

    async def to_the_end(self) -> None:
        for _ in range(400):
            if not self.waiting and not self.holding:
                break
            while self.holding:
                self.settle(0, 50)
            await self.gateway.round()
            await self.look_over()
        assert not self.waiting
        for _ in range(IDLE_LOOKS_MAX + 2):
            await self.gateway.round()


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS)
def test_no_interleaving_of_three_workers_exceeds_the_budget_or_refuses_what_would_have_fitted(
    actions: list[tuple[str, int, int, int]],
) -> None:
    async def run() -> None:
        gateway = Gateway(3)
        workers = await gateway.start()
        play = Play(gateway)
        for action, index, size, more in actions:
            await play.step(action, workers[index], size, more)
        await play.to_the_end()
        assert await gateway.spent() == play.charged
        assert gateway.storage.leases.outstanding("key", KEY) == 0
        assert all(account.held == 0 for worker in workers for account in worker.accounts)

    asyncio.run(run())
