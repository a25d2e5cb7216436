"""Which proxy stands before an origin, if any, and what is said to it. No I/O.

An https origin is reached through a CONNECT tunnel with TLS inside it, a plain http origin by the absolute form of the
request line. Both as RFC 9112, section 3.2, and RFC 9110, section 9.3.6, have it.
"""

from __future__ import annotations

import base64
import ipaddress
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from tollway.calls import Secret
from tollway.errors import ConfigError
from tollway.upstream.wire import Origin


class ProxySettings(Struct, frozen=True):
    """Proxies as URLs (`http://user:password@proxy.example:3128`; `https://` speaks TLS with the proxy itself).

    `no_proxy` holds what is called directly: a host name (its subdomains too), `.suffix`, `host:port`, an IP address,
    a network in CIDR form, or `*` for everything. Loopback addresses and Unix sockets are always called directly.
    """

    https_proxy: Secret | None = None
    http_proxy: Secret | None = None
    no_proxy: tuple[str, ...] = ()


class Proxy(Struct, frozen=True):
    """One proxy, taken apart. `authorization` is the value of a `proxy-authorization` header."""

    host: str
    port: int
    secure: bool = False
    authorization: Secret | None = None


def read_proxy(url: Secret) -> Proxy:
    """Raises ConfigError for a URL that is not `http://` or `https://` with a host; the message does not hold the
    URL."""
    try:
        parts = urlsplit(url.reveal())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in {"http", "https"}:
        raise ConfigError(["A proxy must be a URL like http://proxy.example:3128 or https://proxy.example:3129."])
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = Secret("Basic " + base64.b64encode(pair.encode()).decode())
    secure = parts.scheme == "https"
    return Proxy(host=host, port=port or (443 if secure else 80), secure=secure, authorization=authorization)


def choose_proxy(settings: ProxySettings | None, origin: Origin) -> Proxy | None:
    """The proxy that `origin` is called through; None when it is called directly. Raises ConfigError like
    `read_proxy`."""
    if settings is None or origin.socket_path is not None:
        return None
    url = settings.https_proxy if origin.scheme == "https" else settings.http_proxy
    if not url or _is_loopback(origin.host) or any(_spares(rule, origin) for rule in settings.no_proxy):
        return None
    return read_proxy(url)


def tunnel_head(proxy: Proxy, origin: Origin) -> bytes:
    """The request that opens a tunnel. Holds the proxy's password."""
    place = _authority(origin)
    return f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{_authorization(proxy)}\r\n".encode("latin-1")


def absolute_head(proxy: Proxy, origin: Origin, head: bytes) -> bytes:
    """The same head with its request line in absolute form, for a proxy that relays plain http."""
    method, _, rest = head.partition(b" ")
    line, _, headers = rest.partition(b"\r\n")
    place, more = _authority(origin).encode(), _authorization(proxy).encode("latin-1")
    return b"%b http://%b%b\r\n%b%b" % (method, place, line, more, headers)


def _authority(origin: Origin) -> str:
    return f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"


def _authorization(proxy: Proxy) -> str:
    return f"proxy-authorization: {proxy.authorization.reveal()}\r\n" if proxy.authorization else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _spares(rule: str, origin: Origin) -> bool:
    rule = rule.strip().lower()
    host = origin.host.lower().rstrip(".")
    if not rule:
        return False
    if rule == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    try:
        network = ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        network = None
    if network is not None:
        return address is not None and address in network
    name, colon, port = rule.rpartition(":")
    if colon and port.isdigit():
        if int(port) != origin.port:
            return False
        rule = name.strip("[]")
    suffix = rule.removeprefix("*").removeprefix(".").rstrip(".")
    return host == suffix or (address is None and host.endswith("." + suffix))
