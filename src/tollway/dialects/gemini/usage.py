"""Gemini's `usageMetadata` to our disjoint buckets and back.

https://ai.google.dev/api/generate-content#UsageMetadata (2026-11-22). `promptTokenCount` holds the cached tokens, but
not those of the tools' results (`toolUsePromptTokenCount`); `candidatesTokenCount` holds no thought
(`thoughtsTokenCount`). Some servers count otherwise: `totalTokenCount` decides.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage, UsageDetails
from tollway.dialects import dollars_json
from tollway.dialects.gemini.parts import generation


class ModalityCount(Struct, gc=False):
    modality: str = ""
    tokenCount: int | None = None


class UsageFields(Struct):
    promptTokenCount: int | None = None
    cachedContentTokenCount: int | None = None
    candidatesTokenCount: int | None = None
    thoughtsTokenCount: int | None = None
    toolUsePromptTokenCount: int | None = None
    totalTokenCount: int | None = None
    promptTokensDetails: list[ModalityCount] | None = None
    cacheTokensDetails: list[ModalityCount] | None = None
    candidatesTokensDetails: list[ModalityCount] | None = None
    toolUsePromptTokensDetails: list[ModalityCount] | None = None
    trafficType: str | None = None
    serviceTier: str | None = None


_decode_usage = msgspec.json.Decoder(UsageFields).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

_COUNTS = tuple(name for name in UsageFields.__struct_fields__ if name.endswith("Count"))
_DETAILS = tuple(name for name in UsageFields.__struct_fields__ if name.endswith("Details"))

#: Tiers whose price is not the ordinary one; Vertex AI tells them as the type of traffic.
_TIERS = {"ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex", "priority": "priority", "flex": "flex"}


def usage_from_json(raw: bytes | Raw, searches: int = 0) -> Usage | None:
    """None where the value is no usage at all (null, a list). Numbers that are not whole or negative count as
    nothing.
    """
    try:
        fields = _decode_usage(raw)
    except _UNREADABLE:
        try:
            value = msgspec.json.decode(raw)
        except _UNREADABLE:
            return None
        if not isinstance(value, dict):
            return None
        fields = _only_readable(value)
    return usage_from_fields(fields, searches)


def _only_readable(value: dict[str, Any]) -> UsageFields:
    fields = UsageFields()
    for name in _COUNTS:
        setattr(fields, name, _count(value.get(name)))
    for name in _DETAILS:
        given = value.get(name)
        items = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
        setattr(
            fields, name, [ModalityCount(str(item.get("modality")), _count(item.get("tokenCount"))) for item in items]
        )
    for name in ("trafficType", "serviceTier"):
        setattr(fields, name, value[name] if isinstance(value.get(name), str) else None)
    return fields


def _count(value: Any) -> int:
    if isinstance(value, str) and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        return 0
    return int(value)


def usage_from_fields(fields: UsageFields, searches: int = 0) -> Usage:
    """Disjoint buckets, none negative, whose sums are the provider's own total where it tells one."""
    prompt = max(fields.promptTokenCount or 0, 0)
    output = max(fields.candidatesTokenCount or 0, 0)
    thoughts = max(fields.thoughtsTokenCount or 0, 0)
    tools = max(fields.toolUsePromptTokenCount or 0, 0)
    if fields.totalTokenCount:
        beyond = fields.totalTokenCount - prompt - output - thoughts - tools
        if beyond > 0:
            output += beyond
        elif beyond < 0:
            within = min(thoughts, output, -beyond)  # thought that the candidates' count holds too
            output -= within
            tools -= min(tools, -beyond - within)  # results that the prompt's count holds too
    cached = min(max(fields.cachedContentTokenCount or 0, 0), prompt)
    left = prompt + tools - cached
    audio_in = image_in = audio_out = image_out = 0
    details = None
    if fields.promptTokensDetails or fields.toolUsePromptTokensDetails:
        heard, seen = _media(fields.promptTokensDetails)
        more_heard, more_seen = _media(fields.toolUsePromptTokensDetails)
        cached_heard, cached_seen = _media(fields.cacheTokensDetails)
        audio_in = min(max(heard + more_heard - cached_heard, 0), left)
        image_in = min(max(seen + more_seen - cached_seen, 0), left - audio_in)
        if cached_heard or cached_seen:
            cached_heard = min(cached_heard, cached)
            details = UsageDetails(cached_heard, min(cached_seen, cached - cached_heard))
    if fields.candidatesTokensDetails:
        heard, seen = _media(fields.candidatesTokensDetails)
        audio_out = min(heard, output)
        image_out = min(seen, output - audio_out)
    return Usage(
        input=left - audio_in - image_in,
        cache_read=cached,
        audio_in=audio_in,
        image_in=image_in,
        output=output - audio_out - image_out,
        reasoning=thoughts,
        audio_out=audio_out,
        image_out=image_out,
        searches=searches,
        service_tier=_TIERS.get(fields.trafficType or fields.serviceTier or "", ""),
        details=details,
    )


def _media(details: list[ModalityCount] | None) -> tuple[int, int]:
    """(tokens of sound, tokens of pictures). Video and documents are counted and priced like text."""
    heard = seen = 0
    for count in details or ():
        if count.modality == "AUDIO":
            heard += max(count.tokenCount or 0, 0)
        elif count.modality == "IMAGE":
            seen += max(count.tokenCount or 0, 0)
    return heard, seen


class _Grounding(Struct):
    webSearchQueries: list[str] | None = None


_decode_grounding = msgspec.json.Decoder(_Grounding).decode


def searches_in(grounding: Raw, model: str) -> int:
    """Searches that are billed: each query from generation 3 on, before it each answer that rests on any.
    https://ai.google.dev/gemini-api/docs/pricing (2026-11-22)
    """
    try:
        queries = _decode_grounding(grounding).webSearchQueries
    except _UNREADABLE:
        return 0
    found = len([query for query in queries or () if query])
    return found if generation(model) >= (3, 0) else min(found, 1)


def usage_to_fields(usage: Usage, cost: Cost | None = None) -> dict[str, Any]:
    """What a client of Gemini's reads. What was written to a cache counts as prompt, as there is no word for it."""
    fields: dict[str, Any] = {
        "promptTokenCount": usage.input_total,
        "candidatesTokenCount": usage.output + usage.audio_out + usage.image_out,
        "totalTokenCount": usage.input_total + usage.output_total,
    }
    if usage.cache_read:
        fields["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        fields["thoughtsTokenCount"] = usage.reasoning
    if usage.audio_in or usage.image_in:
        text = usage.input_total - usage.audio_in - usage.image_in
        fields["promptTokensDetails"] = _details(text, usage.audio_in, usage.image_in)
    if usage.audio_out or usage.image_out:
        fields["candidatesTokensDetails"] = _details(usage.output, usage.audio_out, usage.image_out)
    if usage.service_tier:
        fields["serviceTier"] = usage.service_tier
    if cost is not None:
        fields["cost"] = dollars_json(cost)
    return fields


def _details(text: int, audio: int, image: int) -> list[dict[str, Any]]:
    counts = (("TEXT", text), ("AUDIO", audio), ("IMAGE", image))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]


def with_cost(raw: bytes | Raw, cost: Cost) -> Raw:
    """A provider's own usage object with our `cost` in it; every other member keeps its bytes."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
    except _UNREADABLE:
        return Raw(raw)
    fields["cost"] = dollars_json(cost)
    return Raw(msgspec.json.encode(fields))
