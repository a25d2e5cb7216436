from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.conversation import (
    Audio,
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
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tollway.dialects import EncodedRequest, Traits, openai_chat, strict_schema
from tollway.dialects.anthropic_messages import encode_request
from tollway.errors import BadRequest

HI = Message("user", [Text("hi")])
ADAPTIVE = Traits(model="claude", output_tokens_max=128000, adaptive_thinking=True)
LEGACY = Traits(model="claude", output_tokens_max=64000, legacy_thinking=True)
TOOL = Tool("f", "d", Raw(b'{"type":"object"}'))
CALL = ToolCall("c1", "f", '{"a": 1}')


def encode(*messages: Message, traits: Traits | None = None, **rest: Any) -> EncodedRequest:
    conversation = Conversation("asked", list(messages) or [HI], **rest)
    return encode_request(conversation, traits or Traits(model="claude"))


def wire(encoded: EncodedRequest) -> Any:
    return msgspec.json.decode(msgspec.json.encode(encoded.fields))


def dropped_by(traits: Traits, *messages: Message, **rest: Any) -> list[str]:
    conversation = Conversation("asked", list(messages) or [HI], **rest)
    encode_request(conversation, traits)
    return conversation.dropped


def test_a_chat_completion_becomes_a_message() -> None:
    body = {
        "model": "claude-opus",
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            },
            {"role": "user", "content": "look"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "here"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me run that.",
                "reasoning_content": "unsigned",
                "tool_calls": [
                    {"id": "call.1", "type": "function", "function": {"name": "exec", "arguments": '{"cmd":"ls"}'}}
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "call.1",
                "content": "a.txt",
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
            {"role": "user", "content": "and?"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "exec", "description": "d", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "auto",
        "max_completion_tokens": 100,
        "stop": ["END", " \n"],
        "stream": True,
        "user": "u-7",
    }
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, Raw])
    conversation = openai_chat.decode_request(fields)
    assert wire(encode_request(conversation, Traits(model="claude-opus-4-6"))) == {
        "model": "claude-opus-4-6",
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "text", "text": "here"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me run that."},
                    {"type": "tool_use", "id": "call_1", "name": "exec", "input": {"cmd": "ls"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": "a.txt",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    },
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        "max_tokens": 100,
        "stream": True,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-7"},
        "tools": [{"name": "exec", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    }
    assert conversation.dropped == ["messages[].reasoning_content"]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            Text("a", CacheMark("5m")),
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        ),
        (Refusal("no"), {"type": "text", "text": "no"}),
        (
            Image(Link("https://x.test/a.png")),
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        ),
        (Image(FileId("file_1")), {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        (
            Document(Inline("application/pdf", "aGk="), "t", "c", citations=True),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "t",
                "context": "c",
                "citations": {"enabled": True},
            },
        ),
        (
            Document(Inline("text/csv", "YSxi"), "t"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}, "title": "t"},
        ),
        (
            Document(Inline("image/png", "aGk=")),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ),
        (Opaque("anthropic_messages", Raw(b'{"type":"search_result"}')), {"type": "search_result"}),
        (
            ToolResult("a:b", [Text("x"), Image(Inline("image/png", "aGk="))], failed=True),
            {
                "type": "tool_result",
                "tool_use_id": "a_b",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                ],
                "is_error": True,
            },
        ),
        (
            ToolResult("c", [Text("x", CacheMark())]),
            {
                "type": "tool_result",
                "tool_use_id": "c",
                "cache_control": {"type": "ephemeral"},
                "content": [{"type": "text", "text": "x"}],
            },
        ),
    ],
)
def test_each_kind_of_part_has_a_block(part: Part, block: dict[str, Any]) -> None:
    assert wire(encode(Message("user", [part])))["messages"][0]["content"] == [block]


@pytest.mark.parametrize(
    ("part", "blocks"),
    [
        (Reasoning("why", "sig"), [{"type": "thinking", "thinking": "why", "signature": "sig"}]),
        (Reasoning(redacted="d"), [{"type": "redacted_thinking", "data": "d"}]),
        (Reasoning("unsigned"), []),
        (Text(" \n"), []),
        (ToolCall("", "f", "not json"), [{"type": "tool_use", "id": "call", "name": "f", "input": {}}]),
        (ToolCall("t", "f", "[1]"), [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]),
        (ToolCall("t", "f", '{"n":1.0}'), [{"type": "tool_use", "id": "t", "name": "f", "input": {"n": 1.0}}]),
        (
            ToolCall("t", "w", "{}", server_side=True),
            [{"type": "server_tool_use", "id": "t", "name": "w", "input": {}}],
        ),
    ],
)
def test_what_an_assistant_said_is_given_back_where_anthropic_can_trust_it(part: Part, blocks: list[Any]) -> None:
    said = wire(encode(HI, Message("assistant", [part, Text("so")]), HI))["messages"][1]["content"]
    assert said == [*blocks, {"type": "text", "text": "so"}]


def test_arguments_keep_their_own_bytes() -> None:
    encoded = encode(HI, Message("assistant", [ToolCall("t", "f", '{"n": 1.50, "n2":1e3}')]))
    assert b'"input":{"n": 1.50, "n2":1e3}' in msgspec.json.encode(encoded.fields)


def test_a_users_message_comes_first_and_turns_alternate() -> None:
    assistant = Message("assistant", [Text("a  ")])
    messages = wire(encode(assistant, assistant))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert [block["text"] for block in messages[1]["content"]] == ["a  ", "a"]


def test_results_come_first_in_their_message() -> None:
    messages = [
        HI,
        Message("assistant", [CALL]),
        Message("user", [Text("wait")]),
        Message("tool", [ToolResult("c1", [Text("1")])]),
    ]
    last = wire(encode(*messages))["messages"][-1]["content"]
    assert [block["type"] for block in last] == ["tool_result", "text"]


def test_a_name_beside_a_message_is_left_out_and_named() -> None:
    assert dropped_by(Traits(model="m"), Message("user", [Text("a")], "ann")) == ["messages[].name"]


def test_what_a_text_cites_goes_back_with_it() -> None:
    cited = Text("a", citations=[Citation(raw=Raw(b'{"x":1}'), dialect="anthropic_messages")])
    assert wire(encode(HI, Message("assistant", [cited])))["messages"][1]["content"] == [
        {"type": "text", "text": "a", "citations": [{"x": 1}]}
    ]


def test_later_system_messages_join_the_system() -> None:
    fields = wire(encode(HI, Message("system", [Text("b")]), system=[Text("a")]))
    assert [block["text"] for block in fields["system"]] == ["a", "b"]
    assert len(fields["messages"]) == 1


def test_the_limit_is_the_models_own_where_none_was_given() -> None:
    assert encode(traits=ADAPTIVE).fields["max_tokens"] == 128000


@pytest.mark.parametrize(
    ("tool", "fields"),
    [
        (Tool("f"), {"name": "f", "input_schema": {"type": "object", "properties": {}}}),
        (Tool("f", parameters=Raw(b'{"a":1}')), {"name": "f", "input_schema": {"type": "object", "a": 1}}),
        (
            Tool("f", "d", Raw(b'{"type":"object","x":[null]}'), True, CacheMark("1h")),
            {
                "name": "f",
                "description": "d",
                "input_schema": {"type": "object", "x": [None]},
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
        ),
        (
            Tool("bash", native=Raw(b'{"type":"bash_20250124","name":"bash"}'), dialect="anthropic_messages"),
            {"type": "bash_20250124", "name": "bash"},
        ),
    ],
)
def test_tools_are_said_in_anthropics_words(tool: Tool, fields: dict[str, Any]) -> None:
    assert wire(encode(tools=[tool]))["tools"] == [fields]


def test_tools_and_files_that_are_in_beta_ask_for_it() -> None:
    computer = Tool("c", native=Raw(b'{"type":"computer_20250124"}'), dialect="anthropic_messages")
    encoded = encode(Message("user", [Document(FileId("f1")), Document(FileId("f2"))]), tools=[computer])
    assert encoded.betas == ("files-api-2025-04-14", "computer-use-2025-01-24")


@pytest.mark.parametrize(
    ("choice", "parallel", "fields"),
    [
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("required"), True, {"type": "any"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("named", "f"), False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, None, None),
    ],
)
def test_the_choice_of_tools_is_said_in_anthropics_words(
    choice: ToolChoice | None, parallel: bool | None, fields: Any
) -> None:
    assert encode(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel).fields.get("tool_choice") == fields


def test_a_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in encode(tool_choice=ToolChoice("auto"), parallel_tool_calls=False).fields


@pytest.mark.parametrize(
    ("traits", "options", "limit", "expected"),
    [
        (
            ADAPTIVE,
            ReasoningOptions("high"),
            9000,
            {"thinking": {"type": "adaptive", "display": "summarized"}, "effort": "high"},
        ),
        (
            ADAPTIVE,
            ReasoningOptions("minimal"),
            9000,
            {"thinking": {"type": "adaptive", "display": "summarized"}, "effort": "low"},
        ),
        (
            ADAPTIVE,
            ReasoningOptions("", None, True, "omitted"),
            9000,
            {"thinking": {"type": "adaptive", "display": "omitted"}, "effort": None},
        ),
        (
            ADAPTIVE,
            ReasoningOptions(budget_tokens=2048),
            9000,
            {"thinking": {"type": "adaptive", "display": "summarized"}, "effort": "medium"},
        ),
        (ADAPTIVE, ReasoningOptions("none"), 9000, {"thinking": {"type": "disabled"}, "effort": None}),
        (
            LEGACY,
            ReasoningOptions("high"),
            9000,
            {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 9000},
        ),
        (
            LEGACY,
            ReasoningOptions("high"),
            1000,
            {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 5096},
        ),
        (
            LEGACY,
            ReasoningOptions("high"),
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 64000},
        ),
        (
            LEGACY,
            ReasoningOptions(budget_tokens=100),
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 64000},
        ),
        (
            Traits(model="m"),
            ReasoningOptions(budget_tokens=1024),
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 5120},
        ),
        (Traits(model="m"), ReasoningOptions("high"), None, {"thinking": None, "dropped": ["reasoning_effort"]}),
        (Traits(model="m"), ReasoningOptions("none"), None, {"thinking": None, "dropped": []}),
        (
            Traits(model="m", reasoning=False),
            ReasoningOptions(budget_tokens=2000),
            None,
            {"thinking": None, "dropped": ["reasoning_effort"]},
        ),
    ],
)
def test_how_much_to_think_is_said_in_the_models_way(
    traits: Traits, options: ReasoningOptions, limit: int | None, expected: dict[str, Any]
) -> None:
    conversation = Conversation("asked", [HI], reasoning=options, output_tokens_max=limit)
    fields = encode_request(conversation, traits).fields
    seen = {
        "thinking": fields.get("thinking"),
        "effort": fields.get("output_config", {}).get("effort"),
        "max_tokens": fields["max_tokens"],
        "dropped": conversation.dropped,
    }
    assert {name: seen[name] for name in expected} == expected


def test_sampling_that_thought_forbids_is_left_out_and_named() -> None:
    rest: dict[str, Any] = {"reasoning": ReasoningOptions("high"), "temperature": 0.5, "top_k": 5, "top_p": 0.5}
    assert dropped_by(ADAPTIVE, **rest) == ["temperature", "top_p", "top_k"]
    assert not {"temperature", "top_k", "top_p"} & set(encode(traits=ADAPTIVE, **rest).fields)


@pytest.mark.parametrize(
    ("rest", "fields"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"temperature": 1.7}, {"temperature": 1.0}),
        ({"top_p": 0.5, "top_k": 3}, {"top_p": 0.5, "top_k": 3}),
        ({"temperature": 0.5, "top_p": 1.0}, {"temperature": 0.5}),
    ],
)
def test_sampling_keeps_to_anthropics_scale(rest: dict[str, Any], fields: dict[str, Any]) -> None:
    encoded = encode(**rest).fields
    assert {name: encoded[name] for name in ("temperature", "top_p", "top_k") if name in encoded} == fields


def test_a_model_that_does_not_sample_is_not_told_how() -> None:
    assert dropped_by(Traits(model="m", sampling=False), temperature=0.5, top_p=0.5) == ["temperature", "top_p"]


def test_thought_gives_way_to_a_call_that_must_be_made() -> None:
    rest: dict[str, Any] = {
        "reasoning": ReasoningOptions("high"),
        "tools": [TOOL],
        "tool_choice": ToolChoice("required"),
    }
    assert "thinking" not in encode(traits=ADAPTIVE, **rest).fields
    assert dropped_by(ADAPTIVE, **rest) == ["thinking"]


def test_a_budget_of_thought_is_left_out_where_the_turn_before_lost_its_thought() -> None:
    result = Message("tool", [ToolResult("c1", [Text("1")])])
    rest: dict[str, Any] = {"reasoning": ReasoningOptions("high")}
    assert dropped_by(LEGACY, HI, Message("assistant", [CALL]), result, **rest) == ["thinking"]
    kept = Message("assistant", [Reasoning("why", "sig"), CALL])
    assert dropped_by(LEGACY, HI, kept, result, **rest) == []
    assert dropped_by(ADAPTIVE, HI, Message("assistant", [CALL]), result, **rest) == []


def test_a_schema_goes_to_its_own_field_where_the_model_has_it() -> None:
    form = ResponseFormat(
        "json_schema", "n", Raw(b'{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}')
    )
    encoded = encode(
        response_format=form,
        reasoning=ReasoningOptions("low"),
        traits=Traits("m", adaptive_thinking=True, native_json_schema=True),
    )
    assert not encoded.json_tool
    assert encoded.fields["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "(minimum: 1)"}},
                "additionalProperties": False,
            },
        },
        "effort": "low",
    }


@pytest.mark.parametrize(
    ("tools", "choice", "sent"),
    [
        ([], None, {"type": "tool", "name": "json_reply"}),
        ([TOOL], None, {"type": "any"}),
        ([TOOL], ToolChoice("named", "f"), {"type": "tool", "name": "f"}),
    ],
)
def test_elsewhere_json_is_a_tool_that_must_be_called(
    tools: list[Tool], choice: ToolChoice | None, sent: dict[str, str]
) -> None:
    encoded = encode(tools=tools, tool_choice=choice, response_format=ResponseFormat("json_object"))
    assert encoded.json_tool
    assert wire(encoded)["tools"][-1]["input_schema"] == {"type": "object", "properties": {}}
    assert encoded.fields["tool_choice"] == sent


def test_text_is_no_format() -> None:
    assert not encode(response_format=ResponseFormat("text")).json_tool


def test_schemas_are_closed_and_their_limits_told_in_words() -> None:
    schema = {
        "type": "object",
        "description": "d",
        "maxProperties": 2,
        "properties": {
            "minimum": {"type": "array", "minItems": 3, "items": {"type": "string", "maxLength": 4}},
            "e": {"enum": [1]},
        },
        "$defs": {"p": {"type": "object"}},
    }
    assert strict_schema(schema) == {
        "type": "object",
        "description": "d (maxProperties: 2)",
        "properties": {
            "minimum": {
                "type": "array",
                "description": "(minItems: 3)",
                "items": {"type": "string", "description": "(maxLength: 4)"},
            },
            "e": {"enum": [1]},
        },
        "$defs": {"p": {"type": "object", "additionalProperties": False}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("user", ["ann@example.test", "+49 170 1234567"])
def test_a_user_that_looks_like_an_address_is_not_told(user: str) -> None:
    assert "metadata" not in encode(user=user).fields


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ({"n": 2}, "n"),
        ({"seed": 0}, "seed"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": Raw(b"{}")}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"extra": {"modalities": Raw(b'["audio"]')}}, "modalities"),
        ({"metadata": Raw(b'{"a":"b"}')}, "metadata"),
        (
            {"messages": [Message("user", [Audio(Inline("audio/wav", "x"), "wav"), Text("a")])]},
            "messages[].content[audio]",
        ),
        ({"tools": [Tool("w", native=Raw(b'{"type":"w"}'), dialect="openai_chat")]}, "tools[w]"),
        ({"reasoning": ReasoningOptions("low")}, "reasoning_effort"),
    ],
)
def test_what_cannot_be_said_is_named_or_refused(rest: dict[str, Any], name: str) -> None:
    asked: dict[str, Any] = {"model": "m", "messages": [HI], "dialect": "openai_chat", **rest}
    conversation = Conversation(**asked)
    encode_request(conversation, Traits(model="claude"))
    assert conversation.dropped == [name]
    with pytest.raises(BadRequest) as caught:
        encode_request(Conversation(**asked), Traits(model="claude", drop_unsupported=False))
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")


def test_fields_of_anthropics_own_go_on_from_any_dialect() -> None:
    servers = Raw(b'[{"type":"url"}]')
    encoded = encode(dialect="openai_chat", extra={"mcp_servers": servers})
    assert encoded.fields["mcp_servers"] == servers
    assert encoded.betas == ("mcp-client-2025-04-04",)
