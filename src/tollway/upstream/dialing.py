"""Opens one connection to an origin: names, addresses, TLS, Unix sockets, proxies. The slow path; a pooled connection
never comes here.

What is raised by the loop, by the resolver or by TLS leaves here as UpstreamUnreachable with its cause.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import certifi

from tollway.errors import UpstreamUnreachable
from tollway.upstream.proxying import Proxy, tunnel_head
from tollway.upstream.wire import Origin, Tls

#: How long one address may be silent before the next one is tried beside it (RFC 8305, section 5, recommends 250 ms).
NEXT_ADDRESS_S = 0.25
#: A context holds about a megabyte of certificates. Each client keeps this many of different `Tls`; the oldest goes
#: first.
TLS_CONTEXTS_MAX = 64

P = TypeVar("P", bound=asyncio.Protocol)
#: A family and what `socket.connect` takes for it.
Address = tuple[int, tuple[Any, ...]]
#: Host and port in, addresses out, the best first. Raises OSError.
Resolve = Callable[[str, int], Awaitable[list[Address]]]


class Dialer:
    """Opens connections; keeps one TLS context for each `Tls`.

    The files that a `Tls` names are read off the loop when it is first used, and not again while its context is kept.
    """

    def __init__(self, *, head_bytes_max: int, resolve: Resolve | None = None) -> None:
        self._head_bytes_max = head_bytes_max
        self._resolve = resolve or resolve_by_system
        self._contexts: dict[Tls, asyncio.Future[ssl.SSLContext]] = {}

    async def open(self, make: Callable[[], P], origin: Origin, proxy: Proxy | None) -> P:
        """Raises UpstreamUnreachable. Whoever cancels this leaves no connection behind."""
        place = proxy or origin
        whom = f"{place.host}:{place.port}" if origin.socket_path is None else origin.socket_path
        try:
            refuse_link_local(origin.host, origin.host)
            if proxy is not None:
                return await self._open_through(proxy, make, origin)
            context = await self._context(origin.tls) if origin.scheme == "https" else None
            name = origin.host if context else None
            loop = asyncio.get_running_loop()
            if origin.socket_path is not None:
                _, made = await loop.create_unix_connection(make, origin.socket_path, ssl=context, server_hostname=name)
                return made
            connected = await self._connect(origin.host, origin.port)
            return await _wrap(make, connected, context, name)
        except UpstreamUnreachable:
            raise
        except (OSError, ssl.SSLError, ValueError, EOFError, NotImplementedError) as error:
            raise UpstreamUnreachable(f"Cannot connect to {whom}: {_reason(error)}.") from error

    async def _open_through(self, proxy: Proxy, make: Callable[[], P], origin: Origin) -> P:
        # A proxy is trusted by the same roots as the origin behind it; the client certificate is for the origin alone.
        trust = Tls(verify=origin.tls.verify, ca_file=origin.tls.ca_file)
        outer = await self._context(trust) if proxy.secure else None
        connected = await self._connect(proxy.host, proxy.port)
        if origin.scheme == "http":
            return await _wrap(make, connected, outer, proxy.host if outer else None)
        loop = asyncio.get_running_loop()
        opening: _Tunnel = await _wrap(
            partial(_Tunnel, loop, tunnel_head(proxy, origin), self._head_bytes_max),
            connected,
            outer,
            proxy.host if outer else None,
        )
        try:
            await opening.opened
            context = await self._context(origin.tls)
            connection = make()
            inner = await loop.start_tls(opening.transport, connection, context, server_hostname=origin.host)
            if inner is None:
                raise ConnectionResetError("the proxy closed the tunnel")
            connection.connection_made(inner)
        except BaseException:
            opening.transport.abort()
            raise
        return connection

    async def _connect(self, host: str, port: int) -> socket.socket:
        addresses = [
            found for found in await self._resolve(host, port) if found[0] in (socket.AF_INET, socket.AF_INET6)
        ]
        if not addresses:
            raise OSError("the name has no address")
        for _, address in addresses:
            refuse_link_local(host, str(address[0]))
        return await _connect_to_first(take_turns(addresses))

    async def _context(self, tls: Tls) -> ssl.SSLContext:
        made = self._contexts.get(tls)
        if made is None:
            if len(self._contexts) >= TLS_CONTEXTS_MAX:
                del self._contexts[next(iter(self._contexts))]
            made = asyncio.get_running_loop().run_in_executor(None, make_context, tls)
            self._contexts[tls] = made
        try:
            # Shielded: the caller who leaves must not take the context from those who wait beside it.
            return await asyncio.shield(made)
        except (OSError, ValueError):
            self._contexts.pop(tls, None)
            raise


def make_context(tls: Tls) -> ssl.SSLContext:
    """Reads files. Raises OSError or ssl.SSLError for one that is missing or no certificate."""
    context = ssl.create_default_context(cafile=tls.ca_file or certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        # No password: without this a locked key would ask the terminal for one.
        context.load_cert_chain(tls.cert_file, tls.key_file, password=b"")
    return context


def refuse_link_local(host: str, address: str) -> None:
    """Raises UpstreamUnreachable for a link-local `address`: clouds keep their machines' credentials behind one
    (169.254.169.254)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_link_local:
        raise UpstreamUnreachable(f"Refused to connect to {host}: {ip} is a link-local address.")


async def resolve_by_system(host: str, port: int) -> list[Address]:
    """Asks the system's resolver, off the loop. Nothing is cached here: connections are kept, names need not be."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def take_turns(addresses: list[Address]) -> list[Address]:
    """The same addresses, the first one's family and the other taking turns (RFC 8305, section 4)."""
    ours = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    turns = [address for pair in zip(ours, others, strict=False) for address in pair]
    both = min(len(ours), len(others))
    return turns + ours[both:] + others[both:]


async def _connect_to_first(addresses: list[Address]) -> socket.socket:
    """A connected socket. Tries the addresses one beside the other, each a moment after the one before (RFC 8305)."""
    if len(addresses) == 1:
        return await _connect_to(addresses[0])
    loop = asyncio.get_running_loop()
    trying: set[asyncio.Task[socket.socket]] = set()
    first_error: BaseException | None = None
    winner: asyncio.Task[socket.socket] | None = None
    try:
        while winner is None and (addresses or trying):
            if addresses:
                trying.add(loop.create_task(_connect_to(addresses.pop(0))))
            wait_s = NEXT_ADDRESS_S if addresses else None
            done, trying = await asyncio.wait(trying, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is not None:
                    first_error = first_error or error
                elif winner is None:
                    winner = task
                else:
                    task.result().close()
    finally:
        for task in trying:
            task.add_done_callback(_close_late)
            task.cancel()
    if winner is None:
        raise first_error or OSError("no address answered")
    return winner.result()


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect_to(address: Address) -> socket.socket:
    family, place = address
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connected, place)
    except BaseException:
        connected.close()
        raise
    return connected


async def _wrap(make: Callable[[], P], connected: socket.socket, context: ssl.SSLContext | None, name: str | None) -> P:
    """Puts a protocol, and TLS where there is a context, on a connected socket."""
    try:
        _, made = await asyncio.get_running_loop().create_connection(
            make, sock=connected, ssl=context, server_hostname=name
        )
    except BaseException:
        connected.close()
        raise
    return made


def _reason(error: BaseException) -> str:
    """Why, in plain words: no address, no key, no query string."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'closed during the handshake'})"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({error.strerror})"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel. `opened` is done when the proxy agreed; raises OSError when it did not."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, head: bytes, head_bytes_max: int) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._head = head
        self._head_bytes_max = head_bytes_max
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport, on every loop
        self.transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if end:
            status = head.split(b" ", 2)[1:2]
            agreed = head.startswith(b"HTTP/1.") and status[:1] and status[0].startswith(b"2") and not rest
            words = head.partition(b"\r\n")[0].decode("latin-1")
            self._settle(None if agreed else OSError(f"the proxy refused the tunnel ({words!r})"))
        elif len(self._answer) > self._head_bytes_max:
            self._settle(OSError("the proxy's answer has no end"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(OSError("the proxy closed the connection"))

    def _settle(self, error: OSError | None) -> None:
        if self.opened.done():
            return
        if error is None:
            self.opened.set_result(None)
        else:
            self.opened.set_exception(error)
            # Read once here, so that nobody complains when the one who waited has left.
            self.opened.exception()
