"""What tests say to a model: a word that chooses a script of `provider.mjs`, and a picture."""

from __future__ import annotations

import secrets
import struct
import zlib


def word(script: str) -> str:
    """A word for the scripted provider that no other test uses."""
    return f"E2E-{script}-{secrets.token_hex(4)}"


def red_png(side_px: int = 32) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = (b"\x00" + b"\xff\x00\x00" * side_px) * side_px
    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
