"""What lean Python costs at least: a bare ASGI app on uvicorn that hands each request to the project's own HttpClient.

    python bench/plain_proxy.py PORT PROVIDER_PORT

No keys, no accounting, no translation, nothing is looked at. Loopback only.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from tollway.upstream.client import HttpClient
from tollway.upstream.wire import Deadlines, Origin, WireRequest

PORT, PROVIDER_PORT = (int(argument) for argument in sys.argv[1:])
ORIGIN = Origin("http", "127.0.0.1", PROVIDER_PORT)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-provider\r\n"
HEAD += b"content-type: application/json\r\naccept-encoding: identity\r\n"
DEADLINES = Deadlines()

client: HttpClient | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    global client
    if client is None:
        client = HttpClient()
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    reply = await client.send(WireRequest(ORIGIN, HEAD, body, streaming=b'"stream":true' in body), DEADLINES)
    headers = [(b"content-type", dict(reply.headers)[b"content-type"])]
    if reply.body is not None:
        headers.append((b"content-length", b"%d" % len(reply.body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    while piece := reply.take() or await reply.read():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, loop="uvloop", http="httptools", lifespan="off", log_level="warning")
