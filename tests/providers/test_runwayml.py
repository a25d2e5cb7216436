from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.providers import following
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

GENERATE = "/v1/images/generations"
TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"
PICTURE = "https://dnznrvs05pmza.cloudfront.net/a.png?_jwt=x"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE_S_FIRST", 0.0)
    monkeypatch.setattr(following, "PAUSE_S_MAX", 0.0)


def runway(**changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model="runwayml/gen4_image", api_key=Secret("key_rw"), **changes)


async def test_a_task_is_made_and_looked_after(tmp_path: Path) -> None:
    """https://docs.dev.runwayml.com/api (2026-11-22)"""
    async with SmallGateway(tmp_path, [runway()]) as gateway:
        gateway.upstream.reply_to("/v1/text_to_image", FakeReply.json({"id": TASK}))
        gateway.upstream.reply_to(
            f"/v1/tasks/{TASK}",
            FakeReply.json({"id": TASK, "status": "PENDING"}),
            FakeReply.json({"id": TASK, "status": "RUNNING", "progress": 0.5}),
            FakeReply.json({"id": TASK, "status": "SUCCEEDED", "output": [PICTURE]}),
        )
        body = b'{"model":"small","prompt":"A fox","size":"1792x1024","seed":7,"style":"vivid"}'
        answer = await gateway.ask(path=GENERATE, body=body)
        assert answer.json()["data"] == [{"url": PICTURE}]
        assert answer.headers["x-tollway-dropped"] == "style"
        made, *looks = gateway.upstream.requests
        assert made.json() == {"model": "gen4_image", "promptText": "A fox", "ratio": "1920:1080", "seed": 7}
        for request in (made, *looks):
            assert request.origin.host == "api.dev.runwayml.com"
            assert request.headers["authorization"] == "Bearer key_rw"
            assert request.headers["x-runway-version"] == "2024-11-06"
        assert [look.method for look in looks] == ["GET"] * 3
        assert (await gateway.records())[0].cost.total == 50_000_000


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        ({"status": "FAILED", "failure": "Unsafe.", "failureCode": "SAFETY.INPUT.TEXT"}, 400, "Unsafe."),
        ({"status": "FAILED", "failure": "Broken.", "failureCode": "INTERNAL"}, 500, "Broken."),
        ({"status": "CANCELLED"}, 500, "The provider's work ended with 'CANCELLED'."),
    ],
)
async def test_a_task_that_failed_is_told(said: dict[str, str], status: int, message: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [runway(retries=0)]) as gateway:
        gateway.upstream.reply_to("/v1/text_to_image", FakeReply.json({"id": TASK}))
        gateway.upstream.reply_to(f"/v1/tasks/{TASK}", FakeReply.json({"id": TASK, **said}))
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x"}')
        assert (answer.status, answer.json()["error"]["message"]) == (status, message)


async def test_a_task_s_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [runway(retries=0)]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json({"id": "../../x?"}))
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x"}')
        assert answer.status == 502
        assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize(("fields", "param"), [(b'"n":2', "n"), (b'"response_format":"b64_json"', "response_format")])
async def test_what_it_cannot_be_asked_is_refused_by_name(fields: bytes, param: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [runway()]) as gateway:
        answer = await gateway.ask(path=GENERATE, body=b'{"model":"small","prompt":"x",%b}' % fields)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
