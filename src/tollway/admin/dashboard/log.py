"""Finished calls, page by page, newest first.

A page is asked for by the place of the last call of the page before it, never by a number, so that new calls move nothing. What is
rare is looked for back in time, in windows that grow as long as they are quick to read, and for `SEARCH_S_MAX` at most: an answer
that found less than a page says where to look on. Days on which the sums know of no such call are passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from fastapi import Query, Response
from msgspec import Struct, structs
from msgspec.json import encode
from starlette.requests import Request

from tollway.admin import Office
from tollway.admin.border import DAY_US, MASTER_KEY_NAME, NANO, bad_request, office_of, principal_of, token_of, us_of
from tollway.admin.dashboard.files import NOT_KEPT
from tollway.admin.dashboard.lines import CallDetail, CallLine, detail_of, line_of
from tollway.admin.roles import check_sees
from tollway.calls import ledger_key_of
from tollway.errors import NotFound
from tollway.ledger.record import CallRecord, decode_record
from tollway.storage import SpendFilter, SpendRow
from tollway.storage.bodies import read_bodies

BATCH_ROWS = 500
#: An answer may take a fifth of a second; the window that is being read when this is over is read to its end.
SEARCH_S_MAX = 0.1
#: The first window; the next one is so large that it should be read in this time.
WINDOW_US_FIRST = 2 * 3_600_000_000
WINDOW_S = 0.03
GROWTH_MAX = 4.0
#: A window this long has everything in it.
WINDOW_US_MAX = 400 * DAY_US

Place = tuple[int, int]  # (started_us, the storage's own number)


class LogPage(Struct, frozen=True, kw_only=True):
    """`next` is where the next page begins, None at the end; `whole` False means that the search stopped at its bound."""

    calls: list[CallLine]
    next: str | None
    whole: bool
    searched_until_ms: float | None


class Wanted(Struct, frozen=True, kw_only=True):
    """What the storage cannot look for."""

    tag: str | None = None
    text: str | None = None

    @property
    def looks_at_rows(self) -> bool:
        return self.tag is not None or self.text is not None

    def fits(self, record: CallRecord) -> bool:
        if self.tag is not None and self.tag not in record.tags:
            return False
        return self.text is None or self.text in f"{record.error_type}\n{record.error_message}".casefold()


async def page(
    request: Request,
    start: str | None = None,
    end: str | None = None,
    status: Annotated[str | None, Query(pattern="^(ok|failed|[1-5][0-9][0-9])$")] = None,
    key: str | None = None,
    model: Annotated[str | None, Query(max_length=300)] = None,
    team: Annotated[str | None, Query(max_length=300)] = None,
    user: Annotated[str | None, Query(max_length=300)] = None,
    end_user: Annotated[str | None, Query(max_length=300)] = None,
    tag: Annotated[str | None, Query(max_length=300)] = None,
    cost_min: str | None = None,
    text: Annotated[str | None, Query(max_length=300)] = None,
    before: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    """Finished calls, newest first; for who may not see all, his own. `before` is the `next` of the page before, `start` and
    `end` are moments in ISO 8601."""
    office = office_of(request)
    await office.flush()
    master = key == MASTER_KEY_NAME
    failed = {"failed": True, "ok": False}.get(status or "")
    which = SpendFilter(
        user_id=check_sees(principal_of(request), user),
        from_us=_moment(start, "start"),
        until_us=_moment(end, "end"),
        key=None if key is None or master else token_of(key),
        master_key=master,
        model_group=model,
        team_id=team,
        end_user=end_user,
        failed=True if text and failed is None else failed,  # what went well has no error to look in
        status=int(status) if status is not None and status.isdecimal() else None,
        cost_min_nano=_nano(cost_min),
        mention=tag,
    )
    wanted = Wanted(tag=tag, text=text.casefold() if text else None)
    found, last, whole = await _search(request, which, wanted, _place(before), limit)
    shown = LogPage(
        calls=[line_of(record) for record in found],
        next=None if last is None else ".".join(map(str, last)),
        whole=whole,
        searched_until_ms=None if last is None else last[0] / 1000,
    )
    return Response(encode(shown), media_type="application/json", headers=NOT_KEPT)


async def _search(
    request: Request, which: SpendFilter, wanted: Wanted, before: Place | None, limit: int
) -> tuple[list[CallRecord], Place | None, bool]:
    """(what was found, where to go on or None at the end, whether the page is full or the end was reached)."""
    office, loop = office_of(request), asyncio.get_running_loop()
    store, ends_at = office.storage.spend, loop.time() + SEARCH_S_MAX
    everything = which == SpendFilter(from_us=which.from_us, until_us=which.until_us) and not wanted.looks_at_rows
    days = None if everything else await _days(office, which, wanted)
    found: list[CallRecord] = []
    batch = BATCH_ROWS if wanted.looks_at_rows else limit + 1
    window_us = WINDOW_US_MAX + 1 if everything else WINDOW_US_FIRST
    until_us = which.until_us if which.until_us is not None else us_of(office.now()) + DAY_US
    if before is not None:
        until_us = min(until_us, before[0] + 1)
    while True:
        window = _window(which, until_us, window_us, days)
        if window is None:
            return found, None, True
        began = loop.time()
        rows = await store.page(window, limit=batch, before=before)
        fitting, last = await asyncio.to_thread(_pick, rows, wanted, limit - len(found))
        found += fitting
        if len(found) == limit and (len(rows) == batch or last != (rows[-1].started_us, rows[-1].id)):
            return found, last, True
        if len(rows) == batch:
            before = last
            until_us = rows[-1].started_us + 1
        elif window.from_us is None or window.from_us == which.from_us:
            return found, None, True
        else:
            until_us, before = window.from_us, (window.from_us, 0)
            if len(found) == limit:
                return found, before, True
        now = loop.time()
        if now > ends_at:
            return found, before, False
        window_us = max(int(window_us * min(GROWTH_MAX, WINDOW_S / max(now - began, 0.001))), WINDOW_US_FIRST // 16)


def _window(which: SpendFilter, until_us: int, window_us: int, days: Sequence[int] | None) -> SpendFilter | None:
    """What to read next, back from `until_us`; None at the end. `days` are those on which there is something, the newest first."""
    if days is not None:
        day = next((day for day in days if day * DAY_US < until_us), None)
        if day is None:
            return None
        until_us = min(until_us, (day + 1) * DAY_US)
    from_us = until_us - window_us
    if window_us > WINDOW_US_MAX or (which.from_us is not None and from_us <= which.from_us):
        return structs.replace(which, from_us=which.from_us, until_us=until_us)
    return structs.replace(which, from_us=from_us, until_us=until_us)


async def _days(office: Office, which: SpendFilter, wanted: Wanted) -> list[int]:
    """The days on which there may be such calls, as far as sums tell, the newest first."""
    of = SpendFilter(
        key=which.key,
        master_key=which.master_key,
        model_group=which.model_group,
        team_id=which.team_id,
        user_id=which.user_id,
        end_user=which.end_user if wanted.tag is None else None,
        tag=wanted.tag,
    )
    return sorted((group.day or 0 for group in await office.storage.spend.groups(("day",), of)), reverse=True)


def _pick(rows: Sequence[SpendRow], wanted: Wanted, limit: int) -> tuple[list[CallRecord], Place | None]:
    """(what fits, at most `limit`, and the place of the last row looked at)."""
    found: list[CallRecord] = []
    place: Place | None = None
    for row in rows:
        place = (row.started_us, row.id)
        record = decode_record(row.detail)
        if wanted.fits(record):
            found.append(record)
            if len(found) == limit:
                break
    return found, place


async def detail(request: Request, call: str) -> Response:
    """Everything that is known of one call, with its bodies where they are kept."""
    office = office_of(request)
    place = ledger_key_of(call)
    await office.flush()
    row = await office.storage.spend.row(*place) if place is not None else None
    whose = check_sees(principal_of(request), None)
    if row is None or (whose is not None and decode_record(row.detail).user_id != whose):
        raise NotFound("No such call is stored. It may be older than what is kept.", param="call")
    folder = office.bodies_folder

    def shown() -> bytes:
        record = decode_record(row.detail)
        bodies = None
        if folder is not None and record.body_ref is not None:
            ref = record.body_ref
            bodies = read_bodies(folder, record.epoch, ref.segment, ref.offset, record.seq)
        found: CallDetail = detail_of(record, bodies)
        return encode(found)

    return Response(await asyncio.to_thread(shown), media_type="application/json", headers=NOT_KEPT)


def _moment(written: str | None, name: Literal["start", "end"]) -> int | None:
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
        return us_of(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise bad_request(f"{name} must be a moment like '2026-01-31T12:00:00Z'.", name) from None


def _nano(dollars: str | None) -> int | None:
    if dollars is None:
        return None
    try:
        return max(0, int(Decimal(dollars) * NANO))
    except (InvalidOperation, OverflowError, ValueError):
        raise bad_request("cost_min must be a number of dollars.", "cost_min") from None


def _place(written: str | None) -> Place | None:
    if written is None:
        return None
    parts = written.split(".")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 20 for part in parts):
        raise bad_request("before must be the `next` of an earlier page.", "before")
    return int(parts[0]), int(parts[1])
