from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tollway.errors import ConfigError
from tollway.providers import registry
from tollway.providers.gemini import Gemini

KEY = {"GEMINI_API_KEY": "k"}


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://p.example", "https://p.example/v1beta/models/gemini-x:generateContent"),
        ("https://p.example/v1beta", "https://p.example/v1beta/models/gemini-x:generateContent"),
        ("https://p.example/v1beta/openai/", "https://p.example/v1beta/models/gemini-x:generateContent"),
        ("https://p.example/v1beta/models", "https://p.example/v1beta/models/gemini-x:generateContent"),
        ("https://p.example/v1alpha", "https://p.example/v1alpha/models/gemini-x:generateContent"),
        (
            "https://p.example/v1/me/google-ai-studio",
            "https://p.example/v1/me/google-ai-studio/v1beta/models/gemini-x:generateContent",
        ),
    ],
)
def test_an_address_may_name_the_version(wire: Any, base: str, url: str) -> None:
    assert wire(registry.find("gemini"), model="gemini-x", environment={**KEY, "GEMINI_API_BASE": base}).url == url
    assert wire(registry.find("gemini"), model="gemini-x", environment=KEY, api_base=base).url == url


def test_a_stream_is_asked_for_as_events() -> None:
    path = Gemini().chat_path("gemini", "gemini-2.5-flash", streaming=True)
    assert path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("models/gemini-x", "/models/gemini-x:"),
        ("tunedModels/mine", "/tunedModels/mine:"),
        ("a b?c", "/models/a%20b%3Fc:"),
    ],
)
def test_a_model_stands_in_the_path(wire: Any, written: str, place: str) -> None:
    assert place in wire(registry.find("gemini"), model=written, environment=KEY).url


def test_each_door_is_shown_the_key_as_it_wants_it(wire: Any) -> None:
    provider = registry.find("gemini")
    assert wire(provider, environment=KEY).headers == {"x-goog-api-key": "k"}
    vectors = wire(provider, "embeddings", environment=KEY)
    assert vectors.url == "https://generativelanguage.googleapis.com/v1beta/openai/embeddings"
    assert vectors.headers == {"authorization": "Bearer k"}
    own = wire(provider, environment=KEY, extra_headers={"X-Goog-Api-Key": "mine", "x-more": "1"})
    assert own.headers == {"x-goog-api-key": "mine", "x-more": "1"}


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(wire: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        wire(registry.find("gemini"), api_key="secret\r\nhost: evil")
    assert "secret" not in str(refused.value)


def test_fields_pass_as_they_are() -> None:
    fields = {"contents": Raw(b"[]"), "store": Raw(b"true")}
    assert Gemini().adapt(fields) == []
    assert list(fields) == ["contents", "store"]
