"""Whether a provider can be reached from here: name, connection, TLS and one HEAD request without a key, which costs nothing."""

from __future__ import annotations

import socket
import ssl
import time
from email.utils import parsedate_to_datetime

from msgspec import Struct

from tollway.errors import ConfigError
from tollway.upstream.dialing import make_context
from tollway.upstream.proxying import Proxy, ProxySettings, choose_proxy, tunnel_head
from tollway.upstream.wire import Origin

#: For each step, so that a host that swallows everything costs some seconds and not minutes.
STEP_S_MAX = 4.0
HEAD_BYTES_MAX = 32 << 10


class Reached(Struct, frozen=True):
    """`problem` is "" for a host that was reached, after `ms`; `skew_s` is how far its clock is ahead of ours, if it told."""

    origin: Origin
    problem: str = ""
    ms: float = 0.0
    skew_s: float | None = None


def reach(origin: Origin, proxies: ProxySettings) -> Reached:
    """Blocks for a few seconds at most. Never raises."""
    began = time.monotonic()
    try:
        proxy = choose_proxy(proxies, origin)
        with _connected(origin, proxy) as connection:
            ms = (time.monotonic() - began) * 1000
            return Reached(origin, ms=ms, skew_s=_skew_s(connection, origin))
    except TimeoutError:
        return Reached(origin, f"no answer within {STEP_S_MAX:.0f} s")
    except ssl.SSLError as error:
        return Reached(origin, f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}")
    except socket.gaierror as error:
        return Reached(origin, f"its name is not known: {error.strerror}")
    except OSError as error:
        return Reached(origin, error.strerror or str(error) or type(error).__name__)
    except ConfigError as error:
        return Reached(origin, " ".join(error.problems))


def _connected(origin: Origin, proxy: Proxy | None) -> socket.socket:
    if origin.socket_path is not None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(STEP_S_MAX)
        connection.connect(origin.socket_path)
        return connection
    place = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
    connection = socket.create_connection(place, timeout=STEP_S_MAX)
    try:
        if proxy is not None and proxy.secure:
            connection = ssl.create_default_context().wrap_socket(connection, server_hostname=proxy.host)
        if proxy is not None and origin.scheme == "https":
            connection.sendall(tunnel_head(proxy, origin))
            status = _head(connection).partition(b"\r\n")[0].decode("latin-1")
            if " 200" not in status:
                raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} says {status[:60]!r}")
        if origin.scheme == "https":
            connection = make_context(origin.tls).wrap_socket(connection, server_hostname=origin.host)
    except BaseException:
        connection.close()
        raise
    return connection


def _skew_s(connection: socket.socket, origin: Origin) -> float | None:
    """From the Date header of the answer to a HEAD request; None where none comes."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    try:
        connection.sendall(
            f"HEAD / HTTP/1.1\r\nhost: {host}\r\nuser-agent: tollway-doctor\r\nconnection: close\r\n\r\n".encode()
        )
        for line in _head(connection).split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"date":
                return parsedate_to_datetime(value.decode("latin-1").strip()).timestamp() - time.time()
    except (OSError, ValueError):
        return None
    return None


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES_MAX:
        piece = connection.recv(4096)
        if not piece:
            break
        head += piece
    return head
