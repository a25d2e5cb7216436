from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tollway.ledger import journal as journals
from tollway.outbox import WAITING_BYTES_MAX, Outbox


class FakeTransport:
    def __init__(self, told: list[tuple[str, bytes]], name: str) -> None:
        self.told = told
        self.name = name
        self.closing = False
        self.fails = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        if self.fails:
            raise RuntimeError("the handler is closed")
        self.told.append((self.name, data))

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


class Turn:
    """A turn of a loop that ends when the test says so."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []
        self.later: list[Any] = []
        self.outbox = Outbox(self.later.append)

    def transport(self, name: str) -> Any:
        return FakeTransport(self.told, name)

    def end(self) -> None:
        later, self.later[:] = list(self.later), []
        for work in later:
            work()


def test_all_leaves_at_the_turns_end_in_its_order_and_a_transports_pieces_in_one() -> None:
    turn = Turn()
    first, second = turn.transport("first"), turn.transport("second")
    turn.outbox.put(first, b"head")
    turn.outbox.put(second, b"other")
    turn.outbox.put(first, b"+body")
    assert turn.told == []
    assert len(turn.later) == 1
    turn.end()
    assert turn.told == [("first", b"head+body"), ("second", b"other")]
    turn.outbox.put(second, b"again")
    turn.end()
    assert turn.told[2:] == [("second", b"again")]


def test_what_goes_ahead_is_done_once_before_anything_leaves_whenever_it_was_said() -> None:
    turn = Turn()
    transport = turn.transport("client")
    turn.outbox.put(transport, b"an answer")
    turn.outbox.ahead(lambda: turn.told.append(("journal", b"")))
    turn.end()
    turn.outbox.put(transport, b"another")
    turn.end()
    assert turn.told == [("journal", b""), ("client", b"an answer"), ("client", b"another")]


def test_without_an_answer_what_goes_ahead_is_done_all_the_same() -> None:
    turn = Turn()
    turn.outbox.ahead(lambda: turn.told.append(("journal", b"")))
    turn.end()
    assert turn.told == [("journal", b"")]


def test_a_flush_lets_all_go_at_once_and_the_turns_end_finds_nothing() -> None:
    turn = Turn()
    turn.outbox.put(turn.transport("client"), b"an answer")
    turn.outbox.flush()
    assert turn.told == [("client", b"an answer")]
    turn.end()
    assert turn.told == [("client", b"an answer")]


def test_large_pieces_do_not_wait_for_the_turns_end() -> None:
    turn = Turn()
    transport = turn.transport("client")
    turn.outbox.put(transport, bytes(WAITING_BYTES_MAX))
    assert turn.told == []
    turn.outbox.put(transport, b"x")
    assert turn.told == [("client", bytes(WAITING_BYTES_MAX) + b"x")]


def test_a_connection_that_is_closed_or_fails_keeps_nobody_elses_from_leaving(caplog: pytest.LogCaptureFixture) -> None:
    turn = Turn()
    gone, failing, well = (turn.transport(name) for name in ("gone", "failing", "well"))
    gone.closing = failing.fails = True
    for transport in (gone, failing, well):
        turn.outbox.put(transport, b"x")
    with caplog.at_level(logging.ERROR, "tollway"):
        turn.end()
    assert turn.told == [("well", b"x")]
    assert failing.aborted
    assert "nothing can be written to a connection" in caplog.text


async def test_it_takes_the_loop_that_it_is_first_used_on() -> None:
    told: list[tuple[str, bytes]] = []
    outbox = Outbox()
    outbox.put(FakeTransport(told, "client"), b"x")  # type: ignore[arg-type]  # what it uses of one
    assert told == []
    await asyncio.sleep(0)
    assert told == [("client", b"x")]


def test_records_of_one_turn_are_one_write_and_each_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    really = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(data)
        return really(fd, data)

    monkeypatch.setattr(journals.os, "write", write)  # type: ignore[attr-defined]  # as it is imported there
    journal = journals.Journal(tmp_path, 7)
    journal.open()
    assert journal.append(b"one", b"two", b"three") == 0
    journal.close(drained=False)
    assert len(writes) == 1
    damage: list[int] = []
    assert list(journals.read(tmp_path / "7-0.log", damage.append)) == [b"one", b"two", b"three"]
    assert damage == []
