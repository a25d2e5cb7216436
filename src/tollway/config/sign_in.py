"""What the settings of single sign-on may hold: LiteLLM's variables, and one of ours (`GENERIC_ISSUER`)."""

from __future__ import annotations

import ast
import re
from typing import Any

from tollway.config.findings import nearest
from tollway.config.values import (
    Given,
    Kind,
    boolean,
    decimal_text,
    duration,
    filled_secret,
    filled_text,
    http_address,
    plain_mapping,
    texts,
)

#: The roles of users, as `/user/new` takes them.
ROLES = ("proxy_admin", "proxy_admin_viewer", "org_admin", "internal_user", "internal_user_viewer")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_USER_PARAMS = frozenset({"user_role", "max_budget", "budget_duration", "models", "teams"})


def base_url(given: Given) -> str:
    """An address without its end slash."""
    address = http_address(given)
    if "?" in address or "#" in address:
        raise given.mistake("should be an address without a query")
    return address.rstrip("/")


def email_domains(given: Given) -> tuple[str, ...]:
    """ "example.com, example.org"."""
    domains = tuple(word.strip().lower().removeprefix("@") for word in filled_text(given).split(",") if word.strip())
    if not domains or not all(_DOMAIN.fullmatch(domain) for domain in domains):
        raise given.mistake("should be domains of e-mail addresses with commas between them, like example.com")
    return domains


def role(given: Given) -> str:
    value = filled_text(given)
    if value not in ROLES:
        near = nearest(value, ROLES)
        hint = f" (did you mean {near}?)" if near else ""
        raise given.mistake(f"should be one of {', '.join(ROLES)}{hint}")
    return value


def role_groups(given: Given) -> dict[str, tuple[str, ...]]:
    """{"proxy_admin": ["admins"], "internal_user": ["users"]}, as Python or JSON writes it."""
    try:
        read = ast.literal_eval(filled_text(given))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        read = None
    groups: dict[str, tuple[str, ...]] = {}
    for name, words in read.items() if isinstance(read, dict) else ():
        listed = [words] if isinstance(words, str) else words
        if name not in ROLES or not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
            break
        groups[name] = tuple(listed)
    if not groups or len(groups) != len(read):
        raise given.mistake('should be roles and the groups that have them, like {"proxy_admin": ["admins"]}')
    return groups


def default_user_params(given: Given) -> dict[str, Any]:
    """What a new user has that nobody says something else of."""
    kinds: dict[str, Kind] = {
        "user_role": role,
        "max_budget": decimal_text,
        "budget_duration": duration,
        "models": texts,
        "teams": texts,
    }
    for name, field in given.fields().items():
        if name not in _USER_PARAMS:
            near = nearest(name, _USER_PARAMS)
            field.problem(f"is no field that new users have by default{f'; did you mean {near}?' if near else ''}")
        else:
            field.read(kinds[name])
    return plain_mapping(given)


#: As the rows of `environment.VARIABLES`.
SIGN_IN_VARIABLES: tuple[tuple[str, str, Kind], ...] = (
    ("PROXY_BASE_URL", "sign_in.public_url", base_url),
    ("AUTO_REDIRECT_UI_LOGIN_TO_SSO", "sign_in.sso_first", boolean),
    ("PROXY_ADMIN_ID", "sign_in.admin_id", filled_text),
    ("ALLOWED_EMAIL_DOMAINS", "sign_in.email_domains", email_domains),
    ("GOOGLE_CLIENT_ID", "sign_in.google_client_id", filled_text),
    ("GOOGLE_CLIENT_SECRET", "sign_in.google_client_secret", filled_secret),
    ("MICROSOFT_CLIENT_ID", "sign_in.microsoft_client_id", filled_text),
    ("MICROSOFT_CLIENT_SECRET", "sign_in.microsoft_client_secret", filled_secret),
    ("MICROSOFT_TENANT", "sign_in.microsoft_tenant", filled_text),
    ("GENERIC_CLIENT_ID", "sign_in.generic_client_id", filled_text),
    ("GENERIC_CLIENT_SECRET", "sign_in.generic_client_secret", filled_secret),
    ("GENERIC_ISSUER", "sign_in.generic_issuer", http_address),
    ("GENERIC_AUTHORIZATION_ENDPOINT", "sign_in.generic_authorization_endpoint", http_address),
    ("GENERIC_TOKEN_ENDPOINT", "sign_in.generic_token_endpoint", http_address),
    ("GENERIC_USERINFO_ENDPOINT", "sign_in.generic_userinfo_endpoint", http_address),
    ("GENERIC_SCOPE", "sign_in.generic_scope", filled_text),
    ("GENERIC_INCLUDE_CLIENT_ID", "sign_in.generic_include_client_id", boolean),
    ("GENERIC_CLIENT_USE_PKCE", "sign_in.generic_pkce", boolean),
    ("GENERIC_USER_ID_ATTRIBUTE", "sign_in.generic_id_attribute", filled_text),
    ("GENERIC_USER_EMAIL_ATTRIBUTE", "sign_in.generic_email_attribute", filled_text),
    ("GENERIC_USER_DISPLAY_NAME_ATTRIBUTE", "sign_in.generic_name_attribute", filled_text),
    ("GENERIC_USER_ROLE_ATTRIBUTE", "sign_in.generic_role_attribute", filled_text),
    ("GENERIC_ROLE_MAPPINGS_GROUP_CLAIM", "sign_in.generic_group_claim", filled_text),
    ("GENERIC_ROLE_MAPPINGS_ROLES", "sign_in.generic_role_groups", role_groups),
    ("GENERIC_ROLE_MAPPINGS_DEFAULT_ROLE", "sign_in.generic_role_otherwise", role),
)
