from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from amazon_transcribe.eventstream import EventStreamMessageSerializer

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError
from tollway.providers import MissingSetting, registry
from tollway.providers.aws import AwsSigner
from tollway.providers.bedrock import model_id
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-1-70b-instruct-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"


def bedrock(model: str = CLAUDE, **changes: Any) -> ModelEntry:
    """A deployment at a fake of Bedrock, reached with an API key where nothing else is said."""
    params = {"aws_region_name": "us-east-1", **changes.pop("provider_params", {})}
    if not any(name.startswith(("aws_access", "aws_secret")) for name in params):
        changes.setdefault("api_key", Secret("bedrock-api-key"))
    prices = {"input_cost_per_token": "0.000003", "output_cost_per_token": "0.000015"}
    return ModelEntry(
        model_name="small", provider_model=f"bedrock/{model}", provider_params=params, prices=prices, **changes
    )


def frame(name: str, payload: Any, kind: str = "event") -> bytes:
    naming = ":event-type" if kind == "event" else ":exception-type"
    headers = {naming: name, ":content-type": "application/json", ":message-type": kind}
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    written: bytes = EventStreamMessageSerializer().serialize(headers, body)
    return written


# --- address and greeting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (CLAUDE, CLAUDE),
        ("us-west-2/anthropic.claude-v2:1", "anthropic.claude-v2:1"),
        ("converse/us-gov-west-1/anthropic.claude-v2:1", "anthropic.claude-v2:1"),
        ("converse_like/meta.llama3", "meta.llama3"),
        ("converse/" + PROFILE, PROFILE),
        (PROFILE, PROFILE),
    ],
)
def test_ways_and_regions_are_no_part_of_a_models_name(written: str, expected: str) -> None:
    assert model_id(written) == expected


@pytest.mark.parametrize(
    ("model", "region"), [("us-west-2/anthropic.claude-v2:1", "us-west-2"), ("converse/" + PROFILE, "eu-west-1")]
)
def test_the_region_in_a_name_is_where_it_is_asked(model: str, region: str) -> None:
    provider: Any = registry.find("bedrock")
    written = ModelEntry(model_name="m", provider_model="bedrock/" + model)
    base = provider.base_url(written, {"AWS_REGION": Secret("us-east-1")})
    assert base == f"https://bedrock-runtime.{region}.amazonaws.com"


def test_an_arn_is_quoted_whole(wire: Any) -> None:
    out = wire(registry.find("bedrock"), model=PROFILE, environment={"AWS_REGION": "eu-west-1"})
    quoted = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fabc123"
    assert out.url == f"https://bedrock-runtime.eu-west-1.amazonaws.com/model/{quoted}/converse"
    assert out.headers == {}  # a signature comes later


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ({"provider_params": {"aws_bedrock_runtime_endpoint": "https://vpce.example/"}}, {}),
        ({"api_base": "https://vpce.example"}, {"AWS_BEDROCK_RUNTIME_ENDPOINT": "https://other.example"}),
        ({}, {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://vpce.example"}),
    ],
)
def test_another_endpoint_needs_no_region(settings: Any, environment: dict[str, str], wire: Any) -> None:
    out = wire(registry.find("bedrock"), model="m", environment=environment, api_key="K", **settings)
    assert out.url == "https://vpce.example/model/m/converse"
    assert out.headers == {"authorization": "Bearer K"}


def test_streams_have_a_path_of_their_own() -> None:
    provider: Any = registry.find("bedrock")
    assert provider.chat_path("bedrock_converse", "m", streaming=True) == "/model/m/converse-stream"
    assert provider.path("embeddings", "m") is None


def test_an_api_key_needs_no_signature_and_written_credentials_need_no_api_key(entry: Any) -> None:
    provider: Any = registry.find("bedrock")
    variables = {"AWS_BEARER_TOKEN_BEDROCK": Secret("K"), "AWS_REGION": Secret("us-east-1")}
    assert provider.key(entry(), variables) == Secret("K")
    assert provider.signer(entry(), variables) is None
    own = entry(provider_params={"aws_access_key_id": "AKIA", "aws_secret_access_key": Secret("s")})
    assert provider.key(own, variables) is None
    assert isinstance(provider.signer(own, variables), AwsSigner)


def test_without_any_credentials_the_machine_itself_is_asked(entry: Any) -> None:
    provider: Any = registry.find("bedrock")
    assert isinstance(provider.signer(entry(), {"AWS_REGION": Secret("us-east-1")}), AwsSigner)
    with pytest.raises(MissingSetting, match="a region"):
        provider.base_url(entry(), {})


@pytest.mark.parametrize("route", ["agent/ABC/DEF", "agentcore/x", "async_invoke/amazon.nova-reel-v1:0"])
def test_a_way_that_is_not_gone_is_refused_at_once(route: str) -> None:
    provider: Any = registry.find("bedrock")
    with pytest.raises(ConfigError, match=route.split("/")[0]):
        provider.at(ModelEntry(model_name="m", provider_model="bedrock/" + route), {})


def test_what_litellm_calls_its_settings_is_understood() -> None:
    assert {"aws_region_name", "aws_role_name", "aws_bedrock_runtime_endpoint"} <= registry.parameters()


# --- through the whole gateway -------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def reply(*content: dict[str, Any], stop: str = "end_turn") -> FakeReply:
    usage = {"inputTokens": 100, "outputTokens": 10, "totalTokens": 110}
    message = {"role": "assistant", "content": list(content)}
    return FakeReply.json(
        {"output": {"message": message}, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 1}}
    )


def stream(*events: tuple[str, dict[str, Any]], stop: str = "end_turn") -> FakeReply:
    usage = {"inputTokens": 100, "outputTokens": 10, "totalTokens": 110}
    whole = b"".join(
        [
            frame("messageStart", {"role": "assistant"}),
            *(frame(name, payload) for name, payload in events),
            frame("messageStop", {"stopReason": stop}),
            frame("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
        ]
    )
    pieces = [whole[at : at + 50] for at in range(0, len(whole), 50)]
    return FakeReply.stream(*pieces, content_type="application/vnd.amazon.eventstream")


def delta(index: int, **said: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": said}


#: 100 tokens in, 10 out, at the prices of `bedrock()`.
COST_NANO = 100 * 3_000 + 10 * 15_000


async def test_an_openai_client_is_answered_over_converse(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock()]) as gateway:
        gateway.upstream.reply_to(None, reply({"text": "Hello"}))
        answer = await gateway.ask(max_tokens=50)
        assert answer.status == 200
        assert answer.json()["choices"][0]["message"]["content"] == "Hello"
        assert answer.json()["model"] == "small"
        (sent,) = gateway.upstream.requests
        assert sent.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
        assert sent.headers["host"] == "bedrock-runtime.us-east-1.amazonaws.com"
        assert sent.headers["authorization"] == "Bearer bedrock-api-key"
        assert sent.json() == {
            "messages": [{"role": "user", "content": [{"text": "Say hello."}]}],
            "inferenceConfig": {"maxTokens": 50},
        }
        (record,) = await gateway.records()
        assert record.cost.total == COST_NANO


async def test_an_openai_client_streams_thought_text_and_calls(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock()]) as gateway:
        gateway.upstream.reply_to(
            None,
            stream(
                delta(0, reasoningContent={"text": "Hm."}),
                delta(0, reasoningContent={"signature": "c2ln"}),
                ("contentBlockStop", {"contentBlockIndex": 0}),
                delta(1, text="Hel"),
                delta(1, text="lo"),
                ("contentBlockStop", {"contentBlockIndex": 1}),
                (
                    "contentBlockStart",
                    {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "look"}}},
                ),
                delta(2, toolUse={"input": '{"a":'}),
                delta(2, toolUse={"input": "1}"}),
                ("contentBlockStop", {"contentBlockIndex": 2}),
                stop="tool_use",
            ),
        )
        answer = await gateway.ask(stream=True, tools=[TOOL])
        assert answer.status == 200
        assert answer.whole
        assert answer.text == "Hello"
        deltas = [choice["delta"] for event in answer.events()[:-1] for choice in event["choices"]]
        assert "".join(piece.get("reasoning_content") or "" for piece in deltas) == "Hm."
        calls = [call for piece in deltas for call in piece.get("tool_calls") or ()]
        assert calls[0]["id"] == "t1"
        assert "".join(call["function"]["arguments"] for call in calls) == '{"a":1}'
        assert answer.events()[-1] == "[DONE]"
        assert gateway.upstream.requests[0].path.endswith("/converse-stream")
        (record,) = await gateway.records()
        assert record.cost.total == COST_NANO


async def test_tools_and_signed_thought_go_round_for_an_anthropic_client(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock(f"converse/{CLAUDE}")]) as gateway:
        gateway.upstream.reply_to(
            None,
            reply(
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"a": 1}}},
                stop="tool_use",
            ),
            reply({"text": "It rains."}),
        )
        asked: dict[str, Any] = {
            "model": "small",
            "max_tokens": 4000,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [{"name": "look", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "How is the weather?"}],
        }
        first = await gateway.ask(path="/v1/messages", body=json.dumps(asked).encode())
        assert first.status == 200
        said = first.json()
        assert said["stop_reason"] == "tool_use"
        assert [block["type"] for block in said["content"]] == ["thinking", "redacted_thinking", "tool_use"]
        assert said["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
        result = {"type": "tool_result", "tool_use_id": "tooluse_1", "content": "Rain", "is_error": True}
        asked["messages"] += [{"role": "assistant", "content": said["content"]}, {"role": "user", "content": [result]}]
        second = await gateway.ask(path="/v1/messages", body=json.dumps(asked).encode())
        assert second.json()["content"] == [{"type": "text", "text": "It rains."}]
        sent = gateway.upstream.requests[1].json()
        assert sent["messages"][1]["content"] == [
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
            {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"a": 1}}},
        ]
        assert sent["messages"][2]["content"] == [
            {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "Rain"}], "status": "error"}}
        ]
        assert sent["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 2000}}
        assert sent["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default"}}


async def test_an_anthropic_client_streams_what_another_model_says(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock(LLAMA)]) as gateway:
        gateway.upstream.reply_to(None, stream(delta(0, text="Hello"), ("contentBlockStop", {"contentBlockIndex": 0})))
        body = {"model": "small", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        answer = await gateway.ask(path="/v1/messages", body=json.dumps(body).encode())
        assert answer.status == 200
        events = [json.loads(event.partition(b"data: ")[2]) for event in answer.body.split(b"\n\n") if event]
        assert [event["type"] for event in events][-1] == "message_stop"
        assert "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta") == "Hello"
        (record,) = await gateway.records()
        assert record.cost.total == COST_NANO


async def test_requests_are_signed_where_keys_were_written(tmp_path: Path) -> None:
    keys = {"aws_access_key_id": Secret("AKIDEXAMPLE"), "aws_secret_access_key": Secret("secret")}
    async with SmallGateway(tmp_path, [bedrock(provider_params=keys)]) as gateway:
        gateway.upstream.reply_to(None, reply({"text": "Hello"}))
        assert (await gateway.ask()).status == 200
        headers = gateway.upstream.requests[0].headers
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert (
            "/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date," in headers["authorization"]
        )


ERRORS = [
    (429, "ThrottlingException", {"retry-after": "7"}, 429),
    (403, "AccessDeniedException", {}, 503),
    (400, "ValidationException", {}, 400),
    (424, "ModelErrorException", {}, 502),
    (500, "InternalServerException", {}, 500),
]


@pytest.mark.parametrize(("status", "name", "more", "expected"), ERRORS)
async def test_errors_reach_the_client_with_their_meaning(
    tmp_path: Path, status: int, name: str, more: dict[str, str], expected: int
) -> None:
    async with SmallGateway(tmp_path, [bedrock(retries=0)]) as gateway:
        failed = FakeReply.json({"message": "No."}, status, {"x-amzn-errortype": name, **more})
        gateway.upstream.reply_to(None, failed)
        answer = await gateway.ask(num_retries=0)
        assert answer.status == expected
        if more:
            assert answer.headers["retry-after"] == "7"
        if status == 403:
            assert "No." not in answer.body.decode()


async def test_a_stream_that_fails_before_it_says_anything_is_asked_elsewhere(tmp_path: Path) -> None:
    entries = [
        bedrock(provider_params={"aws_region_name": region}, order=n)
        for n, region in enumerate(["us-east-1", "us-west-2"], 1)
    ]
    async with SmallGateway(tmp_path, entries) as gateway:
        kind = "application/vnd.amazon.eventstream"
        thrown = frame("throttlingException", {"message": "Too many requests"}, "exception")
        gateway.upstream.reply_to(
            None, FakeReply.stream(thrown, content_type=kind), host="bedrock-runtime.us-east-1.amazonaws.com"
        )
        gateway.upstream.reply_to(
            None,
            stream(delta(0, text="Hello"), ("contentBlockStop", {"contentBlockIndex": 0})),
            host="bedrock-runtime.us-west-2.amazonaws.com",
        )
        answer = await gateway.ask(stream=True)
        assert answer.text == "Hello"
        assert len(gateway.upstream.requests) >= 2


async def test_a_stream_that_breaks_midway_ends_with_an_error_and_is_charged(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [bedrock()]) as gateway:
        pieces = [
            frame("messageStart", {"role": "assistant"}),
            frame(*delta(0, text="Half")),
            frame("modelStreamErrorException", {"message": "The model broke."}, "exception"),
        ]
        gateway.upstream.reply_to(None, FakeReply.stream(*pieces, content_type="application/vnd.amazon.eventstream"))
        answer = await gateway.ask(stream=True)
        assert b"Half" in answer.body
        assert b"The model broke." in answer.body
        assert b"[DONE]" not in answer.body
        (record,) = await gateway.records()
        assert record.cost.total > 0
