from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from openai import AsyncOpenAI
from websockets.asyncio.server import ServerConnection

from tollway.cli.flags import Flags
from tollway.cli.server import uvicorn_config
from tollway.endpoints.realtime import PATHS
from tollway.operations.realtime import HELD_IN, HELD_OUT
from tollway.testing.gateway import MASTER_KEY, PROVIDER_KEY, SmallGateway, model_entry
from tollway.testing.upstream import FakeReply

from .talking import Client, Provider, connect, respond, say, talker, usage

#: What `usage()` costs at RATES: 10 text and 100 sound in, 20 text and 200 sound out.
TURN_NANO = 10 * 4 + 100 * 32 + 20 * 16 + 200 * 64
#: What a turn at its beginning holds.
HELD_NANO = HELD_IN * 32 + HELD_OUT * 64
SECOND_OF_SOUND = base64.b64encode(bytes(48_000)).decode()
SESSION_OF_PCM = {
    "type": "session.created",
    "session": {"audio": {"input": {"format": {"type": "audio/pcm"}}, "output": {"format": {"type": "audio/pcm"}}}},
}


async def ask(client: Client) -> Any:
    client.say({"type": "response.create"})
    return await client.hear("response.done", "error")


# --- what passes ---------------------------------------------------------------------------------------------------


async def test_events_pass_both_ways_as_they_are(talking: SmallGateway, provider: Provider) -> None:
    client = connect(talking)
    assert (await client.hear())["type"] == "session.created"
    update = {"type": "session.update", "session": {"instructions": "Speak slowly.", "unheard_of": [1, {"a": None}]}}
    client.say(update)
    done = await ask(client)
    assert done["response"]["usage"] == usage()
    assert provider.heard == [update, {"type": "response.create"}]
    client.leave()
    await client.end()


async def test_the_provider_is_asked_for_its_own_model_with_its_own_key(
    talking: SmallGateway, provider: Provider
) -> None:
    client = connect(talking, headers={"openai-beta": "realtime=v1", "cookie": "a=b", "x-api-key": "sk-mine"})
    await client.hear("session.created")
    (request,) = provider.requests
    assert request.path == "/v1/realtime?model=gpt-realtime"
    assert request.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert request.headers["openai-beta"] == "realtime=v1"
    assert not {"cookie", "x-api-key"} & {name.lower() for name in request.headers}
    client.leave()
    await client.end()


@pytest.mark.parametrize("path", PATHS)
async def test_sessions_are_opened_on_every_path_that_clients_know(talking: SmallGateway, path: str) -> None:
    query = "deployment=talker&api-version=2025-04-01-preview" if path == "/openai/realtime" else "model=talker"
    client = connect(talking, path=path, query=query)
    assert (await client.hear())["type"] == "session.created"
    client.leave()
    await client.end()
    assert (await talking.records())[0].path == path


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("2025-04-01-preview", "/openai/realtime?api-version=2025-04-01-preview&deployment=mine"),
        ("v1", "/openai/v1/realtime?model=mine"),
    ],
)
async def test_azure_is_asked_in_its_own_way(tmp_path: Path, provider: Provider, version: str, path: str) -> None:
    base = f"http://127.0.0.1:{provider.port}"
    entry = talker(provider, provider_model="azure/mine", api_version=version, api_base=base)
    async with SmallGateway(tmp_path, [entry]) as gateway:
        client = connect(gateway)
        await client.hear("session.created")
        client.leave()
        await client.end()
    assert provider.requests[0].path == path
    assert provider.requests[0].headers["api-key"] == PROVIDER_KEY


async def test_a_token_that_expires_is_fetched_and_shown(tmp_path: Path, provider: Provider) -> None:
    credentials = {"tenant_id": "t", "client_id": "c", "client_secret": "s"}
    base = f"http://127.0.0.1:{provider.port}"
    entry = talker(
        provider,
        provider_model="azure/mine",
        api_version="v1",
        api_base=base,
        api_key=None,
        provider_params=credentials,
    )
    async with SmallGateway(tmp_path, [entry]) as gateway:
        said = {"access_token": "fetched-token", "expires_in": 3600, "token_type": "Bearer"}
        gateway.upstream.reply_to("/t/oauth2/v2.0/token", FakeReply.json(said))
        client = connect(gateway)
        await client.hear("session.created")
        client.leave()
        await client.end()
    assert provider.requests[0].headers["authorization"] == "Bearer fetched-token"
    assert "api-key" not in provider.requests[0].headers


async def test_a_browser_may_put_its_key_into_a_subprotocol(talking: SmallGateway, provider: Provider) -> None:
    key = await talking.make_key()
    offered = ("realtime", f"openai-insecure-api-key.{key}", "openai-beta.realtime-v1")
    client = connect(talking, key=None, subprotocols=offered)
    await client.hear("session.created")
    assert client.accepted is not None
    assert client.accepted["subprotocol"] == "realtime"  # and not the one that holds the key
    assert provider.requests[0].headers["openai-beta"] == "realtime=v1"
    client.leave()
    await client.end()
    assert (await talking.records())[0].key is not None


# --- who may come in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "word"),
    [
        ({"key": None}, 401, "No api key"),
        ({"key": "sk-unknown"}, 401, "Invalid proxy server token"),
        ({"query": ""}, 400, "model parameter"),
        ({"query": "model=nobody"}, 400, "nobody"),
    ],
)
async def test_who_may_not_come_in_gets_a_plain_answer(
    talking: SmallGateway, provider: Provider, asked: dict[str, Any], status: int, word: str
) -> None:
    client = await connect(talking, **asked).end()
    assert client.accepted is None
    assert client.status == status
    assert word in msgspec.json.decode(client.body)["error"]["message"]
    assert provider.requests == []


async def test_a_model_that_the_key_may_not_call_is_not_opened(talking: SmallGateway, provider: Provider) -> None:
    key = await talking.make_key(fields={"models": ["small"]})
    client = await connect(talking, key=key).end()
    assert (client.status, provider.requests) == (403, [])
    (record,) = await talking.records()
    assert (record.status_code, record.cost.total) == (403, 0)


async def test_a_provider_that_offers_no_sessions_is_not_asked(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [model_entry("talker", provider_model="anthropic/claude-opus-4-6")]) as gateway:
        client = await connect(gateway).end()
        assert client.status == 400
        assert b"does not offer realtime sessions" in client.body


async def test_a_provider_that_refuses_is_told_in_plain_words_and_written_down(
    talking: SmallGateway, provider: Provider
) -> None:
    provider.refusal = (404, b'{"error": {"message": "no such model", "type": "invalid_request_error"}}')
    client = await connect(talking).end()
    assert client.accepted is None
    assert client.status == 404
    assert b"no such model" in client.body
    (record,) = await talking.records()
    assert (record.status_code, record.cost.total, record.call_type) == (404, 0, "_arealtime")


async def test_a_refused_account_of_ours_is_never_the_clients_401(talking: SmallGateway, provider: Provider) -> None:
    provider.refusal = (401, b'{"error": {"message": "Incorrect API key provided: sk-of-the-provider"}}')
    client = await connect(talking).end()
    assert client.status == 503


async def test_another_deployment_is_tried_before_the_client_is_let_in(tmp_path: Path, provider: Provider) -> None:
    dead = talker(provider, api_base="http://127.0.0.1:9/v1", order=1, place="dead")
    async with SmallGateway(tmp_path, [dead, talker(provider, order=2)]) as gateway:
        client = connect(gateway)
        await client.hear("session.created")
        client.leave()
        await client.end()
        (record,) = await gateway.records()
    assert (record.retries, len(record.attempts)) == (1, 2)


# --- money ---------------------------------------------------------------------------------------------------------


async def test_each_response_is_a_row_with_its_own_usage_and_charge(talking: SmallGateway, provider: Provider) -> None:
    key = await talking.make_key(max_budget_nano=10 * HELD_NANO)
    client = connect(talking, key=key)
    await ask(client)
    assert talking.account(key).spent == TURN_NANO
    provider.usage = usage(cached=300, audio_in=7)
    await ask(client)
    client.leave()
    await client.end()
    first, second, tail = await talking.records()
    assert [first.cost.total, tail.cost.total] == [TURN_NANO, 0]
    assert second.cost.total == 300 * 1 + 10 * 4 + 7 * 32 + 20 * 16 + 200 * 64
    assert (first.usage.input, first.usage.audio_in, first.usage.output, first.usage.audio_out) == (10, 100, 20, 200)
    assert second.usage.cache_read == 300
    assert {row.session_id for row in (first, second, tail)} == {first.session_id}
    assert (first.request_id, first.model_group, first.provider, first.status_code) == (
        "resp_1",
        "talker",
        "openai",
        200,
    )
    assert first.held_nano == HELD_NANO
    assert not first.over_hold
    account = talking.account(key)
    assert (account.spent, account.held) == (first.cost.total + second.cost.total, 0)


async def test_a_response_is_written_down_before_its_client_sees_it(talking: SmallGateway) -> None:
    client = connect(talking)
    await ask(client)
    assert len(await talking.records()) == 1
    client.leave()
    await client.end()


async def test_a_session_is_not_opened_when_its_budget_has_no_room_for_it(
    talking: SmallGateway, provider: Provider
) -> None:
    key = await talking.make_key(max_budget_nano=HELD_NANO - 1)
    client = await connect(talking, key=key).end()
    assert client.status == 422
    assert msgspec.json.decode(client.body)["error"]["type"] == "budget_exceeded"
    assert provider.requests == []


async def test_a_session_ends_when_its_budget_is_used_up(talking: SmallGateway, provider: Provider) -> None:
    key = await talking.make_key(max_budget_nano=HELD_NANO + TURN_NANO)
    client = connect(talking, key=key)
    await ask(client)  # what is left is one hold but for what the conversation counts by now
    error = await client.hear("error")
    assert error["error"]["type"] == "budget_exceeded"
    assert "Budget has been exceeded" in error["error"]["message"]
    await client.end()
    assert (client.code, client.reason) == (1008, "budget_exceeded")
    account = talking.account(key)
    assert (account.spent, account.held) == (TURN_NANO, 0)
    answered, refused = await talking.records()
    assert (answered.status_code, answered.cost.total) == (200, TURN_NANO)
    assert (refused.status_code, refused.cost.total) == (422, 0)


async def test_what_is_said_beyond_a_minute_is_held_for_first(talking: SmallGateway, provider: Provider) -> None:
    async def listen(session: ServerConnection) -> None:
        await say(session, SESSION_OF_PCM)
        async for message in session:
            provider.heard.append(message)

    provider.script = listen
    key = await talking.make_key(max_budget_nano=HELD_NANO + HELD_IN * 32)
    client = connect(talking, key=key)
    await client.hear("session.created")
    for _ in range(60):
        client.say({"type": "input_audio_buffer.append", "audio": SECOND_OF_SOUND})
    client.say({"type": "input_audio_buffer.append", "audio": SECOND_OF_SOUND})
    client.say({"type": "ping"})
    while len(provider.heard) < 62:
        await asyncio.sleep(0)
    assert talking.account(key).held == HELD_NANO + HELD_IN * 32  # the next minute of what comes in
    for _ in range(61):
        client.say({"type": "input_audio_buffer.append", "audio": SECOND_OF_SOUND})
    error = await client.hear("error")
    assert error["error"]["type"] == "budget_exceeded"
    await client.end()
    assert len(provider.heard) < 62 + 61  # not all of it went on
    assert talking.account(key).held == 0


async def test_a_response_longer_than_a_minute_is_held_for_as_it_comes(
    talking: SmallGateway, provider: Provider
) -> None:
    async def talk(session: ServerConnection) -> None:
        await say(session, SESSION_OF_PCM)
        await say(session, {"type": "response.created", "response": {"id": "resp_1"}})
        for _ in range(90):
            await say(session, {"type": "response.output_audio.delta", "delta": SECOND_OF_SOUND})
        await session.wait_closed()

    provider.script = talk
    key = await talking.make_key(max_budget_nano=HELD_NANO)
    client = connect(talking, key=key)
    assert (await client.hear("error"))["error"]["type"] == "budget_exceeded"
    await client.end()
    (record,) = await talking.records()
    assert (record.status_code, record.usage_source) == (422, "estimated")
    assert 60 * 20 * 64 <= record.cost.total <= 62 * 20 * 64  # what was spoken is charged
    assert talking.account(key).held == 0


async def test_a_price_that_is_not_known_keeps_budgeted_keys_out(tmp_path: Path, provider: Provider) -> None:
    async with SmallGateway(tmp_path, [talker(provider, provider_model="openai/unheard-of", prices={})]) as gateway:
        key = await gateway.make_key(max_budget_nano=10**9)
        client = await connect(gateway, key=key).end()
        assert client.status == 400
        assert b"no known price" in client.body
        free = await gateway.make_key("sk-without-a-budget-at-all")
        client = connect(gateway, key=free)
        await ask(client)
        client.leave()
        await client.end()
        assert [record.cost_known for record in await gateway.records()][1:2] == [False]


async def test_a_response_without_usage_is_charged_by_what_was_heard(talking: SmallGateway, provider: Provider) -> None:
    provider.usage = None
    client = connect(talking)
    await ask(client)
    client.leave()
    await client.end()
    first, _ = await talking.records()
    assert first.usage_source == "estimated"
    assert first.usage.output == 2  # "Hello" with its quotes
    assert first.cost.total > 0


async def test_what_is_heard_may_be_written_down_at_a_price_of_its_own(
    talking: SmallGateway, provider: Provider
) -> None:
    async def talk(session: ServerConnection) -> None:
        transcription = {"input_audio_transcription": {"model": "whisper-1"}}
        await say(session, {"type": "session.updated", "session": transcription})
        done = "conversation.item.input_audio_transcription.completed"
        await say(session, {"type": done, "transcript": "Hi", "usage": {"type": "duration", "seconds": 2.0}})
        await respond(session, usage())
        await session.wait_closed()

    provider.script = talk
    client = connect(talking)
    await client.hear("response.done")
    client.leave()
    await client.end()
    record = (await talking.records())[0]
    assert record.cost.total == TURN_NANO + 200_000  # whisper-1: a hundredth of a cent for a second
    assert len(record.attempts) == 2


async def test_a_deployments_own_budget_and_pace_hold_its_sessions_too(tmp_path: Path, provider: Provider) -> None:
    pair = [talker(provider, id="first", parallel_max=1, order=1), talker(provider, id="second", order=2)]
    async with SmallGateway(tmp_path, pair) as gateway:
        one, two = connect(gateway), connect(gateway)
        for client in (one, two):
            await client.hear("session.created")
        for client in (one, two):
            client.leave()
            await client.end()
        assert {record.deployment_id for record in await gateway.records()} == {"first", "second"}
        three = connect(gateway)
        await three.hear("session.created")
        three.leave()
        await three.end()
        assert (await gateway.records())[-1].deployment_id == "first"  # the place was given back


async def test_keys_are_looked_at_again_with_every_turn(talking: SmallGateway) -> None:
    key = await talking.make_key()
    client = connect(talking, key=key)
    await client.hear("session.created")
    (token,) = talking.app.snapshots.current.keys
    await talking.storage.keys.update(token, {"blocked": True}, now_us=1)
    await talking.app.keys_changed()
    await ask(client)
    error = await client.hear("error")
    assert "blocked" in error["error"]["message"]
    await client.end()
    assert client.code == 1008


async def test_a_session_counts_as_one_call_in_flight(talking: SmallGateway) -> None:
    key = await talking.make_key(parallel_max=1)
    client = connect(talking, key=key)
    await ask(client)
    await ask(client)
    other = await connect(talking, key=key).end()
    assert other.status == 429
    client.leave()
    await client.end()
    assert talking.pace(key).parallel == 0


# --- how it ends ---------------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_in_the_middle_pays_for_what_was_said(
    talking: SmallGateway, provider: Provider
) -> None:
    async def begin(session: ServerConnection) -> None:
        await say(session, {"type": "response.created", "response": {"id": "resp_1"}})
        await say(session, {"type": "response.output_text.delta", "delta": "x" * 400})
        await session.wait_closed()
        provider.closed_with.append(session.close_code)

    provider.script = begin
    client = connect(talking)
    await client.hear("response.output_text.delta")
    client.leave(1001)
    await client.end()
    (record,) = await talking.records()
    assert (record.status_code, record.usage_source) == (499, "estimated")
    assert record.cost.total == 101 * 16
    while not provider.closed_with:
        await asyncio.sleep(0)
    assert provider.closed_with == [1001]


async def test_a_client_that_leaves_between_responses_leaves_an_empty_row(talking: SmallGateway) -> None:
    client = connect(talking)
    await client.hear("session.created")
    client.leave()
    await client.end()
    (record,) = await talking.records()
    assert (record.status_code, record.cost.total, record.path) == (200, 0, "/v1/realtime")


async def test_a_provider_that_breaks_is_told_with_an_event_and_a_code(
    talking: SmallGateway, provider: Provider
) -> None:
    async def break_off(session: ServerConnection) -> None:
        await say(session, {"type": "response.created", "response": {"id": "resp_1"}})
        session.transport.abort()

    provider.script = break_off
    client = connect(talking)
    error = await client.hear("error")
    assert error["error"]["type"] == "upstream_error"
    await client.end()
    assert client.code == 1011
    (record,) = await talking.records()
    assert (record.status_code, record.error_type) == (502, "upstream_error")


@pytest.mark.parametrize(("theirs", "ours"), [(1000, 1000), (4001, 4001), (1011, 1011), (1013, 1011)])
async def test_a_provider_that_closes_says_why(
    talking: SmallGateway, provider: Provider, theirs: int, ours: int
) -> None:
    async def close(session: ServerConnection) -> None:
        await session.close(theirs, "enough")

    provider.script = close
    client = await connect(talking).end()
    assert client.code == ours
    (record,) = await talking.records()
    assert record.status_code == (200 if ours == theirs and theirs != 1011 else 502)


async def test_a_session_in_which_nobody_speaks_ends(tmp_path: Path, provider: Provider) -> None:
    async with SmallGateway(tmp_path, [talker(provider, stream_timeout_s=0.0)]) as gateway:
        client = connect(gateway)
        assert (await client.hear("error"))["error"]["code"] == "session_idle"
        await client.end()
        assert client.code == 1001
        assert (await gateway.records())[0].error_type == "timeout_error"


async def test_a_message_above_the_bound_ends_the_session(talking: SmallGateway, provider: Provider) -> None:
    client = connect(talking)
    await client.hear("session.created")
    client.say(bytes((16 << 20) + 1))
    await client.end()
    assert client.code == 1009
    assert provider.heard == []


# --- a real client on a real server --------------------------------------------------------------------------------


async def test_openais_sdk_holds_a_conversation_over_a_real_server(talking: SmallGateway) -> None:
    config = uvicorn_config(talking.app, Flags())
    config.lifespan = "off"
    config.port = 0
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with (
            AsyncOpenAI(api_key=MASTER_KEY, base_url=f"http://127.0.0.1:{port}/v1") as openai,
            openai.realtime.connect(model="talker") as session,
        ):
            assert (await session.recv()).type == "session.created"
            await session.input_audio_buffer.append(audio=base64.b64encode(bytes(3 << 20)).decode())
            await session.response.create()
            kinds = []
            async for event in session:
                kinds.append(event.type)
                if event.type == "response.done":
                    assert event.response.usage is not None
                    assert event.response.usage.output_tokens == 220
                    break
        assert kinds == ["response.created", "response.output_text.delta", "response.done"]
    finally:
        server.should_exit = True
        await serving
    assert (await talking.records())[0].cost.total == TURN_NANO
