from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tollway.pricing.catalog import load
from tollway.pricing.making import CORRECTIONS_FILE, catalog_bytes, read_corrections


@pytest.fixture(scope="module")
def make_catalog() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "make_catalog.py"
    spec = importlib.util.spec_from_file_location("make_catalog", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_file_is_what_the_script_makes_of_it(make_catalog: ModuleType, shipped_bytes: bytes) -> None:
    told = json.loads(gzip.decompress(shipped_bytes))
    models = {
        name: {**row, "litellm_provider": provider}
        for provider, rows in told["rows"].items()
        for name, row in rows.items()
    }
    again = json.dumps({"about": told["about"], "as_of": told["as_of"], "models": models})
    corrections = (make_catalog.PRICING / CORRECTIONS_FILE).read_bytes()
    assert catalog_bytes(again.encode(), corrections) == shipped_bytes


def test_every_correction_is_in_the_shipped_file_with_its_source(
    make_catalog: ModuleType, shipped_bytes: bytes
) -> None:
    catalog = load(shipped_bytes)
    for correction in read_corrections((make_catalog.PRICING / CORRECTIONS_FILE).read_bytes()):
        facts = catalog.facts(correction.name)
        assert facts is not None, correction.name
        assert facts.source == correction.source
        assert correction.why
        prices = catalog.prices(correction.name)
        for key, (_, right) in correction.changes.items():
            assert prices.get(key) == right, (correction.name, key)


def test_the_script_writes_the_file_and_asks_for_its_source(
    make_catalog: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_catalog.main([]) == 2
    assert "SOURCE_JSON" in capsys.readouterr().err
    source = tmp_path / "map.json"
    row = {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 0}
    source.write_text(json.dumps({"about": "a", "as_of": "2026-01-02", "models": {"m": row}}))
    (tmp_path / CORRECTIONS_FILE).write_text('{"corrections": []}')
    monkeypatch.setattr(make_catalog, "PRICING", tmp_path)
    assert make_catalog.main([str(source)]) == 0
    catalog = load((tmp_path / "model_catalog.json.gz").read_bytes())
    assert (catalog.as_of, list(catalog.names())) == ("2026-01-02", ["m"])
