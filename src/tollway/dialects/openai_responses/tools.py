"""Tools that the caller runs and that only this dialect has words for, and how others are shown them: as functions.

Each such tool has functions that stand in for it. A call of one of those becomes an item of the tool's own kind for the
client (`ToolBook`), and an item in a request becomes a call of the function. OpenAI's own tools, which it runs itself,
have none, but for the search of the web, which others offer too.
https://platform.openai.com/docs/guides/function-calling, https://platform.openai.com/docs/guides/tools (2026-11-22)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import CacheMark, Freeform, Tool, WebSearch, as_function
from tollway.dialects import decode_field
from tollway.errors import BadRequest
from tollway.remembered import Remembered

NAME = "openai_responses"
_NULL = Raw(b"null")
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError)

#: Every maker's limit for a function's name.
NAME_CHARS_MAX = 64


class _Cache(Struct, gc=False):
    ttl: str | None = None


class _Function(Struct, gc=False):
    name: str = ""
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None
    cache_control: _Cache | None = None


class _Format(Struct, gc=False):
    type: str = "text"
    syntax: str | None = None
    definition: str | None = None


class _Custom(Struct, gc=False):
    name: str
    description: str | None = None
    format: _Format | None = None


class _Namespace(Struct, gc=False):
    name: str
    tools: list[Raw]


class _ToolSearch(Struct, gc=False):
    execution: str | None = None
    description: str | None = None
    parameters: Raw = Raw()


class _Place(Struct, gc=False):
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class _Filters(Struct, gc=False):
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None


class _WebSearch(Struct, gc=False):
    filters: _Filters | None = None
    user_location: _Place | None = None
    search_context_size: str | None = None


class _Kind(Struct, gc=False):
    type: str | None = None
    name: Any = None


_SEARCH_MEMBERS = frozenset({"type", *_WebSearch.__struct_fields__})
_FUNCTION_MEMBERS = frozenset({"type", *_Function.__struct_fields__})


def _schema(**properties: dict[str, Any]) -> Raw:
    required = [name for name, kind in properties.items() if not kind.pop("optional", False)]
    return Raw(_encode({"type": "object", "properties": properties, "required": required}))


_TEXTS = {"type": "array", "items": {"type": "string"}}
_LOCAL_SHELL = Tool(
    "local_shell",
    "Runs a command on the user's machine and gives its output.",
    _schema(
        command={**_TEXTS, "description": "The program and its arguments."},
        working_directory={"type": "string", "optional": True},
        timeout_ms={"type": "integer", "optional": True},
        env={"type": "object", "additionalProperties": {"type": "string"}, "optional": True},
    ),
)
_SHELL = Tool(
    "shell",
    "Runs shell commands on the user's machine and gives their output.",
    _schema(
        commands={**_TEXTS, "description": "Commands, each one line of shell."},
        timeout_ms={"type": "integer", "optional": True},
        max_output_length={"type": "integer", "optional": True},
    ),
)
_APPLY_PATCH = Tool(
    "apply_patch",
    "Creates, updates or deletes one file.",
    _schema(
        type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
        path={"type": "string"},
        diff={"type": "string", "description": "The change as a V4A diff; none to delete a file.", "optional": True},
    ),
)
_TOOL_SEARCH = _schema(query={"type": "string", "description": "What the tool should be able to do."})


# --- tools of a request --------------------------------------------------------------------------------------------


class _PlainFunction(_Function, forbid_unknown_fields=True, gc=False):
    """One without a member that we do not know."""

    type: str | None = None


_decode_plain_functions = msgspec.json.Decoder(list[_PlainFunction]).decode


def decode_tools(raw: Raw) -> list[Tool]:
    """A request's tools in our words. Raises BadRequest."""
    return list(_tools(raw))


def _read_tools(raw: Raw) -> list[Tool]:
    """At once where all of them are plain functions."""
    try:
        plain = _decode_plain_functions(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        plain = []
    if plain and all(tool.type in (None, "function") and tool.name for tool in plain):
        return [_made(tool) for tool in plain]
    return [decode_tool(one, f"tools[{at}]") for at, one in enumerate(decode_field("tools", raw, list[Raw]))]


_tools = Remembered(_read_tools, lambda tools: sum([1 + len(tool.stand_ins) for tool in tools]))


def decode_tool(raw: Raw, where: str) -> Tool:
    """One tool in our words. Raises BadRequest."""
    kind: _Kind = decode_field(where, raw, _Kind)
    word = kind.type or "function"
    if word == "function":
        return _function(raw, where)
    native = Tool(kind.name if isinstance(kind.name, str) else word, native=Raw(bytes(raw)), dialect=NAME)
    if word == "custom":
        custom: _Custom = decode_field(where, raw, _Custom)
        form = custom.format or _Format()
        native.freeform = Freeform(form.syntax or "", form.definition or "")
        native.description = custom.description or ""
        native.stand_ins = [as_function(custom.name, native.description, native.freeform)]
    elif word.startswith("web_search"):
        native.search = _search(decode_field(where, raw, _WebSearch))
        native.more = _others(raw, where, _SEARCH_MEMBERS)
    elif word == "namespace":
        space: _Namespace = decode_field(where, raw, _Namespace)
        for at, inner in enumerate(space.tools):
            tool = decode_tool(inner, f"{where}.tools[{at}]")
            function = tool.stand_ins[0] if tool.freeform is not None else tool
            if function.native is None:  # a namespace holds functions and tools that take plain text
                function.name = flat_name(space.name, function.name)
                native.stand_ins.append(function)
    elif word == "tool_search":
        asked: _ToolSearch = decode_field(where, raw, _ToolSearch)
        if asked.execution == "client":
            parameters = (
                Raw(bytes(asked.parameters)) if asked.parameters and asked.parameters != _NULL else _TOOL_SEARCH
            )
            native.stand_ins = [Tool("tool_search", asked.description or "Finds more tools.", parameters)]
    elif word in _STANDING:
        native.stand_ins = [_STANDING[word]]
    return native


_STANDING = {"local_shell": _LOCAL_SHELL, "shell": _SHELL, "apply_patch": _APPLY_PATCH}


def _function(raw: Raw, where: str) -> Tool:
    tool: _Function = decode_field(where, raw, _Function)
    if not tool.name:
        raise BadRequest(f"Missing required parameter: '{where}.name'.", param=f"{where}.name")
    made = _made(tool)
    made.more = _others(raw, where, _FUNCTION_MEMBERS)
    made.dialect = NAME if made.more else ""
    return made


def _made(tool: _Function) -> Tool:
    parameters = tool.parameters if tool.parameters and tool.parameters != _NULL else None
    cache = CacheMark(tool.cache_control.ttl or "") if tool.cache_control is not None else None
    return Tool(tool.name, tool.description or "", parameters, tool.strict, cache)


def _search(asked: _WebSearch) -> WebSearch:
    place = asked.user_location or _Place()
    filters = asked.filters or _Filters()
    return WebSearch(
        None,
        tuple(filters.allowed_domains or ()),
        tuple(filters.blocked_domains or ()),
        asked.search_context_size or "",
        place.city or "",
        place.region or "",
        place.country or "",
        place.timezone or "",
    )


def _others(raw: Raw, where: str, known: frozenset[str]) -> dict[str, Raw]:
    members: dict[str, Raw] = decode_field(where, raw, dict[str, Raw])
    return {name: Raw(bytes(value)) for name, value in members.items() if name not in known and value != _NULL}


def flat_name(namespace: str, name: str) -> str:
    """One name for a function in a namespace, no longer than any maker allows. The same two give the same one."""
    flat = f"{namespace}__{name}" if namespace else name
    if len(flat) <= NAME_CHARS_MAX:
        return flat
    return f"{flat[: NAME_CHARS_MAX - 9]}_{zlib.crc32(flat.encode('utf-8', 'surrogatepass')):08x}"


# --- calls as items ------------------------------------------------------------------------------------------------


class ToolBook:
    """What kind of tool each name stands for, by the tools that a request brought. Written once, when it is first asked."""

    def __init__(self, tools: list[Tool] | None = None, asked: dict[str, Raw] | None = None) -> None:
        self._kinds: dict[str, tuple[str, str, str]] | None = None  # by the flat name: kind, namespace, own name
        self._tools = tools
        self._asked = asked or {}

    def kind_of(self, name: str) -> str:
        """ "function" for what is none of the others."""
        return self._entry(name)[0]

    def call_item(self, call_id: str, name: str, arguments: str) -> dict[str, Any]:
        """The item that tells of a call. Arguments that are not what the tool takes are told as they are."""
        kind, namespace, own = self._entry(name)
        item = _CALL_ITEMS[kind](call_id, own, arguments)
        if namespace:
            item["namespace"] = namespace
        return item

    def _entry(self, name: str) -> tuple[str, str, str]:
        if self._kinds is None:
            self._kinds = {}
            for tool in self._tools if self._tools is not None else _tools_in(self._asked):
                self._note(tool)
        return self._kinds.get(name, ("function", "", name))

    def _note(self, tool: Tool) -> None:
        assert self._kinds is not None
        if tool.native is None or tool.dialect != NAME:
            if tool.freeform is not None:
                self._kinds[tool.name] = ("custom", "", tool.name)
            return
        word = msgspec.json.decode(tool.native, type=_Kind).type or "function"
        if word == "namespace":
            space = msgspec.json.decode(tool.native, type=_Namespace)
            for inner in space.tools:
                kind = msgspec.json.decode(inner, type=_Kind)
                own = str(kind.name)
                inner_word = "custom" if kind.type == "custom" else "function"
                self._kinds[flat_name(space.name, own)] = (inner_word, space.name, own)
        elif tool.stand_ins and word in _CALL_ITEMS:
            self._kinds[tool.stand_ins[0].name] = (word, "", tool.stand_ins[0].name)


class _Loading(Struct, gc=False):
    type: str | None = None
    tools: list[Raw] | None = None


def _tools_in(asked: dict[str, Raw]) -> list[Tool]:
    """The tools of a request, with those that were found in the course of the conversation."""
    tools: list[Tool] = []
    try:
        if "tools" in asked and asked["tools"] != _NULL:
            tools = decode_tools(asked["tools"])
        said = bytes(asked.get("input", b""))
        if said.startswith(b"[") and (b'"tool_search_output"' in said or b'"additional_tools"' in said):
            for raw in msgspec.json.decode(said, type=list[Raw]):
                found = msgspec.json.decode(raw, type=_Loading)
                if found.type in ("tool_search_output", "additional_tools"):
                    tools += [decode_tool(tool, "input") for tool in found.tools or ()]
    except (*_UNREADABLE, BadRequest):
        pass  # the request was read before this, so its calls are functions
    return tools


def _object(arguments: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except _UNREADABLE:
        return {}


def text_of(arguments: str) -> str:
    """What a tool that takes plain text is called with, out of the function's arguments that stood in for it."""
    fields = _object(arguments)
    text = fields.get("input")
    return text if isinstance(text, str) and len(fields) == 1 else arguments


def _function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def _custom_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": text_of(arguments)}


def _search_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "tool_search_call", "call_id": call_id, "execution": "client", "arguments": _object(arguments)}


def _local_shell_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    action = {"type": "exec", "command": [], "env": {}, **_object(arguments)}
    return {"type": "local_shell_call", "call_id": call_id, "action": action}


def _shell_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    action = {"commands": [], "timeout_ms": None, "max_output_length": None, **_object(arguments)}
    return {"type": "shell_call", "call_id": call_id, "action": action}


def _patch_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "apply_patch_call", "call_id": call_id, "operation": _object(arguments)}


_CALL_ITEMS: dict[str, Callable[[str, str, str], dict[str, Any]]] = {
    "function": _function_call,
    "custom": _custom_call,
    "tool_search": _search_call,
    "local_shell": _local_shell_call,
    "shell": _shell_call,
    "apply_patch": _patch_call,
}

#: The items of results, by the kind of the call. A result of another kind is one of a function.
OUTPUT_TYPES = {
    "custom": "custom_tool_call_output",
    "local_shell": "local_shell_call_output",
    "shell": "shell_call_output",
    "apply_patch": "apply_patch_call_output",
    "tool_search": "tool_search_output",
}
