"""What every storage must do with passwords and tickets; run on each of them."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from tollway.errors import StorageError
from tollway.storage import Storage, open_storage
from tollway.storage.people import User
from tollway.storage.sign_ins import Ticket

LONG_US = 10**12


def a_ticket(text: str, *, kind: str = "session", user_id: str = "u1", begun: int = 0, lasts: int = 1000) -> Ticket:
    return Ticket(
        digest=sha256(text.encode()).digest(),
        kind=kind,
        user_id=user_id,
        begun_us=begun,
        used_us=begun,
        ends_us=begun + lasts,
        detail=b"\x00\xff",
    )


async def keep(storage: Storage, *tickets: Ticket, most: int = 100, idle: int = LONG_US) -> None:
    for ticket in tickets:
        await storage.sign_ins.add(ticket, tickets_max=most, idle_us_max=idle)


async def test_a_password_is_kept_until_there_is_another_or_none(storage: Storage) -> None:
    store = storage.sign_ins
    assert await store.password_of("u1") is None
    await store.set_password("u1", "first", now_us=1)
    await store.set_password("ü", "other", now_us=1)
    await store.set_password("u1", "second", now_us=2)
    assert (await store.password_of("u1"), await store.password_of("ü")) == ("second", "other")
    assert await store.users_with_password() == {"u1", "ü"}
    await store.set_password("u1", None, now_us=3)
    await store.set_password("nobody", None, now_us=3)
    assert await store.password_of("u1") is None
    assert await store.users_with_password() == {"ü"}


async def test_no_hash_is_in_what_is_known_of_people(storage: Storage) -> None:
    await storage.people.users.create(User(id="u1"))
    await storage.sign_ins.set_password("u1", "the-hash", now_us=1)
    assert "the-hash" not in repr(await storage.people.load())
    assert "the-hash" not in repr(await storage.people.users.get("u1"))


async def test_another_password_ends_the_users_tickets_and_nobody_elses(storage: Storage) -> None:
    mine, link, others = a_ticket("mine"), a_ticket("link", kind="link"), a_ticket("others", user_id="u2")
    await keep(storage, mine, link, others)
    await storage.sign_ins.set_password("u1", "hash", now_us=5)
    assert await storage.sign_ins.get(mine.digest) is None
    assert await storage.sign_ins.get(link.digest) is None
    assert await storage.sign_ins.get(others.digest) == others


async def test_a_ticket_comes_back_as_it_was_kept(storage: Storage) -> None:
    ticket = a_ticket("mine", begun=7)
    await keep(storage, ticket)
    assert await storage.sign_ins.get(ticket.digest) == ticket
    await storage.sign_ins.touch(ticket.digest, 9)
    found = await storage.sign_ins.get(ticket.digest)
    assert found is not None
    assert (found.used_us, found.begun_us, found.ends_us) == (9, 7, 1007)
    await storage.sign_ins.touch(b"nobody's", 9)
    assert await storage.sign_ins.get(b"nobody's") is None


async def test_a_ticket_is_not_kept_twice(storage: Storage) -> None:
    await keep(storage, a_ticket("mine"))
    with pytest.raises(StorageError):
        await keep(storage, a_ticket("mine", user_id="u2"))


async def test_of_many_who_take_a_ticket_one_gets_it(storage: Storage) -> None:
    ticket = a_ticket("once", kind="link")
    await keep(storage, ticket)
    taken = await asyncio.gather(*(storage.sign_ins.take(ticket.digest) for _ in range(10)))
    assert [one for one in taken if one is not None] == [ticket]
    assert await storage.sign_ins.get(ticket.digest) is None


async def test_of_two_processes_that_take_a_ticket_one_gets_it(tmp_path: Path) -> None:
    first, second = [await open_storage(tmp_path / "shared.db") for _ in range(2)]
    for number in range(20):
        ticket = a_ticket(f"once {number}")
        await keep(first, ticket)
        taken = await asyncio.gather(first.sign_ins.take(ticket.digest), second.sign_ins.take(ticket.digest))
        assert sorted(one is not None for one in taken) == [False, True]
    await first.close()
    await second.close()


async def test_tickets_of_users_end_together(storage: Storage) -> None:
    kept = [a_ticket(name, user_id=name) for name in ("u1", "u2", "u3", "")]
    await keep(storage, *kept)
    assert await storage.sign_ins.end(["u1", "u3", "nobody", "u1"]) == 2
    left = [await storage.sign_ins.get(one.digest) for one in kept]
    assert [one is not None for one in left] == [False, True, False, True]


async def test_a_new_one_makes_room_by_those_that_are_over_idle_or_used_longest_ago(storage: Storage) -> None:
    over, idle = a_ticket("over", begun=0, lasts=50), a_ticket("idle", begun=10, lasts=LONG_US)
    link = a_ticket("link", kind="link", begun=0, lasts=5)
    used = [a_ticket(f"used {n}", begun=60 + n, lasts=LONG_US) for n in range(4)]
    await keep(storage, over, idle, link)
    await keep(storage, *used, most=3, idle=80)
    new = a_ticket("new", begun=100, lasts=LONG_US)
    await keep(storage, new, most=3, idle=80)
    left = [await storage.sign_ins.get(one.digest) for one in (over, idle, *used, new)]
    assert [one is not None for one in left] == [False, False, False, False, True, True, True]
    assert await storage.sign_ins.get(link.digest) == link  # another kind's bound is its own
