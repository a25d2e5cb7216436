"""LiteLLM's rows of keys, teams, users, organisations, customers, tags, budgets, credentials and models, as our records.

A field that this gateway does not obey is not carried; it is noted, so that whoever moves knows which limits are gone. Tables and
columns are those of 1.106.2 (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from msgspec import Struct, field, json

from tollway.admin.border import us_of
from tollway.admin.key_requests import KEY_TYPES
from tollway.admin.limit_requests import changed_limits, model_budgets, plain, says_nothing, windows
from tollway.config.durations import parse_duration
from tollway.errors import Rejection
from tollway.storage import NANO_MAX, KeyRecord
from tollway.storage.people import (
    RAISE_FIELD,
    Customer,
    Limits,
    Member,
    Organization,
    SharedBudget,
    Tag,
    Team,
    User,
)

Row = Mapping[str, Any]

#: The user whose row LiteLLM keeps for what the whole proxy spent.
PROXY_USER = "litellm-proxy-budget"
_EXAMPLES_MAX = 3

#: Columns that say something this gateway does not do: noted where they say anything.
_KEY_NOT_CARRIED = (
    *("config", "router_settings", "agent_id", "project_id", "permissions", "tpd_limit", "allowed_cache_controls"),
    *("policies", "access_group_ids", "budget_fallbacks", "object_permission_id", "auto_rotate"),
)
_TEAM_NOT_CARRIED = (
    *("object_permission_id", "tpd_limit", "router_settings", "access_group_ids", "policies"),
    *("allow_team_guardrail_config",),
)
_USER_NOT_CARRIED = ("object_permission_id", "password", "allowed_cache_controls", "policies")
_CUSTOMER_NOT_CARRIED = ("allowed_model_region", "object_permission_id")
_BUDGET_NOT_CARRIED = ("tpd_limit", "temp_budget_increase")
#: What LiteLLM keeps in `metadata` because it has no column, and means something.
_METADATA_NOT_CARRIED = (
    *("guardrails", "policies", "prompts", "rpm_limit_type", "tpm_limit_type", "enforced_params", "logging"),
    *(
        "tag_rpm_limit",
        "mcp_rpm_limit",
        "temp_budget_increase",
        "allowed_passthrough_routes",
        "secret_manager_settings",
    ),
)


class Notes(Struct):
    """What was left out, counted by (kind, what), with a few examples of whose it was."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str, whose: str) -> None:
        at = (kind, what)
        self.counts[at] = self.counts.get(at, 0) + 1
        examples = self.examples.setdefault(at, [])
        if len(examples) < _EXAMPLES_MAX:
            examples.append(whose)


class Came(Struct, frozen=True):
    """An entity and what it spent in its budget's period, which ends at `reset_us`. A member's has no entity of its own."""

    entity: Any
    spend_nano: int = 0
    reset_us: int | None = None


class CameKey(Struct, frozen=True):
    """A key; `former` are texts it had before, by hash, and until when each still opens the door."""

    record: KeyRecord
    former: tuple[tuple[bytes, int], ...] = ()


class MemberSpend(Struct, frozen=True):
    team_id: str
    user_id: str
    spend_nano: int
    reset_us: int | None = None


# --- keys


def key_of(row: Row, budgets: Mapping[str, SharedBudget], former: Iterable[Row], notes: Notes) -> CameKey | None:
    """None, and a note, for a row that is no virtual key."""
    name = str(row.get("key_alias") or row.get("key_name") or row["token"])
    try:
        token = bytes.fromhex(row["token"])
    except ValueError:
        token = b""
    if len(token) != 32:
        notes.add("key", "is not kept as a SHA-256", name)
        return None
    _note(notes, "key", name, row, _KEY_NOT_CARRIED)
    metadata = dict(dict_of(row.get("metadata")))
    raised = _raise(metadata)
    _note(notes, "key", name, metadata, _METADATA_NOT_CARRIED)
    fields: dict[str, Any] = {
        RAISE_FIELD: raised,
        "models": list(row.get("models") or ()),
        "aliases": dict_of(row.get("aliases")),
        "tags": metadata.pop("tags", None),
        "model_rpm_limit": metadata.pop("model_rpm_limit", None),
        "model_tpm_limit": metadata.pop("model_tpm_limit", None),
        "metadata": metadata,
        "allowed_routes": _routes(row, notes, name),
        "key_type": row.get("key_type") if row.get("key_type") in KEY_TYPES else None,
        "created_by": row.get("created_by"),
    }
    budget = budgets.get(row.get("budget_id") or "")
    if budget is not None:
        fields["budget_id"] = budget.id
    if found := _windows(row, notes, "key", name):
        fields["windows"] = [[one.max_budget_nano, one.budget_duration] for one in found]
    if found_models := _model_budgets(row, notes, "key", name):
        fields["model_budgets"] = {
            model: [one.max_budget_nano, one.budget_duration] for model, one in found_models.items()
        }
    spend = nano(row.get("spend"))
    record = KeyRecord(
        token=token,
        key_name=str(row.get("key_name") or "sk-..."),
        key_alias=row.get("key_alias"),
        user_id=row.get("user_id"),
        team_id=row.get("team_id"),
        organization_id=row.get("organization_id"),
        blocked=row.get("blocked"),
        created_us=us(row.get("created_at")) or 0,
        updated_us=us(row.get("updated_at")) or 0,
        expires_us=us(row.get("expires")),
        max_budget_nano=_limit_nano(row.get("max_budget")),
        soft_budget_nano=budget.limits.soft_budget_nano if budget is not None else None,
        budget_duration=_duration(row.get("budget_duration"), notes, "key", name),
        budget_reset_us=us(row.get("budget_reset_at")) if row.get("budget_duration") else None,
        spend_nano=spend,
        total_spend_nano=max(spend, nano(row.get("total_spend"))),
        rpm_limit=row.get("rpm_limit"),
        tpm_limit=row.get("tpm_limit"),
        parallel_max=row.get("max_parallel_requests"),
        last_active_us=us(row.get("last_active")),
        fields={one: value for one, value in fields.items() if not says_nothing(value)},
    )
    return CameKey(record, tuple(_former(former)))


def _raise(metadata: dict[str, Any]) -> list[int] | None:
    """By how much a key's budget is raised and until when, taken out of its metadata; what nobody can read stays there."""
    by = nano(metadata.get("temp_budget_increase"))
    try:
        until_us = us(datetime.fromisoformat(str(metadata.get("temp_budget_expiry"))))
    except ValueError:
        return None
    if not by or until_us is None:
        return None
    del metadata["temp_budget_increase"], metadata["temp_budget_expiry"]
    return [by, until_us]


def _former(rows: Iterable[Row]) -> Iterable[tuple[bytes, int]]:
    for row in rows:
        until = us(row["revoke_at"])
        if until is not None:
            yield bytes.fromhex(row["token"]), until


def _routes(row: Row, notes: Notes, name: str) -> list[str]:
    known = ("llm_api_routes", "management_routes", "info_routes")
    routes = list(row.get("allowed_routes") or ())
    for route in routes:
        if route not in known and not route.startswith("/"):
            notes.add("key", f"allowed_routes: {route}", name)
    kept = [route for route in routes if route in known or route.startswith("/")]
    # Of routes that were all unknown nothing may remain but a door that is shut: no routes would mean every route.
    return kept or (["/none"] if routes else [])


# --- teams, users and the others


def budget_of(row: Row, notes: Notes) -> SharedBudget:
    name = row["budget_id"]
    _note(notes, "budget", name, row, _BUDGET_NOT_CARRIED)
    return SharedBudget(
        id=name,
        limits=_limits(row, {}, notes, "budget", name),
        allowed_models=tuple(row.get("allowed_models") or ()),
        **stamp_of(row),
    )


def team_of(
    row: Row, aliases: Mapping[int, Row], memberships: Iterable[Row], budgets: Mapping[str, SharedBudget], notes: Notes
) -> tuple[Came, list[MemberSpend]]:
    name = row["team_id"]
    _note(notes, "team", name, row, _TEAM_NOT_CARRIED)
    metadata = dict(dict_of(row.get("metadata")))
    _note(notes, "team", name, metadata, _METADATA_NOT_CARRIED)
    default = metadata.pop("team_member_budget_id", None)
    limits = _limits(row, metadata, notes, "team", name)
    own = {one["user_id"]: one for one in memberships}
    members: dict[str, Member] = {}
    for given in _list(row.get("members_with_roles")):
        user_id = given.get("user_id")
        if user_id is None:
            notes.add("team", "a member known by e-mail alone", name)
            continue
        budget_id = own.get(user_id, {}).get("budget_id")
        members[user_id] = Member(
            user_id=user_id,
            user_email=given.get("user_email"),
            role="admin" if given.get("role") == "admin" else "user",
            budget_id=budget_id if budget_id in budgets and budget_id != default else None,
        )
    model_row = aliases.get(row["model_id"]) if row.get("model_id") is not None else None
    team = Team(
        id=name,
        alias=row.get("team_alias"),
        organization_id=row.get("organization_id"),
        members=tuple(members.values()),
        models=tuple(row.get("models") or ()),
        member_models=tuple(row.get("default_team_member_models") or ()),
        aliases=dict_of((model_row or {}).get("aliases") or (model_row or {}).get("model_aliases")),
        limits=limits,
        member_budget_id=default if default in budgets else None,
        member_permissions=tuple(row.get("team_member_permissions") or ()),
        blocked=bool(row.get("blocked")),
        metadata=plain(metadata),
        **stamp_of(row),
    )
    spends = [
        MemberSpend(name, user_id, nano(one.get("spend")))
        for user_id, one in own.items()
        if user_id in members and nano(one.get("spend"))
    ]
    return Came(team, nano(row.get("spend")), _reset(row)), spends


def user_of(row: Row, notes: Notes) -> Came:
    name = row["user_id"]
    _note(notes, "user", name, row, _USER_NOT_CARRIED)
    metadata = dict(dict_of(row.get("metadata")))
    user = User(
        id=name,
        alias=row.get("user_alias"),
        email=row.get("user_email"),
        role=row.get("user_role"),
        models=tuple(row.get("models") or ()),
        limits=_limits(row, metadata, notes, "user", name),
        metadata=plain(metadata),
        fields={"sso_user_id": row["sso_user_id"]} if row.get("sso_user_id") else {},
        **stamp_of(row),
    )
    return Came(user, nano(row.get("spend")), _reset(row))


def organization_of(
    row: Row, memberships: Iterable[Row], budgets: Mapping[str, SharedBudget], budget_rows: Mapping[str, Row]
) -> Came:
    metadata = dict(dict_of(row.get("metadata")))
    members = tuple(
        Member(user_id=one["user_id"], role=one.get("user_role") or "internal_user")
        for one in memberships
        if one["organization_id"] == row["organization_id"]
    )
    budget_id = row.get("budget_id")
    organization = Organization(
        id=row["organization_id"],
        alias=row.get("organization_alias") or "",
        models=tuple(row.get("models") or ()),
        members=members,
        budget_id=budget_id if budget_id in budgets else None,
        model_rpm=dict_of(metadata.pop("model_rpm_limit", None)),
        model_tpm=dict_of(metadata.pop("model_tpm_limit", None)),
        metadata=plain(metadata),
        **stamp_of(row),
    )
    return Came(organization, nano(row.get("spend")), _reset(budget_rows.get(budget_id or "", {})))


def customer_of(row: Row, budgets: Mapping[str, SharedBudget], budget_rows: Mapping[str, Row], notes: Notes) -> Came:
    _note(notes, "customer", row["user_id"], row, _CUSTOMER_NOT_CARRIED)
    budget_id = row.get("budget_id")
    customer = Customer(
        id=row["user_id"],
        alias=row.get("alias"),
        models=tuple(row.get("models") or ()),
        default_model=row.get("default_model"),
        budget_id=budget_id if budget_id in budgets else None,
        blocked=bool(row.get("blocked")),
    )
    return Came(customer, nano(row.get("spend")), _reset(budget_rows.get(budget_id or "", {})))


def tag_of(row: Row, budgets: Mapping[str, SharedBudget], budget_rows: Mapping[str, Row]) -> Came:
    budget_id = row.get("budget_id")
    tag = Tag(
        id=row["tag_name"],
        description=row.get("description"),
        models=tuple(row.get("models") or ()),
        budget_id=budget_id if budget_id in budgets else None,
        **stamp_of(row),
    )
    return Came(tag, nano(row.get("spend")), _reset(budget_rows.get(budget_id or "", {})))


# --- their parts


def _limits(row: Row, metadata: dict[str, Any], notes: Notes, kind: str, name: str) -> Limits:
    """Takes out of the metadata what says limits."""
    given: dict[str, Any] = {
        "max_budget": row.get("max_budget"),
        "soft_budget": row.get("soft_budget"),
        "budget_duration": _duration(row.get("budget_duration"), notes, kind, name),
        "rpm_limit": row.get("rpm_limit"),
        "tpm_limit": row.get("tpm_limit"),
        "max_parallel_requests": row.get("max_parallel_requests"),
        "model_rpm_limit": metadata.pop("model_rpm_limit", None),
        "model_tpm_limit": metadata.pop("model_tpm_limit", None),
    }
    for one in ("max_budget", "soft_budget"):
        amount = _limit_nano(given[one])
        given[one] = None if amount is None else Decimal(amount) / 1_000_000_000
    limits = Limits()
    for one, value in given.items():
        try:
            limits = changed_limits(limits, {one: value})
        except (Rejection, TypeError, AttributeError):
            notes.add(kind, f"{one}: {value}", name)
    return Limits(
        max_budget_nano=limits.max_budget_nano,
        soft_budget_nano=limits.soft_budget_nano,
        budget_duration=limits.budget_duration,
        rpm=limits.rpm,
        tpm=limits.tpm,
        parallel_max=limits.parallel_max,
        windows=_windows(row, notes, kind, name),
        model_budgets=_model_budgets(row, notes, kind, name),
        model_rpm=limits.model_rpm,
        model_tpm=limits.model_tpm,
    )


def _windows(row: Row, notes: Notes, kind: str, name: str) -> tuple[Any, ...]:
    try:
        return windows(_list(row.get("budget_limits")))
    except Rejection:
        notes.add(kind, "budget_limits", name)
        return ()


def _model_budgets(row: Row, notes: Notes, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model, one in dict_of(row.get("model_max_budget")).items():
        try:
            found |= model_budgets({model: one if isinstance(one, dict) else {"budget_limit": one}})
        except Rejection:
            notes.add(kind, f"model_max_budget of {model}", name)
    return found


def _duration(written: str | None, notes: Notes, kind: str, name: str) -> str | None:
    if written is None:
        return None
    try:
        parse_duration(written)
    except ValueError:
        notes.add(kind, f"budget_duration: {written}", name)
        return None
    return written


def _note(notes: Notes, kind: str, name: str, given: Row, columns: Iterable[str]) -> None:
    for column in columns:
        if not says_nothing(given.get(column)):
            notes.add(kind, column, name)


def stamp_of(row: Row) -> dict[str, Any]:
    return {
        "created_us": us(row.get("created_at")) or 0,
        "updated_us": us(row.get("updated_at")) or 0,
        "created_by": row.get("created_by") or "",
        "updated_by": row.get("updated_by") or "",
    }


def _reset(row: Row) -> int | None:
    return us(row.get("budget_reset_at")) if row.get("budget_duration") else None


def dict_of(value: Any) -> dict[str, Any]:
    """A column of JSON; some versions wrote JSON's text into it."""
    if isinstance(value, str):
        value = json.decode(value) if value.startswith("{") else None
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        value = json.decode(value) if value.startswith("[") else None
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def nano(dollars: Any) -> int:
    """LiteLLM's dollars, which are floats, as whole nano-dollars; what is no amount is nothing."""
    try:
        amount = Decimal(str(dollars or 0)) * 1_000_000_000
    except InvalidOperation:
        return 0
    if not amount.is_finite() or amount <= 0:
        return 0
    return min(int(amount.to_integral_value(ROUND_HALF_EVEN)), NANO_MAX)


def _limit_nano(dollars: Any) -> int | None:
    """A limit: none stays none, and infinity is none."""
    if dollars is None or not Decimal(str(dollars)).is_finite():
        return None
    return nano(dollars)


def us(moment: Any) -> int | None:
    """LiteLLM's times have no zone and are UTC."""
    if not isinstance(moment, datetime):
        return None
    return us_of(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
