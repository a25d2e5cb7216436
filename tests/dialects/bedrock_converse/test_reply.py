"""Replies as https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax
and API_runtime_ConverseStreamOutput.html write them (2026-11-22)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
    ImagePiece,
    Inline,
    OpaquePiece,
    ReasoningPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
    UsageSeen,
    fold,
)
from tollway.dialects.bedrock_converse import EventDecoder, decode_reply
from tollway.errors import UpstreamBroken, UpstreamRateLimited

Frame = Callable[..., bytes]

SEALED = base64.b64encode(b"\x00sealed thought").decode()
PICTURE = base64.b64encode(b"\x89PNG picture").decode()
CITED = {
    "title": "Report",
    "sourceContent": [{"text": "Rain "}, {"text": "fell."}],
    "location": {"web": {"url": "https://weather.example/today", "domain": "weather.example"}},
}
USAGE = {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}


def whole(*content: dict[str, Any], stop: str = "end_turn", **more: Any) -> bytes:
    message = {"role": "assistant", "content": list(content)}
    return json.dumps(
        {"output": {"message": message}, "stopReason": stop, "usage": USAGE, "metrics": {"latencyMs": 9}, **more}
    ).encode()


# Blocks of a whole reply, and the frames that a stream tells them in: (event, payload).
BLOCKS: list[tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]] = [
    (
        {"reasoningContent": {"reasoningText": {"text": "Let me think.", "signature": "c2lnbmVk"}}},
        [
            ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "Let me "}}}),
            ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "think."}}}),
            ("contentBlockDelta", {"delta": {"reasoningContent": {"signature": "c2lnbmVk"}}}),
        ],
    ),
    (
        {"reasoningContent": {"redactedContent": SEALED}},
        [
            ("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": "AHNlYQ=="}}}),
            ("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": "bGVkIHRob3VnaHQ="}}}),
        ],
    ),
    (
        {"text": "Hellö"},
        [("contentBlockDelta", {"delta": {"text": "Hel"}}), ("contentBlockDelta", {"delta": {"text": "lö"}})],
    ),
    (
        {"citationsContent": {"content": [{"text": " It rained."}], "citations": [CITED]}},
        [
            ("contentBlockDelta", {"delta": {"text": " It rained."}}),
            ("contentBlockDelta", {"delta": {"citation": CITED}}),
        ],
    ),
    (
        {"image": {"format": "png", "source": {"bytes": PICTURE}}},
        [
            ("contentBlockStart", {"start": {"image": {"format": "png"}}}),
            ("contentBlockDelta", {"delta": {"image": {"source": {"bytes": PICTURE}}}}),
        ],
    ),
    (
        {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"city": "Oslo"}}},
        [
            ("contentBlockStart", {"start": {"toolUse": {"toolUseId": "tooluse_1", "name": "look"}}}),
            ("contentBlockDelta", {"delta": {"toolUse": {"input": '{"city": '}}}),
            ("contentBlockDelta", {"delta": {"toolUse": {"input": '"Oslo"}'}}}),
        ],
    ),
    (
        {"toolUse": {"toolUseId": "tooluse_2", "name": "nova_grounding", "type": "server_tool_use", "input": {}}},
        [
            (
                "contentBlockStart",
                {"start": {"toolUse": {"toolUseId": "tooluse_2", "name": "nova_grounding", "type": "server_tool_use"}}},
            ),
        ],
    ),
]


def stream(frame: Frame, blocks: list[list[tuple[str, dict[str, Any]]]], stop: str = "tool_use") -> bytes:
    """A whole stream; `p` is the padding that Amazon puts into each event."""
    out = [frame("messageStart", {"role": "assistant", "p": "abc"})]
    for index, events in enumerate(blocks):
        out += [frame(name, {"contentBlockIndex": index, "p": "abcdefg", **payload}) for name, payload in events]
        out.append(frame("contentBlockStop", {"contentBlockIndex": index}))
    out.append(frame("messageStop", {"stopReason": stop}))
    out.append(frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 9}}))
    return b"".join(out)


def joined(events: list[Event]) -> list[Event]:
    """With what stands next to each other and belongs together in one piece; usage last."""
    out: list[Event] = []
    for event in sorted(events, key=lambda event: isinstance(event, UsageSeen)):
        last = out[-1] if out else None
        if isinstance(event, TextPiece) and isinstance(last, TextPiece):
            out[-1] = TextPiece(last.text + event.text)
        elif isinstance(event, ToolArgumentsPiece) and isinstance(last, ToolArgumentsPiece):
            out[-1] = ToolArgumentsPiece(last.index, last.text + event.text)
        elif isinstance(event, ReasoningPiece) and isinstance(last, ReasoningPiece) and event.text and last.text:
            out[-1] = ReasoningPiece(last.text + event.text, block=last.block)
        else:
            out.append(event)
    return out


EXPECTED: list[Event] = [
    Started("", ""),
    ReasoningPiece("Let me think.", block=0),
    ReasoningPiece(signature="c2lnbmVk", block=0, maker="anthropic_messages"),
    ReasoningPiece(redacted=f"bedrock_converse::{SEALED}", block=1, maker="bedrock_converse"),
    TextPiece("Hellö It rained."),
    CitationPiece(
        Citation(
            "https://weather.example/today",
            "Report",
            "Rain fell.",
            5,
            16,
            Raw(json.dumps(CITED).encode()),
            "bedrock_converse",
        )
    ),
    ImagePiece(Inline("image/png", PICTURE)),
    ToolCallStarted(0, "tooluse_1", "look"),
    ToolArgumentsPiece(0, '{"city": "Oslo"}'),
    ToolCallStarted(1, "tooluse_2", "nova_grounding", True),
    ToolArgumentsPiece(1, "{}"),
    Finished("tool_calls"),
    UsageSeen(Usage(input=5, output=6)),
]


def test_a_whole_reply_tells_everything_that_converse_can_say() -> None:
    assert joined(decode_reply(whole(*(block for block, _ in BLOCKS), stop="tool_use"))) == EXPECTED


def test_a_stream_tells_the_same(frame: Frame) -> None:
    decoder = EventDecoder()
    events = decoder.feed(stream(frame, [events for _, events in BLOCKS]))
    assert joined(events) == EXPECTED
    assert decoder.complete
    assert decoder.end() == []
    assert fold(events) == fold(decode_reply(whole(*(block for block, _ in BLOCKS), stop="tool_use")))


@given(cuts=st.lists(st.integers(0, 6000), max_size=20))
def test_any_cut_of_the_bytes_decodes_the_same(frame: Frame, cuts: list[int]) -> None:
    data = stream(frame, [events for _, events in BLOCKS])
    places = sorted(min(cut, len(data)) for cut in cuts)
    decoder = EventDecoder()
    events: list[Event] = []
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        events += decoder.feed(data[start:end])
    assert events == EventDecoder().feed(data)
    assert decoder.complete


def test_a_call_is_told_piece_by_piece_as_it_comes(frame: Frame) -> None:
    start = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "look"}}}
    decoder = EventDecoder()
    assert decoder.feed(frame("contentBlockStart", start)) == [ToolCallStarted(0, "t", "look")]
    piece = {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"a'}}}
    assert decoder.feed(frame("contentBlockDelta", piece)) == [ToolArgumentsPiece(0, '{"a')]
    assert decoder.feed(frame("contentBlockStop", {"contentBlockIndex": 0})) == []


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_each_stop_reason_has_our_word(wire: str, ours: str) -> None:
    assert decode_reply(whole({"text": "Hi"}, stop=wire))[-1] == Finished(ours)


def test_which_stop_sequence_it_was_is_told(frame: Frame) -> None:
    more = {"additionalModelResponseFields": {"stop_sequence": "END"}}
    assert decode_reply(whole({"text": "Hi"}, stop="stop_sequence", **more))[-1] == Finished("stop", "END")
    assert EventDecoder().feed(frame("messageStop", {"stopReason": "stop_sequence", **more})) == [
        Finished("stop", "END")
    ]


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_reply_that_its_model_spoilt_may_be_asked_for_again(frame: Frame, reason: str) -> None:
    with pytest.raises(UpstreamBroken, match=reason) as raised:
        decode_reply(whole({"text": "Hi"}, stop=reason))
    assert raised.value.retryable
    assert not raised.value.cools
    with pytest.raises(UpstreamBroken, match=reason):
        EventDecoder().feed(frame("messageStop", {"stopReason": reason}))


def test_a_trace_is_kept_whole(frame: Frame) -> None:
    trace = {"guardrail": {"actionReason": "none"}}
    expected = OpaquePiece("bedrock_converse", Raw(json.dumps({"trace": trace}, separators=(",", ":")).encode()))
    told = decode_reply(json.dumps(json.loads(whole({"text": "Hi"}, trace=trace)), separators=(",", ":")).encode())
    assert expected in told
    streamed = EventDecoder().feed(
        frame("metadata", json.dumps({"trace": trace, "usage": USAGE}, separators=(",", ":")).encode())
    )
    assert streamed == [expected, UsageSeen(Usage(input=5, output=6))]


def test_a_block_without_a_word_here_is_kept_whole() -> None:
    guard = {"guardContent": {"text": {"text": "x"}}}
    assert OpaquePiece("bedrock_converse", Raw(json.dumps(guard).encode())) in decode_reply(whole(guard))


def test_an_exception_in_a_stream_is_raised_with_what_came_before_it(frame: Frame) -> None:
    decoder = EventDecoder()
    text = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Half"}})
    with pytest.raises(UpstreamRateLimited, match="Too many"):
        decoder.feed(text + frame("throttlingException", {"message": "Too many requests"}, kind="exception"))
    assert decoder.before_error == [TextPiece("Half")]
    assert not decoder.complete


def test_events_that_are_not_known_are_stepped_over(frame: Frame) -> None:
    assert EventDecoder().feed(frame("somethingNew", {"contentBlockIndex": 0})) == []


def test_what_comes_after_the_end_is_not_read(frame: Frame) -> None:
    decoder = EventDecoder()
    decoder.feed(frame("metadata", {"usage": USAGE}))
    assert decoder.feed(frame("contentBlockDelta", {"delta": {"text": "more"}})) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"output":{}}',
        b'{"output":{"message":{"role":"assistant"}}}',
        b'{"output":{"message":7}}',
    ],
)
def test_a_reply_that_cannot_be_read_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        decode_reply(body)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("contentBlockDelta", b"{"),
        ("contentBlockDelta", {"delta": {"text": 7}}),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": "not base64!"}}}),
    ],
)
def test_an_event_that_cannot_be_read_is_broken(frame: Frame, name: str, payload: Any) -> None:
    with pytest.raises(UpstreamBroken):
        EventDecoder().feed(frame(name, payload))


def test_blocks_without_a_stop_end_with_the_message(frame: Frame) -> None:
    start = {"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "t", "name": "look"}}}
    events = EventDecoder().feed(frame("contentBlockStart", start) + frame("messageStop", {"stopReason": "tool_use"}))
    assert events == [ToolCallStarted(0, "t", "look"), ToolArgumentsPiece(0, "{}"), Finished("tool_calls")]
