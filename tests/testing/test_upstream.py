from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tollway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tollway.testing import Cut, FakeClock, FakeReply, FakeRequest, FakeUpstream, Gate, Pause
from tollway.upstream.wire import Deadlines, Origin, Upstream, WireReply, WireRequest

API = Origin("https", "api.example", 443)


def ask(path: str = "/v1/things", body: bytes = b'{"n":1}', *, method: str = "POST", **more: Any) -> WireRequest:
    head = f"{method} {path} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer k\r\n".encode()
    return WireRequest(more.pop("origin", API), head, body, **more)


async def settle() -> None:
    """Lets tasks that were woken run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_are_kept_taken_apart() -> None:
    fake = FakeUpstream()
    upstream: Upstream = fake
    fake.reply_to("/v1/things", FakeReply.json({"ok": True}))
    reply: WireReply = await upstream.send(ask("/v1/things?a=1&a=2&b="), Deadlines(idle_s=7))
    assert (reply.status, reply.body) == (200, b'{"ok":true}')
    request = fake.requests[0]
    assert (request.method, request.path, request.query) == ("POST", "/v1/things", {"a": ["1", "2"], "b": [""]})
    assert request.headers == {"host": "api.example", "authorization": "Bearer k"}
    assert (request.json(), request.origin, request.deadlines.idle_s) == ({"n": 1}, API, 7)
    assert request.finished
    assert not request.closed
    await upstream.close()
    assert fake.closed


async def test_replies_are_played_in_turn_and_the_last_one_stays() -> None:
    fake = FakeUpstream()
    fake.reply_to("/v1/things", FakeReply.json({}, status=500), FakeReply.json({}))
    assert [(await fake.send(ask(), Deadlines())).status for _ in range(3)] == [500, 200, 200]


async def test_the_rule_added_last_is_obeyed_where_it_fits() -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.json("any"))
    fake.reply_to("/v1/things", FakeReply.json("path"))
    fake.reply_to("/v1/things", FakeReply.json("host"), host="other.example")
    fake.reply_to("/v1/things", FakeReply.json("method"), method="DELETE")
    other = Origin("https", "other.example", 443)
    for request, body in (
        (ask("/v2"), b'"any"'),
        (ask(), b'"path"'),
        (ask(origin=other), b'"host"'),
        (ask(method="DELETE"), b'"method"'),
    ):
        assert (await fake.send(request, Deadlines())).body == body


async def test_a_callable_answers_by_what_was_asked() -> None:
    def echo(request: FakeRequest) -> FakeReply:
        return FakeReply.json({"got": request.json()}, headers={"X-Kind": "echo"})

    fake = FakeUpstream()
    fake.reply_to("/v1/things", echo)
    reply = await fake.send(ask(), Deadlines())
    assert reply.body == b'{"got":{"n":1}}'
    assert dict(reply.headers)[b"x-kind"] == b"echo"


async def test_what_nobody_scripted_fails_the_test_with_names() -> None:
    fake = FakeUpstream()
    fake.reply_to("/v1/things", FakeReply.json({}))
    with pytest.raises(AssertionError, match=r"POST /v2 at 'api\.example'; scripted: /v1/things"):
        await fake.send(ask("/v2"), Deadlines())
    with pytest.raises(ValueError, match="at least one"):
        fake.reply_to("/v2")


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nhost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h",
        b"POST /\r\n",
        b"POST / HTTP/1.1\r\nno header\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 2\r\n",
    ],
)
async def test_a_head_that_the_network_would_not_take_fails_the_test(head: bytes) -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.json({}))
    with pytest.raises(AssertionError):
        await fake.send(WireRequest(API, head, b""), Deadlines())


async def test_a_stream_is_read_piece_by_piece() -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.stream(b"one", b"two", b"three"))
    reply = await fake.send(ask(streaming=True), Deadlines())
    assert reply.body is None
    assert reply.take() == b"one"
    assert [await reply.read(), await reply.read()] == [b"two", b"three"]
    assert reply.ended
    assert fake.requests[0].finished
    assert [await reply.read(), reply.take()] == [b"", b""]


@pytest.mark.parametrize(
    ("answer", "streaming"),
    [
        (FakeReply.stream(b"a", b"b"), False),
        (FakeReply.json(b"ab"), True),
        (FakeReply(429, [(b"content-type", b"text/event-stream")], (b"a", b"b")), True),
    ],
)
async def test_what_the_network_collects_is_collected(answer: FakeReply, streaming: bool) -> None:
    fake = FakeUpstream()
    fake.reply_to(None, answer)
    assert (await fake.send(ask(streaming=streaming), Deadlines())).body == b"ab"


async def test_a_whole_reply_is_bounded() -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.json(b"x" * 11))
    with pytest.raises(UpstreamBroken, match="more than 10 bytes"):
        await fake.send(ask(reply_bytes_max=10), Deadlines())


async def test_an_error_is_raised_instead_of_a_reply() -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.failing(UpstreamUnreachable("no way")))
    with pytest.raises(UpstreamUnreachable, match="no way"):
        await fake.send(ask(), Deadlines())
    assert len(fake.requests) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_cut_breaks_the_reply(streaming: bool) -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.stream(b"one", Cut()))

    async def receive() -> None:
        reply = await fake.send(ask(streaming=streaming), Deadlines())
        assert await reply.read() == b"one"
        await reply.read()

    with pytest.raises(UpstreamBroken, match="closed the connection before the end"):
        await receive()
    assert not fake.requests[0].finished


async def test_a_pause_ends_when_the_clock_has_moved_that_far() -> None:
    clock = FakeClock()
    fake = FakeUpstream(clock)
    fake.reply_to(None, FakeReply.stream(Pause(2), b"one", Pause(3), b"two"))
    sending = asyncio.create_task(fake.send(ask(streaming=True), Deadlines()))
    await settle()
    clock.advance(1)
    await settle()
    assert not sending.done()
    clock.advance(1)
    reply = await sending
    assert await reply.read() == b"one"
    assert reply.take() == b""
    reading = asyncio.create_task(reply.read())
    await settle()
    clock.advance(3)
    assert await reading == b"two"


async def test_a_gate_ends_a_stall_on_demand() -> None:
    gate = Gate()
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.json({"a": 1}, after=gate))
    sending = asyncio.create_task(fake.send(ask(), Deadlines()))
    await settle()
    assert not sending.done()
    gate.open()
    assert (await sending).body == b'{"a":1}'
    assert (await fake.send(ask(), Deadlines())).body == b'{"a":1}'


@pytest.mark.parametrize(
    ("parts", "advance_s", "message"),
    [
        ((Pause(60), b"one"), 30, "api.example did not answer within 30 s."),
        ((Gate(), b"one"), 30, "api.example did not answer within 30 s."),
        ((b"one", Pause(60)), 20, "api.example sent nothing for 20 s."),
        ((b"one", Pause(15), b"two", Pause(15), b"three", Pause(19)), 45, "api.example was not done within 45 s."),
    ],
)
async def test_deadlines_hold_by_the_fake_clock(parts: tuple[Any, ...], advance_s: int, message: str) -> None:
    clock = FakeClock()
    fake = FakeUpstream(clock)
    fake.reply_to(None, FakeReply.stream(*parts))

    async def receive() -> None:
        reply = await fake.send(ask(streaming=True), Deadlines(first_byte_s=30, idle_s=20, total_s=45))
        while await reply.read():
            pass

    receiving = asyncio.create_task(receive())
    for _ in range(advance_s):
        await settle()
        assert not receiving.done()
        clock.advance(1)
    with pytest.raises(UpstreamTimeout) as caught:
        await receiving
    assert str(caught.value) == message


async def test_a_reply_that_is_let_go_of_early_is_marked_closed() -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.stream(b"one", b"two"))
    reply = await fake.send(ask(streaming=True), Deadlines())
    assert await reply.read() == b"one"
    reply.close()
    reply.close()
    assert (fake.requests[0].closed, fake.requests[0].finished) == (True, False)
    with pytest.raises(UpstreamBroken):
        await reply.read()


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_caller_that_is_cancelled_closes_the_reply(streaming: bool) -> None:
    fake = FakeUpstream()
    fake.reply_to(None, FakeReply.stream(Gate(), b"never"))
    sending = asyncio.create_task(fake.send(ask(streaming=streaming), Deadlines()))
    await settle()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert fake.requests[0].closed
