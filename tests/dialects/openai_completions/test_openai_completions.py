"""Text completions: requests, whole replies and streams, in both directions."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    Image,
    LikelyToken,
    Link,
    LogprobsPiece,
    Message,
    ReasoningOptions,
    ReasoningPiece,
    RefusalPiece,
    ResponseFormat,
    Started,
    Text,
    TextPiece,
    Tool,
    ToolChoice,
    ToolResult,
    UsageSeen,
)
from tollway.dialects import About, Traits, mistral_fim
from tollway.dialects import openai_completions as dialect
from tollway.errors import BadRequest, UpstreamBroken, UpstreamFailed, UpstreamRateLimited

ABOUT = About(model="ours", id="cmpl-ours", created_s=7)
TRAITS = Traits(model="theirs")
STRICT = Traits(model="theirs", drop_unsupported=False)


def fields_of(**fields: Any) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}


def encoded(conversation: Conversation, traits: Traits = TRAITS) -> Any:
    return json.loads(msgspec.json.encode(dialect.encode_request(conversation, traits).fields))


def asked(*parts: Any, **more: Any) -> Conversation:
    return Conversation("m", [Message("user", list(parts) or [Text("Hello")])], dialect="openai_chat", **more)


def sse(*chunks: Any) -> bytes:
    return b"".join(
        b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n" for chunk in chunks
    )


def chunks_of(out: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in out.split(b"\n\n") if line]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


# --- requests ------------------------------------------------------------------------------------------------------


def test_a_prompt_is_what_a_user_says_and_every_field_has_its_word() -> None:
    fields = fields_of(
        model="m",
        prompt=["Once"],
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        n=2,
        seed=1,
        stop="\n",
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias={"5": 1},
        user="mara",
        stream=True,
        stream_options={"include_usage": True},
        logprobs=3,
        suffix="the end",
        echo=False,
        best_of=None,
    )
    assert dialect.decode_request(fields) == Conversation(
        "m",
        [Message("user", [Text("Once")])],
        dialect="openai_completions",
        output_tokens_max=5,
        temperature=0.5,
        top_p=0.9,
        n=2,
        seed=1,
        stop=["\n"],
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias=Raw(b'{"5": 1}'),
        user="mara",
        streaming=True,
        usage_wanted=True,
        logprobs=True,
        top_logprobs=3,
        extra={"suffix": Raw(b'"the end"')},
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a"}, "model"),
        ({"model": "m"}, "prompt"),
        ({"model": "m", "prompt": None}, "prompt"),
        ({"model": "m", "prompt": 7}, "prompt"),
        ({"model": "m", "prompt": ["a", "b"]}, "prompt"),
        ({"model": "m", "prompt": [1, 2]}, "prompt"),
        ({"model": "m", "prompt": "a", "n": 0}, "n"),
        ({"model": "m", "prompt": "a", "temperature": "hot"}, "temperature"),
        ({"model": "m", "prompt": "a", "logprobs": True}, "logprobs"),
        ({"model": "m", "prompt": "a", "stop": [1]}, "stop[0]"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        dialect.decode_request(fields_of(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("a", 1), (["a"], 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2], [3]], 3), ([], 1), (None, 1)],
)
def test_prompts_are_counted(prompt: Any, count: int) -> None:
    assert dialect.prompts_in(Raw(json.dumps(prompt).encode())) == count


def test_a_lone_text_is_the_prompt_as_it_is() -> None:
    assert encoded(asked(output_tokens_max=9)) == {"model": "theirs", "prompt": "Hello", "max_tokens": 9}


def test_a_conversation_is_a_transcript_that_ends_where_the_other_turn_would_begin() -> None:
    conversation = Conversation(
        "m",
        [
            Message("user", [Text("Hi")]),
            Message("assistant", [Text("Hello.")]),
            Message("tool", [ToolResult("c", [Text("42")])]),
            Message("user", [Text("Go on")]),
        ],
        system=[Text("Be brief.")],
        dialect="openai_chat",
        streaming=True,
    )
    assert encoded(conversation) == {
        "model": "theirs",
        "prompt": "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nResult of a tool: 42\n\nUser: Go on\n\nAssistant:",
        "max_tokens": 1024,
        "stop": ["\n\nUser:"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    conversation.stop = ["."]
    assert encoded(conversation)["stop"] == ["."]


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (asked(tools=[Tool("f")]), "tools"),
        (asked(response_format=ResponseFormat("json_object")), "response_format"),
        (asked(reasoning=ReasoningOptions("high")), "reasoning_effort"),
        (asked(Image(Link("https://x.test/a.png"))), "messages[].content[image]"),
        (asked(extra={"verbosity": Raw(b'"low"')}), "verbosity"),
    ],
)
def test_what_a_completion_cannot_say_is_dropped_by_name_or_refused(conversation: Conversation, param: str) -> None:
    assert "messages" not in encoded(conversation)
    assert conversation.dropped == [param]
    with pytest.raises(BadRequest) as caught:
        dialect.encode_request(conversation, STRICT)
    assert caught.value.param == param


def test_what_says_nothing_is_not_dropped() -> None:
    conversation = asked(
        tools=[Tool("f")],
        tool_choice=ToolChoice("none"),
        response_format=ResponseFormat("text"),
        reasoning=ReasoningOptions("none"),
    )
    encoded(conversation, STRICT)
    assert conversation.dropped == []


def test_fields_of_its_own_are_taken_of_a_chat_client() -> None:
    conversation = asked(extra={"suffix": Raw(b'"b"'), "best_of": Raw(b"3")}, logprobs=True, top_logprobs=2, n=2)
    assert encoded(conversation, STRICT)["suffix"] == "b"
    assert encoded(conversation)["best_of"] == 3
    assert (encoded(conversation)["logprobs"], encoded(conversation)["n"]) == (2, 2)


# --- replies -------------------------------------------------------------------------------------------------------

LIKELY = LikelyToken("He", -0.5, (LikelyToken("He", -0.5), LikelyToken("A", -2.0)))
WHOLE = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 3,
    "model": "theirs",
    "choices": [
        {
            "text": "He",
            "index": 0,
            "logprobs": {
                "tokens": ["He"],
                "token_logprobs": [-0.5],
                "top_logprobs": [{"He": -0.5, "A": -2.0}],
                "text_offset": [0],
            },
            "finish_reason": "length",
        }
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
}
EVENTS: list[Event] = [
    Started("cmpl-1", "theirs", 3),
    TextPiece("He"),
    LogprobsPiece([LIKELY]),
    Finished("length"),
    UsageSeen(Usage(input=4, output=1)),
]


def test_a_whole_reply_is_read_and_written() -> None:
    assert dialect.decode_reply(json.dumps(WHOLE).encode()) == EVENTS
    written = json.loads(dialect.encode_reply(EVENTS, ABOUT, cost=Cost(total=1)))
    assert written["usage"].pop("cost") == 1e-9
    assert written["usage"].items() >= {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}.items()
    assert {**written, "usage": None} == {**WHOLE, "model": "ours", "usage": None}


def test_a_stream_is_written_chunk_by_chunk_and_its_end_waits_for_usage() -> None:
    encoder = dialect.EventEncoder(ABOUT)
    first = chunks_of(encoder.feed(EVENTS))
    assert [chunk["choices"][0]["text"] for chunk in first] == ["He", ""]
    assert first[1]["choices"][0]["logprobs"]["tokens"] == ["He"]
    last, done = chunks_of(encoder.finish(None, Cost(total=2)))
    assert last["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert (last["usage"]["total_tokens"], last["usage"]["cost"]) == (5, 2e-9)
    assert (last["object"], last["id"], last["created"], last["model"]) == ("text_completion", "cmpl-1", 3, "ours")
    assert done == "[DONE]"


def test_usage_that_was_asked_for_has_a_chunk_of_its_own() -> None:
    encoder = dialect.EventEncoder(About(model="ours", id="x", created_s=7, usage_wanted=True))
    encoder.feed([Started("", ""), TextPiece("a"), Finished("stop")])
    last, usage, _ = chunks_of(encoder.finish(Usage(input=1, output=2), None))
    assert "usage" not in last
    assert (usage["choices"], usage["usage"]["total_tokens"], usage["id"]) == ([], 3, "x")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("refusal", "content_filter"),
        ("tool_calls", "stop"),
        ("their_own", "stop"),
    ],
)
def test_a_finish_is_one_that_completions_know(reason: str, told: str) -> None:
    body = json.loads(dialect.encode_reply([Started("", ""), Finished(reason)], ABOUT))
    assert body["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": told}]


def test_a_refusal_is_text_and_thought_is_not_shown() -> None:
    events: list[Event] = [ReasoningPiece("Hm"), TextPiece("I "), RefusalPiece("won't")]
    assert json.loads(dialect.encode_reply(events, ABOUT))["choices"][0]["text"] == "I won't"
    assert [chunk["choices"][0]["text"] for chunk in chunks_of(dialect.EventEncoder(ABOUT).feed(events))] == [
        "I ",
        "won't",
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", UpstreamBroken),
        (b'{"id":"x"}', UpstreamBroken),
        (b'{"choices":[{"text":7}]}', UpstreamBroken),
        (b'{"error":{"message":"slow down","code":429}}', UpstreamRateLimited),
    ],
)
def test_what_is_no_reply_is_an_error(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        dialect.decode_reply(body)
    with pytest.raises(error):
        dialect.EventDecoder().feed(b"data: " + body + b"\n\n" + b'data: {"choices":7}\n\n')


def test_what_came_before_an_error_in_a_stream_is_kept() -> None:
    decoder = dialect.EventDecoder()
    good = {"id": "x", "choices": [{"text": "a", "index": 0}]}
    with pytest.raises(UpstreamFailed):
        decoder.feed(sse(good, {"error": {"message": "broke", "code": 500}}))
    assert decoder.before_error == [Started("x", ""), TextPiece("a")]


def test_the_last_event_may_lack_its_empty_line() -> None:
    decoder = dialect.EventDecoder()
    assert decoder.feed(sse({"choices": [{"text": "a"}]})[:-2]) == []
    assert decoder.end() == [Started("", ""), TextPiece("a")]
    assert decoder.end() == []


# --- passing -------------------------------------------------------------------------------------------------------


def test_a_null_text_becomes_an_empty_one_wherever_it_comes() -> None:
    body = b'{"id": "c", "model": "theirs", "choices": [{"text": null, "logprobs":null}, {"text":"null"}]}'
    renamed, usage, reply_id = dialect.rename_reply(body, "ours")
    assert json.loads(renamed)["choices"] == [{"text": "", "logprobs": None}, {"text": "null"}]
    assert (usage, reply_id, json.loads(renamed)["model"]) == (None, "c", "ours")
    relay = dialect.PassRelay(ABOUT)
    out = relay.feed(sse(b'{"choices":[{"text":null,"index":0,"logprobs":null}]}'))
    assert out == sse(b'{"choices":[{"text":"","index":0,"logprobs":null}]}')


def test_a_text_that_speaks_of_null_stays() -> None:
    event = sse({"choices": [{"index": 0, "text": 'say "text":null and "text": null'}]})
    assert dialect.PassRelay(ABOUT).feed(event) == event


# --- fill in the middle --------------------------------------------------------------------------------------------


def test_a_middle_is_asked_for_in_mistral_s_words() -> None:
    fields = fields_of(
        model="m", prompt="a", suffix="b", seed=3, max_tokens=9, stop=["x"], min_tokens=1, temperature=0, user="u"
    )
    conversation = dialect.decode_request(fields)
    assert json.loads(msgspec.json.encode(mistral_fim.encode_request(conversation, STRICT).fields)) == {
        "model": "theirs",
        "prompt": "a",
        "max_tokens": 9,
        "temperature": 0,
        "random_seed": 3,
        "stop": ["x"],
        "suffix": "b",
        "min_tokens": 1,
    }
    assert conversation.dropped == ["user"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"echo": True}, "echo"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logprobs": 1}, "logprobs"),
    ],
)
def test_what_a_middle_cannot_be_asked_for_is_refused_by_name(more: dict[str, Any], param: str) -> None:
    conversation = dialect.decode_request(fields_of(model="m", prompt="a", **more))
    with pytest.raises(BadRequest) as caught:
        mistral_fim.encode_request(conversation, STRICT)
    assert caught.value.param == param
