"""Signing in to a gateway of four workers: whichever one a request reaches knows who is signed in, and who no longer is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from .gateway import Gateway

pytestmark = pytest.mark.e2e

PASSWORD = "correct horse battery"
#: Each on a connection of its own: the system hands them to the workers in turn, or nearly so.
CONNECTIONS = 40


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway({"model_list": []}, tmp_path_factory.mktemp("workers"), "--num_workers", "4")
    yield gateway
    gateway.stop()


def manage(gateway: Gateway, path: str, **body: Any) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {gateway.master_key}"}
    answer = gateway.client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sign_in(gateway: Gateway, **body: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/ui/api/session", json=body, headers={"origin": gateway.url}, timeout=60)


def statuses(gateway: Gateway, cookie: str, path: str = "/user/info") -> Counter[int]:
    def ask(_: int) -> int:
        return httpx.get(gateway.url + path, headers={"cookie": f"tollway_session={cookie}"}, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(ask, range(CONNECTIONS)))


def test_every_worker_knows_a_session_and_none_does_once_the_password_is_another(gateway: Gateway) -> None:
    manage(gateway, "/user/new", user_id="ada", user_role="internal_user", password=PASSWORD, auto_create_key=False)
    cookie = sign_in(gateway, user="ada", password=PASSWORD).cookies["tollway_session"]
    assert statuses(gateway, cookie) == {200: CONNECTIONS}
    assert statuses(gateway, cookie, "/user/list") == {401: CONNECTIONS}
    manage(gateway, "/user/update", user_id="ada", user_role="proxy_admin_viewer")
    assert statuses(gateway, cookie, "/user/list") == {200: CONNECTIONS}
    manage(gateway, "/user/update", user_id="ada", password="another password")
    assert statuses(gateway, cookie) == {401: CONNECTIONS}


def test_a_user_who_is_blocked_is_out_everywhere_with_his_keys(gateway: Gateway) -> None:
    made = manage(gateway, "/user/new", user_id="bob", user_role="internal_user", password=PASSWORD)
    cookie = sign_in(gateway, user="bob", password=PASSWORD).cookies["tollway_session"]
    assert statuses(gateway, cookie) == {200: CONNECTIONS}
    manage(gateway, "/user/update", user_id="bob", blocked=True)
    assert statuses(gateway, cookie) == {401: CONNECTIONS}
    refused = gateway.client.get("/key/info", headers={"authorization": f"Bearer {made['key']}"})
    assert refused.status_code == 401
    assert "blocked" in refused.text


def test_of_many_who_open_a_link_at_once_one_is_signed_in(gateway: Gateway) -> None:
    (token,) = parse_qs(urlsplit(manage(gateway, "/ui/api/session/link")["url"]).query)["once"]
    with ThreadPoolExecutor(8) as pool:
        found = Counter(one.status_code for one in pool.map(lambda _: sign_in(gateway, once=token), range(16)))
    assert found == {200: 1, 401: 15}
