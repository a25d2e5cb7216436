"""How long a piece of sound lasts, from what its file says of itself. Nothing is decoded.

For estimates alone, where a provider does not say what it billed: a file may say anything.
"""

from __future__ import annotations

#: How much of a file's beginning, and of its end, is looked at.
LOOKED_AT_BYTES = 64 << 10

#: kbit/s of an MP3 frame by its header's index: MPEG 1, and MPEG 2 and 2.5, layer III (ISO/IEC 11172-3, 2.4.2.3).
_MP3_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MP3_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MP3_HERTZ = (44_100, 48_000, 32_000, 0)
#: How often a version (its two bits: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5) halves them.
_MP3_HALVED = {3: 0, 2: 1, 0: 2}
_OPUS_HERTZ = 48_000  # of its granule positions, whatever it was made of (RFC 7845, section 4)


def seconds_of(opening: bytes, size: int, closing: bytes = b"") -> float | None:
    """Seconds of a file of `size` bytes, from its first and its last bytes; None where they do not tell.

    WAV, MP3, FLAC, Ogg (Opus and Vorbis; told by `closing`) and MP4.
    """
    if opening[:4] == b"RIFF" and opening[8:12] == b"WAVE":
        seconds = _wav(opening, size)
    elif opening[:4] == b"fLaC":
        seconds = _flac(opening)
    elif opening[:4] == b"OggS":
        seconds = _ogg(opening, closing)
    elif opening[4:8] == b"ftyp":
        seconds = _mp4(opening) or _mp4(closing)
    else:
        seconds = _mp3(opening, size)
    return seconds if seconds and seconds > 0 else None


def _wav(opening: bytes, size: int) -> float | None:
    at = opening.find(b"fmt ", 12)
    if at < 0:
        return None
    bytes_per_s = int.from_bytes(opening[at + 16 : at + 20], "little")
    data = opening.find(b"data", at)
    sound = size - (data + 8 if data >= 0 else 44)
    return sound / bytes_per_s if bytes_per_s else None


def _flac(opening: bytes) -> float | None:
    told = int.from_bytes(opening[18:26])
    hertz, samples = told >> 44, told & 0xFFFFFFFFF
    return samples / hertz if hertz else None


def _ogg(opening: bytes, closing: bytes) -> float | None:
    hertz = 0
    if b"OpusHead" in opening:
        hertz = _OPUS_HERTZ
    elif (at := opening.find(b"\x01vorbis")) >= 0:
        hertz = int.from_bytes(opening[at + 12 : at + 16], "little")
    last = closing.rfind(b"OggS")
    if not hertz or last < 0:
        return None
    return int.from_bytes(closing[last + 6 : last + 14], "little", signed=True) / hertz


def _mp4(piece: bytes) -> float | None:
    at = piece.find(b"mvhd")
    if at < 0:
        return None
    wide = 8 if piece[at + 4 : at + 5] == b"\x01" else 4
    at += 8 + 2 * wide  # version and flags, then when it was made and changed
    scale, duration = int.from_bytes(piece[at : at + 4]), int.from_bytes(piece[at + 4 : at + 4 + wide])
    return duration / scale if scale else None


def _mp3(opening: bytes, size: int) -> float | None:
    at = 0
    if opening[:3] == b"ID3":
        tag = opening[6:10]
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag, (21, 14, 7, 0), strict=False))
    head = int.from_bytes(opening[at : at + 4])
    if head >> 21 != 0x7FF or head >> 17 & 3 != 1:
        return None
    version = head >> 19 & 3
    kbits = (_MP3_KBITS_1 if version == 3 else _MP3_KBITS_2)[head >> 12 & 15]
    hertz = _MP3_HERTZ[head >> 10 & 3] >> _MP3_HALVED.get(version, 16)
    if not kbits or not hertz:
        return None
    frames = _mp3_frames(opening[at : at + 200])
    if frames:
        return frames * (1152 if version == 3 else 576) / hertz
    return (size - at) / (kbits * 125)


def _mp3_frames(first_frame: bytes) -> int:
    """The count of frames that an encoder of changing bit rates writes into its first one; 0 where it did not."""
    for mark in (b"Xing", b"Info"):
        at = first_frame.find(mark)
        if at >= 0 and int.from_bytes(first_frame[at + 4 : at + 8]) & 1:
            return int.from_bytes(first_frame[at + 8 : at + 12])
    return 0
