"""Compares our catalog with Pydantic's genai-prices, model by model, and writes docs/price_differences.md.

    python scripts/compare_prices.py [--check]

With --check nothing is written: it exits with 1 when the page no longer says what the two catalogs say. What was found on the
providers' pages stands in `NOTES` and in `src/tollway/pricing/price_corrections.json`. Needs the development group.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices
from genai_prices.types import Usage as TheirUsage

from tollway.calls import Usage
from tollway.pricing.catalog import CATALOG_FILE, Catalog, ModelFacts, load
from tollway.pricing.making import CORRECTIONS_FILE
from tollway.pricing.price import Price, price_from_map

ROOT = Path(__file__).resolve().parent.parent
PRICING = ROOT / "src" / "tollway" / "pricing"
PAGE = ROOT / "docs" / "price_differences.md"

#: Their name of a provider -> ours.
PROVIDERS = {
    "anthropic": "anthropic",
    "aws": "bedrock",
    "azure": "azure",
    "baseten": "baseten",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks_ai",
    "google": "gemini",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshotai": "moonshot",
    "novita": "novita",
    "openai": "openai",
    "perplexity": "perplexity",
    "together": "together_ai",
    "voyageai": "voyage",
    "x-ai": "xai",
    "zai": "zai",
}
#: Their price -> (our key, their units in one of ours).
PER_TOKEN = {
    "input_mtok": "input_cost_per_token",
    "output_mtok": "output_cost_per_token",
    "cache_read_mtok": "cache_read_input_token_cost",
    "cache_write_mtok": "cache_creation_input_token_cost",
    "cache_write_1h_mtok": "cache_creation_input_token_cost_above_1hr",
    "input_audio_mtok": "input_cost_per_audio_token",
    "input_image_mtok": "input_cost_per_image_token",
    "cache_audio_read_mtok": "cache_read_input_audio_token_cost",
    "cache_image_read_mtok": "cache_read_input_image_token_cost",
    "output_audio_mtok": "output_cost_per_audio_token",
    "output_image_mtok": "output_cost_per_image_token",
    "output_reasoning_mtok": "output_cost_per_reasoning_token",
}
WEB_SEARCH = "web_searches_kcount"
PER_THOUSAND = {"requests_kcount": "input_cost_per_request", WEB_SEARCH: "search_context_cost_per_query"}
PER_THOUSAND_CALLS = {"storage_searches_kcount": "file_search_cost_per_1k_calls"}
MILLION = Decimal(10**6)


def models() -> Iterator[tuple[str, ModelInfo]]:
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            yield provider.id, model


def row_of(price: ModelPrice) -> dict[str, Any] | None:
    """The same unit prices as a row of our map; None where it has no words for one of them."""
    row: dict[str, Any] = {"mode": "chat"}
    for name, told in price.__dict__.items():
        if told is None:
            continue
        if name in PER_TOKEN:
            key = PER_TOKEN[name]
            row[key] = str((told.base if isinstance(told, TieredPrices) else told) / MILLION)
            for tier in told.tiers if isinstance(told, TieredPrices) else ():
                if tier.start % 1000:
                    return None
                row[f"{key}_above_{tier.start // 1000}k_tokens"] = str(tier.price / MILLION)
        elif name == WEB_SEARCH:
            row[PER_THOUSAND[name]] = {"search_context_size_medium": str(told / 1000)}
        elif name in PER_THOUSAND:
            row[PER_THOUSAND[name]] = str(told / 1000)
        elif name in PER_THOUSAND_CALLS:
            row[PER_THOUSAND_CALLS[name]] = str(told)
        else:
            return None
    row.setdefault("output_cost_per_token", 0)
    return row if "input_cost_per_token" in row else None


def their_usage(usage: Usage) -> TheirUsage:
    """They count totals with parts inside of them, we count parts."""
    details = usage.details
    assert details is not None
    written = usage.cache_write_5m + usage.cache_write_1h
    return TheirUsage(
        input_tokens=usage.input_total,
        output_tokens=usage.output_total,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=written,
        cache_write_1h_tokens=usage.cache_write_1h,
        input_audio_tokens=usage.audio_in + details.cache_read_audio,
        input_image_tokens=usage.image_in + details.cache_read_image,
        cache_audio_read_tokens=details.cache_read_audio,
        cache_image_read_tokens=details.cache_read_image,
        output_audio_tokens=usage.audio_out,
        output_image_tokens=usage.image_out,
        output_reasoning_tokens=usage.reasoning,
        web_searches=usage.searches,
        storage_searches=details.file_searches,
    )


# --- the page -------------------------------------------------------------------------------------------------------

#: Where a provider tells its prices.
PAGES = {
    "anthropic": "https://platform.claude.com/docs/en/about-claude/pricing",
    "aws": "https://aws.amazon.com/bedrock/pricing/",
    "azure": "https://azure.microsoft.com/en-us/pricing/details/azure-openai/",
    "baseten": "https://www.baseten.co/pricing/",
    "cerebras": "https://www.cerebras.ai/pricing",
    "cloudflare": "https://developers.cloudflare.com/workers-ai/platform/pricing/",
    "cohere": "https://cohere.com/pricing",
    "deepseek": "https://api-docs.deepseek.com/quick_start/pricing",
    "fireworks": "https://fireworks.ai/pricing",
    "google": "https://ai.google.dev/gemini-api/docs/pricing",
    "groq": "https://groq.com/pricing",
    "minimax": "https://platform.minimax.io/docs/guides/pricing",
    "mistral": "https://mistral.ai/pricing",
    "moonshotai": "https://platform.moonshot.ai/docs/pricing/chat",
    "novita": "https://novita.ai/pricing",
    "openai": "https://platform.openai.com/docs/pricing",
    "perplexity": "https://docs.perplexity.ai/guides/pricing",
    "together": "https://www.together.ai/pricing",
    "voyageai": "https://docs.voyageai.com/docs/pricing",
    "x-ai": "https://docs.x.ai/docs/models",
    "zai": "https://docs.z.ai/guides/overview/pricing",
}
UNVERIFIED = "Not verified on the provider's page. Ours is kept."
#: (their provider, their model) -> what was found and why we chose as we did. "" stands for every other of the provider's.
NOTES = {
    (
        "anthropic",
        "claude-sonnet-4-5",
    ): "Their rates above 200 000 tokens are those of the former long-context beta. The page "
    "lists one rate a model (copy of 2026-11). Ours is kept.",
    (
        "azure",
        "",
    ): "Ours are the regional rates, a tenth above the global ones; Azure's page shows no numbers without a region. "
    "Not verified. Ours is kept, as the higher one.",
    (
        "deepseek",
        "deepseek-chat",
    ): "The page (copy of 2026-11-15) lists deepseek-flash and deepseek-v4-pro and no longer this "
    "name, which was retired on 2026-07-24. Ours is kept.",
    ("deepseek", "deepseek-reasoner"): "As deepseek-chat.",
    (
        "openai",
        "gpt-4.1",
    ): "$25 is the price of the preview tool for models that do not reason, $10 that of the newer one; a "
    "reply does not tell which it was. Ours is kept, as the higher one.",
    ("openai", "gpt-4.1-mini"): "As gpt-4.1.",
    ("openai", "gpt-4o-mini"): "As gpt-4.1.",
    (
        "openai",
        "gpt-4o-mini-tts",
    ): "Theirs is the price of sound, which we have beside that of text: speech is charged $12.",
    (
        "perplexity",
        "",
    ): "Theirs asks the fee of the largest search context for every request. The page (copy of 2026) has one "
    "for each size, as we do; the size is told in each reply.",
    ("mistral", "mistral-embed"): "Embeddings have no output.",
    (
        "x-ai",
        "grok-code-fast-1",
    ): "Ours are the rates of Grok Build 0.1 ($1 and $2), theirs those of the model of 2025. Not "
    "verified which the old name is charged. Ours is kept, as the higher one.",
}
#: What a float leaves at the end of a number is no difference.
NOISE = Fraction(1, 10**12)


def differences(ours: Price, row: dict[str, Any], now_s: float) -> list[tuple[str, Decimal, Decimal]]:
    """(what, our dollars, theirs), per million tokens or thousand pieces, of the prices that they state."""
    theirs = price_from_map(row, version="")
    assert theirs is not None
    ours = ours.at(now_s)
    found = []
    above = sorted({-1, *(tier.above for price in (ours, theirs) for tier in price.tiers)})
    for threshold in above:
        usage = Usage(input=threshold + 1)
        here, there = ours.rates_for(usage), theirs.rates_for(usage)
        for key, bucket in BUCKETS.items():
            if key not in row:
                continue
            one, other = (Fraction(getattr(r, bucket), p.per_nano) / 1000 for r, p in ((here, ours), (there, theirs)))
            label = f"{bucket} per million" + (f" above {threshold}" if threshold > 0 else "")
            if abs(one - other) > NOISE * other and not _told(found, label, one, other):
                found.append((label, _decimal(one), _decimal(other)))
    for key, piece in PIECES.items():
        if key in row:
            one, other = (Fraction(getattr(p, piece), p.per_nano) / 10**6 for p in (ours, theirs))
            if abs(one - other) > NOISE * other:
                found.append((f"{piece} per thousand", _decimal(one), _decimal(other)))
    return found


BUCKETS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_in",
    "input_cost_per_image_token": "image_in",
    "output_cost_per_audio_token": "audio_out",
    "output_cost_per_image_token": "image_out",
    "output_cost_per_reasoning_token": "reasoning",
}
PIECES = {
    "input_cost_per_request": "request",
    "search_context_cost_per_query": "search",
    "file_search_cost_per_1k_calls": "file_search",
}


def _told(found: list[tuple[str, Decimal, Decimal]], label: str, one: Fraction, other: Fraction) -> bool:
    """Whether a lower threshold said the same."""
    bucket = label.partition(" above")[0]
    return any(before.startswith(bucket) and (a, b) == (_decimal(one), _decimal(other)) for before, a, b in found)


def _decimal(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal("1e-9")).normalize()


def compare(catalog: Catalog, now: datetime) -> tuple[int, list[tuple[str, str, ModelFacts, Any]]]:
    """(how many models both know and price, those that differ)."""
    both, differ = 0, []
    for provider, model in models():
        facts = catalog.find(PROVIDERS[provider], model.id) if provider in PROVIDERS else None
        row = row_of(model.get_prices(now)) if facts is not None else None
        if facts is None or facts.price is None or row is None:
            continue
        if facts.mode == "embedding" or not model.get_prices(now).__dict__.get("output_mtok"):
            row.pop("output_cost_per_token", None)
            row["mode"] = "embedding"
        both += 1
        found = differences(facts.price, row, now.timestamp())
        if found:
            differ.append((provider, model.id, facts, found))
    return both, differ


def page(catalog: Catalog, corrections: list[dict[str, Any]]) -> str:
    now = datetime.fromisoformat(catalog.as_of).replace(tzinfo=UTC)
    both, differ = compare(catalog, now)
    lines = [
        "# Where price lists differ",
        "",
        (
            f"Our catalog of {catalog.as_of} and genai-prices {genai_prices.__version__} both price {both} models; they agree on "
            f"{both - len(differ)}. Made by `python scripts/compare_prices.py`; prices of tokens are dollars per million, of calls "
            "and searches per thousand. What was chosen rests on the provider's page where a public copy of it could be read; "
            "where none could, that is said. A difference is no proof that ours is right."
        ),
        "",
        "## Models that differ",
        "",
        "| provider | model | what | ours | theirs | chosen and why |",
        "|---|---|---|---|---|---|",
    ]
    for provider, name, _, found in differ:
        note = NOTES.get((provider, name)) or NOTES.get((provider, "")) or UNVERIFIED
        link = f"[{provider}]({PAGES[provider]})"
        for i, (what, one, other) in enumerate(found):
            lines.append(f"| {link} | `{name}` | {what} | {one:f} | {other:f} | {note if i == 0 else 'As above.'} |")
    lines += [
        "",
        "## Corrections of the public list",
        "",
        "Our catalog is made from a public list; these of its rows are mended, as long as the list says what is mended.",
        "",
        "| model | what | why | where it stands | basis |",
        "|---|---|---|---|---|",
    ]
    for one in corrections:
        keys = ", ".join(f"`{key}`" for key in one["changes"])
        lines.append(f"| `{one['name']}` | {keys} | {one['why']} | <{one['source']}> | {one['basis']} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: compare_prices.py [--check]", file=sys.stderr)
        return 2
    catalog = load((PRICING / CATALOG_FILE).read_bytes())
    told = page(catalog, json.loads((PRICING / CORRECTIONS_FILE).read_bytes())["corrections"])
    if arguments:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == told
        print(f"{PAGE.name}: {'says what the catalogs say' if same else 'is out of date'}")
        return 0 if same else 1
    PAGE.write_text(told, encoding="utf-8")
    print(f"{PAGE.name}: {len(told.splitlines())} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
