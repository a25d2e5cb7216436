"""Our words as a text completion request.
https://platform.openai.com/docs/api-reference/completions/create (2026-11-22).
"""

from __future__ import annotations

from typing import Any

from tollway.conversation import Conversation, Document, Message, Part, Reasoning, Refusal, Text, ToolResult
from tollway.dialects import EncodedRequest, Traits, leave_out, note, note_hints
from tollway.dialects.openai_completions.decode import NAME, PLAIN_FIELDS

#: What a server writes at most where nobody says is 16 tokens, which is no answer in a chat.
OUTPUT_TOKENS_OTHERWISE = 1024
#: Fields of its own that a client of chat completions may send along; they go on as they came.
PASSED_FIELDS = frozenset({"suffix", "echo", "best_of"})
_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Result of a tool"}
#: How a transcript shows whose turn it is; the model would go on with the user's part otherwise.
_NEXT_TURN = "\n\nUser:"


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A text completion request; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    prompt = prompt_of(conversation, traits, NAME)
    fields: dict[str, Any] = {"model": traits.model, "prompt": prompt}
    for name, (ours, _) in PLAIN_FIELDS.items():
        value = getattr(conversation, ours)
        if value is not None and value != "" and value is not False:
            fields[name] = value
    if conversation.n == 1:
        fields.pop("n", None)
    if conversation.output_tokens_max is None and conversation.dialect != NAME:
        fields["max_tokens"] = min(traits.output_tokens_max, OUTPUT_TOKENS_OTHERWISE)
    if conversation.stop:
        fields["stop"] = conversation.stop
    elif prompt.endswith("Assistant:"):
        fields["stop"] = [_NEXT_TURN]
    if conversation.logprobs or (conversation.top_logprobs and conversation.logprobs is None):
        fields["logprobs"] = conversation.top_logprobs or 0
    if conversation.streaming:
        fields["stream_options"] = {"include_usage": True}  # asked for always: the call's cost hangs on it
    for name, raw in conversation.extra.items():
        if conversation.dialect in (NAME, "") or (name in PASSED_FIELDS and conversation.dialect == "openai_chat"):
            fields[name] = raw
        else:
            leave_out(conversation, traits, name, NAME)
    leave_out_of_chat(conversation, traits, NAME)
    return EncodedRequest(fields)


def prompt_of(conversation: Conversation, traits: Traits, dialect: str) -> str:
    """The text to go on with: a lone text as it is, more of it as a transcript that ends with the assistant's turn."""
    turns = [Message("system", conversation.system)] if conversation.system else []
    turns += conversation.messages
    said = [(turn.role, _text_of(turn.parts, conversation, traits, dialect)) for turn in turns]
    if len(said) == 1:
        return said[0][1]
    lines = [f"{_SPEAKERS.get(role, role)}: {text}" for role, text in said if text]
    return "\n\n".join([*lines, "Assistant:"])


def _text_of(parts: list[Part], conversation: Conversation, traits: Traits, dialect: str) -> str:
    texts: list[str] = []
    for part in parts:
        if isinstance(part, (Text, Refusal)):
            texts.append(part.text)
        elif isinstance(part, Document) and part.text is not None:
            texts.append("\n".join(words for words in (part.title, part.context, part.text) if words))
        elif isinstance(part, ToolResult):
            texts.append(_text_of(part.parts, conversation, traits, dialect))
        elif isinstance(part, Reasoning):
            note(conversation, "messages[].reasoning_content")
        else:
            leave_out(conversation, traits, f"messages[].content[{type(part).__name__.lower()}]", dialect)
    return "\n\n".join(texts)


def leave_out_of_chat(conversation: Conversation, traits: Traits, dialect: str) -> None:
    """Names what a chat has and a completion has not."""
    form, options = conversation.response_format, conversation.reasoning
    given = {
        "tools": bool(conversation.tools)
        and (conversation.tool_choice is None or conversation.tool_choice.kind != "none"),
        "response_format": form is not None and form.kind != "text",
        "reasoning_effort": options is not None and options.effort != "none",
    }
    for name, unsaid in given.items():
        if unsaid:
            leave_out(conversation, traits, name, dialect)
    note_hints(conversation, ("metadata", "service_tier"))
