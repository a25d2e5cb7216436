from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.conversation import (
    Audio,
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
from tollway.dialects.gemini import decode_request
from tollway.errors import BadRequest

HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def decode(**fields: Any) -> Conversation:
    return decode_request(msgspec.json.decode(msgspec.json.encode({"contents": HI, **fields}), type=dict[str, Raw]))


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ({"text": "a"}, [Text("a")]),
        ({"text": "why", "thought": True}, [Reasoning("why")]),
        ({"text": "why", "thought": True, "thoughtSignature": "c2ln"}, [Reasoning("why", "c2ln", maker="gemini")]),
        ({"text": "a", "thoughtSignature": "c2_-"}, [Reasoning(signature="c2/+", maker="gemini"), Text("a")]),
        ({"text": "", "thoughtSignature": "c2ln"}, [Reasoning(signature="c2ln", maker="gemini")]),
        ({"inlineData": {"mimeType": "image/png", "data": "aGk="}}, [Image(Inline("image/png", "aGk="))]),
        ({"inline_data": {"mime_type": "audio/mpeg", "data": "aGk="}}, [Audio(Inline("audio/mpeg", "aGk="), "mp3")]),
        ({"inlineData": {"mimeType": "application/pdf", "data": "x"}}, [Document(Inline("application/pdf", "x"))]),
        ({"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.test/a"}}, [Video(Link("https://x.test/a"))]),
        ({"fileData": {"mimeType": "image/png", "fileUri": "files/a"}}, [Image(FileId("files/a"))]),
        (
            {"functionCall": {"id": "c", "name": "f", "args": {"a": 1.50}}, "thoughtSignature": "c2ln"},
            [ToolCall("c", "f", '{"a":1.5}', signature="c2ln")],
        ),
        ({"functionCall": {"name": "f"}}, [ToolCall("call_0", "f", "{}")]),
        (
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            [Opaque("gemini", Raw(b'{"executableCode":{"language":"PYTHON","code":"1"}}'))],
        ),
        ({"novel": {"x": 1}}, [Opaque("gemini", Raw(b'{"novel":{"x":1}}'))]),
    ],
)
def test_each_part_has_our_word(part: dict[str, Any], parts: list[Part]) -> None:
    assert decode(contents=[{"role": "model", "parts": [part]}]).messages == [Message("assistant", parts)]


def test_one_object_may_stand_where_a_list_is_meant() -> None:
    conversation = decode(contents={"parts": {"text": "a"}}, system_instruction={"parts": {"text": "s"}})
    assert conversation.messages == [Message("user", [Text("a")])]
    assert conversation.system == [Text("s")]


def test_results_stand_apart_and_belong_to_the_call_of_their_id_or_name() -> None:
    contents = [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"n": 1}}},
                {"functionCall": {"name": "g", "args": {}}},
                {"functionCall": {"name": "f", "args": {"n": 2}}},
                {"functionCall": {"id": "own", "name": "f", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "own", "name": "f", "response": {"output": "4"}}},
                {"functionResponse": {"name": "g", "response": {"error": {"why": 1}}}},
                {"functionResponse": {"name": "f", "response": {"n": 1}}},
                {"functionResponse": {"name": "f", "response": {}}},
                {"text": "and?"},
            ],
        },
    ]
    assert decode(contents=contents).messages[1:] == [
        Message(
            "tool",
            [
                ToolResult("own", [Text("4")]),
                ToolResult("call_1", [Text('{"why":1}')], failed=True),
                ToolResult("call_0", [Text('{"n":1}')]),
                ToolResult("call_2"),
            ],
        ),
        Message("user", [Text("and?")]),
    ]


def test_media_in_a_result_are_its_parts() -> None:
    response = {
        "id": "c",
        "name": "f",
        "response": {"output": ""},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
        "scheduling": "SILENT",
    }
    conversation = decode(contents=[{"role": "function", "parts": [{"functionResponse": response}]}])
    assert conversation.messages == [Message("tool", [ToolResult("c", [Image(Inline("image/png", "aGk="))])])]
    assert conversation.dropped == ["contents[].parts[].scheduling"]


def test_a_reply_that_was_kept_chunk_by_chunk_is_one_message() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "why ", "thought": True},
        {"text": "so", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "Hel"},
        {"text": "lo"},
        {"text": ""},
        {"functionCall": {"name": "f", "args": {}}},
    ]
    contents = [*HI, *({"role": "model", "parts": [part]} for part in parts)]
    assert decode(contents=contents).messages[1:] == [
        Message(
            "assistant", [Reasoning("why so", "c2ln", maker="gemini"), Text("Hello"), ToolCall("call_0", "f", "{}")]
        )
    ]


def test_what_stands_beside_media_is_named_as_dropped() -> None:
    part = {"fileData": {"fileUri": "https://x.test/a.mp4", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 1}}
    assert decode(contents=[{"parts": [part]}]).dropped == ["contents[].parts[].videoMetadata"]


def setting(name: str, value: Any) -> dict[str, Any]:
    return {"generationConfig": {name: value}}


SEARCH = Tool("googleSearch", native=Raw(b'{"googleSearch":{}}'), dialect="gemini", search=WebSearch())


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"model": "models/gemini-x"}, "model", "gemini-x"),
        ({}, "model", ""),
        ({"systemInstruction": {"role": "system", "parts": [{"text": "s"}]}}, "system", [Text("s")]),
        (setting("temperature", 1), "temperature", 1.0),
        ({"generation_config": {"top_p": 0.5}}, "top_p", 0.5),
        (setting("topK", 40.0), "top_k", 40),
        (setting("candidateCount", 2), "n", 2),
        (setting("maxOutputTokens", 9), "output_tokens_max", 9),
        (setting("stopSequences", ["a"]), "stop", ["a"]),
        (setting("seed", 7), "seed", 7),
        (setting("presencePenalty", 0.5), "presence_penalty", 0.5),
        (setting("frequencyPenalty", 0.5), "frequency_penalty", 0.5),
        (setting("responseLogprobs", True), "logprobs", True),
        (setting("logprobs", 3), "top_logprobs", 3),
        (setting("responseMimeType", "application/json"), "response_format", ResponseFormat("json_object")),
        (setting("responseMimeType", "text/plain"), "response_format", ResponseFormat("text")),
        (
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"$ref": "#/x"}}},
            "response_format",
            ResponseFormat("json_schema", schema=Raw(b'{"$ref":"#/x"}')),
        ),
        (
            setting("responseSchema", {"type": "STRING", "nullable": True}),
            "response_format",
            ResponseFormat("json_schema", schema=Raw(b'{"type":["string","null"]}')),
        ),
        (setting("responseMimeType", "text/x.enum"), "response_format", None),
        (
            setting("responseMimeType", "text/x.enum"),
            "extra",
            {"generationConfig.responseMimeType": Raw(b'"text/x.enum"')},
        ),
        (setting("responseModalities", ["TEXT"]), "extra", {}),
        (
            setting("responseModalities", ["TEXT", "IMAGE"]),
            "extra",
            {"generationConfig.responseModalities": Raw(b'["TEXT","IMAGE"]')},
        ),
        (setting("thinkingConfig", {"thinkingBudget": 0}), "reasoning", ReasoningOptions("none")),
        (
            setting("thinkingConfig", {"thinkingBudget": -1, "includeThoughts": True}),
            "reasoning",
            ReasoningOptions(adaptive=True),
        ),
        (
            setting("thinkingConfig", {"thinkingBudget": 512}),
            "reasoning",
            ReasoningOptions(budget_tokens=512, summary="omitted"),
        ),
        (
            setting("thinkingConfig", {"thinkingLevel": "HIGH", "includeThoughts": True}),
            "reasoning",
            ReasoningOptions("high"),
        ),
        (setting("thinkingConfig", {"includeThoughts": False}), "reasoning", None),
        (
            {
                "tools": [
                    {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"a": 1}}]}
                ]
            },
            "tools",
            [Tool("f", "d", Raw(b'{"a":1}'))],
        ),
        (
            {"tools": {"function_declarations": {"name": "f", "parameters": {"type": "OBJECT"}}}},
            "tools",
            [Tool("f", parameters=Raw(b'{"type":"object"}'))],
        ),
        ({"tools": [{"functionDeclarations": [{"name": "f"}], "google_search": {}}]}, "tools", [Tool("f"), SEARCH]),
        ({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}, "tool_choice", ToolChoice("auto")),
        ({"toolConfig": {"functionCallingConfig": {"mode": "any"}}}, "tool_choice", ToolChoice("required")),
        ({"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}, "tool_choice", ToolChoice("none")),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
            "tool_choice",
            ToolChoice("named", "f"),
        ),
        ({"serviceTier": "FLEX"}, "service_tier", "flex"),
        ({"serviceTier": "standard"}, "service_tier", "default"),
        ({"safetySettings": [], "labels": None}, "extra", {"safetySettings": Raw(b"[]")}),
        ({"cached_content": "cachedContents/a"}, "extra", {"cachedContent": Raw(b'"cachedContents/a"')}),
    ],
)
def test_each_field_has_our_word(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(decode(**fields), name) == value


def test_a_choice_that_no_other_dialect_can_say_is_kept_beside_what_it_can() -> None:
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}}
    conversation = decode(toolConfig=config)
    assert conversation.tool_choice == ToolChoice("required")
    assert conversation.extra == {"toolConfig": Raw(msgspec.json.encode(config))}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": None}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": 1}, "contents"),
        ({"contents": [{"role": "robot", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {"data": 1}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"generationConfig": {"topP": "x"}}, "generationConfig.topP"),
        ({"generationConfig": {"candidateCount": 0}}, "generationConfig.candidateCount"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_a_bad_shape_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert param in caught.value.message
