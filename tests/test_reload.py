"""Another configuration while calls are under way: the app takes it whole, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from tollway.config.settings import BoundSettings, MoneySettings, RedisSettings, RoutingSettings, StorageSettings
from tollway.errors import ConfigError
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply, model_entry
from tollway.testing.upstream import Gate


async def test_a_call_under_way_ends_with_the_model_that_is_gone_by_then(gateway: SmallGateway) -> None:
    gate = Gate()
    gateway.upstream.reply_to(None, chat_reply("Hello", after=gate))
    running = gateway.begin()
    while not gateway.upstream.requests:
        await asyncio.sleep(0)
    found = await gateway.app.reload(replace(gateway.config, models=(model_entry("other"),)))
    assert (found.added, found.removed) == (("other",), ("small",))
    assert (await gateway.ask()).status == 400
    gate.open()
    answer = await running.done()
    assert (answer.status, answer.json()["choices"][0]["message"]["content"]) == (200, "Hello")
    assert len(await gateway.records()) == 2


async def test_one_that_cannot_be_bound_changes_nothing_and_tells_all_its_problems(gateway: SmallGateway) -> None:
    key = await gateway.make_key(rpm_limit=5)
    before, state = gateway.app.snapshots.current, gateway.app.config_state
    bad = replace(
        gateway.config,
        models=(
            model_entry("small", rpm=1),
            model_entry("bad", provider_model="no-such-provider/x", api_base=None, place="config.yaml:9"),
            model_entry("worse", api_base="ftp://x", place="config.yaml:12"),
        ),
        money=MoneySettings(max_budget_usd="0"),
        bounds=BoundSettings(parallel_max=1),
    )
    with pytest.raises(ConfigError) as error:
        await gateway.app.reload(bad)
    assert len(error.value.problems) == 2
    assert gateway.app.snapshots.current is before
    assert gateway.app.config is gateway.config
    assert before.models["small"].deployments[0].pace is None
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key)).status == 200
    gateway.app.refuse_config(error.value.problems)
    refused = gateway.app.config_state
    assert refused.refused == tuple(error.value.problems)
    assert refused.in_force_since == state.in_force_since
    gateway.clock.advance(5)
    await gateway.app.reload(gateway.config)
    assert gateway.app.config_state.refused == ()
    assert gateway.app.config_state.in_force_since == gateway.clock.now()


async def test_what_only_a_start_takes_up_stays_and_is_listed(gateway: SmallGateway, tmp_path: Path) -> None:
    found = await gateway.app.reload(
        replace(
            gateway.config,
            storage=StorageSettings(data_dir=str(tmp_path / "elsewhere")),
            redis=RedisSettings(host="elsewhere"),
            routing=RoutingSettings(retries=7),
        )
    )
    assert set(found.fixed) == {"storage.data_dir", "storage.journal_fsync", "redis.host"}
    assert gateway.app.config.storage == gateway.config.storage
    assert gateway.app.config.routing.retries == 7
    assert not (tmp_path / "elsewhere").exists()
    answer = await gateway.ask(method="GET", path="/config/effective", body=b"", key=MASTER_KEY)
    assert set(answer.json()["waiting_for_start"]) == set(found.fixed)
    assert answer.json()["storage"]["data_dir"]["value"] == gateway.config.storage.data_dir
