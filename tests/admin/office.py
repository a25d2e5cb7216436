from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tollway.admin import DeploymentHealth, LiveSpend, ModelRow, Principal
from tollway.config.settings import Config
from tollway.errors import Unauthenticated, UnknownKey
from tollway.storage import KeyRecord
from tollway.testing.storage import MemoryStorage

MASTER_KEY = "sk-master-0123456789"


class FakeOffice:
    """A gateway without a data plane: keys are in force when `keys_changed` was awaited, not before."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.storage = MemoryStorage()
        self.clock = datetime(2026, 11, 21, 22, 39, 2, 232000, tzinfo=UTC)
        self.in_force: dict[bytes, KeyRecord] = {}
        self.live: dict[tuple[str, str], LiveSpend] = {}
        self.spends_set: list[bytes] = []
        self.flushes = 0
        self.bodies_folder: Path | None = None
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

    def spend_of(self, scope: str, scope_id: str) -> LiveSpend | None:
        return self.live.get((scope, scope_id))

    async def flush(self) -> None:
        self.flushes += 1

    def models(self, principal: Principal) -> Sequence[ModelRow]:
        return self.rows if principal.is_admin else self.rows[:1]

    async def check_deployments(self, *, model: str | None, deployment_id: str | None) -> Sequence[DeploymentHealth]:
        found = [
            DeploymentHealth(deployment_id="d1", provider_model="openai/gpt-4o", api_base="http://127.0.0.1:1/v1"),
            DeploymentHealth(deployment_id="d2", provider_model="azure/x", api_base="", error="timed out", status=408),
        ]
        return [one for one in found if deployment_id in (None, one.deployment_id)]
