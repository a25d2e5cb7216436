"""Where Redis is: LiteLLM has four places to say so. `coordination_redis` goes before `router_settings`, that before
`cache_params`, and the environment comes last (https://docs.litellm.ai/docs/proxy/config_settings, 2026-11-21).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import Config, RedisPlace
from tollway.config.values import NOT_GIVEN, Given, Kind, NotGiven, boolean, filled_secret, filled_text, whole_number

port = whole_number(1, 65_535)
database = whole_number(0, 1 << 20)
_PLACE: dict[str, Kind] = {
    "host": filled_text,
    "port": port,
    "db": database,
    "username": filled_text,
    "password": filled_secret,
    "ssl": boolean,
    "namespace": filled_text,
}
#: Kinds of caches that are in Redis.
_IN_REDIS = frozenset({"redis", "redis-semantic", "valkey-semantic"})
_MANY = frozenset({"startup_nodes", "redis_startup_nodes", "sentinel_nodes", "sentinel_password", "service_name"})


def url(given: Given) -> Secret | NotGiven:
    value = filled_secret(given)
    if not isinstance(value, NotGiven) and not value.reveal().startswith(("redis://", "rediss://", "unix://")):
        raise given.mistake("should begin with redis://, rediss:// or unix://")
    return value


def coordination_redis(given: Given) -> RedisPlace | NotGiven:
    """{"host": "10.0.0.5", "port": 6379, "password": ...} or {"url": "rediss://..."}."""
    fields = given.fields()
    for name, field in fields.items():
        if name in _MANY:
            field.warn("is not read: a cluster or sentinels are named by one address in Tollway")
        elif name not in _PLACE and name != "url":
            field.problem("is not known")
    return _place(fields)


def cache_params(given: Given) -> RedisPlace | NotGiven:
    """The Redis of LiteLLM's cache, which shares rate limits, too."""
    fields = given.fields()
    kind = fields["type"].read(filled_text) if "type" in fields else "redis"
    place = _place(fields) if kind in _IN_REDIS else NOT_GIVEN
    if isinstance(place, NotGiven):
        given.warn("is a LiteLLM setting that Tollway does not have yet; it has no effect")
    else:
        given.warn("only says where Redis is, by which rate limits are shared; answers are not cached")
    return place


def _place(fields: dict[str, Given]) -> RedisPlace | NotGiven:
    values: dict[str, Any] = {}
    for name, kind in (*_PLACE.items(), ("url", url)):
        if name in fields and (value := fields[name].read(kind)) is not NOT_GIVEN:
            values[name] = value
    return RedisPlace(**values) if "url" in values or "host" in values else NOT_GIVEN


def redis_place(config: Config) -> RedisPlace | None:
    """Where limits are shared; None where no Redis is named."""
    redis = config.redis
    if redis.coordination is not None:
        return redis.coordination
    written = RedisPlace(
        url=redis.url,
        host=redis.host,
        port=redis.port,
        db=redis.db,
        username=redis.username,
        password=redis.password,
        ssl=redis.ssl,
    )
    in_file = [name for name in ("url", "host") if getattr(redis, name) and not _from_environment(config, name)]
    if in_file:  # what the environment says of another place is not mixed in
        for name in ("url", "host"):
            if name not in in_file:
                written = replace(written, **{name: None})
        return written
    if redis.cache is not None:
        return redis.cache
    return written if redis.url or redis.host else None


def redis_is_from_environment(config: Config) -> bool:
    """Whether nothing but variables names a Redis: they may be another program's."""
    redis = config.redis
    return (
        redis.coordination is None
        and redis.cache is None
        and all(getattr(redis, name) is None or _from_environment(config, name) for name in ("url", "host"))
    )


def _from_environment(config: Config, name: str) -> bool:
    return config.sources.get(f"redis.{name}", "").startswith("environment")
