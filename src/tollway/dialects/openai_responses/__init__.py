"""OpenAI's Responses. https://platform.openai.com/docs/api-reference/responses (2026-11-22)"""

from __future__ import annotations

from tollway.dialects.openai_responses.decode import decode_request
from tollway.dialects.openai_responses.encode import encode_request
from tollway.dialects.openai_responses.errors import decode_error, encode_error, encode_stream_error
from tollway.dialects.openai_responses.relay import PassRelay, decode_usage, rename_reply
from tollway.dialects.openai_responses.reply import EventDecoder, decode_reply
from tollway.dialects.openai_responses.stream import EventEncoder, encode_reply
from tollway.dialects.openai_responses.thought import without_foreign_thought
from tollway.dialects.openai_responses.tools import NAME

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
