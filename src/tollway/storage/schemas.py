"""How a storage is made and how an older one becomes a current one: statements in files, run by the program itself, all of
them or none.

A step is numbered, the next one higher; `HEAD` is the last. A new storage gets the whole schema at once; tests hold the
steps to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib import resources
from typing import Any

from msgspec import MsgspecError

from tollway.calls import Cost, Usage
from tollway.errors import StorageError
from tollway.storage import SpendEntry
from tollway.storage.record import CallRecord, decode_record, encode_record
from tollway.storage.rollups import SUM_COLUMNS, digest
from tollway.storage.session import Session

HEAD = "0006"
FILL_ROWS = 2_000


def schema_statements(database: str) -> list[str]:
    return _statements("schema", f"{database}.sql")


def step_statements(database: str, number: int) -> list[str]:
    return _statements("steps", database, f"{number:04}.sql")


def newer_schema(where: str, found: str) -> StorageError:
    return StorageError(
        f"The storage {where!r} has the schema {found!r}, this program knows schemas up to {HEAD!r}:"
        " it was used by a newer Tollway. Start that version, or name another one."
    )


def _statements(*path: str) -> list[str]:
    text = resources.files("tollway.storage").joinpath(*path).read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement for part in lines.split(";\n\n") if (statement := part.strip().removesuffix(";"))]


def fill_0003(connection: sqlite3.Connection, session: Session) -> None:
    """Moves the rows of an older file to their new table, and adds them up."""
    statement = f"""
        SELECT epoch, seq, started_us, key, user_id, team_id, end_user, request_id, model, cost_nano, failed, input_tokens,
            output_tokens, detail FROM old_spend_rows WHERE (epoch, seq) > (?, ?) ORDER BY epoch, seq LIMIT {FILL_ROWS}"""  # noqa: S608
    at = (-1, -1)
    while found := connection.execute(statement, at).fetchall():
        at = found[-1][:2]
        digested = digest([_entry(row) for row in found], session.places, session.workers)
        session.insert_spend(digested)
        session.add_up("spend_days", ("kind", "day", "place"), SUM_COLUMNS, digested.day_rows())
        session.add_up("spend_times", ("day", "place", "bucket"), ("calls",), digested.time_rows())
    connection.execute("DROP TABLE old_spend_rows")


def _entry(row: Sequence[Any]) -> SpendEntry:
    (epoch, seq, started_us, key, user_id, team_id, end_user, request_id, model, cost, failed, taken, given, detail) = (
        row
    )
    try:
        return decode_record(detail), detail
    except MsgspecError:  # damaged; its columns still say what counts
        record = CallRecord(
            epoch=epoch,
            seq=seq,
            started_us=started_us,
            ended_us=started_us,
            key=key,
            user_id=user_id,
            team_id=team_id,
            end_user=end_user,
            request_id=request_id,
            provider_model=model,
            cost=Cost(total=cost),
            status_code=500 if failed else 200,
            usage=Usage(input=taken, output=given),
        )
        return record, encode_record(record)
