"""What `litellm_jwtauth` may hold: which claims of a signed token mean what.

The names are LiteLLM's (https://docs.litellm.ai/docs/proxy/jwt_auth_reference, 2026-11-22).
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from tollway.config.findings import nearest
from tollway.config.settings import JwtIssuer, JwtSettings, ScopeRights
from tollway.config.sign_in import ROLES
from tollway.config.values import NOT_GIVEN, Given, Kind, boolean, filled_text, http_address, text, texts, whole_number

#: Where LiteLLM's words for groups of paths lead here.
_ROUTES = {
    "openai_routes": "llm_api_routes",
    "anthropic_routes": "llm_api_routes",
    "google_routes": "llm_api_routes",
    "mapped_pass_through_routes": "llm_api_routes",
    "passthrough_routes_wildcard": "llm_api_routes",
    "llm_api_routes": "llm_api_routes",
    "info_routes": "info_routes",
    "management_routes": "management_routes",
    "spend_tracking_routes": "management_routes",
    "global_spend_tracking_routes": "management_routes",
}
#: What LiteLLM has and this gateway does not do: said, and without effect.
_LACKING = frozenset(
    {
        *("oidc_userinfo_enabled", "oidc_userinfo_endpoint", "oidc_userinfo_cache_ttl", "custom_validate"),
        *("virtual_key_claim_field", "virtual_key_mapping_cache_ttl", "routing_overrides", "team_claim_fallback"),
        *("sync_user_role_and_teams", "public_allowed_routes", "unregistered_jwt_client_behavior"),
        *("mcp_client_id_jwt_field", "object_id_jwt_field", "org_alias_jwt_field"),
    }
)


def routes(given: Given) -> tuple[str, ...]:
    """Paths, and LiteLLM's words for groups of them."""
    found = []
    for item in given.items():
        word = item.read(filled_text)
        if word is NOT_GIVEN:
            continue
        if word.startswith("/"):
            found.append(word)
        elif word in _ROUTES:
            found.append(_ROUTES[word])
        else:
            item.problem(f"should be a path or one of {', '.join(_ROUTES)}")
    return tuple(dict.fromkeys(found))


def addresses(given: Given) -> tuple[str, ...]:
    """ "https://id.example.com/keys, https://..."."""
    found = tuple(part.strip() for part in filled_text(given).split(",") if part.strip())
    if not found or not all(part.startswith(("http://", "https://")) for part in found):
        raise given.mistake(
            "should be addresses of public keys with commas between them, like https://id.example.com/jwks"
        )
    return found


def audiences(given: Given) -> tuple[str, ...]:
    return texts(given) if isinstance(given.node.content, list) else (filled_text(given),)


def _rights(given: Given) -> tuple[ScopeRights, ...]:
    """[{"scope": "models.read", "models": ["gpt-4o"], "routes": ["/v1/models"]}]."""
    found = []
    for item in given.items():
        fields = _known(item, {"scope": filled_text, "models": texts, "routes": routes})
        if "scope" not in fields:
            item.problem("should name a scope")
            continue
        found.append(ScopeRights(fields["scope"], fields.get("models", ()), fields.get("routes", ())))
    return tuple(found)


def _roles(given_name: str, role_name: str) -> Kind:
    def kind(given: Given) -> tuple[tuple[str, str], ...]:
        found = []
        for item in given.items():
            fields = _known(item, {given_name: filled_text, role_name: filled_text})
            if given_name not in fields or role_name not in fields:
                item.problem(f"should name {given_name} and {role_name}")
            elif fields[role_name] not in (*ROLES, "team"):
                item.problem(f"{role_name} should be one of {', '.join((*ROLES, 'team'))}")
            else:
                found.append((fields[given_name], fields[role_name]))
        return tuple(found)

    return kind


#: LiteLLM's word -> (the field, what it may hold), for all tokens and for those of one issuer.
_CLAIMS: dict[str, tuple[str, Kind]] = {
    "admin_jwt_scope": ("admin_scope", text),
    "user_id_jwt_field": ("user_claim", filled_text),
    "user_email_jwt_field": ("email_claim", filled_text),
    "user_allowed_email_domain": ("email_domain", filled_text),
    "user_roles_jwt_field": ("user_roles_claim", filled_text),
    "user_allowed_roles": ("user_roles", texts),
    "roles_jwt_field": ("roles_claim", filled_text),
    "team_id_jwt_field": ("team_claim", filled_text),
    "team_ids_jwt_field": ("teams_claim", filled_text),
    "team_alias_jwt_field": ("team_alias_claim", filled_text),
    "team_id_default": ("team_default", filled_text),
    "org_id_jwt_field": ("organization_claim", filled_text),
    "end_user_id_jwt_field": ("end_user_claim", filled_text),
}
_ALL: dict[str, tuple[str, Kind]] = {
    **_CLAIMS,
    "admin_allowed_routes": ("admin_routes", routes),
    "team_allowed_routes": ("team_routes", routes),
    "user_id_upsert": ("makes_users", boolean),
    "team_id_upsert": ("makes_teams", boolean),
    "public_key_ttl": ("keys_s_max", whole_number(10, 7 * 86_400)),
    "enforce_rbac": ("role_needed", boolean),
    "enforce_team_based_model_access": ("team_needed", boolean),
    "enforce_scope_based_access": ("scope_needed", boolean),
    "scope_mappings": ("scopes", _rights),
    "role_mappings": ("roles", _roles("role", "internal_role")),
    "jwt_litellm_role_map": ("role_patterns", _roles("jwt_role", "litellm_role")),
}


def jwt_auth(given: Given) -> JwtSettings:
    """{"user_id_jwt_field": "sub", "team_ids_jwt_field": "groups", "issuers": [{"issuer": "https://...", ...}], ...}."""
    fields = dict(given.fields())
    issuers = fields.pop("issuers", None)
    settings = JwtSettings(**_fields(fields, _ALL))
    if issuers is None:
        return settings
    return structs.replace(settings, issuers=tuple(filter(None, (_issuer(item) for item in issuers.items()))))


def _issuer(given: Given) -> JwtIssuer | None:
    own: dict[str, tuple[str, Kind]] = {
        "issuer": ("issuer", filled_text),
        "audience": ("audiences", audiences),
        "jwks_url": ("keys_url", http_address),
        "public_key_url": ("keys_url", http_address),
    }
    fields = given.fields()
    values = _fields({name: field for name, field in fields.items() if name in own or name not in _CLAIMS}, own)
    if "issuer" not in values:
        given.problem("should name its issuer")
        return None
    return JwtIssuer(
        **values, claims=_fields({name: field for name, field in fields.items() if name in _CLAIMS}, _CLAIMS)
    )


def _fields(fields: dict[str, Given], table: dict[str, tuple[str, Kind]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in _LACKING:
            field.warn("is a LiteLLM setting that Tollway does not have yet; it has no effect")
        elif name not in table:
            near = nearest(name, table)
            field.problem(f"is not known{f'; did you mean {near}?' if near else ''}")
        elif (value := field.read(table[name][1])) is not NOT_GIVEN:
            values[table[name][0]] = value
    return values


def _known(given: Given, kinds: dict[str, Kind]) -> dict[str, Any]:
    return _fields(dict(given.fields()), {name: (name, kind) for name, kind in kinds.items()})
