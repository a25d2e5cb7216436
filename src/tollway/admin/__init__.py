"""The management API: keys, spend, models, health, in LiteLLM's paths, fields and words.

It knows the rest of the program as an `Office`; `build` makes the ASGI app. FastAPI is imported when `build` is called,
which is when somebody first asks for one of these paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Struct, field

from tollway.config.settings import Config
from tollway.storage import KeyRecord, Storage

if TYPE_CHECKING:
    from fastapi import FastAPI


class Principal(Struct, frozen=True):
    """Who asks. `record` is the virtual key's as the gateway knows it; None for the master key and for nobody
    ("anonymous").
    """

    kind: Literal["master", "key", "anonymous"]
    record: KeyRecord | None = None

    @property
    def is_admin(self) -> bool:
        return self.kind == "master"


class LiveSpend(Struct, frozen=True):
    """What a scope has spent as the ledger knows it, which is ahead of the storage. Nano-dollars."""

    spend_nano: int
    total_nano: int


class ModelRow(Struct, frozen=True, kw_only=True):
    """One deployment, as `/model/info` shows it.

    `params` are its `litellm_params` without anything secret; `facts` are the model map's keys for it (limits, prices
    in dollars, `mode`, `supports_*`) and what `model_info` said.
    """

    model_name: str
    deployment_id: str
    provider: str
    params: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


class DeploymentHealth(Struct, frozen=True, kw_only=True):
    """How one deployment answered just now. `error` is empty when it did; it holds no secret."""

    deployment_id: str
    provider_model: str
    api_base: str
    error: str = ""
    status: int = 200


class Office(Protocol):
    """What the management API needs of the running program."""

    @property
    def config(self) -> Config: ...

    @property
    def storage(self) -> Storage: ...

    @property
    def bodies_folder(self) -> Path | None:
        """Where request and reply bodies are kept; None where they are not."""

    def now(self) -> datetime:
        """Now, with UTC as its zone."""

    def authenticate(self, scope: Any) -> Principal:
        """Who sent a request with this ASGI scope. Raises a Rejection for nobody known, and for a key that may not call
        its path.
        """

    def is_master(self, token: bytes) -> bool:
        """Whether this is the SHA-256 of the master key, compared in constant time."""

    async def keys_changed(self, tokens: Sequence[bytes], *, spend_set: bool = False) -> None:
        """These keys were made, changed or removed in storage: puts what the storage says in force, here and in other
        workers.

        `spend_set`: what was spent was set by hand too; the ledger takes the storage's number instead of its own.
        """

    def spend_of(self, scope: str, scope_id: str) -> LiveSpend | None:
        """What the ledger knows; None when it knows nothing of that scope. Keys: ("key", hex digest)."""

    async def flush(self) -> None:
        """Returns when every call that was settled until now is in storage, or after a bounded time."""

    def models(self, principal: Principal) -> Sequence[ModelRow]:
        """The deployments of all models that the principal may call."""

    async def check_deployments(self, *, model: str | None, deployment_id: str | None) -> Sequence[DeploymentHealth]:
        """Asks each deployment, or the named ones, for a very short answer. Costs what the providers take for it."""


def build(office: Office) -> FastAPI:
    """The app that answers every path which is not the data plane's."""
    from tollway.admin.application import build_app

    return build_app(office)
