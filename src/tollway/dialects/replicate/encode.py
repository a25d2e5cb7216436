"""Our words as a model's `input` at Replicate: flat fields, which the provider wraps.

https://replicate.com/docs/topics/predictions/create-a-prediction (2026-11-22)
"""

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
    ToolResult,
)
from tollway.dialects import EncodedRequest, Traits, leave_out, note, note_hints
from tollway.dialects.replicate.predictions import Script
from tollway.dialects.replicate.shapes import SAMPLING, shape_of
from tollway.errors import BadRequest

NAME = "replicate"

#: Who speaks, in a script.
_SPEAKERS = {"system": "System", "assistant": "Assistant", "tool": "Tool"}
#: OpenAI's fields that say nothing to any model here. Whatever else stands beside the conversation is the model's own.
_FOREIGN = frozenset(
    {
        "audio",
        "function_call",
        "functions",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "web_search_options",
    }
)
_SCRIPT = Script()


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """The `input` of a prediction; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    if conversation.n > 1:
        raise BadRequest(f"The model {traits.model!r} gives one answer a call: 'n' must be 1.", param="n")
    return EncodedRequest(_Writer(conversation, traits).fields(), follower=_SCRIPT)


class _Writer:
    def __init__(self, conversation: Conversation, traits: Traits) -> None:
        self._conversation = conversation
        self._traits = traits
        self._shape = shape_of(traits.model)
        self._pictures: list[str] = []

    def fields(self) -> dict[str, Any]:
        asked, shape = self._conversation, self._shape
        fields: dict[str, Any] = {"model": self._traits.model}  # which the provider takes out again
        system = self._text(asked.system)
        turns = [(message.role, self._text(message.parts)) for message in asked.messages]
        if any(message.name for message in asked.messages):
            note(self._conversation, "messages[].name")
        if system and shape.system:
            fields[shape.system] = system
        elif system:
            turns.insert(0, ("system", system))
        fields["prompt"] = _script(turns)
        if shape.messages and len(turns) > 1 and not self._pictures and not any(role == "tool" for role, _ in turns):
            opening = [("system", system)] if system else []
            fields["messages"] = [{"role": role, "content": text} for role, text in (*opening, *turns)]
        self._show(fields)
        self._limits(fields)
        self._leave_out_foreign()
        own = asked.dialect in ("openai_chat", "openai_completions", "")
        for name, raw in asked.extra.items():
            if own and name not in _FOREIGN:
                fields.setdefault(name, raw)
            else:
                leave_out(asked, self._traits, name, NAME)
        return fields

    def _text(self, parts: Sequence[Part]) -> str:
        """The words among these parts; pictures are put aside."""
        texts: list[str] = []
        for part in parts:
            if isinstance(part, (Text, Refusal)):
                texts.append(part.text)
            elif isinstance(part, Document) and part.text is not None:
                texts.append("\n".join(words for words in (part.title, part.context, part.text) if words))
            elif isinstance(part, ToolResult):
                texts.append(self._text(part.parts))
            elif isinstance(part, Reasoning):
                note(self._conversation, "messages[].reasoning_content")
            elif isinstance(part, Image) and not isinstance(part.source, FileId) and self._sees():
                source = part.source
                data = f"data:{source.media_type};base64,{source.data}" if isinstance(source, Inline) else source.url
                self._pictures.append(data)
            else:
                name = f"messages[].content[{type(part).__name__.lower()}]"
                leave_out(self._conversation, self._traits, name, NAME)
        return "\n\n".join(text for text in texts if text)

    def _sees(self) -> bool:
        """Whether the model has room for one more picture."""
        return bool(self._shape.pictures) and (self._shape.many or not self._pictures)

    def _show(self, fields: dict[str, Any]) -> None:
        if self._pictures:
            fields[self._shape.pictures] = self._pictures if self._shape.many else self._pictures[0]

    def _limits(self, fields: dict[str, Any]) -> None:
        asked, shape = self._conversation, self._shape
        if asked.output_tokens_max is not None:
            fields[shape.limit] = asked.output_tokens_max
        for name in SAMPLING:
            value = getattr(asked, name)
            if value is not None and name in shape.sampling:
                fields[name] = value
            elif value is not None:
                leave_out(asked, self._traits, name, NAME)
        if asked.stop and shape.stop:
            # One text with commas: https://replicate.com/meta/meta-llama-3-70b-instruct/api/schema (2026-11-22)
            if any("," in stop for stop in asked.stop):
                leave_out(asked, self._traits, "stop", NAME)
            else:
                fields[shape.stop] = ",".join(asked.stop)
        elif asked.stop:
            leave_out(asked, self._traits, "stop", NAME)
        if asked.reasoning is not None and asked.reasoning.effort not in ("", "none"):
            if shape.effort:
                fields["reasoning_effort"] = {"xhigh": "high", "max": "high"}.get(
                    asked.reasoning.effort, asked.reasoning.effort
                )
            else:
                leave_out(asked, self._traits, "reasoning_effort", NAME)

    def _leave_out_foreign(self) -> None:
        asked = self._conversation
        given = {
            "tools": bool(asked.tools) and (asked.tool_choice is None or asked.tool_choice.kind != "none"),
            "tool_choice": asked.tool_choice is not None and asked.tool_choice.kind not in ("auto", "none"),
            "response_format": asked.response_format is not None and asked.response_format.kind != "text",
            "logit_bias": asked.logit_bias is not None,
            "logprobs": bool(asked.logprobs),
            "top_logprobs": bool(asked.top_logprobs),
        }
        for name, said in given.items():
            if said:
                leave_out(asked, self._traits, name, NAME)
        note_hints(asked)


def _script(turns: Sequence[tuple[str, str]]) -> str:
    """One turn of the user's is its own words; more are told with who said them, and the model goes on."""
    if len(turns) == 1 and turns[0][0] != "assistant":
        return turns[0][1]
    opening = [text for role, text in turns[:1] if role == "system"]
    rest = turns[len(opening) :]
    if len(rest) == 1 and rest[0][0] != "assistant":
        return "\n\n".join([*opening, rest[0][1]])
    lines = [f"{_SPEAKERS.get(role, 'User')}: {text}" for role, text in rest if text]
    if not rest or rest[-1][0] != "assistant":
        lines.append("Assistant:")
    return "\n\n".join([*opening, *lines])
