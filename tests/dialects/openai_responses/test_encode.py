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
)
from tollway.dialects import Traits, label_sealed
from tollway.dialects.openai_responses import encode_request
from tollway.errors import BadRequest

TRAITS = Traits(model="gpt")


def said(*messages: Message, **rest: Any) -> Conversation:
    return Conversation("m", list(messages) or [Message("user", [Text("Hi")])], **rest)


def fields_of(conversation: Conversation, traits: Traits = TRAITS) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(msgspec.json.encode(encode_request(conversation, traits).fields))
    return fields


def items(*messages: Message, **rest: Any) -> list[Any]:
    written: list[Any] = fields_of(said(*messages, **rest))["input"]
    return written


def test_a_question_is_short_and_nothing_is_stored() -> None:
    asked = said(system=[Text("Be brief.")], streaming=True, dialect="openai_chat")
    assert fields_of(asked) == {
        "model": "gpt",
        "instructions": "Be brief.",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "stream": True,
        "store": False,
    }


def test_a_system_of_more_than_text_is_a_message() -> None:
    image = Image(Link("https://e.test/x.png"))
    asked = said(system=[Text("Look."), image])
    assert fields_of(asked)["input"][0] == {
        "type": "message",
        "role": "system",
        "content": [
            {"type": "input_text", "text": "Look."},
            {"type": "input_image", "image_url": "https://e.test/x.png"},
        ],
    }
    assert "instructions" not in fields_of(asked)


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (Image(Inline("image/png", "aGk="), "low"), {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"}),  # noqa: E501
        (Image(FileId("file-1")), {"type": "input_image", "file_id": "file-1"}),
        (Document(FileId("file-1"), "a.pdf"), {"type": "input_file", "file_id": "file-1"}),
        (Document(Link("https://e.test/a")), {"type": "input_file", "file_url": "https://e.test/a"}),
        (
            Document(Inline("application/pdf", "aGk=")),
            {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="},
        ),
        (Document(Inline("text/plain", ""), "T", text="x"), {"type": "input_text", "text": "T\n\nx"}),
        (
            Audio(Inline("audio/wav", "UklG"), "wav"),
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        ),
        (Opaque("openai_responses", Raw(b'{"type":"input_novel"}')), {"type": "input_novel"}),
    ],
)  # fmt: skip
def test_what_a_message_may_hold(part: Part, wire: dict[str, Any]) -> None:
    assert items(Message("user", [part])) == [{"type": "message", "role": "user", "content": [wire]}]


def test_a_turn_of_the_assistant_is_an_item_for_each_thing_it_did() -> None:
    whole = Opaque("openai_responses", Raw(b'{"type":"web_search_call","id":"ws"}'))
    turn: list[Part] = [Text("a"), Refusal("b"), ToolCall("c", "f", '{"x":1}'), whole, Text("d")]
    result = ToolResult("c", [Text("e")])
    picture = ToolResult("c", [Text("e"), Image(FileId("file-1"))])
    assert items(Message("assistant", turn), Message("tool", [result, picture, ToolResult("c")])) == [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x":1}'},
        {"type": "web_search_call", "id": "ws"},
        {"type": "message", "role": "assistant", "content": "d"},
        {"type": "function_call_output", "call_id": "c", "output": "e"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "e"}, {"type": "input_image", "file_id": "file-1"}],
        },
        {"type": "function_call_output", "call_id": "c", "output": ""},
    ]


SEALED = label_sealed("openai_responses", "rs_1", "gAAA")


def test_thought_that_openai_sealed_goes_back_with_its_id_and_text() -> None:
    """A client of another dialect kept the readable and the sealed apart."""
    asked = said(Message("assistant", [Reasoning("Hm."), Reasoning(redacted=SEALED), Text("x")]), dialect="openai_chat")
    fields = fields_of(asked)
    assert fields["input"][0] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "gAAA",
    }
    assert fields["include"] == ["reasoning.encrypted_content"]
    assert asked.dropped == []


@pytest.mark.parametrize(
    "part",
    [
        Reasoning("Hm."),
        Reasoning("Hm.", signature="sig"),
        Reasoning("Hm.", signature="sig", id="rs_tollway_1"),
        Reasoning(redacted="data"),
        Reasoning(redacted=label_sealed("gemini", "", "x")),
    ],
)
def test_thought_of_another_maker_is_left_out_and_named(part: Reasoning) -> None:
    asked = said(Message("assistant", [part, Text("x")]), dialect="openai_responses")
    assert [item["type"] for item in fields_of(asked)["input"]] == ["message"]
    assert asked.dropped == ["messages[].reasoning_content"]


def test_thought_that_openai_keeps_is_referred_to_by_its_id() -> None:
    asked = Message("assistant", [Reasoning("Hm.", id="rs_1")])
    assert items(asked, dialect="openai_responses") == [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    ]


def test_functions_are_not_strict_unless_they_say_so() -> None:
    tools = [Tool("f", "d", Raw(b'{"type":"object"}'), True), Tool("g")]
    assert fields_of(said(tools=tools))["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "description": "d", "strict": True},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": False},
    ]


def test_tools_that_openai_runs_pass_and_those_of_others_are_named() -> None:
    def native(kind: str, dialect: str) -> Tool:
        return Tool(kind, native=Raw(json.dumps({"type": kind}).encode()), dialect=dialect)

    asked = said(
        tools=[
            native("custom", "openai_responses"),
            native("web_search_preview", "openai_chat"),
            native("grammar", "openai_chat"),
            native("web_search_20250305", "anthropic_messages"),
        ],
        tool_choice=ToolChoice("named", "f"),
        parallel_tool_calls=False,
    )
    fields = fields_of(asked)
    assert fields["tools"] == [{"type": "custom"}, {"type": "web_search_preview"}]
    assert fields["tool_choice"] == {"type": "function", "name": "f"}
    assert fields["parallel_tool_calls"] is False
    assert asked.dropped == ["tools[grammar]", "tools[web_search_20250305]"]


def test_without_tools_nothing_is_said_of_them() -> None:
    fields = fields_of(said(tool_choice=ToolChoice("auto"), parallel_tool_calls=True))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & fields.keys()


@pytest.mark.parametrize(
    ("options", "wire"),
    [
        (ReasoningOptions("high"), {"effort": "high"}),
        (ReasoningOptions("low", summary="summarized"), {"effort": "low", "summary": "auto"}),
        (ReasoningOptions(summary="detailed"), {"summary": "detailed"}),
        (ReasoningOptions(budget_tokens=2048, summary="omitted"), {"effort": "medium"}),
        (ReasoningOptions(budget_tokens=99_999), {"effort": "high"}),
        (ReasoningOptions(adaptive=True), None),
    ],
)
def test_how_to_think(options: ReasoningOptions, wire: dict[str, str] | None) -> None:
    assert fields_of(said(reasoning=options)).get("reasoning") == wire


def test_sealed_thought_is_asked_for_only_where_thinking_was() -> None:
    """Models that do not think refuse the question."""
    assert "include" not in fields_of(said())
    assert "include" not in fields_of(said(reasoning=ReasoningOptions("none")))
    assert fields_of(said(reasoning=ReasoningOptions("low")))["include"] == ["reasoning.encrypted_content"]


def test_a_model_that_cannot_be_told_how_to_think_or_sample_is_not_told() -> None:
    traits = Traits(model="gpt", sampling=False, reasoning=False)
    asked = said(temperature=0.2, top_p=1.0, reasoning=ReasoningOptions("low"))
    fields = fields_of(asked, traits)
    assert not {"temperature", "top_p", "reasoning"} & fields.keys()
    assert asked.dropped == ["temperature", "reasoning"]


def test_the_form_of_the_answer_and_its_length() -> None:
    form = ResponseFormat("json_schema", "n", Raw(b'{"a":1}'), True, "d")
    fields = fields_of(
        said(response_format=form, dialect="openai_chat", extra={"verbosity": Raw(b'"low"')}, output_tokens_max=4)
    )
    wanted = {"type": "json_schema", "name": "n", "description": "d", "schema": {"a": 1}, "strict": True}
    assert fields["text"] == {"format": wanted, "verbosity": "low"}
    assert fields["max_output_tokens"] == 16  # less is refused


def test_fields_of_the_same_dialect_go_on_and_those_inside_others_find_their_place() -> None:
    extra = {"store": Raw(b"true"), "reasoning.context": Raw(b'"auto"'), "text.verbosity": Raw(b'"low"')}
    fields = fields_of(said(dialect="openai_responses", extra=extra, reasoning=ReasoningOptions("low")))
    assert (fields["store"], fields["text"]) == (True, {"verbosity": "low"})
    assert fields["reasoning"] == {"effort": "low", "context": "auto"}


def test_fields_of_other_dialects_pass_where_they_mean_the_same() -> None:
    extra = {"prompt_cache_key": Raw(b'"k"'), "store": Raw(b"true"), "prediction": Raw(b"{}")}
    asked = said(dialect="openai_chat", extra=extra)
    fields = fields_of(asked)
    assert (fields["prompt_cache_key"], fields["store"]) == ("k", True)
    assert asked.dropped == ["prediction"]


def test_what_it_cannot_say_is_named() -> None:
    asked = said(
        Message("user", [Video(Link("https://e.test/v")), Text("x", CacheMark())], "ann"),
        Message("assistant", [ToolCall("s", "web_search", "{}", server_side=True), ToolCall("c", "f", "{}", signature="s")]),
        Message("tool", [ToolResult("c", [Text("x")], failed=True)]),
        n=2, stop=["x"], seed=1, top_k=3, presence_penalty=1.0, frequency_penalty=1.0, logit_bias=Raw(b"{}"),
    )  # fmt: skip
    encode_request(asked, TRAITS)
    assert asked.dropped == [
        "messages[].name", "messages[].content[video]", "messages[].content[web_search]",
        "messages[].tool_calls[].extra_content", "messages[].content[tool_result].is_error", "cache_control",
        "n", "stop", "seed", "top_k", "presence_penalty", "frequency_penalty", "logit_bias",
    ]  # fmt: skip


def test_or_refused_where_nothing_may_be_dropped() -> None:
    with pytest.raises(BadRequest) as caught:
        encode_request(said(stop=["x"]), Traits(model="gpt", drop_unsupported=False))
    assert caught.value.param == "stop"


def test_an_empty_message_of_the_user_stays_one() -> None:
    assert items(Message("user", []), Message("assistant", [])) == [{"type": "message", "role": "user", "content": ""}]
