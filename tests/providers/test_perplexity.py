from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

ASKED_AT = "/v1/responses"
FOUND: dict[str, Any] = {
    "type": "search_results",
    "queries": ["capital of France"],
    "results": [
        {"id": 1, "url": "https://a.example/", "title": "A", "snippet": "Paris it is.", "source": "web"},
        {"id": 2, "url": "https://b.example/", "title": "B", "snippet": "Also Paris.", "source": "web"},
    ],
}
SAID: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Paris.", "annotations": []}],
}
#: https://docs.perplexity.ai/docs/agent-api/output-control (2026-11-22)
USAGE: dict[str, Any] = {
    "input_tokens": 1000,
    "output_tokens": 100,
    "total_tokens": 1100,
    "input_tokens_details": {"cache_read_input_tokens": 400, "cache_creation_input_tokens": 0},
    "tool_calls_details": {"search_web": {"invocation": 2}},
    "cost": {"currency": "USD", "input_cost": 0.00015, "output_cost": 0.00025, "total_cost": 0.005425},
}
#: 600 tokens in, 400 from the cache, 100 out, of Sonar, and two searches.
COST = 600 * 250 + 25_000 + 100 * 2_500 + 2 * 2_500_000


def response(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "perplexity/sonar",
        "status": status,
        "output": list(output),
        "usage": USAGE,
        **more,
    }


def perplexity(model: str = "sonar", **changes: Any) -> ModelEntry:
    settings = {"retries": 0, **changes}
    return ModelEntry(model_name="small", provider_model=f"perplexity/{model}", api_key=Secret("pplx-k"), **settings)


async def sent_for(tmp_path: Path, model: str = "sonar", **fields: Any) -> tuple[dict[str, Any], str]:
    """What goes out for a chat completion, and what was left out."""
    async with SmallGateway(tmp_path, [perplexity(model, unpriced_allowed=True)]) as gateway:
        gateway.upstream.reply_to(ASKED_AT, FakeReply.json(response(SAID)))
        answer = await gateway.ask(**fields)
        assert answer.status == 200, answer.json()
        sent: dict[str, Any] = gateway.upstream.requests[0].json()
        assert sent.pop("store") is False
        assert sent.pop("input")
        return sent, answer.headers.get("x-tollway-dropped", "")


async def test_sonar_searches_and_its_searches_are_counted(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [perplexity()]) as gateway:
        gateway.upstream.reply_to(ASKED_AT, FakeReply.json(response(FOUND, SAID)))
        answer = await gateway.ask(max_tokens=50)
        message = answer.json()["choices"][0]["message"]
        assert message["content"] == "Paris."
        assert [one["url_citation"]["url"] for one in message["annotations"]] == [
            "https://a.example/",
            "https://b.example/",
        ]
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == "api.perplexity.ai"
        assert sent.headers["authorization"] == "Bearer pplx-k"
        body = sent.json()
        assert (body["model"], body["tools"], body["max_output_tokens"]) == (
            "perplexity/sonar",
            [{"type": "web_search"}],
            50,
        )
        record = (await gateway.records())[0]
        assert record.usage is not None
        assert (record.usage.searches, record.usage.cache_read) == (2, 400)
        assert record.cost.total == COST


async def test_a_stream_tells_its_sources_at_its_end(tmp_path: Path) -> None:
    """https://docs.perplexity.ai/docs/agent-api/streaming (2026-11-22): no event lines, no end mark."""
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(status="in_progress", usage=None)},
        {"type": "response.reasoning.started", "thought": "..."},
        {"type": "response.reasoning.search_results", "results": FOUND["results"]},
        {"type": "response.output_item.done", "output_index": 0, "item": FOUND},
        {"type": "response.output_item.added", "output_index": 1, "item": {**SAID, "content": []}},
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 1,
            "content_index": 0,
            "delta": "Par",
        },
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 1,
            "content_index": 0,
            "delta": "is.",
        },
        {"type": "response.output_item.done", "output_index": 1, "item": SAID},
        {"type": "response.completed", "response": response(FOUND, SAID)},
    ]
    async with SmallGateway(tmp_path, [perplexity()]) as gateway:
        wire = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events)
        gateway.upstream.reply_to(ASKED_AT, FakeReply.stream(wire))
        answer = await gateway.ask(stream=True)
        assert answer.text == "Paris."
        assert b"https://a.example/" in answer.body
        assert (await gateway.records())[0].cost.total == COST


async def test_clients_of_responses_have_their_bytes_passed(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [perplexity("openai/gpt-5")]) as gateway:
        gateway.upstream.reply_to(ASKED_AT, FakeReply.json(response(FOUND, SAID)))
        body = b'{"model":"small","input":"Hi","max_steps":3,"prompt_cache_key":"k","include":["reasoning.encrypted_content"]}'
        answer = await gateway.ask(path="/v1/responses", body=body)
        assert answer.json()["output"] == [FOUND, SAID]
        sent = gateway.upstream.requests[0].json()
        assert (sent["model"], sent["input"], sent["max_steps"]) == ("openai/gpt-5", "Hi", 3)
        assert not {"prompt_cache_key", "include"} & sent.keys()
        assert answer.headers["x-tollway-dropped"] == "prompt_cache_key"
        assert (await gateway.records())[0].usage.searches == 2  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("sonar-pro", {"model": "perplexity/sonar", "tools": [{"type": "web_search"}]}),
        ("sonar-reasoning-pro", {"preset": "low"}),
        ("sonar-deep-research", {"preset": "medium"}),
        ("preset/pro-search", {"preset": "pro-search"}),
        ("openai/gpt-5", {"model": "openai/gpt-5"}),
        ("anthropic/claude-sonnet-4-6", {"model": "anthropic/claude-sonnet-4-6", "max_output_tokens": 4096}),
    ],
)
async def test_old_names_and_presets_are_said_as_they_are_today(
    model: str, said: dict[str, Any], tmp_path: Path
) -> None:
    assert await sent_for(tmp_path, model) == (said, "")


SCHEMA = {"type": "object", "properties": {}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
WRITTEN = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}


@pytest.mark.parametrize(
    ("asked", "said", "dropped"),
    [
        (
            {"web_search_options": {"search_context_size": "high"}},
            {"tools": [{"type": "web_search", "search_context_size": "high"}]},
            "",
        ),
        (
            {"search_domain_filter": ["who.int", "-x.com"], "search_recency_filter": "week", "num_search_results": 5},
            {
                "tools": [
                    {
                        "type": "web_search",
                        "max_results": 5,
                        "filters": {"search_domain_filter": ["who.int", "-x.com"], "search_recency_filter": "week"},
                    }
                ]
            },
            "",
        ),
        ({"disable_search": True}, {}, ""),
        ({"tools": [FUNCTION]}, {"tools": [WRITTEN]}, ""),
        ({"tools": [FUNCTION], "search_recency_filter": "day"}, {"tools": [WRITTEN]}, "search_recency_filter"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}}},
            {
                "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}},
                "tools": [{"type": "web_search"}],
            },
            "",
        ),
        (
            {"response_format": {"type": "json_object"}, "stop": "x", "user": "u"},
            {"tools": [{"type": "web_search"}]},
            "stop,response_format,user",
        ),
        ({"return_images": True, "max_steps": 3}, {"max_steps": 3, "tools": [{"type": "web_search"}]}, "return_images"),
    ],
)
async def test_what_chat_completions_were_told_stands_where_it_stands_now(
    asked: dict[str, Any], said: dict[str, Any], dropped: str, tmp_path: Path
) -> None:
    sent, left_out = await sent_for(tmp_path, **asked)
    assert sent.pop("model") == "perplexity/sonar"
    form = sent.get("response_format")
    if form is not None:
        form["json_schema"].pop("strict", None)
    assert (sent, left_out.replace(" ", "")) == (said, dropped)


async def test_how_much_to_think_is_said_without_what_else_openai_has(tmp_path: Path) -> None:
    sent, _ = await sent_for(tmp_path, "acme/thinker", reasoning_effort="low")
    assert sent == {"model": "acme/thinker", "reasoning": {"effort": "low"}}


@pytest.mark.parametrize(
    ("reply", "status", "said"),
    [
        (FakeReply.json(response(status="failed", error={"message": "boom", "type": "internal_error"})), 500, "boom"),
        (
            FakeReply.json({"error": {"message": "unknown field", "type": "invalid_request", "code": 400}}, 400),
            400,
            "field",
        ),
        (FakeReply.json({"error": {"message": "no", "type": "forbidden", "code": 401}}, 401), 503, "refused"),
        (FakeReply.json({"error": {"message": "slow", "type": "request_rate_limit_exceeded"}}, 429), 429, "slow"),
    ],
)
async def test_errors_are_told(reply: FakeReply, status: int, said: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [perplexity()]) as gateway:
        gateway.upstream.reply_to(ASKED_AT, reply)
        answer = await gateway.ask()
        assert answer.status == status
        assert said in answer.json()["error"]["message"]
