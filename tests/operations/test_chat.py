from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Usage
from tollway.pricing.bound import IMAGE_INPUT_TOKENS_MAX
from tollway.testing import Cut, FakeReply, Gate
from tollway.testing.gateway import MODEL, SmallGateway

ANSWER = (
    b'{"id": "chatcmpl-1",  "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, '
    b'"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, "odd": {"a" : 1}}'
)
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-6",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 4},
}
HELLO = [{"role": "user", "content": "hello"}]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    told = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(told).encode() + b"\n\n"


USED = (
    b'data: {"id":"chatcmpl-1","model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
)
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions", "/openai/v1/chat/completions"])
async def test_only_the_model_changes_on_the_way_there_and_back(table: Any, path: str) -> None:
    table.upstream.reply_to("/v1/chat/completions", FakeReply.json(ANSWER))
    answer = await table.post(
        path, b'{"model": "chat", "messages": [{"role":  "user", "content": "h\\u00e9"}], "odd": [1,  2]}'
    )
    (sent,) = table.upstream.requests
    assert sent.body == b'{"model":"gpt-4o","messages":[{"role":  "user", "content": "h\\u00e9"}],"odd":[1,  2]}'
    assert answer.body == ANSWER.replace(b"gpt-4o-2024-08-06", b"chat")
    record = await table.record()
    assert record.call_type == "acompletion"
    assert record.usage == Usage(input=9, output=4)
    assert record.request_id == "chatcmpl-1"
    assert record.cost.total == 9 * 2_500 + 4 * 10_000
    assert answer.headers["x-litellm-response-cost"] == f"0.{record.cost.total:09d}"


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        (b"", None),  # every byte as it came
        (b',  "temperature": 1e0', None),
        (b', "store": false', None),
        (b', "metadata": {"a": "b"}', b""),
        (b', "drop_params": true', b""),
        (b', "timeout": 3', b""),
    ],
)
async def test_a_body_that_needs_no_change_goes_out_byte_by_byte(
    tmp_path: Path, more: bytes, sent: bytes | None
) -> None:
    async with SmallGateway(tmp_path) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(ANSWER))
        name = MODEL.encode()
        body = b' { "messages" : [{"role":  "user", "content": "h\\u00e9"}] , "model":"%b"%b}\r\n' % (name, more)
        assert (await gateway.ask(body=body)).status == 200
        written_anew = b'{"messages":[{"role":  "user", "content": "h\\u00e9"}],"model":"%b"}' % name
        assert gateway.upstream.requests[0].body == (body if sent is None else written_anew)


async def test_headers_travel_by_a_list(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    await table.post(
        "/v1/chat/completions",
        {"model": "chat", "messages": HELLO},
        headers={"openai-beta": "x=1", "traceparent": "00-1", "x-secret": "s", "cookie": "c", "anthropic-beta": "b"},
    )
    sent = table.upstream.requests[0].headers
    assert (sent["openai-beta"], sent["traceparent"], sent["authorization"]) == ("x=1", "00-1", "Bearer sk-theirs")
    assert not {"x-secret", "cookie", "anthropic-beta"} & set(sent)


async def test_a_stream_asks_for_usage_and_gives_none_to_who_did_not_ask(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.stream(chunk({"content": "Hi"}), chunk({}, "stop"), USED, DONE))
    answer = await table.post("/v1/chat/completions", {"model": "chat", "messages": HELLO, "stream": True})
    assert table.upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(event[6:]) for event in answer.body.split(b"\n\n") if event.startswith(b"data: {")]
    assert all(event["choices"] for event in events)
    assert events[-1]["usage"]["completion_tokens"] == 4
    assert events[-1]["usage"]["cost"] == (9 * 2_500 + 4 * 10_000) / 1e9
    assert answer.body.endswith(DONE)
    record = await table.record()
    assert (record.usage, record.usage_source, record.streamed) == (Usage(input=9, output=4), "provider", True)


async def test_a_stream_without_usage_is_charged_by_bytes_and_marked(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.stream(chunk({"content": "a" * 41}), chunk({}, "stop"), DONE))
    body = b'{"model":"chat","messages":[{"role":"user","content":"hello"}],"stream":true}'
    await table.post("/v1/chat/completions", body)
    record = await table.record()
    assert record.usage_source == "estimated"
    assert record.usage == Usage(input=-(-len(body) // 2), output=11)


async def test_a_stream_that_breaks_ends_in_an_error_event_and_without_an_end_mark(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.stream(chunk({"content": "Hi"}), Cut()))
    answer = await table.post("/v1/chat/completions", {"model": "chat", "messages": HELLO, "stream": True})
    assert answer.whole
    assert b'"error"' in answer.body
    assert DONE not in answer.body
    assert (await table.record()).status_code == 502


async def test_a_client_that_leaves_is_charged_what_it_saw_once(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.stream(chunk({"content": "a" * 40}), Gate(), chunk({}, "stop"), DONE))
    body = b'{"model":"chat","messages":[],"stream":true}'
    exchange = table.begin("/v1/chat/completions", body)
    await exchange.first_piece()
    exchange.leave()
    await exchange.end()
    record = await table.record()
    assert (record.status_code, record.usage) == (499, Usage(input=len(body) // 2, output=10))


async def test_another_dialect_is_translated_both_ways(table: Any) -> None:
    table.upstream.reply_to("/v1/messages", FakeReply.json(ANTHROPIC))
    answer = await table.post(
        "/v1/chat/completions",
        {"model": "claude", "messages": [{"role": "system", "content": "be brief"}, *HELLO], "max_tokens": 50},
    )
    sent = table.upstream.requests[0].json()
    assert (sent["model"], sent["max_tokens"]) == ("claude-opus-4-6", 50)
    assert sent["messages"][0]["role"] == "user"
    reply = answer.json()
    assert (reply["model"], reply["choices"][0]["message"]["content"]) == ("claude", "Hi")
    assert (await table.record()).usage == Usage(input=9, output=4)


async def test_a_stream_of_another_dialect_is_translated(table: Any) -> None:
    events = [
        {
            "type": "message_start",
            "message": {"id": "m", "model": "c", "usage": {"input_tokens": 9, "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    stream = b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)
    table.upstream.reply_to("/v1/messages", FakeReply.stream(stream))
    answer = await table.post("/v1/chat/completions", {"model": "claude", "messages": HELLO, "stream": True})
    told = [json.loads(event[6:]) for event in answer.body.split(b"\n\n") if event.startswith(b"data: {")]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in told) == "Hi"
    assert told[-1]["choices"][0]["finish_reason"] == "stop"
    assert (await table.record()).usage == Usage(input=9, output=4)


async def test_the_hold_is_the_inputs_bytes_and_the_output_that_was_asked_for_times_n(table: Any) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    body = b'{"model":"chat","messages":[],"max_tokens":100,"n":3}'
    await table.post("/v1/chat/completions", body, key=key)
    dearest_input, dearest_output = 4_250, 17_000  # at priority, which the reply may name
    assert (await table.record()).held_nano == -(-len(body) // 2) * dearest_input + 300 * dearest_output


async def test_a_picture_is_held_by_what_it_can_count_and_not_by_its_length(table: Any) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    url = "data:image/png;base64," + "A" * 1_000_000
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "user", "content": parts}]
    await table.post("/v1/chat/completions", {"model": "chat", "messages": messages, "max_tokens": 1}, key=key)
    assert (await table.record()).held_nano < 13_000 * 4_250


@pytest.mark.parametrize("text_bytes", [10, 10_000])
async def test_a_picture_counts_however_its_members_are_spelt(table: Any, text_bytes: int) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    spelt = b'{"\\u0074ype":"image_\\u0075rl","image_url":{"url":"https://pictures.example/1.png"}}'
    text = b'{"role":"user","content":"%b"}' % (b"a" * text_bytes)
    body = b'{"model":"chat","max_tokens":1,"messages":[{"role":"user","content":[%b]},%b]}' % (spelt, text)
    await table.post("/v1/chat/completions", body, key=key)
    assert (await table.record()).held_nano >= IMAGE_INPUT_TOKENS_MAX * 4_250


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://films.example/1.mp4"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {
            "type": "tool_result",
            "content": [{"type": "document", "source": {"type": "url", "url": "https://a.example"}}],
        },
    ],
)
async def test_a_film_or_a_document_is_held_by_the_models_window_wherever_it_stands(table: Any, part: Any) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    messages = [{"role": "user", "content": [part]}]
    await table.post("/v1/chat/completions", {"model": "chat", "messages": messages, "max_tokens": 1}, key=key)
    assert (await table.record()).held_nano > 100_000 * 4_250


@pytest.mark.parametrize(
    "messages", [5, [{"role": "user", "content": 5}], [{"type": [], "content": ["a", {"type": {}}]}]]
)
async def test_messages_of_no_known_shape_go_to_the_provider_which_knows_best(table: Any, messages: Any) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    await table.post("/v1/chat/completions", {"model": "chat", "messages": messages, "type": "x"}, key=key)
    assert table.upstream.requests[0].json()["messages"] == messages


async def test_a_call_that_asks_for_more_than_is_left_is_shortened_and_told_so(table: Any) -> None:
    key = await table.give_key(max_budget_nano=20_000_000)
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    answer = await table.post(
        "/v1/chat/completions", {"model": "chat", "messages": HELLO, "max_completion_tokens": 64_000}, key=key
    )
    limit = table.upstream.requests[0].json()["max_completion_tokens"]
    assert 256 <= limit < 64_000
    assert answer.headers["x-tollway-output-limit"] == str(limit)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": HELLO}, "model"),
        ({"model": "chat"}, "messages"),
        ({"model": "chat", "messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"model": "chat", "messages": HELLO, "max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"model": 5, "messages": HELLO}, "model"),
        ({"model": "chat", "messages": HELLO, "timeout": -1}, "timeout"),
        ({"model": "nobody", "messages": HELLO}, "model"),
    ],
)
async def test_what_cannot_be_understood_is_a_400_that_names_it(table: Any, body: dict[str, Any], param: str) -> None:
    answer = await table.post("/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == param
    assert table.upstream.requests == []


async def test_fields_for_the_gateway_are_consumed(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    await table.post(
        "/v1/chat/completions",
        {
            "model": "chat",
            "messages": HELLO,
            "user": "mara",
            "tags": ["a"],
            "metadata": {"session_id": "s", "tags": ["b"]},
            "litellm_metadata": {"tags": ["c"]},
            "timeout": 7,
        },
    )
    (sent,) = table.upstream.requests
    assert sent.json() == {"model": "gpt-4o", "messages": HELLO, "user": "mara"}
    assert sent.deadlines.total_s == 7
    record = await table.record()
    assert (record.end_user, record.session_id, set(record.tags)) == ("mara", "s", {"a", "b", "c"})


async def test_metadata_of_what_a_provider_is_to_store_is_the_providers(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    await table.post(
        "/v1/chat/completions", {"model": "chat", "messages": HELLO, "store": True, "metadata": {"a": "b"}}
    )
    assert table.upstream.requests[0].json()["metadata"] == {"a": "b"}


@pytest.mark.parametrize("name", ["api_base", "api_key", "base_url"])
async def test_a_client_cannot_choose_where_its_call_goes(table: Any, name: str) -> None:
    answer = await table.post("/v1/chat/completions", {"model": "chat", "messages": HELLO, name: "http://evil"})
    assert answer.status == 401
    assert table.upstream.requests == []


async def test_the_settings_of_a_deployment_have_effect_under_those_of_the_request(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: chat
            litellm_params:
              model: openai/gpt-4o
              api_key: k
              temperature: 0.5
              seed: 7
              extra_body: {marked: true}
              additional_drop_params: [logit_bias]
        """
    )
    table.upstream.reply_to(None, FakeReply.json(ANSWER))
    body = {"model": "chat", "messages": HELLO, "temperature": 1, "logit_bias": {}}
    answer = await table.post("/v1/chat/completions", body)
    sent = table.upstream.requests[0].json()
    assert sent == {"temperature": 1, "seed": 7, "model": "gpt-4o", "messages": HELLO, "marked": True}
    assert answer.headers["x-tollway-dropped"] == "logit_bias"
