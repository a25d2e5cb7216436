from __future__ import annotations

import re

import pytest

from tollway.admin.application import ROUTES
from tollway.admin.pages import PATHS

from .conftest import Asking


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_no_page_asks_another_host_for_anything(ask: Asking, path: str) -> None:
    answer = await ask.get(path, key=None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?://|<script|<img|<link|@import|url\(", answer.text)


async def test_the_docs_and_the_schema_name_every_path(ask: Asking) -> None:
    page = (await ask.get("/docs", key=None)).text
    paths = (await ask.get("/openapi.json", key=None)).json()["paths"]
    declared = {route.path for route in ROUTES} - PATHS
    assert set(paths) == declared
    for path in declared:
        assert path in page
