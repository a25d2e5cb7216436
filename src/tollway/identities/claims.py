"""What the claims of a verified token say of who asks; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct, structs

from tollway.config.settings import JwtSettings
from tollway.errors import Forbidden
from tollway.openid import claim

TEAM_ROLE = "team"
PROXY_ADMIN = "proxy_admin"
#: The one behind the master key, who administrates what that key made: nobody comes in by this name.
MASTER_USER = "default_user_id"
#: Teams of one token that are looked at.
TEAMS_MAX = 200
NAME_CHARACTERS_MAX = 512


class Identity(Struct, frozen=True):
    """Who a token names. `teams` are those he may act for, by id, `team_aliases` by alias. `role` "" means that of his user row.
    `models` and `routes` bound what he may ask for; empty: his user's and team's.
    """

    user_id: str = ""
    email: str = ""
    teams: tuple[str, ...] = ()
    team_aliases: tuple[str, ...] = ()
    organization_id: str = ""
    end_user: str = ""
    role: str = ""
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.email or self.user_id or (self.teams[0] if self.teams else "token")


def identity_in(claims: Mapping[str, Any], settings: JwtSettings) -> Identity:
    """Raises Forbidden for a token that may not come in."""
    scopes = _words(claims.get("scope", claims.get("scp")))
    user_id, email = _name(claims, settings.user_claim), _name(claims, settings.email_claim)
    if user_id == MASTER_USER:
        raise Forbidden(f"The token's user is {user_id!r}, which is nobody's name.")
    _check_user(claims, settings, email)
    identity = Identity(
        user_id=user_id,
        email=email,
        teams=_teams(claims, settings),
        team_aliases=tuple(filter(None, (_name(claims, settings.team_alias_claim),))),
        organization_id=_name(claims, settings.organization_claim),
        end_user=_name(claims, settings.end_user_claim),
    )
    if settings.admin_scope and settings.admin_scope in scopes:
        return structs.replace(identity, role=PROXY_ADMIN, routes=settings.admin_routes)
    role = _role(claims, settings)
    if not role and settings.role_needed:
        raise Forbidden("The token names no role that the gateway knows.")
    if role == TEAM_ROLE:  # the token is a team's own
        identity = structs.replace(identity, user_id="", routes=settings.team_routes)
        role = ""
    identity = structs.replace(identity, role=role)
    return _with_scopes(identity, scopes, settings)


def _check_user(claims: Mapping[str, Any], settings: JwtSettings, email: str) -> None:
    domain = settings.email_domain
    if domain is not None and email.rpartition("@")[2].lower() != domain.lower().removeprefix("@"):
        raise Forbidden(f"Only e-mail addresses of {domain} may come in.")
    if settings.user_roles:
        roles = _words(_at(claims, settings.user_roles_claim))
        if not any(role in settings.user_roles for role in roles):
            raise Forbidden(f"The token has none of the roles that may come in: {', '.join(settings.user_roles)}.")


def _teams(claims: Mapping[str, Any], settings: JwtSettings) -> tuple[str, ...]:
    found = [_name(claims, settings.team_claim), *_words(_at(claims, settings.teams_claim))]
    teams = tuple(dict.fromkeys(team for team in found if team))[:TEAMS_MAX]
    return teams or ((settings.team_default,) if settings.team_default is not None else ())


def _role(claims: Mapping[str, Any], settings: JwtSettings) -> str:
    """The first rule that fits; exact ones go before patterns."""
    said = _words(_at(claims, settings.roles_claim))
    for word, role in settings.roles:
        if word in said:
            return role
    for pattern, role in settings.role_patterns:
        if any(fnmatchcase(word, pattern) for word in said):
            return role
    return ""


def _with_scopes(identity: Identity, scopes: tuple[str, ...], settings: JwtSettings) -> Identity:
    """What its scopes open, where scopes open anything."""
    rights = [one for one in settings.scopes if one.scope in scopes]
    if not rights:
        if settings.scope_needed:
            raise Forbidden("The token has no scope that opens anything.")
        return identity
    if not settings.scope_needed:
        return identity
    return structs.replace(
        identity,
        models=tuple(dict.fromkeys(model for one in rights for model in one.models)) or ("no-default-models",),
        routes=tuple(dict.fromkeys(route for one in rights for route in one.routes)) or identity.routes,
    )


def _at(claims: Mapping[str, Any], path: str | None) -> Any:
    return claim(claims, path) if path else None


def _name(claims: Mapping[str, Any], path: str | None) -> str:
    value = _at(claims, path)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return str(value)[:NAME_CHARACTERS_MAX].replace("\0", "")


def _words(value: Any) -> tuple[str, ...]:
    """A claim of several words, as a list or with spaces between them."""
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(str(one) for one in value) if isinstance(value, list) else ()
