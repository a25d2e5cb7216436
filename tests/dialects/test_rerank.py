"""Requests to those who rank, and their answers, by the words of each."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.calls import Usage
from tollway.dialects import rerank
from tollway.errors import BadRequest, UpstreamBroken, UpstreamRateLimited


def fields_of(**fields: Any) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}


def sent(wire: str, **more: Any) -> tuple[dict[str, Any], list[str]]:
    given = fields_of(model="m", query="q", documents=["a", {"text": "b"}], **more)
    fields, dropped = rerank.encode_request(wire, given, rerank.read(given))
    return json.loads(msgspec.json.encode(fields)), dropped


@pytest.mark.parametrize(
    ("document", "rank_fields", "text"),
    [
        ("plain", (), "plain"),
        ({"text": "its text", "title": "t"}, (), "its text"),
        ({"title": "t", "body": 3}, (), "title: t\nbody: 3"),
        ({"title": "t", "text": "x", "more": 1}, ("text", "title", "absent"), "text: x\ntitle: t"),
        ({"title": "t"}, ("absent",), "title: t"),
    ],
)
def test_a_document_is_its_text_or_its_fields(document: Any, rank_fields: tuple[str, ...], text: str) -> None:
    assert rerank.text_of(document, rank_fields) == text


@pytest.mark.parametrize(
    ("wire", "dropped"),
    [
        ("cohere", ["max_chunks_per_doc"]),
        ("jina", []),
        ("voyage", ["max_chunks_per_doc", "max_tokens_per_doc"]),
        ("tei", ["max_chunks_per_doc", "max_tokens_per_doc"]),
        ("nvidia", ["max_chunks_per_doc", "max_tokens_per_doc"]),
        ("deepinfra", ["max_chunks_per_doc", "max_tokens_per_doc"]),
    ],
)
def test_what_a_provider_does_not_know_is_dropped_by_name(wire: str, dropped: list[str]) -> None:
    fields, names = sent(wire, max_chunks_per_doc=3, max_tokens_per_doc=9, return_documents=True, top_n=1)
    assert names == dropped
    assert not set(dropped) & set(fields)
    assert fields.get("return_documents", False) is False


def test_documents_that_are_objects_pass_to_those_who_take_them() -> None:
    assert sent("jina")[0]["documents"] == ["a", {"text": "b"}]
    assert sent("jina", rank_fields=["text"])[0] == {
        "model": "m",
        "query": "q",
        "documents": ["a", "text: b"],
        "return_documents": False,
    }
    assert sent("cohere")[0]["documents"] == ["a", "b"]
    assert sent("nvidia")[0]["passages"] == [{"text": "a"}, {"text": "b"}]


def test_a_client_s_own_word_on_cutting_counts() -> None:
    assert sent("tei", truncate=False)[0]["truncate"] is False
    assert sent("nvidia", truncate="NONE")[0]["truncate"] == "NONE"


def test_scores_keep_their_bytes_and_the_best_come_first() -> None:
    asked = rerank.read(fields_of(query="q", documents=["a", "b", "c"], top_n=2))
    body = (
        b'{"id":"r","results":[{"index":0,"relevance_score":1.50e-05},{"index":2,"relevance_score":0.10},'
        b'{"index":1,"relevance_score":-3}],"meta":{"billed_units":{"search_units":1}}}'
    )
    ranking = rerank.decode_reply("cohere", body, asked)
    assert [(one.index, bytes(one.score)) for one in ranking.results] == [(2, b"0.10"), (0, b"1.50e-05")]
    written = rerank.encode_reply(ranking, asked, id="ours", model="m", usage=ranking.usage)
    assert b'{"index":0,"relevance_score":1.50e-05}' in written
    assert json.loads(written)["id"] == "r"


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"meta": {"billed_units": {"search_units": 2}, "tokens": {"input_tokens": 99}}}, Usage(queries=2)),
        ({"meta": {"billed_units": {}, "tokens": {"input_tokens": 9}}}, Usage(input=9)),
        ({"usage": {"prompt_tokens": 4, "total_tokens": 5}}, Usage(input=5)),
        ({"usage": {"prompt_tokens": 4}}, Usage(input=4)),
        ({"usage": {"total_tokens": -4}}, None),
        ({}, None),
    ],
)
def test_units_or_tokens_are_what_was_used(told: dict[str, Any], usage: Usage | None) -> None:
    body = json.dumps({"results": [{"index": 0, "relevance_score": 1}], **told}).encode()
    asked = rerank.read(fields_of(query="q", documents=["a"]))
    assert rerank.decode_reply("jina", body, asked).usage == usage


@pytest.mark.parametrize(
    ("wire", "body", "error"),
    [
        ("jina", b'{"error":{"message":"slow down","code":429}}', UpstreamRateLimited),
        ("tei", b'{"results":[]}', UpstreamBroken),
        ("deepinfra", b'{"scores":["a"]}', UpstreamBroken),
        ("nvidia", b'{"rankings":[{"index":0}]}', UpstreamBroken),
        ("cohere", b'{"results":[{"index":-1,"relevance_score":1}]}', UpstreamBroken),
    ],
)
def test_what_is_no_ranking_is_an_error(wire: str, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        rerank.decode_reply(wire, body, rerank.read(fields_of(query="q", documents=["a"])))


def test_too_many_documents_are_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        rerank.read(fields_of(query="q", documents=["a"] * (rerank.DOCUMENTS_MAX + 1)))
    assert caught.value.param == "documents"
