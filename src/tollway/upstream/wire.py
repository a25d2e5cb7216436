"""What goes through the door to the network and what comes back."""

from __future__ import annotations

from typing import Protocol

from tollway.values import HashedValue, Value


class Tls(Value, frozen=True):
    """How to trust a server. `verify` False trusts anyone; `ca_file` names a bundle; `cert_file` and `key_file` are a client
    certificate."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


def trusting(verify: bool | str | None, *, cert_file: str | None = None, key_file: str | None = None) -> Tls:
    """By what a setting says: `verify` False trusts anyone, a text is the path of a bundle, anything else the usual one."""
    return Tls(
        verify=verify is not False,
        ca_file=verify if isinstance(verify, str) else None,
        cert_file=cert_file,
        key_file=key_file,
    )


class Origin(HashedValue, frozen=True):
    """Who is called: connections to equal origins are shared."""

    scheme: str  # "http" or "https"
    host: str
    port: int
    tls: Tls = Tls()
    socket_path: str | None = None


class Deadlines:
    """Seconds. `first_byte_s` runs from the request's end to the first body byte, `idle_s` between bytes, `total_s` over all."""

    __slots__ = ("connect_s", "first_byte_s", "idle_s", "total_s")

    def __init__(
        self,
        connect_s: float = 10.0,
        first_byte_s: float = 600.0,
        idle_s: float = 600.0,
        total_s: float = 6000.0,
    ) -> None:
        self.connect_s = connect_s
        self.first_byte_s = first_byte_s
        self.idle_s = idle_s
        self.total_s = total_s


class WireRequest:
    """One request. `head` is everything before the body but its length: request line and headers, each line ended by CRLF,
    without the empty line. It holds keys, so nothing may print it.

    `streaming` True: the reply is given as soon as its head and the first body bytes are there (whole, if it is an error or
    not an event stream). False: when it is whole. `reply_bytes_max` bounds a whole reply.
    """

    __slots__ = ("body", "head", "origin", "reply_bytes_max", "streaming")

    def __init__(
        self, origin: Origin, head: bytes, body: bytes, *, streaming: bool = False, reply_bytes_max: int = 64 << 20
    ) -> None:
        self.origin = origin
        self.head = head
        self.body = body
        self.streaming = streaming
        self.reply_bytes_max = reply_bytes_max

    def __repr__(self) -> str:
        return f"WireRequest({self.origin.scheme}://{self.origin.host}:{self.origin.port}, {len(self.body)} bytes)"


class WireReply(Protocol):
    """The answer. Header names are lower case. `body` is the whole body, or None for a stream that is read piece by piece."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | None

    @property
    def ended(self) -> bool:
        """Nothing more will come, or is left to read."""
        ...

    def take(self) -> bytes:
        """All bytes that have come since the last read, maybe none; never waits."""
        ...

    async def read(self) -> bytes:
        """All bytes that have come since the last read; waits for some; b"" at the end. Decoded if the server compressed them."""
        ...

    def close(self) -> None:
        """Ends the exchange. The connection goes back to the pool when the reply was read to its end, else it is closed at once.
        May be called any number of times."""
        ...


class Upstream(Protocol):
    async def send(self, request: WireRequest, deadlines: Deadlines) -> WireReply:
        """Raises UpstreamUnreachable, UpstreamTimeout or UpstreamBroken. A task that is cancelled here closes the connection."""
        ...

    async def close(self) -> None: ...
