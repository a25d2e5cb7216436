"""ElevenLabs: speech and transcripts (https://elevenlabs.io/docs/api-reference/introduction, 2026-11-22). The key goes in
`xi-api-key`. See `tollway.dialects.media.elevenlabs`.
"""

from __future__ import annotations

from tollway.dialects.media import MediaWire, elevenlabs
from tollway.providers import Introduction
from tollway.providers.openai_compatible import OpenAICompatible

INTRODUCTION = Introduction(
    display="ElevenLabs",
    docs="https://elevenlabs.io/docs/api-reference/introduction",
    base_url="https://api.elevenlabs.io",
    base_url_env=("ELEVENLABS_API_BASE",),
    base_url_end="/v1",
    key_env=("ELEVENLABS_API_KEY",),
    auth="xi-api-key",
    operations=("audio_speech", "audio_transcriptions"),
)
WIRES: dict[str, tuple[str, MediaWire]] = {
    "audio_speech": ("/text-to-speech", elevenlabs.Speech()),
    "audio_transcriptions": ("/speech-to-text", elevenlabs.Transcription()),
}


class ElevenLabs(OpenAICompatible):
    def __init__(self) -> None:
        super().__init__("elevenlabs", INTRODUCTION)

    def path(self, operation: str, model: str) -> str | None:
        return WIRES[operation][0] if operation in WIRES else None

    def media_wire(self, operation: str) -> MediaWire | None:
        return WIRES[operation][1] if operation in WIRES else None
