"""GenerateContentResponse as answers, whole and streamed. https://ai.google.dev/api/generate-content#response-body
(2026-11-22).

Each chunk of a stream is a response of its own, whose parts carry on where those before ended; a tool call comes whole
in one part. A thought signature may stand on any part: on a call it is the call's; on other text or a picture it is told
before it, as thought without text; on an empty text, as the end of a streamed answer has it, alone.
https://ai.google.dev/gemini-api/docs/thought-signatures (2026-11-22)
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
    Finished,
    Image,
    ImagePiece,
    Inline,
    LikelyToken,
    LogprobsPiece,
    Opaque,
    OpaquePiece,
    Part,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
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
from tollway.dialects import HELD_BYTES_MAX, About
from tollway.dialects.gemini.errors import blocked_prompt, encode_error, error_in_stream, finish_failure
from tollway.dialects.gemini.frames import ChunkCutter, chunk_data
from tollway.dialects.gemini.grounding import citations_in, grounding_fields
from tollway.dialects.gemini.parts import (
    NAME,
    arguments_object,
    arguments_text,
    media_fields,
    one_line,
    pack_thought,
    read_signature,
    unpack_thought,
    wire_signature,
)
from tollway.dialects.gemini.usage import searches_in, usage_from_json, usage_to_fields
from tollway.errors import PublicError, UpstreamBroken, UpstreamError

FINISH_FROM_WIRE = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "NO_IMAGE": "content_filter",
    "OTHER": "content_filter",  # an unknown reason, says the page; what is known of it are blocks
}
FINISH_TO_WIRE = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}

#: What stands beside a candidate's content and has no word of ours: kept whole for a client of Gemini's.
BESIDE_CONTENT = ("groundingMetadata", "citationMetadata", "urlContextMetadata")


class FunctionCall(Struct, gc=False):
    name: str | None = None
    id: str | None = None
    args: Raw = Raw()
    partialArgs: Raw = Raw()
    willContinue: bool | None = None


class Blob(Struct, gc=False):
    mimeType: str | None = None
    data: str | None = None


class WirePart(Struct):
    text: str | None = None
    thought: bool | None = None
    thoughtSignature: str | None = None
    functionCall: FunctionCall | None = None
    inlineData: Blob | None = None


class Content(Struct):
    parts: list[WirePart] | None = None


class WireToken(Struct, gc=False):
    token: str | None = None
    logProbability: float | None = None


class WireTokens(Struct):
    candidates: list[WireToken] | None = None


class Logprobs(Struct):
    """`topCandidates` stand beside `chosenCandidates`, step by step."""

    topCandidates: list[WireTokens] | None = None
    chosenCandidates: list[WireToken] | None = None


class Candidate(Struct):
    content: Content | None = None
    finishReason: str | None = None
    index: int | None = None
    finishMessage: str | None = None
    groundingMetadata: Raw = Raw()
    citationMetadata: Raw = Raw()
    urlContextMetadata: Raw = Raw()
    logprobsResult: Logprobs | None = None


class PromptFeedback(Struct, gc=False):
    blockReason: str | None = None
    blockReasonMessage: str | None = None


class Response(Struct):
    candidates: list[Candidate] | None = None
    usageMetadata: Raw = Raw()
    modelVersion: str | None = None
    responseId: str | None = None
    promptFeedback: PromptFeedback | None = None
    error: Raw = Raw()


_decode_response = msgspec.json.Decoder(Response).decode
decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_NULL = b"null"


# --- decoding ------------------------------------------------------------------------------------------------------


def read_response(payload: bytes) -> Response:
    """A whole reply or a chunk. Raises the error that stands in its place, or UpstreamBroken."""
    try:
        response = _decode_response(payload)
    except UNREADABLE as error:
        try:
            value = decode_any(payload)
        except UNREADABLE:
            raise UpstreamBroken("The provider sent something that is not JSON.") from error
        raise error_in_stream(value, payload) or UpstreamBroken(
            f"The provider sent something of a shape that is not Gemini's ({error})."
        ) from error
    if response.error and bytes(response.error) != _NULL:
        raise error_in_stream(decode_any(payload), payload) or UpstreamBroken("The provider sent an empty error.")
    return response


def decode_reply(body: bytes) -> list[Event]:
    """A whole reply as events. Raises UpstreamBroken, ContentPolicyViolation for a prompt that was blocked, or the error
    that stands where the reply should.
    """
    response = read_response(body)
    if not response.candidates and response.promptFeedback is None:
        raise UpstreamBroken("The provider sent a reply without candidates.")
    events: list[Event] = []
    _ResponseReader().read(response, body, events)
    return events


class EventDecoder:
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`. Server-sent events have no end mark
    here; an array's is its closing bracket.
    """

    def __init__(self) -> None:
        self._cutter = ChunkCutter()
        self._reader = _ResponseReader()
        self.complete = False
        self.before_error: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for chunk in self._cutter.feed(data):
                payload = chunk_data(chunk)
                if payload is not None:
                    self._reader.read(read_response(payload), payload, events)
        except UpstreamError:
            self.before_error = events
            raise
        self.complete = self._cutter.ended
        return events

    def end(self) -> list[Event]:
        if self._cutter.array:
            return []  # half an element is none
        rest = self._cutter.rest()
        return self.feed(rest.rstrip(b"\n") + b"\n\n") if rest.strip() else []


class _ResponseReader:
    """Responses in their order: the first starts the reply, each carries its candidates on."""

    def __init__(self) -> None:
        self._started = False
        self._id = ""
        self._model = ""
        self._candidates: dict[int, _CandidateReader] = {}
        self._searches: dict[int, int] = {}

    def read(self, response: Response, payload: bytes, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            self._id, self._model = response.responseId or "", response.modelVersion or ""
            events.append(Started(self._id, self._model))
        for place, candidate in enumerate(response.candidates or ()):
            self._read_content(candidate, place, payload, events)
        if response.usageMetadata:
            usage = usage_from_json(response.usageMetadata, sum(self._searches.values()))
            if usage is not None:
                events.append(UsageSeen(usage))
        feedback = response.promptFeedback
        if feedback is not None and feedback.blockReason and not response.candidates:
            raise blocked_prompt(feedback.blockReason, feedback.blockReasonMessage or "")
        for candidate in response.candidates or ():
            if candidate.finishReason:
                self._read_finish(candidate, candidate.finishReason, events)

    def _read_content(self, candidate: Candidate, place: int, payload: bytes, events: list[Event]) -> None:
        number = candidate.index or 0
        reader = self._candidates.get(number)
        if reader is None:
            reader = self._candidates[number] = _CandidateReader(number, self._id)
        if candidate.logprobsResult is not None and (tokens := _likely_tokens(candidate.logprobsResult)):
            events.append(LogprobsPiece(tokens, number))
        if candidate.content is not None and candidate.content.parts:
            reader.read(candidate.content.parts, place, payload, events)
        for name in BESIDE_CONTENT:
            raw: Raw = getattr(candidate, name)
            if raw and bytes(raw) != _NULL:
                events.append(OpaquePiece(NAME, Raw(one_line(_encode({name: raw}))), number))
        if candidate.groundingMetadata:
            found = searches_in(candidate.groundingMetadata, self._model)
            self._searches[number] = max(found, self._searches.get(number, 0))
            cited = citations_in(candidate.groundingMetadata, "".join(reader.said))
            events.extend(CitationPiece(citation, number) for citation in cited)

    def _read_finish(self, candidate: Candidate, wire: str, events: list[Event]) -> None:
        failed = finish_failure(wire, candidate.finishMessage or "")
        if failed is not None:
            raise failed
        number = candidate.index or 0
        reason = FINISH_FROM_WIRE.get(wire, wire)
        if reason == "stop" and self._candidates[number].calls:
            reason = "tool_calls"
        events.append(Finished(reason, None, number))


class _CandidateReader:
    def __init__(self, number: int, reply_id: str) -> None:
        self._number = number
        self._reply_id = reply_id
        self._block = 0
        self._block_open = False
        self.calls = 0
        self.said: list[str] = []  # the text so far: citations point into it

    def read(self, parts: list[WirePart], place: int, payload: bytes, events: list[Event]) -> None:
        for at, part in enumerate(parts):
            if part.text is not None:
                if part.thought:
                    self._read_thought(part.text, part.thoughtSignature, events)
                    continue
                if self._block_open:
                    self._close_block()
                if part.thoughtSignature:
                    self._add_signature(part.thoughtSignature, events)
                if part.text:
                    self.said.append(part.text)
                    events.append(TextPiece(part.text, self._number))
            elif part.functionCall is not None:
                self._read_call(part.functionCall, part.thoughtSignature, events)
            elif (picture := _picture(part)) is not None:
                self._close_block()
                if part.thoughtSignature:
                    self._add_signature(part.thoughtSignature, events)
                events.append(ImagePiece(picture, self._number))
            else:
                self._close_block()
                events.append(OpaquePiece(NAME, _raw_part(payload, place, at), self._number))

    def _read_thought(self, text: str, signature: str | None, events: list[Event]) -> None:
        if text:
            self._block_open = True
            events.append(ReasoningPiece(text, block=self._block, choice=self._number))
        if signature:
            self._add_signature(signature, events)

    def _add_signature(self, wire: str, events: list[Event]) -> None:
        signature, redacted, maker = read_signature(wire)
        if redacted:
            self._close_block()
        events.append(ReasoningPiece("", signature, redacted, self._block, self._number, maker))
        self._block += 1
        self._block_open = False

    def _close_block(self) -> None:
        self._block += self._block_open
        self._block_open = False

    def _read_call(self, call: FunctionCall, wire_signature: str | None, events: list[Event]) -> None:
        if call.willContinue or (call.partialArgs and bytes(call.partialArgs) not in (_NULL, b"[]")):
            raise UpstreamBroken(
                "The provider streams a call's arguments in pieces, which is not understood here: leave out "
                "`streamFunctionCallArguments`."
            )
        self._close_block()
        signature = ""
        if wire_signature and unpack_thought(wire_signature) is None:  # a gateway like this one packed it
            signature = read_signature(wire_signature)[0]
        call_id = call.id or f"call_{self._reply_id or self._number}_{self.calls}"
        events.append(ToolCallStarted(self.calls, call_id, call.name or "", False, signature, self._number))
        events.append(ToolArgumentsPiece(self.calls, arguments_text(call.args), self._number))
        self.calls += 1


def _picture(part: WirePart) -> Inline | None:
    """What an image model drew; not its drafts, which come as thought."""
    blob = part.inlineData
    if blob is None or part.thought or not blob.data or not (blob.mimeType or "").startswith("image/"):
        return None
    return Inline(blob.mimeType or "", blob.data)


def _likely_tokens(logprobs: Logprobs) -> list[LikelyToken]:
    beside = logprobs.topCandidates or ()
    tokens = []
    for at, chosen in enumerate(logprobs.chosenCandidates or ()):
        others = (beside[at].candidates or ()) if at < len(beside) else ()
        top = tuple(LikelyToken(other.token or "", other.logProbability or 0.0) for other in others)
        tokens.append(LikelyToken(chosen.token or "", chosen.logProbability or 0.0, top))
    return tokens


def _raw_part(payload: bytes, place: int, at: int) -> Raw:
    """The part as it came. Only kinds of part that are unknown here ask for it, so it is looked up anew each time."""
    value = msgspec.json.decode(payload, type=dict[str, Raw])
    candidate = msgspec.json.decode(value["candidates"], type=list[dict[str, Raw]])[place]
    content = msgspec.json.decode(candidate["content"], type=dict[str, Raw])
    return Raw(one_line(bytes(msgspec.json.decode(content["parts"], type=list[Raw])[at])))


# --- encoding ------------------------------------------------------------------------------------------------------


class EventEncoder:
    """Events as a stream of responses. `array`: for a client that did not ask for `alt=sse`.

    A call must be whole where it is written, and providers may mix the pieces of several: from a choice's first call on
    its pieces wait for its end, at most HELD_BYTES_MAX of them.
    """

    def __init__(self, about: About, *, array: bool = False) -> None:
        self._about = about
        self._framer = Framer(array=array)
        self._tail = b""
        self._choices: dict[int, _ChoiceEncoder] = {}
        self._usage: Usage | None = None
        self._name_reply("")

    def feed(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if isinstance(event, UsageSeen):
                self._usage = event.usage
            elif isinstance(event, Started):
                self._name_reply(event.id)
            elif isinstance(event, Finished):
                self._choice(event.choice).finish(event, out)
            else:
                choice = self._choices.get(event.choice)
                if choice is None:
                    choice = self._choice(event.choice)
                choice.write(event, out)
        return self._framer.frame([text + self._tail for text in out]) if out else b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        out: list[bytes] = []
        self._choice(0)
        candidates = [choice.last_candidate(out) for _, choice in sorted(self._choices.items())]
        counted = usage if usage is not None else self._usage
        last: dict[str, Any] = {"candidates": candidates}
        if counted is not None:
            last["usageMetadata"] = usage_to_fields(counted, cost)
        chunks = [text + self._tail for text in out]
        chunks.append(_encode(last)[:-1] + self._tail[1:])
        return self._framer.frame(chunks) + self._framer.end()

    def fail(self, error: PublicError) -> bytes:
        return self._framer.frame([encode_error(error)]) + self._framer.end()

    def _choice(self, number: int) -> _ChoiceEncoder:
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _ChoiceEncoder(number)
        return choice

    def _name_reply(self, reply_id: str) -> None:
        """What ends every chunk: the bracket of `candidates`, whose reply it is and which model's."""
        names = {"modelVersion": self._about.model, "responseId": reply_id or self._about.id}
        self._tail = b"]," + _encode(names)[1:]


class Framer:
    """Chunks as events, or as the elements of an array."""

    __slots__ = ("_array", "_begun")

    def __init__(self, *, array: bool) -> None:
        self._array = array
        self._begun = False

    def frame(self, chunks: list[bytes]) -> bytes:
        if not self._array:
            return b"data: " + b"\n\ndata: ".join(chunks) + b"\n\n" if chunks else b""
        before = b",\r\n" if self._begun else b"["
        self._begun = self._begun or bool(chunks)
        return before + b",\r\n".join(chunks) if chunks else b""

    def end(self) -> bytes:
        if not self._array:
            return b""
        return b"]" if self._begun else b"[]"


class _ChoiceEncoder:
    """One candidate. What it writes lacks the tail that all chunks of the reply share."""

    def __init__(self, number: int) -> None:
        self._head = b'{"candidates":[{"content":{"parts":['
        self._end = b'],"role":"model"},"index":%d}' % number
        self._text_head = self._head + b'{"text":'
        self._text_end = b"}" + self._end
        self._thought_end = b',"thought":true}' + self._end
        self._number = number
        self._block = -1  # the thought whose text was written last
        self._waiting: list[Event] = []
        self._waiting_bytes = 0
        self._finished: Finished | None = None
        self._bad_calls: list[str] = []
        self._logprobs = 0.0
        self._tokens = 0
        self._said: list[str] = []  # the text so far: citations point into it
        self._citations: list[Citation] = []
        self._thought: list[ReasoningPiece] = []  # since the last call

    def write(self, event: Event, out: list[bytes]) -> None:
        if self._waiting:
            self._wait(event)
        elif isinstance(event, (TextPiece, RefusalPiece)):
            if event.text:
                self._said.append(event.text)
                out.append(self._text_head + _encode(event.text) + self._text_end)
        elif isinstance(event, ReasoningPiece):
            self._write_thought(event, out)
        elif isinstance(event, ToolCallStarted):
            if not event.server_side:  # what the provider ran itself is nothing that this client could run
                self._wait(event)
        elif isinstance(event, ImagePiece):
            out.append(self._head + _encode(media_fields(Image(event.source))) + self._end)
        elif isinstance(event, LogprobsPiece):
            self._write_logprobs(event.tokens, out)
        elif isinstance(event, CitationPiece):
            self._citations.append(event.citation)
        elif isinstance(event, OpaquePiece) and event.dialect == NAME:
            out.append(self._opaque(event.raw))

    def finish(self, event: Finished, out: list[bytes]) -> None:
        self._write_waiting(out)
        self._finished = event

    def last_candidate(self, out: list[bytes]) -> dict[str, Any]:
        self._write_waiting(out)
        finished = self._finished or Finished("stop")
        return {
            "content": {"parts": [{"text": ""}], "role": "model"},
            **finish_fields(finished.reason, self._bad_calls),
            "index": self._number,
            **grounding_fields(self._citations, "".join(self._said)),
            **({"avgLogprobs": self._logprobs / self._tokens} if self._tokens else {}),
        }

    def _wait(self, event: Event) -> None:
        self._waiting.append(event)
        self._waiting_bytes += len(getattr(event, "text", ""))
        if self._waiting_bytes > HELD_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent tool calls of more than {HELD_BYTES_MAX} bytes.")

    def _write_waiting(self, out: list[bytes]) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        choice = fold(waiting).choices[0]
        self._write_logprobs(choice.logprobs, out)
        before = fold(list(self._thought)).choices
        packer = _ThoughtPacker(before[0].parts if before else [])
        self._thought = []
        for part in choice.parts:
            packer.see(part)
            if isinstance(part, Opaque):
                if part.dialect == NAME:
                    out.append(self._opaque(part.raw))
            elif (fields := part_fields(part, self._bad_calls)) is not None:
                out.append(self._head + _encode(fields) + self._end)
                if isinstance(part, Text):
                    self._said.append(part.text)
                    self._citations += part.citations

    def _write_thought(self, event: ReasoningPiece, out: list[bytes]) -> None:
        self._thought.append(event)
        if event.text:
            self._block = event.block
            out.append(self._text_head + _encode(event.text) + self._thought_end)
        if event.signature or event.redacted:
            fields: dict[str, Any] = {"text": ""}
            if event.redacted or event.block == self._block:
                fields["thought"] = True
            fields["thoughtSignature"] = wire_signature(event.signature, event.redacted, event.maker)
            out.append(self._head + _encode(fields) + self._end)

    def _write_logprobs(self, tokens: list[LikelyToken], out: list[bytes]) -> None:
        if tokens:
            self._logprobs += sum(token.logprob for token in tokens)
            self._tokens += len(tokens)
            out.append(self._beside(_encode({"logprobsResult": logprobs_fields(tokens)})))

    def _opaque(self, raw: Raw) -> bytes:
        return self._beside(bytes(raw)) if _beside_content(raw) else self._head + bytes(raw) + self._end

    def _beside(self, members: bytes) -> bytes:
        """With content all the same: Google's Python SDK forgets a turn that had a chunk without."""
        return self._text_head + b'""' + self._text_end[:-1] + b"," + members[1:]


def _beside_content(raw: Raw) -> bool:
    return msgspec.json.decode(raw, type=dict[str, Raw]).keys() <= set(BESIDE_CONTENT)


def encode_reply(events: list[Event], about: About, usage: Usage | None = None, cost: Cost | None = None) -> bytes:
    """The whole reply: the fold of the events. `usage` None: what the events told of it."""
    reply = fold(events)
    counted = usage if usage is not None else reply.usage
    choices = reply.choices or [WholeChoice()]
    fields: dict[str, Any] = {
        "candidates": [_candidate_fields(number, choice) for number, choice in enumerate(choices)]
    }
    if counted is not None:
        fields["usageMetadata"] = usage_to_fields(counted, cost)
    fields["modelVersion"] = about.model
    fields["responseId"] = reply.id or about.id
    return _encode(fields)


def _candidate_fields(number: int, choice: WholeChoice) -> dict[str, Any]:
    parts: list[Any] = []
    beside: dict[str, Any] = {}
    bad_calls: list[str] = []
    packer = _ThoughtPacker([])
    for part in choice.parts:
        packer.see(part)
        if isinstance(part, Opaque):
            if part.dialect == NAME and _beside_content(part.raw):
                beside.update(msgspec.json.decode(part.raw, type=dict[str, Raw]))
            elif part.dialect == NAME:
                parts.append(part.raw)
        elif (fields := part_fields(part, bad_calls)) is not None:
            parts.append(fields)
    texts = [part for part in choice.parts if isinstance(part, Text)]
    citations = [citation for part in texts for citation in part.citations]
    beside.update(grounding_fields(citations, "".join(part.text for part in texts)))
    if choice.logprobs:
        beside["logprobsResult"] = logprobs_fields(choice.logprobs)
        beside["avgLogprobs"] = sum(token.logprob for token in choice.logprobs) / len(choice.logprobs)
    content = {"parts": parts or [{"text": ""}], "role": "model"}
    return {"content": content, **finish_fields(choice.finish or "stop", bad_calls), "index": number, **beside}


def logprobs_fields(tokens: list[LikelyToken]) -> dict[str, Any]:
    def fields(token: LikelyToken) -> dict[str, Any]:
        return {"token": token.text, "logProbability": token.logprob}

    wire: dict[str, Any] = {"chosenCandidates": [fields(token) for token in tokens]}
    if any(token.top for token in tokens):
        wire["topCandidates"] = [{"candidates": [fields(other) for other in token.top]} for token in tokens]
    return wire


class _ThoughtPacker:
    """Gives a call the thought before it, where another than Google signed that. See `pack_thought`."""

    def __init__(self, before: list[Part]) -> None:
        self._thought: list[Reasoning] = []
        for part in before:
            self.see(part)

    def see(self, part: Part) -> None:
        if isinstance(part, Reasoning) and part.maker != NAME and (part.signature or part.redacted):
            self._thought.append(part)
        elif isinstance(part, ToolCall) and self._thought and not part.server_side:
            if not part.signature:
                part.signature = pack_thought(self._thought)
            self._thought = []


def part_fields(part: Part, bad_calls: list[str]) -> dict[str, Any] | None:
    """A part of a reply; None for what this dialect does not show. A call whose arguments are no object cannot be
    written: its name goes to `bad_calls`.
    """
    if isinstance(part, (Text, Refusal)):
        return {"text": part.text}
    if isinstance(part, Reasoning):
        fields: dict[str, Any] = {"text": part.text}
        if part.text or part.redacted:
            fields["thought"] = True
        if part.signature or part.redacted:
            fields["thoughtSignature"] = wire_signature(part.signature, part.redacted, part.maker)
        return fields
    if isinstance(part, ToolCall) and not part.server_side:
        args = arguments_object(part.arguments)
        if args is None:
            bad_calls.append(part.name)
            return None
        fields = {"functionCall": {"id": part.id, "name": part.name, "args": args}}
        if part.signature:
            fields["thoughtSignature"] = wire_signature(part.signature)
        return fields
    return media_fields(part) if isinstance(part, Image) else None


def finish_fields(reason: str, bad_calls: list[str]) -> dict[str, str]:
    """The finish reason in Google's words, which its SDKs hold for a closed list; another's own word goes beside it."""
    wire = FINISH_TO_WIRE.get(reason)
    if bad_calls:
        word = wire if wire == "MAX_TOKENS" else "MALFORMED_FUNCTION_CALL"
        return {"finishReason": word, "finishMessage": f"Malformed function call: {', '.join(bad_calls)}"}
    if wire is not None:
        return {"finishReason": wire}
    return {"finishReason": "OTHER", "finishMessage": reason}
