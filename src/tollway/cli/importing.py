"""`tollway import litellm`: keys, teams, users, budgets and spend out of a LiteLLM database.

It reads there and writes into this gateway's storage; nothing is changed in LiteLLM's own tables, and both may run meanwhile.
Keys are stored by the same hash, so clients keep theirs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tollway.cli.asking import show_json, show_table
from tollway.cli.prices import AsJson, ConfigPath
from tollway.cli.refusal import FAILED, MISUSED, Refused

if TYPE_CHECKING:
    from tollway.cli.moving.move import Findings, Progress
    from tollway.config.settings import Config
    from tollway.storage import Storage

commands = typer.Typer(help="Move in from another gateway.", no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def importing() -> None:
    """Move in from another gateway."""


@commands.command()
def litellm(
    *,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database_url",
            help="LiteLLM's PostgreSQL database; by default general_settings.database_url or DATABASE_URL.",
        ),
    ] = None,
    config: ConfigPath = None,
    dry_run: Annotated[bool, typer.Option("--dry_run", help="Only show what would be moved.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Put LiteLLM's keys, teams and others in the place of those of the same id."),
    ] = False,
    spend: Annotated[bool, typer.Option("--spend/--no_spend", help="Move the log of calls and the daily sums.")] = True,
    spend_since: Annotated[
        datetime | None, typer.Option("--spend_since", formats=["%Y-%m-%d"], help="First day of spend to move, UTC.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move keys, teams, users, budgets, models and spend from LiteLLM's database into Tollway's."""
    import asyncio  # 20 ms, for this command alone

    from tollway.cli.flags import Flags, read_config

    settings = read_config(Flags(config=config))
    url = database_url or _configured_url(settings)
    if url is None:
        raise Refused(
            "--database_url postgresql://user:password@host/name says where LiteLLM's data is", exit_code=MISUSED
        )
    if url.partition("://")[0] not in ("postgresql", "postgres"):
        raise Refused("--database_url should be LiteLLM's PostgreSQL database: postgresql://...", exit_code=MISUSED)
    findings = asyncio.run(_run(url, settings, dry_run=dry_run, overwrite=overwrite, spend=spend, since=spend_since))
    if as_json:
        show_json(_report(findings, dry_run=dry_run))
    else:
        _show(findings, dry_run=dry_run)
    if any(counts.failed for counts in findings.counts.values()):
        raise typer.Exit(FAILED)


async def _run(
    url: str, config: Config, *, dry_run: bool, overwrite: bool, spend: bool, since: datetime | None
) -> Findings:
    from tollway.app import stored_in
    from tollway.cli.moving.litellm_database import LiteLLMDatabase
    from tollway.cli.moving.move import Findings, move_calls, move_days, read_people, write_people

    findings = Findings()
    with LiteLLMDatabase(url) as source, _progress() as progress:
        moving = read_people(source, config, findings)
        storage: Storage | None = None if dry_run else await stored_in(config)
        try:
            if storage is not None:
                now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
                await write_people(storage, moving, findings, now_us=now_us, overwrite=overwrite, progress=progress)
            if spend:
                begins = await move_calls(source, storage, findings, since=since, progress=progress)
                await move_days(source, storage, moving, findings, since=since, until=begins, progress=progress)
        finally:
            if storage is not None:
                await storage.close()
    return findings


def _configured_url(config: Config) -> str | None:
    url = config.storage.database_url
    return url.reveal() if url is not None else os.environ.get("DATABASE_URL")


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal's stderr; elsewhere a line for each kind when it is done."""
    if not sys.stderr.isatty():
        yield _tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _tell(what: str, done: int, total: int) -> None:
    if done == total and total:
        sys.stderr.write(f"{what}: {done}\n")


def _report(findings: Findings, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "moved": {
            kind: {"found": one.found, "moved": one.moved, "there_already": one.there, "unreadable": one.failed}
            for kind, one in findings.counts.items()
        },
        "spend_nano": findings.spend_nano,
        "not_carried": [
            {"kind": kind, "what": what, "count": count, "examples": findings.notes.examples[kind, what]}
            for (kind, what), count in findings.notes.counts.items()
        ],
        "without_place": findings.without_place,
    }


def _show(findings: Findings, *, dry_run: bool) -> None:
    say = sys.stdout.write
    moved = "would move" if dry_run else "moved"
    columns = ("", "found", moved, "there already", "unreadable")
    rows = [
        (kind, one.found, one.found - one.failed if dry_run else one.moved, one.there, one.failed)
        for kind, one in findings.counts.items()
        if one.found
    ]
    show_table(columns, rows, numbers=columns[1:])
    say(f"\nspend in calls and daily sums: ${findings.spend_nano / 1e9:,.4f}\n")
    if findings.notes.counts:
        say("\nnot carried over, for this gateway does not do it or cannot read it:\n")
        for (kind, what), count in sorted(findings.notes.counts.items()):
            examples = ", ".join(findings.notes.examples[kind, what])
            say(
                f"  {kind}: {what} ({count}: {examples}{', ...' if count > len(findings.notes.examples[kind, what]) else ''})\n"
            )
    if findings.without_place:
        say("\nin LiteLLM's database, and nothing here for it:\n")
        for what, count in findings.without_place.items():
            say(f"  {what}: {count}\n")
    if dry_run:
        say("\nNothing was changed. Without --dry-run it is moved.\n")
    else:
        say("\nOld keys work from now on; a gateway that is running takes them in within two seconds.\n")
