"""Finished calls and their sums in SQL."""

# ruff: noqa: S608  statements are put together from the names of our own columns only

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from tollway.storage import (
    KEY_SCOPE,
    DaySums,
    Repriced,
    SpendColumn,
    SpendEntry,
    SpendFilter,
    SpendGroup,
    SpendHour,
    SpendRow,
    SpendTimes,
    Spent,
    sum_charges,
)
from tollway.storage.record import decode_record
from tollway.storage.repricing import changed_charges, changed_days
from tollway.storage.rollups import (
    OF_ALL,
    OF_END_USER,
    SEQ_BITS,
    SUM_COLUMNS,
    Grouped,
    Numbers,
    Place,
    check_times,
    checked_batch,
    digest,
    group_days,
    group_times,
    is_exact,
    kind_of,
    put_together,
    shown_name,
    shown_place,
    span_of,
)
from tollway.storage.session import Database, Session, roll, where_text
from tollway.storage.sql_keys import COUNT_KEY_CHANGE

REQUEST_ROWS_MAX = 1_000
#: Rows looked at for one id of a provider: the newest.
REQUEST_IDS_MAX = 10_000
#: Rows read at a time where a part of a day is added up.
CHUNK_ROWS = 5_000
HOUR_US = 3_600_000_000
#: So many places of callers are named one by one in a search.
PLACES_MAX = 2_000

_SEQ_MASK = (1 << SEQ_BITS) - 1
_ROW_SELECT = (
    f"SELECT r.id, (SELECT epoch FROM workers WHERE no = r.id >> {SEQ_BITS}), r.id & {_SEQ_MASK}, r.started_us, r.detail"
    " FROM spend_rows AS r"
)
_NEWEST_FIRST = "ORDER BY r.started_us DESC, r.id DESC"
_SPENT_SELECT = f"SELECT {', '.join(Spent.__struct_fields__)} FROM spent"

# A charge of the period in force adds to spend, one of a newer period begins it, one of an older one counts in the
# total alone.
_CHARGE_KEY = """
UPDATE keys SET
    total_spend_nano = total_spend_nano + :nano,
    spend_nano = CASE WHEN period_start_us = :period THEN spend_nano + :nano
                      WHEN period_start_us < :period THEN :nano ELSE spend_nano END,
    period_start_us = CASE WHEN period_start_us < :period THEN :period ELSE period_start_us END,
    last_active_us = CASE WHEN last_active_us >= :at THEN last_active_us ELSE :at END
WHERE token = :token
"""
_CHARGE_SCOPE = """
INSERT INTO spent (scope, id, spend_nano, total_nano, period_start_us) VALUES (:scope, :id, :nano, :nano, :period)
ON CONFLICT (scope, id) DO UPDATE SET
    total_nano = spent.total_nano + :nano,
    spend_nano = CASE WHEN spent.period_start_us = :period THEN spent.spend_nano + :nano
                      WHEN spent.period_start_us < :period THEN :nano ELSE spent.spend_nano END,
    period_start_us = CASE WHEN spent.period_start_us < :period THEN :period ELSE spent.period_start_us END
"""
_CHARGE_LEASE = """
INSERT INTO leases (scope, id, period_start_us, epoch, granted_nano, charged_nano, wanted)
VALUES (:scope, :id, :period, :epoch, 0, :nano, 0)
ON CONFLICT (scope, id, period_start_us, epoch) DO UPDATE SET charged_nano = leases.charged_nano + :nano
"""


class SqlSpendStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ingest(self, batch: Sequence[SpendEntry], *, leased: bool = False) -> int:
        if not batch:
            return 0
        checked_batch(batch)
        return await self._database.write(lambda session: _ingest(session, batch, leased))

    async def keep_days(self, sums: Sequence[DaySums]) -> int:
        return await self._database.write(lambda session: _keep_days(session, sums))

    async def reprice(self, changes: Sequence[Repriced]) -> int:
        return await self._database.write(lambda session: _reprice(session, changes))

    async def page(self, which: SpendFilter, *, limit: int, before: tuple[int, int] | None = None) -> list[SpendRow]:
        return await self._database.read(lambda session: _page(session, which, limit, before))

    async def count(self, which: SpendFilter) -> int:
        def work(session: Session) -> int:
            if which.request_id is not None or which.session_id is not None:
                return len(_page(session, which, REQUEST_ROWS_MAX, None))
            where, values = _row_where(session, which)
            ((count,),) = session.rows(f"SELECT count(*) FROM spend_rows AS r{where}", values)
            return int(count)

        return await self._database.read(work)

    async def recent(self, limit: int = 10_000) -> tuple[list[SpendRow], int]:
        return await self.page(SpendFilter(), limit=limit), await self.count(SpendFilter())

    async def by_request_id(self, request_id: str) -> list[SpendRow]:
        return await self.page(SpendFilter(request_id=request_id), limit=REQUEST_ROWS_MAX)

    async def row(self, epoch: int, seq: int) -> SpendRow | None:
        statement = f"{_ROW_SELECT} WHERE r.id = (SELECT no FROM workers WHERE epoch = :epoch) * {_SEQ_MASK + 1} + :seq"
        rows = await self._database.read(lambda session: session.rows(statement, {"epoch": epoch, "seq": seq}))
        return SpendRow(*rows[0]) if rows else None

    async def groups(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendGroup]:
        kind = kind_of(by, which)
        # Without an end user: what is in all sums and under none.
        rest_by: list[SpendColumn] = [name for name in by if name != "end_user"]
        with_rest = kind == OF_END_USER and which.end_user is None

        def work(session: Session) -> list[SpendGroup]:
            successors = dict(session.rows("SELECT old, token FROM key_predecessors"))
            named = _groups(session, kind, by, which, successors)
            everything = _groups(session, OF_ALL, rest_by, which, successors) if with_rest else None
            return put_together(by, named, everything, successors)

        return await self._database.read(work)

    async def times(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendTimes]:
        check_times(by, which)
        span = span_of(which)
        conditions, values = _days_where(span.from_day, span.until_day, "t")
        statement = (
            "SELECT t.day, p.kind, p.name, p.key, p.user_id, p.team_id, p.organization_id, p.model, p.model_group,"
            " p.provider, p.endpoint, t.bucket, t.calls FROM spend_times AS t JOIN spend_places AS p ON p.id = t.place"
        )
        rows = await self._database.read(lambda session: session.rows(statement + where_text(conditions), values))
        counted = [(row[0], _place(row[1:11]), row[11], row[12]) for row in rows]
        return group_times(by, which, counted)

    async def hours(self, from_us: int, until_us: int) -> list[SpendHour]:
        statement = (
            f"SELECT started_us / {HOUR_US} AS hour, CAST(sum(cost_nano) AS BIGINT), count(*),"
            " sum(CASE WHEN status >= 400 THEN 1 ELSE 0 END) FROM spend_rows"
            " WHERE started_us >= :from_us AND started_us < :until_us GROUP BY hour ORDER BY hour"
        )
        values = {"from_us": from_us, "until_us": until_us}
        rows = await self._database.read(lambda session: session.rows(statement, values))
        return [SpendHour(*row) for row in rows]

    async def spent(self, scope: str, scope_id: str) -> Spent | None:
        statement = f"{_SPENT_SELECT} WHERE scope = :scope AND id = :id"
        rows = await self._database.read(lambda session: session.rows(statement, {"scope": scope, "id": scope_id}))
        return Spent(*rows[0]) if rows else None

    async def all_spent(self) -> list[Spent]:
        return [Spent(*row) for row in await self._database.read(lambda session: session.rows(_SPENT_SELECT))]

    async def roll_budget(self, scope: str, scope_id: str, started_us: int, next_reset_us: int | None) -> bool:
        statement = """
            INSERT INTO spent (scope, id, spend_nano, total_nano, period_start_us, reset_us)
            VALUES (:scope, :id, 0, 0, :started, :reset)
            ON CONFLICT (scope, id) DO UPDATE SET spend_nano = 0, period_start_us = :started, reset_us = :reset
            WHERE spent.period_start_us < :started"""
        renew = "UPDATE spent SET reset_us = :reset WHERE scope = :scope AND id = :id AND period_start_us = :started"
        values = {"scope": scope, "id": scope_id, "started": started_us, "reset": next_reset_us}
        return await self._database.write(lambda session: roll(session, statement, renew, values))

    async def forget_before(self, before_us: int, *, rows_max: int) -> int:
        return await self._database.write(lambda session: session.forget_before(before_us, rows_max))


# Writing


def _ingest(session: Session, batch: Sequence[SpendEntry], leased: bool) -> int:
    digested = digest(batch, session.places, session.workers)
    new = session.insert_spend(digested)
    if new is not None:  # a journal is replayed
        if not new:
            return 0
        batch = [batch[place] for place in new]
        digested = digest(batch, session.places, session.workers)
    _charge(session, batch, leased)
    session.add_up("spend_days", ("kind", "day", "place"), SUM_COLUMNS, digested.day_rows())
    session.add_up("spend_times", ("day", "place", "bucket"), ("calls",), digested.time_rows())
    return len(batch)


def _keep_days(session: Session, sums: Sequence[DaySums]) -> int:
    columns = ("kind", "day", "place", *SUM_COLUMNS)
    statement = (
        f"INSERT INTO spend_days ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})"
        " ON CONFLICT (kind, day, place) DO NOTHING"
    )
    return sum(
        session.execute(statement, dict(zip(columns, (place[0], day, session.places[place], *more), strict=True)))
        for day, place, more in sums
    )


def _reprice(session: Session, changes: Sequence[Repriced]) -> int:
    done = []
    for row, entry in changes:
        at = {"id": row.id, "started_us": row.started_us}
        stored = session.rows(f"SELECT detail FROM spend_rows WHERE {_AT}{session.lock}", at)
        if not stored or bytes(stored[0][0]) != row.detail:
            continue
        record, payload = entry
        values = {**at, "cost": record.cost.total, "detail": payload}
        session.execute(f"UPDATE spend_rows SET cost_nano = :cost, detail = :detail WHERE {_AT}", values)
        done.append((row, entry))
    session.add_up(
        "spend_days", ("kind", "day", "place"), SUM_COLUMNS, changed_days(done, session.places, session.workers)
    )
    _charge(session, changed_charges(done), leased=False)
    if done:
        session.execute(COUNT_KEY_CHANGE)  # what was spent is another sum: whoever keeps it in memory reads it again
    return len(done)


_AT = "id = :id AND started_us = :started_us"


def _charge(session: Session, batch: Sequence[SpendEntry], leased: bool) -> None:
    key_charges: list[dict[str, Any]] = []
    scope_charges: list[dict[str, Any]] = []
    for (scope, scope_id, period), (nano, at) in sum_charges(batch).items():
        if scope == KEY_SCOPE:
            key_charges.append({"token": bytes.fromhex(scope_id), "nano": nano, "period": period, "at": at})
        else:
            scope_charges.append({"scope": scope, "id": scope_id, "nano": nano, "period": period})
    if session.execute_many(_CHARGE_KEY, key_charges) != len(key_charges):
        key_charges = _charge_successors(session, key_charges)
    session.execute_many(_CHARGE_SCOPE, scope_charges)
    if leased:
        scope_charges.extend({**charge, "scope": KEY_SCOPE, "id": charge["token"].hex()} for charge in key_charges)
        epoch = batch[0][0].epoch
        session.execute_many(_CHARGE_LEASE, [{**charge, "epoch": epoch} for charge in scope_charges])


def _charge_successors(session: Session, charges: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some keys were not there. Calls that began before their key was regenerated are paid by what it became.

    Returns all charges to keys that are there.
    """
    paid = []
    for charge in charges:
        # A token is a key's or a predecessor's, never both: what was charged already is not found here.
        for (successor,) in session.rows("SELECT token FROM key_predecessors WHERE old = :token", charge):
            session.execute(_CHARGE_KEY, {**charge, "token": successor})
            paid.append({**charge, "token": successor})
        if session.rows("SELECT 1 FROM keys WHERE token = :token", charge):
            paid.append(charge)
    return paid


# Reading


def _page(session: Session, which: SpendFilter, limit: int, before: tuple[int, int] | None) -> list[SpendRow]:
    where, values = _row_where(session, which, before)
    rows = session.rows(f"{_ROW_SELECT}{where} {_NEWEST_FIRST} LIMIT :limit", {**values, "limit": limit})
    found = [SpendRow(*row) for row in rows]
    if which.request_id is not None or which.session_id is not None:
        return [row for row in found if is_exact(decode_record(row.detail), which)]
    return found


def _row_where(
    session: Session, which: SpendFilter, before: tuple[int, int] | None = None
) -> tuple[str, dict[str, Any]]:
    if which.tag is not None:
        raise ValueError("Rows are not found by a tag.")
    conditions: list[str] = []
    values: dict[str, Any] = {}

    def add(condition: str, **more: Any) -> None:
        conditions.append(condition)
        values.update(more)

    if which.from_us is not None:
        add("r.started_us >= :from_us", from_us=which.from_us)
    until_us = which.until_us
    if before is not None:  # said twice: the planner takes one upper bound, and it must be the lower one
        until_us = before[0] + 1 if until_us is None else min(until_us, before[0] + 1)
    if until_us is not None:
        add("r.started_us < :until_us", until_us=until_us)
    if before is not None:
        add("(r.started_us, r.id) < (:before_us, :before_id)", before_us=before[0], before_id=before[1])
    of_place, named = _place_where(which)
    if of_place:
        chosen = f"SELECT p.id FROM spend_places AS p WHERE p.kind = {OF_ALL} AND {' AND '.join(of_place)}"
        places = session.rows(f"{chosen} LIMIT {PLACES_MAX + 1}", named)
        if len(places) > PLACES_MAX:
            add(f"r.place IN ({chosen})", **named)
        elif places:
            # Their numbers: a planner that knows nothing of a table's contents yet (PostgreSQL's, before ANALYZE) would join.
            add(f"r.place IN ({', '.join(str(int(place)) for (place,) in places)})")
        else:
            add("1 = 0")
    if which.end_user is not None:
        statement = f"SELECT p.id FROM spend_places AS p WHERE p.kind = {OF_END_USER} AND p.name = :end_user"
        add(f"r.customer IN ({statement})", end_user=shown_name(which.end_user))
    of_call, told = _call_where(which)
    conditions += of_call
    values.update(told)
    if which.mention is not None:
        add(session.mentions, mention=which.mention.encode("utf-8", "replace"))
    if which.session_id is not None:
        add(
            "r.session_crc = :session_crc AND r.session_crc <> 0",
            session_crc=zlib.crc32(which.session_id.encode("utf-8", "replace")),
        )
    if which.request_id is not None:
        ids = session.request_ids(zlib.crc32(which.request_id.encode("utf-8", "replace")))
        add(f"r.id IN ({', '.join(map(str, ids[:REQUEST_IDS_MAX])) or -1})")
    return where_text(conditions), values


def _call_where(which: SpendFilter) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    if which.failed is not None:
        conditions.append("r.status >= 400" if which.failed else "r.status < 400")
    if which.status is not None:
        # The second half says what PostgreSQL's index of failures rests on.
        conditions.append(f"r.status = :status AND r.status {'>=' if which.status >= 400 else '<'} 400")
        values["status"] = which.status
    if which.cost_min_nano is not None:
        conditions.append("r.cost_nano >= :cost_min")
        values["cost_min"] = which.cost_min_nano
    if which.cost_max_nano is not None:
        conditions.append("r.cost_nano <= :cost_max")
        values["cost_max"] = which.cost_max_nano
    return conditions, values


def _place_where(which: SpendFilter) -> tuple[list[str], dict[str, Any]]:
    names = ("user_id", "team_id", "organization_id", "model", "model_group", "provider")
    values: dict[str, Any] = {name: shown_name(value) for name in names if (value := getattr(which, name)) is not None}
    conditions = [f"p.{name} = :{name}" for name in values]
    if which.key is not None:
        conditions.append("p.key IN (SELECT :key UNION ALL SELECT old FROM key_predecessors WHERE token = :key)")
        values["key"] = which.key
    if which.master_key:
        conditions.append("p.key IS NULL")
    return conditions, values


def _days_where(from_day: int | None, until_day: int | None, table: str) -> tuple[list[str], dict[str, Any]]:
    conditions, values = [], {}
    if from_day is not None:
        conditions.append(f"{table}.day >= :from_day")
        values["from_day"] = from_day
    if until_day is not None:
        conditions.append(f"{table}.day < :until_day")
        values["until_day"] = until_day
    return conditions, values


def _groups(
    session: Session, kind: int, by: Sequence[SpendColumn], which: SpendFilter, successors: Mapping[bytes, bytes]
) -> list[Grouped]:
    span = span_of(which)
    found: list[Grouped] = []
    if span.from_day is None or span.until_day is None or span.from_day < span.until_day:
        conditions, values = _days_where(span.from_day, span.until_day, "d")
        of_place, named = _place_where(which)
        conditions = [f"d.kind = {kind}", *conditions, *of_place]
        values.update(named)
        name = which.end_user if which.end_user is not None else which.tag
        if name is not None:
            conditions.append("p.name = :name")
            values["name"] = shown_name(name)
        if of_place or name is not None:
            # Said of places too: they are found first, and most of them are of customers and tags.
            conditions.append(f"p.kind = {kind}")
        joined = len(conditions) > 1 or set(by) != {"day"}
        columns = ["d.day" if one == "day" else "p.name" if one in _NAMES else f"p.{one}" for one in by]
        sums = [f"CAST(coalesce(sum(d.{name}), 0) AS BIGINT)" for name in SUM_COLUMNS]
        of, where = "spend_days", where_text(conditions)
        if joined and "day" not in by and name is None and not of_place:
            # A place's days are added up before its names are looked for: a thousand customers are a hundred thousand rows.
            days = ", ".join(f"sum(d.{name}) AS {name}" for name in SUM_COLUMNS)
            of, where = f"(SELECT d.place, {days} FROM spend_days AS d{where} GROUP BY d.place)", ""
        statement = (
            f"SELECT {', '.join([*columns, *sums])} FROM {of} AS d"
            f"{' JOIN spend_places AS p ON p.id = d.place' if joined else ''}{where}"
            f"{' GROUP BY ' + ', '.join(columns) if columns else ''}"
        )
        width = len(by)
        found = [(row[:width], row[width:]) for row in session.rows(statement, values)]
    keys = {old for old, new in successors.items() if new == which.key} | ({which.key} if which.key else set())
    for from_us, until_us in span.pieces:
        found += group_days(by, which, keys, _piece(session, kind, from_us, until_us))
    return found


_NAMES = ("end_user", "tag")


def _piece(session: Session, kind: int, from_us: int, until_us: int) -> list[tuple[int, Place, list[int]]]:
    """The sums of a part of a day, added up call by call."""
    seen: list[Place] = []

    def give(place: Place) -> int:
        seen.append(shown_place(place))
        return len(seen) - 1

    places, workers = Numbers(give, kept_max=1 << 60), Numbers(lambda epoch: 0)
    sums: dict[tuple[int, int], list[int]] = {}
    statement = (
        "SELECT r.started_us, r.id, r.detail FROM spend_rows AS r WHERE r.started_us < :until_us"
        f" AND (r.started_us, r.id) > (:at_us, :at_id) ORDER BY r.started_us, r.id LIMIT {CHUNK_ROWS}"
    )
    at_us, at_id = from_us, -1
    while rows := session.rows(statement, {"until_us": until_us, "at_us": at_us, "at_id": at_id}):
        at_us, at_id = rows[-1][:2]
        batch = [(decode_record(detail), b"") for _, _, detail in rows]
        for (of, day, place), more in digest(batch, places, workers).days.items():
            if of == kind:
                so_far = sums.get((day, place))
                sums[day, place] = more if so_far is None else [a + b for a, b in zip(so_far, more, strict=True)]
    return [(day, seen[place], more) for (day, place), more in sums.items()]


def _place(columns: Sequence[Any]) -> Place:
    kind, name, key, user_id, team_id, organization_id, model, model_group, provider, endpoint = columns
    return kind, name, key, user_id, team_id, organization_id, model, model_group, provider, endpoint
