"""Models that rank documents, of providers that serve them at another address than their chat models.

- NVIDIA: https://ai.api.nvidia.com/v1/retrieval/{model}/reranking (https://docs.api.nvidia.com/nim/reference/retrieval-apis);
  a NIM of one's own has `/v1/ranking` (https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html)
- Deep Infra: https://api.deepinfra.com/v1/inference/{model} (https://deepinfra.com/Qwen/Qwen3-Reranker-0.6B/api)
- Hugging Face: a Text Embeddings Inference server of one's own, `/rerank`, not under the `/v1` of its OpenAI-compatible
  paths (https://huggingface.github.io/text-embeddings-inference)

(2026-11-22). A model is one of these where the entry's mode says so, or its name holds "rerank".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import Introduction, first_of, huggingface
from tollway.providers.openai_compatible import OpenAICompatible

NVIDIA_NIM = Introduction(
    display="NVIDIA NIM",
    docs="https://docs.api.nvidia.com/nim/reference/llm-apis",
    base_url="https://integrate.api.nvidia.com/v1",
    base_url_env=("NVIDIA_NIM_API_BASE",),
    key_env=("NVIDIA_NIM_API_KEY",),
    operations=("chat", "embeddings"),
    output_limit="max_tokens",
)
DEEPINFRA = Introduction(
    display="Deep Infra",
    docs="https://docs.deepinfra.com/chat/overview",
    base_url="https://api.deepinfra.com/v1/openai",
    base_url_env=("DEEPINFRA_API_BASE",),
    key_env=("DEEPINFRA_API_KEY",),
    output_limit="max_tokens",
    also_speaks=("openai_completions",),  # https://docs.deepinfra.com/api-reference/completions (2026-11-22)
)
_NVIDIA_HOSTED = "https://ai.api.nvidia.com/v1/retrieval"


class WithRerankers(OpenAICompatible):
    """A provider of OpenAI's API whose rerankers are found elsewhere: `reranker` makes of an entry who serves it then."""

    def __init__(
        self,
        name: str,
        introduction: Introduction,
        *,
        reranker: Callable[[str, bool], Reranker],
        rename: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(name, introduction, rename=rename)
        self._reranker = reranker

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> OpenAICompatible:
        if entry.mode == "rerank" or "rerank" in entry.provider_model.lower():
            addressed = bool(entry.api_base or first_of(self.introduction.base_url_env, environment))
            return self._reranker(self.name, addressed)
        return super().at(entry, environment)


class Reranker(OpenAICompatible):
    """Ranks documents, and nothing else. `{model}` in `path` stands for the model's name."""

    def __init__(
        self, name: str, introduction: Introduction, *, path: str, clean: Callable[[str], str] | None = None
    ) -> None:
        super().__init__(name, introduction, clean=clean)
        self._path = path

    def path(self, operation: str, model: str) -> str | None:
        return self._path.replace("{model}", quote(model, safe="/")) if operation == "rerank" else None


def _nvidia(name: str, addressed: bool) -> Reranker:
    """The variable with the address of a chat NIM is not a reranker's, but for one that an entry is given outright."""
    card = replace(NVIDIA_NIM, base_url=_NVIDIA_HOSTED, operations=(), rerank="nvidia")
    if addressed:
        return Reranker(name, card, path="/ranking")
    return Reranker(name, card, path="/{model}/reranking")


def _deepinfra(name: str, addressed: bool) -> Reranker:
    card = replace(DEEPINFRA, base_url_end="/inference", operations=(), rerank="deepinfra", also_speaks=())
    return Reranker(name, card, path="/{model}", clean=lambda url: url.removesuffix("/openai"))


def _huggingface(name: str, addressed: bool) -> Reranker:
    card = replace(
        huggingface.INTRODUCTION, base_url=None, base_url_end="", key_needed=False, operations=(), rerank="tei"
    )
    return Reranker(name, card, path="/rerank", clean=lambda url: re.sub(r"(/v1)?(/rerank)?$", "", url))


def all_of_them() -> dict[str, OpenAICompatible]:
    return {
        "deepinfra": WithRerankers("deepinfra", DEEPINFRA, reranker=_deepinfra),
        "huggingface": WithRerankers(
            "huggingface", huggingface.INTRODUCTION, reranker=_huggingface, rename=huggingface.rename
        ),
        "nvidia_nim": WithRerankers("nvidia_nim", NVIDIA_NIM, reranker=_nvidia),
    }
