"""Customers, the end users of clients: registered, blocked, held to a budget, looked at. Who calls without being registered is
shown, too, with what was spent for him.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs
from pydantic import BaseModel
from starlette.requests import Request

from tollway.admin.border import bad_request, nano_of, office_of
from tollway.admin.entities import (
    budget_for,
    checked_name,
    forget_budget,
    forget_former_budget,
    not_found,
    noted,
    people_of,
    set_spend,
    spends_of,
    stamped,
)
from tollway.admin.limit_requests import Dollars, WithLimits
from tollway.admin.listing import Order, Page, PageSize, Search, fits, in_order, page_facts, page_of
from tollway.admin.people_views import Shown
from tollway.storage import SpendFilter
from tollway.storage.people import CUSTOMER_SCOPE, Customer, EntityExists, People

_TABLE = "LiteLLM_EndUserTable"


class CustomerFields(WithLimits):
    NOT_OBEYED = frozenset(
        {"tpd_limit", "budget_reset_at", "allowed_model_region", "default_model", "object_permission"}
    )

    user_id: str
    alias: str | None = None
    blocked: bool | None = None
    budget_id: str | None = None
    models: list[str] | None = None
    spend: Dollars = None


class CustomersNamed(BaseModel):
    user_ids: list[str]


async def new(request: Request, body: CustomerFields) -> dict[str, Any]:
    office, fields = office_of(request), body.given()
    name = checked_name(body.user_id, "user_id")
    if await office.storage.people.customers.get(name) is not None:
        raise bad_request(f"Customer already exists, passed user_id={name}. Please pass a new user_id.", "user_id")
    customer = _changed(Customer(id=name, **stamped(request, new=True)), fields)
    customer = structs.replace(customer, budget_id=await budget_for(request, _owner(name), None, fields))
    spend_nano = 0 if fields.get("spend") is None else nano_of(fields["spend"], "spend")
    try:
        await office.storage.people.customers.create(customer, spend_nano=spend_nano)
    except EntityExists:
        raise bad_request(f"Customer already exists, passed user_id={name}.", "user_id") from None
    await office.people_changed([(CUSTOMER_SCOPE, name)] if spend_nano else ())
    await noted(request, "created", _TABLE, name, None, customer)
    return await _shown(request, customer)


async def update(request: Request, body: CustomerFields) -> dict[str, Any]:
    """Changes the fields that are given and no other; a limit makes a budget of the customer's own."""
    office, fields = office_of(request), body.given()
    store = office.storage.people.customers
    before = await store.get(body.user_id)
    if before is None:
        raise not_found("Customer", body.user_id, "user_id")
    stamp = {**stamped(request), "budget_id": await budget_for(request, _owner(before.id), before.budget_id, fields)}
    changed = await store.change(before.id, lambda one: structs.replace(_changed(one, fields), **stamp))
    if changed is None:
        raise not_found("Customer", body.user_id, "user_id")
    await forget_former_budget(request, _owner(before.id), changed[0].budget_id, changed[1].budget_id)
    spend_set = fields.get("spend") is not None
    if spend_set:
        await set_spend(request, CUSTOMER_SCOPE, before.id, nano_of(fields["spend"], "spend"))
    await office.people_changed([(CUSTOMER_SCOPE, before.id)] if spend_set else ())
    await noted(request, "updated", _TABLE, before.id, *changed)
    return await _shown(request, changed[1])


async def delete(request: Request, body: CustomersNamed) -> dict[str, Any]:
    office, people = office_of(request), await people_of(request)
    for name in body.user_ids:
        if name not in people.customers:
            raise not_found("Customer", name, "user_ids")
    await office.flush()
    deleted = await office.storage.people.customers.delete(body.user_ids)
    for customer in deleted:
        await forget_budget(request, _owner(customer.id), customer.budget_id)
    await office.people_changed()
    for customer in deleted:
        await noted(request, "deleted", _TABLE, customer.id, customer, None)
    return {
        "deleted_customers": len(deleted),
        "message": f"Successfully deleted customers with ids: {body.user_ids}",
    }


async def block(request: Request, body: CustomersNamed) -> dict[str, Any]:
    """Calls for these end users are refused from now on, whoever makes them. Who is not registered becomes so."""
    return {"blocked_users": [await _block(request, name, blocked=True) for name in body.user_ids]}


async def unblock(request: Request, body: CustomersNamed) -> dict[str, Any]:
    unblocked = [await _block(request, name, blocked=False) for name in body.user_ids]
    blocked = await office_of(request).storage.people.customers.all()
    return {"blocked_users": [one.id for one in blocked if one.blocked], "unblocked_users": unblocked}


async def _block(request: Request, name: str, *, blocked: bool) -> dict[str, Any]:
    office, stamp = office_of(request), stamped(request)
    store = office.storage.people.customers
    changed = await store.change(name, lambda one: structs.replace(one, blocked=blocked, **stamp))
    if changed is None and not blocked:
        raise not_found("Customer", name, "user_ids")
    if changed is None:
        made = Customer(id=checked_name(name, "user_ids"), blocked=True, **stamped(request, new=True))
        await store.create(made)
        changed = (made, made)
    await office.people_changed()
    await noted(request, "blocked" if blocked else "unblocked", _TABLE, name, *changed)
    return await _shown(request, changed[1])


async def info(request: Request, end_user_id: str) -> dict[str, Any]:
    people = await people_of(request)
    spent = await _spent(request, end_user_id)
    customer = people.customers.get(end_user_id)
    if customer is None and end_user_id not in spent:
        raise not_found("Customer", end_user_id, "end_user_id")
    return _row(request, customer or Customer(id=end_user_id), spent.get(end_user_id, 0), people)


async def list_customers(
    request: Request,
    search: Search = None,
    blocked: bool | None = None,
    page: Page = None,
    page_size: PageSize = 25,
    sort_by: str | None = None,
    sort_order: Order = "asc",
) -> list[dict[str, Any]] | dict[str, Any]:
    """Who is registered, and who was named in calls; with `page` a page of them, which says who is registered."""
    people, spent = await people_of(request), await _spent(request)
    unknown = [Customer(id=name) for name in spent if name not in people.customers]
    everybody = [*people.customers.values(), *unknown]
    if page is None:
        return [_row(request, one, spent.get(one.id, 0), people) for one in everybody]
    found = [one for one in everybody if fits(search, one.id, one.alias) and blocked in (None, one.blocked)]
    sorts: dict[str, Callable[[Customer], Any]] = {
        "user_id": lambda one: one.id.lower(),
        "alias": lambda one: one.alias.lower() if one.alias else None,
        "spend": lambda one: spent.get(one.id, 0),
    }
    found = in_order(found, sorts, sort_by, sort_order, default="user_id")
    rows = [
        {**_row(request, one, spent.get(one.id, 0), people), "registered": one.id in people.customers}
        for one in page_of(found, page, page_size)
    ]
    return {"customers": rows, **page_facts(len(found), page, page_size)}


async def _spent(request: Request, name: str | None = None) -> dict[str, int]:
    """Nano-dollars by end user: what calls came to in all, or for who has a budget in its period."""
    office = office_of(request)
    await office.flush()
    groups = await office.storage.spend.groups(("end_user",), SpendFilter(end_user=name))
    spent = {group.end_user: group.spend_nano for group in groups if group.end_user}
    people = await people_of(request)
    asked = people.customers if name is None else [name]
    known = [people.customers[one] for one in asked if one in people.customers]
    held = [(CUSTOMER_SCOPE, one.id) for one in known if one.budget_id is not None]
    spends = await spends_of(office, held)
    return spent | {name: spends.of(scope, name).spend_nano for scope, name in held}


def _owner(name: str) -> str:
    return f"customer/{name}"


def _changed(customer: Customer, fields: Mapping[str, Any]) -> Customer:
    changes: dict[str, Any] = {}
    if "alias" in fields:
        changes["alias"] = fields["alias"]
    if fields.get("blocked") is not None:
        changes["blocked"] = fields["blocked"]
    if "models" in fields:
        changes["models"] = tuple(fields["models"] or ())
    return structs.replace(customer, **changes)


async def _shown(request: Request, customer: Customer) -> dict[str, Any]:
    spent = await _spent(request, customer.id)
    return _row(request, customer, spent.get(customer.id, 0), await people_of(request))


def _row(request: Request, customer: Customer, spend_nano: int, people: People) -> dict[str, Any]:
    office = office_of(request)
    budget = people.budgets.get(customer.budget_id) if customer.budget_id is not None else None
    return Shown(office.config.money, office.now()).customer(customer, spend_nano, budget)
