from __future__ import annotations

import re
from pathlib import Path

import pytest

from tollway.admin import application
from tollway.admin.application import ROUTES
from tollway.admin.pages import PATHS

from .conftest import Asking
from .office import FakeOffice


@pytest.fixture(autouse=True)
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the built pages lie; nothing is built unless a test puts it there."""
    monkeypatch.setattr(application, "BUILT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_no_page_asks_another_host_for_anything(ask: Asking, path: str) -> None:
    answer = await ask.get(path, key=None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?://|<script|<img|<link|@import|url\(", answer.text)


async def test_the_docs_and_the_schema_name_every_path(ask: Asking, office: FakeOffice) -> None:
    page = (await ask.get("/docs", key=None)).text
    paths = (await ask.get("/openapi.json", key=None)).json()["paths"]
    declared = {route.path for route in ROUTES} - PATHS
    assert set(paths) == declared | office.call_paths.keys()
    for path in declared | office.call_paths.keys():
        assert path in page


async def test_the_docs_are_the_built_page_where_there_is_one(ask: Asking, built: Path) -> None:
    (built / "docs.html").write_text('<html><script src="/ui/assets/docs.js" nonce="TOLLWAY-NONCE"></script>')
    answer = await ask.get("/docs", key=None)
    assert "/ui/assets/docs.js" in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
