"""Calls as they end, to whoever watches: server-sent events out of one bounded ring per worker.

The ring listens where the console does, and only while somebody watches. Of the calls of other workers, here and on other hosts,
it learns from the storage, once a second, as far as they began within the last `OTHERS_S`. A watcher that is too slow for the ring
is told how many calls it missed. A stream ends by itself after `STREAM_S_MAX` so that a gateway that is told to stop need not wait
for people; the page comes back with the number of the last call it saw, and misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta

from msgspec.json import encode
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tollway.admin import Office
from tollway.admin.border import principal_of, us_of
from tollway.admin.dashboard.files import NOT_KEPT
from tollway.admin.dashboard.lines import line_of
from tollway.admin.roles import check_sees
from tollway.errors import RateLimited, StorageError
from tollway.ledger.record import CallRecord, decode_record
from tollway.storage import SpendFilter

CALLS_MAX = 1_000
WATCHERS_MAX = 32
STREAM_S_MAX = 10.0
#: Between two batches of events: a hundred calls a second are ten events, not a hundred.
BATCH_S = 0.1
POLL_S = 1.0
OTHERS_S = 120
OTHERS_ROWS_MAX = 500
SEEN_MAX = 10_000
#: Nobody has watched for so long: the ring no longer listens.
IDLE_S_MAX = 60.0


class LiveLog:
    """Owns the ring, and the task that asks for other workers' calls, from the first watcher until a while after the last."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._ring: deque[CallRecord] = deque(maxlen=CALLS_MAX)
        self._told = 0
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._seen: dict[tuple[int, int], None] = {}

    def tell(self, record: CallRecord) -> None:
        """Puts a call into the ring; the oldest makes room. 0.2 us."""
        self._ring.append(record)
        self._told += 1
        self._changed.set()

    async def watch(self, last: int | None, whose: str | None = None) -> AsyncGenerator[bytes]:
        """Events from the call after number `last` on, or from now on; of one user's calls alone, where `whose` is given."""
        if self._watchers >= WATCHERS_MAX:
            raise RateLimited(f"At most {WATCHERS_MAX} people can watch at once.")
        self._watchers += 1
        try:
            self._listen()
            seen = self._told if last is None or last > self._told else last
            yield b"retry: 200\nid: %d\nevent: open\ndata: {}\n\n" % seen
            loop = asyncio.get_running_loop()
            ends_at = loop.time() + STREAM_S_MAX
            while (left_s := ends_at - loop.time()) > 0:
                if seen == self._told:
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), left_s)
                        await asyncio.sleep(BATCH_S)
                if seen != self._told:
                    batch, seen = self._since(seen, whose)
                    yield batch
        finally:
            self._watchers -= 1

    def _since(self, seen: int, whose: str | None) -> tuple[bytes, int]:
        fresh = self._told - seen
        kept = list(self._ring)[-min(fresh, len(self._ring)) :]
        missed = fresh - len(kept)
        seen_by = [record for record in kept if whose is None or record.user_id == whose]
        shown = encode({"calls": [line_of(record) for record in seen_by], "missed": missed})
        return b"id: %d\nevent: calls\ndata: %b\n\n" % (self._told, shown), self._told

    def _listen(self) -> None:
        if self._task is None or self._task.done():
            self._office.listen(self.tell)
            self._task = asyncio.get_running_loop().create_task(self._look_around())

    async def _look_around(self) -> None:
        """Until nobody watches any more."""
        idle_s = 0.0
        try:
            others = self._office.workers > 1 or self._office.storage.shared
            if others:
                await self._others(tell=False)
            while idle_s < IDLE_S_MAX:
                await asyncio.sleep(POLL_S)
                idle_s = 0.0 if self._watchers else idle_s + POLL_S
                if others and self._watchers:
                    await self._others(tell=True)
        finally:
            self._office.ignore(self.tell)
            self._ring.clear()
            self._seen.clear()

    async def _others(self, *, tell: bool) -> None:
        """Rows of other workers that were not there a second ago."""
        since = us_of(self._office.now() - timedelta(seconds=OTHERS_S))
        own = {(record.epoch, record.seq) for record in self._ring}
        try:
            rows = await self._office.storage.spend.page(SpendFilter(from_us=since), limit=OTHERS_ROWS_MAX)
        except StorageError:
            return  # the next second asks again
        for row in reversed(rows):
            place = (row.epoch, row.seq)
            if place in self._seen or place in own:
                continue
            self._seen[place] = None
            if tell:
                self.tell(decode_record(row.detail))
        while len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]


async def watch(request: Request) -> Response:
    """Calls as they end, as server-sent events."""
    live: LiveLog = request.app.state.live
    asked = request.headers.get("last-event-id", "")
    whose = check_sees(principal_of(request), None)
    events = live.watch(int(asked) if asked.isdecimal() and len(asked) < 18 else None, whose)
    first = await anext(events)  # what is refused is refused before the answer begins

    async def whole() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(events):
            yield first
            async for event in events:
                yield event

    headers = {**NOT_KEPT, "x-accel-buffering": "no"}
    return StreamingResponse(whole(), media_type="text/event-stream", headers=headers)
