from __future__ import annotations

from fractions import Fraction

import pytest

from tollway.calls import Usage
from tollway.config.settings import CostMargin, MoneySettings
from tollway.pricing.cost import cost_of
from tollway.pricing.price import AS_LISTED, price_from_map
from tollway.pricing.terms import listed_nano, terms_for

MONEY = MoneySettings(
    cost_discounts={"openai": "0.05", "groq": "0.10", "xai": "1"},
    cost_margins={"openai": CostMargin("0.1"), "global": CostMargin("0.05", "0.001"), "mistral": CostMargin()},
)


@pytest.mark.parametrize(
    ("provider", "name", "rate", "request_nano"),
    [
        ("openai", "*1.045", Fraction(209, 200), 0),  # the discount first; its own margin, not the one for all
        ("groq", "*0.945+0.001", Fraction(189, 200), 1_000_000),
        ("anthropic", "*1.05+0.001", Fraction(21, 20), 1_000_000),
        ("xai", "*0+0.001", Fraction(0), 1_000_000),
        ("mistral", "*1.05+0.001", Fraction(21, 20), 1_000_000),
    ],
)
def test_a_discount_is_taken_off_first_and_a_margin_put_on_what_is_left(
    provider: str, name: str, rate: Fraction, request_nano: int
) -> None:
    money = MONEY if provider != "mistral" else MoneySettings(cost_margins={"global": CostMargin("0.05", "0.001")})
    terms = terms_for(provider, money)
    assert (terms.name, terms.rate, terms.request_nano) == (name, rate, request_nano)


def test_without_a_discount_and_a_margin_prices_are_those_of_the_list() -> None:
    assert terms_for("openai", MoneySettings()) is AS_LISTED
    assert terms_for("mistral", MONEY) is AS_LISTED  # its own margin of nothing stands in the place of the one for all


def test_what_a_call_costs_at_the_provider_can_be_worked_out_again() -> None:
    row = {"mode": "chat", "input_cost_per_token": "2.5e-06", "output_cost_per_token": "1e-05"}
    listed = price_from_map(row, version="v")
    assert listed is not None
    usage = Usage(input=123, output=45)
    for provider in ("openai", "groq", "anthropic"):
        terms = terms_for(provider, MONEY)
        charged = price_from_map(row, version="v", terms=terms)
        assert charged is not None
        total = cost_of(usage, charged).total
        assert total == round(cost_of(usage, listed).total * terms.rate + terms.request_nano)
        assert abs(listed_nano(total, terms) - cost_of(usage, listed).total) <= 1
    assert listed_nano(1_000_000, terms_for("xai", MONEY)) == 0
