"""What was added through the API lies over the configuration's file: stored models, with the credentials that they name, become
entries as the file's are.

One that cannot be read (another salt key, a setting that is none any more) is left out and told of: it must not keep the others
from serving.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import DecodeError, json, structs

from tollway.config.models import entry_of
from tollway.config.settings import Config, ModelEntry
from tollway.errors import BadRequest, ConfigError, StorageError, Unavailable
from tollway.providers import registry
from tollway.storage.people import People, StoredModel
from tollway.storage.sealing import Sealer

log = logging.getLogger("tollway")

MODELS = "models"
CREDENTIALS = "credentials"
#: How a stored model names a credential.
CREDENTIAL_NAME = "litellm_credential_name"
_ADDRESSES = ("api_base", "base_url")
_GOOGLES = ("vertex_credentials", "vertex_ai_credentials")
#: Those of Google's credentials that hold all that is needed; the other kinds name files to read and addresses to ask.
_GOOGLE_KINDS = ("service_account", "authorized_user")
_GOOGLE_ADDRESS = re.compile(r"https://(?:[a-z0-9-]+\.)*(?:googleapis|google)\.com/[\w/.-]*")


def sealer_of(config: Config) -> Sealer:
    """Raises BadRequest where there is no key to seal with, Unavailable where the package is not installed."""
    if config.access.salt_key is None:
        raise BadRequest(
            "Secrets that come through the API are stored encrypted. Set LITELLM_SALT_KEY to a long random text first, and keep it."
        )
    return Sealer(config.access.salt_key)


def stored_entries(people: People, config: Config) -> list[ModelEntry]:
    """Of every stored model that can be read."""
    if not people.models:
        return []
    try:
        sealer = sealer_of(config)
    except (BadRequest, Unavailable) as error:
        log.error("stored models are left out: %s", error)
        return []
    entries = []
    for model in people.models.values():
        try:
            params = sealer.open(MODELS, model.id, model.sealed)
            entries.append(entry_from(model, params, people, sealer))
        except (ConfigError, StorageError, BadRequest) as error:
            log.error("the stored model %s (%s) is left out: %s", model.model_name, model.id, error)
    return entries


def entry_from(model: StoredModel, params: Mapping[str, Any], people: People, sealer: Sealer | None) -> ModelEntry:
    """Raises ConfigError or BadRequest for what cannot be obeyed, SealBroken for a credential that cannot be opened. A model that
    names no credential needs no sealer."""
    params = dict(params)
    name = params.pop(CREDENTIAL_NAME, None)
    if name is not None:
        credential = people.credentials.get(str(name))
        if credential is None or sealer is None:
            raise BadRequest(f"Credential {name!r} does not exist.", param=CREDENTIAL_NAME)
        params = {**sealer.open(CREDENTIALS, credential.id, credential.sealed), **params}
    _check_address(params)
    _check_files(params)
    info = {**model.info, "id": model.id}
    fields = {"model_name": model.model_name, "litellm_params": params, "model_info": info}
    entry = entry_of(fields, f"model {model.id}", registry.parameters())
    return structs.replace(entry, about={**entry.about, "db_model": True})


def _check_address(params: Mapping[str, Any]) -> None:
    """A host that comes through the API gets no key but one that came the same way, and is never link-local: clouds keep their
    machines' credentials there. (A name that leads to such an address is refused when it is called.)
    """
    for name in params:
        if name.endswith("_endpoint"):
            raise BadRequest(f"{name} is for the configuration to say, not for the API.", param=name)
    base = next((params[name] for name in _ADDRESSES if params.get(name)), None)
    if base is None:
        return
    if params.get("api_key") is None:
        raise BadRequest(
            "A model with an api_base of its own needs an api_key of its own (any text where it asks for none): the gateway's"
            " own keys are not sent to hosts that the configuration does not name.",
            param="api_key",
        )
    try:
        address = ipaddress.ip_address(urlsplit(str(base)).hostname or "")
    except ValueError:
        return
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_link_local:
        raise BadRequest(f"{address} is a link-local address; no model is there.", param="api_base")


def _check_files(params: Mapping[str, Any]) -> None:
    """What comes through the API reads no file of this machine, and shows none to a host that it names."""
    token = params.get("aws_web_identity_token")
    for name in params:
        if name.endswith("_file") or (name == "aws_web_identity_token" and str(token).startswith("/")):
            raise BadRequest(f"{name} names a file, which only the configuration may.", param=name)
        if name in _GOOGLES and params[name]:
            _check_googles(name, params[name])


def _check_googles(name: str, written: Any) -> None:
    try:
        told = written if isinstance(written, Mapping) else json.decode(str(written).encode("utf-8", "surrogatepass"))
    except DecodeError:
        raise BadRequest(
            f"{name} names a file, which only the configuration may; give the JSON itself.", param=name
        ) from None
    if not isinstance(told, Mapping) or told.get("type") not in _GOOGLE_KINDS:
        raise BadRequest(
            f"{name} may be of the types {' and '.join(_GOOGLE_KINDS)} here: others name files and addresses, which only the"
            " configuration may.",
            param=name,
        )
    for field, value in told.items():
        if field in ("token_uri", "token_info_url") and _GOOGLE_ADDRESS.fullmatch(str(value)) is None:
            raise BadRequest(f"{name}: {field} is no address of Google's.", param=name)
