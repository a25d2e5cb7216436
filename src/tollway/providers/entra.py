"""Microsoft Entra ID: whose credentials, and a token for Azure's models.

The ways, in the order in which they are looked for; what an entry says goes before what variables say:

- a token that was given (`azure_ad_token`, AZURE_AD_TOKEN), never renewed;
- a client's secret: `tenant_id`, `client_id`, `client_secret` (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET)
  (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow);
- a workload's identity: the token in AZURE_FEDERATED_TOKEN_FILE stands for the secret (same page, third case);
- a managed identity, only where AZURE_CREDENTIAL or `azure_credential` says ManagedIdentityCredential: App Service's and
  Container Apps' own door (IDENTITY_ENDPOINT), else the machine's metadata service
  (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
  https://learn.microsoft.com/azure/app-service/overview-managed-identity).

(2026-11-22.) The metadata service has a link-local address, which our upstream never calls: it is asked in a thread, at that
one address, without a proxy.
"""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError, UpstreamFailed
from tollway.providers import MissingSetting, first_of
from tollway.providers.tokens import (
    REPLY_BYTES_MAX,
    Token,
    TokenSigner,
    answer,
    checked_url,
    form,
    has_own_authorization,
    refused,
    setting,
    tls_of,
    token,
    token_in,
)
from tollway.upstream.wire import Tls, Upstream

PARAMETERS = ("azure_ad_token", "azure_credential", "azure_scope", "client_id", "client_secret", "tenant_id")
VARIABLES = (
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CREDENTIAL",
    "AZURE_SCOPE",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
)
SCOPE_DEFAULT = "https://cognitiveservices.azure.com/.default"
AUTHORITY_DEFAULT = "https://login.microsoftonline.com"
#: What AZURE_CREDENTIAL may say, as azure-identity names its classes.
SECRET, WORKLOAD, MANAGED = "ClientSecretCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"
METADATA_HOST, METADATA_PATH = "169.254.169.254", "/metadata/identity/oauth2/token"
METADATA_S_MAX = 10.0
WHO = "Microsoft Entra ID"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,120}")


class Identity(Struct, frozen=True):
    """Whose token, by one of the `kind`s above."""

    kind: str
    scope: str = SCOPE_DEFAULT
    authority: str = AUTHORITY_DEFAULT
    tenant: str = ""
    client: str = ""
    secret: Secret | None = None
    token_file: str = ""
    endpoint: str = ""  # of App Service's managed identities
    endpoint_header: Secret | None = None
    tls: Tls = Tls()


# --- what is written -----------------------------------------------------------------------------------------------


def given_token(provider: str, entry: ModelEntry) -> Secret | None:
    """The entry's `azure_ad_token`. Raises ConfigError for LiteLLM's word for a token that is fetched elsewhere."""
    text = setting(entry, "azure_ad_token")
    if text.startswith("oidc/"):
        place = f"{entry.place}: " if entry.place else ""
        problem = (
            f"{place}{provider}: azure_ad_token: Tollway does not fetch oidc/ tokens; name the file that holds yours in "
            "AZURE_FEDERATED_TOKEN_FILE"
        )
        raise ConfigError([problem])
    return Secret(text, is_bearer=True) if text else None


def is_written(entry: ModelEntry) -> bool:
    """The entry names credentials of its own, which then go before a key among the variables."""
    return any(setting(entry, name) for name in ("client_secret", "azure_credential", "tenant_id"))


def identity_of(provider: str, entry: ModelEntry, environment: Mapping[str, Secret]) -> Identity | None:
    """None where nobody names one. Raises MissingSetting for half of one, ConfigError for one that cannot be."""

    def said(name: str, variable: str) -> str:
        return setting(entry, name) or (first_of((variable,), environment) or "").strip()

    tenant, client = said("tenant_id", "AZURE_TENANT_ID"), said("client_id", "AZURE_CLIENT_ID")
    secret = said("client_secret", "AZURE_CLIENT_SECRET")
    file = (first_of(("AZURE_FEDERATED_TOKEN_FILE",), environment) or "").strip()
    kind = said("azure_credential", "AZURE_CREDENTIAL") or (SECRET if secret else WORKLOAD if file else "")
    if not kind:
        return None
    place = f"{entry.place}: " if entry.place else ""
    if kind not in (SECRET, WORKLOAD, MANAGED):
        raise ConfigError(
            [
                f"{place}{provider}: azure_credential {kind!r} is not spoken; there are {SECRET}, {WORKLOAD} and {MANAGED}"
            ]
        )
    needed = {
        SECRET: {"tenant_id": tenant, "client_id": client, "client_secret": secret},
        WORKLOAD: {"tenant_id": tenant, "client_id": client, "AZURE_FEDERATED_TOKEN_FILE": file},
        MANAGED: {},
    }[kind]
    for name, value in needed.items():
        if not value:
            raise MissingSetting(provider, (_VARIABLE_OF.get(name, name), name), f"the rest of its {kind}")
    for name, value in (("tenant_id", tenant), ("client_id", client)):
        if value and not _NAME.fullmatch(value):
            raise ConfigError([f"{place}{provider}: {name} is no name or id of Microsoft Entra's"])
    authority = first_of(("AZURE_AUTHORITY_HOST",), environment) or AUTHORITY_DEFAULT
    authority = authority if "://" in authority else f"https://{authority}"
    managed = kind == MANAGED
    header = first_of(("IDENTITY_HEADER",), environment) if managed else None
    return Identity(
        kind=kind,
        scope=said("azure_scope", "AZURE_SCOPE") or SCOPE_DEFAULT,
        authority=checked_url(provider, entry, "AZURE_AUTHORITY_HOST", authority),
        tenant=tenant,
        client=client,
        secret=Secret(secret) if kind == SECRET else None,
        token_file=file if kind == WORKLOAD else "",
        endpoint=(first_of(("IDENTITY_ENDPOINT",), environment) or "") if managed else "",
        endpoint_header=Secret(header) if header else None,
        tls=tls_of(entry),
    )


_VARIABLE_OF = {
    "tenant_id": "AZURE_TENANT_ID",
    "client_id": "AZURE_CLIENT_ID",
    "client_secret": "AZURE_CLIENT_SECRET",
}


def key_or_token(
    provider: str, key_env: tuple[str, ...], entry: ModelEntry, environment: Mapping[str, Secret]
) -> Secret | None:
    """The key or the token that was given; None where one is fetched. Raises MissingSetting where there is neither."""
    given = entry.api_key or given_token(provider, entry)
    if given is not None:
        return given
    if not is_written(entry):
        for name in key_env:
            value = environment.get(name)
            if value:
                return Secret(value.reveal(), is_bearer=True) if name == "AZURE_AD_TOKEN" else value
    if identity_of(provider, entry, environment) is None and not has_own_authorization(entry):
        raise MissingSetting(
            provider, (*key_env, "api_key", "client_secret"), "a key or credentials of Microsoft Entra's"
        )
    return None


def signer(provider: str, entry: ModelEntry, environment: Mapping[str, Secret]) -> TokenSigner | None:
    """For an entry without key or token."""
    identity = None if has_own_authorization(entry) else identity_of(provider, entry, environment)
    return None if identity is None else TokenSigner(WHO, lambda upstream, now: fetch(identity, upstream, now))


# --- asking --------------------------------------------------------------------------------------------------------


async def fetch(identity: Identity, upstream: Upstream, now_s: float) -> Token:
    """Raises UpstreamError."""
    if identity.kind == MANAGED:
        return await _managed(identity, upstream, now_s)
    fields = {"grant_type": "client_credentials", "client_id": identity.client, "scope": identity.scope}
    if identity.secret is not None:
        fields["client_secret"] = identity.secret.reveal()
    else:
        fields["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        fields["client_assertion"] = await _read(identity.token_file)
    url = f"{identity.authority}/{identity.tenant}/oauth2/v2.0/token"
    return token_in(await answer(upstream, form(url, fields, tls=identity.tls), WHO), now_s, WHO)


async def _read(path: str) -> str:
    """Read anew each time: what puts the token there renews it."""
    try:
        return (await asyncio.to_thread(Path(path).read_text, "utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise refused(WHO, f"{type(error).__name__} of AZURE_FEDERATED_TOKEN_FILE") from error


async def _managed(identity: Identity, upstream: Upstream, now_s: float) -> Token:
    resource = identity.scope.removesuffix("/.default")
    asked = {"resource": resource, **({"client_id": identity.client} if identity.client else {})}
    if identity.endpoint:
        url = urlsplit(identity.endpoint)
        header = identity.endpoint_header.reveal() if identity.endpoint_header is not None else ""
        query = urlencode({"api-version": "2019-08-01", **asked})
        port = url.port or (443 if url.scheme == "https" else 80)
        lines = {"X-IDENTITY-HEADER": header}
        status, body = await _ask_machine(url.hostname or "", port, f"{url.path}?{query}", lines, url.scheme == "https")
    else:
        query = urlencode({"api-version": "2018-02-01", **asked})
        status, body = await _ask_machine(METADATA_HOST, 80, f"{METADATA_PATH}?{query}", {"Metadata": "true"}, False)
    if status in (404, 410, 429) or status >= 500:
        raise UpstreamFailed("The managed identity's service does not answer now.", status=503)
    try:
        said = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = {}
    if status != 200:
        raise refused(WHO, f"managed identity: {status}")
    expires = said.get("expires_on")
    if isinstance(expires, int | str) and str(expires).isdigit():
        return token(said.get("access_token"), WHO, now_s, float(expires))
    return token_in(said, now_s, WHO)


async def _ask_machine(host: str, port: int, target: str, headers: dict[str, str], tls: bool) -> tuple[int, bytes]:
    """(status, body) of a GET at an address of the machine's own; in a thread, and no proxy is asked."""

    def ask() -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        connection = kind(host, port, timeout=METADATA_S_MAX)
        try:
            connection.request("GET", target, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read(REPLY_BYTES_MAX)
        finally:
            connection.close()

    try:
        return await asyncio.to_thread(ask)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UpstreamFailed("The managed identity's service cannot be reached.", status=503) from error
