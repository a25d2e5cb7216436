"""The settings that Tollway obeys: which key of which section fills which field of Config, and what it may hold.

One row per key: (field, kind). The rows of a section are read from top to bottom and a later row wins over an earlier
one for the same field; so do later sections over earlier ones, except for what stands in `FIRST_WINS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from tollway.calls import Secret
from tollway.config import jwt, known, redis
from tollway.config.findings import nearest
from tollway.config.settings import Alias, CostMargin, MediaFetch, ProviderBudget
from tollway.config.sign_in import default_user_params
from tollway.config.values import (
    NOT_GIVEN,
    Given,
    Kind,
    NotGiven,
    boolean,
    choice,
    decimal_text,
    duration,
    existing_file,
    filled_secret,
    filled_text,
    header_name,
    megabytes,
    number,
    plain_mapping,
    ssl_verify,
    text,
    time_of_day,
    timezone,
    whole_number,
)

Table = Mapping[str, tuple[str, Kind]]

log_level = choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", case=str.upper)

_RETRIES_MAX = 100
_FALLBACKS_MAX = 100
#: Whoever reaches one of these without a key can make keys, read spend or change what the gateway does.
_NEVER_PUBLIC = (
    *("/key", "/user", "/team", "/organization", "/customer", "/end_user", "/budget", "/tag", "/project", "/spend"),
    *("/global", "/config", "/model/", "/models/", "/v1/model/", "/v2/model", "/credentials", "/cache", "/sso", "/ui"),
    *("/invitation", "/audit", "/settings", "/reload", "/schedule", "/metrics", "/debug", "/get", "/update", "/add"),
    *("/delete", "/health/services", "/mcp", "/policies", "/guardrails", "/docs", "/redoc", "/openapi.json"),
)


def database_url(given: Given) -> Secret | NotGiven:
    value = filled_secret(given)
    if isinstance(value, NotGiven):
        return value
    address = value.reveal()
    if address.startswith("postgres://"):
        return Secret("postgresql" + address.removeprefix("postgres"))
    if not address.startswith(("postgresql://", "sqlite:///")):
        raise given.mistake("should begin with postgresql:// or sqlite:///")
    return value


def ssl_verify_unless_true(given: Given) -> bool | str | NotGiven:
    """`true` is how it is anyway; it does not take back the bundle that SSL_CERT_FILE names."""
    value = ssl_verify(given)
    return NOT_GIVEN if value is True else value


def verbose(given: Given) -> str | NotGiven:
    return "DEBUG" if boolean(given) else NOT_GIVEN


def lossless(given: Given) -> bool:
    """`reject`: a call of which something would be left out is refused; `name`: it is named, as it is anyway."""
    return bool(choice("name", "reject")(given) == "reject")


def media_fetch(given: Given) -> MediaFetch:
    """{"allow_hosts": ["files.example.com", "*.example.org"], "mb_max": 20, "count_max": 20, "s_max": 20}."""
    fields = given.fields()
    refuse_unknown(given, fields, _MEDIA_FETCH)
    values: dict[str, Any] = {}
    for name, (field, kind) in _MEDIA_FETCH.items():
        if name in fields and (value := fields[name].read(kind)) is not NOT_GIVEN:
            values[field] = value
    return MediaFetch(**values)


def hosts(given: Given) -> tuple[str, ...]:
    names = []
    for item in given.items():
        name = item.read(filled_text)
        if name is NOT_GIVEN:
            continue
        if not _HOST.fullmatch(name):
            item.problem("should be a host, host:port or *.domain, without a scheme or a path")
            continue
        names.append(name.lower())
    return tuple(names)


_HOST = re.compile(r"(?:\*\.)?[\w-]+(?:\.[\w-]+)*(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")
_MEDIA_FETCH: Table = {
    "allow_hosts": ("allow_hosts", hosts),
    "mb_max": ("bytes_max", megabytes),
    "count_max": ("count_max", whole_number(1, 1000)),
    "s_max": ("s_max", number(0, above=True, maximum=600)),
}


def gateway_budget(given: Given) -> str | NotGiven:
    value = decimal_text(given)
    if float(value) > 0:
        return value
    given.warn("is 0, which LiteLLM takes for no limit; the gateway has no budget of its own")
    return NOT_GIVEN


def admins_only(given: Given) -> bool | NotGiven:
    """Whom LiteLLM lets in to its dashboard. A group of single sign-on's is not known here."""
    if isinstance(given.node.content, dict):
        lacking(given)
        return NOT_GIVEN
    wanted: str = choice("admin_only", "all")(given)
    return wanted == "admin_only"


def directory(given: Given) -> str:
    """A directory; a relative one counts from the file that names it, or from where the gateway is started."""
    path = os.path.expanduser(filled_text(given))
    beside = os.path.dirname(given.place.file) if given.place.line else ""
    return os.path.abspath(os.path.join(beside, path))


def routing_strategy(given: Given) -> str | NotGiven:
    value = choice("simple-shuffle", *sorted(known.ROUTING_STRATEGIES - {"simple-shuffle"}))(given)
    if value != "simple-shuffle":
        given.warn(f"{value} is a strategy that Tollway does not have yet; simple-shuffle is used")
        return NOT_GIVEN
    return "simple-shuffle"


def each_key_parallel(given: Given) -> int:
    value: int = whole_number(1)(given)
    given.warn("bounds the gateway as a whole, not each key (a key has its own max_parallel_requests)")
    return value


def public_routes(given: Given) -> tuple[str, ...]:
    """Paths that need no key. One under which keys are made, or a pattern that covers such a path, is refused."""
    routes = []
    for item in given.items():
        route = item.read(text)
        if route is NOT_GIVEN:
            continue
        if route.startswith("LiteLLMRoutes."):
            item.warn("names a group of LiteLLM's; what needs no key in Tollway is a short list of its own")
            continue
        if not route.startswith("/") or ".." in route or "//" in route or "%" in route:
            item.problem("should be a plain path that begins with /")
            continue
        covered = route.partition("*")[0]
        if any(covered.startswith(closed) or ("*" in route and closed.startswith(covered)) for closed in _NEVER_PUBLIC):
            item.problem("is a path of the management API, which is never public")
            continue
        routes.append(route)
    return tuple(routes)


def model_names(given: Given) -> tuple[str, ...]:
    names = []
    for item in given.items():
        name = item.read(filled_text)
        if name is not NOT_GIVEN:
            given.findings.mentions.append((item.place, item.path, name))
            names.append(name)
    return tuple(names)


def fallbacks(given: Given) -> dict[str, tuple[str, ...]]:
    """[{"gpt-4o": ["claude", "gemini"]}, {"*": ["cheap"]}]: each model once."""
    read: dict[str, tuple[str, ...]] = {}
    for item in given.items():
        fields = item.fields()
        if len(fields) != 1:
            item.problem("should be a mapping with one key: a model and the list of its fallbacks")
            continue
        ((model, others),) = fields.items()
        if model in read:
            others.problem(f"has fallbacks already, in an item of {given.path} before this one")
            continue
        if model != "*":
            given.findings.mentions.append((others.place, item.path, model))
        names = others.read(model_names)
        if names is not NOT_GIVEN:
            read[model] = names
    return read


def aliases(given: Given) -> dict[str, Alias]:
    """{"gpt-4": "gpt-4o", "secret-name": {"model": "gpt-4o", "hidden": true}}."""
    read: dict[str, Alias] = {}
    for name, target in given.fields().items():
        hidden, model = False, target
        if isinstance(target.node.content, dict):
            fields = target.fields()
            refuse_unknown(target, fields, {"model", "hidden"})
            if "model" not in fields:
                target.problem("should name a model: {model: ..., hidden: true}")
                continue
            model = fields["model"]
            hidden = "hidden" in fields and fields["hidden"].read(boolean) is True
        value = model.read(filled_text)
        if value is not NOT_GIVEN:
            given.findings.mentions.append((model.place, model.path, value))
            read[name] = Alias(value, hidden)
    return read


def provider_budgets(given: Given) -> dict[str, ProviderBudget]:
    """{"openai": {"budget_limit": 0.5, "time_period": "1d"}}."""
    read: dict[str, ProviderBudget] = {}
    for provider, budget in given.fields().items():
        fields = budget.fields()
        refuse_unknown(budget, fields, {"budget_limit", "time_period"})
        if not {"budget_limit", "time_period"} <= fields.keys():
            budget.problem("should say how much in which time: {budget_limit: 10, time_period: 1d}")
            continue
        limit, period = fields["budget_limit"].read(decimal_text), fields["time_period"].read(duration)
        if limit is not NOT_GIVEN and period is not NOT_GIVEN:
            read[provider] = ProviderBudget(limit, period)
    return read


def key_params(names: frozenset[str]) -> Kind:
    """Fields of keys: their names are checked, and their durations."""

    def kind(given: Given) -> dict[str, Any]:
        fields = given.fields()
        refuse_unknown(given, fields, names)
        for name in ("duration", "budget_duration"):
            if name in fields:
                fields[name].read(duration)
        for name in ("max_budget", "soft_budget"):
            if name in fields:
                fields[name].read(decimal_text)
        for name in ("tpm_limit", "rpm_limit", "max_parallel_requests"):
            if name in fields:
                fields[name].read(whole_number(0))
        return plain_mapping(given)

    return kind


def cost_discounts(given: Given) -> dict[str, str]:
    """{"openai": 0.05}: the share taken off what a provider asks, from 0 to 1."""
    read = {name: share.read(_share(1)) for name, share in given.fields().items()}
    return {name: value for name, value in read.items() if value is not NOT_GIVEN}


def cost_margins(given: Given) -> dict[str, CostMargin]:
    """{"openai": 0.1, "global": {"percentage": 0.05, "fixed_amount": 0.001}}: what is put on, a share up to 10 (LiteLLM's
    `percentage` is one, too) and dollars for each call.
    """
    read: dict[str, CostMargin] = {}
    for name, margin in given.fields().items():
        if not isinstance(margin.node.content, dict):
            share = margin.read(_share(10))
            if share is not NOT_GIVEN:
                read[name] = CostMargin(share)
            continue
        fields = margin.fields()
        refuse_unknown(margin, fields, {"percentage", "fixed_amount"})
        parts = {
            ours: value
            for theirs, ours, kind in (("percentage", "share", _share(10)), ("fixed_amount", "fixed_usd", decimal_text))
            if theirs in fields and (value := fields[theirs].read(kind)) is not NOT_GIVEN
        }
        read[name] = CostMargin(**parts)
    return read


def _share(maximum: int) -> Kind:
    def kind(given: Given) -> str:
        written: str = decimal_text(given)
        if not 0 <= Decimal(written) <= maximum:
            given.problem(f"should be a share from 0 to {maximum}: 0.05 is five percent")
        return written

    return kind


LITELLM_SETTINGS: Table = {
    "drop_params": ("params.drop_params", boolean),
    "modify_params": ("params.modify_params", boolean),
    "num_retries": ("routing.retries", whole_number(0, _RETRIES_MAX)),
    "request_timeout": ("routing.timeout_s", number(0, above=True)),
    "allowed_fails": ("routing.allowed_fails", whole_number(0)),
    "max_fallbacks": ("routing.fallbacks_max", whole_number(0, _FALLBACKS_MAX)),
    "fallbacks": ("routing.fallbacks", fallbacks),
    "default_fallbacks": ("routing.default_fallbacks", model_names),
    "context_window_fallbacks": ("routing.context_window_fallbacks", fallbacks),
    "content_policy_fallbacks": ("routing.content_policy_fallbacks", fallbacks),
    "max_budget": ("money.max_budget_usd", gateway_budget),
    "budget_duration": ("money.budget_duration", duration),
    "max_end_user_budget": ("money.customer_budget_usd", decimal_text),
    "max_end_user_budget_id": ("money.customer_budget_id", filled_text),
    "budget_exceeded_status_code": ("money.budget_exceeded_status", whole_number(400, 499)),
    "cost_discount_config": ("money.cost_discounts", cost_discounts),
    "cost_margin_config": ("money.cost_margins", cost_margins),
    "timezone": ("money.timezone", timezone),
    "budget_reset_time": ("money.budget_reset_time", time_of_day),
    "default_key_generate_params": ("money.default_key_params", key_params(known.KEY_PARAMS)),
    "default_internal_user_params": ("sign_in.default_user_params", default_user_params),
    "upperbound_key_generate_params": ("money.upperbound_key_params", key_params(known.UPPERBOUND_KEY_PARAMS)),
    "cache_params": ("redis.cache", redis.cache_params),
    "json_logs": ("logs.json", boolean),
    "set_verbose": ("logs.level", verbose),
    "turn_off_message_logging": ("logs.turn_off_message_logging", boolean),
    "ssl_verify": ("network.ssl_verify", ssl_verify_unless_true),
    "ssl_certificate": ("network.ssl_certificate", existing_file),
}

ROUTER_SETTINGS: Table = {
    "routing_strategy": ("routing.strategy", routing_strategy),
    "num_retries": ("routing.retries", whole_number(0, _RETRIES_MAX)),
    "retry_after": ("routing.retry_after_s_min", number(0)),
    "timeout": ("routing.timeout_s", number(0, above=True)),
    "stream_timeout": ("routing.stream_timeout_s", number(0, above=True)),
    "allowed_fails": ("routing.allowed_fails", whole_number(0)),
    "cooldown_time": ("routing.cooldown_s", number(0)),
    "disable_cooldowns": ("routing.cooldowns", lambda given: not boolean(given)),
    "fallbacks": ("routing.fallbacks", fallbacks),
    "context_window_fallbacks": ("routing.context_window_fallbacks", fallbacks),
    "content_policy_fallbacks": ("routing.content_policy_fallbacks", fallbacks),
    "default_fallbacks": ("routing.default_fallbacks", model_names),
    "max_fallbacks": ("routing.fallbacks_max", whole_number(0, _FALLBACKS_MAX)),
    "model_group_alias": ("routing.aliases", aliases),
    "redis_url": ("redis.url", redis.url),
    "redis_host": ("redis.host", filled_text),
    "redis_port": ("redis.port", redis.port),
    "redis_password": ("redis.password", filled_secret),
    "redis_db": ("redis.db", redis.database),
    "provider_budget_config": ("money.provider_budgets", provider_budgets),
    "set_verbose": ("logs.level", verbose),
}

GENERAL_SETTINGS: Table = {
    "master_key": ("access.master_key", filled_secret),
    "dangerously_permit_weak_or_unset_master_key": ("access.weak_master_key_permitted", boolean),
    "litellm_key_header_name": ("access.key_header_name", header_name),
    "allow_requests_on_db_unavailable": ("money.unleased_when_away", boolean),
    "public_routes": ("access.public_routes", public_routes),
    "use_x_forwarded_for": ("access.forwarded_for", boolean),
    "enable_jwt_auth": ("access.jwt_enabled", boolean),
    "litellm_jwtauth": ("access.jwt", jwt.jwt_auth),
    "database_url": ("storage.database_url", database_url),
    "store_prompts_in_spend_logs": ("logs.store_bodies", boolean),
    "maximum_spend_logs_retention_period": ("logs.spend_retention", duration),
    "max_request_size_mb": ("bounds.body_bytes_max", megabytes),
    "max_response_size_mb": ("bounds.reply_bytes_max", megabytes),
    "max_parallel_requests": ("bounds.parallel_max", each_key_parallel),
    "global_max_parallel_requests": ("bounds.parallel_max", whole_number(1)),
    "coordination_redis": ("redis.coordination", redis.coordination_redis),
    "fail_closed_rate_limit_enforcement": ("redis.refuse", boolean),
    "token_rate_limit_type": ("bounds.paced_tokens", choice("total", "input", "output")),
    "ui_access_mode": ("sign_in.admins_only", admins_only),
    "auto_redirect_ui_login_to_sso": ("sign_in.sso_first", boolean),
    "disable_password_login_when_sso_enabled": ("sign_in.sso_alone", boolean),
    "apply_user_budget_to_team_keys": ("money.user_budget_on_team_keys", boolean),
}

#: What LiteLLM has no word for.
TOLLWAY: Table = {
    "host": ("listen.host", filled_text),
    "port": ("listen.port", whole_number(0, 65_535)),
    "data_dir": ("storage.data_dir", directory),
    "journal_fsync": ("storage.journal_fsync", choice("never", "interval", "always")),
    "journal_mb_max": ("storage.journal_mb_max", whole_number(32, 1 << 30)),
    "journal_full": ("storage.journal_full", choice("refuse", "serve")),
    "bodies_mb_max": ("logs.bodies_mb_max", whole_number(1, 1 << 30)),
    "bodies_days_max": ("logs.bodies_days_max", whole_number(1, 36_500)),
    "responses_mb_max": ("storage.responses_mb_max", whole_number(0, 1 << 30)),
    "responses_days_max": ("storage.responses_days_max", whole_number(1, 36_500)),
    "audit_days_max": ("storage.audit_days_max", whole_number(1, 36_500)),
    "audit_rows_max": ("storage.audit_rows_max", whole_number(1_000, 1 << 40)),
    "hosts": ("redis.hosts", whole_number(1, 10_000)),
    "json_logs": ("logs.json", boolean),
    "log_level": ("logs.level", log_level),
    "body_idle_s_max": ("bounds.body_idle_s_max", number(0, above=True, maximum=86_400)),
    "head_s_max": ("bounds.head_s_max", number(0, above=True, maximum=86_400)),
    "head_bytes_max": ("bounds.head_bytes_max", whole_number(1024, 1 << 24)),
    "hold_wait_s_max": ("money.hold_wait_s_max", number(0, maximum=3600)),
    "output_tokens_floor": ("money.output_tokens_floor", whole_number(1)),
    "lossless": ("params.lossless", lossless),
    "watch_config": ("reload.watch", boolean),
    "media_fetch": ("params.media_fetch", media_fetch),
    "ssl_key": ("network.ssl_key", existing_file),
}

#: The sections in the order in which they are read, each with LiteLLM's names for what may stand there.
SECTIONS: Mapping[str, tuple[Table, frozenset[str]]] = {
    "litellm_settings": (LITELLM_SETTINGS, known.LITELLM_SETTINGS),
    "router_settings": (ROUTER_SETTINGS, known.ROUTER_SETTINGS),
    "general_settings": (GENERAL_SETTINGS, known.GENERAL_SETTINGS),
    "tollway": (TOLLWAY, frozenset()),
}

#: `litellm_settings.num_retries` wins over `router_settings.num_retries`, which is otherwise the stronger section.
FIRST_WINS = frozenset({"routing.retries"})


def read_sections(root: Given, values: dict[str, Any]) -> None:
    """Reads all sections under `root` into `values` ({"routing.retries": 2}) over what the environment put there."""
    given = root.fields()
    top_level = SECTIONS.keys() | {"model_list", "environment_variables", "include"}
    for name, section in given.items():
        if name in top_level or name.startswith("x-"):  # `x-...` holds anchors for use elsewhere in the file
            continue
        if name in known.TOP_LEVEL:
            lacking(section)
        else:
            unknown(section, name, top_level | known.TOP_LEVEL)
    written: dict[str, Given] = {}
    for name, (table, names) in SECTIONS.items():
        if name in given:
            _read_section(given[name], table, names, values, written)


def read_variable(given: Given, field: str, kind: Kind, values: dict[str, Any]) -> None:
    """Reads one environment variable into `values`."""
    value = given.read(kind)
    if value is not NOT_GIVEN:
        values[field] = value
        given.findings.sources[field] = f"{given.place} {given.path}"


def refuse_unknown(given: Given, fields: Mapping[str, Given], names: Collection[str]) -> None:
    for name, child in fields.items():
        if name not in names:
            unknown(child, name, names)


def unknown(given: Given, name: str, names: Collection[str], hint: str = "") -> None:
    """A key nobody knows: a problem, with the nearest one that is known."""
    near = nearest(name, names)
    given.problem("is not known" + (f"; did you mean {near}?" if near else hint))


def lacking(given: Given) -> None:
    """A setting of LiteLLM that is not one of ours: said once, so that nobody relies on it."""
    consequence = "nobody is held back by it" if given.name in known.RESTRICTING else "it has no effect"
    given.warn(f"is a LiteLLM setting that Tollway does not have yet; {consequence}")


def _read_section(
    section: Given, table: Table, names: frozenset[str], values: dict[str, Any], written: dict[str, Given]
) -> None:
    if not isinstance(section.node.content, dict):
        section.problem("should be a mapping")
        return
    fields = section.fields()
    for key, given in fields.items():
        if key in table:
            continue
        if key in names:
            lacking(given)
            continue
        elsewhere = [name for name, (other, _) in SECTIONS.items() if key in other]
        unknown(given, key, names | table.keys(), f"; it belongs under {elsewhere[0]}" if elsewhere else "")
    for key, (field, kind) in table.items():
        if key not in fields:
            continue
        given = fields[key]
        value = given.read(kind)
        if value is NOT_GIVEN:
            continue
        if field in written and values[field] != value:
            used, unused = (written[field], given) if field in FIRST_WINS else (given, written[field])
            given.findings.warn(f"{used.place}: {used.path} is used; {unused.path} ({unused.place}) has no effect")
        if field not in written or field not in FIRST_WINS:
            written[field] = given
            values[field] = value
            variable = given.node.variable
            given.findings.sources[field] = f"{given.place}" + (f" (environment {variable})" if variable else "")
