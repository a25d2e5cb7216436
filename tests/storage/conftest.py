from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tollway.storage import Storage, open_storage
from tollway.testing.postgres import PostgresServer
from tollway.testing.storage import MemoryStorage


@pytest.fixture(scope="session")
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


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened: Storage
    if request.param == "memory":
        opened = MemoryStorage()
    elif request.param == "sqlite":
        opened = await open_storage(tmp_path / "tollway.db")
    else:
        opened = await open_storage(request.getfixturevalue("postgres_url"))
    yield opened
    await opened.close()
