"""A provider that misbehaves on the socket, which no well-made mock can: one asyncio server on its own thread.

The name of the requested model chooses the fault. It speaks OpenAI chat streams only, one request a connection.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .processes import wait_for

SERVE_S_MAX = 60.0
EVENTS_MAX = 1000


@dataclass
class Faulty:
    """One request that came, and how its connection ended: "client", "us" or "" while it is open."""

    path: str
    body: dict[str, Any]
    ended_by: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def _event(text: str | None, *, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    delta = {} if text is None else {"role": "assistant", "content": text}
    chunk: dict[str, Any] = {
        "id": "chatcmpl-faults",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "faults",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage:
        chunk |= {"choices": [], "usage": usage}
    data = f"data: {json.dumps(chunk)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Line:
    """One open connection, as the faults see it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Faulty) -> None:
        self.reader, self.writer, self.request = reader, writer, request

    async def send(self, *pieces: bytes) -> None:
        self.writer.writelines(pieces)
        await self.writer.drain()

    async def wait_for_client_to_leave(self) -> None:
        await self.reader.read(1)
        self.request.ended_by = "client"

    def reset(self) -> None:
        """Closes with RST instead of FIN, as a crashed process does."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.request.ended_by = "us"


async def stall(line: Line) -> None:
    """Not one byte of an answer."""
    await line.wait_for_client_to_leave()


async def stall_in_stream(line: Line) -> None:
    """A first piece of text, then silence."""
    await line.send(STREAM_HEAD, _event("first piece "))
    await line.wait_for_client_to_leave()


async def reset_before_head(line: Line) -> None:
    line.reset()


async def reset_in_stream(line: Line) -> None:
    await line.send(STREAM_HEAD, _event("first piece "), _event("second piece "))
    await asyncio.sleep(0.05)  # so that the bytes are on their way before the reset drops what is unsent
    line.reset()


async def end_without_finish(line: Line) -> None:
    """The body ends as HTTP asks, but without a finish reason and without [DONE]."""
    await line.send(STREAM_HEAD, _event("first piece "), END)


async def trickle(line: Line) -> None:
    """Text without end, until the client leaves."""
    leaving = asyncio.ensure_future(line.wait_for_client_to_leave())
    await line.send(STREAM_HEAD)
    for number in range(EVENTS_MAX):
        if leaving.done():
            return
        try:
            await line.send(_event(f"word{number} "))
        except ConnectionError:
            line.request.ended_by = "client"
            return
        await asyncio.sleep(0.02)
    leaving.cancel()


async def page_502(line: Line) -> None:
    """What a load balancer in front of a provider says."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
    await line.send(
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(page), page
    )


async def rate_limited(line: Line) -> None:
    body = b'{"error": {"message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}'
    status = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n"
    await line.send(status + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body), body)


async def usage_late(line: Line) -> None:
    """Usage comes in a chunk of its own after the finishing one, as OpenAI sends it."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    done = b"data: [DONE]\n\n"
    pieces = (_event("E2E-LATE-OK"), _event(None, finish="stop"), _event(None, usage=usage))
    await line.send(STREAM_HEAD, *pieces, b"%x\r\n%s\r\n" % (len(done), done), END)


FAULTS: dict[str, Callable[[Line], Awaitable[None]]] = {
    "stall": stall,
    "stall-in-stream": stall_in_stream,
    "reset-before-head": reset_before_head,
    "reset-in-stream": reset_in_stream,
    "end-without-finish": end_without_finish,
    "trickle": trickle,
    "page-502": page_502,
    "rate-limited": rate_limited,
    "usage-late": usage_late,
}


class FaultyProvider:
    """Owns the server's thread and loop; `requests` is written by it and read by tests."""

    def __init__(self) -> None:
        self.requests: list[Faulty] = []
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="faulty provider", daemon=True)
        self._thread.start()
        assert self._listening.wait(5.0)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def asked(self, model: str) -> list[Faulty]:
        return [request for request in self.requests if request.body.get("model") == model]

    def wait_until_left(self, model: str, s_max: float = 60.0) -> Faulty:
        def left() -> Faulty | None:
            return next((request for request in self.asked(model) if request.ended_by == "client"), None)

        return wait_for(f"the client of {model} leaves the provider", left, s_max)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        self._listening.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self._loop), return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SERVE_S_MAX):
                line = Line(reader, writer, await _read(reader))
                self.requests.append(line.request)
                await FAULTS[line.request.body["model"]](line)
                line.request.ended_by = line.request.ended_by or "us"
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Faulty:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Faulty(path=first.split()[1], body=json.loads(body or b"{}"), headers=headers)
