"""Random conversations and replies, limited to what each dialect can say, go out and come back the same."""

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
    CacheMark,
    Conversation,
    Document,
    Event,
    FileId,
    Finished,
    Image,
    Inline,
    Link,
    Message,
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
    Video,
    WebSearch,
    fold,
)
from tollway.dialects import About, Traits, TranslatingRelay, anthropic_messages, openai_chat

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=8).filter(
    str.strip
)
any_text = st.text(st.characters(codec="utf-8"), max_size=8)
ids = st.text("abcXYZ019_-", min_size=1, max_size=6)
marks = st.one_of(st.none(), st.builds(CacheMark, st.sampled_from(["", "5m", "1h"])))
counts = st.integers(0, 10**6)
objects = st.dictionaries(words, st.one_of(st.integers(-9, 9), words, st.none()), max_size=3)
schemas = objects.map(lambda more: Raw(msgspec.json.encode({"type": "object", **more})))
arguments = objects.map(lambda value: msgspec.json.encode(value).decode())
sources = st.one_of(
    st.builds(Inline, st.sampled_from(["image/png", "application/pdf"]), st.just("aGk=")),
    st.builds(Link, st.just("https://example.test/x.png")),
)
texts = st.builds(Text, words, marks)
ANTHROPIC = "anthropic_messages"
signed_thoughts = st.builds(Reasoning, words, ids, maker=st.just(ANTHROPIC))
images = st.builds(Image, sources, st.sampled_from(["", "low", "high"]), marks)


def replies(*, choices: int, refusals: bool, unsigned_blocks: bool) -> st.SearchStrategy[list[Event]]:
    """Event sequences of whole replies; the pieces of several choices are mixed."""

    @st.composite
    def build(draw: st.DrawFn) -> list[Event]:
        events: list[Event] = [Started("reply-1", "model-1", draw(st.integers(1, 9)))]
        left = {
            number: draw(_blocks(refusals=refusals, unsigned=unsigned_blocks))
            for number in range(draw(st.integers(1, choices)))
        }
        built = {number: _pieces(blocks, number) for number, blocks in left.items()}
        while any(built.values()):
            number = draw(st.sampled_from([number for number, pieces in built.items() if pieces]))
            events.append(built[number].pop(0))
        reasons = st.sampled_from(["stop", "length", "tool_calls", "their_own"])
        events += [Finished(draw(reasons), None, number) for number in built]
        if draw(st.booleans()):
            events.append(UsageSeen(Usage(input=draw(counts), cache_read=draw(counts), output=draw(counts))))
        return events

    return build()


def _blocks(*, refusals: bool, unsigned: bool) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    kinds = [
        st.tuples(st.just("text"), st.lists(any_text, max_size=3)),
        st.tuples(st.just("call"), ids, words, st.lists(words, max_size=3)),
        st.tuples(
            st.just("thought"), st.lists(any_text, max_size=3), ids if not unsigned else st.one_of(ids, st.just(""))
        ),
        st.tuples(st.just("redacted"), ids),
    ]
    if refusals:
        kinds.append(st.tuples(st.just("refusal"), st.lists(any_text, max_size=2)))
    return st.lists(st.one_of(kinds), max_size=5)


def _pieces(blocks: list[tuple[Any, ...]], choice: int) -> list[Event]:
    pieces: list[Event] = []
    calls = thoughts = 0
    for kind, *rest in blocks:
        if kind == "text":
            pieces += [TextPiece(text, choice) for text in rest[0]]
        elif kind == "refusal":
            pieces += [RefusalPiece(text, choice) for text in rest[0]]
        elif kind == "call":
            pieces.append(ToolCallStarted(calls, f"{rest[0]}-{calls}", rest[1], choice=choice))
            pieces += [ToolArgumentsPiece(calls, text, choice) for text in rest[2]]
            calls += 1
        elif kind == "thought":
            pieces += [ReasoningPiece(text, block=thoughts, choice=choice) for text in rest[0]]
            if rest[1]:
                pieces.append(ReasoningPiece(signature=rest[1], block=thoughts, choice=choice, maker=ANTHROPIC))
            thoughts += bool(rest[1] or any(rest[0]))
        else:
            pieces.append(ReasoningPiece(redacted=rest[0], block=thoughts, choice=choice))
            thoughts += 1
    return pieces


@st.composite
def openai_conversations(draw: st.DrawFn) -> Conversation:
    """What a chat completion request can say, in the order in which it says it."""
    user = st.builds(
        Message,
        st.just("user"),
        st.lists(
            st.one_of(
                texts,
                images,
                st.builds(Audio, st.just(Inline("audio/wav", "UklG")), st.just("wav")),
                st.builds(
                    Document,
                    st.one_of(sources.filter(lambda source: isinstance(source, Inline)), st.builds(FileId, ids)),
                    words,
                ),
                st.builds(Video, sources),
            ),
            min_size=1,
            max_size=3,
        ),
        st.sampled_from(["", "ann"]),
    )
    thoughts = st.one_of(
        st.just([]),
        st.builds(Reasoning, words).map(lambda thought: [thought]),
        st.lists(st.one_of(signed_thoughts, st.builds(Reasoning, redacted=ids)), min_size=1, max_size=2),
    )
    calls = st.lists(
        st.builds(ToolCall, ids, words, arguments, signature=st.one_of(st.just(""), ids), cache=marks), max_size=2
    )
    assistant = st.builds(
        lambda thought, said, refusal, call: Message("assistant", [*thought, *said, *refusal, *call]),
        thoughts,
        st.lists(texts, max_size=2),
        st.lists(st.builds(Refusal, words), max_size=1),
        calls,
    )
    result = st.builds(ToolResult, ids, st.lists(texts, min_size=1, max_size=2), cache=marks).map(
        lambda part: Message("tool", [part])
    )
    later = st.builds(Message, st.just("system"), st.lists(texts, min_size=1, max_size=2))
    first = draw(st.one_of(user, assistant))
    numbers = st.one_of(st.none(), st.floats(0, 2, width=16))
    tools = draw(
        st.lists(
            st.one_of(
                st.builds(Tool, words, words, schemas, st.sampled_from([None, True, False]), marks),
                st.just(Tool("web", native=Raw(b'{"type":"web"}'), dialect="openai_chat")),
            ),
            max_size=3,
        )
    )
    choices = st.one_of(
        st.none(), st.sampled_from([ToolChoice("auto"), ToolChoice("required"), ToolChoice("named", "f")])
    )
    return Conversation(
        model="model-1",
        dialect="openai_chat",
        system=draw(st.lists(texts, max_size=2)),
        messages=[first, *draw(st.lists(st.one_of(user, assistant, result, later), max_size=4))],
        streaming=(streaming := draw(st.booleans())),
        usage_wanted=streaming,
        tools=tools,
        tool_choice=draw(choices) if tools else None,
        parallel_tool_calls=draw(st.sampled_from([None, True, False])) if tools else None,
        output_tokens_max=draw(st.one_of(st.none(), counts.filter(bool))),
        temperature=draw(numbers),
        top_p=draw(numbers),
        top_k=draw(st.one_of(st.none(), st.integers(0, 50))),
        stop=draw(st.lists(words, max_size=2)),
        n=draw(st.integers(1, 3)),
        seed=draw(st.one_of(st.none(), st.integers(0, 9))),
        presence_penalty=draw(numbers),
        frequency_penalty=draw(numbers),
        logit_bias=draw(st.one_of(st.none(), st.just(Raw(b'{"50256":-100}')))),
        logprobs=draw(st.sampled_from([None, True, False])),
        top_logprobs=draw(st.one_of(st.none(), st.integers(0, 5))),
        reasoning=draw(
            st.one_of(
                st.none(),
                st.builds(ReasoningOptions, st.sampled_from(["none", "low", "high"])),
                st.builds(ReasoningOptions, budget_tokens=st.integers(1024, 9999)),
                st.builds(
                    ReasoningOptions, st.just("high"), adaptive=st.just(True), summary=st.sampled_from(["", "omitted"])
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
        extra=draw(st.one_of(st.just({}), st.just({"store": Raw(b"false"), "novel": Raw(b'{"x" : 1.0}')}))),
    )


@st.composite
def anthropic_conversations(draw: st.DrawFn) -> Conversation:
    """What a request to Anthropic can say: turns that alternate, a user's first, the tools' results apart from the user's words."""
    result = st.builds(ToolResult, ids, st.lists(st.builds(Text, words), min_size=1, max_size=2), st.booleans(), marks)
    plain_images = st.builds(Image, sources, cache=marks)
    pdf = st.one_of(st.just(Inline("application/pdf", "aGk=")), sources.filter(lambda source: isinstance(source, Link)))
    document = st.builds(Document, pdf, words, words, citations=st.booleans(), cache=marks)
    text_document = st.builds(Document, st.just(Inline("text/plain", "")), words, words, any_text, st.booleans(), marks)
    user = st.lists(st.one_of(texts, plain_images, document, text_document), min_size=1, max_size=3)
    thought = st.one_of(signed_thoughts, st.builds(Reasoning, redacted=ids))
    call = st.builds(ToolCall, ids, words, arguments, cache=marks)
    assistant = st.lists(st.one_of(thought, texts, call), min_size=1, max_size=4)
    messages = [Message("user", draw(user))]
    for _ in range(draw(st.integers(0, 2))):
        parts = draw(assistant)
        if isinstance(parts[-1], Text):
            parts[-1].text = parts[-1].text.strip()
        messages.append(Message("assistant", parts))
        results = draw(st.lists(result, max_size=2))
        if results:
            messages.append(Message("tool", list(results)))
        if not results or draw(st.booleans()):
            messages.append(Message("user", draw(user)))
    tools = draw(st.lists(st.builds(Tool, words, words, schemas, cache=marks), max_size=2))
    native = Tool(
        "web_search",
        native=Raw(b'{"type":"web_search_20250305","name":"web_search"}'),
        dialect="anthropic_messages",
        search=WebSearch(),
    )
    tools += draw(st.lists(st.just(native), max_size=1))
    choice = draw(st.sampled_from([None, ToolChoice("auto"), ToolChoice("none")])) if tools else None
    return Conversation(
        model="model-1",
        dialect="anthropic_messages",
        usage_wanted=True,
        system=draw(st.lists(texts, max_size=2)),
        messages=messages,
        streaming=draw(st.booleans()),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=draw(st.sampled_from([None, False])) if choice == ToolChoice("auto") else None,
        output_tokens_max=draw(st.integers(20_000, 30_000)),
        temperature=draw(st.one_of(st.none(), st.floats(0, 1, width=16))),
        stop=draw(st.lists(words, max_size=2)),
        user=draw(st.sampled_from(["", "u-1"])),
        service_tier=draw(st.sampled_from(["", "standard_only"])),
        extra=draw(st.sampled_from([{}, {"container": Raw(b'"c"'), "novel": Raw(b'{"x" : 1.0}')}])),
    )


def fields_of(encoded: dict[str, Any]) -> dict[str, Raw]:
    return msgspec.json.decode(msgspec.json.encode(encoded), type=dict[str, Raw])


EVERYTHING = Traits(
    model="model-1",
    adaptive_thinking=True,
    legacy_thinking=True,
    native_json_schema=True,
    drop_unsupported=False,
    cache_marks=True,
    thinking_field=True,
)
ABOUT = About(model="model-1", id="ours", created_s=3)


@settings(max_examples=60)
@given(openai_conversations())
def test_a_chat_completion_request_says_the_whole_conversation(conversation: Conversation) -> None:
    encoded = openai_chat.encode_request(conversation, EVERYTHING)
    assert openai_chat.decode_request(fields_of(encoded.fields)) == conversation
    assert conversation.dropped == []


@settings(max_examples=60)
@given(anthropic_conversations())
def test_a_request_to_anthropic_says_the_whole_conversation(conversation: Conversation) -> None:
    encoded = anthropic_messages.encode_request(conversation, EVERYTHING)
    assert anthropic_messages.decode_request(fields_of(encoded.fields)) == conversation
    assert conversation.dropped == []


@settings(max_examples=60)
@given(openai_conversations())
def test_any_chat_completion_request_can_be_put_to_anthropic(conversation: Conversation) -> None:
    traits = Traits(model="claude", adaptive_thinking=True)
    encoded = anthropic_messages.encode_request(conversation, traits)
    roles = [message["role"] for message in encoded.fields["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert anthropic_messages.decode_request(fields_of(encoded.fields)).model == "claude"


@settings(max_examples=60)
@given(anthropic_conversations())
def test_any_request_to_anthropic_can_be_put_as_a_chat_completion(conversation: Conversation) -> None:
    encoded = openai_chat.encode_request(conversation, Traits(model="gpt"))
    assert openai_chat.decode_request(fields_of(encoded.fields)).model == "gpt"


OPENAI_REPLIES = replies(choices=3, refusals=True, unsigned_blocks=True)
ANTHROPIC_REPLIES = replies(choices=1, refusals=False, unsigned_blocks=True)


@given(OPENAI_REPLIES, st.booleans())
def test_a_stream_of_chunks_tells_the_whole_reply(events: list[Event], usage_wanted: bool) -> None:
    encoder = openai_chat.EventEncoder(About(model="model-1", id="ours", created_s=3, usage_wanted=usage_wanted))
    decoder = openai_chat.EventDecoder()
    again = decoder.feed(b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None))
    assert fold(again) == fold(events)
    assert decoder.complete


@given(ANTHROPIC_REPLIES)
def test_a_stream_of_messages_tells_the_whole_reply(events: list[Event]) -> None:
    encoder, decoder = anthropic_messages.EventEncoder(ABOUT), anthropic_messages.EventDecoder()
    again = decoder.feed(b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None))
    expected = fold(events)
    expected.created_s = 0  # the dialect has no word for it
    expected.usage = expected.usage or Usage()  # nor for its absence
    for part in expected.choices[0].parts:
        if isinstance(part, ToolCall) and not part.arguments:
            part.arguments = "{}"
    assert fold(again) == expected
    assert decoder.complete


@given(OPENAI_REPLIES)
def test_a_whole_chat_completion_tells_what_its_stream_tells(events: list[Event]) -> None:
    whole = fold(openai_chat.decode_reply(openai_chat.encode_reply(events, ABOUT)))
    streamed = fold(events)
    assert len(whole.choices) == max(len(streamed.choices), 1)
    for one, other in zip(whole.choices, streamed.choices, strict=False):
        assert one.finish == other.finish
        for kind in (Text, Refusal, Reasoning):
            # A whole message has one text, one refusal and one thought where a stream may mix their pieces.
            assert said(one.parts, kind) == said(other.parts, kind)
        assert [part for part in one.parts if isinstance(part, ToolCall)] == [
            part for part in other.parts if isinstance(part, ToolCall)
        ]
    assert whole.usage == streamed.usage


def said(parts: list[Any], kind: type[Any]) -> str:
    return "".join(
        part.text + getattr(part, "signature", "") + getattr(part, "redacted", "")
        for part in parts
        if isinstance(part, kind)
    )


@given(ANTHROPIC_REPLIES)
def test_a_whole_message_tells_what_its_stream_tells(events: list[Event]) -> None:
    encoder, decoder = anthropic_messages.EventEncoder(ABOUT), anthropic_messages.EventDecoder()
    streamed = fold(decoder.feed(encoder.feed(events) + encoder.finish(None, None)))
    whole = fold(anthropic_messages.decode_reply(anthropic_messages.encode_reply(events, ABOUT)))
    for reply in (streamed, whole):
        for part in reply.choices[0].parts:
            if isinstance(part, ToolCall):
                part.arguments = ""  # a message holds arguments as JSON; these are random words
    assert whole == streamed


@given(OPENAI_REPLIES, st.lists(st.integers(0, 3000), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_of_chunks_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes) -> None:
    encoder = openai_chat.EventEncoder(ABOUT)
    stream = (encoder.feed(events) + encoder.finish(None, None)).replace(b"\n", line_end)
    assert in_pieces(openai_chat.EventDecoder(), stream, cuts) == openai_chat.EventDecoder().feed(stream)


@given(ANTHROPIC_REPLIES, st.lists(st.integers(0, 3000), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_of_messages_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes) -> None:
    encoder = anthropic_messages.EventEncoder(ABOUT)
    stream = (encoder.feed(events) + encoder.finish(None, None)).replace(b"\n", line_end)
    assert in_pieces(anthropic_messages.EventDecoder(), stream, cuts) == anthropic_messages.EventDecoder().feed(stream)
    relay, whole = anthropic_messages.PassRelay(ABOUT), anthropic_messages.PassRelay(ABOUT)
    pieces = b"".join([relay.feed(piece) for piece in cut(stream, cuts)])
    assert pieces == whole.feed(stream)
    assert relay.finish(None, None) == whole.finish(None, None)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(stream)) for place in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def in_pieces(decoder: Any, stream: bytes, cuts: list[int]) -> list[Event]:
    return [event for piece in cut(stream, cuts) for event in decoder.feed(piece)]


@given(ANTHROPIC_REPLIES)
def test_translated_twice_a_reply_is_the_same(events: list[Event]) -> None:
    """Anthropic's stream for a client of OpenAI's, whose stream then serves a client of Anthropic's."""
    encoder = anthropic_messages.EventEncoder(ABOUT)
    stream = encoder.feed(events) + encoder.finish(None, None)
    there = TranslatingRelay(ABOUT, anthropic_messages.EventDecoder(), openai_chat.EventEncoder(ABOUT))
    chunks = there.feed(stream) + there.finish(there.usage, None)
    back = TranslatingRelay(ABOUT, openai_chat.EventDecoder(), anthropic_messages.EventEncoder(ABOUT))
    again = back.feed(chunks) + back.finish(back.usage, None)
    assert fold(anthropic_messages.EventDecoder().feed(again)) == fold(anthropic_messages.EventDecoder().feed(stream))
    assert (there.finishing, back.finishing) == (True, True)
    assert there.output_bytes == back.output_bytes
