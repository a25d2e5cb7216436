"""What one unit of everything costs, exactly.

A price list says `2.5e-06` dollars per token. Floats would lose that, so a `Price` holds whole numbers: its rates count
1/`per_nano` of a nano-dollar, where `per_nano` is the smallest number that makes every rate of this price whole (1 for
most models). Sums are then integer sums, and rounding happens once, at the end.

`price_from_map` reads the keys of the public model cost map (`input_cost_per_token`, `..._above_200k_tokens`,
`..._priority`); the words of that map end here. No price is `None`, never zero; a zero that is written down means free.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from tollway.calls import Usage

NANO_PER_DOLLAR = 1_000_000_000


class Rates(Struct, frozen=True, array_like=True):
    """One rate for each token bucket of `Usage`, in units of 1/`per_nano` nano-dollar per token."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    image_in: int = 0
    output: int = 0
    reasoning: int = 0
    audio_out: int = 0
    image_out: int = 0

    @property
    def input_dearest(self) -> int:
        caches = (self.cache_read, self.cache_write_5m, self.cache_write_1h)
        return max(self.input, self.audio_in, self.image_in, *caches)

    @property
    def output_dearest(self) -> int:
        return max(self.output, self.reasoning, self.audio_out, self.image_out)


class Tier(Struct, frozen=True):
    """The rates of *all* tokens of a call whose whole input is more than `above` tokens."""

    above: int
    rates: Rates


class Schedule(Struct, frozen=True):
    """The rates of one service tier; `tiers` stand with the highest threshold first."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def rates_at(self, input_tokens: int) -> Rates:
        for tier in self.tiers:
            if input_tokens > tier.above:
                return tier.rates
        return self.rates


class Ceiling(Struct, frozen=True):
    """The dearest rates that a call of more than `above` input tokens can meet, in any service tier."""

    above: int
    input: int
    output: int


class Window(Struct, frozen=True):
    """Seconds of the UTC day, on some ISO weekdays (1 is Monday) of a place `east_s` east of UTC."""

    weekdays: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    east_s: int = 0

    def holds(self, now_s: float) -> bool:
        second = int(now_s)
        weekday = ((second + self.east_s) // 86_400 + 3) % 7 + 1  # 1970 began on a Thursday
        return weekday in self.weekdays and any(start <= second % 86_400 < end for start, end in self.spans)


class OffPeak(Struct, frozen=True):
    """Another price at some hours."""

    windows: tuple[Window, ...]
    price: Price


class Price(Struct, frozen=True):
    """What a model costs. `version` names it in spend rows; rates are in units of 1/`per_nano` nano-dollar.

    `request` is per call, the rest per piece of `Usage`: `search` (at the usual context size; `search_dearest` at the
    largest), `image`, `character`, `second`, `query`. `by_piece` says that one of these is not zero, `free` that
    nothing costs anything. `services` are the service tiers that differ, by the names `Usage.service_tier` knows; any
    other name is charged like "". `ceilings` are for bounds, lowest threshold first, beginning below zero.
    """

    version: str
    per_nano: int
    rates: Rates
    tiers: tuple[Tier, ...]
    services: dict[str, Schedule]
    ceilings: tuple[Ceiling, ...]
    request: int
    search: int
    search_dearest: int
    image: int
    character: int
    second: int
    query: int
    by_piece: bool
    free: bool
    off_peak: OffPeak | None

    def rates_for(self, usage: Usage) -> Rates:
        """The rates that this usage met: its service tier, then the tier its whole input falls in."""
        service = self.services.get(usage.service_tier)
        tiers = self.tiers if service is None else service.tiers
        if tiers:
            input_tokens = usage.input_total
            for tier in tiers:
                if input_tokens > tier.above:
                    return tier.rates
        return self.rates if service is None else service.rates

    def at(self, now_s: float) -> Price:
        """The price at this Unix time: the off-peak one in its hours, else this one, which is never the lower."""
        if self.off_peak and any(window.holds(now_s) for window in self.off_peak.windows):
            return self.off_peak.price
        return self


# --- reading the map ------------------------------------------------------------------------------------------------

#: Bucket of `Usage` -> its keys in the map; the first that is there counts. DeepSeek's rows name cache reads twice.
_TOKEN_KEYS: dict[str, tuple[str, ...]] = {
    "input": ("input_cost_per_token",),
    "cache_read": ("cache_read_input_token_cost", "input_cost_per_token_cache_hit"),
    "cache_write_5m": ("cache_creation_input_token_cost",),
    "cache_write_1h": ("cache_creation_input_token_cost_above_1hr",),
    "audio_in": ("input_cost_per_audio_token",),
    "image_in": ("input_cost_per_image_token",),
    "output": ("output_cost_per_token",),
    "reasoning": ("output_cost_per_reasoning_token",),
    "audio_out": ("output_cost_per_audio_token",),
    "image_out": ("output_cost_per_image_token",),
}

#: `Usage.service_tier` -> the suffix of its keys. "batch" is half the price where the map does not say.
_SERVICE_SUFFIXES = {
    "": "",
    "priority": "_priority",
    "flex": "_flex",
    "batch": "_batches",
    "balanced": "_balanced",
    "ultrafast": "_ultrafast",
    "decisions": "_decisions",
}

#: What must be priced before a model of this mode is: one of these sets of buckets, whole.
_PRICED_BY: dict[str, tuple[tuple[str, ...], ...]] = {
    "chat": (("input", "output"),),
    "completion": (("input", "output"),),
    "responses": (("input", "output"),),
    "realtime": (("input", "output"), ("second",)),
    "image_generation": (("image",), ("image_out",), ("input", "output")),
    "image_edit": (("image",), ("image_out",), ("input", "output")),
    "audio_transcription": (("second",), ("input",), ("audio_in",)),
    "audio_speech": (("character",), ("output",), ("audio_out",), ("second",)),
    "video_generation": (("second",),),
    "rerank": (("query",), ("input",)),
    "search": (("query",),),
    "vector_store": (("query",),),
    "ocr": (("query",), ("input", "output")),
}
_PRICED_BY_OTHERWISE: tuple[tuple[str, ...], ...] = (("input",), ("query",))

_PIECES = ("request", "search", "search_dearest", "image", "character", "second", "query")

_THRESHOLD = re.compile(r"_above_(\d+)k_tokens")
_SECOND = re.compile(r"(?:input_cost_per_second|output_cost_per_(?:video_per_)?second)(?:_\d+[pk])?")
_SIZE = re.compile(r"(?:^|/)(\d+)-x-(\d+)/")

Row: TypeAlias = Mapping[str, Any]
Found: TypeAlias = dict[str, Fraction]  # bucket or piece -> nano-dollars per unit


class _Level(Struct):
    """Where the rates above a threshold stand: a row, and the infixes that its keys may have, the closest first."""

    above: int
    row: Row
    infixes: tuple[str, ...] = ()


def price_from_map(row: Row, *, version: str, name: str = "") -> Price | None:
    """The price in a row of the map, or None when the row does not price its mode.

    Values are numbers or decimal strings, in dollars per unit. `name` is the row's own: a price per pixel needs the
    size in it ("hd/1024-x-1024/dall-e-3"). Raises ValueError for a price that is no number, negative or out of all
    measure.

    A row with `tiered_pricing` is charged by the range that the whole input falls in, a boundary belonging to the lower
    range (https://www.alibabacloud.com/help/en/model-studio/model-pricing, 2026-11); `*_above_Nk_tokens` rates hold for all
    tokens once the input is more than N thousand, at xAI from N thousand on (https://docs.x.ai/developers/models, 2026-11).
    """
    pieces = _pieces(row, name)
    levels = _levels(row)
    known = {**pieces, **_given(levels[0], "")}
    if not _is_priced(known, str(row.get("mode") or "")):
        return None
    schedules = {
        service: [(level.above, _completed(_given(level, suffix))) for level in levels]
        for service, suffix in _SERVICE_SUFFIXES.items()
        if service in ("", "batch") or any(key.endswith(suffix) for key in row)
    }
    price = _price(version, schedules, pieces)
    if not row.get("off_peak_pricing"):
        return price
    return msgspec.structs.replace(price, off_peak=_off_peak(row, price, name))


def price_version(source: str, row: Row) -> str:
    """A short name for what a row asks, stable as long as its prices are: `source` and eight hex digits."""
    asked = {key: str(row[key]) for key in row if "cost" in key or "pricing" in key or key == "mode"}
    return f"{source}:{hashlib.sha256(msgspec.json.encode(asked, order='sorted')).hexdigest()[:8]}"


def exact_nano(key: str, value: object) -> Fraction:
    """A price in dollars, exactly as it was written, in nano-dollars. A float stands for its shortest spelling.

    Raises ValueError naming `key` unless the value is a number from 0 to a million dollars with at most 40 decimals.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise InvalidOperation
        decimal = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError(f"{key!r}: expected a price in dollars, got {value!r}") from None
    # Bounded before it becomes a fraction: 1e-999999 would be a number of a million digits.
    exponent = decimal.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -40 or exponent > 6 or not 0 <= decimal <= 1_000_000:
        raise ValueError(f"{key!r}: expected a price from 0 to 1000000 dollars with at most 40 decimals, got {value!r}")
    return Fraction(decimal) * NANO_PER_DOLLAR


def _levels(row: Row) -> list[_Level]:
    """The input thresholds, the lowest (-1: none) first."""
    ranges = [part for part in row.get("tiered_pricing") or () if part.get("range")]
    if ranges:
        ranges.sort(key=lambda part: float(part["range"][0]))
        first, *others = [_Level(int(float(part["range"][0])), {**row, **part}) for part in ranges]
        return [_Level(-1, first.row), *others]
    thousands = sorted({int(found) for key in row for found in _THRESHOLD.findall(key)})
    included = 1 if row.get("litellm_provider") == "xai" else 0
    levels = [_Level(-1, row)]
    for thousand in thousands:
        infixes = (f"_above_{thousand}k_tokens", *levels[-1].infixes)
        levels.append(_Level(thousand * 1000 - included, row, infixes))
    return levels


def _given(level: _Level, suffix: str) -> Found:
    """The token rates that the map states for one service at one level."""
    found = {}
    for bucket, keys in _TOKEN_KEYS.items():
        rate = _rate(level, keys, suffix)
        if rate is not None:
            found[bucket] = rate
    return found


def _rate(level: _Level, keys: tuple[str, ...], suffix: str) -> Fraction | None:
    row, infixes = level.row, level.infixes
    plain = _first(row, [key + infix for infix in (*infixes, "") for key in keys])
    if not suffix:
        return plain
    here, *below = (*infixes, "")
    stated = _first(row, [key + here + suffix for key in keys])
    if stated is not None:
        return stated
    if suffix == "_batches" and plain is not None:
        plain /= 2
    # A service tier without a rate of its own above the threshold: the dearer of the two that are stated.
    lower = _first(row, [key + infix + suffix for infix in below for key in keys])
    return max((rate for rate in (plain, lower) if rate is not None), default=None)


def _first(row: Row, keys: Iterable[str]) -> Fraction | None:
    for key in keys:
        value = row.get(key)
        if value is not None:
            return exact_nano(key, value)
    return None


_NOTHING = Fraction(0)


def _completed(given: Found) -> Found:
    """What the map leaves out costs what its nearest neighbour costs."""
    fresh = given.get("input", given.get("audio_in", given.get("image_in", _NOTHING)))
    output = given.get("output", given.get("image_out", given.get("audio_out", _NOTHING)))
    write = given.get("cache_write_5m", fresh)
    return {
        "input": fresh,
        "cache_read": given.get("cache_read", fresh),
        "cache_write_5m": write,
        # An hour in the cache never costs less than five minutes: above a threshold often only the latter is stated.
        "cache_write_1h": max(write, given.get("cache_write_1h", write)),
        "audio_in": given.get("audio_in", fresh),
        "image_in": given.get("image_in", fresh),
        "output": output,
        "reasoning": given.get("reasoning", output),
        "audio_out": given.get("audio_out", output),
        "image_out": given.get("image_out", output),
    }


def _pieces(row: Row, name: str) -> Found:
    """The rates per call and per piece.

    A film priced by its resolution is charged at the dearest one, as usage does not tell them apart; a web search at
    the usual context size.
    """
    found: Found = {}
    by_size = {key: exact_nano(key, cost) for key, cost in (row.get("search_context_cost_per_query") or {}).items()}
    if by_size:
        found["search_dearest"] = max(by_size.values())
        found["search"] = by_size.get("search_context_size_medium", found["search_dearest"])
    image: tuple[str, ...] = ("output_cost_per_image",)
    if row.get("mode") in ("image_generation", "image_edit"):
        # There the map calls a picture made "input" too; elsewhere it means a picture sent, which usage counts in
        # tokens.
        image += ("input_cost_per_image",)
    candidates = {
        "request": ("input_cost_per_request",),
        "image": image,
        "character": ("input_cost_per_character",),
        "query": ("input_cost_per_query", "ocr_cost_per_page"),
    }
    for piece, keys in candidates.items():
        rate = _first(row, keys)
        if rate is not None:
            found[piece] = rate
    if "image" not in found:
        _price_pixels(row, name, found)
    # Audio is often listed per second of input and again per second of output: one duration, charged once.
    seconds = [exact_nano(key, row[key]) for key in row if _SECOND.fullmatch(key)]
    if seconds:
        found["second"] = max(seconds)
    return found


def _price_pixels(row: Row, name: str, found: Found) -> None:
    size = _SIZE.search(name)
    pixel = [exact_nano(key, row[key]) for key in ("input_cost_per_pixel", "output_cost_per_pixel") if key in row]
    if size and pixel:
        found["image"] = max(pixel) * int(size[1]) * int(size[2])


def _is_priced(known: Found, mode: str) -> bool:
    # Zero per token beside a price per song is not free: that is a price for what calls of this mode do not count.
    uncounted = any(known.get(piece) for piece in ("image", "character", "second", "query"))
    for buckets in _PRICED_BY.get(mode, _PRICED_BY_OTHERWISE):
        stated = [known[bucket] for bucket in buckets if bucket in known]
        if len(stated) == len(buckets) and (any(stated) or not uncounted):
            return True
    return False


#: Where weekdays are counted, in seconds east of UTC: China has one time and no summer time.
_EAST_S = {"UTC": 0, "Asia/Shanghai": 8 * 3600}


def _off_peak(row: Row, price: Price, name: str) -> OffPeak | None:
    """Hours at which less is asked, as DeepSeek does (https://api-docs.deepseek.com/quick_start/pricing, 2026-11)."""
    told = row["off_peak_pricing"]
    zone = told.get("weekday_timezone", "UTC")
    if zone not in _EAST_S:
        raise ValueError(f"'off_peak_pricing': expected a weekday_timezone of {sorted(_EAST_S)}, got {zone!r}")
    lower = {**row, **{key: cost for key, cost in told.items() if "cost" in key}, "off_peak_pricing": None}
    off_peak = price_from_map(lower, version=f"{price.version}/off-peak", name=name)
    if off_peak is None:
        return None
    for here, there in zip(off_peak.ceilings, price.ceilings, strict=True):
        # Holds are taken at the price itself, so it has to be the higher one.
        if (
            here.input * price.per_nano > there.input * off_peak.per_nano
            or here.output * price.per_nano > there.output * off_peak.per_nano
        ):
            raise ValueError("'off_peak_pricing': expected prices that are not above those of the other hours")
    windows = told.get("windows") or [told]
    return OffPeak(tuple(_window(window, _EAST_S[zone]) for window in windows), off_peak)


def _window(told: Row, east_s: int) -> Window:
    hours = told["hours_utc"]
    spans: list[tuple[int, int]] = []
    for span in [hours] if isinstance(hours, str) else hours:
        start, end = (int(clock[:2]) * 3600 + int(clock[3:]) * 60 for clock in span.split("-"))
        spans += [(start, end)] if start < end else [(start, 86_400), (0, end)]
    return Window(tuple(told.get("weekdays", range(1, 8))), tuple(spans), east_s)


def _price(version: str, schedules: dict[str, list[tuple[int, Found]]], pieces: Found) -> Price:
    rates = [rate for levels in schedules.values() for _, found in levels for rate in found.values()]
    per_nano = math.lcm(*{rate.denominator for rate in (*rates, *pieces.values())})

    def whole(found: Found) -> dict[str, int]:
        return {key: rate.numerator * (per_nano // rate.denominator) for key, rate in found.items()}

    services = {}
    for service, levels in schedules.items():
        tiers = [Tier(above, Rates(**whole(found))) for above, found in levels]
        services[service] = Schedule(tiers[0].rates, tuple(tiers[:0:-1]))
    plain = services.pop("")
    by_piece = any(pieces.values())
    return Price(
        version=version,
        per_nano=per_nano,
        rates=plain.rates,
        tiers=plain.tiers,
        services=services,
        ceilings=tuple(_ceilings([plain, *services.values()])),
        by_piece=by_piece,
        free=not by_piece and not any(rates),
        off_peak=None,
        **{**dict.fromkeys(_PIECES, 0), **whole(pieces)},
    )


def _ceilings(schedules: list[Schedule]) -> Iterator[Ceiling]:
    dearest_in = dearest_out = 0
    for above in sorted({-1, *(tier.above for schedule in schedules for tier in schedule.tiers)}):
        met = [schedule.rates_at(above + 1) for schedule in schedules]
        # A lower tier stays within reach of a larger bound: the call may turn out smaller than it.
        dearest_in = max(dearest_in, *(rates.input_dearest for rates in met))
        dearest_out = max(dearest_out, *(rates.output_dearest for rates in met))
        yield Ceiling(above, dearest_in, dearest_out)
