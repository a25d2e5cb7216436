"""Full request and reply bodies, whole, in segment files of their own: bounded in megabytes and days, oldest dropped first.

    bodies/EPOCH-SEGMENT.bin    frames: length (4 bytes, little endian), CRC-32 (4 bytes), msgpack [seq, request, reply]

`put` says at once where a body will lie; a thread writes it there. It never delays a spend record: when the thread falls behind
by more than its bound, bodies are left out and counted.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from queue import SimpleQueue
from struct import Struct
from threading import Thread
from zlib import crc32

from msgspec import msgpack

log = logging.getLogger("tollway.bodies")

FRAME = Struct("<II")
SEGMENT_BYTES_MAX = 16 << 20
#: What may wait to be written; more is left out.
WAITING_BYTES_MAX = 64 << 20
FRAME_BYTES_MAX = 512 << 20
DAY_S = 86_400

_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(tuple[int, bytes, bytes]).decode


class Bodies:
    """One worker's bodies. Owns its segment files and a writer thread from `open` to `close`."""

    def __init__(self, folder: Path, epoch: int, *, mb_max: int, days_max: int) -> None:
        self.left_out = 0
        self._folder = folder
        self._epoch = epoch
        self._bytes_max = mb_max << 20
        self._age_s_max = days_max * DAY_S
        self._segment = 0
        self._position = 0
        self._waiting_bytes = 0
        self._queue: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread = Thread(target=self._write_forever, name="tollway-bodies", daemon=True)
        self._thread.start()

    def put(self, seq: int, request: bytes, reply: bytes) -> tuple[int, int, int] | None:
        """(segment, offset, length) of where the bodies will lie, or None when they are left out. 2 us and a copy."""
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self.left_out += 1
            return None
        payload = _encode((seq, request, reply))
        frame = FRAME.pack(len(payload), crc32(payload)) + payload
        if self._position and self._position + len(frame) > SEGMENT_BYTES_MAX:
            self._segment += 1
            self._position = 0
        place = (self._segment, self._position, len(frame))
        self._position += len(frame)
        self._waiting_bytes += len(frame)
        self._queue.put((self._segment, frame))
        return place

    def close(self) -> None:
        """Writes what waits, then ends the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _write_forever(self) -> None:
        file = None
        current = -1
        while (item := self._queue.get()) is not None:
            segment, frame = item
            try:
                if segment != current:
                    if file is not None:
                        file.close()
                    self._drop_old()
                    file = self._path(segment).open("ab")
                    current = segment
                assert file is not None
                file.write(frame)
                if self._queue.empty():
                    file.flush()
            except OSError as error:
                self.left_out += 1
                log.error("bodies cannot be written: %s", error)
                current = -1
            self._waiting_bytes -= len(frame)
        if file is not None:
            file.close()

    def _drop_old(self) -> None:
        """Keeps the folder under its bounds. Runs once a segment."""
        found = []
        for path in self._folder.glob("*.bin"):
            with contextlib.suppress(FileNotFoundError):  # other workers keep the same folder under the same bounds
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found) + SEGMENT_BYTES_MAX
        oldest_s = time.time() - self._age_s_max
        for written_s, size, path in sorted(found):
            if total <= self._bytes_max and written_s >= oldest_s:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, segment: int) -> Path:
        return self._folder / f"{self._epoch}-{segment}.bin"


def read_bodies(folder: Path, epoch: int, segment: int, offset: int, seq: int) -> tuple[bytes, bytes] | None:
    """(request, reply) of a call, or None when they are no longer kept or were never written whole. Blocks on the disk."""
    try:
        with (folder / f"{epoch}-{segment}.bin").open("rb") as file:
            file.seek(offset)
            head = file.read(FRAME.size)
            if len(head) < FRAME.size:
                return None
            length, checksum = FRAME.unpack(head)
            if length > FRAME_BYTES_MAX:
                return None
            payload = file.read(length)
    except FileNotFoundError:
        return None
    if len(payload) != length or crc32(payload) != checksum:
        return None
    found, request, reply = _decode(payload)
    return (request, reply) if found == seq else None
