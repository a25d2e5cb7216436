"""What a call would cost, or did: `POST /spend/calculate`, and how long a prompt is: `POST /utils/token_counter`.

Nobody is charged and nobody is asked: prices are those in force, and a prompt's tokens are estimated from its text.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct
from starlette.requests import Request

from tollway.admin import PricedModel
from tollway.admin.border import bad_request, office_of, principal_of, spent_dollars
from tollway.calls import Usage
from tollway.dialects.anthropic_messages.usage import usage_from_fields as anthropic_usage
from tollway.dialects.openai_chat.usage import usage_from_json as chat_usage
from tollway.dialects.openai_responses.usage import ResponseHead
from tollway.dialects.openai_responses.usage import usage_of as responses_usage
from tollway.pricing.cost import cost_of

#: What English and code come to, on average; other alphabets about a token a character.
ASCII_CHARACTERS_PER_TOKEN = 4
#: What stands around each message, and before the answer, in OpenAI's chat format.
TOKENS_PER_MESSAGE = 4
TOKENS_BEFORE_ANSWER = 3
#: A picture whose size is not looked at, as LiteLLM counts it.
TOKENS_PER_IMAGE = 250


_Kind = TypeVar("_Kind")


class _Calculation(Struct):
    model: str | None = None
    messages: list[dict[str, Any]] | None = None
    completion_response: Raw = Raw()


class _Response(Struct):
    model: str | None = None
    usage: Raw = Raw()


class _Count(Struct):
    model: str
    prompt: str | list[Any] | None = None
    messages: list[dict[str, Any]] | None = None
    contents: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    system: str | list[Any] | None = None


async def calculate(request: Request) -> dict[str, float]:
    """The cost of a prompt that is not sent (its input alone), or of an answer that came, in dollars."""
    asked = _read(await request.body(), _Calculation)
    if bytes(asked.completion_response) not in (b"", b"null"):
        response = _read(bytes(asked.completion_response), _Response)
        usage = _usage_in(bytes(asked.completion_response), response)
        if usage is None:
            raise bad_request("completion_response should have a usage", "completion_response")
        model = asked.model or response.model
    elif asked.messages is not None:
        model, usage = asked.model, Usage(input=prompt_tokens(asked.messages))
    else:
        raise bad_request("Either messages or completion_response must be given", "messages")
    if not model:
        raise bad_request("Model must be given, or stand in completion_response", "model")
    priced = _priced(request, model)
    if priced is None or priced.price is None:
        raise bad_request(f"The price of model={model} is not known", "model")
    price = priced.price.at(office_of(request).now().timestamp())
    return {"cost": spent_dollars(cost_of(usage, price).total)}


async def count_tokens(request: Request) -> dict[str, Any]:
    """An estimate by characters: the gateway has no tokenizer."""
    asked = _read(await request.body(), _Count)
    if asked.messages is None and asked.prompt is None and asked.contents is None:
        raise bad_request("prompt or messages or contents must be provided", "messages")
    if asked.messages is not None:
        tokens = prompt_tokens(asked.messages)
    else:
        tokens = _tokens_in(asked.prompt if asked.prompt is not None else asked.contents)
    priced = _priced(request, asked.model)
    return {
        "total_tokens": tokens + _tokens_in(asked.tools) + _tokens_in(asked.system),
        "request_model": asked.model,
        "model_used": priced.provider_model.partition("/")[2] or priced.provider_model if priced else asked.model,
        "tokenizer_type": "characters",
        "count_source": "local_estimate",
        "original_response": None,
        "error": False,
        "error_message": None,
        "status_code": None,
    }


def prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """About how many input tokens these messages are."""
    return TOKENS_BEFORE_ANSWER + sum(TOKENS_PER_MESSAGE + _tokens_in(_content(message)) for message in messages)


def _content(message: dict[str, Any]) -> list[Any]:
    return [value for name, value in message.items() if name != "role"]


def _tokens_in(value: Any) -> int:
    if isinstance(value, str):
        latin = sum(character < "\x80" for character in value)
        return -(-latin // ASCII_CHARACTERS_PER_TOKEN) + len(value) - latin
    if isinstance(value, list):
        return sum(map(_tokens_in, value))
    if isinstance(value, dict):
        if value.get("type") in ("image_url", "input_image", "image"):
            return TOKENS_PER_IMAGE
        return sum(_tokens_in(item) for name, item in value.items() if name != "type")
    return 0 if value is None else 1


def _usage_in(body: bytes, response: _Response) -> Usage | None:
    """Usage in the words of whichever API the answer is from."""
    try:
        fields = msgspec.json.decode(response.usage, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if "prompt_tokens" in fields:
        return chat_usage(response.usage)
    if "cache_read_input_tokens" in fields or "cache_creation_input_tokens" in fields:
        return anthropic_usage(fields)
    if "input_tokens" in fields:
        return responses_usage(msgspec.json.decode(body, type=ResponseHead))
    return None


def _priced(request: Request, model: str) -> PricedModel | None:
    return office_of(request).price_of(model, principal_of(request))


def _read(body: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f"The body cannot be read: {error}") from error
