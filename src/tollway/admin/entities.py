"""What the endpoints of teams, users and the others have in common: who they are, what they spent, and the audit log."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import structs, to_builtins
from starlette.requests import Request

from tollway.admin import LiveSpend, Office
from tollway.admin.border import MASTER_KEY_NAME, bad_request, office_of, principal_of, us_of
from tollway.admin.limit_requests import LIMIT_FIELDS, changed_limits
from tollway.config.findings import looks_secret
from tollway.errors import NotFound, StorageError
from tollway.storage import KeyFilter, KeyRecord, Spent
from tollway.storage.people import AuditEntry, Entity, Limits, Member, People, SharedBudget, Team, member_id

_log = logging.getLogger("tollway.admin")

_KEY = re.compile(r"\bsk-[\w\-]{8,}")
MASKED = "*****"
#: Ids and names that clients give: long enough for anybody's, short enough for an index.
NAME_CHARACTERS_MAX = 512
NO_SPEND = LiveSpend(0, 0)
KEYS_AT_ONCE = 500
#: Of more than so many, what they spent is read with everybody's: one question instead of many.
SPENDS_AT_ONCE_MAX = 200


async def people_of(request: Request) -> People:
    return await office_of(request).storage.people.load()


def new_id() -> str:
    return str(uuid.uuid4())


def checked_name(name: str | None, param: str) -> str:
    """An id that somebody chose, or a new one. Raises BadRequest for what no database keeps."""
    if name is None:
        return new_id()
    if not name or len(name) > NAME_CHARACTERS_MAX or "\0" in name:
        raise bad_request(f"{param} has 1 to {NAME_CHARACTERS_MAX} characters.", param)
    return name


def not_found(kind: str, name: str, param: str) -> NotFound:
    return NotFound(f"{kind} not found, passed {param}={name}", param=param)


def stamped(request: Request, *, new: bool = False) -> dict[str, Any]:
    """When and by whom an entity is changed just now, as its fields."""
    now_us = us_of(office_of(request).now())
    who = principal_of(request).user_id or ""
    stamp: dict[str, Any] = {"updated_us": now_us, "updated_by": who}
    return {**stamp, "created_us": now_us, "created_by": who} if new else stamp


# --- spend


class Spends:
    """What everybody but keys spent: as the storage knows it, or the ledger, where that is ahead."""

    def __init__(self, office: Office, stored: Mapping[tuple[str, str], LiveSpend]) -> None:
        self._office = office
        self._stored = stored

    def of(self, scope: str, name: str) -> LiveSpend:
        return self._office.spend_of(scope, name) or self._stored.get((scope, name), NO_SPEND)


async def spends_of(office: Office, named: Collection[tuple[str, str]] | None = None) -> Spends:
    """Of everybody, or of those (scope, id) alone who are asked for: with thousands of teams that is a page, not all of them."""
    if named is None or len(named) > SPENDS_AT_ONCE_MAX:
        found: Sequence[Spent | None] = await office.storage.spend.all_spent()
    else:
        unknown = [one for one in named if office.spend_of(*one) is None]
        found = await asyncio.gather(*(office.storage.spend.spent(*one) for one in unknown))
    stored = {(one.scope, one.id): LiveSpend(one.spend_nano, one.total_nano) for one in found if one is not None}
    return Spends(office, stored)


async def spend_of(office: Office, scope: str, name: str) -> LiveSpend:
    """What one who is no key spent."""
    return (await spends_of(office, ((scope, name),))).of(scope, name)


async def set_spend(request: Request, scope: str, name: str, nano: int) -> None:
    """Says what a scope spent. What it spent until now belongs to the old number: it is stored first."""
    office = office_of(request)
    await office.flush()
    await office.storage.people.set_spent(scope, name, nano)


# --- budgets that are named


async def checked_budget(request: Request, budget_id: str | None, owner: str = "") -> str | None:
    """Raises BadRequest for a budget that is not there, and for another's own: it goes when its owner does."""
    if budget_id is None:
        return None
    found = await office_of(request).storage.people.budgets.get(budget_id)
    if found is None:
        raise bad_request(f"Budget {budget_id!r} does not exist. Make it with `/budget/new`.", "budget_id")
    check_shareable(found, owner)
    return budget_id


def check_shareable(budget: SharedBudget, owner: str = "") -> None:
    """Raises BadRequest for another's own budget: it goes when its owner does."""
    whose = budget.fields.get("owner", owner)
    if whose != owner:
        raise bad_request(
            f"Budget {budget.id!r} is that of {whose} alone. Make one to share with `/budget/new`.", "budget_id"
        )


async def budget_for(request: Request, owner: str, held_to: str | None, fields: Mapping[str, Any]) -> str | None:
    """The id of the budget that somebody is held to after `fields`: the one that is named; or one of its own, made or changed
    by the limits that are given; or the one it had. A budget that others share is not changed by one of them.
    """
    store = office_of(request).storage.people.budgets
    if "budget_id" in fields:
        held_to = await checked_budget(request, fields["budget_id"], owner)
    given = {name: fields[name] for name in LIMIT_FIELDS if name in fields}
    if not given or (held_to is None and all(value is None for value in given.values())):
        return held_to
    stamp = stamped(request)

    def change(budget: SharedBudget) -> SharedBudget:
        return structs.replace(budget, limits=changed_limits(budget.limits, given), **stamp)

    before = await store.get(held_to) if held_to is not None else None
    if before is not None and before.fields.get("owner") == owner:
        changed = await store.change(before.id, change)
        if changed is not None:
            await noted(request, "updated", "LiteLLM_BudgetTable", before.id, *changed)
            return before.id
    limits = changed_limits(before.limits if before is not None else Limits(), given)
    made = SharedBudget(id=new_id(), limits=limits, fields={"owner": owner}, **stamped(request, new=True))
    await store.create(made)
    await noted(request, "created", "LiteLLM_BudgetTable", made.id, None, made)
    return made.id


async def forget_former_budget(request: Request, owner: str, before: str | None, after: str | None) -> None:
    """Deletes a budget that was made for one who is held to another by now. To be called when that is stored."""
    if before != after:
        await forget_budget(request, owner, before)


async def forget_budget(request: Request, owner: str, budget_id: str | None) -> None:
    """Deletes a budget that was made for one who is gone."""
    store = office_of(request).storage.people.budgets
    found = await store.get(budget_id) if budget_id is not None else None
    if found is not None and found.fields.get("owner") == owner:
        await store.delete([found.id])
        await noted(request, "deleted", "LiteLLM_BudgetTable", found.id, found, None)


def member_owner(team_id: str, user_id: str) -> str:
    return f"team_member/{member_id(team_id, user_id)}"


def with_member(team: Team, member: Member) -> tuple[Member, ...]:
    """The members of a team with this one in the place of the one with the same id."""
    if team.member(member.user_id) is None:
        return (*team.members, member)
    return tuple(member if one.user_id == member.user_id else one for one in team.members)


# --- the audit log


async def noted(request: Request, action: str, table: str, name: str, before: Any, after: Any) -> None:
    """Writes down a change that was made: who, what, before and after, without secrets. It is made already: where the log
    cannot be written, the gateway's own log says so.
    """
    office, principal = office_of(request), principal_of(request)
    token = principal.record.token.hex() if principal.record is not None else MASTER_KEY_NAME
    if principal.kind == "user":
        token = ""  # signed in: no key asked
    actor = principal.user_id or ""
    if principal.is_admin:
        actor = request.headers.get("litellm-changed-by", actor)[:NAME_CHARACTERS_MAX]
    entry = AuditEntry(
        at_us=us_of(office.now()),
        actor=actor,
        actor_key=token,
        action=action,
        table=table,
        object_id=name,
        before=_without_secrets(before),
        after=_without_secrets(after),
    )
    try:
        await office.storage.people.note([entry])
    except StorageError as error:
        _log.error("%s of %s %r by %r is not in the audit log: %s", action, table, name, actor, error)


KEY_TABLE = "LiteLLM_VerificationToken"
#: What a key spent is no change that anybody makes.
_NOT_NOTED = ("token", "spend_nano", "total_spend_nano", "period_start_us", "last_active_us")


def noted_key(record: KeyRecord | None) -> dict[str, Any] | None:
    """A key for the audit log."""
    if record is None:
        return None
    return {name: value for name, value in structs.asdict(record).items() if name not in _NOT_NOTED}


async def delete_keys_of(request: Request, which: KeyFilter) -> None:
    """Deletes every key that belongs to somebody who is gone. Not in force before `people_changed`."""
    store = office_of(request).storage.keys
    while True:
        records, _ = await store.page(which, limit=KEYS_AT_ONCE)
        if not await store.delete([record.token for record in records]):
            return
        for record in records:
            await noted(request, "deleted", KEY_TABLE, record.token.hex(), noted_key(record), None)


def _without_secrets(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    shown: dict[str, Any] = _masked(to_builtins(value) if isinstance(value, Entity) else value)
    return shown


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {str(inner): _masked(content, str(inner)) for inner, content in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(inner) for inner in value]
    if isinstance(value, str):
        return MASKED if name and looks_secret(name) else _KEY.sub("sk-***", value)
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)
