"""A stream that tells more than is held for it holds more, or is ended as one that reached its limit; it never goes on unpaid."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.testing import FakeReply
from tollway.testing.gateway import DONE, OUTPUT_COST_PER_TOKEN, SmallGateway, chat_event, chat_stream, model_entry
from tollway.testing.upstream import Gate, Part

CALL = 1_000_000  # 250 tokens
#: What the provider counts as 25 tokens, though no text of so many bytes has so few.
PIECE = "a word beyond the limit " * 12 + "or twelve so"


def endless(pieces: int, *, finish: bool = True) -> FakeReply:
    """A provider that does not stop where it was told to."""
    end = (chat_event(finish="stop"), chat_event(output_tokens=pieces * 25), DONE) if finish else ()
    return FakeReply.stream(*(chat_event(PIECE) for _ in range(pieces)), *end)


async def test_a_stream_beyond_its_hold_holds_more_where_there_is_room_and_is_charged_in_full(
    gateway: SmallGateway,
) -> None:
    key = await gateway.make_key(max_budget_nano=10 * CALL)
    gateway.upstream.reply_to(None, endless(60))  # 1 500 tokens, of which 250 were allowed
    answer = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert answer.text == PIECE * 60
    assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"
    (record,) = await gateway.records()
    assert record.cost.total == 6 * CALL
    assert record.held_nano >= 4 * CALL  # it grew with the stream
    assert (record.status_code, record.usage_source) == (200, "provider")
    account = gateway.account(key)
    assert (account.spent, account.held) == (6 * CALL, 0)


async def test_a_stream_beyond_its_hold_is_ended_where_there_is_no_room(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=CALL)
    gate = Gate()
    parts: list[Part] = [chat_event(PIECE) for _ in range(30)]
    gateway.upstream.reply_to(None, FakeReply.stream(*parts, gate))  # it would go on for ever
    answer = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert answer.whole
    # 250 tokens are at most 3 000 bytes of text: the piece that goes beyond is the last.
    assert answer.text == PIECE * 11
    *_, last, done = answer.events()
    assert done == "[DONE]"
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert last["model"] == "small"
    assert gateway.upstream.requests[0].closed, "the provider writes on for nobody"
    (record,) = await gateway.records()
    assert (record.status_code, record.usage_source, record.over_hold) == (200, "estimated", False)
    assert record.cost.total == CALL
    account = gateway.account(key)
    assert (account.spent, account.held) == (CALL, 0)


@pytest.mark.parametrize(
    "words",
    [
        ["internationalisation "] * 90,
        ["भारत एक विशाल देश है जिसमें अनेक भाषाएँ बोली जाती हैं। "] * 17,  # fifteen tokens of GPT-4o's each
    ],
)
async def test_a_stream_within_its_limit_is_never_ended_whatever_its_words(
    gateway: SmallGateway, words: list[str]
) -> None:
    """250 tokens, told in as many bytes as a text can have at most."""
    key = await gateway.make_key(max_budget_nano=CALL)
    gateway.upstream.reply_to(None, chat_stream(*words, output_tokens=250))
    answer = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert answer.text == "".join(words)
    assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"
    (record,) = await gateway.records()
    assert (record.cost.total, record.usage_source) == (CALL, "provider")


async def test_what_is_no_text_is_not_taken_for_a_stream_that_goes_on(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=CALL)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9_000}}
    thought = "and so " * 30
    signed = {"type": "thinking", "thinking": thought, "signature": "S" * 9_000}
    call = {"index": 0, "id": "call_" + "1" * 24, "type": "function", "function": {"arguments": "{}"}}
    deltas: list[dict[str, Any]] = [
        {"images": [picture]},
        {"audio": {"id": "a", "data": "A" * 9_000, "transcript": "said"}},
        *({"reasoning": thought, "reasoning_content": thought, "thinking_blocks": [signed]} for _ in range(4)),
        *({"tool_calls": [call]} for _ in range(100)),
    ]
    events = [
        b"data: " + json.dumps({"id": "c", "model": "x", "choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"
        for delta in deltas
    ]
    gateway.upstream.reply_to(
        None, FakeReply.stream(*events, chat_event(finish="stop"), chat_event(output_tokens=250), DONE)
    )
    answer = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"


async def test_much_that_comes_at_once_is_held_for_or_ends_the_stream(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=2 * CALL)
    gateway.upstream.reply_to(None, FakeReply.stream(chat_event("a"), chat_event("word " * 4_000), chat_event("more")))
    answer = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert answer.events()[-2]["choices"][0]["finish_reason"] == "length"
    assert "more" not in answer.text
    (record,) = await gateway.records()
    assert CALL < record.cost.total <= record.held_nano <= 2 * CALL


async def test_a_stream_that_is_ended_is_charged_what_its_provider_counted_where_that_is_more(
    gateway: SmallGateway,
) -> None:
    key = await gateway.make_key(max_budget_nano=CALL)
    pieces = [chat_event(PIECE, output_tokens=30 * n) for n in range(1, 31)]  # counted with every piece
    gateway.upstream.reply_to(None, FakeReply.stream(*pieces))
    answer = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert answer.text == PIECE * 11
    (record,) = await gateway.records()
    assert (record.cost.total, record.usage_source, record.over_hold) == (330 * 4_000, "provider", True)
    assert answer.events()[-2]["usage"]["completion_tokens"] == 330


async def test_other_calls_room_is_not_taken_for_it(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=2 * CALL)
    gate = Gate()
    gateway.upstream.reply_to(None, chat_stream("a", before_end=[gate]), endless(30, finish=False))
    first = gateway.begin(key=key, stream=True, max_tokens=250)
    while not gateway.upstream.requests:
        await asyncio.sleep(0)
    ended = await gateway.ask(key=key, stream=True, max_tokens=250)
    assert ended.events()[-2]["choices"][0]["finish_reason"] == "length"
    gate.open()
    assert (await first.done()).status == 200
    account = gateway.account(key)
    assert (account.spent, account.held) == (2 * CALL, 0)


@pytest.mark.parametrize("limit", [100 * CALL, None])
async def test_a_deployments_own_budget_is_not_overrun_either(tmp_path: Path, limit: int | None) -> None:
    async with SmallGateway(tmp_path, [model_entry(max_budget_usd="1", budget_duration="1d")]) as gateway:
        key = await gateway.make_key(max_budget_nano=limit)
        gateway.upstream.reply_to(None, endless(30, finish=False))
        answer = await gateway.ask(key=key, stream=True, max_tokens=250)
        assert answer.events()[-2]["choices"][0]["finish_reason"] == "length"
        (record,) = await gateway.records()
        assert (record.cost.total, record.usage_source) == (CALL, "estimated")
        assert {(one.held, one.spent) for one in gateway.app.ledger.accounts.values()} == {(0, CALL)}


# --- in every dialect's own words, from a provider of the same dialect and of another -----------------------------


def anthropic_entry() -> ModelEntry:
    return model_entry(
        "claude",
        provider_model="anthropic/claude-x",
        api_key=Secret("sk-ant-x"),
        api_base="http://anthropic.example",
        prices={"input_cost_per_token": "0", "output_cost_per_token": OUTPUT_COST_PER_TOKEN},
    )


def gemini_entry() -> ModelEntry:
    return model_entry(
        "gemini",
        provider_model="gemini/gemini-x",
        api_key=Secret("g-x"),
        api_base="http://gemini.example",
        prices={"input_cost_per_token": "0", "output_cost_per_token": OUTPUT_COST_PER_TOKEN},
    )


def _event(value: dict[str, Any], *, named: bool = True) -> bytes:
    name = b"event: %b\n" % value["type"].encode() if named else b""
    return name + b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def anthropic_endless(pieces: int) -> FakeReply:
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-x",
        "usage": usage,
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": PIECE}}
    return FakeReply.stream(
        _event({"type": "message_start", "message": message}),
        _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *(_event(delta) for _ in range(pieces)),
    )


def gemini_endless(pieces: int) -> FakeReply:
    chunk: dict[str, Any] = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": PIECE}]}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 11},
        "responseId": "r",
    }
    return FakeReply.stream(*(_event(chunk, named=False) for _ in range(pieces)))


def responses_endless(pieces: int) -> FakeReply:
    response = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "small", "output": []}
    delta = {
        "type": "response.output_text.delta",
        "item_id": "m",
        "output_index": 0,
        "content_index": 0,
        "delta": PIECE,
    }
    return FakeReply.stream(
        _event({"type": "response.created", "sequence_number": 0, "response": response}),
        *(_event({**delta, "sequence_number": n}) for n in range(1, pieces + 1)),
    )


CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 250, "stream": True}
SAID_IN_GEMINI = {
    "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
    "generationConfig": {"maxOutputTokens": 250},
}


@pytest.mark.parametrize("model", ["small", "claude", "gemini"])
@pytest.mark.parametrize("spoken", ["chat", "messages", "responses", "gemini", "completions"])
async def test_it_ends_in_the_clients_own_words_whoever_answers(tmp_path: Path, model: str, spoken: str) -> None:
    if spoken == "completions" and model != "small":
        return  # the older API is offered by its own kind alone
    async with SmallGateway(tmp_path, [model_entry(), anthropic_entry(), gemini_entry()]) as gateway:
        key = await gateway.make_key(max_budget_nano=CALL)
        gateway.upstream.reply_to(None, endless(30, finish=False))
        gateway.upstream.reply_to("/v1/responses", responses_endless(30))
        gateway.upstream.reply_to(None, anthropic_endless(30), host="anthropic.example")
        gateway.upstream.reply_to(None, gemini_endless(30), host="gemini.example")
        path, body = {
            "chat": ("/v1/chat/completions", CHAT),
            "messages": ("/v1/messages", CHAT),
            "responses": ("/v1/responses", {"input": "Hi", "max_output_tokens": 250, "stream": True}),
            "gemini": (f"/v1beta/models/{model}:streamGenerateContent", SAID_IN_GEMINI),
            "completions": ("/v1/completions", {"prompt": "Hi", "max_tokens": 250, "stream": True}),
        }[spoken]
        query = b"alt=sse" if spoken == "gemini" else b""
        answer = await gateway.ask(key=key, path=path, body=json.dumps({"model": model, **body}).encode(), query=query)
        assert (answer.status, answer.whole) == (200, True), answer.body
        text = answer.body.decode()
        assert gateway.upstream.requests[0].closed, "the provider writes on for nobody"
        events = [line for line in text.splitlines() if line.startswith("data: ") and PIECE in line]
        assert len([line for line in events if ".done" not in line and "incomplete" not in line]) in (10, 11)
        if spoken == "chat":
            assert answer.events()[-2]["choices"][0]["finish_reason"] == "length"
        elif spoken == "completions":
            assert answer.events()[-2]["choices"][0]["finish_reason"] == "length"
            assert answer.events()[-2]["choices"][0]["text"] == ""
        elif spoken == "messages":
            kinds = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
            assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
            assert '"stop_reason":"max_tokens"' in text
            last = json.loads(text.rstrip().split("data: ")[-2].partition("\n")[0])
            assert last["usage"]["output_tokens"] == 250
            assert last["usage"]["cost"] == 0.001
        elif spoken == "responses":
            assert "event: response.incomplete" in text
            last = json.loads(text.rstrip().rpartition("data: ")[2])["response"]
            assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
            assert last["usage"]["output_tokens"] == 250
        else:
            last = json.loads(text.rstrip().rpartition("data: ")[2])
            assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"
            assert last["usageMetadata"]["candidatesTokenCount"] == 250
            assert last["usageMetadata"]["cost"] == 0.001
        (record,) = await gateway.records()
        assert (record.status_code, record.usage_source, record.over_hold) == (200, "estimated", False)
        account = gateway.account(key)
        assert (account.held, account.spent) == (0, record.cost.total)
        assert 0 < account.spent <= CALL
