"""The door to the network: a pooled HTTP/1.1 client for one event loop.

An exchange takes the connection that was freed last, or opens one, writes once, and waits for one future. No exchange
has a task or a timer of its own: one sweep, every `sweep_s` while anything is in flight, holds all of them to their
deadlines, so a deadline is noticed at most that much late. Opening a connection is the slow path, with a timeout of
its own.

What is bounded: connections per origin (callers beyond it wait first come, first served, within `connect_s`), header
bytes, bytes held for a slow reader of a stream (reading from the socket stops above it), bytes of a whole reply
(`WireRequest.reply_bytes_max`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import cast

from tollway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tollway.outbox import Outbox
from tollway.upstream.connection import Connection, Reply, StaleConnection
from tollway.upstream.dialing import Dialer, Resolve
from tollway.upstream.proxying import Proxy, ProxySettings, absolute_head, choose_proxy, read_proxy
from tollway.upstream.wire import Deadlines, Origin, WireRequest
from tollway.values import Value


class PoolStats(Value, frozen=True):
    """Connections of one origin: `open` are all, `idle` of them are free, `waiting` callers want one."""

    open: int
    idle: int
    waiting: int


class HttpClient:
    """Implements `Upstream`. Belongs to the event loop it is first used on.

    `idle_connection_s_max` stays under the 60 s after which common servers and balancers close an idle connection
    themselves.
    """

    def __init__(
        self,
        *,
        connections_per_origin_max: int = 1000,
        idle_connection_s_max: float = 55.0,
        head_bytes_max: int = 65536,
        buffered_bytes_max: int = 262144,
        proxies: ProxySettings | None = None,
        resolve: Resolve | None = None,
        sweep_s: float = 0.25,
    ) -> None:
        self._connections_per_origin_max = connections_per_origin_max
        self._idle_connection_s_max = idle_connection_s_max
        self._head_bytes_max = head_bytes_max
        self._buffered_bytes_max = buffered_bytes_max
        self._proxies = proxies
        self._sweep_s = sweep_s
        self._dialer = Dialer(head_bytes_max=head_bytes_max, resolve=resolve)
        self._outbox = Outbox()
        self._pools: dict[Origin, Pool] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._reaping: asyncio.TimerHandle | None = None
        self._closed = False

        for url in (proxies.https_proxy, proxies.http_proxy) if proxies else ():
            if url:
                read_proxy(url)  # a ConfigError now, not at the first call

    async def send(self, request: WireRequest, deadlines: Deadlines) -> Reply:
        """See `Upstream.send`. A request that finds its pooled connection closed is sent once more over a new one."""
        origin = request.origin
        pool = self._pools.get(origin) or self._add_pool(origin)
        loop = pool.loop
        started_at = loop.time()
        idle = pool.idle
        connection = idle.pop() if idle else await self._obtain(pool, deadlines, started_at)
        head = request.head if pool.relay is None else absolute_head(pool.relay, origin, request.head)
        reply = connection.begin(request, head, deadlines, started_at)
        if self._sweeping is None:
            self._start_sweeping(loop)
        try:
            await reply.wait()
        except StaleConnection:
            connection = await self._obtain(pool, deadlines, loop.time())
            connection.reused = False  # so that there is no third time
            reply = connection.begin(request, head, deadlines, started_at)
            self._start_sweeping(loop)
            await reply.wait()
        return reply

    def stats(self) -> dict[Origin, PoolStats]:
        return {
            origin: PoolStats(open=len(pool.connections), idle=len(pool.idle), waiting=len(pool.waiters))
            for origin, pool in self._pools.items()
        }

    async def close(self) -> None:
        """Closes every connection; what is in flight fails with UpstreamBroken. Returns when all sockets are closed."""
        self._closed = True
        for timer in (self._sweeping, self._reaping):
            if timer is not None:
                timer.cancel()
        self._sweeping = self._reaping = None
        for pool in tuple(self._pools.values()):
            pool.close()
        # A loop tells a connection that it is lost one turn after it was aborted.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _obtain(self, pool: Pool, deadlines: Deadlines, since: float) -> Connection:
        """A connection: a new one, or one that another caller has freed when no more may be opened."""
        within_s = min(deadlines.connect_s, deadlines.total_s)
        what = "has no free connection"
        try:
            async with asyncio.timeout_at(since + within_s):
                while True:
                    # An empty pool is dropped; a caller that still holds it brings it back, or joins its successor.
                    pool = self._pools.setdefault(pool.origin, pool)
                    connection = await pool.wait_for_place()
                    if connection is None:
                        what = "could not be connected to"
                        return await self._open(pool)
                    if not connection.lost:
                        return connection
        except TimeoutError:
            busy = f" ({len(pool.connections)} are in use)" if what == "has no free connection" else ""
            raise UpstreamTimeout(f"{pool.name} {what} within {within_s:g} s{busy}.") from None

    async def _open(self, pool: Pool) -> Connection:
        try:
            self._refuse_when_closed(pool)
            # A protocol in all but its base class, which a compiled class cannot have.
            make = cast("Callable[[], asyncio.Protocol]", partial(Connection, pool, pool.loop))
            connection = cast(Connection, await self._dialer.open(make, pool.origin, pool.proxy))
            if connection.lost:
                raise UpstreamUnreachable(f"{pool.name} closed the connection at once.")
        except BaseException:
            pool.free_place()
            raise
        pool.connections.add(connection)
        if self._closed:
            connection.abort()
            self._refuse_when_closed(pool)
        return connection

    def _refuse_when_closed(self, pool: Pool) -> None:
        if self._closed:
            raise UpstreamUnreachable(f"Not connecting to {pool.name}: the gateway is closing its connections.")

    def _add_pool(self, origin: Origin) -> Pool:
        pool = Pool(
            origin,
            asyncio.get_running_loop(),
            proxy=choose_proxy(self._proxies, origin),
            connections_max=self._connections_per_origin_max,
            head_bytes_max=self._head_bytes_max,
            buffered_bytes_max=self._buffered_bytes_max,
            outbox=self._outbox,
            on_idle=self._expect_idle,
            on_empty=self._drop_pool,
        )
        self._pools[origin] = pool
        return pool

    def _drop_pool(self, pool: Pool) -> None:
        """Origins come and go with the configuration: an empty pool is not kept."""
        if self._pools.get(pool.origin) is pool:
            del self._pools[pool.origin]

    def _start_sweeping(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._sweep_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        active = False
        for pool in tuple(self._pools.values()):
            for connection in tuple(pool.connections):
                if connection.reply is not None:
                    active = True
                    connection.check(now)
        if active:
            self._start_sweeping(loop)

    def _expect_idle(self, pool: Pool) -> None:
        if self._reaping is None and not self._closed:
            self._reaping = pool.loop.call_later(self._idle_connection_s_max, self._reap)

    def _reap(self) -> None:
        """Closes what has been idle too long, and sleeps until the next one will have been."""
        self._reaping = None
        loop = asyncio.get_running_loop()
        latest = loop.time() - self._idle_connection_s_max
        oldest: float | None = None
        for pool in tuple(self._pools.values()):
            # The one freed last is taken first, so the list is sorted by age.
            while pool.idle and pool.idle[0].idle_since <= latest:
                pool.idle[0].abort()
            if pool.idle:
                since = pool.idle[0].idle_since
                oldest = since if oldest is None else min(oldest, since)
        if oldest is not None:
            self._reaping = loop.call_at(oldest + self._idle_connection_s_max, self._reap)


class Pool:
    """The connections to one origin. A place is the right to have one open; there are `connections_max`."""

    def __init__(
        self,
        origin: Origin,
        loop: asyncio.AbstractEventLoop,
        *,
        proxy: Proxy | None,
        connections_max: int,
        head_bytes_max: int,
        buffered_bytes_max: int,
        outbox: Outbox,
        on_idle: Callable[[Pool], None],
        on_empty: Callable[[Pool], None],
    ) -> None:
        self.origin = origin
        self.loop = loop
        self.name = origin.host if origin.port in (80, 443) else f"{origin.host}:{origin.port}"
        self.proxy = proxy
        #: The proxy that wants the absolute form of request lines.
        self.relay = proxy if origin.scheme == "http" else None
        self.head_bytes_max = head_bytes_max
        self.buffered_bytes_max = buffered_bytes_max
        self.outbox = outbox
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._places = connections_max
        self._places_max = connections_max
        self._on_idle = on_idle
        self._on_empty = on_empty

    @property
    def in_use(self) -> int:
        return len(self.connections) - len(self.idle)

    async def wait_for_place(self) -> Connection | None:
        """None: the caller may open a connection, and owes `free_place` if it does not. Else a connection that another
        caller has freed; it may have been lost since."""
        if self._places > 0:
            self._places -= 1
            return None
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self.waiters.append(waiter)
        try:
            return await waiter
        except BaseException:
            self._give_up(waiter)
            raise

    def take_back(self, connection: Connection) -> None:
        connection.reused = True
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = self.loop.time()
        self.idle.append(connection)
        self._on_idle(self)

    def forget(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            if connection in self.idle:
                self.idle.remove(connection)
            self.free_place()

    def free_place(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._places += 1
        if self._places == self._places_max:
            self._on_empty(self)

    def close(self) -> None:
        for connection in tuple(self.connections):
            connection.fail(UpstreamBroken(f"The connection to {self.name} was closed by the gateway."))

    def _give_up(self, waiter: asyncio.Future[Connection | None]) -> None:
        """The caller left. What it was given in the same moment goes to the next one."""
        if waiter.cancelled() or not waiter.done():
            with suppress(ValueError):
                self.waiters.remove(waiter)
            return
        connection = waiter.result()
        if connection is None:
            self.free_place()
        elif not connection.lost:
            self.take_back(connection)
