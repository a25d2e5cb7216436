"""How workers share budgets; run on every storage."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.storage import LeaseKept, LeaseState, LeaseWant, Storage, open_storage
from tollway.testing.storage import MemoryStorage

from .samples import a_call, a_key, token

KEY = token("a").hex()


def want(least: int, *, granted: int = 0, more: int = 0, limit: int = 100, period: int = 0, **place: Any) -> LeaseWant:
    return LeaseWant(
        **{"scope": "key", "id": KEY, **place},
        period_start_us=period,
        limit_nano=limit,
        granted_nano=granted,
        least_nano=least,
        more_nano=more,
    )


async def lease(storage: Storage, epoch: int, wanted: LeaseWant, *, workers: int = 2) -> LeaseState:
    (state,) = await storage.leases.lease(epoch, [wanted], workers=workers)
    return state


async def granted(storage: Storage, epoch: int, wanted: LeaseWant, *, workers: int = 2) -> int:
    return (await lease(storage, epoch, wanted, workers=workers)).granted_nano


async def test_a_lease_is_what_is_needed_or_nothing(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(60)) == 60
    assert await granted(storage, 2, want(41)) == 0
    assert await granted(storage, 2, want(40)) == 40
    assert await granted(storage, 1, want(1, granted=60)) == 60


async def test_what_is_liked_beyond_need_shrinks_with_what_is_left(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(1, more=1000)) == 25  # of 100 left, between twice two workers
    assert await granted(storage, 2, want(1, more=1000)) == 18
    assert await granted(storage, 3, want(1, more=5)) == 5
    assert await granted(storage, 3, want(0, granted=5, more=1000), workers=26) == 6
    assert await granted(storage, 3, want(0, granted=6, more=1000), workers=26) == 6


async def test_what_was_spent_is_not_leased_again(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    await storage.spend.ingest([a_call(1, ("key", KEY, 0, 70))])
    state = await lease(storage, 1, want(31))
    assert (state.granted_nano, state.spent_nano, state.wanted) == (0, 70, False)
    assert await granted(storage, 1, want(30)) == 30


async def test_ingesting_a_workers_rows_lowers_its_lease_by_what_they_charge(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 7, want(60)) == 60
    rows = [
        a_call(1, ("key", KEY, 0, 20), ("global", "", 0, 20)),
        a_call(2, ("key", KEY, 0, 10), ("global", "", 0, 10)),
    ]
    assert await storage.spend.ingest(rows, leased=True) == 2
    assert await storage.spend.ingest(rows, leased=True) == 0
    states = {state.scope: state for state in await storage.leases.states(7)}
    assert states["key"] == LeaseState(
        scope="key", id=KEY, period_start_us=0, granted_nano=60, charged_nano=30, spent_nano=30, outstanding_nano=30
    )
    assert states["global"].charged_nano == states["global"].spent_nano == 30
    assert await granted(storage, 8, want(41)) == 0
    assert await granted(storage, 8, want(40)) == 40


async def test_what_was_charged_beyond_a_lease_is_simply_spent(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 7, want(10)) == 10
    await storage.spend.ingest([a_call(1, ("key", KEY, 0, 25))], leased=True)
    assert await granted(storage, 8, want(76)) == 0
    assert await granted(storage, 8, want(70)) == 70
    # Its own next lease makes up for it first: 15 of these 20 are spent already.
    state = await lease(storage, 7, want(20, granted=10))
    assert (state.granted_nano, state.charged_nano) == (30, 25)
    assert await granted(storage, 9, want(1)) == 0


async def test_idle_leases_come_back_and_giving_back_twice_changes_nothing(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(100)) == 100
    for _ in range(2):
        await storage.leases.give_back(1, [LeaseKept("key", KEY, 0, 40)])
    await storage.leases.give_back(1, [LeaseKept("key", KEY, 0, 90)])
    assert await granted(storage, 2, want(61)) == 0
    assert await granted(storage, 2, want(60)) == 60
    await storage.leases.give_back(9, [LeaseKept("key", KEY, 0, 90)])
    assert await storage.leases.states(9) == []


async def test_a_grant_whose_answer_was_lost_is_taken_back_by_the_next_request(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(80)) == 80
    assert await granted(storage, 1, want(30)) == 30  # it never heard of the 80
    assert await granted(storage, 2, want(70)) == 70


async def test_leases_that_stand_in_the_way_are_marked_as_wanted_until_something_is_given_back(
    storage: Storage,
) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(60)) == 60
    assert await granted(storage, 2, want(30)) == 30
    assert await storage.leases.states(1, wanted_only=True) == []
    assert await granted(storage, 2, want(40, granted=30)) == 30
    (state,) = await storage.leases.states(1, wanted_only=True)
    assert (state.id, state.wanted) == (KEY, True)
    assert await storage.leases.states(2, wanted_only=True) == []
    assert await granted(storage, 1, want(1, granted=60, more=50)) == 61  # no more than it needs
    await storage.leases.give_back(1, [LeaseKept("key", KEY, 0, 10)])
    assert await storage.leases.states(1, wanted_only=True) == []


async def test_what_nobody_waits_for_marks_nothing(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(100)) == 100
    assert await granted(storage, 2, want(0, more=50)) == 0
    assert await storage.leases.states(1, wanted_only=True) == []


async def test_a_lease_belongs_to_a_period(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(100)) == 100
    assert await granted(storage, 2, want(100, period=1_000)) == 100  # its clock was the first to see the reset
    await storage.spend.ingest([a_call(1, ("key", KEY, 1_000, 30), epoch=2)], leased=True)
    state = await lease(storage, 1, want(1, granted=100))
    assert (state.period_start_us, state.granted_nano, state.spent_nano) == (1_000, 0, 30)
    await storage.spend.ingest([a_call(2, ("key", KEY, 0, 50), epoch=1)], leased=True)
    assert await granted(storage, 1, want(1, period=1_000)) == 0
    await storage.leases.give_back(2, [LeaseKept("key", KEY, 1_000, 40)])
    assert await granted(storage, 1, want(60, period=1_000)) == 60


async def test_the_leases_of_a_worker_end_together(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 1, want(60)) == 60
    assert await granted(storage, 1, want(60, scope="team", id="t")) == 60
    assert await granted(storage, 2, want(40)) == 40
    await storage.leases.end(1)
    await storage.leases.end(1)
    assert await storage.leases.states(1) == []
    assert await granted(storage, 3, want(60)) == 60
    assert await granted(storage, 3, want(100, scope="team", id="t")) == 100


async def test_leases_follow_a_key_that_gets_another_token_and_go_with_a_deleted_one(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    assert await granted(storage, 7, want(60)) == 60
    await storage.keys.regenerate(token("a"), token("b"), key_name="n", grace_until_us=0, changes={}, now_us=9)
    assert await granted(storage, 7, want(10, granted=60)) == 70
    await storage.spend.ingest([a_call(1, ("key", KEY, 0, 20))], leased=True)
    (state,) = await storage.leases.states(7)
    assert (state.id, state.granted_nano, state.charged_nano, state.spent_nano) == (token("b").hex(), 70, 20, 20)
    await storage.leases.give_back(7, [LeaseKept("key", KEY, 0, 50)])
    assert await granted(storage, 8, want(50, id=token("b").hex())) == 50
    await storage.keys.delete([token("b")])
    assert not (await lease(storage, 7, want(1))).known
    await storage.spend.ingest([a_call(2, ("key", token("b").hex(), 0, 20))], leased=True)
    assert await storage.leases.states(7) == []


async def test_every_change_of_a_key_is_counted_and_charges_are_not(storage: Storage) -> None:
    seen = [await storage.key_changes()]

    async def changed() -> bool:
        seen.append(await storage.key_changes())
        return seen[-1] > seen[-2]

    await storage.keys.create(a_key("a"))
    assert await changed()
    await storage.keys.update(token("a"), {"blocked": True}, now_us=2)
    assert await changed()
    await storage.keys.regenerate(token("a"), token("b"), key_name="n", grace_until_us=0, changes={}, now_us=3)
    assert await changed()
    await storage.spend.ingest([a_call(1, ("key", token("b").hex(), 0, 20))])
    await storage.keys.update(token("nobody"), {"blocked": True}, now_us=2)
    await storage.keys.delete([token("nobody")])
    assert not await changed()
    await storage.keys.delete([token("b")])
    assert await changed()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), st.integers(1, 3), st.integers(0, 60), st.integers(0, 200)),
        st.tuples(st.just("charge"), st.integers(1, 3), st.integers(0, 100), st.just(0)),
        st.tuples(st.just("give back"), st.integers(1, 3), st.integers(0, 100), st.just(0)),
        st.tuples(st.just("end"), st.integers(1, 3), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_spent_and_outstanding_never_exceed_the_limit_and_the_storages_agree(
    steps: list[tuple[str, int, int, int]],
) -> None:
    async def run(storage: Storage) -> list[Any]:
        await storage.keys.create(a_key("a"))
        known = {1: 0, 2: 0, 3: 0}
        charged = {1: 0, 2: 0, 3: 0}
        seen: list[Any] = []
        for seq, (step, epoch, amount, more) in enumerate(steps):
            if step == "lease":
                state = await lease(storage, epoch, want(amount, granted=known[epoch], more=more), workers=3)
                known[epoch] = state.granted_nano
                seen.append(state)
            elif step == "charge":
                nano = max(0, known[epoch] - charged[epoch]) * amount // 100
                charged[epoch] += nano
                await storage.spend.ingest([a_call(seq, ("key", KEY, 0, nano), epoch=epoch)], leased=True)
            elif step == "give back":
                known[epoch] -= max(0, known[epoch] - charged[epoch]) * amount // 100
                await storage.leases.give_back(epoch, [LeaseKept("key", KEY, 0, known[epoch])])
            else:
                await storage.leases.end(epoch)
                known[epoch] = charged[epoch] = 0
            record = await storage.keys.get(token("a"))
            assert record is not None
            assert record.spend_nano + sum(max(0, known[one] - charged[one]) for one in known) <= 100
            for one in known:
                for state in await storage.leases.states(one):
                    assert (state.granted_nano, state.charged_nano) == (known[one], charged[one])
        return seen

    async def on_all() -> None:
        with tempfile.TemporaryDirectory() as folder:
            sqlite = await open_storage(Path(folder) / "t.db")
            assert await run(sqlite) == await run(MemoryStorage())
            await sqlite.close()

    asyncio.run(on_all())
