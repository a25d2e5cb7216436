"""What models at Replicate call things. Each has a schema of its own, shown at `https://replicate.com/<owner>/<name>/api/schema`
(2026-11-22); those of one maker are alike. A model that is not listed is taken to know everything but a system prompt of its own:
what one does not know, Replicate passes over.
"""

from __future__ import annotations

import re

from msgspec import Struct

SAMPLING = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
_USUAL = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})


class Shape(Struct, frozen=True):
    """`system`: where a system prompt goes; "" where it opens the prompt. `pictures`: where they go, `many` or one; "" where the
    model sees none. `stop`: "" where there is no such thing. `messages`: it takes a conversation as it is. `effort`: how much to
    think is said by `reasoning_effort`.
    """

    limit: str = "max_tokens"
    system: str = ""
    pictures: str = ""
    many: bool = False
    stop: str = ""
    sampling: frozenset[str] = _USUAL
    messages: bool = False
    effort: bool = False


_UNKNOWN = Shape(pictures="image", stop="stop_sequences", sampling=frozenset(SAMPLING))
_OPENAI = Shape(limit="max_completion_tokens", system="system_prompt", pictures="image_input", many=True, messages=True)
_THINKING_OPENAI = Shape(
    limit="max_completion_tokens",
    system="system_prompt",
    pictures="image_input",
    many=True,
    messages=True,
    sampling=frozenset(),
    effort=True,
)
_GEMINI = Shape(
    limit="max_output_tokens",
    system="system_instruction",
    pictures="images",
    many=True,
    sampling=frozenset({"temperature", "top_p"}),
)
_LLAMA = frozenset(SAMPLING)

#: The first whose pattern a model's `owner/name` begins with.
_SHAPES = tuple(
    (re.compile(pattern), shape)
    for pattern, shape in (
        (r"openai/(?:o\d|gpt-5)", _THINKING_OPENAI),
        (r"openai/(?:gpt-4|chatgpt)", _OPENAI),
        (r"anthropic/", Shape(system="system_prompt", pictures="image", sampling=frozenset())),
        (r"google/gemini", _GEMINI),
        (r"google/gemma", Shape(limit="max_new_tokens", sampling=frozenset({"temperature", "top_p", "top_k", "seed"}))),
        (r"(?:openai/gpt-oss|deepseek-ai|xai|qwen|moonshotai|meta/(?:meta-)?llama-4)", Shape()),
        (r"meta/(?:meta-)?llama-3.*instruct", Shape(system="system_prompt", stop="stop_sequences", sampling=_LLAMA)),
        (r"meta/(?:meta-)?llama-3", Shape(stop="stop_sequences", sampling=_LLAMA)),
        (
            r"meta/(?:llama-2.*chat|codellama.*instruct)",
            Shape(limit="max_new_tokens", system="system_prompt", stop="stop_sequences", sampling=_LLAMA),
        ),
        (r"meta/|mistralai/", Shape(limit="max_new_tokens", stop="stop_sequences", sampling=_LLAMA)),
        (r"ibm-granite/", Shape(system="system_prompt", stop="stop", sampling=_LLAMA)),
        (
            r".*(?:vicuna|flan)",
            Shape(limit="max_length", stop="stop_sequences", sampling=frozenset({"temperature", "top_p", "seed"})),
        ),
    )
)


def shape_of(model: str) -> Shape:
    name = model.removeprefix("deployments/")
    return next((shape for pattern, shape in _SHAPES if pattern.match(name)), _UNKNOWN)
