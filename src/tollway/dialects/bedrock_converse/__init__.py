"""Amazon Bedrock's Converse and ConverseStream, outward only: no client speaks it to us.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (2026-11-22). A stream is Amazon's own
event stream (see `frames`). Replies tell neither an id nor which model answered.

What the API has no word for: `n`, `seed`, penalties, `logit_bias`, log probabilities, a speaker's name, a picture's
detail, what a text of an earlier turn was cited from, `user`; and tools that must not be called.
"""

from __future__ import annotations

from tollway.dialects.bedrock_converse.encode import encode_request
from tollway.dialects.bedrock_converse.errors import decode_error
from tollway.dialects.bedrock_converse.parts import NAME
from tollway.dialects.bedrock_converse.reply import EventDecoder, decode_reply, decode_usage

__all__ = ["NAME", "EventDecoder", "decode_error", "decode_reply", "decode_usage", "encode_request"]
