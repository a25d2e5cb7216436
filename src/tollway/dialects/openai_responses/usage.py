"""The usage object of the Responses API to our disjoint buckets and back.

https://platform.openai.com/docs/api-reference/responses/object (2026-11-22). `input_tokens` holds what was read from the
cache and written to it, `output_tokens` what was thought. Searches are billed apart: newer responses count them in
`tool_usage`, in older ones each `web_search_call` among the output that searched is one. Perplexity counts them in its usage
(`tool_calls_details.search_web.invocation`, https://docs.perplexity.ai/docs/agent-api/output-control, 2026-11-22).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from tollway.calls import Cost, Usage, UsageDetails
from tollway.dialects import dollars_json


class _WriteDetails(Struct, gc=False):
    """Short and long lifetimes, in OpenAI's words and in Anthropic's."""

    ttl_30m_tokens: int | None = None
    ttl_12h_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _InputDetails(Struct, gc=False):
    cached_tokens: int | None = None
    cache_read_input_tokens: int | None = None  # Perplexity's words for it
    cache_write_tokens: int | None = None
    cache_write_tokens_details: _WriteDetails | None = None
    cache_creation_token_details: _WriteDetails | None = None


class _OutputDetails(Struct, gc=False):
    reasoning_tokens: int | None = None


class _UsageFields(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    tool_calls_details: Any = None


class ResponseHead(Struct, gc=False):
    """What must be known of a `response` object. `Any` where a server may write what it likes without breaking the
    call.
    """

    id: Any = ""
    model: Any = None
    status: Any = None
    created_at: Any = None
    output: Raw = Raw()
    usage: Raw = Raw()
    error: Raw = Raw()
    incomplete_details: Any = None
    service_tier: Any = None
    tool_usage: Any = None


class _OutputItem(Struct, gc=False):
    type: Any = None
    status: Any = None
    action: Any = None


_decode_usage = msgspec.json.Decoder(_UsageFields).decode
_decode_items = msgspec.json.Decoder(list[_OutputItem]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_NO_INPUT_DETAILS = _InputDetails()

#: Tiers whose price is not the ordinary one.
PRICED_TIERS = frozenset({"priority", "flex", "batch", "scale", "ultrafast"})


def usage_of(response: ResponseHead) -> Usage | None:
    """The usage that a response tells. None where it tells none (null, something that is no object)."""
    if not bytes(response.usage).startswith(b"{"):
        return None
    try:
        fields = _decode_usage(response.usage)
    except _UNREADABLE:
        fields = msgspec.convert(_only_counts(msgspec.json.decode(response.usage)), _UsageFields)
    tier = response.service_tier
    searches = _searches_of(response) or _searches_told(fields.tool_calls_details)
    usage = _in_buckets(fields, searches, tier if isinstance(tier, str) and tier in PRICED_TIERS else "")
    if b'"file_search_call"' in bytes(response.output):
        return replace(usage, details=UsageDetails(file_searches=_file_searches_in(response.output)))
    return usage


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


def _in_buckets(fields: _UsageFields, searches: int, tier: str) -> Usage:
    """Disjoint buckets, none negative, whose sums are the provider's own totals."""
    into = fields.input_tokens_details or _NO_INPUT_DETAILS
    asked = max(fields.input_tokens or 0, 0)
    answered = max(fields.output_tokens or 0, 0)
    reasoning = max(fields.output_tokens_details.reasoning_tokens or 0, 0) if fields.output_tokens_details else 0
    beyond = (fields.total_tokens or 0) - asked - answered
    if beyond > 0:  # a server that does not count what was thought as output
        answered += beyond
        reasoning = reasoning or beyond
    elif not fields.total_tokens and reasoning > answered:
        answered += reasoning
    read = min(max(into.cached_tokens or into.cache_read_input_tokens or 0, 0), asked)
    write = min(max(into.cache_write_tokens or 0, 0), asked - read)
    details = into.cache_write_tokens_details or into.cache_creation_token_details
    long = max(details.ttl_12h_tokens or details.ephemeral_1h_input_tokens or 0, 0) if details is not None else 0
    long = min(long, write)
    reasoning = min(reasoning, answered)
    return Usage(
        input=asked - read - write,
        cache_read=read,
        cache_write_5m=write - long,
        cache_write_1h=long,
        output=answered - reasoning,
        reasoning=reasoning,
        searches=searches,
        service_tier=tier,
    )


def _searches_of(response: ResponseHead) -> int:
    """How many searches of the web will be billed: the opening of a page that was found is none."""
    counted = response.tool_usage.get("web_search") if isinstance(response.tool_usage, dict) else None
    number = counted.get("num_requests") if isinstance(counted, dict) else None
    if isinstance(number, int) and not isinstance(number, bool):
        return max(number, 0)
    if b'"web_search_call"' not in bytes(response.output):
        return 0
    try:
        items = _decode_items(response.output)
    except _UNREADABLE:
        return 0
    return sum(item.type == "web_search_call" and _searched(item) for item in items)


def _searches_told(details: Any) -> int:
    searched = details.get("search_web") if isinstance(details, dict) else None
    number = searched.get("invocation") if isinstance(searched, dict) else None
    return max(number, 0) if isinstance(number, int) and not isinstance(number, bool) else 0


def _file_searches_in(output: Raw) -> int:
    """Each finished call is billed (https://platform.openai.com/docs/pricing, 2026-11-22)."""
    try:
        items = _decode_items(output)
    except _UNREADABLE:
        return 0
    return sum(item.type == "file_search_call" and item.status != "failed" for item in items)


def _searched(item: _OutputItem) -> bool:
    action = item.action.get("type") if isinstance(item.action, dict) else None
    return item.status != "failed" and action in (None, "search")


def usage_to_fields(usage: Usage, cost: Cost | None = None) -> dict[str, Any]:
    """What a client of the Responses API reads."""
    write = usage.cache_write_5m + usage.cache_write_1h
    into: dict[str, Any] = {"cached_tokens": usage.cache_read, "cache_write_tokens": write}
    if usage.cache_write_1h:
        into["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    fields: dict[str, Any] = {
        "input_tokens": usage.input_total,
        "input_tokens_details": into,
        "output_tokens": usage.output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_total + usage.output_total,
    }
    if cost is not None:
        fields["cost"] = dollars_json(cost)
    return fields


def with_cost(raw: Raw, usage: Usage | None, cost: Cost | None) -> Raw | None:
    """A provider's own usage object with our `cost` in it, every other member as it came; else one made of `usage`.
    None: leave what is there.
    """
    if bytes(raw).startswith(b"{"):
        if cost is None:
            return None
        fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Raw])
        fields["cost"] = dollars_json(cost)
    elif usage is not None:
        fields = usage_to_fields(usage, cost)
    else:
        return None
    return Raw(msgspec.json.encode(fields))
