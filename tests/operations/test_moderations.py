from __future__ import annotations

from typing import Any

import pytest

from tollway.calls import Usage
from tollway.testing import FakeReply

RESULT = (
    b'{"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": [{"flagged": false,  '
    b'"category_scores": {"violence": 1e-05}}]}'
)
OPENAI = """
    model_list:
      - model_name: {name}
        litellm_params: {{model: openai/omni-moderation-latest, api_key: k, api_base: http://provider.test/v1}}
      - model_name: chat
        litellm_params: {{model: openai/gpt-4o, api_key: k, api_base: http://provider.test/v1}}
"""


@pytest.mark.parametrize("path", ["/moderations", "/v1/moderations", "/openai/v1/moderations"])
async def test_only_the_model_changes_on_the_way_there_and_back(open_table: Any, path: str) -> None:
    table = await open_table(OPENAI.format(name="guard"))
    table.upstream.reply_to("/v1/moderations", FakeReply.json(RESULT))
    answer = await table.post(path, b'{"model":"guard","input":["a",  {"type":"text","text":"b"}]}')
    (sent,) = table.upstream.requests
    assert sent.body == b'{"model":"omni-moderation-latest","input":["a",  {"type":"text","text":"b"}]}'
    assert answer.status == 200
    assert answer.json()["model"] == "guard"
    assert b'[{"flagged": false,  "category_scores": {"violence": 1e-05}}]' in answer.body
    record = await table.record()
    assert (record.call_type, record.cost.total, record.cost_known) == ("amoderation", 0, True)


@pytest.mark.parametrize("name", ["omni-moderation-latest", "guard"])
async def test_a_client_need_not_name_a_model(open_table: Any, name: str) -> None:
    table = await open_table(OPENAI.format(name=name))
    table.upstream.reply_to("/v1/moderations", FakeReply.json(RESULT))
    answer = await table.post("/v1/moderations", {"input": "a"})
    assert answer.status == 200
    assert table.upstream.requests[0].json() == {"input": "a", "model": "omni-moderation-latest"}


async def test_without_a_model_for_it_the_missing_one_is_named(table: Any) -> None:
    answer = await table.post("/v1/moderations", {"input": "a"})
    assert answer.status == 400
    assert "omni-moderation-latest" in answer.json()["error"]["message"]


async def test_a_caller_with_a_budget_holds_nothing_for_what_is_free(open_table: Any) -> None:
    table = await open_table(OPENAI.format(name="guard"))
    key = await table.give_key(max_budget_nano=1)
    table.upstream.reply_to("/v1/moderations", FakeReply.json(RESULT))
    assert (await table.post("/v1/moderations", {"input": "a" * 1000}, key=key)).status == 200
    assert (await table.record()).held_nano == 0


async def test_mistral_s_tokens_are_charged_where_they_have_a_price(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: guard
            litellm_params:
              {model: mistral/mistral-moderation-latest, api_key: k, api_base: http://mistral.test/v1,
               input_cost_per_token: "0.0000001", output_cost_per_token: "0"}
            model_info: {mode: moderation}
        """
    )
    usage = {"prompt_tokens": 30, "total_tokens": 30, "completion_tokens": 0}
    table.upstream.reply_to("/v1/moderations", FakeReply.json({"id": "m", "results": [{}], "usage": usage}))
    assert (await table.post("/v1/moderations", {"input": "a"})).status == 200
    record = await table.record()
    assert (record.usage, record.cost.total) == (Usage(input=30), 3_000)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (FakeReply.json(b"<html>"), 502),
        (FakeReply.json({"results": []}), 502),
        (FakeReply.json({"error": {"message": "bad", "code": 400}}), 400),
    ],
)
async def test_what_holds_no_results_is_a_failure(open_table: Any, reply: FakeReply, status: int) -> None:
    table = await open_table(OPENAI.format(name="guard"))
    table.upstream.reply_to("/v1/moderations", reply)
    assert (await table.post("/v1/moderations", {"input": "a"})).status == status


async def test_an_input_is_needed(table: Any) -> None:
    answer = await table.post("/v1/moderations", {"model": "chat"})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "input")


async def test_a_provider_without_moderation_is_said_so(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: claude
            litellm_params: {model: anthropic/claude-opus-4-6, api_key: one}
        """
    )
    answer = await table.post("/v1/moderations", {"model": "claude", "input": "a"})
    assert answer.status == 400
    assert "does not offer moderations" in answer.json()["error"]["message"]
