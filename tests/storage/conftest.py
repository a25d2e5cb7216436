from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tollway.storage import Storage, open_storage
from tollway.testing.storage import MemoryStorage


@pytest.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened: Storage = MemoryStorage() if request.param == "memory" else await open_storage(tmp_path / "tollway.db")
    yield opened
    await opened.close()
