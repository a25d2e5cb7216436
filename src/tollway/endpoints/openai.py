"""OpenAI's paths, with and without `/v1`, and Azure's way to write the model into the path; ranking, which OpenAI does not
have, stands where Cohere and Jina have it.
"""

from __future__ import annotations

#: Path -> the operation it asks for.
PATHS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/images/generations": "images_generations",
    "/images/edits": "images_edits",
    "/images/variations": "images_variations",
    "/audio/speech": "audio_speech",
    "/audio/transcriptions": "audio_transcriptions",
    "/audio/translations": "audio_translations",
    "/moderations": "moderations",
    "/rerank": "rerank",
}
EXACT = {prefix + path: operation for path, operation in PATHS.items() for prefix in ("", "/v1", "/openai/v1")}
EXACT["/v2/rerank"] = "rerank"
#: Paths with the model in them: what stands before it, and after it one of PATHS.
MODEL_PREFIXES = ("/openai/deployments/", "/engines/", "/v1/engines/")


def with_model(path: str) -> tuple[str, str] | None:
    """(operation, model) of a path such as `/openai/deployments/gpt-4o/chat/completions`; a model's name may hold slashes."""
    for prefix in MODEL_PREFIXES:
        if path.startswith(prefix):
            for end, operation in PATHS.items():
                if path.endswith(end) and len(path) > len(prefix) + len(end):
                    return operation, path[len(prefix) : -len(end)]
    return None
