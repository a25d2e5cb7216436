from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.app import create_app, prepare
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, MoneySettings, StorageSettings
from tollway.errors import ConfigError
from tollway.storage import KEY_SCOPE, KeyRecord, open_storage
from tollway.testing import FakeClock, FakeReply
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_event, chat_reply, chat_stream, model_entry
from tollway.testing.storage import MemoryStorage

KEY = "sk-a-key-of-the-small-gateway"
HOUR_S = 3600


# --- lifespan and preparation


async def lifespan(app: Any) -> AsyncIterator[list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    task = asyncio.create_task(app({"type": "lifespan"}, inbox.get, send))
    while not said:
        await asyncio.sleep(0.001)
    yield said
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await task


def config_in(directory: Path, **more: Any) -> Config:
    return Config(
        models=(model_entry(),),
        storage=StorageSettings(data_dir=str(directory), **more),
        access=AccessSettings(master_key=Secret(MASTER_KEY)),
        config_path=str(directory / "config.yaml"),
    )


async def test_the_app_opens_with_the_server_and_closes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollway.app._settle_memory", lambda: None)
    async for said in lifespan(create_app(config_in(tmp_path), storage=MemoryStorage())):
        assert said == [{"type": "lifespan.startup.complete"}]
    assert said[-1] == {"type": "lifespan.shutdown.complete"}


async def test_a_storage_that_cannot_be_opened_stops_the_start_with_its_reason(tmp_path: Path) -> None:
    wrong = config_in(tmp_path, database_url=Secret("mysql://nowhere/db"))
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await create_app(wrong)({"type": "lifespan"}, receive, send)
    assert said[0]["type"] == "lifespan.startup.failed"
    assert "mysql" in said[0]["message"]


async def test_a_server_without_lifespan_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="lifespan"):
        await create_app(config_in(tmp_path))({"type": "http"}, None, None)


def test_a_master_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    config = replace(config_in(tmp_path), access=AccessSettings())
    first, second = prepare(config), prepare(config)
    assert first.master_key_made is not None
    assert second.master_key_made is None
    assert first.config.access.master_key == second.config.access.master_key
    assert first.config.access.master_key_made
    assert first.master_key_path is not None
    assert first.master_key_path.stat().st_mode & 0o777 == 0o600


def test_a_configuration_that_cannot_be_bound_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    wrong = [model_entry("a", provider_model="nobody/x", api_base=None), model_entry("b", provider_model="none/y")]
    with pytest.raises(ConfigError) as refused:
        prepare(replace(config_in(tmp_path), models=tuple(wrong)))
    assert len(refused.value.problems) == 2


# --- what is in force


async def test_keys_made_at_the_same_time_are_all_in_force(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, chat_reply())
    keys = await asyncio.gather(*[gateway.make_key(f"sk-key-number-{number}") for number in range(20)])
    for key in keys:
        assert (await gateway.ask(key=key)).status == 200


async def test_a_call_keeps_the_configuration_it_arrived_under(tmp_path: Path) -> None:
    from tollway.testing.upstream import Gate

    async with SmallGateway(tmp_path) as gateway:
        gate = Gate()
        gateway.upstream.reply_to(None, chat_reply(after=gate))
        exchange = gateway.begin()
        while not gateway.upstream.requests:
            await asyncio.sleep(0.001)
        dear = model_entry(prices={"input_cost_per_token": "1", "output_cost_per_token": "1"})
        await gateway.app.reload(replace(gateway.config, models=(dear,)))
        gate.open()
        assert (await exchange.done()).headers["x-litellm-response-cost"] == "0.001000000"
        assert (await gateway.ask()).headers["x-litellm-response-cost"] == "260.000000000"


async def test_a_reload_that_cannot_be_bound_changes_nothing(gateway: SmallGateway) -> None:
    before = gateway.app.snapshots.current
    with pytest.raises(Exception, match="nobody"):
        await gateway.app.reload(replace(gateway.config, models=(model_entry(provider_model="nobody/x"),)))
    assert gateway.app.snapshots.current is before
    assert gateway.app.config == gateway.config


async def test_a_raised_limit_lets_waiting_calls_in(gateway: SmallGateway) -> None:
    from tollway.testing.upstream import Gate

    gates = [Gate(), Gate()]
    gateway.upstream.reply_to(None, *[chat_reply(after=gate) for gate in gates])
    key = await gateway.make_key(max_budget_nano=1_000_000)
    running = gateway.begin(key=key, max_tokens=250)
    waiting = gateway.begin(key=key, max_tokens=250)
    while not gateway.upstream.requests:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert len(gateway.upstream.requests) == 1
    token = sha256(key.encode()).digest()
    await gateway.storage.keys.update(token, {"max_budget_nano": 5_000_000}, now_us=1)
    await gateway.app.keys_changed()
    async with asyncio.timeout(30):
        while len(gateway.upstream.requests) < 2:
            await asyncio.sleep(0.001)
    for gate in gates:
        gate.open()
    assert [(await each.done()).status for each in (running, waiting)] == [200, 200]


# --- budgets over periods and starts


async def budgeted(storage: MemoryStorage, clock: FakeClock, duration: str, reset_s: float) -> None:
    await storage.keys.create(
        KeyRecord(
            token=sha256(KEY.encode()).digest(),
            key_name="sk-...eway",
            max_budget_nano=2_000_000,
            budget_duration=duration,
            budget_reset_us=int(reset_s * 1_000_000),
        )
    )


async def test_what_was_spent_in_a_period_is_still_spent_after_a_new_start(tmp_path: Path) -> None:
    clock, storage = FakeClock(now=1_800_000_000.0), MemoryStorage()
    start = clock.now() // HOUR_S * HOUR_S + HOUR_S
    await budgeted(storage, clock, "1h", start)
    clock.advance(start - clock.now() - 60)
    spent = [1_000_000, 1_000_000, 1_000_000, 2_000_000]
    for number, wanted in enumerate(spent):
        if number == 1:
            clock.advance(120)  # the first period ends
        elif number == 2:
            clock.advance(3 * HOUR_S)  # and others pass without a call
        storage.recover()
        async with SmallGateway(tmp_path, storage=storage, clock=clock) as gateway:
            gateway.upstream.reply_to(None, chat_reply())
            assert (await gateway.ask(key=KEY, max_tokens=250)).status == 200
            account = gateway.account(KEY)
            assert account.spent == wanted
            assert account.resets_at > clock.now() >= account.period_start_us / 1e6 - 60
            await gateway.app.ledger.flush()
    storage.recover()
    async with SmallGateway(tmp_path, storage=storage, clock=clock) as gateway:
        assert (await gateway.ask(key=KEY, max_tokens=250)).status == 422


async def test_the_whole_gateways_budget_ends_its_period_also_while_it_is_down(tmp_path: Path) -> None:
    clock, storage = FakeClock(now=1_800_000_000.0), MemoryStorage()
    config = Config(money=MoneySettings(max_budget_usd="0.001", budget_duration="1h"))
    async with SmallGateway(tmp_path, config=config, storage=storage, clock=clock) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(max_tokens=250)).status == 200
        assert (await gateway.ask(max_tokens=250)).status == 422
    clock.advance(2 * HOUR_S)
    storage.recover()
    async with SmallGateway(tmp_path, config=config, storage=storage, clock=clock) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(max_tokens=250)).status == 200


async def test_a_shorter_period_is_in_force_at_once(gateway: SmallGateway) -> None:
    now = gateway.clock.now()
    key = await gateway.make_key(
        max_budget_nano=1, budget_duration="30d", budget_reset_us=int((now + 30 * 24 * HOUR_S) * 1e6)
    )
    token = sha256(key.encode()).digest()
    sooner = int((now + HOUR_S) * 1e6)
    await gateway.storage.keys.update(token, {"budget_duration": "1h", "budget_reset_us": sooner}, now_us=1)
    await gateway.app.keys_changed()
    assert gateway.account(key).resets_at == sooner / 1e6


# --- secrets

CANARIES = {
    "master": "sk-canary-master-4f1c9a7e55aa",
    "virtual": "sk-canary-virtual-8b2d6e0f77bb",
    "provider": "sk-canary-provider-1a3c5e7d99cc",
}


async def test_no_key_is_found_in_any_file_log_line_or_answer_wherever_it_was_put(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    master, virtual, provider = CANARIES.values()
    telling = {"error": {"message": f"Incorrect API key provided: {provider}. Bearer {provider}", "code": "x"}}
    storage = await open_storage(tmp_path / "tollway.db")
    config = Config(access=AccessSettings(master_key=Secret(master)))
    said: list[bytes] = []
    async with SmallGateway(
        tmp_path, [model_entry(api_key=Secret(provider))], config=config, storage=storage
    ) as gateway:
        await gateway.make_key(virtual, key_alias="the canary")
        gateway.upstream.reply_to(
            None,
            *[FakeReply.json(telling, status=status) for status in (400, 401, 403, 404, 429, 500, 503)],
            FakeReply.json(f"<html>{provider}</html>".encode(), status=502),
            FakeReply.stream(chat_event("word"), b'data: {"error":{"message":"bad key %b"}}\n\n' % provider.encode()),
            chat_reply(),
            chat_stream("word"),
        )
        for key in (virtual, master, "sk-canary-unknown-0000"):
            headers = {
                "user-agent": f"agent {key}",
                "x-api-key": key,
                "x-litellm-session-id": key,
                "x-litellm-tags": f"{key},{provider}",
                "x-litellm-end-user-id": master,
                "openai-organization": "org",
            }
            for stream in (False, True) * 8:
                metadata = {"key": key, provider: [virtual], "tags": [master]}
                answer = await gateway.ask(
                    key=key, headers=headers, stream=stream, num_retries=0, metadata=metadata, user=provider
                )
                said.append(repr(answer.headers).encode() + answer.body)
            for path, method in (("/v1/models", "GET"), ("/model/info", "GET"), ("/key/info", "GET"), ("/nope", "GET")):
                answer = await gateway.ask(key=key, path=path, method=method, body=b"")
                said.append(repr(answer.headers).encode() + answer.body)
            await gateway.ask(key=key, model=provider)  # its answer names the model that was asked for
            await gateway.ask(key=key, path=f"/openai/deployments/{virtual}/chat/completions")
            answer = await gateway.ask(key=key, body=b'{"model":"' + b"\xff" * 20)
            said.append(answer.body)
        assert all(request.headers["authorization"] == f"Bearer {provider}" for request in gateway.upstream.requests)
    out, err = capfd.readouterr()
    places = {
        "the answers": b"".join(said),
        "the logs": caplog.text.encode(),
        "the output": (out + err).encode(),
        **{str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()},
    }
    assert len(places) > 3
    assert b"the canary" in b"".join(places.values())
    for place, content in places.items():
        for name, canary in CANARIES.items():
            assert canary.encode() not in content, f"the {name} key stands in {place}"


async def test_a_key_is_stored_as_its_hash_alone(gateway: SmallGateway) -> None:
    key = await gateway.make_key()
    (record,) = await gateway.storage.keys.load_all()
    assert record.token == sha256(key.encode()).digest()
    assert (KEY_SCOPE, record.token.hex()) in gateway.app.ledger.accounts
