from __future__ import annotations

from typing import Any

import pytest

from tollway.downstream.line import ClientGone
from tollway.downstream.websocket import REASON_BYTES_MAX, WebSocket


class Server:
    """An ASGI server that gives `said` and keeps what it is told."""

    def __init__(self, *said: dict[str, Any], extensions: tuple[str, ...] = ("websocket.http.response",)) -> None:
        self.said = [{"type": "websocket.connect"}, *said]
        self.told: list[dict[str, Any]] = []
        self.broken = False
        self.scope = {"type": "websocket", "extensions": {name: {} for name in extensions}, "subprotocols": ["a", "b"]}

    async def receive(self) -> dict[str, Any]:
        return self.said.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        if self.broken:
            raise OSError
        self.told.append(message)

    def socket(self, **bounds: int) -> WebSocket:
        return WebSocket(self.scope, self.receive, self.send, **bounds)


async def test_messages_pass_both_ways_as_they_are() -> None:
    server = Server({"type": "websocket.receive", "text": "hi"}, {"type": "websocket.receive", "bytes": b"\x00"})
    socket = server.socket()
    assert socket.subprotocols == ["a", "b"]
    await socket.accept("b", b"x-a: 1\r\nx-b: 2: 3\r\n")
    assert [await socket.receive(), await socket.receive()] == ["hi", b"\x00"]
    await socket.send("text")
    await socket.send(b"bytes")
    accepted, *sent = server.told
    assert (accepted["subprotocol"], accepted["headers"]) == ("b", [(b"x-a", b"1"), (b"x-b", b"2: 3")])
    assert sent == [{"type": "websocket.send", "text": "text"}, {"type": "websocket.send", "bytes": b"bytes"}]


async def test_who_is_turned_away_gets_a_plain_answer() -> None:
    server = Server()
    await server.socket().refuse(401, b"content-type: application/json\r\n", b"{}")
    start, body = server.told
    assert (start["status"], body["body"]) == (401, b"{}")
    assert start["headers"] == [(b"content-type", b"application/json"), (b"content-length", b"2")]


async def test_a_server_without_plain_answers_closes() -> None:
    server = Server(extensions=())
    await server.socket().refuse(401, b"", b"{}")
    assert [message["type"] for message in server.told] == ["websocket.close"]


async def test_a_client_that_left_is_told_nothing_more() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1001})
    socket = server.socket()
    await socket.accept()
    with pytest.raises(ClientGone):
        await socket.receive()
    assert (socket.gone, socket.close_code) == (True, 1001)
    with pytest.raises(ClientGone):
        await socket.send("late")
    with pytest.raises(ClientGone):
        await socket.receive()
    await socket.close()
    assert len(server.told) == 1


async def test_a_client_that_breaks_off_is_gone() -> None:
    server = Server()
    socket = server.socket()
    await socket.accept()
    server.broken = True
    with pytest.raises(ClientGone):
        await socket.send("hi")
    assert socket.gone


async def test_a_client_that_leaves_before_it_is_let_in_is_gone() -> None:
    server = Server()
    server.said = [{"type": "websocket.disconnect", "code": 1006}]
    with pytest.raises(ClientGone):
        await server.socket().accept()


async def test_a_message_above_the_bound_closes() -> None:
    server = Server({"type": "websocket.receive", "text": "12345"})
    socket = server.socket(message_bytes_max=4)
    await socket.accept()
    with pytest.raises(ClientGone):
        await socket.receive()
    assert server.told[-1]["code"] == 1009


async def test_a_reason_is_cut_where_a_character_ends() -> None:
    server = Server()
    socket = server.socket()
    await socket.accept()
    await socket.close(1011, "é" * 100)
    await socket.close()
    assert [message["type"] for message in server.told] == ["websocket.accept", "websocket.close"]
    assert server.told[-1]["reason"] == "é" * (REASON_BYTES_MAX // 2)
