"""The journal: an append-only file per worker, one framed record per settled call, written before the call's last bytes leave.

    journal/EPOCH-SEGMENT.log   frames: length (4 bytes, little endian), CRC-32 (4 bytes), payload
    journal/EPOCH.lock          locked by the living worker; who can lock it may take its segments over

A process that dies leaves whole frames and at most one torn at the end; reading stops there. A damaged frame in the middle is
passed over, and its file is kept for people to look at. Frames that come together are one `write`, which the kernel keeps when the
process is killed.
Against a machine that dies, `fsync` is called as the configuration says. The write is the one blocking call that the request
path makes: 1.2 us.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from errno import ENOSPC
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
        self._torn = False  # part of a frame stands after `position`
        self._unsynced = False
        self._full: list[int] = []  # segments that are full but not yet on the disk

    def open(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Locked before it has its name: a starting worker must not find it free and take it for a dead one's.
        unnamed = self.directory / f"{self.epoch}.lock.new"
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if fcntl is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(self.directory / f"{self.epoch}.lock")
        self._fd = self._open_segment(self.segment)

    def append(self, *payloads: bytes) -> int:
        """Writes records, all in one write; returns their segment. Raises OSError when the disk does not take them whole; then
        nothing of them stays.
        """
        frames = b"".join([FRAME.pack(len(payload), crc32(payload)) + payload for payload in payloads])
        if self._torn:
            self._cut_torn()
        try:
            written = os.write(self._fd, frames)
            if written != len(frames):
                raise OSError(ENOSPC, "the disk is full", str(self._path(self.segment)))
        except OSError:
            self._torn = True
            self._cut_torn()
            raise
        self.position += written
        self._unsynced = True
        segment = self.segment
        if self._always:
            os.fsync(self._fd)
        if self.position >= SEGMENT_BYTES_MAX:
            self._begin_segment()
        return segment

    def _cut_torn(self) -> None:
        os.ftruncate(self._fd, self.position)
        self._torn = False

    def _begin_segment(self) -> None:
        """Goes on in a new file; in the old one, if the system gives no other now."""
        try:
            following = self._open_segment(self.segment + 1)
        except OSError:
            return
        self._full.append(self._fd)
        self._fd = following
        self.segment += 1
        self.position = 0

    def sync(self) -> Callable[[], None] | None:
        """What puts on the disk what was appended until now, None when there is nothing to do. It blocks: call it off the event
        loop."""
        wanted = self._interval and not self._always and self._unsynced
        if not wanted and not self._full:
            return None
        self._unsynced = False
        fds = [*self._full, os.dup(self._fd)]  # a copy: this segment may be closed meanwhile
        self._full.clear()

        def put() -> None:
            try:
                for fd in fds:
                    if wanted:
                        os.fsync(fd)
            finally:
                for fd in fds:
                    os.close(fd)

        return put

    def drop_before(self, segment: int) -> None:
        """Deletes the segments before `segment`: all their records are in storage."""
        for old in range(segment - 1, -1, -1):
            try:
                self._path(old).unlink()
            except FileNotFoundError:
                return

    def close(self, *, drained: bool) -> None:
        """Lets go of the file. `drained`: every record is in storage, so that nothing needs to be kept."""
        for fd in (*self._full, self._fd):
            os.close(fd)
        if drained:
            self.drop_before(self.segment + 1)
            (self.directory / f"{self.epoch}.lock").unlink(missing_ok=True)
        os.close(self._lock)

    def _open_segment(self, segment: int) -> int:
        return os.open(self._path(segment), os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def _path(self, segment: int) -> Path:
        return self.directory / f"{self.epoch}-{segment}.log"


def left_behind(directory: Path) -> Iterator[tuple[int, list[Path], int]]:
    """The journals of workers that died: (epoch, segments in order, lock to give to `forget`). Skips those of living ones."""
    if not directory.is_dir():
        return
    epochs = {path.name.split(".")[0] for path in directory.glob("*.lock")}
    epochs |= {path.name.split("-")[0] for path in directory.glob("*-*.log")}  # whose lock somebody deleted
    for epoch in sorted(int(name) for name in epochs if name.isdigit()):
        lock = os.open(directory / f"{epoch}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        found = [path for path in directory.glob(f"{epoch}-*.log") if path.stem.split("-")[1].isdigit()]
        yield epoch, sorted(found, key=lambda path: int(path.stem.split("-")[1])), lock


def forget(directory: Path, epoch: int, segments: list[Path], lock: int) -> None:
    """Deletes a dead worker's journal, whose records are all in storage now, but not its lock's descriptor."""
    for path in segments:
        path.unlink(missing_ok=True)
    (directory / f"{epoch}.lock").unlink(missing_ok=True)


def read(path: Path, on_damage: Callable[[int], object] = lambda offset: None) -> Iterator[bytes]:
    """The payloads of one segment, up to its end or to a torn frame. A frame whose bytes were changed is passed over, and its
    offset told to `on_damage`."""
    with path.open("rb") as file:
        while len(head := file.read(FRAME.size)) == FRAME.size:
            length, checksum = FRAME.unpack(head)
            if length > RECORD_BYTES_MAX:
                on_damage(file.tell() - FRAME.size)
                return
            payload = file.read(length)
            if len(payload) != length:
                return
            if crc32(payload) != checksum:
                on_damage(file.tell() - length - FRAME.size)
                continue
            yield payload
