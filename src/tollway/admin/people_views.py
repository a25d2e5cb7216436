"""How teams, users and the others are shown: the shapes of LiteLLM's answers (1.106.2, 2026-11-21)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tollway.admin import LiveSpend
from tollway.admin.border import dollars_of, iso, iso_z, spent_dollars
from tollway.admin.limit_requests import reset_at, shown_model_budgets, shown_windows
from tollway.config.settings import MoneySettings
from tollway.storage.people import Customer, Limits, Member, Organization, SharedBudget, Tag, Team, User


class Shown:
    """Makes shapes; knows what periods are counted by and what time it is."""

    def __init__(self, money: MoneySettings, now: datetime) -> None:
        self._money = money
        self._now = now

    # --- teams

    def team(self, team: Team, spend: LiveSpend) -> dict[str, Any]:
        limits = team.limits
        return {
            "team_alias": team.alias,
            "team_id": team.id,
            "organization_id": team.organization_id,
            "admins": [],
            "members": [],
            "members_with_roles": [self.member(member) for member in team.members],
            "team_member_permissions": list(team.member_permissions),
            "metadata": _team_metadata(team),
            **self._rates(limits),
            "tpd_limit": None,
            "max_budget": dollars_of(limits.max_budget_nano),
            "soft_budget": dollars_of(limits.soft_budget_nano),
            "budget_duration": limits.budget_duration,
            "budget_limits": shown_windows(limits, self._money, self._now),
            "models": list(team.models),
            "blocked": team.blocked,
            "router_settings": {},
            "access_group_ids": [],
            "default_team_member_models": [],
            "spend": spent_dollars(spend.spend_nano),
            "budget_reset_at": self.reset_at(limits),
            "model_id": None,
            "model_spend": {},
            "model_max_budget": shown_model_budgets(limits),
            "policies": [],
            "allow_team_guardrail_config": False,
            "litellm_model_table": {"model_aliases": team.aliases} if team.aliases else None,
            "object_permission": None,
            "object_permission_id": None,
            "updated_at": iso_z(team.updated_us),
            "created_at": iso_z(team.created_us),
        }

    def team_row(self, team: Team, spend: LiveSpend) -> dict[str, Any]:
        """As `/team/update` and `/team/block` show it: a row with what other tables know of it."""
        return {**self.team(team, spend), "litellm_organization_table": None, "projects": None}

    def team_info(
        self, team: Team, spend: LiveSpend, users: Mapping[str, User], member_budget: SharedBudget | None
    ) -> dict[str, Any]:
        members = [
            {**self.member(member), "user_alias": users[member.user_id].alias if member.user_id in users else None}
            for member in team.members
        ]
        return {
            **self.team(team, spend),
            "members_with_roles": members,
            "team_member_budget_table": self.budget_table(member_budget) if member_budget is not None else None,
            **dict.fromkeys(
                (
                    *("access_group_models", "access_group_mcp_server_ids", "access_group_agent_ids"),
                    *("access_group_details", "organization_models"),
                )
            ),
            "model_max_budget_usage": {},
            "caller_edit_access": None,  # said by whoever knows who asks
        }

    def member(self, member: Member) -> dict[str, Any]:
        return {"user_id": member.user_id, "user_email": member.user_email, "role": member.role}

    def membership(self, team: Team, member: Member, spend: LiveSpend, budget: SharedBudget | None) -> dict[str, Any]:
        return {
            "user_id": member.user_id,
            "team_id": team.id,
            "budget_id": member.budget_id or team.member_budget_id,
            "spend": spent_dollars(spend.spend_nano),
            "total_spend": spent_dollars(spend.total_nano),
            "litellm_budget_table": self.budget_table(budget) if budget is not None else None,
        }

    # --- users

    def user(self, user: User, spend: LiveSpend, teams: list[str]) -> dict[str, Any]:
        limits = user.limits
        return {
            "user_id": user.id,
            "user_alias": user.alias,
            "team_id": None,
            "sso_user_id": user.fields.get("sso_user_id"),
            "organization_id": None,
            "object_permission_id": None,
            "password_reset_required": None,
            "last_breach_check_at": None,
            "teams": teams,
            "user_role": user.role,
            "max_budget": dollars_of(limits.max_budget_nano),
            "spend": spent_dollars(spend.spend_nano),
            "user_email": user.email,
            "models": list(user.models),
            "metadata": user.metadata,
            **self._rates(limits),
            "budget_duration": limits.budget_duration,
            "budget_reset_at": self.reset_at(limits),
            "allowed_cache_controls": [],
            "policies": [],
            "model_spend": {},
            "model_max_budget": shown_model_budgets(limits),
            "created_at": iso_z(user.created_us),
            "updated_at": iso_z(user.updated_us),
            "organization_memberships": None,
            "object_permission": None,
            **({"blocked": True} if user.blocked else {}),
        }

    def user_info(
        self, user: User, spend: LiveSpend, teams: list[str], organizations: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "verified_subjects": None,
            **self.user(user, spend, teams),
            "litellm_organization_table": None,
            "organization_memberships": organizations,
            **dict.fromkeys(("invitations_created", "invitations_updated", "invitations_user")),
            "model_max_budget_usage": {},
        }

    # --- budgets and who names them

    def budget(self, budget: SharedBudget) -> dict[str, Any]:
        return {
            "budget_id": budget.id,
            **self._of_budget(budget),
            "budget_reset_at": self.reset_at(budget.limits),
            "created_at": iso_z(budget.created_us),
            "created_by": budget.created_by,
            "updated_at": iso_z(budget.updated_us),
            "updated_by": budget.updated_by,
            **dict.fromkeys(
                (
                    *("organization", "projects", "keys", "end_users", "tags", "model_access_groups"),
                    *("team_membership", "organization_membership"),
                )
            ),
        }

    def budget_table(self, budget: SharedBudget) -> dict[str, Any]:
        """A budget as those show it who name it."""
        return {
            "budget_id": budget.id,
            **self._of_budget(budget),
            "budget_reset_at": self.reset_at(budget.limits),
            "created_at": iso_z(budget.created_us),
        }

    def organization(self, organization: Organization, spend: LiveSpend, budget: SharedBudget | None) -> dict[str, Any]:
        metadata = organization.metadata | _by_model(organization.model_rpm, organization.model_tpm)
        return {
            "organization_id": organization.id,
            "organization_alias": organization.alias,
            "budget_id": organization.budget_id,
            "spend": spent_dollars(spend.spend_nano),
            "metadata": metadata,
            "models": list(organization.models),
            "model_spend": {},
            "created_by": organization.created_by,
            "updated_by": organization.updated_by,
            "object_permission_id": None,
            "object_permission": None,
            "created_at": iso_z(organization.created_us),
            "updated_at": iso_z(organization.updated_us),
            "litellm_budget_table": self.budget_table(budget) if budget is not None else None,
        }

    def customer(self, customer: Customer, spend_nano: int, budget: SharedBudget | None) -> dict[str, Any]:
        return {
            "user_id": customer.id,
            "blocked": customer.blocked,
            "alias": customer.alias,
            "spend": spent_dollars(spend_nano),
            "allowed_model_region": None,
            "default_model": None,
            "models": list(customer.models),
            "budget_id": customer.budget_id,
            "litellm_budget_table": self.budget_table(budget) if budget is not None else None,
            "object_permission_id": None,
            "object_permission": None,
        }

    def tag(self, tag: Tag, budget: SharedBudget | None) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "name": tag.id,
            "description": tag.description,
            "models": list(tag.models),
            "model_info": {},
            "created_at": iso(tag.created_us),
            "updated_at": iso(tag.updated_us),
            "created_by": tag.created_by,
        }
        if budget is not None:
            shown |= {"budget_id": budget.id, "litellm_budget_table": self.budget_table(budget)}
        return shown

    # --- pieces

    def reset_at(self, limits: Limits) -> str | None:
        return reset_at(limits.budget_duration, self._money, self._now)

    def _rates(self, limits: Limits) -> dict[str, Any]:
        return {"tpm_limit": limits.tpm, "rpm_limit": limits.rpm, "max_parallel_requests": limits.parallel_max}

    def _of_budget(self, budget: SharedBudget) -> dict[str, Any]:
        limits = budget.limits
        return {
            "max_budget": dollars_of(limits.max_budget_nano),
            "soft_budget": dollars_of(limits.soft_budget_nano),
            **self._rates(limits),
            "tpd_limit": None,
            "model_max_budget": shown_model_budgets(limits) or None,
            "budget_duration": limits.budget_duration,
            "allowed_models": [],
            "temp_budget_increase": None,
            "temp_budget_expiry": None,
        }


def _team_metadata(team: Team) -> dict[str, Any]:
    """LiteLLM keeps in it what has no column of its own."""
    metadata = team.metadata | _by_model(team.limits.model_rpm, team.limits.model_tpm)
    if team.member_budget_id is not None:
        metadata["team_member_budget_id"] = team.member_budget_id
    return metadata


def _by_model(rpm: Mapping[str, int], tpm: Mapping[str, int]) -> dict[str, Any]:
    return {name: dict(limits) for name, limits in (("model_rpm_limit", rpm), ("model_tpm_limit", tpm)) if limits}
