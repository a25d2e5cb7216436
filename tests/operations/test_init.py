"""What operations share: how a body is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.errors import BadRequest
from tollway.operations import decode_fields, text_field, value_of, without_media

spaces = st.sampled_from(["", "", " ", "\n", "\t", "\r\n", "  \n "])
texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
keys = st.sampled_from(["model", "a", "n", "é", "", "x\ny", 'q"q', "\\"]) | texts
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def written_texts(draw: st.DrawFn, text: str) -> str:
    """One of the many ways to write a JSON string: plain, escaped, each character as a number."""
    way = draw(st.sampled_from(["plain", "ascii", "numbers"]))
    if way == "numbers":
        units = text.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=way == "ascii")


@st.composite
def written_values(draw: st.DrawFn) -> str:
    value = draw(values)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
    return json.dumps(value, separators=separators, ensure_ascii=draw(st.booleans()))


@st.composite
def written_objects(draw: st.DrawFn, names: list[str]) -> tuple[str, list[str]]:
    """(an object with these keys, its values as they were written)."""
    told = [draw(written_values()) for _ in names]
    members = [
        draw(spaces) + draw(written_texts(name)) + draw(spaces) + ":" + draw(spaces) + value + draw(spaces)
        for name, value in zip(names, told, strict=True)
    ]
    return draw(spaces) + "{" + (",".join(members) or draw(spaces)) + "}" + draw(spaces), told


@given(st.data())
def test_an_object_in_any_style_decodes_and_its_values_keep_their_bytes(data: st.DataObject) -> None:
    names = data.draw(st.lists(keys, unique=True, max_size=5))
    text, told = data.draw(written_objects(names))
    fields = decode_fields(text.encode())
    assert list(fields) == names
    assert [bytes(value).decode() for value in fields.values()] == told


@given(st.data())
def test_an_object_with_a_key_that_stands_twice_is_refused_however_it_is_written(data: st.DataObject) -> None:
    names = data.draw(st.lists(keys, unique=True, min_size=1, max_size=4))
    twice = data.draw(st.sampled_from(names))
    names.insert(data.draw(st.integers(0, len(names))), twice)
    text, _ = data.draw(written_objects(names))
    with pytest.raises(BadRequest) as refused:
        decode_fields(text.encode())
    assert refused.value.param == "request_body"
    assert repr(twice) in refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a":12,"a":1}',
        b'{"a":1,"a":12}',
        b'{"a":1,"\\u0061":1}',
        b'{"model":"x","b":{"model":"y"},"model":"x"}',
        b'{"a":1, "b":2 ,"a":1}',
        '{"é":1,"\\u00e9":1}'.encode(),
    ],
)
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="stands twice"):
        decode_fields(body)


def test_a_key_may_stand_again_further_inside() -> None:
    fields = decode_fields(b'{"a": {"a": 1, "a": 2}, "b": "a"}')
    assert bytes(fields["a"]) == b'{"a": 1, "a": 2}'


@pytest.mark.parametrize(
    "body", [b"", b" ", b"[]", b"1", b'"a"', b"null", b"{", b'{"a":}', b'{"a":1}x', b"\xff", b"{'a':1}"]
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        decode_fields(body)
    assert refused.value.param == "request_body"


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        fields = decode_fields(body)
    except BadRequest:
        return
    assert isinstance(fields, dict)


def test_a_field_of_another_kind_is_refused_by_its_name() -> None:
    fields = {"n": Raw(b'"two"'), "s": Raw(b"7"), "z": Raw(b"null")}
    for read in (lambda: value_of(fields, "n", int, "a whole number"), lambda: text_field(fields, "s")):
        with pytest.raises(BadRequest):
            read()
    assert value_of(fields, "z", int, "a whole number") is None
    assert value_of(fields, "other", int, "a whole number") is None
    assert text_field(fields, "z") == ""
    assert text_field(fields, "other") == ""


@pytest.mark.parametrize(
    ("given_value", "text_bytes", "count"),
    [
        (b'"plain"', 7, 0),
        (b'["data:image/png;base64,AAAA"]', 4, 1),
        (b'["a","data:;base64,AAAA","data:audio/wav;base64,"]', 11, 2),
        (b'["data:image\\/png;base64,AA\\/A"]', 4, 1),
        (b'["data:text/plain;base64,these are words"]', 42, 0),
        (b'"see data:image/png;base64,AAAA"', 32, 0),
    ],
)
def test_media_are_told_from_text(given_value: bytes, text_bytes: int, count: int) -> None:
    assert without_media(given_value) == (text_bytes, count)
