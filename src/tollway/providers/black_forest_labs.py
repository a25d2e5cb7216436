"""Black Forest Labs (https://docs.bfl.ai, 2026-11-22). The key goes in `x-key`. See `tollway.dialects.media.black_forest_labs`."""

from __future__ import annotations

from tollway.dialects.media import MediaWire, black_forest_labs
from tollway.providers import Introduction
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Black Forest Labs",
    docs="https://docs.bfl.ai/api_integration/integration_guidelines",
    base_url="https://api.bfl.ai",
    base_url_env=("BFL_API_BASE",),
    base_url_end="/v1",
    key_env=("BFL_API_KEY", "BLACK_FOREST_LABS_API_KEY"),
    auth="x-key",
    operations=("images_generations", "images_edits"),
)
WIRES: dict[str, MediaWire] = {
    "images_generations": black_forest_labs.Generation(),
    "images_edits": black_forest_labs.Edit(),
}


class BlackForestLabs(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("black_forest_labs", INTRODUCTION)

    def path(self, operation: str, model: str) -> str | None:
        return "" if operation in WIRES else None

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES.get(operation)
