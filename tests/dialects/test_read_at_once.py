"""What is read at once, because most requests are alike, is what is read with care: the same conversation, or the same error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

Read = Callable[..., Any]

TEXT = {"role": "user", "content": "hi"}
GOOGLE = {"role": "user", "parts": [{"text": "hi"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
#: What no two of the ways to read may tell apart: the list that the request holds, by dialect.
ODD: dict[str, list[list[Any]]] = {
    "anthropic_messages": [
        [TEXT, {"role": "assistant", "content": [{"type": "fallback", "n": 1}, {"type": "text", "text": "a"}]}],
        [TEXT, {"role": "king", "content": "a"}],
        [TEXT, {"role": "king", "content": [{"type": "text", "text": "a"}]}],
        [TEXT, {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": 5}}]}],
        [TEXT, {"role": "user", "content": [{"type": "document", "source": {"type": "text"}, "citations": 5}]}],
        [TEXT, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"a": 1}]}]}],
        [
            TEXT,
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}, {"type": "text", "text": "a"}]},
        ],
        [TEXT, {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "a"}]}],
        [TEXT, {"role": "assistant", "content": []}],
        [TEXT, {"content": "a"}],
        [TEXT, 5],
    ],
    "gemini": [
        [GOOGLE, {"role": "model", "parts": [{"executableCode": {"code": "1"}}, {"text": "a"}]}],
        [GOOGLE, {"role": "king", "parts": [{"text": "a"}]}],
        [GOOGLE, {"role": "MODEL", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}],
        [
            GOOGLE,
            {"role": "model", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"text": "b"}, {"text": ""}]},
        ],
        [GOOGLE, {"role": "model", "parts": [{"text": ""}]}, {"role": "model", "parts": [{"text": "b"}]}],
        [GOOGLE, {"role": "model", "parts": [{"functionCall": {"name": "f"}}, {"text": "a", "thought": True}]}],
        [GOOGLE, {"role": "model", "parts": [{"text": "a", "functionCall": {"name": "f"}}]}],
        [GOOGLE, {"role": "model", "parts": [{"functionCall": None}, {"text": None}, {}]}],
        [GOOGLE, {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"output": 1}}}]}],
        [GOOGLE, {"parts": [{"functionResponse": {"name": "f", "response": 5}}]}],
        [GOOGLE, {"parts": [{"text": "a"}, {"functionResponse": {"name": "f", "scheduling": "WHEN_IDLE"}}]}],
        [GOOGLE, {"parts": {"text": "a"}}],
        [GOOGLE, {"role": "user"}],
        [GOOGLE, 5],
    ],
    "openai_responses": [
        [TEXT, {"type": "web_search_call", "id": "ws_1", "status": "completed"}, CALL],
        [TEXT, {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}}],
        [TEXT, {"type": "message", "role": "king", "content": "a"}],
        [TEXT, {"type": "message", "role": "user", "content": [{"type": "input_image"}]}],
        [TEXT, {"type": "message", "role": "user", "content": [{"type": "unheard_of", "a": 1}]}],
        [TEXT, {"type": "message", "role": "user", "content": None}],
        [TEXT, {"type": "message", "role": "assistant", "content": ""}, CALL],
        [TEXT, {"role": "assistant", "content": "a", "status": None}, {"role": "assistant", "content": "b"}],
        [{"role": "developer", "content": "a"}, TEXT, {"role": "developer", "content": "b"}],
        [TEXT, {"type": "item_reference", "id": "msg_1"}],
        [TEXT, {"id": "msg_1"}],
        [TEXT, {**CALL, "call_id": None}],
        [TEXT, {**CALL, "arguments": {"a": 1}, "namespace": "n"}],
        [TEXT, {**CALL, "name": None}],
        [TEXT, CALL, {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a"}]}],
        [TEXT, CALL, {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "a", "stderr": ""}]}],
        [TEXT, {"type": "tool_search_call", "id": "t", "execution": "server", "arguments": {}}],
        [TEXT, {"type": "tool_search_call", "call_id": "t", "execution": "client", "arguments": {"query": "a"}}],
        [TEXT, {"type": "tool_search_output", "call_id": "t", "execution": "client", "tools": [{"type": 5}]}],
        [TEXT, {"type": "reasoning", "id": "rs_1", "summary": [], "content": "a"}],
        [TEXT, {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "a"}]}],
        [TEXT, 5],
    ],
}
PLACES = {"anthropic_messages": "messages", "gemini": "contents", "openai_responses": "input"}


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, lists in ODD.items() for said in lists], ids=str)
def test_the_odd_ones_are_read_the_same(read_request: Read, name: str, said: list[Any]) -> None:
    fields = {"model": "m", PLACES[name]: said, "max_tokens": 1}
    raw = {field: Raw(json.dumps(value).encode()) for field, value in fields.items()}
    at_once = read_request(name, raw, with_care=False)
    assert at_once == read_request(name, raw, with_care=True)
    if isinstance(at_once, tuple):
        assert at_once[1] is not None  # it says where
        assert at_once[1].startswith((PLACES[name], f"{PLACES[name]}[1]"))
