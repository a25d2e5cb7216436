"""Guessing, and what is answered while many guess at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from tollway.admin.dashboard.accounts import CHECKS_MAX, WAITING_MAX
from tollway.admin.dashboard.pace import FAILURES_PER_MINUTE_MAX
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config
from tollway.testing.gateway import MASTER_KEY, SmallGateway

from .outsider import OWN_PAGE, Outsider

UI_PASSWORD = "a-password-of-the-dashboards"


async def test_no_guess_is_free_while_many_are_made_at_once(tmp_path: Path) -> None:
    """A guess that finds no room to be compared with users' passwords was compared with the dashboard's own."""
    access = AccessSettings(master_key=Secret(MASTER_KEY), ui_password=Secret(UI_PASSWORD))
    async with SmallGateway(tmp_path, config=Config(access=access)) as gateway:
        outsider = Outsider(gateway)
        heard = CHECKS_MAX + WAITING_MAX + FAILURES_PER_MINUTE_MAX
        guesses = [*(f"wrong-{number}" for number in range(heard + 20)), UI_PASSWORD]
        answers = await asyncio.gather(
            *(
                outsider.ask("POST /ui/api/session", {"user": "admin", "password": guess}, headers=OWN_PAGE)
                for guess in guesses
            )
        )
        assert answers[-1].status == 429, answers[-1].body
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) == {401, 429}
        assert statuses[401] <= CHECKS_MAX + WAITING_MAX
