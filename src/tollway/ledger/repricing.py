"""Charging a finished call again, from the usage that was written down of it, at another price."""

from __future__ import annotations

from msgspec import structs

from tollway.calls import Cost
from tollway.pricing.cost import cost_of
from tollway.pricing.price import Price
from tollway.storage.people import DEPLOYMENT_SCOPE, PROVIDER_SCOPE
from tollway.storage.record import CallRecord


def can_be_recharged(record: CallRecord) -> bool:
    """Whether its usage is known and was charged by a price, or would have been if there had been one.

    What was answered from a cache cost nothing, and of a call that was cut or turned away only a bound is known.
    """
    return record.usage is not None and not record.cache_hit and (bool(record.price_version) or not record.cost_known)


def recharged(record: CallRecord, price: Price) -> CallRecord | None:
    """The same call at this price, as it was when the call began; None where nothing is different.

    Attempts before the one that answered keep their cost: their usage is not known. What the call costs more or less is in
    its charges too.
    """
    if record.usage is None:
        return None
    price = price.at(record.started_us / 1e6)
    own = cost_of(record.usage, price)
    earlier = sum(attempt.cost_nano for attempt in record.attempts[:-1])
    cost = structs.replace(own, total=own.total + earlier) if earlier else own
    if cost.total == record.cost.total and record.cost_known:
        return None
    return structs.replace(
        record,
        cost=cost,
        cost_known=True,
        price_version=price.version,
        over_hold=record.held_nano > 0 and cost.total > record.held_nano,
        attempts=(*record.attempts[:-1], structs.replace(record.attempts[-1], cost_nano=own.total))
        if record.attempts
        else (),
        charges=_moved(record, cost),
    )


def _moved(record: CallRecord, cost: Cost) -> tuple[tuple[str, str, int, int], ...]:
    """What it costs more goes to everybody whom it was charged to; of deployments and providers only to those that answered,
    which were charged last: they were also charged for their own tries that failed.
    """
    more = cost.total - record.cost.total
    moved = []
    answered: set[str] = set()
    for scope, name, period, nano in reversed(record.charges):
        if scope == PROVIDER_SCOPE:
            own = name == record.provider and scope not in answered
        elif scope == DEPLOYMENT_SCOPE:  # one that was made of a pattern is named by it
            own = name in (record.deployment_id, record.deployment_id.partition(":")[0]) and scope not in answered
        else:
            own = True
        if own:
            answered.add(scope)
        moved.append((scope, name, period, nano + more if own else nano))
    return tuple(reversed(moved))
