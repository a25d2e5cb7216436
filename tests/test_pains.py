"""What other gateways are complained about, each defect in a sentence, asked of this one from outside.

Three families: money (caches counted twice, prices that are none), translation (thought, tools and schemas lost on the way), and
agents (Claude Code, Codex, OpenClaw). What has its test where it belongs is listed in `ELSEWHERE`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tollway.config.settings import ModelEntry
from tollway.testing import Cut, FakeReply
from tollway.testing.gateway import DONE, SmallGateway, chat_event, model_entry

TESTS = Path(__file__).parent
PRICES = {
    "input_cost_per_token": "0.000001",
    "cache_read_input_token_cost": "0.0000001",
    "cache_creation_input_token_cost": "0.00000125",
    "cache_creation_input_token_cost_above_1hr": "0.000002",
    "output_cost_per_token": "0.00001",
}
IN, READ, WRITE, WRITE_1H, OUT = 1000, 100, 1250, 2000, 10_000  # nano-dollars a token
PROVIDERS = {
    "claude": "anthropic/claude-opus-4-6",
    "gemini": "gemini/gemini-2.5-pro",
    "gpt": "openai/gpt-4o",
    "grok": "xai/grok-4",
    "ollama": "ollama_chat/qwen3",
    "vertex-claude": "vertex_ai/claude-opus-4-6",
    "bedrock": "bedrock/converse/anthropic.claude-opus-4-6-v1",
}
PARAMS: dict[str, dict[str, Any]] = {
    "vertex-claude": {"vertex_project": "p", "vertex_location": "us-east5"},
    "bedrock": {"aws_region_name": "us-east-1"},
}


def entries() -> list[ModelEntry]:
    made = []
    for name, provider_model in PROVIDERS.items():
        base = f"http://{name}.example" + ("/v1" if name in ("gpt", "grok") else "")
        changes = {
            "provider_model": provider_model,
            "api_base": base,
            "prices": PRICES,
            "provider_params": PARAMS.get(name, {}),
        }
        made.append(model_entry(name, **changes))
    return [*made, model_entry("unpriced", host="unpriced.example", prices={}, provider_model="openai/nobody-knows-it")]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with SmallGateway(tmp_path, entries()) as gateway:
        yield gateway


def said_by_openai(message: dict[str, Any] | None = None, finish: str = "stop", **usage: Any) -> FakeReply:
    counts = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, **usage}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi", **(message or {})}, "finish_reason": finish}
    return FakeReply.json(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": counts}
    )


def said_by_anthropic(*content: dict[str, Any], stop: str = "end_turn", **usage: Any) -> FakeReply:
    counts = {"input_tokens": 10, "output_tokens": 2, **usage}
    blocks = list(content) or [{"type": "text", "text": "Hi"}]
    reply = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": blocks,
        "stop_reason": stop,
    }
    return FakeReply.json({**reply, "usage": counts})


def said_by_gemini(*parts: dict[str, Any], finish: str = "STOP", **usage: Any) -> FakeReply:
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12, **usage}
    content: dict[str, Any] = {"role": "model", "parts": list(parts)} if parts else {"role": "model"}
    candidate = {"index": 0, "content": content, "finishReason": finish}
    return FakeReply.json({"candidates": [candidate], "usageMetadata": counts, "responseId": "r", "modelVersion": "m"})


async def chat(gateway: SmallGateway, model: str, reply: FakeReply, **fields: Any) -> Any:
    gateway.upstream.reply_to(None, reply, host=f"{model}.example")
    return await gateway.ask(model=model, **fields)


async def messages(
    gateway: SmallGateway, model: str, reply: FakeReply, headers: dict[str, str] | None = None, **fields: Any
) -> Any:
    gateway.upstream.reply_to(None, reply, host=f"{model}.example")
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return await gateway.ask(path="/v1/messages", body=json.dumps(body).encode(), headers=headers or {})


def cost_of(answer: Any) -> int:
    """Nano-dollars that the client was told."""
    return int(Decimal(answer.headers["x-litellm-response-cost"]) * 10**9)


def sent(gateway: SmallGateway) -> Any:
    return gateway.upstream.requests[-1].json()


def tool(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}, **more}}


# --- money -----------------------------------------------------------------------------------------------------------


async def test_tokens_that_google_read_from_its_cache_are_not_charged_twice(gateway: SmallGateway) -> None:
    reply = said_by_gemini(
        {"text": "Hi"},
        promptTokenCount=262_960,
        cachedContentTokenCount=257_955,
        candidatesTokenCount=1_744,
        totalTokenCount=264_704,
    )
    answer = await chat(gateway, "gemini", reply)
    assert cost_of(answer) == (262_960 - 257_955) * IN + 257_955 * READ + 1_744 * OUT


async def test_a_count_of_text_that_holds_the_cached_tokens_too_is_not_charged_twice(gateway: SmallGateway) -> None:
    details = {"text_tokens": 2_693, "cached_tokens": 2_585, "audio_tokens": 0, "image_tokens": 0}
    reply = said_by_openai(prompt_tokens=2_693, completion_tokens=5, total_tokens=2_698, prompt_tokens_details=details)
    assert cost_of(await chat(gateway, "grok", reply)) == (2_693 - 2_585) * IN + 2_585 * READ + 5 * OUT


async def test_a_cache_that_reaches_into_a_picture_is_not_charged_twice(gateway: SmallGateway) -> None:
    details = {"text_tokens": 1_319, "image_tokens": 1_142, "cached_tokens": 2_432}
    reply = said_by_openai(
        prompt_tokens=2_461, completion_tokens=303, total_tokens=2_764, prompt_tokens_details=details
    )
    assert cost_of(await chat(gateway, "grok", reply)) == (2_461 - 2_432) * IN + 2_432 * READ + 303 * OUT


async def test_what_is_written_to_the_cache_costs_that_and_not_the_input_price_as_well(gateway: SmallGateway) -> None:
    reply = said_by_anthropic(
        input_tokens=3, cache_creation_input_tokens=12_304, cache_read_input_tokens=0, output_tokens=550
    )
    for answer in (await chat(gateway, "claude", reply), await messages(gateway, "claude", reply)):
        assert cost_of(answer) == 3 * IN + 12_304 * WRITE + 550 * OUT


async def test_what_is_read_from_the_cache_is_neither_free_nor_forgotten(gateway: SmallGateway) -> None:
    reply = said_by_anthropic(input_tokens=3, cache_read_input_tokens=9_000, output_tokens=1)
    answer = await chat(gateway, "claude", reply)
    assert cost_of(answer) == 3 * IN + 9_000 * READ + 1 * OUT
    assert answer.json()["usage"]["prompt_tokens"] == 9_003


async def test_a_cache_kept_for_an_hour_has_its_own_price(gateway: SmallGateway) -> None:
    written = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 400}
    reply = said_by_anthropic(input_tokens=1, cache_creation_input_tokens=500, cache_creation=written, output_tokens=1)
    assert cost_of(await messages(gateway, "claude", reply)) == IN + 100 * WRITE + 400 * WRITE_1H + OUT


async def test_a_model_without_a_price_for_its_cache_is_charged_the_input_price_and_never_nothing(
    tmp_path: Path,
) -> None:
    prices = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.00001"}
    async with SmallGateway(tmp_path, [model_entry("gpt", host="gpt.example", prices=prices)]) as gateway:
        reply = said_by_openai(prompt_tokens_details={"cached_tokens": 8})
        assert cost_of(await chat(gateway, "gpt", reply)) == 10 * IN + 2 * OUT


async def test_what_nobody_priced_is_unpriced_and_not_free(gateway: SmallGateway) -> None:
    answer = await chat(gateway, "unpriced", said_by_openai())
    assert "x-litellm-response-cost" not in answer.headers
    (record,) = await gateway.records()
    assert record.cost_known is False
    key = await gateway.make_key(max_budget_nano=10**12)
    refused = await gateway.ask(key=key, model="unpriced")
    assert (refused.status, refused.json()["error"]["param"]) == (400, "model")


async def test_a_price_is_read_to_its_last_digit(tmp_path: Path) -> None:
    prices = {"input_cost_per_token": "0.0000000375", "output_cost_per_token": "1.5e-07"}
    async with SmallGateway(tmp_path, [model_entry("gpt", host="gpt.example", prices=prices)]) as gateway:
        reply = said_by_openai(prompt_tokens=1_000, completion_tokens=1_000, total_tokens=2_000)
        assert cost_of(await chat(gateway, "gpt", reply)) == 37_500 + 150_000


async def test_a_stream_for_anthropics_clients_tells_its_input_where_they_add_it_up(gateway: SmallGateway) -> None:
    stream = FakeReply.stream(chat_event("Hi"), chat_event(finish="stop"), chat_event(output_tokens=7), DONE)
    answer = await messages(gateway, "gpt", stream, stream=True)
    events = {
        event["type"]: event for event in map(json.loads, re.findall(rb"^data: (.*)$", answer.body, re.MULTILINE))
    }
    assert events["message_delta"]["usage"]["input_tokens"] == 10
    assert events["message_delta"]["usage"]["output_tokens"] == 7


# --- translation -----------------------------------------------------------------------------------------------------

SIGNED_EMPTY = {"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}


async def test_thought_that_is_signed_and_empty_is_given_back(gateway: SmallGateway) -> None:
    asked = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "Go on."},
    ]
    ours = [dict(message) for message in asked]
    ours[1]["thinking_blocks"] = [SIGNED_EMPTY]
    await chat(gateway, "claude", said_by_anthropic(), messages=ours)
    assert sent(gateway)["messages"][1]["content"][0] == SIGNED_EMPTY
    theirs = [dict(message) for message in asked]
    theirs[1]["content"] = [SIGNED_EMPTY, {"type": "text", "text": "Well."}]
    await messages(gateway, "claude", said_by_anthropic(), messages=theirs)
    assert sent(gateway)["messages"] == theirs


async def test_thought_of_which_only_the_signature_is_told_reaches_the_client(gateway: SmallGateway) -> None:
    content = [{"reasoningContent": {"reasoningText": {"text": "", "signature": "c2lnbmVk"}}}, {"text": "Hi"}]
    reply = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    answer = await messages(gateway, "bedrock", FakeReply.json({**reply, "usage": usage}))
    assert SIGNED_EMPTY in answer.json()["content"]


async def test_no_mark_for_the_cache_is_put_on_thought(gateway: SmallGateway) -> None:
    assistant = {
        "role": "assistant",
        "content": "",
        "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "c2lnbmVk"}],
        "cache_control": {"type": "ephemeral"},
    }
    asked = [{"role": "user", "content": "Hi"}, assistant, {"role": "user", "content": "Go on."}]
    await chat(gateway, "claude", said_by_anthropic(), messages=asked)
    (thought,) = sent(gateway)["messages"][1]["content"]
    assert (thought["type"], "cache_control" in thought) == ("thinking", False)


async def test_thought_stays_with_the_calls_that_it_led_to_and_before_them(gateway: SmallGateway) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    thought = {"type": "thinking", "thinking": "t", "signature": "c2lnbmVk"}
    assistant = {"role": "assistant", "content": None, "thinking_blocks": [thought], "tool_calls": [call]}
    asked = [{"role": "user", "content": "Hi"}, assistant, {"role": "tool", "tool_call_id": "c1", "content": "7"}]
    await chat(gateway, "claude", said_by_anthropic(), messages=asked, tools=[tool()], reasoning_effort="high")
    assert [block["type"] for block in sent(gateway)["messages"][1]["content"]] == ["thinking", "tool_use"]
    assert "thinking" in sent(gateway)


async def test_thought_is_never_shown_as_what_the_model_says(gateway: SmallGateway) -> None:
    reply = said_by_anthropic(
        {"type": "thinking", "thinking": "secretly", "signature": "c2lnbmVk"}, {"type": "text", "text": "Hi"}
    )
    message = (await chat(gateway, "claude", reply)).json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hi", "secretly")
    gemini = said_by_gemini({"text": "secretly", "thought": True}, {"text": "Hi"})
    content = (await messages(gateway, "gemini", gemini)).json()["content"]
    assert [(block["type"], block.get("text")) for block in content] == [("thinking", None), ("text", "Hi")]


async def test_each_thought_keeps_its_own_signature(gateway: SmallGateway) -> None:
    blocks = [
        {"type": "thinking", "thinking": text, "signature": mark}
        for text, mark in (("a", "c2lnYQ=="), ("b", "c2lnYg=="))
    ]
    sealed = {"type": "redacted_thinking", "data": "c2VhbGVk"}
    reply = said_by_anthropic(blocks[0], {"type": "text", "text": "Hi"}, blocks[1], sealed)
    message = (await chat(gateway, "claude", reply)).json()["choices"][0]["message"]
    assert [block.get("signature", block.get("data")) for block in message["thinking_blocks"]] == [
        "c2lnYQ==",
        "c2lnYg==",
        "c2VhbGVk",
    ]
    asked = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "Go on."}]
    await chat(gateway, "claude", said_by_anthropic(), messages=asked)
    back = [block for block in sent(gateway)["messages"][1]["content"] if block["type"] != "text"]
    assert back == [*blocks, sealed]


async def test_a_streamed_call_keeps_its_arguments_like_one_that_is_not_streamed(gateway: SmallGateway) -> None:
    part = {"functionCall": {"name": "f", "args": {"city": "Köln", "n": 1.5}}}
    counts = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    chunk = {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
        "usageMetadata": counts,
    }
    stream = FakeReply.stream(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n")
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    answer = await messages(gateway, "gemini", stream, stream=True, tools=tools)
    events = [json.loads(data) for data in re.findall(rb"^data: (.*)$", answer.body, re.MULTILINE)]
    pieces = [event["delta"].get("partial_json", "") for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"city": "Köln", "n": 1.5}
    whole = await messages(gateway, "gemini", FakeReply.json(chunk), tools=tools)
    assert whole.json()["content"][-1]["input"] == {"city": "Köln", "n": 1.5}


async def test_a_signature_on_a_call_comes_back_byte_by_byte(gateway: SmallGateway) -> None:
    signature = "Cj/+AAECAwQFBgcICQoLDA0ODw=="
    reply = said_by_gemini({"functionCall": {"name": "f", "args": {}, "id": "c1"}, "thoughtSignature": signature})
    message = (await chat(gateway, "gemini", reply, tools=[tool()])).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "7"}
    await chat(
        gateway, "gemini", said_by_gemini({"text": "Hi"}), messages=[{"role": "user", "content": "Hi"}, message, result]
    )
    parts = [part for content in sent(gateway)["contents"] for part in content["parts"]]
    assert [part["thoughtSignature"] for part in parts if "thoughtSignature" in part] == [signature]


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
async def test_a_call_that_google_could_not_read_is_an_error_and_no_stop(tmp_path: Path, reason: str) -> None:
    entry = model_entry(
        "gemini", provider_model="gemini/gemini-2.5-pro", api_base="http://gemini.example", prices=PRICES, retries=0
    )
    async with SmallGateway(tmp_path, [entry]) as gateway:
        answer = await chat(gateway, "gemini", said_by_gemini(finish=reason))
        assert answer.status == 502
        assert answer.json()["error"]["code"] == reason.lower()


async def test_an_answer_without_any_part_is_an_empty_answer(gateway: SmallGateway) -> None:
    answer = await chat(gateway, "gemini", said_by_gemini())
    assert answer.status == 200
    assert answer.json()["choices"][0]["finish_reason"] == "stop"


SCHEMA = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/a"}},
    "$defs": {"a": {"type": "string", "enum": ["x", "y"]}},
    "required": ["a"],
}


@pytest.mark.parametrize("model", ["gemini", "claude", "ollama", "gpt"])
async def test_a_schema_is_never_lost_on_the_way(gateway: SmallGateway, model: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}
    gateway.upstream.reply_to(None, FakeReply.json({"error": {"message": "enough"}}, 400))
    await gateway.ask(model=model, response_format=form)
    assert '"enum":["x","y"]' in json.dumps(sent(gateway), separators=(",", ":"))


async def test_tools_of_chat_completions_are_tools_as_anthropic_takes_them(gateway: SmallGateway) -> None:
    bare = {"type": "function", "function": {"name": "bare"}}
    await chat(
        gateway,
        "claude",
        said_by_anthropic(),
        tools=[tool("a", description="d", strict=False), bare],
        tool_choice="auto",
    )
    first, second = sent(gateway)["tools"]
    assert first == {"name": "a", "description": "d", "input_schema": {"type": "object", "properties": {}}}
    assert second["input_schema"]["type"] == "object"
    assert sent(gateway)["tool_choice"] == {"type": "auto"}


async def test_calls_told_side_by_side_become_blocks_one_after_the_other(gateway: SmallGateway) -> None:
    def piece(*calls: dict[str, Any], finish: str | None = None) -> bytes:
        delta = {"tool_calls": list(calls)} if calls else {}
        chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    stream = FakeReply.stream(
        piece({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        piece({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}),
        piece({"index": 0, "function": {"arguments": '{"x":1}'}}, {"index": 1, "function": {"arguments": '{"y":2}'}}),
        piece(finish="tool_calls"),
        DONE,
    )
    answer = await messages(gateway, "gpt", stream, stream=True)
    open_block: int | None = None
    inputs: dict[int, str] = {}
    for event in map(json.loads, re.findall(rb"^data: (.*)$", answer.body, re.MULTILINE)):
        if event["type"] == "content_block_start":
            assert open_block is None
            open_block = event["index"]
            inputs[event["index"]] = ""
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_block
            inputs[event["index"]] += event["delta"]["partial_json"]
        elif event["type"] == "content_block_stop":
            open_block = None
        elif event["type"] == "message_delta":
            assert event["delta"]["stop_reason"] == "tool_use"
    assert [json.loads(text) for text in inputs.values()] == [{"x": 1}, {"y": 2}]


async def test_tools_keep_their_order_so_that_prompts_stay_cached(gateway: SmallGateway) -> None:
    names = [f"t{number}" for number in (3, 1, 2, 9, 4)]
    for model, reply in (("claude", said_by_anthropic()), ("gemini", said_by_gemini({"text": "Hi"}))):
        await chat(gateway, model, reply, tools=[tool(name) for name in names])
        body = json.dumps(sent(gateway))
        assert sorted(names, key=lambda name: body.index(f'"{name}"')) == names


async def test_a_finish_that_nobody_knows_is_told_as_it_came(gateway: SmallGateway) -> None:
    answer = await chat(gateway, "claude", said_by_anthropic(stop="brand_new_reason"))
    assert answer.json()["choices"][0]["finish_reason"] == "brand_new_reason"


async def test_what_is_left_out_is_named(gateway: SmallGateway) -> None:
    answer = await chat(gateway, "claude", said_by_anthropic(), frequency_penalty=1, logit_bias={"1": 1}, seed=1)
    assert set(answer.headers["x-tollway-dropped"].split(",")) == {"frequency_penalty", "logit_bias", "seed"}


# --- agents ----------------------------------------------------------------------------------------------------------

CLAUDE_CODE = {
    "system": [
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "metadata": {"user_id": "user_1_account__session_2"},
    "tools": [{"name": "Read", "description": "Reads a file.", "input_schema": {"type": "object", "properties": {}}}],
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "temperature": 1,
}
FLAGS = {
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,prompt-caching-scope-2026-01-05,effort-2025-11-24"
}


async def test_a_flag_that_the_provider_does_not_know_fails_no_call(gateway: SmallGateway) -> None:
    class Signs:
        async def prepare(self, upstream: Any) -> None:
            return None

        def sign(self, request: Any) -> None:
            return None

    for deployment in gateway.app.snapshots.current.models["vertex-claude"].deployments:
        deployment.signer = Signs()
    answer = await messages(gateway, "vertex-claude", said_by_anthropic(), FLAGS)
    assert answer.status == 200, answer.body
    assert gateway.upstream.requests[-1].headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert "anthropic-beta[claude-code-20250219]" in answer.headers["x-tollway-dropped"]


@pytest.mark.parametrize("model", ["gpt", "gemini", "ollama", "bedrock", "claude"])
async def test_an_anthropic_agents_whole_request_is_taken_by_every_provider(gateway: SmallGateway, model: str) -> None:
    gateway.upstream.reply_to(None, FakeReply.json({"error": {"message": "enough"}, "message": "enough"}, 418))
    body = {"model": model, "max_tokens": 32_000, "messages": [{"role": "user", "content": "Hi"}], **CLAUDE_CODE}
    answer = await gateway.ask(path="/v1/messages", body=json.dumps(body).encode(), headers=FLAGS, query=b"beta=true")
    assert answer.status == 418  # it was sent
    if model != "claude":
        assert not {"cache_control", "context_management", "metadata"} & sent(gateway).keys()


async def test_a_stream_of_another_provider_ends_as_anthropics_agents_expect(gateway: SmallGateway) -> None:
    whole = FakeReply.stream(chat_event("Hi"), chat_event(finish="stop"), chat_event(output_tokens=7), DONE)
    answer = await messages(gateway, "gpt", whole, stream=True)
    assert answer.whole
    names = re.findall(rb"^event: (\w+)$", answer.body, re.MULTILINE)
    assert names[-2:] == [b"message_delta", b"message_stop"]


async def test_a_stream_that_breaks_ends_with_an_error_and_never_hangs(gateway: SmallGateway) -> None:
    answer = await messages(gateway, "gpt", FakeReply.stream(chat_event("Hi"), Cut()), stream=True)
    names = re.findall(rb"^event: (\w+)$", answer.body, re.MULTILINE)
    assert (names[-1], b"message_stop" in names, answer.whole) == (b"error", False, True)


@pytest.mark.parametrize("model", ["gpt", "gemini", "ollama"])
async def test_tokens_are_counted_before_every_provider_tools_and_system_too(gateway: SmallGateway, model: str) -> None:
    gateway.upstream.reply_to(None, FakeReply.json({"totalTokens": 40}))
    counts = []
    for more in ({}, {"system": "s" * 400}, {"tools": [{"name": "f", "description": "d" * 400, "input_schema": {}}]}):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
        answer = await gateway.ask(path="/v1/messages/count_tokens", body=json.dumps(body).encode(), query=b"beta=true")
        assert answer.status == 200, answer.body
        counts.append((answer.json()["input_tokens"], answer.headers.get("x-tollway-estimated")))
    if counts[0][1]:
        assert counts[1][0] >= counts[0][0] + 100
        assert counts[2][0] >= counts[0][0] + 100


async def test_one_model_is_there_on_every_wire_that_agents_speak(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, said_by_anthropic())
    said = {"role": "user", "content": "Hi"}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [said]},
        "/chat/completions": {"messages": [said]},
        "/v1/messages": {"messages": [said], "max_tokens": 5},
        "/v1/responses": {"input": "Hi"},
        "/responses": {"input": "Hi", "previous_response_id": None},
    }
    for path, body in bodies.items():
        answer = await gateway.ask(path=path, body=json.dumps({"model": "claude", **body}).encode())
        assert answer.status == 200, (path, answer.body)


async def test_a_warm_up_is_answered_and_asks_nobody(gateway: SmallGateway) -> None:
    body = {"model": "claude", "input": [], "generate": False, "store": False}
    answer = await gateway.ask(path="/v1/responses", body=json.dumps(body).encode())
    assert answer.status == 200
    assert (answer.json()["status"], answer.json()["output"]) == ("completed", [])
    assert gateway.upstream.requests == []


async def test_calls_that_ollama_streams_before_its_end_are_not_lost(gateway: SmallGateway) -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    lines = [
        {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "eval_count": 3,
        },
    ]
    pieces = [json.dumps(line).encode() + b"\n" for line in lines]
    stream = FakeReply.stream(*pieces, content_type="application/x-ndjson")
    answer = await chat(gateway, "ollama", stream, stream=True, tools=[tool()])
    choices = [choice for event in answer.events() if isinstance(event, dict) for choice in event["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert json.loads("".join(call["function"].get("arguments", "") for call in calls)) == {"a": 1}
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_a_stream_whose_client_forgot_to_ask_for_usage_tells_it_all_the_same(gateway: SmallGateway) -> None:
    stream = FakeReply.stream(chat_event("Hi"), chat_event(finish="stop"), chat_event(output_tokens=7), DONE)
    answer = await chat(gateway, "gpt", stream, stream=True)
    assert sent(gateway)["stream_options"] == {"include_usage": True}
    (finishing,) = [
        e for e in answer.events() if isinstance(e, dict) and e["choices"] and e["choices"][0]["finish_reason"]
    ]
    assert finishing["usage"]["completion_tokens"] == 7
    assert all(event == "[DONE]" or event["choices"] for event in answer.events())


@pytest.mark.parametrize(
    "field", [{"store": False}, {"service_tier": "auto"}, {"prompt_cache_key": "k"}, {"verbosity": "low"}]
)
@pytest.mark.parametrize("model", ["claude", "gemini", "ollama"])
async def test_what_agents_send_along_as_a_habit_fails_no_call(
    gateway: SmallGateway, model: str, field: dict[str, Any]
) -> None:
    gateway.upstream.reply_to(None, FakeReply.json({"error": {"message": "enough"}}, 418))
    assert (await gateway.ask(model=model, **field)).status == 418
    assert not field.keys() & (sent(gateway).keys() - {"service_tier"})


@pytest.mark.parametrize("path", ["/v1/model/info", "/model/info", "/v1/models"])
async def test_a_models_true_limits_can_be_asked_for(gateway: SmallGateway, path: str) -> None:
    answer = await gateway.ask(path=path, method="GET", body=b"")
    assert answer.status == 200
    (row,) = [row for row in answer.json()["data"] if row.get("id", row.get("model_name")) == "claude"]
    limits = row.get("model_info", row)
    assert limits["max_input_tokens"] >= 200_000
    assert limits["max_output_tokens"] >= 32_000


# --- what has its test where it belongs ------------------------------------------------------------------------------

#: The defect in a sentence, and the tests that would fail if it were here: file, function.
ELSEWHERE: dict[str, tuple[str, str]] = {
    "Usage falls into buckets that overlap.": (
        "dialects/gemini/test_usage.py", "test_the_sums_are_the_providers_total_whatever_its_details_say"),
    "A price of the list is off by a factor of ten, and nobody compares.": ("pricing/test_make_catalog.py", ""),
    "Streamed and whole replies are read by different code.": ("dialects/test_round_trips.py", ""),
    "What another maker signed is put to a provider that refuses it.": (
        "dialects/test_agents.py", "test_what_another_maker_sealed_or_signed_is_never_put_to_anthropic"),
    "An agent's tools of its own kinds become nothing for other makers.": (
        "dialects/test_agents.py", "test_codexs_tools_are_functions_to_other_makers_and_nothing_that_matters_is_dropped"),
    "A model's signature on a call is lost in another API's client.": (
        "dialects/test_agents.py", "test_googles_signature_of_a_call_comes_back_through_claude_code"),
    "A connection that goes on from nothing (`previous_response_id: null`) is refused.": (
        "endpoints/test_responses.py", ""),
    "Claude Code cannot work on another maker's model.": (
        "e2e/test_claude_code.py", "test_claude_code_reads_writes_and_runs_on_a_model_of_another_api"),
    "Codex cannot work on another maker's model.": (
        "e2e/test_codex.py", "test_codex_reads_writes_and_runs_on_a_model_of_another_api"),
    "OpenClaw loses tools, pictures or thought on the way.": (
        "e2e/test_openclaw.py", "test_reasoning_is_kept_by_openclaw_and_never_sent_to_anthropic_unsigned"),
    "OpenClaw sees no models, or wrong limits.": (
        "e2e/test_openclaw.py", "test_onboarding_points_openclaw_at_the_gateway_and_the_models_are_discovered"),
    "A conversation too long is not compacted, because its error is not known.": (
        "e2e/test_openclaw.py", "test_a_conversation_too_long_is_compacted_although_fallbacks_are_configured"),
    "A field is lost between two APIs and nobody is told.": (
        "compatibility/test_compatibility.py", "test_the_page_is_what_the_gateway_does"),
}  # fmt: skip


@pytest.mark.parametrize("defect", ELSEWHERE)
def test_a_defect_that_is_tested_elsewhere_is(defect: str) -> None:
    file, function = ELSEWHERE[defect]
    text = (TESTS / file).read_text(encoding="utf-8")
    assert f"def {function or 'test_'}" in text
