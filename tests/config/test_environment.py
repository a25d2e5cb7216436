from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config import Config, load
from tollway.config.environment import DENIED, VARIABLES
from tollway.errors import ConfigError

SETTINGS = [
    ("LITELLM_MASTER_KEY", "sk-x", "access.master_key", Secret("sk-x")),
    ("TOLLWAY_MASTER_KEY", "sk-y", "access.master_key", Secret("sk-y")),
    ("LITELLM_SALT_KEY", "salt", "access.salt_key", Secret("salt")),
    ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "True", "access.weak_master_key_permitted", True),
    ("UI_USERNAME", "ada", "access.ui_username", "ada"),
    (
        "JWT_PUBLIC_KEY_URL",
        "https://a.example/keys, https://b.example/keys",
        "access.jwt_key_urls",
        ("https://a.example/keys", "https://b.example/keys"),
    ),
    ("JWT_AUDIENCE", "tollway,others", "access.jwt_audiences", ("tollway", "others")),
    ("JWT_ISSUER", "https://a.example", "access.jwt_issuer", "https://a.example"),
    ("JWT_LEEWAY", "5", "access.jwt_leeway_s", 5.0),
    ("UI_PASSWORD", "correct horse", "access.ui_password", Secret("correct horse")),
    ("PROXY_BASE_URL", "https://llm.example/", "sign_in.public_url", "https://llm.example"),
    ("PROXY_ADMIN_ID", "ada", "sign_in.admin_id", "ada"),
    ("ALLOWED_EMAIL_DOMAINS", "Example.com, @example.org", "sign_in.email_domains", ("example.com", "example.org")),
    ("GOOGLE_CLIENT_ID", "id", "sign_in.google_client_id", "id"),
    ("GOOGLE_CLIENT_SECRET", "s", "sign_in.google_client_secret", Secret("s")),
    ("MICROSOFT_CLIENT_ID", "id", "sign_in.microsoft_client_id", "id"),
    ("MICROSOFT_CLIENT_SECRET", "s", "sign_in.microsoft_client_secret", Secret("s")),
    ("MICROSOFT_TENANT", "example.com", "sign_in.microsoft_tenant", "example.com"),
    ("GENERIC_CLIENT_ID", "id", "sign_in.generic_client_id", "id"),
    ("GENERIC_CLIENT_SECRET", "s", "sign_in.generic_client_secret", Secret("s")),
    ("GENERIC_ISSUER", "https://id.example", "sign_in.generic_issuer", "https://id.example"),
    ("GENERIC_AUTHORIZATION_ENDPOINT", "https://i/a", "sign_in.generic_authorization_endpoint", "https://i/a"),
    ("GENERIC_TOKEN_ENDPOINT", "https://i/t", "sign_in.generic_token_endpoint", "https://i/t"),
    ("GENERIC_USERINFO_ENDPOINT", "https://i/u", "sign_in.generic_userinfo_endpoint", "https://i/u"),
    ("GENERIC_SCOPE", "openid groups", "sign_in.generic_scope", "openid groups"),
    ("GENERIC_INCLUDE_CLIENT_ID", "True", "sign_in.generic_include_client_id", True),
    ("GENERIC_CLIENT_USE_PKCE", "false", "sign_in.generic_pkce", False),
    ("GENERIC_USER_ID_ATTRIBUTE", "sub", "sign_in.generic_id_attribute", "sub"),
    ("GENERIC_USER_EMAIL_ATTRIBUTE", "mail", "sign_in.generic_email_attribute", "mail"),
    ("GENERIC_USER_DISPLAY_NAME_ATTRIBUTE", "nick", "sign_in.generic_name_attribute", "nick"),
    ("GENERIC_USER_ROLE_ATTRIBUTE", "r", "sign_in.generic_role_attribute", "r"),
    ("GENERIC_ROLE_MAPPINGS_GROUP_CLAIM", "groups", "sign_in.generic_group_claim", "groups"),
    (
        "GENERIC_ROLE_MAPPINGS_ROLES",
        "{'proxy_admin': ['admins'], 'internal_user': 'staff'}",
        "sign_in.generic_role_groups",
        {"proxy_admin": ("admins",), "internal_user": ("staff",)},
    ),
    ("GENERIC_ROLE_MAPPINGS_DEFAULT_ROLE", "internal_user", "sign_in.generic_role_otherwise", "internal_user"),
    ("DATABASE_URL", "postgresql://u:p@h/d", "storage.database_url", Secret("postgresql://u:p@h/d")),
    ("TOLLWAY_DATA_DIR", "/var/t", "storage.data_dir", "/var/t"),
    ("AUTO_REDIRECT_UI_LOGIN_TO_SSO", "true", "sign_in.sso_first", True),
    ("REDIS_URL", "redis://:p@h:1/2", "redis.url", Secret("redis://:p@h:1/2")),
    ("REDIS_HOST", "10.0.0.5", "redis.host", "10.0.0.5"),
    ("REDIS_PORT", "6380", "redis.port", 6380),
    ("REDIS_DB", "2", "redis.db", 2),
    ("REDIS_USERNAME", "u", "redis.username", "u"),
    ("REDIS_PASSWORD", "p", "redis.password", Secret("p")),
    ("REDIS_SSL", "True", "redis.ssl", True),
    ("JSON_LOGS", "1", "logs.json", True),
    ("JSON_LOGS", "false", "logs.json", False),
    ("LITELLM_LOG", "debug", "logs.level", "DEBUG"),
    ("SSL_VERIFY", "False", "network.ssl_verify", False),
    ("SSL_VERIFY", "true", "network.ssl_verify", True),
    ("SSL_VERIFY", "/etc/passwd", "network.ssl_verify", "/etc/passwd"),
    ("SSL_CERT_FILE", "/etc/passwd", "network.ssl_verify", "/etc/passwd"),
    ("HTTP_PROXY", "http://p:1", "network.http_proxy", Secret("http://p:1")),
    ("http_proxy", "http://p:1", "network.http_proxy", Secret("http://p:1")),
    ("HTTPS_PROXY", "http://u:p@p:1", "network.https_proxy", Secret("http://u:p@p:1")),
    ("https_proxy", "http://p:1", "network.https_proxy", Secret("http://p:1")),
    ("NO_PROXY", "localhost, .Corp.example,", "network.no_proxy", ("localhost", ".corp.example")),
    ("no_proxy", "*", "network.no_proxy", ("*",)),
]


@pytest.mark.parametrize(("name", "value", "field", "expected"), SETTINGS)
def test_each_variable_fills_its_field(name: str, value: str, field: str, expected: object) -> None:
    config = load(None, environ={name: value})
    section, attribute = field.split(".")
    assert getattr(getattr(config, section), attribute) == expected
    if value != "true":
        assert config.sources == {field: f"environment {name}"}


def test_every_variable_has_a_row_above() -> None:
    assert {name for name, *_ in SETTINGS} == {name for name, *_ in VARIABLES}


def test_an_empty_variable_is_as_if_it_were_not_set() -> None:
    assert load(None, environ={name: "" for name, *_ in VARIABLES}) == Config()


@pytest.mark.parametrize(
    ("environ", "field", "expected"),
    [
        ({"HTTP_PROXY": "http://a", "http_proxy": "http://b"}, "http_proxy", Secret("http://b")),
        ({"SSL_CERT_FILE": "/etc/passwd", "SSL_VERIFY": "false"}, "ssl_verify", False),
        ({"SSL_CERT_FILE": "/etc/passwd", "SSL_VERIFY": "true"}, "ssl_verify", "/etc/passwd"),
        ({"SSL_CERT_FILE": "/etc/passwd", "SSL_VERIFY": "/etc/group"}, "ssl_verify", "/etc/group"),
    ],
)
def test_where_two_variables_say_different_things_the_stronger_wins(
    environ: dict[str, str], field: str, expected: object
) -> None:
    assert getattr(load(None, environ=environ).network, field) == expected


def test_two_master_keys_are_told_of() -> None:
    config = load(None, environ={"LITELLM_MASTER_KEY": "sk-a", "TOLLWAY_MASTER_KEY": "sk-b"})
    assert config.access.master_key == Secret("sk-b")
    assert config.warnings == ("environment: TOLLWAY_MASTER_KEY is used; LITELLM_MASTER_KEY has another value",)


def test_a_variable_that_cannot_be_obeyed_is_refused_and_not_shown() -> None:
    environ = {"JSON_LOGS": "do-not-show", "LITELLM_LOG": "do-not-show", "DATABASE_URL": "mysql://do-not-show"}
    with pytest.raises(ConfigError) as refused:
        load(None, environ=environ)
    assert refused.value.problems == [
        (
            "environment: DATABASE_URL should begin with postgresql:// or sqlite:///; the value is that of the environment "
            "variable DATABASE_URL"
        ),
        "environment: JSON_LOGS should be true or false; the value is that of the environment variable JSON_LOGS",
        (
            "environment: LITELLM_LOG should be DEBUG, INFO, WARNING, ERROR or CRITICAL; the value is that of the "
            "environment variable LITELLM_LOG"
        ),
    ]


def test_a_bundle_of_the_machine_that_is_not_there_is_told_of_and_left_out() -> None:
    config = load(None, environ={"SSL_CERT_FILE": "/gone.pem"})
    assert config.network.ssl_verify is True
    assert config.warnings == ("environment: SSL_CERT_FILE names a file that does not exist; it is not used",)


def test_a_relative_data_directory_of_the_environment_counts_from_here(directory: Path) -> None:
    assert load(None, environ={"TOLLWAY_DATA_DIR": "data"}).storage.data_dir == str(directory / "data")


def test_variables_of_the_file_take_part_without_touching_the_process(read: Any) -> None:
    before = dict(os.environ)
    config = read(
        """
        environment_variables:
          LITELLM_MASTER_KEY: sk-from-file
          MY_MODEL: openai/gpt-4o
          OPENAI_API_KEY: os.environ/OTHER
          JSON_LOGS: true
          AWS_REGION: eu-west-1
        model_list: [{model_name: a, litellm_params: {model: os.environ/MY_MODEL}}]
        """,
        {"OTHER": "sk-other", "AWS_REGION": "us-east-1"},
        provider_variables=frozenset({"AWS_REGION"}),
    )
    assert os.environ == before
    assert config.access.master_key == Secret("sk-from-file")
    assert config.logs.json is True
    assert config.models[0].provider_model == "openai/gpt-4o"
    assert config.environment == {"OPENAI_API_KEY": Secret("sk-other"), "AWS_REGION": Secret("eu-west-1")}
    assert config.sources["environment.OPENAI_API_KEY"] == "config.yaml:5"
    assert config.sources["access.master_key"] == "config.yaml:3 LITELLM_MASTER_KEY"
    assert config.warnings == (
        "config.yaml:7: environment_variables.AWS_REGION is used; AWS_REGION of the environment has another value",
    )


@pytest.mark.parametrize("name", sorted(DENIED))
def test_a_file_cannot_change_what_the_process_runs(read: Any, name: str) -> None:
    config = read(f"environment_variables: {{{name}: /evil}}", provider_variables=frozenset({name}))
    assert config.environment == {}
    assert config.network.no_proxy == ()
    assert config.warnings == (
        f"config.yaml:1: environment_variables.{name} is not taken from a file: it could change what runs here",
    )


def test_a_variable_of_the_file_that_nothing_reads_is_told_of(read: Any) -> None:
    assert read("environment_variables: {LANGFUSE_HOST: x}").warnings == (
        "config.yaml:1: environment_variables.LANGFUSE_HOST is read by nothing here; it has no effect",
    )


def test_values_of_variables_are_never_shown(problems: Any) -> None:
    assert problems("environment_variables: {A: [do-not-show], B: {c: do-not-show}}") == [
        "config.yaml:1: environment_variables.A should be text, got a list",
        "config.yaml:1: environment_variables.B should be text, got a mapping",
    ]
