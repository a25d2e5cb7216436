"""Requests as https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_RequestSyntax
writes them (2026-11-22). Each is also judged by the service's own model, as botocore distributes it."""

from __future__ import annotations

import base64
import json
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.json import encode as to_json

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
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
    WebSearch,
)
from tollway.dialects import JSON_TOOL_NAME, Traits
from tollway.dialects.bedrock_converse import encode_request
from tollway.dialects.bedrock_converse.parts import claude_version, clean_id, document_name, family_of
from tollway.errors import BadRequest

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-pro-v1:0"
NOVA_2 = "global.amazon.nova-2-lite-v1:0"
GPT = "openai.gpt-oss-120b-1:0"
LLAMA = "us.meta.llama3-1-70b-instruct-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
MARK, HOUR = CacheMark(), CacheMark("1h")
SCHEMA = Raw(b'{"type":"object","properties":{"city":{"type":"string","minLength":1}},"required":["city"]}')


@cache
def converse_shape() -> Any:
    return (
        ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
        .operation_model("Converse")
        .input_shape
    )


def user(*parts: Part) -> Message:
    return Message("user", list(parts))


def assistant(*parts: Part) -> Message:
    return Message("assistant", list(parts))


def written(
    *messages: Message, model: str = CLAUDE, traits: dict[str, Any] | None = None, **asked: Any
) -> tuple[dict[str, Any], list[str]]:
    """The body as JSON says it, and what was dropped. Raises where the service's own model refuses it."""
    conversation = Conversation(model, list(messages) or [user(Text("Hi"))], dialect="openai_chat", **asked)
    encoded = encode_request(conversation, Traits(model, **(traits or {})))
    fields: dict[str, Any] = json.loads(to_json(encoded.fields))
    report = ParamValidator().validate({"modelId": model, **fields}, converse_shape())
    assert not report.has_errors(), report.generate_report()
    return fields, conversation.dropped


# --- messages ------------------------------------------------------------------------------------------------------

MESSAGES: list[tuple[str, list[Message], list[dict[str, Any]]]] = [
    ("plain", [user(Text("Hi"))], [{"role": "user", "content": [{"text": "Hi"}]}]),
    (
        "neighbours are merged, empty texts are not sent",
        [user(Text("One"), Text(" \n")), user(Text("Two")), assistant(Text("")), assistant(Text("Three"))],
        [
            {"role": "user", "content": [{"text": "One"}, {"text": "Two"}]},
            {"role": "assistant", "content": [{"text": "Three"}]},
        ],
    ),
    (
        "a conversation begins with its user, and what is to be gone on from has no space at its end",
        [assistant(Text("Hello \n"))],
        [
            {"role": "user", "content": [{"text": "(The conversation continues.)"}]},
            {"role": "assistant", "content": [{"text": "Hello"}]},
        ],
    ),
    (
        "pictures and videos",
        [
            user(
                Image(Inline("image/jpg", "anBn")),
                Image(Inline("", PNG)),
                Image(Link("s3://bucket/cat.webp")),
                Video(Inline("video/quicktime", "bW92")),
                Audio(Inline("", "d2F2"), "wav"),
            )
        ],
        [
            {
                "role": "user",
                "content": [
                    {"image": {"format": "jpeg", "source": {"bytes": "anBn"}}},
                    {"image": {"format": "png", "source": {"bytes": PNG}}},
                    {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/cat.webp"}}}},
                    {"video": {"format": "mov", "source": {"bytes": "bW92"}}},
                    {"audio": {"format": "wav", "source": {"bytes": "d2F2"}}},
                ],
            }
        ],
    ),
    (
        "documents have names of their own in few characters, and text beside them",
        [
            user(
                Document(Inline("application/pdf", "cGRm"), "report_2026.pdf"),
                Document(Inline("application/pdf", "cGRm"), "report_2026.pdf"),
                Document(Inline("", ""), text="Ha", context="Of old."),
                Document(Inline("", ""), title="Law", text="Thou shalt", citations=True),
                Document(Inline("text/x-python", "cHk=")),
                Document(Inline("", "eGxzeA=="), "sums.xlsx"),
            )
        ],
        [
            {
                "role": "user",
                "content": [
                    {"document": {"name": "report-2026-pdf", "format": "pdf", "source": {"bytes": "cGRm"}}},
                    {"document": {"name": "report-2026-pdf (2)", "format": "pdf", "source": {"bytes": "cGRm"}}},
                    {
                        "document": {
                            "name": "document",
                            "format": "txt",
                            "source": {"bytes": "SGE="},
                            "context": "Of old.",
                        }
                    },
                    {
                        "document": {
                            "name": "Law",
                            "format": "txt",
                            "source": {"text": "Thou shalt"},
                            "citations": {"enabled": True},
                        }
                    },
                    {"document": {"name": "document (2)", "format": "txt", "source": {"bytes": "cHk="}}},
                    {"document": {"name": "sums-xlsx", "format": "xlsx", "source": {"bytes": "eGxzeA=="}}},
                    {"text": "(See the document.)"},
                ],
            }
        ],
    ),
    (
        "calls and their results, failed ones and those with pictures; results come first",
        [
            user(Text("Look")),
            assistant(Text("I look."), ToolCall("call/1", "look", '{"n": 1.50}'), ToolCall("c2", "see", "not JSON")),
            user(Text("And?")),
            Message("tool", [ToolResult("call/1", [Text("Rain"), Image(Inline("image/png", "cG5n"))])]),
            Message("tool", [ToolResult("c2", [], failed=True)]),
        ],
        [
            {"role": "user", "content": [{"text": "Look"}]},
            {
                "role": "assistant",
                "content": [
                    {"text": "I look."},
                    {"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"n": 1.5}}},
                    {"toolUse": {"toolUseId": "c2", "name": "see", "input": {}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "call_1",
                            "content": [{"text": "Rain"}, {"image": {"format": "png", "source": {"bytes": "cG5n"}}}],
                        }
                    },
                    {"toolResult": {"toolUseId": "c2", "content": [{"text": "(no output)"}], "status": "error"}},
                    {"text": "And?"},
                ],
            },
        ],
    ),
    (
        "thought goes back to who signed or sealed it",
        [
            user(Text("Think")),
            assistant(
                Reasoning("Hm.", "c2ln", maker="anthropic_messages"),
                Reasoning(redacted="bedrock_converse::c2VhbGVk", maker="bedrock_converse"),
                Text("So."),
            ),
            user(Text("And?")),
        ],
        [
            {"role": "user", "content": [{"text": "Think"}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                    {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
                    {"text": "So."},
                ],
            },
            {"role": "user", "content": [{"text": "And?"}]},
        ],
    ),
    (
        "cache marks are points behind what they mark; one within a result is the result's",
        [
            user(Text("Long", cache=MARK), Text("Short")),
            assistant(ToolCall("c1", "look", "{}", cache=HOUR)),
            Message("tool", [ToolResult("c1", [Text("Rain", cache=HOUR)])]),
        ],
        [
            {"role": "user", "content": [{"text": "Long"}, {"cachePoint": {"type": "default"}}, {"text": "Short"}]},
            {
                "role": "assistant",
                "content": [
                    {"toolUse": {"toolUseId": "c1", "name": "look", "input": {}}},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [{"text": "Rain"}]}},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
            },
        ],
    ),
    (
        "blocks of this API's own go as they came",
        [user(Text("Hi"), Opaque("bedrock_converse", Raw(b'{"guardContent":{"text":{"text":"x"}}}')))],
        [{"role": "user", "content": [{"text": "Hi"}, {"guardContent": {"text": {"text": "x"}}}]}],
    ),
]


@pytest.mark.parametrize(("messages", "expected"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
def test_messages_are_written_as_converse_wants_them(messages: list[Message], expected: list[dict[str, Any]]) -> None:
    fields, dropped = written(*messages)
    assert fields["messages"] == expected
    assert dropped == []


def test_system_texts_stand_apart_with_their_marks() -> None:
    fields, _ = written(
        user(Text("Hi")), Message("system", [Text("Later.")]), system=[Text("Be brief.", cache=HOUR), Text(" ")]
    )
    assert fields["system"] == [
        {"text": "Be brief."},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
        {"text": "Later."},
    ]
    assert fields["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Image(Link("https://cats.example/cat.png")), "messages[].content[image]"),
        (Document(Link("https://cats.example/cat.pdf")), "messages[].content[document]"),
        (Video(Link("https://cats.example/cat.mp4")), "messages[].content[video]"),
        (Image(FileId("file-1")), "messages[].content[image]"),
    ],
)
def test_a_url_is_refused_by_name_and_never_dropped(part: Part, name: str) -> None:
    with pytest.raises(BadRequest, match="base64") as refused:
        written(user(Text("Look"), part))
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("model", "part", "kept"),
    [
        (CLAUDE, Reasoning("Unsigned."), False),
        (CLAUDE, Reasoning("Theirs.", "x", maker="gemini"), False),
        (CLAUDE, Reasoning(redacted="of Anthropic's own"), False),
        (LLAMA, Reasoning("Signed.", "c2ln"), False),
        (GPT, Reasoning("Unsigned."), True),
        ("us.deepseek.r1-v1:0", Reasoning("Unsigned."), False),
    ],
)
def test_thought_that_would_not_be_trusted_is_left_out_and_named(model: str, part: Reasoning, kept: bool) -> None:
    fields, dropped = written(user(Text("Hi")), assistant(part, Text("So.")), user(Text("And?")), model=model)
    assert ("reasoningContent" in json.dumps(fields)) is kept
    assert dropped == ([] if kept else ["messages[].reasoning_content"])


@pytest.mark.parametrize(
    ("model", "points", "dropped"),
    [
        (CLAUDE, [{"type": "default", "ttl": "1h"}] * 2, []),
        (PROFILE, [{"type": "default", "ttl": "1h"}] * 2, []),
        (NOVA, [{"type": "default"}], ["cache_control.ttl", "cache_control"]),
        (LLAMA, [], ["cache_control"]),
    ],
)
def test_models_without_a_cache_get_no_points(model: str, points: list[dict[str, str]], dropped: list[str]) -> None:
    fields, named = written(user(Text("Hi", cache=HOUR)), model=model, tools=[Tool("look", cache=HOUR)])
    blocks = [*fields["messages"][0]["content"], *fields["toolConfig"]["tools"]]
    assert [block["cachePoint"] for block in blocks if "cachePoint" in block] == points
    assert named == dropped


# --- tools ---------------------------------------------------------------------------------------------------------


def test_tools_have_their_schemas_and_the_choice_its_word() -> None:
    tools = [Tool("look", "Looks.", SCHEMA, strict=True), Tool("bare")]
    fields, dropped = written(tools=tools, tool_choice=ToolChoice("required"), traits={"native_json_schema": True})
    assert fields["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "look",
                    "description": "Looks.",
                    "inputSchema": {"json": json.loads(bytes(SCHEMA))},
                    "strict": True,
                }
            },
            {"toolSpec": {"name": "bare", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
        ],
        "toolChoice": {"any": {}},
    }
    assert dropped == []


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (ToolChoice("auto"), None),
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("named", "look"), {"tool": {"name": "look"}}),
    ],
)
def test_the_models_own_choice_is_not_written(choice: ToolChoice | None, expected: Any) -> None:
    fields, _ = written(tools=[Tool("look")], tool_choice=choice)
    assert fields["toolConfig"].get("toolChoice") == expected


def test_tools_that_must_not_be_called_are_not_there() -> None:
    fields, dropped = written(tools=[Tool("look")], tool_choice=ToolChoice("none"))
    assert "toolConfig" not in fields
    assert dropped == []


def test_calls_of_earlier_turns_keep_a_tool_to_stand_for_them() -> None:
    turns = [
        user(Text("Hi")),
        assistant(ToolCall("c", "look", "{}")),
        Message("tool", [ToolResult("c", [Text("Rain")])]),
    ]
    fields, dropped = written(*turns)
    assert [tool["toolSpec"]["name"] for tool in fields["toolConfig"]["tools"]] == ["look"]
    assert dropped == []
    _, dropped = written(*turns, tools=[Tool("look")], tool_choice=ToolChoice("none"))
    assert dropped == ["tool_choice"]


def test_one_call_at_a_time_is_said_in_claudes_own_words() -> None:
    fields, dropped = written(tools=[Tool("look")], parallel_tool_calls=False)
    assert fields["additionalModelRequestFields"] == {
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}
    }
    assert dropped == []
    for model in (NOVA, "anthropic.claude-3-haiku-20240307-v1:0"):
        assert written(model=model, tools=[Tool("look")], parallel_tool_calls=False)[1] == ["parallel_tool_calls"]


def test_anthropics_own_tools_go_to_claude_with_their_beta() -> None:
    native = Tool(
        "computer", native=Raw(b'{"type":"computer_20250124","name":"computer"}'), dialect="anthropic_messages"
    )
    fields, dropped = written(tools=[native])
    assert fields["additionalModelRequestFields"] == {
        "tools": [{"type": "computer_20250124", "name": "computer"}],
        "anthropic_beta": ["computer-use-2025-01-24"],
    }
    assert dropped == []
    assert written(model=LLAMA, tools=[native])[1] == ["tools[computer]"]


def test_a_search_of_the_web_is_novas_own_tool() -> None:
    search = Tool("search", native=Raw(b'{"type":"web_search"}'), dialect="openai_responses", search=WebSearch())
    assert written(model=NOVA_2, tools=[search])[0]["toolConfig"] == {
        "tools": [{"systemTool": {"name": "nova_grounding"}}]
    }
    assert written(model=NOVA_2, extra={"web_search_options": Raw(b"{}")})[0]["toolConfig"]["tools"] == [
        {"systemTool": {"name": "nova_grounding"}}
    ]
    assert written(model=LLAMA, tools=[search])[1] == ["tools[search]"]


# --- the form of the reply -----------------------------------------------------------------------------------------


def test_a_schema_has_its_own_place_where_the_model_knows_it() -> None:
    form = ResponseFormat("json_schema", "place", SCHEMA, description="A place.")
    fields, _ = written(response_format=form, traits={"native_json_schema": True})
    definition = fields["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (definition["name"], definition["description"]) == ("place", "A place.")
    assert json.loads(definition["schema"]) == {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "(minLength: 1)"}},
        "required": ["city"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("form", [ResponseFormat("json_schema", schema=SCHEMA), ResponseFormat("json_object")])
def test_elsewhere_a_tool_that_must_be_called_takes_the_answer(form: ResponseFormat) -> None:
    conversation = Conversation(CLAUDE, [user(Text("Hi"))], response_format=form)
    encoded = encode_request(conversation, Traits(CLAUDE))
    assert encoded.json_tool
    assert encoded.fields["toolConfig"]["toolChoice"] == {"tool": {"name": JSON_TOOL_NAME}}
    assert encoded.fields["toolConfig"]["tools"][0]["toolSpec"]["name"] == JSON_TOOL_NAME
    fields, _ = written(response_format=form, tools=[Tool("look")])
    assert fields["toolConfig"]["toolChoice"] == {"any": {}}


def test_a_model_that_cannot_be_made_to_call_a_tool_is_not_asked_for_json() -> None:
    fields, dropped = written(model=LLAMA, response_format=ResponseFormat("json_object"))
    assert dropped == ["response_format"]
    assert "toolConfig" not in fields


# --- thought and sampling ------------------------------------------------------------------------------------------

THINKING: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = [
    (
        CLAUDE,
        {"reasoning": ReasoningOptions("high")},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 4096}}},
        {},
        [],
    ),
    (
        CLAUDE,
        {"reasoning": ReasoningOptions("high"), "output_tokens_max": 3000},
        {
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1500}},
            "inferenceConfig": {"maxTokens": 3000},
        },
        {},
        [],
    ),
    (
        CLAUDE,
        {"reasoning": ReasoningOptions("high"), "output_tokens_max": 1000},
        {"inferenceConfig": {"maxTokens": 1000}},
        {},
        ["thinking"],
    ),
    (
        CLAUDE,
        {"reasoning": ReasoningOptions(budget_tokens=5000), "output_tokens_max": 8000},
        {
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 5000}},
            "inferenceConfig": {"maxTokens": 8000},
        },
        {},
        [],
    ),
    (
        CLAUDE,
        {"reasoning": ReasoningOptions("xhigh"), "temperature": 0.5, "top_k": 3},
        {
            "additionalModelRequestFields": {"thinking": {"type": "adaptive", "display": "summarized"}},
            "outputConfig": {"effort": "xhigh"},
        },
        {"adaptive_thinking": True},
        ["temperature", "top_k"],
    ),
    (CLAUDE, {"reasoning": ReasoningOptions("none")}, {}, {"adaptive_thinking": True, "legacy_thinking": False}, []),
    (LLAMA, {"reasoning": ReasoningOptions("high")}, {}, {}, ["reasoning_effort"]),
    (NOVA, {"reasoning": ReasoningOptions("high")}, {}, {}, ["reasoning_effort"]),
    (
        NOVA_2,
        {"reasoning": ReasoningOptions("medium")},
        {"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}},
        {},
        [],
    ),
    (
        NOVA_2,
        {"reasoning": ReasoningOptions("high"), "output_tokens_max": 100},
        {
            "additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
            "inferenceConfig": {"maxTokens": 100},
        },
        {},
        ["reasoning_effort"],
    ),
    (
        NOVA_2,
        {"reasoning": ReasoningOptions("high"), "temperature": 0.5},
        {"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}},
        {},
        ["temperature"],
    ),
    (
        NOVA_2,
        {"reasoning": ReasoningOptions("none")},
        {"additionalModelRequestFields": {"reasoningConfig": {"type": "disabled"}}},
        {},
        [],
    ),
    (
        GPT,
        {"reasoning": ReasoningOptions("max")},
        {"additionalModelRequestFields": {"reasoning_effort": "high"}},
        {},
        [],
    ),
    (
        GPT,
        {"reasoning": ReasoningOptions("none")},
        {"additionalModelRequestFields": {"reasoning_effort": "low"}},
        {},
        ["reasoning_effort"],
    ),
    (
        PROFILE,
        {"reasoning": ReasoningOptions("low")},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
        {},
        [],
    ),
    (
        CLAUDE,
        {"temperature": 1.7, "top_p": 0.5, "top_k": 7, "stop": ["END", " "]},
        {
            "inferenceConfig": {"temperature": 1.0, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"top_k": 7},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        },
        {},
        ["top_p"],
    ),
    (
        NOVA,
        {"temperature": 0.5, "top_p": 0.5, "top_k": 7},
        {
            "inferenceConfig": {"temperature": 0.5, "topP": 0.5},
            "additionalModelRequestFields": {"inferenceConfig": {"topK": 7}},
        },
        {},
        [],
    ),
    (LLAMA, {"top_k": 7}, {}, {}, ["top_k"]),
    (CLAUDE, {"temperature": 0.5}, {}, {"sampling": False}, ["temperature"]),
]


@pytest.mark.parametrize(("model", "asked", "expected", "traits", "dropped"), THINKING)
def test_each_maker_is_told_its_own_way_how_to_think_and_sample(
    model: str, asked: dict[str, Any], expected: dict[str, Any], traits: dict[str, Any], dropped: list[str]
) -> None:
    traits = {"legacy_thinking": True, **traits}
    fields, named = written(model=model, traits=traits, **asked)
    del fields["messages"]
    assert fields == expected
    assert named == dropped


def test_no_thought_before_a_call_that_is_forced_or_behind_a_turn_without() -> None:
    thinking: dict[str, Any] = {"reasoning": ReasoningOptions("low"), "traits": {"legacy_thinking": True}}
    _, dropped = written(tools=[Tool("look")], tool_choice=ToolChoice("required"), **thinking)
    assert dropped == ["thinking"]
    turns = [
        user(Text("Hi")),
        assistant(ToolCall("c", "look", "{}")),
        Message("tool", [ToolResult("c", [Text("Rain")])]),
    ]
    _, dropped = written(*turns, tools=[Tool("look")], **thinking)
    assert dropped == ["thinking"]
    turns[1].parts.insert(0, Reasoning("Hm.", "c2ln"))
    fields, dropped = written(*turns, tools=[Tool("look")], **thinking)
    assert fields["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert dropped == []


# --- the rest ------------------------------------------------------------------------------------------------------


def test_fields_of_converses_own_go_as_they_came() -> None:
    guard = {"guardrailIdentifier": "gr1", "guardrailVersion": "1", "trace": "enabled"}
    extra = {
        "guardrailConfig": Raw(json.dumps(guard).encode()),
        "performanceConfig": Raw(b'{"latency":"optimized"}'),
        "requestMetadata": Raw(b'{"team":"a"}'),
        "additionalModelRequestFields": Raw(b'{"top_k":3}'),
        "anthropic_beta": Raw(b'["context-1m-2025-08-07"]'),
    }
    fields, dropped = written(extra=extra, service_tier="priority")
    assert fields["guardrailConfig"] == guard
    assert fields["performanceConfig"] == {"latency": "optimized"}
    assert fields["requestMetadata"] == {"team": "a"}
    assert fields["serviceTier"] == {"type": "priority"}
    assert fields["additionalModelRequestFields"] == {"top_k": 3, "anthropic_beta": ["context-1m-2025-08-07"]}
    assert dropped == []


def test_an_output_limit_cannot_be_smuggled_past_the_one_that_was_asked_for() -> None:
    extra = {"inferenceConfig": Raw(b'{"maxTokens":64000}')}
    fields, dropped = written(extra=extra, output_tokens_max=5)
    assert fields["inferenceConfig"] == {"maxTokens": 5}
    assert dropped == ["inferenceConfig"]


def test_what_there_is_no_word_for_is_named_or_refused() -> None:
    asked: dict[str, Any] = {
        "n": 2,
        "seed": 1,
        "presence_penalty": 0.5,
        "logit_bias": Raw(b"{}"),
        "service_tier": "scale",
        "user": "someone",
        "extra": {"store": Raw(b"false"), "prediction": Raw(b"{}")},
    }
    _, dropped = written(**asked)
    assert dropped == ["service_tier", "store", "prediction", "n", "seed", "presence_penalty", "logit_bias", "user"]
    for name, value in asked.items():
        if name in ("user", "extra"):
            continue
        with pytest.raises(BadRequest) as refused:
            written(traits={"drop_unsupported": False}, **{name: value})
        assert refused.value.param == name
    assert written(user="someone", traits={"drop_unsupported": False})[1] == ["user"]


@pytest.mark.parametrize(
    ("model", "family", "version"),
    [
        (CLAUDE, "claude", (4, 5)),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude", (3, 5)),
        ("eu.anthropic.claude-opus-4-20250514-v1:0", "claude", (4, 0)),
        ("global.anthropic.claude-opus-5-5", "claude", (5, 5)),
        ("converse/us-west-2/anthropic.claude-v2:1", "claude", (2, 0)),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-5", "claude", (5, 0)),
        (PROFILE, "hidden", (0, 0)),
        (NOVA, "nova", (0, 0)),
        (NOVA_2, "nova-2", (0, 0)),
        (GPT, "gpt", (0, 0)),
        ("mistral.magistral-small-2509", "mistral", (0, 0)),
        (LLAMA, "other", (0, 0)),
    ],
)
def test_a_models_maker_and_generation_stand_in_its_name(model: str, family: str, version: tuple[int, int]) -> None:
    assert (family_of(model), claude_version(model)) == (family, version)


@given(st.text(max_size=100))
def test_ids_and_names_are_always_such_as_converse_takes(text: str) -> None:
    cleaned = clean_id(text)
    assert 1 <= len(cleaned) <= 64
    assert cleaned.isascii()
    taken: set[str] = set()
    names = {document_name(text, taken) for _ in range(3)}
    assert len(names) == 3
    assert all("  " not in name and len(name) <= 200 for name in names)


def test_long_ids_stay_apart() -> None:
    one, other = clean_id("a" * 80 + "1"), clean_id("a" * 80 + "2")
    assert one != other
    assert len(one) == 64


_texts = st.builds(Text, st.text(max_size=20), st.sampled_from([None, MARK, HOUR]))
_parts = st.one_of(
    _texts,
    st.builds(Reasoning, st.text(max_size=9), st.sampled_from(["", "c2ln"])),
    st.builds(ToolCall, st.text(max_size=80), st.sampled_from(["look", "see"]), st.text(max_size=9)),
    st.builds(Document, st.just(Inline("application/pdf", "cGRm")), st.text(max_size=9)),
    st.builds(Image, st.just(Inline("image/png", PNG))),
)
_results = st.lists(st.builds(ToolResult, st.text(max_size=9), st.lists(_texts, max_size=2)), min_size=1, max_size=2)
_messages = st.one_of(
    st.builds(Message, st.sampled_from(["user", "assistant", "system"]), st.lists(_parts, max_size=4)),
    st.builds(Message, st.just("tool"), _results),
)


@given(
    messages=st.lists(_messages, min_size=1, max_size=6),
    model=st.sampled_from([CLAUDE, NOVA, NOVA_2, GPT, LLAMA, PROFILE]),
    tools=st.lists(st.builds(Tool, st.sampled_from(["look", "see"])), max_size=2),
    limit=st.sampled_from([None, 5, 5000]),
    effort=st.sampled_from([None, "none", "low", "high"]),
)
def test_whatever_is_said_the_service_would_take_it(
    messages: list[Message], model: str, tools: list[Tool], limit: int | None, effort: str | None
) -> None:
    fields, _ = written(
        *messages,
        model=model,
        tools=tools,
        output_tokens_max=limit,
        reasoning=ReasoningOptions(effort) if effort else None,
        traits={"legacy_thinking": True},
    )
    roles = [turn["role"] for turn in fields["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))
    assert fields.get("inferenceConfig", {}).get("maxTokens") == limit
    assert all(block["text"].strip() for turn in fields["messages"] for block in turn["content"] if "text" in block)
