"""Budgets that several share by naming them: made, changed, looked at. A change is in force when its answer is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs
from pydantic import BaseModel
from starlette.requests import Request

from tollway.admin.border import bad_request, office_of, spent_dollars
from tollway.admin.entities import checked_name, not_found, noted, people_of, spends_of, stamped
from tollway.admin.limit_requests import WithLimits, changed_limits, reset_at
from tollway.admin.listing import Order, Page, PageSize, Search, fits, in_order, page_facts, page_of
from tollway.admin.people_views import Shown
from tollway.storage import KeyRecord
from tollway.storage.people import PROVIDER_SCOPE, EntityExists, Limits, People, SharedBudget

_TABLE = "LiteLLM_BudgetTable"
#: Of each kind of those who are held to one budget, so many are shown.
NAMED_MAX = 100


class BudgetRequest(WithLimits):
    NOT_OBEYED = frozenset(
        {"tpd_limit", "budget_reset_at", "allowed_models", "temp_budget_increase", "temp_budget_expiry"}
    )

    budget_id: str | None = None


class BudgetsRequest(BaseModel):
    budgets: list[str]


class BudgetNamed(BaseModel):
    id: str


def _shown(request: Request) -> Shown:
    office = office_of(request)
    return Shown(office.config.money, office.now())


async def new(request: Request, body: BudgetRequest) -> dict[str, Any]:
    office = office_of(request)
    limits = changed_limits(Limits(), body.given())
    budget = SharedBudget(id=checked_name(body.budget_id, "budget_id"), limits=limits, **stamped(request, new=True))
    try:
        await office.storage.people.budgets.create(budget)
    except EntityExists:
        raise bad_request(f"Budget {budget.id!r} already exists.", "budget_id") from None
    await office.people_changed()
    await noted(request, "created", _TABLE, budget.id, None, budget)
    return _shown(request).budget(budget)


async def update(request: Request, body: BudgetRequest) -> dict[str, Any]:
    """Changes the limits that are given, for everybody who names this budget."""
    if body.budget_id is None:
        raise bad_request("budget_id is required", "budget_id")
    office = office_of(request)
    fields, stamp = body.given(), stamped(request)
    changed_limits(Limits(), fields)  # what is wrong with them is found before anything is begun
    changed = await office.storage.people.budgets.change(
        body.budget_id,
        lambda budget: structs.replace(budget, limits=changed_limits(budget.limits, fields), **stamp),
    )
    if changed is None:
        raise not_found("Budget", body.budget_id, "budget_id")
    await office.people_changed()
    await noted(request, "updated", _TABLE, body.budget_id, *changed)
    return _shown(request).budget(changed[1])


async def info(request: Request, body: BudgetsRequest) -> list[dict[str, Any]]:
    if not body.budgets:
        raise bad_request(f"Specify list of budget id's to query. Passed in={body.budgets}", "budgets")
    store = office_of(request).storage.people.budgets
    shown = _shown(request)
    return [shown.budget(found) for name in body.budgets if (found := await store.get(name)) is not None]


async def list_budgets(
    request: Request,
    budget_id: str | None = None,
    search: Search = None,
    page: Page = None,
    page_size: PageSize = 25,
    sort_by: str | None = None,
    sort_order: Order = "asc",
) -> list[dict[str, Any]] | dict[str, Any]:
    """All budgets; with `page` a page of those that were made to be shared.

    The page of one `budget_id` also says who is held to it, and how many there are of each kind.
    """
    office, shown = office_of(request), _shown(request)
    if page is None:
        return [shown.budget(budget) for budget in await office.storage.people.budgets.all()]
    people = await people_of(request)
    found = [
        budget
        for budget in people.budgets.values()
        if "owner" not in budget.fields and budget_id in (None, budget.id) and fits(search, budget.id)
    ]
    sorts: dict[str, Callable[[SharedBudget], Any]] = {
        "budget_id": lambda budget: budget.id.lower(),
        "created_at": lambda budget: budget.created_us,
        "max_budget": lambda budget: budget.limits.max_budget_nano,
    }
    found = in_order(found, sorts, sort_by, sort_order, default="created_at")
    rows = [shown.budget(budget) for budget in page_of(found, page, page_size)]
    if budget_id is not None:
        keys = await office.storage.keys.load_all() if rows else []
        rows = [{**row, **_held_to(row["budget_id"], people, keys)} for row in rows]
    return {"budgets": rows, **page_facts(len(found), page, page_size)}


def _held_to(budget_id: str, people: People, keys: Sequence[KeyRecord]) -> dict[str, Any]:
    """Who names a budget, under LiteLLM's words for them; of each kind NAMED_MAX are shown and all are counted."""
    named: dict[str, list[dict[str, Any]]] = {
        "keys": [
            {"token": key.token.hex(), "key_name": key.key_name, "key_alias": key.key_alias}
            for key in keys
            if key.fields.get("budget_id") == budget_id
        ],
        "organization": [
            {"organization_id": one.id, "organization_alias": one.alias}
            for one in people.organizations.values()
            if one.budget_id == budget_id
        ],
        "end_users": [
            {"user_id": one.id, "alias": one.alias} for one in people.customers.values() if one.budget_id == budget_id
        ],
        "tags": [{"tag_name": one.id} for one in people.tags.values() if one.budget_id == budget_id],
        "team_membership": [
            {"team_id": team.id, "team_alias": team.alias, "user_id": member.user_id}
            for team in people.teams.values()
            for member in team.members
            if (member.budget_id or team.member_budget_id) == budget_id
        ],
    }
    counts = {f"{kind}_count": len(ones) for kind, ones in named.items()}
    return {**{kind: ones[:NAMED_MAX] for kind, ones in named.items()}, **counts}


async def settings(request: Request, budget_id: str) -> list[dict[str, Any]]:
    """What can be said of a budget, and what this one says."""
    budget = await office_of(request).storage.people.budgets.get(budget_id)
    if budget is None:
        raise not_found("Budget", budget_id, "budget_id")
    values = _shown(request).budget(budget)
    return [
        {
            "field_name": name,
            "field_type": kind,
            "field_description": about,
            "field_value": values[name],
            "stored_in_db": True,
            "field_default_value": None,
            "premium_field": False,
            "nested_fields": None,
            "field_options": None,
            "field_tab": None,
            "source": "unset",
            "editable": True,
        }
        for name, kind, about in _SETTINGS
    ]


_SETTINGS = (
    ("max_budget", "Float", "Dollars that may be spent in a period."),
    ("soft_budget", "Float", "Dollars above which somebody is told."),
    ("max_parallel_requests", "Integer", "Calls at once."),
    ("tpm_limit", "Integer", "Tokens a minute."),
    ("rpm_limit", "Integer", "Requests a minute."),
    ("budget_duration", "String", "How long a period is, like 30d."),
)


async def delete(request: Request, body: BudgetNamed) -> dict[str, Any]:
    """Whoever named it is held to nothing by it any more."""
    office = office_of(request)
    deleted = await office.storage.people.budgets.delete([body.id])
    if not deleted:
        raise not_found("Budget", body.id, "id")
    await office.people_changed()
    await noted(request, "deleted", _TABLE, body.id, deleted[0], None)
    return _shown(request).budget(deleted[0])


async def providers(request: Request) -> dict[str, Any]:
    """What the configuration lets be spent at each provider, and what was."""
    office = office_of(request)
    budgets = office.config.money.provider_budgets
    if not budgets:
        raise bad_request(
            "No provider budget config found. Set `provider_budget_config` in the configuration's router_settings."
        )
    spends = await spends_of(office)
    return {
        "providers": {
            provider: {
                "budget_limit": float(budget.limit_usd),
                "time_period": budget.duration,
                "spend": spent_dollars(spends.of(PROVIDER_SCOPE, provider).spend_nano),
                "budget_reset_at": reset_at(budget.duration, office.config.money, office.now()),
            }
            for provider, budget in budgets.items()
        }
    }
