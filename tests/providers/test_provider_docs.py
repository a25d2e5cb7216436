from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tollway.providers import registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_provider_docs", ROOT / "scripts" / "make_provider_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_providers_say_today(script: ModuleType) -> None:
    assert (ROOT / "docs" / "providers.md").read_text(encoding="utf-8") == script.page(), (
        "run python scripts/make_provider_docs.py"
    )


def test_every_prefix_is_on_the_page_once(script: ModuleType) -> None:
    page = script.page()
    for name in registry.names():
        assert page.count(f"| `{name}/` |") == 1
    for name in registry.NOT_YET:
        assert page.count(f"| `{name}/` |") == 1
