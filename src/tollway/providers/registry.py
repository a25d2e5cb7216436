"""All providers, by the prefix that people write in front of a model. Made when first asked for, not at import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from tollway.errors import TollwayError
from tollway.providers import Introduction, Provider

#: Prefixes that LiteLLM knows and Tollway does not speak yet, with what stands in the way.
NOT_YET = {
    "a2a": "the A2A agent protocol",
    "anthropic_text": "Anthropic's old text completions; anthropic/ speaks the Messages API",
    "aws_polly": "Amazon Polly",
    "aws_textract": "Amazon Textract",
    "azure_speech": "Azure Speech",
    "bytez": "Bytez' API, which streams text alone and counts no tokens",
    "chatgpt": "ChatGPT subscriptions",
    "custom": "handlers written in Python",
    "gdc": "Google Distributed Cloud",
    "gigachat": "GigaChat's functions, which take the place of OpenAI's tools and have another shape",
    "langflow": "Langflow",
    "langgraph": "LangGraph",
    "manus": "Manus",
    "nlp_cloud": "NLP Cloud's API of one text and its history",
    "nvidia_riva": "NVIDIA Riva over gRPC",
    "oobabooga": "the text generation web UI's old API; openai_like/ reaches its newer one",
    "petals": "Petals, a network of volunteers without an API of its own",
    "predibase": "Predibase's own text generation; openai_like/ with the address of a deployment and /v1 reaches its chat",
    "ragflow": "RAGFlow's address per chat; openai_like/ with that address in api_base reaches one chat",
    "sagemaker": "containers with an API of their own; sagemaker_chat/ speaks to those with OpenAI's chat completions",
    "sap": "SAP AI Core's orchestration, whose requests and replies wrap a chat in templates",
    "soniox": "Soniox's transcripts, which want a file uploaded first",
    "topaz": "Topaz' pictures, which are made in the background, fetched from another company's hosts and paid in credits",
    "transcribe": "Amazon Transcribe",
    "triton": "NVIDIA Triton's tensors; openai_like/ reaches its OpenAI-compatible frontend",
    "watsonx_text": "IBM watsonx's old text generation; watsonx/ speaks its chat",
}


class UnknownProvider(TollwayError, LookupError):
    """Nobody here is known to serve `model`. `nearest` are the names that were perhaps meant."""

    def __init__(self, model: str, nearest: tuple[str, ...] = (), reason: str = "") -> None:
        if not reason:
            reason = f"no provider is known for the model {model!r}; write it as provider/model"
            if nearest:
                reason += f" (did you mean {' or '.join(nearest)}?)"
        super().__init__(reason)
        self.model = model
        self.nearest = nearest


def find(name: str) -> Provider | None:
    """The provider of that name. About 0.1 us, but for the first call, which makes them all (some 5 ms)."""
    return providers().get(name)


def names() -> tuple[str, ...]:
    return tuple(sorted(providers()))


def variables() -> frozenset[str]:
    """Every environment variable that some provider looks at."""
    return frozenset(name for provider in providers().values() for name in provider.introduction.variables)


def parameters() -> frozenset[str]:
    """Every `litellm_params` setting that some provider understands beside key and address."""
    return frozenset(name for provider in providers().values() for name in provider.introduction.parameters)


def resolve(provider_model: str, explicit: str | None, infer: Callable[[str], str | None]) -> tuple[Provider, str]:
    """Who serves a model as a configuration writes it, and the provider's own name for it.

    ("openai/gpt-4o", None, ...) -> (openai, "gpt-4o"). `explicit` names the provider outright. `infer` knows the
    provider of a model that is written without one ("gpt-4o" -> "openai"), or None. Raises UnknownProvider.
    """
    prefix, slash, rest = provider_model.partition("/")
    if explicit:
        name, model = explicit, rest if slash and prefix == explicit else provider_model
    elif slash and (prefix in providers() or prefix in NOT_YET):
        name, model = prefix, rest
    else:
        inferred = infer(provider_model)
        if inferred is None:
            raise UnknownProvider(provider_model, _nearest(prefix if slash else provider_model, provider_model))
        name, model = inferred, provider_model
    provider = find(name)
    if provider is None:
        raise _refusal(name, provider_model)
    if not model:
        raise UnknownProvider(provider_model, reason=f"the model {provider_model!r} has a provider and no name")
    return provider, provider.model_name(model)


@cache
def providers() -> Mapping[str, Provider]:
    """Rows and files together, by name."""
    return MappingProxyType({**_from_rows(), **_from_files()})


def _from_rows() -> dict[str, Provider]:
    from tollway.providers.openai_compatible import OpenAICompatible

    text = Path(__file__).with_name("compatible.toml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = msgspec.toml.decode(text)
    found: dict[str, Provider] = {}
    for name, row in rows.items():
        own = rows[row["same_as"]] if "same_as" in row else row
        found[name] = OpenAICompatible(name, msgspec.convert(own, Introduction))
    return found


def _from_files() -> dict[str, Provider]:
    from tollway.providers import fireworks_ai, local, mistral, openai, rerankers, text_completions, voyage
    from tollway.providers.anthropic import Anthropic
    from tollway.providers.azure import Azure
    from tollway.providers.azure_ai import AzureAI
    from tollway.providers.bedrock import Bedrock
    from tollway.providers.black_forest_labs import BlackForestLabs
    from tollway.providers.cohere import Cohere
    from tollway.providers.databricks import Databricks
    from tollway.providers.deepgram import Deepgram
    from tollway.providers.elevenlabs import ElevenLabs
    from tollway.providers.fal_ai import Fal
    from tollway.providers.gemini import Gemini
    from tollway.providers.github_copilot import GitHubCopilot
    from tollway.providers.oci import OracleCloud
    from tollway.providers.ollama import Ollama
    from tollway.providers.openai_compatible import OpenAICompatible
    from tollway.providers.perplexity import Perplexity
    from tollway.providers.replicate import Replicate
    from tollway.providers.runwayml import Runway
    from tollway.providers.sagemaker import SageMaker
    from tollway.providers.snowflake import Snowflake
    from tollway.providers.stability import Stability
    from tollway.providers.vertex_ai import VertexAI
    from tollway.providers.watsonx import Watsonx

    return {
        **rerankers.all_of_them(),
        **text_completions.all_of_them(),
        "aiohttp_openai": openai.OpenAI("aiohttp_openai"),
        "anthropic": Anthropic(),
        "azure": Azure(),
        "azure_ai": AzureAI(),
        "bedrock": Bedrock(),
        "black_forest_labs": BlackForestLabs(),
        "codestral": OpenAICompatible("codestral", mistral.CODESTRAL, adapt=mistral.adapt),
        "cohere": Cohere("cohere"),
        "cohere_chat": Cohere("cohere_chat"),
        "databricks": Databricks(),
        "deepgram": Deepgram(),
        "elevenlabs": ElevenLabs(),
        "fal_ai": Fal(),
        "fireworks_ai": OpenAICompatible("fireworks_ai", fireworks_ai.INTRODUCTION, rename=fireworks_ai.rename),
        "gemini": Gemini(),
        "github_copilot": GitHubCopilot(),
        "local": OpenAICompatible("local", local.INTRODUCTION),
        "mistral": OpenAICompatible("mistral", mistral.INTRODUCTION, adapt=mistral.adapt),
        "oci": OracleCloud(),
        "ollama": Ollama("ollama"),
        "ollama_chat": Ollama("ollama_chat"),
        "openai": openai.OpenAI("openai"),
        "perplexity": Perplexity(),
        "replicate": Replicate(),
        "runwayml": Runway(),
        "sagemaker_chat": SageMaker("sagemaker_chat"),
        "sagemaker_nova": SageMaker("sagemaker_nova"),
        "snowflake": Snowflake(),
        "stability": Stability(),
        "voyage": voyage.Voyage("voyage", voyage.INTRODUCTION),
        "vertex_ai": VertexAI(),
        "vertex_ai_beta": VertexAI("vertex_ai_beta", version="v1beta1"),
        "watsonx": Watsonx(),
    }


def _refusal(name: str, model: str) -> UnknownProvider:
    if name in NOT_YET:
        return UnknownProvider(
            model, reason=f"the model {model!r}: Tollway does not speak {name} yet ({NOT_YET[name]})"
        )
    nearest = _nearest(name, name)
    hint = f" (did you mean {' or '.join(nearest)}?)" if nearest else ""
    return UnknownProvider(model, nearest, f"the model {model!r}: no provider is called {name!r}{hint}")


def _nearest(word: str, shown: str) -> tuple[str, ...]:
    """Names close to `word`, written into `shown` in its place."""
    from difflib import get_close_matches  # needed only when something is wrong

    close = get_close_matches(word, providers(), n=3, cutoff=0.75)
    return tuple(name + shown[len(word) :] for name in close)
