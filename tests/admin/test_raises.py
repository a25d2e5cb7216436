"""Budgets of keys that are raised for a time, through the whole gateway: `temp_budget_increase` until `temp_budget_expiry`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tollway.app import WorkerPlace, create_app
from tollway.config.settings import Config, MoneySettings
from tollway.testing.gateway import SmallGateway, chat_reply

from .test_people import Manager

#: What a call of `Manager.call` costs, in dollars, and how that is held.
CALL_USD, CALL = 0.001, 1_000_000
HOUR_S = 3600.0


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    async with SmallGateway(tmp_path) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Manager(gateway)


def in_s(manage: Manager, s: float) -> str:
    return datetime.fromtimestamp(manage.gateway.clock.now() + s, UTC).isoformat()


async def raised(manage: Manager, key: str, usd: float | None, expiry: str | None, **asked: Any) -> Any:
    fields = {"key": key, "temp_budget_increase": usd, "temp_budget_expiry": expiry}
    return await manage("POST /key/update", fields, **asked)


async def test_a_key_spends_its_budget_and_the_increase_until_that_is_over(manage: Manager) -> None:
    key = (await manage("POST /key/generate", {"max_budget": CALL_USD}))["key"]
    assert [await manage.call(key), await manage.call(key)] == [200, 422]
    await raised(manage, key, 2 * CALL_USD, in_s(manage, HOUR_S))
    answer = await manage.gateway.ask(key=key, max_tokens=250)
    assert (answer.status, answer.headers["x-litellm-key-max-budget"]) == (200, "0.003000000")
    manage.gateway.clock.advance(HOUR_S)
    assert manage.gateway.app.raises.end()  # as it does by itself, twice a second
    refused = await manage.gateway.ask(key=key, max_tokens=250)
    assert refused.status == 422
    assert "Max budget: 0.001" in refused.json()["error"]["message"]
    assert manage.gateway.account(key).limit == CALL


async def test_an_increase_is_shown_in_the_metadata_and_the_budget_stays_what_it_was(manage: Manager) -> None:
    key = (await manage("POST /key/generate", {"max_budget": 1, "metadata": {"a": "b"}}))["key"]
    expiry = in_s(manage, HOUR_S)
    updated = await raised(manage, key, 0.5, expiry)
    info = (await manage("GET /key/info", key=key))["info"]
    for shown in (updated, info):
        assert shown["max_budget"] == 1.0
        assert shown["metadata"] == {"a": "b", "temp_budget_increase": 0.5, "temp_budget_expiry": expiry}
    await raised(manage, key, None, None)
    assert (await manage("GET /key/info", key=key))["info"]["metadata"] == {"a": "b"}
    assert manage.gateway.account(key).limit == 1_000_000_000


@pytest.mark.parametrize(
    ("written", "s"),
    [("10d", 10 * 86_400.0), ("2100-01-01", None), ("2100-01-01T00:00:00", None), ("2100-01-01T01:00:00+01:00", None)],
)
async def test_an_increase_ends_at_a_moment_or_after_a_duration(manage: Manager, written: str, s: float | None) -> None:
    key = (await manage("POST /key/generate", {"max_budget": 1}))["key"]
    await raised(manage, key, 1, written)
    shown = (await manage("GET /key/info", key=key))["info"]["metadata"]["temp_budget_expiry"]
    assert shown == ("2100-01-01T00:00:00+00:00" if s is None else in_s(manage, s))


@pytest.mark.parametrize(
    ("usd", "expiry", "param"),
    [
        (1, None, "temp_budget_expiry"),
        (None, "1d", "temp_budget_increase"),
        (1, "soon", "temp_budget_expiry"),
        (1, "2020-01-01", "temp_budget_expiry"),
        (1, "9999-12-31T23:59:59-23:59", "temp_budget_expiry"),
        (-1, "1d", "temp_budget_increase"),
    ],
)
async def test_what_would_raise_nothing_is_refused(
    manage: Manager, usd: float | None, expiry: str | None, param: str
) -> None:
    key = (await manage("POST /key/generate", {"max_budget": 1}))["key"]
    assert (await raised(manage, key, usd, expiry, status=400))["error"]["param"] == param
    assert manage.gateway.account(key).limit == 1_000_000_000


async def test_a_key_without_a_budget_has_nothing_to_raise(manage: Manager) -> None:
    key = (await manage("POST /key/generate"))["key"]
    assert (await raised(manage, key, 1, "1d", status=400))["error"]["param"] == "temp_budget_increase"
    both = {"key": key, "max_budget": 1, "temp_budget_increase": 1, "temp_budget_expiry": "1d"}
    await manage("POST /key/update", both)
    assert manage.gateway.account(key).limit == 2_000_000_000
    await manage("POST /key/update", {"key": key, "max_budget": None})
    assert manage.gateway.account(key).limit is None


async def test_the_budget_that_a_key_names_is_raised_for_it_alone(manage: Manager) -> None:
    await manage("POST /budget/new", {"budget_id": "b", "max_budget": 1})
    one, other = [(await manage("POST /key/generate", {"budget_id": "b"}))["key"] for _ in range(2)]
    await raised(manage, one, 1, "1d")
    assert [manage.gateway.account(key).limit for key in (one, other)] == [2_000_000_000, 1_000_000_000]


async def test_making_and_replacing_a_key_take_no_increase_anywhere(manage: Manager) -> None:
    fields = {"temp_budget_increase": 1, "temp_budget_expiry": "1d"}
    key = (await manage("POST /key/generate", {"max_budget": 1}))["key"]
    for route, more in (("POST /key/generate", {"max_budget": 1}), ("POST /key/regenerate", {"key": key})):
        for asked in (fields, {"metadata": fields}):
            error = (await manage(route, {**more, **asked}, status=400))["error"]
            assert error["param"] in fields
            assert "/key/update" in error["message"]


async def test_an_increase_stays_with_a_key_that_gets_another_text(manage: Manager) -> None:
    key = (await manage("POST /key/generate", {"max_budget": CALL_USD}))["key"]
    await raised(manage, key, CALL_USD, in_s(manage, HOUR_S))
    new = (await manage("POST /key/regenerate", {"key": key}))["key"]
    assert manage.gateway.account(new).limit == 2 * CALL
    manage.gateway.clock.advance(HOUR_S)
    manage.gateway.app.raises.end()
    assert manage.gateway.account(new).limit == CALL


async def test_metadata_written_back_as_it_was_shown_changes_no_increase(manage: Manager) -> None:
    key = (await manage("POST /key/generate", {"max_budget": CALL_USD}))["key"]
    await raised(manage, key, CALL_USD, in_s(manage, HOUR_S))
    shown = (await manage("GET /key/info", key=key))["info"]["metadata"]
    for s, limit in ((0.0, 2 * CALL), (HOUR_S, CALL)):
        manage.gateway.clock.advance(s)
        await manage("POST /key/update", {"key": key, "metadata": {**shown, "a": "b"}})
        assert manage.gateway.account(key).limit == limit
        assert (await manage("GET /key/info", key=key))["info"]["metadata"] == {**shown, "a": "b"}
    other = {**shown, "temp_budget_expiry": in_s(manage, HOUR_S)}
    await manage("POST /key/update", {"key": key, "metadata": other})
    assert manage.gateway.account(key).limit == 2 * CALL
    for wrong in ({"temp_budget_increase": "much", "temp_budget_expiry": "1d"}, {"temp_budget_expiry": 5}):
        assert (await manage("POST /key/update", {"key": key, "metadata": wrong}, status=400))["error"]["param"]


async def test_no_increase_goes_above_the_bound_of_all_keys(tmp_path: Path) -> None:
    config = Config(money=MoneySettings(upperbound_key_params={"max_budget": 2}))
    async with SmallGateway(tmp_path, config=config) as gateway:
        manage = Manager(gateway)
        key = (await manage("POST /key/generate", {"max_budget": 1}))["key"]
        assert (await raised(manage, key, 1.5, "1d", status=400))["error"]["param"] == "temp_budget_increase"
        await raised(manage, key, 1, "1d")
        for route in ("POST /key/update", "POST /key/regenerate"):
            await manage(route, {"key": key, "max_budget": 1.5}, status=400)
        assert gateway.account(key).limit == 2_000_000_000
        gateway.clock.advance(86_400)
        await manage("POST /key/update", {"key": key, "max_budget": 1.5})
        assert gateway.account(key).limit == 1_500_000_000


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[list[Manager]]:
    """Two workers of one gateway, each asked by itself; they share what is stored, and the clock."""
    front = SmallGateway(tmp_path)
    front.upstream.reply_to(None, chat_reply())
    asking = []
    for index in range(2):
        one = SmallGateway(tmp_path, storage=front.storage, upstream=front.upstream, clock=front.clock)
        one.app = create_app(
            front.config,
            worker=WorkerPlace(index, 2),
            upstream=front.upstream,
            storage=front.storage,
            wall=front.clock.now,
        )
        await one.app.open()
        asking.append(Manager(one))
    yield asking
    for manage in asking:
        await manage.gateway.app.close()


async def test_every_worker_raises_the_limit_and_takes_it_back_by_itself(workers: list[Manager]) -> None:
    one, other = workers
    key = (await one("POST /key/generate", {"max_budget": 2 * CALL_USD}))["key"]
    await becomes(lambda: bool(other.gateway.app.ledger.accounts.get(("key", one.gateway.account(key).id))))
    assert [await manage.call(key) for manage in (one, other, one)] == [200, 200, 422]
    await raised(one, key, 4 * CALL_USD, in_s(one, HOUR_S))
    await limit_becomes(other, key, 6 * CALL)
    assert [await manage.call(key) for manage in (one, other)] == [200, 200]
    one.gateway.clock.advance(HOUR_S)
    for manage in workers:  # nobody tells them
        await limit_becomes(manage, key, 2 * CALL)
    assert [await manage.call(key) for manage in workers] == [422, 422]


async def limit_becomes(manage: Manager, key: str, nano: int) -> None:
    await becomes(lambda: manage.gateway.account(key).limit == nano)


async def becomes(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)
