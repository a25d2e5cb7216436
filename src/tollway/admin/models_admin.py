"""Models that are added, changed and deleted through the API. Those of the configuration's file are its own to say."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from tollway.admin.border import bad_request, iso_z, office_of
from tollway.admin.entities import MASKED, checked_name, not_found, noted, stamped
from tollway.admin.limit_requests import plain
from tollway.config.findings import looks_secret
from tollway.storage.people import EntityExists, StoredModel

_TABLE = "LiteLLM_ProxyModelTable"
_KIND = "models"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class NewModel(_Body):
    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any] | None = None


class ModelChanges(_Body):
    model_name: str | None = None
    litellm_params: dict[str, Any] | None = None
    model_info: dict[str, Any] | None = None


class ModelNamed(_Body):
    id: str


async def new(request: Request, body: NewModel) -> dict[str, Any]:
    """Adds a deployment, which serves at once."""
    office = office_of(request)
    params, info = plain(body.litellm_params), plain(body.model_info) or {}
    name = checked_name(info.pop("id", None), "model_info.id")
    if name in _configured(request) or await office.storage.people.models.get(name) is not None:
        raise bad_request(f"Model id {name!r} exists already.", "model_info.id")
    model = StoredModel(
        id=name,
        model_name=body.model_name,
        sealed=office.seal(_KIND, name, params),
        info=_own_info(info),
        **stamped(request, new=True),
    )
    await office.check_model(model, params)
    try:
        await office.storage.people.models.create(model)
    except EntityExists:
        raise bad_request(f"Model id {name!r} exists already.", "model_info.id") from None
    await office.people_changed()
    shown = shown_model(model, params)
    await noted(request, "created", _TABLE, name, None, shown)
    return shown


async def update(request: Request, body: ModelChanges) -> dict[str, Any]:
    name = (body.model_info or {}).get("id")
    if not isinstance(name, str):
        raise bad_request("Say which model: model_info.id.", "model_info.id")
    return await _update(request, name, body)


async def update_named(request: Request, id: str, body: ModelChanges) -> dict[str, Any]:
    return await _update(request, id, body)


async def _update(request: Request, name: str, body: ModelChanges) -> dict[str, Any]:
    office, store = office_of(request), office_of(request).storage.people.models
    before = await store.get(name)
    if before is None:
        raise _not_stored(request, name)
    params_before = office.unseal(_KIND, name, before.sealed)
    params = _merged(params_before, plain(body.litellm_params) or {})
    info = _merged(before.info, _own_info(plain(body.model_info) or {}))
    changed = structs.replace(
        before,
        model_name=body.model_name or before.model_name,
        sealed=office.seal(_KIND, name, params),
        info=info,
        **stamped(request),
    )
    await office.check_model(changed, params)
    if await store.change(name, lambda _: changed) is None:
        raise _not_stored(request, name)
    await office.people_changed()
    shown = shown_model(changed, params)
    await noted(request, "updated", _TABLE, name, shown_model(before, params_before), shown)
    return shown


async def delete(request: Request, body: ModelNamed) -> dict[str, Any]:
    office = office_of(request)
    deleted = await office.storage.people.models.delete([body.id])
    if not deleted:
        raise _not_stored(request, body.id)
    await office.people_changed()
    await noted(request, "deleted", _TABLE, body.id, {"model_name": deleted[0].model_name}, None)
    return {"message": f"Model: {body.id} deleted successfully"}


def _configured(request: Request) -> set[str | None]:
    return {entry.id for entry in office_of(request).config.models}


def _not_stored(request: Request, name: str) -> Exception:
    if name in _configured(request):
        return bad_request(f"Model {name!r} stands in the configuration's file; change it there.", "id")
    return not_found("Model", name, "id")


def _own_info(info: dict[str, Any]) -> dict[str, Any]:
    """Without what the gateway says itself."""
    return {name: value for name, value in info.items() if name not in ("id", "db_model", "created_at", "created_by")}


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**before, **changes}.items() if value is not None}


def shown_model(model: StoredModel, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_id": model.id,
        "model_name": model.model_name,
        "litellm_params": {name: masked(value, name) for name, value in params.items()},
        "model_info": {**model.info, "id": model.id, "db_model": True},
        "blocked": bool(model.info.get("blocked")),
        "created_at": iso_z(model.created_us),
        "created_by": model.created_by,
        "updated_at": iso_z(model.updated_us),
        "updated_by": model.updated_by,
    }


def masked(value: Any, name: str) -> Any:
    """A setting without what may be secret in it: all headers, and whatever is called a key, a token or the like."""
    if name != "litellm_credential_name" and (looks_secret(name) or name in ("headers", "extra_headers")):
        return MASKED
    if isinstance(value, dict):
        return {inner: masked(content, inner) for inner, content in value.items()}
    if isinstance(value, list):
        return [masked(inner, "") for inner in value]
    return value
