"""Google's own SDK against the whole gateway, before providers of Gemini's, OpenAI's and Anthropic's wire."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from tollway.calls import Usage
from tollway.testing import FakeReply

MODELS = """
    model_list:
      - model_name: gem
        litellm_params: {model: gemini/gemini-2.5-flash, api_key: their-key, api_base: http://google.test}
      - model_name: gem3
        litellm_params: {model: gemini/gemini-3-pro-preview, api_key: their-key, api_base: http://google.test}
      - model_name: gpt
        litellm_params: {model: openai/gpt-4o, api_key: sk-theirs, api_base: http://openai.test/v1}
      - model_name: claude
        litellm_params: {model: anthropic/claude-opus-4-6, api_key: sk-ant, api_base: http://anthropic.test}
"""
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
EVERY = pytest.mark.parametrize("model", ["gem", "gpt", "claude"])
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SIGNATURE = base64.b64encode(b"what Google signed").decode()
COUNTED = {"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17}


def google(*parts: dict[str, Any], finish: str = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, "index": 0, **more}
    return {
        "candidates": [candidate],
        "usageMetadata": COUNTED,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "their-id",
    }


def chunk(*parts: dict[str, Any]) -> dict[str, Any]:
    found = google(*parts)
    del found["candidates"][0]["finishReason"]
    return found


def openai(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "g",
        "choices": [choice],
        "usage": usage,
    }


def anthropic(*blocks: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    usage = {"input_tokens": 12, "output_tokens": 5}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def sse(*values: Any, named: bool = False) -> FakeReply:
    written = [json.dumps(value) if not isinstance(value, str) else value for value in values]
    names = [f"event: {value['type']}\n" if named else "" for value in values]
    return FakeReply.stream(*(f"{name}data: {text}\n\n".encode() for name, text in zip(names, written, strict=True)))


def openai_stream(*deltas: dict[str, Any], finish: str = "stop") -> FakeReply:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "g"}
    chunks: list[Any] = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    return sse(*chunks, {**head, "choices": [], "usage": usage}, "[DONE]")


def anthropic_stream(*blocks: tuple[dict[str, Any], list[dict[str, Any]]], stop: str = "end_turn") -> FakeReply:
    message = {**anthropic(), "stop_reason": None, "usage": {"input_tokens": 12, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}})
    return sse(*events, {"type": "message_stop"}, named=True)


@pytest.fixture
async def table(open_table: Any) -> Any:
    return await open_table(MODELS)


def client_of(table: Any, **more: Any) -> Any:
    options = types.HttpOptions(
        base_url="http://tollway.test",
        async_client_args={"transport": httpx.ASGITransport(table.app)},
        **more,
    )
    return genai.Client(api_key="sk-master-of-these-tests", http_options=options).aio


@pytest.fixture
async def client(table: Any) -> AsyncIterator[Any]:
    client = client_of(table)
    yield client
    await client.aclose()


def script(table: Any, google_says: Any, openai_says: Any, anthropic_says: Any) -> None:
    def reply(says: Any) -> Any:
        return says if isinstance(says, FakeReply) else FakeReply.json(says)

    for path in (GENERATE, STREAM):
        table.upstream.reply_to(path, reply(google_says))
    table.upstream.reply_to(OPENAI, reply(openai_says))
    table.upstream.reply_to(ANTHROPIC, reply(anthropic_says))


# --- words ---------------------------------------------------------------------------------------------------------


@EVERY
async def test_a_question_is_answered(table: Any, client: Any, model: str) -> None:
    script(table, google({"text": "Hellö"}), openai({"content": "Hellö"}), anthropic({"type": "text", "text": "Hellö"}))
    config = types.GenerateContentConfig(
        system_instruction="Be kind.", temperature=0.5, max_output_tokens=99, stop_sequences=["END"], top_p=0.9
    )
    answer = await client.models.generate_content(model=model, contents="Hi", config=config)
    assert answer.text == "Hellö"
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.total_token_count) == (12, 17)
    sent = table.upstream.requests[0].json()
    asked = {
        "gem": lambda: (
            sent["contents"][0]["parts"][0]["text"],
            sent["systemInstruction"]["parts"][0]["text"],
            sent["generationConfig"]["temperature"],
            sent["generationConfig"]["maxOutputTokens"],
        ),
        "gpt": lambda: (
            sent["messages"][1]["content"],
            sent["messages"][0]["content"],
            sent["temperature"],
            sent.get("max_tokens") or sent.get("max_completion_tokens"),
        ),
        "claude": lambda: (
            sent["messages"][0]["content"][0]["text"],
            sent["system"][0]["text"],
            sent["temperature"],
            sent["max_tokens"],
        ),
    }[model]()
    assert asked == ("Hi", "Be kind.", 0.5, 99)
    record = await table.record()
    assert record.usage == Usage(input=12, output=5)
    assert record.cost.total > 0


async def test_to_google_the_request_passes_with_the_key_in_its_own_header(table: Any, client: Any) -> None:
    script(table, google({"text": "a"}), {}, {})
    await client.models.generate_content(model="gem", contents="Hi")
    (sent,) = table.upstream.requests
    assert sent.headers["x-goog-api-key"] == "their-key"
    assert "authorization" not in sent.headers
    assert sent.json() == {"contents": [{"parts": [{"text": "Hi"}], "role": "user"}]}


@EVERY
async def test_a_stream_comes_piece_by_piece(table: Any, client: Any, model: str) -> None:
    script(
        table,
        sse(chunk({"text": "Hel"}), google({"text": "lo"})),
        openai_stream({"role": "assistant", "content": "Hel"}, {"content": "lo"}),
        anthropic_stream(
            (
                {"type": "text", "text": ""},
                [{"type": "text_delta", "text": "Hel"}, {"type": "text_delta", "text": "lo"}],
            )
        ),
    )
    chunks = [each async for each in await client.models.generate_content_stream(model=model, contents="Hi")]
    assert [each.text for each in chunks if each.text][:2] == ["Hel", "lo"]
    last = chunks[-1]
    assert last.candidates[0].finish_reason == types.FinishReason.STOP
    assert last.usage_metadata.total_token_count == 17
    sent = table.upstream.requests[0]
    assert sent.query.get("alt") == (["sse"] if model == "gem" else None)
    assert (await table.record()).usage == Usage(input=12, output=5)


# --- tools ---------------------------------------------------------------------------------------------------------

WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="Tells the weather.",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={
                    "city": types.Schema(type=types.Type.STRING),
                    "days": types.Schema(type=types.Type.INTEGER),
                },
                required=["city"],
            ),
        )
    ]
)


@EVERY
@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_go_there_and_their_results_back(
    table: Any, client: Any, model: str, streamed: bool
) -> None:
    cities = ("Paris", "Oslo")
    calls = [{"functionCall": {"name": "weather", "args": {"city": city}}} for city in cities]
    calls[0]["thoughtSignature"] = SIGNATURE
    tool_calls = [
        {
            "index": at,
            "id": f"c{at}",
            "type": "function",
            "function": {"name": "weather", "arguments": json.dumps({"city": city})},
        }
        for at, city in enumerate(cities)
    ]
    uses = [
        {"type": "tool_use", "id": f"c{at}", "name": "weather", "input": {"city": city}}
        for at, city in enumerate(cities)
    ]
    if streamed:
        begun = [
            ({**use, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(use["input"])}])
            for use in uses
        ]
        script(
            table,
            sse(chunk(calls[0]), google(calls[1])),
            openai_stream({"tool_calls": tool_calls}, finish="tool_calls"),
            anthropic_stream(*begun, stop="tool_use"),
        )
    else:
        script(
            table, google(*calls), openai({"tool_calls": tool_calls}, "tool_calls"), anthropic(*uses, stop="tool_use")
        )
    config = types.GenerateContentConfig(
        tools=[WEATHER], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    question = types.UserContent("And the weather?")
    if streamed:
        parts: list[Any] = []
        async for each in await client.models.generate_content_stream(model=model, contents=question, config=config):
            parts += (
                each.candidates[0].content.parts if each.candidates and each.candidates[0].content else None
            ) or []
    else:
        answer = await client.models.generate_content(model=model, contents=question, config=config)
        parts = list(answer.candidates[0].content.parts)
    called = [part.function_call for part in parts if part.function_call]
    assert [(call.name, call.args) for call in called] == [("weather", {"city": city}) for city in cities]

    script(table, google({"text": "Fine"}), openai({"content": "Fine"}), anthropic({"type": "text", "text": "Fine"}))
    results = [
        types.Part(
            function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": f"sun {at}"})
        )
        for at, call in enumerate(called)
    ]
    contents = [question, types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]
    end = await client.models.generate_content(model=model, contents=contents, config=config)
    assert end.text == "Fine"
    sent = table.upstream.requests[-1].json()
    if model == "gem":
        assert sent["contents"][1]["parts"][0]["thoughtSignature"].replace("-", "+").replace("_", "/") == SIGNATURE
        assert [part["functionResponse"]["response"]["output"] for part in sent["contents"][2]["parts"]] == [
            "sun 0",
            "sun 1",
        ]
    elif model == "gpt":
        tool = sent["tools"][0]["function"]
        assert tool["parameters"]["properties"]["days"] == {"type": "integer"}
        assert [call["id"] for call in sent["messages"][1]["tool_calls"]] == ["c0", "c1"]
        assert [(said["tool_call_id"], said["content"]) for said in sent["messages"][2:]] == [
            ("c0", "sun 0"),
            ("c1", "sun 1"),
        ]
    else:
        assert sent["tools"][0]["input_schema"]["required"] == ["city"]
        assert [block["id"] for block in sent["messages"][1]["content"]] == ["c0", "c1"]
        assert [block["tool_use_id"] for block in sent["messages"][2]["content"]] == ["c0", "c1"]


async def test_a_search_by_google_shows_what_the_answer_rests_on(table: Any, client: Any) -> None:
    grounding = {
        "webSearchQueries": ["weather"],
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 0, "endIndex": 3, "text": "Sun"}, "groundingChunkIndices": [0]}
        ],
    }
    script(table, google({"text": "Sun"}, groundingMetadata=grounding), {}, {})
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    answer = await client.models.generate_content(model="gem", contents="Hi", config=config)
    assert answer.candidates[0].grounding_metadata.grounding_chunks[0].web.uri == "https://a.example"
    assert table.upstream.requests[0].json()["tools"] == [{"googleSearch": {}}]
    assert (await table.record()).usage.searches == 1


# --- shapes --------------------------------------------------------------------------------------------------------


class Recipe(BaseModel):
    name: str
    minutes: int


@EVERY
async def test_a_reply_takes_the_shape_of_a_schema(table: Any, client: Any, model: str) -> None:
    text = '{"name":"Soup","minutes":5}'
    tool = {"type": "tool_use", "id": "t", "name": "json_reply", "input": {"name": "Soup", "minutes": 5}}

    def claude_says(request: Any) -> FakeReply:
        by_tool = "tools" in request.json()
        return FakeReply.json(anthropic(tool if by_tool else {"type": "text", "text": text}))

    script(table, google({"text": text}), openai({"content": text}), {})
    table.upstream.reply_to(ANTHROPIC, claude_says)
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Recipe)
    answer = await client.models.generate_content(model=model, contents="Soup?", config=config)
    assert answer.parsed == Recipe(name="Soup", minutes=5)
    if model == "gpt":
        asked = table.upstream.requests[0].json()["response_format"]
        assert asked["json_schema"]["schema"]["properties"]["minutes"]["type"] == "integer"


# --- media ---------------------------------------------------------------------------------------------------------


@EVERY
async def test_a_picture_and_a_document_are_shown(table: Any, client: Any, model: str) -> None:
    script(table, google({"text": "a"}), openai({"content": "a"}), anthropic({"type": "text", "text": "a"}))
    contents = [
        types.Part.from_bytes(data=PIXEL, mime_type="image/png"),
        types.Part.from_bytes(data=b"%PDF-1.4 mine", mime_type="application/pdf"),
        "What is this?",
    ]
    await client.models.generate_content(model=model, contents=contents)
    sent = table.upstream.requests[0].json()
    picture, document = base64.b64encode(PIXEL).decode(), base64.b64encode(b"%PDF-1.4 mine").decode()
    if model == "gem":
        shown = [
            part["inlineData"]["data"].replace("-", "+").replace("_", "/") for part in sent["contents"][0]["parts"][:2]
        ]
        assert shown == [picture, document]
    elif model == "gpt":
        parts = sent["messages"][0]["content"]
        assert parts[0]["image_url"]["url"] == f"data:image/png;base64,{picture}"
        assert parts[1]["file"]["file_data"] == f"data:application/pdf;base64,{document}"
    else:
        blocks = sent["messages"][0]["content"]
        assert [block["source"]["data"] for block in blocks[:2]] == [picture, document]
        assert [block["type"] for block in blocks] == ["image", "document", "text"]


async def test_a_picture_that_a_model_draws_comes_to_clients_of_both_kinds(table: Any, client: Any) -> None:
    drawn = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PIXEL).decode()}}
    script(table, google({"text": "Here"}, drawn), {}, {})
    answer = await client.models.generate_content(model="gem", contents="Draw")
    assert answer.candidates[0].content.parts[1].inline_data.data == PIXEL
    asked = {"model": "gem", "messages": [{"role": "user", "content": "Draw"}], "modalities": ["image", "text"]}
    exchange = await table.post("/v1/chat/completions", asked)
    (image,) = exchange.json()["choices"][0]["message"]["images"]
    assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    assert table.upstream.requests[-1].json()["generationConfig"]["responseModalities"] == ["TEXT", "IMAGE"]


# --- thought -------------------------------------------------------------------------------------------------------


async def test_googles_signatures_come_back_to_google(table: Any, client: Any) -> None:
    parts = [{"text": "hm", "thought": True}, {"text": "So it is", "thoughtSignature": SIGNATURE}]
    script(table, google(*parts), {}, {})
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    config = types.GenerateContentConfig(thinking_config=thinking)
    chat = client.chats.create(model="gem", config=config)
    first = await chat.send_message("Is it?")
    assert [part.thought for part in first.candidates[0].content.parts] == [True, None]
    await chat.send_message("Sure?")
    sent = table.upstream.requests[-1].json()
    assert sent["generationConfig"]["thinkingConfig"] == {"include_thoughts": True, "thinking_budget": 1024}
    (signature,) = [p["thoughtSignature"] for c in sent["contents"] for p in c["parts"] if "thoughtSignature" in p]
    assert signature.replace("-", "+").replace("_", "/") == SIGNATURE


async def test_anthropics_signatures_come_back_to_anthropic_and_never_go_to_google(table: Any, client: Any) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "RXFB"}
    script(table, google({"text": "a"}), {}, anthropic(thought, {"type": "text", "text": "So it is"}))
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
    config = types.GenerateContentConfig(thinking_config=thinking)
    first = await client.models.generate_content(model="claude", contents="Is it?", config=config)
    said = first.candidates[0].content
    assert [(part.text, part.thought) for part in said.parts] == [("hm", True), ("So it is", None)]
    contents = [types.UserContent("Is it?"), said, types.UserContent("Sure?")]
    await client.models.generate_content(model="claude", contents=contents, config=config)
    assert table.upstream.requests[-1].json()["messages"][1]["content"][0] == thought
    await client.models.generate_content(model="gem", contents=contents, config=config)
    assert table.upstream.requests[-1].json()["contents"][1]["parts"] == [{"text": "So it is"}]


async def test_googles_signature_survives_a_client_of_openais(table: Any) -> None:
    call = {"functionCall": {"name": "f", "args": {}, "id": "c1"}, "thoughtSignature": SIGNATURE}
    table.upstream.reply_to(None, FakeReply.json(google({"text": "hm", "thought": True}, call)))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    asked = {
        "model": "gem3",
        "messages": [{"role": "user", "content": "Go"}],
        "tools": tools,
        "reasoning_effort": "low",
    }
    message = (await table.post("/v1/chat/completions", asked)).json()["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    results = [message, {"role": "tool", "tool_call_id": "c1", "content": "done"}]
    await table.post("/v1/chat/completions", {**asked, "messages": [*asked["messages"], *results]})
    sent = table.upstream.requests[-1].json()
    called = next(part for part in sent["contents"][1]["parts"] if "functionCall" in part)
    assert called["thoughtSignature"] == SIGNATURE
    assert sent["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "includeThoughts": True}


# --- errors --------------------------------------------------------------------------------------------------------


async def test_errors_are_googles_own(table: Any, client: Any) -> None:
    with pytest.raises(errors.ClientError) as unknown:
        await client.models.generate_content(model="nobody", contents="Hi")
    assert (unknown.value.code, unknown.value.status) == (400, "INVALID_ARGUMENT")
    full = {"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}}
    table.upstream.reply_to(None, FakeReply.json(full, 429))
    with pytest.raises(errors.ClientError) as limited:
        await client.models.generate_content(model="gem", contents="Hi")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "Slow down" in str(limited.value)
    table.upstream.reply_to(None, FakeReply.json({"error": {"message": "down", "type": "x"}}, 503))
    with pytest.raises(errors.ServerError) as down:
        await client.models.generate_content(model="gpt", contents="Hi")
    assert (down.value.code, down.value.status) == (503, "UNAVAILABLE")


async def test_a_wrong_key_is_refused_in_googles_words(table: Any) -> None:
    exchange = await table.post(
        "/v1beta/models/gem:generateContent", {"contents": []}, headers={"authorization": "", "x-goog-api-key": "wrong"}
    )
    assert (exchange.status, exchange.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_a_stream_that_breaks_raises(table: Any, client: Any) -> None:
    broken = sse(chunk({"text": "Hel"}), {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})
    script(table, broken, {}, {})
    stream = await client.models.generate_content_stream(model="gem", contents="Hi")
    assert (await anext(stream)).text == "Hel"
    with pytest.raises(errors.APIError) as raised:
        await anext(stream)
    assert raised.value.code == 503


# --- counting ------------------------------------------------------------------------------------------------------


async def test_tokens_are_counted_by_who_has_a_counter_and_estimated_by_us_else(table: Any, client: Any) -> None:
    table.upstream.reply_to("/v1beta/models/gemini-2.5-flash:countTokens", FakeReply.json({"totalTokens": 7}))
    table.upstream.reply_to("/v1/messages/count_tokens", FakeReply.json({"input_tokens": 9}))
    assert (await client.models.count_tokens(model="gem", contents="Hi there")).total_tokens == 7
    assert (await client.models.count_tokens(model="claude", contents="Hi there")).total_tokens == 9
    assert table.upstream.requests[0].json() == {"contents": [{"parts": [{"text": "Hi there"}], "role": "user"}]}
    counted = table.upstream.requests[1].json()
    assert counted.keys() == {"model", "messages"}
    estimate = await client.models.count_tokens(model="gpt", contents="Hi there")
    assert 2 <= estimate.total_tokens <= 30
    assert estimate.sdk_http_response.headers["x-tollway-estimated"] == "true"
    assert len(table.upstream.requests) == 2
    assert all(record.cost.total == 0 for record in await table.records())


async def test_the_whole_request_is_counted_under_its_own_name(table: Any) -> None:
    table.upstream.reply_to("/v1beta/models/gemini-2.5-flash:countTokens", FakeReply.json({"totalTokens": 7}))
    contents = [{"role": "user", "parts": [{"text": "Hi"}]}]
    system = {"parts": [{"text": "Be kind."}]}
    whole = {"generateContentRequest": {"model": "models/gem", "contents": contents, "systemInstruction": system}}
    assert (await table.post("/v1beta/models/gem:countTokens", whole)).json() == {"totalTokens": 7}
    inner = {"model": "models/gemini-2.5-flash", "contents": contents, "systemInstruction": system}
    assert table.upstream.requests[0].json() == {"generateContentRequest": inner}
