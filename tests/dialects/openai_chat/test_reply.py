from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Event,
    Finished,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects import About
from tollway.dialects.openai_chat import EventDecoder, EventEncoder, decode_reply, encode_reply
from tollway.errors import UpstreamBroken, UpstreamError, UpstreamFailed

ABOUT = About(model="ours", id="chatcmpl-ours", created_s=7)


def deltas(*wire: dict[str, Any]) -> list[Event]:
    """The events of a stream with these deltas, without its start."""
    chunks = [{"id": "r", "model": "m", "created": 5, "choices": [{"index": 0, "delta": delta}]} for delta in wire]
    stream = b"".join([b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks])
    first, *rest = EventDecoder().feed(stream)
    assert first == Started("r", "m", 5)
    return rest


def call(index: int | None, call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    wire = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [{key: value for key, value in wire.items() if value is not None}]}


@pytest.mark.parametrize(
    ("wire", "events"),
    [
        ([{"role": "assistant", "content": ""}, {"content": "hi"}], [TextPiece("hi")]),
        ([{"content": "hi"}], [TextPiece("hi")]),
        ([{"content": None}, {}], []),
        (
            [{"reasoning_content": "a"}, {"reasoning": "b"}, {"reasoning_text": "c"}],
            [ReasoningPiece(text) for text in "abc"],
        ),
        ([{"reasoning": {"odd": 1}}], []),
        ([{"refusal": "no"}], [RefusalPiece("no")]),
        (
            [call(0, "c1", "f", ""), call(0, None, None, '{"a"'), call(0, None, None, ":1}")],
            [ToolCallStarted(0, "c1", "f"), ToolArgumentsPiece(0, '{"a"'), ToolArgumentsPiece(0, ":1}")],
        ),
        ([call(0, "c1", "f", '{"a":1}')], [ToolCallStarted(0, "c1", "f"), ToolArgumentsPiece(0, '{"a":1}')]),
        ([call(0, "c1", "f", {"a": 1})], [ToolCallStarted(0, "c1", "f"), ToolArgumentsPiece(0, '{"a":1}')]),
        (  # every call under index 0
            [call(0, "c1", "f", "{}"), call(0, "c2", "g", "{}")],
            [
                ToolCallStarted(0, "c1", "f"),
                ToolArgumentsPiece(0, "{}"),
                ToolCallStarted(1, "c2", "g"),
                ToolArgumentsPiece(1, "{}"),
            ],
        ),
        (  # no index at all
            [call(None, "c1", "f", ""), call(None, None, None, "{}"), call(None, "c2", "g", "[]")],
            [
                ToolCallStarted(0, "c1", "f"),
                ToolArgumentsPiece(0, "{}"),
                ToolCallStarted(1, "c2", "g"),
                ToolArgumentsPiece(1, "[]"),
            ],
        ),
        (  # the id repeated with every piece
            [call(0, "c1", "f", "{"), call(0, "c1", "", "}")],
            [ToolCallStarted(0, "c1", "f"), ToolArgumentsPiece(0, "{"), ToolArgumentsPiece(0, "}")],
        ),
        ([call(4, None, "f", "{}")], [ToolCallStarted(0, "call_0_0", "f"), ToolArgumentsPiece(0, "{}")]),
        (
            [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}],
            [ToolCallStarted(0, "call_0_0", "f"), ToolArgumentsPiece(0, "{}")],
        ),
        (
            [
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
                        {"type": "text", "text": "so"},
                    ]
                }
            ],
            [ReasoningPiece("why"), TextPiece("so")],
        ),
        (  # text and signature in blocks beside the text, as gateways before us send them
            [
                {"reasoning_content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "a"}]},
                {"reasoning_content": "", "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
                {"thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]},
            ],
            [
                ReasoningPiece("a"),
                ReasoningPiece(signature="s", maker="anthropic_messages"),
                ReasoningPiece(redacted="d", block=1),
            ],
        ),
        (  # a whole block after its text, as we send it
            [
                {"reasoning_content": "a"},
                {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "a", "signature": "s"}]},
            ],
            [ReasoningPiece("a"), ReasoningPiece(signature="s", maker="anthropic_messages")],
        ),
    ],
)
def test_each_delta_becomes_pieces(wire: list[dict[str, Any]], events: list[Event]) -> None:
    assert deltas(*wire) == events


def test_usage_is_seen_in_any_chunk_and_comments_are_not() -> None:
    stream = (
        b': hello\r\n\r\ndata: {"id":"r","choices":[{"delta":{"content":"x"}}],"usage":null}\r\n\r\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\r\n\r\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}\r\n\r\ndata: [DONE]\r\n\r\ndata: junk\r\n\r\n'
    )
    decoder = EventDecoder()
    events = [Started("r", ""), TextPiece("x"), UsageSeen(Usage(input=1, output=2)), Finished("tool_calls")]
    assert decoder.feed(stream) == events
    assert decoder.complete


def test_a_last_event_without_its_empty_line_is_read_at_the_end() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b'data: {"id":"r","choices":[{"delta":{"content":"x"}}]}') == []
    assert decoder.end() == [Started("r", ""), TextPiece("x")]


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (b"{", UpstreamBroken),
        (b"[]", UpstreamBroken),
        (b'{"error":{"message":"x"}}', UpstreamFailed),
        (b'{"choices":3}', UpstreamBroken),
    ],
)
def test_what_breaks_a_stream_is_raised_after_what_came_before(wire: bytes, kind: type[UpstreamError]) -> None:
    decoder = EventDecoder()
    with pytest.raises(kind):
        decoder.feed(b'data: {"id":"r","choices":[{"delta":{"content":"x"}}]}\n\ndata: ' + wire + b"\n\n")
    assert decoder.before_error == [Started("r", ""), TextPiece("x")]


WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 5,
    "model": "ours",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "reasoning_content": "why",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "why", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "d"},
                ],
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 13,
        "completion_tokens": 7,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
        "cache_read_input_tokens": 4,
    },
}


def test_a_whole_reply_is_read_and_written_alike() -> None:
    events = decode_reply(json.dumps(WHOLE).encode())
    assert events == [
        Started("chatcmpl-1", "ours", 5),
        ReasoningPiece("why"),
        ReasoningPiece(signature="sig", maker="anthropic_messages"),
        ReasoningPiece(redacted="d", block=1),
        TextPiece("Hello"),
        ToolCallStarted(0, "c1", "f"),
        ToolArgumentsPiece(0, '{"a":1}'),
        Finished("tool_calls"),
        UsageSeen(Usage(input=9, cache_read=4, output=5, reasoning=2)),
    ]
    assert json.loads(encode_reply(events, ABOUT)) == WHOLE


def test_a_reply_without_choices_breaks() -> None:
    with pytest.raises(UpstreamBroken):
        decode_reply(b'{"id":"x"}')


def stream_of(events: list[Event], *, usage_wanted: bool = False, cost: Cost | None = None) -> list[Any]:
    encoder = EventEncoder(About(model="ours", id="chatcmpl-ours", created_s=7, usage_wanted=usage_wanted))
    out = encoder.feed(events) + encoder.finish(None, cost)
    assert out.endswith(b"data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in out.split(b"\n\n")[:-2]]


EVENTS: list[Event] = [
    Started("msg_1", "theirs"),
    ReasoningPiece("why"),
    ReasoningPiece(signature="sig", maker="anthropic_messages"),
    TextPiece("Hello"),
    ToolCallStarted(0, "srv", "web_search", server_side=True),
    ToolArgumentsPiece(0, "{}"),
    ToolCallStarted(1, "c1", "f"),
    ToolArgumentsPiece(1, "{}"),
    UsageSeen(Usage(input=3, output=2)),
    Finished("tool_calls"),
]


def test_a_stream_has_one_id_and_the_role_only_once() -> None:
    chunks = stream_of(EVENTS)
    assert {(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks} == {
        ("msg_1", 7, "ours", "chat.completion.chunk")
    }
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "why"},
        {
            "reasoning_content": "",
            "thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "why", "signature": "sig"}],
        },
        {"content": "Hello"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 6 + ["tool_calls"]


def test_usage_rides_on_the_last_chunk_or_has_its_own() -> None:
    (*others, last) = stream_of(EVENTS, cost=Cost(total=5))
    assert (last["usage"]["total_tokens"], last["usage"]["cost"]) == (5, 5e-9)
    assert not any("usage" in chunk for chunk in others)
    (*_, finishing, own) = stream_of(EVENTS, usage_wanted=True)
    assert "usage" not in finishing
    assert (own["choices"], own["usage"]["prompt_tokens"]) == ([], 3)


@pytest.mark.parametrize(
    ("ours", "wire"),
    [
        ("stop", "stop"),
        ("refusal", "content_filter"),
        ("pause", "stop"),
        ("length", "length"),
        ("their_own", "their_own"),
    ],
)
def test_finish_reasons_are_openais(ours: str, wire: str) -> None:
    assert stream_of([Finished(ours)])[-1]["choices"][0]["finish_reason"] == wire
    assert json.loads(encode_reply([Finished(ours)], ABOUT))["choices"][0]["finish_reason"] == wire


def test_a_broken_stream_gets_an_error_and_no_end_mark() -> None:
    assert EventEncoder(ABOUT).fail(UpstreamBroken("gone")).startswith(b'data: {"error":{"message":"gone"')
