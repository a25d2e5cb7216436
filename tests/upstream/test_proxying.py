from __future__ import annotations

import pytest

from tollway.calls import Secret
from tollway.errors import ConfigError
from tollway.upstream.client import HttpClient
from tollway.upstream.proxying import ProxySettings, absolute_head, choose_proxy, read_proxy, tunnel_head
from tollway.upstream.wire import Origin

PROXY = Secret("http://proxy.example:3128")


def goes_through(host: str, *no_proxy: str, port: int = 443, scheme: str = "https") -> bool:
    settings = ProxySettings(https_proxy=PROXY, http_proxy=PROXY, no_proxy=no_proxy)
    return choose_proxy(settings, Origin(scheme, host, port)) is not None


@pytest.mark.parametrize(
    ("host", "rules", "through"),
    [
        ("api.example", (), True),
        ("api.example", ("",), True),
        ("api.example", ("*",), False),
        ("api.example", ("api.example",), False),
        ("API.Example", ("api.example",), False),
        ("eu.api.example", ("api.example",), False),
        ("eu.api.example", (".api.example",), False),
        ("eu.api.example", ("*.api.example",), False),
        ("notapi.example", ("api.example",), True),
        ("api.example", ("other.example", " api.example "), False),
        ("api.example", ("api.example:443",), False),
        ("api.example", ("api.example:8443",), True),
        ("10.1.2.3", ("10.0.0.0/8",), False),
        ("11.1.2.3", ("10.0.0.0/8",), True),
        ("10.1.2.3", ("10.1.2.3",), False),
        ("fd00::5", ("fd00::/8",), False),
        ("fd00::5", ("[fd00::5]:443",), False),
        ("fd00::5", ("[fd00::5]:80",), True),
        ("api.example", ("10.0.0.0/8",), True),
        ("localhost", (), False),
        ("127.0.0.5", (), False),
        ("::1", (), False),
    ],
)
def test_no_proxy_rules(host: str, rules: tuple[str, ...], through: bool) -> None:
    assert goes_through(host, *rules) is through


def test_each_scheme_has_its_own_proxy() -> None:
    settings = ProxySettings(https_proxy=PROXY)
    assert choose_proxy(settings, Origin("https", "api.example", 443)) == read_proxy(PROXY)
    assert choose_proxy(settings, Origin("http", "api.example", 80)) is None
    assert choose_proxy(None, Origin("https", "api.example", 443)) is None


def test_a_unix_socket_is_called_directly() -> None:
    settings = ProxySettings(http_proxy=PROXY)
    assert choose_proxy(settings, Origin("http", "api.example", 80, socket_path="/run/s")) is None


def test_a_proxy_is_taken_apart() -> None:
    proxy = read_proxy(Secret("https://us%3Aer:p%40ss@[::1]:8443"))
    assert (proxy.host, proxy.port, proxy.secure) == ("::1", 8443, True)
    assert proxy.authorization is not None
    assert proxy.authorization.reveal() == "Basic dXM6ZXI6cEBzcw=="
    assert read_proxy(Secret("http://proxy.example")).port == 80
    assert read_proxy(Secret("https://proxy.example")).port == 443


@pytest.mark.parametrize("url", ["socks5://u:secret@proxy.example", "proxy.example:3128", "http://", "http://h:secret"])
def test_what_is_no_proxy_stops_the_start_without_being_printed(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpClient(proxies=ProxySettings(http_proxy=Secret(url)))
    assert "secret" not in str(caught.value)


def test_an_address_is_bracketed_where_a_port_follows() -> None:
    proxy = read_proxy(PROXY)
    origin = Origin("http", "fd00::5", 8080)
    assert tunnel_head(proxy, origin) == b"CONNECT [fd00::5]:8080 HTTP/1.1\r\nhost: [fd00::5]:8080\r\n\r\n"
    assert absolute_head(proxy, origin, b"GET /a HTTP/1.1\r\nx: 1\r\n") == (
        b"GET http://[fd00::5]:8080/a HTTP/1.1\r\nx: 1\r\n"
    )
