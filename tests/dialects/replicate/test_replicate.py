"""Replicate's predictions: inputs as they go out, predictions and streams as they come in."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Conversation,
    Document,
    Finished,
    Image,
    Inline,
    Link,
    Message,
    ReasoningOptions,
    ResponseFormat,
    Started,
    Text,
    TextPiece,
    Tool,
    ToolCall,
    ToolResult,
    UsageSeen,
)
from tollway.dialects import Traits, replicate
from tollway.dialects.replicate.predictions import Ears, Script, path_of, version_of
from tollway.errors import BadRequest, ContextWindowExceeded, UpstreamBroken, UpstreamError, UpstreamFailed

LLAMA = "meta/meta-llama-3-70b-instruct"


def encoded(conversation: Conversation, model: str = LLAMA, *, drop: bool = True) -> Any:
    fields = replicate.encode_request(conversation, Traits(model=model, drop_unsupported=drop)).fields
    assert fields.pop("model") == model
    return json.loads(msgspec.json.encode(fields))


def asked(*messages: Message, system: str = "", **more: Any) -> Conversation:
    said = list(messages) or [Message("user", [Text("Hello")])]
    return Conversation("m", said, system=[Text(system)] if system else [], dialect="openai_chat", **more)


def user(text: str) -> Message:
    return Message("user", [Text(text)])


def assistant(text: str) -> Message:
    return Message("assistant", [Text(text)])


def prediction(**fields: Any) -> bytes:
    return json.dumps({"id": "p1", "model": LLAMA, "status": "succeeded", "error": None, **fields}).encode()


# --- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (LLAMA, {"system_prompt": "Be kind.", "prompt": "Hello", "max_tokens": 9}),
        ("meta/llama-2-70b-chat", {"system_prompt": "Be kind.", "prompt": "Hello", "max_new_tokens": 9}),
        ("mistralai/mixtral-8x7b-instruct-v0.1", {"prompt": "Be kind.\n\nHello", "max_new_tokens": 9}),
        ("deepseek-ai/deepseek-r1", {"prompt": "Be kind.\n\nHello", "max_tokens": 9}),
        ("anthropic/claude-4-sonnet", {"system_prompt": "Be kind.", "prompt": "Hello", "max_tokens": 9}),
        ("google/gemini-2.5-flash", {"system_instruction": "Be kind.", "prompt": "Hello", "max_output_tokens": 9}),
        ("openai/gpt-4.1", {"system_prompt": "Be kind.", "prompt": "Hello", "max_completion_tokens": 9}),
        ("replicate/vicuna-13b:abc", {"prompt": "Be kind.\n\nHello", "max_length": 9}),
        ("somebody/something", {"prompt": "Be kind.\n\nHello", "max_tokens": 9}),
    ],
)
def test_each_maker_s_models_are_told_in_their_own_words(model: str, fields: dict[str, Any]) -> None:
    assert encoded(asked(system="Be kind.", output_tokens_max=9), model) == fields


def test_more_than_one_turn_is_a_script_that_the_model_goes_on_with() -> None:
    turns = asked(user("Hi"), assistant("Hello."), user("And?"), system="Be kind.")
    assert encoded(turns)["prompt"] == "User: Hi\n\nAssistant: Hello.\n\nUser: And?\n\nAssistant:"
    bare = encoded(asked(user("Hi"), assistant("Hello."), user("And?"), system="Be kind."), "xai/grok-4")
    assert bare == {"prompt": "Be kind.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: And?\n\nAssistant:"}


def test_a_turn_that_the_assistant_began_is_gone_on_with() -> None:
    assert encoded(asked(user("Count"), assistant("One,")))["prompt"] == "User: Count\n\nAssistant: One,"


def test_what_tools_gave_is_told_in_the_script() -> None:
    turns = [user("Hi"), Message("tool", [ToolResult("1", [Text("42")])]), user("So?")]
    fields = encoded(asked(*turns), "openai/gpt-5")
    assert fields == {"prompt": "User: Hi\n\nTool: 42\n\nUser: So?\n\nAssistant:"}


def test_openai_s_models_are_given_the_conversation_as_it_is() -> None:
    fields = encoded(asked(user("Hi"), assistant("Hello."), user("And?"), system="Be kind."), "openai/gpt-5")
    assert fields["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And?"},
    ]
    assert "messages" not in encoded(asked(), "openai/gpt-5")


def test_pictures_go_where_the_model_looks() -> None:
    two = [Message("user", [Text("See"), Image(Link("https://h/a.png")), Image(Inline("image/png", "aGk="))])]
    assert encoded(asked(*two), "openai/gpt-4o")["image_input"] == ["https://h/a.png", "data:image/png;base64,aGk="]
    assert encoded(asked(*two), "google/gemini-2.5-flash")["images"] == [
        "https://h/a.png",
        "data:image/png;base64,aGk=",
    ]
    one = asked(*two)
    assert encoded(one, "anthropic/claude-4-sonnet")["image"] == "https://h/a.png"
    assert one.dropped == ["messages[].content[image]"]
    none = asked(*two)
    assert encoded(none) == {"prompt": "See"}
    assert none.dropped == ["messages[].content[image]"]


def test_sampling_travels_where_the_model_knows_it_and_is_named_where_not() -> None:
    more: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7, "stop": ["a", "b"]}
    fields = encoded(asked(**more))
    assert fields == {
        "prompt": "Hello",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 7,
        "stop_sequences": "a,b",
    }
    claude = asked(**more)
    assert encoded(claude, "anthropic/claude-4-sonnet") == {"prompt": "Hello"}
    assert claude.dropped == ["temperature", "top_p", "top_k", "seed", "stop"]
    comma = asked(stop=[","])
    assert "stop_sequences" not in encoded(comma)
    assert comma.dropped == ["stop"]


def test_a_model_s_own_inputs_travel_as_they_came() -> None:
    own = {"prompt_template": Raw(b'"{prompt}"'), "min_tokens": Raw(b"3"), "store": Raw(b"true")}
    conversation = asked(extra=own)
    assert encoded(conversation) == {"prompt": "Hello", "prompt_template": "{prompt}", "min_tokens": 3}
    assert conversation.dropped == ["store"]


def test_how_much_to_think_is_said_to_those_who_are_told_so() -> None:
    assert encoded(asked(reasoning=ReasoningOptions("xhigh")), "openai/o4-mini")["reasoning_effort"] == "high"
    conversation = asked(reasoning=ReasoningOptions("low"))
    assert "reasoning_effort" not in encoded(conversation)
    assert conversation.dropped == ["reasoning_effort"]


UNSAID: list[tuple[dict[str, Any], str]] = [
    ({"tools": [Tool("f")]}, "tools"),
    ({"response_format": ResponseFormat("json_object")}, "response_format"),
    ({"logprobs": True}, "logprobs"),
    ({"logit_bias": Raw(b"{}")}, "logit_bias"),
    ({"messages": [Message("assistant", [ToolCall("1", "f", "{}")])]}, "messages[].content[toolcall]"),
    ({"messages": [Message("user", [Document(Link("https://h/d.pdf"))])]}, "messages[].content[document]"),
]


@pytest.mark.parametrize(("more", "name"), UNSAID, ids=[name for _, name in UNSAID])
def test_what_cannot_be_said_is_named_or_refused(more: dict[str, Any], name: str) -> None:
    messages = more.pop("messages", [])
    conversation = asked(*messages, **more)
    encoded(conversation)
    assert conversation.dropped == [name]
    with pytest.raises(BadRequest, match="does not support") as caught:
        encoded(asked(*messages, **more), drop=False)
    assert caught.value.param == name


def test_two_answers_are_refused() -> None:
    with pytest.raises(BadRequest, match="'n' must be 1"):
        encoded(asked(n=2))


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("meta/llama", "/models/meta/llama/predictions", ""),
        ("deployments/acme/llama", "/deployments/acme/llama/predictions", ""),
        ("meta/llama:abc", "/predictions", "meta/llama:abc"),
        ("5c7d5dc6", "/predictions", "5c7d5dc6"),
        ("../../x", "/predictions", "../../x"),
        ("a/..", "/predictions", "a/.."),
        ("a/b?c", "/predictions", "a/b?c"),
    ],
)
def test_a_model_is_an_address_or_a_version(model: str, path: str, version: str) -> None:
    assert (path_of(model), version_of(model)) == (path, version)


# --- replies -------------------------------------------------------------------------------------------------------


def test_a_prediction_is_a_reply_with_what_was_counted() -> None:
    body = prediction(
        output=["Hel", "lo"], metrics={"input_token_count": 7, "output_token_count": 2, "predict_time": 0.1}
    )
    assert replicate.decode_reply(body) == [
        Started("p1", LLAMA),
        TextPiece("Hello"),
        UsageSeen(Usage(input=7, output=2)),
        Finished("stop"),
    ]
    assert replicate.decode_usage(body) == Usage(input=7, output=2)
    assert replicate.decode_usage(b"{}") is None


@pytest.mark.parametrize(("output", "text"), [("Hi", "Hi"), (None, ""), ([], ""), ({"a": 1}, '{"a":1}')])
def test_a_model_may_give_its_text_in_other_shapes(output: Any, text: str) -> None:
    events = replicate.decode_reply(prediction(output=output))
    assert events == [Started("p1", LLAMA), TextPiece(text), Finished("stop")]


def test_a_text_of_all_allowed_tokens_was_cut() -> None:
    body = prediction(output="Hi", input={"max_tokens": 2}, metrics={"output_token_count": 2})
    assert replicate.decode_reply(body)[-1] == Finished("length")


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"status": "failed", "error": "CUDA out of memory"}, UpstreamFailed, "CUDA out of memory"),
        ({"status": "failed", "error": "prompt is too long: 9 tokens"}, ContextWindowExceeded, "prompt is too long"),
        ({"status": "canceled"}, UpstreamFailed, "'canceled'"),
        ({"status": "processing"}, UpstreamBroken, "not over"),
        ({"status": None, "detail": "Internal"}, UpstreamError, "Internal"),
        ({"id": "../x"}, UpstreamBroken, "name or a status"),
    ],
)
def test_a_prediction_that_came_to_nothing_is_an_error(
    fields: dict[str, Any], error: type[UpstreamError], said: str
) -> None:
    with pytest.raises(error, match=said):
        replicate.decode_reply(prediction(**fields))


def test_what_is_no_prediction_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="no prediction"):
        replicate.decode_reply(b"[1")


# --- streams -------------------------------------------------------------------------------------------------------

TICKET = Script().told(prediction(status="starting", input={"prompt": "x" * 50}))
LAST = Script().told(prediction(output=["Hel", "lo\n"], metrics={"input_token_count": 7, "output_token_count": 2}))
STREAM = (
    TICKET
    + b": hi\n\nevent: output\nid: 1:0\ndata: Hel\n\nevent: logs\nid: 1:1\ndata: x\n\nevent: output\nid: 1:2\ndata: lo\ndata: \n\n"
    + b"event: done\nid: 1:3\ndata: {}\n\n"
    + LAST
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_says_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    decoder = replicate.EventDecoder()
    events = []
    marks = [0, *sorted(cuts), len(STREAM)]
    for start, stop in pairwise(marks):
        events += decoder.feed(STREAM[start:stop])
    assert events == [
        Started("p1", LLAMA),
        TextPiece("Hel"),
        TextPiece("lo\n"),
        UsageSeen(Usage(input=7, output=2)),
        Finished("stop"),
    ]
    assert decoder.complete


def test_the_input_does_not_come_back() -> None:
    assert b"xxx" not in TICKET


def test_a_stream_that_was_cut_is_completed_by_the_prediction() -> None:
    decoder = replicate.EventDecoder()
    events = decoder.feed(TICKET + b"event: output\ndata: Hel\n\n" + LAST)
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["Hel", "lo\n"]


def test_a_model_without_a_stream_tells_all_at_its_end() -> None:
    events = replicate.EventDecoder().feed(LAST)
    assert events[1] == TextPiece("Hello\n")


def test_a_stream_whose_prediction_is_not_seen_any_more_ends_without_usage() -> None:
    decoder = replicate.EventDecoder()
    decoder.feed(TICKET + b"event: output\ndata: Hi\n\nevent: done\ndata: {}\n\n")
    assert not decoder.complete
    assert decoder.end() == [Finished("stop")]
    assert replicate.EventDecoder().end() == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b'event: error\ndata: {"detail":"boom"}\n\n', "boom"),
        (b"event: error\ndata: boom\n\n", "boom"),
        (b'event: done\ndata: {"reason":"canceled"}\n\n', "canceled"),
    ],
)
def test_a_stream_that_breaks_says_so_after_what_came_before(event: bytes, said: str) -> None:
    decoder = replicate.EventDecoder()
    with pytest.raises(UpstreamFailed, match=said):
        decoder.feed(TICKET + b"event: output\ndata: Hi\n\n" + event)
    assert decoder.before_error == [Started("p1", LLAMA), TextPiece("Hi")]


@given(st.integers(0, 120))
def test_the_end_mark_is_heard_however_it_is_cut(cut: int) -> None:
    data = b"event: output\ndata: event: done\n\nevent: done\r\ndata: {}\r\n\r\n"
    ears = Ears()
    assert [ears.feed(data[:cut]), ears.feed(data[cut:])].count(True) == 1
    assert not Ears().feed(b"event: output\ndata: event: done\n\n")


def test_a_prediction_is_looked_after_beside_where_it_was_asked() -> None:
    script = Script()
    assert script.base("/v1/models/a/b/predictions") == "/v1"
    assert script.base("/proxy/models/x/v1/deployments/a/b/predictions") == "/proxy/models/x/v1"
    assert script.base("/v1/predictions") == "/v1"
    assert script.cancel_at(prediction(status="processing")) == "predictions/p1/cancel"
    assert script.cancel_at(prediction()) == ""
    assert script.stream_at(prediction(status="starting", urls={"stream": "https://s/x"})) == "https://s/x"
    assert script.stream_at(prediction(status="starting")) == ""
