"""What a usage costs at a price."""

from __future__ import annotations

from fractions import Fraction

from tollway.calls import Cost, Usage
from tollway.pricing.price import Price


def cost_of(usage: Usage, price: Price) -> Cost:
    """The cost in whole nano-dollars. `total` is the exact sum rounded once, half-even.

    The parts add up to the total but for their own rounding: `input` (what was not cached, text or media, and prices
    per call, character, second or query), `cache_read`, `cache_write`, `output` (with reasoning and pictures made) and
    `tools`. `reasoning` is the share of `output` that was thought.

    A price list may ask for the same thing twice, by tokens and by piece. What the provider counted in tokens is
    charged by tokens; pictures without image tokens, and characters or seconds without any token to charge, are charged
    by piece.
    """
    rates = price.rates_for(usage) if usage.service_tier or price.tiers else price.rates
    fresh: int | Fraction = usage.input * rates.input
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
    tools = 0
    if price.by_piece:
        if (usage.seconds or usage.characters) and not fresh + read + write + output:
            fresh += usage.characters * price.character + Fraction(repr(usage.seconds)) * price.second
        if usage.images and not (usage.image_out and rates.image_out):
            output += usage.images * price.image
        fresh += price.request + usage.queries * price.query
        tools = usage.searches * price.search
    per_nano = price.per_nano
    total = fresh + read + write + output + tools
    if per_nano == 1 and isinstance(total, int) and isinstance(fresh, int):
        return Cost(total, fresh, output, read, write, reasoning, tools)
    return Cost(
        _nano(total, per_nano),
        _nano(fresh, per_nano),
        _nano(output, per_nano),
        read and _nano(read, per_nano),
        write and _nano(write, per_nano),
        reasoning and _nano(reasoning, per_nano),
        tools and _nano(tools, per_nano),
    )


def _nano(units: int | Fraction, per_nano: int) -> int:
    whole, rest = divmod(units, per_nano)
    if not rest:
        return whole
    rest *= 2
    if rest > per_nano or (rest == per_nano and whole & 1):
        whole += 1
    return whole
