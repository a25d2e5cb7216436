"""Moderation: texts and pictures in, what is harmful in them out. OpenAI asks nothing for it
(https://platform.openai.com/docs/guides/moderation, 2026-11-22), Mistral a price for each token.

A client need not name a model: `omni-moderation-latest` is meant then, or the one that is configured for moderation.
"""

from __future__ import annotations

from tollway.calls import Call, Reply, Usage
from tollway.dialects import openai_media
from tollway.operations import Passing, without_media
from tollway.pricing.bound import Media, input_tokens_bound, most_expensive
from tollway.pricing.price import Price
from tollway.snapshot import Deployment, Model
from tollway.upstream.wire import WireReply

MODEL_OTHERWISE = "omni-moderation-latest"


class Moderations(Passing):
    name = "moderations"
    call_type = "amoderation"
    needed = "input"

    def streams(self, call: Call) -> bool:
        return False

    def model_otherwise(self, call: Call) -> str:
        snapshot = call.snapshot
        if MODEL_OTHERWISE not in snapshot.models:
            configured: list[str] = [name for name, model in snapshot.models.items() if _moderates(model)]
            if len(configured) == 1:
                return configured[0]
        return MODEL_OTHERWISE

    def dearest(self, call: Call, price: Price) -> int:
        return most_expensive(price, self.input_bound(call, 0).input, 0)

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        text_bytes, images = without_media(bytes(call.fields["input"]))
        facts = call.model.deployments[0].facts
        tokens = input_tokens_bound(
            text_bytes,
            Media(images=images),
            window_tokens=facts.input_tokens_max if facts else None,
            image_tokens=facts.image_tokens_max if facts else None,
        )
        return Usage(input=tokens)

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body, usage = openai_media.rename_moderations(wire.body or b"", call.model_asked or call.model.name)
        reply = Reply(
            status=200, head=b"content-type: application/json\r\n", body=body, deployment=deployment, attempt=None
        )
        reply.usage = usage
        return reply


def _moderates(model: Model) -> bool:
    """A wildcard has no deployment of its own that could be asked without a name."""
    return any(
        (deployment.entry.mode or (deployment.facts.mode if deployment.facts else "")) == "moderation"
        for deployment in model.deployments
    )
