"""Finds out who asks, from the request head alone: nobody unknown makes us read a body."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tollway.calls import Call, Reply
from tollway.errors import ExpiredKey, Forbidden, KeysMissing, Unauthenticated, UnknownKey
from tollway.policies import Step
from tollway.snapshot import ANONYMOUS, MASTER, Caller, Snapshot

#: Where a key may stand, the most telling first: every SDK has a header of its own.
KEY_HEADERS = (
    b"x-litellm-api-key",
    b"authorization",
    b"api-key",
    b"x-api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
)
#: Which of its teams a signed token acts for.
TEAM_HEADER = b"x-litellm-team-id"
#: Google's API takes the key in the query, too: its methods stand at the end of a path, all of it under its name.
GOOGLES_PATHS = re.compile(r":[A-Za-z]+$|^/(?:gemini|vertex[_-]ai|v1(?:alpha|beta1?)|v1/(?:models|projects)|models)/")
QUERY_FIELDS_MAX = 20
#: The digests of so short keys are remembered, a thousand at most: ours have 25 bytes.
KEY_BYTES_REMEMBERED_MAX = 128
#: LiteLLM's group of paths that tell a key of itself and of what is there.
INFO_ROUTES = frozenset(
    {
        *("/key/info", "/v2/key/info", "/key/list", "/key/health", "/user/info", "/v2/user/info", "/team/info"),
        *("/team/list", "/v2/team/list", "/team/available", "/organization/list", "/models", "/v1/models"),
        *("/model/info", "/v1/model/info", "/v2/model/info", "/model_group/info", "/health"),
    }
)
#: Paths that are no calls to models; tests hold them to the management API's table.
MANAGEMENT_PREFIXES = (
    *("/key/", "/v2/key/", "/user/", "/team/", "/v2/team/", "/organization/", "/customer/", "/end_user/", "/budget/"),
    *(
        "/tag/",
        "/spend/",
        "/global/",
        "/model/",
        "/provider/",
        "/audit",
        "/config/",
        "/credentials",
        "/tollway/",
        "/ui/",
        "/sso/",
        "/invitation/",
        "/health/",
    ),
)
#: What proxies add to the requests they pass on.
FORWARDED_BY = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def authenticate(next: Step, clock: Callable[[], float]) -> Step:
    """Sets `call.caller`. Raises Unauthenticated, UnknownKey, ExpiredKey, Forbidden or KeysMissing. About 2 us."""

    async def when_fetched(call: Call) -> Reply:
        await fetch_keys(call.client_headers, call.snapshot, call.scope)
        call.caller = caller = identify(call.client_headers, call.snapshot, call.scope)
        if caller.key is not None:
            check_usable(caller, call.path, clock())
        return await next(call)

    def step(call: Call) -> Awaitable[Reply]:
        seen = {name: value for name, value in call.headers}  # noqa: C416  compiled, this is half the time of `dict`
        call.client_headers = seen
        try:
            call.caller = caller = identify(seen, call.snapshot, call.scope)
        except KeysMissing:
            return when_fetched(call)
        if caller.key is not None:
            check_usable(caller, call.path, clock())
        return next(call)

    return step


async def fetch_keys(seen: dict[bytes, bytes], snapshot: Snapshot, scope: Any) -> None:
    """Waits, a bounded time, for what `identify` lacked when it raised KeysMissing."""
    token = key_in(seen, snapshot.config.access.key_header_name, scope)
    if token is not None and snapshot.bearers is not None:
        await snapshot.bearers.fetch(token)


def identify(seen: dict[bytes, bytes], snapshot: Snapshot, scope: Any) -> Caller:
    """The caller that a request head names. Raises Unauthenticated, UnknownKey, and for tokens what `Bearers.caller` does."""
    key = key_in(seen, snapshot.key_header_name, scope)
    if key is not None:
        digest = _digest(key) if len(key) <= KEY_BYTES_REMEMBERED_MAX else sha256(key).digest()
        known = snapshot.keys.get(digest)
        if known is not None:
            return known
        # Digests, not keys, are compared: how long that takes tells nothing of the key.
        if digest == snapshot.master_digest:
            return MASTER
        if snapshot.bearers is not None and key.startswith(b"ey") and key.count(b".") == 2:
            return snapshot.bearers.caller(key, seen.get(TEAM_HEADER))
    if snapshot.keyless and is_local(seen, scope):
        return ANONYMOUS
    public = snapshot.config.access.public_routes
    if public and _is_public(public, scope["path"]):
        return ANONYMOUS
    if key is None:
        raise Unauthenticated("Authentication Error, No api key passed in.")
    if not key.startswith(b"sk-"):
        raise Unauthenticated("Virtual Key expected. Received=****, expected to start with 'sk-'.")
    raise UnknownKey(
        f"Authentication Error, Invalid proxy server token passed. Key Hash (Token) ={sha256(key).hexdigest()}. "
        "Unable to find token in cache or `LiteLLM_VerificationTokenTable`",
        param="key",
    )


def key_in(seen: dict[bytes, bytes], own_header: str | None, scope: Any) -> bytes | None:
    if own_header is not None:
        wanted = own_header.lower().encode()
        for name, value in scope["headers"]:
            if name == wanted:
                return _bare(value)
    for name in KEY_HEADERS:
        value = seen.get(name)
        if value is not None:
            return _bare(value)
    query: bytes = scope.get("query_string", b"")
    if b"key=" in query and query.count(b"&") < QUERY_FIELDS_MAX and GOOGLES_PATHS.search(scope["path"]):
        named: list[bytes] = parse_qs(query).get(b"key", [])
        return named[0] if named else None
    return None


def check_usable(caller: Caller, path: str, now: float) -> None:
    """Raises if the caller's key is blocked (itself or its team), expired or not for this path."""
    key = caller.key
    assert key is not None
    if key.closed:
        raise Unauthenticated(f"Authentication Error, {key.closed}")
    if key.expires_at is not None and now >= key.expires_at:
        raise ExpiredKey(
            f"Authentication Error - Expired Key. Key Expiry time {_iso(key.expires_at)} and current time {_iso(now)}",
            param=key.record.key_name,
        )
    if key.allowed_routes and not _route_allowed(key.allowed_routes, path):
        raise Forbidden(
            f"Virtual key is not allowed to call this route. Only allowed to call routes: {list(key.allowed_routes)}. "
            f"Tried to call route: {path}"
        )


def is_local(seen: dict[bytes, bytes], scope: Any) -> bool:
    """Whether a request comes from this machine, meant for it, and not from a page of another site in a browser."""
    client = scope.get("client")
    if client is None or client[0] not in ("127.0.0.1", "::1"):
        return False
    if _host_of(seen.get(b"host", b"").decode("latin-1")) not in LOOPBACK:
        return False
    if not FORWARDED_BY.isdisjoint(name for name, _ in scope["headers"]):
        return False  # a proxy on this machine speaks for somebody who may be anywhere
    origin = seen.get(b"origin")
    return origin is None or _host_of(origin.decode("latin-1").partition("://")[2]) in LOOPBACK


def _host_of(value: str) -> str:
    try:
        return urlsplit("//" + value).hostname or ""
    except ValueError:
        return ""


def _bare(value: bytes) -> bytes:
    """The key in a header value: what follows `Bearer`, if that stands there."""
    if value[:7].lower() == b"bearer ":
        return value[7:].strip()
    if value.startswith(b"AWS4-HMAC-SHA256 Credential=Bearer "):
        return value[35:].split(b"/", 1)[0].split(b",", 1)[0].strip()
    if value[:6].lower() == b"basic ":
        return value[6:].strip()
    return value.strip()


def _route_allowed(allowed: tuple[str, ...], path: str) -> bool:
    groups = {
        "llm_api_routes": not _is_management(path),
        "management_routes": _is_management(path),
        "info_routes": path in INFO_ROUTES,
    }
    for route in allowed:
        if groups.get(route, False) or path == route or (route.endswith("*") and path.startswith(route[:-1])):
            return True
    return False


@lru_cache(maxsize=1024)
def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _is_public(routes: tuple[str, ...], path: str) -> bool:
    """Whether the configuration opens this path to everybody. Management paths cannot be opened: the configuration refuses them."""
    return any(path == route or (route.endswith("*") and path.startswith(route[:-1])) for route in routes)


def _is_management(path: str) -> bool:
    return path.startswith(MANAGEMENT_PREFIXES) or path == "/health"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
