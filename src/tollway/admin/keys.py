"""Virtual keys: made, looked at, changed, blocked, replaced, deleted. A change is in force when its answer is sent."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request

from tollway.admin import Office
from tollway.admin.border import bad_request, key_named, key_not_found, office_of, principal_of, token_of, us_of
from tollway.admin.key_requests import (
    BlockKeyRequest,
    GenerateKeyRequest,
    KeysRequest,
    RegenerateKeyRequest,
    UpdateKeyRequest,
    check_bounds,
    check_new_key,
    given,
    grace_until,
    record_changes,
    with_defaults,
)
from tollway.admin.key_views import blocked_key, key_info, listed_key, made_key, unblocked_key, updated_key
from tollway.errors import Forbidden, NotFound
from tollway.storage import KEY_SCOPE, AliasTaken, KeyExists, KeyFilter, KeyRecord, KeySort

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
    office = office_of(request)
    now = office.now()
    fields = with_defaults(given(body or GenerateKeyRequest()), office.config.money)
    key = _new_key(office, fields.get("key"))
    token = token_of(key)
    changes = record_changes(fields, office.config.money, now)
    kept = {name: value for name, value in changes.pop("fields", {}).items() if value is not None}
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
    return made_key(record, key)


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
        if not principal.is_admin and token != own:
            raise Forbidden(
                "You are not allowed to access this key's info. Ask about your own key, or use the master key."
            )
    record = await office.storage.keys.get(token)
    if record is None:
        raise key_not_found()
    return {"key": shown, "info": key_info(record, office.spend_of(KEY_SCOPE, token.hex()), office.now())}


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
    sort_by: str | None = None,
    sort_order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """Keys, page by page, the newest first."""
    office = office_of(request)
    sort = _SORTS.get(sort_by or "created_at")
    if sort is None:
        raise bad_request(f"Invalid sort_by '{sort_by}'. Use one of: {', '.join(_SORTS)}.", "sort_by")
    which = KeyFilter(
        token=None if key_hash is None else token_of(key_hash),
        key_alias=key_alias,
        user_id=user_id,
        team_id=team_id,
        organization_id=organization_id,
    )
    records, total = await office.storage.keys.page(
        which, sort=sort, descending=sort_order == "desc", limit=size, offset=(page - 1) * size
    )
    shown: list[Any] = [record.token.hex() for record in records]
    if return_full_object:
        shown = [listed_key(record, office.spend_of(KEY_SCOPE, record.token.hex())) for record in records]
    return {"keys": shown, "total_count": total, "current_page": page, "total_pages": -(-total // size)}


async def update(request: Request, body: UpdateKeyRequest) -> dict[str, Any]:
    """Changes the fields that are given and no other; `null` takes a limit away."""
    office = office_of(request)
    fields = given(body)
    check_bounds(fields, office.config.money)
    record = await _meant(office, body.key, body.key_alias)
    changes = record_changes(fields, office.config.money, office.now())
    if body.key is None:
        changes.pop("key_alias", None)  # it said which key, not how to call it
    changed = await _change(office, record, changes)
    return updated_key(changed, office.spend_of(KEY_SCOPE, changed.token.hex()), body.key or record.token.hex())


async def block(request: Request, body: BlockKeyRequest) -> dict[str, Any]:
    """The key is refused from now on; calls that it began go on."""
    office = office_of(request)
    changed = await _change(office, await key_named(office.storage.keys, body.key), {"blocked": True})
    return blocked_key(changed, office.spend_of(KEY_SCOPE, changed.token.hex()))


async def unblock(request: Request, body: BlockKeyRequest) -> dict[str, Any]:
    office = office_of(request)
    changed = await _change(office, await key_named(office.storage.keys, body.key), {"blocked": False})
    return unblocked_key(changed, office.spend_of(KEY_SCOPE, changed.token.hex()))


async def delete(request: Request, body: KeysRequest) -> dict[str, Any]:
    """Deletes keys by themselves, their hashes or their aliases. What they spent stays in the spend rows."""
    office = office_of(request)
    named: dict[str, bytes] = {key: token_of(key) for key in body.keys or ()}
    for alias in body.key_aliases or ():
        record = await office.storage.keys.get_by_alias(alias)
        if record is not None:
            named[alias] = record.token
    # What they spent until now is stored under their names first.
    await office.flush()
    deleted = await office.storage.keys.delete(list(dict.fromkeys(named.values())))
    if not deleted:
        raise NotFound("No keys found", param="keys")
    await office.keys_changed(deleted)
    return {"deleted_keys": [name for name, token in named.items() if token in deleted]}


async def regenerate(request: Request, body: RegenerateKeyRequest) -> dict[str, Any]:
    """Gives a key a new text; its limits, its spend and its name stay. The old one opens until the grace period is
    over.
    """
    if body.key is None:
        raise bad_request("Say which key: its text or its hash, as 'key'.", "key")
    return await _regenerate(office_of(request), body.key, body)


async def regenerate_named(request: Request, key: str, body: RegenerateKeyRequest | None = None) -> dict[str, Any]:
    return await _regenerate(office_of(request), key, body or RegenerateKeyRequest())


async def _regenerate(office: Office, named: str, body: RegenerateKeyRequest) -> dict[str, Any]:
    now = office.now()
    fields = given(body)
    check_bounds(fields, office.config.money)
    changes = record_changes(fields, office.config.money, now)
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
    return made_key(record, key)


async def _change(office: Office, record: KeyRecord, changes: dict[str, Any]) -> KeyRecord:
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
    return changed


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
    key = check_new_key(wanted)
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
