from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.dialects.gemini.parts import (
    FOREIGN_MARK,
    arguments_object,
    arguments_text,
    generation,
    is_base64,
    read_signature,
    wire_signature,
)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("gemini-2.5-flash", (2, 5)),
        ("gemini-3-pro-preview", (3, 0)),
        ("models/gemini-3.1-flash-lite", (3, 1)),
        ("publishers/google/models/gemini-10.2-pro", (10, 2)),
        ("gemini-flash-latest", (3, 1)),
        ("tunedModels/mine", (0, 0)),
        ("gemma-3-27b-it", (0, 0)),
    ],
)
def test_a_models_name_tells_its_generation(model: str, found: tuple[int, int]) -> None:
    assert generation(model) == found


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.booleans())
def test_what_anyone_signed_or_sealed_comes_back(text: str, sealed: bool) -> None:
    wire = wire_signature("", text) if sealed else wire_signature(text, maker="anthropic_messages")
    assert is_base64(wire)
    assert wire.startswith(FOREIGN_MARK.decode())
    back = ("", text, "") if sealed else (text, "", "anthropic_messages")
    assert read_signature(wire.replace("-", "+").replace("_", "/")) == back


def test_what_google_signed_stays_as_it_is() -> None:
    assert wire_signature("c2ln") == "c2ln"
    assert read_signature("c2ln") == ("c2ln", "", "gemini")


@pytest.mark.parametrize("wire", ["dG9sbHdheS!", "dG9sbHdheSBpcyBteSBuYW1l"])
def test_what_only_looks_like_ours_is_left_alone(wire: str) -> None:
    assert read_signature(wire) == (wire, "", "gemini")


@pytest.mark.parametrize(
    ("args", "text"),
    [(b"", "{}"), (b"null", "{}"), (b'{"a": 1.0}', '{"a": 1.0}'), (b'{\n  "a": 1.0\n}', '{"a":1.0}')],
)
def test_arguments_are_one_line_of_json(args: bytes, text: str) -> None:
    assert arguments_text(Raw(args)) == text


@pytest.mark.parametrize(
    ("text", "args"),
    [("", b"{}"), (" ", b"{}"), ('{"a": 1.0}', b'{"a": 1.0}'), ("[1]", None), ('{"a":', None), ("word", None)],
)
def test_arguments_that_are_no_object_are_none(text: str, args: bytes | None) -> None:
    found = arguments_object(text)
    assert (None if found is None else bytes(found)) == args
