"""Finished calls page by page, as LiteLLM's dashboard and its clients ask for them (fields of 1.106.2, 2026-11-21).

A page is asked for by its number: among the newest `ROWS_MAX` of what fits. Older ones are found by dates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from fastapi import Query
from msgspec import structs
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from tollway.admin.border import bad_request, nano_of, office_of, spent_dollars
from tollway.admin.spend import ROWS_MAX, found_rows, seen_user, wanted_calls
from tollway.admin.spend_rows import spend_row, with_bodies
from tollway.calls import Usage
from tollway.errors import NotFound
from tollway.ledger.record import CallRecord, decode_record
from tollway.storage import SpendRow

PAGE_SIZE_MAX = 100
#: Calls of one session that are added up; where there are more, `session_models_truncated` says so.
SESSION_ROWS_MAX = 200
#: What a row of a page leaves out: the bodies of a call are asked for by its id.
_LEFT_OUT = ("created_at", "updated_at", "messages", "response", "proxy_server_request", "billing_agent_id")
_TIMES = ("startTime", "endTime", "completionStartTime")


class WantedCalls(BaseModel):
    """Which finished calls, and which page of them."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    api_key: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    team_id: str | None = None
    end_user: str | None = None
    session_id: str | None = None
    start_date: str | None = Field(default=None, description="A moment or a day, UTC: 2026-11-21 22:39:02")
    end_date: str | None = None
    model: str | None = Field(default=None, description="A public name")
    status_filter: Literal["success", "failure"] | None = None
    min_spend: str | None = Field(default=None, description="Dollars")
    max_spend: str | None = None
    page: int = Field(default=1, ge=1, le=1 << 31)
    page_size: int = Field(default=50, ge=1, le=PAGE_SIZE_MAX)
    sort_by: Literal["startTime"] = "startTime"
    sort_order: Literal["desc"] = "desc"


async def page(request: Request, wanted: Annotated[WantedCalls, Query()]) -> dict[str, Any]:
    """Finished calls, the newest first; for who may not see all, the own ones."""
    rows, facts = await _page(request, wanted)
    return {"data": [_shown(decode_record(row.detail)) for row in rows], **facts}


async def page_with_sessions(request: Request, wanted: Annotated[WantedCalls, Query()]) -> dict[str, Any]:
    """The same, and beside each call what its session comes to."""
    rows, facts = await _page(request, wanted)
    records = [decode_record(row.detail) for row in rows]
    store = office_of(request).storage.spend
    whose = wanted_calls(None, seen_user(request, None), None, None)
    sessions: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(record.session_id for record in records if record.session_id):
        # Clients name sessions: one of the same name may be somebody else's.
        found = await store.page(structs.replace(whose, session_id=name), limit=SESSION_ROWS_MAX + 1)
        sessions[name] = _session([decode_record(row.detail) for row in found])
    return {
        "data": [_shown(record) | (sessions.get(record.session_id) or _session([record])) for record in records],
        **facts,
    }


async def session(
    request: Request,
    session_id: str,
    page: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    page_size: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 50,
) -> dict[str, Any]:
    """The calls of one session, the newest first."""
    rows, facts = await _page(request, WantedCalls(session_id=session_id, page=page, page_size=page_size))
    facts.pop("total_is_capped")
    return {"data": [_shown(decode_record(row.detail)) for row in rows], **facts}


async def bodies(request: Request, request_id: str) -> dict[str, Any]:
    """What a call asked and was answered, where bodies are kept."""
    rows = await found_rows(request, request_id)
    if not rows:
        raise NotFound(f"No call has the id {request_id!r}, or you may not see it.", param="request_id")
    record = decode_record(rows[0].detail)
    shown = await asyncio.to_thread(with_bodies, record, office_of(request).bodies_folder)
    return {name: shown[name] for name in ("messages", "response", "proxy_server_request")}


async def _page(request: Request, wanted: WantedCalls) -> tuple[Sequence[SpendRow], dict[str, Any]]:
    if wanted.request_id is not None:
        rows = await found_rows(request, wanted.request_id)
        return _cut(rows, wanted), _facts(len(rows), wanted)
    which = structs.replace(
        wanted_calls(wanted.api_key, seen_user(request, wanted.user_id), wanted.start_date, wanted.end_date),
        team_id=wanted.team_id,
        end_user=wanted.end_user,
        session_id=wanted.session_id,
        model_group=wanted.model,
        failed=None if wanted.status_filter is None else wanted.status_filter == "failure",
        cost_min_nano=_nano(wanted.min_spend, "min_spend"),
        cost_max_nano=_nano(wanted.max_spend, "max_spend"),
    )
    last = wanted.page * wanted.page_size
    if last > ROWS_MAX:
        raise bad_request(f"Pages are numbered among the newest {ROWS_MAX} calls; ask by dates for older ones.", "page")
    office = office_of(request)
    await office.flush()
    rows = await office.storage.spend.page(which, limit=last)
    return _cut(rows, wanted), _facts(await office.storage.spend.count(which), wanted)


def _cut(rows: Sequence[SpendRow], wanted: WantedCalls) -> Sequence[SpendRow]:
    return rows[(wanted.page - 1) * wanted.page_size : wanted.page * wanted.page_size]


def _facts(total: int, wanted: WantedCalls) -> dict[str, Any]:
    return {
        "total": total,
        "page": wanted.page,
        "page_size": wanted.page_size,
        "total_pages": -(-total // wanted.page_size),
        "total_is_capped": False,
    }


def _nano(written: str | None, name: str) -> int | None:
    if written is None:
        return None
    try:
        return nano_of(Decimal(written), name)
    except InvalidOperation:
        raise bad_request(f"{name} must be a number. Received: {written!r}", name) from None


def _shown(record: CallRecord) -> dict[str, Any]:
    row = {name: value for name, value in spend_row(record).items() if name not in _LEFT_OUT}
    return row | {name: row[name].replace("Z", "+00:00") for name in _TIMES}


def _session(records: Iterable[CallRecord]) -> dict[str, Any]:
    known = list(records)
    counted = known[:SESSION_ROWS_MAX]
    usages = [record.usage or Usage() for record in counted]
    taken, given = sum(usage.input_total for usage in usages), sum(usage.output_total for usage in usages)
    return {
        "session_total_count": len(counted),
        "session_total_spend": spent_dollars(sum(record.cost.total for record in counted)),
        "session_total_duration_ms": sum(record.ended_us - record.started_us for record in counted) // 1000,
        "session_cache_hit_count": sum(record.cache_hit for record in counted),
        "session_llm_count": len(counted),
        "session_agent_count": 0,
        "session_total_prompt_tokens": taken,
        "session_total_completion_tokens": given,
        "session_total_tokens": taken + given,
        "session_models": list(dict.fromkeys(record.provider_model or record.model for record in counted)),
        "session_models_truncated": len(known) > len(counted),
    }
