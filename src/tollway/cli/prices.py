"""`tollway prices`: what models cost, what another price list says of it, and how a newer list gets into the data folder.

Nothing here asks a running gateway. A list that was fetched is used at the gateway's next start or reload, never before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tollway.cli.asking import show_json, show_table
from tollway.cli.refusal import MISUSED, Refused

if TYPE_CHECKING:
    from tollway.pricing.catalog import Catalog, ModelFacts
    from tollway.pricing.price import Price, Rates

#: LiteLLM's list, the one that its users know; a name of theirs for another.
PUBLIC_LIST_URL = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
LIST_BYTES_MAX = 64 << 20
LIST_S_MAX = 60.0
#: What `diff` shows of a list that differs everywhere; --json shows all.
DIFFERENCES_SHOWN_MAX = 200

commands = typer.Typer(help="What models cost: show, compare, fetch.", no_args_is_help=True, rich_markup_mode=None)

ConfigPath = Annotated[
    str | None,
    typer.Option("--config", "-c", envvar="CONFIG_FILE_PATH", help="The gateway's config.yaml: its prices and folder."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Show JSON.")]
ListUrl = Annotated[
    str, typer.Option("--url", envvar="LITELLM_MODEL_COST_MAP_URL", help="Where the price list is fetched.")
]


@commands.command()
def show(
    model: Annotated[str, typer.Argument(help="A model of the configuration, or one of the list: openai/gpt-4o.")],
    *,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show all that a model asks: dollars per million tokens, per call and per piece."""
    catalog = _in_force(config)
    told = list(_configured(model, config, catalog)) if config is not None else []
    if not told:
        facts = _find(catalog, model)
        if facts is None:
            raise Refused(f"no price is known for {model!r}: neither the configuration nor the list names it")
        told = [(facts.name, facts, facts.price)]
    now_s = datetime.now(UTC).timestamp()
    answers = [_told(name, facts, price, catalog, now_s) for name, facts, price in told]
    if as_json:
        show_json(answers)
        return
    for answer in answers:
        _show_one(answer)


@commands.command()
def diff(
    other: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="Another price list.")] = PUBLIC_LIST_URL,
    *,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show what another price list says otherwise. Exit code 1 when anything differs."""
    from tollway.pricing.catalog import load as load_catalog
    from tollway.pricing.making import differences

    present = _in_force(config)
    found = list(differences(present, load_catalog(_bytes_of(other))))
    if as_json:
        show_json([{"model": one.name, "key": one.key, "before": one.before, "after": one.after} for one in found])
    elif found:
        rows = [(one.name, one.key or "(model)", _value(one.before), _value(one.after)) for one in found]
        show_table(("MODEL", "KEY", "IN FORCE", "THERE"), rows[:DIFFERENCES_SHOWN_MAX])
        if len(rows) > DIFFERENCES_SHOWN_MAX:
            sys.stdout.write(f"and {len(rows) - DIFFERENCES_SHOWN_MAX} more; --json shows all\n")
    else:
        sys.stdout.write("no difference\n")
    raise typer.Exit(1 if found else 0)


@commands.command()
def update(
    *,
    url: ListUrl = PUBLIC_LIST_URL,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a price list, check it whole and keep it for the next start or reload. The one before it stays as *.old."""
    from tollway.pricing.making import differences, judge

    present = _in_force(config)
    data = _bytes_of(url)
    found = judge(data, present)
    changed = list(differences(present, found))
    target = _list_path(config)
    _replace(target, data)
    answer = {"path": str(target), "models": len(found), "as_of": found.as_of, "changes": len(changed)}
    if as_json:
        show_json(answer)
        return
    sys.stdout.write(
        f"{len(found)} models as of {found.as_of}, {len(changed)} changes, kept in {target}: "
        "in force at the gateway's next start or reload\n"
    )


# --- which list ----------------------------------------------------------------------------------------------------


def _in_force(config: str | None) -> Catalog:
    from tollway.app import catalog_in_force

    catalog, warnings = catalog_in_force(_list_path(config).parent)
    for warning in warnings:
        sys.stderr.write(f"tollway: {warning}\n")
    return catalog


def _list_path(config: str | None) -> Path:
    from tollway.config import load
    from tollway.config.places import data_folder
    from tollway.pricing.catalog import CATALOG_FILE

    return data_folder(load(config)) / CATALOG_FILE


def _bytes_of(where: str) -> bytes:
    """A price list as a catalog's bytes: of a file, which may be a catalog itself, or fetched."""
    from importlib import resources

    from tollway.pricing.making import CORRECTIONS_FILE, catalog_bytes

    remote = where.startswith(("http://", "https://"))
    text = _fetch(where) if remote else _read(Path(where))
    if text.startswith(b"\x1f\x8b"):
        return text
    corrections = resources.files("tollway.pricing").joinpath(CORRECTIONS_FILE).read_bytes()
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    try:
        return catalog_bytes(text, corrections, about=f"Fetched from {where}." if remote else "", as_of=today)
    except ValueError as error:
        raise Refused(f"{where} cannot be used: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read a price list from {path}: {error.strerror or error}", exit_code=MISUSED) from error


def _fetch(url: str) -> bytes:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"user-agent": "tollway-cli"})  # noqa: S310  # its scheme was looked at
    try:
        with urllib.request.urlopen(request, timeout=LIST_S_MAX) as answer:  # noqa: S310  # the same
            data: bytes = answer.read(LIST_BYTES_MAX + 1)
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(f"{url} answers {error.code}") from error
    except OSError as error:
        raise Refused(f"{url} cannot be fetched: {getattr(error, 'reason', None) or error}") from error
    if len(data) > LIST_BYTES_MAX:
        raise Refused(f"{url} is longer than {LIST_BYTES_MAX >> 20} MiB")
    return data


def _replace(target: Path, data: bytes) -> None:
    """Puts the bytes there whole or not at all; what was there stays beside it."""
    import os

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        coming = target.with_name(f"{target.name}.new")
        with coming.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            old = target.with_name(f"{target.name}.old")
            old.unlink(missing_ok=True)
            os.link(target, old)
        coming.replace(target)
    except OSError as error:
        raise Refused(f"cannot write {target}: {error.strerror or error}") from error


# --- one model -----------------------------------------------------------------------------------------------------


def _find(catalog: Catalog, model: str) -> ModelFacts | None:
    facts = catalog.facts(model)
    if facts is not None:
        return facts
    provider, _, name = model.partition("/")
    if name:
        return catalog.find(provider, name)
    guessed = catalog.infer_provider(model)
    return catalog.find(guessed, model) if guessed is not None else None


def _configured(
    model: str, config: str | None, catalog: Catalog
) -> Iterator[tuple[str, ModelFacts | None, Price | None]]:
    """The deployments of that name as the gateway would bind them."""
    from tollway.app import bare_binder
    from tollway.cli.flags import Flags, read_config

    settings = read_config(Flags(config=config))
    binder = bare_binder(settings, catalog)
    for entry in settings.models:
        if entry.model_name == model:
            deployment = binder.bind(entry, model, entry.provider_model)
            yield deployment.provider_model, deployment.facts, deployment.price


#: Bucket -> its name for people.
_TOKENS = {
    "input": "input",
    "cache_read": "read from cache",
    "cache_write_5m": "written to cache for 5 minutes",
    "cache_write_1h": "written to cache for 1 hour",
    "audio_in": "sound in",
    "image_in": "pictures in",
    "cache_read_audio": "sound read from cache",
    "cache_read_image": "pictures read from cache",
    "output": "output",
    "reasoning": "reasoning",
    "audio_out": "sound out",
    "image_out": "pictures out",
}
_SAME_AS = {
    "cache_read": "input",
    "cache_write_5m": "input",
    "cache_write_1h": "cache_write_5m",
    "audio_in": "input",
    "image_in": "input",
    "cache_read_audio": "cache_read",
    "cache_read_image": "cache_read",
    "reasoning": "output",
    "audio_out": "output",
    "image_out": "output",
}
_PIECES = ("request", "search", "file_search", "image", "character", "second", "query", "citation")


def _told(name: str, facts: ModelFacts | None, price: Price | None, catalog: Catalog, now_s: float) -> dict[str, Any]:
    told: dict[str, Any] = {
        "model": name,
        "provider": facts.provider if facts else None,
        "mode": facts.mode if facts else None,
        "source": (facts.source if facts else "") or None,
        "listed_as_of": catalog.as_of,
    }
    if price is None:
        return {**told, "priced": False}
    listed = {str(one.version): _prices(one) for one in (price, *(other.price for other in price.others))}
    now = price.at(now_s)
    return {
        **told,
        "priced": True,
        "effective_from": (facts.row.get("effective_from") if facts else None) or catalog.as_of,
        "price_version": now.version,
        "free": price.free,
        **_prices(now),
        "at_other_times": [
            {
                "price_version": other.price.version,
                "from": _day(other.from_s),
                "until": _day(other.until_s),
                "in_some_hours": bool(other.windows),
                **listed[other.price.version],
            }
            for other in price.others
        ],
    }


def _prices(price: Price) -> dict[str, Any]:
    """Dollars: per million tokens, per piece."""
    tiers = [{"above_input_tokens": tier.above, **_rates(tier.rates, price)} for tier in reversed(price.tiers)]
    services = {
        name: {
            **_rates(service.rates, price),
            "tiers": [
                {"above_input_tokens": tier.above, **_rates(tier.rates, price)} for tier in reversed(service.tiers)
            ],
        }
        for name, service in price.services.items()
    }
    return {
        "per_million_tokens": _rates(price.rates, price),
        "tiers": tiers,
        "service_tiers": services,
        "per_piece": {piece: _piece(getattr(price, piece), price) for piece in _PIECES if getattr(price, piece)},
        "searches_by_size": {size: _piece(units, price) for size, units in price.searches_by_size.items()},
        "images_by_kind": {kind: _piece(units, price) for kind, units in price.images_by_kind.items()},
        "places": {place: float(factor) for place, factor in price.places.items()},
    }


def _rates(rates: Rates, price: Price) -> dict[str, float]:
    return {
        bucket: float(Decimal(getattr(rates, bucket)) / price.per_nano / 1000)
        for bucket in _TOKENS
        if bucket not in _SAME_AS or getattr(rates, bucket) != getattr(rates, _SAME_AS[bucket])
    }


def _piece(units: int, price: Price) -> float:
    return float(Decimal(units) / price.per_nano / 10**9)


def _day(moment_s: float) -> str | None:
    return f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d}" if abs(moment_s) < 1e12 else None


def _show_one(told: dict[str, Any]) -> None:
    sys.stdout.write(f"{told['model']}  ({told['provider'] or 'unknown provider'}, {told['mode'] or 'no mode'})\n")
    sys.stdout.write(f"  source: {told['source'] or 'not named'}; list of {told['listed_as_of']}\n")
    if not told["priced"]:
        sys.stdout.write("  unpriced: callers with a budget are refused\n")
        return
    sys.stdout.write(f"  in force since {told['effective_from']} or before; price version {told['price_version']}\n")
    if told["free"]:
        sys.stdout.write("  free\n")
        return
    rows = list(_rows(told))
    for other in told["at_other_times"]:
        when = " ".join(
            word
            for word in (other["from"] and f"from {other['from']}", other["until"] and f"until {other['until']}")
            if word
        )
        rows += [(f"{when or 'at some hours'}: {what}", amount) for what, amount in _rows(other)]
    show_table(("PRICE", "DOLLARS"), rows, numbers=("DOLLARS",))


def _rows(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for bucket, amount in told["per_million_tokens"].items():
        if amount or bucket in ("input", "output"):
            yield f"1 M tokens, {_TOKENS[bucket]}", _value(amount)
    for tier in told["tiers"]:
        for bucket, amount in tier.items():
            if bucket in _TOKENS:
                yield f"1 M tokens, {_TOKENS[bucket]}, input above {tier['above_input_tokens']}", _value(amount)
    for service, rates in told["service_tiers"].items():
        for bucket, amount in rates.items():
            if bucket in _TOKENS and (amount or bucket in ("input", "output")):
                yield f"1 M tokens, {_TOKENS[bucket]}, {service}", _value(amount)
    for piece, amount in told["per_piece"].items():
        yield f"1 {piece.replace('_', ' ')}", _value(amount)
    for size, amount in told["searches_by_size"].items():
        yield f"1 search of size {size}", _value(amount)
    for kind, amount in told["images_by_kind"].items():
        yield f"1 picture, {kind}", _value(amount)
    for place, factor in told["places"].items():
        yield f"tokens served in {place}: times", _value(factor)


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{Decimal(repr(value)).normalize():f}"
    return str(value)
