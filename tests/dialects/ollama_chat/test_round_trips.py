"""Random replies as Ollama would write them, cut anywhere; random conversations as they go out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tollway.calls import Usage
from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    Image,
    Inline,
    Message,
    Part,
    Reasoning,
    ReasoningPiece,
    Started,
    Text,
    TextPiece,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    UsageSeen,
    fold,
)
from tollway.dialects import About, Traits, TranslatingRelay, anthropic_messages, ollama_chat, openai_chat

ABOUT = About(model="model-1", id="ours", created_s=3)
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=8).filter(
    str.strip
)
objects = st.dictionaries(words, st.one_of(st.integers(-9, 9), words, st.none()), max_size=3)


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """In Ollama's order: thought, text, calls, each call whole."""
    events: list[Event] = [Started("", "model-1")]
    events += [ReasoningPiece(text) for text in draw(st.lists(words, max_size=3))]
    events += [TextPiece(text) for text in draw(st.lists(words, max_size=3))]
    calls = draw(st.lists(st.tuples(words, objects), max_size=3))
    for index, (name, arguments) in enumerate(calls):
        events.append(ToolCallStarted(index, f"c{index}", name))
        events.append(ToolArgumentsPiece(index, json.dumps(arguments)))
    if draw(st.booleans()):
        events.append(UsageSeen(Usage(input=draw(st.integers(0, 10**6)), output=draw(st.integers(0, 10**6)))))
    events.append(Finished("tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))))
    return events


def lines_of(events: list[Event]) -> bytes:
    """What Ollama would send."""
    out: list[dict[str, Any]] = []
    names: dict[int, tuple[str, str]] = {}
    counts: dict[str, int] = {}
    for event in events:
        if isinstance(event, ReasoningPiece):
            out.append({"message": {"content": "", "thinking": event.text}})
        elif isinstance(event, TextPiece):
            out.append({"message": {"content": event.text}})
        elif isinstance(event, ToolCallStarted):
            names[event.index] = (event.id, event.name)
        elif isinstance(event, ToolArgumentsPiece):
            call_id, name = names[event.index]
            function = {"name": name, "arguments": json.loads(event.text)}
            out.append({"message": {"content": "", "tool_calls": [{"id": call_id, "function": function}]}})
        elif isinstance(event, UsageSeen):
            counts = {"prompt_eval_count": event.usage.input, "eval_count": event.usage.output}
        elif isinstance(event, Finished):
            reason = "length" if event.reason == "length" else "stop"
            out.append({"message": {"content": ""}, "done": True, "done_reason": reason, **counts})
    return b"".join(json.dumps({"model": "model-1", **line}).encode() + b"\n" for line in out)


def words_of(parts: list[Part]) -> tuple[str, str]:
    said = "".join(part.text for part in parts if isinstance(part, Text))
    return said, "".join(part.text for part in parts if isinstance(part, Reasoning))


def calls_of(parts: list[Part]) -> list[Any]:
    return [(part.id, part.name, json.loads(part.arguments)) for part in parts if isinstance(part, ToolCall)]


@given(replies())
def test_a_stream_tells_the_whole_reply(events: list[Event]) -> None:
    decoder = ollama_chat.EventDecoder()
    again, expected = fold(decoder.feed(lines_of(events))), fold(events)
    assert calls_of(again.choices[0].parts) == calls_of(expected.choices[0].parts)
    assert words_of(again.choices[0].parts) == words_of(expected.choices[0].parts)
    assert (again.usage, again.choices[0].finish) == (expected.usage, expected.choices[0].finish)
    assert decoder.complete


@given(replies())
def test_a_whole_reply_tells_what_its_stream_tells(events: list[Event]) -> None:
    whole: dict[str, Any] = {"message": {"content": "", "thinking": "", "tool_calls": []}}
    for line in lines_of(events).splitlines():
        told = json.loads(line)
        for name, value in told.pop("message").items():
            whole["message"][name] += value
        whole |= told
    again = fold(ollama_chat.decode_reply(json.dumps(whole).encode()))
    streamed = fold(ollama_chat.EventDecoder().feed(lines_of(events)))
    assert again == streamed


@given(replies(), st.lists(st.integers(0, 3000), max_size=10), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_a_stream_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes) -> None:
    stream = lines_of(events).replace(b"\n", line_end)
    places = [0, *sorted(min(place, len(stream)) for place in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    decoder = ollama_chat.EventDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == ollama_chat.EventDecoder().feed(stream)


@given(replies())
def test_a_reply_comes_to_clients_of_every_dialect(events: list[Event]) -> None:
    expected = fold(events).choices[0]
    for dialect in (openai_chat, anthropic_messages):
        relay = TranslatingRelay(ABOUT, ollama_chat.EventDecoder(), dialect.EventEncoder(ABOUT))
        theirs = relay.feed(lines_of(events)) + relay.finish(relay.usage, None)
        assert relay.finishing
        again = fold(dialect.EventDecoder().feed(theirs)).choices[0]
        assert words_of(again.parts) == words_of(expected.parts)
        assert calls_of(again.parts) == calls_of(expected.parts)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    messages: list[Message] = []
    numbers = itertools.count()
    for _ in range(draw(st.integers(1, 3))):
        said = st.one_of(st.builds(Text, words), st.just(Image(Inline("image/png", "aGk="))))
        messages.append(Message("user", draw(st.lists(said, min_size=1, max_size=3))))
        parts: list[Part] = [Reasoning(draw(words))] if draw(st.booleans()) else []
        parts += [Text(text) for text in draw(st.lists(words, max_size=2))]
        calls = [
            ToolCall(f"c{next(numbers)}", draw(words), json.dumps(draw(objects)))
            for _ in range(draw(st.integers(0, 2)))
        ]
        if parts or calls:
            messages.append(Message("assistant", [*parts, *calls]))
        messages += [Message("tool", [ToolResult(call.id, [Text(draw(words))])]) for call in calls]
    return Conversation("m", messages, system=draw(st.lists(st.builds(Text, words), max_size=2)), dialect="openai_chat")


@given(conversations())
def test_everything_that_was_said_goes_out_in_its_order(conversation: Conversation) -> None:
    fields = ollama_chat.encode_request(conversation, Traits(model="m", drop_unsupported=False)).fields
    messages = json.loads(msgspec.json.encode(fields["messages"]))
    assert [message["role"] for message in messages] == ["system"] * bool(conversation.system) + [
        message.role for message in conversation.messages
    ]
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    expected = [part for message in conversation.messages for part in message.parts if isinstance(part, ToolCall)]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        (call.id, call.name, json.loads(call.arguments)) for call in expected
    ]
    results = [message for message in messages if message["role"] == "tool"]
    assert [result["tool_name"] for result in results] == [call.name for call in expected]
    pictures = sum(isinstance(part, Image) for message in conversation.messages for part in message.parts)
    assert sum(len(message.get("images", ())) for message in messages) == pictures
    assert conversation.dropped == []
