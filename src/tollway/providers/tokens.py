"""Bearer tokens that expire: fetched with what an entry holds, shown on each request, renewed before they run out.

A `TokenSigner` serves a deployment; how its token is fetched is a provider's business. Sign-ins go through our own upstream;
what must read a file or ask the machine does so in a thread. One fetch runs at a time; a call waits only where there is no
token that is valid. What a sign-in says is ours alone: a client learns the word for it (`invalid_client`) and no more.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from tollway import __version__
from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError, UpstreamAccountError, UpstreamBroken, UpstreamError, UpstreamFailed
from tollway.upstream.wire import Deadlines, Origin, Tls, Upstream, WireRequest, trusting

#: A token that lasts no longer than this is renewed, or than a third of its life; for one that lasts no longer than that, or
#: a tenth, calls wait.
RENEW_S = 10 * 60.0
WAIT_S = 30.0
#: Taken for a token's life where nobody says it.
LIFE_S_OTHERWISE = 30 * 60.0
#: After a fetch that failed nobody asks again for so long: a wrong secret must not lock an account.
PAUSE_S = 2.0
#: Getting a token may take this long, all of it.
FETCH_S_MAX = 30.0
DEADLINES = Deadlines(connect_s=10.0, first_byte_s=20.0, idle_s=10.0, total_s=FETCH_S_MAX)
REPLY_BYTES_MAX = 1 << 20
TOKEN_CHARS_MAX = 32_768

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,60}")
_SHOWN = re.compile(r"[\x21-\x7e]+")


class Token(Struct, frozen=True):
    """What to show until `expires_s`, seconds of the epoch; `fetched_s` is when its life began."""

    text: Secret
    fetched_s: float
    expires_s: float

    @property
    def renew_at_s(self) -> float:
        return self.expires_s - min(RENEW_S, (self.expires_s - self.fetched_s) / 3)

    @property
    def wait_at_s(self) -> float:
        return self.expires_s - min(WAIT_S, (self.expires_s - self.fetched_s) / 10)


Fetch = Callable[[Upstream, float], Awaitable[Token]]


class TokenSigner:
    """Shows one bearer token of `who`'s and keeps it fresh. `fetch` is given the upstream and the time (seconds of the epoch);
    it raises UpstreamError.
    """

    def __init__(self, who: str, fetch: Fetch, *, wall: Callable[[], float] = time.time) -> None:
        self._who = who
        self._fetch = fetch
        self._wall = wall
        self._token: Token | None = None
        self._lines = b""
        self._renewing: asyncio.Task[None] | None = None
        self._failed: UpstreamError | None = None
        self._failed_at_s = 0.0

    async def prepare(self, upstream: Upstream) -> None:
        """Raises UpstreamAccountError where the sign-in refuses us, UpstreamFailed where no token comes in time."""
        now, token = self._wall(), self._token
        if token is not None and now < token.renew_at_s:
            return
        needed = token is None or now >= token.wait_at_s
        if self._renewing is None:
            if self._failed is not None and 0 <= now - self._failed_at_s < PAUSE_S:
                if needed:
                    raise copy(self._failed)
                return
            self._renewing = asyncio.get_running_loop().create_task(self._renew(upstream))
            self._renewing.add_done_callback(self._renewed)
        if needed:
            await asyncio.shield(self._renewing)

    def sign(self, request: WireRequest) -> None:
        request.head += self._lines

    async def _renew(self, upstream: Upstream) -> None:
        try:
            async with asyncio.timeout(FETCH_S_MAX):
                token = await self._fetch(upstream, self._wall())
        except TimeoutError as error:
            raise UpstreamFailed(
                f"The sign-in of {self._who} gave no token within {FETCH_S_MAX:.0f} s.", status=503
            ) from error
        self._lines = b"authorization: Bearer %b\r\n" % token.text.reveal().encode("ascii")
        self._token = token
        self._failed = None

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        error = None if task.cancelled() else task.exception()  # whoever waited has it
        if isinstance(error, UpstreamError):
            self._failed, self._failed_at_s = error, self._wall()


# --- asking for one ------------------------------------------------------------------------------------------------


def tls_of(entry: ModelEntry) -> Tls:
    """How the entry trusts servers: its sign-in is trusted alike."""
    return trusting(entry.ssl_verify, cert_file=entry.ssl_certificate, key_file=entry.ssl_key)


def form(
    url: str, fields: Mapping[str, str], headers: Sequence[tuple[str, str]] = (), tls: Tls | None = None
) -> WireRequest:
    """A POST of a form (https://www.rfc-editor.org/rfc/rfc6749, 4.4.2)."""
    typed = ("content-type", "application/x-www-form-urlencoded")
    return ask("POST", url, [typed, *headers], urlencode(fields).encode("ascii"), tls)


def ask(
    method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", tls: Tls | None = None
) -> WireRequest:
    """A request for a token. Raises ValueError for what is no address or no header."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a sign-in is at an http or https URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = {name.lower() for name, _ in headers}
    usual = [("user-agent", f"tollway/{__version__}"), ("accept", "application/json"), ("accept-encoding", "identity")]
    lines = [("host", parts.netloc.rpartition("@")[2]), *(pair for pair in usual if pair[0] not in given), *headers]
    head = "".join(f"{name}: {value.strip()}\r\n" for name, value in lines)
    text = f"{method} {target} HTTP/1.1\r\n{head}"
    if not text.isascii() or "\n" in text.replace("\r\n", "") or " " in target:
        raise ValueError("an address or a header of a sign-in holds what it cannot")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = Origin(parts.scheme, parts.hostname, port, tls or Tls())
    return WireRequest(origin, text.encode("ascii"), body, reply_bytes_max=REPLY_BYTES_MAX)


async def answer(upstream: Upstream, request: WireRequest, who: str) -> dict[str, Any]:
    """The JSON object that a sign-in answers. Raises UpstreamAccountError where it refuses us, else UpstreamError."""
    wire = await upstream.send(request, DEADLINES)
    try:
        body = wire.body or b""
        if wire.status in (408, 429) or wire.status >= 500:
            raise UpstreamFailed(f"The sign-in of {who} does not answer ({wire.status}).", status=503)
        said = _decoded(body)
        if wire.status >= 400 or (said is not None and isinstance(said.get("error"), str)):
            raise refused(who, word_in(said) or str(wire.status))
        if said is None:
            raise UpstreamBroken(f"The sign-in of {who} sent no JSON object.")
        return said
    finally:
        wire.close()


def token_in(said: Mapping[str, Any], now_s: float, who: str, *, field: str = "access_token") -> Token:
    """The token of an answer by OAuth (https://www.rfc-editor.org/rfc/rfc6749, 5.1). Raises UpstreamBroken."""
    lives = said.get("expires_in")
    try:
        life_s = float(lives) if isinstance(lives, int | float | str) and lives else LIFE_S_OTHERWISE
    except ValueError:
        life_s = LIFE_S_OTHERWISE
    return token(said.get(field), who, now_s, now_s + life_s if 0 < life_s < 1e9 else now_s + LIFE_S_OTHERWISE)


def token(text: Any, who: str, now_s: float, expires_s: float) -> Token:
    """Raises UpstreamBroken for what no header can hold."""
    if not isinstance(text, str) or len(text) > TOKEN_CHARS_MAX or not _SHOWN.fullmatch(text.strip()):
        raise UpstreamBroken(f"The sign-in of {who} gave no token.")
    return Token(Secret(text.strip()), now_s, expires_s)


def refused(who: str, why: str) -> UpstreamAccountError:
    return UpstreamAccountError(
        f"{who} gives this gateway no token for this model ({why}). An administrator must check its credentials.",
        retryable_by_client=False,
    )


def word_in(said: Mapping[str, Any] | None) -> str:
    """The one word for what is wrong, with Microsoft's own code: "invalid_client AADSTS7000215"; "" where there is none."""
    if said is None:
        return ""
    found = said.get("error") or said.get("errorCode") or said.get("code")
    word = found if isinstance(found, str) and _WORD.fullmatch(found) else ""
    described = said.get("error_description")
    code = re.search(r"\bAADSTS\d{1,9}\b", described) if isinstance(described, str) else None
    return f"{word} {code[0]}".strip() if code else word


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


# --- what is written -----------------------------------------------------------------------------------------------


def setting(entry: ModelEntry, name: str) -> str:
    """A setting of the entry's as text, whether it is a secret or not; "" where it is not there."""
    value = entry.provider_params.get(name)
    return (value.reveal() if isinstance(value, Secret) else "" if value is None else str(value)).strip()


def has_own_authorization(entry: ModelEntry) -> bool:
    """`extra_headers` show a token already."""
    return "authorization" in {name.lower() for name in entry.extra_headers}


def checked_url(provider: str, entry: ModelEntry, name: str, url: str) -> str:
    """A sign-in's address without its end slash. Raises ConfigError, naming the setting."""
    bare = url.strip().rstrip("/")
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", bare):
        place = f"{entry.place}: " if entry.place else ""
        raise ConfigError([f"{place}{provider}: {name} is no URL; write it like https://host/path"])
    return bare
