"""Google Cloud's Vertex AI (https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest, 2026-11-22).

Address: `{location}-aiplatform.googleapis.com`, one host for `global`, others for the multi-regions `us` and `eu`. Greeting: a
bearer token that expires (see `google_auth`), or an API key in `x-goog-api-key` (express mode, which needs no project).

Quirks: project, location, publisher and model stand in the path, and each publisher's models are asked in their own way:

    gemini-...                      Gemini's dialect: publishers/google/models/M:generateContent
    claude-...                      Anthropic's Messages: publishers/anthropic/models/M:rawPredict, with `anthropic_version`
                                    in the body and no model
                                    (https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai)
    mistral-..., codestral-...      chat completions: publishers/mistralai/models/M:rawPredict
    publisher/model (Llama, ...)    chat completions: endpoints/openapi/chat/completions
                                    (https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/use-partner-models)
    a number                        an endpoint of one's own with a tuned Gemini; `openai/` before it: any other model there

A model may be written whole, too: `publishers/google/models/gemini-2.5-pro`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Raw

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError
from tollway.providers import (
    Introduction,
    MissingSetting,
    Provider,
    Signer,
    first_of,
    google_auth,
    greeting,
    header_lines,
    plain_url,
    text_of,
)

GEMINI, MESSAGES, CHAT = "gemini", "anthropic_messages", "openai_chat"

PROJECT_PARAMETERS = ("vertex_project", "vertex_ai_project")
PROJECT_VARIABLES = ("VERTEXAI_PROJECT", "VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT")
LOCATION_PARAMETERS = ("vertex_location", "vertex_ai_location")
LOCATION_VARIABLES = ("VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION")

INTRODUCTION = Introduction(
    display="Google Vertex AI",
    docs="https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest",
    base_url="https://{VERTEXAI_LOCATION|VERTEX_LOCATION|GOOGLE_CLOUD_LOCATION}-aiplatform.googleapis.com",
    base_url_env=("VERTEXAI_API_BASE", "VERTEX_API_BASE"),
    key_needed=False,  # a token of Google Cloud's, see `signer`
    auth="x-goog-api-key",
    operations=("chat",),
    other_env=(*PROJECT_VARIABLES, *google_auth.VARIABLES),
    parameters=(*PROJECT_PARAMETERS, *LOCATION_PARAMETERS, *google_auth.PARAMETERS),
)

#: https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai (2026-11-22)
ANTHROPIC_VERSION = Raw(b'"vertex-2023-10-16"')
#: Where nobody names a location. Newer models than Gemini 2.5 are served from `global` alone
#: (https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations, 2026-11-22).
LOCATION_DEFAULT = "us-central1"
MULTI_REGIONS = frozenset({"us", "eu"})

_PLACE_NAME = re.compile(r"[a-z0-9-]+")
_PROJECT = re.compile(r"[a-zA-Z0-9.:_-]+")
_NEWER_GEMINI = re.compile(r"gemini-(?:[3-9]|\d\d)")
_MISTRAL = re.compile(r"(?:mistral|codestral|ministral|magistral)")
_WHOLE = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?publishers/(?P<publisher>[^/]+)/models/(?P<model>.+)")


class VertexAI(Provider):
    """`place` is the path of a project and location, "" in express mode; `version` the API's."""

    dialect = GEMINI
    introduction = INTRODUCTION

    def __init__(self, name: str = "vertex_ai", version: str = "v1", place: str = "") -> None:
        self.name = name
        self.version = version
        self.place = place

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> VertexAI:
        """Raises ConfigError for a project or location that cannot stand in a path. One that nobody names is told by
        `base_url`.
        """
        project = self._project(entry, environment)
        if not project:
            return self
        return VertexAI(self.name, self.version, f"/projects/{project}/locations/{self._location(entry, environment)}")

    def base_url(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        if not self.place and entry.api_key is None:
            raise MissingSetting(self.name, (*PROJECT_VARIABLES[:1], "vertex_project"), "the project")
        written = entry.api_base or first_of(INTRODUCTION.base_url_env, environment)
        if written:
            # People write anything from the host alone to the whole path of a model.
            url = urlsplit(written.strip())
            path = re.split(r"/(?:v1|v1beta1)(?=/|$)|/projects/|/publishers/", url.path)[0]
            return plain_url(self.name, f"{url.scheme}://{url.netloc}{path}", entry)
        location = self._location(entry, environment) if self.place else "global"
        if location == "global":
            return "https://aiplatform.googleapis.com"
        if location in MULTI_REGIONS:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"

    def key(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Secret | None:
        return entry.api_key

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, greeting(INTRODUCTION.auth, key), entry)

    def signer(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> Signer | None:
        if entry.api_key is not None or "authorization" in {name.lower() for name in entry.extra_headers}:
            return None
        return google_auth.GoogleSigner(google_auth.identity_of(self.name, entry, environment))

    def path(self, operation: str, model: str) -> str | None:
        return self.chat_path(self.dialects(model)[0], model, streaming=False) if operation == "chat" else None

    def dialects(self, model: str) -> tuple[str, ...]:
        publisher, name = _publisher_of(model)
        if publisher == "anthropic":
            return (MESSAGES,)
        return (GEMINI,) if publisher == "google" or (not publisher and name.isdigit()) else (CHAT,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        publisher, name = _publisher_of(model)
        if dialect == GEMINI:
            method = "streamGenerateContent?alt=sse" if streaming else "generateContent"
            place = f"publishers/google/models/{name}" if publisher else f"endpoints/{name}"
        elif publisher in ("anthropic", "mistralai"):
            method = "streamRawPredict" if streaming else "rawPredict"
            place = f"publishers/{publisher}/models/{name}"
        else:
            endpoint = name if publisher == "openai" and name.isdigit() else "openapi"
            return f"/{self.version}{self.place}/endpoints/{endpoint}/chat/completions"
        return f"/{self.version}{self.place}/{quote(place, safe='/@')}:{method}"

    def model_name(self, model: str) -> str:
        return model.removeprefix("gemini/")

    def adapt(self, fields: dict[str, Any]) -> list[str]:
        return []

    def envelop(self, dialect: str, fields: dict[str, Any], *, streaming: bool, betas: Sequence[str] = ()) -> None:
        if dialect == MESSAGES:
            fields.pop("model", None)
            fields.setdefault("anthropic_version", ANTHROPIC_VERSION)
        elif dialect == CHAT:
            publisher, name = _publisher_of(text_of(fields.get("model")))
            written = name.partition("@")[0] if publisher == "mistralai" else f"{publisher}/{name}"
            fields["model"] = Raw(msgspec.json.encode(written))

    # --- where

    def _project(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        """The entry's, a variable's, or the one that the credentials name."""
        project = _setting(entry, PROJECT_PARAMETERS) or first_of(PROJECT_VARIABLES, environment) or ""
        if not project and entry.api_key is None and google_auth.is_installed():
            project = google_auth.project_in(google_auth.identity_of(self.name, entry, environment))
        return self._checked(project.strip(), _PROJECT, entry, "project")

    def _location(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> str:
        location = _setting(entry, LOCATION_PARAMETERS) or first_of(LOCATION_VARIABLES, environment) or ""
        if not location:
            newer = _NEWER_GEMINI.match(_publisher_of(entry.provider_model.rpartition("vertex_ai/")[2])[1])
            location = "global" if newer else LOCATION_DEFAULT
        return self._checked(location.strip().lower(), _PLACE_NAME, entry, "location")

    def _checked(self, value: str, pattern: re.Pattern[str], entry: ModelEntry, what: str) -> str:
        if value and not pattern.fullmatch(value):
            place = f"{entry.place}: " if entry.place else ""
            raise ConfigError([f"{place}{self.name}: {value!r} is no {what} of Google Cloud's"])
        return value


def _publisher_of(model: str) -> tuple[str, str]:
    """("google", "gemini-2.5-pro"), ("meta", "llama-3.3-70b-instruct-maas"), ("", "1234567890") for an endpoint."""
    whole = _WHOLE.fullmatch(model)
    if whole is not None:
        return whole["publisher"], whole["model"]
    publisher, slash, name = model.partition("/")
    if slash:
        return publisher, name
    if model.startswith("claude"):
        return "anthropic", model
    if _MISTRAL.match(model):
        return "mistralai", model
    return ("" if model.isdigit() else "google"), model


def _setting(entry: ModelEntry, names: tuple[str, ...]) -> str:
    for name in names:
        value = entry.provider_params.get(name)
        if value:
            return value.reveal() if isinstance(value, Secret) else str(value)
    return ""
