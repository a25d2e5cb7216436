from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.dialects.gemini import frames
from tollway.dialects.gemini.frames import ChunkCutter, ElementCutter, chunk_data
from tollway.errors import UpstreamBroken

values = st.recursive(
    st.one_of(
        st.integers(-9, 9), st.text(st.characters(codec="utf-8"), max_size=6), st.sampled_from(['\\"', "}{][", "\\"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=3)


@given(st.lists(objects, max_size=4), st.sampled_from([None, 1]), st.lists(st.integers(0, 300), max_size=6))
def test_an_array_falls_into_its_elements_however_it_is_cut(
    elements: list[Any], indent: int | None, cuts: list[int]
) -> None:
    text = json.dumps(elements, indent=indent).encode()
    cutter = ElementCutter()
    places = [0, *sorted(min(place, len(text)) for place in cuts), len(text)]
    found = [json.loads(one) for start, end in itertools.pairwise(places) for one in cutter.feed(text[start:end])]
    assert found == elements
    assert cutter.ended


def test_the_first_byte_tells_the_kind() -> None:
    events, array, nothing = ChunkCutter(), ChunkCutter(), ChunkCutter()
    assert events.feed(b" data: {}\n\n") == [b" data: {}"]
    assert array.feed(b"\n[{},") == [b"{}"]
    assert nothing.feed(b"\r\n") == []
    assert (events.array, array.array, nothing.array) == (False, True, None)
    assert (events.ended, array.ended, nothing.rest()) == (False, False, b"")


@pytest.mark.parametrize(
    ("chunk", "data"),
    [
        (b'data: {"a":1}', b'{"a":1}'),
        (b"data: {\ndata: }", b"{\n}"),
        (b'{\n "a": 1}', b'{\n "a": 1}'),
        (b": keep-alive", None),
        (b"data: ", b""),
        (b"event: x", None),
    ],
)
def test_the_json_of_a_chunk(chunk: bytes, data: bytes | None) -> None:
    assert (chunk_data(chunk) or None) == (data or None)


def test_an_element_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "EVENT_BYTES_MAX", 10)
    with pytest.raises(UpstreamBroken):
        ElementCutter().feed(b'[{"a":"' + b"x" * 20)
