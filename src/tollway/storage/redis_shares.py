"""The lessor of several hosts: limits are divided in Redis or Valkey, by one script and by its clock.

All keys carry one hash tag, so that they lie together in a cluster, and all of them expire.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from tollway import __version__
from tollway.config.settings import RedisPlace
from tollway.errors import ConfigError, StorageError
from tollway.storage.shares import LEASE_MS, RECALL_MS, WANTED_MS, Claim, Settled, Share

if TYPE_CHECKING:
    from redis.asyncio import Redis

SCRIPT = resources.files("tollway.storage").joinpath("shares.lua").read_text(encoding="utf-8")
#: What all keys begin with, where the configuration does not say otherwise.
NAMESPACE = "tollway"
#: A key that nobody touched for so long goes.
KEPT_MS = 300_000
CONNECT_S_MAX = 2.0


class RedisShares:
    """See `tollway.storage.shares.Lessor`. Connects when it is first asked, and again whenever it has to.

    Raises ConfigError when the `redis` package is not installed, or the URL is none.
    """

    def __init__(self, place: RedisPlace, *, recall_ms: int = RECALL_MS) -> None:
        try:
            from redis import __version__ as redis_version
            from redis import asyncio as redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.driver_info import DriverInfo
        except ImportError as error:
            raise ConfigError(["Redis is configured: pip install 'tollway[redis]'"]) from error
        # A call of ours that fails is told to the gateway at once, which knows better when to try again.
        how: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": CONNECT_S_MAX,
            "decode_responses": True,
            # Else each connection looks through the installed packages for a version.
            "driver_info": DriverInfo(lib_version=redis_version).add_upstream_driver("tollway", __version__),
        }
        self._redis: Redis
        if place.url is not None:
            try:
                self._redis = redis.Redis.from_url(place.url.reveal(), **how)
            except ValueError as error:
                raise ConfigError(["the URL of Redis should begin with redis://, rediss:// or unix://"]) from error
        else:
            password = place.password.reveal() if place.password is not None else None
            self._redis = redis.Redis(
                host=place.host or "localhost",
                port=place.port,
                db=place.db,
                username=place.username,
                password=password,
                ssl=place.ssl,
                **how,
            )
        about = self._redis.connection_pool.connection_kwargs
        self.described = f"Redis at {about.get('path') or '{host}:{port}'.format(**{'host': '', 'port': ''} | about)}"
        self._prefix = f"{place.namespace or NAMESPACE}:{{shares}}:"
        self._fresh = secrets.token_hex(8)
        self._recall_ms = recall_ms
        self._script = self._redis.register_script(SCRIPT)

    async def settle(
        self, process: str, sequence: int, memory: str, claims: Sequence[Claim], *, lease_ms: int = LEASE_MS
    ) -> Settled:
        from redis.exceptions import RedisError

        prefix = self._prefix
        keys = [prefix + "state", prefix + "processes", prefix + "wanted", f"{prefix}sequence:{process}"]
        keys += [f"{prefix}of:{claim.name}" for claim in claims]
        told: list[Any] = [process, sequence, memory, self._fresh, lease_ms, self._recall_ms, WANTED_MS, KEPT_MS]
        for claim in claims:
            told += (claim.name, claim.limit, claim.used, claim.share, claim.least, claim.wanted, claim.more)
            told += (claim.frees_ms, claim.window_ms)
        try:
            known, recalling, processes, wanted, answers = await self._script(keys=keys, args=told)
        except (RedisError, OSError) as error:
            raise StorageError(f"{type(error).__name__}: {error}") from error
        shares = [Share(*answers[i : i + 3]) for i in range(0, len(answers), 3)]
        if not memory or known != memory:
            self._fresh = secrets.token_hex(8)
        return Settled(shares, wanted, processes, known, bool(recalling))

    async def close(self) -> None:
        await self._redis.aclose()
