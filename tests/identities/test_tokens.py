"""Signed tokens through the whole gateway. They are made by PyJWT, which checks nothing here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, JwtIssuer, JwtSettings, ScopeRights
from tollway.storage.people import Limits, Team, User
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply, model_entry
from tollway.testing.upstream import FakeReply

KEYS_URL = "https://id.example.com/keys"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def public(key: Any, kid: str, algorithm: Any) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return {**shown, "kid": kid, "use": "sig"}


PUBLIC = {
    "keys": [
        public(RSA, "rsa", pyjwt.algorithms.RSAAlgorithm),
        public(ELLIPTIC, "ec", pyjwt.algorithms.ECAlgorithm),
        public(EDWARDS, "ed", pyjwt.algorithms.OKPAlgorithm),
    ]
}
MadeToken = Callable[..., str]


def config(**claims: Any) -> Config:
    access = AccessSettings(
        master_key=Secret(MASTER_KEY),
        jwt_enabled=True,
        jwt=JwtSettings(**claims),
        jwt_key_urls=(KEYS_URL,),
        jwt_audiences=("tollway",),
    )
    return Config(access=access)


class Small:
    """A gateway that takes tokens, and what is around it."""

    def __init__(self, gateway: SmallGateway) -> None:
        self.gateway = gateway
        self.issued = 0

    @property
    def fetches(self) -> int:
        return sum(request.path == "/keys" for request in self.gateway.upstream.requests)

    def token(self, key: Any = RSA, kid: str | None = "rsa", alg: str = "RS256", **claims: Any) -> str:
        now = int(self.gateway.clock.now())
        self.issued += 1
        given = {"sub": "ada", "aud": "tollway", "iat": now, "exp": now + 600, "jti": self.issued, **claims}
        headers = {} if kid is None else {"kid": kid}
        body = {name: value for name, value in given.items() if value is not None}
        return pyjwt.encode(body, key, algorithm=alg, headers=headers)

    async def ask(self, token: str, **asked: Any) -> Any:
        return await self.gateway.ask(key=token, **asked)

    async def people(self, *people: Team | User) -> None:
        for one in people:
            await (
                self.gateway.storage.people.teams if isinstance(one, Team) else self.gateway.storage.people.users
            ).create(one)  # type: ignore[arg-type]  # each to its own store
        await self.gateway.app.keys_changed()


OpenSmall = Callable[..., Any]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenSmall]:
    gateways = []

    async def open_small(given: Config | None = None) -> Small:
        models = (model_entry(), model_entry("large"))
        gateway = SmallGateway(tmp_path, models, config=given or config())
        gateway.upstream.reply_to("/v1/chat/completions", chat_reply())
        gateway.upstream.reply_to("/keys", FakeReply.json(PUBLIC))
        await gateway.__aenter__()
        gateways.append(gateway)
        return Small(gateway)

    yield open_small
    for gateway in gateways:
        await gateway.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("key", "kid", "alg"),
    [
        (RSA, "rsa", "RS256"),
        (RSA, "rsa", "PS512"),
        (RSA, None, "RS256"),
        (ELLIPTIC, "ec", "ES256"),
        (EDWARDS, "ed", "EdDSA"),
    ],
)
async def test_who_shows_a_good_token_is_answered_and_known(
    opened: OpenSmall, key: Any, kid: str | None, alg: str
) -> None:
    small = await opened()
    answer = await small.ask(small.token(key, kid, alg))
    assert answer.status == 200, answer.text
    (record,) = await small.gateway.records()
    assert (record.user_id, record.key_alias) == ("ada", "token:ada")


async def test_keys_are_fetched_once_for_many_tokens(opened: OpenSmall) -> None:
    small = await opened()
    for _ in range(5):
        assert (await small.ask(small.token())).status == 200
    assert small.fetches == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": OTHER_RSA}, "signature is not good"),
        ({"exp": 1}, "has expired"),
        ({"nbf": 9_999_999_999}, "not valid yet"),
        ({"aud": "another"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"exp": "soon"}, "is no time"),
    ],
)
async def test_a_token_that_is_not_good_is_refused_with_its_reason(opened: OpenSmall, changes: Any, said: str) -> None:
    small = await opened()
    token = _written(changes) if changes.get("exp") == "soon" else small.token(**changes)
    answer = await small.ask(token)
    assert answer.status == 401
    assert said in answer.json()["error"]["message"]
    assert token not in answer.text


def _written(changes: dict[str, Any]) -> str:
    """PyJWT checks what it writes."""
    claims = {"sub": "ada", "aud": "tollway", **changes}
    return pyjwt.api_jws.encode(json.dumps(claims).encode(), RSA, algorithm="RS256", headers={"kid": "rsa"})


async def test_a_token_signed_with_the_public_key_as_a_secret_opens_nothing(opened: OpenSmall) -> None:
    small = await opened()
    await small.ask(small.token())
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    import base64
    import hashlib
    import hmac

    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(b'{"sub":"ada","aud":"tollway"}').rstrip(b"=")
    mac = base64.urlsafe_b64encode(hmac.new(pem, head + b"." + body, hashlib.sha256).digest()).rstrip(b"=")
    answer = await small.ask((head + b"." + body + b"." + mac).decode())
    assert answer.status == 401
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=")
    assert (await small.ask((none + b"." + body + b".").decode())).status == 401


async def test_a_token_ends_when_it_says_so_though_it_was_seen_before(opened: OpenSmall) -> None:
    small = await opened()
    token = small.token()
    assert (await small.ask(token)).status == 200
    small.gateway.clock.advance(601)
    answer = await small.ask(token)
    assert answer.status == 401
    assert "expired" in answer.json()["error"]["message"]


async def test_a_key_that_is_not_known_is_asked_for_again_but_not_at_everybodys_will(opened: OpenSmall) -> None:
    small = await opened()
    assert (await small.ask(small.token())).status == 200
    new = {"keys": [*PUBLIC["keys"], public(OTHER_RSA, "new", pyjwt.algorithms.RSAAlgorithm)]}
    small.gateway.upstream.reply_to("/keys", FakeReply.json(new))
    assert (await small.ask(small.token(OTHER_RSA, "new"))).status == 401  # asked a moment ago
    assert small.fetches == 1
    small.gateway.clock.advance(11)
    assert (await small.ask(small.token(OTHER_RSA, "new"))).status == 200
    assert small.fetches == 2
    for number in range(5):
        assert (await small.ask(small.token(RSA, f"unknown-{number}"))).status == 401
    assert small.fetches == 2


async def test_without_its_keys_the_gateway_starts_and_says_what_is_missing(opened: OpenSmall) -> None:
    small = await opened()
    small.gateway.upstream.reply_to("/keys", FakeReply.json({"error": "down"}, status=500))
    answer = await small.ask(small.token())
    assert answer.status in (401, 503)
    assert (await small.gateway.ask()).status == 200  # the master key needs nobody


async def test_a_virtual_key_still_opens_and_a_text_that_is_neither_does_not(opened: OpenSmall) -> None:
    small = await opened()
    key = await small.gateway.make_key()
    assert (await small.ask(key)).status == 200
    assert (await small.ask("eyJ.not.a-token")).status == 401


async def test_a_tokens_calls_count_against_its_users_and_teams_budgets(opened: OpenSmall) -> None:
    small = await opened(config(team_claim="team"))
    await small.people(
        Team(id="red", limits=Limits(max_budget_nano=10_000_000)),
        User(id="ada", limits=Limits(max_budget_nano=5_000_000_000)),
    )
    token = small.token(team="red")
    statuses = [(await small.ask(token, max_tokens=250)).status for _ in range(15)]
    assert statuses.count(200) in (9, 10)
    assert set(statuses) == {200, 422}
    spent = small.gateway.app.ledger.accounts["team", "red"]
    assert spent.spent <= 10_000_000
    records = await small.gateway.records()
    assert {record.team_id for record in records} == {"red"}
    assert {scope for record in records for scope, *_ in record.charges} <= {"team", "global", "user"}
    await small.gateway.app.keys_changed()  # a new snapshot: nothing that is held or spent is forgotten
    assert (await small.ask(small.token(team="red"), max_tokens=250)).status == 422


async def test_of_several_teams_the_first_that_may_use_the_model_is_taken(opened: OpenSmall) -> None:
    small = await opened(config(teams_claim="realm.groups"))
    await small.people(Team(id="red", models=("small",)), Team(id="blue", models=("large",)))
    token = small.token(realm={"groups": ["unknown", "red", "blue"]})
    assert (await small.ask(token, model="large")).status == 200
    assert (await small.ask(token, model="small")).status == 200
    assert [record.team_id for record in await small.gateway.records()] == ["blue", "red"]
    chosen = await small.ask(token, model="large", headers={"x-litellm-team-id": "red"})
    assert chosen.status == 403
    refused = await small.ask(token, headers={"x-litellm-team-id": "green"})
    assert refused.status == 403


async def test_a_team_that_nobody_made_is_refused_or_made(opened: OpenSmall, tmp_path: Path) -> None:
    small = await opened(config(team_claim="team"))
    answer = await small.ask(small.token(team="new"))
    assert (answer.status, "'new'" in answer.json()["error"]["message"]) == (403, True)

    making = await opened(config(team_claim="team", makes_teams=True, makes_users=True, email_claim="email"))
    token = making.token(team="new", email="ada@example.com")
    assert (await making.ask(token)).status == 200
    for task in list(making.gateway.app.identities._making.values()):
        await task
    team = await making.gateway.storage.people.teams.get("new")
    assert [member.user_id for member in team.members] == ["ada"]
    user = await making.gateway.storage.people.users.get("ada")
    assert (user.email, user.role) == ("ada@example.com", "internal_user")


async def test_a_team_that_is_needed_and_not_named_refuses(opened: OpenSmall) -> None:
    small = await opened(config(teams_claim="groups", team_needed=True))
    assert (await small.ask(small.token())).status == 403


async def test_an_administrators_scope_manages_and_calls_no_model(opened: OpenSmall) -> None:
    small = await opened()
    token = small.token(scope="openid litellm_proxy_admin")
    made = await small.ask(
        token, path="/key/generate", body=b'{"key_alias": "by a token"}', headers={"content-type": "application/json"}
    )
    assert made.status == 200, made.text
    assert (await small.ask(token)).status == 403
    plain = await small.ask(small.token(), path="/team/new", body=b"{}", headers={"content-type": "application/json"})
    assert plain.status in (401, 403)


async def test_a_role_in_the_token_goes_before_the_users_own(opened: OpenSmall) -> None:
    rules = (("gateway-*", "proxy_admin"),)
    small = await opened(config(roles_claim="roles", role_patterns=rules, role_needed=True))
    made = await small.ask(small.token(roles=["gateway-owner"]), path="/team/list", method="GET", body=b"")
    assert made.status == 200
    assert (await small.ask(small.token(roles=["other"]))).status == 403


async def test_scopes_bound_models_and_routes(opened: OpenSmall) -> None:
    rights = (ScopeRights("small.use", ("small",), ("llm_api_routes",)), ScopeRights("nothing"))
    small = await opened(config(scopes=rights, scope_needed=True))
    assert (await small.ask(small.token(scope="small.use"), model="small")).status == 200
    assert (await small.ask(small.token(scope="small.use"), model="large")).status == 403
    assert (await small.ask(small.token(scope="nothing"), model="small")).status == 403
    assert (await small.ask(small.token(scope="other"), model="small")).status == 403


async def test_an_e_mail_of_another_domain_and_a_missing_role_are_refused(opened: OpenSmall) -> None:
    rules = {"email_claim": "email", "email_domain": "example.com", "user_roles_claim": "roles", "user_roles": ("dev",)}
    small = await opened(config(**rules))
    good = {"email": "ada@example.com", "roles": ["dev"]}
    assert (await small.ask(small.token(**good))).status == 200
    assert (await small.ask(small.token(**{**good, "email": "ada@example.com.evil.org"}))).status == 403
    assert (await small.ask(small.token(**{**good, "roles": ["user"]}))).status == 403


async def test_the_end_user_of_a_token_goes_before_the_bodys(opened: OpenSmall) -> None:
    small = await opened(config(end_user_claim="customer"))
    assert (await small.ask(small.token(customer="c-1"), user="somebody else")).status == 200
    assert [record.end_user for record in await small.gateway.records()] == ["c-1"]


async def test_each_issuer_has_its_own_keys_audience_and_claims(opened: OpenSmall) -> None:
    issuers = (
        JwtIssuer("https://one.example.com", KEYS_URL, ("first",)),
        JwtIssuer("https://two.example.com/", None, ("second",), {"user_claim": "login"}),
    )
    settings = config(issuers=issuers)
    small = await opened(
        Config(access=AccessSettings(master_key=Secret(MASTER_KEY), jwt_enabled=True, jwt=settings.access.jwt))
    )
    found = "/.well-known/openid-configuration"
    small.gateway.upstream.reply_to(found, FakeReply.json({"jwks_uri": "https://two.example.com/other-keys"}))
    others = {"keys": [public(OTHER_RSA, "rsa", pyjwt.algorithms.RSAAlgorithm)]}
    small.gateway.upstream.reply_to("/other-keys", FakeReply.json(others))
    small.gateway.clock.advance(11)
    one = small.token(iss="https://one.example.com", aud="first")
    two = small.token(OTHER_RSA, iss="https://two.example.com", aud=["x", "second"], login="bob")
    assert (await small.ask(one)).status == 200
    assert (await small.ask(two)).status == 200
    assert [record.user_id for record in await small.gateway.records()] == ["ada", "bob"]
    for iss, key, aud in (
        ("https://two.example.com", RSA, "second"),
        ("https://one.example.com", RSA, "second"),
        ("https://three.example.com", RSA, "first"),
    ):
        assert (await small.ask(small.token(key, iss=iss, aud=aud))).status == 401


async def test_models_are_listed_for_a_token(opened: OpenSmall) -> None:
    small = await opened(config(team_claim="team"))
    await small.people(Team(id="red", models=("large",)))
    answer = await small.ask(small.token(team="red"), path="/v1/models", method="GET", body=b"")
    assert [row["id"] for row in answer.json()["data"]] == ["large"]


# --- what a token must not be made to mean


async def test_a_role_in_a_token_is_the_tokens_and_stays_in_no_row(opened: OpenSmall) -> None:
    small = await opened(config(makes_users=True, roles_claim="roles", role_patterns=(("boss-*", "proxy_admin"),)))
    for claims in ({"scope": "litellm_proxy_admin"}, {"roles": ["boss-of-all"]}):
        name = "ada" if "scope" in claims else "bob"
        listed = {"path": "/user/list", "method": "GET", "body": b""}
        assert (await small.ask(small.token(sub=name, **claims), **listed)).status == 200
        for task in list(small.gateway.app.identities._making.values()):
            await task
        user = await small.gateway.storage.people.users.get(name)
        assert (user.id, user.role) == (name, "internal_user")
        await small.gateway.app.keys_changed()
        assert (await small.ask(small.token(sub=name), **listed)).status == 401


async def test_nobodys_token_is_the_one_behind_the_master_key(opened: OpenSmall) -> None:
    """Who is called that administrates every team that the master key made."""
    small = await opened(config(roles_claim="roles", roles=(("dev", "internal_user"),)))
    body = {"headers": {"content-type": "application/json"}}
    made = await small.gateway.ask(path="/team/new", body=b'{"team_id": "t"}', **body)
    assert made.status == 200
    token = small.token(sub="default_user_id", roles=["dev"])
    answer = await small.ask(token, path="/team/update", body=b'{"team_id": "t", "team_alias": "mine"}', **body)
    assert answer.status == 403
    assert "nobody" in answer.json()["error"]["message"]
    assert (await small.ask(token)).status == 403


async def test_a_team_that_is_blocked_pays_for_no_token_of_its_members(opened: OpenSmall) -> None:
    small = await opened(config(teams_claim="groups"))
    await small.people(Team(id="red", models=("small",)), Team(id="blue", models=("large",), blocked=True))
    token = small.token(groups=["red", "blue"])
    assert (await small.ask(token, model="small")).status == 200
    assert (await small.ask(token, model="large")).status == 403
    first = small.token(groups=["blue", "red"])
    assert (await small.ask(first, model="small")).status == 200
    alone = await small.ask(small.token(groups=["blue"]), model="large")
    assert (alone.status, "is blocked" in alone.json()["error"]["message"]) == (401, True)
    assert {record.team_id for record in await small.gateway.records() if not record.failed} == {"red"}


async def test_a_token_is_told_of_no_model_that_it_may_not_call(opened: OpenSmall) -> None:
    small = await opened(config(teams_claim="groups"))
    await small.people(Team(id="red", models=("small",)), Team(id="blue", models=("large",)))
    asked = {"method": "GET", "body": b""}
    for groups, names in ((["red"], {"small"}), (["blue"], {"large"}), (["red", "blue"], {"small", "large"})):
        token = small.token(groups=groups)
        answer = await small.ask(token, path="/model/info", **asked)
        assert {row["model_name"] for row in answer.json()["data"]} == names
        rehearsed = {"call_type": "completion", "request_body": {"model": "large", "messages": []}}
        answer = await small.ask(
            token,
            path="/utils/transform_request",
            body=json.dumps(rehearsed).encode(),
            headers={"content-type": "application/json"},
        )
        assert (answer.status == 200) is ("large" in names), answer.body
