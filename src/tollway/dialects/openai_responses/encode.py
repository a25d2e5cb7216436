"""Our words as a request for a response. https://platform.openai.com/docs/api-reference/responses/create (2026-11-22)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

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
    Refusal,
    ResponseFormat,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    WebSearch,
)
from tollway.dialects import EncodedRequest, Traits, holds_cache_marks, leave_out, note, read_sealed, text_alone
from tollway.dialects.openai_responses.decode import LOGPROBS, PLAIN_FIELDS, SEALED_THOUGHT
from tollway.dialects.openai_responses.tools import NAME, OUTPUT_TYPES, ToolBook

#: Less is refused. https://platform.openai.com/docs/api-reference/responses/create (2026-11-22)
OUTPUT_TOKENS_MIN = 16

#: Fields of a chat completion that stand here under the same name and mean the same.
_SHARED_WITH_CHAT = frozenset(
    {"store", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "moderation"}
)
#: Tools that OpenAI runs itself, as clients of chat completions write them too.
_HOSTED_TOOLS = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp", "computer", "local_shell")


#: Fields of others that change nothing of what is said. They are named when they are left out, and never a reason to refuse.
_HINTS = frozenset({"context_management", "inference_geo", "prediction"})
#: https://docs.claude.com/en/api/service-tiers (2026-11-22)
_TIERS_OF_ANTHROPIC = {"auto": "auto", "standard_only": "default"}


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for OpenAI's Responses; what it cannot say is named in `conversation.dropped`, or refused."""
    return _Writer(conversation, traits).request()


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._asked = conversation
        self._traits = traits
        self._sealed = False  # thought that OpenAI sealed is among the input
        self._book = ToolBook(conversation.tools)
        self._kinds: dict[str, str] = {}  # of calls that were no functions, by their ids

    def request(self) -> EncodedRequest:
        asked = self._asked
        fields: dict[str, Any] = {"model": self._traits.model}
        if instructions := self._instructions():
            fields["instructions"] = instructions
        fields["input"] = self._items()
        for name, (ours, _) in PLAIN_FIELDS.items():
            value = getattr(asked, ours)
            if value is not None and value != "" and (value is not False or name == "parallel_tool_calls"):
                fields[name] = value
        if "max_output_tokens" in fields:
            fields["max_output_tokens"] = max(fields["max_output_tokens"], OUTPUT_TOKENS_MIN)
        if asked.dialect == "anthropic_messages" and asked.service_tier:
            fields["service_tier"] = _TIERS_OF_ANTHROPIC.get(asked.service_tier, "auto")
        self._sampling(fields)
        self._tools(fields)
        self._reasoning(fields)
        if asked.response_format is not None:
            fields["text"] = {"format": _format(asked.response_format)}
        self._thoughts_back(fields)
        self._extra(fields)
        self._leave_out_foreign()
        return EncodedRequest(fields)

    # --- items -----------------------------------------------------------------------------------------------------

    def _instructions(self) -> str:
        if self._traits.cache_marks and any(getattr(part, "cache", None) is not None for part in self._asked.system):
            return ""
        texts = [part.text for part in self._asked.system if isinstance(part, Text)]
        return "\n\n".join(texts) if len(texts) == len(self._asked.system) else ""

    def _items(self) -> list[Any]:
        items: list[Any] = []
        if self._asked.system and not self._instructions():
            items += self._message(Message("system", self._asked.system))
        for message in self._asked.messages:
            text = text_alone(message)
            if text is not None:
                items.append({"type": "message", "role": message.role, "content": text})
            else:
                items += self._message(message)
        if holds_cache_marks(self._asked) and self._leaves_cache_marks():
            # A hint; what has no place for it, or a model that knows none, caches by itself.
            note(self._asked, "cache_control")
        return items

    def _message(self, message: Message) -> list[Any]:
        """One of ours is one item, or several where thought, calls and results stand in it."""
        items: list[Any] = []
        content: list[Part] = []
        thought: Reasoning | None = None
        if message.name:
            note(self._asked, "messages[].name")

        def end_content() -> None:
            if content:
                items.append({"type": "message", "role": message.role, "content": self._content(content, message.role)})
                content.clear()

        for part in message.parts:
            if thought is not None and not (isinstance(part, Reasoning) and part.redacted and not part.text):
                note(self._asked, "messages[].reasoning_content")
                thought = None
            if isinstance(part, Reasoning):
                end_content()
                if part.text and not (part.redacted or part.signature or part.id):
                    thought = part  # readable thought alone: it may belong to the sealed one that follows
                elif (item := self._thought(part, thought.text if thought else "")) is not None:
                    items.append(item)
                    thought = None
                else:
                    thought = None
            elif isinstance(part, ToolCall):
                end_content()
                items += self._call(part)
            elif isinstance(part, ToolResult):
                end_content()
                items.append(self._result(part))
            elif isinstance(part, Opaque) and part.dialect == NAME and not _is_content(part.raw):
                end_content()
                items.append(part.raw)
            else:
                content.append(part)
        if thought is not None:
            note(self._asked, "messages[].reasoning_content")
        end_content()
        if not message.parts and message.role != "assistant":
            items.append({"type": "message", "role": message.role, "content": ""})
        return items

    def _thought(self, part: Reasoning, text_before: str) -> dict[str, Any] | None:
        """Only what OpenAI sealed or keeps is given back: it refuses thought that it does not know."""
        maker, sealed_id, blob = read_sealed(part.redacted)
        item_id = sealed_id or part.id
        if not (
            maker == NAME or (self._asked.dialect == NAME and part.id and not part.signature and not part.redacted)
        ):
            note(self._asked, "messages[].reasoning_content")
            return None
        text = part.text or text_before
        item: dict[str, Any] = {"type": "reasoning"}
        if item_id:
            item["id"] = item_id
        item["summary"] = [{"type": "summary_text", "text": text}] if text else []
        if maker == NAME:
            self._sealed = True
            item["encrypted_content"] = blob
        return item

    def _call(self, call: ToolCall) -> list[dict[str, Any]]:
        if call.server_side:
            leave_out(self._asked, self._traits, f"messages[].content[{call.name}]", NAME)
            return []
        if call.signature:
            note(self._asked, "messages[].tool_calls[].extra_content")
        kind = self._book.kind_of(call.name)
        if kind != "function":
            self._kinds[call.id] = kind
        return [self._book.call_item(call.id, call.name, call.arguments)]

    def _result(self, result: ToolResult) -> dict[str, Any]:
        kind = self._kinds.get(result.call_id, "")
        output: Any = self._content(result.parts, "tool") if result.parts else ""
        item: dict[str, Any] = {"type": OUTPUT_TYPES.get(kind, "function_call_output"), "call_id": result.call_id}
        if kind == "apply_patch":
            item["status"] = "failed" if result.failed else "completed"
        elif result.failed:
            note(self._asked, "messages[].content[tool_result].is_error")
        if kind == "local_shell":
            item["id"] = item.pop("call_id")
        if kind in ("shell", "tool_search") and isinstance(output, str):
            return {**item, **_told_in_json(kind, output)}
        return {**item, "output": output}

    # --- what a message says ---------------------------------------------------------------------------------------

    def _content(self, parts: list[Part], role: str) -> Any:
        """A text alone is a string, which every server takes; anything more is a list."""
        if len(parts) == 1 and isinstance(parts[0], Text) and not (parts[0].citations or self._marks(parts[0], role)):
            return parts[0].text
        written = [self._part(part, role) for part in parts]
        return [part for part in written if part is not None]

    def _part(self, part: Part, role: str) -> Any:
        if isinstance(part, Text):
            if role == "assistant":
                return self._said(part)
            text: dict[str, Any] = {"type": "input_text", "text": part.text}
            return text | self._marks(part, role)
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if isinstance(part, Image):
            image: dict[str, Any] = {"type": "input_image", **self._marks(part, role)}
            if isinstance(part.source, FileId):
                image["file_id"] = part.source.id
            else:
                image["image_url"] = _url(part.source)
            if part.detail:
                image["detail"] = part.detail
            return image
        if isinstance(part, Document):
            return self._document(part) | self._marks(part, role)
        if isinstance(part, Audio) and isinstance(part.source, Inline):
            sound = part.format or part.source.media_type.rpartition("/")[2]
            return {"type": "input_audio", "input_audio": {"data": part.source.data, "format": sound}}
        if isinstance(part, Opaque) and part.dialect == NAME:
            return part.raw
        leave_out(self._asked, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)
        return None

    def _said(self, part: Text) -> dict[str, Any]:
        said: dict[str, Any] = {"type": "output_text", "text": part.text}
        cited = [annotation_of(one) for one in part.citations]
        if None in cited:
            note(self._asked, "messages[].content[].citations")
        if annotations := [one for one in cited if one is not None]:
            said["annotations"] = annotations
        return said

    def _marks(self, part: Text | Image | Document, role: str) -> dict[str, Any]:
        """https://platform.openai.com/docs/guides/prompt-caching (2026-11-22)"""
        if part.cache is None or role == "assistant" or not self._traits.cache_marks:
            return {}
        ttl = {"ttl": "12h"} if part.cache.ttl == "1h" else {}
        return {"prompt_cache_breakpoint": {"mode": "explicit", **ttl}}

    def _document(self, part: Document) -> dict[str, Any]:
        for name in ("context", "citations"):
            if getattr(part, name):
                note(self._asked, f"messages[].content[document].{name}")
        if part.text is not None:
            title = f"{part.title}\n\n" if part.title else ""
            return {"type": "input_text", "text": title + part.text}
        if isinstance(part.source, FileId):
            return {"type": "input_file", "file_id": part.source.id}
        if isinstance(part.source, Link):
            return {"type": "input_file", "file_url": part.source.url}
        name = part.title or "document." + part.source.media_type.rpartition("/")[2]
        return {"type": "input_file", "filename": name, "file_data": _url(part.source)}

    def _leaves_cache_marks(self) -> bool:
        """Whether there are marks that were not written: on what has no place for one; all, where the model knows none."""
        marked: list[CacheMark | None] = [tool.cache for tool in self._asked.tools]
        placed = self._traits.cache_marks
        for role, parts in (
            ("system", self._asked.system),
            *((said.role, said.parts) for said in self._asked.messages),
        ):
            for part in parts:
                inner = part.parts if isinstance(part, ToolResult) else []
                if not (placed and role != "assistant" and isinstance(part, (Text, Image, Document))):
                    marked.append(getattr(part, "cache", None))
                if not placed:
                    marked += [getattr(one, "cache", None) for one in inner]
        return any(mark is not None for mark in marked)

    # --- tools -----------------------------------------------------------------------------------------------------

    def _tools(self, fields: dict[str, Any]) -> None:
        asked = self._asked
        tools: list[Any] = []
        for tool in asked.tools:
            if tool.native is None:
                tools.append(self._function(tool))
            elif tool.dialect == NAME or (tool.dialect == "openai_chat" and _is_hosted(tool.native)):
                tools.append(tool.native)
            elif tool.search is not None and self._traits.web_search:
                tools.append(self._search(tool, tool.search))
            elif tool.freeform is not None:
                tools.append(_custom(tool))
            elif tool.stand_ins:
                tools += [self._function(stand_in) for stand_in in tool.stand_ins]
            else:
                leave_out(asked, self._traits, f"tools[{tool.name}]", NAME)
        if not tools:
            fields.pop("parallel_tool_calls", None)
            return
        fields["tools"] = tools
        if asked.tool_choice is not None:
            kind = "custom" if self._book.kind_of(asked.tool_choice.name) == "custom" else "function"
            named = {"type": kind, "name": asked.tool_choice.name}
            fields["tool_choice"] = named if asked.tool_choice.kind == "named" else asked.tool_choice.kind

    def _function(self, tool: Tool) -> dict[str, Any]:
        """Here a function is strict unless it says otherwise; everywhere else it is the other way round.

        https://platform.openai.com/docs/guides/migrate-to-responses (2026-11-22)
        """
        parameters: Any = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
        function: dict[str, Any] = {"type": "function", "name": tool.name, "parameters": parameters}
        if tool.description:
            function["description"] = tool.description
        function["strict"] = bool(tool.strict)
        if tool.dialect == NAME:
            function.update(tool.more)
        else:
            for name in tool.more:
                note(self._asked, f"tools[].{name}")
        return function

    def _search(self, tool: Tool, search: WebSearch) -> dict[str, Any]:
        """https://platform.openai.com/docs/guides/tools-web-search (2026-11-22)"""
        fields: dict[str, Any] = {"type": "web_search"}
        if search.allowed_domains:
            fields["filters"] = {"allowed_domains": search.allowed_domains}
        place = {"city": search.city, "region": search.region, "country": search.country, "timezone": search.timezone}
        if any(place.values()):
            fields["user_location"] = {"type": "approximate", **{name: at for name, at in place.items() if at}}
        if search.context_size:
            fields["search_context_size"] = search.context_size
        lost = {"max_uses": search.uses_max is not None, "blocked_domains": bool(search.blocked_domains)}
        for name in (*tool.more, *(name for name, given in lost.items() if given)):
            note(self._asked, f"tools[{tool.name}].{name}")
        return fields

    # --- how to think and to sample --------------------------------------------------------------------------------

    def _reasoning(self, fields: dict[str, Any]) -> None:
        options = self._asked.reasoning
        if options is None:
            return
        if not self._traits.reasoning:
            if options.effort != "none":
                leave_out(self._asked, self._traits, "reasoning", NAME)
            return
        effort = options.effort
        if not effort and options.budget_tokens is not None:
            effort = next((word for most, word in EFFORT_BY_BUDGET if options.budget_tokens <= most), "high")
        words: dict[str, str] = {}
        if effort:
            words["effort"] = effort
        if options.summary and options.summary != "omitted":
            words["summary"] = "auto" if options.summary == "summarized" else options.summary
        if words:
            fields["reasoning"] = words

    def _thoughts_back(self, fields: dict[str, Any]) -> None:
        """Nothing is to be stored unless the caller said so; then the thought must come sealed, or it is lost.

        Models that do not think refuse to be asked for it, so it is asked where thinking was.
        https://github.com/NousResearch/hermes-agent/pull/24234 (2026-11-22)
        """
        fields["store"] = False
        effort = fields["reasoning"].get("effort", "") if "reasoning" in fields else "none"
        if effort != "none" or self._sealed:
            fields["include"] = [SEALED_THOUGHT]
        if self._asked.logprobs:
            fields["include"] = [*fields.get("include", ()), LOGPROBS]

    def _sampling(self, fields: dict[str, Any]) -> None:
        if self._traits.sampling:
            return
        for name in ("temperature", "top_p"):
            if fields.pop(name, 1) != 1:
                leave_out(self._asked, self._traits, name, NAME)

    # --- what else was asked ---------------------------------------------------------------------------------------

    def _extra(self, fields: dict[str, Any]) -> None:
        """Fields without a concept of ours. One inside `text` or `reasoning` is called by its path."""
        own = self._asked.dialect in (NAME, "")
        for name, raw in self._asked.extra.items():
            path = name
            if not own:
                if name == "verbosity" and self._asked.dialect == "openai_chat":
                    path = "text.verbosity"
                elif name in _HINTS or name.startswith("output_config."):
                    note(self._asked, name)
                    continue
                elif name not in _SHARED_WITH_CHAT or self._asked.dialect != "openai_chat":
                    leave_out(self._asked, self._traits, name, NAME)
                    continue
            outer, _, inner = path.partition(".")
            if path == "include":
                fields[path] = [*fields.get(path, ()), *msgspec.json.decode(raw, type=list[str])]
            elif inner:
                fields.setdefault(outer, {})[inner] = raw
            else:
                fields[path] = raw

    def _leave_out_foreign(self) -> None:
        asked = self._asked
        unsaid = {
            "n": asked.n > 1,
            "stop": bool(asked.stop),
            "seed": asked.seed is not None,
            "top_k": asked.top_k is not None,
            "presence_penalty": bool(asked.presence_penalty),
            "frequency_penalty": bool(asked.frequency_penalty),
            "logit_bias": asked.logit_bias is not None,
        }
        for name, given in unsaid.items():
            if given:
                leave_out(asked, self._traits, name, NAME)


#: The effort that a budget of so many thinking tokens stands for, from the least up; above, "high".
EFFORT_BY_BUDGET = ((1024, "low"), (8192, "medium"))


class _Typed(msgspec.Struct):
    type: str = ""


def _is_content(raw: Raw) -> bool:
    """A part of a message, kept whole; else an item."""
    return msgspec.json.decode(raw, type=_Typed).type.startswith("input_")


def _is_hosted(raw: Raw) -> bool:
    return msgspec.json.decode(raw, type=_Typed).type.startswith(_HOSTED_TOOLS)


def _custom(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "custom", "name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.freeform is not None and tool.freeform.definition:
        grammar = {"syntax": tool.freeform.syntax, "definition": tool.freeform.definition}
        written["format"] = {"type": "grammar", **grammar}
    return written


def _told_in_json(kind: str, output: str) -> dict[str, Any]:
    """What a shell printed, or which tools were found: lists that travelled as text."""
    try:
        listed: Any = msgspec.json.decode(output, type=list[Raw])
    except (msgspec.DecodeError, UnicodeEncodeError):
        listed = None
    if kind == "tool_search":
        return {"execution": "client", "status": "completed", "tools": listed or []}
    if listed is None:
        listed = [{"stdout": output, "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    return {"output": listed}


def annotation_of(cited: Citation, before: int = 0) -> Any:
    """A citation as an annotation of a text that begins after `before` characters of its message. None for one that only
    its own dialect can tell.
    """
    if cited.dialect == NAME and cited.raw is not None:
        return cited.raw
    if not cited.url:
        return None
    start = max(cited.start - before, 0)
    return {
        "type": "url_citation",
        "start_index": start,
        "end_index": max(cited.end - before, start),
        "title": cited.title,
        "url": cited.url,
    }


def _url(source: Source) -> str:
    if isinstance(source, Inline):
        return f"data:{source.media_type};base64,{source.data}"
    return source.url if isinstance(source, Link) else source.id


def _format(form: ResponseFormat) -> dict[str, Any]:
    if form.kind != "json_schema":
        return {"type": form.kind}
    fields: dict[str, Any] = {"type": "json_schema", "name": form.name or "reply"}
    if form.description:
        fields["description"] = form.description
    fields["schema"] = form.schema if form.schema is not None else {"type": "object"}
    if form.strict is not None:
        fields["strict"] = form.strict
    return fields
