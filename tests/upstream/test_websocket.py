from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tollway.calls import Secret
from tollway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tollway.upstream.proxying import ProxySettings
from tollway.upstream.websocket import (
    MESSAGE_BYTES_MAX,
    WAITING_BYTES_MAX,
    HandshakeRefused,
    SocketClient,
    SocketClosed,
)
from tollway.upstream.wire import Deadlines, Origin, Tls

from .servers import IN_TIME, Authority, Serve, Talk
from .test_dialing import ConnectProxy

HEAD = b"GET /v1/realtime?model=m HTTP/1.1\r\nhost: api.example\r\nauthorization: Bearer k\r\naccept-encoding: identity\r\n"
Script = Callable[[ServerConnection], Awaitable[None]]
Open = Callable[..., Awaitable[int]]


@pytest.fixture
async def answering() -> AsyncIterator[Open]:
    """Starts a server of WebSockets that plays a script for each; gives its port."""
    async with AsyncExitStack() as stack:

        async def start(script: Script, **how: Any) -> int:
            server = await stack.enter_async_context(serve_websockets(script, "127.0.0.1", 0, max_size=None, **how))
            port: int = next(iter(server.sockets)).getsockname()[1]
            return port

        yield start


async def echo(session: ServerConnection) -> None:
    async for message in session:
        await session.send(message)


def at(port: int, **how: Any) -> Origin:
    return Origin("http", "127.0.0.1", port, **how)


async def test_messages_come_back_as_they_went(answering: Open) -> None:
    socket = await SocketClient().open(at(await answering(echo)), HEAD, IN_TIME)
    for message in ("hi", "ä" * 100_000, b"\x00\xff", "", b"x" * 3_000_000):
        await socket.send(message)
        assert await socket.receive() == message
    socket.close()


async def test_the_handshake_is_asked_as_the_head_says(answering: Open) -> None:
    seen: list[Request] = []

    async def look(session: ServerConnection) -> None:
        assert session.request is not None
        seen.append(session.request)

    socket = await SocketClient().open(at(await answering(look)), HEAD, IN_TIME)
    with pytest.raises(SocketClosed) as closed:
        await socket.receive()
    assert closed.value.code == 1000
    assert seen[0].path == "/v1/realtime?model=m"
    assert seen[0].headers.get_all("host") == ["api.example"]
    assert seen[0].headers["authorization"] == "Bearer k"
    assert "accept-encoding" not in seen[0].headers


async def test_pieces_of_a_message_are_put_together(answering: Open) -> None:
    async def in_pieces(session: ServerConnection) -> None:
        await session.send(["one ", "two ", "three"])
        await session.wait_closed()

    socket = await SocketClient().open(at(await answering(in_pieces)), HEAD, IN_TIME)
    assert await socket.receive() == "one two three"
    socket.close()


async def test_a_refusal_is_given_with_its_status_and_body(answering: Open) -> None:
    def refuse(session: ServerConnection, request: Request) -> Response:
        return Response(403, "Forbidden", Headers({"X-Why": "so", "Content-Length": "4"}), b"nope")

    port = await answering(echo, process_request=refuse)
    with pytest.raises(HandshakeRefused) as refused:
        await SocketClient().open(at(port), HEAD, IN_TIME)
    assert (refused.value.status, refused.value.body) == (403, b"nope")
    assert (b"x-why", b"so") in refused.value.headers


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: tea\r\n\r\n"])
async def test_what_is_no_websocket_is_broken(serve: Serve, answer: bytes) -> None:
    async def say(talk: Talk) -> None:
        await talk.hear()
        await talk.say(answer)

    server = await serve(say)
    with pytest.raises(UpstreamBroken):
        await SocketClient().open(server.origin(), HEAD, IN_TIME)


async def test_a_server_that_says_nothing_is_late(serve: Serve) -> None:
    async def wait(talk: Talk) -> None:
        await talk.wait_gone()

    server = await serve(wait)
    with pytest.raises(UpstreamTimeout, match=r"opened no WebSocket within 0\.05 s"):
        await SocketClient().open(server.origin(), HEAD, Deadlines(connect_s=0.05))
    await server.gone.wait()


async def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(UpstreamUnreachable):
        await SocketClient().open(at(9), HEAD, IN_TIME)
    with pytest.raises(UpstreamUnreachable, match="link-local"):
        await SocketClient().open(Origin("http", "169.254.169.254", 80), HEAD, IN_TIME)


async def test_a_close_tells_code_and_reason_to_both(answering: Open) -> None:
    codes: list[Any] = []

    async def close(session: ServerConnection) -> None:
        if await session.recv() == "close":
            await session.close(4000, "enough")
            return
        await session.wait_closed()
        codes.append((session.close_code, session.close_reason))

    port = await answering(close)
    first, second = [await SocketClient().open(at(port), HEAD, IN_TIME) for _ in range(2)]
    await first.send("close")
    with pytest.raises(SocketClosed) as closed:
        await first.receive()
    assert (closed.value.code, closed.value.reason) == (4000, "enough")
    with pytest.raises(SocketClosed):
        await first.send("late")
    await second.send("stay")
    second.close(1001, "bye")
    while not codes:
        await asyncio.sleep(0.001)
    assert codes == [(1001, "bye")]


async def test_a_connection_that_breaks_gives_what_came_before(answering: Open) -> None:
    async def cut(session: ServerConnection) -> None:
        await session.send("one")
        session.transport.abort()

    socket = await SocketClient().open(at(await answering(cut)), HEAD, IN_TIME)
    assert await socket.receive() == "one"
    with pytest.raises(UpstreamBroken, match="without a word"):
        await socket.receive()


async def test_a_message_above_the_bound_is_broken(answering: Open) -> None:
    async def shout(session: ServerConnection) -> None:
        await session.send(b"x" * (MESSAGE_BYTES_MAX + 1))

    socket = await SocketClient().open(at(await answering(shout)), HEAD, IN_TIME)
    with pytest.raises(UpstreamBroken, match="larger"):
        await socket.receive()


async def test_who_does_not_read_stops_the_other_side(answering: Open) -> None:
    sent = 0

    async def pour(session: ServerConnection) -> None:
        nonlocal sent
        for _ in range(400):
            await session.send(b"x" * 100_000)
            sent += 1

    socket = await SocketClient().open(at(await answering(pour)), HEAD, IN_TIME)
    await socket.receive()
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 400
    assert socket._waiting_bytes < 2 * WAITING_BYTES_MAX
    for _ in range(399):
        await socket.receive()
    assert sent == 400
    socket.close()


async def test_who_is_not_read_waits(answering: Open) -> None:
    go_on = asyncio.Event()

    async def sit(session: ServerConnection) -> None:
        await go_on.wait()
        async for _ in session:
            pass

    socket = await SocketClient().open(at(await answering(sit)), HEAD, IN_TIME)
    sending = asyncio.ensure_future(_send_much(socket))
    await asyncio.wait({sending}, timeout=0.2)
    assert not sending.done()
    go_on.set()
    await asyncio.wait_for(sending, 60)
    socket.close()


async def _send_much(socket: Any) -> None:
    for _ in range(60):
        await socket.send(b"x" * 1_000_000)


async def test_tls_and_proxies_are_those_of_every_other_connection(
    answering: Open, serve: Serve, authority: Authority
) -> None:
    context: ssl.SSLContext = authority.server_context("api.example")
    proxy = ConnectProxy(await answering(echo, ssl=context))
    door = await serve(proxy)
    client = SocketClient(proxies=ProxySettings(https_proxy=Secret(f"http://127.0.0.1:{door.port}")))
    origin = Origin("https", "api.example", 443, Tls(ca_file=authority.ca_file))
    socket = await client.open(origin, HEAD, IN_TIME)
    await socket.send("hi")
    assert await socket.receive() == "hi"
    assert proxy.asked[0].startswith(b"CONNECT api.example:443 ")
    socket.close()
    with pytest.raises(UpstreamUnreachable, match="not trusted"):
        await client.open(Origin("https", "api.example", 443), HEAD, IN_TIME)
