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
    max_budget_usd: str | None = None
    budget_duration: str | None = None
    timeout_s: float | None = None
    stream_timeout_s: float | None = None
    retries: int | None = None
    cooldown_s: float | None = None
    tags: tuple[str, ...] = ()
    access_groups: tuple[str, ...] = ()
    drop_params: bool | None = None
    additional_drop_params: tuple[str, ...] = ()
    allowed_openai_params: tuple[str, ...] = ()
    anthropic_betas: tuple[str, ...] | None = None  # the beta flags that it knows; None: those of its provider
    lossless: bool | None = None  # `lossless: reject`
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


class ScopeRights(Struct, frozen=True):
    """What a token with this scope may ask for."""

    scope: str
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


class JwtIssuer(Struct, frozen=True):
    """An issuer of tokens with keys of its own; `claims` are fields of JwtSettings that are otherwise in its tokens."""

    issuer: str
    keys_url: str | None = None  # None: as its own /.well-known/openid-configuration says
    audiences: tuple[str, ...] = ()
    claims: dict[str, Any] = field(default_factory=dict)


class JwtSettings(Struct, frozen=True):
    """Signed tokens in the place of keys. Claims may be paths with dots; a claim that is None is not looked at."""

    admin_scope: str = "litellm_proxy_admin"
    admin_routes: tuple[str, ...] = ("management_routes", "info_routes")
    user_claim: str = "sub"
    email_claim: str | None = None
    email_domain: str | None = None
    user_roles_claim: str | None = None
    user_roles: tuple[str, ...] = ()  # a user needs one of these; empty: none
    makes_users: bool = False
    roles_claim: str | None = None
    roles: tuple[tuple[str, str], ...] = ()  # (what the claim says, role here)
    role_patterns: tuple[tuple[str, str], ...] = ()  # the same with * and ?
    role_needed: bool = False
    team_claim: str | None = None
    teams_claim: str | None = None
    team_alias_claim: str | None = None
    team_default: str | None = None
    team_routes: tuple[str, ...] = ("llm_api_routes", "info_routes")
    team_needed: bool = False
    makes_teams: bool = False
    organization_claim: str | None = None
    end_user_claim: str | None = None
    scopes: tuple[ScopeRights, ...] = ()
    scope_needed: bool = False
    keys_s_max: int = 600
    issuers: tuple[JwtIssuer, ...] = ()


class AccessSettings(Struct, frozen=True):
    master_key: Secret | None = None
    master_key_made: bool = False  # made by the gateway itself: then calls from this machine need no key
    weak_master_key_permitted: bool = False
    salt_key: Secret | None = None  # what secrets are sealed with that come through the API
    key_header_name: str | None = None
    public_routes: tuple[str, ...] = ()
    forwarded_for: bool = False  # a proxy in front says in `x-forwarded-for` whom it speaks for
    jwt_enabled: bool = False
    jwt: JwtSettings = JwtSettings()
    jwt_key_urls: tuple[str, ...] = ()
    jwt_audiences: tuple[str, ...] = ()  # empty: any
    jwt_issuer: str | None = None  # None: any
    jwt_leeway_s: float = 0.0
    ui_username: str | None = None  # for signing in to the dashboard; None: "admin"
    ui_password: Secret | None = None  # beside the master key, which always signs in


class SignInSettings(Struct, frozen=True):
    """Single sign-on to the dashboard. Attributes are names of claims; `generic_scope` words with spaces between them."""

    public_url: str | None = None  # how people reach the gateway; None: as they asked
    admin_id: str | None = None  # the user who is a proxy admin from the first sign-in on
    email_domains: tuple[str, ...] = ()  # empty: all
    admins_only: bool = False  # nobody else is let in to the dashboard
    sso_first: bool = False  # the page to sign in leads there by itself
    sso_alone: bool = False  # where it is configured, nobody signs in with a password
    default_user_params: dict[str, Any] = field(default_factory=dict)
    google_client_id: str | None = None
    google_client_secret: Secret | None = None
    microsoft_client_id: str | None = None
    microsoft_client_secret: Secret | None = None
    microsoft_tenant: str | None = None
    generic_client_id: str | None = None
    generic_client_secret: Secret | None = None
    generic_issuer: str | None = None
    generic_authorization_endpoint: str | None = None
    generic_token_endpoint: str | None = None
    generic_userinfo_endpoint: str | None = None
    generic_scope: str = "openid email profile"
    generic_include_client_id: bool = False  # in the body, where the token is asked for
    generic_pkce: bool = True
    generic_id_attribute: str = "preferred_username"
    generic_email_attribute: str = "email"
    generic_name_attribute: str = "name"
    generic_role_attribute: str = "role"
    generic_group_claim: str | None = None
    generic_role_groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    generic_role_otherwise: str | None = None


class CostMargin(Struct, frozen=True):
    """What is put on a provider's price: a share of it, and dollars for each call; decimals as exact strings."""

    share: str = "0"
    fixed_usd: str = "0"


class ProviderBudget(Struct, frozen=True):
    """What may be spent at one provider in a period."""

    limit_usd: str
    duration: str


class MoneySettings(Struct, frozen=True):
    """`max_budget_usd` is the whole gateway's; decimals as exact strings."""

    max_budget_usd: str | None = None
    budget_duration: str | None = None
    budget_exceeded_status: int = 422
    timezone: str = "UTC"
    budget_reset_time: str = "00:00"
    hold_wait_s_max: float = 10.0
    unleased_when_away: bool = False  # without the database calls go on beyond what is leased of their budgets
    output_tokens_floor: int = 256
    default_key_params: dict[str, Any] = field(default_factory=dict)
    upperbound_key_params: dict[str, Any] = field(default_factory=dict)
    cost_discounts: dict[str, str] = field(default_factory=dict)  # provider -> the share taken off
    cost_margins: dict[str, CostMargin] = field(default_factory=dict)  # provider, or "global" for all others
    provider_budgets: dict[str, ProviderBudget] = field(default_factory=dict)
    user_budget_on_team_keys: bool = False  # a user's own budget counts the calls of his keys in teams, too
    customer_budget_usd: str | None = None  # of each end user who has none of his own
    customer_budget_id: str | None = None  # the same, by a budget's name


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
    journal_mb_max: int = 4096  # of each worker
    journal_full: str = "refuse"  # "refuse" calls, or "serve" them without writing them down
    responses_mb_max: int = 1024  # of `/v1/responses`; 0: none are kept
    responses_days_max: int = 30
    audit_days_max: int = 730
    audit_rows_max: int = 1_000_000


class RedisPlace(Struct, frozen=True, kw_only=True):
    """Where Redis or Valkey is, and as whom it is asked. A `url` (redis://, rediss:// or unix://) goes before the rest."""

    url: Secret | None = None
    host: str | None = None
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: Secret | None = None
    ssl: bool = False
    namespace: str | None = None


class RedisSettings(Struct, frozen=True):
    """By which rate limits are shared: `config.redis.redis_place` says what of all this holds."""

    url: Secret | None = None
    host: str | None = None
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: Secret | None = None
    ssl: bool = False
    cache: RedisPlace | None = None  # `cache_params`
    coordination: RedisPlace | None = None  # `coordination_redis`
    hosts: int = 1  # how many share it at least
    refuse: bool = False  # calls of limited callers, while it does not answer


class ListenSettings(Struct, frozen=True):
    host: str | None = None  # None: everywhere with a strong master key, else this machine alone
    port: int = 4000  # 0: the system chooses


class ReloadSettings(Struct, frozen=True):
    watch: bool = True  # the files, and take up what changes in them


class BoundSettings(Struct, frozen=True):
    body_bytes_max: int = 64 << 20
    reply_bytes_max: int = 64 << 20
    head_bytes_max: int = 64 << 10
    head_s_max: float = 30.0
    body_idle_s_max: float = 60.0
    parallel_max: int | None = None  # `max_parallel_requests` of the whole gateway
    paced_tokens: str = "total"  # which tokens a `tpm_limit` counts: "total", "input" or "output"


class MediaFetch(Struct, frozen=True):
    """From which hosts media are fetched for providers that take no URLs, and how much of them for one call.

    A host stands as its name or address, with a port where it is not the usual one ("files.example.com", "10.0.0.5:8080"), or as a
    pattern for the names below one ("*.example.com"), which never means a private address.
    """

    allow_hosts: tuple[str, ...] = ()
    bytes_max: int = 20 << 20
    count_max: int = 20
    s_max: float = 20.0


class ParamSettings(Struct, frozen=True):
    drop_params: bool | None = None  # None: not written; Tollway then drops what a provider cannot take and says so
    modify_params: bool = False
    lossless: bool = False  # nothing of a call may be left out: it is refused instead
    media_fetch: MediaFetch = MediaFetch()


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
    sign_in: SignInSettings = SignInSettings()
    money: MoneySettings = MoneySettings()
    logs: LogSettings = LogSettings()
    storage: StorageSettings = StorageSettings()
    redis: RedisSettings = RedisSettings()
    listen: ListenSettings = ListenSettings()
    reload: ReloadSettings = ReloadSettings()
    bounds: BoundSettings = BoundSettings()
    params: ParamSettings = ParamSettings()
    network: NetworkSettings = NetworkSettings()
    environment: dict[str, Secret] = field(default_factory=dict)
    single_model: str | None = None
    config_path: str | None = None
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
