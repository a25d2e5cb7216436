"""Gemini's paths on the wire: arrays and events, limits and holds, what a configuration sets, and clients that leave."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tollway.calls import Usage
from tollway.endpoints.gemini import with_model
from tollway.testing import FakeReply, Gate

MODELS = """
    model_list:
      - model_name: gem
        litellm_params: {model: gemini/gemini-2.5-flash, api_key: k, api_base: http://google.test}
      - model_name: warm
        litellm_params:
          {model: gemini/gemini-2.5-flash, api_key: k, api_base: http://google.test, temperature: 0.1, max_tokens: 50,
           reasoning_effort: low, safety_settings: [{category: HARM_CATEGORY_HARASSMENT, threshold: BLOCK_NONE}]}
      - model_name: gpt
        litellm_params: {model: openai/gpt-4o, api_key: sk, api_base: http://openai.test/v1}
      - model_name: warm-gpt
        litellm_params: {model: openai/gpt-4o, api_key: sk, api_base: http://openai.test/v1, temperature: 0.1}
"""
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
VIRTUAL_KEY = "sk-virtual-of-these-tests"
ASKED: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def said(text: str, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0, **more}], "responseId": "r", "modelVersion": "g"}


LAST = {
    **said("lo", finishReason="STOP"),
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}
EVENTS = FakeReply.stream(*(b"data: " + json.dumps(each).encode() + b"\n\n" for each in (said("Hel"), LAST)))
OPENAI = FakeReply.stream(
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n',
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\ndata: [DONE]\n\n',
)


@pytest.fixture
async def table(open_table: Any) -> Any:
    return await open_table(MODELS)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1beta/models/gem:generateContent", ("generate_content", "gem")),
        ("/v1/models/gem:streamGenerateContent", ("stream_generate_content", "gem")),
        ("/v1beta1/models/gem:countTokens", ("count_tokens", "gem")),
        ("/v1alpha/models/gem:countTokens", ("count_tokens", "gem")),
        ("/models/gem:generateContent", ("generate_content", "gem")),
        ("/gemini/v1beta/models/gem:generateContent", ("generate_content", "gem")),
        (
            "/v1beta/models/openrouter/meta/llama:free:generateContent",
            ("generate_content", "openrouter/meta/llama:free"),
        ),
        (
            "/v1beta1/projects/p/locations/l/publishers/google/models/gem:generateContent",
            ("generate_content", "gem"),
        ),
        ("/vertex_ai/v1/projects/p/locations/l/publishers/google/models/g:countTokens", ("count_tokens", "g")),
        ("/v1/publishers/google/models/gem:generateContent", ("generate_content", "gem")),
        ("/v1beta/models/gem:embedContent", None),
        ("/v1beta/models/gem", None),
        ("/v2/models/gem:generateContent", None),
        ("/v1beta/models/:generateContent", None),
        ("/elsewhere/v1beta/models/gem:generateContent", None),
    ],
)
def test_a_path_tells_model_and_method(path: str, found: tuple[str, str] | None) -> None:
    assert with_model(path) == found


# --- streams -------------------------------------------------------------------------------------------------------


async def stream(table: Any, model: str, *, sse: bool) -> Any:
    query = b"alt=sse" if sse else b"alt=json"
    return await table.post(f"/v1beta/models/{model}:streamGenerateContent", ASKED, query=query)


async def test_a_stream_comes_as_the_client_asked_for_it(table: Any) -> None:
    table.upstream.reply_to(STREAM, EVENTS)
    events = await stream(table, "gem", sse=True)
    assert events.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(event[6:]) for event in events.body.decode().split("\n\n") if event]
    array = await stream(table, "gem", sse=False)
    assert array.headers["content-type"].startswith("application/json")
    assert array.json() == told
    assert told[0] == said("Hel")
    cost = told[1]["usageMetadata"].pop("cost")
    assert cost > 0
    assert told[1] == LAST
    assert [request.query["alt"] for request in table.upstream.requests] == [["sse"], ["sse"]]


async def test_another_providers_stream_comes_as_an_array_too(table: Any) -> None:
    table.upstream.reply_to("/v1/chat/completions", OPENAI)
    array = (await stream(table, "gpt", sse=False)).json()
    assert [part["text"] for chunk in array for part in chunk["candidates"][0]["content"]["parts"]] == ["Hello", ""]
    assert array[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_what_a_provider_gives_whole_is_one_chunk_of_the_stream(table: Any) -> None:
    table.upstream.reply_to(STREAM, FakeReply.json(LAST))
    events = await stream(table, "gem", sse=True)
    assert events.headers["content-type"].startswith("text/event-stream")
    assert json.loads(events.body.decode().removeprefix("data: ").strip()) == LAST
    assert (await stream(table, "gem", sse=False)).json() == [LAST]


@pytest.mark.parametrize("model", ["gem", "gpt"])
async def test_a_client_that_leaves_is_charged_once_and_the_provider_let_go(table: Any, model: str) -> None:
    gate = Gate()
    first = b"data: " + json.dumps(said("Hello")).encode() + b"\n\n"
    table.upstream.reply_to(STREAM, FakeReply.stream(first, gate, first))
    table.upstream.reply_to("/v1/chat/completions", FakeReply.stream(OPENAI.parts[0], gate, OPENAI.parts[1]))
    body = json.dumps(ASKED).encode()
    exchange = table.begin(f"/v1beta/models/{model}:streamGenerateContent", body)
    await exchange.first_piece()
    exchange.leave()
    await exchange.end()
    assert table.upstream.requests[0].closed
    record = await table.record()
    assert record.status_code == 499
    assert record.usage.output == 2
    assert record.cost.total > 0


# --- money ---------------------------------------------------------------------------------------------------------


async def held(table: Any, fields: dict[str, Any]) -> int:
    """What a call with this request sets aside."""
    exchange = await table.post("/v1beta/models/gem:generateContent", fields, key=VIRTUAL_KEY)
    assert exchange.status == 200, exchange.body
    return int((await table.records())[-1].held_nano)


async def test_limits_and_choices_and_media_make_the_hold(table: Any) -> None:
    table.upstream.reply_to(GENERATE, FakeReply.json(LAST))
    await table.give_key(max_budget_nano=10**15)
    plain = await held(table, {**ASKED, "generationConfig": {"maxOutputTokens": 100}})
    assert await held(table, {**ASKED, "generation_config": {"max_output_tokens": 100}}) == pytest.approx(
        plain, rel=0.01
    )
    twice = await held(table, {**ASKED, "generationConfig": {"maxOutputTokens": 100, "candidateCount": 2}})
    assert twice > plain * 1.8
    assert await held(table, ASKED) > plain * 100
    data = base64.b64encode(bytes(600_000)).decode()
    picture = {"inlineData": {"mimeType": "image/png", "data": data}}
    config = {"generationConfig": {"maxOutputTokens": 100}}
    shown = await held(table, {"contents": [{"parts": [picture]}], **config})
    as_text = await held(table, {"contents": [{"parts": [{"text": data}]}], **config})
    assert plain < shown < as_text / 20
    film = {"fileData": {"mimeType": "video/mp4", "fileUri": "https://files.example/v"}}
    assert await held(table, {"contents": [{"parts": [film]}], **config}) > as_text
    assert await held(table, {**ASKED, **config, "cachedContent": "cachedContents/x"}) > as_text


async def test_a_budget_lowers_the_limit_in_its_place(table: Any) -> None:
    table.upstream.reply_to(GENERATE, FakeReply.json(LAST))
    key = await table.give_key(max_budget_nano=2_000_000)
    asked = {**ASKED, "generation_config": {"top_k": 7}}
    exchange = await table.post("/v1beta/models/gem:generateContent", asked, key=key)
    assert exchange.status == 200
    sent = table.upstream.requests[0].json()
    limit = int(exchange.headers["x-tollway-output-limit"])
    assert sent == {**ASKED, "generationConfig": {"topK": 7, "maxOutputTokens": limit}}
    assert 0 < limit < 2_000


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"maxOutputTokens": 0}, "at least 1"),
        ({"candidateCount": 9}, "between 1 and 8"),
        ({"maxOutputTokens": "x"}, "int"),
    ],
)
async def test_a_limit_that_is_none_is_refused(table: Any, config: dict[str, Any], words: str) -> None:
    exchange = await table.post("/v1beta/models/gem:generateContent", {**ASKED, "generationConfig": config})
    assert exchange.status == 400
    assert words in exchange.json()["error"]["message"]


# --- what passes ---------------------------------------------------------------------------------------------------


async def test_what_the_path_says_is_not_said_again(table: Any) -> None:
    table.upstream.reply_to(GENERATE, FakeReply.json(LAST))
    contents = b'[{"role": "user", "parts": [{"text": "Hi"}]}]'
    asked = b'{"contents": %b, "model": "models/gem", "stream": true, "futureField": {"a": [1.50, null]}}' % contents
    exchange = await table.post("/v1beta/models/gem:generateContent", asked)
    assert exchange.status == 200
    sent = table.upstream.requests[0].body
    assert sent == b'{"contents":%b,"futureField":{"a": [1.50, null]}}' % contents


async def test_a_configurations_parameters_are_said_in_googles_words_under_the_clients(table: Any) -> None:
    table.upstream.reply_to(GENERATE, FakeReply.json(LAST))
    await table.post("/v1beta/models/warm:generateContent", {**ASKED, "generationConfig": {"temperature": 1}})
    sent = table.upstream.requests[0].json()
    thinking = {"thinkingBudget": 1024, "includeThoughts": True}
    assert sent["generationConfig"] == {"temperature": 1, "maxOutputTokens": 50, "thinkingConfig": thinking}
    assert sent["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]


async def test_a_configurations_parameters_hold_for_other_providers_too(table: Any) -> None:
    reply = {"id": "c", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}
    table.upstream.reply_to("/v1/chat/completions", FakeReply.json(reply))
    await table.post("/v1beta/models/warm-gpt:generateContent", ASKED)
    assert table.upstream.requests[0].json()["temperature"] == 0.1


async def test_contents_are_needed(table: Any) -> None:
    exchange = await table.post("/v1beta/models/gem:generateContent", {"content": []})
    assert exchange.json()["error"] == {
        "code": 400,
        "message": "contents is not specified",
        "status": "INVALID_ARGUMENT",
        "details": exchange.json()["error"]["details"],
    }


async def test_the_record_says_what_was_called(table: Any) -> None:
    table.upstream.reply_to(GENERATE, FakeReply.json(LAST))
    await table.post("/v1beta/models/gem:generateContent", ASKED)
    record = await table.record()
    assert (record.call_type, record.model_group, record.request_id) == ("agenerate_content", "gem", "r")
    assert record.usage == Usage(input=3, output=2)
