from __future__ import annotations

from collections.abc import Iterator

import pytest

from tollway.testing.postgres import PostgresServer


@pytest.fixture(scope="package")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the tests' own."""
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(server: PostgresServer) -> str:
    """A new, empty database."""
    return server.new_database()
