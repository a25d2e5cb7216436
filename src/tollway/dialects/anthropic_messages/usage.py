"""Anthropic's usage object to our buckets and back. https://docs.claude.com/en/api/messages (2026-11-22).

Its counts are disjoint already: `input_tokens` holds neither what was read from the cache nor what was written to it.
In a stream `message_start` tells the input and `message_delta` the output, cumulatively; a later number replaces an
earlier one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from tollway.calls import Cost, Usage, UsageDetails
from tollway.dialects import dollars_json

PRICED_TIERS = frozenset({"priority", "batch", "fast"})
#: Places that ask more (`inference_geo`): https://platform.claude.com/docs/en/about-claude/pricing (2026-11-22).
PRICED_PLACES = frozenset({"us"})


def merge_usage(seen: dict[str, Any], raw: bytes | Raw) -> bool:
    """Puts a usage object's members over those seen before. False if it is no object."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    seen.update({name: value for name, value in fields.items() if value is not None})
    return True


def usage_from_fields(fields: dict[str, Any]) -> Usage:
    creation = fields.get("cache_creation")
    written = _count(fields, "cache_creation_input_tokens")
    hour = (
        min(_count(creation, "ephemeral_1h_input_tokens"), written)
        if written
        else _count(creation, "ephemeral_1h_input_tokens")
    )
    five = written - hour if written else _count(creation, "ephemeral_5m_input_tokens")
    output = _count(fields, "output_tokens")
    reasoning = min(_count(fields.get("output_tokens_details"), "thinking_tokens"), output)
    tier = fields.get("service_tier")
    if fields.get("speed") == "fast":
        tier = "fast"  # asks more than any other tier, whichever it was served in
    place = fields.get("inference_geo")
    return Usage(
        input=_count(fields, "input_tokens"),
        cache_read=_count(fields, "cache_read_input_tokens"),
        cache_write_5m=five,
        cache_write_1h=hour,
        output=output - reasoning,
        reasoning=reasoning,
        searches=_count(fields.get("server_tool_use"), "web_search_requests"),
        service_tier=tier if isinstance(tier, str) and tier in PRICED_TIERS else "",
        details=UsageDetails(place=place) if isinstance(place, str) and place in PRICED_PLACES else None,
    )


def _count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        return 0
    return int(value)


def usage_to_fields(usage: Usage, cost: Cost | None = None) -> dict[str, Any]:
    """What a client of Anthropic's reads. What was heard or seen counts as input, what was thought as output, as it
    does there.
    """
    fields: dict[str, Any] = {
        "input_tokens": usage.input + usage.audio_in + usage.image_in,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output_total,
    }
    if usage.cache_write_5m or usage.cache_write_1h:
        fields["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.searches:
        fields["server_tool_use"] = {"web_search_requests": usage.searches}
    if usage.service_tier == "fast":
        fields["speed"] = "fast"
    elif usage.service_tier:
        fields["service_tier"] = usage.service_tier
    if usage.details is not None and usage.details.place:
        fields["inference_geo"] = usage.details.place
    if cost is not None:
        fields["cost"] = dollars_json(cost)
    return fields
