from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.sound import seconds_of


def wav(data: bytes, bytes_per_s: int = 32_000) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, 1, bytes_per_s // 2, bytes_per_s, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + fmt + b"data\xff\xff\xff\xff" + data


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def mvhd(*, wide: bool) -> bytes:
    if wide:
        return box(b"mvhd", b"\x01\x00\x00\x00" + struct.pack(">QQIQ", 0, 0, 1000, 2500))
    return box(b"mvhd", b"\x00\x00\x00\x00" + struct.pack(">IIII", 0, 0, 1000, 2500))


FTYP = box(b"ftyp", b"M4A \x00\x00\x00\x00")
FLAC = b"fLaC\x80\x00\x00\x22" + bytes(10) + ((16_000 << 44) | (15 << 36) | 40_000).to_bytes(8)
OPUS = b"OggS" + bytes(24) + b"OpusHead" + bytes(20)
VORBIS = b"OggS" + bytes(24) + b"\x01vorbis\x00\x00\x00\x00\x01" + struct.pack("<I", 16_000)
MP3_128 = bytes([0xFF, 0xFB, 0x90, 0x64])  # MPEG 1, layer III, 128 kbit/s, 44 100 Hz
MP3_64_24K = bytes([0xFF, 0xF3, 0x84, 0x64])  # MPEG 2, 64 kbit/s, 24 000 Hz
ID3 = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)


def last_page(granule: int) -> bytes:
    return bytes(50) + b"OggS\x00\x04" + struct.pack("<q", granule) + bytes(20)


@pytest.mark.parametrize(
    ("opening", "size", "closing", "seconds"),
    [
        (wav(b""), 44 + 64_000, b"", 2.0),
        (FLAC, 12_345, b"", 2.5),
        (OPUS, 9_000, last_page(120_000), 2.5),
        (VORBIS, 9_000, last_page(40_000), 2.5),
        (FTYP + mvhd(wide=False), 9_000, b"", 2.5),
        (FTYP + mvhd(wide=True), 9_000, b"", 2.5),
        (FTYP + bytes(100), 9_000, bytes(10) + mvhd(wide=False), 2.5),
        (MP3_128 + bytes(400), 32_000, b"", 2.0),
        (MP3_64_24K + bytes(400), 16_000, b"", 2.0),
        (ID3 + MP3_128 + bytes(400), 20 + 32_000, b"", 2.0),
        (MP3_128 + bytes(32) + b"Xing\x00\x00\x00\x01" + struct.pack(">I", 1000), 1, b"", 1152 / 44.1),
    ],
)
def test_a_file_tells_how_long_it_lasts(opening: bytes, size: int, closing: bytes, seconds: float) -> None:
    assert seconds_of(opening, size, closing) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "opening", [b"", b"\x1aE\xdf\xa3webm", b"OggS" + bytes(40), b"RIFF\0\0\0\0WAVE", FTYP, b"\xff\xff\xff\xff", b"ID3"]
)
def test_what_does_not_tell_is_none(opening: bytes) -> None:
    assert seconds_of(opening, 1000, b"") is None


@given(
    st.sampled_from([b"", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC", b"OggSOpusHead", FTYP + b"mvhd", b"ID3", b"\xff\xfb"]),
    st.binary(max_size=80),
    st.integers(0, 1 << 40),
    st.binary(max_size=80),
)
def test_no_file_makes_it_fail(kind: bytes, rest: bytes, size: int, closing: bytes) -> None:
    seconds: Any = seconds_of(kind + rest, size, closing)
    assert seconds is None or seconds > 0
