"""Replicate (https://replicate.com/docs/reference/http, 2026-11-22). Quirks: a model is its address, `owner/name`, a deployment of
your own `deployments/owner/name`; one that is written with its version (`owner/name:version`) is named in the body. What a model is
told stands in `input`. See `tollway.dialects.replicate`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tollway.dialects.media import MediaWire
from tollway.dialects.replicate import pictures
from tollway.dialects.replicate.predictions import path_of, version_of
from tollway.providers import Introduction, text_of
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Replicate",
    docs="https://replicate.com/docs/reference/http",
    base_url="https://api.replicate.com",
    base_url_env=("REPLICATE_API_BASE",),
    base_url_end="/v1",
    key_env=("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    operations=("chat", "images_generations"),
)
WIRES: dict[str, MediaWire] = {"images_generations": pictures.Generation()}


def clean(url: str) -> str:
    """People wrote down the address of one of its doors: https://api.replicate.com/v1/models, .../v1/predictions."""
    return re.sub(r"/(?:models|deployments|predictions)(?:/.*)?$", "", url)


class Replicate(OpenAICompatible):
    dialect = "replicate"

    def __init__(self) -> None:
        super().__init__("replicate", INTRODUCTION, clean=clean)

    def path(self, operation: str, model: str) -> str | None:
        return path_of(model) if operation in INTRODUCTION.operations else None

    def dialects(self, model: str) -> tuple[str, ...]:
        return (self.dialect,)

    def chat_path(self, dialect: str, model: str, *, streaming: bool) -> str | None:
        return path_of(model)

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES.get(operation)

    def envelop(self, dialect: str, fields: dict[str, Any], *, streaming: bool, betas: Sequence[str] = ()) -> None:
        """What is said so far is the model's `input`."""
        model = text_of(fields.pop("model"))
        said = dict(fields)
        fields.clear()
        if version := version_of(model):
            fields["version"] = version
        fields["input"] = said
        if streaming:
            fields["stream"] = True
