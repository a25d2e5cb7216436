"""One `model_list` entry into a ModelEntry: LiteLLM's words for a deployment end here.

What stands in `litellm_params` is one of: a field of ours (`PARAMS`), a price, something the provider needs to be
called, a default of requests, a LiteLLM parameter we lack (a warning), a typing mistake (a problem), or a field of the
provider's own that is sent with each request (a warning; LiteLLM sends it, too).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tollway.config import known
from tollway.config.findings import Findings, Place, looks_secret, nearest
from tollway.config.nodes import Node
from tollway.config.sections import Table, lacking, unknown
from tollway.config.settings import ModelEntry
from tollway.config.values import (
    NOT_GIVEN,
    Given,
    Kind,
    NotGiven,
    boolean,
    choice,
    decimal_text,
    duration,
    existing_file,
    filled_text,
    headers,
    http_address,
    number,
    plain,
    plain_mapping,
    secret,
    secret_or_plain,
    ssl_verify,
    texts,
    whole_number,
)
from tollway.errors import ConfigError

_ENTRY = ("model_name", "litellm_params", "model_info")
_LIKENESS_OF_MISTAKES = 0.8
_PATH = re.compile(r"[^.\[\]]+(?:\[(?:\*|\d{0,6})\]|\.[^.\[\]]+){0,11}")
_PRICE = re.compile(r"_cost_per_|_token_cost|^cost_per_")
#: Lists and mappings in which prices stand beside the conditions under which they hold.
_WITH_CONDITIONS = ("tiered_pricing", "off_peak_pricing")
_THRESHOLD = re.compile(r"\d+k")


def allowed(given: Given) -> bool:
    """`unpriced: allow`, or `refuse`, as it is anyway."""
    return bool(choice("allow", "refuse")(given) == "allow")


def lossless(given: Given) -> bool:
    """`lossless: reject` refuses a call of which something would be left out; `name` names it, as it is anyway."""
    return bool(choice("name", "reject")(given) == "reject")


def paths(given: Given) -> tuple[str, ...]:
    """Names of fields, or paths into them: `tools[*].function.strict`."""
    written: tuple[str, ...] = texts(given)
    for path in written:
        if not _PATH.fullmatch(path):
            given.problem(f"has {path!r}, which is no path: write it like user or tools[*].function.strict")
    return written


def injection_points(given: Given) -> tuple[dict[str, Any], ...]:
    points = []
    for item in given.items():
        point = item.read(plain_mapping)
        if point is NOT_GIVEN:
            continue
        if "location" not in point:
            item.problem("should say its location, for example {location: message, role: system}")
        points.append(point)
    return tuple(points)


def without_effect(kind: Kind, sentence: str) -> Kind:
    """What LiteLLM obeys and Tollway reads, but does nothing with yet."""

    def read(given: Given) -> Any:
        value = kind(given)
        if value:
            given.warn(sentence)
        return value

    return read


PARAMS: Table = {
    "model": ("provider_model", filled_text),
    "custom_llm_provider": ("provider", filled_text),
    "api_key": ("api_key", secret),
    "base_url": ("api_base", http_address),
    "api_base": ("api_base", http_address),
    "api_version": ("api_version", filled_text),
    "base_model": ("base_model", filled_text),
    "weight": ("weight", number(0)),
    "order": ("order", whole_number(0)),
    "rpm": ("rpm", whole_number(0)),
    "tpm": ("tpm", whole_number(0)),
    "max_parallel_requests": ("parallel_max", whole_number(1)),
    "max_budget": ("max_budget_usd", decimal_text),
    "budget_duration": ("budget_duration", duration),
    "timeout": ("timeout_s", number(0, above=True)),
    "stream_timeout": ("stream_timeout_s", number(0, above=True)),
    "max_retries": ("retries", whole_number(0, 100)),
    "num_retries": ("retries", whole_number(0, 100)),
    "cooldown_time": ("cooldown_s", number(0)),
    "tags": ("tags", without_effect(texts, "are shown by /model/info; Tollway does not route by tags yet")),
    "drop_params": ("drop_params", boolean),
    "additional_drop_params": ("additional_drop_params", paths),
    "allowed_openai_params": ("allowed_openai_params", texts),
    "anthropic_betas": ("anthropic_betas", texts),
    "lossless": ("lossless", lossless),
    "headers": ("extra_headers", headers),
    "extra_headers": ("extra_headers", headers),
    "extra_body": ("extra_body", plain_mapping),
    "cache_control_injection_points": (
        "cache_control_injection_points",
        without_effect(injection_points, "has no effect: Tollway sets no cache marks of its own yet"),
    ),
    "ssl_verify": ("ssl_verify", ssl_verify),
    "ssl_certificate": ("ssl_certificate", existing_file),
    "ssl_key": ("ssl_key", existing_file),
    "unpriced": ("unpriced_allowed", allowed),
}

MODEL_INFO: Table = {
    "id": ("id", filled_text),
    "base_model": ("base_model", filled_text),
    "mode": ("mode", choice(*sorted(known.MODES))),
    "access_groups": ("access_groups", texts),
    "blocked": ("blocked", boolean),
    "unpriced": ("unpriced_allowed", allowed),
}

_KNOWN_PARAMS = PARAMS.keys() | known.LITELLM_PARAMS | known.REQUEST_PARAMS | known.PRICES
_KNOWN_PRICES = {_THRESHOLD.sub("Nk", name) for name in known.PRICES}


def read_models(given: Given, provider_parameters: frozenset[str]) -> tuple[ModelEntry, ...]:
    """All entries that could be read; problems of the others are noted."""
    entries: list[ModelEntry] = []
    ids: dict[str, str] = {}
    for item in given.items():
        entry = item.read(lambda item: _read_entry(item, len(entries), provider_parameters))
        if entry is NOT_GIVEN:
            continue
        if entry.id in ids:
            item.problem(f"has the id {entry.id!r}, which the entry at {ids[entry.id]} has already")
        elif entry.id is not None:
            ids[entry.id] = entry.place
        entries.append(entry)
    return tuple(entries)


def entry_of(fields: Mapping[str, Any], place: str, provider_parameters: frozenset[str]) -> ModelEntry:
    """An entry that came through the API, as JSON has it: `os.environ/NAME` in it is plain text, files are not read. Raises
    ConfigError: all problems.
    """
    findings = Findings()
    here = Place(place)
    entry: ModelEntry | NotGiven = NOT_GIVEN
    params = fields.get("litellm_params")
    for name in _OF_FILES & set(params if isinstance(params, Mapping) else ()):
        findings.problem(here, f"litellm_params.{name} names a file, which only the configuration may")
    if not findings.problems():
        given = Given(_node(fields, here), "", findings)
        entry = given.read(lambda given: _read_entry(given, 0, provider_parameters))
    if findings.problems() or isinstance(entry, NotGiven):
        raise ConfigError(findings.problems() or [f"{place}: this is no model"])
    return entry


_OF_FILES = frozenset({"ssl_verify", "ssl_certificate", "ssl_key"})


def _node(value: Any, place: Place) -> Node:
    if isinstance(value, Mapping):
        return Node({str(name): _node(inner, place) for name, inner in value.items()}, "", place)
    if isinstance(value, list):
        return Node([_node(inner, place) for inner in value], "", place)
    if isinstance(value, bool):
        return Node(value, str(value).lower(), place)
    return Node(float(value) if isinstance(value, Decimal) else value, "" if value is None else str(value), place)


def _read_entry(given: Given, index: int, provider_parameters: frozenset[str]) -> ModelEntry | NotGiven:
    fields = given.fields()
    for name, child in fields.items():
        if name in _KNOWN_PARAMS and name not in _ENTRY:
            child.problem("belongs under litellm_params")
        elif name not in _ENTRY:
            unknown(child, name, _ENTRY)
    reading = _EntryReading(index, provider_parameters)
    model_name = _required(given, fields, "model_name")
    params = _required(given, fields, "litellm_params")
    if model_name is not None:
        reading.read(model_name, "model_name", filled_text)
    if params is not None:
        inside = params.fields()
        if _required(params, inside, "model"):
            reading.read_params(inside)
    if "model_info" in fields:
        reading.read_model_info(fields["model_info"].fields())
    if not {"model_name", "provider_model"} <= reading.values.keys():
        return NOT_GIVEN
    return ModelEntry(place=str(given.place), **reading.values)


def _required(given: Given, fields: dict[str, Given], name: str) -> Given | None:
    if name in fields:
        return fields[name]
    unset = given.findings.unset.get(f"{given.path}.{name}")
    given.problem(f"has no {name}" + (f": the environment variable {unset[1]} is not set" if unset else ""))
    return None


class _EntryReading:
    """The fields of one entry while they are read."""

    def __init__(self, index: int, provider_parameters: frozenset[str]) -> None:
        self.index = index
        self.provider_parameters = provider_parameters
        self.values: dict[str, Any] = {}

    def read(self, given: Given, field: str, kind: Any) -> None:
        value = given.read(kind)
        if value is not NOT_GIVEN:
            self.values[field] = value
            self._note_source(given, field)

    def read_params(self, fields: dict[str, Given]) -> None:
        for name, (field, kind) in PARAMS.items():
            if name in fields:
                self.read(fields[name], field, kind)
        for name, given in fields.items():
            if name not in PARAMS:
                self._read_other_param(name, given)

    def read_model_info(self, fields: dict[str, Given]) -> None:
        for name, (field, kind) in MODEL_INFO.items():
            if name in fields:
                self.read(fields[name], field, kind)
        for name, given in fields.items():
            if name in MODEL_INFO:
                continue
            if _is_price(name):
                self._read_price(name, given)
                continue
            near = nearest(name, [key for key in MODEL_INFO if len(key) > 4], likeness_min=_LIKENESS_OF_MISTAKES)
            if near:
                given.problem(f"is not known; did you mean {near}?")
                continue
            self.values.setdefault("about", {})[name] = plain(given)
        if "team_id" in fields:
            fields["team_id"].warn(
                "keeps a model for one team, which Tollway cannot do yet; until then it serves nobody"
            )
            self.values["blocked"] = True

    def _read_other_param(self, name: str, given: Given) -> None:
        if _is_price(name):
            self._read_price(name, given)
        elif name in self.provider_parameters:
            self._put("provider_params", name, given, secret_or_plain)
        elif name in known.REQUEST_PARAMS:
            self._put("defaults", name, given, plain)
        elif name in known.LITELLM_PARAMS:
            lacking(given)
        elif near := nearest(name, _KNOWN_PARAMS, likeness_min=_LIKENESS_OF_MISTAKES):
            given.problem(f"is not known; did you mean {near}? (under extra_body it is sent as it is)")
        elif looks_secret(name):
            given.warn("is not known and looks like a secret; it is not sent (under extra_body it would be)")
        else:
            given.warn("is not known; it is sent to the provider as it is")
            self._put("defaults", name, given, plain)

    def _read_price(self, name: str, given: Given) -> None:
        if _THRESHOLD.sub("Nk", name) not in _KNOWN_PRICES:
            near = nearest(name, known.PRICES, likeness_min=_LIKENESS_OF_MISTAKES)
            if near:
                given.problem(f"is not known; did you mean {near}?")
                return
            given.warn("is not the name of a known price")
        self._put("prices", name, given, _loose_prices if name in _WITH_CONDITIONS else _prices)

    def _put(self, field: str, name: str, given: Given, kind: Any) -> None:
        value = given.read(kind)
        if value is not NOT_GIVEN:
            self.values.setdefault(field, {})[name] = value
            self._note_source(given, f"{field}.{name}")

    def _note_source(self, given: Given, field: str) -> None:
        variable = given.node.variable
        source = f"{given.place}" + (f" (environment {variable})" if variable else "")
        given.findings.sources[f"models[{self.index}].{field}"] = source


def _is_price(name: str) -> bool:
    return name in known.PRICES or bool(_PRICE.search(name)) or ("cost" in name and _near_price(name))


def _near_price(name: str) -> bool:
    return nearest(name, known.PRICES, likeness_min=_LIKENESS_OF_MISTAKES) is not None


def _prices(given: Given) -> Any:
    """Exact decimal text, in a mapping too (`search_context_cost_per_query`)."""
    if isinstance(given.node.content, dict):
        read = {name: child.read(_prices) for name, child in given.fields().items()}
        return {name: value for name, value in read.items() if value is not NOT_GIVEN}
    return decimal_text(given)


def _loose_prices(given: Given) -> Any:
    """Prices among their conditions (`range`, hours): numbers as exact decimal text, other values as they are."""
    content = given.node.content
    if isinstance(content, dict):
        read = {name: child.read(_loose_prices) for name, child in given.fields().items()}
        return {name: value for name, value in read.items() if value is not NOT_GIVEN}
    if isinstance(content, list):
        return [value for item in given.items() if (value := item.read(_loose_prices)) is not NOT_GIVEN]
    if isinstance(content, (str, bool)) and not _is_price(given.name):
        return content
    return decimal_text(given)
