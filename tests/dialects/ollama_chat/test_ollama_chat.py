"""Ollama's chat: requests as they go out, replies and streams of lines as they come in."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Audio,
    Conversation,
    Document,
    Event,
    FileId,
    Finished,
    Image,
    Inline,
    LikelyToken,
    Link,
    LogprobsPiece,
    Message,
    Reasoning,
    ReasoningOptions,
    ReasoningPiece,
    ResponseFormat,
    Started,
    Text,
    TextPiece,
    Tool,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    ToolChoice,
    ToolResult,
    UsageSeen,
)
from tollway.dialects import Traits, ollama_chat
from tollway.errors import BadRequest, UpstreamBroken, UpstreamFailed, UpstreamRefused

TRAITS = Traits(model="qwen3")
STRICT = Traits(model="qwen3", drop_unsupported=False)
SCHEMA = Raw(b'{"type":"object","properties":{}}')


def encoded(conversation: Conversation, traits: Traits = TRAITS) -> Any:
    return json.loads(msgspec.json.encode(ollama_chat.encode_request(conversation, traits).fields))


def asked(*parts: Any, **more: Any) -> Conversation:
    return Conversation("m", [Message("user", list(parts) or [Text("Hello")])], dialect="openai_chat", **more)


def lines(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


# --- requests ------------------------------------------------------------------------------------------------------


def test_a_conversation_with_tools_keeps_its_turns() -> None:
    conversation = Conversation(
        "m",
        [
            Message("user", [Text("Weather?"), Image(Inline("image/png", "aGk="))]),
            Message("assistant", [Reasoning("Hm."), Text("Let me look."), ToolCall("c1", "look", '{"city": "Oslo"}')]),
            Message("tool", [ToolResult("c1", [Text("rain"), Text("4 °C")])]),
        ],
        system=[Text("Be brief.")],
        tools=[Tool("look", "Looks.", SCHEMA), Tool("wait")],
        streaming=True,
        dialect="openai_chat",
    )
    assert encoded(conversation) == {
        "model": "qwen3",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?", "images": ["aGk="]},
            {
                "role": "assistant",
                "content": "Let me look.",
                "thinking": "Hm.",
                "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": {"city": "Oslo"}}}],
            },
            {"role": "tool", "content": "rain\n\n4 °C", "tool_call_id": "c1", "tool_name": "look"},
        ],
        "stream": True,
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": json.loads(bytes(SCHEMA))},
            },
            {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}}},
        ],
    }
    assert conversation.dropped == []


def test_that_no_stream_is_wanted_is_always_said() -> None:
    assert encoded(asked())["stream"] is False


def test_results_in_a_user_s_turn_come_before_what_the_user_says() -> None:
    conversation = Conversation("m", [Message("user", [Text("And?"), ToolResult("c", [Text("42")])])])
    assert encoded(conversation)["messages"] == [
        {"role": "tool", "content": "42", "tool_call_id": "c"},
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize("arguments", ["", "[1]", "{", "null", "\ud800"])
def test_arguments_that_are_no_object_are_an_empty_one(arguments: str) -> None:
    conversation = Conversation("m", [Message("assistant", [ToolCall("c", "f", arguments)])])
    (message,) = encoded(conversation)["messages"]
    assert message["tool_calls"][0]["function"]["arguments"] == {}


def test_sampling_stands_in_options_with_what_is_ollama_s_alone() -> None:
    conversation = asked(
        output_tokens_max=9,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        seed=7,
        stop=["x"],
        presence_penalty=1.0,
        frequency_penalty=0.5,
        logprobs=True,
        top_logprobs=2,
        extra={
            "num_ctx": Raw(b"8192"),
            "options": Raw(b'{"mirostat":1,"seed":9}'),
            "keep_alive": Raw(b'"1h"'),
            "think": Raw(b'"low"'),
        },
    )
    body = encoded(conversation, STRICT)
    assert body["options"] == {
        "num_predict": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 9,
        "presence_penalty": 1.0,
        "frequency_penalty": 0.5,
        "stop": ["x"],
        "num_ctx": 8192,
        "mirostat": 1,
    }
    assert (body["keep_alive"], body["think"], body["logprobs"], body["top_logprobs"]) == ("1h", "low", True, 2)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (ResponseFormat("text"), None),
        (ResponseFormat("json_object"), "json"),
        (ResponseFormat("json_schema", schema=SCHEMA), json.loads(bytes(SCHEMA))),
    ],
)
def test_a_reply_in_json(form: ResponseFormat, told: Any) -> None:
    assert encoded(asked(response_format=form)).get("format") == told


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("qwen3", ReasoningOptions("none"), False),
        ("qwen3", ReasoningOptions("low"), True),
        ("qwen3", ReasoningOptions(budget_tokens=9), True),
        ("gpt-oss:20b", ReasoningOptions("minimal"), "low"),
        ("gpt-oss:20b", ReasoningOptions("max"), "high"),
        ("gpt-oss:20b", ReasoningOptions("none"), None),
        ("qwen3", None, None),
    ],
)
def test_how_much_to_think(model: str, options: ReasoningOptions | None, told: Any) -> None:
    assert encoded(asked(reasoning=options), Traits(model=model)).get("think") == told


def test_no_tools_are_shown_to_a_model_that_may_call_none() -> None:
    assert "tools" not in encoded(asked(tools=[Tool("f")], tool_choice=ToolChoice("none")), STRICT)


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (asked(Audio(Inline("audio/wav", "UklG"))), "messages[].content[audio]"),
        (asked(Image(Link("https://x.test/a.png"))), "messages[].content[image]"),
        (asked(Document(FileId("f"))), "messages[].content[document]"),
        (asked(tools=[Tool("x", native=Raw(b"{}"), dialect="gemini")]), "tools[x]"),
        (asked(tools=[Tool("f")], parallel_tool_calls=False), "parallel_tool_calls"),
        (asked(tools=[Tool("f")], tool_choice=ToolChoice("required")), "tool_choice"),
        (asked(logit_bias=Raw(b"{}")), "logit_bias"),
        (asked(extra={"verbosity": Raw(b'"low"')}), "verbosity"),
    ],
)
def test_what_ollama_cannot_say_is_dropped_by_name_or_refused(conversation: Conversation, param: str) -> None:
    encoded(conversation)
    assert conversation.dropped == [param]
    with pytest.raises(BadRequest) as caught:
        ollama_chat.encode_request(conversation, STRICT)
    assert caught.value.param == param


def test_a_model_that_cannot_think_is_not_told_to() -> None:
    conversation = asked(reasoning=ReasoningOptions("high"))
    assert "think" not in encoded(conversation, Traits(model="llama3", reasoning=False))
    assert conversation.dropped == ["reasoning_effort"]


def test_several_answers_are_refused_always() -> None:
    with pytest.raises(BadRequest) as caught:
        ollama_chat.encode_request(asked(n=2), TRAITS)
    assert caught.value.param == "n"


def test_a_document_of_text_is_text_and_a_picture_sent_as_one_is_a_picture() -> None:
    parts = (
        Document(Inline("text/plain", ""), "Title", text="Body"),
        Document(Inline("image/png", "aGk=")),
    )
    assert encoded(asked(*parts))["messages"] == [{"role": "user", "content": "Title\nBody", "images": ["aGk="]}]


# --- replies -------------------------------------------------------------------------------------------------------

WHOLE = {
    "model": "qwen3",
    "created_at": "2026-11-22T10:00:00.123Z",
    "message": {
        "role": "assistant",
        "content": "Rain.",
        "thinking": "Hm.",
        "tool_calls": [
            {"function": {"index": 0, "name": "look", "arguments": {"city": "Oslo"}}},
            {"id": "call_x", "function": {"name": "wait", "arguments": None}},
        ],
    },
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 11,
    "eval_count": 18,
    "logprobs": [{"token": "Ra", "logprob": -0.5, "bytes": [82], "top_logprobs": [{"token": "Su", "logprob": -2}]}],
}


def test_a_whole_reply_tells_thought_text_calls_and_usage() -> None:
    body = json.dumps(WHOLE).encode()
    assert ollama_chat.decode_reply(body) == [
        Started("", "qwen3"),
        ReasoningPiece("Hm."),
        TextPiece("Rain."),
        ToolCallStarted(0, "call_20261122100000123_0", "look"),
        ToolArgumentsPiece(0, '{"city": "Oslo"}'),
        ToolCallStarted(1, "call_x", "wait"),
        ToolArgumentsPiece(1, "{}"),
        LogprobsPiece([LikelyToken("Ra", -0.5, (LikelyToken("Su", -2.0),))]),
        UsageSeen(Usage(input=11, output=18)),
        Finished("tool_calls"),
    ]
    assert ollama_chat.decode_usage(body) == Usage(input=11, output=18)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"eval_count": 3}, Usage(output=3)),
        ({"prompt_eval_count": -1, "eval_count": 0}, Usage()),
        ({}, None),
    ],
)
def test_a_prompt_from_the_cache_may_be_told_as_none(counts: dict[str, int], usage: Usage | None) -> None:
    assert ollama_chat.decode_usage(json.dumps({"message": {}, **counts}).encode()) == usage


@pytest.mark.parametrize(
    ("reason", "told"), [("stop", "stop"), ("length", "length"), (None, "stop"), ("something_new", "something_new")]
)
def test_a_finish_has_our_word(reason: str | None, told: str) -> None:
    reply = {"message": {"content": "a"}, "done": True, "done_reason": reason}
    assert ollama_chat.decode_reply(json.dumps(reply).encode())[-1] == Finished(told)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", UpstreamBroken),
        (b"{}", UpstreamBroken),
        (b'{"message":7}', UpstreamBroken),
        (b'{"error":"model runner has unexpectedly stopped"}', UpstreamFailed),
    ],
)
def test_what_is_no_reply_is_an_error(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        ollama_chat.decode_reply(body)


STREAM = lines(
    {
        "model": "qwen3",
        "created_at": "2026-11-22T10:00:00Z",
        "message": {"content": "", "thinking": "Hm"},
        "done": False,
    },
    {"model": "qwen3", "created_at": "2026-11-22T10:00:01Z", "message": {"content": "Ra"}, "done": False},
    {
        "created_at": "2026-11-22T10:00:02Z",
        "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
    },
    {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2},
)
EVENTS: list[Event] = [
    Started("", "qwen3"),
    ReasoningPiece("Hm"),
    TextPiece("Ra"),
    ToolCallStarted(0, "call_20261122100000_0", "f"),
    ToolArgumentsPiece(0, "{}"),
    UsageSeen(Usage(input=1, output=2)),
    Finished("tool_calls"),
]


def test_a_stream_tells_the_same_line_by_line() -> None:
    decoder = ollama_chat.EventDecoder()
    assert decoder.feed(STREAM) == EVENTS
    assert decoder.complete
    assert decoder.feed(b'{"message":{"content":"more"}}\n') == []


def test_the_last_line_may_lack_its_end() -> None:
    decoder = ollama_chat.EventDecoder()
    events = decoder.feed(STREAM[:-1])
    assert Finished("tool_calls") not in events
    assert events + decoder.end() == EVENTS
    assert decoder.complete
    assert decoder.end() == []


def test_an_error_in_a_stream_is_raised_after_what_came_before_it() -> None:
    decoder = ollama_chat.EventDecoder()
    with pytest.raises(UpstreamFailed, match="out of memory"):
        decoder.feed(lines({"message": {"content": "a"}}, {"error": "out of memory"}))
    assert decoder.before_error == [Started("", ""), TextPiece("a")]


def test_a_line_without_end_is_not_gathered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollway.dialects.ollama_chat.reply.EVENT_BYTES_MAX", 100)
    decoder = ollama_chat.EventDecoder()
    decoder.feed(b"x" * 100)
    with pytest.raises(UpstreamBroken):
        decoder.feed(b"x")


def test_an_error_s_words_reach_the_client() -> None:
    error = ollama_chat.decode_error(404, [], b'{"error":"model \'x\' not found"}', "ollama")
    assert type(error) is UpstreamRefused
    assert (error.status, error.message) == (404, "model 'x' not found")
