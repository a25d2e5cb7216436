"""Configuration files into one tree of nodes: each value as it was written and where, environment variables filled in.

Files are YAML 1.1, as LiteLLM reads them. `include` is followed by LiteLLM's rules: paths count from the file that
declares them, lists are extended, everything else is replaced, each file is read once. A key that stands twice is a
problem. Problems are handed to `Findings` and reading goes on, so that a person hears of all of them at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from tollway.config.findings import Findings, Place
from tollway.config.nodes import Node

if TYPE_CHECKING:
    from tollway.config.yaml_text import Room

FILE_BYTES_MAX = 16 << 20
FILES_MAX = 100


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


class _Reader:
    """Reads files one after the other into one root; knows which were read."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.files: list[str] = []
        self._read: set[str] = set()
        self._room: Room | None = None

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
        from tollway.config.yaml_text import Room, parse  # 25 ms; a gateway started with --model needs none of it

        text = self._read_text(path, declared)
        if text is None:
            return None
        self._room = self._room or Room()
        return parse(text, path, self.findings, self._room)

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
