from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "bench.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="measures by /proc"),
]


def test_a_short_round_prints_ratios_and_finds_every_call_in_the_spend_log(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [sys.executable, str(BENCH), "--rounds", "1", "--seconds", "0.2", "--targets", "tollway,uvicorn"]
    done = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "of uvicorn" in done.stdout
    assert "all accounted for" in done.stdout
    result = json.loads(file.read_text())
    told = result["about"]["tollway"]
    assert told["answered"] == told["stored"] > 0
    assert told["spend"] == pytest.approx(told["spend_expected"])
    assert told["memory_mb"] > 1
    measured = {(row["target"], row["scenario"]) for row in result["rows"]}
    both = {(name, case) for name in ("tollway", "uvicorn") for case in ("sat", "big", "stream", "c1")}
    assert measured == both | {("tollway", "across"), ("tollway", "across-stream")}
    assert all(row["bad"] == 0 and row["calls"] > 0 and row["cpu_us"] > 0 for row in result["rows"])


def test_each_api_in_front_of_another_is_measured() -> None:
    asked = ["--rounds", "1", "--seconds", "0.2", "--clients", "gemini,responses", "--providers", "messages,bedrock"]
    command = [sys.executable, str(BENCH.with_name("pairs.py")), *asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[-2:] == ["messages", "bedrock"]
    assert [row[0] for row in rows] == ["gemini", "responses"]
    assert all(float(cost) > 50 for row in rows for cost in row[1:])  # 67 KB cannot cost less


def test_an_unknown_target_is_named_and_nothing_is_started() -> None:
    command = [sys.executable, str(BENCH), "--targets", "tollway,apache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "apache" in done.stderr
