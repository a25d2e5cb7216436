"""Random replies as Cohere would write them, cut anywhere; random conversations as they go out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    Image,
    Link,
    Message,
    Part,
    Reasoning,
    ReasoningPiece,
    Started,
    Text,
    TextPiece,
    Tool,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    UsageSeen,
    WholeReply,
    fold,
)
from tollway.dialects import About, Traits, TranslatingRelay, anthropic_messages, cohere_chat, openai_chat

ABOUT = About(model="model-1", id="ours", created_s=3)
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=8).filter(
    str.strip
)
objects = st.dictionaries(words, st.one_of(st.integers(-9, 9), words, st.none()), max_size=3)
FINISHES = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR_TOXIC"}


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """In Cohere's order: the plan, content, calls."""
    events: list[Event] = [Started("reply-1", "")]
    events += [ReasoningPiece(text, block=0) for text in draw(st.lists(words, max_size=2))]
    for at, thought in enumerate(draw(st.lists(st.booleans(), max_size=3))):
        pieces = draw(st.lists(words, min_size=1, max_size=3))
        events += [ReasoningPiece(text, block=1 + at) if thought else TextPiece(text) for text in pieces]
    calls = draw(st.lists(st.tuples(words, st.lists(words, max_size=3)), max_size=3))
    for index, (name, pieces) in enumerate(calls):
        events.append(ToolCallStarted(index, f"c{index}", name))
        events += [ToolArgumentsPiece(index, text) for text in pieces]
    if draw(st.booleans()):
        events.append(UsageSeen(Usage(input=draw(st.integers(1, 10**6)), output=draw(st.integers(0, 10**6)))))
    events.append(Finished("tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))))
    return events


def usage_fields(events: list[Event]) -> dict[str, Any]:
    usage = next((event.usage for event in events if isinstance(event, UsageSeen)), None)
    if usage is None:
        return {}
    return {"usage": {"billed_units": {"input_tokens": usage.input, "output_tokens": usage.output}}}


def stream_of(events: list[Event]) -> bytes:
    """What Cohere would send."""
    out: list[dict[str, Any]] = []
    block = 0

    def say(kind: str, index: int, **message: Any) -> None:
        out.append({"type": kind, "index": index, "delta": {"message": message}})

    for event in events:
        if isinstance(event, Started):
            out.append({"type": "message-start", "id": event.id, "delta": {"message": {"role": "assistant"}}})
        elif isinstance(event, ReasoningPiece) and event.block == 0:
            say("tool-plan-delta", 0, tool_plan=event.text)
        elif isinstance(event, ReasoningPiece):
            block = event.block - 1
            say("content-delta", block, content={"thinking": event.text})
        elif isinstance(event, TextPiece):
            say("content-delta", block, content={"text": event.text})
        elif isinstance(event, ToolCallStarted):
            function = {"name": event.name, "arguments": ""}
            say("tool-call-start", event.index, tool_calls={"id": event.id, "type": "function", "function": function})
        elif isinstance(event, ToolArgumentsPiece):
            say("tool-call-delta", event.index, tool_calls={"function": {"arguments": event.text}})
        elif isinstance(event, Finished):
            reason = FINISHES[event.reason]
            out.append({"type": "message-end", "delta": {"finish_reason": reason, **usage_fields(events)}})
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in out)


def whole_of(reply: WholeReply, events: list[Event]) -> bytes:
    choice = reply.choices[0]
    content: dict[int, dict[str, str]] = {}
    plan = ""
    for event in events:
        if isinstance(event, ReasoningPiece):
            if event.block == 0:
                plan += event.text
            else:
                block = content.setdefault(event.block, {"type": "thinking", "thinking": ""})
                block["thinking"] += event.text
    texts = [{"type": "text", "text": part.text} for part in choice.parts if isinstance(part, Text)]
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in choice.parts
        if isinstance(part, ToolCall)
    ]
    message = {"role": "assistant", "tool_plan": plan, "content": [*content.values(), *texts], "tool_calls": calls}
    body = {"id": reply.id, "message": message, "finish_reason": FINISHES[choice.finish], **usage_fields(events)}
    return json.dumps(body).encode()


def words_of(parts: list[Part]) -> tuple[str, str]:
    said = "".join(part.text for part in parts if isinstance(part, Text))
    return said, "".join(part.text for part in parts if isinstance(part, Reasoning))


def calls_of(parts: list[Part]) -> list[tuple[str, str, str]]:
    return [(part.id, part.name, part.arguments or "{}") for part in parts if isinstance(part, ToolCall)]


@given(replies())
def test_a_stream_tells_the_whole_reply(events: list[Event]) -> None:
    decoder = cohere_chat.EventDecoder()
    assert fold(decoder.feed(stream_of(events))) == fold(events)
    assert decoder.complete


@given(replies())
def test_a_whole_reply_tells_what_its_stream_tells(events: list[Event]) -> None:
    expected = fold(events)
    whole = fold(cohere_chat.decode_reply(whole_of(expected, events)))
    assert words_of(whole.choices[0].parts) == words_of(expected.choices[0].parts)
    assert calls_of(whole.choices[0].parts) == calls_of(expected.choices[0].parts)
    assert (whole.usage, whole.id, whole.choices[0].finish) == (expected.usage, expected.id, expected.choices[0].finish)


@given(replies(), st.lists(st.integers(0, 3000), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes) -> None:
    stream = stream_of(events).replace(b"\n", line_end)
    places = [0, *sorted(min(place, len(stream)) for place in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    decoder = cohere_chat.EventDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == cohere_chat.EventDecoder().feed(stream)


@given(replies())
def test_a_reply_comes_to_clients_of_every_dialect(events: list[Event]) -> None:
    expected = fold(events).choices[0]
    for dialect in (openai_chat, anthropic_messages):
        relay = TranslatingRelay(ABOUT, cohere_chat.EventDecoder(), dialect.EventEncoder(ABOUT))
        theirs = relay.feed(stream_of(events)) + relay.finish(relay.usage, None)
        assert relay.finishing
        again = fold(dialect.EventDecoder().feed(theirs)).choices[0]
        assert words_of(again.parts) == words_of(expected.parts)
        assert calls_of(again.parts) == calls_of(expected.parts)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    messages: list[Message] = []
    numbers = itertools.count()
    for _ in range(draw(st.integers(1, 3))):
        said = st.one_of(st.builds(Text, words), st.just(Image(Link("https://example.test/x.png"))))
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
    return Conversation(
        "m",
        messages,
        system=draw(st.lists(st.builds(Text, words), max_size=2)),
        tools=draw(
            st.lists(st.builds(Tool, words, words, objects.map(lambda o: Raw(msgspec.json.encode(o)))), max_size=2)
        ),
        dialect="openai_chat",
    )


@given(conversations())
def test_every_turn_goes_out_and_each_result_follows_its_call(conversation: Conversation) -> None:
    fields = cohere_chat.encode_request(conversation, Traits(model="m", reasoning=False)).fields
    messages = json.loads(msgspec.json.encode(fields["messages"]))
    called = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert called == answered
    for before, message in itertools.pairwise(messages):
        if message["role"] == "tool":
            assert before["role"] in ("assistant", "tool")
    users = [message for message in messages if message["role"] == "user"]
    assert len(users) == sum(message.role == "user" for message in conversation.messages)
    assert len(fields.get("tools", ())) == len(conversation.tools)
