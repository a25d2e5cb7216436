"""What fails before the first content byte moves on: to the next deployment, then to the fallbacks, in every way of asking."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway import gateway as gateway_module
from tollway.config.settings import Config, ModelEntry, RoutingSettings
from tollway.errors import UpstreamTimeout, UpstreamUnreachable
from tollway.testing import FakeReply
from tollway.testing.gateway import Answer, SmallGateway, chat_reply, chat_stream, model_entry

STREAMING = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
TOO_LONG = {"error": {"message": "This model's maximum context length is 8 tokens", "code": "context_length_exceeded"}}
UNSAFE = {"error": {"message": "no", "code": "content_policy_violation"}}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "RETRY_PAUSE_S_FIRST", 0.0)


def failing(status: int, message: str = "it broke", **headers: str) -> FakeReply:
    return FakeReply.json({"error": {"message": message}}, status=status, headers=headers)


FAILURES = {
    "500": failing(500),
    "429": failing(429),
    "529": failing(529),
    "401": failing(401, "Incorrect API key provided: sk-abcdefgh"),
    "a timeout": FakeReply.failing(UpstreamTimeout("provider.example did not answer within 1 s.")),
    "nobody there": FakeReply.failing(UpstreamUnreachable("provider.example could not be connected to.")),
    "no JSON": FakeReply.json(b"<html>bad gateway</html>", status=200),
}


def reply(stream: bool, text: str = "Hello") -> FakeReply:
    return chat_stream(text) if stream else chat_reply(text)


def small(directory: Path, *models: ModelEntry, **routing: Any) -> SmallGateway:
    config = Config(routing=RoutingSettings(**{"retries": 0, **routing}))
    return SmallGateway(directory, models or (model_entry(), model_entry("other", host="other.example")), config=config)


def hosts(gateway: SmallGateway) -> list[str]:
    return [request.origin.host.split(".")[0] for request in gateway.upstream.requests]


def text_of(answer: Answer, stream: bool) -> str:
    return answer.text if stream else answer.json()["choices"][0]["message"]["content"]


@STREAMING
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_before_content_moves_on_to_the_next_deployment(
    tmp_path: Path, failure: FakeReply, stream: bool
) -> None:
    two = [model_entry(host="provider.example", order=1), model_entry(host="second.example", order=2)]
    async with small(tmp_path, *two, retries=2) as gateway:
        gateway.upstream.reply_to(None, failure)
        gateway.upstream.reply_to(None, reply(stream), host="second.example")
        answer = await gateway.ask(stream=stream)
        assert text_of(answer, stream) == "Hello"
        assert hosts(gateway) == ["provider", "second"]
        assert answer.headers["x-litellm-attempted-retries"] == "1"
        assert answer.headers["x-litellm-attempted-fallbacks"] == "0"
        (record,) = await gateway.records()
        assert (record.retries, record.fallbacks, record.cost.total) == (1, 0, 1_000_000)


@STREAMING
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_of_all_deployments_moves_on_to_the_fallback(
    tmp_path: Path, failure: FakeReply, stream: bool
) -> None:
    async with small(tmp_path, fallbacks={"small": ("other",)}) as gateway:
        gateway.upstream.reply_to(None, failure)
        gateway.upstream.reply_to(None, reply(stream), host="other.example")
        answer = await gateway.ask(stream=stream)
        assert text_of(answer, stream) == "Hello"
        assert hosts(gateway) == ["provider", "other"]
        assert answer.headers["x-litellm-attempted-fallbacks"] == "1"
        assert answer.headers["x-litellm-model-group"] == "other"
        (record,) = await gateway.records()
        assert (record.model, record.model_group, record.fallbacks) == ("small", "other", 1)


@STREAMING
async def test_the_callers_own_mistake_is_told_and_does_not_fall_back(tmp_path: Path, stream: bool) -> None:
    async with small(tmp_path, fallbacks={"small": ("other",)}, retries=3) as gateway:
        gateway.upstream.reply_to(
            None, FakeReply.json({"error": {"message": "bad temperature", "param": "temperature"}}, status=400)
        )
        answer = await gateway.ask(stream=stream, temperature=9)
        assert (answer.status, hosts(gateway)) == (400, ["provider"])
        assert answer.json()["error"] == {
            "message": "bad temperature",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "400",
        }


@STREAMING
@pytest.mark.parametrize(
    ("kind", "body"), [("context_window_fallbacks", TOO_LONG), ("content_policy_fallbacks", UNSAFE)]
)
async def test_a_prompt_that_does_not_fit_or_offends_goes_to_the_models_named_for_that(
    tmp_path: Path, kind: str, body: Any, stream: bool
) -> None:
    models = [model_entry(name, host=f"{name}.example") for name in ("small", "general", "special")]
    async with small(
        tmp_path, *models, fallbacks={"small": ("general",)}, **{kind: {"small": ("special",)}}
    ) as gateway:
        gateway.upstream.reply_to(None, reply(stream))
        gateway.upstream.reply_to(None, FakeReply.json(body, status=400), host="small.example")
        assert (await gateway.ask(stream=stream)).status == 200
        assert hosts(gateway) == ["small", "special"]


async def test_an_overflow_of_the_fallback_is_told_rather_than_the_outage_that_led_there(tmp_path: Path) -> None:
    async with small(tmp_path, fallbacks={"small": ("other",)}) as gateway:
        gateway.upstream.reply_to(None, failing(500))
        gateway.upstream.reply_to(None, FakeReply.json(TOO_LONG, status=400), host="other.example")
        error = (await gateway.ask()).json()["error"]
        assert error["code"] == "context_length_exceeded"


async def test_when_all_fail_the_first_models_failure_is_told_with_what_was_tried(tmp_path: Path) -> None:
    async with small(tmp_path, fallbacks={"small": ("other",)}) as gateway:
        gateway.upstream.reply_to(None, failing(500, "the first"))
        gateway.upstream.reply_to(None, failing(503, "the other"), host="other.example")
        answer = await gateway.ask()
        assert (answer.status, answer.json()["error"]["message"]) == (500, "the first")
        assert answer.headers["x-litellm-attempted-fallbacks"] == "1"
        (record,) = await gateway.records()
        assert (record.status_code, record.cost.total, record.error_message) == (500, 0, "the first")


async def test_each_fallback_is_tried_once_and_circles_end(tmp_path: Path) -> None:
    names = ("small", "b", "c")
    models = [model_entry(name, host=f"{name}.example") for name in names]
    circle = {"small": ("b", "c", "b", "small"), "b": ("small",), "c": ("b",)}
    async with small(tmp_path, *models, fallbacks=circle) as gateway:
        gateway.upstream.reply_to(None, failing(500))
        assert (await gateway.ask()).status == 500
        assert hosts(gateway) == ["small", "b", "c"]


async def test_a_client_may_name_its_own_fallbacks_or_none_and_how_often_to_try(tmp_path: Path) -> None:
    names = ("small", "other", "third")
    models = [model_entry(name, host=f"{name}.example") for name in names]
    async with small(tmp_path, *models, fallbacks={"small": ("other",)}) as gateway:
        gateway.upstream.reply_to(None, failing(500))
        await gateway.ask(fallbacks=[{"model": "third"}])
        assert hosts(gateway) == ["small", "third"]
        assert "fallbacks" not in gateway.upstream.requests[0].json()
        gateway.upstream.requests.clear()
        await gateway.ask(disable_fallbacks=True)
        assert hosts(gateway) == ["small"]
        gateway.upstream.requests.clear()
        await gateway.ask(disable_fallbacks=True, num_retries=2)
        assert hosts(gateway) == ["small"] * 3
        assert "num_retries" not in gateway.upstream.requests[0].json()


async def test_a_key_reaches_by_its_own_fallbacks_only_what_it_may_ask_for_but_by_the_configurations_all(
    tmp_path: Path,
) -> None:
    names = ("small", "other", "secret")
    models = [model_entry(name, host=f"{name}.example") for name in names]
    async with small(tmp_path, *models, fallbacks={"small": ("secret",)}) as gateway:
        key = await gateway.make_key(fields={"models": ["small", "other"]})
        gateway.upstream.reply_to(None, chat_reply())
        gateway.upstream.reply_to(None, failing(500), host="small.example")
        assert (await gateway.ask(key=key, fallbacks=["secret"])).status == 500
        assert (await gateway.ask(key=key, fallbacks=["secret", "other"])).status == 200
        assert hosts(gateway) == ["small", "small", "other"]
        gateway.upstream.requests.clear()
        assert (await gateway.ask(key=key)).status == 200
        assert hosts(gateway) == ["small", "secret"]


async def test_a_budget_holds_for_the_dearest_model_that_a_client_names_as_fallback(tmp_path: Path) -> None:
    dear = {"input_cost_per_token": "0", "output_cost_per_token": "0.00004"}
    models = [model_entry(), model_entry("dear", host="dear.example", prices=dear)]
    async with small(tmp_path, *models) as gateway:
        key = await gateway.make_key(max_budget_nano=10_000_000)
        gateway.upstream.reply_to(None, failing(500))
        gateway.upstream.reply_to(None, chat_reply(output_tokens=250), host="dear.example")
        answer = await gateway.ask(key=key, fallbacks=["dear"], max_tokens=250)
        assert answer.status == 200
        (record,) = await gateway.records()
        assert (record.held_nano, record.cost.total, record.over_hold) == (10_000_000, 10_000_000, False)
        assert (await gateway.ask(key=key, fallbacks=["dear"], max_tokens=250)).status == 422


async def test_a_fallback_without_a_price_is_not_a_way_around_a_budget(tmp_path: Path) -> None:
    models = [model_entry(), model_entry("nameless", host="nameless.example", prices={})]
    async with small(tmp_path, *models) as gateway:
        key = await gateway.make_key(max_budget_nano=10_000_000)
        answer = await gateway.ask(key=key, fallbacks=["nameless"], max_tokens=10)
        assert (answer.status, hosts(gateway)) == (400, [])
        assert "no known price" in answer.json()["error"]["message"]


async def test_a_pause_that_the_provider_asks_for_is_kept_if_it_is_short_and_told_to_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def fake_sleep(s: float) -> None:
        slept.append(s)
        await sleep(0 if s == 7.0 else s)

    monkeypatch.setattr(gateway_module.asyncio, "sleep", fake_sleep)
    async with small(tmp_path, retries=1) as gateway:
        gateway.upstream.reply_to(None, failing(429, **{"retry-after": "7"}), chat_reply())
        assert (await gateway.ask()).status == 200
        assert 7.0 in slept
        gateway.upstream.reply_to(None, failing(429, **{"retry-after": "59.5"}))
        gateway.upstream.requests.clear()
        answer = await gateway.ask()
        assert (answer.status, answer.headers["retry-after"]) == (429, "60")
        assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_provider_that_refuses_our_account_is_a_503_that_clients_do_not_repeat(
    tmp_path: Path, status: int
) -> None:
    async with small(tmp_path, retries=3) as gateway:
        gateway.upstream.reply_to(None, failing(status, "Incorrect API key provided: sk-proj-abcdefghijkl"))
        answer = await gateway.ask()
        assert answer.status == 503
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["type"] == "upstream_error"
        assert b"abcdefghijkl" not in answer.body
        assert len(gateway.upstream.requests) == 1


async def test_a_benched_deployment_is_passed_over_until_its_bench_ends_but_never_the_last_one(tmp_path: Path) -> None:
    two = [model_entry(host="a.example", order=1), model_entry(host="b.example", order=2)]
    async with small(tmp_path, *two, retries=1, cooldown_s=30.0) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        gateway.upstream.reply_to(None, failing(429), host="a.example")
        for _ in range(3):
            assert (await gateway.ask()).status == 200
        assert hosts(gateway) == ["a", "b", "b", "b"]
        gateway.clock.advance(31)
        await gateway.ask()
        assert hosts(gateway)[4:] == ["a", "b"]
        gateway.upstream.reply_to(None, failing(429), host="b.example")
        gateway.upstream.requests.clear()
        assert (await gateway.ask()).status == 429  # both are benched now; still somebody is asked
        assert hosts(gateway) != []


async def test_a_deployment_is_benched_after_its_allowed_failures_within_a_minute(tmp_path: Path) -> None:
    two = [model_entry(host="a.example", order=1), model_entry(host="b.example", order=2)]
    async with small(tmp_path, *two, retries=1, allowed_fails=2, cooldown_s=30.0) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        gateway.upstream.reply_to(None, failing(500), host="a.example")
        for _ in range(5):
            await gateway.ask()
        assert hosts(gateway) == ["a", "b", "a", "b", "a", "b", "b", "b"]


async def test_a_longer_bench_is_never_shortened(tmp_path: Path) -> None:
    two = [model_entry(host="a.example", order=1), model_entry(host="b.example", order=2)]
    async with small(tmp_path, *two, retries=1, cooldown_s=5.0) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        gateway.upstream.reply_to(None, failing(429, **{"retry-after": "50"}), failing(429), host="a.example")
        await gateway.ask()
        (first, _) = gateway.app.snapshots.current.models["small"].deployments
        assert first.health.benched_until == gateway.clock.monotonic() + 50
        first.health.failed(
            gateway.clock.monotonic(), reason="", at_once=True, allowed_fails=0, cooldown_s=5, retry_after_s=None
        )
        assert first.health.benched_until == gateway.clock.monotonic() + 50


async def test_a_single_deployment_without_fallbacks_is_never_benched(tmp_path: Path) -> None:
    async with small(tmp_path) as gateway:
        gateway.upstream.reply_to(None, failing(429), chat_reply())
        assert (await gateway.ask()).status == 429
        assert (await gateway.ask()).status == 200


async def test_a_field_that_a_fallback_has_no_words_for_does_not_hide_why_the_model_failed(tmp_path: Path) -> None:
    other = replace(
        model_entry("other", host="other.example"), provider_model="anthropic/claude-opus-4-6", drop_params=False
    )
    async with small(tmp_path, model_entry(), other, fallbacks={"small": ("other",)}) as gateway:
        gateway.upstream.reply_to(None, failing(500, "the first"))
        answer = await gateway.ask(logit_bias={"1": 2}, n=3)
        assert (answer.status, answer.json()["error"]["message"]) == (500, "the first")
        assert hosts(gateway) == ["provider"]
