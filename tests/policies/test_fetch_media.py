"""Media by URL: fetched from the hosts that the configuration allows, within bounds, or refused with the field's name."""

from __future__ import annotations

import base64
import socket
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tollway.calls import Secret
from tollway.config.settings import Config, MediaFetch, ModelEntry, ParamSettings
from tollway.errors import BadRequest, UpstreamUnreachable
from tollway.policies.fetch_media import Site, _allowed, _Fetching, sites_in
from tollway.testing import FakeReply, FakeRequest, FakeUpstream, Gate
from tollway.testing.gateway import SmallGateway

PNG = b"\x89PNG\r\n\x1a\nrest"
PNG_BASE64 = base64.b64encode(PNG).decode()
ALLOWED = MediaFetch(allow_hosts=("files.example", "*.example.org", "10.0.0.5:8080"))
OLLAMA = ModelEntry(
    model_name="small",
    provider_model="ollama_chat/llava",
    api_base="http://ollama.example:11434",
    api_key=Secret("x"),
    prices={"input_cost_per_token": "0", "output_cost_per_token": "0"},
    place="llava",
)
OLLAMA_SAYS = {
    "model": "llava",
    "message": {"role": "assistant", "content": "A cat"},
    "done": True,
    "done_reason": "stop",
}


def picture(body: bytes = PNG, media_type: str = "image/png", status: int = 200, **headers: str) -> FakeReply:
    return FakeReply.json(body, status, {"content-type": media_type, **headers})


def asks(url: str) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": content}]


def gateway_of(path: Path, media: MediaFetch = ALLOWED, entry: ModelEntry = OLLAMA) -> SmallGateway:
    return SmallGateway(path, [entry], config=Config(params=ParamSettings(media_fetch=media)))


async def test_a_picture_on_an_allowed_host_is_put_in_its_urls_place(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway:
        gateway.upstream.reply_to("/api/chat", FakeReply.json(OLLAMA_SAYS))
        gateway.upstream.reply_to("/cat.png", picture(), host="files.example")
        answer = await gateway.ask(messages=asks("https://files.example/cat.png?size=1"))
        assert answer.status == 200, answer.body
        fetched, asked = gateway.upstream.requests
        assert (fetched.method, fetched.path, fetched.query) == ("GET", "/cat.png", {"size": ["1"]})
        assert set(fetched.headers) == {"host", "user-agent", "accept", "accept-encoding"}
        assert asked.json()["messages"][0]["images"] == [PNG_BASE64]


async def test_without_a_word_of_the_configuration_a_url_is_refused_with_the_fields_name(tmp_path: Path) -> None:
    async with gateway_of(tmp_path, MediaFetch()) as gateway:
        answer = await gateway.ask(messages=asks("https://files.example/cat.png"))
        assert answer.status == 400
        assert answer.json()["error"]["param"] == "messages[0].content[image]"
        assert "base64" in answer.json()["error"]["message"]
        assert gateway.upstream.requests == []


async def test_a_host_that_is_not_on_the_list_is_never_asked(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway:
        answer = await gateway.ask(messages=asks("https://elsewhere.example/cat.png"))
        assert answer.status == 400
        assert answer.json()["error"]["param"] == "messages[0].content[image]"
        assert gateway.upstream.requests == []


async def test_a_provider_that_takes_urls_is_given_them_as_they_are(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, config=Config(params=ParamSettings(media_fetch=ALLOWED))) as gateway:
        gateway.upstream.reply_to(None, FakeReply.json({"id": "1", "choices": [], "model": "m"}))
        await gateway.ask(messages=asks("https://files.example/cat.png"))
        (asked,) = gateway.upstream.requests
        assert asked.json()["messages"] == asks("https://files.example/cat.png")


async def test_media_are_fetched_before_anything_is_held(tmp_path: Path) -> None:
    entry = replace(OLLAMA, prices={"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000001"})
    async with gateway_of(tmp_path, entry=entry) as gateway:
        key = await gateway.make_key(max_budget_nano=10**12)
        held: list[int] = []

        def while_fetching(request: FakeRequest) -> FakeReply:
            held.append(gateway.account(key).held)
            return picture()

        gateway.upstream.reply_to("/api/chat", FakeReply.json(OLLAMA_SAYS))
        gateway.upstream.reply_to("/cat.png", while_fetching)
        answer = await gateway.ask(key=key, messages=asks("https://files.example/cat.png"))
        assert (answer.status, held) == (200, [0])


# --- where URLs stand ------------------------------------------------------------------------------------------------

LINK = "https://files.example/a"


@pytest.mark.parametrize(
    ("part", "kind", "after"),
    [
        ({"type": "image_url", "image_url": {"url": LINK, "detail": "low"}}, "image",
         {"type": "image_url", "image_url": {"url": "data:t/u;base64,ZGF0YQ==", "detail": "low"}}),
        ({"type": "image_url", "image_url": LINK}, "image", {"type": "image_url", "image_url": "data:t/u;base64,ZGF0YQ=="}),
        ({"type": "input_image", "image_url": LINK}, "image", {"type": "input_image", "image_url": "data:t/u;base64,ZGF0YQ=="}),
        ({"type": "video_url", "video_url": {"url": LINK}}, "video",
         {"type": "video_url", "video_url": {"url": "data:t/u;base64,ZGF0YQ=="}}),
        ({"type": "file", "file": {"file_id": LINK}}, "document",
         {"type": "file", "file": {"file_data": "data:t/u;base64,ZGF0YQ=="}}),
        ({"type": "file", "file": {"file_data": LINK, "filename": "a.pdf"}}, "document",
         {"type": "file", "file": {"file_data": "data:t/u;base64,ZGF0YQ==", "filename": "a.pdf"}}),
        ({"type": "input_file", "file_url": LINK + ".pdf?x"}, "document",
         {"type": "input_file", "filename": "a.pdf", "file_data": "data:t/u;base64,ZGF0YQ=="}),
        ({"type": "image", "source": {"type": "url", "url": LINK}}, "image",
         {"type": "image", "source": {"type": "base64", "media_type": "t/u", "data": "ZGF0YQ=="}}),
        ({"type": "document", "source": {"type": "url", "url": LINK}, "title": "T"}, "document",
         {"type": "document", "source": {"type": "base64", "media_type": "t/u", "data": "ZGF0YQ=="}, "title": "T"}),
        ({"fileData": {"fileUri": LINK, "mimeType": "audio/wav"}}, "audio",
         {"inlineData": {"mimeType": "t/u", "data": "ZGF0YQ=="}}),
        ({"file_data": {"file_uri": LINK}}, "document", {"inlineData": {"mimeType": "t/u", "data": "ZGF0YQ=="}}),
    ],
)  # fmt: skip
def test_a_url_is_found_and_replaced_in_every_dialects_words(
    part: dict[str, Any], kind: str, after: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": [{"type": "tool_result", "content": [part]}]}]
    (site,) = sites_in(messages, "messages")
    assert (site.kind, site.url.startswith(LINK)) == (kind, True)
    assert site.where.startswith("messages[0].content[0].content[0]")
    site.put("t/u", "ZGF0YQ==")
    assert messages[0]["content"][0]["content"] == [after]  # type: ignore[index]  # as it was built above


def test_what_is_no_url_of_a_medium_is_left_alone() -> None:
    said = [
        {"role": "user", "content": "see https://files.example/a"},
        {"role": "user", "content": [{"type": "text", "text": "https://files.example/a"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]},
    ]
    assert list(sites_in(said, "messages")) == []


# --- who may be asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("https://files.example/a", True),
        ("http://FILES.example/a", True),
        ("https://files.example./a", True),
        ("http://10.0.0.5:8080/a", True),
        ("https://a.example.org/x", False),
        ("https://a.b.example.org", False),
        ("https://files.example:8443/a", None),
        ("http://10.0.0.5/a", None),
        ("https://example.org/x", None),
        ("https://evilexample.org/x", None),
        ("https://files.example@elsewhere.example/x", None),
        ("https://me:pass@files.example/x", None),
        ("https://files.example.evil.example/x", None),
        ("https://files.example:99999/x", None),
        ("https://[bad/x", None),
        ("ftp://files.example/x", None),
        ("https://files.example/" + "a" * 5000, None),
    ],
)
def test_only_hosts_of_the_list_may_be_asked(url: str, named: bool | None) -> None:
    place = _allowed(url, ALLOWED)
    assert (None if place is None else place.named) == named


def test_nothing_in_a_url_ends_the_request_line() -> None:
    place = _allowed("https://files.example/a b\u00e9?q=1 2#\r\nx: y", ALLOWED)
    assert place is not None
    assert place.target == "/a%20b%C3%A9?q=1%202"


# --- fetching --------------------------------------------------------------------------------------------------------


async def resolves_to(*addresses: str) -> Any:
    return [(socket.AF_INET, (address, 443)) for address in addresses]


def site(url: str, kind: str = "image") -> tuple[Site, list[tuple[str, str]]]:
    got: list[tuple[str, str]] = []
    return Site(
        "messages[0].content[1].image_url", kind, url, lambda media_type, data: got.append((media_type, data))
    ), got


async def fetch(
    upstream: FakeUpstream,
    *urls: str,
    settings: MediaFetch = ALLOWED,
    kind: str = "image",
    to: tuple[str, ...] = ("93.184.216.34",),
) -> list[tuple[str, str]]:
    sites = [site(url, kind) for url in urls]
    await _Fetching(settings, upstream, lambda host, port: resolves_to(*to)).put_all([one for one, _ in sites])
    return [put for _, got in sites for put in got]


async def test_a_redirect_is_followed_to_hosts_of_the_list_alone() -> None:
    upstream = FakeUpstream()
    upstream.reply_to("/a", picture(b"", status=302, location="https://cdn.example.org/b"))
    upstream.reply_to("/b", picture(), host="cdn.example.org")
    assert await fetch(upstream, "https://files.example/a") == [("image/png", PNG_BASE64)]
    upstream.reply_to("/a", picture(b"", status=302, location="http://169.254.169.254/latest/meta-data"))
    with pytest.raises(BadRequest, match="leads to a host that nothing is fetched from"):
        await fetch(upstream, "https://files.example/a")


async def test_redirects_end() -> None:
    upstream = FakeUpstream()
    upstream.reply_to("/a", picture(b"", status=301, location="/a"))
    with pytest.raises(BadRequest, match="redirected more than 3 times"):
        await fetch(upstream, "https://files.example/a")
    assert len(upstream.requests) == 4


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
async def test_a_pattern_never_means_a_private_address(address: str) -> None:
    upstream = FakeUpstream()
    with pytest.raises(BadRequest, match="not public"):
        await fetch(upstream, "https://a.example.org/x", to=("93.184.216.34", address))
    assert upstream.requests == []


async def test_plain_http_goes_to_the_address_that_was_looked_at() -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, picture())
    await fetch(upstream, "http://a.example.org/x")
    (request,) = upstream.requests
    assert (request.origin.host, request.headers["host"]) == ("93.184.216.34", "a.example.org")


async def test_a_host_that_is_written_out_may_be_private() -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, picture())
    assert await fetch(upstream, "http://10.0.0.5:8080/x", to=()) == [("image/png", PNG_BASE64)]
    assert upstream.requests[0].headers["host"] == "10.0.0.5:8080"


async def test_one_bound_of_bytes_holds_for_all_media_of_a_call() -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, picture(PNG * 4))
    settings = replace(ALLOWED, bytes_max=len(PNG) * 7)
    assert len(await fetch(upstream, "https://files.example/a", settings=settings)) == 1
    with pytest.raises(BadRequest, match="bytes"):
        await fetch(upstream, "https://files.example/a", "https://files.example/b", settings=settings)


async def test_the_same_url_is_fetched_once_and_too_many_are_refused() -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, picture())
    settings = replace(ALLOWED, count_max=1)
    assert len(await fetch(upstream, "https://files.example/a", "https://files.example/a", settings=settings)) == 2
    assert len(upstream.requests) == 1
    with pytest.raises(BadRequest, match="more than 1 media"):
        await fetch(upstream, "https://files.example/a", "https://files.example/b", settings=settings)


async def test_a_host_that_takes_too_long_is_not_waited_for() -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, FakeReply.json(PNG, after=Gate()))
    with pytest.raises(BadRequest, match=r"did not come within 0\.01 s"):
        await fetch(upstream, "https://files.example/a", settings=replace(ALLOWED, s_max=0.01))


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (picture(b"gone", status=404), "status 404"),
        (picture(b""), "status 200 and nothing"),
        (picture(b"<html>", "text/html"), "no image but 'text/html'"),
        (picture(b"what", "application/octet-stream"), "no image"),
        (
            FakeReply.failing(UpstreamUnreachable("Cannot connect to files.example:443: Connection refused.")),
            "Connection refused",
        ),
    ],
)
async def test_what_cannot_be_used_is_told_with_the_fields_name(reply: FakeReply, why: str) -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, reply)
    with pytest.raises(BadRequest, match=why) as refused:
        await fetch(upstream, "https://files.example/a")
    assert refused.value.param == "messages[0].content[1].image_url"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
    ],
)
async def test_a_picture_without_its_type_is_known_by_its_first_bytes(body: bytes, media_type: str) -> None:
    upstream = FakeUpstream()
    upstream.reply_to(None, picture(body, "application/octet-stream"))
    assert (await fetch(upstream, "https://files.example/a"))[0][0] == media_type
