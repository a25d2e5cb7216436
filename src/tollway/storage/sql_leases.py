"""Leases of shared budgets in SQL."""

# ruff: noqa: S608  statements are put together from the names of our own columns only

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tollway.storage import KEY_SCOPE, Holder, LeaseKept, LeaseState, LeaseWant, judge_lease
from tollway.storage.session import Database, Session

_GRANT = """
INSERT INTO leases (scope, id, period_start_us, epoch, granted_nano, charged_nano, wanted)
VALUES (:scope, :id, :period, :epoch, :granted, 0, 0)
ON CONFLICT (scope, id, period_start_us, epoch) DO UPDATE SET granted_nano = :granted
"""
_BEGIN_SPENT = """
INSERT INTO spent (scope, id, spend_nano, total_nano, period_start_us) VALUES (:scope, :id, 0, 0, 0)
ON CONFLICT (scope, id) DO NOTHING
"""
_OUTSTANDING = "CASE WHEN l.granted_nano > l.charged_nano THEN l.granted_nano - l.charged_nano ELSE 0 END"
_OF_PERIOD = "scope = :scope AND id = :id AND period_start_us = :period"


class SqlLeaseStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease(self, epoch: int, wants: Sequence[LeaseWant], *, workers: int) -> list[LeaseState]:
        def work(session: Session) -> list[LeaseState]:
            # Always in the order in which charges come: who waits for each other's budgets would wait for ever.
            found = {
                place: _lease(session, epoch, wants[place], workers) for place in sorted(range(len(wants)), key=turn)
            }
            return [found[place] for place in range(len(wants))]

        def turn(place: int) -> tuple[bool, str, str]:
            return _turn(wants[place])

        return await self._database.write_soon(work)  # calls wait for it

    async def give_back(self, epoch: int, kept: Sequence[LeaseKept]) -> None:
        statement = f"""
            UPDATE leases SET wanted = 0,
                granted_nano = CASE WHEN granted_nano > :granted THEN :granted ELSE granted_nano END
            WHERE {_OF_PERIOD} AND epoch = :epoch"""

        def work(session: Session) -> None:
            for lease in sorted(kept, key=_turn):
                values = _place(session, lease.scope, lease.id, lease.period_start_us)[0]
                session.execute(statement, {**values, "epoch": epoch, "granted": lease.granted_nano})

        await self._database.write_soon(work)  # others' calls wait for it

    async def states(self, epoch: int, *, wanted_only: bool = False) -> list[LeaseState]:
        statement = f"""
            SELECT scope, id, period_start_us, granted_nano, charged_nano, wanted,
                (SELECT CAST(sum({_OUTSTANDING}) AS BIGINT) FROM leases AS l
                    WHERE l.scope = mine.scope AND l.id = mine.id AND l.period_start_us = mine.period_start_us)
            FROM leases AS mine WHERE epoch = :epoch{" AND wanted = 1" if wanted_only else ""}"""

        def work(session: Session) -> list[LeaseState]:
            found = []
            for scope, scope_id, period, granted, charged, wanted, outstanding in session.rows(
                statement, {"epoch": epoch}
            ):
                _, spent, in_force = _place(session, scope, scope_id, period)
                if in_force is not None and in_force <= period:
                    found.append(
                        LeaseState(
                            scope=scope,
                            id=scope_id,
                            period_start_us=period,
                            granted_nano=granted,
                            charged_nano=charged,
                            spent_nano=spent,
                            outstanding_nano=outstanding,
                            wanted=bool(wanted),
                        )
                    )
            return found

        return await self._database.read(work)

    async def end(self, epoch: int) -> None:
        statement = "DELETE FROM leases WHERE epoch = :epoch"
        await self._database.write(lambda session: session.execute(statement, {"epoch": epoch}))

    async def begin(self, epoch: int, host: str) -> None:
        statement = """
            INSERT INTO workers (epoch, host) VALUES (:epoch, :host)
            ON CONFLICT (epoch) DO UPDATE SET host = excluded.host"""
        await self._database.write(lambda session: session.execute(statement, {"epoch": epoch, "host": host}))

    async def holders(self) -> list[Holder]:
        statement = f"""
            SELECT l.epoch, coalesce(max(w.host), ''), count(*), CAST(sum({_OUTSTANDING}) AS BIGINT)
            FROM leases AS l LEFT JOIN workers AS w ON w.epoch = l.epoch GROUP BY l.epoch ORDER BY l.epoch"""
        rows = await self._database.read(lambda session: session.rows(statement))
        return [Holder(epoch=row[0], host=row[1], leases=row[2], outstanding_nano=row[3]) for row in rows]


def _turn(one: LeaseWant | LeaseKept) -> tuple[bool, str, str]:
    return (one.scope != KEY_SCOPE, one.scope, one.id)


def _lease(session: Session, epoch: int, want: LeaseWant, workers: int) -> LeaseState:
    place, spent, in_force = _place(session, want.scope, want.id, want.period_start_us, lock=True)
    if in_force is None or in_force > want.period_start_us:
        return LeaseState(
            scope=want.scope,
            id=want.id,
            period_start_us=in_force or want.period_start_us,
            spent_nano=spent,
            known=in_force is not None,
        )
    rows = session.rows(f"SELECT epoch, granted_nano, charged_nano, wanted FROM leases WHERE {_OF_PERIOD}", place)
    others = sum(max(0, granted - charged) for other, granted, charged, _ in rows if other != epoch)
    before, charged, wanted = next((row[1:] for row in rows if row[0] == epoch), (0, 0, 0))
    granted, blocked = judge_lease(
        want, granted=before, charged=charged, wanted=bool(wanted), others=others, spent=spent, workers=workers
    )
    if blocked:
        session.execute(
            f"UPDATE leases SET wanted = 1 WHERE {_OF_PERIOD} AND epoch <> :epoch AND granted_nano > charged_nano",
            {**place, "epoch": epoch},
        )
    if granted != before:
        session.execute(_GRANT, {**place, "epoch": epoch, "granted": granted})
        if before == charged == 0:  # the first of its period: leases of older ones are of no use any more
            session.execute(
                "DELETE FROM leases WHERE scope = :scope AND id = :id AND period_start_us < :period AND epoch = :epoch",
                {**place, "epoch": epoch},
            )
    return LeaseState(
        scope=want.scope,
        id=want.id,
        period_start_us=want.period_start_us,
        granted_nano=granted,
        charged_nano=charged,
        spent_nano=spent,
        outstanding_nano=others + max(0, granted - charged),
        wanted=bool(wanted),
    )


def _place(
    session: Session, scope: str, scope_id: str, period: int, *, lock: bool = False
) -> tuple[dict[str, Any], int, int | None]:
    """Where a budget's leases stand, what was spent in `period` or a newer one that is in force, and which one is in
    force; None for a key that is gone. `lock`: it stays so until the transaction ends.

    Charges change a budget's row before they change its leases, so whoever has locked it sees both before or both
    after.
    """
    locked = session.lock if lock else ""
    place = {"scope": scope, "id": scope_id, "period": period}
    if scope != KEY_SCOPE:
        if locked:  # what is not there cannot be locked
            session.execute(_BEGIN_SPENT, place)
        of_scope = f"SELECT spend_nano, period_start_us FROM spent WHERE scope = :scope AND id = :id{locked}"
        rows = session.rows(of_scope, place)
        spent, in_force = rows[0] if rows else (0, 0)
    else:
        of_key = f"SELECT spend_nano, period_start_us FROM keys WHERE token = :token{locked}"
        rows = session.rows(of_key, {"token": bytes.fromhex(scope_id)})
        if not rows:
            by_old = "SELECT token FROM key_predecessors WHERE old = :old"
            for (token,) in session.rows(by_old, {"old": bytes.fromhex(scope_id)}):
                place["id"] = token.hex()
                rows = session.rows(of_key, {"token": token})
        if not rows:
            return place, 0, None
        spent, in_force = rows[0]
    return place, spent if in_force >= period else 0, in_force
