from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import UpstreamUnreachable
from tollway.providers import following
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

GENERATE = "/v1/images/generations"
BOUNDARY = "0123456789abcdef"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
TICKET = {"id": "t-1", "polling_url": "https://api.us1.bfl.ai/v1/get_result?id=t-1"}
PICTURE = "https://delivery-us1.bfl.ai/results/a.jpeg?sig=x"
READY = {"id": "t-1", "status": "Ready", "result": {"sample": PICTURE, "prompt": "x", "seed": 1}}
PENDING = {"id": "t-1", "status": "Pending", "result": None}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE_S_FIRST", 0.0)
    monkeypatch.setattr(following, "PAUSE_S_MAX", 0.0)


def flux(model: str = "flux-pro-1.1", **changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model=f"black_forest_labs/{model}", api_key=Secret("bfl"), **changes)


async def test_a_picture_is_asked_for_and_looked_after_until_it_is_there(tmp_path: Path) -> None:
    """https://docs.bfl.ai/api_integration/integration_guidelines (2026-11-22)"""
    async with SmallGateway(tmp_path, [flux()]) as gateway:
        gateway.upstream.reply_to("/v1/flux-pro-1.1", FakeReply.json(TICKET))
        gateway.upstream.reply_to(
            "/v1/get_result", FakeReply.json(PENDING), FakeReply.json(PENDING), FakeReply.json(READY)
        )
        body = b'{"model":"small","prompt":"A fox","size":"1024x768","quality":"hd","seed":7}'
        answer = await gateway.ask(path=GENERATE, body=body)
        assert answer.json()["data"] == [{"url": PICTURE}]
        assert answer.headers["x-tollway-dropped"] == "quality"
        asked, *looks = gateway.upstream.requests
        assert (asked.method, asked.origin.host, asked.headers["x-key"]) == ("POST", "api.bfl.ai", "bfl")
        assert asked.json() == {"prompt": "A fox", "width": 1024, "height": 768, "seed": 7}
        assert len(looks) == 3
        assert all((look.method, look.body) == ("GET", b"") for look in looks)
        assert {(look.origin.host, look.headers["host"]) for look in looks} == {("api.us1.bfl.ai", "api.us1.bfl.ai")}
        assert looks[0].query == {"id": ["t-1"]}
        assert looks[0].headers["x-key"] == "bfl"
        assert "content-type" not in looks[0].headers
        record = (await gateway.records())[0]
        assert record.cost.total == 40_000_000


async def test_base64_is_fetched_without_the_key(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [flux("flux-kontext-pro")]) as gateway:
        gateway.upstream.reply_to("/v1/flux-kontext-pro", FakeReply.json(TICKET))
        gateway.upstream.reply_to("/v1/get_result", FakeReply.json(READY))
        gateway.upstream.reply_to("/results/a.jpeg", FakeReply.stream(b"jpeg bytes", content_type="image/jpeg"))
        body = b'{"model":"small","prompt":"A fox","size":"1792x1024","response_format":"b64_json"}'
        answer = await gateway.ask(path=GENERATE, body=body)
        assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == b"jpeg bytes"
        assert gateway.upstream.requests[0].json() == {"prompt": "A fox", "aspect_ratio": "16:9"}
        fetched = gateway.upstream.requests[-1]
        assert (fetched.origin.host, fetched.query) == ("delivery-us1.bfl.ai", {"sig": ["x"]})
        assert "x-key" not in fetched.headers


async def test_a_picture_is_changed(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [flux("flux-pro-1.0-fill")]) as gateway:
        gateway.upstream.reply_to("/v1/flux-pro-1.0-fill", FakeReply.json(TICKET))
        gateway.upstream.reply_to("/v1/get_result", FakeReply.json(READY))
        body = b"".join(
            b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
            % (BOUNDARY.encode(), name, file, value)
            for name, file, value in (
                (b"model", b"", b"small"),
                (b"prompt", b"", b"A hat"),
                (b"steps", b"", b"30"),
                (b"image", b'; filename="i"', b"png"),
                (b"mask", b'; filename="m"', b"black"),
            )
        )
        answer = await gateway.ask(path="/v1/images/edits", headers=FORM, body=body + b"--%b--\r\n" % BOUNDARY.encode())
        assert answer.json()["data"] == [{"url": PICTURE}]
        assert gateway.upstream.requests[0].json() == {
            "prompt": "A hat",
            "image": base64.b64encode(b"png").decode(),
            "mask": base64.b64encode(b"black").decode(),
            "steps": 30,
        }


@pytest.mark.parametrize(
    "ticket",
    [
        {**TICKET, "polling_url": "https://evil.example/v1/get_result?id=t-1"},
        {**TICKET, "polling_url": "http://api.us1.bfl.ai/v1/get_result"},
        {**TICKET, "polling_url": "https://x@api.bfl.ai/v1/get_result"},
        {**TICKET, "polling_url": "https://api.bfl.ai.evil.example/"},
        {"id": "t-1"},
    ],
)
async def test_nobody_but_the_provider_is_asked(ticket: dict[str, str], tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [flux(retries=0)]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(ticket))
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x"}')
        assert answer.status in (500, 502)
        assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [({"status": "Content Moderated"}, 400), ({"status": "Error"}, 500), ({"status": "Task not found"}, 500)],
)
async def test_work_that_failed_is_told(said: dict[str, str], status: int, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [flux(retries=0)]) as gateway:
        gateway.upstream.reply_to("/v1/flux-pro-1.1", FakeReply.json(TICKET))
        gateway.upstream.reply_to("/v1/get_result", FakeReply.json(said))
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x"}')
        assert answer.status == status


async def test_a_look_that_fails_is_another_chance_and_work_is_never_asked_for_twice(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [flux(retries=2)]) as gateway:
        gateway.upstream.reply_to("/v1/flux-pro-1.1", FakeReply.json(TICKET))
        away = FakeReply.failing(UpstreamUnreachable("away"))
        gateway.upstream.reply_to("/v1/get_result", away, FakeReply.json({}, status=503), FakeReply.json(READY))
        asked: Any = {"path": GENERATE, "body": b'{"model":"small","prompt":"x"}'}
        assert (await gateway.ask(**asked)).status == 200
        gateway.upstream.reply_to("/v1/get_result", away)
        gateway.upstream.requests.clear()
        assert (await gateway.ask(**asked)).status == 503
        assert [request.method for request in gateway.upstream.requests] == ["POST", "GET", "GET", "GET"]


async def test_work_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_S_MAX", 0.0)
    async with SmallGateway(tmp_path, [flux(retries=2)]) as gateway:
        gateway.upstream.reply_to("/v1/flux-pro-1.1", FakeReply.json(TICKET))
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x"}')
        assert answer.status == 408
        assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (b'"n":2', "n"),
        (b'"stream":true', "stream"),
        (b'"response_format":"x"', "response_format"),
        (b'"output_format":"webp"', "output_format"),
    ],
)
async def test_what_it_cannot_be_asked_is_refused_by_name(fields: bytes, param: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [flux()]) as gateway:
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x",%b}' % fields)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
        assert gateway.upstream.requests == []
