"""Google's Gemini: generateContent and streamGenerateContent. https://ai.google.dev/api/generate-content (2026-11-22).

Two things of a call stand in its path, not in its body: the model, and whether it streams (`models/{model}:method`).
`decode_request` therefore reads a `model` member that whoever knows the path has put there, and `encode_request` writes
none. A stream is server-sent events with `?alt=sse`, else one JSON array; both are read and both can be written.

What the API has no word for: `user`, `metadata`, `logit_bias`, a ban on parallel calls, cache marks, a speaker's name, a
document's title, a picture's detail, a strict tool, the name of a reply's schema; and in replies which stop sequence was
found, refusals apart from other text, redacted thought. https://ai.google.dev/api/generate-content#request-body
"""

from __future__ import annotations

from tollway.dialects.gemini.decode import decode_request
from tollway.dialects.gemini.encode import encode_request
from tollway.dialects.gemini.errors import decode_error, encode_error, encode_stream_error
from tollway.dialects.gemini.parts import NAME
from tollway.dialects.gemini.relay import PassRelay, decode_usage, rename_reply
from tollway.dialects.gemini.reply import EventDecoder, EventEncoder, decode_reply, encode_reply

__all__ = [
    "NAME",
    "EventDecoder",
    "EventEncoder",
    "PassRelay",
    "decode_error",
    "decode_reply",
    "decode_request",
    "decode_usage",
    "encode_error",
    "encode_reply",
    "encode_request",
    "encode_stream_error",
    "rename_reply",
]
