"""Signing in to the dashboard, and what a cookie may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient, Response
from msgspec.structs import replace

from tollway.admin import build
from tollway.admin.dashboard.pace import FAILURES_OF_ALL_PER_MINUTE_MAX, FAILURES_PER_MINUTE_MAX
from tollway.admin.dashboard.sessions import AGE_S_MAX, COOKIE, IDLE_S_MAX, digest_of
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config

from .office import MASTER_KEY, FakeOffice

OWN = {"origin": "http://gateway"}


@pytest.fixture
def config() -> Config:
    access = AccessSettings(master_key=Secret(MASTER_KEY), ui_username="ada", ui_password=Secret("correct horse"))
    return Config(access=access)


@pytest.fixture
def office(config: Config, tmp_path: Path) -> FakeOffice:
    office = FakeOffice(config)
    office.data_folder = tmp_path
    return office


@pytest.fixture
async def client(office: FakeOffice) -> AsyncIterator[AsyncClient]:
    async with client_of(office) as client:
        yield client


def client_of(office: FakeOffice, address: str = "127.0.0.1", scheme: str = "http") -> AsyncClient:
    """A browser of its own, in front of a worker of its own."""
    transport = ASGITransport(build(office), raise_app_exceptions=False, client=(address, 5000))
    return AsyncClient(transport=transport, base_url=f"{scheme}://gateway")


async def sign_in(client: AsyncClient, password: str = MASTER_KEY, **more: str) -> Response:
    return await client.post("/ui/api/session", json={"password": password, **more}, headers=OWN)


async def csrf_of(client: AsyncClient) -> dict[str, str]:
    return {**OWN, "x-tollway-csrf": (await client.get("/ui/api/session")).json()["csrf"]}


@pytest.mark.parametrize(
    "given",
    [
        {"password": MASTER_KEY},
        {"user": "ada", "password": "correct horse"},
        {"user": "ada", "password": MASTER_KEY},
    ],
)
async def test_the_master_key_and_the_password_sign_in(client: AsyncClient, given: dict[str, str]) -> None:
    assert (await client.get("/key/list")).status_code == 401
    answer = await client.post("/ui/api/session", json=given, headers=OWN)
    assert answer.status_code == 200
    assert answer.json()["signed_in"] is True
    assert (await client.get("/key/list")).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        {"password": "wrong"},
        {"password": ""},
        {"user": "bob", "password": "correct horse"},
        {"password": "correct horse"},  # of `ada`, who did not say so
        {"password": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")},
    ],
)
async def test_nothing_else_does(client: AsyncClient, given: dict[str, str]) -> None:
    answer = await client.post("/ui/api/session", json=given, headers=OWN)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert (await client.get("/ui/api/session")).json() == {"signed_in": False}


async def test_without_a_user_name_of_its_own_the_password_is_the_admins(tmp_path: Path) -> None:
    office = FakeOffice(Config(access=AccessSettings(master_key=Secret(MASTER_KEY), ui_password=Secret("open"))))
    office.data_folder = tmp_path
    async with client_of(office) as client:
        assert (await sign_in(client, "open")).status_code == 200
        assert (await sign_in(client, "open", user="admin")).status_code == 200
        assert (await sign_in(client, "open", user="root")).status_code == 401


async def test_the_cookie_is_kept_from_scripts_and_other_sites(client: AsyncClient, office: FakeOffice) -> None:
    cookie = (await sign_in(client)).headers["set-cookie"]
    assert cookie.endswith("Path=/; HttpOnly; SameSite=Strict")
    async with client_of(office, scheme="https") as over_tls:
        answer = await over_tls.post(
            "/ui/api/session", json={"password": MASTER_KEY}, headers={"origin": "https://gateway"}
        )
        assert answer.headers["set-cookie"].endswith("; Secure")
    answer = await client.post(
        "/ui/api/session", json={"password": MASTER_KEY}, headers={**OWN, "x-forwarded-proto": "https"}
    )
    assert answer.headers["set-cookie"].endswith("; Secure")


async def test_signing_in_takes_a_new_id_and_ends_the_old_one(client: AsyncClient, office: FakeOffice) -> None:
    """An id that somebody else put into the browser before is worth nothing afterwards."""
    client.cookies.set(COOKIE, "chosen-by-somebody-else", domain="gateway.local")
    await sign_in(client)
    first = client.cookies[COOKIE]
    assert first != "chosen-by-somebody-else"
    assert len(first) >= 43  # 256 bits
    await sign_in(client)
    second = client.cookies[COOKIE]
    assert second != first
    async with client_of(office) as thief:
        for old in ("chosen-by-somebody-else", first):
            answer = await thief.get("/key/list", headers={"cookie": f"{COOKIE}={old}"})
            assert answer.status_code == 401


async def test_signing_out_ends_the_session_for_every_worker_at_once(client: AsyncClient, office: FakeOffice) -> None:
    await sign_in(client)
    held = client.cookies[COOKIE]
    async with client_of(office) as other_worker:
        cookie = {"cookie": f"{COOKIE}={held}"}
        assert (await other_worker.get("/key/list", headers=cookie)).status_code == 200
        answer = await client.request("DELETE", "/ui/api/session", headers=await csrf_of(client))
        assert answer.json() == {"signed_in": False}
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert (await other_worker.get("/key/list", headers=cookie)).status_code == 401


async def test_a_session_ends_when_it_is_not_used_and_after_its_time(client: AsyncClient, office: FakeOffice) -> None:
    await sign_in(client)
    for _ in range(AGE_S_MAX // (IDLE_S_MAX - 60)):
        office.clock += timedelta(seconds=IDLE_S_MAX - 60)
        assert (await client.get("/key/list")).status_code == 200
    office.clock += timedelta(seconds=IDLE_S_MAX - 60)
    assert (await client.get("/key/list")).status_code == 401
    await sign_in(client)
    office.clock += timedelta(seconds=IDLE_S_MAX + 1)
    assert (await client.get("/key/list")).status_code == 401
    assert await office.storage.sign_ins.get(digest_of(client.cookies[COOKIE])) is None


async def test_another_password_or_master_key_ends_every_session(client: AsyncClient, office: FakeOffice) -> None:
    await sign_in(client)
    office.config = Config(access=AccessSettings(master_key=Secret(MASTER_KEY), ui_password=Secret("another")))
    assert (await client.get("/key/list")).status_code == 401


async def test_there_are_only_so_many_sessions_and_the_longest_unused_go_first(
    client: AsyncClient, office: FakeOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollway.admin.dashboard.sessions.SESSIONS_MAX", 3)
    browsers = [client, *(client_of(office) for _ in range(3))]
    for browser in browsers[:3]:
        await sign_in(browser)
        office.clock += timedelta(seconds=100)
    assert (await client.get("/key/list")).status_code == 200  # used: the second one is the longest unused now
    await sign_in(browsers[3])
    found = [(await browser.get("/key/list")).status_code for browser in browsers]
    assert found == [200, 401, 200, 200]
    for browser in browsers[1:]:
        await browser.aclose()


async def test_what_is_kept_opens_nothing(client: AsyncClient, office: FakeOffice) -> None:
    await sign_in(client)
    kept = await office.storage.sign_ins.get(digest_of(client.cookies[COOKIE]))
    assert kept is not None
    for secret in (client.cookies[COOKIE], MASTER_KEY, "correct horse"):
        assert secret.encode() not in kept.detail + kept.digest
    async with client_of(office) as thief:
        for shown in (kept.digest.hex(), "".join(map(chr, kept.digest))):
            sent = [(b"cookie", f"{COOKIE}={shown}".encode("latin-1"))]
            assert (await thief.get("/key/list", headers=sent)).status_code == 401


# --- changing something with a cookie


async def test_a_change_needs_the_sessions_token_and_the_own_page(client: AsyncClient) -> None:
    await sign_in(client)
    right = await csrf_of(client)
    token = {"x-tollway-csrf": right["x-tollway-csrf"]}
    refused = (
        OWN,  # no token
        {**OWN, "x-tollway-csrf": "guessed"},
        token,  # no origin
        {**token, "origin": "http://evil.example"},
        {**token, "origin": "null"},
        {**right, "sec-fetch-site": "cross-site"},
        {**right, "sec-fetch-site": "same-site"},
    )
    for headers in refused:
        answer = await client.post("/key/generate", json={}, headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["error"]["type"] == "permission_error"
    assert (await client.post("/key/generate", json={}, headers=right)).status_code == 200
    same = {**token, "sec-fetch-site": "same-origin"}
    assert (await client.post("/key/generate", json={}, headers=same)).status_code == 200


async def test_each_session_has_a_token_of_its_own(client: AsyncClient, office: FakeOffice) -> None:
    await sign_in(client)
    async with client_of(office) as other:
        await sign_in(other)
        answer = await client.post("/key/generate", json={}, headers=await csrf_of(other))
        assert answer.status_code == 403


async def test_a_key_in_a_header_needs_no_token(client: AsyncClient) -> None:
    answer = await client.post("/key/generate", json={}, headers={"authorization": f"Bearer {MASTER_KEY}"})
    assert answer.status_code == 200


async def test_no_other_site_signs_anybody_in_or_out(client: AsyncClient) -> None:
    foreign = {"origin": "http://evil.example"}
    answer = await client.post("/ui/api/session", json={"password": MASTER_KEY}, headers=foreign)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    await sign_in(client)
    assert (await client.request("DELETE", "/ui/api/session", headers=foreign)).status_code == 403
    assert (await client.get("/ui/api/session")).json()["signed_in"] is True


async def test_behind_a_proxy_the_address_that_the_browser_knows_is_the_own_one(client: AsyncClient) -> None:
    headers = {"origin": "https://llm.example", "x-forwarded-host": "llm.example"}
    answer = await client.post("/ui/api/session", json={"password": MASTER_KEY}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("cookie", ["", "../../etc/passwd", "a" * 9000, "\x00", "é"])
async def test_a_cookie_that_is_none_of_ours_is_nobodys(client: AsyncClient, cookie: str) -> None:
    sent = [(b"cookie", f"{COOKIE}={cookie}".encode("latin-1"))]
    assert (await client.get("/key/list", headers=sent)).status_code == 401


# --- how often


async def test_who_fails_too_often_waits(client: AsyncClient, office: FakeOffice) -> None:
    for _ in range(FAILURES_PER_MINUTE_MAX):
        assert (await sign_in(client, "wrong")).status_code == 401
    answer = await sign_in(client)  # even with what would be right
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    office.clock += timedelta(seconds=int(answer.headers["retry-after"]) + 1)
    assert (await sign_in(client)).status_code == 200


async def test_many_addresses_together_wait_too(office: FakeOffice) -> None:
    app = build(office)
    statuses = []
    for number in range(FAILURES_OF_ALL_PER_MINUTE_MAX + 1):
        transport = ASGITransport(app, client=(f"198.51.100.{number}", 5000))
        async with AsyncClient(transport=transport, base_url="http://gateway") as client:
            statuses.append((await sign_in(client, "wrong")).status_code)
    assert statuses == [*[401] * FAILURES_OF_ALL_PER_MINUTE_MAX, 429]


def behind_a_proxy(office: FakeOffice) -> AsyncClient:
    """A gateway that believes its proxy, which is everybody's peer."""
    access = replace(office.config.access, forwarded_for=True)
    office.config = replace(office.config, access=access)
    return client_of(office, "10.0.0.1")


async def fails_for(client: AsyncClient, *forwarded: str) -> int:
    """A wrong password; `forwarded` are the headers `x-forwarded-for`, as the gateway gets them."""
    headers = [*OWN.items(), *(("x-forwarded-for", one) for one in forwarded)]
    return (await client.post("/ui/api/session", json={"password": "wrong"}, headers=headers)).status_code


async def test_people_behind_one_proxy_do_not_wait_for_each_other_where_it_says_who_they_are(
    office: FakeOffice,
) -> None:
    async with behind_a_proxy(office) as client:
        for _ in range(FAILURES_PER_MINUTE_MAX):
            assert await fails_for(client, "198.51.100.1") == 401
        assert await fails_for(client, "198.51.100.1") == 429
        for other in ("198.51.100.2", "2001:db8::1", "[2001:db8::2]:4711", "198.51.100.3:4711"):
            assert await fails_for(client, other) == 401
        assert await fails_for(client) == 401  # without a word of the proxy's its own address counts


async def test_who_writes_other_addresses_into_the_header_is_counted_by_what_the_proxy_saw(office: FakeOffice) -> None:
    async with behind_a_proxy(office) as client:
        for number in range(FAILURES_PER_MINUTE_MAX - 1):
            assert await fails_for(client, f"192.0.2.{number}, 198.51.100.1") == 401
        assert await fails_for(client, "192.0.2.9", "198.51.100.1:5000") == 401
        assert await fails_for(client, "192.0.2.10,198.51.100.1") == 429


async def test_what_is_no_address_is_counted_for_the_proxy(office: FakeOffice) -> None:
    async with behind_a_proxy(office) as client:
        for wrong in ("unknown", "", "198.51.100.1, _hidden", "fe80::1%25eth0", "a" * 9_000):
            assert await fails_for(client, wrong) == 401
        assert await fails_for(client, "1.2.3.4.5") == 429
        assert await fails_for(client, "198.51.100.1") == 401


async def test_unless_it_is_set_nobody_is_believed_who_says_another_address(client: AsyncClient) -> None:
    for number in range(FAILURES_PER_MINUTE_MAX):
        assert await fails_for(client, f"198.51.100.{number}") == 401
    assert await fails_for(client, "198.51.100.99") == 429


async def test_signing_in_forgets_the_failures_before(client: AsyncClient) -> None:
    for _ in range(3):
        for _ in range(FAILURES_PER_MINUTE_MAX - 1):
            assert (await sign_in(client, "wrong")).status_code == 401
        assert (await sign_in(client)).status_code == 200
