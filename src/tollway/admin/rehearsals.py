"""What a call would become on its way to a provider: LiteLLM's `/utils/transform_request` and `/utils/supported_openai_params`
(1.106.2, 2026-11-21). Nobody is asked and nobody is charged.
"""

from __future__ import annotations

from typing import Any

from fastapi import Query
from msgspec import DecodeError, json
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from tollway.admin.border import bad_request, office_of, principal_of
from tollway.admin.limit_requests import plain
from tollway.errors import BadRequest

#: LiteLLM's kinds of calls that have a JSON body, and our paths.
PATHS = {
    **dict.fromkeys(("completion", "acompletion"), "/v1/chat/completions"),
    **dict.fromkeys(("text_completion", "atext_completion"), "/v1/completions"),
    **dict.fromkeys(("embedding", "aembedding"), "/v1/embeddings"),
    **dict.fromkeys(("responses", "aresponses"), "/v1/responses"),
    **dict.fromkeys(("anthropic_messages", "aanthropic_messages"), "/v1/messages"),
    **dict.fromkeys(("rerank", "arerank"), "/v1/rerank"),
    **dict.fromkeys(("moderation", "amoderation"), "/v1/moderations"),
    **dict.fromkeys(("image_generation", "aimage_generation"), "/v1/images/generations"),
    **dict.fromkeys(("speech", "aspeech"), "/v1/audio/speech"),
}
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
#: Each parameter of OpenAI's chat, with a value that says something.
_PARAMETERS: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "max_tokens": 64,
    "max_completion_tokens": 64,
    "modalities": ["text"],
    "n": 2,
    "parallel_tool_calls": False,
    "presence_penalty": 0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "seed": 1,
    "service_tier": "auto",
    "stop": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "tools": [_TOOL],
    "tool_choice": "auto",
    "top_p": 0.5,
    "user": "somebody",
    "verbosity": "low",
    "web_search_options": {},
}
#: Means something with another one alone.
_WITH = {
    "top_logprobs": ("logprobs",),
    "tool_choice": ("tools",),
    "parallel_tool_calls": ("tools",),
    "stream_options": ("stream",),
}


class TransformRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    call_type: str
    request_body: dict[str, Any]


async def transform(request: Request, body: TransformRequest) -> dict[str, Any]:
    """The request that the first deployment of a model would get. Of its headers, what is no secret."""
    path = PATHS.get(body.call_type)
    if path is None:
        raise bad_request(f"call_type must be one of {', '.join(PATHS)}. Received: {body.call_type}", "call_type")
    asked = json.encode(plain(body.request_body))
    found = await office_of(request).rehearse(path, asked, principal_of(request))
    try:
        sent = json.decode(found.body)
    except DecodeError:
        raise bad_request(f"{body.call_type} is not sent as JSON.", "call_type") from None
    return {
        "raw_request_api_base": found.url,
        "raw_request_body": sent,
        "raw_request_headers": found.headers,
        "error": None,
    }


async def supported_parameters(
    request: Request, model: str = Query(description="A public name, or a deployment's model")
) -> dict[str, list[str]]:
    """Which parameters of OpenAI's chat come to a model in some way: those that are not dropped and not refused on the way."""
    return {"supported_openai_params": [name for name in _PARAMETERS if await _is_sent(request, model, name)]}


async def _is_sent(request: Request, model: str, name: str) -> bool:
    fields = {also: _PARAMETERS[also] for also in (*_WITH.get(name, ()), name)}
    asked = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "drop_params": True, **fields}
    try:
        found = await office_of(request).rehearse(PATHS["completion"], json.encode(asked), principal_of(request))
    except BadRequest as error:
        if error.param in (name, *fields):
            return False
        raise
    return not any(dropped == name or dropped.startswith((f"{name}.", f"{name}[")) for dropped in found.dropped)
