from __future__ import annotations

from typing import Any

import pytest

from tollway.config.settings import JwtIssuer, ScopeRights


def general(written: str) -> str:
    return f"model_list: []\ngeneral_settings:\n  litellm_jwtauth: {written}\n"


def test_words_for_routes_become_ours(read: Any) -> None:
    settings = read(
        general("{admin_allowed_routes: [openai_routes, spend_tracking_routes, management_routes, /v1/models]}")
    )
    assert settings.access.jwt.admin_routes == ("llm_api_routes", "management_routes", "/v1/models")


def test_maps_of_roles_and_scopes_are_read(read: Any) -> None:
    written = (
        "{role_mappings: [{role: admins, internal_role: proxy_admin}],"
        " jwt_litellm_role_map: [{jwt_role: 'dev-*', litellm_role: internal_user}],"
        " scope_mappings: [{scope: s, models: [a, b], routes: [/v1/models]}]}"
    )
    jwt = read(general(written)).access.jwt
    assert jwt.roles == (("admins", "proxy_admin"),)
    assert jwt.role_patterns == (("dev-*", "internal_user"),)
    assert jwt.scopes == (ScopeRights("s", ("a", "b"), ("/v1/models",)),)


def test_an_issuer_has_keys_an_audience_and_claims_of_its_own(read: Any) -> None:
    written = (
        "{issuers: [{issuer: https://a.example, audience: one, team_id_jwt_field: team},"
        " {issuer: https://b.example, audience: [x, y], jwks_url: https://b.example/k}]}"
    )
    assert read(general(written)).access.jwt.issuers == (
        JwtIssuer("https://a.example", None, ("one",), {"team_claim": "team"}),
        JwtIssuer("https://b.example", "https://b.example/k", ("x", "y")),
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "{team_ids_jwt_fields: groups}",
            "litellm_jwtauth.team_ids_jwt_fields is not known; did you mean team_ids_jwt_field?",
        ),
        ("{team_allowed_routes: [everything]}", "litellm_jwtauth.team_allowed_routes[0] should be a path or one of"),
        ("{issuers: [{audience: x}]}", "litellm_jwtauth.issuers[0] should name its issuer"),
        ("{role_mappings: [{role: a, internal_role: king}]}", "internal_role should be one of"),
        ("{scope_mappings: [{models: [a]}]}", "should name a scope"),
    ],
)
def test_a_mistake_is_named_with_its_place(problems: Any, written: str, said: str) -> None:
    (problem,) = problems(general(written))
    assert problem.startswith("config.yaml:3: general_settings.")
    assert said in problem


def test_what_has_no_effect_is_said(read: Any) -> None:
    config = read(general("{custom_validate: my.code, oidc_userinfo_enabled: true}"))
    assert sum("litellm_jwtauth" in warning and "no effect" in warning for warning in config.warnings) == 2
