"""Google Cloud's credentials: whose they are, and a bearer token that is always fresh.

https://cloud.google.com/docs/authentication/application-default-credentials (2026-11-22). Reading and renewing them is
google-auth's, which comes with the extra `vertex`: keys of service accounts, people's own (`gcloud auth application-default
login`), workload identities, impersonation and a machine's own are found as every Google tool finds them.

Loading may read files and ask Google's servers, so it happens in a thread. A token is renewed in the background long before
it expires; a call waits only where there is none that is valid.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError, UpstreamAccountError, UpstreamFailed
from tollway.providers import MissingSetting, first_of
from tollway.upstream.wire import Upstream, WireRequest

#: What an entry may say of its credentials, as LiteLLM names it: a path, or the JSON itself.
PARAMETERS = ("vertex_credentials", "vertex_ai_credentials")
VARIABLES = ("VERTEXAI_CREDENTIALS", "VERTEX_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

#: A token that lasts no longer than this is renewed; for one that lasts no longer than that, calls wait.
RENEW_S = 10 * 60
WAIT_S = 30
#: Getting one may take this long.
LOAD_S_MAX = 30.0
#: google-auth cannot say how long some tokens last; Google's shortest usual life.
LIFE_S_OTHERWISE = 30 * 60


class Identity(Struct, frozen=True):
    """Whose credentials: the file or the JSON that was written; both empty for what the machine itself offers."""

    path: str = ""
    info: Secret | None = None


def identity_of(provider: str, entry: ModelEntry, environment: Mapping[str, Secret]) -> Identity:
    """Raises MissingSetting where google-auth is not there, ConfigError for JSON that is no credentials."""
    if not is_installed():
        raise MissingSetting(
            provider, ("`pip install 'tollway[vertex]'`",), "google-auth, which reads Google Cloud's credentials"
        )
    written = next((_text(entry.provider_params.get(name)) for name in PARAMETERS if name in entry.provider_params), "")
    written = (written or first_of(VARIABLES, environment) or "").strip()
    if not written.startswith("{"):
        return Identity(path=written)
    try:
        known = isinstance(json.loads(written).get("type"), str)
    except (ValueError, AttributeError):
        known = False
    if not known:
        place = f"{entry.place}: " if entry.place else ""
        raise ConfigError([f"{place}{provider}: vertex_credentials holds JSON that is no Google credentials"])
    return Identity(info=Secret(written))


def is_installed() -> bool:
    """google-auth, and the HTTP client that it uses."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in ("google.auth", "requests"))
    except ModuleNotFoundError:
        return False


def project_in(identity: Identity) -> str:
    """The project that credentials name, "" where they name none or cannot be read. May read a small file."""
    try:
        text = identity.info.reveal() if identity.info is not None else Path(identity.path).expanduser().read_text()
        found = json.loads(text)
    except (OSError, ValueError):
        return ""
    names = (found.get("project_id"), found.get("quota_project_id")) if isinstance(found, dict) else ()
    return next((name for name in names if isinstance(name, str) and name), "")


def _text(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    return json.dumps(value) if isinstance(value, dict) else str(value or "")


# --- credentials ---------------------------------------------------------------------------------------------------


#: Where google-auth reads each kind.
_KINDS = {
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "from_info"),
    "external_account_authorized_user": ("google.auth.external_account_authorized_user", "from_info"),
    "impersonated_service_account": ("google.auth.impersonated_credentials", "from_impersonated_service_account_info"),
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
}
_AWS_KIND = ("google.auth.aws", "from_info")
_AWS_SUBJECT = "urn:ietf:params:aws:token-type:aws4_request"


def load_credentials(identity: Identity) -> Any:
    """google-auth's credentials for an identity; blocks. Raises its exceptions, OSError and ValueError."""
    if identity.info is None and not identity.path:
        found, _ = import_module("google.auth").default(scopes=[SCOPE], request=_request())
        return found
    text = identity.info.reveal() if identity.info is not None else Path(identity.path).expanduser().read_text()
    info = json.loads(text)
    kind = info.get("type")
    if kind not in _KINDS:
        raise ValueError(f"credentials of the type {kind!r} are not known")
    source = info.get("credential_source")
    if isinstance(source, dict) and "executable" in source:
        raise ValueError("credentials that run a program are not taken")  # a key must not run anything here
    module, reader = _AWS_KIND if info.get("subject_token_type") == _AWS_SUBJECT else _KINDS[kind]
    return getattr(import_module(module).Credentials, reader)(info, scopes=[SCOPE])


def refresh(credentials: Any) -> None:
    """Gets a new token; blocks."""
    credentials.refresh(_request())


def _request() -> Any:
    return import_module("google.auth.transport.requests").Request()


# --- signing -------------------------------------------------------------------------------------------------------


class GoogleSigner:
    """Shows a bearer token of one identity's, and keeps it fresh. `load` and `refresh` block; `wall` is seconds of the
    epoch.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        load: Callable[[Identity], Any] = load_credentials,
        refresh: Callable[[Any], None] = refresh,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._load = load
        self._refresh = refresh
        self._wall = wall
        self._credentials: Any = None
        self._lines = b""
        self._expires = 0.0
        self._renewing: asyncio.Task[None] | None = None

    async def prepare(self, upstream: Upstream) -> None:
        """Raises UpstreamAccountError where there are no credentials, UpstreamFailed where no token comes in time."""
        left_s = self._expires - self._wall()
        if left_s > RENEW_S:
            return
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
            self._renewing.add_done_callback(self._renewed)
        if left_s <= WAIT_S:
            try:
                async with asyncio.timeout(LOAD_S_MAX):
                    await asyncio.shield(self._renewing)
            except TimeoutError as error:
                raise UpstreamFailed(f"A Google token did not come within {LOAD_S_MAX:.0f} s.", status=503) from error

    def sign(self, request: WireRequest) -> None:
        request.head += self._lines

    async def _renew(self) -> None:
        failures = import_module("google.auth.exceptions")
        try:
            credentials = await asyncio.to_thread(self._renewed_credentials)
        except failures.TransportError as error:
            raise UpstreamFailed("Google's sign-in does not answer.", status=503) from error
        except (failures.GoogleAuthError, OSError, ValueError, TypeError, KeyError) as error:
            raise _no_credentials(type(error).__name__) from error
        token = credentials.token
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise _no_credentials("Google gave no token")
        lines = f"authorization: Bearer {token}\r\n"
        project = getattr(credentials, "quota_project_id", None)
        if isinstance(project, str) and project.isascii() and project.isprintable():
            lines += f"x-goog-user-project: {project}\r\n"
        expiry = credentials.expiry  # a datetime in UTC that does not say so
        self._credentials = credentials
        self._lines = lines.encode()
        self._expires = expiry.replace(tzinfo=UTC).timestamp() if expiry else self._wall() + LIFE_S_OTHERWISE

    def _renewed_credentials(self) -> Any:
        credentials = self._credentials if self._credentials is not None else self._load(self._identity)
        self._refresh(credentials)
        return credentials

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody else need hear of it while the old one lasts


def _no_credentials(why: str) -> UpstreamAccountError:
    return UpstreamAccountError(
        f"This gateway has no Google Cloud credentials for this model ({why}). An administrator must check them.",
        retryable_by_client=False,
    )
