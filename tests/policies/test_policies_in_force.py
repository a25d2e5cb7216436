"""What each policy refuses, in LiteLLM's words, and what it lets through: asked from outside, through the whole gateway."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import AccessSettings, BoundSettings, Config, MoneySettings
from tollway.testing.gateway import (
    MASTER_KEY,
    SmallGateway,
    chat_reply,
    model_entry,
)

KEY = "sk-a-key-of-the-small-gateway"
LOCAL = ("127.0.0.1", 40_000)


@pytest.mark.parametrize("key", [KEY, MASTER_KEY], ids=["virtual", "master"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-litellm-api-key", "{}"),
        ("x-litellm-api-key", "Bearer {}"),
        ("Authorization", "Bearer {}"),
        ("Authorization", "bearer {}"),
        ("Authorization", "BEARER {}"),
        ("Authorization", "Basic {}"),
        ("Authorization", "{}"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=Bearer {}/20261122/us-east-1/bedrock/aws4_request, Signature=0"),
        ("api-key", "{}"),
        ("x-api-key", "{}"),
        ("x-goog-api-key", "{}"),
        ("Ocp-Apim-Subscription-Key", "{}"),
    ],
)
async def test_a_key_is_found_wherever_an_sdk_puts_it(gateway: SmallGateway, name: str, value: str, key: str) -> None:
    await gateway.make_key(KEY)
    gateway.upstream.reply_to(None, chat_reply())
    answer = await gateway.ask(key=None, headers={name: value.format(key)})
    assert answer.status == 200
    sent = gateway.upstream.requests[0].headers
    assert not any(key in value for value in sent.values())


async def test_a_key_in_the_query_counts_where_googles_methods_are_called_and_nowhere_else(
    gateway: SmallGateway,
) -> None:
    gateway.upstream.reply_to(None, chat_reply("Hello"))
    query = f"alt=json&key={MASTER_KEY}".encode()
    body = b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}'
    answer = await gateway.ask(key=None, path="/v1beta/models/small:generateContent", query=query, body=body)
    assert answer.json()["candidates"][0]["content"]["parts"][0]["text"] == "Hello"
    assert (await gateway.ask(key=None, query=query)).status == 401
    record = (await gateway.records())[0]
    assert MASTER_KEY not in record.path


async def test_the_gateways_own_header_goes_before_the_others(tmp_path: Path) -> None:
    access = AccessSettings(master_key=Secret(MASTER_KEY), key_header_name="X-Corp-Key")
    async with SmallGateway(tmp_path, config=Config(access=access)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        headers = {"x-corp-key": MASTER_KEY, "authorization": "Bearer sk-wrong"}
        assert (await gateway.ask(key=None, headers=headers)).status == 200


async def test_who_is_unknown_is_refused_in_litellms_words_and_leaves_a_count_but_no_record(
    gateway: SmallGateway,
) -> None:
    nobody = await gateway.ask(key=None)
    assert nobody.status == 401
    assert nobody.json()["error"]["message"] == "Authentication Error, No api key passed in."
    assert nobody.json()["error"]["type"] == "auth_error"
    other = await gateway.ask(key="pk-something")
    assert other.json()["error"]["message"] == "Virtual Key expected. Received=****, expected to start with 'sk-'."
    unknown = await gateway.ask(key="sk-unknown")
    assert unknown.status == 401
    assert unknown.json()["error"] == {
        "message": "Authentication Error, Invalid proxy server token passed. Key Hash (Token) ="
        f"{sha256(b'sk-unknown').hexdigest()}. Unable to find token in cache or `LiteLLM_VerificationTokenTable`",
        "type": "token_not_found_in_db",
        "param": "key",
        "code": "401",
    }
    assert await gateway.records() == []
    assert gateway.app.told.refused_unknown == 3
    assert gateway.upstream.requests == []


async def test_nobody_unknown_makes_the_gateway_read_a_body(gateway: SmallGateway) -> None:
    exchange = gateway.begin(key="sk-unknown", body=[b"x" * 1000, b"y"])
    assert (await exchange.done()).status == 401
    assert len(exchange._body) == 2


async def test_a_blocked_and_an_expired_key_are_refused(gateway: SmallGateway) -> None:
    await gateway.make_key("sk-blocked", blocked=True)
    now = gateway.clock.now()
    await gateway.make_key("sk-expired-9971", expires_us=int((now + 60) * 1e6))
    gateway.upstream.reply_to(None, chat_reply())
    blocked = (await gateway.ask(key="sk-blocked")).json()["error"]
    assert blocked["message"] == "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
    assert (await gateway.ask(key="sk-expired-9971")).status == 200
    gateway.clock.advance(60)
    answer = await gateway.ask(key="sk-expired-9971")
    assert (answer.status, answer.json()["error"]["type"]) == (401, "expired_key")
    assert answer.json()["error"]["param"] == "sk-...9971"
    pattern = r"Authentication Error - Expired Key\. Key Expiry time \S+ and current time \S+"
    assert re.fullmatch(pattern, answer.json()["error"]["message"])


async def test_a_key_may_be_kept_to_some_routes(gateway: SmallGateway) -> None:
    await gateway.make_key("sk-reader-of-lists", fields={"allowed_routes": ["/v1/models"]})
    await gateway.make_key("sk-caller", fields={"allowed_routes": ["llm_api_routes"]})
    gateway.upstream.reply_to(None, chat_reply())
    answer = await gateway.ask(key="sk-reader-of-lists")
    assert answer.status == 403
    assert "Only allowed to call routes: ['/v1/models']. Tried to call route: /v1/chat/completions" in str(
        answer.json()["error"]["message"]
    )
    assert (await gateway.ask(key="sk-reader-of-lists", path="/v1/models", method="GET", body=b"")).status == 200
    assert (await gateway.ask(key="sk-caller")).status == 200


KEYLESS = [
    ("a call from this machine", {"host": "127.0.0.1:4000"}, LOCAL, 200),
    ("by name", {"host": "localhost"}, LOCAL, 200),
    ("over IPv6", {"host": "[::1]:4000"}, ("::1", 1), 200),
    ("with any key", {"host": "localhost", "authorization": "Bearer sk-dummy"}, LOCAL, 200),
    ("from a local page", {"host": "localhost", "origin": "http://localhost:3000"}, LOCAL, 200),
    ("from another machine", {"host": "localhost"}, ("192.0.2.1", 1), 401),
    ("without an address", {"host": "localhost"}, None, 401),
    ("for another host (DNS rebinding)", {"host": "evil.example"}, LOCAL, 401),
    ("for a host that only begins so", {"host": "localhost.evil.example"}, LOCAL, 401),
    ("for a user named so", {"host": "localhost@evil.example"}, LOCAL, 401),
    ("without a host", {}, LOCAL, 401),
    ("for no host at all", {"host": "["}, LOCAL, 401),
    ("from a page of another site", {"host": "localhost", "origin": "https://evil.example"}, LOCAL, 401),
    ("from a page without a site", {"host": "localhost", "origin": "null"}, LOCAL, 401),
    ("from a broken origin", {"host": "localhost", "origin": "http://["}, LOCAL, 401),
    ("through a proxy", {"host": "127.0.0.1:4000", "x-forwarded-for": "192.0.2.1"}, LOCAL, 401),
    ("through another proxy", {"host": "127.0.0.1:4000", "via": "1.1 proxy"}, LOCAL, 401),
]


@pytest.mark.parametrize(("headers", "client", "status"), [case[1:] for case in KEYLESS], ids=[c[0] for c in KEYLESS])
async def test_keyless_calls_are_for_this_machine_alone(
    tmp_path: Path, headers: dict[str, str], client: Any, status: int
) -> None:
    access = AccessSettings(master_key=Secret(MASTER_KEY), master_key_made=True)
    async with SmallGateway(tmp_path, config=Config(access=access)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=None, headers=headers, client=client)).status == status


async def test_with_a_master_key_of_somebodys_choice_nobody_calls_without_a_key(gateway: SmallGateway) -> None:
    assert (await gateway.ask(key=None, headers={"host": "localhost"}, client=LOCAL)).status == 401


async def test_a_body_is_bounded_whether_it_says_its_length_or_not(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=Config(bounds=BoundSettings(body_bytes_max=1_000))) as gateway:
        said = gateway.begin(body=[b"x" * 600, b"x" * 600], headers={"content-length": "1200"})
        assert (await said.done()).status == 413
        assert len(said._body) == 2  # nothing of it was read
        unsaid = await gateway.ask(body=[b"x" * 600, b"x" * 600])
        assert unsaid.status == 413
        assert unsaid.json()["error"]["message"] == "The request body is larger than 1000 bytes."


async def test_a_body_that_comes_in_pieces_is_put_together(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, chat_reply())
    body = b'{"model":"small","messages":[{"role":"user","content":"Hi"}]}'
    assert (await gateway.ask(body=[body[:10], body[10:20], body[20:]])).status == 200


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (b"", "The request body is empty; expected a JSON object.", "request_body"),
        (b"{", "Invalid JSON payload: ", "request_body"),
        (b'{"model":"small"}', "/v1/chat/completions: Missing required parameter: 'messages'.", "messages"),
        (b'{"messages":[]}', "you must provide a model parameter", "model"),
        (b'{"model":"small","model":"small","messages":[]}', "The key 'model' stands twice in the request body.", None),
    ],
)
async def test_a_body_that_cannot_be_understood_is_a_400_that_says_why(
    gateway: SmallGateway, body: bytes, message: str, param: str | None
) -> None:
    answer = await gateway.ask(body=body)
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["message"].startswith(message)
    assert param is None or error["param"] == param
    (record,) = await gateway.records()
    assert (record.status_code, record.cost.total) == (400, 0)


@pytest.mark.parametrize(
    ("models", "asked", "status"),
    [
        ([], "small", 200),
        (["small"], "small", 200),
        (["other"], "small", 403),
        (["sm*"], "small", 200),
        (["group-of-it"], "small", 200),
        (["all-proxy-models"], "small", 200),
        (["other"], "unheard-of", 403),
        ([], "unheard-of", 400),
        (["wild/*"], "wild/anything", 200),
        (["wild/other*"], "wild/anything", 403),
        (["mine"], "mine", 403),  # judged by what the alias stands for
        (["small", "mine"], "mine", 200),
    ],
)
async def test_a_key_calls_the_models_it_names_by_name_pattern_or_group(
    tmp_path: Path, models: list[str], asked: str, status: int
) -> None:
    entries = [
        replace(model_entry(), access_groups=("group-of-it",)),
        model_entry("other"),
        replace(model_entry("wild/*"), provider_model="openai/*"),
    ]
    async with SmallGateway(tmp_path, entries) as gateway:
        key = await gateway.make_key(fields={"models": models, "aliases": {"mine": "small"}})
        gateway.upstream.reply_to(None, chat_reply())
        answer = await gateway.ask(key=key, model=asked)
        assert answer.status == status
        if status == 403:
            assert answer.json()["error"]["type"] == "key_model_access_denied"
            assert answer.json()["error"]["param"] == "model"
            assert "is not available for this API key, or the model name is invalid" in answer.body.decode()
            assert gateway.upstream.requests == []


async def test_calls_above_the_pace_get_429_with_when_to_come_back_and_are_let_in_then(gateway: SmallGateway) -> None:
    key = await gateway.make_key(rpm_limit=2)
    gateway.upstream.reply_to(None, chat_reply())
    assert [(await gateway.ask(key=key)).status for _ in range(3)] == [200, 200, 429]
    answer = await gateway.ask(key=key)
    token = sha256(key.encode()).hexdigest()
    error = answer.json()["error"]
    assert error["type"] == "throttling_error"
    assert error["message"].startswith(
        f"Rate limit exceeded for api_key: {token}. Limit type: requests. Current limit: 2, Remaining: 0. Limit resets at: "
    )
    assert answer.headers["rate_limit_type"] == "requests"
    assert answer.headers["x-ratelimit-api_key-limit-requests"] == "2"
    assert answer.headers["x-ratelimit-api_key-remaining-requests"] == "0"
    gateway.clock.advance(int(answer.headers["retry-after"]))
    gateway.clock.advance(60)
    assert (await gateway.ask(key=key)).status == 200


async def test_tokens_are_taken_by_an_estimate_and_corrected_by_what_was_used(gateway: SmallGateway) -> None:
    key = await gateway.make_key(tpm_limit=500)
    gateway.upstream.reply_to(None, chat_reply(output_tokens=300))
    assert (await gateway.ask(key=key)).status == 200
    assert "max_tokens" not in gateway.upstream.requests[0].json()  # the caller's own limit is never touched
    assert gateway.pace(key).tokens.remaining(0.0) == 190
    assert (await gateway.ask(key=key)).status == 200
    answer = await gateway.ask(key=key)
    assert (answer.status, answer.headers["rate_limit_type"]) == (429, "tokens")


async def test_calls_at_the_same_time_are_bounded_and_their_places_given_back(gateway: SmallGateway) -> None:
    from tollway.testing.upstream import Gate

    key = await gateway.make_key(parallel_max=2)
    gate = Gate()
    gateway.upstream.reply_to(None, chat_reply(after=gate))
    running = [gateway.begin(key=key) for _ in range(2)]
    refused = await gateway.ask(key=key)
    assert (refused.status, refused.headers["rate_limit_type"]) == (429, "max_parallel_requests")
    gate.open()
    assert [(await each.done()).status for each in running] == [200, 200]
    assert gateway.pace(key).parallel == 0
    assert (await gateway.ask(key=key)).status == 200


@pytest.mark.parametrize("status", [422, 429, 400])
async def test_a_spent_budget_is_refused_with_the_status_that_the_configuration_chooses(
    tmp_path: Path, status: int
) -> None:
    config = Config(money=MoneySettings(budget_exceeded_status=status))
    async with SmallGateway(tmp_path, config=config) as gateway:
        key = await gateway.make_key(key_alias="limited", max_budget_nano=1_000_000, spend_nano=1_000_000)
        answer = await gateway.ask(key=key)
        assert answer.status == status
        assert answer.json()["error"] == {
            "message": "Budget has been exceeded! Key=limited (sk-...eway) Current cost: 0.001, Max budget: 0.001",
            "type": "budget_exceeded",
            "param": None,
            "code": str(status),
        }
        assert answer.headers["x-should-retry"] == "false"
        assert gateway.upstream.requests == []


async def test_a_free_model_is_served_whatever_the_budget(tmp_path: Path) -> None:
    free = {"input_cost_per_token": "0", "output_cost_per_token": "0"}
    async with SmallGateway(tmp_path, [model_entry(prices=free)]) as gateway:
        key = await gateway.make_key(max_budget_nano=0)
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key)).status == 200


async def test_a_model_without_a_price_is_refused_to_budgets_unless_allowed_and_never_shown_as_free(
    tmp_path: Path,
) -> None:
    entries = [model_entry(prices={}), replace(model_entry("allowed", prices={}), unpriced_allowed=True)]
    async with SmallGateway(tmp_path, entries) as gateway:
        key = await gateway.make_key(max_budget_nano=1_000_000)
        gateway.upstream.reply_to(None, chat_reply())
        refused = await gateway.ask(key=key)
        assert refused.status == 400
        assert refused.json()["error"]["message"].startswith("The model 'small' has no known price")
        assert (await gateway.ask(key=key, model="allowed")).status == 200
        unlimited = await gateway.ask()
        assert unlimited.status == 200
        assert "x-litellm-response-cost" not in unlimited.headers
        assert [record.cost_known for record in await gateway.records() if record.status_code == 200] == [False, False]


async def test_the_whole_gateways_budget_binds_the_master_key_too(tmp_path: Path) -> None:
    config = Config(money=MoneySettings(max_budget_usd="0.001"))
    async with SmallGateway(tmp_path, config=config) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(max_tokens=250)).status == 200
        answer = await gateway.ask(max_tokens=250)
        assert (answer.status, answer.json()["error"]["type"]) == (422, "budget_exceeded")


async def test_a_clients_words_end_no_header(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, chat_reply())
    name = "x\r\nset-cookie: a=b\r\n\r\n"
    heads: list[Any] = []
    answer = await gateway.ask(
        **{name: 1, "additional_drop_params": [name]},
        on_message=lambda message: heads.extend(message.get("headers", ())),
    )
    assert answer.status == 200
    assert all(b"\r" not in value and b"\n" not in value for _, value in heads)
    assert "set-cookie" not in answer.headers


async def test_an_address_or_key_of_a_clients_choice_is_refused(gateway: SmallGateway) -> None:
    for field in ("api_base", "base_url", "api_key"):
        answer = await gateway.ask(**{field: "http://169.254.169.254/"})
        assert answer.status == 401
        assert f"Rejected Request: {field} is not allowed in request body." in answer.json()["error"]["message"]
    assert gateway.upstream.requests == []
