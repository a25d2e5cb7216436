"""Single sign-on: the way to a provider and back, and which user of ours came.

    /sso/key/generate    sends the browser to the provider (LiteLLM's path; `provider` names one of several)
    /sso/callback        where the provider sends it back to (LiteLLM's path, which providers know already)

What was begun is remembered in a cookie that only this gateway can write and that lives for ten minutes, so any worker may go on.
Whoever comes the first time gets a user of his own; whoever an administrator made before is found by id, or by an e-mail address
that the provider vouches for.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
from decimal import Decimal
from hashlib import sha256
from typing import Any

from fastapi import Response
from fastapi.responses import RedirectResponse
from msgspec import DecodeError, ValidationError, msgpack, structs
from starlette.requests import Request

from tollway.admin import Office, Principal
from tollway.admin.border import MASTER_USER, office_of, us_of
from tollway.admin.dashboard.accounts import may_enter
from tollway.admin.dashboard.files import NOT_KEPT
from tollway.admin.dashboard.oidc import Attempt, Client, Person, Provider, SignInFailed, providers_of
from tollway.admin.dashboard.sessions import cookie_of, named_in, over_tls, own_url
from tollway.admin.dashboard.signing import sessions_of
from tollway.admin.entities import NAME_CHARACTERS_MAX, noted, people_of
from tollway.admin.limit_requests import changed_limits
from tollway.admin.roles import INTERNAL_VIEWER, PROXY_ADMIN
from tollway.admin.users import SSO_FIELDS, join_team
from tollway.storage.people import EntityExists, Limits, People, User

COOKIE = "tollway_sso"
ATTEMPT_S_MAX = 600
LOGIN = "/sso/key/generate"
CALLBACK = "/sso/callback"
SUBJECT_FIELD, PROVIDER_FIELD = SSO_FIELDS
_PAGE = re.compile(r"/ui(?:/[\w-]+)*/?")
_TABLE = "LiteLLM_UserTable"

_log = logging.getLogger("tollway.admin")


async def log_in(request: Request, provider: str | None = None, to: str = "/ui/") -> Response:
    """Sends the browser to the provider."""
    office, providers = office_of(request), providers_of(office_of(request).config.sign_in)
    asked = providers.get(provider) if provider is not None else next(iter(providers.values()), None)
    if asked is None:
        return _back("not_configured")
    now_s = office.now().timestamp()
    page = to if _PAGE.fullmatch(to) else "/ui/"
    try:
        url, attempt = await client_of(request).start(
            asked, _redirect_uri(request), now_s=now_s, lasts_s=ATTEMPT_S_MAX, to=page
        )
    except SignInFailed as error:
        return _failed(error)
    except ImportError:
        return _failed(SignInFailed("not_installed", "single sign-on needs `pip install 'tollway[sso]'`"))
    answer: Response = RedirectResponse(url, 303, headers=NOT_KEPT)
    answer.headers["set-cookie"] = _cookie(request, _sealed(office, attempt), ATTEMPT_S_MAX)
    return answer


async def callback(
    request: Request,
    code: str | None = None,
    state: str | None = None,
    iss: str | None = None,
    error: str | None = None,
) -> Response:
    """Where the provider sends the browser back to."""
    office = office_of(request)
    try:
        attempt = _attempt(request, state)
        provider = providers_of(office.config.sign_in).get(attempt.provider)
        if provider is None:
            raise SignInFailed("not_configured", f"{attempt.provider} is not configured any more")
        if error is not None or not code:
            code_of_page = "denied" if error == "access_denied" else "failed"
            raise SignInFailed(code_of_page, f"{provider.name} says {str(error)[:100]!r}")
        person = await client_of(request).finish(
            provider, code, iss, attempt, _redirect_uri(request), now_s=office.now().timestamp()
        )
        user = await _user(request, provider, person)
        if not may_enter(user, office.config.sign_in):
            raise SignInFailed("admins", f"{user.id} is no administrator")
    except SignInFailed as failed:
        return _failed(failed, _cookie(request, "", 0))
    begun = await sessions_of(request).begin(request.scope, user.id)
    answer = RedirectResponse(attempt.to, 303, headers=NOT_KEPT)
    answer.headers.append("set-cookie", cookie_of(begun, request.scope))
    answer.headers.append("set-cookie", _cookie(request, "", 0))
    return answer


def client_of(request: Request) -> Client:
    """What asks providers; it remembers what they publish."""
    state = request.app.state
    if getattr(state, "oidc", None) is None:
        office: Office = state.office
        state.oidc = Client(office.upstream, office.config.network)
    found: Client = state.oidc
    return found


# --- which user it is


async def _user(request: Request, provider: Provider, person: Person) -> User:
    """The user who was signed in, made at the first time, with the role that the provider tells. Raises SignInFailed."""
    office, settings = office_of(request), office_of(request).config.sign_in
    _check_domain(person, settings.email_domains)
    if len(person.id) > NAME_CHARACTERS_MAX or person.id == MASTER_USER:
        raise SignInFailed("failed", f"{provider.name}: {person.id[:40]!r} can be nobody's id here")
    people = await people_of(request)
    known = _known(people, provider, person)
    role = PROXY_ADMIN if settings.admin_id is not None and person.id == settings.admin_id else person.role
    if known is not None and known.blocked:
        raise SignInFailed("blocked", f"{known.id} is blocked")
    # From here on the audit log tells of the user.
    request.state.principal = Principal("user", role=role or "", user=known.id if known is not None else person.id)
    first_role = role or settings.default_user_params.get("user_role") or INTERNAL_VIEWER
    user = known if known is not None else await _made(request, person, first_role)
    changed = await _joined_up(office, user, provider, person, role)
    if changed is not None:
        await office.people_changed()
        await noted(request, "updated", _TABLE, user.id, *changed)
        return changed[1]
    return user


def _known(people: People, provider: Provider, person: Person) -> User | None:
    """Whoever came this way before; else the one whom an administrator made, by id or by address, and who came no other way."""
    for one in people.users.values():
        subject, of = one.fields.get(SUBJECT_FIELD), one.fields.get(PROVIDER_FIELD)
        if (subject, of) == (person.subject, provider.name) or (
            of is None and subject in (person.subject, person.id)  # written by an administrator
        ):
            return one
    user = people.users.get(person.id)
    if user is None and person.email is not None:
        address = person.email.casefold()
        found = [one for one in people.users.values() if one.email is not None and one.email.casefold() == address]
        user = found[0] if len(found) == 1 else None
    if user is not None and user.fields.get(SUBJECT_FIELD) is not None:
        raise SignInFailed("taken", f"{user.id!r} is somebody else's account: it was signed in to in another way")
    return user


async def _made(request: Request, person: Person, role: str) -> User:
    office = office_of(request)
    params = office.config.sign_in.default_user_params
    limits: dict[str, Any] = {name: params[name] for name in ("max_budget", "budget_duration") if name in params}
    if "max_budget" in limits:
        limits["max_budget"] = Decimal(str(limits["max_budget"]))
    now_us = us_of(office.now())
    user = User(
        id=person.id,
        email=person.email,
        alias=person.name,
        role=role,
        models=tuple(params.get("models") or ()),
        limits=changed_limits(Limits(), limits),
        created_us=now_us,
        updated_us=now_us,
        created_by=person.id,
        updated_by=person.id,
    )
    users = office.storage.people.users
    try:
        await users.create(user)
    except EntityExists:  # two browsers of the same person at once
        return await users.get(user.id) or user
    await noted(request, "created", _TABLE, user.id, None, user)
    for team_id in params.get("teams") or ():
        await join_team(request, user, team_id)
    await office.people_changed()
    return user


async def _joined_up(
    office: Office, user: User, provider: Provider, person: Person, role: str | None
) -> tuple[User, User] | None:
    """Writes down how the user is found again, and what the provider says of him now; None where nothing changes."""

    def change(before: User) -> User:
        fields = {**before.fields, SUBJECT_FIELD: person.subject, PROVIDER_FIELD: provider.name}
        return structs.replace(
            before, fields=fields, role=role or before.role, email=before.email or person.email, updated_us=now_us
        )

    now_us = user.updated_us
    if change(user) == user:
        return None
    now_us = us_of(office.now())
    return await office.storage.people.users.change(user.id, change)


def _check_domain(person: Person, domains: tuple[str, ...]) -> None:
    domain = (person.email or "").rpartition("@")[2].lower()
    if domains and domain not in domains:
        raise SignInFailed("domain", f"{person.id!r} has no address in {', '.join(domains)}")


# --- the cookie between the way there and the way back


def _sealed(office: Office, attempt: Attempt) -> str:
    content = msgpack.encode(attempt)
    return base64.urlsafe_b64encode(_signature(office, content) + content).decode()


def _attempt(request: Request, state: str | None) -> Attempt:
    """What was begun in this very browser. Raises SignInFailed."""
    office, cookie = office_of(request), named_in(request.scope, COOKIE)
    try:
        content = base64.urlsafe_b64decode((cookie or "").encode())
        if not hmac.compare_digest(content[:32], _signature(office, content[32:])):
            raise ValueError("another gateway's")
        attempt = msgpack.decode(content[32:], type=Attempt)
    except (ValueError, binascii.Error, DecodeError, ValidationError) as error:
        raise SignInFailed(
            "expired", "a sign-in came back that did not begin in this browser, or too long ago"
        ) from error
    if office.now().timestamp() >= attempt.ends_s or not hmac.compare_digest(
        (state or "").encode("utf-8", "surrogatepass"), attempt.state.encode()
    ):
        raise SignInFailed("expired", "a sign-in came back that did not begin in this browser, or too long ago")
    return attempt


def _signature(office: Office, content: bytes) -> bytes:
    """By a key that follows from the master key: all workers and hosts of a gateway have it."""
    master = office.config.access.master_key
    assert master is not None, "the app makes one where none is set"
    key = sha256(b"tollway single sign-on\0" + master.reveal().encode("utf-8", "surrogatepass")).digest()
    return hmac.digest(key, content, "sha256")


def _cookie(request: Request, value: str, lasts_s: int) -> str:
    """Sent when the provider's page leads back, so not `Strict`; to nobody but the way back."""
    secure = "; Secure" if over_tls(request.scope) else ""
    return f"{COOKIE}={value}; Max-Age={lasts_s}; Path=/sso; HttpOnly; SameSite=Lax{secure}"


def _redirect_uri(request: Request) -> str:
    return own_url(request.scope, office_of(request).config.sign_in.public_url) + CALLBACK


def _failed(error: SignInFailed, cookie: str | None = None) -> Response:
    _log.warning("single sign-on: %s", error)
    answer = _back(error.code)
    if cookie is not None:
        answer.headers["set-cookie"] = cookie
    return answer


def _back(code: str) -> Response:
    """To the sign-in page, which says what happened in the reader's language."""
    return RedirectResponse(f"/ui/?sso_error={code}", 303, headers=NOT_KEPT)
