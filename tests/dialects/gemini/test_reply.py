from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    Finished,
    ImagePiece,
    Inline,
    LikelyToken,
    LogprobsPiece,
    OpaquePiece,
    Reasoning,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    UsageSeen,
)
from tollway.dialects import HELD_BYTES_MAX, About, Traits, TranslatingRelay, anthropic_messages, gemini, openai_chat
from tollway.dialects.gemini import EventDecoder, EventEncoder, decode_reply, encode_reply
from tollway.dialects.gemini.parts import wire_signature
from tollway.errors import (
    ContentPolicyViolation,
    UpstreamAccountError,
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
)

ABOUT = About(model="ours", id="ours-1", created_s=7)
THREE = Traits(model="gemini-3-pro-preview")


def chunk(*parts: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    content = {"content": {"parts": list(parts), "role": "model"}} if parts else {}
    return {"candidates": [{**content, "index": 0, **candidate}], "modelVersion": "gemini-3-pro", "responseId": "r1"}


def sse(*chunks: dict[str, Any]) -> bytes:
    return b"".join([b"data: %s\r\n\r\n" % json.dumps(one).encode() for one in chunks])


def array(*chunks: dict[str, Any]) -> bytes:
    return b"[" + b"\n,\r\n".join([json.dumps(one, indent=2).encode() for one in chunks]) + b"\n]\n"


USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 17}
CHUNKS = (
    chunk({"text": "why ", "thought": True}),
    chunk({"text": "so", "thought": True}) | {"usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}},
    chunk({"text": "Hel"}, {"text": "lo"}),
    chunk({"executableCode": {"language": "PYTHON", "code": "1"}}),
    chunk(
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1.5, "b": "}]"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g"}},
    ),
    chunk({"text": "", "thoughtSignature": "ZW5k"}, finishReason="STOP") | {"usageMetadata": USAGE},
)
EVENTS: list[Event] = [
    Started("r1", "gemini-3-pro"),
    ReasoningPiece("why "),
    ReasoningPiece("so"),
    UsageSeen(Usage(input=10)),
    TextPiece("Hel"),
    TextPiece("lo"),
    OpaquePiece("gemini", Raw(b'{"executableCode": {"language": "PYTHON", "code": "1"}}')),
    ToolCallStarted(0, "c1", "f", signature="c2ln"),
    ToolArgumentsPiece(0, '{"a": 1.5, "b": "}]"}'),
    ToolCallStarted(1, "call_r1_1", "g"),
    ToolArgumentsPiece(1, "{}"),
    ReasoningPiece(signature="ZW5k", block=1, maker="gemini"),
    UsageSeen(Usage(input=10, output=4, reasoning=3)),
    Finished("tool_calls"),
]


def test_a_stream_becomes_events() -> None:
    decoder = EventDecoder()
    assert decoder.feed(sse(*CHUNKS)) == EVENTS
    assert not decoder.complete  # the format has no end mark


def test_a_stream_that_is_one_array_becomes_the_same_events() -> None:
    decoder = EventDecoder()
    assert decoder.feed(json.dumps(CHUNKS).encode()) == EVENTS
    assert decoder.complete
    pretty = EventDecoder().feed(array(*CHUNKS))
    assert [type(event) for event in pretty] == [type(event) for event in EVENTS]
    assert not any(b"\n" in bytes(event.raw) for event in pretty if isinstance(event, OpaquePiece))


def test_a_stream_may_be_cut_at_every_byte() -> None:
    for stream in (sse(*CHUNKS), array(*CHUNKS), sse(*CHUNKS).replace(b"\r\n", b"\n")):
        expected = EventDecoder().feed(stream)
        for step in (1, 2, 7):
            decoder = EventDecoder()
            pieces = [decoder.feed(stream[at : at + step]) for at in range(0, len(stream), step)]
            assert [event for piece in pieces for event in piece] == expected


def test_a_last_event_without_its_empty_line_is_read_at_the_end() -> None:
    decoder = EventDecoder()
    stream = sse(CHUNKS[2], CHUNKS[5]).rstrip()
    first = decoder.feed(stream)
    assert (first + decoder.end())[-1] == Finished("stop")
    assert decoder.end() == []


def test_half_an_element_of_an_array_is_none() -> None:
    decoder = EventDecoder()
    decoder.feed(array(CHUNKS[2])[:40])
    assert decoder.end() == []


def test_a_whole_reply_becomes_events_and_its_arguments_one_line() -> None:
    whole = chunk(
        {"text": "Hello", "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {"big": 12345678901234567890, "s": "a\nb"}}},
        finishReason="STOP",
    )
    assert decode_reply(json.dumps(whole | {"usageMetadata": USAGE}, indent=2).encode()) == [
        Started("r1", "gemini-3-pro"),
        ReasoningPiece(signature="c2ln", maker="gemini"),
        TextPiece("Hello"),
        ToolCallStarted(0, "call_r1_0", "f"),
        ToolArgumentsPiece(0, '{"big":12345678901234567890,"s":"a\\nb"}'),
        UsageSeen(Usage(input=10, output=4, reasoning=3)),
        Finished("tool_calls"),
    ]


def test_several_candidates_are_several_choices() -> None:
    whole = chunk({"text": "a"}, finishReason="STOP")
    whole["candidates"].append({"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "MAX_TOKENS"})
    assert decode_reply(json.dumps(whole).encode())[1:] == [
        TextPiece("a"),
        TextPiece("b", 1),
        Finished("stop"),
        Finished("length", None, 1),
    ]


def test_searches_are_counted_as_they_are_billed() -> None:
    grounded = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}
    for model, searches in (("gemini-3-pro", 2), ("gemini-2.5-flash", 1)):
        told = chunk({"text": "x"}, finishReason="STOP", **grounded) | {"usageMetadata": USAGE, "modelVersion": model}
        events = decode_reply(json.dumps(told).encode())
        assert UsageSeen(Usage(input=10, output=4, reasoning=3, searches=searches)) in events
        assert OpaquePiece("gemini", Raw(b'{"groundingMetadata":{"webSearchQueries": ["a", "b"]}}')) in events


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("OTHER", "content_filter"),
        ("NOVEL", "NOVEL"),
    ],
)
def test_each_finish_reason_has_our_word(wire: str, ours: str) -> None:
    assert EventDecoder().feed(sse(chunk(finishReason=wire)))[-1] == Finished(ours)


@pytest.mark.parametrize(
    ("reason", "kind", "retryable"),
    [
        ("MALFORMED_FUNCTION_CALL", UpstreamBroken, True),
        ("UNEXPECTED_TOOL_CALL", UpstreamBroken, True),
        ("MALFORMED_RESPONSE", UpstreamBroken, True),
        ("MISSING_THOUGHT_SIGNATURE", UpstreamRefused, False),
        ("PUP_LIMITED_DISABLED", UpstreamAccountError, True),
    ],
)
def test_a_finish_that_is_a_failure_is_never_a_stop(reason: str, kind: type[UpstreamError], retryable: bool) -> None:
    told = chunk({"text": "x"}, finishReason=reason, finishMessage="bad") | {"usageMetadata": USAGE}
    with pytest.raises(kind) as caught:
        decode_reply(json.dumps(told).encode())
    assert caught.value.retryable is retryable
    decoder = EventDecoder()
    with pytest.raises(kind):
        decoder.feed(sse(told))
    assert UsageSeen(Usage(input=10, output=4, reasoning=3)) in decoder.before_error


def test_a_call_that_cannot_be_read_does_not_bench_its_deployment() -> None:
    with pytest.raises(UpstreamBroken, match="MALFORMED_FUNCTION_CALL: bad") as caught:
        EventDecoder().feed(sse(chunk(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="bad")))
    assert not caught.value.cools


def test_a_blocked_prompt_is_a_violation() -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}
    decoder = EventDecoder()
    for decode in (decode_reply, lambda body: decoder.feed(b"data: " + body + b"\n\n")):
        with pytest.raises(ContentPolicyViolation, match="PROHIBITED_CONTENT") as caught:
            decode(json.dumps(blocked).encode())
        assert caught.value.code == "content_filter"
    assert decoder.before_error == [Started("", ""), UsageSeen(Usage(input=3))]


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("stream", [sse(ERROR), json.dumps(ERROR, indent=2).encode() + b"\n\n", array(ERROR)])
def test_an_error_in_a_stream_is_raised_however_it_comes(stream: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="The model is overloaded") as caught:
        EventDecoder().feed(stream)
    assert caught.value.status == 503


def test_an_error_after_content_keeps_what_came_before() -> None:
    decoder = EventDecoder()
    limit = {"error": {"code": 429, "message": "slow", "details": [{"retryDelay": "2s"}]}}
    with pytest.raises(UpstreamRateLimited) as caught:
        decoder.feed(sse(CHUNKS[2], limit))
    assert caught.value.retry_after_s == 2
    assert decoder.before_error == [Started("r1", "gemini-3-pro"), TextPiece("Hel"), TextPiece("lo")]


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"candidates":[]}', b'{"candidates":[{"content":1}]}'])
def test_what_is_no_reply_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        decode_reply(body)


def test_arguments_in_pieces_are_refused_rather_than_lost() -> None:
    call = {
        "functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}], "willContinue": True}
    }
    with pytest.raises(UpstreamBroken, match="streamFunctionCallArguments"):
        EventDecoder().feed(sse(chunk(call)))


# --- encoding ------------------------------------------------------------------------------------------------------


def chunks_of(out: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in out.split(b"\n\n") if line]


def parts_of(out: bytes) -> list[Any]:
    return [part for one in chunks_of(out) for part in one["candidates"][0].get("content", {}).get("parts", [])]


def test_events_become_a_stream() -> None:
    encoder = EventEncoder(ABOUT)
    out = encoder.feed([Started("r1", "theirs"), TextPiece("Hellö"), TextPiece("")])
    assert chunks_of(out) == [
        {
            "candidates": [{"content": {"parts": [{"text": "Hellö"}], "role": "model"}, "index": 0}],
            "modelVersion": "ours",
            "responseId": "r1",
        }
    ]
    assert encoder.feed([UsageSeen(Usage(input=2, output=3)), Finished("length")]) == b""
    assert chunks_of(encoder.finish(None, Cost(total=1_500))) == [
        {
            "candidates": [
                {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
            ],
            "usageMetadata": {
                "promptTokenCount": 2,
                "candidatesTokenCount": 3,
                "totalTokenCount": 5,
                "cost": 0.0000015,
            },
            "modelVersion": "ours",
            "responseId": "r1",
        }
    ]


def test_a_client_that_did_not_ask_for_events_gets_one_array() -> None:
    encoder = EventEncoder(ABOUT, array=True)
    out = encoder.feed([TextPiece("a")]) + encoder.feed([]) + encoder.feed([TextPiece("b"), TextPiece("c")])
    whole = json.loads(out + encoder.finish(Usage(input=1), None))
    assert [one["candidates"][0]["content"]["parts"][0]["text"] for one in whole] == ["a", "b", "c", ""]
    failed = json.loads(EventEncoder(ABOUT, array=True).fail(UpstreamBroken("gone")))
    assert failed[0]["error"]["code"] == 502


def test_calls_are_whole_and_none_is_lost_however_their_pieces_come() -> None:
    events: list[Event] = [
        TextPiece("x"),
        ToolCallStarted(0, "a", "f", signature="c2ln"),
        ToolCallStarted(1, "b", "g"),
        ToolArgumentsPiece(0, '{\n"n":'),
        ToolArgumentsPiece(1, "{}"),
        TextPiece("mid"),
        ToolArgumentsPiece(0, "1}"),
        ToolCallStarted(2, "c", "h"),
        Finished("tool_calls"),
    ]
    encoder = EventEncoder(ABOUT)
    out = b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None)
    expected = [
        {"text": "x"},
        {"functionCall": {"id": "a", "name": "f", "args": {"n": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
        {"text": "mid"},
        {"functionCall": {"id": "c", "name": "h", "args": {}}},
    ]
    assert parts_of(out)[:-1] == expected
    assert chunks_of(out)[-1]["candidates"][0]["finishReason"] == "STOP"
    assert json.loads(encode_reply(events, ABOUT))["candidates"][0]["content"]["parts"] == expected


def test_calls_are_written_even_where_nobody_said_that_the_reply_is_finished() -> None:
    encoder = EventEncoder(ABOUT)
    assert encoder.feed([ToolCallStarted(0, "a", "f"), ToolArgumentsPiece(0, "{}")]) == b""
    assert parts_of(encoder.finish(None, None))[0] == {"functionCall": {"id": "a", "name": "f", "args": {}}}


def test_a_call_that_was_cut_is_told_and_never_made_up() -> None:
    events: list[Event] = [ToolCallStarted(0, "a", "f"), ToolArgumentsPiece(0, '{"n":'), Finished("length")]
    for reason, word in (("length", "MAX_TOKENS"), ("tool_calls", "MALFORMED_FUNCTION_CALL")):
        events[-1] = Finished(reason)
        encoder = EventEncoder(ABOUT)
        last = chunks_of(encoder.feed(events) + encoder.finish(None, None))[-1]["candidates"][0]
        whole = json.loads(encode_reply(events, ABOUT))["candidates"][0]
        for candidate in (last, whole):
            assert candidate["finishReason"] == word
            assert candidate["finishMessage"] == "Malformed function call: f"
            assert candidate["content"]["parts"] == [{"text": ""}]


def test_calls_that_wait_have_a_bound() -> None:
    encoder = EventEncoder(ABOUT)
    encoder.feed([ToolCallStarted(0, "a", "f"), ToolArgumentsPiece(0, "x" * HELD_BYTES_MAX)])
    with pytest.raises(UpstreamBroken):
        encoder.feed([ToolArgumentsPiece(0, "x")])


def test_what_the_provider_ran_itself_is_not_shown_as_a_call() -> None:
    events: list[Event] = [
        ToolCallStarted(0, "s", "web_search", server_side=True),
        ToolArgumentsPiece(0, "{}"),
        OpaquePiece("anthropic_messages", Raw(b"{}")),
        TextPiece("found"),
    ]
    assert parts_of(EventEncoder(ABOUT).feed(events)) == [{"text": "found"}]
    assert json.loads(encode_reply(events, ABOUT))["candidates"][0]["content"]["parts"] == [{"text": "found"}]


def test_thought_keeps_what_its_maker_signed_and_sealed() -> None:
    events: list[Event] = [
        ReasoningPiece("why"),
        ReasoningPiece(signature="Eg+/", maker="gemini"),
        ReasoningPiece(redacted="sealed", block=1),
        ReasoningPiece(signature="not-base64_", block=2, maker="anthropic_messages"),
        RefusalPiece("no"),
    ]
    encoder = EventEncoder(ABOUT)
    out = encoder.feed(events)
    assert parts_of(out) == [
        {"text": "why", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "Eg+/"},
        {"text": "", "thought": True, "thoughtSignature": wire_signature("", "sealed")},
        {"text": "", "thoughtSignature": wire_signature("not-base64_", maker="anthropic_messages")},
        {"text": "no"},
    ]
    assert EventDecoder().feed(out)[1:] == [*events[:-1], TextPiece("no")]


def test_what_stands_beside_the_content_stays_there() -> None:
    raw = Raw(b'{"groundingMetadata":{"webSearchQueries":["q"]}}')
    events: list[Event] = [TextPiece("x"), OpaquePiece("gemini", raw), Finished("stop")]
    encoder = EventEncoder(ABOUT)
    grounded = chunks_of(encoder.feed(events))[1]["candidates"][0]
    assert grounded["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert grounded["content"]["parts"] == [{"text": ""}]
    assert json.loads(encode_reply(events, ABOUT))["candidates"][0]["groundingMetadata"] == {"webSearchQueries": ["q"]}


@pytest.mark.parametrize(
    ("ours", "fields"),
    [
        ("stop", {"finishReason": "STOP"}),
        ("pause", {"finishReason": "STOP"}),
        ("refusal", {"finishReason": "SAFETY"}),
        ("content_filter", {"finishReason": "SAFETY"}),
        ("novel", {"finishReason": "OTHER", "finishMessage": "novel"}),
    ],
)
def test_each_finish_has_googles_word(ours: str, fields: dict[str, str]) -> None:
    candidate = json.loads(encode_reply([TextPiece("x"), Finished(ours)], ABOUT))["candidates"][0]
    assert {name: candidate.get(name) for name in fields} == fields


def test_several_choices_finish_together() -> None:
    encoder = EventEncoder(ABOUT)
    encoder.feed([TextPiece("a"), TextPiece("b", 1), Finished("stop"), Finished("length", None, 1)])
    last = chunks_of(encoder.finish(None, None))[-1]["candidates"]
    assert [(one["index"], one["finishReason"]) for one in last] == [(0, "STOP"), (1, "MAX_TOKENS")]


def test_an_empty_reply_is_still_one() -> None:
    whole = json.loads(encode_reply([], ABOUT))
    assert whole["candidates"] == [
        {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}
    ]
    assert (whole["modelVersion"], whole["responseId"]) == ("ours", "ours-1")


# --- through other dialects ----------------------------------------------------------------------------------------


def test_a_signature_survives_a_client_of_openais() -> None:
    """What Gemini signed comes back to it from the messages that such a client keeps, streamed or not."""
    there = TranslatingRelay(ABOUT, EventDecoder(), openai_chat.EventEncoder(ABOUT))
    streamed: list[dict[str, Any]] = []
    for line in there.feed(sse(CHUNKS[4], CHUNKS[5])).split(b"\n\n")[:-1]:
        streamed += json.loads(line[6:])["choices"][0]["delta"].get("tool_calls", [])
    calls = [call for call in streamed if "id" in call]
    for call in calls:
        pieces = [piece for piece in streamed if piece["index"] == call["index"] and "id" not in piece]
        call["function"]["arguments"] += "".join(piece["function"]["arguments"] for piece in pieces)
    whole = json.loads(openai_chat.encode_reply(decode_reply(json.dumps(CHUNKS[4]).encode()), ABOUT))
    for kept in (calls, whole["choices"][0]["message"]["tool_calls"]):
        body = {
            "model": Raw(b'"m"'),
            "messages": Raw(
                json.dumps([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": kept}]).encode()
            ),
        }
        encoded = gemini.encode_request(openai_chat.decode_request(body), THREE)
        parts = encoded.fields["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == ["c2ln", None]
        assert [bytes(part["functionCall"]["args"]) for part in parts] == [b'{"a": 1.5, "b": "}]"}', b"{}"]


def test_a_streamed_answers_signature_survives_a_client_of_anthropics() -> None:
    events = EventDecoder().feed(sse(chunk({"text": "Hello"}), CHUNKS[5]))
    message = json.loads(anthropic_messages.encode_reply(events, ABOUT))
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": message["content"]}]
    fields = {"model": Raw(b'"m"'), "max_tokens": Raw(b"9"), "messages": Raw(json.dumps(turns).encode())}
    encoded = gemini.encode_request(anthropic_messages.decode_request(fields), THREE)
    assert encoded.fields["contents"][1]["parts"] == [{"text": "Hello"}, {"text": "", "thoughtSignature": "ZW5k"}]


# --- pictures, likelihoods, sources --------------------------------------------------------------------------------

PICTURE = ImagePiece(Inline("image/png", "aGk="))
LIKELY = [LikelyToken("Hi", -0.5, (LikelyToken("Hi", -0.5), LikelyToken("Ho", -2.0))), LikelyToken("!", -0.25)]


def test_a_picture_is_told_whole_with_what_signs_it_before_and_drafts_are_no_picture() -> None:
    blob = {"mimeType": "image/png", "data": "aGk="}
    parts = [{"inlineData": blob, "thought": True}, {"inlineData": blob, "thoughtSignature": "c2ln"}]
    draft, *told = decode_reply(json.dumps(chunk(*parts, finishReason="STOP")).encode())[1:]
    assert isinstance(draft, OpaquePiece)
    assert told == [ReasoningPiece(signature="c2ln", maker="gemini"), PICTURE, Finished("stop")]


def test_a_picture_reaches_a_client_whole_and_streamed() -> None:
    events = [Started("r", "ours"), TextPiece("Here"), PICTURE, Finished("stop")]
    whole = json.loads(encode_reply(events, ABOUT))
    parts = [{"text": "Here"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]
    assert whole["candidates"][0]["content"]["parts"] == parts
    encoder = EventEncoder(ABOUT)
    decoder = EventDecoder()
    assert [
        one for one in decoder.feed(encoder.feed(events) + encoder.finish(None, None)) if one != TextPiece("")
    ] == events


def test_a_picture_is_content() -> None:
    relay = TranslatingRelay(ABOUT, EventDecoder(), openai_chat.EventEncoder(ABOUT))
    relay.feed(sse(chunk({"inlineData": {"mimeType": "image/png", "data": "aGk="}})))
    assert relay.content_started


def test_how_likely_tokens_were_is_told_in_googles_words() -> None:
    events = [Started("r", "ours"), LogprobsPiece(LIKELY), TextPiece("Hi!"), Finished("stop")]
    (candidate,) = json.loads(encode_reply(events, ABOUT))["candidates"]
    assert candidate["avgLogprobs"] == -0.375
    result = candidate["logprobsResult"]
    assert [token["token"] for token in result["chosenCandidates"]] == ["Hi", "!"]
    assert [len(step["candidates"]) for step in result["topCandidates"]] == [2, 0]
    assert decode_reply(encode_reply(events, ABOUT)) == events
    encoder = EventEncoder(ABOUT)
    assert EventDecoder().feed(encoder.feed(events) + encoder.finish(None, None)) == events


GROUNDING = {
    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"web": {"uri": "https://b.example"}}],
    "groundingSupports": [
        {"segment": {"startIndex": 5, "endIndex": 8, "text": "Sun"}, "groundingChunkIndices": [0, 7]}
    ],
}


def test_sources_are_told_with_places_in_characters() -> None:
    decoder = EventDecoder()
    decoder.feed(sse(chunk({"text": "Grü"})))
    events = decoder.feed(sse(chunk({"text": " Sun"}, groundingMetadata=GROUNDING, finishReason="STOP")))
    told = [event.citation for event in events if isinstance(event, CitationPiece)]
    assert told == [
        Citation("https://a.example", "A", "Sun", 4, 7, dialect="gemini"),
        Citation("https://b.example", dialect="gemini"),
    ]
    assert any(isinstance(event, OpaquePiece) for event in events)


@pytest.mark.parametrize(
    "grounding", [{"groundingChunks": 3}, {"groundingSupports": [{"groundingChunkIndices": [9]}]}, {}]
)
def test_sources_that_cannot_be_read_are_passed_over(grounding: dict[str, Any]) -> None:
    events = decode_reply(json.dumps(chunk({"text": "a"}, groundingMetadata=grounding, finishReason="STOP")).encode())
    assert not any(isinstance(event, CitationPiece) for event in events)


def test_sources_of_another_provider_become_grounding() -> None:
    events = [
        Started("r", "m"),
        TextPiece("Grü Sun"),
        CitationPiece(Citation("https://a.example", "A", start=4, end=7, dialect="anthropic_messages")),
        CitationPiece(Citation("https://a.example", "A", quote="q")),
        CitationPiece(Citation(title="no address")),
        Finished("stop"),
    ]
    told = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 5, "endIndex": 8, "text": "Sun"}, "groundingChunkIndices": [0]},
            {"segment": {"text": "q"}, "groundingChunkIndices": [0]},
        ],
    }
    assert json.loads(encode_reply(events, ABOUT))["candidates"][0]["groundingMetadata"] == told
    encoder = EventEncoder(ABOUT)
    encoder.feed(events)
    assert json.loads(encoder.finish(None, None)[6:])["candidates"][0]["groundingMetadata"] == told


# --- thought that a client would not keep --------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_a_call_carries_the_thought_of_another_maker_for_clients_that_keep_calls_alone(kept: bool) -> None:
    """As Google's own CLI does; Anthropic wants its thought back before its call."""
    maker = "anthropic_messages"
    events = [
        Started("r", "ours"),
        ReasoningPiece("I should "),
        ReasoningPiece("look."),
        ReasoningPiece(signature="c2ln", maker=maker),
        ReasoningPiece(redacted="sealed", block=1, maker=maker),
        TextPiece("Let me."),
        ToolCallStarted(0, "a", "f"),
        ToolArgumentsPiece(0, "{}"),
        ToolCallStarted(1, "b", "g"),
        ToolArgumentsPiece(1, "{}"),
        Finished("tool_calls"),
    ]
    encoder = EventEncoder(ABOUT)
    streamed = [
        json.loads(one[6:]) for one in (encoder.feed(events) + encoder.finish(None, None)).split(b"\n\n") if one
    ]
    for chunks in ([json.loads(encode_reply(events, ABOUT))], streamed):
        parts = [part for one in chunks for part in one["candidates"][0]["content"]["parts"]]
        calls = [part for part in parts if "functionCall" in part]
        assert ["thoughtSignature" in call for call in calls] == [True, False]
        said = parts if kept else calls
        asked = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": said}]}
        conversation = gemini.decode_request({"contents": Raw(json.dumps(asked["contents"]).encode())})
        thought = [part for part in conversation.messages[1].parts if isinstance(part, Reasoning)]
        assert thought[0] == Reasoning("I should look.", "c2ln", maker=maker)
        assert [(part.signature, part.redacted) for part in thought] == [("c2ln", ""), ("", "sealed")]
        assert [part.signature for part in conversation.messages[1].parts if isinstance(part, ToolCall)] == ["", ""]


def test_googles_own_signature_on_a_call_is_left_alone() -> None:
    events = [
        Started("r", "ours"),
        ReasoningPiece("why"),
        ToolCallStarted(0, "a", "f", signature="c2ln"),
        ToolArgumentsPiece(0, "{}"),
        Finished("tool_calls"),
    ]
    (call,) = [
        p for p in json.loads(encode_reply(events, ABOUT))["candidates"][0]["content"]["parts"] if "functionCall" in p
    ]
    assert call["thoughtSignature"] == "c2ln"
