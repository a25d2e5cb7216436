"""`tollway doctor`: each finding says how it stands and what to do, nothing is changed, no secret is shown."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from tollway.cli import doctor, reaching
from tollway.cli.doctor import FAIL, OK, WARN, Finding, examine
from tollway.cli.flags import Flags
from tollway.providers import registry
from tollway.upstream.proxying import ProxySettings
from tollway.upstream.wire import Origin, Tls

from .conftest import STRONG

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an environment in which nothing is said."""
    unset = {*registry.variables(), "LITELLM_MASTER_KEY", "TOLLWAY_DATA_DIR", "DATABASE_URL", "CONFIG_FILE_PATH"}
    for name in unset | {
        "HOST",
        "PORT",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
    }:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found(config: str | None = None, *, offline: bool = True, **flags: Any) -> dict[str, list[Finding]]:
    """Findings by what they are about."""
    if config is not None:
        Path("config.yaml").write_text(config)
        Path("config.yaml").chmod(0o600)
    by_about: dict[str, list[Finding]] = {}
    asked = Flags(**{"config": "config.yaml" if config is not None else None, "port": free_port(), **flags})
    for finding in examine(asked, offline=offline):
        by_about.setdefault(finding.about, []).append(finding)
    return by_about


ONE_MODEL = "model_list:\n  - model_name: a\n    litellm_params: {model: openai/gpt-4o, api_key: sk-of-nobody}\n"


def test_a_good_configuration_on_a_good_machine_has_nothing_to_complain_about() -> None:
    findings = [one for about in found(ONE_MODEL).values() for one in about if one.about not in ("disk", "limits")]
    assert {one.status for one in findings} == {OK}
    assert not any(one.do for one in findings)
    assert list(Path().iterdir()) == [Path("config.yaml")], "nothing is written"


def test_every_mistake_of_the_configuration_is_told_and_the_rest_left_alone() -> None:
    findings = found("model_lst: []\nlitellm_settings: {num_retrys: 1}\n")
    assert [one.status for one in findings["config"]] == [FAIL, FAIL]
    assert "num_retries" in findings["config"][1].found + findings["config"][0].found
    assert "port" not in findings


def test_without_a_configuration_the_environment_is_looked_at_and_said_to_be() -> None:
    (config,) = found()["config"]
    assert (config.status, "config.yaml" in config.do) == (WARN, True)


def test_a_key_that_is_not_set_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ONE_MODEL + "  - model_name: b\n    litellm_params: {model: anthropic/claude-opus-4-6}\n"
    findings = found(text + "  - model_name: 'groq/*'\n    litellm_params: {model: 'groq/*'}\n")
    lacking = findings["model"]
    assert [(one.status, one.found.partition(":")[0]) for one in lacking] == [(FAIL, "b"), (FAIL, "groq/*")]
    assert lacking[0].do.startswith("export ANTHROPIC_API_KEY=")
    assert findings["models"][0].found.startswith("1 of 3")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-a")
    monkeypatch.setenv("GROQ_API_KEY", "sk-g")
    assert "model" not in found(text)


def test_a_local_model_that_is_not_there_says_how_to_fetch_it() -> None:
    (lacking,) = found("model_list:\n  - model_name: s\n    litellm_params: {model: local/smollm2}\n")["model"]
    assert lacking.status == FAIL
    assert "tollway models pull smollm2" in lacking.found or "tollway[local]" in lacking.do


@pytest.mark.parametrize(
    ("settings", "flags", "status", "part"),
    [
        ("", {}, OK, "the first start makes one"),
        (f"general_settings: {{master_key: {STRONG}}}\n", {}, OK, "strong, from config.yaml:"),
        ("general_settings: {master_key: sk-1234}\n", {}, WARN, "too easy to guess; so only this machine is served"),
    ],
)
def test_the_master_key_is_judged_and_never_shown(settings: str, flags: dict[str, Any], status: str, part: str) -> None:
    findings = found(ONE_MODEL + settings, **flags)
    (key,) = findings["master key"]
    assert (key.status, part in key.found) == (status, True), key.found
    told = repr(findings)
    assert STRONG not in told
    assert "sk-1234" not in told
    assert "sk-of-nobody" not in told


def test_a_weak_key_and_a_public_address_do_not_go_together() -> None:
    (port,) = found(ONE_MODEL + "general_settings: {master_key: sk-1234}\n", host="0.0.0.0")["port"]
    assert (port.status, "too easy to guess" in port.found) == (FAIL, True)


def test_a_port_that_another_program_has_is_a_failure_that_names_it() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        (finding,) = found(ONE_MODEL, port=port)["port"]
    assert finding.status == FAIL
    assert f"port {port} on 127.0.0.1 is taken" in finding.found
    if Path("/proc/net/tcp").exists():
        assert f"by PID {os.getpid()}" in finding.found


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.close_connection = True
        self.send_response_only(200)
        self.send_header("date", self.server.date)  # type: ignore[attr-defined]  # ours, set below
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Any]:
    """A server whose clock can be set by `date`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.date = formatdate(usegmt=True)  # type: ignore[attr-defined]  # for the handler
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_gateway_that_runs_there_already_is_no_failure(answering: Any) -> None:
    (finding,) = found(ONE_MODEL, port=answering.server_address[1])["port"]
    assert (finding.status, "a gateway is running at" in finding.found) == (OK, True)


def provider_at(port: int) -> str:
    return (
        "model_list:\n  - model_name: a\n    litellm_params: "
        f'{{model: openai/m, api_key: sk-of-nobody, api_base: "http://127.0.0.1:{port}/v1"}}\n'
    )


@pytest.mark.parametrize(
    ("ahead_s", "status", "part"), [(0, OK, "agrees"), (-120, WARN, "120 s ahead"), (900, FAIL, "900 s behind")]
)
def test_providers_are_reached_and_the_clock_is_compared_with_theirs(
    answering: Any, ahead_s: int, status: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_795_000_000.25
    answering.date = formatdate(now + ahead_s, usegmt=True)
    monkeypatch.setattr(reaching.time, "time", lambda: now)
    findings = found(provider_at(answering.server_address[1]), offline=False)
    (provider,) = findings["provider"]
    assert (provider.status, "(a) answers in" in provider.found) == (OK, True)
    (clock,) = findings["clock"]
    assert (clock.status, part in clock.found) == (status, True), clock.found


def test_a_provider_that_is_not_there_is_a_failure_and_says_nothing_of_the_clock() -> None:
    findings = found(provider_at(free_port()), offline=False)
    (provider,) = findings["provider"]
    assert (provider.status, "Connection refused" in provider.found) == (FAIL, True)
    assert "clock" not in findings


def test_a_certificate_that_nobody_vouches_for_is_a_failure(tmp_path: Path) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(4096)
                        wrapped.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                except (ssl.SSLError, ConnectionError):
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        strange = reaching.reach(Origin("https", "localhost", port), ProxySettings())
        known = reaching.reach(
            Origin("https", "localhost", port, Tls(ca_file=str(tmp_path / "ca.pem"))), ProxySettings()
        )
        thread.join(10)
    assert strange.problem.startswith("TLS: ")
    assert (known.problem, known.skew_s) == ("", None)


def test_the_storage_is_opened_for_reading_and_a_newer_one_is_a_failure() -> None:
    assert "is new" in found(ONE_MODEL)["storage"][0].found
    connection = sqlite3.connect("tollway.db")
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    connection.commit()
    Path("tollway.db").chmod(0o600)
    (older,) = found(ONE_MODEL)["storage"]
    assert (older.status, "schema 1, the next start brings it to" in older.found) == (OK, True)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    (newer,) = found(ONE_MODEL)["storage"]
    assert (newer.status, newer.do) == (FAIL, "start the newer Tollway")
    Path("tollway.db").write_bytes(b"no database at all, but long enough to be one" * 100)
    (broken,) = found(ONE_MODEL)["storage"]
    assert (broken.status, "cannot be read" in broken.found) == (FAIL, True)


def test_a_database_that_does_not_answer_is_told_without_its_password() -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://user:hunter2hunter2@127.0.0.1:{free_port()}/db"
    (storage,) = found(ONE_MODEL + f"general_settings: {{database_url: '{url}'}}\n")["storage"]
    assert (storage.status, "does not answer" in storage.found) == (FAIL, True)
    assert "hunter2" not in repr(storage)


def test_what_others_may_read_is_named_with_the_command_that_ends_it() -> None:
    Path("tollway-master-key").write_text("sk-made\n")
    Path("tollway-master-key").chmod(0o644)
    Path("config.yaml").write_text(ONE_MODEL)
    Path("config.yaml").chmod(0o644)
    findings = [
        one for one in examine(Flags(config="config.yaml", port=free_port()), offline=True) if one.about == "files"
    ]
    assert [(one.status, Path(one.do.split()[-1]).name) for one in findings] == [
        (FAIL, "tollway-master-key"),
        (WARN, "config.yaml"),
    ]
    assert all(one.do.startswith("chmod 600 ") for one in findings)


def test_a_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2hunter2@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    (proxy,) = found(ONE_MODEL)["proxy"]
    assert proxy.found == "https through proxy.example:3128; providers are called directly for: internal.example"


def test_the_command_ends_with_code_1_when_something_fails_and_shows_all_as_json(command: Command) -> None:
    Path("config.yaml").write_text(ONE_MODEL)
    port = str(free_port())
    code, out, err = command("doctor", "--offline", "--port", port)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("ok    version     Tollway ")
    assert out.splitlines()[-1].startswith("0 failed, ")
    told = json.loads(command("doctor", "config.yaml", "--offline", "--json", "--port", port)[1])
    assert {"status", "about", "found", "do"} == set(told[0])
    Path("config.yaml").write_text("model_lst: []\n")
    code, out, _ = command("doctor", "--offline")
    assert code == 1
    assert "1 failed" in out.splitlines()[-1]


def test_disks_that_are_nearly_full_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, status in ((50 << 20, FAIL), (500 << 20, WARN), (5 << 30, OK)):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert found(ONE_MODEL)["disk"][0].status == status
