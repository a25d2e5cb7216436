from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Cost, Usage
from tollway.dialects import About
from tollway.dialects.openai_responses import PassRelay, rename_reply
from tollway.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamRateLimited

USAGE = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}


def about(model: str = "gpt") -> About:
    return About(model=model, id="resp_ours", created_s=7)


def event(kind: str, number: int = 0, **fields: Any) -> bytes:
    name = f"response.{kind}" if kind != "error" else kind
    body = {"type": name, "sequence_number": number, **fields}
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(body).encode())


def response(**fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "gpt", "output": [], "odd": 1.0, **fields}


CREATED = event("created", 0, response=response(status="in_progress", usage=None))
ADDED = event("output_item.added", 1, output_index=0, item={"type": "message", "id": "msg_1", "content": []})
HELLO = event("output_text.delta", 2, output_index=0, content_index=0, delta="hello", obfuscation="Xk2")
COMPLETED = event("completed", 3, response=response(status="completed", usage=USAGE))


def fields_of(wire: bytes) -> list[Any]:
    return [json.loads(piece.split(b"data: ", 1)[1]) for piece in wire.split(b"\n\n")[:-1]]


def test_events_pass_as_the_bytes_they_came_in() -> None:
    relay = PassRelay(about())
    odd = b'data:{ "type" : "response.novel", "x" : [1.0, "\\u00e9"] }\n\n'
    stream = CREATED + ADDED + b": keep-alive\n\n" + HELLO + odd
    assert relay.feed(stream) == stream
    assert relay.reply_id == "resp_1"
    assert relay.usage is None


def test_the_last_event_waits_and_carries_the_cost() -> None:
    relay = PassRelay(about())
    assert relay.feed(CREATED + HELLO + COMPLETED + HELLO) == CREATED + HELLO
    assert (relay.finishing, relay.complete, relay.usage) == (True, True, Usage(input=9, output=4))
    last = relay.finish(relay.usage, Cost(total=2100))
    assert last.startswith(b"event: response.completed\ndata: ")
    assert b'"usage":{"input_tokens":9,"output_tokens":4,"total_tokens":13,"cost":0.0000021}' in last
    assert fields_of(last)[0]["response"] == response(status="completed", usage={**USAGE, "cost": 2.1e-06})
    assert relay.feed(HELLO) == b""


def test_without_a_cost_the_provider_alone_speaks() -> None:
    relay = PassRelay(about())
    relay.feed(COMPLETED)
    assert relay.finish(relay.usage, None) == COMPLETED


def test_usage_that_the_provider_did_not_count_is_made() -> None:
    relay = PassRelay(about())
    relay.feed(event("incomplete", response=response(status="incomplete", usage=None)))
    assert (relay.finishing, relay.usage) == (True, None)
    usage = fields_of(relay.finish(Usage(input=2, output=1), Cost(total=3)))[0]["response"]["usage"]
    assert (usage["total_tokens"], usage["cost"]) == (3, 3e-9)


def test_a_stream_without_its_last_event_finishes_with_nothing() -> None:
    relay = PassRelay(about())
    relay.feed(CREATED + HELLO)
    assert not relay.finishing
    assert relay.finish(None, None) == b""


def test_the_model_is_renamed_in_the_response_alone() -> None:
    relay = PassRelay(about("ours"))
    said = event("output_text.delta", delta='"model":"gpt"')
    created, same = relay.feed(CREATED + said).split(b"\n\n", 1)
    assert same == said
    assert created.startswith(
        b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{'
    )
    assert b'"model":"ours"' in created
    assert b'"odd":1.0' in created
    relay.feed(COMPLETED)
    assert fields_of(relay.finish(None, None))[0]["response"]["model"] == "ours"


def test_a_server_without_event_lines_stays_without_them() -> None:
    relay = PassRelay(about("ours"))
    wire = CREATED.removeprefix(b"event: response.created\n")
    assert relay.feed(wire).startswith(b'data: {"type":"response.created"')


@pytest.mark.parametrize(
    ("piece", "starts", "output_bytes"),
    [
        (CREATED, False, 0),
        (ADDED, False, 0),
        (event("output_item.added", item={"type": "reasoning"}), False, 0),
        (event("content_part.added", part={"type": "output_text", "text": ""}), False, 0),
        (event("output_text.delta", delta=""), False, 0),
        (HELLO, True, 5),
        (event("output_text.delta", delta="é€"), True, 5),
        (event("refusal.delta", delta="no"), True, 2),
        (event("reasoning_summary_text.delta", delta="abc"), True, 3),
        (event("reasoning_text.delta", delta="abc"), True, 3),
        (event("function_call_arguments.delta", delta="{}"), True, 2),
        (event("mcp_call.arguments.delta", delta={"a": 1}), True, 0),
        (event("output_item.added", item={"type": "function_call", "name": "f"}), True, 1),
        (event("output_item.added", item={"type": "web_search_call"}), True, 0),
        (event("output_item.done", item={"type": "message", "content": []}), True, 0),
        (event("output_item.done", item=7), False, 0),
    ],
)
def test_whatever_a_client_would_see_starts_the_content(piece: bytes, starts: bool, output_bytes: int) -> None:
    relay = PassRelay(about())
    assert relay.feed(piece) == piece
    assert (relay.content_started, relay.output_bytes) == (starts, output_bytes)


def test_data_on_several_lines_is_read() -> None:
    relay = PassRelay(about())
    wire = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",\ndata: "delta":"abc"}\n\n'
    assert relay.feed(wire) == wire
    assert relay.output_bytes == 3


def test_the_mark_that_openai_does_not_send_is_not_relayed() -> None:
    relay = PassRelay(about())
    assert relay.feed(HELLO + b"data: [DONE]\n\n" + b"data: \n\n") == HELLO


def test_a_last_event_without_its_empty_line_is_read_at_the_end() -> None:
    relay = PassRelay(about())
    relay.feed(COMPLETED[:-2])
    assert not relay.finishing
    assert relay.end() == b""
    assert relay.finishing
    assert relay.finish(None, None) == COMPLETED


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (event("error", code="rate_limit_exceeded", message="slow"), UpstreamRateLimited),
        (event("error", error={"code": "rate_limit_exceeded", "message": "slow"}), UpstreamRateLimited),
        (b'data: {"error":{"message":"x"}}\n\n', UpstreamFailed),
        (event("failed", response=response(status="failed", error={"code": "server_error"})), UpstreamFailed),
        (event("completed", response=response(status="failed")), UpstreamFailed),
        (b"data: <html>\n\n", UpstreamBroken),
        (b'data: "x"\n\n', UpstreamBroken),
        (event("created", response=7), UpstreamBroken),
    ],
)
def test_an_error_in_the_stream_is_raised(wire: bytes, kind: type[UpstreamError]) -> None:
    relay = PassRelay(about())
    with pytest.raises(kind) as caught:
        relay.feed(HELLO + wire)
    assert type(caught.value) is kind
    assert relay.fail(caught.value).startswith(HELLO)


def test_the_usage_of_a_failed_response_is_seen() -> None:
    relay = PassRelay(about())
    with pytest.raises(UpstreamFailed):
        relay.feed(event("failed", response=response(status="failed", usage=USAGE)))
    assert relay.usage == Usage(input=9, output=4)


def test_null_error_is_no_error() -> None:
    wire = event("output_text.delta", delta="a", error=None)
    assert PassRelay(about()).feed(wire) == wire


def test_a_failed_stream_ends_with_an_error_and_its_response_failed() -> None:
    relay = PassRelay(about("ours"))
    relay.feed(CREATED + HELLO)
    error, failed = fields_of(relay.fail(UpstreamBroken("gone")))
    assert (error["type"], error["sequence_number"], error["error"]["message"]) == ("error", 3, "gone")
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 4)
    assert failed["response"] == response(
        status="failed", model="ours", usage=None, error={"code": "server_error", "message": "gone"}
    )
    assert relay.feed(HELLO) == b""


# --- anywhere it is cut --------------------------------------------------------------------------------------------

_EVENTS = [
    CREATED,
    ADDED,
    HELLO,
    event("output_text.delta", delta="ünïcode\n"),
    b": ping\n\n",
    b'event: x\r\ndata: {"type":"response.output_text.delta","delta":"x"}\r\n\r\n',
    b'data: {"type":"response.output_text.delta",\ndata: "delta":"y"}\n\n',
    b'event: x\nid: 7\ndata: {"type":"response.output_text.delta","delta":"z"}\nretry: 5\n\n',
    COMPLETED,
    b"data: [DONE]\n\n",
]


@given(st.lists(st.sampled_from(_EVENTS), max_size=8), st.lists(st.integers(0, 2500), max_size=10), st.booleans())
def test_a_stream_cut_anywhere_gives_the_same_bytes(parts: list[bytes], cuts: list[int], renamed: bool) -> None:
    stream = b"".join(parts)

    def relayed(cuts: list[int]) -> tuple[Any, ...]:
        relay, out, at = PassRelay(about("ours" if renamed else "gpt")), [], 0
        for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
            out.append(relay.feed(stream[at:cut]))
            at = cut
        out.append(relay.finish(relay.usage, Cost(total=1)))
        return b"".join(out), relay.usage, relay.output_bytes, relay.content_started, relay.reply_id

    assert relayed(cuts) == relayed([])


# --- whole replies -------------------------------------------------------------------------------------------------


def test_a_whole_reply_gets_our_models_name_and_keeps_all_else() -> None:
    text = '"model":"gpt"'
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
    reply = json.dumps(response(status="completed", output=output, usage=USAGE), separators=(",", ":")).encode()
    body, usage, reply_id = rename_reply(reply, "ours")
    assert body == reply.replace(b'"model":"gpt"', b'"model":"ours"', 1)
    assert (usage, reply_id) == (Usage(input=9, output=4), "resp_1")
    assert rename_reply(reply, "gpt")[0] is reply


def test_a_reply_that_goes_on_in_the_background_passes() -> None:
    reply = json.dumps(response(status="queued", usage=None)).encode()
    assert rename_reply(reply, "gpt") == (reply, None, "resp_1")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", UpstreamBroken),
        (b'{"id":"x"}', UpstreamBroken),
        (b'{"error":{"message":"x","code":"rate_limit_exceeded"}}', UpstreamRateLimited),
        (b'{"output":[],"status":"failed","error":{"code":"server_error","message":"x"}}', UpstreamFailed),
    ],
)
def test_what_is_no_reply_is_raised(body: bytes, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        rename_reply(body, "ours")
    assert type(caught.value) is kind
