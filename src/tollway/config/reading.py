"""config.yaml, the environment and the command line into one frozen Config, or one ConfigError with every problem."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tollway.config.documents import read_document
from tollway.config.environment import Environment
from tollway.config.findings import COMMAND_LINE, Findings, nearest
from tollway.config.models import PARAMS, read_models
from tollway.config.nodes import Node, fill_in_variables
from tollway.config.sections import gateway_budget, read_sections
from tollway.config.settings import Config, ModelEntry
from tollway.config.values import NOT_GIVEN, Given, Kind, number, whole_number
from tollway.errors import ConfigError

_NO_NAMES: frozenset[str] = frozenset()


def load(
    path: str | None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    provider_variables: frozenset[str] = _NO_NAMES,
    provider_parameters: frozenset[str] = _NO_NAMES,
) -> Config:
    """Reads the file at `path` (None: the environment alone) and what it includes. Raises ConfigError: all problems.

    `environ` is the process environment unless given; it is read here and nowhere else, and never written.
    `overrides` come from the command line, named by fields of Config: {"logs.level": "DEBUG"}. `provider_variables` are
    the environment variables, `provider_parameters` the `litellm_params` that providers understand (`AWS_REGION`,
    `aws_region_name`). The command line wins over files, files over the environment.
    """
    findings = Findings()
    environment = Environment(os.environ if environ is None else environ, findings)
    values: dict[str, Any] = {}
    models: tuple[ModelEntry, ...] = ()
    files: tuple[str, ...] = ()
    if path is None:
        environment.read_settings(values)
    else:
        document = read_document(path, findings)
        files = document.files
        root = _fill_in(document.root, environment, findings)
        environment.read_settings(values)
        read_sections(root, values)
        model_list = root.fields().get("model_list")
        if model_list is not None:
            read = model_list.read(lambda given: read_models(given, provider_parameters))
            models = () if read is NOT_GIVEN else read
        _check_mentions(model_list, values, findings)
        _warn_of_unset(findings, provider_variables)
    _override(values, overrides or {}, findings)
    kept = environment.for_providers(provider_variables)
    environment.warn_of_unused()
    return _config(
        values, findings, models=models, environment=kept, files=files, config_path=files[0] if files else None
    )


def single_model(
    model: str,
    *,
    environ: Mapping[str, str] | None = None,
    alias: str | None = None,
    api_base: str | None = None,
    api_version: str | None = None,
    headers: Mapping[str, str] | str | None = None,
    drop_params: bool | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    request_timeout: float | None = None,
    max_budget: float | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    provider_variables: frozenset[str] = _NO_NAMES,
) -> Config:
    """What `tollway --model X` asks for: one deployment that every requested name means. Raises ConfigError.

    `alias` is the name that clients see. `headers` may be JSON text. `request_timeout` is in seconds, `max_budget` the
    whole gateway's, in dollars. The others are those of `load`.
    """
    findings = Findings()
    environment = Environment(os.environ if environ is None else environ, findings)
    values: dict[str, Any] = {}
    environment.read_settings(values)
    entry: dict[str, Any] = {"model_name": alias or model}
    deployment_flags = {"model": model, "api_base": api_base, "api_version": api_version}
    for name, flag in (*deployment_flags.items(), ("headers", _parsed(headers, findings))):
        field, kind = PARAMS[name]
        _read_flag(name, flag, field, kind, entry, findings)
    defaults: dict[str, Any] = {}
    _read_flag("temperature", temperature, "temperature", number(0), defaults, findings)
    _read_flag("max_tokens", max_tokens, "max_tokens", whole_number(1), defaults, findings)
    for name, field, kind, gateway_flag in (
        ("request_timeout", "routing.timeout_s", number(0, above=True), request_timeout),
        ("max_budget", "money.max_budget_usd", gateway_budget, max_budget),
    ):
        if _read_flag(name, gateway_flag, field, kind, values, findings):
            findings.sources[field] = str(COMMAND_LINE)
    asked = {} if drop_params is None else {"params.drop_params": drop_params}
    _override(values, asked | dict(overrides or {}), findings)
    kept = environment.for_providers(provider_variables)
    models = (ModelEntry(defaults=defaults, place="--model", **entry),) if "provider_model" in entry else ()
    return _config(values, findings, models=models, environment=kept, single_model=alias or model)


def _fill_in(root: Node, environment: Environment, findings: Findings) -> Given:
    """The tree with environment variables in it, among them those that the file itself sets."""
    own = Given(root, "", findings).fields().get("environment_variables")
    if own is not None:
        own.read(environment.lay_over)
    filled = fill_in_variables(root, "", environment.get, findings)
    return Given(filled or Node({}, "", root.place), "", findings)


def _check_mentions(model_list: Given | None, values: Mapping[str, Any], findings: Findings) -> None:
    """What fallbacks and aliases name must be a public model, an alias, an id, a provider's model or fit a wildcard."""
    served: set[str] = set(values.get("routing.aliases", ()))
    for entry in _mappings(model_list):
        params, info = entry.get("litellm_params"), entry.get("model_info")
        for node, name in ((entry, "model_name"), (_content(params), "model"), (_content(info), "id")):
            if name in node:
                served.add(node[name].text)
    patterns = [re.compile(re.escape(name).replace(r"\*", ".*"), re.DOTALL) for name in served if "*" in name]
    for place, path, name in findings.mentions:
        if name not in served and not any(pattern.fullmatch(name) for pattern in patterns):
            near = nearest(name, served)
            hint = f"; did you mean {near}?" if near else ""
            findings.problem(place, f"{path} names the model {name!r}, which no entry of model_list serves{hint}")


def _warn_of_unset(findings: Findings, provider_variables: frozenset[str]) -> None:
    """Names that lead nowhere, but for those that a provider asks for by itself: what a provider lacks is said at start."""
    for path, (place, variable) in findings.unset.items():
        if variable not in provider_variables:
            findings.warn(f"{place}: {path} names the environment variable {variable}, which is not set")


def _mappings(model_list: Given | None) -> list[dict[str, Node]]:
    if model_list is None or not isinstance(model_list.node.content, list):
        return []
    return [_content(node) for node in model_list.node.content]


def _content(node: Node | None) -> dict[str, Node]:
    return node.content if node is not None and isinstance(node.content, dict) else {}


def _parsed(headers: Mapping[str, str] | str | None, findings: Findings) -> Mapping[str, str] | None:
    if not isinstance(headers, str):
        return headers
    try:
        return msgspec.json.decode(headers, type=dict[str, str])
    except msgspec.MsgspecError:
        findings.problem(COMMAND_LINE, '--headers should be JSON, with text for each header: {"x-team": "search"}')
        return None


def _read_flag(name: str, flag: Any, field: str, kind: Kind, values: dict[str, Any], findings: Findings) -> bool:
    """Reads one flag into `values`; False if it was not given or cannot be obeyed."""
    if flag is None:
        return False
    value = Given(_node(flag), f"--{name}", findings).read(kind)
    if value is NOT_GIVEN:
        return False
    values[field] = value
    return True


def _node(flag: Any) -> Node:
    content = {key: _node(value) for key, value in flag.items()} if isinstance(flag, Mapping) else flag
    return Node(content, str(flag), COMMAND_LINE)


def _override(values: dict[str, Any], overrides: Mapping[str, Any], findings: Findings) -> None:
    for field, value in overrides.items():
        section, _, name = field.partition(".")
        if name not in getattr(Config(), section).__struct_fields__:
            raise ValueError(f"Config has no field {field!r}")
        values[field] = value
        findings.sources[field] = str(COMMAND_LINE)


def _config(values: Mapping[str, Any], findings: Findings, **others: Any) -> Config:
    """Raises ConfigError if there was any problem."""
    problems = findings.problems()
    if problems:
        raise ConfigError(problems)
    sections: dict[str, dict[str, Any]] = {}
    for field, value in values.items():
        section, _, name = field.partition(".")
        sections.setdefault(section, {})[name] = value
    default = Config()
    built = {name: type(getattr(default, name))(**fields) for name, fields in sections.items()}
    return Config(**built, **others, warnings=tuple(findings.warnings), sources=findings.sources)
