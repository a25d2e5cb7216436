from __future__ import annotations

from collections.abc import Sequence

import pytest

from tollway.dialects.media import Asked, Made, Sent, Step
from tollway.errors import UpstreamBroken
from tollway.providers import following
from tollway.providers.following import FollowedRequest, Following
from tollway.testing import FakeUpstream
from tollway.testing.upstream import FakeReply
from tollway.upstream.wire import Deadlines, Origin, WireRequest

HEAD = (
    b"POST /work HTTP/1.1\r\nhost: h.example\r\nuser-agent: tollway\r\nx-key: k\r\ncontent-type: application/json\r\n"
)
ORIGIN = Origin("https", "h.example", 443)
ASKED = Asked("m", {}, [])


class Steps:
    """A wire that goes through given steps, whatever comes back."""

    hosts = (".example.net",)

    def __init__(self, *steps: Step) -> None:
        self._left = list(steps)

    def encode(self, asked: Asked) -> Sent:
        raise NotImplementedError

    def decode(self, asked: Asked, content_type: bytes, body: bytes) -> Made:
        raise NotImplementedError

    def next_step(self, asked: Asked, content_type: bytes, body: bytes) -> Step | None:
        return self._left.pop(0) if self._left else None


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE_S_FIRST", 0.0)
    monkeypatch.setattr(following, "PAUSE_S_MAX", 0.0)


async def went(*steps: Step) -> Sequence[tuple[str, str, str, bool]]:
    upstream = FakeUpstream()
    upstream.reply_to(None, FakeReply.json({}))
    request = FollowedRequest(ORIGIN, HEAD, b"{}", wire=Steps(*steps), asked=ASKED)
    await Following(upstream).send(request, Deadlines())
    return [(seen.method, seen.headers["host"], seen.path, "x-key" in seen.headers) for seen in upstream.requests]


async def test_a_request_like_others_passes_as_it_is() -> None:
    upstream = FakeUpstream()
    upstream.reply_to("/work", FakeReply.json({"a": 1}))
    for request in (WireRequest(ORIGIN, HEAD, b"{}"), FollowedRequest(ORIGIN, HEAD, b"{}")):
        reply = await Following(upstream).send(request, Deadlines())
        assert reply.body == b'{"a":1}'
    assert len(upstream.requests) == 2


async def test_steps_lead_to_paths_and_to_the_provider_s_other_hosts() -> None:
    assert await went(Step("/task/1"), Step("https://eu.example.net:8443/r?x=1", waits=False, greets=False)) == [
        ("POST", "h.example", "/work", True),
        ("GET", "h.example", "/task/1", True),
        ("GET", "eu.example.net:8443", "/r", False),
    ]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.org/",
        "https://example.net.evil.org/",
        "http://h.example/",
        "https://u@h.example/",
        "/a b",
        "/ä",
        "file:///x",
    ],
)
async def test_a_step_cannot_lead_elsewhere(target: str) -> None:
    with pytest.raises(UpstreamBroken) as caught:
        await went(Step(target))
    assert caught.value.retryable is False


async def test_nobody_is_sent_from_one_address_to_the_next_for_ever() -> None:
    with pytest.raises(UpstreamBroken, match="one address to the next"):
        await went(*[Step("/again", waits=False)] * 10)


async def test_an_error_in_place_of_a_ticket_is_given_back() -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, FakeReply.json({"detail": "no"}, status=402))
    request = FollowedRequest(ORIGIN, HEAD, b"{}", wire=Steps(Step("/task/1")), asked=ASKED)
    reply = await Following(upstream).send(request, Deadlines())
    assert reply.status == 402
    assert len(upstream.requests) == 1
