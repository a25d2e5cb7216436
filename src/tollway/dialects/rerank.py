"""How documents are ranked by their relevance to a query, in the words of those who do.

Clients ask in Cohere's words (https://docs.cohere.com/reference/rerank), which are Jina's too (https://api.jina.ai/redoc);
they are answered in Cohere's, with Jina's `usage` beside it (2026-11-22). Providers are spoken to by one of WIRES:

    cohere     documents are texts; billed by search units
    jina       Cohere's older words and `usage`: vLLM, llama.cpp, Infinity, Together, Fireworks, Xinference, Novita
    voyage     `top_k`, `data`               https://docs.voyageai.com/reference/reranker-api
    tei        `texts`, a bare list          https://huggingface.github.io/text-embeddings-inference/#/Text%20Embeddings%20Inference/rerank
    nvidia     `passages`, `rankings`        https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html
    deepinfra  a score for each document     https://deepinfra.com/Qwen/Qwen3-Reranker-0.6B/api

No provider is asked to send the documents back: a client that wants them gets its own. Scores keep their bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Usage
from tollway.dialects import decode_field
from tollway.errors import BadRequest, UpstreamBroken, UpstreamError
from tollway.failures import said_in, stream_failure

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_decode_any = msgspec.json.Decoder().decode

#: Documents of a call, at most: a list of a million short ones is no ranking.
DOCUMENTS_MAX = 10_000
#: Words of Cohere's that say how a document is cut; others do not know them.
_COHERE_ONLY = ("max_chunks_per_doc", "max_tokens_per_doc", "rank_fields", "relevant_spans")


class Asked(Struct):
    """A request, read as far as it must be known. `documents` are texts or objects, `top_n` 0 where nobody said."""

    query: str
    documents: list[Any]
    top_n: int = 0
    return_documents: bool = False
    rank_fields: tuple[str, ...] = ()
    tokens_per_document_max: int = 0

    @property
    def texts(self) -> list[str]:
        return [text_of(document, self.rank_fields) for document in self.documents]


def read(fields: dict[str, Raw]) -> Asked:
    """Raises BadRequest that names what is wrong."""
    asked = Asked(
        query=decode_field("query", fields["query"], str),
        documents=decode_field("documents", fields["documents"], list[str | dict[str, Any]]),
    )
    if not asked.documents:
        raise BadRequest("Invalid 'documents': expected at least one document.", param="documents")
    if len(asked.documents) > DOCUMENTS_MAX:
        raise BadRequest(f"Invalid 'documents': more than {DOCUMENTS_MAX} of them.", param="documents")
    asked.top_n = decode_field("top_n", fields.get("top_n", _NULL), int | None) or 0
    asked.return_documents = bool(decode_field("return_documents", fields.get("return_documents", _NULL), bool | None))
    named = decode_field("rank_fields", fields.get("rank_fields", _NULL), list[str] | None)
    asked.rank_fields = tuple(named or ())
    limit = decode_field("max_tokens_per_doc", fields.get("max_tokens_per_doc", _NULL), int | None)
    asked.tokens_per_document_max = limit or 0
    if asked.top_n < 0:
        raise BadRequest("top_n must be at least 1.", param="top_n")
    return asked


_NULL = Raw(b"null")


def text_of(document: Any, rank_fields: tuple[str, ...] = ()) -> str:
    """A document as text: its `text`, or its fields a line each, which Cohere calls best for structured data."""
    if isinstance(document, str):
        return document
    if not rank_fields and isinstance(document.get("text"), str):
        text: str = document["text"]
        return text
    names = [name for name in rank_fields if name in document] or list(document)
    return "\n".join(f"{name}: {document[name]}" for name in names)


# --- to a provider -------------------------------------------------------------------------------------------------

Fields = dict[str, Any]
#: Changes the client's own fields into the provider's, in place, and returns the names of those it dropped.
Encode = Callable[[Fields, Asked], list[str]]


def _drop(fields: Fields, *names: str) -> list[str]:
    return [name for name in names if fields.pop(name, None) is not None]


def _to_cohere(fields: Fields, asked: Asked) -> list[str]:
    fields["documents"] = asked.texts
    for name in ("return_documents", "rank_fields"):  # both were obeyed here
        fields.pop(name, None)
    return _drop(fields, "max_chunks_per_doc")


def _to_jina(fields: Fields, asked: Asked) -> list[str]:
    if asked.rank_fields:
        fields["documents"] = asked.texts
        del fields["rank_fields"]
    fields["return_documents"] = False
    return []


def _to_voyage(fields: Fields, asked: Asked) -> list[str]:
    fields["documents"] = asked.texts
    fields.pop("rank_fields", None)
    fields["return_documents"] = False
    fields.pop("top_n", None)
    if asked.top_n:
        fields["top_k"] = asked.top_n
    return _drop(fields, *_COHERE_ONLY)


def _to_tei(fields: Fields, asked: Asked) -> list[str]:
    """`truncate`: a document that is too long is otherwise refused with all the others."""
    fields["texts"] = asked.texts
    for name in ("documents", "top_n", "return_documents", "rank_fields", "model"):
        fields.pop(name, None)
    fields.setdefault("truncate", True)
    return _drop(fields, *_COHERE_ONLY)


def _to_nvidia(fields: Fields, asked: Asked) -> list[str]:
    fields["query"] = {"text": asked.query}
    fields["passages"] = [{"text": text} for text in asked.texts]
    for name in ("documents", "top_n", "return_documents", "rank_fields"):
        fields.pop(name, None)
    fields.setdefault("truncate", "END")
    return _drop(fields, *_COHERE_ONLY)


def _to_deepinfra(fields: Fields, asked: Asked) -> list[str]:
    """A query for each document, or one for all: the first is what its servers have always taken."""
    fields["queries"] = [asked.query] * len(asked.documents)
    fields["documents"] = asked.texts
    for name in ("query", "top_n", "return_documents", "rank_fields", "model"):
        fields.pop(name, None)
    return _drop(fields, *_COHERE_ONLY)


# --- and back ------------------------------------------------------------------------------------------------------


class Ranked(Struct):
    """A document by its place in the request, and how relevant it is: a JSON number."""

    index: int
    score: Raw


class Ranking(Struct):
    """What a provider said. `units` are Cohere's search units, None where it told none; `tokens` as it counted them."""

    results: list[Ranked]
    id: str = ""
    tokens: int = 0
    units: int | None = None

    @property
    def usage(self) -> Usage | None:
        return Usage(input=self.tokens, queries=self.units or 0) if self.tokens or self.units is not None else None


class _Result(Struct):
    index: int
    relevance_score: Raw = Raw()
    score: Raw = Raw()
    logit: Raw = Raw()


class _Units(Struct):
    search_units: float | None = None
    input_tokens: float | None = None
    total_tokens: float | None = None
    prompt_tokens: float | None = None


class _Meta(Struct):
    billed_units: _Units | None = None
    tokens: _Units | None = None


class _Reply(Struct):
    """Of all wires but two: `results`, `data` and `rankings` are three words for one thing."""

    results: list[_Result] | None = None
    data: list[_Result] | None = None
    rankings: list[_Result] | None = None
    id: Any = ""
    meta: _Meta | None = None
    usage: _Units | None = None


class _Scores(Struct):
    scores: list[Raw]
    input_tokens: float | None = None
    request_id: str | None = None


_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_results = msgspec.json.Decoder(list[_Result]).decode
_decode_scores = msgspec.json.Decoder(_Scores).decode


def _ranked(results: list[_Result]) -> list[Ranked]:
    return [Ranked(one.index, _number(one.relevance_score or one.score or one.logit)) for one in results]


def _number(raw: Raw) -> Raw:
    try:
        msgspec.json.decode(raw, type=float)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider ranked a document without a score.") from error
    return raw


def _from_reply(body: bytes) -> Ranking:
    reply = _decode_reply(body)
    results = reply.results if reply.results is not None else reply.data if reply.data is not None else reply.rankings
    if results is None:
        raise error_in(body) or UpstreamBroken("The provider sent a reply without a ranking.")
    meta = reply.meta or _Meta()
    billed, told = meta.billed_units or _Units(), reply.usage or meta.tokens or _Units()
    units = None if billed.search_units is None else _count(billed.search_units)
    tokens = _count(told.total_tokens) or _count(told.prompt_tokens) or _count(told.input_tokens)
    if units:
        tokens = 0  # billed by the search; Cohere tells tokens beside it that cost nothing
    return Ranking(_ranked(results), reply.id if isinstance(reply.id, str) else "", tokens, units)


def _from_list(body: bytes) -> Ranking:
    return Ranking(_ranked(_decode_results(body)))


def _from_scores(body: bytes) -> Ranking:
    reply = _decode_scores(body)
    results = [Ranked(index, _number(score)) for index, score in enumerate(reply.scores)]
    return Ranking(results, reply.request_id or "", _count(reply.input_tokens))


def _count(number: float | None) -> int:
    return int(number) if number is not None and 0 < number < 1e15 else 0


def error_in(body: bytes) -> UpstreamError | None:
    """The error that stands where a reply should, under a status of 200; None if there is none."""
    try:
        value = _decode_any(body)
    except _UNREADABLE:
        return None
    if isinstance(value, dict) and (value.get("error") or isinstance(value.get("message"), str)):
        return stream_failure(said_in(value))
    return None


class Wire(Struct, frozen=True):
    encode: Encode
    decode: Callable[[bytes], Ranking]


WIRES = {
    "cohere": Wire(_to_cohere, _from_reply),
    "jina": Wire(_to_jina, _from_reply),
    "voyage": Wire(_to_voyage, _from_reply),
    "tei": Wire(_to_tei, _from_list),
    "nvidia": Wire(_to_nvidia, _from_reply),
    "deepinfra": Wire(_to_deepinfra, _from_scores),
}


def encode_request(wire: str, fields: dict[str, Raw], asked: Asked) -> tuple[Fields, list[str]]:
    """The provider's request, and the names of the fields that it cannot say."""
    theirs: Fields = dict(fields)
    dropped = WIRES[wire].encode(theirs, asked)
    return theirs, dropped


def decode_reply(wire: str, body: bytes, asked: Asked) -> Ranking:
    """The best first, no more than were asked for. Raises UpstreamBroken, and the provider's error where a reply with
    status 200 is one.
    """
    try:
        ranking = WIRES[wire].decode(body)
    except _UNREADABLE as error:
        raise error_in(body) or UpstreamBroken("The provider sent a reply that is no ranking.") from error
    if any(not 0 <= one.index < len(asked.documents) for one in ranking.results):
        raise UpstreamBroken("The provider ranked a document that nobody sent.")
    ranking.results.sort(key=lambda one: float(bytes(one.score)), reverse=True)
    if asked.top_n:
        del ranking.results[asked.top_n :]
    return ranking


def encode_reply(ranking: Ranking, asked: Asked, *, id: str, model: str, usage: Usage | None) -> bytes:
    """A client's answer. `usage` None: what was used is not told."""
    results: list[Fields] = []
    for one in ranking.results:
        result: Fields = {"index": one.index, "relevance_score": one.score}
        if asked.return_documents:
            document = asked.documents[one.index]
            result["document"] = {"text": document} if isinstance(document, str) else document
        results.append(result)
    fields: Fields = {"id": ranking.id or id, "model": model, "results": results}
    if usage is not None:
        meta: Fields = {"api_version": {"version": "2"}, "billed_units": {}}
        if usage.queries:
            meta["billed_units"]["search_units"] = usage.queries
        if usage.input_total:
            meta["billed_units"]["input_tokens"] = usage.input_total
            meta["tokens"] = {"input_tokens": usage.input_total, "output_tokens": 0}
            fields["usage"] = {"prompt_tokens": usage.input_total, "total_tokens": usage.input_total}
        fields["meta"] = meta
    return msgspec.json.encode(fields)
