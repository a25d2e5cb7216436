"""What was made of JSON that comes again: an agent sends the same tools with each of its turns, often most of its request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Raw

Made = TypeVar("Made")

#: Shorter JSON is read as quickly as it is found here.
BYTES_MIN = 512
#: Of all that is remembered, as JSON; what was made of it points into that.
BYTES_MAX = 4 << 20
#: By what JSON is looked up: its length and so much of its end, since agents' tools begin alike. The rest is compared.
END_BYTES = 64


class Remembered(Generic[Made]):
    """`make` of JSON, asked once for the same bytes. What it gives is shared from then on: nobody may change it.

    0.8 us for 16 KB that are known, about as much more for what is not. Nothing is remembered of what `make` refuses.
    """

    def __init__(self, make: Callable[[Raw], Made], *, bytes_max: int = BYTES_MAX) -> None:
        self._make = make
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: dict[tuple[int, bytes], tuple[bytes, Made]] = {}  # what was asked for last stands last

    def __call__(self, raw: Raw) -> Made:
        text = bytes(raw)
        size = len(text)
        if not BYTES_MIN <= size <= self._bytes_max:
            return self._make(raw)
        key = (size, text[-END_BYTES:])
        known = self._known.pop(key, None)
        if known is None or known[0] != text:
            self._bytes -= 0 if known is None else size
            known = (text, self._make(Raw(text)))  # which keeps these bytes, and not the request around them
            self._bytes += size
            while self._bytes > self._bytes_max:
                oldest = next(iter(self._known))
                self._bytes -= oldest[0]
                del self._known[oldest]
        self._known[key] = known
        return known[1]
