from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
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
from tollway.dialects import About
from tollway.dialects.anthropic_messages import (
    EventDecoder,
    EventEncoder,
    PassRelay,
    decode_error,
    decode_reply,
    decode_usage,
    encode_error,
    encode_reply,
    encode_stream_error,
    rename_reply,
)
from tollway.dialects.anthropic_messages.usage import usage_from_fields, usage_to_fields
from tollway.errors import (
    BadRequest,
    ContextWindowExceeded,
    Forbidden,
    NotFound,
    PublicError,
    RateLimited,
    Unauthenticated,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
)

ABOUT = About(model="ours", id="msg_ours", created_s=7)


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events]
    )


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


BEGIN = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 5,
            "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
            "service_tier": "standard",
        },
    },
}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 6},
}
STOP = {"type": "message_stop"}
USAGE = Usage(input=10, cache_read=5, cache_write_5m=1, cache_write_1h=2, output=6)


def test_a_stream_becomes_events() -> None:
    stream = sse(
        BEGIN,
        start(0, type="thinking", thinking="", signature=""),
        {"type": "ping"},
        delta(0, type="thinking_delta", thinking="why"),
        delta(0, type="signature_delta", signature="sig"),
        stop(0),
        start(1, type="redacted_thinking", data="d"),
        stop(1),
        start(2, type="text", text=""),
        delta(2, type="text_delta", text="Hello"),
        delta(2, type="citations_delta", citation={"x": 1}),
        stop(2),
        start(3, type="tool_use", id="t1", name="f", input={}),
        delta(3, type="input_json_delta", partial_json=""),
        delta(3, type="input_json_delta", partial_json='{"a":1}'),
        stop(3),
        start(4, type="tool_use", id="t2", name="g", input={}),
        stop(4),
        start(5, type="server_tool_use", id="s1", name="web_search", input={"q": "x"}),
        stop(5),
        start(6, type="web_search_tool_result", tool_use_id="s1", content=[]),
        stop(6),
        {"type": "novel_event"},
        {**END, "delta": {"stop_reason": "tool_use"}},
        STOP,
    )
    decoder = EventDecoder()
    assert decoder.feed(stream) == [
        Started("msg_1", "claude"),
        UsageSeen(Usage(input=10, cache_read=5, cache_write_5m=1, cache_write_1h=2, output=1)),
        ReasoningPiece("why"),
        ReasoningPiece(signature="sig", maker="anthropic_messages"),
        ReasoningPiece(redacted="d", block=1),
        TextPiece("Hello"),
        CitationPiece(Citation(start=0, end=5, raw=Raw(b'{"x": 1}'), dialect="anthropic_messages")),
        ToolCallStarted(0, "t1", "f"),
        ToolArgumentsPiece(0, '{"a":1}'),
        ToolCallStarted(1, "t2", "g"),
        ToolArgumentsPiece(1, "{}"),
        ToolCallStarted(2, "s1", "web_search", server_side=True),
        ToolArgumentsPiece(2, '{"q": "x"}'),
        OpaquePiece(
            "anthropic_messages", Raw(b'{"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}')
        ),
        UsageSeen(USAGE),
        Finished("tool_calls"),
    ]
    assert decoder.complete


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("their_own", "their_own"),
    ],
)
def test_stop_reasons_have_our_words(wire: str, ours: str) -> None:
    (*_, finished) = EventDecoder().feed(sse({"type": "message_delta", "delta": {"stop_reason": wire}, "usage": {}}))
    assert finished == Finished(ours)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, UpstreamFailed, 503),
        ({"type": "api_error", "message": "x"}, UpstreamFailed, 500),
        ({"type": "authentication_error", "message": "invalid x-api-key"}, UpstreamAccountError, 503),
    ],
)
def test_an_error_event_is_raised(error: dict[str, str], kind: type[UpstreamError], status: int) -> None:
    for reader in (EventDecoder(), PassRelay(ABOUT)):
        with pytest.raises(kind) as caught:
            reader.feed(sse({"type": "error", "error": error}))
        assert caught.value.status == status


@pytest.mark.parametrize("payload", [b"{", b"[]", b"{}", b'{"type":"content_block_start","index":0,"content_block":7}'])
def test_what_cannot_be_read_breaks(payload: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        EventDecoder().feed(b"data: " + payload + b"\n\n")


WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "ours",
    "content": [
        {"type": "thinking", "thinking": "why", "signature": "sig"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    ],
    "stop_reason": "stop_sequence",
    "stop_sequence": "END",
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 5,
        "output_tokens": 6,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
        "server_tool_use": {"web_search_requests": 2},
    },
}


def test_a_whole_reply_is_read_and_written_alike() -> None:
    events = decode_reply(json.dumps(WHOLE).encode())
    assert events[0] == Started("msg_1", "ours")
    assert UsageSeen(Usage(10, 5, 1, 2, output=6, searches=2)) in events
    assert events[-1] == Finished("stop", "END")
    assert json.loads(encode_reply(events, ABOUT)) == WHOLE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", UpstreamBroken),
        (b"{}", UpstreamBroken),
        (b'{"type":"error","error":{"type":"api_error","message":"x"}}', UpstreamFailed),
    ],
)
def test_a_reply_that_is_none_breaks(body: bytes, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind):
        decode_reply(body)
    with pytest.raises(kind):
        rename_reply(body, "x")


def test_events_become_a_stream_of_blocks() -> None:
    events: list[Event] = [
        Started("chatcmpl-1", "gpt"),
        UsageSeen(Usage(input=4)),
        ReasoningPiece("why"),
        TextPiece("Hel"),
        TextPiece("lo"),
        RefusalPiece("no"),
        ToolCallStarted(0, "c1", "f"),
        ToolArgumentsPiece(0, "{}"),
        TextPiece("other choice", 1),
        UsageSeen(Usage(input=4, output=2, reasoning=1)),
        Finished("tool_calls"),
    ]
    encoder = EventEncoder(ABOUT)
    out = encoder.feed(events) + encoder.finish(None, Cost(total=5))
    seen = [json.loads(event.split(b"\ndata: ")[1]) for event in out.split(b"\n\n")[:-1]]
    usage = {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    assert seen == [
        {
            "type": "message_start",
            "message": {
                "id": "chatcmpl-1",
                "type": "message",
                "role": "assistant",
                "model": "ours",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": usage,
            },
        },
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="why"),
        stop(0),
        start(1, type="text", text=""),
        delta(1, type="text_delta", text="Hel"),
        delta(1, type="text_delta", text="lo"),
        delta(1, type="text_delta", text="no"),
        stop(1),
        start(2, type="tool_use", id="c1", name="f", input={}),
        delta(2, type="input_json_delta", partial_json="{}"),
        stop(2),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {**usage, "output_tokens": 3, "cost": 5e-9},
        },
        {"type": "message_stop"},
    ]
    names = [event.split(b"\n")[0].removeprefix(b"event: ").decode() for event in out.split(b"\n\n")[:-1]]
    assert names == [event["type"] for event in seen]


def test_an_empty_reply_is_a_message_still() -> None:
    encoder = EventEncoder(ABOUT)
    out = encoder.feed([Started("", "")]) + encoder.finish(None, None)
    assert EventDecoder().feed(out)[0] == Started("msg_ours", "ours")


# --- passing through -----------------------------------------------------------------------------------------------

TEXT = sse(start(0, type="text", text=""), delta(0, type="text_delta", text="Hellö"), {"type": "ping"}, stop(0))


def test_events_pass_but_for_the_models_name_and_the_end() -> None:
    relay = PassRelay(ABOUT)
    first = relay.feed(sse(BEGIN))
    expected = json.loads(json.dumps(BEGIN))
    expected["message"]["model"] = "ours"
    assert json.loads(first.split(b"data: ")[1]) == expected
    assert not relay.content_started
    assert relay.feed(TEXT + sse(END, STOP)) == TEXT
    assert (relay.content_started, relay.finishing, relay.complete) == (True, True, True)
    assert (relay.usage, relay.reply_id, relay.output_bytes) == (USAGE, "msg_1", 6)
    finish = relay.finish(relay.usage, Cost(total=5))
    assert json.loads(finish.split(b"\n")[1][6:])["usage"] == {"output_tokens": 6, "cost": 5e-9}
    assert finish.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_without_a_cost_the_end_is_the_providers_own() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse(END))
    assert relay.finish(None, None).startswith(sse(END))


def test_usage_that_the_provider_did_not_count_is_made() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}))
    assert b'"output_tokens":3' in relay.finish(Usage(output=3), None)


def test_a_call_starts_the_content_by_being_there() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse(BEGIN, start(0, type="thinking", thinking="", signature="")))
    assert not relay.content_started
    relay.feed(sse(start(1, type="tool_use", id="t", name="f", input={})))
    assert relay.content_started


def test_what_came_before_an_error_in_the_same_bytes_is_not_lost() -> None:
    relay = PassRelay(ABOUT)
    with pytest.raises(UpstreamFailed) as caught:
        relay.feed(TEXT + sse({"type": "error", "error": {"type": "api_error", "message": "x"}}))
    out = relay.fail(caught.value)
    assert out.startswith(TEXT)
    assert b"message_stop" not in out


def test_a_whole_reply_gets_our_models_name() -> None:
    body = b'{"id":"msg_1","model":"claude","content":[],"usage":{"input_tokens":2,"output_tokens":1.0},"odd":1.50}'
    renamed = body.replace(b'"claude"', b'"ours"')
    assert rename_reply(body, "ours") == (renamed, Usage(input=2, output=1), "msg_1")
    assert decode_usage(body) == Usage(input=2, output=1)
    assert decode_usage(b"{") is None


# --- errors and usage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("x"), "invalid_request_error"),
        (Unauthenticated("x"), "authentication_error"),
        (Forbidden("x"), "permission_error"),
        (NotFound("x"), "not_found_error"),
        (RateLimited("x"), "rate_limit_error"),
        (UpstreamBroken("x"), "api_error"),
        (UpstreamFailed("x", status=503, type="overloaded_error"), "overloaded_error"),
        (PublicError("x", status=418), "invalid_request_error"),
    ],
)
def test_an_error_body_is_anthropics(error: PublicError, kind: str) -> None:
    assert json.loads(encode_error(error)) == {"type": "error", "error": {"type": kind, "message": "x"}}
    assert encode_stream_error(error) == b"event: error\ndata: " + encode_error(error) + b"\n\n"


def test_a_prompt_that_is_too_long_is_known() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}'
    error = decode_error(400, [], body, "anthropic")
    assert isinstance(error, ContextWindowExceeded)
    assert error.message == "prompt is too long: 9 tokens > 8 maximum"


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(input=1, output=2)),
        ({"cache_creation_input_tokens": 3}, Usage(cache_write_5m=3)),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}},
            Usage(cache_write_5m=1, cache_write_1h=2),
        ),
        ({"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}, Usage(output=3, reasoning=2)),
        ({"service_tier": "batch"}, Usage(service_tier="batch")),
        ({"service_tier": "standard", "input_tokens": -1, "output_tokens": "x"}, Usage()),
    ],
)
def test_usage_falls_into_disjoint_buckets(fields: dict[str, Any], usage: Usage) -> None:
    assert usage_from_fields(fields) == usage


def test_usage_that_we_write_keeps_the_totals() -> None:
    usage = Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, searches=2, service_tier="priority")
    again = usage_from_fields(usage_to_fields(usage))
    assert (again.input_total, again.output_total, again.searches) == (usage.input_total, usage.output_total, 2)
    assert (again.cache_read, again.cache_write_5m, again.cache_write_1h, again.service_tier) == (2, 3, 4, "priority")
