"""A chat completion request in our words.
https://platform.openai.com/docs/api-reference/chat/create (2026-11-22).

Beside OpenAI's own fields, what clients of compatible gateways send is understood: `cache_control` on parts, messages
and tools, `thinking`, `thinking_blocks` and `reasoning_content` on earlier messages, the older `functions` and
`function_call`.
"""

from __future__ import annotations

import re
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
    Freeform,
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
    Video,
    WebSearch,
    as_function,
)
from tollway.dialects import decode_field, read_sealed
from tollway.errors import BadRequest
from tollway.remembered import Remembered

NAME = "openai_chat"


class _Cache(Struct, gc=False):
    type: str = "ephemeral"
    ttl: str | None = None


class _ImageUrl(Struct, gc=False):
    url: str
    detail: str | None = None


class _InputAudio(Struct, gc=False):
    data: str
    format: str = ""


class _File(Struct, gc=False):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    format: str | None = None


class _Url(Struct, gc=False):
    url: str


class _Part(Struct, gc=False):
    type: str
    text: str | None = None
    image_url: _ImageUrl | str | None = None
    input_audio: _InputAudio | None = None
    file: _File | None = None
    video_url: _Url | str | None = None
    refusal: str | None = None
    cache_control: _Cache | None = None
    prompt_cache_breakpoint: _Cache | None = None


class _FunctionCall(Struct, gc=False):
    name: str
    arguments: Raw = Raw(b'""')


class _CustomCall(Struct, gc=False):
    name: str
    input: str = ""


class _ToolCall(Struct, gc=False):
    id: str | None = None
    function: _FunctionCall | None = None
    custom: _CustomCall | None = None
    cache_control: _Cache | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None


class _ThinkingBlock(Struct, gc=False):
    type: str = "thinking"
    thinking: str = ""
    signature: str | None = None
    data: str | None = None


class _AudioId(Struct, gc=False):
    id: str


class _Message(Struct, gc=False):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: _FunctionCall | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[_ThinkingBlock] | None = None
    cache_control: _Cache | None = None
    audio: _AudioId | None = None
    annotations: list[Raw] | None = None


class _UrlCitation(Struct, gc=False):
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Annotation(Struct, gc=False):
    url_citation: _UrlCitation | None = None


class _Grammar(Struct, gc=False):
    syntax: str = ""
    definition: str = ""


class _CustomFormat(Struct, gc=False):
    type: str = "text"
    grammar: _Grammar | None = None


class _Custom(Struct, gc=False):
    name: str
    description: str | None = None
    format: _CustomFormat | None = None


class _Place(Struct, gc=False):
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class _Location(_Place):
    approximate: _Place | None = None


class _SearchOptions(Struct, gc=False):
    search_context_size: str | None = None
    user_location: _Location | None = None


class _Function(Struct, gc=False):
    name: str
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None
    cache_control: _Cache | None = None


class _Tool(Struct, gc=False):
    type: str = "function"
    function: _Function | None = None
    custom: _Custom | None = None
    name: str = ""
    description: str | None = None
    input_schema: Raw = Raw()
    cache_control: _Cache | None = None


class _StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


class _Thinking(Struct, gc=False):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _EffortObject(Struct, gc=False):
    effort: str | None = None
    summary: str | None = None


class _JsonSchema(Struct, gc=False):
    name: str = ""
    schema: Raw = Raw()
    strict: bool | None = None
    description: str | None = None


class _ResponseFormat(Struct, gc=False):
    type: str
    json_schema: _JsonSchema | None = None


#: Tools that Anthropic runs or defines itself, which clients put among OpenAI's: their types end in a date without dashes.
_ANTHROPIC_TOOL_TYPE = re.compile(r"[a-z_]+_20\d{6}")

#: What a search that stands in no list of tools is called among ours.
SEARCH_OPTIONS = "web_search_options"

#: Fields whose value is taken as it is: the wire name, ours, and the type it must have.
PLAIN_FIELDS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "n": ("n", int),
    "seed": ("seed", int),
    "presence_penalty": ("presence_penalty", float),
    "frequency_penalty": ("frequency_penalty", float),
    "logit_bias": ("logit_bias", Raw),
    "logprobs": ("logprobs", bool),
    "top_logprobs": ("top_logprobs", int),
    "parallel_tool_calls": ("parallel_tool_calls", bool),
    "user": ("user", str),
    "metadata": ("metadata", Raw),
    "service_tier": ("service_tier", str),
    "stream": ("streaming", bool),
    "max_tokens": ("output_tokens_max", int),
    "max_completion_tokens": ("output_tokens_max", int),
}
_READ_APART = frozenset(
    {
        "model",
        "messages",
        "stream_options",
        "stop",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "reasoning_effort",
        "thinking",
        "response_format",
        "web_search_options",
    }
)


def decode_request(fields: dict[str, Raw]) -> Conversation:
    """A request's top level in our words. Raises BadRequest naming what is wrong and where."""
    for name in ("model", "messages"):
        if _given(fields, name) is None:
            raise BadRequest(f"Missing required parameter: '{name}'.", param=name)
    conversation = Conversation(model=decode_field("model", fields["model"], str), messages=[], dialect=NAME)
    _decode_messages(fields["messages"], conversation)
    for name, raw in fields.items():
        if name in PLAIN_FIELDS:
            if raw != _NULL:
                ours, kind = PLAIN_FIELDS[name]
                setattr(conversation, ours, decode_field(name, raw, kind))
        elif name not in _READ_APART:
            conversation.extra[name] = raw
    if _given(fields, "max_completion_tokens") is not None:  # the newer name wins over the older, whichever came first
        conversation.output_tokens_max = decode_field("max_completion_tokens", fields["max_completion_tokens"], int)
    if conversation.n < 1:
        raise BadRequest("Invalid 'n': expected at least 1.", param="n")
    if (raw_options := _given(fields, "stream_options")) is not None:
        options: _StreamOptions = decode_field("stream_options", raw_options, _StreamOptions)
        conversation.usage_wanted = bool(options.include_usage)
    if (stop := _given(fields, "stop")) is not None:
        stops = decode_field("stop", stop, str | list[str])
        conversation.stop = [stops] if isinstance(stops, str) else stops
    _decode_tools(fields, conversation)
    conversation.reasoning = _decode_reasoning(fields)
    if (raw_format := _given(fields, "response_format")) is not None:
        conversation.response_format = _decode_format(raw_format)
    return conversation


_NULL = Raw(b"null")


def _given(fields: dict[str, Raw], name: str) -> Raw | None:
    """A field that is there and not null."""
    raw = fields.get(name)
    return None if raw is None or raw == _NULL else raw


def _decode_messages(raw: Raw, conversation: Conversation) -> None:
    wire: list[_Message] = decode_field("messages", raw, list[_Message])
    if not wire:
        raise BadRequest("Invalid 'messages': expected at least one message.", param="messages")
    reader = _MessageReader(raw)
    leading = True
    messages = conversation.messages
    for at, message in enumerate(wire):
        content = message.content
        if type(content) is str and _says_no_more(message):  # most messages: 0.4 us
            if message.role == "user" or (message.role == "assistant" and content):
                leading = False
                messages.append(Message(message.role, [Text(content)]))
                continue
            if message.role == "tool" and message.tool_call_id:
                leading = False
                messages.append(Message("tool", [ToolResult(message.tool_call_id, [Text(content)])]))
                continue
        decoded = reader.read(message, at)
        if decoded.role == "system" and leading:
            conversation.system.extend(decoded.parts)
        else:
            leading = False
            messages.append(decoded)


def _says_no_more(message: _Message) -> bool:
    """Than its `content`, and whose result it is."""
    return (
        message.tool_calls is None
        and message.name is None
        and message.cache_control is None
        and message.reasoning_content is None
        and message.reasoning is None
        and message.thinking_blocks is None
        and message.function_call is None
        and message.refusal is None
        and message.audio is None
        and message.annotations is None
    )


class _MessageReader:
    """Reads messages in their order: the older `function_call` had no ids, so its results belong to the call before
    them.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._legacy_calls = 0

    def read(self, message: _Message, at: int) -> Message:
        role = message.role
        if role in ("system", "developer"):
            return Message("system", self._content(message, at), message.name or "")
        if role == "user":
            return Message("user", self._content(message, at), message.name or "")
        if role == "assistant":
            return Message("assistant", self._assistant_parts(message, at), message.name or "")
        if role == "tool":
            if not message.tool_call_id:
                where = f"messages[{at}].tool_call_id"
                raise BadRequest(f"Missing required parameter: '{where}'.", param=where)
            return Message("tool", [self._tool_result(message, at, message.tool_call_id)])
        if role == "function":
            return Message("tool", [self._tool_result(message, at, self._legacy_id(message.name or ""))])
        where = f"messages[{at}].role"
        raise BadRequest(
            f"Invalid '{where}': expected 'system', 'developer', 'user', 'assistant' or 'tool', got {role[:40]!r}.",
            param=where,
        )

    def _tool_result(self, message: _Message, at: int, call_id: str) -> ToolResult:
        cache = _cache_mark(message.cache_control)
        return ToolResult(call_id, self._content(message, at, mark_last=False), cache=cache)

    def _legacy_id(self, name: str) -> str:
        return f"call_{self._legacy_calls}_{name}"

    def _assistant_parts(self, message: _Message, at: int) -> list[Part]:
        parts: list[Part] = []
        for block in message.thinking_blocks or ():
            if block.type == "redacted_thinking":
                parts.append(Reasoning(redacted=block.data or ""))
            else:
                parts.append(signed_thought(block.thinking, block.signature or ""))
        thought = message.reasoning_content or message.reasoning
        if thought and not message.thinking_blocks:
            parts.append(Reasoning(thought))
        content = self._content(message, at)
        if message.annotations and (texts := [part for part in content if isinstance(part, Text)]):
            where = f"messages[{at}].annotations"
            texts[-1].citations = [citation(raw, decode_field(where, raw, Annotation)) for raw in message.annotations]
        parts += content
        if message.refusal:
            parts.append(Refusal(message.refusal))
        if message.audio is not None:
            parts.append(Audio(FileId(message.audio.id)))
        for call in message.tool_calls or ():
            parts.append(self._tool_call(call, at))
        if message.function_call is not None:
            self._legacy_calls += 1
            name = message.function_call.name
            parts.append(ToolCall(self._legacy_id(name), name, _arguments_text(message.function_call.arguments)))
        return parts

    def _tool_call(self, call: _ToolCall, at: int) -> ToolCall:
        cache = _cache_mark(call.cache_control)
        if call.function is not None:
            text = _arguments_text(call.function.arguments)
            return ToolCall(call.id or "", call.function.name, text, signature=signature_of(call), cache=cache)
        if call.custom is not None:
            text = msgspec.json.encode({"input": call.custom.input}).decode()
            return ToolCall(call.id or "", call.custom.name, text, cache=cache)
        where = f"messages[{at}].tool_calls"
        raise BadRequest(f"Invalid '{where}': each call must have a 'function'.", param=where)

    def _content(self, message: _Message, at: int, *, mark_last: bool = True) -> list[Part]:
        parts: list[Part] = []
        if isinstance(message.content, str):
            parts = [Text(message.content)] if message.content or message.role != "assistant" else []
        elif message.content is not None:
            parts = [self._part(part, at, place) for place, part in enumerate(message.content)]
        if message.cache_control is not None and mark_last and parts and hasattr(parts[-1], "cache"):
            parts[-1].cache = _cache_mark(message.cache_control)
        return parts

    def _part(self, part: _Part, at: int, place: int) -> Part:
        cache = _cache_mark(part.cache_control or part.prompt_cache_breakpoint)
        if part.text is not None and part.type in ("text", "input_text", "output_text"):
            return Text(part.text, cache)
        if part.image_url is not None:
            if isinstance(part.image_url, str):
                return Image(source_of(part.image_url), cache=cache)
            return Image(source_of(part.image_url.url), part.image_url.detail or "", cache)
        if part.input_audio is not None:
            return Audio(
                Inline("audio/" + (part.input_audio.format or "wav"), part.input_audio.data), part.input_audio.format
            )
        if part.file is not None:
            return _document(part.file, f"messages[{at}].content[{place}].file", cache)
        if part.video_url is not None:
            return Video(source_of(part.video_url if isinstance(part.video_url, str) else part.video_url.url))
        if part.refusal is not None:
            return Refusal(part.refusal)
        if part.type in ("text", "image_url", "input_audio", "file", "video_url", "refusal"):
            where = f"messages[{at}].content[{place}].{part.type}"
            raise BadRequest(f"Missing required parameter: '{where}'.", param=where)
        return Opaque(NAME, self._raw_part(at, place))

    def _raw_part(self, at: int, place: int) -> Raw:
        """The part as it came. Only kinds of part that are unknown here ask for it, so it is looked up anew each
        time.
        """
        messages = msgspec.json.decode(self._raw, type=list[dict[str, Raw]])
        return Raw(bytes(msgspec.json.decode(messages[at]["content"], type=list[Raw])[place]))


def signed_thought(text: str, signature: str) -> Reasoning:
    """Whose signature it is says its label; one without is Anthropic's, from which `thinking_blocks` come."""
    maker, _, blob = read_sealed(signature)
    return Reasoning(text, blob, maker=maker or ("anthropic_messages" if blob else ""))


def citation(raw: Raw, told: Annotation) -> Citation:
    """One annotation, kept whole beside what others can say of it."""
    cited = told.url_citation or _UrlCitation()
    start = -1 if cited.start_index is None else cited.start_index
    end = -1 if cited.end_index is None else cited.end_index
    return Citation(cited.url or "", cited.title or "", "", start, end, Raw(bytes(raw)), NAME)


def signature_of(call: Any) -> str:
    """The signature that Gemini wants back with a call: in Google's own place, or where gateways put it."""
    google = call.extra_content.get("google") if isinstance(call.extra_content, dict) else None
    for place in (google, call.provider_specific_fields):
        if isinstance(place, dict) and isinstance(place.get("thought_signature"), str):
            return str(place["thought_signature"])
    return ""


def _cache_mark(cache: _Cache | None) -> CacheMark | None:
    """OpenAI's long lifetime (12h) stands for the long one of others, its short one for the provider's default."""
    return None if cache is None else CacheMark(_TTLS.get(cache.ttl or "", cache.ttl or ""))


_TTLS = {"12h": "1h", "30m": ""}


def _arguments_text(raw: Raw) -> str:
    """Arguments are JSON inside a string; some clients send the JSON itself."""
    text = bytes(raw)
    if text.startswith(b'"'):
        return str(msgspec.json.decode(text))
    return "" if text == b"null" else text.decode()


def source_of(url: str) -> Source:
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return Inline(head.partition(";")[0], data)
    return Link(url)


def _document(file: _File, where: str, cache: CacheMark | None) -> Document:
    if file.file_data is not None:
        source = source_of(file.file_data)
        if isinstance(source, Link) and not source.url.startswith(("http://", "https://")):
            source = Inline(file.format or "application/pdf", file.file_data)  # base64 without its `data:` head
        return Document(source, file.filename or "", cache=cache)
    if file.file_id is not None:
        source = Link(file.file_id) if file.file_id.startswith(("http://", "https://")) else FileId(file.file_id)
        return Document(source, file.filename or "", cache=cache)
    raise BadRequest(f"Invalid '{where}': expected 'file_data' or 'file_id'.", param=where)


def _decode_tools(fields: dict[str, Raw], conversation: Conversation) -> None:
    if (raw := _given(fields, "tools")) is not None:
        conversation.tools = list(_tools(raw))
    if (raw := _given(fields, "web_search_options")) is not None:
        options: _SearchOptions = decode_field("web_search_options", raw, _SearchOptions)
        native = Raw(bytes(raw))
        conversation.tools.append(Tool(SEARCH_OPTIONS, native=native, dialect=NAME, search=_search(options)))
    if (raw := _given(fields, "functions")) is not None:
        conversation.tools += [_function_tool(tool, None) for tool in decode_field("functions", raw, list[_Function])]
    for name in ("tool_choice", "function_call"):
        if (raw := _given(fields, name)) is not None:
            conversation.tool_choice = _decode_choice(name, raw, conversation)


def _read_tools(raw: Raw) -> list[Tool]:
    wire: list[_Tool] = decode_field("tools", raw, list[_Tool])
    functions = [_function_tool(tool.function, tool.cache_control) for tool in wire if tool.function is not None]
    if len(functions) == len(wire):
        return functions
    whole: list[Raw] = msgspec.json.decode(raw, type=list[Raw])
    return [_decode_tool(tool, json) for tool, json in zip(wire, whole, strict=True)]


_tools = Remembered(_read_tools, len)


def _decode_tool(tool: _Tool, raw: Raw) -> Tool:
    if tool.function is not None:
        return _function_tool(tool.function, tool.cache_control)
    if tool.custom is not None:
        custom = tool.custom
        grammar = custom.format.grammar if custom.format is not None else None
        made = Tool(custom.name, custom.description or "", native=Raw(bytes(raw)), dialect=NAME)
        made.freeform = Freeform(grammar.syntax, grammar.definition) if grammar is not None else Freeform()
        made.stand_ins = [as_function(made.name, made.description, made.freeform)]
        return made
    if tool.name and tool.input_schema and tool.type in ("function", "custom"):
        cache = _cache_mark(tool.cache_control)
        return Tool(tool.name, tool.description or "", Raw(bytes(tool.input_schema)), cache=cache)
    dialect = "anthropic_messages" if _ANTHROPIC_TOOL_TYPE.fullmatch(tool.type) else NAME
    native = Tool(tool.name or tool.type, native=Raw(bytes(raw)), dialect=dialect)
    if tool.type.startswith("web_search") and dialect == NAME:
        native.search = _search(msgspec.json.decode(raw, type=_SearchOptions))
    return native


def _search(options: _SearchOptions) -> WebSearch:
    location = options.user_location or _Location()
    place = location.approximate or location
    where = (place.city or "", place.region or "", place.country or "", place.timezone or "")
    return WebSearch(None, (), (), options.search_context_size or "", *where)


def _function_tool(function: _Function, cache: _Cache | None) -> Tool:
    parameters = function.parameters if function.parameters and function.parameters != _NULL else None
    mark = _cache_mark(cache or function.cache_control)
    return Tool(function.name, function.description or "", parameters, function.strict, mark)


_CHOICES = {"auto": "auto", "required": "required", "any": "required", "none": "none"}


def _decode_choice(name: str, raw: Raw, conversation: Conversation) -> ToolChoice:
    value = decode_field(name, raw, str | dict[str, Any])
    if isinstance(value, str):
        if value in _CHOICES:
            return ToolChoice(_CHOICES[value])
    else:
        kind = value.get("type")
        named = value.get("function") or value.get("custom") or value
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            return ToolChoice("named", named["name"])
        if kind in _CHOICES:
            return ToolChoice(_CHOICES[kind])
        if kind == "allowed_tools":
            # No other dialect can name several; the whole choice is kept for a provider who knows it.
            conversation.extra[name] = raw
            allowed = value.get(kind)
            mode = allowed.get("mode") if isinstance(allowed, dict) else None
            return ToolChoice(_CHOICES.get(str(mode), "auto"))
    raise BadRequest(f"Invalid {name!r}: expected 'auto', 'required', 'none' or a tool's name.", param=name)


def _decode_reasoning(fields: dict[str, Raw]) -> ReasoningOptions | None:
    effort, summary, budget, adaptive = "", "", None, False
    if (raw := _given(fields, "reasoning_effort")) is not None:
        value = decode_field("reasoning_effort", raw, str | _EffortObject)
        if isinstance(value, str):
            effort = value
        else:
            effort, summary = value.effort or "", value.summary or ""
    if (raw := _given(fields, "thinking")) is not None:
        thinking: _Thinking = decode_field("thinking", raw, _Thinking)
        budget, adaptive = thinking.budget_tokens, thinking.type == "adaptive"
        summary = summary or thinking.display or ""
        if thinking.type == "disabled":
            effort = "none"
    if not (effort or summary or adaptive) and budget is None:
        return None
    return ReasoningOptions(effort, budget, adaptive, summary)


def _decode_format(raw: Raw) -> ResponseFormat:
    wire: _ResponseFormat = decode_field("response_format", raw, _ResponseFormat)
    schema = wire.json_schema
    if wire.type == "json_schema":
        if schema is None:
            where = "response_format.json_schema"
            raise BadRequest(f"Missing required parameter: '{where}'.", param=where)
        body = Raw(bytes(schema.schema)) if schema.schema else None
        return ResponseFormat("json_schema", schema.name, body, schema.strict, schema.description or "")
    if wire.type not in ("text", "json_object"):
        where = "response_format.type"
        raise BadRequest(f"Invalid '{where}': expected 'text', 'json_object' or 'json_schema'.", param=where)
    return ResponseFormat(wire.type)
