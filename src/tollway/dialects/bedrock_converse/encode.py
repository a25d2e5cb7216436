"""Our words as a request to Converse.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (2026-11-22). The model and whether it
streams stand in the path, not in the body. What a model takes beyond what all have in common goes into
`additionalModelRequestFields`, in its maker's own words.

The output limit counts thought, and it is never raised to make room for it: where a limit was asked for, thought gets at
most half of it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from tollway.conversation import (
    Audio,
    CacheMark,
    Conversation,
    Document,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)
from tollway.dialects import (
    JSON_TOOL_NAME,
    EncodedRequest,
    Traits,
    decode_field,
    leave_out,
    note,
    object_schema,
    read_sealed,
    strict_schema,
    text_alone,
)
from tollway.dialects.bedrock_converse.parts import (
    CLAUDE,
    DEEPSEEK,
    GPT,
    HIDDEN,
    MISTRAL,
    NAME,
    NOVA,
    NOVA_2,
    SIGNER,
    arguments_object,
    audio_block,
    claude_version,
    clean_id,
    document_block,
    document_name,
    family_of,
    image_block,
    is_base64,
    video_block,
)

#: Fields of Converse's own that a client of another dialect may send along; they go on as they came.
PASSED_FIELDS = frozenset(
    {
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "performanceConfig",
        "promptVariables",
        "requestMetadata",
        "serviceTier",
    }
)
#: Fields of others that change nothing of what is said: named when they are left out, and never a reason to refuse.
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

#: Converse wants a user's message first, text beside a document, and something in a result; these stand in.
_FIRST_WORDS = "(The conversation continues.)"
_BESIDE_DOCUMENT = "(See the document.)"
_NO_OUTPUT = "(no output)"
_OLD_TOOL = "A tool of an earlier turn. It is not there any more."

#: Models that can be made to call a tool: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html
_FORCEABLE = frozenset({CLAUDE, NOVA, NOVA_2, MISTRAL, HIDDEN})
#: Models that take `cachePoint`: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (2026-11-22)
_CACHING = frozenset({CLAUDE, NOVA, NOVA_2, HIDDEN})
_CACHING_TOOLS = frozenset({CLAUDE, HIDDEN})

#: Tokens of thought for an effort word, for Claude models that want a budget; never under their least.
BUDGET_TOKENS_MIN = 1024
BUDGET_BY_EFFORT = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16_384}
#: And back, for models that want a word: the most tokens that still mean it.
EFFORT_BY_BUDGET = ((1024, "low"), (8192, "medium"))

#: Anthropic's own tools by the day in their name: the beta that lets them in.
#: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-tool-use.html (2026-11-22)
_BETAS_BY_TOOL = {
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "memory_20250818": "context-management-2025-06-27",
}


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for Converse; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    return _Writer(conversation, traits).request()


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._family = family_of(traits.model)
        self._more: dict[str, Any] = {}  # additionalModelRequestFields
        self._native: list[Raw] = []  # Anthropic's own tools
        self._names: set[str] = set()  # of documents

    def request(self) -> EncodedRequest:
        asked = self._conversation
        fields: dict[str, Any] = {"messages": self._messages()}
        system = list(asked.system)
        for message in asked.messages:
            if message.role == "system":  # one that came later: it would stand for a change of tools there
                system += message.parts
        if blocks := self._blocks(system, "system"):
            fields["system"] = blocks
        json_tool = self._tools_and_form(fields)
        settings = self._settings()
        thinking = self._thinking(fields, settings)
        self._sampling(settings, thinking)
        if settings:
            fields["inferenceConfig"] = settings
        self._service_tier(fields)
        self._write_extra(fields)
        if self._native:
            self._more["tools"] = self._native
        if self._more:
            fields["additionalModelRequestFields"] = self._more
        self._leave_out_foreign()
        return EncodedRequest(fields, json_tool=json_tool)

    # --- messages --------------------------------------------------------------------------------------------------

    def _messages(self) -> list[dict[str, Any]]:
        """Users' and assistants' messages in turns: what stands together is merged, tool results first in their
        message.
        """
        merged: list[dict[str, Any]] = []
        last_role = ""
        for message in self._conversation.messages:
            if message.role == "system":
                continue
            role = "assistant" if message.role == "assistant" else "user"
            text = text_alone(message)
            if text is not None:
                if not text.strip():
                    continue
                blocks: list[Any] = [{"text": text}]
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
            merged.insert(0, {"role": "user", "content": [{"text": _FIRST_WORDS}]})
        for turn in merged:
            if len(turn["content"]) > 1 and turn["role"] == "user":
                turn["content"] = _results_first(turn["content"])
            if self._names and _holds(turn["content"], "document") and not _holds(turn["content"], "text"):
                turn["content"].append({"text": _BESIDE_DOCUMENT})
        last = merged[-1]["content"][-1]
        if merged[-1]["role"] == "assistant" and isinstance(last, dict) and "text" in last:
            last["text"] = last["text"].rstrip()  # Claude refuses otherwise to go on from it
        return merged

    def _blocks(self, parts: list[Part], role: str) -> list[Any]:
        blocks: list[Any] = []
        for part in parts:
            block = self._block(part, role)
            if block is not None:
                blocks.append(block)
                if (point := self._cache_point(getattr(part, "cache", None))) is not None:
                    blocks.append(point)
        return blocks

    def _block(self, part: Part, role: str) -> Any:
        """One block, or None for what is left out. Empty texts are refused by the API, so they are not sent."""
        if isinstance(part, (Text, Refusal)):
            if isinstance(part, Text) and part.citations:
                note(self._conversation, "messages[].citations")
            return {"text": part.text} if part.text.strip() else None
        if role != "system":
            if isinstance(part, ToolCall) and not part.server_side:
                use = {"toolUseId": clean_id(part.id), "name": part.name, "input": arguments_object(part.arguments)}
                return {"toolUse": use}
            if isinstance(part, ToolResult):
                return self._tool_result(part)
            if isinstance(part, Reasoning):
                return self._thought(part)
            if isinstance(part, Image):
                if part.detail not in ("", "auto"):
                    note(self._conversation, "messages[].content[].image_url.detail")
                return {"image": image_block(part)}
            if isinstance(part, Document):
                return {"document": document_block(part, document_name(part.title, self._names))}
            if isinstance(part, Video):
                return {"video": video_block(part)}
            if isinstance(part, Audio):
                return {"audio": audio_block(part)}
        if isinstance(part, Opaque) and part.dialect == NAME:
            return part.raw
        leave_out(self._conversation, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)
        return None

    def _tool_result(self, result: ToolResult) -> dict[str, Any]:
        """A mark on what stands in a result marks the result: there are none inside."""
        content: list[Any] = []
        for part in result.parts:
            if isinstance(part, (Text, Refusal, Image, Document, Video)):
                block = self._block(part, "tool")
                content += [] if block is None else [block]
                result.cache = result.cache or getattr(part, "cache", None)
            else:
                kind = type(part).__name__.lower()
                leave_out(self._conversation, self._traits, f"messages[].content[tool_result].{kind}", NAME)
        wire: dict[str, Any] = {"toolUseId": clean_id(result.call_id), "content": content or [{"text": _NO_OUTPUT}]}
        if result.failed:
            wire["status"] = "error"
        return {"toolResult": wire}

    def _thought(self, part: Reasoning) -> dict[str, Any] | None:
        """Signed or sealed thought goes back to who made it. Unsigned thought is Claude's never, and given back to
        other models that think.
        """
        maker, _, blob = read_sealed(part.redacted)
        if maker == NAME and is_base64(blob):
            return {"reasoningContent": {"redactedContent": blob}}
        if part.signature and self._family in (CLAUDE, HIDDEN) and part.maker in ("", NAME, SIGNER):
            return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
        thinks = self._traits.reasoning and self._family not in (CLAUDE, DEEPSEEK, HIDDEN)
        if thinks and part.text and not part.signature and not part.redacted:
            return {"reasoningContent": {"reasoningText": {"text": part.text}}}
        note(self._conversation, "messages[].reasoning_content")
        return None

    def _cache_point(self, mark: CacheMark | None, *, tools: bool = False) -> dict[str, Any] | None:
        if mark is None:
            return None
        if self._family not in (_CACHING_TOOLS if tools else _CACHING):
            note(self._conversation, "cache_control")  # changes nothing of the answer
            return None
        point = {"type": "default"}
        if mark.ttl == "1h":
            if self._family in (NOVA, NOVA_2):
                note(self._conversation, "cache_control.ttl")
            else:
                point["ttl"] = mark.ttl
        return {"cachePoint": point}

    # --- tools and the form of the reply ---------------------------------------------------------------------------

    def _tools_and_form(self, fields: dict[str, Any]) -> bool:
        tools = self._tools()
        choice = self._tool_choice(tools)
        form = self._conversation.response_format
        json_tool = False
        if form is not None and form.kind != "text":
            if form.schema is not None and self._traits.native_json_schema:
                fields["outputConfig"] = {"textFormat": _text_format(form.schema, form.name, form.description)}
            elif self._family in _FORCEABLE:
                json_tool = True
                schema = object_schema(form.schema)
                words = form.description or "Gives the final answer. Call it once, with the whole answer."
                choice = choice if tools and choice is not None else {"any": {}}
                if not tools:
                    choice = {"tool": {"name": JSON_TOOL_NAME}}
                spec = {"name": JSON_TOOL_NAME, "description": words, "inputSchema": {"json": schema}}
                tools.append({"toolSpec": spec})
            else:
                leave_out(self._conversation, self._traits, "response_format", NAME)
        if not tools and (tools := self._old_tools(fields["messages"])) and self._conversation.tools:
            note(self._conversation, "tool_choice")  # "none", which only tools that are not there would have kept
        if tools:
            fields["toolConfig"] = {"tools": tools} if choice is None else {"tools": tools, "toolChoice": choice}
        return json_tool

    def _tools(self) -> list[Any]:
        choice = self._conversation.tool_choice
        if choice is not None and choice.kind == "none":
            # There is no word for it: tools that are not there are not called. Those of earlier turns stand in again.
            return []
        tools: list[Any] = []
        for tool in self._conversation.tools:
            if tool.native is None:
                tools += self._tool(tool)
            elif tool.dialect == NAME:
                tools.append(tool.native)
            elif tool.search is not None and self._family in (NOVA, NOVA_2):
                tools.append({"systemTool": {"name": "nova_grounding"}})
            elif tool.dialect == SIGNER and self._family == CLAUDE:
                self._native_tool(tool.native)
            elif tool.stand_ins:
                for stand_in in tool.stand_ins:
                    tools += self._tool(stand_in)
            else:
                leave_out(self._conversation, self._traits, f"tools[{tool.name}]", NAME)
        return tools

    def _tool(self, tool: Tool) -> list[Any]:
        spec: dict[str, Any] = {"name": tool.name}
        if tool.description.strip():
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": object_schema(tool.parameters)}
        if tool.strict:
            if self._traits.native_json_schema:
                spec["strict"] = True
            else:
                note(self._conversation, "tools[].function.strict")
        point = self._cache_point(tool.cache, tools=True)
        return [{"toolSpec": spec}] if point is None else [{"toolSpec": spec}, point]

    def _native_tool(self, native: Raw) -> None:
        self._native.append(native)
        kind = msgspec.json.decode(native, type=dict[str, Any]).get("type")
        beta = _BETAS_BY_TOOL.get(str(kind))
        if beta and beta not in self._more.setdefault("anthropic_beta", []):
            self._more["anthropic_beta"].append(beta)

    def _old_tools(self, messages: list[dict[str, Any]]) -> list[Any]:
        """Where calls stand among the messages, Converse wants tools, whether or not there are any now."""
        blocks = [block for turn in messages for block in turn["content"] if isinstance(block, dict)]
        names = dict.fromkeys(block["toolUse"]["name"] for block in blocks if "toolUse" in block)
        if not names and any("toolResult" in block for block in blocks):
            names = {"tool": None}
        schema = {"json": {"type": "object", "properties": {}}}
        return [{"toolSpec": {"name": name, "description": _OLD_TOOL, "inputSchema": schema}} for name in names]

    def _tool_choice(self, tools: list[Any]) -> dict[str, Any] | None:
        """None for the model's own choice, which not every model lets one write."""
        choice = self._conversation.tool_choice
        written: dict[str, Any] | None = None
        if choice is not None and tools and choice.kind in ("required", "named"):
            written = {"any": {}} if choice.kind == "required" else {"tool": {"name": choice.name}}
        if self._conversation.parallel_tool_calls is False and tools:
            if self._family == CLAUDE and claude_version(self._traits.model) >= (4, 5) and written is None:
                self._more["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
            else:
                leave_out(self._conversation, self._traits, "parallel_tool_calls", NAME)
        return written

    # --- how to think and to sample --------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        asked = self._conversation
        settings: dict[str, Any] = {}
        if asked.output_tokens_max is not None:
            settings["maxTokens"] = asked.output_tokens_max
        if stops := [stop for stop in asked.stop if stop.strip()]:
            settings["stopSequences"] = stops
        return settings

    def _thinking(self, fields: dict[str, Any], settings: dict[str, Any]) -> bool:
        """Writes how much to think, each maker's own way. True if sampling is bound by it."""
        options = self._conversation.reasoning
        if options is None:
            return False
        off = options.effort == "none"
        if not self._traits.reasoning or self._family not in (CLAUDE, HIDDEN, NOVA_2, GPT):
            if not off:
                leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
            return False
        effort = options.effort
        if not effort and options.budget_tokens is not None:
            effort = next((word for most, word in EFFORT_BY_BUDGET if options.budget_tokens <= most), "high")
        if self._family == GPT:
            return self._think_as_gpt(effort)
        if self._family == NOVA_2:
            return self._think_as_nova(effort, settings)
        return not off and self._think_as_claude(effort, fields)

    def _think_as_gpt(self, effort: str) -> bool:
        """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html (2026-11-22)"""
        if effort == "none":
            note(self._conversation, "reasoning_effort")  # it always thinks
            effort = "low"
        if effort:
            self._more["reasoning_effort"] = {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
        return False

    def _think_as_nova(self, effort: str, settings: dict[str, Any]) -> bool:
        """https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html (2026-11-22). The highest effort
        wants neither a limit nor sampling: it is not asked for where a limit was.
        """
        if effort == "none":
            self._more["reasoningConfig"] = {"type": "disabled"}
            return False
        level = {"minimal": "low", "xhigh": "high", "max": "high", "": "medium"}.get(effort, effort)
        if level == "high" and "maxTokens" in settings:
            note(self._conversation, "reasoning_effort")
            level = "medium"
        self._more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
        return level == "high"

    def _think_as_claude(self, effort: str, fields: dict[str, Any]) -> bool:
        options = self._conversation.reasoning
        assert options is not None
        adaptive, legacy = self._traits.adaptive_thinking, self._traits.legacy_thinking
        if "toolChoice" in fields.get("toolConfig", {}):
            note(self._conversation, "thinking")  # refused before a call that is forced
            return False
        if adaptive and (options.budget_tokens is None or not legacy):
            display = "omitted" if options.summary == "omitted" else "summarized"
            self._more["thinking"] = {"type": "adaptive", "display": display}
            if effort:
                fields.setdefault("outputConfig", {})["effort"] = {"minimal": "low"}.get(effort, effort)
            return True
        if not legacy:
            leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
            return False
        asked = self._conversation.output_tokens_max
        budget = max(options.budget_tokens or BUDGET_BY_EFFORT.get(effort, 2048), BUDGET_TOKENS_MIN)
        if asked is not None and budget >= asked:
            budget = max(asked // 2, BUDGET_TOKENS_MIN)
        if (asked is not None and budget >= asked) or _last_turn_unthought(fields["messages"]):
            # No room for it, or refused because a turn's thought was not given back.
            note(self._conversation, "thinking")
            return False
        self._more["thinking"] = {"type": "enabled", "budget_tokens": budget}
        return True

    def _sampling(self, settings: dict[str, Any], thinking: bool) -> None:
        asked = self._conversation
        given = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
        if not self._traits.sampling or (thinking and self._family == NOVA_2):
            for name, value in given.items():
                if value is not None:
                    leave_out(asked, self._traits, name, NAME)
            return
        claude = self._family in (CLAUDE, HIDDEN)
        if asked.temperature is not None:
            if not thinking:
                settings["temperature"] = min(asked.temperature, 1.0)  # OpenAI's scale goes to 2
            elif asked.temperature != 1:
                note(self._conversation, "temperature")
        if asked.top_p is not None:
            if claude and ("temperature" in settings or (thinking and asked.top_p < 0.95)):
                if asked.top_p != 1:
                    note(self._conversation, "top_p")  # newer models take one of the two
            else:
                settings["topP"] = asked.top_p
        if asked.top_k is not None:
            self._top_k(asked.top_k, thinking)

    def _top_k(self, top_k: int, thinking: bool) -> None:
        """Not among what all models take; each maker has its own place for it."""
        if self._family in (CLAUDE, MISTRAL) and not thinking:
            self._more["top_k"] = top_k
        elif self._family in (NOVA, NOVA_2):
            self._more["inferenceConfig"] = {"topK": top_k}
        elif thinking:
            note(self._conversation, "top_k")
        else:
            leave_out(self._conversation, self._traits, "top_k", NAME)

    # --- the rest --------------------------------------------------------------------------------------------------

    def _service_tier(self, fields: dict[str, Any]) -> None:
        tier = self._conversation.service_tier
        if tier in ("flex", "priority", "default", "reserved"):
            fields["serviceTier"] = {"type": tier}
        elif tier not in ("", "auto", "standard_only"):
            leave_out(self._conversation, self._traits, "service_tier", NAME)

    def _write_extra(self, fields: dict[str, Any]) -> None:
        asked = self._conversation
        for name, raw in asked.extra.items():
            if name in PASSED_FIELDS:
                fields[name] = raw
            elif name == "additionalModelRequestFields":
                self._more |= decode_field(name, raw, dict[str, Raw])  # what was written for this API wins
            elif name == "anthropic_beta" and self._family in (CLAUDE, HIDDEN):
                betas = decode_field(name, raw, list[str])
                self._more[name] = list(dict.fromkeys([*self._more.get(name, []), *betas]))
            elif name == "web_search_options" and self._family in (NOVA, NOVA_2):
                search = {"systemTool": {"name": "nova_grounding"}}
                fields.setdefault("toolConfig", {"tools": []})["tools"].append(search)
            elif name in _HINTS:
                note(self._conversation, name)
            else:
                leave_out(asked, self._traits, name, NAME)
        stops = fields.get("inferenceConfig", {}).get("stopSequences")
        if stops and self._family == CLAUDE and "additionalModelResponseFieldPaths" not in fields:
            fields["additionalModelResponseFieldPaths"] = ["/stop_sequence"]  # which one it was, is told nowhere else

    def _leave_out_foreign(self) -> None:
        asked = self._conversation
        unsaid = {
            "n": asked.n > 1,
            "seed": asked.seed is not None,
            "presence_penalty": bool(asked.presence_penalty),
            "frequency_penalty": bool(asked.frequency_penalty),
            "logit_bias": asked.logit_bias is not None,
            "logprobs": bool(asked.logprobs),
            "top_logprobs": bool(asked.top_logprobs),
        }
        for name, given in unsaid.items():
            if given:
                leave_out(asked, self._traits, name, NAME)
        for name, told in (("user", asked.user), ("metadata", asked.metadata)):
            if told:
                note(self._conversation, name)  # neither changes the answer


def _text_format(schema: Raw, name: str, description: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html (2026-11-22): the schema is a text."""
    strict = strict_schema(msgspec.json.decode(schema))
    definition = {"schema": msgspec.json.encode(strict).decode()}
    if name:
        definition["name"] = name
    if description:
        definition["description"] = description
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}


def _results_first(blocks: list[Any]) -> list[Any]:
    """Tool results, each with the cache mark behind it, then the rest."""
    first: list[Any] = []
    rest: list[Any] = []
    target = rest
    for block in blocks:
        if not (isinstance(block, dict) and "cachePoint" in block):
            target = first if isinstance(block, dict) and "toolResult" in block else rest
        target.append(block)
    return first + rest


def _holds(blocks: list[Any], kind: str) -> bool:
    return any(isinstance(block, dict) and kind in block for block in blocks)


def _last_turn_unthought(messages: list[dict[str, Any]]) -> bool:
    """The last assistant's turn called tools, its results are what comes now, and it does not begin with thought."""
    turns = [turn["content"] for turn in messages if turn["role"] == "assistant"]
    return bool(turns) and _holds(turns[-1], "toolUse") and not _holds(turns[-1][:1], "reasoningContent")
