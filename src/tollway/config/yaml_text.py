"""YAML 1.1 text into our nodes, as LiteLLM reads it, with the line of each value and each mistake.

PyYAML finds the values and their lines; nothing is constructed but numbers and booleans. libyaml's own composer recurses
without a bound and takes the process down with it, so Python's composes what libyaml parses, at 0.05 ms per deployment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.reader import ReaderError

from tollway.config.findings import Findings, Place
from tollway.config.nodes import Node

DEPTH_MAX = 64
#: What all files may hold together, aliases expanded: a few lines of YAML can otherwise mean gigabytes.
NODES_MAX = 500_000

_SCALARS = {"bool", "int", "float", "null", "str", "timestamp"}
_QUOTED = re.compile(r" '[^']{2,}'")
_FLOAT = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]{1,3}")


class Room(Struct):
    """How much may still be read, over all files."""

    nodes_left: int = NODES_MAX


def parse(text: str, path: str, findings: Findings, room: Room) -> Node | None:
    """The tree of one file; None after a problem that leaves nothing to read."""
    loader: Any = None
    try:
        loader = _Loader(text)
        composed = loader.get_single_node()
        if composed is None:
            return Node({}, "", Place(path))
        tree = _Converter(path, findings, room).convert(composed, Place(path, 1), "", 0)
    except yaml.YAMLError as error:
        findings.problem(*_syntax_problem(error, text, path))
        return None
    except _TooMuchError:
        findings.problem(Place(path), f"more than {DEPTH_MAX} levels or {NODES_MAX} values, aliases counted each time")
        return None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(tree.content, dict):
        findings.problem(tree.place, "a configuration is a mapping: `model_list:` and other sections")
        return None
    return tree


def _syntax_problem(error: Any, text: str, path: str) -> tuple[Place, str]:
    """The parser's own words without what it quotes of the file: a password may begin with `*` or `!`."""
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, text.find(chr(int(error.character)))) + 1
        return Place(path, line), f"this is not YAML: the character {int(error.character):#x} is not allowed"
    reason = _QUOTED.sub("", error.problem or "it cannot be read")
    if "alias" in reason:
        reason += " (a value that begins with * needs quotes)"
    noticed_late = "expected ':'" in reason
    mark = error.context_mark if noticed_late and error.context_mark else error.problem_mark
    return Place(path, mark.line + 1 if mark else 0), f"this is not YAML: {reason}"


class _TooMuchError(Exception):
    """A file that would not fit into memory, or into a person's head."""


class _Bounded:
    """A composer that goes down `DEPTH_MAX` levels."""

    def __init__(self, text: str) -> None:
        _BASES[-1].__init__(self, text)
        Composer.__init__(self)  # type: ignore[arg-type]  # it is one, put together below
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise _TooMuchError
        node = super().compose_node(parent, index)  # type: ignore[misc]  # Composer's
        self.depth -= 1
        return node


_BASES: tuple[Any, ...] = (Composer, yaml.CSafeLoader) if yaml.__with_libyaml__ else (yaml.SafeLoader,)
_Loader: Any = type("_Loader", (_Bounded, *_BASES), {})


class _Converter:
    """PyYAML's nodes of one file into ours."""

    def __init__(self, path: str, findings: Findings, room: Room) -> None:
        self.path = path
        self.findings = findings
        self.room = room
        self.constructor = SafeConstructor()

    def convert(self, node: yaml.Node, place: Place, path: str, depth: int) -> Node:
        self.room.nodes_left -= 1
        if depth > DEPTH_MAX or self.room.nodes_left < 0:
            raise _TooMuchError
        if isinstance(node, yaml.MappingNode):
            return Node(self._fields(node, path, depth), "", place)
        if isinstance(node, yaml.SequenceNode):
            items = (
                self.convert(item, self._place(item), f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)
            )
            return Node(list(items), "", place)
        return self._scalar(node, place, path)

    def _fields(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.findings.problem(self._place(key), f"a key in {path or 'the file'} should be text")
                continue
            if key.tag == "tag:yaml.org,2002:merge":
                merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
                continue
            name = key.value
            inside = f"{path}.{name}" if path else name
            child = self.convert(value, self._place(key), inside, depth + 1)
            if name in fields:
                self.findings.problem(child.place, f"{inside} stands twice; the first is at {fields[name].place}")
            else:
                fields[name] = child
        for other in self._mappings(merged, path):
            for name, child in self.convert(other, self._place(other), path, depth + 1).content.items():
                fields.setdefault(name, child)
        return fields

    def _mappings(self, merged: list[yaml.Node], path: str) -> Iterator[yaml.MappingNode]:
        for other in merged:
            if isinstance(other, yaml.MappingNode):
                yield other
            else:
                self.findings.problem(self._place(other), f"{path}.<< should name a mapping")

    def _scalar(self, node: Any, place: Place, path: str) -> Node:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _SCALARS:
            self.findings.problem(
                place, f"{path} has a YAML tag without meaning here (a value that begins with ! needs quotes)"
            )
            return Node(None, "", place)
        text = node.value
        if kind == "str" and not node.style and _FLOAT.fullmatch(text):
            kind = "float"  # YAML 1.1 takes 1e-6 for text, and nobody means that
        if kind in ("str", "timestamp"):  # an api_version is a date to YAML
            return Node(text, text, place)
        try:
            content = float(text) if _FLOAT.fullmatch(text) else self.constructor.construct_object(node)
            if not isinstance(content, float) or math.isfinite(content):
                return Node(content, text, place)
        except (ValueError, OverflowError, KeyError):
            pass
        self.findings.problem(place, f"{path} is marked as {kind}, but its value is none")
        return Node(None, "", place)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.path, node.start_mark.line + 1)
