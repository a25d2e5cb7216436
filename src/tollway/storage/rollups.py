"""Sums of finished calls by day, written with the calls themselves, so that no report reads call by call.

A *place* is who asked for what: key, user, team, organisation, model, who served it, and at which path. Each call counts at
its place, once more under its end user, once under each of its tags, and its times under its model alone. Places are few and
have numbers; a call's row names its place and repeats nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from zlib import crc32

from msgspec import Struct, msgpack, structs

from tollway.errors import StorageError
from tollway.storage import GROUP_SUMS, SpendColumn, SpendEntry, SpendFilter, SpendGroup, SpendTimes
from tollway.storage.record import CallRecord

DAY_US = 86_400_000_000

# What a place's numbers are sums of.
OF_ALL = 0
OF_END_USER = 1
OF_TAG = 2
OF_MODEL = 3

#: Tags of one call that are summed; a client may send more.
TAGS_MAX = 32
NAME_CHARACTERS_MAX = 200

#: (kind, end user or tag, key, user, team, organisation, model, model group, provider, endpoint)
Place = tuple[int, str, bytes | None, str | None, str | None, str | None, str, str, str, str]
PLACE_COLUMNS = (
    *("kind", "name", "key", "user_id", "team_id", "organization_id", "model", "model_group", "provider", "endpoint"),
)
#: The path that each kind of call is named by, without version; "" for those that are not told apart.
ENDPOINTS = {
    "acompletion": "/chat/completions",
    "atext_completion": "/completions",
    "aembedding": "/embeddings",
    "aresponses": "/responses",
    "anthropic_messages": "/messages",
    "agenerate_content": "/generateContent",
    "agenerate_content_stream": "/streamGenerateContent",
    "aimage_generation": "/image/generations",
    "aimage_edit": "/image/edits",
    "aimage_variation": "/image/variations",
    "aspeech": "/audio/speech",
    "atranscription": "/audio/transcriptions",
    "atranslation": "/audio/translations",
    "amoderation": "/moderations",
    "arerank": "/rerank",
    "_arealtime": "/realtime",
    "pass_through_endpoint": "/pass_through",
}

#: calls, failed, nano-dollars, tokens: input, output, read from a cache, written to one
Sums = list[int]
SUM_COLUMNS = (
    *("calls", "failed", "spend_nano", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
)
#: Numbers of buckets from here on count times to the first byte, below it whole durations.
FIRST_BYTE = 128
BUCKET_MAX = 127
#: How many of a worker's calls have a number of their own in a row's id; above it stands the worker's.
SEQ_BITS = 40


def bucket_of(ms: int) -> int:
    """The bucket of a time: each is at most a fourth wider than the one before, 7 ms and less have one each."""
    if ms < 8:
        return max(ms, 0)
    bits = ms.bit_length()
    return min((bits << 2) + (ms >> (bits - 3) & 3) - 8, BUCKET_MAX)


#: The usual times, looked up.
_BUCKETS_MS = 1 << 15
_BUCKETS = bytes(map(bucket_of, range(_BUCKETS_MS)))


def bounds_of(bucket: int) -> tuple[int, int]:
    """The times of a bucket in milliseconds, from and until."""
    if bucket < 8:
        return bucket, bucket + 1
    bits, quarter = (bucket + 8) >> 2, (bucket + 8) & 3
    return (4 + quarter) << (bits - 3), (5 + quarter) << (bits - 3)


def quantile_ms(buckets: Mapping[int, int], share: float) -> float | None:
    """The time that `share` of the calls took at most, as well as buckets know it; None without calls."""
    left = sum(buckets.values()) * share
    if not buckets or left < 0:
        return None
    for bucket, calls in sorted(buckets.items()):
        if calls >= left:
            low, high = bounds_of(bucket)
            return low + (high - low) * left / calls
        left -= calls
    return float(bounds_of(max(buckets))[1])


class Numbers(dict[Any, int]):
    """Numbers that a storage gave to names, and gives to new ones when they are first asked for.

    What was given in a transaction that is rolled back is forgotten with it.
    """

    def __init__(self, give: Callable[[Any], int], *, kept_max: int = 50_000) -> None:
        super().__init__()
        self._give = give
        self._kept_max = kept_max
        self._given: list[Any] = []

    def __missing__(self, name: Any) -> int:
        number = self[name] = self._give(name)
        self._given.append(name)
        return number

    def keep(self) -> None:
        self._given.clear()
        if len(self) > self._kept_max:
            self.clear()

    def forget_new(self) -> None:
        for name in self._given:
            self.pop(name, None)
        self._given.clear()


class Digest(Struct):
    """A batch as it is stored: the rows, and what they add to the sums."""

    rows: list[tuple[Any, ...]]
    request_crcs: list[int]
    days: dict[tuple[int, int, int], Sums]  # by kind, day and place
    times: dict[tuple[int, int], dict[int, int]]  # calls by bucket, by day and place (of a model)

    def day_rows(self) -> list[tuple[int, ...]]:
        return [(*name, *sums) for name, sums in sorted(self.days.items())]

    def time_rows(self) -> list[tuple[int, ...]]:
        counted = sorted(self.times.items())
        return [(*name, bucket, calls) for name, buckets in counted for bucket, calls in sorted(buckets.items())]


#: The columns of a row, in the order of `Digest.rows`.
ROW_COLUMNS = ("id", "started_us", "place", "customer", "cost_nano", "status", "session_crc", "detail")


def digest(batch: Iterable[SpendEntry], places: Mapping[Place, int], workers: Mapping[int, int]) -> Digest:
    """Reads a batch once. The driver of SQLite looks for an adapter for `bytes` and for no `bytearray`: that is a tenth
    of what a row costs.
    """
    rows: list[tuple[Any, ...]] = []
    request_crcs: list[int] = []
    digested = Digest(rows, request_crcs, {}, {})
    spots: dict[tuple[Any, ...], tuple[int, int, Sums, dict[int, int]]] = {}  # day, place, sums, buckets by caller
    add_row, add_crc, endpoint_of = rows.append, request_crcs.append, ENDPOINTS.get
    epoch = worker = -1
    for record, payload in batch:
        if record.epoch != epoch:
            epoch = record.epoch
            worker = workers[epoch] << SEQ_BITS
        started_us = record.started_us
        day = started_us // DAY_US
        cost = record.cost.total
        status = record.status_code
        caller = (
            record.key,
            record.user_id,
            record.team_id,
            record.organization_id,
            record.provider_model or record.model,
            record.model_group,
            record.provider,
            endpoint_of(record.call_type, ""),
        )
        spot = spots.get(caller)
        if spot is None or spot[0] != day:
            spot = spots[caller] = _spot(digested, places, day, caller)
        _, place, sums, buckets = spot
        sums[0] += 1
        sums[2] += cost
        taken = given = read = written = 0
        usage = record.usage
        if usage is not None:
            read = usage.cache_read
            written = usage.cache_write_5m + usage.cache_write_1h
            taken = usage.input + read + written + usage.audio_in + usage.image_in
            given = usage.output + usage.reasoning + usage.audio_out + usage.image_out
            sums[3] += taken
            sums[4] += given
            if read or written:
                sums[5] += read
                sums[6] += written
        if status >= 400:
            sums[1] += 1
        else:
            ms = (record.ended_us - started_us) // 1000
            bucket = _BUCKETS[ms] if 0 <= ms < _BUCKETS_MS else bucket_of(ms)
            buckets[bucket] = buckets.get(bucket, 0) + 1
            if record.first_byte_us:
                ms = (record.first_byte_us - started_us) // 1000
                bucket = FIRST_BYTE + (_BUCKETS[ms] if 0 <= ms < _BUCKETS_MS else bucket_of(ms))
                buckets[bucket] = buckets.get(bucket, 0) + 1
        customer = None
        if record.end_user or record.tags:
            more = (1, int(status >= 400), cost, taken, given, read, written)
            customer = _add_named(digested.days, places, record, day, caller, more)
        session = record.session_id
        add_row(
            (
                worker | record.seq,
                started_us,
                place,
                customer,
                cost,
                status,
                crc32(session.encode()) if session else 0,
                bytearray(payload),
            )
        )
        add_crc(crc32(record.request_id.encode()))
    return digested


def _spot(
    digested: Digest, places: Mapping[Place, int], day: int, caller: tuple[Any, ...]
) -> tuple[int, int, Sums, dict[int, int]]:
    """Where a caller's calls of a day are summed."""
    place = places[(OF_ALL, "", *caller)]
    sums = digested.days.setdefault((OF_ALL, day, place), [0] * len(SUM_COLUMNS))
    of_model = places[(OF_MODEL, "", None, None, None, None, *caller[4:7], "")]
    return day, place, sums, digested.times.setdefault((day, of_model), {})


def _add_named(
    days: dict[tuple[int, int, int], Sums],
    places: Mapping[Place, int],
    record: CallRecord,
    day: int,
    caller: tuple[Any, ...],
    more: Sequence[int],
) -> int | None:
    """Counts a call under its end user and its tags; returns the end user's place."""
    customer = None
    if record.end_user:
        customer = places[(OF_END_USER, record.end_user, *caller)]
        _add(days, (OF_END_USER, day, customer), more)
    for tag in dict.fromkeys(record.tags[:TAGS_MAX]):
        _add(days, (OF_TAG, day, places[(OF_TAG, tag, *caller)]), more)
    return customer


def _add(days: dict[tuple[int, int, int], Sums], at: tuple[int, int, int], more: Sequence[int]) -> None:
    sums = days.get(at)
    days[at] = list(more) if sums is None else [a + b for a, b in zip(sums, more, strict=True)]


def place_digest(place: Place) -> bytes:
    """Sixteen bytes that stand for a place: names are as long as clients make them. One without an endpoint is what it was
    before endpoints were told apart.
    """
    return blake2b(msgpack.encode(place if place[9] else place[:9]), digest_size=16).digest()


def shown_place(place: Place) -> Place:
    """A place as it is kept."""
    kind, name, key, *rest = place
    user, team, organization, model, group, provider, endpoint = (
        None if one is None else shown_name(one) for one in rest
    )
    return (
        kind,
        shown_name(name),
        key,
        user,
        team,
        organization,
        model or "",
        group or "",
        provider or "",
        endpoint or "",
    )


def shown_name(name: str) -> str:
    """A name that a client chose, cut, and without the one character that PostgreSQL does not take."""
    return name[:NAME_CHARACTERS_MAX].replace("\0", "\ufffd")


# Reading


class Span(Struct, frozen=True):
    """Which calls a question is about: whole days, and pieces of days at both ends."""

    from_day: int | None
    until_day: int | None
    pieces: tuple[tuple[int, int], ...]


def span_of(which: SpendFilter) -> Span:
    from_day = None if which.from_us is None else -(-which.from_us // DAY_US)
    until_day = None if which.until_us is None else which.until_us // DAY_US
    if from_day is not None and until_day is not None and from_day > until_day:  # within one day
        assert which.from_us is not None
        assert which.until_us is not None
        return Span(from_day, from_day, ((which.from_us, which.until_us),))
    pieces = []
    if from_day is not None and which.from_us is not None and which.from_us % DAY_US:
        pieces.append((which.from_us, from_day * DAY_US))
    if until_day is not None and which.until_us is not None and which.until_us % DAY_US:
        pieces.append((until_day * DAY_US, which.until_us))
    return Span(from_day, until_day, tuple(pieces))


def kind_of(by: Sequence[SpendColumn], which: SpendFilter) -> int:
    """What sums a question is about. Raises ValueError for one that no sums answer."""
    if not set(by) <= GROUP_COLUMNS:
        raise ValueError(f"Spend is not grouped by {by!r}.")
    if any(getattr(which, name) is not None for name in ("failed", "cost_min_nano", "cost_max_nano", *_BY_DETAIL)):
        raise ValueError("Sums are of all calls of a caller: they do not know single ones.")
    of_customer = "end_user" in by or which.end_user is not None
    of_tag = "tag" in by or which.tag is not None
    if of_customer and of_tag:
        raise ValueError("Spend is summed by end user or by tag, not by both.")
    return OF_END_USER if of_customer else OF_TAG if of_tag else OF_ALL


_BY_DETAIL = ("request_id", "session_id", "status", "mention")
GROUP_COLUMNS = frozenset(SpendGroup.__struct_fields__) - set(GROUP_SUMS)


#: What was grouped by, in its order, and the sums of that.
Grouped = tuple[tuple[Any, ...], Sequence[int]]


def group_days(
    by: Sequence[SpendColumn], which: SpendFilter, keys: set[bytes], sums: Iterable[tuple[int, Place, Sequence[int]]]
) -> list[Grouped]:
    """Sums (day, place, sums) by what was asked for. `keys` are the key asked for and what it was."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for day, place, more in sums:
        if not matches(place, which, keys):
            continue
        at = tuple(day if name == "day" else place[_PLACE_OF[name]] for name in by)
        so_far = found.get(at)
        found[at] = list(more) if so_far is None else [a + b for a, b in zip(so_far, more, strict=True)]
    return list(found.items())


_PLACE_OF = {
    **{name: place for place, name in enumerate(PLACE_COLUMNS)},
    "end_user": PLACE_COLUMNS.index("name"),
    "tag": PLACE_COLUMNS.index("name"),
}
#: The filters that a place answers.
PLACE_FILTERS = ("user_id", "team_id", "organization_id", "end_user", "tag", "model", "model_group", "provider")


def matches(place: Place, which: SpendFilter, keys: set[bytes]) -> bool:
    if which.key is not None and place[2] not in keys:
        return False
    if which.master_key and place[2] is not None:
        return False
    return all(
        (wanted := getattr(which, name)) is None or place[_PLACE_OF[name]] == shown_name(wanted)
        for name in PLACE_FILTERS
    )


def put_together(
    by: Sequence[SpendColumn],
    named: Sequence[Grouped],
    everything: Sequence[Grouped] | None,
    successors: Mapping[bytes, bytes],
) -> list[SpendGroup]:
    """Groups of the same name as one, in order. What was spent under a replaced token counts to the key that it became.

    `everything`, where it is asked for, is the same by all but end users: what is in it and in none of `named` had no
    end user, and is shown as such.
    """
    sums: dict[tuple[Any, ...], Sequence[int]] = {}
    key_at = by.index("key") if "key" in by and successors else -1

    def add(at: tuple[Any, ...], more: Sequence[int]) -> None:
        if key_at >= 0 and at[key_at] in successors:
            at = (*at[:key_at], successors[at[key_at]], *at[key_at + 1 :])
        so_far = sums.get(at)
        sums[at] = more if so_far is None else [a + b for a, b in zip(so_far, more, strict=True)]

    for at, more in named:
        add(at, more)
    if everything is not None:
        user_at = by.index("end_user") if "end_user" in by else len(by)
        for at, more in everything:
            add((*at[:user_at], None, *at[user_at:])[: len(by)], more)
        of_users: dict[tuple[Any, ...], list[Sequence[int]]] = {}
        for at, more in named:
            of_users.setdefault((*at[:user_at], None, *at[user_at + 1 :])[: len(by)], []).append(more)
        for at, several in of_users.items():
            add(at, [-sum(column) for column in zip(*several, strict=True)])
    found = [(at, more) for at, more in sums.items() if more[0] or not by] or ([] if by else [((), _NOTHING)])
    found.sort(key=lambda pair: [(value is not None, value) for value in pair[0]])
    names = (*by, *SUM_COLUMNS)
    return [SpendGroup(**dict(zip(names, (*at, *more), strict=True))) for at, more in found]


_NOTHING = [0] * len(SUM_COLUMNS)


def group_times(
    by: Sequence[SpendColumn], which: SpendFilter, counted: Iterable[tuple[int, Place, int, int]]
) -> list[SpendTimes]:
    """Counts (day, place, bucket, calls) as `SpendStore.times` puts them together."""
    found: dict[tuple[Any, ...], tuple[dict[int, int], dict[int, int]]] = {}
    for day, place, bucket, calls in counted:
        if not matches(place, which, set()):
            continue
        at = tuple(day if name == "day" else place[_PLACE_OF[name]] for name in by)
        durations, first_bytes = found.setdefault(at, ({}, {}))
        buckets = durations if bucket < FIRST_BYTE else first_bytes
        buckets[bucket % FIRST_BYTE] = buckets.get(bucket % FIRST_BYTE, 0) + calls
    return [
        SpendTimes(**dict(zip(by, at, strict=True)), durations=durations, first_bytes=first_bytes)
        for at, (durations, first_bytes) in sorted(found.items())
    ]


def check_times(by: Sequence[SpendColumn], which: SpendFilter) -> None:
    """Raises ValueError for what times are not kept by."""
    known = {"day", "model", "model_group", "provider"}
    asked = {name for name, value in structs.asdict(which).items() if value not in (None, False)}
    if not set(by) <= known or not asked <= known | {"from_us", "until_us"}:
        raise ValueError(f"Times are kept by {', '.join(sorted(known))}.")


def checked_batch(batch: Sequence[SpendEntry]) -> None:
    """Raises StorageError for a record that no storage can keep."""
    for record, _ in batch:
        if not (0 <= record.seq < 1 << SEQ_BITS and -(1 << 63) <= record.cost.total < 1 << 63):
            raise StorageError(f"The call {record.epoch}-{record.seq} has numbers that are too large to keep.")


def is_exact(record: CallRecord, which: SpendFilter) -> bool:
    """Whether a row that was found by its checksums is what was asked for."""
    return (which.request_id is None or record.request_id == which.request_id) and (
        which.session_id is None or record.session_id == which.session_id
    )
