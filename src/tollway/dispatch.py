"""The ASGI application: data-plane paths are looked up in a dict and answered here, before any router; the rest is handed on.

WebSockets, lifespan and everything that is not a call to a model go to `cold`, an ASGI app that is made when first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tollway.calls import Call
from tollway.downstream.line import AsgiLine, DirectLine, Handler, Line
from tollway.endpoints import anthropic, models, openai
from tollway.errors import NotFound, PublicError
from tollway.gateway import Gateway, error_head
from tollway.operations import Operation
from tollway.policies.authenticate import LOOKED_AT, check_usable, identify
from tollway.snapshot import Snapshots

#: The routes: a family of paths is a line here.
EXACT = {**openai.EXACT, **anthropic.EXACT}


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

    def paths(self) -> list[str]:
        """Every exact path that is answered here."""
        return sorted(self._exact)

    def hot(self) -> dict[bytes, Handler]:
        """Who answers each exact path, for a server that can ask without ASGI in between."""

        def answers(operation: Operation) -> Handler:
            async def serve(line: DirectLine) -> None:
                await self._serve(operation, line.scope, line, None)

            return serve

        handlers = {name: answers(operation) for name, operation in self._operations.items()}
        return {path.encode(): handlers[name] for path, name in EXACT.items() if name in handlers}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            operation = self._exact.get(path)
            if operation is not None and scope["method"] == "POST":
                await self._serve(operation, scope, AsgiLine(scope, receive, send), None)
                return
            if scope["method"] == "POST" and (found := openai.with_model(path)) is not None:
                with_model = self._operations.get(found[0])
                if with_model is not None:
                    await self._serve(with_model, scope, AsgiLine(scope, receive, send), found[1])
                    return
            if scope["method"] == "GET" and path.startswith(models.PREFIXES):
                name = _model_in(path)
                if name is not None:
                    await self._show_models(name, scope, receive, send)
                    return
        await self._cold()(scope, receive, send)

    async def _serve(self, operation: Operation, scope: Any, line: Line, model: str | None) -> None:
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
        await self._gateway.serve(call)

    async def _show_models(self, name: str, scope: Any, receive: Any, send: Any) -> None:
        snapshot = self._snapshots.current
        line = AsgiLine(scope, receive, send)
        seen = {key: value for key, value in scope["headers"] if key in LOOKED_AT}
        try:
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
