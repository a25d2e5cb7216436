"""Ranking: a query and documents in, the documents' places by their relevance out.

What it holds: search units by what Cohere counts as one, or tokens by bytes, the query's once for each document, whichever
the model's price asks for. What it is charged: the units or tokens that the provider counted; where a model has a price for
each search and its provider tells tokens alone, the units of the bound.
"""

from __future__ import annotations

from msgspec.json import encode
from msgspec.structs import replace

from tollway.calls import USAGE_ESTIMATED, Call, Reply, Usage
from tollway.dialects import rerank
from tollway.errors import BadRequest
from tollway.operations import Passing, forwarded_head, raw, without_media
from tollway.operations.parameters import drop_paths
from tollway.pricing.bound import Media, input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply, WireRequest

#: What one search unit is: a query with up to so many documents, a longer one counting for each so many tokens, those of the
#: query among them (https://cohere.com/pricing, 2026-11-22).
DOCUMENTS_PER_UNIT = 100
TOKENS_PER_CHUNK = 500
#: Where a query fills a chunk: as if so much were left of it.
TOKENS_PER_CHUNK_MIN = 50
#: What Cohere reads of a document where nobody says (https://docs.cohere.com/reference/rerank, 2026-11-22).
TOKENS_PER_DOCUMENT_MAX = 4096


class Rerank(Passing):
    name = "rerank"
    call_type = "arerank"
    needed = "documents"

    def parse(self, call: Call) -> None:
        super().parse(call)
        if "query" not in call.fields:
            raise BadRequest(f"{call.path}: Missing required parameter: 'query'.", param="query")
        call.encoded = rerank.read(call.fields)  # read once: bound, request and reply all look at it

    def streams(self, call: Call) -> bool:
        return False

    # --- what it may cost

    def dearest(self, call: Call, price: Price) -> int:
        most = self.input_bound(call, 0)
        return most_expensive(price, most.input, 0, queries=most.queries)

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        asked: rerank.Asked = call.encoded
        text_bytes, images = without_media(bytes(call.fields["documents"]))
        query_bytes = len(asked.query.encode("utf-8", "surrogatepass"))
        facts = call.model.deployments[0].facts
        tokens = input_tokens_bound(
            text_bytes + query_bytes * len(asked.documents),
            Media(images=images),
            window_tokens=facts.input_tokens_max if facts else None,
            image_tokens=facts.image_tokens_max if facts else None,
        )
        return Usage(input=tokens, queries=_units(asked, input_tokens_bound(query_bytes)))

    # --- there and back

    def encode(self, call: Call, deployment: Deployment) -> WireRequest:
        given = {**deployment.defaults, **call.fields, "model": raw(deployment.target)}
        fields, dropped = rerank.encode_request(deployment.provider.introduction.rerank, given, call.encoded)
        call.dropped.extend(dropped)
        fields.update(deployment.extra_body)
        call.dropped.extend(drop_paths(fields, deployment.entry.additional_drop_params))
        return WireRequest(
            origin=deployment.origin,
            head=deployment.head(self.name)
            + forwarded_head(call, "openai_chat")
            + b"content-type: application/json\r\n",
            body=encode(fields),
            streaming=False,
            reply_bytes_max=call.snapshot.config.bounds.reply_bytes_max,
        )

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        asked: rerank.Asked = call.encoded
        ranking = rerank.decode_reply(deployment.provider.introduction.rerank, wire.body or b"", asked)
        usage = ranking.usage
        price = deployment.price
        if usage is not None and price is not None and price.query and not usage.queries:
            usage = replace(usage, queries=self.input_bound(call, 0).queries)
        body = rerank.encode_reply(ranking, asked, id=call.id, model=call.model_asked or call.model.name, usage=usage)
        reply = Reply(
            status=200, head=b"content-type: application/json\r\n", body=body, deployment=deployment, attempt=None
        )
        reply.usage = usage
        if usage is not None and ranking.units is None and usage.queries:
            reply.usage_source = USAGE_ESTIMATED
        return reply


def _units(asked: rerank.Asked, query_tokens: int) -> int:
    """The most search units that this can count as."""
    limit = asked.tokens_per_document_max or TOKENS_PER_DOCUMENT_MAX
    room = max(TOKENS_PER_CHUNK - query_tokens, TOKENS_PER_CHUNK_MIN)
    chunks = 0
    for text in asked.texts:
        tokens = min(input_tokens_bound(len(text.encode("utf-8", "surrogatepass"))), limit)
        chunks += max(1, -(-tokens // room))
    return -(-chunks // DOCUMENTS_PER_UNIT)
