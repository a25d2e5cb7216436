"""What reading a configuration found: problems, warnings, and where each value came from."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct


class Place(Struct, frozen=True):
    """Where something stands: a file (as the person named it) and a line, or "environment", or "command line"."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


ENVIRONMENT = Place("environment")
COMMAND_LINE = Place("command line")


class Findings:
    """Gathers while a configuration is read, so that all problems are told at once.

    `sources` are those of `Config.sources`. `mentions` are models named by fallbacks and aliases: (place, path, name).
    `unset` are paths that named an environment variable which is not set: path -> (place, variable).
    """

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}  # in order, each once
        self.sources: dict[str, str] = {}
        self.mentions: list[tuple[Place, str, str]] = []
        self.unset: dict[str, tuple[Place, str]] = {}
        self._problems: dict[tuple[Place, str], None] = {}

    def problem(self, place: Place, sentence: str) -> None:
        self._problems[place, sentence] = None

    def warn(self, sentence: str) -> None:
        self.warnings[sentence] = None

    def problems(self) -> list[str]:
        """One sentence each, in the order of the lines they speak of."""
        files = list(dict.fromkeys(place.file for place, _ in self._problems))
        ordered = sorted(self._problems, key=lambda problem: (files.index(problem[0].file), problem[0].line))
        return [f"{place}: {sentence}" for place, sentence in ordered]


def nearest(name: str, known: Iterable[str], *, likeness_min: float = 0.6) -> str | None:
    """The known name that `name` is most likely meant to be; None if there is none."""
    from difflib import get_close_matches  # only mistakes pay for it

    matches = get_close_matches(name, sorted(known), n=1, cutoff=likeness_min)
    return matches[0] if matches else None


_SECRET_WORDS = re.compile(r"key|secret|token|passw|credential|authorization|cookie|signature|database_url|dsn$")
_COUNTS = re.compile(r"cost|tokens|key_alias|public_key|key_type|key_header|token_count|token_rate")


def looks_secret(name: str) -> bool:
    """True if the value of a setting of that name must not be shown: `api_key`, `client_secret`, `Authorization`."""
    name = name.lower()
    return bool(_SECRET_WORDS.search(name)) and not _COUNTS.search(name)
