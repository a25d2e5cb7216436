"""fal (https://docs.fal.ai, 2026-11-22). The key goes as `Authorization: Key ...`. See `tollway.dialects.media.fal`."""

from __future__ import annotations

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.dialects.media import MediaWire, fal
from tollway.providers import Introduction, header_lines
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="fal",
    docs="https://docs.fal.ai/model-apis/model-endpoints/synchronous-requests",
    base_url="https://fal.run",
    base_url_env=("FAL_AI_API_BASE",),
    key_env=("FAL_AI_API_KEY", "FAL_KEY"),
    operations=("images_generations",),
)
WIRES: dict[str, MediaWire] = {"images_generations": fal.Generation()}


class Fal(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("fal_ai", INTRODUCTION)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        shown = [("authorization", f"Key {key.reveal().strip()}")] if key is not None else []
        return header_lines(self.name, shown, entry)

    def path(self, operation: str, model: str) -> str | None:
        return "" if operation in WIRES else None

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES.get(operation)
