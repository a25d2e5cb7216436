from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.conversation import (
    Audio,
    CacheMark,
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
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
    WebSearch,
)
from tollway.dialects.openai_chat import decode_request
from tollway.errors import BadRequest

MARK = {"type": "ephemeral"}


def decode(**fields: Any) -> Conversation:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return decode_request(msgspec.json.decode(msgspec.json.encode(body), type=dict[str, Raw]))


def part(wire: dict[str, Any]) -> Part:
    return decode(messages=[{"role": "user", "content": [wire]}]).messages[0].parts[0]


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            Text("a", CacheMark("1h")),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            Image(Inline("image/png", "aGk="), "low"),
        ),
        ({"type": "image_url", "image_url": "https://x.test/a.png"}, Image(Link("https://x.test/a.png"))),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
            Audio(Inline("audio/mp3", "UklG"), "mp3"),
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
            Document(Inline("application/pdf", "aGk="), "a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "aGk="}}, Document(Inline("application/pdf", "aGk="))),
        ({"type": "file", "file": {"file_id": "file-1"}}, Document(FileId("file-1"))),
        ({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGk="}}, Video(Inline("video/mp4", "aGk="))),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "novel", "x": 1.0}, Opaque("openai_chat", Raw(b'{"type":"novel","x":1.0}'))),
    ],
)
def test_each_kind_of_part_has_our_word(wire: dict[str, Any], ours: Part) -> None:
    assert part(wire) == ours


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ({"role": "user", "content": "a", "name": "ann"}, Message("user", [Text("a")], "ann")),
        (
            {"role": "user", "content": "a", "cache_control": {"type": "ephemeral"}},
            Message("user", [Text("a", CacheMark())]),
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            Message("assistant", [ToolCall("c1", "f", '{"a": 1}')]),
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}]},
            Message("assistant", [ToolCall("c1", "f", '{"a":1}')]),
        ),
        (
            {"role": "assistant", "content": "b", "reasoning_content": "because"},
            Message("assistant", [Reasoning("because"), Text("b")]),
        ),
        (
            {"role": "assistant", "content": "b", "reasoning": "because"},
            Message("assistant", [Reasoning("because"), Text("b")]),
        ),
        (
            {
                "role": "assistant",
                "content": "b",
                "reasoning_content": "because",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "because", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                ],
            },
            Message(
                "assistant", [Reasoning("because", "s", maker="anthropic_messages"), Reasoning(redacted="d"), Text("b")]
            ),
        ),
        ({"role": "assistant", "content": "", "refusal": "no"}, Message("assistant", [Refusal("no")])),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "p", "input": "x"}}]},
            Message("assistant", [ToolCall("c", "p", '{"input":"x"}')]),
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "c",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "g"}},
                    }
                ],
            },
            Message("assistant", [ToolCall("c", "f", "{}", signature="g")]),
        ),
        (
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "42", "cache_control": {"type": "ephemeral"}}],
            },
            Message("tool", [ToolResult("c1", [Text("42", CacheMark())])]),
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": "42", "cache_control": {"type": "ephemeral"}},
            Message("tool", [ToolResult("c1", [Text("42")], cache=CacheMark())]),
        ),
    ],
)
def test_each_kind_of_message_has_our_word(wire: dict[str, Any], ours: Message) -> None:
    assert decode(messages=[wire]).messages == [ours]


def test_leading_system_and_developer_messages_are_the_system_and_later_ones_stay() -> None:
    system = [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}]}]
    conversation = decode(messages=[*system, {"role": "user", "content": "hi"}, {"role": "system", "content": "c"}])
    assert conversation.system == [Text("a"), Text("b")]
    assert conversation.messages == [Message("user", [Text("hi")]), Message("system", [Text("c")])]


def test_the_older_function_calls_get_ids_that_their_results_share() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "1"}
    conversation = decode(
        messages=[{"role": "user", "content": "hi"}, call, result, call, result],
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    ids = [
        one.id if isinstance(one, ToolCall) else one.call_id
        for message in conversation.messages[1:]
        for one in message.parts
    ]  # type: ignore[union-attr]
    assert ids == ["call_1_f", "call_1_f", "call_2_f", "call_2_f"]
    assert conversation.tools == [Tool("f", parameters=Raw(b'{"type":"object"}'))]
    assert conversation.tool_choice == ToolChoice("named", "f")


def test_a_tools_schema_is_not_touched() -> None:
    schema = b'{ "type":"object", "patternProperties":{"^x":{"const":1.0}}, "anyOf":[{"exclusiveMinimum":0}] }'
    tools = b'[{"type":"function","function":{"name":"f","parameters":%s}}]' % schema
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":' + tools + b"}"
    (tool,) = decode_request(msgspec.json.decode(body, type=dict[str, Raw])).tools
    assert tool.parameters == Raw(schema)


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        (
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "strict": True},
                "cache_control": {"type": "ephemeral"},
            },
            Tool("f", "d", None, True, CacheMark()),
        ),
        (
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
            Tool(
                "web_search",
                native=Raw(b'{"type":"web_search_20250305","name":"web_search","max_uses":2}'),
                dialect="anthropic_messages",
            ),
        ),
        (
            {"type": "web_search_preview"},
            Tool(
                "web_search_preview",
                native=Raw(b'{"type":"web_search_preview"}'),
                dialect="openai_chat",
                search=WebSearch(),
            ),
        ),
        ({"name": "f", "input_schema": {"type": "object"}}, Tool("f", parameters=Raw(b'{"type":"object"}'))),
    ],
)
def test_tools_of_every_origin_are_known(wire: dict[str, Any], ours: Tool) -> None:
    assert decode(tools=[wire]).tools == [ours]


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        ({"type": "tool", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, ToolChoice("required")),
    ],
)
def test_every_way_to_choose_a_tool_is_known(wire: Any, ours: ToolChoice) -> None:
    assert decode(tool_choice=wire).tool_choice == ours


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"max_tokens": 5}, "output_tokens_max", 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, "output_tokens_max", 7),
        ({"max_completion_tokens": None, "max_tokens": 5}, "output_tokens_max", 5),
        ({"stop": "a"}, "stop", ["a"]),
        ({"stop": ["a", "b"]}, "stop", ["a", "b"]),
        ({"stop": None}, "stop", []),
        ({"temperature": 1}, "temperature", 1.0),
        ({"stream": True, "stream_options": {"include_usage": True}}, "usage_wanted", True),
        ({"stream": True}, "streaming", True),
        ({"reasoning_effort": "high"}, "reasoning", ReasoningOptions("high")),
        (
            {"reasoning_effort": {"effort": "low", "summary": "auto"}},
            "reasoning",
            ReasoningOptions("low", summary="auto"),
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "reasoning", ReasoningOptions(budget_tokens=2000)),
        ({"thinking": {"type": "disabled"}}, "reasoning", ReasoningOptions("none")),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            "reasoning",
            ReasoningOptions("", None, True, "omitted"),
        ),
        ({"response_format": {"type": "json_object"}}, "response_format", ResponseFormat("json_object")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"a": 1.5}, "strict": True},
                }
            },
            "response_format",
            ResponseFormat("json_schema", "n", Raw(b'{"a":1.5}'), True),
        ),
        ({"store": False}, "extra", {"store": Raw(b"false")}),
        ({"metadata": {"a": "b"}}, "metadata", Raw(b'{"a":"b"}')),
    ],
)
def test_each_field_has_our_word(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(decode(**fields), name) == value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "messages[0].tool_calls"),
        ({"model": 7}, "model"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"stop": 7}, "stop"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_bad_shape_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert param in caught.value.message


def test_a_missing_field_is_told_in_openais_words() -> None:
    with pytest.raises(BadRequest, match=r"^Missing required parameter: 'messages'\.$"):
        decode_request({"model": Raw(b'"m"')})
