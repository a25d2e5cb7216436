"""What the commands that ask a running gateway have in common: how it is named, how much is shown, what is asked first."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollway.cli.refusal import MISUSED, Refused
from tollway.cli.tables import dollars, show_table  # other commands show prices with them

if TYPE_CHECKING:
    from tollway.cli.gateway_client import GatewayClient

__all__ = ["dollars", "show_table"]


class NotNamed(str):
    """An address that is the default alone: a configuration may know a better one."""

    __slots__ = ()


def _named(context: typer.Context, url: str) -> str:
    source = context.get_parameter_source("url")
    return NotNamed(url) if source is not None and source.name == "DEFAULT" else url


Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar=["TOLLWAY_URL", "LITELLM_PROXY_URL"],
        callback=_named,
        help="The running gateway's address.",
    ),
]
KeyFile = Annotated[
    str | None,
    typer.Option(
        "--key_file", help="File that holds the key to ask with, - for standard input; by default LITELLM_MASTER_KEY."
    ),
]
ConfigPath = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", envvar="CONFIG_FILE_PATH", help="The gateway's config.yaml, to find its master key."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Show the gateway's answer as JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many to show.")]
Page = Annotated[int, typer.Option("--page", min=1, help="Which so many: 2 shows those after the first --limit.")]
All = Annotated[bool, typer.Option("--all", help="Show all, however many.")]

# --- limits that keys, teams, users and budgets have alike

MaxBudget = Annotated[
    str | None, typer.Option("--max_budget", metavar="DOLLARS", help="May be spent in a period; none: no limit.")
]
SoftBudget = Annotated[
    str | None, typer.Option("--soft_budget", metavar="DOLLARS", help="From here on the gateway's log warns.")
]
BudgetDuration = Annotated[
    str | None,
    typer.Option("--budget_duration", metavar="PERIOD", help="The budget starts anew after: 1d, 30d, monthly, ..."),
]
RpmLimit = Annotated[str | None, typer.Option("--rpm_limit", metavar="NUMBER", help="Requests a minute.")]
TpmLimit = Annotated[str | None, typer.Option("--tpm_limit", metavar="NUMBER", help="Tokens a minute.")]
ParallelMax = Annotated[
    str | None, typer.Option("--max_parallel_requests", metavar="NUMBER", help="Calls at the same time.")
]
Models = Annotated[
    list[str] | None, typer.Option("--models", "--model", help="May call this model, or with commas these; repeatable.")
]

DEFAULT_URL = "http://127.0.0.1:4000"
ROWS = 100
#: What one question to the gateway may ask for, and how many of them `--all` asks.
PAGE_ROWS_MAX = 100
PAGES_MAX = 1_000
#: Takes a limit away.
NONE = "none"


def ask(url: str, key_file: str | None, config_path: str | None) -> GatewayClient:
    # urllib takes 20 ms, and --help need not wait for it.
    from tollway.cli.gateway_client import GatewayClient, find_key, find_url

    if isinstance(url, NotNamed):
        url = find_url(config_path) or url
    return GatewayClient(url, find_key(key_file=key_file, config_path=config_path))


def show_json(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def confirm(question: str, *, yes: bool) -> None:
    """Goes on when the person says so, or said --yes before. Raises Refused otherwise; where nobody can be asked, with code 2."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"{question} Say so with --yes where nobody can be asked", exit_code=MISUSED)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Refused("nothing was changed")


# --- pages


def rows_of(
    fetch: Callable[[int, int], tuple[list[Any], int]], *, limit: int, page: int, everything: bool
) -> tuple[list[Any], int]:
    """The rows that were asked for, and how many there are. `fetch(page, size)` gives one page of the gateway's and the total."""
    first, last = (0, PAGE_ROWS_MAX * PAGES_MAX) if everything else ((page - 1) * limit, page * limit)
    size = PAGE_ROWS_MAX if everything or limit > PAGE_ROWS_MAX else limit
    found: list[Any] = []
    number = first // size
    start, total = number * size, 0
    while True:
        number += 1
        rows, total = fetch(number, size)
        found += rows
        if len(rows) < size or start + len(found) >= min(last, total):
            return found[first - start : last - start], total


def say_more(what: str, shown: int, total: int, *, page: int, limit: int) -> None:
    """On stderr, where there are more than were shown."""
    first = (page - 1) * limit
    if shown and first + shown < total:
        sys.stderr.write(
            f"{what} {first + 1:,} to {first + shown:,} of {total:,}: --page {page + 1} shows more, --all all of them\n"
        )


# --- what is typed for the API


def limits(**typed: str | None) -> dict[str, Any]:
    """The API's fields of the limits that were typed; `none` is null. Raises Refused for what is no number."""
    fields: dict[str, Any] = {}
    for name, written in typed.items():
        if written is None:
            continue
        if written.strip().lower() == NONE:
            fields[name] = None
        elif name == "budget_duration":
            fields[name] = written
        else:
            fields[name] = _number(name, written, float if name.endswith("budget") else int)
    return fields


def names(typed: list[str] | None) -> list[str] | None:
    """What was typed once or more often, each with commas; None where nothing was, and nothing for `none`."""
    if typed is None:
        return None
    found = [name.strip() for part in typed for name in part.split(",") if name.strip()]
    return [] if found == [NONE] else found


def _number(name: str, written: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(written.replace("_", "").lstrip("$"))
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        wanted = "an amount in dollars, such as 25 or 0.50" if kind is float else "a whole number"
        raise Refused(f"--{name} {written!r} should be {wanted}, or none", exit_code=MISUSED)
    return number
