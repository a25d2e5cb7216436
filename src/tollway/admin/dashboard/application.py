"""Puts the dashboard together: its routes with who may call each, behind the same gate as the management API."""

from __future__ import annotations

from fastapi import FastAPI, Response
from starlette.requests import Request

from tollway.admin import Office
from tollway.admin.application import Route, assemble
from tollway.admin.dashboard import files, live, log, overview, playground, signing, spend, sso
from tollway.admin.dashboard.sessions import Sessions
from tollway.admin.roles import Access
from tollway.errors import NotFound


async def page(request: Request) -> Response:
    """Every page is one document; which one is shown is decided in the browser."""
    if request.url.path.startswith(("/ui/api/", "/ui/assets/")):
        raise NotFound("There is nothing at this path.")
    return await files.page("index.html", request.app.state.built) or files.not_built()


async def asset(request: Request, name: str) -> Response:
    found = await files.file(name, request, request.app.state.built)
    if found is None:
        raise NotFound("There is no such file.")
    return found


ROUTES = (
    Route("GET", "/ui", Access.PUBLIC, page),
    Route("GET", "/ui/assets/{name}", Access.PUBLIC, asset),
    Route("GET", "/ui/api/session", Access.PUBLIC, signing.session),
    Route("POST", "/ui/api/session", Access.PUBLIC, signing.sign_in),
    Route("DELETE", "/ui/api/session", Access.PUBLIC, signing.sign_out),
    Route("POST", "/ui/api/session/link", Access.ADMIN, signing.sign_in_link),
    Route("POST", "/ui/api/password", Access.OWN, signing.change_password),
    Route("POST", "/ui/api/invitation", Access.PUBLIC, signing.invited),  # who has the invitation's id
    Route("POST", "/ui/api/invitation/accept", Access.PUBLIC, signing.accept_invitation),
    Route("GET", sso.LOGIN, Access.PUBLIC, sso.log_in),
    Route("GET", sso.CALLBACK, Access.PUBLIC, sso.callback),
    Route("GET", "/ui/api/overview", Access.OWN, overview.overview),
    Route("GET", "/ui/api/shares", Access.OWN, overview.shares),
    Route("GET", "/ui/api/spend", Access.OWN, spend.spend),
    Route("GET", "/ui/api/logs", Access.OWN, log.page),
    Route("GET", "/ui/api/logs/{call}", Access.OWN, log.detail),
    Route("GET", "/ui/api/live", Access.OWN, live.watch),
    Route("GET", "/ui/api/playground", Access.OWN, playground.offered),
    Route("POST", "/ui/api/chat/completions", Access.OWN, playground.chat),
    Route("GET", "/ui/{page:path}", Access.PUBLIC, page),  # last: each of the dashboard's own pages
)
#: What is no page of its own and nobody's question.
PAGES = frozenset({"/ui", "/ui/assets/{name}", "/ui/{page:path}"})


def build_dashboard(office: Office, sessions: Sessions) -> FastAPI:
    app = assemble(office, ROUTES, sessions=sessions, without_schema=PAGES)
    app.state.sessions = sessions
    app.state.live = live.LiveLog(office)
    app.state.built = files.BUILT
    return app
