"""The calls that LiteLLM's documentation shows for keys, teams, users, budgets and spend, typed as a person types them: `curl` in a
process of its own against a running Tollway (docs.litellm.ai: proxy/virtual_keys, users, team_budgets, customers, cost_tracking,
tag_budgets; read 2026-11-22).
"""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field

MASTER_KEY = "sk-1234-and-long-enough-to-be-taken"
START_S_MAX = 60.0
#: 13 tokens in at 2.5 and 7 out at 10 dollars a million.
CALL_USD = 0.0001025
CONFIG = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_base: {base}
      api_key: sk-of-the-provider
      input_cost_per_token: 0.0000025
      output_cost_per_token: 0.00001
general_settings:
  master_key: {master}
tollway:
  data_dir: {folder}
"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


class Provider(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 13, "completion_tokens": 7, "total_tokens": 20}
        about = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
        body = json.dumps({**about, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Shell(Struct):
    """Types commands. What was made before stands for `{name}` in them."""

    url: str
    known: dict[str, str] = field(default_factory=dict)

    def __call__(self, command: str, **more: str) -> tuple[int, Any]:
        """The status, and the answer as JSON."""
        for name, value in {"url": self.url, "master": MASTER_KEY, **self.known, **more}.items():
            command = command.replace("{" + name + "}", value)
        typed = [
            *shlex.split(command.replace("\\\n", " ")),
            "--silent",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ]
        done = subprocess.run(typed, capture_output=True, text=True, timeout=60, check=True)
        text, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(text)

    def ask(self, command: str, **more: str) -> Any:
        status, found = self(command, **more)
        assert status == 200, found
        return found


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("documented")
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yaml"
    base = f"http://127.0.0.1:{provider.server_address[1]}/v1"
    config.write_text(CONFIG.format(base=base, master=MASTER_KEY, folder=folder))
    command = [str(Path(sys.executable).with_name("tollway")), "--config", str(config), "--host", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until(lambda: _is_ready(port, process), folder / "log")
            yield Shell(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(10)
            provider.shutdown()
            provider.server_close()


def _is_ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "it ended"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/readiness", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait_until(ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not ready():
        assert time.monotonic() < deadline, log.read_text()
        threading.Event().wait(0.05)


CHAT = """
curl --location '{url}/chat/completions' \\
    --header 'Content-Type: application/json' \\
    --header 'Authorization: Bearer {key}' \\
    --data '{"model": "gpt-4o", "max_tokens": 7, "user": "{user}", "metadata": {"tags": ["jobID:214", "taskName:classify"]},
             "messages": [{"role": "user", "content": "what llm are you"}]}'
"""


def test_keys_are_made_looked_at_changed_blocked_and_deleted(shell: Shell) -> None:
    made = shell.ask("""
        curl '{url}/key/generate' \\
        --header 'Authorization: Bearer {master}' \\
        --header 'Content-Type: application/json' \\
        --data-raw '{"models": ["gpt-4o", "gpt-4"], "duration": "20m", "metadata": {"user": "ann@example.com"},
                     "team_id": "core-infra", "max_budget": 10, "budget_duration": "30s", "aliases": {"gpt-3.5-turbo": "gpt-4o"},
                     "max_parallel_requests": 10, "tpm_limit": 2000, "rpm_limit": 40}'
    """)
    assert made["key"].startswith("sk-")
    assert made["expires"] is not None
    assert (made["key_name"], made["max_budget"], made["metadata"]) == (
        f"sk-...{made['key'][-4:]}",
        10.0,
        {"user": "ann@example.com"},
    )
    info = shell.ask('curl -X GET "{url}/key/info?key={key}" -H "Authorization: Bearer {master}"', key=made["key"])
    assert info["key"] == made["key"]
    assert (info["info"]["spend"], info["info"]["models"], info["info"]["aliases"]) == (
        0.0,
        ["gpt-4o", "gpt-4"],
        {"gpt-3.5-turbo": "gpt-4o"},
    )
    updated = shell.ask(
        """
        curl '{url}/key/update' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data-raw '{"key": "{key}", "models": ["gpt-4o"], "metadata": {"user": "bob@example.com"}, "team_id": "core-infra"}'
        """,
        key=made["key"],
    )
    assert (updated["key"], updated["models"], updated["metadata"]) == (
        made["key"],
        ["gpt-4o"],
        {"user": "bob@example.com"},
    )
    for path, blocked, status in (("block", True, 401), ("unblock", False, 200)):
        row = shell.ask(
            "curl -L -X POST '{url}/key/" + path + "' -H 'Authorization: Bearer {master}'"
            " -H 'Content-Type: application/json' -d '{\"key\": \"{key}\"}'",
            key=made["key"],
        )
        assert row["blocked"] is blocked
        assert shell(CHAT, key=made["key"], user="palantir")[0] == status
    new = shell.ask(
        """
        curl '{url}/key/{key}/regenerate' -X POST -H 'Authorization: Bearer {master}' -H 'Content-Type: application/json' \\
        -d '{"max_budget": 100, "metadata": {"team": "core-infra"}, "models": ["gpt-4o"], "grace_period": "48h"}'
        """,
        key=made["key"],
    )
    assert new["key"] != made["key"]
    assert new["max_budget"] == 100.0
    assert [shell(CHAT, key=one, user="palantir")[0] for one in (made["key"], new["key"])] == [200, 200]
    deleted = shell.ask(
        """
        curl '{url}/key/delete' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data-raw '{"keys": ["{key}"]}'
        """,
        key=new["key"],
    )
    assert deleted == {"deleted_keys": [new["key"]]}
    assert shell(CHAT, key=new["key"], user="palantir")[0] == 401
    listed = shell.ask("curl '{url}/key/list?size=10&return_full_object=true' -H 'Authorization: Bearer {master}'")
    assert listed.keys() == {"keys", "total_count", "current_page", "total_pages"}


def test_a_team_gets_a_budget_and_its_member_one_within_it(shell: Shell) -> None:
    team = shell.ask("""
        curl --location '{url}/team/new' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data-raw '{"team_alias": "my-new-team_4", "members_with_roles": [{"role": "admin", "user_id": "5c4a0aa3"}],
                     "rpm_limit": 99, "max_budget": 10, "budget_duration": "30s"}'
    """)
    assert (team["team_alias"], team["rpm_limit"], team["max_budget"], team["spend"]) == (
        "my-new-team_4",
        99,
        10.0,
        0.0,
    )
    assert {"role": "admin", "user_id": "5c4a0aa3"}.items() <= team["members_with_roles"][0].items()
    limits = shell.ask(
        """
        curl --location '{url}/team/update' --header 'Authorization: Bearer {master}' \\
        --header 'Content-Type: application/json' \\
        --data '{"team_id": "{team}", "model_rpm_limit": {"gpt-4o": 100}, "model_tpm_limit": {"gpt-4o": 10000}}'
        """,
        team=team["team_id"],
    )
    assert limits["data"]["metadata"]["model_rpm_limit"] == {"gpt-4o": 100}
    shell.ask("""
        curl --location '{url}/user/new' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data '{"user_id": "ishaan"}'
    """)
    added = shell.ask(
        """
        curl -X POST '{url}/team/member_add' -H 'Authorization: Bearer {master}' -H 'Content-Type: application/json' \\
        -d '{"team_id": "{team}", "max_budget_in_team": 0.0007, "member": {"role": "user", "user_id": "ishaan"}}'
        """,
        team=team["team_id"],
    )
    assert added["updated_team_memberships"][0]["litellm_budget_table"]["max_budget"] == 0.0007
    key = shell.ask(
        """
        curl --location '{url}/key/generate' --header 'Authorization: Bearer {master}' \\
        --header 'Content-Type: application/json' --data '{"user_id": "ishaan", "team_id": "{team}"}'
        """,
        team=team["team_id"],
    )["key"]
    answers = [shell(CHAT, key=key, user="palantir") for _ in range(8)]
    statuses = [status for status, _ in answers]
    assert statuses == sorted(statuses)
    assert set(statuses) == {200, 422}
    assert answers[-1][1]["error"]["type"] == "budget_exceeded"
    about = shell.ask(
        "curl --location '{url}/team/info?team_id={team}' --header 'Authorization: Bearer {master}'",
        team=team["team_id"],
    )
    assert about["team_info"]["spend"] == pytest.approx(CALL_USD * statuses.count(200))
    assert about["team_info"]["spend"] <= 0.0007
    gone = shell.ask(
        """
        curl --location '{url}/team/delete' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data-raw '{"team_ids": ["{team}"]}'
        """,
        team=team["team_id"],
    )
    assert gone == {"deleted_teams": [team["team_id"]]}


def test_a_user_has_a_budget_that_lasts_across_keys(shell: Shell) -> None:
    made = shell.ask("""
        curl --location '{url}/user/new' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data-raw '{"models": ["gpt-4o"], "max_budget": 0, "user_id": "krrish3@example.com", "budget_duration": "30s",
                     "max_parallel_requests": 10, "tpm_limit": 200, "rpm_limit": 4}'
    """)
    assert made["key"].startswith("sk-")
    assert {
        "user_id": "krrish3@example.com",
        "max_budget": 0.0,
        "models": ["gpt-4o"],
        "rpm_limit": 4,
    }.items() <= made.items()
    other = shell.ask("""
        curl --location '{url}/key/generate' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data '{"models": ["gpt-4o"], "user_id": "krrish3@example.com"}'
    """)
    for key in (made["key"], other["key"]):
        status, refused = shell(CHAT, key=key, user="palantir")
        assert (status, refused["error"]["type"]) == (422, "budget_exceeded")
    info = shell.ask("curl '{url}/user/info?user_id=krrish3%40example.com' -H 'Authorization: Bearer {master}'")
    assert (info["user_id"], len(info["keys"]), info["user_info"]["max_budget"]) == ("krrish3@example.com", 2, 0.0)
    changed = shell.ask("""
        curl --location '{url}/user/update' --header 'Authorization: Bearer {master}' \\
        --header 'Content-Type: application/json' --data '{"user_id": "krrish3@example.com", "max_budget": 10}'
    """)
    assert changed["data"]["max_budget"] == 10.0
    assert shell(CHAT, key=made["key"], user="palantir")[0] == 200


def test_a_customer_is_held_to_a_budget_that_it_is_given(shell: Shell) -> None:
    made = shell.ask("""
        curl --location '{url}/budget/new' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data '{"budget_id": "free-tier", "max_budget": 0.0001, "tpm_limit": 5000}'
    """)
    assert (made["budget_id"], made["max_budget"], made["tpm_limit"]) == ("free-tier", 0.0001, 5000)
    customer = shell.ask("""
        curl --location '{url}/customer/new' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data '{"user_id": "my-customer-id", "budget_id": "free-tier"}'
    """)
    assert customer["litellm_budget_table"]["budget_id"] == "free-tier"
    status, refused = shell(CHAT, key=MASTER_KEY, user="my-customer-id")
    assert (status, refused["error"]["type"]) == (422, "budget_exceeded")
    assert shell(CHAT, key=MASTER_KEY, user="another")[0] == 200
    info = shell.ask(
        "curl -X GET '{url}/customer/info?end_user_id=another' -H 'Authorization: Bearer {master}'",
    )
    assert (info["user_id"], info["spend"]) == ("another", pytest.approx(CALL_USD))
    changed = shell.ask("""
        curl -X POST '{url}/customer/update' -H 'Authorization: Bearer {master}' -H 'Content-Type: application/json' \\
        -d '{"user_id": "my-customer-id", "max_budget": 5}'
    """)
    assert changed["user_id"] == "my-customer-id"
    assert shell(CHAT, key=MASTER_KEY, user="my-customer-id")[0] == 200
    tag = shell.ask("""
        curl -X POST '{url}/tag/new' -H 'Authorization: Bearer {master}' -H 'Content-Type: application/json' \\
        -d '{"name": "marketing-team", "description": "all of it", "max_budget": 0.00001, "budget_duration": "30d"}'
    """)
    assert tag["tag"]["name"] == "marketing-team"
    assert tag["tag"]["litellm_budget_table"]["max_budget"] == 0.00001


def test_what_was_spent_is_told_by_key_user_team_tag_and_day(shell: Shell) -> None:
    key = shell.ask("""
        curl --location '{url}/key/generate' --header 'Authorization: Bearer {master}' --header 'Content-Type: application/json' \\
        --data '{"key_alias": "spender", "permissions": {"get_spend_routes": true}}'
    """)["key"]
    assert shell(CHAT, key=key, user="palantir")[0] == 200
    days = "start_date=2024-04-01&end_date=2027-06-30"  # pieces of a time that holds now
    (row,) = shell.ask("curl '{url}/spend/logs?api_key={key}' -H 'Authorization: Bearer {master}'", key=key)
    assert row["spend"] == pytest.approx(CALL_USD)
    assert (row["end_user"], row["total_tokens"]) == ("palantir", 20)
    assert row["request_tags"][:2] == ["jobID:214", "taskName:classify"]
    report = shell.ask(
        "curl -X GET '{url}/global/spend/report?" + days + "&group_by=team' -H 'Authorization: Bearer {key}'", key=key
    )
    assert {"team_name", "total_spend", "metadata"} == report[0]["teams"][0].keys()
    (of_key,) = shell.ask(
        "curl -X GET '{url}/global/spend/report?"
        + days
        + "&group_by=api_key&api_key={key}' -H 'Authorization: Bearer {key}'",
        key=key,
    )
    assert of_key["total_cost"] == pytest.approx(CALL_USD)
    assert of_key["model_details"][0]["model"] == "openai/gpt-4o"
    activity = shell.ask(
        "curl -L -X GET '{url}/user/daily/activity?" + days + "' -H 'Authorization: Bearer {master}'",
    )
    assert {"spend", "prompt_tokens", "completion_tokens", "total_tokens", "api_requests"} <= activity["results"][0][
        "metrics"
    ].keys()
    assert {"total_spend", "total_prompt_tokens", "total_completion_tokens", "total_api_requests"} <= activity[
        "metadata"
    ].keys()
    tags = shell.ask("curl '{url}/spend/tags' -H 'Authorization: Bearer {master}'")
    assert {"individual_request_tag", "log_count", "total_spend"} == tags[0].keys()
    users = shell.ask("curl '{url}/spend/users?user_id=ishaan' -H 'Authorization: Bearer {master}'")
    assert [user["user_id"] for user in users] == ["ishaan"]
    cost = shell.ask("""
        curl --location '{url}/spend/calculate' --header 'Authorization: Bearer {master}' \\
        --header 'Content-Type: application/json' \\
        --data '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hey, how is it going?"}]}'
    """)
    assert 0 < cost["cost"] < 0.001
    done = shell.ask(
        "curl -X POST '{url}/global/spend/reset' -H 'Authorization: Bearer {master}' -H 'Content-Type: application/json'"
    )
    assert done["status"] == "success"
    info = shell.ask("curl '{url}/key/info?key={key}' -H 'Authorization: Bearer {master}'", key=key)["info"]
    assert (info["spend"], info["total_spend"]) == (0.0, pytest.approx(CALL_USD))
