"""Signed tokens of a real OpenID Connect provider in the place of keys."""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from .conftest import ANSWER_USD, configuration
from .gateway import Gateway
from .identity import CLIENT_ID, Identity, follow
from .scripted import Scripted

pytestmark = pytest.mark.e2e

ROWS_S_MAX = 60.0
BACK = "http://127.0.0.1/sso/callback"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    identity = Identity(tmp_path_factory.mktemp("identity") / "identity.log")
    yield identity
    identity.stop()


@pytest.fixture(scope="module")
def gateway(identity: Identity, scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = configuration(scripted.url)
    config["general_settings"] |= {
        "enable_jwt_auth": True,
        "litellm_jwtauth": {
            "user_email_jwt_field": "email",
            "user_allowed_email_domain": "example.com",
            "team_ids_jwt_field": "groups",
            "user_id_upsert": True,
        },
    }
    found = f"{identity.issuer}/.well-known/openid-configuration"
    variables = {"JWT_PUBLIC_KEY_URL": found, "JWT_AUDIENCE": CLIENT_ID, "JWT_ISSUER": identity.issuer}
    gateway = Gateway(config, tmp_path_factory.mktemp("gateway"), "--num_workers", "2", **variables)
    yield gateway
    gateway.stop()


def token_of(identity: Identity, login: str) -> str:
    """The ID token that the provider signs for somebody who signs in."""
    verifier = secrets.token_urlsafe(48)
    challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": BACK,
        "scope": "openid email profile groups",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "state": "s",
    }
    with httpx.Client() as person:
        back = follow(person, f"{identity.issuer}/auth?{urlencode(asked)}", login, BACK)
        (code,) = parse_qs(urlsplit(back).query)["code"]
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": verifier}
        answer = person.post(f"{identity.issuer}/token", data=fields, auth=(CLIENT_ID, identity.client_secret))
    token: str = answer.json()["id_token"]
    return token


def ask(gateway: Gateway, token: str, **more: Any) -> httpx.Response:
    """Each time by a connection of its own: another worker may answer."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], **more}
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        return client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {token}"})


def test_a_token_of_a_real_provider_opens_on_every_worker_and_is_charged_to_its_user(
    identity: Identity, gateway: Gateway
) -> None:
    master = {"authorization": f"Bearer {gateway.master_key}"}
    made = gateway.client.post("/team/new", json={"team_id": "people", "models": ["gpt-4o"]}, headers=master)
    assert made.status_code == 200, made.text
    known, probe = 0, token_of(identity, "ada")
    deadline = time.monotonic() + ROWS_S_MAX
    while known < 10 and time.monotonic() < deadline:  # the other worker hears of a new team within two seconds
        known = known + 1 if ask(gateway, probe, model="second").status_code == 403 else 0
    assert known == 10
    token = token_of(identity, "bob")
    for _ in range(6):
        answer = ask(gateway, token)
        assert answer.status_code == 200, answer.text
    assert ask(gateway, token, model="second").status_code == 403  # not one of the team's models

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = gateway.client.get(
            "/spend/logs", params={"user_id": "bob"}, headers=master
        ).json()
        return [row for row in found if row["status"] == "success"]

    deadline = time.monotonic() + ROWS_S_MAX
    while len(rows()) < 6 and time.monotonic() < deadline:  # rows reach the storage a moment after the answer
        time.sleep(0.05)
    assert len(rows()) == 6
    assert {(row["user"], row["team_id"]) for row in rows()} == {("bob", "people")}
    assert {row["metadata"]["user_api_key_alias"] for row in rows()} == {"token:bob@example.com"}
    team = gateway.client.get("/team/info", params={"team_id": "people"}, headers=master).json()["team_info"]
    assert team["spend"] == pytest.approx(6 * ANSWER_USD)
    user = gateway.client.get("/user/info", params={"user_id": "bob"}, headers=master)
    assert user.json()["user_info"]["user_email"] == "bob@example.com"


def test_somebody_of_another_domain_and_a_changed_token_are_refused(identity: Identity, gateway: Gateway) -> None:
    assert ask(gateway, token_of(identity, "eve")).status_code == 403
    head, body, signature = token_of(identity, "bob").split(".")
    _, other, _ = token_of(identity, "ada").split(".")
    answer = ask(gateway, f"{head}.{other}.{signature}")
    assert answer.status_code == 401
    assert "signature" in answer.json()["error"]["message"]
    assert body not in answer.text
