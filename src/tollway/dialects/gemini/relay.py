"""Gemini in, Gemini out: chunks pass as the bytes they came in, as events or as the elements of an array. Where the
provider sends the one and the client asked for the other, what is between them is written anew, and only that.

Changed is the last chunk alone: its usage gets our `cost`. `modelVersion` stays what Google says: it is no name that
anyone called. The chunk that finishes the reply, and what follows it, wait for `finish`. A prompt that was blocked is an
answer in this dialect (`promptFeedback`), and passes.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.dialects import HELD_BYTES_MAX, About
from tollway.dialects.gemini.errors import encode_error, error_in_stream
from tollway.dialects.gemini.frames import ChunkCutter, chunk_data
from tollway.dialects.gemini.parts import one_line
from tollway.dialects.gemini.reply import UNREADABLE, Framer, decode_any
from tollway.dialects.gemini.usage import searches_in, usage_from_json, usage_to_fields, with_cost
from tollway.errors import PublicError, UpstreamBroken, UpstreamError

_NULL = b"null"
_ABSENT = Raw()


class _Part(Struct, gc=False):
    text: Any = None
    functionCall: Raw = _ABSENT


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, gc=False):
    content: _Content | None = None
    finishReason: Any = None
    index: Any = 0
    groundingMetadata: Raw = _ABSENT


class _Chunk(Struct, gc=False):
    candidates: list[_Candidate] | None = None
    usageMetadata: Raw = _ABSENT
    modelVersion: Any = None
    responseId: Any = None
    promptFeedback: Raw = _ABSENT
    error: Raw = _ABSENT


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def _read(payload: bytes, what: str) -> _Chunk:
    try:
        chunk = _decode_chunk(payload)
    except UNREADABLE as error:
        try:
            found = error_in_stream(decode_any(payload), payload)
        except UNREADABLE:
            found = None
        raise found or UpstreamBroken(f"The provider sent {what} that is not JSON of Gemini's shape.") from error
    if chunk.error and bytes(chunk.error) != _NULL:
        found = error_in_stream(decode_any(payload), payload)
        if found is not None:
            raise found
    return chunk


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class PassRelay:
    """A stream of Gemini's own dialect, relayed. See `tollway.dialects.Relay`. `array`: how the client wants it; None for
    as it comes.
    """

    __slots__ = (
        "_about",
        "_array",
        "_cut_short",
        "_cutter",
        "_finished",
        "_framer",
        "_held",
        "_held_bytes",
        "_model",
        "_searches",
        "_unsent",
        "_usage_raw",
        "complete",
        "content_started",
        "finishing",
        "output_bytes",
        "reply_id",
    )

    def __init__(self, about: About, *, array: bool | None = None) -> None:
        self._about = about
        self._array = array
        self._cutter = ChunkCutter()
        self._framer: Framer | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._finished: set[Any] = set()
        self._usage_raw: bytes | None = None
        self._searches: dict[Any, int] = {}
        self._model = ""
        self._unsent = b""  # what could have been relayed of the bytes in which an error came
        self._cut_short = False
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.reply_id = ""
        self.output_bytes = 0

    @property
    def usage(self) -> Usage | None:
        """The provider's last usage."""
        if self._usage_raw is None:
            return None
        return usage_from_json(self._usage_raw, sum(self._searches.values()))

    def feed(self, data: bytes) -> bytes:
        if self.complete:
            return b""
        passed: list[bytes] = []
        try:
            for chunk in self._cutter.feed(data):
                self._relay(chunk, passed)
        except UpstreamError:
            self._unsent = self._framed(passed)
            raise
        self.complete = self._cutter.ended
        return self._framed(passed)

    def _relay(self, chunk: bytes, passed: list[bytes]) -> None:
        payload = chunk_data(chunk)
        if payload is not None:
            read = _read(payload, "a stream chunk")
            if read.usageMetadata:
                raw = bytes(read.usageMetadata)
                if raw != _NULL:
                    self._usage_raw = raw
            if not self.reply_id:
                self.reply_id, self._model = _text(read.responseId), _text(read.modelVersion)
            if read.candidates:
                for candidate in read.candidates:
                    self._see(candidate)
            elif read.promptFeedback and b'"blockReason"' in bytes(read.promptFeedback):
                self.finishing = True
        if self.finishing:
            self._hold(chunk)
        else:
            passed.append(chunk)

    def end(self) -> bytes:
        if self._cutter.array:
            return b""  # half an element is none
        rest = self._cutter.rest()
        return self.feed(rest.rstrip(b"\n") + b"\n\n") if rest.strip() else b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        held, self._held = self._held, []
        self._tell_cost(held, usage, cost)
        self.complete = True
        return self._framed(held) + self._frames().end()

    def cut_short(self) -> bytes:
        candidates = [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": index}
            for index in range(self._about.choices)
            if index not in self._finished and not (index == 0 and None in self._finished)
        ]
        said = {"responseId": self.reply_id, "modelVersion": self._model, "candidates": candidates}
        passed: list[bytes] = []
        chunk = msgspec.json.encode({name: value for name, value in said.items() if value})
        self._relay(chunk if self._cutter.array else b"data: " + chunk, passed)
        self.finishing = self.complete = self._cut_short = True
        return self._framed(passed)

    def fail(self, error: PublicError) -> bytes:
        self._held = []
        self.complete = True
        frames = self._frames()
        return self._unsent + frames.frame([encode_error(error)]) + frames.end()

    # --- what a chunk holds ----------------------------------------------------------------------------------------

    def _see(self, candidate: _Candidate) -> None:
        content = candidate.content
        if content is not None and content.parts:
            for part in content.parts:
                text = part.text
                if text is None:  # a call, media, code: each says something by being there
                    self.content_started = True
                    self.output_bytes += len(bytes(part.functionCall))
                elif text and type(text) is str:
                    self.content_started = True
                    self.output_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if candidate.groundingMetadata:
            found = searches_in(candidate.groundingMetadata, self._model)
            self._searches[candidate.index] = max(found, self._searches.get(candidate.index, 0))
        if candidate.finishReason:
            self._finished.add(candidate.index)
            self.finishing = self.finishing or len(self._finished) >= self._about.choices

    def _hold(self, chunk: bytes) -> None:
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes > HELD_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent more than {HELD_BYTES_MAX} bytes after the end of its reply.")

    # --- writing ---------------------------------------------------------------------------------------------------

    def _frames(self) -> Framer:
        if self._framer is None:
            self._framer = Framer(array=bool(self._cutter.array if self._array is None else self._array))
        return self._framer

    def _framed(self, chunks: list[bytes]) -> bytes:
        if not chunks:
            return b""
        if not self._cutter.array and not self._array:
            return b"\n\n".join(chunks) + b"\n\n"
        payloads = [payload for chunk in chunks if (payload := chunk_data(chunk)) is not None]
        if self._cutter.array and self._array is False:
            payloads = [one_line(payload) for payload in payloads]
        return self._frames().frame(payloads)

    def _tell_cost(self, held: list[bytes], usage: Usage | None, cost: Cost | None) -> None:
        """On the last chunk that tells usage; on the last of all, where the provider told none."""
        for place in range(len(held) - 1, -1, -1):
            payload = chunk_data(held[place])
            fields: dict[str, Any] = dict(_decode_fields(payload)) if payload is not None else {}
            raw = bytes(fields.get("usageMetadata", b""))
            if raw.startswith(b"{"):
                if cost is not None:
                    held[place] = self._rewritten({**fields, "usageMetadata": with_cost(raw, cost)})
                return
        if held and usage is not None and (self._usage_raw is None or self._cut_short):
            payload = chunk_data(held[-1])
            if payload is not None:
                fields = dict(_decode_fields(payload))
                held[-1] = self._rewritten({**fields, "usageMetadata": usage_to_fields(usage, cost)})

    def _rewritten(self, fields: dict[str, Any]) -> bytes:
        body = msgspec.json.encode(fields)
        return body if self._cutter.array else b"data: " + body


# --- whole replies -------------------------------------------------------------------------------------------------


def rename_reply(body: bytes, new_model: str) -> tuple[bytes, Usage | None, str]:
    """A whole JSON reply as it came, the usage in it, and its id; `new_model` has no place in it, see above.

    Raises UpstreamBroken for what is not JSON or has neither candidates nor a reason why there are none, and the
    provider's error where a reply with status 200 is one.
    """
    reply = _read(body, "a reply")
    if not reply.candidates and not reply.promptFeedback:
        raise UpstreamBroken("The provider sent a reply without candidates.")
    return body, _usage_in(reply), _text(reply.responseId)


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no JSON."""
    try:
        return _usage_in(_decode_chunk(body))
    except UNREADABLE:
        return None


def _usage_in(reply: _Chunk) -> Usage | None:
    if not reply.usageMetadata:
        return None
    searches = [searches_in(found.groundingMetadata, _text(reply.modelVersion)) for found in reply.candidates or ()]
    return usage_from_json(reply.usageMetadata, sum(searches))
