"""Where a request comes from: who opened the connection, or whom a proxy in front says it speaks for."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any


def client_address(scope: Any, *, forwarded: bool) -> str:
    """The client's address, "" where the server tells none.

    With `forwarded` it is the last address in `x-forwarded-for`, if there is one: what the nearest proxy saw and wrote itself. What
    stands before it is the client's own word, and could be another one each time.
    """
    if forwarded:
        for name, value in reversed(scope["headers"]):
            if name == b"x-forwarded-for":
                written = _address(value.rpartition(b",")[2].strip().decode("latin-1"))
                if written:
                    return written
                break
    return str((scope.get("client") or ("", 0))[0])


def _address(written: str) -> str:
    """An address without its port, as it is usually written; "" for what is none."""
    if written.startswith("["):
        written = written[1:].partition("]")[0]
    elif written.count(":") == 1:
        written = written.partition(":")[0]
    try:
        return "" if "%" in written else str(ip_address(written))
    except ValueError:
        return ""
