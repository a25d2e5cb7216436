"""A request for a response in our words. https://platform.openai.com/docs/api-reference/responses/create (2026-11-22).

What is asked of the model stands in items, one for each message, thought, tool call and result. Those of one turn of the
assistant become one message. Items that only OpenAI's own tools know are kept whole (`Opaque`). What OpenAI stored cannot be
resolved here, so `previous_response_id`, `conversation`, `prompt` and references to items are refused: whoever can
resolve them does it before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import (
    Audio,
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
    Refusal,
    ResponseFormat,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tollway.dialects import decode_field, label_sealed
from tollway.dialects.openai_responses.thought import unseal
from tollway.dialects.openai_responses.tools import NAME, decode_tool, decode_tools, flat_name
from tollway.errors import BadRequest


class _Cache(Struct, gc=False):
    """`cache_control` as clients of compatible gateways send it, and OpenAI's own `prompt_cache_breakpoint`."""

    ttl: str | None = None


class _InputAudio(Struct, gc=False):
    data: str
    format: str = ""


class _Url(Struct, gc=False):
    url: str


class _Part(Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | _Url | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _InputAudio | None = None
    cache_control: _Cache | None = None
    prompt_cache_breakpoint: _Cache | None = None
    annotations: list[Raw] | None = None


class Annotation(Struct, gc=False):
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Kind(Struct, gc=False):
    type: str | None = None
    role: str | None = None
    id: str | None = None


class _Message(Struct, gc=False):
    role: str
    content: str | list[Raw]


class _Call(Struct, gc=False):
    name: str = ""
    call_id: str | None = None
    id: str | None = None
    namespace: str | None = None
    arguments: Raw = Raw(b'""')
    input: str = ""
    execution: str | None = None
    action: Raw = Raw(b"{}")
    operation: Raw = Raw(b"{}")


class _Output(Struct, gc=False):
    output: str | list[Raw] = ""
    call_id: str | None = None
    id: str | None = None
    status: str | None = None
    tools: list[Raw] | None = None


class _Thought(Struct, gc=False):
    text: str = ""


class _Reasoning(Struct, gc=False):
    id: str | None = None
    summary: list[_Thought] | None = None
    content: list[_Thought] | None = None
    encrypted_content: str | None = None


class _Item(_Call, gc=False):
    """An item as nearly all are, of whatever kind, so that a talk is read at once. Null members that nobody reads make it rare."""

    type: str | None = None
    role: str | None = None
    content: str | list[_Part] | None = None
    output: str | list[_Part] = ""
    status: str | None = None
    tools: list[Raw] | None = None
    summary: list[_Thought] | None = None
    encrypted_content: str | None = None


class _RareItem(Exception):
    """An item, or a part of one, that must be kept as it came."""


class _Format(Struct, gc=False):
    type: str
    name: str = ""
    schema: Raw = Raw()
    strict: bool | None = None
    description: str | None = None


#: Fields whose value is taken as it is: the wire name, ours, and the type it must have.
PLAIN_FIELDS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "parallel_tool_calls": ("parallel_tool_calls", bool),
    "user": ("user", str),
    "metadata": ("metadata", Raw),
    "service_tier": ("service_tier", str),
    "stream": ("streaming", bool),
    "max_output_tokens": ("output_tokens_max", int),
    "top_logprobs": ("top_logprobs", int),
}
_READ_APART = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "reasoning", "text", "include", "stream_options"}
)
#: Values that ask for what happens anyway when a reply is made from another dialect's: nothing is lost with them.
_ASKS_NOTHING: dict[str, Any] = {"store": False, "background": False, "truncation": "disabled", "top_logprobs": 0}

#: What stands for `input` where OpenAI keeps what was said, or a template of it.
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt")

SEALED_THOUGHT = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
_NULL = Raw(b"null")


def decode_request(fields: dict[str, Raw]) -> Conversation:
    """A request's top level in our words. Raises BadRequest naming what is wrong and where."""
    given = {name: raw for name, raw in fields.items() if raw != _NULL}
    if "model" not in given:
        raise BadRequest("Missing required parameter: 'model'.", param="model")
    _refuse_what_is_kept_elsewhere(given)
    conversation = Conversation(model=decode_field("model", given["model"], str), messages=[], dialect=NAME)
    conversation.usage_wanted = True  # the dialect always tells it
    if "instructions" in given:
        instructions = decode_field("instructions", given["instructions"], str | list[Raw])
        if isinstance(instructions, str):
            conversation.system = [Text(instructions)]
        else:
            _careful(instructions, "instructions").tell(conversation)
    if "input" not in given:
        raise BadRequest("Missing required parameter: 'input'.", param="input")
    _read_input(given["input"], conversation)
    for name, raw in given.items():
        if name in PLAIN_FIELDS:
            ours, kind = PLAIN_FIELDS[name]
            setattr(conversation, ours, decode_field(name, raw, kind))
        elif name not in _READ_APART and not (
            name in _ASKS_NOTHING and decode_field(name, raw, Any) == _ASKS_NOTHING[name]
        ):
            conversation.extra[name] = raw
    _decode_tools(given, conversation)
    _decode_reasoning(given, conversation)
    _decode_text(given, conversation)
    _decode_wishes(given, conversation)
    return conversation


def _refuse_what_is_kept_elsewhere(given: dict[str, Raw]) -> None:
    for name in _KEPT_ELSEWHERE:
        if name in given:
            raise BadRequest(
                f"The model {decode_field('model', given['model'], str)!r} cannot look up {name!r}: its provider keeps none. "
                "Send what it stands for instead.",
                param=name,
                code="unsupported_parameter",
            )
    if given.get("background") == Raw(b"true"):
        raise BadRequest(
            f"The model {decode_field('model', given['model'], str)!r} does not answer in the background. Ask without "
            "'background', or for a model of a provider that has it.",
            param="background",
            code="unsupported_parameter",
        )


# --- items ---------------------------------------------------------------------------------------------------------


def _read_input(raw: Raw, conversation: Conversation) -> None:
    """Items that are rare, or wrong, are read again with care: then it is known where they stand."""
    try:
        said = _decode_input(raw)
        if isinstance(said, str):
            conversation.messages.append(Message("user", [Text(said)]))
            return
        reader = _ItemReader()
        reader.read_common(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, _RareItem, BadRequest):
        reader = _careful(decode_field("input", raw, list[Raw]), "input")
    reader.tell(conversation)


def _careful(items: list[Raw], name: str) -> _ItemReader:
    reader = _ItemReader()
    reader.read_carefully(items, name)
    return reader


_decode_input = msgspec.json.Decoder(str | list[_Item]).decode


class _ItemReader:
    """Reads items in their order as messages; the leading system messages apart."""

    def __init__(self) -> None:
        self._system: list[Part] = []
        self._messages: list[Message] = []
        self._tools: list[Tool] = []  # that were found on the way
        self._leading = True
        self._turn: Message | None = None  # the message that the next item of the same side joins
        self._signatures: dict[str, str] = {}  # of calls that follow, by their ids

    def tell(self, conversation: Conversation) -> None:
        conversation.system += self._system
        conversation.messages += self._messages
        conversation.tools += self._tools

    def read_common(self, items: list[_Item]) -> None:
        """About 0.4 us for a text. Raises _RareItem, and BadRequest that does not know where."""
        for item in items:
            content, word = item.content, item.type
            if type(content) is str and (word is None or word == "message"):
                if item.role == "user":
                    self._add(Message("user", [Text(content)]), joinable=False)
                    continue
                if item.role == "assistant" and content:
                    self._join("assistant").append(Text(content))
                    continue
            self._read(item, word or ("message" if item.role is not None else "item_reference"))

    def _read(self, item: _Item, word: str) -> None:
        if word == "message":
            if item.role is None or item.content is None:
                raise _RareItem
            self._say(item.role, item.content, "")
        else:
            known = _READERS.get(word)
            if known is None or (word.startswith("tool_search") and item.execution != "client"):
                raise _RareItem
            known[0](self, item, "")

    def read_carefully(self, items: list[Raw], name: str) -> None:
        """Raises BadRequest."""
        for at, raw in enumerate(items):
            where = f"{name}[{at}]"
            kind: _Kind = decode_field(where, raw, _Kind)
            word = kind.type
            if word is None:
                word = "message" if kind.role is not None else "item_reference"
            known = _READERS.get(word)
            if word == "message":
                message: _Message = decode_field(where, raw, _Message)
                self._say(message.role, message.content, where)
            elif known is not None and not (word.startswith("tool_search") and _is_run_by_openai(raw)):
                known[0](self, decode_field(where, raw, known[1]), where)
            elif word == "item_reference":
                raise BadRequest(
                    f"Invalid '{where}': the item {(kind.id or '')[:80]!r} is not kept here. Send the item itself instead "
                    "of a reference to it.",
                    param=where,
                )
            else:
                self._join(_side_of(word)).append(Opaque(NAME, raw))

    def _say(self, said_as: str, content: str | Sequence[Raw | _Part], where: str) -> None:
        role = "system" if said_as == "developer" else said_as
        if role not in ("system", "user", "assistant"):
            raise BadRequest(
                f"Invalid '{where}.role': expected 'system', 'developer', 'user' or 'assistant', got {role[:40]!r}.",
                param=f"{where}.role",
            )
        if isinstance(content, str):
            parts: list[Part] = [Text(content)] if content or role != "assistant" else []
        else:
            parts = _parts(content, f"{where}.content")
        if role == "system" and self._leading:
            self._system += parts
        elif role == "assistant":
            self._join("assistant").extend(parts)
        else:
            self._add(Message(role, parts), joinable=False)

    def call(self, call: _Call, where: str) -> None:
        self._call(call, call.name, _arguments(call.arguments), where)

    def custom_call(self, call: _Call, where: str) -> None:
        """A call whose argument is plain text; elsewhere arguments are JSON, so the text is put into some."""
        self._call(call, call.name, msgspec.json.encode({"input": call.input}).decode(), where)

    def tool_search(self, call: _Call, where: str) -> None:
        self._call(call, "tool_search", _arguments(call.arguments), where)

    def local_shell(self, call: _Call, where: str) -> None:
        action = decode_field(f"{where}.action", call.action, dict[str, Raw])
        told = {name: value for name, value in action.items() if name != "type" and value not in _NOTHING}
        self._call(call, "local_shell", msgspec.json.encode(told).decode(), where)

    def shell(self, call: _Call, where: str) -> None:
        action = decode_field(f"{where}.action", call.action, dict[str, Raw])
        told = {name: value for name, value in action.items() if value != _NULL}
        self._call(call, "shell", msgspec.json.encode(told).decode(), where)

    def apply_patch(self, call: _Call, where: str) -> None:
        self._call(call, "apply_patch", bytes(call.operation).decode(), where)

    def _call(self, call: _Call, name: str, arguments: str, where: str) -> None:
        call_id = call.call_id or call.id
        if not call_id or not name:
            member = "name" if call_id else "call_id"
            raise BadRequest(f"Missing required parameter: '{where}.{member}'.", param=f"{where}.{member}")
        signature = self._signatures.pop(call_id, "") if self._signatures else ""
        flat = flat_name(call.namespace or "", name)
        self._join("assistant").append(ToolCall(call_id, flat, arguments, signature=signature))

    def output(self, output: _Output | _Item, where: str) -> None:
        parts = _parts(output.output, f"{where}.output")
        if parts and all(isinstance(part, Opaque) for part in parts):
            parts = [Text(msgspec.json.encode(output.output).decode())]  # a shell's output, told by its streams
        self._result(output, parts, where)

    def tools_found(self, output: _Output | _Item, where: str) -> None:
        """Tools that a search found: from now on they may be called."""
        self.more_tools(output, where)
        self._result(output, [Text(msgspec.json.encode(output.tools or []).decode())], where)

    def more_tools(self, output: _Output | _Item, where: str) -> None:
        for at, tool in enumerate(output.tools or ()):
            self._tools.append(decode_tool(tool, f"{where}.tools[{at}]"))

    def _result(self, output: _Output | _Item, parts: list[Part], where: str) -> None:
        call_id = output.call_id or output.id
        if not call_id:
            raise BadRequest(f"Missing required parameter: '{where}.call_id'.", param=f"{where}.call_id")
        self._join("tool").append(ToolResult(call_id, parts, output.status == "failed"))

    def reasoning(self, item: _Reasoning | _Item, where: str) -> None:
        thoughts = item.summary or item.content or []
        if isinstance(thoughts, str):
            raise _RareItem
        part = Reasoning("\n\n".join([thought.text or "" for thought in thoughts]), id=item.id or "")
        if item.encrypted_content:
            sealed = unseal(item.encrypted_content)
            if sealed is None:
                part.redacted = label_sealed(NAME, part.id, item.encrypted_content)
            elif sealed.call_id:
                self._signatures[sealed.call_id] = sealed.signature
                return
            else:
                part.signature, part.redacted = sealed.signature, sealed.redacted
                part.maker = sealed.maker or ("anthropic_messages" if sealed.signature else "")
        self._join("assistant").append(part)

    def _join(self, role: str) -> list[Part]:
        """The parts of the message that an item of this side belongs to."""
        if self._turn is None or self._turn.role != role:
            self._add(Message(role, []), joinable=True)
        assert self._turn is not None
        return self._turn.parts

    def _add(self, message: Message, *, joinable: bool) -> None:
        self._leading = False
        self._messages.append(message)
        self._turn = message if joinable else None


#: How items are read, and as what where they are rare: then nothing matters but what their kind has.
_READERS: dict[str, tuple[Callable[[_ItemReader, Any, str], None], type[Struct]]] = {
    "function_call": (_ItemReader.call, _Call),
    "custom_tool_call": (_ItemReader.custom_call, _Call),
    "tool_search_call": (_ItemReader.tool_search, _Call),
    "local_shell_call": (_ItemReader.local_shell, _Call),
    "shell_call": (_ItemReader.shell, _Call),
    "apply_patch_call": (_ItemReader.apply_patch, _Call),
    "function_call_output": (_ItemReader.output, _Output),
    "custom_tool_call_output": (_ItemReader.output, _Output),
    "local_shell_call_output": (_ItemReader.output, _Output),
    "shell_call_output": (_ItemReader.output, _Output),
    "apply_patch_call_output": (_ItemReader.output, _Output),
    "tool_search_output": (_ItemReader.tools_found, _Output),
    "additional_tools": (_ItemReader.more_tools, _Output),
    "reasoning": (_ItemReader.reasoning, _Reasoning),
}

_NOTHING = (_NULL, Raw(b"{}"))


def _is_run_by_openai(raw: Raw) -> bool:
    return msgspec.json.decode(raw, type=_Call).execution != "client"


def _side_of(item_type: str) -> str:
    """Whose turn an item belongs to that is kept whole."""
    own = item_type.endswith("_call") or item_type in (
        "mcp_list_tools",
        "mcp_approval_request",
        "compaction",
        "program",
    )
    return "assistant" if own else "user"


def _arguments(raw: Raw) -> str:
    """Arguments are JSON inside a string; some clients send the JSON itself."""
    text = bytes(raw)
    if text.startswith(b'"'):
        return str(msgspec.json.decode(text))
    return "" if text == b"null" else text.decode()


def _parts(content: str | Sequence[Raw | _Part], where: str) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    parts: list[Part] = []
    for place, given in enumerate(content):
        if isinstance(given, _Part):
            parts.append(_part(given, None, where))
        else:
            here = f"{where}[{place}]"
            parts.append(_part(decode_field(here, given, _Part), given, here))
    return parts


def _part(part: _Part, raw: Raw | None, where: str) -> Part:
    """`raw` are its bytes, where they are known."""
    cache = _cache_mark(part)
    kind = part.type
    if kind in ("input_text", "output_text", "text") and part.text is not None:
        if not part.annotations:
            return Text(part.text, cache)
        return Text(part.text, cache, [citation(one, decode_field(where, one, Annotation)) for one in part.annotations])
    if kind == "refusal" and part.refusal is not None:
        return Refusal(part.refusal)
    if kind == "input_image" and (part.image_url is not None or part.file_id is not None):
        url = part.image_url if isinstance(part.image_url, str) else part.image_url.url if part.image_url else ""
        return Image(_source(url) if url else FileId(part.file_id or ""), part.detail or "", cache)
    if kind == "input_file":
        return _document(part, where, cache)
    if kind == "input_audio" and part.input_audio is not None:
        sound = part.input_audio
        return Audio(Inline("audio/" + (sound.format or "wav"), sound.data), sound.format)
    if kind in ("input_text", "output_text", "text", "refusal", "input_image", "input_audio"):
        raise BadRequest(f"Invalid '{where}': what {kind!r} must hold is missing.", param=where)
    if raw is None:
        raise _RareItem
    return Opaque(NAME, raw)


def citation(raw: Raw, told: Annotation, before: int = 0) -> Citation:
    """One of theirs, kept whole beside what others can say of it. `before`: characters of its message before its text."""
    start = -1 if told.start_index is None else before + told.start_index
    end = -1 if told.end_index is None else before + told.end_index
    return Citation(told.url or "", told.title or "", "", start, end, Raw(bytes(raw)), NAME)


def _document(part: _Part, where: str, cache: CacheMark | None) -> Document:
    source: Source
    if part.file_data is not None:
        source = _source(part.file_data)
        if isinstance(source, Link):
            source = Inline("application/pdf", part.file_data)  # base64 without its `data:` head
    elif part.file_url is not None:
        source = Link(part.file_url)
    elif part.file_id is not None:
        source = FileId(part.file_id)
    else:
        raise BadRequest(f"Invalid '{where}': expected 'file_data', 'file_url' or 'file_id'.", param=where)
    return Document(source, part.filename or "", cache=cache)


def _source(url: str) -> Source:
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return Inline(head.partition(";")[0], data)
    return Link(url)


def _cache_mark(part: _Part) -> CacheMark | None:
    """OpenAI's lifetimes (30m, 12h) are not those of others, so theirs stand for short and long."""
    if part.cache_control is not None:
        return CacheMark(part.cache_control.ttl or "")
    if part.prompt_cache_breakpoint is not None:
        return CacheMark("1h" if part.prompt_cache_breakpoint.ttl == "12h" else "")
    return None


# --- tools ---------------------------------------------------------------------------------------------------------


def _decode_tools(given: dict[str, Raw], conversation: Conversation) -> None:
    found = conversation.tools  # in the course of the conversation
    if "tools" in given:
        conversation.tools = decode_tools(given["tools"])
        if found:
            names = {one.name for tool in conversation.tools for one in (tool, *tool.stand_ins)}
            conversation.tools += [tool for tool in found if tool.name not in names]
    if "tool_choice" in given:
        conversation.tool_choice = _decode_choice(given["tool_choice"], conversation)


_CHOICES = frozenset({"auto", "required", "none"})


def _decode_choice(raw: Raw, conversation: Conversation) -> ToolChoice:
    value = decode_field("tool_choice", raw, str | dict[str, Any])
    if isinstance(value, str):
        if value in _CHOICES:
            return ToolChoice(value)
    elif value.get("type") in ("function", "custom"):
        if isinstance(value.get("name"), str):
            return ToolChoice("named", value["name"])
    elif isinstance(value.get("type"), str):
        # Several tools to choose from, or one that OpenAI runs: no other dialect can say it, so it is kept whole.
        conversation.extra["tool_choice"] = raw
        return ToolChoice("required" if value.get("mode") == "required" else "auto")
    raise BadRequest("Invalid 'tool_choice': expected 'auto', 'required', 'none' or a tool.", param="tool_choice")


# --- how to think and to answer ------------------------------------------------------------------------------------


def _decode_reasoning(given: dict[str, Raw], conversation: Conversation) -> None:
    if "reasoning" not in given:
        return
    words: dict[str, Raw] = decode_field("reasoning", given["reasoning"], dict[str, Raw])
    told = {"effort": "", "summary": "", "generate_summary": ""}
    for name, raw in words.items():
        if raw == _NULL:
            continue
        if name in told:
            told[name] = decode_field(f"reasoning.{name}", raw, str)
        else:
            conversation.extra[f"reasoning.{name}"] = Raw(bytes(raw))
    summary = told["summary"] or told["generate_summary"]  # the second is the older name
    if told["effort"] or summary:
        conversation.reasoning = ReasoningOptions(told["effort"], summary=summary)


def _decode_text(given: dict[str, Raw], conversation: Conversation) -> None:
    if "text" not in given:
        return
    words: dict[str, Raw] = decode_field("text", given["text"], dict[str, Raw])
    for name, raw in words.items():
        if raw == _NULL:
            continue
        if name == "format":
            conversation.response_format = _decode_format(raw)
        else:
            conversation.extra[f"text.{name}"] = Raw(bytes(raw))


def _decode_format(raw: Raw) -> ResponseFormat:
    form: _Format = decode_field("text.format", raw, _Format)
    if form.type == "json_schema":
        if not form.schema:
            raise BadRequest("Missing required parameter: 'text.format.schema'.", param="text.format.schema")
        return ResponseFormat(form.type, form.name, Raw(bytes(form.schema)), form.strict, form.description or "")
    if form.type not in ("text", "json_object"):
        where = "text.format.type"
        raise BadRequest(f"Invalid '{where}': expected 'text', 'json_object' or 'json_schema'.", param=where)
    return ResponseFormat(form.type)


def _decode_wishes(given: dict[str, Raw], conversation: Conversation) -> None:
    """`include` and `stream_options`. Sealed thought is always given, and no obfuscation is ever added, so neither
    need be said elsewhere.
    """
    if "include" in given:
        wishes = decode_field("include", given["include"], list[str])
        if LOGPROBS in wishes:
            conversation.logprobs = True
        if more := [name for name in wishes if name not in (SEALED_THOUGHT, LOGPROBS)]:
            conversation.extra["include"] = Raw(msgspec.json.encode(more))
    if "stream_options" in given:
        options: dict[str, Any] = decode_field("stream_options", given["stream_options"], dict[str, Any])
        if any(options.values()):
            conversation.extra["stream_options"] = given["stream_options"]
