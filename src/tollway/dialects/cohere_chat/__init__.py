"""Cohere's chat, the second version of its API, spoken outward only. https://docs.cohere.com/reference/chat (2026-11-22).

A plan that a model makes before it calls tools (`tool_plan`) is thought here. Its citations point into the text and name
documents or tools' results; one whose document has a `url` is told to clients of every dialect.

What the API has no word for: `n`, `logit_bias`, a ban on parallel calls, a tool named as the one to call (it gets that
tool alone, and must call one), a reply in JSON beside tools, `user`, `metadata`, cache marks, sound and files; in replies
how much of the output was thought.
"""

from __future__ import annotations

from tollway.dialects.cohere_chat.encode import NAME, encode_request
from tollway.dialects.cohere_chat.errors import decode_error
from tollway.dialects.cohere_chat.reply import EventDecoder, decode_reply, decode_usage

__all__ = ["NAME", "EventDecoder", "decode_error", "decode_reply", "decode_usage", "encode_request"]
