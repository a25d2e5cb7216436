"""Our words as a request to Cohere. https://docs.cohere.com/reference/chat (2026-11-22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tollway.conversation import (
    Conversation,
    Document,
    FileId,
    Image,
    Inline,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from tollway.dialects import EncodedRequest, Traits, leave_out, note, note_hints
from tollway.errors import BadRequest

NAME = "cohere_chat"

#: Fields of Cohere's own that a client of another dialect may send along; they go on as they came.
PASSED_FIELDS = frozenset({"citation_options", "documents", "safety_mode", "strict_tools"})
STOPS_MAX = 5
#: Where Cohere's probabilities end; OpenAI's go from 0 to 1.
TOP_P_MIN, TOP_P_MAX = 0.01, 0.99
TOP_K_MAX = 500
#: Tokens of thought for an effort word; a word above these sets no limit.
#: Cohere has a budget only: https://docs.cohere.com/docs/reasoning (2026-11-22)
BUDGET_BY_EFFORT = {"minimal": 1024, "low": 1024, "medium": 8192}


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for Cohere; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    if conversation.n > 1:
        raise BadRequest(f"The model {traits.model!r} gives one answer a call: 'n' must be 1.", param="n")
    return _Writer(conversation, traits).request()


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._documents: list[dict[str, Any]] = []

    def request(self) -> EncodedRequest:
        asked = self._conversation
        fields: dict[str, Any] = {"model": self._traits.model, "messages": self._messages()}
        if self._documents:
            fields["documents"] = self._documents
        if asked.streaming:
            fields["stream"] = True
        self._tools(fields)
        self._format(fields)
        self._think(fields)
        self._sampling(fields)
        for name, raw in asked.extra.items():
            if name in PASSED_FIELDS:
                fields[name] = raw
            else:
                leave_out(asked, self._traits, name, NAME)
        self._leave_out_foreign()
        return EncodedRequest(fields)

    # --- messages --------------------------------------------------------------------------------------------------

    def _messages(self) -> list[dict[str, Any]]:
        """Results of tools stand right behind the turn that called them; pictures among them follow as the user's."""
        asked = self._conversation
        written: list[dict[str, Any]] = []
        pictures: list[Part] = []
        if asked.system:
            written.append({"role": "system", "content": self._content(asked.system)})
        for message in asked.messages:
            if message.name:
                note(self._conversation, "messages[].name")
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            rest = [part for part in message.parts if not isinstance(part, ToolResult)]
            written += [self._result(result, pictures) for result in results]
            if message.role == "tool" and not rest:
                continue
            if pictures:
                written.append({"role": "user", "content": self._content(pictures)})
                pictures = []
            if message.role == "assistant":
                written.append(self._assistant(rest))
            elif rest or not results:
                role = "system" if message.role == "system" else "user"
                written.append({"role": role, "content": self._content(rest)})
        if pictures:
            written.append({"role": "user", "content": self._content(pictures)})
        return written

    def _content(self, parts: Sequence[Part]) -> Any:
        """A text alone is a string; anything more is a list."""
        blocks = [block for part in parts if (block := self._block(part)) is not None]
        if not blocks:
            return ""
        return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks

    def _block(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, (Text, Refusal)):
            return {"type": "text", "text": part.text}
        if isinstance(part, Document) and part.text is not None:
            return self._document(part, part.text)
        if isinstance(part, Image) and not isinstance(part.source, FileId):
            source = part.source
            url = f"data:{source.media_type};base64,{source.data}" if isinstance(source, Inline) else source.url
            image = {"url": url, "detail": part.detail} if part.detail else {"url": url}
            return {"type": "image_url", "image_url": image}
        leave_out(self._conversation, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)
        return None

    def _document(self, part: Document, text: str) -> dict[str, Any] | None:
        """One that is to be cited goes where Cohere has its documents; another is text like any other."""
        if not part.citations:
            return {"type": "text", "text": "\n".join(words for words in (part.title, part.context, text) if words)}
        data = {"title": part.title, "context": part.context, "text": text}
        self._documents.append({"data": {name: words for name, words in data.items() if words}})
        return None

    def _assistant(self, parts: Sequence[Part]) -> dict[str, Any]:
        """What was thought before calls is given back as their plan, but for models that think."""
        calls = [part for part in parts if isinstance(part, ToolCall)]
        thought = "".join(part.text for part in parts if isinstance(part, Reasoning))
        if any(part.redacted or part.signature for part in parts if isinstance(part, Reasoning)):
            note(self._conversation, "messages[].thinking_blocks")  # only its maker can read or trust that
        content = self._content([part for part in parts if not isinstance(part, (ToolCall, Reasoning))])
        written: dict[str, Any] = {"role": "assistant"}
        if thought and "reasoning" in self._traits.model:
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            written["content"] = [{"type": "thinking", "thinking": thought}, *(blocks if content else [])]
        elif content or not calls:
            written["content"] = content
        if thought and "reasoning" not in self._traits.model:
            if calls:
                written["tool_plan"] = thought
            else:
                note(self._conversation, "messages[].reasoning_content")
        own = [call for call in calls if not call.server_side]
        if own:
            written["tool_calls"] = [_call_fields(call) for call in own]
        for call in calls:
            if call.server_side:
                leave_out(self._conversation, self._traits, f"messages[].content[{call.name}]", NAME)
        return written

    def _result(self, result: ToolResult, pictures: list[Part]) -> dict[str, Any]:
        texts: list[Part] = []
        for part in result.parts:
            (pictures if isinstance(part, Image) else texts).append(part)
        if result.failed:
            note(self._conversation, "messages[].content[tool_result].is_error")
        content: Any = self._content(texts)
        if not texts and result.parts:
            content = "The result is in the next message."
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}

    # --- tools -----------------------------------------------------------------------------------------------------

    def _tools(self, fields: dict[str, Any]) -> None:
        asked = self._conversation
        choice = asked.tool_choice
        named = choice.name if choice is not None and choice.kind == "named" else ""
        tools: list[dict[str, Any]] = []
        strict: list[bool] = []
        for tool in asked.tools:
            if tool.native is not None:
                leave_out(asked, self._traits, f"tools[{tool.name}]", NAME)
            elif not named or tool.name == named:
                tools.append({"type": "function", "function": _function_fields(tool)})
                strict.append(bool(tool.strict))
        if not tools:
            return
        fields["tools"] = tools
        if all(strict):
            fields["strict_tools"] = True
        elif any(strict):
            note(self._conversation, "tools[].function.strict")  # it holds for all of them or for none
        if choice is not None and choice.kind != "auto":
            fields["tool_choice"] = "NONE" if choice.kind == "none" else "REQUIRED"
        if asked.parallel_tool_calls is False:
            leave_out(asked, self._traits, "parallel_tool_calls", NAME)

    def _format(self, fields: dict[str, Any]) -> None:
        """https://docs.cohere.com/docs/structured-outputs (2026-11-22): not together with tools or documents."""
        form = self._conversation.response_format
        if form is None or form.kind == "text":
            return
        if "tools" in fields or "documents" in fields:
            leave_out(self._conversation, self._traits, "response_format", NAME)
            return
        fields["response_format"] = {"type": "json_object"}
        if form.schema is not None:
            fields["response_format"]["json_schema"] = form.schema

    # --- how to think and to sample --------------------------------------------------------------------------------

    def _think(self, fields: dict[str, Any]) -> None:
        options = self._conversation.reasoning
        if options is None:
            return
        if not self._traits.reasoning:
            if options.effort != "none":
                leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
        elif options.effort == "none":
            fields["thinking"] = {"type": "disabled"}
        else:
            fields["thinking"] = {"type": "enabled"}
            budget = options.budget_tokens or BUDGET_BY_EFFORT.get(options.effort)
            if budget is not None:
                fields["thinking"]["token_budget"] = budget

    def _sampling(self, fields: dict[str, Any]) -> None:
        asked = self._conversation
        given: dict[str, Any] = {
            "max_tokens": asked.output_tokens_max,
            "temperature": asked.temperature,
            "p": None if asked.top_p is None else min(max(asked.top_p, TOP_P_MIN), TOP_P_MAX),
            "k": None if asked.top_k is None else min(asked.top_k, TOP_K_MAX),
            "seed": asked.seed,
            "stop_sequences": asked.stop[:STOPS_MAX] or None,
            "presence_penalty": self._penalty("presence_penalty"),
            "frequency_penalty": self._penalty("frequency_penalty"),
        }
        fields.update({name: value for name, value in given.items() if value is not None})
        if len(asked.stop) > STOPS_MAX:
            leave_out(asked, self._traits, "stop", NAME)

    def _penalty(self, name: str) -> float | None:
        """Cohere's go from 0 to 1, OpenAI's from -2 to 2."""
        value: float | None = getattr(self._conversation, name)
        if value is None or value >= 0:
            return value if value is None else min(value, 1.0)
        leave_out(self._conversation, self._traits, name, NAME)
        return None

    def _leave_out_foreign(self) -> None:
        asked = self._conversation
        for name in ("logit_bias", "logprobs", "top_logprobs"):
            if getattr(asked, name):
                leave_out(asked, self._traits, name, NAME)
        note_hints(asked)


def _call_fields(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def _function_fields(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description:
        fields["description"] = tool.description
    fields["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    return fields
