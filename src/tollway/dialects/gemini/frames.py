"""How chunks of a stream are told apart: server-sent events with `?alt=sse`, else one JSON array that grows.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent (2026-11-22). Which of the two comes is
seen at the first byte. An error may also come as bare JSON among events.
"""

from __future__ import annotations

import re

from tollway.errors import UpstreamBroken
from tollway.sse import EVENT_BYTES_MAX, EventCutter, event_data

_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


class ChunkCutter:
    """Collects bytes and gives back whole chunks: events without the empty line that ends each, or the array's
    elements. `array` is None until the first byte is seen.
    """

    __slots__ = ("_cutter", "array", "ended")

    def __init__(self) -> None:
        self._cutter: EventCutter | ElementCutter | None = None
        self.array: bool | None = None
        self.ended = False  # the array's closing bracket was seen

    def feed(self, data: bytes) -> list[bytes]:
        if self._cutter is None:
            start = data.lstrip()
            if not start:
                return []
            self.array = start.startswith(b"[")
            self._cutter = ElementCutter() if self.array else EventCutter()
        chunks = self._cutter.feed(data)
        if self.array:
            self.ended = self._cutter.ended  # type: ignore[union-attr]  # an array's cutter
        return chunks

    def rest(self) -> bytes:
        """What came after the last whole chunk."""
        return self._cutter.rest() if self._cutter is not None else b""


def chunk_data(chunk: bytes) -> bytes | None:
    """The JSON in a chunk of either kind; None for an event without any."""
    if chunk.startswith(b"data: ") and b"\n" not in chunk:
        return chunk[6:]
    if chunk.lstrip()[:1] in (b"{", b"["):
        return chunk
    data = event_data(chunk)
    return data if data is not None and data.strip() else None


class ElementCutter:
    """The elements of a JSON array, cut anywhere. Each byte is looked at once."""

    __slots__ = ("_depth", "_escaped", "_in_string", "_rest", "_rest_bytes", "ended")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the last byte so far was a backslash
        self.ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """The elements that are complete now. Raises UpstreamBroken for one above EVENT_BYTES_MAX."""
        elements: list[bytes] = []
        start = 0
        at = 1 if self._escaped and data else 0
        self._escaped = self._escaped and not data
        while not self.ended:
            found = (_IN_STRING if self._in_string else _STRUCTURE).search(data, at)
            if found is None:
                break
            at = found.end()
            byte = found[0]
            if byte == b"\\":
                self._escaped = at == len(data)
                at += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            elif byte in b"{[":
                self._depth += 1
                if self._depth == 2:
                    start = found.start()
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._rest.append(data[start:at])
                    elements.append(self.rest())
                self.ended = self._depth == 0
        if self._depth >= 2:
            self._keep(data[start:])
        return elements

    def rest(self) -> bytes:
        rest = b"".join(self._rest)
        self._rest.clear()
        self._rest_bytes = 0
        return rest

    def _keep(self, data: bytes) -> None:
        self._rest.append(data)
        self._rest_bytes += len(data)
        if self._rest_bytes > EVENT_BYTES_MAX:
            raise UpstreamBroken(f"The provider sent a stream chunk of more than {EVENT_BYTES_MAX} bytes.")
