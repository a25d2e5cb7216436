"""A configuration for people's eyes: every setting, where it came from, and no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tollway.calls import Secret
from tollway.config.findings import looks_secret
from tollway.config.settings import Config, ModelEntry

MASK = "***"
_SECTIONS = (
    *("routing", "access", "sign_in", "money", "logs", "storage", "redis", "listen", "reload", "bounds", "params"),
    "network",
)


def effective(config: Config) -> dict[str, Any]:
    """Each setting as {"value": ..., "source": ...}; the source is "config.yaml:7", "environment NAME", "default", ...

    Made of what JSON knows. Secrets are "***"; so are all values of `extra_headers`, and what stands under a name like
    key, token or password in a mapping.
    """
    sources = _by_field(config.sources)
    shown: dict[str, Any] = {section: _fields(getattr(config, section), section, sources) for section in _SECTIONS}
    shown["models"] = [_fields(entry, f"models[{i}]", sources) for i, entry in enumerate(config.models)]
    shown["environment"] = {
        name: {"value": MASK, "source": config.sources.get(f"environment.{name}", "environment")}
        for name in config.environment
    }
    for name in ("single_model", "config_path", "files", "warnings"):
        shown[name] = _masked(getattr(config, name))
    return shown


def _by_field(sources: Mapping[str, str]) -> dict[str, str | dict[str, str]]:
    """A field put together from several keys ("models[0].prices.input_cost_per_token") has a source for each."""
    fields: dict[str, str | dict[str, str]] = {}
    for path, source in sources.items():
        section, field, *inside = path.split(".", 2)
        before = fields.setdefault(f"{section}.{field}", {} if inside else source)
        if inside and isinstance(before, dict):
            before[inside[0]] = source
    return fields


def _fields(struct: Struct, path: str, sources: Mapping[str, str | dict[str, str]]) -> dict[str, Any]:
    shown = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(struct, ModelEntry) and name == "extra_headers":
            value = dict.fromkeys(value, Secret(""))
        shown[name] = {"value": _masked(value), "source": sources.get(f"{path}.{name}", "default")}
    return shown


def _masked(value: Any) -> Any:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Mapping):
        return {
            name: MASK if looks_secret(name) and _can_hide(inside) else _masked(inside)
            for name, inside in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_masked(item) for item in value]
    if isinstance(value, Struct):
        return {name: _masked(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _can_hide(value: Any) -> bool:
    return value is not None and not isinstance(value, bool)
