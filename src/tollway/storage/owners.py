"""Whose a file, a batch or another thing is that a provider keeps: who made it through the gateway.

    owned.notes      16 bytes of the id's BLAKE2b, 16 of its owner's, and so on; what is newer counts
    owned.notes.1    the same, older

All workers of a machine append to one file, each note in one write, and read what the others appended before they judge. When the
file holds half of NOTES_MAX, the worker that may do so begins another and the older half is forgotten: whose thing is forgotten,
it belongs to nobody but the administrator.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from threading import Lock

log = logging.getLogger("tollway.owners")

#: Things whose owner is known; some 20 MB of memory.
NOTES_MAX = 100_000
DIGEST_BYTES = 16
NOTE_BYTES = 2 * DIGEST_BYTES
FILE_BYTES_MAX = NOTES_MAX // 2 * NOTE_BYTES


class Owners:
    """One worker's view of the notes. `turns_over`: this worker begins the next file when one is full."""

    def __init__(self, path: Path, *, turns_over: bool = True) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._turns_over = turns_over
        self._known: dict[bytes, bytes] = {}
        self._inode = 0
        self._read_bytes = 0
        self._lock = Lock()  # files are read and written in threads
        self._writing: set[asyncio.Future[None]] = set()

    def owner_is(self, id: str, owner: str) -> bool | None:
        """Whether it is this owner's; None where nobody knows whose it is."""
        known = self._known.get(_digest(id))
        return None if known is None else known == _digest(owner)

    def note(self, ids: Iterable[str], owner: str) -> None:
        """From now on these are this owner's; written down by a thread."""
        notes = [(_digest(id_), _digest(owner)) for id_ in ids]
        fresh = [(thing, whose) for thing, whose in notes if self._known.get(thing) != whose]
        if not fresh:
            return
        for thing, whose in fresh:
            self._learn(thing, whose)
        data = b"".join(thing + whose for thing, whose in fresh)
        writing = asyncio.get_running_loop().run_in_executor(None, self._append, data)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def refresh(self) -> None:
        """Takes over what other workers have noted, and what was noted before the start."""
        await asyncio.to_thread(self._read)

    async def close(self) -> None:
        await asyncio.gather(*self._writing, return_exceptions=True)

    def _learn(self, id: bytes, whose: bytes) -> None:
        self._known.pop(id, None)
        self._known[id] = whose
        while len(self._known) > NOTES_MAX:
            del self._known[next(iter(self._known))]

    # --- in threads

    def _append(self, data: bytes) -> None:
        with self._lock:
            try:
                file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(file, data)
                    full = os.fstat(file).st_size >= FILE_BYTES_MAX
                finally:
                    os.close(file)
                if full and self._turns_over:
                    self._path.replace(self._older)
            except OSError as error:
                log.error("whose a provider's things are cannot be written down: %s", error)

    def _read(self) -> None:
        with self._lock:
            try:
                inode = self._path.stat().st_ino if self._path.exists() else 0
                if inode != self._inode or not inode:
                    with contextlib.suppress(FileNotFoundError):  # what was read of it as the newer one is passed over
                        self._learn_all(self._older, self._read_bytes if self._inode else 0)
                    self._inode, self._read_bytes = inode, 0
                if inode:
                    self._read_bytes = self._learn_all(self._path, self._read_bytes)
            except OSError as error:
                log.error("whose a provider's things are cannot be read: %s", error)

    def _learn_all(self, path: Path, start: int) -> int:
        """Reads the notes from `start` on; returns where it ended. A note that is not whole yet waits."""
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
        whole = len(data) // NOTE_BYTES * NOTE_BYTES
        for at in range(0, whole, NOTE_BYTES):
            self._learn(data[at : at + DIGEST_BYTES], data[at + DIGEST_BYTES : at + NOTE_BYTES])
        return start + whole


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
