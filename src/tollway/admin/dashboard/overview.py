"""What was spent: today, this week, this month, day by day (or hour by hour) in the days asked for, and how long answers took."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from msgspec import Struct
from msgspec.json import encode
from starlette.requests import Request

from tollway.admin import Office
from tollway.admin.border import DAY_US, NANO, bad_request, iso_z, office_of, principal_of, us_of
from tollway.admin.dashboard.files import NOT_KEPT
from tollway.admin.roles import check_sees
from tollway.storage import GLOBAL_SCOPE, KEY_SCOPE, KeyFilter, SpendColumn, SpendFilter, SpendGroup, SpendHour
from tollway.storage.people import (
    CUSTOMER_SCOPE,
    ORGANIZATION_SCOPE,
    TAG_SCOPE,
    TEAM_SCOPE,
    USER_SCOPE,
    Customer,
    Limits,
    Organization,
    Tag,
    Team,
    User,
)
from tollway.storage.rollups import quantile_ms

DAYS_MAX = 366
GROUPS_SHOWN_MAX = 20
#: Among so many keys, those that spent most, the budgets that are nearest to their end are looked for.
BUDGETS_LOOKED_AT_MAX = 100
BUDGETS_SHOWN_MAX = 8
#: So few days are shown hour by hour, too.
HOURS_OF_DAYS_MAX = 2
HOUR_US = 3_600_000_000
_FIRST_DAY = date(1970, 1, 1)


class Sum(Struct, kw_only=True):
    """Money is dollars. `name` is what was summed by: a day, a model, a key's hash ("" for the master key)."""

    name: str
    spend: float = 0.0
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    alias: str | None = None


class Times(Struct, frozen=True, kw_only=True):
    """How long answered calls of a day took, in milliseconds, as well as buckets know it: half of them, and all but a twentieth.
    None on a day without any; the first byte is known of the calls that had one."""

    name: str
    p50: float | None
    p95: float | None
    first_byte_p50: float | None
    first_byte_p95: float | None


class BudgetLine(Struct, frozen=True, kw_only=True):
    """`kind` is "key", "team", "user", "organization", "customer" or "tag"; `key` its hash or id."""

    kind: str
    key: str
    alias: str | None
    name: str
    spend: float
    limit: float
    resets_at: str | None


class Overview(Struct, frozen=True, kw_only=True):
    """Days are in UTC; a week begins on Monday. `limit` is the gateway's own budget in the period in which `spend` counts. `hours`
    is there for a day or two, with money and calls alone; their names are moments in UTC."""

    today: Sum
    week: Sum
    month: Sum
    spend: float
    limit: float | None
    limit_period: str | None
    days: list[Sum]
    hours: list[Sum]
    times: list[Times]
    models: list[Sum]
    keys: list[Sum]
    teams: list[Sum]
    users: list[Sum]
    providers: list[Sum]
    tags: list[Sum]
    budgets: list[BudgetLine]


class Shares(Struct, frozen=True, kw_only=True):
    """Who spent most, the first first; "*" are all others together."""

    sums: list[Sum]


async def overview(request: Request, start: str | None = None, end: str | None = None) -> Response:
    """Sums of the days from `start` to `end`, both included; without them, of the last thirty. Of all, or for who may not see
    all of his own calls: then `spend` and `limit` are his own budget's."""
    office, whose = office_of(request), check_sees(principal_of(request), None)
    await office.flush()
    today = office.now().date()
    last = day_asked(end, "end") or today
    first = day_asked(start, "start") or last - timedelta(days=29)
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        raise bad_request(f"From start to end there may be 1 to {DAYS_MAX} days.", "end")
    spend, limit, period = await _gateway(office) if whose is None else await _user(office, whose)

    month = today.replace(day=1)
    week = today - timedelta(days=today.weekday())
    recent, by, times, hours, people, budgets = await asyncio.gather(
        _groups(office, "day", min(month, week), today, whose),
        asyncio.gather(*(_groups(office, column, first, last, whose) for column in _COLUMNS)),
        _times(office, first, last) if whose is None else _nothing(),
        _hours(office, first, last) if whose is None else _nothing(),
        office.storage.people.load(),
        _budgets(office, whose),
    )
    groups = dict(zip(_COLUMNS, by, strict=True))
    since = by_day(recent)
    shown = Overview(
        today=_since(since, today, "today"),
        week=_since(since, week, "week"),
        month=_since(since, month, "month"),
        spend=spend,
        limit=limit,
        limit_period=period,
        days=each_day(by_day(groups["day"]), first, last),
        hours=hours,
        times=times,
        models=largest(groups["model_group"], "model_group"),
        keys=await _with_aliases(office, largest(groups["key"], "key")),
        teams=_named(largest(groups["team_id"], "team_id"), {team.id: team.alias for team in people.teams.values()}),
        users=_named(
            largest(groups["user_id"], "user_id"), {user.id: user.email or user.alias for user in people.users.values()}
        ),
        providers=_named(largest(groups["provider"], "provider")),
        tags=_named(largest(groups["tag"], "tag")),
        budgets=budgets,
    )
    return Response(encode(shown), media_type="application/json", headers=NOT_KEPT)


async def shares(
    request: Request,
    by: Annotated[Literal["end_user", "organization_id", "model"], Query()],
    start: str | None = None,
    end: str | None = None,
) -> Response:
    """The sums that are asked for one by one, for there may be very many: by the clients' end users, by organisation, or by the
    model as the provider knows it.
    """
    office, whose = office_of(request), check_sees(principal_of(request), None)
    await office.flush()
    last = day_asked(end, "end") or office.now().date()
    first = day_asked(start, "start") or last - timedelta(days=29)
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        raise bad_request(f"From start to end there may be 1 to {DAYS_MAX} days.", "end")
    shown = Shares(sums=_named(largest(await _groups(office, by, first, last, whose), by)))
    return Response(encode(shown), media_type="application/json", headers=NOT_KEPT)


_COLUMNS: tuple[SpendColumn, ...] = ("day", "model_group", "key", "team_id", "user_id", "provider", "tag")


async def _groups(office: Office, by: SpendColumn, first: date, last: date, whose: str | None) -> list[SpendGroup]:
    which = SpendFilter(from_us=us_of_day(first), until_us=us_of_day(last) + DAY_US, user_id=whose)
    return await office.storage.spend.groups((by,), which)


async def _nothing() -> list[Any]:
    """What is not known of a single user's calls."""
    return []


def _named(sums: list[Sum], aliases: Mapping[str, str | None] | None = None) -> list[Sum]:
    """Without those that have no name; with what people call the others."""
    named = [one for one in sums if one.name]
    for one in named:
        one.alias = (aliases or {}).get(one.name)
    return named


async def _times(office: Office, first: date, last: date) -> list[Times]:
    which = SpendFilter(from_us=us_of_day(first), until_us=us_of_day(last) + DAY_US)
    days = {one.day: one for one in await office.storage.spend.times(("day",), which)}
    shown = []
    for day in (first + timedelta(days=offset) for offset in range((last - first).days + 1)):
        known = days.get((day - _FIRST_DAY).days)
        took, began = (known.durations, known.first_bytes) if known is not None else ({}, {})
        shown.append(
            Times(
                name=day.isoformat(),
                p50=quantile_ms(took, 0.5),
                p95=quantile_ms(took, 0.95),
                first_byte_p50=quantile_ms(began, 0.5),
                first_byte_p95=quantile_ms(began, 0.95),
            )
        )
    return shown


async def _hours(office: Office, first: date, last: date) -> list[Sum]:
    if (last - first).days >= HOURS_OF_DAYS_MAX:
        return []
    from_us = us_of_day(first)
    until_us = min(us_of_day(last) + DAY_US, us_of(office.now()) + HOUR_US) // HOUR_US * HOUR_US
    known = {one.hour: one for one in await office.storage.spend.hours(from_us, until_us)}
    nothing = SpendHour(0, 0, 0, 0)
    return [
        Sum(
            name=str(iso_z(hour * HOUR_US)),
            spend=known.get(hour, nothing).spend_nano / NANO,
            calls=known.get(hour, nothing).calls,
            failed=known.get(hour, nothing).failed,
        )
        for hour in range(from_us // HOUR_US, until_us // HOUR_US)
    ]


async def _gateway(office: Office) -> tuple[float, float | None, str | None]:
    live = office.spend_of(GLOBAL_SCOPE, "")
    stored = None if live is not None else await office.storage.spend.spent(GLOBAL_SCOPE, "")
    nano = live.spend_nano if live is not None else stored.spend_nano if stored is not None else 0
    limit = office.config.money.max_budget_usd
    return nano / NANO, float(Decimal(limit)) if limit is not None else None, office.config.money.budget_duration


async def _user(office: Office, user_id: str) -> tuple[float, float | None, str | None]:
    """What a user spent of his own budget, and that budget."""
    live = office.spend_of(USER_SCOPE, user_id)
    stored = None if live is not None else await office.storage.spend.spent(USER_SCOPE, user_id)
    nano = live.spend_nano if live is not None else stored.spend_nano if stored is not None else 0
    user = await office.storage.people.users.get(user_id)
    limits = user.limits if user is not None else Limits()
    limit = limits.max_budget_nano
    return nano / NANO, limit / NANO if limit is not None else None, limits.budget_duration


async def _with_aliases(office: Office, keys: list[Sum]) -> list[Sum]:
    for one in keys:
        record = await office.storage.keys.get(bytes.fromhex(one.name)) if one.name else None
        one.alias = record.key_alias or record.key_name if record is not None else None
    return keys


async def _budgets(office: Office, whose: str | None) -> list[BudgetLine]:
    """The budgets that are nearest to their end: of keys, and for who may see all of teams, users and the others."""
    records, _ = await office.storage.keys.page(
        KeyFilter(user_id=whose), sort="spend_nano", limit=BUDGETS_LOOKED_AT_MAX
    )
    lines = []
    for record in records:
        if not record.max_budget_nano:
            continue
        live = office.spend_of(KEY_SCOPE, record.token.hex())
        lines.append(
            BudgetLine(
                kind="key",
                key=record.token.hex(),
                alias=record.key_alias,
                name=record.key_name,
                spend=(live.spend_nano if live is not None else record.spend_nano) / NANO,
                limit=record.max_budget_nano / NANO,
                resets_at=iso_z(record.budget_reset_us),
            )
        )
    if whose is None:
        lines += await _budgets_of_people(office)
    lines.sort(key=lambda line: line.spend / line.limit, reverse=True)
    return lines[:BUDGETS_SHOWN_MAX]


async def _budgets_of_people(office: Office) -> list[BudgetLine]:
    """Those of teams, users and the others; of a budget that several share, each one's own spend counts."""
    people, stored = await asyncio.gather(office.storage.people.load(), office.storage.spend.all_spent())
    spent = {(one.scope, one.id): one for one in stored}
    limited: list[tuple[str, str, Team | User | Organization | Customer | Tag, Limits]] = [
        *(("team", TEAM_SCOPE, one, one.limits) for one in people.teams.values()),
        *(("user", USER_SCOPE, one, one.limits) for one in people.users.values()),
    ]
    sharing: tuple[tuple[str, str, Iterable[Organization | Customer | Tag]], ...] = (
        ("organization", ORGANIZATION_SCOPE, people.organizations.values()),
        ("customer", CUSTOMER_SCOPE, people.customers.values()),
        ("tag", TAG_SCOPE, people.tags.values()),
    )
    for kind, scope, entities in sharing:
        for entity in entities:
            budget = people.budgets.get(entity.budget_id or "")
            if budget is not None:
                limited.append((kind, scope, entity, budget.limits))
    lines = []
    for kind, scope, one, limits in limited:
        if not limits.max_budget_nano:
            continue
        known, live = spent.get((scope, one.id)), office.spend_of(scope, one.id)
        nano = live.spend_nano if live is not None else known.spend_nano if known is not None else 0
        lines.append(
            BudgetLine(
                kind=kind,
                key=one.id,
                alias=getattr(one, "alias", None) or None,
                name=one.id,
                spend=nano / NANO,
                limit=limits.max_budget_nano / NANO,
                resets_at=iso_z(known.reset_us) if known is not None else None,
            )
        )
    return lines


def by_day(groups: list[SpendGroup]) -> dict[date, Sum]:
    found = {}
    for group in groups:
        day = _FIRST_DAY + timedelta(days=group.day or 0)
        found[day] = _sum(day.isoformat(), [group])
    return found


def _since(days: dict[date, Sum], first: date, name: str) -> Sum:
    total = Sum(name=name)
    for day, one in days.items():
        if day >= first:
            total.spend += one.spend
            total.calls += one.calls
            total.failed += one.failed
            total.input_tokens += one.input_tokens
            total.output_tokens += one.output_tokens
    return total


def each_day(days: dict[date, Sum], first: date, last: date) -> list[Sum]:
    every = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
    return [days.get(day) or Sum(name=day.isoformat()) for day in every]


def largest(groups: list[SpendGroup], by: SpendColumn) -> list[Sum]:
    """The groups that spent most; what is left is put together as the last one, named "*"."""
    ordered = sorted(groups, key=lambda group: (group.spend_nano, group.calls), reverse=True)
    shown = [_sum(_name(group, by), [group]) for group in ordered[:GROUPS_SHOWN_MAX]]
    rest = ordered[GROUPS_SHOWN_MAX:]
    return [*shown, _sum("*", rest)] if rest and by != "key" else shown


def _sum(name: str, groups: list[SpendGroup]) -> Sum:
    return Sum(
        name=name,
        spend=sum(group.spend_nano for group in groups) / NANO,
        calls=sum(group.calls for group in groups),
        failed=sum(group.failed for group in groups),
        input_tokens=sum(group.input_tokens for group in groups),
        output_tokens=sum(group.output_tokens for group in groups),
    )


def _name(group: SpendGroup, by: SpendColumn) -> str:
    value = getattr(group, by)
    return value.hex() if isinstance(value, bytes) else str(value or "")


def us_of_day(day: date) -> int:
    return us_of(datetime(day.year, day.month, day.day, tzinfo=UTC))


def day_asked(written: str | None, name: str) -> date | None:
    if written is None:
        return None
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise bad_request(f"{name} must be a day like '2026-01-31'.", name) from None
    if not 1970 <= day.year < 9000:
        raise bad_request(f"{name} is out of range.", name)
    return day
