"""Both event loops, and servers that are stopped when the test ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tollway.upstream.client import HttpClient

from .servers import Authority, Script, Serve, Server, saying

try:
    import uvloop
except ImportError:  # no wheel for Windows: there the plain loop serves
    uvloop = None


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops = {"asyncio": asyncio.new_event_loop}
    if uvloop is not None:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[Server] = []

    async def start(script: Script | bytes, **how: Any) -> Server:
        server = Server(saying(script) if isinstance(script, bytes) else script)
        await server.start(**how)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(sweep_s=0.01)
    yield client
    await client.close()
    assert client.stats() == {}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
