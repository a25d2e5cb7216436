from __future__ import annotations

from importlib import resources

import pytest

from tollway.pricing.catalog import CATALOG_FILE, Catalog, load


@pytest.fixture(scope="session")
def catalog_bytes() -> bytes:
    return resources.files("tollway.pricing").joinpath(CATALOG_FILE).read_bytes()


@pytest.fixture(scope="session")
def catalog(catalog_bytes: bytes) -> Catalog:
    return load(catalog_bytes)
