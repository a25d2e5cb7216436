"""What leaves this process in one turn of its event loop leaves together, at the turn's end.

    task of call 1 --put--+                       +--> records of the turn, in one write to the journal (`ahead`)
    task of call 2 --put--+--> outbox --flush-----+--> answer to client 1, request to provider 2, answer to client 3, ...
    task of call 3 --put--+

A write to a peer on the same machine that sleeps wakes it, and that costs the writer more than the write (docs/performance.md has
figures). Between the writes of calls that are worked on one after the other, peers fall asleep again; of writes that follow each
other at once the first wakes it for all. And what has to be on the disk before an answer leaves is put there once for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("tollway")

#: When more than this waits it is not kept for the turn's end.
WAITING_BYTES_MAX = 1 << 20


class Outbox:
    """Of the event loop that it is first used on. Costs 0.3 us for each piece, and a turn of the loop for all of them.

    Whoever writes to a transport that something was put in for, or closes it, calls `flush` before.
    """

    __slots__ = ("_ahead", "_awaited", "_bytes", "_call_soon", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], object]], object] | None = None) -> None:
        """`call_soon` is what has work done at the end of a turn: the running loop's, if none is given."""
        self._call_soon = call_soon
        self._ahead: list[Callable[[], object]] = []
        self._waiting: dict[Any, tuple[bytes, ...]] = {}
        self._bytes = 0
        self._awaited = False

    def ahead(self, work: Callable[[], object]) -> None:
        """Has `work` done before anything more leaves. It raises nothing."""
        self._ahead.append(work)
        if not self._awaited:
            self._await_end()

    def put(self, transport: asyncio.WriteTransport, *pieces: bytes) -> None:
        """Has them written at the end of this turn, after what is in here for this transport."""
        waiting = self._waiting
        before = waiting.get(transport)
        waiting[transport] = pieces if before is None else before + pieces
        for piece in pieces:
            self._bytes += len(piece)
        if self._bytes > WAITING_BYTES_MAX:
            self.flush()
        elif not self._awaited:
            self._await_end()

    def flush(self) -> None:
        """Lets all go now."""
        self._awaited = False  # a flush that is still to come finds the outbox empty, or sends a little early
        if self._ahead:
            ahead, self._ahead = self._ahead, []
            for work in ahead:
                work()
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            self._bytes = 0
            for transport, pieces in waiting.items():
                if not transport.is_closing():
                    _write(transport, pieces)

    def _await_end(self) -> None:
        self._awaited = True
        if self._call_soon is None:
            self._call_soon = asyncio.get_running_loop().call_soon
        self._call_soon(self.flush)


def _write(transport: Any, pieces: tuple[bytes, ...]) -> None:
    try:
        if len(pieces) == 1:
            transport.write(pieces[0])
        else:
            transport.writelines(pieces)
    except Exception:  # the others' must leave all the same
        log.exception("nothing can be written to a connection")
        transport.abort()
