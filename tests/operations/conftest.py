"""The whole gateway over plain ASGI, with a provider that plays scripts and a storage in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from tollway.app import App, create_app
from tollway.config import Config, load
from tollway.ledger.record import CallRecord, decode_record
from tollway.providers.registry import parameters
from tollway.snapshot import digest_of
from tollway.storage import KeyRecord
from tollway.testing import FakeClock, FakeUpstream
from tollway.testing.storage import MemoryStorage

MASTER_KEY = "sk-master-of-these-tests"
VIRTUAL_KEY = "sk-virtual-of-these-tests"


class Exchange:
    """One call as its client sees it. `whole` is False while the answer has not come to a proper end."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.whole = False
        self.task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._piece_came = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def leave(self) -> None:
        """The client hangs up."""
        self._gone.set()

    async def first_piece(self) -> bytes:
        assert self.task is not None
        coming = asyncio.ensure_future(self._piece_came.wait())
        await asyncio.wait({coming, self.task}, return_when=asyncio.FIRST_COMPLETED)
        coming.cancel()
        return self.pieces[0]

    async def end(self) -> Exchange:
        assert self.task is not None
        await asyncio.gather(self.task, return_exceptions=True)
        return self

    def begin(self, app: App, scope: dict[str, Any], body: bytes) -> None:
        requests = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if requests:
                return requests.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
                return
            if message.get("body"):
                self.pieces.append(message["body"])
                self._piece_came.set()
            self.whole = not message.get("more_body", False)

        self.task = asyncio.get_running_loop().create_task(app(scope, receive, send))  # type: ignore[arg-type]


class Table:
    """A gateway that is open. Money is in nano-dollars."""

    def __init__(self, app: App, upstream: FakeUpstream, storage: MemoryStorage) -> None:
        self.app = app
        self.upstream = upstream
        self.storage = storage

    def begin(
        self,
        path: str,
        body: bytes,
        *,
        key: str = MASTER_KEY,
        headers: dict[str, str] | None = None,
        query: bytes = b"",
    ) -> Exchange:
        given = {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
        exchange = Exchange()
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "query_string": query,
            "client": ("127.0.0.1", 50_000),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        }
        exchange.begin(self.app, scope, body)
        return exchange

    async def post(self, path: str, body: bytes | dict[str, Any], **others: Any) -> Exchange:
        sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.begin(path, sent, **others).end()

    async def give_key(self, **fields: Any) -> str:
        """A virtual key, for example with `max_budget_nano`."""
        await self.storage.keys.create(
            KeyRecord(token=digest_of(VIRTUAL_KEY), key_name="sk-...ests", created_us=1, updated_us=1, **fields)
        )
        await self.app.keys_changed()
        return VIRTUAL_KEY

    async def records(self) -> list[CallRecord]:
        """All that was written down, oldest first."""
        await self.app.ledger.flush()
        rows, _ = await self.storage.spend.recent(100)
        return sorted((decode_record(row.detail) for row in rows), key=lambda record: record.seq)

    async def record(self) -> CallRecord:
        """The one record of the one call there was."""
        (record,) = await self.records()
        return record


OpenTable = Callable[..., Awaitable[Table]]

CONFIG = """
    model_list:
      - model_name: chat
        litellm_params: {model: openai/gpt-4o, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: vectors
        litellm_params: {model: openai/text-embedding-3-small, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: pictures
        litellm_params: {model: openai/gpt-image-1, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: pieces
        litellm_params:
          {model: openai/some-painter, api_key: sk-theirs, api_base: http://provider.test/v1,
           output_cost_per_image: "0.04"}
        model_info: {mode: image_generation}
      - model_name: azure-pieces
        litellm_params:
          {model: azure/dall-e-3, api_key: theirs, api_base: http://azure.test, api_version: "2024-10-21"}
      - model_name: voice
        litellm_params: {model: openai/tts-1, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: voice-by-token
        litellm_params: {model: openai/gpt-4o-mini-tts, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: ears
        litellm_params: {model: openai/whisper-1, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: ears-by-token
        litellm_params: {model: openai/gpt-4o-transcribe, api_key: sk-theirs, api_base: http://provider.test/v1}
      - model_name: claude
        litellm_params: {model: anthropic/claude-opus-4-6, api_key: sk-ant, api_base: http://anthropic.test}
"""


def read_config(path: Path, text: str) -> Config:
    path.write_text(text)
    return load(str(path), environ={}, provider_parameters=parameters())


@pytest.fixture
async def open_table(tmp_path: Path) -> AsyncIterator[OpenTable]:
    """Opens a gateway with this configuration; `retries` are off unless it says otherwise."""
    opened: list[Table] = []

    async def open_one(models: str = CONFIG, more: str = "") -> Table:
        text = dedent(models) + dedent(more) + f"\ngeneral_settings:\n  master_key: {MASTER_KEY}\n"
        if "router_settings" not in text:
            text += "router_settings:\n  num_retries: 0\n"
        config = await asyncio.to_thread(read_config, tmp_path / "config.yaml", text)
        clock = FakeClock()
        upstream, storage = FakeUpstream(clock), MemoryStorage()
        app = create_app(
            config,
            upstream=upstream,
            storage=storage,
            monotonic=clock.monotonic,
            wall=clock.now,
        )
        await app.open()
        opened.append(Table(app, upstream, storage))
        return opened[-1]

    yield open_one
    for table in opened:
        await table.app.close()


@pytest.fixture
async def table(open_table: OpenTable) -> Table:
    return await open_table()
