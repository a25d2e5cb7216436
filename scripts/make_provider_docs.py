"""Writes docs/providers.md from what the providers say of themselves: `python scripts/make_provider_docs.py`."""

from __future__ import annotations

from pathlib import Path

from tollway.providers import Provider
from tollway.providers.registry import NOT_YET, providers

PAGE = Path(__file__).resolve().parent.parent / "docs" / "providers.md"

INTRODUCTION = """\
# Providers

<!-- Written by scripts/make_provider_docs.py; change the providers, not this page. -->

Write a model as `prefix/model`, for example `groq/llama-3.3-70b-versatile`. Tollway takes the key from `api_key` in the
model's entry, or else from the first of the named variables that is set; the address from `api_base`, then from the
variable named for it, then from this table. Prefixes and variables are those of LiteLLM. A word in braces in an address
is a variable that you set. Where no key is asked for, one is sent when you give it.

{spoken} prefixes are spoken:

| provider | prefix | key from | address from | base URL |
|---|---|---|---|---|
"""

OUTRODUCTION = """
## Notes

- `anthropic/`: `/v1` at the end of the address may be there or not. Subscription tokens (`sk-ant-oat...`) and
  `ANTHROPIC_AUTH_TOKEN` are sent as a bearer.
- `azure/<deployment>`: give `api_version`, or `AZURE_API_VERSION`; a dated version goes with the deployment's own path,
  `v1` with `/openai/v1`. Name the model in `base_model`, so that its price and its kind are known.
- `azure_ai/`: without `api_version` the resource's `/openai/v1` is used, with a dated one its `/models`. For Claude
  models write `anthropic/<deployment>` and `api_base: https://<resource>.services.ai.azure.com/anthropic`.
- `gemini/` and `cohere/` go through the doors that these providers keep for OpenAI's clients, `ollama/` and
  `ollama_chat/` through Ollama's `/v1`.
- `databricks/` takes a personal access token; `bedrock_mantle/` a Bedrock API key.
- Fields that a provider is known to refuse are dropped, and the answer's headers name them.

## Not yet

LiteLLM knows these prefixes too; Tollway refuses them at start, with this reason:

| prefix | not spoken yet |
|---|---|
"""


def page() -> str:
    spoken = providers()
    rows = [_row(spoken[name]) for name in sorted(spoken, key=lambda name: (_shown(spoken[name]).lower(), name))]
    missing = [f"| `{name}/` | {reason} |" for name, reason in sorted(NOT_YET.items())]
    return INTRODUCTION.format(spoken=len(rows)) + "\n".join(rows) + "\n" + OUTRODUCTION + "\n".join(missing) + "\n"


def _row(provider: Provider) -> str:
    card = provider.introduction
    name = f"[{card.display}]({card.docs})" if card.docs else card.display
    keys = _variables(card.key_env) + ("" if card.key_needed or not card.key_env else " (if you like)")
    base = f"`{card.base_url}`" if card.base_url else "yours"
    return f"| {name} | `{provider.name}/` | {keys} | {_variables(card.base_url_env)} | {base.replace('|', ' or ')} |"


def _variables(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _shown(provider: Provider) -> str:
    return provider.introduction.display


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
