"""Responses that clients may come back to, one file each: bounded in megabytes and days, oldest dropped first.

    responses/3f/3f9c...       msgpack of one `KeptResponse`; the name is the SHA-256 of the response's id

Where a provider keeps a response itself, only who may ask for it and which deployment made it are kept here. A thread
writes; what it has not written yet is found in memory, so a client can come back at once. When the thread falls behind by more
than its bound, responses are left out and counted: whoever asks for one is told that it is not kept. All workers of a machine
share the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from msgspec import DecodeError, Struct, ValidationError, msgpack

log = logging.getLogger("tollway.responses")

DAY_S = 86_400
#: What may wait to be written; more is left out.
WAITING_BYTES_MAX = 64 << 20
#: One response with all that was said before it; a larger one is left out.
RESPONSE_BYTES_MAX = 64 << 20
#: The folder is looked through for what is too old or too much after so many bytes were written.
SWEPT_AFTER_BYTES = 16 << 20


class KeptResponse(Struct, array_like=True, frozen=True):
    """One response. `owner` says who may ask for it; `model` is the name that was asked for.

    `deployment_id`: the deployment whose provider keeps it; `body`, `asked` and `said` are empty then. Else `body` is the
    response as it was told, `asked` the items that its request brought (a JSON list), `said` all items up to its end: what
    the next one goes on from. `charged_nano`: of one that goes on in the background, what was charged for it so far;
    `settled` says that no more will be.
    """

    owner: str
    model: str
    created_s: int
    deployment_id: str = ""
    body: bytes = b""
    asked: bytes = b"[]"
    said: bytes = b"[]"
    charged_nano: int = 0
    settled: bool = True


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(KeptResponse).decode


class Responses:
    """One worker's way to the folder. Owns a writer thread from `open` to `close`."""

    def __init__(self, folder: Path, *, mb_max: int, days_max: int) -> None:
        self.left_out = 0
        self._folder = folder
        self._bytes_max = mb_max << 20
        self._age_s_max = days_max * DAY_S
        self._unwritten: dict[str, KeptResponse | None] = {}  # None: to be deleted
        self._waiting_bytes = 0
        self._queue: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._written_bytes = SWEPT_AFTER_BYTES  # so that the first write sweeps

    def open(self) -> None:
        self._thread = Thread(target=self._write_forever, name="tollway-responses", daemon=True)
        self._thread.start()

    def put(self, id: str, kept: KeptResponse) -> bool:
        """Keeps a response, or puts it in the place of an earlier one. False when it is left out. 3 us and a copy."""
        content = _encode(kept)
        if self._thread is None or len(content) > RESPONSE_BYTES_MAX or self._waiting_bytes > WAITING_BYTES_MAX:
            self.left_out += 1
            return False
        self._unwritten[id] = kept
        self._waiting_bytes += len(content)
        self._queue.put((id, content))
        return True

    async def get(self, id: str) -> KeptResponse | None:
        if id in self._unwritten:
            return self._unwritten[id]
        return await asyncio.to_thread(self._read, id)

    def delete(self, id: str) -> None:
        if self._thread is not None:
            self._unwritten[id] = None
            self._queue.put((id, b""))

    def close(self) -> None:
        """Writes what waits, then ends the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    # --- in other threads ------------------------------------------------------------------------------------------

    def _read(self, id: str) -> KeptResponse | None:
        path = self._path(id)
        try:
            if time.time() - path.stat().st_mtime > self._age_s_max:
                return None
            return _decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, DecodeError, ValidationError) as error:
            log.error("a kept response cannot be read: %s", error)
            return None

    def _write_forever(self) -> None:
        while (item := self._queue.get()) is not None:
            name, content = item
            try:
                self._write(name, content)
            except OSError as error:
                self.left_out += 1
                log.error("responses cannot be kept: %s", error)
            self._waiting_bytes -= len(content)
            kept = self._unwritten.get(name)
            if (kept is None and not content) or (kept is not None and _encode(kept) == content):
                self._unwritten.pop(name, None)  # unless a later one of the same id waits

    def _write(self, id: str, content: bytes) -> None:
        path = self._path(id)
        if not content:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.chmod(0o600)
        beside.replace(path)
        self._written_bytes += len(content)
        if self._written_bytes >= SWEPT_AFTER_BYTES:
            self._written_bytes = 0
            self._drop_old()

    def _drop_old(self) -> None:
        """Keeps the folder under its bounds; each file counts as a block of the disk at least."""
        found = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # other workers keep the same folder under the same bounds
                status = path.stat()
                found.append((status.st_mtime, max(status.st_size, 4096), path))
        total = sum(size for _, size, _ in found)
        oldest_s = time.time() - self._age_s_max
        for written_s, size, path in sorted(found):
            if total <= self._bytes_max and written_s >= oldest_s:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, id: str) -> Path:
        name = sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / name[:2] / name
