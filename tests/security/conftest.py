from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_reply, model_entry

from .outsider import Outsider


@pytest.fixture
async def outsider(tmp_path: Path) -> AsyncIterator[Outsider]:
    """Somebody in front of a gateway with two models, a salt key and nobody in it."""
    access = AccessSettings(master_key=Secret(MASTER_KEY), salt_key=Secret("a salt that nobody guesses"))
    models = [model_entry(), model_entry("large")]
    async with SmallGateway(tmp_path, models, config=Config(access=access)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        yield Outsider(gateway)
