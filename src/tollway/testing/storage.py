"""A storage in memory: the same Protocols and the same behaviour as the one on disk, gone when it is let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import msgpack, structs

from tollway.errors import StorageError
from tollway.storage import (
    KEY_SCOPE,
    AliasTaken,
    KeyExists,
    KeyFilter,
    KeyRecord,
    KeySort,
    LeaseKept,
    LeaseState,
    LeaseWant,
    Predecessor,
    SpendColumn,
    SpendEntry,
    SpendFilter,
    SpendGroup,
    SpendRow,
    Spent,
    judge_lease,
    merge_key_changes,
    merge_predecessors,
    sum_charges,
)

DAY_US = 86_400_000_000
REQUEST_ROWS_MAX = 1_000


class MemoryStorage:
    """Holds everything in dicts. `break_down` makes every further call fail, as a storage that is away does."""

    def __init__(self) -> None:
        self.keys = MemoryKeyStore(self)
        self.spend = MemorySpendStore(self)
        self.leases = MemoryLeaseStore(self)
        self._failure: StorageError | None = None

    async def key_changes(self) -> int:
        self.check_open()
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

    async def ingest(self, batch: Sequence[SpendEntry], *, leased: bool = False) -> int:
        self._storage.check_open()
        inserted = []
        for entry in batch:
            place = (entry.epoch, entry.seq)
            if place not in self._rows:
                self._rows[place] = SpendRow(**{name: getattr(entry, name) for name in SpendRow.__struct_fields__})
                inserted.append(entry)
        for (scope, scope_id, period), (nano, at) in sum_charges(inserted).items():
            if scope == KEY_SCOPE:
                self._storage.keys.charge(bytes.fromhex(scope_id), period, nano, at)
            else:
                self._charge(scope, scope_id, period, nano)
            if leased:
                self._storage.leases.charge(scope, scope_id, period, batch[0].epoch, nano)
        return len(inserted)

    async def page(self, which: SpendFilter, *, limit: int, offset: int = 0) -> tuple[list[SpendRow], int]:
        self._storage.check_open()
        found = self._newest_first(self._matching(which))
        return found[offset : offset + limit], len(found)

    async def recent(self, limit: int = 10_000) -> tuple[list[SpendRow], int]:
        return await self.page(SpendFilter(), limit=limit)

    async def by_request_id(self, request_id: str) -> list[SpendRow]:
        self._storage.check_open()
        found = [row for row in self._rows.values() if row.request_id == request_id]
        return self._newest_first(found)[:REQUEST_ROWS_MAX]

    async def row(self, epoch: int, seq: int) -> SpendRow | None:
        self._storage.check_open()
        return self._rows.get((epoch, seq))

    async def groups(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendGroup]:
        self._storage.check_open()
        if not set(by) <= set(SpendGroup.__struct_fields__):
            raise ValueError(f"Spend is not grouped by {by!r}.")
        rows = self._matching(which)
        singles = [
            SpendGroup(
                spend_nano=row.cost_nano,
                calls=1,
                failed=int(row.failed),
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                **{name: row.started_us // DAY_US if name == "day" else getattr(row, name) for name in by},  # type: ignore[arg-type]
            )
            for row in rows
        ]
        if not by and not singles:
            singles = [SpendGroup(spend_nano=0, calls=0, failed=0)]
        found = merge_predecessors(singles, self._storage.keys.successors())
        return sorted(found, key=lambda group: [_null_first(getattr(group, name)) for name in by])

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

    def _matching(self, which: SpendFilter) -> list[SpendRow]:
        keys = {which.key} | {old for old, token in self._storage.keys.successors().items() if token == which.key}
        equal = {name: getattr(which, name) for name in ("user_id", "team_id", "end_user", "model")}
        return [
            row
            for row in self._rows.values()
            if (which.from_us is None or row.started_us >= which.from_us)
            and (which.until_us is None or row.started_us < which.until_us)
            and (which.key is None or row.key in keys)
            and (not which.master_key or row.key is None)
            and all(value is None or getattr(row, name) == value for name, value in equal.items())
        ]

    @staticmethod
    def _newest_first(rows: Sequence[SpendRow]) -> list[SpendRow]:
        return sorted(rows, key=lambda row: (row.started_us, row.epoch, row.seq), reverse=True)


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
            _lease_state(scope, scope_id, period, leases[epoch], standing[0])
            for (scope, scope_id, period), leases in self._leases.items()
            if epoch in leases and (leases[epoch].wanted or not wanted_only)
            if (standing := self._standing(scope, scope_id, period)) is not None and standing[1] <= period
        ]

    async def end(self, epoch: int) -> None:
        self._storage.check_open()
        for leases in self._leases.values():
            leases.pop(epoch, None)

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
        return _lease_state(want.scope, want.id, period, own, spent)

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


def _lease_state(scope: str, scope_id: str, period: int, lease: _Lease, spent: int) -> LeaseState:
    return LeaseState(
        scope=scope,
        id=scope_id,
        period_start_us=period,
        granted_nano=lease.granted,
        charged_nano=lease.charged,
        spent_nano=spent,
        wanted=lease.wanted,
    )


def _stored(record: KeyRecord) -> KeyRecord:
    """As a storage on disk would give it back: nobody else holds its lists and dicts."""
    return structs.replace(record, fields=msgpack.decode(msgpack.encode(record.fields)))


def _charged(spend: int, period_in_force: int, period: int, nano: int) -> int:
    if period < period_in_force:
        return spend
    return nano + (spend if period == period_in_force else 0)


def _null_first(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)
