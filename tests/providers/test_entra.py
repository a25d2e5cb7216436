from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from tollway.calls import Secret
from tollway.config.settings import Config, ModelEntry
from tollway.errors import ConfigError, UpstreamAccountError, UpstreamFailed
from tollway.providers import MissingSetting, entra, registry
from tollway.providers.entra import MANAGED, METADATA_HOST, METADATA_PATH, fetch, identity_of
from tollway.testing import FakeUpstream
from tollway.testing.gateway import SmallGateway, chat_reply
from tollway.testing.upstream import FakeReply

OWN = {"tenant_id": "contoso", "client_id": "app-1", "client_secret": Secret("s3cret&")}
TOKEN_PATH = "/contoso/oauth2/v2.0/token"
NOW = 1_000_000.0


def variables(**values: str) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in values.items()}


ENVIRONMENT = variables(AZURE_TENANT_ID="contoso", AZURE_CLIENT_ID="app-1")


async def fetched(entry: ModelEntry, environment: dict[str, Secret], upstream: FakeUpstream) -> Any:
    identity = identity_of("azure", entry, environment)
    assert identity is not None
    return await fetch(identity, upstream, NOW)


# --- what is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["azure", "azure_ai", "azure_text"])
def test_what_an_entry_says_goes_before_what_variables_say(name: str, entry: Any) -> None:
    provider: Any = registry.find(name)
    keyed = dict.fromkeys(provider.introduction.key_env[:1], Secret("env-key"))
    assert provider.key(entry(api_key="own", provider_params=OWN), keyed).reveal() == "own"
    given = provider.key(entry(provider_params={"azure_ad_token": "given"}), keyed)
    assert provider.headers(given, entry()) == [(b"authorization", b"Bearer given")]
    assert provider.key(entry(provider_params=OWN), keyed) is None
    assert provider.signer(entry(provider_params=OWN), keyed) is not None
    assert provider.key(entry(), {**keyed, **ENVIRONMENT, "AZURE_CLIENT_SECRET": Secret("s")}).reveal() == "env-key"
    assert provider.signer(entry(), keyed) is None


def test_variables_alone_are_enough(entry: Any) -> None:
    provider: Any = registry.find("azure")
    environment = {**ENVIRONMENT, "AZURE_CLIENT_SECRET": Secret("s")}
    assert provider.key(entry(), environment) is None
    assert provider.signer(entry(), environment) is not None
    assert provider.headers(None, entry()) == []


def test_a_token_among_the_headers_of_an_entry_is_enough(entry: Any) -> None:
    provider: Any = registry.find("azure")
    own = entry(extra_headers={"Authorization": "Bearer mine"})
    assert provider.key(own, {}) is None
    assert provider.signer(own, {**ENVIRONMENT, "AZURE_CLIENT_SECRET": Secret("s")}) is None


@pytest.mark.parametrize(
    ("params", "environment", "missing"),
    [
        ({"client_secret": Secret("s"), "client_id": "c"}, {}, "AZURE_TENANT_ID or tenant_id"),
        ({"client_secret": Secret("s"), "tenant_id": "t"}, {}, "AZURE_CLIENT_ID or client_id"),
        ({"azure_credential": "ClientSecretCredential", "tenant_id": "t", "client_id": "c"}, {}, "client_secret"),
        ({}, variables(AZURE_FEDERATED_TOKEN_FILE="/x", AZURE_TENANT_ID="t"), "AZURE_CLIENT_ID"),
    ],
)
def test_half_an_identity_is_named(params: Any, environment: dict[str, Secret], missing: str, entry: Any) -> None:
    with pytest.raises(MissingSetting, match=missing):
        identity_of("azure", entry(provider_params=params), environment)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"azure_credential": "CertificateCredential"}, "CertificateCredential"),
        ({**OWN, "tenant_id": "a/b"}, "tenant_id"),
        ({**OWN, "client_id": "a b"}, "client_id"),
    ],
)
def test_what_cannot_be_is_refused_by_name(params: Any, said: str, entry: Any) -> None:
    with pytest.raises(ConfigError, match=said):
        identity_of("azure", entry(provider_params=params), {})


def test_litellm_s_word_for_a_token_that_is_fetched_elsewhere_is_refused(entry: Any) -> None:
    with pytest.raises(ConfigError, match="AZURE_FEDERATED_TOKEN_FILE"):
        entra.given_token("azure", entry(provider_params={"azure_ad_token": "oidc/github/x"}))


def test_nobody_asks_the_machine_unless_told_to(entry: Any) -> None:
    """A metadata service is asked where AZURE_CREDENTIAL says so, not because nothing else is there."""
    assert identity_of("azure", entry(), ENVIRONMENT) is None
    assert (
        identity_of("azure", entry(), variables(IDENTITY_ENDPOINT="http://127.0.0.1:1/", IDENTITY_HEADER="h")) is None
    )


# --- asking --------------------------------------------------------------------------------------------------------


async def test_a_client_s_secret_is_exchanged_for_a_token(entry: Any) -> None:
    """https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (2026-11-22)"""
    upstream = FakeUpstream()
    upstream.reply_to(TOKEN_PATH, FakeReply.json({"token_type": "Bearer", "expires_in": 3599, "access_token": "e.y.J"}))
    token = await fetched(entry(provider_params=OWN), {}, upstream)
    assert (token.text.reveal(), token.expires_s) == ("e.y.J", NOW + 3599)
    sent = upstream.requests[0]
    assert sent.origin.host == "login.microsoftonline.com"
    assert parse_qs(sent.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["app-1"],
        "client_secret": ["s3cret&"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }


async def test_other_clouds_have_other_scopes_and_sign_ins(entry: Any) -> None:
    upstream = FakeUpstream()
    upstream.reply_to(TOKEN_PATH, FakeReply.json({"access_token": "t"}))
    environment = variables(
        AZURE_AUTHORITY_HOST="login.microsoftonline.us", AZURE_SCOPE="https://cognitiveservices.azure.us/.default"
    )
    await fetched(entry(provider_params=OWN), environment, upstream)
    assert upstream.requests[0].origin.host == "login.microsoftonline.us"
    assert b"cognitiveservices.azure.us" in upstream.requests[0].body
    written = entry(provider_params={**OWN, "azure_scope": "https://ai.azure.com/.default"})
    await fetched(written, environment, upstream)
    assert b"scope=https%3A%2F%2Fai.azure.com%2F.default" in upstream.requests[1].body


async def test_a_workload_s_token_is_read_anew_each_time(entry: Any, tmp_path: Path) -> None:
    upstream = FakeUpstream()
    upstream.reply_to(TOKEN_PATH, FakeReply.json({"access_token": "t"}))
    file = tmp_path / "token"
    environment = {**ENVIRONMENT, "AZURE_FEDERATED_TOKEN_FILE": Secret(str(file))}
    for text in ("first", "second"):
        file.write_text(text + "\n")
        await fetched(entry(), environment, upstream)
    sent = [parse_qs(request.body.decode()) for request in upstream.requests]
    assert [fields["client_assertion"] for fields in sent] == [["first"], ["second"]]
    assert sent[0]["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    assert "client_secret" not in sent[0]
    file.unlink()
    with pytest.raises(UpstreamAccountError, match="FileNotFoundError"):
        await fetched(entry(), environment, upstream)


class Machine(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, dict[str, str]]]]
    status = 200
    said: ClassVar[Any] = {"access_token": "managed", "expires_on": str(int(NOW) + 7200)}

    def do_GET(self) -> None:
        type(self).seen.append((self.path, dict(self.headers.items())))
        body = msgspec.json.encode(type(self).said)
        self.send_response(type(self).status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def machine() -> Iterator[tuple[type[Machine], str]]:
    class Own(Machine):
        seen: ClassVar[list[tuple[str, dict[str, str]]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Own, f"http://127.0.0.1:{server.server_port}/msi/token"
    server.shutdown()
    server.server_close()


async def test_app_service_s_door_gives_a_managed_identity(entry: Any, machine: tuple[type[Machine], str]) -> None:
    """https://learn.microsoft.com/azure/app-service/overview-managed-identity (2026-11-22)"""
    own, endpoint = machine
    environment = variables(
        AZURE_CREDENTIAL=MANAGED,
        IDENTITY_ENDPOINT=endpoint,
        IDENTITY_HEADER="853b9a84",
        AZURE_CLIENT_ID="user-assigned",
    )
    token = await fetched(entry(), environment, FakeUpstream())
    assert (token.text.reveal(), token.expires_s) == ("managed", NOW + 7200)
    path, headers = own.seen[0]
    assert headers["X-IDENTITY-HEADER"] == "853b9a84"
    assert parse_qs(urlsplit(path).query) == {
        "api-version": ["2019-08-01"],
        "resource": ["https://cognitiveservices.azure.com"],
        "client_id": ["user-assigned"],
    }


async def test_the_machine_s_metadata_service_is_asked_at_its_one_address(
    entry: Any, machine: tuple[type[Machine], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token (2026-11-22)"""
    assert (METADATA_HOST, METADATA_PATH) == ("169.254.169.254", "/metadata/identity/oauth2/token")
    own, endpoint = machine
    asked = entra._ask_machine

    async def here(host: str, port: int, target: str, headers: dict[str, str], tls: bool) -> tuple[int, bytes]:
        assert (host, port, tls) == (METADATA_HOST, 80, False)
        return await asked("127.0.0.1", urlsplit(endpoint).port or 0, target, headers, tls)

    monkeypatch.setattr(entra, "_ask_machine", here)
    token = await fetched(entry(provider_params={"azure_credential": MANAGED}), {}, FakeUpstream())
    assert token.text.reveal() == "managed"
    path, headers = own.seen[0]
    assert headers["Metadata"] == "true"
    assert parse_qs(urlsplit(path).query) == {
        "api-version": ["2018-02-01"],
        "resource": ["https://cognitiveservices.azure.com"],
    }
    own.status = 400
    with pytest.raises(UpstreamAccountError, match="managed identity: 400"):
        await fetched(entry(provider_params={"azure_credential": MANAGED}), {}, FakeUpstream())
    own.status = 503
    with pytest.raises(UpstreamFailed):
        await fetched(entry(provider_params={"azure_credential": MANAGED}), {}, FakeUpstream())


async def test_a_machine_without_a_service_is_told_of(entry: Any) -> None:
    environment = variables(AZURE_CREDENTIAL=MANAGED, IDENTITY_ENDPOINT="http://127.0.0.1:9/msi/token")
    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        await fetched(entry(), environment, FakeUpstream())


# --- through the whole gateway -------------------------------------------------------------------------------------


async def test_one_token_serves_many_calls_and_its_secret_is_nowhere_told(tmp_path: Path) -> None:
    entry = ModelEntry(
        model_name="small",
        provider_model="azure/dep",
        api_base="https://res.openai.azure.com",
        provider_params=OWN,
        prices={"input_cost_per_token": "0", "output_cost_per_token": "0.000004"},
    )
    async with SmallGateway(tmp_path, [entry], config=Config()) as gateway:
        gateway.upstream.reply_to(TOKEN_PATH, FakeReply.json({"access_token": "fresh", "expires_in": 3599}))
        gateway.upstream.reply_to("/openai/deployments/dep/chat/completions", chat_reply())
        for _ in range(2):
            assert (await gateway.ask()).status == 200
        assert [request.origin.host for request in gateway.upstream.requests] == [
            "login.microsoftonline.com",
            "res.openai.azure.com",
            "res.openai.azure.com",
        ]
        assert gateway.upstream.requests[1].headers["authorization"] == "Bearer fresh"
        assert "api-key" not in gateway.upstream.requests[1].headers


async def test_a_sign_in_that_refuses_the_secret_is_an_error_without_it(tmp_path: Path) -> None:
    entry = ModelEntry(
        model_name="small", provider_model="azure/dep", api_base="https://res.openai.azure.com", provider_params=OWN
    )
    async with SmallGateway(tmp_path, [entry]) as gateway:
        said = {
            "error": "invalid_client",
            "error_description": "AADSTS7000215: Invalid client secret s3cret& provided.",
        }
        gateway.upstream.reply_to(TOKEN_PATH, FakeReply.json(said, status=401))
        answer = await gateway.ask()
        assert answer.status == 503
        assert "invalid_client AADSTS7000215" in answer.json()["error"]["message"]
        assert b"s3cret" not in answer.body
