"""Workers and the database are killed under load: what a client saw the end of is charged once, and nobody waits."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop

from tollway.calls import ledger_key_of
from tollway.storage import KEY_SCOPE, SpendFilter, open_storage
from tollway.testing.machine import slowness

from .world import Answer, Client, Gateway, Provider, cost_of, quantile, read_storage

pytestmark = pytest.mark.slow

#: Another one may be given in the environment.
SEED = int(os.environ.get("MONEY_SEED", "20261122"))
WORKERS = 4
CLIENTS = 64
KEYS = 16
MAX_TOKENS = 400
ANSWER_S = 0.07
#: A worker is killed about so often: five deaths within a minute would mean that the fault is not the workers'.
KILL_EVERY_S = (17.0, 22.0)
FIRST_AWAY_AFTER_S, AWAY_AFTER_S = (2.0, 4.0), (6.0, 12.0)
AWAY_S = (2.0, 6.0)
#: So long after a worker's death the others have leased what its clients spend.
SETTLED_S = 5.0
#: On a quiet machine.
LATENCY_S_P99, LATENCY_S_MAX = 1.0, 5.0


class Run:
    """One run: clients that ask without a pause, and who kills."""

    def __init__(self, gateway: Gateway, server: Any, provider: Provider, *, calls: int, seed: int) -> None:
        self.gateway, self.server, self.provider = gateway, server, provider
        self.calls = calls
        self.random = Random(seed)
        self.answers: list[Answer] = []
        self.began: dict[str, str] = {}  # name of every call that was begun -> its key
        self.away: list[tuple[float, float]] = []
        self.killed: list[float] = []
        self._names = iter(range(calls))

    async def make_keys(self) -> list[str]:
        keys = []
        for number in range(KEYS):
            key = f"sk-of-the-killed-{number}"
            # Every second one has a budget, which it does not reach; every fourth is in a team that has one, too.
            budget = {"max_budget": 100.0} if number % 2 else {}
            team = {"team_id": "team"} if number % 4 == 1 else {}
            await asyncio.to_thread(self.gateway.manage, "/key/generate", {"key": key, **budget, **team})
            keys.append(key)
        return keys

    async def client(self, key: str) -> None:
        client = Client(self.gateway.port, key)
        for number in self._names:
            name = str(number)
            self.began[name] = key
            self.answers.append(await client.ask(name, max_tokens=MAX_TOKENS, stream=number % 2 == 0))
            if not self.answers[-1].status and not self.gateway.running:
                break  # the test is over, and has failed
        client.close()

    async def kill_workers(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(*KILL_EVERY_S))
            workers = await asyncio.to_thread(self.gateway.workers)
            os.kill(self.random.choice(workers), signal.SIGKILL)
            self.killed.append(time.monotonic())

    async def kill_the_database(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(self.random.uniform(*(AWAY_AFTER_S if self.away else FIRST_AWAY_AFTER_S)))
            began = time.monotonic()
            await asyncio.to_thread(self.server.kill)
            if not self.away:  # a worker that starts while there is no database
                os.kill((await asyncio.to_thread(self.gateway.workers))[0], signal.SIGKILL)
                self.killed.append(time.monotonic())
            await asyncio.sleep(self.random.uniform(*AWAY_S))
            await asyncio.to_thread(self.server.start)
            self.away.append((began, time.monotonic()))

    async def all_calls(self, keys: list[str], *, outages: int) -> None:
        killing = [asyncio.create_task(self.kill_workers()), asyncio.create_task(self.kill_the_database(outages))]
        await asyncio.gather(*(self.client(keys[number % KEYS]) for number in range(CLIENTS)))
        for task in killing:
            task.cancel()
        assert self.gateway.running, self.gateway.said()[-4_000:]
        for done in await asyncio.gather(*killing, return_exceptions=True):
            assert isinstance(done, asyncio.CancelledError) or done is None, done

    def is_away(self, answer: Answer) -> bool:
        return any(answer.asked_at < until and answer.ended_at > began for began, until in self.away)

    def lacks_leases(self, answer: Answer) -> bool:
        """Whether the database was away and a worker had gone: the others have no leases of budgets that came to it, and what
        takes its place has none at all.
        """
        outage = next(((began, until) for began, until in self.away if began <= answer.asked_at <= until), None)
        return outage is not None and any(outage[0] - SETTLED_S < at < answer.ended_at for at in self.killed)


def prove(folder: Path, server: Any, url: str, *, calls: int, outages: int, seed: int) -> None:
    async def main() -> None:
        async with Provider(lambda most, random: random.randint(50, most), answer_s=ANSWER_S, seed=seed) as provider:
            gateway = Gateway(folder / "host", provider.port, workers=WORKERS, database_url=url)
            try:
                await asyncio.to_thread(gateway.start)
                run = Run(gateway, server, provider, calls=calls, seed=seed)
                await asyncio.to_thread(gateway.manage, "/team/new", {"team_id": "team", "max_budget": 1_000.0})
                keys = await run.make_keys()
                await asyncio.sleep(2.5 * slowness())  # by then every worker knows them
                slower = slowness()
                began = time.monotonic()
                await run.all_calls(keys, outages=outages)
                took_s = time.monotonic() - began
                assert await asyncio.to_thread(gateway.stop) == 0, gateway.said()[-4_000:]
                if journals(folder):  # it gave up waiting for a slow database: the next start takes over what is left
                    await asyncio.to_thread(gateway.start)
                    assert await asyncio.to_thread(gateway.stop) == 0, gateway.said()[-4_000:]
            finally:
                gateway.kill()
        tell(run, took_s)
        await check_money(run, url)
        check_waiting(run, slower=max(slower, slowness()))
        assert not journals(folder), gateway.said()[-4_000:]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def journals(folder: Path) -> list[Path]:
    return list((folder / "host" / "journal").glob("*.log"))


def tell(run: Run, took_s: float) -> None:
    whole = [answer for answer in run.answers if answer.status]
    away = [answer.seconds for answer in whole if run.is_away(answer)]
    near = [answer.seconds for answer in whole if not run.is_away(answer)]

    def told(seconds: list[float]) -> str:
        if not seconds:
            return "none"
        return f"p50 {quantile(seconds, 0.5):.3f} p99 {quantile(seconds, 0.99):.3f} most {max(seconds):.3f} s ({len(seconds)})"

    sys.stdout.write(
        f"\n{len(run.answers)} calls in {took_s:.0f} s, {Counter(a.status for a in run.answers)}; {len(run.killed)} workers killed,"
        f" the database {len(run.away)} times for {[round(until - began, 1) for began, until in run.away]} s;"
        f" with it away: {told(away)}; else: {told(near)}\n"
    )


async def check_money(run: Run, url: str) -> None:
    stored = await read_storage(url)
    names = Counter(record.end_user for record in stored.records)
    assert max(names.values()) == 1, "a call was charged twice"
    records = {(record.epoch, record.seq): record for record in stored.records}
    assert len(records) == len(stored.records)
    for answer in run.answers:
        if answer.status == 200:
            record = records[ledger_key_of(answer.call_id)]  # type: ignore[index]  # an answered call has an id
            assert (record.end_user, record.status_code) == (answer.name, 200)
            assert record.cost.total == cost_of(run.provider.used[answer.name])
            assert record.key == sha256(run.began[answer.name].encode()).digest()
    assert set(names) <= set(run.began)
    sums: Counter[tuple[str, str]] = Counter()
    for record in stored.records:
        assert record.key is not None
        assert {nano for _, _, _, nano in record.charges} <= {record.cost.total}
        sums[KEY_SCOPE, record.key.hex()] += record.cost.total
        sums["team", record.team_id or ""] += record.cost.total
        sums["global", ""] += record.cost.total
    for key in set(run.began.values()):
        name = (KEY_SCOPE, sha256(key.encode()).hexdigest())
        assert stored.spent[name] == sums[name]
    assert stored.spent["team", "team"] == sums["team", "team"]
    assert stored.spent["global", ""] == sums["global", ""]
    assert stored.leases == 0
    storage = await open_storage(url)
    by_key = await storage.spend.groups(["key"], SpendFilter())
    await storage.close()
    assert sum(group.spend_nano for group in by_key) == sums["global", ""]


def check_waiting(run: Run, *, slower: float) -> None:
    statuses = Counter(answer.status for answer in run.answers)
    for answer in run.answers:
        if answer.status not in (0, 200):
            assert (answer.status, run.lacks_leases(answer)) == (503, True), answer
    assert statuses[0] <= len(run.killed) * CLIENTS
    for seconds in (
        [answer.seconds for answer in run.answers if answer.status],
        [answer.seconds for answer in run.answers if answer.status and run.is_away(answer)],
    ):
        assert quantile(seconds, 0.99) < LATENCY_S_P99 * slower
        assert max(seconds) < LATENCY_S_MAX * slower


def test_calls_while_a_worker_and_the_database_are_killed_are_each_charged_once(
    tmp_path: Path, server: Any, postgres_url: str
) -> None:
    prove(tmp_path, server, postgres_url, calls=7_000, outages=1, seed=SEED)


@pytest.mark.e2e
def test_50_000_calls_while_workers_and_the_database_are_killed_are_each_charged_once(
    tmp_path: Path, server: Any, postgres_url: str
) -> None:
    prove(tmp_path, server, postgres_url, calls=50_000, outages=3, seed=SEED)
