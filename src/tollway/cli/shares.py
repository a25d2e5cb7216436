"""How the workers of one host share rate limits when there is no Redis: the parent divides them, asked over a socket pair.

A message is its length in four bytes and MessagePack: (process, sequence, lease in ms, claims) there, (sequence, settled) back.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import cast

from msgspec import Struct, msgpack

from tollway.errors import StorageError
from tollway.storage.shares import LEASE_MS, Claim, Register, Settled

#: Nobody sends more: it is as many claims as a request may hold, with long names.
FRAME_BYTES_MAX = 16 << 20
#: How often the parent lets go of what the dead held.
FORGET_S = 10.0


class Asked(Struct, frozen=True, array_like=True):
    process: str
    sequence: int
    lease_ms: int
    claims: list[Claim]


class Answered(Struct, frozen=True, array_like=True):
    sequence: int
    settled: Settled


class Frames(asyncio.Protocol):
    """Cuts what comes into messages."""

    def __init__(self, on_frame: Callable[[Frames, bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._got = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not say so itself

    def data_received(self, data: bytes) -> None:
        got = self._got
        got += data
        while len(got) >= 4:
            end = 4 + int.from_bytes(got[:4])
            if end > FRAME_BYTES_MAX:
                self._transport.abort()
                return
            if len(got) < end:
                return
            frame = bytes(got[4:end])
            del got[:end]
            self._on_frame(self, frame)

    def connection_lost(self, error: Exception | None) -> None:
        self._on_lost()

    def send(self, frame: bytes) -> None:
        self._transport.write(len(frame).to_bytes(4) + frame)

    def close(self) -> None:
        self._transport.close()


class SharesForWorkers:
    """The parent's side: keeps the book for all its workers."""

    def __init__(self) -> None:
        self._register = Register(time.monotonic)
        self._decoder = msgpack.Decoder(Asked)
        self._forget_at = 0.0
        self._connections: set[Frames] = set()

    async def connect(self) -> socket.socket:
        """The worker's end of a new connection: to be closed here once the worker has it."""
        ours, theirs = socket.socketpair()
        processes: set[str] = set()
        opened: list[Frames] = []

        def answer(frames: Frames, frame: bytes) -> None:
            asked = self._decoder.decode(frame)
            processes.add(asked.process)
            settled = self._register.settle(asked.process, asked.sequence, asked.claims, lease_ms=asked.lease_ms)
            frames.send(msgpack.encode(Answered(asked.sequence, settled)))
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + FORGET_S
                self._register.forget()

        def lost() -> None:
            self._connections.difference_update(opened)
            for process in processes:
                self._register.gone(process)

        _, frames = await asyncio.get_running_loop().create_connection(lambda: Frames(answer, lost), sock=ours)
        opened.append(frames)
        self._connections.add(frames)
        return theirs

    def close(self) -> None:
        for frames in list(self._connections):
            frames.close()


class SharesOfParent:
    """The worker's side: `tollway.storage.shares.Lessor`, on the socket that it was started with."""

    described = "the parent of the workers"

    def __init__(self, fd: int) -> None:
        self._socket: socket.socket | None = socket.socket(fileno=fd)
        self._frames: Frames | None = None
        self._waiting: dict[int, asyncio.Future[Settled]] = {}

    async def settle(
        self, process: str, sequence: int, memory: str, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS
    ) -> Settled:
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            ours, self._socket = self._socket, None
            _, self._frames = await loop.create_connection(lambda: Frames(self._take, self._lose), sock=ours)
        if self._frames is None:
            raise StorageError("the connection to the parent is gone")
        waiting: asyncio.Future[Settled] = loop.create_future()
        self._waiting[sequence] = waiting
        self._frames.send(msgpack.encode(Asked(process, sequence, lease_ms, list(claims))))
        try:
            return await waiting
        finally:
            del self._waiting[sequence]

    async def close(self) -> None:
        if self._frames is not None:
            self._frames.close()
        elif self._socket is not None:
            self._socket.close()

    def _take(self, frames: Frames, frame: bytes) -> None:
        answered = msgpack.decode(frame, type=Answered)
        waiting = self._waiting.get(answered.sequence)
        if waiting is not None and not waiting.done():
            waiting.set_result(answered.settled)

    def _lose(self) -> None:
        self._frames = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(StorageError("the connection to the parent broke"))
