"""Amazon's event stream (`application/vnd.amazon.eventstream`): bytes, cut anywhere by the network, into whole frames.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html and
https://smithy.io/2.0/aws/amazon-eventstream.html (2026-11-22). A frame, all numbers big-endian:

    4  length of the whole frame        }
    4  length of the headers            }  the prelude
    4  CRC-32 of the eight bytes before }
    n  headers: 1 length of the name, name, 1 type, value
    m  payload
    4  CRC-32 of all bytes before
"""

from __future__ import annotations

from struct import Struct as Layout
from zlib import crc32

from msgspec import Struct

from tollway.errors import UpstreamBroken

#: What Amazon's own libraries take at most.
HEADER_BYTES_MAX = 128 << 10
FRAME_BYTES_MAX = (24 << 20) + HEADER_BYTES_MAX

_PRELUDE = Layout("!III")
_CRC = Layout("!I")
_PRELUDE_BYTES = 12
_CRC_BYTES = 4
#: Bytes of a header's value by its type: true, false, byte, short, integer, long, timestamp, UUID.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7
#: The few sets of headers that a stream repeats are read once; more than so many are not kept.
_KNOWN_MAX = 64


class Frame(Struct, gc=False):
    """`kind` is "event", "exception" or "error"; `name` says which one. `message` is an error's, which has no payload."""

    kind: str
    name: str
    payload: bytes
    message: str = ""


class FrameCutter:
    """Collects bytes and gives back whole frames. Every frame's two checksums are verified."""

    __slots__ = ("_held", "_known")

    def __init__(self) -> None:
        self._held = bytearray()
        self._known: dict[bytes, tuple[str, str, str]] = {}

    @property
    def cut(self) -> bool:
        """A frame has begun and is not whole."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises UpstreamBroken for bytes that are no frame, or one above
        FRAME_BYTES_MAX.
        """
        held = self._held
        held += data
        frames: list[Frame] = []
        at = 0
        while len(held) - at >= _PRELUDE_BYTES:
            total, header_bytes, checksum = _PRELUDE.unpack_from(held, at)
            if crc32(held[at : at + 8]) != checksum:
                raise _broken("its lengths do not match their checksum")
            if total > FRAME_BYTES_MAX or header_bytes > HEADER_BYTES_MAX:
                raise _broken(f"a frame of {total} bytes is above {FRAME_BYTES_MAX}")
            if total < header_bytes + _PRELUDE_BYTES + _CRC_BYTES:
                raise _broken("a frame is shorter than its headers")
            if len(held) - at < total:
                break
            frames.append(self._frame(bytes(held[at : at + total]), header_bytes))
            at += total
        del held[:at]
        return frames

    def _frame(self, frame: bytes, header_bytes: int) -> Frame:
        end = len(frame) - _CRC_BYTES
        if crc32(memoryview(frame)[:end]) != _CRC.unpack_from(frame, end)[0]:
            raise _broken("a frame does not match its checksum")
        start = _PRELUDE_BYTES + header_bytes
        raw = frame[_PRELUDE_BYTES:start]
        known = self._known.get(raw)
        if known is None:
            known = _meaning(_headers(raw))
            if len(self._known) < _KNOWN_MAX:
                self._known[raw] = known
        kind, name, message = known
        return Frame(kind, name, frame[start:end], message)


def _meaning(headers: dict[str, str]) -> tuple[str, str, str]:
    kind = headers.get(":message-type", "event")
    name = headers.get({"exception": ":exception-type", "error": ":error-code"}.get(kind, ":event-type"), "")
    return kind, name, headers.get(":error-message", "")


def _headers(raw: bytes) -> dict[str, str]:
    """Those whose value is text; the others are stepped over."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(raw):
            end = at + 1 + raw[at]
            name = raw[at + 1 : end].decode()
            kind = raw[end]
            at = end + 1
            if kind in (_BYTES, _TEXT):
                size = int.from_bytes(raw[at : at + 2], "big")
                value = raw[at + 2 : at + 2 + size]
                at += 2 + size
                if kind == _TEXT:
                    found[name] = value.decode()
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise _broken("a frame's headers cannot be read") from error
    if at != len(raw):
        raise _broken("a frame's headers are longer than they say")
    return found


def _broken(why: str) -> UpstreamBroken:
    return UpstreamBroken(f"The provider sent an event stream that cannot be read: {why}.")
