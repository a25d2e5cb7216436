from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.conversation import (
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
    ReasoningOptions,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tollway.dialects.anthropic_messages import decode_request
from tollway.errors import BadRequest

CITED = Citation(raw=Raw(b'{"x":1}'), dialect="anthropic_messages")


def decode(**fields: Any) -> Conversation:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    return decode_request(msgspec.json.decode(msgspec.json.encode(body), type=dict[str, Raw]))


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", CacheMark())),
        ({"type": "text", "text": "a", "citations": [{"x": 1}]}, Text("a", citations=[CITED])),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            Image(Inline("image/png", "aGk=")),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x.test/a"}}, Image(Link("https://x.test/a"))),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, Image(FileId("f"))),
        (
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "t"},
                "citations": {"enabled": True},
            },
            Document(Inline("text/plain", ""), text="t", citations=True),
        ),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "t",
            },
            Document(Inline("application/pdf", "aGk="), "t"),
        ),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}, ToolCall("t", "f", '{"a":1}')),
        ({"type": "server_tool_use", "id": "t", "name": "w", "input": {}}, ToolCall("t", "w", "{}", server_side=True)),
        ({"type": "thinking", "thinking": "why", "signature": "s"}, Reasoning("why", "s", maker="anthropic_messages")),
        ({"type": "redacted_thinking", "data": "d"}, Reasoning(redacted="d")),
        ({"type": "novel", "x": 1.0}, Opaque("anthropic_messages", Raw(b'{"type":"novel","x":1.0}'))),
    ],
)
def test_each_block_has_our_word(block: dict[str, Any], part: Part) -> None:
    assert decode(messages=[{"role": "assistant", "content": [block]}]).messages == [Message("assistant", [part])]


def test_results_stand_apart_from_what_the_user_says_beside_them() -> None:
    content = [
        {"type": "tool_result", "tool_use_id": "a", "content": "1", "is_error": True},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "text", "text": "and?"},
    ]
    assert decode(messages=[{"role": "user", "content": content}]).messages == [
        Message("tool", [ToolResult("a", [Text("1")], True), ToolResult("b", [Text("2")]), ToolResult("c")]),
        Message("user", [Text("and?")]),
    ]


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"system": "s"}, "system", [Text("s")]),
        ({"system": [{"type": "text", "text": "s"}]}, "system", [Text("s")]),
        ({}, "output_tokens_max", 9),
        ({"stop_sequences": ["a"]}, "stop", ["a"]),
        ({"metadata": {"user_id": "u"}}, "user", "u"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "tools", [Tool("f", parameters=Raw(b"{}"))]),
        (
            {"tools": [{"type": "bash_20250124", "name": "bash"}]},
            "tools",
            [Tool("bash", native=Raw(b'{"type":"bash_20250124","name":"bash"}'), dialect="anthropic_messages")],
        ),
        ({"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}, "tool_choice", ToolChoice("required")),
        ({"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}, "parallel_tool_calls", False),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice", ToolChoice("named", "f")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "reasoning", ReasoningOptions(budget_tokens=2000)),
        ({"thinking": {"type": "disabled"}}, "reasoning", ReasoningOptions("none")),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
            "reasoning",
            ReasoningOptions("max", None, True, "omitted"),
        ),
        ({"output_config": {"effort": "low"}}, "reasoning", ReasoningOptions("low")),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"a": 1.5}}}},
            "response_format",
            ResponseFormat("json_schema", schema=Raw(b'{"a":1.5}')),
        ),
        (
            {"output_format": {"type": "json_schema", "schema": {}}},
            "response_format",
            ResponseFormat("json_schema", schema=Raw(b"{}")),
        ),
        ({"container": "c", "top_k": None}, "extra", {"container": Raw(b'"c"')}),
    ],
)
def test_each_field_has_our_word(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(decode(**fields), name) == value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_a_bad_shape_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert param in caught.value.message
