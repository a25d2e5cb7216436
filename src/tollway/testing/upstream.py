"""An `Upstream` without sockets: it plays scripted replies and keeps what was sent.

    clock = FakeClock()
    upstream = FakeUpstream(clock)
    upstream.reply_to("/v1/chat/completions", FakeReply.json({"choices": []}))
    upstream.reply_to("/v1/messages", FakeReply.stream(b"event: ping\\n\\n", Pause(30), b"event: done\\n\\n"))
    ...
    assert upstream.requests[0].json()["model"] == "gpt-4o"

Deadlines hold as they do on the network, by the fake clock: a pause that is longer than `first_byte_s` or `idle_s`
ends in UpstreamTimeout as soon as the clock has moved that far.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct, field

from tollway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from tollway.testing.clock import FakeClock
from tollway.upstream.wire import Deadlines, Origin, WireRequest


class Pause(Struct, frozen=True):
    """A provider that takes its time: `s` seconds of the fake clock."""

    s: float


class Gate:
    """A provider that goes on when the test says so, with `open`."""

    def __init__(self) -> None:
        self._opened = False
        self._waiting: list[Callable[[], None]] = []

    def open(self) -> None:
        self._opened = True
        for call in self._waiting:
            call()
        self._waiting.clear()

    def when_open(self, call: Callable[[], None]) -> None:
        if self._opened:
            call()
        else:
            self._waiting.append(call)


class Cut(Struct, frozen=True):
    """The connection breaks here."""


Part = bytes | Pause | Gate | Cut


class FakeReply(Struct, frozen=True):
    """What the provider answers. `parts` are played in order; each bytes object is what one `read` gives.

    `error` is raised by `send` instead of a reply.
    """

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    parts: tuple[Part, ...] = ()
    error: UpstreamError | None = None

    @staticmethod
    def json(
        value: Any, status: int = 200, headers: dict[str, str] | None = None, after: Pause | Gate | None = None
    ) -> FakeReply:
        """`value` as JSON, or the bytes themselves; `after` a pause."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        parts: tuple[Part, ...] = (body,) if after is None else (after, body)
        return FakeReply(status, _headers("application/json", headers), parts)

    @staticmethod
    def stream(
        *parts: Part, headers: dict[str, str] | None = None, content_type: str = "text/event-stream"
    ) -> FakeReply:
        """Pieces, with pauses, gates and a cut among them."""
        return FakeReply(200, _headers(content_type, headers), parts)

    @staticmethod
    def failing(error: UpstreamError) -> FakeReply:
        """No answer at all: `send` raises `error`, for example UpstreamUnreachable."""
        return FakeReply(error=error)


class FakeRequest(Struct):
    """A request as it went out. Header names are lower case; of a repeated header the last value is kept.

    `finished` says that the reply was read to its end, `closed` that it was let go of before, `paused` that somebody waits for
    its next part.
    """

    origin: Origin
    method: str
    path: str  # without the query
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    streaming: bool
    deadlines: Deadlines
    finished: bool = False
    closed: bool = False
    paused: bool = False

    def json(self) -> Any:
        """Raises msgspec.DecodeError when the body is not JSON."""
        return msgspec.json.decode(self.body)


Script = FakeReply | Callable[[FakeRequest], FakeReply]


class FakeUpstream:
    """Implements `Upstream`. `requests` holds every request, in order."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.requests: list[FakeRequest] = []
        self.closed = False
        self._rules: list[tuple[str | None, str | None, str | None, deque[Script]]] = []

    def reply_to(self, path: str | None, *replies: Script, method: str | None = None, host: str | None = None) -> None:
        """Answers requests to `path` (None: any), and to `method` and `host` if given, with `replies` in turn.

        The last reply serves from then on. A callable is given the request and returns the reply. Of several rules
        that fit, the one added last is obeyed.
        """
        if not replies:
            raise ValueError("reply_to wants at least one reply.")
        self._rules.insert(0, (path, method, host, deque(replies)))

    async def send(self, request: WireRequest, deadlines: Deadlines) -> FakeWireReply:
        """Raises AssertionError for a request that nothing was scripted for."""
        seen = read_request(request, deadlines)
        self.requests.append(seen)
        script = self._find(seen)
        answer = script(seen) if callable(script) else script
        if answer.error is not None:
            raise answer.error
        reply = FakeWireReply(answer, seen, request, self.clock)
        await reply.begin()
        return reply

    async def close(self) -> None:
        self.closed = True

    def _find(self, request: FakeRequest) -> Script:
        for path, method, host, replies in self._rules:
            if (
                path in (None, request.path)
                and method in (None, request.method)
                and host in (None, request.origin.host)
            ):
                return replies.popleft() if len(replies) > 1 else replies[0]
        scripted = ", ".join(sorted({rule[0] or "any path" for rule in self._rules})) or "nothing"
        asked = f"{request.method} {request.path} at {request.origin.host!r}"
        raise AssertionError(f"No reply is scripted for {asked}; scripted: {scripted}.")


class FakeWireReply:
    """A WireReply that plays a script."""

    def __init__(self, answer: FakeReply, seen: FakeRequest, request: WireRequest, clock: FakeClock) -> None:
        self.status = answer.status
        self.headers = list(answer.headers)
        self.body: bytes | None = None
        self._parts = deque(answer.parts)
        self._seen = seen
        self._request = request
        self._clock = clock
        self._sent_at = self._heard_at = clock.monotonic()
        self._begun = False
        self._error: UpstreamError | None = None

    @property
    def ended(self) -> bool:
        return not self._parts and self._error is None

    async def begin(self) -> None:
        """Plays until there is something to hand out: the first piece of a stream, else the whole body."""
        kind = dict(self.headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
        whole = kind == b"application/json" or kind.endswith(b"+json")
        if self._request.streaming and 200 <= self.status < 300 and not whole:
            await self._reach_piece()
            return
        pieces = []
        while await self._reach_piece():
            pieces.append(self.take())
            if sum(map(len, pieces)) > self._request.reply_bytes_max:
                raise self._fail(UpstreamBroken(f"{self._whom} sent more than {self._request.reply_bytes_max} bytes."))
        self.body = b"".join(pieces)

    def take(self) -> bytes:
        if not self._parts or not isinstance(self._parts[0], bytes):
            return b""
        piece = self._parts.popleft()
        assert isinstance(piece, bytes)  # checked above; for the type checker
        self._heard_at = self._clock.monotonic()
        self._begun = True
        self._seen.finished = not self._parts
        return piece

    async def read(self) -> bytes:
        return self.take() if await self._reach_piece() else b""

    def close(self) -> None:
        if self._parts and self._error is None:
            self._fail(UpstreamBroken("The reply was closed before its end."))
            self._seen.closed = True

    async def _reach_piece(self) -> bool:
        """Plays until a piece is next; False at the end."""
        while self._error is None and self._parts:
            part = self._parts[0]
            if isinstance(part, bytes):
                return True
            if isinstance(part, Cut):
                self._fail(UpstreamBroken(f"{self._whom} closed the connection before the end of its answer."))
            else:
                try:
                    await self._wait_for(part)
                except asyncio.CancelledError:
                    self.close()
                    raise
                if self._error is None:
                    self._parts.popleft()
        if self._error is not None:
            raise self._error
        self._seen.finished = True
        return False

    async def _wait_for(self, part: Pause | Gate) -> None:
        deadlines, now = self._seen.deadlines, self._clock.monotonic()
        over: asyncio.Future[UpstreamError | None] = asyncio.get_running_loop().create_future()

        def go_on(error: UpstreamError | None = None) -> None:
            if not over.done():
                over.set_result(error)

        if isinstance(part, Pause):
            self._clock.call_after(part.s, go_on)
        else:
            part.when_open(go_on)
        stall, limit_s, since = (
            f"did not answer within {deadlines.first_byte_s:g} s",
            deadlines.first_byte_s,
            self._sent_at,
        )
        if self._begun:
            stall, limit_s, since = f"sent nothing for {deadlines.idle_s:g} s", deadlines.idle_s, self._heard_at
        late = UpstreamTimeout(f"{self._whom} {stall}.")
        never = UpstreamTimeout(f"{self._whom} was not done within {deadlines.total_s:g} s.")
        self._clock.call_after(since + limit_s - now, lambda: go_on(late))
        self._clock.call_after(self._sent_at + deadlines.total_s - now, lambda: go_on(never))
        self._seen.paused = True
        try:
            error = await over
        finally:
            self._seen.paused = False
        if error is not None:
            self._fail(error)

    def _fail(self, error: UpstreamError) -> UpstreamError:
        self._error = error
        self._parts.clear()
        return error

    @property
    def _whom(self) -> str:
        return self._request.origin.host


def read_request(request: WireRequest, deadlines: Deadlines) -> FakeRequest:
    """Takes a head apart. Raises AssertionError for one that no server would understand."""
    lines = request.head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or lines[-1] != "" or "" in lines[:-1] or words[2] != "HTTP/1.1":
        raise AssertionError(
            "A head is a request line and headers, each ended by CRLF, without the empty line; "
            f"this one has {len(lines) - 1} lines and begins with {lines[0]!r}."
        )
    headers: dict[str, str] = {}
    for line in lines[1:-1]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise AssertionError(f"Not a header: its name is {name!r}.")
        headers[name.lower()] = value.strip()
    if "content-length" in headers or "transfer-encoding" in headers:
        raise AssertionError("The length of the body is written by the upstream, not by the one who makes the head.")
    path, _, query = words[1].partition("?")
    return FakeRequest(
        origin=request.origin,
        method=words[0],
        path=path,
        query=parse_qs(query, keep_blank_values=True),
        headers=headers,
        body=request.body,
        streaming=request.streaming,
        deadlines=deadlines,
    )


def _headers(content_type: str, more: dict[str, str] | None) -> list[tuple[bytes, bytes]]:
    pairs = {"content-type": content_type, **{name.lower(): value for name, value in (more or {}).items()}}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
