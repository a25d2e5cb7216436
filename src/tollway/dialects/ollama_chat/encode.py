"""Our words as a request to Ollama. https://docs.ollama.com/api/chat (2026-11-22)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from tollway.conversation import (
    Conversation,
    Document,
    Image,
    Inline,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from tollway.dialects import EncodedRequest, Traits, decode_field, leave_out, note, note_hints
from tollway.errors import BadRequest

NAME = "ollama_chat"

#: Fields of the request itself that a client of another dialect may send along; they go on as they came.
PASSED_FIELDS = frozenset({"keep_alive", "think", "format", "truncate", "shift"})
#: Members of `options` that people write beside the others.
#: https://docs.ollama.com/modelfile#valid-parameters-and-values (2026-11-22); the Runner's own from Ollama's api/types.go.
OPTION_FIELDS = frozenset(
    {
        "draft_num_predict",
        "main_gpu",
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "num_batch",
        "num_ctx",
        "num_gpu",
        "num_keep",
        "num_predict",
        "num_thread",
        "repeat_last_n",
        "repeat_penalty",
        "tfs_z",
        "typical_p",
        "use_mmap",
    }
)
#: Members of `options` and what they are called here.
_OPTIONS = {
    "num_predict": "output_tokens_max",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
#: Models that take an effort word; the others only know whether to think.
#: https://docs.ollama.com/capabilities/thinking (2026-11-22)
_LEVELLED = "gpt-oss"
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for Ollama; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    if conversation.n > 1:
        raise BadRequest(f"The model {traits.model!r} gives one answer a call: 'n' must be 1.", param="n")
    return _Writer(conversation, traits).request()


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._names: dict[str, str] = {}  # of calls, by their ids

    def request(self) -> EncodedRequest:
        asked = self._conversation
        fields: dict[str, Any] = {
            "model": self._traits.model,
            "messages": self._messages(),
            "stream": asked.streaming,
        }
        if tools := self._tools():
            fields["tools"] = tools
        self._format(fields)
        self._think(fields)
        if asked.logprobs or (asked.top_logprobs and asked.logprobs is None):  # Responses asks by the number alone
            fields["logprobs"] = True
            if asked.top_logprobs:
                fields["top_logprobs"] = asked.top_logprobs
        options = {name: value for name, ours in _OPTIONS.items() if (value := getattr(asked, ours)) is not None}
        if asked.stop:
            options["stop"] = asked.stop
        self._write_extra(fields, options)
        if options:
            fields["options"] = options
        self._leave_out_foreign()
        return EncodedRequest(fields)

    # --- messages --------------------------------------------------------------------------------------------------

    def _messages(self) -> list[dict[str, Any]]:
        asked = self._conversation
        written: list[dict[str, Any]] = []
        if asked.system:
            written.append(self._said("system", asked.system))
        for message in asked.messages:
            if message.name:
                note(self._conversation, "messages[].name")
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            written += [self._result(result) for result in results]
            rest = [part for part in message.parts if not isinstance(part, ToolResult)]
            if message.role == "assistant":
                written.append(self._assistant(message))
            elif rest or not results:
                written.append(self._said("user" if message.role == "tool" else message.role, rest))
        return written

    def _said(self, role: str, parts: Sequence[Part]) -> dict[str, Any]:
        """One message: its texts joined, its pictures beside them."""
        texts: list[str] = []
        images: list[str] = []
        for part in parts:
            if isinstance(part, (Text, Refusal)):
                texts.append(part.text)
            elif isinstance(part, Document) and part.text is not None:
                texts.append("\n".join(words for words in (part.title, part.context, part.text) if words))
            elif isinstance(part, (Image, Document)) and _is_inline_picture(part):
                images.append(part.source.data)  # type: ignore[union-attr]  # an Inline, says the line above
            else:
                self._leave_out_part(part)
        written: dict[str, Any] = {"role": role, "content": "\n\n".join(texts)}
        if images:
            written["images"] = images
        return written

    def _assistant(self, message: Message) -> dict[str, Any]:
        thoughts = [part for part in message.parts if isinstance(part, Reasoning)]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        rest = [part for part in message.parts if not isinstance(part, (Reasoning, ToolCall, ToolResult))]
        written = self._said("assistant", rest)
        if text := "".join(part.text for part in thoughts):
            written["thinking"] = text
        if any(part.redacted or part.signature for part in thoughts):
            note(self._conversation, "messages[].thinking_blocks")  # only its maker can read or trust that
        own: list[dict[str, Any]] = []
        for call in calls:
            if call.server_side:
                self._leave_out_part(call)
                continue
            self._names[call.id] = call.name
            own.append({"id": call.id, "function": {"name": call.name, "arguments": _arguments(call.arguments)}})
        if own:
            written["tool_calls"] = own
        return written

    def _result(self, result: ToolResult) -> dict[str, Any]:
        written = self._said("tool", result.parts)
        if result.failed:
            note(self._conversation, "messages[].content[tool_result].is_error")
        written["tool_call_id"] = result.call_id
        if name := self._names.get(result.call_id):
            written["tool_name"] = name
        return written

    def _leave_out_part(self, part: Part) -> None:
        leave_out(self._conversation, self._traits, f"messages[].content[{type(part).__name__.lower()}]", NAME)

    # --- tools, format, thought ------------------------------------------------------------------------------------

    def _tools(self) -> list[dict[str, Any]]:
        asked = self._conversation
        choice = asked.tool_choice
        if choice is not None and choice.kind == "none":
            return []
        if choice is not None and choice.kind != "auto":
            leave_out(asked, self._traits, "tool_choice", NAME)
        if asked.parallel_tool_calls is False and asked.tools:
            leave_out(asked, self._traits, "parallel_tool_calls", NAME)
        tools: list[dict[str, Any]] = []
        for tool in asked.tools:
            if tool.native is not None:
                leave_out(asked, self._traits, f"tools[{tool.name}]", NAME)
            else:
                tools.append({"type": "function", "function": self._function(tool)})
        return tools

    def _function(self, tool: Tool) -> dict[str, Any]:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = tool.parameters if tool.parameters is not None else _NO_PARAMETERS
        if tool.strict:
            note(self._conversation, "tools[].function.strict")
        return function

    def _format(self, fields: dict[str, Any]) -> None:
        form = self._conversation.response_format
        if form is not None and form.kind != "text":
            fields["format"] = form.schema if form.schema is not None else "json"

    def _think(self, fields: dict[str, Any]) -> None:
        options = self._conversation.reasoning
        if options is None:
            return
        if not self._traits.reasoning:
            if options.effort != "none":
                leave_out(self._conversation, self._traits, "reasoning_effort", NAME)
        elif _LEVELLED in self._traits.model:
            if level := _LEVELS.get(options.effort):
                fields["think"] = level
        else:
            fields["think"] = options.effort != "none"

    # --- the rest --------------------------------------------------------------------------------------------------

    def _write_extra(self, fields: dict[str, Any], options: dict[str, Any]) -> None:
        asked = self._conversation
        for name, raw in asked.extra.items():
            if name == "options":
                options.update(decode_field(name, raw, dict[str, Raw]))
            elif name in OPTION_FIELDS:
                options[name] = raw
            elif name in PASSED_FIELDS:
                fields[name] = raw
            else:
                leave_out(asked, self._traits, name, NAME)

    def _leave_out_foreign(self) -> None:
        asked = self._conversation
        if asked.logit_bias is not None:
            leave_out(asked, self._traits, "logit_bias", NAME)
        note_hints(asked)


_NO_PARAMETERS = {"type": "object", "properties": {}}


def _is_inline_picture(part: Image | Document) -> bool:
    source = part.source
    return isinstance(source, Inline) and (isinstance(part, Image) or source.media_type.startswith("image/"))


def _arguments(text: str) -> Raw:
    """Ollama wants an object. {} for what is none: it would refuse the whole conversation for a slip of its model."""
    stripped = text.strip().encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(stripped, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Raw(b"{}")
    return Raw(stripped)
