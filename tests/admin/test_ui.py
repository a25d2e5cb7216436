"""The dashboard's pages and files, who may ask what, and the playground's way to a model."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from tollway.admin import build
from tollway.admin.dashboard import application, files
from tollway.admin.dashboard.application import ROUTES
from tollway.admin.roles import Access
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config

from .conftest import Asking
from .office import MASTER_KEY, FakeOffice

DOCS = Path(__file__).parents[2] / "docs" / "dashboard.md"
DOCUMENT = (
    '<html><meta property="csp-nonce" nonce="TOLLWAY-NONCE"><script src="/ui/assets/a-1.js" nonce="TOLLWAY-NONCE">'
)
SCRIPT = b"console.log('hello')"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pages as a build leaves them."""
    folder = tmp_path / "built"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(DOCUMENT)
    (folder / "assets" / "a-1.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "assets" / "a-1.js.br").write_bytes(b"brotli")
    (folder / "secret.js.gz").write_bytes(b"not an asset")
    monkeypatch.setattr(files, "BUILT", folder)
    return folder


@pytest.fixture
async def client(tmp_path: Path, built: Path) -> AsyncIterator[AsyncClient]:
    office = FakeOffice(Config(access=AccessSettings(master_key=Secret(MASTER_KEY))))
    office.data_folder = tmp_path
    async with AsyncClient(transport=ASGITransport(build(office)), base_url="http://gateway") as client:
        yield client


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/logs", "/ui/keys/anything"])
async def test_every_page_is_the_one_document_under_a_strict_policy(client: AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"https?:", answer.headers["content-security-policy"])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_styles_carry_a_nonce_that_no_other_answer_has(client: AsyncClient) -> None:
    nonces = set()
    for _ in range(3):
        answer = await client.get("/ui")
        found = re.search(r"style-src 'self' 'nonce-([\w-]{20,})'", answer.headers["content-security-policy"])
        assert found is not None
        assert answer.text.count(f'nonce="{found[1]}"') == 2
        assert files.NONCE_MARK not in answer.text
        nonces.add(found[1])
    assert len(nonces) == 3


@pytest.mark.parametrize("path", ["/ui", "/ui/api/session", "/docs", "/openapi.json", "/"])
async def test_no_secret_stands_in_a_page_that_everybody_sees(client: AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert MASTER_KEY not in answer.text + str(answer.headers)
    assert "csrf" not in (await client.get("/ui/api/session")).json()


@pytest.mark.parametrize(
    ("accepted", "encoding", "content"),
    [("gzip, deflate, br", "br", b"brotli"), ("gzip;q=1.0", "gzip", SCRIPT), ("identity", None, SCRIPT)],
)
async def test_files_come_compressed_and_may_be_kept_for_ever(
    client: AsyncClient, accepted: str, encoding: str | None, content: bytes
) -> None:
    async with client.stream("GET", "/ui/assets/a-1.js", headers={"accept-encoding": accepted}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == encoding
    assert (gzip.decompress(raw) if encoding == "gzip" else raw) == content
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name", ["b.js", "..%2fsecret.js", "%2e%2e/secret.js", "a-1.js.gz", ".js", "a-1.html", "a%00.js"]
)
async def test_nothing_but_the_files_of_the_pages_is_served(client: AsyncClient, name: str) -> None:
    answer = await client.get(f"/ui/assets/{name}")
    assert answer.status_code == 404
    assert (await client.get("/ui/api/no-such-question")).status_code == 404


async def test_pages_that_were_not_built_say_how_to_build_them(client: AsyncClient, built: Path) -> None:
    (built / "index.html").unlink()
    answer = await client.get("/ui")
    assert answer.status_code == 503
    assert "make ui" in answer.text


# --- who may ask


@pytest.mark.parametrize("route", [one for one in ROUTES if one.access is not Access.PUBLIC], ids=lambda one: one.path)
async def test_a_key_that_is_nobodys_asks_the_dashboard_nothing(ask: Asking, route: application.Route) -> None:
    path = route.path.replace("{call}", "x")
    mine = (await ask.made())["key"]
    for key in (None, mine):
        answer = await (ask.get(path, key=key) if route.method == "GET" else ask.post(path, key=key))
        assert answer.status_code == 401


def test_only_pages_and_signing_in_are_open() -> None:
    open_to_all = {f"{one.method} {one.path}" for one in ROUTES if one.access is Access.PUBLIC}
    assert open_to_all == {
        "GET /ui",
        "GET /ui/assets/{name}",
        "GET /ui/{page:path}",
        "GET /ui/api/session",
        "POST /ui/api/session",
        "DELETE /ui/api/session",
        "POST /ui/api/invitation",
        "POST /ui/api/invitation/accept",
        "GET /sso/key/generate",
        "GET /sso/callback",
    }


def test_every_question_is_documented() -> None:
    told = set(re.findall(r"`((?:GET|POST|DELETE) /(?:ui|sso)[^`]*)`", DOCS.read_text(encoding="utf-8")))
    assert told == {f"{one.method} {one.path}" for one in ROUTES if one.path not in application.PAGES}


# --- the playground


async def test_the_playground_asks_as_the_master_key_and_says_that_it_does(ask: Asking, office: FakeOffice) -> None:
    answer = await ask.post("/ui/api/chat/completions", content='{"model": "gpt-4o", "stream": true}')
    assert answer.json() == {"answered": True}
    ((path, body, headers),) = office.called
    assert path == "/v1/chat/completions"
    assert body == b'{"model": "gpt-4o", "stream": true}'
    assert headers[b"x-litellm-tags"] == b"playground"
