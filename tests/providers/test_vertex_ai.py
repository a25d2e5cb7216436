from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.calls import Secret
from tollway.errors import ConfigError
from tollway.providers import MissingSetting, google_auth, registry
from tollway.providers.google_auth import GoogleSigner, Identity
from tollway.providers.vertex_ai import VertexAI

PLACE = {"VERTEXAI_PROJECT": "mine", "VERTEXAI_LOCATION": "europe-west4"}
AT = "https://europe-west4-aiplatform.googleapis.com/v1/projects/mine/locations/europe-west4/"


@pytest.fixture
def vertex() -> Any:
    return registry.find("vertex_ai")


@pytest.mark.parametrize(
    ("model", "dialect", "end", "streamed"),
    [
        (
            "gemini-2.5-pro",
            "gemini",
            "publishers/google/models/gemini-2.5-pro:generateContent",
            "publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        ),
        (
            "publishers/google/models/gemini-x",
            "gemini",
            "publishers/google/models/gemini-x:generateContent",
            "publishers/google/models/gemini-x:streamGenerateContent?alt=sse",
        ),
        ("gemini/1234", "gemini", "endpoints/1234:generateContent", "endpoints/1234:streamGenerateContent?alt=sse"),
        (
            "claude-opus-4-6@default",
            "anthropic_messages",
            "publishers/anthropic/models/claude-opus-4-6@default:rawPredict",
            "publishers/anthropic/models/claude-opus-4-6@default:streamRawPredict",
        ),
        (
            "mistral-medium-3@001",
            "openai_chat",
            "publishers/mistralai/models/mistral-medium-3@001:rawPredict",
            "publishers/mistralai/models/mistral-medium-3@001:streamRawPredict",
        ),
        *(
            (model, "openai_chat", "endpoints/openapi/chat/completions", "endpoints/openapi/chat/completions")
            for model in (
                "meta/llama-3.3-70b-instruct-maas",
                "deepseek-ai/deepseek-v3.2-maas",
                "openai/gpt-oss-120b-maas",
            )
        ),
        ("openai/987", "openai_chat", "endpoints/987/chat/completions", "endpoints/987/chat/completions"),
    ],
)
def test_each_publishers_models_are_asked_in_their_own_way(
    vertex: Any, wire: Any, model: str, dialect: str, end: str, streamed: str
) -> None:
    assert wire(vertex, model=model, environment=PLACE).url == AT + end
    at = VertexAI(place="/projects/mine/locations/europe-west4")
    name = at.model_name(model)
    assert at.dialects(name) == (dialect,)
    assert at.chat_path(dialect, name, streaming=True) == "/v1/projects/mine/locations/europe-west4/" + streamed


def test_the_beta_has_a_version_of_its_own(wire: Any) -> None:
    url = wire(registry.find("vertex_ai_beta"), model="gemini-2.5-pro", environment=PLACE).url
    assert url.startswith("https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/mine/")


@pytest.mark.parametrize(
    ("model", "location", "host"),
    [
        ("gemini-2.5-pro", "", "us-central1-aiplatform.googleapis.com"),
        ("gemini-3-pro-preview", "", "aiplatform.googleapis.com"),
        ("claude-opus-4-6", "global", "aiplatform.googleapis.com"),
        ("claude-opus-4-6", "eu", "aiplatform.eu.rep.googleapis.com"),
        ("claude-opus-4-6", "Europe-West1", "europe-west1-aiplatform.googleapis.com"),
    ],
)
def test_a_location_has_its_host(vertex: Any, entry: Any, model: str, location: str, host: str) -> None:
    params = {"vertex_project": "mine", **({"vertex_location": location} if location else {})}
    settings = msgspec.structs.replace(entry(provider_params=params), provider_model=f"vertex_ai/{model}")
    bound = vertex.at(settings, {})
    assert bound.base_url(settings, {}) == f"https://{host}"
    assert f"/locations/{location.lower() or ('global' if '3' in model else 'us-central1')}/" in bound.path(
        "chat", model
    )


@pytest.mark.parametrize(
    "base",
    [
        "https://proxy.example/g",
        "https://proxy.example/g/v1/projects/p/locations/l/publishers/google/models/m",
        "https://proxy.example/g/v1beta1/",
    ],
)
def test_an_address_of_ones_own_is_followed_by_the_place(vertex: Any, wire: Any, base: str) -> None:
    url = wire(vertex, model="gemini-x", environment=PLACE, api_base=base).url
    assert url == "https://proxy.example/g" + AT.removeprefix("https://europe-west4-aiplatform.googleapis.com") + (
        "publishers/google/models/gemini-x:generateContent"
    )


def test_an_api_key_needs_neither_project_nor_token(vertex: Any, wire: Any, entry: Any) -> None:
    out = wire(vertex, model="gemini-x", api_key="k")
    assert out.url == "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-x:generateContent"
    assert out.headers == {"x-goog-api-key": "k"}
    assert vertex.signer(entry(api_key="k"), {}) is None


def test_a_project_is_needed_and_may_be_the_credentials(vertex: Any, wire: Any) -> None:
    with pytest.raises(MissingSetting, match="VERTEXAI_PROJECT or vertex_project"):
        wire(vertex, model="gemini-x")
    info = '{"type":"service_account","project_id":"theirs"}'
    assert "/projects/theirs/" in wire(vertex, model="gemini-x", environment={"VERTEXAI_CREDENTIALS": info}).url


@pytest.mark.parametrize(
    "params", [{"vertex_project": "a/b"}, {"vertex_project": "a", "vertex_location": "evil.example/"}]
)
def test_what_cannot_stand_in_a_path_is_refused(vertex: Any, entry: Any, params: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="of Google Cloud's"):
        vertex.at(entry(provider_params=params), {})


def test_bodies_are_put_into_vertex_envelopes(vertex: Any) -> None:
    claude = {"model": Raw(b'"claude-x"'), "messages": Raw(b"[]"), "stream": Raw(b"true")}
    vertex.envelop("anthropic_messages", claude, streaming=True)
    assert msgspec.json.encode(claude) == b'{"messages":[],"stream":true,"anthropic_version":"vertex-2023-10-16"}'
    for model, written in (
        ("mistral-medium-3@001", "mistral-medium-3"),
        ("meta/llama-x-maas", "meta/llama-x-maas"),
        ("publishers/meta/models/llama-x-maas", "meta/llama-x-maas"),
    ):
        fields: dict[str, Any] = {"model": Raw(msgspec.json.encode(model))}
        vertex.envelop("openai_chat", fields, streaming=False)
        assert msgspec.json.decode(fields["model"]) == written


def test_only_chat_is_offered(vertex: Any) -> None:
    assert vertex.path("embeddings", "gemini-embedding-001") is None


def test_a_bearer_of_ones_own_is_not_signed_over(vertex: Any, entry: Any) -> None:
    assert vertex.signer(entry(extra_headers={"Authorization": "Bearer mine"}), {}) is None


def test_a_signer_belongs_to_whose_credentials_are_written(vertex: Any, entry: Any) -> None:
    params = {"vertex_credentials": Secret('{"type":"service_account"}')}
    signer = vertex.signer(entry(provider_params=params), {})
    assert isinstance(signer, GoogleSigner)
    assert google_auth.identity_of("vertex_ai", entry(provider_params=params), {}) == Identity(
        info=Secret('{"type":"service_account"}')
    )
