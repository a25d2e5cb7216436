"""The line to one client: its request's head and body come in here, our answer goes out.

`Line` is what endpoints see. A POST to a hot path comes on a `DirectLine`, straight from uvicorn's parser to its handler and back
in one write; everything else, and every request on another ASGI server, comes on an `AsgiLine`. `bounded_http` makes the uvicorn
protocol that provides direct lines and holds the bounds that uvicorn lacks: bytes and seconds of the request head, idle seconds
of its body. One sweep timer serves all connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tollway.config.settings import BoundSettings
from tollway.errors import BodyTimeout, BodyTooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Any], Any]
#: Who answers a hot path. Raises nothing: what goes wrong is told on the line.
Handler = Callable[["DirectLine"], Awaitable[None]]

log = logging.getLogger("tollway")

SWEEP_S = 1.0
#: Of a body that nobody wants to read, this much is let in so that the client gets to read our answer; then we hang up.
UNWANTED_BODY_BYTES_MAX = 1 << 20
#: Requests that may wait on one connection for the answer to an earlier one; then nothing more is read.
PIPELINED_REQUESTS_MAX = 8


class ClientGone(Exception):
    """The client hung up. Nothing can be told to it any more."""


class Line(Protocol):
    """What an endpoint needs of a client connection.

    `head` in `answer` and `begin` is response header lines, each ended by CRLF, without status line and empty line.
    """

    @property
    def gone(self) -> bool:
        """The client hung up."""
        ...

    async def read_body(self, bytes_max: int) -> bytes:
        """The whole request body. Raises BodyTooLarge, BodyTimeout, ClientGone."""
        ...

    def cancel_when_gone(self) -> None:
        """Cancels the task that calls this when the client hangs up before its answer is complete."""
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
    """A line over a connection of `BoundedHttp`: one request of a hot path and its answer.

    It stands where uvicorn has its RequestResponseCycle, and has the attributes that uvicorn's connection asks of one. Costs about
    2 us for a whole answer.
    """

    __slots__ = (
        "_cancels",
        "_chunked",
        "_waiting",
        "body",
        "disconnected",
        "handler",
        "http_version",
        "keep_alive",
        "more_body",
        "protocol",
        "response_complete",
        "scope",
        "task",
        "waiting_for_100_continue",
    )

    def __init__(self, protocol: BoundedHttp, handler: Handler, http_version: str, *, keep_alive: bool) -> None:
        self.protocol = protocol
        self.handler = handler
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": protocol.url.decode("ascii"),
            "headers": protocol.headers,
            "client": protocol.client,
            "http_version": http_version,
        }
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self._chunked = True
        self._waiting: asyncio.Future[None] | None = None
        self._cancels = False
        self.task: asyncio.Task[None] | None = None

    @property
    def gone(self) -> bool:
        return self.disconnected

    # --- what uvicorn's connection asks of a request's cycle

    @property
    def message_event(self) -> DirectLine:
        return self

    def set(self) -> None:
        """Something came, or nothing more will."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def run_asgi(self, app: object) -> None:
        try:
            await self.handler(self)
        except Exception:
            log.exception("a request was not served")
        if not self.response_complete and not self.disconnected:
            self.protocol.transport.close()

    # --- what endpoints ask of a line

    def cancel_when_gone(self) -> None:
        self._cancels = True
        if self.disconnected and self.task is not None:
            self.task.cancel()

    def hang_up_seen(self) -> None:
        self.disconnected = True
        if self._cancels and not self.response_complete and self.task is not None:
            self.task.cancel()

    async def read_body(self, bytes_max: int) -> bytes:
        if self.more_body:
            await self._read_on(bytes_max)
        if self.protocol.flow.read_paused:  # a large body stops the reading; without it nobody sees a client hang up
            self.protocol.read_on()
        if len(self.body) > bytes_max:
            raise _too_large(bytes_max)
        return bytes(self.body)

    async def _read_on(self, bytes_max: int) -> None:
        protocol = self.protocol
        _check_length(protocol.headers, bytes_max)
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self.more_body:
            if len(self.body) > bytes_max:
                raise _too_large(bytes_max)
            if protocol.body_timed_out:
                self.keep_alive = False
                raise BodyTimeout("The request body came too slowly.")
            if self.disconnected:
                raise ClientGone
            protocol.flow.resume_reading()
            self._waiting = protocol.loop.create_future()
            await self._waiting

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        if self.disconnected:
            return
        self.protocol.transport.write(
            b"%b%b%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINE[status], self._standing_head(), head, len(body), body)
        )
        self._complete()

    async def begin(self, status: int, head: bytes) -> None:
        if self.disconnected:
            return
        if self.http_version == "1.1":
            framing = b"transfer-encoding: chunked\r\n\r\n"
        else:
            self._chunked = self.keep_alive = False
            framing = b"\r\n"
        self.protocol.transport.write(b"%b%b%b%b" % (STATUS_LINE[status], self._standing_head(), head, framing))

    async def write(self, data: bytes) -> None:
        if self.disconnected:
            return
        if self.protocol.flow.write_paused:
            await self.protocol.flow.drain()
        self.protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self, data: bytes = b"") -> None:
        if self.disconnected:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if data:
            self.protocol.transport.write(data)
        self._complete()

    def hang_up(self) -> None:
        """Ends the connection without a proper end, so that the client knows its answer was cut."""
        self.response_complete = True
        self.protocol.transport.abort()

    def _standing_head(self) -> bytes:
        head = self.protocol.standing_head()
        return head if self.keep_alive else head + b"connection: close\r\n"

    def _complete(self) -> None:
        self.response_complete = True
        protocol = self.protocol
        if not self.keep_alive:
            protocol.transport.close()
        elif self.more_body:
            protocol.unwanted_bytes_left = UNWANTED_BODY_BYTES_MAX
        protocol.on_response_complete()


class AsgiLine:
    """A line over plain ASGI, for other servers than uvicorn and for tests."""

    __slots__ = ("_receive", "_send", "_task", "_watch", "gone", "headers")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = scope["headers"]
        self._receive = receive
        self._send = send
        self._watch: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self.gone = False

    def cancel_when_gone(self) -> None:
        self._task = asyncio.current_task()

    async def _watch_for_hang_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel()

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
                # Not before: what comes in until now is the body.
                self._watch = asyncio.get_running_loop().create_task(self._watch_for_hang_up())
                return b"".join(pieces)

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        await self.begin(status, head + b"content-length: %d\r\n" % len(body))
        await self.end(body)

    async def begin(self, status: int, head: bytes) -> None:
        pairs = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n") if line]
        await self._tell({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes) -> None:
        await self._tell({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        self._unwatch()
        await self._tell({"type": "http.response.body", "body": data, "more_body": False})

    async def _tell(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError as error:  # ASGI 2.4: the client is gone
            self.gone = True
            self._unwatch()
            raise ClientGone from error

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def hang_up(self) -> None:
        """Leaves the answer without its end, which servers show by closing the connection."""
        self._unwatch()


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {bytes_max} bytes.")


def _check_length(headers: list[tuple[bytes, bytes]], bytes_max: int) -> None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > bytes_max:
            raise _too_large(bytes_max)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds on the request head (bytes, seconds) and on the idle time of its body.

    POSTs to a hot path go to its handler without ASGI in between, which saves a third of what uvicorn costs a request.
    """

    bounds: BoundSettings = BoundSettings()
    hot: Mapping[bytes, Handler] = {}
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
        self.refused = False  # the connection is being closed: what still comes on it is for nobody
        self.running: Any = None  # whose answer goes out: with pipelined requests not the one that came last
        self.taken_deadline: float | None = None  # until when the client must take some of what it was sent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waiting_for = "head"
        self.deadline = self.loop.time() + self.bounds.head_s_max
        self.sweeper.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.sweeper.forget(self)
        super().connection_lost(exc)
        for cycle in {self.running, *(queued for queued, _ in self.pipeline), self.cycle}:
            line: object = cycle
            if isinstance(line, DirectLine):
                line.disconnected = True
                line.set()
                line.hang_up_seen()
            elif cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if not self.head_complete:
            self.head_bytes += len(data)
            if self.waiting_for == "next":  # the first bytes of a further request on a kept connection
                self.waiting_for = "head"
                self.deadline = self.loop.time() + self.bounds.head_s_max
            if self.head_bytes > self.bounds.head_bytes_max:
                before = self.head_bytes
                super().data_received(data)
                self._judge_large_head(before)
                return
        super().data_received(data)
        if self.head_complete:
            self._expect_body()

    def _judge_large_head(self, bytes_before: int) -> None:
        """More came than a head may hold: either its end and some body with it, or a head that is too large."""
        if self.refused:
            return
        if self.head_complete:
            self._expect_body()
        elif self.head_bytes >= bytes_before and not self.transport.is_closing():
            self._refuse_head()

    def _expect_body(self) -> None:
        """More of a request's body is to come."""
        if self.unwanted_bytes_left < 0:
            self.waiting_for = "body"
            self.deadline = self.loop.time() + self.bounds.body_idle_s_max

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.head_complete = False

    def on_headers_complete(self) -> None:
        self.head_complete = True
        # Only bytes that came beyond the bound make it worth counting: they may be the body's.
        if self.head_bytes > self.bounds.head_bytes_max and self._head_size() > self.bounds.head_bytes_max:
            self.refused = True
            self._refuse_head()
            return
        self.head_bytes = 0
        self.deadline = None
        self.unwanted_bytes_left = -1
        handler = self.hot.get(self.url)
        if handler is None or self.limit_concurrency is not None or self.parser.get_method() != b"POST":
            self._begin_cold()
            return
        http_version = self.parser.get_http_version()
        keep_alive = http_version != "1.0" and self.parser.should_keep_alive()
        before: Any = self.cycle
        line: Any = DirectLine(self, handler, http_version, keep_alive=keep_alive)
        self.cycle = line
        if before is None or before.response_complete:
            self._start_line(line)
        else:
            self.pipeline.appendleft((line, self.app))
            if len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
                self.flow.pause_reading()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _start_line(self, line: DirectLine) -> None:
        self.running = line
        line.task = task = self.loop.create_task(line.run_asgi(None))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _begin_cold(self) -> None:
        """The scope that `on_message_begin` of uvicorn would have made, and then as uvicorn goes on."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expect_100_continue
        self.scope["headers"] = headers
        super().on_headers_complete()
        if self.flow.read_paused:
            self.read_on()

    def read_on(self) -> None:
        """Reads on, if only to see whether the client hangs up, unless too many requests wait for their turn."""
        if len(self.pipeline) < PIPELINED_REQUESTS_MAX:
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        if self.refused:
            return
        if self.unwanted_bytes_left >= 0:
            self.unwanted_bytes_left -= len(body)
            if self.unwanted_bytes_left < 0:
                self.transport.abort()
            return
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        self.sweeper.forget(self)
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.taken_deadline = self.loop.time() + self.bounds.body_idle_s_max

    def resume_writing(self) -> None:
        super().resume_writing()
        self.taken_deadline = None

    def on_message_complete(self) -> None:
        if self.refused:
            return
        self.head_complete = False
        if self.waiting_for == "body":
            self.waiting_for = "answer"
            self.deadline = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Like its parent, but the keep-alive deadline is one number for the sweep instead of a timer per answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            line: object = cycle
            if isinstance(line, DirectLine):
                self._start_line(line)
            else:
                self._start_asgi_task(cycle, app)
        else:
            self.waiting_for = "next"
            self.deadline = self.loop.time() + self.timeout_keep_alive

    def standing_head(self) -> bytes:
        """The headers that every answer has (the date), joined once a second."""
        return self.sweeper.standing_head(self.server_state.default_headers)

    def overdue(self) -> None:
        if self.waiting_for == "head" and self.head_bytes:
            self._refuse(408, b"The request head came too slowly.")
        elif self.waiting_for == "body":
            self._body_overdue()
        elif self.transport.is_closing():
            self.transport.abort()  # it does not even take the end of its answer
        else:
            self.transport.close()

    def _body_overdue(self) -> None:
        line: object = self.cycle
        if self.flow.read_paused:  # it is we who do not read on
            self._expect_body()
        elif isinstance(line, DirectLine):
            self.deadline = None
            self.body_timed_out = True
            line.set()
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(408, b"The request body came too slowly.")

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
        for connection in list(self._connections):
            if connection.deadline is not None and connection.deadline < now:
                connection.overdue()
            if connection.taken_deadline is not None and connection.taken_deadline < now:
                connection.transport.abort()
        self._timer = loop.call_later(SWEEP_S, self._sweep)


def bounded_http(bounds: BoundSettings, hot: Mapping[bytes, Handler]) -> type[BoundedHttp]:
    """The protocol class to hand to `uvicorn.Config(http=...)`: one for a server, with bounds and a sweep of its own.

    `hot` maps a request target (path without query, as it stands in the request line) to who answers POSTs to it.
    """
    return type("BoundedHttp", (BoundedHttp,), {"bounds": bounds, "hot": hot, "sweeper": Sweeper()})
