from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tollway.storage import responses
from tollway.storage.responses import KeptResponse, Responses

HELLO = KeptResponse("key:ab", "gpt", 7, "", b'{"id":"resp_1"}', b'[{"a":1}]', b'[{"a":1},{"b":2}]')


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Responses]:
    store = Responses(tmp_path / "responses", mb_max=1, days_max=2)
    store.open()
    yield store
    store.close()


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "responses").glob("??/*"))


async def test_what_was_put_is_there_at_once_and_after_it_was_written(store: Responses, tmp_path: Path) -> None:
    assert store.put("resp_1", HELLO)
    assert await store.get("resp_1") == HELLO
    await asyncio.to_thread(store.close)
    again = Responses(tmp_path / "responses", mb_max=1, days_max=2)
    assert await again.get("resp_1") == HELLO
    assert await again.get("resp_2") is None
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o077 == 0


async def test_what_was_deleted_is_gone(store: Responses, tmp_path: Path) -> None:
    store.put("resp_1", HELLO)
    store.delete("resp_1")
    assert await store.get("resp_1") is None
    await asyncio.to_thread(store.close)
    assert await store.get("resp_1") is None
    assert files(tmp_path) == []


async def test_the_last_that_was_put_counts(store: Responses) -> None:
    later = KeptResponse("key:ab", "gpt", 8)
    for kept in (HELLO, later):
        store.put("resp_1", kept)
    assert await store.get("resp_1") == later
    await asyncio.to_thread(store.close)
    assert await store.get("resp_1") == later


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "SWEPT_AFTER_BYTES", 1)
    store = Responses(tmp_path / "responses", mb_max=1, days_max=2)
    store.open()
    body = os.urandom(100_000)
    for number in range(30):
        store.put(f"resp_{number}", KeptResponse("o", "m", number, "", body))
    store.close()
    assert 8 <= len(files(tmp_path)) <= 11
    assert asyncio.run(store.get("resp_29")) is not None


async def test_what_is_too_old_is_no_longer_kept(store: Responses, tmp_path: Path) -> None:
    store.put("resp_1", HELLO)
    await asyncio.to_thread(store.close)
    (file,) = files(tmp_path)
    long_ago = time.time() - 3 * responses.DAY_S
    os.utime(file, (long_ago, long_ago))
    assert await store.get("resp_1") is None


def test_what_is_too_large_or_comes_too_fast_is_left_out_and_counted(
    store: Responses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "RESPONSE_BYTES_MAX", 10)
    assert not store.put("resp_1", HELLO)
    monkeypatch.undo()
    monkeypatch.setattr(responses, "WAITING_BYTES_MAX", -1)
    assert not store.put("resp_1", HELLO)
    assert store.left_out == 2


async def test_a_file_that_somebody_damaged_is_none(store: Responses, tmp_path: Path) -> None:
    store.put("resp_1", HELLO)
    await asyncio.to_thread(store.close)
    files(tmp_path)[0].write_bytes(b"\x93")
    assert await store.get("resp_1") is None
