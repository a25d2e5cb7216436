"""The WebSocket to one client, over ASGI: let it in or turn it away, then messages both ways, one at a time.

What is bounded: the bytes of a message (`websocket_protocol` has the server refuse a larger one with close code 1009 before
it is held whole; on other servers it is refused here), and the messages that wait to be read: uvicorn stops reading from the
socket while one waits. A client that does not take what it is sent makes `send` wait.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tollway.downstream.line import ClientGone, Receive, Scope, Send

#: OpenAI's realtime takes 15 MiB of sound in one event (https://platform.openai.com/docs/api-reference/realtime-client-events,
#: 2026-11-22); base64 is in that number.
MESSAGE_BYTES_MAX = 16 << 20
#: RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code.
REASON_BYTES_MAX = 123

#: RFC 6455, 7.4.1.
NORMAL, GOING_AWAY, POLICY, TOO_LARGE, BROKEN = 1000, 1001, 1008, 1009, 1011


class WebSocket:
    """One client's WebSocket. `accept` or `refuse` comes first, and once."""

    __slots__ = ("_begun", "_receive", "_send", "accepted", "close_code", "gone", "message_bytes_max", "scope")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        self.scope = scope
        self.message_bytes_max = message_bytes_max
        self.gone = False
        self.accepted = False
        self.close_code = 0  # the client's own, once it is gone
        self._begun = False
        self._receive = receive
        self._send = send

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers to speak, as it wrote it: keys may be among them."""
        return list(self.scope.get("subprotocols") or ())

    async def accept(self, subprotocol: str | None = None, head: bytes = b"") -> None:
        """Lets the client in. `head` is header lines, each ended by CRLF. Raises ClientGone."""
        await self._begin()
        await self._tell({"type": "websocket.accept", "subprotocol": subprotocol, "headers": _pairs(head)})
        self.accepted = True

    async def refuse(self, status: int, head: bytes, body: bytes) -> None:
        """Turns the client away with a plain HTTP answer, where the server can give one; else with its own 403."""
        try:
            await self._begin()
            if "websocket.http.response" not in (self.scope.get("extensions") or {}):
                await self._tell({"type": "websocket.close", "code": POLICY})
                return
            headers = [*_pairs(head), (b"content-length", b"%d" % len(body))]
            await self._tell({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await self._tell({"type": "websocket.http.response.body", "body": body})
        except ClientGone:
            return

    async def receive(self) -> str | bytes:
        """The next message. Raises ClientGone."""
        if self.gone:
            raise ClientGone
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.gone = True
            self.close_code = message.get("code") or NORMAL
            raise ClientGone
        text = message.get("text")
        data: str | bytes = text if text is not None else message.get("bytes") or b""
        if len(data) > self.message_bytes_max:
            await self.close(TOO_LARGE, f"a message may have {self.message_bytes_max} bytes")
            raise ClientGone
        return data

    async def send(self, message: str | bytes) -> None:
        """Waits while the client does not take what it has. Raises ClientGone."""
        kind = "text" if isinstance(message, str) else "bytes"
        await self._tell({"type": "websocket.send", kind: message})

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Ends it; the client is told why. May be called any number of times."""
        if self.gone:
            return
        short = reason.encode()[:REASON_BYTES_MAX].decode("utf-8", "ignore")
        try:
            await self._tell({"type": "websocket.close", "code": code, "reason": short})
        except ClientGone:
            return
        self.gone = True

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            if (await self._receive())["type"] != "websocket.connect":
                self.gone = True
        if self.gone:
            raise ClientGone

    async def _tell(self, message: dict[str, Any]) -> None:
        if self.gone:
            raise ClientGone
        try:
            await self._send(message)
        except OSError as error:  # ASGI 2.4: the client is gone
            self.gone = True
            raise ClientGone from error


def websocket_protocol(**settings: Any) -> asyncio.Protocol:
    """What to hand to `uvicorn.Config(ws=...)`: uvicorn's own protocol, loaded when the first client asks for a WebSocket. It
    costs 10 ms and 2 MB.
    """
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(**settings)


def _pairs(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = [line.partition(b": ") for line in head.split(b"\r\n") if line]
    return [(name, value) for name, _, value in lines]
