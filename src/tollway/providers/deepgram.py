"""Deepgram: speech and transcripts (https://developers.deepgram.com/reference/deepgram-api-overview, 2026-11-22). The key goes
as `Authorization: Token ...`. See `tollway.dialects.media.deepgram`.
"""

from __future__ import annotations

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.dialects.media import MediaWire, deepgram
from tollway.providers import Introduction, header_lines
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="Deepgram",
    docs="https://developers.deepgram.com/reference/deepgram-api-overview",
    base_url="https://api.deepgram.com",
    base_url_env=("DEEPGRAM_API_BASE",),
    base_url_end="/v1",
    key_env=("DEEPGRAM_API_KEY",),
    operations=("audio_speech", "audio_transcriptions"),
)
WIRES: dict[str, tuple[str, MediaWire]] = {
    "audio_speech": ("/speak", deepgram.Speech()),
    "audio_transcriptions": ("/listen", deepgram.Transcription()),
}


class Deepgram(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("deepgram", INTRODUCTION)

    def headers(self, key: Secret | None, entry: ModelEntry) -> list[tuple[bytes, bytes]]:
        shown = [("authorization", f"Token {key.reveal().strip()}")] if key is not None else []
        return header_lines(self.name, shown, entry)

    def path(self, operation: str, model: str) -> str | None:
        return WIRES[operation][0] if operation in WIRES else None

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES[operation][1] if operation in WIRES else None
