from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from tollway.calls import Secret
from tollway.config.settings import Config, ModelEntry
from tollway.providers import MissingSetting, registry
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

IAM = "/identity/token"
DALLAS = "https://us-south.ml.cloud.ibm.com"
PRICES = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000002"}


def watsonx(model: str = "ibm/granite-4-h-small", **changes: Any) -> ModelEntry:
    changes.setdefault("api_key", Secret("ibm-key"))
    changes.setdefault("provider_params", {"project_id": "p-1"})
    changes.setdefault("api_base", DALLAS)
    return ModelEntry(model_name="small", provider_model=f"watsonx/{model}", prices=PRICES, **changes)


def signed_in(gateway: SmallGateway) -> None:
    said = {"access_token": "eyJ", "refresh_token": "not_supported", "token_type": "Bearer", "expires_in": 3600}
    gateway.upstream.reply_to(IAM, FakeReply.json(said))


REPLY = {
    "id": "cmpl-15475d0dea9b4429a55843c77997f8a9",
    "model_id": "ibm/granite-4-h-small",
    "model": "ibm/granite-4-h-small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "created": 1689958352,
    "created_at": "2023-07-21T16:52:32.190Z",
    "usage": {"completion_tokens": 47, "prompt_tokens": 59, "total_tokens": 106},
}


async def test_a_key_is_exchanged_and_the_body_says_who_pays(tmp_path: Path) -> None:
    """https://cloud.ibm.com/apidocs/watsonx-ai#text-chat (2026-11-22)"""
    async with SmallGateway(tmp_path, [watsonx()]) as gateway:
        signed_in(gateway)
        gateway.upstream.reply_to("/ml/v1/text/chat", FakeReply.json(REPLY))
        answer = await gateway.ask(max_tokens=50, user="u", tool_choice="auto", tools=[])
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
        assert "user" in answer.headers["x-tollway-dropped"]
        exchange, chat = gateway.upstream.requests
        assert exchange.origin.host == "iam.cloud.ibm.com"
        assert parse_qs(exchange.body.decode()) == {
            "grant_type": ["urn:ibm:params:oauth:grant-type:apikey"],
            "apikey": ["ibm-key"],
        }
        assert chat.origin.host == "us-south.ml.cloud.ibm.com"
        assert chat.query == {"version": ["2025-10-01"]}
        assert chat.headers["authorization"] == "Bearer eyJ"
        assert chat.json() == {
            "model_id": "ibm/granite-4-h-small",
            "project_id": "p-1",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_completion_tokens": 50,
            "tool_choice_option": "auto",
            "tools": [],
        }
        assert (await gateway.records())[0].cost.total == 59 * 1_000 + 47 * 2_000


def event(number: int, **fields: Any) -> bytes:
    said = {
        "id": "cmpl-1",
        "model_id": "ibm/granite-4-h-small",
        "model": "ibm/granite-4-h-small",
        "created": 1,
        **fields,
    }
    return b"id: %d\nevent: message\ndata: %b\n\n" % (number, msgspec.json.encode(said))


async def test_a_stream_has_a_path_of_its_own_and_no_end_mark(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [watsonx()]) as gateway:
        signed_in(gateway)
        usage = {"completion_tokens": 47, "prompt_tokens": 59, "total_tokens": 106}
        gateway.upstream.reply_to(
            "/ml/v1/text/chat_stream",
            FakeReply.stream(
                event(
                    1, choices=[{"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": "Hel"}}]
                ),
                event(2, choices=[{"index": 0, "finish_reason": None, "delta": {"content": "lo"}}]),
                event(3, choices=[{"index": 0, "finish_reason": "stop", "delta": {"content": ""}}]),
                event(4, choices=[], usage=usage),
            ),
        )
        answer = await gateway.ask(stream=True, stream_options={"include_usage": True})
        datas = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
        assert datas[-1] == b"[DONE]"
        chunks = [msgspec.json.decode(data) for data in datas[:-1]]
        said = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert said == "Hello"
        sent = gateway.upstream.requests[1]
        assert "stream" not in sent.json()
        assert "stream_options" not in sent.json()
        assert (await gateway.records())[0].cost.total == 59 * 1_000 + 47 * 2_000


async def test_a_deployed_model_stands_in_the_path_alone(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [watsonx("deployment/dep-1", provider_params={})]) as gateway:
        signed_in(gateway)
        gateway.upstream.reply_to("/ml/v1/deployments/dep-1/text/chat", FakeReply.json(REPLY))
        assert (await gateway.ask()).status == 200
        assert gateway.upstream.requests[1].json() == {"messages": [{"role": "user", "content": "Say hello."}]}


def test_address_payer_and_key_come_from_variables_too(wire: Any) -> None:
    environment = {"WATSONX_REGION": "eu-de", "WATSONX_SPACE_ID": "s-1", "WATSONX_TOKEN": "eyJ"}
    out = wire(registry.find("watsonx"), environment=environment)
    assert out.url == "https://eu-de.ml.cloud.ibm.com/ml/v1/text/chat?version=2025-10-01"
    assert out.headers == {"authorization": "Bearer eyJ"}
    with pytest.raises(MissingSetting, match="WATSONX_PROJECT_ID"):
        wire(registry.find("watsonx"), environment={"WATSONX_REGION": "eu-de", "WATSONX_TOKEN": "eyJ"})
    with pytest.raises(MissingSetting, match="a key"):
        wire(registry.find("watsonx"), environment={"WATSONX_REGION": "eu-de", "WATSONX_SPACE_ID": "s-1"})


def test_an_installation_s_own_key_needs_no_exchange(wire: Any) -> None:
    settings = {"project_id": "p", "zen_api_key": Secret("dXNlcjprZXk=")}
    out = wire(registry.find("watsonx"), api_base="https://cpd.example", provider_params=settings)
    assert out.headers == {"authorization": "ZenApiKey dXNlcjprZXk="}
    assert out.url == "https://cpd.example/ml/v1/text/chat?version=2025-10-01"
    provider: Any = registry.find("watsonx")
    assert provider.signer(watsonx(provider_params=settings), {}) is None


async def test_a_refused_key_is_told_in_ibm_s_word(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [watsonx()], config=Config()) as gateway:
        said = {"errorCode": "BXNIM0415E", "errorMessage": "Provided API key ibm-key could not be found."}
        gateway.upstream.reply_to(IAM, FakeReply.json(said, status=400))
        answer = await gateway.ask()
        assert answer.status == 503
        assert "BXNIM0415E" in answer.json()["error"]["message"]
        assert b"ibm-key" not in answer.body


async def test_what_the_model_refuses_is_told(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [watsonx()]) as gateway:
        signed_in(gateway)
        said = {
            "errors": [{"code": "model_not_supported", "message": "Model 'x' is not supported"}],
            "trace": "t",
            "status_code": 404,
        }
        gateway.upstream.reply_to("/ml/v1/text/chat", FakeReply.json(said, status=404))
        answer = await gateway.ask()
        assert answer.status == 404
        assert answer.json()["error"]["message"] == "Model 'x' is not supported"
