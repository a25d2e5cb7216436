"""Thought of other makers on its way through clients of this dialect.

What another maker signed or sealed stands in a client's history under a label (`tollway.dialects.label_sealed`). Requests
whose bytes go to Anthropic as they came lose it: it refuses a whole request for thought that it did not sign.
https://docs.claude.com/en/docs/build-with-claude/extended-thinking (2026-11-22)
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.dialects import read_sealed

#: How labels look in JSON written tight and written wide. From behind, and the longer, the faster: 4 us each in 60 KB.
_TIGHT = (b'"signature":"gemini:', b'"data":"openai_responses:')
_WIDE = (b'"signature": "gemini:', b'"data": "openai_responses:')


class _Block(Struct):
    type: str = ""
    signature: str = ""
    data: str = ""


def without_foreign_thought(messages: Raw) -> Raw:
    """A request's `messages` without what others than Anthropic signed or sealed. The same object where there is none."""
    text = bytes(messages)
    first, second = _WIDE if b'": ' in text[:64] else _TIGHT
    if text.rfind(first) < 0 and text.rfind(second) < 0:
        return messages
    try:
        whole = msgspec.json.decode(messages, type=list[dict[str, Raw]])
        kept = [_own(message) for message in whole]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return messages  # the provider will say what it thinks of it
    return Raw(msgspec.json.encode(kept)) if kept != whole else messages


def _own(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content", Raw())
    if not bytes(content).startswith(b"["):
        return message
    blocks = msgspec.json.decode(content, type=list[Raw])
    kept = [block for block in blocks if not _is_foreign(block)]
    if len(kept) == len(blocks):
        return message
    return {**message, "content": kept or [{"type": "text", "text": "(thought)"}]}  # empty content is refused


def _is_foreign(raw: Raw) -> bool:
    block = msgspec.json.decode(raw, type=_Block)
    if block.type == "thinking":
        return bool(read_sealed(block.signature)[0])
    return block.type == "redacted_thinking" and bool(read_sealed(block.data)[0])
