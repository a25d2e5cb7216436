"""`tollway reprice`: charges finished calls again at the prices in force, after a price was wrong or came late.

It works on the storage, not through a running gateway. Every call is changed once, whole: its row, the spend of its key and
of every other budget that it counted against, and the sums by day change in one transaction of some thousand calls. A run that
was broken off is simply run again.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from tollway.cli.asking import dollars, show_json, show_table
from tollway.cli.prices import AsJson, ConfigPath
from tollway.cli.refusal import MISUSED, Refused

if TYPE_CHECKING:
    from tollway.config.settings import Config, ModelEntry
    from tollway.pricing.price import Price
    from tollway.storage import Repriced, Storage
    from tollway.storage.record import CallRecord

ROWS_READ_MAX = 5_000
#: Calls of one transaction: others that write wait for it.
ROWS_CHANGED_MAX = 1_000
_MASTER = "(master key)"

FindPrice = Callable[["CallRecord"], "Price | None"]


class Totals(Struct):
    """Calls of one key and one model whose cost changes."""

    key: str
    model: str
    calls: int = 0
    before_nano: int = 0
    after_nano: int = 0


class Findings(Struct):
    looked_at: int = 0
    left_alone: int = 0  # no usage, from a cache, cut
    without_deployment: int = 0  # the configuration no longer has what answered
    still_unpriced: int = 0
    totals: dict[tuple[str, str], Totals] = {}


def reprice(
    *,
    since: Annotated[datetime, typer.Option("--since", formats=["%Y-%m-%d"], help="First day, UTC.")],
    until: Annotated[
        datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day, UTC; until now.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only calls that this model served.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Change what is stored; else it is only shown.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show what calls would cost at the prices in force, and with --apply charge them so."""
    import asyncio  # 20 ms, for this command alone

    from tollway.cli.flags import Flags, read_config

    now = datetime.now(UTC)
    first = since.replace(tzinfo=UTC)
    last = min(now, until.replace(tzinfo=UTC, hour=23, minute=59, second=59, microsecond=999_999)) if until else now
    if first > last:
        raise Refused("--since should be a day before --until, and not in the future", exit_code=MISUSED)
    span = (int(first.timestamp()) * 1_000_000, int(last.timestamp() * 1e6) + 1)
    settings = read_config(Flags(config=config))
    findings, changed = asyncio.run(_run(settings, span, model, wanted=apply))
    _show(findings, changed if apply else None, as_json)


async def _run(config: Config, span: tuple[int, int], model: str | None, *, wanted: bool) -> tuple[Findings, int]:
    from tollway.app import stored_in

    find = price_finder(config)
    storage = await stored_in(config)
    try:
        findings = Findings()
        async for _ in changes_of(storage, span, model, find, findings):
            pass
        changed = 0
        if wanted and findings.totals:
            batch: list[Repriced] = []
            async for change in changes_of(storage, span, model, find, Findings()):
                batch.append(change)
                if len(batch) >= ROWS_CHANGED_MAX:
                    changed += await storage.spend.reprice(batch)
                    batch = []
            changed += await storage.spend.reprice(batch)
        return findings, changed
    finally:
        await storage.close()


async def changes_of(
    storage: Storage, span: tuple[int, int], model: str | None, find: FindPrice, findings: Findings
) -> AsyncIterator[Repriced]:
    """The calls of a span that cost something else now, newest first; what was found on the way goes into `findings`."""
    from tollway.ledger.repricing import can_be_recharged, recharged
    from tollway.storage import SpendFilter
    from tollway.storage.record import decode_record, encode_record

    which = SpendFilter(from_us=span[0], until_us=span[1])
    before: tuple[int, int] | None = None
    while rows := await storage.spend.page(which, limit=ROWS_READ_MAX, before=before):
        before = rows[-1].started_us, rows[-1].id
        for row in rows:
            record = decode_record(row.detail)
            if model is not None and model not in (record.model_group, record.provider_model):
                continue
            findings.looked_at += 1
            if not can_be_recharged(record):
                findings.left_alone += 1
                continue
            try:
                price = find(record)
            except LookupError:
                findings.without_deployment += 1
                continue
            if price is None:
                findings.still_unpriced += 1
                continue
            again = recharged(record, price)
            if again is not None:
                _count(findings, record, again)
                yield row, (again, encode_record(again))


def price_finder(config: Config) -> FindPrice:
    """The price in force of the deployment that answered a call, None when it has none.

    A deployment is known by its id, or by its name and its provider's model where lines were moved since. Raises LookupError
    when the configuration no longer has it, or has several at different prices: nobody knows then what it would have asked.
    """
    from tollway.app import bare_binder, catalog_in_force
    from tollway.config.places import data_folder
    from tollway.snapshot import deployment_id, wildcard_pattern

    catalog, warnings = catalog_in_force(data_folder(config))
    for warning in warnings:
        sys.stderr.write(f"tollway: {warning}\n")
    binder = bare_binder(config, catalog)
    by_id = {deployment_id(entry): entry for entry in config.models}
    wildcards = [(wildcard_pattern(entry.model_name), entry) for entry in config.models if "*" in entry.model_name]

    def entries_of(record: CallRecord) -> list[ModelEntry]:
        of_id = by_id.get(record.deployment_id) or by_id.get(
            record.deployment_id.removesuffix(f":{record.model_group}")
        )
        if of_id is not None:
            return [of_id]
        names = (record.model_group, record.provider_model)
        named = [entry for entry in config.models if (entry.model_name, entry.provider_model) == names]
        return named or [entry for pattern, entry in wildcards if pattern.fullmatch(record.model_group)]

    found: dict[tuple[str, str, str], Price | None] = {}

    def find(record: CallRecord) -> Price | None:
        name = (record.deployment_id, record.model_group, record.provider_model)
        if name not in found:
            bound = [binder.bind(entry, *name[1:]) for entry in entries_of(record)]
            if not bound or any(deployment.price != bound[0].price for deployment in bound):
                raise LookupError(name[0])
            found[name] = bound[0].price
        return found[name]

    return find


def _count(findings: Findings, before: CallRecord, after: CallRecord) -> None:
    key = before.key_alias or (before.key.hex()[:12] if before.key is not None else _MASTER)
    name = (key, before.model_group)
    totals = findings.totals.setdefault(name, Totals(*name))
    totals.calls += 1
    totals.before_nano += before.cost.total
    totals.after_nano += after.cost.total


def _show(findings: Findings, changed: int | None, as_json: bool) -> None:
    totals = sorted(findings.totals.values(), key=lambda one: (one.key, one.model))
    before, after = sum(one.before_nano for one in totals), sum(one.after_nano for one in totals)
    calls = sum(one.calls for one in totals)
    if as_json:
        show_json(
            {
                "looked_at": findings.looked_at,
                "left_alone": findings.left_alone,
                "without_deployment": findings.without_deployment,
                "still_unpriced": findings.still_unpriced,
                "differ": calls,
                "applied": changed,
                "spend_before": before / 1e9,
                "spend_after": after / 1e9,
                "by_key_and_model": [
                    {
                        "key": one.key,
                        "model": one.model,
                        "calls": one.calls,
                        "spend_before": one.before_nano / 1e9,
                        "spend_after": one.after_nano / 1e9,
                    }
                    for one in totals
                ],
            }
        )
        return
    if totals:
        rows = [(one.key, one.model, str(one.calls), *_amounts(one.before_nano, one.after_nano)) for one in totals] + [
            ("all", "", str(calls), *_amounts(before, after))
        ]
        columns = ("KEY", "MODEL", "CALLS", "CHARGED", "IN FORCE", "DIFFERENCE")
        show_table(columns, rows, numbers=columns[2:])
    say = sys.stdout.write
    say(f"{calls} of {findings.looked_at} calls cost something else at the prices in force\n")
    for number, what in (
        (findings.left_alone, "cannot be charged again: no usage, answered from a cache, or cut"),
        (findings.without_deployment, "were answered by a deployment that is no longer configured"),
        (findings.still_unpriced, "have no price now either"),
    ):
        if number:
            say(f"{number} {what}\n")
    if changed is not None:
        say(f"{changed} calls were charged again; a gateway that is running counts so within two seconds\n")
    elif calls:
        say("nothing was changed; --apply does\n")


def _amounts(before: int, after: int) -> tuple[str, str, str]:
    more = (after - before) / 1e9
    return dollars(before / 1e9), dollars(after / 1e9), f"{'-' if more < 0 else '+'}{dollars(abs(more))}"
