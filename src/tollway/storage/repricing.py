"""What a storage does when stored calls are charged again: the difference goes to every sum and budget that the first charge
went to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import structs

from tollway.storage import Repriced, SpendEntry
from tollway.storage.record import decode_record
from tollway.storage.rollups import SUM_COLUMNS, Place, digest

_SPEND = SUM_COLUMNS.index("spend_nano")


def changed_days(
    changes: Sequence[Repriced], places: Mapping[Place, int], workers: Mapping[int, int]
) -> list[tuple[int, ...]]:
    """What is added to the sums by day, as `Digest.day_rows` has them: no call more, only more or less money."""
    before = digest([(decode_record(row.detail), b"") for row, _ in changes], places, workers).days
    after = digest([entry for _, entry in changes], places, workers).days
    rows = []
    for name, sums in sorted(after.items()):
        more = [0] * len(SUM_COLUMNS)
        more[_SPEND] = sums[_SPEND] - before[name][_SPEND]
        if more[_SPEND]:
            rows.append((*name, *more))
    return rows


def changed_charges(changes: Sequence[Repriced]) -> list[SpendEntry]:
    """The calls with what their charges differ by in the place of their charges."""
    entries = []
    for row, (record, payload) in changes:
        # A provider that was tried twice stands in it twice: sums are compared.
        change: Counter[tuple[str, str, int]] = Counter()
        for scope, name, period, nano in record.charges:
            change[scope, name, period] += nano
        for scope, name, period, nano in decode_record(row.detail).charges:
            change[scope, name, period] -= nano
        more = tuple((*account, nano) for account, nano in change.items() if nano)
        entries.append((structs.replace(record, charges=more), payload))
    return entries
