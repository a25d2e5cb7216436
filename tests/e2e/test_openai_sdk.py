"""The official OpenAI SDK for Python against Tollway: both wires behind it, a provider that misbehaves, and a real small model."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from openai.types.chat import ChatCompletionChunk

from .faults import FaultyProvider
from .gateway import CLAUDE_USD, GPT_4O_USD, Gateway
from .inputs import red_png, word
from .installed import INSTALL_S_MAX, cache_dir
from .provider import Provider

MODELS = pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-4-6"])
USD = {"gpt-4o": GPT_4O_USD, "claude-opus-4-6": CLAUDE_USD}
LOOKUP: Any = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Looks a city up.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def said(words: str) -> Any:
    return [{"role": "user", "content": words}]


def sdk(tollway: Gateway, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{tollway.url}/v1", api_key=key, max_retries=0, timeout=60.0)


@pytest.fixture
def client(tollway: Gateway, virtual_key: str) -> Iterator[openai.OpenAI]:
    with sdk(tollway, virtual_key) as client:
        yield client


def folded(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# ---- answers -------------------------------------------------------------------------------------------


def test_the_models_of_the_key_are_listed(client: openai.OpenAI) -> None:
    assert {"gpt-4o", "claude-opus-4-6"} <= {model.id for model in client.models.list()}


@MODELS
def test_a_chat_is_answered_counted_and_paid_for(
    client: openai.OpenAI, provider: Provider, tollway: Gateway, virtual_key: str, model: str
) -> None:
    says = word("TEXT")
    answer = client.chat.completions.create(model=model, messages=said(says), max_tokens=300)
    assert answer.choices[0].message.content == f"E2E-TEXT-OK from {model}"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1200, 34, 1234)
    (request,) = provider.received(says)
    assert request.json["max_tokens"] == 300
    (row,) = tollway.wait_for_rows(virtual_key, 1)
    assert row["spend"] == pytest.approx(USD[model])


@MODELS
def test_a_stream_that_did_not_ask_for_usage_carries_it_on_its_finishing_chunk(
    client: openai.OpenAI, tollway: Gateway, virtual_key: str, model: str
) -> None:
    with client.chat.completions.create(model=model, messages=said(word("TEXT")), stream=True) as stream:
        chunks = list(stream)
    assert folded(chunks) == f"E2E-TEXT-OK from {model}"
    assert all(chunk.choices for chunk in chunks), "clients that asked for nothing break on a chunk without choices"
    assert len({chunk.id for chunk in chunks}) == 1
    *before, last = chunks
    assert not any(chunk.usage for chunk in before)
    assert last.choices[0].finish_reason == "stop"
    assert last.usage is not None
    assert last.usage.prompt_tokens == 1200
    assert last.usage.model_extra is not None
    assert last.usage.model_extra["cost"] == pytest.approx(USD[model])
    (row,) = tollway.wait_for_rows(virtual_key, 1)
    assert row["spend"] == pytest.approx(USD[model])


@MODELS
def test_a_stream_that_asked_for_usage_gets_it_once_at_its_end(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.create(
        model=model, messages=said(word("TEXT")), stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    with_usage = [chunk for chunk in chunks if chunk.usage]
    assert with_usage == chunks[-1:]
    assert with_usage[0].usage is not None
    assert with_usage[0].usage.completion_tokens == 34


def test_usage_that_the_provider_sends_last_still_rides_on_the_finishing_chunk(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="faulty-usage-late", messages=said("hello"), stream=True) as stream:
        chunks = list(stream)
    assert folded(chunks) == "E2E-LATE-OK"
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 1000


@MODELS
@pytest.mark.parametrize("streamed", [False, True])
def test_two_tools_are_called_at_once_and_their_results_go_back(
    client: openai.OpenAI, provider: Provider, model: str, streamed: bool
) -> None:
    says = word("PARALLEL")
    messages = said(says)
    asked: Any = {"model": model, "messages": messages, "tools": [LOOKUP], "tool_choice": "auto"}
    if streamed:
        with client.chat.completions.stream(**asked) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(**asked)
    calls = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments)["city"] for call in calls if call.type == "function"] == [
        "Paris",
        "Oslo",
    ]
    assert len({call.id for call in calls}) == 2

    messages.append(answer.choices[0].message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"result {at}"} for at, call in enumerate(calls)]
    last = client.chat.completions.create(model=model, messages=messages, tools=[LOOKUP])
    assert last.choices[0].message.content == "E2E-PARALLEL-OK result 0 and result 1"
    assert len(provider.received(says)) == 2


@MODELS
def test_a_picture_is_seen(client: openai.OpenAI, model: str) -> None:
    url = f"data:image/png;base64,{base64.b64encode(red_png()).decode()}"
    parts: Any = [{"type": "text", "text": word("PICTURE")}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "E2E-PICTURE-OK saw 1"


def test_reasoning_of_claude_comes_as_reasoning_content(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="claude-opus-4-6", messages=said(word("THINK")), reasoning_effort="high", max_tokens=8000
    )
    message = answer.choices[0].message
    assert message.content == "E2E-THINK-OK the answer is 42."
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "E2E-REASONING six times seven is forty two."


def test_texts_are_embedded(client: openai.OpenAI, provider: Provider) -> None:
    says = word("EMBED")
    made = client.embeddings.create(model="text-embedding-3-small", input=[says, "two"], encoding_format="float")
    assert [row.embedding for row in made.data] == [[0.25, -0.5, 0.75, 1.0]] * 2
    (request,) = provider.received(says)
    assert request.path == "/v1/embeddings"


def test_an_image_is_generated(client: openai.OpenAI) -> None:
    made = client.images.generate(model="gpt-image-2", prompt="a lobster")
    assert made.data
    assert made.data[0].b64_json


def test_speech_is_made_and_heard(client: openai.OpenAI) -> None:
    spoken = client.audio.speech.create(model="tts-1", input="hello there", voice="alloy")
    assert spoken.read() == b"E2E-SPEECH-BYTES"
    heard = client.audio.transcriptions.create(model="whisper-1", file=("hello.mp3", b"not really sound"))
    assert heard.text == "E2E-HEARD the spoken words"


# ---- refusals ------------------------------------------------------------------------------------------


def test_a_wrong_key_is_401(tollway: Gateway) -> None:
    with sdk(tollway, "sk-nobody-knows-this-one") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.chat.completions.create(model="gpt-4o", messages=said("hello"))
    assert "sk-nobody-knows-this-one" not in refused.value.message


def test_an_unknown_model_is_named_in_the_refusal(client: openai.OpenAI) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match="gpt-nonsense"):
        client.chat.completions.create(model="gpt-nonsense", messages=said("hello"))


def test_a_spent_budget_is_422_and_reaches_no_provider(tollway: Gateway, provider: Provider) -> None:
    key = tollway.new_key(word("BUDGET"))
    with sdk(tollway, key) as client:
        client.chat.completions.create(model="gpt-4o", messages=said(word("TEXT")))
        tollway.client.post("/key/update", json={"key": key, "max_budget": 0.001}, headers=tollway.as_master())
        says = word("TEXT")
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client.chat.completions.create(model="gpt-4o", messages=said(says))
    assert refused.value.type == "budget_exceeded"
    assert "out of budget" not in refused.value.message.lower()
    assert provider.received(says) == []


def test_a_busy_provider_is_429_with_its_retry_after(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="faulty-rate-limited", messages=said("hello"))
    assert refused.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", ["401", "402"])
def test_a_provider_that_refuses_us_is_not_the_callers_key_being_refused(client: openai.OpenAI, status: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model=f"broken-{status}", messages=said("hello"))
    assert refused.value.status_code == 503
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert not set("{}[]") & set(refused.value.message.split(" - ")[0])


def test_a_request_that_the_provider_calls_wrong_is_400_in_its_own_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Invalid value for 'temperature'") as refused:
        client.chat.completions.create(model="broken-400", messages=said("hello"))
    assert refused.value.param == "temperature"


def test_a_prompt_too_long_says_so_in_code_and_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="prompt is too long: 250000 tokens > 200000 maximum") as refused:
        client.chat.completions.create(model="claude-with-fallbacks", messages=said(word("OVERFLOW")))
    assert refused.value.code == "context_length_exceeded"


# ---- faults on the way ---------------------------------------------------------------------------------


def test_a_provider_that_says_nothing_is_given_up_for_the_fallback(
    client: openai.OpenAI, faults: FaultyProvider
) -> None:
    answer = client.chat.completions.create(model="stall-with-fallback", messages=said(word("TEXT")))
    assert answer.choices[0].message.content == "E2E-TEXT-OK from gpt-4o"
    assert faults.wait_until_left("stall").ended_by == "client"


@pytest.mark.parametrize("model", ["faulty-reset-before-head", "faulty-page-502"])
def test_a_provider_that_is_down_is_a_5xx_in_json(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model=model, messages=said("hello"))
    assert failed.value.status_code in {500, 502, 503}
    assert "<html>" not in failed.value.message


@pytest.mark.parametrize("model", ["reset-in-stream", "end-without-finish", "stall-in-stream"])
def test_a_stream_that_breaks_ends_in_an_error_and_never_in_done(
    client: openai.OpenAI, tollway: Gateway, virtual_key: str, model: str
) -> None:
    body = {"model": f"faulty-{model}", "messages": said("hello"), "stream": True}
    raw = tollway.client.post(
        "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {virtual_key}"}, timeout=60.0
    )
    assert "first piece" in raw.text
    assert '"error"' in raw.text
    assert "[DONE]" not in raw.text
    with (
        pytest.raises(openai.APIError),
        client.chat.completions.create(model=f"faulty-{model}", messages=said("hello"), stream=True) as stream,
    ):
        list(stream)
    rows = tollway.wait_for_rows(virtual_key, 2)
    assert [row["status"] for row in rows] == ["failure"] * 2
    assert all(row["spend"] > 0 for row in rows), "what the provider worked is owed"


def test_a_client_that_leaves_closes_the_providers_connection_and_is_charged(
    client: openai.OpenAI, tollway: Gateway, virtual_key: str, faults: FaultyProvider
) -> None:
    with client.chat.completions.create(model="faulty-trickle", messages=said("hello"), stream=True) as stream:
        pieces = [next(stream) for _ in range(4)]
    assert folded(pieces)
    assert faults.wait_until_left("trickle").ended_by == "client"
    (row,) = tollway.wait_for_rows(virtual_key, 1)
    assert row["completion_tokens"] > 0
    assert row["spend"] > 0


@MODELS
def test_a_client_that_leaves_ends_the_call_on_both_wires(
    client: openai.OpenAI, tollway: Gateway, virtual_key: str, provider: Provider, model: str
) -> None:
    says = word("SLOW")
    with client.chat.completions.create(model=model, messages=said(says), stream=True) as stream:
        pieces = [next(stream) for _ in range(4)]
    assert "word" in folded(pieces)
    assert provider.wait_until_left(says).model == model
    (row,) = tollway.wait_for_rows(virtual_key, 1)
    assert row["spend"] > 0


# ---- a real model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(wheel_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Tollway serving SmolLM2 itself: `pip install 'tollway[local]'`, `tollway models pull smollm2`, `--config`."""
    python, home = wheel_bin / "python", tmp_path_factory.mktemp("smollm2")
    (wheel,) = wheel_bin.parents[1].glob("tollway-*.whl")
    # The pulled file stays in the cache folder of these tests.
    environment = os.environ | {"XDG_DATA_HOME": str(cache_dir() / "data")}
    for command in (
        [str(python), "-m", "pip", "install", "--quiet", f"tollway[local] @ {wheel.as_uri()}"],
        [str(wheel_bin / "tollway"), "models", "pull", "smollm2"],
    ):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    config = {"model_list": [{"model_name": "small", "litellm_params": {"model": "local/smollm2"}}]}
    gateway = Gateway(config, home, command=wheel_bin / "tollway", XDG_DATA_HOME=environment["XDG_DATA_HOME"])
    yield gateway
    gateway.stop()


@pytest.mark.slow
def test_a_real_model_answers_and_streams(smollm2: Gateway) -> None:
    key = smollm2.new_key("small")
    with sdk(smollm2, key) as client:
        asked: Any = {"model": "small", "messages": said("Say hello."), "max_tokens": 24, "temperature": 0}
        answer = client.chat.completions.create(**asked)
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 24
        with client.chat.completions.create(**asked, stream=True) as stream:
            chunks = list(stream)
        assert folded(chunks) == answer.choices[0].message.content
        assert all(chunk.choices for chunk in chunks)
    rows = smollm2.wait_for_rows(key, 2)
    assert [row["completion_tokens"] for row in rows] == [answer.usage.completion_tokens] * 2


@pytest.mark.slow
def test_a_real_model_gives_the_same_answer_in_every_api(smollm2: Gateway) -> None:
    key = smollm2.new_key("small in every API")
    with sdk(smollm2, key) as client:
        asked: Any = {"model": "small", "temperature": 0, "stream": False}
        chat = client.chat.completions.create(messages=said("Say hello."), max_tokens=24, **asked)
        response = client.responses.create(input="Say hello.", max_output_tokens=24, **asked)
        following = client.responses.create(
            input="And again.", previous_response_id=response.id, max_output_tokens=24, **asked
        )
    with anthropic.Anthropic(base_url=smollm2.url, api_key=key, max_retries=0) as claude:
        message = claude.messages.create(
            model="small",
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=24,
            extra_body={"temperature": 0},
        )
    google = genai.Client(api_key=key, http_options=genai.types.HttpOptions(base_url=smollm2.url))
    generated = google.models.generate_content(
        model="small", contents="Say hello.", config={"temperature": 0, "max_output_tokens": 24}
    )
    text = chat.choices[0].message.content
    assert text
    assert response.output_text == text
    assert [block.text for block in message.content if block.type == "text"] == [text]
    assert generated.text == text
    assert following.output_text
    assert following.usage is not None
    assert response.usage is not None
    assert following.usage.input_tokens > response.usage.input_tokens
    rows = smollm2.wait_for_rows(key, 5)
    assert len({row["prompt_tokens"] for row in rows}) == 2  # the same question in each API, and the one that goes on
