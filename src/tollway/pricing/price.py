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
from datetime import UTC, date, datetime
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
    cache_read_audio: int = 0
    cache_read_image: int = 0

    @property
    def input_dearest(self) -> int:
        caches = (self.cache_read, self.cache_write_5m, self.cache_write_1h)
        return max(self.input, self.audio_in, self.image_in, self.cache_read_audio, self.cache_read_image, *caches)

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


class Other(Struct, frozen=True):
    """Another price, from one moment to another (Unix seconds), and of these only in its `windows` if there are any."""

    price: Price
    from_s: float = -math.inf
    until_s: float = math.inf
    windows: tuple[Window, ...] = ()

    def holds(self, now_s: float) -> bool:
        if not self.from_s <= now_s < self.until_s:
            return False
        return not self.windows or any(window.holds(now_s) for window in self.windows)


class Pieces(Struct, frozen=True):
    """What is asked per call and per piece, in units of 1/`per_nano` nano-dollar."""

    request: int = 0
    search: int = 0
    file_search: int = 0
    image: int = 0
    character: int = 0
    second: int = 0
    query: int = 0
    citation: int = 0


class Terms(Struct, frozen=True):
    """What stands between a listed price and what callers are charged: every rate is multiplied by `rate`, those of tokens
    also by `tokens`, and each call costs `request_nano` more. `name` tells prices under different terms apart.
    """

    name: str = ""
    rate: Fraction = Fraction(1)
    tokens: Fraction = Fraction(1)
    request_nano: Fraction = Fraction(0)


AS_LISTED = Terms()


class Price(Struct, frozen=True):
    """What a model costs. `version` names it in spend rows; rates are in units of 1/`per_nano` nano-dollar.

    `request` is per call, the rest per piece of `Usage`: `search` and `image` where usage does not tell their kind (then
    `searches_by_size` and `images_by_kind` count first, and `pixel` for pictures of any size), `character`, `second`,
    `query`, and of `UsageDetails` `file_search` and `citation`. `dearest` are the most that each can be. `by_piece` says
    that one which bounds count is not zero, `counted` that one which every call may have is, `free` that nothing costs
    anything. `services`
    are the service tiers that differ, by the names `Usage.service_tier` knows; any other name is charged like "".
    `places` multiply token rates where usage names one. `ceilings` are for bounds, lowest threshold first, beginning below
    zero; they and `dearest` hold for all that `at` can answer from now on. `others` are prices of other times, the first
    that holds counts. `terms` are in all these numbers already.
    """

    version: str
    per_nano: int
    rates: Rates
    tiers: tuple[Tier, ...]
    services: dict[str, Schedule]
    ceilings: tuple[Ceiling, ...]
    request: int
    search: int
    image: int
    character: int
    second: int
    query: int
    file_search: int
    citation: int
    pixel: int
    searches_by_size: dict[str, int]
    images_by_kind: dict[str, int]
    places: dict[str, Fraction]
    dearest: Pieces
    by_piece: bool
    counted: bool
    free: bool
    others: tuple[Other, ...]
    terms: Terms

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
        """The price at this Unix time."""
        if self.others:
            for other in self.others:
                if other.holds(now_s):
                    return other.price.at(now_s)
        return self

    def image_of(self, kind: str) -> int:
        """What a picture of this quality and size ("hd/1024x1792") costs."""
        rate = self.images_by_kind.get(kind)
        if rate is not None:
            return rate
        size = _KIND_SIZE.search(kind) if self.pixel else None
        return self.pixel * int(size[1]) * int(size[2]) if size else self.image


_KIND_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})$")


# --- reading the map ------------------------------------------------------------------------------------------------

#: Bucket of `Usage` -> its keys in the map; the first that is there counts. DeepSeek's rows name cache reads twice.
_TOKEN_KEYS: dict[str, tuple[str, ...]] = {
    "input": ("input_cost_per_token",),
    "cache_read": ("cache_read_input_token_cost", "input_cost_per_token_cache_hit"),
    "cache_read_audio": ("cache_read_input_audio_token_cost",),
    "cache_read_image": ("cache_read_input_image_token_cost",),
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
    # Nothing told: what is made is known by what is priced. Tokens without a mode are a chat's.
    "": (("input", "output"), ("image",), ("image_out",), ("character",), ("second",), ("query",), ("audio_out",)),
}
_PRICED_BY_OTHERWISE: tuple[tuple[str, ...], ...] = (("input",), ("query",))

_PIECES = Pieces.__struct_fields__
#: The largest picture that a model priced by its pixels is asked for: what one of which the size is not told may cost.
PICTURE_PIXELS_MAX = 4 << 20
PICTURE_PIXELS_USUAL = 1 << 20
_SEARCH_SIZE = "search_context_size_"

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


def price_from_map(row: Row, *, version: str, name: str = "", terms: Terms = AS_LISTED) -> Price | None:
    """The price in a row of the map, or None when the row does not price its mode.

    Values are numbers or decimal strings, in dollars per unit. `name` is the row's own: a price per pixel may have the
    size in it ("hd/1024-x-1024/dall-e-3"). Raises ValueError for a price that is no number, negative or out of all
    measure.

    A row with `tiered_pricing` is charged by the range that the whole input falls in, a boundary belonging to the lower
    range (https://www.alibabacloud.com/help/en/model-studio/model-pricing, 2026-11); `*_above_Nk_tokens` rates hold for all
    tokens once the input is more than N thousand, at xAI from N thousand on (https://docs.x.ai/developers/models, 2026-11).
    """
    row = {key: value for key, value in row.items() if value is not None}
    others = tuple(_others(row, version, name, terms))
    price = _price_of(row, version, name, terms)
    if price is None or not others:
        return price
    return _with_others(price, others)


def _price_of(row: Row, version: str, name: str, terms: Terms) -> Price | None:
    pieces = _pieces(row, name)
    if _rates_are_equal(row, "output_cost_per_reasoning_token", "output_cost_per_token"):
        # What is thought costs what output costs, in other tiers too, which lists often leave out.
        row = {key: value for key, value in row.items() if key != "output_cost_per_reasoning_token"}
    levels = _levels(row)
    known = {**pieces.plain, **_given(levels[0], "")}
    if not _is_priced(known, str(row.get("mode") or "")):
        return None
    schedules = {
        service: [(level.above, _completed(_given(level, suffix))) for level in levels]
        for service, suffix in _SERVICE_SUFFIXES.items()
        if service in ("", "batch") or any(key.endswith(suffix) for key in row)
    }
    uplifts = _uplifts(row)
    fast = uplifts.pop("fast", None)
    if fast is not None:
        schedules["fast"] = [
            (above, {bucket: rate * fast for bucket, rate in found.items()}) for above, found in schedules[""]
        ]
    return _price(f"{version}{terms.name}", schedules, pieces, uplifts, terms)


def price_version(source: str, row: Row) -> str:
    """A short name for what a row asks, stable as long as its prices are: `source` and eight hex digits."""
    asked = {key: str(row[key]) for key in row if says_price(key) or key == "mode"}
    return f"{source}:{hashlib.sha256(msgspec.json.encode(asked, order='sorted')).hexdigest()[:8]}"


def says_price(key: str) -> bool:
    """Whether a key of the map is about prices."""
    return "cost" in key or "pricing" in key or key in (_UPLIFTS, "effective_from") or key.endswith("_multiplier")


_UPLIFTS = "provider_specific_entry"


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


def _rates_are_equal(row: Row, key: str, neighbour: str) -> bool:
    return key in row and neighbour in row and exact_nano(key, row[key]) == exact_nano(neighbour, row[neighbour])


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
    read = given.get("cache_read", fresh)
    return {
        "input": fresh,
        "cache_read": read,
        "cache_read_audio": given.get("cache_read_audio", read),
        "cache_read_image": given.get("cache_read_image", read),
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


class _Asked(Struct):
    """Rates per call and per piece, in nano-dollars: where the kind is not told, by kind, and the most."""

    plain: Found
    dearest: Found
    searches: Found
    images: Found
    pixel: Fraction


def _pieces(row: Row, name: str) -> _Asked:
    """A film priced by its resolution is charged at the dearest one, as usage does not tell them apart."""
    found: Found = {}
    dearest: Found = {}
    told = row.get("search_context_cost_per_query") or {}
    searches = {key.removeprefix(_SEARCH_SIZE): exact_nano(key, cost) for key, cost in told.items()}
    if searches:
        dearest["search"] = max(searches.values())
        found["search"] = searches.get("medium", dearest["search"])
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
        "citation": ("citation_cost_per_token",),
    }
    for piece, keys in candidates.items():
        rate = _first(row, keys)
        if rate is not None:
            found[piece] = rate
    by_thousand = _first(row, ("file_search_cost_per_1k_calls",))
    if by_thousand is not None:
        found["file_search"] = by_thousand / 1000
    by_kind = row.get(IMAGES_BY_KIND) or {}
    images = {kind: exact_nano(IMAGES_BY_KIND, cost) for kind, cost in by_kind.items()}
    if images:
        found["image"] = dearest["image"] = max(images.values())
    pixel = _price_pixels(row, name, found, dearest) if "image" not in found else _NOTHING
    # Audio is often listed per second of input and again per second of output: one duration, charged once.
    seconds = [exact_nano(key, row[key]) for key in row if _SECOND.fullmatch(key)]
    if seconds:
        found["second"] = max(seconds)
    if len(set(searches.values())) < 2:
        searches = {}
    return _Asked(found, {**found, **dearest}, searches, images, pixel)


#: Our own key, beside those of the map: {"hd/1024x1792": dollars}, put together from rows that each list one size.
IMAGES_BY_KIND = "output_cost_per_image_by_kind"


def _price_pixels(row: Row, name: str, found: Found, dearest: Found) -> Fraction:
    """Prices one picture where its size is in the name; else returns what one pixel costs."""
    size = _SIZE.search(name)
    keys = [key for key in ("input_cost_per_pixel", "output_cost_per_pixel") if key in row]
    pixel = max((exact_nano(key, row[key]) for key in keys), default=_NOTHING)
    if not pixel:
        return _NOTHING
    if size:
        found["image"] = pixel * int(size[1]) * int(size[2])
        return _NOTHING
    found["image"] = pixel * PICTURE_PIXELS_USUAL
    dearest["image"] = pixel * PICTURE_PIXELS_MAX
    return pixel


def _uplifts(row: Row) -> dict[str, Fraction]:
    """What token rates are multiplied by where a call was served fast, or in a place that costs more: at Anthropic "fast" and
    "us" (https://platform.claude.com/docs/en/about-claude/pricing, 2026-11).
    """
    told = row.get(_UPLIFTS)
    if not isinstance(told, dict):
        return {}
    return {name: _factor(name, value) for name, value in told.items() if name in ("us", "fast")}


def _factor(key: str, value: object) -> Fraction:
    factor = exact_nano(key, value) / NANO_PER_DOLLAR
    if not 1 <= factor <= 100:
        raise ValueError(f"{key!r}: expected a factor from 1 to 100, got {value!r}")
    return factor


def uplift_in(row: Row, place: str) -> Fraction:
    """What the token rates of a row are multiplied by when all calls go to one place: "eu" and "us" at OpenAI's addresses
    for data residency (https://platform.openai.com/docs/pricing, 2026-11), "regional" at any of Google's that is not global
    (https://cloud.google.com/vertex-ai/generative-ai/pricing, 2026-11). 1 where the row says nothing of it.
    """
    key = (
        "regional_endpoint_uplift_multiplier"
        if place == "regional"
        else f"regional_processing_uplift_multiplier_{place}"
    )
    return _factor(key, row[key]) if place and row.get(key) is not None else Fraction(1)


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


def _others(row: Row, version: str, name: str, terms: Terms) -> Iterator[Other]:
    """Prices of other days (`later_pricing` with `from`, `earlier_pricing` with `until`, each what differs, null for what is
    not asked then), and of hours at which less is asked, as at DeepSeek (https://api-docs.deepseek.com/quick_start/pricing,
    2026-11).
    """
    timed = ("later_pricing", "earlier_pricing")
    plain = {key: value for key, value in row.items() if key not in (*timed, "off_peak_pricing")}
    later = sorted(row.get("later_pricing") or (), key=lambda told: str(told["from"]), reverse=True)
    earlier = sorted(row.get("earlier_pricing") or (), key=lambda told: str(told["until"]))
    for told in later:
        changed = {key: value for key, value in told.items() if key != "from"}
        price = price_from_map({**plain, **changed}, version=f"{version}/{told['from']}", name=name, terms=terms)
        if price is not None:
            yield Other(price, from_s=_day_s(told["from"]))
    for told in earlier:
        changed = {key: value for key, value in told.items() if key != "until"}
        price = price_from_map(
            {**plain, **changed}, version=f"{version}/before-{told['until']}", name=name, terms=terms
        )
        if price is not None:
            yield Other(price, until_s=_day_s(told["until"]))
    off_peak = row.get("off_peak_pricing")
    if off_peak:
        zone = off_peak.get("weekday_timezone", "UTC")
        if zone not in _EAST_S:
            raise ValueError(f"'off_peak_pricing': expected a weekday_timezone of {sorted(_EAST_S)}, got {zone!r}")
        lower = {**plain, **{key: cost for key, cost in off_peak.items() if "cost" in key}}
        price = _price_of(lower, f"{version}/off-peak", name, terms)
        if price is not None:
            windows = off_peak.get("windows") or [off_peak]
            yield Other(price, windows=tuple(_window(window, _EAST_S[zone]) for window in windows))


def _day_s(day: object) -> float:
    """Where a day begins in UTC. Raises ValueError for what is no day."""
    told = date.fromisoformat(str(day))
    return datetime(told.year, told.month, told.day, tzinfo=UTC).timestamp()


def _with_others(price: Price, others: tuple[Other, ...]) -> Price:
    """The price with those of other times; its bounds hold for all of them that are not over yet."""
    coming = [other.price for other in others if other.until_s == math.inf]
    ceilings = [price.ceilings]
    dearest = [msgspec.structs.astuple(price.dearest)]
    for other in coming:

        def here(units: int, there: int = other.per_nano) -> int:
            return -(-units * price.per_nano // there)

        ceilings.append(tuple(Ceiling(c.above, here(c.input), here(c.output)) for c in other.ceilings))
        dearest.append(tuple(here(units) for units in msgspec.structs.astuple(other.dearest)))
    return msgspec.structs.replace(
        price,
        others=others,
        ceilings=tuple(_highest(ceilings)),
        dearest=Pieces(*(max(units) for units in zip(*dearest, strict=True))),
        by_piece=price.by_piece or any(other.by_piece for other in coming),
        free=price.free and all(other.free for other in coming),
    )


def _highest(lists: list[tuple[Ceiling, ...]]) -> Iterator[Ceiling]:
    for above in sorted({ceiling.above for ceilings in lists for ceiling in ceilings}):
        met = [[c for c in ceilings if c.above <= above][-1] for ceilings in lists]
        yield Ceiling(above, max(c.input for c in met), max(c.output for c in met))


def _window(told: Row, east_s: int) -> Window:
    hours = told["hours_utc"]
    spans: list[tuple[int, int]] = []
    for span in [hours] if isinstance(hours, str) else hours:
        start, end = (int(clock[:2]) * 3600 + int(clock[3:]) * 60 for clock in span.split("-"))
        spans += [(start, end)] if start < end else [(start, 86_400), (0, end)]
    return Window(tuple(told.get("weekdays", range(1, 8))), tuple(spans), east_s)


def _price(
    version: str,
    schedules: dict[str, list[tuple[int, Found]]],
    pieces: _Asked,
    places: dict[str, Fraction],
    terms: Terms,
) -> Price:
    if terms != AS_LISTED:
        _put_on_terms(schedules, pieces, terms)
    parts = (pieces.plain, pieces.dearest, pieces.searches, pieces.images, {"pixel": pieces.pixel})
    rates = [rate for levels in schedules.values() for _, found in levels for rate in found.values()]
    per_nano = math.lcm(*{rate.denominator for rate in (*rates, *(rate for part in parts for rate in part.values()))})

    def whole(found: Found) -> dict[str, int]:
        return {key: rate.numerator * (per_nano // rate.denominator) for key, rate in found.items()}

    services = {}
    for service, levels in schedules.items():
        tiers = [Tier(above, Rates(**whole(found))) for above, found in levels]
        services[service] = Schedule(tiers[0].rates, tuple(tiers[:0:-1]))
    plain = services.pop("")
    return Price(
        version=version,
        per_nano=per_nano,
        rates=plain.rates,
        tiers=plain.tiers,
        services=services,
        ceilings=tuple(_ceilings([plain, *services.values()], max(places.values(), default=Fraction(1)))),
        pixel=whole({"pixel": pieces.pixel})["pixel"],
        searches_by_size=whole(pieces.searches),
        images_by_kind=whole(pieces.images),
        places=places,
        dearest=Pieces(**whole(pieces.dearest)),
        by_piece=any(rate for piece, rate in pieces.dearest.items() if piece not in _UNBOUNDED),
        counted=any(rate for piece, rate in pieces.dearest.items() if piece not in _RARE),
        free=not any(pieces.dearest.values()) and not any(rates),
        others=(),
        terms=terms,
        **{**dict.fromkeys(_PIECES, 0), **whole(pieces.plain)},
    )


#: Pieces that few calls have, so that the others need not look for them.
_RARE = ("search", "file_search", "citation")
#: Pieces of which no request tells how many it may come to.
_UNBOUNDED = ("file_search", "citation")


def _put_on_terms(schedules: dict[str, list[tuple[int, Found]]], pieces: _Asked, terms: Terms) -> None:
    for levels in schedules.values():
        for _, found in levels:
            found.update({bucket: rate * terms.rate * terms.tokens for bucket, rate in found.items()})
    for part in (pieces.plain, pieces.dearest, pieces.searches, pieces.images):
        part.update({piece: rate * terms.rate for piece, rate in part.items()})
    pieces.pixel *= terms.rate
    if terms.request_nano:
        for part in (pieces.plain, pieces.dearest):
            part["request"] = part.get("request", _NOTHING) + terms.request_nano


def _ceilings(schedules: list[Schedule], uplift: Fraction) -> Iterator[Ceiling]:
    dearest_in = dearest_out = 0
    for above in sorted({-1, *(tier.above for schedule in schedules for tier in schedule.tiers)}):
        met = [schedule.rates_at(above + 1) for schedule in schedules]
        # A lower tier stays within reach of a larger bound: the call may turn out smaller than it.
        dearest_in = max(dearest_in, *(math.ceil(rates.input_dearest * uplift) for rates in met))
        dearest_out = max(dearest_out, *(math.ceil(rates.output_dearest * uplift) for rates in met))
        yield Ceiling(above, dearest_in, dearest_out)
