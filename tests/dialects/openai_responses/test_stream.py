from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.calls import Cost, Usage
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
from tollway.dialects import About, label_sealed
from tollway.dialects.openai_responses import EventEncoder, encode_reply
from tollway.dialects.openai_responses.thought import Sealed, seal
from tollway.errors import RateLimited, UpstreamBroken

ABOUT = About(model="ours", id="resp_a.b", created_s=7)


def events_of(wire: bytes) -> list[dict[str, Any]]:
    """The events, once it is certain that each is written as OpenAI writes it, and all are numbered from 0."""
    events = []
    for piece in wire.split(b"\n\n")[:-1]:
        name, data = piece.split(b"\n")
        fields = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + fields["type"].encode()
        events.append(fields)
    assert [event.pop("sequence_number") for event in events] == list(range(len(events)))
    return events


def stream(*events: Event, about: About = ABOUT) -> list[dict[str, Any]]:
    encoder = EventEncoder(about)
    return events_of(b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None))


def shapes(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_is_told_by_the_whole_grammar() -> None:
    events = stream(Started("x", "theirs", 3), TextPiece("Hel"), TextPiece(""), TextPiece("lo"), Finished("stop"))
    created, in_progress, *middle, completed = events
    place = {"item_id": "msg_a_b_0", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}
    item = {"id": "msg_a_b_0", "type": "message", "status": "completed", "content": [part], "role": "assistant"}
    assert middle == [
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": "lo", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "Hello", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]  # fmt: skip
    assert (created["type"], in_progress["type"]) == ("response.created", "response.in_progress")
    assert created["response"] == in_progress["response"]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    assert completed["type"] == "response.completed"
    assert completed["response"] == {**created["response"], "status": "completed", "output": [item]}
    known = {name: created["response"][name] for name in ("id", "object", "created_at", "model", "error", "usage")}
    assert known == {
        "id": "resp_a.b", "object": "response", "created_at": 3, "model": "ours", "error": None, "usage": None
    }  # fmt: skip


def test_text_and_refusal_are_parts_of_one_message() -> None:
    events = stream(TextPiece("a"), RefusalPiece("no"), RefusalPiece(""), TextPiece("b"))
    assert shapes(events)[2:-1] == [
        "output_item.added",
        "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "content_part.added", "refusal.delta", "refusal.done", "content_part.done",
        "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done",
    ]  # fmt: skip
    refusal = next(event for event in events if event["type"] == "response.refusal.done")
    assert (refusal["refusal"], refusal["content_index"]) == ("no", 1)
    assert [part["type"] for part in events[-1]["response"]["output"][0]["content"]] == [
        "output_text", "refusal", "output_text"
    ]  # fmt: skip


def test_thought_is_a_summary_and_its_signature_is_labelled() -> None:
    events = stream(ReasoningPiece("Hm"), ReasoningPiece("."), ReasoningPiece(signature="sig"), TextPiece("x"))
    place = {"item_id": "rs_tollway_a_b_0", "output_index": 0, "summary_index": 0}
    part = {"type": "summary_text", "text": "Hm."}
    item = {"id": "rs_tollway_a_b_0", "type": "reasoning", "summary": [part], "encrypted_content": seal(Sealed("sig"))}
    assert events[2:9] == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "rs_tollway_a_b_0", "type": "reasoning", "summary": []},
        },
        {"type": "response.reasoning_summary_part.added", **place, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": "Hm"},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": "."},
        {"type": "response.reasoning_summary_text.done", **place, "text": "Hm."},
        {"type": "response.reasoning_summary_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]


def test_each_block_of_thought_is_an_item_and_what_openai_sealed_is_as_it_was() -> None:
    sealed = label_sealed("openai_responses", "rs_9", "gAAA")
    output = stream(
        ReasoningPiece("a", block=0),
        ReasoningPiece("b", block=1),
        ReasoningPiece(redacted="data", block=2),
        ReasoningPiece(redacted=sealed, block=3),
        ReasoningPiece(block=4),
    )[-1]["response"]["output"]
    assert [(item["id"], item.get("encrypted_content")) for item in output] == [
        ("rs_tollway_a_b_0", None),
        ("rs_tollway_a_b_1", None),
        ("rs_tollway_a_b_2", seal(Sealed(redacted="data"))),
        ("rs_9", "gAAA"),
    ]


def test_a_call_is_told_by_the_whole_grammar() -> None:
    events = stream(
        ToolCallStarted(0, "c", "f"),
        ToolArgumentsPiece(0, '{"a"'),
        ToolArgumentsPiece(0, ":1}"),
        Finished("tool_calls"),
    )
    place = {"item_id": "fc_a_b_0", "output_index": 0}
    item = {"id": "fc_a_b_0", "type": "function_call", "status": "completed", "call_id": "c", "name": "f"}
    assert events[2:-1] == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", **place, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", **place, "delta": ":1}"},
        {"type": "response.function_call_arguments.done", **place, "arguments": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "arguments": '{"a":1}'}},
    ]
    assert events[-1]["response"]["status"] == "completed"


def test_a_call_ends_when_its_arguments_are_whole_and_something_follows() -> None:
    whole = stream(ToolCallStarted(0, "c", "f"), ToolArgumentsPiece(0, "{}"), ToolCallStarted(1, "d", "g"))
    assert shapes(whole)[2:7] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "output_item.added",
    ]  # fmt: skip


def test_calls_whose_arguments_come_mixed_stay_apart() -> None:
    events = stream(
        ToolCallStarted(0, "c", "f"),
        ToolArgumentsPiece(0, '{"a":'),
        ToolCallStarted(1, "d", "g"),
        ToolArgumentsPiece(1, '{"b":'),
        ToolArgumentsPiece(0, "1}"),
        ToolArgumentsPiece(1, "2}"),
        ToolArgumentsPiece(7, "nobody's"),
    )
    output = events[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("c", '{"a":1}'), ("d", '{"b":2}')]
    done = [event["output_index"] for event in events if event["type"] == "response.output_item.done"]
    assert done == [0, 1]


def test_a_call_that_its_maker_signed_has_the_signature_before_it() -> None:
    output = stream(ToolCallStarted(0, "c", "f", signature="s"), ToolArgumentsPiece(0, "{}"))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call"]
    assert output[0]["encrypted_content"] == seal(Sealed("s", "", "c", "gemini"))


def test_what_the_provider_runs_itself_is_not_shown() -> None:
    events = stream(ToolCallStarted(0, "c", "search", server_side=True), ToolArgumentsPiece(0, "{}"), TextPiece("x"))
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]


def test_items_of_openais_own_tools_pass_whole_and_others_not() -> None:
    item = {"type": "web_search_call", "id": "ws_1"}
    events = stream(
        TextPiece("x"),
        OpaquePiece("openai_responses", Raw(json.dumps(item).encode())),
        OpaquePiece("anthropic_messages", Raw(b'{"type":"x"}')),
    )
    assert events[-3:-1] == [
        {"type": "response.output_item.added", "output_index": 1, "item": item},
        {"type": "response.output_item.done", "output_index": 1, "item": item},
    ]
    assert len(events[-1]["response"]["output"]) == 2


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("pause", "completed", None),
        ("their_own", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("refusal", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_how_a_reply_ends(reason: str, status: str, details: Any) -> None:
    last = stream(TextPiece("x"), Finished(reason))[-1]
    response = last["response"]
    assert last["type"] == f"response.{status}"
    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert response["output"][0]["status"] == status


def test_usage_and_cost_ride_on_the_last_event() -> None:
    encoder = EventEncoder(ABOUT)
    encoder.feed([TextPiece("x"), Finished("stop"), UsageSeen(Usage(input=1))])
    usage = Usage(input=5, cache_read=2, output=3, reasoning=1, searches=2, service_tier="flex")
    last = json.loads(encoder.finish(usage, Cost(total=1_500_000_000)).split(b"data: ")[-1])["response"]
    assert last["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 11,
        "cost": 1.5,
    }
    assert (last["service_tier"], last["tool_usage"]) == ("flex", {"web_search": {"num_requests": 2}})


def test_items_end_before_usage_is_waited_for() -> None:
    """A client may run a call while the last event waits."""
    encoder = EventEncoder(ABOUT)
    fed = encoder.feed([ToolCallStarted(0, "c", "f"), ToolArgumentsPiece(0, "{}"), Finished("tool_calls")])
    assert shapes(events_of(fed))[-1] == "output_item.done"
    assert encoder.finish(None, None).startswith(b"event: response.completed\n")


def test_the_reply_repeats_what_was_asked() -> None:
    asked = {
        "instructions": Raw(b'"Be brief."'),
        "tools": Raw(b'[{"type":"mcp"}]'),
        "input": Raw(b'"x"'),
        "user": Raw(b"null"),
    }
    response = stream(TextPiece("x"), about=About("ours", "resp_1", 7, asked=asked))[-1]["response"]
    assert (response["instructions"], response["tools"], response["user"]) == ("Be brief.", [{"type": "mcp"}], None)
    assert "input" not in response


def test_an_empty_reply_is_one_too() -> None:
    assert shapes(stream()) == ["created", "in_progress", "completed"]


def test_other_choices_than_the_first_have_no_place() -> None:
    events = stream(TextPiece("a"), TextPiece("b", choice=1), Finished("stop"), Finished("length", choice=1))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "a"
    assert events[-1]["response"]["status"] == "completed"


def test_ids_of_items_are_such_as_openai_takes() -> None:
    about = About("ours", "resp_" + "é/" * 60, 7)
    for item in stream(ReasoningPiece("a"), TextPiece("b"), about=about)[-1]["response"]["output"]:
        assert len(item["id"]) <= 64
        assert item["id"].replace("_", "").isalnum()


def test_a_failure_is_an_error_event_and_a_failed_response() -> None:
    encoder = EventEncoder(ABOUT)
    wire = encoder.feed([Started("x", "m"), ReasoningPiece("a"), TextPiece("b")])
    error, failed = events_of(wire + encoder.fail(UpstreamBroken("gone")))[-2:]
    assert (error["type"], error["error"]["message"], error["message"]) == ("error", "gone", "gone")
    assert failed["type"] == "response.failed"
    assert (failed["response"]["id"], failed["response"]["status"]) == ("resp_a.b", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "gone"}
    assert [item["type"] for item in failed["response"]["output"]] == ["reasoning"]


def test_a_failure_before_anything_is_an_error_event_alone() -> None:
    assert shapes(events_of(EventEncoder(ABOUT).fail(RateLimited("slow")))) == ["error"]


def test_a_whole_reply_is_the_last_event_of_its_stream() -> None:
    events: list[Event] = [
        Started("x", "theirs", 3),
        ReasoningPiece("Hm."),
        TextPiece("Hello"),
        ToolCallStarted(0, "c", "f"),
        ToolArgumentsPiece(0, "{}"),
        Finished("tool_calls"),
        UsageSeen(Usage(input=1, output=2)),
    ]
    encoder = EventEncoder(ABOUT)
    encoder.feed(events)
    last = json.loads(encoder.finish(Usage(input=3), Cost(total=5)).split(b"data: ")[-1])["response"]
    assert json.loads(encode_reply(events, ABOUT, Usage(input=3), Cost(total=5))) == last
    assert json.loads(encode_reply(events, ABOUT))["usage"]["total_tokens"] == 3
    assert json.loads(encode_reply([], ABOUT))["status"] == "completed"
