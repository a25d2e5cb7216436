from __future__ import annotations

import asyncio

import pytest

from tollway.ledger import raises as module
from tollway.ledger.budgets import Account
from tollway.ledger.raises import Raises
from tollway.testing import FakeClock


def an_account(limit: int = 10) -> Account:
    return Account("key", "a", label="", limit=limit)


def test_a_limit_is_raised_until_its_moment_and_comes_back_at_it() -> None:
    clock, account = FakeClock(), an_account()
    raises = Raises(wall=clock.now)
    raises.begin(account, 10, by=5, until=clock.now() + 60)
    assert account.limit == 15
    clock.advance(59.9)
    assert not raises.end()
    assert account.limit == 15
    clock.advance(0.1)
    assert raises.end()
    assert account.limit == 10
    account.limit = 12  # changed by hand since: it is not ours any more
    assert not raises.end()
    assert account.limit == 12


def test_what_is_over_already_raises_nothing_and_ends_what_was_said_before() -> None:
    clock, account = FakeClock(), an_account()
    raises = Raises(wall=clock.now)
    raises.begin(account, 10, by=5, until=clock.now() + 60)
    raises.begin(account, 10, by=5, until=clock.now())
    assert account.limit == 10
    clock.advance(60)
    assert not raises.end()


def test_another_raise_takes_the_place_of_the_one_before() -> None:
    clock, account = FakeClock(), an_account()
    raises = Raises(wall=clock.now)
    raises.begin(account, 10, by=5, until=clock.now() + 60)
    raises.begin(account, 20, by=1, until=clock.now() + 90)
    assert account.limit == 21
    clock.advance(60)
    assert not raises.end()
    clock.advance(30)
    assert raises.end()
    assert account.limit == 20


def test_a_raise_that_is_forgotten_changes_nothing_later() -> None:
    clock, account = FakeClock(), an_account()
    raises = Raises(wall=clock.now)
    raises.begin(account, 10, by=5, until=clock.now() + 60)
    raises.forget(account)
    account.limit = 99
    clock.advance(60)
    assert not raises.end()
    assert account.limit == 99


async def test_it_looks_by_itself_and_tells_when_limits_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    clock, account, told = FakeClock(), an_account(), asyncio.Event()
    raises = Raises(wall=clock.now)
    raises.open(told.set)
    try:
        raises.begin(account, 10, by=5, until=clock.now() + 60)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not told.is_set()
        clock.advance(60)
        async with asyncio.timeout(5):
            await told.wait()
        assert account.limit == 10
    finally:
        await raises.close()
