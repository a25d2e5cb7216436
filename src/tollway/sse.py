"""Server-sent events: a stream of bytes, cut anywhere by the network, into whole events.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream (2026-11-22). Lines
end in LF or CRLF; a lone CR, which that page also allows, is sent by no provider we know and is not taken for a line
end.
"""

from __future__ import annotations

from tollway.errors import UpstreamBroken

#: A picture in base64 may be one event; anything larger is no chat.
EVENT_BYTES_MAX = 32 << 20


class EventCutter:
    """Collects bytes and gives back whole events, without the empty line that ends each. Line ends become LF."""

    __slots__ = ("_carriage_return", "_rest", "_rest_bytes")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._carriage_return = False

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are complete now. Raises UpstreamBroken for an event above EVENT_BYTES_MAX."""
        if b"\r" in data or self._carriage_return:
            data = self._with_line_feeds(data)
        if self._rest:
            if b"\n\n" not in data and not (data.startswith(b"\n") and self._rest[-1].endswith(b"\n")):
                self._keep(data)
                return []
            self._rest.append(data)
            data = b"".join(self._rest)
            self._rest.clear()
            self._rest_bytes = 0
        events = data.split(b"\n\n")
        rest = events.pop()
        if rest:
            self._keep(rest)
        return events

    def rest(self) -> bytes:
        """What came after the last whole event. Some servers leave out the empty line that ends the last one."""
        rest = b"".join(self._rest)
        self._rest.clear()
        self._rest_bytes = 0
        return rest

    def _keep(self, data: bytes) -> None:
        if data:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes > EVENT_BYTES_MAX:
                raise UpstreamBroken(f"The provider sent a stream event of more than {EVENT_BYTES_MAX} bytes.")

    def _with_line_feeds(self, data: bytes) -> bytes:
        """CRLF may be cut in two: a CR at the end waits for what follows it."""
        if self._carriage_return:
            data = b"\r" + data
        self._carriage_return = data.endswith(b"\r")
        if self._carriage_return:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n")


def event_data(event: bytes) -> bytes | None:
    """The event's data lines, joined by line feeds; None for an event without any (a comment, a keep-alive)."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event_name(event: bytes) -> str:
    """The event's `event:` line, "" where it has none."""
    for line in event.split(b"\n"):
        if line.startswith(b"event:"):
            return line[6:].strip().decode("utf-8", "replace")
    return ""
