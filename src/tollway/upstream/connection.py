"""One HTTP/1.1 connection to an origin, and the reply that comes over it.

A Connection lives as long as its socket and parses one reply after another; a Reply is what `HttpClient.send` hands
out. What the network brings in one read becomes one piece of the body: there is no queue, no task and no timer of its
own. The client's sweep calls `check` to hold an exchange to its deadlines.

Laws:
- A reply that is complete has let go of its connection, which is then pooled or closed already.
- A failure is kept in the reply and raised in the task that awaits it; what came before it can still be read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tollway.errors import UpstreamBroken, UpstreamTimeout
from tollway.outbox import Outbox
from tollway.upstream.wire import Deadlines, WireRequest

#: Bodies up to this size are joined to their head; larger ones are given to the loop beside it, which spares a copy.
JOINED_BODY_BYTES_MAX = 65536

#: A connection that the server had closed before it was used again shows that within a round trip. One that is closed
#: later was used: the server gave up on a request it may have worked on, and sending it again may cost twice.
STALE_S_MAX = 5.0

Headers = list[tuple[bytes, bytes]]


class StaleConnection(Exception):
    """A pooled connection was closed before it answered anything: the request may be sent again over a new one."""


class _Enough(Exception):
    """Raised inside the parser: the answer is complete, whatever follows is not part of it."""


class Keeper(Protocol):
    """Who keeps connections: the pool of one origin."""

    name: str
    head_bytes_max: int
    buffered_bytes_max: int
    outbox: Outbox

    @property
    def in_use(self) -> int:
        """How many of its connections are."""
        ...

    def take_back(self, connection: Connection) -> None:
        """It is free again."""
        ...

    def forget(self, connection: Connection) -> None:
        """It is closed or closing. Called more than once."""
        ...


class Reply:
    """A WireReply. `take` and `ended` spare a reader the await when bytes are there already:

    while piece := reply.take() or await reply.read(): ...
    """

    __slots__ = (
        "_complete",
        "_connection",
        "_error",
        "_pieces",
        "_waiter",
        "body",
        "buffered",
        "bytes_max",
        "headers",
        "status",
        "streamed",
        "streaming",
    )

    def __init__(self, connection: Connection, request: WireRequest) -> None:
        self.status = 0
        self.headers: Headers = []
        self.body: bytes | None = None
        self.streaming = request.streaming
        self.streamed = False
        self.bytes_max = request.reply_bytes_max
        self._connection: Connection | None = connection
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self.buffered = 0
        self._complete = False
        self._error: Exception | None = None

    def __repr__(self) -> str:
        return f"Reply({self.status}, {'complete' if self._complete else 'open'})"

    @property
    def ended(self) -> bool:
        """True when nothing more will come: the next `read` gives b"" without waiting."""
        return self._complete and not self._pieces

    def take(self) -> bytes:
        """What has come since the last read, without waiting: b"" when there is nothing now. Raises nothing."""
        pieces = self._pieces
        if not pieces:
            return b""
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.buffered = 0
        connection = self._connection
        if connection is not None and connection.paused:
            connection.resume()
        return piece

    async def read(self) -> bytes:
        """Raises UpstreamBroken when the connection was cut before the body's end, UpstreamTimeout when a deadline
        passed."""
        if not self._pieces:
            await self.wait()
        return self.take()

    def close(self) -> None:
        """Any number of times; a reply that is complete is let go of already."""
        connection = self._connection
        if connection is not None:
            # An unread rest would have to be waited for before the connection could serve again: closing is cheaper.
            connection.fail(UpstreamBroken("The reply was closed before its end."))

    # -- what the client and the connection do with it

    async def wait(self) -> None:
        """Returns when there is something to hand out; raises what ended the exchange before that."""
        connection = self._connection
        if connection is not None:
            waiter = self._waiter = connection.loop.create_future()
            try:
                await waiter
            except BaseException:
                # Nobody waits for this reply any more.
                self.close()
                raise
        if self._error is not None and not self._pieces:
            raise self._error

    def deliver(self, piece: bytes) -> int:
        """Takes a piece in; returns how many bytes are held."""
        self._pieces.append(piece)
        self.buffered += len(piece)
        if self.streamed:
            self._wake()
        return self.buffered

    def complete(self) -> None:
        self._complete = True
        self._connection = None
        if not self.streamed:
            self.body = self.take()
        self._wake()

    def fail(self, error: Exception) -> None:
        self._connection = None
        self._error = error
        if not self.streamed:
            self._pieces.clear()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            # Errors are kept and raised by `wait`, not set on the future: when its task has been cancelled meanwhile,
            # the loop would complain that nobody took the error.
            if not waiter.done():
                waiter.set_result(None)


class Connection:
    """One socket. Sends a request, parses its reply, goes back to its keeper or closes itself.

    An `asyncio.Protocol` by its methods, not by its base: a class that is compiled has no base that is not.
    """

    __slots__ = (
        "_begun",
        "_complete",
        "_deadlines",
        "_decoder",
        "_ends_at",
        "_feed",
        "_head_bytes_max",
        "_head_done",
        "_headers",
        "_heard_at",
        "_interim",
        "_named",
        "_oversized",
        "_parser",
        "_parts",
        "_reads",
        "_reads_checked",
        "_reusable",
        "_sent_at",
        "_unproductive",
        "_unsent",
        "_without_body",
        "idle_since",
        "keeper",
        "loop",
        "lost",
        "on_body",
        "paused",
        "reply",
        "reused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self.keeper = keeper
        self.loop = loop
        self.reply: Reply | None = None
        self.reused = False
        self.lost = False
        self.paused = False
        self.idle_since = 0.0
        self._head_bytes_max = keeper.head_bytes_max
        self._interim = False
        self._headers: Headers = []
        self._named: dict[bytes, bytes] = {}
        self._decoder: Inflater | None = None
        self._parts: list[bytes] = []
        # The parser puts body bytes straight into this list: no Python frame per part.
        self.on_body: Callable[[bytes], None] = self._parts.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    # -- one exchange

    def begin(self, request: WireRequest, head: bytes, deadlines: Deadlines, started_at: float) -> Reply:
        """Sends the request. The reply's waiter is done when the reply can be handed out or has failed."""
        self._head_done = self._complete = self._begun = self._without_body = self._oversized = False
        self._reusable = True
        self._reads = self._reads_checked = self._unproductive = self._unsent = 0
        self._headers = []
        self._deadlines = deadlines
        self._sent_at = self.loop.time()
        self._ends_at = started_at + deadlines.total_s
        body = request.body
        if not body and head.startswith((b"GET ", b"HEAD ")):
            self._without_body = head.startswith(b"HEAD ")
            self.keeper.outbox.put(self.transport, head + b"\r\n")
        elif len(body) <= JOINED_BODY_BYTES_MAX:
            self.keeper.outbox.put(self.transport, b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        else:
            self.keeper.outbox.put(self.transport, b"%bcontent-length: %d\r\n\r\n" % (head, len(body)), body)
        if self.keeper.in_use <= 1:  # nobody else sends anything there in this turn
            self.keeper.outbox.flush()
        reply = self.reply = Reply(self, request)
        return reply

    def check(self, now: float) -> None:
        """Ends the exchange with UpstreamTimeout when a deadline has passed."""
        deadlines, whom = self._deadlines, self.keeper.name
        if now >= self._ends_at:
            self.fail(UpstreamTimeout(f"{whom} was not done within {deadlines.total_s:g} s."))
        elif not self._begun:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                # The request's end has not been sent yet, but there is progress.
                self._unsent = unsent
                self._sent_at = now
            elif now - self._sent_at >= deadlines.first_byte_s:
                self.fail(UpstreamTimeout(f"{whom} did not answer within {deadlines.first_byte_s:g} s."))
        elif self._reads != self._reads_checked or self.paused:
            # Reads are counted here and not timed one by one: a stall is noticed at most one sweep late.
            self._reads_checked = self._reads
            self._heard_at = now
        elif now - self._heard_at >= deadlines.idle_s:
            self.fail(UpstreamTimeout(f"{whom} sent nothing for {deadlines.idle_s:g} s."))

    def fail(self, error: Exception) -> None:
        """Ends the exchange, if there is one, with `error`, and closes the socket."""
        reply = self.reply
        if reply is not None:
            reply.fail(error)
        self.abort()

    def abort(self) -> None:
        """Closes the socket at once."""
        self.reply = None
        self.keeper.forget(self)
        self.transport.abort()

    def resume(self) -> None:
        self.paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport, on every loop

    def data_received(self, data: bytes) -> None:
        reply = self.reply
        if reply is None:
            # Nobody asked. Whatever it is, it must not be taken for the next request's answer.
            self.abort()
            return
        self._reads += 1
        if len(data) > self._head_bytes_max:
            self._oversized = True
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._complete:
                self.fail(self._broken_by(error))
                return
            self._reusable = False
        parts = self._parts
        if parts:
            if len(parts) == 1:
                piece = parts.pop()
            else:
                piece = b"".join(parts)
                parts.clear()
            self._begun = True
            self._unproductive = 0
            if not self._take_in(reply, piece):
                return
        elif not self._complete:
            self._unproductive += len(data)
            if self._unproductive > self.keeper.head_bytes_max:
                self.fail(self._broken(f"sent more than {self.keeper.head_bytes_max} bytes of headers"))
            return
        if self._complete:
            self._finish(reply)

    def eof_received(self) -> None:
        self._close_exchange(None)
        self.keeper.forget(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._close_exchange(exc)
        self.keeper.forget(self)
        # The parser holds methods of ours: without this only the garbage collector would free the two.
        self._parser = None
        self._feed = _take_no_more

    def pause_writing(self) -> None:
        """A request is written at once and never waited for: the loop keeps what the socket does not take."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    # -- called by the parser

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Enough  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        reply = self.reply
        parser = self._parser
        if reply is None or parser is None:
            return
        headers = self._headers
        self._headers = []  # trailers gather here and are dropped
        if self._oversized:
            self._bound_head(headers)
        status = parser.get_status_code()
        if status < 200:
            self._interim = True
            return
        self._head_done = True
        reply.status = status
        reply.headers = headers
        named = {name: value for name, value in headers}  # noqa: C416  compiled, this is half the time of `dict`
        self._named = named
        if reply.streaming and status < 300:
            reply.streamed = not _is_json(named.get(b"content-type", b""))
        coding = named.get(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            raise self._broken("answered in a transfer coding nobody asked for")
        encoding = named.get(b"content-encoding")
        self._decoder = None if encoding is None else self._choose_decoder(reply, encoding)
        if self._without_body:
            # The parser cannot be told that the length speaks of a body that does not come.
            self._complete = True
            raise _Enough

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._parser is not None:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()

    # -- the body and its end

    def _take_in(self, reply: Reply, piece: bytes) -> bool:
        """Hands a piece to the reply. False when the exchange failed over it."""
        decoder = self._decoder
        if decoder is not None:
            room = reply.bytes_max if reply.streamed else reply.bytes_max - reply.buffered
            try:
                piece = decoder.decode(piece, room)
            except zlib.error:
                self.fail(self._broken("sent a compressed body that cannot be read"))
                return False
            if not piece:
                return True
            if len(piece) > room:
                self.fail(self._broken(f"sent more than {reply.bytes_max} bytes"))
                return False
        held = reply.deliver(piece)
        if reply.streamed:
            if held > self.keeper.buffered_bytes_max and not self._complete and not self.paused:
                self.paused = True
                self.transport.pause_reading()
        elif held > reply.bytes_max:
            self.fail(self._broken(f"sent more than {reply.bytes_max} bytes"))
            return False
        return True

    def _finish(self, reply: Reply) -> None:
        """The message is complete: lets go of the reply, then of the socket."""
        decoder = self._decoder
        if decoder is not None and not decoder.ended:
            self.fail(self._broken("sent a compressed body without its end"))
            return
        self.reply = None
        reply.complete()
        # Bytes not yet written: the server answered early and does not want the rest of the request.
        if self._reusable and not self.transport.get_write_buffer_size():
            self.keeper.take_back(self)
        else:
            self.abort()

    def _close_exchange(self, cause: Exception | None) -> None:
        """The server closed the connection: good news only for a body whose end that is."""
        reply = self.reply
        if reply is None:
            return
        if self._reads == 0 and self.reused and self.loop.time() - self._sent_at <= STALE_S_MAX:
            self.fail(StaleConnection())
        elif self._head_done and cause is None and self._ends_with_connection():
            self._reusable = False
            self._finish(reply)
        else:
            error = self._broken("closed the connection before the end of its answer")
            error.__cause__ = cause
            self.fail(error)

    def _ends_with_connection(self) -> bool:
        """RFC 9112, section 6.3, item 8: neither a length nor chunks."""
        return b"content-length" not in self._named and b"transfer-encoding" not in self._named

    def _choose_decoder(self, reply: Reply, encoding: bytes) -> Inflater | None:
        encoding = encoding.strip().lower()
        if encoding in (b"", b"identity"):
            return None
        if encoding not in (b"gzip", b"x-gzip", b"deflate"):
            raise self._broken(f"answered in an encoding nobody asked for ({encoding[:40].decode('latin-1')!r})")
        # They speak of the bytes that came, not of those that are handed out.
        reply.headers = [pair for pair in reply.headers if pair[0] not in (b"content-encoding", b"content-length")]
        return Inflater(gzip=encoding != b"deflate")

    def _bound_head(self, headers: Headers) -> None:
        if sum(len(name) + len(value) + 4 for name, value in headers) > self.keeper.head_bytes_max:
            raise self._broken(f"sent more than {self.keeper.head_bytes_max} bytes of headers")

    def _broken(self, what: str) -> UpstreamBroken:
        return UpstreamBroken(f"{self.keeper.name} {what}.")

    def _broken_by(self, error: Exception) -> UpstreamBroken:
        """What the parser raised; what we raised inside of it stands in its context."""
        if isinstance(error.__context__, UpstreamBroken):
            return error.__context__
        broken = self._broken("sent what is not an HTTP/1.1 answer")
        broken.__cause__ = error
        return broken


class Inflater:
    """Decodes gzip (several members too) and deflate (with zlib's wrapping or bare: servers disagree) piece by
    piece."""

    __slots__ = ("_begun", "_gzip", "_held", "_zlib")

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._zlib = zlib.decompressobj(31) if gzip else None
        self._held = b""
        self._begun = False

    @property
    def ended(self) -> bool:
        """True at the end of a member, and before anything came: a body may be empty."""
        return not self._begun or (self._zlib is not None and self._zlib.eof)

    def decode(self, piece: bytes, bytes_max: int) -> bytes:
        """At most one byte more than `bytes_max`, whatever was put in. Raises zlib.error."""
        self._begun = True
        if self._zlib is None:
            self._held = piece = self._held + piece
            if len(piece) < 2:
                return b""
            # RFC 1950: the wrapper's first two bytes name method 8 and are, as a number, a multiple of 31.
            wrapped = piece[0] & 15 == 8 and int.from_bytes(piece[:2], "big") % 31 == 0
            self._zlib = zlib.decompressobj(15 if wrapped else -15)
            self._held = b""
        decoded = self._zlib.decompress(piece, bytes_max + 1)
        rest = self._zlib.unused_data
        while rest and self._gzip and len(decoded) <= bytes_max:
            self._zlib = zlib.decompressobj(31)
            decoded += self._zlib.decompress(rest, bytes_max + 1 - len(decoded))
            rest = self._zlib.unused_data
        return decoded


def _take_no_more(data: bytes) -> None:
    """Of a connection that is lost: nothing comes on it."""


def _is_json(content_type: bytes) -> bool:
    if content_type.startswith(b"text/event-stream"):
        return False
    media = content_type.partition(b";")[0].strip().lower()
    return media == b"application/json" or media.endswith(b"+json")
