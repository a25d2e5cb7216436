"""What the management API sees of the running program: `admin.Office`, kept by the app."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.json import decode, encode

from tollway.admin import DeploymentHealth, LiveSpend, ModelRow, Principal
from tollway.config.settings import Config
from tollway.policies.authenticate import LOOKED_AT, check_usable, identify
from tollway.snapshot import Deployment
from tollway.storage import Storage

if TYPE_CHECKING:
    from tollway.app import App

#: A deployment that is asked whether it lives may take this long.
CHECK_S_MAX = 30
CHECK_PATH = "/v1/chat/completions"


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

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)

    def authenticate(self, scope: Any) -> Principal:
        snapshot = self._app.snapshots.current
        seen = {name: value for name, value in scope["headers"] if name in LOOKED_AT}
        caller = identify(seen, snapshot, scope)
        if caller.key is None:
            return Principal("master" if caller.is_admin else "anonymous")
        check_usable(caller, scope["path"], time.time())
        return Principal("key", caller.key.record)

    def is_master(self, token: bytes) -> bool:
        master = self._app.snapshots.current.master_digest
        return master is not None and hmac.compare_digest(token, master)

    async def keys_changed(self, tokens: Sequence[bytes], *, spend_set: bool = False) -> None:
        await self._app.keys_changed(tokens if spend_set else ())

    def spend_of(self, scope: str, scope_id: str) -> LiveSpend | None:
        account = self._app.ledger.accounts.get((scope, scope_id))
        if account is None or self._app.worker.count > 1:  # of several workers none knows better than the storage
            return None
        account.roll(time.time())
        return LiveSpend(account.spent, account.total)

    async def flush(self) -> None:
        await self._app.ledger.flush()

    def models(self, principal: Principal) -> Sequence[ModelRow]:
        snapshot = self._app.snapshots.current
        caller = snapshot.keys.get(principal.record.token) if principal.record is not None else None
        access = caller.key.access if caller is not None and caller.key is not None else None
        return [
            _model_row(name, deployment)
            for name, model in snapshot.models.items()
            if access is None or access.allows(name, snapshot.groups_of(name))
            for deployment in model.deployments
        ]

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
        return [await self._check(deployment) for deployment in asked]

    async def _check(self, deployment: Deployment) -> DeploymentHealth:
        """Asks for one token, through the same door as every call: what it costs is written down like every call."""
        mode = deployment.entry.mode or (deployment.facts.mode if deployment.facts is not None else "chat")
        if mode not in ("chat", "responses"):
            return DeploymentHealth(
                deployment_id=deployment.id,
                provider_model=deployment.provider_model,
                api_base=deployment.public_base,
                error=str(deployment.missing) if deployment.missing is not None else deployment.health.last_error,
                status=503 if deployment.missing is not None or deployment.health.last_error else 200,
            )
        messages = [{"role": "user", "content": "Say ok."}]
        status, body = await self._ask(
            {"model": deployment.id, "messages": messages, "max_tokens": 5, "num_retries": 0}
        )
        return DeploymentHealth(
            deployment_id=deployment.id,
            provider_model=deployment.provider_model,
            api_base=deployment.public_base,
            error="" if status == 200 else str(decode(body)["error"]["message"]),
            status=status,
        )

    async def _ask(self, fields: dict[str, Any]) -> tuple[int, bytes]:
        master = self._app.config.access.master_key
        assert master is not None, "the app makes one where none is set"
        assert self._app.dispatch is not None
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": CHECK_PATH,
            "query_string": b"",
            "client": None,
            "headers": [
                (b"authorization", b"Bearer " + master.reveal().encode()),
                (b"x-litellm-timeout", str(CHECK_S_MAX).encode()),
                (b"user-agent", b"tollway health check"),
            ],
        }
        sent: list[dict[str, Any]] = []
        bodies = [encode(fields)]

        async def receive() -> dict[str, Any]:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            never: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            return await never  # this caller does not hang up

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app.dispatch(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


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
    params.update({field: _number(price) for field, price in entry.prices.items()})
    facts = {field: _number(value) for field, value in deployment.facts.row.items()} if deployment.facts else {}
    return ModelRow(
        model_name=name,
        deployment_id=deployment.id,
        provider=deployment.provider.name,
        params=params,
        facts={**facts, **entry.about},
    )


def _number(value: Any) -> Any:
    """Prices are kept as exact text; JSON shows them as numbers."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
