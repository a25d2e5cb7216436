"""What every storage must do; run on each of them."""

from __future__ import annotations

import asyncio
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from tollway.calls import Usage
from tollway.errors import StorageError
from tollway.storage import (
    AliasTaken,
    Holder,
    KeyExists,
    KeyFilter,
    LeaseWant,
    Predecessor,
    SpendFilter,
    SpendGroup,
    Storage,
    open_storage,
)
from tollway.storage.rollups import OF_ALL, place_digest, quantile_ms, shown_name
from tollway.testing.postgres import PostgresServer
from tollway.testing.storage import MemoryStorage

from .samples import a_call, a_key, token

DAY_US = 86_400_000_000


# Keys


async def test_a_key_comes_back_as_it_was_given(storage: Storage) -> None:
    record = a_key(
        "a",
        key_alias="laptop",
        user_id="u1",
        team_id="t1",
        organization_id="o1",
        blocked=False,
        expires_us=5,
        max_budget_nano=2**62,
        soft_budget_nano=0,
        budget_duration="30d",
        budget_reset_us=9,
        rpm_limit=3,
        tpm_limit=4,
        parallel_max=1,
        fields={"models": ["gpt-4o"], "metadata": {"note": "ü", "deep": [1, 2.5, None]}, "aliases": {"a": "b"}},
    )
    await storage.keys.create(record)
    assert await storage.keys.get(record.token) == record
    assert await storage.keys.get_by_alias("laptop") == record
    assert await storage.keys.load_all() == [record]
    assert record.models == ["gpt-4o"]
    assert record.aliases == {"a": "b"}


async def test_a_key_that_is_not_there_is_none(storage: Storage) -> None:
    assert await storage.keys.get(token("a")) is None
    assert await storage.keys.get_by_alias("a") is None
    assert await storage.keys.update(token("a"), {"blocked": True}, now_us=1) is None
    assert await storage.keys.delete([token("a")]) == []


async def test_tokens_and_aliases_are_unique_and_no_alias_is_no_name(storage: Storage) -> None:
    await storage.keys.create(a_key("a", key_alias="laptop"))
    await storage.keys.create(a_key("b"))
    await storage.keys.create(a_key("c"))
    with pytest.raises(KeyExists):
        await storage.keys.create(a_key("a"))
    with pytest.raises(AliasTaken, match="laptop"):
        await storage.keys.create(a_key("d", key_alias="laptop"))
    with pytest.raises(AliasTaken):
        await storage.keys.update(token("b"), {"key_alias": "laptop"}, now_us=2)
    assert await storage.keys.get(token("d")) is None
    kept = await storage.keys.update(token("a"), {"key_alias": "laptop", "rpm_limit": 1}, now_us=2)
    assert kept is not None
    assert kept.key_alias == "laptop"


async def test_an_update_changes_what_it_names_and_nothing_else(storage: Storage) -> None:
    await storage.keys.create(a_key("a", rpm_limit=3, fields={"models": ["x"], "metadata": {"a": 1}}))
    await storage.spend.ingest([a_call(1, ("key", token("a").hex(), 0, 70), key=token("a"))])
    changed = await storage.keys.update(
        token("a"), {"max_budget_nano": 5, "fields": {"models": ["y"], "aliases": {"p": "q"}}}, now_us=99
    )
    assert changed is not None
    assert changed == await storage.keys.get(token("a"))
    assert (changed.rpm_limit, changed.max_budget_nano, changed.spend_nano, changed.updated_us) == (3, 5, 70, 99)
    assert changed.fields == {"models": ["y"], "metadata": {"a": 1}, "aliases": {"p": "q"}}
    removed = await storage.keys.update(token("a"), {"max_budget_nano": None, "fields": {"aliases": None}}, now_us=100)
    assert removed is not None
    assert removed.max_budget_nano is None
    assert removed.fields == {"models": ["y"], "metadata": {"a": 1}}


@pytest.mark.parametrize("changes", [{"token": b"x"}, {"no_such_field": 1}])
async def test_an_update_of_something_else_is_a_defect_of_the_caller(storage: Storage, changes: dict[str, Any]) -> None:
    await storage.keys.create(a_key("a"))
    with pytest.raises(TypeError):
        await storage.keys.update(token("a"), changes, now_us=1)


async def test_deleting_names_the_keys_that_were_there(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    await storage.keys.create(a_key("b"))
    assert await storage.keys.delete([token("a"), token("nobody")]) == [token("a")]
    assert [record.token for record in await storage.keys.load_all()] == [token("b")]


async def test_pages_filter_sort_and_count(storage: Storage) -> None:
    for n in range(5):
        await storage.keys.create(
            a_key(str(n), created_us=n, user_id="u1" if n % 2 else "u2", max_budget_nano=10 - n if n < 3 else None)
        )

    async def names(which: KeyFilter | None = None, **query: Any) -> tuple[list[str], int]:
        records, total = await storage.keys.page(which or KeyFilter(), **{"limit": 10, **query})
        return [record.key_name[-1] for record in records], total

    assert await names() == (["4", "3", "2", "1", "0"], 5)
    assert await names(limit=2, offset=1) == (["3", "2"], 5)
    assert await names(KeyFilter(user_id="u1"), descending=False) == (["1", "3"], 2)
    assert await names(KeyFilter(token=token("3"))) == (["3"], 1)
    assert await names(KeyFilter(key_alias="nobody")) == ([], 0)
    by_budget, _ = await names(sort="max_budget_nano", descending=False)
    assert by_budget[:3] == ["2", "1", "0"]
    assert set(by_budget[3:]) == {"3", "4"}
    with pytest.raises(ValueError, match="sorted"):
        await names(sort="spend_nano; DROP TABLE keys")


async def test_a_regenerated_key_keeps_everything_but_its_token(storage: Storage) -> None:
    await storage.keys.create(a_key("old", key_alias="laptop", created_us=5, fields={"models": ["x"]}))
    await storage.spend.ingest([a_call(1, ("key", token("old").hex(), 0, 70), key=token("old"))])
    changed = await storage.keys.regenerate(
        token("old"), token("new"), key_name="sk-...new", grace_until_us=50, changes={"rpm_limit": 2}, now_us=9
    )
    assert changed is not None
    assert changed == await storage.keys.get(token("new"))
    assert (changed.key_name, changed.key_alias, changed.created_us) == ("sk-...new", "laptop", 5)
    assert (changed.spend_nano, changed.rpm_limit, changed.models) == (70, 2, ["x"])
    assert await storage.keys.get(token("old")) is None
    assert await storage.keys.predecessors() == [Predecessor(token("old"), token("new"), 50)]


async def test_what_was_spent_under_an_old_token_counts_for_the_new_one(storage: Storage) -> None:
    await storage.keys.create(a_key("1"))
    await storage.spend.ingest([a_call(1, ("key", token("1").hex(), 0, 1), key=token("1"), cost=1)])
    for old, new in (("1", "2"), ("2", "3")):
        await storage.keys.regenerate(token(old), token(new), key_name="n", grace_until_us=0, changes={}, now_us=9)
    await storage.spend.ingest([a_call(2, ("key", token("1").hex(), 0, 10), key=token("1"), cost=10)])
    await storage.spend.ingest([a_call(3, ("key", token("3").hex(), 0, 100), key=token("3"), cost=100)])
    record = await storage.keys.get(token("3"))
    assert record is not None
    assert (record.spend_nano, record.total_spend_nano) == (111, 111)
    assert {was.token for was in await storage.keys.predecessors()} == {token("3")}
    rows = await storage.spend.page(SpendFilter(key=token("3")), limit=10)
    assert [row.seq for row in rows] == [3, 2, 1]
    assert await storage.spend.count(SpendFilter(key=token("3"))) == 3
    assert [group.calls for group in await storage.spend.groups([], SpendFilter(key=token("3")))] == [3]
    assert await storage.spend.groups(["key"], SpendFilter()) == [
        SpendGroup(key=token("3"), spend_nano=111, calls=3, failed=0)
    ]


async def test_an_old_token_is_never_given_to_another_key(storage: Storage) -> None:
    await storage.keys.create(a_key("1"))
    await storage.keys.create(a_key("other"))
    await storage.keys.regenerate(token("1"), token("2"), key_name="n", grace_until_us=0, changes={}, now_us=9)
    with pytest.raises(KeyExists):
        await storage.keys.create(a_key("1"))
    with pytest.raises(KeyExists):
        await storage.keys.regenerate(token("2"), token("other"), key_name="n", grace_until_us=0, changes={}, now_us=9)
    assert await storage.keys.get(token("2")) is not None
    await storage.keys.delete([token("2")])
    assert await storage.keys.predecessors() == []


# Spend


async def test_a_row_comes_back_as_it_was_given_and_its_detail_byte_for_byte(storage: Storage) -> None:
    entry = a_call(3, epoch=1 << 59, key=token("a"), end_user="e", failed=True, metadata=bytes(range(256)))
    assert await storage.spend.ingest([entry]) == 1
    row = await storage.spend.row(1 << 59, 3)
    assert row is not None
    assert (row.epoch, row.seq, row.started_us, row.detail) == (1 << 59, 3, 3_000_000, entry[1])
    assert await storage.spend.row(1, 3) is None
    assert await storage.spend.row(1 << 59, 4) is None


async def test_a_row_that_is_there_already_charges_nothing(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    charges = (("key", token("a").hex(), 0, 100), ("global", "", 0, 100), ("tag", "x", 0, 100))
    first = [a_call(n, *charges, key=token("a")) for n in range(1, 4)]
    assert await storage.spend.ingest(first) == 3
    assert await storage.spend.ingest(first) == 0
    assert await storage.spend.ingest([*first, a_call(4, *charges, key=token("a")), first[0]]) == 1
    record = await storage.keys.get(token("a"))
    assert record is not None
    assert (record.spend_nano, record.total_spend_nano, record.last_active_us) == (400, 400, 4_000_000)
    for scope, name in (("global", ""), ("tag", "x")):
        spent = await storage.spend.spent(scope, name)
        assert spent is not None
        assert (spent.spend_nano, spent.total_nano) == (400, 400)
    assert len(await storage.spend.all_spent()) == 2


async def test_the_same_call_twice_in_one_batch_counts_once(storage: Storage) -> None:
    call = a_call(1, ("global", "", 0, 5))
    assert await storage.spend.ingest([call, call]) == 1
    spent = await storage.spend.spent("global", "")
    assert spent is not None
    assert spent.total_nano == 5


async def test_a_charge_to_a_key_that_is_gone_keeps_its_row(storage: Storage) -> None:
    assert await storage.spend.ingest([a_call(1, ("key", token("gone").hex(), 0, 5), key=token("gone"))]) == 1
    assert (await storage.spend.recent())[1] == 1


async def test_a_charge_of_an_older_period_raises_the_total_only(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    key = token("a").hex()
    await storage.spend.ingest([a_call(1, ("key", key, 0, 1), ("user", "u", 0, 1))])
    assert await storage.keys.roll_budget(token("a"), 1_000, 2_000)
    assert await storage.spend.roll_budget("user", "u", 1_000, 2_000)
    await storage.spend.ingest([a_call(2, ("key", key, 0, 10), ("user", "u", 0, 10))])
    await storage.spend.ingest([a_call(3, ("key", key, 1_000, 100), ("user", "u", 1_000, 100))])
    record = await storage.keys.get(token("a"))
    spent = await storage.spend.spent("user", "u")
    assert record is not None
    assert spent is not None
    assert (record.spend_nano, record.total_spend_nano, record.budget_reset_us) == (100, 111, 2_000)
    assert (spent.spend_nano, spent.total_nano, spent.reset_us, spent.period_start_us) == (100, 111, 2_000, 1_000)


async def test_a_charge_that_comes_before_the_reset_it_belongs_to_is_not_lost(storage: Storage) -> None:
    await storage.keys.create(a_key("a"))
    key = token("a").hex()
    await storage.spend.ingest([a_call(1, ("key", key, 0, 1), ("user", "u", 0, 1))])
    await storage.spend.ingest([a_call(2, ("key", key, 1_000, 10), ("user", "u", 1_000, 10))])
    assert not await storage.keys.roll_budget(token("a"), 1_000, 2_000)
    assert not await storage.spend.roll_budget("user", "u", 1_000, 2_000)
    assert not await storage.keys.roll_budget(token("a"), 500, 1_000)
    record = await storage.keys.get(token("a"))
    spent = await storage.spend.spent("user", "u")
    assert record is not None
    assert spent is not None
    assert (record.spend_nano, record.period_start_us, record.budget_reset_us) == (10, 1_000, 2_000)
    assert (spent.spend_nano, spent.period_start_us, spent.reset_us) == (10, 1_000, 2_000)


async def test_a_period_may_begin_before_anything_was_spent(storage: Storage) -> None:
    assert await storage.spend.roll_budget("team", "t", 1_000, 2_000)
    assert not await storage.spend.roll_budget("team", "t", 1_000, 2_000)
    assert not await storage.keys.roll_budget(token("nobody"), 1_000, 2_000)
    spent = await storage.spend.spent("team", "t")
    assert spent is not None
    assert (spent.spend_nano, spent.reset_us) == (0, 2_000)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("roll"), st.integers(1, 3)),
            st.tuples(st.just("charge"), st.integers(0, 3), st.integers(0, 10**9), st.integers(1, 12)),
        ),
        max_size=12,
    )
)
def test_spend_is_the_sum_of_the_newest_period_whatever_comes_first_and_how_often(
    server: PostgresServer, steps: list[tuple[Any, ...]]
) -> None:
    """The model: each (epoch, seq) counts once; spend is what the newest known period was charged."""
    key = token("a").hex()
    charged: dict[int, tuple[int, int]] = {}
    newest = 0
    for step in steps:
        newest = max(newest, step[1])
        if step[0] == "charge":
            charged.setdefault(step[3], (step[1], step[2]))
    newest = max([period for period, _ in charged.values()] + [step[1] for step in steps if step[0] == "roll"] + [0])

    async def run(storage: Storage) -> None:
        await storage.keys.create(a_key("a"))
        for step in steps:
            if step[0] == "roll":
                await storage.keys.roll_budget(token("a"), step[1], None)
            else:
                _, period, nano, seq = step
                await storage.spend.ingest([a_call(seq, ("key", key, period, nano), cost=nano)])
        record = await storage.keys.get(token("a"))
        assert record is not None
        assert record.total_spend_nano == sum(nano for _, nano in charged.values())
        assert record.spend_nano == sum(nano for period, nano in charged.values() if period == newest)
        await storage.close()

    async def on_all() -> None:
        await run(MemoryStorage())
        with tempfile.TemporaryDirectory() as directory:
            await run(await open_storage(Path(directory) / "tollway.db"))
        await run(await open_storage(server.new_database()))

    asyncio.run(on_all())


async def test_ids_of_providers_may_repeat_and_each_row_is_found(storage: Storage) -> None:
    await storage.spend.ingest(
        [a_call(n, request_id="chatcmpl-same" if n % 3 == 0 else f"id-{n}") for n in range(1, 8)]
    )
    assert [row.seq for row in await storage.spend.by_request_id("chatcmpl-same")] == [6, 3]
    assert [row.seq for row in await storage.spend.by_request_id("id-2")] == [2]
    assert await storage.spend.by_request_id("nobody") == []
    assert await storage.spend.by_request_id("") == []


async def test_sums_tell_endpoints_apart_and_times_do_not(storage: Storage) -> None:
    kinds = ("acompletion", "anthropic_messages", "acompletion", "a_kind_that_nobody_knows")
    await storage.spend.ingest([a_call(n, call_type=kind, duration_ms=5) for n, kind in enumerate(kinds)])
    found = await storage.spend.groups(("endpoint",), SpendFilter())
    assert [(group.endpoint, group.calls) for group in found] == [("", 1), ("/chat/completions", 2), ("/messages", 1)]
    (times,) = await storage.spend.times(("model",), SpendFilter())
    assert sum(times.durations.values()) == len(kinds)


def test_a_place_without_an_endpoint_is_what_it_was_before_there_were_any() -> None:
    place = (OF_ALL, "", b"k" * 32, "ada", None, None, "openai/gpt-4o", "gpt-4o", "openai")
    assert place_digest((*place, "")) == blake2b(msgpack.encode(place), digest_size=16).digest()
    assert place_digest((*place, "/messages")) != place_digest((*place, ""))


async def test_the_newest_rows_come_first_with_the_number_of_all(storage: Storage) -> None:
    assert await storage.spend.recent() == ([], 0)
    await storage.spend.ingest([a_call(n, at=100 - n) for n in range(10)])
    rows, total = await storage.spend.recent(3)
    assert [row.seq for row in rows] == [0, 1, 2]
    assert total == 10


async def test_rows_are_found_by_key_user_team_end_user_model_and_date(storage: Storage) -> None:
    await storage.spend.ingest(
        [
            a_call(1, key=token("a"), user_id="u", team_id="t", end_user="e", model="m"),
            a_call(2, key=token("b")),
            a_call(3),
        ]
    )

    async def found(**which: Any) -> list[int]:
        rows = await storage.spend.page(SpendFilter(**which), limit=10)
        assert await storage.spend.count(SpendFilter(**which)) == len(rows)
        return [row.seq for row in rows]

    assert await found(key=token("a")) == [1]
    assert await found(master_key=True) == [3]
    for field, value in (("user_id", "u"), ("team_id", "t"), ("end_user", "e"), ("model", "m")):
        assert await found(**{field: value}) == [1]
    assert await found(from_us=2_000_000) == [3, 2]
    assert await found(from_us=2_000_000, until_us=3_000_000) == [2]


async def test_sums_are_grouped_by_day_key_user_and_model(storage: Storage) -> None:
    await storage.spend.ingest(
        [
            a_call(1, key=token("a"), at=DAY_US - 1, cost=1),
            a_call(2, key=token("a"), at=DAY_US, cost=10),
            a_call(3, key=token("a"), at=DAY_US + 5, cost=100, failed=True, model="m", input_tokens=7, output_tokens=2),
            a_call(4, at=DAY_US + 6, cost=1000, user_id="u"),
        ]
    )
    groups = storage.spend.groups
    assert await groups(["day"], SpendFilter()) == [
        SpendGroup(day=0, spend_nano=1, calls=1, failed=0),
        SpendGroup(day=1, spend_nano=1110, calls=3, failed=1, input_tokens=7, output_tokens=2),
    ]
    assert await groups(["key", "model"], SpendFilter(from_us=DAY_US)) == [
        SpendGroup(key=None, model="openai/gpt-4o", spend_nano=1000, calls=1, failed=0),
        SpendGroup(key=token("a"), model="m", spend_nano=100, calls=1, failed=1, input_tokens=7, output_tokens=2),
        SpendGroup(key=token("a"), model="openai/gpt-4o", spend_nano=10, calls=1, failed=0),
    ]
    assert [group.user_id for group in await groups(["user_id"], SpendFilter())] == [None, "u"]
    assert await groups([], SpendFilter(from_us=2 * DAY_US)) == [SpendGroup(spend_nano=0, calls=0, failed=0)]
    with pytest.raises(ValueError, match="grouped"):
        await groups(["spend_nano"], SpendFilter())  # type: ignore[list-item]
    with pytest.raises(ValueError, match="single"):
        await groups(["day"], SpendFilter(failed=True))


async def test_sums_by_end_user_show_the_calls_without_one_apart(storage: Storage) -> None:
    await storage.spend.ingest(
        [
            a_call(1, end_user="e", cost=1),
            a_call(2, end_user="f", cost=10, model="m"),
            a_call(3, cost=100),
            a_call(4, end_user="e", cost=1000, at=DAY_US),
        ]
    )
    groups = storage.spend.groups
    by_customer = [
        (group.end_user, group.spend_nano, group.calls) for group in await groups(["end_user"], SpendFilter())
    ]
    assert by_customer == [(None, 100, 1), ("e", 1001, 2), ("f", 10, 1)]
    assert [group.spend_nano for group in await groups([], SpendFilter(end_user="e"))] == [1001]
    found = await groups(["day", "end_user"], SpendFilter(from_us=0, until_us=DAY_US, end_user="e"))
    assert [(group.day, group.end_user, group.calls) for group in found] == [(0, "e", 1)]
    assert [(group.model, group.calls) for group in await groups(["model"], SpendFilter(end_user="f"))] == [("m", 1)]


async def test_a_call_counts_once_under_each_of_its_tags(storage: Storage) -> None:
    await storage.spend.ingest([a_call(1, tags=("x", "y", "x"), cost=1), a_call(2, tags=("x",), cost=10), a_call(3)])
    found = await storage.spend.groups(["tag"], SpendFilter())
    assert [(group.tag, group.spend_nano, group.calls) for group in found] == [("x", 11, 2), ("y", 1, 1)]
    assert [group.calls for group in await storage.spend.groups([], SpendFilter(tag="x"))] == [2]
    assert [group.calls for group in await storage.spend.groups([], SpendFilter())] == [3]
    with pytest.raises(ValueError, match="not by both"):
        await storage.spend.groups(["tag", "end_user"], SpendFilter())
    with pytest.raises(ValueError, match="tag"):
        await storage.spend.page(SpendFilter(tag="x"), limit=1)


async def test_sums_know_organisations_groups_providers_and_cached_tokens(storage: Storage) -> None:
    usage = Usage(input=1, cache_read=20, cache_write_5m=300, cache_write_1h=4000, output=5, reasoning=60)
    await storage.spend.ingest(
        [
            a_call(1, organization_id="o", model_group="g", provider="openai", usage=usage),
            a_call(2, provider="anthropic"),
        ]
    )
    (group,) = await storage.spend.groups(
        ["organization_id", "model_group", "provider"], SpendFilter(provider="openai")
    )
    assert (group.organization_id, group.model_group, group.provider) == ("o", "g", "openai")
    assert (group.input_tokens, group.output_tokens) == (4321, 65)
    assert (group.cache_read_tokens, group.cache_write_tokens) == (20, 4300)
    assert len(await storage.spend.groups(["provider"], SpendFilter(organization_id="o", model_group="g"))) == 1


async def test_sums_of_days_without_calls_are_kept_once_and_do_not_change_what_is_there(storage: Storage) -> None:
    day = 20_000
    place = (OF_ALL, "", b"k" * 32, "ada", "red", None, "openai/gpt-4o", "gpt-4o", "openai", "")
    sums = [(day, place, [5, 1, 700, 50, 7, 3, 2]), (day + 1, place, [1, 0, 10, 1, 1, 0, 0])]
    assert await storage.spend.keep_days(sums) == 2
    assert await storage.spend.keep_days([(day, place, [9, 9, 9, 9, 9, 9, 9])]) == 0
    groups = await storage.spend.groups(("day", "team_id"), SpendFilter(team_id="red", user_id="ada"))
    assert [(one.day, one.calls, one.failed, one.spend_nano, one.input_tokens) for one in groups] == [
        (day, 5, 1, 700, 50),
        (day + 1, 1, 0, 10, 1),
    ]
    assert (groups[0].output_tokens, groups[0].cache_read_tokens, groups[0].cache_write_tokens) == (7, 3, 2)


async def test_a_part_of_a_day_is_added_up_call_by_call(storage: Storage) -> None:
    times = [DAY_US // 2 - 1, DAY_US // 2, DAY_US, 2 * DAY_US - 1, 2 * DAY_US, 2 * DAY_US + 5]
    calls = [a_call(n, at=at, cost=10**n, end_user="e", key=token("a")) for n, at in enumerate(times)]
    await storage.spend.ingest(calls)

    async def spend(**which: Any) -> int:
        (group,) = await storage.spend.groups([], SpendFilter(**which))
        return group.spend_nano

    assert await spend(from_us=DAY_US // 2) == 111110
    assert await spend(from_us=DAY_US // 2, until_us=2 * DAY_US + 1) == 11110
    assert await spend(until_us=2 * DAY_US + 5) == 11111
    assert await spend(from_us=DAY_US // 2, until_us=DAY_US - 5) == 10
    assert await spend(from_us=2 * DAY_US + 1, until_us=2 * DAY_US + 6, key=token("a"), end_user="e") == 100000
    assert await spend(from_us=2 * DAY_US + 1, until_us=2 * DAY_US + 6, key=token("b")) == 0
    days = await storage.spend.groups(["day", "end_user"], SpendFilter(from_us=DAY_US // 2, until_us=2 * DAY_US + 1))
    assert [(group.day, group.calls) for group in days] == [(0, 1), (1, 2), (2, 1)]


async def test_a_page_goes_on_where_the_last_one_ended(storage: Storage) -> None:
    await storage.spend.ingest([a_call(n, at=1000 + n // 3, key=token("a") if n % 2 else None) for n in range(20)])
    for which, expected in ((SpendFilter(), 20), (SpendFilter(key=token("a")), 10)):
        seen: list[int] = []
        before = None
        while page := await storage.spend.page(which, limit=3, before=before):
            seen += [row.seq for row in page]
            before = (page[-1].started_us, page[-1].id)
        assert len(seen) == expected
        assert seen == sorted(seen, reverse=True)


async def test_rows_are_found_by_outcome_cost_session_and_who_served(storage: Storage) -> None:
    await storage.spend.ingest(
        [
            a_call(1, cost=5, failed=True, session_id="s1", organization_id="o", model_group="g", provider="p"),
            a_call(2, cost=50, session_id="s1"),
            a_call(3, cost=500, session_id="s2"),
        ]
    )

    async def found(**which: Any) -> list[int]:
        rows = await storage.spend.page(SpendFilter(**which), limit=10)
        assert await storage.spend.count(SpendFilter(**which)) == len(rows)
        return [row.seq for row in rows]

    assert await found(failed=True) == [1]
    assert await found(failed=False) == [3, 2]
    assert await found(cost_min_nano=50) == [3, 2]
    assert await found(cost_min_nano=50, cost_max_nano=50) == [2]
    assert await found(session_id="s1") == [2, 1]
    assert await found(session_id="s1", failed=True) == [1]
    assert await found(request_id="chatcmpl-7-2") == [2]
    assert await found(request_id="nobody") == []
    for field, value in (("organization_id", "o"), ("model_group", "g"), ("provider", "p")):
        assert await found(**{field: value}) == [1]


async def test_times_are_kept_by_day_and_model(storage: Storage) -> None:
    calls = [a_call(n, duration_ms=n * 10, first_byte_us=n * 1_000_000 + 5_000, provider="p") for n in range(1, 101)]
    await storage.spend.ingest([*calls, a_call(101, failed=True, duration_ms=60_000), a_call(102, model="m")])
    (times,) = await storage.spend.times(["provider"], SpendFilter(provider="p"))
    assert sum(times.durations.values()) == sum(times.first_bytes.values()) == 100
    for share, ms in ((0.5, 500), (0.95, 950)):
        found = quantile_ms(times.durations, share)
        assert found is not None
        assert abs(found - ms) < ms / 8
    assert quantile_ms(times.first_bytes, 0.5) == pytest.approx(5.5)
    by_day = await storage.spend.times(["day", "model"], SpendFilter(from_us=0, until_us=DAY_US))
    assert [(one.day, one.model, sum(one.durations.values())) for one in by_day] == [
        (0, "m", 1),
        (0, "openai/gpt-4o", 100),
    ]
    assert await storage.spend.times(["day"], SpendFilter(from_us=DAY_US)) == []
    with pytest.raises(ValueError, match="kept by"):
        await storage.spend.times(["key"], SpendFilter())


@pytest.mark.parametrize("name", ["\0", "a" * 10_000, "'; DROP TABLE spend_rows; --", "%s :token", "ü\N{SNOWMAN}"])
async def test_names_that_clients_choose_are_only_names(storage: Storage, name: str) -> None:
    entry = a_call(
        1, ("end_user", name, 0, 5), end_user=name, tags=(name,), model=name, session_id=name, request_id=name
    )
    assert await storage.spend.ingest([entry]) == 1
    assert await storage.spend.ingest([entry]) == 0
    assert [row.detail for row in await storage.spend.by_request_id(name)] == [entry[1]]
    assert [row.seq for row in await storage.spend.page(SpendFilter(session_id=name), limit=2)] == [1]
    (group,) = await storage.spend.groups(["end_user", "model"], SpendFilter())
    assert group.calls == 1
    assert group.end_user == shown_name(name)
    assert len(await storage.spend.all_spent()) == 1


async def test_old_rows_are_forgotten_a_bounded_number_at_a_time_and_sums_stay(storage: Storage) -> None:
    await storage.spend.ingest([a_call(n, ("global", "", 0, 100), at=n * DAY_US) for n in range(1, 6)])
    before = await storage.spend.groups(["day"], SpendFilter())
    forgotten = await storage.spend.forget_before(4 * DAY_US, rows_max=2)
    assert forgotten >= 2
    while more := await storage.spend.forget_before(4 * DAY_US, rows_max=2):
        forgotten += more
    assert forgotten == 3
    assert [row.seq for row in (await storage.spend.recent())[0]] == [5, 4]
    assert await storage.spend.by_request_id("chatcmpl-7-2") == []
    assert await storage.spend.groups(["day"], SpendFilter()) == before
    spent = await storage.spend.spent("global", "")
    assert spent is not None
    assert spent.total_nano == 500
    assert await storage.spend.ingest([a_call(9, at=2 * DAY_US)]) == 1


async def test_who_holds_leases_is_known_with_its_host(storage: Storage) -> None:
    await storage.leases.begin(5, "host-a")
    wants = [
        LeaseWant(scope="team", id="t", period_start_us=0, limit_nano=100, granted_nano=0, least_nano=40, more_nano=40),
        LeaseWant(scope="team", id="u", period_start_us=0, limit_nano=100, granted_nano=0, least_nano=2, more_nano=2),
    ]
    await storage.leases.lease(5, wants, workers=1)
    await storage.leases.lease(6, wants[1:], workers=1)
    assert await storage.leases.holders() == [
        Holder(epoch=5, host="host-a", leases=2, outstanding_nano=42),
        Holder(epoch=6, host="", leases=1, outstanding_nano=2),
    ]
    await storage.leases.end(5)
    assert [holder.epoch for holder in await storage.leases.holders()] == [6]


async def test_whoever_waits_for_changed_keys_is_told_of_them(storage: Storage) -> None:
    seen = await storage.key_changes()
    waiting = asyncio.ensure_future(storage.next_key_change(seen))
    await storage.spend.ingest([a_call(1)])
    assert not waiting.done()
    await storage.keys.create(a_key("a"))
    async with asyncio.timeout(30):
        now = await waiting
    assert now > seen
    assert await storage.next_key_change(seen) == now


async def test_a_closed_storage_says_so_and_closing_twice_does_nothing(storage: Storage) -> None:
    await storage.check()
    await storage.close()
    await storage.close()
    for question in (storage.check(), storage.keys.load_all(), storage.spend.ingest([a_call(1)])):
        with pytest.raises(StorageError, match="closed"):
            await question
