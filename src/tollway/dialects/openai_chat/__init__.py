"""OpenAI's Chat Completions, as OpenAI and everyone compatible with it speak it.

https://platform.openai.com/docs/api-reference/chat (2026-11-22)
"""

from __future__ import annotations

from tollway.dialects.openai_chat.decode import NAME, decode_request
from tollway.dialects.openai_chat.encode import encode_request
from tollway.dialects.openai_chat.errors import decode_error, encode_error, encode_stream_error
from tollway.dialects.openai_chat.relay import PassRelay, decode_usage, rename_reply
from tollway.dialects.openai_chat.reply import EventDecoder, EventEncoder, decode_reply, encode_reply

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
