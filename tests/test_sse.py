from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway import sse
from tollway.errors import UpstreamBroken
from tollway.sse import EventCutter, event_data, event_name

_STREAMS = st.lists(
    st.sampled_from([b"a", b"data: x", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b": ping", b"\r"]), max_size=30
)


def test_whole_events_come_out_without_the_empty_line_that_ends_them() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\n\ndata: 2\n\ndata:") == [b"data: 1", b"data: 2"]
    assert cutter.feed(b" 3\n\n") == [b"data: 3"]
    assert cutter.rest() == b""


def test_what_lacks_its_empty_line_is_given_as_the_rest() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\n") == []
    assert cutter.rest() == b"data: 1\n"


@given(parts=_STREAMS, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_where_the_network_cuts_does_not_matter(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts) + b"."  # something after a last CR, which alone would wait for what follows
    whole = EventCutter()
    expected = (whole.feed(stream), whole.rest())
    cutter, events, at = EventCutter(), [], 0
    for cut in sorted(min(cut, len(stream)) for cut in cuts):
        events += cutter.feed(stream[at:cut])
        at = cut
    events += cutter.feed(stream[at:])
    assert (events, cutter.rest()) == expected


def test_carriage_returns_end_lines_too() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"event: a\r\ndata: 1\r\n\r") == []
    assert cutter.feed(b"\ndata: 2\r\n\r\n") == [b"event: a\ndata: 1", b"data: 2"]


def test_an_event_above_the_bound_breaks_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 10)
    cutter = EventCutter()
    cutter.feed(b"data: 12")
    with pytest.raises(UpstreamBroken):
        cutter.feed(b"34567")


@pytest.mark.parametrize(
    ("event", "data", "name"),
    [
        (b"data: {}", b"{}", ""),
        (b"data:{}", b"{}", ""),
        (b"event: error\ndata: {}", b"{}", "error"),
        (b"data: {\ndata: }", b"{\n}", ""),
        (b": keep-alive", None, ""),
        (b"id: 7\nevent:x", None, "x"),
    ],
)
def test_the_data_of_an_event_is_its_data_lines(event: bytes, data: bytes | None, name: str) -> None:
    assert event_data(event) == data
    assert event_name(event) == name
