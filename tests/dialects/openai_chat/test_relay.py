from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway import dialects
from tollway.calls import Cost, Usage
from tollway.dialects import About
from tollway.dialects.openai_chat import PassRelay, decode_usage, rename_reply
from tollway.dialects.openai_chat import relay as relay_module
from tollway.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamRateLimited

DONE = b"data: [DONE]\n\n"


def about(*, usage_wanted: bool = False, choices: int = 1) -> About:
    return About(model="gpt-4o", id="chatcmpl-ours", created_s=7, usage_wanted=usage_wanted, choices=choices)


def event(fields: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, *, index: int = 0, **rest: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "gpt-4o"}
    return event({**head, "choices": [choice], **rest})


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
USAGE_CHUNK = event({"id": "chatcmpl-1", "model": "gpt-4o", "choices": [], "usage": USAGE, "strange": {"a": 1}})
ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "hello"})
STOP = chunk(finish="stop")


def payloads(out: bytes) -> list[Any]:
    texts = [line[6:] for line in out.split(b"\n\n") if line]
    return [text if text == b"[DONE]" else json.loads(text) for text in texts]


def test_events_pass_as_the_bytes_they_came_in() -> None:
    relay = PassRelay(about())
    odd = b'data:{"id" : "x","choices":[ {"delta":{"content":"a"}} ], "model": "gpt-4o", "novel": [1.0, "\\u00e9"]}\n\n'
    assert relay.feed(HELLO + odd) == HELLO + odd
    assert relay.reply_id == "chatcmpl-1"


def test_comments_and_keep_alives_pass() -> None:
    assert PassRelay(about()).feed(b": keep-alive\n\n") == b": keep-alive\n\n"


def test_the_role_alone_is_no_content() -> None:
    relay = PassRelay(about())
    relay.feed(ROLE)
    assert not relay.content_started
    relay.feed(HELLO)
    assert relay.content_started
    assert relay.output_bytes == 5


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "é"},
        {"content": [{"type": "text", "text": "x"}]},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"reasoning_text": "x"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"content": "x", "tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"function_call": {"name": "f", "arguments": ""}},
        {"thinking_blocks": [{"type": "thinking", "thinking": "x"}]},
        {"audio": {"data": "UklG"}},
        {"images": [{"image_url": {"url": "data:"}}]},
    ],
)
def test_whatever_a_client_would_see_starts_the_content(delta: dict[str, Any]) -> None:
    relay = PassRelay(about())
    relay.feed(chunk(delta))
    assert relay.content_started
    assert relay.output_bytes >= 1


def test_output_bytes_count_text_in_utf8() -> None:
    relay = PassRelay(about())
    relay.feed(chunk({"content": "é€"}) + chunk({"reasoning_content": "abc"}))
    assert relay.output_bytes == 5 + 3


def test_text_completions_are_relayed_too() -> None:
    relay = PassRelay(about())
    line = event(
        {"id": "cmpl-1", "object": "text_completion", "model": "gpt-4o", "choices": [{"text": "hi", "index": 0}]}
    )
    assert relay.feed(line) == line
    assert (relay.content_started, relay.output_bytes) == (True, 2)


# --- the model's name ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            b'{"model":"m-1","choices":[{"delta":{"content":"x"}}]}',
            b'{"model":"gpt-4o","choices":[{"delta":{"content":"x"}}]}',
        ),
        (b'{"model": "m-1", "choices": [{}]}', b'{"model": "gpt-4o", "choices": [{}]}'),
        (b'{"model" : "m-1", "choices": [{}]}', b'{"model":"gpt-4o","choices":[{}]}'),
        (b'{"choices":[{}],"model":"m-1"}', b'{"choices":[{}],"model":"gpt-4o"}'),
        (
            b'{"x":{"model":"m-1"},"model":"m-1","choices":[{}]}',
            b'{"x":{"model":"m-1"},"model":"gpt-4o","choices":[{}]}',
        ),
        (b'{"choices":[{}],"x":"model","y":{"model":"m-1"}}', b'{"choices":[{}],"x":"model","y":{"model":"m-1"}}'),
        (b'{"model":"m\\/1","choices":[{}],"n":1.0}', b'{"model":"gpt-4o","choices":[{}],"n":1.0}'),
        (b'{"choices":[{}]}', b'{"choices":[{}]}'),
        (b'{"model":null,"choices":[{}]}', b'{"model":null,"choices":[{}]}'),
    ],
)
def test_only_the_top_level_model_is_renamed(before: bytes, after: bytes) -> None:
    assert PassRelay(about()).feed(b"data: " + before + b"\n\n") == b"data: " + after + b"\n\n"


def test_a_model_name_inside_the_text_stays() -> None:
    relay = PassRelay(about())
    said = chunk({"content": '"model":"m-1"'}, model="m-1")
    assert relay.feed(said + said) == said.replace(b'"model":"m-1"', b'"model":"gpt-4o"', 1) * 2


def test_the_model_may_change_its_name_within_a_stream() -> None:
    relay = PassRelay(about(usage_wanted=True))
    out = relay.feed(event({"model": "", "choices": []}) + chunk(model="m-1") + chunk(model="m-2") + chunk(model="m-1"))
    assert {fields["model"] for fields in payloads(out)} == {"gpt-4o"}


# --- the end -------------------------------------------------------------------------------------------------------


def test_the_finishing_chunk_waits_and_carries_usage_and_cost_for_who_did_not_ask() -> None:
    relay = PassRelay(about())
    assert relay.feed(ROLE + HELLO + STOP + USAGE_CHUNK + DONE) == ROLE + HELLO
    assert (relay.finishing, relay.complete, relay.usage) == (True, True, Usage(input=5, output=3))
    last = STOP[:-3] + b',"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,"cost":0.0000021}}\n\n'
    assert relay.finish(relay.usage, Cost(total=2100)) == last + DONE


def test_who_asked_gets_the_providers_usage_chunk_with_the_cost_in_it() -> None:
    relay = PassRelay(about(usage_wanted=True))
    assert relay.feed(HELLO + STOP + USAGE_CHUNK + DONE) == HELLO
    with_cost = USAGE_CHUNK.replace(b'"total_tokens":8', b'"total_tokens":8,"cost":1.5')
    assert relay.finish(relay.usage, Cost(total=1_500_000_000)) == STOP + with_cost + DONE


def test_without_a_cost_the_provider_alone_speaks() -> None:
    relay = PassRelay(about(usage_wanted=True))
    relay.feed(STOP + USAGE_CHUNK)
    assert relay.finish(relay.usage, None) == STOP + USAGE_CHUNK + DONE


def test_usage_that_the_provider_did_not_count_is_made() -> None:
    relay = PassRelay(about(usage_wanted=True))
    relay.feed(HELLO + chunk(finish="stop", system_fingerprint="fp"))
    finishing, usage, done = payloads(relay.finish(Usage(input=2, output=1), Cost(total=3)))
    assert "usage" not in finishing
    assert (usage["id"], usage["created"], usage["choices"], usage["system_fingerprint"]) == ("chatcmpl-1", 5, [], "fp")
    assert (usage["usage"]["total_tokens"], usage["usage"]["cost"], done) == (3, 3e-9, b"[DONE]")


def test_without_any_usage_nothing_is_made_up() -> None:
    for wanted in (True, False):
        relay = PassRelay(about(usage_wanted=wanted))
        relay.feed(STOP)
        assert relay.finish(None, None) == STOP + DONE


def test_usage_on_the_finishing_chunk_is_told_once_to_who_asked() -> None:
    relay = PassRelay(about(usage_wanted=True))
    relay.feed(chunk(finish="stop", usage=USAGE))
    finishing, usage, _ = payloads(relay.finish(relay.usage, Cost(total=1)))
    assert finishing["usage"] is None
    assert usage["usage"] == {**USAGE, "cost": 1e-9}
    assert usage["choices"] == []


def test_usage_on_every_chunk_counts_the_last_time() -> None:
    relay = PassRelay(about())
    first = chunk({"content": "a"}, usage={**USAGE, "completion_tokens": 1})
    assert relay.feed(first) == first
    relay.feed(chunk(finish="stop", usage=USAGE))
    (finishing, _) = payloads(relay.finish(relay.usage, Cost(total=1)))
    assert finishing["usage"] == {**USAGE, "cost": 1e-9}


def test_a_usage_chunk_before_the_finish_waits_for_it() -> None:
    for wanted in (True, False):
        relay = PassRelay(about(usage_wanted=wanted))
        assert relay.feed(HELLO + USAGE_CHUNK + HELLO + STOP + DONE) == HELLO + HELLO
        assert len(payloads(relay.finish(relay.usage, None))) == (3 if wanted else 2)


def test_null_usage_is_no_usage() -> None:
    relay = PassRelay(about())
    line = chunk({"content": "a"}, usage=None)
    assert relay.feed(line) == line
    assert relay.usage is None


def test_chunks_without_choices_reach_only_clients_that_know_of_them() -> None:
    filters = event({"model": "gpt-4o", "choices": [], "prompt_filter_results": []})
    assert PassRelay(about(usage_wanted=True)).feed(filters) == filters
    assert PassRelay(about()).feed(filters) == b""


def test_of_several_choices_the_last_to_finish_is_held() -> None:
    relay = PassRelay(about(choices=2))
    first, more = chunk(finish="stop"), chunk({"content": "b"}, index=1)
    assert relay.feed(first + more) == first + more
    assert not relay.finishing
    assert relay.feed(chunk(finish="length", index=1)) == b""
    assert relay.finishing


def test_what_follows_the_finishing_chunk_follows_it_still() -> None:
    relay = PassRelay(about())
    late = event({"model": "gpt-4o", "choices": [{"index": 0, "delta": {}}], "late": 1})
    assert relay.feed(STOP + late) == b""
    assert relay.finish(None, None) == STOP + late + DONE


def test_nothing_after_the_end_mark_is_relayed() -> None:
    relay = PassRelay(about())
    assert relay.feed(HELLO + DONE + HELLO) == HELLO
    assert relay.feed(HELLO) == b""


def test_a_last_event_without_its_empty_line_is_read_at_the_end() -> None:
    relay = PassRelay(about())
    assert relay.feed(HELLO + STOP[:-2]) == HELLO
    assert not relay.finishing
    assert relay.end() == b""
    assert relay.finishing
    assert relay.finish(None, None) == STOP + DONE


def test_an_empty_finish_reason_is_none() -> None:
    relay = PassRelay(about())
    line = chunk({"content": "a"}, finish="")
    assert relay.feed(line) == line
    assert not relay.finishing


def test_what_is_held_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "HELD_BYTES_MAX", 300)
    relay = PassRelay(about())
    with pytest.raises(UpstreamBroken):
        relay.feed(STOP + HELLO * 3)
    assert dialects.HELD_BYTES_MAX > 1 << 20


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "kind", "message"),
    [
        (b'{"error":{"message":"Upstream exploded","type":"server_error"}}', UpstreamFailed, "Upstream exploded"),
        (b'{"error":{"message":"slow","code":429}}', UpstreamRateLimited, "slow"),
        (
            b'{"id":"x","choices":[{"delta":{},"finish_reason":"error"}],"error":{"message":"gone"}}',
            UpstreamFailed,
            "gone",
        ),
        (b'{"object":"error","message":"no memory","code":500}', UpstreamFailed, "no memory"),
        (b'{"error":"words"}', UpstreamFailed, "words"),
        (b'{"choices":[{"delta":', UpstreamBroken, "The provider sent a stream event that is not JSON."),
        (b"<html>", UpstreamBroken, "The provider sent a stream event that is not JSON."),
        (b'"text"', UpstreamBroken, "The provider sent a stream event of an unknown shape."),
        (b'{"choices":7}', UpstreamBroken, "The provider sent a stream event of an unknown shape."),
    ],
)
def test_an_error_in_the_stream_is_raised(wire: bytes, kind: type[UpstreamError], message: str) -> None:
    with pytest.raises(kind) as caught:
        PassRelay(about()).feed(b"data: " + wire + b"\n\n")
    assert type(caught.value) is kind
    assert caught.value.message == message


def test_a_named_error_event_is_an_error_whatever_its_shape() -> None:
    with pytest.raises(UpstreamFailed, match="gone"):
        PassRelay(about()).feed(b'event: error\ndata: {"message":"gone"}\n\n')


def test_null_error_is_no_error() -> None:
    line = chunk({"content": "a"}, error=None)
    assert PassRelay(about()).feed(line) == line


def test_a_failed_stream_ends_with_an_error_and_no_end_mark() -> None:
    relay = PassRelay(about())
    relay.feed(HELLO + STOP)
    out = relay.fail(UpstreamBroken("The provider broke off."))
    expected = {"error": {"message": "The provider broke off.", "type": "upstream_error", "param": None, "code": "502"}}
    assert payloads(out) == [expected]
    assert DONE not in out


def test_what_came_before_an_error_in_the_same_bytes_is_not_lost() -> None:
    relay = PassRelay(about())
    with pytest.raises(UpstreamFailed) as caught:
        relay.feed(HELLO + b'data: {"error":{"message":"x"}}\n\n')
    assert relay.fail(caught.value).startswith(HELLO)


# --- anywhere it is cut --------------------------------------------------------------------------------------------

_EVENTS = [
    ROLE,
    HELLO,
    chunk({"content": "ünïcode\n"}, model="m-1"),
    chunk({"content": "a"}, model="m-1").replace(b":", b" : ", 5),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"model":"m-1"}'}}]}, model="m-1"),
    b": ping\n\n",
    b'event: chunk\r\ndata: {"choices":[{"delta":{"content":"x"}}],"model":"m-1"}\r\n\r\n',
    b'data: {"choices":\ndata: [{"delta":{"content":"y"}}]}\n\n',
    STOP,
    USAGE_CHUNK,
    DONE,
]


@given(
    parts=st.lists(st.sampled_from(_EVENTS), max_size=12),
    cuts=st.lists(st.integers(0, 2500), max_size=12),
    usage_wanted=st.booleans(),
)
def test_a_stream_cut_anywhere_gives_the_same_bytes(parts: list[bytes], cuts: list[int], usage_wanted: bool) -> None:
    stream = b"".join(parts)

    def relayed(cuts: list[int]) -> tuple[Any, ...]:
        relay, out, at = PassRelay(about(usage_wanted=usage_wanted)), [], 0
        for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
            out.append(relay.feed(stream[at:cut]))
            at = cut
        out.append(relay.finish(relay.usage, Cost(total=1)))
        return b"".join(out), relay.usage, relay.output_bytes, relay.content_started, relay.reply_id

    assert relayed(cuts) == relayed([])


# --- whole replies -------------------------------------------------------------------------------------------------

REPLY = (
    b'{"id":"chatcmpl-9","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":{"content":"\\"model\\":\\"m-1\\""}}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8},"service_tier":"flex","odd":1.0}'
)


def test_a_whole_reply_gets_our_models_name_and_keeps_all_else() -> None:
    body, usage, reply_id = rename_reply(REPLY, "ours")
    assert body == REPLY.replace(b'"model":"m-1"', b'"model":"ours"', 1)
    assert (usage, reply_id) == (Usage(input=5, output=3, service_tier="flex"), "chatcmpl-9")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{\n "model": "m-1",\n "choices": []\n}', b'{\n "model": "ours",\n "choices": []\n}'),
        (b'{"choices":[{"model":"m-1"}],"model":"m-1"}', b'{"choices":[{"model":"m-1"}],"model":"ours"}'),
        (b'{"choices":[]}', b'{"choices":[]}'),
    ],
)
def test_the_name_is_changed_at_the_top_level_only(before: bytes, after: bytes) -> None:
    assert rename_reply(before, "ours")[0] == after


def test_odd_usage_does_not_break_a_reply() -> None:
    body = b'{"choices":[],"usage":{"prompt_tokens":"many","completion_tokens":2}}'
    assert rename_reply(body, "x") == (body, Usage(output=2), "")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", UpstreamBroken),
        (b"{}", UpstreamBroken),
        (b"[]", UpstreamBroken),
        (b'{"error":{"message":"x"}}', UpstreamFailed),
    ],
)
def test_a_reply_that_is_none_breaks(body: bytes, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind):
        rename_reply(body, "x")


def test_usage_is_read_from_whole_replies() -> None:
    assert decode_usage(REPLY) == Usage(input=5, output=3, service_tier="flex")
    assert decode_usage(b'{"choices":[]}') is None
    assert decode_usage(b"{") is None
