"""Runway (https://docs.dev.runwayml.com/api, 2026-11-22). A header names the API's version. See
`tollway.dialects.media.runwayml`.
"""

from __future__ import annotations

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.dialects.media import MediaWire, runwayml
from tollway.providers import Introduction, greeting, header_lines
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Runway",
    docs="https://docs.dev.runwayml.com/api",
    base_url="https://api.dev.runwayml.com",
    base_url_env=("RUNWAYML_API_BASE",),
    base_url_end="/v1",
    key_env=("RUNWAYML_API_SECRET", "RUNWAYML_API_KEY"),
    operations=("images_generations",),
)
VERSION = "2024-11-06"
WIRES: dict[str, MediaWire] = {"images_generations": runwayml.Generation()}


class Runway(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("runwayml", INTRODUCTION)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        return header_lines(self.name, [*greeting("bearer", key), ("x-runway-version", VERSION)], entry)

    def path(self, operation: str, model: str) -> str | None:
        return "/text_to_image" if operation in WIRES else None

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES.get(operation)
