from __future__ import annotations

import pytest

from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply, model_entry


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/small/chat/completions",
        "/engines/small/chat/completions",
        "/v1/engines/small/chat/completions",
    ],
)
async def test_chat_is_answered_on_every_path_that_clients_know(gateway: SmallGateway, path: str) -> None:
    gateway.upstream.reply_to(None, chat_reply())
    answer = await gateway.ask(path=path, model="small")
    assert answer.status == 200
    assert (await gateway.records())[0].path == path


async def test_the_model_in_the_path_goes_before_the_one_in_the_body(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(path="/openai/deployments/small/chat/completions", model="other")).status == 200
    assert (await gateway.ask(path="/openai/deployments/other/chat/completions", model="small")).status == 400


async def test_models_are_listed_to_who_may_call_them(gateway: SmallGateway) -> None:
    await gateway.app.reload(gateway.config)
    key = await gateway.make_key(fields={"models": ["none-of-these"]})
    for path in ("/v1/models", "/models", "/v1/models/"):
        assert [row["id"] for row in (await _get(gateway, path)).json()["data"]] == ["small"]
        assert (await _get(gateway, path, key=key)).json()["data"] == []
    assert (await _get(gateway, "/v1/models/small")).json()["id"] == "small"
    for asked, asker in (("none", MASTER_KEY), ("small", key)):
        answer = await _get(gateway, f"/v1/models/{asked}", key=asker)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert (await _get(gateway, "/v1/models", key="sk-unknown")).status == 401
    assert await gateway.records() == []


async def _get(gateway: SmallGateway, path: str, key: str = MASTER_KEY):  # type: ignore[no-untyped-def]  # an Answer
    return await gateway.ask(path=path, method="GET", body=b"", key=key)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/chat/completions"), ("POST", "/v1/unheard-of")])
async def test_what_is_no_call_to_a_model_goes_to_the_management_api(
    gateway: SmallGateway, method: str, path: str
) -> None:
    answer = await gateway.ask(method=method, path=path)
    assert answer.status in (404, 405)
    assert gateway.upstream.requests == []


async def test_every_answer_names_its_call_and_no_two_calls_share_a_name(gateway: SmallGateway) -> None:
    gateway.upstream.reply_to(None, chat_reply())
    answers = [await gateway.ask(key=key) for key in (MASTER_KEY, MASTER_KEY, "sk-unknown")]
    assert len({answer.headers["x-litellm-call-id"] for answer in answers}) == 3


async def test_an_answer_says_who_served_it_and_what_it_cost(gateway: SmallGateway) -> None:
    key = await gateway.make_key(max_budget_nano=5_000_000)
    gateway.upstream.reply_to(None, chat_reply())
    headers = (await gateway.ask(key=key)).headers
    assert headers["x-litellm-model-group"] == model_entry().model_name
    assert headers["x-litellm-model-name"] == "openai/small"
    assert headers["x-litellm-model-api-base"] == "http://provider.example/v1"
    assert headers["x-litellm-response-cost"] == "0.001000000"
    assert headers["x-litellm-key-spend"] == "0.001000000"
    assert headers["x-litellm-key-max-budget"] == "0.005000000"


# --- what nobody serves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1/unheard-of", "/v1beta/unheard-of", "/openai/deployments/small/unheard-of", "/chat/unheard-of"]
)
async def test_a_path_for_models_that_nobody_serves_is_told_as_openai_tells_it(
    gateway: SmallGateway, path: str
) -> None:
    answer = await gateway.ask(path=path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "unknown_url")
    assert f"POST {path}" in error["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/embeddings", "/v1/messages"])
async def test_another_method_than_a_path_has_is_told_as_openai_tells_it(gateway: SmallGateway, path: str) -> None:
    answer = await gateway.ask(method="GET", path=path, body=b"")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_the_management_api_keeps_its_own_words(gateway: SmallGateway) -> None:
    answer = await gateway.ask(path="/key/unheard-of")
    assert (answer.status, answer.json()) == (404, {"detail": "Not Found"})
    answer = await gateway.ask(method="GET", path="/v1/model/info", body=b"")
    assert answer.status == 200
    answer = await gateway.ask(method="PUT", path="/key/generate", body=b"{}")
    assert (answer.status, answer.json()) == (405, {"detail": "Method Not Allowed"})
