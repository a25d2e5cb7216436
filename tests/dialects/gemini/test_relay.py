from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tollway.calls import Cost, Usage
from tollway.dialects import HELD_BYTES_MAX, About
from tollway.dialects.gemini import PassRelay, decode_usage, rename_reply
from tollway.errors import UpstreamBroken, UpstreamFailed

ABOUT = About(model="ours", id="x", created_s=7)
USAGE = {"promptTokenCount": 2, "candidatesTokenCount": 3, "totalTokenCount": 5}


def chunk(*parts: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    told = {"content": {"parts": list(parts), "role": "model"}, **candidate}
    return {"candidates": [told], "odd": 1.50, "modelVersion": "gemini-x", "responseId": "r1"}


def sse(*chunks: dict[str, Any]) -> bytes:
    return b"".join([b"data: %s\n\n" % json.dumps(one).encode() for one in chunks])


def array(*chunks: dict[str, Any]) -> bytes:
    return b"[" + b"\n,\r\n".join([json.dumps(one, indent=1).encode() for one in chunks]) + b"\n]"


TEXT = chunk({"text": "Hellö"})
CALL = chunk({"functionCall": {"name": "f", "args": {}}})
LAST = chunk({"text": ""}, finishReason="STOP") | {"usageMetadata": USAGE}


def test_chunks_pass_as_they_came_and_the_last_waits() -> None:
    relay = PassRelay(ABOUT)
    assert relay.feed(sse(TEXT)) == sse(TEXT)
    assert (relay.content_started, relay.output_bytes, relay.reply_id) == (True, 6, "r1")
    assert relay.feed(sse(CALL)) == sse(CALL)
    assert relay.feed(sse(LAST)) == b""
    assert (relay.finishing, relay.complete, relay.usage) == (True, False, Usage(input=2, output=3))
    assert relay.finish(relay.usage, None) == sse(LAST)
    assert relay.feed(sse(TEXT)) == b""


def test_the_last_chunk_tells_the_cost() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse(LAST))
    told = json.loads(relay.finish(relay.usage, Cost(total=2_000))[6:])
    assert told["usageMetadata"] == {**USAGE, "cost": 0.000002}
    assert (told["odd"], told["modelVersion"]) == (1.5, "gemini-x")


def test_usage_that_was_estimated_is_told_where_the_provider_told_none() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse(chunk({"text": "x"}, finishReason="STOP")))
    told = json.loads(relay.finish(Usage(input=1, output=2), None)[6:])
    assert told["usageMetadata"]["totalTokenCount"] == 3


def test_an_array_stays_an_array() -> None:
    relay = PassRelay(ABOUT)
    out = relay.feed(array(TEXT, CALL, LAST))
    assert (relay.finishing, relay.complete) == (True, True)
    whole = json.loads(out + relay.finish(relay.usage, Cost(total=2_000)))
    assert whole[:2] == [TEXT, CALL]
    assert whole[2]["usageMetadata"]["cost"] == 0.000002
    assert json.dumps(TEXT, indent=1).encode() in out


def test_however_a_stream_is_cut_it_is_relayed_the_same() -> None:
    for stream in (sse(TEXT, CALL, LAST), array(TEXT, CALL, LAST), sse(TEXT, LAST).replace(b"\n", b"\r\n")):
        whole = PassRelay(ABOUT)
        expected = whole.feed(stream) + whole.finish(whole.usage, Cost(total=1))
        for step in (1, 3, 50):
            relay = PassRelay(ABOUT)
            pieces = [relay.feed(stream[at : at + step]) for at in range(0, len(stream), step)]
            assert b"".join(pieces) + relay.finish(relay.usage, Cost(total=1)) == expected


def test_a_last_event_without_its_empty_line_still_finishes() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse(LAST).rstrip())
    assert not relay.finishing
    relay.end()
    assert relay.finishing


def test_all_candidates_must_finish() -> None:
    relay = PassRelay(About(model="ours", id="x", created_s=7, choices=2))
    first = chunk({"text": "a"}, finishReason="STOP", index=0)
    assert relay.feed(sse(first)) == sse(first)
    assert not relay.finishing
    relay.feed(sse(chunk({"text": "b"}, finishReason="STOP", index=1)))
    assert relay.finishing


def test_searches_are_counted() -> None:
    relay = PassRelay(ABOUT)
    grounded = chunk({"text": "x"}, groundingMetadata={"webSearchQueries": ["a", "b"]})
    relay.feed(sse(grounded | {"modelVersion": "gemini-3-flash"}, LAST))
    assert relay.usage == Usage(input=2, output=3, searches=2)


def test_a_blocked_prompt_is_an_answer_here() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    relay = PassRelay(ABOUT)
    assert relay.feed(sse(blocked)) == b""
    assert (relay.finishing, relay.usage) == (True, Usage(input=4))
    assert relay.finish(relay.usage, None) == sse(blocked)
    body = json.dumps(blocked).encode()
    assert rename_reply(body, "ours") == (body, Usage(input=4), "")


ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}


def test_an_error_is_raised_and_what_came_before_it_is_kept() -> None:
    relay = PassRelay(ABOUT)
    with pytest.raises(UpstreamFailed) as caught:
        relay.feed(sse(TEXT, ERROR))
    out = relay.fail(caught.value)
    assert out.startswith(sse(TEXT))
    assert json.loads(out.removeprefix(sse(TEXT) + b"data: ")) == ERROR


def test_an_error_ends_an_array() -> None:
    relay = PassRelay(ABOUT)
    out = relay.feed(array(TEXT, LAST)[:-20])
    assert json.loads(out + relay.fail(UpstreamBroken("gone")))[1]["error"]["message"] == "gone"


def test_what_is_no_chunk_breaks_the_stream() -> None:
    for data in (b"data: {\n\n", b'data: {"candidates":1}\n\n'):
        with pytest.raises(UpstreamBroken):
            PassRelay(ABOUT).feed(data)


def test_what_waits_has_a_bound() -> None:
    relay = PassRelay(ABOUT)
    relay.feed(sse(LAST))
    with pytest.raises(UpstreamBroken):
        relay.feed(sse(chunk({"text": "x" * HELD_BYTES_MAX})))


def test_a_whole_reply_stays_as_it_came() -> None:
    body = json.dumps(LAST, indent=2).encode()
    assert rename_reply(body, "ours") == (body, Usage(input=2, output=3), "r1")
    assert decode_usage(body) == Usage(input=2, output=3)
    assert decode_usage(b"{") is None
    assert decode_usage(b"{}") is None


@pytest.mark.parametrize("body", [b"{}", b"{", b'{"candidates":[]}'])
def test_a_reply_without_candidates_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        rename_reply(body, "ours")


def test_an_error_with_status_200_is_the_providers_error() -> None:
    with pytest.raises(UpstreamFailed, match="overloaded"):
        rename_reply(json.dumps(ERROR).encode(), "ours")
    with pytest.raises(UpstreamFailed, match="overloaded"):
        rename_reply(json.dumps([ERROR]).encode(), "ours")


def test_events_become_an_array_for_a_client_that_wants_one_and_the_other_way_round() -> None:
    events = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in (TEXT, CALL, LAST))
    relay = PassRelay(ABOUT, array=True)
    assert json.loads(relay.feed(events) + relay.finish(None, None)) == [TEXT, CALL, LAST]
    relay = PassRelay(ABOUT, array=False)
    assert relay.feed(array(TEXT, CALL, LAST)) + relay.finish(None, None) == b"".join(
        b"data: " + msgspec.json.format(json.dumps(one), indent=-1).encode() + b"\n\n" for one in (TEXT, CALL, LAST)
    )


def test_an_error_ends_an_array_as_an_element_of_it() -> None:
    relay = PassRelay(ABOUT, array=True)
    out = relay.feed(b"data: " + json.dumps(TEXT).encode() + b"\n\n")
    whole = json.loads(out + relay.fail(UpstreamBroken("gone")))
    assert whole[0] == TEXT
    assert whole[1]["error"]["status"] == "UNAVAILABLE"
