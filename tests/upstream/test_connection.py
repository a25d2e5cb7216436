from __future__ import annotations

import gzip
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollway.errors import UpstreamBroken
from tollway.outbox import Outbox
from tollway.upstream.connection import Connection, Inflater, Reply, StaleConnection
from tollway.upstream.wire import Deadlines, Origin, WireRequest

from .servers import LAST_CHUNK, STREAM_HEAD, chunk, json_answer, post

BODY = b'data: {"text":"\xc3\xa9\xf0\x9f\x98\x80"}\n\n' * 3
EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ANSWERS = {
    "length": EVENT_STREAM + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "chunks": STREAM_HEAD + chunk(BODY[:7]) + chunk(BODY[7:50]) + chunk(BODY[50:]) + LAST_CHUNK,
    "extensions and trailers": STREAM_HEAD + b"%x;a=b\r\n%b\r\n0\r\nx-t: 1\r\nx-u: 2\r\n\r\n" % (len(BODY), BODY),
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    + STREAM_HEAD
    + chunk(BODY)
    + LAST_CHUNK,
    "gzip": EVENT_STREAM
    + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    + chunk(gzip.compress(BODY)[:11])
    + chunk(gzip.compress(BODY)[11:])
    + LAST_CHUNK,
    "until the end of the connection": EVENT_STREAM + b"\r\n" + BODY,
}


class FakeTransport:
    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: Any) -> None:
        self.written += b"".join(pieces)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0


class FakeLoop:
    now = 0.0

    def time(self) -> float:
        return self.now


class FakeKeeper:
    name = "api.example"
    head_bytes_max = 65536
    buffered_bytes_max = 262144
    in_use = 1

    def __init__(self) -> None:
        self.taken_back = 0
        self.outbox = Outbox(lambda flush: flush())

    def take_back(self, connection: Connection) -> None:
        self.taken_back += 1

    def forget(self, connection: Connection) -> None:
        pass


def converse(answer: bytes, cuts: list[int], *, streaming: bool) -> tuple[Reply, bytes, FakeKeeper]:
    """One exchange whose answer comes in the pieces between `cuts`; then the server closes."""
    keeper = FakeKeeper()
    connection = Connection(keeper, FakeLoop())  # type: ignore[arg-type]
    connection.connection_made(FakeTransport())  # type: ignore[arg-type]
    request = post(Origin("http", "api.example", 80), streaming=streaming)
    reply = connection.begin(request, request.head, Deadlines(), 0.0)
    edges = [0, *sorted(cut % len(answer) for cut in cuts), len(answer)]
    body = b""
    for start, end in pairwise(edges):
        if start < end:
            connection.data_received(answer[start:end])
            body += reply.take() if streaming else b""
    connection.eof_received()
    connection.connection_lost(None)
    return reply, body + reply.take() if streaming else reply.body or b"", keeper


@pytest.mark.parametrize("shape", ANSWERS)
@given(cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=12), streaming=st.booleans())
@example(cuts=list(range(2000)), streaming=True)
@example(cuts=list(range(2000)), streaming=False)
def test_an_answer_reads_the_same_in_whatever_pieces_it_comes(shape: str, cuts: list[int], streaming: bool) -> None:
    reply, body, keeper = converse(ANSWERS[shape], cuts, streaming=streaming)
    assert body == BODY
    assert reply.ended
    assert dict(reply.headers)[b"content-type"] == b"text/event-stream"
    assert {b"link", b"x-t", b"x-u"}.isdisjoint(dict(reply.headers))
    assert keeper.taken_back == (shape != "until the end of the connection")


@pytest.mark.parametrize("shape", [name for name in ANSWERS if name != "until the end of the connection"])
@given(length=st.integers(min_value=0, max_value=2000), streaming=st.booleans())
def test_a_cut_answer_is_never_taken_for_a_whole_one(shape: str, length: int, streaming: bool) -> None:
    answer = ANSWERS[shape]
    reply, body, keeper = converse(answer[: length % len(answer)] or b"H", [], streaming=streaming)
    assert not reply.ended
    assert BODY.startswith(body)
    assert keeper.taken_back == 0


def test_a_large_body_is_sent_like_a_small_one() -> None:
    connection = Connection(FakeKeeper(), FakeLoop())  # type: ignore[arg-type]
    transport = FakeTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    request = WireRequest(Origin("http", "h", 80), b"POST / HTTP/1.1\r\n", b"x" * 1_000_000)
    connection.begin(request, request.head, Deadlines(), 0.0)
    assert transport.written == b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n" + request.body


def test_nothing_prints_what_was_answered() -> None:
    reply, _, _ = converse(json_answer(b'{"secret":1}'), [], streaming=False)
    assert repr(reply) == "Reply(200, complete)"


@given(
    data=st.binary(max_size=2000), size=st.integers(min_value=1, max_value=100), wbits=st.sampled_from([31, 15, -15])
)
def test_inflating_piece_by_piece_gives_the_whole(data: bytes, size: int, wbits: int) -> None:
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(data) + packer.flush()
    inflater = Inflater(gzip=wbits == 31)
    pieces = [inflater.decode(packed[start : start + size], 10_000) for start in range(0, len(packed), size)]
    assert b"".join(pieces) == data
    assert inflater.ended


@pytest.mark.parametrize("members", [1, 3])
def test_inflating_stops_one_byte_above_the_bound(members: int) -> None:
    assert len(Inflater(gzip=True).decode(gzip.compress(b"\0" * 100_000) * members, 99_999)) == 100_000


@pytest.mark.parametrize(("after_s", "error"), [(1.0, StaleConnection), (6.0, UpstreamBroken)])
def test_a_pooled_connection_is_stale_only_soon_after_it_was_used(after_s: float, error: type[Exception]) -> None:
    loop = FakeLoop()
    connection = Connection(FakeKeeper(), loop)  # type: ignore[arg-type]
    connection.connection_made(FakeTransport())  # type: ignore[arg-type]
    connection.reused = True
    request = post(Origin("http", "api.example", 80))
    reply = connection.begin(request, request.head, Deadlines(), 0.0)
    loop.now = after_s
    connection.connection_lost(ConnectionResetError())
    assert type(reply._error) is error
