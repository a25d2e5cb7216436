from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tollway.dialects.media import (
    CUE_CHARS_MAX,
    Asked,
    File,
    Picture,
    Transcript,
    Word,
    broken,
    form_body,
    json_body,
    nearest_ratio,
    object_in,
    picture_of,
    pictures_made,
    size_of,
    the_file,
    transcript_made,
)
from tollway.errors import BadRequest, UpstreamBroken, UpstreamRateLimited
from tollway.multipart import read_form


def asked(**fields: Any) -> Asked:
    return Asked("m", fields, [], 1_700_000_000)


# --- what was asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "number"), [(2, 2.0), ("1.5", 1.5), (None, None), ("", None)])
def test_a_number_is_one_in_json_and_in_a_form(value: Any, number: float | None) -> None:
    assert asked(x=value).number("x") == number


@pytest.mark.parametrize("value", [True, "many", [1], {}])
def test_what_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(speed=value).number("speed")
    assert caught.value.param == "speed"


def test_what_is_no_text_is_refused_by_name() -> None:
    assert asked(voice=None).text("voice") == ""
    with pytest.raises(BadRequest) as caught:
        asked(voice={"id": "x"}).text("voice")
    assert caught.value.param == "voice"


def test_what_does_not_travel_is_named_and_nulls_are_nothing() -> None:
    assert asked(model="m", prompt="x", user="u", style=None, background="b").without(("prompt",)) == [
        "background",
        "user",
    ]


@pytest.mark.parametrize(
    ("size", "expected"), [(None, None), ("auto", None), ("1024x1536", (1024, 1536)), ("64x64", (64, 64))]
)
def test_a_size_is_two_sides(size: str | None, expected: Any) -> None:
    assert size_of(asked(size=size)) == expected


@pytest.mark.parametrize("size", ["1024", "1024X1024", "0x10", "1024x", "-1x5", "999999x1"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(BadRequest, match="1024x1024"):
        size_of(asked(size=size))


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((1024, 1024), "1:1"),
        ((1792, 1024), "16:9"),
        ((1024, 1792), "9:16"),
        ((1536, 1024), "3:2"),
        ((4000, 1000), "16:9"),
    ],
)
def test_the_nearest_shape_is_taken(size: tuple[int, int], ratio: str) -> None:
    assert nearest_ratio(size, ("1:1", "16:9", "9:16", "3:2")) == ratio


def test_one_file_of_a_field_is_wanted() -> None:
    media = Asked("m", {}, [File("image", b"1"), File("image", b"2"), File("mask", b"3")])
    assert the_file(media, "mask") == b"3"
    for field in ("image", "file"):
        with pytest.raises(BadRequest) as caught:
            the_file(media, field)
        assert caught.value.param == field


# --- bodies --------------------------------------------------------------------------------------------------------


def test_a_form_is_read_again_as_it_was_written() -> None:
    body, content_type = form_body(
        {"a": "x\r\n--tollway", "n": 3, "b": True, "none": None}, [("file", "sound", b"\0--\r\n")]
    )
    form = read_form(body, content_type.encode())
    assert {part.name: bytes(form.view(part)) for part in form.parts} == {
        "a": b"x\r\n--tollway",
        "n": b"3",
        "b": b"true",
        "file": b"\0--\r\n",
    }
    assert [part.name for part in form.parts if part.is_file] == ["file"]


def test_the_same_form_has_the_same_boundary_and_another_another() -> None:
    assert form_body({"a": "1"}) == form_body({"a": "1"})
    assert form_body({"a": "1"})[1] != form_body({"a": "2"})[1]


def test_json_leaves_out_what_is_none() -> None:
    assert msgspec.json.decode(json_body({"a": 0, "b": None, "c": ""})) == {"a": 0, "c": ""}


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"{"])
def test_what_is_no_object_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        object_in(body, "a picture")


def test_an_error_under_a_status_of_200_is_told() -> None:
    assert isinstance(broken(b'{"error":{"message":"slow","type":"rate_limit_error"}}', "x"), UpstreamRateLimited)
    assert isinstance(broken(b'{"data":1}', "pictures"), UpstreamBroken)


# --- pictures and transcripts --------------------------------------------------------------------------------------


def test_pictures_come_in_openai_s_words() -> None:
    made = pictures_made(asked(), [Picture(url="https://x"), picture_of(b"hi")])
    assert msgspec.json.decode(made.body) == {
        "created": 1_700_000_000,
        "data": [{"url": "https://x"}, {"b64_json": "aGk="}],
    }
    assert made.pieces == 2


def words(*spans: tuple[float, float], text: str = "word") -> list[Word]:
    return [Word(text, start, end) for start, end in spans]


@pytest.mark.parametrize(
    ("spoken", "times"),
    [
        (words((0, 1), (1, 2)), ["00:00:00,000 --> 00:00:02,000"]),
        (words((0, 1), (3, 4)), ["00:00:00,000 --> 00:00:01,000", "00:00:03,000 --> 00:00:04,000"]),  # a silence
        (words((0, 4), (4, 8)), ["00:00:00,000 --> 00:00:04,000", "00:00:04,000 --> 00:00:08,000"]),  # too long
        (words((0, 1), (1, 2), text="x" * (CUE_CHARS_MAX - 1)), ["00:00:00,000 --> 00:00:01,000", "00:00:01,000 --> 00:00:02,000"]),
        (words((3661.0015, 3661.5)), ["01:01:01,002 --> 01:01:01,500"]),
        ([], []),
    ],
)  # fmt: skip
def test_subtitles_end_at_silences_and_before_they_grow_too_long(spoken: list[Word], times: list[str]) -> None:
    made = transcript_made(asked(response_format="srt"), Transcript("t", words=spoken))
    assert [line for line in made.body.decode().splitlines() if "-->" in line] == times


def test_a_word_cannot_end_a_subtitle() -> None:
    made = transcript_made(asked(response_format="vtt"), Transcript("t", words=[Word("a --> b", 0, 1)]))
    assert made.body == b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na -> b\n\n"


def test_a_transcript_is_charged_by_the_length_of_its_sound_where_that_is_known() -> None:
    known = transcript_made(asked(), Transcript("t", seconds=1.23456)).usage
    assert known is not None
    assert known.seconds == 1.235
    assert transcript_made(asked(), Transcript("t")).usage is None
