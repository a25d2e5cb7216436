"""Several processes' paces on one lessor: the book in memory, or a real Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.calls import Secret
from tollway.config.settings import RedisPlace
from tollway.errors import Unavailable
from tollway.ledger.pace import PARALLEL, REQUESTS, TOKENS, WINDOW_S, Pace
from tollway.ledger.sharing import LOOK_S, WAIT_S_MAX, Meter, SharedPaces
from tollway.storage.redis_shares import RedisShares
from tollway.storage.shares import LEASE_MS, Claim, Lessor, Register, Settled
from tollway.testing.machine import slowness
from tollway.testing.redis import RedisServer

KEY = ("api_key", "a")
#: Machines that run tests are busy: a lessor that is only slow because of that is not away, and a process that gives back
#: late gives back all the same.
PATIENT_S = 5.0


class Book:
    """The book in memory, which all processes ask."""

    described = "memory"

    def __init__(self) -> None:
        self.register = Register(time.monotonic)
        self.asked = 0

    async def settle(
        self, process: str, sequence: int, memory: str, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS
    ) -> Settled:
        self.asked += 1
        await asyncio.sleep(0)
        return self.register.settle(process, sequence, claims, lease_ms=lease_ms)

    async def close(self) -> None:
        pass


class Process:
    """One process, with the pace of one caller."""

    def __init__(self, name: str, lessor: Lessor, limits: dict[str, int], processes: int, **settings: Any) -> None:
        settings = {"answer_s_max": PATIENT_S, **settings}
        self.clock: Callable[[], float] = settings.setdefault("clock", time.monotonic)
        self.sharing = SharedPaces(lessor, process=name, processes=processes, **settings)
        self.pace = Pace(sharing=self.sharing, name=KEY, **limits)
        self.sharing.open()

    async def let_in(self, tokens: int = 0, *, patient_s: float = PATIENT_S) -> bool:
        """As a call does it, which waits so much longer here."""
        until = self.sharing.begin() + patient_s
        full = self.pace.take(tokens, self.clock())
        while full is not None and await self.sharing.more(self.pace, full, tokens if full == TOKENS else 1, until):
            full = self.pace.take(tokens, self.clock())
        return full is None

    async def let_in_of(self, calls: int, tokens: int = 0) -> int:
        return sum(await asyncio.gather(*(self.let_in(tokens) for _ in range(calls))))

    def use(self, tokens: int) -> None:
        """A call used so many more (or fewer) tokens than was taken for it just now."""
        assert self.pace.tokens is not None
        self.pace.tokens.correct(tokens, self.clock(), self.clock() - 0.5)
        if self.pace.tokens.used > self.pace.tokens.share:
            self.sharing.overdrawn(self.pace, TOKENS)

    async def die(self) -> None:
        """Falls silent."""
        await self.sharing.fall_silent()
        await self.sharing.lessor.close()


class Fleet:
    """All processes of a test, on one lessor."""

    def __init__(self, new_lessor: Callable[[], Lessor]) -> None:
        self.new_lessor = new_lessor
        self.started: list[Process] = []

    def start(self, processes: int, **more: Any) -> list[Process]:
        fields = {name: more.pop(name) for name in ("rpm", "tpm", "parallel_max") if name in more}
        first = len(self.started)
        self.started += [
            Process(f"p{first + i}", self.new_lessor(), fields, processes, **more) for i in range(processes)
        ]
        return self.started[first:]


@pytest.fixture(params=["book", "redis"])
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    if request.param == "book":
        book = Book()
        fleet = Fleet(lambda: book)
    else:
        redis: RedisServer = request.getfixturevalue("redis")
        fleet = on_redis(redis)
    yield fleet
    await asyncio.gather(*(process.sharing.close() for process in fleet.started))


@pytest.fixture
async def redis_fleet(redis: RedisServer) -> AsyncIterator[Fleet]:
    fleet = on_redis(redis)
    yield fleet
    await asyncio.gather(*(process.sharing.close() for process in fleet.started))


def on_redis(redis: RedisServer) -> Fleet:
    return Fleet(lambda: RedisShares(RedisPlace(url=Secret(redis.url))))


async def until(true: Callable[[], bool], s_max: float = 30.0) -> None:
    ends_at = time.monotonic() + s_max
    while not true():
        assert time.monotonic() < ends_at, f"it did not happen within {s_max} s"
        await asyncio.sleep(0.02)


# --- what all lessors have in common -------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 10])
async def test_a_small_limit_over_eight_processes_lets_exactly_so_many_through(fleet: Fleet, limit: int) -> None:
    processes = fleet.start(8, rpm=limit)
    let_in = await asyncio.gather(*(process.let_in_of(5) for process in processes))
    assert sum(let_in) == limit


async def test_hundreds_of_calls_at_once_keep_a_limit_and_use_it_up(fleet: Fleet) -> None:
    processes = fleet.start(3, rpm=100)
    let_in = await asyncio.gather(*(process.let_in_of(150) for process in processes))
    assert sum(let_in) == 100


async def test_calls_one_after_the_other_use_a_limit_up_whichever_process_they_reach(fleet: Fleet) -> None:
    processes = fleet.start(4, rpm=40)
    order = [processes[i * 7 % 11 % 4] for i in range(60)]
    assert sum([await process.let_in() for process in order]) == 40


async def test_a_caller_whose_connections_all_lead_to_one_process_has_the_whole_limit(fleet: Fleet) -> None:
    first, *_ = fleet.start(4, rpm=10)
    assert [await first.let_in() for _ in range(12)] == [True] * 10 + [False] * 2


async def test_processes_whose_clocks_differ_keep_a_limit_all_the_same(fleet: Fleet) -> None:
    processes = [
        fleet.start(1, rpm=50, clock=lambda ahead=ahead: time.monotonic() + ahead)[0] for ahead in (0, 7_200, -90)
    ]
    let_in = await asyncio.gather(*(process.let_in_of(60) for process in processes))
    assert sum(let_in) == 50


async def test_a_call_of_more_tokens_than_an_even_part_is_let_in_and_one_beyond_the_limit_is_not(fleet: Fleet) -> None:
    a, b, _ = fleet.start(3, tpm=1000)
    assert await b.let_in(10)
    assert await a.let_in(900)
    assert not await b.let_in(200)
    assert not await a.let_in(1001)
    assert await a.let_in(90)


async def test_tokens_that_a_call_did_not_use_are_there_for_other_processes(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollway.ledger.sharing.SWEEP_S", 60.0)  # not by itself
    a, b = fleet.start(2, tpm=1000)
    assert await a.let_in(800)
    assert not await b.let_in(500)
    a.use(-700)
    began = time.monotonic()
    while not await b.let_in(500):
        await asyncio.sleep(0.05)
    took_s = time.monotonic() - began
    assert took_s < (2 * LOOK_S + 1) * slowness()


async def test_tokens_that_a_call_used_beyond_its_estimate_count_in_other_processes(fleet: Fleet) -> None:
    a, b = fleet.start(2, tpm=1000)
    assert await a.let_in(10)
    a.use(985)
    await until(lambda: a.sharing._meter(a.pace, TOKENS).told_used >= 995)
    assert not await b.let_in(10)
    a.use(2_000)  # even beyond the limit
    assert not await a.let_in(1)


async def test_what_one_process_holds_idle_goes_to_another_that_wants_it(fleet: Fleet) -> None:
    a, b = fleet.start(2, rpm=1000)
    assert await a.let_in()
    assert a.pace.requests is not None
    assert a.pace.requests.share > 1  # ahead of need
    began = time.monotonic()
    assert await b.let_in_of(999) == 999
    took_s = time.monotonic() - began
    assert took_s < (WAIT_S_MAX + LOOK_S + 3) * slowness()
    assert not await a.let_in()


async def test_an_idle_process_gives_its_share_back_by_itself(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollway.ledger.sharing.SWEEP_S", 0.05)
    now = [0.0]
    (a,) = fleet.start(1, rpm=1000, clock=lambda: now[0])
    assert await a.let_in()
    assert a.pace.requests is not None
    now[0] = 61.0
    await until(lambda: a.pace.requests is not None and a.pace.requests.share == 0)
    await until(lambda: not a.sharing._meters)
    assert await a.let_in()


async def test_a_minute_later_the_whole_limit_is_there_again_for_any_process(fleet: Fleet) -> None:
    now = [1000.0]
    a, b = fleet.start(2, rpm=20, clock=lambda: now[0])
    assert await a.let_in_of(30) == 20
    now[0] += WINDOW_S - 0.01
    assert not await b.let_in(patient_s=0.0)
    now[0] += 0.02
    let_in = 0
    async with asyncio.timeout(30):
        while let_in < 20:  # only this clock has made the leap: what the other process told is to be told again first
            let_in += await b.let_in_of(30)
            await asyncio.sleep(0.1)
    assert let_in == 20
    assert not await b.let_in()


async def test_calls_at_once_are_never_more_than_their_limit_over_all_processes(fleet: Fleet) -> None:
    processes = fleet.start(3, parallel_max=5)
    running = most = served = 0

    async def call(process: Process) -> None:
        nonlocal running, most, served
        if await process.let_in():
            running, served = running + 1, served + 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            process.pace.parallel -= 1

    for _ in range(4):
        await asyncio.gather(*(call(process) for process in processes for _ in range(10)))
    assert most == 5
    assert served >= 20


async def test_places_of_a_process_that_died_come_back_when_its_lease_is_over(fleet: Fleet) -> None:
    a, b = fleet.start(2, parallel_max=4, lease_ms=2_400)
    assert await a.let_in_of(4) == 4
    assert not await b.let_in()
    await a.die()
    fleet.started.remove(a)
    if isinstance(b.sharing.lessor, RedisShares):
        await asyncio.sleep(2.5)
    else:
        b.sharing.lessor.register.gone("p0")  # type: ignore[attr-defined]  # the lessor of this test
        await asyncio.sleep(0.15)
    assert await b.let_in_of(5) == 4


async def test_who_ends_leaves_only_what_was_used_in_the_last_minute(fleet: Fleet) -> None:
    a, b = fleet.start(2, rpm=100, parallel_max=50)
    assert await a.let_in_of(30) == 30
    a.pace.parallel = 0
    fleet.started.remove(a)
    await a.sharing.close()
    assert await b.let_in_of(50) == 50
    b.pace.parallel = 0
    assert await b.let_in_of(50) == 20


async def test_another_limit_is_in_force_at_once_and_keeps_what_was_used(fleet: Fleet) -> None:
    a, b = fleet.start(2, rpm=10)
    assert await a.let_in_of(10) == 10
    for process in (a, b):
        process.pace.change(rpm=15, tpm=None, parallel_max=None)
    assert await b.let_in_of(10) == 5
    for process in (a, b):
        process.pace.change(rpm=3, tpm=None, parallel_max=None)
    assert not await a.let_in()
    assert not await b.let_in()
    for process in (a, b):
        process.pace.parallel = 0
        process.pace.change(rpm=None, tpm=None, parallel_max=2)
    assert await b.let_in_of(5) == 2


async def test_a_key_with_another_token_keeps_its_pace(fleet: Fleet) -> None:
    a, b = fleet.start(2, rpm=10)
    assert await a.let_in_of(4) == 4
    a.sharing.rename(a.pace, ("api_key", "new"))
    b.sharing.rename(b.pace, ("api_key", "new"))
    assert a.pace.name == ("api_key", "new")
    await until(lambda: not a.sharing._to_tell and not a.sharing._given_up)
    told = a.sharing._sequence
    await until(lambda: a.sharing._sequence > told)  # by then that was answered
    assert await b.let_in_of(10) == 6


async def test_when_somebody_elses_use_is_over_can_be_told(fleet: Fleet) -> None:
    a, b = fleet.start(2, rpm=3)
    assert await a.let_in_of(3) == 3
    assert not await b.let_in()
    frees_s = b.sharing.frees_s(b.pace, REQUESTS)
    assert frees_s is not None
    assert WINDOW_S - 30 < frees_s <= WINDOW_S


async def test_a_steady_pace_asks_no_further_question() -> None:
    book = Book()
    now = [0.0]
    fleet = Fleet(lambda: book)
    (a,) = fleet.start(1, rpm=1200, tpm=12_000_000, clock=lambda: now[0])
    for _ in range(2_000):  # ten calls a second
        now[0] += 0.1
        assert await a.let_in(1_000)
        a.use(500)
        a.pace.parallel -= 1
    before = book.asked
    for _ in range(2_000):
        now[0] += 0.1
        assert await a.let_in(1_000)
        a.use(500)
        a.pace.parallel -= 1
    assert book.asked - before < 20
    await a.sharing.close()


async def test_a_limit_that_this_process_itself_has_used_up_is_no_question() -> None:
    book = Book()
    fleet = Fleet(lambda: book)
    (a,) = fleet.start(1, tpm=1000)
    assert await a.let_in(10)
    a.use(2_000)  # beyond the limit: its output was longer than anybody knew
    await until(lambda: not a.sharing._to_tell)
    asked, began = book.asked, time.monotonic()
    for _ in range(20):
        assert not await a.let_in(0)  # where output alone counts, a call takes no tokens when it begins
        assert not await a.let_in(5)
    took_s = time.monotonic() - began
    assert book.asked - asked <= 3 + took_s / LOOK_S  # it looks now and then
    assert took_s < 0.5 * slowness()
    await a.sharing.close()


# --- when the lessor is away ---------------------------------------------------------------------------------------


async def test_without_redis_each_process_keeps_to_its_part_and_finds_redis_again_by_itself(
    redis: RedisServer, redis_fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    processes = redis_fleet.start(4, rpm=40)
    let_in = await asyncio.gather(*(process.let_in_of(25) for process in processes))
    assert let_in == [10, 10, 10, 10]
    assert [process.sharing.state for process in processes] == ["local"] * 4
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 4
    assert told[0].startswith(f"rate limits are not shared: Redis at 127.0.0.1:{redis.port}: ConnectionError: ")
    assert told[0].endswith("until it is back each of 4 processes keeps to its part of every limit")
    await asyncio.to_thread(redis.start)
    await until(lambda: all(process.sharing.state == "shared" for process in processes))
    assert caplog.messages[-1] == f"rate limits are shared again: Redis at 127.0.0.1:{redis.port}"
    assert len(caplog.records) == 8
    for process in processes:
        process.pace.change(rpm=50, tpm=None, parallel_max=None)
    assert await processes[0].let_in_of(30) == 10  # what was let in meanwhile counts


async def test_where_it_is_wished_calls_are_refused_while_redis_is_away(redis: RedisServer, redis_fleet: Fleet) -> None:
    a, b = redis_fleet.start(2, rpm=40, refuse=True)
    assert await a.let_in_of(4) == 4
    assert a.pace.requests is not None
    in_hand = a.pace.requests.share - 4
    redis.kill()
    await until(lambda: a.sharing.away_since is not None)
    assert a.sharing.state == "refusing"
    assert await a.let_in_of(in_hand) == in_hand  # what is in hand is nobody else's
    for process in (a, b):
        with pytest.raises(Unavailable):
            await process.let_in()
    a.sharing._leased_until = 0.0  # a long time passes
    await until(lambda: a.pace.requests is not None and a.pace.requests.share == 0)
    await asyncio.to_thread(redis.start)
    await until(lambda: a.sharing.away_since is None and b.sharing.away_since is None)
    assert await b.let_in_of(40) == 40 - 4 - in_hand


@pytest.mark.parametrize("how", ["killed", "flushed"])
async def test_a_redis_that_loses_everything_in_the_middle_lets_no_more_through_than_the_limit(
    redis: RedisServer, redis_fleet: Fleet, how: str
) -> None:
    processes = redis_fleet.start(3, rpm=200, refuse=True)
    let_in = 0

    async def calls(process: Process, number: int) -> None:
        nonlocal let_in
        for _ in range(number):
            try:
                got = await process.let_in()
                let_in += got
            except Unavailable:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.001)

    async def trouble() -> None:
        await until(lambda: let_in >= 60)
        if how == "flushed":
            await asyncio.to_thread(redis.ask, "FLUSHALL")
        else:
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)

    await asyncio.gather(trouble(), *(calls(process, 120) for process in processes))
    await until(lambda: all(process.sharing.state == "shared" for process in processes))
    more = await asyncio.gather(*(process.let_in_of(200) for process in processes))
    let_in += sum(more)
    assert let_in == 200


async def test_a_process_ends_at_whichever_moment_it_is_told_to(redis_fleet: Fleet) -> None:
    for pause_s in (0.0, 0.001, 0.002, 0.005, 0.01):
        # Each connects, and is told to end in the middle of that.
        processes = redis_fleet.start(10, rpm=40, answer_s_max=0.5)
        asking = [asyncio.create_task(process.let_in()) for process in processes]
        await asyncio.sleep(pause_s)
        async with asyncio.timeout(60):
            await asyncio.gather(*(process.sharing.close() for process in processes))
        redis_fleet.started.clear()
        await asyncio.gather(*asking)


async def test_one_that_lets_a_cancellation_go_ends_all_the_same() -> None:
    class Deaf(Book):
        async def settle(self, *args: Any, **more: Any) -> Settled:
            try:
                return await super().settle(*args, **more)
            except asyncio.CancelledError:  # as `asyncio.wait_for` before Python 3.12
                return Settled([], [], 1, "")

    (a,) = Fleet(Deaf).start(1, rpm=40)
    asking = asyncio.create_task(a.let_in())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await a.sharing.close()
    await asking


async def test_nobody_waits_for_a_redis_that_is_slow(redis: RedisServer, redis_fleet: Fleet) -> None:
    a, b = redis_fleet.start(2, rpm=40, answer_s_max=2.0)
    assert await a.let_in()
    assert a.pace.requests is not None
    in_hand = a.pace.requests.share - 1
    redis.freeze()
    began = time.monotonic()
    assert await a.let_in_of(in_hand) == in_hand
    assert time.monotonic() - began < 1.0
    assert await b.let_in_of(30) == 20  # its part of the limit
    assert time.monotonic() - began < 2.0 + 2.0  # and not until a request is given up, or a call has waited enough
    began = time.monotonic()
    assert not await b.let_in()
    assert time.monotonic() - began < 1.0
    assert b.sharing.state == "local"
    redis.thaw()
    await until(lambda: b.sharing.state == "shared")


# --- any order of events -------------------------------------------------------------------------------------------


class Waiting:
    """Stands for a call that waits."""

    def done(self) -> bool:
        return True


class Step:
    """One process in steps: what the task of `SharedPaces` does, without a task."""

    def __init__(self, name: str, register: Register, clock: list[float], limit: int) -> None:
        self.name, self.register, self.clock = name, register, clock
        self.pace = Pace(sharing=SharedPaces(Book(), process=name, processes=1), name=KEY, rpm=limit)
        self.meter = Meter(self.pace, REQUESTS)
        self.sequence = 0
        self.leased_until = 0.0

    def take(self) -> bool:
        return self.clock[0] < self.leased_until and self.pace.take(0, self.clock[0]) is None

    def settle(self, *, wanting: bool, lost: bool) -> list[str]:
        self.sequence += 1
        if self.clock[0] >= self.leased_until:  # as `_let_lapse`
            self.make_room()
        self.meter.waiting = {Waiting(): 1} if wanting else {}  # type: ignore[dict-item]  # only their number counts
        claim = self.meter.claim(self.clock[0], 2)
        settled = self.register.settle(self.name, self.sequence, [claim], lease_ms=12_000)
        if not lost:
            self.leased_until = self.clock[0] + 10.0
            self.meter.take_note(claim, settled.shares[0], self.clock[0])
        return settled.wanted

    def make_room(self) -> None:
        self.meter.share = min(self.meter.share, self.meter.used(self.clock[0]))


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.01, 0.5, 3.0, 20.0]),
        st.integers(0, 2),
        st.sampled_from(["call", "call", "call", "call", "look", "lose", "die"]),
    ),
    max_size=120,
)


@settings(max_examples=200)
@given(STEPS, st.integers(1, 12))
def test_whatever_happens_no_minute_has_more_calls_than_the_limit(
    steps: list[tuple[float, int, str]], limit: int
) -> None:
    clock = [1000.0]
    register = Register(lambda: clock[0])
    processes = [Step(f"p{i}", register, clock, limit) for i in range(3)]
    let_in: list[float] = []
    for pause, index, what in steps:
        clock[0] += pause
        process = processes[index]
        if what == "call":
            if not process.take():
                process.settle(wanting=True, lost=False)
                if not process.take():
                    continue
            let_in.append(clock[0])
            assert sum(when > clock[0] - WINDOW_S for when in let_in) <= limit
        elif what == "die":  # and another one begins in its place
            processes[index] = Step(f"p{len(let_in)}-{clock[0]}-{index}", register, clock, limit)
        else:
            process.make_room()
            process.settle(wanting=what == "lose", lost=what == "lose")
    assert PARALLEL not in {process.meter.kind for process in processes}
