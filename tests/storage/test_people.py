"""What every storage must do with teams, users and the others; run on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tollway.storage import LeaseWant, Storage, open_storage, sql_people
from tollway.storage.people import (
    TEAM_SCOPE,
    AuditEntry,
    AuditFilter,
    Credential,
    Customer,
    Entity,
    EntityExists,
    Limits,
    Member,
    Organization,
    SharedBudget,
    StoredModel,
    Tag,
    Team,
    User,
    Window,
    key_limits,
    member_id,
)

from .samples import a_call, a_key

LIMITS = Limits(
    max_budget_nano=2**62,
    soft_budget_nano=0,
    budget_duration="30d",
    rpm=1,
    tpm=2,
    parallel_max=3,
    windows=(Window(5, "1d"), Window(6, "7d")),
    model_budgets={"gpt-4o": Window(7, "1d")},
    model_rpm={"gpt-4o": 8},
    model_tpm={"ü": 9},
)
EVERYBODY: dict[str, Entity] = {
    "teams": Team(
        id="t1",
        created_us=1,
        alias="core",
        organization_id="o1",
        members=(Member(user_id="u1", role="admin", budget_id="b1"), Member(user_id="u2", user_email="u@x")),
        models=("gpt-4o",),
        aliases={"a": "b"},
        limits=LIMITS,
        metadata={"deep": [1, 2.5, None]},
        blocked=True,
    ),
    "users": User(id="u1", email="u@x", role="internal_user", limits=LIMITS, fields={"x": 1}),
    "organizations": Organization(id="o1", alias="acme", budget_id="b1", model_rpm={"m": 1}),
    "customers": Customer(id="c1", budget_id="b1", blocked=True),
    "budgets": SharedBudget(id="b1", limits=LIMITS, created_by="u1"),
    "tags": Tag(id="blue sky", description="d", models=("m",)),
    "models": StoredModel(id="m1", model_name="m", sealed=b"\x00\xff", info={"mode": "chat"}),
    "credentials": Credential(id="c", sealed=b"\x00", info={"custom_llm_provider": "openai"}),
}


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_an_entity_comes_back_as_it_was_given_and_no_id_is_given_twice(storage: Storage, kind: str) -> None:
    store, entity = getattr(storage.people, kind), EVERYBODY[kind]
    assert await store.get(entity.id) is None
    await store.create(entity)
    assert await store.get(entity.id) == entity
    assert await store.all() == [entity]
    assert getattr(await storage.people.load(), kind) == {entity.id: entity}
    with pytest.raises(EntityExists, match=entity.id):
        await store.create(entity)


async def test_ids_are_of_one_kind_alone(storage: Storage) -> None:
    await storage.people.teams.create(Team(id="x"))
    await storage.people.users.create(User(id="x"))
    assert await storage.people.teams.delete(["x", "y"]) == [Team(id="x")]
    assert await storage.people.users.get("x") == User(id="x")


async def test_a_change_sees_what_is_stored_and_gives_before_and_after(storage: Storage) -> None:
    await storage.people.teams.create(Team(id="t", alias="one"))
    changed = await storage.people.teams.change("t", lambda team: replace(team, alias=(team.alias or "") + "more"))
    assert changed == (Team(id="t", alias="one"), Team(id="t", alias="onemore"))
    assert await storage.people.teams.get("t") == Team(id="t", alias="onemore")
    assert await storage.people.teams.change("nobody", lambda team: team) is None


async def test_a_change_that_fails_changes_nothing(storage: Storage) -> None:
    await storage.people.teams.create(Team(id="t"))

    def fail(team: Team) -> Team:
        raise ValueError(team.id)

    with pytest.raises(ValueError, match="t"):
        await storage.people.teams.change("t", fail)
    assert await storage.people.teams.get("t") == Team(id="t")


async def test_whoever_keeps_keys_in_memory_is_told_of_every_change(storage: Storage) -> None:
    seen = await storage.key_changes()
    await storage.people.budgets.create(SharedBudget(id="b"))
    for changes in (
        storage.people.budgets.change("b", lambda budget: budget),
        storage.people.budgets.delete(["b"]),
        storage.people.set_spent(TEAM_SCOPE, "t", 1),
    ):
        now = await storage.key_changes()
        assert now > seen
        seen = now
        await changes  # type: ignore[misc]
    assert await storage.key_changes() > seen


async def test_the_oldest_come_first(storage: Storage) -> None:
    for at, name in ((3, "a"), (1, "b"), (1, "a2")):
        await storage.people.users.create(User(id=name, created_us=at))
    assert [user.id for user in await storage.people.users.all()] == ["a2", "b", "a"]
    assert list((await storage.people.load()).users) == ["a2", "b", "a"]


async def test_what_somebody_spent_goes_when_he_goes_and_begins_as_it_is_said(storage: Storage) -> None:
    await storage.people.teams.create(Team(id="t"))
    await storage.spend.ingest([a_call(1, (TEAM_SCOPE, "t", 0, 40), (TEAM_SCOPE, "other", 0, 40))])
    await storage.people.teams.delete(["t"])
    assert await storage.spend.spent(TEAM_SCOPE, "t") is None
    await storage.people.teams.create(Team(id="t"), spend_nano=7)
    await storage.spend.ingest([a_call(2, (TEAM_SCOPE, "t", 0, 1))])
    spent = await storage.spend.spent(TEAM_SCOPE, "t")
    assert spent is not None
    assert (spent.spend_nano, spent.total_nano) == (8, 8)
    other = await storage.spend.spent(TEAM_SCOPE, "other")
    assert other is not None
    assert other.spend_nano == 40


async def test_spend_can_be_said_and_forgotten_and_the_total_never_falls(storage: Storage) -> None:
    await storage.spend.ingest([a_call(1, (TEAM_SCOPE, "t", 5, 40))])
    await storage.people.set_spent(TEAM_SCOPE, "t", 3)
    spent = await storage.spend.spent(TEAM_SCOPE, "t")
    assert spent is not None
    assert (spent.spend_nano, spent.total_nano, spent.period_start_us) == (3, 40, 5)
    await storage.people.forget_spent([(TEAM_SCOPE, "t")])
    assert await storage.spend.spent(TEAM_SCOPE, "t") is None


async def test_a_team_that_is_made_anew_owes_no_leases_of_the_one_before(storage: Storage) -> None:
    want = LeaseWant(
        scope=TEAM_SCOPE, id="t", period_start_us=0, limit_nano=100, granted_nano=0, least_nano=100, more_nano=100
    )
    (first,) = await storage.leases.lease(1, [want], workers=1)
    assert first.granted_nano == 100
    await storage.people.teams.create(Team(id="t"))
    (second,) = await storage.leases.lease(2, [want], workers=1)
    assert second.granted_nano == 100


def an_entry(at_us: int, **fields: str) -> AuditEntry:
    values = {"actor": "u1", "actor_key": "k", "action": "updated", "table": "teams", "object_id": "t", **fields}
    return AuditEntry(at_us=at_us, before={"a": [1]}, after=None, **values)


async def test_the_audit_log_keeps_what_it_was_told_the_newest_first(storage: Storage) -> None:
    await storage.people.note([an_entry(1), an_entry(2, actor="u2"), an_entry(3, object_id="x")])
    found, total = await storage.people.audit(AuditFilter(), limit=2)
    assert total == 3
    assert [one.at_us for one in found] == [3, 2]
    assert found[1] == replace(an_entry(2, actor="u2"), id=found[1].id)
    assert await storage.people.audit_entry(found[1].id) == found[1]
    assert await storage.people.audit_entry(99) is None
    (third,), _ = await storage.people.audit(AuditFilter(), limit=2, offset=2)
    assert third.at_us == 1


async def test_the_audit_log_forgets_what_is_old_and_what_is_too_much(storage: Storage) -> None:
    def change(at_us: int) -> AuditEntry:
        return AuditEntry(at_us=at_us, actor="", actor_key="", action="updated", table="t", object_id=str(at_us))

    assert await storage.people.forget_audit(10, kept=3, rows_max=100) == 0
    await storage.people.note([change(at_us) for at_us in (1, 2, 3, 11, 12, 13, 14, 15)])
    assert await storage.people.forget_audit(10, kept=3, rows_max=2) == 2
    assert await storage.people.forget_audit(10, kept=3, rows_max=100) == 3
    left, total = await storage.people.audit(AuditFilter(), limit=10)
    assert [one.at_us for one in left] == [15, 14, 13]
    await storage.people.note([change(16)])
    (newest,), total = await storage.people.audit(AuditFilter(), limit=1)
    assert (newest.at_us, total) == (16, 4)
    assert await storage.people.audit_entry(newest.id) == newest


@pytest.mark.parametrize(
    ("which", "times"),
    [
        (AuditFilter(actor="u2"), [2]),
        (AuditFilter(object_id="x", table="teams"), [3]),
        (AuditFilter(table="users"), []),
        (AuditFilter(action="updated", from_us=2, until_us=3), [2]),
        (AuditFilter(actor_key="k", until_us=3), [2, 1]),
    ],
)
async def test_the_audit_log_is_asked_by_who_what_and_when(
    storage: Storage, which: AuditFilter, times: list[int]
) -> None:
    await storage.people.note([an_entry(1), an_entry(2, actor="u2"), an_entry(3, object_id="x")])
    found, total = await storage.people.audit(which, limit=10)
    assert ([one.at_us for one in found], total) == (times, len(times))


def test_a_shared_budget_fills_what_ones_own_limits_leave_open() -> None:
    own = Limits(max_budget_nano=1, rpm=2)
    assert own.over(None) == own
    both = own.over(LIMITS)
    assert (both.max_budget_nano, both.budget_duration, both.rpm, both.tpm) == (1, None, 2, 2)
    assert both.windows == LIMITS.windows
    assert Limits().over(LIMITS) == LIMITS


def test_a_keys_limits_are_those_of_its_columns_and_fields() -> None:
    fields = {
        "windows": [[5, "1d"], [6, "7d"]],
        "model_budgets": {"gpt-4o": [7, "1d"]},
        "model_rpm_limit": {"gpt-4o": 8},
        "model_tpm_limit": {"ü": 9},
    }
    record = a_key(
        "a",
        max_budget_nano=2**62,
        soft_budget_nano=0,
        budget_duration="30d",
        rpm_limit=1,
        tpm_limit=2,
        parallel_max=3,
        fields=fields,
    )
    assert key_limits(record) == LIMITS
    assert key_limits(a_key("b")) == Limits()


def test_no_two_members_are_called_alike() -> None:
    assert member_id("a:b", "c") != member_id("a", "b:c")


@pytest.fixture(params=["sqlite", "postgres"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Storage, Storage]]:
    """Two programs on the same storage."""
    where = tmp_path / "tollway.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    ours, theirs = await open_storage(where), await open_storage(where)
    yield ours, theirs
    await ours.close()
    await theirs.close()


async def test_everybody_is_read_once_as_long_as_nobody_changes_anything(two: tuple[Storage, Storage]) -> None:
    ours, _ = two
    await ours.people.teams.create(Team(id="t1"))
    known = await ours.people.load()
    await ours.spend.ingest([a_call(1)])
    assert await ours.people.load() is known
    both = await asyncio.gather(ours.people.load(), ours.people.load())
    assert both == [known, known]


async def test_a_change_is_seen_at_the_next_question_whoever_made_it(two: tuple[Storage, Storage]) -> None:
    ours, theirs = two
    assert (await ours.people.load()).teams == (await theirs.people.load()).teams == {}
    await theirs.people.teams.create(Team(id="t1", alias="first"))
    for storage in two:
        assert (await storage.people.load()).teams["t1"].alias == "first"
    await ours.people.teams.change("t1", lambda team: replace(team, alias="second"))
    for storage in two:
        assert (await storage.people.load()).teams["t1"].alias == "second"
    await theirs.people.teams.delete(["t1"])
    for storage in two:
        assert (await storage.people.load()).teams == {}


async def test_what_nobody_asks_for_any_more_is_let_go(
    two: tuple[Storage, Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_people, "PEOPLE_S_MAX", 0.0)
    ours, _ = two
    known = await ours.people.load()
    while await ours.people.load() is known:
        await asyncio.sleep(0)
