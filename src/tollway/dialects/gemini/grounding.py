"""What an answer rests on: Google's `groundingMetadata` as citations, and citations of others as `groundingMetadata`.

https://ai.google.dev/api/generate-content#GroundingMetadata (2026-11-22). Its segments are counted in bytes of UTF-8,
ours in characters.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import Citation
from tollway.dialects.gemini.parts import NAME


class _Place(Struct, gc=False):
    uri: str | None = None
    title: str | None = None


class _Chunk(Struct):
    web: _Place | None = None
    retrievedContext: _Place | None = None
    maps: _Place | None = None


class _Segment(Struct, gc=False):
    startIndex: int | None = None
    endIndex: int | None = None
    text: str | None = None


class _Support(Struct):
    segment: _Segment | None = None
    groundingChunkIndices: list[int] | None = None


class _Grounding(Struct):
    groundingChunks: list[_Chunk] | None = None
    groundingSupports: list[_Support] | None = None


_decode = msgspec.json.Decoder(_Grounding).decode


def citations_in(grounding: Raw, text: str) -> list[Citation]:
    """One for each source of each passage, and one without a passage for a source that no passage names. `text` is all
    that the candidate has said. Nothing for what cannot be read: the answer stands without it.
    """
    try:
        read = _decode(grounding)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    places = [chunk.web or chunk.retrievedContext or chunk.maps for chunk in read.groundingChunks or ()]
    said = text.encode("utf-8", "surrogatepass")
    citations: list[Citation] = []
    used: set[int] = set()
    for support in read.groundingSupports or ():
        segment = support.segment or _Segment()
        start, end = _characters(said, segment.startIndex or 0), _characters(said, segment.endIndex or 0)
        if end <= start:
            start = end = -1
        for at in support.groundingChunkIndices or ():
            place = places[at] if 0 <= at < len(places) else None
            if place is not None:
                used.add(at)
                quote = segment.text or ""
                citations.append(Citation(place.uri or "", place.title or "", quote, start, end, dialect=NAME))
    for at, place in enumerate(places):
        if place is not None and at not in used:
            citations.append(Citation(place.uri or "", place.title or "", dialect=NAME))
    return citations


def _characters(said: bytes, count: int) -> int:
    return len(said[: max(count, 0)].decode("utf-8", "ignore"))


def grounding_fields(citations: list[Citation], text: str) -> dict[str, Any]:
    """{} where there is nothing to tell: Google's own citations are told by what they came in."""
    sources: dict[tuple[str, str], int] = {}
    supports: list[dict[str, Any]] = []
    for citation in citations:
        if citation.dialect == NAME or not citation.url:
            continue
        at = sources.setdefault((citation.url, citation.title), len(sources))
        segment: dict[str, Any] = {}
        if citation.quote:
            segment["text"] = citation.quote
        if 0 <= citation.start < citation.end <= len(text):
            segment = {
                "startIndex": len(text[: citation.start].encode("utf-8", "surrogatepass")),
                "endIndex": len(text[: citation.end].encode("utf-8", "surrogatepass")),
                "text": text[citation.start : citation.end],
            }
        if segment:
            supports.append({"segment": segment, "groundingChunkIndices": [at]})
    if not sources:
        return {}
    chunks = [{"web": {"uri": url, "title": title} if title else {"uri": url}} for url, title in sources]
    told: dict[str, Any] = {"groundingChunks": chunks}
    if supports:
        told["groundingSupports"] = supports
    return {"groundingMetadata": told}
