"""Makes the model catalog that ships with Tollway from a public model cost map.

    python scripts/make_catalog.py SOURCE_JSON

SOURCE_JSON is {"about", "as_of", "models": {name: {price-map keys}}}. The result is gzipped JSON, {"about", "as_of",
"rows": {provider: {name: row}}}, the same bytes for the same source. What the map has wrong is mended by
`src/tollway/pricing/price_corrections.json`; a price whose decimals a float cannot give back stops the run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tollway.pricing.catalog import CATALOG_FILE
from tollway.pricing.making import CORRECTIONS_FILE, catalog_bytes

PRICING = Path(__file__).resolve().parent.parent / "src" / "tollway" / "pricing"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: make_catalog.py SOURCE_JSON", file=sys.stderr)
        return 2
    data = catalog_bytes(Path(arguments[0]).read_bytes(), (PRICING / CORRECTIONS_FILE).read_bytes())
    (PRICING / CATALOG_FILE).write_bytes(data)
    print(f"{CATALOG_FILE}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
