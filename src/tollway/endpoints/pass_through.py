"""Providers' own APIs under their names: `/anthropic/v1/files`, `/mistral/v1/batch/jobs`, `/bedrock/model/{model}/converse`.

An allow-list per provider: what stands in no line here is not passed on, and no line opens what an account's owner does
(organizations, keys, usage). What a line says of money is `kind`; see `operations.pass_through`. Paths that the gateway answers in
its own right (`/anthropic/v1/messages`, `/openai/v1/chat/completions`, `/gemini/v1beta/models/{model}:generateContent`) are looked
up before these.

https://platform.openai.com/docs/api-reference, https://docs.claude.com/en/api, https://ai.google.dev/api,
https://docs.cohere.com/reference, https://docs.mistral.ai/api, https://learn.microsoft.com/azure/ai-foundry/openai/reference,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html (2026-11-22)
"""

from __future__ import annotations

import re

from tollway.operations.pass_through import FREE, UNPRICED, Family, Passage, Rule

#: One member of a path: what ids and names are made of, and never a way out of the folder.
ONE = r"(?!\.)[\w.:@+~-]+"
ID = f"(?P<id>{ONE})"
MODEL = f"(?P<model>{ONE})"


def _rule(methods: str, path: str, kind: str = FREE, **more: object) -> Rule:
    return Rule(tuple(methods.split("|")), re.compile(path), kind, **more)  # type: ignore[arg-type]  # Rule's own fields


def _kept(path: str, *, name: str, listed: str = "data", prefix: str = "") -> tuple[Rule, ...]:
    """Things that are made, listed, read and deleted: files."""
    return (
        _rule("GET", path, name=name, listed=listed),
        _rule("POST", path, name=name, makes=True),
        _rule("GET|DELETE", f"{path}/{ID}", name=name),
        _rule("GET", f"{path}/{ID}/content", name=name, streamed=True),
    )


def _batches(path: str, *, refers: tuple[str, ...] = (), results: bool = False) -> tuple[Rule, ...]:
    """What a batch will cost is known when it is done, and not told here."""
    read = "GET|DELETE" if results else "GET"
    return (
        _rule("GET", path, name="batches", listed="data"),
        _rule("POST", path, UNPRICED, name="batches/create", makes=True, refers=refers),
        _rule(read, f"{path}/{ID}", name="batches", makes=True),
        _rule("POST", f"{path}/{ID}/cancel", name="batches"),
        *((_rule("GET", f"{path}/{ID}/results", name="batches", streamed=True),) if results else ()),
    )


_MODELS = (_rule("GET", "/models", name="models"), _rule("GET", f"/models/{MODEL}", name="models"))
_OPENAIS = (
    *_MODELS,
    *_kept("/files", name="files"),
    *_batches("/batches", refers=("input_file_id",)),
    _rule("GET", "/fine_tuning/jobs", name="fine_tuning", listed="data"),
    _rule("GET", f"/fine_tuning/jobs/{ID}(?:/events|/checkpoints)?", name="fine_tuning"),
)
#: What the gateway knows how to ask: path -> operation.
_GOVERNED = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/images/generations": "images_generations",
    "/images/edits": "images_edits",
    "/audio/speech": "audio_speech",
    "/audio/transcriptions": "audio_transcriptions",
    "/audio/translations": "audio_translations",
    "/moderations": "moderations",
}
_CONVERSE = r"(?:/model/(?P<model>(?:(?!/converse|/invoke).)+))"
_VERTEX = r"/(?:v1|v1beta1)/projects/[^/]+/locations/[^/]+/publishers/"

FAMILIES = {
    "anthropic": Family(
        ("anthropic",),
        "anthropic_messages",
        (
            *(_rule("GET", "/v1" + r.path.pattern, name="models") for r in _MODELS),
            *_kept("/v1/files", name="files"),
            *_batches("/v1/messages/batches", results=True),
        ),
    ),
    "openai": Family(("openai",), "openai_chat", _OPENAIS, base="/v1"),
    "azure": Family(
        ("azure",),
        "openai_chat",
        (
            *_OPENAIS,
            _rule(
                "POST", "/responses", "openai_responses", name="responses", makes=True, refers=("previous_response_id",)
            ),
            _rule("GET|DELETE", f"/responses/{ID}", name="responses"),
            *(
                _rule("POST", f"(?:/deployments/(?P<model>{ONE}))?{path}", name=operation, operation=operation)
                for path, operation in _GOVERNED.items()
                if operation not in ("completions", "moderations")
            ),
        ),
        base="(?:/openai)?(?:/v1)?",
    ),
    "gemini": Family(
        ("gemini",),
        "gemini",
        (
            _rule("GET", "/v1(?:alpha|beta)?/models", name="models"),
            _rule("GET", f"/v1(?:alpha|beta)?/models/{MODEL}", name="models"),
            _rule("POST", f"/v1(?:alpha|beta)?/models/{MODEL}:(?:embedContent|batchEmbedContents)", "embedding"),
            _rule("GET", "/v1(?:alpha|beta)?/cachedContents", name="cachedContents", listed="cachedContents"),
            _rule("POST", "/v1(?:alpha|beta)?/cachedContents", UNPRICED, name="cachedContents/create", makes=True),
            _rule("GET|DELETE", f"/v1(?:alpha|beta)?/(?P<id>cachedContents/{ONE})", name="cachedContents"),
        ),
    ),
    "vertex_ai": Family(
        ("vertex_ai", "vertex_ai_beta"),
        "gemini",
        (
            _rule("POST", f"{_VERTEX}anthropic/models/count-tokens:rawPredict", name="count_tokens"),
            _rule("POST", f"{_VERTEX}anthropic/models/{MODEL}:(?:rawPredict|streamRawPredict)", "anthropic_messages"),
            _rule("POST", f"{_VERTEX}google/models/{MODEL}:predict", UNPRICED, name="predictions"),
        ),
    ),
    "bedrock": Family(
        ("bedrock",),
        "bedrock_converse",
        (
            _rule("POST", f"{_CONVERSE}/converse(?:-stream)?", "bedrock_converse"),
            _rule("POST", f"{_CONVERSE}/invoke(?:-with-response-stream)?", "bedrock_invoke"),
        ),
    ),
    "cohere": Family(
        ("cohere", "cohere_chat"),
        "cohere_chat",
        (
            _rule("POST", "/v2/chat", "cohere_chat"),
            _rule("POST", "/v[12]/embed", "cohere_embed"),
            _rule("POST", "/v[12]/rerank", name="rerank", operation="rerank"),
            _rule("GET", "/v1/models", name="models"),
            _rule("GET", f"/v1/models/{MODEL}", name="models"),
            _rule("POST", "/v1/(?:tokenize|detokenize)", name="tokenize"),
        ),
    ),
    "mistral": Family(
        ("mistral",),
        "openai_chat",
        (
            *_MODELS,
            *_kept("/files", name="files"),
            *_batches("/batch/jobs", refers=("input_files",)),
            _rule("POST", "/fim/completions", "openai_chat"),
            _rule("POST", "/ocr", UNPRICED, name="ocr", refers=("document",)),
            *(
                _rule("POST", path, name=operation, operation=operation)
                for path, operation in _GOVERNED.items()
                if operation in ("chat", "embeddings", "moderations", "audio_transcriptions")
            ),
        ),
        base="/v1",
    ),
}
#: Other names of the same.
ALIASES = {"vertex-ai": "vertex_ai"}


def find(method: str, path: str) -> Passage | None:
    """What is asked of which provider; None for a path of another family. `rule` is None for what is not passed on."""
    name, slash, _ = path[1:].partition("/")
    name = ALIASES.get(name, name)
    family = FAMILIES.get(name)
    if family is None or not slash:
        return None
    rest = path[path.index("/", 1) :]
    if family.base and (base := re.match(family.base + "(?=/)", rest)) is not None:
        rest = rest[base.end() :]
    fits = [(rule, found) for rule in family.rules if (found := rule.path.fullmatch(rest)) is not None]
    for rule, found in fits:
        if method in rule.methods:
            groups = found.groupdict()
            return Passage(name, rest, rule, groups.get("id") or "", groups.get("model") or "")
    allowed = sorted({allowed for rule, _ in fits for allowed in rule.methods})
    return Passage(name, rest, None, allowed=tuple(allowed))
