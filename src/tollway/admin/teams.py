"""Teams: made, changed, blocked, deleted; who is in them, and what each member may spend. A change is in force when its answer
is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query
from msgspec import structs
from pydantic import BaseModel, Field
from starlette.requests import Request

from tollway.admin import Office, Principal
from tollway.admin.border import bad_request, nano_of, office_of, principal_of
from tollway.admin.entities import (
    Spends,
    budget_for,
    checked_name,
    delete_keys_of,
    forget_budget,
    member_owner,
    new_id,
    not_found,
    noted,
    people_of,
    set_spend,
    spend_of,
    spends_of,
    stamped,
    with_member,
)
from tollway.admin.key_views import blocked_key
from tollway.admin.limit_requests import Asked, Dollars, WithAllLimits, changed_limits, plain, with_limits_of_metadata
from tollway.admin.listing import PageSize, Search, fits, in_order, page_facts, page_of
from tollway.admin.people_views import Shown
from tollway.admin.roles import (
    INTERNAL_USER,
    MEMBER_PERMISSIONS,
    TEAM_ROLES,
    may_manage_organization,
    may_manage_team,
    may_see_all,
    may_see_team,
)
from tollway.errors import Forbidden, PublicError
from tollway.storage import KEY_SCOPE, KeyFilter, KeyRecord
from tollway.storage.people import (
    MEMBER_SCOPE,
    TEAM_SCOPE,
    USER_SCOPE,
    EntityExists,
    Limits,
    Member,
    People,
    Team,
    User,
    member_id,
)

_TABLE = "LiteLLM_TeamTable"
KEYS_MAX = 1_000
#: Members that may be put into a team at once.
BULK_MAX = 500


class MemberFields(BaseModel):
    role: str = "user"
    user_id: str | None = None
    user_email: str | None = None


class TeamFields(WithAllLimits):
    NOT_OBEYED = frozenset(
        {
            *("tpd_limit", "router_settings", "access_group_ids", "guardrails", "policies", "prompts", "tags"),
            *("object_permission", "allowed_passthrough_routes", "denied_passthrough_routes"),
            *("disable_global_guardrails", "secret_manager_settings", "rpm_limit_type", "tpm_limit_type"),
            *("default_estimated_output_tokens", "default_estimated_output_tokens_per_model", "mcp_rpm_limit"),
            *("team_member_key_duration", "allowed_vector_store_indexes", "default_team_member_models"),
            *("enforced_batch_output_expires_after", "enforced_file_expires_after", "admins", "members"),
            *("allow_team_guardrail_config", "send_invite_email"),
        }
    )

    team_alias: str | None = None
    organization_id: str | None = None
    models: list[str] | None = None
    metadata: dict[str, Any] | None = None
    blocked: bool | None = None
    spend: Dollars = None
    model_aliases: dict[str, str] | None = None
    team_member_permissions: list[str] | None = None
    team_member_budget: Dollars = None
    team_member_budget_duration: str | None = None
    team_member_rpm_limit: int | None = None
    team_member_tpm_limit: int | None = None


class NewTeam(TeamFields):
    team_id: str | None = None
    members_with_roles: list[MemberFields] | None = None


class UpdateTeam(TeamFields):
    team_id: str


class TeamNamed(BaseModel):
    team_id: str


class TeamsNamed(BaseModel):
    team_ids: list[str]


class MemberLimits(Asked):
    NOT_OBEYED = frozenset({"allowed_models", "temp_budget_increase", "temp_budget_expiry"})

    team_id: str
    max_budget_in_team: Dollars = None
    budget_duration: str | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None


class AddMember(MemberLimits):
    member: MemberFields | list[MemberFields]


class UpdateMember(MemberLimits):
    user_id: str | None = None
    user_email: str | None = None
    role: str | None = None


class AddMembers(MemberLimits):
    members: list[MemberFields] | None = Field(None, max_length=BULK_MAX)
    all_users: bool = False


class MemberNamed(BaseModel):
    team_id: str
    user_id: str | None = None
    user_email: str | None = None


class TeamModels(BaseModel):
    team_id: str
    models: list[str]


class PermissionsOfTeams(BaseModel):
    permissions: list[str]
    team_ids: list[str] | None = None
    apply_to_all_teams: bool = False


class TeamPermissions(BaseModel):
    team_id: str
    team_member_permissions: list[str]


_MEMBER_LIMITS = {
    "team_member_budget": "max_budget",
    "team_member_budget_duration": "budget_duration",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
}


# --- teams


async def new(request: Request, body: NewTeam) -> dict[str, Any]:
    """Makes a team; who makes it is its first administrator."""
    office, principal = office_of(request), principal_of(request)
    people = await people_of(request)
    fields = with_limits_of_metadata(body.given())
    _check_organization(principal, fields.get("organization_id"), people, making=True)
    team_id = checked_name(body.team_id, "team_id")
    team = _changed(Team(id=team_id, **stamped(request, new=True)), fields)
    spend_nano = 0 if fields.get("spend") is None else nano_of(fields["spend"], "spend")
    if team_id in people.teams:
        raise bad_request(f"Team id = {team_id} already exists. Please use a different team id.", "team_id")
    asked = [*(body.members_with_roles or ())]
    if principal.user_id is not None and all(one.user_id != principal.user_id for one in asked):
        asked.append(MemberFields(role="admin", user_id=principal.user_id))
    for one in asked:
        member, _ = await _found_member(request, one, people, known_only=one.user_id == principal.user_id)
        team = structs.replace(team, members=with_member(team, member))
    team = structs.replace(team, member_budget_id=await _member_budget(request, team, fields))
    try:
        await office.storage.people.teams.create(team, spend_nano=spend_nano)
    except EntityExists:
        raise bad_request(f"Team id = {team_id} already exists.", "team_id") from None
    await office.people_changed([(TEAM_SCOPE, team_id)] if spend_nano else ())
    await noted(request, "created", _TABLE, team_id, None, team)
    return _shown(office).team(team, await spend_of(office, TEAM_SCOPE, team_id))


async def update(request: Request, body: UpdateTeam) -> dict[str, Any]:
    """Changes the fields that are given and no other; `null` takes a limit away."""
    office, principal = office_of(request), principal_of(request)
    people = await people_of(request)
    before = _managed(principal, people, body.team_id)
    fields = with_limits_of_metadata(body.given())
    _check_organization(principal, fields.get("organization_id"), people)
    if not principal.is_admin and not _manages_organization_of(principal, before, people):
        _refuse_own_limits(fields)
    if "organization_id" in fields and fields["organization_id"] is None and not principal.is_admin:
        raise Forbidden("Only an administrator of the gateway may take a team out of its organisation.")
    _changed(before, fields)  # what is wrong is found before anything is begun
    stamp = {**stamped(request), "member_budget_id": await _member_budget(request, before, fields)}
    changed = await office.storage.people.teams.change(
        body.team_id, lambda team: structs.replace(_changed(team, fields), **stamp)
    )
    if changed is None:
        raise not_found("Team", body.team_id, "team_id")
    spend_set = fields.get("spend") is not None
    if spend_set:
        await set_spend(request, TEAM_SCOPE, body.team_id, nano_of(fields["spend"], "spend"))
    await office.people_changed([(TEAM_SCOPE, body.team_id)] if spend_set else ())
    await noted(request, "updated", _TABLE, body.team_id, *changed)
    spend = await spend_of(office, TEAM_SCOPE, body.team_id)
    return {"team_id": body.team_id, "data": _shown(office).team_row(changed[1], spend)}


async def delete(request: Request, body: TeamsNamed) -> dict[str, Any]:
    """Deletes teams with their keys. What they spent stays in the spend rows."""
    office, principal = office_of(request), principal_of(request)
    people = await people_of(request)
    for team_id in body.team_ids:
        team = people.teams.get(team_id)
        if team is None:
            raise not_found("Team", team_id, "team_id")
        if not principal.is_admin and not _manages_organization_of(principal, team, people):
            raise Forbidden("Only an administrator of the gateway or of the team's organisation may delete it.")
    await office.flush()  # what they spent until now is stored under their names first
    deleted = await office.storage.people.teams.delete(body.team_ids)
    for team in deleted:
        await delete_keys_of(request, KeyFilter(team_id=team.id))
        members = [member_id(team.id, member.user_id) for member in team.members]
        await office.storage.people.forget_spent([(MEMBER_SCOPE, name) for name in members])
        await forget_budget(request, _member_budget_owner(team.id), team.member_budget_id)
        for member in team.members:
            await forget_budget(request, member_owner(team.id, member.user_id), member.budget_id)
    await office.people_changed()
    for team in deleted:
        await noted(request, "deleted", _TABLE, team.id, team, None)
    return {"deleted_teams": [team.id for team in deleted]}


async def block(request: Request, body: TeamNamed) -> dict[str, Any]:
    """The team's keys are refused from now on; calls that they began go on."""
    return await _block(request, body.team_id, blocked=True)


async def unblock(request: Request, body: TeamNamed) -> dict[str, Any]:
    return await _block(request, body.team_id, blocked=False)


async def _block(request: Request, team_id: str, *, blocked: bool) -> dict[str, Any]:
    changed = await _change(request, team_id, {"blocked": blocked}, action="blocked" if blocked else "unblocked")
    office = office_of(request)
    return _shown(office).team_row(changed, await spend_of(office, TEAM_SCOPE, team_id))


async def add_models(request: Request, body: TeamModels) -> dict[str, Any]:
    team = _managed(principal_of(request), await people_of(request), body.team_id)
    return await _set_models(request, team, dict.fromkeys((*team.models, *body.models)))


async def delete_models(request: Request, body: TeamModels) -> dict[str, Any]:
    """Takes models away. The last one cannot be: a team without any named may call all."""
    team = _managed(principal_of(request), await people_of(request), body.team_id)
    left = [model for model in team.models if model not in body.models]
    if team.models and not left:
        raise bad_request("A team must keep one model: one that names none may call all.", "models")
    return await _set_models(request, team, left)


async def _set_models(request: Request, team: Team, models: Any) -> dict[str, Any]:
    office, principal = office_of(request), principal_of(request)
    people = await people_of(request)
    if not principal.is_admin and not _manages_organization_of(principal, team, people):
        _refuse_own_limits({"models": models})
    changed = await _change(request, team.id, {"models": tuple(models)})
    return _shown(office).team(changed, await spend_of(office, TEAM_SCOPE, team.id))


async def permissions(request: Request, team_id: str) -> dict[str, Any]:
    people = await people_of(request)
    team = _seen(principal_of(request), people, team_id)
    return {
        "team_id": team.id,
        "team_member_permissions": list(team.member_permissions),
        "all_available_permissions": list(MEMBER_PERMISSIONS),
    }


async def update_permissions(request: Request, body: TeamPermissions) -> dict[str, Any]:
    _check_permissions(body.team_member_permissions, "team_member_permissions")
    office = office_of(request)
    _managed(principal_of(request), await people_of(request), body.team_id)
    changed = await _change(request, body.team_id, {"member_permissions": tuple(body.team_member_permissions)})
    return _shown(office).team(changed, await spend_of(office, TEAM_SCOPE, body.team_id))


async def add_permissions(request: Request, body: PermissionsOfTeams) -> dict[str, Any]:
    """Lets the plain members of several teams, or of all, do more with their teams' keys; nothing is taken away."""
    _check_permissions(body.permissions, "permissions")
    if bool(body.team_ids) == body.apply_to_all_teams:
        raise bad_request("Say which teams: team_ids, or apply_to_all_teams.", "team_ids")
    people = await people_of(request)
    for team_id in body.team_ids or ():
        if team_id not in people.teams:
            raise not_found("Team", team_id, "team_ids")
    changed = 0
    for team_id in body.team_ids or people.teams:
        before = people.teams[team_id].member_permissions
        after = tuple(dict.fromkeys((*before, *body.permissions)))
        if after != before:
            await _change(request, team_id, {"member_permissions": after})
            changed += 1
    return {
        "message": f"{changed} teams were changed.",
        "teams_updated": changed,
        "permissions_appended": body.permissions,
    }


def _check_permissions(permissions: Sequence[str], param: str) -> None:
    for permission in permissions:
        if permission not in MEMBER_PERMISSIONS:
            raise bad_request(f"{permission!r} is no permission; these are: {', '.join(MEMBER_PERMISSIONS)}.", param)


# --- looking


async def info(request: Request, team_id: str) -> dict[str, Any]:
    office, people = office_of(request), await people_of(request)
    team = _seen(principal_of(request), people, team_id)
    spends, shown = await spends_of(office, _scopes((team,))), _shown(office)
    keys = await keys_of(office, KeyFilter(team_id=team_id))
    memberships = []
    for member in team.members:
        row = _membership(shown, team, member, spends, people)
        source = "member" if member.budget_id is not None else "team_default"
        memberships.append({**row, "budget_source": source if row["litellm_budget_table"] is not None else "none"})
    default = people.budgets.get(team.member_budget_id) if team.member_budget_id is not None else None
    team_info = shown.team_info(team, spends.of(TEAM_SCOPE, team_id), people.users, default)
    return {
        "team_id": team_id,
        "team_info": {**team_info, "caller_edit_access": _edit_access(principal_of(request), team, people)},
        "keys": [blocked_key(key, office.spend_of(KEY_SCOPE, key.token.hex())) for key in keys],
        "team_memberships": memberships,
    }


async def list_teams(
    request: Request, user_id: str | None = None, organization_id: str | None = None
) -> list[dict[str, Any]]:
    office, people = office_of(request), await people_of(request)
    teams = _visible(principal_of(request), people, user_id, organization_id)
    spends, shown = await spends_of(office, _scopes(teams)), _shown(office)
    rows = []
    for team in teams:
        keys = await keys_of(office, KeyFilter(team_id=team.id))
        rows.append(
            {
                **shown.team(team, spends.of(TEAM_SCOPE, team.id)),
                "team_memberships": [_membership(shown, team, member, spends, people) for member in team.members],
                "keys": [blocked_key(key, office.spend_of(KEY_SCOPE, key.token.hex())) for key in keys],
            }
        )
    return rows


async def list_v2(
    request: Request,
    user_id: str | None = None,
    organization_id: str | None = None,
    team_id: str | None = None,
    team_alias: str | None = None,
    search: Search = None,
    page: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    page_size: PageSize = 10,
    sort_by: str | None = None,
    sort_order: str = "asc",
) -> dict[str, Any]:
    """Teams, page by page, with how many members and keys each has."""
    office, people = office_of(request), await people_of(request)
    found = [
        team
        for team in _visible(principal_of(request), people, user_id, organization_id)
        if team_id in (None, team.id)
        and (team_alias is None or team_alias.lower() in (team.alias or "").lower())
        and fits(search, team.alias, team.id)
    ]
    sorts: dict[str, Callable[[Team], Any]] = {
        "team_id": lambda team: team.id,
        "team_alias": lambda team: team.alias.lower() if team.alias else None,
        "created_at": lambda team: team.created_us,
        "spend": lambda team: spends.of(TEAM_SCOPE, team.id).spend_nano,
        "max_budget": lambda team: team.limits.max_budget_nano,
    }
    spends = await spends_of(office, None if sort_by == "spend" else ())
    found = in_order(found, sorts, sort_by, sort_order, default="created_at")
    rows, teams, shown = [], page_of(found, page, page_size), _shown(office)
    spends = await spends_of(office, [(TEAM_SCOPE, team.id) for team in teams])
    for team in teams:
        _, keys_count = await office.storage.keys.page(KeyFilter(team_id=team.id), limit=1)
        organization = people.organizations.get(team.organization_id or "")
        rows.append(
            {
                **shown.team(team, spends.of(TEAM_SCOPE, team.id)),
                "organization_alias": organization.alias if organization is not None else None,
                "members_count": len(team.members),
                "keys_count": keys_count,
            }
        )
    return {"teams": rows, **page_facts(len(found), page, page_size)}


async def available(request: Request) -> list[dict[str, Any]]:
    """Teams that a user may join by itself: there are none, an administrator puts everybody in."""
    del request
    return []


# --- members


async def add_member(request: Request, body: AddMember) -> dict[str, Any]:
    """Puts users into a team; makes those that are not known yet. A budget is each one's own."""
    office = office_of(request)
    people = await people_of(request)
    team = _managed(principal_of(request), people, body.team_id)
    asked = body.member if isinstance(body.member, list) else [body.member]
    limits = _member_fields(body.given())
    changed_limits(Limits(), limits)
    users: list[User | None] = []
    members: list[Member] = []
    for one in asked:
        member, user = await _found_member(request, one, people)
        if team.member(member.user_id) is not None or member.user_id in {other.user_id for other in members}:
            raise bad_request(f"User already in team. Member: user_id={member.user_id}", "member")
        budget_id = await budget_for(request, member_owner(team.id, member.user_id), None, limits)
        members.append(structs.replace(member, budget_id=budget_id))
        users.append(user)

    def change(before: Team) -> Team:
        for member in members:
            before = structs.replace(before, members=with_member(before, member))
        return before

    changed = await _change(request, team.id, change)
    people = await people_of(request)
    named = [
        *_scopes((structs.replace(changed, members=tuple(members)),)),
        *((USER_SCOPE, one.id) for one in users if one),
    ]
    spends, shown = await spends_of(office, named), _shown(office)
    return {
        **shown.team(changed, spends.of(TEAM_SCOPE, team.id)),
        "updated_users": [
            shown.user(user, spends.of(USER_SCOPE, user.id), teams_of(people, user.id))
            for user in users
            if user is not None
        ],
        "updated_team_memberships": [_membership(shown, changed, member, spends, people) for member in members],
    }


async def add_members(request: Request, body: AddMembers) -> dict[str, Any]:
    """Puts users into a team, each by itself: one that cannot be added keeps no other out. `all_users` is everybody who is not
    in it yet.
    """
    office, people = office_of(request), await people_of(request)
    team = _managed(principal_of(request), people, body.team_id)
    asked = body.members or []
    if body.all_users:
        if not principal_of(request).is_admin:
            raise Forbidden("Only an administrator of the gateway may add everybody.", param="all_users")
        asked = [MemberFields(user_id=name) for name in people.users if team.member(name) is None]
    elif not asked:
        raise bad_request("Say whom: members, or all_users.", "members")
    limits = {name: value for name, value in body.given().items() if name not in ("members", "all_users", "team_id")}
    results: list[dict[str, Any]] = []
    for one in asked:
        result = {"user_id": one.user_id, "user_email": one.user_email, "success": True, "error": None}
        added: dict[str, Any] = {}
        try:
            added = await add_member(request, AddMember(team_id=body.team_id, member=one, **limits))
        except PublicError as error:
            result |= {"success": False, "error": error.message}
        users, places = added.get("updated_users") or [None], added.get("updated_team_memberships") or [None]
        if users[0] is not None:
            result["user_id"] = users[0]["user_id"]
        results.append({**result, "updated_user": users[0], "updated_team_membership": places[0]})
    done = sum(result["success"] for result in results)
    after = await office.storage.people.teams.get(body.team_id)
    spend = await spend_of(office, TEAM_SCOPE, body.team_id)
    return {
        "team_id": body.team_id,
        "results": results,
        "total_requested": len(results),
        "successful_additions": done,
        "failed_additions": len(results) - done,
        "updated_team": None if after is None else _shown(office).team(after, spend),
    }


async def update_member(request: Request, body: UpdateMember) -> dict[str, Any]:
    people = await people_of(request)
    team = _managed(principal_of(request), people, body.team_id)
    member = _member_named(team, body.user_id, body.user_email)
    fields = _member_fields(body.given())
    changed_limits(Limits(), fields)
    changes: dict[str, Any] = {}
    if body.role is not None:
        changes["role"] = _checked_role(body.role)
    if fields:
        changes["budget_id"] = await budget_for(
            request, member_owner(team.id, member.user_id), member.budget_id, fields
        )
    after = structs.replace(member, **changes)
    await _change(request, team.id, lambda before: structs.replace(before, members=with_member(before, after)))
    return {
        "user_id": member.user_id,
        "user_email": body.user_email,
        "team_id": team.id,
        "max_budget_in_team": None if body.max_budget_in_team is None else float(body.max_budget_in_team),
        "tpm_limit": body.tpm_limit,
        "rpm_limit": body.rpm_limit,
        "budget_duration": body.budget_duration,
        "allowed_models": None,
        "temp_budget_increase": None,
        "temp_budget_expiry": None,
    }


async def delete_member(request: Request, body: MemberNamed) -> dict[str, Any]:
    """Takes a user out of a team, and deletes the keys that the user had in it."""
    office, people = office_of(request), await people_of(request)
    team = _managed(principal_of(request), people, body.team_id)
    member = _member_named(team, body.user_id, body.user_email)
    await office.flush()
    await remove_member(request, team, member)
    await office.people_changed()
    after = await office.storage.people.teams.get(team.id)
    if after is None:
        raise not_found("Team", team.id, "team_id")
    return _shown(office).team(after, await spend_of(office, TEAM_SCOPE, team.id))


async def remove_member(request: Request, team: Team, member: Member) -> None:
    """Not in force before `people_changed`."""
    office = office_of(request)
    stamp = stamped(request)

    def change(before: Team) -> Team:
        left = tuple(one for one in before.members if one.user_id != member.user_id)
        return structs.replace(before, members=left, **stamp)

    changed = await office.storage.people.teams.change(team.id, change)
    if changed is None:
        return
    await delete_keys_of(request, KeyFilter(team_id=team.id, user_id=member.user_id))
    await office.storage.people.forget_spent([(MEMBER_SCOPE, member_id(team.id, member.user_id))])
    await forget_budget(request, member_owner(team.id, member.user_id), member.budget_id)
    await noted(request, "updated", _TABLE, team.id, *changed)


# --- pieces


def teams_of(people: People, user_id: str) -> list[str]:
    return [team.id for team in people.teams.values() if team.member(user_id) is not None]


async def keys_of(office: Office, which: KeyFilter) -> list[KeyRecord]:
    """The newest keys; at most KEYS_MAX."""
    records, _ = await office.storage.keys.page(which, limit=KEYS_MAX)
    return records


def _shown(office: Office) -> Shown:
    return Shown(office.config.money, office.now())


def _managed(principal: Principal, people: People, team_id: str) -> Team:
    team = people.teams.get(team_id)
    if team is None:
        raise not_found("Team", team_id, "team_id")
    if not may_manage_team(principal, team, people):
        raise Forbidden(f"Only an administrator may change the team {team_id!r}.", param="team_id")
    return team


def _seen(principal: Principal, people: People, team_id: str) -> Team:
    team = people.teams.get(team_id)
    if team is None or not may_see_team(principal, team, people):
        raise not_found("Team", team_id, "team_id")
    return team


def _visible(principal: Principal, people: People, user_id: str | None, organization_id: str | None) -> list[Team]:
    return [
        team
        for team in people.teams.values()
        if (user_id is None or team.member(user_id) is not None)
        and organization_id in (None, team.organization_id)
        and (may_see_all(principal) or may_see_team(principal, team, people))
    ]


def _edit_access(principal: Principal, team: Team, people: People) -> dict[str, Any]:
    """What whoever asks may change of a team, in LiteLLM's words."""
    if principal.is_admin or _manages_organization_of(principal, team, people):
        return {"kind": "unrestricted"}
    if may_manage_team(principal, team, people):
        return {"kind": "team_admin", "editable_fields": ["team_alias", "metadata", *_MEMBER_LIMITS]}
    return {"kind": "none"}


def _manages_organization_of(principal: Principal, team: Team, people: People) -> bool:
    found = people.organizations.get(team.organization_id) if team.organization_id is not None else None
    return may_manage_organization(principal, found)


def _refuse_own_limits(fields: Mapping[str, Any]) -> None:
    """A team's own administrator says who is in it, not what it may spend and call."""
    for name in (*WithAllLimits.model_fields, "models", "organization_id", "spend", "blocked", "model_aliases"):
        if name in fields:
            raise Forbidden(f"Only an administrator of the gateway may change {name} of a team.", param=name)


def _check_organization(
    principal: Principal, organization_id: str | None, people: People, *, making: bool = False
) -> None:
    if organization_id is None:
        if making and not principal.is_admin:
            raise Forbidden("Only an administrator of the gateway may make a team without an organisation.")
        return
    organization = people.organizations.get(organization_id)
    if organization is None:
        raise bad_request(
            f"Organization doesn't exist in db. Organization={organization_id}. "
            "Create organization via `/organization/new` call.",
            "organization_id",
        )
    if not may_manage_organization(principal, organization):
        raise Forbidden(f"You do not administrate the organisation {organization_id!r}.", param="organization_id")


def _changed(team: Team, fields: Mapping[str, Any]) -> Team:
    changes: dict[str, Any] = {"limits": changed_limits(team.limits, dict(fields))}
    for name, ours in (("team_alias", "alias"), ("organization_id", "organization_id")):
        if name in fields:
            changes[ours] = fields[name]
    if "models" in fields:
        changes["models"] = tuple(fields["models"] or ())
    if "metadata" in fields:
        changes["metadata"] = plain(fields["metadata"]) or {}
    if "model_aliases" in fields:
        changes["aliases"] = fields["model_aliases"] or {}
    if fields.get("blocked") is not None:
        changes["blocked"] = fields["blocked"]
    if "team_member_permissions" in fields:
        changes["member_permissions"] = tuple(fields["team_member_permissions"] or ())
    return structs.replace(team, **changes)


async def _change(request: Request, team_id: str, changes: Any, *, action: str = "updated") -> Team:
    """Changes a team by fields or by a function of it, and puts it in force."""
    office, stamp = office_of(request), stamped(request)

    def change(team: Team) -> Team:
        changed = changes(team) if callable(changes) else structs.replace(team, **changes)
        return structs.replace(changed, **stamp)

    changed = await office.storage.people.teams.change(team_id, change)
    if changed is None:
        raise not_found("Team", team_id, "team_id")
    await office.people_changed()
    await noted(request, action, _TABLE, team_id, *changed)
    return changed[1]


def _member_budget_owner(team_id: str) -> str:
    return f"team_members/{team_id}"


async def _member_budget(request: Request, team: Team, fields: Mapping[str, Any]) -> str | None:
    limits = {ours: fields[name] for name, ours in _MEMBER_LIMITS.items() if name in fields}
    return await budget_for(request, _member_budget_owner(team.id), team.member_budget_id, limits)


def _member_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: given[name] for name in ("budget_duration", "rpm_limit", "tpm_limit") if name in given}
    if "max_budget_in_team" in given:
        fields["max_budget"] = given["max_budget_in_team"]
    return fields


def _checked_role(role: str) -> str:
    if role not in TEAM_ROLES:
        raise bad_request(f"role must be one of {', '.join(TEAM_ROLES)}. Received: {role}", "role")
    return role


async def _found_member(
    request: Request, asked: MemberFields, people: People, *, known_only: bool = False
) -> tuple[Member, User | None]:
    """The member and the user behind it, who is made where nobody knows one."""
    role = _checked_role(asked.role)
    if asked.user_id is None and asked.user_email is None:
        raise bad_request("A member is named by user_id or user_email.", "member")
    user = people.users.get(asked.user_id) if asked.user_id is not None else None
    if user is None and asked.user_id is None:
        user = next((one for one in people.users.values() if one.email == asked.user_email), None)
    if user is None and not known_only:
        user = User(
            id=checked_name(asked.user_id, "user_id") if asked.user_id is not None else new_id(),
            email=asked.user_email,
            role=INTERNAL_USER,
            **stamped(request, new=True),
        )
        try:
            await office_of(request).storage.people.users.create(user)
            await noted(request, "created", "LiteLLM_UserTable", user.id, None, user)
        except EntityExists:
            user = await office_of(request).storage.people.users.get(user.id)
    user_id = user.id if user is not None else asked.user_id or ""
    return Member(user_id=user_id, user_email=user.email if user is not None else asked.user_email, role=role), user


def _member_named(team: Team, user_id: str | None, user_email: str | None) -> Member:
    for member in team.members:
        if member.user_id == user_id or (
            user_id is None and user_email is not None and member.user_email == user_email
        ):
            return member
    raise bad_request(f"User={user_id or user_email} is not in the team {team.id!r}.", "user_id")


def _scopes(teams: Iterable[Team]) -> list[tuple[str, str]]:
    """Whose spend is shown with these teams: their own, and each member's in them."""
    return [
        scope
        for team in teams
        for scope in (
            (TEAM_SCOPE, team.id),
            *((MEMBER_SCOPE, member_id(team.id, member.user_id)) for member in team.members),
        )
    ]


def _membership(shown: Shown, team: Team, member: Member, spends: Spends, people: People) -> dict[str, Any]:
    budget = people.budgets.get(member.budget_id or team.member_budget_id or "")
    return shown.membership(team, member, spends.of(MEMBER_SCOPE, member_id(team.id, member.user_id)), budget)
