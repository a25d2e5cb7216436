"""The model that Tollway runs itself, as a child process on a loopback port with a random token.

Address and token come with the entry (`api_base`, `api_key`): they are known when the child is up.
Quirk: llama.cpp's server knew only `max_tokens` until https://github.com/ggml-org/llama.cpp/pull/19831 (2026-02-23).
"""

from __future__ import annotations

from tollway.providers import Introduction

INTRODUCTION = Introduction(
    display="Local model",
    docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    base_url_end="/v1",
    key_needed=False,
    operations=("chat",),
    output_limit="max_tokens",
    also_speaks=("openai_completions",),
    rerank="jina",
)
