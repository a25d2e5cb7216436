"""The tree that a configuration is while it is read: each value as it was written, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tollway.config.findings import Findings, Place

VARIABLE_PREFIX = "os.environ/"


class Node(Struct):
    """One value. `content` is a scalar (timestamps stay text), `list[Node]` or `dict[str, Node]`.

    `text` is a scalar's source, `place` is where its key stands, for a list item where it begins. `variable` names the
    environment variable that the value came from.
    """

    content: Any
    text: str
    place: Place
    variable: str | None = None


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
