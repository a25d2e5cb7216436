"""Several changes in one request, further ways to ask for keys and credentials, and what a request becomes on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.testing.gateway import MASTER_KEY, MODEL, PROVIDER_KEY, SmallGateway, chat_reply, model_entry

from .test_people import Manager


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    config = Config(
        access=AccessSettings(master_key=Secret(MASTER_KEY), salt_key=Secret("a salt that nobody else knows"))
    )
    models = [model_entry(), model_entry("claude", provider_model="anthropic/claude-opus-4-6")]
    async with SmallGateway(tmp_path, models, config=config) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Manager(gateway)


async def test_members_are_added_each_by_itself(manage: Manager) -> None:
    team_id = (await manage("POST /team/new", {}))["team_id"]
    await manage("POST /user/new", {"user_id": "ann", "auto_create_key": False})
    members = [
        {"user_id": "ann"},
        {"user_id": "ann"},
        {"user_email": "bob@example.com", "role": "admin"},
        {"role": "user"},
    ]
    found = await manage(
        "POST /team/bulk_member_add", {"team_id": team_id, "members": members, "max_budget_in_team": 1}
    )
    assert [result["success"] for result in found["results"]] == [True, False, True, False]
    assert (found["total_requested"], found["successful_additions"], found["failed_additions"]) == (4, 2, 2)
    assert "already in team" in found["results"][1]["error"]
    assert found["results"][2]["updated_user"]["user_email"] == "bob@example.com"
    assert found["results"][0]["updated_team_membership"]["litellm_budget_table"]["max_budget"] == 1.0
    assert len(found["updated_team"]["members_with_roles"]) == 3
    await manage("POST /team/bulk_member_add", {"team_id": team_id, "members": []}, status=400)
    await manage("POST /user/new", {"user_id": "eve", "auto_create_key": False})
    everybody = await manage("POST /team/bulk_member_add", {"team_id": team_id, "all_users": True})
    assert [result["user_id"] for result in everybody["results"]] == ["eve"]
    led = (await manage("POST /user/new", {"user_id": "led", "user_role": "internal_user"}))["key"]
    await manage("POST /team/member_add", {"team_id": team_id, "member": {"user_id": "led", "role": "admin"}})
    await manage("POST /team/bulk_member_add", {"team_id": team_id, "all_users": True}, key=led, status=403)


async def test_permissions_are_added_to_several_teams_and_none_is_taken_away(manage: Manager) -> None:
    for name in ("a", "b", "c"):
        await manage("POST /team/new", {"team_id": name, "team_member_permissions": ["/key/list"]})
    found = await manage("POST /team/permissions_bulk_update", {"team_ids": ["a", "b"], "permissions": ["/key/info"]})
    assert (found["teams_updated"], found["permissions_appended"]) == (2, ["/key/info"])
    after = {
        name: (await manage("GET /team/permissions_list", team_id=name))["team_member_permissions"]
        for name in ("a", "c")
    }
    assert after == {"a": ["/key/list", "/key/info"], "c": ["/key/list"]}
    again = await manage(
        "POST /team/permissions_bulk_update", {"apply_to_all_teams": True, "permissions": ["/key/info"]}
    )
    assert again["teams_updated"] == 1
    for body in (
        {"permissions": ["/key/info"]},
        {"permissions": ["/key/info"], "team_ids": ["a"], "apply_to_all_teams": True},
        {"permissions": ["/everything"], "team_ids": ["a"]},
    ):
        await manage("POST /team/permissions_bulk_update", body, status=400)
    await manage("POST /team/permissions_bulk_update", {"permissions": ["/key/info"], "team_ids": ["no"]}, status=404)


async def test_users_are_changed_each_by_itself_or_all_alike(manage: Manager) -> None:
    for name in ("ann", "bob"):
        await manage("POST /user/new", {"user_id": name, "user_email": f"{name}@x.com", "auto_create_key": False})
    asked = [
        {"user_id": "ann", "max_budget": 5},
        {"user_id": "none", "max_budget": 5},
        {"user_email": "bob@x.com", "tpm_limit": 7},
    ]
    found = await manage("POST /user/bulk_update", {"users": asked})
    assert [result["success"] for result in found["results"]] == [True, False, True]
    assert (found["total_requested"], found["successful_updates"], found["failed_updates"]) == (3, 2, 1)
    assert found["results"][0]["updated_user"]["max_budget"] == 5.0
    alike = await manage("POST /user/bulk_update", {"all_users": True, "user_updates": {"rpm_limit": 3}})
    assert [result["updated_user"]["rpm_limit"] for result in alike["results"]] == [3, 3]
    assert alike["results"][0]["updated_user"]["max_budget"] == 5.0
    await manage("POST /user/bulk_update", {"all_users": True}, status=400)
    await manage("POST /user/bulk_update", {}, status=400)


async def test_keys_are_listed_with_those_of_ones_teams_and_those_one_made(manage: Manager) -> None:
    lead = (await manage("POST /user/new", {"user_id": "lead", "user_role": "internal_user", "key_alias": "own"}))[
        "key"
    ]
    members = [{"user_id": "lead", "role": "admin"}, {"user_id": "ann"}]
    await manage("POST /team/new", {"team_id": "t", "members_with_roles": members})
    for alias, fields, key in (
        ("ann's", {"user_id": "ann", "team_id": "t"}, MASTER_KEY),
        ("made", {"user_id": "ann", "team_id": "t"}, lead),
        ("nobody's", {}, MASTER_KEY),
    ):
        await manage("POST /key/generate", {"key_alias": alias, **fields}, key=key)

    async def listed(**query: object) -> list[str]:
        found = await manage(
            "GET /key/list", key=lead, return_full_object="true", sort_by="key_alias", sort_order="asc", **query
        )
        assert found["total_count"] >= len(found["keys"])
        return [one["key_alias"] for one in found["keys"]]

    assert await listed() == ["own"]
    assert await listed(include_team_keys="true") == ["ann's", "made", "own"]
    assert await listed(include_created_by_keys="true") == ["made", "own"]
    assert await listed(include_team_keys="true", size=1, page=2) == ["made"]
    assert await listed(include_team_keys="true", key_alias="made") == ["made"]
    answer = await manage.asked("GET /key/list", status="deleted")
    assert answer.status == 400


async def test_what_a_model_was_given_is_shown_by_its_id_and_masked(manage: Manager) -> None:
    params = {"model": "openai/gpt-4o", "api_key": "sk-that-must-not-be-seen"}
    made = await manage("POST /model/new", {"model_name": "added", "litellm_params": params, "model_info": {}})
    found = await manage(f"GET /credentials/by_model/{made['model_id']}")
    assert found["credential_values"] == {"api_key": "*****"}
    await manage("POST /credentials", {"credential_name": "c", "credential_values": {"api_key": "sk-also-not-seen"}})
    named = {"model": "openai/gpt-4o", "litellm_credential_name": "c"}
    other = await manage("POST /model/new", {"model_name": "other", "litellm_params": named, "model_info": {}})
    assert (await manage(f"GET /credentials/by_model/{other['model_id']}"))["credential_name"] == "c"
    await manage("GET /credentials/by_model/none", status=404)


async def test_a_request_is_shown_as_its_provider_would_get_it_without_a_secret(manage: Manager) -> None:
    body = {"model": "claude", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5, "max_tokens": 9}
    answer = await manage.asked("POST /utils/transform_request", {"call_type": "completion", "request_body": body})
    found = answer.json()
    assert answer.status == 200
    assert PROVIDER_KEY not in answer.body.decode()
    assert found["raw_request_api_base"] == "http://provider.example:80/v1/messages"
    assert (found["raw_request_body"]["model"], found["raw_request_body"]["temperature"]) == ("claude-opus-4-6", 0.5)
    assert manage.gateway.upstream.requests == []
    kept_out = (await manage("POST /key/generate", {"models": [MODEL]}))["key"]
    asked = {"call_type": "completion", "request_body": body}
    await manage("POST /utils/transform_request", asked, key=kept_out, status=400)
    await manage("POST /utils/transform_request", {"call_type": "dreaming", "request_body": body}, status=400)
    await manage("POST /utils/transform_request", {"call_type": "completion", "request_body": {}}, status=400)


async def test_the_parameters_that_come_to_a_model_are_those_that_are_not_dropped(manage: Manager) -> None:
    openai = (await manage("GET /utils/supported_openai_params", model=MODEL))["supported_openai_params"]
    claude = (await manage("GET /utils/supported_openai_params", model="claude"))["supported_openai_params"]
    assert {"seed", "logit_bias", "frequency_penalty"} <= set(openai) - set(claude)
    assert {"temperature", "tools", "tool_choice", "stop", "stream", "max_tokens"} <= set(claude)
    await manage("GET /utils/supported_openai_params", model="nobodys", status=400)
