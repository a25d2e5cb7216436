"""What was spent day by day, by model, provider, key and by whom: LiteLLM's `*/daily/activity`, from the sums by day.

What the sums know nothing of stands as nothing: `mcp_servers` is empty, times and savings are 0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from inspect import signature
from typing import Annotated, Any

from fastapi import Depends, Query
from msgspec import structs
from starlette.requests import Request

from tollway.admin.border import (
    DAY_US,
    MASTER_KEY_NAME,
    MASTER_USER,
    bad_request,
    office_of,
    principal_of,
    spent_dollars,
    token_of,
    us_of,
)
from tollway.admin.entities import people_of
from tollway.admin.roles import check_sees, may_manage_team, may_see_all, may_see_organization, may_see_spend
from tollway.errors import Forbidden
from tollway.storage import KeyRecord, SpendColumn, SpendFilter, SpendGroup
from tollway.storage.people import People

DAYS_MAX = 3_660
_FIRST_DAY = date(1970, 1, 1)
_NOT_KEPT = (
    *("compression_saved_tokens", "compression_savings_spend", "prompt_caching_savings_spend"),
    *("gateway_injected_caching_savings_spend", "autorouter_savings_spend"),
)
#: What a day is broken down by: LiteLLM's word, and the sums' column.
_BREAKDOWNS: tuple[tuple[str, SpendColumn], ...] = (
    *(("models", "model"), ("model_groups", "model_group"), ("providers", "provider")),
)

Day = Annotated[str | None, Query(description="A day like 2026-11-21, UTC")]
Key = Callable[[bytes], KeyRecord | None]


class Asked:
    """What is asked of all of them alike: whole days, both ends included, of one model or key."""

    def __init__(
        self, start_date: Day = None, end_date: Day = None, model: str | None = None, api_key: str | None = None
    ) -> None:
        self._given = (start_date, end_date, model, api_key)

    def which(self) -> SpendFilter:
        """Raises BadRequest."""
        return _filter(*self._given)


class Paging:
    """Which days of them, the newest first."""

    def __init__(
        self, page: Annotated[int, Query(ge=1, le=1 << 31)] = 1, page_size: Annotated[int, Query(ge=1, le=1000)] = 50
    ) -> None:
        self.page = page
        self.page_size = page_size


Span = Annotated[Asked, Depends()]
Pages = Annotated[Paging, Depends()]


async def of_users(request: Request, asked: Span, pages: Pages, user_id: str | None = None) -> dict[str, Any]:
    """By user: everybody's, or one's own for who may not see all."""
    seen = check_sees(principal_of(request), user_id)
    which = asked.which()
    own = {"master_key": True} if seen == MASTER_USER else {"user_id": seen}
    return await _answer(request, "user_id", [structs.replace(which, **own)], pages)


async def of_teams(request: Request, asked: Span, pages: Pages, team_ids: str | None = None) -> dict[str, Any]:
    """By team: of those that are named, with commas, or of all that one may see."""
    people = await people_of(request)
    names = _listed(team_ids)
    if not may_see_all(principal_of(request)):
        own = [team.id for team in people.teams.values() if _sees_team(request, people, team.id)]
        names = _of_own(names, own, "You may see the spend of your own teams alone.", "team_ids")
    which = asked.which()
    return await _answer(request, "team_id", _each(which, "team_id", names), pages)


async def of_organizations(
    request: Request, asked: Span, pages: Pages, organization_ids: str | None = None
) -> dict[str, Any]:
    principal, people = principal_of(request), await people_of(request)
    names = _listed(organization_ids)
    if not may_see_all(principal):
        own = [one.id for one in people.organizations.values() if may_see_organization(principal, one)]
        names = _of_own(names, own, "You may see the spend of your own organisations alone.", "organization_ids")
    which = asked.which()
    return await _answer(request, "organization_id", _each(which, "organization_id", names), pages)


async def of_customers(request: Request, asked: Span, pages: Pages, end_user_ids: str | None = None) -> dict[str, Any]:
    which = asked.which()
    return await _answer(request, "end_user", _each(which, "end_user", _listed(end_user_ids)), pages)


async def of_tags(request: Request, asked: Span, pages: Pages, tags: str | None = None) -> dict[str, Any]:
    """By tag. A call with several counts under each."""
    which = asked.which()
    return await _answer(request, "tag", _each(which, "tag", _listed(tags)), pages)


def whole(of: Callable[..., Awaitable[dict[str, Any]]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """The same with all its days on one page: LiteLLM's `*/daily/activity/aggregated`."""

    async def whole_of(request: Request, **asked: Any) -> dict[str, Any]:
        return await of(request, **asked, pages=Paging(1, DAYS_MAX))

    known = signature(of)
    parameters = [one for name, one in known.parameters.items() if name != "pages"]
    whole_of.__signature__ = known.replace(parameters=parameters)  # type: ignore[attr-defined]  # FastAPI reads it
    whole_of.__doc__ = f"{of.__doc__ or ''} All days at once."
    return whole_of


async def spend_by_tag(request: Request, start_date: Day = None, end_date: Day = None) -> list[dict[str, Any]]:
    """Each tag with its calls and what they came to; for who may not see all, the own calls."""
    office, principal = office_of(request), principal_of(request)
    await office.flush()
    which = _filter(start_date, end_date, None, None) if start_date or end_date else SpendFilter()
    if not may_see_spend(principal):
        which = structs.replace(which, user_id=check_sees(principal, None))
    groups = await office.storage.spend.groups(("tag",), which)
    return [
        {
            "individual_request_tag": group.tag,
            "log_count": group.calls,
            "total_spend": spent_dollars(group.spend_nano),
        }
        for group in groups
        if group.tag
    ]


def _of_own(names: list[str] | None, own: list[str], refusal: str, param: str) -> list[str]:
    """What is named, or all of one's own where nothing is. Raises Forbidden where somebody else's is among it."""
    if names is None:
        return own
    if not set(names) <= set(own):
        raise Forbidden(refusal, param=param)
    return names


def _sees_team(request: Request, people: People, team_id: str) -> bool:
    principal, team = principal_of(request), people.teams[team_id]
    if may_manage_team(principal, team, people):
        return True
    member = team.member(principal.user_id)
    return member is not None and "/team/daily/activity" in team.member_permissions


async def _answer(
    request: Request, entity: SpendColumn, wanted: Sequence[SpendFilter], paging: Paging
) -> dict[str, Any]:
    office = office_of(request)
    await office.flush()
    groups: list[SpendGroup] = []
    for which in wanted:
        groups += await office.storage.spend.groups(
            ("day", entity, "key", "model", "model_group", "provider", "endpoint"), which
        )
    if entity in ("tag", "end_user"):
        groups = [group for group in groups if getattr(group, entity)]
    records = {record.token: record for record in await _records(request, groups)}
    days: dict[int, list[SpendGroup]] = {}
    for group in groups:
        days.setdefault(group.day or 0, []).append(group)
    newest = sorted(days, reverse=True)
    page, size = paging.page, paging.page_size
    shown = newest[(page - 1) * size : page * size]
    pages = -(-len(newest) // size)
    return {
        "results": [
            {
                "date": (_FIRST_DAY + timedelta(days=day)).isoformat(),
                "metrics": _metrics(days[day]),
                "breakdown": _breakdown(days[day], entity, records.get),
            }
            for day in shown
        ],
        "metadata": {
            **_totals(groups),
            "page": page,
            "total_pages": pages,
            "has_more": page < pages,
            **dict.fromkeys(("api_key_limit", "total_api_keys", "entity_total_api_keys")),
        },
    }


async def _records(request: Request, groups: Iterable[SpendGroup]) -> list[KeyRecord]:
    keys = office_of(request).storage.keys
    tokens = dict.fromkeys(group.key for group in groups if group.key is not None)
    return [record for token in tokens if (record := await keys.get(token)) is not None]


def _breakdown(groups: Sequence[SpendGroup], entity: SpendColumn, record: Key) -> dict[str, Any]:
    by_key = _by(groups, "key")
    return {
        "mcp_servers": {},
        **{word: _each_with_keys(groups, column, record) for word, column in _BREAKDOWNS},
        # What was summed before endpoints were told apart is under none.
        "endpoints": _each_with_keys([group for group in groups if group.endpoint], "endpoint", record),
        "api_keys": {name: _of_key(of_key, record) for name, of_key in by_key.items()},
        "entities": _each_with_keys(groups, entity, record),
    }


def _each_with_keys(groups: Sequence[SpendGroup], column: SpendColumn, record: Key) -> dict[str, Any]:
    return {
        name: {
            "metrics": _metrics(members),
            "metadata": {},
            "api_key_breakdown": {key: _of_key(of_key, record) for key, of_key in _by(members, "key").items()},
        }
        for name, members in _by(groups, column).items()
    }


def _of_key(groups: Sequence[SpendGroup], record: Key) -> dict[str, Any]:
    token = groups[0].key
    found = record(token) if token is not None else None
    return {
        "metrics": _metrics(groups),
        "metadata": {
            "key_alias": found.key_alias if found is not None else None,
            "team_id": found.team_id if found is not None else None,
            "user_id": found.user_id if found is not None else MASTER_USER if token is None else None,
            "user_email": None,
            "key_exists": found is not None,
        },
    }


def _by(groups: Iterable[SpendGroup], column: SpendColumn) -> dict[str, list[SpendGroup]]:
    found: dict[str, list[SpendGroup]] = {}
    for group in groups:
        value = getattr(group, column)
        if column == "key":
            name = MASTER_KEY_NAME if value is None else value.hex()
        else:
            name = value or (MASTER_USER if column == "user_id" and group.key is None else "Unassigned")
        found.setdefault(name, []).append(group)
    return found


def _metrics(groups: Sequence[SpendGroup]) -> dict[str, Any]:
    taken = sum(group.input_tokens for group in groups)
    given = sum(group.output_tokens for group in groups)
    calls, failed = sum(group.calls for group in groups), sum(group.failed for group in groups)
    return {
        "spend": spent_dollars(sum(group.spend_nano for group in groups)),
        "flat_cost": 0.0,
        "prompt_tokens": taken,
        "completion_tokens": given,
        "cache_read_input_tokens": sum(group.cache_read_tokens for group in groups),
        "cache_creation_input_tokens": sum(group.cache_write_tokens for group in groups),
        **dict.fromkeys(_NOT_KEPT, 0),
        "total_tokens": taken + given,
        "successful_requests": calls - failed,
        "failed_requests": failed,
        "api_requests": calls,
        "total_response_time_ms": 0,
        "timed_requests": 0,
    }


def _totals(groups: Sequence[SpendGroup]) -> dict[str, Any]:
    metrics = _metrics(groups)
    names = {"total_tokens": "total_tokens", "total_response_time_ms": "total_response_time_ms"}
    return {names.get(name, f"total_{name}"): value for name, value in metrics.items()}


def _each(which: SpendFilter, column: str, names: Sequence[str] | None) -> list[SpendFilter]:
    return [which] if names is None else [structs.replace(which, **{column: name}) for name in names]


def _listed(written: str | None) -> list[str] | None:
    return None if not written else list(dict.fromkeys(name.strip() for name in written.split(",") if name.strip()))


def _filter(start_date: str | None, end_date: str | None, model: str | None, api_key: str | None) -> SpendFilter:
    if start_date is None or end_date is None:
        raise bad_request("Please provide start_date and end_date", "start_date")
    from_us, until_us = _day_us(start_date, "start_date"), _day_us(end_date, "end_date") + DAY_US
    if until_us - from_us > DAYS_MAX * DAY_US:
        raise bad_request(f"At most {DAYS_MAX} days can be asked for at once.", "end_date")
    master = api_key == MASTER_KEY_NAME
    return SpendFilter(
        from_us=from_us,
        until_us=until_us,
        model=model,
        key=None if api_key is None or master else token_of(api_key),
        master_key=master,
    )


def _day_us(written: str, name: str) -> int:
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise bad_request(f"{name} must be a day like '2026-01-31'. Received: '{written}'", name) from None
    if not 1970 <= day.year < 9000:
        raise bad_request(f"{name} is out of range. Received: '{written}'", name)
    return us_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
