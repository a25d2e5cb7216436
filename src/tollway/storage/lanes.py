"""Threads that talk to a database, each with a connection of its own. What a lane is given is done in order, each piece of
work in a transaction: whole, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from tollway.errors import StorageError


class Connected(Protocol):
    """A connection in its thread."""

    def begin(self) -> None: ...

    def commit(self) -> None: ...

    def roll_back(self) -> None: ...

    def close(self) -> None: ...

    @property
    def broken(self) -> bool:
        """No further piece of work will find it well."""


S = TypeVar("S", bound=Connected)
T = TypeVar("T")

#: Pieces of work that may wait for one connection; a further one is refused with StorageError.
WAITING_MAX = 10_000
#: How often one piece of work is begun.
TRIES_MAX = 4


class Lane(Generic[S]):
    """One thread and its connection, opened when it is first needed. Owns both until `close`."""

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], S],
        translate: Callable[[Exception], StorageError | None],
        again: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        """`translate` makes a StorageError of a driver's; what it knows nothing of goes on as it is. `again` says which
        errors left nothing done and may not come a second time.
        """
        self.waiting = 0
        self._connect = connect
        self._translate = translate
        self._again = again
        self._session: S | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"tollway-storage-{name}")

    async def run(self, work: Callable[[S], T]) -> T:
        """Goes on when the one who waits is cancelled."""
        if self.waiting >= WAITING_MAX:
            raise StorageError(f"The storage is behind: {self.waiting} pieces of work wait for it.")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)
        finally:
            self.waiting -= 1

    def _do(self, work: Callable[[S], T]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                return self._once(work)
            except Exception as error:
                if tries < TRIES_MAX and self._again(error):
                    continue
                translated = self._translate(error)
                if translated is None:
                    raise
                raise translated from error

    def _once(self, work: Callable[[S], T]) -> T:
        session = self._session
        if session is None:
            session = self._session = self._connect()
        try:
            session.begin()
            result = work(session)
            session.commit()
        except BaseException:
            session.roll_back()
            if session.broken:
                self._end()
            raise
        return result

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
