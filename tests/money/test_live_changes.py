"""What others change while the gateway runs is obeyed within two seconds: prices of finished calls, spend, settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tollway.app import App, WorkerPlace, create_app
from tollway.config.settings import Config, MoneySettings
from tollway.ledger.repricing import recharged
from tollway.pricing.catalog import custom_price
from tollway.storage import SpendFilter, Storage, open_storage
from tollway.storage.people import TEAM_SCOPE, Limits, Team
from tollway.storage.record import decode_record, encode_record
from tollway.testing.gateway import SmallGateway, chat_reply, chat_stream
from tollway.testing.machine import slowness
from tollway.testing.upstream import Gate

CALL = 1_000_000
SECONDS_MAX = 2.0


async def becomes(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX * slowness()):
        while not true():
            await asyncio.sleep(0.01)


async def charge_again(storage: Storage, usd_per_token: str) -> int:
    """As `tollway reprice --apply` does, which is another program on the same storage."""
    price = custom_price({"input_cost_per_token": "0", "output_cost_per_token": usd_per_token}, None)
    assert price is not None
    changes = []
    for row in await storage.spend.page(SpendFilter(), limit=100):
        again = recharged(decode_record(row.detail), price)
        assert again is not None
        changes.append((row, (again, encode_record(again))))
    return await storage.spend.reprice(changes)


async def test_calls_that_are_charged_again_count_so_at_once_with_those_that_are_not_stored_yet(tmp_path: Path) -> None:
    other_program = await open_storage(tmp_path / "tollway.db")
    await other_program.people.teams.create(Team(id="t", limits=Limits(max_budget_nano=20 * CALL)))
    async with SmallGateway(tmp_path, storage=await open_storage(tmp_path / "tollway.db")) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        key = await gateway.make_key(max_budget_nano=10 * CALL, team_id="t")
        for _ in range(4):
            assert (await gateway.ask(key=key, max_tokens=250)).status == 200
        assert len(await gateway.records()) == 4
        account, team = gateway.account(key), gateway.app.ledger.accounts[TEAM_SCOPE, "t"]
        assert await charge_again(other_program, "0.000001") == 4
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200  # it may wait in memory when spend is read
        await becomes(lambda: account.spent == 2 * CALL)
        assert (team.spent, account.total, account.held) == (2 * CALL, 2 * CALL, 0)
        assert (await gateway.ask(key=key)).headers["x-litellm-key-spend"] == "0.003000000"
        await gateway.records()
        (stored,) = await gateway.storage.keys.load_all()
        assert stored.spend_nano == account.spent == 3 * CALL
    await other_program.close()


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_every_worker_and_host_takes_over_what_was_charged_again(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    where = request.getfixturevalue("postgres_url") if database == "postgres" else tmp_path / "tollway.db"
    other_program = await open_storage(where)
    front = SmallGateway(tmp_path)
    front.upstream.reply_to(None, chat_reply())
    apps: list[App] = []
    for index in range(2):
        storage = await open_storage(where)
        app = create_app(front.config, worker=WorkerPlace(index, 2), upstream=front.upstream, storage=storage)
        await app.open()
        apps.append(app)
    try:
        front.app, front.storage = apps[0], apps[0].storage
        key = await front.make_key(max_budget_nano=10 * CALL)
        await apps[1].keys_changed()
        for app in apps:
            front.app = app
            assert (await front.ask(key=key, max_tokens=250)).status == 200
            await app.ledger.flush()
        accounts = [next(one for one in app.ledger.accounts.values() if one.scope == "key") for app in apps]
        assert await charge_again(other_program, "0.000012") == 2
        await becomes(lambda: [account.spent for account in accounts] == [6 * CALL, 6 * CALL])
        front.app = apps[1]
        assert (await front.ask(key=key, max_tokens=1_000)).status == 200
        await apps[1].ledger.flush()
        (stored,) = await other_program.keys.load_all()
        assert stored.spend_nano == 7 * CALL
    finally:
        for app in apps:
            await app.close()
        await other_program.close()


async def test_spend_that_is_set_by_hand_loses_no_call_that_is_not_stored_yet(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        key = await gateway.make_key(max_budget_nano=10 * CALL)
        (record,) = await gateway.storage.keys.load_all()
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200
        await gateway.storage.keys.update(record.token, {"spend_nano": 5 * CALL}, now_us=1)
        await gateway.app.keys_changed()
        assert gateway.account(key).spent in (5 * CALL, 6 * CALL)  # as the call was stored before or after
        await gateway.records()
        (stored,) = await gateway.storage.keys.load_all()
        assert gateway.account(key).spent == stored.spend_nano


async def test_the_wait_for_others_holds_and_the_status_of_a_refusal_are_obeyed_after_a_reload(tmp_path: Path) -> None:
    config = Config(money=MoneySettings(hold_wait_s_max=300.0))
    async with SmallGateway(tmp_path, config=config) as gateway:
        key = await gateway.make_key(max_budget_nano=CALL)
        gate = Gate()
        gateway.upstream.reply_to(None, chat_stream("a", before_end=[gate]))
        running = gateway.begin(key=key, stream=True, max_tokens=250)
        while not gateway.upstream.requests:
            await asyncio.sleep(0)
        money = MoneySettings(hold_wait_s_max=0.01, budget_exceeded_status=402)
        await gateway.app.reload(replace(gateway.config, money=money))
        async with asyncio.timeout(30):
            assert (await gateway.ask(key=key, max_tokens=250)).status == 429
        gate.open()
        await running.done()
        refused = await gateway.ask(key=key, max_tokens=250)
        assert (refused.status, refused.json()["error"]["code"]) == (402, "402")
