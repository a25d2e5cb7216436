"""Stability AI (https://platform.stability.ai/docs/api-reference, 2026-11-22). See `tollway.dialects.media.stability`."""

from __future__ import annotations

from tollway.dialects.media import MediaWire, stability
from tollway.providers import Introduction
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Stability AI",
    docs="https://platform.stability.ai/docs/api-reference",
    base_url="https://api.stability.ai",
    base_url_env=("STABILITY_API_BASE",),
    base_url_end="/v2beta/stable-image",
    key_env=("STABILITY_API_KEY",),
    operations=("images_generations", "images_edits"),
)
WIRES: dict[str, MediaWire] = {"images_generations": stability.Generation(), "images_edits": stability.Edit()}


class Stability(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("stability", INTRODUCTION)

    def path(self, operation: str, model: str) -> str | None:
        return "" if operation in WIRES else None

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES.get(operation)
