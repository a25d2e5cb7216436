"""What stands around real gateways in the proofs about money: a provider that streams, clients that count, processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tollway.storage import open_storage
from tollway.storage.record import CallRecord, decode_record

MASTER = "sk-Zr4vQ9mT2xLw7cKd"
MODEL = "small"
#: Nano-dollars: a dollar for a million tokens in, four for a million out.
NANO_IN, NANO_OUT = 1_000, 4_000
#: What the provider counts of every prompt.
PROMPT_TOKENS = 20
START_S_MAX = 120.0
STOP_S_MAX = 120.0
CALL_S_MAX = 600.0
#: Environment variables of the person who runs the tests, which the command would take for theirs.
_FOREIGN = ("LITELLM_", "TOLLWAY_", "HOST", "PORT", "NUM_WORKERS", "DEBUG", "DETAILED_DEBUG", "CONFIG_FILE_PATH", "UV")


def cost_of(tokens: int) -> int:
    return PROMPT_TOKENS * NANO_IN + tokens * NANO_OUT


# --- the provider ----------------------------------------------------------------------------------------------------


class Provider:
    """An OpenAI-compatible provider on loopback, in the loop of whoever enters it with `async with`.

    `tokens` says how many tokens an answer has, of how many were allowed. An answer takes `answer_s`; a stream is told in
    `PIECES` pieces. `began` and `ended` are when each call reached and left it, by the call's name (`user`).
    """

    PIECES = 4

    def __init__(self, tokens: Callable[[int, Random], int], *, answer_s: float, seed: int) -> None:
        self.tokens = tokens
        self.answer_s = answer_s
        self.random = Random(seed)
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.used: dict[str, int] = {}  # tokens out
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Provider:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Serving(self), "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0.05)


class _Serving(asyncio.Protocol):
    """One connection of a gateway to the provider."""

    transport: asyncio.Transport

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._came = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio gives TCP both ways

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, rest = self._came.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self._came = rest[length:]
        asked = json.loads(rest[:length])
        provider, name = self._provider, asked["user"]
        tokens = provider.used[name] = provider.tokens(asked["max_tokens"], provider.random)
        provider.began[name] = time.monotonic()
        if asked.get("stream"):
            events = self._events(name, tokens)
            pause_s = provider.answer_s / len(events)
            for place, event in enumerate(events, 1):
                self._loop.call_later(pause_s * place, self._say, name, event, place == len(events))
        else:
            self._loop.call_later(provider.answer_s, self._say, name, self._whole(name, tokens), True)

    def _say(self, name: str, data: bytes, last: bool) -> None:
        if last:
            self._provider.ended[name] = time.monotonic()
        if not self.transport.is_closing():
            self.transport.write(data)

    def _events(self, name: str, tokens: int) -> list[bytes]:
        about = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}
        text = "word " * (tokens // Provider.PIECES)
        chunks: list[dict[str, Any]] = [
            {**about, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        ] * Provider.PIECES
        chunks.append({**about, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append({**about, "choices": [], "usage": _usage(tokens)})
        datas = [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks]
        first = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        pieces = [_chunk(data) for data in datas[: Provider.PIECES]]
        pieces[0] = first + pieces[0]
        return [*pieces, _chunk(b"".join(datas[Provider.PIECES :]) + b"data: [DONE]\n\n") + b"0\r\n\r\n"]

    def _whole(self, name: str, tokens: int) -> bytes:
        message = {"role": "assistant", "content": "word " * tokens}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        about = {"id": f"chatcmpl-{name}", "object": "chat.completion", "created": 1, "model": "theirs"}
        body = json.dumps({**about, "choices": choices, "usage": _usage(tokens)}).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- clients ---------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a client got. `status` 0: the connection broke before its end."""

    name: str
    status: int
    call_id: str
    asked_at: float
    ended_at: float
    body: bytes

    @property
    def seconds(self) -> float:
        return self.ended_at - self.asked_at


class Client(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\n" % key.encode()
        )
        self._transport: asyncio.Transport | None = None
        self._came = b""
        self._waiting: asyncio.Future[bytes] | None = None

    @staticmethod
    def body(name: str, *, max_tokens: int, stream: bool) -> bytes:
        fields = {"model": MODEL, "max_tokens": max_tokens, "user": name, "stream": stream}
        return json.dumps({**fields, "messages": [{"role": "user", "content": "Say something, please."}]}).encode()

    async def ask(self, name: str, *, max_tokens: int, stream: bool) -> Answer:
        body = self.body(name, max_tokens=max_tokens, stream=stream)
        loop = asyncio.get_running_loop()
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(CALL_S_MAX):
                if self._transport is None:
                    await loop.create_connection(lambda: self, "127.0.0.1", self._port)
                assert self._transport is not None
                self._waiting, self._came = loop.create_future(), b""
                self._transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body))
                answer = await self._waiting
        except OSError:
            self.close()
            return Answer(name, 0, "", asked_at, time.monotonic(), b"")
        head, _, content = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        call_id = head.lower().partition(b"x-litellm-call-id: ")[2].split(b"\r\n", 1)[0].decode()
        return Answer(name, status, call_id, asked_at, time.monotonic(), content)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio gives TCP both ways

    def data_received(self, data: bytes) -> None:
        self._came += data
        waiting = self._waiting
        if waiting is not None and not waiting.done() and _is_whole(self._came):
            waiting.set_result(self._came)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the gateway hung up"))


def _is_whole(came: bytes) -> bool:
    head, found, body = came.partition(b"\r\n\r\n")
    if not found:
        return False
    length = head.lower().partition(b"content-length: ")[2]
    if length:
        return len(body) >= int(length.split(b"\r\n", 1)[0])
    return body.endswith(b"\r\n0\r\n\r\n")


# --- gateways --------------------------------------------------------------------------------------------------------


class Gateway:
    """A `tollway` process on a port of its own, with all its workers. Owns it from `start` to `stop`."""

    def __init__(
        self, folder: Path, provider_port: int, *, workers: int = 1, database_url: str = "", settings: str = ""
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = _free_port()
        self.database: str | Path = database_url or folder / "tollway.db"
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "config.yaml").write_text(f"""
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_key: sk-of-the-provider
      api_base: http://127.0.0.1:{provider_port}/v1
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.000004
router_settings: {{num_retries: 0}}
general_settings:
  master_key: {MASTER}
  {f"database_url: {database_url}" if database_url else ""}
{settings}
""")

    def start(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        with (self.folder / "log").open("ab") as log:
            said_before = log.tell()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from tollway.cli.main import run; run()",
                    *("--config", "config.yaml", "--host", "127.0.0.1", "--port", str(self.port)),
                    *("--num_workers", str(self._workers)),
                ],
                env=kept | {"TOLLWAY_DATA_DIR": str(self.folder), "XDG_DATA_HOME": str(self.folder / "share")},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        ends_at = time.monotonic() + START_S_MAX
        while b"curl " not in (self.folder / "log").read_bytes()[said_before:]:
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < ends_at, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def workers(self) -> list[int]:
        """The workers' process ids."""
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """As an administrator stops it; returns its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {STOP_S_MAX} s: {self.said()}") from None

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=60)

    def manage(self, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        """An answer of the management API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if fields is None else json.dumps(fields).encode(),
            {"authorization": f"Bearer {MASTER}", "content-type": "application/json"},
        )
        try:
            with contextlib.closing(urllib.request.urlopen(request, timeout=60)) as answer:
                body: dict[str, Any] = json.loads(answer.read())
                return body
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read()!r}\n{self.said()[-4_000:]}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stored(NamedTuple):
    """What a storage holds in the end."""

    records: list[CallRecord]
    spent: dict[tuple[str, str], int]  # of everybody, by scope and id
    leases: int  # workers that have some

    def of(self, name: str) -> CallRecord:
        (found,) = [record for record in self.records if record.end_user == name]
        return found


async def read_storage(where: str | Path) -> Stored:
    storage = await open_storage(where)
    try:
        records: list[CallRecord] = []
        before: tuple[int, int] | None = None
        from tollway.storage import KEY_SCOPE, SpendFilter

        while rows := await storage.spend.page(SpendFilter(), limit=5_000, before=before):
            records += [decode_record(row.detail) for row in rows]
            before = rows[-1].started_us, rows[-1].id
        spent = {(one.scope, one.id): one.spend_nano for one in await storage.spend.all_spent()}
        spent |= {(KEY_SCOPE, key.token.hex()): key.spend_nano for key in await storage.keys.load_all()}
        return Stored(records, spent, len(await storage.leases.holders()))
    finally:
        await storage.close()


def quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
