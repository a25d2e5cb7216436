"""What can be said in a chat is carried into every dialect whose public schema has a field for it.

`LOSSES` is the whole list of what is not: each row says in which dialect, what, and which public page has no field for
it. A conversation that says everything at once must come back from each dialect the same, but for those rows, and each
row that took something away must have named it in `dropped`.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from tollway.calls import Usage
from tollway.conversation import (
    Audio,
    CacheMark,
    Citation,
    CitationPiece,
    Conversation,
    Document,
    Event,
    Finished,
    Freeform,
    Image,
    Inline,
    LikelyToken,
    Link,
    LogprobsPiece,
    Message,
    Part,
    Reasoning,
    ReasoningOptions,
    ReasoningPiece,
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
    WholeReply,
    as_function,
    fold,
)
from tollway.dialects import About, Traits, anthropic_messages, gemini, label_sealed, openai_chat, openai_responses

MESSAGES = "https://docs.claude.com/en/api/messages"
CHAT = "https://platform.openai.com/docs/api-reference/chat/create"
RESPONSES = "https://platform.openai.com/docs/api-reference/responses/create"
ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES = anthropic_messages.NAME, openai_chat.NAME, openai_responses.NAME
DIALECTS: dict[str, Any] = {ANTHROPIC: anthropic_messages, OPENAI_CHAT: openai_chat, OPENAI_RESPONSES: openai_responses}


class Loss(Struct, frozen=True):
    """`page` is the public schema without a field for it; `told` is how it is named in `dropped`, "" where what is left
    means the same.
    """

    dialect: str
    what: str
    page: str
    told: str
    lose: Callable[[Conversation], None]


# --- what is taken away ----------------------------------------------------------------------------------------------


def field(name: str, nothing: Any = None) -> Callable[[Conversation], None]:
    def lose(asked: Conversation) -> None:
        setattr(asked, name, nothing)

    return lose


def parts(change: Callable[[Part], Part | None]) -> Callable[[Conversation], None]:
    """Each part through `change`; None takes it out."""

    def lose(asked: Conversation) -> None:
        for message in asked.messages:
            message.parts = [kept for kept in map(change, message.parts) if kept is not None]
            for part in message.parts:
                if isinstance(part, ToolResult):
                    part.parts = [kept for kept in map(change, part.parts) if kept is not None]

    return lose


def without(*kinds: type[Any]) -> Callable[[Conversation], None]:
    return parts(lambda part: None if isinstance(part, kinds) else part)


def member(kind: type[Any], name: str, nothing: Any) -> Callable[[Conversation], None]:
    def change(part: Part) -> Part:
        if isinstance(part, kind):
            setattr(part, name, nothing)
        return part

    return parts(change)


def tools(change: Callable[[Tool], Tool]) -> Callable[[Conversation], None]:
    def lose(asked: Conversation) -> None:
        asked.tools = [change(tool) for tool in asked.tools]

    return lose


def search(**nothing: Any) -> Callable[[Conversation], None]:
    def change(tool: Tool) -> Tool:
        if tool.search is not None:
            tool.search = msgspec.structs.replace(tool.search, **nothing)
        return tool

    return tools(change)


def no_names(asked: Conversation) -> None:
    for message in asked.messages:
        message.name = ""


def functions_only(asked: Conversation) -> None:
    asked.tools = [tool.stand_ins[0] if tool.freeform is not None else tool for tool in asked.tools]


def strict(value: bool | None, when: bool | None) -> Callable[[Conversation], None]:
    def change(tool: Tool) -> Tool:
        if tool.native is None and tool.strict is when:
            tool.strict = value
        return tool

    return tools(change)


def no_foreign_thought(maker: str) -> Callable[[Conversation], None]:
    """Thought that `maker` cannot trust."""

    def change(part: Part) -> Part | None:
        if not isinstance(part, Reasoning):
            return part
        sealed_by = part.redacted.partition(":")[0] if ":" in part.redacted else ANTHROPIC
        own = sealed_by == maker if part.redacted else bool(part.signature) and part.maker == maker
        return part if own else None

    return parts(change)


def thought_as_text(part: Part) -> Part | None:
    """Chat completions: thinking blocks are Anthropic's; of others the text stays."""
    if isinstance(part, Reasoning):
        if ":" in part.redacted:
            return None
        if part.maker not in ("", ANTHROPIC):
            return Reasoning(part.text)
    return part


def named_schema(asked: Conversation) -> None:
    if asked.response_format is not None and asked.response_format.kind == "json_schema":
        asked.response_format = ResponseFormat("json_schema", schema=asked.response_format.schema)


def no_marks(asked: Conversation, *, role: str = "") -> None:
    for message in asked.messages:
        if role in ("", message.role):
            for part in message.parts:
                if hasattr(part, "cache"):
                    part.cache = None


def marks_of_input_only(asked: Conversation) -> None:
    no_marks(asked, role="assistant")
    no_marks(asked, role="tool")
    for tool in asked.tools:
        tool.cache = None


def two_lifetimes(asked: Conversation) -> None:
    said = [*asked.system, *(part for message in asked.messages for part in message.parts)]
    for part in [*said, *(inner for one in said if isinstance(one, ToolResult) for inner in one.parts)]:
        mark = getattr(part, "cache", None)
        if mark is not None and mark.ttl != "1h":
            part.cache = CacheMark()  # type: ignore[union-attr]  # it has one


def one_instruction(asked: Conversation) -> None:
    """`instructions` is one text; with marks the parts stay apart."""
    texts = [part for part in asked.system if isinstance(part, Text)]
    if texts and all(part.cache is None for part in texts):
        asked.system = [Text("\n\n".join(part.text for part in texts))]


def effort_words(asked: Conversation) -> None:
    options = asked.reasoning
    if options is not None:
        word = options.effort
        if not word and options.budget_tokens is not None:
            word = "low" if options.budget_tokens <= 1024 else "medium" if options.budget_tokens <= 8192 else "high"
        asked.reasoning = ReasoningOptions(word) if word else None


UNSAID_BY_ANTHROPIC = (
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "metadata",
)
UNSAID_BY_RESPONSES = ("seed", "presence_penalty", "frequency_penalty", "logit_bias", "top_k")
NO_CONTEXT, NO_CITING = member(Document, "context", ""), member(Document, "citations", False)
NO_FAILURES = member(ToolResult, "failed", False)

LOSSES = [
    *(Loss(ANTHROPIC, name, MESSAGES, name, field(name)) for name in UNSAID_BY_ANTHROPIC),
    Loss(ANTHROPIC, "several choices", MESSAGES, "n", field("n", 1)),
    Loss(ANTHROPIC, "tiers but standard and auto", MESSAGES, "service_tier", field("service_tier", "")),
    Loss(ANTHROPIC, "names of speakers", MESSAGES, "messages[].name", no_names),
    Loss(ANTHROPIC, "sound", MESSAGES, "messages[].content[audio]", without(Audio)),
    Loss(ANTHROPIC, "films", MESSAGES, "messages[].content[video]", without(Video)),
    Loss(ANTHROPIC, "detail of a picture", MESSAGES, "messages[].content[image].detail", member(Image, "detail", "")),
    Loss(ANTHROPIC, "others' citations", MESSAGES, "messages[].content[].annotations", member(Text, "citations", [])),
    Loss(ANTHROPIC, "others' thought", MESSAGES, "messages[].reasoning_content", no_foreign_thought(ANTHROPIC)),
    Loss(ANTHROPIC, "signed calls", MESSAGES, "messages[].tool_calls[].extra_content", member(ToolCall, "signature", "")),
    Loss(ANTHROPIC, "tools of plain text: functions instead", MESSAGES, "", functions_only),
    Loss(ANTHROPIC, "how much a search reads", MESSAGES, "tools[web_search].search_context_size", search(context_size="")),
    Loss(ANTHROPIC, "the name of a schema", MESSAGES, "", named_schema),
    Loss(ANTHROPIC, "not strict, which it is unless told", MESSAGES, "", strict(None, False)),
    Loss(ANTHROPIC, "calls side by side, which is so unless told", MESSAGES, "", field("parallel_tool_calls")),
    Loss(OPENAI_CHAT, "films and sound but wav, mp3", CHAT, "", lambda _asked: None),
    Loss(OPENAI_CHAT, "failed results", CHAT, "messages[].content[tool_result].is_error", NO_FAILURES),
    Loss(OPENAI_CHAT, "citations given back", CHAT, "messages[].content[].citations", member(Text, "citations", [])),
    Loss(OPENAI_CHAT, "what a document is about", CHAT, "messages[].content[document].context", NO_CONTEXT),
    Loss(OPENAI_CHAT, "citing documents", CHAT, "messages[].content[document].citations", NO_CITING),
    Loss(OPENAI_CHAT, "thought of others than Anthropic", CHAT, "messages[].thinking_blocks", parts(thought_as_text)),
    Loss(OPENAI_CHAT, "how often to search", CHAT, "tools[web_search].max_uses", search(uses_max=None)),
    Loss(OPENAI_CHAT, "where to search", CHAT, "tools[web_search].allowed_domains", search(allowed_domains=())),
    Loss(OPENAI_CHAT, "where not to search", CHAT, "tools[web_search].blocked_domains", search(blocked_domains=())),
    *(Loss(OPENAI_RESPONSES, name, RESPONSES, name, field(name)) for name in UNSAID_BY_RESPONSES),
    Loss(OPENAI_RESPONSES, "several choices", RESPONSES, "n", field("n", 1)),
    Loss(OPENAI_RESPONSES, "words to stop at", RESPONSES, "stop", field("stop", [])),
    Loss(OPENAI_RESPONSES, "names of speakers", RESPONSES, "messages[].name", no_names),
    Loss(OPENAI_RESPONSES, "films", RESPONSES, "messages[].content[video]", without(Video)),
    Loss(OPENAI_RESPONSES, "what a document is about", RESPONSES, "messages[].content[document].context", NO_CONTEXT),
    Loss(OPENAI_RESPONSES, "citing documents", RESPONSES, "messages[].content[document].citations", NO_CITING),
    Loss(OPENAI_RESPONSES, "failed results", RESPONSES, "messages[].content[tool_result].is_error", NO_FAILURES),
    Loss(OPENAI_RESPONSES, "others' thought", RESPONSES, "messages[].reasoning_content", no_foreign_thought(OPENAI_RESPONSES)),
    Loss(OPENAI_RESPONSES, "signed calls", RESPONSES, "messages[].tool_calls[].extra_content", member(ToolCall, "signature", "")),
    Loss(OPENAI_RESPONSES, "cache marks but on input", RESPONSES, "cache_control", marks_of_input_only),
    Loss(OPENAI_RESPONSES, "a short lifetime of a mark", RESPONSES, "", two_lifetimes),
    Loss(OPENAI_RESPONSES, "instructions in parts", RESPONSES, "", one_instruction),
    Loss(OPENAI_RESPONSES, "tokens to think with: a word instead", RESPONSES, "", effort_words),
    Loss(OPENAI_RESPONSES, "whether strict: not, unless told", RESPONSES, "", strict(False, None)),
    Loss(OPENAI_RESPONSES, "how often to search", RESPONSES, "tools[web_search].max_uses", search(uses_max=None)),
    Loss(OPENAI_RESPONSES, "where not to search", RESPONSES, "tools[web_search].blocked_domains", search(blocked_domains=())),
]  # fmt: skip


# --- conversations that say everything -----------------------------------------------------------------------------

words = st.sampled_from(["hello", "a b", "ünï", "x"])
ids = st.text("abcXYZ019_-", min_size=1, max_size=6)
marks = st.one_of(st.none(), st.builds(CacheMark, st.sampled_from(["", "5m", "1h"])))
texts = st.builds(Text, words, marks)
schema = st.sampled_from([Raw(b'{"type":"object","properties":{},"additionalProperties":false}')])
media = st.one_of(st.just(Inline("image/png", "aGk=")), st.just(Link("https://example.test/x.png")))
citations = st.builds(Citation, st.just("https://a.test"), words, start=st.just(0), end=st.just(1))
cited = st.builds(Text, words, citations=st.lists(citations, max_size=2))
FORM = ResponseFormat("json_schema", "n", Raw(b'{"type":"object","additionalProperties":false}'))
thoughts = st.one_of(
    st.lists(
        st.one_of(st.builds(Reasoning, words, ids, maker=st.just(ANTHROPIC)), st.builds(Reasoning, redacted=ids)),
        max_size=2,
    ),
    st.builds(Reasoning, words, ids, maker=st.just("gemini")).map(lambda part: [part]),
    st.builds(lambda: [Reasoning(redacted=label_sealed(OPENAI_RESPONSES, "rs_1", "gAAA"), id="rs_1")]),
)
heard = st.lists(
    st.one_of(
        texts,
        st.builds(Image, media, st.sampled_from(["", "low", "high"]), marks),
        st.builds(Document, st.just(Inline("application/pdf", "aGk=")), words, words, citations=st.booleans(), cache=marks),
        st.just(Audio(Inline("audio/wav", "UklG"), "wav")),
        st.builds(Video, media),
    ),
    min_size=1,
    max_size=3,
).filter(lambda said: any(isinstance(part, Text) for part in said))  # fmt: skip
FREEFORM = Freeform("lark", "start: WORD")


def native(kind: str) -> Tool:
    if kind == "search":
        where = ("Zürich", "ZH", "CH", "Europe/Zurich")
        asked = WebSearch(2, ("a.test",), ("b.test",), "low", *where)
        return Tool("web_search", native=Raw(b"{}"), dialect="none", search=asked)
    stand_in = as_function("patch", "Patches.", FREEFORM)
    return Tool("patch", "Patches.", native=Raw(b"{}"), dialect="none", freeform=FREEFORM, stand_ins=[stand_in])


@st.composite
def everything(draw: st.DrawFn) -> Conversation:
    messages = [Message("user", draw(heard), draw(st.sampled_from(["", "ann"])))]
    for turn in range(draw(st.integers(0, 2))):
        call = ToolCall(
            f"call_{turn}", "f", '{"a":1}', signature=draw(st.sampled_from(["", "c2ln"])), cache=draw(marks)
        )
        said: list[Part] = [*draw(thoughts), draw(cited), call]
        messages.append(Message("assistant", said))
        answer: list[Part] = [Text(draw(words))]
        messages.append(Message("tool", [ToolResult(call.id, answer, draw(st.booleans()), draw(marks))]))
    function = st.builds(Tool, st.just("f"), words, schema, st.sampled_from([None, True, False]), marks)
    offered = [draw(function), *(native(kind) for kind in draw(st.sets(st.sampled_from(["search", "patch"]))))]
    maybe = st.booleans()
    return Conversation(
        model="m",
        messages=messages,
        system=list(draw(st.lists(texts, max_size=2))),
        streaming=True,
        usage_wanted=True,
        tools=offered,
        tool_choice=draw(st.sampled_from([None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("named", "f")])),
        parallel_tool_calls=True if draw(maybe) else None,
        output_tokens_max=draw(st.integers(20_000, 30_000)),
        temperature=0.5 if draw(maybe) else None,
        top_k=3 if draw(maybe) else None,
        stop=["END"] if draw(maybe) else [],
        n=draw(st.integers(1, 2)),
        seed=1 if draw(maybe) else None,
        presence_penalty=0.5 if draw(maybe) else None,
        frequency_penalty=0.5 if draw(maybe) else None,
        logit_bias=Raw(b'{"1":2}') if draw(maybe) else None,
        logprobs=True if draw(maybe) else None,
        top_logprobs=2 if draw(maybe) else None,
        reasoning=draw(st.sampled_from([None, ReasoningOptions("low"), ReasoningOptions(budget_tokens=5000)])),
        response_format=FORM if draw(maybe) else None,
        user=draw(st.sampled_from(["", "u-1"])),
        metadata=Raw(b'{"a":"b"}') if draw(maybe) else None,
        service_tier=draw(st.sampled_from(["", "flex"])),
    )  # fmt: skip


TRAITS = Traits(
    model="m",
    adaptive_thinking=True,
    native_json_schema=True,
    cache_marks=True,
    thinking_field=True,
    web_search=True,
    openai_fields=True,
)


def bare(asked: Conversation, dialect: str) -> Conversation:
    """Without what only says in which wire format it stood."""
    asked.dialect, asked.dropped, asked.extra = dialect, [], {}
    asked.tools = copy.deepcopy(asked.tools)  # those of a request that was read may be shared
    for tool in asked.tools:
        if tool.native is not None:
            tool.native, tool.dialect, tool.stand_ins = Raw(b"{}"), "", []
            tool.name = "web_search" if tool.search is not None else tool.name
            tool.parameters = None
    asked.tools.sort(key=lambda tool: tool.name)
    for part in [part for message in asked.messages for part in message.parts]:
        for citation in part.citations if isinstance(part, Text) else ():
            citation.raw, citation.dialect = None, ""
    return asked


def test_each_loss_has_the_page_that_has_no_field_for_it() -> None:
    print(f"\n{len(LOSSES)} losses:", {name: sum(loss.dialect == name for loss in LOSSES) for name in DIALECTS})
    assert all(loss.page.startswith("https://") for loss in LOSSES)
    assert len(LOSSES) <= 51  # a longer list is a decision


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=120, deadline=None)
@given(asked=everything())
def test_a_conversation_comes_back_the_same_but_for_the_losses(name: str, asked: Conversation) -> None:
    if name == ANTHROPIC:
        asked.reasoning = None  # it hangs together with choices, limits and sampling there, and has tests of its own
    encoded = DIALECTS[name].encode_request(asked, TRAITS)
    fields = msgspec.json.decode(msgspec.json.encode(encoded.fields), type=dict[str, Raw])
    again = DIALECTS[name].decode_request(fields)
    expected = copy.deepcopy(asked)
    for loss in LOSSES:
        if loss.dialect == name:
            before = copy.deepcopy(expected)
            loss.lose(expected)
            assert before == expected or not loss.told or loss.told in asked.dropped, loss.what
    if name == OPENAI_CHAT:
        again.usage_wanted = True
    assert bare(again, name) == bare(expected, name)


@pytest.mark.parametrize("dialect", [anthropic_messages, openai_responses, gemini])
@settings(max_examples=120, deadline=None)
@given(asked=everything())
def test_a_conversation_read_at_once_is_the_one_read_with_care(
    read_request: Callable[..., Any], dialect: Any, asked: Conversation
) -> None:
    name = dialect.NAME
    if name == ANTHROPIC:
        asked.reasoning = None
    encoded = dialect.encode_request(asked, TRAITS)
    fields = msgspec.json.decode(msgspec.json.encode(encoded.fields), type=dict[str, Raw])
    fields.setdefault("model", Raw(b'"m"'))
    at_once = read_request(name, fields, with_care=False)
    assert isinstance(at_once, Conversation)
    assert at_once == read_request(name, fields, with_care=True)


# --- replies -------------------------------------------------------------------------------------------------------


def reply(seed: int) -> list[Event]:
    """A random reply: thoughts, texts, calls whose pieces may be mixed, citations, and its end."""
    rng = random.Random(seed)
    events: list[Event] = [Started("id_1", "m", rng.randint(1, 9))]
    calls = thoughts = chars = 0
    for _ in range(rng.randint(0, 6)):
        kind = rng.choice(["text", "text", "call", "calls", "thought", "sealed", "cited"])
        if kind == "text":
            for _ in range(rng.randint(1, 3)):
                text = rng.choice(["", "a", "Ünï ", '"\n', "\U0001f600"])
                chars += len(text)
                events.append(TextPiece(text))
        elif kind == "cited":
            events += [TextPiece("fact"), CitationPiece(Citation("https://a.test", "A", "", chars, chars + 4))]
            chars += 4
        elif kind == "call":
            events += [ToolCallStarted(calls, f"call_{calls}", "f", signature=rng.choice(["", "c2ln"]))]
            events += [ToolArgumentsPiece(calls, piece) for piece in ('{"a"', ":", "1}")]
            calls += 1
        elif kind == "calls":
            numbers = list(range(calls, calls + rng.randint(2, 3)))
            calls += len(numbers)
            left = {number: ['{"n":', f"{number}", "}"] for number in numbers}
            events += [ToolCallStarted(number, f"call_{number}", f"f{number}") for number in numbers]
            while left:
                number = rng.choice(list(left))
                events.append(ToolArgumentsPiece(number, left[number].pop(0)))
                left = {one: pieces for one, pieces in left.items() if pieces}
        elif kind == "thought":
            events += [ReasoningPiece("hm", block=thoughts), ReasoningPiece(" so", block=thoughts)]
            events.append(ReasoningPiece(signature="sig", block=thoughts, maker=rng.choice([ANTHROPIC, "gemini"])))
            thoughts += 1
        else:
            seal = rng.choice(["data", label_sealed(OPENAI_RESPONSES, "rs_1", "gAAA")])
            events.append(ReasoningPiece(redacted=seal, block=thoughts))
            thoughts += 1
    events.append(Finished("tool_calls" if calls else rng.choice(["stop", "length"])))
    if rng.random() < 0.8:
        events.append(UsageSeen(Usage(input=rng.randint(0, 99), output=rng.randint(0, 99))))
    return events


def said(whole: WholeReply) -> dict[str, Any]:
    """What no dialect may lose."""
    found = whole.choices[0].parts if whole.choices else []
    texts = [part for part in found if isinstance(part, Text)]
    thought = [part for part in found if isinstance(part, Reasoning)]
    return {
        "id": whole.id,
        "finish": whole.choices[0].finish,
        "text": "".join(part.text for part in texts),
        "cited": [(one.url, one.title, one.start, one.end) for part in texts for one in part.citations],
        "calls": [(p.id, p.name, p.arguments, p.signature) for p in found if isinstance(p, ToolCall)],
        "thought": "".join(part.text for part in thought),
        "sealed": [(p.signature, p.redacted, p.maker) for p in thought if p.signature or p.redacted],
    }


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**40))
def test_a_thousand_random_streams_fold_to_the_same_reply_in_every_dialect(seed: int) -> None:
    events = reply(seed)
    expected = said(fold(events))
    about = About(model="m", id="id_1", created_s=3)
    for name, dialect in DIALECTS.items():
        encoder, decoder = dialect.EventEncoder(about), dialect.EventDecoder()
        stream = b"".join([encoder.feed([event]) for event in events]) + encoder.finish(None, None)
        streamed = said(fold(decoder.feed(stream) + decoder.end()))
        whole = said(fold(dialect.decode_reply(dialect.encode_reply(events, about))))
        if name == ANTHROPIC:  # a citation of a message is of the whole block that it stands in
            for told in (streamed, whole, copy_of := dict(expected)):
                told["cited"] = [one[:2] for one in told["cited"]]
            assert (streamed, whole) == (copy_of, copy_of), name
        else:
            assert (streamed, whole) == (expected, expected), name


def test_likely_tokens_are_told_where_there_is_a_place_for_them() -> None:
    likely = [LikelyToken("Hi", -0.5, (LikelyToken("Hi", -0.5), LikelyToken("Ho", -1.5)))]
    events: list[Event] = [Started("id_1", "m", 3), LogprobsPiece(likely), TextPiece("Hi"), Finished("stop")]
    about = About(model="m", id="id_1", created_s=3)
    for dialect in (openai_chat, openai_responses):
        encoder = dialect.EventEncoder(about)
        stream = encoder.feed(events) + encoder.finish(None, None)
        for again in (dialect.EventDecoder().feed(stream), dialect.decode_reply(dialect.encode_reply(events, about))):
            assert LogprobsPiece(likely) in again


def test_a_refusal_is_one_in_every_dialect() -> None:
    events: list[Event] = [Started("id_1", "m", 3), RefusalPiece("No."), Finished("stop")]
    about = About(model="m", id="id_1", created_s=3)
    message = msgspec.json.decode(anthropic_messages.encode_reply(events, about))
    assert (message["stop_reason"], message["content"][0]["text"]) == ("refusal", "No.")
    for dialect in (openai_chat, openai_responses):
        assert RefusalPiece("No.") in dialect.decode_reply(dialect.encode_reply(events, about))
