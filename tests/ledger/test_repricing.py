from __future__ import annotations

from msgspec import structs

from tollway.calls import Cost, Usage
from tollway.ledger.repricing import can_be_recharged, recharged
from tollway.pricing.price import Price, price_from_map
from tollway.storage.record import AttemptRecord, CallRecord

RECORD = CallRecord(
    1,
    2,
    started_us=1_796_083_200_000_000,  # 2026-12-01 00:00 UTC
    ended_us=1_796_083_201_000_000,
    usage=Usage(input=1000, output=100),
    cost=Cost(total=2_000_000, input=1_000_000, output=1_000_000),
    price_version="old",
    held_nano=2_500_000,
    charges=(("key", "ab", 5, 2_000_000), ("global", "", 0, 2_000_000)),
)


def price(input: str = "2e-06", **more: object) -> Price:
    row = {"mode": "chat", "input_cost_per_token": input, "output_cost_per_token": "1e-05", **more}
    made = price_from_map(row, version="new")
    assert made is not None
    return made


def test_usage_is_charged_again_and_the_difference_is_in_every_charge() -> None:
    again = recharged(RECORD, price())
    assert again is not None
    assert again.cost == Cost(total=3_000_000, input=2_000_000, output=1_000_000)
    assert (again.price_version, again.over_hold) == ("new", True)
    assert again.charges == (("key", "ab", 5, 3_000_000), ("global", "", 0, 3_000_000))
    unchanged = ("epoch", "seq", "started_us", "usage", "held_nano", "key")
    assert all(getattr(again, name) == getattr(RECORD, name) for name in unchanged)


def test_the_same_cost_is_no_change_and_a_second_time_there_is_none() -> None:
    assert recharged(RECORD, price("1e-06")) is None
    again = recharged(RECORD, price())
    assert again is not None
    assert recharged(again, price()) is None


def test_a_call_that_had_no_price_gets_one() -> None:
    unpriced = structs.replace(RECORD, cost=Cost(), cost_known=False, price_version="", charges=(("key", "ab", 5, 0),))
    again = recharged(unpriced, price())
    assert again is not None
    assert (again.cost_known, again.cost.total, again.charges) == (True, 3_000_000, (("key", "ab", 5, 3_000_000),))
    free = recharged(unpriced, price("0", output_cost_per_token=0))
    assert free is not None
    assert (free.cost_known, free.cost.total) == (True, 0)


def test_attempts_before_the_one_that_answered_keep_their_cost() -> None:
    tried = structs.replace(
        RECORD,
        cost=Cost(total=2_700_000, input=1_000_000, output=1_000_000),
        attempts=(AttemptRecord("a", "x", 500, 1, 700_000), AttemptRecord("b", "x", 200, 1, 2_000_000)),
    )
    again = recharged(tried, price())
    assert again is not None
    assert again.cost.total == 3_700_000
    assert [attempt.cost_nano for attempt in again.attempts] == [700_000, 3_000_000]


def test_the_price_is_that_of_the_moment_the_call_began() -> None:
    dated = price("2e-06", later_pricing=[{"from": "2026-12-01", "input_cost_per_token": "4e-06"}])
    on_the_day = recharged(RECORD, dated)
    before = recharged(structs.replace(RECORD, started_us=RECORD.started_us - 1), dated)
    assert on_the_day is not None
    assert before is not None
    assert (on_the_day.cost.total, on_the_day.price_version) == (5_000_000, "new/2026-12-01")
    assert (before.cost.total, before.price_version) == (3_000_000, "new")


def test_what_was_not_charged_by_usage_is_not_charged_again() -> None:
    assert can_be_recharged(RECORD)
    assert can_be_recharged(structs.replace(RECORD, price_version="", cost_known=False))
    assert not can_be_recharged(structs.replace(RECORD, price_version=""))  # cut: a bound was charged
    assert not can_be_recharged(structs.replace(RECORD, cache_hit=True))
    assert not can_be_recharged(structs.replace(RECORD, usage=None))
    assert recharged(structs.replace(RECORD, usage=None), price()) is None


def test_only_the_deployment_and_the_provider_that_answered_are_charged_the_difference() -> None:
    charges = (
        ("deployment", "one", 3, 0),  # a try that failed
        ("provider", "openai", 3, 0),
        ("deployment", "two", 3, 2_000_000),
        ("provider", "openai", 3, 2_000_000),
        ("key", "ab", 5, 2_000_000),
        ("global", "", 0, 2_000_000),
    )
    call = structs.replace(RECORD, charges=charges, provider="openai", deployment_id="two:small")
    dearer = recharged(call, price())
    assert dearer is not None
    more = dearer.cost.total - 2_000_000
    assert more
    assert dearer.charges == (
        ("deployment", "one", 3, 0),
        ("provider", "openai", 3, 0),
        ("deployment", "two", 3, 2_000_000 + more),
        ("provider", "openai", 3, 2_000_000 + more),
        ("key", "ab", 5, 2_000_000 + more),
        ("global", "", 0, 2_000_000 + more),
    )
