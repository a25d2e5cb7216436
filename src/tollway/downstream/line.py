"""The line to one client: its request's head and body come in here, our answer goes out.

`Line` is what endpoints see. A POST to a hot path comes on a `DirectLine`, straight from the parser to its handler and back in
one write; everything else, and every request on another ASGI server, comes on an `AsgiLine`. A `ClientConnection` reads what one
client sends: it makes direct lines of what is hot, hands on what is cold to uvicorn's own protocol (see `tollway.downstream.http`),
and holds the bounds that uvicorn lacks: bytes and seconds of the request head, idle seconds of its body. One sweep timer serves
all connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tollway.config.settings import BoundSettings
from tollway.errors import BodyTimeout, BodyTooLarge
from tollway.outbox import Outbox

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Any], Any]
Headers = list[tuple[bytes, bytes]]
#: Who answers a hot path. Raises nothing: what goes wrong is told on the line.
Handler = Callable[["DirectLine"], Awaitable[None]]


class Hot:
    """Who answers POSTs to which path, as it stands in the request line, without its query: those that are known, and `find` for
    those that hold a model's name.
    """

    __slots__ = ("exact", "find")

    def __init__(self) -> None:
        self.exact: dict[bytes, Handler] = {}
        self.find: Callable[[bytes], Handler | None] = _nobody

    def put(self, exact: Mapping[bytes, Handler], find: Callable[[bytes], Handler | None]) -> None:
        self.exact.update(exact)
        self.find = find

    def clear(self) -> None:
        self.exact.clear()
        self.find = _nobody

    def at(self, target: bytes) -> Handler | None:
        """0.1 us for a known path alone, up to 3 for another."""
        handler = self.exact.get(target)
        if handler is not None:
            return handler
        path = target.partition(b"?")[0]
        if b"%" in path or b"#" in target:  # uvicorn knows how to read those
            return None
        return self.exact.get(path) or self.find(path)


def _nobody(path: bytes) -> Handler | None:
    return None


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
    """A line over a `ClientConnection`: one request of a hot path and its answer.

    It stands where uvicorn has its RequestResponseCycle, and has the attributes that uvicorn's connection asks of one. Costs about
    2 us for a whole answer.
    """

    __slots__ = (
        "_cancels",
        "_chunked",
        "_pieces",
        "_waiting",
        "body_bytes",
        "disconnected",
        "handler",
        "http_version",
        "keep_alive",
        "more_body",
        "protocol",
        "response_complete",
        "scope",
        "task",
    )

    def __init__(self, protocol: ClientConnection, handler: Handler, http_version: str, *, keep_alive: bool) -> None:
        self.protocol = protocol
        self.handler = handler
        self.http_version = http_version
        self.keep_alive = keep_alive
        path, _, query = protocol.url.partition(b"?")
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": path.decode("ascii"),
            "query_string": query,
            "headers": protocol.headers,
            "client": protocol.client,
            "http_version": http_version,
        }
        self._pieces: list[bytes] = []
        self.body_bytes = 0
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
        finally:
            self.protocol.tasks.discard(self.task)
        if not self.response_complete and not self.disconnected:
            self.protocol.close()

    def take(self, piece: bytes) -> None:
        """More of the request's body has come."""
        self._pieces.append(piece)
        self.body_bytes += len(piece)
        if self._waiting is not None:
            self.set()

    @property
    def has_enough(self) -> bool:
        """More of the body came than is kept for a handler that has not asked for it yet."""
        return self.body_bytes > HIGH_WATER_LIMIT and self._waiting is None

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
        if self.body_bytes > bytes_max:
            raise _too_large(bytes_max)
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_on(self, bytes_max: int) -> None:
        protocol = self.protocol
        _check_length(protocol.headers, bytes_max)
        if expects_100(self.scope["headers"]):
            protocol.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self.more_body:
            if self.body_bytes > bytes_max:
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
        self.protocol.send(
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
        self.protocol.send(b"%b%b%b%b" % (STATUS_LINE[status], self._standing_head(), head, framing))

    async def write(self, data: bytes) -> None:
        if self.disconnected:
            return
        if self.protocol.flow.write_paused:
            await self.protocol.flow.drain()
        self.protocol.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self, data: bytes = b"") -> None:
        if self.disconnected:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if data:
            self.protocol.send(data)
        self._complete()

    def hang_up(self) -> None:
        """Ends the connection without a proper end, so that the client knows its answer was cut."""
        self.response_complete = True
        self.protocol.outbox.flush()
        self.protocol.transport.abort()

    def _standing_head(self) -> bytes:
        protocol = self.protocol
        head = protocol.sweeper.standing_head(protocol.server_state.default_headers)
        return head if self.keep_alive else head + b"connection: close\r\n"

    def _complete(self) -> None:
        self.response_complete = True
        protocol = self.protocol
        if not self.keep_alive:
            protocol.close()
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


def expects_100(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def _check_length(headers: list[tuple[bytes, bytes]], bytes_max: int) -> None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > bytes_max:
            raise _too_large(bytes_max)


class Flow:
    """Whether reading from the client is paused, and writing to it. Has what uvicorn asks of its own FlowControl."""

    __slots__ = ("_transport", "_writers", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writers: list[asyncio.Future[None]] = []
        self.read_paused = False
        self.write_paused = False

    async def drain(self) -> None:
        """Waits while the client does not take what it was sent."""
        while self.write_paused:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            await waiter

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        writers, self._writers = self._writers, []
        for waiter in writers:
            if not waiter.done():
                waiter.set_result(None)


class Cold(Protocol):
    """What a `ClientConnection` asks of uvicorn's protocol, which serves what is not hot on the same connection."""

    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]
    server_state: Any
    limit_concurrency: int | None
    timeout_keep_alive: int
    client: tuple[str, int] | None
    app: Any

    def begin(self, url: bytes, headers: Headers) -> None:
        """A request for it: its head is complete."""
        ...

    def on_body(self, body: bytes) -> None: ...

    def on_message_complete(self) -> None: ...

    def upgrade(self) -> bool:
        """The client asks for another protocol. True: it is another's connection from now on."""
        ...

    def send_400_response(self, msg: str) -> None: ...

    def start(self, cycle: Any, app: Any) -> None:
        """A request that has waited for the answers to earlier ones."""
        ...

    def lost(self, exc: Exception | None) -> None: ...


class ClientConnection:
    """What comes from one client: an `asyncio.Protocol` by its methods, and what the parser calls. POSTs to a hot path go to its
    handler without ASGI in between, which saves a third of what uvicorn costs a request.
    """

    __slots__ = (
        "body_timed_out",
        "bounds",
        "client",
        "cold",
        "cycle",
        "deadline",
        "flow",
        "head_bytes",
        "head_complete",
        "headers",
        "hot",
        "keep_alive_s",
        "loop",
        "outbox",
        "parser",
        "pipeline",
        "refused",
        "running",
        "server_state",
        "sweeper",
        "taken_deadline",
        "tasks",
        "transport",
        "unwanted_bytes_left",
        "url",
        "waiting_for",
    )

    def __init__(
        self,
        cold: Cold,
        transport: asyncio.Transport,
        *,
        bounds: BoundSettings,
        hot: Hot,
        sweeper: Sweeper,
        outbox: Outbox,
    ) -> None:
        self.cold = cold
        self.transport = transport
        self.bounds = bounds
        self.hot = hot
        self.sweeper = sweeper
        self.outbox = outbox
        self.loop = cold.loop
        self.tasks = cold.tasks
        self.server_state = cold.server_state
        self.client = cold.client
        self.keep_alive_s = cold.timeout_keep_alive
        self.flow = Flow(transport)
        self.parser: Any = HttpRequestParser(self)
        if hasattr(self.parser, "set_dangerous_leniencies"):
            # What comes after a request that ends the connection is left unread, and is no reason to refuse that request.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.url = b""
        self.headers: Headers = []
        self.head_bytes = 0
        self.waiting_for = "head"
        #: By loop time: of the head, of the body's next piece, or of keep-alive.
        self.deadline: float | None = self.loop.time() + bounds.head_s_max
        self.body_timed_out = False
        self.unwanted_bytes_left = -1
        self.head_complete = False
        self.refused = False  # the connection is being closed: what still comes on it is for nobody
        self.cycle: Any = None  # the request that came last, a DirectLine or uvicorn's
        self.running: Any = None  # whose answer goes out: with pipelined requests not the one that came last
        self.pipeline: deque[tuple[Any, Any]] = deque()
        self.taken_deadline: float | None = None  # until when the client must take some of what it was sent
        sweeper.watch(self)

    def send(self, data: bytes) -> None:
        """With all else that leaves in this turn of the loop; at once while no other request is worked on."""
        self.outbox.put(self.transport, data)
        if len(self.tasks) <= 1:
            self.outbox.flush()

    def close(self) -> None:
        """When all that was sent is on its way."""
        self.outbox.flush()
        self.transport.close()

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is made when there is a connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.sweeper.forget(self)
        self.cold.lost(exc)
        self.flow.resume_writing()
        for cycle in {self.running, *(queued for queued, _ in self.pipeline), self.cycle}:
            if isinstance(cycle, DirectLine):
                cycle.disconnected = True
                cycle.set()
                cycle.hang_up_seen()
            elif cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.parser = None

    def eof_received(self) -> None:
        """The loop closes the connection."""

    def data_received(self, data: bytes) -> None:
        if not self.head_complete:
            self.head_bytes += len(data)
            if self.waiting_for == "next":  # the first bytes of a further request on a kept connection
                self.waiting_for = "head"
                self.deadline = self.loop.time() + self.bounds.head_s_max
            if self.head_bytes > self.bounds.head_bytes_max:
                before = self.head_bytes
                self._parse(data)
                self._judge_large_head(before)
                return
        self._parse(data)
        if self.head_complete:
            self._expect_body()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            self.outbox.flush()
            if self.cold.upgrade():
                self.sweeper.forget(self)
        except HttpParserError:
            log.warning("Invalid HTTP request received.")
            self.outbox.flush()
            self.cold.send_400_response("Invalid HTTP request received.")

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
        line = self.cycle
        if isinstance(line, DirectLine) and line.has_enough:
            self.flow.pause_reading()
        if self.unwanted_bytes_left < 0:
            self.waiting_for = "body"
            self.deadline = self.loop.time() + self.bounds.body_idle_s_max

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self.taken_deadline = self.loop.time() + self.bounds.body_idle_s_max

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self.taken_deadline = None

    # --- called by the parser

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.head_complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

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
        handler = self.hot.at(self.url)
        parser = self.parser
        if (
            handler is None
            or self.cold.limit_concurrency is not None
            or parser.get_method() != b"POST"
            or parser.should_upgrade()
        ):
            self.cold.begin(self.url, self.headers)
            if self.flow.read_paused:
                self.read_on()
            return
        http_version = parser.get_http_version()
        keep_alive = http_version != "1.0" and parser.should_keep_alive()
        before = self.cycle
        line = DirectLine(self, handler, http_version, keep_alive=keep_alive)
        self.cycle = line
        if before is None or before.response_complete:
            self._start_line(line)
        else:
            self.pipeline.appendleft((line, self.cold.app))
            if len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
                self.flow.pause_reading()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _start_line(self, line: DirectLine) -> None:
        self.running = line
        # By its class and with a name: the loop would write a new name for each, which is a third of what a task costs.
        line.task = task = asyncio.Task(line.run_asgi(None), loop=self.loop, name="call")
        self.tasks.add(task)

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
        line = self.cycle
        if not isinstance(line, DirectLine):
            self.cold.on_body(body)
        elif not line.response_complete:
            line.take(body)

    def on_message_complete(self) -> None:
        if self.refused:
            return
        self.head_complete = False
        if self.waiting_for == "body":
            self.waiting_for = "answer"
            self.deadline = None
        line = self.cycle
        if not isinstance(line, DirectLine):
            self.cold.on_message_complete()
        elif not line.response_complete:
            line.more_body = False
            line.set()
            if line is not self.running and line.body_bytes > HIGH_WATER_LIMIT:  # it waits for its turn
                self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """Like its parent, but the keep-alive deadline is one number for the sweep instead of a timer per answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if isinstance(cycle, DirectLine):
                self._start_line(cycle)
            else:
                self.cold.start(cycle, app)
        else:
            self.waiting_for = "next"
            self.deadline = self.loop.time() + self.keep_alive_s

    def overdue(self) -> None:
        if self.waiting_for == "head" and self.head_bytes:
            self._refuse(408, b"The request head came too slowly.")
        elif self.waiting_for == "body":
            self._body_overdue()
        elif self.transport.is_closing():
            self.transport.abort()  # it does not even take the end of its answer
        else:
            self.close()

    def _body_overdue(self) -> None:
        line = self.cycle
        if self.flow.read_paused:  # it is we who do not read on
            self._expect_body()
        elif isinstance(line, DirectLine):
            self.deadline = None
            self.body_timed_out = True
            line.set()
        elif self.cycle.response_started:
            self.close()
        else:
            self._refuse(408, b"The request body came too slowly.")

    def _refuse_head(self) -> None:
        self._refuse(431, b"The request head is larger than %d bytes." % self.bounds.head_bytes_max)

    def _refuse(self, status: int, message: bytes) -> None:
        self.send(
            b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], len(message), message)
        )
        self.close()


class Sweeper:
    """Looks once a second at what every client connection waits for; owns the joined standing headers."""

    def __init__(self) -> None:
        self._connections: set[ClientConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._standing_source: list[tuple[bytes, bytes]] | None = None
        self._standing = b""

    def watch(self, connection: ClientConnection) -> None:
        self._connections.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_S, self._sweep)

    def forget(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)

    def standing_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The headers that every answer has (the date), joined once a second."""
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
