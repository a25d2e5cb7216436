"""Users: made, changed, looked at, deleted. A change is in force when its answer is sent."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import Query
from msgspec import structs
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from tollway.admin.border import MASTER_USER, bad_request, dollars_of, nano_of, office_of, principal_of, us_of
from tollway.admin.entities import (
    KEY_TABLE,
    budget_for,
    checked_name,
    delete_keys_of,
    member_owner,
    not_found,
    noted,
    noted_key,
    people_of,
    set_spend,
    spend_of,
    spends_of,
    stamped,
    with_member,
)
from tollway.admin.key_views import made_key, user_key
from tollway.admin.limit_requests import Dollars, WithAllLimits, changed_limits, plain
from tollway.admin.listing import PageSize, Search, fits, in_order, page_facts, page_of
from tollway.admin.passwords import checked_password, hash_of
from tollway.admin.people_views import Shown
from tollway.admin.roles import PROXY_ADMIN, USER_ROLES, check_sees, may_see_spend, may_see_user
from tollway.admin.teams import keys_of, remove_member, teams_of
from tollway.errors import Conflict, Forbidden, PublicError
from tollway.storage import KEY_SCOPE, KeyFilter, KeyRecord
from tollway.storage.people import TEAM_SCOPE, USER_SCOPE, EntityExists, Member, Organization, People, User

_TABLE = "LiteLLM_UserTable"
#: The fields of a user by which who came by single sign-on is found again: what the provider knows him by, and which it is.
SSO_FIELDS = ("sso_user_id", "sso_provider")
#: Users that may be named in one change.
BULK_MAX = 500


class UserFields(WithAllLimits):
    NOT_OBEYED = frozenset(
        {
            *("guardrails", "policies", "prompts", "permissions", "config", "aliases", "allowed_cache_controls"),
            *("object_permission", "budget_fallbacks", "mcp_rpm_limit", "tag_rpm_limit"),
            *("agent_id", "project_id", "duration", "send_invite_email", "organizations"),
            *("budget_limits", "model_rpm_limit", "model_tpm_limit", "key_alias", "team_id"),
        }
    )

    user_email: str | None = None
    user_alias: str | None = None
    user_role: str | None = None
    models: list[str] | None = None
    metadata: dict[str, Any] | None = None
    spend: Dollars = None
    password: str | None = None
    blocked: bool | None = None
    sso_user_id: str | None = None


class Joining(BaseModel):
    """One of the teams of a new user: its id alone, or with what the user is and may spend in it."""

    model_config = ConfigDict(extra="forbid")

    team_id: str
    user_role: Literal["user", "admin"] = "user"
    max_budget_in_team: Dollars = None


class NewUser(UserFields):
    user_id: str | None = None
    teams: list[str | Joining] | None = None
    team_id: str | None = None
    auto_create_key: bool = True
    key_alias: str | None = None


class UpdateUser(UserFields):
    user_id: str | None = None


class UpdateUsers(BaseModel):
    users: list[UpdateUser] | None = Field(None, max_length=BULK_MAX)
    all_users: bool = False
    user_updates: UpdateUser | None = None


class UsersNamed(BaseModel):
    user_ids: list[str]


async def new(request: Request, body: NewUser) -> dict[str, Any]:
    """Makes a user, and a key of his unless `auto_create_key` is false. The key's text is in this answer and nowhere else."""
    office, people = office_of(request), await people_of(request)
    fields = _with_defaults(body.given(), office.config.sign_in.default_user_params)
    hashed = await _hash_of(body.password)
    user_id = checked_name(body.user_id, "user_id")
    if user_id in people.users:
        raise Conflict(f"User with id {user_id} already exists", param="user_id")
    if body.user_email is not None and any(one.email == body.user_email for one in people.users.values()):
        raise Conflict(f"User with email {body.user_email} already exists", param="user_email")
    user = _changed(User(id=user_id, **stamped(request, new=True)), fields)
    joined = [_joining(one) for one in (*(fields.get("teams") or ()), body.team_id) if one is not None]
    for one in joined:
        if one.team_id not in people.teams:
            raise not_found("Team", one.team_id, "teams")
        if one.max_budget_in_team is not None:
            nano_of(one.max_budget_in_team, "max_budget_in_team")
    if body.key_alias is not None and await office.storage.keys.get_by_alias(body.key_alias) is not None:
        raise bad_request(f"Key with alias '{body.key_alias}' already exists.", "key_alias")
    spend_nano = 0 if fields.get("spend") is None else nano_of(fields["spend"], "spend")
    try:
        await office.storage.people.users.create(user, spend_nano=spend_nano)
    except EntityExists:
        raise Conflict(f"User with id {user_id} already exists", param="user_id") from None
    await noted(request, "created", _TABLE, user_id, None, user)
    if hashed is not None:
        await _set_password(request, user_id, hashed)
    for one in joined:
        limits = {} if one.max_budget_in_team is None else {"max_budget": one.max_budget_in_team}
        budget_id = await budget_for(request, member_owner(one.team_id, user_id), None, limits)
        await join_team(request, user, one.team_id, role=one.user_role, budget_id=budget_id)
    record, key = await _first_key(request, user, body.key_alias) if body.auto_create_key else (None, None)
    await office.people_changed([(USER_SCOPE, user_id)] if spend_nano else ())
    return _made(user, [one.team_id for one in joined], record, key, spend_nano)


async def update(request: Request, body: UpdateUser) -> dict[str, Any]:
    """Changes the fields that are given and no other; `null` takes a limit away."""
    office, people = office_of(request), await people_of(request)
    user = _named(people, body.user_id, body.user_email)
    fields = {name: value for name, value in body.given().items() if name != "user_email" or body.user_id is not None}
    _changed(user, fields)
    hashed = await _hash_of(body.password)
    stamp = stamped(request)
    changed = await office.storage.people.users.change(
        user.id, lambda before: structs.replace(_changed(before, fields), **stamp)
    )
    if changed is None:
        raise not_found("User", user.id, "user_id")
    if hashed is not None:
        await _set_password(request, user.id, hashed)
    if changed[1].blocked:
        await office.storage.sign_ins.end([user.id])
    spend_set = fields.get("spend") is not None
    if spend_set:
        await set_spend(request, USER_SCOPE, user.id, nano_of(fields["spend"], "spend"))
    await office.people_changed([(USER_SCOPE, user.id)] if spend_set else ())
    await noted(request, "updated", _TABLE, user.id, *changed)
    shown = Shown(office.config.money, office.now())
    spend = await spend_of(office, USER_SCOPE, user.id)
    return {"user_id": user.id, "data": shown.user(changed[1], spend, teams_of(people, user.id))}


async def bulk_update(request: Request, body: UpdateUsers) -> dict[str, Any]:
    """Changes several users, each by itself; or all of them alike, by `user_updates` with `all_users`."""
    asked = body.users or []
    if body.all_users:
        if body.user_updates is None:
            raise bad_request("Say what of all users to change: user_updates.", "user_updates")
        if body.user_updates.password is not None or body.user_updates.sso_user_id is not None:
            raise bad_request("All users cannot have the same password or identity.", "user_updates")
        same = {
            name: value for name, value in body.user_updates.given().items() if name not in ("user_id", "user_email")
        }
        people = await people_of(request)
        asked = [UpdateUser(user_id=name, **same) for name in people.users]
    elif not asked:
        raise bad_request("Say whom: users, or all_users with user_updates.", "users")
    results = []
    for one in asked:
        result: dict[str, Any] = {"user_id": one.user_id, "user_email": one.user_email, "success": True, "error": None}
        try:
            result["updated_user"] = (await update(request, one))["data"]
        except PublicError as error:
            result |= {"success": False, "error": error.message, "updated_user": None}
        results.append(result)
    done = sum(result["success"] for result in results)
    return {
        "results": results,
        "total_requested": len(results),
        "successful_updates": done,
        "failed_updates": len(results) - done,
    }


async def delete(request: Request, body: UsersNamed) -> dict[str, Any]:
    """Deletes users with their keys and their places in teams. What they spent stays in the spend rows."""
    office, people = office_of(request), await people_of(request)
    for user_id in body.user_ids:
        if user_id not in people.users:
            raise not_found("User", user_id, "user_ids")
    await office.flush()
    for user_id in body.user_ids:  # first: whoever is made anew under this id must not have the old one's password
        await office.storage.sign_ins.set_password(user_id, None, now_us=us_of(office.now()))
    deleted = await office.storage.people.users.delete(body.user_ids)
    for user in deleted:
        for team in people.teams.values():
            member = team.member(user.id)
            if member is not None:
                await remove_member(request, team, member)
        await _leave_organizations(request, people, user.id)
        await delete_keys_of(request, KeyFilter(user_id=user.id))
    await office.people_changed()
    for user in deleted:
        await noted(request, "deleted", _TABLE, user.id, user, None)
    return {"deleted_users": len(deleted), "message": f"Successfully deleted users with ids: {body.user_ids}"}


async def info(request: Request, user_id: str | None = None) -> dict[str, Any]:
    """A user with keys and teams: the one who asks, or for who may see everybody any."""
    office, principal, people = office_of(request), principal_of(request), await people_of(request)
    user_id = user_id or principal.user_id
    if user_id is None or not may_see_user(principal, user_id):
        raise Forbidden(f"You may not see the user {user_id!r}.", param="user_id")
    keys = await keys_of(office, KeyFilter(user_id=user_id))
    user = people.users.get(user_id)
    if user is None and not keys and not principal.is_admin:
        raise not_found("User", user_id, "user_id")
    of_user = [team for team in people.teams.values() if team.member(user_id) is not None]
    named = [(USER_SCOPE, user_id), *((TEAM_SCOPE, team.id) for team in of_user)]
    shown, spends = Shown(office.config.money, office.now()), await spends_of(office, named)
    organizations = [
        {"user_id": user_id, "organization_id": one.id, "user_role": member.role}
        for one in people.organizations.values()
        if (member := one.member(user_id)) is not None
    ]
    names = [team.id for team in of_user]
    aliases = {team.id: team.alias for team in people.teams.values()}
    spend = spends.of(USER_SCOPE, user_id)
    return {
        "user_id": user_id,
        "user_info": shown.user_info(user, spend, names, organizations) if user is not None else None,
        "keys": [
            user_key(key, office.spend_of(KEY_SCOPE, key.token.hex()), aliases.get(key.team_id or "")) for key in keys
        ],
        "teams": [shown.team(team, spends.of(TEAM_SCOPE, team.id)) for team in of_user],
    }


async def list_users(
    request: Request,
    role: str | None = None,
    user_ids: str | None = None,
    user_email: str | None = None,
    team: str | None = None,
    search: Search = None,
    page: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    page_size: PageSize = 25,
    sort_by: str | None = None,
    sort_order: str = "asc",
) -> dict[str, Any]:
    """Users, page by page."""
    office, people = office_of(request), await people_of(request)
    wanted = set(user_ids.split(",")) if user_ids is not None else None
    named = people.teams.get(team) if team is not None else None
    of_team = {member.user_id for member in named.members} if named is not None else set()
    found = [
        user
        for user in people.users.values()
        if role in (None, user.role)
        and (wanted is None or user.id in wanted)
        and (user_email is None or user_email.lower() in (user.email or "").lower())
        and (team is None or user.id in of_team)
        and fits(search, user.id, user.alias, user.email)
    ]
    spends = await spends_of(office, None if sort_by == "spend" else ())
    sorts: dict[str, Callable[[User], Any]] = {
        "user_id": lambda user: user.id,
        "user_email": lambda user: user.email.lower() if user.email else None,
        "user_alias": lambda user: user.alias.lower() if user.alias else None,
        "user_role": lambda user: user.role,
        "created_at": lambda user: user.created_us,
        "spend": lambda user: spends.of(USER_SCOPE, user.id).spend_nano,
    }
    found = in_order(found, sorts, sort_by, sort_order, default="created_at")
    shown = Shown(office.config.money, office.now())
    rows, users = [], page_of(found, page, page_size)
    spends = await spends_of(office, [(USER_SCOPE, user.id) for user in users])
    joined = _teams_of_all(people, [user.id for user in users])
    for user in users:
        _, key_count = await office.storage.keys.page(KeyFilter(user_id=user.id), limit=1)
        row = shown.user(user, spends.of(USER_SCOPE, user.id), joined[user.id])
        rows.append({**row, "key_count": key_count})
    return {"users": rows, **page_facts(len(found), page, page_size)}


async def spend_by_user(request: Request, user_id: str | None = None) -> list[dict[str, Any]]:
    """Users, the one who spent most first; for who may not see all, oneself."""
    office, people, principal = office_of(request), await people_of(request), principal_of(request)
    user_id = user_id if may_see_spend(principal) else check_sees(principal, user_id)
    await office.flush()
    spends, shown = await spends_of(office), Shown(office.config.money, office.now())
    found = [user for user in people.users.values() if user_id in (None, user.id)]
    found.sort(key=lambda user: spends.of(USER_SCOPE, user.id).spend_nano, reverse=True)
    return [shown.user(user, spends.of(USER_SCOPE, user.id), teams_of(people, user.id)) for user in found]


async def available_roles(request: Request) -> dict[str, Any]:
    """What a user may be."""
    del request
    return {
        "proxy_admin": {"description": "does everything", "ui_label": "Admin (All Permissions)"},
        "proxy_admin_viewer": {"description": "sees everything, changes nothing", "ui_label": "Admin (View Only)"},
        "internal_user": {
            "description": "makes, sees and changes its own keys, sees its own spend",
            "ui_label": "Internal User (Create/Delete/View)",
        },
        "internal_user_viewer": {
            "description": "sees its own keys and spend",
            "ui_label": "Internal User (View Only)",
        },
    }


def _teams_of_all(people: People, user_ids: Sequence[str]) -> dict[str, list[str]]:
    """The teams of each of these users, looked for in one go."""
    found: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
    for team in people.teams.values():
        for member in team.members:
            if member.user_id in found:
                found[member.user_id].append(team.id)
    return found


def _changed(user: User, fields: Mapping[str, Any]) -> User:
    changes: dict[str, Any] = {"limits": changed_limits(user.limits, dict(fields))}
    role = fields.get("user_role")
    if role is not None and role not in USER_ROLES:
        raise bad_request(f"user_role must be one of {', '.join(USER_ROLES)}. Received: {role}", "user_role")
    for name, ours in (("user_email", "email"), ("user_alias", "alias"), ("user_role", "role")):
        if name in fields:
            changes[ours] = fields[name]
    if "models" in fields:
        changes["models"] = tuple(fields["models"] or ())
    if "metadata" in fields:
        changes["metadata"] = plain(fields["metadata"]) or {}
    if fields.get("blocked") is not None:
        changes["blocked"] = fields["blocked"]
    if (
        "sso_user_id" in fields
    ):  # whoever comes with it next, by whatever provider, is this user; null: who comes next is new
        kept = {name: value for name, value in user.fields.items() if name not in SSO_FIELDS}
        changes["fields"] = {**kept, **({SSO_FIELDS[0]: fields["sso_user_id"]} if fields["sso_user_id"] else {})}
    return structs.replace(user, **changes)


def _with_defaults(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a new user is given; one who is not an administrator has the rest from the configuration."""
    if str(fields.get("user_role") or "").startswith(PROXY_ADMIN):
        return dict(fields)
    more = {name: value for name, value in defaults.items() if fields.get(name) is None}
    if "max_budget" in more:
        more["max_budget"] = Decimal(str(more["max_budget"]))
    return {**fields, **more}


async def _hash_of(password: str | None) -> str | None:
    return await asyncio.to_thread(hash_of, checked_password(password)) if password is not None else None


async def _set_password(request: Request, user_id: str, hashed: str) -> None:
    """Whoever is signed in with the old one no longer is."""
    office = office_of(request)
    await office.storage.sign_ins.set_password(user_id, hashed, now_us=us_of(office.now()))
    await noted(request, "password_set", _TABLE, user_id, None, None)


def _named(people: People, user_id: str | None, user_email: str | None) -> User:
    if user_id is None and user_email is None:
        raise bad_request("Say which user: user_id or user_email.", "user_id")
    found = (
        people.users.get(user_id)
        if user_id is not None
        else next((one for one in people.users.values() if one.email == user_email), None)
    )
    if found is None:
        raise not_found("User", user_id or user_email or "", "user_id")
    return found


async def join_team(
    request: Request, user: User, team_id: str, *, role: str = "user", budget_id: str | None = None
) -> None:
    """Makes a user a member of a team; nothing happens where there is none of this id."""
    member = Member(user_id=user.id, user_email=user.email, role=role, budget_id=budget_id)
    stamp = stamped(request)
    changed = await office_of(request).storage.people.teams.change(
        team_id, lambda team: structs.replace(team, members=with_member(team, member), **stamp)
    )
    if changed is not None:
        await noted(request, "updated", "LiteLLM_TeamTable", team_id, *changed)


async def _leave_organizations(request: Request, people: People, user_id: str) -> None:
    """A user who is made anew under this id must not have the old one's roles."""
    stamp = stamped(request)

    def leave(organization: Organization) -> Organization:
        left = tuple(member for member in organization.members if member.user_id != user_id)
        return structs.replace(organization, members=left, **stamp)

    for organization in people.organizations.values():
        if organization.member(user_id) is not None:
            changed = await office_of(request).storage.people.organizations.change(organization.id, leave)
            if changed is not None:
                await noted(request, "updated", "LiteLLM_OrganizationTable", organization.id, *changed)


def _joining(written: Any) -> Joining:
    """Also what the configuration says of new users comes here."""
    if isinstance(written, Joining):
        return written
    return Joining(team_id=written) if isinstance(written, str) else Joining.model_validate(written)


async def _first_key(request: Request, user: User, alias: str | None) -> tuple[KeyRecord, str]:
    office, key = office_of(request), "sk-" + secrets.token_urlsafe(16)
    now_us = us_of(office.now())
    who = principal_of(request).user_id
    by = {} if who in (None, MASTER_USER) else {"created_by": who, "updated_by": who}
    record = KeyRecord(
        token=sha256(key.encode()).digest(),
        key_name=f"sk-...{key[-4:]}",
        key_alias=alias,
        user_id=user.id,
        created_us=now_us,
        updated_us=now_us,
        fields=by,
    )
    await office.storage.keys.create(record)
    await noted(request, "created", KEY_TABLE, record.token.hex(), None, noted_key(record))
    return record, key


def _made(user: User, teams: list[str], record: KeyRecord | None, key: str | None, spend_nano: int) -> dict[str, Any]:
    """A new key's fields, and in them the user's."""
    limits = user.limits
    blank = KeyRecord(token=b"", key_name="", user_id=user.id, created_us=user.created_us, updated_us=user.updated_us)
    fields = made_key(record or blank, key or "")
    if record is None:
        fields |= dict.fromkeys(("key", "token", "token_id", "key_name"))
    return {
        **fields,
        "models": list(user.models),
        "spend": spend_nano / 1e9,
        "max_budget": dollars_of(limits.max_budget_nano),
        "budget_duration": limits.budget_duration,
        "tpm_limit": limits.tpm,
        "rpm_limit": limits.rpm,
        "max_parallel_requests": limits.parallel_max,
        "metadata": user.metadata,
        "user_email": user.email,
        "user_role": user.role,
        "teams": teams or None,
        "user_alias": user.alias,
    }
