"""Our words as a chat completion request. https://platform.openai.com/docs/api-reference/chat/create (2026-11-22)."""

from __future__ import annotations

from typing import Any

import msgspec

from tollway.conversation import (
    Audio,
    CacheMark,
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
    Refusal,
    ResponseFormat,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Video,
    WebSearch,
)
from tollway.dialects import EncodedRequest, Traits, holds_cache_marks, leave_out, note, read_sealed, text_alone
from tollway.dialects.openai_chat.decode import NAME, PLAIN_FIELDS, SEARCH_OPTIONS

#: What models that do not sample refuse, but for the values that change nothing.
#: https://platform.openai.com/docs/guides/reasoning (2026-11-22)
_SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
)
_SAMPLING_DEFAULTS = {"temperature": 1, "top_p": 1}

#: Elsewhere false is what a server takes for granted.
_SAID_WHEN_FALSE = ("logprobs", "parallel_tool_calls")


#: Fields of a response that stand here too and mean the same, at OpenAI: the path there, and the name here.
_SHARED_WITH_RESPONSES = {
    "moderation": "moderation",
    "prompt_cache_key": "prompt_cache_key",
    "prompt_cache_options": "prompt_cache_options",
    "prompt_cache_retention": "prompt_cache_retention",
    "safety_identifier": "safety_identifier",
    "store": "store",
    "text.verbosity": "verbosity",
}
#: Fields of others that change nothing of what is said. They are named when they are left out, and never a reason to refuse.
_HINTS = frozenset(
    {"client_metadata", "context_management", "include", "stream_options", "truncation", "inference_geo"}
)
#: https://docs.claude.com/en/api/service-tiers (2026-11-22)
_TIERS_OF_ANTHROPIC = {"auto": "auto", "standard_only": "default"}


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for an OpenAI-compatible server; what it cannot say is named in `conversation.dropped`."""
    fields: dict[str, Any] = {"model": traits.model}
    writer = _MessageWriter(conversation, traits)
    fields["messages"] = writer.messages()
    if not traits.cache_marks and holds_cache_marks(conversation):
        conversation.dropped.append("cache_control")  # a hint, so never a reason to refuse
    for name, (ours, _) in PLAIN_FIELDS.items():
        value = getattr(conversation, ours)
        if value is not None and value != "" and (value is not False or name in _SAID_WHEN_FALSE):
            fields[name] = value
    for name in {"max_tokens", "max_completion_tokens"} - {traits.output_limit_name}:
        fields.pop(name, None)
    if conversation.n == 1:
        fields.pop("n", None)
    if not traits.sampling:
        for name in _SAMPLING_FIELDS:
            value = fields.pop(name, None)
            if value is not None and value != _SAMPLING_DEFAULTS.get(name, 0):
                leave_out(conversation, traits, name, NAME)
    if conversation.streaming:
        fields["stream_options"] = {"include_usage": True}  # asked for always: the call's cost hangs on it
    if conversation.stop:
        fields["stop"] = conversation.stop
    _encode_tools(conversation, traits, fields)
    _encode_reasoning(conversation, traits, fields)
    if conversation.response_format is not None:
        fields["response_format"] = _encode_format(conversation.response_format)
    if conversation.top_logprobs and conversation.dialect == "openai_responses":
        fields["logprobs"] = True  # there the number alone asks for them
    if conversation.dialect == "anthropic_messages" and conversation.service_tier:
        fields["service_tier"] = _TIERS_OF_ANTHROPIC.get(conversation.service_tier, "auto")
    _encode_extra(conversation, traits, fields)
    return EncodedRequest(fields)


def _encode_extra(conversation: Conversation, traits: Traits, fields: dict[str, Any]) -> None:
    """Fields without a concept of ours."""
    for name, raw in conversation.extra.items():
        shared = conversation.dialect == "openai_responses" and name in _SHARED_WITH_RESPONSES
        if conversation.dialect in (NAME, ""):
            fields[name] = raw
        elif shared and traits.openai_fields:
            fields[_SHARED_WITH_RESPONSES[name]] = raw
        elif shared or name in _HINTS or name.startswith("output_config."):
            note(conversation, name)
        else:
            leave_out(conversation, traits, name, NAME)


class _MessageWriter:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._freeform = {tool.name for tool in conversation.tools if _is_freeform(tool, traits)}

    def messages(self) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        if self._conversation.system:
            written.append({"role": "system", "content": self._content(self._conversation.system)})
        for message in self._conversation.messages:
            text = text_alone(message)
            if text is not None:
                written.append({"role": message.role, "content": text})
            elif message.role == "assistant":
                written.append(self._assistant(message))
            elif len(message.parts) == 1 and (result := _text_result(message.parts[0])) is not None:
                written.append(result)
            else:
                written += self._others(message)
        return written

    def _others(self, message: Message) -> list[dict[str, Any]]:
        """A user's, system's or tool's message. Each tool result is a message of its own; its pictures follow as a
        user's.
        """
        written: list[dict[str, Any]] = []
        pictures: list[Part] = []
        plain: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                written.append(self._tool_result(part, pictures))
            else:
                plain.append(part)
        if pictures:
            written.append({"role": "user", "content": self._content(pictures)})
        if plain or not message.parts:
            said: dict[str, Any] = {"role": message.role, "content": self._content(plain)}
            if message.name:
                said["name"] = message.name
            written.append(said)
        return written

    def _tool_result(self, result: ToolResult, pictures: list[Part]) -> dict[str, Any]:
        if result.failed:
            note(self._conversation, "messages[].content[tool_result].is_error")
        texts: list[Part] = [part for part in result.parts if isinstance(part, Text)]
        pictures += [part for part in result.parts if not isinstance(part, Text)]
        content: Any = self._content(texts)
        if not texts and result.parts:
            content = "The result is in the next message."
        written = {"role": "tool", "tool_call_id": result.call_id, "content": content}
        if result.cache is not None and self._traits.cache_marks:
            written["cache_control"] = _encode_cache(result.cache)
        return written

    def _assistant(self, message: Message) -> dict[str, Any]:
        written: dict[str, Any] = {"role": "assistant"}
        content: list[Part] = []
        calls: list[dict[str, Any]] = []
        blocks: list[dict[str, Any]] = []
        thoughts: list[str] = []
        for part in message.parts:
            if type(part) is Text:
                content.append(part)
            elif isinstance(part, ToolCall):
                if part.server_side:  # nobody answers it, and a call without an answer is refused
                    leave_out(self._conversation, self._traits, f"messages[].content[{part.name}]", NAME)
                else:
                    calls.append(self._tool_call(part))
            elif isinstance(part, Reasoning):
                self._thought(part, blocks, thoughts)
            elif isinstance(part, Audio) and isinstance(part.source, FileId):
                written["audio"] = {"id": part.source.id}
            elif isinstance(part, Refusal):
                written["refusal"] = part.text
            else:
                content.append(part)
        written["content"] = self._content(content) if content else None
        if thoughts:
            written["reasoning_content"] = "".join(thoughts)
        if blocks:
            written["thinking_blocks"] = blocks
        if calls:
            written["tool_calls"] = calls
        if message.name:
            written["name"] = message.name
        return written

    def _thought(self, part: Reasoning, blocks: list[dict[str, Any]], thoughts: list[str]) -> None:
        """What a maker signed or sealed goes only where `thinking_blocks` are known, and those are Anthropic's."""
        if not part.redacted:
            thoughts.append(part.text)
        sealed = bool(part.redacted or part.signature)
        own = not read_sealed(part.redacted)[0] and part.maker in ("", "anthropic_messages")
        if sealed and not (own and self._traits.thinking_field):
            note(self._conversation, "messages[].thinking_blocks")
        elif part.redacted:
            blocks.append({"type": "redacted_thinking", "data": part.redacted})
        elif part.signature or blocks:
            blocks.append({"type": "thinking", "thinking": part.text, "signature": part.signature})

    def _tool_call(self, call: ToolCall) -> dict[str, Any]:
        written: dict[str, Any]
        if call.name in self._freeform:
            written = {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": text_of(call.arguments)}}
        else:
            function = {"name": call.name, "arguments": call.arguments}
            written = {"id": call.id, "type": "function", "function": function}
        if call.signature:
            written["extra_content"] = {"google": {"thought_signature": call.signature}}
        if call.cache is not None and self._traits.cache_marks:
            written["cache_control"] = _encode_cache(call.cache)
        return written

    def _content(self, parts: list[Part]) -> Any:
        """A text alone is a string, which every server takes; anything more is a list."""
        if not parts:
            return ""
        if len(parts) == 1 and isinstance(parts[0], Text) and not (parts[0].cache and self._traits.cache_marks):
            if parts[0].citations:
                note(self._conversation, "messages[].content[].citations")
            return parts[0].text
        written = [self._part(part) for part in parts]
        return [part for part in written if part is not None]

    def _part(self, part: Part) -> Any:
        written: Any
        if isinstance(part, Text):
            written = {"type": "text", "text": part.text}
            if part.citations:
                note(self._conversation, "messages[].content[].citations")
        elif isinstance(part, Image):
            image = {"url": _url(part.source)}
            if part.detail:
                image["detail"] = part.detail
            written = {"type": "image_url", "image_url": image}
        elif isinstance(part, Audio) and isinstance(part.source, Inline):
            sound = part.format or part.source.media_type.rpartition("/")[2]
            written = {"type": "input_audio", "input_audio": {"data": part.source.data, "format": sound}}
        elif isinstance(part, Document):
            written = self._document(part)
        elif isinstance(part, Video):
            written = {"type": "video_url", "video_url": {"url": _url(part.source)}}
        elif isinstance(part, Refusal):
            written = {"type": "refusal", "refusal": part.text}
        elif isinstance(part, Opaque) and part.dialect == NAME:
            return part.raw
        else:
            leave_out(self._conversation, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)
            return None
        if isinstance(part, (Text, Image, Document)) and part.cache is not None and self._traits.cache_marks:
            written["cache_control"] = _encode_cache(part.cache)
        return written

    def _document(self, part: Document) -> dict[str, Any]:
        for name in ("context", "citations"):
            if getattr(part, name):
                note(self._conversation, f"messages[].content[document].{name}")
        if part.text is not None:
            title = f"{part.title}\n\n" if part.title else ""
            return {"type": "text", "text": title + part.text}
        file: dict[str, Any] = {}
        if isinstance(part.source, FileId):
            file["file_id"] = part.source.id
        else:
            file["file_data"] = _url(part.source)
        if part.title:
            file["filename"] = part.title
        return {"type": "file", "file": file}


def _text_result(part: Part) -> dict[str, Any] | None:
    """What most results of tools are: one text that is marked and cited nowhere."""
    if type(part) is ToolResult and len(part.parts) == 1 and part.cache is None and not part.failed:
        text = part.parts[0]
        if type(text) is Text and text.cache is None and not text.citations:
            return {"role": "tool", "tool_call_id": part.call_id, "content": text.text}
    return None


def _url(source: Source) -> str:
    if isinstance(source, Inline):
        return f"data:{source.media_type};base64,{source.data}"
    return source.url if isinstance(source, Link) else source.id


def _encode_cache(cache: CacheMark) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}


def _encode_tools(conversation: Conversation, traits: Traits, fields: dict[str, Any]) -> None:
    tools: list[Any] = []
    for tool in conversation.tools:
        if tool.native is None:
            tools.append(_function(tool, conversation, traits))
        elif tool.dialect == NAME and tool.name == SEARCH_OPTIONS:
            fields[SEARCH_OPTIONS] = tool.native
        elif tool.dialect == NAME:
            tools.append(tool.native)
        elif tool.search is not None and traits.web_search:
            fields[SEARCH_OPTIONS] = _search(tool, tool.search, conversation)
        elif _is_freeform(tool, traits):
            tools.append(_custom(tool))
        elif tool.stand_ins:
            tools += [_function(stand_in, conversation, traits) for stand_in in tool.stand_ins]
        else:
            leave_out(conversation, traits, f"tools[{tool.name}]", NAME)
    if not tools:
        fields.pop("parallel_tool_calls", None)  # refused without tools
        return
    fields["tools"] = tools
    choice = conversation.tool_choice
    if choice is not None:
        freeform = any(tool.name == choice.name and _is_freeform(tool, traits) for tool in conversation.tools)
        kind = "custom" if freeform else "function"
        named = {"type": kind, kind: {"name": choice.name}}
        fields["tool_choice"] = named if choice.kind == "named" else choice.kind


def _function(tool: Tool, conversation: Conversation, traits: Traits) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    for name in tool.more:
        note(conversation, f"tools[].{name}")
    written = {"type": "function", "function": function}
    if tool.cache is not None and traits.cache_marks:
        written["cache_control"] = _encode_cache(tool.cache)
    return written


def _is_freeform(tool: Tool, traits: Traits) -> bool:
    """A tool that is written as one that takes plain text: compatible servers know functions only."""
    return tool.freeform is not None and (tool.dialect == NAME or traits.openai_fields)


def _custom(tool: Tool) -> dict[str, Any]:
    custom: dict[str, Any] = {"name": tool.name}
    if tool.description:
        custom["description"] = tool.description
    if tool.freeform is not None and tool.freeform.definition:
        grammar = {"syntax": tool.freeform.syntax, "definition": tool.freeform.definition}
        custom["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": custom}


def text_of(arguments: str) -> str:
    """What a tool that takes plain text is called with, out of the function's arguments that stood in for it."""
    try:
        fields = msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return arguments
    text = fields.get("input")
    return text if isinstance(text, str) and len(fields) == 1 else arguments


def _search(tool: Tool, search: WebSearch, conversation: Conversation) -> dict[str, Any]:
    """https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat (2026-11-22)"""
    options: dict[str, Any] = {}
    if search.context_size:
        options["search_context_size"] = search.context_size
    place = {"city": search.city, "region": search.region, "country": search.country, "timezone": search.timezone}
    if any(place.values()):
        approximate = {name: at for name, at in place.items() if at}
        options["user_location"] = {"type": "approximate", "approximate": approximate}
    lost = {
        "max_uses": search.uses_max is not None,
        "allowed_domains": bool(search.allowed_domains),
        "blocked_domains": bool(search.blocked_domains),
    }
    for name in (*tool.more, *(name for name, given in lost.items() if given)):
        note(conversation, f"tools[{tool.name}].{name}")
    return options


#: The effort that a budget of so many thinking tokens stands for, from the least up.
_EFFORT_BY_BUDGET = ((1024, "low"), (8192, "medium"))


def _encode_reasoning(conversation: Conversation, traits: Traits, fields: dict[str, Any]) -> None:
    options = conversation.reasoning
    if options is None:
        return
    if not traits.reasoning:
        if options.effort != "none":
            leave_out(conversation, traits, "reasoning_effort", NAME)
        return
    effort = options.effort
    if traits.thinking_field:
        thinking: dict[str, Any] = {}
        if options.budget_tokens is not None:
            thinking = {"type": "enabled", "budget_tokens": options.budget_tokens}
        elif options.adaptive:
            thinking = {"type": "adaptive"}
        if thinking:
            if options.summary:
                thinking["display"] = options.summary
            fields["thinking"] = thinking
    elif not effort and options.budget_tokens is not None:
        effort = next((word for most, word in _EFFORT_BY_BUDGET if options.budget_tokens <= most), "high")
    if effort:
        fields["reasoning_effort"] = effort


def _encode_format(form: ResponseFormat) -> dict[str, Any]:
    if form.kind != "json_schema":
        return {"type": form.kind}
    schema: dict[str, Any] = {"name": form.name or "reply"}
    if form.description:
        schema["description"] = form.description
    if form.schema is not None:
        schema["schema"] = form.schema
    if form.strict is not None:
        schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": schema}
