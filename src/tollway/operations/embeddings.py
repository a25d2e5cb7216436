"""Embeddings: texts, or lists of tokens, in; vectors out.

What it holds: the tokens of a list of tokens by their count, texts by their bytes, pictures by what one can count at most; the
output costs nothing.
"""

from __future__ import annotations

from tollway.calls import Call, Reply, Usage
from tollway.dialects import openai_media
from tollway.operations import Passing, without_media
from tollway.pricing.bound import Media, input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply


class Embeddings(Passing):
    name = "embeddings"
    call_type = "aembedding"
    needed = "input"

    def streams(self, call: Call) -> bool:
        return False

    def dearest(self, call: Call, price: Price) -> int:
        return most_expensive(price, _input_tokens(call), 0)

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        return Usage(input=_input_tokens(call))

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body, usage = openai_media.rename_embeddings(wire.body or b"", call.model_asked or call.model.name)
        reply = Reply(
            status=200, head=b"content-type: application/json\r\n", body=body, deployment=deployment, attempt=None
        )
        reply.usage = usage
        return reply


def _input_tokens(call: Call) -> int:
    given = bytes(call.fields["input"])
    if b'"' not in given:  # numbers: tokens, or lists of them
        return given.count(b",") + 1
    text_bytes, images = without_media(given)
    facts = call.model.deployments[0].facts
    return input_tokens_bound(
        text_bytes,
        Media(images=images),
        window_tokens=facts.input_tokens_max if facts else None,
        image_tokens=facts.image_tokens_max if facts else None,
    )
