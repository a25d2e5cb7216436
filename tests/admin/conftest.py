from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response

from tollway.admin import build
from tollway.config.settings import Config

from .office import MASTER_KEY, FakeOffice


class Asking:
    """A client of the management API; asks as the master key unless told otherwise."""

    def __init__(self, office: FakeOffice) -> None:
        transport = ASGITransport(build(office), raise_app_exceptions=False)
        self.client = AsyncClient(transport=transport, base_url="http://gateway")

    async def get(self, path: str, key: str | None = MASTER_KEY, **query: Any) -> Response:
        return await self.client.get(path, params=query, headers=_headers(key))

    async def post(
        self, path: str, body: Any = None, key: str | None = MASTER_KEY, content: str | None = None
    ) -> Response:
        if content is not None:
            headers = {**_headers(key), "content-type": "application/json"}
            return await self.client.post(path, content=content, headers=headers)
        return await self.client.post(path, json=body, headers=_headers(key))

    async def made(self, **fields: Any) -> dict[str, Any]:
        answer = await self.post("/key/generate", fields)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
def office(config: Config) -> FakeOffice:
    return FakeOffice(config)


@pytest.fixture
async def ask(office: FakeOffice) -> AsyncIterator[Asking]:
    asking = Asking(office)
    yield asking
    await asking.client.aclose()
