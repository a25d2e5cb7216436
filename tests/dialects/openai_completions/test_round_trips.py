"""Random completions and requests go out and come back the same."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tollway.calls import Usage
from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    LikelyToken,
    LogprobsPiece,
    Message,
    Started,
    Text,
    TextPiece,
    UsageSeen,
    fold,
)
from tollway.dialects import About, Traits, TranslatingRelay, openai_chat
from tollway.dialects import openai_completions as dialect

ABOUT = About(model="model-1", id="ours", created_s=3)
any_text = st.text(st.characters(codec="utf-8"), max_size=8)
counts = st.integers(0, 10**6)
numbers = st.one_of(st.none(), st.floats(0, 1, width=16))
tokens = st.builds(LikelyToken, any_text, st.floats(-9, 0, width=16), st.just(()))


@st.composite
def replies(draw: st.DrawFn, choices: int = 3) -> list[Event]:
    """Event sequences of whole replies; the pieces of several choices are mixed."""
    events: list[Event] = [Started("reply-1", "model-1", draw(st.integers(1, 9)))]
    built: list[list[Event]] = []
    for number in range(draw(st.integers(1, choices))):
        pieces: list[Event] = [TextPiece(text, number) for text in draw(st.lists(any_text, max_size=4))]
        if draw(st.booleans()):
            pieces.append(LogprobsPiece(draw(st.lists(tokens, min_size=1, max_size=3)), number))
        built.append([*pieces, Finished(draw(st.sampled_from(["stop", "length", "content_filter"])), None, number)])
    while any(built):
        events.append(draw(st.sampled_from([pieces for pieces in built if pieces])).pop(0))
    if draw(st.booleans()):
        events.append(UsageSeen(Usage(input=draw(counts), cache_read=draw(counts), output=draw(counts))))
    return events


@given(replies())
def test_a_stream_tells_the_whole_reply(events: list[Event]) -> None:
    encoder, decoder = dialect.EventEncoder(ABOUT), dialect.EventDecoder()
    again = decoder.feed(b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None))
    assert fold(again) == fold(events)
    assert decoder.complete


@given(replies())
def test_a_whole_reply_tells_what_its_stream_tells(events: list[Event]) -> None:
    assert fold(dialect.decode_reply(dialect.encode_reply(events, ABOUT))) == fold(events)


@given(replies(), st.lists(st.integers(0, 3000), max_size=10), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_may_be_cut_anywhere(events: list[Event], cuts: list[int], line_end: bytes) -> None:
    encoder = dialect.EventEncoder(ABOUT)
    stream = (encoder.feed(events) + encoder.finish(Usage(input=1), None)).replace(b"\n", line_end)
    places = [0, *sorted(min(place, len(stream)) for place in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    decoder = dialect.EventDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == dialect.EventDecoder().feed(stream)
    about = About(model="model-1", id="ours", created_s=3, choices=len(fold(events).choices))
    relay, whole = dialect.PassRelay(about), dialect.PassRelay(about)
    assert b"".join([relay.feed(piece) for piece in pieces]) == whole.feed(stream)
    assert (relay.finishing, relay.usage, relay.output_bytes) == (True, whole.usage, whole.output_bytes)
    assert relay.finish(relay.usage, None) == whole.finish(whole.usage, None)


@given(replies(choices=1))
def test_a_reply_comes_back_through_chat(events: list[Event]) -> None:
    encoder = dialect.EventEncoder(ABOUT)
    stream = encoder.feed(events) + encoder.finish(None, None)
    there = TranslatingRelay(ABOUT, dialect.EventDecoder(), openai_chat.EventEncoder(ABOUT))
    theirs = there.feed(stream) + there.finish(there.usage, None)
    back = TranslatingRelay(ABOUT, openai_chat.EventDecoder(), dialect.EventEncoder(ABOUT))
    again = fold(dialect.EventDecoder().feed(back.feed(theirs) + back.finish(back.usage, None)))
    expected = fold(events)
    assert again.choices[0].parts == expected.choices[0].parts
    assert (again.choices[0].finish, again.id) == (expected.choices[0].finish, expected.id)
    assert again.usage == expected.usage


@st.composite
def requests(draw: st.DrawFn) -> Conversation:
    asked_likely = draw(st.sampled_from([None, 0, 5]))
    return Conversation(
        model="m",
        messages=[Message("user", [Text(draw(any_text))])],
        dialect="openai_completions",
        usage_wanted=(streaming := draw(st.booleans())),
        streaming=streaming,
        output_tokens_max=draw(st.one_of(st.none(), st.integers(1, 999))),
        temperature=draw(numbers),
        top_p=draw(numbers),
        n=draw(st.integers(1, 4)),
        seed=draw(st.one_of(st.none(), st.integers(-9, 9))),
        presence_penalty=draw(numbers),
        frequency_penalty=draw(numbers),
        stop=draw(st.lists(any_text, max_size=3)),
        logit_bias=draw(st.sampled_from([None, Raw(b'{"5":1}')])),
        logprobs=None if asked_likely is None else True,
        top_logprobs=asked_likely,
        user=draw(st.sampled_from(["", "mara"])),
        extra=draw(st.sampled_from([{}, {"suffix": Raw(b'"x"')}, {"best_of": Raw(b"3"), "novel": Raw(b"[1.0]")}])),
    )


@given(requests())
def test_a_request_says_the_whole_conversation(conversation: Conversation) -> None:
    encoded = dialect.encode_request(conversation, Traits(model="m", drop_unsupported=False))
    fields = msgspec.json.decode(msgspec.json.encode(encoded.fields), type=dict[str, Raw])
    assert dialect.decode_request(fields) == conversation
