"""Claude Code, which speaks Anthropic's API, does a task of several steps on a model behind OpenAI's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .gateway import GPT_4O_USD, Gateway
from .inputs import word
from .installed import Installed
from .provider import Provider

TASK_S_MAX = 300.0


@pytest.fixture
def claude(installed: Installed) -> Path:
    """The program itself: its package's install script, which is not run, would only have moved it."""
    (program,) = (installed.packages / "node_modules" / "@anthropic-ai").glob("claude-code-linux-*/claude")
    return program


def test_claude_code_reads_writes_and_runs_on_a_model_of_another_api(
    claude: Path, installed: Installed, tollway: Gateway, provider: Provider, virtual_key: str, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "in.txt").write_text("how much is six times seven\n")
    environment = installed.environment() | {
        "HOME": str(tmp_path / "home"),
        "ANTHROPIC_BASE_URL": tollway.url,
        "ANTHROPIC_AUTH_TOKEN": virtual_key,
        "ANTHROPIC_MODEL": "gpt-4o",
        "ANTHROPIC_SMALL_FAST_MODEL": "gpt-4o",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    says = word("FILES")
    version = subprocess.run([str(claude), "--version"], env=environment, capture_output=True, text=True, check=True)
    print(version.stdout)
    done = subprocess.run(
        [
            *(str(claude), "-p", f"{says}: answer in.txt in the folder {folder} ."),
            *("--allowedTools", "Read,Write,Bash", "--output-format", "json"),
        ],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TASK_S_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads(done.stdout)
    assert told["result"] == "E2E-FILES-OK 6"
    assert told["num_turns"] == 4
    assert (folder / "out.txt").read_text() == "six times seven is 42\n"

    first, *_, last = provider.received(says, path="/v1/chat/completions")
    assert {"Read", "Write", "Bash"} <= {tool["function"]["name"] for tool in first.json["tools"]}
    assert [m["role"] for m in last.json["messages"] if m["role"] in ("assistant", "tool")] == [
        *("assistant", "tool"),
        *("assistant", "tool", "tool"),
    ]
    assert last.json["messages"][0]["role"] == "system"
    rows = tollway.wait_for_rows(virtual_key, 3)
    assert [row["call_type"] for row in rows] == ["anthropic_messages"] * 3
    assert sum(row["spend"] for row in rows) == pytest.approx(3 * GPT_4O_USD)
