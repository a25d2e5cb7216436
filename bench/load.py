"""The load: keeps each of so many connections busy for so long, and says how many answers came and how fast.

    python bench/load.py        reads one job a line from its input, writes one result a line

A job is the JSON of {"port", "head", "body", "connections", "seconds", "events", "last"}: `head` is request line and headers
without the content length, `events` how many events a stream has (0: the answer is JSON), `last` how its last one begins.
A result is {"calls", "bad", "seconds", "p50_us", "why"}: every answer of the job is counted in `calls`, and in `bad` when
it is not a whole 200. The first answer on each connection is read word for word, the others by their status and their end.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from time import perf_counter
from typing import Any

import uvloop

GRACE_S_MAX = 10.0
LAST_CHUNK = b"0\r\n\r\n"


class Job:
    """What all connections of one job share."""

    def __init__(self, told: dict[str, Any]) -> None:
        body = told["body"].encode()
        self.port: int = told["port"]
        self.request = b"%bcontent-length: %d\r\n\r\n%b" % (told["head"].encode(), len(body), body)
        self.events: int = told["events"]
        self.last: bytes = told["last"].encode()
        self.until = perf_counter() + told["seconds"]
        self.took: list[float] = []
        self.bad = 0
        self.why = ""

    def count(self, answer: bytes, seconds: float, *, first: bool) -> None:
        self.took.append(seconds)
        if not answer.startswith(b"HTTP/1.1 200 ") or (first and not self.is_right(answer)):
            self.bad += 1
            self.why = self.why or answer[:600].decode("latin-1")

    def is_right(self, answer: bytes) -> bool:
        body = answer.partition(b"\r\n\r\n")[2]
        if not self.events:
            told = json.loads(body)
            usage = told["usage"] if "usage" in told else told["usageMetadata"]
            return any(usage.get(name) for name in ("total_tokens", "output_tokens", "totalTokenCount"))
        return body.count(b"data: {") == self.events and body.count(self.last) == 1


class Connection(asyncio.Protocol):
    """Sends a request, reads its answer, sends the next, until the job's time is over."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.first = True
        self.waiting = False
        self.parts: list[bytes] = []
        self.missing = 0  # bytes of the body; below zero where the body is chunked
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.waiting = True
        self.sent_at = perf_counter()
        self.transport.write(self.job.request)

    def data_received(self, data: bytes) -> None:
        parts = self.parts
        parts.append(data)
        if not self.is_whole(data):
            return
        now = perf_counter()
        self.job.count(b"".join(parts) if self.first else parts[0], now - self.sent_at, first=self.first)
        self.first = self.waiting = False
        parts.clear()
        if now < self.job.until:
            self.send()
        else:
            self.transport.close()

    def is_whole(self, data: bytes) -> bool:
        parts = self.parts
        if len(parts) == 1:
            head, _, body = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.missing = int(length) - len(body) if length else -1
        elif self.missing > 0:
            self.missing -= len(data)
        if self.missing >= 0:
            return self.missing == 0
        if len(data) < len(LAST_CHUNK):
            data = b"".join(parts[-len(LAST_CHUNK) :])
        return data.endswith(LAST_CHUNK)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.job.bad += 1
            self.job.why = self.job.why or f"the connection was cut: {exc}"
        if not self.done.done():
            self.done.set_result(None)


async def do(told: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    job = Job(told)
    started = perf_counter()
    opened = [
        await loop.create_connection(lambda: Connection(job), "127.0.0.1", job.port) for _ in range(told["connections"])
    ]
    try:
        async with asyncio.timeout(told["seconds"] + GRACE_S_MAX):
            await asyncio.gather(*(connection.done for _, connection in opened))
    except TimeoutError:
        job.bad += 1
        job.why = job.why or f"no answer within {GRACE_S_MAX:g} s"
        for transport, _ in opened:
            transport.abort()
    return {
        "calls": len(job.took),
        "bad": job.bad,
        "seconds": perf_counter() - started,
        "p50_us": statistics.median(job.took) * 1e6 if job.took else 0.0,
        "why": job.why,
    }


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(uvloop.run(do(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
