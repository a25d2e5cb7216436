"""Gateways of several hosts on one PostgreSQL: what one changes, the others know; what one holds, it alone may spend."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tollway.app import App, create_app, prepare
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, StorageSettings
from tollway.ledger.leases import LeasedBudgets
from tollway.storage import KEY_SCOPE
from tollway.testing.machine import slowness

from .samples import a_key, token


async def a_gateway(url: str, folder: Path) -> App:
    folder.mkdir()
    config = Config(
        access=AccessSettings(master_key=Secret("sk-master-0123456789")),
        storage=StorageSettings(database_url=Secret(url), data_dir=str(folder)),
    )
    app = create_app(prepare(config).config)
    await app.open()
    return app


async def test_a_key_made_on_one_host_is_known_on_the_other_within_two_seconds(
    postgres_url: str, tmp_path: Path
) -> None:
    one, two = await a_gateway(postgres_url, tmp_path / "one"), await a_gateway(postgres_url, tmp_path / "two")
    await one.storage.keys.create(a_key("a", max_budget_nano=1_000))
    s_max = 2 * slowness()
    async with asyncio.timeout(s_max):
        while token("a") not in two.snapshots.current.keys:
            await asyncio.sleep(0.01)
    await two.storage.keys.delete([token("a")])
    async with asyncio.timeout(s_max):
        while token("a") in one.snapshots.current.keys:
            await asyncio.sleep(0.01)
    await one.close()
    await two.close()


async def test_two_hosts_share_one_budget_and_a_dead_ones_lease_counts_until_it_is_released(
    postgres_url: str, tmp_path: Path
) -> None:
    one, two = await a_gateway(postgres_url, tmp_path / "one"), await a_gateway(postgres_url, tmp_path / "two")
    assert isinstance(one.budgets, LeasedBudgets)
    assert isinstance(two.budgets, LeasedBudgets)
    await one.storage.keys.create(a_key("a", max_budget_nano=1_000))
    await one.keys_changed()
    await two.keys_changed()
    accounts = [app.ledger.accounts[KEY_SCOPE, token("a").hex()] for app in (one, two)]
    first = await one.budgets.take([accounts[0]], wanted=700, least=700)
    assert first.amount == 700
    (holder,) = await two.storage.leases.holders()
    assert (holder.epoch, holder.host, holder.outstanding_nano >= 700) == (
        one.ledger.epoch,
        socket.gethostname(),
        True,
    )
    waiting = asyncio.ensure_future(two.budgets.take([accounts[1]], wanted=700, least=700))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await two.storage.leases.end(one.ledger.epoch)  # an administrator says that it will not come back
    async with asyncio.timeout(30):
        second = await waiting
    assert second.amount == 700
    for app in (one, two):
        await app.close()
