"""A dollar, many workers, two thousand streams at once: never a cent too much, hardly a cent unused, nobody refused too early."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import uvloop

from tollway.storage import KEY_SCOPE
from tollway.testing.machine import slowness

from .world import NANO_IN, NANO_OUT, Answer, Client, Gateway, Provider, Stored, cost_of, read_storage

pytestmark = pytest.mark.slow

CALLS = 2_000
LIMIT = 1_000_000_000
KEY = "sk-one-dollar-for-all-of-them"
TOKEN = sha256(KEY.encode()).hexdigest()
SEED = 20261122
#: The floor under which a call's output limit is not lowered (`output_tokens_floor`).
FLOOR_TOKENS = 256
#: Long enough that nobody is sent away for having waited: only money refuses here.
SETTINGS = "tollway: {hold_wait_s_max: 500}"


class Load(NamedTuple):
    """What each call asks for, and what it uses: 2 000 of them want two or three times what there is."""

    max_tokens: int
    tokens: Callable[[int, Random], int]
    answer_s: float


#: A call may cost $0.0017 and costs $0.0004 to $0.0016.
NEAR = Load(400, lambda most, random: random.randint(most // 4, most), 0.25)
#: A call may cost $0.0161 and costs $0.0004 to $0.0016: what agents ask for.
FAR = Load(4_000, lambda most, random: random.randint(100, min(most, 400)), 0.05)


async def all_at_once(gateways: list[Gateway], load: Load) -> list[Answer]:
    for gateway in gateways:
        await asyncio.to_thread(gateway.start)
    await asyncio.to_thread(
        gateways[0].manage, "/key/generate", {"key": KEY, "max_budget": LIMIT / 1e9, "key_alias": "a dollar"}
    )
    await asyncio.sleep(2.5 * slowness())  # by then every worker knows it
    clients = [Client(gateways[place % len(gateways)].port, KEY) for place in range(CALLS)]
    answers = await asyncio.gather(
        *(client.ask(str(place), max_tokens=load.max_tokens, stream=True) for place, client in enumerate(clients))
    )
    for client in clients:
        client.close()
    return answers


def prove(folder: Path, load: Load, *, hosts: int, workers: int, database_url: str = "") -> None:
    async def run() -> tuple[list[Answer], Provider, Stored]:
        async with Provider(load.tokens, answer_s=load.answer_s, seed=SEED) as provider:
            gateways = [
                Gateway(folder / str(n), provider.port, workers=workers, database_url=database_url, settings=SETTINGS)
                for n in range(hosts)
            ]
            try:
                answers = await all_at_once(gateways, load)
                for gateway in gateways:
                    assert await asyncio.to_thread(gateway.stop) == 0, gateway.said()[-4_000:]
            finally:
                for gateway in gateways:
                    gateway.kill()
        return answers, provider, await read_storage(gateways[0].database)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers, provider, stored = runner.run(run())
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 422}, (
        statuses,
        next(answer for answer in answers if answer.status not in (200, 422)),
    )
    charged = sum(cost_of(tokens) for tokens in provider.used.values())
    held = {record.end_user: record.held_nano for record in stored.records}
    refused = sorted(answer.ended_at for answer in answers if answer.status == 422)

    def spoken_for(at: float) -> int:
        """What was charged and held at a moment, as the provider saw calls begin and end."""
        return sum(
            cost_of(provider.used[name]) if provider.ended[name] <= at else held[name]
            for name, began in provider.began.items()
            if began <= at
        )

    share = spoken_for(refused[0]) / LIMIT
    took_s = max(answer.ended_at for answer in answers) - min(answer.asked_at for answer in answers)
    sys.stdout.write(
        f"\n{hosts} x {workers} workers: {statuses}, charged {charged / 1e9:.6f}, charged and held at the first refusal"
        f" {share:.4f}, {took_s:.1f} s\n"
    )
    assert charged <= LIMIT
    assert 0.97 <= share <= 1.0
    body_bytes = max(len(_body(name, load.max_tokens)) for name in provider.used)
    least = -(-body_bytes // 2) * NANO_IN + min(FLOOR_TOKENS, load.max_tokens) * NANO_OUT
    ended = sorted((provider.ended[name], cost_of(tokens)) for name, tokens in provider.used.items())
    assert LIMIT - sum(cost for at, cost in ended if at <= refused[0]) < least, "the first refused would have fitted"
    # Of what is stored every sum is the same.
    assert len(stored.records) == CALLS
    assert sum(record.cost.total for record in stored.records) == charged == stored.spent[KEY_SCOPE, TOKEN]
    assert not any(record.over_hold for record in stored.records)
    assert len({record.epoch for record in stored.records if record.status_code == 200}) == hosts * workers
    assert stored.leases == 0


def _body(name: str, max_tokens: int) -> bytes:
    return Client.body(name, max_tokens=max_tokens, stream=True)


@pytest.mark.parametrize("load", [NEAR, FAR], ids=["costs near the hold", "costs far below the hold"])
def test_four_workers_spend_a_dollar_to_the_end_and_no_more(tmp_path: Path, load: Load) -> None:
    prove(tmp_path, load, hosts=1, workers=4)


@pytest.mark.parametrize("load", [NEAR, FAR], ids=["costs near the hold", "costs far below the hold"])
def test_two_gateways_on_one_postgresql_spend_a_dollar_to_the_end_and_no_more(
    tmp_path: Path, postgres_url: str, load: Load
) -> None:
    prove(tmp_path, load, hosts=2, workers=1, database_url=postgres_url)
