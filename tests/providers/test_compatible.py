"""The table and the files against the providers' own documentation: `expected.json`, a link and a date on each row."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import convert

from tollway.calls import Secret
from tollway.providers import OPERATIONS, Introduction, registry

EXPECTED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("expected.json").read_text())
TABLE = Path(registry.__file__).with_name("compatible.toml")
ROWS: dict[str, dict[str, Any]] = tomllib.loads(TABLE.read_text())
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")


@pytest.mark.parametrize("row", EXPECTED, ids=[f"{row['provider']} {row['url']}" for row in EXPECTED])
def test_a_call_goes_where_the_provider_documents_it_and_greets_as_documented(row: dict[str, Any], wire: Any) -> None:
    provider = registry.find(row["provider"])
    assert provider is not None
    keys = provider.introduction.key_env
    environment = dict(row.get("environment", {}))
    if not row.get("keyless"):
        environment[keys[0]] = "KEY"
    out = wire(provider, row["operation"], row["model"], environment, **row.get("entry", {}))
    assert out.url == row["url"]
    assert out.headers == row["headers"]


def test_the_documentation_of_at_least_forty_providers_was_looked_at() -> None:
    assert len({row["provider"] for row in EXPECTED}) >= 40
    for row in EXPECTED:
        assert row["source"].startswith("https://")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row["seen"])


@pytest.mark.parametrize("name", registry.names())
def test_an_introduction_is_sound(name: str) -> None:
    provider = registry.find(name)
    assert provider is not None
    assert provider.name == name
    card = provider.introduction
    assert card.display
    assert not card.docs or card.docs.startswith("https://")
    assert set(card.operations) <= set(OPERATIONS)
    assert card.operations
    assert all(VARIABLE.fullmatch(variable) for variable in card.variables)
    assert len(set(card.variables)) == len(card.variables)
    assert re.fullmatch(r"[a-z][a-z0-9-]+", card.auth)
    if card.key_needed:
        assert card.key_env
    if card.base_url is None:
        assert card.base_url_env or name == "local"


@pytest.mark.parametrize("name", [n for n in registry.names() if n != "anthropic"])
def test_an_address_and_a_path_join_without_seams(name: str, wire: Any) -> None:
    provider = registry.find(name)
    assert provider is not None
    card = provider.introduction
    environment = dict.fromkeys(card.variables, "value") | dict.fromkeys(card.base_url_env, "")
    base = {} if card.base_url else {"api_base": "https://host.example/v1/"}
    for operation in card.operations:
        url = urlsplit(wire(provider, operation, "m", environment, **base).url)
        assert url.scheme == "https" or url.hostname in ("localhost", "127.0.0.1")
        assert "//" not in url.path
        assert not re.search(r"/(v\d\w*)/\1(/|$)", url.path)
        assert "{" not in url.geturl()


@pytest.mark.parametrize("name", registry.names())
def test_a_provider_offers_what_it_introduces_and_nothing_else(name: str) -> None:
    provider = registry.find(name)
    assert provider is not None
    offered = {operation for operation in OPERATIONS if provider.path(operation, "m") is not None}
    ranks = {"rerank"} if provider.introduction.rerank else set()
    assert offered == {*provider.introduction.operations, *ranks}
    assert provider.path("no_such_operation", "m") is None


def test_every_base_url_in_the_table_is_https_or_loopback_and_has_no_trailing_slash() -> None:
    for name, row in ROWS.items():
        base = row.get("base_url")
        if base:
            assert re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", base), name
            assert not base.endswith("/"), name


def test_the_rows_of_the_table_stand_in_order_and_say_nothing_that_is_default() -> None:
    assert list(ROWS) == sorted(ROWS)
    plain = convert({"display": "x"}, Introduction)
    for name, row in ROWS.items():
        if "same_as" in row:
            assert set(row) == {"same_as"}
            assert "same_as" not in ROWS[row["same_as"]]
            continue
        for column, value in row.items():
            default = getattr(plain, column)
            assert value != (list(default) if isinstance(default, tuple) else default), f"{name}.{column}"


def test_a_name_stands_in_one_place_only() -> None:
    files = registry._from_files()
    assert not set(ROWS) & set(files)
    assert not (set(ROWS) | set(files)) & set(registry.NOT_YET)


def test_no_header_shows_a_key_before_it_is_asked_for(entry: Any) -> None:
    for name in registry.names():
        provider = registry.find(name)
        assert provider is not None
        assert not any(b"KEY" in value for _, value in provider.headers(None, entry()))
        assert not any(b"KEY" in value for _, value in provider.operation_headers("chat", None, entry()))
        key = Secret("KEY")
        lines = [*provider.headers(key, entry()), *provider.operation_headers("chat", key, entry())]
        assert any(b"KEY" in value for _, value in lines)
