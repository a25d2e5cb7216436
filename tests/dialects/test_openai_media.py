from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Usage
from tollway.dialects import openai_chat
from tollway.dialects.openai_media import (
    BytesRelay,
    EventsRelay,
    error_in,
    read_pictures,
    read_transcript,
    rename_embeddings,
    subtitles_end_s,
    usage_of,
)
from tollway.errors import UpstreamBroken, UpstreamFailed, UpstreamRateLimited


@pytest.mark.parametrize(
    ("told", "made", "usage"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, "", Usage(input=8)),
        ({"total_tokens": 8}, "", Usage(input=8)),
        ({"input_tokens": 5, "output_tokens": 7}, "image", Usage(input=5, image_out=7)),
        ({"input_tokens": 5, "output_tokens": 7}, "audio", Usage(input=5, audio_out=7)),
        ({"prompt_tokens": 5, "completion_tokens": 7}, "text", Usage(input=5, output=7)),
        (
            {
                "input_tokens": 50,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                "output_tokens": 100,
                "output_tokens_details": {"text_tokens": 20, "image_tokens": 80},
            },
            "image",
            Usage(input=10, image_in=40, output=20, image_out=80),
        ),
        ({"input_tokens": 5, "input_tokens_details": {"image_tokens": 50}}, "image", Usage(image_in=5)),
        ({"type": "duration", "seconds": 3}, "text", Usage(seconds=3.0)),
        ({"input_tokens": -5, "output_tokens": 0}, "text", None),
        ({"input_tokens": 0, "total_tokens": 0}, "image", None),
        ({"input_tokens": "many"}, "text", None),
        ({}, "text", None),
        (None, "text", None),
        ([1], "text", None),
    ],
)
def test_a_usage_object_becomes_disjoint_buckets(told: Any, made: str, usage: Usage | None) -> None:
    assert usage_of(json.dumps(told).encode(), made) == usage
    assert usage_of(Raw(json.dumps(told).encode()), made) == usage


counts = st.integers(-3, 1000) | st.none()


@given(counts, counts, counts, counts, counts, st.sampled_from(["", "text", "image", "audio"]))
def test_buckets_are_never_negative_and_their_sums_are_the_providers_totals(
    told_in: int | None, told_out: int | None, image: int | None, audio: int | None, text: int | None, made: str
) -> None:
    told = {
        "input_tokens": told_in,
        "output_tokens": told_out,
        "input_tokens_details": {"image_tokens": image, "audio_tokens": audio},
        "output_tokens_details": {"text_tokens": text},
    }
    usage = usage_of(json.dumps(told).encode(), made)
    if usage is None:
        return
    assert usage.input_total == max(0, told_in or 0)
    assert usage.output_total == (max(0, told_out or 0) if made else 0)
    assert min(usage.input, usage.image_in, usage.audio_in, usage.output, usage.image_out, usage.audio_out) >= 0


def test_a_list_of_vectors_is_renamed_and_keeps_every_other_value() -> None:
    body = b'{"data": [{"embedding": [0.10, -2E-3]}], "model": "theirs", "x": "\\u00e9"}'
    renamed, usage = rename_embeddings(body, 'our "model"')
    assert renamed == b'{"data":[{"embedding": [0.10, -2E-3]}],"model":"our \\"model\\"","x":"\\u00e9"}'
    assert usage is None
    assert rename_embeddings(body, "theirs")[0] == body


@pytest.mark.parametrize("read", [lambda body: rename_embeddings(body, "m"), read_pictures, read_transcript])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", UpstreamBroken),
        (b"<html>", UpstreamBroken),
        (b"[]", UpstreamBroken),
        (b"{}", UpstreamBroken),
        (b'{"error": {"message": "slow down", "code": 429}}', UpstreamRateLimited),
        (b'{"object": "error", "message": "no", "code": 500}', UpstreamFailed),
    ],
)
def test_a_reply_without_what_was_asked_for_is_an_error(read: Any, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(body)


def test_pictures_are_counted() -> None:
    assert read_pictures(b'{"data": [{"url": "a"}, {"b64_json": "b"}], "usage": null}') == (2, None)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b"1\n00:00:00,000 --> 00:00:02,500\nHi\n\n2\n00:00:03,000 --> 01:00:04,250\nyou\n", 3604.25),
        (b"WEBVTT\n\n00:01.000 --> 00:03.250 align:start\nHi\n", 3.25),
        (b"WEBVTT\n", None),
        (b"words --> words", None),
    ],
)
def test_the_end_of_subtitles_is_found(body: bytes, seconds: float | None) -> None:
    assert subtitles_end_s(body) == seconds


def test_ordinary_bodies_are_no_errors() -> None:
    assert error_in(b'{"data": [], "error": null}') is None
    assert error_in(b"RIFF") is None


# --- streams -------------------------------------------------------------------------------------------------------

PARTIAL = (
    b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"aGk="}\n\n'
)
COMPLETED = (
    b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"aGk=",'
    b'"usage":{"input_tokens":1,"output_tokens":2}}\n\n'
)


def cuts(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[one:other] for one, other in itertools.pairwise(ends)]


@given(st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from([b"", b"data: [DONE]\n\n", b": bye\n\n"]))
def test_events_pass_as_they_came_wherever_the_network_cuts_them(places: list[int], end: bytes) -> None:
    stream = b": hello\n\n" + PARTIAL + PARTIAL + COMPLETED + end
    relay = EventsRelay(1, openai_chat.encode_stream_error)
    out = b"".join(relay.feed(piece) for piece in cuts(stream, places)) + relay.end()
    assert out == b": hello\n\n" + PARTIAL + PARTIAL
    assert relay.finishing
    assert relay.complete
    assert out + relay.finish(None, None) == stream
    assert relay.usage == Usage(input=1, image_out=2, images=1)


def test_a_stream_without_a_final_event_is_done_when_it_ends() -> None:
    relay = EventsRelay(1, openai_chat.encode_stream_error)
    assert relay.feed(PARTIAL) + relay.end() + relay.finish(None, None) == PARTIAL
    assert relay.finishing
    assert relay.usage is None


def test_a_stream_that_says_nothing_does_not_finish() -> None:
    for said in (b"", b": ping\n\n", b"data: [DONE]\n\n"):
        relay = EventsRelay(1, openai_chat.encode_stream_error)
        relay.feed(said)
        relay.end()
        assert (relay.finishing, relay.complete, relay.content_started) == (False, True, False)


def test_the_last_event_may_lack_its_empty_line() -> None:
    relay = EventsRelay(1, openai_chat.encode_stream_error)
    relay.feed(COMPLETED.rstrip())
    assert not relay.finishing
    assert relay.end() == b""
    assert relay.finish(None, None) == COMPLETED


@pytest.mark.parametrize(
    "said",
    [
        b'data: {"type":"error","error":{"message":"no","code":"rate_limit_exceeded"}}\n\n',
        b'event: error\ndata: {"error":{"message":"no","type":"rate_limit_error"}}\n\n',
    ],
)
def test_an_error_event_is_raised_and_what_came_before_it_is_not_lost(said: bytes) -> None:
    relay = EventsRelay(1, openai_chat.encode_stream_error)
    with pytest.raises(UpstreamRateLimited) as failed:
        relay.feed(PARTIAL + said)
    told = relay.fail(failed.value)
    assert told.startswith(PARTIAL + b'data: {"error":')
    assert told.count(b"\n\n") == 2


def test_an_event_that_is_not_json_breaks_the_stream() -> None:
    relay = EventsRelay(1, openai_chat.encode_stream_error)
    with pytest.raises(UpstreamBroken):
        relay.feed(b"data: {half\n\n")


def test_what_follows_the_last_event_is_bounded() -> None:
    relay = EventsRelay(1, openai_chat.encode_stream_error)
    relay.feed(COMPLETED)
    more = b'data: {"x":"' + b"a" * (1 << 20) + b'"}\n\n'
    for _ in range(3):
        assert relay.feed(more) == b""
    with pytest.raises(UpstreamBroken):
        relay.feed(more)


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5))
def test_bytes_pass_at_once_and_their_beginning_is_remembered(pieces: list[bytes]) -> None:
    relay = BytesRelay()
    assert not relay.content_started
    assert [relay.feed(piece) for piece in pieces] == pieces
    whole = b"".join(pieces)
    assert relay.content_started
    assert not relay.finishing
    assert (relay.output_bytes, relay.opening) == (len(whole), whole[:4096])
    assert relay.end() == b""
    assert relay.finishing
    assert relay.finish(None, None) == b""
    assert relay.fail(UpstreamBroken("cut")) is None


def test_no_sound_at_all_is_no_answer() -> None:
    relay = BytesRelay()
    relay.end()
    assert (relay.complete, relay.finishing) == (True, False)
