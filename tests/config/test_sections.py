from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config import Config
from tollway.config.sections import SECTIONS
from tollway.config.settings import Alias, CostMargin, JwtSettings, MediaFetch, ProviderBudget, RedisPlace

MODELS = "model_list: [{model_name: a, litellm_params: {model: openai/a}}, {model_name: b, litellm_params: {model: openai/b}}]\n"


def value_of(config: Config, field: str) -> Any:
    section, name = field.split(".")
    return getattr(getattr(config, section), name)


# fmt: off
SETTINGS = [
    # (section, key, written, field, value)
    ("litellm_settings", "drop_params", "true", "params.drop_params", True),
    ("litellm_settings", "drop_params", "false", "params.drop_params", False),
    ("litellm_settings", "modify_params", "true", "params.modify_params", True),
    ("litellm_settings", "num_retries", "3", "routing.retries", 3),
    ("litellm_settings", "num_retries", "'3'", "routing.retries", 3),
    ("litellm_settings", "num_retries", "0", "routing.retries", 0),
    ("litellm_settings", "request_timeout", "30.5", "routing.timeout_s", 30.5),
    ("litellm_settings", "allowed_fails", "7", "routing.allowed_fails", 7),
    ("litellm_settings", "max_fallbacks", "2", "routing.fallbacks_max", 2),
    ("litellm_settings", "fallbacks", "[{a: [b]}]", "routing.fallbacks", {"a": ("b",)}),
    ("litellm_settings", "default_fallbacks", "[b]", "routing.default_fallbacks", ("b",)),
    ("litellm_settings", "context_window_fallbacks", "[{a: [b]}]", "routing.context_window_fallbacks", {"a": ("b",)}),
    ("litellm_settings", "content_policy_fallbacks", "[{a: [b]}]", "routing.content_policy_fallbacks", {"a": ("b",)}),
    ("litellm_settings", "max_budget", "100.10", "money.max_budget_usd", "100.10"),
    ("litellm_settings", "max_budget", "1e3", "money.max_budget_usd", "1000"),
    ("litellm_settings", "cost_discount_config", "{openai: 0.05}", "money.cost_discounts", {"openai": "0.05"}),
    ("litellm_settings", "cost_margin_config", "{openai: 0.1, global: {percentage: 0.05, fixed_amount: 1e-3}}",
     "money.cost_margins", {"openai": CostMargin("0.1"), "global": CostMargin("0.05", "0.001")}),
    ("litellm_settings", "budget_duration", "monthly", "money.budget_duration", "monthly"),
    ("litellm_settings", "budget_exceeded_status_code", "402", "money.budget_exceeded_status", 402),
    ("litellm_settings", "timezone", "Europe/Berlin", "money.timezone", "Europe/Berlin"),
    ("litellm_settings", "budget_reset_time", "06:30", "money.budget_reset_time", "06:30"),
    ("litellm_settings", "budget_reset_time", "12:30", "money.budget_reset_time", "12:30"),  # 750 to YAML 1.1
    ("litellm_settings", "default_key_generate_params", "{max_budget: 5, duration: 30d}", "money.default_key_params",
     {"max_budget": 5, "duration": "30d"}),
    ("litellm_settings", "upperbound_key_generate_params", "{tpm_limit: 10}", "money.upperbound_key_params",
     {"tpm_limit": 10}),
    ("litellm_settings", "default_internal_user_params", "{user_role: internal_user}", "sign_in.default_user_params",
     {"user_role": "internal_user"}),
    ("litellm_settings", "cache_params", "{type: redis, host: h, port: 1, password: p, namespace: n, ttl: 60}",
     "redis.cache", RedisPlace(host="h", port=1, password=Secret("p"), namespace="n")),
    ("litellm_settings", "json_logs", "true", "logs.json", True),
    ("litellm_settings", "set_verbose", "true", "logs.level", "DEBUG"),
    ("litellm_settings", "set_verbose", "false", "logs.level", "INFO"),
    ("litellm_settings", "turn_off_message_logging", "true", "logs.turn_off_message_logging", True),
    ("litellm_settings", "ssl_verify", "false", "network.ssl_verify", False),
    ("litellm_settings", "ssl_verify", "config.yaml", "network.ssl_verify", "config.yaml"),
    ("litellm_settings", "ssl_certificate", "config.yaml", "network.ssl_certificate", "config.yaml"),
    ("router_settings", "routing_strategy", "simple-shuffle", "routing.strategy", "simple-shuffle"),
    ("router_settings", "num_retries", "4", "routing.retries", 4),
    ("router_settings", "retry_after", "1.5", "routing.retry_after_s_min", 1.5),
    ("router_settings", "timeout", "20", "routing.timeout_s", 20.0),
    ("router_settings", "stream_timeout", "3", "routing.stream_timeout_s", 3.0),
    ("router_settings", "allowed_fails", "1", "routing.allowed_fails", 1),
    ("router_settings", "cooldown_time", "60", "routing.cooldown_s", 60.0),
    ("router_settings", "disable_cooldowns", "true", "routing.cooldowns", False),
    ("router_settings", "fallbacks", "[{a: [b]}, {'*': [a, b]}]", "routing.fallbacks", {"a": ("b",), "*": ("a", "b")}),
    ("router_settings", "context_window_fallbacks", "[{a: [b]}]", "routing.context_window_fallbacks", {"a": ("b",)}),
    ("router_settings", "content_policy_fallbacks", "[{a: [b]}]", "routing.content_policy_fallbacks", {"a": ("b",)}),
    ("router_settings", "default_fallbacks", "[a, b]", "routing.default_fallbacks", ("a", "b")),
    ("router_settings", "max_fallbacks", "9", "routing.fallbacks_max", 9),
    ("router_settings", "set_verbose", "true", "logs.level", "DEBUG"),
    ("router_settings", "model_group_alias", "{old: a, shy: {model: b, hidden: true}}", "routing.aliases",
     {"old": Alias("a"), "shy": Alias("b", hidden=True)}),
    ("general_settings", "master_key", "sk-secret", "access.master_key", Secret("sk-secret")),
    ("general_settings", "master_key", "123456", "access.master_key", Secret("123456")),
    ("general_settings", "dangerously_permit_weak_or_unset_master_key", "true", "access.weak_master_key_permitted", True),
    ("general_settings", "litellm_key_header_name", "X-Key", "access.key_header_name", "X-Key"),
    ("general_settings", "allow_requests_on_db_unavailable", True, "money.unleased_when_away", True),
    ("general_settings", "enable_jwt_auth", "true", "access.jwt_enabled", True),
    ("general_settings", "litellm_jwtauth", "{user_id_jwt_field: login, team_ids_jwt_field: groups, user_id_upsert: true}",
     "access.jwt", JwtSettings(user_claim="login", teams_claim="groups", makes_users=True)),
    ("general_settings", "use_x_forwarded_for", "true", "access.forwarded_for", True),
    ("general_settings", "public_routes", "[/v1/models, /v1/chat/completions]", "access.public_routes",
     ("/v1/models", "/v1/chat/completions")),
    ("general_settings", "database_url", "postgresql://u:p@h/d", "storage.database_url", Secret("postgresql://u:p@h/d")),
    ("general_settings", "database_url", "postgres://u:p@h/d", "storage.database_url", Secret("postgresql://u:p@h/d")),
    ("general_settings", "database_url", "sqlite:///t.db", "storage.database_url", Secret("sqlite:///t.db")),
    ("general_settings", "store_prompts_in_spend_logs", "true", "logs.store_bodies", True),
    ("general_settings", "maximum_spend_logs_retention_period", "7d", "logs.spend_retention", "7d"),
    ("general_settings", "max_request_size_mb", "2", "bounds.body_bytes_max", 2 << 20),
    ("general_settings", "max_response_size_mb", "0.5", "bounds.reply_bytes_max", 1 << 19),
    ("general_settings", "max_parallel_requests", "10", "bounds.parallel_max", 10),
    ("general_settings", "global_max_parallel_requests", "11", "bounds.parallel_max", 11),
    ("router_settings", "redis_url", "rediss://h:1/0", "redis.url", Secret("rediss://h:1/0")),
    ("router_settings", "redis_host", "10.0.0.5", "redis.host", "10.0.0.5"),
    ("router_settings", "redis_port", "6380", "redis.port", 6380),
    ("router_settings", "redis_password", "p", "redis.password", Secret("p")),
    ("router_settings", "redis_db", "2", "redis.db", 2),
    ("general_settings", "coordination_redis", "{url: 'redis://h', ssl: false}",
     "redis.coordination", RedisPlace(url=Secret("redis://h"))),
    ("general_settings", "fail_closed_rate_limit_enforcement", "true", "redis.refuse", True),
    ("general_settings", "token_rate_limit_type", "input", "bounds.paced_tokens", "input"),
    ("general_settings", "ui_access_mode", "admin_only", "sign_in.admins_only", True),
    ("general_settings", "ui_access_mode", "all", "sign_in.admins_only", False),
    ("general_settings", "auto_redirect_ui_login_to_sso", "true", "sign_in.sso_first", True),
    ("general_settings", "disable_password_login_when_sso_enabled", "true", "sign_in.sso_alone", True),
    ("general_settings", "apply_user_budget_to_team_keys", "true", "money.user_budget_on_team_keys", True),
    ("litellm_settings", "max_end_user_budget", "0.5", "money.customer_budget_usd", "0.5"),
    ("litellm_settings", "max_end_user_budget_id", "b", "money.customer_budget_id", "b"),
    ("router_settings", "provider_budget_config", "{openai: {budget_limit: 0.5, time_period: 1d}}",
     "money.provider_budgets", {"openai": ProviderBudget("0.5", "1d")}),
    ("tollway", "journal_fsync", "never", "storage.journal_fsync", "never"),
    ("tollway", "journal_mb_max", "64", "storage.journal_mb_max", 64),
    ("tollway", "journal_full", "serve", "storage.journal_full", "serve"),
    ("tollway", "bodies_mb_max", "5", "logs.bodies_mb_max", 5),
    ("tollway", "bodies_days_max", "6", "logs.bodies_days_max", 6),
    ("tollway", "responses_mb_max", "0", "storage.responses_mb_max", 0),
    ("tollway", "responses_days_max", "6", "storage.responses_days_max", 6),
    ("tollway", "hosts", "3", "redis.hosts", 3),
    ("tollway", "audit_days_max", "30", "storage.audit_days_max", 30),
    ("tollway", "audit_rows_max", "5000", "storage.audit_rows_max", 5000),
    ("tollway", "host", "10.0.0.7", "listen.host", "10.0.0.7"),
    ("tollway", "port", "8080", "listen.port", 8080),
    ("tollway", "port", "0", "listen.port", 0),
    ("tollway", "watch_config", "false", "reload.watch", False),
    ("tollway", "json_logs", "true", "logs.json", True),
    ("tollway", "log_level", "warning", "logs.level", "WARNING"),
    ("tollway", "body_idle_s_max", "7", "bounds.body_idle_s_max", 7.0),
    ("tollway", "head_s_max", "8", "bounds.head_s_max", 8.0),
    ("tollway", "head_bytes_max", "4096", "bounds.head_bytes_max", 4096),
    ("tollway", "hold_wait_s_max", "0", "money.hold_wait_s_max", 0.0),
    ("tollway", "output_tokens_floor", "64", "money.output_tokens_floor", 64),
    ("tollway", "lossless", "reject", "params.lossless", True),
    ("tollway", "lossless", "name", "params.lossless", False),
    ("tollway", "media_fetch", "{allow_hosts: [Files.example.com, '*.b.org', '10.0.0.5:8080'], mb_max: 1, count_max: 2, s_max: 3}",
     "params.media_fetch", MediaFetch(("files.example.com", "*.b.org", "10.0.0.5:8080"), 1 << 20, 2, 3.0)),
    ("tollway", "ssl_key", "config.yaml", "network.ssl_key", "config.yaml"),
]
# fmt: on


@pytest.mark.parametrize(("section", "key", "written", "field", "value"), SETTINGS)
def test_each_setting_fills_its_field(
    read: Any, section: str, key: str, written: str, field: str, value: object
) -> None:
    config = read(f"{MODELS}{section}:\n  {key}: {written}\n")
    assert value_of(config, field) == value
    if value_of(config, field) != value_of(Config(), field):
        assert config.sources[field] == "config.yaml:3"


def test_every_setting_has_a_row_above() -> None:
    rows = {(section, key) for section, key, *_ in SETTINGS}
    settings = {(section, key) for section, (table, _) in SECTIONS.items() for key in table}
    assert settings - rows == {("tollway", "data_dir")}
    assert rows <= settings


def test_every_setting_fills_a_field_that_exists() -> None:
    for table, _ in SECTIONS.values():
        for field, _ in table.values():
            value_of(Config(), field)


# fmt: off
WRONG = [
    ("litellm_settings", "drop_params: maybe", "drop_params should be true or false, got 'maybe'"),
    ("litellm_settings", "drop_params: {}", "drop_params should be true or false, got a mapping"),
    ("litellm_settings", "num_retries: -1", "num_retries should be a whole number from 0 to 100, got '-1'"),
    ("litellm_settings", "num_retries: 1.5", "num_retries should be a whole number, got '1.5'"),
    ("litellm_settings", "num_retries: true", "num_retries should be a whole number, got 'true'"),
    ("litellm_settings", "request_timeout: 0", "request_timeout should be a number above 0, got '0'"),
    ("litellm_settings", "request_timeout: 10s", "request_timeout should be a number above 0, got '10s'"),
    ("litellm_settings", "max_budget: -1", "max_budget should be a number, 0 or more, got '-1'"),
    ("litellm_settings", "max_budget: $5", "max_budget should be a number, 0 or more, got '$5'"),
    ("litellm_settings", "max_budget: 1e99", "max_budget should be a number, 0 or more, got '1e99'"),
    ("litellm_settings", "budget_duration: 2mo", "budget_duration should be a duration like 1h, 24h, 7d, 30d or 1mo, got '2mo'"),
    ("litellm_settings", "budget_exceeded_status_code: 200",
     "budget_exceeded_status_code should be a whole number from 400 to 499, got '200'"),
    ("litellm_settings", "timezone: Mars", "timezone should be the name of a time zone known here, like Europe/Berlin, got 'Mars'"),
    ("litellm_settings", "budget_reset_time: 25:00", "budget_reset_time should be a time of day like 06:30, got '25:00'"),
    ("litellm_settings", "ssl_verify: gone.pem", "ssl_verify names a file that does not exist, got 'gone.pem'"),
    ("litellm_settings", "fallbacks: {a: [b]}", "fallbacks should be a list, got a mapping"),
    ("litellm_settings", "fallbacks: [{a: [b], b: [a]}]",
     "fallbacks[0] should be a mapping with one key: a model and the list of its fallbacks"),
    ("litellm_settings", "fallbacks: [a]", "fallbacks[0] should be a mapping, got 'a'"),
    ("litellm_settings", "fallbacks: [{a: b}]", "fallbacks[0].a should be a list, got 'b'"),
    ("litellm_settings", "fallbacks: [{a: [b]}, {a: [b]}]",
     "fallbacks[1].a has fallbacks already, in an item of litellm_settings.fallbacks before this one"),
    ("litellm_settings", "default_key_generate_params: {max_budgett: 1}",
     "default_key_generate_params.max_budgett is not known; did you mean max_budget?"),
    ("litellm_settings", "default_key_generate_params: {duration: 2mo}",
     "default_key_generate_params.duration should be a duration like 1h, 24h, 7d, 30d or 1mo, got '2mo'"),
    ("litellm_settings", "upperbound_key_generate_params: {max_budget: lots}",
     "upperbound_key_generate_params.max_budget should be a number, 0 or more, got 'lots'"),
    ("router_settings", "routing_strategy: latency-based",
     ("routing_strategy should be simple-shuffle, cost-based-routing, latency-based-routing, least-busy, "
     "provider-budget-routing, usage-based-routing or usage-based-routing-v2 (did you mean latency-based-routing?), "
     "got 'latency-based'")),
    ("router_settings", "model_group_alias: {x: {modl: a}}", "model_group_alias.x.modl is not known; did you mean model?"),
    ("router_settings", "cooldown_tme: 5", "cooldown_tme is not known; did you mean cooldown_time?"),
    ("general_settings", "mastr_key: sk-do-not-show", "mastr_key is not known; did you mean master_key?"),
    ("general_settings", "num_retries: 3", "num_retries is not known; it belongs under litellm_settings"),
    ("general_settings", "zzz: 3", "zzz is not known"),
    ("general_settings", "master_key: {do-not-show: 1}", "master_key should be text, got a mapping"),
    ("general_settings", "database_url: mysql://do:not-show@h/d", "database_url should begin with postgresql:// or sqlite:///"),
    ("general_settings", "database_url: [do-not-show]", "database_url should be text, got a list"),
    ("general_settings", "litellm_key_header_name: 'X Key'", ("litellm_key_header_name should be the name of an HTTP header, "
     "got 'X Key'")),
    ("general_settings", "max_request_size_mb: 0", "max_request_size_mb should be a number of megabytes above 0, got '0'"),
    ("tollway", "journal_fsync: sometimes", "journal_fsync should be never, interval or always, got 'sometimes'"),
    ("tollway", "log_level: LOUD", "log_level should be DEBUG, INFO, WARNING, ERROR or CRITICAL, got 'LOUD'"),
    ("tollway", "data_dri: x", "data_dri is not known; did you mean data_dir?"),
    ("tollway", "head_bytes_max: 10", "head_bytes_max should be a whole number from 1024 to 16777216, got '10'"),
]
# fmt: on


@pytest.mark.parametrize(("section", "line", "problem"), WRONG)
def test_what_cannot_be_obeyed_is_refused(problems: Any, section: str, line: str, problem: str) -> None:
    found = problems(f"{MODELS}{section}:\n  {line}\n")
    assert f"config.yaml:3: {section}.{problem}" in found
    assert "show" not in " ".join(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("genral_settings: {}", "genral_settings is not known; did you mean general_settings?"),
        ("models: []", "models is not known; did you mean model_list?"),
        ("general_settings: [a]", "general_settings should be a mapping"),
        ("model_list: {a: b}", "model_list should be a list, got a mapping"),
        ("environment_variables: [A]", "environment_variables should be a mapping, got a list"),
    ],
)
def test_sections_themselves_are_checked(problems: Any, text: str, problem: str) -> None:
    assert problems(text) == [f"config.yaml:1: {problem}"]


@pytest.mark.parametrize(
    "route",
    ["/*", "/key/generate", "/key*", "/k*", "/v1/m*", "/spend/logs", "/config/update", "/model/new", "/metrics", "/ui",
     "/global/spend", "/user/*"],
)  # fmt: skip
def test_paths_of_the_management_api_are_never_public(problems: Any, route: str) -> None:
    assert problems(f"general_settings: {{public_routes: [/v1/models, '{route}']}}") == [
        "config.yaml:1: general_settings.public_routes[1] is a path of the management API, which is never public"
    ]


@pytest.mark.parametrize("route", ["v1/models", "*", "/v1/../key/generate", "//key/generate", "/%6bey/generate"])
def test_public_paths_are_plain(problems: Any, route: str) -> None:
    assert problems(f"general_settings: {{public_routes: ['{route}']}}") == [
        "config.yaml:1: general_settings.public_routes[0] should be a plain path that begins with /"
    ]


WARNED = [
    ("litellm_settings: {callbacks: [x]}",
     "litellm_settings.callbacks is a LiteLLM setting that Tollway does not have yet; it has no effect"),
    ("litellm_settings: {priority_reservation: {prod: 0.9}}",
     "litellm_settings.priority_reservation is a LiteLLM setting that Tollway does not have yet; it has no effect"),
    ("general_settings: {allowed_ips: [1.2.3.4]}",
     "general_settings.allowed_ips is a LiteLLM setting that Tollway does not have yet; nobody is held back by it"),
    ("router_settings: {enable_pre_call_checks: true}",
     "router_settings.enable_pre_call_checks is a LiteLLM setting that Tollway does not have yet; it has no effect"),
    ("guardrails: [{guardrail_name: x}]",
     "guardrails is a LiteLLM setting that Tollway does not have yet; nobody is held back by it"),
    ("mcp_servers: {a: {url: x}}", "mcp_servers is a LiteLLM setting that Tollway does not have yet; it has no effect"),
    ("router_settings: {routing_strategy: least-busy}",
     "router_settings.routing_strategy least-busy is a strategy that Tollway does not have yet; simple-shuffle is used"),
    ("litellm_settings: {max_budget: 0}",
     "litellm_settings.max_budget is 0, which LiteLLM takes for no limit; the gateway has no budget of its own"),
    ("litellm_settings: {budget_duration: 1h30m}",
     "litellm_settings.budget_duration is read as '1h': only the first amount counts"),
    ("general_settings: {master_key: ''}", "general_settings.master_key is empty, as if it were not given"),
    ("general_settings: {master_key: os.environ/NOWHERE}",
     "general_settings.master_key names the environment variable NOWHERE, which is not set"),
    ("general_settings: {database_url: os.environ/NOWHERE}",
     "general_settings.database_url names the environment variable NOWHERE, which is not set"),
    ("general_settings: {max_parallel_requests: 5}",
     ("general_settings.max_parallel_requests bounds the gateway as a whole, not each key (a key has its own "
     "max_parallel_requests)")),
    ("general_settings: {public_routes: [LiteLLMRoutes.public_routes]}",
     ("general_settings.public_routes[0] names a group of LiteLLM's; what needs no key in Tollway is a short list of its "
     "own")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "warning"), WARNED)
def test_what_has_no_effect_is_said_once(read: Any, text: str, warning: str) -> None:
    assert read(text).warnings == (f"config.yaml:1: {warning}",)


def test_a_master_key_of_the_environment_serves_where_the_named_variable_is_not_set(read: Any) -> None:
    text = "general_settings: {master_key: os.environ/NOWHERE}"
    assert read(text, {"LITELLM_MASTER_KEY": "sk-m"}).access.master_key == Secret("sk-m")


def test_a_setting_without_a_value_is_not_given(read: Any) -> None:
    config = read("general_settings:\nlitellm_settings:\n  num_retries:\n  callbacks:\nmodel_list:\n")
    assert config.routing == Config().routing
    assert config.warnings == ()


def test_where_two_sections_say_different_things_one_wins_aloud(read: Any) -> None:
    config = read(
        MODELS
        + """\
litellm_settings:
  num_retries: 1
  request_timeout: 10
  fallbacks: [{a: [b]}]
  allowed_fails: 2
router_settings:
  num_retries: 5
  timeout: 20
  fallbacks: [{b: [a]}]
  allowed_fails: 2
"""
    )
    routing = config.routing
    assert (routing.retries, routing.timeout_s, routing.fallbacks) == (1, 20.0, {"b": ("a",)})
    assert set(config.warnings) == {
        "config.yaml:3: litellm_settings.num_retries is used; router_settings.num_retries (config.yaml:8) has no effect",
        "config.yaml:9: router_settings.timeout is used; litellm_settings.request_timeout (config.yaml:4) has no effect",
        "config.yaml:10: router_settings.fallbacks is used; litellm_settings.fallbacks (config.yaml:5) has no effect",
    }
    assert config.sources["routing.retries"] == "config.yaml:3"
    assert config.sources["routing.fallbacks"] == "config.yaml:10"


def test_a_data_directory_counts_from_the_file_that_names_it(read: Any, write: Any, directory: Path) -> None:
    assert read("tollway: {data_dir: data}").storage.data_dir == str(directory / "data")
    assert read("tollway: {data_dir: /var/t}").storage.data_dir == "/var/t"
    assert read("tollway: {data_dir: ~/t}").storage.data_dir == os.path.expanduser("~/t")
    write("tollway: {data_dir: data}", "deep/more.yaml")
    assert read("include: [deep/more.yaml]").storage.data_dir == str(directory / "deep" / "data")


def test_verification_that_is_on_does_not_take_back_the_bundle_of_the_machine(read: Any) -> None:
    environ = {"SSL_CERT_FILE": "config.yaml"}
    assert read("litellm_settings: {ssl_verify: true}", environ).network.ssl_verify == "config.yaml"
    assert read("litellm_settings: {ssl_verify: false}", environ).network.ssl_verify is False


def test_a_group_of_single_sign_ons_as_those_who_may_see_the_dashboard_is_warned_of(read: Any) -> None:
    config = read("general_settings: {ui_access_mode: {type: restricted_sso_group, restricted_sso_group: g}}")
    assert not config.sign_in.admins_only
    (warning,) = config.warnings
    assert "ui_access_mode" in warning
    assert "nobody is held back by it" in warning
