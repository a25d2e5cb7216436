"""Who is signed in to the dashboard: sessions in the storage, so that every worker knows them, here and on other hosts, and a
sign-out holds at once for all.

The cookie holds the session's id, 256 random bits; the storage holds digests alone, so that who reads it cannot sign in. A session
of the master key's belongs to the key and the password of its day: another one ends it. A user's is over as soon as the user is
gone, blocked, or has another password; what the user may do is looked up at each request. Whoever changes something with a cookie
also shows the session's token in a header, which no other site can read, from a page of this very host.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, msgpack

from tollway.admin import Office, Principal
from tollway.admin.border import us_of
from tollway.admin.dashboard.accounts import MASTER, Accounts, equal, may_enter
from tollway.admin.roles import INTERNAL_VIEWER, USER_ROLES
from tollway.downstream.addresses import client_address
from tollway.errors import Forbidden, Unauthenticated
from tollway.storage.people import User
from tollway.storage.sign_ins import Ticket

COOKIE = "tollway_session"
CSRF_HEADER = b"x-tollway-csrf"
SESSION_KIND = "session"
LINK_KIND = "link"
ID_BYTES = 32
SESSIONS_MAX = 10_000
IDLE_S_MAX = 12 * 3600
AGE_S_MAX = 7 * 24 * 3600
#: A session's last use is written down this often.
TOUCH_S = 60
LINKS_MAX = 100
LINK_S_MAX = 300
#: Of a header that somebody sends, this much is looked at.
COOKIE_CHARACTERS_MAX = 8_192
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Session(Struct, frozen=True):
    """`user` is None where the master key opened it."""

    id: str
    csrf: str
    user: User | None

    @property
    def principal(self) -> Principal:
        """Who asks: the same as with a key of the user's. A user without a role may look at what is his own."""
        if self.user is None:
            return Principal("master")
        role = self.user.role if self.user.role in USER_ROLES else INTERNAL_VIEWER
        return Principal("user", role=role or INTERNAL_VIEWER, user=self.user.id, models=self.user.models)


class _Kept(Struct, frozen=True):
    """`proof` is what the master key and the gateway's own password were, digested."""

    csrf: str
    proof: str


class Sessions:
    def __init__(self, office: Office) -> None:
        self._office = office
        self.accounts = Accounts(office)

    # --- asked by the gate

    async def of(self, scope: Any) -> Session | None:
        """The session whose cookie a request brings, if it is still good."""
        cookie = cookie_in(scope)
        if cookie is None:
            return None
        store, now_us = self._office.storage.sign_ins, us_of(self._office.now())
        ticket = await store.get(digest_of(cookie))
        if ticket is None or ticket.kind != SESSION_KIND:
            return None
        kept = msgpack.decode(ticket.detail, type=_Kept)
        user = None
        over = now_us >= ticket.ends_us or now_us - ticket.used_us > IDLE_S_MAX * 1_000_000
        if ticket.user_id == MASTER:
            over = over or not equal(kept.proof, self._proof())
        else:
            user = await self._office.storage.people.users.get(ticket.user_id)
            over = over or user is None or user.blocked or not may_enter(user, self._office.config.sign_in)
        if over:
            await store.take(ticket.digest)
            return None
        if now_us - ticket.used_us > TOUCH_S * 1_000_000:
            await store.touch(ticket.digest, now_us)
        return Session(cookie, kept.csrf, user)

    def check_write(self, scope: Any, session: Session) -> None:
        """Raises Forbidden for a change that the dashboard's own page did not ask for."""
        if scope["method"] in SAFE_METHODS:
            return
        self.check_own_page(scope)
        shown = dict(scope["headers"]).get(CSRF_HEADER, b"")
        if not hmac.compare_digest(shown, session.csrf.encode()):
            raise Forbidden("This page is out of date: reload it, then try again.", code="csrf")

    def check_own_page(self, scope: Any) -> None:
        """Raises Forbidden unless a browser says that a page of this host asks."""
        check_own_page(scope, self._office.config.sign_in.public_url)

    # --- signing in and out

    async def sign_in(self, scope: Any, user: str | None, password: str) -> Session:
        """A new session, under an id that nobody knew before. Raises Unauthenticated, RateLimited or Forbidden."""
        self.check_own_page(scope)
        return await self.begin(scope, await self.accounts.who(user, password, address=self.address_of(scope)))

    def address_of(self, scope: Any) -> str:
        """Whom failures are counted for."""
        return client_address(scope, forwarded=self._office.config.access.forwarded_for)

    async def make_link(self) -> str:
        """The token of a link that signs in as the master key does, once."""
        token = secrets.token_urlsafe(ID_BYTES)
        await self._keep(token, LINK_KIND, MASTER, lasts_s=LINK_S_MAX, idle_s=LINK_S_MAX, most=LINKS_MAX)
        return token

    async def sign_in_once(self, scope: Any, token: str) -> Session:
        """A new session for who opened a link. Raises Unauthenticated for one that was used or is too old, or Forbidden."""
        self.check_own_page(scope)
        store, digest = self._office.storage.sign_ins, digest_of(token)
        found = await store.get(digest)
        taken = await store.take(digest) if found is not None and found.kind == LINK_KIND else None
        if (
            taken is None
            or us_of(self._office.now()) >= taken.ends_us
            or not equal(msgpack.decode(taken.detail, type=_Kept).proof, self._proof())
        ):
            raise Unauthenticated("This link was used already or is too old. Ask for a new one.", code="link_used")
        return await self.begin(scope, MASTER)

    async def begin(self, scope: Any, user_id: str) -> Session:
        """A new session of somebody who was asked who he is."""
        await self.sign_out(scope)  # what was signed in under the old cookie is over
        new = secrets.token_urlsafe(ID_BYTES)
        kept = await self._keep(new, SESSION_KIND, user_id, lasts_s=AGE_S_MAX, idle_s=IDLE_S_MAX, most=SESSIONS_MAX)
        user = await self._office.storage.people.users.get(user_id) if user_id != MASTER else None
        return Session(new, kept.csrf, user)

    async def sign_out(self, scope: Any) -> None:
        cookie = cookie_in(scope)
        if cookie is None:
            return
        store, digest = self._office.storage.sign_ins, digest_of(cookie)
        found = await store.get(digest)
        if found is not None and found.kind == SESSION_KIND:
            await store.take(digest)

    async def _keep(self, text: str, kind: str, user_id: str, *, lasts_s: int, idle_s: int, most: int) -> _Kept:
        now_us = us_of(self._office.now())
        kept = _Kept(secrets.token_urlsafe(ID_BYTES), self._proof() if user_id == MASTER else "")
        ticket = Ticket(
            digest=digest_of(text),
            kind=kind,
            user_id=user_id,
            begun_us=now_us,
            used_us=now_us,
            ends_us=now_us + lasts_s * 1_000_000,
            detail=msgpack.encode(kept),
        )
        await self._office.storage.sign_ins.add(ticket, tickets_max=most, idle_us_max=idle_s * 1_000_000)
        return kept

    def _proof(self) -> str:
        access = self._office.config.access
        parts = (access.master_key, access.ui_username, access.ui_password)
        return sha256(
            b"\0".join(
                sha256((part if isinstance(part, str) else part.reveal() if part else "").encode()).digest()
                for part in parts
            )
        ).hexdigest()


def digest_of(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def cookie_of(session: Session, scope: Any) -> str:
    """The `set-cookie` of a new session."""
    return f"{COOKIE}={session.id}; Max-Age={AGE_S_MAX}; {_marks(scope)}"


def no_cookie(scope: Any) -> str:
    return f"{COOKIE}=; Max-Age=0; {_marks(scope)}"


def _marks(scope: Any) -> str:
    secure = "; Secure" if over_tls(scope) else ""
    return f"Path=/; HttpOnly; SameSite=Strict{secure}"


def own_url(scope: Any, public_url: str | None) -> str:
    """This gateway's address as people know it, like https://llm.example: the configured one, else the one that was asked."""
    if public_url is not None:
        return public_url
    headers = dict(scope["headers"])
    host = headers.get(b"x-forwarded-host", b"").split(b",")[0].strip() or headers.get(b"host", b"")
    return f"{'https' if over_tls(scope) else 'http'}://{host.decode('latin-1')}"


def over_tls(scope: Any) -> bool:
    forwarded = dict(scope["headers"]).get(b"x-forwarded-proto", b"")
    return bool(scope.get("scheme") == "https" or forwarded.split(b",")[0].strip() == b"https")


def cookie_in(scope: Any) -> str | None:
    return named_in(scope, COOKIE)


def named_in(scope: Any, cookie: str) -> str | None:
    """The value of the cookie of this name."""
    for name, value in scope["headers"]:
        if name == b"cookie" and len(value) <= COOKIE_CHARACTERS_MAX:
            for part in value.decode("latin-1").split(";"):
                key, _, held = part.strip().partition("=")
                if key == cookie and held:
                    return str(held)
    return None


def check_own_page(scope: Any, public_url: str | None = None) -> None:
    """Raises Forbidden unless a browser says that a page of this host asks, or of the address that people know it by."""
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        own = site == b"same-origin"
    else:
        host = _netloc(headers.get(b"origin", b""))
        known = {headers.get(b"host", b""), headers.get(b"x-forwarded-host", b""), _netloc((public_url or "").encode())}
        own = bool(host) and host in known
    if not own:
        raise Forbidden("Only the dashboard's own page may ask for this.", code="foreign_origin")


def _netloc(origin: bytes) -> bytes:
    try:
        return urlsplit(origin.decode("latin-1")).netloc.encode("latin-1")
    except ValueError:
        return b""
