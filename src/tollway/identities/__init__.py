"""Signed tokens (JWT) in the place of keys: who they name, and what these may.

A token is verified once: who shows it again is found by its SHA-256, until it ends. Verifying takes some 40 us, with the public key
at hand; only a call whose token's key is not known waits for the network, bounded (see `signing_keys`).
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

from msgspec import DecodeError, Struct, json, structs

from tollway.config.settings import Config, JwtSettings
from tollway.errors import ExpiredKey, Forbidden, KeysMissing, StorageError, Unauthenticated, Unavailable
from tollway.identities.claims import Identity, identity_in
from tollway.identities.signing_keys import SigningKeys
from tollway.openid import ALGORITHMS, DISCOVERY
from tollway.snapshot import Bearer, Caller, Key
from tollway.storage import KeyRecord, Storage
from tollway.storage.people import EntityExists, Member, People, Team, User
from tollway.upstream.wire import Upstream, trusting

log = logging.getLogger("tollway")

TOKEN_BYTES_MAX = 32_768
#: Tokens, and those whom they name, that are kept; the one that was shown longest ago goes first.
TOKENS_MAX = 10_000
#: Of a token that never ends: it is verified anew after so long.
LIFE_S_OTHERWISE = 3_600.0
#: Keys that one token is checked by: who names none makes us try them all.
KEYS_TRIED_MAX = 10
KEY_NAME = "token"


class Verified(Struct, frozen=True):
    identity: Identity
    ends_at: float
    settings: JwtSettings


class _Issuer(Struct, frozen=True):
    """Whose tokens are taken, and by which rules. `name` "" stands for any."""

    name: str
    audiences: tuple[str, ...]
    keys: tuple[SigningKeys, ...]
    settings: JwtSettings


class Identities:
    """What is known of tokens; lives as long as the gateway. Raises Unavailable where the package `joserfc` is not installed."""

    def __init__(
        self,
        config: Config,
        upstream: Upstream,
        storage: Storage,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            from joserfc import jwk, jwt  # noqa: F401  a fourth of a second, and nobody waits for it later
        except ImportError as error:
            raise Unavailable(
                "enable_jwt_auth needs the package `joserfc`, which is not installed: pip install 'tollway[jwt]'."
            ) from error
        self._upstream = upstream
        self._storage = storage
        self._wall = wall
        self._monotonic = monotonic
        self._access = config.access
        self._tls = trusting(config.network.ssl_verify)
        self._rules_read = self._rules(config)
        self._sources: dict[str, SigningKeys] = {}
        self._issuers = self._read(config)
        self._tokens: dict[bytes, Verified] = {}
        self._making: dict[Identity, asyncio.Task[None]] = {}

    @staticmethod
    def _rules(config: Config) -> tuple[Any, ...]:
        access = config.access
        named = (access.jwt_key_urls, access.jwt_audiences, access.jwt_issuer, access.jwt_leeway_s)
        return (access.jwt_enabled, access.jwt, named, config.network)

    # --- who may sign

    def _read(self, config: Config) -> list[_Issuer]:
        access = config.access
        settings = access.jwt
        found = []
        for issuer in settings.issuers:
            own = structs.replace(settings, **issuer.claims) if issuer.claims else settings
            url = issuer.keys_url or issuer.issuer.rstrip("/") + DISCOVERY
            found.append(
                _Issuer(issuer.issuer, issuer.audiences or access.jwt_audiences, (self._source(url, own),), own)
            )
        urls = access.jwt_key_urls
        if urls or not found:
            if not urls and access.jwt_issuer is not None:
                urls = (access.jwt_issuer.rstrip("/") + DISCOVERY,)
            sources = tuple(self._source(url, settings) for url in urls)
            found.append(_Issuer(access.jwt_issuer or "", access.jwt_audiences, sources, settings))
        return found

    def _source(self, url: str, settings: JwtSettings) -> SigningKeys:
        if url not in self._sources:
            self._sources[url] = SigningKeys(
                url, self._upstream, tls=self._tls, s_max=settings.keys_s_max, monotonic=self._monotonic
            )
        return self._sources[url]

    def serves(self, config: Config) -> bool:
        """Whether a configuration asks for the same tokens and rules."""
        return self._rules(config) == self._rules_read

    def open(self) -> None:
        """Begins to fetch the keys; nobody waits."""
        for source in self._sources.values():
            source.renew()

    async def close(self) -> None:
        for source in self._sources.values():
            await source.close()
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    # --- tokens

    def known(self, digest: bytes, token: bytes) -> Verified:
        """Whom a token names. Raises Unauthenticated, ExpiredKey, Forbidden, or KeysMissing where `fetch` may help."""
        found = self._tokens.get(digest)
        now = self._wall()
        if found is None:
            found = self._verified(token, now)
            if len(self._tokens) >= TOKENS_MAX:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[digest] = found
        if now >= found.ends_at:
            del self._tokens[digest]
            return self.known(digest, token)  # it ended, or was to be looked at again
        return found

    async def fetch(self, token: bytes) -> None:
        """Waits for the keys of whoever says to have signed a token."""
        for issuer in self._issuers_of(_parts(token)[1]):
            await asyncio.gather(*(source.fetch() for source in issuer.keys))

    def recent(self) -> list[Verified]:
        """Those who were seen and whose tokens have not ended."""
        now = self._wall()
        return [one for one in self._tokens.values() if one.ends_at > now]

    def _verified(self, token: bytes, now: float) -> Verified:
        header, unverified = _parts(token)
        if header.get("alg") not in ALGORITHMS:
            raise Unauthenticated("The token is signed in a way that is not taken.")
        issuers = self._issuers_of(unverified)
        if not issuers:
            raise Unauthenticated("The token's issuer is not one that is known here.")
        kid = header.get("kid")
        kid = kid if isinstance(kid, str) else None
        missing = False
        for issuer in issuers:
            for source in issuer.keys:
                if source.stale:
                    source.renew()
                keys = source.with_id(kid)
                missing = missing or (not keys and source.may_ask)
                for key in keys[:KEYS_TRIED_MAX]:
                    claims = _claims(token, key)
                    if claims is not None:
                        return self._accepted(claims, issuer, now)
        if missing:
            raise KeysMissing("The public keys that tokens are checked by are being fetched. Try again in a moment.")
        raise Unauthenticated("The token's signature is not good.")

    def _issuers_of(self, claims: Mapping[str, Any]) -> list[_Issuer]:
        named = [
            one for one in self._issuers if one.name and one.name.rstrip("/") == str(claims.get("iss")).rstrip("/")
        ]
        return named or [one for one in self._issuers if not one.name]

    def _accepted(self, claims: Mapping[str, Any], issuer: _Issuer, now: float) -> Verified:
        leeway = self._access.jwt_leeway_s
        ends = _moment(claims, "exp")
        if ends is not None and now >= ends + leeway:
            raise ExpiredKey("The token has expired.")
        for name in ("nbf", "iat"):
            begins = _moment(claims, name)
            if begins is not None and now < begins - max(leeway, 60.0 if name == "iat" else 0.0):
                raise Unauthenticated("The token is not valid yet.")
        if issuer.audiences:
            said = claims.get("aud")
            for_whom = said if isinstance(said, list) else [said]
            if not any(one in issuer.audiences for one in for_whom):
                raise Unauthenticated("The token is for another audience.")
        identity = identity_in(claims, issuer.settings)
        return Verified(identity, now + LIFE_S_OTHERWISE if ends is None else ends + leeway, issuer.settings)

    # --- users and teams that nobody made

    def make_missing(self, found: Verified, people: People) -> None:
        """Makes the token's user and teams in the background, where the configuration says so."""
        identity, settings = found.identity, found.settings
        user = settings.makes_users and identity.user_id and identity.user_id not in people.users
        teams = settings.makes_teams and any(team not in people.teams for team in identity.teams)
        if (user or teams) and identity not in self._making and len(self._making) < TOKENS_MAX:
            task = asyncio.get_running_loop().create_task(self._make(found, people))
            self._making[identity] = task
            task.add_done_callback(lambda _: self._making.pop(identity, None))

    async def _make(self, found: Verified, people: People) -> None:
        identity, settings = found.identity, found.settings
        now_us = int(self._wall() * 1_000_000)
        try:
            if settings.makes_users and identity.user_id and identity.user_id not in people.users:
                user = User(
                    id=identity.user_id,
                    email=identity.email or None,
                    role="internal_user",  # what this token may, the next one of the same user's may not
                    created_us=now_us,
                    updated_us=now_us,
                )
                await _ignoring_twice(self._storage.people.users.create(user))
            for name in identity.teams if settings.makes_teams else ():
                if name not in people.teams:
                    members = (Member(user_id=identity.user_id),) if identity.user_id else ()
                    team = Team(id=name, members=members, created_us=now_us, updated_us=now_us)
                    await _ignoring_twice(self._storage.people.teams.create(team))
        except StorageError as error:
            log.warning("the user or team of a token was not made: %s", error)


class TokenCallers:
    """The identities as callers of one snapshot. `bind` is `Callers.unkept_key`."""

    def __init__(self, identities: Identities, people: People, bind: Callable[[KeyRecord], Key]) -> None:
        self._identities = identities
        self._people = people
        self._bind = bind
        self._callers: dict[tuple[Identity, str], Caller] = {}
        by_alias = {team.alias: name for name, team in people.teams.items() if team.alias}
        self._team_of_alias = by_alias
        for found in identities.recent():  # their accounts stay
            try:
                self._caller(found, "")
            except Forbidden:
                continue

    def caller(self, token: bytes, wanted_team: bytes | None) -> Caller:
        """Raises as `Identities.known`, and Forbidden for a team that is not the token's."""
        found = self._identities.known(sha256(token).digest(), token)
        self._identities.make_missing(found, self._people)
        return self._caller(found, wanted_team.decode("latin-1") if wanted_team else "")

    async def fetch(self, token: bytes) -> None:
        await self._identities.fetch(token)

    def _caller(self, found: Verified, wanted_team: str) -> Caller:
        at = (found.identity, wanted_team)
        caller = self._callers.get(at)
        if caller is None:
            if len(self._callers) >= TOKENS_MAX:
                del self._callers[next(iter(self._callers))]
            caller = self._callers[at] = self._made(found, wanted_team)
        return caller

    def _made(self, found: Verified, wanted_team: str) -> Caller:
        identity, settings = found.identity, found.settings
        named = [*identity.teams, *(self._team_of_alias.get(alias, alias) for alias in identity.team_aliases)]
        known = [team for team in dict.fromkeys(named) if team in self._people.teams]
        if wanted_team:
            if wanted_team not in known:
                raise Forbidden(f"The token is not one of the team {wanted_team!r}.")
            known = [wanted_team]
        if named and not known and settings.team_claim is not None and not settings.makes_teams:
            raise Forbidden(f"The token's team {named[0]!r} is not known here.")
        if settings.team_needed and not known and identity.role != "proxy_admin":
            raise Forbidden("The token names no team that is known here.")
        teams: list[str | None] = [*known] or [None]
        keys = [self._key(identity, team) for team in teams]
        keys = [key for key in keys if not key.closed] or keys  # a team that is blocked pays for nobody
        bearer = Bearer(end_user=identity.end_user, others=tuple(Caller("key", key) for key in keys[1:]))
        return Caller("key", keys[0], bearer if bearer.end_user or bearer.others else None)

    def _key(self, identity: Identity, team: str | None) -> Key:
        name = json.encode([identity.user_id, identity.email, team, identity.organization_id])
        fields = {"models": list(identity.models), "allowed_routes": list(identity.routes)}
        record = KeyRecord(
            token=sha256(b"token\0" + name).digest(),
            key_name=KEY_NAME,
            key_alias=f"token:{identity.label}",
            user_id=identity.user_id or None,
            team_id=team,
            organization_id=identity.organization_id or None,
            fields={field: value for field, value in fields.items() if value},
        )
        key = self._bind(record)
        if identity.role:
            key.role = identity.role
        return key


def _parts(token: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(header, claims), both not verified. Raises Unauthenticated."""
    from base64 import urlsafe_b64decode
    from binascii import Error

    try:
        if len(token) > TOKEN_BYTES_MAX:
            raise ValueError("too long")
        header, claims, _ = token.split(b".")
        read = [json.decode(urlsafe_b64decode(part + b"=" * (-len(part) % 4))) for part in (header, claims)]
    except (ValueError, Error, DecodeError) as error:
        raise Unauthenticated("The token cannot be read.") from error
    if not all(isinstance(one, dict) for one in read):
        raise Unauthenticated("The token cannot be read.")
    return read[0], read[1]


def _claims(token: bytes, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The claims of a token that this key signed, else None."""
    from joserfc import jwt
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jwk import import_key

    allowed = [key["alg"]] if key.get("alg") in ALGORITHMS else list(ALGORITHMS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # EdDSA has got a newer name; issuers write the old one
            claims: Mapping[str, Any] = jwt.decode(token.decode("ascii"), import_key(dict(key)), allowed).claims
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return claims


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unauthenticated(f"The token's {name!r} is no time.")
    return float(value)


async def _ignoring_twice(making: Any) -> None:
    with suppress(EntityExists):
        await making
