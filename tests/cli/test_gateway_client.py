"""Commands that ask a running gateway: what they send, what they show, what a no looks like."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tollway.cli.gateway_client import find_key, find_url
from tollway.cli.refusal import Refused

Command = Callable[..., tuple[int, str, str]]

HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
OTHER = "f" * 64


def test_a_key_is_made_as_asked_and_printed_alone(gateway: Any, command: Command) -> None:
    typed = ["--alias", "a", "--model", "m", "--model", "n", "--max-budget", "5", "--budget_duration", "monthly"]
    assert command("keys", "create", *typed, "--rpm-limit", "9") == (0, "sk-new\n", "")
    wanted = {"key_alias": "a", "models": ["m", "n"], "max_budget": 5.0, "budget_duration": "monthly", "rpm_limit": 9}
    assert gateway.seen == [("POST", "/key/generate", wanted)]
    assert gateway.keys == {"Bearer sk-master"}


def test_json_shows_the_gateways_own_answer(gateway: Any, command: Command) -> None:
    assert json.loads(command("keys", "create", "--json")[1]) == {"key": "sk-new", "token": HASH}
    assert [key["token"] for key in json.loads(command("keys", "list", "--json")[1])] == [HASH, OTHER]
    assert json.loads(command("keys", "delete", "agent", "--yes", "--json")[1]) == {"deleted_keys": [HASH]}


def test_the_list_of_keys_reads_like_a_table(gateway: Any, command: Command) -> None:
    code, out, _ = command("keys", "list", "--team-id", "t")
    assert code == 0
    header, agent, other = (line.split() for line in out.splitlines())
    assert header == ["KEY", "SPENT", "BUDGET", "USED", "MODELS", "STATE", "SHA-256"]
    assert agent == ["agent", "$3.00", "$10.00", "30%", "gpt-4o", "blocked", HASH[:12]]
    assert other == ["sk-...abcd", "$0.00", "no", "limit", "all", OTHER[:12]]
    assert "team_id=t" in gateway.seen[0][2]


def pages(total: int) -> Any:
    """The answers of a gateway with so many keys."""

    def answer(query: dict[str, str]) -> tuple[int, Any]:
        size, page = int(query["size"]), int(query["page"])
        numbers = range(total)[(page - 1) * size : page * size]
        return 200, {"keys": [{"token": f"{number}"} for number in numbers], "total_count": total}

    return answer


@pytest.mark.parametrize(
    ("typed", "first", "last", "asked", "more"),
    [
        ([], 0, 99, 1, "keys 1 to 100 of 250: --page 2 shows more, --all all of them\n"),
        (["--limit", "20", "--page", "3"], 40, 59, 1, "keys 41 to 60 of 250: --page 4 shows more, --all all of them\n"),
        (["--limit", "120", "--page", "2"], 120, 239, 2, "keys 121 to 240 of 250: --page 3 shows more"),
        (["-n", "120", "--page", "3"], 240, 249, 1, ""),
        (["--all"], 0, 249, 3, ""),
        (["--page", "9"], None, None, 1, ""),
    ],
)
def test_pages_of_any_length_are_shown_and_what_is_left_is_said_on_stderr(
    gateway: Any, command: Command, typed: list[str], first: int | None, last: int | None, asked: int, more: str
) -> None:
    gateway.answers["GET", "/key/list"] = pages(250)
    code, out, err = command("keys", "list", "--json", *typed)
    tokens = [int(key["token"]) for key in json.loads(out)]
    assert tokens == ([] if first is None or last is None else list(range(first, last + 1)))
    assert (code, len(gateway.seen)) == (0, asked)
    assert err.startswith(more)
    assert bool(err) is bool(more)


@pytest.mark.parametrize(
    ("arguments", "path", "body", "out"),
    [
        (["block"], "/key/block", {"key": HASH}, "blocked\n"),
        (["unblock"], "/key/unblock", {"key": HASH}, "unblocked\n"),
        (["delete", "--yes"], "/key/delete", {"keys": [HASH]}, "deleted\n"),
        (["rotate", "--grace-period", "24h"], "/key/regenerate", {"key": HASH, "grace_period": "24h"}, "sk-newer\n"),
        (["rotate", "-y"], "/key/regenerate", {"key": HASH}, "sk-newer\n"),
        (["update", "--max-budget", "none"], "/key/update", {"key": HASH, "max_budget": None}, "changed\n"),
        (["update", "--model", "a,b"], "/key/update", {"key": HASH, "models": ["a", "b"]}, "changed\n"),
        (["update", "--models", "none"], "/key/update", {"key": HASH, "models": []}, "changed\n"),
    ],
)
def test_a_key_is_found_by_its_alias(
    gateway: Any, command: Command, arguments: list[str], path: str, body: Any, out: str
) -> None:
    assert command("keys", *arguments, "agent") == (0, out, "")
    assert gateway.seen[-1] == ("POST", path, body)


@pytest.mark.parametrize("key", ["sk-itself", HASH])
def test_a_key_that_names_itself_is_neither_looked_for_nor_sent(gateway: Any, command: Command, key: str) -> None:
    assert command("keys", "block", key)[0] == 0
    assert gateway.seen == [("POST", "/key/block", {"key": sha256(key.encode()).hexdigest() if "sk-" in key else key})]


@pytest.mark.parametrize("typed", [["delete"], ["rotate"]])
def test_where_nobody_can_be_asked_nothing_is_destroyed_without_yes(
    gateway: Any, command: Command, monkeypatch: pytest.MonkeyPatch, typed: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, out, err = command("keys", *typed, "agent")
    assert (code, out) == (2, "")
    assert "'agent' (spent $3.00)" in err
    assert "--yes" in err
    assert not [method for method, _, _ in gateway.seen if method == "POST"]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 1), ("n\n", 1), ("", 1)])
def test_a_person_is_asked_before_a_key_is_deleted(
    gateway: Any, command: Command, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    typed = io.StringIO(answer)
    typed.isatty = lambda: True  # type: ignore[method-assign]  # plays a terminal
    monkeypatch.setattr("sys.stdin", typed)
    ended, _, err = command("keys", "delete", "agent")
    assert ended == code
    assert err.startswith("Delete the key 'agent' (spent $3.00)? Calls with it are refused from then on. [y/N] ")
    assert bool([path for _, path, _ in gateway.seen if path == "/key/delete"]) is (code == 0)


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        (["keys", "create", "--max-budget", "much"], "--max_budget 'much' should be an amount in dollars"),
        (["keys", "create", "--rpm-limit", "1.5"], "--rpm_limit '1.5' should be a whole number"),
        (["keys", "create", "--tpm_limit", "-1"], "--tpm_limit '-1' should be"),
        (["keys", "update", "agent"], "nothing to change"),
        (["keys", "list", "--sort", "size"], "size"),
        (["keys", "list", "--limit", "0"], "--limit"),
        (["keys", "show"], "KEY"),
        (["spend", "--since", "soon"], "--since 'soon' should be a day like 2026-11-01, or 7d"),
        (["spend", "--since", "2026-02-02", "--until", "2026-02-01"], "--since should be a day before --until"),
        (["spend", "--by", "team", "--user", "u"], "--by team and --user do not go together"),
        (["tail", "--status", "bad"], "--status 'bad' should be ok, failed, a status such as 429, or 5xx"),
    ],
)
def test_a_mistake_in_what_was_typed_ends_with_code_2_before_anybody_is_asked(
    gateway: Any, command: Command, typed: list[str], part: str
) -> None:
    code, out, err = command(*typed)
    assert (code, out) == (2, "")
    assert part in err
    assert gateway.seen == []


def test_show_tells_what_is_set_and_nothing_else(gateway: Any, command: Command) -> None:
    out = command("keys", "show", HASH)[1]
    assert "agent" in out
    assert "team_id" not in out


@pytest.mark.parametrize(("alias", "part"), [("nobody", "no key has the alias 'nobody'")])
def test_an_alias_that_nobody_has_is_named(gateway: Any, command: Command, alias: str, part: str) -> None:
    code, _, err = command("keys", "delete", alias, "--yes")
    assert code == 1
    assert part in err


def test_the_gateways_own_no_is_one_line(gateway: Any, command: Command) -> None:
    gateway.answers["POST", "/key/generate"] = (400, {"error": {"message": "alias\nexists", "code": "400"}})
    assert command("keys", "create") == (1, "", "tollway: the gateway says 400: alias exists\n")


@pytest.mark.parametrize("answer", [(200, "<html>"), (307, "")])
def test_what_is_no_gateway_is_not_given_the_key_twice(gateway: Any, command: Command, answer: tuple[int, str]) -> None:
    gateway.answers["POST", "/key/generate"] = answer
    code, _, err = command("keys", "create")
    assert code == 1
    assert err.count("\n") == 1
    assert len(gateway.seen) == 1


def test_a_link_into_the_dashboard_is_printed_alone_and_opened_when_asked(
    gateway: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    gateway.answers["POST", "/ui/api/session/link"] = (200, {"url": "http://h/ui/sign-in?once=t", "expires_in_s": 300})
    assert command("dashboard") == (0, "http://h/ui/sign-in?once=t\n", "")
    assert opened == []
    assert json.loads(command("dashboard", "--open", "--json")[1])["expires_in_s"] == 300
    assert opened == ["http://h/ui/sign-in?once=t"]


def test_nobody_at_the_address_is_one_line(gateway: Any, command: Command) -> None:
    code, _, err = command("keys", "list", "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "no gateway answers at http://127.0.0.1:9" in err
    assert command("keys", "list", "--url", "gateway:4000")[2].startswith("tollway: 'gateway:4000' is no gateway's")


def test_health_names_every_deployment_and_fails_when_one_is_unhealthy(gateway: Any, command: Command) -> None:
    typed = ["--health", "--port", str(gateway.port)]
    assert command(*typed) == (1, "healthy    a\nunhealthy  b  no key\n", "")
    gateway.answers["GET", "/health"] = (200, {"healthy_endpoints": [{"model": "a"}], "unhealthy_endpoints": []})
    assert command(*typed)[0] == 0


def test_test_sends_one_chat_call_to_the_first_model(gateway: Any, command: Command) -> None:
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
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-typed\n"))
    assert find_key(key_file="-", config_path=None) == "sk-typed"
    with pytest.raises(Refused, match="cannot read a key from"):
        find_key(key_file=str(tmp_path / "none"), config_path=None)


def test_the_gateway_is_looked_for_where_the_configuration_of_this_folder_lets_it_listen(
    gateway: Any, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-master")
    monkeypatch.delenv("TOLLWAY_URL", raising=False)
    assert find_url(None) is None
    config = tmp_path / "config.yaml"
    config.write_text("tollway: {host: 0.0.0.0, port: 8080}\n")
    assert find_url(None) == "http://localhost:8080"
    config.write_text("tollway: {prt: 8080}\n")
    assert find_url(None) is None
    config.write_text(f"tollway: {{host: 127.0.0.1, port: {gateway.port}}}\n")
    code, _, _ = command("keys", "list", "--url", "")
    assert code != 0, "what is named wins, whatever it is"
    code, _, said = command("keys", "list")
    assert (code, said) == (0, "")


def test_finding_a_key_loads_nothing_of_the_gateway_itself() -> None:
    code = (
        "import sys; from tollway.cli.gateway_client import find_key, find_url; find_key(key_file=None, config_path=None);"
        "find_url(None); print(sorted(one for one in sys.modules if one.startswith(('tollway.app', 'tollway.snapshot'))))"
    )
    environment = {**os.environ, "LITELLM_MASTER_KEY": "sk-x"}
    environment.pop("LITELLM_PROXY_API_KEY", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
