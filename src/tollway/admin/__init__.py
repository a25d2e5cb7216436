"""The management API: keys, spend, models, health, in LiteLLM's paths, fields and words.

It knows the rest of the program as an `Office`; `build` makes the ASGI app. FastAPI is imported when `build` is called,
which is when somebody first asks for one of these paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Struct, field

from tollway.config.settings import Config, ModelEntry
from tollway.ledger.record import CallRecord
from tollway.pricing.price import Price
from tollway.storage import KeyRecord, Storage
from tollway.upstream.wire import Upstream

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tollway.pricing.catalog import Catalog
    from tollway.storage.people import StoredModel


class Principal(Struct, frozen=True):
    """Who asks. `record` is the virtual key's as the gateway knows it; None for the master key, for nobody ("anonymous") and
    for a user who is signed in to the dashboard: then `user` is his id, and `models` are those that he may call. `role` is
    that of the key's user, "" where he has none. `may_call` judges a model's name and its access groups, where a key asks.
    """

    kind: Literal["master", "key", "user", "anonymous"]
    record: KeyRecord | None = None
    role: str = ""
    user: str | None = None
    models: tuple[str, ...] = ()
    may_call: Callable[[str, tuple[str, ...]], bool] | None = None

    @property
    def is_admin(self) -> bool:
        return self.kind == "master" or self.role == "proxy_admin"

    @property
    def user_id(self) -> str | None:
        """Whose key asks; LiteLLM's name for the one behind the master key."""
        if self.kind == "master":
            return "default_user_id"
        return self.record.user_id if self.record is not None else self.user


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


class PricedModel(Struct, frozen=True):
    """A model as its provider knows it, and what it asks; None where that is not known."""

    provider_model: str
    price: Price | None


class Rehearsal(Struct, frozen=True):
    """A request as a provider would get it, and what of the client's it would not. No secret is in it."""

    url: str
    headers: dict[str, str]
    body: bytes
    dropped: tuple[str, ...] = ()


class DeploymentHealth(Struct, frozen=True, kw_only=True):
    """How one deployment answered just now. `error` is empty when it did; it holds no secret."""

    deployment_id: str
    provider_model: str
    api_base: str
    error: str = ""
    status: int = 200


class BenchedIn(Struct, frozen=True, kw_only=True):
    """What one worker knows of a deployment, as it was at `at_s`. Times are seconds since 1970, 0 for never; it rests until
    `resting_until_s`, where that is not over."""

    worker: int
    at_s: float
    resting_until_s: float
    failures: int
    last_ok_s: float
    last_error: str


class DeploymentState(Struct, frozen=True, kw_only=True):
    """One deployment as calls are sent to it. `place` is where it was written ("config.yaml:12"), `stored` says that it
    came through the API, `missing` what it lacks to be called. `rests` is whether failures make it rest at all: the only
    one that there is for a call does not. `pattern`: its name has a star in it, and the deployments that are made of it
    are not known before they are called.
    """

    model_name: str
    deployment_id: str
    provider: str
    provider_model: str
    api_base: str
    place: str
    stored: bool
    weight: float
    order: int
    rpm: int | None
    tpm: int | None
    parallel_max: int | None
    missing: str = ""
    blocked: bool = False
    rests: bool = True
    pattern: bool = False
    fallbacks: tuple[str, ...] = ()
    workers: tuple[BenchedIn, ...] = ()


class Trial(Struct, frozen=True, kw_only=True):
    """How a deployment answered a very short call. `error` is empty when it did. Milliseconds, dollars; `cost` is None where the
    price is not known, `answer` the beginning of what it said, where it said words."""

    status: int
    duration_ms: float
    error: str = ""
    answer: str = ""
    cost: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class JournalState(Struct, frozen=True, kw_only=True):
    """This worker's: what it wrote, what of that is in storage, and what was served and written down nowhere."""

    rows_written: int
    rows_stored: int
    rows_dropped: int


class ConfigRefused(Struct, frozen=True):
    """A configuration that was read and is not in force."""

    problems: tuple[str, ...]
    at: datetime


class RateLimits(Struct, frozen=True, kw_only=True):
    """How limits are shared with other processes: "shared", or "local" or "refusing" since `since`, because of `why`."""

    state: str
    through: str
    processes: int
    since: datetime | None = None
    why: str = ""


class Office(Protocol):
    """What the management API needs of the running program."""

    @property
    def config(self) -> Config: ...

    @property
    def storage(self) -> Storage: ...

    @property
    def bodies_folder(self) -> Path | None:
        """Where request and reply bodies are kept; None where they are not."""

    @property
    def upstream(self) -> Upstream:
        """The door to the network."""

    def now(self) -> datetime:
        """Now, with UTC as its zone."""

    def authenticate(self, scope: Any) -> Principal:
        """Who sent a request with this ASGI scope. Raises a Rejection for nobody known, and for a key that may not call
        its path.
        """

    async def fetch_keys(self, scope: Any) -> None:
        """Waits, a bounded time, for what `authenticate` lacked when it raised KeysMissing."""

    def is_master(self, token: bytes) -> bool:
        """Whether this is the SHA-256 of the master key, compared in constant time."""

    async def keys_changed(self, tokens: Sequence[bytes], *, spend_set: bool = False) -> None:
        """These keys were made, changed or removed in storage: puts what the storage says in force, here and in other
        workers.

        `spend_set`: what was spent was set by hand too; the ledger takes the storage's number instead of its own.
        """

    async def people_changed(self, spend_set: Sequence[tuple[str, str]] = ()) -> None:
        """Teams, users or others were made, changed or removed in storage: puts what the storage says in force, here and in
        other workers. What those in `spend_set` (scopes and ids) spent was set by hand, too.
        """

    def seal(self, kind: str, name: str, values: dict[str, Any]) -> bytes:
        """Encrypts what is stored. Raises BadRequest or Unavailable where the gateway cannot."""

    def unseal(self, kind: str, name: str, sealed: bytes) -> dict[str, Any]:
        """The reverse. Raises StorageError for what was sealed with another key."""

    async def check_model(self, model: StoredModel, params: Mapping[str, Any]) -> None:
        """Raises BadRequest for a model that could not be served with these `litellm_params`."""

    def spend_of(self, scope: str, scope_id: str) -> LiveSpend | None:
        """What the ledger knows; None when it knows nothing of that scope. Keys: ("key", hex digest)."""

    async def flush(self) -> None:
        """Returns when every call that was settled until now is in storage, or after a bounded time."""

    def models(self, principal: Principal) -> Sequence[ModelRow]:
        """The deployments of all models that the principal may call."""

    def price_of(self, model: str, principal: Principal) -> PricedModel | None:
        """What a model asks that the principal may call, else what the price list says of that name; None for neither."""

    async def rehearse(self, path: str, body: bytes, principal: Principal) -> Rehearsal:
        """What a call to this path of the data plane would ask its first deployment; nobody is asked. Raises a PublicError for a
        path that is none, and for a call that would be refused.
        """

    @property
    def data_folder(self) -> Path:
        """Where everything is kept; all workers of this gateway share it."""

    @property
    def workers(self) -> int:
        """How many processes serve together."""

    @property
    def config_refused(self) -> ConfigRefused | None:
        """What is wrong with the configuration that was read last; None when it is in force."""

    @property
    def settings_waiting(self) -> Sequence[str]:
        """Settings that were changed and that only a start takes up."""

    @property
    def rate_limits(self) -> RateLimits | None:
        """None where this process alone holds callers to their limits."""

    @property
    def call_paths(self) -> Mapping[str, str]:
        """Which operation each path of the data plane asks for."""

    def listen(self, listener: Callable[[CallRecord], None]) -> None:
        """Tells of every call of this worker from now on, as it ends; `listener` must not wait."""

    def ignore(self, listener: Callable[[CallRecord], None]) -> None:
        """No longer tells."""

    async def call_as(
        self,
        principal: Principal,
        team: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        receive: Any,
        send: Any,
        *,
        client: Any,
    ) -> None:
        """Answers a call to a model as the master key's; for a user who is signed in as one with a key of his, in one of his
        teams where `team` is not "". Raises Forbidden for a team that he is no member of. After the body, `receive` need only
        say when the client left.
        """

    async def chat_models(self, principal: Principal, team: str) -> list[str]:
        """The models that such calls may chat with. Raises Forbidden likewise."""

    async def check_deployments(self, *, model: str | None, deployment_id: str | None) -> Sequence[DeploymentHealth]:
        """Asks each deployment, or the named ones, for a very short answer. Costs what the providers take for it."""

    async def deployments(self) -> Sequence[DeploymentState]:
        """Every deployment of every model, with what each worker of this machine knows of it."""

    async def stored_models(self) -> Sequence[ModelEntry]:
        """What came through the API and can be read, as entries like the configuration's."""

    async def release_deployment(self, deployment_id: str) -> None:
        """Lets a deployment that rests be called again, in every worker of this machine. Raises NotFound."""

    async def try_deployment(self, deployment_id: str) -> Trial:
        """Makes one very short call to a deployment that serves, whether it rests or not. Raises NotFound or BadRequest."""

    async def try_model(self, model: StoredModel, params: Mapping[str, Any]) -> Trial:
        """The same with a model that is stored nowhere yet. Raises BadRequest for one that could not be served."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def journal(self) -> JournalState: ...

    @property
    def started_at(self) -> datetime:
        """When this worker began to serve."""

    @property
    def where_stored(self) -> str:
        """The database, without who asks it."""

    @property
    def exporters(self) -> Sequence[str]:
        """Where finished calls are told."""


def build(office: Office) -> FastAPI:
    """The app that answers every path which is not the data plane's."""
    from tollway.admin.application import build_app
    from tollway.admin.dashboard.door import Door
    from tollway.admin.dashboard.sessions import Sessions

    sessions = Sessions(office)
    app = build_app(office, sessions)
    app.add_middleware(Door, office=office, sessions=sessions)
    return app
