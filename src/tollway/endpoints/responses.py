"""OpenAI's paths for responses, and its WebSocket: one connection, on which each `response.create` is one call.

https://platform.openai.com/docs/guides/websocket-mode, and its events at
https://platform.openai.com/docs/api-reference/responses-websocket (2026-11-22). A message is the body of a POST with a `type`;
what comes back are the events of its stream, each a message. Calls on one connection are served one after the other. The
connection remembers its last responses, also those that nobody is to store, so that the next call can go on from one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import encode

from tollway.downstream.line import ClientGone
from tollway.errors import BadRequest, BodyTooLarge, PublicError
from tollway.sse import EventCutter, event_data

PREFIXES = ("", "/v1", "/openai", "/openai/v1")
EXACT = {prefix + "/responses": "responses" for prefix in PREFIXES}
#: What can be asked of one response: the method, and what stands below its id.
BELOW = {
    ("GET", ""): "responses_retrieve",
    ("DELETE", ""): "responses_delete",
    ("POST", "/cancel"): "responses_cancel",
    ("GET", "/input_items"): "responses_input_items",
}
#: OpenAI's own bound for one connection.
CONNECTION_S_MAX = 3600.0
#: Messages that may wait for the end of the call before them; a client that sends more is hung up on.
WAITING_MESSAGES_MAX = 8
#: Responses that a connection remembers, and their bytes.
RECENT_MAX = 4
RECENT_BYTES_MAX = 32 << 20

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_kind = msgspec.json.Decoder(str).decode


def with_id(method: str, path: str) -> tuple[str, str] | None:
    """(operation, id) of a path such as `/v1/responses/resp_1/input_items`."""
    for prefix in PREFIXES:
        start = prefix + "/responses/"
        if path.startswith(start):
            response_id, slash, below = path[len(start) :].partition("/")
            operation = BELOW.get((method, slash + below))
            return (operation, response_id) if operation is not None and response_id else None
    return None


# --- the WebSocket -------------------------------------------------------------------------------------------------


class Behind(Struct, frozen=True):
    """What a connection needs of the gateway. `admit` raises PublicError for who may not come in."""

    admit: Callable[[Any], None]
    serve: Callable[[SocketLine], Coroutine[Any, Any, None]]
    encode_error: Callable[[PublicError], bytes]
    message_bytes_max: int
    monotonic: Callable[[], float]


class Recent(OrderedDict[str, Any]):
    """The last responses of a connection, bounded in number and bytes."""

    def __setitem__(self, id: str, kept: Any) -> None:
        super().__setitem__(id, kept)
        self.move_to_end(id)
        while len(self) > 1 and (len(self) > RECENT_MAX or sum(map(_size, self.values())) > RECENT_BYTES_MAX):
            self.popitem(last=False)


def _size(kept: Any) -> int:
    return len(kept.body) + len(kept.asked) + len(kept.said)


class SocketLine:
    """A `Line` on which one call of a connection is answered: the events of its stream become messages."""

    def __init__(self, scope: Any, send: Callable[[Any], Any], message: bytes, recent: Recent) -> None:
        self.scope = {**scope, "type": "http", "method": "POST"}
        self.recent = recent
        self.gone = False
        self.cut = False
        self._send = send
        self._message = message
        self._cutter = EventCutter()
        self._task: asyncio.Task[Any] | None = None

    def cancel_when_gone(self) -> None:
        self._task = asyncio.current_task()

    def leave(self) -> None:
        """The client is gone."""
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    async def read_body(self, bytes_max: int) -> bytes:
        if len(self._message) > bytes_max:
            raise BodyTooLarge(f"The message is larger than {bytes_max} bytes.")
        members = _members(self._message)
        del members["type"]
        for name in ("background", "stream_id"):
            if bytes(members.get(name, b"null")) not in (b"null", b"false"):
                raise BadRequest(f"{name!r} is not supported over WebSocket here.", param=name)
        members["stream"] = Raw(b"true")
        return encode(members)

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        if status == 200:  # a response that was never streamed: it begins and ends at once
            for number, name in enumerate(("response.created", "response.completed")):
                await self._tell(encode({"type": name, "sequence_number": number, "response": Raw(body)}))
            return
        told = {"type": "error", "status": status, **_members(body)}
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line]
        told["headers"] = {name.decode("latin-1"): value.decode("latin-1") for name, value in lines}
        await self._tell(encode(told))

    async def begin(self, status: int, head: bytes) -> None:
        return

    async def write(self, data: bytes) -> None:
        for event in self._cutter.feed(data):
            payload = event_data(event)
            if payload is not None and payload.strip():
                await self._tell(payload)

    async def end(self, data: bytes = b"") -> None:
        await self.write(data)

    def hang_up(self) -> None:
        """A defect of ours cut the answer: the client must not wait for more."""
        self.gone = self.cut = True

    async def _tell(self, payload: bytes) -> None:
        if self.gone:
            raise ClientGone
        try:
            await self._send({"type": "websocket.send", "text": payload.decode("utf-8", "replace")})
        except (OSError, RuntimeError) as error:  # the server's ways to say that the client is gone
            self.gone = True
            raise ClientGone from error


async def talk(scope: Any, receive: Any, send: Any, behind: Behind) -> None:
    """One connection, from its handshake to its end."""
    await receive()
    try:
        behind.admit(scope)
    except PublicError as error:
        await _turn_away(scope, send, error, behind.encode_error(error))
        return
    with contextlib.suppress(OSError):  # the server's way to say that the client is gone
        await send({"type": "websocket.accept"})
        await _Talk(scope, receive, send, behind).run()


async def _turn_away(scope: Any, send: Any, error: PublicError, body: bytes) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


class _Talk:
    def __init__(self, scope: Any, receive: Any, send: Any, behind: Behind) -> None:
        self._scope = scope
        self._send = send
        self._behind = behind
        self._recent = Recent()
        self._waiting: deque[bytes] = deque()
        self._ends_at = behind.monotonic() + CONNECTION_S_MAX
        self._receive = receive
        self._receiving: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        try:
            while True:
                message = self._waiting.popleft() if self._waiting else await self._next()
                if message is None:
                    return
                if self._behind.monotonic() >= self._ends_at:
                    await self._refuse(
                        "websocket_connection_limit_reached", "This connection has lasted too long; open a new one."
                    )
                    await self._send({"type": "websocket.close", "code": 1000})
                    return
                if await self._is_call(message) and not await self._serve(message):
                    return
        finally:
            if self._receiving is not None:
                self._receiving.cancel()

    async def _next(self) -> bytes | None:
        """The next message; None at the end of the connection."""
        if self._receiving is None:
            self._receiving = asyncio.get_running_loop().create_task(self._receive())
        message = await self._receiving
        self._receiving = None
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text.encode("utf-8", "surrogatepass") if text is not None else bytes(message.get("bytes") or b"")

    async def _serve(self, message: bytes) -> bool:
        """Answers one call while it listens. False when the client has gone."""
        line = SocketLine(self._scope, self._send, message, self._recent)
        serving = asyncio.get_running_loop().create_task(self._behind.serve(line))
        try:
            while not serving.done():
                if self._receiving is None:
                    self._receiving = asyncio.get_running_loop().create_task(self._receive())
                await asyncio.wait({serving, self._receiving}, return_when=asyncio.FIRST_COMPLETED)
                if self._receiving.done():
                    waiting = await self._next()
                    if waiting is None or len(self._waiting) >= WAITING_MESSAGES_MAX:
                        line.leave()
                        if waiting is not None:
                            await self._send({"type": "websocket.close", "code": 1008})
                        return False
                    self._waiting.append(waiting)
        finally:
            if not serving.done():
                line.leave()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        if line.cut:
            await self._send({"type": "websocket.close", "code": 1011})
        return not line.gone

    async def _is_call(self, message: bytes) -> bool:
        """Whether it asks for a response. What is asked otherwise is refused, but for what needs no answer."""
        try:
            kind = _kind(_members(message)["type"])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            await self._refuse("invalid_request_error", "Expected a JSON object with a 'type'.")
            return False
        if kind == "response.create":
            return True
        if kind != "response.processed":  # a client's word that it has taken an answer in
            await self._refuse("invalid_request_error", f"Unknown type {kind[:100]!r}; expected 'response.create'.")
        return False

    async def _refuse(self, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
        told = {"type": "error", "status": 400, "error": error}
        await self._send({"type": "websocket.send", "text": encode(told).decode()})
