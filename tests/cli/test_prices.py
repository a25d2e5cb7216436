"""`tollway prices`."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tollway.app import catalog_in_force
from tollway.cli import main, prices
from tollway.pricing.catalog import CATALOG_FILE
from tollway.pricing.making import catalog_bytes

CONFIG = """
model_list:
  - model_name: cheap
    litellm_params: {model: openai/gpt-4o, api_key: sk-of-nobody, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: cheap
    litellm_params: {model: anthropic/claude-opus-4-6, api_key: sk-of-nobody}
  - model_name: pictures
    litellm_params: {model: openai/my-own-pictures, api_key: sk-of-nobody, output_cost_per_image: 0.04}
  - model_name: unknown
    litellm_params: {model: openai/my-own, api_key: sk-of-nobody}
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    for variable in ("CONFIG_FILE_PATH", "LITELLM_MODEL_COST_MAP_URL"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tollway", "prices", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


@pytest.fixture
def shipped_map(shipped: bytes) -> dict[str, Any]:
    """The shipped list as a map, as if it had been published the day after."""
    import gzip

    told = json.loads(gzip.decompress(shipped))
    return {
        name: {**row, "litellm_provider": provider}
        for provider, rows in told["rows"].items()
        for name, row in rows.items()
    }


@pytest.fixture(scope="session")
def shipped() -> bytes:
    from importlib import resources

    return resources.files("tollway.pricing").joinpath(CATALOG_FILE).read_bytes()


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, Any]]]:
    """A place where a price list is published: its address, and what it answers with."""
    answer: dict[str, Any] = {"status": 200, "body": b"", "asked": 0}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["asked"] += 1
            self.send_response(answer["status"])
            self.send_header("content-length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/prices.json", answer
        server.shutdown()
        thread.join()


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_model_is_shown_with_everything_it_asks(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("show", "anthropic/claude-opus-5", "--json") == 0
    (told,) = shown(capsys)
    assert told["per_million_tokens"] == {
        "input": 5.0,
        "cache_read": 0.5,
        "cache_write_5m": 6.25,
        "cache_write_1h": 10.0,
        "output": 25.0,
    }
    assert told["service_tiers"]["fast"]["output"] == 50.0
    assert told["service_tiers"]["batch"]["input"] == 2.5
    assert (told["per_piece"], told["places"]) == ({"search": 0.01}, {"us": 1.1})
    assert told["source"].startswith("https://")
    assert told["price_version"].startswith(told["listed_as_of"])
    assert command("show", "claude-opus-5") == 0
    text = capsys.readouterr().out
    assert "1 M tokens, written to cache for 1 hour" in text
    assert "tokens served in us: times" in text


def test_tiers_and_prices_of_other_times_are_shown(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("show", "gemini/gemini-2.5-pro", "--json") == 0
    (told,) = shown(capsys)
    assert told["tiers"][0]["above_input_tokens"] == 200_000
    assert told["tiers"][0]["input"] == 2 * told["per_million_tokens"]["input"]
    assert command("show", "gemini/gemini-4-argon", "--json") == 0
    (told,) = shown(capsys)
    (later,) = told["at_other_times"]
    assert (later["from"], later["until"]) == ("2026-12-01", None)
    assert later["per_million_tokens"]["output"] == 20.0
    assert command("show", "gemini/gemini-4-argon") == 0
    assert "from 2026-12-01: 1 M tokens, output" in capsys.readouterr().out


def test_a_model_of_the_configuration_is_shown_deployment_by_deployment(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert command("show", "cheap", "--config", "config.yaml", "--json") == 0
    written, listed = shown(capsys)
    assert (written["model"], written["per_million_tokens"]["output"]) == ("openai/gpt-4o", 2.0)
    assert written["price_version"].startswith("config:")
    assert (listed["model"], listed["per_million_tokens"]["output"]) == ("anthropic/claude-opus-4-6", 25.0)
    assert command("show", "pictures", "--config", "config.yaml", "--json") == 0
    assert shown(capsys)[0]["per_piece"] == {"image": 0.04}
    assert command("show", "unknown", "--config", "config.yaml") == 0
    assert "unpriced" in capsys.readouterr().out


def test_a_model_that_nobody_knows_is_an_error(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", "no-such-model") == 1
    assert "no price is known for 'no-such-model'" in capsys.readouterr().err


def test_another_list_is_compared_price_by_price(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path, shipped_map: dict[str, Any]
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(shipped_map))
    assert command("diff", "other.json") == 0
    assert capsys.readouterr().out == "no difference\n"
    shipped_map["gpt-4o"]["input_cost_per_token"] = 3e-06
    del shipped_map["gpt-4o-mini"]
    other.write_text(json.dumps(shipped_map))
    assert command("diff", "other.json", "--json") == 1
    assert shown(capsys) == [
        {"model": "gpt-4o", "key": "input_cost_per_token", "before": 2.5e-06, "after": 3e-06},
        {"model": "gpt-4o-mini", "key": "", "before": "listed", "after": None},
    ]
    assert command("diff", "other.json") == 1
    assert "0.0000025" in capsys.readouterr().out
    assert command("diff", "missing.json") == 2
    assert "cannot read a price list" in capsys.readouterr().err


def test_a_fetched_list_is_in_force_at_the_next_start_and_the_old_one_is_kept(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    shipped_map: dict[str, Any],
    served: tuple[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, answer = served
    (tmp_path / "config.yaml").write_text(CONFIG)
    shipped_map["gpt-4o"]["input_cost_per_token"] = 3e-06
    answer["body"] = json.dumps(shipped_map).encode()
    assert command("update", "--url", url, "--config", "config.yaml", "--json") == 0
    told = shown(capsys)
    assert (told["models"], told["changes"]) == (len(shipped_map), 1)
    assert Path(told["path"]).parent == tmp_path
    catalog, warnings = catalog_in_force(tmp_path)
    assert warnings == ()
    assert catalog.prices("gpt-4o")["input_cost_per_token"] == 3e-06
    assert "/prices.json" in catalog.about

    shipped_map["gpt-4o"]["input_cost_per_token"] = 4e-06
    answer["body"] = json.dumps(shipped_map).encode()
    monkeypatch.setenv("LITELLM_MODEL_COST_MAP_URL", url)
    assert command("update", "--config", "config.yaml") == 0
    assert "in force at the gateway's next start or reload" in capsys.readouterr().out
    assert catalog_in_force(tmp_path)[0].prices("gpt-4o")["input_cost_per_token"] == 4e-06
    (tmp_path / CATALOG_FILE).write_bytes((tmp_path / f"{CATALOG_FILE}.old").read_bytes())
    assert catalog_in_force(tmp_path)[0].prices("gpt-4o")["input_cost_per_token"] == 3e-06
    assert answer["asked"] == 2


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, b"", "answers 404"),
        (200, b"<html>", "is not JSON"),
        (200, b"{}", "it is not whole"),
        (200, b'{"a": {"litellm_provider": "x", "input_cost_per_token": 0.12345678901234567890123}}', "cannot be used"),
    ],
)
def test_a_list_that_is_not_whole_changes_nothing(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    served: tuple[str, dict[str, Any]],
    status: int,
    body: bytes,
    says: str,
) -> None:
    url, answer = served
    answer.update(status=status, body=body)
    assert command("update", "--url", url) in (1, 2)
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob(f"{CATALOG_FILE}*"))


def test_nobody_there_is_said(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("update", "--url", "http://127.0.0.1:9/prices.json") == 1
    assert "cannot be fetched" in capsys.readouterr().err


def test_a_list_longer_than_its_bound_is_refused(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    served: tuple[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, answer = served
    answer["body"] = b" " * 2_000_000
    monkeypatch.setattr(prices, "LIST_BYTES_MAX", 1 << 20)
    assert command("update", "--url", url) == 1
    assert "longer than 1 MiB" in capsys.readouterr().err


def test_a_kept_list_that_is_spoilt_or_older_gives_way_to_the_one_that_ships(tmp_path: Path, shipped: bytes) -> None:
    row = {"m": {"litellm_provider": "x", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 0}}
    older = catalog_bytes(json.dumps(row).encode(), b'{"corrections": []}', as_of="2020-01-01")
    (tmp_path / CATALOG_FILE).write_bytes(older)
    catalog, warnings = catalog_in_force(tmp_path)
    assert (len(catalog) > 4000, warnings) == (True, ())
    (tmp_path / CATALOG_FILE).write_bytes(shipped[:-100])
    catalog, warnings = catalog_in_force(tmp_path)
    assert len(catalog) > 4000
    assert "cannot be used" in warnings[0]
