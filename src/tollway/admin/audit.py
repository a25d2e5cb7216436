"""The audit log: every change that was made through the management API, by whom, and what it looked like before and after."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request

from tollway.admin.border import bad_request, iso_z, office_of, us_of
from tollway.admin.entities import not_found
from tollway.storage.people import AuditEntry, AuditFilter


async def list_entries(
    request: Request,
    page: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 10,
    changed_by: str | None = None,
    changed_by_api_key: str | None = None,
    action: str | None = None,
    table_name: str | None = None,
    object_id: str | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
) -> dict[str, Any]:
    """Changes, page by page, the newest first."""
    which = AuditFilter(
        actor=changed_by,
        actor_key=changed_by_api_key,
        action=action,
        table=table_name,
        object_id=object_id,
        from_us=_moment_us(start_date, "start_date"),
        until_us=_moment_us(end_date, "end_date"),
    )
    people = office_of(request).storage.people
    entries, total = await people.audit(which, limit=page_size, offset=(page - 1) * page_size)
    return {
        "audit_logs": [_shown(entry) for entry in entries],
        "total": total,
        "page": page,
        "page_size": page_size,
        "total_pages": -(-total // page_size),
    }


async def one_entry(request: Request, id: str) -> dict[str, Any]:
    entry = await office_of(request).storage.people.audit_entry(int(id)) if id.isdecimal() and len(id) < 19 else None
    if entry is None:
        raise not_found("Audit log", id, "id")
    return _shown(entry)


def _moment_us(written: str | None, name: str) -> int | None:
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
        return us_of(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except ValueError:
        raise bad_request(
            f"{name} must be a day or a moment like 2026-11-21T22:49:17Z. Received: {written}", name
        ) from None


def _shown(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "updated_at": iso_z(entry.at_us),
        "changed_by": entry.actor,
        "changed_by_api_key": entry.actor_key,
        "action": entry.action,
        "table_name": entry.table,
        "object_id": entry.object_id,
        "before_value": entry.before,
        "updated_values": entry.after,
    }
