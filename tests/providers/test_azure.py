from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.providers import MissingSetting
from tollway.providers.azure import Azure

AZURE = Azure()
RESOURCE = "https://res.openai.azure.com"


@pytest.mark.parametrize("base", [RESOURCE, RESOURCE + "/", RESOURCE + "/openai", RESOURCE + "/openai/"])
def test_a_deployment_stands_in_the_path_and_the_version_behind_it(base: str, wire: Any) -> None:
    out = wire(AZURE, model="my dep", api_key="k", api_base=base, api_version="2024-10-21")
    assert out.url == RESOURCE + "/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21"
    assert out.headers == {"api-key": "k"}


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("embeddings", "/embeddings"),
        ("images_generations", "/images/generations"),
        ("images_edits", "/images/edits"),
        ("audio_speech", "/audio/speech"),
        ("audio_transcriptions", "/audio/transcriptions"),
    ],
)
def test_every_operation_has_its_path_below_the_deployment(operation: str, path: str, wire: Any) -> None:
    out = wire(AZURE, operation, "dep", api_key="k", api_base=RESOURCE, api_version="2025-04-01-preview")
    assert out.url == f"{RESOURCE}/openai/deployments/dep{path}?api-version=2025-04-01-preview"


@pytest.mark.parametrize("version", ["v1", "preview", "latest"])
def test_the_undated_api_names_the_deployment_in_the_body(version: str, wire: Any) -> None:
    out = wire(AZURE, model="dep", api_key="k", api_base=RESOURCE, api_version=version)
    assert out.url == RESOURCE + "/openai/v1/chat/completions"


def test_an_address_of_the_undated_api_is_enough(wire: Any) -> None:
    out = wire(
        AZURE,
        model="dep",
        api_key="k",
        api_base=RESOURCE + "/openai/v1/",
        environment={"AZURE_API_VERSION": "2024-10-21"},
    )
    assert out.url == RESOURCE + "/openai/v1/chat/completions"


def test_a_whole_url_brings_its_own_deployment_and_version(wire: Any) -> None:
    url = RESOURCE + "/openai/deployments/own/chat/completions?api-version=2024-06-01"
    assert wire(AZURE, model="dep", api_key="k", api_base=url).url == url


def test_the_version_comes_from_the_entry_then_the_environment_then_the_default(wire: Any) -> None:
    def version(**settings: Any) -> str:
        return str(wire(AZURE, api_key="k", api_base=RESOURCE, **settings).url.partition("api-version=")[2])

    environment = {"AZURE_API_VERSION": "2024-06-01"}
    assert version(api_version="2024-10-21", environment=environment) == "2024-10-21"
    assert version(environment=environment) == "2024-06-01"
    assert version() == "2025-02-01-preview"


def test_address_and_key_may_come_from_the_environment(wire: Any) -> None:
    environment = {"AZURE_API_BASE": RESOURCE, "AZURE_OPENAI_API_KEY": "k"}
    out = wire(AZURE, model="dep", environment=environment)
    assert out.url.startswith(RESOURCE + "/openai/deployments/dep/")
    assert out.headers == {"api-key": "k"}


def test_an_entra_token_goes_as_a_bearer(wire: Any) -> None:
    token = "eyJhbGciOi.eyJhdWQi.c2ln"
    assert wire(AZURE, api_base=RESOURCE, environment={"AZURE_AD_TOKEN": token}).headers == {
        "authorization": f"Bearer {token}"
    }


def test_what_is_missing_is_named(entry: Any) -> None:
    with pytest.raises(MissingSetting, match="set AZURE_API_BASE or AZURE_OPENAI_ENDPOINT or api_base"):
        AZURE.base_url(entry(), {})
    with pytest.raises(MissingSetting, match="set AZURE_API_KEY or AZURE_OPENAI_API_KEY or AZURE_AD_TOKEN or api_key"):
        AZURE.key(entry(), {})


@pytest.mark.parametrize(
    ("model", "base_model", "renamed"),
    [
        ("gpt-5-prod", None, True),
        ("prod", "azure/gpt-5", True),
        ("prod", "o3-mini", True),
        ("prod", "azure/gpt-4o", False),
        ("prod", None, False),
        ("gpt-4o", None, False),
    ],
)
def test_a_reasoning_model_is_known_by_its_base_model_or_its_deployment_s_name(
    model: str, base_model: str | None, renamed: bool, entry: Any
) -> None:
    bound = AZURE.at(entry(api_base=RESOURCE, base_model=base_model), {})
    fields = {"model": Raw(f'"{model}"'.encode()), "max_tokens": Raw(b"9")}
    assert bound.adapt(fields) == []
    assert ("max_completion_tokens" in fields) is renamed
    assert ("max_tokens" in fields) is not renamed
