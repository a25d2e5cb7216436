"""What one team, user, organisation, customer or tag spent: day by day, and by model, by whom and with which key."""

from __future__ import annotations

from datetime import timedelta

from fastapi import Response
from msgspec import Struct, structs
from msgspec.json import encode
from starlette.requests import Request

from tollway.admin import Office, Principal
from tollway.admin.activity import Day
from tollway.admin.border import DAY_US, bad_request, office_of, principal_of
from tollway.admin.dashboard.files import NOT_KEPT
from tollway.admin.dashboard.overview import DAYS_MAX, Sum, by_day, day_asked, each_day, largest, us_of_day
from tollway.admin.entities import people_of
from tollway.admin.roles import may_manage_team, may_see_all, may_see_organization
from tollway.errors import Forbidden
from tollway.storage import SpendColumn, SpendFilter
from tollway.storage.people import People


class SpendShown(Struct, frozen=True, kw_only=True):
    """Days are in UTC; every day that was asked for is there. The others are the largest, the one that spent most first."""

    days: list[Sum]
    models: list[Sum]
    users: list[Sum]
    teams: list[Sum]
    keys: list[Sum]


async def spend(
    request: Request,
    team_id: str | None = None,
    user_id: str | None = None,
    organization_id: str | None = None,
    end_user: str | None = None,
    tag: str | None = None,
    start: Day = None,
    end: Day = None,
) -> Response:
    """The spend of the one who is named, from `start` to `end`, both included; without them, of the last thirty days."""
    office, people = office_of(request), await people_of(request)
    of = SpendFilter(team_id=team_id, user_id=user_id, organization_id=organization_id, end_user=end_user, tag=tag)
    _check(principal_of(request), of, people)
    last = day_asked(end, "end") or office.now().date()
    first = day_asked(start, "start") or last - timedelta(days=29)
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        raise bad_request(f"From start to end there may be 1 to {DAYS_MAX} days.", "end")
    await office.flush()
    of = structs.replace(of, from_us=us_of_day(first), until_us=us_of_day(last) + DAY_US)
    shown = SpendShown(
        days=each_day(by_day(await office.storage.spend.groups(("day",), of)), first, last),
        models=await _sums(office, "model_group", of),
        users=await _sums(office, "user_id", of),
        teams=await _sums(office, "team_id", of),
        keys=await _sums(office, "key", of),
    )
    await _name(office, shown, people)
    return Response(encode(shown), media_type="application/json", headers=NOT_KEPT)


async def _sums(office: Office, by: SpendColumn, of: SpendFilter) -> list[Sum]:
    return largest(await office.storage.spend.groups((by,), of), by)


async def _name(office: Office, shown: SpendShown, people: People) -> None:
    """Says what people call those who have ids."""
    for one in shown.users:
        user = people.users.get(one.name)
        one.alias = user.email or user.alias if user is not None else None
    for one in shown.teams:
        team = people.teams.get(one.name)
        one.alias = team.alias if team is not None else None
    for one in shown.keys:
        record = await office.storage.keys.get(bytes.fromhex(one.name)) if one.name else None
        one.alias = record.key_alias or record.key_name if record is not None else None


def _check(principal: Principal, of: SpendFilter, people: People) -> None:
    """Raises BadRequest where not exactly one is named, Forbidden for one whose spend is not for the caller to see."""
    named = [value for value in (of.team_id, of.user_id, of.organization_id, of.end_user, of.tag) if value is not None]
    if len(named) != 1:
        raise bad_request("Name one: team_id, user_id, organization_id, end_user or tag.", "team_id")
    if may_see_all(principal) or (of.user_id is not None and of.user_id == principal.user_id):
        return
    team = people.teams.get(of.team_id) if of.team_id is not None else None
    member = team.member(principal.user_id) if team is not None else None
    if team is not None and may_manage_team(principal, team, people):
        return
    if member is not None and team is not None and "/team/daily/activity" in team.member_permissions:
        return
    organization = people.organizations.get(of.organization_id) if of.organization_id is not None else None
    if organization is not None and may_see_organization(principal, organization):
        return
    raise Forbidden("You may see your own spend, and that of your teams and organisations.")
