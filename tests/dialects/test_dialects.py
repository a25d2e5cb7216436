from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    Message,
    ResponseFormat,
    Text,
    TextPiece,
    ToolArgumentsPiece,
    ToolCallStarted,
)
from tollway.dialects import (
    JSON_TOOL_NAME,
    About,
    JsonToolText,
    Traits,
    TranslatingRelay,
    anthropic_messages,
    gemini,
    openai_chat,
    openai_responses,
)
from tollway.errors import UpstreamBroken, UpstreamFailed

ABOUT = About(model="ours", id="chatcmpl-ours", created_s=7)


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events]
    )


def message(*blocks: dict[str, Any], stop: str = "end_turn") -> bytes:
    """Anthropic's stream of a reply with these blocks, each told in one delta."""
    deltas = {"text": ("text_delta", "text"), "tool_use": ("input_json_delta", "partial_json")}
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}},
        }
    ]
    for index, block in enumerate(blocks):
        kind, member = deltas[block["type"]]
        text = block.pop("said")
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_delta", "index": index, "delta": {"type": kind, member: text}})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 4}})
    return sse(*events, {"type": "message_stop"})


def relay(*, json_tool: bool = False) -> TranslatingRelay:
    return TranslatingRelay(
        ABOUT, anthropic_messages.EventDecoder(), openai_chat.EventEncoder(ABOUT), json_tool=json_tool
    )


def contents(out: bytes) -> list[Any]:
    chunks = [json.loads(line[6:]) for line in out.split(b"\n\n") if line and line != b"data: [DONE]"]
    return [chunk["choices"][0]["delta"] for chunk in chunks]


def test_one_dialect_is_relayed_as_another_and_its_end_is_held() -> None:
    through = relay()
    out = through.feed(message({"type": "text", "text": "", "said": "Hellö"}))
    assert contents(out) == [{"role": "assistant", "content": ""}, {"content": "Hellö"}]
    assert (through.content_started, through.finishing, through.complete) == (True, True, True)
    assert (through.reply_id, through.output_bytes, through.usage) == ("msg_1", 6, Usage(input=9, output=4))
    last, done, _ = through.finish(through.usage, Cost(total=1)).split(b"\n\n")
    assert json.loads(last[6:])["usage"]["cost"] == 1e-9
    assert done == b"data: [DONE]"


def test_the_start_alone_is_no_content() -> None:
    through = relay()
    through.feed(message({"type": "text", "text": "", "said": "x"})[:120])
    assert not through.content_started


def test_what_came_before_an_error_is_relayed_with_it() -> None:
    through = relay()
    said = message({"type": "text", "text": "", "said": "x"}).partition(b"event: content_block_stop")[0]
    with pytest.raises(UpstreamFailed) as caught:
        through.feed(said + sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
    assert caught.value.status == 503
    out = through.fail(caught.value)
    assert b'"content":"x"' in out
    assert b'"type":"overloaded_error"' in out
    assert b"[DONE]" not in out


def test_after_a_failure_nothing_more_is_relayed() -> None:
    through = relay()
    through.fail(UpstreamBroken("gone"))
    assert through.feed(message({"type": "text", "text": "", "said": "x"})) == b""


def test_a_last_event_without_its_empty_line_still_finishes() -> None:
    through = relay()
    stream = message({"type": "text", "text": "", "said": "x"}).partition(b"event: message_stop")[0]
    through.feed(stream.removesuffix(b"\n\n"))
    assert not through.finishing
    through.end()
    assert through.finishing


def test_json_by_a_tool_reaches_the_client_as_text() -> None:
    asked = Conversation(
        "m", [Message("user", [Text("x")])], response_format=ResponseFormat("json_schema", schema=Raw(b'{"a":1}'))
    )
    encoded = anthropic_messages.encode_request(asked, Traits(model="claude"))
    assert encoded.json_tool
    through = relay(json_tool=encoded.json_tool)
    block = {"type": "tool_use", "id": "t", "name": JSON_TOOL_NAME, "input": {}, "said": '{"a":2}'}
    assert contents(through.feed(message(block, stop="tool_use")))[1:] == [{"content": '{"a":2}'}]
    assert b'"finish_reason":"stop"' in through.finish(None, None)


def test_other_calls_beside_the_json_tool_stay_calls() -> None:
    events: list[Event] = [
        ToolCallStarted(0, "a", JSON_TOOL_NAME),
        ToolCallStarted(1, "b", "f"),
        ToolArgumentsPiece(0, "1"),
        ToolArgumentsPiece(1, "2"),
        Finished("tool_calls"),
    ]
    assert JsonToolText().events(events) == [
        ToolCallStarted(1, "b", "f"),
        TextPiece("1"),
        ToolArgumentsPiece(1, "2"),
        Finished("tool_calls"),
    ]


NAMES = (
    "NAME decode_request encode_request decode_reply encode_reply EventDecoder EventEncoder PassRelay rename_reply decode_usage "
    "encode_error encode_stream_error decode_error"
)


@pytest.mark.parametrize("dialect", [openai_chat, openai_responses, anthropic_messages, gemini])
def test_every_chat_dialect_has_the_same_names(dialect: Any) -> None:
    assert set(NAMES.split()) <= set(dialect.__all__)
