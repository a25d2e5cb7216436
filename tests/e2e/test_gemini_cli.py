"""Google's Gemini CLI does a task of several steps through Tollway, before models that know nothing of Gemini's API."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .gateway import CLAUDE_USD, GPT_4O_USD, Gateway
from .installed import Installed

TASK_S_MAX = 300.0
TASK = "Read in.txt in this folder and write out.txt with the answer to the question in it."
QUESTION = "What is six times seven?"
#: What each answer of the provider says it used: that of the prices in `gateway`.
INPUT_TOKENS, OUTPUT_TOKENS = 1200, 34
SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "general": {"enableAutoUpdate": False},
}


def step(results: list[str], folder: Path) -> tuple[str, tuple[str, dict[str, str]] | None]:
    """What the model says after so many tool results, and the tool it calls."""
    if not results:
        return "Let me look.", ("read_file", {"file_path": str(folder / "in.txt")})
    if len(results) == 1:
        asked = re.search(r"six times seven", results[0])
        answer = "The answer is 42.\n" if asked else f"No question in: {results[0]}"
        return "", ("write_file", {"file_path": str(folder / "out.txt"), "content": answer})
    return "E2E-GEMINI-OK out.txt is written.", None


class ModelServer(BaseHTTPRequestHandler):
    """Anthropic's messages and OpenAI's chat, streamed and whole, by the one script above."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.path, body))  # type: ignore[attr-defined]
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        said, call = step(results_in(body), folder) if body.get("tools") else ("fine", None)
        written = anthropic(said, call) if self.path.endswith("/messages") else openai(said, call)
        answer = b"".join(written)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def results_in(body: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            found.append(str(message["content"]))
        elif isinstance(message["content"], list):
            found += [str(block["content"]) for block in message["content"] if block["type"] == "tool_result"]
    return found


def anthropic(said: str, call: tuple[str, dict[str, str]] | None) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": 1}
    message = {
        "id": "msg_e2e",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "usage": usage,
    }
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
    yield event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "I should look."})
    yield event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2lnbmVk"})
    yield event("content_block_stop", index=0)
    if said:
        yield event("content_block_start", index=1, content_block={"type": "text", "text": ""})
        yield event("content_block_delta", index=1, delta={"type": "text_delta", "text": said})
        yield event("content_block_stop", index=1)
    if call is not None:
        name, arguments = call
        block = {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}}
        yield event("content_block_start", index=2, content_block=block)
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        yield event("content_block_delta", index=2, delta=delta)
        yield event("content_block_stop", index=2)
    stop = "tool_use" if call is not None else "end_turn"
    yield event("message_delta", delta={"stop_reason": stop}, usage={"output_tokens": OUTPUT_TOKENS})
    yield event("message_stop")


def openai(said: str, call: tuple[str, dict[str, str]] | None) -> Iterator[bytes]:
    def chunk(choices: list[Any], **more: Any) -> bytes:
        fields = {"id": "c-e2e", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": choices}
        return f"data: {json.dumps({**fields, **more})}\n\n".encode()

    def delta(**fields: Any) -> bytes:
        return chunk([{"index": 0, "delta": fields, "finish_reason": None}])

    yield delta(role="assistant", content=said)
    if call is not None:
        name, arguments = call
        function = {"name": name, "arguments": json.dumps(arguments)}
        yield delta(tool_calls=[{"index": 0, "id": f"call_{name}", "type": "function", "function": function}])
    reason = "tool_calls" if call is not None else "stop"
    yield chunk([{"index": 0, "delta": {}, "finish_reason": reason}])
    total = INPUT_TOKENS + OUTPUT_TOKENS
    yield chunk([], usage={"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": total})
    yield b"data: [DONE]\n\n"


@pytest.fixture
def model_server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    server.seen, server.folder = [], tmp_path / "work"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def gateway(model_server: ThreadingHTTPServer, tmp_path: Path) -> Iterator[Gateway]:
    url = f"http://127.0.0.1:{model_server.server_address[1]}"
    claude = {"model": "anthropic/claude-opus-4-6", "api_key": "sk-provider", "api_base": url}
    gpt = {"model": "openai/gpt-4o", "api_key": "sk-provider", "api_base": f"{url}/v1"}
    models = [{"model_name": "claude", "litellm_params": claude}, {"model_name": "gpt", "litellm_params": gpt}]
    gateway = Gateway({"model_list": models}, tmp_path / "tollway")
    yield gateway
    gateway.stop()


def run(installed: Installed, home: Path, folder: Path, url: str, key: str, model: str) -> str:
    settings = home / ".gemini" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(SETTINGS))
    command = installed.packages / "node_modules" / "@google" / "gemini-cli" / "bundle" / "gemini.js"
    done = subprocess.run(
        [str(installed.node), str(command), "--prompt", TASK, "--model", model, "--yolo"],
        env=installed.environment()
        | {
            "HOME": str(home),
            "GEMINI_API_KEY": key,
            "GOOGLE_GEMINI_BASE_URL": url,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "NO_COLOR": "1",
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TASK_S_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(("model", "usd"), [("claude", CLAUDE_USD), ("gpt", GPT_4O_USD)])
def test_gemini_cli_reads_a_file_and_writes_one(
    installed: Installed, gateway: Gateway, model_server: Any, tmp_path: Path, model: str, usd: float
) -> None:
    manifest = installed.packages / "node_modules" / "@google" / "gemini-cli" / "package.json"
    print(f"Gemini CLI {json.loads(manifest.read_text())['version']}")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "in.txt").write_text(f"{QUESTION}\n")
    key = gateway.new_key("gemini cli")

    said = run(installed, tmp_path / "home", folder, gateway.url, key, model)

    assert "E2E-GEMINI-OK" in said
    assert (folder / "out.txt").read_text() == "The answer is 42.\n"
    asked = [body for _, body in model_server.seen if body.get("tools")]
    assert len(asked) == 3
    assert {path for path, _ in model_server.seen} == {"/v1/messages" if model == "claude" else "/v1/chat/completions"}
    assert QUESTION in results_in(asked[-1])[0]
    if model == "claude":  # its thought comes back to it, signed as it was, though the CLI keeps none
        turn = next(message for message in asked[-1]["messages"] if message["role"] == "assistant")
        thought = {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmVk"}
        assert thought in turn["content"]
    rows = gateway.wait_for_rows(key, 3)
    assert {row["call_type"] for row in rows} == {"agenerate_content_stream"}
    assert sum(row["spend"] for row in rows) == pytest.approx(usd * len(rows))
