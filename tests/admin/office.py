from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

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
    Trial,
)
from tollway.config.settings import Config, ModelEntry
from tollway.errors import NotFound, Unauthenticated, UnknownKey
from tollway.ledger.record import CallRecord
from tollway.pricing.catalog import Catalog
from tollway.pricing.price import price_from_map
from tollway.storage import KeyRecord
from tollway.storage.people import StoredModel
from tollway.testing.storage import MemoryStorage
from tollway.testing.upstream import FakeUpstream

MASTER_KEY = "sk-master-0123456789"


class FakeOffice:
    """A gateway without a data plane: keys are in force when `keys_changed` was awaited, not before."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.storage = MemoryStorage()
        self.upstream = FakeUpstream()
        self.clock = datetime(2026, 11, 21, 22, 39, 2, 232000, tzinfo=UTC)
        self.in_force: dict[bytes, KeyRecord] = {}
        self.live: dict[tuple[str, str], LiveSpend] = {}
        self.spends_set: list[bytes] = []
        self.flushes = 0
        self.bodies_folder: Path | None = None
        self.data_folder = Path("/nonexistent")
        self.workers = 1
        self.call_paths: dict[str, str] = {"/v1/chat/completions": "chat"}
        self.listeners: list[Callable[[CallRecord], None]] = []
        self.called: list[tuple[str, bytes, dict[bytes, bytes]]] = []
        self.callers: list[tuple[str | None, str]] = []
        self.catalog = Catalog({}, as_of="2026-11-21")
        self.journal = JournalState(rows_written=5, rows_stored=4, rows_dropped=0)
        self.started_at = self.clock
        self.where_stored = "/nonexistent/tollway.db"
        self.exporters = ("console",)
        self.config_refused: ConfigRefused | None = None
        self.settings_waiting: tuple[str, ...] = ()
        self.rate_limits: RateLimits | None = None
        self.released: list[str] = []
        self.benched = [
            BenchedIn(worker=0, at_s=1.0, resting_until_s=0.0, failures=0, last_ok_s=1.0, last_error=""),
            BenchedIn(worker=1, at_s=1.0, resting_until_s=9.0, failures=4, last_ok_s=0.0, last_error="too many"),
        ]
        self.rows = [
            ModelRow(
                model_name="gpt-4o",
                deployment_id="d1",
                provider="openai",
                params={"model": "openai/gpt-4o", "api_base": "http://127.0.0.1:1/v1", "api_key": "secret", "tpm": 5},
                facts={
                    "max_input_tokens": 128000,
                    "input_cost_per_token": 2.5e-06,
                    "mode": "chat",
                    "supports_vision": True,
                },
            ),
            ModelRow(model_name="gpt-4o", deployment_id="d2", provider="azure", params={"model": "azure/x", "tpm": 7}),
        ]

    def now(self) -> datetime:
        return self.clock

    def authenticate(self, scope: Any) -> Principal:
        given = dict(scope["headers"]).get(b"authorization", b"").removeprefix(b"Bearer ")
        if not given:
            raise Unauthenticated("Authentication Error, No api key passed in.", param="None")
        if given.decode() == MASTER_KEY:
            return Principal("master")
        record = self.in_force.get(sha256(given).digest())
        if record is None:
            raise UnknownKey("Authentication Error, Invalid proxy server token passed.", param="key")
        return Principal("key", record)

    async def fetch_keys(self, scope: Any) -> None:
        """There is nothing to fetch."""

    def is_master(self, token: bytes) -> bool:
        return token == sha256(MASTER_KEY.encode()).digest()

    async def keys_changed(self, tokens: Sequence[bytes], *, spend_set: bool = False) -> None:
        for token in tokens:
            self.in_force.pop(token, None)
            record = await self.storage.keys.get(token)
            if record is not None:
                self.in_force[token] = record
            if spend_set:
                self.spends_set.append(token)

    def seal(self, kind: str, name: str, values: dict[str, Any]) -> bytes:
        raise NotImplementedError

    def unseal(self, kind: str, name: str, sealed: bytes) -> dict[str, Any]:
        raise NotImplementedError

    async def check_model(self, model: StoredModel, params: Mapping[str, Any]) -> None:
        raise NotImplementedError

    async def people_changed(self, spend_set: Sequence[tuple[str, str]] = ()) -> None:
        pass

    def spend_of(self, scope: str, scope_id: str) -> LiveSpend | None:
        return self.live.get((scope, scope_id))

    async def flush(self) -> None:
        self.flushes += 1

    def price_of(self, model: str, principal: Principal) -> PricedModel | None:
        row = {"mode": "chat", "input_cost_per_token": "2.5e-06", "output_cost_per_token": "1e-05"}
        cached = {**row, "cache_read_input_token_cost": "1.25e-06"}
        if model == "unpriced":
            return PricedModel("openai/unpriced", None)
        return PricedModel("openai/gpt-4o", price_from_map(cached, version="v")) if model == "gpt-4o" else None

    def models(self, principal: Principal) -> Sequence[ModelRow]:
        return self.rows if principal.is_admin else self.rows[:1]

    async def chat_models(self, principal: Principal, team: str) -> list[str]:
        return list(dict.fromkeys(row.model_name for row in self.models(principal)))

    def listen(self, listener: Callable[[CallRecord], None]) -> None:
        self.listeners.append(listener)

    def ignore(self, listener: Callable[[CallRecord], None]) -> None:
        self.listeners.remove(listener)

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
        self.callers.append((principal.user, team))
        self.called.append((path, body, dict(headers)))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"answered": true}'})

    async def check_deployments(self, *, model: str | None, deployment_id: str | None) -> Sequence[DeploymentHealth]:
        found = [
            DeploymentHealth(deployment_id="d1", provider_model="openai/gpt-4o", api_base="http://127.0.0.1:1/v1"),
            DeploymentHealth(deployment_id="d2", provider_model="azure/x", api_base="", error="timed out", status=408),
        ]
        return [one for one in found if deployment_id in (None, one.deployment_id)]

    async def deployments(self) -> Sequence[DeploymentState]:
        return [
            DeploymentState(
                model_name="gpt-4o",
                deployment_id="d1",
                provider="openai",
                provider_model="openai/gpt-4o",
                api_base="http://127.0.0.1:1/v1",
                place="config.yaml:3",
                stored=False,
                weight=1.0,
                order=1,
                rpm=None,
                tpm=5,
                parallel_max=None,
                fallbacks=("claude",),
                workers=tuple(self.benched),
            )
        ]

    async def release_deployment(self, deployment_id: str) -> None:
        if deployment_id != "d1":
            raise NotFound(f"Model id = {deployment_id} not found on this gateway.")
        self.released.append(deployment_id)

    async def stored_models(self) -> Sequence[ModelEntry]:
        return []

    async def try_deployment(self, deployment_id: str) -> Trial:
        return Trial(status=200, duration_ms=12.34, answer="ok", cost=0.000001, input_tokens=9, output_tokens=1)

    async def try_model(self, model: StoredModel, params: Mapping[str, Any]) -> Trial:
        return Trial(status=401, duration_ms=5.0, error="Incorrect API key provided")
