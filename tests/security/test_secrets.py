"""Every secret that the gateway is given or gives, put through all that it does, then looked for wherever it writes or answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from tollway.admin import application
from tollway.admin.dashboard import application as dashboard
from tollway.calls import Secret, call_id
from tollway.config.settings import (
    AccessSettings,
    Config,
    JwtSettings,
    RedisSettings,
    SignInSettings,
    StorageSettings,
)
from tollway.storage import open_storage
from tollway.testing import FakeReply
from tollway.testing.gateway import Answer, SmallGateway, chat_reply, model_entry

from .outsider import OWN_PAGE, Headers, Outsider

CANARIES = {
    "the master key": "sk-canary-master-77c1d0",
    "the salt key": "canary-salt-5e0f2a",
    "the dashboard's password": "canary-ui-password-91b3",
    "the provider's key": "sk-canary-provider-0aa1",
    "a variable of the environment": "canary-variable-6d3c",
    "a stored model's key": "sk-canary-stored-4b6e",
    "a credential's value": "sk-canary-credential-3d2c",
    "a header's value": "canary-header-8f1e",
    "a virtual key": "sk-canary-virtual-2c9f0000",
    "a user's password": "canary-password-7a7d",
    "a user's next password": "canary-password-next-1f6b",
    "a wrong password": "canary-password-wrong-c0d4",
    "the client's secret": "canary-client-secret-e5a9",
    "the access token": "canary-access-token-b7c8",
    "the code": "canary-code-d2f3",
    "Redis' password": "canary-redis-a1e2",
    "the database's password": "canary-database-f4b5",
}
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = {**json.loads(pyjwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k", "use": "sig"}
#: What each route asks for in its path and its query.
NAMED = {
    "/audit/{id}": "/audit/1",
    "/tollway/providers/{name}": "/tollway/providers/openai",
    "{id}": "stored",
    "{name}": "canary",
    "{model_id}": "stored",
    "{page:path}": "keys",
}
QUERY = {
    "start_date": "2026-01-01",
    "end_date": "2027-12-31",
    "user_id": "ada",
    "organization_id": "o",
    "team_id": "t",
    "end_user_id": "c",
    "session_id": "s",
    "model": "small",
    "by": "end_user",
    "invitation_id": "none",
    "budget_id": "b",
    "key": sha256(CANARIES["a virtual key"].encode()).hexdigest(),
}

#: What there is nothing of.
UNANSWERED = {"/health/services", "/invitation/info", "/provider/budgets", "/ui/api/spend"}


class Watched(Outsider):
    """Keeps every answer but those that may say a secret, once."""

    def __init__(self, gateway: SmallGateway) -> None:
        super().__init__(gateway, CANARIES["the master key"])
        self.told: dict[str, bytes] = {}
        self.secrets = dict(CANARIES)

    def keep(self, what: str, answer: Answer) -> None:
        assert answer.status < 500 or answer.status == 503, (what, answer.body)
        self.told[f"the answer {len(self.told)} to {what}"] = repr(answer.headers).encode() + answer.body

    async def ask(self, route: str, body: Any = None, **asked: Any) -> Answer:
        answer = await super().ask(route, body, **asked)
        self.keep(route, answer)
        return answer

    async def once(self, route: str, body: Any = None, **asked: Any) -> Any:
        """An answer that tells a secret to who asked for it."""
        answer = await super().ask(route, body, **asked)
        assert answer.status == 200, (route, answer.body)
        return answer.json()

    async def enter(self, name: str, route: str, body: Any) -> Headers:
        """Signs in; the cookie is a secret from now on."""
        answer = await super().ask(route, body, headers=OWN_PAGE)
        assert answer.status == 200, answer.body
        return self._page(name, answer.headers["set-cookie"], answer.json()["csrf"])

    async def enter_again(self, name: str, body: Any, page: Headers) -> Headers:
        answer = await super().ask("POST /ui/api/password", body, headers=page)
        assert answer.status == 200, answer.body
        return self._page(f"{name} again", answer.headers["set-cookie"], answer.json()["csrf"])

    def _page(self, name: str, cookie: str, csrf: str) -> Headers:
        cookie = cookie.partition(";")[0]
        self.secrets[f"the cookie of {name}"] = cookie.partition("=")[2]
        return {**OWN_PAGE, "cookie": cookie, "x-tollway-csrf": csrf}

    async def gone(self, path: str, query: bytes = b"", cookie: str = "") -> tuple[str, list[str]]:
        """(where a browser is led, the cookies that it is given)."""
        cookies: list[str] = []
        led: list[str] = []

        def seen(message: dict[str, Any]) -> None:
            for name, value in message.get("headers", ()):
                {b"set-cookie": cookies, b"location": led}.get(name, []).append(value.decode("latin-1"))

        asked = self.gateway.begin(
            path=path, method="GET", key=None, query=query, headers={"cookie": cookie}, body=b"", on_message=seen
        )
        assert (await asked.done()).status == 303
        return led[0], cookies


def given() -> Config:
    canary, password = CANARIES, CANARIES["Redis' password"]
    return Config(
        access=AccessSettings(
            master_key=Secret(canary["the master key"]),
            salt_key=Secret(canary["the salt key"]),
            ui_password=Secret(canary["the dashboard's password"]),
            jwt_enabled=True,
            jwt=JwtSettings(makes_users=True, email_claim="email"),
            jwt_key_urls=("https://id.example.com/keys",),
        ),
        sign_in=SignInSettings(
            generic_client_id="tollway",
            generic_client_secret=Secret(canary["the client's secret"]),
            generic_authorization_endpoint="https://id.example.com/auth",
            generic_token_endpoint="https://id.example.com/token",
            generic_userinfo_endpoint="https://id.example.com/me",
        ),
        redis=RedisSettings(url=Secret(f"redis://tollway:{password}@127.0.0.1:1/0")),
        environment={"ANTHROPIC_API_KEY": Secret(canary["a variable of the environment"])},
    )


def answers_of_others(gateway: SmallGateway) -> None:
    secret, token = CANARIES["the client's secret"], CANARIES["the access token"]
    wrong = {"error": "invalid_client", "error_description": f"{secret} is not the secret of {CANARIES['the code']}"}
    person = {"sub": "1", "preferred_username": "eve", "email": "eve@example.com", "role": "proxy_admin"}
    gateway.upstream.reply_to(None, chat_reply())
    gateway.upstream.reply_to("/keys", FakeReply.json({"keys": [PUBLIC]}))
    gateway.upstream.reply_to(
        "/token", FakeReply.json(wrong, status=401), FakeReply.json({"access_token": token, "token_type": "Bearer"})
    )
    gateway.upstream.reply_to("/me", FakeReply.json(person))
    refusing = {"error": {"message": "Incorrect API key provided: " + CANARIES["a stored model's key"]}}
    gateway.upstream.reply_to("/refused/chat/completions", FakeReply.json(refusing, status=401))


async def people_come_and_go(watched: Watched) -> list[Headers]:
    """Every way in, the wrong turns too; the pages of those who are in."""
    canary = watched.secrets
    password, following, wrong = (
        canary[f"a {name}"] for name in ("user's password", "user's next password", "wrong password")
    )
    await watched.done("POST /user/new", {"user_id": "ada", "password": password, "auto_create_key": False})
    await watched.done(
        "POST /user/new", {"user_id": "vic", "user_role": "proxy_admin_viewer", "auto_create_key": False}
    )
    master = await watched.enter("the master", "POST /ui/api/session", {"password": canary["the master key"]})
    named = {"user": "admin", "password": canary["the dashboard's password"]}
    await watched.enter("the password", "POST /ui/api/session", named)
    ada = await watched.enter("ada", "POST /ui/api/session", {"user": "ada", "password": password})
    link = await watched.once("POST /ui/api/session/link", {})
    (once,) = parse_qs(urlsplit(link["url"]).query)["once"]
    watched.secrets["the link"] = once
    await watched.enter("the link", "POST /ui/api/session", {"once": once})
    for body in ({"once": once}, {"user": "ada", "password": wrong}, {"user": [wrong], "password": wrong * 200}):
        await watched.ask("POST /ui/api/session", body, headers=OWN_PAGE)
    broken = b'{"password": "' + wrong.encode()
    watched.keep(
        "a broken body", await watched.gateway.ask(path="/ui/api/session", key=None, headers=OWN_PAGE, body=broken)
    )
    watched.keep("another", await watched.gateway.ask(path="/user/new", key=canary["the master key"], body=broken))
    for body in ({"user_id": "ada", "password": {"x": wrong}}, {"user_id": "nobody", "password": wrong}):
        await watched.ask("POST /user/update", body)
    changing = {"old_password": wrong, "new_password": following}
    await watched.ask("POST /ui/api/password", changing, headers=ada)
    ada = await watched.enter_again("ada", {**changing, "old_password": password}, ada)
    invited = await watched.once("POST /invitation/new", {"user_id": "vic"})
    watched.secrets["the invitation"] = invited["id"]
    await watched.ask("POST /ui/api/invitation", {"invitation_id": invited["id"]}, headers=OWN_PAGE)
    accepting = {"invitation_id": invited["id"], "password": password}
    viewer = await watched.enter("vic", "POST /ui/api/invitation/accept", accepting)
    await watched.ask("POST /ui/api/invitation/accept", accepting, headers=OWN_PAGE)
    return [master, ada, viewer, await somebody_comes_by_single_sign_on(watched)]


async def somebody_comes_by_single_sign_on(watched: Watched) -> Headers:
    for turn in ("refused", "let in"):
        away, (begun,) = await watched.gone("/sso/key/generate")
        (state,) = parse_qs(urlsplit(away).query)["state"]
        watched.secrets[f"the state of who was {turn}"] = state
        query = f"code={watched.secrets['the code']}&state={state}".encode()
        back, cookies = await watched.gone("/sso/callback", query, begun.partition(";")[0])
        watched.secrets[f"what the browser of who was {turn} kept"] = begun.partition(";")[0].partition("=")[2]
        assert ("sso_error" in back) is (turn == "refused"), back
        watched.told[f"the way back of who was {turn}"] = back.encode()
    signed = next(cookie for cookie in cookies if cookie.startswith("tollway_session="))
    told = (await watched.ask("GET /ui/api/session", headers={"cookie": signed.partition(";")[0]})).json()
    assert told["role"] == "proxy_admin"
    return watched._page("eve", signed, told["csrf"])


async def things_are_made(watched: Watched) -> None:
    canary = watched.secrets
    await watched.done("POST /team/new", {"team_id": "t"})
    await watched.done("POST /budget/new", {"budget_id": "b", "max_budget": 1})
    await watched.done("POST /customer/new", {"user_id": "c", "budget_id": "b"})
    await watched.done("POST /organization/new", {"organization_id": "o", "organization_alias": "acme"})
    made = {"user_id": "ada", "key_alias": "the canary"}
    await watched.once("POST /key/generate", {**made, "key": canary["a virtual key"]})
    await watched.once("POST /key/generate", {"key_alias": "another", "team_id": "t"})
    await watched.ask("POST /key/generate", {"key": canary["a virtual key"]})
    for field in ("max_budget", "models", "metadata"):
        await watched.ask("POST /key/update", {"key": "another", field: canary["a virtual key"]})
    values = {"api_key": canary["a credential's value"], "extra_headers": {"x-a": canary["a header's value"]}}
    await watched.done("POST /credentials", {"credential_name": "canary", "credential_values": values})
    await watched.done("PATCH /credentials/canary", {"credential_values": {"api_key": canary["a credential's value"]}})
    params = {
        "model": "openai/m",
        "api_key": canary["a stored model's key"],
        "api_base": "http://stored.example/refused",
        "extra_headers": {"x-b": canary["a header's value"]},
        "extra_body": {"nested": [{"password": canary["a header's value"]}]},
    }
    stored = {"model_name": "stored", "litellm_params": params, "model_info": {"id": "stored"}}
    await watched.done("POST /model/new", stored)
    named = {"model": "openai/m", "litellm_credential_name": "canary"}
    await watched.done("POST /model/new", {"model_name": "named", "litellm_params": named, "model_info": {"id": "n"}})
    await watched.done("POST /model/update", {"model_info": {"id": "stored"}, "litellm_params": {"rpm": 5}})
    misspelt = {
        "model": "openai/m",
        "api_kye": canary["a stored model's key"],
        "extra_headers": {"x-c": [canary["a header's value"]]},
    }
    await watched.ask("POST /model/new", {"model_name": "x", "litellm_params": misspelt})
    for body in ({"litellm_params": params}, {"model_info": {"id": "stored"}}, {"litellm_params": misspelt}):
        await watched.ask("POST /health/test_connection", body)
    rehearsed = {"call_type": "completion", "request_body": {"model": "stored", "messages": []}}
    await watched.done("POST /utils/transform_request", rehearsed)


async def calls_are_made(watched: Watched) -> None:
    now = int(watched.gateway.clock.now())
    claims = {"sub": "tokens-user", "email": "t@example.com", "exp": now + 600}
    token = pyjwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k"})
    stranger = (
        pyjwt.encode({**claims, "sub": "stranger"}, KEY, algorithm="RS256", headers={"kid": "k"})[:-8] + "AAAAAAAA"
    )
    late = pyjwt.encode({**claims, "exp": 1}, KEY, algorithm="RS256", headers={"kid": "k"})
    for name, text in (("good", token), ("forged", stranger), ("late", late)):
        watched.secrets[f"the {name} token"] = text
        watched.secrets[f"the {name} token's signature"] = text.rpartition(".")[2]
    for key in (token, stranger, late, watched.secrets["a virtual key"], watched.secrets["the master key"]):
        for model in ("small", "stored", "named"):
            headers = {"user-agent": f"agent {key}", "x-litellm-session-id": "s"}
            answer = await watched.gateway.ask(key=key, model=model, num_retries=0, headers=headers)
            watched.keep(f"a call of {model}", answer)


async def everything_is_asked(watched: Watched, pages: Iterable[Headers]) -> None:
    call = (await watched.gateway.records())[-1]
    named = {**NAMED, **dict.fromkeys(("{call}", "{request_id}"), call_id(call.epoch, call.seq))}
    for route in (*application.ROUTES, *dashboard.ROUTES):
        if route.method != "GET" or route.path.startswith(("/sso/", "/ui/api/live", "/ui/assets")):
            continue
        path = route.path
        for mark, value in named.items():
            path = path.replace(mark, value)
        statuses = {(await watched.ask(f"GET {path}", query=query)).status for query in ({}, QUERY)}
        assert statuses & {200, 503} or route.path in UNANSWERED, (path, statuses)
        for page in pages:
            await watched.ask(f"GET {path}", headers=page, query=QUERY if "{" not in route.path else {})
    await watched.done("GET /ui/api/spend", query={"team_id": "t"})
    await watched.done("POST /v2/key/info", {"keys": [QUERY["key"]]})
    await watched.done("POST /organization/info", {"organizations": ["o"]})


async def test_no_secret_stands_in_any_answer_page_log_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("authlib")
    caplog.set_level(0)
    storage = await open_storage(tmp_path / "tollway.db")
    models = [model_entry(api_key=Secret(CANARIES["the provider's key"])), model_entry("large")]
    async with SmallGateway(tmp_path, models, config=given(), storage=storage) as gateway:
        answers_of_others(gateway)
        watched = Watched(gateway)
        await things_are_made(watched)
        pages = await people_come_and_go(watched)
        await calls_are_made(watched)
        password = CANARIES["the database's password"]
        database = Secret(f"postgresql://tollway:{password}@db.example/tollway")
        kept = gateway.app.config
        gateway.app.config = replace(kept, storage=StorageSettings(database_url=database))
        await everything_is_asked(watched, pages)
        gateway.app.config = kept
        await gateway.app.ledger.flush()
        places = {**watched.told, **files_in(tmp_path)}
    out, err = capfd.readouterr()
    places |= {**files_in(tmp_path), "the log": caplog.text.encode(), "the output": (out + err).encode()}
    assert b"the canary" in places[str(tmp_path / "tollway.db")] + places.get(str(tmp_path / "tollway.db-wal"), b"")
    assert any(b"eve" in content for content in places.values())
    found = [
        f"{name} stands in {place}"
        for name, secret in watched.secrets.items()
        for place, content in places.items()
        if any(text in content for text in spelt(secret.encode()))
    ]
    assert not found, "\n".join(found)


def spelt(secret: bytes) -> set[bytes]:
    return {secret, base64.b64encode(secret).rstrip(b"="), secret.hex().encode()}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
