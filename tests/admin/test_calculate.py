from __future__ import annotations

from typing import Any

import pytest

from tollway.admin.calculate import prompt_tokens

from .conftest import Asking

HI = [{"role": "user", "content": "hi"}]
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


async def test_a_prompt_costs_its_input_and_an_answer_its_usage(ask: Asking) -> None:
    answer = await ask.post("/spend/calculate", {"model": "gpt-4o", "messages": HI})
    assert (answer.status_code, answer.json()) == (200, {"cost": 2e-05})
    answer = await ask.post("/spend/calculate", {"completion_response": ANSWER})
    assert (answer.status_code, answer.json()) == (200, {"cost": 7.5e-05})


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 13, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}, 9.75e-05),
        ({"input_tokens": 13, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 4}}, 9.75e-05),
        ({"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": 4}, 9.75e-05),
    ],
)
async def test_usage_is_read_in_the_words_of_each_api(ask: Asking, usage: dict[str, Any], cost: float) -> None:
    answer = await ask.post("/spend/calculate", {"completion_response": {"model": "gpt-4o", "usage": usage}})
    assert answer.json() == {"cost": cost}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "Either messages or completion_response"),
        ({"messages": HI}, "Model must be given"),
        ({"model": "unpriced", "messages": HI}, "price of model=unpriced is not known"),
        ({"model": "nobody", "messages": HI}, "price of model=nobody is not known"),
        ({"completion_response": {"model": "gpt-4o"}}, "should have a usage"),
        ({"completion_response": {"model": "gpt-4o", "usage": {"tokens": 4}}}, "should have a usage"),
        ({"completion_response": {"model": "gpt-4o", "usage": [1]}}, "should have a usage"),
        ({"model": 5, "messages": HI}, "cannot be read"),
    ],
)
async def test_what_cannot_be_calculated_is_refused(ask: Asking, body: dict[str, Any], says: str) -> None:
    answer = await ask.post("/spend/calculate", body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_tokens_are_counted_in_the_shape_that_clients_know(ask: Asking) -> None:
    answer = await ask.post("/utils/token_counter", {"model": "gpt-4o", "messages": HI})
    assert answer.status_code == 200
    assert answer.json() == {
        "total_tokens": 8,
        "request_model": "gpt-4o",
        "model_used": "gpt-4o",
        "tokenizer_type": "characters",
        "count_source": "local_estimate",
        "original_response": None,
        "error": False,
        "error_message": None,
        "status_code": None,
    }
    unknown = (await ask.post("/utils/token_counter", {"model": "nobody", "prompt": "four char words"})).json()
    assert (unknown["total_tokens"], unknown["model_used"]) == (4, "nobody")
    gemini = {"model": "nobody", "contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}
    assert (await ask.post("/utils/token_counter", gemini)).json()["total_tokens"] == 4
    assert (await ask.post("/utils/token_counter", {"model": "gpt-4o"})).status_code == 400
    assert (await ask.post("/utils/token_counter", {"messages": HI})).status_code == 400


def test_pictures_tools_and_other_alphabets_count() -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 9000}}]}]
    assert prompt_tokens(picture) == 3 + 4 + 250
    assert prompt_tokens([{"role": "user", "content": "你好世界"}]) == 3 + 4 + 4
    assert prompt_tokens([]) == 3


async def test_any_key_may_ask_and_nobody_without(ask: Asking) -> None:
    made = await ask.made()
    for path, body in (
        ("/spend/calculate", {"model": "gpt-4o", "messages": HI}),
        ("/utils/token_counter", {"model": "gpt-4o", "messages": HI}),
    ):
        assert (await ask.post(path, body, key=made["key"])).status_code == 200
        assert (await ask.post(path, body, key=None)).status_code == 401
