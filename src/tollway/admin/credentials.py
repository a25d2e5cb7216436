"""Credentials that models added through the API name. Their values are stored encrypted and shown nowhere."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from tollway.admin.border import bad_request, office_of
from tollway.admin.entities import MASKED, checked_name, not_found, noted, stamped
from tollway.admin.limit_requests import plain
from tollway.config.findings import looks_secret
from tollway.errors import StorageError
from tollway.storage.people import Credential, EntityExists

_TABLE = "LiteLLM_CredentialsTable"
_KIND = "credentials"


class NewCredential(BaseModel):
    model_config = ConfigDict(extra="forbid")

    credential_name: str
    credential_values: dict[str, Any]
    credential_info: dict[str, Any] | None = None


class CredentialChanges(BaseModel):
    model_config = ConfigDict(extra="forbid")

    credential_name: str | None = None
    credential_values: dict[str, Any] | None = None
    credential_info: dict[str, Any] | None = None


async def new(request: Request, body: NewCredential) -> dict[str, Any]:
    office = office_of(request)
    name = checked_name(body.credential_name, "credential_name")
    credential = Credential(
        id=name,
        sealed=office.seal(_KIND, name, plain(body.credential_values)),
        info=plain(body.credential_info) or {},
        **stamped(request, new=True),
    )
    try:
        await office.storage.people.credentials.create(credential)
    except EntityExists:
        raise bad_request(f"Credential {name!r} already exists.", "credential_name") from None
    await office.people_changed()
    await noted(request, "created", _TABLE, name, None, _noted(credential))
    return {"success": True, "message": "Credential created successfully"}


async def list_credentials(request: Request) -> dict[str, Any]:
    found = await office_of(request).storage.people.credentials.all()
    return {"success": True, "credentials": [_shown(request, one) for one in found]}


async def by_name(request: Request, name: str) -> dict[str, Any]:
    credential = await office_of(request).storage.people.credentials.get(name)
    if credential is None:
        raise not_found("Credential", name, "credential_name")
    return _shown(request, credential)


async def by_model(request: Request, model_id: str) -> dict[str, Any]:
    """What a model that was added here was given to reach its provider; the values are masked."""
    office = office_of(request)
    model = await office.storage.people.models.get(model_id)
    if model is None:
        raise not_found("Model", model_id, "model_id")
    params = office.unseal("models", model_id, model.sealed)
    named = params.get("litellm_credential_name")
    if named is not None:
        return await by_name(request, str(named))
    secret = [name for name in params if looks_secret(name)]
    return {
        "credential_name": f"{model.model_name}-credential-{model_id}",
        "display_name": None,
        "credential_info": {},
        "credential_values": dict.fromkeys(secret, MASKED),
        "source": "db",
    }


async def update(request: Request, name: str, body: CredentialChanges) -> dict[str, Any]:
    """Changes the values given; `null` takes one away."""
    office, store = office_of(request), office_of(request).storage.people.credentials
    before = await store.get(name)
    if before is None:
        raise not_found("Credential", name, "credential_name")
    if body.credential_name not in (None, name):
        raise bad_request("A credential keeps its name: models call it by that.", "credential_name")
    values = {**office.unseal(_KIND, name, before.sealed), **(plain(body.credential_values) or {})}
    sealed = office.seal(_KIND, name, {key: value for key, value in values.items() if value is not None})
    info = before.info if body.credential_info is None else plain(body.credential_info)
    after = structs.replace(before, sealed=sealed, info=info, **stamped(request))
    people = await office.storage.people.load()
    for model in people.models.values():  # none that names it must be left without what it needs
        params = office.unseal("models", model.id, model.sealed)
        if params.get("litellm_credential_name") == name:
            own = {key: value for key, value in params.items() if key != "litellm_credential_name"}
            await office.check_model(model, {**office.unseal(_KIND, name, sealed), **own})
    if await store.change(name, lambda _: after) is None:
        raise not_found("Credential", name, "credential_name")
    await office.people_changed()
    await noted(request, "updated", _TABLE, name, _noted(before), _noted(after))
    return {"success": True, "message": "Credential updated successfully"}


async def delete(request: Request, name: str) -> dict[str, Any]:
    office = office_of(request)
    people = await office.storage.people.load()
    for model in people.models.values():
        try:
            named = office.unseal("models", model.id, model.sealed).get("litellm_credential_name")
        except StorageError:
            continue  # it serves nobody
        if named == name:
            raise bad_request(f"The model {model.model_name!r} ({model.id}) names this credential.", "credential_name")
    deleted = await office.storage.people.credentials.delete([name])
    if not deleted:
        raise not_found("Credential", name, "credential_name")
    await office.people_changed()
    await noted(request, "deleted", _TABLE, name, _noted(deleted[0]), None)
    return {"success": True, "message": "Credential deleted successfully"}


def _shown(request: Request, credential: Credential) -> dict[str, Any]:
    try:
        values = office_of(request).unseal(_KIND, credential.id, credential.sealed)
    except StorageError:
        values = {}
    return {
        "credential_name": credential.id,
        "display_name": None,
        "credential_info": credential.info,
        "credential_values": dict.fromkeys(values, MASKED),
        "source": "db",
    }


def _noted(credential: Credential) -> dict[str, Any]:
    return {"credential_name": credential.id, "credential_info": credential.info}
