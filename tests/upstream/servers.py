"""Servers on loopback that say exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme

from tollway.upstream.wire import Deadlines, Origin, Tls, WireRequest


class Talk:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number  # 0 for the first connection

    async def hear(self) -> bytes:
        """The next request, head and body. Raises EOFError or OSError when the client is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head + await self.reader.readexactly(int(length or 0))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def wait_gone(self) -> None:
        """Returns when the client has closed the connection."""
        with suppress(OSError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Talk], Awaitable[None]]


class Server:
    """Plays one script for every connection, then closes it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.talks: list[Talk] = []
        self.gone = asyncio.Event()  # a client left
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, *, tls: ssl.SSLContext | None = None, socket_path: str | None = None) -> None:
        if socket_path is not None:
            self.server = await asyncio.start_unix_server(self._serve, socket_path)
        else:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
            self.port: int = self.server.sockets[0].getsockname()[1]

    def origin(self, *, scheme: str = "http", host: str = "127.0.0.1", tls: Tls | None = None) -> Origin:
        return Origin(scheme, host, self.port, tls or Tls())

    async def stop(self) -> None:
        self.server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        talk = Talk(reader, writer, len(self.talks))
        self.talks.append(talk)
        try:
            with suppress(EOFError, OSError):
                await self.script(talk)
            self.gone.set()
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.close()
            self._tasks.discard(task)


Serve = Callable[..., Awaitable[Server]]


def saying(answer: bytes, *, then_close: bool = False) -> Script:
    """The same answer to every request of a connection."""

    async def script(talk: Talk) -> None:
        while True:
            await talk.hear()
            await talk.say(answer)
            if then_close:
                return

    return script


def post(origin: Origin, body: bytes = b"{}", *, path: str = "/v1/things", **more: Any) -> WireRequest:
    head = f"POST {path} HTTP/1.1\r\nhost: {origin.host}\r\ncontent-type: application/json\r\n".encode()
    return WireRequest(origin, head, body, **more)


def json_answer(body: bytes = b'{"ok":true}', *, status: str = "200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        more,
        len(body),
        body,
    )


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
IN_TIME = Deadlines(connect_s=30, first_byte_s=30, idle_s=30, total_s=60)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def read_all(reply: Any) -> bytes:
    pieces = []
    while piece := await reply.read():
        pieces.append(piece)
    return b"".join(pieces)


class Authority:
    """A certificate authority of the test's own, with its files."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.ca_file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)

    def server_context(self, *names: str, wants_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client_files(self) -> tuple[str, str]:
        cert = self.ca.issue_cert("client.example")
        cert_file, key_file = str(self.folder / "client.pem"), str(self.folder / "client.key")
        cert.cert_chain_pems[0].write_to_path(cert_file)
        cert.private_key_pem.write_to_path(key_file)
        return cert_file, key_file
