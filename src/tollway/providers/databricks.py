"""Databricks (https://docs.databricks.com/aws/en/machine-learning/model-serving/score-foundation-models, 2026-11-22).

Address: the workspace's, with `/serving-endpoints`. Greeting: a personal access token as a bearer; or a service principal's id
and secret, which the workspace itself exchanges for a token of an hour at `/oidc/v1/token`
(https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m, 2026-11-22).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import Introduction, MissingSetting, Signer, first_of
from tollway.providers.openai_compatible import OpenAICompatible
from tollway.providers.tokens import Token, TokenSigner, answer, form, has_own_authorization, setting, tls_of, token_in
from tollway.upstream.wire import Upstream

INTRODUCTION = Introduction(
    display="Databricks",
    docs="https://docs.databricks.com/aws/en/machine-learning/model-serving/score-foundation-models",
    base_url_end="/serving-endpoints",
    base_url_env=("DATABRICKS_API_BASE",),
    key_env=("DATABRICKS_API_KEY",),
    operations=("chat", "embeddings"),
    output_limit="max_tokens",
    other_env=("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"),
    parameters=("client_id", "client_secret"),
)
TOKEN_PATH = "/oidc/v1/token"  # noqa: S105  # a path
SCOPE = "all-apis"
WHO = "Databricks"


class Databricks(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("databricks", INTRODUCTION)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """None where a token is fetched. Raises MissingSetting."""
        if entry.api_key is not None or has_own_authorization(entry):
            return entry.api_key
        found = first_of(INTRODUCTION.key_env, environment)
        if found and not setting(entry, "client_secret"):
            return Secret(found)
        if self._principal(entry, environment) is None:
            raise MissingSetting(
                self.name,
                (*INTRODUCTION.key_env, "api_key", "DATABRICKS_CLIENT_SECRET"),
                "a key or a service principal",
            )
        return None

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        principal = self._principal(entry, environment)
        if principal is None or has_own_authorization(entry) or self.key(entry, environment) is not None:
            return None
        basic = "Basic " + base64.b64encode(principal.reveal().encode()).decode()
        parts = urlsplit(self.base_url(entry, environment))
        url, tls = f"{parts.scheme}://{parts.netloc}{TOKEN_PATH}", tls_of(entry)

        async def fetch(upstream: Upstream, now_s: float) -> Token:
            asked = {"grant_type": "client_credentials", "scope": SCOPE}
            request = form(url, asked, [("authorization", basic)], tls)
            return token_in(await answer(upstream, request, WHO), now_s, WHO)

        return TokenSigner(WHO, fetch)

    def _principal(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """`id:secret`; None where there is none. Raises MissingSetting for half of one."""
        secret = setting(entry, "client_secret") or first_of(("DATABRICKS_CLIENT_SECRET",), environment) or ""
        client = setting(entry, "client_id") or first_of(("DATABRICKS_CLIENT_ID",), environment) or ""
        if secret and not client:
            raise MissingSetting(self.name, ("DATABRICKS_CLIENT_ID", "client_id"), "its service principal's id")
        return Secret(f"{client.strip()}:{secret.strip()}") if secret else None
