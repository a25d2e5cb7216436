"""The line to one client: its request's head and body come in here, our answer goes out.

`Line` is what endpoints see. On uvicorn it is a `DirectLine`, which writes head and body to the transport in one piece (an ASGI
`send` costs a regular expression per header); on any other ASGI server it is an `AsgiLine`. `bounded_http` makes the uvicorn
protocol that provides direct lines and holds the bounds that uvicorn lacks: bytes and seconds of the request head, idle seconds
of its body. One sweep timer serves all connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tollway.config.settings import BoundSettings
from tollway.errors import BodyTimeout, BodyTooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Any], Any]

SWEEP_S = 1.0
#: Of a body that nobody wants to read, this much is let in so that the client gets to read our answer; then we hang up.
UNWANTED_BODY_BYTES_MAX = 1 << 20


class ClientGone(Exception):
    """The client hung up. Nothing can be told to it any more."""


class Line(Protocol):
    """What an endpoint needs of a client connection.

    `head` in `answer` and `begin` is response header lines, each ended by CRLF, without status line and empty line.
    """

    gone: bool

    async def read_body(self, bytes_max: int) -> bytes:
        """The whole request body. Raises BodyTooLarge, BodyTimeout, ClientGone."""
        ...

    def when_gone(self, callback: Callable[[], object]) -> None:
        """Calls back once when the client hangs up before its answer is complete."""
        ...

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer."""
        ...

    async def begin(self, status: int, head: bytes) -> None: ...

    async def write(self, data: bytes) -> None:
        """A piece of a begun answer; waits while the client does not take what it has."""
        ...

    async def end(self, data: bytes = b"") -> None: ...


class DirectLine:
    """A line over uvicorn's own connection. Costs about 2 us for a whole answer."""

    __slots__ = ("_gone_callback", "chunked", "cycle", "gone", "protocol")

    def __init__(self, protocol: BoundedHttp) -> None:
        self.protocol = protocol
        self.cycle: Any = None
        self.gone = False
        self.chunked = True
        self._gone_callback: Callable[[], object] | None = None

    def when_gone(self, callback: Callable[[], object]) -> None:
        self._gone_callback = callback
        if self.gone:
            callback()

    def hang_up_seen(self) -> None:
        if not self.cycle.response_complete:
            self.gone = True
            if self._gone_callback is not None:
                self._gone_callback()

    async def read_body(self, bytes_max: int) -> bytes:
        cycle = self.cycle
        if not cycle.more_body:
            if len(cycle.body) > bytes_max:
                raise _too_large(bytes_max)
            return bytes(cycle.body)
        _check_length(self.protocol.headers, bytes_max)
        self.protocol.reading_body()
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await cycle.receive()
            if message["type"] == "http.disconnect":
                if self.protocol.body_timed_out:
                    raise BodyTimeout("The request body came too slowly.")
                raise ClientGone
            pieces.append(message["body"])
            size += len(message["body"])
            if size > bytes_max:
                raise _too_large(bytes_max)
            if not message["more_body"]:
                self.protocol.body_read()
                return b"".join(pieces)

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        cycle = self.cycle
        if self.gone:
            return
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        self.protocol.transport.write(
            b"%b%b%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINE[status], self._standing_head(), head, len(body), body)
        )
        self._complete()

    async def begin(self, status: int, head: bytes) -> None:
        if self.gone:
            return
        cycle = self.cycle
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        if cycle.scope["http_version"] == "1.1":
            framing = b"transfer-encoding: chunked\r\n\r\n"
        else:
            self.chunked = cycle.keep_alive = False
            framing = b"\r\n"
        self.protocol.transport.write(b"%b%b%b%b" % (STATUS_LINE[status], self._standing_head(), head, framing))

    async def write(self, data: bytes) -> None:
        if self.gone:
            return
        if self.protocol.flow.write_paused:
            await self.protocol.flow.drain()
        self.protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def end(self, data: bytes = b"") -> None:
        if self.gone:
            return
        if self.chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if data:
            self.protocol.transport.write(data)
        self._complete()

    def _standing_head(self) -> bytes:
        head = self.protocol.standing_head()
        return head if self.cycle.keep_alive else head + b"connection: close\r\n"

    def _complete(self) -> None:
        cycle = self.cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.protocol.transport.close()
        elif cycle.more_body:
            self.protocol.unwanted_bytes_left = UNWANTED_BODY_BYTES_MAX
        self.protocol.lines.remove(self)
        cycle.on_response()

    def hang_up(self) -> None:
        """Ends the connection without a proper end, so that the client knows its answer was cut."""
        self.cycle.response_complete = True
        self.protocol.transport.abort()


class AsgiLine:
    """A line over plain ASGI, for other servers than uvicorn and for tests."""

    __slots__ = ("_receive", "_send", "_watch", "gone", "headers")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = scope["headers"]
        self._receive = receive
        self._send = send
        self._watch: asyncio.Task[None] | None = None
        self.gone = False

    def when_gone(self, callback: Callable[[], object]) -> None:
        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.gone = True
            callback()

        self._watch = asyncio.get_running_loop().create_task(watch())

    async def read_body(self, bytes_max: int) -> bytes:
        _check_length(self.headers, bytes_max)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > bytes_max:
                raise _too_large(bytes_max)
            if not message.get("more_body", False):
                return b"".join(pieces)

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        await self.begin(status, head + b"content-length: %d\r\n" % len(body))
        await self.end(body)

    async def begin(self, status: int, head: bytes) -> None:
        pairs = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n") if line]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    def hang_up(self) -> None:
        if self._watch is not None:
            self._watch.cancel()


def line_of(scope: Scope, receive: Receive, send: Send) -> DirectLine | AsgiLine:
    extensions = scope.get("extensions")
    if extensions is not None and (line := extensions.get("tollway.line")) is not None:
        return line  # type: ignore[no-any-return]
    return AsgiLine(scope, receive, send)


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {bytes_max} bytes.")


def _check_length(headers: list[tuple[bytes, bytes]], bytes_max: int) -> None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > bytes_max:
            raise _too_large(bytes_max)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds on the request head (bytes, seconds) and on the idle time of its body."""

    bounds: BoundSettings = BoundSettings()
    sweeper: Sweeper

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False
        self.head_bytes = 0
        self.deadline: float | None = None  # by loop time: of the head, of the body's next piece, or of keep-alive
        self.waiting_for = "head"
        self.body_timed_out = False
        self.unwanted_bytes_left = -1
        self.head_complete = False
        self.lines: list[DirectLine] = []  # of answers not yet complete; more than one when requests are pipelined

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waiting_for = "head"
        self.deadline = self.loop.time() + self.bounds.head_s_max
        self.sweeper.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.sweeper.forget(self)
        super().connection_lost(exc)
        for line in self.lines:
            line.hang_up_seen()

    def data_received(self, data: bytes) -> None:
        if not self.head_complete:
            self.head_bytes += len(data)
            if self.waiting_for == "next":  # the first bytes of a further request on a kept connection
                self.waiting_for = "head"
                self.deadline = self.loop.time() + self.bounds.head_s_max
            if self.head_bytes > self.bounds.head_bytes_max:
                before = self.head_bytes
                super().data_received(data)
                if not self.head_complete and self.head_bytes >= before and not self.transport.is_closing():
                    self._refuse_head()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_complete = False

    def on_headers_complete(self) -> None:
        self.head_complete = True
        self.head_bytes = 0
        self.deadline = None
        self.unwanted_bytes_left = -1
        line = DirectLine(self)
        extensions: Any = {"tollway.line": line}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        line.cycle = self.cycle
        self.lines.append(line)

    def on_body(self, body: bytes) -> None:
        if self.unwanted_bytes_left >= 0:
            self.unwanted_bytes_left -= len(body)
            if self.unwanted_bytes_left < 0:
                self.transport.abort()
            return
        if self.deadline is not None:
            self.deadline = self.loop.time() + self.bounds.body_idle_s_max
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.head_complete = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Like its parent, but the keep-alive deadline is one number for the sweep instead of a timer per answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.waiting_for = "next"
            self.deadline = self.loop.time() + self.timeout_keep_alive

    def standing_head(self) -> bytes:
        """The headers that every answer has (the date), joined once a second."""
        return self.sweeper.standing_head(self.server_state.default_headers)

    def reading_body(self) -> None:
        self.waiting_for = "body"
        self.deadline = self.loop.time() + self.bounds.body_idle_s_max

    def body_read(self) -> None:
        self.deadline = None

    def overdue(self) -> None:
        if self.waiting_for == "head" and self.head_bytes:
            self._refuse(408, b"The request head came too slowly.")
        elif self.waiting_for == "body":
            self.body_timed_out = True
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.deadline = None
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(431, b"The request head is larger than %d bytes." % self.bounds.head_bytes_max)

    def _refuse(self, status: int, message: bytes) -> None:
        self.transport.write(
            b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], len(message), message)
        )
        self.transport.close()


class Sweeper:
    """Looks once a second at what every client connection waits for; owns the joined standing headers."""

    def __init__(self) -> None:
        self._connections: set[BoundedHttp] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._standing_source: list[tuple[bytes, bytes]] | None = None
        self._standing = b""

    def watch(self, connection: BoundedHttp) -> None:
        self._connections.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_S, self._sweep)

    def forget(self, connection: BoundedHttp) -> None:
        self._connections.discard(connection)

    def standing_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._standing_source:
            self._standing_source = headers
            self._standing = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        return self._standing

    def _sweep(self) -> None:
        self._timer = None
        if not self._connections:
            return
        loop = next(iter(self._connections)).loop
        now = loop.time()
        for connection in [c for c in self._connections if c.deadline is not None and c.deadline < now]:
            connection.overdue()
        self._timer = loop.call_later(SWEEP_S, self._sweep)


def bounded_http(bounds: BoundSettings) -> type[BoundedHttp]:
    """The protocol class to hand to `uvicorn.Config(http=...)`: one for a server, with bounds and a sweep of its own."""
    return type("BoundedHttp", (BoundedHttp,), {"bounds": bounds, "sweeper": Sweeper()})
