"""What a provider's answer must be for somebody to be signed in, against a provider that lies; and whom claims mean."""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tollway.admin.dashboard.oidc import (
    KEYS_AGAIN_S,
    LEEWAY_S,
    METADATA_S_MAX,
    PAUSE_S,
    Attempt,
    Client,
    Person,
    Provider,
    SignInFailed,
    person_of,
    providers_of,
    role_of,
)
from tollway.calls import Secret
from tollway.config.settings import NetworkSettings, SignInSettings
from tollway.errors import UpstreamUnreachable
from tollway.testing.upstream import FakeReply, FakeRequest, FakeUpstream

NOW = 1_800_000_000.0
ISSUER = "https://id.example/main"
BACK = "https://llm.example/sso/callback"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"})
NEXT_KEY = RSAKey.generate_key(2048, {"kid": "two"})
GENERIC = Provider(
    name="generic", label="SSO", client_id="tollway", client_secret=Secret("s3cret"), issuer=ISSUER, id_attribute="sub"
)


class Lying:
    """A provider whose every word a test may change."""

    def __init__(self) -> None:
        self.upstream = FakeUpstream()
        self.client = Client(self.upstream, NetworkSettings())
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "userinfo_endpoint": f"{ISSUER}/me",
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.keys = [KEY]
        self.signed_with: Any = KEY
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {"sub": "ada", "email": "ada@example.com", "name": "Ada"}
        self.tokens: dict[str, Any] = {}
        self.id_token: str | None = None
        self.nonce = ""
        answers = {
            "/main/.well-known/openid-configuration": lambda _: FakeReply.json(self.metadata),
            "/main/keys": lambda _: FakeReply.json({"keys": [key.as_dict(private=False) for key in self.keys]}),
            "/main/me": lambda _: FakeReply.json(self.userinfo),
            "/main/token": self._token,
        }
        for path, answer in answers.items():
            self.upstream.reply_to(path, answer)

    def _token(self, _: FakeRequest) -> FakeReply:
        claims = {
            "iss": ISSUER,
            "sub": "ada",
            "aud": "tollway",
            "iat": int(NOW),
            "exp": int(NOW) + 300,
            "nonce": self.nonce,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        made = self.id_token or jwt.encode(self.header, claims, self.signed_with, algorithms=[self.header["alg"]])
        return FakeReply.json({"access_token": "access", "id_token": made, **self.tokens})

    async def begin(self, provider: Provider = GENERIC, now_s: float = NOW) -> tuple[str, Attempt]:
        url, attempt = await self.client.start(provider, BACK, now_s=now_s, lasts_s=600, to="/ui/")
        self.nonce = attempt.nonce
        return url, attempt

    async def sign_in(self, provider: Provider = GENERIC, *, now_s: float = NOW, iss: str | None = None) -> Person:
        _, attempt = await self.begin(provider, now_s)
        return await self.client.finish(provider, "the-code", iss, attempt, BACK, now_s=now_s)

    def asked(self, path: str) -> list[FakeRequest]:
        return [one for one in self.upstream.requests if one.path == path]


@pytest.fixture
def lying() -> Lying:
    return Lying()


async def test_an_honest_answer_says_who_was_signed_in(lying: Lying) -> None:
    person = await lying.sign_in(iss=ISSUER)
    assert person == Person(id="ada", subject="ada", email="ada@example.com", name="Ada", role=None)
    (asked,) = lying.asked("/main/token")
    fields = {name: value for name, (value,) in parse_qs(asked.body.decode()).items()}
    assert fields.pop("code_verifier")
    assert fields == {"grant_type": "authorization_code", "code": "the-code", "redirect_uri": BACK}
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"tollway:s3cret").decode()
    assert lying.asked("/main/me")[0].headers["authorization"] == "Bearer access"


async def test_the_verifier_is_the_one_whose_digest_was_sent(lying: Lying) -> None:
    from hashlib import sha256

    url, attempt = await lying.begin()
    (challenge,) = parse_qs(urlsplit(url).query)["code_challenge"]
    digest = base64.urlsafe_b64encode(sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
    assert challenge == digest
    assert attempt.verifier not in url


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": ["another-client", "third"]},
        {"aud": None},
        {"aud": ["tollway", "third"], "azp": "third"},
        {"exp": int(NOW) - LEEWAY_S - 1},
        {"exp": None},
        {"iat": int(NOW) + LEEWAY_S + 60},
        {"nbf": int(NOW) + LEEWAY_S + 60},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"sub": None},
        {"sub": "eve"},  # while the userinfo endpoint says ada
        {"at_hash": "of-another-token"},
    ],
    ids=str,
)
async def test_an_id_token_with_a_wrong_claim_signs_nobody_in(lying: Lying, claims: dict[str, Any]) -> None:
    lying.claims = claims
    with pytest.raises(SignInFailed):
        await lying.sign_in()


def unsigned(claims: dict[str, Any], alg: str = "none") -> str:
    parts = (msgspec.json.encode({"alg": alg, "kid": "one"}), msgspec.json.encode(claims), b"")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def signed_by(secret: bytes, claims: dict[str, Any]) -> str:
    """With a secret that both sides have."""
    text = unsigned(claims, "HS256")
    signature = hmac.digest(secret, text.rstrip(".").encode(), "sha256")
    return text + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


async def test_an_id_token_that_the_provider_did_not_sign_signs_nobody_in(lying: Lying) -> None:
    lying.signed_with = OTHER_KEY
    with pytest.raises(SignInFailed, match="signature"):
        await lying.sign_in()
    lying.signed_with = KEY
    await lying.sign_in()
    claims = {"iss": ISSUER, "sub": "ada", "aud": "tollway", "iat": int(NOW), "exp": int(NOW) + 300}
    claims |= {"nonce": lying.nonce}
    # By the client's secret, and by the published key as if that were one: what a symmetric algorithm would take.
    symmetric = [signed_by(secret, claims) for secret in (b"s3cret", KEY.as_pem(private=False))]
    for id_token in (*symmetric, unsigned(claims), "no.token", "x", "."):
        lying.id_token = id_token
        with pytest.raises(SignInFailed, match="signature"):
            await lying.sign_in()


async def test_a_provider_that_changed_its_keys_is_asked_for_them_again_but_not_all_the_time(lying: Lying) -> None:
    await lying.sign_in()
    lying.keys, lying.signed_with, lying.header = [NEXT_KEY], NEXT_KEY, {"alg": "RS256", "kid": "two"}
    with pytest.raises(SignInFailed):
        await lying.sign_in()
    assert len(lying.asked("/main/keys")) == 1
    assert (await lying.sign_in(now_s=NOW + KEYS_AGAIN_S)).id == "ada"
    assert len(lying.asked("/main/keys")) == 2


async def test_what_a_provider_publishes_is_read_once_an_hour(lying: Lying) -> None:
    for _ in range(3):
        await lying.sign_in()
    assert len(lying.asked("/main/.well-known/openid-configuration")) == 1
    await lying.begin(now_s=NOW + METADATA_S_MAX)
    assert len(lying.asked("/main/.well-known/openid-configuration")) == 2


async def test_a_provider_that_cannot_be_read_is_left_alone_for_a_while(lying: Lying) -> None:
    document = "/main/.well-known/openid-configuration"
    lying.upstream.reply_to(document, FakeReply.failing(UpstreamUnreachable("nobody answers")))
    for _ in range(10):
        with pytest.raises(SignInFailed, match="nobody answers"):
            await lying.begin()
    assert len(lying.asked(document)) == 1
    lying.upstream.reply_to(document, lambda _: FakeReply.json(lying.metadata))
    await lying.begin(now_s=NOW + PAUSE_S)
    assert len(lying.asked(document)) == 2


async def test_a_document_of_another_issuer_is_not_believed(lying: Lying) -> None:
    lying.metadata["issuer"] = "https://evil.example"
    with pytest.raises(SignInFailed, match="says that its issuer is"):
        await lying.begin()


async def test_a_code_that_another_issuer_gave_is_not_shown_to_this_one(lying: Lying) -> None:
    with pytest.raises(SignInFailed, match="the code is of"):
        await lying.sign_in(iss="https://evil.example")
    assert lying.asked("/main/token") == []


@pytest.mark.parametrize("tokens", [{"access_token": None}, {"access_token": ""}, {"id_token": None}, {"id_token": 5}])
async def test_an_answer_without_its_tokens_signs_nobody_in(lying: Lying, tokens: dict[str, Any]) -> None:
    lying.tokens = tokens
    with pytest.raises(SignInFailed):
        await lying.sign_in()


async def test_a_provider_that_is_away_or_says_no_is_said_so_without_secrets(lying: Lying) -> None:
    lying.upstream.reply_to("/main/token", FakeReply.json({"error": "invalid_grant"}, 400))
    with pytest.raises(SignInFailed, match="invalid_grant") as refused:
        await lying.sign_in()
    assert "s3cret" not in str(refused.value)
    assert "the-code" not in str(refused.value)
    lying.upstream.reply_to("/main/token", FakeReply.failing(UpstreamUnreachable("nobody answers")))
    with pytest.raises(SignInFailed):
        await lying.sign_in()


# --- LiteLLM's way: endpoints alone

ENDPOINTS = Provider(
    name="generic",
    label="SSO",
    client_id="tollway",
    client_secret=Secret("s3cret"),
    authorization_endpoint=f"{ISSUER}/auth",
    token_endpoint=f"{ISSUER}/token",
    userinfo_endpoint=f"{ISSUER}/me",
    id_attribute="preferred_username",
    secret_in_body=True,
)


async def test_with_endpoints_alone_the_userinfo_says_who_it_is(lying: Lying) -> None:
    lying.userinfo["preferred_username"] = "Ada L"
    person = await lying.sign_in(ENDPOINTS)
    assert (person.id, person.subject) == ("Ada L", "ada")
    (asked,) = lying.asked("/main/token")
    assert parse_qs(asked.body.decode())["client_secret"] == ["s3cret"]
    assert "authorization" not in asked.headers
    assert lying.asked("/main/.well-known/openid-configuration") == []


@pytest.mark.parametrize("claims", [{"nonce": "another"}, {"aud": "another"}, {"sub": "eve"}])
async def test_an_id_token_beside_it_must_be_of_the_same_sign_in(lying: Lying, claims: dict[str, Any]) -> None:
    lying.claims = claims
    with pytest.raises(SignInFailed):
        await lying.sign_in(ENDPOINTS)


async def test_without_an_id_token_the_userinfo_is_enough(lying: Lying) -> None:
    lying.tokens = {"id_token": None}
    assert (await lying.sign_in(ENDPOINTS)).subject == "ada"


# --- Google and Microsoft


def test_each_provider_is_there_when_it_is_configured() -> None:
    assert providers_of(SignInSettings()) == {}
    settings = SignInSettings(
        google_client_id="g",
        microsoft_client_id="m",
        microsoft_tenant="contoso.example",
        generic_client_id="x",
        generic_issuer=ISSUER,
    )
    found = providers_of(settings)
    assert list(found) == ["google", "microsoft", "generic"]
    assert found["google"].issuer == "https://accounts.google.com"
    assert found["microsoft"].issuer == "https://login.microsoftonline.com/contoso.example/v2.0"
    assert found["microsoft"].trusts_email
    assert providers_of(SignInSettings(generic_client_id="x")) == {}  # nothing says where it is


@pytest.mark.parametrize("tenant", [None, "common", "organizations"])
def test_an_address_that_anybodys_tenant_tells_is_not_believed(tenant: str | None) -> None:
    provider = providers_of(SignInSettings(microsoft_client_id="m", microsoft_tenant=tenant))["microsoft"]
    claims = {"sub": "s", "oid": "o", "email": "ceo@victim.example", "preferred_username": "ceo@victim.example"}
    assert person_of(provider, claims) == Person(id="o", subject="s", email=None, name=None, role=None)


async def test_microsofts_issuer_is_that_of_the_tenant_who_signed_in_whose_word_on_roles_counts_nothing() -> None:
    provider = providers_of(SignInSettings(microsoft_client_id="tollway", microsoft_tenant="organizations"))[
        "microsoft"
    ]
    lying, root = Lying(), "https://login.microsoftonline.com"
    lying.metadata |= {"issuer": f"{root}/{{tenantid}}/v2.0"}
    lying.upstream.reply_to(
        "/organizations/v2.0/.well-known/openid-configuration", lambda _: FakeReply.json(lying.metadata)
    )
    lying.claims = {
        "iss": f"{root}/t-1/v2.0",
        "tid": "t-1",
        "oid": "o-1",
        "email": "x@y.example",
        "roles": ["proxy_admin"],
    }
    person = await lying.sign_in(provider)
    assert (person.id, person.role, person.email) == ("o-1", None, None)
    lying.claims["tid"] = "t-2"
    with pytest.raises(SignInFailed):
        await lying.sign_in(provider)


async def test_microsoft_may_answer_for_a_tenants_name_with_its_id() -> None:
    provider = providers_of(SignInSettings(microsoft_client_id="tollway", microsoft_tenant="contoso.example"))[
        "microsoft"
    ]
    lying, issuer = Lying(), "https://login.microsoftonline.com/t-1/v2.0"
    lying.metadata |= {"issuer": issuer}
    lying.upstream.reply_to(
        "/contoso.example/v2.0/.well-known/openid-configuration", lambda _: FakeReply.json(lying.metadata)
    )
    lying.claims = {"iss": issuer, "tid": "t-1", "oid": "o-1", "email": "ada@contoso.example", "roles": ["proxy_admin"]}
    person = await lying.sign_in(provider)
    assert (person.email, person.role) == ("ada@contoso.example", "proxy_admin")


# --- whom claims mean


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"role": "internal_user"}, "internal_user"),
        ({"role": ["internal_user", "proxy_admin"]}, "proxy_admin"),
        ({"role": "root"}, None),
        ({"role": 5}, None),
        ({}, None),
    ],
)
def test_a_role_is_what_its_claim_says(claims: dict[str, Any], role: str | None) -> None:
    provider = providers_of(SignInSettings(generic_client_id="x", generic_issuer=ISSUER))["generic"]
    assert role_of(provider, claims) == role


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["people", "admins"], "proxy_admin"),
        ("people", "internal_user"),
        (["others"], "internal_user_viewer"),
        (None, "internal_user_viewer"),
    ],
)
def test_groups_mean_the_role_that_may_most(groups: Any, role: str) -> None:
    settings = SignInSettings(
        generic_client_id="x",
        generic_issuer=ISSUER,
        generic_group_claim="realm.groups",
        generic_role_groups={"internal_user": ("people",), "proxy_admin": ("admins",)},
        generic_role_otherwise="internal_user_viewer",
    )
    claims = {"realm": {"groups": groups}, "role": "proxy_admin"}  # groups count, where they are configured
    assert role_of(providers_of(settings)["generic"], claims) == role


@pytest.mark.parametrize("verified", [False, "false"])
def test_an_address_that_was_not_checked_is_nobodys(verified: Any) -> None:
    claims = {"sub": "s", "email": "ada@example.com", "email_verified": verified}
    assert person_of(GENERIC, claims).email is None
    assert person_of(GENERIC, {**claims, "email_verified": True}).email == "ada@example.com"


@pytest.mark.parametrize(
    "claims", [{}, {"sub": ""}, {"sub": "x" * 600}, {"sub": "a\0b"}, {"sub": True}, {"sub": ["a"]}]
)
def test_claims_that_name_nobody_sign_nobody_in(claims: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed):
        person_of(GENERIC, claims)
