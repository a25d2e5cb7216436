"""What clients may do to a connection: over a real uvicorn, bounded in bytes and time, and never a traceback."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from tollway.config.settings import BoundSettings, Config
from tollway.downstream import line as lines
from tollway.downstream.http import bounded_http
from tollway.testing import FakeReply
from tollway.testing.gateway import MASTER_KEY, SmallGateway, chat_event, chat_reply, chat_stream
from tollway.testing.upstream import Gate

BODY = b'{"model":"small","messages":[{"role":"user","content":"Hi"}]}'
STREAM_BODY = b'{"model":"small","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
BOUNDS = BoundSettings(head_bytes_max=4_096, head_s_max=1.0, body_idle_s_max=1.0, body_bytes_max=200_000)
#: Ends a hang.
IN_TIME_S = 60.0


async def turns() -> None:
    """Lets the loop turn often enough that the other side has taken what was sent."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def request(
    body: bytes = BODY, *headers: str, key: str = MASTER_KEY, path: str = "/v1/chat/completions", version: str = "1.1"
) -> bytes:
    head = [f"POST {path} HTTP/{version}", "host: gateway", f"authorization: Bearer {key}", *headers]
    if not any(header.startswith(("content-length", "transfer-encoding")) for header in headers):
        head.append(f"content-length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Client:
    """A socket that speaks HTTP as badly as a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        async with asyncio.timeout(IN_TIME_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            status = int(head[0].split(" ")[1])
            headers = dict(row.lower().split(": ", 1) for row in head[1:] if row)
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readexactly(2)
            elif status >= 200:
                body = await self.reader.read()
            else:
                body = b""
            return status, headers, body

    async def closed(self) -> bytes:
        """Waits for the other side to close; returns what still came. A reset is an end, too."""
        async with asyncio.timeout(IN_TIME_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def leave(self) -> None:
        self.writer.transport.abort()


class Served:
    """A small gateway behind uvicorn on a port of this machine."""

    def __init__(self, gateway: SmallGateway, port: int) -> None:
        self.gateway = gateway
        self.upstream = gateway.upstream
        self._port = port
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22))
        self._clients.append(client)
        return client

    async def until(self, reached: Any) -> None:
        async with asyncio.timeout(IN_TIME_S):
            while not reached():
                await asyncio.sleep(0.002)

    async def close(self) -> None:
        for client in self._clients:
            client.leave()
        await asyncio.sleep(0.01)


@pytest.fixture
async def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Served]:
    monkeypatch.setattr(lines, "SWEEP_S", 0.02)
    caplog.set_level(logging.INFO)
    async with SmallGateway(tmp_path, config=Config(bounds=BOUNDS)) as gateway:
        gateway.upstream.reply_to(None, chat_reply())
        assert gateway.app.dispatch is not None
        config = uvicorn.Config(
            gateway.app,
            http=bounded_http(BOUNDS, gateway.app.hot),
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=3,
        )
        server = uvicorn.Server(config)
        sock = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server._serve([sock]))
        everything = Served(gateway, sock.getsockname()[1])
        await everything.until(lambda: server.started)
        yield everything
        await everything.close()
        server.should_exit = True
        await asyncio.wait_for(serving, IN_TIME_S)
        assert "Exception in ASGI application" not in caplog.text
        assert "a request was not served" not in caplog.text
        assert "Traceback" not in caplog.text


async def test_an_answer_has_its_length_its_date_and_the_connection_stays(served: Served) -> None:
    client = await served.connect()
    for _ in range(3):
        client.send(request())
        status, headers, body = await client.answer()
        assert status == 200
        assert "date" in headers
        assert msgspec.json.decode(body)["model"] == "small"
    assert len(served.upstream.requests) == 3


async def test_a_stream_is_chunked_and_the_connection_stays(served: Served) -> None:
    served.upstream.reply_to(None, chat_stream("one ", "two"))
    client = await served.connect()
    for _ in range(2):
        client.send(request(STREAM_BODY))
        status, headers, body = await client.answer()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert body.endswith(b"data: [DONE]\n\n")


async def test_http_1_0_gets_whole_answers_and_streams_that_end_with_the_connection(served: Served) -> None:
    client = await served.connect()
    client.send(request(version="1.0"))
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.closed() == b""
    served.upstream.reply_to(None, chat_stream("one"))
    client = await served.connect()
    client.send(request(STREAM_BODY, version="1.0"))
    status, headers, body = await client.answer()
    assert "transfer-encoding" not in headers
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_client_that_wants_the_connection_closed_has_it_closed(served: Served) -> None:
    client = await served.connect()
    client.send(request(BODY, "connection: close"))
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.closed() == b""


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    gate = Gate()
    served.upstream.reply_to(None, chat_reply("first", after=gate), chat_reply("second"), chat_reply("third"))
    client = await served.connect()
    client.send(request() + request() + request())
    await served.until(lambda: served.upstream.requests)
    gate.open()
    texts = [msgspec.json.decode((await client.answer())[2])["choices"][0]["message"]["content"] for _ in range(3)]
    assert texts == ["first", "second", "third"]


async def test_a_head_that_is_too_large_is_a_431_and_the_end(served: Served) -> None:
    client = await served.connect()
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    for _ in range(6):
        client.send(b"x-filler: " + b"x" * 1_000 + b"\r\n")
        await asyncio.sleep(0.005)
    status, headers, body = await client.answer()
    assert (status, headers["connection"]) == (431, "close")
    assert body == b"The request head is larger than 4096 bytes."
    await client.closed()
    assert served.upstream.requests == []


async def test_a_head_that_is_too_large_and_comes_in_one_piece_with_its_body_is_a_431_too(served: Served) -> None:
    client = await served.connect()
    filler = b"x-filler: " + b"x" * 5_000 + b"\r\n"
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" + filler + b"\r\n{}")
    assert (await client.answer())[0] == 431
    await client.closed()
    assert served.upstream.requests == []


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(served: Served) -> None:
    client = await served.connect()
    served.upstream.reply_to(None, chat_reply("first"))
    long = msgspec.json.encode({"model": "small", "messages": [{"role": "user", "content": "x" * 20_000}]})
    client.send(request(long))
    assert (await client.answer())[0] == 200


async def test_a_head_that_is_too_large_on_a_kept_connection_is_a_431_too(served: Served) -> None:
    client = await served.connect()
    client.send(request())
    assert (await client.answer())[0] == 200
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-filler: ")
    for _ in range(6):
        client.send(b"x" * 1_000)
        await asyncio.sleep(0.005)
    assert (await client.answer())[0] == 431


async def test_a_head_and_a_body_that_come_at_once_are_no_large_head(served: Served) -> None:
    client = await served.connect()
    client.send(request(BODY[:-1] + b" " * 50_000 + b"}"))
    assert (await client.answer())[0] == 200


async def test_a_slow_head_is_a_408_and_a_silent_connection_is_closed(served: Served) -> None:
    slow, silent = await served.connect(), await served.connect()
    slow.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ")
    status, headers, body = await slow.answer()
    assert (status, headers["connection"], body) == (408, "close", b"The request head came too slowly.")
    assert await silent.closed() == b""


async def test_a_slow_body_is_a_408_in_the_clients_dialect(served: Served) -> None:
    client = await served.connect()
    client.send(request(BODY, f"content-length: {len(BODY)}")[:-5])
    status, _, body = await client.answer()
    assert status == 408
    assert msgspec.json.decode(body)["error"]["message"] == "The request body came too slowly."
    await client.closed()
    (record,) = await served.gateway.records()
    assert record.status_code == 408


async def test_a_body_that_keeps_coming_may_take_its_time(served: Served) -> None:
    client = await served.connect()
    whole = request()
    begin = len(whole) - len(BODY)
    for start in range(0, begin, 40):
        client.send(whole[start : min(start + 40, begin)])
        await asyncio.sleep(0)
    for start in range(begin, len(whole), 10):  # in all longer than it may be silent
        client.send(whole[start : start + 10])
        await asyncio.sleep(0.2)
    assert (await client.answer())[0] == 200


@pytest.mark.parametrize("path", ["/key/generate", "/v1/unheard-of"])
async def test_a_slow_body_on_a_path_of_the_management_api_does_not_hold_its_connection(
    served: Served, path: str
) -> None:
    client = await served.connect()
    client.send(request(b"{", "content-length: 10", path=path))
    await client.closed()


async def test_an_oversized_body_is_a_413_without_being_read(served: Served) -> None:
    client = await served.connect()
    client.send(request(b"", "content-length: 300000"))
    status, _, body = await client.answer()
    assert status == 413
    assert msgspec.json.decode(body)["error"]["message"] == "The request body is larger than 200000 bytes."
    client = await served.connect()
    client.send(request(b"", "transfer-encoding: chunked"))
    for _ in range(30):
        client.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        await asyncio.sleep(0)
    assert (await client.answer())[0] == 413
    assert served.upstream.requests == []


async def test_a_body_that_nobody_wants_is_let_in_for_a_while_and_then_cut(served: Served) -> None:
    client = await served.connect()
    client.send(request(b"", f"content-length: {50 << 20}", key="sk-unknown"))
    assert (await client.answer())[0] == 401
    sent = 0
    try:
        async with asyncio.timeout(IN_TIME_S):
            while sent < 50 << 20:
                client.send(b"x" * 65_536)
                await client.writer.drain()
                await asyncio.sleep(0)
                sent += 65_536
    except ConnectionError:
        pass
    assert sent < 20 << 20


async def test_a_small_body_after_a_401_does_not_cost_the_connection(served: Served) -> None:
    client = await served.connect()
    client.send(request(BODY, key="sk-unknown")[:-10])
    assert (await client.answer())[0] == 401
    client.send(BODY[-10:])
    client.send(request())
    assert (await client.answer())[0] == 200


async def test_who_asks_whether_to_go_on_is_told_so_unless_the_answer_is_no(served: Served) -> None:
    client = await served.connect()
    client.send(request(b"", "expect: 100-continue", f"content-length: {len(BODY)}"))
    assert (await client.answer())[0] == 100
    client.send(BODY)
    assert (await client.answer())[0] == 200
    client = await served.connect()
    client.send(request(b"", "expect: 100-continue", "content-length: 10", key="sk-unknown"))
    assert (await client.answer())[0] == 401
    client = await served.connect()
    client.send(request(b"", "expect: 100-continue", "content-length: 300000"))
    assert (await client.answer())[0] == 413


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
async def test_a_client_that_hangs_up_ends_the_exchange_with_the_provider(served: Served, streaming: bool) -> None:
    reply = FakeReply.stream(chat_event("word"), Gate()) if streaming else chat_reply(after=Gate())
    served.upstream.reply_to(None, reply)
    client = await served.connect()
    client.send(request(STREAM_BODY if streaming else BODY))
    await served.until(lambda: served.upstream.requests)
    if streaming:
        await client.reader.readuntil(b"word")
    client.leave()
    await served.until(lambda: served.upstream.requests[0].closed)
    (record,) = await served.gateway.records()
    assert record.status_code == 499


async def test_a_client_that_hangs_up_with_further_requests_in_its_pipeline_ends_the_one_that_runs(
    served: Served,
) -> None:
    served.upstream.reply_to(None, chat_reply(after=Gate()))
    client = await served.connect()
    client.send(request() + request() + request())
    await served.until(lambda: served.upstream.requests)
    await turns()
    client.leave()
    await served.until(lambda: served.upstream.requests[0].closed)
    assert len(served.upstream.requests) == 1


async def test_a_client_that_hangs_up_after_a_large_body_ends_the_exchange_too(served: Served) -> None:
    served.upstream.reply_to(None, chat_reply(after=Gate()))
    client = await served.connect()
    client.send(request(BODY[:-1] + b" " * 150_000 + b"}"))
    await served.until(lambda: served.upstream.requests)
    client.leave()
    await served.until(lambda: served.upstream.requests[0].closed)


async def test_a_client_that_hangs_up_in_its_body_leaves_nothing_behind(served: Served) -> None:
    client = await served.connect()
    client.send(request(BODY, f"content-length: {len(BODY)}")[:-5])
    await turns()
    client.leave()
    await served.until(lambda: served.gateway.app.ledger.rows_written == 1)
    assert served.upstream.requests == []


async def test_a_client_that_takes_nothing_of_its_stream_is_cut_off(served: Served) -> None:
    piece = chat_event("x" * 60_000)
    served.upstream.reply_to(None, FakeReply.stream(*[piece] * 2_000))
    client = await served.connect()
    client.writer.transport.pause_reading()
    client.send(request(STREAM_BODY))
    await served.until(lambda: served.upstream.requests and served.upstream.requests[0].closed)
    (record,) = await served.gateway.records()
    assert record.status_code == 499


async def test_a_kept_connection_that_stays_silent_is_closed(served: Served) -> None:
    client = await served.connect()
    client.send(request())
    assert (await client.answer())[0] == 200
    assert await client.closed() == b""


async def test_what_is_no_http_is_a_400(served: Served) -> None:
    client = await served.connect()
    client.send(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")
    assert (await client.answer())[0] == 400
    await client.closed()


async def test_hot_and_cold_paths_take_turns_on_one_connection(served: Served) -> None:
    client = await served.connect()
    for _ in range(3):
        client.send(request())
        assert (await client.answer())[0] == 200
        client.send(f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
        status, _, body = await client.answer()
        assert (status, msgspec.json.decode(body)["data"][0]["id"]) == (200, "small")
        client.send(request(path="/v1/chat/%63ompletions"))
        assert (await client.answer())[0] == 200


def test_a_query_or_a_model_in_the_path_makes_nothing_cold(served: Served) -> None:
    hot = served.gateway.app.hot
    assert hot.at(b"/v1/messages?beta=true") is hot.exact[b"/v1/messages"]
    for target in (
        b"/v1beta/models/small:generateContent",
        b"/models/a/b:streamGenerateContent?alt=sse",
        b"/v1/rerank?a",
    ):
        assert hot.at(target) is not None, target
    for target in (
        b"/v1beta/models/a%2Fb:countTokens",
        b"/v1/messages#a",
        b"/ui/",
        b"/v1/models",
        b"/v1beta/models/small",
    ):
        assert hot.at(target) is None, target


async def test_what_stands_in_a_hot_requests_query_counts(served: Served) -> None:
    served.upstream.reply_to(None, FakeReply.stream(chat_event("word"), chat_event(finish="stop"), b"data: [DONE]\n\n"))
    client = await served.connect()
    path, asked = "/v1beta/models/small:streamGenerateContent", b'{"contents":[{"parts":[{"text":"hi"}]}]}'
    nameless = request(asked, path=f"{path}?alt=sse&key={MASTER_KEY}", key="").replace(
        b"authorization: Bearer \r\n", b""
    )
    client.send(nameless)
    status, headers, body = await client.answer()
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/event-stream"), body
    assert body.startswith(b'data: {"candidates":[{"content":{"parts":[{"text":"word"}]')
    client.send(request(asked, path=path))
    assert (await client.answer())[2].startswith(b"[{")
    client.send(nameless.replace(MASTER_KEY.encode(), b"sk-nobodys"))
    assert (await client.answer())[0] == 401


async def test_a_provider_that_breaks_in_a_stream_leaves_the_connection_usable(served: Served) -> None:
    served.upstream.reply_to(None, FakeReply.stream(chat_event("word"), b"data: nonsense\n\n"), chat_reply())
    client = await served.connect()
    client.send(request(STREAM_BODY))
    _, _, body = await client.answer()
    assert b'"error"' in body
    assert b"[DONE]" not in body
    client.send(request())
    assert (await client.answer())[0] == 200
