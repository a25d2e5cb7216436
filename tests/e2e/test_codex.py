"""Codex, which speaks OpenAI's Responses, does a task of several steps on a model of Anthropic's: by HTTP and by WebSocket.

Its own sandbox is switched off: the folder is a temporary one, and what it runs is what the scripted provider says.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .conftest import shown
from .gateway import Gateway
from .installed import Installed, install_codex

TASK_S_MAX = 300.0
#: Under this name Codex offers its own tool for patches, which takes plain text by a grammar.
MODEL = "gpt-5.5"
PATCH = "*** Begin Patch\n*** Add File: out.txt\n+six times seven is 42\n*** End Patch\n"
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("exec_command", {"cmd": "cat in.txt"}),
    ("apply_patch", {"input": PATCH}),
    ("exec_command", {"cmd": "cat out.txt"}),
]
DONE = "E2E-CODEX-OK"


class Anthropic:
    """A provider of Anthropic's API that takes one step for each result it is shown, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                provider.asked.append(asked)
                body = b"".join(
                    b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in answer(asked)
                )
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def results(asked: dict[str, Any]) -> list[str]:
    """What the tools gave so far, in order."""
    blocks = [block for said in asked["messages"] if isinstance(said["content"], list) for block in said["content"]]
    return [json.dumps(block["content"]) for block in blocks if block["type"] == "tool_result"]


def answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
    step = len(results(asked))
    usage = {"input_tokens": 1200, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": f"msg_{step}", "model": "c", "usage": usage}}
    ]
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    events.append({"type": "content_block_start", "index": 0, "content_block": thinking})
    deltas = ({"type": "thinking_delta", "thinking": "Hm."}, {"type": "signature_delta", "signature": f"sig{step}"})
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    events.append({"type": "content_block_stop", "index": 0})
    if step < len(STEPS):
        name, arguments = STEPS[step]
        block = {"type": "tool_use", "id": f"toolu_{step}", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
    else:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": DONE}
    events.append({"type": "content_block_start", "index": 1, "content_block": block})
    events.append({"type": "content_block_delta", "index": 1, "delta": delta})
    events.append({"type": "content_block_stop", "index": 1})
    stop = "tool_use" if step < len(STEPS) else "end_turn"
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 34}})
    return [*events, {"type": "message_stop"}]


@pytest.fixture
def anthropic() -> Iterator[Anthropic]:
    provider = Anthropic()
    yield provider
    provider.stop()


@pytest.fixture
def gateway(anthropic: Anthropic, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    params = {"model": "anthropic/claude-opus-4-6", "api_key": "sk-provider", "api_base": anthropic.url}
    config = {"model_list": [{"model_name": MODEL, "litellm_params": params}]}
    gateway = Gateway(config, tmp_path / "tollway")
    with shown(request.config, "tollway", gateway.child):
        yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def codex(installed: Installed, request: pytest.FixtureRequest) -> list[str]:
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    launcher = install_codex(installed, lambda line: terminal.write_line(line) if terminal else None)
    return [str(installed.node), str(launcher)]


@pytest.mark.parametrize("transport", ["http", "websocket"])
def test_codex_reads_writes_and_runs_on_a_model_of_another_api(
    codex: list[str], installed: Installed, gateway: Gateway, anthropic: Anthropic, tmp_path: Path, transport: str
) -> None:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    (home / ".codex").mkdir(parents=True)
    (folder / "in.txt").write_text("how much is six times seven\n")
    websockets = str(transport == "websocket").lower()
    (home / ".codex" / "config.toml").write_text(
        f'model = "{MODEL}"\nmodel_provider = "tollway"\n[model_providers.tollway]\nname = "Tollway"\n'
        f'base_url = "{gateway.url}/v1"\nenv_key = "TOLLWAY_KEY"\nwire_api = "responses"\nsupports_websockets = {websockets}\n'
    )
    key = gateway.new_key(f"codex by {transport}")
    environment = installed.environment() | {"HOME": str(home), "TOLLWAY_KEY": key}
    version = subprocess.run([*codex, "--version"], env=environment, capture_output=True, text=True, check=True)
    print(version.stdout)
    done = subprocess.run(
        [
            *codex,
            *("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
            *("--output-last-message", str(tmp_path / "last.txt"), "Answer in.txt in out.txt."),
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
    assert (tmp_path / "last.txt").read_text().strip() == DONE
    assert (folder / "out.txt").read_text() == "six times seven is 42\n"

    last = anthropic.asked[-1]
    told = results(last)
    assert len(told) == len(STEPS)
    assert "how much is six times seven" in told[0]
    assert "six times seven is 42" in told[2]
    assert {"exec_command", "apply_patch"} <= {tool["name"] for tool in last["tools"]}
    turns = [said["content"] for said in last["messages"] if said["role"] == "assistant"]
    assert [turn[0].get("signature") for turn in turns] == ["sig0", "sig1", "sig2"]  # thought comes back to its maker
    rows = gateway.wait_for_rows(key, lambda rows: sum(row["completion_tokens"] > 0 for row in rows) == len(STEPS) + 1)
    assert {row["call_type"] for row in rows} == {"aresponses"}
    warmed_up = [row for row in rows if row["completion_tokens"] == 0]  # what Codex does on a WebSocket alone
    assert (len(anthropic.asked), bool(warmed_up)) == (len(STEPS) + 1, transport == "websocket")
