"""`tollway spend`: what calls cost, as the running gateway recorded it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from tollway.cli.asking import DEFAULT_URL, AsJson, ConfigPath, KeyFile, Url, ask, dollars, show_json, show_table
from tollway.cli.keys import all_keys

DAYS = 30
#: Parts of a day's summary that are not the hash of a key (GET /spend/logs with dates).
_NOT_A_KEY = {"startTime", "spend", "users", "models"}


class By(StrEnum):
    DAY = "day"
    MODEL = "model"
    KEY = "key"
    USER = "user"


def spend(
    *,
    by: Annotated[By, typer.Option("--by", help="One line for each.")] = By.DAY,
    since: Annotated[datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="First day, UTC.")] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day, UTC; today.")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show what was spent, by default in the last 30 days."""
    client = ask(url, key_file, config)
    last = until or datetime.now(UTC)
    first = since or last - timedelta(days=DAYS - 1)
    days = client.get("/spend/logs", {"start_date": f"{first:%Y-%m-%d}", "end_date": f"{last:%Y-%m-%d}"})
    if as_json:
        show_json(days)
        return
    sums = sums_by(by, days)
    if by is By.KEY:
        aliases = {key["token"]: key.get("key_alias") or key.get("key_name") for key in all_keys(client, {})}
        sums = {aliases.get(token) or token: amount for token, amount in sums.items()}
    rows = [(name or "(none)", dollars(amount)) for name, amount in sums.items()]
    show_table((by.upper(), "SPENT"), [*rows, ("all", dollars(sum(sums.values())))], numbers=("SPENT",))


def sums_by(by: By, days: list[dict[str, Any]]) -> dict[str, float]:
    """Dollars by day in order, or by model, key (SHA-256) or user with the dearest first."""
    if by is By.DAY:
        return {day["startTime"]: day["spend"] for day in sorted(days, key=lambda day: str(day["startTime"]))}
    sums: Counter[str] = Counter()
    for day in days:
        parts = day.get(f"{by}s", {}) if by is not By.KEY else {k: v for k, v in day.items() if k not in _NOT_A_KEY}
        for name, amount in parts.items():
            sums[name] += amount
    return dict(sums.most_common())
