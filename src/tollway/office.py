"""What the management API sees of the running program: `admin.Office`, kept by the app."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import DecodeError
from msgspec.json import decode, encode
from msgspec.structs import replace

from tollway.admin import (
    BenchedIn,
    ConfigRefused,
    DeploymentHealth,
    DeploymentState,
    JournalState,
    LiveSpend,
    ModelRow,
    PricedModel,
    Principal,
    RateLimits,
    Rehearsal,
    Trial,
)
from tollway.admin.roles import may_see_all
from tollway.calls import Call
from tollway.config.findings import looks_secret
from tollway.config.settings import Config, ModelEntry, RoutingSettings
from tollway.dispatch import EXACT
from tollway.errors import BadRequest, ConfigError, NotFound, UnknownModel
from tollway.ledger.record import CallRecord
from tollway.overlay import entry_from, sealer_of, stored_entries
from tollway.policies.authenticate import check_usable, fetch_keys, identify
from tollway.pricing.catalog import Catalog
from tollway.snapshot import Caller, Deployment, Model, ModelAccess, Snapshot, deployment_id
from tollway.storage import Storage
from tollway.storage.benches import WorkerBenches
from tollway.storage.people import StoredModel
from tollway.upstream.wire import Upstream, WireRequest

if TYPE_CHECKING:
    from tollway.app import App

#: What is shown of the headers that a provider would get: the others may hold its key.
SHOWN_HEADERS = frozenset(
    {"content-type", "accept", "accept-encoding", "anthropic-version", "anthropic-beta", "openai-beta"}
)
#: A deployment that is asked whether it lives may take this long.
CHECK_S_MAX = 30
#: How many deployments are asked at once whether they live.
CHECKED_AT_ONCE_MAX = 8
ANSWER_CHARACTERS_MAX = 2_000
CHAT_PATH = "/v1/chat/completions"
_WORDS = {"messages": [{"role": "user", "content": "Say ok."}], "max_tokens": 16}
#: How a model of each mode is asked for as little as can be. The other modes want a file, or a session.
TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT_PATH, _WORDS),
    "responses": (CHAT_PATH, _WORDS),
    "completion": ("/v1/completions", {"prompt": "Say ok.", "max_tokens": 16}),
    "embedding": ("/v1/embeddings", {"input": "ok"}),
    "rerank": ("/v1/rerank", {"query": "ok", "documents": ["ok", "no"]}),
    "moderation": ("/v1/moderations", {"input": "ok"}),
    "image_generation": ("/v1/images/generations", {"prompt": "A dot.", "n": 1}),
    "audio_speech": ("/v1/audio/speech", {"input": "ok", "voice": "alloy"}),
}
#: Those that cost little enough to be asked whenever health is.
_CHECKED = frozenset({"chat", "responses"})

#: Judges a model's name and its access groups.
MayCall: TypeAlias = Callable[[str, tuple[str, ...]], bool]


class AppOffice:
    """See `tollway.admin.Office`."""

    def __init__(self, app: App) -> None:
        self._app = app

    @property
    def config(self) -> Config:
        return self._app.config

    @property
    def storage(self) -> Storage:
        return self._app.storage

    @property
    def upstream(self) -> Upstream:
        return self._app.upstream

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._app.now_s(), UTC)

    def authenticate(self, scope: Any) -> Principal:
        snapshot = self._app.snapshots.current
        seen = dict(scope["headers"])
        caller = identify(seen, snapshot, scope)
        if caller.key is None:
            return Principal("master" if caller.is_admin else "anonymous")
        check_usable(caller, scope["path"], self._app.now_s())
        return Principal("key", caller.key.record, caller.key.role, may_call=_may_call(caller))

    async def fetch_keys(self, scope: Any) -> None:
        await fetch_keys(dict(scope["headers"]), self._app.snapshots.current, scope)

    def is_master(self, token: bytes) -> bool:
        master = self._app.snapshots.current.master_digest
        return master is not None and hmac.compare_digest(token, master)

    async def keys_changed(self, tokens: Sequence[bytes], *, spend_set: bool = False) -> None:
        await self._app.keys_changed()  # reads all of them anew, and what they spent

    async def people_changed(self, spend_set: Sequence[tuple[str, str]] = ()) -> None:
        await self._app.keys_changed()

    def seal(self, kind: str, name: str, values: dict[str, Any]) -> bytes:
        return sealer_of(self.config).seal(kind, name, values)

    def unseal(self, kind: str, name: str, sealed: bytes) -> dict[str, Any]:
        return sealer_of(self.config).open(kind, name, sealed)

    async def check_model(self, model: StoredModel, params: Mapping[str, Any]) -> None:
        people = await self._app.storage.people.load()
        try:
            entry = entry_from(model, params, people, sealer_of(self.config))
            if "*" not in entry.provider_model:
                self._app.bind_once(entry)
        except ConfigError as error:
            raise BadRequest(" ".join(error.problems), param="litellm_params") from error
        except LookupError as error:
            raise BadRequest(str(error), param="litellm_params") from error

    def spend_of(self, scope: str, scope_id: str) -> LiveSpend | None:
        account = self._app.ledger.accounts.get((scope, scope_id))
        if account is None or self._app.leased:  # of several workers none knows better than the storage
            return None
        account.roll(self._app.now_s())
        return LiveSpend(account.spent, account.total)

    async def flush(self) -> None:
        await self._app.ledger.flush()

    def models(self, principal: Principal) -> Sequence[ModelRow]:
        snapshot = self._app.snapshots.current
        access = _access(principal)
        return [
            _model_row(name, deployment)
            for name, model in snapshot.models.items()
            if access is None or access(name, snapshot.groups_of(name))
            for deployment in model.deployments
        ]

    def price_of(self, model: str, principal: Principal) -> PricedModel | None:
        snapshot = self._app.snapshots.current
        access = _access(principal)
        found = snapshot.resolve(model)
        if found is not None and (access is None or access(found.name, snapshot.groups_of(found.name))):
            deployment = found.deployments[0]
            return PricedModel(deployment.provider_model, deployment.price)
        provider, _, name = model.partition("/")
        if not name:
            provider, name = snapshot.catalog.infer_provider(model) or "", model
        facts = snapshot.catalog.facts(model) or snapshot.catalog.find(provider, name)
        return PricedModel(model, facts.price) if facts is not None else None

    async def rehearse(self, path: str, body: bytes, principal: Principal) -> Rehearsal:
        snapshot, name = self._app.snapshots.current, EXACT.get(path)
        if name is None:
            raise NotFound(f"{path!r} is no path for calls.", param="path")
        operation = self._app.operations[name]
        call = Call(
            seq=0,
            epoch=0,
            operation=operation,
            snapshot=snapshot,
            scope={"type": "http", "path": path, "headers": []},
            line=None,
            started=0.0,
            started_us=int(self._app.now_s() * 1_000_000),
            path=path,
            headers=[],
            body=body,
        )
        waiting = operation.parse(call)
        if waiting is not None:
            await waiting
        found, access = snapshot.resolve(call.model_asked), _access(principal)
        if found is None or (access is not None and not access(found.name, snapshot.groups_of(found.name))):
            raise UnknownModel(call.model_asked)
        call.model = found
        deployment = next((one for one in found.deployments if name in one.heads), None)
        if deployment is None:
            raise BadRequest(f"No deployment of {found.name!r} is asked at {path}.", param="model")
        return _rehearsed(operation.encode(call, deployment), call.dropped, deployment.entry.extra_body)

    @property
    def bodies_folder(self) -> Path | None:
        return self._app.bodies_folder

    async def check_deployments(self, *, model: str | None, deployment_id: str | None) -> Sequence[DeploymentHealth]:
        snapshot = self._app.snapshots.current
        asked = [
            deployment
            for name, entry in snapshot.models.items()
            if model is None or name == model
            for deployment in entry.deployments
            if deployment_id is None or deployment.id == deployment_id
        ]
        turn = asyncio.Semaphore(CHECKED_AT_ONCE_MAX)

        async def check(deployment: Deployment) -> DeploymentHealth:
            async with turn:
                return await self._check(deployment)

        return await asyncio.gather(*map(check, asked))

    async def _check(self, deployment: Deployment) -> DeploymentHealth:
        """Asks for a word, through the same door as every call: what it costs is written down like every call."""
        if _mode_of(deployment) not in _CHECKED:
            return DeploymentHealth(
                deployment_id=deployment.id,
                provider_model=deployment.provider_model,
                api_base=deployment.public_base,
                error=str(deployment.missing) if deployment.missing is not None else deployment.health.last_error,
                status=503 if deployment.missing is not None or deployment.health.last_error else 200,
            )
        tried = await self.try_deployment(deployment.id)
        return DeploymentHealth(
            deployment_id=deployment.id,
            provider_model=deployment.provider_model,
            api_base=deployment.public_base,
            error=tried.error,
            status=tried.status,
        )

    async def deployments(self) -> Sequence[DeploymentState]:
        snapshot = self._app.snapshots.current
        benches = await asyncio.to_thread(self._app.benches.all)
        found = [
            _state(snapshot, model, deployment, benches)
            for model in snapshot.models.values()
            for deployment in model.deployments
        ]
        patterns = [entry for entry in (*self.config.models, *await self.stored_models()) if "*" in entry.model_name]
        return [*found, *map(_pattern_state, patterns)]

    async def stored_models(self) -> Sequence[ModelEntry]:
        return stored_entries(await self.storage.people.load(), self.config)

    async def release_deployment(self, deployment_id: str) -> None:
        self._deployment(deployment_id)
        await asyncio.to_thread(self._app.benches.release, deployment_id)

    async def try_deployment(self, deployment_id: str) -> Trial:
        return await self._try(self._deployment(deployment_id))

    async def try_model(self, model: StoredModel, params: Mapping[str, Any]) -> Trial:
        people = await self.storage.people.load()
        try:
            entry = entry_from(model, params, people, sealer_of(self.config) if _CREDENTIAL in params else None)
            if "*" in entry.provider_model:
                raise BadRequest("A pattern cannot be tried: name one model, without a star.", param="model")
            deployment = self._app.bind_once(replace(entry, id=model.id, blocked=False))
        except ConfigError as error:
            raise BadRequest(" ".join(error.problems), param="litellm_params") from error
        except LookupError as error:
            raise BadRequest(str(error), param="litellm_params") from error
        return await self._try(deployment)

    def _deployment(self, deployment_id: str) -> Deployment:
        for model in self._app.snapshots.current.models.values():
            for deployment in model.deployments:
                if deployment.id == deployment_id:
                    return deployment
        raise NotFound(f"Model id = {deployment_id} not found on this gateway.", param="model_id")

    async def _try(self, deployment: Deployment) -> Trial:
        mode = _mode_of(deployment)
        asked = TRIALS.get(mode)
        if asked is None:
            raise BadRequest(f"A model of the mode {mode!r} cannot be tried from here: it wants more than a few words.")
        path, fields = asked
        snapshot = _alone(self._app.snapshots.current, deployment)
        began = time.perf_counter()
        asking = {"model": deployment.id, **fields, "num_retries": 0}
        call, status, headers, body = await self._ask(path, asking, snapshot)
        attempt = call.attempts[-1] if call.attempts else None
        duration_ms = (time.perf_counter() - began) * 1000
        if status != 200 and attempt is not None and attempt.status and attempt.error:
            # What the provider said counts more than what a client is told of that.
            return Trial(status=attempt.status, duration_ms=duration_ms, error=attempt.error)
        return _trial(status, headers, body, duration_ms)

    @property
    def catalog(self) -> Catalog:
        return self._app.catalog

    @property
    def journal(self) -> JournalState:
        ledger = self._app.ledger
        return JournalState(
            rows_written=ledger.rows_written, rows_stored=ledger.rows_drained, rows_dropped=ledger.rows_dropped
        )

    @property
    def started_at(self) -> datetime:
        return datetime.fromtimestamp(self._app.opened_at, UTC)

    @property
    def where_stored(self) -> str:
        return self._app.where_stored

    @property
    def exporters(self) -> Sequence[str]:
        return ("console",)

    @property
    def data_folder(self) -> Path:
        return self._app.folder

    @property
    def workers(self) -> int:
        return self._app.worker.count

    @property
    def config_refused(self) -> ConfigRefused | None:
        state = self._app.config_state
        return ConfigRefused(state.refused, datetime.fromtimestamp(state.refused_at, UTC)) if state.refused else None

    @property
    def settings_waiting(self) -> Sequence[str]:
        return self._app.config_state.waiting_for_start

    @property
    def rate_limits(self) -> RateLimits | None:
        sharing = self._app.sharing
        if sharing is None:
            return None
        since = sharing.away_since
        return RateLimits(
            state=sharing.state,
            through=sharing.lessor.described,
            processes=sharing.processes,
            since=None if since is None else datetime.fromtimestamp(since, UTC),
            why="" if since is None else sharing.away_why,
        )

    @property
    def call_paths(self) -> Mapping[str, str]:
        assert self._app.dispatch is not None
        return {path: EXACT[path] for path in self._app.dispatch.paths()}

    def listen(self, listener: Callable[[CallRecord], None]) -> None:
        self.ignore(listener)
        self._app.told.listeners += (listener,)

    def ignore(self, listener: Callable[[CallRecord], None]) -> None:
        told = self._app.told
        told.listeners = tuple(one for one in told.listeners if one != listener)

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
        dispatch = self._app.dispatch
        assert dispatch is not None
        if principal.user is None:
            await dispatch(self._as_master(path, headers, client), _body_first(body, receive), send)
            return
        caller = await self._app.signed_in(principal.user, team)
        key = b"sk-" + token_bytes(32).hex().encode()  # opens this call, and nothing else
        snapshot = self._app.seen_by(caller, key)
        await dispatch.try_out(snapshot, _scope(path, key, headers, client), _body_first(body, receive), send)

    async def chat_models(self, principal: Principal, team: str) -> list[str]:
        snapshot = self._app.snapshots.current
        access = None
        if principal.user is not None:
            key = (await self._app.signed_in(principal.user, team)).key
            access = key.access if key is not None else None
        return [
            name
            for name, model in snapshot.models.items()
            if _mode_of(model.deployments[0]) == "chat"
            and (access is None or access.allows(name, snapshot.groups_of(name)))
        ]

    def _as_master(self, path: str, headers: Sequence[tuple[bytes, bytes]], client: Any) -> dict[str, Any]:
        master = self._app.config.access.master_key
        assert master is not None, "the app makes one where none is set"
        return _scope(path, master.reveal().encode(), headers, client)

    async def _ask(
        self, path: str, fields: dict[str, Any], snapshot: Snapshot
    ) -> tuple[Call, int, dict[bytes, bytes], bytes]:
        """A call that no client made, and its answer: status, headers, body."""
        headers = ((b"x-litellm-timeout", str(CHECK_S_MAX).encode()), (b"user-agent", b"tollway health check"))
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            never: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            return await never  # this caller does not hang up

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        assert self._app.dispatch is not None
        scope = self._as_master(path, headers, None)
        call = await self._app.dispatch.try_out(snapshot, scope, _body_first(encode(fields), receive), send)
        return (
            call,
            sent[0]["status"],
            dict(sent[0]["headers"]),
            b"".join(message.get("body", b"") for message in sent[1:]),
        )


_CREDENTIAL = "litellm_credential_name"


def _scope(path: str, key: bytes, headers: Sequence[tuple[bytes, bytes]], client: Any) -> dict[str, Any]:
    """Of a call with this key."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "client": client,
        "headers": [(b"authorization", b"Bearer " + key), *headers],
    }


def _body_first(body: bytes, receive: Any) -> Any:
    bodies = [body]

    async def receive_all() -> Any:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        return await receive()

    return receive_all


def _mode_of(deployment: Deployment) -> str:
    return deployment.entry.mode or (deployment.facts.mode if deployment.facts is not None else "") or "chat"


def _alone(snapshot: Snapshot, deployment: Deployment) -> Snapshot:
    """The snapshot in force with one model in it, which has nowhere to fall back to."""
    retries = RoutingSettings(retries=0, cooldowns=False, timeout_s=snapshot.config.routing.timeout_s)
    return Snapshot(
        number=snapshot.number,
        config=replace(snapshot.config, models=(deployment.entry,), routing=retries, single_model=None),
        catalog=snapshot.catalog,
        models={deployment.model_name: Model(deployment.model_name, (deployment,))},
        wildcards=[],
        keys=snapshot.keys,
        master_digest=snapshot.master_digest,
        keyless=snapshot.keyless,
        gateway_accounts=snapshot.gateway_accounts,
        gateway_pace=snapshot.gateway_pace,
        bind=_binds_nothing,
    )


def _binds_nothing(entry: ModelEntry, name: str, target: str) -> Deployment:
    raise LookupError(name)


def _trial(status: int, headers: Mapping[bytes, bytes], body: bytes, duration_ms: float) -> Trial:
    try:
        told = decode(body)
    except DecodeError:
        told = {}
    told = told if isinstance(told, dict) else {}
    if status != 200:
        error = told.get("error")
        said = error.get("message") if isinstance(error, dict) else None
        return Trial(status=status, duration_ms=duration_ms, error=str(said or f"The provider answered {status}."))
    usage = told.get("usage") or {}
    cost = headers.get(b"x-litellm-response-cost")
    return Trial(
        status=status,
        duration_ms=duration_ms,
        answer=_words_of(told)[:ANSWER_CHARACTERS_MAX],
        cost=None if cost is None else float(cost),
        input_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
    )


def _words_of(told: Mapping[str, Any]) -> str:
    for choice in told.get("choices") or ():
        message = choice.get("message") or {}
        return str(message.get("content") or message.get("reasoning_content") or choice.get("text") or "")
    return ""


def _state(
    snapshot: Snapshot, model: Model, deployment: Deployment, benches: Sequence[WorkerBenches]
) -> DeploymentState:
    entry = deployment.entry
    known = [(one, one.deployments[deployment.id]) for one in benches if deployment.id in one.deployments]
    return DeploymentState(
        model_name=model.name,
        deployment_id=deployment.id,
        provider=deployment.provider.name,
        provider_model=deployment.provider_model,
        api_base=deployment.public_base,
        place=entry.place,
        stored=bool(entry.about.get("db_model")),
        weight=deployment.weight,
        order=deployment.order,
        rpm=entry.rpm,
        tpm=entry.tpm,
        parallel_max=entry.parallel_max,
        missing=str(deployment.missing) if deployment.missing is not None else "",
        blocked=entry.blocked,
        rests=snapshot.config.routing.cooldowns and (len(model.deployments) > 1 or bool(model.fallbacks)),
        fallbacks=model.fallbacks,
        workers=tuple(
            BenchedIn(
                worker=one.worker,
                at_s=one.at_s,
                resting_until_s=state.resting_until_s,
                failures=state.failures,
                last_ok_s=state.last_ok_s,
                last_error=state.last_error,
            )
            for one, state in known
        ),
    )


def _pattern_state(entry: ModelEntry) -> DeploymentState:
    return DeploymentState(
        model_name=entry.model_name,
        deployment_id=deployment_id(entry),
        provider=entry.provider or entry.provider_model.partition("/")[0],
        provider_model=entry.provider_model,
        api_base=(entry.api_base or "").split("?", 1)[0],
        place=entry.place,
        stored=bool(entry.about.get("db_model")),
        weight=1.0,
        order=entry.order if entry.order is not None else 1,
        rpm=entry.rpm,
        tpm=entry.tpm,
        parallel_max=entry.parallel_max,
        blocked=entry.blocked,
        rests=False,
        pattern=True,
    )


def _rehearsed(request: WireRequest, dropped: Sequence[str], added: Mapping[str, Any]) -> Rehearsal:
    """`added` is what the configuration puts into every body: the one place of it where a secret may stand."""
    first, *lines = request.head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    origin = request.origin
    return Rehearsal(
        url=f"{origin.scheme}://{origin.host}:{origin.port}{first.split(' ')[1].partition('?')[0]}",
        headers={name: value for name, value in headers.items() if name.lower() in SHOWN_HEADERS},
        body=_without(request.body, added),
        dropped=tuple(dict.fromkeys(dropped)),
    )


def _without(body: bytes, added: Mapping[str, Any]) -> bytes:
    """A body without what is secret in `added`."""
    shown = {name: hidden for name, value in added.items() if (hidden := _hidden(value, name)) != value}
    if not shown:
        return body
    try:
        said = decode(body)
    except DecodeError:
        return body
    return encode({**said, **{name: value for name, value in shown.items() if name in said}})


def _hidden(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {inner: _hidden(content, str(inner)) for inner, content in value.items()}
    if isinstance(value, list):
        return [_hidden(content, "") for content in value]
    return "*****" if isinstance(value, str) and looks_secret(name) else value


def _may_call(caller: Caller) -> MayCall:
    """Which models a key may call, or a token for any of its teams. (A token's key stands in no table of keys.)"""
    callers = (caller, *caller.bearer.others) if caller.bearer is not None else (caller,)
    accesses = [one.key.access for one in callers if one.key is not None]
    return lambda name, groups: any(access.allows(name, groups) for access in accesses)


def _access(principal: Principal) -> MayCall | None:
    """The models that somebody may call; None: all."""
    if principal.kind == "user":
        return ModelAccess(principal.models, "user").allows if principal.models and not may_see_all(principal) else None
    return principal.may_call


def _model_row(name: str, deployment: Deployment) -> ModelRow:
    entry = deployment.entry
    params: dict[str, Any] = {"model": entry.provider_model, **entry.defaults}
    settings = (
        ("api_base", entry.api_base),
        ("api_version", entry.api_version),
        ("custom_llm_provider", entry.provider),
        ("weight", entry.weight),
        ("order", entry.order),
        ("rpm", entry.rpm),
        ("tpm", entry.tpm),
        ("timeout", entry.timeout_s),
        ("stream_timeout", entry.stream_timeout_s),
        ("max_retries", entry.retries),
        ("tags", list(entry.tags) or None),
    )
    params.update({field: value for field, value in settings if value is not None})
    prices = {field: _number(price) for field, price in entry.prices.items()}
    facts = {field: _number(value) for field, value in deployment.facts.row.items()} if deployment.facts else {}
    return ModelRow(
        model_name=name,
        deployment_id=deployment.id,
        provider=deployment.provider.name,
        params={**params, **prices},
        facts={**facts, **prices, **entry.about},
    )


def _number(value: Any) -> Any:
    """Prices are kept as exact text; JSON shows them as numbers."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
