"""Typed values out of nodes: each kind is a function that takes a Given and returns the value, or raises Mistake.

A mistake says where, what was expected and what stood there; what may be a secret is never repeated.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any

import msgspec

from tollway.calls import Secret
from tollway.config.durations import parse_duration, parse_reset_time, parse_timezone
from tollway.config.findings import Findings, Place, looks_secret, nearest
from tollway.config.nodes import Node

_DECIMAL = re.compile(r"[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_PLACE = re.compile(r"headers\.|^environment_variables\.")
_DIGITS_MAX = 30
_SHOWN_MAX = 60


class NotGiven:
    """The answer of a kind that read the value and found that nothing was asked for."""


NOT_GIVEN = NotGiven()


class Mistake(Exception):  # it is ours alone and never leaves the room
    """A value that cannot be obeyed: the place and the sentence for a person."""

    def __init__(self, place: Place, sentence: str) -> None:
        super().__init__(sentence)
        self.place = place
        self.sentence = sentence


class Given:
    """A node at its path, with the findings that reading it adds to."""

    __slots__ = ("findings", "node", "path")

    def __init__(self, node: Node, path: str, findings: Findings) -> None:
        self.node = node
        self.path = path
        self.findings = findings

    @property
    def place(self) -> Place:
        return self.node.place

    @property
    def name(self) -> str:
        """The last part of the path, without an index."""
        return self.path.rpartition(".")[2].partition("[")[0]

    def fields(self) -> dict[str, Given]:
        """Its fields that have a value. Raises Mistake if it is no mapping."""
        if not isinstance(self.node.content, dict):
            raise self.mistake("should be a mapping")
        prefix = f"{self.path}." if self.path else ""
        return {
            key: Given(child, f"{prefix}{key}", self.findings)
            for key, child in self.node.content.items()
            if child.content is not None
        }

    def items(self) -> list[Given]:
        """Raises Mistake if it is no list."""
        if not isinstance(self.node.content, list):
            raise self.mistake("should be a list")
        return [Given(child, f"{self.path}[{i}]", self.findings) for i, child in enumerate(self.node.content)]

    def read(self, kind: Kind) -> Any:
        """The value, or NOT_GIVEN after noting the problem."""
        try:
            return kind(self)
        except Mistake as mistake:
            self.findings.problem(mistake.place, mistake.sentence)
            return NOT_GIVEN

    def mistake(self, expected: str) -> Mistake:
        return Mistake(self.place, f"{self.path} {expected}{self._shown()}")

    def problem(self, sentence: str) -> None:
        self.findings.problem(self.place, f"{self.path} {sentence}")

    def warn(self, sentence: str) -> None:
        self.findings.warn(f"{self.place}: {self.path} {sentence}")

    def _shown(self) -> str:
        content = self.node.content
        if isinstance(content, dict):
            return ", got a mapping"
        if isinstance(content, list):
            return ", got a list"
        if self.node.variable is not None:
            return f"; the value is that of the environment variable {self.node.variable}"
        if content is None:
            return ", got nothing"
        if looks_secret(self.name) or _SECRET_PLACE.search(self.path) or "@" in self.node.text:
            return ""
        return f", got {self.node.text[:_SHOWN_MAX]!r}"


Kind = Callable[[Given], Any]


def text(given: Given) -> str:
    """Text, and what only looks like something else to YAML: numbers, dates, a variable that says "true"."""
    content = given.node.content
    if isinstance(content, bool) and given.node.variable is None:
        raise given.mistake("should be text (in quotes, if this is the text)")
    if content is None or isinstance(content, (list, dict)):
        raise given.mistake("should be text")
    return given.node.text


def filled_text(given: Given) -> str:
    value = text(given).strip()
    if not value:
        raise given.mistake("should not be empty")
    return value


def secret(given: Given) -> Secret:
    return Secret(text(given).strip())


def filled_secret(given: Given) -> Secret | NotGiven:
    """A secret; an empty one is as if it were not given, and says so."""
    value = secret(given)
    if value:
        return value
    given.warn("is empty, as if it were not given")
    return NOT_GIVEN


def boolean(given: Given) -> bool:
    """true or false, also in quotes; 1 and 0."""
    content = given.node.content
    if isinstance(content, bool):
        return content
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    value = known.get(given.node.text.strip().lower()) if isinstance(content, (str, int)) else None
    if value is None:
        raise given.mistake("should be true or false")
    return value


def exact(given: Given, expected: str = "should be a number") -> Decimal:
    """The number as it was written, to the last digit."""
    content = given.node.content
    written = given.node.text.strip()
    if isinstance(content, (bool, list, dict)) or not _DECIMAL.fullmatch(written):
        raise given.mistake(expected)
    value = Decimal(written.replace("_", ""))
    if value and not -_DIGITS_MAX <= value.adjusted() <= _DIGITS_MAX:
        raise given.mistake(expected)
    return value


def decimal_text(given: Given) -> str:
    """A number from zero up as exact decimal text without an exponent: "0.0000025"."""
    value = exact(given, "should be a number, 0 or more")
    if value < 0:
        raise given.mistake("should be a number, 0 or more")
    return format(value, "f")


def whole_number(minimum: int, maximum: int = 1 << 53) -> Kind:
    bounds = f", {minimum} or more" if maximum == 1 << 53 else f" from {minimum} to {maximum}"

    def kind(given: Given) -> int:
        content = given.node.content
        value = content if type(content) is int else exact(given, "should be a whole number")  # YAML also knows 0x10
        if value != int(value):
            raise given.mistake("should be a whole number")
        if not minimum <= value <= maximum:
            raise given.mistake("should be a whole number" + bounds)
        return int(value)

    return kind


def number(minimum: float, *, above: bool = False, maximum: float = math.inf) -> Kind:
    """A number from `minimum`, or above it."""
    expected = f"should be a number {'above' if above else 'of at least'} {minimum:g}"
    if maximum != math.inf:
        expected += f", at most {maximum:g}"

    def kind(given: Given) -> float:
        value = float(exact(given, expected))
        if value < minimum or (above and value == minimum) or value > maximum:
            raise given.mistake(expected)
        return value

    return kind


def megabytes(given: Given) -> int:
    """Bytes, from a number of megabytes (2^20)."""
    value = exact(given, "should be a number of megabytes above 0")
    if not 0 < value <= 1 << 20:
        raise given.mistake("should be a number of megabytes above 0")
    return max(1, int(value * (1 << 20)))


def texts(given: Given) -> tuple[str, ...]:
    values = [item.read(text) for item in given.items()]
    return tuple(value for value in values if value is not NOT_GIVEN)


def choice(*words: str, case: Callable[[str], str] = str) -> Kind:
    """One of `words`; `case` turns what was written into their case."""

    def kind(given: Given) -> str:
        content = given.node.content
        value = case(given.node.text.strip())
        if isinstance(content, (list, dict)) or value not in words:
            near = nearest(value, words)
            hint = f" (did you mean {near}?)" if near and len(words) > 3 else ""
            raise given.mistake(f"should be {_either(words)}{hint}")
        return value

    return kind


def duration(given: Given) -> str:
    """A duration string, kept as it was written; warns where only its first part counts."""
    written = text(given)
    understood = _checked(given, parse_duration, "should be a duration like 1h, 24h, 7d, 30d or 1mo")
    if written[:1].isdigit() and written.strip() != str(understood):
        given.warn(f"is read as {str(understood)!r}: only the first amount counts")
    return written


def timezone(given: Given) -> str:
    _checked(given, parse_timezone, "should be the name of a time zone known here, like Europe/Berlin")
    return text(given)


def time_of_day(given: Given) -> str:
    _checked(given, parse_reset_time, "should be a time of day like 06:30")
    return text(given)


def existing_file(given: Given) -> str:
    path = os.path.expanduser(filled_text(given))
    if not os.path.exists(path):
        raise given.mistake("names a file that does not exist")
    return path


def ssl_verify(given: Given) -> bool | str:
    """true, false, or the path of a bundle of certificates."""
    content = given.node.content
    if isinstance(content, bool) or given.node.text.strip().lower() in ("true", "false", "0", "1"):
        return boolean(given)
    return existing_file(given)


def http_address(given: Given) -> str:
    """An http or https address; never a link-local one, where clouds keep their credentials."""
    import ipaddress
    from urllib.parse import urlsplit

    value = filled_text(given)
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise given.mistake("should be an address that begins with http:// or https://")
    if "@" in parts.netloc:
        raise given.mistake("should have no user and password in it: people see addresses; say them in a header")
    try:
        link_local = ipaddress.ip_address(host).is_link_local
    except ValueError:
        link_local = False
    if link_local:
        raise given.mistake("is a link-local address, where clouds keep their credentials; it is never called")
    return value


def header_name(given: Given) -> str:
    value = filled_text(given)
    if not _HEADER_NAME.fullmatch(value):
        raise given.mistake("should be the name of an HTTP header")
    return value


def headers(given: Given) -> dict[str, str]:
    """Headers by name; a line break in a value would begin another header."""
    read: dict[str, str] = {}
    for name, child in given.fields().items():
        value = child.read(text)
        if value is NOT_GIVEN:
            continue
        if not _HEADER_NAME.fullmatch(name) or "\r" in value or "\n" in value or "\0" in value:
            child.problem("should be an HTTP header on one line")
        else:
            read[name] = value
    return read


def plain(given: Given) -> Any:
    """The value as JSON would have it."""
    return plain_node(given.node)


def plain_mapping(given: Given) -> dict[str, Any]:
    given.fields()
    value: dict[str, Any] = plain_node(given.node)
    return value


def plain_node(node: Node) -> Any:
    content = node.content
    if isinstance(content, dict):
        return {key: plain_node(child) for key, child in content.items()}
    if isinstance(content, list):
        return [plain_node(child) for child in content]
    return content


def secret_or_plain(given: Given) -> Any:
    """The value as JSON would have it; a Secret if its name says so, with JSON inside if it is a mapping or a list."""
    value = plain(given)
    if not looks_secret(given.name):
        return value
    return Secret(msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else given.node.text)


def _checked(given: Given, parse: Callable[[str], Any], expected: str) -> Any:
    try:
        return parse(text(given))
    except ValueError as error:
        raise given.mistake(expected) from error


def _either(words: Collection[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
