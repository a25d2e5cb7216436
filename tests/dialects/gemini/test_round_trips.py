"""Random conversations and replies, limited to what Gemini can say, go out and come back the same."""

from __future__ import annotations

import base64
import itertools
import json
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
    Part,
    Reasoning,
    ReasoningOptions,
    ReasoningPiece,
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
    WholeReply,
    fold,
)
from tollway.dialects import About, Traits, TranslatingRelay, anthropic_messages, gemini, openai_chat

ABOUT = About(model="model-1", id="ours", created_s=3)
EVERYTHING = Traits(model="gemini-2.5-flash", drop_unsupported=False)

words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=8).filter(
    str.strip
)
any_text = st.text(st.characters(codec="utf-8"), max_size=8)
ids = st.text("abcXYZ019_-", min_size=1, max_size=6)
signatures = st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode())
counts = st.integers(0, 10**6)
objects = st.dictionaries(words, st.one_of(st.integers(-9, 9), words, st.none()), max_size=3)
arguments = st.tuples(objects, st.sampled_from([None, 1])).map(lambda pair: json.dumps(pair[0], indent=pair[1]))
schemas = objects.map(lambda more: Raw(msgspec.json.encode({"type": "object", "$defs": {}, **more})))

# --- replies -------------------------------------------------------------------------------------------------------


@st.composite
def replies(draw: st.DrawFn, choices: int = 3) -> list[Event]:
    """Event sequences of whole replies; the pieces of several choices and of several calls are mixed."""
    events: list[Event] = [Started("reply-1", "model-1")]
    built = [draw(_choice(number)) for number in range(draw(st.integers(1, choices)))]
    while any(built):
        pieces = draw(st.sampled_from([pieces for pieces in built if pieces]))
        events.append(pieces.pop(0))
    if draw(st.booleans()):
        events.append(UsageSeen(Usage(input=draw(counts), cache_read=draw(counts), output=draw(counts), reasoning=3)))
    return events


@st.composite
def _choice(draw: st.DrawFn, number: int) -> list[Event]:
    pieces: list[Event] = []
    calls: list[list[Event]] = []
    thoughts = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "sealed", "call", "code"]), max_size=5)):
        if kind == "text":
            pieces += [TextPiece(text, number) for text in draw(st.lists(any_text, max_size=3))]
        elif kind == "thought":
            texts = draw(st.lists(any_text, max_size=3))
            pieces += [ReasoningPiece(text, block=thoughts, choice=number) for text in texts]
            maker = draw(st.sampled_from(["gemini", "anthropic_messages", ""]))
            signature = draw(signatures if maker == "gemini" else st.one_of(signatures, ids))
            pieces.append(ReasoningPiece("", signature, "", thoughts, number, maker))
            thoughts += 1
        elif kind == "sealed":
            pieces.append(ReasoningPiece(redacted=draw(ids), block=thoughts, choice=number))
            thoughts += 1
        elif kind == "code":
            pieces.append(OpaquePiece("gemini", Raw(b'{"executableCode":{"code":"1"}}'), number))
        else:
            signature = draw(st.one_of(st.just(""), signatures))
            pieces.append(ToolCallStarted(len(calls), f"c{len(calls)}", draw(words), False, signature, number))
            text = draw(arguments)
            at = draw(st.integers(0, len(text)))
            calls.append([ToolArgumentsPiece(len(calls), piece, number) for piece in (text[:at], text[at:])])
    while any(calls):
        pieces.append(draw(st.sampled_from([call for call in calls if call])).pop(0))
    reason = draw(st.sampled_from(["stop", "length", "content_filter"]))
    return [*pieces, Finished("tool_calls" if calls and reason == "stop" else reason, None, number)]


def told(reply: WholeReply) -> WholeReply:
    """What a reply says, however its arguments are spaced."""
    for choice in reply.choices:
        for part in choice.parts:
            if isinstance(part, ToolCall):
                part.arguments = json.dumps(json.loads(part.arguments or "{}"))
    reply.created_s = 0
    return reply


@given(replies(), st.booleans())
def test_a_stream_tells_the_whole_reply(events: list[Event], array: bool) -> None:
    encoder, decoder = gemini.EventEncoder(ABOUT, array=array), gemini.EventDecoder()
    again = decoder.feed(b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None))
    assert told(fold(again)) == told(fold(events))


@given(replies())
def test_a_whole_reply_tells_what_its_stream_tells(events: list[Event]) -> None:
    whole = gemini.decode_reply(gemini.encode_reply(events, ABOUT))
    assert told(fold(whole)) == told(fold(events))


@given(replies(), st.lists(st.integers(0, 3000), max_size=10), st.sampled_from([b"\n", b"\r\n", None]))
def test_a_stream_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes | None) -> None:
    encoder = gemini.EventEncoder(ABOUT, array=line_end is None)
    stream = (encoder.feed(events) + encoder.finish(Usage(input=1), None)).replace(b"\n", line_end or b"\n")
    places = [0, *sorted(min(place, len(stream)) for place in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    decoder = gemini.EventDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == gemini.EventDecoder().feed(stream)
    about = About(model="model-1", id="ours", created_s=3, choices=len(fold(events).choices))
    relay, whole = gemini.PassRelay(about), gemini.PassRelay(about)
    assert b"".join([relay.feed(piece) for piece in pieces]) == whole.feed(stream)
    assert (relay.finishing, relay.usage, relay.output_bytes) == (True, whole.usage, whole.output_bytes)
    assert relay.finish(relay.usage, None) == whole.finish(whole.usage, None)


@given(replies(choices=1))
def test_a_reply_comes_back_through_other_dialects(events: list[Event]) -> None:
    """Gemini's stream for a client of OpenAI's or Anthropic's, whose stream then serves a client of Gemini's."""
    encoder = gemini.EventEncoder(ABOUT)
    stream = encoder.feed(events) + encoder.finish(None, None)
    expected = fold(gemini.EventDecoder().feed(stream)).choices[0]
    for dialect in (openai_chat, anthropic_messages):
        there = TranslatingRelay(ABOUT, gemini.EventDecoder(), dialect.EventEncoder(ABOUT))
        theirs = there.feed(stream) + there.finish(there.usage, None)
        back = TranslatingRelay(ABOUT, dialect.EventDecoder(), gemini.EventEncoder(ABOUT))
        again = fold(gemini.EventDecoder().feed(back.feed(theirs) + back.finish(back.usage, None))).choices[0]
        assert calls_of(again.parts) == calls_of(expected.parts)
        assert words_of(again.parts) == words_of(expected.parts)
        assert again.finish == expected.finish


def calls_of(parts: list[Part]) -> list[Any]:
    return [(part.id, part.name, json.loads(part.arguments)) for part in parts if isinstance(part, ToolCall)]


def words_of(parts: list[Part]) -> tuple[str, str]:
    said = "".join(part.text for part in parts if isinstance(part, Text))
    return said, "".join(part.text for part in parts if isinstance(part, Reasoning))


# --- conversations -------------------------------------------------------------------------------------------------

sources = st.sampled_from([Link("https://example.test/x.png"), FileId("files/x.png"), Inline("image/png", "aGk=")])
pictures = st.builds(Image, sources)
media = st.one_of(
    pictures,
    st.just(Audio(Inline("audio/wav", "UklG"), "wav")),
    st.just(Video(Link("https://example.test/x.mp4"))),
    st.just(Document(Inline("application/pdf", "aGk="))),
)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """Turns as Gemini has them: a user's first, one of the model's between two of others, results in the calls' order."""
    messages: list[Message] = []
    numbers = itertools.count()
    for _ in range(draw(st.integers(1, 3))):
        said = st.lists(st.one_of(st.builds(Text, words), media), min_size=1, max_size=3)
        messages.append(Message("user", draw(said)))
        parts: list[Part] = []
        for kind in draw(st.lists(st.sampled_from(["text", "thought", "signed", "code"]), max_size=3)):
            if kind == "text" and not (parts and isinstance(parts[-1], Text)):
                parts.append(Text(draw(words)))
            elif kind == "thought":
                parts.append(Reasoning(draw(words), draw(signatures), maker="gemini"))
            elif kind == "signed":
                parts += [Reasoning(signature=draw(signatures), maker="gemini"), Text(draw(words))]
            elif kind == "code":
                parts.append(Opaque("gemini", Raw(b'{"executableCode":{"code":"1"}}')))
        signed = st.one_of(st.just(""), signatures)
        parts += [
            ToolCall(f"c{next(numbers)}", draw(words), json.dumps(draw(objects)), signature=draw(signed))
            for _ in range(draw(st.integers(0, 2)))
        ]
        if parts:
            messages.append(Message("assistant", parts))
        results: list[Part] = [
            ToolResult(part.id, [Text(draw(words))], draw(st.booleans()))
            for part in parts
            if isinstance(part, ToolCall)
        ]
        if results:
            messages.append(Message("tool", results))
    return messages


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    natives = st.sampled_from(["googleSearch", "codeExecution", "urlContext"]).map(
        lambda name: Tool(
            name,
            native=Raw(b'{"%s":{}}' % name.encode()),
            dialect="gemini",
            search=WebSearch() if name == "googleSearch" else None,
        )
    )
    functions = draw(st.lists(st.builds(Tool, words, words, schemas), max_size=2))
    choice = st.sampled_from(
        [None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("none"), ToolChoice("named", "f")]
    )
    numbers = st.one_of(st.none(), st.floats(0, 2, width=16))
    forms = st.one_of(
        st.sampled_from([None, ResponseFormat("text"), ResponseFormat("json_object")]),
        st.builds(ResponseFormat, st.just("json_schema"), schema=schemas),
    )
    thinking = st.one_of(
        st.sampled_from([None, ReasoningOptions("none"), ReasoningOptions(adaptive=True), ReasoningOptions()]),
        st.builds(ReasoningOptions, budget_tokens=st.integers(1, 9999), summary=st.sampled_from(["", "omitted"])),
    )
    return Conversation(
        model="m",
        dialect="gemini",
        usage_wanted=True,
        system=draw(st.lists(st.builds(Text, words), max_size=2)),
        messages=draw(turns()),
        tools=functions + draw(st.lists(natives, max_size=2)),
        tool_choice=draw(choice) if functions else None,
        output_tokens_max=draw(st.one_of(st.none(), counts)),
        temperature=draw(numbers),
        top_p=draw(numbers),
        top_k=draw(st.one_of(st.none(), st.integers(0, 50))),
        stop=draw(st.lists(words, max_size=5)),
        n=draw(st.integers(1, 3)),
        seed=draw(st.one_of(st.none(), st.integers(-9, 9))),
        presence_penalty=draw(numbers),
        frequency_penalty=draw(numbers),
        logprobs=draw(st.sampled_from([None, True, False])),
        top_logprobs=draw(st.one_of(st.none(), st.integers(0, 5))),
        reasoning=draw(thinking),
        response_format=draw(forms) if not functions else None,
        service_tier=draw(st.sampled_from(["", "flex", "priority", "default"])),
        extra=draw(
            st.sampled_from(
                [
                    {},
                    {"safetySettings": Raw(b"[]"), "generationConfig.speechConfig": Raw(b'{"x" : 1.0}')},
                    {"cachedContent": Raw(b'"c"'), "labels": Raw(b'{"a":"b"}'), "novel": Raw(b"1")},
                ]
            )
        ),
    )


def again(encoded: dict[str, Any]) -> Conversation:
    return gemini.decode_request(
        {**msgspec.json.decode(msgspec.json.encode(encoded), type=dict[str, Raw]), "model": Raw(b'"m"')}
    )


@settings(max_examples=100)
@given(conversations())
def test_a_request_says_the_whole_conversation(conversation: Conversation) -> None:
    encoded = gemini.encode_request(conversation, EVERYTHING)
    assert again(encoded.fields) == conversation
    assert conversation.dropped == []


@settings(max_examples=40)
@given(conversations())
def test_any_request_can_be_put_in_other_dialects_and_back(conversation: Conversation) -> None:
    for dialect in (openai_chat, anthropic_messages):
        encoded = dialect.encode_request(conversation, Traits(model="m"))
        fields = msgspec.json.decode(msgspec.json.encode(encoded.fields), type=dict[str, Raw])
        back = gemini.encode_request(dialect.decode_request(fields), Traits(model="m"))
        names = [call.name for call in _calls(again(back.fields))]
        assert names == [call.name for call in _calls(conversation)]


def _calls(conversation: Conversation) -> list[ToolCall]:
    return [part for message in conversation.messages for part in message.parts if isinstance(part, ToolCall)]
