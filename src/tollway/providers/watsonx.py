"""IBM watsonx.ai (https://cloud.ibm.com/apidocs/watsonx-ai#text-chat, 2026-11-22).

Address: `{region}.ml.cloud.ibm.com`. Greeting: an IBM Cloud API key is exchanged for a bearer token of an hour at
`iam.cloud.ibm.com/identity/token` (https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey); a token of one's own
(`token`, WATSONX_TOKEN) is shown as it is, and a key of an installation of one's own as `ZenApiKey` (`zen_api_key`,
WATSONX_ZENAPIKEY).

Quirks: chat is OpenAI's but for these. The model is `model_id`, beside the project or space that pays; a model deployed in a
space (`deployment/<id>`) stands in the path alone. Streams have a path of their own, no field, no end mark, and always tell
their usage. A tool choice that is a word is `tool_choice_option`. The output limit is `max_completion_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import (
    Introduction,
    MissingSetting,
    Signer,
    drop_fields,
    first_of,
    greeting,
    header_lines,
    text_of,
)
from tollway.providers.openai_compatible import OpenAICompatible
from tollway.providers.tokens import (
    Token,
    TokenSigner,
    answer,
    checked_url,
    form,
    has_own_authorization,
    setting,
    tls_of,
    token_in,
)
from tollway.upstream.wire import Upstream

PROJECT_VARIABLES = ("WATSONX_PROJECT_ID", "WX_PROJECT_ID")
SPACE_VARIABLES = ("WATSONX_DEPLOYMENT_SPACE_ID", "WATSONX_SPACE_ID", "WX_SPACE_ID")
TOKEN_VARIABLES = ("WATSONX_TOKEN",)
ZEN_VARIABLES = ("WATSONX_ZENAPIKEY",)
INTRODUCTION = Introduction(
    display="IBM watsonx.ai",
    docs="https://cloud.ibm.com/apidocs/watsonx-ai#text-chat",
    base_url="https://{WATSONX_REGION|WX_REGION}.ml.cloud.ibm.com",
    base_url_env=("WATSONX_API_BASE", "WATSONX_URL", "WX_URL", "WML_URL"),
    key_env=("WATSONX_APIKEY", "WATSONX_API_KEY", "WX_API_KEY"),
    operations=("chat",),
    output_limit="max_completion_tokens",
    stream_usage=False,
    other_env=(*PROJECT_VARIABLES, *SPACE_VARIABLES, *TOKEN_VARIABLES, *ZEN_VARIABLES, "WATSONX_IAM_URL"),
    parameters=("project_id", "space_id", "token", "watsonx_region_name", "zen_api_key"),
)
#: https://cloud.ibm.com/apidocs/watsonx-ai#active-version-dates (2026-11-22)
VERSION_DEFAULT = "2025-10-01"
IAM_URL = "https://iam.cloud.ibm.com"
WHO = "IBM Cloud"
DEPLOYMENT = "deployment/"
#: OpenAI's fields that its schema does not have (TextChatRequest, same page).
_UNKNOWN = (
    "audio",
    "modalities",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
    "web_search_options",
)


class Watsonx(OpenAICompatible):
    """`payer` is the field that says who pays: ("project_id", "..."), ("space_id", "..."), or None."""

    def __init__(self, version: str = VERSION_DEFAULT, payer: tuple[str, str] | None = None) -> None:
        super().__init__("watsonx", INTRODUCTION)
        self.version = version
        self.payer = payer

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Watsonx:
        version = entry.api_version or VERSION_DEFAULT
        project, space = setting(entry, "project_id"), setting(entry, "space_id")
        if not project and not space:
            project = first_of(PROJECT_VARIABLES, environment) or ""
            space = first_of(SPACE_VARIABLES, environment) or ""
        if project or space:
            return Watsonx(version, ("project_id", project) if project else ("space_id", space))
        return Watsonx(version)

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """Raises MissingSetting also where nobody is named who pays."""
        region = setting(entry, "watsonx_region_name")
        variables = {**environment, "WATSONX_REGION": Secret(region)} if region else environment
        if self.payer is None and not entry.provider_model.removeprefix("watsonx/").startswith(DEPLOYMENT):
            raise MissingSetting(
                self.name, (PROJECT_VARIABLES[0], "project_id", "space_id"), "the project or space that pays"
            )
        return super().base_url(entry, variables)

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        """What is shown as it is; None where a token is fetched. Raises MissingSetting."""
        shown = _shown(entry, environment)
        if not shown and not self._api_key(entry, environment) and not has_own_authorization(entry):
            raise MissingSetting(self.name, (*INTRODUCTION.key_env, "api_key"), "a key")
        return Secret(shown) if shown else None

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        if key is not None and key.reveal().startswith("ZenApiKey "):
            return header_lines(self.name, [("authorization", key.reveal())], entry)
        return header_lines(self.name, greeting("bearer", key), entry)

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        key = self._api_key(entry, environment)
        if not key or _shown(entry, environment) or has_own_authorization(entry):
            return None
        iam = checked_url(self.name, entry, "WATSONX_IAM_URL", first_of(("WATSONX_IAM_URL",), environment) or IAM_URL)
        url = iam if iam.endswith("/token") else iam + "/identity/token"
        asked, tls = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": key}, tls_of(entry)

        async def fetch(upstream: Upstream, now_s: float) -> Token:
            return token_in(await answer(upstream, form(url, asked, tls=tls), WHO), now_s, WHO)

        return TokenSigner(WHO, fetch)

    def path(self, operation: str, model: str) -> str | None:
        return self.chat_path(self.dialect, model, streaming=False) if operation == "chat" else None

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        ending = "chat_stream" if streaming else "chat"
        place = f"deployments/{quote(model.removeprefix(DEPLOYMENT), safe='')}/" if model.startswith(DEPLOYMENT) else ""
        return f"/ml/v1/{place}text/{ending}?version={quote(self.version, safe='')}"

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        return super().adapt(fields) + drop_fields(fields, _UNKNOWN)

    def envelop(self, dialect: str, fields: dict[str, Any], *, streaming: bool, betas: Sequence[str] = ()) -> None:
        fields.pop("stream", None)
        model = fields.pop("model", None)
        if not text_of(model).startswith(DEPLOYMENT):
            fields["model_id"] = model
            if self.payer is not None and not {"project_id", "space_id"} & fields.keys():
                fields[self.payer[0]] = Raw(msgspec.json.encode(self.payer[1]))
        if text_of(fields.get("tool_choice")):
            fields["tool_choice_option"] = fields.pop("tool_choice")

    def _api_key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        if entry.api_key is not None:
            return entry.api_key.reveal().strip()
        return (first_of(INTRODUCTION.key_env, environment) or "").strip()


def _shown(entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
    """A token or a key that needs no exchange: the entry's, or where it has no API key a variable's."""
    token, zen = setting(entry, "token"), setting(entry, "zen_api_key")
    if not token and not zen and entry.api_key is None and not first_of(INTRODUCTION.key_env, environment):
        token = (first_of(TOKEN_VARIABLES, environment) or "").strip()
        zen = (first_of(ZEN_VARIABLES, environment) or "").strip()
    return token or (f"ZenApiKey {zen}" if zen else "")
