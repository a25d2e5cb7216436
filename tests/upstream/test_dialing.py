from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret
from tollway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tollway.upstream.client import HttpClient
from tollway.upstream.dialing import refuse_link_local, take_turns
from tollway.upstream.proxying import ProxySettings
from tollway.upstream.wire import Deadlines, Origin, Tls

from .servers import IN_TIME, LAST_CHUNK, STREAM_HEAD, Authority, Serve, Talk, chunk, json_answer, post, read_all


def names(**addresses: list[str]) -> Any:
    """A resolver of the test's own."""

    async def resolve(host: str, port: int) -> list[Any]:
        if host not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, (address, port, 0, 0)) if ":" in address else (socket.AF_INET, (address, port))
            for address in addresses[host]
        ]

    return resolve


# -- TLS


async def test_tls_is_spoken_with_who_the_name_says(serve: Serve, client: HttpClient, authority: Authority) -> None:
    server = await serve(json_answer(b'"safe"'), tls=authority.server_context("localhost"))
    origin = server.origin(scheme="https", host="localhost", tls=Tls(ca_file=authority.ca_file))
    for _ in range(2):
        assert (await client.send(post(origin), IN_TIME)).body == b'"safe"'
    assert len(server.talks) == 1
    chosen = server.talks[0].writer.get_extra_info("ssl_object")
    assert chosen.selected_alpn_protocol() in (None, "http/1.1")


async def test_a_stream_comes_through_tls(serve: Serve, client: HttpClient, authority: Authority) -> None:
    big = bytes(range(256)) * 2000
    answer = STREAM_HEAD + chunk(b"one") + chunk(big) + LAST_CHUNK
    server = await serve(answer, tls=authority.server_context("localhost"))
    origin = server.origin(scheme="https", host="localhost", tls=Tls(ca_file=authority.ca_file))
    reply = await client.send(post(origin, b"x" * 300_000, streaming=True), IN_TIME)
    assert await read_all(reply) == b"one" + big


@pytest.mark.parametrize("length", [0, 20, 80, 120])
async def test_a_cut_under_tls_is_broken(serve: Serve, client: HttpClient, authority: Authority, length: int) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say((STREAM_HEAD + chunk(b"x" * 100))[:length])

    server = await serve(script, tls=authority.server_context("localhost"))
    origin = server.origin(scheme="https", host="localhost", tls=Tls(ca_file=authority.ca_file))
    with pytest.raises(UpstreamBroken):
        await client.send(post(origin), IN_TIME)


async def test_a_certificate_for_another_name_is_refused(
    serve: Serve, client: HttpClient, authority: Authority
) -> None:
    server = await serve(json_answer(), tls=authority.server_context("other.example"))
    origin = server.origin(scheme="https", host="localhost", tls=Tls(ca_file=authority.ca_file))
    with pytest.raises(UpstreamUnreachable, match=r"localhost:\d+: its certificate is not trusted") as caught:
        await client.send(post(origin), IN_TIME)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert client.stats() == {}


async def test_an_unknown_authority_is_refused_unless_verifying_is_off(
    serve: Serve, client: HttpClient, authority: Authority
) -> None:
    server = await serve(json_answer(), tls=authority.server_context("other.example"))
    with pytest.raises(UpstreamUnreachable, match="certificate is not trusted"):
        await client.send(post(server.origin(scheme="https", host="localhost")), IN_TIME)
    careless = server.origin(scheme="https", host="localhost", tls=Tls(verify=False))
    assert (await client.send(post(careless), IN_TIME)).status == 200


async def test_a_client_certificate_is_shown_where_one_is_wanted(
    serve: Serve, client: HttpClient, authority: Authority
) -> None:
    server = await serve(json_answer(), tls=authority.server_context("localhost", wants_client=True))
    cert_file, key_file = authority.client_files()
    known = Tls(ca_file=authority.ca_file, cert_file=cert_file, key_file=key_file)
    assert (await client.send(post(server.origin(scheme="https", host="localhost", tls=known)), IN_TIME)).status == 200
    unknown = server.origin(scheme="https", host="localhost", tls=Tls(ca_file=authority.ca_file))
    with pytest.raises((UpstreamBroken, UpstreamUnreachable)):
        await client.send(post(unknown), IN_TIME)


async def test_a_missing_certificate_file_is_told_each_time(client: HttpClient, tmp_path: Path) -> None:
    origin = Origin("https", "localhost", 1, Tls(ca_file=str(tmp_path / "none.pem")))
    for _ in range(2):
        with pytest.raises(UpstreamUnreachable, match="No such file"):
            await client.send(post(origin), IN_TIME)


async def test_one_context_serves_all_origins_that_trust_alike(
    serve: Serve, client: HttpClient, authority: Authority
) -> None:
    servers = [await serve(json_answer(), tls=authority.server_context("localhost")) for _ in range(3)]
    tls = Tls(ca_file=authority.ca_file)
    requests = [post(server.origin(scheme="https", host="localhost", tls=tls)) for server in servers]
    await asyncio.gather(*(client.send(request, IN_TIME) for request in requests))
    assert len(client._dialer._contexts) == 1


async def test_a_server_that_speaks_no_tls_is_unreachable(serve: Serve, client: HttpClient) -> None:
    async def script(talk: Talk) -> None:
        await talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await talk.wait_gone()

    server = await serve(script)
    with pytest.raises(UpstreamUnreachable, match="TLS failed"):
        await client.send(post(server.origin(scheme="https", host="localhost")), IN_TIME)


# -- names and addresses


async def test_a_closed_port_is_unreachable_by_name_and_reason(client: HttpClient) -> None:
    with pytest.raises(
        UpstreamUnreachable, match=r"^Cannot connect to 127\.0\.0\.1:1: Connection refused\.$"
    ) as caught:
        await client.send(post(Origin("http", "127.0.0.1", 1), path="/v1?key=sk-secret"), IN_TIME)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_name_without_address_is_unreachable() -> None:
    client = HttpClient(resolve=names())
    with pytest.raises(UpstreamUnreachable, match=r"api\.example:80: the name cannot be resolved \(Name or service"):
        await client.send(post(Origin("http", "api.example", 80)), IN_TIME)
    await client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is there without being set up on Linux only")
async def test_the_next_address_is_tried_when_one_refuses(serve: Serve) -> None:
    client = HttpClient(resolve=names(**{"api.example": ["127.0.0.2", "::1", "127.0.0.1"]}))
    server = await serve(json_answer())
    assert (await client.send(post(server.origin(host="api.example")), IN_TIME)).status == 200
    await client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops what a full backlog cannot take")
async def test_the_next_address_is_tried_when_one_is_silent(serve: Serve) -> None:
    client = HttpClient(resolve=names(**{"api.example": ["127.0.0.2", "127.0.0.1"]}))
    server = await serve(json_answer())
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind(("127.0.0.2", server.port))
        silent.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(("127.0.0.2", server.port))
        assert (await client.send(post(server.origin(host="api.example")), Deadlines(connect_s=3))).status == 200
        blackhole = HttpClient(resolve=names(**{"api.example": ["127.0.0.2"]}))
        with pytest.raises(UpstreamTimeout, match=r"could not be connected to within 0\.05 s"):
            await blackhole.send(post(server.origin(host="api.example")), Deadlines(connect_s=0.05))
        await blackhole.close()
    await client.close()


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
async def test_link_local_addresses_are_refused_as_literals_and_behind_names(address: str) -> None:
    client = HttpClient(resolve=names(**{"api.example": ["127.0.0.1", address]}))
    for host in (address, "api.example"):
        with pytest.raises(UpstreamUnreachable, match=r"Refused to connect to .*link-local"):
            await client.send(post(Origin("http", host, 80)), IN_TIME)
    await client.close()


def test_a_scoped_link_local_address_is_refused_and_others_are_not() -> None:
    with pytest.raises(UpstreamUnreachable):
        refuse_link_local("host", "fe80::1%eth0")
    for address in ("10.0.0.1", "127.0.0.1", "::1", "fd00::1", "api.example"):
        refuse_link_local("host", address)


def test_families_take_turns() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    found = [(six, ("a",)), (six, ("b",)), (six, ("c",)), (four, ("d",)), (four, ("e",))]
    assert "".join(address[0] for _, address in take_turns(found)) == "adbec"
    assert "".join(address[0] for _, address in take_turns(found[3:])) == "de"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
async def test_a_unix_socket_is_reached_by_its_path(serve: Serve, client: HttpClient, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    await serve(json_answer(), socket_path=path)
    origin = Origin("http", "localhost", 80, socket_path=path)
    for _ in range(2):
        assert (await client.send(post(origin), IN_TIME)).status == 200
    assert client.stats()[origin].idle == 1
    nowhere = Origin("http", "localhost", 80, socket_path=str(tmp_path / "none"))
    with pytest.raises(UpstreamUnreachable, match="No such file"):
        await client.send(post(nowhere), IN_TIME)


# -- proxies


class ConnectProxy:
    """A proxy that tunnels to one port whatever it is asked for, or answers with `refusal`."""

    def __init__(self, port: int, refusal: bytes = b"") -> None:
        self.port = port
        self.refusal = refusal
        self.asked: list[bytes] = []

    async def __call__(self, talk: Talk) -> None:
        self.asked.append(await talk.reader.readuntil(b"\r\n\r\n"))
        if self.refusal:
            await talk.say(self.refusal)
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await talk.say(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
            target.transport.close()

        try:
            await asyncio.gather(carry(talk.reader, writer), carry(reader, talk.writer))
        finally:
            writer.transport.close()


async def test_https_goes_through_a_tunnel_with_tls_inside(serve: Serve, authority: Authority) -> None:
    server = await serve(json_answer(b'"inside"'), tls=authority.server_context("api.example"))
    proxy = ConnectProxy(server.port)
    door = await serve(proxy)
    client = HttpClient(proxies=ProxySettings(https_proxy=Secret(f"http://user:p%40ss@127.0.0.1:{door.port}")))
    origin = Origin("https", "api.example", 443, Tls(ca_file=authority.ca_file))
    for _ in range(2):
        assert (await client.send(post(origin), IN_TIME)).body == b'"inside"'
    assert proxy.asked == [
        b"CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\nproxy-authorization: Basic dXNlcjpwQHNz\r\n\r\n"
    ]
    await client.close()
    await server.gone.wait()


async def test_tls_inside_a_tunnel_inside_tls(serve: Serve, authority: Authority) -> None:
    big = b"x" * 1_000_000
    server = await serve(json_answer(big), tls=authority.server_context("api.example"))
    door = await serve(ConnectProxy(server.port), tls=authority.server_context("127.0.0.1"))
    client = HttpClient(proxies=ProxySettings(https_proxy=Secret(f"https://127.0.0.1:{door.port}")))
    origin = Origin("https", "api.example", 443, Tls(ca_file=authority.ca_file))
    for _ in range(2):
        assert (await client.send(post(origin, big), IN_TIME)).body == big
    assert len(server.talks) == 1
    await client.close()


async def test_a_stream_that_is_left_closes_the_tunnel(serve: Serve, authority: Authority) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(STREAM_HEAD + chunk(b"one"))
        await talk.wait_gone()

    server = await serve(script, tls=authority.server_context("api.example"))
    door = await serve(ConnectProxy(server.port))
    client = HttpClient(proxies=ProxySettings(https_proxy=Secret(f"http://127.0.0.1:{door.port}")))
    origin = Origin("https", "api.example", 443, Tls(ca_file=authority.ca_file))
    reply = await client.send(post(origin, streaming=True), IN_TIME)
    assert await reply.read() == b"one"
    reply.close()
    await server.gone.wait()
    assert client.stats() == {}
    await client.close()


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused the tunnel .*407 Proxy Auth"),
        (b"HTTP/1.1 200 OK\r\n\r\nand something that nobody asked for", "refused the tunnel"),
        (b"HTTP/1.1 200", "closed the connection"),
        (b"x" * 100_000, "has no end"),
    ],
)
async def test_a_tunnel_that_is_not_opened_is_unreachable(serve: Serve, refusal: bytes, message: str) -> None:
    door = await serve(ConnectProxy(0, refusal))
    client = HttpClient(proxies=ProxySettings(https_proxy=Secret(f"http://user:pass@127.0.0.1:{door.port}")))
    with pytest.raises(UpstreamUnreachable, match=message) as caught:
        await client.send(post(Origin("https", "api.example", 443)), IN_TIME)
    assert "pass" not in str(caught.value)
    assert client.stats() == {}
    await client.close()


async def test_a_silent_proxy_meets_the_connect_deadline(serve: Serve) -> None:
    door = await serve(lambda talk: talk.wait_gone())
    client = HttpClient(proxies=ProxySettings(https_proxy=Secret(f"http://127.0.0.1:{door.port}")))
    with pytest.raises(UpstreamTimeout, match="could not be connected to"):
        await client.send(post(Origin("https", "api.example", 443)), Deadlines(connect_s=0.05))
    await door.gone.wait()
    await client.close()


async def test_plain_http_goes_to_the_proxy_in_absolute_form(serve: Serve) -> None:
    heard = []

    async def script(talk: Talk) -> None:
        while True:
            heard.append(await talk.hear())
            await talk.say(json_answer())

    door = await serve(script)
    client = HttpClient(proxies=ProxySettings(http_proxy=Secret(f"http://u:p@127.0.0.1:{door.port}")))
    for _ in range(2):
        await client.send(post(Origin("http", "api.example", 8080), path="/v1?a=b"), IN_TIME)
    absolute = (
        b"POST http://api.example:8080/v1?a=b HTTP/1.1\r\nproxy-authorization: Basic dTpw\r\nhost: api.example\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
    assert heard == [absolute, absolute]
    assert len(door.talks) == 1
    await client.close()


async def test_loopback_is_called_directly(serve: Serve) -> None:
    server = await serve(json_answer())
    client = HttpClient(proxies=ProxySettings(http_proxy=Secret("http://127.0.0.1:1")))
    assert (await client.send(post(server.origin()), IN_TIME)).status == 200
    await client.close()
