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
    Freeform,
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
from tollway.dialects import EncodedRequest, Traits, openai_chat
from tollway.dialects.gemini import encode_request
from tollway.dialects.gemini.parts import UNSIGNED_CALL
from tollway.errors import BadRequest

HI = Message("user", [Text("hi")])
FLASH = Traits(model="gemini-2.5-flash")
PRO = Traits(model="gemini-2.5-pro")
THREE = Traits(model="gemini-3-pro-preview")
NEWER = Traits(model="gemini-3.1-pro-preview")
LATEST = Traits(model="gemini-flash-latest")
TOOL = Tool("f", "d", Raw(b'{"type":"object","additionalProperties":false}'))
DECLARED = {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object", "additionalProperties": False}}
CALL = ToolCall("c1", "f", '{"a": 1}')


def encode(*messages: Message, traits: Traits = FLASH, **rest: Any) -> EncodedRequest:
    return encode_request(Conversation("asked", list(messages) or [HI], **rest), traits)


def wire(encoded: EncodedRequest) -> Any:
    return msgspec.json.decode(msgspec.json.encode(encoded.fields))


def contents(*messages: Message, traits: Traits = FLASH) -> Any:
    return wire(encode(*messages, traits=traits))["contents"]


def dropped_by(traits: Traits, *messages: Message, **rest: Any) -> list[str]:
    conversation = Conversation("asked", list(messages) or [HI], **rest)
    encode_request(conversation, traits)
    return conversation.dropped


def test_a_chat_completion_becomes_contents() -> None:
    body = {
        "model": "gemini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                ],
            },
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1.0}'},
                        "extra_content": {"google": {"thought_signature": "c2ln"}},
                    },
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "c2", "content": '{"n": 12345678901234567890}'},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "user", "content": "and?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "max_tokens": 100,
        "temperature": 0.5,
        "stop": ["END"],
        "reasoning_effort": "low",
        "stream": True,
    }
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, Raw])
    assert wire(encode_request(openai_chat.decode_request(fields), THREE)) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
            {
                "role": "model",
                "parts": [
                    {"text": "Let me see."},
                    {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1.0}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "c2", "name": "g", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "one"}}},
                    {
                        "functionResponse": {
                            "id": "c2",
                            "name": "g",
                            "response": {"output": '{"n": 12345678901234567890}'},
                        }
                    },
                ],
            },
            {"role": "user", "parts": [{"text": "and?"}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "temperature": 0.5,
            "maxOutputTokens": 100,
            "stopSequences": ["END"],
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        },
    }


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (Text("a"), {"text": "a"}),
        (Refusal("no"), {"text": "no"}),
        (
            Image(Link("https://x.test/a.png?b=1")),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png?b=1"}},
        ),
        (Image(Link("https://x.test/a")), {"fileData": {"fileUri": "https://x.test/a"}}),
        (Image(Inline("", "aGk=")), {"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
        (Audio(Inline("audio/wav", "x"), "wav"), {"inlineData": {"mimeType": "audio/wav", "data": "x"}}),
        (Video(FileId("files/a")), {"fileData": {"fileUri": "files/a"}}),
        (Document(Inline("application/pdf", "x")), {"inlineData": {"mimeType": "application/pdf", "data": "x"}}),
        (Document(Inline("text/plain", ""), "T", text="words"), {"text": "T\n\nwords"}),
        (Opaque("gemini", Raw(b'{"novel":1}')), {"novel": 1}),
    ],
)
def test_each_part_has_their_word(part: Part, fields: dict[str, Any]) -> None:
    assert contents(Message("user", [part])) == [{"role": "user", "parts": [fields]}]


def signed(signature: str, text: str = "", maker: str = "gemini") -> Reasoning:
    return Reasoning(text, signature, maker=maker)


def test_a_signature_that_stands_alone_goes_to_the_part_behind_it() -> None:
    said = Message("assistant", [signed("c2ln"), Text("a"), signed("ZW5k")])
    assert contents(HI, said)[1]["parts"] == [
        {"text": "a", "thoughtSignature": "c2ln"},
        {"text": "", "thoughtSignature": "ZW5k"},
    ]
    called = Message("assistant", [Reasoning("why"), signed("c2ln"), CALL])
    assert contents(HI, called)[1]["parts"] == [
        {"text": "why", "thought": True},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
    ]
    both = Message("assistant", [signed("c2ln"), ToolCall("c1", "f", "{}", signature="c2ln")])
    assert contents(HI, both)[1]["parts"] == [
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"}
    ]


def test_thought_that_only_another_provider_can_read_is_not_given() -> None:
    said = Message("assistant", [Reasoning(redacted="x"), Reasoning("why", "not base64!"), Text("a")])
    assert contents(HI, said)[1]["parts"] == [{"text": "why", "thought": True}, {"text": "a"}]
    assert dropped_by(FLASH, HI, said) == ["messages[].thinking_blocks"]


@pytest.mark.parametrize(
    ("traits", "signatures"),
    [(THREE, [None, UNSIGNED_CALL]), (LATEST, [None, UNSIGNED_CALL]), (FLASH, [None, None])],
)
def test_calls_of_this_turn_that_another_model_made_get_the_word_for_no_signature(
    traits: Traits, signatures: list[str | None]
) -> None:
    second = ToolCall("c2", "f", "{}")
    messages = [HI, Message("assistant", [CALL]), Message("tool", [ToolResult("c1")]), HI]
    messages += [Message("assistant", [second, ToolCall("c3", "f", "{}")]), Message("tool", [ToolResult("c2")])]
    turns = [turn for turn in contents(*messages, traits=traits) if turn["role"] == "model"]
    assert [turn["parts"][0].get("thoughtSignature") for turn in turns] == signatures
    assert "thoughtSignature" not in turns[1]["parts"][1]


def test_turns_are_as_gemini_wants_them() -> None:
    turns = contents(
        Message("assistant", [Text("I will look.")]),
        Message("assistant", [CALL]),
        Message("tool", [ToolResult("c1", [Text("1")], failed=True)]),
    )
    assert turns == [
        {"role": "user", "parts": [{"text": "(The conversation continues.)"}]},
        {
            "role": "model",
            "parts": [{"text": "I will look."}, {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}],
        },
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"error": "1"}}}]},
    ]


def test_there_is_always_content() -> None:
    encoded = wire(encode(Message("user", [Text("")]), Message("system", [Text("late")])))
    assert encoded["contents"] == [{"role": "user", "parts": [{"text": "(The conversation continues.)"}]}]
    assert encoded["systemInstruction"] == {"parts": [{"text": "late"}]}


def test_a_result_whose_id_nobody_knows_answers_the_call_that_waited_longest() -> None:
    turns = contents(HI, Message("assistant", [CALL]), Message("tool", [ToolResult("lost"), ToolResult("more")]))
    names = [part["functionResponse"]["name"] for part in turns[2]["parts"]]
    assert names == ["f", "tool"]


def test_media_in_results_stand_where_the_model_takes_them() -> None:
    picture = Image(Inline("image/png", "aGk="))
    messages = [HI, Message("assistant", [CALL]), Message("tool", [ToolResult("c1", [Text("x"), picture])])]
    fields = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    response = {"id": "c1", "name": "f", "response": {"output": "x"}}
    assert contents(*messages)[2:] == [
        {"role": "user", "parts": [{"functionResponse": response}]},
        {"role": "user", "parts": [fields]},
    ]
    assert contents(*messages, traits=THREE)[2:] == [
        {"role": "user", "parts": [{"functionResponse": {**response, "parts": [fields]}}]}
    ]


@pytest.mark.parametrize(
    ("rest", "config"),
    [
        ({"tool_choice": ToolChoice("auto")}, {"mode": "AUTO"}),
        ({"tool_choice": ToolChoice("required")}, {"mode": "ANY"}),
        ({"tool_choice": ToolChoice("none")}, {"mode": "NONE"}),
        ({"tool_choice": ToolChoice("named", "f")}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (
            {
                "tool_choice": ToolChoice("auto"),
                "extra": {
                    "tool_choice": Raw(
                        b'{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}'
                    )
                },
            },
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_which_tools_may_be_called(rest: dict[str, Any], config: dict[str, Any]) -> None:
    encoded = wire(encode(tools=[TOOL], **rest))
    assert encoded["tools"] == [{"functionDeclarations": [DECLARED]}]
    assert encoded["toolConfig"] == {"functionCallingConfig": config}


def test_googles_own_tools_pass_from_any_dialect() -> None:
    tools = [
        Tool("function", native=Raw(b'{"googleSearch":{}}'), dialect="openai_chat"),
        Tool("urlContext", native=Raw(b'{"urlContext":{}}'), dialect="gemini"),
        Tool("bash", native=Raw(b'{"type":"bash_20250124"}'), dialect="anthropic_messages"),
    ]
    assert wire(encode(tools=tools))["tools"] == [{"googleSearch": {}}, {"urlContext": {}}]
    assert dropped_by(FLASH, tools=tools) == ["tools[bash]"]
    extra = {"web_search_options": Raw(b"{}")}
    assert wire(encode(extra=extra, dialect="openai_chat"))["tools"] == [{"googleSearch": {}}]


SCHEMA = Raw(b'{"$defs":{"x":{"type":"string"}},"$ref":"#/$defs/x"}')


def test_a_replys_schema_travels_whole() -> None:
    form = ResponseFormat("json_schema", "n", SCHEMA)
    assert wire(encode(response_format=form))["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"$defs": {"x": {"type": "string"}}, "$ref": "#/$defs/x"},
    }


def test_json_beside_tools_is_a_tool_where_the_model_refuses_the_two_together() -> None:
    form = ResponseFormat("json_schema", "n", SCHEMA)
    old = encode(tools=[TOOL], response_format=form)
    assert old.json_tool
    assert [tool["name"] for tool in wire(old)["tools"][0]["functionDeclarations"]] == ["f", "json_reply"]
    assert wire(old)["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert "generationConfig" not in wire(old)
    new = encode(tools=[TOOL], response_format=form, traits=THREE)
    assert not new.json_tool
    assert wire(new)["generationConfig"]["responseMimeType"] == "application/json"
    without = wire(encode(tools=[TOOL], response_format=form, tool_choice=ToolChoice("none")))
    assert "tools" not in without
    assert "toolConfig" not in without
    named = encode(tools=[TOOL], response_format=form, tool_choice=ToolChoice("named", "f"))
    assert (named.json_tool, "generationConfig" in named.fields) == (False, False)


@pytest.mark.parametrize(
    ("traits", "options", "config"),
    [
        (FLASH, ReasoningOptions("none"), {"thinkingBudget": 0}),
        (FLASH, ReasoningOptions("minimal"), {"thinkingBudget": 1024, "includeThoughts": True}),
        (FLASH, ReasoningOptions("low"), {"thinkingBudget": 1024, "includeThoughts": True}),
        (FLASH, ReasoningOptions("medium"), {"thinkingBudget": 8192, "includeThoughts": True}),
        (FLASH, ReasoningOptions("high"), {"thinkingBudget": 24576, "includeThoughts": True}),
        (FLASH, ReasoningOptions("max"), {"thinkingBudget": 24576, "includeThoughts": True}),
        (FLASH, ReasoningOptions(budget_tokens=2000, summary="omitted"), {"thinkingBudget": 2000}),
        (FLASH, ReasoningOptions(adaptive=True), {"thinkingBudget": -1, "includeThoughts": True}),
        (FLASH, ReasoningOptions(), {"includeThoughts": True}),
        (PRO, ReasoningOptions("none"), {"thinkingBudget": 128}),
        (PRO, ReasoningOptions(budget_tokens=64_000), {"thinkingBudget": 32768, "includeThoughts": True}),
        (THREE, ReasoningOptions("none"), {"thinkingLevel": "LOW"}),
        (THREE, ReasoningOptions("minimal"), {"thinkingLevel": "LOW", "includeThoughts": True}),
        (THREE, ReasoningOptions("medium"), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEWER, ReasoningOptions("medium"), {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (NEWER, ReasoningOptions("xhigh"), {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEWER, ReasoningOptions(budget_tokens=4000), {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (NEWER, ReasoningOptions(adaptive=True), {"includeThoughts": True}),
        (LATEST, ReasoningOptions("minimal"), {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
    ],
)
def test_how_much_to_think_is_said_in_the_words_of_the_models_generation(
    traits: Traits, options: ReasoningOptions, config: dict[str, Any]
) -> None:
    assert wire(encode(reasoning=options, traits=traits))["generationConfig"]["thinkingConfig"] == config


def test_thought_that_cannot_be_turned_off_is_told() -> None:
    assert dropped_by(PRO, reasoning=ReasoningOptions("none")) == ["reasoning_effort"]
    assert dropped_by(THREE, reasoning=ReasoningOptions("none")) == ["reasoning_effort"]
    assert dropped_by(FLASH, reasoning=ReasoningOptions("none")) == []
    plain = Traits(model="gemini-2.0-flash", reasoning=False)
    assert dropped_by(plain, reasoning=ReasoningOptions("low")) == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("rest", "fields"),
    [
        ({"service_tier": "flex"}, {"serviceTier": "flex"}),
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "default"}, {}),
        ({"n": 3, "seed": 7, "top_k": 4}, {"generationConfig": {"candidateCount": 3, "seed": 7, "topK": 4}}),
        (
            {"extra": {"safety_settings": Raw(b"[]"), "cachedContent": Raw(b'"c"')}, "dialect": "openai_chat"},
            {"safetySettings": [], "cachedContent": "c"},
        ),
    ],
)
def test_each_setting_has_its_place(rest: dict[str, Any], fields: dict[str, Any]) -> None:
    encoded = wire(encode(**rest))
    del encoded["contents"]
    assert encoded == fields


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ({"logit_bias": Raw(b"{}")}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"stop": ["1", "2", "3", "4", "5", "6"]}, "stop"),
        ({"seed": 2**40}, "seed"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"extra": {"store": Raw(b"true")}, "dialect": "openai_chat"}, "store"),
        ({"extra": {"generationConfig": Raw(b"{}")}, "dialect": "openai_chat"}, "generationConfig"),
        (
            {"messages": [Message("user", [Opaque("openai_chat", Raw(b"{}"))])]},
            "messages[].content[opaque]",
        ),
        (
            {"messages": [HI, Message("assistant", [ToolCall("s", "web_search", "{}", server_side=True)])]},
            "messages[].content[toolcall]",
        ),
    ],
)
def test_what_there_is_no_word_for_is_named_or_refused(rest: dict[str, Any], name: str) -> None:
    messages = rest.pop("messages", [HI])
    assert dropped_by(FLASH, *messages, **rest) == [name]
    with pytest.raises(BadRequest) as caught:
        encode(*messages, traits=Traits(model="gemini-2.5-flash", drop_unsupported=False), **rest)
    assert caught.value.param == name


def test_what_changes_no_answer_is_named_and_never_refused() -> None:
    strict = Traits(model="gemini-2.5-flash", drop_unsupported=False)
    said = Message("user", [Text("x", CacheMark()), Image(Link("https://x.test/a"), "high")], "ann")
    document = Message("user", [Document(Inline("application/pdf", "x"), "T")])
    tool = Tool("f", strict=True)
    names = dropped_by(strict, said, document, tools=[tool], user="u", metadata=Raw(b"{}"))
    assert sorted(names) == [
        "cache_control",
        "messages[].content[].image_url.detail",
        "messages[].content[].title",
        "messages[].name",
        "metadata",
        "tools[].function.strict",
        "user",
    ]


def test_a_model_that_does_not_sample_is_not_told_how() -> None:
    traits = Traits(model="gemini-x", sampling=False)
    assert dropped_by(traits, temperature=0.1, top_p=0.5, top_k=2) == ["temperature", "top_p", "top_k"]


# --- what others ask for -------------------------------------------------------------------------------------------


def test_a_search_by_the_provider_is_googles_unless_functions_stand_beside_it() -> None:
    native = Raw(b'{"type":"web_search_20250305","name":"web_search"}')
    search = Tool("web_search", native=native, dialect="anthropic_messages", search=WebSearch(uses_max=3))
    assert wire(encode(tools=[search]))["tools"] == [{"googleSearch": {}}]
    assert dropped_by(FLASH, tools=[search]) == ["tools[web_search].uses_max"]
    assert wire(encode(tools=[TOOL, search]))["tools"] == [{"functionDeclarations": [DECLARED]}]
    assert dropped_by(FLASH, tools=[TOOL, search]) == ["tools[web_search]"]


def test_tools_of_other_kinds_have_functions_that_stand_in_for_them() -> None:
    custom = Tool("sh", "Runs it.", native=Raw(b"{}"), dialect="openai_chat", freeform=Freeform())
    editor = Tool("editor", native=Raw(b"{}"), dialect="anthropic_messages", stand_ins=[TOOL])
    declared = wire(encode(tools=[custom, editor]))["tools"][0]["functionDeclarations"]
    assert [one["name"] for one in declared] == ["sh", "f"]
    assert declared[0]["parametersJsonSchema"]["required"] == ["input"]


def test_a_schema_goes_without_what_google_refuses() -> None:
    tool = Tool("f", "", Raw(b'{"$schema":"x","type":"object"}'))
    (declared,) = wire(encode(tools=[tool]))["tools"][0]["functionDeclarations"]
    assert declared["parametersJsonSchema"] == {"type": "object"}
    form = ResponseFormat("json_schema", schema=Raw(b'{"const":"a"}'))
    assert wire(encode(response_format=form))["generationConfig"]["responseJsonSchema"] == {"enum": ["a"]}


@pytest.mark.parametrize(
    ("modalities", "wanted", "dropped"),
    [
        (b'["text"]', None, []),
        (b'["image","text"]', ["TEXT", "IMAGE"], []),
        (b'["audio","text"]', None, ["modalities"]),
        (b'"image"', None, ["modalities"]),
    ],
)
def test_pictures_are_asked_for_in_googles_words(modalities: bytes, wanted: Any, dropped: list[str]) -> None:
    extra = {"modalities": Raw(modalities)}
    settings = wire(encode(dialect="openai_chat", extra=extra)).get("generationConfig", {})
    assert settings.get("responseModalities") == wanted
    assert dropped_by(FLASH, dialect="openai_chat", extra=extra) == dropped


def test_likelihoods_are_asked_for_where_the_client_is_shown_them() -> None:
    settings = wire(encode(dialect="openai_chat", logprobs=True, top_logprobs=3))["generationConfig"]
    assert settings == {"responseLogprobs": True, "logprobs": 3}
    assert dropped_by(FLASH, dialect="anthropic_messages", logprobs=True) == ["logprobs"]


def test_thought_of_another_maker_goes_without_its_signature() -> None:
    said = Message("assistant", [signed("c2ln", "why", "anthropic_messages"), signed("c2ln", maker=""), Text("a")])
    assert contents(HI, said)[1]["parts"] == [{"text": "why", "thought": True}, {"text": "a"}]
    assert dropped_by(FLASH, HI, said) == ["messages[].thinking_blocks"]
