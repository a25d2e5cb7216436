from __future__ import annotations

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import Callable

import pytest

from tollway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tollway.outbox import Outbox
from tollway.upstream.client import HttpClient, Pool, PoolStats
from tollway.upstream.connection import Connection
from tollway.upstream.wire import Deadlines, Origin, WireRequest

from .servers import IN_TIME, LAST_CHUNK, STREAM_HEAD, Serve, Talk, chunk, json_answer, post, read_all, saying


async def until(true: Callable[[], object], *, s_max: float = 30.0) -> None:
    """Lets the loop turn until `true()` holds: for what the other side of a socket has to notice."""
    deadline = time.monotonic() + s_max
    while time.monotonic() < deadline:
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


# -- whole replies


async def test_a_json_reply_is_whole_and_its_header_names_are_lower_case(serve: Serve, client: HttpClient) -> None:
    server = await serve(json_answer(b'{"a":1}', more=b"X-Request-ID: Abc\r\n"))
    reply = await client.send(post(server.origin()), IN_TIME)
    assert (reply.status, reply.body) == (200, b'{"a":1}')
    assert (b"x-request-id", b"Abc") in reply.headers
    assert reply.ended
    assert await reply.read() == b""


async def test_a_request_goes_out_as_it_was_made_with_its_length_added(serve: Serve, client: HttpClient) -> None:
    heard = []

    async def script(talk: Talk) -> None:
        while True:
            heard.append(await talk.hear())
            await talk.say(json_answer())

    server = await serve(script)
    large = bytes(range(256)) * 1024
    for body in (b"", b"{}", large):
        await client.send(WireRequest(server.origin(), b"POST /p?q=1 HTTP/1.1\r\nhost: h\r\n", body), IN_TIME)
    await client.send(WireRequest(server.origin(), b"GET /g HTTP/1.1\r\nhost: h\r\n", b""), IN_TIME)
    head = b"POST /p?q=1 HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b"
    assert heard == [
        head % (0, b""),
        head % (2, b"{}"),
        head % (len(large), large),
        b"GET /g HTTP/1.1\r\nhost: h\r\n\r\n",
    ]


async def test_the_connection_freed_last_serves_the_next_request(serve: Serve, client: HttpClient) -> None:
    server = await serve(json_answer())
    for _ in range(3):
        await client.send(post(server.origin()), IN_TIME)
    assert len(server.talks) == 1
    assert client.stats()[server.origin()].idle == 1


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 Oops", "302 Found"])
async def test_an_error_is_whole_though_a_stream_was_asked_for(serve: Serve, client: HttpClient, status: str) -> None:
    answer = STREAM_HEAD.replace(b"200 OK", status.encode()) + chunk(b"no, ") + chunk(b"sorry") + LAST_CHUNK
    server = await serve(answer)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    assert (reply.status, reply.body) == (int(status[:3]), b"no, sorry")


async def test_a_json_reply_is_whole_though_a_stream_was_asked_for(serve: Serve, client: HttpClient) -> None:
    server = await serve(json_answer(b"{}"))
    assert (await client.send(post(server.origin(), streaming=True), IN_TIME)).body == b"{}"


@pytest.mark.parametrize(
    "kind", [b"audio/mpeg", b"application/octet-stream", b"application/x-ndjson", b"text/event-stream"]
)
async def test_what_is_not_json_streams(serve: Serve, client: HttpClient, kind: bytes) -> None:
    go_on = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD.replace(b"text/event-stream", kind) + chunk(b"one"))
        await go_on.wait()
        await talk.say(chunk(b"two") + LAST_CHUNK)
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    assert reply.body is None
    assert not reply.ended
    assert await reply.read() == b"one"
    assert reply.take() == b""
    go_on.set()
    assert await read_all(reply) == b"two"
    assert reply.ended


async def test_a_streamed_reply_that_was_read_frees_its_connection(serve: Serve, client: HttpClient) -> None:
    server = await serve(STREAM_HEAD + chunk(b"one") + LAST_CHUNK)
    for _ in range(3):
        reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
        assert await read_all(reply) == b"one"
        reply.close()
        reply.close()
    assert len(server.talks) == 1


async def test_interim_answers_are_skipped(serve: Serve, client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    server = await serve(interim + json_answer(b"{}"))
    for _ in range(2):
        reply = await client.send(post(server.origin()), IN_TIME)
        assert (reply.status, reply.body) == (200, b"{}")
        assert b"link" not in dict(reply.headers)
    assert len(server.talks) == 1


async def test_chunk_extensions_and_trailers_are_dropped(serve: Serve, client: HttpClient) -> None:
    body = b'2;name="a value"\r\n{"\r\n4\r\na":1\r\n1\r\n}\r\n0\r\nx-trailer: late\r\n\r\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    server = await serve(head + body)
    for _ in range(2):
        reply = await client.send(post(server.origin()), IN_TIME)
        assert reply.body == b'{"a":1}'
        assert b"x-trailer" not in dict(reply.headers)
    assert len(server.talks) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_body_without_length_ends_with_the_connection(
    serve: Serve, client: HttpClient, streaming: bool
) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it"
    server = await serve(saying(answer, then_close=True))
    reply = await client.send(post(server.origin(), streaming=streaming), IN_TIME)
    assert (reply.body if not streaming else await read_all(reply)) == b"all of it"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_empty_answer_is_complete(serve: Serve, client: HttpClient, answer: bytes, streaming: bool) -> None:
    server = await serve(answer)
    for _ in range(2):
        reply = await client.send(post(server.origin(), streaming=streaming), IN_TIME)
        assert (reply.body or await reply.read()) == b""
    assert len(server.talks) == 1


async def test_the_answer_to_head_has_no_body(serve: Serve, client: HttpClient) -> None:
    server = await serve(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    request = WireRequest(server.origin(), b"HEAD / HTTP/1.1\r\nhost: h\r\n", b"")
    for _ in range(2):
        assert (await client.send(request, IN_TIME)).body == b""


# -- compression


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        (b"gzip", gzip.compress(b'{"a":1}' * 1000)),
        (b"x-gzip", gzip.compress(b'{"a":1}' * 400) + gzip.compress(b'{"a":1}' * 600)),
        (b"deflate", zlib.compress(b'{"a":1}' * 1000)),
        (b"deflate", zlib.compress(b'{"a":1}' * 1000, wbits=-15)),
        (b"identity", b'{"a":1}' * 1000),
    ],
)
async def test_a_compressed_body_is_handed_out_decoded(
    serve: Serve, client: HttpClient, encoding: bytes, encoded: bytes
) -> None:
    server = await serve(json_answer(encoded, more=b"content-encoding: %b\r\n" % encoding))
    reply = await client.send(post(server.origin()), IN_TIME)
    assert reply.body == b'{"a":1}' * 1000
    if encoding != b"identity":
        assert not {b"content-encoding", b"content-length"} & dict(reply.headers).keys()


async def test_a_compressed_stream_is_decoded_as_it_comes(serve: Serve, client: HttpClient) -> None:
    packer = zlib.compressobj(wbits=31)
    events = [b"data: %d\n\n" % number for number in range(5)]
    next_one = asyncio.Semaphore(0)

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"))
        for event in events:
            await talk.say(chunk(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)))
            await next_one.acquire()
        await talk.say(chunk(packer.flush()) + LAST_CHUNK)
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    for event in events:
        assert await reply.read() == event
        next_one.release()
    assert await reply.read() == b""


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_compressed_body_may_not_grow_beyond_the_bound(
    serve: Serve, client: HttpClient, streaming: bool
) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    kind = b"text/event-stream" if streaming else b"application/json"
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
    server = await serve(answer % (kind, len(bomb), bomb))
    with pytest.raises(UpstreamBroken, match="more than 1000000 bytes"):
        await client.send(post(server.origin(), streaming=streaming, reply_bytes_max=1_000_000), IN_TIME)


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        (b"br", b"\x8b\x00", "an encoding nobody asked for"),
        (b"gzip, gzip", b"\x8b\x00", "an encoding nobody asked for"),
        (b"gzip", b"this is not gzip", "cannot be read"),
        (b"gzip", gzip.compress(b"cut")[:-4], "without its end"),
    ],
)
async def test_a_body_that_cannot_be_decoded_breaks_the_reply(
    serve: Serve, client: HttpClient, encoding: bytes, body: bytes, message: str
) -> None:
    server = await serve(json_answer(body, more=b"content-encoding: %b\r\n" % encoding))
    with pytest.raises(UpstreamBroken, match=message):
        await client.send(post(server.origin()), IN_TIME)


# -- broken replies

WHOLE = {
    "a length": (json_answer(b'{"a":1}'), b'{"a":1}'),
    "chunks": (STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + LAST_CHUNK, b"data: 1\n\ndata: 2\n\n"),
}


@pytest.mark.parametrize("shape", WHOLE)
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_cut_at_any_byte_is_broken(
    serve: Serve, client: HttpClient, shape: str, streaming: bool
) -> None:
    answer, body = WHOLE[shape]

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(answer[: talk.number])

    server = await serve(script)
    for length in range(len(answer)):
        seen = b""
        try:
            reply = await client.send(post(server.origin(), streaming=streaming), IN_TIME)
            while piece := await reply.read():
                seen += piece
            pytest.fail(f"cut after {length} bytes, taken for whole")
        except UpstreamBroken:
            pass
        assert body.startswith(seen), length
    reply = await client.send(post(server.origin(), streaming=streaming), IN_TIME)
    assert (await read_all(reply) if reply.body is None else reply.body) == body


async def test_what_came_before_the_cut_can_be_read(serve: Serve, client: HttpClient) -> None:
    server = await serve(saying(STREAM_HEAD + chunk(b"one") + chunk(b"two"), then_close=True))
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    await until(lambda: client.stats() == {})
    assert await reply.read() == b"onetwo"
    for _ in range(2):
        with pytest.raises(UpstreamBroken):
            await reply.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nbad header: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_broken_and_keeps_its_cause(serve: Serve, client: HttpClient, answer: bytes) -> None:
    server = await serve(answer)
    with pytest.raises(UpstreamBroken, match=r"not an HTTP/1\.1 answer") as caught:
        await client.send(post(server.origin()), IN_TIME)
    assert caught.value.__cause__ is not None


async def test_a_transfer_coding_nobody_asked_for_breaks_the_reply(serve: Serve, client: HttpClient) -> None:
    server = await serve(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    with pytest.raises(UpstreamBroken, match="transfer coding"):
        await client.send(post(server.origin()), IN_TIME)


@pytest.mark.parametrize("slow", [False, True])
async def test_a_header_block_above_the_bound_is_refused(serve: Serve, slow: bool) -> None:
    client = HttpClient(head_bytes_max=4096)
    many = b"".join(b"x-%d: %b\r\n" % (number, b"v" * 90) for number in range(50))

    async def script(talk: Talk) -> None:
        await talk.hear()
        answer = json_answer(more=many)
        for start in range(0, len(answer), 1000 if slow else len(answer)):
            await talk.say(answer[start : start + (1000 if slow else len(answer))])
        await talk.wait_gone()

    server = await serve(script)
    with pytest.raises(UpstreamBroken, match="more than 4096 bytes of headers"):
        await client.send(post(server.origin()), IN_TIME)
    await client.close()


@pytest.mark.parametrize("endless", [b"HTTP/1.1 103 Early Hints\r\n\r\n", STREAM_HEAD[:-2] + b"x-endless: "])
async def test_headers_without_end_are_refused(serve: Serve, client: HttpClient, endless: bytes) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(endless)
        while True:
            await talk.say(endless[:28].ljust(28, b"x") * 100)

    server = await serve(script)
    with pytest.raises(UpstreamBroken):
        await client.send(post(server.origin()), IN_TIME)


async def test_trailers_without_end_are_refused(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD + chunk(b"one") + b"0\r\n")
        while True:
            await talk.say(b"x-trailer: again and again\r\n" * 100)

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    with pytest.raises(UpstreamBroken, match="bytes of headers"):
        await read_all(reply)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_reply_above_its_bound_is_refused(serve: Serve, client: HttpClient, chunked: bool) -> None:
    body = b"x" * 100_000
    answer = json_answer(body)
    if chunked:
        answer = STREAM_HEAD.replace(b"text/event-stream", b"application/json") + chunk(body) + LAST_CHUNK
    server = await serve(answer)
    with pytest.raises(UpstreamBroken, match="more than 99999 bytes"):
        await client.send(post(server.origin(), reply_bytes_max=99_999), IN_TIME)
    assert (await client.send(post(server.origin(), reply_bytes_max=100_000), IN_TIME)).body == body


# -- deadlines


async def test_a_server_that_never_answers_times_out(serve: Serve, client: HttpClient) -> None:
    server = await serve(lambda talk: talk.wait_gone())
    with pytest.raises(UpstreamTimeout, match=r"^127\.0\.0\.1:\d+ did not answer within 0\.05 s\.$"):
        await client.send(post(server.origin()), Deadlines(first_byte_s=0.05))
    await server.gone.wait()


async def test_headers_alone_are_no_answer(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD)
        await talk.wait_gone()

    server = await serve(script)
    with pytest.raises(UpstreamTimeout, match=r"did not answer within 0\.05 s"):
        await client.send(post(server.origin(), streaming=True), Deadlines(first_byte_s=0.05))


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_stall_amid_the_answer_times_out(serve: Serve, client: HttpClient, streaming: bool) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD + chunk(b"one"))
        await talk.wait_gone()

    server = await serve(script)

    async def receive() -> None:
        reply = await client.send(post(server.origin(), streaming=streaming), Deadlines(idle_s=0.05))
        assert await reply.read() == b"one"
        await reply.read()

    with pytest.raises(UpstreamTimeout, match=r"sent nothing for 0\.05 s"):
        await receive()
    await server.gone.wait()


async def test_an_answer_that_drips_meets_the_total_deadline(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD)
        while not talk.writer.is_closing():
            await talk.say(chunk(b"."))
            await asyncio.sleep(0)

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), Deadlines(total_s=1))
    with pytest.raises(UpstreamTimeout, match=r"was not done within 1 s"):
        await read_all(reply)


async def test_a_request_that_is_still_being_sent_is_not_late(serve: Serve, client: HttpClient) -> None:
    body = b"x" * 50_000_000

    async def script(talk: Talk) -> None:
        head = await talk.reader.readuntil(b"\r\n\r\n")
        assert head
        started, read = asyncio.get_running_loop().time(), 0
        while read < len(body):
            read += len(await talk.reader.read(65536))
            while asyncio.get_running_loop().time() - started < 2.0 * read / len(body):
                await asyncio.sleep(0)
        await talk.say(json_answer())
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), body), Deadlines(first_byte_s=1.0))
    assert reply.status == 200


async def test_the_sweep_rests_when_nothing_is_in_flight(serve: Serve, client: HttpClient) -> None:
    server = await serve(json_answer())
    await client.send(post(server.origin()), IN_TIME)
    assert client._sweeping is not None
    async with asyncio.timeout(30):
        while client._sweeping is not None:
            await asyncio.sleep(0)


# -- keep-alive


async def test_a_stale_connection_is_replaced_once_and_the_request_sent_again(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(json_answer(b"%d" % talk.number))
        await talk.hear()
        talk.writer.transport.abort()

    server = await serve(script)
    assert (await client.send(post(server.origin()), IN_TIME)).body == b"0"
    assert (await client.send(post(server.origin()), IN_TIME)).body == b"1"
    assert client.stats() == {server.origin(): PoolStats(open=1, idle=1, waiting=0)}


async def test_the_sweep_goes_on_for_the_second_try(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        if talk.number == 0:
            await talk.say(json_answer())
            await talk.hear()
            talk.writer.transport.abort()
        await talk.wait_gone()

    server = await serve(script)
    await client.send(post(server.origin()), IN_TIME)
    with pytest.raises(UpstreamTimeout, match=r"within 0\.05 s"):
        await client.send(post(server.origin()), Deadlines(first_byte_s=0.05))


async def test_a_new_connection_that_closes_is_not_tried_again(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()

    server = await serve(script)
    with pytest.raises(UpstreamBroken):
        await client.send(post(server.origin()), IN_TIME)
    assert len(server.talks) == 1


async def test_the_second_try_is_the_last(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        if talk.number == 0:
            await talk.say(json_answer())
            await talk.hear()

    server = await serve(script)
    await client.send(post(server.origin()), IN_TIME)
    with pytest.raises(UpstreamBroken):
        await client.send(post(server.origin()), IN_TIME)
    assert len(server.talks) == 2


async def test_a_pooled_connection_that_answered_a_byte_is_not_tried_again(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(json_answer())
        await talk.hear()
        await talk.say(b"H")

    server = await serve(script)
    await client.send(post(server.origin()), IN_TIME)
    with pytest.raises(UpstreamBroken):
        await client.send(post(server.origin()), IN_TIME)
    assert len(server.talks) == 1


async def test_an_idle_connection_that_the_server_closes_leaves_the_pool(serve: Serve, client: HttpClient) -> None:
    server = await serve(saying(json_answer(), then_close=True))
    await client.send(post(server.origin()), IN_TIME)
    await until(lambda: client.stats() == {})
    await client.send(post(server.origin()), IN_TIME)
    assert len(server.talks) == 2


async def test_data_that_nobody_asked_for_closes_an_idle_connection(serve: Serve, client: HttpClient) -> None:
    late = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(json_answer())
        await late.wait()
        await talk.say(json_answer(b'"of somebody else"'))
        await talk.wait_gone()

    server = await serve(script)
    await client.send(post(server.origin()), IN_TIME)
    late.set()
    await server.gone.wait()
    assert client.stats() == {}


@pytest.mark.parametrize("more", [json_answer(b'"second"'), b"HTTP/1.1 2", b"garbage"])
async def test_data_behind_the_answer_closes_the_connection(serve: Serve, client: HttpClient, more: bytes) -> None:
    server = await serve(json_answer(b'"first"') + more)
    for _ in range(2):
        assert (await client.send(post(server.origin()), IN_TIME)).body == b'"first"'
        assert client.stats() == {}
    assert len(server.talks) == 2


@pytest.mark.parametrize(
    "answer", [json_answer(more=b"connection: close\r\n"), json_answer().replace(b"HTTP/1.1", b"HTTP/1.0")]
)
async def test_a_connection_that_the_server_will_close_is_not_kept(
    serve: Serve, client: HttpClient, answer: bytes
) -> None:
    server = await serve(answer)
    await client.send(post(server.origin()), IN_TIME)
    assert client.stats() == {}


async def test_a_connection_idle_too_long_is_closed(serve: Serve) -> None:
    client = HttpClient(idle_connection_s_max=0.05)
    server = await serve(json_answer())
    await client.send(post(server.origin()), IN_TIME)
    assert client.stats()[server.origin()].idle == 1
    await server.gone.wait()
    assert client.stats() == {}
    assert client._reaping is None
    await client.close()


async def test_an_answer_before_the_request_was_read_costs_the_connection(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        await talk.say(json_answer(b'{"error":"too large"}', status="413 Content Too Large"))
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), b"x" * 50_000_000), IN_TIME)
    assert (reply.status, reply.body) == (413, b'{"error":"too large"}')
    assert client.stats() == {}


# -- the pool's bound


async def test_callers_beyond_the_bound_are_served_first_come_first_served(serve: Serve) -> None:
    client = HttpClient(connections_per_origin_max=2)
    heard: list[bytes] = []
    answer = asyncio.Semaphore(0)

    async def script(talk: Talk) -> None:
        while True:
            heard.append((await talk.hear())[-1:])
            await answer.acquire()
            await talk.say(json_answer())

    server = await serve(script)
    tasks = []
    for number in range(6):
        tasks.append(asyncio.create_task(client.send(post(server.origin(), b"%d" % number), IN_TIME)))
        busy = min(number + 1, 2)
        await until(lambda busy=busy: len(heard) == busy)
    await until(lambda: client.stats()[server.origin()] == PoolStats(open=2, idle=0, waiting=4))
    for done in range(6):
        answer.release()
        begun = min(done + 3, 6)
        await until(lambda begun=begun: len(heard) == begun)
    await asyncio.gather(*tasks)
    assert heard == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert len(server.talks) == 2
    await client.close()


async def test_a_caller_that_gets_no_connection_in_time_is_told_so(serve: Serve) -> None:
    client = HttpClient(connections_per_origin_max=1)
    server = await serve(lambda talk: talk.wait_gone())
    first = asyncio.create_task(client.send(post(server.origin()), IN_TIME))
    await until(lambda: server.talks)
    with pytest.raises(UpstreamTimeout, match=r"has no free connection within 0\.05 s \(1 are in use\)"):
        await client.send(post(server.origin()), Deadlines(connect_s=0.05))
    assert client.stats()[server.origin()].waiting == 0
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await client.close()


async def test_a_waiting_caller_opens_a_connection_when_one_is_lost(serve: Serve) -> None:
    client = HttpClient(connections_per_origin_max=1)
    server = await serve(saying(json_answer(more=b"connection: close\r\n"), then_close=True))
    replies = await asyncio.gather(*(client.send(post(server.origin()), IN_TIME) for _ in range(5)))
    assert [reply.status for reply in replies] == [200] * 5
    assert client.stats() == {}
    await client.close()


async def test_a_caller_that_leaves_passes_its_turn_on(serve: Serve) -> None:
    client = HttpClient(connections_per_origin_max=1)
    server = await serve(json_answer())
    tasks = [asyncio.create_task(client.send(post(server.origin()), IN_TIME)) for _ in range(4)]
    await until(lambda: server.talks)
    tasks[1].cancel()
    # The connection is freed and the caller it is given to leaves in the same turn.
    tasks[0].add_done_callback(lambda _: tasks[2].cancel())
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[1], asyncio.CancelledError)
    assert done[3].status == 200
    await client.close()


async def test_a_place_is_given_back_when_connecting_fails() -> None:
    client = HttpClient(connections_per_origin_max=1)
    closed_port = Origin("http", "127.0.0.1", 1)
    for _ in range(3):
        with pytest.raises(UpstreamUnreachable):
            await client.send(post(closed_port), Deadlines(connect_s=30))
    assert client.stats() == {}
    await client.close()


# -- leaving


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_caller_that_is_cancelled_closes_the_connection(
    serve: Serve, client: HttpClient, streaming: bool
) -> None:
    server = await serve(lambda talk: talk.wait_gone())
    task = asyncio.create_task(client.send(post(server.origin(), streaming=streaming), IN_TIME))
    await until(lambda: server.talks and client.stats()[server.origin()].open)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.gone.wait()
    assert client.stats() == {}


async def test_a_reader_that_is_cancelled_closes_the_connection(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD + chunk(b"one"))
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    assert await reply.read() == b"one"
    task = asyncio.create_task(reply.read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.gone.wait()


async def test_a_reply_that_is_closed_unread_closes_the_connection(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD + chunk(b"one"))
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    reply.close()
    reply.close()
    await server.gone.wait()
    assert client.stats() == {}


async def test_closing_an_old_reply_leaves_the_next_exchange_alone(serve: Serve, client: HttpClient) -> None:
    server = await serve(STREAM_HEAD + chunk(b"one") + LAST_CHUNK)
    old = await client.send(post(server.origin(), streaming=True), IN_TIME)
    assert await read_all(old) == b"one"
    task = asyncio.create_task(client.send(post(server.origin(), streaming=True), IN_TIME))
    await asyncio.sleep(0)
    old.close()
    assert await read_all(await task) == b"one"
    assert len(server.talks) == 1


async def test_closing_the_client_ends_what_is_in_flight(serve: Serve) -> None:
    client = HttpClient()
    server = await serve(lambda talk: talk.wait_gone())
    task = asyncio.create_task(client.send(post(server.origin()), IN_TIME))
    await until(lambda: server.talks and client.stats()[server.origin()].open)
    await client.close()
    with pytest.raises(UpstreamBroken, match="closed by the gateway"):
        await task
    with pytest.raises(UpstreamUnreachable):
        await client.send(post(server.origin()), IN_TIME)
    await client.close()
    await server.gone.wait()


# -- slow readers


async def test_a_slow_reader_slows_the_server_and_loses_nothing(serve: Serve) -> None:
    client = HttpClient(buffered_bytes_max=100_000)
    block, blocks = bytes(range(256)) * 256, 512
    sent = 0

    async def script(talk: Talk) -> None:
        nonlocal sent
        await talk.hear()
        await talk.say(STREAM_HEAD)
        for _ in range(blocks):
            await talk.say(chunk(block))
            sent += 1
        await talk.say(LAST_CHUNK)
        await talk.wait_gone()

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), IN_TIME)
    connection = reply._connection
    assert connection is not None
    await until(lambda: connection.paused)
    still = -1
    while still != sent:
        still = sent
        for _ in range(2000):
            await asyncio.sleep(0)
    assert sent < blocks
    assert reply.buffered <= 100_000 + 262_144
    assert await read_all(reply) == block * blocks
    assert client.stats()[server.origin()].idle == 1
    await client.close()


async def test_a_stream_held_back_by_its_reader_is_no_stall(serve: Serve) -> None:
    client = HttpClient(buffered_bytes_max=1, sweep_s=0.01)

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD + chunk(b"one"))
        await talk.hear()

    server = await serve(script)
    reply = await client.send(post(server.origin(), streaming=True), Deadlines(idle_s=0.02))
    loop = asyncio.get_running_loop()
    later = loop.time() + 0.1
    while loop.time() < later:
        await asyncio.sleep(0)
    assert reply.take() == b"one"
    with pytest.raises(UpstreamTimeout, match="sent nothing"):
        await reply.read()
    await client.close()


@pytest.mark.parametrize("given", ["a place", "a connection", "a lost connection"])
async def test_what_a_leaving_caller_was_given_in_the_same_moment_goes_to_the_next(given: str) -> None:
    pool = Pool(
        Origin("http", "api.example", 80),
        asyncio.get_running_loop(),
        proxy=None,
        connections_max=1,
        head_bytes_max=1,
        buffered_bytes_max=1,
        outbox=Outbox(),
        on_idle=lambda _: None,
        on_empty=lambda _: None,
    )
    connection = Connection(pool, pool.loop)
    assert await pool.wait_for_place() is None
    leaving, staying = (asyncio.create_task(pool.wait_for_place()) for _ in range(2))
    await until(lambda: len(pool.waiters) == 2)
    if given == "a place":
        pool.free_place()
    else:
        pool.connections.add(connection)
        pool.take_back(connection)
    if given == "a lost connection":
        connection.lost = True
        pool.forget(connection)
    leaving.cancel()
    assert await staying is (connection if given == "a connection" else None)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert not pool.waiters


async def test_a_connection_that_opens_while_the_client_closes_is_closed_too(serve: Serve) -> None:
    server = await serve(lambda talk: talk.wait_gone())
    go_on = asyncio.Event()

    async def resolve(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
        await go_on.wait()
        return [(socket.AF_INET, ("127.0.0.1", port))]

    client = HttpClient(resolve=resolve)
    task = asyncio.create_task(client.send(post(server.origin(host="api.example")), IN_TIME))
    await asyncio.sleep(0)
    await client.close()
    go_on.set()
    with pytest.raises(UpstreamUnreachable, match="closing its connections"):
        await task
    await server.gone.wait()
    assert client.stats() == {}
