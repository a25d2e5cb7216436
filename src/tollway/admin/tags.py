"""Tags: names that calls carry, described, and held to a budget. Tags that calls brought by themselves are shown, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs
from pydantic import BaseModel
from starlette.requests import Request

from tollway.admin.border import bad_request, office_of, spent_dollars
from tollway.admin.entities import (
    budget_for,
    checked_name,
    forget_budget,
    forget_former_budget,
    not_found,
    noted,
    people_of,
    spends_of,
    stamped,
)
from tollway.admin.limit_requests import WithLimits
from tollway.admin.listing import Order, Page, PageSize, Search, fits, in_order, page_facts, page_of
from tollway.admin.people_views import Shown
from tollway.storage import SpendFilter
from tollway.storage.people import TAG_SCOPE, EntityExists, People, Tag

_TABLE = "LiteLLM_TagTable"
_DYNAMIC = "Calls brought this tag by themselves; it has no limits."


class TagFields(WithLimits):
    NOT_OBEYED = frozenset({"tpd_limit", "models", "model_info"})  # models by tag are the router's, which has none yet

    name: str
    description: str | None = None
    budget_id: str | None = None


class TagNamed(BaseModel):
    name: str


class TagsAsked(BaseModel):
    names: list[str]


async def new(request: Request, body: TagFields) -> dict[str, Any]:
    office = office_of(request)
    name = checked_name(body.name, "name")
    if await office.storage.people.tags.get(name) is not None:
        raise bad_request(f"Tag {name} already exists", "name")
    budget_id = await budget_for(request, _owner(name), None, body.given())
    tag = Tag(id=name, description=body.description, budget_id=budget_id, **stamped(request, new=True))
    try:
        await office.storage.people.tags.create(tag)
    except EntityExists:
        raise bad_request(f"Tag {name} already exists", "name") from None
    await office.people_changed()
    await noted(request, "created", _TABLE, name, None, tag)
    return {"message": f"Tag {name} created successfully", "tag": _row(request, tag, await people_of(request))}


async def update(request: Request, body: TagFields) -> dict[str, Any]:
    office, fields, stamp = office_of(request), body.given(), stamped(request)
    store = office.storage.people.tags
    before = await store.get(body.name)
    if before is None:
        raise not_found("Tag", body.name, "name")
    stamp["budget_id"] = await budget_for(request, _owner(body.name), before.budget_id, fields)
    if "description" in fields:
        stamp["description"] = fields["description"]
    changed = await store.change(body.name, lambda tag: structs.replace(tag, **stamp))
    if changed is None:
        raise not_found("Tag", body.name, "name")
    await forget_former_budget(request, _owner(body.name), changed[0].budget_id, changed[1].budget_id)
    await office.people_changed()
    await noted(request, "updated", _TABLE, body.name, *changed)
    row = _row(request, changed[1], await people_of(request))
    return {"message": f"Tag {body.name} updated successfully", "tag": row}


async def delete(request: Request, body: TagNamed) -> dict[str, Any]:
    office = office_of(request)
    deleted = await office.storage.people.tags.delete([body.name])
    if not deleted:
        raise not_found("Tag", body.name, "name")
    await forget_budget(request, _owner(body.name), deleted[0].budget_id)
    await office.people_changed()
    await noted(request, "deleted", _TABLE, body.name, deleted[0], None)
    return {"message": f"Tag {body.name} deleted successfully"}


async def info(request: Request, body: TagsAsked) -> dict[str, Any]:
    people = await people_of(request)
    for name in body.names:
        if name not in people.tags:
            raise not_found("Tag", name, "names")
    return {name: _row(request, people.tags[name], people) for name in body.names}


async def list_tags(
    request: Request,
    search: Search = None,
    page: Page = None,
    page_size: PageSize = 25,
    sort_by: str | None = None,
    sort_order: Order = "asc",
) -> list[dict[str, Any]] | dict[str, Any]:
    """Tags that were made, then those that calls brought; with `page` a page of them, with what was spent under each."""
    office, people = office_of(request), await people_of(request)
    await office.flush()
    groups = await office.storage.spend.groups(("tag",), SpendFilter())
    dynamic = [group.tag for group in groups if group.tag and group.tag not in people.tags]
    if page is None:
        return [*(_row(request, tag, people) for tag in people.tags.values()), *map(_dynamic, dynamic)]
    spends = await spends_of(office)
    spent = {group.tag: group.spend_nano for group in groups if group.tag}
    for tag in people.tags.values():
        if tag.budget_id is not None:  # in its budget's period
            spent[tag.id] = spends.of(TAG_SCOPE, tag.id).spend_nano
    sorts: dict[str, Callable[[str], Any]] = {
        "name": lambda name: name.lower(),
        "created_at": lambda name: people.tags[name].created_us if name in people.tags else None,
        "spend": lambda name: spent.get(name, 0),
    }
    found = [name for name in (*people.tags, *dynamic) if fits(search, name)]
    found = in_order(found, sorts, sort_by, sort_order, default="name")
    rows = []
    for name in page_of(found, page, page_size):
        made = people.tags.get(name)
        row = _row(request, made, people) if made is not None else _dynamic(name)
        rows.append({**row, "spend": spent_dollars(spent.get(name, 0)), "registered": made is not None})
    return {"tags": rows, **page_facts(len(found), page, page_size)}


def _dynamic(name: str) -> dict[str, Any]:
    return {"name": name, "description": _DYNAMIC, "models": None, "created_at": None, "updated_at": None}


def _owner(name: str) -> str:
    return f"tag/{name}"


def _row(request: Request, tag: Tag, people: People) -> dict[str, Any]:
    office = office_of(request)
    budget = people.budgets.get(tag.budget_id) if tag.budget_id is not None else None
    return Shown(office.config.money, office.now()).tag(tag, budget)
