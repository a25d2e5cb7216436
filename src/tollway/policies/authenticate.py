"""Finds out who asks, from the request head alone: nobody unknown makes us read a body."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from tollway.calls import Call, Reply
from tollway.errors import ExpiredKey, Forbidden, Unauthenticated, UnknownKey
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
#: Headers that anything further on looks at; all others are skipped once, here.
LOOKED_AT = frozenset(
    {
        *KEY_HEADERS,
        b"anthropic-beta",
        b"anthropic-version",
        b"content-type",
        b"host",
        b"openai-beta",
        b"openai-organization",
        b"openai-project",
        b"origin",
        b"traceparent",
        b"user-agent",
        b"x-forwarded-for",
        b"x-litellm-customer-id",
        b"x-litellm-end-user-id",
        b"x-litellm-session-id",
        b"x-litellm-tags",
        b"x-litellm-timeout",
        b"x-session-id",
    }
)
INFO_ROUTES = ("/key/info", "/models", "/v1/models", "/model/info", "/v1/model/info")
#: What proxies add to the requests they pass on.
FORWARDED_BY = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def authenticate(next: Step, clock: Callable[[], float]) -> Step:
    """Sets `call.caller`. Raises Unauthenticated, UnknownKey, ExpiredKey or Forbidden. About 2 us."""

    async def step(call: Call) -> Reply:
        seen = call.client_headers
        for name, value in call.headers:
            if name in LOOKED_AT and name not in seen:
                seen[name] = value
        call.caller = caller = identify(seen, call.snapshot, call.scope)
        if caller.key is not None:
            check_usable(caller, call.path, clock())
        if (agent := seen.get(b"user-agent")) is not None:
            call.user_agent = agent[:200].decode("latin-1")
        return await next(call)

    return step


def identify(seen: dict[bytes, bytes], snapshot: Snapshot, scope: Any) -> Caller:
    """The caller that a request head names. Raises Unauthenticated or UnknownKey."""
    key = key_in(seen, snapshot.config.access.key_header_name, scope)
    if key is not None:
        digest = sha256(key).digest()
        known = snapshot.keys.get(digest)
        if known is not None:
            return known
        # Digests, not keys, are compared: how long that takes tells nothing of the key.
        if digest == snapshot.master_digest:
            return MASTER
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
    return None


def check_usable(caller: Caller, path: str, now: float) -> None:
    """Raises if the caller's key is blocked, expired or not for this path."""
    key = caller.key
    assert key is not None
    if key.blocked:
        raise Unauthenticated("Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.")
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


def _is_public(routes: tuple[str, ...], path: str) -> bool:
    """Whether the configuration opens this path to everybody. Management paths cannot be opened: the configuration refuses them."""
    return any(path == route or (route.endswith("*") and path.startswith(route[:-1])) for route in routes)


def _is_management(path: str) -> bool:
    return path.startswith(("/key/", "/user/", "/team/", "/spend/", "/global/", "/model/", "/budget/", "/customer/"))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
