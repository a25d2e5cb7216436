"""Anthropic's messages in and out: events pass as the bytes they came in.

Changed are the model's name in `message_start`, and the usage in `message_delta`, which gets our `cost`.
`message_delta`, which finishes the reply, and what follows it wait for `finish`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Cost, Usage
from tollway.dialects import HELD_BYTES_MAX, About, dollars_json
from tollway.dialects.anthropic_messages.errors import encode_stream_error, error_in_stream
from tollway.dialects.anthropic_messages.reply import UNREADABLE, Delta, StreamEvent, decode_any, read_event
from tollway.dialects.anthropic_messages.usage import merge_usage, usage_from_fields, usage_to_fields
from tollway.errors import PublicError, UpstreamBroken, UpstreamError
from tollway.sse import EventCutter, event_data

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class PassRelay:
    """A stream of Anthropic's own dialect, relayed. See `tollway.dialects.Relay`."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._cutter = EventCutter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._finishing_at = -1
        self._open_block = -1  # whose end was not told yet
        self._usage: dict[str, Any] = {}
        self._unsent = b""  # what could have been relayed of the bytes in which an error came
        self.content_started = False
        self.finishing = False
        self.complete = False
        self.reply_id = ""
        self.output_bytes = 0

    @property
    def usage(self) -> Usage | None:
        """The provider's usage so far."""
        return usage_from_fields(self._usage) if self._usage else None

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
        payload = event_data(event)
        if payload is not None and payload.strip():
            known = read_event(payload)
            if known.type == "content_block_delta":
                if known.delta is not None:
                    self._see_delta(known.delta)
            elif known.type == "message_stop":
                self.complete = True
                return
            else:
                event = self._take(event, payload, known)
        if self.finishing:
            self._hold(event)
        else:
            passed.append(event)

    def end(self) -> bytes:
        rest = self._cutter.rest()
        return self.feed(rest.rstrip(b"\n") + b"\n\n") if rest.strip() else b""

    def finish(self, usage: Usage | None, cost: Cost | None) -> bytes:
        if self._finishing_at >= 0:
            self._held[self._finishing_at] = self._with_cost(self._held[self._finishing_at], usage, cost)
        held, self._held = self._held, []
        self.complete = True
        stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        return b"".join([event + b"\n\n" for event in held]) + stop

    def cut_short(self) -> bytes:
        self._cutter.rest()
        out = b""
        if self._open_block >= 0:
            out += self.feed(
                b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._open_block
            )
        out += self.feed(
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null}}\n\n'
        )
        self.complete = True
        return out

    def fail(self, error: PublicError) -> bytes:
        self._held = []
        self.complete = True
        return self._unsent + encode_stream_error(error)

    def _see_delta(self, delta: Delta) -> None:
        text = delta.text or delta.partial_json or delta.thinking
        if text:
            self.content_started = True
            self.output_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def _take(self, event: bytes, payload: bytes, known: StreamEvent) -> bytes:
        """A start, a stop, a ping, the end, or a kind of event that is not known: gives what is to be relayed for
        it.
        """
        if known.type == "message_start" and known.message is not None:
            self.reply_id = known.message.id
            if known.message.usage:
                merge_usage(self._usage, known.message.usage)
            return self._renamed(event, payload, known.message.model)
        if known.type == "message_delta":
            if known.usage:
                merge_usage(self._usage, known.usage)
            if known.delta is not None and known.delta.stop_reason:
                self.finishing = True
                self._finishing_at = len(self._held)
        elif known.type == "content_block_stop":
            self._open_block = -1
        elif known.type == "content_block_start":
            self._open_block = known.index
            # Any block but an empty text or thought says something by being there.
            block = _decode_fields(known.content_block)
            if block.get("type") not in (Raw(b'"text"'), Raw(b'"thinking"')) or len(bytes(block.get("text", b""))) > 2:
                self.content_started = True
        return event

    def _hold(self, event: bytes) -> None:
        self._held.append(event)
        self._held_bytes += len(event)
        if self._held_bytes > HELD_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent more than {HELD_BYTES_MAX} bytes after the end of its reply.")

    def _renamed(self, event: bytes, payload: bytes, model: str) -> bytes:
        if not model or model == self._about.model:
            return event
        fields = _decode_fields(payload)
        message = _decode_fields(fields["message"])
        message["model"] = Raw(msgspec.json.encode(self._about.model))
        return b"event: message_start\ndata: " + msgspec.json.encode({**fields, "message": message})

    def _with_cost(self, event: bytes, usage: Usage | None, cost: Cost | None) -> bytes:
        fields: dict[str, Any] = dict(_decode_fields(event_data(event) or b"{}"))
        told = bytes(fields["usage"]) if "usage" in fields else b"null"
        if told.startswith(b"{"):
            if cost is None:
                return event
            fields["usage"] = {**_decode_fields(told), "cost": dollars_json(cost)}
        elif usage is not None:
            fields["usage"] = usage_to_fields(usage, cost)
        return b"event: message_delta\ndata: " + msgspec.json.encode(fields)


def _joined(events: list[bytes]) -> bytes:
    return b"\n\n".join(events) + b"\n\n" if events else b""


# --- whole replies -------------------------------------------------------------------------------------------------


class _Reply(Struct, gc=False):
    content: Raw = Raw()
    id: str = ""
    model: str = ""
    usage: Raw = Raw()


_decode_reply = msgspec.json.Decoder(_Reply).decode


def rename_reply(body: bytes, new_model: str) -> tuple[bytes, Usage | None, str]:
    """A whole JSON reply with our name for its model, the usage in it, and its id.

    Raises UpstreamBroken for what is not JSON or has no content, and the provider's error where a reply with status
    200 is one.
    """
    try:
        reply = _decode_reply(body)
    except UNREADABLE as error:
        raise UpstreamBroken("The provider sent a reply that is not JSON of Anthropic's shape.") from error
    if not reply.content:
        value = decode_any(body)
        if value.get("error"):
            raise error_in_stream(value)
        raise UpstreamBroken("The provider sent a reply without content.")
    if reply.model and reply.model != new_model:
        fields = _decode_fields(body)
        fields["model"] = Raw(msgspec.json.encode(new_model))
        body = msgspec.json.encode(fields)
    return body, _usage_in(reply.usage), reply.id


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no JSON."""
    try:
        return _usage_in(_decode_reply(body).usage)
    except UNREADABLE:
        return None


def _usage_in(raw: Raw) -> Usage | None:
    seen: dict[str, Any] = {}
    return usage_from_fields(seen) if raw and merge_usage(seen, raw) else None
