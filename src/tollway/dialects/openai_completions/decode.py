"""A text completion request in our words.
https://platform.openai.com/docs/api-reference/completions/create (2026-11-22).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.conversation import Conversation, Message, Text
from tollway.dialects import decode_field
from tollway.errors import BadRequest

NAME = "openai_completions"


class _StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


#: Fields whose value is taken as it is: the wire name, ours, and the type it must have.
PLAIN_FIELDS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "n": ("n", int),
    "seed": ("seed", int),
    "presence_penalty": ("presence_penalty", float),
    "frequency_penalty": ("frequency_penalty", float),
    "logit_bias": ("logit_bias", Raw),
    "user": ("user", str),
    "stream": ("streaming", bool),
    "max_tokens": ("output_tokens_max", int),
}
#: Values that say nothing: they are what a server does anyway.
_NOTHING_SAID = {"suffix": (Raw(b'""'),), "echo": (Raw(b"false"),), "best_of": (Raw(b"0"), Raw(b"1"))}
_READ_APART = frozenset({"model", "prompt", "stream_options", "stop", "logprobs"})
_NULL = Raw(b"null")


def decode_request(fields: dict[str, Raw]) -> Conversation:
    """A request's top level in our words. Raises BadRequest naming what is wrong, or what no chat can be asked for."""
    if "model" not in fields:
        raise BadRequest("Missing required parameter: 'model'.", param="model")
    prompt = _one_prompt(fields.get("prompt", _NULL))
    conversation = Conversation(
        model=decode_field("model", fields["model"], str),
        messages=[Message("user", [Text(prompt)])],
        dialect=NAME,
    )
    for name, raw in fields.items():
        if raw == _NULL or name in _READ_APART:
            continue
        if name in PLAIN_FIELDS:
            ours, kind = PLAIN_FIELDS[name]
            setattr(conversation, ours, decode_field(name, raw, kind))
        elif raw not in _NOTHING_SAID.get(name, ()):
            conversation.extra[name] = raw
    if conversation.n < 1:
        raise BadRequest("Invalid 'n': expected at least 1.", param="n")
    if (raw_options := fields.get("stream_options", _NULL)) != _NULL:
        options: _StreamOptions = decode_field("stream_options", raw_options, _StreamOptions)
        conversation.usage_wanted = bool(options.include_usage)
    if (stop := fields.get("stop", _NULL)) != _NULL:
        stops = decode_field("stop", stop, str | list[str])
        conversation.stop = [stops] if isinstance(stops, str) else stops
    if (logprobs := fields.get("logprobs", _NULL)) != _NULL:
        conversation.logprobs = True
        conversation.top_logprobs = decode_field("logprobs", logprobs, int)
    return conversation


def _one_prompt(raw: Raw) -> str:
    try:
        prompt = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest("Invalid 'prompt': it is not JSON.", param="prompt") from error
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
        raise BadRequest(
            "Invalid 'prompt': this model answers one prompt a call (its API is no text completion). Send each in a call "
            "of its own.",
            param="prompt",
        )
    if isinstance(prompt, list) and prompt:
        raise BadRequest(
            "Invalid 'prompt': this model takes text only, no tokens (its API is no text completion).", param="prompt"
        )
    raise BadRequest("Invalid 'prompt': expected a text.", param="prompt")


def prompts_in(raw: Raw) -> int:
    """How many prompts a request holds: each gets its own choices. A text and a list of tokens are one."""
    try:
        prompt = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest("Invalid 'prompt': it is not JSON.", param="prompt") from error
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list)):
        return len(prompt)
    return 1
