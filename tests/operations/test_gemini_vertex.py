"""Vertex AI behind the whole gateway: each publisher's wire, and a token that comes with each request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tollway.calls import Usage
from tollway.providers import google_auth
from tollway.testing import FakeReply

PARAMS = "vertex_project: mine, vertex_location: europe-west4, vertex_credentials: /nowhere/key.json, api_base: http://vertex.test"
MODELS = f"""
    model_list:
      - model_name: gem
        litellm_params: {{model: vertex_ai/gemini-2.5-flash, {PARAMS}}}
      - model_name: claude
        litellm_params: {{model: vertex_ai/claude-opus-4-6, {PARAMS}}}
      - model_name: llama
        litellm_params: {{model: vertex_ai/meta/llama-3.3-70b-instruct-maas, {PARAMS}}}
      - model_name: mistral
        litellm_params: {{model: vertex_ai/mistral-medium-3@001, {PARAMS}}}
"""
PLACE = "/v1/projects/mine/locations/europe-west4"
GEMINI = f"{PLACE}/publishers/google/models/gemini-2.5-flash"
CLAUDE = f"{PLACE}/publishers/anthropic/models/claude-opus-4-6"
MISTRAL = f"{PLACE}/publishers/mistralai/models/mistral-medium-3@001"
LLAMA = f"{PLACE}/endpoints/openapi/chat/completions"

GOOGLE_SAYS = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 3,
        "candidatesTokenCount": 2,
        "totalTokenCount": 5,
        "trafficType": "ON_DEMAND",
    },
}
OPENAI_SAYS = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
ANTHROPIC_SAYS = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


class Credentials:
    token = "ya29.token"
    expiry = datetime(2100, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    quota_project_id = None


@pytest.fixture
async def table(open_table: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def load(identity: google_auth.Identity) -> Credentials:
        assert identity.path == "/nowhere/key.json"
        return Credentials()

    monkeypatch.setattr(
        google_auth.GoogleSigner.__init__,
        "__kwdefaults__",
        {**google_auth.GoogleSigner.__init__.__kwdefaults__, "load": load, "refresh": lambda credentials: None},
    )
    table = await open_table(MODELS)
    table.upstream.reply_to(f"{GEMINI}:generateContent", FakeReply.json(GOOGLE_SAYS))
    table.upstream.reply_to(f"{CLAUDE}:rawPredict", FakeReply.json(ANTHROPIC_SAYS))
    table.upstream.reply_to(f"{MISTRAL}:rawPredict", FakeReply.json(OPENAI_SAYS))
    table.upstream.reply_to(LLAMA, FakeReply.json(OPENAI_SAYS))
    return table


def asked_in(words: str, model: str) -> tuple[str, dict[str, Any]]:
    said = {"role": "user", "content": "Hi"}
    if words == "google":
        return f"/v1beta/models/{model}:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    if words == "anthropic":
        return "/v1/messages", {"model": model, "max_tokens": 20, "messages": [said]}
    return "/v1/chat/completions", {"model": model, "messages": [said]}


@pytest.mark.parametrize("words", ["openai", "anthropic", "google"])
@pytest.mark.parametrize("model", ["gem", "claude", "llama", "mistral"])
async def test_clients_of_every_kind_reach_models_of_every_publisher(table: Any, model: str, words: str) -> None:
    exchange = await table.post(*asked_in(words, model))
    assert exchange.status == 200, exchange.body
    assert b"Hello" in exchange.body
    (sent,) = table.upstream.requests
    assert sent.headers["authorization"] == "Bearer ya29.token"
    body = sent.json()
    assert body.get("anthropic_version") == ("vertex-2023-10-16" if model == "claude" else None)
    assert body.get("model") == {"llama": "meta/llama-3.3-70b-instruct-maas", "mistral": "mistral-medium-3"}.get(model)
    record = await table.record()
    assert (record.provider, record.usage) == ("vertex_ai", Usage(input=3, output=2))
    if model in ("gem", "claude"):
        assert record.cost.total > 0


async def test_streams_have_paths_of_their_own(table: Any) -> None:
    chunk = FakeReply.stream(b"data: " + json.dumps(GOOGLE_SAYS).encode() + b"\n\n")
    table.upstream.reply_to(f"{GEMINI}:streamGenerateContent", chunk)
    exchange = await table.post("/v1/chat/completions", {**asked_in("openai", "gem")[1], "stream": True})
    assert b'"content":"Hello"' in exchange.body
    message = {**ANTHROPIC_SAYS, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    said = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    table.upstream.reply_to(f"{CLAUDE}:streamRawPredict", FakeReply.stream(said))
    exchange = await table.post("/v1/messages", {**asked_in("anthropic", "claude")[1], "stream": True})
    assert b"text_delta" in exchange.body
    body = table.upstream.requests[-1].json()
    assert (body["stream"], body["anthropic_version"]) == (True, "vertex-2023-10-16")


async def test_tokens_are_counted_at_the_same_place(table: Any) -> None:
    table.upstream.reply_to(f"{GEMINI}:countTokens", FakeReply.json({"totalTokens": 4}))
    asked = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert (await table.post("/v1beta/models/gem:countTokens", asked)).json() == {"totalTokens": 4}
    assert table.upstream.requests[0].headers["authorization"] == "Bearer ya29.token"
    estimated = await table.post("/v1beta/models/claude:countTokens", asked)
    assert estimated.headers["x-tollway-estimated"] == "true"


async def test_no_credentials_is_an_outage_and_no_refusal_of_the_client(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(identity: google_auth.Identity) -> Credentials:
        raise FileNotFoundError(identity.path)

    for deployment in [each for model in table.app.snapshots.current.models.values() for each in model.deployments]:
        deployment.signer._load = load
    exchange = await table.post(*asked_in("google", "gem"))
    assert exchange.status == 503
    assert exchange.json()["error"]["status"] == "UNAVAILABLE"
    assert "/nowhere" not in exchange.body.decode()
    assert table.upstream.requests == []
