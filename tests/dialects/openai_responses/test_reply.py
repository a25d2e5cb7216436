from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Event,
    Finished,
    OpaquePiece,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects.openai_responses import EventDecoder, decode_reply
from tollway.dialects.openai_responses.thought import Sealed, seal
from tollway.errors import UpstreamBroken, UpstreamFailed, UpstreamRateLimited

RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 5.0, "model": "gpt", "output": []}
USAGE = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
STARTED = Started("resp_1", "gpt", 5)
SEEN = UsageSeen(Usage(input=9, output=4))


def event(kind: str, **fields: Any) -> bytes:
    name = f"response.{kind}" if kind != "error" else kind
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps({"type": name, **fields}).encode())


def added(index: int, **item: Any) -> bytes:
    return event("output_item.added", output_index=index, item=item)


def done(index: int, **item: Any) -> bytes:
    return event("output_item.done", output_index=index, item=item)


def text(index: int, delta: str, part: int = 0) -> bytes:
    return event("output_text.delta", output_index=index, content_index=part, delta=delta, logprobs=[])


CREATED = event("created", response={**RESPONSE, "status": "in_progress"}) + event("in_progress", response=RESPONSE)
COMPLETED = event("completed", response={**RESPONSE, "status": "completed", "usage": USAGE})
MESSAGE = added(0, type="message", id="msg_1", role="assistant", content=[])


def read(*pieces: bytes) -> list[Event]:
    return EventDecoder().feed(b"".join(pieces))


def test_a_stream_becomes_events() -> None:
    decoder = EventDecoder()
    events = decoder.feed(
        CREATED
        + added(0, type="reasoning", id="rs_1", summary=[])
        + event("reasoning_summary_part.added", output_index=0, summary_index=0, part={"type": "summary_text"})
        + event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="why")
        + event("reasoning_summary_text.done", output_index=0, summary_index=0, text="why")
        + event("reasoning_summary_text.delta", output_index=0, summary_index=1, delta="how")
        + done(0, type="reasoning", id="rs_1", summary=[{"text": "why"}, {"text": "how"}], encrypted_content="gAAA")
        + added(1, type="message", id="msg_1", role="assistant", content=[])
        + event("content_part.added", output_index=1, content_index=0, part={"type": "output_text", "text": ""})
        + text(1, "Hel")
        + b": keep-alive\n\n"
        + text(1, "lo")
        + event("output_text.done", output_index=1, content_index=0, text="Hello")
        + event("refusal.delta", output_index=1, content_index=1, delta="No.")
        + event("refusal.done", output_index=1, content_index=1, refusal="No.")
        + done(1, type="message", content=[{"type": "output_text", "text": "Hello"}, {"type": "refusal"}])
        + added(2, type="function_call", id="fc_1", call_id="c1", name="f", arguments="")
        + event("function_call_arguments.delta", output_index=2, delta='{"a"')
        + event("function_call_arguments.delta", output_index=2, delta=":1}")
        + event("function_call_arguments.done", output_index=2, arguments='{"a":1}')
        + done(2, type="function_call", id="fc_1", call_id="c1", name="f", arguments='{"a":1}')
        + event("novel.thing", output_index=2, delta={"x": 1})
        + COMPLETED
    )
    assert events == [
        STARTED,
        ReasoningPiece("why"),
        ReasoningPiece("\n\n"),
        ReasoningPiece("how"),
        ReasoningPiece(redacted="openai_responses:rs_1:gAAA", block=1),
        TextPiece("Hel"),
        TextPiece("lo"),
        RefusalPiece("No."),
        ToolCallStarted(0, "c1", "f"),
        ToolArgumentsPiece(0, '{"a"'),
        ToolArgumentsPiece(0, ":1}"),
        SEEN,
        Finished("tool_calls"),
    ]
    assert decoder.complete


def test_a_whole_reply_is_the_same_events() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    body = {
        **RESPONSE,
        "status": "completed",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"text": "a"}, {"text": "b"}], "encrypted_content": "gAAA"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "c"}]},
            search,
            {"type": "message", "content": [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "y"}]},
            {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'say "x"'},
            {"type": "function_call", "call_id": "d", "name": "f", "arguments": "{}"},
        ],
        "usage": USAGE,
    }
    assert decode_reply(json.dumps(body).encode()) == [
        STARTED,
        ReasoningPiece("a\n\nb"),
        ReasoningPiece(redacted="openai_responses:rs_1:gAAA", block=1),
        ReasoningPiece("c", block=2),
        OpaquePiece("openai_responses", Raw(json.dumps(search).encode())),
        TextPiece("x"),
        RefusalPiece("y"),
        ToolCallStarted(0, "c", "patch"),
        ToolArgumentsPiece(0, '{"input":"say \\"x\\""}'),
        ToolCallStarted(1, "d", "f"),
        ToolArgumentsPiece(1, "{}"),
        UsageSeen(Usage(input=9, output=4, searches=1)),
        Finished("tool_calls"),
    ]


def test_a_custom_tools_pieces_become_json() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "patch"}
    pieces = read(
        added(0, **item, input=""),
        event("custom_tool_call_input.delta", output_index=0, delta='say "'),
        event("custom_tool_call_input.delta", output_index=0, delta='x"'),
        done(0, **item, input='say "x"'),
    )
    assert pieces[0] == ToolCallStarted(0, "c", "patch")
    assert json.loads("".join(piece.text for piece in pieces if isinstance(piece, ToolArgumentsPiece))) == {
        "input": 'say "x"'
    }


def test_thought_in_the_open_is_told_and_not_twice() -> None:
    pieces = read(
        added(0, type="reasoning", id="rs_1", summary=[]),
        event("reasoning_text.delta", output_index=0, content_index=0, delta="long"),
        event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="short"),
        done(0, type="reasoning", id="rs_1", summary=[{"text": "short"}], content=[{"text": "long"}]),
    )
    assert pieces == [ReasoningPiece("long")]


def test_what_another_maker_sealed_gets_its_place_back() -> None:
    pieces = read(
        done(0, type="reasoning", id="a", summary=[{"text": "x"}], encrypted_content=seal(Sealed("sig"))),
        done(1, type="reasoning", id="b", summary=[], encrypted_content=seal(Sealed(redacted="data"))),
        done(2, type="reasoning", id="c", summary=[], encrypted_content=seal(Sealed("s", "", "c1"))),
        done(3, type="function_call", call_id="c1", name="f", arguments="{}"),
    )
    assert pieces == [
        ReasoningPiece("x"),
        ReasoningPiece(signature="sig", maker="anthropic_messages"),
        ReasoningPiece(redacted="data", block=1),
        ToolCallStarted(0, "c1", "f", signature="s"),
        ToolArgumentsPiece(0, "{}"),
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        [MESSAGE, event("output_text.done", output_index=0, content_index=0, text="Hi")],
        [done(0, type="message", content=[{"type": "output_text", "text": "Hi"}])],
        [text(0, "Hi"), done(0, type="message", content=[{"type": "output_text", "text": "Hi"}])],
        [MESSAGE, text(0, "Hi"), event("output_text.done", output_index=0, content_index=0, text="Hi")],
    ],
)
def test_servers_that_leave_pieces_out_are_understood(pieces: list[bytes]) -> None:
    assert read(*pieces) == [TextPiece("Hi")]


def test_what_only_the_last_event_tells_is_told() -> None:
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    last = event("completed", response={**RESPONSE, "output": output})
    call: list[Event] = [ToolCallStarted(0, "c", "f"), ToolArgumentsPiece(0, "{}"), Finished("tool_calls")]
    assert read(last) == [STARTED, TextPiece("Hi"), *call]
    # Servers that count otherwise in the stream than at its end do not say things twice.
    assert read(CREATED, text(1, "Hi"), last) == [STARTED, TextPiece("Hi"), *call]


def test_two_items_may_be_counted_as_one() -> None:
    first = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    pieces = read(added(0, **first), done(0, **first), added(0, **{**first, "call_id": "d"}))
    assert pieces == [ToolCallStarted(0, "c", "f"), ToolArgumentsPiece(0, "{}"), ToolCallStarted(1, "d", "f")]


@pytest.mark.parametrize(
    ("kind", "response", "reason"),
    [
        ("completed", {"status": "completed"}, "stop"),
        ("completed", {}, "stop"),
        ("incomplete", {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ("incomplete", {"status": "incomplete", "incomplete_details": {"reason": "novel"}}, "novel"),
        ("incomplete", {"status": "incomplete", "incomplete_details": None}, "length"),
        ("cancelled", {"status": "cancelled"}, "stop"),
    ],
)
def test_how_a_reply_ends(kind: str, response: dict[str, Any], reason: str) -> None:
    assert read(event(kind, response={**RESPONSE, **response}))[-1] == Finished(reason)


def test_a_stream_may_end_in_the_mark_that_openai_does_not_send() -> None:
    decoder = EventDecoder()
    assert decoder.feed(CREATED + text(0, "x") + b"data: [DONE]\n\n") == [STARTED, TextPiece("x")]
    assert not decoder.complete


def test_a_last_event_without_its_empty_line_is_read_at_the_end() -> None:
    decoder = EventDecoder()
    decoder.feed(COMPLETED[:-2])
    assert not decoder.complete
    assert decoder.end() == [STARTED, SEEN, Finished("stop")]
    assert decoder.end() == []
    assert decoder.complete


@pytest.mark.parametrize(
    "last",
    [
        event("error", code="rate_limit_exceeded", message="slow", param=None),
        event("error", error={"type": "requests", "code": "rate_limit_exceeded", "message": "slow"}),
        event("failed", response={**RESPONSE, "error": {"code": "rate_limit_exceeded", "message": "slow"}}),
        b'data: {"error":{"message":"slow","code":429}}\n\n',
    ],
)
def test_an_error_in_the_stream_is_raised_and_what_came_before_is_kept(last: bytes) -> None:
    decoder = EventDecoder()
    with pytest.raises(UpstreamRateLimited, match="slow"):
        decoder.feed(CREATED + text(0, "x") + last)
    assert decoder.before_error == [STARTED, TextPiece("x")]


def test_the_usage_of_a_failed_response_is_told() -> None:
    decoder = EventDecoder()
    with pytest.raises(UpstreamFailed):
        decoder.feed(event("failed", response={**RESPONSE, "status": "failed", "error": None, "usage": USAGE}))
    assert decoder.before_error == [STARTED, SEEN]


@pytest.mark.parametrize(
    "wire",
    [
        b"data: <html>\n\n",
        b'data: {"type":7}\n\n',
        b'data: {"type":"response.completed"}\n\n',
        b'data: {"type":"response.completed","response":7}\n\n',
        b'data: {"type":"response.output_item.done","item":7}\n\n',
        b'data: {"type":"response.output_item.done","item":{"type":"message","content":7}}\n\n',
        event("completed", response={**RESPONSE, "status": "queued"}),
    ],
)
def test_what_cannot_be_read_breaks_the_stream(wire: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        read(wire)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"output":null}', b'{"id":"x","status":"queued","output":[]}', b'{"output":[7]}'],
)
def test_what_is_no_reply_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        decode_reply(body)
