"""What was spent, call by call and in sums. Each answer counts every call that was settled before it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse
from msgspec import structs
from msgspec.json import encode
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
from tollway.admin.roles import check_sees, may_see_spend
from tollway.admin.spend_rows import encode_rows
from tollway.calls import ledger_key_of
from tollway.ledger.record import decode_record
from tollway.storage import GLOBAL_SCOPE, SpendColumn, SpendFilter, SpendGroup, SpendRow, SpendStore

ROWS_MAX = 10_000
DAYS_MAX = 3_660
_FIRST_DAY = date(1970, 1, 1)

Group = Literal["team", "customer", "api_key"]


async def logs(
    request: Request,
    request_id: str | None = None,
    api_key: str | None = None,
    user_id: str | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
    summarize: bool = True,
) -> Response:
    """Finished calls. With dates, one sum a day, unless `summarize=false`; else rows, the newest 10 000.

    For who may not see all, the own ones. When there are more, `x-tollway-truncated` says so and `x-tollway-total` how many.
    """
    folder = office_of(request).bodies_folder
    if request_id is not None:
        return await _answer_rows(await found_rows(request, request_id), folder)
    which = wanted_calls(api_key, seen_user(request, user_id), start_date, end_date)
    store = await flushed(request)
    dated = which.from_us is not None or which.until_us is not None
    if dated and summarize:
        groups = await store.groups(("day", "key", "user_id", "model"), which)
        return JSONResponse(_by_day(groups, which))
    rows = await store.page(which, limit=ROWS_MAX)
    total = await store.count(which) if len(rows) == ROWS_MAX else len(rows)
    return await _answer_rows(rows, folder, total)


async def global_spend(request: Request) -> dict[str, Any]:
    """What the whole gateway spent in its budget's current period, and that budget (0.0: none)."""
    office = office_of(request)
    live = office.spend_of(GLOBAL_SCOPE, "")
    if live is not None:
        nano = live.spend_nano
    else:
        stored = await office.storage.spend.spent(GLOBAL_SCOPE, "")
        nano = stored.spend_nano if stored is not None else 0
    limit = office.config.money.max_budget_usd
    return {"spend": spent_dollars(nano), "max_budget": float(Decimal(limit)) if limit is not None else 0.0}


async def global_logs(request: Request, api_key: str | None = None) -> list[dict[str, Any]]:
    """One sum a day for the last thirty days."""
    store = await flushed(request)
    today = office_of(request).now().date()
    which = wanted_calls(api_key, None, (today - timedelta(days=29)).isoformat(), today.isoformat())
    groups = await store.groups(("day",), which)
    return [{"date": day_of(group), "spend": spent_dollars(group.spend_nano)} for group in groups]


async def report(
    request: Request,
    start_date: str,
    end_date: str,
    group_by: Group = "team",
    api_key: str | None = None,
    internal_user_id: str | None = None,
    team_id: str | None = None,
    customer_id: str | None = None,
) -> Any:
    """Sums by day and team or customer, or by key; each with its models."""
    store = await flushed(request)
    which = structs.replace(
        wanted_calls(api_key, internal_user_id, start_date, end_date), team_id=team_id, end_user=customer_id
    )
    if group_by == "api_key":
        return _by_key(await store.groups(("key", "model"), which))
    column: SpendColumn = "team_id" if group_by == "team" else "end_user"
    days = [group.day or 0 for group in await store.groups(("day",), which)]
    return StreamingResponse(report_by_day(store, which, days, column), media_type="application/json")


async def report_by_day(
    store: SpendStore, which: SpendFilter, days: Sequence[int], column: SpendColumn
) -> AsyncIterator[bytes]:
    """The report's JSON, a piece for each of these days (since 1970): what a thousand customers asked of how many models is
    megabytes a month, and nobody's memory or time holds them at once."""
    before = b"["
    for day in days:
        from_us, until_us = day * DAY_US, (day + 1) * DAY_US
        of_day = structs.replace(
            which,
            from_us=from_us if which.from_us is None else max(from_us, which.from_us),
            until_us=until_us if which.until_us is None else min(until_us, which.until_us),
        )
        groups = await store.groups((column, "key", "model"), of_day)
        yield before + await asyncio.to_thread(_encoded_day, day, groups, column)
        before = b","
    yield b"]" if days else b"[]"


def seen_user(request: Request, user_id: str | None) -> str | None:
    """Whose calls are shown to who asks for those of `user_id`: everybody's (None) or one's. Raises Forbidden."""
    principal = principal_of(request)
    return user_id if may_see_spend(principal) else check_sees(principal, user_id)


async def found_rows(request: Request, request_id: str) -> list[SpendRow]:
    """The calls with an id, ours or a provider's, that may be seen by who asks."""
    store = await flushed(request)
    whose = seen_user(request, None)
    ours = ledger_key_of(request_id)
    row = await store.row(*ours) if ours is not None else None
    rows = [row] if row is not None else await store.by_request_id(request_id)
    return [row for row in rows if whose is None or decode_record(row.detail).user_id == whose]


async def flushed(request: Request) -> SpendStore:
    """The storage, once every call that was settled until now is in it."""
    office = office_of(request)
    await office.flush()
    return office.storage.spend


async def _answer_rows(rows: Sequence[SpendRow], folder: Path | None, total: int | None = None) -> Response:
    headers = {}
    if total is not None and total > len(rows):
        headers = {"x-tollway-truncated": "true", "x-tollway-total": str(total)}
    # In a thread: so many rows would keep the calls of others waiting.
    body = await asyncio.to_thread(encode_rows, rows, folder)
    return Response(body, media_type="application/json", headers=headers)


def wanted_calls(api_key: str | None, user_id: str | None, start_date: str | None, end_date: str | None) -> SpendFilter:
    master = MASTER_KEY_NAME in (api_key, _key_of(user_id))
    from_us = None if start_date is None else us_of(_moment(start_date, "start_date"))
    until_us = None
    if end_date is not None:
        end = _moment(end_date, "end_date")
        # The last day counts whole; a moment counts up to itself.
        until_us = us_of(end) + (DAY_US if len(end_date) == len("2026-01-31") else 1)
    if from_us is not None and until_us is not None and until_us - from_us > DAYS_MAX * DAY_US:
        raise bad_request(f"At most {DAYS_MAX} days can be asked for at once.", "end_date")
    return SpendFilter(
        key=None if api_key in (None, MASTER_KEY_NAME) else token_of(api_key),
        master_key=master,
        user_id=None if user_id == MASTER_USER else user_id,
        from_us=from_us,
        until_us=until_us,
    )


def _key_of(user_id: str | None) -> str | None:
    """Nobody is behind the master key; what is asked of its user is asked of itself."""
    return MASTER_KEY_NAME if user_id == MASTER_USER else None


def _moment(written: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(written)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise bad_request(f"{name} must be a day like '2026-01-31'. Received: '{written}'", name) from None
    if not 1970 <= moment.year < 9000:
        raise bad_request(f"{name} is out of range. Received: '{written}'", name)
    return moment


def _by_day(groups: Sequence[SpendGroup], which: SpendFilter) -> list[dict[str, Any]]:
    """One entry a day, from the first on which something was spent to the last that was asked for."""
    by_day: dict[int, list[SpendGroup]] = {day: [] for day in _days(groups, which)}
    for group in groups:
        by_day[group.day or 0].append(group)
    entries = []
    for day, of_day in by_day.items():
        entry: dict[str, Any] = {name: spent_dollars(nano) for name, nano in _sums(of_day, "key").items()}
        entry |= {
            "startTime": (_FIRST_DAY + timedelta(days=day)).isoformat(),
            "spend": spent_dollars(sum(group.spend_nano for group in of_day)),
            "users": {name: spent_dollars(nano) for name, nano in _sums(of_day, "user_id").items()},
            "models": {name: spent_dollars(nano) for name, nano in _sums(of_day, "model").items()},
        }
        entries.append(entry)
    return entries


def _days(groups: Sequence[SpendGroup], which: SpendFilter) -> range:
    if not groups:
        return range(0)
    found = [group.day or 0 for group in groups]
    last = max(found)
    if which.until_us is not None:
        last = max(last, min((which.until_us - 1) // DAY_US, min(found) + DAYS_MAX))
    return range(min(found), last + 1)


def _sums(groups: Sequence[SpendGroup], column: SpendColumn) -> dict[str, int]:
    sums: dict[str, int] = {}
    for group in groups:
        name = name_of(group, column)
        sums[name] = sums.get(name, 0) + group.spend_nano
    return sums


def name_of(group: SpendGroup, column: SpendColumn) -> str:
    if column == "key":
        return MASTER_KEY_NAME if group.key is None else group.key.hex()
    if column == "user_id" and group.user_id is None and group.key is None:
        return MASTER_USER
    return str(getattr(group, column) or "")


def day_of(group: SpendGroup, written: str = "%Y-%m-%d") -> str:
    return (_FIRST_DAY + timedelta(days=group.day or 0)).strftime(written)


def _by_key(groups: Sequence[SpendGroup]) -> list[dict[str, Any]]:
    keys: dict[str, list[SpendGroup]] = {}
    for group in groups:
        keys.setdefault(name_of(group, "key"), []).append(group)
    return [
        {
            "api_key": key,
            **_totals(of_key),
            "model_details": [{"model": group.model, **_totals([group])} for group in of_key],
        }
        for key, of_key in keys.items()
    ]


def _totals(groups: Sequence[SpendGroup]) -> dict[str, Any]:
    return {
        "total_cost": spent_dollars(sum(group.spend_nano for group in groups)),
        "total_input_tokens": sum(group.input_tokens for group in groups),
        "total_output_tokens": sum(group.output_tokens for group in groups),
    }


def _encoded_day(day: int, groups: Sequence[SpendGroup], column: SpendColumn) -> bytes:
    plural, label = ("teams", "team_name") if column == "team_id" else ("customers", "customer")
    named: dict[str, list[SpendGroup]] = {}
    for group in groups:
        named.setdefault(name_of(group, column) or "Unassigned", []).append(group)
    entry = {
        "group_by_day": f"{(_FIRST_DAY + timedelta(days=day)).isoformat()}T00:00:00+00:00",
        plural: [
            {
                label: name,
                "total_spend": spent_dollars(sum(group.spend_nano for group in members)),
                "metadata": [
                    {
                        "model": group.model,
                        "spend": spent_dollars(group.spend_nano),
                        "total_tokens": group.input_tokens + group.output_tokens,
                        "api_key": name_of(group, "key"),
                    }
                    for group in members
                ],
            }
            for name, members in named.items()
        ],
    }
    return encode(entry)
