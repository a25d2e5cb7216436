"""What the settings of single sign-on may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tollway.admin.roles import USER_ROLES
from tollway.config import load
from tollway.config.sign_in import ROLES
from tollway.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PROXY_BASE_URL", "llm.example", "begins with http"),
        ("PROXY_BASE_URL", "https://llm.example/?x=1", "without a query"),
        ("GENERIC_ISSUER", "http://169.254.169.254/", "link-local"),
        ("ALLOWED_EMAIL_DOMAINS", "example", "like example.com"),
        ("ALLOWED_EMAIL_DOMAINS", ",", "like example.com"),
        ("GENERIC_ROLE_MAPPINGS_DEFAULT_ROLE", "proxy-admin", "did you mean proxy_admin"),
        ("GENERIC_ROLE_MAPPINGS_ROLES", "{'root': ['x']}", "groups that have them"),
        ("GENERIC_ROLE_MAPPINGS_ROLES", "{'proxy_admin': 5}", "groups that have them"),
        ("GENERIC_ROLE_MAPPINGS_ROLES", "__import__('os')", "groups that have them"),
        ("GENERIC_ROLE_MAPPINGS_ROLES", "{}", "groups that have them"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_with_what_was_expected(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, environ={name: value})


def test_what_new_users_have_is_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "litellm_settings:\n  default_internal_user_params:\n    user_role: internal_user\n    max_budget: 5\n"
    )
    assert load(str(path), environ={}).sign_in.default_user_params == {"user_role": "internal_user", "max_budget": 5}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("user_role: king", "should be one of"),
        ("max_budgets: 5", "did you mean max_budget"),
        ("max_budget: x", "should be a number"),
    ],
)
def test_a_field_that_new_users_cannot_have_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"litellm_settings:\n  default_internal_user_params:\n    {line}\n")
    with pytest.raises(ConfigError, match=said):
        load(str(path), environ={})


def test_the_roles_are_those_that_users_may_be_given() -> None:
    assert ROLES == USER_ROLES
