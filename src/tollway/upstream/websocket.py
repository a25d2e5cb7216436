"""A WebSocket to a provider: the connection is opened as every other (proxies, TLS, no link-local addresses), the handshake is
one HTTP request, and then messages go both ways.

Frames are cut and masked by `websockets`, which does no I/O here. What is bounded: the bytes of one message, the bytes that wait
to be read (reading from the socket stops above them), the seconds of the handshake. `send` waits while the provider does not take
what it was sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from tollway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from tollway.upstream.dialing import Dialer, Resolve
from tollway.upstream.proxying import ProxySettings, absolute_head, choose_proxy
from tollway.upstream.wire import Deadlines, Origin

if TYPE_CHECKING:
    from websockets.http11 import Response

MESSAGE_BYTES_MAX = 16 << 20
#: Of what came and nobody has read yet.
WAITING_BYTES_MAX = 1 << 20
PROXY_HEAD_BYTES_MAX = 65536
#: How long the other side may take to say goodbye.
CLOSE_S_MAX = 2.0

NORMAL, GOING_AWAY, NO_CODE, ABNORMAL = 1000, 1001, 1005, 1006


class HandshakeRefused(Exception):
    """The provider answered with something else than a WebSocket: an HTTP answer."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class SocketClosed(Exception):
    """The provider closed the WebSocket, with the code and the reason that it gave."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class SocketOpener(Protocol):
    async def open(self, origin: Origin, head: bytes, deadlines: Deadlines) -> UpstreamSocket:
        """`head` is the request line and headers of a GET, each line ended by CRLF, without those of the handshake.

        Raises HandshakeRefused, UpstreamUnreachable, UpstreamTimeout or UpstreamBroken.
        """
        ...


class SocketClient:
    """Implements `SocketOpener`. Nothing is pooled: a WebSocket is one connection."""

    def __init__(self, *, proxies: ProxySettings | None = None, resolve: Resolve | None = None) -> None:
        self._proxies = proxies
        self._dialer = Dialer(head_bytes_max=PROXY_HEAD_BYTES_MAX, resolve=resolve)

    async def open(self, origin: Origin, head: bytes, deadlines: Deadlines) -> UpstreamSocket:
        within_s = min(deadlines.connect_s, deadlines.total_s)
        name = origin.host if origin.port in (80, 443) else f"{origin.host}:{origin.port}"
        proxy = choose_proxy(self._proxies, origin)
        if proxy is not None and origin.scheme == "http":
            head = absolute_head(proxy, origin, head)
        socket: UpstreamSocket | None = None
        try:
            async with asyncio.timeout(within_s):
                loop = asyncio.get_running_loop()
                socket = await self._dialer.open(lambda: UpstreamSocket(name, loop), origin, proxy)
                await socket.shake_hands(head)
        except TimeoutError:
            if socket is not None:
                socket.abort()
            raise UpstreamTimeout(f"{name} opened no WebSocket within {within_s:g} s.") from None
        except BaseException:
            if socket is not None:
                socket.abort()
            raise
        return socket


class UpstreamSocket(asyncio.Protocol):
    """One WebSocket. Read by one task, written by one task."""

    transport: asyncio.Transport

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        from websockets.client import ClientProtocol
        from websockets.uri import WebSocketURI

        self._name = name
        self._loop = loop
        # Where to is said by the head; what stands in this address is never sent.
        nowhere = WebSocketURI(secure=False, host="provider.invalid", port=80, path="/", query="")
        self._frames = ClientProtocol(nowhere, max_size=MESSAGE_BYTES_MAX)
        self._answer: asyncio.Future[Response] = loop.create_future()
        self._messages: deque[str | bytes] = deque()
        self._waiting_bytes = 0
        self._pieces: list[bytes] = []
        self._is_text = True
        self._ended: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        self.lost = False

    # --- what sessions ask of it

    async def shake_hands(self, head: bytes) -> None:
        request = self._frames.connect()
        line, _, rest = head.decode("latin-1").partition("\r\n")
        request.path = line.split(" ")[1]
        own = request.headers
        for header in rest.split("\r\n"):
            name, colon, value = header.partition(":")
            if colon and name != "accept-encoding":
                if name == "host":
                    del own["Host"]
                own[name] = value.strip()
        self._frames.send_request(request)
        self._flush()
        answer = await self._answer
        if self._frames.handshake_exc is not None:
            headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.raw_items()]
            if answer.status_code == 101:
                raise UpstreamBroken(f"{self._name} answered the handshake with what is none.")
            raise HandshakeRefused(answer.status_code, headers, bytes(answer.body or b""))

    async def receive(self) -> str | bytes:
        """The next message. Raises SocketClosed, or UpstreamBroken where the connection broke."""
        while not self._messages:
            if self._ended is not None:
                raise self._ended
            self._reader = self._loop.create_future()
            await self._reader
        message = self._messages.popleft()
        self._waiting_bytes -= len(message)
        if self._paused and self._waiting_bytes <= WAITING_BYTES_MAX // 2 and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()
        return message

    async def send(self, message: str | bytes) -> None:
        """Waits while the provider does not take what it was sent. Raises as `receive` does."""
        if not self._writable.is_set():
            await self._writable.wait()
        if self._ended is not None:
            raise self._ended
        if isinstance(message, str):
            self._frames.send_text(message.encode("utf-8", "surrogatepass"))
        else:
            self._frames.send_binary(message)
        self._flush()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Says goodbye and lets go. May be called any number of times."""
        if self._ended is not None or self.transport.is_closing():
            self.abort()
            return
        self._ended = SocketClosed(code, reason)
        self._frames.send_close(code, reason)
        self._flush()
        self._loop.call_later(CLOSE_S_MAX, self.abort)

    def abort(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport, on every loop

    def data_received(self, data: bytes) -> None:
        from websockets.frames import Frame

        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif not self._answer.done():
                self._answer.set_result(event)  # type: ignore[arg-type]  # a client is sent no requests
        self._flush()
        if self._frames.parser_exc is not None:
            self._end(UpstreamBroken(f"{self._name} sent what is no WebSocket message, or a larger one than is taken."))
            self.abort()

    def eof_received(self) -> None:
        self._frames.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._writable.set()
        closed = self._frames.close_rcvd
        if closed is not None:
            self._end(SocketClosed(closed.code, closed.reason))
        else:
            self._end(UpstreamBroken(f"{self._name} closed the connection without a word."))
        if not self._answer.done():
            self._answer.set_exception(UpstreamBroken(f"{self._name} closed the connection during the handshake."))
            self._answer.exception()  # whoever waited may have left

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- frames

    def _take(self, frame: Any) -> None:
        from websockets.frames import Opcode

        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._is_text = frame.opcode is Opcode.TEXT
            self._pieces = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT:
            self._pieces.append(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            closed = self._frames.close_rcvd
            self._end(SocketClosed(closed.code, closed.reason) if closed is not None else SocketClosed(NO_CODE, ""))
            return
        else:
            return  # pings are answered already
        if frame.fin:
            self._deliver(b"".join(self._pieces))
            self._pieces = []

    def _deliver(self, data: bytes) -> None:
        try:
            message: str | bytes = data.decode() if self._is_text else data
        except UnicodeDecodeError:
            self._end(UpstreamBroken(f"{self._name} sent text that is not UTF-8."))
            self.abort()
            return
        self._messages.append(message)
        self._waiting_bytes += len(message)
        if self._waiting_bytes > WAITING_BYTES_MAX and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if not data:
                self.transport.close()
            elif not self.transport.is_closing():
                self.transport.write(data)

    def _end(self, error: Exception) -> None:
        if self._ended is None:
            self._ended = error
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def failure_of(error: Exception) -> UpstreamError:
    """What a WebSocket's end means where its session was not over."""
    if isinstance(error, UpstreamError):
        return error
    assert isinstance(error, SocketClosed)
    said = f": {error.reason}" if error.reason else ""
    return UpstreamBroken(f"The provider closed the session (code {error.code}){said}.")
