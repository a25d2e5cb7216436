"""Gemini's paths, whose last member is a model and what is asked of it: `/v1beta/models/gemini-2.5-flash:generateContent`.

With every version that Google's clients write, without one, under the prefixes that LiteLLM gives its pass-through, and as
Vertex AI has them, behind a project and a publisher. https://ai.google.dev/api (2026-11-22)
"""

from __future__ import annotations

import re

#: The method -> the operation it asks for.
METHODS = {
    "generateContent": "generate_content",
    "streamGenerateContent": "stream_generate_content",
    "countTokens": "count_tokens",
}
_PATH = re.compile(
    r"(?:/gemini|/vertex_ai|/vertex-ai)?(?:/v1|/v1alpha|/v1beta|/v1beta1)?"
    r"(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/[^/]+)?/models/(?P<model>.+):(?P<method>[A-Za-z]+)"
)


def with_model(path: str) -> tuple[str, str] | None:
    """(operation, model) of such a path; a model's name may hold slashes and colons."""
    if not path.endswith(tuple(METHODS)):
        return None
    found = _PATH.fullmatch(path)
    if found is None or found["method"] not in METHODS:
        return None
    return METHODS[found["method"]], found["model"]
