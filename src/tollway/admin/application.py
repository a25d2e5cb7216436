"""Puts the management API together: the table of its routes with who may call each, and the gate in front of them.

The gate judges the request's head before anything of its body is read, then reads the body, bounded in bytes and time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from decimal import Decimal
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
from tollway.admin import (
    Office,
    Principal,
    activity,
    audit,
    budgets,
    calculate,
    configuration,
    credentials,
    customers,
    deployments,
    health,
    invitations,
    keys,
    leases,
    models,
    models_admin,
    offered,
    organizations,
    pages,
    rehearsals,
    spend,
    spend_pages,
    spend_totals,
    state,
    tags,
    teams,
    users,
)
from tollway.admin.dashboard.files import BUILT
from tollway.admin.dashboard.sessions import Sessions
from tollway.admin.roles import Access, judge
from tollway.errors import BodyTimeout, BodyTooLarge, KeysMissing, PublicError, StorageError, Unavailable

BODY_BYTES_MAX = 1 << 20
BODY_S_MAX = 30.0

_log = logging.getLogger("tollway.admin")


class Route(Struct, frozen=True):
    method: str
    path: str
    access: Access
    endpoint: Callable[..., Any]


ROUTES = (
    Route("POST", "/key/generate", Access.OWN, keys.generate),
    Route("POST", "/key/service-account/generate", Access.OWN, keys.generate_for_service),
    Route("POST", "/key/update", Access.OWN, keys.update),
    Route("POST", "/key/bulk_update", Access.ADMIN, keys.bulk_update),
    Route("POST", "/key/delete", Access.OWN, keys.delete),
    Route("POST", "/key/block", Access.OWN, keys.block),
    Route("POST", "/key/unblock", Access.OWN, keys.unblock),
    Route("POST", "/key/regenerate", Access.OWN, keys.regenerate),
    Route("POST", "/key/{key}/regenerate", Access.OWN, keys.regenerate_named),
    Route("POST", "/key/{key}/reset_spend", Access.ADMIN, keys.reset_spend),
    Route("POST", "/key/health", Access.KEY, keys.health),
    Route("GET", "/key/info", Access.KEY, keys.info),  # a key asks about itself
    Route("POST", "/v2/key/info", Access.OWN, keys.infos),
    Route("GET", "/key/list", Access.OWN, keys.list_keys),
    Route("GET", "/key/aliases", Access.VIEWER, keys.aliases),
    Route("POST", "/team/new", Access.OWN, teams.new),
    Route("POST", "/team/update", Access.OWN, teams.update),
    Route("POST", "/team/delete", Access.OWN, teams.delete),
    Route("POST", "/team/block", Access.ADMIN, teams.block),
    Route("POST", "/team/unblock", Access.ADMIN, teams.unblock),
    Route("POST", "/team/member_add", Access.OWN, teams.add_member),
    Route("POST", "/team/bulk_member_add", Access.OWN, teams.add_members),
    Route("POST", "/team/member_update", Access.OWN, teams.update_member),
    Route("POST", "/team/member_delete", Access.OWN, teams.delete_member),
    Route("POST", "/team/model/add", Access.OWN, teams.add_models),
    Route("POST", "/team/model/delete", Access.OWN, teams.delete_models),
    Route("POST", "/team/permissions_update", Access.OWN, teams.update_permissions),
    Route("POST", "/team/permissions_bulk_update", Access.ADMIN, teams.add_permissions),
    Route("GET", "/team/permissions_list", Access.OWN, teams.permissions),
    Route("GET", "/team/info", Access.OWN, teams.info),
    Route("GET", "/team/list", Access.OWN, teams.list_teams),
    Route("GET", "/v2/team/list", Access.OWN, teams.list_v2),
    Route("GET", "/team/available", Access.OWN, teams.available),
    Route("GET", "/team/daily/activity", Access.OWN, activity.of_teams),
    Route("GET", "/team/daily/activity/aggregated", Access.OWN, activity.whole(activity.of_teams)),
    Route("POST", "/user/new", Access.ADMIN, users.new),
    Route("POST", "/user/update", Access.ADMIN, users.update),
    Route("POST", "/user/bulk_update", Access.ADMIN, users.bulk_update),
    Route("POST", "/user/delete", Access.ADMIN, users.delete),
    Route("GET", "/user/info", Access.OWN, users.info),
    Route("GET", "/user/list", Access.VIEWER, users.list_users),
    Route("GET", "/user/available_roles", Access.OWN, users.available_roles),
    Route("GET", "/user/daily/activity", Access.OWN, activity.of_users),
    Route("GET", "/user/daily/activity/aggregated", Access.OWN, activity.whole(activity.of_users)),
    Route("POST", "/invitation/new", Access.ADMIN, invitations.new),
    Route("GET", "/invitation/info", Access.ADMIN, invitations.info),  # not for viewers: the id is what opens it
    Route("POST", "/invitation/update", Access.ADMIN, invitations.update),
    Route("POST", "/invitation/delete", Access.ADMIN, invitations.delete),
    Route("POST", "/organization/new", Access.ADMIN, organizations.new),
    Route("PATCH", "/organization/update", Access.ADMIN, organizations.update),
    Route("DELETE", "/organization/delete", Access.ADMIN, organizations.delete),
    Route("GET", "/organization/info", Access.OWN, organizations.info),
    Route("POST", "/organization/info", Access.OWN, organizations.info_of),
    Route("GET", "/organization/list", Access.OWN, organizations.list_organizations),
    Route("POST", "/organization/member_add", Access.OWN, organizations.add_member),
    Route("PATCH", "/organization/member_update", Access.OWN, organizations.update_member),
    Route("DELETE", "/organization/member_delete", Access.OWN, organizations.delete_member),
    Route("GET", "/organization/daily/activity", Access.OWN, activity.of_organizations),
    Route("GET", "/organization/daily/activity/aggregated", Access.OWN, activity.whole(activity.of_organizations)),
    *(
        route
        for prefix in ("/customer", "/end_user")
        for route in (
            Route("POST", f"{prefix}/new", Access.ADMIN, customers.new),
            Route("POST", f"{prefix}/update", Access.ADMIN, customers.update),
            Route("POST", f"{prefix}/delete", Access.ADMIN, customers.delete),
            Route("POST", f"{prefix}/block", Access.ADMIN, customers.block),
            Route("POST", f"{prefix}/unblock", Access.ADMIN, customers.unblock),
            Route("GET", f"{prefix}/info", Access.VIEWER, customers.info),
            Route("GET", f"{prefix}/list", Access.VIEWER, customers.list_customers),
            Route("GET", f"{prefix}/daily/activity", Access.VIEWER, activity.of_customers),
            Route("GET", f"{prefix}/daily/activity/aggregated", Access.VIEWER, activity.whole(activity.of_customers)),
        )
    ),
    Route("POST", "/budget/new", Access.ADMIN, budgets.new),
    Route("POST", "/budget/update", Access.ADMIN, budgets.update),
    Route("POST", "/budget/delete", Access.ADMIN, budgets.delete),
    Route("POST", "/budget/info", Access.VIEWER, budgets.info),
    Route("GET", "/budget/list", Access.VIEWER, budgets.list_budgets),
    Route("GET", "/budget/settings", Access.VIEWER, budgets.settings),
    Route("GET", "/provider/budgets", Access.VIEWER, budgets.providers),
    Route("POST", "/tag/new", Access.ADMIN, tags.new),
    Route("POST", "/tag/update", Access.ADMIN, tags.update),
    Route("POST", "/tag/delete", Access.ADMIN, tags.delete),
    Route("POST", "/tag/info", Access.VIEWER, tags.info),
    Route("GET", "/tag/list", Access.VIEWER, tags.list_tags),
    Route("GET", "/tag/daily/activity", Access.VIEWER, activity.of_tags),
    Route("GET", "/tag/daily/activity/aggregated", Access.VIEWER, activity.whole(activity.of_tags)),
    Route("GET", "/audit", Access.VIEWER, audit.list_entries),
    Route("GET", "/audit/{id}", Access.VIEWER, audit.one_entry),
    Route("POST", "/model/new", Access.ADMIN, models_admin.new),
    Route("POST", "/model/update", Access.ADMIN, models_admin.update),
    Route("PATCH", "/model/{id}/update", Access.ADMIN, models_admin.update_named),
    Route("POST", "/model/delete", Access.ADMIN, models_admin.delete),
    Route("POST", "/credentials", Access.ADMIN, credentials.new),
    Route("GET", "/credentials", Access.VIEWER, credentials.list_credentials),
    Route("GET", "/credentials/by_name/{name}", Access.VIEWER, credentials.by_name),
    Route("GET", "/credentials/by_model/{model_id}", Access.VIEWER, credentials.by_model),
    Route("PATCH", "/credentials/{name}", Access.ADMIN, credentials.update),
    Route("DELETE", "/credentials/{name}", Access.ADMIN, credentials.delete),
    Route("GET", "/config/effective", Access.ADMIN, configuration.show),
    Route("GET", "/spend/keys", Access.OWN_SPEND, keys.spend_by_key),
    Route("GET", "/spend/users", Access.OWN_SPEND, users.spend_by_user),
    Route("GET", "/spend/tags", Access.OWN_SPEND, activity.spend_by_tag),
    Route("GET", "/spend/logs", Access.OWN_SPEND, spend.logs),
    Route("GET", "/spend/logs/v2", Access.OWN_SPEND, spend_pages.page),
    Route("GET", "/spend/logs/ui", Access.OWN_SPEND, spend_pages.page_with_sessions),
    Route("GET", "/spend/logs/ui/{request_id}", Access.OWN_SPEND, spend_pages.bodies),
    Route("GET", "/spend/logs/session/ui", Access.OWN_SPEND, spend_pages.session),
    Route("POST", "/spend/calculate", Access.KEY, calculate.calculate),  # says what is public, and charges nobody
    Route("GET", "/global/spend", Access.SPEND, spend.global_spend),
    Route("GET", "/global/spend/logs", Access.SPEND, spend.global_logs),
    Route("GET", "/global/spend/report", Access.SPEND, spend.report),
    Route("GET", "/global/spend/keys", Access.SPEND, spend_totals.keys),
    Route("GET", "/global/spend/models", Access.SPEND, spend_totals.models),
    Route("GET", "/global/spend/teams", Access.SPEND, spend_totals.teams),
    Route("GET", "/global/spend/provider", Access.SPEND, spend_totals.providers),
    Route("GET", "/global/spend/tags", Access.SPEND, spend_totals.tags),
    Route("GET", "/global/spend/all_tag_names", Access.SPEND, spend_totals.tag_names),
    Route("POST", "/global/spend/end_users", Access.SPEND, spend_totals.end_users),
    Route("POST", "/global/spend/reset", Access.ADMIN, spend_totals.reset),
    Route("GET", "/global/activity", Access.OWN_SPEND, spend_totals.activity),
    Route("GET", "/global/activity/model", Access.OWN_SPEND, spend_totals.activity_by_model),
    Route("GET", "/tollway/deployments", Access.VIEWER, deployments.list_deployments),
    Route("POST", "/tollway/deployments/release", Access.ADMIN, deployments.release),
    Route("GET", "/tollway/deployments/timings", Access.VIEWER, deployments.timings),
    Route("GET", "/tollway/deployments/{id}", Access.ADMIN, deployments.stored),
    Route("GET", "/tollway/providers", Access.VIEWER, offered.providers),
    Route("GET", "/tollway/providers/{name}/models", Access.VIEWER, offered.models),
    Route("GET", "/tollway/state", Access.VIEWER, state.show),
    Route("GET", "/tollway/leases", Access.ADMIN, leases.holders),
    Route("POST", "/tollway/leases/release", Access.ADMIN, leases.release),
    Route("GET", "/model/info", Access.KEY, models.info),  # a key sees its own models
    Route("GET", "/v1/model/info", Access.KEY, models.info),
    Route("GET", "/model_group/info", Access.KEY, models.group_info),
    Route("POST", "/utils/transform_request", Access.KEY, rehearsals.transform),  # asks nobody, and shows no secret
    Route("GET", "/utils/supported_openai_params", Access.KEY, rehearsals.supported_parameters),
    Route("POST", "/utils/token_counter", Access.KEY, calculate.count_tokens),
    Route("GET", "/health", Access.ADMIN, health.check),  # asks every provider, for money
    Route("GET", "/health/services", Access.ADMIN, health.services),
    Route("POST", "/health/test_connection", Access.ADMIN, health.test_connection),
    Route("GET", "/health/liveliness", Access.PUBLIC, health.alive),
    Route("GET", "/health/liveness", Access.PUBLIC, health.alive),
    Route("GET", "/health/readiness", Access.PUBLIC, health.ready),
    Route("GET", "/", Access.PUBLIC, pages.front),
    Route("GET", "/docs", Access.PUBLIC, pages.docs),
    Route("GET", "/openapi.json", Access.PUBLIC, pages.openapi),
)


def build_app(office: Office, sessions: Sessions) -> FastAPI:
    app = assemble(office, ROUTES, sessions=sessions, without_schema=pages.PATHS)
    app.state.built = BUILT
    return app


def assemble(
    office: Office, routes: Iterable[Route], *, sessions: Sessions, without_schema: Collection[str]
) -> FastAPI:
    """An app of these routes behind a gate that keeps to their table."""
    # FastAPI's own pages load their scripts from another host; ours are in `pages`.
    app = FastAPI(title="Tollway", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.office = office
    app.router.route_class = ExactRoute
    for route in routes:
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            include_in_schema=route.path not in without_schema,
            name=f"{route.method} {route.path}",
            response_model=None,
        )
    app.add_exception_handler(PublicError, _answer_error)
    app.add_exception_handler(StorageError, _answer_storage_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    access = access_by_route(app.routes, routes)
    app.add_middleware(Gate, office=office, sessions=sessions, access=access, routes=app.routes)
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

    def __init__(
        self, app: ASGIApp, *, office: Office, sessions: Sessions, access: dict[str, Access], routes: list[BaseRoute]
    ) -> None:
        self.app = app
        self._office = office
        self._sessions = sessions
        self._access = access
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            for route in self._routes:
                if route.matches(scope)[0] is Match.FULL:
                    await self._judge(scope, self._access[route.name])  # type: ignore[attr-defined]  # checked by access_by_route
                    break
            body = await _read_body(scope, receive)
        except PublicError as error:
            await error_answer(error)(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    async def _judge(self, scope: Scope, access: Access) -> None:
        if access is Access.PUBLIC:
            return
        principal = await self._who(scope)
        judge(access, principal, scope["path"])
        scope.setdefault("state", {})["principal"] = principal

    async def _who(self, scope: Scope) -> Principal:
        """Who is signed in, else whose key it is."""
        session = await self._sessions.of(scope)
        if session is None:
            try:
                return self._office.authenticate(scope)
            except KeysMissing:
                await self._office.fetch_keys(scope)
                return self._office.authenticate(scope)
        self._sessions.check_write(scope, session)
        return session.principal


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
