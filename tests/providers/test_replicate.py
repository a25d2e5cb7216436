from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import USAGE_ESTIMATED, USAGE_FROM_PROVIDER, Secret
from tollway.config.settings import ModelEntry
from tollway.errors import UpstreamUnreachable
from tollway.providers import following
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import Cut, FakeReply, Gate

MODEL = "meta/meta-llama-3-70b-instruct"
ASKED_AT = f"/v1/models/{MODEL}/predictions"
LOOKED_AT = "/v1/predictions/p1"
CANCEL = LOOKED_AT + "/cancel"
STREAM_HOST = "stream.replicate.com"
COUNTED = {"input_token_count": 7, "output_token_count": 3, "predict_time": 0.2}
PRICES = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000002"}
COST = 7 * 1_000 + 3 * 2_000


def replicate(model: str = MODEL, **changes: Any) -> ModelEntry:
    settings = {"prices": PRICES, "retries": 0, **changes}
    return ModelEntry(
        model_name="small", provider_model=f"replicate/{model}", api_key=Secret("r8_the_provider_s_key"), **settings
    )


def prediction(status: str = "succeeded", *, stream: str | None = None, **fields: Any) -> FakeReply:
    urls = {"get": "https://api.replicate.com" + LOOKED_AT, "cancel": "https://api.replicate.com" + CANCEL}
    if stream is not None:
        urls["stream"] = stream
    said = {"id": "p1", "model": MODEL, "status": status, "input": {"prompt": "x"}, "urls": urls, **fields}
    return FakeReply.json(said, status=201 if status == "starting" else 200)


def heard(*texts: str, end: bytes = b"event: done\nid: 9\ndata: {}\n\n") -> tuple[bytes, ...]:
    return (*(f"event: output\nid: 1\ndata: {text}\n\n".encode() for text in texts), end)


DONE = prediction(output=["Hel", "lo", "!"], metrics=COUNTED)
STREAM_AT = f"https://{STREAM_HOST}/v1/files/abc"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAUSE_S_FIRST", "PAUSE_S_MAX", "LAST_PAUSE_S"):
        monkeypatch.setattr(following, name, 0.0)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with SmallGateway(tmp_path, [replicate()]) as running:
        yield running


# --- whole replies -------------------------------------------------------------------------------------------------


async def test_a_chat_is_a_prediction_that_is_waited_for(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, DONE)
    answer = await gateway.ask(max_tokens=50, temperature=0.5)
    said = answer.json()
    assert said["choices"][0]["message"]["content"] == "Hello!"
    assert said["choices"][0]["finish_reason"] == "stop"
    assert (said["usage"]["prompt_tokens"], said["usage"]["completion_tokens"]) == (7, 3)
    sent = gateway.upstream.requests[0]
    assert sent.origin.host == "api.replicate.com"
    assert (sent.headers["authorization"], sent.headers["prefer"]) == ("Bearer r8_the_provider_s_key", "wait=10")
    assert sent.json() == {"input": {"prompt": "Say hello.", "max_tokens": 50, "temperature": 0.5}}
    record = (await gateway.records())[0]
    assert (record.cost.total, record.usage_source) == (COST, USAGE_FROM_PROVIDER)


async def test_a_prediction_that_takes_its_time_is_looked_for_until_it_is_over(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting"))
    gateway.upstream.reply_to(LOOKED_AT, prediction("processing"), prediction("processing"), DONE)
    answer = await gateway.ask()
    assert answer.json()["choices"][0]["message"]["content"] == "Hello!"
    assert [(sent.method, sent.path) for sent in gateway.upstream.requests] == [
        ("POST", ASKED_AT),
        ("GET", LOOKED_AT),
        ("GET", LOOKED_AT),
        ("GET", LOOKED_AT),
    ]
    assert all("prefer" not in sent.headers for sent in gateway.upstream.requests[1:])
    assert all("authorization" in sent.headers for sent in gateway.upstream.requests)


async def test_what_was_not_counted_is_estimated_and_says_so(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction(output="Hello!", metrics={"predict_time": 1.0}))
    assert (await gateway.ask()).status == 200
    record = (await gateway.records())[0]
    assert record.usage_source == USAGE_ESTIMATED
    assert record.cost.total > 0


async def test_a_version_is_named_in_the_body_and_a_base_of_one_s_own_is_kept(tmp_path: Path) -> None:
    entry = replicate("acme/m:abc", api_base="http://proxy.example/replicate/v1/predictions")
    async with SmallGateway(tmp_path, [entry]) as gateway:
        gateway.upstream.reply_to("/replicate/v1/predictions", prediction("starting"))
        gateway.upstream.reply_to("/replicate/v1/predictions/p1", DONE)
        assert (await gateway.ask(tools=[{"type": "function", "function": {"name": "f"}}])).headers[
            "x-tollway-dropped"
        ] == "tools"
        sent = gateway.upstream.requests[0].json()
        assert sent == {"version": "acme/m:abc", "input": {"prompt": "Say hello."}}


@pytest.mark.parametrize(
    ("reply", "status", "said"),
    [
        (
            FakeReply.json({"title": "Input validation failed", "detail": "- input.top_p: Must be less"}, 422),
            422,
            "top_p",
        ),
        (FakeReply.json({"title": "Insufficient credit", "detail": "secret", "status": 402}, 402), 503, "billing"),
        (FakeReply.json({"detail": "Request was throttled.", "status": 429}, 429), 429, "throttled"),
        (prediction("failed", error="CUDA error"), 500, "CUDA error"),
        (prediction("canceled"), 500, "canceled"),
        (FakeReply.json({}), 502, "name or a status"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_told(gateway: SmallGateway, reply: FakeReply, status: int, said: str, stream: bool) -> None:
    gateway.upstream.reply_to(None, reply)
    answer = await gateway.ask(stream=stream)
    assert answer.status == status
    assert said in answer.json()["error"]["message"]


async def test_a_client_that_leaves_ends_the_work(gateway: SmallGateway) -> None:
    gate = Gate()
    gateway.upstream.reply_to(ASKED_AT, prediction("starting"))
    gateway.upstream.reply_to(LOOKED_AT, FakeReply.json({}, after=gate))
    cancelled = asyncio.Event()
    gateway.upstream.reply_to(CANCEL, lambda seen: (cancelled.set(), prediction("canceled"))[1])
    exchange = gateway.begin()
    while len(gateway.upstream.requests) < 2:
        await asyncio.sleep(0)
    await asyncio.wait_for(exchange.hang_up(), 30)
    await asyncio.wait_for(cancelled.wait(), 30)
    last = gateway.upstream.requests[-1]
    assert (last.method, last.path, last.body) == ("POST", CANCEL, b"")
    assert "authorization" in last.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_work_that_takes_too_long_is_ended_and_another_may_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(following, "POLL_S_MAX", -1.0)
    models = [replicate(retries=1), replicate("xai/grok-4", retries=1)]
    async with SmallGateway(tmp_path, models) as gateway:
        gateway.upstream.reply_to(None, prediction("starting"), DONE)
        gateway.upstream.reply_to(CANCEL, prediction("canceled"))
        answer = await gateway.ask(stream=stream)
        assert answer.status == 200
        asked = [seen.path for seen in gateway.upstream.requests if seen.path.endswith("/predictions")]
        assert len(set(asked)) == 2
        assert CANCEL in [seen.path for seen in gateway.upstream.requests]


# --- streams -------------------------------------------------------------------------------------------------------


async def test_a_stream_is_heard_at_its_own_address_and_the_prediction_tells_what_it_cost(
    gateway: SmallGateway,
) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=STREAM_AT))
    gateway.upstream.reply_to("/v1/files/abc", FakeReply.stream(*heard("Hel", "lo", "!")), host=STREAM_HOST)
    gateway.upstream.reply_to(LOOKED_AT, prediction("processing"), DONE)
    answer = await gateway.ask(stream=True)
    assert answer.text == "Hello!"
    assert answer.events()[-1] == "[DONE]"
    asked, stream, *looks = gateway.upstream.requests
    assert asked.json() == {"input": {"prompt": "Say hello."}, "stream": True}
    assert "prefer" not in asked.headers
    assert (stream.method, stream.headers["accept"]) == ("GET", "text/event-stream")
    assert stream.headers["authorization"] == "Bearer r8_the_provider_s_key"
    assert [look.path for look in looks] == [LOOKED_AT, LOOKED_AT]
    record = (await gateway.records())[0]
    assert (record.cost.total, record.usage_source) == (COST, USAGE_FROM_PROVIDER)


async def test_a_prediction_that_is_not_seen_any_more_leaves_the_answer_whole(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=STREAM_AT))
    gateway.upstream.reply_to("/v1/files/abc", FakeReply.stream(*heard("Hello!")))
    gateway.upstream.reply_to(LOOKED_AT, FakeReply.failing(UpstreamUnreachable("gone")))
    answer = await gateway.ask(stream=True)
    assert answer.text == "Hello!"
    assert answer.events()[-1] == "[DONE]"
    assert (await gateway.records())[0].usage_source == USAGE_ESTIMATED


@pytest.mark.parametrize(
    "stream",
    [
        None,
        "https://evil.example/v1/files/abc",
        "https://replicate.com.evil.example/x",
        "http://stream.replicate.com/x",
        "https://u@stream.replicate.com/x",
    ],
)
async def test_a_stream_that_may_not_be_heard_is_told_at_its_end(gateway: SmallGateway, stream: str | None) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=stream))
    gateway.upstream.reply_to(LOOKED_AT, prediction("processing"), DONE)
    answer = await gateway.ask(stream=True)
    assert answer.text == "Hello!"
    assert {seen.origin.host for seen in gateway.upstream.requests} == {"api.replicate.com"}
    assert (await gateway.records())[0].cost.total == COST


async def test_a_stream_that_is_refused_is_told_at_its_end(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=STREAM_AT))
    gateway.upstream.reply_to("/v1/files/abc", FakeReply.json({"detail": "no"}, status=404))
    gateway.upstream.reply_to(LOOKED_AT, DONE)
    assert (await gateway.ask(stream=True)).text == "Hello!"


async def test_a_stream_that_ends_too_early_is_completed_from_the_prediction(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=STREAM_AT))
    gateway.upstream.reply_to("/v1/files/abc", FakeReply.stream(*heard("Hel", end=b": bye\n\n")))
    gateway.upstream.reply_to(LOOKED_AT, prediction("processing"), DONE)
    assert (await gateway.ask(stream=True)).text == "Hello!"
    assert (await gateway.records())[0].cost.total == COST


async def test_a_stream_that_breaks_is_told_and_its_work_ended(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=STREAM_AT))
    gateway.upstream.reply_to("/v1/files/abc", FakeReply.stream(heard("Hel")[0], Cut()))
    gateway.upstream.reply_to(CANCEL, prediction("canceled"))
    answer = await gateway.ask(stream=True)
    assert answer.text == "Hel"
    assert "error" in answer.events()[-1]
    await asyncio.sleep(0)
    assert gateway.upstream.requests[-1].path == CANCEL
    assert len(await gateway.records()) == 1


async def test_a_client_that_leaves_a_stream_ends_the_work_and_is_charged_once(gateway: SmallGateway) -> None:
    gate = Gate()
    gateway.upstream.reply_to(ASKED_AT, prediction("starting", stream=STREAM_AT))
    gateway.upstream.reply_to("/v1/files/abc", FakeReply.stream(heard("Hel")[0], gate))
    gateway.upstream.reply_to(CANCEL, prediction("canceled"))
    begun = asyncio.Event()
    exchange = gateway.begin(stream=True, on_message=lambda message: begun.set() if message.get("body") else None)
    await asyncio.wait_for(begun.wait(), 30)
    await asyncio.wait_for(exchange.hang_up(), 30)
    await asyncio.sleep(0)
    assert gateway.upstream.requests[-1].path == CANCEL
    records = await gateway.records()
    assert len(records) == 1
    assert records[0].cost.total > 0


async def test_a_failure_before_the_first_word_goes_to_another(tmp_path: Path) -> None:
    models = [replicate(retries=1), replicate("xai/grok-4", retries=1)]
    async with SmallGateway(tmp_path, models) as gateway:
        ended = b'event: error\ndata: {"detail":"boom"}\n\n'
        gateway.upstream.reply_to(None, prediction("starting", stream=STREAM_AT), method="POST")
        gateway.upstream.reply_to(CANCEL, prediction("canceled"))
        gateway.upstream.reply_to("/v1/files/abc", FakeReply.stream(ended), FakeReply.stream(*heard("Hello!")))
        gateway.upstream.reply_to(LOOKED_AT, DONE)
        answer = await gateway.ask(stream=True)
        assert answer.text == "Hello!"
        asked = [seen.path for seen in gateway.upstream.requests if seen.path.endswith("/predictions")]
        assert len(set(asked)) == 2


async def test_clients_of_other_dialects_are_answered_in_theirs(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(ASKED_AT, DONE)
    body = b'{"model":"small","max_tokens":9,"system":"Be kind.","messages":[{"role":"user","content":"Hi"}]}'
    answer = await gateway.ask(path="/v1/messages", body=body)
    assert answer.json()["content"] == [{"type": "text", "text": "Hello!"}]
    assert gateway.upstream.requests[0].json()["input"] == {
        "system_prompt": "Be kind.",
        "prompt": "Hi",
        "max_tokens": 9,
    }


# --- pictures ------------------------------------------------------------------------------------------------------

GENERATE = "/v1/images/generations"
PICTURE = "https://replicate.delivery/xezq/out-0.png"


@pytest.mark.parametrize(
    ("model", "said", "input"),
    [
        (
            "black-forest-labs/flux-schnell",
            b'"n":2,"size":"1024x768","go_fast":true,"quality":"hd"',
            {"prompt": "A cat", "num_outputs": 2, "aspect_ratio": "4:3", "go_fast": True},
        ),
        ("stability-ai/sdxl:39ed", b'"size":"512x768"', {"prompt": "A cat", "width": 512, "height": 768}),
        (
            "openai/gpt-image-1",
            b'"size":"1536x1024","quality":"high","n":1',
            {"prompt": "A cat", "aspect_ratio": "3:2", "quality": "high", "number_of_images": 1},
        ),
        ("recraft-ai/recraft-v3", b'"size":"1024x1024"', {"prompt": "A cat", "size": "1024x1024"}),
    ],
)
async def test_pictures_are_predictions_too(model: str, said: bytes, input: dict[str, Any], tmp_path: Path) -> None:
    entry = replicate(model, prices={"output_cost_per_image": "0.04"})
    async with SmallGateway(tmp_path, [entry]) as gateway:
        gateway.upstream.reply_to(None, prediction("starting"), method="POST")
        gateway.upstream.reply_to(LOOKED_AT, prediction("processing"), prediction(output=[PICTURE]))
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"A cat",%b}' % said)
        assert answer.json()["data"] == [{"url": PICTURE}]
        sent = gateway.upstream.requests[0].json()
        assert sent.pop("version", model) == model
        assert sent == {"input": input}
        assert (await gateway.records())[0].cost.total == 40_000_000


@pytest.mark.parametrize(("fields", "param"), [(b'"response_format":"b64_json"', "response_format"), (b'"n":3', "n")])
async def test_what_pictures_cannot_be_asked_is_refused(fields: bytes, param: str, tmp_path: Path) -> None:
    async with SmallGateway(
        tmp_path, [replicate("google/imagen-4", prices={"output_cost_per_image": "0.04"})]
    ) as gateway:
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x",%b}' % fields)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)


async def test_a_picture_that_was_not_made_is_an_error(tmp_path: Path) -> None:
    async with SmallGateway(
        tmp_path, [replicate("google/imagen-4", prices={"output_cost_per_image": "0.04"})]
    ) as gateway:
        gateway.upstream.reply_to(None, prediction("failed", error="NSFW content detected"), prediction(output=None))
        body = b'{"model":"small","prompt":"x"}'
        assert (await gateway.ask(path=GENERATE, body=body)).json()["error"]["message"] == "NSFW content detected"
        assert (await gateway.ask(path=GENERATE, body=body)).status == 502
