from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from amazon_transcribe.eventstream import EventStreamMessageSerializer
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import UpstreamFailed
from tollway.providers import MissingSetting
from tollway.providers.aws import AwsSigner
from tollway.providers.sagemaker import PayloadUnwrapper, SageMaker
from tollway.testing.gateway import SmallGateway, chat_reply, chat_stream
from tollway.testing.upstream import FakeReply

SSE = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'


def frame(name: str, payload: bytes, kind: str = "event") -> bytes:
    naming = ":event-type" if kind == "event" else ":exception-type"
    headers = {naming: name, ":content-type": "application/octet-stream", ":message-type": kind}
    written: bytes = EventStreamMessageSerializer().serialize(headers, payload)
    return written


def test_an_endpoint_is_the_model_and_stands_in_the_path(wire: Any) -> None:
    out = wire(SageMaker("sagemaker_chat"), model="my-llama", environment={"AWS_REGION": "eu-west-1"})
    assert out.url == "https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/my-llama/invocations"
    assert out.headers == {}
    streamed = SageMaker("sagemaker_chat").chat_path("openai_chat", "my-llama", streaming=True)
    assert streamed == "/endpoints/my-llama/invocations-response-stream"


def test_requests_are_signed_and_a_region_is_needed() -> None:
    provider = SageMaker("sagemaker_chat")
    entry = ModelEntry(model_name="m", provider_model="sagemaker_chat/m")
    assert isinstance(provider.signer(entry, {"AWS_REGION": Secret("us-east-1")}), AwsSigner)
    with pytest.raises(MissingSetting, match="a region"):
        provider.signer(entry, {})


def test_the_body_names_no_model() -> None:
    fields = {"model": Raw(b'"m"'), "messages": Raw(b"[]")}
    SageMaker("sagemaker_chat").envelop("openai_chat", fields, streaming=False)
    assert fields == {"messages": Raw(b"[]")}


@given(cuts=st.lists(st.integers(0, 400), max_size=8), size=st.integers(1, 60))
def test_the_payloads_are_the_stream_however_they_are_cut(cuts: list[int], size: int) -> None:
    whole = b"".join(frame("PayloadPart", SSE[at : at + size]) for at in range(0, len(SSE), size))
    places = sorted(min(cut, len(whole)) for cut in cuts)
    unwrapper = PayloadUnwrapper()
    out = [unwrapper.feed(whole[a:b]) for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
    assert b"".join(out) == SSE


def test_an_exception_in_the_stream_is_raised() -> None:
    thrown = frame("ModelStreamError", json.dumps({"Message": "It broke.", "ErrorCode": "X"}).encode(), "exception")
    with pytest.raises(UpstreamFailed, match="It broke"):
        PayloadUnwrapper().feed(thrown)


async def test_an_openai_client_streams_from_an_endpoint(tmp_path: Path) -> None:
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": Secret("s"), "aws_region_name": "us-east-1"}
    entry = ModelEntry(
        model_name="small",
        provider_model="sagemaker_chat/my-llama",
        provider_params=keys,
        prices={"input_cost_per_token": "0", "output_cost_per_token": "0.000004"},
    )
    async with SmallGateway(tmp_path, [entry]) as gateway:
        whole = b"".join(
            frame("PayloadPart", b"".join(chat_stream("Hello").parts)[at : at + 33]) for at in range(0, 2000, 33)
        )
        gateway.upstream.reply_to(
            None, chat_reply("Hello"), FakeReply.stream(whole, content_type="application/vnd.amazon.eventstream")
        )
        assert (await gateway.ask()).json()["choices"][0]["message"]["content"] == "Hello"
        assert (await gateway.ask(stream=True)).text == "Hello"
        plain, streamed = gateway.upstream.requests
        assert plain.path == "/endpoints/my-llama/invocations"
        assert streamed.path == "/endpoints/my-llama/invocations-response-stream"
        assert "/us-east-1/sagemaker/aws4_request" in streamed.headers["authorization"]
        assert "model" not in streamed.json()
        records = await gateway.records()
        assert [record.cost.total for record in records] == [1_000_000, 1_000_000]
