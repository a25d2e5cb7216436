from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tollway.providers import registry


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("nvidia_nim", "nvidia_nim/nvidia/llama-3_2-nv-rerankqa-1b-v2"),
        ("deepinfra", "deepinfra/Qwen/Qwen3-Reranker-0.6B"),
        ("huggingface", "huggingface/BAAI/bge-reranker-base"),
    ],
)
def test_a_reranker_is_known_by_its_name_and_ranks_alone(name: str, written: str, entry: Any) -> None:
    provider: Any = registry.find(name)
    bound = provider.at(replace(entry(), provider_model=written), {})
    assert bound.introduction.rerank
    assert bound.path("rerank", "m")
    assert bound.path("chat", "m") is None
    assert bound.chat_path("openai_chat", "m", streaming=False) is None
    other = provider.at(replace(entry(), provider_model=f"{name}/some/chat-model"), {})
    assert other.path("rerank", "m") is None
    assert other.path("chat", "m") == "/chat/completions"


def test_the_address_of_a_chat_api_at_deep_infra_does_for_its_rerankers(wire: Any) -> None:
    out = wire(
        registry.find("deepinfra"),
        "rerank",
        "Qwen/Qwen3 R",
        {"DEEPINFRA_API_KEY": "k", "DEEPINFRA_API_BASE": "https://proxy.example/v1/openai"},
        mode="rerank",
    )
    assert out.url == "https://proxy.example/v1/inference/Qwen/Qwen3%20R"
