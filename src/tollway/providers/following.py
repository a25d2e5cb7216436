"""Work that a provider does in the background: asked for, then looked after until it is done.

Such a provider answers with a ticket. `Following` stands before the door to the network: a request that says how it is followed
comes back with the last reply, all others pass at the cost of a look. Nobody waits for ever: POLL_S_MAX, or the call's own
deadline, ends it. Once a ticket was given, a failure is not tried again elsewhere: the work goes on, and is billed, anyway.

A wire that has `cancel_at` ends work that nobody waits for any more, whether its client left or its deadline came: then another
may try. One that has `stream_at` is heard while it works, where somebody listens (`Heard`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tollway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from tollway.upstream.wire import Deadlines, Origin, Upstream, WireReply, WireRequest

if TYPE_CHECKING:
    from tollway.dialects.media import Asked, PollingWire

POLL_S_MAX = 600.0
#: Between two looks; half as long again after each.
PAUSE_S_FIRST = 0.7
PAUSE_S_MAX = 4.0
#: So many looks in a row may fail; the next look is another chance.
MISSES_MAX = 3
#: A step takes no longer than this.
STEP_S_MAX = 60.0
#: Steps without a wait, such as fetching the picture that was made.
STEPS_MAX = 3
#: What a stream did not tell is asked for when it is over: so often, so far apart, and no longer than that together.
LAST_LOOKS_MAX = 4
LAST_PAUSE_S = 0.3
LAST_S_MAX = 1.8
#: Work that nobody waits for is ended in the background: so many at a time, others go on to their end.
CANCELS_MAX = 256
CANCEL_S_MAX = 5.0
_OURS = (b"host", b"user-agent", b"accept-encoding", b"content-type", b"prefer")


class FollowedRequest(WireRequest):
    """`wire` is a PollingWire, None for a request like others, and `asked` what it was asked, if it is one of media. `listens`: its
    client wants a stream.
    """

    __slots__ = ("asked", "listens", "wire")

    def __init__(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        *,
        streaming: bool = False,
        reply_bytes_max: int = 64 << 20,
        wire: Any = None,
        asked: Asked | None = None,
        listens: bool = False,
    ) -> None:
        super().__init__(origin, head, body, streaming=streaming, reply_bytes_max=reply_bytes_max)
        self.wire: Any = wire  # a PollingWire, if it is to be followed
        self.asked: Any = asked
        self.listens = listens


def followed(
    origin: Origin, head: bytes, body: bytes, *, wire: Any, listens: bool, reply_bytes_max: int
) -> WireRequest:
    """A chat that begins with a ticket."""
    head += wire.head(listens=listens)
    return FollowedRequest(origin, head, body, reply_bytes_max=reply_bytes_max, wire=wire, listens=listens)


class Following:
    """An Upstream before another one."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._cancels: set[asyncio.Task[None]] = set()

    def send(self, request: WireRequest, deadlines: Deadlines) -> Coroutine[Any, Any, WireReply]:
        if isinstance(request, FollowedRequest) and request.wire is not None:
            if request.listens:
                return self._listen(request, request.wire, request.asked, deadlines)
            return self._follow(request, request.wire, request.asked, deadlines)
        return self._upstream.send(request, deadlines)

    async def close(self) -> None:
        if self._cancels:
            await asyncio.wait(self._cancels, timeout=CANCEL_S_MAX)
        await self._upstream.close()

    async def _follow(self, request: FollowedRequest, wire: PollingWire, asked: Any, deadlines: Deadlines) -> WireReply:
        now = asyncio.get_running_loop().time
        ends = now() + min(POLL_S_MAX, deadlines.total_s)
        reply = await self._upstream.send(request, deadlines)
        return await self._poll(request, wire, asked, reply, ends)

    async def _poll(
        self, request: FollowedRequest, wire: PollingWire, asked: Any, reply: WireReply, ends: float
    ) -> WireReply:
        """The last reply, from the first on. `ends` is a time of the loop's clock."""
        now = asyncio.get_running_loop().time
        pause_s, quick = PAUSE_S_FIRST, 0
        while reply.status < 400:
            content_type = dict(reply.headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
            ticket = reply.body or b""
            step = wire.next_step(asked, content_type, ticket)
            if step is None:
                break
            reply.close()
            try:
                if step.waits:
                    if now() + pause_s >= ends:
                        raise UpstreamTimeout("The provider did not finish its work in time.")
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 1.5, PAUSE_S_MAX)
                elif (quick := quick + 1) > STEPS_MAX:
                    raise UpstreamBroken("The provider sends from one address to the next.")
                reply = await self._look(
                    _step_request(request, wire, step.target, greets=step.greets), max(1.0, ends - now())
                )
            except UpstreamError as error:
                error.retryable = error.retryable and self.cancel(request, wire, ticket)
                raise
            except asyncio.CancelledError:
                self.cancel(request, wire, ticket)
                raise
        return reply

    async def _listen(self, request: FollowedRequest, wire: Any, asked: Any, deadlines: Deadlines) -> WireReply:
        """The work's own stream; where it has none, or that cannot be heard, one that tells all of it at its end."""
        ends = asyncio.get_running_loop().time() + min(POLL_S_MAX, deadlines.total_s)
        first = await self._upstream.send(request, deadlines)
        if first.status >= 400:
            return first
        ticket = first.body or b""
        if address := wire.stream_at(ticket):
            first.close()
            try:
                stream = await self._upstream.send(_step_request(request, wire, address, listens=True), deadlines)
            except asyncio.CancelledError:
                self.cancel(request, wire, ticket)
                raise
            except UpstreamError:
                stream = None
            if stream is not None and stream.body is None:
                return Heard(self, request, stream, ticket, ends)
            if stream is not None:
                stream.close()
        last = await self._poll(request, wire, asked, first, ends)
        if last.status >= 400 or not wire.told(last.body or b""):
            return last
        return Heard(self, request, None, last.body or b"", ends)

    async def last_look(self, request: FollowedRequest, ticket: bytes, *, marked: bool, ends: float) -> bytes:
        """What became of work whose stream is over; b"" where nobody knows. Without its mark the work may go on: it is looked after
        like any other. Raises the UpstreamError that it came to.
        """
        wire, asked = request.wire, request.asked
        now = asyncio.get_running_loop().time
        step = wire.next_step(asked, b"", ticket)
        if step is None:
            return ticket
        if not marked:
            reply = await self._look(_step_request(request, wire, step.target), max(1.0, ends - now()))
            last = await self._poll(request, wire, asked, reply, ends)
            return last.body or b"" if last.status < 400 else b""
        until = now() + LAST_S_MAX
        for look in range(LAST_LOOKS_MAX):
            if look:
                await asyncio.sleep(LAST_PAUSE_S)
            left = until - now()
            if left <= 0:
                break
            try:
                reply = await self._upstream.send(
                    _step_request(request, wire, step.target), Deadlines(left, left, left, left)
                )
            except UpstreamError:
                break
            reply.close()
            body = reply.body or b""
            if reply.status < 400 and wire.next_step(asked, b"", body) is None:
                return body
        return b""

    def cancel(self, request: FollowedRequest, wire: Any, ticket: bytes) -> bool:
        """Ends work that nobody waits for, in the background. False where that cannot be, so that it goes on."""
        find = getattr(wire, "cancel_at", None)
        target = find(ticket) if find is not None else ""
        if not target or len(self._cancels) >= CANCELS_MAX:
            return False
        task = asyncio.ensure_future(self._send_cancel(_step_request(request, wire, target, method=b"POST")))
        self._cancels.add(task)
        task.add_done_callback(self._cancels.discard)
        return True

    async def _send_cancel(self, request: WireRequest) -> None:
        try:
            reply = await self._upstream.send(
                request, Deadlines(CANCEL_S_MAX, CANCEL_S_MAX, CANCEL_S_MAX, CANCEL_S_MAX)
            )
        except UpstreamError:
            return  # it goes on to its end: nobody is waiting for it either way
        reply.close()

    async def _look(self, request: WireRequest, left_s: float) -> WireReply:
        deadlines = Deadlines(10.0, min(STEP_S_MAX, left_s), min(STEP_S_MAX, left_s), min(STEP_S_MAX, left_s))
        for misses in range(MISSES_MAX):
            try:
                reply = await self._upstream.send(request, deadlines)
            except (UpstreamUnreachable, UpstreamTimeout, UpstreamBroken):
                if misses == MISSES_MAX - 1:
                    raise
            else:
                if reply.status not in (429, 500, 502, 503, 504) or misses == MISSES_MAX - 1:
                    return reply
                reply.close()
            await asyncio.sleep(PAUSE_S_MAX)
        raise AssertionError("unreachable")  # the last miss returns or raises


class Heard:
    """A WireReply: a stream that was asked for with a ticket. It begins with the ticket and ends with what became of the work, both
    told as events; let go of before its end, it ends the work.
    """

    def __init__(
        self, following: Following, request: FollowedRequest, stream: WireReply | None, ticket: bytes, ends: float
    ) -> None:
        wire = request.wire
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = stream.headers if stream is not None else []
        self.body: bytes | None = None
        self._following = following
        self._request = request
        self._stream = stream
        self._ticket = ticket
        self._ends = ends
        self._ears = wire.ears()
        self._next: bytes = wire.told(ticket)
        self._marked = False
        self._over = stream is None

    @property
    def ended(self) -> bool:
        return self._over and not self._next

    def take(self) -> bytes:
        out, self._next = self._next, b""
        if out or self._over or self._marked or self._stream is None:
            return out
        return self._listen_to(self._stream.take())

    async def read(self) -> bytes:
        if self._next or self._over or self._stream is None:
            return self.take()
        if not self._marked:
            data = await self._stream.read()
            if data:
                return self._listen_to(data)
        body = await self._following.last_look(self._request, self._ticket, marked=self._marked, ends=self._ends)
        self._over = True
        self._stream.close()
        return self._request.wire.told(body) if body else b""

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if not self._over:
            self._over = True
            if not self._marked:
                self._following.cancel(self._request, self._request.wire, self._ticket)

    def _listen_to(self, data: bytes) -> bytes:
        self._marked = self._ears.feed(data)
        return data


def _step_request(
    request: FollowedRequest,
    wire: PollingWire,
    target: str,
    *,
    greets: bool = True,
    listens: bool = False,
    method: bytes = b"GET",
) -> WireRequest:
    """Raises UpstreamBroken for an address at a host that is not the provider's."""
    origin = request.origin
    if not target.startswith("/") and "://" not in target:  # beside the address that was asked
        asked_at = request.head.split(b" ", 2)[1].decode("latin-1")
        target = f"{wire.base(asked_at)}/{target}"  # type: ignore[attr-defined]  # wires that speak so have one
    if not target.startswith("/"):
        parts = urlsplit(target)
        host = parts.hostname or ""
        own = host == origin.host or any(host.endswith(name) for name in wire.hosts)
        if parts.scheme != origin.scheme or not own or parts.username is not None:
            raise UpstreamBroken("The provider names an address at a host that is not its own.")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        origin = Origin(origin.scheme, host, port, origin.tls, origin.socket_path if host == origin.host else None)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise UpstreamBroken("The provider names an address that is none.")
    standard = (origin.scheme, origin.port) in (("http", 80), ("https", 443))
    shown = origin.host if standard else f"{origin.host}:{origin.port}"
    lines = [b"%b %b HTTP/1.1" % (method, target.encode()), b"host: " + shown.encode()]
    for line in request.head.split(b"\r\n")[1:]:
        name = line.partition(b":")[0]
        if line and (name in (b"user-agent", b"accept-encoding") or (greets and name not in _OURS)):
            lines.append(line)
    if listens:
        lines += [b"accept: text/event-stream", b"cache-control: no-store"]
    head = b"".join(line + b"\r\n" for line in lines)
    return WireRequest(origin, head, b"", streaming=listens, reply_bytes_max=request.reply_bytes_max)
