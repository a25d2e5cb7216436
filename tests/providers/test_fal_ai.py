from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

GENERATE = "/v1/images/generations"


def fal(model: str, **changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model=f"fal_ai/{model}", api_key=Secret("id:secret"), **changes)


def made(*urls: str) -> FakeReply:
    images = [{"url": url, "width": 1024, "height": 768, "content_type": "image/png"} for url in urls]
    return FakeReply.json({"images": images, "timings": {}, "seed": 1, "has_nsfw_concepts": [False], "prompt": "x"})


async def test_the_model_is_the_path_and_its_own_fields_travel(tmp_path: Path) -> None:
    """https://fal.ai/models/fal-ai/flux/dev/api (2026-11-22)"""
    async with SmallGateway(tmp_path, [fal("fal-ai/flux/dev")]) as gateway:
        gateway.upstream.reply_to("/fal-ai/flux/dev", made("https://v3.fal.media/a.png", "https://v3.fal.media/b.png"))
        body = (
            b'{"model":"small","prompt":"A cat","n":2,"size":"1024x768","quality":"hd","guidance_scale":3.5,'
            b'"loras":[{"path":"p"}]}'
        )
        answer = await gateway.ask(path=GENERATE, body=body)
        assert answer.json()["data"] == [{"url": "https://v3.fal.media/a.png"}, {"url": "https://v3.fal.media/b.png"}]
        assert answer.headers["x-tollway-dropped"] == "quality"
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == "fal.run"
        assert sent.headers["authorization"] == "Key id:secret"
        assert sent.json() == {
            "prompt": "A cat",
            "num_images": 2,
            "image_size": {"width": 1024, "height": 768},
            "guidance_scale": 3.5,
            "loras": [{"path": "p"}],
        }
        assert (await gateway.records())[0].cost.total == 2 * 25_000_000


async def test_base64_is_asked_for_as_data_urls(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [fal("fal-ai/nano-banana")]) as gateway:
        gateway.upstream.reply_to(None, made("data:image/png;base64,aGk="))
        body = b'{"model":"small","prompt":"A cat","size":"1024x1536","response_format":"b64_json"}'
        answer = await gateway.ask(path=GENERATE, body=body)
        assert answer.json()["data"] == [{"b64_json": "aGk="}]
        assert gateway.upstream.requests[0].json() == {"prompt": "A cat", "sync_mode": True, "aspect_ratio": "2:3"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [(b'"response_format":"tar"', "response_format"), (b'"stream":true', "stream"), (b'"size":"x"', "size")],
)
async def test_what_it_cannot_be_asked_is_refused_by_name(fields: bytes, param: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [fal("fal-ai/flux/dev")]) as gateway:
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x",%b}' % fields)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("model", ["a/../b", "a//b", "a/b?x=1", "a b"])
async def test_a_model_that_is_no_path_goes_nowhere(model: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [fal(model, unpriced_allowed=True)]) as gateway:
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x"}')
        assert (answer.status, answer.json()["error"]["param"]) == (400, "model")
        assert gateway.upstream.requests == []


async def test_errors_are_told(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [fal("fal-ai/flux/dev", retries=0)]) as gateway:
        said = {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]}
        gateway.upstream.reply_to(None, FakeReply.json(said, status=422), FakeReply.json({"images": []}))
        asked: Any = {"path": GENERATE, "body": b'{"model":"small","prompt":"x"}'}
        answer = await gateway.ask(**asked)
        assert (answer.status, answer.json()["error"]["message"]) == (422, "field required")
        assert (await gateway.ask(**asked)).status == 502
