"""Organisations: several teams with one budget, and administrators of their own. A change is in force when its answer is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs
from pydantic import BaseModel
from starlette.requests import Request

from tollway.admin import Office
from tollway.admin.border import bad_request, nano_of, office_of, principal_of
from tollway.admin.entities import (
    Spends,
    budget_for,
    checked_name,
    forget_budget,
    forget_former_budget,
    not_found,
    noted,
    people_of,
    set_spend,
    spends_of,
    stamped,
)
from tollway.admin.limit_requests import Dollars, WithLimits, plain, rate
from tollway.admin.listing import Order, Page, PageSize, Search, fits, in_order, page_facts, page_of
from tollway.admin.people_views import Shown
from tollway.admin.roles import INTERNAL_USER, INTERNAL_VIEWER, ORG_ADMIN, may_manage_organization, may_see_organization
from tollway.errors import Forbidden
from tollway.storage.people import (
    ORGANIZATION_SCOPE,
    TEAM_SCOPE,
    EntityExists,
    Member,
    Organization,
    People,
    User,
)

_TABLE = "LiteLLM_OrganizationTable"
_ROLES = (ORG_ADMIN, INTERNAL_USER, INTERNAL_VIEWER)


class OrganizationFields(WithLimits):
    NOT_OBEYED = frozenset(
        {"tpd_limit", "allowed_models", "temp_budget_increase", "temp_budget_expiry", "object_permission"}
    )

    organization_alias: str | None = None
    budget_id: str | None = None
    models: list[str] | None = None
    metadata: dict[str, Any] | None = None
    model_rpm_limit: dict[str, int] | None = None
    model_tpm_limit: dict[str, int] | None = None
    spend: Dollars = None


class NewOrganization(OrganizationFields):
    organization_id: str | None = None


class UpdateOrganization(OrganizationFields):
    organization_id: str


class OrganizationsNamed(BaseModel):
    organization_ids: list[str]


class OrganizationsAsked(BaseModel):
    organizations: list[str]


class MemberFields(BaseModel):
    role: str
    user_id: str | None = None
    user_email: str | None = None


class AddMember(BaseModel):
    organization_id: str
    member: MemberFields | list[MemberFields]


class UpdateMember(BaseModel):
    organization_id: str
    user_id: str | None = None
    user_email: str | None = None
    role: str


class MemberNamed(BaseModel):
    organization_id: str
    user_id: str | None = None
    user_email: str | None = None


async def new(request: Request, body: NewOrganization) -> dict[str, Any]:
    office, fields = office_of(request), body.given()
    if not body.organization_alias:
        raise bad_request("organization_alias is required", "organization_alias")
    name = checked_name(body.organization_id, "organization_id")
    if await office.storage.people.organizations.get(name) is not None:
        raise bad_request(f"Organization {name!r} already exists.", "organization_id")
    organization = _changed(Organization(id=name, **stamped(request, new=True)), fields)
    budget_id = await budget_for(request, _owner(name), None, _limit_fields(fields))
    organization = structs.replace(organization, budget_id=budget_id)
    spend_nano = 0 if fields.get("spend") is None else nano_of(fields["spend"], "spend")
    try:
        await office.storage.people.organizations.create(organization, spend_nano=spend_nano)
    except EntityExists:
        raise bad_request(f"Organization {name!r} already exists.", "organization_id") from None
    await office.people_changed([(ORGANIZATION_SCOPE, name)] if spend_nano else ())
    await noted(request, "created", _TABLE, name, None, organization)
    return await _shown_one(request, organization)


async def update(request: Request, body: UpdateOrganization) -> dict[str, Any]:
    office, fields = office_of(request), body.given()
    store = office.storage.people.organizations
    before = await store.get(body.organization_id)
    if before is None:
        raise not_found("Organization", body.organization_id, "organization_id")
    _changed(before, fields)
    stamp = stamped(request)
    stamp["budget_id"] = await budget_for(request, _owner(before.id), before.budget_id, _limit_fields(fields))
    changed = await store.change(before.id, lambda one: structs.replace(_changed(one, fields), **stamp))
    if changed is None:
        raise not_found("Organization", body.organization_id, "organization_id")
    await forget_former_budget(request, _owner(before.id), changed[0].budget_id, changed[1].budget_id)
    spend_set = fields.get("spend") is not None
    if spend_set:
        await set_spend(request, ORGANIZATION_SCOPE, before.id, nano_of(fields["spend"], "spend"))
    await office.people_changed([(ORGANIZATION_SCOPE, before.id)] if spend_set else ())
    await noted(request, "updated", _TABLE, before.id, *changed)
    return await _shown_one(request, changed[1])


async def delete(request: Request, body: OrganizationsNamed) -> list[dict[str, Any]]:
    """Deletes organisations that have no team any more. Keys that named one belong to none."""
    office, people = office_of(request), await people_of(request)
    for name in body.organization_ids:
        if name not in people.organizations:
            raise not_found("Organization", name, "organization_ids")
        if team := next((team for team in people.teams.values() if team.organization_id == name), None):
            raise bad_request(f"Organization {name!r} has the team {team.id!r}; delete or move it first.")
    await office.flush()
    rows = [await _shown_one(request, people.organizations[name]) for name in body.organization_ids]
    deleted = await office.storage.people.organizations.delete(body.organization_ids)
    for organization in deleted:
        await forget_budget(request, _owner(organization.id), organization.budget_id)
    await office.people_changed()
    for organization in deleted:
        await noted(request, "deleted", _TABLE, organization.id, organization, None)
    return rows


async def info(request: Request, organization_id: str) -> dict[str, Any]:
    people = await people_of(request)
    organization = people.organizations.get(organization_id)
    if organization is None or not may_see_organization(principal_of(request), organization):
        raise not_found("Organization", organization_id, "organization_id")
    return _whole(office_of(request), organization, await spends_of(office_of(request)), people)


async def info_of(request: Request, body: OrganizationsAsked) -> list[dict[str, Any]]:
    """Several at once: LiteLLM's older way to ask."""
    office, people, principal = office_of(request), await people_of(request), principal_of(request)
    spends = await spends_of(office)
    return [
        _whole(office, one, spends, people)
        for name in body.organizations
        if (one := people.organizations.get(name)) is not None and may_see_organization(principal, one)
    ]


async def list_organizations(
    request: Request,
    org_id: str | None = None,
    org_alias: str | None = None,
    search: Search = None,
    page: Page = None,
    page_size: PageSize = 25,
    sort_by: str | None = None,
    sort_order: Order = "asc",
) -> list[dict[str, Any]] | dict[str, Any]:
    """Organisations with their teams and members; with `page` a page of them, with how many of each they have."""
    office, people, principal = office_of(request), await people_of(request), principal_of(request)
    spends = await spends_of(office)
    found = [
        one
        for one in people.organizations.values()
        if org_id in (None, one.id)
        and (org_alias is None or org_alias.lower() in one.alias.lower())
        and fits(search, one.alias, one.id)
        and may_see_organization(principal, one)
    ]
    if page is None:
        return [_whole(office, one, spends, people) for one in found]
    sorts: dict[str, Callable[[Organization], Any]] = {
        "organization_id": lambda one: one.id,
        "organization_alias": lambda one: one.alias.lower(),
        "created_at": lambda one: one.created_us,
        "spend": lambda one: spends.of(ORGANIZATION_SCOPE, one.id).spend_nano,
    }
    found = in_order(found, sorts, sort_by, sort_order, default="created_at")
    teams = Counter(team.organization_id for team in people.teams.values())
    rows = [
        {
            **_row(office, one, spends, people),
            "teams_count": teams[one.id],
            "members_count": len(one.members),
        }
        for one in page_of(found, page, page_size)
    ]
    return {"organizations": rows, **page_facts(len(found), page, page_size)}


async def add_member(request: Request, body: AddMember) -> dict[str, Any]:
    """Puts users into an organisation; makes those that are not known yet."""
    office, people = office_of(request), await people_of(request)
    organization = _managed(request, people, body.organization_id)
    asked = body.member if isinstance(body.member, list) else [body.member]
    members, users = [], []
    for one in asked:
        _check_role(one.role)
        user = _user_named(people, one.user_id, one.user_email)
        if user is None:
            user = User(
                id=checked_name(one.user_id, "user_id"),
                email=one.user_email,
                role=INTERNAL_VIEWER if one.role == INTERNAL_VIEWER else INTERNAL_USER,
                **stamped(request, new=True),
            )
            await office.storage.people.users.create(user)
            await noted(request, "created", "LiteLLM_UserTable", user.id, None, user)
        if organization.member(user.id) is not None:
            raise bad_request(f"User already in organization. user_id={user.id}", "member")
        members.append(Member(user_id=user.id, user_email=user.email, role=one.role))
        users.append(user)
    await _change(request, organization.id, lambda one: structs.replace(one, members=(*one.members, *members)))
    shown, spends = Shown(office.config.money, office.now()), await spends_of(office)
    return {
        "organization_id": organization.id,
        "updated_users": [shown.user(user, spends.of("user", user.id), []) for user in users],
        "updated_organization_memberships": [_membership(organization, member) for member in members],
    }


async def update_member(request: Request, body: UpdateMember) -> dict[str, Any]:
    _check_role(body.role)
    organization = _managed(request, await people_of(request), body.organization_id)
    member = structs.replace(_member_named(organization, body.user_id, body.user_email), role=body.role)

    def change(one: Organization) -> Organization:
        members = tuple(member if other.user_id == member.user_id else other for other in one.members)
        return structs.replace(one, members=members)

    await _change(request, organization.id, change)
    return _membership(organization, member)


async def delete_member(request: Request, body: MemberNamed) -> dict[str, Any]:
    organization = _managed(request, await people_of(request), body.organization_id)
    member = _member_named(organization, body.user_id, body.user_email)

    def change(one: Organization) -> Organization:
        left = tuple(other for other in one.members if other.user_id != member.user_id)
        return structs.replace(one, members=left)

    await _change(request, organization.id, change)
    return _membership(organization, member)


def _owner(name: str) -> str:
    return f"organization/{name}"


def _limit_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that its budget has; the rates by model are the organisation's own."""
    return {name: value for name, value in fields.items() if name not in ("model_rpm_limit", "model_tpm_limit")}


def _changed(organization: Organization, fields: Mapping[str, Any]) -> Organization:
    changes: dict[str, Any] = {}
    if "organization_alias" in fields:
        changes["alias"] = fields["organization_alias"] or ""
    if "models" in fields:
        changes["models"] = tuple(fields["models"] or ())
    if "metadata" in fields:
        changes["metadata"] = plain(fields["metadata"]) or {}
    for name, ours in (("model_rpm_limit", "model_rpm"), ("model_tpm_limit", "model_tpm")):
        if name in fields:
            changes[ours] = {model: rate(value, name) for model, value in (fields[name] or {}).items()}
    return structs.replace(organization, **changes)


def _managed(request: Request, people: People, name: str) -> Organization:
    organization = people.organizations.get(name)
    if organization is None:
        raise not_found("Organization", name, "organization_id")
    if not may_manage_organization(principal_of(request), organization):
        raise Forbidden(f"You do not administrate the organisation {name!r}.", param="organization_id")
    return organization


async def _change(request: Request, name: str, change: Any) -> None:
    office, stamp = office_of(request), stamped(request)
    changed = await office.storage.people.organizations.change(name, lambda one: structs.replace(change(one), **stamp))
    if changed is None:
        raise not_found("Organization", name, "organization_id")
    await office.people_changed()
    await noted(request, "updated", _TABLE, name, *changed)


def _check_role(role: str) -> None:
    if role not in _ROLES:
        raise bad_request(f"role must be one of {', '.join(_ROLES)}. Received: {role}", "role")


def _user_named(people: People, user_id: str | None, user_email: str | None) -> User | None:
    if user_id is None and user_email is None:
        raise bad_request("A member is named by user_id or user_email.", "member")
    if user_id is not None:
        return people.users.get(user_id)
    return next((one for one in people.users.values() if one.email == user_email), None)


def _member_named(organization: Organization, user_id: str | None, user_email: str | None) -> Member:
    for member in organization.members:
        if member.user_id == user_id or (
            user_id is None and user_email is not None and member.user_email == user_email
        ):
            return member
    raise bad_request(f"User={user_id or user_email} is not in the organization {organization.id!r}.", "user_id")


def _membership(organization: Organization, member: Member) -> dict[str, Any]:
    return {
        "user_id": member.user_id,
        "organization_id": organization.id,
        "user_role": member.role,
        "spend": 0.0,
        "budget_id": None,
    }


async def _shown_one(request: Request, organization: Organization) -> dict[str, Any]:
    office = office_of(request)
    return _whole(office, organization, await spends_of(office), await people_of(request))


def _whole(office: Office, organization: Organization, spends: Spends, people: People) -> dict[str, Any]:
    shown = Shown(office.config.money, office.now())
    teams = [team for team in people.teams.values() if team.organization_id == organization.id]
    return {
        **_row(office, organization, spends, people),
        "members": [_membership(organization, member) for member in organization.members],
        "teams": [shown.team(team, spends.of(TEAM_SCOPE, team.id)) for team in teams],
    }


def _row(office: Office, organization: Organization, spends: Spends, people: People) -> dict[str, Any]:
    shown = Shown(office.config.money, office.now())
    budget = people.budgets.get(organization.budget_id) if organization.budget_id is not None else None
    return shown.organization(organization, spends.of(ORGANIZATION_SCOPE, organization.id), budget)
