"""What was spent in all, by whom and on what: LiteLLM's `global/spend/*` and `global/activity*` (1.106.2,
2026-11-21), from the sums by day. Without dates they are of the last thirty days.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query
from msgspec import structs
from pydantic import BaseModel
from starlette.requests import Request

from tollway.admin.border import bad_request, office_of, principal_of, spent_dollars
from tollway.admin.entities import noted, people_of
from tollway.admin.spend import day_of, flushed, name_of, seen_user, wanted_calls
from tollway.errors import Forbidden
from tollway.storage import SpendColumn, SpendFilter, SpendGroup, SpendStore
from tollway.storage.people import TEAM_SCOPE

DAYS = 30
NAMES_MAX = 1_000

Limit = Annotated[int, Query(ge=1, le=NAMES_MAX)]
Day = Annotated[str | None, Query(description="A day like 2026-11-21, UTC")]


class EndUsersAsked(BaseModel):
    api_key: str | None = None
    startTime: str | None = None  # LiteLLM's word
    endTime: str | None = None


async def keys(request: Request, limit: Limit = NAMES_MAX) -> list[dict[str, Any]]:
    """Keys, the one that spent most first."""
    store = office_of(request).storage.keys
    rows = []
    for group in await _most(request, "key", limit):
        record = await store.get(group.key) if group.key is not None else None
        rows.append(
            {
                "api_key": name_of(group, "key"),
                "key_alias": record.key_alias if record is not None else None,
                "key_name": record.key_name if record is not None else None,
                "total_spend": spent_dollars(group.spend_nano),
            }
        )
    return rows


async def models(request: Request, limit: Limit = NAMES_MAX) -> list[dict[str, Any]]:
    """Deployments' models, the one that most was spent on first."""
    return [
        {"model": group.model or "", "total_spend": spent_dollars(group.spend_nano)}
        for group in await _most(request, "model", limit)
    ]


async def providers(request: Request, start_date: Day = None, end_date: Day = None) -> list[dict[str, Any]]:
    """Providers, the one that most was spent on first."""
    groups = await _most(request, "provider", NAMES_MAX, start_date, end_date)
    return [{"provider": group.provider or "", "spend": spent_dollars(group.spend_nano)} for group in groups]


async def teams(request: Request) -> dict[str, Any]:
    """What each team spent, in all and day by day."""
    store, which = await flushed(request), _lately(request, None, None)
    names = {team.id: team.alias or team.id for team in (await people_of(request)).teams.values()}
    days: dict[str, dict[str, Any]] = {}
    totals: dict[str, int] = {}
    for group in await store.groups(("day", "team_id"), which):
        name = names.get(group.team_id or "", group.team_id or "Unassigned")
        day = days.setdefault(day_of(group), {"date": day_of(group)})
        day[name] = day.get(name, 0.0) + spent_dollars(group.spend_nano)
        totals[name] = totals.get(name, 0) + group.spend_nano
    most = sorted(totals.items(), key=lambda pair: -pair[1])
    return {
        "daily_spend": list(days.values()),
        "teams": [name for name, _ in most],
        "total_spend_per_team": [{"team_id": name, "total_spend": spent_dollars(nano)} for name, nano in most],
    }


async def tags(
    request: Request, start_date: Day = None, end_date: Day = None, tags: str | None = None
) -> dict[str, Any]:
    """Tags, or those that are named (with commas), the one that most was spent on first."""
    if start_date is None or end_date is None:
        raise bad_request("Please provide start_date and end_date", "start_date")
    wanted = {name.strip() for name in tags.split(",")} if tags else None
    groups = await _most(request, "tag", NAMES_MAX, start_date, end_date)
    return {
        "spend_per_tag": [
            {"name": group.tag, "spend": spent_dollars(group.spend_nano), "log_count": group.calls}
            for group in groups
            if group.tag and (wanted is None or "all-tags" in wanted or group.tag in wanted)
        ]
    }


async def tag_names(request: Request) -> dict[str, list[str]]:
    """Every tag that a call ever had."""
    store = await flushed(request)
    return {"tag_names": [group.tag for group in await store.groups(("tag",), SpendFilter()) if group.tag]}


async def end_users(request: Request, body: EndUsersAsked | None = None) -> list[dict[str, Any]]:
    """End users with their calls, the one who spent most first."""
    asked = body or EndUsersAsked()
    store = await flushed(request)
    which = wanted_calls(asked.api_key, None, asked.startTime, asked.endTime)
    if asked.startTime is None and asked.endTime is None:
        which = _lately(request, None, None, asked.api_key)
    groups = [group for group in await store.groups(("end_user",), which) if group.end_user]
    groups.sort(key=lambda group: -group.spend_nano)
    return [
        {"end_user": one.end_user, "total_count": one.calls, "total_spend": spent_dollars(one.spend_nano)}
        for one in groups[:NAMES_MAX]
    ]


async def reset(request: Request) -> dict[str, str]:
    """Every key and team has spent nothing in its current period. What they spent ever, and the calls, stay."""
    if principal_of(request).kind != "master":
        raise Forbidden("Only the master key may reset what was spent.")
    office = office_of(request)
    await office.flush()  # what was spent until now belongs to the old numbers
    tokens = [record.token for record in await office.storage.keys.load_all()]
    now_us = int(office.now().timestamp() * 1_000_000)
    for token in tokens:
        await office.storage.keys.update(token, {"spend_nano": 0}, now_us=now_us)
    names = [team.id for team in await office.storage.people.teams.all()]
    for name in names:
        await office.storage.people.set_spent(TEAM_SCOPE, name, 0)
    await office.keys_changed(tokens, spend_set=True)
    await office.people_changed([(TEAM_SCOPE, name) for name in names])
    await noted(request, "reset", "LiteLLM_VerificationToken", "*", None, {"keys": len(tokens), "teams": len(names)})
    return {"message": "What all keys and teams spent was set to 0.", "status": "success"}


# --- activity


async def activity(request: Request, start_date: Day = None, end_date: Day = None) -> dict[str, Any]:
    """Calls and tokens day by day; for who may not see all, the own ones."""
    store, which = await flushed(request), _own(request, start_date, end_date)
    return _activity(await store.groups(("day",), which))


async def activity_by_model(request: Request, start_date: Day = None, end_date: Day = None) -> list[dict[str, Any]]:
    """The same by public model, the busiest first."""
    store, which = await flushed(request), _own(request, start_date, end_date)
    models: dict[str, list[SpendGroup]] = {}
    for group in await store.groups(("model_group", "day"), which):
        models.setdefault(group.model_group or "", []).append(group)
    found = [{"model": model, **_activity(groups, {"model_group": model})} for model, groups in models.items() if model]
    return sorted(found, key=lambda one: -one["sum_api_requests"])


def _activity(groups: Sequence[SpendGroup], also: dict[str, str] | None = None) -> dict[str, Any]:
    days = [
        {
            **(also or {}),
            "date": day_of(group, "%b %d"),
            "api_requests": group.calls,
            "total_tokens": group.input_tokens + group.output_tokens,
        }
        for group in groups
    ]
    return {
        "daily_data": days,
        "sum_api_requests": sum(group.calls for group in groups),
        "sum_total_tokens": sum(group.input_tokens + group.output_tokens for group in groups),
    }


# --- pieces


async def _most(
    request: Request, column: SpendColumn, limit: int, start_date: str | None = None, end_date: str | None = None
) -> list[SpendGroup]:
    store: SpendStore = await flushed(request)
    groups = await store.groups((column,), _lately(request, start_date, end_date))
    return sorted(groups, key=lambda group: -group.spend_nano)[:limit]


def _own(request: Request, start_date: str | None, end_date: str | None) -> SpendFilter:
    return structs.replace(_lately(request, start_date, end_date), user_id=seen_user(request, None))


def _lately(request: Request, start_date: str | None, end_date: str | None, api_key: str | None = None) -> SpendFilter:
    today = office_of(request).now().date()
    start = start_date or (today - timedelta(days=DAYS - 1)).isoformat()
    return wanted_calls(api_key, None, start, end_date or today.isoformat())
