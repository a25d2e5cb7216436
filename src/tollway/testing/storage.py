"""A storage in memory: the same Protocols and the same behaviour as the one on disk, gone when it is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from msgspec import msgpack, structs

from tollway.errors import StorageError
from tollway.storage import (
    KEY_SCOPE,
    AliasTaken,
    DaySums,
    Holder,
    KeyExists,
    KeyFilter,
    KeyRecord,
    KeySort,
    LeaseKept,
    LeaseState,
    LeaseWant,
    Predecessor,
    Repriced,
    SpendColumn,
    SpendEntry,
    SpendFilter,
    SpendGroup,
    SpendHour,
    SpendRow,
    SpendTimes,
    Spent,
    judge_lease,
    merge_key_changes,
    sum_charges,
)
from tollway.storage.people import (
    KINDS,
    SCOPES,
    AuditEntry,
    AuditFilter,
    Credential,
    Customer,
    EntityExists,
    Organization,
    People,
    SharedBudget,
    StoredModel,
    T,
    Tag,
    Team,
    User,
)
from tollway.storage.record import CallRecord, decode_record
from tollway.storage.repricing import changed_charges, changed_days
from tollway.storage.rollups import (
    OF_ALL,
    OF_END_USER,
    SEQ_BITS,
    Digest,
    Numbers,
    Place,
    Span,
    check_times,
    checked_batch,
    digest,
    group_days,
    group_times,
    is_exact,
    kind_of,
    matches,
    put_together,
    shown_place,
    span_of,
)
from tollway.storage.sign_ins import Ticket

REQUEST_ROWS_MAX = 1_000
HOUR_US = 3_600_000_000
#: How often somebody who waits for changed keys looks.
LOOK_S = 0.05


class MemoryStorage:
    """Holds everything in dicts. `break_down` makes every further call fail, as a storage that is away does."""

    def __init__(self) -> None:
        self.keys = MemoryKeyStore(self)
        self.spend = MemorySpendStore(self)
        self.leases = MemoryLeaseStore(self)
        self.people = MemoryPeopleStore(self)
        self.sign_ins = MemorySignInStore(self)
        self._failure: StorageError | None = None

    @property
    def shared(self) -> bool:
        return False

    async def key_changes(self) -> int:
        self.check_open()
        return self.keys.changes

    async def next_key_change(self, seen: int) -> int:
        while await self.key_changes() == seen:  # noqa: ASYNC110  it may fail meanwhile, too
            await asyncio.sleep(LOOK_S)
        return self.keys.changes

    async def check(self) -> None:
        self.check_open()

    async def close(self) -> None:
        self._failure = StorageError("The storage is closed.")

    def break_down(self, message: str = "The storage is away.") -> None:
        self._failure = StorageError(message)

    def recover(self) -> None:
        self._failure = None

    def check_open(self) -> None:
        if self._failure is not None:
            raise self._failure


class MemoryKeyStore:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.changes = 0
        self._records: dict[bytes, KeyRecord] = {}
        self._predecessors: dict[bytes, Predecessor] = {}

    async def create(self, record: KeyRecord) -> None:
        self._storage.check_open()
        self._check_free(record.token, record.key_alias)
        self._records[record.token] = _stored(record)
        self.changes += 1

    async def get(self, token: bytes) -> KeyRecord | None:
        self._storage.check_open()
        return self._records.get(token)

    async def get_by_alias(self, alias: str) -> KeyRecord | None:
        self._storage.check_open()
        return next((record for record in self._records.values() if record.key_alias == alias), None)

    async def update(self, token: bytes, changes: Mapping[str, Any], *, now_us: int) -> KeyRecord | None:
        self._storage.check_open()
        record = self._records.get(token)
        return self._change(record, changes, now_us) if record is not None else None

    async def delete(self, tokens: Sequence[bytes]) -> list[bytes]:
        self._storage.check_open()
        deleted = [token for token in tokens if self._records.pop(token, None) is not None]
        self._predecessors = {old: was for old, was in self._predecessors.items() if was.token not in deleted}
        self._storage.leases.forget_keys(deleted)
        self.changes += bool(deleted)
        return deleted

    async def page(
        self, which: KeyFilter, *, sort: KeySort = "created_us", descending: bool = True, limit: int, offset: int = 0
    ) -> tuple[list[KeyRecord], int]:
        self._storage.check_open()
        if sort not in KeyRecord.__struct_fields__:
            raise ValueError(f"Keys are not sorted by {sort!r}.")
        wanted = {name: value for name, value in structs.asdict(which).items() if value is not None}
        found = [
            record
            for _, record in sorted(self._records.items())
            if all(getattr(record, name) == value for name, value in wanted.items())
        ]
        known = [record for record in found if getattr(record, sort) is not None]
        known.sort(key=lambda record: getattr(record, sort), reverse=descending)
        found = known + [record for record in found if getattr(record, sort) is None]
        return found[offset : offset + limit], len(found)

    async def load_all(self) -> list[KeyRecord]:
        self._storage.check_open()
        return list(self._records.values())

    async def predecessors(self) -> list[Predecessor]:
        self._storage.check_open()
        return list(self._predecessors.values())

    async def regenerate(
        self, old: bytes, new: bytes, *, key_name: str, grace_until_us: int, changes: Mapping[str, Any], now_us: int
    ) -> KeyRecord | None:
        self._storage.check_open()
        record = self._records.get(old)
        if record is None:
            return None
        self._check_free(new, None)
        changed = self._change(structs.replace(record, token=new, key_name=key_name), changes, now_us)
        del self._records[old]
        for was in list(self._predecessors.values()):
            if was.token == old:
                self._predecessors[was.old] = structs.replace(was, token=new)
        self._predecessors[old] = Predecessor(old, new, grace_until_us)
        self._storage.leases.rename_key(old, new)
        return changed

    async def roll_budget(self, token: bytes, started_us: int, next_reset_us: int | None) -> bool:
        self._storage.check_open()
        record = self._records.get(token)
        if record is None or record.period_start_us > started_us:
            return False
        begun = record.period_start_us == started_us
        spend = record.spend_nano if begun else 0
        self._records[token] = structs.replace(
            record, spend_nano=spend, period_start_us=started_us, budget_reset_us=next_reset_us
        )
        return not begun

    def current(self, token: bytes) -> KeyRecord | None:
        """The key of a token, or what it became."""
        if token not in self._records and token in self._predecessors:
            token = self._predecessors[token].token
        return self._records.get(token)

    def charge(self, token: bytes, period: int, nano: int, at: int) -> None:
        record = self.current(token)
        if record is not None:
            token = record.token
            self._records[token] = structs.replace(
                record,
                spend_nano=_charged(record.spend_nano, record.period_start_us, period, nano),
                total_spend_nano=record.total_spend_nano + nano,
                period_start_us=max(record.period_start_us, period),
                last_active_us=max(record.last_active_us or 0, at),
            )

    def successors(self) -> dict[bytes, bytes]:
        return {old: was.token for old, was in self._predecessors.items()}

    def _change(self, record: KeyRecord, changes: Mapping[str, Any], now_us: int) -> KeyRecord:
        changed = _stored(merge_key_changes(record, changes, now_us=now_us))
        if changed.key_alias != record.key_alias:
            self._check_free(b"", changed.key_alias)
        self._records[record.token] = changed
        self.changes += 1
        return changed

    def _check_free(self, token: bytes, alias: str | None) -> None:
        if token in self._records or token in self._predecessors:
            raise KeyExists("Another key has this token.")
        if alias is not None and any(record.key_alias == alias for record in self._records.values()):
            raise AliasTaken(f"Another key has the alias {alias!r}.")


class MemorySpendStore:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._rows: dict[tuple[int, int], SpendRow] = {}
        self._spent: dict[tuple[str, str], Spent] = {}
        self._places: list[Place] = []
        self._place_numbers = Numbers(self._give_place)
        self._workers: list[int] = []
        self._worker_numbers = Numbers(self._give_worker)
        self._days: dict[tuple[int, int, int], list[int]] = {}
        self._times: dict[tuple[int, int, int], int] = {}

    def _give_place(self, place: Place) -> int:
        self._places.append(shown_place(place))
        return len(self._places) - 1

    def _give_worker(self, epoch: int) -> int:
        self._workers.append(epoch)
        return len(self._workers)

    async def ingest(self, batch: Sequence[SpendEntry], *, leased: bool = False) -> int:
        self._storage.check_open()
        checked_batch(batch)
        inserted: list[SpendEntry] = []
        for record, payload in batch:
            place = (record.epoch, record.seq)
            if place not in self._rows:
                number = self._worker_numbers[record.epoch] << SEQ_BITS | record.seq
                self._rows[place] = SpendRow(number, *place, record.started_us, payload)
                inserted.append((record, payload))
        self._add_up(digest(inserted, self._place_numbers, self._worker_numbers))
        for (scope, scope_id, period), (nano, at) in sum_charges(inserted).items():
            if scope == KEY_SCOPE:
                self._storage.keys.charge(bytes.fromhex(scope_id), period, nano, at)
            else:
                self._charge(scope, scope_id, period, nano)
            if leased:
                self._storage.leases.charge(scope, scope_id, period, batch[0][0].epoch, nano)
        return len(inserted)

    async def keep_days(self, sums: Sequence[DaySums]) -> int:
        self._storage.check_open()
        kept = 0
        for day, (kind, *name), more in sums:
            at = (kind, day, self._place_numbers[(kind, *name)])
            if at not in self._days:
                self._days[at] = list(more)
                kept += 1
        return kept

    async def reprice(self, changes: Sequence[Repriced]) -> int:
        self._storage.check_open()
        done = [(row, entry) for row, entry in changes if self._rows.get((row.epoch, row.seq)) == row]
        for row, (_, payload) in done:
            self._rows[row.epoch, row.seq] = structs.replace(row, detail=payload)
        for kind, day, place, *more in changed_days(done, self._place_numbers, self._worker_numbers):
            so_far = self._days[kind, day, place]
            self._days[kind, day, place] = [a + b for a, b in zip(so_far, more, strict=True)]
        for (scope, scope_id, period), (nano, at) in sum_charges(changed_charges(done)).items():
            if scope == KEY_SCOPE:
                self._storage.keys.charge(bytes.fromhex(scope_id), period, nano, at)
            else:
                self._charge(scope, scope_id, period, nano)
        self._storage.keys.changes += bool(done)
        return len(done)

    def _add_up(self, digested: Digest) -> None:
        for name, sums in digested.days.items():
            so_far = self._days.get(name)
            self._days[name] = sums if so_far is None else [a + b for a, b in zip(so_far, sums, strict=True)]
        for day, place, bucket, calls in digested.time_rows():
            self._times[day, place, bucket] = self._times.get((day, place, bucket), 0) + calls

    async def page(self, which: SpendFilter, *, limit: int, before: tuple[int, int] | None = None) -> list[SpendRow]:
        self._storage.check_open()
        found = self._newest_first(self._matching(which))
        return [row for row in found if before is None or (row.started_us, row.id) < before][:limit]

    async def count(self, which: SpendFilter) -> int:
        self._storage.check_open()
        return len(self._matching(which))

    async def recent(self, limit: int = 10_000) -> tuple[list[SpendRow], int]:
        return await self.page(SpendFilter(), limit=limit), len(self._rows)

    async def by_request_id(self, request_id: str) -> list[SpendRow]:
        return await self.page(SpendFilter(request_id=request_id), limit=REQUEST_ROWS_MAX)

    async def row(self, epoch: int, seq: int) -> SpendRow | None:
        self._storage.check_open()
        return self._rows.get((epoch, seq))

    async def groups(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendGroup]:
        self._storage.check_open()
        kind = kind_of(by, which)
        successors = self._storage.keys.successors()
        rest_by: list[SpendColumn] = [name for name in by if name != "end_user"]
        with_rest = kind == OF_END_USER and which.end_user is None
        named = group_days(by, which, self._keys(which), self._sums(kind, which))
        everything = group_days(rest_by, which, self._keys(which), self._sums(OF_ALL, which)) if with_rest else None
        return put_together(by, named, everything, successors)

    def _sums(self, kind: int, which: SpendFilter) -> list[tuple[int, Place, Sequence[int]]]:
        span = span_of(which)
        found: list[tuple[int, Place, Sequence[int]]] = [
            (day, self._places[place], sums)
            for (of, day, place), sums in self._days.items()
            if of == kind and _within(day, span)
        ]
        for from_us, until_us in span.pieces:
            rows = [row for row in self._rows.values() if from_us <= row.started_us < until_us]
            batch = [(decode_record(row.detail), b"") for row in rows]
            digested = digest(batch, self._place_numbers, self._worker_numbers)
            found += [
                (day, self._places[place], sums) for (of, day, place), sums in digested.days.items() if of == kind
            ]
        return found

    async def times(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendTimes]:
        self._storage.check_open()
        check_times(by, which)
        span = span_of(which)
        counted = [
            (day, self._places[place], bucket, calls)
            for (day, place, bucket), calls in self._times.items()
            if _within(day, span)
        ]
        return group_times(by, which, counted)

    async def hours(self, from_us: int, until_us: int) -> list[SpendHour]:
        self._storage.check_open()
        found: dict[int, tuple[int, int, int]] = {}
        for row in self._matching(SpendFilter(from_us=from_us, until_us=until_us)):
            record = decode_record(row.detail)
            nano, calls, failed = found.get(row.started_us // HOUR_US, (0, 0, 0))
            found[row.started_us // HOUR_US] = nano + record.cost.total, calls + 1, failed + record.failed
        return [SpendHour(hour, *sums) for hour, sums in sorted(found.items())]

    async def spent(self, scope: str, scope_id: str) -> Spent | None:
        self._storage.check_open()
        return self._spent.get((scope, scope_id))

    async def all_spent(self) -> list[Spent]:
        self._storage.check_open()
        return list(self._spent.values())

    async def roll_budget(self, scope: str, scope_id: str, started_us: int, next_reset_us: int | None) -> bool:
        self._storage.check_open()
        found = self._spent.get((scope, scope_id))
        before = found or Spent(scope, scope_id, 0, 0)
        if found is not None and before.period_start_us > started_us:
            return False
        begun = found is not None and before.period_start_us == started_us
        self._spent[scope, scope_id] = structs.replace(
            before, spend_nano=before.spend_nano if begun else 0, period_start_us=started_us, reset_us=next_reset_us
        )
        return not begun

    async def forget_before(self, before_us: int, *, rows_max: int) -> int:
        self._storage.check_open()
        old = sorted((row.started_us, place) for place, row in self._rows.items() if row.started_us < before_us)
        for _, place in old[:rows_max]:
            del self._rows[place]
        return len(old[:rows_max])

    def set_spent(self, scope: str, scope_id: str, nano: int) -> None:
        before = self.standing(scope, scope_id)
        total = max(before.total_nano, nano)
        self._spent[scope, scope_id] = structs.replace(before, spend_nano=nano, total_nano=total)

    def forget_spent(self, scope: str, scope_id: str) -> None:
        self._spent.pop((scope, scope_id), None)

    def standing(self, scope: str, scope_id: str) -> Spent:
        return self._spent.get((scope, scope_id)) or Spent(scope, scope_id, 0, 0)

    def _charge(self, scope: str, scope_id: str, period: int, nano: int) -> None:
        before = self._spent.get((scope, scope_id)) or Spent(scope, scope_id, 0, 0, period)
        self._spent[scope, scope_id] = structs.replace(
            before,
            spend_nano=_charged(before.spend_nano, before.period_start_us, period, nano),
            total_nano=before.total_nano + nano,
            period_start_us=max(before.period_start_us, period),
        )

    def _keys(self, which: SpendFilter) -> set[bytes]:
        """The key that is asked for, and what it was before."""
        if which.key is None:
            return set()
        return {which.key} | {old for old, token in self._storage.keys.successors().items() if token == which.key}

    def _matching(self, which: SpendFilter) -> list[SpendRow]:
        if which.tag is not None:
            raise ValueError("Rows are not found by a tag.")
        keys = self._keys(which)
        mention = (which.mention or "").encode("utf-8", "replace")
        return [
            row
            for row in self._rows.values()
            if mention in row.detail and _matches(decode_record(row.detail), which, keys)
        ]

    @staticmethod
    def _newest_first(rows: Sequence[SpendRow]) -> list[SpendRow]:
        return sorted(rows, key=lambda row: (row.started_us, row.id), reverse=True)


class MemoryEntityStore(Generic[T]):
    def __init__(self, storage: MemoryStorage, scope: str | None) -> None:
        self._storage = storage
        self._scope = scope
        self.entities: dict[str, T] = {}

    async def create(self, entity: T, *, spend_nano: int = 0) -> None:
        self._storage.check_open()
        if entity.id in self.entities:
            raise EntityExists(f"There is one with the id {entity.id!r} already.")
        self.entities[entity.id] = _written(entity)
        self._forget_spent(entity.id)
        if spend_nano and self._scope is not None:
            self._storage.spend.set_spent(self._scope, entity.id, spend_nano)
        self._storage.keys.changes += 1

    async def get(self, id: str) -> T | None:
        self._storage.check_open()
        return self.entities.get(id)

    async def all(self) -> list[T]:
        self._storage.check_open()
        return sorted(self.entities.values(), key=lambda entity: (entity.created_us, entity.id))

    async def change(self, id: str, change: Callable[[T], T]) -> tuple[T, T] | None:
        self._storage.check_open()
        before = self.entities.get(id)
        if before is None:
            return None
        after = self.entities[id] = _written(change(before))
        self._storage.keys.changes += 1
        return before, after

    async def delete(self, ids: Sequence[str]) -> list[T]:
        self._storage.check_open()
        deleted = [found for name in ids if (found := self.entities.pop(name, None)) is not None]
        for entity in deleted:
            self._forget_spent(entity.id)
        self._storage.keys.changes += bool(deleted)
        return deleted

    def _forget_spent(self, id: str) -> None:
        if self._scope is not None:
            self._storage.spend.forget_spent(self._scope, id)
            self._storage.leases.forget(self._scope, id)


class MemoryPeopleStore:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.teams: MemoryEntityStore[Team] = MemoryEntityStore(storage, SCOPES["teams"])
        self.users: MemoryEntityStore[User] = MemoryEntityStore(storage, SCOPES["users"])
        self.organizations: MemoryEntityStore[Organization] = MemoryEntityStore(storage, SCOPES["organizations"])
        self.customers: MemoryEntityStore[Customer] = MemoryEntityStore(storage, SCOPES["customers"])
        self.budgets: MemoryEntityStore[SharedBudget] = MemoryEntityStore(storage, None)
        self.tags: MemoryEntityStore[Tag] = MemoryEntityStore(storage, SCOPES["tags"])
        self.models: MemoryEntityStore[StoredModel] = MemoryEntityStore(storage, None)
        self.credentials: MemoryEntityStore[Credential] = MemoryEntityStore(storage, None)
        self._audit: list[AuditEntry] = []

    async def load(self) -> People:
        self._storage.check_open()
        return People(**{kind: {one.id: one for one in await getattr(self, kind).all()} for kind in KINDS})

    async def set_spent(self, scope: str, scope_id: str, nano: int) -> None:
        self._storage.check_open()
        self._storage.spend.set_spent(scope, scope_id, nano)
        self._storage.keys.changes += 1

    async def forget_spent(self, scopes: Sequence[tuple[str, str]]) -> None:
        self._storage.check_open()
        for scope, scope_id in scopes:
            self._storage.spend.forget_spent(scope, scope_id)
            self._storage.leases.forget(scope, scope_id)

    async def note(self, entries: Sequence[AuditEntry]) -> None:
        self._storage.check_open()
        for entry in entries:
            self._audit.append(structs.replace(entry, id=self._audit[-1].id + 1 if self._audit else 1))

    async def audit(self, which: AuditFilter, *, limit: int, offset: int = 0) -> tuple[list[AuditEntry], int]:
        self._storage.check_open()
        wanted = {name: value for name, value in structs.asdict(which).items() if value is not None}
        from_us, until_us = wanted.pop("from_us", None), wanted.pop("until_us", None)
        found = [
            one
            for one in reversed(self._audit)
            if all(getattr(one, name) == value for name, value in wanted.items())
            and (from_us is None or one.at_us >= from_us)
            and (until_us is None or one.at_us < until_us)
        ]
        return found[offset : offset + limit], len(found)

    async def audit_entry(self, id: int) -> AuditEntry | None:
        self._storage.check_open()
        return next((one for one in self._audit if one.id == id), None)

    async def forget_audit(self, before_us: int, *, kept: int, rows_max: int) -> int:
        self._storage.check_open()
        last = self._audit[-1].id if self._audit else 0
        gone = [one for one in self._audit if one.at_us < before_us or one.id <= last - kept][:rows_max]
        self._audit = [one for one in self._audit if one not in gone]
        return len(gone)


class MemorySignInStore:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._passwords: dict[str, str] = {}
        self._tickets: dict[bytes, Ticket] = {}

    async def password_of(self, user_id: str) -> str | None:
        self._storage.check_open()
        return self._passwords.get(user_id)

    async def set_password(self, user_id: str, hashed: str | None, *, now_us: int) -> None:
        await self.end([user_id])
        if hashed is None:
            self._passwords.pop(user_id, None)
        else:
            self._passwords[user_id] = hashed

    async def users_with_password(self) -> set[str]:
        self._storage.check_open()
        return set(self._passwords)

    async def add(self, ticket: Ticket, *, tickets_max: int, idle_us_max: int) -> None:
        self._storage.check_open()
        if ticket.digest in self._tickets:
            raise StorageError("This ticket is there already.")
        of_kind = [one for one in self._tickets.values() if one.kind == ticket.kind]
        over = [one for one in of_kind if one.ends_us <= ticket.begun_us or one.used_us < ticket.begun_us - idle_us_max]
        left = sorted((one for one in of_kind if one not in over), key=lambda one: one.digest)
        left.sort(key=lambda one: one.used_us, reverse=True)
        for one in (*over, *left[tickets_max - 1 :]):
            del self._tickets[one.digest]
        self._tickets[ticket.digest] = ticket

    async def get(self, digest: bytes) -> Ticket | None:
        self._storage.check_open()
        return self._tickets.get(digest)

    async def take(self, digest: bytes) -> Ticket | None:
        self._storage.check_open()
        return self._tickets.pop(digest, None)

    async def touch(self, digest: bytes, used_us: int) -> None:
        found = await self.get(digest)
        if found is not None:
            self._tickets[digest] = structs.replace(found, used_us=used_us)

    async def end(self, user_ids: Sequence[str]) -> int:
        self._storage.check_open()
        ended = [one.digest for one in self._tickets.values() if one.user_id in user_ids]
        for one in ended:
            del self._tickets[one]
        return len(ended)


class _Lease:
    """One worker's lease of one budget's period."""

    __slots__ = ("charged", "granted", "wanted")

    def __init__(self) -> None:
        self.granted = 0
        self.charged = 0
        self.wanted = False

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.charged)


class MemoryLeaseStore:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._hosts: dict[int, str] = {}
        self._leases: dict[tuple[str, str, int], dict[int, _Lease]] = {}  # by budget and period, then by worker

    async def lease(self, epoch: int, wants: Sequence[LeaseWant], *, workers: int) -> list[LeaseState]:
        self._storage.check_open()
        return [self._lease(epoch, want, workers) for want in wants]

    async def give_back(self, epoch: int, kept: Sequence[LeaseKept]) -> None:
        self._storage.check_open()
        for one in kept:
            found = self._of(one.scope, one.id, one.period_start_us)
            if epoch in found:
                found[epoch].granted = min(found[epoch].granted, one.granted_nano)
                found[epoch].wanted = False

    async def states(self, epoch: int, *, wanted_only: bool = False) -> list[LeaseState]:
        self._storage.check_open()
        return [
            self._state(scope, scope_id, period, leases[epoch], standing[0])
            for (scope, scope_id, period), leases in self._leases.items()
            if epoch in leases and (leases[epoch].wanted or not wanted_only)
            if (standing := self._standing(scope, scope_id, period)) is not None and standing[1] <= period
        ]

    async def end(self, epoch: int) -> None:
        self._storage.check_open()
        for leases in self._leases.values():
            leases.pop(epoch, None)

    async def begin(self, epoch: int, host: str) -> None:
        self._storage.check_open()
        self._hosts[epoch] = host

    async def holders(self) -> list[Holder]:
        self._storage.check_open()
        found: dict[int, list[int]] = {}
        for leases in self._leases.values():
            for epoch, lease in leases.items():
                found.setdefault(epoch, []).append(lease.outstanding)
        return [
            Holder(epoch=epoch, host=self._hosts.get(epoch, ""), leases=len(own), outstanding_nano=sum(own))
            for epoch, own in sorted(found.items())
        ]

    def outstanding(self, scope: str, scope_id: str, period: int = 0) -> int:
        """What all workers may still spend of a budget, beside what is spent."""
        return sum(lease.outstanding for lease in self._of(scope, scope_id, period).values())

    def charge(self, scope: str, scope_id: str, period: int, epoch: int, nano: int) -> None:
        if self._standing(scope, scope_id, period) is not None:
            self._of(scope, scope_id, period).setdefault(epoch, _Lease()).charged += nano

    def forget_keys(self, tokens: Sequence[bytes]) -> None:
        gone = {token.hex() for token in tokens}
        self._leases = {
            place: leases for place, leases in self._leases.items() if place[0] != KEY_SCOPE or place[1] not in gone
        }

    def forget(self, scope: str, scope_id: str) -> None:
        self._leases = {place: leases for place, leases in self._leases.items() if place[:2] != (scope, scope_id)}

    def rename_key(self, old: bytes, new: bytes) -> None:
        for scope, scope_id, period in list(self._leases):
            if (scope, scope_id) == (KEY_SCOPE, old.hex()):
                self._leases[scope, new.hex(), period] = self._leases.pop((scope, scope_id, period))

    def _lease(self, epoch: int, want: LeaseWant, workers: int) -> LeaseState:
        period = want.period_start_us
        standing = self._standing(want.scope, want.id, period)
        if standing is None:
            return LeaseState(scope=want.scope, id=want.id, period_start_us=period, known=False)
        spent, in_force = standing
        if in_force > period:
            return LeaseState(scope=want.scope, id=want.id, period_start_us=in_force, spent_nano=spent)
        leases = self._of(want.scope, want.id, period)
        own = leases.get(epoch) or _Lease()
        others = [lease for other, lease in leases.items() if other != epoch]
        own.granted, blocked = judge_lease(
            want,
            granted=own.granted,
            charged=own.charged,
            wanted=own.wanted,
            others=sum(lease.outstanding for lease in others),
            spent=spent,
            workers=workers,
        )
        if own.granted:
            leases[epoch] = own
        if blocked:
            for lease in others:
                lease.wanted = lease.wanted or lease.outstanding > 0
        return self._state(want.scope, want.id, period, own, spent)

    def _state(self, scope: str, scope_id: str, period: int, lease: _Lease, spent: int) -> LeaseState:
        return LeaseState(
            scope=scope,
            id=scope_id,
            period_start_us=period,
            granted_nano=lease.granted,
            charged_nano=lease.charged,
            spent_nano=spent,
            outstanding_nano=self.outstanding(scope, scope_id, period),
            wanted=lease.wanted,
        )

    def _of(self, scope: str, scope_id: str, period: int) -> dict[int, _Lease]:
        if scope == KEY_SCOPE:
            record = self._storage.keys.current(bytes.fromhex(scope_id))
            scope_id = record.token.hex() if record is not None else scope_id
        return self._leases.setdefault((scope, scope_id, period), {})

    def _standing(self, scope: str, scope_id: str, period: int) -> tuple[int, int] | None:
        """(spent in `period` or the newer one in force, the period in force), None for a key that is gone."""
        if scope == KEY_SCOPE:
            found: KeyRecord | Spent | None = self._storage.keys.current(bytes.fromhex(scope_id))
        else:
            found = self._storage.spend.standing(scope, scope_id)
        if found is None:
            return None
        return (found.spend_nano if found.period_start_us >= period else 0), found.period_start_us


def _within(day: int, span: Span) -> bool:
    return (span.from_day is None or day >= span.from_day) and (span.until_day is None or day < span.until_day)


def _matches(record: CallRecord, which: SpendFilter, keys: set[bytes]) -> bool:
    place: Place = (
        OF_END_USER,
        record.end_user or "",
        record.key,
        record.user_id,
        record.team_id,
        record.organization_id,
        record.provider_model or record.model,
        record.model_group,
        record.provider,
        "",
    )
    cost = record.cost.total
    return (
        matches(shown_place(place), which, keys)
        and is_exact(record, which)
        and (which.from_us is None or record.started_us >= which.from_us)
        and (which.until_us is None or record.started_us < which.until_us)
        and which.failed in (None, record.failed)
        and which.status in (None, record.status_code)
        and (which.cost_min_nano is None or cost >= which.cost_min_nano)
        and (which.cost_max_nano is None or cost <= which.cost_max_nano)
    )


def _written(entity: T) -> T:
    """As a storage on disk would give it back."""
    return msgpack.decode(msgpack.encode(entity), type=type(entity))


def _stored(record: KeyRecord) -> KeyRecord:
    """As a storage on disk would give it back: nobody else holds its lists and dicts."""
    return structs.replace(record, fields=msgpack.decode(msgpack.encode(record.fields)))


def _charged(spend: int, period_in_force: int, period: int, nano: int) -> int:
    if period < period_in_force:
        return spend
    return nano + (spend if period == period_in_force else 0)
