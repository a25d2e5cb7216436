"""Commands that ask a running gateway: what they send, what they show, what a no looks like."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tollway.cli import main
from tollway.cli.gateway_client import find_key
from tollway.cli.refusal import Refused
from tollway.cli.spend import By, sums_by

HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
OTHER = "f" * 64
DAYS = [
    {"startTime": "2026-11-22", HASH: 2.0, "spend": 2.0, "users": {"u": 2.0}, "models": {"gpt-4o": 2.0}},
    {"startTime": "2026-11-21", HASH: 1.0, OTHER: 4.0, "spend": 5.0, "users": {"": 5.0}, "models": {"gpt-4o": 5.0}},
]
KEYS = [
    {"token": HASH, "key_alias": "agent", "spend": 3.0, "max_budget": 10.0, "models": ["gpt-4o"], "blocked": True},
    {"token": OTHER, "key_alias": None, "key_name": "sk-...abcd", "spend": 0.0, "max_budget": None, "models": []},
]


class FakeGateway:
    """Answers from a table of (method, path) and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {
            ("POST", "/key/generate"): (200, {"key": "sk-new", "token": HASH}),
            ("POST", "/key/regenerate"): (200, {"key": "sk-newer"}),
            ("POST", "/key/block"): (200, {}),
            ("POST", "/key/unblock"): (200, {}),
            ("POST", "/key/delete"): (200, {"deleted_keys": [HASH]}),
            ("GET", "/key/list"): (200, {"keys": KEYS, "total_pages": 1}),
            ("GET", "/key/info"): (200, {"key": HASH, "info": {"key_alias": "agent", "spend": 3.0, "team_id": None}}),
            ("GET", "/spend/logs"): (200, DAYS),
            ("GET", "/v1/models"): (200, {"data": [{"id": "gpt-4o"}]}),
            ("POST", "/v1/chat/completions"): (200, {"choices": [{"message": {"content": "All well."}}]}),
            ("GET", "/health"): (
                200,
                {"healthy_endpoints": [{"model": "a"}], "unhealthy_endpoints": [{"model": "b", "error": "no\nkey"}]},
            ),
        }
        self.seen: list[tuple[str, str, Any]] = []
        self.keys: set[str | None] = set()
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer("GET", None)

            def do_POST(self) -> None:
                self.answer("POST", json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def answer(self, method: str, sent: Any) -> None:
                path, _, query = self.path.partition("?")
                gateway.seen.append((method, path, sent if sent is not None else query))
                gateway.keys.add(self.headers["authorization"])
                status, told = gateway.answers.get((method, path), (404, {"detail": "Not Found"}))
                body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                self.send_response(status)
                if status == 307:
                    self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    fake = FakeGateway()
    monkeypatch.setenv("TOLLWAY_URL", fake.url)
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-master")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("http_proxy", "HTTP_PROXY", "CONFIG_FILE_PATH", "HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)
    yield fake
    fake.close()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tollway", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert isinstance(ended.value.code, int)
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_a_key_is_made_as_asked_and_printed_alone(gateway: FakeGateway, command: Command) -> None:
    typed = ["--alias", "a", "--model", "m", "--model", "n", "--max-budget", "5", "--budget_duration", "monthly"]
    assert command("keys", "create", *typed, "--rpm-limit", "9") == (0, "sk-new\n", "")
    wanted = {"key_alias": "a", "models": ["m", "n"], "max_budget": 5.0, "budget_duration": "monthly", "rpm_limit": 9}
    assert gateway.seen == [("POST", "/key/generate", wanted)]
    assert gateway.keys == {"Bearer sk-master"}


def test_json_shows_the_gateways_own_answer(gateway: FakeGateway, command: Command) -> None:
    assert json.loads(command("keys", "create", "--json")[1]) == {"key": "sk-new", "token": HASH}
    assert json.loads(command("keys", "list", "--json")[1]) == KEYS
    assert json.loads(command("spend", "--json")[1]) == DAYS


def test_the_list_of_keys_reads_like_a_table(gateway: FakeGateway, command: Command) -> None:
    code, out, _ = command("keys", "list", "--team-id", "t")
    assert code == 0
    header, agent, other = (line.split() for line in out.splitlines())
    assert header == ["KEY", "SPENT", "BUDGET", "EVERY", "MODELS", "ENDS", "SHA-256"]
    assert agent == ["agent", "$3.00", "$10.00", "gpt-4o", "blocked", HASH[:12]]
    assert other == ["sk-...abcd", "$0.00", "no", "limit", "all", OTHER[:12]]
    assert "team_id=t" in gateway.seen[0][2]


def test_all_pages_of_keys_are_read(gateway: FakeGateway, command: Command) -> None:
    gateway.answers["GET", "/key/list"] = (200, {"keys": KEYS, "total_pages": 3})
    assert len(json.loads(command("keys", "list", "--json")[1])) == 6
    assert [f"page={page}" in sent for page, (_, _, sent) in enumerate(gateway.seen, 1)] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "path", "body", "out"),
    [
        (["block"], "/key/block", {"key": HASH}, "blocked\n"),
        (["unblock"], "/key/unblock", {"key": HASH}, "unblocked\n"),
        (["delete"], "/key/delete", {"keys": [HASH]}, "deleted\n"),
        (["rotate", "--grace-period", "24h"], "/key/regenerate", {"key": HASH, "grace_period": "24h"}, "sk-newer\n"),
    ],
)
def test_a_key_is_found_by_its_alias(
    gateway: FakeGateway, command: Command, arguments: list[str], path: str, body: Any, out: str
) -> None:
    assert command("keys", *arguments, "agent") == (0, out, "")
    assert gateway.seen[-1] == ("POST", path, body)


@pytest.mark.parametrize("key", ["sk-itself", HASH])
def test_a_key_that_names_itself_is_not_looked_for(gateway: FakeGateway, command: Command, key: str) -> None:
    assert command("keys", "block", key)[0] == 0
    assert gateway.seen == [("POST", "/key/block", {"key": key})]


def test_show_tells_what_is_set_and_nothing_else(gateway: FakeGateway, command: Command) -> None:
    out = command("keys", "show", HASH)[1]
    assert "agent" in out
    assert "team_id" not in out


@pytest.mark.parametrize(("alias", "part"), [("nobody", "no key has the alias 'nobody'")])
def test_an_alias_that_nobody_has_is_named(gateway: FakeGateway, command: Command, alias: str, part: str) -> None:
    code, _, err = command("keys", "delete", alias)
    assert code == 1
    assert part in err


def test_the_gateways_own_no_is_one_line(gateway: FakeGateway, command: Command) -> None:
    gateway.answers["POST", "/key/generate"] = (400, {"error": {"message": "alias\nexists", "code": "400"}})
    assert command("keys", "create") == (1, "", "tollway: the gateway says 400: alias exists\n")


@pytest.mark.parametrize("answer", [(200, "<html>"), (307, "")])
def test_what_is_no_gateway_is_not_given_the_key_twice(
    gateway: FakeGateway, command: Command, answer: tuple[int, str]
) -> None:
    gateway.answers["POST", "/key/generate"] = answer
    code, _, err = command("keys", "create")
    assert code == 1
    assert err.count("\n") == 1
    assert len(gateway.seen) == 1


def test_nobody_at_the_address_is_one_line(gateway: FakeGateway, command: Command) -> None:
    code, _, err = command("keys", "list", "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "no gateway answers at http://127.0.0.1:9" in err
    assert command("keys", "list", "--url", "gateway:4000")[2].startswith("tollway: 'gateway:4000' is no gateway's")


def test_spend_is_summed_by_day_model_key_or_user() -> None:
    assert sums_by(By.DAY, DAYS) == {"2026-11-21": 5.0, "2026-11-22": 2.0}
    assert sums_by(By.MODEL, DAYS) == {"gpt-4o": 7.0}
    assert sums_by(By.KEY, DAYS) == {OTHER: 4.0, HASH: 3.0}
    assert sums_by(By.USER, DAYS) == {"": 5.0, "u": 2.0}


def test_spend_by_key_shows_aliases_and_the_sum(gateway: FakeGateway, command: Command) -> None:
    out = command("spend", "--by", "key", "--since", "2026-11-21", "--until", "2026-11-22")[1]
    assert [line.split() for line in out.splitlines()] == [
        ["KEY", "SPENT"],
        ["sk-...abcd", "$4.00"],
        ["agent", "$3.00"],
        ["all", "$7.00"],
    ]
    assert gateway.seen[0] == ("GET", "/spend/logs", "start_date=2026-11-21&end_date=2026-11-22")


def test_health_names_every_deployment_and_fails_when_one_is_unhealthy(gateway: FakeGateway, command: Command) -> None:
    typed = ["--health", "--port", str(gateway.port)]
    assert command(*typed) == (1, "healthy    a\nunhealthy  b  no key\n", "")
    gateway.answers["GET", "/health"] = (200, {"healthy_endpoints": [{"model": "a"}], "unhealthy_endpoints": []})
    assert command(*typed)[0] == 0


def test_test_sends_one_chat_call_to_the_first_model(gateway: FakeGateway, command: Command) -> None:
    assert command("--test", "--port", str(gateway.port)) == (0, "gpt-4o: All well.\n", "")
    assert gateway.seen[-1][2]["model"] == "gpt-4o"
    command("--test", "--port", str(gateway.port), "--model", "mine")
    assert gateway.seen[-1][2]["model"] == "mine"


def test_the_key_is_the_named_files_the_environments_the_configurations_or_the_one_the_gateway_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LITELLM_PROXY_API_KEY", "LITELLM_MASTER_KEY", "TOLLWAY_MASTER_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOLLWAY_DATA_DIR", str(tmp_path))
    with pytest.raises(Refused, match="no key to ask with: set LITELLM_MASTER_KEY"):
        find_key(key_file=None, config_path=None)
    (tmp_path / "tollway-master-key").write_text("sk-made\n")
    assert find_key(key_file=None, config_path=None) == "sk-made"
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-environment")
    assert find_key(key_file=None, config_path=None) == "sk-environment"
    config = tmp_path / "config.yaml"
    config.write_text("general_settings: {master_key: sk-configured}\n")
    assert find_key(key_file=None, config_path=str(config)) == "sk-configured"
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-asking")
    assert find_key(key_file=None, config_path=str(config)) == "sk-asking"
    (tmp_path / "named").write_text("sk-named\n")
    assert find_key(key_file=str(tmp_path / "named"), config_path=None) == "sk-named"
    with pytest.raises(Refused, match="cannot read a key from"):
        find_key(key_file=str(tmp_path / "none"), config_path=None)
