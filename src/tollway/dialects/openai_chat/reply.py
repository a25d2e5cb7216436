"""Chat completions as answers, whole and streamed. https://platform.openai.com/docs/api-reference/chat-streaming
(2026-11-22).

Thought is not in OpenAI's own pages. What is spoken here is what compatible servers and their clients agree on: its
text in `reasoning_content` (some write `reasoning` or `reasoning_text`), and `thinking_blocks` for thought that its
maker signed. Our stream sends a thinking block once, whole, when its signature is there, under an `index`: clients can
send it back as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.conversation import (
    Citation,
    CitationPiece,
    Event,
    FileId,
    Finished,
    Image,
    ImagePiece,
    Inline,
    LikelyToken,
    LogprobsPiece,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Source,
    Started,
    Text,
    TextPiece,
    ToolArgumentsPiece,
    ToolCall,
    ToolCallStarted,
    UsageSeen,
    WholeChoice,
    fold,
)
from tollway.dialects import About, ServerSentDecoder, label_sealed, read_sealed
from tollway.dialects.openai_chat.decode import NAME, Annotation, citation, signature_of, source_of
from tollway.dialects.openai_chat.encode import text_of
from tollway.dialects.openai_chat.errors import encode_stream_error, error_in_stream
from tollway.dialects.openai_chat.usage import usage_from_json, usage_to_fields
from tollway.errors import PublicError, UpstreamBroken
from tollway.sse import event_name

FINISH_FROM_WIRE = {"function_call": "tool_calls"}
FINISH_TO_WIRE = {"refusal": "content_filter", "pause": "stop"}


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _CustomCall(Struct, gc=False):
    name: str | None = None
    input: str | None = None


class _Call(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _CustomCall | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None


class _Block(Struct, gc=False):
    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Delta(Struct):
    content: Any = None
    tool_calls: list[_Call] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    thinking_blocks: list[_Block] | None = None
    refusal: str | None = None
    function_call: _Function | None = None
    annotations: Any = None
    images: Any = None


class _ImageUrl(Struct):
    url: str


class _MadeImage(Struct):
    image_url: _ImageUrl


class _Likely(Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[_Likely] | None = None


class _Logprobs(Struct):
    content: list[_Likely] | None = None


class _Choice(Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(Struct):
    """A chunk of a stream, or a whole reply: they differ in `delta` and `message`, and some servers mix the two up."""

    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    created: float | None = None
    usage: Raw = Raw()
    error: Raw = Raw()
    service_tier: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


# --- decoding ------------------------------------------------------------------------------------------------------


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, or the error that the reply holds instead of choices."""
    decoder = EventDecoder()
    chunk = _read_chunk(body, "")
    if chunk.choices is None:
        raise UpstreamBroken("The provider sent a reply without choices.")
    return decoder.events_of(chunk)


class EventDecoder(ServerSentDecoder):
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._choices: dict[int, _ChoiceDecoder] = {}

    def _read(self, payload: bytes, event: bytes, events: list[Event]) -> None:
        if payload.startswith(b"[DONE]"):
            self.complete = True
        else:
            events += self.events_of(_read_chunk(payload, event_name(event) if event.startswith(b"event") else ""))

    def events_of(self, chunk: _Chunk) -> list[Event]:
        events: list[Event] = []
        if not self._started and (chunk.id or chunk.choices):
            self._started = True
            events.append(Started(chunk.id or "", chunk.model or "", int(chunk.created or 0)))
        for choice in chunk.choices or ():
            number = choice.index or 0
            reader = self._choices.get(number)
            if reader is None:
                reader = self._choices[number] = _ChoiceDecoder(number)
            if choice.logprobs:
                _read_logprobs(choice.logprobs, number, events)
            delta = choice.delta or choice.message
            if delta is not None:
                reader.read(delta, events)
            if choice.finish_reason:
                reader.end(events)
                events.append(Finished(FINISH_FROM_WIRE.get(choice.finish_reason, choice.finish_reason), None, number))
        if chunk.usage:
            usage = usage_from_json(chunk.usage, chunk.service_tier)
            if usage is not None:
                events.append(UsageSeen(usage))
        return events


def _read_chunk(payload: bytes, name: str) -> _Chunk:
    try:
        chunk = _decode_chunk(payload)
    except _UNREADABLE as error:
        try:
            value = _decode_any(payload)
        except _UNREADABLE:
            raise UpstreamBroken("The provider sent something that is not JSON.") from error
        raise error_in_stream(value, name) or UpstreamBroken(
            f"The provider sent something of a shape that is not a chat completion's ({error})."
        ) from error
    if chunk.choices is None or chunk.error:
        found = error_in_stream(_decode_any(payload), name)
        if found is not None:
            raise found
    return chunk


def _read_logprobs(value: Any, number: int, events: list[Event]) -> None:
    try:
        likely = msgspec.convert(value, _Logprobs).content
    except msgspec.ValidationError:
        return  # numbers that nobody can read are no reason to lose the text
    if likely:
        events.append(LogprobsPiece([_token(one) for one in likely], number))


def _token(likely: _Likely) -> LikelyToken:
    top = tuple([LikelyToken(one.token, one.logprob) for one in likely.top_logprobs or ()])
    return LikelyToken(likely.token, likely.logprob, top)


class _ChoiceDecoder:
    def __init__(self, number: int) -> None:
        self._number = number
        self._freeform: set[int] = set()  # calls of tools that take plain text, whose JSON is not closed yet
        self._calls: list[str] = []  # ids, by our index
        self._by_wire_index: dict[int, int] = {}
        self._block = 0
        self._block_open = False
        self._thought_alone = False  # the open block's text came without thinking_blocks beside it

    def read(self, delta: _Delta, events: list[Event]) -> None:
        if delta.thinking_blocks:
            for block in delta.thinking_blocks:
                self._read_block(block, events)
        else:
            thought = delta.reasoning_content or delta.reasoning or delta.reasoning_text
            if thought and isinstance(thought, str):
                self._block_open = self._thought_alone = True
                events.append(ReasoningPiece(thought, block=self._block, choice=self._number))
        content = delta.content
        if content:
            if isinstance(content, str):
                events.append(TextPiece(content, self._number))
            elif isinstance(content, list):
                self._read_parts(content, events)
        if delta.refusal:
            events.append(RefusalPiece(delta.refusal, self._number))
        for call in delta.tool_calls or ():
            self._read_call(call, events)
        if delta.function_call is not None:
            self._read_call(_Call(-1, None, delta.function_call), events)
        if delta.images:
            self._read_images(delta.images, events)
        if delta.annotations:
            self._read_annotations(delta.annotations, events)

    def end(self, events: list[Event]) -> None:
        """Closes the JSON that plain text was put into."""
        events += [ToolArgumentsPiece(ours, '"}', self._number) for ours in sorted(self._freeform)]
        self._freeform.clear()

    def _read_images(self, value: Any, events: list[Event]) -> None:
        for one in value if isinstance(value, list) else ():
            try:
                url = msgspec.convert(one, _MadeImage).image_url.url
            except msgspec.ValidationError:
                continue  # of a shape that nobody here knows
            events.append(ImagePiece(source_of(url), self._number))

    def _read_annotations(self, value: Any, events: list[Event]) -> None:
        for one in value if isinstance(value, list) else ():
            try:
                told = msgspec.convert(one, Annotation)
            except msgspec.ValidationError:
                continue  # not one of OpenAI's; the text stands without it
            events.append(CitationPiece(citation(Raw(_encode(one)), told), self._number))

    def _read_block(self, block: _Block, events: list[Event]) -> None:
        if block.data:
            self._close_block()
            events.append(ReasoningPiece(redacted=block.data, block=self._block, choice=self._number))
            self._block += 1
            return
        if block.thinking and not self._thought_alone:
            self._block_open = True
            events.append(ReasoningPiece(block.thinking, block=self._block, choice=self._number))
        if block.signature:
            maker, _, blob = read_sealed(block.signature)
            maker = maker or "anthropic_messages"
            events.append(ReasoningPiece(signature=blob, block=self._block, choice=self._number, maker=maker))
            self._block_open = True
            self._close_block()
        elif self._thought_alone:
            self._close_block()

    def _close_block(self) -> None:
        if self._block_open:
            self._block += 1
        self._block_open = self._thought_alone = False

    def _read_parts(self, parts: list[Any], events: list[Event]) -> None:
        """Mistral's way: a list of parts, thought among them. https://docs.mistral.ai/capabilities/reasoning
        (2026-11-22)
        """
        for part in parts:
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("text"), str) and part["text"]:
                events.append(TextPiece(part["text"], self._number))
            elif part.get("type") == "thinking":
                thought = part.get("thinking")
                inner = thought if isinstance(thought, list) else [{"text": thought}]
                text = "".join(
                    piece["text"] for piece in inner if isinstance(piece, dict) and isinstance(piece.get("text"), str)
                )
                if text:
                    self._block_open = self._thought_alone = True
                    events.append(ReasoningPiece(text, block=self._block, choice=self._number))

    def _read_call(self, call: _Call, events: list[Event]) -> None:
        custom = call.custom
        name = (custom.name if custom is not None else call.function.name if call.function is not None else None) or ""
        ours = self._call_index(call, name)
        if ours is None:
            ours = len(self._calls)
            self._calls.append(call.id or "")
            if call.index is not None:
                self._by_wire_index[call.index] = ours
            given_id = call.id or f"call_{self._number}_{ours}"
            events.append(ToolCallStarted(ours, given_id, name, signature=signature_of(call), choice=self._number))
            if custom is not None:
                self._freeform.add(ours)
                events.append(ToolArgumentsPiece(ours, '{"input":"', self._number))
        arguments = call.function.arguments if call.function is not None else None
        if custom is not None and custom.input:
            arguments = _encode(custom.input)[1:-1].decode()
        if arguments is not None and not isinstance(arguments, str):
            arguments = _encode(arguments).decode()
        if arguments:
            events.append(ToolArgumentsPiece(ours, arguments, self._number))

    def _call_index(self, call: _Call, name: str) -> int | None:
        """Which call a piece belongs to; None for a new one. Some servers leave the index out, some give 0 to every
        call.
        """
        if call.index is not None:
            ours = self._by_wire_index.get(call.index)
            if ours is None or (name and call.id and self._calls[ours] and call.id != self._calls[ours]):
                return None
            return ours
        if call.id:
            return self._calls.index(call.id) if call.id in self._calls else None
        return len(self._calls) - 1 if self._calls and not name else None


# --- encoding ------------------------------------------------------------------------------------------------------


class EventEncoder:
    """Events as a stream: one id and one `created` in all chunks, the role in the first, usage on or after the last."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._head = _chunk_head(about.id, about.created_s, about.model)
        self._choices: dict[int, _ChoiceEncoder] = {}
        self._finished: dict[int, str] = {}
        self._usage: Usage | None = None
        self._freeform = _freeform_names(about)

    def feed(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if isinstance(event, Started):
                about = self._about
                self._head = _chunk_head(event.id or about.id, event.created_s or about.created_s, about.model)
                self._choice(0, out)
            elif isinstance(event, UsageSeen):
                self._usage = event.usage
            elif isinstance(event, Finished):
                self._choice(event.choice, out).end(out)
                self._finished[event.choice] = FINISH_TO_WIRE.get(event.reason, event.reason)
            else:
                choice = self._choices.get(event.choice)
                if choice is None:
                    choice = self._choice(event.choice, out)
                choice.write(event, out)
        return b"".join(out)

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        counted = usage if usage is not None else self._usage
        raw = _encode(usage_to_fields(counted, cost)) if counted is not None else None
        out: list[bytes] = []
        last = max(self._finished, default=-1)
        for number, reason in sorted(self._finished.items()):
            rides = b',"usage":' + raw if raw is not None and number == last and not self._about.usage_wanted else b""
            end = b"%d,%s:{},%s:%s}]%s}\n\n" % (number, b'"delta"', b'"finish_reason"', _encode(reason), rides)
            out.append(self._head + b'[{"index":' + end)
        if raw is not None and self._about.usage_wanted:
            out.append(self._head + b'[],"usage":' + raw + b"}\n\n")
        out.append(b"data: [DONE]\n\n")
        return b"".join(out)

    def fail(self, error: PublicError) -> bytes:
        return encode_stream_error(error)

    def _choice(self, number: int, out: list[bytes]) -> _ChoiceEncoder:
        choice = self._choices.get(number)
        if choice is None:
            head = self._head + b'[{"index":%d,"delta":{' % number
            choice = self._choices[number] = _ChoiceEncoder(head, self._freeform)
            choice.begin(out)
        return choice


def _chunk_head(reply_id: str, created_s: int, model: str) -> bytes:
    fields = {"id": reply_id, "object": "chat.completion.chunk", "created": created_s, "model": model}
    return b"data: " + _encode(fields)[:-1] + b',"choices":'


_CHUNK_END = b'},"finish_reason":null}]}\n\n'


class _AskedTool(Struct):
    custom: Any = None


def _freeform_names(about: About) -> frozenset[str]:
    """The client's tools that take plain text, which stood among functions for the model."""
    raw = (about.asked or {}).get("tools")
    if raw is None or bytes(raw).rfind(b'"custom"') < 0:  # from behind it is searched three times as quickly
        return frozenset()
    try:
        tools = msgspec.json.decode(raw, type=list[_AskedTool])
    except _UNREADABLE:
        return frozenset()
    return frozenset([str(tool.custom.get("name")) for tool in tools if isinstance(tool.custom, dict)])


class _ChoiceEncoder:
    def __init__(self, head: bytes, freeform: frozenset[str]) -> None:
        self._head = head
        self._text_head = head + b'"content":'
        self._names = freeform
        self._freeform: dict[int, list[str]] = {}  # calls of tools that take plain text: told when they are whole
        self._logprobs: list[LikelyToken] = []  # of the text that comes next
        self._images = 0
        self._calls: dict[int, int] = {}  # our index to the client's: calls that the provider runs itself are not shown
        self._block = -1
        self._thought: list[str] = []

    def begin(self, out: list[bytes]) -> None:
        out.append(self._head + b'"role":"assistant","content":""' + _CHUNK_END)

    def write(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, TextPiece):
            if self._logprobs:
                self._write_likely(event.text, out)
            elif event.text:
                out.append(self._text_head + _encode(event.text) + _CHUNK_END)
        elif isinstance(event, ToolArgumentsPiece):
            if event.index in self._freeform:
                self._freeform[event.index].append(event.text)
            elif event.index in self._calls:
                self._delta(
                    out,
                    b'"tool_calls":[{"index":%d,"function":{"arguments":' % self._calls[event.index],
                    event.text,
                    b"}}]",
                )
        elif isinstance(event, ReasoningPiece):
            self._write_thought(event, out)
        elif isinstance(event, ToolCallStarted):
            if not event.server_side:
                self._write_call(event, out)
        else:
            self._write_rarer(event, out)

    def _write_call(self, event: ToolCallStarted, out: list[bytes]) -> None:
        self._calls[event.index] = len(self._calls)
        fields = _call_fields(event, "")
        if event.name in self._names:
            self._freeform[event.index] = []
            fields = {"id": event.id, "type": "custom", "custom": {"name": event.name, "input": ""}}
        call = _encode({"index": self._calls[event.index], **fields})
        out.append(self._head + b'"tool_calls":[' + call + b"]" + _CHUNK_END)

    def _write_rarer(self, event: Event, out: list[bytes]) -> None:
        if isinstance(event, RefusalPiece):
            if event.text:
                self._delta(out, b'"refusal":', event.text, b"")
        elif isinstance(event, ImagePiece):
            image = {"index": self._images, **_image_fields(event.source)}
            self._images += 1
            out.append(self._head + b'"images":' + _encode([image]) + _CHUNK_END)
        elif isinstance(event, CitationPiece):
            fields = _annotation_of(event.citation)
            if fields is not None:
                out.append(self._head + b'"annotations":' + _encode([fields]) + _CHUNK_END)
        elif isinstance(event, LogprobsPiece):
            self._logprobs += event.tokens

    def end(self, out: list[bytes]) -> None:
        """What is told only when it is whole."""
        for index, pieces in self._freeform.items():
            place = b'"tool_calls":[{"index":%d,"custom":{"input":' % self._calls[index]
            self._delta(out, place, text_of("".join(pieces)), b"}}]")
        self._freeform = {}
        if self._logprobs:
            self._write_likely("", out)

    def _write_likely(self, text: str, out: list[bytes]) -> None:
        told = _encode({"content": [_token_fields(token) for token in self._logprobs], "refusal": None})
        self._logprobs = []
        out.append(self._text_head + _encode(text) + b'},"logprobs":' + told + _CHUNK_END[1:])

    def _delta(self, out: list[bytes], before: bytes, text: str, after: bytes) -> None:
        out.append(self._head + before + _encode(text) + after + _CHUNK_END)

    def _write_thought(self, event: ReasoningPiece, out: list[bytes]) -> None:
        if event.block != self._block:
            if self._thought:  # the block before had no signature; this says that it ended
                self._write_block({"type": "thinking", "thinking": "".join(self._thought)}, out)
            self._block = event.block
        if event.text:
            self._thought.append(event.text)
            self._delta(out, b'"reasoning_content":', event.text, b"")
        if event.redacted:
            self._write_block({"type": "redacted_thinking", "data": event.redacted}, out)
        if event.signature:
            signature = _own_signature(event.signature, event.maker)
            self._write_block({"type": "thinking", "thinking": "".join(self._thought), "signature": signature}, out)

    def _write_block(self, block: dict[str, str], out: list[bytes]) -> None:
        self._thought = []
        written = _encode([{"index": self._block, **block}])
        out.append(self._head + b'"reasoning_content":"","thinking_blocks":' + written + _CHUNK_END)


def _own_signature(signature: str, maker: str) -> str:
    """A thinking block's signature is Anthropic's unless it says whose it is."""
    return signature if maker in ("", "anthropic_messages") else label_sealed(maker, "", signature)


def _image_fields(source: Source) -> dict[str, Any]:
    """A picture that the model made. OpenAI's page has no place for one; this is the one that gateways agree on.

    https://openrouter.ai/docs/features/multimodal/image-generation (2026-11-22)
    """
    if isinstance(source, Inline):
        url = f"data:{source.media_type};base64,{source.data}"
    else:
        url = source.id if isinstance(source, FileId) else source.url
    return {"type": "image_url", "image_url": {"url": url}}


def _annotation_of(cited: Citation) -> Any:
    """None for a citation that only its own dialect can tell."""
    if cited.dialect == NAME and cited.raw is not None:
        return cited.raw
    if not cited.url:
        return None
    start = max(cited.start, 0)
    told = {"start_index": start, "end_index": max(cited.end, start), "title": cited.title, "url": cited.url}
    return {"type": "url_citation", "url_citation": told}


def _token_fields(token: LikelyToken) -> dict[str, Any]:
    return {**_likely_fields(token), "top_logprobs": [_likely_fields(one) for one in token.top]}


def _likely_fields(token: LikelyToken) -> dict[str, Any]:
    said = list(token.text.encode("utf-8", "surrogatepass"))
    return {"token": token.text, "bytes": said, "logprob": token.logprob}


def _call_fields(call: ToolCallStarted | ToolCall, arguments: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
    if call.signature:
        fields["extra_content"] = {"google": {"thought_signature": call.signature}}
    return fields


def encode_reply(events: list[Event], about: About, usage: Usage | None = None, cost: Cost | None = None) -> bytes:
    """The whole reply: the fold of the events. `usage` None: what the events told of it."""
    reply = fold(events)
    counted = usage if usage is not None else reply.usage
    fields: dict[str, Any] = {
        "id": reply.id or about.id,
        "object": "chat.completion",
        "created": reply.created_s or about.created_s,
        "model": about.model,
        "choices": [
            _choice_fields(number, choice, about) for number, choice in enumerate(reply.choices or [WholeChoice()])
        ],
    }
    if counted is not None:
        fields["usage"] = usage_to_fields(counted, cost)
    return _encode(fields)


def _choice_fields(number: int, choice: WholeChoice, about: About) -> dict[str, Any]:
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    cited = [one for part in choice.parts if isinstance(part, Text) for one in map(_annotation_of, part.citations)]
    refusals = [part.text for part in choice.parts if isinstance(part, Refusal)]
    thoughts = [part for part in choice.parts if isinstance(part, Reasoning)]
    called = [part for part in choice.parts if isinstance(part, ToolCall) and not part.server_side]
    freeform = _freeform_names(about) if called else frozenset()
    calls = [
        {"id": part.id, "type": "custom", "custom": {"name": part.name, "input": text_of(part.arguments)}}
        if part.name in freeform
        else _call_fields(part, part.arguments)
        for part in called
    ]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not (calls or refusals) else None,
    }
    message["refusal"] = "".join(refusals) or None
    text = "".join(part.text for part in thoughts)
    if text:
        message["reasoning_content"] = text
    if any(part.signature or part.redacted for part in thoughts) or len(thoughts) > 1:
        message["thinking_blocks"] = [_block_fields(part) for part in thoughts]
    if calls:
        message["tool_calls"] = calls
    if images := [_image_fields(part.source) for part in choice.parts if isinstance(part, Image)]:
        message["images"] = images
    if annotations := [one for one in cited if one is not None]:
        message["annotations"] = annotations
    finish = choice.finish or "stop"
    likely = [_token_fields(token) for token in choice.logprobs]
    logprobs = {"content": likely, "refusal": None} if likely else None
    return {
        "index": number,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": FINISH_TO_WIRE.get(finish, finish),
    }


def _block_fields(thought: Reasoning) -> dict[str, str]:
    if thought.redacted:
        return {"type": "redacted_thinking", "data": thought.redacted}
    block = {"type": "thinking", "thinking": thought.text}
    if thought.signature:
        block["signature"] = _own_signature(thought.signature, thought.maker)
    return block
