from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tollway.pricing.catalog import load


@pytest.fixture(scope="module")
def make_catalog() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "make_catalog.py"
    spec = importlib.util.spec_from_file_location("make_catalog", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(price: str = "2.5e-06") -> bytes:
    text = """{"about": "a", "as_of": "2026-01-02", "models": {"of nobody": {}, "m": {
        "mode": "chat", "litellm_provider": "x", "output_cost_per_token": 0, "input_cost_per_token": PRICE}}}"""
    return text.replace("PRICE", price).encode()


def test_the_same_source_makes_the_same_bytes_and_they_can_be_loaded(make_catalog: ModuleType) -> None:
    data = make_catalog.catalog_bytes(source())
    assert data == make_catalog.catalog_bytes(source())
    catalog = load(data)
    assert (catalog.as_of, catalog.about, len(catalog)) == ("2026-01-02", "a", 1)
    facts = catalog.facts("m")
    assert facts is not None
    assert facts.row == {
        "mode": "chat",
        "litellm_provider": "x",
        "output_cost_per_token": 0,
        "input_cost_per_token": 2.5e-06,
    }


def test_a_price_that_a_float_would_change_stops_the_run(make_catalog: ModuleType) -> None:
    with pytest.raises(ValueError, match="without changing it"):
        make_catalog.catalog_bytes(source("0.12345678901234567890123"))


def test_the_shipped_file_is_what_the_script_makes_of_it(make_catalog: ModuleType, catalog_bytes: bytes) -> None:
    told = json.loads(gzip.decompress(catalog_bytes))
    models = {
        name: {**row, "litellm_provider": provider}
        for provider, rows in told["rows"].items()
        for name, row in rows.items()
    }
    again = json.dumps({"about": told["about"], "as_of": told["as_of"], "models": models})
    assert make_catalog.catalog_bytes(again.encode()) == catalog_bytes


def test_the_script_asks_for_its_source(make_catalog: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_catalog.main([]) == 2
    assert "SOURCE_JSON" in capsys.readouterr().err
