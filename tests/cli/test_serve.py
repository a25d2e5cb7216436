"""The command in one process: what it prints, when it does not start, how it ends."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tollway.testing.machine import slowness

from .conftest import STRONG, Running, Start, ask, gone, until


def serve(start: Start, port: int, *arguments: str, **variables: str) -> Running:
    running = start("--model", "gpt-4o", "--port", str(port), *arguments, **variables)
    running.wait_for("curl ")
    return running


def test_it_serves_and_says_where_with_a_master_key_that_is_shown_once(start: Start, free_port: int) -> None:
    first = serve(start, free_port)
    assert any(f"http://127.0.0.1:{free_port}" in line for line in first.said)
    assert "  sk-made-by-the-fake-7f3a9c" in first.said
    about = ask(free_port)
    assert (about["models"], about["index"], about["count"]) == (["gpt-4o"], 0, 1)
    assert about["pid"] == first.process.pid
    first.process.terminate()
    assert first.ends() == 0

    again = serve(start, free_port)
    assert "sk-made" not in "".join(again.said)
    assert ask(free_port)["master_key"] == "sk-made-by-the-fake-7f3a9c"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_was_asked_for_ends_with_code_0_and_without_noise(
    start: Start, free_port: int, number: signal.Signals
) -> None:
    running = serve(start, free_port)
    said = len(running.said)
    running.process.send_signal(number)
    assert running.ends() == 0
    assert running.rest()[said:] == []


def test_a_taken_port_is_one_line_and_code_1_and_nothing_was_written(
    start: Start, free_port: int, tmp_path: Path
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        running = start("--model", "gpt-4o", "--port", str(free_port))
        assert running.ends() == 1
    (line,) = running.rest()
    assert re.fullmatch(rf"tollway: port {free_port} on 127.0.0.1 is taken.*--port", line)
    assert not (tmp_path / "master-key").exists()


@pytest.mark.parametrize("key", ["", "sk-1234"])
def test_a_public_address_with_a_weak_master_key_or_none_ends_with_code_3(
    start: Start, free_port: int, key: str
) -> None:
    running = start("--model", "gpt-4o", "--host", "0.0.0.0", "--port", str(free_port), LITELLM_MASTER_KEY=key)
    assert running.ends() == 3
    (line,) = running.rest()
    assert "LITELLM_MASTER_KEY" in line
    assert "sk-1234" not in line


def test_a_weak_master_key_serves_this_machine_alone(start: Start, free_port: int) -> None:
    running = serve(start, free_port, LITELLM_MASTER_KEY="sk-1234")
    assert any(f"http://127.0.0.1:{free_port}" in line for line in running.said)


def test_a_strong_master_key_opens_the_gateway_and_is_never_printed(start: Start, free_port: int) -> None:
    running = serve(start, free_port, LITELLM_MASTER_KEY=STRONG)
    assert any("every other address" in line for line in running.said)
    assert STRONG not in "".join(running.said)
    assert ask(free_port)["master_key"] == STRONG


def test_an_app_that_does_not_come_up_ends_with_code_1_and_announces_nothing(start: Start, free_port: int) -> None:
    running = start("--model", "gpt-4o", "--port", str(free_port), FAKE_FAILS="1")
    assert running.ends() == 1
    said = "\n".join(running.rest())
    assert "told to fail" in said
    assert "Serving" not in said


def test_sighup_puts_the_file_in_force_and_a_bad_file_changes_nothing(
    start: Start, free_port: int, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    entry = "model_list:\n  - model_name: {}\n    litellm_params: {{model: openai/gpt-4o}}\n"
    path.write_text(entry.format("old"))
    running = start("--config", str(path), "--port", str(free_port))
    running.wait_for("curl ")
    path.write_text("model_lst: []\n")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("was not reloaded")
    assert ask(free_port)["models"] == ["old"]
    path.write_text(entry.format("new"))
    running.process.send_signal(signal.SIGHUP)
    until(lambda: ask(free_port)["models"] == ["new"])
    assert ask(free_port)["master_key"] == "sk-made-by-the-fake-7f3a9c"


def test_skip_server_startup_opens_the_data_once_and_binds_no_port(
    start: Start, free_port: int, tmp_path: Path
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        running = start("--port", str(free_port), "--skip_server_startup")
        assert running.ends() == 0
    assert running.rest() == ["tollway.db is up to date"]
    assert (tmp_path / "opened").exists()


def test_https_is_served_with_key_and_certificate(start: Start, free_port: int, tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    both = str(tmp_path / "both.pem")
    running = serve(start, free_port, "--ssl_keyfile_path", both, "--ssl_certfile_path", both)
    assert any(f"https://127.0.0.1:{free_port}" in line for line in running.said)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with (
        socket.create_connection(("127.0.0.1", free_port)) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert tls.recv(15) == b"HTTP/1.1 200 OK"


def test_flags_left_out_are_among_the_warnings(start: Start, free_port: int) -> None:
    running = start("--model", "gpt-4o", "--port", str(free_port), "--use_queue")
    running.wait_for("warning: --use_queue has no effect")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_of_the_parent_leaves_nothing_after_two_seconds(
    start: Start, free_port: int, environment: dict[str, str], tmp_path: Path, workers: int
) -> None:
    (tmp_path / "share/tollway/models").mkdir(parents=True)
    (tmp_path / "share/tollway/models/fake.gguf").touch()
    running = start("--model", "local/fake", "--port", str(free_port), "--num_workers", str(workers))
    running.wait_for("curl ")
    assert ask(free_port, "POST")["local"]
    family = children(running.process.pid)
    assert len(family) == (2 if workers == 1 else 4) - 1
    running.process.kill()
    running.ends()
    took_s = until(lambda: all(gone(pid) for pid in family))
    assert took_s < 2.0 * slowness()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", free_port))


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(found) for found in listed.stdout.split() if found.strip()]
