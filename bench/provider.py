"""A provider of OpenAI's kind that costs next to nothing: one JSON answer, and one stream of 101 events with usage.

    python bench/provider.py        prints the port it listens on, on 127.0.0.1

A request with `"stream":true` in it gets the events, one per turn of the loop; every other one gets the JSON answer, in the API
that its path belongs to.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import uvloop

PROMPT_TOKENS, ANSWER_TOKENS, STREAM_TOKENS = 57, 143, 98
EVENTS = 101
_ID = b'"id":"chatcmpl-bench0123456789abcdef"'
_MODEL = b'"created":1763760000,"model":"gpt-4o-mini-2024-07-18"'
_TEXT = b"The quick brown fox jumps over the lazy dog near the riverbank. " * 11
_HEAD = b"HTTP/1.1 200 OK\r\nserver: provider\r\nx-request-id: req_bench\r\ncontent-type: "


def _usage(output: int) -> bytes:
    return b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
        PROMPT_TOKENS,
        output,
        PROMPT_TOKENS + output,
    )


def _answer() -> bytes:
    body = (
        b'{%b,"object":"chat.completion",%b,"choices":[{"index":0,"message":{"role":"assistant","content":"%b",'
        b'"refusal":null},"logprobs":null,"finish_reason":"stop"}],%b,"service_tier":"default",'
        b'"system_fingerprint":"fp_bench"}'
    ) % (_ID, _MODEL, _TEXT, _usage(ANSWER_TOKENS))
    body += b" " * max(0, 1200 - len(body))
    return b"%bapplication/json\r\ncontent-length: %d\r\n\r\n%b" % (_HEAD, len(body), body)


def _chunk(choices: bytes, more: bytes = b"") -> bytes:
    event = b'data: {%b,"object":"chat.completion.chunk",%b,"choices":[%b]%b}\n\n' % (_ID, _MODEL, choices, more)
    return b"%x\r\n%b\r\n" % (len(event), event)


def _pieces() -> list[bytes]:
    """The stream: its head with the first event, the words, and the last event with what ends a stream."""
    delta = b'{"index":0,"delta":{%b},"finish_reason":%b}'
    head = _HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    first = head + _chunk(delta % (b'"role":"assistant","content":""', b"null"))
    word = _chunk(delta % (b'"content":" word"', b"null"))
    last = _chunk(delta % (b"", b'"stop"')) + _chunk(b"", b"," + _usage(STREAM_TOKENS))
    # Those two, the first and the words are the events; the mark after them carries nothing.
    return [first, *[word] * (EVENTS - 3), last + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


def _answers_elsewhere() -> dict[bytes, bytes]:
    """The same answer in other APIs, by a word in their paths."""
    text = _TEXT.decode()
    usage = {
        "input_tokens": PROMPT_TOKENS,
        "output_tokens": ANSWER_TOKENS,
        "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
    }
    item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant"}
    counted = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": ANSWER_TOKENS}
    bodies: dict[bytes, Any] = {
        b"/messages": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": text}], "usage": usage,
        },
        b"/responses": {
            "id": "resp_1", "object": "response", "created_at": 1763760000, "status": "completed", "model": "gpt", "error": None,
            "output": [{**item, "content": [{"type": "output_text", "annotations": [], "text": text}]}], "usage": usage,
        },
        b":generateContent": {
            "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {**counted, "totalTokenCount": PROMPT_TOKENS + ANSWER_TOKENS}, "responseId": "r",
        },
        b"/converse": {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": PROMPT_TOKENS, "outputTokens": ANSWER_TOKENS}, "metrics": {"latencyMs": 1},
        },
    }  # fmt: skip
    answers: dict[bytes, bytes] = {}
    for word, body in bodies.items():
        data = json.dumps(body).encode()
        answers[word] = b"%bapplication/json\r\ncontent-length: %d\r\n\r\n%b" % (_HEAD, len(data), data)
    return answers


ANSWER, PIECES = _answer(), _pieces()
ELSEWHERE = _answers_elsewhere()


class Provider(asyncio.Protocol):
    """Answers a request when it has read it whole. Clients that send the next before their answer are not expected."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.held: list[bytes] = []
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        if not self.held:
            head, end, body = data.partition(b"\r\n\r\n")
            if not end:
                raise RuntimeError("the head of a request came in parts: this provider cannot read that")
            line = head.partition(b"\r\n")[0]
            self.answer = next((answer for word, answer in ELSEWHERE.items() if word in line), ANSWER)
            self.missing = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) - len(body)
        else:
            self.missing -= len(data)
        self.held.append(data)
        if self.missing <= 0:
            streaming = any(b'"stream":true' in part for part in self.held)
            self.held.clear()
            if streaming:
                self.send(0)
            else:
                self.transport.write(self.answer)

    def send(self, piece: int) -> None:
        """One piece now, the next in the loop's next turn: each leaves in a packet of its own."""
        self.transport.write(PIECES[piece])
        if piece + 1 < len(PIECES):
            self.loop.call_soon(self.send, piece + 1)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
