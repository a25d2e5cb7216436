"""The paths by which people come in and go out: signing in, one-time links, invitations, the own password."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import Request

from tollway import __version__
from tollway.admin import Office, invitations
from tollway.admin.border import office_of, principal_of
from tollway.admin.dashboard import files, oidc
from tollway.admin.dashboard.sessions import (
    LINK_S_MAX,
    Session,
    Sessions,
    cookie_of,
    no_cookie,
    own_url,
)
from tollway.admin.entities import noted
from tollway.admin.passwords import PASSWORD_CHARACTERS_MAX, checked_password, hash_of
from tollway.admin.roles import PROXY_ADMIN
from tollway.errors import BadRequest, Forbidden


class SignIn(BaseModel):
    """`password` may be the master key; then no user is needed. `user` is an id or an e-mail address. `once` is the token of a
    link, in their place."""

    user: str | None = Field(default=None, max_length=512)
    password: str = Field(default="", max_length=2000)
    once: str | None = Field(default=None, max_length=200)


class Invited(BaseModel):
    invitation_id: str = Field(max_length=200)


class Accepting(Invited):
    password: str = Field(max_length=PASSWORD_CHARACTERS_MAX)


class ChangePassword(BaseModel):
    old_password: str = Field(max_length=2000)
    new_password: str = Field(max_length=2000)


def sessions_of(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


async def session(request: Request) -> Response:
    """Who is signed in, and what the page needs to know before it asks anything else."""
    return await _tell(request, await sessions_of(request).of(request.scope))


async def sign_in(request: Request, body: SignIn) -> Response:
    sessions = sessions_of(request)
    if body.once is not None:
        begun = await sessions.sign_in_once(request.scope, body.once)
    else:
        _check_passwords(office_of(request))
        begun = await sessions.sign_in(request.scope, body.user, body.password)
    return await _begun(request, begun)


async def sign_out(request: Request) -> Response:
    sessions = sessions_of(request)
    current = await sessions.of(request.scope)
    if current is not None:
        sessions.check_write(request.scope, current)
        await sessions.sign_out(request.scope)
    answer = await _tell(request, None)
    answer.headers["set-cookie"] = no_cookie(request.scope)
    return answer


async def sign_in_link(request: Request) -> Response:
    """An address that signs whoever opens it in, once: for who holds the master key."""
    if principal_of(request).kind != "master":
        raise Forbidden("Only the master key may ask for a link that signs in.")
    token = await sessions_of(request).make_link()
    address = own_url(request.scope, office_of(request).config.sign_in.public_url)
    told = {"url": f"{address}/ui/sign-in?once={token}", "expires_in_s": LINK_S_MAX}
    return JSONResponse(told, headers=files.NOT_KEPT)


async def change_password(request: Request, body: ChangePassword) -> Response:
    """The own one. Every session ends, and this one begins anew."""
    sessions, office, user_id = sessions_of(request), office_of(request), principal_of(request).user
    if user_id is None:
        raise BadRequest("Only who is signed in as a user has a password of his own to change.")
    await sessions.accounts.change_password(
        user_id, body.old_password, body.new_password, address=sessions.address_of(request.scope)
    )
    await office.people_changed()
    await noted(request, "password_changed", "LiteLLM_UserTable", user_id, None, None)
    return await _begun(request, await sessions.begin(request.scope, user_id))


async def invited(request: Request, body: Invited) -> Response:
    """Whom an invitation is for."""
    sessions_of(request).check_own_page(request.scope)
    user = await invitations.invited(office_of(request), body.invitation_id)
    return JSONResponse({"user_id": user.id, "user_email": user.email}, headers=files.NOT_KEPT)


async def accept_invitation(request: Request, body: Accepting) -> Response:
    """Takes the password that who is invited chose, and signs him in."""
    sessions, office = sessions_of(request), office_of(request)
    sessions.check_own_page(request.scope)
    _check_passwords(office)
    checked_password(body.password)
    await invitations.invited(office, body.invitation_id)  # nobody's invitation makes us hash anything
    hashed = await asyncio.to_thread(hash_of, body.password)
    user = await invitations.accept(office, body.invitation_id, hashed)
    return await _begun(request, await sessions.begin(request.scope, user.id))


def _check_passwords(office: Office) -> None:
    """Raises Forbidden where people come in by single sign-on alone."""
    if _sso_alone(office):
        raise Forbidden("Sign in by single sign-on: passwords are switched off here.", code="sso_alone")


def _sso_alone(office: Office) -> bool:
    settings = office.config.sign_in
    return settings.sso_alone and bool(oidc.providers_of(settings))


async def _begun(request: Request, begun: Session) -> Response:
    answer = await _tell(request, begun)
    answer.headers["set-cookie"] = cookie_of(begun, request.scope)
    return answer


async def _tell(request: Request, current: Session | None) -> JSONResponse:
    office = office_of(request)
    told: dict[str, Any] = {"signed_in": current is not None}
    if current is None:
        providers = oidc.providers_of(office.config.sign_in)
        if providers:
            told["sso"] = [{"name": one.name, "label": one.label} for one in providers.values()]
            if office.config.sign_in.sso_first:
                told["sso_first"] = True
        if _sso_alone(office):
            told["passwords"] = False
        return JSONResponse(told, headers=files.NOT_KEPT)
    user = current.user
    told |= {
        "csrf": current.csrf,
        "version": __version__,
        "bodies_kept": office.bodies_folder is not None,
        "operations": sorted(set(office.call_paths.values())),
        "role": current.principal.role if user is not None else PROXY_ADMIN,
        "user_id": user.id if user is not None else None,
        "user_email": user.email if user is not None else None,
        "has_password": user is not None and await office.storage.sign_ins.password_of(user.id) is not None,
    }
    return JSONResponse(told, headers=files.NOT_KEPT)
