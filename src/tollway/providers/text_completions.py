"""Text completions, and the prefixes that ask for them: models that go on with a text, or fill one in.

OpenAI: https://platform.openai.com/docs/api-reference/completions. Azure:
https://learn.microsoft.com/azure/ai-foundry/openai/reference#completions. Codestral:
https://docs.mistral.ai/api/endpoint/fim. Inception: https://docs.inceptionlabs.ai (2026-11-22).

Quirk: Codestral's fill-in-the-middle is asked like a completion and answers like a chat.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import CHAT_PATHS, Introduction, azure, mistral, openai
from tollway.providers.openai_compatible import OpenAICompatible

FILL_IN_PATH = "/fim/completions"

AZURE = replace(azure.INTRODUCTION, display="Azure OpenAI (text completions)", operations=("chat",))
OPENAI = replace(openai.INTRODUCTION, display="OpenAI (text completions)", operations=("chat",), also_speaks=())
CODESTRAL = replace(mistral.CODESTRAL, display="Codestral (fill-in-the-middle)", base_url_end="/v1")
INCEPTION = Introduction(
    display="Inception (fill-in-the-middle)",
    docs="https://docs.inceptionlabs.ai",
    base_url="https://api.inceptionlabs.ai/v1",
    base_url_env=("INCEPTION_API_BASE",),
    key_env=("INCEPTION_API_KEY",),
    operations=("chat",),
    output_limit="max_tokens",
)


def clean(url: str) -> str:
    return url.removesuffix(FILL_IN_PATH).removesuffix("/completions")


class TextCompletions(OpenAICompatible):
    """A provider of one path, in one dialect."""

    def __init__(self, name: str, introduction: Introduction, *, dialect: str, path: str) -> None:
        super().__init__(name, introduction, clean=clean)
        self.dialect = dialect
        self._path = path

    def path(self, operation: str, model: str) -> str | None:
        return self._path if operation == "chat" else None

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return self._path


class AzureText(azure.Azure):
    """Azure's deployments of models that go on with a text."""

    name = "azure_text"
    dialect = "openai_completions"
    introduction = AZURE

    def at(self, entry: ModelEntry, environment: Mapping[str, Secret]) -> AzureText:
        found = super().at(entry, environment)
        return AzureText(found.version, found.deployment, found.base_model)

    def path(self, operation: str, model: str) -> str | None:
        path = super().path(operation, model) if operation == "chat" else None
        return path and path.replace(CHAT_PATHS["openai_chat"], CHAT_PATHS["openai_completions"])

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return self.path("chat", model)


def all_of_them() -> dict[str, OpenAICompatible | AzureText]:
    return {
        "azure_text": AzureText(),
        "text-completion-codestral": TextCompletions(
            "text-completion-codestral", CODESTRAL, dialect="mistral_fim", path=FILL_IN_PATH
        ),
        "text-completion-inception": TextCompletions(
            "text-completion-inception", INCEPTION, dialect="openai_completions", path=FILL_IN_PATH
        ),
        "text-completion-openai": TextCompletions(
            "text-completion-openai", OPENAI, dialect="openai_completions", path=CHAT_PATHS["openai_completions"]
        ),
    }
