"""How lessors divide a limit: the book in memory and the script in a real Redis, held to the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Secret
from tollway.config.settings import RedisPlace
from tollway.errors import StorageError
from tollway.storage.redis_shares import RedisShares
from tollway.storage.shares import LEASE_MS, Claim, Lessor, Register, Settled, grant
from tollway.testing.redis import RedisServer

NAME = "requests:api_key:a"


class BookLessor:
    """The book in memory as a lessor."""

    described = "memory"

    def __init__(self) -> None:
        self.now = 1000.0
        self.register = Register(lambda: self.now)

    async def settle(
        self, process: str, sequence: int, memory: str, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS
    ) -> Settled:
        return self.register.settle(process, sequence, claims, lease_ms=lease_ms)

    async def close(self) -> None:
        pass


@pytest.fixture(params=["book", "redis"])
async def lessor(request: pytest.FixtureRequest) -> AsyncIterator[Lessor]:
    if request.param == "book":
        yield BookLessor()
        return
    redis: RedisServer = request.getfixturevalue("redis")
    shares = RedisShares(RedisPlace(url=Secret(redis.url)), recall_ms=200)
    yield shares
    await shares.close()


class Asking:
    """One process."""

    numbers = count(1)

    def __init__(self, lessor: Lessor, name: str) -> None:
        self.lessor = lessor
        self.name = name
        self.memory = ""

    async def __call__(self, *claims: Claim, lease_ms: int = LEASE_MS) -> Settled:
        settled = await self.lessor.settle(self.name, next(self.numbers), self.memory, claims, lease_ms=lease_ms)
        self.memory = settled.memory
        return settled

    async def share(self, least: int = 0, wanted: int = 0, *, lease_ms: int = LEASE_MS, **fields: Any) -> int:
        claim = {"name": NAME, "limit": 10, "used": 0, "share": 0, **fields}
        return (await self(Claim(**claim, least=least, wanted=wanted or least), lease_ms=lease_ms)).shares[0].share


async def test_who_asks_gets_what_it_needs_and_nobody_gets_more_than_is_left(lessor: Lessor) -> None:
    a, b, c = (Asking(lessor, name) for name in "abc")
    assert await a.share(1, 4) == 4
    assert await b.share(1, 20) == 6
    assert await c.share(1) == 0
    assert await a.share(share=4, used=2) == 4  # what it holds it keeps
    assert await a.share(share=2, used=2) == 2  # and gives back what it says
    assert await c.share(3) == 0  # all or nothing of what is needed least
    assert await c.share(2) == 2


async def test_what_stands_in_the_way_is_told_and_others_hear_that_it_is_wanted(lessor: Lessor) -> None:
    a, b, c = (Asking(lessor, name) for name in "abc")
    await a.share(10, used=0)
    await a(Claim(NAME, 10, 7, 10, frees_ms=30_000))
    (told,) = (await b(Claim(NAME, 10, 0, 0, least=1, wanted=1))).shares
    assert (told.share, told.idle) == (0, 3)
    assert 5_000 < told.frees_ms <= 30_000
    seen = await a()
    assert (seen.wanted, seen.processes) == ([NAME], 2)
    assert await a.share(share=7, used=7) == 7
    assert await b.share(1) == 1
    (told,) = (await c(Claim(NAME, 10, 0, 0, least=9, wanted=9))).shares
    assert (told.share, told.idle) == (0, 1)


async def test_what_may_be_over_by_now_is_worth_waiting_for(lessor: Lessor) -> None:
    a, b = Asking(lessor, "a"), Asking(lessor, "b")
    await a.share(10)
    await a(Claim(NAME, 10, 10, 10, frees_ms=1_000))
    assert (await b(Claim(NAME, 10, 0, 0, least=1, wanted=1))).shares[0].idle == 0
    await _pass(lessor, 1.1)
    (told,) = (await b(Claim(NAME, 10, 0, 0, least=1, wanted=1))).shares
    assert (told.idle, told.frees_ms) == (10, 0)


async def test_a_share_is_taken_ahead_of_need_only_out_of_plenty(lessor: Lessor) -> None:
    a, b = Asking(lessor, "a"), Asking(lessor, "b")
    await b()
    (told,) = (await a(Claim(NAME, 1000, 0, 0, least=1, wanted=1, more=125))).shares
    assert told.share == 126
    (told,) = (await b(Claim(NAME, 1000, 0, 0, least=870, wanted=870, more=125))).shares
    assert told.share == 871  # a quarter of the four that are left


async def test_more_used_than_was_granted_is_made_room_for_and_stops_others(lessor: Lessor) -> None:
    a, b = Asking(lessor, "a"), Asking(lessor, "b")
    await a.share(1, 4)
    assert await a.share(share=4, used=40) == 40
    assert await b.share(1) == 0
    assert await a.share(share=5, used=5) == 5
    assert await b.share(1, 9) == 5


async def test_the_dead_keep_what_may_have_been_used_a_minute_longer(lessor: Lessor) -> None:
    a, b = Asking(lessor, "a"), Asking(lessor, "b")
    await a(
        Claim(NAME, 10, 0, 0, least=6, wanted=6, window_ms=2_000),
        Claim("max_parallel_requests:api_key:a", 10, 0, 0, least=6, wanted=6, window_ms=0),
        lease_ms=1_000,
    )
    calls = Claim(NAME, 10, 0, 0, least=5, wanted=5, window_ms=2_000)
    at_once = Claim("max_parallel_requests:api_key:a", 10, 0, 0, least=5, wanted=5, window_ms=0)
    assert [one.share for one in (await b(calls, at_once)).shares] == [0, 0]
    await _pass(lessor, 1.2)  # the lease is over, the window is not
    settled = await b(calls, at_once)
    assert [one.share for one in settled.shares] == [0, 5]
    assert settled.processes == 1
    assert settled.shares[0].idle == 0
    assert 0 < settled.shares[0].frees_ms <= 1_800
    await _pass(lessor, 2.0)
    assert await b.share(5, window_ms=2_000) == 5


async def test_who_leaves_gives_back_at_once_but_what_was_used(lessor: Lessor) -> None:
    a, b = Asking(lessor, "a"), Asking(lessor, "b")
    await a.share(8)
    await a(Claim(NAME, 10, 3, 3), lease_ms=0)
    settled = await b(Claim(NAME, 10, 0, 0, least=7, wanted=10))
    assert (settled.shares[0].share, settled.processes) == (7, 1)


async def test_a_claim_that_comes_late_changes_nothing(lessor: Lessor) -> None:
    first = await lessor.settle("a", 2, "", [Claim(NAME, 10, 0, 0, least=4, wanted=4)])
    late = await lessor.settle("a", 1, first.memory, [Claim(NAME, 10, 0, 0, least=9, wanted=9)])
    assert late.shares == []
    assert (await lessor.settle("b", 1, "", [Claim(NAME, 10, 0, 0, least=1, wanted=10)])).shares[0].share == 6


async def test_a_limit_that_is_given_back_whole_is_forgotten(lessor: Lessor) -> None:
    a, b = Asking(lessor, "a"), Asking(lessor, "b")
    await a.share(10)
    assert await a.share(limit=0) == 0
    assert await b.share(10) == 10


CLAIMS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 12),  # used
        st.integers(0, 6),  # given back of what is held
        st.integers(0, 6),  # needed
        st.integers(0, 3),  # for others that wait
        st.integers(0, 4),  # liked
    ),
    max_size=40,
)


@given(CLAIMS, st.integers(1, 12))
def test_all_shares_together_are_never_more_than_the_limit(claims: list[tuple[Any, ...]], limit: int) -> None:
    register = Register(lambda: 0.0)
    shares = dict.fromkeys("abc", 0)
    for number, (process, used, back, least, beyond, more) in enumerate(claims, 1):
        used = min(used, shares[process])
        kept = max(used, shares[process] - back)
        claim = Claim(NAME, limit, used, kept, least=least, wanted=least + beyond if least else 0, more=more)
        others = sum(shares.values()) - shares[process]
        shares[process] = register.settle(process, number, [claim]).shares[0].share
        assert sum(shares.values()) <= limit
        assert shares[process] == kept + grant(claim, others=others, processes=register._living(0.0))
        if least and others + kept + least <= limit:
            assert shares[process] >= kept + least


async def test_the_book_forgets_the_dead_once_nothing_of_theirs_can_be_in_use() -> None:
    lessor = BookLessor()
    await Asking(lessor, "a").share(5)
    lessor.register.gone("a")
    lessor.now += 59
    lessor.register.forget()
    assert lessor.register._held
    lessor.now += 2
    lessor.register.forget()
    assert lessor.register._held == {}
    assert lessor.register._leases == {}
    assert lessor.register._sequences == {}


# --- Redis alone ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def shares(redis: RedisServer) -> AsyncIterator[RedisShares]:
    shares = RedisShares(RedisPlace(url=Secret(redis.url)), recall_ms=1_500)
    yield shares
    await shares.close()


async def test_the_book_and_the_script_agree(redis: RedisServer, shares: RedisShares) -> None:
    book = BookLessor()
    held = dict.fromkeys("abc", 0)
    for number in range(1, 200):
        process = "abc"[number * 7 % 3]
        used = number * 5 % (held[process] + 1)
        kept = max(used, held[process] - number % 3)
        least = number * 11 % 5
        claim = Claim(NAME, 17, used, kept, least=least, wanted=least + number % 2 if least else 0, more=number % 4)
        theirs = await shares.settle(process, number, "", [claim])
        ours = await book.settle(process, number, "", [claim])
        assert theirs.shares == ours.shares
        assert (theirs.processes, theirs.wanted) == (ours.processes, ours.wanted)
        held[process] = ours.shares[0].share


async def test_every_key_expires_and_carries_the_tag_of_all(redis: RedisServer, shares: RedisShares) -> None:
    asking = Asking(shares, "a")
    await asking.share(10)
    await Asking(shares, "b").share(1)
    keys = [line for line in redis.ask("KEYS", "*").decode().split("\r\n") if line.startswith("tollway")]
    assert len(keys) == 6  # state, processes, wanted, two sequences, one limit
    for key in keys:
        assert key.startswith("tollway:{shares}:")
        assert 0 < int(redis.ask("PTTL", key).decode().strip(":\r\n")) <= 300_000


async def test_a_redis_that_lost_everything_grants_nothing_until_all_have_told_it(
    redis: RedisServer, shares: RedisShares
) -> None:
    a, b, new = Asking(shares, "a"), Asking(shares, "b"), Asking(shares, "new")
    assert await a.share(6) == 6
    assert await b.share(4) == 4
    redis.ask("FLUSHALL")
    before = a.memory
    settled = await a(Claim(NAME, 10, 3, 6, least=2, wanted=2))
    assert settled.recalling
    assert settled.memory != before
    assert settled.shares[0].share == 6  # what it says it holds, and nothing more
    assert await new.share(1) == 0
    assert await b.share(share=4, used=4) == 4
    await asyncio.sleep(1.6)
    settled = await new(Claim(NAME, 10, 0, 0, least=1, wanted=1))
    assert not settled.recalling
    assert (settled.shares[0].share, settled.shares[0].idle) == (0, 3)


async def test_a_redis_that_is_new_grants_at_once(redis: RedisServer, shares: RedisShares) -> None:
    settled = await Asking(shares, "a")(Claim(NAME, 10, 0, 0, least=1, wanted=1))
    assert not settled.recalling
    assert settled.shares[0].share == 1


async def test_a_redis_that_is_away_is_a_storage_error_and_is_found_again(
    redis: RedisServer, shares: RedisShares
) -> None:
    asking = Asking(shares, "a")
    await asking.share(1)
    redis.kill()
    with pytest.raises(StorageError):
        await asking.share(1)
    await asyncio.to_thread(redis.start)
    settled = await asking(Claim(NAME, 10, 0, 1))
    assert settled.shares[0].share == 1


async def test_a_password_is_shown_nowhere() -> None:
    shares = RedisShares(RedisPlace(url=Secret("redis://user:hidden@127.0.0.1:1/0")))
    assert shares.described == "Redis at 127.0.0.1:1"
    with pytest.raises(StorageError) as error:
        await Asking(shares, "a").share(1)
    assert "hidden" not in str(error.value)
    await shares.close()


async def _pass(lessor: Lessor, seconds: float) -> None:
    if isinstance(lessor, BookLessor):
        lessor.now += seconds
    else:
        await asyncio.sleep(seconds)  # the clock is that of Redis
