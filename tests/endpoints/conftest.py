"""A gateway in front of a realtime provider on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tollway.testing.gateway import SmallGateway, model_entry

from .talking import Provider, playing, talker


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with playing() as provider:
        yield provider


@pytest.fixture
async def talking(tmp_path: Path, provider: Provider) -> AsyncIterator[SmallGateway]:
    async with SmallGateway(tmp_path, [talker(provider), model_entry()]) as small:
        yield small
