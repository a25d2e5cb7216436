"""Rate limits that gateways share, asked from outside. What one gateway alone refuses stands in test_policies_in_force.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from tollway.config.settings import Config, RedisSettings
from tollway.ledger.pace import Pace
from tollway.ledger.sharing import SharedPaces
from tollway.policies.limit_rate import Place
from tollway.storage.people import Limits, Team
from tollway.storage.shares import LEASE_MS, Claim, Register, Settled
from tollway.testing.gateway import SmallGateway, chat_reply, model_entry
from tollway.testing.redis import RedisServer
from tollway.testing.storage import MemoryStorage
from tollway.testing.upstream import Gate


class Parent:
    """As the parent of workers, without a process in between."""

    described = "the parent of the workers"

    def __init__(self, register: Register) -> None:
        self.register = register

    async def settle(
        self, process: str, sequence: int, memory: str, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS
    ) -> Settled:
        return self.register.settle(process, sequence, claims, lease_ms=lease_ms)

    async def close(self) -> None:
        pass


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[list[SmallGateway]]:
    """Two gateways that share their rate limits. The second has another deployment beside."""
    register = Register(time.monotonic)
    entries = [model_entry(), model_entry("paced", rpm=2, id="paced-one")]
    async with (
        SmallGateway(tmp_path / "a", entries, lessor=Parent(register)) as a,
        SmallGateway(tmp_path / "b", [*entries, model_entry("paced", host="b")], lessor=Parent(register)) as b,
    ):
        for gateway in (a, b):
            gateway.upstream.reply_to(None, chat_reply())
            sharing_of(gateway)
        yield [a, b]


def sharing_of(gateway: SmallGateway) -> SharedPaces:
    """A lessor that is only slow because the machine is busy is not away to it from here on."""
    sharing = gateway.app.sharing
    assert sharing is not None
    sharing._answer_s_max = 30.0
    return sharing


async def told(gateway: SmallGateway) -> None:
    """What it used up to now is known to the other."""
    sharing = sharing_of(gateway)
    async with asyncio.timeout(30):
        while sharing._to_tell:
            await asyncio.sleep(0.01)
        asked = sharing._sequence
        while sharing._sequence == asked:  # by the next question the one before is answered
            await asyncio.sleep(0.01)


async def test_a_limit_holds_over_both_and_says_when_to_come_back(two: list[SmallGateway]) -> None:
    a, b = two
    for gateway in two:
        key = await gateway.make_key(rpm_limit=3)
    answers = [await gateway.ask(key=key) for gateway in (a, b, a, b, a)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    token = sha256(key.encode()).hexdigest()
    for refused in answers[3:]:
        message = refused.json()["error"]["message"]
        assert message.startswith(f"Rate limit exceeded for api_key: {token}. Limit type: requests. Current limit: 3")
        assert refused.headers["x-ratelimit-api_key-limit-requests"] == "3"
        assert refused.headers["x-ratelimit-api_key-remaining-requests"] == "0"
        assert 30 <= int(refused.headers["retry-after"]) <= 60
    for gateway in two:
        gateway.clock.advance(61)
    assert (await b.ask(key=key)).status == 200
    let_in = 1
    async with asyncio.timeout(30):
        while let_in < 3:  # until the other one looks it does not know that a minute is over
            let_in += (await b.ask(key=key)).status == 200
            await asyncio.sleep(0.02)
    assert (await b.ask(key=key)).status == 429
    assert b.pace(key).requests.used == 3


async def test_tokens_are_counted_over_both_as_they_were_used(two: list[SmallGateway]) -> None:
    a, b = two
    for gateway in two:
        key = await gateway.make_key(tpm_limit=600)
    assert [(await gateway.ask(key=key)).status for gateway in (a, b)] == [200, 200]  # 260 tokens each
    await told(b)
    assert (await a.ask(key=key)).status == 200
    await told(a)
    refused = await b.ask(key=key)
    assert (refused.status, refused.headers["rate_limit_type"]) == (429, "tokens")


async def test_calls_at_once_are_bounded_over_both(two: list[SmallGateway]) -> None:
    a, b = two
    gate = Gate()
    for gateway in two:
        key = await gateway.make_key(parallel_max=2)
        gateway.upstream.reply_to(None, chat_reply(after=gate))
    running = [a.begin(key=key), b.begin(key=key)]
    async with asyncio.timeout(30):
        while not (a.upstream.requests and b.upstream.requests):
            await asyncio.sleep(0.01)
    refused = await a.ask(key=key)
    assert (refused.status, refused.headers["rate_limit_type"]) == (429, "max_parallel_requests")
    assert refused.headers["retry-after"] == "1"
    gate.open()
    assert [(await each.done()).status for each in running] == [200, 200]
    assert [gateway.pace(key).parallel for gateway in two] == [0, 0]


async def test_a_deployments_own_limit_counts_over_both_and_it_is_passed_by_when_it_is_full(
    two: list[SmallGateway],
) -> None:
    a, b = two
    assert [(await a.ask(model="paced")).status for _ in range(2)] == [200, 200]
    assert (await a.ask(model="paced")).status == 429
    for _ in range(3):
        assert (await b.ask(model="paced")).status == 200
    assert {request.origin.host for request in b.upstream.requests} == {"b"}


async def test_a_call_that_one_limit_refuses_counts_in_no_other(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await storage.people.teams.create(Team(id="t", limits=Limits(rpm=1)))
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key(team_id="t", rpm_limit=5)
        gateway.upstream.reply_to(None, chat_reply())
        assert [(await gateway.ask(key=key)).status for _ in range(9)] == [200] + [429] * 8
        assert gateway.pace(key).requests.remaining(gateway.clock.monotonic()) == 4


async def test_who_leaves_while_it_waits_for_a_share_takes_none(two: list[SmallGateway]) -> None:
    a, b = two
    for gateway in two:
        key = await gateway.make_key(rpm_limit=1000)
    assert (await a.ask(key=key)).status == 200
    held = a.pace(key).requests.share
    waiting = [b.begin(key=key) for _ in range(1000 - held + 5)]  # some of them wait for what the first holds idle
    await asyncio.sleep(0)
    for exchange in waiting[:300]:
        exchange._task.cancel()
    await asyncio.gather(*(exchange._task for exchange in waiting), return_exceptions=True)
    assert b.pace(key).parallel == 0
    assert b.pace(key).requests.used <= 1000 - 1


async def test_a_limited_caller_gets_503_where_that_is_wished_and_redis_is_away_and_others_do_not(
    tmp_path: Path, redis: RedisServer
) -> None:
    config = Config(redis=RedisSettings(host="127.0.0.1", port=redis.port, refuse=True))
    async with SmallGateway(tmp_path, config=config) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        sharing_of(gateway)
        limited = await gateway.make_key("sk-limited", rpm_limit=1000)
        free = await gateway.make_key("sk-free")
        assert (await gateway.ask(key=limited)).status == 200
        redis.kill()
        another = await gateway.make_key("sk-another", rpm_limit=1000)
        refused = await gateway.ask(key=another)
        assert refused.status == 503
        assert "Rate limits cannot be checked" in refused.json()["error"]["message"]
        assert (await gateway.ask(key=free)).status == 200
        assert (await gateway.ask(key=limited)).status == 200  # of what is in hand


def test_what_is_taken_back_is_no_later_calls_use() -> None:
    now = [0.0]
    first, second = Pace(rpm=2), Pace(rpm=2)
    place = Place(0, lambda: now[0])
    assert place.try_take(first) is None
    now[0] = 1.5  # it waits for the second pace; another call is let in meanwhile
    assert first.take(0, now[0]) is None
    assert place.try_take(second) is None
    place.take_back()
    assert first.requests is not None
    now[0] = 60.5
    assert first.requests.used_at(now[0]) == 1
