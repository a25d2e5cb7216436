from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import RefreshError, TransportError

from tollway.calls import Secret
from tollway.errors import ConfigError, UpstreamAccountError, UpstreamFailed
from tollway.providers import MissingSetting, google_auth
from tollway.providers.google_auth import (
    RENEW_S,
    WAIT_S,
    GoogleSigner,
    Identity,
    identity_of,
    load_credentials,
    project_in,
)
from tollway.testing import FakeUpstream
from tollway.upstream.wire import Origin, WireRequest

HOUR_S = 3600
SIGN_IN = FakeUpstream()  # which no signer of Google's needs


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def wall(self) -> float:
        return self.now


class Credentials:
    """A new token with each refresh; good for an hour."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refreshed = 0
        self.token: str | None = None
        self.expiry: datetime | None = None
        self.quota_project_id: str | None = None
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def refresh(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.gate.wait(10)
        if self.fails is not None:
            raise self.fails
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"
        self.expiry = datetime.fromtimestamp(self.clock.now + HOUR_S, UTC).replace(tzinfo=None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def credentials(clock: Clock) -> Credentials:
    return Credentials(clock)


@pytest.fixture
def signer(credentials: Credentials, clock: Clock) -> GoogleSigner:
    return GoogleSigner(
        Identity(), load=lambda identity: credentials, refresh=lambda found: found.refresh(), wall=clock.wall
    )


async def shown(signer: GoogleSigner) -> bytes:
    await signer.prepare(SIGN_IN)
    request = WireRequest(Origin("https", "h", 443), b"POST / HTTP/1.1\r\n", b"")
    signer.sign(request)
    return request.head.removeprefix(b"POST / HTTP/1.1\r\n")


async def renewed(signer: GoogleSigner) -> None:
    task = signer._renewing
    if task is not None:
        await asyncio.wait({task})
        await asyncio.sleep(0)


async def test_many_calls_wait_for_one_token(signer: GoogleSigner, credentials: Credentials) -> None:
    lines = await asyncio.gather(*(shown(signer) for _ in range(5)))
    assert lines == [b"authorization: Bearer token-1\r\n"] * 5
    assert credentials.refreshed == 1


async def test_a_token_is_renewed_ahead_while_the_old_one_serves(
    signer: GoogleSigner, credentials: Credentials, clock: Clock
) -> None:
    await shown(signer)
    clock.now += HOUR_S - RENEW_S - 1
    assert await shown(signer) == b"authorization: Bearer token-1\r\n"
    assert credentials.refreshed == 1
    credentials.gate.clear()
    clock.now += 2
    assert await shown(signer) == b"authorization: Bearer token-1\r\n"  # nobody waits for the new one
    credentials.gate.set()
    await renewed(signer)
    assert await shown(signer) == b"authorization: Bearer token-2\r\n"


async def test_for_a_token_that_is_about_to_end_calls_wait(
    signer: GoogleSigner, credentials: Credentials, clock: Clock
) -> None:
    await shown(signer)
    clock.now += HOUR_S - WAIT_S + 1
    assert await shown(signer) == b"authorization: Bearer token-2\r\n"


async def test_a_renewal_that_fails_harms_nobody_while_the_old_token_lasts(
    signer: GoogleSigner, credentials: Credentials, clock: Clock
) -> None:
    await shown(signer)
    clock.now += HOUR_S - RENEW_S + 1
    credentials.fails = TransportError("down")
    assert await shown(signer) == b"authorization: Bearer token-1\r\n"
    await renewed(signer)
    credentials.fails = None
    await shown(signer)
    await renewed(signer)
    assert await shown(signer) == b"authorization: Bearer token-2\r\n"


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (RefreshError("invalid_grant"), UpstreamAccountError),
        (FileNotFoundError("secret/path"), UpstreamAccountError),
        (ValueError("credentials of the type 'x' are not known"), UpstreamAccountError),
        (TransportError("down"), UpstreamFailed),
    ],
)
async def test_without_a_token_the_call_fails_in_plain_words(
    signer: GoogleSigner, credentials: Credentials, fails: Exception, told: type[Exception]
) -> None:
    credentials.fails = fails
    with pytest.raises(told) as failed:
        await signer.prepare(SIGN_IN)
    assert "secret" not in str(failed.value)
    credentials.fails = None
    assert await shown(signer) == b"authorization: Bearer token-1\r\n"


async def test_who_is_billed_is_named(signer: GoogleSigner, credentials: Credentials) -> None:
    credentials.quota_project_id = "payer"
    assert await shown(signer) == b"authorization: Bearer token-1\r\nx-goog-user-project: payer\r\n"


# --- what is written -----------------------------------------------------------------------------------------------


def test_credentials_are_a_path_or_json_and_the_entry_goes_first(entry: Any) -> None:
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": Secret("/keys/a.json")}
    assert identity_of("vertex_ai", entry(), variables) == Identity(path="/keys/a.json")
    assert identity_of("vertex_ai", entry(), {}) == Identity()
    own = entry(provider_params={"vertex_credentials": Secret("/keys/own.json")})
    assert identity_of("vertex_ai", own, variables) == Identity(path="/keys/own.json")
    info = '{"type": "authorized_user"}'
    as_json = entry(provider_params={"vertex_ai_credentials": info})
    assert identity_of("vertex_ai", as_json, variables) == Identity(info=Secret(info))
    with pytest.raises(ConfigError, match="no Google credentials") as refused:
        identity_of("vertex_ai", entry(provider_params={"vertex_credentials": '{"private_key": "x'}), {})
    assert "private_key" not in str(refused.value)


def test_a_missing_extra_is_named(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingSetting, match=r"pip install 'tollway\[vertex\]'"):
        identity_of("vertex_ai", entry(), {})


def test_credentials_tell_their_project(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text('{"project_id": "theirs"}')
    assert project_in(Identity(path=str(file))) == "theirs"
    assert project_in(Identity(info=Secret('{"quota_project_id": "payer"}'))) == "payer"
    assert project_in(Identity(path=str(tmp_path / "none"))) == ""


@pytest.mark.parametrize(
    "info",
    [
        {"type": "unknown"},
        {"type": "external_account", "credential_source": {"executable": {"command": "/bin/sh"}}},
    ],
)
def test_credentials_that_are_not_known_or_run_programs_are_refused(info: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="are not"):
        load_credentials(Identity(info=Secret(json.dumps(info))))


# --- google-auth itself --------------------------------------------------------------------------------------------


class TokenServer(BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.asked.append(body)  # type: ignore[attr-defined]
        answer = json.dumps({"access_token": "ya29.real", "expires_in": 3599, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def token_server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenServer)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_service_accounts_key_gets_a_real_token(token_server: Any) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    uri = f"http://127.0.0.1:{token_server.server_address[1]}/token"
    info = {"type": "service_account", "private_key": pem, "client_email": "robot@mine.example", "token_uri": uri}
    signer = GoogleSigner(Identity(info=Secret(json.dumps(info))))
    assert await shown(signer) == b"authorization: Bearer ya29.real\r\n"
    assert await shown(signer) == b"authorization: Bearer ya29.real\r\n"
    (asked,) = token_server.asked
    assertion = parse_qs(asked)["assertion"][0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(assertion + "=="))
    assert (claims["iss"], claims["scope"]) == ("robot@mine.example", google_auth.SCOPE)
