"""How an API is spoken: our nouns to wire bytes and back. Nothing here waits, logs or reads a clock.

A chat dialect is one module (or package) with these names:

    NAME: str                                             "openai_chat"
    decode_request(fields) -> Conversation                their request in our words; raises BadRequest
    encode_request(conversation, traits) -> EncodedRequest
                                                          ours in theirs; names in `dropped` what it cannot say
    decode_reply(body) -> list[Event]                     a whole JSON reply; raises UpstreamError
    encode_reply(events, about, usage, cost) -> bytes     the fold of the events, for the client
    EventDecoder()                                        a stream of theirs: StreamDecoder
    EventEncoder(about)                                   a stream for the client: StreamEncoder
    PassRelay(about)                                      same dialect in and out: Relay; bytes through, usage seen
    rename_reply(body, model) -> (bytes, Usage | None, id)
                                                          the same for a whole JSON reply
    decode_usage(body) -> Usage | None                    from a whole JSON reply
    encode_error(error) -> bytes                          the body of an error answer
    encode_stream_error(error) -> bytes                   the same, after the stream began
    decode_error(status, headers, body, provider) -> UpstreamError
                                                          what a provider's error answer means
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Conversation,
    Event,
    Finished,
    ImagePiece,
    Message,
    Part,
    ReasoningPiece,
    RefusalPiece,
    Started,
    Text,
    TextPiece,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    ToolResult,
    UsageSeen,
)
from tollway.errors import BadRequest, PublicError, UpstreamError
from tollway.sse import EventCutter, event_data


class About(Struct):
    """What a reply must say of itself to the client. `model` is the name that the client asked for.

    `usage_wanted`: the client asked for a usage chunk of its own (OpenAI's `stream_options.include_usage`).
    `created_s` and `id` fill in where the provider gives none. `choices` is how many were asked for (OpenAI's `n`).
    `asked` is the request's top level, for a dialect whose reply repeats parts of it (OpenAI's Responses).
    """

    model: str
    id: str
    created_s: int
    usage_wanted: bool = False
    choices: int = 1
    asked: dict[str, Raw] | None = None


class Traits(Struct, frozen=True):
    """What a dialect must know of the model and deployment it writes for; from the catalog and the configuration.

    `output_tokens_max` fills in where a dialect demands a limit and the caller gave none. `drop_unsupported` False:
    refuse (BadRequest naming the field) instead of dropping. `adaptive_thinking`: the model takes Anthropic's
    `thinking: {type: adaptive}` with an effort word; `legacy_thinking`: it takes `thinking` with a budget in tokens.
    `output_limit_name`: OpenAI's newer models know `max_completion_tokens` only, most compatible servers `max_tokens`
    only. `cache_marks`: an OpenAI-compatible server understands `cache_control` (Anthropic's own API always does).
    `sampling` False: the model refuses `temperature`, `top_p` and their like; `reasoning` False: it cannot be told how
    much to think. `thinking_field`: an OpenAI-compatible server takes Anthropic's `thinking` as it is. `web_search`: the
    provider searches the web for this model when it is asked to. `openai_fields`: a server of chat completions is OpenAI's
    own, which knows what compatible ones may refuse (`verbosity`, `prompt_cache_key`, custom tools). `passed` are names of fields
    that are passed as they are whatever the dialect thinks of them: never a reason to refuse.
    """

    model: str
    output_tokens_max: int = 4096
    adaptive_thinking: bool = False
    legacy_thinking: bool = False
    native_json_schema: bool = False
    drop_unsupported: bool = True
    output_limit_name: str = "max_tokens"
    cache_marks: bool = False
    sampling: bool = True
    reasoning: bool = True
    thinking_field: bool = False
    web_search: bool = False
    openai_fields: bool = False
    passed: frozenset[str] = frozenset()


class EncodedRequest(Struct):
    """A request in a provider's words: `msgspec.json.encode(fields)` is its body.

    `betas` are names for Anthropic's `anthropic-beta` header. `json_tool`: the schema of the reply was put into a tool
    that the model is made to call; whoever decodes the reply must give the call's arguments as text (`JsonToolText`).
    `follower`: the first answer is a ticket alone, which this says how to look after (`tollway.providers.following`).
    """

    fields: dict[str, Any]
    betas: tuple[str, ...] = ()
    json_tool: bool = False
    follower: Any = None


class StreamDecoder(Protocol):
    """A provider's stream, cut anywhere, as events. Raises UpstreamError when the provider reports one or cannot be
    read.
    """

    complete: bool  # the provider's own end mark was seen
    before_error: list[Event]  # what the bytes held in which an error came, before it

    def feed(self, data: bytes) -> list[Event]: ...

    def end(self) -> list[Event]:
        """The provider closed its stream: what a last event without its empty line held."""
        ...


class ServerSentDecoder(ABC):
    """A `StreamDecoder` of server-sent events."""

    def __init__(self) -> None:
        self._cutter = EventCutter()
        self.complete = False
        self.before_error: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for event in self._cutter.feed(data):
                payload = event_data(event)
                if payload is not None and payload.strip() and not self.complete:
                    self._read(payload, event, events)
        except UpstreamError:
            self.before_error = events
            raise
        return events

    def end(self) -> list[Event]:
        rest = self._cutter.rest()
        return self.feed(rest.rstrip(b"\n") + b"\n\n") if rest.strip() else []

    @abstractmethod
    def _read(self, payload: bytes, event: bytes, events: list[Event]) -> None:
        """Adds what an event says, or sets `complete` at the end mark. `payload` is its data, never empty; `event` its lines."""


class StreamEncoder(Protocol):
    """Events as a stream for the client. `Finished` is held back until `finish`, since usage and cost must go with
    it.
    """

    def feed(self, events: list[Event]) -> bytes: ...

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        """The finishing event, usage and the dialect's end mark. `usage` None: what UsageSeen told, if anything."""
        ...

    def fail(self, error: PublicError) -> bytes: ...


class Relay(Protocol):
    """One streamed reply on its way from provider to client. Bytes in, bytes out; it never waits.

    `feed` takes what the provider sent, cut anywhere, and returns what may go to the client now. It raises
    UpstreamError when the provider reports one or sends what cannot be read. The event that finishes the reply, and
    all after it, is held back until `finish`.
    """

    content_started: bool  # something that a client would see as content was fed: the point of no return
    finishing: bool  # the finishing event was seen and is held back
    complete: bool  # nothing more will come (the provider's own end mark was seen)
    reply_id: str
    output_bytes: int  # text bytes of content seen, for estimates

    @property
    def usage(self) -> Usage | None:
        """The provider's last usage."""
        ...

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes:
        """The provider closed its stream: reads a last event that came without its empty line. After it, `finishing`
        is final.
        """
        ...

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        """What was held back, with usage and cost in it, and the dialect's own end mark."""
        ...

    def cut_short(self) -> bytes:
        """Ends the answer here as one that has reached its limit: what may go to the client of that now. After it the
        relay is `finishing` and `complete`.
        """
        ...

    def fail(self, error: PublicError) -> bytes | None:
        """What could still be relayed of the bytes in which an error came, the dialect's own error event, and no end
        mark. None where the format has no words for an error: then the connection must be cut, so that nobody takes
        half for whole.
        """
        ...


JsonFields = dict[str, Any]

#: What a relay keeps back after the finishing event; a provider that sends more is broken.
HELD_BYTES_MAX = 4 << 20

#: What each dialect cannot be given by URL. https://platform.openai.com/docs/guides/pdf-files (files of chat completions),
#: https://docs.ollama.com/capabilities/vision, https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageSource.html
#: (2026-11-22)
WANTS_BYTES: dict[str, frozenset[str]] = {
    "bedrock_converse": frozenset({"image", "document", "audio", "video"}),
    "ollama_chat": frozenset({"image", "document", "audio", "video"}),
    "openai_chat": frozenset({"document", "audio"}),
}

# --- between two dialects ------------------------------------------------------------------------------------------

#: The tool that stands for a reply in JSON where a model has no word for one.
JSON_TOOL_NAME = "json_reply"


class JsonToolText:
    """Turns the call of the tool named JSON_TOOL_NAME back into the text that the caller asked for."""

    def __init__(self) -> None:
        self._calls: set[tuple[int, int]] = set()
        self._other_calls: set[int] = set()

    def events(self, events: list[Event]) -> list[Event]:
        changed: list[Event] = []
        for event in events:
            if isinstance(event, ToolCallStarted):
                if event.name == JSON_TOOL_NAME:
                    self._calls.add((event.choice, event.index))
                    continue
                self._other_calls.add(event.choice)
            elif isinstance(event, ToolArgumentsPiece) and (event.choice, event.index) in self._calls:
                changed.append(TextPiece(event.text, event.choice))
                continue
            elif isinstance(event, Finished) and event.reason == "tool_calls" and event.choice not in self._other_calls:
                changed.append(Finished("stop", event.stop_sequence, event.choice))
                continue
            changed.append(event)
        return changed


class TranslatingRelay:
    """A stream in one dialect relayed in another: decoded into events, and those encoded. See `Relay`."""

    def __init__(
        self, about: About, decoder: StreamDecoder, encoder: StreamEncoder, *, json_tool: bool = False
    ) -> None:
        self._choices = self._choices_unfinished = about.choices
        self._finished: set[int] = set()
        self._decoder = decoder
        self._encoder = encoder
        self._json_tool = JsonToolText() if json_tool else None
        self._unsent = b""
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.usage: Usage | None = None
        self.reply_id = ""
        self.output_bytes = 0

    def feed(self, data: bytes) -> bytes:
        if self.complete:
            return b""
        try:
            events = self._decoder.feed(data)
        except UpstreamError:
            self._unsent = self._relay(self._decoder.before_error)
            raise
        self.complete = self._decoder.complete
        return self._relay(events) if events else b""

    def end(self) -> bytes:
        return b"" if self.complete else self._relay(self._decoder.end())

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        self.complete = True
        return self._encoder.finish(usage, cost)

    def cut_short(self) -> bytes:
        left = [choice for choice in range(self._choices) if choice not in self._finished]
        out = self._relay([Finished("length", choice=choice) for choice in left])
        self.finishing = self.complete = True
        return out

    def fail(self, error: PublicError) -> bytes:
        self.complete = True
        return self._unsent + self._encoder.fail(error)

    def _relay(self, events: list[Event]) -> bytes:
        if self._json_tool is not None:
            events = self._json_tool.events(events)
        for event in events:
            kind = type(event)
            if kind is TextPiece or kind is ToolArgumentsPiece or kind is ReasoningPiece or kind is RefusalPiece:
                text: str = event.text  # type: ignore[union-attr]  # the four kinds above have one
                if text:
                    self.content_started = True
                    self.output_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            elif isinstance(event, ToolCallStarted):
                self.content_started = True
                self.output_bytes += len(event.name)
            elif isinstance(event, UsageSeen):
                self.usage = event.usage
            elif isinstance(event, ImagePiece):
                self.content_started = True
            elif isinstance(event, Finished):
                self._choices_unfinished -= 1
                self._finished.add(event.choice)
                self.finishing = self._choices_unfinished <= 0
            elif isinstance(event, Started):
                self.reply_id = event.id
        return self._encoder.feed(events)


# --- what dialects share -------------------------------------------------------------------------------------------


def label_sealed(dialect: str, id: str, blob: str) -> str:
    """Sealed thought that only the maker behind `dialect` can read, labelled so that it is known wherever it turns up
    again: a client of another dialect keeps it as a `Reasoning.redacted` and sends it back. Anthropic's own carries no
    label.
    """
    return f"{dialect}:{id}:{blob}"


def read_sealed(text: str) -> tuple[str, str, str]:
    """The (dialect, id, blob) of `label_sealed`; ("", "", text) for thought without a label."""
    dialect, _, rest = text.partition(":")
    item_id, mark, blob = rest.partition(":")
    return (dialect, item_id, blob) if mark and dialect.replace("_", "").isalpha() else ("", "", text)


def dollars_json(cost: Cost) -> Raw:
    """US dollars as a JSON number, exact to the nano-dollar: no float stands in between."""
    whole, rest = divmod(cost.total, 1_000_000_000)
    return Raw(f"{whole}.{rest:09d}".rstrip("0").rstrip(".").encode())


#: By what they decode: to make one for a list or a choice costs more than to decode a short value.
_DECODERS: dict[Any, Callable[[Raw], Any]] = {}


def decode_field(name: str, raw: Raw, wanted: Any) -> Any:
    """The value of a request's field. Raises BadRequest that names the field, or the place in it, and what was
    expected there.
    """
    decode = _DECODERS.get(wanted)
    if decode is None:
        decode = _DECODERS[wanted] = msgspec.json.Decoder(wanted).decode
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        where = name + path.rstrip("`")
        raise BadRequest(f"Invalid {where!r}: {problem[:1].lower()}{problem[1:]}.", param=where) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"Invalid {name!r}: it is not JSON.", param=name) from error


def text_alone(message: Message) -> str | None:
    """What most messages are: one text that is marked and cited nowhere, by nobody with a name. 0.1 us."""
    parts = message.parts
    if len(parts) == 1 and not message.name:
        part = parts[0]
        if type(part) is Text and part.cache is None and not part.citations:
            return part.text
    return None


def holds_cache_marks(conversation: Conversation) -> bool:
    """Whether anything in it, tools included, is marked for the provider's cache."""
    for message in conversation.messages:
        if _hold_mark(message.parts):
            return True
    return _hold_mark(conversation.system) or any(tool.cache is not None for tool in conversation.tools)


def _hold_mark(parts: list[Part]) -> bool:
    """Loops, because a generator would cost twice as much, and a talk has hundreds of parts; by what most of them are."""
    for part in parts:
        if type(part) is Text or type(part) is ToolCall:
            if part.cache is not None:
                return True
        elif type(part) is ToolResult:
            if part.cache is not None or _hold_mark(part.parts):
                return True
        elif getattr(part, "cache", None) is not None:
            return True
    return False


def leave_out(conversation: Conversation, traits: Traits, name: str, dialect: str) -> None:
    """Names a field that `dialect` cannot say; raises BadRequest naming it where the deployment wants no dropping."""
    if not traits.drop_unsupported and name not in traits.passed:
        raise BadRequest(
            f"The model {traits.model!r} does not support {name!r} (its API is {dialect}). Leave the field out, or let "
            "the deployment drop what it does not support.",
            param=name,
            code="unsupported_parameter",
        )
    note(conversation, name)


def note(conversation: Conversation, name: str) -> None:
    """Names a field that is left out without harm, or because of something else that was asked; never refused."""
    if name not in conversation.dropped:
        conversation.dropped.append(name)


def note_hints(conversation: Conversation, names: tuple[str, ...] = ("user", "metadata", "service_tier")) -> None:
    """Names what a request says that changes nothing of the answer: fields, and marks for the provider's cache."""
    for name in names:
        if getattr(conversation, name):
            note(conversation, name)
    if holds_cache_marks(conversation):
        note(conversation, "cache_control")


#: How most schemas begin.
_SAYS_ITS_TYPE = b'{"type":'


def object_schema(schema: Raw | None) -> Any:
    """The schema as it came. Only where it does not say that it is an object, which Anthropic and Bedrock demand, that is added."""
    if schema is None:
        return {"type": "object", "properties": {}}
    if bytes(schema).startswith(_SAYS_ITS_TYPE):
        return schema
    try:
        fields = msgspec.json.decode(schema, type=dict[str, Raw])
    except msgspec.DecodeError:
        return {"type": "object", "properties": {}}
    return schema if "type" in fields else {"type": "object", **fields}


#: Limits that structured output does not know; they are told to the model in words instead.
#: https://docs.claude.com/en/docs/build-with-claude/structured-outputs and, the same,
#: https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html (2026-11-22)
_UNKNOWN_LIMITS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
    }
)


def strict_schema(schema: Any) -> Any:
    """A reply's JSON schema as Anthropic's and Bedrock's structured output takes it: objects closed, limits it does not know told
    in the description.
    """
    if isinstance(schema, list):
        return [strict_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed: dict[str, Any] = {}
    told: list[str] = []
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            changed[name] = {key: strict_schema(inner) for key, inner in value.items()}
        elif name in _UNKNOWN_LIMITS or (name == "minItems" and value not in (0, 1)):
            told.append(f"{name}: {msgspec.json.encode(value).decode()}")
        elif name in ("enum", "const", "default", "examples"):
            changed[name] = value
        else:
            changed[name] = strict_schema(value)
    if changed.get("type") == "object" or "properties" in changed:
        changed["additionalProperties"] = False
    if told:
        words = f"({', '.join(told)})"
        changed["description"] = f"{changed['description']} {words}" if changed.get("description") else words
    return changed
