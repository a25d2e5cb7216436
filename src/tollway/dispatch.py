"""The ASGI application: data-plane paths are looked up in a dict and answered here, before any router; the rest is handed on.

WebSockets, lifespan and everything that is not a call to a model go to `cold`, an ASGI app that is made when first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tollway.calls import Call
from tollway.downstream.line import AsgiLine, DirectLine, Handler, Hot, Line
from tollway.downstream.websocket import WebSocket
from tollway.endpoints import anthropic, gemini, models, openai, pass_through, realtime, responses
from tollway.errors import KeysMissing, NotFound, PublicError, Rejection
from tollway.gateway import Gateway, error_head
from tollway.operations import Operation
from tollway.operations.pass_through import Passage
from tollway.policies.authenticate import check_usable, fetch_keys, identify
from tollway.snapshot import Snapshot, Snapshots

#: The routes: a family of paths is a line here.
EXACT = {**openai.EXACT, **anthropic.EXACT, **responses.EXACT}
#: Paths that hold the model's name: each says (operation, model), or None for a path of another family.
WITH_MODEL: tuple[Callable[[str], tuple[str, str] | None], ...] = (openai.with_model, gemini.with_model)


#: What begins like this is for models: who misses there is answered as OpenAI answers.
FOR_MODELS = tuple(
    f"/{name}" for name in (*pass_through.FAMILIES, *pass_through.ALIASES, "v1", "v2", "v1beta", "v1alpha", "engines")
) + tuple({"/" + path.split("/")[1] for path in openai.PATHS})
#: What the management API's router says of paths and methods that it does not have.
NOT_SERVED = (b'{"detail":"Not Found"}', b'{"detail":"Method Not Allowed"}')


class Unserved:
    """Holds back a router's answer that says it has no such path, so that another can be given."""

    def __init__(self, send: Any) -> None:
        self.status = 0
        self.allowed = ""
        self._send = send
        self._start: Any = None

    async def take(self, message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] in (404, 405):
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if message.get("body") in NOT_SERVED:
                self.status = start["status"]
                self.allowed = dict(start["headers"]).get(b"allow", b"").decode("latin-1")
                return
            await self._send(start)
        await self._send(message)


class Dispatch:
    """Which path means which operation."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        snapshots: Snapshots,
        operations: dict[str, Operation],
        epoch: int,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        cold: Callable[[], Any],
        sessions: realtime.Sessions | None = None,
    ) -> None:
        self._gateway = gateway
        self._snapshots = snapshots
        self._operations = operations
        self._exact = {path: operations[name] for path, name in EXACT.items() if name in operations}
        self._epoch = epoch
        self._seq = 0
        self._monotonic = monotonic
        self._wall = wall
        self._cold = cold
        self._sessions = sessions

    def paths(self) -> list[str]:
        """Every exact path that is answered here."""
        return sorted(self._exact)

    def put_hot(self, hot: Hot) -> None:
        """Says who answers each path, for a server that can ask without ASGI in between."""
        handlers = {name: self._answers(operation, None) for name, operation in self._operations.items()}
        exact = {path.encode(): handlers[name] for path, name in EXACT.items() if name in handlers}
        hot.put(exact, self._hot_with_model)

    def _hot_with_model(self, path: bytes) -> Handler | None:
        found = _with_model(path.decode()) if path.isascii() else None
        operation = self._operations.get(found[0]) if found is not None else None
        return None if found is None or operation is None else self._answers(operation, found[1])

    def _answers(self, operation: Operation, model: str | None) -> Handler:
        return lambda line: self._serve(operation, line.scope, line, model)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            operation = self._exact.get(path)
            if operation is not None and scope["method"] == "POST":
                await self._serve(operation, scope, AsgiLine(scope, receive, send), None)
                return
            if scope["method"] == "POST" and (found := _with_model(path)) is not None:
                with_model = self._operations.get(found[0])
                if with_model is not None:
                    await self._serve(with_model, scope, AsgiLine(scope, receive, send), found[1])
                    return
            if "/responses/" in path and (about := responses.with_id(scope["method"], path)) is not None:
                line = AsgiLine(scope, receive, send)
                await self._serve(self._operations[about[0]], scope, line, about[1])
                return
            if (passage := pass_through.find(scope["method"], path)) is not None:
                await self._pass_through(passage, scope, AsgiLine(scope, receive, send))
                return
            if scope["method"] == "GET" and path.startswith(models.PREFIXES):
                name = _model_in(path)
                if name is not None:
                    await self._show_models(name, scope, receive, send)
                    return
        elif scope["type"] == "websocket" and scope["path"] in responses.EXACT:
            await responses.talk(scope, receive, send, self._socket())
            return
        elif scope["type"] == "websocket" and self._sessions is not None and scope["path"] in realtime.PATHS:
            socket, sessions = WebSocket(scope, receive, send), self._sessions
            await sessions.serve(socket, lambda: self._call(sessions.operation, scope, socket, None))
            return
        if scope["type"] != "http" or not _is_for_models(scope["path"]):
            await self._cold()(scope, receive, send)
        elif scope["path"] in self._exact:
            await self._turn_away(scope, send, 405, "POST")
        else:
            unserved = Unserved(send)
            await self._cold()(scope, receive, unserved.take)
            if unserved.status:
                await self._turn_away(scope, send, unserved.status, unserved.allowed)

    async def _turn_away(self, scope: Any, send: Any, status: int, allowed: str) -> None:
        """Nobody serves this: said as OpenAI says it."""
        method, path = scope["method"], scope["path"][:200]
        said = (
            f"Unknown request URL: {method} {path}. Call `/v1/models` to view available models, or see the API's page."
        )
        code = "unknown_url"
        if status == 405:
            said = f"Not allowed to {method} on {path} (HINT: perhaps you meant to use {allowed}?)"
            code = "method_not_allowed"
        error = Rejection(said, status=status, type="invalid_request_error", code=code)
        headers = [(b"content-type", b"application/json"), *([(b"allow", allowed.encode())] if allowed else ())]
        body = self._operations["chat"].dialect.encode_error(error)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _socket(self) -> responses.Behind:
        """What a WebSocket of responses needs of the gateway."""

        def admit(scope: Any) -> None:
            snapshot = self._snapshots.current
            caller = identify(dict(scope["headers"]), snapshot, scope)
            if caller.key is not None:
                check_usable(caller, scope["path"], self._wall())

        operation = self._operations["responses"]
        return responses.Behind(
            admit=admit,
            serve=lambda line: self._serve(operation, line.scope, line, None),
            encode_error=operation.dialect.encode_error,
            message_bytes_max=self._snapshots.current.config.bounds.body_bytes_max,
            monotonic=self._monotonic,
        )

    async def try_out(self, snapshot: Snapshot, scope: Any, receive: Any, send: Any) -> Call:
        """Answers a call on an exact path as if another snapshot were in force; returns it as it was in the end."""
        call = self._call(self._exact[scope["path"]], scope, AsgiLine(scope, receive, send), None)
        call.snapshot = snapshot
        await self._gateway.serve(call)
        return call

    def _serve(self, operation: Operation, scope: Any, line: Line, model: str | None) -> Coroutine[Any, Any, None]:
        return self._gateway.serve(self._call(operation, scope, line, model))

    async def _pass_through(self, passage: Passage, scope: Any, line: Line) -> None:
        """A call to a provider's own API; what the gateway knows how to ask, it asks in its own way, of that provider."""
        if (
            passage.rule is None and passage.family == "openai"
        ):  # OpenAI's own paths under its name, without their version
            known = self._exact.get("/v1" + passage.rest)
            if known is not None and scope["method"] == "POST":
                await self._serve(known, scope, line, None)
                return
        own: Any = self._operations["pass_through_" + passage.family]
        governed = passage.rule.operation if passage.rule is not None else ""
        call = self._call(self._operations[governed] if governed else own, scope, line, passage.model or None)
        call.snapshot = own.view(call.snapshot)
        if not governed:
            call.encoded = passage
        await self._gateway.serve(call)

    def _call(self, operation: Any, scope: Any, line: Any, model: str | None) -> Call:
        self._seq += 1
        wall = self._wall()
        call = Call(
            seq=self._seq,
            epoch=self._epoch,
            operation=operation,
            snapshot=self._snapshots.current,
            scope=scope,
            path=scope["path"],
            headers=scope["headers"],
            line=line,
            started=self._monotonic(),
            started_us=int(wall * 1_000_000),
            route_model=model,
        )
        if isinstance(line, DirectLine):
            call.outbox = line.protocol.outbox
        return call

    async def _show_models(self, name: str, scope: Any, receive: Any, send: Any) -> None:
        snapshot = self._snapshots.current
        line = AsgiLine(scope, receive, send)
        seen = dict(scope["headers"])
        try:
            try:
                caller = identify(seen, snapshot, scope)
            except KeysMissing:
                await fetch_keys(seen, snapshot, scope)
                caller = identify(seen, snapshot, scope)
            if caller.key is not None:
                check_usable(caller, scope["path"], self._wall())
            if name:
                body = models.one_model(snapshot, caller, name)
                if body is None:
                    raise NotFound(f"The model `{name}` does not exist or is not accessible", code="model_not_found")
            else:
                body = models.list_models(snapshot, caller)
        except PublicError as error:
            self._seq += 1
            call = _nameless(self._seq, self._epoch, scope, line)
            dialect = self._operations["chat"].dialect
            await line.answer(error.status, error_head(call, error), dialect.encode_error(error))
            return
        except asyncio.CancelledError:
            raise
        await line.answer(200, b"content-type: application/json\r\n", body)


def _with_model(path: str) -> tuple[str, str] | None:
    return next((found for find in WITH_MODEL if (found := find(path)) is not None), None)


def _is_for_models(path: str) -> bool:
    return any(path == start or path.startswith(start + "/") for start in FOR_MODELS)


def _model_in(path: str) -> str | None:
    """The model in `/v1/models/NAME`, "" for the list itself, None for another path that begins alike."""
    for prefix in models.PREFIXES:
        if path == prefix or path == prefix + "/":
            return ""
        if path.startswith(prefix + "/") and ":" not in path:
            return path[len(prefix) + 1 :]
    return None


def _nameless(seq: int, epoch: int, scope: Any, line: Any) -> Call:
    return Call(
        seq=seq,
        epoch=epoch,
        operation=None,
        snapshot=None,
        scope=scope,
        path="",
        headers=[],
        line=line,
        started=0.0,
        started_us=0,
    )
