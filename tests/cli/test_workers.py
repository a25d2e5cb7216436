"""Several workers behind one socket: one gateway to the outside."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import HANGS_S, Running, Start, ask, gone, until

pytestmark = pytest.mark.slow


@pytest.fixture
def two(start: Start, free_port: int, tmp_path: Path) -> Running:
    (tmp_path / "config.yaml").write_text(
        "model_list:\n  - model_name: old\n    litellm_params: {model: openai/gpt-4o}\n"
    )
    running = start("--config", "config.yaml", "--port", str(free_port), "--num_workers", "2")
    running.wait_for("curl ")
    return running


def workers(port: int, s_max: float = HANGS_S) -> dict[int, int]:
    """pid by index of the two workers, asked until both have answered: a busy machine may let one of them run alone."""
    found: dict[int, int] = {}
    deadline = time.monotonic() + s_max
    while len(found) < 2:
        about = ask(port)
        found[about["index"]] = about["pid"]
        assert time.monotonic() < deadline, f"only {found} answered within {s_max} s"
    return found


def test_both_serve_on_one_port_know_their_place_and_share_the_made_key(two: Running, free_port: int) -> None:
    found = workers(free_port)
    assert set(found) == {0, 1}
    assert two.process.pid not in found.values()
    about = ask(free_port)
    assert (about["count"], about["master_key"]) == (2, "sk-made-by-the-fake-7f3a9c")
    assert sum("Serving" in line for line in two.said) == 1


def test_a_worker_that_dies_is_started_again(two: Running, free_port: int) -> None:
    before = workers(free_port)
    os.kill(before[1], signal.SIGKILL)
    two.wait_for("worker 1 was ended by signal 9; starting it again")
    until(lambda: workers_or_none(free_port, before[1]))
    assert workers(free_port)[0] == before[0]


def test_what_a_dead_worker_left_is_taken_over_at_once_and_before_the_first_start(
    two: Running, free_port: int, tmp_path: Path
) -> None:
    assert (tmp_path / "taken-over").read_text() == "."
    os.kill(workers(free_port)[1], signal.SIGKILL)
    until(lambda: len((tmp_path / "taken-over").read_text()) == 2)


def workers_or_none(port: int, dead: int) -> bool:
    try:
        found = workers(port, 1.0)
    except (AssertionError, OSError):
        return False
    return dead not in found.values()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_all_of_them_with_code_0(two: Running, free_port: int, number: signal.Signals) -> None:
    found = workers(free_port)
    two.process.send_signal(number)
    assert two.ends() == 0
    assert all(gone(pid) for pid in found.values())


def test_sighup_reaches_every_worker(two: Running, free_port: int, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("old", "new"))
    two.process.send_signal(signal.SIGHUP)

    def both_have_it() -> bool:
        seen = [ask(free_port) for _ in range(20)]
        return all(about["models"] == ["new"] and about["reloads"] == 1 for about in seen)

    until(both_have_it)


def test_workers_that_cannot_come_up_end_the_gateway_with_code_1(start: Start, free_port: int) -> None:
    running = start("--model", "gpt-4o", "--port", str(free_port), "--num_workers", "2", FAKE_FAILS="1")
    assert running.ends() == 1
    said = running.rest()
    assert sum("giving up" in line for line in said) == 1
    assert not any("Serving" in line for line in said)


def test_a_worker_is_replaced_after_so_many_requests_without_counting_as_dead(start: Start, free_port: int) -> None:
    running = start("--model", "gpt-4o", "--port", str(free_port), "--max_requests_before_restart", "2")
    running.wait_for("curl ")
    pids: set[int] = set()

    def seven_generations() -> bool:
        pids.add(ask(free_port)["pid"])
        return len(pids) >= 7

    until(seven_generations)
    assert not any("starting it again" in line for line in running.said)


def test_workers_that_cannot_come_up_again_do_not_end_those_that_serve(
    two: Running, free_port: int, tmp_path: Path
) -> None:
    before = workers(free_port)
    (tmp_path / "fails-to-start").touch()
    os.kill(before[1], signal.SIGKILL)
    for tries in range(6):
        two.wait_for("worker 1 did not come up" if tries else "worker 1 was ended by signal 9")
        assert ask(free_port)["pid"] == before[0]
    assert two.process.poll() is None
    assert not any("giving up" in line for line in two.said)
    (tmp_path / "fails-to-start").unlink()
    until(lambda: workers_or_none(free_port, before[1]))


def test_what_the_last_dead_worker_left_is_taken_over_before_the_end(
    two: Running, free_port: int, tmp_path: Path
) -> None:
    workers(free_port)
    two.process.send_signal(signal.SIGTERM)
    assert two.ends() == 0
    assert (tmp_path / "taken-over").read_text() == ".."
