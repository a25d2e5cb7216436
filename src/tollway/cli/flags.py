"""What was typed to serve, and the Config it asks for.

Flags are one plain value, because workers read the same configuration again: they get the flags, not the Config, whose
secrets have no printable form.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.cli.refusal import MISUSED, Refused
from tollway.config import load, single_model
from tollway.config.settings import Config

#: How long calls in flight may run on after the gateway was asked to stop.
GRACEFUL_STOP_S_MAX = 30
#: What stands in the folder that `tollway` is typed in is served.
CONFIG_HERE = "config.yaml"


class Flags(Struct, frozen=True, kw_only=True):
    """The serving flags, after their environment variables. None: neither typed nor set."""

    model: str | None = None
    alias: str | None = None
    config: str | None = None
    host: str | None = None
    port: int | None = None
    workers: int = 1
    api_base: str | None = None
    api_version: str | None = None
    headers: str | None = None  # JSON
    temperature: float | None = None
    max_tokens: int | None = None
    request_timeout_s: float | None = None
    max_budget_usd: str | None = None  # an exact decimal
    drop_params: bool | None = None
    debug: bool = False
    detailed_debug: bool = False
    json_logs: bool = False
    log_config: str | None = None
    ssl_keyfile_path: str | None = None
    ssl_certfile_path: str | None = None
    ssl_ciphers: str | None = None
    keepalive_s: int = 75
    concurrency_max: int | None = None
    requests_max: int | None = None  # a worker that answered so many is replaced
    requests_jitter: int = 0


def read_config(flags: Flags) -> Config:
    """The configuration that the flags ask for: the file or the one model, with what was typed laid over it.

    Raises Refused for flags that do not go together, ConfigError for a configuration that cannot be obeyed.
    """
    from tollway.providers.registry import parameters, variables

    _refuse_contradictions(flags)
    typed = {
        "listen.host": flags.host,
        "listen.port": flags.port,
        "routing.timeout_s": flags.request_timeout_s,
        "money.max_budget_usd": flags.max_budget_usd,
        "params.drop_params": flags.drop_params,
        "logs.level": "DEBUG" if flags.detailed_debug else "INFO" if flags.debug else None,
        "logs.json": flags.json_logs or None,
    }
    overrides = {name: value for name, value in typed.items() if value is not None}
    if flags.model is None:
        return load(flags.config, overrides=overrides, provider_variables=variables(), provider_parameters=parameters())
    return single_model(
        flags.model,
        alias=flags.alias,
        api_base=flags.api_base,
        api_version=flags.api_version,
        headers=flags.headers,
        temperature=flags.temperature,
        max_tokens=flags.max_tokens,
        overrides=overrides,
        provider_variables=variables(),
    )


def config_here() -> str | None:
    """The file that is served in this folder where none is named."""
    return CONFIG_HERE if Path(CONFIG_HERE).is_file() else None


def with_master_key(config: Config, master_key: str | None) -> Config:
    """The configuration with the master key that was made for it, unless it brings its own by now."""
    if master_key is None or config.access.master_key is not None:
        return config
    return replace(config, access=replace(config.access, master_key=Secret(master_key), master_key_made=True))


def _refuse_contradictions(flags: Flags) -> None:
    if flags.model and flags.config:
        raise Refused("--model and --config exclude each other: the file names its models itself", exit_code=MISUSED)
    for_one_model = {
        "--alias": flags.alias,
        "--api_base": flags.api_base,
        "--api_version": flags.api_version,
        "--headers": flags.headers,
        "--temperature": flags.temperature,
        "--max_tokens": flags.max_tokens,
    }
    typed = [name for name, value in for_one_model.items() if value is not None]
    if typed and not flags.model:
        raise Refused(f"{typed[0]} goes with --model; in a config.yaml it is written at its model", exit_code=MISUSED)
    if bool(flags.ssl_keyfile_path) != bool(flags.ssl_certfile_path):
        raise Refused("--ssl_keyfile_path and --ssl_certfile_path are needed together", exit_code=MISUSED)
