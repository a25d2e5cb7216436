from __future__ import annotations

from typing import Any

import pytest

from tollway.providers import registry
from tollway.providers.huggingface import rename


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("groq/meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct:groq"),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("meta-llama/Llama-3.3-70B-Instruct:fastest", "meta-llama/Llama-3.3-70B-Instruct:fastest"),
        ("tgi", "tgi"),
    ],
)
def test_the_provider_goes_behind_the_model(written: str, name: str) -> None:
    assert rename(written) == name
    assert rename(name) == name


def test_a_dedicated_endpoint_is_reached_under_its_v1(wire: Any) -> None:
    out = wire(registry.find("huggingface"), api_key="hf", api_base="https://x.eu.endpoints.huggingface.cloud")
    assert out.url == "https://x.eu.endpoints.huggingface.cloud/v1/chat/completions"
