from __future__ import annotations

from importlib import resources

import pytest

from tollway.pricing.catalog import CATALOG_FILE, Catalog, load


@pytest.fixture(scope="session")
def shipped_bytes() -> bytes:
    return resources.files("tollway.pricing").joinpath(CATALOG_FILE).read_bytes()


@pytest.fixture(scope="session")
def catalog(shipped_bytes: bytes) -> Catalog:
    return load(shipped_bytes)
