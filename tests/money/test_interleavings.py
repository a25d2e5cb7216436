"""Anything may happen in any order: no budget is ever overdrawn, nothing stays held, and every sum is the same everywhere.

One gateway with all kinds of budgets on SQLite, alone or as two workers, is led through random calls, failures, clients that
leave, clocks that move and are set back, periods that end, limits that are changed, calls that are charged again, restarts and
deaths. Every step is followed by a look at all budgets. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.app import App, WorkerPlace, create_app
from tollway.calls import ledger_key_of
from tollway.config.settings import Config, MoneySettings, ProviderBudget, RoutingSettings
from tollway.errors import UpstreamUnreachable
from tollway.ledger import leases, ledger
from tollway.ledger.budgets import Account
from tollway.ledger.repricing import can_be_recharged, recharged
from tollway.pricing.catalog import custom_price
from tollway.storage import GLOBAL_SCOPE, KEY_SCOPE, KeyRecord, SpendFilter, Storage, open_storage
from tollway.storage.people import (
    CUSTOMER_SCOPE,
    MEMBER_SCOPE,
    ORGANIZATION_SCOPE,
    TAG_SCOPE,
    TEAM_SCOPE,
    USER_SCOPE,
    Customer,
    Limits,
    Member,
    Organization,
    SharedBudget,
    Tag,
    Team,
    User,
    member_id,
)
from tollway.storage.record import CallRecord, decode_record, encode_record
from tollway.testing import FakeReply
from tollway.testing.clock import FakeClock
from tollway.testing.gateway import DONE, Exchange, SmallGateway, chat_event, chat_reply, model_entry
from tollway.testing.upstream import Cut, FakeRequest, FakeUpstream, Gate

pytestmark = pytest.mark.slow

EPISODES = 50
STEPS = 24
CALLS_AT_ONCE_MAX = 8
CALL = 1_000_000  # what 250 tokens cost
NANO_PER_TOKEN = 4_000
KEYS = ("sk-of-everybody", "sk-of-nobody-else")
#: A day with 25 hours and one with 23 lie near; resets come in the hour that there is twice, or not at all.
STARTS = (datetime(2026, 10, 23, 20, tzinfo=UTC), datetime(2027, 3, 26, 21, tzinfo=UTC))
DURATIONS = ("1h", "1d", "7d", "30d", None)
#: Scopes whose limit one place says.
IDS = {CUSTOMER_SCOPE: "c", MEMBER_SCOPE: member_id("t", "u"), ORGANIZATION_SCOPE: "o", TAG_SCOPE: "g"}
SHARED = tuple(IDS)

Name = tuple[str, str]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for others in real time waits shortly."""
    monkeypatch.setattr(ledger, "DRAIN_S", 0.005)
    for name, seconds in (("GATHER_S", 0.0), ("LOOK_S", 0.003), ("AGAIN_S_FIRST", 0.001), ("AGAIN_S_MAX", 0.003)):
        monkeypatch.setattr(leases, name, seconds)


class Worker:
    """One worker's app, and the calls that are with it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.exchanges: list[Exchange] = []

    @property
    def accounts(self) -> dict[Name, Account]:
        return self.app.ledger.accounts


class World:
    """See the top of this file."""

    def __init__(self, folder: Path, seed: int, workers: int) -> None:
        self.random = Random(seed)
        self.folder = folder
        self.clock = FakeClock(self.random.choice(STARTS).timestamp())
        self.set_back_s = 0.0
        self.upstream = FakeUpstream(self.clock)
        self.upstream.reply_to(None, self.answer)
        self.gates: list[Gate] = []
        self.workers: list[Worker] = []
        self.count = workers
        self.storage: Storage  # the test's own look at it
        self.config = self.some_config()
        self.answered: list[str] = []  # call ids that clients have seen the end of
        self.above: dict[Name, int] = {}  # by how much a limit was put under what is spent and held
        self.steps: list[str] = []

    # --- what there is

    def some_limits(self, *name: str) -> Limits:
        """For some calls more than were spent."""
        duration = self.random.choice(DURATIONS)
        more = self.random.choice((None, 1, 2, 4, 8))
        if more is None:
            return Limits(budget_duration=duration)
        return Limits(max_budget_nano=self.spent(*name) + more * CALL, budget_duration=duration)

    def spent(self, *name: str) -> int:
        account = self.workers[0].accounts.get(name) if self.workers else None  # type: ignore[call-overload]  # a name of two parts
        return account.spent if account is not None else 0

    def some_config(self) -> Config:
        def dollars() -> str:
            return str(self.random.choice((6, 12, 24)) * CALL / 1e9)

        routing = RoutingSettings(retries=1, cooldowns=False, fallbacks={"small": ("other",)})
        money = MoneySettings(
            max_budget_usd=dollars(),
            budget_duration="1d",
            timezone="Europe/Berlin",
            budget_reset_time="02:30",
            hold_wait_s_max=0.05,
            output_tokens_floor=50,
            provider_budgets={"openai": ProviderBudget(dollars(), "1d")},
            user_budget_on_team_keys=True,
            customer_budget_usd=dollars(),
        )
        models = (
            model_entry(host="one.example", max_budget_usd=dollars(), budget_duration="1d"),
            model_entry(host="two.example"),
            model_entry("other", host="three.example"),
        )
        return SmallGateway(self.folder, models, config=Config(routing=routing, money=money)).config

    async def populate(self) -> None:
        people = self.storage.people
        for scope in SHARED:
            await people.budgets.create(SharedBudget(id=scope, limits=self.some_limits()))
        await people.organizations.create(Organization(id="o", budget_id=ORGANIZATION_SCOPE))
        member = Member(user_id="u", budget_id=MEMBER_SCOPE)
        await people.teams.create(Team(id="t", organization_id="o", members=(member,), limits=self.some_limits()))
        await people.users.create(User(id="u", limits=self.some_limits()))
        await people.customers.create(Customer(id="c", budget_id=CUSTOMER_SCOPE))
        await people.tags.create(Tag(id="g", budget_id=TAG_SCOPE))
        fields: dict[str, Any] = {
            "windows": [[6 * CALL, "1h"], [20 * CALL, "1d"]],
            "model_budgets": {"small": [60 * CALL, "7d"]},
        }
        common = {"key_name": "sk-...", "max_budget_nano": 8 * CALL, "budget_duration": "1d"}
        await self.storage.keys.create(
            KeyRecord(token=token(KEYS[0]), team_id="t", user_id="u", fields=fields, **common)
        )
        await self.storage.keys.create(KeyRecord(token=token(KEYS[1]), **common))

    # --- how it begins and ends

    def wall(self) -> float:
        return self.clock.now() - self.set_back_s

    async def open(self, index: int) -> Worker:
        app = create_app(
            self.config,
            worker=WorkerPlace(index, self.count),
            upstream=self.upstream,
            storage=await open_storage(self.folder / "tollway.db"),
            monotonic=self.clock.monotonic,
            wall=self.wall,
        )
        await app.open()
        return Worker(app)

    async def begin(self) -> None:
        self.storage = await open_storage(self.folder / "tollway.db")
        await self.populate()
        self.workers = [await self.open(index) for index in range(self.count)]

    async def end(self) -> None:
        for worker in self.workers:
            await worker.app.close()
        await self.storage.close()

    # --- steps

    async def step(self) -> None:
        steps: tuple[tuple[int, Callable[[], Awaitable[str]]], ...] = (
            (45, self.call),
            (55, self.go_on),
            (8, self.leave),
            (12, self.move_clock),
            (1, self.set_clock),
            (6, self.change_limit),
            (1, self.change_config),
            (2, self.recharge),
            (1, self.restart),
            (1, self.die),
        )
        (what,) = self.random.choices([step for _, step in steps], [weight for weight, _ in steps])
        self.steps.append(f"{what.__name__} {await what()}")
        await self.settle()
        await self.look()

    async def settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        if self.count > 1:  # what is leased comes out of a thread
            await asyncio.sleep(0.002)
        for worker in self.workers:
            for exchange in [one for one in worker.exchanges if one._task.done()]:
                worker.exchanges.remove(exchange)
                await self.ended(exchange)

    async def ended(self, exchange: Exchange) -> None:
        answer = await exchange.done()
        if answer.whole:
            assert answer.status in (200, 408, 422, 429, 500, 502, 503, 504), answer.body
            self.answered.append(answer.headers["x-litellm-call-id"])

    async def call(self) -> str:
        worker = self.random.choice(self.workers)
        if len(worker.exchanges) >= CALLS_AT_ONCE_MAX:
            return "not now"
        key = self.random.choice((KEYS[0], *KEYS))
        asked: dict[str, Any] = {"max_tokens": self.random.choice((20, 100, 250, 500))}
        if user := self.random.choice((None, "c", "stranger")):
            asked["user"] = user
        if self.random.random() < 0.5:
            asked["tags"] = ["g"]
        asked["stream"] = self.random.random() < 0.6
        # As `SmallGateway.begin` asks, of this worker.
        front = SmallGateway(self.folder)
        front.app = worker.app
        worker.exchanges.append(front.begin(key=key, **asked))
        return f"{key} {asked}"

    def answer(self, request: FakeRequest) -> FakeReply:
        asked = request.json()
        if "max_tokens" not in asked:
            raise AssertionError(asked)
        gate, random = Gate(), self.random
        self.gates.append(gate)
        tokens = random.randint(0, asked["max_tokens"])
        fate = random.random()
        if fate < 0.06:
            return FakeReply.failing(UpstreamUnreachable("nobody there"))
        if fate < 0.12:
            return FakeReply.json({"error": {"message": "no"}}, status=random.choice((429, 500)), after=gate)
        if not asked.get("stream"):
            return chat_reply(output_tokens=tokens, after=gate)
        another = Gate()
        self.gates.append(another)
        texts = [chat_event("word") for _ in range(min(tokens, 3))] or [chat_event("")]
        if fate < 0.22:  # breaks before or after its first words
            return FakeReply.stream(*texts[: random.randint(0, 1)], gate, Cut())
        finish, usage = chat_event(finish="stop"), chat_event(output_tokens=max(tokens, 1))
        told = (usage,) if random.random() < 0.85 else ()
        return FakeReply.stream(gate, texts[0], another, *texts[1:], finish, *told, DONE)

    async def go_on(self) -> str:
        if self.gates:
            self.gates.pop(self.random.randrange(len(self.gates))).open()
        return ""

    async def leave(self) -> str:
        worker = self.random.choice(self.workers)
        if worker.exchanges:
            await worker.exchanges.pop(self.random.randrange(len(worker.exchanges))).hang_up()
        return ""

    async def move_clock(self) -> str:
        seconds = self.random.choice((1, 60, 1_800, 3_600, 5 * 3_600, 86_400))
        self.clock.advance(seconds)
        return f"by {seconds} s"

    async def set_clock(self) -> str:
        self.set_back_s = self.random.choice((0.0, 1.0, 3_600.0, -7_200.0))
        return f"back by {self.set_back_s} s"

    async def change_limit(self) -> str:
        place, people = self.random.choice(("team", "user", "key", *SHARED)), self.storage.people
        if place == "key":
            of = token(self.random.choice(KEYS))
            changes = {"max_budget_nano": self.some_limits(KEY_SCOPE, of.hex()).max_budget_nano}
            await self.storage.keys.update(of, changes, now_us=1)
        elif place == "team":
            limits = self.some_limits(TEAM_SCOPE, "t")
            await people.teams.change("t", lambda team: replace(team, limits=limits))
        elif place == "user":
            limits = self.some_limits(USER_SCOPE, "u")
            await people.users.change("u", lambda user: replace(user, limits=limits))
        else:
            limits = self.some_limits(place, IDS[place])
            await people.budgets.change(place, lambda budget: replace(budget, limits=limits))
        await self.put_in_force()
        return place

    async def change_config(self) -> str:
        self.config = self.some_config()
        for worker in self.workers:
            await worker.app.reload(self.config)
        await self.lowered()
        return ""

    async def recharge(self) -> str:
        """Calls that were stored are charged at another price, as `tollway reprice` does it."""
        changes = []
        for row in await self.storage.spend.page(SpendFilter(), limit=5):
            record = decode_record(row.detail)
            output = str(self.random.randint(1, 6_000) / 1e9)
            price = custom_price({"input_cost_per_token": "0", "output_cost_per_token": output}, None)
            assert price is not None
            again = recharged(record, price) if can_be_recharged(record) else None
            if again is not None:
                changes.append((row, (again, encode_record(again))))
        await self.storage.spend.reprice(changes)
        await self.put_in_force()
        return f"{len(changes)} calls"

    async def put_in_force(self) -> None:
        for worker in self.workers:
            await worker.app.keys_changed()
        budgets = [one.app.budgets for one in self.workers if isinstance(one.app.budgets, leases.LeasedBudgets)]
        for one in budgets:
            await one.ask()  # as it does of itself, a moment later
        for one in budgets:
            await one.refresh()  # with what the others have told of themselves
        await self.lowered()

    async def restart(self) -> str:
        """Calls in flight are cancelled, as those that do not end in time are."""
        index = self.random.randrange(self.count)
        worker = self.workers[index]
        await cancel(worker)
        await worker.app.close()
        self.workers[index] = await self.open(index)
        return str(index)

    async def die(self) -> str:
        """As `kill -9`: nothing more reaches journal or storage, and what takes its place finds the files."""
        index = self.random.randrange(self.count)
        worker = self.workers[index]
        await kill(worker)
        self.workers[index] = await self.open(index)
        return str(index)

    # --- what must hold

    async def look(self) -> None:
        spoken_for = await self.spoken_for()
        for name in self.above.keys() - spoken_for.keys():
            del self.above[name]
        for name, nano in spoken_for.items():
            account = self.workers[0].accounts.get(name)
            if account is None or account.limit is None:
                continue
            above = nano - account.limit
            if name not in self.above:  # it was not in memory, and may have been lowered since it was
                self.above[name] = max(0, above)
            assert above <= self.above[name], f"{account.label} {name} is overdrawn by {above}: {vars_of(account)}"
            self.above[name] = max(0, min(self.above[name], above))

    async def lowered(self) -> None:
        """Limits were changed, or what was spent: what is above them now may be so until it is given back."""
        for name, nano in (await self.spoken_for()).items():
            account = self.workers[0].accounts.get(name)
            self.above.pop(name, None)
            if account is not None and account.limit is not None:
                self.above[name] = max(0, nano - account.limit)

    async def spoken_for(self) -> dict[Name, int]:
        """What is spent and held of every budget, in all workers together."""
        if self.count == 1:
            (worker,) = self.workers
            assert all(account.held >= 0 for account in worker.accounts.values())
            return {name: account.spent + account.held for name, account in worker.accounts.items()}
        async with asyncio.timeout(10):
            return await self.spoken_for_by_all()

    async def spoken_for_by_all(self) -> dict[Name, int]:
        locks = [worker.app.ledger.storing_nothing() for worker in self.workers]
        for lock in locks:
            await lock.__aenter__()
        try:
            periods: dict[Name, int] = {}
            for worker in self.workers:
                for name, account in worker.accounts.items():
                    periods[name] = max(periods.get(name, 0), account.period_start_us)
            stored = await self.stored()
            sums: dict[Name, int] = {}
            for name, period in periods.items():
                spent, in_force = stored.get(name, (0, 0))
                sums[name] = spent if in_force == period else 0
            for worker in self.workers:
                for record, _, _ in worker.app.ledger._queue:
                    for scope, scope_id, period, nano in record.charges:
                        if periods.get((scope, scope_id)) == period:
                            sums[scope, scope_id] += nano
                for name, account in worker.accounts.items():
                    assert account.held >= 0
                    if account.lease is not None and account.period_start_us == periods[name]:
                        assert account.lease.held >= 0
                        sums[name] += account.lease.held
            return sums
        finally:
            for lock in locks:
                await lock.__aexit__(None, None, None)

    async def stored(self) -> dict[Name, tuple[int, int]]:
        """(spent, start of its period) of every budget."""
        found = {
            (one.scope, one.id): (one.spend_nano, one.period_start_us) for one in await self.storage.spend.all_spent()
        }
        for key in await self.storage.keys.load_all():
            found[KEY_SCOPE, key.token.hex()] = (key.spend_nano, key.period_start_us)
        return found

    async def episode(self) -> None:
        for _ in range(STEPS):
            await self.step()
        async with asyncio.timeout(30):
            while any(worker.exchanges for worker in self.workers):
                while self.gates:
                    self.gates.pop().open()
                await asyncio.sleep(0.001)
                await self.settle()
                await self.look()
        for worker in self.workers:
            for name, account in worker.accounts.items():
                assert account.held == 0, f"{name} still holds {account.held}"
                assert not account.waiters, name
                assert account.lease is None or account.lease.held == 0, name
            await worker.app.ledger.flush()
            assert worker.app.ledger.rows_drained == worker.app.ledger.rows_written
        await self.compare()

    async def compare(self) -> None:
        """Memory says what the storage says."""
        if self.count > 1:
            for worker in self.workers:
                await worker.app.keys_changed()
        stored = await self.stored()
        for worker in self.workers:
            for name, account in worker.accounts.items():
                spent, period = stored.get(name, (0, 0))
                if self.count == 1 or account.period_start_us >= period:
                    assert account.period_start_us >= period, name
                    assert account.spent == (spent if account.period_start_us == period else 0), name

    async def add_up(self) -> None:
        """At the very end, over all calls: each is there once, and the sums are those of the calls."""
        records = await self.records()
        by_key = {(record.epoch, record.seq): record for record in records}
        assert len(by_key) == len(records)
        assert len(self.answered) == len(set(self.answered))
        for call_id in self.answered:
            assert ledger_key_of(call_id) in by_key, "a client saw the end of a call that is written down nowhere"
        totals: Counter[Name] = Counter()
        for record in records:
            for scope, name, _, nano in record.charges:
                totals[scope, name] += nano
        stored: dict[Name, int] = {(one.scope, one.id): one.total_nano for one in await self.storage.spend.all_spent()}
        for key in await self.storage.keys.load_all():
            stored[KEY_SCOPE, key.token.hex()] = key.total_spend_nano
        assert {name: nano for name, nano in stored.items() if nano} == {
            name: nano for name, nano in totals.items() if nano
        }
        everything = sum(record.cost.total for record in records)
        assert everything == totals[GLOBAL_SCOPE, ""] > 0
        groups = await self.storage.spend.groups([], SpendFilter())
        assert sum(group.spend_nano for group in groups) == everything

    async def records(self) -> list[CallRecord]:
        found: list[CallRecord] = []
        before: tuple[int, int] | None = None
        while rows := await self.storage.spend.page(SpendFilter(), limit=1_000, before=before):
            found += [decode_record(row.detail) for row in rows]
            before = rows[-1].started_us, rows[-1].id
        return found


def token(key: str) -> bytes:
    return sha256(key.encode()).digest()


def vars_of(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in ("limit", "spent", "held", "period_start_us", "resets_at")}


async def cancel(worker: Worker) -> None:
    for exchange in worker.exchanges:
        exchange._task.cancel()
    await asyncio.gather(*(exchange._task for exchange in worker.exchanges), return_exceptions=True)
    for exchange in worker.exchanges:
        exchange._gone.set()  # whoever watched the client ends, too
    await asyncio.sleep(0)


async def kill(worker: Worker) -> None:
    app = worker.app
    journal, drain = app.ledger._journal, app.ledger._task
    assert drain is not None
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)
    app.ledger._task = None  # so that its end neither drains nor deletes
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, journal._fd)
    os.close(nowhere)
    await cancel(worker)
    await app.close()
    os.close(journal._fd)
    os.close(journal._lock)


async def live(folder: Path, seed: int, workers: int) -> None:
    world = World(folder, seed, workers)
    await world.begin()
    number = 0
    try:
        while number < EPISODES:
            world.steps.clear()
            await world.episode()
            number += 1
        await world.put_in_force()
        for worker in world.workers:
            await worker.app.ledger.flush()
        await world.add_up()
    except BaseException as error:
        error.add_note(f"seed {seed}, {workers} workers, episode {number}: {'; '.join(world.steps)}")
        raise
    finally:
        await world.end()
    assert not list((folder / "journal").glob("*.log"))


@pytest.mark.parametrize("seed", range(14))
def test_whatever_happens_to_one_worker_no_budget_is_overdrawn_and_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    asyncio.run(live(tmp_path, seed, 1))


@pytest.mark.parametrize("seed", range(100, 106))
def test_whatever_happens_to_two_workers_no_budget_is_overdrawn_and_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    asyncio.run(live(tmp_path, seed, 2))
