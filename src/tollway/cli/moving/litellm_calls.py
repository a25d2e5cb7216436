"""LiteLLM's spend log as finished calls, and its daily sums as ours.

A row of its log becomes a record without charges: what keys and teams spent comes from their own rows. Which call is which is made
of its request id, so that a second import finds every call that is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any

from msgspec import json

from tollway.calls import Cost, Usage
from tollway.cli.moving.litellm_people import Row, dict_of, nano, us
from tollway.ledger.record import ERROR_MESSAGE_CHARACTERS_MAX, CallRecord, mask_keys
from tollway.storage import KeyRecord
from tollway.storage.rollups import OF_ALL, OF_END_USER, OF_TAG, SEQ_BITS, Place, Sums

#: Workers that never were: an imported call's number is made of its id, and 40 bits are too few to tell a million of them apart.
EPOCHS = 1 << 12
#: Columns that are large and are not read: what was said is not imported.
WITHOUT = ("messages", "response", "proxy_server_request")
#: What LiteLLM writes in the place of a key's hash.
MASTER_KEY_NAMES = frozenset({"", "litellm_proxy_master_key", "litellm-internal-health-check"})
#: LiteLLM's daily tables, and the column that says of whom. All but the first count calls a second time.
DAILY_TABLES = (
    ("LiteLLM_DailyUserSpend", OF_ALL, ""),
    ("LiteLLM_DailyEndUserSpend", OF_END_USER, "end_user_id"),
    ("LiteLLM_DailyTagSpend", OF_TAG, "tag"),
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FAILED = 500


def call_of(row: Row) -> CallRecord:
    """Raises ValueError for a row without a time."""
    started, ended = us(row.get("startTime")), us(row.get("endTime"))
    if started is None:
        raise ValueError("no startTime")
    metadata = dict_of(row.get("metadata"))
    number = int.from_bytes(blake2b(str(row["request_id"]).encode(), digest_size=8).digest())
    seq = number & ((1 << SEQ_BITS) - 1)
    error = dict_of(metadata.get("error_information"))
    failed = row.get("status") == "failure" or metadata.get("status") == "failure"
    key = row.get("api_key") or ""
    first_byte = us(row.get("completionStartTime"))
    return mask_keys(
        CallRecord(
            epoch=1 + (number >> SEQ_BITS) % EPOCHS,
            seq=seq,
            started_us=started,
            ended_us=max(ended or started, started),
            first_byte_us=first_byte if first_byte is not None and started <= first_byte < (ended or 0) else 0,
            key=_token(key),
            key_alias=_text(metadata.get("user_api_key_alias")),
            user_id=_text(metadata.get("user_api_key_user_id") or row.get("user")),
            team_id=_text(row.get("team_id")),
            organization_id=_text(row.get("organization_id")),
            end_user=_text(row.get("end_user")),
            call_type=row.get("call_type") or "acompletion",
            model=row.get("model_group") or row.get("model") or "",
            model_group=row.get("model_group") or "",
            deployment_id=row.get("model_id") or "",
            provider=row.get("custom_llm_provider") or "",
            provider_model=row.get("model") or "",
            api_base=str(row.get("api_base") or "").partition("?")[0],
            request_id=str(row["request_id"]),
            session_id=row.get("session_id") or "",
            status_code=_status(error) if failed else 200,
            error_type=str(error.get("error_class") or "") if failed else "",
            error_message=str(error.get("error_message") or "")[:ERROR_MESSAGE_CHARACTERS_MAX] if failed else "",
            usage=_usage(row, metadata),
            usage_source="litellm",
            cost=_cost(row, metadata),
            tags=tuple(str(tag) for tag in _tags(row.get("request_tags"))),
            client_ip=row.get("requester_ip_address") or "",
            user_agent=str(metadata.get("user_agent") or ""),
            cache_hit=str(row.get("cache_hit")).lower() == "true",
        )
    )


def _usage(row: Row, metadata: Mapping[str, Any]) -> Usage | None:
    taken, given = row.get("prompt_tokens") or 0, row.get("completion_tokens") or 0
    if not taken and not given:
        return None
    more = dict_of(metadata.get("additional_usage_values"))
    told = dict_of(metadata.get("usage_object"))
    inputs = dict_of(told.get("prompt_tokens_details"))
    outputs = dict_of(told.get("completion_tokens_details"))
    cached = _count(more.get("cache_read_input_tokens") or inputs.get("cached_tokens"))
    written = _count(more.get("cache_creation_input_tokens") or told.get("cache_creation_input_tokens"))
    cached = min(cached, taken)
    written = min(written, taken - cached)
    audio_in = min(_count(inputs.get("audio_tokens")), taken - cached - written)
    reasoning = min(_count(outputs.get("reasoning_tokens")), given)
    audio_out = min(_count(outputs.get("audio_tokens")), given - reasoning)
    return Usage(
        input=taken - cached - written - audio_in,
        cache_read=cached,
        cache_write_5m=written,
        audio_in=audio_in,
        output=given - reasoning - audio_out,
        reasoning=reasoning,
        audio_out=audio_out,
    )


def _cost(row: Row, metadata: Mapping[str, Any]) -> Cost:
    """Its total is what LiteLLM charged; the parts are for showing."""
    parts = dict_of(metadata.get("cost_breakdown"))
    read, written = nano(parts.get("cache_read_cost")), nano(parts.get("cache_creation_cost"))
    reasoning = nano(parts.get("reasoning_cost"))
    return Cost(
        total=nano(row.get("spend")),
        input=max(nano(parts.get("input_cost")) - read - written, 0),
        output=max(nano(parts.get("output_cost")) - reasoning, 0),
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
        tools=nano(parts.get("tool_usage_cost")),
    )


def _status(error: Mapping[str, Any]) -> int:
    code = str(error.get("error_code") or "")
    return int(code) if code.isdigit() and 400 <= int(code) < 600 else _FAILED


def day_of(row: Row, kind: int, named_by: str, keys: Mapping[bytes, KeyRecord]) -> tuple[int, Place, Sums] | None:
    """A row of a daily table as (day since 1970, place, sums), None for one that names nobody or no day. Whose a call was
    besides its key is what the key says today.
    """
    name = "" if kind == OF_ALL else row.get(named_by) or ""
    if kind != OF_ALL and not name:
        return None
    try:
        day = date.fromisoformat(str(row["date"])[:10]).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    token = _token(row.get("api_key") or "")
    key = keys.get(token) if token is not None else None
    read, written = _count(row.get("cache_read_input_tokens")), _count(row.get("cache_creation_input_tokens"))
    place: Place = (
        kind,
        name,
        token,
        _text(row.get("user_id")) or (key.user_id if key is not None else None),
        key.team_id if key is not None else None,
        key.organization_id if key is not None else None,
        row.get("model") or "",
        row.get("model_group") or "",
        row.get("custom_llm_provider") or "",
        row.get("endpoint") or "",
    )
    sums = [
        _count(row.get("api_requests")),
        _count(row.get("failed_requests")),
        nano(row.get("spend")),
        _count(row.get("prompt_tokens")),
        _count(row.get("completion_tokens")),
        read,
        written,
    ]
    return day, place, sums


def start_of_day(day: int) -> datetime:
    """Without a zone, as LiteLLM's columns are."""
    return datetime.fromtimestamp(day * 86_400, UTC).replace(tzinfo=None)


def _token(key: str) -> bytes | None:
    """A key's SHA-256; None for the master key and for what is no hash."""
    if key in MASTER_KEY_NAMES:
        return None
    try:
        token = bytes.fromhex(key)
    except ValueError:
        return None
    return token if len(token) == 32 else None


def _count(value: Any) -> int:
    return max(int(value), 0) if isinstance(value, (int, float)) else 0


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _tags(value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        value = json.decode(value)
    return [tag for tag in value if not str(tag).startswith("User-Agent: ")] if isinstance(value, list) else []
