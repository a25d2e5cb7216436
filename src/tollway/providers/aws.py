"""Amazon Web Services: where a service is, whose credentials sign a request, and the signature.

Credentials and Signature Version 4 (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html,
2026-11-22) are botocore's, which comes with the extra `bedrock`: keys, profiles, roles, web identities, containers and
instances are found as every AWS tool finds them. A Bedrock API key is a bearer and needs none of it.

Loading credentials may read files and ask Amazon's servers, so it happens in a thread. What is loaded is renewed in the
background long before it expires; a call waits only where there is nothing valid.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError, UpstreamAccountError, UpstreamFailed
from tollway.providers import MissingSetting, first_of
from tollway.upstream.wire import Upstream, WireRequest

#: What an entry may say of its credentials and place, as LiteLLM names it.
PARAMETERS = (
    "aws_access_key_id",
    "aws_external_id",
    "aws_profile_name",
    "aws_region",
    "aws_region_name",
    "aws_role_name",
    "aws_secret_access_key",
    "aws_session_name",
    "aws_session_token",
    "aws_sts_endpoint",
    "aws_web_identity_token",
)
REGION_VARIABLES = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
PROFILE_VARIABLES = ("AWS_PROFILE_NAME", "AWS_PROFILE")
#: Those of the credentials; regions stand in an address.
VARIABLES = (
    *PROFILE_VARIABLES,
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_NAME",
    "AWS_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN",
)

#: Temporary credentials are renewed when they last no longer than this; calls wait when they last no longer than that.
RENEW_S = 15 * 60
WAIT_S = 60
#: Loading them may take this long; each request that it makes, and how often.
LOAD_S_MAX = 30.0
STS_CONNECT_S, STS_READ_S, STS_ATTEMPTS_MAX = 5, 10, 2
SESSION_NAME_DEFAULT = "tollway"

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
_LABEL = re.compile(r"[a-z][a-z0-9-]{1,40}")  # what may stand in a host's name: AWS names new regions as it likes
_ARN_REGION = re.compile(r"arn:aws[a-z-]*:[a-z-]+:([a-z0-9-]+):")


class Identity(Struct, frozen=True):
    """Whose credentials: what was written; all empty for what the machine itself offers."""

    region: str
    access_key: Secret | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None
    profile: str = ""
    role: str = ""
    session_name: str = SESSION_NAME_DEFAULT
    external_id: str = ""
    web_identity_token: Secret | None = None  # the token itself, or the path of the file that holds it
    sts_endpoint: str = ""


# --- what is written -----------------------------------------------------------------------------------------------


def region_of(provider: str, entry: ModelEntry, environment: Mapping[str, Secret], named: str = "") -> str:
    """The entry's region, one that stands in the model's name (`named`), or a variable's. Raises MissingSetting,
    ConfigError.
    """
    written = _text(entry, "aws_region_name") or _text(entry, "aws_region") or named
    region = (written or first_of(REGION_VARIABLES, environment) or "").strip()
    if not region:
        raise MissingSetting(provider, ("AWS_REGION", "aws_region_name"), "a region")
    if not _LABEL.fullmatch(region):
        place = f"{entry.place}: " if entry.place else ""
        raise ConfigError([f"{place}{provider}: {region!r} is no region of AWS; write it like us-east-1"])
    return region


def region_in(text: str) -> str:
    """The region that an ARN names, or a path's first part; "" where there is none."""
    found = _ARN_REGION.search(text)
    if found:
        return found[1] if _REGION.fullmatch(found[1]) else ""
    first = text.partition("/")[0]
    return first if _REGION.fullmatch(first) else ""


def endpoint(service: str, region: str) -> str:
    """https://docs.aws.amazon.com/general/latest/gr/rande.html (2026-11-22)"""
    return f"https://{service}.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def signs(entry: ModelEntry) -> bool:
    """The entry names credentials to sign with, which then go before an API key among the variables."""
    names = ("aws_access_key_id", "aws_profile_name", "aws_role_name", "aws_web_identity_token")
    return any(_text(entry, name) for name in names)


def identity_of(provider: str, entry: ModelEntry, environment: Mapping[str, Secret], region: str) -> Identity:
    """Raises MissingSetting for half a key, or where botocore is not there."""
    if importlib.util.find_spec("botocore") is None:
        raise MissingSetting(
            provider, ("`pip install 'tollway[bedrock]'`",), "botocore, which signs requests with AWS credentials"
        )
    own = signs(entry)

    def said(name: str, *variables: str) -> str:
        return _text(entry, name) or ("" if own else first_of(variables, environment) or "")

    access_key = said("aws_access_key_id", "AWS_ACCESS_KEY_ID")
    secret_key = said("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY")
    if bool(access_key) != bool(secret_key):
        lacking = "aws_secret_access_key" if access_key else "aws_access_key_id"
        raise MissingSetting(provider, (lacking,), "both halves of its AWS key")
    token = said("aws_session_token", "AWS_SESSION_TOKEN") if access_key else ""
    web_token = said("aws_web_identity_token", "AWS_WEB_IDENTITY_TOKEN")
    role = said("aws_role_name", "AWS_ROLE_NAME")
    if web_token and not role:
        raise MissingSetting(provider, ("aws_role_name",), "the role that its web identity may take")
    return Identity(
        region=region,
        access_key=Secret(access_key) if access_key else None,
        secret_key=Secret(secret_key) if secret_key else None,
        session_token=Secret(token) if token else None,
        profile=said("aws_profile_name", *PROFILE_VARIABLES),
        role=role,
        session_name=said("aws_session_name", "AWS_SESSION_NAME") or SESSION_NAME_DEFAULT,
        external_id=_text(entry, "aws_external_id"),
        web_identity_token=Secret(web_token) if web_token else None,
        sts_endpoint=_text(entry, "aws_sts_endpoint"),
    )


def _text(entry: ModelEntry, name: str) -> str:
    value = entry.provider_params.get(name)
    return (value.reveal() if isinstance(value, Secret) else str(value or "")).strip()


# --- credentials ---------------------------------------------------------------------------------------------------


def load_credentials(identity: Identity) -> Any:
    """botocore's credentials for an identity; blocks. Raises botocore's exceptions, and OSError for a token's file."""
    import botocore.session
    from botocore.credentials import Credentials, RefreshableCredentials

    # At DEBUG botocore writes down the headers that it signs, a session's token among them.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    session = botocore.session.Session(profile=identity.profile or None)
    if identity.access_key is not None and identity.secret_key is not None:
        token = identity.session_token.reveal() if identity.session_token is not None else None
        session.set_credentials(identity.access_key.reveal(), identity.secret_key.reveal(), token)
    if not identity.role:
        found: Credentials | None = session.get_credentials()
        return found

    def take_role() -> dict[str, str]:
        return _take_role(session, identity)

    return RefreshableCredentials.create_from_metadata(take_role(), refresh_using=take_role, method="sts-assume-role")


def _take_role(session: Any, identity: Identity) -> dict[str, str]:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (2026-11-22)"""
    from botocore import UNSIGNED
    from botocore.config import Config

    anonymous = identity.web_identity_token is not None
    client = session.create_client(
        "sts",
        region_name=identity.region,
        endpoint_url=identity.sts_endpoint or None,
        config=Config(
            connect_timeout=STS_CONNECT_S,
            read_timeout=STS_READ_S,
            retries={"total_max_attempts": STS_ATTEMPTS_MAX},
            **({"signature_version": UNSIGNED} if anonymous else {}),
        ),
    )
    try:
        asked = {"RoleArn": identity.role, "RoleSessionName": identity.session_name}
        if identity.web_identity_token is not None:
            token = _web_identity(identity.web_identity_token.reveal())
            given = client.assume_role_with_web_identity(**asked, WebIdentityToken=token)["Credentials"]
        else:
            if identity.external_id:
                asked["ExternalId"] = identity.external_id
            given = client.assume_role(**asked)["Credentials"]
    finally:
        client.close()
    return {
        "access_key": given["AccessKeyId"],
        "secret_key": given["SecretAccessKey"],
        "token": given["SessionToken"],
        "expiry_time": given["Expiration"].isoformat(),
    }


def _web_identity(written: str) -> str:
    """A path is read anew each time: what puts the token there renews it."""
    if written.startswith("/"):
        with open(written, encoding="utf-8") as file:
            return file.read().strip()
    return written


class _Botocore(NamedTuple):
    AWSRequest: Any
    SigV4Auth: Any


# --- signing -------------------------------------------------------------------------------------------------------


class AwsSigner:
    """Signs a deployment's requests, about 40 us each, and keeps its credentials fresh. `load` blocks."""

    def __init__(self, service: str, identity: Identity, load: Callable[[Identity], Any] = load_credentials) -> None:
        self._service = service
        self._identity = identity
        self._load = load
        self._botocore: Any = None  # `_Botocore`, imported with the first credentials, in their thread: 100 ms
        self._credentials: Any = None
        self._frozen: Any = None
        self._renewing: asyncio.Task[None] | None = None

    async def prepare(self, upstream: Upstream) -> None:
        """Raises UpstreamAccountError where there are no credentials, UpstreamFailed where they do not come in time."""
        if self._frozen is not None and not self._expires_within(RENEW_S):
            return
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
            self._renewing.add_done_callback(self._renewed)
        if self._frozen is None or self._expires_within(WAIT_S):
            try:
                async with asyncio.timeout(LOAD_S_MAX):
                    await asyncio.shield(self._renewing)
            except TimeoutError as error:
                raise UpstreamFailed(f"AWS credentials did not come within {LOAD_S_MAX:.0f} s.", status=503) from error

    def sign(self, request: WireRequest) -> None:
        """Signs the host, the content type, Amazon's own headers and the body."""
        line, *lines = request.head.split(b"\r\n")
        method, target, _ = line.decode("ascii").split(" ")
        headers: dict[str, str] = {}
        for header in lines:
            name, _, value = header.partition(b":")
            if name in (b"host", b"content-type") or name.startswith(b"x-amz"):
                headers[name.decode("ascii")] = value.strip().decode("latin-1")
        url = f"{request.origin.scheme}://{headers['host']}{target}"
        made = self._botocore.AWSRequest(method=method, url=url, headers=headers, data=request.body)
        self._botocore.SigV4Auth(self._frozen, self._service, self._identity.region).add_auth(made)
        for added in ("X-Amz-Date", "X-Amz-Security-Token", "Authorization"):
            if (shown := made.headers.get(added)) is not None:
                request.head += f"{added.lower()}: {shown}\r\n".encode("ascii")

    def _expires_within(self, seconds: int) -> bool:
        """False for credentials that last for ever."""
        asks = getattr(self._credentials, "refresh_needed", None)
        return bool(asks is not None and asks(seconds))

    async def _renew(self) -> None:
        self._botocore, self._credentials, self._frozen = await asyncio.to_thread(self._loaded)
        if self._frozen is None:
            raise _no_credentials("none were found")

    def _loaded(self) -> tuple[Any, Any, Any]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            credentials = self._credentials if self._credentials is not None else self._load(self._identity)
            frozen = credentials.get_frozen_credentials() if credentials is not None else None
        except (BotoCoreError, ClientError, OSError, ValueError) as error:
            raise _no_credentials(type(error).__name__) from error
        return _Botocore(AWSRequest, SigV4Auth), credentials, frozen

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody else need hear of it while the old ones last


def _no_credentials(why: str) -> UpstreamAccountError:
    return UpstreamAccountError(
        f"This gateway has no AWS credentials for this model ({why}). An administrator must check them.",
        retryable_by_client=False,
    )
