"""`tollway spend`: what calls cost, as the running gateway recorded it: in sums, the dearest first, or call by call."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tollway.cli.asking import DEFAULT_URL, AsJson, ConfigPath, KeyFile, Url, ask, rows_of, show_json
from tollway.cli.keys import named_key
from tollway.cli.refusal import MISUSED, Refused
from tollway.cli.tables import dollars, share, show_table, whole
from tollway.cli.tail import LINES, Lines, OfKey, OfModel, OfStatus, show_latest

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

DAYS = 30
#: Days of one answer.
PAGE_DAYS = 1_000
TOP = 10
_SPAN = re.compile(r"(\d{1,4})d")


class By(StrEnum):
    DAY = "day"
    MODEL = "model"
    PROVIDER = "provider"
    KEY = "key"
    TEAM = "team"
    USER = "user"
    ORGANIZATION = "organization"
    CUSTOMER = "customer"
    TAG = "tag"


#: Whose answer names each: the path, and the field that says which of them.
_PATHS = {
    By.TEAM: ("/team/daily/activity", "team_ids"),
    By.USER: ("/user/daily/activity", "user_id"),
    By.ORGANIZATION: ("/organization/daily/activity", "organization_ids"),
    By.CUSTOMER: ("/customer/daily/activity", "end_user_ids"),
    By.TAG: ("/tag/daily/activity", "tags"),
}
_PARTS = {By.MODEL: "model_groups", By.PROVIDER: "providers", By.KEY: "api_keys"}
_SUMS = {
    "calls": "api_requests",
    "failed": "failed_requests",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "spend": "spend",
}


class _ReportByDefault(TyperGroup):
    """`tollway spend --by key` is `tollway spend report --by key`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in {"--help", "-h"}):
            args = ["report", *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(
    cls=_ReportByDefault, help="What calls cost: sums (report, as without a word), top, tail.", rich_markup_mode=None
)

Since = Annotated[str, typer.Option("--since", metavar="DAY", help="First day, UTC: 2026-11-01, or 7d.")]
Until = Annotated[str | None, typer.Option("--until", metavar="DAY", help="Last day, UTC; today.")]
Key = Annotated[str | None, typer.Option("--key", help="Of this key: itself, its SHA-256, or its alias.")]
Model = Annotated[str | None, typer.Option("--model", help="Of this model, as its provider calls it.")]
Team = Annotated[str | None, typer.Option("--team", "--team_id", help="Of the team with this id.")]
User = Annotated[str | None, typer.Option("--user", "--user_id", help="Of the user with this id.")]
Customer = Annotated[str | None, typer.Option("--customer", help="Of this end user of clients.")]
Tag = Annotated[str | None, typer.Option("--tag", help="Of calls with this tag.")]


@commands.command()
def report(
    *,
    by: Annotated[By, typer.Option("--by", help="One line for each.")] = By.DAY,
    since: Since = f"{DAYS}d",
    until: Until = None,
    key: Key = None,
    model: Model = None,
    team: Team = None,
    user: User = None,
    customer: Customer = None,
    tag: Tag = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show what was spent, by default in the last 30 days, day by day."""
    of = {By.TEAM: team, By.USER: user, By.CUSTOMER: customer, By.TAG: tag}
    span = _span(since, until)
    client = ask(url, key_file, config)
    rows = sums(client, by, span, key=key, model=model, of={kind: name for kind, name in of.items() if name})
    show_json(rows) if as_json else _show(by, rows, whole_of=None if by is By.TAG else _total(rows))


@commands.command()
def top(
    by: Annotated[By, typer.Argument(help="Of what.")] = By.KEY,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many to show.")] = TOP,
    since: Since = f"{DAYS}d",
    until: Until = None,
    key: Key = None,
    model: Model = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show who or what spent most, by default of the keys in the last 30 days."""
    client = ask(url, key_file, config)
    rows = sums(client, by, _span(since, until), key=key, model=model, of={})
    rows.sort(key=lambda row: row["spend"], reverse=True)
    first, others = rows[:limit], rows[limit:]
    if as_json:
        show_json(first)
        return
    if others and by is not By.TAG:
        first = [*first, {"name": f"({len(others)} others)", **_total(others)}]
    _show(by, first, whole_of=None if by is By.TAG else _total(rows))


@commands.command()
def tail(
    *,
    lines: Lines = LINES,
    key: OfKey = None,
    model: OfModel = None,
    status: OfStatus = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest calls; `tollway tail` goes on showing them as they end."""
    show_latest(ask(url, key_file, config), lines, key=key, model=model, status=status, as_json=as_json)


def sums(
    client: GatewayClient, by: By, span: tuple[str, str], *, key: str | None, model: str | None, of: dict[By, str]
) -> list[dict[str, Any]]:
    """{"name", "id", "calls", "failed", "input_tokens", "output_tokens", "spend"} of each, the dearest first; days in order."""
    if len({*of, *({by} if by in _PATHS else ())}) > 1:
        kinds = " and ".join(f"--{kind.value}" for kind in of)
        raise Refused(f"--by {by.value} and {kinds} do not go together: one of them at a time", exit_code=MISUSED)
    kind = next(iter(of), by if by in _PATHS else By.USER)
    path, field = _PATHS[kind]
    query: dict[str, Any] = {"start_date": span[0], "end_date": span[1], "model": model, field: of.get(kind)}
    if key is not None:
        found = named_key(client, key)
        if found is None:
            raise Refused(f"no key is or has the alias {key!r}; `tollway keys list` shows them")
        query["api_key"] = found["token"]
    days = _days(client, path, query)
    if by is By.DAY:
        found_days = [{"name": day["date"], "id": day["date"], **_row(day["metrics"])} for day in days]
        return sorted(found_days, key=lambda row: str(row["name"]))
    rows: dict[str, dict[str, Any]] = {}
    for day in days:
        for name, part in day["breakdown"][_PARTS.get(by, "entities")].items():
            row = rows.setdefault(name, {"name": _alias(by, name, part), "id": name, **_row({})})
            for ours, value in _row(part["metrics"]).items():
                row[ours] += value
    _name(client, by, list(rows.values()))
    return sorted(rows.values(), key=lambda row: row["spend"], reverse=True)


def _days(client: GatewayClient, path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = client.get(path, {**query, "page": page, "page_size": PAGE_DAYS})
        found += answer["results"]
        if not answer["metadata"]["has_more"]:
            return found
        page += 1


def _row(metrics: dict[str, Any]) -> dict[str, Any]:
    return {ours: metrics.get(theirs, 0) for ours, theirs in _SUMS.items()}


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(row[name] for row in rows) for name in _SUMS}


def _alias(by: By, name: str, part: dict[str, Any]) -> str:
    known = part.get("metadata") or {}
    return str((known.get("key_alias") if by is By.KEY else None) or name)


def _name(client: GatewayClient, by: By, rows: list[dict[str, Any]]) -> None:
    """Puts the names that people know in the place of the ids of teams and users."""
    if by is By.TEAM and rows:

        def fetch(number: int, size: int) -> tuple[list[Any], int]:
            answer = client.get("/v2/team/list", {"page": number, "page_size": size})
            return answer["teams"], answer["total"]

        teams = rows_of(fetch, limit=1, page=1, everything=True)[0]
        known = {team["team_id"]: team.get("team_alias") for team in teams}
    elif by is By.USER and rows:
        ids = [row["id"] for row in rows if "," not in row["id"]]
        known = {}
        for at in range(0, len(ids), 50):
            answer = client.get("/user/list", {"user_ids": ",".join(ids[at : at + 50]), "page_size": 50})
            known |= {user["user_id"]: user.get("user_email") for user in answer["users"]}
    else:
        return
    for row in rows:
        row["name"] = known.get(row["id"]) or row["id"]


def _show(by: By, rows: list[dict[str, Any]], *, whole_of: dict[str, Any] | None) -> None:
    shown = [*rows, {"name": "all", **whole_of}] if whole_of is not None else rows
    cells = [
        (
            row["name"] or "(none)",
            whole(row["calls"]),
            whole(row["failed"]) if row["failed"] else "",
            whole(row["input_tokens"]),
            whole(row["output_tokens"]),
            dollars(row["spend"]),
            share(row["spend"], whole_of["spend"]) if whole_of is not None and by is not By.DAY else "",
        )
        for row in shown
    ]
    columns = (by.value.upper(), "CALLS", "FAILED", "INPUT", "OUTPUT", "SPENT", "SHARE")
    show_table(columns, cells, numbers=columns[1:])


def _span(since: str, until: str | None) -> tuple[str, str]:
    """The first and the last day, as the API takes them. Raises Refused."""
    today = datetime.now(UTC).date()
    last = _day("--until", until, today) if until is not None else f"{today}"
    first = _day("--since", since, datetime.fromisoformat(last).date())
    if first > last:
        raise Refused("--since should be a day before --until, and not in the future", exit_code=MISUSED)
    return first, last


def _day(flag: str, written: str, last: Any) -> str:
    span = _SPAN.fullmatch(written)
    if span is not None:
        return f"{last - timedelta(days=max(0, int(span[1]) - 1))}"
    try:
        return f"{datetime.strptime(written, '%Y-%m-%d').replace(tzinfo=UTC):%Y-%m-%d}"
    except ValueError:
        raise Refused(f"{flag} {written!r} should be a day like 2026-11-01, or 7d", exit_code=MISUSED) from None
