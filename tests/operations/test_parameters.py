"""What becomes of a request's parameters: dropped, passed, filled in, mended, bounded; and always told."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
import pytest
from msgspec import Raw

from tollway.conversation import (
    Conversation,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from tollway.dialects import (
    Traits,
    anthropic_messages,
    bedrock_converse,
    cohere_chat,
    gemini,
    ollama_chat,
    openai_chat,
    openai_responses,
)
from tollway.operations.parameters import (
    BETAS_KNOWN,
    DEPTH_MAX,
    drop_paths,
    keep_to_limit,
    mend,
    path_of,
    put_under,
    split_betas,
    tell_schema,
)
from tollway.providers import bedrock
from tollway.testing import FakeReply

OpenTable: TypeAlias = Any  # both are those of conftest.py
Table: TypeAlias = Any

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
OPENAI_SAYS = {
    "id": "chatcmpl-1",
    "model": "theirs",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
ANTHROPIC_SAYS = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "theirs",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
RESPONSES_SAYS = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "theirs",
    "output": [
        {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    ],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}


def deployment(model: str, *settings: str, base: str = "http://provider.test/v1", info: str = "") -> str:
    """A `model_list` with one entry, whose `litellm_params` end with these lines."""
    lines = [f"model: {model}", "api_key: k", f"api_base: {base}", *settings]
    text = "model_list:\n  - model_name: m\n    litellm_params:\n" + "".join(f"      {line}\n" for line in lines)
    return text + (f"    model_info: {info}\n" if info else "")


OPENAI = "openai/gpt-4o"
CLAUDE = "anthropic/claude-opus-4-6"


async def sent(
    table: Table, body: dict[str, Any], path: str = "/v1/chat/completions", **others: Any
) -> tuple[dict[str, Any], str]:
    """(what the provider got, what the client was told was dropped)."""
    upstream = table.upstream
    upstream.reply_to(None, FakeReply.json(OPENAI_SAYS))
    upstream.reply_to("/v1/messages", FakeReply.json(ANTHROPIC_SAYS))
    upstream.reply_to("/v1/responses", FakeReply.json(RESPONSES_SAYS))
    answer = await table.post(path, body, **others)
    assert answer.status == 200, answer.body
    return upstream.requests[-1].json(), answer.headers.get("x-tollway-dropped", "")


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("user", ("user",)),
        ("tools[*].function.strict", ("tools", "*", "function", "strict")),
        ("tools[].strict", ("tools", "*", "strict")),
        ("messages[12].name", ("messages", "12", "name")),
        ("response_format.json_schema.strict", ("response_format", "json_schema", "strict")),
        ("a[*][*].b", ("a", "*", "*", "b")),
        ("", ()),
        ("tools[x].y", ()),
        ("tools[", ()),
        ("a..b", ()),
        (".".join("a" * (DEPTH_MAX + 1)), ()),
    ],
)
def test_a_path_is_taken_apart_or_is_none(written: str, steps: tuple[str, ...]) -> None:
    assert path_of(written) == steps


@pytest.mark.parametrize(
    ("path", "after"),
    [
        ("user", {"tools": [{"f": {"strict": True, "n": 1.50}}, {"f": {"n": 2}}], "r": {"a": {"b": 1}, "c": None}}),
        (
            "tools[*].f.strict",
            {"tools": [{"f": {"n": 1.5}}, {"f": {"n": 2}}], "user": "u", "r": {"a": {"b": 1}, "c": None}},
        ),
        (
            "tools.f.strict",
            {"tools": [{"f": {"n": 1.5}}, {"f": {"n": 2}}], "user": "u", "r": {"a": {"b": 1}, "c": None}},
        ),
        (
            "tools[1].f",
            {"tools": [{"f": {"strict": True, "n": 1.5}}, {}], "user": "u", "r": {"a": {"b": 1}, "c": None}},
        ),
        ("tools[0]", {"tools": [{"f": {"n": 2}}], "user": "u", "r": {"a": {"b": 1}, "c": None}}),
        ("tools[*]", {"tools": [], "user": "u", "r": {"a": {"b": 1}, "c": None}}),
        (
            "r.a.b",
            {"tools": [{"f": {"strict": True, "n": 1.5}}, {"f": {"n": 2}}], "user": "u", "r": {"a": {}, "c": None}},
        ),
        ("r.c", {"tools": [{"f": {"strict": True, "n": 1.5}}, {"f": {"n": 2}}], "user": "u", "r": {"a": {"b": 1}}}),
    ],
)
def test_what_a_path_names_is_dropped_and_nothing_else(path: str, after: dict[str, Any]) -> None:
    plain = {
        "tools": [{"f": {"strict": True, "n": 1.50}}, {"f": {"n": 2}}],
        "user": "u",
        "r": {"a": {"b": 1}, "c": None},
    }
    raw: dict[str, Any] = {name: Raw(msgspec.json.encode(value)) for name, value in plain.items()}
    for fields in (plain, raw):
        assert drop_paths(fields, [path]) == [path]
        assert msgspec.json.decode(msgspec.json.encode(fields)) == after


@pytest.mark.parametrize(
    "path", ["absent", "tools[7]", "tools[*].absent", "user.name", "r.a.b.c", "tools[1].f.strict", "bad.x"]
)
def test_a_path_that_names_nothing_changes_no_byte(path: str) -> None:
    fields = {
        "tools": Raw(b'[ {"f": {"strict": true}}, {"f": {}} ]'),
        "user": Raw(b'"u"'),
        "r": Raw(b'{"a": {"b": 1e2}}'),
        "bad": Raw(b"{oops"),
    }
    before = dict(fields)
    assert drop_paths(fields, [path]) == []
    assert fields == before


def test_what_stands_beside_a_dropped_member_keeps_its_bytes() -> None:
    fields: dict[str, Any] = {"tools": Raw(b'[{"strict":true,"schema": {"n": 1.50, "big": 123456789012345678901}}]')}
    assert drop_paths(fields, ["tools[*].strict"]) == ["tools[*].strict"]
    assert bytes(fields["tools"]) == b'[{"schema":{"n": 1.50, "big": 123456789012345678901}}]'


@pytest.mark.parametrize("name", ["model", "messages", "stream", "input", "contents"])
def test_nobody_drops_what_a_call_is_made_of(name: str) -> None:
    fields = {name: Raw(b"1")}
    assert drop_paths(fields, [name]) == []
    assert name in fields


async def test_a_request_drops_by_path_and_is_told(open_table: OpenTable) -> None:
    table = await open_table(deployment(OPENAI))
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}]
    body = {**HELLO, "tools": tools, "user": "u", "additional_drop_params": ["tools[*].function.strict", "absent"]}
    fields, dropped = await sent(table, body)
    assert fields["tools"][0]["function"] == {"name": "f", "parameters": {"type": "object"}}
    assert dropped == "tools[*].function.strict"


@pytest.mark.parametrize(
    ("drops", "words"),
    [(["tools[x]"], "is no path"), (["a"] * 65, "64 fields at most"), ("user", "a list of field names")],
)
async def test_a_bad_list_of_drops_is_refused(table: Table, drops: Any, words: str) -> None:
    answer = await table.post("/v1/chat/completions", {**HELLO, "model": "chat", "additional_drop_params": drops})
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "additional_drop_params"
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("model", [OPENAI, CLAUDE])
async def test_a_deployment_drops_by_path_whatever_the_provider_speaks(open_table: OpenTable, model: str) -> None:
    table = await open_table(
        deployment(model, "additional_drop_params: ['tools[*].input_schema.x', 'tools[*].function.strict']")
    )
    schema = {"type": "object", "x": 1}
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}]
    fields, dropped = await sent(table, {**HELLO, "tools": tools})
    assert "strict" not in fields["tools"][0].get("function", {})
    assert "x" not in fields["tools"][0].get("input_schema", {})
    assert dropped


# --- what a provider has no words for --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frequency_penalty", "seed", "logit_bias"])
@pytest.mark.parametrize("where", ["deployment", "request", "global"])
async def test_by_default_it_is_dropped_and_named_and_refused_where_that_is_wanted(
    open_table: OpenTable, name: str, where: str
) -> None:
    value: Any = {"1": 2} if name == "logit_bias" else 1
    fields, dropped = await sent(await open_table(deployment(CLAUDE)), {**HELLO, name: value})
    assert name not in fields
    assert dropped == name
    own = ["drop_params: false"] if where == "deployment" else []
    more = "litellm_settings: {drop_params: false}" if where == "global" else ""
    table = await open_table(deployment(CLAUDE, *own), more)
    asked = {"drop_params": False} if where == "request" else {}
    answer = await table.post("/v1/chat/completions", {**HELLO, name: value, **asked})
    assert answer.status == 400
    assert answer.json()["error"]["param"] == name


@pytest.mark.parametrize("where", ["deployment", "request"])
async def test_what_is_allowed_is_passed_as_it_is_although_the_dialect_would_drop_it(
    open_table: OpenTable, where: str
) -> None:
    own = (
        ["allowed_openai_params: [seed, tools]", "drop_params: false"]
        if where == "deployment"
        else ["drop_params: false"]
    )
    table = await open_table(deployment(CLAUDE, *own))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    asked = {"allowed_openai_params": ["seed", "tools"]} if where == "request" else {}
    fields, dropped = await sent(table, {**HELLO, "seed": 7, "tools": tools, **asked})
    assert fields["seed"] == 7
    assert fields["tools"][0]["name"] == "f"  # what the dialect has words for is said in them
    assert dropped == ""


async def test_lossless_refuses_even_hints_and_names_what_would_be_lost(open_table: OpenTable) -> None:
    for own, more in ((["lossless: reject"], ""), ([], "tollway: {lossless: reject}")):
        table = await open_table(deployment(CLAUDE, *own), more)
        answer = await table.post("/v1/chat/completions", {**HELLO, "store": False})
        assert answer.status == 400
        assert answer.json()["error"]["param"] == "store"
        assert "lossless: reject" in answer.json()["error"]["message"]
        assert table.upstream.requests == []
        assert (await sent(table, {**HELLO, "store": False, "drop_params": True}))[1] == "store"
        assert (await sent(table, {**HELLO, "store": False, "additional_drop_params": ["store"]}))[1] == "store"
    table = await open_table(deployment(CLAUDE, "lossless: name"), "tollway: {lossless: reject}")
    assert (await sent(table, {**HELLO, "store": False}))[1] == "store"


async def test_what_an_earlier_try_left_out_is_not_said_of_the_one_that_answered(open_table: OpenTable) -> None:
    models = deployment(CLAUDE, base="http://first.test") + deployment(OPENAI).removeprefix("model_list:\n").replace(
        "model_name: m", "model_name: other"
    )
    table = await open_table(models, "router_settings: {num_retries: 0, fallbacks: [{m: [other]}]}")
    table.upstream.reply_to("/v1/messages", FakeReply.json({"error": {"message": "down"}}, 500))
    table.upstream.reply_to("/v1/chat/completions", FakeReply.json(OPENAI_SAYS))
    answer = await table.post("/v1/chat/completions", {**HELLO, "seed": 1})
    assert answer.status == 200
    assert "x-tollway-dropped" not in answer.headers
    assert table.upstream.requests[-1].json()["seed"] == 1


# --- the configuration's parameters ----------------------------------------------------------------------------------

CLIENTS = {
    "/v1/chat/completions": HELLO,
    "/v1/messages": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"model": "m", "input": "Hi"},
}


@pytest.mark.parametrize("path", CLIENTS)
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (OPENAI, {"max_tokens": 77, "stop": ["END"]}),
        (CLAUDE, {"max_tokens": 77, "stop_sequences": ["END"]}),
        ("ollama_chat/m", {"options": {"num_predict": 77, "stop": ["END"]}}),
        ("cohere_chat/command-a", {"max_tokens": 77, "stop_sequences": ["END"]}),
    ],
)
async def test_openais_words_in_the_configuration_reach_every_provider_from_every_client_in_its_own(
    open_table: OpenTable, path: str, model: str, expected: dict[str, Any]
) -> None:
    table = await open_table(deployment(model, "max_tokens: 77", "stop: END"))
    table.upstream.reply_to(None, FakeReply.json({"error": {"message": "enough"}}, 400))
    await table.post(path, CLIENTS[path])
    fields = table.upstream.requests[-1].json()
    if "max_output_tokens" in fields:  # OpenAI's own Responses
        assert fields["max_output_tokens"] == 77
        return
    fields.setdefault("max_tokens", fields.pop("max_completion_tokens", None))
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    assert {name: fields.get(name) for name in expected} == expected


async def test_what_the_client_says_under_any_spelling_goes_before_the_configuration(open_table: OpenTable) -> None:
    table = await open_table(deployment("groq/m", "max_tokens: 9000", "reasoning_effort: high", "stop: END"))
    fields, _ = await sent(table, {**HELLO, "max_completion_tokens": 10, "thinking": {"type": "disabled"}})
    assert "max_tokens" not in fields
    assert fields["max_completion_tokens"] == 10
    assert "reasoning_effort" not in fields
    assert fields["stop"] == "END"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_parameter_of_the_providers_own_reaches_it_from_every_client(open_table: OpenTable, path: str) -> None:
    table = await open_table(deployment(CLAUDE, "some_new_field: {a: 1}", "inference_geo: us"))
    fields, dropped = await sent(table, {**CLIENTS[path], "max_tokens": 5})
    assert fields["some_new_field"] == {"a": 1}
    assert fields["inference_geo"] == "us"
    assert dropped == ""


async def test_an_anthropic_client_of_a_compatible_server_gets_its_configured_sampling(open_table: OpenTable) -> None:
    table = await open_table(deployment("hosted_vllm/m", "min_p: 0.1", "seed: 3", "verbosity: low"))
    fields, dropped = await sent(table, {**CLIENTS["/v1/messages"], "max_tokens": 5})
    assert (fields["min_p"], fields["seed"], fields["verbosity"]) == (0.1, 3, "low")
    assert dropped == ""


async def test_thought_that_the_configuration_asks_for_fits_under_an_anthropic_clients_limit(
    open_table: OpenTable,
) -> None:
    table = await open_table(deployment("anthropic/claude-sonnet-4-20250514", "reasoning_effort: high"))
    fields, _ = await sent(table, {**CLIENTS["/v1/messages"], "max_tokens": 500})
    assert fields["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    assert fields["max_tokens"] == 4596


def test_defaults_are_laid_under_by_what_they_mean() -> None:
    fields = {"max_completion_tokens": 1, "temperature": 0}
    put_under(fields, {"max_tokens": 5, "temperature": 1, "stop": "x"})
    assert fields == {"max_completion_tokens": 1, "temperature": 0, "stop": "x"}


# --- limits, and what is held ----------------------------------------------------------------------------------------

PRICED = ("input_cost_per_token: 0", "output_cost_per_token: 0.000001")


async def held_by(open_table: OpenTable, settings: list[str], **asked: Any) -> int:
    """Nano-dollars that one call sets aside; a token written costs 1000."""
    table = await open_table(deployment("openai/unheard-of", *PRICED, *settings))
    key = await table.give_key(max_budget_nano=10**15)
    held: list[int] = []
    account = next(a for a in table.app.ledger.accounts.values() if a.limit is not None)

    def answer(request: Any) -> FakeReply:
        held.append(account.held)
        return FakeReply.json(OPENAI_SAYS)

    table.upstream.reply_to(None, answer)
    assert (await table.post("/v1/chat/completions", {**HELLO, **asked}, key=key)).status == 200
    return held[0]


@pytest.mark.parametrize(
    ("settings", "asked", "tokens"),
    [
        ([], {"max_tokens": 10}, 10),
        ([], {"max_completion_tokens": 10, "max_tokens": 700}, 700),  # a provider may obey either
        ([], {"max_completion_tokens": None, "max_tokens": 70}, 70),
        ([], {"max_tokens": 10, "n": 3}, 30),
        (["n: 4"], {"max_tokens": 10}, 40),
        (["n: 4"], {"max_tokens": 10, "n": 2}, 20),
        (["extra_body: {n: 5}"], {"max_tokens": 10}, 50),
        (["extra_body: {max_tokens: 900}"], {"max_tokens": 10}, 900),
        (["max_tokens: 32000"], {}, 32_000),
        (["max_tokens: 9000"], {"max_completion_tokens": 10}, 10),
    ],
)
async def test_every_spelling_and_the_configurations_own_words_are_in_the_hold(
    open_table: OpenTable, settings: list[str], asked: dict[str, Any], tokens: int
) -> None:
    assert await held_by(open_table, settings, **asked) == tokens * 1000


async def test_a_budget_lowers_every_spelling_and_what_the_configuration_adds(open_table: OpenTable) -> None:
    table = await open_table(
        deployment("openai/unheard-of", *PRICED, "extra_body: {max_output_tokens: 9000}"),
        "tollway: {output_tokens_floor: 10}",
    )
    key = await table.give_key(max_budget_nano=100_000)
    table.upstream.reply_to(None, FakeReply.json(OPENAI_SAYS))
    body = {**HELLO, "max_completion_tokens": 500, "max_tokens": 4000}
    assert (await table.post("/v1/chat/completions", body, key=key)).status == 200
    fields = table.upstream.requests[0].json()
    assert (fields["max_completion_tokens"], fields["max_tokens"], fields["max_output_tokens"]) == (100, 100, 100)


def test_a_limit_is_lowered_wherever_a_dialect_keeps_it() -> None:
    fields: dict[str, Any] = {
        "max_tokens": Raw(b"900"),
        "thinking": {"type": "enabled"},
        "options": {"num_predict": 900, "seed": 1},
        "inferenceConfig": {"maxTokens": 5},
    }
    dropped: list[str] = []
    keep_to_limit(fields, 100, dropped)
    assert fields == {
        "max_tokens": 100,
        "options": {"num_predict": 100, "seed": 1},
        "inferenceConfig": {"maxTokens": 5},
    }
    assert dropped == ["thinking"]


# --- replies in JSON -------------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORM = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("model", "info", "told"),
    [
        ("deepseek/deepseek-chat", "", True),
        ("deepseek/deepseek-chat", "{supports_response_schema: true}", False),
        (OPENAI, "", False),
        ("hosted_vllm/old", "{supports_response_schema: false}", True),
    ],
)
async def test_a_server_without_schemas_is_told_them_in_words(
    open_table: OpenTable, model: str, info: str, told: bool
) -> None:
    table = await open_table(deployment(model, info=info))
    fields, dropped = await sent(table, {**HELLO, "response_format": FORM})
    assert (fields["response_format"] == {"type": "json_object"}) is told
    assert (dropped == "response_format.json_schema") is told
    if told:
        assert fields["messages"][0]["role"] == "system"
        assert '"integer"' in fields["messages"][0]["content"]
    else:
        assert fields["response_format"] == FORM


async def test_an_anthropic_clients_schema_reaches_such_a_server_too(open_table: OpenTable) -> None:
    table = await open_table(deployment("deepseek/deepseek-chat"))
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "system": "Be brief."}
    body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    fields, _ = await sent(table, body, "/v1/messages")
    assert fields["response_format"] == {"type": "json_object"}
    assert fields["messages"][0]["content"].startswith("Be brief.\n\nAnswer with one JSON value")


@pytest.mark.parametrize("form", [None, {"type": "json_object"}, {"type": "text"}, "what"])
def test_what_is_no_schema_is_left_alone(form: Any) -> None:
    fields = {"messages": [], "response_format": form}
    assert tell_schema(fields) is False
    assert fields["response_format"] == form


# --- how much to think, from every dialect to every other ------------------------------------------------------------

LEGACY = Traits(model="claude-sonnet-4-20250514", output_tokens_max=64_000, legacy_thinking=True)
ADAPTIVE = Traits(model="claude-opus-4-7", output_tokens_max=64_000, adaptive_thinking=True)
ASKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "effort low": (openai_chat, {**HELLO, "reasoning_effort": "low"}),
    "effort medium": (openai_chat, {**HELLO, "reasoning_effort": "medium"}),
    "effort high": (openai_chat, {**HELLO, "reasoning_effort": "high"}),
    "effort none": (openai_chat, {**HELLO, "reasoning_effort": "none"}),
    "responses high": (openai_responses, {"model": "m", "input": "Hi", "reasoning": {"effort": "high"}}),
    "budget 1024": (anthropic_messages, {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    "budget 8192": (anthropic_messages, {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 8192}}),
    "budget 20000": (anthropic_messages, {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 20000}}),
    "disabled": (anthropic_messages, {**HELLO, "thinking": {"type": "disabled"}}),
    "adaptive high": (anthropic_messages, {**HELLO, "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
    "gemini 1024": (gemini, {"model": "m", "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
                             "generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}}),
    "gemini HIGH": (gemini, {"model": "m", "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
                             "generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}),
}  # fmt: skip


def thought(fields: dict[str, Any]) -> Any:
    """How much to think, in whichever place a dialect says it."""
    config = (fields.get("generationConfig") or {}).get("thinkingConfig") or {}
    if config:
        return config.get("thinkingBudget", config.get("thinkingLevel"))
    if "reasoning" in fields:
        return fields["reasoning"].get("effort")
    if "additionalModelRequestFields" in fields:
        fields = fields["additionalModelRequestFields"]
    if "thinking" in fields:
        said = fields["thinking"]
        return said.get(
            "budget_tokens", said.get("token_budget", (fields.get("output_config") or {}).get("effort", said["type"]))
        )
    return fields.get("reasoning_effort", fields.get("think"))


TARGETS: dict[str, tuple[Any, Traits]] = {
    "openai_chat": (openai_chat, Traits(model="gpt-5")),
    "openai_responses": (openai_responses, Traits(model="gpt-5")),
    "anthropic": (anthropic_messages, LEGACY),
    "anthropic adaptive": (anthropic_messages, ADAPTIVE),
    "gemini 2.5": (gemini, Traits(model="gemini-2.5-flash")),
    "gemini 3": (gemini, Traits(model="gemini-3-pro-preview")),
    "bedrock": (bedrock_converse, Traits(model="anthropic.claude-sonnet-4-20250514-v1:0", legacy_thinking=True)),
    "ollama": (ollama_chat, Traits(model="qwen3")),
    "ollama gpt-oss": (ollama_chat, Traits(model="gpt-oss:20b")),
    "cohere": (cohere_chat, Traits(model="command-a-reasoning-08-2025")),
}
#: What each target is told, in the order of TARGETS.
THOUGHT: dict[str, tuple[Any, ...]] = {
    "effort low": ("low", "low", 1024, "low", 1024, "LOW", 1024, True, "low", 1024),
    "effort medium": ("medium", "medium", 2048, "medium", 8192, "HIGH", 2048, True, "medium", 8192),
    "effort high": ("high", "high", 4096, "high", 24_576, "HIGH", 4096, True, "high", "enabled"),
    "effort none": ("none", "none", "disabled", "disabled", 0, "LOW", None, False, None, "disabled"),
    "responses high": ("high", "high", 4096, "high", 24_576, "HIGH", 4096, True, "high", "enabled"),
    "budget 1024": ("low", "low", 1024, "low", 1024, "LOW", 1024, True, None, 1024),
    "budget 8192": ("medium", "medium", 8192, "medium", 8192, "HIGH", 8192, True, None, 8192),
    "budget 20000": ("high", "high", 20_000, "high", 20_000, "HIGH", 20_000, True, None, 20_000),
    "disabled": ("none", "none", "disabled", "disabled", 0, "LOW", None, False, None, "disabled"),
    "adaptive high": ("high", "high", 4096, "high", 24_576, "HIGH", 4096, True, "high", "enabled"),
    "gemini 1024": ("low", "low", 1024, "low", 1024, "LOW", 1024, True, None, 1024),
    "gemini HIGH": ("high", "high", 4096, "high", 24_576, "HIGH", 4096, True, "high", "enabled"),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("target", TARGETS)
def test_how_much_to_think_is_said_in_every_providers_words(asked: str, target: str) -> None:
    spoken, body = ASKED[asked]
    decoded: Conversation = spoken.decode_request(
        {name: Raw(msgspec.json.encode(value)) for name, value in body.items()}
    )
    dialect, traits = TARGETS[target]
    encoded = dialect.encode_request(decoded, traits)
    fields = msgspec.json.decode(msgspec.json.encode(encoded.fields))
    assert thought(fields) == THOUGHT[asked][list(TARGETS).index(target)]
    if isinstance(thought(fields), int) and "max_tokens" in fields and target == "anthropic":
        assert fields["max_tokens"] > thought(fields)


# --- mending ---------------------------------------------------------------------------------------------------------


def chat(*messages: Message, tools: list[Tool] | None = None) -> Conversation:
    return Conversation("m", list(messages), tools=tools or [])


CALL = ToolCall("c1", "f", "{}")


@pytest.mark.parametrize(
    ("conversation", "dialect", "changes", "roles"),
    [
        (chat(Message("user", [Text("Hi")])), "anthropic_messages", [], ["user"]),
        (chat(Message("user", [Text(" ")])), "openai_chat", ["messages[0].content"], ["user"]),
        (chat(Message("user", [])), "openai_chat", ["messages[0].content"], ["user"]),
        (chat(Message("assistant", [Text("Hi")])), "anthropic_messages", ["+messages[0]"], ["user", "assistant"]),
        (chat(Message("assistant", [Text("Hi")])), "openai_chat", [], ["assistant"]),
        (chat(Message("user", [Text("a")]), Message("tool", [ToolResult("c9", [Text("7")])])), "openai_chat",
         ["messages[1]"], ["user", "user"]),
        (chat(Message("user", [Text("a")]), Message("assistant", [CALL]), Message("user", [Text("b")]), tools=[Tool("f")]),
         "openai_chat", ["+messages[2][tool_result]"], ["user", "assistant", "tool", "user"]),
        (chat(Message("user", [Text("a")]), Message("assistant", [CALL]), tools=[Tool("f")]), "openai_chat", [],
         ["user", "assistant"]),
        (chat(Message("user", [Text("a")]), Message("assistant", [CALL]), Message("tool", [ToolResult("c1", [Text("7")])])),
         "anthropic_messages", ["+tools"], ["user", "assistant", "tool"]),
        (chat(Message("user", [Text("a")]), Message("assistant", [CALL, ToolCall("c2", "g", "{}")]),
              Message("tool", [ToolResult("c1", [Text("7")])]), tools=[Tool("f"), Tool("g")]), "openai_chat",
         ["+messages[3][tool_result]"], ["user", "assistant", "tool"]),
    ],
)  # fmt: skip
def test_a_conversation_is_mended_and_each_change_named(
    conversation: Conversation, dialect: str, changes: list[str], roles: list[str]
) -> None:
    assert mend(conversation, dialect) == changes
    assert [message.role for message in conversation.messages] == roles
    assert mend(conversation, dialect) == []  # once is enough


def test_a_model_that_is_told_of_old_tools_is_told_to_call_none() -> None:
    asked = chat(
        Message("user", [Text("a")]), Message("assistant", [CALL]), Message("tool", [ToolResult("c1", [Text("7")])])
    )
    mend(asked, "anthropic_messages")
    fields = anthropic_messages.encode_request(asked, ADAPTIVE).fields
    assert [tool["name"] for tool in fields["tools"]] == ["f"]
    assert fields["tool_choice"] == {"type": "none"}


ORPHANED = {
    "model": "m",
    "max_tokens": 50,
    "messages": [
        {"role": "assistant", "content": "Earlier."},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "gone", "content": "42"}]},
    ],
    "metadata": {"user_id": "u1"},
    "service_tier": "auto",
}


@pytest.mark.parametrize("where", ["setting", "request"])
async def test_bytes_are_written_anew_only_where_something_must_be_mended(open_table: OpenTable, where: str) -> None:
    table = await open_table(
        deployment(CLAUDE), "litellm_settings: {modify_params: true}" if where == "setting" else ""
    )
    asked = {"modify_params": True} if where == "request" else {}
    fields, dropped = await sent(table, {**ORPHANED, **asked}, "/v1/messages")
    assert [message["role"] for message in fields["messages"]] == ["user", "assistant", "user"]
    assert "42" in msgspec.json.encode(fields["messages"][2]).decode()
    assert dropped == "messages[1],+messages[0]"
    assert (fields["metadata"], fields["service_tier"], fields["max_tokens"]) == ({"user_id": "u1"}, "auto", 50)
    fine = {**CLIENTS["/v1/messages"], "max_tokens": 5, "unheard_of": {"x": 1.50}, **asked}
    fields, dropped = await sent(table, fine, "/v1/messages")
    assert (fields["unheard_of"], dropped) == ({"x": 1.5}, "")
    if where == "setting":
        off, _ = await sent(table, {**ORPHANED, "modify_params": False}, "/v1/messages")
        assert off["messages"] == ORPHANED["messages"]


async def test_without_leave_nothing_is_mended(open_table: OpenTable) -> None:
    table = await open_table(deployment(CLAUDE))
    fields, dropped = await sent(table, ORPHANED, "/v1/messages")
    assert fields["messages"] == ORPHANED["messages"]
    assert dropped == ""


# --- beta flags ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "provider", "allowed", "kept", "stripped"),
    [
        ("a-2025-01-01, b-2025-01-01", "anthropic", None, ("a-2025-01-01", "b-2025-01-01"), ()),
        (
            "context-1m-2025-08-07,effort-2025-11-24",
            "vertex_ai",
            None,
            ("context-1m-2025-08-07",),
            ("effort-2025-11-24",),
        ),
        ("prompt-caching-scope-2026-01-05", "bedrock", None, (), ("prompt-caching-scope-2026-01-05",)),
        ("x-2025-01-01,y-2025-01-01", "anthropic", ("y-2025-01-01",), ("y-2025-01-01",), ("x-2025-01-01",)),
        ("x-2025-01-01", "vertex_ai", (), (), ("x-2025-01-01",)),
        ("a-1,a-1,,", "azure_ai", None, ("a-1",), ()),
        ("a b", "anthropic", None, (), ("a b",)),
        ("", "anthropic", None, (), ()),
    ],
)
def test_a_provider_is_sent_the_flags_that_it_knows(
    header: str, provider: str, allowed: tuple[str, ...] | None, kept: tuple[str, ...], stripped: tuple[str, ...]
) -> None:
    assert split_betas(header.encode(), provider, allowed) == (kept, stripped)


def test_bedrocks_flags_stand_twice_and_are_the_same() -> None:
    assert BETAS_KNOWN["bedrock"] == bedrock.BETAS


async def test_flags_that_are_taken_out_are_named_and_the_rest_go_in_one_header(open_table: OpenTable) -> None:
    table = await open_table(deployment(CLAUDE, "anthropic_betas: [context-1m-2025-08-07, files-api-2025-04-14]"))
    flags = {"anthropic-beta": "context-1m-2025-08-07,claude-code-20250219"}
    document = {"type": "file", "file": {"file_id": "file_1"}}
    body = {**HELLO, "messages": [{"role": "user", "content": [document]}]}
    _, dropped = await sent(table, body, headers=flags)
    assert table.upstream.requests[-1].headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"
    assert dropped == "anthropic-beta[claude-code-20250219]"
    _, dropped = await sent(table, {**CLIENTS["/v1/messages"], "max_tokens": 5}, "/v1/messages", headers=flags)
    assert table.upstream.requests[-1].headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert dropped == "anthropic-beta[claude-code-20250219]"


async def test_a_provider_that_does_not_speak_anthropics_api_gets_no_flags(open_table: OpenTable) -> None:
    table = await open_table(deployment(OPENAI))
    await sent(
        table, {**CLIENTS["/v1/messages"], "max_tokens": 5}, "/v1/messages", headers={"anthropic-beta": "x-2025-01-01"}
    )
    assert "anthropic-beta" not in table.upstream.requests[-1].headers
