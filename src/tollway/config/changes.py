"""What one configuration has that another has not: for the line that tells of a reload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tollway.config.settings import Config, ModelEntry

#: What is opened at start and kept: a section, or one field of it.
FIXED = (
    "listen",
    "storage",
    "redis",
    "logs.store_bodies",
    "logs.bodies_mb_max",
    "logs.bodies_days_max",
    "logs.json",
    "logs.level",
    "logs.turn_off_message_logging",
    "bounds.head_bytes_max",
    "bounds.head_s_max",
    "bounds.body_idle_s_max",
    "network.https_proxy",
    "network.http_proxy",
    "network.no_proxy",
)
#: Names in a line; the rest is counted.
NAMES_MAX = 20
_BESIDE = frozenset({"models", "config_path", "files", "warnings", "sources", "single_model"})


class Changes(Struct, frozen=True):
    """Names of models, and paths of settings ("routing.retries"). `fixed` are those that only a start puts in force."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.added, self.removed, self.changed, self.settings, self.fixed))

    def __str__(self) -> str:
        """ "models added: a, b; settings changed: routing.retries"."""
        parts = (
            ("models added", self.added),
            ("models removed", self.removed),
            ("models changed", self.changed),
            ("settings changed", self.settings),
        )
        return "; ".join(f"{what}: {listed(names)}" for what, names in parts if names) or "nothing changed"


def with_fixed(before: Config, after: Config) -> Config:
    """The later configuration with what is fixed as it is in force."""
    sources = dict(after.sources)
    for path in changes(before, after).fixed:
        section, _, field = path.partition(".")
        kept = getattr(getattr(before, section), field)
        after = replace(after, **{section: replace(getattr(after, section), **{field: kept})})
        sources.pop(path, None)
        if path in before.sources:
            sources[path] = before.sources[path]
    return replace(after, sources=sources)


def listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:NAMES_MAX])
    return shown if len(names) <= NAMES_MAX else f"{shown} and {len(names) - NAMES_MAX} more"


def changes(before: Config, after: Config) -> Changes:
    old, new = _by_name(before.models), _by_name(after.models)
    settings: list[str] = []
    fixed: list[str] = []
    for section in Config.__struct_fields__:
        if section in _BESIDE:
            continue
        for path in _differing(section, getattr(before, section), getattr(after, section)):
            (fixed if section in FIXED or path in FIXED else settings).append(path)
    return Changes(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
        settings=tuple(settings),
        fixed=tuple(fixed),
    )


def _by_name(entries: Iterable[ModelEntry]) -> dict[str, list[ModelEntry]]:
    """Entries by their public name; where they stand in the file is no part of them."""
    found: dict[str, list[ModelEntry]] = {}
    for entry in entries:
        found.setdefault(entry.model_name, []).append(replace(entry, place=""))
    return found


def _differing(section: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, Struct):
        names: Iterable[str] = before.__struct_fields__
        return [f"{section}.{name}" for name in names if getattr(before, name) != getattr(after, name)]
    if isinstance(before, dict):
        return [f"{section}.{name}" for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [section] if before != after else []
