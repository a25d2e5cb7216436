from __future__ import annotations

import json
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
    WebSearch,
    as_function,
)
from tollway.dialects.openai_responses import decode_request
from tollway.dialects.openai_responses.thought import Sealed, seal
from tollway.errors import BadRequest


def decode(**fields: Any) -> Conversation:
    fields = {"model": "m", "input": "Hi", **fields}
    return decode_request(msgspec.json.decode(json.dumps(fields), type=dict[str, Raw]))


def messages(*items: dict[str, Any]) -> list[Message]:
    return decode(input=list(items)).messages


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def test_a_string_is_what_the_user_says() -> None:
    conversation = decode(input="Hi", instructions="Be brief.")
    assert conversation.messages == [Message("user", [Text("Hi")])]
    assert conversation.system == [Text("Be brief.")]
    assert conversation.usage_wanted
    assert conversation.dropped == []


@pytest.mark.parametrize(
    ("part", "ours"),
    [
        ({"type": "input_text", "text": "a"}, Text("a")),
        ({"type": "output_text", "text": "a", "annotations": []}, Text("a")),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
            Image(Inline("image/png", "aGk="), "low"),
        ),
        ({"type": "input_image", "image_url": "https://e.test/x.png"}, Image(Link("https://e.test/x.png"))),
        ({"type": "input_image", "file_id": "file-1", "detail": "auto"}, Image(FileId("file-1"), "auto")),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
            Document(Inline("application/pdf", "aGk="), "a.pdf"),
        ),
        ({"type": "input_file", "file_data": "aGk="}, Document(Inline("application/pdf", "aGk="))),
        ({"type": "input_file", "file_url": "https://e.test/a.pdf"}, Document(Link("https://e.test/a.pdf"))),
        ({"type": "input_file", "file_id": "file-1"}, Document(FileId("file-1"))),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
            Audio(Inline("audio/mp3", "UklG"), "mp3"),
        ),
        ({"type": "input_text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", CacheMark())),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
            Text("a", CacheMark("1h")),
        ),
        ({"type": "input_novel", "x": 1}, Opaque("openai_responses", Raw(b'{"type": "input_novel", "x": 1}'))),
    ],
)
def test_parts_of_a_message(part: dict[str, Any], ours: Part) -> None:
    assert messages({"type": "message", "role": "user", "content": [part]}) == [Message("user", [ours])]


def test_the_items_of_one_turn_are_one_message() -> None:
    assert messages(
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Ask."}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "Wait."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": {"b": 2}},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
        {"role": "user", "content": "And?"},
        {"role": "user", "content": "Well?"},
    ) == [
        Message("user", [Text("Weather?")]),
        Message(
            "assistant",
            [
                Reasoning("Ask.", id="rs_1"),
                Text("Wait."),
                ToolCall("c1", "f", '{"a":1}'),
                ToolCall("c2", "g", '{"b": 2}'),
            ],
        ),
        Message("tool", [ToolResult("c1", [Text("sun")]), ToolResult("c2", [Text("rain")])]),
        Message("user", [Text("And?")]),
        Message("user", [Text("Well?")]),
    ]


def test_leading_system_messages_are_the_system_and_later_ones_stay() -> None:
    conversation = decode(
        instructions="One.",
        input=[
            {"role": "developer", "content": "Two."},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Three."},
        ],
    )
    assert conversation.system == [Text("One."), Text("Two.")]
    assert conversation.messages == [Message("user", [Text("Hi")]), Message("system", [Text("Three.")])]


def test_thought_that_openai_sealed_is_labelled_with_its_maker_and_id() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    assert messages(item) == [Message("assistant", [Reasoning(redacted="openai_responses:rs_1:gAAA", id="rs_1")])]


def test_thought_of_another_maker_gets_its_signature_back() -> None:
    item = {"type": "reasoning", "id": "rs_tollway_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    signed = {**item, "encrypted_content": seal(Sealed("sig"))}
    hidden = {**item, "summary": [], "encrypted_content": seal(Sealed(redacted="data"))}
    assert messages(signed, hidden)[0].parts == [
        Reasoning("Hm.", signature="sig", id="rs_tollway_1", maker="anthropic_messages"),
        Reasoning(redacted="data", id="rs_tollway_1"),
    ]


def test_the_signature_of_a_call_finds_its_call() -> None:
    assert messages(
        {"type": "reasoning", "id": "rs_tollway_1", "summary": [], "encrypted_content": seal(Sealed("s", "", "c1"))},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ) == [Message("assistant", [ToolCall("c1", "f", "{}", signature="s")])]


def test_thought_in_the_open_is_read_where_there_is_no_summary() -> None:
    item = {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "a"}] * 2}
    assert messages(item)[0].parts == [Reasoning("a\n\na", id="r")]


def test_a_custom_tools_text_becomes_json() -> None:
    assert messages(
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'a "b"'},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    ) == [
        Message("assistant", [ToolCall("c", "patch", '{"input":"a \\"b\\""}')]),
        Message("tool", [ToolResult("c", [Text("done")])]),
    ]


def test_items_of_openais_own_tools_are_kept_whole_on_the_side_that_said_them() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    screen = {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}}
    assert messages(search, screen) == [
        Message("assistant", [Opaque("openai_responses", raw(search))]),
        Message("user", [Opaque("openai_responses", raw(screen))]),
    ]


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_9"}, {"id": "msg_9"}])
def test_a_reference_to_an_item_kept_elsewhere_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="'msg_9' is not kept here") as caught:
        messages({"role": "user", "content": "x"}, item)
    assert caught.value.param == "input[1]"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"model": None}, "model"),
        ({"input": 7}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"temperature": "hot"}, "temperature"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "field",
    [{"previous_response_id": "resp_1"}, {"conversation": {"id": "x"}}, {"prompt": {"id": "x"}}, {"background": True}],
)
def test_what_its_provider_would_have_to_keep_is_refused_by_its_name(field: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**field)
    assert (caught.value.param, caught.value.code) == (next(iter(field)), "unsupported_parameter")


def test_functions_are_ours_and_other_tools_are_openais() -> None:
    function = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    bare = {"type": "function", "name": "g", "parameters": None}
    custom = {"type": "custom", "name": "patch", "format": {"type": "text"}}
    search = {"type": "web_search", "search_context_size": "low"}
    assert decode(tools=[function, bare, custom, search]).tools == [
        Tool("f", "d", Raw(b'{"type": "object"}'), True),
        Tool("g"),
        Tool(
            "patch",
            native=raw(custom),
            dialect="openai_responses",
            freeform=Freeform(),
            stand_ins=[as_function("patch", "", Freeform())],
        ),
        Tool("web_search", native=raw(search), dialect="openai_responses", search=WebSearch(context_size="low")),
    ]


@pytest.mark.parametrize(
    ("choice", "ours", "kept"),
    [
        ("auto", ToolChoice("auto"), False),
        ("required", ToolChoice("required"), False),
        ("none", ToolChoice("none"), False),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f"), False),
        ({"type": "custom", "name": "f"}, ToolChoice("named", "f"), False),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, ToolChoice("required"), True),
        ({"type": "web_search"}, ToolChoice("auto"), True),
        ({"type": "mcp", "server_label": "s"}, ToolChoice("auto"), True),
    ],
)
def test_tool_choices(choice: Any, ours: ToolChoice, kept: bool) -> None:
    conversation = decode(tool_choice=choice)
    assert conversation.tool_choice == ours
    assert conversation.extra == ({"tool_choice": raw(choice)} if kept else {})


def test_plain_fields() -> None:
    conversation = decode(
        temperature=0.5,
        top_p=1,
        parallel_tool_calls=False,
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        stream=True,
        max_output_tokens=99,
    )
    assert (conversation.temperature, conversation.top_p, conversation.parallel_tool_calls) == (0.5, 1, False)
    assert (conversation.user, conversation.metadata, conversation.service_tier) == ("u", Raw(b'{"a": "b"}'), "flex")
    assert (conversation.streaming, conversation.output_tokens_max, conversation.extra) == (True, 99, {})


def test_how_to_think() -> None:
    conversation = decode(reasoning={"effort": "high", "summary": "auto", "context": "all_turns", "mode": None})
    assert conversation.reasoning == ReasoningOptions("high", summary="auto")
    assert conversation.extra == {"reasoning.context": Raw(b'"all_turns"')}
    assert decode(reasoning={"generate_summary": "concise"}).reasoning == ReasoningOptions(summary="concise")
    assert decode(reasoning={"effort": None}).reasoning is None


def test_the_form_of_the_answer() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True, "description": "d"}
    conversation = decode(text={"format": form, "verbosity": "low"})
    assert conversation.response_format == ResponseFormat("json_schema", "n", Raw(b'{"a": 1}'), True, "d")
    assert conversation.extra == {"text.verbosity": Raw(b'"low"')}
    assert decode(text={"format": {"type": "json_object"}}).response_format == ResponseFormat("json_object")


def test_what_has_no_concept_is_kept_by_its_name() -> None:
    fields = {
        "store": True,
        "truncation": "auto",
        "prompt_cache_key": "k",
        "stream_options": {"include_obfuscation": True},
        "novel": {"x": 1.0},
    }
    assert decode(**fields).extra == {name: raw(value) for name, value in fields.items()}


def test_what_is_to_be_included_is_a_wish_of_its_own() -> None:
    wishes = ["message.output_text.logprobs", "reasoning.encrypted_content", "web_search_call.results"]
    asked = decode(include=wishes, top_logprobs=3)
    assert (asked.logprobs, asked.top_logprobs) == (True, 3)
    assert asked.extra == {"include": Raw(b'["web_search_call.results"]')}


def test_what_happens_anyway_is_nothing_to_leave_out() -> None:
    """A client that asks for it can be served by any provider, even where nothing may be dropped."""
    conversation = decode(
        store=False,
        background=False,
        truncation="disabled",
        include=["reasoning.encrypted_content"],
        stream_options={"include_obfuscation": False},
        previous_response_id=None,
    )
    assert conversation.extra == {}
