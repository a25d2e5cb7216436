"""Fed the same unit prices, two programs that share no line must come to the same cost."""

from __future__ import annotations

import importlib.util
import random
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace

from tollway.calls import Usage, UsageDetails
from tollway.pricing.cost import cost_of
from tollway.pricing.price import price_from_map

pytest.importorskip("genai_prices")

SHAPES = 500
MODELS_MIN = 150


@pytest.fixture(scope="module")
def compare_prices() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "compare_prices.py"
    spec = importlib.util.spec_from_file_location("compare_prices", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes() -> list[Usage]:
    """From nothing to a million tokens, around every threshold that a price list knows, in every bucket."""
    dice = random.Random(20261122)
    sizes = (0, 1, 7, 500, 31_999, 99_999, 127_999, 199_999, 200_000, 271_999, 272_000, 272_001, 524_288, 1_048_576)
    made = []
    for i in range(SHAPES):
        whole = sizes[i % len(sizes)] + dice.choice((0, 0, 1, 3))
        cuts = sorted(dice.randint(0, whole) for _ in range(5))
        fresh, read, write_5m, write_1h, audio, image = (
            after - before for before, after in zip([0, *cuts], [*cuts, whole], strict=True)
        )
        heard = dice.randint(0, read)
        made.append(
            Usage(
                input=fresh,
                cache_read=read,
                cache_write_5m=write_5m,
                cache_write_1h=write_1h,
                audio_in=audio,
                image_in=image,
                output=dice.randint(0, 64_000),
                reasoning=dice.choice((0, 0, dice.randint(0, 32_000))),
                audio_out=dice.choice((0, dice.randint(0, 999))),
                image_out=dice.choice((0, dice.randint(0, 9_999))),
                searches=dice.choice((0, 0, 1, 5)),
                details=UsageDetails(heard, dice.randint(0, read - heard), file_searches=dice.choice((0, 2))),
            )
        )
    return made


def priced_parts(usage: Usage, row: dict[str, object]) -> Usage:
    """Without the parts of which they say that a price is missing, and the ones they would count twice."""
    details = usage.details
    assert details is not None
    if "cache_read_input_audio_token_cost" not in row:
        details = replace(details, cache_read_audio=0)
    if "cache_read_input_image_token_cost" not in row:
        details = replace(details, cache_read_image=0)
    return replace(usage, details=details)


def test_the_same_unit_prices_come_to_the_same_cost_to_the_nano_dollar(compare_prices: ModuleType) -> None:
    usages = shapes()
    compared: set[str] = set()
    met: set[int] = set()
    for provider, model in compare_prices.models():
        variants = model.prices if isinstance(model.prices, list) else [model.prices]
        their_price = getattr(variants[-1], "prices", variants[-1])
        row = compare_prices.row_of(their_price)
        price = price_from_map(row, version="") if row is not None else None
        if row is None or price is None or provider == "openrouter":
            continue
        name = f"{provider}/{model.id}"
        # Each model meets some twenty shapes, so that all meet all tiers many times over and the run stays short.
        for i in range(len(compared) % 25, SHAPES, 25):
            usage = priced_parts(usages[i], row)
            theirs = their_price.calc_price(compare_prices.their_usage(usage))["total_price"]
            expected = int((theirs * 10**9).to_integral_value(ROUND_HALF_EVEN))
            assert cost_of(usage, price).total == expected, (name, usage, row, Decimal(theirs))
            met.add(i)
        compared.add(name)
    assert len(compared) >= MODELS_MIN
    assert len(met) == SHAPES


def test_the_page_of_differences_says_what_the_catalogs_say(compare_prices: ModuleType) -> None:
    assert compare_prices.main(["--check"]) == 0, "run python scripts/compare_prices.py"


def test_the_script_says_how_it_is_called(compare_prices: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_prices.main(["--what"]) == 2
    assert "usage" in capsys.readouterr().err
