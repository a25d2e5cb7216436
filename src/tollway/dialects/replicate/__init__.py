"""Replicate's predictions, spoken outward only. https://replicate.com/docs/reference/http (2026-11-22)

A model is asked with a flat `input` of its own making, most often one text: a conversation becomes a script with roles, but
for models that take messages. What is asked for is a prediction, made in the background: `Script` says how it is looked
after, and how its stream, which stands at a second address, is heard. A stream tells no usage: the prediction itself does,
once it is over, and comes last, as an event of our own (`PREDICTION_EVENT`).

What the API has no word for: `n`, tools (what one gave is told in the script), a reply in JSON, `logit_bias`, probabilities,
`user`, `metadata`, cache marks, sound and files; in replies why the output ended.
"""

from __future__ import annotations

from tollway.dialects.replicate.encode import NAME, encode_request
from tollway.dialects.replicate.predictions import decode_error
from tollway.dialects.replicate.reply import EventDecoder, decode_reply, decode_usage

__all__ = ["NAME", "EventDecoder", "decode_error", "decode_reply", "decode_usage", "encode_request"]
