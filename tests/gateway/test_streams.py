"""Streams complete, cut by the client and broken upstream, each time asking: settled once?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tollway.ledger.record import CallRecord
from tollway.testing import FakeReply
from tollway.testing.gateway import (
    DONE,
    OUTPUT_NANO_PER_TOKEN,
    Answer,
    SmallGateway,
    chat_event,
    chat_reply,
    chat_stream,
    model_entry,
)
from tollway.testing.upstream import Cut, Gate, Part, Pause

TEXTS = ("one ", "two ", "three ")


async def the_key(gateway: SmallGateway) -> str:
    return await gateway.make_key(max_budget_nano=1_000_000_000, parallel_max=5, tpm_limit=100_000)


async def the_record(gateway: SmallGateway, key: str) -> CallRecord:
    """The one record there is; and nothing of the call is left behind."""
    (record,) = await gateway.records()
    account, pace = gateway.account(key), gateway.pace(key)
    assert account.held == 0
    assert account.spent == record.cost.total == sum(nano for scope, *_, nano in record.charges if scope == "key")
    assert pace.parallel == 0
    (stored,) = await gateway.storage.keys.load_all()
    assert stored.spend_nano == record.cost.total
    return record


def assert_error_event(answer: Answer, type: str) -> None:
    """An error in OpenAI's words, and no `[DONE]` that would make half a reply a whole one."""
    last = answer.events()[-1]
    assert last["error"]["type"] == type
    assert "[DONE]" not in answer.events()
    assert answer.whole


async def test_a_whole_stream_is_settled_before_its_end_with_usage_and_cost_on_the_finishing_chunk(
    gateway: SmallGateway,
) -> None:
    key = await the_key(gateway)
    gateway.upstream.reply_to(None, chat_stream(*TEXTS))
    answer = await gateway.ask(key=key, stream=True)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text == "one two three "
    *_, finishing, done = answer.events()
    assert done == "[DONE]"
    assert finishing["choices"][0]["finish_reason"] == "stop"
    assert finishing["usage"]["completion_tokens"] == 250
    assert finishing["usage"]["cost"] == 0.001
    assert all(event["model"] == "small" for event in answer.events()[:-1])
    record = await the_record(gateway, key)
    assert record.cost.total == 1_000_000
    assert (record.status_code, record.usage_source, record.streamed) == (200, "provider", True)
    assert record.request_id == "chatcmpl-1"
    assert gateway.upstream.requests[0].finished
    assert gateway.pace(key).tokens.remaining(0.0) == 100_000 - 260


async def test_the_record_is_written_before_the_last_bytes_leave(gateway: SmallGateway) -> None:
    key = await the_key(gateway)
    gateway.upstream.reply_to(None, chat_stream(*TEXTS), chat_reply())
    seen: list[tuple[bool, int]] = []

    def watch(message: dict[str, Any]) -> None:
        seen.append((message.get("more_body", True), gateway.app.ledger.rows_written))

    await gateway.ask(key=key, stream=True, on_message=watch)
    assert seen[-1] == (False, 1)
    assert all(rows == 0 for more, rows in seen if more)
    await gateway.ask(key=key, on_message=watch)
    assert seen[-1] == (False, 2)


@pytest.mark.parametrize("pieces", range(1, len(TEXTS) + 1))
async def test_a_client_that_leaves_after_any_event_is_charged_what_it_saw_and_the_provider_is_let_go(
    gateway: SmallGateway, pieces: int
) -> None:
    key = await the_key(gateway)
    gates = [Gate() for _ in TEXTS]
    parts: list[Part] = [part for pair in zip(map(chat_event, TEXTS), gates, strict=True) for part in pair]
    gateway.upstream.reply_to(None, FakeReply.stream(*parts, chat_event(finish="stop"), DONE))
    exchange = gateway.begin(key=key, stream=True)
    for gate in gates[: pieces - 1]:
        await _until(lambda: len(exchange.answer.pieces) > gates.index(gate))  # noqa: B023  # awaited at once
        gate.open()
    await _until(lambda: len(exchange.answer.pieces) == pieces)
    await asyncio.wait_for(exchange.hang_up(), 30)
    record = await the_record(gateway, key)
    assert (record.status_code, record.error_type, record.usage_source) == (499, "client_gone", "estimated")
    assert record.usage is not None
    assert record.usage.output == -(-len("".join(TEXTS[:pieces])) // 4)
    assert record.usage.input > 0
    assert record.cost.total == record.usage.output * OUTPUT_NANO_PER_TOKEN
    (request,) = gateway.upstream.requests
    assert request.closed
    assert not request.finished
    assert "[DONE]" not in exchange.answer.events()


async def _until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.001)


async def test_a_client_that_leaves_before_the_first_byte_of_a_stream_is_charged_its_input(tmp_path: Path) -> None:
    prices = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000004"}
    async with SmallGateway(tmp_path, [model_entry(prices=prices)]) as gateway:
        key = await the_key(gateway)
        gateway.upstream.reply_to(None, FakeReply.stream(Gate(), chat_event("late")))
        exchange = gateway.begin(key=key, stream=True)
        await _until(lambda: gateway.upstream.requests)
        assert gateway.account(key).held > 0
        assert gateway.pace(key).parallel == 1
        await asyncio.wait_for(exchange.hang_up(), 30)
        record = await the_record(gateway, key)
        assert record.status_code == 499
        assert record.usage is not None
        assert record.usage.output == 0
        assert record.cost.total == record.usage.input * 1_000 > 0
        assert gateway.upstream.requests[0].closed


async def test_a_client_that_leaves_while_a_whole_answer_is_made_is_charged_its_input(tmp_path: Path) -> None:
    prices = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000004"}
    async with SmallGateway(tmp_path, [model_entry(prices=prices)]) as gateway:
        key = await the_key(gateway)
        gateway.upstream.reply_to(None, chat_reply(after=Gate()))
        exchange = gateway.begin(key=key)
        await _until(lambda: gateway.upstream.requests)
        await asyncio.wait_for(exchange.hang_up(), 30)
        record = await the_record(gateway, key)
        assert (record.status_code, record.error_type) == (499, "client_gone")
        assert record.cost.total > 0
        assert exchange.answer.status == 0
        assert gateway.upstream.requests[0].closed


async def test_a_client_that_leaves_while_usage_is_waited_for_is_charged_once(gateway: SmallGateway) -> None:
    key = await the_key(gateway)
    gate = Gate()
    gateway.upstream.reply_to(
        None, FakeReply.stream(chat_event("word"), chat_event(finish="stop"), gate, chat_event(output_tokens=250), DONE)
    )
    exchange = gateway.begin(key=key, stream=True)
    await _until(lambda: exchange.answer.pieces)
    await asyncio.wait_for(exchange.hang_up(), 30)
    record = await the_record(gateway, key)
    assert record.status_code == 499
    assert record.usage is not None
    assert record.usage.output == 1


BROKEN: dict[str, tuple[tuple[Part, ...], str]] = {
    "cut": ((Cut(),), "upstream_error"),
    "ended without a finish": ((), "upstream_error"),
    "ended with a mark but without a finish": ((DONE,), "upstream_error"),
    "not JSON": ((b"data: {this is no JSON\n\n",), "upstream_error"),
    "an error event": (
        (b'data: {"error":{"message":"overloaded","type":"server_error","code":null}}\n\n',),
        "internal_server_error",
    ),
    "a rate limit in the stream": (
        (b'data: {"error":{"message":"slow down","type":"rate_limit_error","code":"429"}}\n\n',),
        "throttling_error",
    ),
    "a stall": ((Pause(10_000),), "timeout_error"),
}


@pytest.mark.parametrize(("parts", "type"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_provider_that_breaks_after_content_gives_the_client_an_error_event_and_is_charged_for_what_came(
    tmp_path: Path, parts: tuple[Part, ...], type: str
) -> None:
    models = [model_entry(), model_entry("other", host="other.example")]
    async with SmallGateway(tmp_path, models) as gateway:
        key = await the_key(gateway)
        gateway.upstream.reply_to(None, FakeReply.stream(*map(chat_event, TEXTS), *parts))
        exchange = gateway.begin(key=key, stream=True, fallbacks=["other"])
        await _until(lambda: exchange.answer.pieces)
        if type == "timeout_error":
            await _until(lambda: gateway.upstream.requests and gateway.upstream.requests[0].paused)
        gateway.clock.advance(7_000)
        answer = await asyncio.wait_for(exchange.done(), 30)
        assert answer.status == 200
        assert answer.text == "".join(TEXTS) if "error" not in answer.events()[-1] else True
        assert answer.body.count(b"one ") == 1
        assert_error_event(answer, type)
        record = await the_record(gateway, key)
        assert record.status_code >= 400
        assert record.usage_source == "estimated"
        assert record.cost.total == 4 * OUTPUT_NANO_PER_TOKEN  # 14 bytes
        assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(("parts", "type"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_provider_that_breaks_before_content_is_replaced_by_the_fallback_unnoticed(
    tmp_path: Path, parts: tuple[Part, ...], type: str
) -> None:
    models = [model_entry(), model_entry("other", host="other.example")]
    async with SmallGateway(tmp_path, models) as gateway:
        key = await the_key(gateway)
        gateway.upstream.reply_to(None, FakeReply.stream(b": waking up\n\n", chat_event(), *parts))
        gateway.upstream.reply_to(None, chat_stream("other ", "words"), host="other.example")
        exchange = gateway.begin(key=key, stream=True, fallbacks=["other"], num_retries=0)
        if type == "timeout_error":
            await _until(lambda: gateway.upstream.requests and gateway.upstream.requests[0].paused)
        gateway.clock.advance(7_000)
        answer = await asyncio.wait_for(exchange.done(), 30)
        assert answer.text == "other words"
        assert answer.headers["x-litellm-attempted-fallbacks"] == "1"
        assert answer.headers["x-litellm-model-group"] == "other"
        record = await the_record(gateway, key)
        assert (record.status_code, record.fallbacks, record.cost.total) == (200, 1, 1_000_000)
        assert [attempt.cost_nano for attempt in record.attempts] == [0, 1_000_000]


async def test_usage_said_before_the_break_is_charged_but_no_less_output_than_was_seen(gateway: SmallGateway) -> None:
    key = await the_key(gateway)
    early = chat_event("x" * 400, output_tokens=1)
    gateway.upstream.reply_to(None, FakeReply.stream(early, Gate()), FakeReply.stream(early, Cut()))
    exchange = gateway.begin(key=key, stream=True)
    await _until(lambda: exchange.answer.pieces and gateway.upstream.requests[0].paused)
    gateway.clock.advance(7_000)
    await exchange.done()
    record = await the_record(gateway, key)
    assert record.usage is not None
    assert (record.usage.input, record.usage.output) == (10, 100)
    assert record.cost.total == 100 * OUTPUT_NANO_PER_TOKEN


async def test_usage_that_never_comes_is_estimated_and_the_client_gets_its_end(gateway: SmallGateway) -> None:
    key = await the_key(gateway)
    gateway.upstream.reply_to(None, FakeReply.stream(*map(chat_event, TEXTS), chat_event(finish="stop"), Cut()))
    answer = await gateway.ask(key=key, stream=True)
    assert answer.events()[-1] == "[DONE]"
    record = await the_record(gateway, key)
    assert (record.status_code, record.usage_source) == (200, "estimated")
    assert record.cost.total == 4 * OUTPUT_NANO_PER_TOKEN


async def test_a_provider_that_claims_an_absurd_usage_is_not_believed(gateway: SmallGateway) -> None:
    key = await the_key(gateway)
    gateway.upstream.reply_to(None, chat_reply(output_tokens=10**30), chat_stream("word", output_tokens=10**30))
    assert (await gateway.ask(key=key)).status == 200
    assert (await gateway.ask(key=key, stream=True)).status == 200
    whole, stream = await gateway.records()
    assert whole.usage_source == stream.usage_source == "estimated"
    assert gateway.account(key).spent == whole.cost.total + stream.cost.total < 1_000_000_000


async def test_a_defect_of_the_gateway_in_the_middle_of_a_stream_cuts_it_and_still_settles_it(
    gateway: SmallGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tollway.dialects.openai_chat.relay import PassRelay

    key = await the_key(gateway)
    gate = Gate()
    gateway.upstream.reply_to(None, FakeReply.stream(chat_event("word "), gate, chat_event("two"), Gate()))
    exchange = gateway.begin(key=key, stream=True)
    await _until(lambda: exchange.answer.pieces)

    def fail(self: PassRelay, data: bytes) -> bytes:
        raise KeyError("a defect")

    monkeypatch.setattr(PassRelay, "feed", fail)
    gate.open()
    answer = await exchange.done()
    assert not answer.whole
    assert "failed inside the gateway" in caplog.text
    record = await the_record(gateway, key)
    assert record.status_code == 502
    assert gateway.upstream.requests[0].closed
