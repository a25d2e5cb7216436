"""Invitations: links by which users choose a password of their own, in LiteLLM's paths and fields.

An invitation's id is what opens it, so the storage holds its digest alone, and only administrators get one to see: a viewer who
could read ids could become whoever is invited. The link is `/ui?invitation_id=ID`, as LiteLLM's.
"""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct, msgpack, structs
from pydantic import BaseModel, Field
from starlette.requests import Request

from tollway.admin import Office
from tollway.admin.border import bad_request, iso_z, office_of, principal_of, us_of
from tollway.admin.dashboard.sessions import digest_of, own_url
from tollway.admin.entities import noted
from tollway.errors import NotFound
from tollway.storage.people import User
from tollway.storage.sign_ins import Ticket

KIND = "invitation"
INVITATION_S_MAX = 7 * 24 * 3600
INVITATIONS_MAX = 10_000
ID_BYTES = 32
_TABLE = "LiteLLM_InvitationLink"


class NewInvitation(BaseModel):
    user_id: str


class InvitationNamed(BaseModel):
    invitation_id: str = Field(max_length=200)


class InvitationUpdate(InvitationNamed):
    is_accepted: bool


class _About(Struct, frozen=True):
    created_by: str
    updated_us: int
    updated_by: str
    accepted_us: int | None = None


async def new(request: Request, body: NewInvitation) -> dict[str, Any]:
    """Invites a user to choose a password. The answer's `url` is for that user alone; it opens once, within seven days."""
    office = office_of(request)
    user = await office.storage.people.users.get(body.user_id)
    if user is None:
        raise NotFound(f"User not found, passed user_id={body.user_id}", param="user_id")
    if user.blocked:
        raise bad_request(f"The user {user.id!r} is blocked.", "user_id")
    name, now_us, who = secrets.token_urlsafe(ID_BYTES), us_of(office.now()), principal_of(request).user_id or ""
    ticket = _ticket(name, user.id, now_us, now_us + INVITATION_S_MAX * 1_000_000, _About(who, now_us, who))
    await _keep(office, ticket)
    await noted(request, "created", _TABLE, user.id, None, {"user_id": user.id})
    url = f"{own_url(request.scope, office.config.sign_in.public_url)}/ui?invitation_id={name}"
    return {**_shown(name, ticket), "url": url}


async def info(request: Request, invitation_id: str) -> dict[str, Any]:
    return _shown(invitation_id, await _found(office_of(request), invitation_id))


async def update(request: Request, body: InvitationUpdate) -> dict[str, Any]:
    """Says that an invitation was accepted: it opens nothing any more."""
    office = office_of(request)
    ticket = await _found(office, body.invitation_id)
    about = msgpack.decode(ticket.detail, type=_About)
    if not body.is_accepted:
        if about.accepted_us is not None:
            raise bad_request("What was accepted stays so; make a new invitation.", "is_accepted")
        return _shown(body.invitation_id, ticket)
    closed = await _close(office, ticket, principal_of(request).user_id or "")
    await noted(request, "updated", _TABLE, ticket.user_id, None, {"user_id": ticket.user_id, "is_accepted": True})
    return _shown(body.invitation_id, closed)


async def delete(request: Request, body: InvitationNamed) -> dict[str, Any]:
    office = office_of(request)
    ticket = await _found(office, body.invitation_id)
    await office.storage.sign_ins.take(ticket.digest)
    await noted(request, "deleted", _TABLE, ticket.user_id, {"user_id": ticket.user_id}, None)
    return _shown(body.invitation_id, ticket)


# --- opened by who was invited


async def invited(office: Office, id: str) -> User:
    """Whom an invitation that is still good is for. Raises NotFound."""
    ticket = await office.storage.sign_ins.get(digest_of(id))
    if ticket is not None and ticket.kind == KIND and us_of(office.now()) < ticket.ends_us:
        about = msgpack.decode(ticket.detail, type=_About)
        user = await office.storage.people.users.get(ticket.user_id)
        if about.accepted_us is None and user is not None and not user.blocked:
            return user
    raise NotFound("This invitation was used already or is too old. Ask for a new one.", code="invitation_used")


async def accept(office: Office, id: str, hashed: str) -> User:
    """Gives the one who is invited a password, once. Raises NotFound."""
    user = await invited(office, id)
    ticket = await office.storage.sign_ins.take(digest_of(id))
    if ticket is None:  # somebody else was faster
        return await invited(office, id)
    await office.storage.sign_ins.set_password(user.id, hashed, now_us=us_of(office.now()))
    await _close(office, ticket, user.id)
    return user


async def _close(office: Office, ticket: Ticket, who: str) -> Ticket:
    now_us = us_of(office.now())
    about = structs.replace(
        msgpack.decode(ticket.detail, type=_About), accepted_us=now_us, updated_us=now_us, updated_by=who
    )
    closed = structs.replace(ticket, detail=msgpack.encode(about), used_us=now_us)
    await office.storage.sign_ins.take(ticket.digest)
    await _keep(office, closed)
    return closed


async def _keep(office: Office, ticket: Ticket) -> None:
    await office.storage.sign_ins.add(ticket, tickets_max=INVITATIONS_MAX, idle_us_max=INVITATION_S_MAX * 1_000_000)


async def _found(office: Office, id: str) -> Ticket:
    ticket = await office.storage.sign_ins.get(digest_of(id))
    if ticket is None or ticket.kind != KIND:
        raise NotFound("Invitation id does not exist in the database.", param="invitation_id")
    return ticket


def _ticket(id: str, user_id: str, now_us: int, ends_us: int, about: _About) -> Ticket:
    return Ticket(
        digest=digest_of(id),
        kind=KIND,
        user_id=user_id,
        begun_us=now_us,
        used_us=now_us,
        ends_us=ends_us,
        detail=msgpack.encode(about),
    )


def _shown(id: str, ticket: Ticket) -> dict[str, Any]:
    about = msgpack.decode(ticket.detail, type=_About)
    return {
        "id": id,
        "user_id": ticket.user_id,
        "is_accepted": about.accepted_us is not None,
        "accepted_at": iso_z(about.accepted_us),
        "expires_at": iso_z(ticket.ends_us),
        "created_at": iso_z(ticket.begun_us),
        "created_by": about.created_by,
        "updated_at": iso_z(about.updated_us),
        "updated_by": about.updated_by,
    }
