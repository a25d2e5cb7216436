from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.errors import ConfigError
from tollway.pricing.catalog import Catalog, load
from tollway.pricing.making import Difference, catalog_bytes, differences, judge

CHAT = {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}


def made(models: dict[str, Any], corrections: list[dict[str, Any]] | None = None) -> bytes:
    told = json.dumps({"corrections": corrections or []}).encode()
    return catalog_bytes(json.dumps(models).encode(), told, about="a", as_of="2026-01-02")


def test_the_same_source_makes_the_same_bytes_and_they_can_be_loaded() -> None:
    models = {"sample_spec": {**CHAT}, "of nobody": {}, "no row": 5, "m": CHAT}
    data = made(models)
    assert data == made(dict(reversed(models.items())))
    catalog = load(data)
    assert (catalog.as_of, catalog.about, len(catalog)) == ("2026-01-02", "a", 1)
    facts = catalog.facts("m")
    assert facts is not None
    assert facts.row == CHAT


def test_a_map_that_tells_its_date_is_believed() -> None:
    catalog = load(made({"about": "b", "as_of": "2026-03-04", "models": {"m": CHAT}}))
    assert (catalog.as_of, catalog.about, list(catalog.names())) == ("2026-03-04", "b", ["m"])


def test_a_price_that_a_float_would_change_is_refused() -> None:
    text = json.dumps({"m": CHAT}).replace("2.5e-06", "0.12345678901234567890123")
    with pytest.raises(ValueError, match="without changing it"):
        catalog_bytes(text.encode(), b'{"corrections": []}')


@pytest.mark.parametrize("text", [b"<html>", b"[]", b"\xff\xfe", b'"prices"'])
def test_what_is_no_map_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match="price list"):
        catalog_bytes(text, b'{"corrections": []}')


def test_a_correction_holds_as_long_as_the_map_says_what_it_corrects() -> None:
    changes = {
        "input_cost_per_token": [2.5e-06, 3e-06],
        "mode": ["chat", None],
        "cache_read_input_token_cost": [None, 1e-07],
    }
    correction = {"name": "m", "changes": changes, "source": "https://example.com/prices", "why": "it is so"}
    right = load(made({"m": CHAT}, [correction])).facts("m")
    assert right is not None
    assert right.row == {
        "litellm_provider": "x",
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1e-07,
        "source": "https://example.com/prices",
    }
    mended = {**CHAT, "input_cost_per_token": 2e-06, "mode": "completion", "cache_read_input_token_cost": 2e-07}
    kept = load(made({"m": mended}, [correction])).facts("m")
    assert kept is not None
    assert kept.row == mended


def test_a_whole_list_is_judged_before_it_is_used(catalog: Catalog) -> None:
    present = load(made({"m": CHAT, "n": CHAT}))
    assert len(judge(made({"m": CHAT}), present)) == 1
    with pytest.raises(ConfigError, match="it is not whole"):
        judge(made({"m": CHAT}), catalog)
    unpriced = {"mode": "chat", "litellm_provider": "x"}
    with pytest.raises(ConfigError, match="prices 1 of its 3 models"):
        judge(made({"a": unpriced, "b": unpriced, "m": CHAT}), present)
    bad = {f"m{i}": {**CHAT, "input_cost_per_token": -1} for i in range(12)}
    with pytest.raises(ConfigError) as refused:
        judge(made({**bad, "good": CHAT}), present)
    assert len(refused.value.problems) == 11
    assert "m0" in refused.value.problems[0]
    assert "and 2 more" in refused.value.problems[10]


def test_differences_name_model_and_key_and_both_prices() -> None:
    before = load(made({"gone": CHAT, "m": CHAT, "same": CHAT}))
    after = load(
        made({"new": CHAT, "m": {**CHAT, "input_cost_per_token": 2e-06, "supports_vision": True}, "same": CHAT})
    )
    assert list(differences(before, after)) == [
        Difference("gone", "", "listed", None),
        Difference("m", "input_cost_per_token", 2.5e-06, 2e-06),
        Difference("new", "", None, "listed"),
    ]
    assert list(differences(after, after)) == []
