"""Our words as a request to Anthropic. https://docs.claude.com/en/api/messages (2026-11-22)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec
from msgspec import Raw

from tollway.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Inline,
    Link,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    WebSearch,
)
from tollway.dialects import (
    JSON_TOOL_NAME,
    EncodedRequest,
    Traits,
    leave_out,
    note,
    object_schema,
    read_sealed,
    strict_schema,
    text_alone,
)

NAME = "anthropic_messages"

#: Fields of Anthropic's own that a client of chat completions may send along; they go on as they came.
PASSED_FIELDS = frozenset({"mcp_servers", "container", "context_management", "inference_geo", "output_config"})

#: Fields of others that change nothing of what is said: hints, and words for the provider's own files. They are named when
#: they are left out, and never a reason to refuse.
_HINTS = frozenset(
    {
        "client_metadata",
        "include",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "stream_options",
        "text.verbosity",
        "truncation",
        "verbosity",
    }
)
#: https://platform.openai.com/docs/api-reference/responses/create, https://docs.claude.com/en/api/service-tiers (2026-11-22)
_TIERS = {"auto": "auto", "default": "standard_only"}

_BETAS_BY_TOOL = {
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "code_execution_20250522": "code-execution-2025-05-22",
    "code_execution_20250825": "code-execution-2025-08-25",
    "web_fetch_20250910": "web-fetch-2025-09-10",
    "memory_20250818": "context-management-2025-06-27",
}
_FILES_BETA = "files-api-2025-04-14"
_MCP_BETA = "mcp-client-2025-04-04"

#: Anthropic wants a user's message first; this one stands in where there is none.
_FIRST_WORDS = "(The conversation continues.)"


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for Anthropic; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    return _Writer(conversation, traits).request()


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._betas: list[str] = []

    def request(self) -> EncodedRequest:
        asked = self._conversation
        fields: dict[str, Any] = {"model": self._traits.model}
        system = list(asked.system)
        if asked.dialect != NAME:
            for message in asked.messages:
                if message.role == "system":  # one that came later: not every model takes it among the messages
                    system += message.parts
        if blocks := self._blocks(system, "system"):
            fields["system"] = blocks
        fields["messages"] = self._messages()
        fields["max_tokens"] = asked.output_tokens_max or self._traits.output_tokens_max
        if asked.streaming:
            fields["stream"] = True
        if stops := [stop for stop in asked.stop if stop.strip()]:
            fields["stop_sequences"] = stops
        if user := self._user():
            fields["metadata"] = {"user_id": user}
        tools = self._tools()
        if tools:
            fields["tools"] = tools
            if (choice := self._tool_choice()) is not None:
                fields["tool_choice"] = choice
        json_tool = self._response_format(fields)
        thinking = self._thinking(fields)
        self._sampling(fields, thinking)
        self._leave_out_foreign(fields)
        return EncodedRequest(fields, tuple(dict.fromkeys(self._betas)), json_tool)

    def _user(self) -> str:
        user = self._conversation.user
        if not user and (raw := self._conversation.extra.get("safety_identifier")) is not None:
            try:
                user = msgspec.json.decode(raw, type=str)
            except msgspec.DecodeError:
                user = ""
        if _looks_private(user):
            note(self._conversation, "user")
            return ""
        return user

    # --- messages --------------------------------------------------------------------------------------------------

    def _messages(self) -> list[dict[str, Any]]:
        """Users' and assistants' messages in turns: what stands together is merged, tool results first in their
        message.
        """
        merged: list[dict[str, Any]] = []
        last_role = ""
        own = self._conversation.dialect == NAME
        for message in self._conversation.messages:
            role = message.role
            if role == "system" and not own:
                continue
            if role == "tool":
                role = "user"
            text = text_alone(message)
            if text is not None:
                if not text.strip():
                    continue
                blocks = [{"type": "text", "text": text}]
            else:
                if message.name:
                    note(self._conversation, "messages[].name")
                blocks = self._blocks(message.parts, message.role)
                if not blocks:
                    continue
            if role == last_role:
                merged[-1]["content"] += blocks
            else:
                merged.append({"role": role, "content": blocks})
                last_role = role
        if not merged or merged[0]["role"] != "user":
            merged.insert(0, {"role": "user", "content": [{"type": "text", "text": _FIRST_WORDS}]})
        for turn in merged:
            if len(turn["content"]) > 1 and turn["role"] == "user":
                turn["content"].sort(key=_after_results)
        last = merged[-1]["content"][-1]
        if merged[-1]["role"] == "assistant" and isinstance(last, dict) and last.get("type") == "text":
            last["text"] = last["text"].rstrip()  # refused otherwise where the model is to go on from it
        return merged

    def _blocks(self, parts: list[Part], role: str) -> list[Any]:
        blocks = [self._block(part, role) for part in parts]
        return [block for block in blocks if block is not None]

    def _block(self, part: Part, role: str) -> Any:
        """One block, or None for what is left out. Empty texts are refused by the API, so they are not sent."""
        block: dict[str, Any] | None = None
        if isinstance(part, (Text, Refusal)):
            block = {"type": "text", "text": part.text} if part.text.strip() else None
            if block is not None and isinstance(part, Text) and part.citations:
                self._cite(part, block)
        elif isinstance(part, ToolCall):
            block = _tool_use(part)
            if part.signature:
                note(self._conversation, "messages[].tool_calls[].extra_content")
        elif isinstance(part, ToolResult):
            block = self._tool_result(part)
        elif isinstance(part, Reasoning):
            return self._thought(part)
        elif isinstance(part, Image) and role != "system":
            block = {"type": "image", "source": self._source(part.source, "image/png")}
            if part.detail not in ("", "auto"):
                note(self._conversation, "messages[].content[image].detail")
        elif isinstance(part, Document) and role != "system":
            block = self._document(part)
        elif isinstance(part, Opaque) and part.dialect == NAME:
            return part.raw
        else:
            leave_out(self._conversation, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)
        cache = getattr(part, "cache", None)
        if block is not None and cache is not None:
            block["cache_control"] = _encode_cache(cache)
        return block

    def _tool_result(self, result: ToolResult) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": clean_id(result.call_id)}
        first = result.parts[0] if result.parts else None
        if len(result.parts) == 1 and isinstance(first, Text) and first.cache is None:
            block["content"] = first.text
        else:
            inner = self._blocks(result.parts, "tool")
            marks = [item.pop("cache_control", None) for item in inner if isinstance(item, dict)]
            if result.cache is None and any(marks):
                # A mark on the result itself covers what a mark on the text inside it would.
                block["cache_control"] = next(mark for mark in reversed(marks) if mark)
            block["content"] = inner
        if result.failed:
            block["is_error"] = True
        return block

    def _cite(self, part: Text, block: dict[str, Any]) -> None:
        """Only its own citations are given back: each points into something that Anthropic knows by a number."""
        own = [cited.raw for cited in part.citations if cited.dialect == NAME and cited.raw is not None]
        if own:
            block["citations"] = own
        if len(own) < len(part.citations):
            note(self._conversation, "messages[].content[].annotations")

    def _thought(self, part: Reasoning) -> dict[str, Any] | None:
        """Only what Anthropic signed or sealed is given back: it refuses thought that it cannot trust."""
        if part.redacted:
            if not read_sealed(part.redacted)[0]:
                return {"type": "redacted_thinking", "data": part.redacted}
        elif part.signature and part.maker in ("", NAME):
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        note(self._conversation, "messages[].reasoning_content")
        return None

    def _document(self, part: Document) -> dict[str, Any]:
        source: dict[str, Any]
        if part.text is not None:
            source = {"type": "text", "media_type": "text/plain", "data": part.text}
        elif isinstance(part.source, Inline) and part.source.media_type.startswith("image/"):
            return {"type": "image", "source": self._source(part.source, "image/png")}
        elif isinstance(part.source, Inline) and (text := _inline_text(part.source)) is not None:
            source = {"type": "text", "media_type": "text/plain", "data": text}
        else:
            source = self._source(part.source, "application/pdf")
        block: dict[str, Any] = {"type": "document", "source": source}
        if part.title:
            block["title"] = part.title
        if part.context:
            block["context"] = part.context
        if part.citations:
            block["citations"] = {"enabled": True}
        return block

    def _source(self, source: Source, media_type: str) -> dict[str, Any]:
        if isinstance(source, Inline):
            return {"type": "base64", "media_type": source.media_type or media_type, "data": source.data}
        if isinstance(source, Link):
            return {"type": "url", "url": source.url}
        self._betas.append(_FILES_BETA)
        return {"type": "file", "file_id": source.id}

    # --- tools -----------------------------------------------------------------------------------------------------

    def _tools(self) -> list[Any]:
        tools: list[Any] = []
        for tool in self._conversation.tools:
            if tool.native is None:
                tools.append(self._tool_fields(tool))
            elif tool.dialect == NAME:
                kind = msgspec.json.decode(tool.native, type=dict[str, Any]).get("type")
                if beta := _BETAS_BY_TOOL.get(str(kind)):
                    self._betas.append(beta)
                tools.append(tool.native)
            elif tool.search is not None and self._traits.web_search:
                tools.append(self._search_fields(tool, tool.search))
            elif tool.stand_ins:
                tools += [self._tool_fields(stand_in) for stand_in in tool.stand_ins]
            else:
                leave_out(self._conversation, self._traits, f"tools[{tool.name}]", NAME)
        return tools

    def _tool_fields(self, tool: Tool) -> dict[str, Any]:
        fields: dict[str, Any] = {"name": tool.name}
        if tool.description:
            fields["description"] = tool.description
        fields["input_schema"] = object_schema(tool.parameters)
        if tool.strict and (self._traits.native_json_schema or self._conversation.dialect == NAME):
            fields["strict"] = True
            if self._conversation.dialect != NAME:
                fields["input_schema"] = strict_schema(msgspec.json.decode(msgspec.json.encode(fields["input_schema"])))
        elif tool.strict:
            note(self._conversation, "tools[].strict")
        if tool.cache is not None:
            fields["cache_control"] = _encode_cache(tool.cache)
        if tool.dialect == NAME:
            fields.update(tool.more)
        else:
            for name in tool.more:
                note(self._conversation, f"tools[].{name}")
        return fields

    def _search_fields(self, tool: Tool, search: WebSearch) -> dict[str, Any]:
        """https://docs.claude.com/en/docs/agents-and-tools/tool-use/web-search-tool (2026-11-22)"""
        fields: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
        if search.uses_max is not None:
            fields["max_uses"] = search.uses_max
        if search.allowed_domains:
            fields["allowed_domains"] = search.allowed_domains
        if search.blocked_domains:
            fields["blocked_domains"] = search.blocked_domains
        place = {"city": search.city, "region": search.region, "country": search.country, "timezone": search.timezone}
        if any(place.values()):
            fields["user_location"] = {"type": "approximate", **{name: at for name, at in place.items() if at}}
        for name in (*tool.more, *(("search_context_size",) if search.context_size else ())):
            note(self._conversation, f"tools[{tool.name}].{name}")
        return fields

    def _tool_choice(self) -> dict[str, Any] | None:
        choice = self._conversation.tool_choice
        fields: dict[str, Any] | None = None
        if choice is not None:
            fields = {"type": {"auto": "auto", "required": "any", "none": "none", "named": "tool"}[choice.kind]}
            if choice.kind == "named":
                fields["name"] = choice.name
        if self._conversation.parallel_tool_calls is False and (fields is None or fields["type"] != "none"):
            fields = fields or {"type": "auto"}
            fields["disable_parallel_tool_use"] = True
        return fields

    def _response_format(self, fields: dict[str, Any]) -> bool:
        """A reply in JSON: by its own field where the model has it, else by a tool that it must call."""
        form = self._conversation.response_format
        if form is None or form.kind == "text":
            return False
        if form.schema is not None and self._traits.native_json_schema:
            schema = strict_schema(msgspec.json.decode(form.schema))
            fields["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
            return False
        tool = {
            "name": JSON_TOOL_NAME,
            "description": form.description or "Gives the final answer. Call it once, with the whole answer.",
            "input_schema": object_schema(form.schema),
        }
        own_tools = "tools" in fields
        fields["tools"] = [*fields.get("tools", []), tool]
        if not own_tools:
            fields["tool_choice"] = {"type": "tool", "name": JSON_TOOL_NAME}
        elif fields.get("tool_choice", {}).get("type", "auto") == "auto":
            fields["tool_choice"] = {"type": "any"}
        return True

    # --- how to think and to sample --------------------------------------------------------------------------------

    def _thinking(self, fields: dict[str, Any]) -> bool:
        """Writes `thinking` and what hangs on it. True if the model will think."""
        options = self._conversation.reasoning
        if options is None:
            return False
        adaptive, legacy = self._traits.adaptive_thinking, self._traits.legacy_thinking
        if not self._traits.reasoning:
            if options.effort != "none":
                leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
            return False
        if options.effort == "none":
            if adaptive or legacy:
                fields["thinking"] = {"type": "disabled"}
            return False
        if fields.get("tool_choice", {}).get("type") in ("any", "tool"):
            note(self._conversation, "thinking")  # the API refuses to think before a call it is forced to make
            return False
        budget = options.budget_tokens
        if budget is not None and not (adaptive and not legacy):
            self._think_within(budget, fields)
        elif adaptive:
            effort = options.effort
            if budget is not None and not effort:
                effort = next((word for most, word in EFFORT_BY_BUDGET if budget <= most), "high")
            display = "omitted" if options.summary == "omitted" else "summarized"
            fields["thinking"] = {"type": "adaptive", "display": display}
            if effort:
                fields.setdefault("output_config", {})["effort"] = {"minimal": "low"}.get(effort, effort)
        elif legacy:
            self._think_within(BUDGET_BY_EFFORT.get(options.effort, 2048), fields)
        else:
            leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
        return "thinking" in fields

    def _think_within(self, budget: int, fields: dict[str, Any]) -> None:
        if _last_turn_unthought(fields["messages"]):
            # Refused where the tools' results answer a turn whose thought was not given back.
            note(self._conversation, "thinking")
            return
        budget = max(budget, BUDGET_TOKENS_MIN)
        fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
        asked = self._conversation.output_tokens_max
        if asked is None:
            fields["max_tokens"] = max(fields["max_tokens"], budget + ANSWER_TOKENS)
        elif asked <= budget:
            fields["max_tokens"] = (
                budget + asked
            )  # the limit counts thought too; what was asked for stays for the answer

    def _sampling(self, fields: dict[str, Any], thinking: bool) -> None:
        asked = self._conversation
        given = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
        if not self._traits.sampling:
            for name, value in given.items():
                if value is not None:
                    leave_out(asked, self._traits, name, NAME)
            return
        if asked.temperature is not None:
            if not thinking:
                fields["temperature"] = min(asked.temperature, 1.0)  # OpenAI's scale goes to 2
            elif asked.temperature != 1:
                note(self._conversation, "temperature")
        if asked.top_p is not None:
            if "temperature" in fields or (thinking and asked.top_p < 0.95):
                if asked.top_p != 1:
                    note(self._conversation, "top_p")  # newer models take one of the two
            else:
                fields["top_p"] = asked.top_p
        if asked.top_k is not None:
            if thinking:
                note(self._conversation, "top_k")
            else:
                fields["top_k"] = asked.top_k

    # --- what there is no word for ---------------------------------------------------------------------------------

    def _leave_out_foreign(self, fields: dict[str, Any]) -> None:
        asked = self._conversation
        unsaid = {
            "n": asked.n > 1,
            "seed": asked.seed is not None,
            "presence_penalty": bool(asked.presence_penalty),
            "frequency_penalty": bool(asked.frequency_penalty),
            "logit_bias": asked.logit_bias is not None,
            "logprobs": bool(asked.logprobs),
            "top_logprobs": bool(asked.top_logprobs),
            "metadata": asked.metadata is not None,
        }
        for name, given in unsaid.items():
            if given:
                leave_out(asked, self._traits, name, NAME)
        self._service_tier(fields)
        for name, raw in asked.extra.items():
            outer, _, inner = name.partition(".")
            if asked.dialect == NAME and inner:
                fields.setdefault(outer, {})[inner] = raw
            elif name == "output_config" and "output_config" in fields:
                fields[name] = {**msgspec.json.decode(raw, type=dict[str, Any]), **fields[name]}
            elif asked.dialect == NAME or (name in PASSED_FIELDS and asked.dialect in ("", "openai_chat")):
                fields[name] = raw
                if name == "mcp_servers":
                    self._betas.append(_MCP_BETA)
            elif name == "safety_identifier" and "metadata" in fields:
                continue  # said there
            elif name in _HINTS:
                note(self._conversation, name)
            else:
                leave_out(asked, self._traits, name, NAME)

    def _service_tier(self, fields: dict[str, Any]) -> None:
        asked = self._conversation
        if not asked.service_tier:
            return
        tier = asked.service_tier if asked.dialect == NAME else _TIERS.get(asked.service_tier)
        if tier is None:
            leave_out(asked, self._traits, "service_tier", NAME)
        else:
            fields["service_tier"] = tier


#: Tokens of thought for an effort word, for models that want a budget; never under the API's least.
BUDGET_TOKENS_MIN = 1024
BUDGET_BY_EFFORT = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
#: And back, for models that want a word: the most tokens that still mean it.
EFFORT_BY_BUDGET = ((1024, "low"), (8192, "medium"))
#: Room for the answer where only the thought was bounded.
ANSWER_TOKENS = 4096


def _after_results(block: Any) -> bool:
    return not (isinstance(block, dict) and block.get("type") == "tool_result")


def _last_turn_unthought(messages: list[dict[str, Any]]) -> bool:
    """The last assistant's turn called tools, its results are what comes now, and it does not begin with thought."""
    turns = [message["content"] for message in messages if message["role"] == "assistant"]
    if not turns:
        return False
    blocks = [block for block in turns[-1] if isinstance(block, dict)]
    calls = any(block.get("type") == "tool_use" for block in blocks)
    return calls and (not blocks or blocks[0].get("type") not in ("thinking", "redacted_thinking"))


def _tool_use(call: ToolCall) -> dict[str, Any]:
    kind = "server_tool_use" if call.server_side else "tool_use"
    return {"type": kind, "id": clean_id(call.id), "name": call.name, "input": _arguments(call.arguments)}


def _arguments(text: str) -> Raw | dict[str, Any]:
    """The arguments' own bytes where they are a JSON object; {} where a model wrote something else."""
    raw = text.encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(raw, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return Raw(raw)


_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def clean_id(call_id: str) -> str:
    return _NOT_IN_IDS.sub("_", call_id) or "call"


def _encode_cache(cache: CacheMark) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}


def _inline_text(source: Inline) -> str | None:
    if not (source.media_type.startswith("text/") or source.media_type in ("application/json", "application/xml")):
        return None
    try:
        return base64.b64decode(source.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


_EMAIL_OR_PHONE = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|\+?[\d\s().-]{7,}")


def _looks_private(user: str) -> bool:
    """Anthropic asks for no names, addresses or telephone numbers in `user_id`."""
    return _EMAIL_OR_PHONE.fullmatch(user) is not None
