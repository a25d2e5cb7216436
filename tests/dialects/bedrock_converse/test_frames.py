from __future__ import annotations

import datetime
import struct
import uuid
import zlib
from collections.abc import Callable

import pytest
from amazon_transcribe.eventstream import Int8HeaderValue, Int64HeaderValue
from hypothesis import given
from hypothesis import strategies as st

from tollway.dialects.bedrock_converse.frames import FRAME_BYTES_MAX, FrameCutter
from tollway.errors import UpstreamBroken

Frame = Callable[..., bytes]


def raw_frame(headers: bytes, payload: bytes) -> bytes:
    """By the letter of https://smithy.io/2.0/aws/amazon-eventstream.html (2026-11-22), for headers that no client writes."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack("!I", zlib.crc32(whole))


def test_a_frame_says_what_it_is_and_what_it_holds(frame: Frame) -> None:
    cutter = FrameCutter()
    (event,) = cutter.feed(frame("contentBlockDelta", {"a": 1}))
    assert (event.kind, event.name, event.payload) == ("event", "contentBlockDelta", b'{"a": 1}')
    (thrown,) = cutter.feed(frame("throttlingException", {"message": "slow"}, kind="exception"))
    assert (thrown.kind, thrown.name) == ("exception", "throttlingException")
    (failed,) = cutter.feed(frame("InternalError", b"", kind="error", __error_message="It broke."))
    assert (failed.kind, failed.name, failed.message, failed.payload) == ("error", "InternalError", "It broke.", b"")
    assert not cutter.cut


def test_the_published_frame_of_the_specification_is_read() -> None:
    # https://smithy.io/2.0/aws/amazon-eventstream.html#examples (2026-11-22): no headers, an empty message.
    cutter = FrameCutter()
    (empty,) = cutter.feed(bytes.fromhex("000000100000000005c248eb7d98c8ff"))
    assert (empty.kind, empty.name, empty.payload) == ("event", "", b"")


def test_headers_of_every_type_are_stepped_over(frame: Frame) -> None:
    odd = {
        "yes_": True,
        "no_": False,
        "tiny_": Int8HeaderValue(-3),
        "int_": 5,
        "long_": Int64HeaderValue(1 << 40),
        "bytes_": b"\x00\x01",
        "when_": datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        "id_": uuid.UUID(int=7),
    }
    (event,) = FrameCutter().feed(frame("chunk", b"x", **odd))
    assert (event.name, event.payload) == ("chunk", b"x")


@given(data=st.data())
def test_however_the_bytes_are_cut_the_same_frames_come_out(frame: Frame, data: st.DataObject) -> None:
    payloads = data.draw(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
    whole = b"".join(frame(f"event{len(payload) % 3}", payload) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    cutter = FrameCutter()
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    frames = [found for piece in pieces for found in cutter.feed(piece)]
    assert [(f.kind, f.name, f.payload) for f in frames] == [("event", f"event{len(p) % 3}", p) for p in payloads]
    assert not cutter.cut


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(frame: Frame, at: int, bit: int) -> None:
    spoilt = bytearray(frame("contentBlockDelta", {"delta": {"text": "Hello"}}))
    spoilt[at % len(spoilt)] ^= 1 << bit
    with pytest.raises(UpstreamBroken, match="checksum"):
        FrameCutter().feed(bytes(spoilt))


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (b"\x05name", "cannot be read"),  # ends within a name
        (b"\x01a\x63", "cannot be read"),  # a type that does not exist
        (b"\x01a\x07\x00\x09text", "longer than they say"),
        (b"\x01\xff\x00", "cannot be read"),  # a name that is no UTF-8
    ],
)
def test_headers_that_cannot_be_read_are_an_error(headers: bytes, why: str) -> None:
    with pytest.raises(UpstreamBroken, match=why):
        FrameCutter().feed(raw_frame(headers, b""))


@pytest.mark.parametrize(
    ("total", "headers", "why"), [(FRAME_BYTES_MAX + 1, 0, "above"), (1 << 20, 200 << 10, "above"), (20, 10, "shorter")]
)
def test_lengths_are_judged_before_anything_is_waited_for(total: int, headers: int, why: str) -> None:
    prelude = struct.pack("!II", total, headers)
    with pytest.raises(UpstreamBroken, match=why):
        FrameCutter().feed(prelude + struct.pack("!I", zlib.crc32(prelude)))


def test_half_a_frame_is_kept_and_seen(frame: Frame) -> None:
    cutter = FrameCutter()
    whole = frame("messageStart", {"role": "assistant"})
    assert cutter.feed(whole[:20]) == []
    assert cutter.cut
    assert len(cutter.feed(whole[20:])) == 1
