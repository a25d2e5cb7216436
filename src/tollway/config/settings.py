"""The frozen result of reading a configuration: our words, every default filled in, every `os.environ/` resolved."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from tollway.calls import Secret


class ModelEntry(Struct, frozen=True):
    """One `model_list` entry: a deployment as it was written.

    `provider_model` is `litellm_params.model` as written ("openai/gpt-4o", "claude-opus-4-6", "openai/*").
    `defaults` are completion parameters that requests may override (temperature, max_tokens, user, ...).
    `prices` are price-map keys written in `litellm_params` or `model_info`; numbers kept as exact decimal strings.
    `about` is the rest of `model_info`.
    `provider_params` is what the provider needs besides key and address (`aws_region_name`, `vertex_project`,
    `organization`); never part of a request body. Secret ones are a Secret, a mapping among them as JSON.
    """

    model_name: str
    provider_model: str
    provider: str | None = None  # `custom_llm_provider`
    api_key: Secret | None = None
    api_base: str | None = None
    api_version: str | None = None
    id: str | None = None
    base_model: str | None = None
    mode: str | None = None
    weight: float | None = None
    order: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    parallel_max: int | None = None
    timeout_s: float | None = None
    stream_timeout_s: float | None = None
    retries: int | None = None
    cooldown_s: float | None = None
    tags: tuple[str, ...] = ()
    access_groups: tuple[str, ...] = ()
    drop_params: bool | None = None
    additional_drop_params: tuple[str, ...] = ()
    allowed_openai_params: tuple[str, ...] = ()
    extra_headers: dict[str, str] = field(default_factory=dict)
    extra_body: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    provider_params: dict[str, Any] = field(default_factory=dict)
    prices: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    unpriced_allowed: bool = False  # `unpriced: allow`
    blocked: bool = False
    ssl_verify: bool | str | None = None
    ssl_certificate: str | None = None
    ssl_key: str | None = None
    cache_control_injection_points: tuple[dict[str, Any], ...] = ()
    place: str = ""  # "config.yaml:12", for messages


class Alias(Struct, frozen=True):
    model: str
    hidden: bool = False


class RoutingSettings(Struct, frozen=True):
    strategy: str = "simple-shuffle"
    retries: int = 2
    retry_after_s_min: float = 0.0
    timeout_s: float = 6000.0
    stream_timeout_s: float | None = None
    allowed_fails: int = 3
    cooldown_s: float = 5.0
    cooldowns: bool = True
    fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # "*" stands for any model
    context_window_fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    content_policy_fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    default_fallbacks: tuple[str, ...] = ()
    fallbacks_max: int = 5
    aliases: dict[str, Alias] = field(default_factory=dict)


class AccessSettings(Struct, frozen=True):
    master_key: Secret | None = None
    master_key_made: bool = False  # made by the gateway itself: then calls from this machine need no key
    weak_master_key_permitted: bool = False
    key_header_name: str | None = None
    public_routes: tuple[str, ...] = ()


class MoneySettings(Struct, frozen=True):
    """`max_budget_usd` is the whole gateway's; decimals as exact strings."""

    max_budget_usd: str | None = None
    budget_duration: str | None = None
    budget_exceeded_status: int = 422
    timezone: str = "UTC"
    budget_reset_time: str = "00:00"
    hold_wait_s_max: float = 10.0
    output_tokens_floor: int = 256
    default_key_params: dict[str, Any] = field(default_factory=dict)
    upperbound_key_params: dict[str, Any] = field(default_factory=dict)


class LogSettings(Struct, frozen=True):
    store_bodies: bool = False
    bodies_mb_max: int = 1024
    bodies_days_max: int = 30
    spend_retention: str | None = None
    json: bool = False
    level: str = "INFO"
    turn_off_message_logging: bool = False


class StorageSettings(Struct, frozen=True):
    database_url: Secret | None = None  # None: a SQLite file beside the config
    data_dir: str | None = None
    journal_fsync: str = "interval"  # "never", "interval" (each drain) or "always"


class BoundSettings(Struct, frozen=True):
    body_bytes_max: int = 64 << 20
    reply_bytes_max: int = 64 << 20
    head_bytes_max: int = 64 << 10
    head_s_max: float = 30.0
    body_idle_s_max: float = 60.0
    parallel_max: int | None = None  # `max_parallel_requests` of the whole gateway


class ParamSettings(Struct, frozen=True):
    drop_params: bool | None = None  # None: not written; Tollway then drops what a provider cannot take and says so
    modify_params: bool = False


class NetworkSettings(Struct, frozen=True):
    ssl_verify: bool | str = True
    ssl_certificate: str | None = None
    ssl_key: str | None = None
    https_proxy: Secret | None = None
    http_proxy: Secret | None = None
    no_proxy: tuple[str, ...] = ()


class Config(Struct, frozen=True):
    """Everything that was asked for. `environment` holds provider variables by name: nobody else reads the environment.

    `warnings` are sentences for the person who starts the gateway: LiteLLM's settings that have no effect here yet, ...
    `single_model` is the name given with `--model` (its `--alias`, if there is one): any requested name then means it.
    `files` are the absolute paths that were read, `config_path` first. `sources` says where a value came from:
    {"routing.retries": "config.yaml:7", "access.master_key": "environment LITELLM_MASTER_KEY", "models[0].rpm": ...};
    what is not in it is a default.
    """

    models: tuple[ModelEntry, ...] = ()
    routing: RoutingSettings = RoutingSettings()
    access: AccessSettings = AccessSettings()
    money: MoneySettings = MoneySettings()
    logs: LogSettings = LogSettings()
    storage: StorageSettings = StorageSettings()
    bounds: BoundSettings = BoundSettings()
    params: ParamSettings = ParamSettings()
    network: NetworkSettings = NetworkSettings()
    environment: dict[str, Secret] = field(default_factory=dict)
    single_model: str | None = None
    config_path: str | None = None
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
