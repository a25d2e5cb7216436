"""OpenAI's usage object to our disjoint buckets and back.

https://platform.openai.com/docs/api-reference/chat/object (2026-11-22). Compatible servers differ in whether
`prompt_tokens` holds the cached ones and `completion_tokens` the reasoning: `total_tokens` decides.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tollway.calls import Cost, Usage, UsageDetails
from tollway.dialects import dollars_json


class CreationDetails(Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class CachedDetails(Struct, gc=False):
    audio_tokens: int | None = None
    image_tokens: int | None = None


class PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cached_tokens_details: CachedDetails | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    cache_creation_token_details: CreationDetails | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CompletionDetails(Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class UsageFields(Struct, gc=False):
    """`prompt_cache_hit_tokens` is DeepSeek's, `num_search_queries`, `search_context_size` and `citation_tokens`
    Perplexity's (https://docs.perplexity.ai/guides/pricing, 2026-11-22); the two `cache_…` are Anthropic's words.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    num_search_queries: int | None = None
    search_context_size: str | None = None
    citation_tokens: int | None = None


_decoder = msgspec.json.Decoder(UsageFields)
_NO_PROMPT_DETAILS = PromptDetails()
_NO_COMPLETION_DETAILS = CompletionDetails()

#: Tiers whose price is not the ordinary one.
PRICED_TIERS = frozenset({"priority", "flex", "batch", "scale"})
SEARCH_SIZES = frozenset({"low", "medium", "high"})


def usage_from_json(raw: bytes | Raw, service_tier: str | None = None) -> Usage | None:
    """None where the value is no usage at all (null, a list). Numbers that are not whole or negative count as
    nothing.
    """
    try:
        fields = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not isinstance(value, dict):
            return None
        fields = msgspec.convert(_only_counts(value), UsageFields)
    return usage_from_fields(fields, service_tier)


def _only_counts(value: dict[str, Any]) -> dict[str, Any]:
    """The whole numbers and the objects of whole numbers in it, whatever else a server put there."""
    counts: dict[str, Any] = {}
    for name, item in value.items():
        if name.endswith("_details"):
            if isinstance(item, dict):
                counts[name] = _only_counts(item)
        elif isinstance(item, (int, float)) and not isinstance(item, bool) and 0 <= item < 1e15:
            counts[name] = int(item)
    return counts


def usage_from_fields(fields: UsageFields, service_tier: str | None = None) -> Usage:
    """Disjoint buckets, none negative, whose sums are the provider's own totals."""
    prompt = fields.prompt_tokens or 0
    completion = fields.completion_tokens or 0
    into = fields.prompt_tokens_details or _NO_PROMPT_DETAILS
    out = fields.completion_tokens_details or _NO_COMPLETION_DETAILS
    read = into.cached_tokens or fields.prompt_cache_hit_tokens or fields.cache_read_input_tokens or 0
    write = into.cache_write_tokens or into.cache_creation_tokens or fields.cache_creation_input_tokens or 0
    reasoning = out.reasoning_tokens or fields.reasoning_tokens or 0
    beyond = (fields.total_tokens or 0) - prompt - completion
    tier = service_tier if service_tier in PRICED_TIERS else ""
    if (
        not beyond
        and 0 <= read <= prompt
        and 0 <= reasoning <= completion
        and not (write or into.audio_tokens or into.image_tokens or out.audio_tokens or out.image_tokens)
        and not (fields.num_search_queries or fields.search_context_size)
    ):  # what nearly every reply looks like, without the care for the others: this stands on the path of every call
        return Usage(prompt - read, read, 0, 0, 0, 0, completion - reasoning, reasoning, service_tier=tier)
    prompt, completion = max(prompt, 0), max(completion, 0)
    read, write, reasoning = max(read, 0), max(write, 0), max(reasoning, 0)
    beyond = (fields.total_tokens or 0) - prompt - completion
    if beyond > 0:
        if beyond == read + write and beyond != reasoning:
            prompt += beyond  # the server does not count cached tokens as prompt
        else:
            completion += beyond  # nor, here, what was thought as completion (xAI; Gemini's compatible endpoint)
            reasoning = reasoning or beyond
    elif not fields.total_tokens and reasoning > completion:
        completion += reasoning
    # Where a size is told and no number, the call itself is one search: Perplexity's fee for a request.
    searches = fields.num_search_queries or (1 if fields.search_context_size else 0)
    usage = _in_buckets(prompt, completion, (read, write, reasoning), into, out, searches, tier)
    details = _details(fields, into.cached_tokens_details, usage.cache_read)
    return usage if details is None else replace(usage, details=details)


def _details(fields: UsageFields, cached: CachedDetails | None, read: int) -> UsageDetails | None:
    audio = min(max(cached.audio_tokens or 0, 0), read) if cached is not None else 0
    image = min(max(cached.image_tokens or 0, 0), read - audio) if cached is not None else 0
    size = fields.search_context_size if fields.search_context_size in SEARCH_SIZES else ""
    citations = max(fields.citation_tokens or 0, 0)
    if not (audio or image or size or citations):
        return None
    return UsageDetails(audio, image, citations=citations, search_size=size)


def _in_buckets(
    prompt: int,
    completion: int,
    counts: tuple[int, int, int],
    into: PromptDetails,
    out: CompletionDetails,
    searches: int,
    tier: str,
) -> Usage:
    """Each bucket takes what it says from what is left, so that details which do not add up cannot make one
    negative.
    """
    read, write, reasoning = counts
    write_1h = 0
    if into.cache_creation_token_details is not None:
        write_1h = max(into.cache_creation_token_details.ephemeral_1h_input_tokens or 0, 0)
    read = min(read, prompt)
    left = prompt - read
    write = min(write, left)
    left -= write
    write_1h = min(write_1h, write)
    audio_in = min(max(into.audio_tokens or 0, 0), left)
    left -= audio_in
    image_in = min(max(into.image_tokens or 0, 0), left)
    reasoning = min(reasoning, completion)
    left_out = completion - reasoning
    audio_out = min(max(out.audio_tokens or 0, 0), left_out)
    left_out -= audio_out
    image_out = min(max(out.image_tokens or 0, 0), left_out)
    return Usage(
        input=left - image_in,
        cache_read=read,
        cache_write_5m=write - write_1h,
        cache_write_1h=write_1h,
        audio_in=audio_in,
        image_in=image_in,
        output=left_out - image_out,
        reasoning=reasoning,
        audio_out=audio_out,
        image_out=image_out,
        searches=max(searches, 0),
        service_tier=tier,
    )


def usage_to_fields(usage: Usage, cost: Cost | None = None) -> dict[str, Any]:
    """What a client of OpenAI's reads, with the cache counts also in the words that Anthropic's users know."""
    write = usage.cache_write_5m + usage.cache_write_1h
    into: dict[str, Any] = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_in}
    if usage.image_in:
        into["image_tokens"] = usage.image_in
    if write:
        into["cache_write_tokens"] = write
        into["cache_creation_tokens"] = write
        into["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    out: dict[str, Any] = {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_out}
    if usage.image_out:
        out["image_tokens"] = usage.image_out
    fields: dict[str, Any] = {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens_details": into,
        "completion_tokens_details": out,
    }
    if write:
        fields["cache_creation_input_tokens"] = write
    if usage.cache_read:
        fields["cache_read_input_tokens"] = usage.cache_read
    if usage.searches:
        fields["num_search_queries"] = usage.searches
    if cost is not None:
        fields["cost"] = dollars_json(cost)
    return fields


def with_cost(raw: Raw | bytes, cost: Cost | None) -> Raw:
    """A provider's own usage object with our `cost` in it; every other member keeps its bytes."""
    if cost is None:
        return Raw(raw)
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Raw(raw)
    fields["cost"] = dollars_json(cost)
    return Raw(msgspec.json.encode(fields))
