"""Which address is allowed with which master key, and what a port that is taken says."""

from __future__ import annotations

import socket

import pytest

from tollway.calls import Secret
from tollway.cli.binding import bind, choose_host, is_loopback, url_of
from tollway.cli.refusal import Refused
from tollway.config.settings import AccessSettings

NONE = AccessSettings()
WEAK = AccessSettings(master_key=Secret("sk-1234"))
STRONG = AccessSettings(master_key=Secret("sk-Zr4vQ9mT2xLw7cKd"))


def permitted(access: AccessSettings) -> AccessSettings:
    return AccessSettings(master_key=access.master_key, weak_master_key_permitted=True)


@pytest.mark.parametrize(
    ("access", "asked", "host"),
    [
        (STRONG, None, "0.0.0.0"),
        (STRONG, "127.0.0.1", "127.0.0.1"),
        (STRONG, "10.1.2.3", "10.1.2.3"),
        (NONE, None, "127.0.0.1"),
        (NONE, "127.0.0.2", "127.0.0.2"),
        (NONE, "localhost", "localhost"),
        (NONE, "::1", "::1"),
        (WEAK, None, "127.0.0.1"),
        (WEAK, "127.0.0.1", "127.0.0.1"),
        (permitted(WEAK), None, "127.0.0.1"),
        (permitted(WEAK), "0.0.0.0", "0.0.0.0"),
        (permitted(NONE), "0.0.0.0", "0.0.0.0"),
    ],
)
def test_others_reach_the_gateway_only_with_a_strong_master_key_or_by_permission(
    access: AccessSettings, asked: str | None, host: str
) -> None:
    assert choose_host(asked, access) == host


@pytest.mark.parametrize("access", [NONE, WEAK])
@pytest.mark.parametrize("asked", ["0.0.0.0", "::", "192.168.1.5", "gateway.example"])
def test_a_public_address_without_a_strong_master_key_is_refused_with_code_3(
    access: AccessSettings, asked: str
) -> None:
    with pytest.raises(Refused, match="LITELLM_MASTER_KEY") as refused:
        choose_host(asked, access)
    assert refused.value.exit_code == 3
    assert "sk-1234" not in str(refused.value)


@pytest.mark.parametrize(("host", "loopback"), [("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("h", False)])
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_port_that_is_taken_is_named_with_a_way_out() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"port {port} on 127.0.0.1 is taken.*--port") as refused:
            bind("127.0.0.1", port)
    assert refused.value.exit_code == 1
    assert "\n" not in str(refused.value)


def test_a_port_is_free_again_at_once_after_its_gateway_had_connections() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = first.accept()
            accepted.close()  # this side closes first and goes to TIME_WAIT
            client.recv(1)
    bind("127.0.0.1", port).close()


def test_an_address_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(Refused, match=r"cannot listen on 192\.0\.2\.1 port 4000: .*--host"):
        bind("192.0.2.1", 4000)


@pytest.mark.parametrize(
    ("host", "tls", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:4000"),
        ("0.0.0.0", True, "https://localhost:4000"),
        ("::", False, "http://localhost:4000"),
        ("::1", False, "http://[::1]:4000"),
    ],
)
def test_the_url_is_one_that_a_client_on_this_machine_can_open(host: str, tls: bool, url: str) -> None:
    assert url_of(host, 4000, tls=tls) == url
