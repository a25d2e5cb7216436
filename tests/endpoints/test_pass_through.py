from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2 as httpx
import msgspec
import openai
import pytest
from msgspec.structs import replace

from tollway.calls import Secret, Usage
from tollway.config.settings import Config, ModelEntry
from tollway.endpoints.pass_through import FAMILIES, find
from tollway.testing import Cut, FakeReply
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply

VARIABLES = {
    "ANTHROPIC_API_KEY": "sk-ant-env",
    "OPENAI_API_KEY": "sk-openai-env",
    "GEMINI_API_KEY": "gemini-env",
    "COHERE_API_KEY": "cohere-env",
    "MISTRAL_API_KEY": "mistral-env",
    "AZURE_API_KEY": "azure-env",
    "AZURE_API_BASE": "http://azure.example",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock-env",
    "AWS_REGION": "us-east-1",
}
CONFIG = Config(environment={name: Secret(value) for name, value in VARIABLES.items()})
ANOTHER = "sk-another-key-of-these-tests"


@pytest.fixture
async def passing(tmp_path: Path) -> AsyncIterator[SmallGateway]:
    async with SmallGateway(tmp_path, config=CONFIG) as small:
        yield small


async def ask(
    gateway: SmallGateway, method: str, path: str, key: str | None = MASTER_KEY, **more: Any
) -> httpx.Response:
    transport = httpx.ASGITransport(app=gateway.app)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= more.pop("headers", {})
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as client:
        return await client.request(method, path, headers=headers, **more)


def openai_sdk(gateway: SmallGateway, key: str, base: str = "/openai/v1") -> openai.AsyncOpenAI:
    http_client = httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway.app))
    return openai.AsyncOpenAI(
        api_key=key, base_url="http://gateway.example" + base, http_client=http_client, max_retries=0
    )


def anthropic_sdk(gateway: SmallGateway, key: str) -> anthropic.AsyncAnthropic:
    http_client = httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway.app))
    return anthropic.AsyncAnthropic(
        api_key=key, base_url="http://gateway.example/anthropic", http_client=http_client, max_retries=0
    )


# --- where it goes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "host", "path", "greeting"),
    [
        ("/openai/v1/files", "api.openai.com", "/v1/files", ("authorization", "Bearer sk-openai-env")),
        ("/openai/files", "api.openai.com", "/v1/files", ("authorization", "Bearer sk-openai-env")),
        ("/anthropic/v1/models", "api.anthropic.com", "/v1/models", ("x-api-key", "sk-ant-env")),
        (
            "/gemini/v1beta/models",
            "generativelanguage.googleapis.com",
            "/v1beta/models",
            ("x-goog-api-key", "gemini-env"),
        ),
        ("/cohere/v1/models", "api.cohere.com", "/v1/models", ("authorization", "Bearer cohere-env")),
        ("/mistral/v1/models", "api.mistral.ai", "/v1/models", ("authorization", "Bearer mistral-env")),
        ("/azure/openai/files?api-version=v", "azure.example", "/openai/files", ("api-key", "azure-env")),
    ],
)
async def test_a_path_goes_to_its_provider_with_the_gateways_key(
    passing: SmallGateway, asked: str, host: str, path: str, greeting: tuple[str, str]
) -> None:
    passing.upstream.reply_to(None, FakeReply.json({"data": []}))
    answer = await ask(passing, "GET", asked, headers={"cookie": "a=b", "x-forwarded-for": "1.2.3.4"})
    assert answer.status_code == 200
    (sent,) = passing.upstream.requests
    assert (sent.method, sent.origin.host, sent.path, sent.body) == ("GET", host, path, b"")
    assert sent.headers[greeting[0]] == greeting[1]
    assert MASTER_KEY not in str(sent.headers)
    assert not {"cookie", "x-forwarded-for"} & sent.headers.keys()
    (record,) = await passing.records()
    assert (record.call_type, record.status_code, record.cost.total, record.cost_known) == (
        "pass_through_endpoint",
        200,
        0,
        True,
    )


async def test_a_configured_key_goes_before_a_variables_and_an_own_address_before_others(tmp_path: Path) -> None:
    entries = [
        ModelEntry("elsewhere", "openai/m", api_key=Secret("sk-elsewhere"), api_base="http://other.example/v1"),
        ModelEntry("all", "openai/*", api_key=Secret("sk-configured")),
    ]
    async with SmallGateway(tmp_path, entries, config=CONFIG) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json({"data": []}))
        await ask(gateway, "GET", "/openai/v1/files")
        await gateway.app.reload(replace(gateway.config, models=tuple(entries[:1])))
        await ask(gateway, "GET", "/openai/v1/files")
        await gateway.app.reload(replace(gateway.config, models=tuple(entries[:1]), environment={}))
        await ask(gateway, "GET", "/openai/v1/files")
    said = [(sent.origin.host, sent.headers["authorization"]) for sent in gateway.upstream.requests]
    assert said == [
        ("api.openai.com", "Bearer sk-configured"),
        ("api.openai.com", "Bearer sk-openai-env"),
        ("other.example", "Bearer sk-elsewhere"),
    ]


async def test_a_provider_without_a_key_is_not_asked_and_what_is_missing_is_said(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path) as gateway:
        answer = await ask(gateway, "GET", "/anthropic/v1/models")
        assert answer.status_code == 503
        assert "ANTHROPIC_API_KEY" in answer.json()["error"]["message"]
        assert gateway.upstream.requests == []


async def test_query_and_bytes_pass_but_for_keys(passing: SmallGateway) -> None:
    passing.upstream.reply_to(None, FakeReply.json(b'{ "data" : [ ] }'))
    answer = await ask(passing, "GET", "/openai/v1/files?purpose=batch&key=sk-mine&limit=5&api_key=x")
    assert passing.upstream.requests[0].query == {"purpose": ["batch"], "limit": ["5"]}
    assert answer.content == b'{ "data" : [ ] }'


async def test_clients_of_google_may_show_their_key_in_the_query(passing: SmallGateway) -> None:
    passing.upstream.reply_to(None, FakeReply.json({"models": []}))
    key = await passing.make_key()
    assert (await ask(passing, "GET", f"/gemini/v1beta/models?key={key}", key=None)).status_code == 200
    assert passing.upstream.requests[0].query == {}
    assert (await ask(passing, "GET", f"/openai/v1/files?key={key}", key=None)).status_code == 401
    said = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    passing.upstream.reply_to(None, chat_reply())
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    answer = await ask(passing, "POST", f"/v1beta/models/small:generateContent?key={key}", key=None, json=body)
    assert answer.status_code == 200, said


@pytest.mark.parametrize(
    "header",
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "ocp-apim-subscription-key"],
)
@pytest.mark.parametrize("path", ["/anthropic/v1/models", "/openai/v1/files", "/gemini/v1beta/models", "/bedrock/x"])
async def test_every_sdks_own_header_opens_every_family(passing: SmallGateway, header: str, path: str) -> None:
    passing.upstream.reply_to(None, FakeReply.json({"data": []}))
    answer = await ask(passing, "GET", path, key=None, headers={header: MASTER_KEY})
    assert answer.status_code == (404 if path == "/bedrock/x" else 200)
    assert (await ask(passing, "GET", path, key=None)).status_code == 401


# --- what is passed on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/openai/v1/organization/admin_api_keys"),
        ("GET", "/openai/v1/organization/usage/completions"),
        ("GET", "/openai/v1/files/../organization/users"),
        ("GET", "/openai/v1/files/%2e%2e/organization"),
        ("GET", "/openai/v1/files/a%2fcontent%3fx"),
        ("GET", "/anthropic/v1/organizations/api_keys"),
        ("POST", "/anthropic/v1/skills"),
        ("POST", "/bedrock/guardrail/x/version/1/apply"),
        ("GET", "/vertex_ai/v1/projects/p/locations/l/endpoints"),
        ("POST", "/mistral/v1/fine_tuning/jobs"),
    ],
)
async def test_what_is_not_on_the_list_is_not_passed_on(passing: SmallGateway, method: str, path: str) -> None:
    answer = await ask(passing, method, path, json={} if method == "POST" else None)
    assert answer.status_code == 404
    assert "is not passed on" in answer.text
    assert passing.upstream.requests == []


async def test_another_method_than_those_of_the_list_is_a_405(passing: SmallGateway) -> None:
    answer = await ask(passing, "PUT", "/openai/v1/files")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_no_line_of_a_list_reaches_what_an_accounts_owner_does() -> None:
    for family in FAMILIES.values():
        for rule in family.rules:
            assert not any(word in rule.path.pattern for word in ("organi", "admin", "usage", "keys", "users"))


@pytest.mark.parametrize("path", ["/openai", "/v1/files", "/files", "/openaix/v1/files"])
def test_other_paths_are_no_families(path: str) -> None:
    assert find("GET", path) is None


async def test_what_the_gateway_does_itself_stays_its_own(passing: SmallGateway) -> None:
    passing.upstream.reply_to(None, chat_reply())
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    for path in ("/openai/v1/chat/completions", "/openai/chat/completions"):
        assert (await ask(passing, "POST", path, json=body)).status_code == 200
    assert (await ask(passing, "POST", "/anthropic/v1/messages", json={**body, "max_tokens": 5})).status_code == 200
    assert {sent.origin.host for sent in passing.upstream.requests} == {"provider.example"}
    assert "pass_through_endpoint" not in {record.call_type for record in await passing.records()}


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_a_providers_refusal_keeps_its_status_and_its_words(passing: SmallGateway, status: int) -> None:
    said = {"type": "error", "error": {"type": "not_found_error", "message": "there is none such"}}
    passing.upstream.reply_to(None, FakeReply.json(said, status=status))
    answer = await ask(passing, "GET", "/anthropic/v1/models/none")
    assert answer.status_code == status
    assert answer.json()["type"] == "error"
    assert "there is none such" in answer.json()["error"]["message"]
    assert len(passing.upstream.requests) == 1  # what was sent once may have been done


# --- whose things --------------------------------------------------------------------------------------------------

FILE = {"id": "file-1", "object": "file", "bytes": 2, "created_at": 1, "filename": "a", "purpose": "batch"}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "completed",
    "created_at": 1,
    "output_file_id": "file-out",
}


async def test_files_and_batches_are_their_makers_alone(passing: SmallGateway) -> None:
    mine, other = await passing.make_key(), await passing.make_key(ANOTHER)
    up = passing.upstream
    up.reply_to("/v1/files", FakeReply.json(FILE), method="POST")
    up.reply_to("/v1/files/file-1", FakeReply.json(FILE))
    up.reply_to(
        "/v1/files/file-out/content", FakeReply.stream(b'{"a":', b"1}\n", content_type="application/octet-stream")
    )
    up.reply_to("/v1/batches", FakeReply.json({**BATCH, "output_file_id": None}), method="POST")
    up.reply_to("/v1/batches/batch_1", FakeReply.json(BATCH))
    up.reply_to("/v1/files", FakeReply.json({"object": "list", "data": [{**FILE, "id": "file-0"}, FILE]}), method="GET")
    ask_for_batch: Any = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    async with openai_sdk(passing, mine) as client, openai_sdk(passing, other) as stranger:
        assert (await client.files.create(file=("a", b"{}"), purpose="batch")).id == "file-1"
        assert (await client.files.retrieve("file-1")).id == "file-1"
        assert (await client.batches.create(**ask_for_batch)).id == "batch_1"
        assert [file.id for file in (await client.files.list()).data] == ["file-1"]
        assert (await stranger.files.list()).data == []
        sent = len(up.requests)
        for forbidden in (
            stranger.files.retrieve("file-1"),
            stranger.files.delete("file-1"),
            stranger.files.content("file-1"),
            stranger.batches.create(**ask_for_batch),
            stranger.batches.retrieve("batch_1"),
            stranger.batches.cancel("batch_1"),
            client.files.content("file-out"),  # not known yet to be his
            client.files.retrieve("file-0"),
        ):
            with pytest.raises(openai.NotFoundError):
                await forbidden
        assert len(up.requests) == sent
        await client.batches.retrieve("batch_1")
        assert (await client.files.content("file-out")).content == b'{"a":1}\n'
        with pytest.raises(openai.NotFoundError):
            await stranger.files.content("file-out")
    assert (await ask(passing, "GET", "/openai/v1/files/file-1")).status_code == 200  # an administrator's to see
    assert [file["id"] for file in (await ask(passing, "GET", "/openai/v1/files")).json()["data"]] == [
        "file-0",
        "file-1",
    ]


async def test_a_team_shares_what_its_keys_make(passing: SmallGateway) -> None:
    mine, mate = await passing.make_key(team_id="t"), await passing.make_key(ANOTHER, team_id="t")
    passing.upstream.reply_to("/v1/messages/batches", FakeReply.json({"id": "msgbatch_1"}))
    passing.upstream.reply_to(
        "/v1/messages/batches/msgbatch_1/results", FakeReply.stream(b"{}\n", content_type="text/plain")
    )
    made = await ask(passing, "POST", "/anthropic/v1/messages/batches", key=mine, json={"requests": []})
    assert made.status_code == 200
    assert (await ask(passing, "GET", "/anthropic/v1/messages/batches/msgbatch_1/results", key=mate)).content == b"{}\n"


async def test_whose_things_they_are_is_known_after_a_restart_and_by_other_workers(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=CONFIG) as first:
        key = await first.make_key()
        first.upstream.reply_to(None, FakeReply.json(FILE))
        assert (await ask(first, "POST", "/openai/v1/files", key=key, files={"file": b"{}"})).status_code == 200
    async with SmallGateway(tmp_path, config=CONFIG) as second:
        await second.make_key()
        second.upstream.reply_to(None, FakeReply.json(FILE))
        assert (await ask(second, "GET", "/openai/v1/files/file-1", key=key)).status_code == 200
        assert (await ask(second, "GET", "/openai/v1/files/file-2", key=key)).status_code == 404
    written = (tmp_path / "owned.notes").read_bytes()
    assert len(written) == 32
    assert b"file-1" not in written


async def test_files_named_deep_in_a_body_count(passing: SmallGateway) -> None:
    key = await passing.make_key()
    inner = [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]
    answer = await ask(passing, "POST", "/azure/openai/responses", key=key, json={"model": "gpt-4o", "input": inner})
    assert answer.status_code == 404
    assert passing.upstream.requests == []


# --- money ---------------------------------------------------------------------------------------------------------


async def test_what_a_batch_will_cost_is_not_known_so_that_budgeted_keys_are_refused(passing: SmallGateway) -> None:
    budgeted, free = await passing.make_key(max_budget_nano=10**12), await passing.make_key(ANOTHER)
    passing.upstream.reply_to(None, FakeReply.json({"id": "msgbatch_1"}))
    async with anthropic_sdk(passing, budgeted) as client:
        with pytest.raises(anthropic.BadRequestError, match="cannot be known beforehand"):
            await client.messages.batches.create(requests=[])
    assert passing.upstream.requests == []
    assert (await ask(passing, "POST", "/anthropic/v1/messages/batches", key=free, json={})).status_code == 200
    assert (await ask(passing, "GET", "/anthropic/v1/models", key=budgeted)).status_code == 200
    refused, made, read = await passing.records()
    assert [refused.status_code, made.cost_known, read.cost_known] == [400, False, True]


async def test_an_administrator_may_let_budgeted_keys_in(tmp_path: Path) -> None:
    entry = ModelEntry("claude", "anthropic/claude-opus-4-6", api_key=Secret("sk-ant"), unpriced_allowed=True)
    async with SmallGateway(tmp_path, [entry]) as gateway:
        key = await gateway.make_key(max_budget_nano=1)
        gateway.upstream.reply_to(None, FakeReply.json({"id": "msgbatch_1"}))
        assert (await ask(gateway, "POST", "/anthropic/v1/messages/batches", key=key, json={})).status_code == 200


COHERE_REPLY = {
    "id": "c-1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
    "usage": {"billed_units": {"input_tokens": 1000, "output_tokens": 100}, "tokens": {"input_tokens": 1200}},
}
COHERE_STREAM = [
    b'event: message-start\ndata: {"type":"message-start","id":"c-1","delta":{"message":{"role":"assistant","content":[]}}}\n\n',
    b'event: content-start\ndata: {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}\n\n',
    b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hi"}}}}\n\n',
    b'event: content-end\ndata: {"type":"content-end","index":0}\n\n',
    (
        b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":'
        b'{"input_tokens":1000,"output_tokens":100},"tokens":{"input_tokens":1200,"output_tokens":100}}}}\n\n'
    ),
]
#: command-r-08-2024: $0.15 and $0.60 for a million tokens.
COHERE_NANO = 1000 * 150 + 100 * 600
ASK_COHERE = {"model": "command-r-08-2024", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


async def test_a_chat_in_a_providers_own_dialect_is_held_and_charged_by_its_usage(passing: SmallGateway) -> None:
    key = await passing.make_key(max_budget_nano=10**9)
    passing.upstream.reply_to("/v2/chat", FakeReply.json(COHERE_REPLY))
    body = msgspec.json.format(msgspec.json.encode({**ASK_COHERE, "unheard_of": 1}), indent=3)
    answer = await ask(
        passing, "POST", "/cohere/v2/chat", key=key, content=body, headers={"content-type": "application/json"}
    )
    assert answer.json() == COHERE_REPLY
    assert passing.upstream.requests[0].body == body
    (record,) = await passing.records()
    assert (record.usage, record.usage_source) == (Usage(input=1000, output=100), "provider")
    assert record.cost.total == COHERE_NANO == passing.account(key).spent
    assert record.held_nano == -(-len(body) // 2) * 150 + 100 * 600
    assert record.model == "command-r-08-2024"
    assert passing.account(key).held == 0


async def test_a_budget_without_room_refuses_before_anything_is_sent(passing: SmallGateway) -> None:
    key = await passing.make_key(max_budget_nano=100 * 600)
    answer = await ask(passing, "POST", "/cohere/v2/chat", key=key, json=ASK_COHERE)
    assert answer.status_code == 422
    assert "Budget has been exceeded" in answer.json()["message"]
    assert passing.upstream.requests == []


async def test_a_model_without_a_price_keeps_budgeted_keys_out(passing: SmallGateway) -> None:
    key = await passing.make_key(max_budget_nano=10**12)
    answer = await ask(passing, "POST", "/cohere/v2/chat", key=key, json={**ASK_COHERE, "model": "unheard-of"})
    assert answer.status_code == 400
    assert "no known price" in answer.json()["message"]


async def test_a_stream_passes_byte_for_byte_and_its_usage_is_charged(passing: SmallGateway) -> None:
    key = await passing.make_key()
    passing.upstream.reply_to("/v2/chat", FakeReply.stream(*COHERE_STREAM))
    answer = await ask(passing, "POST", "/cohere/v2/chat", key=key, json={**ASK_COHERE, "stream": True})
    assert answer.content == b"".join(COHERE_STREAM)
    assert answer.headers["content-type"] == "text/event-stream"
    (record,) = await passing.records()
    assert (record.cost.total, record.streamed, record.usage_source) == (COHERE_NANO, True, "provider")
    assert passing.account(key).spent == COHERE_NANO


async def test_a_stream_that_breaks_is_charged_for_what_was_seen(passing: SmallGateway) -> None:
    passing.upstream.reply_to("/v2/chat", FakeReply.stream(*COHERE_STREAM[:3], Cut()))
    exchange = passing.begin(
        path="/cohere/v2/chat",
        body=msgspec.json.encode({**ASK_COHERE, "stream": True}),
        headers={"content-type": "application/json"},
    )
    answer = await exchange.done()
    assert not answer.whole
    (record,) = await passing.records()
    assert (record.status_code, record.usage_source) == (502, "estimated")
    assert record.cost.total > 0


async def test_embeddings_of_cohere_are_charged_by_what_is_billed(passing: SmallGateway) -> None:
    said = {"embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 500}}}
    passing.upstream.reply_to("/v2/embed", FakeReply.json(said))
    await ask(passing, "POST", "/cohere/v2/embed", json={"model": "embed-english-v3.0", "texts": ["hi"]})
    (record,) = await passing.records()
    assert (record.usage, record.cost.total) == (Usage(input=500), 500 * 100)


async def test_bedrocks_converse_is_charged_and_its_model_stays_quoted(passing: SmallGateway) -> None:
    said = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30},
    }
    passing.upstream.reply_to(None, FakeReply.json(said))
    key = await passing.make_key(max_budget_nano=10**9)
    model = "anthropic.claude-haiku-4-5-20251001-v1%3A0"
    asked = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 50}}
    answer = await ask(passing, "POST", f"/bedrock/model/{model}/converse", key=key, json=asked)
    assert answer.json() == said
    (sent,) = passing.upstream.requests
    assert (sent.origin.host, sent.path) == ("bedrock-runtime.us-east-1.amazonaws.com", f"/model/{model}/converse")
    assert sent.headers["authorization"] == "Bearer bedrock-env"
    (record,) = await passing.records()
    assert record.cost.total == 10 * 1000 + 20 * 5000
    assert record.held_nano > 50 * 5000


async def test_invoked_models_tell_their_usage_in_headers(passing: SmallGateway) -> None:
    counts = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "9"}
    passing.upstream.reply_to(None, FakeReply.json({"generation": "Hi"}, headers=counts))
    answer = await ask(passing, "POST", "/bedrock/model/meta.llama3-8b-instruct-v1:0/invoke", json={"prompt": "hi"})
    assert answer.status_code == 200
    (record,) = await passing.records()
    assert (record.usage, record.usage_source) == (Usage(input=7, output=9), "provider")
    assert record.cost.total > 0


async def test_claude_on_vertex_goes_to_the_configured_project(tmp_path: Path) -> None:
    entry = ModelEntry(
        "claude",
        "vertex_ai/claude-opus-4-5",
        api_base="http://vertex.example",
        provider_params={"vertex_project": "ours", "vertex_location": "europe-west1"},
        extra_headers={"authorization": "Bearer token"},
    )
    said = {"id": "msg_1", "type": "message", "usage": {"input_tokens": 10, "output_tokens": 20}, "content": []}
    async with SmallGateway(tmp_path, [entry]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(said))
        path = "/vertex_ai/v1/projects/theirs/locations/us-east5/publishers/anthropic/models/claude-opus-4-5:rawPredict"
        body = {"anthropic_version": "vertex-2023-10-16", "messages": [], "max_tokens": 5}
        answer = await ask(gateway, "POST", path, json=body)
        assert answer.json() == said
        (sent,) = gateway.upstream.requests
        (record,) = await gateway.records()
    place = "/v1/projects/ours/locations/europe-west1/publishers/anthropic/models/claude-opus-4-5:rawPredict"
    assert (sent.path, sent.json()) == (place, body)
    assert record.usage == Usage(input=10, output=20)
    assert record.cost.total > 0


@pytest.mark.parametrize(
    ("path", "sent_to"),
    [
        ("/mistral/v1/chat/completions", "/v1/chat/completions"),
        ("/azure/openai/deployments/gpt-4o/chat/completions", "/openai/deployments/gpt-4o/chat/completions"),
    ],
)
async def test_what_the_gateway_knows_how_to_ask_is_asked_of_that_provider(
    passing: SmallGateway, path: str, sent_to: str
) -> None:
    key = await passing.make_key(max_budget_nano=10**9)
    passing.upstream.reply_to(None, chat_reply())
    body = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 300}
    answer = await ask(passing, "POST", path, key=key, json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"
    assert passing.upstream.requests[0].path == sent_to
    (record,) = await passing.records()
    assert record.usage is not None
    assert (record.usage.output, record.call_type) == (250, "acompletion")
    assert record.cost.total == passing.account(key).spent > 0


async def test_rankings_of_cohere_cost_what_they_cost_elsewhere(passing: SmallGateway) -> None:
    said = {"id": "r", "results": [{"index": 0, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}
    passing.upstream.reply_to("/v2/rerank", FakeReply.json(said))
    asked = {"model": "rerank-v3.5", "query": "q", "documents": ["d"]}
    answer = await ask(passing, "POST", "/cohere/v2/rerank", json=asked)
    assert answer.json()["results"][0]["relevance_score"] == 0.9
    assert (await passing.records())[0].cost.total == 2_000_000


# --- which models --------------------------------------------------------------------------------------------------


async def test_a_key_kept_to_some_models_reaches_these_and_no_others(tmp_path: Path) -> None:
    entry = ModelEntry("mine", "cohere/command-r-08-2024", api_key=Secret("k"))
    async with SmallGateway(tmp_path, [entry], config=CONFIG) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(COHERE_REPLY))
        for models, asked, status in (
            (["mine"], "command-r-08-2024", 200),  # by the gateway's own name for it
            (["command-r-08-2024"], "command-r-08-2024", 200),
            (["command-*"], "command-r7b-12-2024", 200),
            (["cohere/command-r7b-12-2024"], "command-r7b-12-2024", 200),
            (["mine"], "command-r7b-12-2024", 403),
            (["small"], "command-r-08-2024", 403),
        ):
            key = await gateway.make_key(f"sk-a-key-for-{models[0]}-and-{asked}", fields={"models": models})
            answer = await ask(gateway, "POST", "/cohere/v2/chat", key=key, json={**ASK_COHERE, "model": asked})
            assert answer.status_code == status, (models, asked)


async def test_what_names_no_model_has_a_name_to_be_allowed_by(passing: SmallGateway) -> None:
    passing.upstream.reply_to(None, FakeReply.json({"data": []}))
    kept, let_in = (
        await passing.make_key(fields={"models": ["small"]}),
        await passing.make_key(ANOTHER, fields={"models": ["small", "openai/files"]}),
    )
    assert (await ask(passing, "GET", "/openai/v1/files", key=kept)).status_code == 403
    assert (await ask(passing, "GET", "/openai/v1/files", key=let_in)).status_code == 200
    assert (await ask(passing, "GET", "/openai/v1/batches", key=let_in)).status_code == 403


async def test_budgets_of_single_models_count_here_too(tmp_path: Path) -> None:
    entry = ModelEntry("mine", "cohere/command-r-08-2024", api_key=Secret("k"))
    async with SmallGateway(tmp_path, [entry]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json(COHERE_REPLY))
        limits = {"model_budgets": {"mine": (10_000, "1d")}}
        key = await gateway.make_key(fields=limits)
        answer = await ask(gateway, "POST", "/cohere/v2/chat", key=key, json=ASK_COHERE)
        assert answer.status_code == 422, answer.text
        assert gateway.upstream.requests == []


async def test_responses_on_azure_stream_are_charged_and_belong_to_their_maker(passing: SmallGateway) -> None:
    mine, other = await passing.make_key(), await passing.make_key(ANOTHER)
    done = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "model": "gpt-4o"}
    used = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    events = [
        ("response.created", {"response": {**done, "status": "in_progress"}}),
        ("response.output_text.delta", {"item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hi"}),
        ("response.completed", {"response": {**done, "usage": used}}),
    ]
    stream = [
        b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, "sequence_number": n, **more}))
        for n, (kind, more) in enumerate(events)
    ]
    passing.upstream.reply_to("/openai/responses", FakeReply.stream(*stream))
    passing.upstream.reply_to("/openai/responses/resp_1", FakeReply.json(done))
    body = {"model": "gpt-4o", "input": "hi", "stream": True}
    answer = await ask(passing, "POST", "/azure/openai/responses?api-version=v", key=mine, json=body)
    assert answer.content == b"".join(stream)
    (record,) = await passing.records()
    assert (record.usage, record.request_id) == (Usage(input=10, output=20), "resp_1")
    assert record.cost.total == 10 * 2500 + 20 * 10_000
    assert (await ask(passing, "GET", "/azure/openai/responses/resp_1", key=mine)).status_code == 200
    assert (await ask(passing, "GET", "/azure/openai/responses/resp_1", key=other)).status_code == 404
    assert (await ask(passing, "DELETE", "/azure/openai/responses/resp_1", key=other)).status_code == 404


async def test_a_stream_of_claude_on_bedrock_passes_in_its_frames(passing: SmallGateway) -> None:
    frames = b"".join(frame(event) for event in CLAUDE_EVENTS)
    stream = FakeReply.stream(frames[:50], frames[50:], content_type="application/vnd.amazon.eventstream")
    passing.upstream.reply_to(None, stream)
    path = "/bedrock/model/anthropic.claude-haiku-4-5-20251001-v1:0/invoke-with-response-stream"
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": []}
    answer = await ask(passing, "POST", path, json=body)
    assert answer.content == frames
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    (record,) = await passing.records()
    assert (record.usage, record.request_id) == (Usage(input=10, output=6), "msg_1")
    assert record.cost.total == 10 * 1000 + 6 * 5000


CLAUDE_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 10, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}},
    {"type": "message_stop"},
]


def frame(event: dict[str, Any]) -> bytes:
    """One of Amazon's frames around an event of Anthropic's."""
    payload = msgspec.json.encode({"bytes": base64.b64encode(msgspec.json.encode(event)).decode()})
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + len(value).to_bytes(2, "big") + value
        for name, value in ((b":message-type", b"event"), (b":event-type", b"chunk"))
    )
    start = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    start += zlib.crc32(start).to_bytes(4, "big")
    whole = start + headers + payload
    return whole + zlib.crc32(whole).to_bytes(4, "big")
