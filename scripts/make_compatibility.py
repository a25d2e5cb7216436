"""Writes docs/compatibility.md by asking the gateway, cell by cell: `python scripts/make_compatibility.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
TABLE = ROOT / "tests" / "compatibility" / "table.py"


def table() -> ModuleType:
    """The table that the tests hold the page to."""
    spec = importlib.util.spec_from_file_location("compatibility_table", TABLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    PAGE.write_text(table().page(), encoding="utf-8")
