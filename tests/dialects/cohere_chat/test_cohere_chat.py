"""Cohere's chat: requests as they go out, replies and streams as they come in."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Audio,
    Citation,
    CitationPiece,
    Conversation,
    Document,
    Event,
    FileId,
    Finished,
    Image,
    Inline,
    Link,
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
from tollway.dialects import About, Traits, TranslatingRelay, cohere_chat, openai_chat
from tollway.errors import (
    BadRequest,
    ContentPolicyViolation,
    ContextWindowExceeded,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamTimeout,
)

TRAITS = Traits(model="command-a-03-2025")
THINKER = Traits(model="command-a-reasoning-08-2025")
STRICT = Traits(model="command-a-03-2025", drop_unsupported=False)
SCHEMA = Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}')


def encoded(conversation: Conversation, traits: Traits = TRAITS) -> Any:
    return json.loads(msgspec.json.encode(cohere_chat.encode_request(conversation, traits).fields))


def asked(*parts: Any, **more: Any) -> Conversation:
    return Conversation("m", [Message("user", list(parts) or [Text("Hello")])], dialect="openai_chat", **more)


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event.get("type")).encode(), json.dumps(event).encode()) for event in events
    )


# --- requests ------------------------------------------------------------------------------------------------------


def test_a_conversation_with_tools_keeps_its_turns() -> None:
    conversation = Conversation(
        "m",
        [
            Message("user", [Text("Weather?")]),
            Message("assistant", [Reasoning("I will look."), ToolCall("c1", "look", '{"city":"Oslo"}')]),
            Message("tool", [ToolResult("c1", [Text("rain"), Text("4 °C")])]),
            Message("assistant", [Text("Rain.")]),
            Message("user", [Text("And this?"), Image(Inline("image/png", "aGk="), "low")]),
        ],
        system=[Text("Be brief.")],
        tools=[Tool("look", "Looks.", SCHEMA, strict=True), Tool("wait", strict=True)],
        streaming=True,
        dialect="openai_chat",
    )
    assert encoded(conversation) == {
        "model": "command-a-03-2025",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "tool_plan": "I will look.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city":"Oslo"}'}}
                ],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "rain"}, {"type": "text", "text": "4 °C"}],
            },
            {"role": "assistant", "content": "Rain."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
                ],
            },
        ],
        "stream": True,
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": json.loads(bytes(SCHEMA))},
            },
            {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}}},
        ],
        "strict_tools": True,
    }
    assert conversation.dropped == []


def test_a_model_that_thinks_gets_its_thought_back_as_thought() -> None:
    conversation = asked()
    conversation.messages.append(Message("assistant", [Reasoning("Hm."), Text("Yes.")]))
    assert encoded(conversation, THINKER)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Yes."},
    ]
    assert encoded(conversation)["messages"][1] == {"role": "assistant", "content": "Yes."}
    assert conversation.dropped == ["messages[].reasoning_content"]


def test_pictures_in_results_follow_them_as_the_user_s() -> None:
    picture = Image(Link("https://x.test/a.png"))
    conversation = Conversation(
        "m",
        [
            Message("assistant", [ToolCall("a", "f", "{}"), ToolCall("b", "f", "")]),
            Message("tool", [ToolResult("a", [picture])]),
            Message("tool", [ToolResult("b", [Text("ok")])]),
            Message("user", [Text("Go on")]),
        ],
    )
    messages = encoded(conversation)["messages"]
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user", "user"]
    assert messages[1]["content"] == "The result is in the next message."
    assert messages[3]["content"] == [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
    assert messages[0]["tool_calls"][1]["function"]["arguments"] == "{}"


def test_a_document_to_be_cited_goes_among_the_documents_and_another_into_the_text() -> None:
    cited = Document(Inline("text/plain", ""), "Title", "Context", "Body", citations=True)
    plain = Document(Inline("text/plain", ""), "T", text="B")
    body = encoded(asked(cited, plain, Text("Sum up")))
    assert body["documents"] == [{"data": {"title": "Title", "context": "Context", "text": "Body"}}]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "T\nB"}, {"type": "text", "text": "Sum up"}]


@pytest.mark.parametrize(
    ("choice", "told", "tools"),
    [
        (None, None, 2),
        (ToolChoice("auto"), None, 2),
        (ToolChoice("required"), "REQUIRED", 2),
        (ToolChoice("none"), "NONE", 2),
        (ToolChoice("named", "b"), "REQUIRED", 1),
    ],
)
def test_a_tool_that_must_be_called_stands_alone(choice: ToolChoice | None, told: str | None, tools: int) -> None:
    body = encoded(asked(tools=[Tool("a"), Tool("b")], tool_choice=choice))
    assert (body.get("tool_choice"), len(body["tools"])) == (told, tools)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (ResponseFormat("text"), None),
        (ResponseFormat("json_object"), {"type": "json_object"}),
        (
            ResponseFormat("json_schema", schema=SCHEMA),
            {"type": "json_object", "json_schema": json.loads(bytes(SCHEMA))},
        ),
    ],
)
def test_a_reply_in_json(form: ResponseFormat, told: Any) -> None:
    assert encoded(asked(response_format=form)).get("response_format") == told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (ReasoningOptions("none"), {"type": "disabled"}),
        (ReasoningOptions("low"), {"type": "enabled", "token_budget": 1024}),
        (ReasoningOptions("high"), {"type": "enabled"}),
        (ReasoningOptions(budget_tokens=77), {"type": "enabled", "token_budget": 77}),
        (ReasoningOptions(adaptive=True), {"type": "enabled"}),
        (None, None),
    ],
)
def test_how_much_to_think(options: ReasoningOptions | None, told: Any) -> None:
    assert encoded(asked(reasoning=options), THINKER).get("thinking") == told


def test_numbers_are_kept_within_cohere_s_bounds() -> None:
    conversation = asked(
        output_tokens_max=9,
        temperature=0.5,
        top_p=1.0,
        top_k=9999,
        seed=3,
        stop=["x"],
        presence_penalty=1.5,
        frequency_penalty=0.0,
        extra={"safety_mode": Raw(b'"STRICT"'), "citation_options": Raw(b'{"mode":"OFF"}'), "documents": Raw(b'["d"]')},
    )
    body = encoded(conversation, STRICT)
    del body["messages"], body["model"]
    assert body == {
        "max_tokens": 9,
        "temperature": 0.5,
        "p": 0.99,
        "k": 500,
        "seed": 3,
        "stop_sequences": ["x"],
        "presence_penalty": 1.0,
        "frequency_penalty": 0.0,
        "safety_mode": "STRICT",
        "citation_options": {"mode": "OFF"},
        "documents": ["d"],
    }


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (asked(Audio(Inline("audio/wav", "UklG"))), "messages[].content[audio]"),
        (asked(Image(FileId("f"))), "messages[].content[image]"),
        (asked(tools=[Tool("x", native=Raw(b"{}"), dialect="gemini")]), "tools[x]"),
        (asked(tools=[Tool("f")], parallel_tool_calls=False), "parallel_tool_calls"),
        (asked(tools=[Tool("f")], response_format=ResponseFormat("json_object")), "response_format"),
        (asked(stop=list("abcdef")), "stop"),
        (asked(frequency_penalty=-1.0), "frequency_penalty"),
        (asked(logit_bias=Raw(b"{}")), "logit_bias"),
        (asked(logprobs=True), "logprobs"),
        (asked(extra={"verbosity": Raw(b'"low"')}), "verbosity"),
    ],
)
def test_what_cohere_cannot_say_is_dropped_by_name_or_refused(conversation: Conversation, param: str) -> None:
    encoded(conversation)
    assert conversation.dropped == [param]
    with pytest.raises(BadRequest) as caught:
        cohere_chat.encode_request(conversation, STRICT)
    assert caught.value.param == param


def test_several_answers_are_refused_always() -> None:
    with pytest.raises(BadRequest) as caught:
        cohere_chat.encode_request(asked(n=2), TRAITS)
    assert caught.value.param == "n"


def test_what_changes_no_answer_is_left_out_and_told_even_where_nothing_may_be_dropped() -> None:
    conversation = asked(user="mara", tools=[Tool("a", strict=True), Tool("b")])
    assert "strict_tools" not in encoded(conversation, STRICT)
    assert conversation.dropped == ["tools[].function.strict", "user"]


# --- replies -------------------------------------------------------------------------------------------------------

CITED = {
    "start": 0,
    "end": 4,
    "text": "Rain",
    "sources": [{"type": "document", "id": "d1", "document": {"title": "News", "url": "https://n.test"}}],
    "type": "TEXT_CONTENT",
}
USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 3},
    "tokens": {"input_tokens": 205, "output_tokens": 9},
    "cached_tokens": 144,
}
WHOLE = {
    "id": "r1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "tool_plan": "I will look.",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Rain."}],
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}],
        "citations": [CITED, {**CITED, "type": "PLAN"}],
    },
    "usage": USAGE,
}


def test_a_whole_reply_tells_plan_thought_text_calls_citations_and_what_was_billed() -> None:
    raw = Raw(json.dumps(CITED).encode())
    assert cohere_chat.decode_reply(json.dumps(WHOLE).encode()) == [
        Started("r1", ""),
        ReasoningPiece("I will look.", block=0),
        ReasoningPiece("Hm.", block=1),
        TextPiece("Rain."),
        ToolCallStarted(0, "c1", "look"),
        ToolArgumentsPiece(0, '{"a":1}'),
        CitationPiece(Citation("https://n.test", "News", "Rain", 0, 4, raw, "cohere_chat")),
        UsageSeen(Usage(input=5, output=3)),
        Finished("tool_calls"),
    ]
    assert cohere_chat.decode_usage(json.dumps(WHOLE).encode()) == Usage(input=5, output=3)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"tokens": {"input_tokens": 9, "output_tokens": 1}}, Usage(input=9, output=1)),
        ({"billed_units": {}, "tokens": {"input_tokens": 9}}, Usage(input=9)),
        ({"billed_units": {"input_tokens": 2.0, "search_units": 3}}, Usage(input=2, searches=3)),
        ({"billed_units": {"input_tokens": -2}}, None),
        ({}, None),
        (None, None),
        ("many", None),
    ],
)
def test_what_was_not_billed_is_counted_by_its_tokens(usage: Any, counted: Usage | None) -> None:
    assert cohere_chat.decode_usage(json.dumps({**WHOLE, "usage": usage}).encode()) == counted


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR_TOXIC", "content_filter"),
        ("SOMETHING_NEW", "something_new"),
    ],
)
def test_a_finish_has_our_word(reason: str, told: str) -> None:
    reply = {"message": {"content": []}, "finish_reason": reason}
    assert cohere_chat.decode_reply(json.dumps(reply).encode())[-1] == Finished(told)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", UpstreamBroken),
        (b"{}", UpstreamBroken),
        (b'{"message":"internal server error"}', UpstreamFailed),
        (b'{"message":{},"finish_reason":"ERROR"}', UpstreamBroken),
        (b'{"message":{},"finish_reason":"TIMEOUT"}', UpstreamTimeout),
    ],
)
def test_what_is_no_reply_is_an_error(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        cohere_chat.decode_reply(body)


def delta(kind: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


def call(**function: Any) -> dict[str, Any]:
    return {"tool_calls": {"function": function}}


STREAM = sse(
    {"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}}},
    delta("tool-plan-delta", tool_plan="I "),
    delta("tool-plan-delta", tool_plan="will."),
    delta("content-start", content={"type": "thinking", "thinking": ""}),
    delta("content-delta", content={"thinking": "Hm."}),
    {"type": "content-end", "index": 0},
    delta("content-start", 1, content={"type": "text", "text": ""}),
    delta("content-delta", 1, content={"text": "Rain"}),
    delta("citation-start", 0, citations=CITED),
    {"type": "citation-end", "index": 0},
    delta("content-delta", 1, content={"text": "."}),
    {"type": "content-end", "index": 1},
    {"type": "debug", "prompt": "x"},
    delta(
        "tool-call-start", tool_calls={"id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    ),
    delta("tool-call-delta", **call(arguments='{"a"')),
    delta("tool-call-delta", **call(arguments=":1}")),
    {"type": "tool-call-end", "index": 0},
    delta(
        "tool-call-start", 1, tool_calls={"id": "c2", "type": "function", "function": {"name": "wait", "arguments": ""}}
    ),
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
)
EVENTS: list[Event] = [
    Started("r1", ""),
    ReasoningPiece("I ", block=0),
    ReasoningPiece("will.", block=0),
    ReasoningPiece("Hm.", block=1),
    TextPiece("Rain"),
    CitationPiece(Citation("https://n.test", "News", "Rain", 0, 4, Raw(json.dumps(CITED).encode()), "cohere_chat")),
    TextPiece("."),
    ToolCallStarted(0, "c1", "look"),
    ToolArgumentsPiece(0, '{"a"'),
    ToolArgumentsPiece(0, ":1}"),
    ToolCallStarted(1, "c2", "wait"),
    UsageSeen(Usage(input=5, output=3)),
    Finished("tool_calls"),
]


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
def test_a_stream_tells_the_same_piece_by_piece(end: bytes) -> None:
    decoder = cohere_chat.EventDecoder()
    assert decoder.feed(STREAM + end) == EVENTS
    assert decoder.complete


def test_a_stream_is_relayed_to_a_client_of_openai_s() -> None:
    about = About(model="ours", id="x", created_s=1)
    relay = TranslatingRelay(about, cohere_chat.EventDecoder(), openai_chat.EventEncoder(about))
    out = relay.feed(STREAM) + relay.finish(relay.usage, None)
    chunks = [json.loads(line[6:]) for line in out.split(b"\n\n") if line.startswith(b"data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(one.get("content") or "" for one in deltas) == "Rain."
    assert "".join(one.get("reasoning_content") or "" for one in deltas) == "I will.Hm."
    (noted,) = [one["annotations"] for one in deltas if "annotations" in one]
    assert noted == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 0, "end_index": 4, "title": "News", "url": "https://n.test"},
        }
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["total_tokens"] == 8


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "no luck"}}, UpstreamFailed),
        ({"type": "message-end", "delta": {"finish_reason": "ERROR"}}, UpstreamBroken),
        ({"message": "too many requests"}, UpstreamFailed),
        ({"what": 1}, UpstreamBroken),
        ({"type": 7}, UpstreamBroken),
    ],
)
def test_an_error_in_a_stream_is_raised_after_what_came_before_it(
    event: dict[str, Any], error: type[UpstreamError]
) -> None:
    decoder = cohere_chat.EventDecoder()
    with pytest.raises(error):
        decoder.feed(sse(delta("content-delta", content={"text": "a"}), event))
    assert decoder.before_error == [TextPiece("a")]


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "too many tokens: size limit exceeded by 3 tokens", ContextWindowExceeded),
        (401, "invalid api token", UpstreamAccountError),
        (402, "please add a payment method", UpstreamAccountError),
        (429, "You are using a Trial key, which is limited to 10 API calls / minute", UpstreamRateLimited),
        (498, "blocked output: this generation may be a potential violation", ContentPolicyViolation),
        (500, "internal server error", UpstreamFailed),
        (504, "gateway timeout", UpstreamTimeout),
    ],
)
def test_an_error_s_status_and_words_say_what_it_is(status: int, message: str, error: type[Exception]) -> None:
    body = json.dumps({"id": "x", "message": message}).encode()
    found = cohere_chat.decode_error(status, [(b"retry-after", b"3")], body, "cohere")
    assert type(found) is error
    if error is UpstreamRateLimited:
        assert found.retry_after_s == 3
