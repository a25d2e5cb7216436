"""What is kept: virtual keys, what was spent, one row per finished call and sums of them by day, behind Protocols that
every storage keeps to.

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
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct, field, structs

from tollway.errors import StorageError
from tollway.storage.record import CallRecord

if TYPE_CHECKING:
    from tollway.storage.people import PeopleStore
    from tollway.storage.sign_ins import SignInStore

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


#: A settled call on its way into a storage: what was written down of it, and the journal's own bytes of that.
SpendEntry = tuple[CallRecord, bytes]


class SpendRow(Struct, array_like=True, frozen=True):
    """One finished call. (epoch, seq) is ours and never repeats. `detail` is the journal record's own bytes.

    (started_us, id) is where it stands among the others; `id` is this storage's own number for it.
    """

    id: int
    epoch: int
    seq: int
    started_us: int
    detail: bytes


#: A day since 1970 UTC, and what was summed of a place in it: see `rollups.Place` and `rollups.Sums`.
DaySums = tuple[int, tuple[Any, ...], Sequence[int]]

#: A row as it was read, and the call that takes its place: only cost, charges and the name of the price differ.
Repriced = tuple[SpendRow, SpendEntry]


class SpendFilter(Struct, frozen=True, kw_only=True):
    """Which calls; None means any. `from_us` is included, `until_us` is not. `key` also finds what its predecessors
    spent; `master_key` True means calls of the master key alone. `model` is the deployment's as written in the
    configuration, `model_group` the public one that served.

    What a call is found by alone (from `failed` on), sums know nothing of; `tag` is for sums alone. `mention` stands somewhere in
    the call's record, perhaps in another field than was meant: who asks looks for himself.
    """

    from_us: int | None = None
    until_us: int | None = None
    key: bytes | None = None
    master_key: bool = False
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    end_user: str | None = None
    tag: str | None = None
    model: str | None = None
    model_group: str | None = None
    provider: str | None = None
    failed: bool | None = None
    cost_min_nano: int | None = None
    cost_max_nano: int | None = None
    request_id: str | None = None
    session_id: str | None = None
    status: int | None = None
    mention: str | None = None


SpendColumn = Literal[
    "day",
    "key",
    "user_id",
    "team_id",
    "organization_id",
    "end_user",
    "tag",
    "model",
    "model_group",
    "provider",
    "endpoint",
]


class SpendGroup(Struct, frozen=True, kw_only=True):
    """Some calls put together. What was not grouped by is None. `day` counts days since 1970 UTC, by the start of the
    call. `input_tokens` and `output_tokens` are all of them; those read from and written to a cache are in the input.
    """

    day: int | None = None
    key: bytes | None = None
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    end_user: str | None = None
    tag: str | None = None
    model: str | None = None
    model_group: str | None = None
    provider: str | None = None
    endpoint: str | None = None
    spend_nano: int
    calls: int
    failed: int
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


#: The sums of a SpendGroup; its other fields say what they are sums of.
GROUP_SUMS = (
    *("spend_nano", "calls", "failed", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
)


class SpendTimes(Struct, frozen=True, kw_only=True):
    """How long answered calls took: how many by bucket of their whole duration, and of the time to the first byte of
    those that had one. `rollups.quantile_ms` makes milliseconds of them.
    """

    day: int | None = None
    model: str | None = None
    model_group: str | None = None
    provider: str | None = None
    durations: dict[int, int]
    first_bytes: dict[int, int]


class SpendHour(Struct, frozen=True):
    """What the calls that began in one hour cost; `hour` counts hours since 1970 UTC."""

    hour: int
    spend_nano: int
    calls: int
    failed: int


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

        A row that is already there is skipped, charges nothing and is in no sum again. A charge to a key that is gone
        is dropped, its row stays. `leased`: the rows are all of one worker that spends from leases; what is charged now
        is no longer outstanding in them.
        """

    async def keep_days(self, sums: Sequence[DaySums]) -> int:
        """Keeps sums of days of which there are no calls here, such as those of another gateway; returns how many were new.
        What is known of a day and place already stays as it is.
        """

    async def reprice(self, changes: Sequence[Repriced]) -> int:
        """Puts calls in the place of rows, and what they cost more or less into what was spent and into the sums, in one
        transaction; returns how many.

        A row that is gone, or is no longer as it was read, is left alone: doing it twice changes nothing.
        """

    async def page(self, which: SpendFilter, *, limit: int, before: tuple[int, int] | None = None) -> list[SpendRow]:
        """Newest first, from the row on that stands after `before` (the (started_us, id) of the last row of a page)."""

    async def count(self, which: SpendFilter) -> int:
        """How many rows there are."""

    async def recent(self, limit: int = 10_000) -> tuple[list[SpendRow], int]:
        """The newest rows, newest first, and how many rows there are in all."""

    async def by_request_id(self, request_id: str) -> list[SpendRow]:
        """Every row with this id of a provider, newest first; at most 1 000."""

    async def row(self, epoch: int, seq: int) -> SpendRow | None: ...

    async def groups(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendGroup]:
        """Sums, ordered by the columns named. Nothing named: one group, all zeros when there was no call.

        Sums stay when rows are forgotten, but for days of which only a part is asked for: those are added up call by
        call. A call counts under each of its tags, and without a tag under none. Raises ValueError for what no sums are
        kept of.
        """

    async def times(self, by: Sequence[SpendColumn], which: SpendFilter) -> list[SpendTimes]:
        """Durations by day, model, model group or provider, of the whole days asked for."""

    async def hours(self, from_us: int, until_us: int) -> list[SpendHour]:
        """Hour by hour, of the rows that are still there; hours without calls are left out. For days, not for months: it reads
        every row's place in the index.
        """

    async def spent(self, scope: str, scope_id: str) -> Spent | None:
        """What a scope other than "key" spent."""

    async def all_spent(self) -> list[Spent]: ...

    async def roll_budget(self, scope: str, scope_id: str, started_us: int, next_reset_us: int | None) -> bool:
        """The same as for keys, for any other scope."""

    async def forget_before(self, before_us: int, *, rows_max: int) -> int:
        """Deletes the oldest rows that began before; at most `rows_max`, so that writers need not wait long. Returns
        how many. Where rows lie in parts by day, whole days go, however many rows they have. Sums stay.
        """


class LeaseWant(Struct, frozen=True, kw_only=True):
    """What a worker asks of one budget's period.

    `granted_nano` is all that it knows to have been granted there so far, less what it gave back: the storage lowers its
    own number to it, so that a grant whose answer was lost is not lost for good. It needs `least_nano` more (0: nothing
    waits for it) and likes to have `more_nano`. `cover_nano` it uses already without a lease (by calls that began when there
    was no limit, or cost more than they held): that is granted whatever the limit, so that the others know.
    """

    scope: str
    id: str
    period_start_us: int
    limit_nano: int
    granted_nano: int
    least_nano: int
    more_nano: int
    cover_nano: int = 0


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
    period has begun, `period_start_us` names it and the lease is empty. `outstanding_nano` is what all workers' leases of
    the period have left: with `spent_nano` it is above the limit where that was lowered, or something was spent or is
    held that nobody had leased.
    """

    scope: str
    id: str
    period_start_us: int
    granted_nano: int = 0
    charged_nano: int = 0
    spent_nano: int = 0
    outstanding_nano: int = 0
    wanted: bool = False
    known: bool = True


class Holder(Struct, frozen=True, kw_only=True):
    """A worker that has leases, and what is outstanding in them. `host` is empty for one that never said where it
    runs."""

    epoch: int
    host: str
    leases: int
    outstanding_nano: int


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

    async def begin(self, epoch: int, host: str) -> None:
        """Says where a worker runs."""

    async def holders(self) -> list[Holder]:
        """Who has leases."""


class Storage(Protocol):
    """An open storage. The one who opened it closes it."""

    @property
    def keys(self) -> KeyStore: ...

    @property
    def spend(self) -> SpendStore: ...

    @property
    def leases(self) -> LeaseStore: ...

    @property
    def people(self) -> PeopleStore: ...

    @property
    def sign_ins(self) -> SignInStore: ...

    @property
    def shared(self) -> bool:
        """Whether other hosts may use it at the same time."""

    async def key_changes(self) -> int:
        """A number that rises with every change to keys by anybody (not by charges): who keeps keys in memory compares."""

    async def next_key_change(self, seen: int) -> int:
        """Returns `key_changes` once it is not `seen`: at once, or as soon as the storage tells of a change, at most two
        seconds after it. Raises StorageError.
        """

    async def check(self) -> None:
        """Raises StorageError when the storage does not answer."""

    async def close(self) -> None:
        """Lets what was begun end, then closes. Closing twice does nothing."""


async def open_storage(where: str | Path) -> Storage:
    """Opens the storage at a path, a `sqlite:///` or a `postgresql://` URL; makes it when it is new, brings it up to date
    when it is older.

    Raises StorageError when it cannot be opened, or was made by a newer version of this program.
    """
    from tollway.storage.sql import SqlStorage

    if is_postgres(where):
        from tollway.storage.postgres import open_postgres

        return SqlStorage(await open_postgres(str(where)))
    from tollway.storage.sqlite import open_sqlite

    return SqlStorage(await open_sqlite(sqlite_path(where)))


def is_postgres(where: str | Path) -> bool:
    return isinstance(where, str) and where.partition("://")[0] in ("postgresql", "postgres")


def shown_url(url: str) -> str:
    """Where a PostgreSQL database is, without who asks."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
    return f"postgresql://{host}{parts.path}"


def sqlite_path(where: str | Path) -> Path:
    """The file that a path or a `sqlite:///` URL names. Raises StorageError for another kind of URL."""
    if isinstance(where, Path):
        return where
    scheme, separator, rest = where.partition("://")
    if not separator:
        return Path(where)
    if scheme not in ("sqlite", "sqlite+aiosqlite"):
        raise StorageError(
            f"A {scheme!r} database cannot be opened; name a file, like 'sqlite:///tollway.db', or a PostgreSQL"
            " database, like 'postgresql://user:password@host/name'."
        )
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
    sums: dict[tuple[str, str, int], list[int]] = {}
    for record, _ in entries:
        at = record.started_us
        for scope, scope_id, period, nano in record.charges:
            account = (scope, scope_id, period)
            so_far = sums.get(account)
            if so_far is None:
                sums[account] = [nano, at]
            else:
                so_far[0] += nano
                if at > so_far[1]:
                    so_far[1] = at
    return {account: (nano, at) for account, (nano, at) in sorted(sums.items())}


def judge_lease(
    want: LeaseWant, *, granted: int, charged: int, wanted: bool, others: int, spent: int, workers: int
) -> tuple[int, bool]:
    """(what is granted in all after `LeaseStore.lease`, whether others' leases stand in the way).

    `granted`, `charged` and `wanted` are the worker's own lease as it is, `others` what is outstanding in all others.
    A lease that was charged beyond what was granted is made up for first: that money is in `spent` already.
    """
    granted = min(granted, want.granted_nano) + want.cover_nano
    free = want.limit_nano - spent - others - max(0, granted - charged)
    fits = free + max(0, charged - granted)
    if 0 < want.least_nano > fits or (want.cover_nano and free < 0):
        return granted, others > 0
    share = 0 if wanted else min(want.more_nano, free // (2 * workers))
    return granted + max(want.least_nano, share, 0), False
