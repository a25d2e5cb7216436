"""The ledger: knows every account, writes each settled call into the journal once, and drains the journal into storage.

A call's record goes first to the journal (one blocking write for all calls that settle in one turn of the event loop, before their
clients have their last bytes), then to a bounded queue in memory, from which a background task moves batches into storage. When the
storage is away the queue fills; what does not fit is read back from the journal's own files later. Nothing waits for the storage
but `flush`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

from msgspec import MsgspecError

from tollway.errors import StorageError, Unavailable
from tollway.ledger import journal as journals
from tollway.ledger.budgets import Account, Budgets
from tollway.ledger.journal import Journal
from tollway.ledger.record import KEY_MARK, CallRecord, decode_record, encode_record, mask_keys, shorten_record
from tollway.outbox import Outbox
from tollway.storage import KEY_SCOPE, LeaseStore, SpendEntry, SpendStore, Spent

log = logging.getLogger("tollway")

BATCH_ROWS_MAX = 1000
QUEUE_ROWS_MAX = 50_000
DRAIN_S = 0.5
RETRY_S_MAX = 10.0
FLUSH_S_MAX = 5.0
#: A record with more than this in it (metadata, tags and names come from clients) is written without its longest parts.
RECORD_BYTES_MAX = 256 << 10

#: Twice as quick as `in`.
_find_key = re.compile(re.escape(KEY_MARK)).search

#: What is written to find out whether a disk that was full takes bytes again; reading skips it.
PROBE = b"\xc0"


def new_epoch(now_us: int) -> int:
    """A worker's epoch: 60 bits, rising with time, with 16 random ones so that two workers of one moment differ."""
    return (now_us // 1000 & 0xFFFFFFFFFFF) << 16 | int.from_bytes(os.urandom(2))


class Ledger:
    """One worker's money. Owns the accounts, the journal and the drain from `open` to `close`."""

    def __init__(
        self,
        *,
        spend: SpendStore,
        budgets: Budgets,
        directory: Path,
        epoch: int,
        fsync: str,
        on_trouble: Callable[[str], None],
        journal_bytes_max: int = 4 << 30,
        serve_when_full: bool = False,
        leases: LeaseStore | None = None,
        leased: bool = False,
        host: str = "",
    ) -> None:
        """`leases` is where dead workers' leases end with their journals; `leased`: this worker spends from leases, too, and
        says that it does so on `host`. `serve_when_full`: when neither journal nor storage takes more, calls go on and are not
        written down, rather than being refused.
        """
        self.budgets = budgets
        self.epoch = epoch
        self.accounts: dict[tuple[str, str], Account] = {}
        self.renamed: dict[str, str] = {}  # keys that got another token, by their old one
        self.rows_written = 0
        self.rows_drained = 0
        self.rows_dropped = 0  # calls that were served and are written down nowhere
        self._spend = spend
        self._leases = leases
        self._leased = leased
        self._host = host
        self._directory = directory
        self._journal = Journal(directory, epoch, fsync=fsync)
        self._journal_segments_max = max(2, journal_bytes_max // journals.SEGMENT_BYTES_MAX)
        self._serve_when_full = serve_when_full
        self._dropping = False
        self._first_segment = 0
        self._queue: deque[tuple[CallRecord, bytes, int]] = deque()
        self._lost_track_at: int | None = None  # the segment from which records must be read back
        self._on_trouble = on_trouble
        self._wake = asyncio.Event()
        self._drained = asyncio.Condition()
        self._storing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._storage_away = False
        self._failures = 0  # of the drain
        self._journal_broken = False
        self._unwritten: list[bytes] = []  # records that the disk has refused
        self._settled: list[tuple[CallRecord, bytes]] = []  # those of this turn of the event loop
        self._outbox: Outbox | None = None  # by which their answers leave

    async def open(self) -> None:
        """Replays what dead workers left, then opens this worker's journal and starts the drain."""
        await self.take_over_the_dead()
        if self._leased and self._leases is not None:
            await self._leases.begin(self.epoch, self._host)
        self._journal.open()
        self._task = asyncio.get_running_loop().create_task(self._drain_forever())

    async def take_over_the_dead(self) -> int:
        """Moves the journals of workers that died into storage, then ends their leases; returns how many rows were new.

        May be called at any time, by several at once.
        """
        moved = 0
        for epoch, segments, lock in journals.left_behind(self._directory):
            try:
                for path in segments:
                    moved += await self._ingest_segment(path)
                if self._leases is not None:
                    await self._leases.end(epoch)
                journals.forget(self._directory, epoch, segments, lock)
            finally:
                os.close(lock)
        return moved

    async def _ingest_segment(self, path: Path, *, leased: bool = False) -> int:
        """Moves one file's records into storage; returns how many were new there. A file with damage in it is kept."""
        damage: list[int] = []
        moved = 0
        for batch in _batches(await asyncio.to_thread(_payloads, path, damage.append), damage.append):
            moved += await self._spend.ingest(batch, leased=leased)
        if damage:
            kept = path.with_suffix(".damaged")
            await asyncio.to_thread(_keep_copy, path, kept)
            self._on_trouble(f"{len(damage)} records in the spend journal cannot be read; the file is kept as {kept}")
        return moved

    def check_open(self) -> None:
        """Raises Unavailable while no finished call could be written down, unless calls shall go on all the same."""
        if self._serve_when_full:
            return
        if self._journal_broken:
            raise Unavailable(
                "The spend journal cannot be written (is the disk full?). No call is served until it can be."
            )
        if self._is_full():
            raise Unavailable("The spend journal is full: the database has been away for too long.")

    def _is_full(self) -> bool:
        if self._journal_broken and len(self._queue) >= QUEUE_ROWS_MAX:  # neither disk nor memory takes more
            return True
        return self._journal.segment - self._first_segment >= self._journal_segments_max

    def write(self, record: CallRecord, outbox: Outbox | None = None) -> CallRecord:
        """Writes one settled call and returns it as it was written: without keys and what is too long. About 4 us.

        With the outbox by which the call's answer leaves, it is written together with the other calls of this turn of the event
        loop, before anything more leaves by it.

        What the disk refuses stays in memory and closes the ledger to new calls. Where calls go on when all is full, they
        are counted and not written.
        """
        if self._serve_when_full and self._is_full():
            self._drop()
            return record
        payload = encode_record(record)
        if _find_key(payload) is not None or len(payload) > RECORD_BYTES_MAX:
            record = mask_keys(record) if len(payload) <= RECORD_BYTES_MAX else mask_keys(shorten_record(record))
            payload = encode_record(record)
        self._settled.append((record, payload))
        if outbox is None or self._outbox not in (None, outbox):
            self._write_settled()
        elif self._outbox is None:
            self._outbox = outbox
            outbox.ahead(self._write_settled)
        return record

    def _write_settled(self) -> None:
        settled, self._settled = self._settled, []
        self._outbox = None
        if not settled:
            return
        payloads = [payload for _, payload in settled]
        try:
            segment = self._journal.append(*payloads)
        except OSError as error:
            segment = self._journal.segment
            self._unwritten += payloads
            if not self._journal_broken:
                self._journal_broken = True
                self._on_trouble(f"the spend journal cannot be written: {error}")
        self.rows_written += len(settled)
        queue = self._queue
        before = len(queue)
        for record, payload in settled:
            if len(queue) >= QUEUE_ROWS_MAX and not self._journal_broken:
                if self._lost_track_at is None:
                    self._lost_track_at = queue[-1][2]
            elif self._lost_track_at is None or self._journal_broken:
                queue.append((record, payload, segment))
        if before < BATCH_ROWS_MAX <= len(queue):
            self._wake.set()

    def _drop(self) -> None:
        self.rows_dropped += 1
        if not self._dropping:
            self._dropping = True
            self._on_trouble(
                "the spend journal is full: calls go on, and what they cost is written down nowhere from here on"
            )

    def drain_soon(self) -> None:
        """Others wait for what was spent here to be in storage."""
        self._wake.set()

    async def flush(self) -> None:
        """Returns when all that was written until now is in storage, or storage has refused it, or after `FLUSH_S_MAX` seconds."""
        self._write_settled()
        goal, failures = self.rows_written, self._failures
        self._wake.set()
        try:
            async with asyncio.timeout(FLUSH_S_MAX), self._drained:
                await self._drained.wait_for(lambda: self.rows_drained >= goal or self._failures > failures)
        except TimeoutError:
            return

    def storing_nothing(self) -> StoringNothing:
        """Meanwhile nothing goes from here into the storage: what is read of it is without all that waits here."""
        return StoringNothing(self, self._storing)

    @property
    def has_much_to_store(self) -> bool:
        return len(self._queue) > BATCH_ROWS_MAX

    def take_over_spend(self, stored: Mapping[tuple[str, str], Spent]) -> None:
        """Makes every account what is `stored` of it and what waits here to be. To be called while storing nothing, by the
        one who alone charges these accounts; what does not fit the queue puts it off.
        """
        self._write_settled()
        if self._lost_track_at is not None:
            return
        waiting: Counter[tuple[str, str, int]] = Counter()
        for record, _, _ in self._queue:
            for scope, name, period, nano in record.charges:
                waiting[scope, self.renamed.get(name, name) if scope == KEY_SCOPE else name, period] += nano
        totals: Counter[tuple[str, str]] = Counter()
        for (scope, name, _), nano in waiting.items():
            totals[scope, name] += nano
        for account in self.accounts.values():
            known = stored.get((account.scope, account.id)) or Spent(account.scope, account.id, 0, 0)
            if known.period_start_us > account.period_start_us:
                account.begin_period(known.period_start_us)
            period = account.period_start_us
            spent = known.spend_nano if known.period_start_us == period else 0
            account.spent = spent + waiting[account.scope, account.id, period]
            account.total = known.total_nano + totals[account.scope, account.id]

    async def close(self) -> None:
        """Drains what is left (bounded) and closes the journal; what could not be drained is replayed at the next start."""
        if self._task is None:
            return
        await self.flush()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._write_settled()
        drained = not self._queue and self._lost_track_at is None and not self._journal_broken
        if drained and self._leased and self._leases is not None:
            try:
                await self._leases.end(self.epoch)
            except StorageError:
                drained = False  # who takes the journal over ends them
        self._journal.close(drained=drained)

    async def _drain_forever(self) -> None:
        pause_s = DRAIN_S
        while True:
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._drain()
                if not self._queue:
                    self._unwritten.clear()
                pause_s = DRAIN_S
                self._storage_away = False
                self._end_dropping()
            except Exception as error:  # a drain that ends would lose what comes after it
                if not self._storage_away:
                    self._on_trouble(f"spend rows cannot be stored, they stay in the journal: {error}")
                    if not isinstance(error, StorageError):
                        log.exception("the drain of the spend journal failed")
                self._storage_away = True
                self._failures += 1
                pause_s = min(RETRY_S_MAX, pause_s * 2)
            self._heal()
            await self._sync()
            async with self._drained:
                self._drained.notify_all()

    async def _drain(self) -> None:
        queue = self._queue
        left = len(queue)  # what comes meanwhile waits for the next round: batches of one would cost the most
        while left > 0:
            count = min(left, BATCH_ROWS_MAX)
            left -= count
            async with self._storing:
                batch = [entry[:2] for entry in islice(queue, count)]
                last_segment = queue[count - 1][2]
                await self._spend.ingest(batch, leased=self._leased)
                for _ in range(count):
                    queue.popleft()
            self.rows_drained += count
            if last_segment > self._first_segment and self._lost_track_at is None:
                await self._drop_before(last_segment)
        if self._lost_track_at is not None:
            await self._read_back()

    async def _read_back(self) -> None:
        """Ingests what did not fit the queue from the journal's files, up to where the queue starts again."""
        while (segment := self._lost_track_at) is not None:
            last = segment == self._journal.segment
            if last:
                # From here on new records go to the queue again; those already in the file are read below.
                self._lost_track_at = None
            try:
                await self._ingest_segment(self._directory / f"{self.epoch}-{segment}.log", leased=self._leased)
            except BaseException:
                self._lost_track_at = segment
                raise
            if not last:
                self._lost_track_at = segment + 1
            await self._drop_before(segment)
        self.rows_drained = self.rows_written - len(self._queue)

    def _end_dropping(self) -> None:
        if self._dropping and not self._is_full():
            self._dropping = False
            self._on_trouble(
                f"the spend journal has room again; {self.rows_dropped} calls since the start are written down nowhere"
            )

    async def _drop_before(self, segment: int) -> None:
        await asyncio.to_thread(self._journal.drop_before, segment)
        self._first_segment = segment

    def _heal(self) -> None:
        """After a full disk: tries whether the journal takes again what it refused, as far as that is not in storage yet."""
        if not self._journal_broken:
            return
        try:
            self._journal.append(PROBE)
            while self._unwritten:
                self._journal.append(self._unwritten[-1])
                self._unwritten.pop()
            self._journal_broken = False
        except OSError:
            return

    async def _sync(self) -> None:
        put = self._journal.sync()
        if put is not None:
            try:
                await asyncio.to_thread(put)
            except OSError as error:
                self._on_trouble(f"the spend journal cannot be put on the disk: {error}")


class StoringNothing:
    """See `Ledger.storing_nothing`. A class: async generators cannot be compiled."""

    __slots__ = ("_ledger", "_storing")

    def __init__(self, ledger: Ledger, storing: asyncio.Lock) -> None:
        self._ledger = ledger
        self._storing = storing

    async def __aenter__(self) -> None:
        if self._ledger.has_much_to_store:
            await self._ledger.flush()
        await self._storing.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._storing.release()


def _payloads(path: Path, on_damage: Callable[[int], object]) -> list[bytes]:
    return list(journals.read(path, on_damage))


def _batches(payloads: list[bytes], on_damage: Callable[[int], object]) -> Iterable[list[SpendEntry]]:
    entries: list[SpendEntry] = []
    for place, payload in enumerate(payloads):
        if payload != PROBE:
            try:
                entries.append((decode_record(payload), payload))
            except MsgspecError:
                on_damage(place)
    for start in range(0, len(entries), BATCH_ROWS_MAX):
        yield entries[start : start + BATCH_ROWS_MAX]


def _keep_copy(path: Path, kept: Path) -> None:
    kept.write_bytes(path.read_bytes())
    kept.chmod(0o600)
