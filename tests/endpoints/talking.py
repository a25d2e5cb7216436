"""A realtime provider on loopback that plays a script, and a client of the gateway's over plain ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tollway.config.settings import ModelEntry
from tollway.testing.gateway import MASTER_KEY, SmallGateway, model_entry

Script = Callable[[ServerConnection], Awaitable[None]]


class Provider:
    """Plays `script` for every session; `requests` are their handshakes, `refusal` turns them away."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.heard: list[Any] = []
        self.closed_with: list[int | None] = []
        self.refusal: tuple[int, bytes] | None = None
        self.script: Script = self.answer_all
        self.usage: dict[str, Any] | None = usage()
        self.port = 0

    async def answer_all(self, session: ServerConnection) -> None:
        """A response to each `response.create`, with `usage`."""
        await say(session, {"type": "session.created", "session": {"model": "gpt-realtime"}})
        async for message in session:
            event = msgspec.json.decode(message)
            self.heard.append(event)
            if event["type"] == "response.create":
                await respond(session, self.usage)
        self.closed_with.append(session.close_code)

    async def _play(self, session: ServerConnection) -> None:
        assert session.request is not None
        self.requests.append(session.request)
        await self.script(session)

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.refusal is None:
            return None
        status, body = self.refusal
        headers = Headers({"content-type": "application/json", "content-length": str(len(body))})
        return Response(status, "Refused", headers, body)


def usage(text_in: int = 10, audio_in: int = 100, cached: int = 0, text_out: int = 20, audio_out: int = 200) -> Any:
    return {
        "total_tokens": text_in + audio_in + cached + text_out + audio_out,
        "input_tokens": text_in + audio_in + cached,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text_in + cached,
            "audio_tokens": audio_in,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


async def say(session: ServerConnection, event: dict[str, Any]) -> None:
    await session.send(msgspec.json.encode(event).decode())


async def respond(session: ServerConnection, used: dict[str, Any] | None, id: str = "resp_1") -> None:
    await say(session, {"type": "response.created", "response": {"id": id}})
    await say(session, {"type": "response.output_text.delta", "delta": "Hello"})
    await say(session, {"type": "response.done", "response": {"id": id, "status": "completed", "usage": used}})


class Client:
    """One WebSocket of a client's, over plain ASGI. `status` and `body` are of the HTTP answer that turned it away."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self.accepted: dict[str, Any] | None = None
        self.status = 0
        self.body = b""
        self.code = 0  # with which the gateway closed
        self.reason = ""
        self._to_gateway: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_gateway: asyncio.Queue[Any] = asyncio.Queue()
        self._to_gateway.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.get_running_loop().create_task(app(scope, self._to_gateway.get, self._take))

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.accepted = message
        elif kind == "websocket.send":
            text = message.get("text")
            self._from_gateway.put_nowait(msgspec.json.decode(text) if text is not None else message["bytes"])
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
        elif kind == "websocket.http.response.body":
            self.body += message["body"]
        elif kind == "websocket.close":
            self.code, self.reason = message["code"], message.get("reason", "")

    def say(self, event: dict[str, Any] | bytes) -> None:
        if isinstance(event, bytes):
            self._to_gateway.put_nowait({"type": "websocket.receive", "bytes": event})
        else:
            self._to_gateway.put_nowait({"type": "websocket.receive", "text": msgspec.json.encode(event).decode()})

    async def hear(self, *types: str) -> Any:
        """The next event of one of these types; any, where none is named."""
        while True:
            event = await asyncio.wait_for(self._from_gateway.get(), 30)
            if not types or event["type"] in types:
                return event

    def leave(self, code: int = 1000) -> None:
        self._to_gateway.put_nowait({"type": "websocket.disconnect", "code": code})

    async def end(self) -> Client:
        await asyncio.wait_for(self.task, 30)
        return self


#: Of this model a token costs what its kind's name says, in nano-dollars.
RATES = {
    "input_cost_per_token": "0.000000004",
    "cache_read_input_token_cost": "0.000000001",
    "input_cost_per_audio_token": "0.000000032",
    "output_cost_per_token": "0.000000016",
    "output_cost_per_audio_token": "0.000000064",
}


def connect(
    gateway: SmallGateway,
    *,
    key: str | None = MASTER_KEY,
    path: str = "/v1/realtime",
    query: str = "model=talker",
    headers: dict[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
) -> Client:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    if key is not None:
        raw.append((b"authorization", b"Bearer " + key.encode()))
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": raw,
        "client": ("203.0.113.9", 50_000),
        "server": ("gateway.example", 80),
        "subprotocols": list(subprotocols),
        "extensions": {"websocket.http.response": {}},
    }
    return Client(gateway.app, scope)


def talker(provider: Provider, **changes: Any) -> ModelEntry:
    changes = {"prices": RATES, "provider_model": "openai/gpt-realtime", **changes}
    return model_entry("talker", host=f"127.0.0.1:{provider.port}", **changes)


@asynccontextmanager
async def playing() -> AsyncIterator[Provider]:
    provider = Provider()
    async with serve(provider._play, "127.0.0.1", 0, process_request=provider._judge, max_size=32 << 20) as server:
        provider.port = next(iter(server.sockets)).getsockname()[1]
        yield provider
