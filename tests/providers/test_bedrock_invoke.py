"""Claude on Bedrock in Anthropic's own dialect, by InvokeModel; its streams come in Amazon's frames."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from amazon_transcribe.eventstream import EventStreamMessageSerializer
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError, UpstreamBroken, UpstreamRateLimited
from tollway.providers import registry
from tollway.providers.bedrock import InvokeUnwrapper
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PRICES = {"input_cost_per_token": "0.000003", "output_cost_per_token": "0.000015"}
COST_NANO = 100 * 3_000 + 10 * 15_000


def bedrock(model: str = CLAUDE, **changes: Any) -> ModelEntry:
    return ModelEntry(
        model_name="small",
        provider_model=f"bedrock/{model}",
        api_key=Secret("bedrock-api-key"),
        provider_params={"aws_region_name": "us-east-1"},
        prices=PRICES,
        **changes,
    )


def frame(name: str, payload: Any, kind: str = "event") -> bytes:
    naming = ":event-type" if kind == "event" else ":exception-type"
    headers = {naming: name, ":content-type": "application/json", ":message-type": kind}
    written: bytes = EventStreamMessageSerializer().serialize(headers, json.dumps(payload).encode())
    return written


def chunk(event: dict[str, Any]) -> bytes:
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abcdef"})


EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_bdrk_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [],
            "usage": {"input_tokens": 100, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 10}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 100}},
]
REPLY = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 100, "output_tokens": 10},
}
ASKED: dict[str, Any] = {
    "model": "small",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}],
    "a_field_of_tomorrow": {"x": 1},
}


def streamed(*extra: bytes) -> FakeReply:
    whole = b"".join([chunk(event) for event in EVENTS]) + b"".join(extra)
    pieces = [whole[at : at + 70] for at in range(0, len(whole), 70)]
    return FakeReply.stream(*pieces, content_type="application/vnd.amazon.eventstream")


async def test_an_anthropic_client_has_its_bytes_passed(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock()]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(REPLY))
        betas = {"anthropic-beta": "context-1m-2025-08-07, claude-code-20250219"}
        answer = await gateway.ask(path="/v1/messages", body=json.dumps(ASKED).encode(), headers=betas)
        assert answer.json() == {**REPLY, "model": "small", "usage": answer.json()["usage"]}
        (sent,) = gateway.upstream.requests
        assert sent.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
        assert sent.json() == {
            "max_tokens": 50,
            "messages": ASKED["messages"],
            "a_field_of_tomorrow": {"x": 1},
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": ["context-1m-2025-08-07"],
        }
        (record,) = await gateway.records()
        assert record.cost.total == COST_NANO


async def test_its_stream_is_taken_out_of_amazons_frames(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock()]) as gateway:
        gateway.upstream.reply_to(None, streamed())
        answer = await gateway.ask(path="/v1/messages", body=json.dumps({**ASKED, "stream": True}).encode())
        assert answer.status == 200
        events = [json.loads(event.partition(b"data: ")[2]) for event in answer.body.split(b"\n\n") if event]
        assert [event["type"] for event in events] == [event["type"] for event in EVENTS]
        assert "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta") == "Hello"
        (sent,) = gateway.upstream.requests
        assert sent.path.endswith("/invoke-with-response-stream")
        assert "stream" not in sent.json()
        (record,) = await gateway.records()
        assert record.cost.total == COST_NANO


async def test_an_openai_client_may_be_sent_this_way_too(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock("invoke/" + CLAUDE)]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(REPLY), streamed())
        answer = await gateway.ask(max_tokens=50)
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
        assert (await gateway.ask(stream=True)).text == "Hello"
        whole, stream = gateway.upstream.requests
        assert whole.json()["anthropic_version"] == "bedrock-2023-05-31"
        assert whole.json().keys().isdisjoint({"model", "stream"})
        assert stream.path.endswith("/invoke-with-response-stream")


async def test_a_stream_that_breaks_midway_tells_what_came_before(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock()]) as gateway:
        thrown = frame("throttlingException", {"message": "Too many requests"}, "exception")
        pieces = b"".join(chunk(event) for event in EVENTS[:3]), chunk(EVENTS[3]) + thrown
        gateway.upstream.reply_to(None, FakeReply.stream(*pieces, content_type="application/vnd.amazon.eventstream"))
        answer = await gateway.ask(path="/v1/messages", body=json.dumps({**ASKED, "stream": True}).encode())
        assert b"Hel" in answer.body
        assert b'"lo"' in answer.body
        assert b"event: error" in answer.body
        assert b"Too many requests" in answer.body
        assert b"message_stop" not in answer.body


async def test_a_guardrail_in_the_configuration_is_never_gone_around(tmp_path: Path) -> None:
    guard = {"guardrailConfig": {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}}
    async with SmallGateway(tmp_path, [bedrock(defaults=guard)]) as gateway:
        usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
        message = {"role": "assistant", "content": [{"text": "Hello"}]}
        gateway.upstream.reply_to(
            None, FakeReply.json({"output": {"message": message}, "stopReason": "end_turn", "usage": usage})
        )
        asked = {name: value for name, value in ASKED.items() if name != "a_field_of_tomorrow"}
        answer = await gateway.ask(path="/v1/messages", body=json.dumps(asked).encode())
        assert answer.status == 200
        (sent,) = gateway.upstream.requests
        assert sent.path.endswith("/converse")
        assert sent.json()["guardrailConfig"] == guard["guardrailConfig"]


@pytest.mark.parametrize(
    ("model", "dialects"),
    [
        (CLAUDE, ("bedrock_converse", "anthropic_messages")),
        ("converse/" + CLAUDE, ("bedrock_converse",)),
        ("invoke/" + CLAUDE, ("anthropic_messages",)),
        ("amazon.nova-pro-v1:0", ("bedrock_converse",)),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", ("bedrock_converse",)),
    ],
)
def test_only_claude_takes_anthropics_messages(model: str, dialects: tuple[str, ...]) -> None:
    provider = registry.find("bedrock")
    assert provider is not None
    assert provider.dialects(model) == dialects


def test_invoke_is_refused_where_it_would_be_another_language() -> None:
    provider = registry.find("bedrock")
    assert provider is not None
    with pytest.raises(ConfigError, match="leave invoke/ out"):
        provider.at(ModelEntry(model_name="m", provider_model="bedrock/invoke/meta.llama3"), {})


@given(cuts=st.lists(st.integers(0, 3000), max_size=10))
def test_however_the_frames_are_cut_the_same_events_come_out(cuts: list[int]) -> None:
    whole = b"".join(chunk(event) for event in EVENTS)
    places = sorted(min(cut, len(whole)) for cut in cuts)
    unwrapper = InvokeUnwrapper()
    out = b"".join(unwrapper.feed(whole[a:b]) for a, b in zip([0, *places], [*places, len(whole)], strict=True))
    expected = [b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in EVENTS]
    assert out == b"".join(expected)


def test_an_exception_or_a_chunk_that_is_none_is_raised() -> None:
    unwrapper = InvokeUnwrapper()
    with pytest.raises(UpstreamRateLimited):
        unwrapper.feed(chunk(EVENTS[0]) + frame("throttlingException", {"message": "Slow"}, "exception"))
    assert unwrapper.before_error.startswith(b"event: message_start\n")
    for payload in ({"bytes": "!"}, {"bytes": base64.b64encode(b"{").decode()}, []):
        with pytest.raises(UpstreamBroken):
            InvokeUnwrapper().feed(frame("chunk", payload))
