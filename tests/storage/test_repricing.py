from __future__ import annotations

from msgspec import structs

from tollway.calls import Cost
from tollway.storage import Repriced, SpendFilter, SpendRow, Storage
from tollway.storage.record import decode_record, encode_record

from .samples import a_call, a_key, token

DAY_US = 86_400_000_000
KEY = token("a").hex()


def repriced(row: SpendRow, nano: int) -> Repriced:
    """The same call at another cost."""
    record = decode_record(row.detail)
    more = nano - record.cost.total
    charges = tuple((scope, name, period, charged + more) for scope, name, period, charged in record.charges)
    changed = structs.replace(record, cost=Cost(total=nano), price_version="new", charges=charges)
    return row, (changed, encode_record(changed))


async def filled(storage: Storage) -> list[SpendRow]:
    await storage.keys.create(a_key("a", period_start_us=5))
    await storage.spend.ingest(
        [
            a_call(1, ("key", KEY, 5, 100), ("user", "u", 0, 100), key=token("a"), end_user="e", tags=("t",)),
            a_call(2, ("key", KEY, 3, 100), key=token("a"), input_tokens=7),
            a_call(3, ("global", "", 0, 100), at=DAY_US + 1),
        ]
    )
    return await storage.spend.page(SpendFilter(), limit=10)


async def test_the_difference_goes_to_the_row_the_key_every_budget_and_every_sum(storage: Storage) -> None:
    third, second, first = await filled(storage)
    assert await storage.spend.reprice([repriced(first, 130), repriced(second, 40), repriced(third, 100)]) == 3

    key = await storage.keys.get(token("a"))
    assert key is not None
    assert (key.spend_nano, key.total_spend_nano) == (130, 170)  # the second call was of an older period
    user = await storage.spend.spent("user", "u")
    whole = await storage.spend.spent("global", "")
    assert user is not None
    assert whole is not None
    assert (user.spend_nano, user.total_nano, whole.spend_nano) == (130, 130, 100)

    stored = await storage.spend.row(7, 1)
    assert stored is not None
    record = decode_record(stored.detail)
    assert (record.cost.total, record.price_version) == (130, "new")
    assert await storage.spend.count(SpendFilter(cost_min_nano=130)) == 1
    days = await storage.spend.groups(["day"], SpendFilter())
    assert [(day.spend_nano, day.calls, day.failed) for day in days] == [(170, 2, 0), (100, 1, 0)]
    for column, name in (("end_user", "e"), ("tag", "t")):
        groups = await storage.spend.groups([column], SpendFilter())  # type: ignore[list-item]
        (named,) = [group for group in groups if getattr(group, column) == name]
        assert (named.spend_nano, named.calls) == (130, 1)


async def test_doing_it_twice_changes_nothing_and_what_changed_meanwhile_is_left_alone(storage: Storage) -> None:
    third, second, first = await filled(storage)
    changes = [repriced(first, 130), repriced(second, 40)]
    assert await storage.spend.reprice(changes) == 2
    assert await storage.spend.reprice(changes) == 0
    assert await storage.spend.reprice([repriced(first, 900)]) == 0
    gone = structs.replace(third, id=third.id + 1000, seq=1003)
    assert await storage.spend.reprice([repriced(gone, 900)]) == 0
    assert await storage.spend.reprice([]) == 0
    key = await storage.keys.get(token("a"))
    assert key is not None
    assert (key.spend_nano, key.total_spend_nano) == (130, 170)
    (everything,) = await storage.spend.groups([], SpendFilter())
    assert (everything.spend_nano, everything.calls) == (270, 3)


async def test_a_call_of_a_regenerated_key_is_paid_by_what_it_became(storage: Storage) -> None:
    _, _, first = await filled(storage)
    await storage.keys.regenerate(token("a"), token("b"), key_name="sk-...b", grace_until_us=0, changes={}, now_us=9)
    assert await storage.spend.reprice([repriced(first, 150)]) == 1
    key = await storage.keys.get(token("b"))
    assert key is not None
    assert (key.spend_nano, key.total_spend_nano) == (150, 250)


async def test_a_call_of_a_deleted_key_changes_its_row_and_the_sums_alone(storage: Storage) -> None:
    _, _, first = await filled(storage)
    await storage.keys.delete([token("a")])
    assert await storage.spend.reprice([repriced(first, 150)]) == 1
    (everything,) = await storage.spend.groups([], SpendFilter())
    assert everything.spend_nano == 350


async def test_a_budget_that_a_call_was_charged_to_twice_gets_the_difference_once(storage: Storage) -> None:
    """A provider that was tried twice."""
    await storage.spend.ingest([a_call(1, ("provider", "openai", 3, 10), ("provider", "openai", 3, 90))])
    (row,) = await storage.spend.page(SpendFilter(), limit=10)
    record = decode_record(row.detail)
    charges = (("provider", "openai", 3, 10), ("provider", "openai", 3, 140))
    changed = structs.replace(record, cost=Cost(total=150), charges=charges)
    assert await storage.spend.reprice([(row, (changed, encode_record(changed)))]) == 1
    spent = await storage.spend.spent("provider", "openai")
    assert spent is not None
    assert (spent.spend_nano, spent.total_nano) == (150, 150)


async def test_whoever_keeps_what_was_spent_in_memory_is_told(storage: Storage) -> None:
    _, _, first = await filled(storage)
    before = await storage.key_changes()
    await storage.spend.reprice([])
    assert await storage.key_changes() == before
    await storage.spend.reprice([repriced(first, 130)])
    assert await storage.key_changes() == before + 1
