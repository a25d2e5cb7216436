"""Makes the model catalog that ships with Tollway from a public model cost map.

    python scripts/make_catalog.py SOURCE_JSON

SOURCE_JSON is {"about", "as_of", "models": {name: {price-map keys}}}. The result is gzipped JSON, {"about", "as_of",
"rows": {provider: {name: row}}}, the same bytes for the same source. Every key of a row is kept but `litellm_provider`,
under which it now stands. Rows of no provider are left out, and a price whose decimals a float cannot give back stops
the run.
"""

from __future__ import annotations

import gzip
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "src" / "tollway" / "pricing" / "model_catalog.json.gz"


def exact_float(literal: str) -> float:
    """The float whose shortest spelling is this literal's number. Raises ValueError when there is none."""
    number = float(literal)
    if Decimal(repr(number)) != Decimal(literal):
        raise ValueError(f"{literal} cannot be written as a float without changing it")
    return number


def catalog_bytes(source: bytes) -> bytes:
    """The shipped file's bytes."""
    told = json.loads(source, parse_float=exact_float)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for name, row in sorted(told["models"].items()):
        provider = row.get("litellm_provider")
        if provider:
            rows.setdefault(provider, {})[name] = {key: row[key] for key in sorted(row) if key != "litellm_provider"}
    catalog = {"about": told["about"], "as_of": told["as_of"], "rows": dict(sorted(rows.items()))}
    text = json.dumps(catalog, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: make_catalog.py SOURCE_JSON", file=sys.stderr)
        return 2
    data = catalog_bytes(Path(arguments[0]).read_bytes())
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
