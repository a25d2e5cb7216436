"""What is remembered of JSON that comes again is what would be made of it anew, and no more than fits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.conversation import CacheMark, Conversation, Tool
from tollway.dialects import anthropic_messages, openai_chat, openai_responses
from tollway.errors import BadRequest
from tollway.remembered import BYTES_MIN, END_BYTES, THING_BYTES, Remembered


class Counted:
    """Makes the length of what it is given, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, raw: Raw) -> list[int]:
        self.asked.append(bytes(raw))
        return [len(bytes(raw))]


def test_the_same_bytes_are_asked_for_once() -> None:
    counted = Counted()
    made = Remembered(counted, len)
    text = b"[" + b"1," * BYTES_MIN + b"1]"
    first = made(Raw(text))
    assert made(Raw(bytes(bytearray(text)))) is first
    assert counted.asked == [text]


def test_what_differs_only_in_its_middle_is_told_apart() -> None:
    made = Remembered(Counted(), len)
    texts = [b"[" + b"1" * BYTES_MIN + middle + b"1" * END_BYTES + b"]" for middle in (b"2", b"3")]
    seen = [made(Raw(text)) for text in texts]
    assert seen[0] is not seen[1]
    assert made(Raw(texts[1])) is seen[1]


def test_what_is_short_is_read_each_time() -> None:
    counted = Counted()
    made = Remembered(counted, len)
    made(Raw(b"[]"))
    made(Raw(b"[]"))
    assert counted.asked == [b"[]", b"[]"]


def test_a_refusal_is_not_remembered() -> None:
    def refuse(raw: Raw) -> None:
        raise BadRequest("no")

    made = Remembered(refuse, len)
    for _ in range(2):
        with pytest.raises(BadRequest, match="no"):
            made(Raw(b"1" * BYTES_MIN))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(BYTES_MIN, 3 * BYTES_MIN)), max_size=60))
def test_no_more_is_kept_than_may_be(asked: list[tuple[int, int]]) -> None:
    most = 4 * BYTES_MIN
    made = Remembered(Counted(), len, bytes_max=most)
    for digit, size in asked:
        assert made(Raw(b"%d" % digit * size)) == [size]
        kept = [len(text) for text, _, _ in made._known.values()]
        assert sum(kept) + THING_BYTES * len(kept) == made._bytes <= most
        assert size in kept


def test_many_small_things_are_not_kept_because_their_json_is_short() -> None:
    asked = Counted()
    made = Remembered(asked, lambda made: made[0], bytes_max=64 * BYTES_MIN)  # a thing for each byte
    raw = Raw(b"1" * BYTES_MIN)
    made(raw)
    made(raw)
    assert len(asked.asked) == 2
    assert made._bytes == 0


def test_what_was_asked_for_last_stays_longest() -> None:
    counted = Counted()
    made = Remembered(counted, len, bytes_max=2 * (BYTES_MIN + THING_BYTES))
    one, two, three = (Raw(digit * BYTES_MIN) for digit in (b"1", b"2", b"3"))
    for raw in (one, two, one, three, one):
        made(raw)
    assert counted.asked == [bytes(one), bytes(two), bytes(three)]


PARAMETERS = {"type": "object", "properties": {name: {"type": "string"} for name in "abcdefgh"}}
TOOLS: list[tuple[Any, list[dict[str, Any]], str]] = [
    (
        openai_chat,
        [{"type": "function", "function": {"name": f"f{i}", "parameters": PARAMETERS}} for i in range(9)],
        "messages",
    ),
    (anthropic_messages, [{"name": f"f{i}", "input_schema": PARAMETERS} for i in range(9)], "messages"),
    (openai_responses, [{"type": "function", "name": f"f{i}", "parameters": PARAMETERS} for i in range(9)], "input"),
]


@pytest.mark.parametrize(("dialect", "tools", "input"), TOOLS, ids=["chat", "messages", "responses"])
def test_tools_of_one_call_do_not_reach_another(dialect: Any, tools: list[dict[str, Any]], input: str) -> None:
    def decoded(tools: list[dict[str, Any]]) -> Conversation:
        said = [{"role": "user", "content": "hi"}]
        fields = {"model": "m", input: said, "tools": tools, "max_tokens": 1}
        if dialect is openai_responses:
            del fields["max_tokens"]
        conversation: Conversation = dialect.decode_request(
            {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}
        )
        return conversation

    first = decoded(tools)
    assert [tool.name for tool in first.tools] == [f"f{i}" for i in range(9)]
    assert json.loads(bytes(first.tools[3].parameters or b"")) == PARAMETERS
    first.tools.append(Tool("more"))
    second = decoded(tools)
    assert [tool.name for tool in second.tools] == [f"f{i}" for i in range(9)]
    marked = [*tools[:-1], {**tools[-1], "cache_control": {"type": "ephemeral"}}]
    assert [tool.cache for tool in decoded(marked).tools] == [None] * 8 + [CacheMark("")]
    assert [tool.cache for tool in decoded(tools).tools] == [None] * 9
