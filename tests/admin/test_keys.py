from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from tollway.admin import LiveSpend
from tollway.config.settings import Config, MoneySettings
from tollway.storage import KeyRecord
from tollway.storage.people import Organization

from .conftest import Asking
from .office import MASTER_KEY, FakeOffice

# The fields of LiteLLM Proxy 1.106.2's answers (2026-11-21).
MADE = {
    *(
        "key_alias",
        "duration",
        "models",
        "spend",
        "max_budget",
        "user_id",
        "team_id",
        "agent_id",
        "max_parallel_requests",
    ),
    *("metadata", "tpm_limit", "rpm_limit", "budget_duration", "budget_limits", "allowed_cache_controls", "config"),
    *("permissions", "model_max_budget", "budget_fallbacks", "model_rpm_limit", "model_tpm_limit", "mcp_rpm_limit"),
    *(
        "tag_rpm_limit",
        "guardrails",
        "policies",
        "prompts",
        "blocked",
        "aliases",
        "object_permission",
        "key",
        "tpd_limit",
    ),
    *(
        "default_estimated_output_tokens",
        "default_estimated_output_tokens_per_model",
        "budget_id",
        "end_user_budget_id",
    ),
    *("tags", "disable_global_guardrails", "enable_prompt_caching", "throttle_on_budget_exceeded", "enforced_params"),
    *("allowed_routes", "allowed_passthrough_routes", "denied_passthrough_routes", "allowed_vector_store_indexes"),
    *("rpm_limit_type", "tpm_limit_type", "router_settings", "access_group_ids", "key_name", "key_type", "expires"),
    *("token_id", "organization_id", "project_id", "litellm_budget_table", "token", "created_by", "updated_by"),
    *("created_at", "updated_at"),
}
INFO = {
    *(
        "key_name",
        "key_alias",
        "soft_budget_cooldown",
        "spend",
        "total_spend",
        "expires",
        "models",
        "aliases",
        "config",
    ),
    *("router_settings", "user_id", "team_id", "agent_id", "project_id", "permissions", "max_parallel_requests"),
    *("metadata", "blocked", "tpm_limit", "rpm_limit", "tpd_limit", "max_budget", "budget_duration", "budget_reset_at"),
    *("allowed_cache_controls", "allowed_routes", "key_type", "policies", "access_group_ids", "model_spend"),
    *("model_max_budget", "budget_fallbacks", "budget_id", "organization_id", "object_permission_id", "created_at"),
    *("created_by", "updated_at", "updated_by", "settings_updated_at", "last_active", "rotation_count", "auto_rotate"),
    *("rotation_interval", "last_rotation_at", "key_rotation_at", "budget_limits", "litellm_budget_table"),
    *("litellm_organization_table", "litellm_project_table", "object_permission", "jwt_key_mappings", "status"),
}
UPDATED = INFO - {"status"} | {"key", "token"}
UNBLOCKED = INFO - {"status"} | {"token"}
BLOCKED = UNBLOCKED - {
    *("jwt_key_mappings", "litellm_organization_table", "litellm_project_table", "organization_id", "policies")
} | {"org_id"}


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


async def stored(office: FakeOffice, key: str) -> KeyRecord:
    record = await office.storage.keys.get(digest(key))
    assert record is not None
    return record


async def refused(ask: Asking, path: str, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
    answer = await ask.post(path, body)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == str(status)
    return error


async def test_a_new_key_is_answered_in_litellms_shape_and_in_force_at_once(ask: Asking, office: FakeOffice) -> None:
    made = await ask.made(key_alias="openclaw", max_budget=50.0, budget_duration="monthly")
    assert set(made) == MADE
    assert made["key"].startswith("sk-")
    assert len(made["key"]) == 25
    assert made["token"] == made["token_id"] == sha256(made["key"].encode()).hexdigest()
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    assert (made["max_budget"], made["budget_duration"], made["spend"]) == (50.0, "monthly", 0.0)
    assert made["created_at"] == made["updated_at"] == "2026-11-21T22:39:02.232000Z"
    assert made["created_by"] == "default_user_id"
    assert digest(made["key"]) in office.in_force
    assert (await ask.get("/key/info", key=made["key"])).status_code == 200
    assert set(await ask.made()) == MADE
    assert (await ask.post("/key/generate")).status_code == 200  # no body at all


async def test_fields_that_nobody_knows_are_ignored_as_litellm_does(ask: Asking) -> None:
    assert "foo" not in await ask.made(foo="bar")


async def test_what_is_enforced_is_kept_in_the_record(ask: Asking, office: FakeOffice) -> None:
    await office.storage.people.organizations.create(Organization(id="o1"))
    made = await ask.made(
        models=["gpt-4o"],
        aliases={"a": "gpt-4o"},
        metadata={"note": 1.5, "deep": [{"x": 0.1}]},
        tpm_limit=1000,
        rpm_limit=3,
        max_parallel_requests=1,
        user_id="u1",
        team_id="t1",
        organization_id="o1",
        max_budget=0.0002,
        soft_budget=0.0001,
        spend=0.00005,
        duration="1h",
        blocked=True,
        allowed_routes=["/v1/chat/completions", "info_routes"],
    )
    record = await stored(office, made["key"])
    assert record.models == ["gpt-4o"]
    assert record.aliases == {"a": "gpt-4o"}
    assert record.metadata == {"note": 1.5, "deep": [{"x": 0.1}]}
    assert record.allowed_routes == ["/v1/chat/completions", "info_routes"]
    assert (record.tpm_limit, record.rpm_limit, record.parallel_max) == (1000, 3, 1)
    assert (record.user_id, record.team_id, record.organization_id) == ("u1", "t1", "o1")
    assert (record.max_budget_nano, record.soft_budget_nano) == (200_000, 100_000)
    assert (record.spend_nano, record.total_spend_nano) == (50_000, 50_000)
    assert record.blocked is True
    assert made["expires"] == "2026-11-21T23:39:02.232000Z"
    assert made["litellm_budget_table"]["soft_budget"] == 0.0001


@pytest.mark.parametrize(
    ("written", "nano"),
    [
        ("5e-05", 50_000),
        ("0.1", 100_000_000),
        ("1234567890.123456789", 1_234_567_890_123_456_789),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ('"12.5"', 12_500_000_000),
        ("0", 0),
    ],
)
async def test_money_is_read_as_it_is_written(ask: Asking, office: FakeOffice, written: str, nano: int) -> None:
    answer = await ask.post("/key/generate", content=f'{{"max_budget": {written}}}')
    record = await stored(office, answer.json()["key"])
    assert record.max_budget_nano == nano
    assert answer.json()["max_budget"] == nano / 1e9


@pytest.mark.parametrize("field", ["max_budget", "soft_budget", "spend"])
@pytest.mark.parametrize("value", [-1, "NaN", 1e30])
async def test_an_amount_that_cannot_be_is_refused(ask: Asking, field: str, value: Any) -> None:
    assert field in (await refused(ask, "/key/generate", {field: value}))["message"]


async def test_a_negative_budget_is_refused_in_litellms_words(ask: Asking) -> None:
    error = await refused(ask, "/key/generate", {"max_budget": -1})
    assert "max_budget must be a non-negative finite number. Received: -1" in error["message"]


@pytest.mark.parametrize(
    ("written", "reset"),
    [
        ("30d", "2026-12-01T00:00:00+00:00"),
        ("monthly", "2026-12-01T00:00:00+00:00"),
        ("1mo", "2026-12-01T00:00:00+00:00"),
        ("7d", "2026-11-23T00:00:00+00:00"),
        ("1w", "2026-11-23T00:00:00+00:00"),
        ("daily", "2026-11-22T00:00:00+00:00"),
        ("1h30m", "2026-11-21T23:00:00+00:00"),
    ],
)
async def test_budgets_start_anew_with_the_calendar(ask: Asking, written: str, reset: str) -> None:
    made = await ask.made(budget_duration=written, max_budget=1)
    shown = (await ask.get("/key/info", key=made["key"])).json()["info"]
    assert (shown["budget_duration"], shown["budget_reset_at"]) == (written, reset)


@pytest.mark.parametrize("written", ["", "month", "1M", "1y", "2mo"])
async def test_a_budget_duration_that_is_none_is_refused_in_litellms_words(ask: Asking, written: str) -> None:
    error = await refused(ask, "/key/generate", {"budget_duration": written, "max_budget": 1})
    assert error["message"] == f"Invalid budget_duration '{written}'. Use a format like '1h', '24h', '7d', or '30d'."


async def test_a_duration_that_is_none_and_limits_below_zero_are_refused(ask: Asking) -> None:
    assert (await refused(ask, "/key/generate", {"duration": "bad"}))["param"] == "duration"
    for name in ("rpm_limit", "tpm_limit", "max_parallel_requests"):
        assert (await refused(ask, "/key/generate", {name: -1}))["param"] == name
        assert (await refused(ask, "/key/generate", {name: 10**30}))["param"] == name


async def test_an_alias_that_is_taken_is_refused_in_litellms_words(ask: Asking, office: FakeOffice) -> None:
    await ask.made(key_alias="openclaw")
    expected = {
        "message": "Key with alias 'openclaw' already exists. Unique key aliases across all keys are required.",
        "type": "bad_request_error",
        "param": "key_alias",
        "code": "400",
    }
    assert await refused(ask, "/key/generate", {"key_alias": "openclaw"}) == expected
    other = await ask.made()
    assert await refused(ask, "/key/update", {"key": other["key"], "key_alias": "openclaw"}) == expected
    assert len(await office.storage.keys.load_all()) == 2


async def test_a_key_of_ones_own_choice_must_look_like_one_and_be_new(ask: Asking) -> None:
    made = await ask.made(key="sk-custom-abc-12345678")
    assert (made["key"], made["key_name"]) == ("sk-custom-abc-12345678", "sk-...5678")
    error = await refused(ask, "/key/generate", {"key": "mykey-without-sk"})
    assert "must start with 'sk-'. Received: myke****t-sk" in error["message"]
    for key in ("sk-short", "sk-with blank 123456", "sk-" + "x" * 2000, "sk-ümlaut-12345678", "sk-custom-abc-12345678"):
        assert (await refused(ask, "/key/generate", {"key": key}))["param"] == "key"


async def test_no_virtual_key_takes_the_master_keys_place(ask: Asking) -> None:
    await refused(ask, "/key/generate", {"key": MASTER_KEY})
    other = await ask.made()
    await refused(ask, "/key/regenerate", {"key": other["key"], "new_key": MASTER_KEY})


@pytest.mark.parametrize(
    "field",
    [
        *("tpd_limit", "guardrails"),
        *("policies", "prompts", "object_permission", "auto_rotate", "enforced_params", "agent_id"),
        *("project_id", "router_settings", "config", "allowed_cache_controls", "rpm_limit_type"),
        *("enable_prompt_caching", "budget_fallbacks", "access_group_ids", "disable_global_guardrails"),
    ],
)
async def test_a_limit_that_would_have_no_effect_is_refused_by_name(
    ask: Asking, office: FakeOffice, field: str
) -> None:
    for value in ({"gpt-4o": 1}, ["x"], 5, True):
        error = await refused(ask, "/key/generate", {field: value})
        assert error["param"] == field
        assert field in error["message"]
    assert await office.storage.keys.load_all() == []
    made = await ask.made(**{field: None})
    assert set(made) == MADE
    for nothing in ({}, [], False, {"a": None, "b": {}}):
        await ask.made(**{field: nothing})
    await refused(ask, "/key/update", {"key": made["key"], field: {"gpt-4o": 1}})
    await refused(ask, "/key/regenerate", {"key": made["key"], field: {"gpt-4o": 1}})


@pytest.mark.parametrize(
    ("key_type", "routes"),
    [
        ("default", []),
        ("llm_api", ["llm_api_routes"]),
        ("management", ["management_routes"]),
        ("read_only", ["info_routes"]),
    ],
)
async def test_the_type_of_a_key_says_which_paths_it_may_call(ask: Asking, key_type: str, routes: list[str]) -> None:
    made = await ask.made(key_type=key_type)
    assert (made["key_type"], made["allowed_routes"]) == (key_type, routes)


async def test_types_and_routes_that_are_none_are_refused(ask: Asking) -> None:
    assert (await refused(ask, "/key/generate", {"key_type": "super"}))["param"] == "key_type"
    assert (await refused(ask, "/key/generate", {"allowed_routes": ["everything"]}))["param"] == "allowed_routes"


class TestDefaultsAndBounds:
    @pytest.fixture
    def config(self) -> Config:
        return Config(
            money=MoneySettings(
                default_key_params={"max_budget": 5.5, "models": ["gpt-4o"], "metadata": {"a": "b"}},
                upperbound_key_params={"max_budget": 10, "duration": "30d", "tpm_limit": 1000},
            )
        )

    async def test_what_is_not_said_is_taken_from_the_configuration(self, ask: Asking) -> None:
        made = await ask.made(models=[], tpm_limit=7)
        assert (made["max_budget"], made["models"], made["metadata"]) == (5.5, ["gpt-4o"], {"a": "b"})
        assert made["tpm_limit"] == 7
        assert made["expires"] == "2026-12-21T22:39:02.232000Z"
        assert (await ask.made(max_budget=0))["max_budget"] == 0.0

    async def test_nothing_goes_above_its_bound(self, ask: Asking) -> None:
        error = await refused(ask, "/key/generate", {"max_budget": 10.01})
        assert error["message"] == "max_budget is over max limit set in config - user_value=10.01; max_value=10"
        assert (await refused(ask, "/key/generate", {"duration": "31d"}))["param"] == "duration"
        made = await ask.made(max_budget=10, duration="30d")
        assert (await refused(ask, "/key/update", {"key": made["key"], "tpm_limit": 1001}))["param"] == "tpm_limit"
        await refused(ask, "/key/regenerate", {"key": made["key"], "max_budget": 11})


async def test_a_key_asks_about_itself_without_naming_itself(ask: Asking, office: FakeOffice) -> None:
    key = (await ask.made(key_alias="openclaw"))["key"]
    answer = (await ask.get("/key/info", key=key)).json()
    assert answer["key"] == sha256(key.encode()).hexdigest()
    assert set(answer["info"]) == INFO
    assert answer["info"]["key_alias"] == "openclaw"
    assert answer["info"]["status"] == "active"
    assert answer["info"]["created_at"] == "2026-11-21T22:39:02.232000+00:00"
    assert key not in str(answer)


async def test_the_master_key_asks_about_any_key_by_itself_or_its_hash(ask: Asking) -> None:
    key = (await ask.made())["key"]
    for named in (key, sha256(key.encode()).hexdigest()):
        answer = await ask.client.get(
            "/key/info", params={"key": named}, headers={"authorization": f"Bearer {MASTER_KEY}"}
        )
        assert answer.json()["key"] == named
        assert answer.json()["info"]["key_name"] == f"sk-...{key[-4:]}"
    for query in ({"key": "sk-nope"}, {}):
        answer = await ask.client.get("/key/info", params=query, headers={"authorization": f"Bearer {MASTER_KEY}"})
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": "Key not found in database",
            "type": "not_found_error",
            "param": "key",
            "code": "404",
        }


async def test_a_key_learns_nothing_of_other_keys(ask: Asking) -> None:
    mine, other = (await ask.made())["key"], (await ask.made())["key"]
    headers = {"authorization": f"Bearer {mine}"}
    answers = [await ask.client.get("/key/info", params={"key": key}, headers=headers) for key in (other, "sk-nope")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json() == answers[1].json()
    assert (await ask.client.get("/key/info", params={"key": mine}, headers=headers)).status_code == 200


async def test_spend_is_shown_as_the_ledger_knows_it_now(ask: Asking, office: FakeOffice) -> None:
    made = await ask.made(soft_budget=0.0002, spend=0.0001)
    info = (await ask.get("/key/info", key=made["key"])).json()["info"]
    assert (info["spend"], info["soft_budget_cooldown"]) == (0.0001, False)
    office.live["key", made["token"]] = LiveSpend(292_500, 392_500)
    info = (await ask.get("/key/info", key=made["key"])).json()["info"]
    assert (info["spend"], info["total_spend"], info["soft_budget_cooldown"]) == (0.0002925, 0.0003925, True)


async def test_an_update_changes_what_it_names_and_null_takes_a_limit_away(ask: Asking, office: FakeOffice) -> None:
    made = await ask.made(key_alias="tiny", max_budget=5e-05, rpm_limit=3, metadata={"a": 1}, duration="1h")
    answer = await ask.post(
        "/key/update",
        {"key": made["key"], "max_budget": 10, "models": ["gpt-4o", "claude-opus-4-6"], "budget_duration": "7d"},
    )
    row = answer.json()
    assert set(row) == UPDATED
    assert row["key"] == made["key"]
    assert (row["max_budget"], row["models"]) == (10.0, ["gpt-4o", "claude-opus-4-6"])
    assert row["budget_reset_at"] == "2026-11-23T00:00:00+00:00"
    assert (row["rpm_limit"], row["metadata"], row["key_alias"]) == (3, {"a": 1}, "tiny")
    assert office.in_force[digest(made["key"])].max_budget_nano == 10 * 10**9
    gone = {
        "max_budget": None,
        "duration": None,
        "rpm_limit": None,
        "models": [],
        "budget_duration": None,
        "metadata": {},
    }
    row = (await ask.post("/key/update", {"key": made["token"], **gone})).json()
    assert (row["max_budget"], row["expires"], row["rpm_limit"], row["models"]) == (None, None, None, [])
    assert (row["budget_duration"], row["budget_reset_at"], row["metadata"]) == (None, None, {})


async def test_a_key_is_found_by_its_alias_for_an_update(ask: Asking) -> None:
    await ask.made(key_alias="laptop")
    row = (await ask.post("/key/update", {"key_alias": "laptop", "rpm_limit": 5})).json()
    assert (row["rpm_limit"], row["key_alias"]) == (5, "laptop")
    assert (await ask.post("/key/update", {"key_alias": "nobody"})).status_code == 404
    assert (await ask.post("/key/update", {"key": "sk-nobody"})).status_code == 404
    await refused(ask, "/key/update", {"rpm_limit": 5})


async def test_setting_what_was_spent_waits_for_the_calls_before_and_tells_the_ledger(
    ask: Asking, office: FakeOffice
) -> None:
    made = await ask.made(spend=1)
    row = (await ask.post("/key/update", {"key": made["key"], "spend": 0})).json()
    assert row["spend"] == 0.0
    assert office.flushes == 1
    assert office.spends_set == [digest(made["key"])]


async def test_a_key_is_blocked_and_unblocked_at_once(ask: Asking, office: FakeOffice) -> None:
    made = await ask.made()
    row = (await ask.post("/key/block", {"key": made["key"]})).json()
    assert set(row) == BLOCKED
    assert row["blocked"] is True
    assert office.in_force[digest(made["key"])].blocked is True
    row = (await ask.post("/key/unblock", {"key": made["token"]})).json()
    assert set(row) == UNBLOCKED
    assert row["blocked"] is False
    assert office.in_force[digest(made["key"])].blocked is False
    assert (await ask.post("/key/block", {"key": "sk-nobody"})).status_code == 404


async def test_keys_are_deleted_by_themselves_their_hashes_and_their_aliases(ask: Asking, office: FakeOffice) -> None:
    a, b, c = await ask.made(), await ask.made(), await ask.made(key_alias="limited")
    answer = await ask.post("/key/delete", {"keys": [a["key"], b["token"], "sk-nope"]})
    assert answer.json() == {"deleted_keys": [a["key"], b["token"]]}
    assert (await ask.post("/key/delete", {"key_aliases": ["limited"]})).json() == {"deleted_keys": ["limited"]}
    assert office.in_force == {}
    error = await refused(ask, "/key/delete", {"keys": [c["key"]]}, status=404)
    assert "No keys found" in error["message"]
    assert (await ask.post("/key/delete", {})).status_code == 404


async def test_a_regenerated_key_keeps_its_name_and_limits_and_the_old_one_has_its_grace(
    ask: Asking, office: FakeOffice
) -> None:
    made = await ask.made(key_alias="laptop", max_budget=5, models=["gpt-4o"], spend=1)
    answer = await ask.post("/key/regenerate", {"key": made["key"], "grace_period": "24h", "max_budget": 6})
    new = answer.json()
    assert set(new) == MADE
    assert new["key"] != made["key"]
    assert (new["key_alias"], new["max_budget"], new["models"], new["spend"]) == ("laptop", 6.0, ["gpt-4o"], 1.0)
    assert digest(new["key"]) in office.in_force
    assert digest(made["key"]) not in office.in_force
    (was,) = await office.storage.keys.predecessors()
    assert (was.old, was.token) == (digest(made["key"]), digest(new["key"]))
    assert was.until_us == int(office.clock.timestamp() * 1e6) + 86_400_000_000
    again = (await ask.post(f"/key/{new['key']}/regenerate", {"new_key": "sk-chosen-0123456789"})).json()
    assert again["key"] == "sk-chosen-0123456789"
    assert (await ask.post(f"/key/{made['key']}/regenerate")).status_code == 404
    await refused(ask, "/key/regenerate", {"new_key": "sk-chosen-9876543210"})
    await refused(ask, "/key/regenerate", {"key": again["key"], "grace_period": "soon"})


async def test_the_list_of_keys_has_pages_filters_and_an_order(ask: Asking) -> None:
    made = [await ask.made(user_id=f"u{n % 2}", max_budget=n, key_alias=f"k{n:02}") for n in range(12)]
    answer = (await ask.get("/key/list")).json()
    assert (len(answer["keys"]), answer["total_count"], answer["current_page"], answer["total_pages"]) == (10, 12, 1, 2)
    assert set(answer["keys"]) < {one["token"] for one in made}
    answer = (await ask.get("/key/list", page=2, size=5, sort_by="max_budget", sort_order="asc")).json()
    assert answer["keys"] == [one["token"] for one in made[5:10]]
    answer = (await ask.get("/key/list", user_id="u1", return_full_object=True, size=100)).json()
    assert answer["total_count"] == 6
    full = answer["keys"][0]
    assert set(full) > BLOCKED
    assert full["user_id"] == "u1"
    assert full["team_models"] == []
    assert (await ask.get("/key/list", key_alias="k03")).json()["keys"] == [made[3]["token"]]
    assert (await ask.get("/key/list", key_hash=made[4]["token"])).json()["keys"] == [made[4]["token"]]
    assert (await ask.get("/key/list", sort_by="secret")).status_code == 400
    assert (await ask.get("/key/list", size=101)).status_code == 422


async def test_no_answer_but_the_first_holds_the_key(ask: Asking, office: FakeOffice) -> None:
    key = (await ask.made(key_alias="a"))["key"]
    token = sha256(key.encode()).hexdigest()
    answers = [
        await ask.get("/key/info", key=key),
        await ask.get("/key/list", return_full_object=True),
        await ask.post("/key/update", {"key": token, "rpm_limit": 1}),
        await ask.post("/key/block", {"key": token}),
        await ask.post("/key/unblock", {"key": token}),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert key not in answer.text


def test_amounts_leave_as_the_nearest_number() -> None:
    assert float(Decimal("0.0000975")) == 97_500 / 1_000_000_000
