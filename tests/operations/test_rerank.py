from __future__ import annotations

from typing import Any

import pytest

from tollway.calls import Usage
from tollway.testing import FakeReply

COHERE = """
    model_list:
      - model_name: ranks
        litellm_params: {model: cohere/rerank-v3.5, api_key: k, api_base: http://provider.test}
"""
RESULTS = {
    "id": "r-1",
    "results": [{"index": 1, "relevance_score": 0.98}, {"index": 0, "relevance_score": 1.5e-05}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
ASK = {"model": "ranks", "query": "which?", "documents": ["this", "that"]}
NANO_PER_SEARCH = 2_000_000


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_cohere_is_asked_and_answers_in_its_words(open_table: Any, path: str) -> None:
    table = await open_table(COHERE)
    table.upstream.reply_to("/v2/rerank", FakeReply.json(RESULTS))
    answer = await table.post(path, {**ASK, "top_n": 2, "max_tokens_per_doc": 99})
    (sent,) = table.upstream.requests
    assert sent.json() == {
        "model": "rerank-v3.5",
        "query": "which?",
        "documents": ["this", "that"],
        "top_n": 2,
        "max_tokens_per_doc": 99,
    }
    assert answer.status == 200
    assert answer.json() == {
        "id": "r-1",
        "model": "ranks",
        "results": RESULTS["results"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    record = await table.record()
    assert (record.call_type, record.usage) == ("arerank", Usage(queries=1))
    assert (record.cost.total, record.usage_source) == (NANO_PER_SEARCH, "provider")


async def test_documents_come_back_when_they_are_asked_for_without_being_asked_of_the_provider(
    open_table: Any,
) -> None:
    table = await open_table(COHERE)
    table.upstream.reply_to("/v2/rerank", FakeReply.json(RESULTS))
    documents = ["this", {"title": "That", "text": "one"}]
    answer = await table.post(
        "/v1/rerank", {**ASK, "documents": documents, "return_documents": True, "rank_fields": ["title", "text"]}
    )
    assert [result["document"] for result in answer.json()["results"]] == [documents[1], {"text": "this"}]
    assert table.upstream.requests[0].json() == {
        "model": "rerank-v3.5",
        "query": "which?",
        "documents": ["this", "title: That\ntext: one"],
    }


async def open_wire(open_table: Any, model: str, base: str, **more: str) -> Any:
    lines = "".join(f", {name}: {value}" for name, value in more.items())
    return await open_table(
        f"""
        model_list:
          - model_name: ranks
            litellm_params: {{model: {model}, api_key: k, api_base: {base}{lines}}}
            model_info: {{mode: rerank}}
        """
    )


WIRES: list[tuple[str, str, str, dict[str, Any], Any, Usage]] = [
    (
        "jina_ai/jina-reranker-v2-base-multilingual",
        "http://p.test/v1",
        "/v1/rerank",
        {"model": "jina-reranker-v2-base-multilingual", "query": "which?", "documents": ["this", "that"], "top_n": 1,
         "return_documents": False},
        {"model": "j", "usage": {"total_tokens": 38}, "results": [{"index": 1, "relevance_score": 0.7}]},
        Usage(input=38),
    ),
    (
        "voyage/rerank-2.5",
        "http://p.test/v1",
        "/v1/rerank",
        {"model": "rerank-2.5", "query": "which?", "documents": ["this", "that"], "top_k": 1,
         "return_documents": False},
        {"object": "list", "data": [{"relevance_score": 0.7, "index": 1}], "usage": {"total_tokens": 26}},
        Usage(input=26),
    ),
    (
        "hosted_vllm/bge",
        "http://p.test/v1",
        "/v1/rerank",
        {"model": "bge", "query": "which?", "documents": ["this", "that"], "top_n": 1, "return_documents": False},
        {"id": "v", "results": [{"index": 1, "document": {"text": "that"}, "relevance_score": 0.7},
                                {"index": 0, "relevance_score": 0.1}], "usage": {"total_tokens": 9}},
        Usage(input=9),
    ),
    (
        "huggingface/BAAI/bge-reranker-base",
        "http://p.test",
        "/rerank",
        {"query": "which?", "texts": ["this", "that"], "truncate": True},
        [{"index": 1, "score": 0.7}, {"index": 0, "score": 0.1}],
        Usage(input=14, queries=1),
    ),
    (
        "nvidia_nim/nvidia/nv-rerank",
        "http://p.test/v1",
        "/v1/ranking",
        {"model": "nvidia/nv-rerank", "query": {"text": "which?"}, "passages": [{"text": "this"}, {"text": "that"}],
         "truncate": "END"},
        {"rankings": [{"index": 1, "logit": 0.7}, {"index": 0, "logit": -3.5}], "usage": {"total_tokens": 12}},
        Usage(input=12),
    ),
    (
        "deepinfra/Qwen/Qwen3-Reranker-0.6B",
        "http://p.test/v1/openai",
        "/v1/inference/Qwen/Qwen3-Reranker-0.6B",
        {"queries": ["which?", "which?"], "documents": ["this", "that"]},
        {"scores": [0.1, 0.7], "input_tokens": 42, "request_id": None},
        Usage(input=42),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "base", "path", "sent_fields", "reply", "usage"), WIRES, ids=[wire[0].split("/")[0] for wire in WIRES]
)
async def test_each_provider_is_asked_in_its_own_words_and_the_answer_is_cohere_s(
    open_table: Any, model: str, base: str, path: str, sent_fields: dict[str, Any], reply: Any, usage: Usage
) -> None:
    table = await open_wire(open_table, model, base, input_cost_per_token='"0.00000005"')
    table.upstream.reply_to(path, FakeReply.json(reply))
    answer = await table.post("/v1/rerank", {**ASK, "top_n": 1})
    assert answer.status == 200, answer.body
    (sent,) = table.upstream.requests
    assert (sent.path, sent.json()) == (path, sent_fields)
    body = answer.json()
    assert body["results"] == [{"index": 1, "relevance_score": 0.7}]
    assert body["model"] == "ranks"
    record = await table.record()
    assert record.usage == usage
    assert record.cost.total == usage.input * 50
    if record.usage_source == "provider":
        assert body["usage"]["total_tokens"] == usage.input


@pytest.mark.parametrize(
    ("documents", "units"), [(["a"] * 100, 1), (["a"] * 101, 2), (["a" * 2_000] * 34, 2), (["a" * 100_000] * 10, 1)]
)
async def test_the_hold_is_what_cohere_can_count_at_most(open_table: Any, documents: list[str], units: int) -> None:
    table = await open_table(COHERE)
    key = await table.give_key(max_budget_nano=1_000_000_000)
    table.upstream.reply_to("/v2/rerank", FakeReply.json(RESULTS))
    answer = await table.post("/v1/rerank", {**ASK, "documents": documents}, key=key)
    assert answer.status == 200
    assert (await table.record()).held_nano == units * NANO_PER_SEARCH


async def test_the_hold_counts_the_query_once_for_each_document_where_tokens_are_billed(open_table: Any) -> None:
    table = await open_wire(open_table, "voyage/rerank-2.5", "http://p.test/v1")
    key = await table.give_key(max_budget_nano=1_000_000_000)
    table.upstream.reply_to(None, FakeReply.json({"data": [{"index": 0, "relevance_score": 1}], "usage": {}}))
    await table.post("/v1/rerank", {**ASK, "query": "q" * 100, "documents": ["a", "b", "c"]}, key=key)
    record = await table.record()
    assert record.held_nano == -(-(300 + len('["a","b","c"]')) // 2) * 50
    assert (record.usage_source, record.cost.total) == ("estimated", record.held_nano)


async def test_a_model_billed_by_the_search_whose_provider_tells_tokens_is_charged_its_units(open_table: Any) -> None:
    table = await open_wire(open_table, "together_ai/x", "http://p.test/v1", input_cost_per_query='"0.002"')
    reply = {"results": [{"index": 0, "relevance_score": 1}], "usage": {"total_tokens": 5}}
    table.upstream.reply_to(None, FakeReply.json(reply))
    await table.post("/v1/rerank", {**ASK, "documents": ["a"] * 150})
    record = await table.record()
    assert record.usage == Usage(input=5, queries=2)
    assert (record.cost.total, record.usage_source) == (2 * NANO_PER_SEARCH, "estimated")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "q", "documents": ["a"]}, "model"),
        ({"model": "ranks", "documents": ["a"]}, "query"),
        ({"model": "ranks", "query": "q"}, "documents"),
        ({"model": "ranks", "query": "q", "documents": []}, "documents"),
        ({"model": "ranks", "query": "q", "documents": [1]}, "documents[0]"),
        ({"model": "ranks", "query": ["q"], "documents": ["a"]}, "query"),
        ({"model": "ranks", "query": "q", "documents": ["a"], "top_n": "2"}, "top_n"),
        ({"model": "ranks", "query": "q", "documents": ["a"], "top_n": -2}, "top_n"),
    ],
)
async def test_what_cannot_be_understood_is_a_400_that_names_it(
    open_table: Any, body: dict[str, Any], param: str
) -> None:
    table = await open_table(COHERE)
    answer = await table.post("/v1/rerank", body)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert table.upstream.requests == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (FakeReply.json(b"<html>"), 502),
        (FakeReply.json({"id": "x"}), 502),
        (FakeReply.json({"results": [{"index": 2, "relevance_score": 1}]}), 502),
        (FakeReply.json({"results": [{"index": 0, "relevance_score": "high"}]}), 502),
        (FakeReply.json({"results": [{"index": 0}]}), 502),
        (FakeReply.json({"message": "too many tokens"}, status=400), 400),
        (FakeReply.json({"message": "trial keys are limited"}, status=429), 429),
        (FakeReply.json({"message": "invalid api token"}, status=401), 503),
    ],
)
async def test_what_is_no_ranking_is_a_failure(open_table: Any, reply: FakeReply, status: int) -> None:
    table = await open_table(COHERE)
    table.upstream.reply_to("/v2/rerank", reply)
    answer = await table.post("/v1/rerank", ASK)
    assert answer.status == status
    assert (await table.record()).cost.total == 0


async def test_a_provider_without_ranking_is_said_so(table: Any) -> None:
    answer = await table.post("/v1/rerank", {**ASK, "model": "chat"})
    assert answer.status == 400
    assert "does not offer rerank" in answer.json()["error"]["message"]
