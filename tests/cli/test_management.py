"""Commands for keys, teams, users, budgets and spend against a real gateway with a scripted provider behind it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import STRONG, until

Command = Callable[..., tuple[int, str, str]]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
#: 1000 tokens in and 100 out at the prices of the configuration below.
COST_USD = 0.0012


class Provider(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Gateway:
    def __init__(self, folder: Path, provider_port: int) -> None:
        prices = "input_cost_per_token: 0.000001, output_cost_per_token: 0.000002"
        (folder / "config.yaml").write_text(
            "model_list:\n"
            + "".join(
                f"  - model_name: {name}\n    litellm_params: {{model: openai/{name}, api_key: sk-none, "
                f'api_base: "http://127.0.0.1:{port}/v1", {prices}}}\n'
                for name, port in (("cheap", provider_port), ("away", 9))
            )
            + f"router_settings: {{num_retries: 0}}\ngeneral_settings: {{master_key: {STRONG}}}\n"
        )
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from tollway.cli.main import run; run()", "--host", "127.0.0.1", "--port", "0"],
                cwd=folder,
                env={**kept, "HOME": str(folder), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(lambda: self.process.poll() is not None or b"Serving  http" in self.log.read_bytes())
        found = re.search(r"Serving  (http://\S+:(\d+))", self.log.read_text())
        assert found is not None, self.log.read_text()
        self.url, self.port = found[1], int(found[2])

    def call(self, key: str, model: str = "cheap") -> int:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 200})
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            return connection.getresponse().status

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), server.server_address[1])
    yield gateway
    gateway.stop()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def asked(served: Gateway, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("TOLLWAY_URL", served.url)
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", STRONG)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("CONFIG_FILE_PATH", raising=False)
    return command


def done(answer: tuple[int, str, str]) -> str:
    code, out, err = answer
    assert code == 0, err
    return out.strip()


def cells(out: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]


def test_a_bare_start_serves_the_configuration_of_its_folder(served: Gateway) -> None:
    log = served.log.read_text()
    assert "Serving config.yaml of this folder.\n" in log
    assert "sign-in?once=" not in log, "a link that signs in is for a terminal"


def test_the_life_of_a_key(asked: Command, served: Gateway) -> None:
    key = done(
        asked("keys", "create", "--alias", "life", "--model", "cheap", "--max-budget", "1", "--rpm-limit", "100")
    )
    assert served.call(key) == 200
    shown = done(asked("keys", "show", "life"))
    assert re.search(r"^max_budget +1\.0$", shown, re.MULTILINE)
    assert key not in shown
    done(asked("keys", "update", "life", "--max-budget", "none", "--rpm-limit", "none"))
    (row,) = json.loads(done(asked("keys", "list", "--alias", "life", "--json")))
    assert (row["max_budget"], row["rpm_limit"], row["models"]) == (None, None, ["cheap"])
    done(asked("keys", "block", "life"))
    assert served.call(key) == 401
    assert cells(done(asked("keys", "list", "--alias", "life")))[1][-2] == "blocked"
    done(asked("keys", "unblock", key))
    newer = done(asked("keys", "rotate", "life", "--yes"))
    assert (served.call(key), served.call(newer)) == (401, 200)
    assert done(asked("keys", "delete", "life", "--yes")) == "deleted"
    assert served.call(newer) == 401
    assert asked("keys", "show", "life") == (
        1,
        "",
        "tollway: no key has the alias 'life'; `tollway keys list` shows them\n",
    )


def test_the_life_of_a_team(asked: Command, served: Gateway) -> None:
    team = done(asked("teams", "create", "--alias", "blue", "--max-budget", "20", "--budget-duration", "30d"))
    done(asked("teams", "add-member", "blue", "ann@example.com", "--role", "admin", "--max-budget", "5"))
    done(asked("teams", "add-member", "blue", "bob"))
    key = done(asked("keys", "create", "--alias", "of-blue", "--team", team, "--user", "bob"))
    assert served.call(key) == 200
    header, row = cells(done(asked("teams", "list", "--search", "blu")))
    found = dict(zip(header, row, strict=False))
    # The master key's own user is a member, too: who makes a team administrates it.
    assert (found["TEAM"], found["MEMBERS"], found["KEYS"], found["BUDGET"]) == ("blue", "3", "1", "$20.00")
    shown = done(asked("teams", "show", team))
    assert re.search(r"ann@example\.com +admin +\$0\.00 +\$5\.00", shown)
    assert "of-blue" in shown
    done(asked("teams", "update", "blue", "--max-budget", "30"))
    assert json.loads(done(asked("teams", "show", "blue", "--json")))["team_info"]["max_budget"] == 30.0
    done(asked("teams", "block", "blue"))
    assert served.call(key) == 401
    done(asked("teams", "unblock", "blue"))
    assert served.call(key) == 200
    done(asked("teams", "remove-member", "blue", "bob", "--yes"))
    assert served.call(key) == 401, "the member's keys in the team are gone"
    code, _, err = asked("teams", "delete", "blue")
    assert (code, "members) with its 0 keys" in err) == (2, True)
    done(asked("teams", "delete", "blue", "--yes"))
    assert "no team has the id or alias 'blue'" in asked("teams", "show", "blue")[2]


def test_the_life_of_a_user(asked: Command, served: Gateway) -> None:
    made = done(asked("users", "create", "--email", "eve@example.com", "--role", "internal_user", "--with-key"))
    user, key = made.splitlines()
    assert served.call(key) == 200
    bare = done(asked("users", "create", "--alias", "Max", "--user-id", "max"))
    assert bare == "max"
    header, row = cells(done(asked("users", "list", "--search", "eve")))
    assert dict(zip(header, row, strict=False))["USER"] == "eve@example.com"
    assert json.loads(done(asked("users", "list", "--role", "internal_user", "--search", "max", "--json"))) == []
    done(asked("users", "update", "EVE@example.com", "--max-budget", "2.50"))
    shown = done(asked("users", "show", user))
    assert re.search(r"^max_budget +2\.5$", shown, re.MULTILINE)
    assert "sk-..." in shown, "the user's key is listed"
    assert asked("users", "delete", "max", "--yes")[:2] == (0, "deleted\n")
    done(asked("users", "delete", "eve@example.com", "--yes"))
    assert served.call(key) == 401


def test_the_life_of_a_budget(asked: Command) -> None:
    limits = ["--max-budget", "7", "--budget-duration", "1d", "--rpm-limit", "1000"]
    assert done(asked("budgets", "create", "--budget-id", "trial", *limits)) == "trial"
    done(asked("keys", "create", "--alias", "on-trial", "--budget-id", "trial"))
    header, *rows = cells(done(asked("budgets", "list", "--search", "trial")))
    assert header == ["BUDGET", "LIMIT", "EVERY", "STARTS ANEW", "RPM"]
    assert (rows[0][:3], rows[0][4]) == (["trial", "$7.00", "1d"], "1,000")
    assert re.search(r"^keys +on-trial$", done(asked("budgets", "show", "trial")), re.MULTILINE)
    done(asked("budgets", "update", "trial", "--max-budget", "8"))
    assert json.loads(done(asked("budgets", "show", "trial", "--json")))["max_budget"] == 8.0
    assert "1 who name it" in asked("budgets", "delete", "trial")[2]
    done(asked("budgets", "delete", "trial", "--yes"))
    assert asked("budgets", "show", "trial")[0] == 1


def test_what_was_spent_is_summed_by_whatever_is_asked_for(asked: Command, served: Gateway) -> None:
    team = done(asked("teams", "create", "--alias", "red"))
    one = done(asked("keys", "create", "--alias", "spender", "--team", team))
    other = done(asked("keys", "create", "--alias", "saver"))
    assert [served.call(one), served.call(one), served.call(other), served.call(other, "away")] == [200, 200, 200, 503]
    by_key = {row["name"]: row for row in json.loads(done(asked("spend", "--by", "key", "--json")))}
    assert by_key["spender"]["spend"] == pytest.approx(2 * COST_USD)
    assert (by_key["spender"]["calls"], by_key["spender"]["input_tokens"]) == (2, 2000)
    assert (by_key["saver"]["calls"], by_key["saver"]["failed"]) == (2, 1)
    (day,) = json.loads(done(asked("spend", "report", "--key", "spender", "--since", "2d", "--json")))
    assert day["spend"] == pytest.approx(2 * COST_USD)
    teams = {row["name"]: row["spend"] for row in json.loads(done(asked("spend", "--by", "team", "--json")))}
    assert teams["red"] == pytest.approx(2 * COST_USD)
    (model,) = json.loads(done(asked("spend", "--by", "model", "--team", team, "--json")))
    assert (model["name"], model["calls"]) == ("cheap", 2)
    header, first, others, whole = cells(done(asked("spend", "top", "key", "-n", "1")))
    assert (header[0], header[-2:]) == ("KEY", ["SPENT", "SHARE"])
    assert others[0].endswith("others)")
    assert (whole[0], whole[-1]) == ("all", "100%")
    assert first[-1].endswith("%")


def test_the_newest_calls_are_shown_the_newest_last(asked: Command, served: Gateway) -> None:
    key = done(asked("keys", "create", "--alias", "recent"))
    for model in ("cheap", "cheap", "away"):
        served.call(key, model)
    lines = done(asked("spend", "tail", "-n", "2", "--key", "recent")).splitlines()
    assert lines[0].split() == ["TIME", "KEY", "MODEL", "STATUS", "IN", "OUT", "COST", "MS"]
    assert lines[1].split()[1:7] == ["recent", "cheap", "200", "1,000", "100", "$0.001200"]
    assert lines[2].split()[1:4] == ["recent", "away", "503"]
    assert "service_unavailable" in lines[3]
    (ok,) = done(asked("spend", "tail", "-n", "1", "--key", "recent", "--status", "ok", "--json")).splitlines()
    assert (json.loads(ok)["model_group"], json.loads(ok)["status"]) == ("cheap", 200)
    codes = done(asked("spend", "tail", "--status", "5xx", "--model", "aw*", "--json")).splitlines()
    assert {json.loads(line)["model_group"] for line in codes} == {"away"}


class Tail:
    """`tollway tail` in a process of its own."""

    def __init__(self, gateway: Gateway, *typed: str) -> None:
        environment = {"PATH": os.environ["PATH"], "LITELLM_PROXY_API_KEY": STRONG, "TOLLWAY_URL": gateway.url}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tollway.cli.main import run; run()", "tail", *typed],
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Whoever runs the tests in the background made them deaf to it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def interrupted(self) -> tuple[int, str]:
        self.process.send_signal(2)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._reader.join(60)
        error = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, error


@pytest.mark.slow
def test_calls_are_shown_as_they_end_each_once_also_across_the_streams_own_ends(
    asked: Command, served: Gateway
) -> None:
    key = done(asked("keys", "create", "--alias", "watched"))
    other = done(asked("keys", "create", "--alias", "unwatched"))
    assert served.call(key) == 200
    tail = Tail(served, "--key", "watched", "--json", "-n", "1")
    try:
        until(lambda: len(tail.lines) == 1)
        sent = 0
        began = time.monotonic()
        while time.monotonic() - began < 12.0:  # a stream ends after ten seconds, and another begins
            assert (served.call(key), served.call(other)) == (200, 200)
            sent += 1
            threading.Event().wait(0.2)
        until(lambda: len(tail.lines) == sent + 1)
    finally:
        code, error = tail.interrupted()
    calls = [json.loads(line) for line in tail.lines]
    assert {call["key_alias"] for call in calls} == {"watched"}
    assert len({call["id"] for call in calls}) == len(calls)
    assert (code, error) == (0, "")


def test_a_gateway_that_is_not_there_or_says_no_is_one_line_and_code_1(
    asked: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = asked("tail", "--url", "http://127.0.0.1:9")
    assert (code, err.count("\n")) == (1, 1)
    assert "no gateway answers at http://127.0.0.1:9" in err
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-of-nobody-at-all")
    code, _, err = asked("tail")
    assert (code, err.count("\n")) == (1, 1)
    assert "the gateway says 401" in err
