"""A provider that says what it was told to: OpenAI's chat, whole and streamed, in a thread of the tests' own."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INPUT_TOKENS = 1200
OUTPUT_TOKENS = 34
#: A page that shows this as anything but text runs it.
ATTACK = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'


class Scripted:
    """`hold` set: a stream waits in its middle until `go`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.hold = False
        self.go = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.go.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                scripted.received.append(body)
                if "fail" in body["model"]:
                    self._answer(400, "application/json", json.dumps({"error": {"message": f"No: {ATTACK}"}}).encode())
                elif "busy" in body["model"]:
                    self._answer(
                        429, "application/json", json.dumps({"error": {"message": "Too many at once."}}).encode()
                    )
                elif body.get("stream"):
                    self._stream(body)
                else:
                    self._answer(200, "application/json", json.dumps(whole(body)).encode())

            def _stream(self, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for place, event in enumerate(streamed(body)):
                    if place == 2 and scripted.hold:
                        scripted.go.wait(20)
                    self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
                self._chunk(b"data: [DONE]\n\n")
                self._chunk(b"")

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler


def said(body: dict[str, Any]) -> str:
    """What the provider says to a request: its last message, so that tests know it again."""
    content = body["messages"][-1]["content"]
    heard = content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")
    return f"You said: {heard}"


def usage() -> dict[str, int]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }


def whole(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said(body), "reasoning_content": "Let me think."}
    if body.get("tools"):
        call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Paris"}'}
        message["tool_calls"] = [{"id": "call-1", "type": "function", "function": call}]
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage()}


def streamed(body: dict[str, Any]) -> list[dict[str, Any]]:
    def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    words = said(body)
    middle = len(words) // 2
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "reasoning_content": "Let me think."},
        {"content": words[:middle]},
        {"content": words[middle:]},
    ]
    if body.get("tools"):
        call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Paris"}'}
        deltas.append({"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": call}]})
    return [*map(event, deltas), event({}, "stop"), {**event({}), "choices": [], "usage": usage()}]
