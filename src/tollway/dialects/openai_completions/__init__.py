"""OpenAI's text completions, the older form of its chat: a text is gone on with.

https://platform.openai.com/docs/api-reference/completions (2026-11-22). Events, usage and errors are those of
`openai_chat`, whose modules are used here; choices hold `text`, which is never null.

Between dialects a prompt is what a user says, and a conversation a prompt: a lone text as it is, more of it as a
transcript that the model goes on with. What a chat cannot answer for is left out by its name or refused: `suffix`,
`echo`, `best_of`. Several prompts, and prompts written as tokens, are refused: only this dialect means them.
"""

from __future__ import annotations

from tollway.dialects.openai_chat.errors import decode_error, encode_error, encode_stream_error
from tollway.dialects.openai_chat.relay import decode_usage
from tollway.dialects.openai_completions.decode import NAME, decode_request, prompts_in
from tollway.dialects.openai_completions.encode import encode_request
from tollway.dialects.openai_completions.relay import PassRelay, rename_reply
from tollway.dialects.openai_completions.reply import EventDecoder, EventEncoder, decode_reply, encode_reply

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
    "prompts_in",
    "rename_reply",
]
