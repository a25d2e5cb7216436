"""OpenAI's SDK in front of providers that are asked in their own dialects: Cohere and Ollama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from tollway.calls import Secret, Usage
from tollway.config.settings import ModelEntry
from tollway.testing.gateway import MASTER_KEY, SmallGateway
from tollway.testing.upstream import FakeReply

PRICES = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000004"}
COHERE = ModelEntry(
    model_name="co",
    provider_model="cohere_chat/command-a-03-2025",
    api_key=Secret("sk-co"),
    api_base="http://co.example",
    prices=PRICES,
    place="co",
)
OLLAMA = ModelEntry(
    model_name="ol",
    provider_model="ollama_chat/qwen3",
    api_base="http://ol.example:11434",
    prices=PRICES,
    defaults={"num_ctx": 8192},
    place="ol",
)
ASK: Any = [{"role": "user", "content": "Weather?"}]


def client(gateway: SmallGateway) -> openai.AsyncOpenAI:
    transport = httpx.ASGITransport(app=gateway.app)
    base = "http://gateway.example/v1"
    http_client = httpx.AsyncClient(transport=transport, base_url=base)
    return openai.AsyncOpenAI(api_key=MASTER_KEY, base_url=base, http_client=http_client, max_retries=0)


def events(*objects: dict[str, Any]) -> list[bytes]:
    return [b"event: %b\ndata: %b\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in objects]


def lines(*objects: dict[str, Any]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in objects]


async def test_cohere_is_asked_in_its_own_words_and_charged_what_it_billed(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[COHERE]) as gateway:
        gateway.upstream.reply_to(
            "/v2/chat",
            FakeReply.json(
                {
                    "id": "r1",
                    "finish_reason": "COMPLETE",
                    "message": {"role": "assistant", "content": [{"type": "text", "text": "Rain."}]},
                    "usage": {
                        "billed_units": {"input_tokens": 5, "output_tokens": 3},
                        "tokens": {"input_tokens": 205, "output_tokens": 9},
                    },
                }
            ),
        )
        answer = await client(gateway).chat.completions.create(
            model="co", messages=ASK, max_tokens=50, top_p=0.5, extra_body={"safety_mode": "STRICT"}
        )
        assert (answer.choices[0].message.content, answer.model) == ("Rain.", "co")
        (sent,) = gateway.upstream.requests
        assert sent.headers["authorization"] == "Bearer sk-co"
        assert sent.json() == {
            "model": "command-a-03-2025",
            "messages": ASK,
            "max_tokens": 50,
            "p": 0.5,
            "safety_mode": "STRICT",
        }
        (record,) = await gateway.records()
        assert (record.usage, record.cost.total) == (Usage(input=5, output=3), 5 * 1_000 + 3 * 4_000)


async def test_cohere_s_stream_is_openai_s(tmp_path: Path) -> None:
    def piece(kind: str, **message: Any) -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": message}}

    async with SmallGateway(tmp_path, models=[COHERE]) as gateway:
        gateway.upstream.reply_to(
            "/v2/chat",
            FakeReply.stream(
                *events(
                    {"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant"}}},
                    piece("tool-plan-delta", tool_plan="I look."),
                    piece("tool-call-start", tool_calls={"id": "c1", "function": {"name": "look", "arguments": ""}}),
                    piece("tool-call-delta", tool_calls={"function": {"arguments": '{"a":1}'}}),
                    {
                        "type": "message-end",
                        "delta": {
                            "finish_reason": "TOOL_CALL",
                            "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 3}},
                        },
                    },
                )
            ),
        )
        stream = await client(gateway).chat.completions.create(model="co", messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert calls[0].function is not None
        assert (calls[0].id, calls[0].function.name) == ("c1", "look")
        assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"a":1}'
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 8
        assert gateway.upstream.requests[0].json()["stream"] is True


async def test_a_stream_of_cohere_s_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[COHERE]) as gateway:
        text = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Ra"}}}}
        end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "no luck"}}
        gateway.upstream.reply_to("/v2/chat", FakeReply.stream(*events(text, end)))
        stream = await client(gateway).chat.completions.create(model="co", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="no luck"):
            _ = [chunk async for chunk in stream]
        (record,) = await gateway.records()
        assert record.cost.total > 0


async def test_ollama_is_asked_in_its_own_words(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[OLLAMA]) as gateway:
        gateway.upstream.reply_to(
            "/api/chat",
            FakeReply.json(
                {
                    "model": "qwen3",
                    "message": {"role": "assistant", "content": "Rain.", "thinking": "Hm."},
                    "done": True,
                    "done_reason": "length",
                    "prompt_eval_count": 11,
                    "eval_count": 2,
                }
            ),
        )
        answer = await client(gateway).chat.completions.create(
            model="ol", messages=ASK, max_tokens=2, reasoning_effort="low", extra_body={"keep_alive": "1h"}
        )
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Rain.", "length")
        assert answer.choices[0].message.reasoning_content == "Hm."  # type: ignore[attr-defined]
        (sent,) = gateway.upstream.requests
        assert sent.json() == {
            "model": "qwen3",
            "messages": ASK,
            "stream": False,
            "think": True,
            "keep_alive": "1h",
            "options": {"num_predict": 2, "num_ctx": 8192},
        }
        (record,) = await gateway.records()
        assert record.usage == Usage(input=11, output=2)


async def test_ollama_s_lines_are_openai_s_events(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, models=[OLLAMA]) as gateway:
        said = lines(
            {"model": "qwen3", "message": {"content": "Ra"}, "done": False},
            {"model": "qwen3", "message": {"content": "in."}, "done": False},
            {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2},
        )
        gateway.upstream.reply_to("/api/chat", FakeReply.stream(*said, content_type="application/x-ndjson"))
        stream = await client(gateway).chat.completions.create(model="ol", messages=ASK, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Rain."
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 3
        (record,) = await gateway.records()
        assert (record.usage, record.streamed) == (Usage(input=1, output=2), True)


@pytest.mark.parametrize(
    ("provider_model", "base", "path", "sent_fields"),
    [
        (
            "cohere/embed-v4.0",
            "http://p.example",
            "/compatibility/v1/embeddings",
            {"input", "model", "encoding_format"},
        ),
        (
            "ollama/nomic",
            "http://p.example",
            "/v1/embeddings",
            {"input", "model", "encoding_format", "dimensions", "user"},
        ),
        (
            "voyage/voyage-3.5",
            "http://p.example/v1",
            "/v1/embeddings",
            {"input", "model", "encoding_format", "output_dimension"},
        ),
        (
            "jina_ai/jina-embeddings-v3",
            "http://p.example/v1",
            "/v1/embeddings",
            {"input", "model", "encoding_format", "dimensions", "user"},
        ),
    ],
)
async def test_embeddings_go_to_the_door_for_openai_s_clients(
    tmp_path: Path, provider_model: str, base: str, path: str, sent_fields: set[str]
) -> None:
    entry = ModelEntry(
        model_name="v", provider_model=provider_model, api_key=Secret("k"), api_base=base, prices=PRICES, place="v"
    )
    async with SmallGateway(tmp_path, models=[entry]) as gateway:
        reply = {"data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "usage": {"total_tokens": 4}}
        gateway.upstream.reply_to(path, FakeReply.json(reply))
        answer = await client(gateway).embeddings.create(model="v", input="a", dimensions=256, user="u")
        assert answer.data[0].embedding == [0.5]
        (sent,) = gateway.upstream.requests
        assert (sent.path, set(sent.json())) == (path, sent_fields)
        (record,) = await gateway.records()
        assert record.usage == Usage(input=4)
