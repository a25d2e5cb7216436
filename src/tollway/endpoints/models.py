"""`GET /v1/models`: what the caller may call, with what clients need to know of it.

Rows are OpenAI's, with the fields that LiteLLM adds (`mode`, limits) and those by which agents learn of pictures and reasoning
(`input_modalities`, `supports_reasoning`, `context_window`).
"""

from __future__ import annotations

from typing import Any

from msgspec.json import encode

from tollway.snapshot import Caller, Model, Snapshot

#: LiteLLM's constant for every model; clients sort by it and nothing else.
CREATED_S = 1677610602
PREFIXES = ("/v1/models", "/models")


def list_models(snapshot: Snapshot, caller: Caller) -> bytes:
    access = caller.key.access if caller.key is not None else None
    rows = [row(snapshot, name) for name in snapshot.listed(access)]
    return encode({"data": rows, "object": "list"})


def one_model(snapshot: Snapshot, caller: Caller, name: str) -> bytes | None:
    """One row, or None when the caller cannot see such a model."""
    key = caller.key
    if key is not None and not key.access.allows(name, snapshot.groups_of(name)):
        return None
    if snapshot.resolve(name) is None:
        return None
    return encode(row(snapshot, name))


def row(snapshot: Snapshot, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": name, "object": "model", "created": CREATED_S, "owned_by": "openai"}
    model: Model | None = snapshot.models.get(name) or snapshot.resolve(name)
    facts = next((d.facts for d in model.deployments if d.facts is not None), None) if model is not None else None
    about = model.deployments[0].entry.about if model is not None and model.deployments else {}
    if facts is not None:
        shown["mode"] = facts.mode
        if facts.input_tokens_max:
            shown["max_input_tokens"] = shown["context_window"] = facts.input_tokens_max
        if facts.output_tokens_max:
            shown["max_output_tokens"] = facts.output_tokens_max
        shown["input_modalities"] = list(facts.input_modalities)
        shown["output_modalities"] = list(facts.output_modalities)
        shown["supports_reasoning"] = "reasoning" in facts.abilities
        shown["supports_vision"] = "vision" in facts.abilities
    for field in ("mode", "max_input_tokens", "max_output_tokens", "supports_vision", "supports_reasoning"):
        if field in about:
            shown[field] = about[field]
    if about.get("supports_vision") and "image" not in shown.get("input_modalities", ()):
        shown["input_modalities"] = [*shown.get("input_modalities", ["text"]), "image"]
    if "max_input_tokens" in about:
        shown["context_window"] = about["max_input_tokens"]
    return shown
