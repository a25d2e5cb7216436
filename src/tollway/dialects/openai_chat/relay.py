"""OpenAI chat in, OpenAI chat out: events pass as the bytes they came in. This is the hot path of every stream.

Each event is decoded once into a small struct that knows only what must be known: does it hold content, does it finish,
does it carry usage or an error, whose model does it name. Nothing is rebuilt but three things: the model's name, the
finishing chunk where usage must ride on it, and the usage chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.dialects import HELD_BYTES_MAX, About
from tollway.dialects.openai_chat.errors import encode_stream_error, error_in_stream
from tollway.dialects.openai_chat.usage import (
    UsageFields,
    usage_from_fields,
    usage_from_json,
    usage_to_fields,
    with_cost,
)
from tollway.errors import PublicError, UpstreamBroken, UpstreamError
from tollway.sse import EventCutter, event_data, event_name

_ABSENT = Raw()  # empty, so false; msgspec has no `Raw | None`


class _Delta(Struct, gc=False):
    content: Any = None
    tool_calls: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    refusal: Any = None
    function_call: Any = None
    thinking_blocks: Any = None
    audio: Any = None
    images: Any = None


class _Choice(Struct, gc=False):
    finish_reason: Any = None
    delta: _Delta | None = None
    index: Any = 0
    text: Any = None  # of the older `/v1/completions`, which streams in the same frame


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    id: Any = ""
    model: Any = None
    usage: Raw = _ABSENT
    error: Raw = _ABSENT
    service_tier: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


class PassRelay:
    """A stream of OpenAI's own dialect, relayed. See `tollway.dialects.Relay`.

    It serves `/v1/completions` too, whose chunks differ in `choices[].text` alone.
    """

    __slots__ = (
        "_about",
        "_cutter",
        "_finished_choices",
        "_finishing_at",
        "_held",
        "_held_bytes",
        "_model",
        "_prefix",
        "_prefix_renamed",
        "_service_tier",
        "_unsent",
        "_usage_event",
        "_usage_raw",
        "complete",
        "content_started",
        "finishing",
        "output_bytes",
        "reply_id",
    )
    _chunk_kind = "chat.completion.chunk"
    _last_delta: Mapping[str, Any] = {"delta": {}}

    def __init__(self, about: About) -> None:
        self._about = about
        self._model = about.model
        self._cutter = EventCutter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._finished_choices: set[Any] = set()
        self._finishing_at = -1  # where in `_held` the last finishing event stands
        self._usage_event: bytes | None = None  # the last chunk that carried usage and no choices
        self._usage_raw: bytes | None = None
        self._service_tier: str | None = None
        self._prefix = b""  # how events of this stream begin, up to and with the provider's name for the model
        self._prefix_renamed = b""
        self._unsent = b""  # what could have been relayed of the bytes in which an error came
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.reply_id = ""
        self.output_bytes = 0

    @property
    def usage(self) -> Usage | None:
        """The provider's last usage."""
        return usage_from_json(self._usage_raw, self._service_tier) if self._usage_raw is not None else None

    def feed(self, data: bytes) -> bytes:
        passed: list[bytes] = []
        try:
            for event in self._cutter.feed(data):
                if not self.complete:
                    self._relay(event, passed)
        except UpstreamError:
            self._unsent = _joined(passed)
            raise
        return _joined(passed)

    def _relay(self, event: bytes, passed: list[bytes]) -> None:
        payload = event[6:] if event.startswith(b"data: {") else event_data(event)
        if payload is None:
            self._pass_or_hold(event, passed)
            return
        try:
            chunk = _decode_chunk(payload)
        except _UNREADABLE:
            payload = event_data(event) or b""  # the quick cut above does not look for more lines
            found = self._read_again(payload)
            if found is None:
                return
            chunk = found
        choices = chunk.choices
        if (not choices or chunk.usage or chunk.error) and not self._take_special(event, payload, chunk):
            return
        for choice in choices or ():
            delta = choice.delta
            piece = delta.content if delta is not None and delta.tool_calls is None else None
            if piece and type(piece) is str and piece.isascii():
                self.content_started = True
                self.output_bytes += len(piece)
            else:
                self._see_rarer_content(choice)
            if choice.finish_reason:
                self._see_finish(choice)
        if not self.reply_id and isinstance(chunk.id, str):
            self.reply_id = chunk.id
        if chunk.model != self._model:
            prefix = self._prefix
            if prefix and event.startswith(prefix):
                event = self._prefix_renamed + event[len(prefix) :]
            else:
                event = self._renamed(event, payload, chunk.model)
        if self.finishing:
            self._hold(event)
        else:
            passed.append(event)

    def end(self) -> bytes:
        """The provider closed its stream. Reads a last event that came without its empty line."""
        rest = self._cutter.rest()
        return self.feed(rest.rstrip(b"\n") + b"\n\n") if rest.strip() else b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        held = self._held
        raw = self._usage_with_cost(usage, cost)
        if raw is not None and self._finishing_at >= 0:
            if not self._about.usage_wanted:
                held[self._finishing_at] = _with_usage(held[self._finishing_at], raw)
            elif self._usage_event is None and _carries_usage(held[self._finishing_at]):
                # OpenAI sends usage once, in a chunk of its own: a client that adds up what it sees would count twice.
                held[self._finishing_at] = _with_usage(held[self._finishing_at], Raw(b"null"))
        if raw is not None and self._about.usage_wanted:
            held.append(self._usage_chunk(raw))
        self._held = []
        self.complete = True
        return b"".join([event + b"\n\n" for event in held]) + b"data: [DONE]\n\n"

    def cut_short(self) -> bytes:
        self._cutter.rest()
        choices = [
            {"index": index, **self._last_delta, "finish_reason": "length"}
            for index in range(self._about.choices)
            if index not in self._finished_choices
        ]
        head = {"id": self.reply_id, "object": self._chunk_kind, "created": self._about.created_s, "model": self._model}
        out = self.feed(b"data: " + _encode({**head, "choices": choices}) + b"\n\n")
        self.complete = True
        return out

    def fail(self, error: PublicError) -> bytes:
        self._held = []
        self.complete = True
        return self._unsent + encode_stream_error(error)

    # --- what an event may be besides a piece of text --------------------------------------------------------------

    def _read_again(self, payload: bytes) -> _Chunk | None:
        """A chunk that stood on several lines, or None for `[DONE]`; anything else that is no chunk breaks the
        stream.
        """
        text = payload.strip()
        if text == b"[DONE]":
            self.complete = True
            return None
        if not text:
            return None
        try:
            return _decode_chunk(payload)
        except _UNREADABLE as error:
            try:
                value = _decode_any(payload)
            except _UNREADABLE:
                raise UpstreamBroken("The provider sent a stream event that is not JSON.") from error
            known = error_in_stream(value)
            raise known or UpstreamBroken("The provider sent a stream event of an unknown shape.") from error

    def _take_special(self, event: bytes, payload: bytes, chunk: _Chunk) -> bool:
        """Looks at an event with an error, with usage or without choices. False if it was taken here and goes no
        further.
        """
        error_raw = bytes(chunk.error)
        if (error_raw and error_raw != b"null") or (chunk.choices is None and not chunk.usage):
            error = error_in_stream(_decode_any(payload), event_name(event))
            if error is not None:
                raise error
        raw = bytes(chunk.usage)
        if raw.startswith(b"{"):
            self._usage_raw = raw
            self._service_tier = chunk.service_tier or self._service_tier
            if not chunk.choices:
                self._usage_event = self._renamed(event, payload, chunk.model)
                return False
        # A client that did not ask for chunks without choices reads choices[0] of each.
        return bool(chunk.choices) or self._about.usage_wanted

    def _see_rarer_content(self, choice: _Choice) -> None:
        delta = choice.delta
        pieces = [choice.text] if delta is None else [getattr(delta, name) for name in _Delta.__struct_fields__]
        if any(pieces):
            self.content_started = True
            self.output_bytes += text_bytes(pieces[0])
            if delta is not None and any(pieces[1:]):
                self.output_bytes += _bytes_beside_content(delta)

    def _see_finish(self, choice: _Choice) -> None:
        """The event being read finishes a choice; the one that finishes the last of them is held back."""
        self._finished_choices.add(choice.index)
        if self.finishing or len(self._finished_choices) >= self._about.choices:
            self.finishing = True
            self._finishing_at = len(self._held)

    def _pass_or_hold(self, event: bytes, passed: list[bytes]) -> None:
        if self.finishing:
            self._hold(event)
        else:
            passed.append(event)

    def _hold(self, event: bytes) -> None:
        self._held.append(event)
        self._held_bytes += len(event)
        if self._held_bytes > HELD_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent more than {HELD_BYTES_MAX} bytes after the end of its reply.")

    # --- the model's name ------------------------------------------------------------------------------------------

    def _renamed(self, event: bytes, payload: bytes, model: Any) -> bytes:
        """With our name for the model instead of the provider's.

        An event that begins with the same bytes as an earlier one, up to and with the name, has the name in the same
        place: so that beginning is remembered.
        """
        if not isinstance(model, str) or model == self._about.model:
            return event
        around = _around_model(event, model)
        if around is None:
            fields = _decode_fields(payload)
            fields["model"] = Raw(_encode(self._about.model))
            return b"data: " + _encode(fields)
        before, after = around
        self._prefix = event[: len(event) - len(after)]
        self._prefix_renamed = before + _encode(self._about.model)
        return self._prefix_renamed + after

    # --- usage -----------------------------------------------------------------------------------------------------

    def _usage_with_cost(self, usage: Usage | None, cost: Cost | None) -> Raw | None:
        if self._usage_raw is not None:
            return with_cost(self._usage_raw, cost)
        return Raw(_encode(usage_to_fields(usage, cost))) if usage is not None else None

    def _usage_chunk(self, raw: Raw) -> bytes:
        """The provider's own chunk with this usage in it, else one in the likeness of its finishing chunk."""
        if self._usage_event is not None:
            return _with_usage(self._usage_event, raw, empty_choices=True)
        chunk = {
            "id": self.reply_id or self._about.id,
            "object": "chat.completion.chunk",
            "created": self._about.created_s,
            "model": self._about.model,
        }
        if self._finishing_at >= 0:
            first = _fields_of(self._held[self._finishing_at])
            chunk.update({name: first[name] for name in ("object", "created", "system_fingerprint") if name in first})
        return b"data: " + _encode({**chunk, "choices": [], "usage": raw})


def _joined(events: list[bytes]) -> bytes:
    return b"\n\n".join(events) + b"\n\n" if events else b""


def _bytes_beside_content(delta: _Delta) -> int:
    """Of what a model wrote: no ids and signatures, and a thought that is told by two names once. A picture or a piece of sound,
    whose length says nothing of its tokens, is one byte.
    """
    thoughts = (
        delta.reasoning_content,
        delta.reasoning,
        delta.reasoning_text,
        _each(delta.thinking_blocks, "thinking"),
    )
    calls = [_each(delta.tool_calls, "function"), _each(delta.tool_calls, "custom"), delta.function_call]
    spoken = delta.audio.get("transcript") if isinstance(delta.audio, dict) else None
    shown = bool(delta.audio) + (len(delta.images) if isinstance(delta.images, list) else 0)
    return shown + max([text_bytes(thought) for thought in thoughts]) + text_bytes([calls, delta.refusal, spoken])


def _each(items: Any, name: str) -> list[Any]:
    return [item.get(name) for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def text_bytes(value: Any) -> int:
    """UTF-8 bytes of all texts in a JSON value."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(text_bytes(item) for item in value.values())
    return sum(text_bytes(item) for item in value) if isinstance(value, list) else 0


def _fields_of(event: bytes) -> dict[str, Raw]:
    return _decode_fields(event_data(event) or b"{}")


def _carries_usage(event: bytes) -> bool:
    usage = _fields_of(event).get("usage")
    return usage is not None and bytes(usage) != b"null"


def _with_usage(event: bytes, raw: Raw, *, empty_choices: bool = False) -> bytes:
    fields = _fields_of(event)
    if empty_choices:
        fields["choices"] = Raw(b"[]")
    fields["usage"] = raw
    return b"data: " + _encode(fields)


# --- whole replies -------------------------------------------------------------------------------------------------


class _Reply(Struct, gc=False):
    choices: Raw = _ABSENT
    id: Any = ""
    model: Any = None
    usage: UsageFields | None = None
    service_tier: str | None = None


class _ReplyLoose(Struct, gc=False):
    choices: Raw = _ABSENT
    id: Any = ""
    model: Any = None
    usage: Raw = _ABSENT
    service_tier: str | None = None


_reply_decoder = msgspec.json.Decoder(_Reply)
_reply_loose_decoder = msgspec.json.Decoder(_ReplyLoose)


def rename_reply(body: bytes, new_model: str) -> tuple[bytes, Usage | None, str]:
    """A whole JSON reply with our name for its model, the usage in it, and its id.

    Raises UpstreamBroken for what is not JSON or has no choices, and the provider's error where a reply with status
    200 is one.
    """
    usage: Usage | None
    try:
        reply = _reply_decoder.decode(body)
        choices, reply_id, model = reply.choices, reply.id, reply.model
        usage = usage_from_fields(reply.usage, reply.service_tier) if reply.usage is not None else None
    except _UNREADABLE:
        try:
            loose = _reply_loose_decoder.decode(body)
        except _UNREADABLE as error:
            raise UpstreamBroken("The provider sent a reply that is not JSON.") from error
        choices, reply_id, model = loose.choices, loose.id, loose.model
        usage = usage_from_json(loose.usage, loose.service_tier) if loose.usage else None
    if not choices:
        raise error_in_stream(_decode_any(body)) or UpstreamBroken("The provider sent a reply without choices.")
    if isinstance(model, str) and model != new_model:
        body = _renamed_reply(body, model, new_model)
    return body, usage, reply_id if isinstance(reply_id, str) else ""


def _renamed_reply(body: bytes, model: str, new_model: str) -> bytes:
    new = _encode(new_model)
    around = _around_model(body, model)
    if around is not None:
        return around[0] + new + around[1]
    fields = _decode_fields(body)
    fields["model"] = Raw(new)
    return _encode(fields)


def _around_model(text: bytes, model: str) -> tuple[bytes, bytes] | None:
    """What stands before and after the name in the top-level `"model"` member of the one JSON object in `text`.

    A quote inside a JSON string is escaped, so `"model":` is a key; no object opens before it but the outermost, so it is
    a key of that one. None where that cannot be told so simply.
    """
    name = _encode(model)
    for key in (b'"model":', b'"model": '):
        before, found, after = text.partition(key + name)
        if found:
            return (before + key, after) if before.count(b"{") == 1 else None
    return None


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no JSON."""
    try:
        reply = _reply_loose_decoder.decode(body)
    except _UNREADABLE:
        return None
    return usage_from_json(reply.usage, reply.service_tier) if reply.usage else None
