"""Who may spend what: every budget and every pace that applies to a call, asked through the whole gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from tollway import callers
from tollway.app import WorkerPlace, create_app
from tollway.config.settings import BoundSettings, Config, MoneySettings, ProviderBudget
from tollway.ledger.budgets import Account
from tollway.ledger.pace import Pace
from tollway.ledger.raises import Raises
from tollway.storage import GLOBAL_SCOPE, KEY_SCOPE, KeyRecord, Spent, Storage
from tollway.storage.people import (
    CUSTOMER_SCOPE,
    DEPLOYMENT_SCOPE,
    KEY_ACCOUNT_FIELD,
    MEMBER_SCOPE,
    ORGANIZATION_SCOPE,
    PROVIDER_SCOPE,
    TAG_SCOPE,
    TEAM_SCOPE,
    USER_SCOPE,
    Customer,
    Limits,
    Member,
    Organization,
    People,
    SharedBudget,
    Tag,
    Team,
    User,
    member_id,
)
from tollway.testing.clock import FakeClock
from tollway.testing.gateway import MASTER_KEY, MODEL, SmallGateway, chat_reply, model_entry
from tollway.testing.storage import MemoryStorage
from tollway.testing.upstream import FakeUpstream

#: What an answer of 250 tokens costs.
CALL = 1_000_000
KEY = "sk-a-key-of-the-small-gateway"


async def everybody(storage: Storage, limits: Mapping[str, Limits]) -> None:
    """A team with a member in an organisation, an end user and a tag; each held to its scope's limits, if there are any."""
    people = storage.people
    for scope, of_scope in limits.items():
        await people.budgets.create(SharedBudget(id=scope, limits=of_scope))
    await people.organizations.create(Organization(id="o", budget_id=ORGANIZATION_SCOPE))
    member = Member(user_id="u", budget_id=MEMBER_SCOPE)
    none = Limits()
    await people.teams.create(Team(id="t", organization_id="o", members=(member,), limits=limits.get(TEAM_SCOPE, none)))
    await people.users.create(User(id="u", limits=limits.get(USER_SCOPE, none)))
    await people.customers.create(Customer(id="c", budget_id=CUSTOMER_SCOPE))
    await people.tags.create(Tag(id="g", budget_id=TAG_SCOPE))


def account(gateway: SmallGateway, scope: str, name: str) -> Account:
    return gateway.app.ledger.accounts[scope, name]


IDS = {
    TEAM_SCOPE: "t",
    MEMBER_SCOPE: member_id("t", "u"),
    USER_SCOPE: "u",
    ORGANIZATION_SCOPE: "o",
    CUSTOMER_SCOPE: "c",
    TAG_SCOPE: "g",
}
#: In words, as the refusal names them.
NAMES = {
    TEAM_SCOPE: "Team=t ",
    MEMBER_SCOPE: "User=u in Team=t ",
    USER_SCOPE: "User=u ",
    ORGANIZATION_SCOPE: "Organization=o ",
    CUSTOMER_SCOPE: "End User=c ",
    TAG_SCOPE: "Tag=g ",
}


@pytest.mark.parametrize("scope", NAMES)
async def test_each_budget_that_applies_is_charged_and_refuses_by_itself(tmp_path: Path, scope: str) -> None:
    storage = MemoryStorage()
    await everybody(storage, {scope: Limits(max_budget_nano=CALL)})
    team = None if scope == USER_SCOPE else "t"
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key(team_id=team, user_id="u", organization_id="o")
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, max_tokens=250, user="c", tags=["g"])).status == 200
        spent = account(gateway, scope, IDS[scope])
        assert (spent.spent, spent.held, spent.limit) == (CALL, 0, CALL)
        refused = await gateway.ask(key=key, max_tokens=250, user="c", tags=["g"])
        error = refused.json()["error"]
        assert (refused.status, error["type"]) == (422, "budget_exceeded")
        assert NAMES[scope] in error["message"]
        (record, _) = await gateway.records()
        assert (scope, IDS[scope], 0, CALL) in record.charges
        stored = await storage.spend.spent(scope, IDS[scope])
        assert stored is not None
        assert stored.spend_nano == CALL


async def test_a_call_that_names_nobody_counts_against_its_key_alone(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await everybody(storage, {CUSTOMER_SCOPE: Limits(max_budget_nano=0), TAG_SCOPE: Limits(max_budget_nano=0)})
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key()
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, user="somebody", tags=["other"])).status == 200
        assert [charge[0] for charge in (await gateway.records())[0].charges] == [KEY_SCOPE, GLOBAL_SCOPE]


async def test_a_key_in_a_team_spends_the_teams_budget_and_not_its_users_own(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await everybody(storage, {USER_SCOPE: Limits(max_budget_nano=0)})
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key(team_id="t", user_id="u")
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key)).status == 200
        await gateway.app.reload(replace(gateway.app.config, money=MoneySettings(user_budget_on_team_keys=True)))
        assert (await gateway.ask(key=key)).status == 422


async def test_the_keys_of_a_user_who_is_blocked_are_refused_in_teams_too(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await everybody(storage, {})
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        keys = [await gateway.make_key(user_id="u"), await gateway.make_key("sk-of-the-team", team_id="t", user_id="u")]
        gateway.upstream.reply_to(None, chat_reply())
        for blocked, status in ((True, 401), (False, 200)):
            body = json.encode({"user_id": "u", "blocked": blocked})
            told = {"content-type": "application/json"}
            assert (await gateway.ask(path="/user/update", headers=told, body=body)).status == 200
            assert [(await gateway.ask(key=key)).status for key in keys] == [status, status]


async def test_an_end_users_budget_holds_for_the_master_key_too(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await everybody(storage, {CUSTOMER_SCOPE: Limits(max_budget_nano=0)})
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        assert (await gateway.ask(key=MASTER_KEY, user="c")).status == 422


async def test_end_users_whom_nobody_registered_may_be_given_a_budget(tmp_path: Path) -> None:
    config = Config(money=MoneySettings(customer_budget_usd="0.001"))
    storage = MemoryStorage()
    async with SmallGateway(tmp_path, config=config, storage=storage) as gateway:
        key = await gateway.make_key()
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, max_tokens=250, user="one")).status == 200
        assert (await gateway.ask(key=key, max_tokens=250, user="one")).status == 422
        assert (await gateway.ask(key=key, max_tokens=250, user="two")).status == 200
        await gateway.app.keys_changed()
        assert (await gateway.ask(key=key, max_tokens=250, user="one")).status == 422
    async with SmallGateway(tmp_path, config=config, storage=_reopened(storage)) as gateway:
        assert (await gateway.ask(key=KEY, max_tokens=250, user="two")).status == 422


async def test_only_so_many_unknown_end_users_are_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "UNKNOWN_CUSTOMERS_MAX", 2)
    async with SmallGateway(tmp_path, config=Config(money=MoneySettings(customer_budget_usd="1"))) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        for name in ("a", "b", "a", "c"):
            assert (await gateway.ask(user=name)).status == 200
        assert {name for scope, name in gateway.app.ledger.accounts if scope == CUSTOMER_SCOPE} == {"a", "c"}


async def test_a_key_may_have_several_budgets_each_with_its_own_period(gateway: SmallGateway) -> None:
    fields = {"windows": [[CALL, "1h"], [2 * CALL, "1d"]], KEY_ACCOUNT_FIELD: "k"}
    key = await gateway.make_key(fields=fields)
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key, max_tokens=250)).status == 200
    refused = await gateway.ask(key=key, max_tokens=250)
    assert "(1h)" in refused.json()["error"]["message"]
    gateway.clock.advance(3600)
    assert (await gateway.ask(key=key, max_tokens=250)).status == 200
    gateway.clock.advance(3600)
    assert "(1d)" in (await gateway.ask(key=key, max_tokens=250)).json()["error"]["message"]
    gateway.clock.advance(86_400)
    assert (await gateway.ask(key=key, max_tokens=250)).status == 200
    assert gateway.account(key).spent == 3 * CALL


async def test_a_keys_further_budgets_stay_when_it_gets_another_text(gateway: SmallGateway) -> None:
    key = await gateway.make_key(fields={"windows": [[CALL, "1d"]], KEY_ACCOUNT_FIELD: "k"})
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key, max_tokens=250)).status == 200
    old = gateway.app.snapshots.current.keys
    (token,) = old
    await gateway.storage.keys.regenerate(token, b"n" * 32, key_name="new", grace_until_us=2**60, changes={}, now_us=1)
    await gateway.app.keys_changed()
    assert (await gateway.ask(key=key, max_tokens=250)).status == 422


async def test_a_budget_for_one_model_holds_for_it_alone(tmp_path: Path) -> None:
    models = [model_entry(), model_entry("other", host="other.example")]
    async with SmallGateway(tmp_path, models) as gateway:
        key = await gateway.make_key(fields={"model_budgets": {MODEL: [CALL, "1d"]}})
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200
        refused = await gateway.ask(key=key, max_tokens=250)
        assert f"Model={MODEL}" in refused.json()["error"]["message"]
        assert (await gateway.ask(key=key, max_tokens=250, model="other")).status == 200


async def test_a_shared_budget_is_spent_by_each_who_names_it_for_himself(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path) as gateway:
        await gateway.storage.people.budgets.create(SharedBudget(id="b", limits=Limits(max_budget_nano=CALL)))
        one = await gateway.make_key("sk-one-of-two", fields={"budget_id": "b"})
        two = await gateway.make_key("sk-two-of-two", fields={"budget_id": "b"})
        gateway.upstream.reply_to(None, chat_reply())
        assert [(await gateway.ask(key=key, max_tokens=250)).status for key in (one, two, one)] == [200, 200, 422]


# --- deployments and providers


async def test_a_deployment_without_room_in_its_budget_is_passed_by(tmp_path: Path) -> None:
    cheap = model_entry(host="one.example", max_budget_usd="0.001", weight=1e9)
    async with SmallGateway(tmp_path, [cheap, model_entry(host="two.example", weight=1e-9)]) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        for _ in range(3):
            assert (await gateway.ask(max_tokens=250)).status == 200
        hosts = [request.origin.host for request in gateway.upstream.requests]
        assert hosts == ["one.example", "two.example", "two.example"]
        records = await gateway.records()
        of_deployment = [[c for c in record.charges if c[0] == DEPLOYMENT_SCOPE] for record in records]
        assert [len(charges) for charges in of_deployment] == [1, 0, 0]
        assert of_deployment[0][0][3] == CALL


async def test_a_provider_without_room_in_its_budget_is_429(tmp_path: Path) -> None:
    money = MoneySettings(provider_budgets={"openai": ProviderBudget("0.001", "1d")})
    async with SmallGateway(tmp_path, config=Config(money=money)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(max_tokens=250)).status == 200
        refused = await gateway.ask(max_tokens=250, num_retries=0)
        assert refused.status == 429
        assert "Provider=openai" in refused.json()["error"]["message"]
        spent = account(gateway, PROVIDER_SCOPE, "openai")
        assert (spent.spent, spent.held) == (CALL, 0)
        gateway.clock.advance(86_400)
        assert (await gateway.ask(max_tokens=250)).status == 200


async def test_a_failed_try_gives_back_what_it_held_at_its_deployment(tmp_path: Path) -> None:
    entry = model_entry(max_budget_usd="1")
    async with SmallGateway(tmp_path, [entry]) as gateway:
        gateway.upstream.reply_to(None, chat_reply(status=500))
        assert (await gateway.ask(num_retries=0)).status >= 500
        (deployment,) = gateway.app.snapshots.current.models[MODEL].deployments
        assert [(one.spent, one.held) for one in deployment.accounts] == [(0, 0)]


# --- periods


async def test_periods_follow_the_calendar_and_outlive_the_process(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await storage.people.teams.create(Team(id="t", limits=Limits(max_budget_nano=CALL, budget_duration="1d")))
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key(team_id="t")
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200
        ends_at = account(gateway, TEAM_SCOPE, "t").resets_at
        assert ends_at % 86_400 == 0
        stored = await storage.spend.spent(TEAM_SCOPE, "t")
        assert stored is not None
        assert stored.reset_us == ends_at * 1e6
        clock = gateway.clock
    async with SmallGateway(tmp_path, storage=_reopened(storage), clock=clock) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, max_tokens=250)).status == 422
        clock.advance(ends_at - clock.now())
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200


async def test_a_period_that_is_made_shorter_or_taken_away_is_so_at_once(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await storage.people.teams.create(Team(id="t", limits=Limits(max_budget_nano=CALL, budget_duration="30d")))

    async def change(duration: str | None) -> Account:
        limits = Limits(max_budget_nano=CALL, budget_duration=duration)
        await storage.people.teams.change("t", lambda team: replace(team, limits=limits))
        await gateway.app.keys_changed()
        return account(gateway, TEAM_SCOPE, "t")

    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key(team_id="t")
        month = account(gateway, TEAM_SCOPE, "t").resets_at
        day = (await change("1d")).resets_at
        assert gateway.clock.now() < day <= gateway.clock.now() + 86_400 <= month
        assert (await change(None)).next_reset is None
        stored = await storage.spend.spent(TEAM_SCOPE, "t")
        assert stored is not None
        assert stored.reset_us is None
        gateway.clock.advance(40 * 86_400)
        gateway.upstream.reply_to(None, chat_reply(output_tokens=100))
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200
        assert (await change("1d")).spent == CALL * 100 // 250


async def test_a_clock_that_is_set_back_begins_no_period_a_second_time(tmp_path: Path) -> None:
    class SetBack(FakeClock):
        by_s = 0.0

        def now(self) -> float:
            return super().now() - self.by_s

    clock = SetBack()
    storage = MemoryStorage()
    await storage.people.teams.create(Team(id="t", limits=Limits(max_budget_nano=CALL, budget_duration="1d")))
    async with SmallGateway(tmp_path, storage=storage, clock=clock) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        key = await gateway.make_key(team_id="t")
        midnight = account(gateway, TEAM_SCOPE, "t").resets_at
        clock.advance(midnight + 0.5 - clock.now())
        assert (await gateway.ask(key=key, max_tokens=250)).status == 200
        clock.by_s = 1.0
        await gateway.app.keys_changed()
        assert account(gateway, TEAM_SCOPE, "t").resets_at == midnight + 86_400
        clock.advance(1.0)
        assert (await gateway.ask(key=key, max_tokens=250)).status == 422
        assert account(gateway, TEAM_SCOPE, "t").spent == CALL


# --- who is let in


async def test_a_blocked_team_closes_its_keys_at_once(gateway: SmallGateway) -> None:
    await gateway.storage.people.teams.create(Team(id="t"))
    key = await gateway.make_key(team_id="t")
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key)).status == 200
    await gateway.storage.people.teams.change("t", lambda team: replace(team, blocked=True))
    await gateway.app.keys_changed()
    answer = await gateway.ask(key=key)
    assert answer.status == 401
    assert "Team=t is blocked" in answer.json()["error"]["message"]


async def test_a_blocked_end_user_is_refused_and_others_are_not(gateway: SmallGateway) -> None:
    await gateway.storage.people.customers.create(Customer(id="c", blocked=True))
    await gateway.app.keys_changed()
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(user="c")).status == 401
    assert (await gateway.ask(user="d")).status == 200


ALL: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("key_models", "team_models", "org_models", "allowed", "refused_by"),
    [
        (ALL, ALL, ALL, {"small", "other"}, ""),
        (("small",), ALL, ALL, {"small"}, "key"),
        (ALL, ("small",), ALL, {"small"}, "team"),
        (("all-team-models",), ("small",), ALL, {"small"}, "team"),
        (("small", "other"), ("small",), ALL, {"small"}, "team"),
        (ALL, ("all-proxy-models",), ("small",), {"small"}, "org"),
        (("no-default-models",), ALL, ALL, set(), "key"),
        (("s*",), ("other", "small"), ALL, {"small"}, "key"),
    ],
)
async def test_a_call_may_use_what_its_key_its_team_and_its_organisation_all_allow(
    tmp_path: Path,
    key_models: tuple[str, ...],
    team_models: tuple[str, ...],
    org_models: tuple[str, ...],
    allowed: set[str],
    refused_by: str,
) -> None:
    async with SmallGateway(tmp_path, [model_entry(), model_entry("other")]) as gateway:
        await gateway.storage.people.organizations.create(Organization(id="o", models=org_models))
        await gateway.storage.people.teams.create(Team(id="t", organization_id="o", models=team_models))
        key = await gateway.make_key(team_id="t", fields={"models": list(key_models)})
        gateway.upstream.reply_to(None, chat_reply())
        for model in ("small", "other"):
            answer = await gateway.ask(key=key, model=model)
            assert answer.status == (200 if model in allowed else 403)
            if model not in allowed:
                assert answer.json()["error"]["type"] == f"{refused_by}_model_access_denied"
        listed = await gateway.ask(key=key, path="/v1/models", method="GET", body=b"")
        assert {row["id"] for row in listed.json()["data"]} == allowed


async def test_a_users_models_bind_his_own_keys_and_an_end_users_models_bind_him(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [model_entry(), model_entry("other")]) as gateway:
        await gateway.storage.people.users.create(User(id="u", models=("other",)))
        await gateway.storage.people.customers.create(Customer(id="c", models=("other",)))
        key = await gateway.make_key(user_id="u")
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key)).json()["error"]["type"] == "user_model_access_denied"
        assert (await gateway.ask(user="c")).json()["error"]["type"] == "customer_model_access_denied"
        assert (await gateway.ask(key=key, model="other", user="c")).status == 200


async def test_a_team_has_names_of_its_own_for_models(gateway: SmallGateway) -> None:
    await gateway.storage.people.teams.create(Team(id="t", aliases={"ours": MODEL, "mine": "nothing"}))
    key = await gateway.make_key(team_id="t", fields={"aliases": {"mine": MODEL}})
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key, model="ours")).status == 200
    assert (await gateway.ask(key=key, model="mine")).status == 200


async def test_a_key_in_a_team_is_counted_with_its_teams_organisation(gateway: SmallGateway) -> None:
    await gateway.storage.people.organizations.create(Organization(id="o"))
    await gateway.storage.people.teams.create(Team(id="t", organization_id="o"))
    key = await gateway.make_key(team_id="t")
    gateway.upstream.reply_to(None, chat_reply())
    await gateway.ask(key=key)
    assert (await gateway.records())[0].organization_id == "o"


# --- paces

PACED = {
    "api_key": {},
    "team": {TEAM_SCOPE: Limits(rpm=1)},
    "user": {USER_SCOPE: Limits(rpm=1)},
    "team_member": {MEMBER_SCOPE: Limits(rpm=1)},
    "organization": {ORGANIZATION_SCOPE: Limits(rpm=1)},
    "end_user": {CUSTOMER_SCOPE: Limits(rpm=1)},
    "tag": {TAG_SCOPE: Limits(rpm=1)},
    "model_per_key": {},
    "model_per_team": {TEAM_SCOPE: Limits(model_rpm={MODEL: 1})},
    "model_per_organization": {ORGANIZATION_SCOPE: Limits(model_rpm={MODEL: 1})},
}


@pytest.mark.parametrize("scope", PACED)
async def test_each_pace_that_applies_refuses_in_litellms_words(tmp_path: Path, scope: str) -> None:
    storage = MemoryStorage()
    await everybody(storage, PACED[scope])
    async with SmallGateway(tmp_path, [model_entry(), model_entry("other")], storage=storage) as gateway:
        more: dict[str, Any] = {"rpm_limit": 1} if scope == "api_key" else {}
        if scope == "model_per_key":
            more = {"fields": {"model_rpm_limit": {MODEL: 1}}}
        key = await gateway.make_key(team_id="t", user_id="u", **more)
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key, user="c", tags=["g"])).status == 200
        refused = await gateway.ask(key=key, user="c", tags=["g"])
        assert refused.status == 429
        assert f"Rate limit exceeded for {scope}: " in refused.json()["error"]["message"]
        assert "Limit type: requests. Current limit: 1, Remaining: 0." in refused.json()["error"]["message"]
        assert refused.headers[f"x-ratelimit-{scope}-limit-requests"] == "1"
        assert refused.headers[f"x-ratelimit-{scope}-remaining-requests"] == "0"
        assert refused.headers["rate_limit_type"] == "requests"
        if scope.startswith("model_per_"):
            assert (await gateway.ask(key=key, model="other", user="c", tags=["g"])).status == 200


async def test_a_call_that_one_pace_refuses_takes_no_place_in_another(tmp_path: Path) -> None:
    storage = MemoryStorage()
    await everybody(storage, {TEAM_SCOPE: Limits(rpm=1, parallel_max=9)})
    async with SmallGateway(tmp_path, storage=storage) as gateway:
        key = await gateway.make_key(team_id="t", rpm_limit=9, tpm_limit=10_000, parallel_max=1)
        gateway.upstream.reply_to(None, chat_reply())
        assert [(await gateway.ask(key=key)).status for _ in range(4)] == [200, 429, 429, 429]
        pace = gateway.pace(key)
        assert pace.parallel == 0
        assert pace.tokens.remaining(gateway.clock.monotonic()) == 10_000 - 260


@pytest.mark.parametrize(("counted", "left"), [("total", 1000 - 260), ("input", 1000 - 10), ("output", 1000 - 250)])
async def test_tokens_are_counted_as_the_configuration_says(tmp_path: Path, counted: str, left: int) -> None:
    config = Config(bounds=BoundSettings(paced_tokens=counted))
    async with SmallGateway(tmp_path, config=config) as gateway:
        key = await gateway.make_key(tpm_limit=1000)
        gateway.upstream.reply_to(None, chat_reply())
        assert (await gateway.ask(key=key)).status == 200
        assert gateway.pace(key).tokens.remaining(gateway.clock.monotonic()) == left


async def test_what_was_used_of_a_pace_outlives_a_change_and_goes_with_its_owner(gateway: SmallGateway) -> None:
    await gateway.storage.people.teams.create(Team(id="t", limits=Limits(rpm=2)))
    key = await gateway.make_key(team_id="t")
    gateway.upstream.reply_to(None, chat_reply())
    assert (await gateway.ask(key=key)).status == 200
    await gateway.storage.people.teams.change("t", lambda team: replace(team, limits=Limits(rpm=1)))
    await gateway.app.keys_changed()
    assert (await gateway.ask(key=key)).status == 429
    await gateway.storage.people.teams.delete(["t"])
    await gateway.app.keys_changed()
    assert (await gateway.ask(key=key)).status == 200
    assert (TEAM_SCOPE, "t") not in gateway.app.ledger.accounts


# --- the invariant


SCOPES = (TEAM_SCOPE, MEMBER_SCOPE, ORGANIZATION_SCOPE, CUSTOMER_SCOPE, TAG_SCOPE)
limit = st.none() | st.integers(0, 4 * CALL)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.fixed_dictionaries(dict.fromkeys(SCOPES, limit)),
    own=limit,
    window=limit,
    of_model=limit,
    calls=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 600)), min_size=1, max_size=8),
)
async def test_no_budget_is_ever_overdrawn_whatever_scopes_have_one(
    tmp_path_factory: pytest.TempPathFactory,
    limits: dict[str, int | None],
    own: int | None,
    window: int | None,
    of_model: int | None,
    calls: list[tuple[bool, bool, int]],
) -> None:
    storage = MemoryStorage()
    await everybody(storage, {scope: Limits(max_budget_nano=nano) for scope, nano in limits.items()})
    async with SmallGateway(tmp_path_factory.mktemp("g"), storage=storage) as gateway:
        fields: dict[str, Any] = {}
        if window is not None:
            fields["windows"] = [[window, "1d"]]
        if of_model is not None:
            fields["model_budgets"] = {MODEL: [of_model, None]}
        key = await gateway.make_key(team_id="t", user_id="u", max_budget_nano=own, fields=fields)
        gateway.upstream.reply_to(None, chat_reply(output_tokens=1))

        def holds(_: object) -> None:
            for one in gateway.app.ledger.accounts.values():
                assert one.held >= 0
                assert one.limit is None or one.spent + one.held <= one.limit, one.label

        running = [
            gateway.begin(
                key=key,
                max_tokens=tokens,
                on_message=holds,
                **({"user": "c"} if with_customer else {}),
                **({"tags": ["g"]} if with_tag else {}),
            )
            for with_customer, with_tag, tokens in calls
        ]
        answers = await asyncio.gather(*(one.done() for one in running))
        assert {answer.status for answer in answers} <= {200, 422}
        holds(None)
        await gateway.app.ledger.flush()
        for name, one in gateway.app.ledger.accounts.items():
            assert one.held == 0, name
            if one.scope != KEY_SCOPE:
                stored = await storage.spend.spent(*name)
                assert (stored.spend_nano if stored is not None else 0) == one.spent


def test_an_account_that_nobody_names_any_more_stays_until_the_storage_knows_all_of_it() -> None:
    """A token's user has no key that names him: he is found again by the account that his calls in flight are held in."""
    accounts: dict[tuple[str, str], Account] = {}

    def known(spend: int) -> callers.Callers:
        spent = {(USER_SCOPE, "u"): Spent(USER_SCOPE, "u", spend, spend)}
        people = People(users={"u": User(id="u", limits=Limits(max_budget_nano=10))})
        return callers.Callers(
            Config(),
            people,
            spent,
            accounts=accounts,
            paces={},
            raises=Raises(wall=lambda: 0.0),
            new_pace=lambda *_: Pace(),
            wall=lambda: 0.0,
        )

    record = KeyRecord(token=b"t" * 32, key_name="token", user_id="u")
    first = known(0)
    key = first.unkept_key(record)
    assert (KEY_SCOPE, record.token.hex()) not in accounts  # nobody would ever let go of it
    assert key.spend_account not in key.accounts
    first.end()
    account = accounts[USER_SCOPE, "u"]
    account.held = 4
    known(0).end()
    assert accounts[USER_SCOPE, "u"] is account
    account.held, account.spent, account.total = 0, 4, 4
    known(0).end()  # what it was charged is in the journal
    assert accounts[USER_SCOPE, "u"] is account
    known(4).end()
    assert (USER_SCOPE, "u") not in accounts


@pytest.mark.parametrize("scope", [TEAM_SCOPE, MEMBER_SCOPE, ORGANIZATION_SCOPE, CUSTOMER_SCOPE, TAG_SCOPE])
async def test_workers_share_every_budget_by_leases(tmp_path: Path, scope: str) -> None:
    storage = MemoryStorage()
    await everybody(storage, {scope: Limits(max_budget_nano=4 * CALL)})
    upstream = FakeUpstream(FakeClock())
    upstream.reply_to(None, chat_reply())
    workers = []
    for index in range(2):
        gateway = SmallGateway(tmp_path, storage=storage, upstream=upstream)
        gateway.app = create_app(
            gateway.config, worker=WorkerPlace(index, 2), upstream=upstream, storage=storage, wall=gateway.clock.now
        )
        await gateway.app.open()
        workers.append(gateway)
    try:
        key = await workers[0].make_key(team_id="t", user_id="u")
        await workers[1].app.keys_changed()
        asked = [worker.ask(key=key, max_tokens=250, user="c", tags=["g"]) for worker in workers for _ in range(4)]
        statuses = sorted([answer.status for answer in await asyncio.gather(*asked)])
        assert statuses.count(200) == 4
        assert set(statuses[4:]) <= {422, 429}
        for worker in workers:
            await worker.app.ledger.flush()
        spent = await storage.spend.spent(scope, IDS[scope])
        assert spent is not None
        assert spent.spend_nano == 4 * CALL
    finally:
        for worker in workers:
            await worker.app.close()
            storage.recover()


def _reopened(storage: MemoryStorage) -> MemoryStorage:
    """The same, after whoever had it closed it."""
    storage.recover()
    return storage
