"""Responses through the whole gateway: natively, on Anthropic's API, and on a server that knows chat completions alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from tollway.calls import Secret
from tollway.dialects import label_sealed
from tollway.testing import FakeClock, FakeReply, FakeUpstream
from tollway.testing.gateway import Answer, SmallGateway, model_entry
from tollway.testing.upstream import FakeRequest

NATIVE, CLAUDE, PLAIN = "native", "claude", "plain"
EVERYWHERE = pytest.mark.parametrize("model", [NATIVE, CLAUDE, PLAIN])
TRANSLATED = pytest.mark.parametrize("model", [CLAUDE, PLAIN])
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
SSE = "text/event-stream"


class Place(BaseModel):
    city: str


def models() -> list[Any]:
    prices = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000002"}
    return [
        model_entry(NATIVE, provider_model="openai/gpt-5", api_base=None, prices=prices),
        model_entry(CLAUDE, provider_model="anthropic/claude-opus-4-6", api_base=None, prices=prices),
        model_entry(PLAIN, provider_model="openai/some-model", prices=prices),
    ]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with SmallGateway(tmp_path, models()) as gateway:
        yield gateway


@pytest.fixture
async def sdk(gateway: SmallGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_of(gateway, await gateway.make_key()) as client:
        yield client


def sdk_of(gateway: SmallGateway, key: str) -> openai.AsyncOpenAI:
    transport = httpx2.ASGITransport(app=gateway.app)
    return openai.AsyncOpenAI(
        api_key=key, base_url="http://tollway/v1", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    )


# --- scripted providers ----------------------------------------------------------------------------------------------


class Say:
    """What a provider is to answer, in whatever dialect it speaks."""

    def __init__(self, text: str = "", *, thought: str = "", call: tuple[str, str] | None = None) -> None:
        self.text, self.thought, self.call = text, thought, call

    def anthropic(self) -> dict[str, Any]:
        blocks: list[Any] = []
        if self.thought:
            blocks.append({"type": "thinking", "thinking": self.thought, "signature": "sig"})
        if self.text:
            blocks.append({"type": "text", "text": self.text})
        if self.call:
            blocks.append(
                {"type": "tool_use", "id": "toolu_1", "name": self.call[0], "input": json.loads(self.call[1])}
            )
        usage = {"input_tokens": 100, "output_tokens": 10}
        stop = "tool_use" if self.call else "end_turn"
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "c",
            "content": blocks,
            "stop_reason": stop,
            "usage": usage,
        }

    def chat(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.thought:
            message["reasoning_content"] = self.thought
        if self.call:
            function = {"name": self.call[0], "arguments": self.call[1]}
            message["tool_calls"] = [{"id": "toolu_1", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if self.call else "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "p",
            "choices": [choice],
            "usage": usage,
        }

    def response(self, id: str = "resp_theirs") -> dict[str, Any]:
        output: list[Any] = []
        if self.thought:
            output.append(
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": self.thought}],
                    "encrypted_content": "gAAA",
                }
            )
        if self.text:
            part = {"type": "output_text", "text": self.text, "annotations": []}
            output.append(
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
            )
        if self.call:
            output.append(
                {
                    "type": "function_call",
                    "id": "fc_1",
                    "call_id": "toolu_1",
                    "name": self.call[0],
                    "arguments": self.call[1],
                    "status": "completed",
                }
            )
        usage = {
            "input_tokens": 100,
            "output_tokens": 10,
            "total_tokens": 110,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        about = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        head = {"id": id, "object": "response", "created_at": 1, "model": "gpt-5-2026", "status": "completed"}
        return {**head, **about, "output": output, "usage": usage}

    def __call__(self, request: FakeRequest) -> FakeReply:
        streaming = request.json().get("stream") is True
        if request.path == "/v1/messages":
            return (
                FakeReply.stream(*anthropic_events(self.anthropic())) if streaming else FakeReply.json(self.anthropic())
            )
        if request.path == "/v1/responses":
            whole = self.response()
            return FakeReply.stream(*response_events(whole)) if streaming else FakeReply.json(whole)
        return FakeReply.stream(*chat_events(self.chat())) if streaming else FakeReply.json(self.chat())


def sse(name: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps({"type": name, **fields}).encode())


def anthropic_events(message: dict[str, Any]) -> list[bytes]:
    events = [sse("message_start", message={**message, "content": [], "stop_reason": None})]
    for index, block in enumerate(message["content"]):
        kind = block["type"]
        empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}[kind]
        deltas = {
            "text": [{"type": "text_delta", "text": piece} for piece in block.get("text", "").split(" ")],
            "thinking": [
                {"type": "thinking_delta", "thinking": block.get("thinking")},
                {"type": "signature_delta", "signature": "sig"},
            ],
            "tool_use": [{"type": "input_json_delta", "partial_json": json.dumps(block.get("input"))}],
        }[kind]
        events.append(sse("content_block_start", index=index, content_block={**block, **empty}))
        events += [sse("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(sse("content_block_stop", index=index))
    events.append(sse("message_delta", delta={"stop_reason": message["stop_reason"]}, usage={"output_tokens": 10}))
    return [*events, sse("message_stop")]


def chat_events(whole: dict[str, Any]) -> list[bytes]:
    choice = whole["choices"][0]
    delta = {**choice["message"]}
    for number, call in enumerate(delta.get("tool_calls", ())):
        call["index"] = number
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "p"}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {
            **head,
            "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}],
            "usage": whole["usage"],
        },
    ]
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def response_events(whole: dict[str, Any]) -> list[bytes]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events = [sse("response.created", sequence_number=0, response=begun)]
    for index, item in enumerate(whole["output"]):
        events.append(
            sse("response.output_item.added", sequence_number=1, output_index=index, item={**item, "content": []})
        )
        if item["type"] == "message":
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            part = item["content"][0]
            events.append(sse("response.content_part.added", sequence_number=2, part={**part, "text": ""}, **place))
            events.append(
                sse("response.output_text.delta", sequence_number=3, delta=part["text"], logprobs=[], **place)
            )
        events.append(sse("response.output_item.done", sequence_number=4, output_index=index, item=item))
    return [*events, sse("response.completed", sequence_number=9, response=whole)]


def sent(gateway: SmallGateway) -> dict[str, Any]:
    """The last request as the provider got it."""
    body: dict[str, Any] = gateway.upstream.requests[-1].json()
    return body


async def get(gateway: SmallGateway, path: str, *, key: str, method: str = "GET") -> Answer:
    return await gateway.ask(key=key, path=path, method=method, body=b"")


# --- create ------------------------------------------------------------------------------------------------------------


@EVERYWHERE
async def test_a_response_is_answered_and_paid_for(gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str) -> None:
    gateway.upstream.reply_to(None, Say("Hello you"))
    response = await sdk.responses.create(model=model, input="Hi", instructions="Be kind.", max_output_tokens=50)
    assert (response.output_text, response.status, response.model) == ("Hello you", "completed", model)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (100, 10)
    (record,) = await gateway.records()
    assert (record.call_type, record.cost.total, record.request_id) == ("aresponses", 120_000, sent_id(response, model))


def sent_id(response: Any, model: str) -> str:
    return {NATIVE: "resp_theirs", CLAUDE: "msg_1", PLAIN: "chatcmpl-1"}[model] if response else ""


@EVERYWHERE
async def test_a_stream_has_every_event_the_sdk_knows_once(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    gateway.upstream.reply_to(None, Say("Hello you", thought="Hm."))
    ids, numbers, text = set(), [], ""
    async for event in await sdk.responses.create(model=model, input="Hi", stream=True):
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("response.created", "response.completed"):
            ids.add((event.response.id, event.response.model))
            last = event
    assert (text.replace(" ", ""), last.type, len(ids)) == ("Helloyou", "response.completed", 1)
    if model != NATIVE:
        assert numbers == list(range(len(numbers)))
        assert last.response.id.startswith("resp_")
        assert [item.type for item in last.response.output] == ["reasoning", "message"]
    assert last.response.usage is not None


@EVERYWHERE
async def test_a_tool_is_called_and_its_result_is_answered(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    gateway.upstream.reply_to(None, Say(call=("weather", '{"city":"Bern"}')))
    first = await sdk.responses.create(model=model, input="Weather?", tools=[WEATHER], store=False)  # type: ignore[list-item]
    call = first.output[0]
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.call_id) == ("weather", {"city": "Bern"}, "toolu_1")
    gateway.upstream.reply_to(None, Say("Sunny"))
    items: Any = [
        {"role": "user", "content": "Weather?"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"},
    ]
    second = await sdk.responses.create(model=model, input=items, tools=[WEATHER], store=False)  # type: ignore[list-item]
    assert second.output_text == "Sunny"
    assert "sun" in json.dumps(sent(gateway))


@EVERYWHERE
async def test_structured_output_is_parsed(gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str) -> None:
    gateway.upstream.reply_to(None, Say('{"city":"Bern"}'))
    parsed = await sdk.responses.parse(model=model, input="Where?", text_format=Place)
    assert parsed.output_parsed == Place(city="Bern")


@EVERYWHERE
async def test_a_picture_reaches_the_provider(gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str) -> None:
    gateway.upstream.reply_to(None, Say("A cat"))
    picture = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"}
    words = {"type": "input_text", "text": "What is it?"}
    await sdk.responses.create(model=model, input=[{"role": "user", "content": [words, picture]}])  # type: ignore[list-item]
    assert "aGk=" in json.dumps(sent(gateway))


@TRANSLATED
async def test_thought_is_shown_and_comes_back_to_its_maker(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    gateway.upstream.reply_to(None, Say("So", thought="Hm."))
    reasoning: Any = {"effort": "low", "summary": "auto"}
    first = await sdk.responses.create(model=model, input="Why?", reasoning=reasoning, store=False)
    thought = first.output[0]
    assert thought.type == "reasoning"
    assert thought.summary[0].text == "Hm."
    items: Any = [{"role": "user", "content": "Why?"}, *[item.model_dump(exclude_none=True) for item in first.output]]
    await sdk.responses.create(model=model, input=[*items, {"role": "user", "content": "And?"}], store=False)
    if model == CLAUDE:
        turn = next(message for message in sent(gateway)["messages"] if message["role"] == "assistant")
        assert turn["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "sig"}


async def test_thought_that_another_maker_sealed_is_left_out_of_bytes_for_openai(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, Say("Hi"))
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    foreign = {"type": "reasoning", "id": "rs_tollway_1", "summary": [], "encrypted_content": 'tollway:["sig"]'}
    body = json.dumps({"model": NATIVE, "input": [own, foreign, {"role": "user", "content": "x"}]}).encode()
    answer = await gateway.ask(path="/v1/responses", body=body)
    assert sent(gateway)["input"] == [own, {"role": "user", "content": "x"}]
    assert answer.headers["x-tollway-dropped"] == "input[].thought"
    sealed = {"type": "redacted_thinking", "data": label_sealed("openai_responses", "rs_1", "gAAA")}
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [sealed, {"type": "text", "text": "y"}]}]
    body = json.dumps({"model": CLAUDE, "max_tokens": 9, "messages": said}, separators=(",", ":")).encode()
    await gateway.ask(path="/v1/messages", body=body)
    assert sent(gateway)["messages"][1]["content"] == [{"type": "text", "text": "y"}]


@EVERYWHERE
async def test_an_error_is_one_that_the_sdk_raises(gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str) -> None:
    said = {"error": {"type": "rate_limit_error", "message": "Slow down.", "code": "rate_limit_exceeded"}}
    gateway.upstream.reply_to(None, FakeReply.json(said, status=429))
    with pytest.raises(openai.RateLimitError, match="Slow down"):
        await sdk.responses.create(model=model, input="Hi", extra_body={"num_retries": 0})


@EVERYWHERE
async def test_a_stream_without_an_end_is_an_error_and_no_answer(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    def cut(request: FakeRequest) -> FakeReply:
        whole = Say("Hello you")(request).parts
        return FakeReply.stream(*whole[: 4 if request.path == "/v1/messages" else 1 if "chat" in request.path else 4])

    gateway.upstream.reply_to(None, cut)
    seen = []

    async def listen() -> None:
        async for event in await sdk.responses.create(model=model, input="Hi", stream=True):
            seen.append(event.type)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(openai.APIError):
        await listen()
    assert "response.completed" not in seen


# --- what is kept ------------------------------------------------------------------------------------------------------


@TRANSLATED
async def test_a_conversation_goes_on_from_what_is_kept_here(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    gateway.upstream.reply_to(None, Say("My name is Ada", thought="Hm."))
    first = await sdk.responses.create(model=model, input="Who are you?", instructions="Only for the first.")
    assert first.store is True
    gateway.upstream.reply_to(None, Say("Ada"))
    second = await sdk.responses.create(model=model, input="Again?", previous_response_id=first.id)
    said = json.dumps(sent(gateway))
    assert said.index("Who are you?") < said.index("My name is Ada") < said.index("Again?")
    assert "Only for the first." not in said
    assert second.previous_response_id == first.id
    async for _ in await sdk.responses.create(
        model=model, input="Thrice?", previous_response_id=second.id, stream=True
    ):
        pass
    assert json.dumps(sent(gateway)).count("Who are you?") == 1
    assert "Again?" in json.dumps(sent(gateway))


@TRANSLATED
async def test_what_is_kept_can_be_asked_for_and_deleted(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    gateway.upstream.reply_to(None, Say("Hello"))
    made = await sdk.responses.create(model=model, input="Hi")
    assert (await sdk.responses.retrieve(made.id)).output_text == "Hello"
    items = await sdk.responses.input_items.list(made.id)
    assert [item.content[0].text for item in items.data] == ["Hi"]  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await sdk.responses.cancel(made.id)
    await sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match="not found") as caught:
        await sdk.responses.create(model=model, input="Hi", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"
    assert len(gateway.upstream.requests) == 1


@EVERYWHERE
async def test_what_is_not_to_be_stored_is_not_kept(gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str) -> None:
    gateway.upstream.reply_to(None, Say("Hello"))
    made = await sdk.responses.create(model=model, input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(made.id)
    await asyncio.to_thread(gateway.app.kept.close)  # type: ignore[union-attr]
    assert not list((gateway.directory / "responses").glob("*/*"))


@EVERYWHERE
async def test_nobody_else_gets_what_a_key_had_kept(gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str) -> None:
    gateway.upstream.reply_to(None, Say("Secret"))
    made = await sdk.responses.create(model=model, input="Hi")
    async with sdk_of(gateway, await gateway.make_key("sk-somebody-else")) as other:
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve(made.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.delete(made.id)
        with pytest.raises(openai.BadRequestError, match="not found"):
            await other.responses.create(model=model, input="Hi", previous_response_id=made.id)
    assert len(gateway.upstream.requests) == 1


async def test_keys_of_one_team_share_what_is_kept(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, Say("Ours"))
    one, two = await gateway.make_key("sk-one-of-us", team_id="t"), await gateway.make_key("sk-two-of-us", team_id="t")
    made = await sdk_of(gateway, one).responses.create(model=CLAUDE, input="Hi")
    assert (await sdk_of(gateway, two).responses.retrieve(made.id)).output_text == "Ours"


async def test_what_was_kept_outlives_the_gateway(tmp_path: Path) -> None:
    upstream = FakeUpstream(FakeClock())
    upstream.reply_to(None, Say("Ada"))
    async with SmallGateway(tmp_path, models(), upstream=upstream) as before:
        made = await sdk_of(before, await before.make_key()).responses.create(model=CLAUDE, input="Hi")
    async with SmallGateway(tmp_path, models(), upstream=upstream) as after:
        key = await after.make_key()
        again = await sdk_of(after, key).responses.create(model=PLAIN, input="?", previous_response_id=made.id)
        assert again.output_text == "Ada"
        assert "Ada" in json.dumps(upstream.requests[-1].json()["messages"])


# --- natively ----------------------------------------------------------------------------------------------------------


async def test_an_id_that_a_provider_made_goes_to_the_deployment_that_made_it(tmp_path: Path) -> None:
    prices = {"input_cost_per_token": "0", "output_cost_per_token": "0"}
    two = [
        model_entry(
            NATIVE,
            provider_model="openai/gpt-5",
            api_base=None,
            api_key=Secret(f"sk-account-{number}"),
            place=f"{number}",
            prices=prices,
        )
        for number in (1, 2)
    ]
    async with SmallGateway(tmp_path, two) as gateway:
        client = sdk_of(gateway, await gateway.make_key())
        for number in range(6):
            gateway.upstream.reply_to(None, FakeReply.json(Say("Hi").response(f"resp_{number}")))
            made = await client.responses.create(model=NATIVE, input="Hi")
            maker = gateway.upstream.requests[-1].headers["authorization"]
            gateway.upstream.reply_to(None, FakeReply.json(Say("Again").response("resp_next")))
            await client.responses.create(model=NATIVE, input="?", previous_response_id=made.id)
            asked = gateway.upstream.requests[-1]
            assert (asked.json()["previous_response_id"], asked.headers["authorization"]) == (made.id, maker)
            assert asked.json()["input"] == "?"
            gateway.upstream.reply_to(None, FakeReply.json(Say("Hi").response(made.id)))
            got = await client.responses.retrieve(made.id, include=["reasoning.encrypted_content"])
            asked = gateway.upstream.requests[-1]
            assert (asked.method, asked.path, asked.headers["authorization"]) == (
                "GET",
                f"/v1/responses/{made.id}",
                maker,
            )
            assert asked.query == {"include[]": ["reasoning.encrypted_content"]}
            assert got.model == NATIVE
            await client.responses.delete(made.id)
            assert gateway.upstream.requests[-1].method == "DELETE"
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(made.id)


async def test_a_native_request_keeps_its_bytes(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, Say("Hi"))
    body = b'{"model":"native","input":[{"role":"user","content":"x"}],"novel":{"x" : 1.0},"prompt":{"id":"p"}}'
    await gateway.ask(path="/v1/responses", body=body)
    assert b'"novel":{"x" : 1.0}' in gateway.upstream.requests[-1].body
    await gateway.ask(path="/v1/responses", body=b'{"model":"native","prompt":{"id":"p"}}')
    assert "input" not in sent(gateway)


async def test_what_goes_on_in_the_background_is_paid_for_when_it_is_seen_to_end(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI
) -> None:
    queued = {**Say("").response(), "status": "queued", "usage": None}
    gateway.upstream.reply_to(None, FakeReply.json(queued))
    made = await sdk.responses.create(model=NATIVE, input="Think long.", background=True)
    assert made.status == "queued"
    gateway.upstream.reply_to(None, FakeReply.json(Say("Done").response()))
    for _ in range(2):
        assert (await sdk.responses.retrieve(made.id)).output_text == "Done"
    gateway.upstream.reply_to(None, FakeReply.json({**Say("").response(), "status": "cancelled"}))
    assert (await sdk.responses.cancel(made.id)).status == "cancelled"
    asked = gateway.upstream.requests[-1]
    assert (asked.method, asked.path) == ("POST", f"/v1/responses/{made.id}/cancel")
    first, second, third, last = await gateway.records()
    assert last.cost.total == 0
    assert first.cost.total + second.cost.total == 120_000
    assert (third.cost.total, second.usage.output) == (0, 10)  # type: ignore[union-attr]


@TRANSLATED
async def test_the_background_is_refused_where_nobody_has_one(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="does not answer in the background"):
        await sdk.responses.create(model=model, input="x", background=True)
    assert not gateway.upstream.requests


@TRANSLATED
async def test_conversations_that_openai_keeps_are_refused_by_name(
    gateway: SmallGateway, sdk: openai.AsyncOpenAI, model: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="'conversation'"):
        await sdk.responses.create(model=model, input="x", conversation="conv_1")


@pytest.mark.parametrize("path", ["/responses", "/v1/responses", "/openai/responses", "/openai/v1/responses"])
@pytest.mark.parametrize("header", ["authorization", "api-key"])
async def test_each_sdk_finds_its_path_and_shows_its_key_its_own_way(
    gateway: SmallGateway, path: str, header: str
) -> None:
    gateway.upstream.reply_to(None, Say("Hi"))
    key = await gateway.make_key()
    shown = f"Bearer {key}" if header == "authorization" else key
    body = json.dumps({"model": CLAUDE, "input": "x"}).encode()
    answer = await gateway.ask(key=None, path=path, headers={header: shown}, body=body)
    assert answer.status == 200
    made = answer.json()["id"]
    answer = await gateway.ask(key=None, path=f"{path}/{made}", method="GET", headers={header: shown}, body=b"")
    assert answer.json()["id"] == made
    assert (await gateway.ask(key=None, path=f"{path}/{made}", method="GET", body=b"")).status == 401


async def test_a_page_of_items_follows_another(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, Say("Hi"))
    key = await gateway.make_key()
    said = [{"role": "user", "content": f"{number}"} for number in range(5)]
    made = (
        await gateway.ask(key=key, path="/v1/responses", body=json.dumps({"model": CLAUDE, "input": said}).encode())
    ).json()

    async def page(query: bytes) -> Any:
        exchange = gateway.begin(
            key=key, path=f"/v1/responses/{made['id']}/input_items", method="GET", body=b"", query=query
        )
        return (await exchange.done()).json()

    first = await page(b"limit=2&order=asc")
    assert ([item["content"] for item in first["data"]], first["has_more"]) == (["0", "1"], True)
    rest = await page(b"limit=9&order=asc&after=" + first["last_id"].encode())
    assert ([item["content"] for item in rest["data"]], rest["has_more"]) == (["2", "3", "4"], False)


# --- the WebSocket -----------------------------------------------------------------------------------------------------


class Socket:
    """A client's side of a WebSocket over plain ASGI."""

    def __init__(self, gateway: SmallGateway, key: str | None, path: str = "/v1/responses") -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        headers = [(b"authorization", b"Bearer " + key.encode())] if key else []
        scope = {"type": "websocket", "path": path, "headers": headers, "client": ("203.0.113.9", 1), "query_string": b"",
                 "extensions": {"websocket.http.response": {}}}  # fmt: skip
        self.sent.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.get_running_loop().create_task(gateway.app(scope, self.sent.get, self.got.put))

    def say(self, type: str = "response.create", **fields: Any) -> None:
        self.sent.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": type, **fields})})

    async def hear(self) -> dict[str, Any]:
        message = await self.got.get()
        assert message["type"] == "websocket.send", message
        heard: dict[str, Any] = json.loads(message["text"])
        return heard

    async def until(self, done: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        heard = [await self.hear()]
        while not done(heard[-1]):
            heard.append(await self.hear())
        return heard

    async def response(self, **fields: Any) -> dict[str, Any]:
        self.say(**fields)
        heard = await self.until(lambda event: event["type"] in ("response.completed", "error"))
        last: dict[str, Any] = heard[-1].get("response", heard[-1])
        return last

    async def close(self) -> None:
        self.sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


@EVERYWHERE
async def test_a_websocket_carries_one_call_after_the_other_and_remembers_what_nobody_stores(
    gateway: SmallGateway, model: str
) -> None:
    gateway.upstream.reply_to(None, Say("Ada"))
    socket = Socket(gateway, await gateway.make_key())
    assert (await socket.got.get())["type"] == "websocket.accept"
    warm = await socket.response(
        model=model, input=[{"role": "user", "content": "Context"}], store=False, generate=False
    )
    assert (warm["status"], warm["output"]) == ("completed", [])
    assert not gateway.upstream.requests
    first = await socket.response(model=model, input="Who?", store=False, previous_response_id=warm["id"])
    assert first["output"][0]["content"][0]["text"].replace(" ", "") == "Ada"
    second = await socket.response(model=model, input="Again?", store=False, previous_response_id=first["id"])
    said = json.dumps(sent(gateway))
    assert said.index("Context") < said.index("Who?") < said.index("Ada") < said.index("Again?")
    assert "previous_response_id" not in said
    assert second["status"] == "completed"
    await socket.close()
    records = await gateway.records()
    assert [record.cost.total for record in records] == [0, 120_000, 120_000]


async def test_an_error_leaves_the_connection_open(gateway: SmallGateway) -> None:
    socket = Socket(gateway, await gateway.make_key())
    await socket.got.get()
    lost = await socket.response(model=CLAUDE, input="x", previous_response_id="resp_nobodys")
    assert (lost["status"], lost["error"]["code"]) == (400, "previous_response_not_found")
    gateway.upstream.reply_to(None, FakeReply.json({"error": {"message": "Slow down."}}, status=429))
    slow = await socket.response(model=CLAUDE, input="x", num_retries=0)
    assert (slow["type"], slow["status"]) == ("error", 429)
    for kind, said in (("response.steer", "Unknown type"), ("response.create", "background")):
        socket.say(kind, model=CLAUDE, input="x", background=True)
        assert said in (await socket.hear())["error"]["message"]
    socket.sent.put_nowait({"type": "websocket.receive", "text": "no json"})
    assert (await socket.hear())["type"] == "error"
    gateway.upstream.reply_to(None, Say("Hi"))
    socket.say("response.processed", response_id="resp_1")
    assert (await socket.response(model=CLAUDE, input="x"))["status"] == "completed"
    await socket.close()


async def test_nobody_unknown_opens_a_websocket(gateway: SmallGateway) -> None:
    socket = Socket(gateway, "sk-nobodys")
    await socket.task
    assert (await socket.got.get())["status"] == 401
    assert b"Invalid proxy server token" in (await socket.got.get())["body"]


async def test_a_client_that_leaves_its_websocket_ends_its_call_and_pays_for_it(gateway: SmallGateway) -> None:
    from tollway.testing.upstream import Gate

    gate = Gate()
    events = anthropic_events(Say("Hello you").anthropic())
    gateway.upstream.reply_to(None, FakeReply.stream(*events[:4], gate, *events[4:]))
    socket = Socket(gateway, await gateway.make_key())
    await socket.got.get()
    socket.say(model=CLAUDE, input="x")
    await socket.until(lambda event: event["type"] == "response.output_text.delta")
    await socket.close()
    assert gateway.upstream.requests[-1].closed
    (record,) = await gateway.records()
    assert (record.error_type, record.cost.total > 0) == ("client_gone", True)


async def test_a_client_that_says_too_much_at_once_is_hung_up_on(gateway: SmallGateway) -> None:
    from tollway.testing.upstream import Gate

    gateway.upstream.reply_to(None, FakeReply.stream(Gate()))
    socket = Socket(gateway, await gateway.make_key())
    await socket.got.get()
    for _ in range(12):
        socket.say(model=CLAUDE, input="x")
    await socket.task
    messages = [socket.got.get_nowait() for _ in range(socket.got.qsize())]
    assert messages[-1] == {"type": "websocket.close", "code": 1008}
