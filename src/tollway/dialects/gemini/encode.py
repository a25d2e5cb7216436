"""Our words as a request to Gemini. https://ai.google.dev/api/generate-content#request-body (2026-11-22).

JSON schemas travel in `parametersJsonSchema` and `responseJsonSchema`, as they came but for what those refuse. A tool's
result is always `{"output": text}`: the members of `response` go through protocol buffers, where a number is a float,
and a text does not.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from tollway.conversation import (
    Audio,
    Conversation,
    Document,
    FileId,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Video,
    WebSearch,
    as_function,
)
from tollway.dialects import JSON_TOOL_NAME, EncodedRequest, Traits, holds_cache_marks, leave_out, note, text_alone
from tollway.dialects.gemini.decode import PLAIN_SETTINGS, SETTING
from tollway.dialects.gemini.parts import (
    NAME,
    SIGNING,
    UNSIGNED_CALL,
    arguments_object,
    generation,
    is_base64,
    media_fields,
)
from tollway.dialects.gemini.schema import clean_schema

#: Fields of Gemini's own that a client of another dialect may send along, in either spelling; they go on as they came.
PASSED_FIELDS = {
    "safetySettings": "safetySettings",
    "safety_settings": "safetySettings",
    "cachedContent": "cachedContent",
    "cached_content": "cachedContent",
    "labels": "labels",
}
#: Google's own tools, which clients of another dialect put among theirs.
_OWN_TOOLS = frozenset(
    {
        "googleSearch",
        "google_search",
        "googleSearchRetrieval",
        "google_search_retrieval",
        "codeExecution",
        "code_execution",
        "urlContext",
        "url_context",
        "googleMaps",
        "google_maps",
        "fileSearch",
        "file_search",
        "computerUse",
        "computer_use",
        "enterpriseWebSearch",
    }
)

#: Whose clients are shown how likely tokens were.
_LOGPROBS_SHOWN = frozenset({NAME, "openai_chat", "openai_completions", "openai_responses"})

#: Gemini wants content; this stands in where there is none, and before a call that would come first.
_FIRST_WORDS = "(The conversation continues.)"

STOPS_MAX = 5


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for Gemini; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    return _Writer(conversation, traits).request()


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._generation = generation(traits.model)
        self._names: dict[str, str] = {}  # of calls, by their ids
        self._waiting: list[str] = []  # ids of calls without a result so far
        self._unsaid: set[str] = set()  # members of `extra` that were said elsewhere

    def request(self) -> EncodedRequest:
        asked = self._conversation
        fields: dict[str, Any] = {"contents": self._contents()}
        system = list(asked.system)
        for message in asked.messages:
            if message.role == "system":  # one that came later: there is no place for it among the contents
                system += message.parts
        if parts := self._system_parts(system):
            fields["systemInstruction"] = {"parts": parts}
        tools = self._tools()
        settings = self._settings()
        config = self._calling_config(tools)
        json_tool = self._response_format(settings, tools, config)
        self._thinking(settings)
        if tools:
            fields["tools"] = tools
        if config:
            fields["toolConfig"] = {"functionCallingConfig": config}
        if settings:
            fields["generationConfig"] = settings
        self._service_tier(fields)
        self._write_extra(fields)
        self._leave_out_foreign()
        return EncodedRequest(fields, json_tool=json_tool)

    # --- contents --------------------------------------------------------------------------------------------------

    def _contents(self) -> list[dict[str, Any]]:
        """Turns as Gemini wants them: all results of a turn's calls together and right behind it, in the calls' order;
        a call only after a user's turn.
        """
        messages = [message for message in self._conversation.messages if message.role != "system"]
        asked_last = len(messages) - 1
        while asked_last >= 0 and messages[asked_last].role != "user":
            asked_last -= 1
        contents: list[dict[str, Any]] = []
        results: list[ToolResult] = []
        for at, message in enumerate(messages):
            text = text_alone(message) if message.role != "tool" else None
            if text is not None and at <= asked_last:
                if results:
                    self._answer(results, contents)
                    results = []
                if text and message.role == "user":
                    contents.append({"role": "user", "parts": [{"text": text}]})
                elif text:
                    _add(contents, message.role, [{"text": text}])
                continue
            if message.name:
                note(self._conversation, "messages[].name")
            results += [part for part in message.parts if isinstance(part, ToolResult)]
            if message.role == "tool":
                continue
            self._answer(results, contents)
            results = []
            self._say(message, contents, now=at > asked_last)
        self._answer(results, contents)
        if not contents or (contents[0]["role"] == "model" and _calls(contents[0])):
            contents.insert(0, {"role": "user", "parts": [{"text": _FIRST_WORDS}]})
        return contents

    def _say(self, message: Message, contents: list[dict[str, Any]], *, now: bool) -> None:
        parts = self._parts(message.parts)
        if not parts:
            return
        _add(contents, message.role, parts)
        if now and message.role == "assistant" and self._generation >= SIGNING:
            calls = _calls(contents[-1])
            if calls and "thoughtSignature" not in calls[0]:
                calls[0]["thoughtSignature"] = UNSIGNED_CALL

    def _parts(self, parts: list[Part]) -> list[Any]:
        """A signature that stands alone before a part is that part's; with none behind it, it has an empty text."""
        written: list[Any] = []
        signature = ""
        for part in parts:
            if isinstance(part, ToolResult):
                continue
            if isinstance(part, Reasoning) and not part.text:
                written += _signature_alone(signature)
                signature = self._signature_to_give(part)
                continue
            fields = self._part(part)
            if fields is None:
                continue
            if signature:
                own = fields.get("thoughtSignature", "") if isinstance(fields, dict) else None
                if own == "" and not isinstance(part, Reasoning):
                    fields["thoughtSignature"] = signature
                elif own != signature:
                    written += _signature_alone(signature)
                signature = ""
            written.append(fields)
        return written + _signature_alone(signature)

    def _signature_to_give(self, part: Reasoning) -> str:
        """Nothing for thought that only another maker can read or trust: Google refuses the whole request for it."""
        if part.redacted or (part.signature and (part.maker != NAME or not is_base64(part.signature))):
            note(self._conversation, "messages[].thinking_blocks")
            return ""
        return part.signature

    def _part(self, part: Part) -> Any:
        if isinstance(part, (Text, Refusal)):
            return {"text": part.text} if part.text else None
        if isinstance(part, Reasoning):
            return self._thought(part)
        if isinstance(part, ToolCall) and not part.server_side:
            return self._call(part)
        if isinstance(part, Document) and part.text is not None:
            head = "\n".join(words for words in (part.title, part.context) if words)
            return {"text": f"{head}\n\n{part.text}" if head else part.text}
        if isinstance(part, (Image, Document, Video)) or (
            isinstance(part, Audio) and not isinstance(part.source, FileId)
        ):
            self._note_lost(part)
            return media_fields(part)
        if isinstance(part, Opaque) and part.dialect == NAME:
            return part.raw
        leave_out(self._conversation, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)
        return None

    def _note_lost(self, part: Image | Audio | Document | Video) -> None:
        if isinstance(part, Image) and part.detail not in ("", "auto"):
            note(self._conversation, "messages[].content[].image_url.detail")
        elif isinstance(part, Document):
            for name in ("title", "context"):
                if getattr(part, name):
                    note(self._conversation, f"messages[].content[].{name}")

    def _thought(self, part: Reasoning) -> dict[str, Any]:
        fields: dict[str, Any] = {"text": part.text, "thought": True}
        if signature := self._signature_to_give(part):
            fields["thoughtSignature"] = signature
        return fields

    def _call(self, call: ToolCall) -> dict[str, Any]:
        self._names[call.id] = call.name
        self._waiting.append(call.id)
        args = arguments_object(call.arguments)
        wire: dict[str, Any] = {"name": call.name, "args": args if args is not None else {}}
        if call.id:
            wire["id"] = call.id
        fields: dict[str, Any] = {"functionCall": wire}
        if call.signature and is_base64(call.signature):
            fields["thoughtSignature"] = call.signature
        elif call.signature:
            note(self._conversation, "messages[].tool_calls[].extra_content")
        return fields

    # --- tools' results --------------------------------------------------------------------------------------------

    def _answer(self, results: list[ToolResult], contents: list[dict[str, Any]]) -> None:
        if not results:
            return
        order = {call_id: place for place, call_id in enumerate(self._waiting)}
        results = sorted(results, key=lambda result: order.get(result.call_id, len(order)))
        media: list[Any] = []
        parts = [self._result(result, media) for result in results]
        contents.append({"role": "user", "parts": parts})
        if media:
            contents.append({"role": "user", "parts": media})

    def _result(self, result: ToolResult, media: list[Any]) -> dict[str, Any]:
        """Media stand in the result where the model takes them there, else in a user's turn after it."""
        texts = [part.text for part in result.parts if isinstance(part, Text)]
        others = self._parts([part for part in result.parts if not isinstance(part, Text)])
        said = "error" if result.failed else "output"
        wire: dict[str, Any] = {"name": self._name_of(result.call_id), "response": {said: "\n".join(texts)}}
        if result.call_id:
            wire["id"] = result.call_id
        if others and self._generation >= SIGNING:
            wire["parts"] = others
        else:
            media += others
        return {"functionResponse": wire}

    def _name_of(self, call_id: str) -> str:
        """The name of the call that is answered: the API wants it. A result whose id nobody knows answers the call that
        has waited longest.
        """
        if call_id in self._waiting:
            self._waiting.remove(call_id)
        elif call_id not in self._names and self._waiting:
            return self._names[self._waiting.pop(0)]
        return self._names.get(call_id) or "tool"

    def _system_parts(self, parts: list[Part]) -> list[Any]:
        written: list[Any] = []
        for part in parts:
            if isinstance(part, Text):
                written += [{"text": part.text}] if part.text else []
            elif isinstance(part, Opaque) and part.dialect == NAME:
                written.append(part.raw)
            else:
                leave_out(self._conversation, self._traits, f"system[{type(part).__name__.lower()}]", NAME)
        return written

    # --- tools -----------------------------------------------------------------------------------------------------

    def _tools(self) -> list[Any]:
        functions: list[dict[str, Any]] = []
        others: list[Any] = []
        searches: list[Tool] = []
        for tool in self._conversation.tools:
            if tool.native is None:
                functions.append(self._function(tool))
            elif tool.dialect == NAME or _own_tool(tool.native):
                others.append(tool.native)
            elif tool.search is not None:
                searches.append(tool)
            elif tool.freeform is not None:
                functions.append(self._function(as_function(tool.name, tool.description, tool.freeform)))
            elif tool.stand_ins:
                functions += [self._function(stand_in) for stand_in in tool.stand_ins]
            else:
                leave_out(self._conversation, self._traits, f"tools[{tool.name}]", NAME)
        if "web_search_options" in self._conversation.extra:  # OpenAI's word for a search by the provider
            self._unsaid.add("web_search_options")
            searches.append(Tool("web_search_options", search=WebSearch()))
        for tool in searches:
            self._search(tool, bool(functions), others)
        return [{"functionDeclarations": functions}, *others] if functions else others

    def _search(self, tool: Tool, beside_functions: bool, others: list[Any]) -> None:
        """Google searches, or runs the caller's functions; both only in its own dialect, where the client keeps what
        the provider's tools said. https://ai.google.dev/gemini-api/docs/tool-combination (2026-11-22)
        """
        search = tool.search
        if beside_functions or search is None:
            leave_out(self._conversation, self._traits, f"tools[{tool.name}]", NAME)
            return
        others.append({"googleSearch": {}})
        for name in WebSearch.__struct_fields__:
            if getattr(search, name):
                note(self._conversation, f"tools[{tool.name}].{name}")

    def _function(self, tool: Tool) -> dict[str, Any]:
        fields: dict[str, Any] = {"name": tool.name}
        if tool.description:
            fields["description"] = tool.description
        if tool.parameters is not None:
            fields["parametersJsonSchema"] = clean_schema(tool.parameters)
        if tool.strict:
            note(self._conversation, "tools[].function.strict")
        for name in tool.more:
            note(self._conversation, f"tools[].{name}")
        return fields

    def _calling_config(self, tools: list[Any]) -> dict[str, Any]:
        asked = self._conversation
        if asked.parallel_tool_calls is False and tools:
            leave_out(asked, self._traits, "parallel_tool_calls", NAME)
        if asked.dialect == NAME and "toolConfig" in asked.extra:
            return {}  # the whole choice is kept there
        choice = asked.tool_choice
        if choice is None or not any(isinstance(tool, dict) and "functionDeclarations" in tool for tool in tools):
            return {}
        if (allowed := self._allowed_names()) is not None:
            return {"mode": "ANY" if choice.kind == "required" else "VALIDATED", "allowedFunctionNames": allowed}
        if choice.kind == "named":
            return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        return {"mode": {"auto": "AUTO", "required": "ANY", "none": "NONE"}[choice.kind]}

    def _allowed_names(self) -> list[str] | None:
        """The names in OpenAI's `allowed_tools` choice."""
        raw = self._conversation.extra.get("tool_choice")
        if raw is None:
            return None
        self._unsaid.add("tool_choice")
        value = msgspec.json.decode(raw)
        allowed = value.get("allowed_tools") if isinstance(value, dict) else None
        tools = allowed.get("tools") if isinstance(allowed, dict) else None
        named = [tool.get("function") or tool for tool in tools or () if isinstance(tool, dict)]
        return [str(tool["name"]) for tool in named if isinstance(tool, dict) and "name" in tool] or None

    def _response_format(self, settings: dict[str, Any], tools: list[Any], config: dict[str, Any]) -> bool:
        """A reply in JSON: by its own setting, or, where an older model refuses that beside tools, by a tool that it
        must call. https://github.com/googleapis/python-genai/issues/867 (2025-05-27)
        """
        form = self._conversation.response_format
        if form is None:
            return False
        if form.kind == "text":
            settings["responseMimeType"] = "text/plain"
            return False
        functions = tools[0].get("functionDeclarations") if tools and isinstance(tools[0], dict) else None
        if functions and config.get("mode") != "NONE" and self._generation < SIGNING:
            if config.get("allowedFunctionNames"):
                return False  # the reply is the call that was asked for
            tool: dict[str, Any] = {
                "name": JSON_TOOL_NAME,
                "description": form.description or "Gives the final answer. Call it once, with the whole answer.",
            }
            if form.schema is not None:
                tool["parametersJsonSchema"] = clean_schema(form.schema)
            functions.append(tool)
            config["mode"] = "ANY"
            return True
        if functions and config.get("mode") == "NONE" and self._generation < SIGNING:
            tools.clear()
            config.clear()
        settings["responseMimeType"] = "application/json"
        if form.schema is not None:
            settings["responseJsonSchema"] = clean_schema(form.schema)
        return False

    # --- generationConfig ------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        asked = self._conversation
        settings: dict[str, Any] = {}
        for name, (ours, _) in PLAIN_SETTINGS.items():
            value = getattr(asked, ours)
            if value is not None and value != []:
                settings[name] = value
        if asked.top_k is not None:
            settings["topK"] = asked.top_k
        if asked.n == 1:
            del settings["candidateCount"]
        if len(asked.stop) > STOPS_MAX:
            leave_out(asked, self._traits, "stop", NAME)
            settings["stopSequences"] = asked.stop[:STOPS_MAX]
        if asked.seed is not None and not -(2**31) <= asked.seed < 2**31:
            leave_out(asked, self._traits, "seed", NAME)
            del settings["seed"]
        if asked.dialect not in _LOGPROBS_SHOWN:
            self._leave_out_logprobs(settings)
        elif asked.dialect != NAME and settings.get("responseLogprobs") is False:
            del settings["responseLogprobs"]
        if modalities := self._modalities():
            settings["responseModalities"] = modalities
        if not self._traits.sampling:
            names = {"temperature": "temperature", "topP": "top_p", "topK": "top_k"}
            names |= {"presencePenalty": "presence_penalty", "frequencyPenalty": "frequency_penalty"}
            for name, ours in names.items():
                if settings.pop(name, None) is not None:
                    leave_out(asked, self._traits, ours, NAME)
        return settings

    def _leave_out_logprobs(self, settings: dict[str, Any]) -> None:
        """Its client would not get them: the dialect has no place for them in a reply."""
        for name, ours in (("responseLogprobs", "logprobs"), ("logprobs", "top_logprobs")):
            if settings.pop(name, None):
                leave_out(self._conversation, self._traits, ours, NAME)

    def _modalities(self) -> list[str]:
        """OpenAI's `modalities`, as far as another dialect's client gets what it asks for: text and pictures."""
        raw = self._conversation.extra.get("modalities")
        if raw is None or self._conversation.dialect == NAME:
            return []
        asked = msgspec.json.decode(raw)
        named = {word for word in asked if isinstance(word, str)} if isinstance(asked, list) else set()
        if not named or named - {"text", "image"}:
            return []  # left among the fields that nobody said
        self._unsaid.add("modalities")
        return ["TEXT", "IMAGE"] if "image" in named else []

    def _thinking(self, settings: dict[str, Any]) -> None:
        options = self._conversation.reasoning
        if options is None:
            return
        if not self._traits.reasoning:
            if options.effort != "none":
                leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
            return
        thinking: dict[str, Any] = {}
        if self._generation >= SIGNING:
            if level := self._level():
                thinking["thinkingLevel"] = level
        elif (budget := self._budget()) is not None:
            thinking["thinkingBudget"] = budget
        if options.effort != "none" and options.summary != "omitted":
            thinking["includeThoughts"] = True
        if thinking:
            settings["thinkingConfig"] = thinking

    def _level(self) -> str:
        """A word for generation 3 and later, "" for the model's own. Thought cannot be turned off there."""
        options = self._conversation.reasoning
        assert options is not None
        effort = options.effort
        if not effort and options.budget_tokens is not None:
            effort = next((word for most, word in EFFORT_BY_BUDGET if options.budget_tokens <= most), "high")
        pro = "-pro" in self._traits.model
        if effort == "none":
            note(self._conversation, "reasoning_effort")
            effort = "minimal"
        if effort == "minimal" and pro:
            effort = "low"
        elif effort in ("xhigh", "max") or (effort == "medium" and pro and self._generation == (3, 0)):
            effort = "high"  # the first of the third generation knew two levels
        return effort.upper()

    def _budget(self) -> int | None:
        options = self._conversation.reasoning
        assert options is not None
        pro = "-pro" in self._traits.model
        most = PRO_BUDGET_TOKENS_MAX if pro else BUDGET_TOKENS_MAX
        if options.effort == "none":
            if not pro:
                return 0
            note(self._conversation, "reasoning_effort")  # this one always thinks; the least it takes
            return PRO_BUDGET_TOKENS_MIN
        if options.budget_tokens is not None:
            return min(options.budget_tokens, most)
        if options.effort:
            return BUDGET_BY_EFFORT.get(options.effort, most)
        return -1 if options.adaptive else None

    # --- the rest --------------------------------------------------------------------------------------------------

    def _service_tier(self, fields: dict[str, Any]) -> None:
        tier = self._conversation.service_tier
        if tier in ("flex", "priority"):
            fields["serviceTier"] = tier
        elif tier == "default" and self._conversation.dialect == NAME:
            fields["serviceTier"] = "standard"
        elif tier not in ("", "auto", "default", "standard_only"):
            leave_out(self._conversation, self._traits, "service_tier", NAME)

    def _write_extra(self, fields: dict[str, Any]) -> None:
        asked = self._conversation
        for name, raw in asked.extra.items():
            if asked.dialect == NAME and name.startswith(SETTING):
                fields.setdefault("generationConfig", {})[name.removeprefix(SETTING)] = raw
            elif asked.dialect == NAME:
                fields[name] = raw
            elif name in PASSED_FIELDS:
                fields[PASSED_FIELDS[name]] = raw
            elif name not in self._unsaid:
                leave_out(asked, self._traits, name, NAME)

    def _leave_out_foreign(self) -> None:
        asked = self._conversation
        if asked.logit_bias is not None:
            leave_out(asked, self._traits, "logit_bias", NAME)
        for name, given in (
            ("user", asked.user),
            ("metadata", asked.metadata),
            ("cache_control", holds_cache_marks(asked)),
        ):
            if given:
                note(self._conversation, name)  # none of these changes the answer


#: Tokens of thought for an effort word, for models of generation 2.5.
#: https://ai.google.dev/gemini-api/docs/openai#thinking (2026-11-22)
BUDGET_BY_EFFORT = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
#: And back, for those that want a word: the most tokens that still mean it.
EFFORT_BY_BUDGET = ((1024, "low"), (8192, "medium"))
#: https://ai.google.dev/gemini-api/docs/thinking#set-budget (2026-11-22)
BUDGET_TOKENS_MAX = 24_576
PRO_BUDGET_TOKENS_MAX = 32_768
PRO_BUDGET_TOKENS_MIN = 128


def _signature_alone(signature: str) -> list[dict[str, Any]]:
    return [{"text": "", "thoughtSignature": signature}] if signature else []


def _add(contents: list[dict[str, Any]], role: str, parts: list[Any]) -> None:
    """What the model said in several messages is one turn."""
    if role != "assistant":
        contents.append({"role": "user", "parts": parts})
    elif contents and contents[-1]["role"] == "model":
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": "model", "parts": parts})


def _calls(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in content["parts"] if isinstance(part, dict) and "functionCall" in part]


def _own_tool(native: Raw) -> bool:
    value = msgspec.json.decode(native)
    return isinstance(value, dict) and bool(value) and value.keys() <= _OWN_TOOLS
