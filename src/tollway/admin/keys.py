"""Virtual keys: made, looked at, changed, blocked, replaced, deleted. A change is in force when its answer is sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Query
from msgspec import Struct, structs
from pydantic import BaseModel, Field
from starlette.requests import Request

from tollway.admin import Office, Principal
from tollway.admin.border import (
    MASTER_USER,
    bad_request,
    key_named,
    key_not_found,
    nano_of,
    office_of,
    principal_of,
    spent_dollars,
    token_of,
    us_of,
)
from tollway.admin.entities import KEY_TABLE, check_shareable, noted, noted_key, people_of
from tollway.admin.key_requests import (
    BlockKeyRequest,
    GenerateKeyRequest,
    KeysRequest,
    RegenerateKeyRequest,
    UpdateKeyRequest,
    check_bounds,
    check_key_text,
    check_raise,
    given,
    grace_until,
    record_changes,
    with_defaults,
)
from tollway.admin.key_views import blocked_key, key_info, listed_key, made_key, unblocked_key, updated_key
from tollway.admin.limit_requests import Dollars, reset_at
from tollway.admin.people_views import Shown
from tollway.admin.roles import (
    check_new_key,
    check_sees,
    may_block_key,
    may_change_key,
    may_list_team_keys,
    may_see_all,
    may_see_key,
    may_see_spend,
)
from tollway.errors import Forbidden, NotFound, PublicError
from tollway.storage import KEY_SCOPE, AliasTaken, KeyExists, KeyFilter, KeyRecord, KeySort
from tollway.storage.people import KEY_ACCOUNT_FIELD, WITHOUT_ROLE_FIELD, Limits, People, SharedBudget

#: Keys that `/spend/keys` shows.
SPENDERS_MAX = 1_000
BULK_KEYS_MAX = 500


class KeysAsked(BaseModel):
    keys: list[str] = Field(max_length=BULK_KEYS_MAX)


class BulkUpdate(BaseModel):
    keys: list[UpdateKeyRequest] = Field(max_length=BULK_KEYS_MAX)


class ResetSpend(BaseModel):
    reset_to: Dollars


_SORTS: dict[str, KeySort] = {
    "created_at": "created_us",
    "updated_at": "updated_us",
    "expires": "expires_us",
    "last_active": "last_active_us",
    "spend": "spend_nano",
    "total_spend": "total_spend_nano",
    "max_budget": "max_budget_nano",
    "key_alias": "key_alias",
    "key_name": "key_name",
    "user_id": "user_id",
    "team_id": "team_id",
}


async def generate(request: Request, body: GenerateKeyRequest | None = None) -> dict[str, Any]:
    """Makes a key. Its text is in this answer and nowhere else."""
    return await _generate(request, given(body or GenerateKeyRequest()))


async def generate_for_service(request: Request, body: GenerateKeyRequest) -> dict[str, Any]:
    """Makes a key of a team's that is no user's."""
    fields = given(body)
    if fields.get("team_id") is None:
        detail = "team_id is required for service account keys. Please specify `team_id` in the request body."
        raise HTTPException(400, detail)
    if fields.pop("user_id", None) is not None:
        raise bad_request("A service account's key is no user's; leave user_id out.", "user_id")
    metadata = {**(fields.get("metadata") or {}), "service_account_id": fields.get("key_alias")}
    return await _generate(request, {**fields, "metadata": metadata}, of_service=True)


async def _generate(request: Request, asked: dict[str, Any], *, of_service: bool = False) -> dict[str, Any]:
    office, principal = office_of(request), principal_of(request)
    now = office.now()
    fields = with_defaults(asked, office.config.money)
    people = await people_of(request)
    if not principal.is_admin:
        _refuse_for_admins(fields, ("spend", "organization_id", "budget_id", "permissions"))
    whose = check_new_key(
        principal,
        user_id=fields.get("user_id"),
        team_id=fields.get("team_id"),
        people=people,
        route="/key/service-account/generate" if of_service else "/key/generate",
    )
    if whose is not None and not of_service:
        fields["user_id"] = whose
    _check_belongings(fields, people)
    key = _new_key(office, fields.get("key"))
    token = token_of(key)
    changes = record_changes(fields, office.config.money, now)
    kept = _with_account({name: value for name, value in changes.pop("fields", {}).items() if value is not None})
    if principal.kind in ("key", "user"):
        kept |= {"created_by": principal.user_id, "updated_by": principal.user_id}
    if not principal.is_admin and fields.get("user_id") != principal.user_id:
        kept[WITHOUT_ROLE_FIELD] = True  # whoever makes it holds it: it must not do what its user may
    record = KeyRecord(
        **{
            "token": token,
            "key_name": _name_of(key),
            "created_us": us_of(now),
            "updated_us": us_of(now),
            "total_spend_nano": changes.get("spend_nano", 0),
            "fields": kept,
            **changes,
        }
    )
    try:
        await office.storage.keys.create(record)
    except AliasTaken:
        raise _alias_taken(record.key_alias) from None
    except KeyExists:
        raise bad_request("This key already exists.", "key") from None
    await office.keys_changed([token])
    await noted(request, "created", KEY_TABLE, token.hex(), None, noted_key(record))
    return await _complete(office, record, made_key(record, key))


async def info(request: Request, key: str | None = None) -> dict[str, Any]:
    """A key and what it spent: the one that asks, or for the master key any, by itself or by its hash."""
    office = office_of(request)
    principal = principal_of(request)
    own = principal.record.token if principal.record is not None else None
    if key is None:
        if own is None:
            raise key_not_found()
        token, shown = own, own.hex()
    else:
        token, shown = token_of(key), key
    record = await office.storage.keys.get(token)
    if token != own and not may_see_all(principal):
        people = await people_of(request)
        if record is None or not may_see_key(principal, record, people):
            raise Forbidden(
                "You are not allowed to access this key's info. Ask about your own key, or use the master key."
            )
    if record is None:
        raise key_not_found()
    shown_info = key_info(record, office.spend_of(KEY_SCOPE, token.hex()), office.now())
    return {"key": shown, "info": await _complete(office, record, shown_info)}


async def infos(request: Request, body: KeysAsked) -> dict[str, Any]:
    """Several keys at once; those that are not there, or that one may not see, are left out."""
    office, principal, people = office_of(request), principal_of(request), await people_of(request)
    found = [record for key in body.keys if (record := await office.storage.keys.get(token_of(key))) is not None]
    seen = [record for record in found if may_see_key(principal, record, people)]
    return {
        "key": body.keys,
        "info": [
            await _complete(
                office, record, key_info(record, office.spend_of(KEY_SCOPE, record.token.hex()), office.now())
            )
            for record in seen
        ],
    }


async def aliases(
    request: Request,
    page: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    size: Annotated[int, Query(ge=1, le=100)] = 50,
    search: str | None = None,
) -> dict[str, Any]:
    """The names that keys have, in their order."""
    records = await office_of(request).storage.keys.load_all()
    names = sorted(record.key_alias for record in records if record.key_alias)
    if search:
        names = [name for name in names if search.lower() in name.lower()]
    return {
        "aliases": names[(page - 1) * size : page * size],
        "total_count": len(names),
        "current_page": page,
        "total_pages": -(-len(names) // size),
        "size": size,
    }


async def spend_by_key(request: Request) -> list[dict[str, Any]]:
    """Keys, the one that spent most first, at most 1 000; for who may not see all, the own ones."""
    office, principal = office_of(request), principal_of(request)
    await office.flush()
    which = KeyFilter() if may_see_spend(principal) else KeyFilter(user_id=check_sees(principal, None))
    records, _ = await office.storage.keys.page(which, sort="spend_nano", limit=SPENDERS_MAX)
    return [unblocked_key(record, office.spend_of(KEY_SCOPE, record.token.hex())) for record in records]


async def health(request: Request) -> dict[str, Any]:
    """Whether the key that asks can be used: it can, or it would not have come this far."""
    del request
    return {"key": "healthy", "logging_callbacks": None}


async def list_keys(
    request: Request,
    page: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
    size: Annotated[int, Query(ge=1, le=100)] = 10,
    user_id: str | None = None,
    team_id: str | None = None,
    organization_id: str | None = None,
    key_hash: str | None = None,
    key_alias: str | None = None,
    return_full_object: bool = False,
    include_team_keys: bool = False,
    include_created_by_keys: bool = False,
    sort_by: str | None = None,
    sort_order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """Keys, page by page, the newest first; with `include_*` also those of teams that somebody administrates, or that he made."""
    for name in ("status", "project_id", "access_group_id"):
        if name in request.query_params:
            raise bad_request(f"{name} is not supported by this gateway; leave it out.", name)
    office = office_of(request)
    sort = _SORTS.get(sort_by or "created_at")
    if sort is None:
        raise bad_request(f"Invalid sort_by '{sort_by}'. Use one of: {', '.join(_SORTS)}.", "sort_by")
    principal = principal_of(request)
    if not may_see_all(principal):
        user_id = _listable(principal, user_id, team_id, await people_of(request))
    which = KeyFilter(
        token=None if key_hash is None else token_of(key_hash),
        key_alias=key_alias,
        user_id=user_id,
        team_id=team_id,
        organization_id=organization_id,
    )
    if user_id is not None and (include_team_keys or include_created_by_keys):
        people = await people_of(request)
        more = Also(
            teams=_administrated(people, user_id) if include_team_keys else frozenset(),
            created_by=user_id if include_created_by_keys else None,
        )
        records, total = await _page_with(office, which, more, sort, sort_order, (page - 1) * size, size)
    else:
        records, total = await office.storage.keys.page(
            which, sort=sort, descending=sort_order == "desc", limit=size, offset=(page - 1) * size
        )
    shown: list[Any] = [record.token.hex() for record in records]
    if return_full_object:
        shown = [listed_key(record, office.spend_of(KEY_SCOPE, record.token.hex())) for record in records]
    return {"keys": shown, "total_count": total, "current_page": page, "total_pages": -(-total // size)}


class Also(Struct, frozen=True):
    """Keys that are listed beside somebody's own."""

    teams: frozenset[str]
    created_by: str | None

    def has(self, record: KeyRecord) -> bool:
        by = record.fields.get("created_by") or MASTER_USER
        return record.team_id in self.teams or (self.created_by is not None and by == self.created_by)


def _administrated(people: People, user_id: str) -> frozenset[str]:
    return frozenset(
        team.id
        for team in people.teams.values()
        if (member := team.member(user_id)) is not None and member.role == "admin"
    )


async def _page_with(
    office: Office, which: KeyFilter, more: Also, sort: KeySort, sort_order: str, offset: int, limit: int
) -> tuple[list[KeyRecord], int]:
    """As `KeyStore.page`, of one's own keys and of others that no index knows: all keys are looked at."""
    others = {name: value for name, value in structs.asdict(which).items() if name != "user_id" and value is not None}
    found = [
        record
        for record in await office.storage.keys.load_all()
        if (record.user_id == which.user_id or more.has(record))
        and all(getattr(record, name) == value for name, value in others.items())
    ]
    known = [record for record in found if getattr(record, sort) is not None]
    known.sort(key=lambda record: getattr(record, sort), reverse=sort_order == "desc")
    ordered = known + [record for record in found if getattr(record, sort) is None]
    return ordered[offset : offset + limit], len(found)


async def update(request: Request, body: UpdateKeyRequest) -> dict[str, Any]:
    """Changes the fields that are given and no other; `null` takes a limit away."""
    office = office_of(request)
    fields = given(body)
    check_bounds(fields, office.config.money)
    record = await _changeable(request, await _meant(office, body.key, body.key_alias), "/key/update")
    await _check_blocking(request, record, fields)
    if not principal_of(request).is_admin:
        belongings = {"user_id": record.user_id, "team_id": record.team_id, "organization_id": record.organization_id}
        same = {name for name, value in belongings.items() if name in fields and fields[name] == value}
        _refuse_for_admins(fields, {"spend", "budget_id", "permissions", *belongings} - same, also_null=True)
    people = await people_of(request)
    _check_belongings(fields, people)
    changes = record_changes(fields, office.config.money, office.now())
    shared = people.limits_of(fields.get("budget_id", record.fields.get("budget_id")))
    check_raise(record, changes, shared, office.config.money, office.now())
    if body.key is None:
        changes.pop("key_alias", None)  # it said which key, not how to call it
    changed = await _change(request, record, changes)
    shown = updated_key(changed, office.spend_of(KEY_SCOPE, changed.token.hex()), body.key or record.token.hex())
    return await _complete(office, changed, shown)


async def bulk_update(request: Request, body: BulkUpdate) -> dict[str, Any]:
    """Changes several keys, each by itself: one that cannot be changed keeps no other from it."""
    done, failed = [], []
    for one in body.keys:
        try:
            done.append({"key": one.key, "key_info": await update(request, one)})
        except PublicError as error:
            failed.append({"key": one.key, "key_info": None, "failed_reason": error.message})
    return {"total_requested": len(body.keys), "successful_updates": done, "failed_updates": failed}


async def reset_spend(request: Request, key: str, body: ResetSpend) -> dict[str, Any]:
    """Says what a key spent in its period: no more than it did."""
    office = office_of(request)
    record = await key_named(office.storage.keys, key)
    live = office.spend_of(KEY_SCOPE, record.token.hex())
    before = live.spend_nano if live is not None else record.spend_nano
    nano = nano_of(body.reset_to, "reset_to")
    if nano > before:
        raise bad_request("reset_to must not be more than what was spent.", "reset_to")
    await _change(request, record, {"spend_nano": nano})
    return {"key_hash": record.token.hex(), "spend": spent_dollars(nano), "previous_spend": spent_dollars(before)}


async def block(request: Request, body: BlockKeyRequest) -> dict[str, Any]:
    """The key is refused from now on; calls that it began go on."""
    office = office_of(request)
    record = await _changeable(request, await key_named(office.storage.keys, body.key), "/key/block")
    changed = await _change(request, record, {"blocked": True}, action="blocked")
    return blocked_key(changed, office.spend_of(KEY_SCOPE, changed.token.hex()))


async def unblock(request: Request, body: BlockKeyRequest) -> dict[str, Any]:
    office = office_of(request)
    record = await _changeable(request, await key_named(office.storage.keys, body.key), "/key/unblock")
    await _check_blocking(request, record, {"blocked": False})
    changed = await _change(request, record, {"blocked": False}, action="unblocked")
    return unblocked_key(changed, office.spend_of(KEY_SCOPE, changed.token.hex()))


async def delete(request: Request, body: KeysRequest) -> dict[str, Any]:
    """Deletes keys by themselves, their hashes or their aliases. What they spent stays in the spend rows."""
    office = office_of(request)
    named: dict[str, bytes] = {key: token_of(key) for key in body.keys or ()}
    for alias in body.key_aliases or ():
        record = await office.storage.keys.get_by_alias(alias)
        if record is not None:
            named[alias] = record.token
    records = {token: await office.storage.keys.get(token) for token in named.values()}
    for record in records.values():
        if record is not None:
            await _changeable(request, record, "/key/delete")
    # What they spent until now is stored under their names first.
    await office.flush()
    deleted = await office.storage.keys.delete(list(dict.fromkeys(named.values())))
    if not deleted:
        raise NotFound("No keys found", param="keys")
    await office.keys_changed(deleted)
    for token in deleted:
        await noted(request, "deleted", KEY_TABLE, token.hex(), noted_key(records[token]), None)
    return {"deleted_keys": [name for name, token in named.items() if token in deleted]}


async def regenerate(request: Request, body: RegenerateKeyRequest) -> dict[str, Any]:
    """Gives a key a new text; its limits, its spend and its name stay. The old one opens until the grace period is
    over.
    """
    if body.key is None:
        raise bad_request("Say which key: its text or its hash, as 'key'.", "key")
    return await _regenerate(request, body.key, body)


async def regenerate_named(request: Request, key: str, body: RegenerateKeyRequest | None = None) -> dict[str, Any]:
    return await _regenerate(request, key, body or RegenerateKeyRequest())


async def _regenerate(request: Request, named: str, body: RegenerateKeyRequest) -> dict[str, Any]:
    office = office_of(request)
    now = office.now()
    fields = given(body)
    before = await office.storage.keys.get(token_of(named))
    if before is not None:
        await _changeable(request, before, "/key/regenerate")
        await _check_blocking(request, before, fields)
    if not principal_of(request).is_admin:
        belongings = ("spend", "budget_id", "permissions", "user_id", "team_id", "organization_id")
        _refuse_for_admins(fields, belongings, also_null=True)
    people = await people_of(request)
    _check_belongings(fields, people)
    check_bounds(fields, office.config.money)
    changes = record_changes(fields, office.config.money, now)
    if before is not None:
        shared = people.limits_of(fields.get("budget_id", before.fields.get("budget_id")))
        check_raise(before, changes, shared, office.config.money, now)
    if "fields" in changes and (before is None or KEY_ACCOUNT_FIELD not in before.fields):
        changes["fields"] = _with_account(changes["fields"])
    if before is not None and not principal_of(request).is_admin and before.user_id != principal_of(request).user_id:
        changes["fields"] = {**changes.get("fields", {}), WITHOUT_ROLE_FIELD: True}
    if before is not None:
        changes["fields"] = {**changes.get("fields", {}), **_changed_by(request, before)}
    grace_until_us = us_of(grace_until(body.grace_period, now))
    old = token_of(named)
    key = _new_key(office, body.new_key)
    if "spend_nano" in changes:
        await office.flush()
    try:
        record = await office.storage.keys.regenerate(
            old,
            token_of(key),
            key_name=_name_of(key),
            grace_until_us=grace_until_us,
            changes=changes,
            now_us=us_of(now),
        )
    except AliasTaken:
        raise _alias_taken(body.key_alias) from None
    except KeyExists:
        raise bad_request("This key already exists.", "new_key") from None
    if record is None:
        raise key_not_found()
    await office.keys_changed([old, record.token], spend_set="spend_nano" in changes)
    await noted(request, "rotated", KEY_TABLE, record.token.hex(), noted_key(before), noted_key(record))
    return await _complete(office, record, made_key(record, key))


async def _change(
    request: Request, record: KeyRecord, changes: dict[str, Any], *, action: str = "updated"
) -> KeyRecord:
    office = office_of(request)
    if "fields" in changes and KEY_ACCOUNT_FIELD not in record.fields:
        changes["fields"] = _with_account(changes["fields"])
    changes["fields"] = {**changes.get("fields", {}), **_changed_by(request, record)}
    spend_set = "spend_nano" in changes
    if spend_set:
        # What was spent until now belongs to the old number: it must not be added to the new one later.
        await office.flush()
    try:
        changed = await office.storage.keys.update(record.token, changes, now_us=us_of(office.now()))
    except AliasTaken:
        raise _alias_taken(changes.get("key_alias")) from None
    if changed is None:
        raise key_not_found()
    await office.keys_changed([changed.token], spend_set=spend_set)
    await noted(request, action, KEY_TABLE, changed.token.hex(), noted_key(record), noted_key(changed))
    return changed


def _changed_by(request: Request, record: KeyRecord) -> dict[str, Any]:
    """Who changes a key now, where that is not who changed it last."""
    who = principal_of(request).user_id
    who = None if who == MASTER_USER else who
    return {} if record.fields.get("updated_by") == who else {"updated_by": who}


async def _changeable(request: Request, record: KeyRecord, route: str) -> KeyRecord:
    """The key, if it may be changed by who asks. Raises KeyNotFound's answer where it may not even be seen."""
    principal, people = principal_of(request), await people_of(request)
    if may_change_key(principal, record, people, route):
        return record
    if not may_see_key(principal, record, people):
        raise key_not_found()
    raise Forbidden(f"You may not change this key. Route={route}. Your role={principal.role or 'unknown'}.")


async def _check_blocking(request: Request, record: KeyRecord, fields: dict[str, Any]) -> None:
    """Raises Forbidden where `fields` block a key or open it again and who asks may not."""
    blocked = bool(fields.get("blocked"))
    if "blocked" not in fields or blocked == record.blocked:
        return
    if not may_block_key(principal_of(request), record, await people_of(request), blocked=blocked):
        raise Forbidden("Only who is above a key's user may open it again once it is blocked.", param="blocked")


def _listable(principal: Principal, user_id: str | None, team_id: str | None, people: People) -> str | None:
    """Whose keys somebody may list who may not see all: the own ones, or those of a team whose keys one may see."""
    team = people.teams.get(team_id) if team_id is not None else None
    if team is not None and may_list_team_keys(principal, team, people):
        return user_id
    if principal.user_id is None or user_id not in (None, principal.user_id):
        raise Forbidden("You may list your own keys alone.", param="user_id")
    return principal.user_id


def _refuse_for_admins(fields: dict[str, Any], names: Iterable[str], *, also_null: bool = False) -> None:
    """`also_null`: neither may they be taken away, for a key that leaves its team leaves its budget."""
    for name in names:
        if fields.get(name) is not None or (also_null and name in fields):
            raise Forbidden(f"Only a proxy admin may set {name} of a key.", param=name)


def _check_belongings(fields: dict[str, Any], people: People) -> None:
    """Raises BadRequest for a budget or an organisation that is not there. A team may be made later, as in LiteLLM."""
    budget_id, organization_id = fields.get("budget_id"), fields.get("organization_id")
    if budget_id is not None and budget_id not in people.budgets:
        raise bad_request(f"Budget {budget_id!r} does not exist. Make it with `/budget/new`.", "budget_id")
    if budget_id is not None:
        check_shareable(people.budgets[budget_id])
    if organization_id is not None and organization_id not in people.organizations:
        raise bad_request(
            f"Organization doesn't exist in db. Organization={organization_id}. "
            "Create organization via `/organization/new` call.",
            "organization_id",
        )


def _with_account(fields: dict[str, Any]) -> dict[str, Any]:
    """With a name for the key's further budgets, where it has some."""
    if fields.get("windows") or fields.get("model_budgets"):
        return {KEY_ACCOUNT_FIELD: secrets.token_hex(8), **fields}
    return fields


async def _complete(office: Office, record: KeyRecord, shown: dict[str, Any]) -> dict[str, Any]:
    """With when its further budgets begin anew, and with the budget that it names, or that its `soft_budget` stands for."""
    for window in shown.get("budget_limits") or ():
        window["reset_at"] = reset_at(window["budget_duration"], office.config.money, office.now())
    name = record.fields.get("budget_id")
    budget = await office.storage.people.budgets.get(name) if name is not None else None
    if budget is None and record.soft_budget_nano is not None:
        own = Limits(soft_budget_nano=record.soft_budget_nano)
        by = record.fields.get("created_by") or MASTER_USER
        budget = SharedBudget(
            id="",
            limits=own,
            created_us=record.created_us,
            updated_us=record.updated_us,
            created_by=by,
            updated_by=by,
        )
    if budget is not None:
        table = Shown(office.config.money, office.now()).budget(budget)
        shown["litellm_budget_table"] = {
            **table,
            "budget_id": name,
            "model_max_budget": table["model_max_budget"] or {},
        }
    return shown


async def _meant(office: Office, key: str | None, alias: str | None) -> KeyRecord:
    if key is not None:
        return await key_named(office.storage.keys, key)
    if alias is None:
        raise bad_request("Say which key: its text or its hash as 'key', or its 'key_alias'.", "key")
    record = await office.storage.keys.get_by_alias(alias)
    if record is None:
        raise key_not_found()
    return record


def _new_key(office: Office, wanted: str | None) -> str:
    if wanted is None:
        return "sk-" + secrets.token_urlsafe(16)
    key = check_key_text(wanted)
    # A virtual key with the master key's text would take its place at the door.
    if office.is_master(sha256(key.encode()).digest()):
        raise bad_request("This key already exists.", "key")
    return key


def _name_of(key: str) -> str:
    return f"sk-...{key[-4:]}"


def _alias_taken(alias: str | None) -> Exception:
    return bad_request(
        f"Key with alias '{alias}' already exists. Unique key aliases across all keys are required.", "key_alias"
    )
