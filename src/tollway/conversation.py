"""What can be said in a chat, in no provider's words: the intermediate form between two different dialects.

A dialect decodes its request into one `Conversation` and its reply into `Event`s; another dialect encodes them. Same
dialect in and out never comes here: those bytes pass through. Blobs that only their maker understands (signatures,
encrypted reasoning, JSON schemas) are kept as they came: `Raw` is JSON text, untouched.

All of it are trees: no part leads back to what holds it, so the collector has nothing to look for here (`gc=False`).
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Raw, Struct, field

from tollway.calls import Usage

# --- what is asked -------------------------------------------------------------------------------------------------


class CacheMark(Struct, frozen=True, gc=False):
    """Everything up to here may be cached by the provider. `ttl` is "5m", "1h" or "" for the provider's default."""

    ttl: str = ""


class Inline(Struct, frozen=True, gc=False):
    """Media carried in the request; `data` is base64."""

    media_type: str
    data: str


class Link(Struct, frozen=True, gc=False):
    """Media somewhere else, which the provider fetches."""

    url: str


class FileId(Struct, frozen=True, gc=False):
    """Media uploaded to the provider earlier."""

    id: str


Source: TypeAlias = Inline | Link | FileId


class Citation(Struct, gc=False):
    """What a text rests on. `start` and `end` count characters of all the text of its message; -1 where nobody says.

    `raw` is the citation as `dialect` told it, for the way back there; another dialect tells `url` and `title`, and
    leaves out a citation that has no URL (it points into a document by a number that only its provider knows).
    """

    url: str = ""
    title: str = ""
    quote: str = ""
    start: int = -1
    end: int = -1
    raw: Raw | None = None
    dialect: str = ""


class Text(Struct, gc=False):
    text: str
    cache: CacheMark | None = None
    citations: list[Citation] = field(default_factory=list)


class Image(Struct, gc=False):
    source: Source
    detail: str = ""  # "", "low", "high", "auto"
    cache: CacheMark | None = None


class Audio(Struct, gc=False):
    source: Source
    format: str = ""  # "wav", "mp3"


class Document(Struct, gc=False):
    source: Source
    title: str = ""
    context: str = ""
    text: str | None = None  # a plain-text document has its text here and an empty Inline source
    citations: bool = False
    cache: CacheMark | None = None


class Video(Struct, gc=False):
    source: Source


class ToolCall(Struct, gc=False):
    """`signature` is Google's: nobody else signs calls."""

    id: str
    name: str
    arguments: str  # JSON text, exactly as the model wrote it
    server_side: bool = False  # run by the provider itself (web search, code execution)
    signature: str = ""
    cache: CacheMark | None = None


class ToolResult(Struct, gc=False):
    call_id: str
    parts: list[Part] = field(default_factory=list)
    failed: bool = False
    cache: CacheMark | None = None


class Reasoning(Struct, gc=False):
    """What a reasoning model thought. `signature` lets its maker trust it again; `redacted` is thought that only it can read.

    `maker` is the dialect of whoever signed it, "" where that is not known. A signature or a seal goes back to its maker
    alone; a seal that is not Anthropic's says itself whose it is (`tollway.dialects.label_sealed`).
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    id: str = ""
    maker: str = ""


class Refusal(Struct, gc=False):
    text: str


class Opaque(Struct, gc=False):
    """A block that no other dialect has a word for, kept whole for the dialect it came from."""

    dialect: str
    raw: Raw


Part: TypeAlias = Text | Image | Audio | Document | Video | ToolCall | ToolResult | Reasoning | Refusal | Opaque


class Message(Struct, gc=False):
    """`role` is "system", "user", "assistant" or "tool"; a "tool" message holds ToolResult parts only."""

    role: str
    parts: list[Part]
    name: str = ""


class WebSearch(Struct, frozen=True, gc=False):
    """A search of the web that the provider runs itself. `context_size` is "low", "medium" or "high"."""

    uses_max: int | None = None
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    context_size: str = ""
    city: str = ""
    region: str = ""
    country: str = ""
    timezone: str = ""


class Freeform(Struct, frozen=True, gc=False):
    """What a tool that takes plain text wants of it: nothing, or a grammar. `syntax` is "lark" or "regex"."""

    syntax: str = ""
    definition: str = ""


class Tool(Struct, gc=False):
    """A tool the caller runs. `native` instead holds a tool of another kind, whole, for the dialect named in `dialect`.

    What others can make of a native one: `search` and `freeform` say it in our words; `stand_ins` are functions that the
    caller is shown as the native tool when they are called. A native tool without any of them is nobody else's.
    `more` holds members of an ordinary one that only `dialect` has words for.
    """

    name: str
    description: str = ""
    parameters: Raw | None = None  # JSON schema
    strict: bool | None = None
    cache: CacheMark | None = None
    native: Raw | None = None
    dialect: str = ""
    search: WebSearch | None = None
    freeform: Freeform | None = None
    stand_ins: list[Tool] = field(default_factory=list)
    more: dict[str, Raw] = field(default_factory=dict)


class ToolChoice(Struct, frozen=True, gc=False):
    """`kind` is "auto", "required", "none" or "named"."""

    kind: str
    name: str = ""


class ReasoningOptions(Struct, frozen=True, gc=False):
    """How much to think: an effort word (none, minimal, low, medium, high, xhigh, max), a budget in tokens, or as the model
    likes."""

    effort: str = ""
    budget_tokens: int | None = None
    adaptive: bool = False
    summary: str = ""  # "", "auto", "summarized", "detailed", "omitted"


class ResponseFormat(Struct, frozen=True, gc=False):
    """`kind` is "text", "json_object" or "json_schema"."""

    kind: str
    name: str = ""
    schema: Raw | None = None
    strict: bool | None = None
    description: str = ""


class Conversation(Struct, gc=False):
    """One request. `system` holds the leading system parts; later system messages stay among `messages`.

    `extra` are fields without a concept here, by their name in the dialect they came from (`dialect`); a dialect that encodes
    them elsewhere names in `dropped` what it left out.
    """

    model: str
    messages: list[Message]
    system: list[Part] = field(default_factory=list)
    streaming: bool = False
    usage_wanted: bool = False
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_tokens_max: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    n: int = 1
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Raw | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning: ReasoningOptions | None = None
    response_format: ResponseFormat | None = None
    user: str = ""
    metadata: Raw | None = None
    service_tier: str = ""
    dialect: str = ""
    extra: dict[str, Raw] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


# --- what is answered ----------------------------------------------------------------------------------------------


class Started(Struct, gc=False):
    """The first event of a reply; `created_s` is 0 where the provider does not say."""

    id: str
    model: str
    created_s: int = 0


class TextPiece(Struct, gc=False):
    text: str
    choice: int = 0


class RefusalPiece(Struct, gc=False):
    text: str
    choice: int = 0


class ReasoningPiece(Struct, gc=False):
    """A piece of thought. A signature comes alone, after its text; `redacted` comes whole. `block` counts thought blocks from 0.

    `maker`: see `Reasoning`.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    block: int = 0
    choice: int = 0
    maker: str = ""


class ToolCallStarted(Struct, gc=False):
    """`index` counts the tool calls of one choice from 0."""

    index: int
    id: str
    name: str
    server_side: bool = False
    signature: str = ""
    choice: int = 0


class ToolArgumentsPiece(Struct, gc=False):
    index: int
    text: str
    choice: int = 0


class ImagePiece(Struct, gc=False):
    """A picture, whole."""

    source: Source
    choice: int = 0


class LikelyToken(Struct, frozen=True, gc=False):
    """A token of the reply; `top` are those that could have stood in its place, the likeliest first."""

    text: str
    logprob: float
    top: tuple[LikelyToken, ...] = ()


class LogprobsPiece(Struct, gc=False):
    """How likely the reply's next tokens were."""

    tokens: list[LikelyToken]
    choice: int = 0


class CitationPiece(Struct, gc=False):
    """What the text before it rests on."""

    citation: Citation
    choice: int = 0


class OpaquePiece(Struct, gc=False):
    """A block that only its own dialect has a word for (a server tool's result, an annotation)."""

    dialect: str
    raw: Raw
    choice: int = 0


class UsageSeen(Struct, gc=False):
    """Usage so far; a later one replaces it."""

    usage: Usage


class Finished(Struct, gc=False):
    """`reason` is "stop", "length", "tool_calls", "content_filter", "refusal", "pause" or the provider's own unknown word."""

    reason: str
    stop_sequence: str | None = None
    choice: int = 0


Event: TypeAlias = (
    Started
    | TextPiece
    | RefusalPiece
    | ReasoningPiece
    | ToolCallStarted
    | ToolArgumentsPiece
    | ImagePiece
    | LogprobsPiece
    | CitationPiece
    | OpaquePiece
    | UsageSeen
    | Finished
)


# --- a whole answer ------------------------------------------------------------------------------------------------


class WholeChoice(Struct, gc=False):
    """`parts` stand in the order in which they began: Text, Refusal, Reasoning, ToolCall, Image, Opaque."""

    parts: list[Part] = field(default_factory=list)
    finish: str = ""
    stop_sequence: str | None = None
    logprobs: list[LikelyToken] = field(default_factory=list)


class WholeReply(Struct, gc=False):
    """A reply that is not streamed. It is defined as the fold of its events, so the two kinds of reply cannot differ."""

    id: str = ""
    model: str = ""
    created_s: int = 0
    choices: list[WholeChoice] = field(default_factory=list)
    usage: Usage | None = None


def fold(events: list[Event]) -> WholeReply:
    """The whole reply that these events tell of, piece by piece. Empty pieces change nothing."""
    reply = WholeReply()
    folding: dict[int, _Folding] = {}
    for event in events:
        if isinstance(event, Started):
            reply.id, reply.model, reply.created_s = event.id, event.model, event.created_s
        elif isinstance(event, UsageSeen):
            reply.usage = event.usage
        else:
            if event.choice not in folding:
                folding[event.choice] = _Folding()
            folding[event.choice].take(event)
    for number in sorted(folding):
        reply.choices.append(folding[number].whole())
    return reply


class _Folding:
    """One choice while it grows. Texts are gathered in lists: adding to a string again and again would take quadratic time."""

    def __init__(self) -> None:
        self._choice = WholeChoice()
        self._texts: list[list[str]] = []  # beside each part, the pieces of its text
        self._tools: dict[int, int] = {}  # by the call's index, where it stands among the parts
        self._thoughts: dict[int, int] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, TextPiece):
            self._add_text(event.text, Text)
        elif isinstance(event, ToolArgumentsPiece):
            if event.index in self._tools:
                self._texts[self._tools[event.index]].append(event.text)
        elif isinstance(event, ToolCallStarted):
            self._tools[event.index] = len(self._texts)
            self._begin(ToolCall(event.id, event.name, "", event.server_side, event.signature))
        elif isinstance(event, ReasoningPiece):
            self._add_thought(event)
        elif isinstance(event, RefusalPiece):
            self._add_text(event.text, Refusal)
        elif isinstance(event, ImagePiece):
            self._begin(Image(event.source))
        elif isinstance(event, LogprobsPiece):
            self._choice.logprobs += event.tokens
        elif isinstance(event, CitationPiece):
            self._cite(event.citation)
        elif isinstance(event, OpaquePiece):
            self._begin(Opaque(event.dialect, event.raw))
        elif isinstance(event, Finished):
            self._choice.finish, self._choice.stop_sequence = event.reason, event.stop_sequence

    def whole(self) -> WholeChoice:
        for part, pieces in zip(self._choice.parts, self._texts, strict=True):
            if isinstance(part, (Text, Refusal, Reasoning)):
                part.text = "".join(pieces)
            elif isinstance(part, ToolCall):
                part.arguments = "".join(pieces)
        return self._choice

    def _begin(self, part: Part) -> None:
        self._choice.parts.append(part)
        self._texts.append([])

    def _add_text(self, text: str, kind: type[Text] | type[Refusal]) -> None:
        if text:
            if not self._choice.parts or type(self._choice.parts[-1]) is not kind:
                self._begin(kind(""))
            self._texts[-1].append(text)

    def _cite(self, citation: Citation) -> None:
        texts = [part for part in self._choice.parts if isinstance(part, Text)]
        if texts:
            texts[-1].citations.append(citation)

    def _add_thought(self, event: ReasoningPiece) -> None:
        if not (event.text or event.signature or event.redacted):
            return
        if event.block not in self._thoughts:
            self._thoughts[event.block] = len(self._texts)
            self._begin(Reasoning())
        at = self._thoughts[event.block]
        thought = self._choice.parts[at]
        if isinstance(thought, Reasoning):
            self._texts[at].append(event.text)
            thought.signature += event.signature
            thought.maker = event.maker or thought.maker
            thought.redacted += event.redacted


# --- what stands in for another ------------------------------------------------------------------------------------

_TEXT_ALONE = Raw(
    b'{"type":"object","properties":{"input":{"type":"string","description":"The whole input, as plain text."}},'
    b'"required":["input"],"additionalProperties":false}'
)


def as_function(name: str, description: str, freeform: Freeform) -> Tool:
    """A function that stands in for a tool which takes plain text: its one argument, `input`, is that text."""
    if freeform.definition:
        kind = "regular expression" if freeform.syntax == "regex" else f"{freeform.syntax} grammar"
        description = f"{description}\n\nThe input must match this {kind}:\n{freeform.definition}".strip()
    return Tool(name, description, _TEXT_ALONE)
