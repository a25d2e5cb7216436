"""The journal: an append-only file per worker, one framed record per settled call, written before the call's last bytes leave.

    journal/EPOCH-SEGMENT.log   frames: length (4 bytes, little endian), CRC-32 (4 bytes), payload
    journal/EPOCH.lock          locked by the living worker; who can lock it may take its segments over

A process that dies leaves whole frames and at most one torn at the end; reading stops there. A frame is one `write`, which the
kernel keeps when the process is killed. Against a machine that dies, `fsync` is called as the configuration says. The write is
the one blocking call that the request path makes: 1.2 us.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from zlib import crc32

try:
    import fcntl
except ImportError:  # Windows has no flock; there one process owns a data directory
    fcntl = None  # type: ignore[assignment]

FRAME = Struct("<II")
SEGMENT_BYTES_MAX = 16 << 20
RECORD_BYTES_MAX = 4 << 20


class Journal:
    """One worker's journal, open for appending. Owns its directory entries from `open` to `close`."""

    def __init__(self, directory: Path, epoch: int, *, fsync: str = "interval") -> None:
        self.directory = directory
        self.epoch = epoch
        self.segment = 0
        self.position = 0
        self._always = fsync == "always"
        self._interval = fsync != "never"
        self._fd = -1
        self._lock = -1

    def open(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self.directory / f"{self.epoch}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if fcntl is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._open_segment()

    def append(self, payload: bytes) -> int:
        """Writes one record; returns its segment. Raises OSError when the disk does not take it whole; then nothing of it stays."""
        frame = FRAME.pack(len(payload), crc32(payload)) + payload
        try:
            written = os.write(self._fd, frame)
        except OSError:
            os.ftruncate(self._fd, self.position)
            raise
        if written != len(frame):
            os.ftruncate(self._fd, self.position)
            raise OSError(28, "the disk is full", str(self._path(self.segment)))
        if self._always:
            os.fsync(self._fd)
        self.position += written
        segment = self.segment
        if self.position >= SEGMENT_BYTES_MAX:
            os.close(self._fd)
            self.segment += 1
            self._open_segment()
        return segment

    def sync(self) -> None:
        """Puts what was appended on the disk, if so configured. Blocks; call it off the event loop."""
        if self._interval and not self._always:
            os.fsync(self._fd)

    def drop_before(self, segment: int) -> None:
        """Deletes the segments before `segment`: all their records are in storage."""
        for old in range(segment - 1, -1, -1):
            try:
                self._path(old).unlink()
            except FileNotFoundError:
                return

    def close(self, *, drained: bool) -> None:
        """Lets go of the file. `drained`: every record is in storage, so that nothing needs to be kept."""
        os.close(self._fd)
        if drained:
            self.drop_before(self.segment + 1)
            (self.directory / f"{self.epoch}.lock").unlink(missing_ok=True)
        os.close(self._lock)

    def _open_segment(self) -> None:
        self._fd = os.open(
            self._path(self.segment), os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        self.position = 0

    def _path(self, segment: int) -> Path:
        return self.directory / f"{self.epoch}-{segment}.log"


def left_behind(directory: Path) -> Iterator[tuple[int, list[Path], int]]:
    """The journals of workers that died: (epoch, segments in order, lock to give to `forget`). Skips those of living ones."""
    if not directory.is_dir():
        return
    for lock_path in sorted(directory.glob("*.lock")):
        with contextlib.suppress(ValueError):
            epoch = int(lock_path.stem)
            lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            segments = sorted(directory.glob(f"{epoch}-*.log"), key=lambda path: int(path.stem.split("-")[1]))
            yield epoch, segments, lock


def forget(directory: Path, epoch: int, segments: list[Path], lock: int) -> None:
    """Deletes a dead worker's journal, whose records are all in storage now."""
    for path in segments:
        path.unlink(missing_ok=True)
    (directory / f"{epoch}.lock").unlink(missing_ok=True)
    os.close(lock)


def read(path: Path) -> Iterator[bytes]:
    """The payloads of one segment, up to its end or to a torn or damaged frame."""
    with path.open("rb") as file:
        while len(head := file.read(FRAME.size)) == FRAME.size:
            length, checksum = FRAME.unpack(head)
            if length > RECORD_BYTES_MAX:
                return
            payload = file.read(length)
            if len(payload) != length or crc32(payload) != checksum:
                return
            yield payload
