from __future__ import annotations

from typing import Any

import pytest

from tollway.calls import Usage
from tollway.testing import FakeReply

VECTORS = (
    b'{"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1,  -2e-3, 1.0]}], '
    b'"model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}, "more": {"a" : 1}}'
)


@pytest.mark.parametrize("path", ["/embeddings", "/v1/embeddings", "/openai/v1/embeddings"])
async def test_only_the_model_changes_on_the_way_there_and_back(table: Any, path: str) -> None:
    table.upstream.reply_to("/v1/embeddings", FakeReply.json(VECTORS))
    answer = await table.post(
        path, b'{"input": ["a",  "\\u00e9"], "model": "vectors", "dimensions": 3, "odd": [1, {}]}'
    )
    (sent,) = table.upstream.requests
    assert (sent.method, sent.path) == ("POST", "/v1/embeddings")
    assert sent.body == b'{"input":["a",  "\\u00e9"],"model":"text-embedding-3-small","dimensions":3,"odd":[1, {}]}'
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["authorization"] == "Bearer sk-theirs"
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["model"] == "vectors"
    assert b'[{"object": "embedding", "index": 0, "embedding": [0.1,  -2e-3, 1.0]}]' in answer.body
    assert b'{"a" : 1}' in answer.body


async def test_the_record_holds_usage_and_cost(table: Any) -> None:
    table.upstream.reply_to("/v1/embeddings", FakeReply.json(VECTORS))
    await table.post("/v1/embeddings", {"model": "vectors", "input": "hello", "user": "mara"})
    record = await table.record()
    assert record.call_type == "aembedding"
    assert record.usage == Usage(input=8)
    assert record.usage_source == "provider"
    assert record.cost.total == 8 * 20  # $0.02 for a million tokens
    assert record.end_user == "mara"


async def test_a_reply_without_usage_is_charged_by_the_bytes_of_its_input_and_marked(table: Any) -> None:
    table.upstream.reply_to("/v1/embeddings", FakeReply.json({"data": [{"embedding": [1]}]}))
    await table.post("/v1/embeddings", {"model": "vectors", "input": "hello you"})
    record = await table.record()
    assert (record.usage, record.usage_source) == (Usage(input=6), "estimated")


async def test_a_reply_that_counts_all_its_tokens_together_is_read_as_input(table: Any) -> None:
    table.upstream.reply_to("/v1/embeddings", FakeReply.json({"data": [{}], "usage": {"total_tokens": 9}}))
    await table.post("/v1/embeddings", {"model": "vectors", "input": "hello"})
    assert (await table.record()).usage == Usage(input=9)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        (b'"abcdef"', 4),
        (b'["ab","cd"]', 6),
        (b"[1,2,30000]", 3),
        (b"[[1,2],[100257]]", 3),
        (b'"data:image/png;base64,' + b"A" * 1_000_000 + b'"', 8191 + 1),
    ],
)
async def test_the_hold_is_an_upper_bound_of_the_input(table: Any, given: bytes, tokens: int) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000)
    table.upstream.reply_to("/v1/embeddings", FakeReply.json(VECTORS))
    answer = await table.post("/v1/embeddings", b'{"model":"vectors","input":%b}' % given, key=key)
    assert answer.status == 200
    assert (await table.record()).held_nano == tokens * 20


async def test_a_call_that_a_budget_has_no_room_for_is_refused_and_never_shortened(table: Any) -> None:
    key = await table.give_key(max_budget_nano=4 * 20 - 1)
    answer = await table.post("/v1/embeddings", {"model": "vectors", "input": "abcdef"}, key=key)
    assert answer.status == 422
    assert answer.json()["error"]["type"] == "budget_exceeded"
    assert table.upstream.requests == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"input": "a"}', "model"),
        (b'{"model": "vectors"}', "input"),
        (b'{"model": "vectors", "input": "a", "model": "chat"}', "request_body"),
        (b'{"model": 7, "input": "a"}', "model"),
    ],
)
async def test_what_cannot_be_understood_is_a_400_that_names_it(table: Any, body: bytes, param: str) -> None:
    answer = await table.post("/v1/embeddings", body)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == param
    assert table.upstream.requests == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (FakeReply.json(b"<html>"), 502),
        (FakeReply.json({"data": []}), 502),
        (FakeReply.json({"error": {"message": "too many tokens", "code": 400}}), 400),
        (FakeReply.json({"error": {"message": "slow down"}}, status=429), 429),
    ],
)
async def test_what_is_no_list_of_vectors_is_a_failure(table: Any, reply: FakeReply, status: int) -> None:
    table.upstream.reply_to("/v1/embeddings", reply)
    answer = await table.post("/v1/embeddings", {"model": "vectors", "input": "a"})
    assert answer.status == status
    assert (await table.record()).cost.total == 0


async def test_fields_for_the_gateway_are_consumed_and_addresses_refused(table: Any) -> None:
    table.upstream.reply_to("/v1/embeddings", FakeReply.json(VECTORS))
    await table.post(
        "/v1/embeddings",
        {"model": "vectors", "input": "a", "metadata": {"tags": ["x"]}, "litellm_session_id": "s", "timeout": 5},
    )
    assert table.upstream.requests[0].json() == {"model": "text-embedding-3-small", "input": "a"}
    record = await table.record()
    assert (record.tags, record.session_id) == (("x",), "s")
    refused = await table.post("/v1/embeddings", {"model": "vectors", "input": "a", "api_base": "http://evil"})
    assert refused.status == 401


async def test_the_settings_of_a_deployment_have_effect(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: vectors
            litellm_params:
              model: openai/text-embedding-3-small
              api_key: k
              dimensions: 256
              extra_body: {marked: true}
              additional_drop_params: [user]
        """
    )
    table.upstream.reply_to("/v1/embeddings", FakeReply.json(VECTORS))
    answer = await table.post("/embeddings", {"model": "vectors", "input": "a", "user": "u"})
    assert table.upstream.requests[0].json() == {
        "dimensions": 256,
        "model": "text-embedding-3-small",
        "input": "a",
        "marked": True,
    }
    assert answer.headers["x-tollway-dropped"] == "user"


async def test_a_provider_without_embeddings_is_said_so_and_stays_in_service_for_what_it_offers(
    open_table: Any,
) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: claude
            litellm_params: {model: anthropic/claude-opus-4-6, api_key: one}
          - model_name: claude
            litellm_params: {model: anthropic/claude-opus-4-6, api_key: two, api_base: http://other.test}
        """
    )
    answer = await table.post("/v1/embeddings", {"model": "claude", "input": "a"})
    assert answer.status == 400
    assert "does not offer embeddings" in answer.json()["error"]["message"]
    deployments = table.app.snapshots.current.models["claude"].deployments
    assert all(deployment.health.benched_until == 0.0 for deployment in deployments)


async def test_azure_gets_the_model_in_its_path(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: vectors
            litellm_params: {model: azure/mine, api_key: k, api_base: "http://a.test", api_version: "2024-10-21"}
        """
    )
    table.upstream.reply_to(None, FakeReply.json(VECTORS))
    answer = await table.post("/openai/deployments/vectors/embeddings", {"input": "a"})
    (sent,) = table.upstream.requests
    assert (sent.path, sent.query) == ("/openai/deployments/mine/embeddings", {"api-version": ["2024-10-21"]})
    assert answer.json()["model"] == "vectors"
    record = await table.record()
    assert record.cost_known is False
