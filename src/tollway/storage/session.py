"""What keys, spend and leases need of a database. A statement names its values (`:token`); a piece of work is a plain
function over a Session and is done whole or not at all, perhaps more than once until it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tollway.storage import KeyFilter, SpendFilter
from tollway.storage.rollups import PLACE_COLUMNS, Digest, Numbers, place_digest, shown_place

T = TypeVar("T")


class Session(Protocol):
    """One connection inside a transaction."""

    #: Numbers of places and workers.
    places: Numbers
    workers: Numbers
    #: What a SELECT ends with when nobody else may change what it found before this transaction ends.
    lock: str
    #: Whether a row's record has the bytes `:mention` in it.
    mentions: str

    def rows(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]: ...

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        """Returns how many rows it changed."""

    def execute_many(self, statement: str, values: Sequence[Mapping[str, Any]]) -> int:
        """Returns how many rows were changed in all."""

    def wait_for_turn(self) -> None:
        """Only one gives numbers at a time, and until its transaction ends."""

    def insert_spend(self, digested: Digest) -> Sequence[int] | None:
        """Inserts what is not there yet, and returns the positions of what was new: None for all."""

    def add_up(self, table: str, names: Sequence[str], sums: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Adds numbers to a table's, row by row; makes the rows that are not there. `names` are its primary key."""

    def request_ids(self, crc: int) -> list[int]:
        """The ids of the rows whose request ids have this checksum; some may be gone."""

    def forget_before(self, before_us: int, rows_max: int) -> int:
        """See `SpendStore`."""


class Database(Protocol):
    #: Whether other hosts may use it at the same time.
    shared: bool

    async def read(self, work: Callable[[Any], T]) -> T: ...

    async def write(self, work: Callable[[Any], T]) -> T: ...

    async def write_soon(self, work: Callable[[Any], T]) -> T:
        """As `write`, and where the database lets several write it does not wait for what else is written from here."""

    async def listen_for_key_changes(self) -> None:
        """Changes from now on end a pause."""

    async def pause_for_key_change(self) -> None:
        """Returns when keys may have been changed, at most two seconds after they were. Raises StorageError."""

    async def close(self) -> None: ...


_PLACE_NUMBER = "SELECT id FROM spend_places WHERE digest = :digest"
_PLACE_INSERT = """
INSERT INTO spend_places (
    digest, kind, name, key, user_id, team_id, organization_id, model, model_group, provider, endpoint
) VALUES (
    :digest, :kind, :name, :key, :user_id, :team_id, :organization_id, :model, :model_group, :provider, :endpoint
)
ON CONFLICT (digest) DO NOTHING
"""
_WORKER_NUMBER = "SELECT no FROM workers WHERE epoch = :epoch"
_WORKER_INSERT = "INSERT INTO workers (epoch, host) VALUES (:epoch, '') ON CONFLICT (epoch) DO NOTHING"


def numbers_of(session: Session) -> tuple[Numbers, Numbers]:
    """(places, workers) as this database numbers them."""

    def number(select: str, insert: str, values: Mapping[str, Any]) -> int:
        found = session.rows(select, values)
        if not found:
            session.wait_for_turn()  # whoever numbers in another order would wait for us, and we for them
            session.execute(insert, values)
            found = session.rows(select, values)
        return int(found[0][0])

    def of_place(place: Any) -> int:
        values = {"digest": place_digest(place), **dict(zip(PLACE_COLUMNS, shown_place(place), strict=True))}
        return number(_PLACE_NUMBER, _PLACE_INSERT, values)

    def of_worker(epoch: int) -> int:
        return number(_WORKER_NUMBER, _WORKER_INSERT, {"epoch": epoch})

    return Numbers(of_place), Numbers(of_worker)


# What statements have in common.


def equal(which: KeyFilter | SpendFilter, names: Iterable[str], prefix: str = "") -> tuple[list[str], dict[str, Any]]:
    values = {name: value for name in names if (value := getattr(which, name)) is not None}
    return [f"{prefix}{name} = :{name}" for name in values], values


def where_text(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def roll(session: Session, statement: str, renew: str, values: Mapping[str, Any]) -> bool:
    if session.execute(statement, values):
        return True
    # A charge of the new period was here first and began it; only the next reset is still unknown.
    session.execute(renew, values)
    return False
