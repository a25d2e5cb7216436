from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def _postgres() -> Any:
    """The storages' own server; rooms of tests do not import each other."""
    place = Path(__file__).parents[1] / "storage" / "server.py"
    spec = importlib.util.spec_from_file_location("server_of_the_storages", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Server()


@pytest.fixture(scope="package")
def server() -> Iterator[Any]:
    """A PostgreSQL of the tests' own."""
    server = _postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(server: Any) -> str:
    """A new, empty database."""
    url: str = server.new_database()
    return url
