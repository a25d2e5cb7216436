from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.multipart import read_form
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply, FakeRequest

GENERATE = "/v1/images/generations"
BOUNDARY = "0123456789abcdef"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
MADE = {"image": "aW1hZ2U=", "finish_reason": "SUCCESS", "seed": 343940597}


def stability(model: str, **changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model=f"stability/{model}", api_key=Secret("sk-stab"), **changes)


def form(parts: dict[str, str], files: dict[str, bytes]) -> bytes:
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    ]
    lines += [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files.items()
    ]
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


def went(request: FakeRequest) -> dict[str, bytes]:
    taken = read_form(request.body, request.headers["content-type"].encode())
    return {part.name: bytes(taken.view(part)) for part in taken.parts}


@pytest.mark.parametrize(
    ("model", "path", "named"),
    [
        ("stable-image-core", "core", {}),
        ("stable-image-ultra", "ultra", {}),
        ("sd3.5-large", "sd3", {"model": b"sd3.5-large"}),
    ],
)
async def test_a_picture_is_asked_for_with_a_form_at_its_model_s_path(
    model: str, path: str, named: dict[str, bytes], tmp_path: Path
) -> None:
    """https://platform.stability.ai/docs/api-reference#tag/Generate (2026-11-22)"""
    async with SmallGateway(tmp_path, [stability(model)]) as gateway:
        gateway.upstream.reply_to(f"/v2beta/stable-image/generate/{path}", FakeReply.json(MADE))
        body = b'{"model":"small","prompt":"A lighthouse","size":"1792x1024","quality":"hd","seed":7,"response_format":"url"}'
        answer = await gateway.ask(path=GENERATE, body=body)
        assert answer.json()["data"] == [{"b64_json": "aW1hZ2U="}]
        assert answer.json()["created"] > 0
        assert set(answer.headers["x-tollway-dropped"].replace(" ", "").split(",")) == {"quality", "response_format"}
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == "api.stability.ai"
        assert sent.headers["authorization"] == "Bearer sk-stab"
        assert sent.headers["accept"] == "application/json"
        assert went(sent) == {"prompt": b"A lighthouse", "seed": b"7", "aspect_ratio": b"16:9", **named}
        cost = (await gateway.records())[0].cost.total
        assert cost == {"core": 30_000_000, "ultra": 80_000_000, "sd3": 65_000_000}[path]


async def test_an_edit_with_a_mask_goes_to_inpaint(tmp_path: Path) -> None:
    """https://platform.stability.ai/docs/api-reference#tag/Edit (2026-11-22)"""
    async with SmallGateway(tmp_path, [stability("inpaint")]) as gateway:
        gateway.upstream.reply_to("/v2beta/stable-image/edit/inpaint", FakeReply.json(MADE))
        body = form({"model": "small", "prompt": "A dog", "grow_mask": "3"}, {"image": b"png", "mask": b"black"})
        answer = await gateway.ask(path="/v1/images/edits", headers=FORM, body=body)
        assert answer.json()["data"] == [{"b64_json": "aW1hZ2U="}]
        assert went(gateway.upstream.requests[0]) == {
            "prompt": b"A dog",
            "grow_mask": b"3",
            "image": b"png",
            "mask": b"black",
        }


async def test_a_picture_may_be_made_from_another(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [stability("sd3.5-medium")]) as gateway:
        gateway.upstream.reply_to("/v2beta/stable-image/generate/sd3", FakeReply.json(MADE))
        body = form({"model": "small", "prompt": "A dog"}, {"image": b"png"})
        assert (await gateway.ask(path="/v1/images/edits", headers=FORM, body=body)).status == 200
        assert went(gateway.upstream.requests[0]) == {
            "prompt": b"A dog",
            "model": b"sd3.5-medium",
            "mode": b"image-to-image",
            "strength": b"0.7",
            "image": b"png",
        }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"small","prompt":"x","n":2}', "n"),
        (b'{"model":"small","prompt":"x","size":"big"}', "size"),
        (b'{"model":"small","prompt":"x","output_format":"gif"}', "output_format"),
    ],
)
async def test_what_it_cannot_be_asked_is_refused_by_name(body: bytes, param: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [stability("stable-image-core")]) as gateway:
        answer = await gateway.ask(path=GENERATE, body=body)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
        assert gateway.upstream.requests == []


async def test_a_mask_for_a_model_that_takes_none_is_refused(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [stability("sd3.5-medium")]) as gateway:
        body = form({"model": "small", "prompt": "x"}, {"image": b"png", "mask": b"m"})
        answer = await gateway.ask(path="/v1/images/edits", headers=FORM, body=body)
        assert (answer.status, answer.json()["error"]["param"]) == (400, "mask")


async def test_what_is_found_unfit_and_what_is_refused_are_told(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [stability("stable-image-core")]) as gateway:
        gateway.upstream.reply_to(
            None,
            FakeReply.json({**MADE, "finish_reason": "CONTENT_FILTERED"}),
            FakeReply.json({"id": "1", "name": "bad_request", "errors": ["prompt: too long"]}, status=400),
        )
        asked: Any = {"path": GENERATE, "body": b'{"model":"small","prompt":"x"}'}
        answer = await gateway.ask(**asked)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "content_policy_violation")
        answer = await gateway.ask(**asked)
        assert answer.json()["error"]["message"] == "prompt: too long"


@pytest.mark.parametrize("model", ["creative", "style-transfer", "stable-image-core"])
async def test_a_model_that_does_not_do_this_is_refused(model: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [stability(model)]) as gateway:
        body = form({"model": "small", "prompt": "x"}, {"image": b"png"})
        answer = await gateway.ask(path="/v1/images/edits", headers=FORM, body=body)
        assert (answer.status, answer.json()["error"]["param"]) == (400, "model")
        assert gateway.upstream.requests == []


async def test_work_without_words_is_asked_for_without_them(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [stability("remove-background")]) as gateway:
        gateway.upstream.reply_to("/v2beta/stable-image/edit/remove-background", FakeReply.json(MADE))
        body = form({"model": "small", "prompt": "x"}, {"image": b"png"})
        assert (await gateway.ask(path="/v1/images/edits", headers=FORM, body=body)).status == 200
        assert went(gateway.upstream.requests[0]) == {"image": b"png"}
