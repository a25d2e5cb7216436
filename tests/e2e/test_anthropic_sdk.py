"""The official Anthropic SDK for Python on models behind either API, and what the OpenAI one is asked beside its own page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from .gateway import Gateway
from .inputs import red_png, word
from .provider import Provider

MODELS = pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-6"])
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF").decode()


def said(*content: Any) -> Any:
    return [{"role": "user", "content": list(content) if len(content) > 1 else content[0]}]


def text(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.fixture
def client(tollway: Gateway, virtual_key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=tollway.url, api_key=virtual_key, max_retries=0, timeout=60.0) as client:
        yield client


@pytest.fixture
def chat(tollway: Gateway, virtual_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tollway.url}/v1", api_key=virtual_key, max_retries=0, timeout=60.0) as chat:
        yield chat


@MODELS
def test_a_message_is_answered_whole_and_streamed_alike(client: anthropic.Anthropic, model: str) -> None:
    print(anthropic.__version__, openai.__version__)
    whole = client.messages.create(model=model, max_tokens=500, messages=said(word("TEXT")))
    with client.messages.stream(model=model, max_tokens=500, messages=said(word("TEXT"))) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()
    assert text(whole) == text(streamed) == "".join(pieces) == f"E2E-TEXT-OK from {model}"
    assert (whole.stop_reason, streamed.stop_reason) == ("end_turn", "end_turn")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (1200, 34)
    assert streamed.usage.output_tokens == 34


@MODELS
def test_parallel_tools_go_there_and_back(client: anthropic.Anthropic, model: str) -> None:
    tools: Any = [{"name": "lookup", "description": "Looks a city up.", "input_schema": CITY}]
    asked = said(word("PARALLEL"))
    with client.messages.stream(model=model, max_tokens=500, messages=asked, tools=tools) as stream:
        first = stream.get_final_message()
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"{c.input['city']} found"} for c in calls]
    messages = [*asked, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    last = client.messages.create(model=model, max_tokens=500, messages=messages, tools=tools)
    assert text(last) == "E2E-PARALLEL-OK Paris found and Oslo found"


@MODELS
@pytest.mark.filterwarnings("ignore:Using Claude with:UserWarning")  # budgets of thought are deprecated, and still sent
def test_schemas_pictures_documents_and_thought(client: anthropic.Anthropic, model: str) -> None:
    wanted: Any = {"format": {"type": "json_schema", "schema": PLACE}}
    place = client.messages.create(
        model=model, max_tokens=500, messages=said(word("STRUCT")), extra_body={"output_config": wanted}
    )
    assert json.loads(text(place)) == {"city": "Paris", "people": 2100000}

    def block(kind: str, media: str, data: str) -> Any:
        return {"type": kind, "source": {"type": "base64", "media_type": media, "data": data}}

    picture = block("image", "image/png", base64.b64encode(red_png()).decode())
    for script, part in (("PICTURE", picture), ("FILE", block("document", "application/pdf", PDF))):
        seen = client.messages.create(
            model=model, max_tokens=500, messages=said(part, {"type": "text", "text": word(script)})
        )
        assert text(seen) == f"E2E-{script}-OK saw 1"
    thinker = "o4-mini" if model == "gpt-4o" else model
    thought = client.messages.create(
        model=thinker,
        max_tokens=4000,
        messages=said(word("THINK")),
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    assert [b.thinking for b in thought.content if b.type == "thinking"] == [
        "E2E-REASONING six times seven is forty two."
    ]
    assert text(thought) == "E2E-THINK-OK the answer is 42."


@MODELS
def test_errors_and_hanging_up(client: anthropic.Anthropic, provider: Provider, model: str) -> None:
    with pytest.raises(anthropic.RateLimitError, match="Rate limit reached for requests"):
        client.messages.create(model=model, max_tokens=500, messages=said(word("FAIL429")))
    says = word("SLOW")
    with client.messages.stream(model=model, max_tokens=500, messages=said(says)) as stream:
        pieces = [next(iter(stream.text_stream)) for _ in range(3)]
    assert "word" in "".join(pieces)
    assert provider.wait_until_left(says).model == model


@MODELS
def test_openais_sdk_gets_schemas_documents_and_thought_too(chat: openai.OpenAI, model: str) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE, "strict": True}}
    place = chat.chat.completions.create(model=model, messages=said(word("STRUCT")), response_format=wanted)
    assert json.loads(place.choices[0].message.content or "") == {"city": "Paris", "people": 2100000}
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    seen = chat.chat.completions.create(model=model, messages=said({"type": "text", "text": word("FILE")}, file))
    assert seen.choices[0].message.content == "E2E-FILE-OK saw 1"
    thinker = "o4-mini" if model == "gpt-4o" else model
    thought = chat.chat.completions.create(model=thinker, messages=said(word("THINK")), reasoning_effort="low")
    message: Any = thought.choices[0].message
    assert message.reasoning_content == "E2E-REASONING six times seven is forty two."
    assert message.content == "E2E-THINK-OK the answer is 42."
