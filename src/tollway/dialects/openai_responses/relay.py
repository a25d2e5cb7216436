"""Responses in and out: events pass as the bytes they came in.

Each event is decoded once into a small struct. Rebuilt are only the few that hold the whole response: for the model's
name, and the last of them for our `cost` in its usage. That last one waits for `finish`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.dialects import About
from tollway.dialects.openai_responses.errors import encode_stream_error, failed_fields
from tollway.dialects.openai_responses.reply import (
    FINISHING,
    UNREADABLE,
    StreamEvent,
    decode_head,
    failure_of,
    read_event,
    read_head,
    read_reply,
)
from tollway.dialects.openai_responses.usage import ResponseHead, usage_of, with_cost
from tollway.errors import PublicError, UpstreamError
from tollway.sse import EventCutter, event_data


class _Piece(Struct, gc=False):
    """What must be known of nearly every event; `msgspec` passes over the rest."""

    type: Any = None
    delta: Any = None
    response: Raw = Raw()
    item: Raw = Raw()
    error: Raw = Raw()
    sequence_number: Any = 0


class _Item(Struct, gc=False):
    type: Any = None
    name: Any = None


_decode_piece = msgspec.json.Decoder(_Piece).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode

_TEXT = "response.output_text.delta"
#: Items whose being there says nothing yet: their pieces will.
_QUIET_ITEMS = frozenset({"message", "reasoning"})


class PassRelay:
    """A stream of the Responses API, relayed. See `tollway.dialects.Relay`."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._cutter = EventCutter()
        self._held = b""  # the finishing event
        self._usage: Usage | None = None
        self._response: dict[str, Raw] = {}  # the last that was relayed: what a failure is told with
        self._number = 0  # of the last event
        self._unsent = b""  # what could have been relayed of the bytes in which an error came
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.reply_id = ""
        self.output_bytes = 0

    @property
    def usage(self) -> Usage | None:
        """The provider's usage; it tells it in its last event only."""
        return self._usage

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

    def end(self) -> bytes:
        rest = self._cutter.rest()
        return self.feed(rest.rstrip(b"\n") + b"\n\n") if rest.strip() else b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        held, self._held = self._held, b""
        self.complete = True
        return _with_cost(held, usage, cost) + b"\n\n" if held else b""

    def cut_short(self) -> bytes:
        self._cutter.rest()
        why = {"reason": "max_output_tokens"}
        response: dict[str, Any] = {**self._response, "status": "incomplete", "incomplete_details": why}
        self._number += 1
        fields = {"type": "response.incomplete", "sequence_number": self._number, "response": response}
        self._held = b"event: response.incomplete\ndata: " + _encode(fields)
        self.finishing = self.complete = True
        return b""

    def fail(self, error: PublicError) -> bytes:
        """An `error` event, on which the official SDKs raise, and the failed response, which others wait for."""
        self._held = b""
        self.complete = True
        out = self._unsent + encode_stream_error(error, self._number + 1)
        if self._response:
            response: dict[str, Any] = {**self._response, "status": "failed", "error": failed_fields(error)}
            fields = {"type": "response.failed", "sequence_number": self._number + 2, "response": response}
            out += b"event: response.failed\ndata: " + _encode(fields) + b"\n\n"
        return out

    # --- one event -------------------------------------------------------------------------------------------------

    def _relay(self, event: bytes, passed: list[bytes]) -> None:
        at = event.find(b"\ndata: {") if event.startswith(b"event: ") else -1
        payload = event[at + 7 :] if at >= 0 else event_data(event)
        if payload is None:
            passed.append(event)  # a comment, a keep-alive
            return
        try:
            piece = _decode_piece(payload)
        except UNREADABLE:
            payload = event_data(event) or b""  # the quick cut above does not look for more lines
            if not payload.strip() or payload.startswith(b"[DONE]"):  # which some servers send, and OpenAI does not
                return
            read_event(payload)  # raises what is wrong with it
            piece = _decode_piece(payload)
        number = piece.sequence_number
        if type(number) is int:
            self._number = number
        delta = piece.delta
        if piece.type == _TEXT and type(delta) is str:
            self._see_text(delta)
        elif piece.response:
            event = self._take_response(event, payload)
            if self.finishing:
                self._held = event
                return
        else:
            self._see_rarer(piece, payload)
        passed.append(event)

    def _see_text(self, text: str) -> None:
        if text:
            self.content_started = True
            self.output_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def _see_rarer(self, piece: _Piece, payload: bytes) -> None:
        if piece.type == "error" or (piece.error and bytes(piece.error) != b"null"):
            read_event(payload)
        if isinstance(piece.delta, str):
            self._see_text(piece.delta)
        elif piece.delta is not None:
            self.content_started = True
        elif piece.item:
            try:
                item = _decode_item(piece.item)
            except UNREADABLE:
                return  # not an object; the client will say what it thinks of it
            if item.type not in _QUIET_ITEMS:
                if isinstance(item.name, str) and piece.type == "response.output_item.added":
                    self._see_text(item.name)
                self.content_started = True
            elif piece.type == "response.output_item.done":
                self.content_started = True

    def _take_response(self, event: bytes, payload: bytes) -> bytes:
        """An event that holds the whole response: gives what is to be relayed for it."""
        known = read_event(payload)
        head = read_head(known)
        if not self.reply_id and isinstance(head.id, str):
            self.reply_id = head.id
        self._usage = usage_of(head) or self._usage
        if known.type == "response.failed" or (known.type in FINISHING and head.status == "failed"):
            raise failure_of(head)
        event = self._renamed(event, payload, known, head)
        if known.type in FINISHING:
            self.finishing = self.complete = True
        return event

    def _renamed(self, event: bytes, payload: bytes, known: StreamEvent, head: ResponseHead) -> bytes:
        self._response = _decode_fields(known.response)
        if not isinstance(head.model, str) or head.model == self._about.model:
            return event
        self._response["model"] = Raw(_encode(self._about.model))
        fields: dict[str, Any] = dict(_decode_fields(payload))
        fields["response"] = self._response
        return _without_data(event) + _encode(fields)


def _joined(events: list[bytes]) -> bytes:
    return b"\n\n".join(events) + b"\n\n" if events else b""


def _without_data(event: bytes) -> bytes:
    """The lines of an event beside its data, and the beginning of a data line."""
    return b"".join([line + b"\n" for line in event.split(b"\n") if not line.startswith(b"data:")]) + b"data: "


def _with_cost(event: bytes, usage: Usage | None, cost: Cost | None) -> bytes:
    fields: dict[str, Any] = dict(_decode_fields(event_data(event) or b"{}"))
    response = _decode_fields(fields["response"])
    changed = with_cost(response.get("usage", Raw(b"null")), usage, cost)
    if changed is None:
        return event
    response["usage"] = changed
    fields["response"] = response
    return _without_data(event) + _encode(fields)


# --- whole replies -------------------------------------------------------------------------------------------------


def rename_reply(body: bytes, new_model: str) -> tuple[bytes, Usage | None, str]:
    """A whole JSON reply with our name for its model, the usage in it, and its id.

    Raises UpstreamBroken for what is not JSON or has no output, and the provider's error where a reply with status 200
    is one. A response that goes on in the background is a reply too: it has no usage yet.
    """
    head = read_reply(body)
    if isinstance(head.model, str) and head.model != new_model:
        fields = _decode_fields(body)
        fields["model"] = Raw(_encode(new_model))
        body = _encode(fields)
    return body, usage_of(head), head.id if isinstance(head.id, str) else ""


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no JSON."""
    try:
        return usage_of(decode_head(body))
    except UNREADABLE:
        return None
