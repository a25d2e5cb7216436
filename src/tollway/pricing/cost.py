"""What a usage costs at a price."""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from tollway.calls import Cost, Usage, UsageDetails
from tollway.pricing.price import Price, Rates


def cost_of(usage: Usage, price: Price) -> Cost:
    """The cost in whole nano-dollars. `total` is the exact sum rounded once, half-even.

    The parts add up to the total but for their own rounding: `input` (what was not cached, text or media, and prices
    per call, character, second or query), `cache_read`, `cache_write`, `output` (with reasoning and pictures made) and
    `tools`. `reasoning` is the share of `output` that was thought.

    A price list may ask for the same thing twice, by tokens and by piece. What the provider counted in tokens is
    charged by tokens; pictures without image tokens, and characters or seconds without any token to charge, are charged
    by piece.
    """
    tiers, rates = price.tiers, price.rates
    if usage.service_tier or (tiers and usage.input_total > tiers[-1].above):
        rates = price.rates_for(usage)
    fresh = usage.input * rates.input
    output = usage.output * rates.output
    read = usage.cache_read and usage.cache_read * rates.cache_read
    write = usage.cache_write_5m and usage.cache_write_5m * rates.cache_write_5m
    if usage.cache_write_1h:
        write += usage.cache_write_1h * rates.cache_write_1h
    reasoning = usage.reasoning and usage.reasoning * rates.reasoning
    output += reasoning
    if usage.audio_in or usage.image_in or usage.audio_out or usage.image_out:
        fresh += usage.audio_in * rates.audio_in + usage.image_in * rates.image_in
        output += usage.audio_out * rates.audio_out + usage.image_out * rates.image_out
    tools = usage.searches and usage.searches * price.search
    if price.counted or usage.details is not None:
        return _with_pieces(usage, price, rates, _Units(fresh, output, read, write, reasoning, tools))
    total = fresh + read + write + output + tools
    if price.per_nano == 1:
        return Cost(total, fresh, output, read, write, reasoning, tools)
    return _rounded(price.per_nano, total, fresh, output, read, write, reasoning, tools)


class _Units(Struct):
    """The parts of a cost before they are rounded."""

    fresh: int | Fraction
    output: int | Fraction
    read: int | Fraction
    write: int | Fraction
    reasoning: int | Fraction
    tools: int | Fraction


def _with_pieces(usage: Usage, price: Price, rates: Rates, sums: _Units) -> Cost:
    """Adds what few calls have: prices per piece, and what `UsageDetails` tells."""
    details = usage.details if usage.details is not None else _NO_DETAILS
    if details.cache_read_audio or details.cache_read_image:
        sums.read += details.cache_read_audio * (rates.cache_read_audio - rates.cache_read)
        sums.read += details.cache_read_image * (rates.cache_read_image - rates.cache_read)
    uplift = price.places.get(details.place) if details.place else None
    if uplift is not None:
        for part in ("fresh", "output", "read", "write", "reasoning"):
            setattr(sums, part, getattr(sums, part) * uplift)
    if (usage.seconds or usage.characters) and not (sums.fresh or sums.read or sums.write or sums.output):
        sums.fresh = usage.characters * price.character + Fraction(repr(usage.seconds)) * price.second
    if usage.images and not (usage.image_out and rates.image_out):
        sums.output += usage.images * (price.image_of(details.image_kind) if details.image_kind else price.image)
    sums.fresh += price.request + usage.queries * price.query + details.citations * price.citation
    if usage.searches and details.search_size:
        sums.tools = usage.searches * price.searches_by_size.get(details.search_size, price.search)
    sums.tools += details.file_searches * price.file_search
    total = sums.fresh + sums.read + sums.write + sums.output + sums.tools
    parts = (sums.fresh, sums.output, sums.read, sums.write, sums.reasoning, sums.tools)
    return _rounded(price.per_nano, total, *parts)


_NO_DETAILS = UsageDetails()


def _rounded(
    per_nano: int,
    total: int | Fraction,
    fresh: int | Fraction,
    output: int | Fraction,
    read: int | Fraction,
    write: int | Fraction,
    reasoning: int | Fraction,
    tools: int | Fraction,
) -> Cost:
    """The total half-even; its parts, which are for showing, half up."""
    whole, rest = divmod(total, per_nano)
    if rest:
        rest *= 2
        if rest > per_nano or (rest == per_nano and whole & 1):
            whole += 1
    half = per_nano >> 1
    return Cost(
        whole,
        (fresh + half) // per_nano,
        (output + half) // per_nano,
        (read + half) // per_nano if read else 0,
        (write + half) // per_nano if write else 0,
        (reasoning + half) // per_nano if reasoning else 0,
        (tools + half) // per_nano if tools else 0,
    )
