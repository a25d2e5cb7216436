"""What the upstream client costs in CPU, next to the least that Python can do over the same sockets.

    python bench/upstream_cost.py [--loop uvloop|asyncio] [--rounds 3]

Starts a raw HTTP server of its own on core 1 (where `taskset` is allowed) and runs the clients on core 0. Prints CPU
microseconds of this process, user and system, for a JSON exchange (1.2 KB answer, 32 at a time), for one with a 67 KB body,
and for a streamed piece; `floor` is a protocol written for this script alone: it finds the length of the answer and nothing
else. The rounds take turns, the median is printed: compare down a column, not between runs.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import statistics
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tollway.upstream.client import HttpClient
from tollway.upstream.wire import Deadlines, Origin, WireRequest

CONCURRENCY = 32
ANSWER = (
    b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"' + b"word " * 190 + b'"}}],'
)
ANSWER += b'"usage":{"prompt_tokens":100,"completion_tokens":190,"total_tokens":290}}' + b" " * (
    1200 - len(ANSWER) - 72
)
HEADERS = b"".join(b"x-header-%d: some value of a usual length\r\n" % n for n in range(6))
JSON_REPLY = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2029 00:00:00 GMT\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
    % (HEADERS, len(ANSWER), ANSWER)
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" + HEADERS + b"transfer-encoding: chunked\r\n\r\n"
)
EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
PIECE = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
PIECES = 101
REQUEST_HEAD = (
    b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-0000000000000000\r\n"
    b"content-type: application/json\r\naccept-encoding: identity\r\n"
)
SMALL, LARGE = b"x" * 454, b"x" * 67_000


class Server(asyncio.Protocol):
    """Answers every request it has read whole; streams one piece per turn of the loop, so that each is a read of its own."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            if b"/stream" in head[:20]:
                self.left = PIECES
                self.transport.write(STREAM_HEAD)
                self.piece()
            else:
                self.transport.write(JSON_REPLY)

    def piece(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(PIECE)
        asyncio.get_running_loop().call_later(0.002, self.piece)


class Floor(asyncio.Protocol):
    """The least: one future per exchange, the end found by length or by the last chunk."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[bytes] | None = None
        self.buffer = b""
        self.streaming = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.streaming:
            self.buffer += data
        else:
            head, _, body = data.partition(b"\r\n\r\n")
            if len(body) < int(head.partition(b"content-length: ")[2]):
                raise RuntimeError("the answer came in parts: the floor cannot read that")
            self.buffer = body
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.set_result(self.buffer)
            self.buffer = b""


async def run_floor(path: bytes, body: bytes, port: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    head = REQUEST_HEAD % path

    async def work(share: int) -> None:
        _, link = await loop.create_connection(Floor, "127.0.0.1", port)
        link.streaming = path == b"/stream"
        for _ in range(share):
            link.waiter = loop.create_future()
            link.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            answer = await link.waiter
            while link.streaming and not answer.endswith(b"0\r\n\r\n"):
                link.waiter = loop.create_future()
                answer = await link.waiter
        link.transport.abort()

    await asyncio.gather(*(work(count // CONCURRENCY) for _ in range(CONCURRENCY)))


async def run_client(path: bytes, body: bytes, port: int, count: int) -> None:
    client, deadlines, head = HttpClient(), Deadlines(), REQUEST_HEAD % path
    origin = Origin("http", "127.0.0.1", port)

    async def work(share: int) -> None:
        for _ in range(share):
            reply = await client.send(WireRequest(origin, head, body, streaming=path == b"/stream"), deadlines)
            if reply.body is None:
                while not reply.ended:
                    reply.take() or await reply.read()
            reply.close()

    await asyncio.gather(*(work(count // CONCURRENCY) for _ in range(CONCURRENCY)))
    await client.close()


def serve(loop_name: str, ports: Any) -> None:
    pin(1)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        ports.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with suppress(KeyboardInterrupt):
        run(loop_name, main)


def pin(core: int) -> None:
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {core})


def run(loop_name: str, main: Callable[[], Awaitable[None]]) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop_name == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())  # type: ignore[arg-type]


def cpu_us() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


CASES = {
    "JSON, 454 B up, 1.2 KB down": (b"/json", SMALL, 32_000, 1),
    "JSON, 67 KB up": (b"/json", LARGE, 6_400, 1),
    "a streamed piece": (b"/stream", SMALL, 320, PIECES),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(chosen.loop, theirs), daemon=True)
    server.start()
    port = ours.recv()
    pin(0)
    figures: dict[tuple[str, str], list[float]] = {}

    async def measure() -> None:
        for _ in range(chosen.rounds):
            for case, (path, body, count, pieces) in CASES.items():
                for name, job in (("floor", run_floor), ("HttpClient", run_client)):
                    await job(path, body, port, CONCURRENCY)
                    before = cpu_us()
                    await job(path, body, port, count)
                    figures.setdefault((case, name), []).append((cpu_us() - before) / count / pieces)

    try:
        run(chosen.loop, measure)
    finally:
        server.terminate()
        server.join()
    print(f"CPU us, {chosen.loop}, {CONCURRENCY} at a time, median of {chosen.rounds} rounds")
    for case in CASES:
        floor, client = (statistics.median(figures[case, name]) for name in ("floor", "HttpClient"))
        print(f"{case:30} floor {floor:6.2f}   HttpClient {client:6.2f}   added {client - floor:6.2f}")


if __name__ == "__main__":
    main()
