"""Fetches media that a call names by URL for providers that take bytes only, from hosts that the configuration allows.

Off unless `media_fetch.allow_hosts` names a host. Then a call is looked through once; what it names is fetched before anything is
held or sent, within the bounds of `MediaFetch`, and put in the URL's place. A host that is written out in the configuration may
have a private address; one that fits a pattern only may not: its addresses are looked at, and plain HTTP goes to the very address
that was looked at. (With TLS the server's certificate says who it is.) The upstream itself refuses link-local addresses.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Call, Reply
from tollway.config.settings import MediaFetch
from tollway.dialects import WANTS_BYTES
from tollway.errors import BadRequest, UpstreamError
from tollway.policies import Step
from tollway.snapshot import Snapshot
from tollway.upstream.dialing import Resolve, resolve_by_system
from tollway.upstream.wire import Deadlines, Origin, Upstream, WireRequest
from tollway.values import Value

REDIRECTS_MAX = 3
CONNECT_S_MAX = 5.0
URL_CHARS_MAX = 4096
#: Where a request's words stand, by dialect.
_INPUTS = ("messages", "input", "contents")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
#: What a kind of medium may be; documents may be anything that people read.
_TYPES = {
    "image": re.compile(r"image/[\w.+-]+"),
    "audio": re.compile(r"audio/[\w.+-]+"),
    "video": re.compile(r"video/[\w.+-]+"),
    "document": re.compile(r"application/(?:pdf|json|msword|vnd\.[\w.+-]+|rtf|xml)|text/[\w.+-]+|image/[\w.+-]+"),
}
#: The first bytes of files that come without their type.
_STARTS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


class Site(Struct):
    """A URL in a request: where it stands, what it names, and how the medium is put there (media type, base64)."""

    where: str
    kind: str
    url: str
    put: Callable[[str, str], None]


def fetch_media(next: Step, upstream: Upstream, resolve: Resolve = resolve_by_system) -> Step:
    """Puts media in the place of their URLs. Raises BadRequest for what cannot be fetched. About 0.2 us where it is off."""

    def step(call: Call) -> Awaitable[Reply]:
        snapshot: Snapshot = call.snapshot
        if not snapshot.fetches_media or call.operation.name != "chat":
            return next(call)
        settings = snapshot.config.params.media_fetch
        name = _field_of_media(call)
        wanted = _wanted(call) if name else frozenset()
        if not wanted:
            return next(call)
        return fetched(call, name, wanted, settings)

    async def fetched(call: Call, name: str, wanted: frozenset[str], settings: MediaFetch) -> Reply:
        said = _decoded(call.fields[name], name)
        sites = [site for site in sites_in(said, name) if site.kind in wanted]
        sites = [site for site in sites if _allowed(site.url, settings) is not None]
        if sites:
            await _Fetching(settings, upstream, resolve).put_all(sites)
            call.fields[name] = Raw(msgspec.json.encode(said))
            call.body = msgspec.json.encode(call.fields)  # what the call holds and may cost is counted on it
        return await next(call)

    return step


def _field_of_media(call: Call) -> str:
    """The field that may name media, "" where none does."""
    for name in _INPUTS:
        if name in call.fields:
            return name if b"http" in bytes(call.fields[name]) else ""
    return ""


def _wanted(call: Call) -> frozenset[str]:
    """The kinds of media that some deployment of the model can only be given as bytes."""
    own = call.operation.dialect.NAME
    wanted: set[str] = set()
    for deployment in call.model.deployments:
        if deployment.wire is not None and (spoken := call.operation.spoken(deployment)) != own:
            wanted |= WANTS_BYTES.get(spoken, frozenset())
    return frozenset(wanted)


def _decoded(value: Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{name} cannot be read.", param=name) from error


# --- where URLs stand ------------------------------------------------------------------------------------------------


def sites_in(value: Any, where: str) -> Iterator[Site]:
    """Every URL of a medium in a request, in whichever dialect."""
    if isinstance(value, list):
        for at, member in enumerate(value):
            yield from sites_in(member, f"{where}[{at}]")
    elif isinstance(value, dict):
        site = _site(value, where)
        if site is not None:
            yield site
            return
        for name, member in value.items():
            if isinstance(member, (dict, list)):
                yield from sites_in(member, f"{where}.{name}")


def _site(part: dict[str, Any], where: str) -> Site | None:
    kind = part.get("type")
    if kind in ("image_url", "video_url", "input_image"):
        return _url_site(part, "image_url" if kind == "input_image" else str(kind), where)
    if kind == "file" and isinstance(file := part.get("file"), dict):
        return _file_site(file, f"{where}.file")
    if kind == "input_file" and (url := _link(part.get("file_url"))):

        def put_file(media_type: str, data: str) -> None:
            del part["file_url"]
            part.setdefault("filename", url.rpartition("/")[2].partition("?")[0][:200] or "file")
            part["file_data"] = f"data:{media_type};base64,{data}"

        return Site(f"{where}.file_url", "document", url, put_file)
    source = part.get("source")
    if kind in ("image", "document") and isinstance(source, dict) and (url := _link(source.get("url"))):

        def put_source(media_type: str, data: str) -> None:
            part["source"] = {"type": "base64", "media_type": media_type, "data": data}

        return Site(f"{where}.source.url", str(kind), url, put_source)
    for name in ("fileData", "file_data"):
        if isinstance(data := part.get(name), dict):
            return _google_site(part, name, data, where)
    return None


def _url_site(part: dict[str, Any], name: str, where: str) -> Site | None:
    held = part.get(name)
    outer, key = (held, "url") if isinstance(held, dict) else (part, name)
    url = _link(outer.get(key))
    if not url:
        return None

    def put(media_type: str, data: str) -> None:
        outer[key] = f"data:{media_type};base64,{data}"

    return Site(f"{where}.{name}", "video" if name == "video_url" else "image", url, put)


def _file_site(file: dict[str, Any], where: str) -> Site | None:
    for name in ("file_data", "file_id"):
        if url := _link(file.get(name)):

            def put(media_type: str, data: str, name: str = name) -> None:
                del file[name]
                file["file_data"] = f"data:{media_type};base64,{data}"

            return Site(f"{where}.{name}", "document", url, put)
    return None


def _google_site(part: dict[str, Any], name: str, data: dict[str, Any], where: str) -> Site | None:
    url = _link(data.get("fileUri") or data.get("file_uri"))
    if not url:
        return None
    told = str(data.get("mimeType") or data.get("mime_type") or "")
    kind = told.partition("/")[0] if told.partition("/")[0] in ("image", "audio", "video") else "document"

    def put(media_type: str, content: str) -> None:
        del part[name]
        part["inlineData"] = {"mimeType": media_type, "data": content}

    return Site(f"{where}.{name}", kind, url, put)


def _link(value: Any) -> str:
    """The value where it is a URL, else ""."""
    return value if isinstance(value, str) and value[:8].lower().startswith(("http://", "https://")) else ""


# --- who may be asked ------------------------------------------------------------------------------------------------


class Place(Value, frozen=True):
    """Who is asked for a URL. `named`: the configuration writes this host out."""

    scheme: str
    host: str
    port: int
    target: str
    named: bool


def _allowed(url: str, settings: MediaFetch) -> Place | None:
    """Who serves the URL, or None where nobody may be asked for it."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    host = (parts.hostname or "").lower().rstrip(".")
    if not port or not host or parts.username is not None or len(url) > URL_CHARS_MAX or not host.isascii():
        return None
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    target = path + ("?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._") if parts.query else "")
    fits = False
    for entry in settings.allow_hosts:
        name, at = _split(entry)
        if (at or _PORTS[parts.scheme]) != port:
            continue
        if name == host:
            return Place(parts.scheme, host, port, target, named=True)
        fits = fits or (name.startswith("*.") and host.endswith(name[1:]))
    return Place(parts.scheme, host, port, target, named=False) if fits else None


def _split(entry: str) -> tuple[str, int]:
    """(host, port or 0) of "files.example.com:8080" or "[::1]:8080"."""
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, int(port[1:] or 0)
    host, _, port = entry.partition(":")
    return host, int(port or 0)


# --- fetching --------------------------------------------------------------------------------------------------------


class _Fetching:
    """The media of one call, one after the other, so that its bound of bytes is one for all of them."""

    def __init__(self, settings: MediaFetch, upstream: Upstream, resolve: Resolve) -> None:
        self._settings = settings
        self._upstream = upstream
        self._resolve = resolve
        self._bytes_left = settings.bytes_max
        self._known: dict[str, tuple[str, str]] = {}

    async def put_all(self, sites: list[Site]) -> None:
        settings = self._settings
        if len({site.url for site in sites}) > settings.count_max:
            raise BadRequest(
                f"This call names more than {settings.count_max} media by URL, which is as many as are fetched for one.",
                param=sites[settings.count_max].where,
            )
        at = sites[0]
        try:
            async with asyncio.timeout(settings.s_max):
                for site in sites:
                    at = site
                    if site.url not in self._known:
                        self._known[site.url] = await self._fetch(site)
                    site.put(*self._known[site.url])
        except TimeoutError as error:
            raise _refusal(at, f"its media did not come within {settings.s_max:g} s") from error

    async def _fetch(self, site: Site) -> tuple[str, str]:
        url = site.url
        for _ in range(REDIRECTS_MAX + 1):
            place = _allowed(url, self._settings)
            if place is None:
                raise _refusal(site, "it leads to a host that nothing is fetched from")
            status, headers, body = await self._get(site, place)
            if status not in _REDIRECTS:
                break
            url = urljoin(url, headers.get(b"location", b"").decode("latin-1"))
        else:
            raise _refusal(site, f"it is redirected more than {REDIRECTS_MAX} times")
        if status != 200 or not body:
            raise _refusal(site, f"its host answered with status {status}{'' if body else ' and nothing'}")
        self._bytes_left -= len(body)
        return _media_type(site, headers.get(b"content-type", b""), body), base64.b64encode(body).decode()

    async def _get(self, site: Site, place: Place) -> tuple[int, dict[bytes, bytes], bytes]:
        host = place.host
        if not place.named:
            address = await self._public_address(site, place)
            host = address if place.scheme == "http" else host
        shown = f"[{place.host}]" if ":" in place.host else place.host
        if place.port != _PORTS[place.scheme]:
            shown = f"{shown}:{place.port}"
        head = (
            f"GET {place.target} HTTP/1.1\r\nhost: {shown}\r\nuser-agent: tollway\r\naccept: */*\r\n"
            "accept-encoding: identity\r\n"
        )
        s_max = self._settings.s_max
        request = WireRequest(
            origin=Origin(place.scheme, host, place.port),
            head=head.encode("ascii"),
            body=b"",
            reply_bytes_max=max(self._bytes_left, 1),
        )
        deadlines = Deadlines(connect_s=min(CONNECT_S_MAX, s_max), first_byte_s=s_max, idle_s=s_max, total_s=s_max)
        try:
            wire = await self._upstream.send(request, deadlines)
        except UpstreamError as error:
            raise _refusal(site, error.message.rstrip(".")) from error
        try:
            return wire.status, dict(wire.headers), wire.body or b""
        finally:
            wire.close()

    async def _public_address(self, site: Site, place: Place) -> str:
        try:
            found = await self._resolve(place.host, place.port)
        except OSError as error:
            raise _refusal(site, f"the name {place.host!r} cannot be resolved") from error
        addresses = [str(address[0]).partition("%")[0] for _, address in found]
        if not addresses or not all(_is_public(address) for address in addresses):
            raise _refusal(
                site, f"{place.host!r} has an address that is not public, and is not written out in the configuration"
            )
        return addresses[0]


def _is_public(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


def _media_type(site: Site, told: bytes, body: bytes) -> str:
    named = told.decode("latin-1").partition(";")[0].strip().lower()
    if named in ("", "application/octet-stream", "binary/octet-stream"):
        named = next((kind for start, kind in _STARTS if body.startswith(start)), named)
        if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
            named = "image/webp"
    if not _TYPES[site.kind].fullmatch(named):
        raise _refusal(site, f"what its host sends is no {site.kind} but {named[:60] or 'of no known type'!r}")
    return named


def _refusal(site: Site, why: str) -> BadRequest:
    return BadRequest(f"{site.where} could not be fetched: {why}.", param=site.where)
