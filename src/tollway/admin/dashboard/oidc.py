"""OpenID Connect: how a provider is asked who somebody is, and how its answer is checked.

Authorization code flow with PKCE, state and nonce (https://openid.net/specs/openid-connect-core-1_0.html, 3.1; 2026-11-22). Where
the provider's issuer is known, the ID token's signature, issuer, audience, times, nonce and access token are checked with the
provider's published keys. Where only endpoints are configured, as LiteLLM has it, its claims come from the userinfo endpoint alone,
asked with a token that came straight from the token endpoint; an ID token beside it must agree.

What Authlib and its JOSE library do is theirs; the bytes travel through our own upstream. They are loaded with the first sign-in.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import DecodeError, Struct, json

from tollway.calls import Secret
from tollway.config.settings import NetworkSettings, SignInSettings
from tollway.config.sign_in import ROLES
from tollway.errors import UpstreamError
from tollway.openid import ALGORITHMS, DISCOVERY, claim
from tollway.providers.tokens import answer, ask
from tollway.upstream.wire import Upstream, WireRequest, trusting

GOOGLE_ISSUER = "https://accounts.google.com"
MICROSOFT_ISSUER = "https://login.microsoftonline.com/{tenant}/v2.0"
#: Tenants of Microsoft's that anybody can be in: an e-mail address or a role that they tell says nothing.
OPEN_TENANTS = frozenset({"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"})
#: What a provider publishes about itself is believed for so long; keys that are not known are looked for again, not oftener than
#: once in `KEYS_AGAIN_S`.
METADATA_S_MAX = 3600
KEYS_AGAIN_S = 60
#: A provider that could not be read is left alone for so long: strangers must not make us ask it all the time.
PAUSE_S = 5
LEEWAY_S = 60
CLAIM_CHARACTERS_MAX = 512


class SignInFailed(Exception):
    """Somebody is not signed in. `code` is what the page tells about; the message is for the gateway's own log."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Provider(Struct, frozen=True, kw_only=True):
    """Attributes are names of claims. `trusts_email`: nobody can have an address there that is not his."""

    name: str
    label: str
    client_id: str
    client_secret: Secret | None = None
    issuer: str | None = None
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    scope: str = "openid email profile"
    secret_in_body: bool = False
    pkce: bool = True
    id_attribute: str = "sub"
    email_attribute: str = "email"
    name_attribute: str = "name"
    role_attribute: str | None = None
    group_claim: str | None = None
    role_groups: dict[str, tuple[str, ...]] = {}
    role_otherwise: str | None = None
    trusts_email: bool = True


class Person(Struct, frozen=True, kw_only=True):
    """Who was signed in, as the provider says. `subject` is what it knows him by for ever. `email` is None where nobody checked
    that it is his; `role` is None where it says none."""

    id: str
    subject: str
    email: str | None
    name: str | None
    role: str | None


class Attempt(Struct, frozen=True):
    """What is remembered between the way there and the way back; `to` is where the page goes on."""

    provider: str
    state: str
    nonce: str
    verifier: str
    ends_s: float
    to: str


class _Metadata(Struct):
    """What a provider publishes. `keys` is None until they are needed."""

    said: dict[str, Any]
    read_s: float
    keys: dict[str, Any] | None = None
    keys_s: float = 0.0


def providers_of(settings: SignInSettings) -> dict[str, Provider]:
    """Those that are configured, by name."""
    found: dict[str, Provider] = {}
    if settings.google_client_id:
        found["google"] = Provider(
            name="google",
            label="Google",
            client_id=settings.google_client_id,
            client_secret=settings.google_client_secret,
            issuer=GOOGLE_ISSUER,
        )
    if settings.microsoft_client_id:
        tenant = settings.microsoft_tenant or "common"
        found["microsoft"] = Provider(
            name="microsoft",
            label="Microsoft",
            client_id=settings.microsoft_client_id,
            client_secret=settings.microsoft_client_secret,
            issuer=MICROSOFT_ISSUER.format(tenant=tenant),
            id_attribute="oid",
            # Of an open tenant, whoever administrates his own gives himself any role.
            role_attribute="roles" if tenant not in OPEN_TENANTS else None,
            trusts_email=tenant not in OPEN_TENANTS,
        )
    if settings.generic_client_id and (settings.generic_issuer or settings.generic_authorization_endpoint):
        found["generic"] = Provider(
            name="generic",
            label="SSO",
            client_id=settings.generic_client_id,
            client_secret=settings.generic_client_secret,
            issuer=settings.generic_issuer,
            authorization_endpoint=settings.generic_authorization_endpoint,
            token_endpoint=settings.generic_token_endpoint,
            userinfo_endpoint=settings.generic_userinfo_endpoint,
            scope=settings.generic_scope,
            secret_in_body=settings.generic_include_client_id,
            pkce=settings.generic_pkce,
            id_attribute=settings.generic_id_attribute,
            email_attribute=settings.generic_email_attribute,
            name_attribute=settings.generic_name_attribute,
            role_attribute=settings.generic_role_attribute,
            group_claim=settings.generic_group_claim,
            role_groups=settings.generic_role_groups,
            role_otherwise=settings.generic_role_otherwise,
        )
    return found


class Client:
    """Asks providers. Owns what they publish about themselves, for a while. Every function raises SignInFailed."""

    def __init__(self, upstream: Upstream, network: NetworkSettings) -> None:
        self._upstream = upstream
        self._tls = trusting(network.ssl_verify)
        self._known: dict[str, _Metadata] = {}
        self._failed: dict[str, tuple[float, SignInFailed]] = {}

    async def start(
        self, provider: Provider, redirect_uri: str, *, now_s: float, lasts_s: float, to: str
    ) -> tuple[str, Attempt]:
        """Where to send the browser, and what to remember of it."""
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        attempt = Attempt(
            provider.name,
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
            now_s + lasts_s,
            to,
        )
        more = {"nonce": attempt.nonce}
        if provider.pkce:
            more |= {
                "code_challenge": create_s256_code_challenge(attempt.verifier),
                "code_challenge_method": "S256",
            }
        address = await self._endpoint(provider, "authorization_endpoint", now_s)
        url = prepare_grant_uri(
            address, provider.client_id, "code", redirect_uri, provider.scope, attempt.state, **more
        )
        return str(url), attempt

    async def finish(
        self, provider: Provider, code: str, issuer: str | None, attempt: Attempt, redirect_uri: str, *, now_s: float
    ) -> Person:
        """Who came back with this code; `issuer` is who says that it gave it (https://www.rfc-editor.org/rfc/rfc9207)."""
        if issuer is not None and provider.issuer is not None:
            issued = (await self._metadata(provider, now_s)).said["issuer"]
            if issuer != issued:
                raise SignInFailed("failed", f"{provider.name}: the code is of {issuer!r}")
        tokens = await self._tokens(provider, code, attempt, redirect_uri, now_s)
        access, id_token = tokens.get("access_token"), tokens.get("id_token")
        if not isinstance(access, str) or not access:
            raise SignInFailed("failed", f"{provider.name} gave no access token")
        claims: dict[str, Any] = {}
        if provider.issuer is not None:
            if not isinstance(id_token, str):
                raise SignInFailed("failed", f"{provider.name} gave no ID token; its scope must have `openid`")
            claims = await self._checked(provider, id_token, access, attempt.nonce, now_s)
        wanted = claims.get(provider.id_attribute) is None or claims.get(provider.email_attribute) is None
        if wanted or provider.name == "generic":
            more = await self._userinfo(provider, access, now_s, needed=provider.issuer is None)
            if claims and more and more.get("sub") != claims["sub"]:
                raise SignInFailed("failed", f"{provider.name} tells of another user than it signed in")
            if provider.issuer is None and isinstance(id_token, str):
                _agrees(id_token, more, provider, attempt.nonce)
            claims = {**more, **claims}
        return person_of(provider, claims)

    async def _tokens(
        self, provider: Provider, code: str, attempt: Attempt, redirect_uri: str, now_s: float
    ) -> dict[str, Any]:
        from authlib.oauth2.auth import ClientAuth
        from authlib.oauth2.rfc6749.parameters import prepare_token_request

        more = {"code_verifier": attempt.verifier} if provider.pkce else {}
        body = prepare_token_request("authorization_code", code=code, redirect_uri=redirect_uri, **more)
        address = await self._endpoint(provider, "token_endpoint", now_s)
        method = "none" if provider.client_secret is None else await self._auth_method(provider, now_s)
        secret = provider.client_secret.reveal() if provider.client_secret is not None else ""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        address, headers, body = ClientAuth(provider.client_id, secret, method).prepare("POST", address, headers, body)
        return await self._ask(provider, "POST", address, headers, body.encode())

    async def _auth_method(self, provider: Provider, now_s: float) -> str:
        if provider.secret_in_body:
            return "client_secret_post"
        if provider.issuer is not None:
            said = (await self._metadata(provider, now_s)).said.get("token_endpoint_auth_methods_supported")
            if isinstance(said, list) and "client_secret_basic" not in said and "client_secret_post" in said:
                return "client_secret_post"
        return "client_secret_basic"

    async def _userinfo(self, provider: Provider, access: str, now_s: float, *, needed: bool) -> dict[str, Any]:
        address = provider.userinfo_endpoint
        if address is None and provider.issuer is not None:
            address = (await self._metadata(provider, now_s)).said.get("userinfo_endpoint")
        if not isinstance(address, str):
            if needed:
                raise SignInFailed("failed", f"{provider.name}: nothing says where its userinfo endpoint is")
            return {}
        return await self._ask(provider, "GET", address, {"authorization": f"Bearer {access}"})

    async def _checked(
        self, provider: Provider, id_token: str, access: str, nonce: str, now_s: float
    ) -> dict[str, Any]:
        """The claims of an ID token that this provider made, for us, now, for this attempt."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        metadata = await self._metadata(provider, now_s)
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        for again in (False, True):
            keys = await self._keys(provider, metadata, now_s, again=again)
            try:
                token = jwt.decode(id_token, KeySet.import_key_set(keys), registry=registry)  # type: ignore[arg-type]  # a JWK set as published
                break
            except (JoseError, ValueError, KeyError, TypeError) as error:
                if again or now_s - metadata.keys_s < KEYS_AGAIN_S:
                    raise SignInFailed(
                        "failed", f"{provider.name}: its ID token's signature is no good: {error}"
                    ) from error
        issuer = str(metadata.said["issuer"]).replace("{tenantid}", str(token.claims.get("tid", "")))
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "values": [issuer]},
                "aud": {"essential": True, "values": [provider.client_id]},
            },
            {"nonce": nonce, "client_id": provider.client_id, "access_token": access},
        )
        try:
            claims.validate(now=int(now_s), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            raise SignInFailed("failed", f"{provider.name}: its ID token is no good: {error}") from error
        return dict(claims)

    async def _endpoint(self, provider: Provider, name: str, now_s: float) -> str:
        configured: str | None = getattr(provider, name)
        if configured is not None:
            return configured
        if provider.issuer is None:
            raise SignInFailed("failed", f"{provider.name}: nothing says where its {name} is")
        address = (await self._metadata(provider, now_s)).said.get(name)
        if not isinstance(address, str) or urlsplit(address).scheme not in ("http", "https"):
            raise SignInFailed("failed", f"{provider.name} does not say where its {name} is")
        return address

    async def _metadata(self, provider: Provider, now_s: float) -> _Metadata:
        """What the provider publishes (https://openid.net/specs/openid-connect-discovery-1_0.html, 4)."""
        assert provider.issuer is not None
        known = self._known.get(provider.issuer)
        if known is not None and now_s - known.read_s < METADATA_S_MAX:
            return known
        failed_s, failure = self._failed.get(provider.issuer, (0.0, None))
        if failure is not None and now_s - failed_s < PAUSE_S:
            raise SignInFailed(failure.code, str(failure))
        try:
            self._known[provider.issuer] = found = await self._published(provider, provider.issuer.rstrip("/"), now_s)
        except SignInFailed as error:
            self._failed[provider.issuer] = (now_s, error)
            raise
        return found

    async def _published(self, provider: Provider, issuer: str, now_s: float) -> _Metadata:
        said = await self._ask(provider, "GET", issuer + DISCOVERY)
        issued = said.get("issuer")
        # Microsoft answers for a tenant by its id, whatever name it was asked by; its own host says so.
        named = provider.name == "microsoft" and isinstance(issued, str) and _same_host(issued, issuer)
        if not isinstance(issued, str) or (issued.rstrip("/") != issuer and not named):
            raise SignInFailed("failed", f"{provider.name}: {issuer} says that its issuer is {issued!r}")
        return _Metadata(said, now_s)

    async def _keys(self, provider: Provider, metadata: _Metadata, now_s: float, *, again: bool) -> dict[str, Any]:
        if metadata.keys is None or again:
            address = metadata.said.get("jwks_uri")
            if not isinstance(address, str):
                raise SignInFailed("failed", f"{provider.name} publishes no keys")
            metadata.keys = await self._ask(provider, "GET", address)
            metadata.keys_s = now_s
        return metadata.keys

    async def _ask(
        self, provider: Provider, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> dict[str, Any]:
        try:
            request: WireRequest = ask(method, url, list((headers or {}).items()), body, self._tls)
            return await answer(self._upstream, request, provider.label)
        except (UpstreamError, ValueError) as error:
            raise SignInFailed("failed", f"{provider.name}: {error}") from error


def person_of(provider: Provider, claims: Mapping[str, Any]) -> Person:
    """Raises SignInFailed for claims that name nobody."""
    name = _text(claim(claims, provider.id_attribute)) or _text(claims.get("sub")) or _text(claims.get("id"))
    if name is None:
        raise SignInFailed("failed", f"{provider.name}: no claim {provider.id_attribute!r} says who was signed in")
    email = _text(claim(claims, provider.email_attribute))
    if provider.name == "microsoft":
        email = email or _text(claims.get("preferred_username"))
    checked = claims.get("email_verified", True) not in (False, "false") and provider.trusts_email
    return Person(
        id=name,
        subject=_text(claims.get("sub")) or name,
        email=email if checked and email is not None and "@" in email else None,
        name=_text(claim(claims, provider.name_attribute)),
        role=role_of(provider, claims),
    )


def role_of(provider: Provider, claims: Mapping[str, Any]) -> str | None:
    """The most that the claims say somebody may: by groups where those are configured, else by the role's own claim."""
    if provider.group_claim is not None and provider.role_groups:
        groups = _words(claim(claims, provider.group_claim))
        for role in ROLES:
            if groups & set(provider.role_groups.get(role, ())):
                return role
        return provider.role_otherwise
    said = _words(claim(claims, provider.role_attribute)) if provider.role_attribute is not None else set()
    return next((role for role in ROLES if role in said), provider.role_otherwise)


def _agrees(id_token: str, claims: Mapping[str, Any], provider: Provider, nonce: str) -> None:
    """An ID token that nobody's keys can check came straight from the token endpoint: at least it tells of the same sign-in."""
    try:
        part = id_token.split(".")[1]
        said = json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, Any])
    except (IndexError, DecodeError, binascii.Error, ValueError) as error:
        raise SignInFailed("failed", f"{provider.name}: its ID token cannot be read") from error
    audience = said.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if said.get("nonce", nonce) != nonce or provider.client_id not in audiences:
        raise SignInFailed("failed", f"{provider.name}: its ID token is of another sign-in")
    if "sub" in claims and said.get("sub") != claims["sub"]:
        raise SignInFailed("failed", f"{provider.name} tells of another user than it signed in")


def _same_host(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _words(value: Any) -> set[str]:
    return (
        {str(one) for one in value}
        if isinstance(value, (list, tuple))
        else {value}
        if isinstance(value, str)
        else set()
    )


def _text(value: Any) -> str | None:
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if 0 < len(text) <= CLAIM_CHARACTERS_MAX and "\0" not in text else None
