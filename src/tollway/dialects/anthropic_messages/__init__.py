"""Anthropic's Messages. https://docs.claude.com/en/api/messages (2026-11-22)"""

from __future__ import annotations

from tollway.dialects.anthropic_messages.decode import decode_request
from tollway.dialects.anthropic_messages.encode import NAME, encode_request
from tollway.dialects.anthropic_messages.errors import decode_error, encode_error, encode_stream_error
from tollway.dialects.anthropic_messages.relay import PassRelay, decode_usage, rename_reply
from tollway.dialects.anthropic_messages.reply import EventDecoder, EventEncoder, decode_reply, encode_reply
from tollway.dialects.anthropic_messages.thought import without_foreign_thought

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
    "without_foreign_thought",
]
