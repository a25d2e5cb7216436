"""Configuration files into one tree of nodes: each value as it was written and where, environment variables filled in.

Files are YAML 1.1, as LiteLLM reads them. `include` is followed by LiteLLM's rules: paths count from the file that
declares them, lists are extended, everything else is replaced, each file is read once. A key that stands twice is a
problem. Problems are handed to `Findings` and reading goes on, so that a person hears of all of them at once.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from tollway.config.findings import Findings, Place

if TYPE_CHECKING:
    import yaml

FILE_BYTES_MAX = 16 << 20
FILES_MAX = 100
DEPTH_MAX = 64
#: What all files may hold together, aliases expanded: a few lines of YAML can otherwise mean gigabytes.
NODES_MAX = 500_000

VARIABLE_PREFIX = "os.environ/"
_SCALARS = {"bool", "int", "float", "null", "str", "timestamp"}
_FLOAT = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]{1,3}")


class Node(Struct):
    """One value. `content` is a scalar (timestamps stay text), `list[Node]` or `dict[str, Node]`.

    `text` is a scalar's source, `place` is where its key stands, for a list item where it begins. `variable` names the
    environment variable that the value came from.
    """

    content: Any
    text: str
    place: Place
    variable: str | None = None


class Document(Struct):
    """What all files say together. `files` are absolute paths in the order read."""

    root: Node
    files: tuple[str, ...]


def read_document(path: str, findings: Findings) -> Document:
    """Reads the file at `path` and what it includes. Problems go to `findings`; what could not be read is left out."""
    reader = _Reader(findings)
    root = Node({}, "", Place(path))
    reader.read_into(root, path, None)
    return Document(root, tuple(reader.files))


def fill_in_variables(node: Node, path: str, get: Callable[[str], str | None], findings: Findings) -> Node | None:
    """The tree with each "os.environ/NAME" replaced by that variable; if it is not set, as if nothing stood there."""
    content = node.content
    if isinstance(content, dict):
        filled = ((key, fill_in_variables(child, f"{path}.{key}", get, findings)) for key, child in content.items())
        return Node({key: child for key, child in filled if child is not None}, "", node.place)
    if isinstance(content, list):
        items = (fill_in_variables(child, f"{path}[{i}]", get, findings) for i, child in enumerate(content))
        return Node([child for child in items if child is not None], "", node.place)
    if not (isinstance(content, str) and content.startswith(VARIABLE_PREFIX)):
        return node
    name = content.removeprefix(VARIABLE_PREFIX).strip()
    value = get(name)
    if value is None:
        findings.unset[path.removeprefix(".")] = (node.place, name)
        return None
    return from_variable(name, value, node.place)


def from_variable(name: str, value: str, place: Place) -> Node:
    """The node for an environment variable's value: "true" and "false" in any case are booleans, all else is text."""
    content = {"true": True, "false": False}.get(value.strip().lower(), value)
    return Node(content, value, place, name)


class _Reader:
    """Reads files one after the other into one root; knows which were read."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.files: list[str] = []
        self.nodes = 0
        self._read: set[str] = set()

    def read_into(self, root: Node, path: str, declared: Place | None) -> None:
        try:
            real = os.path.realpath(path)
        except ValueError:  # a NUL in it
            self.findings.problem(declared or Place(""), f"{path!r} is not the name of a file")
            return
        if real in self._read:
            return
        if len(self.files) == FILES_MAX:
            self.findings.problem(declared or Place(path), f"more than {FILES_MAX} files are included")
            return
        self._read.add(real)
        self.files.append(os.path.abspath(path))  # links are kept: whoever swaps one means to change the file
        tree = self._parse(path, declared)
        if tree is None:
            return
        self._merge(root, tree)
        include = tree.content.get("include")
        if include is None or include.content is None:
            return
        if not isinstance(include.content, list):
            self.findings.problem(include.place, "include should be a list of file names")
            return
        for i, item in enumerate(include.content):
            if isinstance(item.content, str):
                self.read_into(root, os.path.join(os.path.dirname(path), item.content), item.place)
            else:
                self.findings.problem(item.place, f"include[{i}] should be a file name")

    def _merge(self, root: Node, tree: Node) -> None:
        for key, node in tree.content.items():
            before = root.content.get(key)
            if key == "include" or node.content is None:
                continue
            if before is not None and isinstance(before.content, list) and isinstance(node.content, list):
                before.content.extend(node.content)
                continue
            if before is not None:
                self.findings.warn(f"{node.place}: {key} replaces all of {key} at {before.place}")
            root.content[key] = node

    def _parse(self, path: str, declared: Place | None) -> Node | None:
        import yaml  # 25 ms; a gateway started with --model needs none of it

        text = self._read_text(path, declared)
        if text is None:
            return None
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)  # composes nodes, constructs nothing
        try:
            composed = loader.get_single_node()
        except yaml.YAMLError as error:
            self.findings.problem(*_syntax_problem(error, path))
            return None
        finally:
            loader.dispose()
        if composed is None:
            return Node({}, "", Place(path))
        try:
            tree = _Converter(self, path, yaml).convert(composed, Place(path, 1), "", 0)
        except _TooMuchError as error:
            self.findings.problem(Place(path), str(error))
            return None
        if not isinstance(tree.content, dict):
            self.findings.problem(tree.place, "a configuration is a mapping: `model_list:` and other sections")
            return None
        return tree

    def _read_text(self, path: str, declared: Place | None) -> str | None:
        place = declared or Place(path)
        named = f"{path}: " if declared else ""
        try:
            with open(path, "rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            self.findings.problem(place, f"{named}{error.strerror or 'cannot be read'}")
            return None
        if len(raw) > FILE_BYTES_MAX:
            self.findings.problem(place, f"{named}the file is larger than {FILE_BYTES_MAX >> 20} MB")
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.findings.problem(Place(path, line), "this is not UTF-8 text")
            return None


def _syntax_problem(error: Any, path: str) -> tuple[Place, str]:
    """The parser's own words without its excerpt of the file, which may hold a key."""
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    mark = getattr(error, "problem_mark", None)
    if "expected ':'" in reason:  # noticed a line later only
        mark = getattr(error, "context_mark", None) or mark
    return Place(path, mark.line + 1 if mark else 0), f"this is not YAML: {reason}"


class _TooMuchError(Exception):
    """A file that would not fit into memory, or into a person's head."""


class _Converter:
    """PyYAML's nodes of one file into ours."""

    def __init__(self, reader: _Reader, path: str, module: Any) -> None:
        self.reader = reader
        self.findings = reader.findings
        self.path = path
        self.yaml = module
        self.constructor = module.constructor.SafeConstructor()

    def convert(self, node: yaml.Node, place: Place, path: str, depth: int) -> Node:
        self.reader.nodes += 1
        if depth > DEPTH_MAX or self.reader.nodes > NODES_MAX:
            raise _TooMuchError(f"more than {DEPTH_MAX} levels or {NODES_MAX} values, aliases counted each time")
        if isinstance(node, self.yaml.MappingNode):
            return Node(self._fields(node, path, depth), "", place)
        if isinstance(node, self.yaml.SequenceNode):
            items = (
                self.convert(item, self._place(item), f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)
            )
            return Node(list(items), "", place)
        return self._scalar(node, place, path)

    def _fields(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, self.yaml.ScalarNode):
                self.findings.problem(self._place(key), f"a key in {path or 'the file'} should be text")
                continue
            if key.tag == "tag:yaml.org,2002:merge":
                merged.extend(value.value if isinstance(value, self.yaml.SequenceNode) else [value])
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
            if isinstance(other, self.yaml.MappingNode):
                yield other
            else:
                self.findings.problem(self._place(other), f"{path}.<< should name a mapping")

    def _scalar(self, node: Any, place: Place, path: str) -> Node:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _SCALARS:
            self.findings.problem(place, f"{path} has the tag {node.tag}, which has no meaning here")
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
