"""How a key is shown: the shapes of LiteLLM's answers, which differ a little from path to path (1.106.2, 2026-11-21).

Nothing shown opens a door: a key's text leaves once, when it is made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tollway.admin import LiveSpend
from tollway.admin.border import MASTER_USER, dollars_of, iso, iso_z, spent_dollars, us_of
from tollway.admin.limit_requests import shown_model_budgets
from tollway.storage import KeyRecord
from tollway.storage.people import key_limits, raise_of

_ROUTER_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(
        (
            *(
                "routing_strategy_args",
                "routing_strategy",
                "routing_groups",
                "retry_policy",
                "model_group_retry_policy",
            ),
            *("model_group_affinity_config", "allowed_fails", "cooldown_time", "num_retries", "timeout", "max_retries"),
            *("retry_after", "fallbacks", "context_window_fallbacks"),
        )
    ),
    "model_group_alias": {},
    **dict.fromkeys(("enable_tag_filtering", "weights", "tag_routing_prefix", "optional_pre_call_checks")),
}

#: What `/key/list?return_full_object=true` says besides, of teams, users and others that a key may belong to.
_BELONGINGS: dict[str, Any] = {
    **dict.fromkeys(
        (
            *("team_spend", "team_alias", "team_tpm_limit", "team_rpm_limit", "team_tpd_limit", "team_max_budget"),
            *("team_soft_budget", "team_model_max_budget"),
        )
    ),
    "team_models": [],
    "team_blocked": False,
    **dict.fromkeys(
        (
            *("soft_budget", "team_model_aliases", "team_member", "team_metadata", "team_object_permission_id"),
            *("team_member_spend", "team_member_tpm_limit", "team_member_rpm_limit", "end_user_id"),
            *("end_user_tpm_limit", "end_user_rpm_limit", "end_user_tpd_limit", "end_user_max_budget"),
            *("end_user_model_max_budget", "organization_alias", "organization_max_budget", "organization_tpm_limit"),
            *("organization_rpm_limit", "organization_metadata", "project_alias", "project_metadata"),
            *("last_refreshed_at", "api_key", "user_role", "allowed_model_region", "parent_otel_span"),
            *("rpm_limit_per_model", "tpm_limit_per_model", "user_tpm_limit", "user_rpm_limit", "user_email"),
            *("user_spend", "user_max_budget", "user_model_max_budget", "request_route"),
        )
    ),
    "is_session_token": False,
    **dict.fromkeys(("user", "created_by_user", "end_user_object_permission", "team_object_permission", "jwt_claims")),
}


def made_key(record: KeyRecord, key: str) -> dict[str, Any]:
    """The answer to `/key/generate` and `/key/regenerate`, the only ones that hold the key."""
    return {
        "key_alias": record.key_alias,
        "duration": None,
        "models": record.models,
        "spend": spent_dollars(record.spend_nano),
        "max_budget": dollars_of(record.max_budget_nano),
        "user_id": record.user_id,
        "team_id": record.team_id,
        "agent_id": None,
        "max_parallel_requests": record.parallel_max,
        "metadata": _metadata(record),
        "tpm_limit": record.tpm_limit,
        "rpm_limit": record.rpm_limit,
        "budget_duration": record.budget_duration,
        "budget_limits": _windows(record),
        "allowed_cache_controls": [],
        "config": {},
        "permissions": record.fields.get("permissions") or {},
        "model_max_budget": shown_model_budgets(key_limits(record)),
        "budget_fallbacks": {},
        "model_rpm_limit": record.fields.get("model_rpm_limit"),
        "model_tpm_limit": record.fields.get("model_tpm_limit"),
        **dict.fromkeys(("mcp_rpm_limit", "tag_rpm_limit", "guardrails", "policies", "prompts")),
        "blocked": record.blocked,
        "aliases": record.aliases,
        "object_permission": None,
        "key": key,
        **dict.fromkeys(
            (
                *(
                    "tpd_limit",
                    "default_estimated_output_tokens",
                    "default_estimated_output_tokens_per_model",
                ),
                *("end_user_budget_id", "disable_global_guardrails", "enable_prompt_caching"),
                *("throttle_on_budget_exceeded", "enforced_params"),
            )
        ),
        "budget_id": record.fields.get("budget_id"),
        "tags": record.fields.get("tags"),
        "allowed_routes": record.allowed_routes,
        **dict.fromkeys(
            (
                *("allowed_passthrough_routes", "denied_passthrough_routes", "allowed_vector_store_indexes"),
                *("rpm_limit_type", "tpm_limit_type"),
            )
        ),
        "router_settings": _ROUTER_SETTINGS,
        "access_group_ids": [],
        "key_name": record.key_name,
        "key_type": _key_type(record),
        "expires": iso_z(record.expires_us),
        "token_id": record.token.hex(),
        "organization_id": record.organization_id,
        "project_id": None,
        "litellm_budget_table": None,  # the budget that it names, where one is asked for
        "token": record.token.hex(),
        "created_by": record.fields.get("created_by") or MASTER_USER,
        "updated_by": record.fields.get("updated_by") or MASTER_USER,
        "created_at": iso_z(record.created_us),
        "updated_at": iso_z(record.updated_us),
    }


def key_info(record: KeyRecord, live: LiveSpend | None, now: datetime) -> dict[str, Any]:
    """`/key/info`: everything, and whether it can be used."""
    shown = {**_everything(record, live), "status": _status(record, now)}
    for name in ("token", "org_id", "soft_budget"):
        del shown[name]
    return shown


def updated_key(record: KeyRecord, live: LiveSpend | None, asked: str) -> dict[str, Any]:
    """`/key/update`. `asked` is the key as the request named it."""
    shown = {"key": asked, **_everything(record, live)}
    for name in ("org_id", "soft_budget"):
        del shown[name]
    return shown


def unblocked_key(record: KeyRecord, live: LiveSpend | None) -> dict[str, Any]:
    shown = {**_everything(record, live), **_times_z(record)}
    for name in ("org_id", "soft_budget"):
        del shown[name]
    return shown


def user_key(record: KeyRecord, live: LiveSpend | None, team_alias: str | None) -> dict[str, Any]:
    """`/user/info`."""
    return {**unblocked_key(record, live), "team_alias": team_alias or "None"}


def blocked_key(record: KeyRecord, live: LiveSpend | None) -> dict[str, Any]:
    """`/key/block`: a row without what other tables know of it."""
    shown = {**_everything(record, live), **_times_z(record)}
    for name in (
        *("organization_id", "litellm_organization_table", "litellm_project_table", "jwt_key_mappings", "policies"),
        "soft_budget",
    ):
        del shown[name]
    return shown


def listed_key(record: KeyRecord, live: LiveSpend | None) -> dict[str, Any]:
    """`/key/list?return_full_object=true`."""
    return {**blocked_key(record, live), **_BELONGINGS, "soft_budget": dollars_of(record.soft_budget_nano)}


def _everything(record: KeyRecord, live: LiveSpend | None) -> dict[str, Any]:
    spend = live or LiveSpend(record.spend_nano, record.total_spend_nano)
    soft = record.soft_budget_nano
    return {
        "token": record.token.hex(),
        "key_name": record.key_name,
        "key_alias": record.key_alias,
        "soft_budget_cooldown": soft is not None and spend.spend_nano >= soft,
        "spend": spent_dollars(spend.spend_nano),
        "total_spend": spent_dollars(spend.total_nano),
        "expires": iso(record.expires_us),
        "models": record.models,
        "aliases": record.aliases,
        "config": {},
        "router_settings": {},
        "user_id": record.user_id,
        "team_id": record.team_id,
        "agent_id": None,
        "project_id": None,
        "permissions": record.fields.get("permissions") or {},
        "max_parallel_requests": record.parallel_max,
        "metadata": _metadata(record),
        "blocked": record.blocked,
        "tpm_limit": record.tpm_limit,
        "rpm_limit": record.rpm_limit,
        "tpd_limit": None,
        "max_budget": dollars_of(record.max_budget_nano),
        "soft_budget": dollars_of(soft),
        "budget_duration": record.budget_duration,
        "budget_reset_at": iso(record.budget_reset_us),
        "allowed_cache_controls": [],
        "allowed_routes": record.allowed_routes,
        "key_type": _key_type(record),
        "policies": [],
        "access_group_ids": [],
        "model_spend": {},
        "model_max_budget": shown_model_budgets(key_limits(record)),
        "budget_fallbacks": {},
        "budget_id": record.fields.get("budget_id"),
        "organization_id": record.organization_id,
        "org_id": record.organization_id,
        "object_permission_id": None,
        "created_at": iso(record.created_us),
        "created_by": record.fields.get("created_by") or MASTER_USER,
        "updated_at": iso(record.updated_us),
        "updated_by": record.fields.get("updated_by") or MASTER_USER,
        "settings_updated_at": iso(record.updated_us) if record.updated_us != record.created_us else None,
        "last_active": iso(record.last_active_us),
        "rotation_count": 0,
        "auto_rotate": False,
        "rotation_interval": None,
        "last_rotation_at": None,
        "key_rotation_at": None,
        "budget_limits": _windows(record),
        "litellm_budget_table": None,  # the budget that it names, where one is asked for
        "litellm_organization_table": None,
        "litellm_project_table": None,
        "object_permission": None,
        "jwt_key_mappings": None,
    }


def _times_z(record: KeyRecord) -> dict[str, Any]:
    return {
        "expires": iso_z(record.expires_us),
        "budget_reset_at": iso_z(record.budget_reset_us),
        "created_at": iso_z(record.created_us),
        "updated_at": iso_z(record.updated_us),
        "settings_updated_at": iso_z(record.updated_us) if record.updated_us != record.created_us else None,
        "last_active": iso_z(record.last_active_us),
    }


def _windows(record: KeyRecord) -> list[dict[str, Any]] | None:
    return [
        {"budget_duration": window.budget_duration, "max_budget": dollars_of(window.max_budget_nano)}
        for window in key_limits(record).windows
    ] or None


def _metadata(record: KeyRecord) -> dict[str, Any]:
    """With what LiteLLM keeps in it for want of a column."""
    more = ("model_rpm_limit", "model_tpm_limit", "tags")
    shown = record.metadata | {name: record.fields[name] for name in more if record.fields.get(name)}
    if (raised := raise_of(record)) is not None:
        shown |= {"temp_budget_increase": dollars_of(raised[0]), "temp_budget_expiry": iso(raised[1])}
    return shown


def _key_type(record: KeyRecord) -> str:
    return str(record.fields.get("key_type") or "default")


def _status(record: KeyRecord, now: datetime) -> str:
    if record.blocked:
        return "blocked"
    return "expired" if record.expires_us is not None and record.expires_us <= us_of(now) else "active"
