from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.errors import BudgetExceeded, PublicError, RateLimited
from tollway.ledger.budgets import NEVER, Account, Budgets, Hold, Holds
from tollway.testing import FakeClock

WAIT_S_MAX = 0.02


def budgets(clock: FakeClock, wait_s_max: float = 10.0) -> Budgets:
    return Budgets(wait_s_max=wait_s_max, clock=clock.now)


def account(limit: int | None, id: str = "a") -> Account:
    return Account("key", id, label=f"Key={id}", limit=limit)


async def settle_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def waiting(kept: Budgets, accounts: Sequence[Account], wanted: int, least: int = 1) -> asyncio.Task[Hold]:
    task = asyncio.create_task(kept.take(accounts, wanted, least))
    await settle_loop()
    return task


async def test_a_hold_is_set_aside_in_every_account_and_settled_once() -> None:
    clock = FakeClock()
    key, team = account(100), account(50, "t")
    hold = await budgets(clock).take([key, team], 30, 10)
    assert (key.held, team.held, key.spent) == (30, 30, 0)
    assert hold.settle(12, clock.now()) == [("key", "a", 0, 12), ("key", "t", 0, 12)]
    assert (key.held, team.held, key.spent, team.spent, team.total) == (0, 0, 12, 12, 12)
    assert hold.settle(12, clock.now()) == []
    assert key.spent == 12


async def test_what_was_added_to_a_hold_lets_nobody_in_before_the_cost_is_charged() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(10)
    holds = Holds(await kept.take([key], 4, 4))
    more = kept.add_now([key], 4, clock.now())
    assert more is not None
    holds.add(more, clock.now())
    behind = await waiting(kept, [key], 4, least=4)
    assert holds.settle(8, clock.now()) == [("key", "a", 0, 8)]
    assert (key.spent, key.held) == (8, 0)
    with pytest.raises(BudgetExceeded):
        await behind


async def test_what_is_added_to_a_hold_that_was_settled_meanwhile_is_given_back() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(10)
    holds = Holds(await kept.take([key], 4, 4))
    assert holds.settle(3, clock.now()) == [("key", "a", 0, 3)]
    holds.add(await kept.take([key], 5, 5), clock.now())
    assert (key.spent, key.held) == (3, 0)
    assert holds.settle(3, clock.now()) == []
    assert (key.spent, key.held) == (3, 0)


async def test_a_hold_is_shortened_to_what_is_left_but_never_under_the_least() -> None:
    clock = FakeClock()
    key = account(100)
    key.spent = 70
    hold = await budgets(clock).take([key], 64_000, 20)
    assert hold.amount == 30
    hold.settle(15, clock.now())
    with pytest.raises(BudgetExceeded, match=r"Current cost: 8\.5e-08, Max budget: 1e-07\. The shortest answer") as no:
        await budgets(clock).take([key], 64_000, 16)
    assert no.value.status == 422
    assert not no.value.retryable_by_client


async def test_what_is_billed_above_the_hold_is_charged_in_full() -> None:
    clock = FakeClock()
    key = account(100)
    hold = await budgets(clock).take([key], 40, 10)
    hold.settle(140, clock.now())
    assert (key.spent, key.held) == (140, 0)
    with pytest.raises(BudgetExceeded):
        await budgets(clock).take([key], 1, 1)


async def test_a_call_that_only_other_holds_block_waits_and_those_waiting_are_let_in_in_their_order() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(100)
    first = await kept.take([key], 100, 1)
    tasks = [await waiting(kept, [key], 40) for _ in range(4)]
    assert not any(task.done() for task in tasks)
    first.settle(10, clock.now())
    await settle_loop()
    assert [task.done() for task in tasks] == [True, True, False, False]
    assert key.held == 80
    (await tasks[0]).settle(40, clock.now())
    await settle_loop()
    assert [task.done() for task in tasks] == [True, True, False, False]  # 50 + 40 are taken: ten are left
    (await tasks[1]).settle(0, clock.now())
    await settle_loop()
    assert tasks[2].done()
    assert not tasks[3].done()
    (await tasks[2]).settle(0, clock.now())
    (await tasks[3]).settle(0, clock.now())
    assert (key.held, key.spent) == (0, 50)


async def test_who_comes_later_does_not_overtake_those_who_wait_even_if_it_wants_less() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(100)
    first = await kept.take([key], 60, 1)
    large = await waiting(kept, [key], 90, 90)
    small = await waiting(kept, [key], 10)
    assert not small.done()
    first.settle(0, clock.now())
    await settle_loop()
    assert large.done()
    assert small.done()


async def test_a_call_is_refused_at_once_when_what_is_spent_leaves_no_room_also_while_others_wait() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(100)
    key.spent = 50
    first = await kept.take([key], 50, 1)
    other = await waiting(kept, [key], 10, 1)
    with pytest.raises(BudgetExceeded):
        await kept.take([key], 90, 60)
    assert not other.done()
    first.settle(0, clock.now())
    (await other).settle(0, clock.now())


async def test_waiting_has_an_end_and_says_when_to_come_back() -> None:
    clock = FakeClock()
    kept, key = budgets(clock, WAIT_S_MAX), account(100)
    hold = await kept.take([key], 100, 1)
    with pytest.raises(RateLimited, match=r"set aside for calls in flight.*set aside: 1e-07") as late:
        await kept.take([key], 10, 1)
    assert late.value.status == 429
    assert late.value.headers == ((b"retry-after", b"1"),)
    hold.settle(0, clock.now())
    assert key.held == 0
    assert (await kept.take([key], 10, 1)).amount == 10


async def test_who_gives_up_or_leaves_makes_room_for_those_behind_who_want_less() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(100)
    await kept.take([key], 60, 1)
    large = await waiting(kept, [key], 80, 80)
    small = await waiting(kept, [key], 30)
    large.cancel()
    await settle_loop()
    assert (await asyncio.wait_for(small, 30)).amount == 30

    impatient, key = budgets(clock, WAIT_S_MAX), account(100)
    await impatient.take([key], 60, 1)
    large = await waiting(impatient, [key], 80, 80)
    impatient.change(wait_s_max=300.0, exceeded_status=422)  # who came later gives up later
    small = await waiting(impatient, [key], 30)
    with pytest.raises(RateLimited):
        await large
    assert (await asyncio.wait_for(small, 30)).amount == 30


async def test_a_call_cancelled_in_the_moment_it_is_let_in_gives_its_hold_back() -> None:
    clock = FakeClock()
    kept, key = budgets(clock), account(100)
    first = await kept.take([key], 100, 1)
    second = await waiting(kept, [key], 100)
    third = await waiting(kept, [key], 100)
    first.settle(0, clock.now())
    second.cancel()
    await settle_loop()
    assert second.cancelled()
    (await asyncio.wait_for(third, 30)).settle(0, clock.now())
    assert key.held == 0


async def test_a_call_that_another_account_blocks_waits_there() -> None:
    clock = FakeClock()
    kept, key, team = budgets(clock), account(100), account(100, "t")
    of_team = await kept.take([team], 100, 1)
    of_key = await kept.take([key], 100, 1)
    task = await waiting(kept, [key, team], 50)
    of_key.settle(0, clock.now())
    await settle_loop()
    assert not task.done()
    alone = await kept.take([key], 100, 1)
    of_team.settle(0, clock.now())
    await settle_loop()
    assert not task.done()
    alone.settle(0, clock.now())
    (await asyncio.wait_for(task, 30)).settle(1, clock.now())
    assert (key.spent, team.spent, key.held, team.held) == (1, 1, 0, 0)


async def test_a_new_period_starts_with_nothing_spent_and_is_named_by_the_old_ones_end() -> None:
    clock = FakeClock(now=1_800_000_000.0)
    key = account(100)
    key.resets_at, key.next_reset = 1_800_000_060.0, lambda now: now // 60 * 60 + 60
    hold = await budgets(clock).take([key], 100, 1)
    clock.advance(61)
    # What was held in the old period still counts; what it cost counts in the one it ends in.
    assert hold.settle(30, clock.now()) == [("key", "a", 1_800_000_060_000_000, 30)]
    assert (key.spent, key.total, key.resets_at) == (30, 30, 1_800_000_120.0)


async def test_a_reset_lets_waiting_calls_in_before_they_give_up() -> None:
    clock = FakeClock()
    kept, key = budgets(clock, WAIT_S_MAX), account(100)
    key.spent, key.resets_at, key.next_reset = 50, clock.now() + 1, lambda now: NEVER
    await kept.take([key], 50, 1)
    task = await waiting(kept, [key], 50, 50)
    clock.advance(2)
    assert (await asyncio.wait_for(task, 30)).amount == 50


STEPS = st.lists(st.integers(0, 1 << 30), min_size=5, max_size=60)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.lists(st.integers(0, 300), min_size=1, max_size=3))
def test_spent_and_held_never_exceed_a_limit_whatever_happens_in_whatever_order(
    steps: list[int], limits: list[int]
) -> None:
    asyncio.run(_interleave(steps, limits))


class Interleaving:
    """Takes, waits, settles, cancels, resets and changed limits, by numbers; watches the limits all the while."""

    def __init__(self, limits: list[int]) -> None:
        self.clock = FakeClock()
        self.budgets = budgets(self.clock)
        self.accounts = [account(limit, str(number)) for number, limit in enumerate(limits)]
        for each in self.accounts:
            each.resets_at, each.next_reset = self.clock.now() + 10, lambda now: now // 10 * 10 + 10
        self.tasks: list[asyncio.Task[Hold]] = []
        self.holds: list[Hold] = []
        self.lowered: set[str] = set()  # under what is spent or held already: nothing more is granted, that is all

    async def step(self, random: Random) -> None:
        what = random.randrange(10)
        if what < 5:
            chosen = random.sample(self.accounts, random.randint(1, len(self.accounts)))
            wanted = random.randint(1, 120)
            taking = self.budgets.take(chosen, wanted, random.randint(1, wanted))
            self.tasks.append(asyncio.create_task(taking))
        elif what < 7 and self.holds:
            hold = self.holds.pop(random.randrange(len(self.holds)))
            hold.settle(random.randint(0, hold.amount), self.clock.now())
        elif what == 7 and self.tasks:
            random.choice(self.tasks).cancel()
        elif what == 8:
            self.clock.advance(random.randint(0, 6))
        elif what == 9:
            self.change_limit(random.choice(self.accounts), random.randint(0, 300))
        for _ in range(random.randint(0, 3)):
            await asyncio.sleep(0)
        self.gather()
        for each in self.accounts:
            assert each.held >= 0
            if each.limit is not None and each.id not in self.lowered:
                assert each.spent + each.held <= each.limit

    def change_limit(self, changed: Account, limit: int) -> None:
        if limit < changed.spent + changed.held:
            self.lowered.add(changed.id)
        changed.limit = limit
        self.budgets.let_in(changed, self.clock.now())

    def gather(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if task.cancelled():
                continue
            if task.exception() is None:
                self.holds.append(task.result())
            else:
                assert isinstance(task.exception(), PublicError)

    async def end(self, rounds: int) -> None:
        for _ in range(rounds):
            await settle_loop()
            self.gather()
            while self.holds:
                self.holds.pop().settle(0, self.clock.now())


async def _interleave(steps: list[int], limits: list[int]) -> None:
    all_of_it = Interleaving(limits)
    for step in steps:
        await all_of_it.step(Random(step))
    await all_of_it.end(len(steps) + 5)
    assert all_of_it.tasks == []
    assert [each.held for each in all_of_it.accounts] == [0] * len(limits)
    assert not any(waiter for each in all_of_it.accounts for waiter in each.waiters if not waiter.future.done())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=40), st.integers(40, 200))
def test_nobody_is_refused_who_would_have_fitted_once_the_others_were_settled(
    calls: list[tuple[int, int]], limit: int
) -> None:
    """First come, first served: the outcome is that of serving the same calls one after the other."""

    async def at_once() -> list[bool]:
        clock = FakeClock()
        kept, key = budgets(clock), account(limit)

        async def one(wanted: int, cost: int) -> bool:
            try:
                hold = await kept.take([key], wanted, wanted)
            except BudgetExceeded:
                return False
            await asyncio.sleep(0)
            hold.settle(min(cost, wanted), clock.now())
            return True

        served = list(await asyncio.gather(*[one(*call) for call in calls]))
        assert key.held == 0
        assert key.spent <= limit
        return served

    served = asyncio.run(at_once())
    spent = sum(min(cost, wanted) for (wanted, cost), was in zip(calls, served, strict=True) if was)
    for (wanted, _), was in zip(calls, served, strict=True):
        if not was:
            assert spent + wanted > limit
