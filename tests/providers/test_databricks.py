from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tollway.calls import Secret
from tollway.config.settings import Config, ModelEntry
from tollway.providers import MissingSetting, registry
from tollway.testing.gateway import SmallGateway, chat_reply
from tollway.testing.upstream import FakeReply

WORKSPACE = "https://dbc-1.cloud.databricks.com"
CHAT = "/serving-endpoints/chat/completions"
FREE = {"input_cost_per_token": "0", "output_cost_per_token": "0"}


def databricks(**changes: Any) -> ModelEntry:
    return ModelEntry(
        model_name="small",
        provider_model="databricks/databricks-claude-sonnet-4-5",
        api_base=WORKSPACE,
        prices=FREE,
        **changes,
    )


async def test_a_service_principal_s_secret_is_exchanged_at_its_workspace(tmp_path: Path) -> None:
    """https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m (2026-11-22)"""
    environment = {"DATABRICKS_CLIENT_ID": Secret("sp-1"), "DATABRICKS_CLIENT_SECRET": Secret("dose-1")}
    async with SmallGateway(tmp_path, [databricks()], config=Config(environment=environment)) as gateway:
        said = {"access_token": "eyJ", "scope": "all-apis", "token_type": "Bearer", "expires_in": 3600}
        gateway.upstream.reply_to("/oidc/v1/token", FakeReply.json(said))
        gateway.upstream.reply_to(CHAT, chat_reply())
        assert (await gateway.ask(max_completion_tokens=9)).status == 200
        exchange, chat = gateway.upstream.requests
        assert exchange.origin.host == chat.origin.host == "dbc-1.cloud.databricks.com"
        assert base64.b64decode(exchange.headers["authorization"].removeprefix("Basic ")) == b"sp-1:dose-1"
        assert parse_qs(exchange.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}
        assert chat.headers["authorization"] == "Bearer eyJ"
        assert chat.json()["max_tokens"] == 9


def test_a_key_of_the_entry_goes_before_a_principal_and_that_before_a_variable_s_key() -> None:
    provider: Any = registry.find("databricks")
    keyed = {"DATABRICKS_API_KEY": Secret("env")}
    own = databricks(provider_params={"client_id": "a", "client_secret": Secret("b")})
    assert provider.key(databricks(api_key=Secret("own")), keyed).reveal() == "own"
    assert provider.key(own, keyed) is None
    assert provider.signer(own, keyed) is not None
    assert provider.key(databricks(), keyed).reveal() == "env"
    assert provider.signer(databricks(), keyed) is None
    shown = databricks(extra_headers={"Authorization": "Bearer mine"})
    assert provider.key(shown, {}) is None
    assert provider.signer(shown, {}) is None


def test_what_lacks_is_named() -> None:
    provider: Any = registry.find("databricks")
    with pytest.raises(MissingSetting, match="DATABRICKS_API_KEY or api_key or DATABRICKS_CLIENT_SECRET"):
        provider.key(databricks(), {})
    with pytest.raises(MissingSetting, match="DATABRICKS_CLIENT_ID"):
        provider.key(databricks(), {"DATABRICKS_CLIENT_SECRET": Secret("s")})


async def test_a_refused_principal_is_an_error_of_ours(tmp_path: Path) -> None:
    own = databricks(provider_params={"client_id": "a", "client_secret": Secret("s3cret")})
    async with SmallGateway(tmp_path, [own]) as gateway:
        said = {"error": "invalid_client", "error_description": "Client authentication failed: s3cret"}
        gateway.upstream.reply_to("/oidc/v1/token", FakeReply.json(said, status=401))
        answer = await gateway.ask()
        assert answer.status == 503
        assert "invalid_client" in answer.json()["error"]["message"]
        assert b"s3cret" not in answer.body
