"""OpenAI's own SDK asks for text completions, of providers that have them and of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from tollway.calls import Secret, Usage
from tollway.config.settings import ModelEntry
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_event, chat_reply, chat_stream, model_entry
from tollway.testing.upstream import FakeReply

PRICES = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000004"}


def entry(provider_model: str, name: str = "text", **more: Any) -> ModelEntry:
    more.setdefault("api_base", "http://provider.example/v1")
    return ModelEntry(
        model_name=name, provider_model=provider_model, api_key=Secret("sk-theirs"), prices=PRICES, place=name, **more
    )


VLLM = entry("hosted_vllm/base-model")
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "theirs",
    "choices": [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


def text_event(text: str | None, *, index: int = 0, finish: str | None = None, usage: bool = False) -> bytes:
    import json

    chunk: dict[str, Any] = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "theirs"}
    chunk["choices"] = [] if usage else [{"text": text, "index": index, "logprobs": None, "finish_reason": finish}]
    if usage:
        chunk["usage"] = COMPLETION["usage"]
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


STREAM = FakeReply.stream(
    text_event("Hel"),
    text_event("lo"),
    text_event(None, finish="stop"),
    text_event(None, usage=True),
    b"data: [DONE]\n\n",
)


def client(gateway: SmallGateway, path: str = "/v1", key: str = MASTER_KEY) -> openai.AsyncOpenAI:
    transport = httpx.ASGITransport(app=gateway.app)
    base = "http://gateway.example" + path
    http_client = httpx.AsyncClient(transport=transport, base_url=base)
    return openai.AsyncOpenAI(api_key=key, base_url=base, http_client=http_client, max_retries=0)


@pytest.mark.parametrize("path", ["", "/v1", "/openai/v1", "/openai/deployments/text", "/engines/text"])
async def test_a_provider_with_text_completions_gets_them_as_they_are(tmp_path: Path, path: str) -> None:
    async with SmallGateway(tmp_path, models=[VLLM]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(COMPLETION))
        answer = await client(gateway, path).completions.create(
            model="text", prompt=[1, 2, 3], suffix="x", echo=True, best_of=2, logprobs=3, max_tokens=7, user="mara"
        )
        assert (answer.choices[0].text, answer.model, answer.id) == ("Hello", "text", "cmpl-1")
        (sent,) = gateway.upstream.requests
        assert sent.path == "/v1/completions"
        assert sent.json() == {
            "model": "base-model",
            "prompt": [1, 2, 3],
            "suffix": "x",
            "echo": True,
            "best_of": 2,
            "logprobs": 3,
            "max_tokens": 7,
            "user": "mara",
        }
        (record,) = await gateway.records()
        assert (record.call_type, record.end_user) == ("atext_completion", "mara")
        assert record.usage == Usage(input=10, output=5)
        assert record.cost.total == 10 * 1_000 + 5 * 4_000


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_stream_comes_as_it_is_without_a_null_and_with_usage_where_it_was_asked_for(
    tmp_path: Path, wanted: bool
) -> None:
    async with SmallGateway(tmp_path, models=[VLLM]) as gateway:
        gateway.upstream.reply_to(None, STREAM)
        options: Any = {"stream_options": {"include_usage": True}} if wanted else {}
        stream = await client(gateway).completions.create(model="text", prompt="Say hello", stream=True, **options)
        chunks = [chunk async for chunk in stream]
        assert gateway.upstream.requests[0].json()["stream_options"] == {"include_usage": True}
        assert {chunk.object for chunk in chunks} == {"text_completion"}
        assert [choice.text for chunk in chunks for choice in chunk.choices] == ["Hel", "lo", ""]
        assert [len(chunk.choices) for chunk in chunks] == ([1, 1, 1, 0] if wanted else [1, 1, 1])
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 15
        assert chunks[-1].usage.cost == 0.00003
        (record,) = await gateway.records()
        assert (record.usage, record.streamed) == (Usage(input=10, output=5), True)


async def test_a_stream_of_several_prompts_ends_when_the_last_of_all_choices_did(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[VLLM]) as gateway:
        events = [text_event(str(index), index=index, finish="length") for index in range(4)]
        gateway.upstream.reply_to(None, FakeReply.stream(*events, text_event(None, usage=True), b"data: [DONE]\n\n"))
        stream = await client(gateway).completions.create(model="text", prompt=["a", "b"], n=2, stream=True)
        chunks = [chunk async for chunk in stream]
        assert [chunk.choices[0].index for chunk in chunks] == [0, 1, 2, 3]
        assert chunks[3].usage is not None


async def test_a_chat_model_is_asked_as_a_user_would_and_answers_as_a_completion(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[model_entry("text")]) as gateway:
        gateway.upstream.reply_to(None, chat_reply("Hello", output_tokens=5))
        answer = await client(gateway).completions.create(
            model="text", prompt="Say hello", max_tokens=9, stop=["\n"], temperature=0.5, best_of=1, echo=False
        )
        assert (answer.object, answer.choices[0].text, answer.model) == ("text_completion", "Hello", "text")
        assert answer.choices[0].finish_reason == "stop"
        (sent,) = gateway.upstream.requests
        assert sent.path == "/v1/chat/completions"
        body = sent.json()
        assert body["messages"] == [{"role": "user", "content": "Say hello"}]
        assert (body["max_tokens"], body["stop"], body["temperature"]) == (9, ["\n"], 0.5)
        (record,) = await gateway.records()
        assert record.cost.total == 5 * 4_000


async def test_a_stream_of_a_chat_model_is_a_stream_of_text(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[model_entry("text")]) as gateway:
        gateway.upstream.reply_to(None, chat_stream("Hel", "lo", output_tokens=5))
        stream = await client(gateway).completions.create(model="text", prompt="Say hello", stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "Hello"
        assert {chunk.object for chunk in chunks} == {"text_completion"}
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 5


async def test_what_breaks_a_stream_is_an_error_in_it_and_no_end_mark(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[model_entry("text")]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.stream(chat_event("Hel"), b"data: {\n\n"))
        stream = await client(gateway).completions.create(model="text", prompt="Say hello", stream=True)
        with pytest.raises(openai.APIError):
            _ = [chunk async for chunk in stream]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a", "suffix": "b", "extra_body": {"drop_params": False}}, "suffix"),
        ({"prompt": "a", "echo": True, "extra_body": {"drop_params": False}}, "echo"),
        ({"prompt": "a", "best_of": 3, "extra_body": {"drop_params": False}}, "best_of"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "best_of": 100_000}, "best_of"),
    ],
)
async def test_what_no_chat_can_be_asked_for_is_refused_by_its_name(
    tmp_path: Path, asked: dict[str, Any], param: str
) -> None:
    async with SmallGateway(tmp_path, models=[model_entry("text")]) as gateway:
        with pytest.raises(openai.BadRequestError) as caught:
            await client(gateway).completions.create(model="text", **asked)
        assert caught.value.param == param
        assert gateway.upstream.requests == []


async def test_what_is_dropped_is_told(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[model_entry("text")]) as gateway:
        gateway.upstream.reply_to(None, chat_reply("Hello"))
        raw = await client(gateway).completions.with_raw_response.create(model="text", prompt="a", suffix="b")
        assert raw.headers["x-tollway-dropped"] == "suffix"


@pytest.mark.parametrize(
    ("more", "written"),
    [({}, 1), ({"n": 3}, 3), ({"best_of": 4, "n": 2}, 4), ({"prompt": ["ab", "cd"]}, 2), ({"prompt": [[1], [2]]}, 2)],
)
async def test_the_hold_covers_all_that_is_written_shown_or_not(
    tmp_path: Path, more: dict[str, Any], written: int
) -> None:
    async with SmallGateway(tmp_path, models=[VLLM]) as gateway:
        key = await gateway.make_key(max_budget_nano=1_000_000_000)
        gateway.upstream.reply_to(None, FakeReply.json(COMPLETION))
        asked: Any = {"prompt": "ab", "max_tokens": 100, **more}
        await client(gateway, key=key).completions.create(model="text", **asked)
        (record,) = await gateway.records()
        assert 100 * 4_000 * written <= record.held_nano < 100 * 4_000 * written + 1_000_000


async def test_a_chat_client_reaches_a_model_of_text_completions(tmp_path: Path) -> None:
    model = entry("text-completion-openai/gpt-3.5-turbo-instruct")
    async with SmallGateway(tmp_path, models=[model]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(COMPLETION))
        answer = await client(gateway).chat.completions.create(
            model="text", messages=[{"role": "user", "content": "Say hello"}]
        )
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello", "stop")
        (sent,) = gateway.upstream.requests
        assert sent.path == "/v1/completions"
        assert sent.json() == {"model": "gpt-3.5-turbo-instruct", "prompt": "Say hello", "max_tokens": 1024}


async def test_a_chat_client_streams_from_a_model_of_text_completions(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[entry("text-completion-openai/gpt-3.5-turbo-instruct")]) as gateway:
        gateway.upstream.reply_to(None, STREAM)
        messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello"}]
        stream = await client(gateway).chat.completions.create(model="text", messages=messages, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
        body = gateway.upstream.requests[0].json()
        assert body["prompt"] == "System: Be brief.\n\nUser: Say hello\n\nAssistant:"
        assert body["stop"] == ["\n\nUser:"]


@pytest.mark.parametrize("stream", [False, True])
async def test_codestral_fills_in_the_middle_and_its_chat_comes_back_as_text(tmp_path: Path, stream: bool) -> None:
    model = entry("text-completion-codestral/codestral-latest", api_base="http://codestral.example/v1")
    async with SmallGateway(tmp_path, models=[model]) as gateway:
        gateway.upstream.reply_to(None, chat_stream("a + ", "b") if stream else chat_reply("a + b"))
        asked: Any = {"prompt": "def add(a, b): return ", "suffix": "\n", "seed": 7, "user": "u"}
        if stream:
            chunks = [c async for c in await client(gateway).completions.create(model="text", stream=True, **asked)]
            text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
        else:
            text = (await client(gateway).completions.create(model="text", **asked)).choices[0].text
        assert text == "a + b"
        (sent,) = gateway.upstream.requests
        assert sent.path == "/v1/fim/completions"
        expected = {"model": "codestral-latest", "prompt": "def add(a, b): return ", "suffix": "\n", "random_seed": 7}
        assert sent.json() == (expected | {"stream": True} if stream else expected)


async def test_inception_s_fill_in_the_middle_passes(tmp_path: Path) -> None:
    model = entry("text-completion-inception/mercury-edit-2", api_base="http://inception.example/v1")
    async with SmallGateway(tmp_path, models=[model]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(COMPLETION))
        await client(gateway).completions.create(model="text", prompt="a", suffix="b")
        (sent,) = gateway.upstream.requests
        assert sent.path == "/v1/fim/completions"
        assert sent.json() == {"model": "mercury-edit-2", "prompt": "a", "suffix": "b"}


async def test_azure_s_text_completions_go_to_the_deployment(tmp_path: Path) -> None:
    model = entry("azure_text/mine", api_base="http://azure.example", api_version="2024-10-21")
    async with SmallGateway(tmp_path, models=[model]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(COMPLETION))
        await client(gateway).completions.create(model="text", prompt="a")
        (sent,) = gateway.upstream.requests
        assert sent.path == "/openai/deployments/mine/completions"
        assert sent.headers["api-key"] == "sk-theirs"
