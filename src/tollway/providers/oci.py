"""Oracle Cloud's Generative AI, by its OpenAI-compatible API
(https://docs.oracle.com/en-us/iaas/Content/generative-ai/openai-compatible-api.htm, 2026-11-22).

Address: `inference.generativeai.{region}.oci.oraclecloud.com`, with `/openai/v1`. Greeting: an API key of the service as a
bearer; else every request is signed with a user's RSA key, over its date, target, host and body
(https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm). Headers name the compartment that pays: chat
completions look for one name, Responses for another.

Signing is done by cryptography, which comes with the extra `oci`. One signature takes about a millisecond of the processor.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.util
import re
import time
from collections.abc import Callable, Mapping
from copy import copy
from email.utils import formatdate
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError, UpstreamAccountError
from tollway.providers import Introduction, MissingSetting, Signer, first_of
from tollway.providers.openai_compatible import OpenAICompatible
from tollway.providers.tokens import has_own_authorization, setting
from tollway.upstream.wire import Upstream, WireRequest

INTRODUCTION = Introduction(
    display="Oracle Cloud Generative AI",
    docs="https://docs.oracle.com/en-us/iaas/Content/generative-ai/openai-compatible-api.htm",
    base_url="https://inference.generativeai.{OCI_REGION}.oci.oraclecloud.com",
    base_url_env=("OCI_API_BASE",),
    base_url_end="/openai/v1",
    key_env=("OCI_GENAI_API_KEY",),
    operations=("chat",),
    other_env=("OCI_COMPARTMENT_ID", "OCI_FINGERPRINT", "OCI_KEY", "OCI_KEY_FILE", "OCI_TENANCY", "OCI_USER"),
    also_speaks=("openai_responses",),
    parameters=(
        "oci_compartment_id",
        "oci_fingerprint",
        "oci_key",
        "oci_key_file",
        "oci_region",
        "oci_tenancy",
        "oci_user",
    ),
)
#: The order in which a request's parts are signed.
SIGNED = ("date", "(request-target)", "host", "content-length", "content-type", "x-content-sha256")

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
_NAME = re.compile(r"[\x21-\x7e]+")
#: What is said of an identity whose signatures cannot be made.
MISSING_PACKAGE = "oci signs its requests with cryptography, which is not here: run `pip install 'tollway[oci]'`"


class Identity(Struct, frozen=True):
    """Whose key: "tenancy/user/fingerprint", and the key in PEM or the file that holds it."""

    key_id: str
    pem: Secret | None
    file: str


class OracleCloud(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("oci", INTRODUCTION)

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        region = setting(entry, "oci_region")
        if region and not _REGION.fullmatch(region):
            place = f"{entry.place}: " if entry.place else ""
            raise ConfigError([f"{place}oci: {region!r} is no region of Oracle's; write it like us-chicago-1"])
        return super().base_url(entry, {**environment, "OCI_REGION": Secret(region)} if region else environment)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """None where requests are signed."""
        if entry.api_key is not None or setting(entry, "oci_user"):
            return entry.api_key
        found = first_of(INTRODUCTION.key_env, environment)
        return Secret(found) if found else None

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> OpenAICompatible:
        """With the headers that name the compartment."""
        compartment = setting(entry, "oci_compartment_id") or first_of(("OCI_COMPARTMENT_ID",), environment) or ""
        bound = copy(super().at(entry, environment))
        if compartment:
            named = (("compartmentid", compartment), ("opc-compartment-id", compartment))
            bound._standing = named  # noqa: SLF001  # of its own class
        return bound

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        """Raises MissingSetting for half of an identity, or where cryptography is not there."""
        if self.key(entry, environment) is not None or has_own_authorization(entry):
            return None
        return OracleSigner(_identity_of(entry, environment))


def _identity_of(entry: ModelEntry, environment: Mapping[str, Secret]) -> Identity:
    def said(name: str) -> str:
        return setting(entry, f"oci_{name}") or (first_of((f"OCI_{name.upper()}",), environment) or "").strip()

    names = [said(name) for name in ("tenancy", "user", "fingerprint")]
    pem, file = said("key"), said("key_file")
    if not any(names):
        raise MissingSetting("oci", (*INTRODUCTION.key_env, "api_key", "OCI_USER"), "a key or a user whose key signs")
    for name, value in zip(("tenancy", "user", "fingerprint"), names, strict=True):
        if not _NAME.fullmatch(value) or '"' in value:
            raise MissingSetting("oci", (f"OCI_{name.upper()}", f"oci_{name}"), f"its {name}")
    if not pem and not file:
        raise MissingSetting("oci", ("OCI_KEY", "OCI_KEY_FILE", "oci_key", "oci_key_file"), "its RSA key")
    if importlib.util.find_spec("cryptography") is None:
        raise MissingSetting("oci", (), "cryptography", said=MISSING_PACKAGE)
    return Identity("/".join(names), Secret(pem) if pem else None, file)


class OracleSigner:
    """Signs a deployment's requests. `wall` is seconds of the epoch."""

    def __init__(self, identity: Identity, *, wall: Callable[[], float] = time.time) -> None:
        self._identity = identity
        self._wall = wall
        self._sign: Callable[[bytes], bytes] | None = None
        self._loading: asyncio.Task[Callable[[bytes], bytes]] | None = None

    async def prepare(self, upstream: Upstream) -> None:
        """Raises UpstreamAccountError where the key cannot be read."""
        if self._sign is not None:
            return
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(asyncio.to_thread(_load, self._identity))
            self._loading.add_done_callback(self._loaded)
        self._sign = await asyncio.shield(self._loading)

    def sign(self, request: WireRequest) -> None:
        assert self._sign is not None  # `prepare` comes first
        line, *lines = request.head.split(b"\r\n")
        method, target, _ = line.decode("ascii").split(" ")
        values = {"(request-target)": f"{method.lower()} {target}"}
        for header in lines:
            name, _, value = header.partition(b":")
            if name in (b"host", b"content-type"):
                values[name.decode("ascii")] = value.strip().decode("latin-1")
        values["date"] = formatdate(self._wall(), usegmt=True)
        values["content-length"] = str(len(request.body))
        values["x-content-sha256"] = base64.b64encode(hashlib.sha256(request.body).digest()).decode("ascii")
        text = "\n".join(f"{name}: {values[name]}" for name in SIGNED)
        signature = base64.b64encode(self._sign(text.encode("latin-1"))).decode("ascii")
        request.head += (
            f"date: {values['date']}\r\nx-content-sha256: {values['x-content-sha256']}\r\n"
            f'authorization: Signature version="1",keyId="{self._identity.key_id}",algorithm="rsa-sha256",'
            f'headers="{" ".join(SIGNED)}",signature="{signature}"\r\n'
        ).encode("latin-1")

    def _loaded(self, task: asyncio.Task[Any]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # whoever waited has it


def _load(identity: Identity) -> Callable[[bytes], bytes]:
    """What signs; blocks."""
    serialization = import_module("cryptography.hazmat.primitives.serialization")
    hashes = import_module("cryptography.hazmat.primitives.hashes")
    padding = import_module("cryptography.hazmat.primitives.asymmetric.padding")
    try:
        if identity.pem is not None:
            pem = identity.pem.reveal().replace("\\n", "\n").encode()  # as it stands on one line of an environment
        else:
            pem = Path(identity.file).expanduser().read_bytes()
        key: Any = serialization.load_pem_private_key(pem, password=None)
        scheme, algorithm = padding.PKCS1v15(), hashes.SHA256()
        key.sign(b"", scheme, algorithm)  # a key of another kind fails here
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UpstreamAccountError(
            f"This gateway cannot read its key for Oracle Cloud ({type(error).__name__}). An administrator must check it.",
            retryable_by_client=False,
        ) from error

    def sign(text: bytes) -> bytes:
        made: bytes = key.sign(text, scheme, algorithm)
        return made

    return sign
