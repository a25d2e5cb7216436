"""One finished call as a row of LiteLLM's spend log, made from the journal's record of it (fields of 1.106.2,
2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import DecodeError, json

from tollway.admin.border import MASTER_KEY_NAME, MASTER_USER, iso_z, spent_dollars
from tollway.calls import Usage, call_id
from tollway.ledger.record import CallRecord, decode_record
from tollway.storage import SpendRow
from tollway.storage.bodies import read_bodies

#: Under this name a row's metadata holds what only this gateway knows.
OWN = "tollway"

#: What LiteLLM's metadata tells of things that are not here, or not kept.
_NOT_KEPT: dict[str, Any] = {
    **dict.fromkeys(
        (
            *("max_retries", "batch_models", "batch_successful_requests", "batch_failed_requests", "azure_spillover"),
            *("actor_agent_id", "target_agent_id", "billing_agent_id", "agent_execution_mode", "eval_information"),
            *("router_metadata", "routing_decision", "autorouter_savings", "autorouter_savings_estimate"),
            *("autorouter_baseline_observation", "compression_savings", "internal_call_origin", "proxy_server_request"),
            *("guardrail_information", "mcp_tool_call_metadata", "vector_store_request_metadata"),
            *("verified_human_user_id", "cold_storage_object_key", "litellm_gateway_injected_cache"),
            *("user_api_key_project_id", "user_api_key_project_alias", "user_api_key_team_alias"),
            "litellm_overhead_time_ms",
        )
    ),
    "litellm_roi_estimator": False,
    "used_client_oauth_token": False,
}


#: Bodies in one answer, newest rows first; those of further rows are left out and come when a row is asked for by its id.
BODIES_BYTES_MAX = 16 << 20


def encode_rows(rows: Iterable[SpendRow], bodies_folder: Path | None = None) -> bytes:
    """A JSON array. Ten thousand rows take a good part of a second: not for the event loop."""
    left = BODIES_BYTES_MAX
    shown = []
    for row in rows:
        record = decode_record(row.detail)
        if bodies_folder is not None and record.body_ref is not None and record.body_ref.length <= left:
            left -= record.body_ref.length
            shown.append(with_bodies(record, bodies_folder))
        else:
            shown.append(spend_row(record))
    return json.encode(shown)


def with_bodies(record: CallRecord, folder: Path | None) -> dict[str, Any]:
    """A row with what the call asked and was answered, where that is kept. Reads a file."""
    ref = record.body_ref
    if folder is None or ref is None:
        return spend_row(record)
    return spend_row(record, read_bodies(folder, record.epoch, ref.segment, ref.offset, record.seq))


def spend_row(record: CallRecord, bodies: tuple[bytes, bytes] | None = None) -> dict[str, Any]:
    request, reply = (_shown_body(bodies[0]), _shown_body(bodies[1])) if bodies is not None else ({}, {})
    usage = record.usage or Usage()
    key = MASTER_KEY_NAME if record.key is None else record.key.hex()
    return {
        "request_id": record.request_id,
        "call_type": record.call_type,
        "api_key": key,
        "spend": spent_dollars(record.cost.total),
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "startTime": iso_z(record.started_us),
        "endTime": iso_z(record.ended_us),
        "request_duration_ms": (record.ended_us - record.started_us) // 1000,
        "completionStartTime": iso_z(record.first_byte_us or record.ended_us),
        "model": record.provider_model or record.model,
        "model_id": record.deployment_id,
        "model_group": record.model_group,
        "custom_llm_provider": record.provider,
        "api_base": record.api_base,
        "user": record.user_id or (MASTER_USER if record.key is None else ""),
        "metadata": _metadata(record, usage, key),
        "cache_hit": "True" if record.cache_hit else "None",
        "cache_key": "Cache OFF",
        "request_tags": [*record.tags, *_agent_tags(record.user_agent)],
        "team_id": record.team_id or "",
        "organization_id": record.organization_id or "",
        "end_user": record.end_user or "",
        "requester_ip_address": record.client_ip,
        "messages": request.get("messages") or request.get("input") or {} if isinstance(request, dict) else {},
        "response": reply,
        "session_id": record.session_id,
        "status": "failure" if record.failed else "success",
        "mcp_namespaced_tool_name": None,
        "billing_agent_id": None,
        "agent_id": None,
        "proxy_server_request": request,
        "litellm_call_id": call_id(record.epoch, record.seq),
        "created_at": iso_z(record.ended_us),
        "updated_at": iso_z(record.ended_us),
    }


def _metadata(record: CallRecord, usage: Usage, key: str) -> dict[str, Any]:
    usage_object = _usage_object(usage)
    asked = _client_metadata(record.metadata)
    return {
        **_NOT_KEPT,
        "status": "failure" if record.failed else None,
        "user_agent": record.user_agent,
        "usage_object": usage_object if record.usage is not None else None,
        "user_api_key": key,
        "user_api_key_alias": record.key_alias,
        "user_api_key_user_id": record.user_id or (MASTER_USER if record.key is None else None),
        "user_api_key_team_id": record.team_id,
        "user_api_key_org_id": record.organization_id,
        "cost_breakdown": _cost_breakdown(record, usage),
        "additional_usage_values": {
            "prompt_tokens_details": usage_object["prompt_tokens_details"],
            "completion_tokens_details": usage_object["completion_tokens_details"],
            "cache_read_input_tokens": usage.cache_read,
            **(
                {"cache_creation_input_tokens": written}
                if (written := usage.cache_write_5m + usage.cache_write_1h)
                else {}
            ),
        },
        "litellm_call_id": call_id(record.epoch, record.seq),
        "attempted_retries": record.retries,
        "attempted_fallbacks": record.fallbacks,
        "original_model_group": record.model,
        "error_information": _error(record) if record.failed else None,
        "requester_ip_address": record.client_ip,
        "applied_guardrails": [],
        "spend_logs_metadata": asked.get("spend_logs_metadata") if isinstance(asked, dict) else None,
        OWN: {
            "metadata": asked,
            "path": record.path,
            "streamed": record.streamed,
            "cost_nano": record.cost.total,
            "cost_known": record.cost_known,
            "price_version": record.price_version,
            "usage_source": record.usage_source,
            "held_nano": record.held_nano,
            "over_hold": record.over_hold,
            "attempts": [
                {
                    "deployment_id": attempt.deployment_id,
                    "provider": attempt.provider,
                    "status": attempt.status,
                    "duration_ms": attempt.duration_us / 1000,
                    "cost": spent_dollars(attempt.cost_nano),
                }
                for attempt in record.attempts
            ],
        },
    }


def _usage_object(usage: Usage) -> dict[str, Any]:
    cache_write = usage.cache_write_5m + usage.cache_write_1h
    shown: dict[str, Any] = {
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "prompt_tokens_details": {"audio_tokens": usage.audio_in, "cached_tokens": usage.cache_read},
        "completion_tokens_details": {
            "audio_tokens": usage.audio_out,
            "reasoning_tokens": usage.reasoning,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if cache_write:
        shown["prompt_tokens_details"]["cache_creation_tokens"] = cache_write
    return shown


def _cost_breakdown(record: CallRecord, usage: Usage) -> dict[str, Any]:
    cost = record.cost
    return {
        "input_cost": spent_dollars(cost.input + cost.cache_read + cost.cache_write),
        "output_cost": spent_dollars(cost.output),  # reasoning is a part of it
        "cache_read_cost": spent_dollars(cost.cache_read),
        **({"cache_creation_cost": spent_dollars(cost.cache_write)} if cost.cache_write else {}),
        "reasoning_cost": spent_dollars(cost.reasoning),
        "tool_usage_cost": spent_dollars(cost.tools),
        "total_cost": spent_dollars(cost.total),
        "original_cost": spent_dollars(cost.total),
        "service_tier": usage.service_tier or None,
        "data_residency": None,
        "vertex_location": None,
        "discount_percent": 0.0,
        "discount_amount": 0.0,
        "margin_percent": 0.0,
        "margin_fixed_amount": 0.0,
        "margin_total_amount": 0.0,
    }


def _error(record: CallRecord) -> dict[str, Any]:
    return {
        "error_code": str(record.status_code),
        "error_class": record.error_type,
        "llm_provider": record.provider,
        "error_message": record.error_message,
        "traceback": "",
    }


def _client_metadata(metadata: bytes) -> Any:
    try:
        return json.decode(metadata) if metadata else None
    except DecodeError:
        return None


def _agent_tags(user_agent: str) -> list[str]:
    if not user_agent:
        return []
    return list(dict.fromkeys((f"User-Agent: {user_agent.partition('/')[0]}", f"User-Agent: {user_agent}")))


def _shown_body(body: bytes) -> Any:
    """A stored body as JSON where it is JSON, else as text; bytes that are neither (sound, pictures) are counted."""
    try:
        return json.decode(body)
    except DecodeError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f"<{len(body)} bytes>"
