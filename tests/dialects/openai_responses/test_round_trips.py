"""Random conversations and replies, limited to what the dialect can say, go out and come back the same."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Audio,
    Conversation,
    Document,
    Event,
    FileId,
    Finished,
    Image,
    Inline,
    Link,
    Message,
    Opaque,
    OpaquePiece,
    Reasoning,
    ReasoningOptions,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    ResponseFormat,
    Started,
    Text,
    TextPiece,
    Tool,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    ToolChoice,
    ToolResult,
    UsageSeen,
    WebSearch,
    fold,
)
from tollway.dialects import (
    About,
    Traits,
    TranslatingRelay,
    anthropic_messages,
    label_sealed,
    openai_chat,
    openai_responses,
)
from tollway.dialects.openai_responses import EventDecoder, EventEncoder, PassRelay

NAME = openai_responses.NAME
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=8)
any_text = st.text(st.characters(codec="utf-8"), max_size=8)
ids = st.text("abcXYZ019_-", min_size=1, max_size=6)
counts = st.integers(0, 10**6)
objects = st.dictionaries(words, st.one_of(st.integers(-9, 9), words, st.none()), max_size=3)
schemas = objects.map(lambda more: Raw(msgspec.json.encode({"type": "object", **more})))
arguments = objects.map(lambda value: msgspec.json.encode(value).decode())


# --- what is asked -------------------------------------------------------------------------------------------------


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What a request for a response can say, in the order in which it says it."""
    texts = st.builds(Text, words)
    links = st.builds(Link, st.just("https://example.test/x.png"))
    sources = st.one_of(st.just(Inline("image/png", "aGk=")), links, st.builds(FileId, ids))
    images = st.builds(Image, sources, st.sampled_from(["", "low", "high"]))
    documents = st.one_of(
        st.builds(Document, st.just(Inline("application/pdf", "aGk=")), words),
        st.builds(Document, st.one_of(links, st.builds(FileId, ids))),
    )
    sounds = st.just(Audio(Inline("audio/wav", "UklG"), "wav"))
    heard = st.lists(st.one_of(texts, images, documents, sounds), min_size=1, max_size=3)
    thoughts = st.one_of(
        st.builds(Reasoning, words, id=ids),
        st.tuples(any_text, ids, ids).map(
            lambda told: Reasoning(told[0], redacted=label_sealed(NAME, told[1], told[2]), id=told[1])
        ),
    )
    calls = st.builds(ToolCall, ids, words, arguments)
    searches = st.just(Opaque(NAME, Raw(b'{"type":"web_search_call","id":"ws_1"}')))
    did = st.lists(
        st.one_of(texts, st.builds(Refusal, words), thoughts, calls, searches), min_size=1, max_size=5
    ).filter(_says_each_text_apart)
    result = st.builds(ToolResult, ids, st.lists(st.one_of(texts, images), min_size=1, max_size=2))
    messages = [Message("user", draw(heard))]
    for _ in range(draw(st.integers(0, 3))):
        messages.append(Message("assistant", draw(did)))
        if draw(st.booleans()):
            messages.append(Message("tool", list(draw(st.lists(result, min_size=1, max_size=2)))))
        messages.append(Message(draw(st.sampled_from(["user", "system"])), draw(heard)))
    functions = st.builds(Tool, words, words, schemas, st.booleans())
    native = st.just(Tool("web_search", native=Raw(b'{"type":"web_search"}'), dialect=NAME, search=WebSearch()))
    tools = draw(st.lists(st.one_of(functions, native), max_size=3))
    choices = st.sampled_from([None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("named", "f")])
    extras = {"store": Raw(b"true"), "novel": Raw(b'{"x" : 1.0}'), "text.verbosity": Raw(b'"low"')}
    return Conversation(
        model="model-1",
        dialect=NAME,
        usage_wanted=True,
        system=draw(st.lists(texts, max_size=1)),
        messages=messages,
        streaming=draw(st.booleans()),
        tools=tools,
        tool_choice=draw(choices) if tools else None,
        parallel_tool_calls=draw(st.sampled_from([None, True, False])) if tools else None,
        output_tokens_max=draw(st.one_of(st.none(), st.integers(16, 9999))),
        temperature=draw(st.one_of(st.none(), st.floats(0, 2, width=16))),
        top_p=draw(st.one_of(st.none(), st.floats(0, 1, width=16))),
        reasoning=draw(
            st.one_of(
                st.none(),
                st.builds(
                    ReasoningOptions,
                    st.sampled_from(["low", "high"]),
                    summary=st.sampled_from(["", "auto", "detailed"]),
                ),
            )
        ),
        response_format=draw(
            st.one_of(
                st.none(),
                st.builds(ResponseFormat, st.sampled_from(["text", "json_object"])),
                st.builds(
                    ResponseFormat, st.just("json_schema"), words, schemas, st.sampled_from([None, True]), any_text
                ),
            )
        ),
        user=draw(st.sampled_from(["", "u-1"])),
        metadata=draw(st.one_of(st.none(), st.just(Raw(b'{"a": "b"}')))),
        service_tier=draw(st.sampled_from(["", "flex"])),
        extra={name: extras[name] for name in draw(st.lists(st.sampled_from(sorted(extras)), unique=True))},
    )


def _says_each_text_apart(parts: list[Any]) -> bool:
    """A thought that can be read but was not sealed joins a sealed one without text that follows it."""
    return not any(
        isinstance(one, Reasoning) and isinstance(two, Reasoning) and two.redacted and not two.text
        for one, two in itertools.pairwise(parts)
    )


def fields_of(encoded: dict[str, Any]) -> dict[str, Raw]:
    return msgspec.json.decode(msgspec.json.encode(encoded), type=dict[str, Raw])


@settings(max_examples=80)
@given(conversations())
def test_a_request_says_the_whole_conversation(conversation: Conversation) -> None:
    traits = Traits(model="model-1", drop_unsupported=False)
    encoded = openai_responses.encode_request(conversation, traits)
    again = openai_responses.decode_request(fields_of(encoded.fields))
    assert again == conversation
    assert conversation.dropped == []


@settings(max_examples=40)
@given(conversations())
def test_any_request_can_be_put_to_other_dialects_and_back(conversation: Conversation) -> None:
    for other in (openai_chat, anthropic_messages):
        there = other.encode_request(conversation, Traits(model="model-2", adaptive_thinking=True))
        asked = other.decode_request(fields_of(there.fields))
        back = openai_responses.encode_request(asked, Traits(model="model-1"))
        again = openai_responses.decode_request(fields_of(back.fields))
        assert (again.model, len(again.tools)) == (
            "model-1",
            len([tool for tool in asked.tools if tool.native is None]),
        )


# --- what is answered ----------------------------------------------------------------------------------------------


@st.composite
def replies(draw: st.DrawFn, *, mixed: bool = True) -> list[Event]:
    """Event sequences of whole replies. `mixed`: pieces of arguments may come after the next call began."""
    events: list[Event] = [Started("resp_1", "model-1", draw(st.integers(1, 9)))]
    calls = thoughts = 0
    for kind in draw(st.lists(st.sampled_from(["text", "refusal", "call", "thought", "sealed", "item"]), max_size=6)):
        pieces = draw(st.lists(any_text, max_size=3))
        if kind == "text":
            events += [TextPiece(text) for text in pieces]
        elif kind == "refusal":
            events += [RefusalPiece(text) for text in pieces]
        elif kind == "call":
            signature = draw(st.sampled_from(["", "sig"]))
            events.append(ToolCallStarted(calls, f"{draw(ids)}-{calls}", draw(words), signature=signature))
            events += [ToolArgumentsPiece(calls, text) for text in draw(st.sampled_from([pieces, ["{", "}"]]))]
            calls += 1
        elif kind == "thought":
            signature = draw(st.sampled_from(["", "sig"]))
            events += [ReasoningPiece(text, block=thoughts) for text in pieces]
            if signature:
                events.append(ReasoningPiece(signature=signature, block=thoughts, maker="anthropic_messages"))
            thoughts += bool(signature or any(pieces))
        elif kind == "sealed":
            blob = draw(st.sampled_from(["data", label_sealed(NAME, "rs_1", "gAAA")]))
            events.append(ReasoningPiece(redacted=blob, block=thoughts))
            thoughts += 1
        else:
            events.append(OpaquePiece(NAME, Raw(b'{"type":"mcp_list_tools","id":"mcpl_1"}')))
    if mixed and calls > 1 and draw(st.booleans()):
        events += [ToolArgumentsPiece(number, "x") for number in range(calls)]
    events.append(Finished(draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))))
    if draw(st.booleans()):
        events.append(UsageSeen(Usage(input=draw(counts), cache_read=draw(counts), output=draw(counts))))
    return events


def about() -> About:
    return About(model="model-1", id="resp_1", created_s=3)


def encoded(events: list[Event]) -> bytes:
    encoder = EventEncoder(about())
    return b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None)


def expected(events: list[Event]) -> Any:
    """The fold, but for the reason of a whole reply's end, which the dialect tells by whether there are calls; and but
    for pieces of arguments that came after they were whole.
    """
    reply = fold(events)
    for choice in reply.choices:
        if choice.finish in ("stop", "tool_calls"):
            choice.finish = "tool_calls" if any(isinstance(part, ToolCall) for part in choice.parts) else "stop"
        for place, part in enumerate(choice.parts):
            if isinstance(part, ToolCall) and part.arguments == "{}x" and place < len(choice.parts) - 1:
                part.arguments = "{}"
    return reply


@settings(max_examples=200)
@given(replies())
def test_a_stream_tells_the_whole_reply(events: list[Event]) -> None:
    decoder = EventDecoder()
    again = decoder.feed(encoded(events))
    assert fold(again) == expected(events)
    assert decoder.complete


@given(replies())
def test_a_whole_response_tells_what_its_stream_tells(events: list[Event]) -> None:
    whole = openai_responses.decode_reply(openai_responses.encode_reply(events, about()))
    assert fold(whole) == fold(EventDecoder().feed(encoded(events)))


@given(replies(), st.lists(st.integers(0, 4000), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes) -> None:
    stream = encoded(events).replace(b"\n", line_end)
    places = [0, *sorted(min(place, len(stream)) for place in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    decoder = EventDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == EventDecoder().feed(stream)
    relay, whole = PassRelay(about()), PassRelay(about())
    assert b"".join([relay.feed(piece) for piece in pieces]) == whole.feed(stream)
    assert relay.finish(None, None) == whole.finish(None, None)


@given(replies())
def test_relayed_a_stream_is_as_it_was(events: list[Event]) -> None:
    stream, relay = encoded(events), PassRelay(about())
    assert relay.feed(stream) + relay.finish(None, None) == stream
    assert relay.usage == fold(events).usage


@given(replies(mixed=False))
def test_translated_to_other_dialects_and_back_a_reply_says_the_same(events: list[Event]) -> None:
    stream = encoded(events)
    for other in (openai_chat, anthropic_messages):
        there = TranslatingRelay(about(), EventDecoder(), other.EventEncoder(about()))
        theirs = there.feed(stream) + there.finish(there.usage, None)
        back = TranslatingRelay(about(), other.EventDecoder(), EventEncoder(about()))
        again = back.feed(theirs) + back.finish(back.usage, None)
        assert (there.finishing, back.finishing) == (True, True)
        assert said(EventDecoder().feed(again)) == said(EventDecoder().feed(stream))


def said(events: list[Event]) -> dict[str, Any]:
    """What no dialect may lose. Others know no refusal, or no order of parts."""
    parts = fold(events).choices[0].parts
    return {
        "text": sorted("".join([part.text for part in parts if isinstance(part, (Text, Refusal))])),
        "thought": "".join([part.text for part in parts if isinstance(part, Reasoning)]),
        "sealed": [
            (part.signature, part.redacted)
            for part in parts
            if isinstance(part, Reasoning) and (part.signature or part.redacted)
        ],
        "calls": [(part.id, part.name, part.arguments or "{}") for part in parts if isinstance(part, ToolCall)],
    }


def test_what_openai_sealed_comes_back_through_a_client_of_chat_completions() -> None:
    sealed = (
        b'{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Hm."}],"encrypted_content":"gAAA"}'
    )
    call = b'{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}'
    events = openai_responses.decode_reply(b'{"status":"completed","output":[%b,%b]}' % (sealed, call))
    message = msgspec.json.decode(openai_chat.encode_reply(events, about()))["choices"][0]["message"]
    asked = openai_chat.decode_request(
        fields_of({"model": "m", "messages": [{"role": "user", "content": "x"}, message]})
    )
    fields = openai_responses.encode_request(asked, Traits(model="m")).fields
    item: dict[str, Any] = fields["input"][1]
    assert (item["type"], item["id"], item["encrypted_content"]) == ("reasoning", "rs_1", "gAAA")
    assert fields["include"] == ["reasoning.encrypted_content"]
    assert asked.dropped == []


def test_what_anthropic_signed_comes_back_through_a_client_of_responses() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]
    body = {"id": "msg_1", "type": "message", "role": "assistant", "content": blocks, "stop_reason": "tool_use"}
    events = anthropic_messages.decode_reply(msgspec.json.encode(body))
    output = msgspec.json.decode(openai_responses.encode_reply(events, about()))["output"]
    result = {"type": "function_call_output", "call_id": "c", "output": "x"}
    asked = openai_responses.decode_request(fields_of({"model": "m", "input": [*output, result]}))
    messages = anthropic_messages.encode_request(asked, Traits(model="claude")).fields["messages"]
    turn = next(message for message in messages if message["role"] == "assistant")
    assert msgspec.json.decode(msgspec.json.encode(turn["content"])) == blocks
    assert asked.dropped == []
    # OpenAI would refuse it, so it is left out there.
    item_types = [item["type"] for item in openai_responses.encode_request(asked, Traits(model="gpt")).fields["input"]]
    assert item_types == ["function_call", "function_call_output"]
    assert asked.dropped == ["messages[].reasoning_content"]
