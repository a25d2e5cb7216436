from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Inline,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningOptions,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tollway.dialects import Traits
from tollway.dialects.openai_chat import encode_request
from tollway.errors import BadRequest

PICTURE = Image(Inline("image/png", "aGk="))


def encode(*messages: Message, traits: Traits | None = None, **rest: Any) -> dict[str, Any]:
    conversation = Conversation("asked", list(messages) or [Message("user", [Text("hi")])], **rest)
    return encode_request(conversation, traits or Traits(model="gpt")).fields


def test_the_deployments_model_is_named() -> None:
    assert encode() == {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}


def test_usage_is_always_asked_of_a_stream() -> None:
    assert encode(streaming=True)["stream_options"] == {"include_usage": True}


def test_zero_is_said() -> None:
    fields = encode(temperature=0.0, seed=0, top_logprobs=0, logprobs=False)
    assert (fields["temperature"], fields["seed"], fields["top_logprobs"], fields["logprobs"]) == (0.0, 0, 0, False)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_output_limit_has_the_name_that_the_model_knows(name: str) -> None:
    fields = encode(output_tokens_max=9, traits=Traits(model="gpt", output_limit_name=name))
    assert {key: value for key, value in fields.items() if key.startswith("max")} == {name: 9}


def test_pictures_in_tool_results_follow_all_the_results_in_a_users_message() -> None:
    results: list[Part] = [ToolResult("a", [Text("1"), PICTURE]), ToolResult("b", [PICTURE])]
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert encode(Message("tool", results))["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "The result is in the next message."},
        {"role": "user", "content": [url, url]},
    ]


def test_thought_and_calls_stand_on_the_assistants_message() -> None:
    parts: list[Part] = [Reasoning("why", "sig"), Reasoning(redacted="r"), ToolCall("c", "f", "{}")]
    assert encode(Message("assistant", parts), traits=Traits(model="m", thinking_field=True))["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "why",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "why", "signature": "sig"},
                {"type": "redacted_thinking", "data": "r"},
            ],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }
    ]


def test_cache_marks_go_only_to_servers_that_know_them() -> None:
    said = Message("user", [Text("a", CacheMark("1h"))])
    assert encode(said)["messages"][0]["content"] == "a"
    marked = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    assert encode(said, traits=Traits(model="m", cache_marks=True))["messages"][0]["content"] == marked


def test_cache_marks_that_are_left_out_are_named_and_never_refused() -> None:
    conversation = Conversation("x", [Message("tool", [ToolResult("c", [Text("a", CacheMark())])])])
    encode_request(conversation, Traits(model="gpt", drop_unsupported=False))
    assert conversation.dropped == ["cache_control"]


def test_a_text_document_is_text() -> None:
    document = Document(Inline("text/plain", ""), "Title", text="body")
    assert encode(Message("user", [document]))["messages"][0]["content"] == [{"type": "text", "text": "Title\n\nbody"}]


@pytest.mark.parametrize(
    ("options", "traits", "fields"),
    [
        (ReasoningOptions("high"), Traits(model="m"), {"reasoning_effort": "high"}),
        (ReasoningOptions(budget_tokens=1024), Traits(model="m"), {"reasoning_effort": "low"}),
        (ReasoningOptions(budget_tokens=5000), Traits(model="m"), {"reasoning_effort": "medium"}),
        (ReasoningOptions(budget_tokens=32000), Traits(model="m"), {"reasoning_effort": "high"}),
        (
            ReasoningOptions(budget_tokens=5000),
            Traits(model="m", thinking_field=True),
            {"thinking": {"type": "enabled", "budget_tokens": 5000}},
        ),
        (ReasoningOptions("low", adaptive=True), Traits(model="m"), {"reasoning_effort": "low"}),
        (ReasoningOptions("high"), Traits(model="m", reasoning=False), {}),
        (None, Traits(model="m"), {}),
    ],
)
def test_how_much_to_think_is_said_in_the_models_way(
    options: ReasoningOptions | None, traits: Traits, fields: dict[str, Any]
) -> None:
    encoded = encode(reasoning=options, traits=traits)
    assert {name: encoded[name] for name in ("reasoning_effort", "thinking") if name in encoded} == fields


def test_sampling_is_left_out_for_models_that_refuse_it() -> None:
    conversation = Conversation(
        "x", [Message("user", [Text("a")])], temperature=0.5, top_p=0.9, presence_penalty=1.0, logprobs=True
    )
    fields = encode_request(conversation, Traits(model="o9", sampling=False)).fields
    assert set(fields) == {"model", "messages"}
    assert conversation.dropped == ["temperature", "top_p", "presence_penalty", "logprobs"]


def test_the_only_temperature_of_a_model_that_does_not_sample_is_no_loss() -> None:
    conversation = Conversation("x", [Message("user", [Text("a")])], temperature=1.0, top_p=1.0)
    assert "temperature" not in encode_request(conversation, Traits(model="o9", sampling=False)).fields
    assert conversation.dropped == []


FOREIGN_TOOL = Tool("computer", native=Raw(b'{"type":"computer_20250124"}'), dialect="anthropic_messages")


@pytest.mark.parametrize(
    ("rest", "dropped"),
    [
        ({"extra": {"container": Raw(b'"c"')}, "dialect": "anthropic_messages"}, ["container"]),
        ({"tools": [FOREIGN_TOOL]}, ["tools[computer]"]),
        (
            {"messages": [Message("user", [Opaque("anthropic_messages", Raw(b"{}")), Text("a")])]},
            ["messages[].content[opaque]"],
        ),
    ],
)
def test_what_cannot_be_said_is_named_or_refused(rest: dict[str, Any], dropped: list[str]) -> None:
    asked = {"model": "x", "messages": [Message("user", [Text("a")])], **rest}
    conversation = Conversation(**asked)
    encode_request(conversation, Traits(model="gpt"))
    assert conversation.dropped == dropped
    with pytest.raises(BadRequest) as caught:
        encode_request(Conversation(**asked), Traits(model="gpt", drop_unsupported=False))
    assert caught.value.param == dropped[0]


def test_choices_of_tools_are_not_sent_without_tools() -> None:
    fields = encode(tool_choice=ToolChoice("auto"), parallel_tool_calls=False)
    assert set(fields) == {"model", "messages"}
