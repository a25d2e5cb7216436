"""Pictures: made from words, or from other pictures.

What it holds: the words by their bytes, each picture sent by what one can count at most, and for each picture asked for the
price of one or IMAGE_OUTPUT_TOKENS_MAX tokens. What it is charged: the tokens that the provider counted; where pictures are
priced by piece, the pieces in the reply.

`response_format` stays what the client made of it: OpenAI's gpt-image models always answer in `b64_json`, the older ones with an
address unless they are asked for `b64_json`.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tollway.calls import Call, Reply, Usage, UsageDetails
from tollway.dialects import openai_media
from tollway.dialects.openai_media import EventsRelay
from tollway.errors import BadRequest, UpstreamBroken
from tollway.operations import STREAM_HEAD, Passing, asked, media_type, value_of, without_media
from tollway.pricing.bound import (
    IMAGE_OUTPUT_TOKENS_MAX,
    Media,
    input_tokens_bound,
    most_expensive,
)
from tollway.pricing.catalog import image_kind
from tollway.pricing.price import Price
from tollway.snapshot import Deployment
from tollway.upstream.wire import WireReply

PICTURES_MAX = 128
#: Parts that are pictures even where they are sent without a file's name.
PICTURE_PARTS = frozenset({"image", "image[]", "mask"})


class Images(Passing):
    """`name` is "images_generations" or "images_edits"; edits come as a form, or as JSON that names the pictures."""

    needed = "prompt"

    def __init__(self, dialect: Any, *, name: str, call_type: str, form_taken: bool) -> None:
        super().__init__(dialect)
        self.name = name
        self.call_type = call_type
        self.form_taken = form_taken

    def parse(self, call: Call) -> None:
        super().parse(call)
        _pictures(call)

    # --- what it may cost

    def dearest(self, call: Call, price: Price) -> int:
        n = _pictures(call)
        return most_expensive(price, _input_tokens(call), IMAGE_OUTPUT_TOKENS_MAX, n, images=n)

    def input_bound(self, call: Call, output_tokens: int) -> Usage:
        """All that was asked for: a provider that has begun makes it, whether somebody waits or not."""
        n = _pictures(call)
        if self._by_piece(call, call.deployment):
            return Usage(images=n, details=self._details(call, call.deployment))
        return Usage(input=_input_tokens(call), image_out=n * IMAGE_OUTPUT_TOKENS_MAX, images=n)

    def price(self, call: Call, deployment: Deployment) -> Price | None:
        """Some models are listed by size and quality alone."""
        if not deployment.entry.prices:
            facts = call.snapshot.catalog.find_image(
                deployment.provider.name,
                deployment.entry.base_model or deployment.target,
                size=asked(call, "size", str, "a string") or "",
                quality=asked(call, "quality", str, "a string") or "",
            )
            return facts.price if facts is not None else None
        return None

    def _by_piece(self, call: Call, deployment: Deployment) -> bool:
        price = deployment.price or self.price(call, deployment)
        return price is None or bool(price.image) or bool(price.request)

    def _details(self, call: Call, deployment: Deployment) -> UsageDetails | None:
        """What a picture's price depends on, where it does."""
        price = deployment.price
        if price is None or not (price.images_by_kind or price.pixel):
            return None
        size = asked(call, "size", str, "a string") or ""
        return UsageDetails(image_kind=image_kind(size, asked(call, "quality", str, "a string") or ""))

    # --- and back

    def decode(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        body = wire.body or b""
        if (media := deployment.provider.media_wire(self.name)) is not None:
            body = media.decode(call.encoded, media_type(wire), body).body
        count, usage = openai_media.read_pictures(body)
        reply = Reply(
            status=200, head=b"content-type: application/json\r\n", body=body, deployment=deployment, attempt=None
        )
        if usage is not None:
            reply.usage = replace(usage, images=count, details=self._details(call, deployment))
        elif self._by_piece(call, deployment):
            reply.usage = Usage(images=count, details=self._details(call, deployment))
        return reply

    def open_stream(self, call: Call, deployment: Deployment, wire: WireReply) -> Reply:
        if media_type(wire) != b"text/event-stream":
            kind = media_type(wire).decode("latin-1")
            raise UpstreamBroken(f"The provider sent {kind!r} where a stream of pictures was asked for.")
        reply = Reply(status=200, head=STREAM_HEAD, body=None, deployment=deployment, attempt=None)
        reply.relay = EventsRelay(_pictures(call), self.dialect.encode_stream_error)
        return reply


class Variations(Images):
    """Pictures like another one: no words, and a form alone."""

    needed = "image"
    json_taken = False

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect, name="images_variations", call_type="aimage_variation", form_taken=True)


def _pictures(call: Call) -> int:
    n = asked(call, "n", int, "a whole number")
    if n is not None and not 1 <= n <= PICTURES_MAX:
        raise BadRequest(f"n must be between 1 and {PICTURES_MAX}.", param="n")
    model = call.model  # not known yet while the body is read
    more = max(model.by_default.choices if n is None else 0, model.forced.choices) if model is not None else 0
    return max(n or 1, more)


def _input_tokens(call: Call) -> int:
    if call.form is not None:
        texts = [part for part in call.form.parts if not part.is_file and part.name not in PICTURE_PARTS]
        images = len(call.form.parts) - len(texts)
        text_bytes = sum(part.end - part.value for part in texts)
    else:
        text_bytes, images = without_media(call.body)
        listed = value_of(call.fields, "images", list[Any], "a list") or ()
        images = max(images, len(listed) + ("image" in call.fields) + ("mask" in call.fields))
    facts = call.model.deployments[0].facts
    return input_tokens_bound(
        text_bytes,
        Media(images=images),
        window_tokens=facts.input_tokens_max if facts else None,
        image_tokens=facts.image_tokens_max if facts else None,
    )
