"""What is kept: virtual keys, what was spent, and one row per finished call, behind Protocols that every storage keeps
to.

Times are microseconds since 1970 UTC, money is whole nano-dollars, a key is known by the SHA-256 of its text.
Everything here may wait; nothing here is called while a client's request is served. What goes wrong is a StorageError
with the driver's as its cause, and then nothing was half done.

**Periods.** A budget's spend counts the charges of one period; the period is named by the moment it began. A charge of
an older period raises the total only, a charge of a newer one begins that period. So charges and resets may arrive in
any order, and twice, and the sum is the same: workers name a new period by the old one's reset time, never by their own
clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct, field, structs

from tollway.errors import StorageError

#: The largest amount a storage can keep, some nine billion dollars: columns are 64 bits wide.
NANO_MAX = (1 << 63) - 1

#: (scope, id, period start in microseconds, nano-dollars). Scope "key" has the token's hex digest as its id, "global"
#: an empty one; others ("user", "team", "organization", "end_user", "tag", ...) their own.
Charge = tuple[str, str, int, int]

GLOBAL_SCOPE = "global"
KEY_SCOPE = "key"


class KeyExists(StorageError):
    """Another key has this token, or had it before it was regenerated."""


class AliasTaken(StorageError):
    """Another key has this alias."""


class KeyRecord(Struct, frozen=True, kw_only=True):
    """One virtual key. `fields` holds LiteLLM's other key fields, only where they differ from null.

    `period_start_us` names the budget's current period (0: the first). `blocked` None means that nobody ever said.
    """

    token: bytes  # SHA-256 of the key's text
    key_name: str  # "sk-...N42g"
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    blocked: bool | None = None
    created_us: int = 0
    updated_us: int = 0
    expires_us: int | None = None
    max_budget_nano: int | None = None
    soft_budget_nano: int | None = None
    budget_duration: str | None = None
    budget_reset_us: int | None = None
    period_start_us: int = 0
    spend_nano: int = 0
    total_spend_nano: int = 0
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    parallel_max: int | None = None
    last_active_us: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Names, access groups and wildcards that the key may ask for; empty: all."""
        return self.fields.get("models") or []

    @property
    def aliases(self) -> dict[str, str]:
        """Model names that the key may use for others."""
        return self.fields.get("aliases") or {}

    @property
    def allowed_routes(self) -> list[str]:
        """Paths and groups of paths that the key may call; empty: those of its kind."""
        return self.fields.get("allowed_routes") or []

    @property
    def metadata(self) -> dict[str, Any]:
        return self.fields.get("metadata") or {}


class Predecessor(Struct, frozen=True):
    """A token that was replaced: it stands for `token`, and opens the door until `until_us`."""

    old: bytes
    token: bytes
    until_us: int


KeySort = Literal[
    "created_us",
    "updated_us",
    "expires_us",
    "last_active_us",
    "spend_nano",
    "total_spend_nano",
    "max_budget_nano",
    "key_alias",
    "key_name",
    "user_id",
    "team_id",
]


class KeyFilter(Struct, frozen=True, kw_only=True):
    """Which keys; None means any. `key_alias` is compared whole."""

    token: bytes | None = None
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None


class KeyStore(Protocol):
    async def create(self, record: KeyRecord) -> None:
        """Raises KeyExists or AliasTaken."""

    async def get(self, token: bytes) -> KeyRecord | None: ...

    async def get_by_alias(self, alias: str) -> KeyRecord | None: ...

    async def update(self, token: bytes, changes: Mapping[str, Any], *, now_us: int) -> KeyRecord | None:
        """Changes the named fields of KeyRecord and no other; `fields` is merged in, a None in it removes that field.

        Returns the key as it is now, None when there is none. Raises AliasTaken.
        """

    async def delete(self, tokens: Sequence[bytes]) -> list[bytes]:
        """Deletes these keys; returns the tokens that were there. What they spent stays in the spend rows."""

    async def page(
        self, which: KeyFilter, *, sort: KeySort = "created_us", descending: bool = True, limit: int, offset: int = 0
    ) -> tuple[list[KeyRecord], int]:
        """One page, and how many keys there are in all. Keys without the sorted field come last."""

    async def load_all(self) -> list[KeyRecord]: ...

    async def predecessors(self) -> list[Predecessor]:
        """Every replaced token of a key that still exists, also those whose grace is over."""

    async def regenerate(
        self, old: bytes, new: bytes, *, key_name: str, grace_until_us: int, changes: Mapping[str, Any], now_us: int
    ) -> KeyRecord | None:
        """Gives a key another token; all else stays, but for `changes` (as in `update`). The old one opens until
        `grace_until_us`.

        Charges and questions that name the old token still find the key. Raises KeyExists or AliasTaken.
        """

    async def roll_budget(self, token: bytes, started_us: int, next_reset_us: int | None) -> bool:
        """Begins the period `started_us`: spend starts at zero, the total stays. False when it or a newer one had
        begun.
        """


class SpendRow(Struct, array_like=True, frozen=True):
    """One finished call. (epoch, seq) is ours and never repeats; `request_id` is the provider's and may.

    `key` is None for the master key. `detail` is the journal record's own bytes.
    """

    epoch: int
    seq: int
    started_us: int
    key: bytes | None
    user_id: str | None
    request_id: str
    model: str
    cost_nano: int
    failed: bool
    detail: bytes
    team_id: str | None = None
    end_user: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class SpendEntry(Struct, array_like=True, frozen=True, gc=False):
    """A SpendRow on its way into a storage, with the budgets that it counts against."""

    epoch: int
    seq: int
    started_us: int
    key: bytes | None
    user_id: str | None
    request_id: str
    model: str
    cost_nano: int
    failed: bool
    charges: Sequence[Charge]
    detail: bytes
    team_id: str | None = None
    end_user: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class SpendFilter(Struct, frozen=True, kw_only=True):
    """Which rows; None means any. `from_us` is included, `until_us` is not. `key` also finds what its predecessors
    spent; `master_key` True means rows of the master key alone.
    """

    from_us: int | None = None
    until_us: int | None = None
    key: bytes | None = None
    master_key: bool = False
    user_id: str | None = None
    team_id: str | None = None
    end_user: str | None = None
    model: str | None = None


SpendColumn = Literal["day", "key", "user_id", "team_id", "end_user", "model"]


class SpendGroup(Struct, frozen=True, kw_only=True):
    """Some rows put together. What was not grouped by is None. `day` counts days since 1970 UTC, by the start of the
    call.
    """

    day: int | None = None
    key: bytes | None = None
    user_id: str | None = None
    team_id: str | None = None
    end_user: str | None = None
    model: str | None = None
    spend_nano: int
    calls: int
    failed: int
    input_tokens: int = 0
    output_tokens: int = 0


#: The sums of a SpendGroup; its other fields say what they are sums of.
GROUP_SUMS = ("spend_nano", "calls", "failed", "input_tokens", "output_tokens")


class Spent(Struct, frozen=True):
    """What one scope spent: in the current period, and ever."""

    scope: str
    id: str
    spend_nano: int
    total_nano: int
    period_start_us: int = 0
    reset_us: int | None = None


class SpendStore(Protocol):
    async def ingest(self, batch: Sequence[SpendEntry], *, leased: bool = False) -> int:
        """Keeps these calls and raises what was spent, in one transaction; returns how many were new.

        A row that is already there is skipped and charges nothing. A charge to a key that is gone is dropped, its row
        stays. `leased`: the rows are all of one worker that spends from leases; what is charged now is no longer
        outstanding in them.
        """

    async def page(self, which: SpendFilter, *, limit: int, offset: int = 0) -> tuple[list[SpendRow], int]:
        """One page, newest first, and how many rows there are in all."""

    async def recent(self, limit: int = 10_000) -> tuple[list[SpendRow], int]:
        """The newest rows, newest first, and how many rows there are in all."""

    async def by_request_id(self, request_id: str) -> list[SpendRow]:
        """Every row with this id of a provider, newest first; at most 1 000."""

    async def row(self, epoch: int, seq: int) -> SpendRow | None: ...

    async def groups(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendGroup]:
        """Sums, ordered by the columns named. Nothing named: one group, all zeros when no row is there."""

    async def spent(self, scope: str, scope_id: str) -> Spent | None:
        """What a scope other than "key" spent."""

    async def all_spent(self) -> list[Spent]: ...

    async def roll_budget(self, scope: str, scope_id: str, started_us: int, next_reset_us: int | None) -> bool:
        """The same as for keys, for any other scope."""

    async def forget_before(self, before_us: int, *, rows_max: int) -> int:
        """Deletes the oldest rows that began before; at most `rows_max`, so that writers need not wait long. Returns
        how many.
        """


class LeaseWant(Struct, frozen=True, kw_only=True):
    """What a worker asks of one budget's period.

    `granted_nano` is all that it knows to have been granted there so far, less what it gave back: the storage lowers its
    own number to it, so that a grant whose answer was lost is not lost for good. It needs `least_nano` more (0: nothing
    waits for it) and likes to have `more_nano`.
    """

    scope: str
    id: str
    period_start_us: int
    limit_nano: int
    granted_nano: int
    least_nano: int
    more_nano: int


class LeaseKept(Struct, frozen=True):
    """A worker's lease of one budget's period after it gave some back."""

    scope: str
    id: str
    period_start_us: int
    granted_nano: int


class LeaseState(Struct, frozen=True, kw_only=True):
    """One worker's lease of one budget's period, as the storage has it.

    `charged_nano` of what was `granted_nano` is in `spent_nano` already, which is what all workers spent as far as it is
    stored. `wanted`: others would like to have what is idle of it. A key that is gone is not `known`. When a newer
    period has begun, `period_start_us` names it and the lease is empty.
    """

    scope: str
    id: str
    period_start_us: int
    granted_nano: int = 0
    charged_nano: int = 0
    spent_nano: int = 0
    wanted: bool = False
    known: bool = True


class LeaseStore(Protocol):
    """How workers share budgets: each spends from what it has leased, and

        spent + the sum of what is outstanding in leases <= limit

    holds in every transaction, but for what a provider bills above its hold. Outstanding is what was granted and neither
    charged nor given back, at least nothing. A worker is known by its epoch; a lease belongs to one period of a budget.
    """

    async def lease(self, epoch: int, wants: Sequence[LeaseWant], *, workers: int) -> list[LeaseState]:
        """Grants what fits, in one transaction: each want's least or nothing, and beyond it up to what it likes, but no
        more than its share of the half of what is left. Answers in the order of `wants`.

        Where the least does not fit because of others' leases, those are marked as wanted.
        """

    async def give_back(self, epoch: int, kept: Sequence[LeaseKept]) -> None:
        """Lowers leases to what is kept, and takes their marks away. Doing it twice changes nothing."""

    async def states(self, epoch: int, *, wanted_only: bool = False) -> list[LeaseState]:
        """A worker's leases of the periods in force; also of budgets that it only charged."""

    async def end(self, epoch: int) -> None:
        """Forgets a worker's leases. Only once all that it charged is ingested."""


class Storage(Protocol):
    """An open storage. The one who opened it closes it."""

    @property
    def keys(self) -> KeyStore: ...

    @property
    def spend(self) -> SpendStore: ...

    @property
    def leases(self) -> LeaseStore: ...

    async def key_changes(self) -> int:
        """A number that rises with every change to keys by anybody (not by charges): who keeps keys in memory compares."""

    async def check(self) -> None:
        """Raises StorageError when the storage does not answer."""

    async def close(self) -> None:
        """Lets what was begun end, then closes. Closing twice does nothing."""


async def open_storage(where: str | Path) -> Storage:
    """Opens the storage at a path or a `sqlite:///` URL; makes it when it is new, brings it up to date when it is
    older.

    Raises StorageError when it cannot be opened, or was made by a newer version of this program.
    """
    from tollway.storage.sql import SqlStorage
    from tollway.storage.sqlite import open_sqlite

    return SqlStorage(await open_sqlite(_sqlite_path(where)))


def _sqlite_path(where: str | Path) -> Path:
    if isinstance(where, Path):
        return where
    scheme, separator, rest = where.partition("://")
    if not separator:
        return Path(where)
    if scheme not in ("sqlite", "sqlite+aiosqlite"):
        raise StorageError(f"A {scheme!r} database cannot be opened yet; name a file, like 'sqlite:///tollway.db'.")
    path = rest.partition("?")[0].removeprefix("/")
    if not path or path == ":memory:":
        raise StorageError("A SQLite storage needs a file: 'sqlite:///relative.db' or 'sqlite:////absolute.db'.")
    return Path(path)


# What every storage does alike, so that it is written once.


def merge_key_changes(record: KeyRecord, changes: Mapping[str, Any], *, now_us: int) -> KeyRecord:
    """The key after `KeyStore.update`. Raises TypeError for a field that a key does not have; its token stays."""
    changes = dict(changes)
    if "token" in changes:
        raise TypeError("A key's token is changed by `regenerate`, not by `update`.")
    if "fields" in changes:
        merged = {**record.fields, **changes["fields"]}
        changes["fields"] = {name: value for name, value in merged.items() if value is not None}
    return structs.replace(record, **{"updated_us": now_us, **changes})


def sum_charges(entries: Sequence[SpendEntry]) -> dict[tuple[str, str, int], tuple[int, int]]:
    """(nano-dollars, latest start of a call) by (scope, id, period start), older periods first."""
    sums: dict[tuple[str, str, int], tuple[int, int]] = {}
    for entry in entries:
        at = entry.started_us
        for scope, scope_id, period, nano in entry.charges:
            account = (scope, scope_id, period)
            so_far = sums.get(account)
            sums[account] = (nano, at) if so_far is None else (so_far[0] + nano, max(at, so_far[1]))
    return dict(sorted(sums.items()))


def judge_lease(
    want: LeaseWant, *, granted: int, charged: int, wanted: bool, others: int, spent: int, workers: int
) -> tuple[int, bool]:
    """(what is granted in all after `LeaseStore.lease`, whether others' leases stand in the way).

    `granted`, `charged` and `wanted` are the worker's own lease as it is, `others` what is outstanding in all others.
    A lease that was charged beyond what was granted is made up for first: that money is in `spent` already.
    """
    granted = min(granted, want.granted_nano)
    free = want.limit_nano - spent - others - max(0, granted - charged)
    fits = free + max(0, charged - granted)
    if 0 < want.least_nano > fits:
        return granted, others > 0
    share = 0 if wanted else min(want.more_nano, free // (2 * workers))
    return granted + max(want.least_nano, share, 0), False


def merge_predecessors(groups: Sequence[SpendGroup], successors: Mapping[bytes, bytes]) -> list[SpendGroup]:
    """Counts what was spent under a replaced token to the key that it became."""
    merged: dict[SpendGroup, SpendGroup] = {}
    for group in groups:
        owned = structs.replace(group, key=successors.get(group.key or b"", group.key))
        place = structs.replace(owned, **dict.fromkeys(GROUP_SUMS, 0))
        so_far = merged.get(place, place)
        sums = {name: getattr(so_far, name) + getattr(owned, name) for name in GROUP_SUMS}
        merged[place] = structs.replace(place, **sums)
    return list(merged.values())
