"""Users without a key at hand: what their calls count against, and how long that is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tollway.errors import Forbidden
from tollway.identities import signed_in
from tollway.storage.people import Limits, Member, Team, User
from tollway.testing.gateway import SmallGateway

LIMITS = Limits(max_budget_nano=1_000_000)


async def with_ada(gateway: SmallGateway) -> None:
    people = gateway.storage.people
    await people.users.create(User(id="ada", role="internal_user", limits=LIMITS))
    await people.teams.create(Team(id="t1", members=(Member(user_id="ada"),), limits=LIMITS))
    await gateway.app.keys_changed()


async def scopes(gateway: SmallGateway, team: str) -> set[str]:
    key = (await gateway.app.signed_in("ada", team)).key
    assert key is not None
    return {account.scope for account in key.accounts}


async def test_a_user_counts_against_all_that_a_key_of_his_would_but_no_key(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path) as gateway:
        await with_ada(gateway)
        assert await scopes(gateway, "") == {"user", "global"}
        assert await scopes(gateway, "t1") == {"team", "global"}
        for user, team in (("nobody", ""), ("ada", "none")):
            with pytest.raises(Forbidden):
                await gateway.app.signed_in(user, team)


async def test_who_called_lately_keeps_his_accounts_and_who_is_gone_or_idle_does_not(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path) as gateway:
        await with_ada(gateway)
        await gateway.app.signed_in("ada", "")
        account = gateway.app.ledger.accounts["user", "ada"]
        await gateway.app.keys_changed()
        assert gateway.app.ledger.accounts["user", "ada"] is account
        await gateway.storage.people.users.change("ada", lambda user: replace(user, limits=Limits()))
        await gateway.app.keys_changed()
        assert account.limit is None
        gateway.clock.advance(signed_in.SEEN_S_MAX + 1)
        await gateway.app.keys_changed()
        assert ("user", "ada") not in gateway.app.ledger.accounts


async def test_what_is_remembered_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_in, "SEEN_MAX", 1)
    async with SmallGateway(tmp_path) as gateway:
        await with_ada(gateway)
        await gateway.app.signed_in("ada", "")
        await gateway.app.signed_in("ada", "t1")
        await gateway.app.keys_changed()
        assert ("user", "ada") not in gateway.app.ledger.accounts
        assert ("team", "t1") in gateway.app.ledger.accounts
