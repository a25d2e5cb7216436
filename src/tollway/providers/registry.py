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
    "azure_text": "Azure's text completions; azure/ speaks chat completions",
    "bedrock": "Amazon Bedrock's Converse API; bedrock_mantle/ reaches what it serves over OpenAI's API",
    "black_forest_labs": "Black Forest Labs' image API",
    "bytez": "Bytez",
    "chatgpt": "ChatGPT subscriptions",
    "custom": "handlers written in Python",
    "deepgram": "Deepgram's audio API",
    "elevenlabs": "ElevenLabs' audio API",
    "fal_ai": "fal",
    "gdc": "Google Distributed Cloud",
    "gigachat": "GigaChat's sign-in with OAuth",
    "github_copilot": "GitHub Copilot's sign-in with OAuth",
    "langflow": "Langflow",
    "langgraph": "LangGraph",
    "manus": "Manus",
    "nlp_cloud": "NLP Cloud",
    "nvidia_riva": "NVIDIA Riva over gRPC",
    "oci": "Oracle's request signing",
    "oobabooga": "the text generation web UI's old API; openai_like/ reaches its newer one",
    "perplexity": "Perplexity's Agent API, which took the place of its chat completions on 2026-09-27",
    "petals": "Petals",
    "predibase": "Predibase",
    "ragflow": "RAGFlow's address per chat; openai_like/ with that address in api_base reaches one chat",
    "recraft": "Recraft's image API",
    "replicate": "Replicate's predictions",
    "runwayml": "Runway",
    "sagemaker": "Amazon SageMaker",
    "sagemaker_chat": "Amazon SageMaker",
    "sagemaker_nova": "Amazon SageMaker",
    "sap": "SAP AI Core",
    "snowflake": "Snowflake Cortex",
    "soniox": "Soniox's audio API",
    "stability": "Stability AI's image API",
    "text-completion-codestral": "Codestral's fill-in-the-middle API; codestral/ speaks chat completions",
    "text-completion-inception": "Inception's fill-in-the-middle API; inception/ speaks chat completions",
    "text-completion-openai": "OpenAI's text completions; openai/ speaks chat completions",
    "topaz": "Topaz' image API",
    "transcribe": "Amazon Transcribe",
    "triton": "NVIDIA Triton",
    "vertex_ai": "Google Vertex AI; gemini/ reaches Gemini models with an API key",
    "vertex_ai_beta": "Google Vertex AI; gemini/ reaches Gemini models with an API key",
    "watsonx": "IBM watsonx",
    "watsonx_text": "IBM watsonx",
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
    from tollway.providers import cohere, fireworks_ai, gemini, huggingface, local, mistral, openai
    from tollway.providers.anthropic import Anthropic
    from tollway.providers.azure import Azure
    from tollway.providers.azure_ai import AzureAI
    from tollway.providers.openai_compatible import OpenAICompatible

    return {
        "aiohttp_openai": OpenAICompatible("aiohttp_openai", openai.INTRODUCTION, adapt=openai.adapt),
        "anthropic": Anthropic(),
        "azure": Azure(),
        "azure_ai": AzureAI(),
        "codestral": OpenAICompatible("codestral", mistral.CODESTRAL, adapt=mistral.adapt),
        "cohere": OpenAICompatible("cohere", cohere.INTRODUCTION, adapt=cohere.adapt, clean=cohere.clean),
        "cohere_chat": OpenAICompatible("cohere_chat", cohere.INTRODUCTION, adapt=cohere.adapt, clean=cohere.clean),
        "fireworks_ai": OpenAICompatible("fireworks_ai", fireworks_ai.INTRODUCTION, rename=fireworks_ai.rename),
        "gemini": OpenAICompatible("gemini", gemini.INTRODUCTION, adapt=gemini.adapt),
        "huggingface": OpenAICompatible("huggingface", huggingface.INTRODUCTION, rename=huggingface.rename),
        "local": OpenAICompatible("local", local.INTRODUCTION),
        "mistral": OpenAICompatible("mistral", mistral.INTRODUCTION, adapt=mistral.adapt),
        "openai": OpenAICompatible("openai", openai.INTRODUCTION, adapt=openai.adapt),
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
