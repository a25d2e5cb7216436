from __future__ import annotations

from .conftest import Asking

GROUP_FIELDS = {
    *("model_group", "providers", "max_input_tokens", "max_output_tokens", "input_cost_per_token"),
    *("output_cost_per_token", "input_cost_per_pixel", "mode", "tpm", "rpm", "itpm", "otpm"),
    *("supports_parallel_function_calling", "supports_vision", "supports_web_search", "supports_url_context"),
    *("supports_reasoning", "supports_function_calling", "supports_fast_mode", "supported_reasoning_efforts"),
    *("supported_openai_params", "configurable_clientside_auth_params", "is_public_model_group", "health_status"),
    *("health_response_time", "health_checked_at"),
}


async def test_model_info_shows_each_deployment_and_no_provider_key(ask: Asking) -> None:
    for path in ("/model/info", "/v1/model/info"):
        answer = await ask.get(path)
        rows = answer.json()["data"]
        assert [row["model_info"]["id"] for row in rows] == ["d1", "d2"]
        assert rows[0]["model_name"] == "gpt-4o"
        assert rows[0]["litellm_params"]["model"] == "openai/gpt-4o"
        assert rows[0]["model_info"]["max_input_tokens"] == 128000
        assert rows[0]["model_info"]["db_model"] is False
        assert "secret" not in answer.text
    assert len((await ask.get("/model/info", litellm_model_id="d2")).json()["data"]) == 1
    assert (await ask.get("/model/info", litellm_model_id="d3")).status_code == 400


async def test_a_group_is_what_its_deployments_are_together(ask: Asking) -> None:
    (group,) = (await ask.get("/model_group/info")).json()["data"]
    assert set(group) == GROUP_FIELDS
    assert group["providers"] == ["azure", "openai"]
    assert group["tpm"] == 12
    assert group["rpm"] is None
    assert group["supports_vision"] is True
    assert group["supports_reasoning"] is False
    assert (await ask.get("/model_group/info", model_group="other")).json() == {"data": []}


async def test_a_key_sees_what_it_may_call(ask: Asking) -> None:
    key = (await ask.made())["key"]
    assert len((await ask.get("/model/info", key=key)).json()["data"]) == 1
