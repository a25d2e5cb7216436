"""The most that a call not yet made can cost: what a hold sets aside.

A bound is never below `cost_of` for a usage within it, and grows with each of its numbers. It takes the dearest bucket,
input tier and service tier within reach, since which ones a call will meet is known only when it is over.
"""

from __future__ import annotations

import math
from fractions import Fraction

from msgspec import Struct

from tollway.pricing.price import Ceiling, Price

#: The output limit to set where none is needed: more output costs nothing.
OUTPUT_TOKENS_UNLIMITED = (1 << 63) - 1

#: The most tokens of one picture made, where pictures are priced by token: 6 240 at OpenAI's largest size and quality,
#: rounded up (https://platform.openai.com/docs/guides/image-generation, 2026-11).
IMAGE_OUTPUT_TOKENS_MAX = 8_192

#: The most tokens of one picture sent to a model of which the catalog knows nothing closer: 10 000 patches at OpenAI's
#: `original` detail, rounded up (https://platform.openai.com/docs/guides/images-vision, 2026-11).
IMAGE_INPUT_TOKENS_MAX = 12_000

#: Where the length of what was sent says nothing and the catalog knows no window: a window larger than most.
WINDOW_TOKENS_OTHERWISE = 1_000_000


class Media(Struct, frozen=True):
    """What a request carries beside text. `others`: documents, sound, film; their bytes say little of their tokens."""

    images: int = 0
    others: int = 0


NO_MEDIA = Media()


def input_tokens_bound(
    text_bytes: int,
    media: Media = NO_MEDIA,
    bytes_per_token: int = 2,
    *,
    window_tokens: int | None = None,
    image_tokens: int | None = None,
) -> int:
    """The most input tokens that a request can count.

    Text by its bytes; a picture by what one can count at most (`image_tokens`); a document, sound or film by the
    model's whole window (`window_tokens`), which pictures do not exceed either. Both are the catalog's. Leave base64
    out of `text_bytes`.
    """
    text_tokens = -(-text_bytes // bytes_per_token)
    if not (media.images or media.others):
        return text_tokens
    window_tokens = window_tokens or WINDOW_TOKENS_OTHERWISE
    if media.others:
        return text_tokens + window_tokens
    return text_tokens + min(media.images * (image_tokens or IMAGE_INPUT_TOKENS_MAX), window_tokens)


def most_expensive(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    n: int = 1,
    *,
    searches: int = 0,
    images: int = 0,
    characters: int = 0,
    seconds: float = 0.0,
    queries: int = 0,
) -> int:
    """The most nano-dollars, rounded up, that a call of at most so much can cost.

    `output_tokens` is the limit of each of `n` choices; the input is billed once. The rest are totals. For an embedding
    `output_tokens` is 0; for `n` pictures, which may be billed by piece or by token, give `images=n` and
    IMAGE_OUTPUT_TOKENS_MAX output tokens.
    """
    ceiling = price.ceilings[0] if len(price.ceilings) == 1 else _ceiling_at(price, input_tokens)
    units = input_tokens * ceiling.input + output_tokens * n * ceiling.output
    if price.by_piece:
        dearest = price.dearest
        units += dearest.request
        if searches or images or characters or queries:
            units += searches * dearest.search + images * dearest.image
            units += characters * dearest.character + queries * dearest.query
        if seconds:
            units += math.ceil(Fraction(repr(seconds)) * dearest.second)
    return -(-units // price.per_nano)


def affordable_output_tokens(price: Price, input_tokens: int, n: int, nano: int) -> int:
    """The largest output limit, for each of `n` choices, whose bound fits in `nano`; -1 when the input does not."""
    ceiling = _ceiling_at(price, input_tokens)
    left = nano * price.per_nano - input_tokens * ceiling.input - price.dearest.request
    if left < 0:
        return -1
    rate = ceiling.output * n
    return left // rate if rate else OUTPUT_TOKENS_UNLIMITED


def _ceiling_at(price: Price, input_tokens: int) -> Ceiling:
    met = price.ceilings[0]
    for ceiling in price.ceilings:
        if input_tokens > ceiling.above:
            met = ceiling
    return met
