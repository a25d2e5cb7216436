"""Makes a catalog's file from a public model cost map: put in our order, corrected, and judged whole.

A map is `{name: row}` as LiteLLM distributes it, or `{"about", "as_of", "models": {name: row}}`. Where a map is known to be
wrong, `CORRECTIONS_FILE` says so with the page that proves it; each holds only as long as the map says what it corrects.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from tollway.errors import ConfigError
from tollway.pricing.catalog import Catalog, load

CORRECTIONS_FILE = "price_corrections.json"
PROBLEMS_SHOWN_MAX = 10

Rows = dict[str, dict[str, Any]]


class Correction(Struct, frozen=True):
    """What is changed in one row: {key: [what the map says, what is right]}; null is a key that is not there."""

    name: str
    changes: Mapping[str, Any]
    source: str
    why: str

    def apply(self, row: dict[str, Any]) -> bool:
        """Whether anything was changed."""
        wrong = [key for key, (listed, right) in self.changes.items() if row.get(key) == listed and listed != right]
        for key in wrong:
            right = self.changes[key][1]
            if right is None:
                del row[key]
            else:
                row[key] = right
        if wrong:
            row["source"] = self.source
        return bool(wrong)


def read_corrections(text: bytes) -> list[Correction]:
    told = json.loads(text, parse_float=exact_float)
    return [Correction(one["name"], one["changes"], one["source"], one["why"]) for one in told["corrections"]]


def exact_float(literal: str) -> float:
    """The float whose shortest spelling is this literal's number. Raises ValueError when there is none."""
    number = float(literal)
    if Decimal(repr(number)) != Decimal(literal):
        raise ValueError(f"{literal} cannot be written as a float without changing it")
    return number


def catalog_bytes(source: bytes, corrections: bytes, *, about: str = "", as_of: str = "") -> bytes:
    """The bytes of a catalog's file, the same for the same source. `about` and `as_of` are for maps that do not tell.

    Every key of a row is kept but `litellm_provider`, under which it now stands; rows of no provider are left out. Raises
    ConfigError for what is no map, ValueError for a price whose decimals a float cannot give back.
    """
    try:
        told = json.loads(source, parse_float=exact_float)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError([f"the price list is not JSON: {error}"]) from error
    if not isinstance(told, dict):
        raise ConfigError(["the price list should be a JSON object of models"])
    if isinstance(told.get("models"), dict) and "as_of" in told:
        about, as_of, models = str(told.get("about", about)), str(told["as_of"]), told["models"]
    else:
        models = told
    correct = {correction.name: correction for correction in read_corrections(corrections)}
    rows: dict[str, Rows] = {}
    for name, row in sorted(models.items()):
        provider = row.get("litellm_provider") if isinstance(row, dict) else None
        if not provider or not isinstance(provider, str) or name == "sample_spec":
            continue
        kept = {key: value for key, value in row.items() if key != "litellm_provider"}
        if name in correct:
            correct[name].apply(kept)
        rows.setdefault(provider, {})[name] = dict(sorted(kept.items()))
    catalog = {"about": about, "as_of": as_of, "rows": dict(sorted(rows.items()))}
    text = json.dumps(catalog, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def judge(data: bytes, present: Catalog) -> Catalog:
    """The catalog in these bytes, every price of it read once. Raises ConfigError naming what is wrong: a price that cannot
    be read, or a list that has lost half of the models or prices that the one in force has.
    """
    found = load(data)
    problems = []
    priced = 0
    for name in found.names():
        try:
            facts = found.facts(name)
            priced += facts is not None and facts.price is not None
        except (ValueError, TypeError, AttributeError, LookupError, ConfigError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        more = len(problems) - PROBLEMS_SHOWN_MAX
        shown = problems[:PROBLEMS_SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigError([f"the price list cannot be read: {problem}" for problem in shown])
    if len(found) < len(present) / 2:
        raise ConfigError([f"the price list has {len(found)} models, the one in force {len(present)}: it is not whole"])
    if priced < len(found) / 2:
        raise ConfigError([f"the price list prices {priced} of its {len(found)} models: it is not whole"])
    return found


class Difference(Struct, frozen=True):
    """One price that two catalogs put differently; None where one does not say."""

    name: str
    key: str
    before: Any
    after: Any


def differences(before: Catalog, after: Catalog) -> Iterator[Difference]:
    """By model, those of both catalogs; a model that is new or gone is one difference with key ""."""
    old, new = set(before.names()), set(after.names())
    for name in sorted(old | new):
        if name not in old or name not in new:
            yield Difference(name, "", "listed" if name in old else None, "listed" if name in new else None)
            continue
        here, there = before.prices(name), after.prices(name)
        if here != there:
            for key in sorted(here.keys() | there.keys()):
                if here.get(key) != there.get(key):
                    yield Difference(name, key, here.get(key), there.get(key))
