"""How workers ask their parent for shares of rate limits."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from tollway.cli.shares import Frames, SharesForWorkers, SharesOfParent
from tollway.errors import StorageError
from tollway.storage.shares import Claim

NAME = "max_parallel_requests:api_key:a"


async def worker(parent: SharesForWorkers) -> SharesOfParent:
    theirs = await parent.connect()
    return SharesOfParent(theirs.detach())


def claim(least: int, share: int = 0) -> Claim:
    return Claim(NAME, 10, share, share, least=least, wanted=least, window_ms=0)


async def test_workers_share_through_their_parent_and_the_dead_leave_at_once() -> None:
    parent = SharesForWorkers()
    a, b = await worker(parent), await worker(parent)
    first, second = await asyncio.gather(a.settle("a", 1, "", [claim(6)]), b.settle("b", 1, "", [claim(4)]))
    assert [first.shares[0].share, second.shares[0].share] == [6, 4]
    assert (await b.settle("b", 2, "", [claim(3, 4)])).shares[0].share == 4
    await a.close()
    share, asked = 4, count(3)
    async with asyncio.timeout(30):
        while share == 4:
            share = (await b.settle("b", next(asked), "", [claim(3, 4)])).shares[0].share
    assert share == 7
    await b.close()
    parent.close()


async def test_a_parent_that_is_gone_is_a_storage_error_also_for_who_waits() -> None:
    parent = SharesForWorkers()
    a = await worker(parent)
    await a.settle("a", 1, "", [])
    waiting = asyncio.ensure_future(a.settle("a", 2, "", []))
    parent.close()
    with pytest.raises(StorageError):
        await waiting
    with pytest.raises(StorageError):
        await a.settle("a", 3, "", [])
    await a.close()
    never_asked = await worker(parent)
    await never_asked.close()
    parent.close()


def test_messages_are_cut_out_of_whatever_comes() -> None:
    got: list[bytes] = []
    frames = Frames(lambda _, frame: got.append(frame), lambda: None)
    whole = b"\0\0\0\3abc\0\0\0\0\0\0\0\2de"
    for i in range(len(whole)):
        frames.data_received(whole[i : i + 1])
    frames.data_received(whole)
    assert got == [b"abc", b"", b"de"] * 2
