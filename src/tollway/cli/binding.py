"""Where the gateway listens: which address is allowed with which master key, and the socket itself.

The parent binds, once. A port that is taken is an error, never a reason to listen somewhere else: clients would go on
calling whoever holds it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from tollway.cli.refusal import MASTER_KEY_REFUSED, Refused
from tollway.config import is_weak_master_key
from tollway.config.settings import AccessSettings

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  chosen only when a strong master key was set
BACKLOG = 2048


def choose_host(asked: str | None, access: AccessSettings) -> str:
    """The address to listen on: everywhere with a strong master key of the person's own, else this machine alone.

    Raises Refused (exit code 3) for a public address without such a key, unless the configuration permits it.
    """
    strong = access.master_key is not None and not is_weak_master_key(access.master_key.reveal())
    if asked is None:
        return EVERYWHERE if strong else LOOPBACK
    if strong or access.weak_master_key_permitted or is_loopback(asked):
        return asked
    lack = "no master key is set" if access.master_key is None else "the master key is too easy to guess"
    raise Refused(
        f"{lack}, so {asked} is not opened to others: set LITELLM_MASTER_KEY to something like "
        "sk-$(openssl rand -hex 24), or name no host to serve this machine alone",
        exit_code=MASTER_KEY_REFUSED,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than `localhost` counts as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet listening. Raises Refused when that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without it, a gateway that was just stopped keeps its own port from the next one for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # Two sockets may bind with the option above; who listens first has the port, and the other one learns it here.
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise Refused(_why_not(host, port, error)) from error
    return sock


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken, perhaps by another gateway (`lsof -i :{port}` names it): "
            "stop that one or choose another port with --port"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is kept for the system's own services: choose one above 1023 with --port"
    return (
        f"cannot listen on {host} port {port}: {error.strerror or error}; choose with --host (HOST) and --port (PORT)"
    )


def url_of(host: str, port: int, *, tls: bool) -> str:
    """Where a client on this machine finds the gateway."""
    name = "localhost" if host in {EVERYWHERE, "::"} else f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}"
