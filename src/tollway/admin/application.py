"""Puts the management API together: the table of its routes with who may call each, and the gate in front of them.

The gate judges the request's head before anything of its body is read, then reads the body, bounded in bytes and time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterable
from decimal import Decimal
from enum import Enum
from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from msgspec import Struct
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from tollway import __version__
from tollway.admin import Office, Principal, health, keys, models, pages, spend
from tollway.errors import BodyTimeout, BodyTooLarge, PublicError, StorageError, Unauthenticated, Unavailable

BODY_BYTES_MAX = 1 << 20
BODY_S_MAX = 30.0

_log = logging.getLogger("tollway.admin")


class Access(Enum):
    """Who may call a route."""

    PUBLIC = "everybody"
    KEY = "any valid key"
    ADMIN = "the master key"


class Route(Struct, frozen=True):
    method: str
    path: str
    access: Access
    endpoint: Callable[..., Any]


ROUTES = (
    Route("POST", "/key/generate", Access.ADMIN, keys.generate),
    Route("POST", "/key/update", Access.ADMIN, keys.update),
    Route("POST", "/key/delete", Access.ADMIN, keys.delete),
    Route("POST", "/key/block", Access.ADMIN, keys.block),
    Route("POST", "/key/unblock", Access.ADMIN, keys.unblock),
    Route("POST", "/key/regenerate", Access.ADMIN, keys.regenerate),
    Route("POST", "/key/{key}/regenerate", Access.ADMIN, keys.regenerate_named),
    Route("GET", "/key/info", Access.KEY, keys.info),  # a key asks about itself
    Route("GET", "/key/list", Access.ADMIN, keys.list_keys),
    Route("GET", "/spend/logs", Access.ADMIN, spend.logs),
    Route("GET", "/global/spend", Access.ADMIN, spend.global_spend),
    Route("GET", "/global/spend/logs", Access.ADMIN, spend.global_logs),
    Route("GET", "/global/spend/report", Access.ADMIN, spend.report),
    Route("GET", "/model/info", Access.KEY, models.info),  # a key sees its own models
    Route("GET", "/v1/model/info", Access.KEY, models.info),
    Route("GET", "/model_group/info", Access.KEY, models.group_info),
    Route("GET", "/health", Access.ADMIN, health.check),  # asks every provider, for money
    Route("GET", "/health/liveliness", Access.PUBLIC, health.alive),
    Route("GET", "/health/liveness", Access.PUBLIC, health.alive),
    Route("GET", "/health/readiness", Access.PUBLIC, health.ready),
    Route("GET", "/", Access.PUBLIC, pages.front),
    Route("GET", "/docs", Access.PUBLIC, pages.docs),
    Route("GET", "/openapi.json", Access.PUBLIC, pages.openapi),
)


def build_app(office: Office) -> FastAPI:
    # FastAPI's own pages load their scripts from another host; ours are in `pages`.
    app = FastAPI(title="Tollway", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.office = office
    app.router.route_class = ExactRoute
    for route in ROUTES:
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            include_in_schema=route.path not in pages.PATHS,
            name=f"{route.method} {route.path}",
            response_model=None,
        )
    app.add_exception_handler(PublicError, _answer_error)
    app.add_exception_handler(StorageError, _answer_storage_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_middleware(Gate, office=office, access=access_by_route(app.routes, ROUTES), routes=app.routes)
    return app


def access_by_route(served: Iterable[BaseRoute], declared: Iterable[Route]) -> dict[str, Access]:
    """Who may call each route that is served, by its name. Raises LookupError for a route that nobody declared."""
    access = {f"{route.method} {route.path}": route.access for route in declared}
    for route in served:
        if getattr(route, "name", None) not in access:
            raise LookupError(f"Nobody says who may call the route {route!r}; add it to ROUTES.")
    return access


class Gate:
    """Lets in who may call a route; reads the body of those it lets in."""

    def __init__(self, app: ASGIApp, *, office: Office, access: dict[str, Access], routes: list[BaseRoute]) -> None:
        self.app = app
        self._office = office
        self._access = access
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            for route in self._routes:
                if route.matches(scope)[0] is Match.FULL:
                    self._judge(scope, self._access[route.name])  # type: ignore[attr-defined]  # checked by access_by_route
                    break
            body = await _read_body(scope, receive)
        except PublicError as error:
            await error_answer(error)(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    def _judge(self, scope: Scope, access: Access) -> None:
        if access is Access.PUBLIC:
            return
        principal = self._office.authenticate(scope)
        if access is Access.ADMIN and not principal.is_admin:
            raise _not_admin(scope["path"], principal)
        scope.setdefault("state", {})["principal"] = principal


def _not_admin(path: str, principal: Principal) -> Unauthenticated:
    user = "None" if principal.record is None or principal.record.user_id is None else "*******"
    return Unauthenticated(
        "Authentication Error, Only proxy admin can be used to generate, delete, update info for new keys/users/teams. "
        f"Route={path}. Your role=unknown. Your user_id={user}",
        param="None",
    )


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return b"".join(parts)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_BYTES_MAX:
                    raise BodyTooLarge(f"The body of {scope['path']} may have {BODY_BYTES_MAX} bytes.")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise BodyTimeout(f"The body did not come within {BODY_S_MAX:g} seconds.") from error


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class _ExactRequest(Request):
    """Reads the fractions of a JSON body as they are written: money must not pass through a float."""

    async def json(self) -> Any:
        return json.loads(await self.body(), parse_float=Decimal, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


class ExactRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(_ExactRequest(request.scope, request.receive))

        return handle_exactly


def error_answer(error: PublicError) -> Response:
    """LiteLLM's error body: `code` is the status as a string."""
    body = {"message": error.message, "type": error.type, "param": error.param, "code": str(error.status)}
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in error.headers}
    return JSONResponse({"error": body}, error.status, headers)


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, PublicError)
    return error_answer(error)


async def _answer_storage_error(request: Request, error: Exception) -> Response:
    _log.error("%s %s: %s", request.method, request.url.path, error)
    return error_answer(Unavailable("The storage does not answer; the gateway's log says why. Try again later."))


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Without `input`, which may be a key.
    return JSONResponse(
        {"detail": [{part: found[part] for part in ("type", "loc", "msg")} for found in error.errors()]}, 422
    )
