"""A link that signs in once: who may ask for one, and what opening it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx import ASGITransport, AsyncClient, Response

from tollway.admin import build
from tollway.admin.dashboard.sessions import LINK_S_MAX, LINKS_MAX, digest_of
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config

from .office import MASTER_KEY, FakeOffice

OWN = {"origin": "http://gateway"}
MASTER = {"authorization": f"Bearer {MASTER_KEY}"}


@pytest.fixture
def office(tmp_path: Path) -> FakeOffice:
    office = FakeOffice(Config(access=AccessSettings(master_key=Secret(MASTER_KEY))))
    office.data_folder = tmp_path
    return office


@pytest.fixture
async def browser(office: FakeOffice) -> AsyncIterator[AsyncClient]:
    async with worker_of(office) as client:
        yield client


def worker_of(office: FakeOffice) -> AsyncClient:
    """A client in front of a worker of its own."""
    return AsyncClient(transport=ASGITransport(build(office)), base_url="http://gateway")


async def new_token(office: FakeOffice) -> str:
    async with worker_of(office) as cli:
        answer = await cli.post("/ui/api/session/link", headers=MASTER)
    assert answer.status_code == 200
    (token,) = parse_qs(urlsplit(answer.json()["url"]).query)["once"]
    return token


async def opened(client: AsyncClient, token: str) -> Response:
    """What the page does with the token in its address."""
    return await client.post("/ui/api/session", json={"once": token}, headers=OWN)


async def test_the_link_is_an_address_of_this_gateway_that_nobody_keeps(office: FakeOffice) -> None:
    async with worker_of(office) as cli:
        answer = await cli.post("/ui/api/session/link", headers=MASTER)
    told = answer.json()
    assert told["url"].startswith("http://gateway/ui/sign-in?once=")
    assert len(told["url"].partition("once=")[2]) >= 43  # 256 bits
    assert 60 <= told["expires_in_s"] == LINK_S_MAX
    assert answer.headers["cache-control"] == "no-store"
    kept = await office.storage.sign_ins.get(digest_of(told["url"].partition("once=")[2]))
    assert kept is not None
    assert told["url"].partition("once=")[2] not in repr(kept)


async def test_opening_it_signs_in_as_the_master_key_on_any_worker(office: FakeOffice, browser: AsyncClient) -> None:
    answer = await opened(browser, await new_token(office))
    assert answer.status_code == 200
    assert answer.json()["signed_in"] is True
    assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
    assert (await browser.get("/key/list")).status_code == 200


async def test_it_opens_once(office: FakeOffice, browser: AsyncClient) -> None:
    token = await new_token(office)
    assert (await opened(browser, token)).status_code == 200
    async with worker_of(office) as other:
        answer = await opened(other, token)
        assert answer.status_code == 401
        assert answer.json()["error"]["message"].startswith("This link was used already")
        assert "set-cookie" not in answer.headers


async def test_of_many_who_open_it_together_one_is_signed_in(office: FakeOffice) -> None:
    token = await new_token(office)
    clients = [worker_of(office) for _ in range(8)]
    answers = await asyncio.gather(*(opened(client, token) for client in clients))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]
    for client in clients:
        await client.aclose()


async def test_it_does_not_open_after_its_time(office: FakeOffice, browser: AsyncClient) -> None:
    token = await new_token(office)
    office.clock += timedelta(seconds=LINK_S_MAX)
    assert (await opened(browser, token)).status_code == 401


async def test_another_master_key_ends_it(office: FakeOffice, browser: AsyncClient) -> None:
    token = await new_token(office)
    office.config = Config(access=AccessSettings(master_key=Secret("sk-another-master-key")))
    assert (await opened(browser, token)).status_code == 401


@pytest.mark.parametrize("token", ["", "guessed", "../../x", "\x00"])
async def test_a_token_that_nobody_was_given_opens_nothing(
    office: FakeOffice, browser: AsyncClient, token: str
) -> None:
    await new_token(office)
    assert (await opened(browser, token)).status_code == 401


async def test_another_site_cannot_open_it(office: FakeOffice, browser: AsyncClient) -> None:
    token = await new_token(office)
    foreign = {"origin": "http://evil.example"}
    answer = await browser.post("/ui/api/session", json={"once": token}, headers=foreign)
    assert answer.status_code == 403
    assert (await opened(browser, token)).status_code == 200  # it is still good


async def test_only_the_master_key_gets_one(office: FakeOffice) -> None:
    async with worker_of(office) as client:
        made = (await client.post("/key/generate", json={}, headers=MASTER)).json()["key"]
        for headers in ({}, {"authorization": f"Bearer {made}"}, {"authorization": "Bearer sk-wrong"}):
            assert (await client.post("/ui/api/session/link", headers=headers)).status_code == 401


async def test_there_are_only_so_many_and_the_oldest_goes_first(office: FakeOffice, browser: AsyncClient) -> None:
    first = await new_token(office)
    for _ in range(LINKS_MAX):
        office.clock += timedelta(seconds=1)
        last = await new_token(office)
    assert (await opened(browser, first)).status_code == 401
    assert (await opened(browser, last)).status_code == 200
