from __future__ import annotations

from pathlib import Path

import pytest

from tollway.calls import Secret
from tollway.config import Config, load
from tollway.config.redis import redis_is_from_environment, redis_place
from tollway.config.settings import RedisPlace
from tollway.errors import ConfigError


def read(path: Path, text: str, **environ: str) -> Config:
    (path / "config.yaml").write_text(text)
    return load(str(path / "config.yaml"), environ=environ)


ROUTER = "router_settings: {redis_host: router, redis_port: 1, redis_password: p}\n"
CACHE = "litellm_settings: {cache_params: {type: redis, host: cache, port: 2}}\n"
COORDINATION = "general_settings: {coordination_redis: {host: coordination, username: u}}\n"


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, None),
        ("", {"REDIS_PASSWORD": "p", "REDIS_PORT": "1"}, None),  # that is no place
        ("", {"REDIS_HOST": "h", "REDIS_SSL": "true"}, RedisPlace(host="h", ssl=True)),
        (ROUTER, {}, RedisPlace(host="router", port=1, password=Secret("p"))),
        (ROUTER, {"REDIS_URL": "redis://other"}, RedisPlace(host="router", port=1, password=Secret("p"))),
        ("router_settings: {redis_host: h}\n", {"REDIS_PASSWORD": "p"}, RedisPlace(host="h", password=Secret("p"))),
        (CACHE, {"REDIS_HOST": "other"}, RedisPlace(host="cache", port=2)),
        (CACHE + ROUTER, {}, RedisPlace(host="router", port=1, password=Secret("p"))),
        (CACHE + ROUTER + COORDINATION, {}, RedisPlace(host="coordination", username="u")),
        ("litellm_settings: {cache_params: {type: local}}\n", {}, None),
        ("litellm_settings: {cache_params: {type: redis}}\n", {"REDIS_HOST": "h"}, RedisPlace(host="h")),
    ],
)
def test_one_of_the_places_that_name_redis_wins(
    tmp_path: Path, text: str, environ: dict[str, str], expected: RedisPlace | None
) -> None:
    config = read(tmp_path, text, **environ)
    assert redis_place(config) == expected
    assert redis_is_from_environment(config) is (not text or "type: local" in text or "type: redis}" in text)


def test_what_a_cache_would_need_is_said_to_have_no_effect(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, CACHE).warnings
    assert warning.endswith(
        "cache_params only says where Redis is, by which rate limits are shared; answers are not cached"
    )
    (warning,) = read(tmp_path, "litellm_settings: {cache_params: {type: s3}}\n").warnings
    assert warning.endswith("cache_params is a LiteLLM setting that Tollway does not have yet; it has no effect")
    (warning,) = read(
        tmp_path, "general_settings: {coordination_redis: {host: h, startup_nodes: [{host: a}]}}\n"
    ).warnings
    assert "startup_nodes is not read" in warning


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("{coordination_redis: {hst: h}}", "coordination_redis.hst is not known"),
        ("{coordination_redis: {url: 'http://u:hidden@h'}}", "should begin with redis://, rediss:// or unix://"),
        ("{coordination_redis: {host: h, port: 0}}", "should be a whole number from 1 to 65535"),
    ],
)
def test_a_place_that_cannot_be_is_a_mistake_and_shows_no_password(tmp_path: Path, setting: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, f"general_settings: {setting}\n")
    assert problem in str(error.value)
    assert "hidden" not in str(error.value)
