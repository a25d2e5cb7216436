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
- `azure_ai/`: without `api_version` the resource's `/openai/v1` is used, with a dated one its `/models`. Models whose name or
  `base_model` begins with `claude` are asked in Anthropic's dialect at the resource's `/anthropic`.
- Microsoft Entra ID, for `azure/`, `azure_text/` and `azure_ai/`: a token of your own in `azure_ad_token` or `AZURE_AD_TOKEN`; or
  `tenant_id`, `client_id` and `client_secret` (`AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`); or the token file of a
  workload, `AZURE_FEDERATED_TOKEN_FILE`, instead of the secret. `AZURE_CREDENTIAL` or `azure_credential:
  ManagedIdentityCredential` asks the machine for its managed identity (`client_id` for one of several), which nothing else does.
  `azure_scope`, `AZURE_SCOPE` and `AZURE_AUTHORITY_HOST` are for other clouds. Tokens are renewed before they end.
- `github_copilot/`: GitHub's OAuth token of an account with Copilot, in `api_key`, a variable of the table, or the file
  `access-token` in `GITHUB_COPILOT_TOKEN_DIR` (`~/.config/litellm/github_copilot`), where `tollway login github-copilot` puts it.
  Business and enterprise plans have addresses of their own.
- `watsonx/`: the project or space that pays is `project_id`, `space_id`, `WATSONX_PROJECT_ID` or `WATSONX_SPACE_ID`;
  `watsonx/deployment/<id>` is a model that you deployed. The key is exchanged at IBM Cloud; `token` (`WATSONX_TOKEN`) and
  `zen_api_key` (`WATSONX_ZENAPIKEY`) are shown as they are. Chat only.
- `snowflake/`: a programmatic access token (with or without `pat/` before it), a JSON Web Token or an OAuth token. Claude models
  speak Anthropic's dialect too.
- `oci/`: an API key of the service, or `oci_user`, `oci_fingerprint`, `oci_tenancy` and `oci_key` or `oci_key_file`, which sign
  each request and need `cryptography`; `oci_region` and `oci_compartment_id` say where and who pays. Each has a variable
  (`OCI_REGION`, ...).
- `elevenlabs/` speaks and hears. `voice` is an id of one of its voices; `extra_body: {voice: ...}` sets one for clients that
  only know OpenAI's. `deepgram/` too: a voice is a model there (`deepgram/aura-2-thalia-en`), or `voice` completes
  `deepgram/aura-2`. Their transcripts come in each of OpenAI's formats.
- `replicate/owner/name`, `replicate/owner/name:version` or `replicate/deployments/owner/name`: chats and pictures. A conversation
  of more than one turn becomes a script with roles (OpenAI's models there get it as messages too); a system prompt and a picture
  go where the model has a place for them, and the model's own inputs (`prompt_template`, `min_tokens`, ...) may be sent beside
  OpenAI's fields. Streams are heard where Replicate sends them; a prediction that nobody waits for any more is cancelled. Models
  that count no tokens are charged by an estimate that says so.
- `perplexity/` speaks Perplexity's Agent API, since its chat completions ended: `sonar` and `sonar-pro` are its `perplexity/sonar`,
  which searches unless it is given tools or `disable_search`; `sonar-reasoning-pro` and `sonar-deep-research` are the presets `low`
  and `medium`. Presets (`perplexity/preset/...`) are unpriced: which models and tools they call is told nowhere beforehand.
  `search_domain_filter` and its like may be sent along; sources come as annotations. Searches of the web are counted and
  charged; other tools that you ask for (`fetch_url`, `people_search`, ...) are not.
- Pictures by other APIs than OpenAI's: `stability/` (also edits: `inpaint`, `erase`, `search-and-replace`, ...),
  `black_forest_labs/` (also edits), `fal_ai/<path of the model>`, `replicate/` and `runwayml/`. A `size` becomes the nearest that
  the model has; fields of their own may be sent beside OpenAI's. Work that is done in the background is looked after for at most
  ten minutes.
- `gemini/` speaks Google's own API to clients of every kind; embeddings and pictures go through the door that Google keeps
  for OpenAI's clients. The address may end with a version (`/v1alpha`), which then counts.
- `vertex_ai/` and `vertex_ai_beta/` (Google's `v1beta1`) need the extra `vertex`. Whose credentials: `vertex_credentials`
  (a path, or the JSON itself), `VERTEXAI_CREDENTIALS`, `GOOGLE_APPLICATION_CREDENTIALS`, or what the machine has; instead of
  them an `api_key` goes in `x-goog-api-key`. A model that is added through the API gives the JSON, of a service account or a user:
  files and credentials that name others are for the configuration. Where: `vertex_project`, `VERTEXAI_PROJECT`,
  `GOOGLE_CLOUD_PROJECT`, or the project that the credentials name; `vertex_location`, `VERTEXAI_LOCATION`,
  `GOOGLE_CLOUD_LOCATION`, or else `us-central1`, and `global` for Gemini 3 and later. Gemini, Claude and Mistral models are asked
  as their makers have it, the other partners' (`vertex_ai/meta/...`, `vertex_ai/deepseek-ai/...`) by OpenAI's chat; a number is an
  endpoint of your own. Chat only.
- `cohere/` and `cohere_chat/` mean the same: chat and ranking go to Cohere's own API, embeddings to the door that it keeps
  for OpenAI's clients, at the same address. `documents`, `citation_options` and `safety_mode` may be sent along.
- `ollama/` and `ollama_chat/` mean the same: chat goes to Ollama's `/api/chat`, which takes `num_ctx` and its other options
  beside OpenAI's fields, and `keep_alive`; embeddings and text completions to its `/v1`.
- Text completions pass as they are to `cerebras/`, `deepinfra/`, `deepseek/`, `docker_model_runner/`, `featherless_ai/`,
  `fireworks_ai/`, `friendliai/`, `hosted_vllm/`, `lemonade/`, `litellm_proxy/`, `llamafile/`, `lm_studio/`, `local/`,
  `nebius/`, `novita/`, `ollama/`, `openrouter/`, `together_ai/`, `vllm/`, `xinference/`, to OpenAI's three models that have
  nothing else, and to `text-completion-openai/`, `text-completion-inception/` and `azure_text/`.
- A server at an address that an entry gives is taken to speak chat completions alone; `model_info: {supported_endpoints:
  [/v1/completions, /v1/responses]}` says what else it speaks.
- `text-completion-codestral/` and `text-completion-inception/` fill in the middle: send `prompt` and `suffix` to
  `/v1/completions`.
- Documents are ranked by `cohere/`, `custom_openai/`, `deepinfra/`, `fireworks_ai/`, `huggingface/` (a Text Embeddings
  Inference server in `api_base`), `hosted_vllm/`, `infinity/`, `jina_ai/`, `litellm_proxy/`, `llamafile/`, `local/`,
  `novita/`, `nvidia_nim/`, `openai_like/`, `together_ai/`, `vllm/`, `voyage/` and `xinference/`. At `deepinfra/`,
  `huggingface/` and `nvidia_nim/` a model ranks where its name holds "rerank" or its `mode` says so.
- `openai/` and `mistral/` have moderation.
- `bedrock/`: any model of Amazon Bedrock over Converse, by its id, an inference profile's (`us.`, `eu.`, `global.`) or an
  ARN. The region is `aws_region_name`, or one in the name (`bedrock/us-west-2/...`, an ARN), or that of a variable. Without
  a Bedrock API key requests are signed: with `aws_access_key_id` and `aws_secret_access_key`, `aws_profile_name`,
  `aws_role_name`, `aws_web_identity_token`, or what AWS's tools find on the machine. Signing needs
  `pip install 'tollway[bedrock]'`. Clients of Anthropic's API reach Claude models by InvokeModel, where their
  bytes pass; `bedrock/converse/...` and `bedrock/invoke/...` choose one of the two for every client. Pictures and
  documents by URL are refused, as Converse takes them itself or from S3.
- `databricks/` takes a personal access token, or a service principal: `client_id` and `client_secret`, or
  `DATABRICKS_CLIENT_ID` and `DATABRICKS_CLIENT_SECRET`. `bedrock_mantle/` takes a Bedrock API key.
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
