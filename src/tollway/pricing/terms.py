"""Discounts and margins: what a configuration puts between a provider's price and what callers are charged.

A discount is a share that is taken off, a margin one that is put on what is left, with or without a fixed amount for each
call. A provider's own margin stands in the place of the one for all ("global").
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from tollway.config.settings import MoneySettings
from tollway.pricing.price import AS_LISTED, NANO_PER_DOLLAR, Terms

EVERY_PROVIDER = "global"


def terms_for(provider: str, money: MoneySettings) -> Terms:
    """The terms for what a provider asks. Equal terms have equal names, so that a price's version tells them apart."""
    discount = Decimal(money.cost_discounts.get(provider, "0"))
    margin = money.cost_margins.get(provider) or money.cost_margins.get(EVERY_PROVIDER)
    rate, fixed = 1 - discount, Decimal(0)
    if margin is not None:
        rate *= 1 + Decimal(margin.share)
        fixed = Decimal(margin.fixed_usd)
    if rate == 1 and not fixed:
        return AS_LISTED
    name = f"*{rate.normalize():f}" + (f"+{fixed.normalize():f}" if fixed else "")
    return Terms(name=name, rate=Fraction(rate), request_nano=Fraction(fixed) * NANO_PER_DOLLAR)


def listed_nano(total_nano: int, terms: Terms) -> int:
    """What a call that is charged `total_nano` on these terms costs at the provider, to the nearest nano-dollar."""
    if not terms.rate:
        return 0
    return round((total_nano - terms.request_nano) / terms.rate)
