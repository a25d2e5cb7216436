"""What coding agents send and get, through models of another maker than they were made for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from msgspec import Raw
from pydantic import TypeAdapter

from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    ReasoningPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    fold,
)
from tollway.dialects import (
    HELD_BYTES_MAX,
    About,
    Traits,
    TranslatingRelay,
    anthropic_messages,
    label_sealed,
    openai_chat,
    openai_responses,
)
from tollway.errors import UpstreamBroken

GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": GRAMMAR}
SHELL = {
    "type": "function",
    "name": "exec_command",
    "description": "Runs.",
    "strict": False,
    "parameters": {"type": "object"},
}
AGENTS = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Sub-agents.",
    "tools": [{"type": "function", "name": "spawn_agent", "description": "Spawns.", "parameters": {"type": "object"}}],
}
FINDER = {"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": {"type": "object"}}
CODEX: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"turn_id": "t"},
    "text": {"verbosity": "low"},
    "reasoning": {"effort": "medium", "summary": "auto"},
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "tools": [
        SHELL,
        PATCH,
        AGENTS,
        FINDER,
        {"type": "local_shell"},
        {"type": "web_search", "external_web_access": True},
    ],
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
    ],
}
HISTORY = [
    {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin Patch"},
    {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."},
    {"type": "function_call", "call_id": "c2", "namespace": "multi_agent_v1", "name": "spawn_agent", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c2", "output": "ok"},
    {"type": "tool_search_call", "call_id": "c3", "execution": "client", "arguments": {"query": "mail"}},
    {"type": "tool_search_output", "call_id": "c3", "execution": "client", "tools": [{"type": "function", "name": "mail"}]},
    {"type": "local_shell_call", "call_id": "c4", "action": {"type": "exec", "command": ["ls"], "env": {}}},
    {"type": "function_call_output", "call_id": "c4", "output": "a.txt"},
]  # fmt: skip


def raw(fields: dict[str, Any]) -> dict[str, Raw]:
    return msgspec.json.decode(msgspec.json.encode(fields), type=dict[str, Raw])


def asked_of_codex(*items: dict[str, Any]) -> Conversation:
    return openai_responses.decode_request(raw({**CODEX, "input": [*CODEX["input"], *items]}))


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(fields))  # type: ignore[no-any-return]


@pytest.mark.parametrize("dialect", [anthropic_messages, openai_chat])
def test_codexs_tools_are_functions_to_other_makers_and_nothing_that_matters_is_dropped(dialect: Any) -> None:
    asked = asked_of_codex(*HISTORY)
    fields = plain(
        dialect.encode_request(asked, Traits(model="claude", web_search=dialect is anthropic_messages)).fields
    )
    names = [tool.get("name") or tool["function"]["name"] for tool in fields["tools"]]
    expected = ["exec_command", "apply_patch", "multi_agent_v1__spawn_agent", "tool_search", "local_shell"]
    assert names == [*expected, *(["web_search"] if dialect is anthropic_messages else []), "mail"]
    patch = fields["tools"][1]
    schema = patch["input_schema"] if dialect is anthropic_messages else patch["function"]["parameters"]
    assert schema["required"] == ["input"]
    assert "begin_patch" in (patch.get("description") or patch["function"]["description"])
    harmless = {"prompt_cache_key", "client_metadata", "text.verbosity", "thinking", "reasoning_effort"}
    assert {name for name in asked.dropped if not name.startswith("tools[")} <= harmless


def test_codexs_earlier_calls_are_calls_of_those_functions() -> None:
    calls = [p for m in asked_of_codex(*HISTORY).messages for p in m.parts if isinstance(p, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("apply_patch", {"input": "*** Begin Patch"}),
        ("multi_agent_v1__spawn_agent", {}),
        ("tool_search", {"query": "mail"}),
        ("local_shell", {"command": ["ls"]}),
    ]


def test_codexs_own_request_goes_back_to_its_dialect_as_it_was() -> None:
    fields = plain(
        openai_responses.encode_request(asked_of_codex(*HISTORY), Traits(model="m", cache_marks=True)).fields
    )
    assert fields["tools"][:6] == CODEX["tools"]
    items = [item for item in fields["input"] if item["type"] not in ("message", "tool_search_output")]
    assert items[:-1] == [item for item in HISTORY[:-1] if item["type"] != "tool_search_output"]
    assert items[-1] == {"type": "local_shell_call_output", "id": "c4", "output": "a.txt"}  # the page's own word for it


def test_calls_of_the_functions_are_items_of_codexs_own_kinds() -> None:
    about = About(model="m", id="resp_1", created_s=3, asked=raw({**CODEX, "input": [*CODEX["input"], *HISTORY]}))
    events: list[Event] = [Started("id", "m", 1)]
    calls = [
        ("apply_patch", '{"input":"*** Begin \\"Patch\\""}'),
        ("multi_agent_v1__spawn_agent", '{"a":1}'),
        ("tool_search", '{"query":"mail"}'),
        ("local_shell", '{"command":["ls"]}'),
        ("exec_command", '{"cmd":"ls"}'),
    ]
    for number, (name, arguments) in enumerate(calls):
        events += [ToolCallStarted(number, f"c{number}", name), ToolArgumentsPiece(number, arguments)]
    encoder = openai_responses.EventEncoder(about)
    stream = encoder.feed([*events, Finished("tool_calls")]) + encoder.finish(None, None)
    told = [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    items = told[-1]["response"]["output"]
    assert [item["type"] for item in items] == [
        "custom_tool_call", "function_call", "tool_search_call", "local_shell_call", "function_call",
    ]  # fmt: skip
    assert items[0]["input"] == '*** Begin "Patch"'
    assert (items[1]["namespace"], items[1]["name"], items[1]["arguments"]) == (
        "multi_agent_v1",
        "spawn_agent",
        '{"a":1}',
    )
    assert (items[2]["execution"], items[2]["arguments"]) == ("client", {"query": "mail"})
    assert items[3]["action"]["command"] == ["ls"]
    done = next(event for event in told if event["type"] == "response.custom_tool_call_input.done")
    assert done["input"] == '*** Begin "Patch"'


def test_a_custom_tool_of_chat_completions_is_called_as_one() -> None:
    custom = {
        "type": "custom",
        "custom": {"name": "patch", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}},
    }
    fields = raw({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [custom]})
    asked = openai_chat.decode_request(fields)
    there = plain(openai_responses.encode_request(asked, Traits(model="m")).fields)["tools"][0]
    assert there == {
        "type": "custom",
        "name": "patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    }
    events: list[Event] = [
        ToolCallStarted(0, "c", "patch"),
        ToolArgumentsPiece(0, '{"input":"a'),
        ToolArgumentsPiece(0, 'b"}'),
    ]
    encoder = openai_chat.EventEncoder(About(model="m", id="i", created_s=1, asked=fields))
    stream = encoder.feed([Started("i", "m"), *events, Finished("tool_calls")]) + encoder.finish(None, None)
    call = [
        part for part in fold(openai_chat.EventDecoder().feed(stream)).choices[0].parts if isinstance(part, ToolCall)
    ]
    assert b'"custom":{"input":"ab"}' in stream
    assert (call[0].name, json.loads(call[0].arguments)) == ("patch", {"input": "ab"})


# --- Claude Code -----------------------------------------------------------------------------------------------------

CLAUDE_CODE: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 32000,
    "stream": True,
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 9}},
    "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    "metadata": {"user_id": "user_1"},
    "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "tools": [
        {"name": "Read", "description": "Reads.", "input_schema": {"type": "object"}, "defer_loading": True},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8, "allowed_domains": ["a.test"]},
    ],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "The date changed."},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]},
        {"role": "user", "content": [{"type": "text", "text": "Go.", "cache_control": {"type": "ephemeral"}}]},
    ],
}  # fmt: skip


def test_claude_codes_request_comes_back_as_it_was() -> None:
    asked = anthropic_messages.decode_request(raw(CLAUDE_CODE))
    fields = plain(anthropic_messages.encode_request(asked, Traits(model="claude", adaptive_thinking=True)).fields)
    assert fields["output_config"] == CLAUDE_CODE["output_config"]
    assert fields["context_management"] == CLAUDE_CODE["context_management"]
    assert (fields["tools"], fields["system"]) == (CLAUDE_CODE["tools"], CLAUDE_CODE["system"])
    assert [message["role"] for message in fields["messages"]] == ["user", "system", "assistant", "user"]
    assert fields["thinking"]["type"] == "adaptive"
    assert asked.dropped == []


@pytest.mark.parametrize("dialect", [openai_chat, openai_responses])
def test_claude_codes_request_breaks_nothing_elsewhere_and_what_is_lost_is_named(dialect: Any) -> None:
    asked = anthropic_messages.decode_request(raw(CLAUDE_CODE))
    traits = Traits(model="gpt", web_search=True, drop_unsupported=False)
    fields = plain(dialect.encode_request(asked, traits).fields)
    name = "reasoning_effort" if dialect is openai_chat else "reasoning"
    assert fields[name] in ("high", {"effort": "high"})
    assert {"context_management", "output_config.task_budget", "tools[].defer_loading", "cache_control"} <= set(
        asked.dropped
    )
    said = json.dumps(fields)
    assert "The date changed." in said
    assert "a.test" in said or "tools[web_search].allowed_domains" in asked.dropped


def test_calls_told_side_by_side_reach_claude_code_one_after_the_other() -> None:
    """Some servers send the arguments of parallel calls mixed; Anthropic's own SDK reads each block from start to stop."""
    events: list[Event] = [Started("msg_1", "m", 1), ReasoningPiece("hm", block=0), TextPiece("Two:")]
    events += [
        ToolCallStarted(0, "a", "f"),
        ToolArgumentsPiece(0, '{"x"'),
        ToolCallStarted(1, "b", "g", signature="c2ln"),
    ]
    events += [ToolArgumentsPiece(1, '{"y":"'), ToolArgumentsPiece(0, ":1"), ToolArgumentsPiece(1, 'é"}')]
    events += [TextPiece("late"), ToolArgumentsPiece(0, "}"), TextPiece("."), Finished("tool_calls")]
    encoder = anthropic_messages.EventEncoder(About(model="m", id="msg_1", created_s=1))
    stream = b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None)
    message: Any = None
    opened = None
    unread: dict[int, Any] = {}
    read = TypeAdapter(RawMessageStreamEvent)
    for line in stream.split(b"\n"):
        if line.startswith(b"data: "):
            event = read.validate_json(line[6:])
            if event.type == "content_block_start":
                assert opened is None
                opened = event.index
            elif event.type in ("content_block_delta", "content_block_stop"):
                assert event.index == opened
                opened = None if event.type == "content_block_stop" else opened
            message = accumulate_event(event=event, current_snapshot=message, json_bufs=unread)
    calls = [(block.id, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [("a", {"x": 1}), ("b", {"y": "é"})]
    assert "".join(block.text for block in message.content if block.type == "text") == "Two:late."


def test_what_waits_for_a_call_that_never_ends_is_bounded() -> None:
    encoder = anthropic_messages.EventEncoder(About(model="m", id="msg_1", created_s=1))
    encoder.feed([ToolCallStarted(0, "a", "f"), ToolArgumentsPiece(0, "{")])
    with pytest.raises(UpstreamBroken, match="bytes before the arguments"):
        encoder.feed([TextPiece("x" * (HELD_BYTES_MAX + 1))])


def test_googles_signature_of_a_call_comes_back_through_claude_code() -> None:
    events: list[Event] = [
        Started("msg_1", "m"),
        ToolCallStarted(0, "call:1", "f", signature="c2ln"),
        ToolArgumentsPiece(0, "{}"),
    ]
    encoder = anthropic_messages.EventEncoder(About(model="m", id="msg_1", created_s=1))
    stream = encoder.feed([*events, Finished("tool_calls")]) + encoder.finish(None, None)
    whole = msgspec.json.decode(anthropic_messages.encode_reply(events, About(model="m", id="msg_1", created_s=1)))
    assert [block["type"] for block in whole["content"]] == ["thinking", "tool_use"]
    assert b'"signature":"gemini:call_1:c2ln"' in stream
    turn = {"role": "assistant", "content": whole["content"]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call:1", "content": "x"}]}
    asked = anthropic_messages.decode_request(raw({"model": "m", "max_tokens": 9, "messages": [turn, result]}))
    assert asked.messages[0].parts == [ToolCall("call:1", "f", "{}", signature="c2ln")]
    # Anthropic would refuse it, so it is left out there, and named.
    fields = plain(anthropic_messages.encode_request(asked, Traits(model="claude")).fields)
    assert [block["type"] for block in fields["messages"][1]["content"]] == ["tool_use"]
    assert asked.dropped == ["messages[].tool_calls[].extra_content"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "redacted_thinking", "data": label_sealed("openai_responses", "rs_1", "gAAA")},
        {"type": "thinking", "thinking": "hm", "signature": label_sealed("gemini", "", "c2ln")},
    ],
)
def test_what_another_maker_sealed_or_signed_is_never_put_to_anthropic(block: dict[str, str]) -> None:
    message = {"role": "assistant", "content": "Yes?", "thinking_blocks": [block]}
    fields = raw({"model": "m", "messages": [{"role": "user", "content": "x"}, message]})
    asked = openai_chat.decode_request(fields)
    there = plain(anthropic_messages.encode_request(asked, Traits(model="claude")).fields)
    assert there["messages"][1]["content"] == [{"type": "text", "text": "Yes?"}]
    assert asked.dropped == ["messages[].reasoning_content"]
    asked = openai_chat.decode_request(fields)
    openai_chat.encode_request(asked, Traits(model="m", thinking_field=True))
    assert asked.dropped == ["messages[].thinking_blocks"]


# --- what breaks -------------------------------------------------------------------------------------------------------

BROKEN = {
    "anthropic_messages": b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":7}\n\n',
    "openai_chat": b'data: {"choices":7}\n\n',
    "openai_responses": b'event: response.completed\ndata: {"type":"response.completed","response":7}\n\n',
}
MODULES: dict[str, Any] = {module.NAME: module for module in (anthropic_messages, openai_chat, openai_responses)}


@pytest.mark.parametrize("theirs", MODULES)
@pytest.mark.parametrize("ours", MODULES)
def test_a_chunk_that_cannot_be_read_is_an_error_in_the_clients_dialect(theirs: str, ours: str) -> None:
    about = About(model="m", id="id_1", created_s=3)
    relay: Any = MODULES[ours].PassRelay(about)
    if theirs != ours:
        relay = TranslatingRelay(about, MODULES[theirs].EventDecoder(), MODULES[ours].EventEncoder(about))
    with pytest.raises(UpstreamBroken) as caught:
        relay.feed(BROKEN[theirs])
    out = relay.fail(caught.value)
    assert b"error" in out
    assert not any(end in out for end in (b"[DONE]", b"message_stop", b'"response.completed"'))
    assert not relay.finishing


SPARSE = {
    "anthropic_messages": b'{"content":[{"type":"text","text":"x"}]}',
    "openai_chat": b'{"choices":[{"message":{"content":"x"}}]}',
    "openai_responses": b'{"output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}]}',
}


@pytest.mark.parametrize("theirs", MODULES)
@pytest.mark.parametrize("ours", MODULES)
def test_an_answer_that_says_no_more_than_it_must_is_one(theirs: str, ours: str) -> None:
    """No id, no model, no usage, no tier, no reason for its end."""
    about = About(model="m", id="id_1", created_s=3)
    events = MODULES[theirs].decode_reply(SPARSE[theirs])
    again = MODULES[ours].decode_reply(MODULES[ours].encode_reply(events, about))
    assert TextPiece("x") in again
    assert next(event.id for event in again if isinstance(event, Started)) == "id_1"
