"""The public keys of those who sign tokens, fetched when they are needed and kept for a while.

Nobody waits for a fetch but a call whose token's key is not known; a key that is not known is asked for again at most every
`RETRY_S`, whatever is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from tollway.errors import UpstreamError
from tollway.openid import DISCOVERY
from tollway.providers.tokens import answer, ask
from tollway.upstream.wire import Tls, Upstream

log = logging.getLogger("tollway")

RETRY_S = 10.0
FETCH_S_MAX = 10.0
KEYS_MAX = 200
WHO = "the issuer of tokens"


class SigningKeys:
    """The keys at one address, by their `kid`. An address that ends in DISCOVERY says where they are."""

    def __init__(self, url: str, upstream: Upstream, *, tls: Tls, s_max: float, monotonic: Callable[[], float]) -> None:
        self._url = url
        self._tls = tls
        self._upstream = upstream
        self._s_max = s_max
        self._monotonic = monotonic
        self._fetched_at = self._asked_at = -1e9
        self._fetching: asyncio.Task[None] | None = None
        self.keys: tuple[Mapping[str, Any], ...] = ()

    def with_id(self, kid: str | None) -> list[Mapping[str, Any]]:
        """The keys that a token with this `kid` may be signed by; one without may be signed by any."""
        return [key for key in self.keys if kid is None or key.get("kid") in (kid, None)]

    @property
    def stale(self) -> bool:
        return self._monotonic() - self._fetched_at > self._s_max

    @property
    def may_ask(self) -> bool:
        return self._fetching is not None or self._monotonic() - self._asked_at > RETRY_S

    def renew(self) -> None:
        """In the background, where it is time and nobody does."""
        if self._fetching is None and self.may_ask:
            self._asked_at = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)

    async def fetch(self) -> None:
        """Returns when they are here, or cannot be had."""
        self.renew()
        if self._fetching is not None:
            await asyncio.wait([self._fetching], timeout=FETCH_S_MAX)

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("the public keys at %s cannot be used: %s", self._url, error)

    async def _fetch(self) -> None:
        async with asyncio.timeout(FETCH_S_MAX):
            url = self._url
            if url.endswith(DISCOVERY):
                said = await answer(self._upstream, ask("GET", url, tls=self._tls), WHO)
                url = str(said.get("jwks_uri") or "")
                if not url.startswith(("https://", "http://")):
                    raise UpstreamError(f"{self._url} names no jwks_uri.")
            said = await answer(self._upstream, ask("GET", url, tls=self._tls), WHO)
        keys = said.get("keys")
        if not isinstance(keys, list):
            raise UpstreamError(f"{url} has no keys.")
        # Keys for encryption, and secrets, sign nothing here.
        self.keys = tuple(
            key
            for key in keys[:KEYS_MAX]
            if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use") in (None, "sig")
        )
        self._fetched_at = self._monotonic()
