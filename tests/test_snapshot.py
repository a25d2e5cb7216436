from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import Alias, Config, CostMargin, ModelEntry, MoneySettings, RoutingSettings
from tollway.snapshot import ModelAccess, Snapshot, Snapshots, deployment_id, wildcard_pattern
from tollway.testing.gateway import SmallGateway, model_entry

DEAR = {"input_cost_per_token": "0", "output_cost_per_token": "0.1"}


async def snapshot_of(directory: Path, *models: ModelEntry, single: str | None = None, **routing: Any) -> Snapshot:
    config = Config(routing=RoutingSettings(**routing), single_model=single)
    async with SmallGateway(directory, models, config=config) as gateway:
        return gateway.app.snapshots.current


def dearest(snapshot: Snapshot, name: str) -> int:
    model = snapshot.resolve(name)
    assert model is not None
    return max(price.rates.output for price in model.reachable)


async def test_a_model_is_found_by_name_alias_id_provider_model_and_pattern_in_this_order(tmp_path: Path) -> None:
    entries = [
        model_entry("named"),
        model_entry("other", provider_model="openai/theirs", id="the-id"),
        replace(model_entry("wild/*"), provider_model="openai/*"),
        replace(model_entry("wild/closer-*"), provider_model="openai/near-*"),
    ]
    snapshot = await snapshot_of(tmp_path, *entries, aliases={"nick": Alias("named"), "circle": Alias("circle")})
    found = {
        name: model.deployments[0].target if (model := snapshot.resolve(name)) is not None else None
        for name in ("named", "nick", "the-id", "openai/theirs", "wild/x", "wild/closer-x", "circle", "nobody")
    }
    assert found == {
        "named": "named",
        "nick": "named",
        "the-id": "theirs",
        "openai/theirs": "theirs",
        "wild/x": "x",
        "wild/closer-x": "near-x",
        "circle": None,
        "nobody": None,
    }
    assert snapshot.resolve("wild/x") is snapshot.resolve("wild/x")


async def test_with_one_model_every_name_means_it(tmp_path: Path) -> None:
    snapshot = await snapshot_of(tmp_path, model_entry("only"), single="only")
    assert snapshot.resolve("gpt-4o") is snapshot.resolve("only")


@pytest.mark.parametrize(
    "routing",
    [
        {"fallbacks": {"small": ("dear",)}},
        {"fallbacks": {"*": ("dear",)}},
        {"default_fallbacks": ("dear",)},
        {"context_window_fallbacks": {"small": ("dear",)}},
        {"context_window_fallbacks": {"*": ("dear",)}},
        {"content_policy_fallbacks": {"small": ("dear",)}},
        {"fallbacks": {"small": ("nick",)}, "aliases": {"nick": Alias("dear")}},
        {"fallbacks": {"small": ("wild/x",)}},
        {"fallbacks": {"small": ("the-id",)}},
    ],
    ids=str,
)
async def test_what_a_call_can_come_to_counts_every_way_to_a_fallback(tmp_path: Path, routing: dict[str, Any]) -> None:
    entries = [
        model_entry(),
        model_entry("dear", prices=DEAR, id="the-id"),
        replace(model_entry("wild/*", prices=DEAR), provider_model="openai/*"),
    ]
    snapshot = await snapshot_of(tmp_path, *entries, **routing)
    alone = await snapshot_of(tmp_path, *entries)
    assert dearest(snapshot, "small") == dearest(alone, "dear") > dearest(alone, "small")


async def test_fallbacks_of_fallbacks_are_never_reached_and_not_counted(tmp_path: Path) -> None:
    entries = [model_entry(), model_entry("second"), model_entry("dear", prices=DEAR), model_entry("none", prices={})]
    snapshot = await snapshot_of(tmp_path, *entries, fallbacks={"small": ("second",), "second": ("dear", "none")})
    assert dearest(snapshot, "small") < dearest(snapshot, "second")
    small, second = snapshot.models["small"], snapshot.models["second"]
    assert (small.unpriced, second.unpriced) == (False, True)


async def test_patterns_that_are_each_others_fallbacks_end(tmp_path: Path) -> None:
    wild = replace(model_entry("*"), provider_model="openai/*")
    snapshot = await snapshot_of(tmp_path, wild, fallbacks={"*": ("a", "b", "c")})
    model = snapshot.resolve("x")
    assert model is not None
    assert model.fallbacks == ("a", "b", "c")


async def test_the_output_of_a_call_without_a_limit_is_bounded_by_the_longest_that_it_can_reach(tmp_path: Path) -> None:
    entries = [model_entry(), model_entry("long", provider_model="openai/gpt-4o")]
    snapshot = await snapshot_of(tmp_path, *entries, fallbacks={"small": ("long",)})
    facts = snapshot.models["long"].deployments[0].facts
    assert facts is not None
    assert snapshot.models["small"].output_tokens_max == facts.output_tokens_max == 16_384
    assert snapshot.with_fallbacks(snapshot.models["small"], ()).output_tokens_max == 4_096
    assert snapshot.with_fallbacks(snapshot.models["small"], ("long",)).fallbacks == ("long",)


@pytest.mark.parametrize(
    ("named", "asked", "groups", "allowed"),
    [
        ([], "x", (), True),
        (["*"], "x", (), True),
        (["all-team-models"], "x", (), True),
        (["x"], "x", (), True),
        (["x"], "xy", (), False),
        (["x*"], "xy", (), True),
        (["openai/*"], "openai/a/b", (), True),
        (["openai/*"], "azure/openai/a", (), False),
        (["g"], "x", ("g",), True),
        (["no-default-models"], "x", (), False),
    ],
)
def test_access_is_by_name_pattern_or_group(
    named: list[str], asked: str, groups: tuple[str, ...], allowed: bool
) -> None:
    assert ModelAccess(named).allows(asked, groups) is allowed


async def test_a_snapshot_is_only_replaced_by_a_later_one(tmp_path: Path) -> None:
    snapshot = await snapshot_of(tmp_path, model_entry())
    holder = Snapshots(snapshot)
    with pytest.raises(ValueError, match="later"):
        holder.swap(snapshot)


async def test_health_outlives_a_reload_and_a_deployments_id_outlives_a_new_key(gateway: SmallGateway) -> None:
    from tollway.calls import Secret

    before = gateway.app.snapshots.current.models["small"].deployments[0]
    before.health.benched_until = 99.0
    rotated = replace(gateway.config.models[0], api_key=Secret("sk-another"))
    await gateway.app.reload(replace(gateway.config, models=(rotated,)))
    after = gateway.app.snapshots.current.models["small"].deployments[0]
    assert after is not before
    assert after.health is before.health
    assert deployment_id(rotated) == before.id


def test_the_stars_of_a_pattern_are_what_they_stood_for() -> None:
    match = wildcard_pattern("a/*-x.y").fullmatch("a/b/c-x.y")
    assert match is not None
    assert match.groups() == ("b/c",)
    assert wildcard_pattern("a.*").fullmatch("abc") is None


async def test_a_price_is_on_the_terms_of_the_provider_and_of_the_place(tmp_path: Path) -> None:
    entries = [
        ModelEntry("listed", "openai/gpt-5.5", api_key=Secret("k")),
        ModelEntry("european", "openai/gpt-5.5", api_key=Secret("k"), api_base="https://eu.api.openai.com/v1"),
        ModelEntry(
            "written",
            "openai/gpt-5.5",
            api_key=Secret("k"),
            prices={"input_cost_per_token": "0.001", "output_cost_per_token": "0"},
        ),
    ]
    rates: dict[str, list[Fraction]] = {}
    for money in (
        MoneySettings(),
        MoneySettings(cost_discounts={"openai": "0.5"}, cost_margins={"global": CostMargin("0", "0.25")}),
    ):
        config = Config(money=money)
        async with SmallGateway(tmp_path, tuple(entries), config=config) as gateway:
            for name, model in gateway.app.snapshots.current.models.items():
                price = model.deployments[0].price
                assert price is not None
                rates.setdefault(name, []).append(Fraction(price.rates.input, price.per_nano))
                assert Fraction(price.request, price.per_nano) == (250_000_000 if money.cost_margins else 0)
    listed, halved = rates["listed"]
    assert halved * 2 == listed > 0
    assert rates["european"] == [listed * Fraction(11, 10), halved * Fraction(11, 10)]
    assert rates["written"] == [1_000_000, 500_000]
