"""A request to Anthropic in our words. https://docs.claude.com/en/api/messages (2026-11-22)."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Any

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from tollway.conversation import (
    CacheMark,
    Citation,
    Conversation,
    Document,
    FileId,
    Image,
    Inline,
    Link,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningOptions,
    ResponseFormat,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    WebSearch,
)
from tollway.dialects import decode_field, read_sealed
from tollway.dialects.anthropic_messages.encode import NAME, clean_id
from tollway.errors import BadRequest
from tollway.remembered import Remembered


class _Cache(Struct, gc=False):
    type: str = "ephemeral"
    ttl: str | None = None


class _Source(Struct, gc=False):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    content: Any = None


class _Enabled(Struct, gc=False):
    enabled: bool = False


class _Block(Struct, gc=False):
    """`content` is a tool's result; `citations` stands for two things: on a text what was cited, on a document whether
    to cite.
    """

    type: str
    text: str = ""
    source: _Source | None = None
    title: str | None = None
    context: str | None = None
    citations: Raw = Raw()
    id: str = ""
    name: str = ""
    input: Raw = Raw()
    tool_use_id: str = ""
    content: Raw = Raw()
    is_error: bool | None = None
    thinking: str = ""
    signature: str = ""
    data: str = ""
    cache_control: _Cache | None = None


class _Message(Struct, gc=False):
    role: str
    content: str | list[Raw]


class _CommonBlock(_Block, gc=False):
    """As nearly all are, so that a talk is read at once: what its `content` holds is a tool's result."""

    content: str | list[Raw] | None = None  # type: ignore[assignment]  # read only where `_result` asks for this class first


class _CommonMessage(Struct, gc=False):
    role: str
    content: str | list[_CommonBlock]


class _RareBlock(Exception):
    """A block that must be kept as it came."""


class _Tool(Struct, gc=False):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Raw = Raw()
    strict: bool | None = None
    cache_control: _Cache | None = None


class _ToolChoice(Struct, gc=False):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Place(Struct, gc=False):
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class _Search(Struct, gc=False):
    max_uses: int | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: _Place | None = None


class Cited(Struct, gc=False):
    url: str | None = None
    title: str | None = None
    cited_text: str | None = None


class _Thinking(Struct, gc=False):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Format(Struct, gc=False):
    type: str = ""
    schema: Raw = Raw()


class _Metadata(Struct, gc=False):
    user_id: str | None = None


_NULL = Raw(b"null")
_ROLES = frozenset({"user", "assistant", "system"})

_PLAIN_FIELDS: dict[str, tuple[str, Any]] = {
    "max_tokens": ("output_tokens_max", int),
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "stop_sequences": ("stop", list[str]),
    "stream": ("streaming", bool),
    "service_tier": ("service_tier", str),
}
_READ_APART = frozenset(
    ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata")
)


def decode_request(fields: dict[str, Raw]) -> Conversation:
    """A request's top level in our words. Raises BadRequest naming what is wrong and where."""
    given = {name: raw for name, raw in fields.items() if raw != _NULL}
    for name in ("model", "messages"):
        if name not in given:
            raise BadRequest(f"{name}: Field required", param=name)
    conversation = Conversation(model=decode_field("model", given["model"], str), messages=[], dialect=NAME)
    conversation.usage_wanted = True  # the dialect always tells it
    if "system" in given:
        system = decode_field("system", given["system"], str | list[Raw])
        conversation.system = _parts(system, "system")
    try:
        conversation.messages = _talk(_decode_common(given["messages"]), "")
    except (MsgspecError, UnicodeDecodeError, _RareBlock, BadRequest):  # with care: then it is known where it stands
        conversation.messages = _talk(decode_field("messages", given["messages"], list[_Message]), "messages")
    if not conversation.messages:
        raise BadRequest("messages: at least one message is required", param="messages")
    for name, raw in given.items():
        if name in _PLAIN_FIELDS:
            ours, kind = _PLAIN_FIELDS[name]
            setattr(conversation, ours, decode_field(name, raw, kind))
        elif name not in _READ_APART:
            conversation.extra[name] = raw
    if "metadata" in given:
        metadata: _Metadata = decode_field("metadata", given["metadata"], _Metadata)
        conversation.user = metadata.user_id or ""
    if "tools" in given:
        conversation.tools = list(_tools(given["tools"]))
    _decode_choice(given, conversation)
    _decode_output(given, conversation)
    return conversation


_decode_common = Decoder(list[_CommonMessage]).decode


def _talk(said: Sequence[_Message | _CommonMessage], where: str) -> list[Message]:
    """About 0.3 us for a text, 1 for a call or a result. `where`: empty where errors need not tell it. Raises BadRequest, and
    _RareBlock where blocks came without their bytes and one of them must be kept as those.
    """
    messages: list[Message] = []
    for at, message in enumerate(said):
        content, role = message.content, message.role
        if type(content) is str and role in _ROLES:  # most by far
            messages.append(Message(role, [Text(content)]))
            continue
        here = f"{where}[{at}]" if where else ""
        if role not in _ROLES:
            raise BadRequest(f"{here}.role: expected 'user' or 'assistant', got {role[:40]!r}", param=f"{here}.role")
        parts = _parts(content, f"{here}.content" if where else "")
        if role != "user":
            messages.append(Message(role, parts))
        elif len(parts) == 1:
            messages.append(Message("tool" if type(parts[0]) is ToolResult else "user", parts))
        else:
            messages += _apart(parts)
    return messages


def _apart(parts: list[Part]) -> list[Message]:
    """One of a user's is up to two of ours: the tools' results apart from what the user says beside them."""
    results: list[Part] = [part for part in parts if type(part) is ToolResult]
    if not results:
        return [Message("user", parts)]
    if len(results) == len(parts):
        return [Message("tool", parts)]
    return [Message("tool", results), Message("user", [part for part in parts if type(part) is not ToolResult])]


def _parts(content: str | Sequence[Raw | _CommonBlock], where: str) -> list[Part]:
    """Thinking that `reply` made to carry a call's signature is taken apart again: the signature belongs to the call."""
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    signatures: dict[str, str] = {}
    for place, given in enumerate(content):
        if isinstance(given, _CommonBlock):
            part = _part(given, None, where, place)
        else:
            part = _part(_block(given, where, place), given, where, place)
        if type(part) is Reasoning and part.id:
            signatures[part.id] = part.signature
            continue
        if signatures and type(part) is ToolCall:
            part.signature = signatures.pop(clean_id(part.id), "")
        parts.append(part)
    return parts


_decode_block = Decoder(_Block).decode
_decode_content = Decoder(str | list[Raw]).decode


def _block(raw: Raw, where: str, place: int) -> _Block:
    try:
        return _decode_block(raw)
    except (MsgspecError, UnicodeDecodeError):
        block: _Block = decode_field(f"{where}[{place}]", raw, _Block)  # says what is wrong and where
        return block


def _part(block: _Block, raw: Raw | None, where: str, place: int) -> Part:
    """`raw` are the block's bytes, where they are known."""
    cache = _cache_mark(block.cache_control)
    kind = block.type
    if kind == "text":
        if not block.citations:
            return Text(block.text, cache)
        return Text(block.text, cache, _citations(block.citations, f"{where}[{place}].citations"))
    if kind == "tool_use" or kind == "server_tool_use":
        return ToolCall(block.id, block.name, (bytes(block.input) or b"{}").decode(), kind != "tool_use", "", cache)
    if kind == "tool_result":
        return ToolResult(block.tool_use_id, _result(block, where, place), bool(block.is_error), cache)
    if kind == "image" and block.source is not None:
        return Image(_source(block.source), cache=cache)
    if kind == "document" and block.source is not None and block.source.type != "content":
        return _document(block, block.source, f"{where}[{place}]", cache)
    if kind == "thinking":
        maker, call_id, signature = read_sealed(block.signature)
        maker = maker or (NAME if signature else "")
        return Reasoning(block.thinking, signature, id=call_id, maker=maker)
    if kind == "redacted_thinking":
        return Reasoning(redacted=block.data)
    if raw is None:
        raise _RareBlock
    return Opaque(NAME, Raw(bytes(raw)))


def _result(block: _Block, where: str, place: int) -> list[Part]:
    """What a tool said."""
    said: str | list[Raw] | None
    if type(block) is _CommonBlock:
        said = block.content
    elif not block.content or block.content == _NULL:
        said = None
    else:
        try:
            said = _decode_content(block.content)
        except (MsgspecError, UnicodeDecodeError):
            said = decode_field(f"{where}[{place}].content", block.content, str | list[Raw])
    if type(said) is str:
        return [Text(said)]
    return _parts(said, f"{where}[{place}].content") if said else []


def _citations(raw: Raw, where: str) -> list[Citation]:
    if not raw or raw == _NULL:
        return []
    return [citation(one, decode_field(where, one, Cited)) for one in decode_field(where, raw, list[Raw])]


def citation(raw: Raw, told: Cited, start: int = -1, end: int = -1) -> Citation:
    """One of theirs, kept whole beside what others can say of it."""
    return Citation(told.url or "", told.title or "", told.cited_text or "", start, end, Raw(bytes(raw)), NAME)


def _document(block: _Block, source: _Source, where: str, cache: CacheMark | None) -> Document:
    cites = bool(block.citations) and decode_field(f"{where}.citations", block.citations, _Enabled | None)
    document = Document(_source(source), block.title or "", block.context or "", cache=cache)
    document.citations = bool(cites and cites.enabled)
    if source.type == "text":
        document.source, document.text = Inline("text/plain", ""), source.data
    return document


def _source(source: _Source) -> Source:
    if source.type == "url":
        return Link(source.url)
    return FileId(source.file_id) if source.type == "file" else Inline(source.media_type, source.data)


def _cache_mark(cache: _Cache | None) -> CacheMark | None:
    return None if cache is None else CacheMark(cache.ttl or "")


_SEARCH_TOOL = re.compile(r"web_search_\d{8}")
_SEARCH_MEMBERS = frozenset({"type", "name", "cache_control", *_Search.__struct_fields__})


class _PlainTool(_Tool, forbid_unknown_fields=True, gc=False):
    """One without a member that we do not know."""


_decode_plain_tools = Decoder(list[_PlainTool]).decode


def _read_tools(raw: Raw) -> list[Tool]:
    """Read at once where all of them are plain; else each by itself."""
    try:
        plain = _decode_plain_tools(raw)
    except (MsgspecError, UnicodeDecodeError):
        plain = []
    if plain and all(_is_ordinary(tool) for tool in plain):
        return [_made(tool) for tool in plain]
    return [_tool(one, at) for at, one in enumerate(decode_field("tools", raw, list[Raw]))]


_tools = Remembered(_read_tools, len)


def _is_ordinary(tool: _Tool) -> bool:
    return tool.type in (None, "custom") and bool(tool.input_schema)


def _made(tool: _Tool) -> Tool:
    return Tool(tool.name, tool.description or "", tool.input_schema, tool.strict, _cache_mark(tool.cache_control))


def _tool(raw: Raw, at: int) -> Tool:
    tool: _Tool = decode_field(f"tools[{at}]", raw, _Tool)
    if _is_ordinary(tool):
        made = _made(tool)
        made.more = _others(raw, _Tool.__struct_fields__)
        made.dialect = NAME if made.more else ""
        return made
    native = Tool(tool.name, native=Raw(bytes(raw)), dialect=NAME)
    if tool.type is not None and _SEARCH_TOOL.fullmatch(tool.type):
        asked: _Search = decode_field(f"tools[{at}]", raw, _Search)
        place = asked.user_location or _Place()
        native.search = WebSearch(
            asked.max_uses,
            tuple(asked.allowed_domains or ()),
            tuple(asked.blocked_domains or ()),
            "",
            place.city or "",
            place.region or "",
            place.country or "",
            place.timezone or "",
        )
        native.more = _others(raw, _SEARCH_MEMBERS)
    return native


def _others(raw: Raw, known: Container[str]) -> dict[str, Raw]:
    """The members of an object that are not known, but for those that are null."""
    members: dict[str, Raw] = decode_field("tools", raw, dict[str, Raw])
    return {name: Raw(bytes(value)) for name, value in members.items() if name not in known and value != _NULL}


def _decode_choice(given: dict[str, Raw], conversation: Conversation) -> None:
    if "tool_choice" not in given:
        return
    choice: _ToolChoice = decode_field("tool_choice", given["tool_choice"], _ToolChoice)
    kinds = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}
    if choice.type not in kinds:
        raise BadRequest("tool_choice.type: expected 'auto', 'any', 'tool' or 'none'", param="tool_choice.type")
    conversation.tool_choice = ToolChoice(kinds[choice.type], choice.name)
    if choice.disable_parallel_tool_use is not None:
        conversation.parallel_tool_calls = not choice.disable_parallel_tool_use


def _decode_output(given: dict[str, Raw], conversation: Conversation) -> None:
    """How to think and in which form to answer; the two share `output_config`."""
    effort, form = "", None
    if "output_config" in given:
        for name, raw in decode_field("output_config", given["output_config"], dict[str, Raw]).items():
            if raw == _NULL:
                continue
            if name == "effort":
                effort = decode_field("output_config.effort", raw, str)
            elif name == "format":
                form = decode_field("output_config.format", raw, _Format)
            else:
                conversation.extra[f"output_config.{name}"] = Raw(bytes(raw))
    if form is None and "output_format" in given:  # the name it had while it was new
        form = decode_field("output_format", given["output_format"], _Format)
    if form is not None and form.type == "json_schema":
        conversation.response_format = ResponseFormat("json_schema", schema=Raw(bytes(form.schema)))
    thinking: _Thinking | None = None
    if "thinking" in given:
        thinking = decode_field("thinking", given["thinking"], _Thinking)
    if thinking is not None and thinking.type == "disabled":
        conversation.reasoning = ReasoningOptions("none")
    elif thinking is not None:
        adaptive = thinking.type == "adaptive"
        if not adaptive and thinking.budget_tokens is None:
            conversation.extra["thinking"] = given["thinking"]  # a way of thinking that is not known here
        conversation.reasoning = ReasoningOptions(effort, thinking.budget_tokens, adaptive, thinking.display or "")
    elif effort:
        conversation.reasoning = ReasoningOptions(effort)
