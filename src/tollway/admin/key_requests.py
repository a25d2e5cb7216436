"""What may be asked of a key, in LiteLLM's fields and defaults, and what of it becomes which part of a KeyRecord.

A field that the gateway does not enforce is refused as soon as it is set to something: a limit without effect is worse
than none. The names were taken from LiteLLM Proxy 1.106.2 (2026-11-21).
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from tollway.admin.border import bad_request, dollars_of, nano_of, us_of
from tollway.admin.limit_requests import (
    Dollars,
    checked_duration,
    dollars,
    model_budgets,
    plain,
    rate,
    says_nothing,
    windows,
    with_limits_of_metadata,
)
from tollway.admin.roles import SPEND_PERMISSION
from tollway.config.durations import expiry, next_reset, parse_duration
from tollway.config.settings import MoneySettings
from tollway.storage import KeyRecord
from tollway.storage.people import RAISE_FIELD, Limits, raise_of

KEY_CHARACTERS_MIN = 16
KEY_CHARACTERS_MAX = 1024

#: `key_type` and the paths that such a key may call.
KEY_TYPES = {
    "default": [],
    "llm_api": ["llm_api_routes"],
    "management": ["management_routes"],
    "read_only": ["info_routes"],
}
_ROUTE_GROUPS = ("llm_api_routes", "management_routes", "info_routes")


class KeyFields(BaseModel):
    """The fields that making, changing and replacing a key have in common."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_misspelt_fields(cls, given: Any) -> Any:
        """LiteLLM ignores fields that it does not know; a limit that is misspelt would make a key without one."""
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields and (nearest := get_close_matches(str(name), cls.model_fields, 1, 0.8)):
                raise bad_request(
                    f"The field {str(name)!r} is not known; did you mean {nearest[0]!r}?", param=str(name)
                )
        return given

    key_alias: str | None = None
    duration: str | None = None
    models: list[str] | None = None
    spend: Dollars = None
    max_budget: Dollars = None
    soft_budget: Dollars = None
    budget_duration: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    metadata: dict[str, Any] | None = None
    aliases: dict[str, str] | None = None
    allowed_routes: list[str] | None = None
    blocked: bool | None = None
    key: str | None = None
    budget_id: str | None = None
    budget_limits: list[dict[str, Any]] | None = None
    model_max_budget: dict[str, Any] | None = None
    model_rpm_limit: dict[str, int] | None = None
    model_tpm_limit: dict[str, int] | None = None
    tags: list[str] | None = None
    permissions: dict[str, Any] | None = None
    # Known, and refused when they are set.
    agent_id: Any = None
    project_id: Any = None
    allowed_cache_controls: Any = None
    config: Any = None
    budget_fallbacks: Any = None
    end_user_budget_id: Any = None
    mcp_rpm_limit: Any = None
    tag_rpm_limit: Any = None
    tpd_limit: Any = None
    rpm_limit_type: Any = None
    tpm_limit_type: Any = None
    default_estimated_output_tokens: Any = None
    default_estimated_output_tokens_per_model: Any = None
    guardrails: Any = None
    disable_global_guardrails: Any = None
    policies: Any = None
    prompts: Any = None
    object_permission: Any = None
    enable_prompt_caching: Any = None
    throttle_on_budget_exceeded: Any = None
    enforced_params: Any = None
    allowed_passthrough_routes: Any = None
    denied_passthrough_routes: Any = None
    allowed_vector_store_indexes: Any = None
    router_settings: Any = None
    access_group_ids: Any = None
    send_invite_email: Any = None
    auto_rotate: Any = None
    rotation_interval: Any = None
    temp_budget_increase: Any = None
    temp_budget_expiry: Any = None


class GenerateKeyRequest(KeyFields):
    key_type: str | None = None


class UpdateKeyRequest(KeyFields):
    """Of the keys that are there: they alone have a budget that can be raised for a time."""

    temp_budget_increase: Dollars = None
    temp_budget_expiry: str | None = None


class RegenerateKeyRequest(KeyFields):
    key_type: str | None = None
    new_key: str | None = None
    new_master_key: Any = None
    grace_period: str | None = None


class KeysRequest(BaseModel):
    """Which keys to delete: themselves or their hashes, or their aliases."""

    keys: list[str] | None = None
    key_aliases: list[str] | None = None


class BlockKeyRequest(BaseModel):
    key: str


_REFUSED = frozenset(
    set(UpdateKeyRequest.model_fields) | set(RegenerateKeyRequest.model_fields) | set(GenerateKeyRequest.model_fields)
) - {
    *("key_alias", "duration", "models", "spend", "max_budget", "soft_budget", "budget_duration", "user_id", "team_id"),
    *("organization_id", "max_parallel_requests", "tpm_limit", "rpm_limit", "metadata", "aliases", "allowed_routes"),
    *("blocked", "key", "key_type", "new_key", "grace_period"),
    *("budget_id", "budget_limits", "model_max_budget", "model_rpm_limit", "model_tpm_limit", "tags"),
    *("permissions", "temp_budget_increase", "temp_budget_expiry"),
}
#: A raise, in LiteLLM's words: the fields of an update alone, and of a key's `metadata` where it is shown.
RAISE_FIELDS = frozenset({"temp_budget_increase", "temp_budget_expiry"})
_LIMITS = {"rpm_limit": "rpm_limit", "tpm_limit": "tpm_limit", "max_parallel_requests": "parallel_max"}
_LABELS = ("key_alias", "user_id", "team_id", "organization_id", "blocked")


_NOT_ROTATED = (
    "is not done here: nobody would be given the new text. Ask `/key/regenerate` with a `grace_period` from a job that hands it"
    " on, or let the key end with `duration`"
)
_WHY_REFUSED = {
    **dict.fromkeys(RAISE_FIELDS, "is taken by `/key/update` alone, for a key that is there already"),
    "auto_rotate": _NOT_ROTATED,
    "rotation_interval": _NOT_ROTATED,
    "new_master_key": "is not changed by a call: set LITELLM_MASTER_KEY, or general_settings.master_key, and start anew",
}


def given(body: BaseModel) -> dict[str, Any]:
    """The fields that were written, `null` included; raises BadRequest for one that is set and would have no effect."""
    fields = _with_raise_of_metadata({name: getattr(body, name) for name in body.model_fields_set})
    refused = _REFUSED if isinstance(body, UpdateKeyRequest) else _REFUSED | RAISE_FIELDS
    for name, value in fields.items():
        if name in refused and not says_nothing(value):
            why = _WHY_REFUSED.get(name, "is not supported by this gateway yet; leave it out")
            raise bad_request(f"{name} {why}. Nothing was changed.", name)
    return with_limits_of_metadata(fields)


def _with_raise_of_metadata(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with the raise that stands in `metadata`: LiteLLM keeps it there, and shows it there. Raises BadRequest."""
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict) or metadata.keys().isdisjoint(RAISE_FIELDS):
        return fields
    until = metadata.get("temp_budget_expiry")
    try:
        found = {"temp_budget_increase": dollars(metadata.get("temp_budget_increase")), "temp_budget_expiry": until}
    except PydanticCustomError:
        raise bad_request("metadata.temp_budget_increase must be a number.", "metadata") from None
    if until is not None and not isinstance(until, str):
        raise bad_request("metadata.temp_budget_expiry must be a string.", "metadata")
    left = {name: value for name, value in metadata.items() if name not in RAISE_FIELDS}
    return {**found, **fields, "metadata": left}


def with_defaults(fields: dict[str, Any], money: MoneySettings) -> dict[str, Any]:
    """A new key's fields, with what the configuration says where nothing was said. Raises BadRequest above its bounds."""
    filled = dict(fields)
    for source in (money.default_key_params, money.upperbound_key_params):
        for name, value in source.items():
            if says_nothing(filled.get(name)) and filled.get(name) is not False:
                filled[name] = value
    known = GenerateKeyRequest.model_validate({name: value for name, value in filled.items() if value is not None})
    complete = given(known)
    check_bounds(complete, money)
    return complete


def check_bounds(fields: dict[str, Any], money: MoneySettings) -> None:
    """Raises BadRequest for a value above `upperbound_key_generate_params`."""
    for name, bound in money.upperbound_key_params.items():
        value = fields.get(name)
        if value is None or bound is None:
            continue
        if name in ("duration", "budget_duration"):
            above = checked_duration(value, name).seconds > checked_duration(str(bound), name).seconds
        else:
            above = Decimal(str(value)) > Decimal(str(bound))
        if above:
            raise bad_request(f"{name} is over max limit set in config - user_value={value}; max_value={bound}", name)


def record_changes(fields: dict[str, Any], money: MoneySettings, now: datetime) -> dict[str, Any]:
    """What of a KeyRecord the fields change, as `KeyStore.update` takes it. Raises BadRequest."""
    changes: dict[str, Any] = {name: fields[name] for name in _LABELS if name in fields}
    for name, ours in (("max_budget", "max_budget_nano"), ("soft_budget", "soft_budget_nano")):
        if name in fields:
            changes[ours] = None if fields[name] is None else nano_of(fields[name], name)
    if fields.get("spend") is not None:
        changes["spend_nano"] = nano_of(fields["spend"], "spend")
    for name, ours in _LIMITS.items():
        if name in fields:
            changes[ours] = rate(fields[name], name)
    if "duration" in fields:
        changes["expires_us"] = _expires_us(fields["duration"], now)
    if "budget_duration" in fields:
        changes |= _budget_period(fields["budget_duration"], money, now)
    kept: dict[str, Any] = {
        name: plain(fields[name]) or None for name in ("models", "aliases", "metadata") if name in fields
    }
    kept |= {name: fields[name] for name in ("budget_id", "tags") if name in fields}
    if "permissions" in fields:
        kept["permissions"] = _permissions(fields["permissions"])
    kept |= {
        name: {model: rate(value, name) for model, value in (fields[name] or {}).items()} or None
        for name in ("model_rpm_limit", "model_tpm_limit")
        if name in fields
    }
    if "budget_limits" in fields:
        found = windows(fields["budget_limits"])
        kept["windows"] = [[one.max_budget_nano, one.budget_duration] for one in found] or None
    if "model_max_budget" in fields:
        by_model = model_budgets(fields["model_max_budget"])
        kept["model_budgets"] = {
            model: [one.max_budget_nano, one.budget_duration] for model, one in by_model.items()
        } or None
    if fields.get("key_type") is not None or "allowed_routes" in fields:
        kept |= _routes(fields)
    if not fields.keys().isdisjoint(RAISE_FIELDS):
        kept[RAISE_FIELD] = _raise(fields.get("temp_budget_increase"), fields.get("temp_budget_expiry"), now)
    if kept:
        changes["fields"] = kept
    return changes


def check_raise(
    record: KeyRecord, changes: dict[str, Any], shared: Limits | None, money: MoneySettings, now: datetime
) -> None:
    """Raises BadRequest where the key would have a raise, after these changes, that is over already, raises nothing, or raises
    its budget too far. `shared` are the limits of the budget that it names.
    """
    kept = changes.get("fields", {})
    raised = raise_of(record) if RAISE_FIELD not in kept else tuple(kept[RAISE_FIELD] or ()) or None
    if raised is None or (RAISE_FIELD not in kept and "max_budget_nano" not in changes):
        return
    by, until_us = raised
    if until_us <= us_of(now):
        if raised == raise_of(record):
            return  # as it was: somebody wrote back what he was shown
        raise bad_request("temp_budget_expiry is over already. Nothing was changed.", "temp_budget_expiry")
    own = changes.get("max_budget_nano", record.max_budget_nano)
    limit = Limits(max_budget_nano=own).over(shared).max_budget_nano
    if limit is None:
        if RAISE_FIELD not in kept:
            return
        raise bad_request(
            "temp_budget_increase raises a budget, and this key has none: give it max_budget. Nothing was changed.",
            "temp_budget_increase",
        )
    bound = money.upperbound_key_params.get("max_budget")
    if bound is not None and limit + by > nano_of(Decimal(str(bound)), "max_budget"):
        raise bad_request(
            "max_budget with temp_budget_increase is over max limit set in config - "
            f"user_value={dollars_of(limit + by)}; max_value={bound}",
            "temp_budget_increase",
        )


def check_key_text(key: str) -> str:
    """Raises BadRequest for what cannot be a key."""
    if not key.startswith("sk-"):
        shown = f"{key[:4]}****{key[-4:]}" if len(key) > 12 else "****"
        raise bad_request(f"Invalid key format. Virtual Key must start with 'sk-'. Received: {shown}", "key")
    if not KEY_CHARACTERS_MIN <= len(key) <= KEY_CHARACTERS_MAX:
        raise bad_request(
            f"Invalid key format. A Virtual Key has {KEY_CHARACTERS_MIN} to {KEY_CHARACTERS_MAX} characters.", "key"
        )
    if not all("!" <= character <= "~" for character in key):
        raise bad_request("Invalid key format. A Virtual Key has visible ASCII characters only.", "key")
    return key


def grace_until(written: str | None, now: datetime) -> datetime:
    """Until when the old key opens the door. Nothing said: no longer."""
    return expiry(checked_duration(written, "grace_period"), now) if written else now


def _expires_us(written: str | None, now: datetime) -> int | None:
    if written is None or written == "-1":  # LiteLLM's word for never
        return None
    return us_of(expiry(checked_duration(written, "duration"), now))


def _raise(increase: Decimal | None, until: str | None, now: datetime) -> list[int] | None:
    """As a key's field keeps it. Raises BadRequest."""
    if increase is None and until is None:
        return None
    if increase is None or until is None:
        missing = "temp_budget_increase" if increase is None else "temp_budget_expiry"
        raise bad_request("temp_budget_increase and temp_budget_expiry must be set together.", missing)
    return [nano_of(increase, "temp_budget_increase"), _until_us(until, now)] if increase else None


def _until_us(written: str, now: datetime) -> int:
    """A moment (of UTC, where it says no zone), or a duration from now on. Raises BadRequest."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        try:
            return us_of(expiry(parse_duration(written), now))
        except (ValueError, OverflowError):
            message = f"Invalid temp_budget_expiry '{written}'. Use a moment like '2026-12-01T00:00:00Z', or '10d'."
            raise bad_request(message, "temp_budget_expiry") from None
    try:
        return us_of(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
    except OverflowError:
        raise bad_request(f"Invalid temp_budget_expiry '{written}'.", "temp_budget_expiry") from None


def _budget_period(written: str | None, money: MoneySettings, now: datetime) -> dict[str, Any]:
    if written is None:
        return {"budget_duration": None, "budget_reset_us": None}
    reset = next_reset(
        checked_duration(written, "budget_duration"), now, timezone=money.timezone, reset_time=money.budget_reset_time
    )
    return {"budget_duration": written, "budget_reset_us": us_of(reset)}


def _permissions(written: dict[str, Any] | None) -> dict[str, bool] | None:
    """Raises BadRequest for one that would have no effect."""
    for name, value in (written or {}).items():
        if name != SPEND_PERMISSION and not says_nothing(value):
            raise bad_request(
                f"The permission {name!r} is not supported by this gateway; there is {SPEND_PERMISSION!r}. Nothing was"
                " changed.",
                "permissions",
            )
    return {SPEND_PERMISSION: True} if (written or {}).get(SPEND_PERMISSION) else None


def _routes(fields: dict[str, Any]) -> dict[str, Any]:
    routes = fields.get("allowed_routes") or []
    key_type = fields.get("key_type")
    if key_type is not None:
        if key_type not in KEY_TYPES:
            raise bad_request(f"key_type must be one of {', '.join(KEY_TYPES)}. Received: {key_type}", "key_type")
        routes = KEY_TYPES[key_type] or routes
    for route in routes:
        if not route.startswith("/") and route not in _ROUTE_GROUPS:
            raise bad_request(
                f"allowed_routes holds paths, which begin with '/', and {', '.join(_ROUTE_GROUPS)}. Received: {route}",
                "allowed_routes",
            )
    kept: dict[str, Any] = {"allowed_routes": routes or None}
    if key_type is not None:
        kept["key_type"] = key_type
    return kept
