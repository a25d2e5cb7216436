"""Mistral's fill-in-the-middle: a text completion is asked, a chat completion answers. Spoken outward only.

https://docs.mistral.ai/api/endpoint/fim (2026-11-22). What comes between `prompt` and `suffix` is written. Usage comes in
the last chunk of every stream unasked; one choice a call.
"""

from __future__ import annotations

from typing import Any

from tollway.conversation import Conversation
from tollway.dialects import EncodedRequest, Traits, leave_out
from tollway.dialects.openai_chat import EventDecoder, decode_error, decode_reply, decode_usage
from tollway.dialects.openai_completions.encode import leave_out_of_chat, prompt_of
from tollway.errors import BadRequest

__all__ = ["NAME", "EventDecoder", "decode_error", "decode_reply", "decode_usage", "encode_request"]

NAME = "mistral_fim"

_PLAIN_FIELDS = {
    "max_tokens": "output_tokens_max",
    "temperature": "temperature",
    "top_p": "top_p",
    "random_seed": "seed",
}
#: Fields of its own that clients send along; they go on as they came.
_PASSED_FIELDS = frozenset({"suffix", "min_tokens"})


def encode_request(conversation: Conversation, traits: Traits) -> EncodedRequest:
    """A request for a middle; what it cannot say is named in `conversation.dropped`, or refused (BadRequest)."""
    if conversation.n > 1:
        raise BadRequest(f"The model {traits.model!r} gives one answer a call: 'n' must be 1.", param="n")
    fields: dict[str, Any] = {"model": traits.model, "prompt": prompt_of(conversation, traits, NAME)}
    for name, ours in _PLAIN_FIELDS.items():
        value = getattr(conversation, ours)
        if value is not None:
            fields[name] = value
    if conversation.streaming:
        fields["stream"] = True
    if conversation.stop:
        fields["stop"] = conversation.stop
    for name, raw in conversation.extra.items():
        if name in _PASSED_FIELDS:
            fields[name] = raw
        else:
            leave_out(conversation, traits, name, NAME)
    for name in ("top_k", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs"):
        if getattr(conversation, name):
            leave_out(conversation, traits, name, NAME)
    leave_out_of_chat(conversation, traits, NAME)
    if conversation.user:
        conversation.dropped.append("user")
    return EncodedRequest(fields)
