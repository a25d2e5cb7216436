"""A whole gateway without sockets: every room of it, in front of a scripted provider, on a clock that stands still.

async with SmallGateway(tmp_path) as gateway:
    key = await gateway.make_key(max_budget_nano=10_000_000)
    gateway.upstream.reply_to(None, chat_reply("Hello", output_tokens=250))
    answer = await gateway.ask(key=key, max_tokens=250)
    assert answer.status == 200
    assert (await gateway.records())[0].cost.total == 1_000_000
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from msgspec.structs import replace

from tollway.app import App, create_app
from tollway.calls import Secret
from tollway.config.settings import AccessSettings, Config, ModelEntry, StorageSettings
from tollway.ledger.budgets import Account
from tollway.ledger.record import CallRecord, decode_record
from tollway.storage import KEY_SCOPE, KeyRecord, Storage
from tollway.storage.shares import Lessor
from tollway.testing.clock import FakeClock
from tollway.testing.storage import MemoryStorage
from tollway.testing.upstream import FakeReply, FakeUpstream, Part

MASTER_KEY = "sk-master-of-the-small-gateway"
PROVIDER_KEY = "sk-of-the-provider"
MODEL = "small"
CHAT_PATH = "/v1/chat/completions"
#: An answer of 250 tokens costs a tenth of a cent; what goes in is free.
OUTPUT_COST_PER_TOKEN = "0.000004"  # noqa: S105  # a price, no password
OUTPUT_NANO_PER_TOKEN = 4_000


def model_entry(name: str = MODEL, *, host: str = "provider.example", **changes: Any) -> ModelEntry:
    """A deployment of an OpenAI-compatible provider at `host`."""
    entry = ModelEntry(
        model_name=name,
        provider_model="openai/" + name,
        api_key=Secret(PROVIDER_KEY),
        api_base=f"http://{host}/v1",
        prices={"input_cost_per_token": "0", "output_cost_per_token": OUTPUT_COST_PER_TOKEN},
        place=f"{name} at {host}",
    )
    return replace(entry, **changes)


def chat_reply(text: str = "Hello", *, output_tokens: int = 250, id: str = "chatcmpl-1", **more: Any) -> FakeReply:
    """A whole answer of OpenAI's chat API. `more` goes to `FakeReply.json`."""
    return FakeReply.json(
        {
            "id": id,
            "object": "chat.completion",
            "created": 1,
            "model": "theirs",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": output_tokens,
                "total_tokens": 10 + output_tokens,
            },
        },
        **more,
    )


def chat_event(text: str | None = None, *, finish: str | None = None, output_tokens: int | None = None) -> bytes:
    """One event of a stream of OpenAI's chat API."""
    chunk: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}
    delta = {} if text is None else {"content": text}
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    if output_tokens is not None:
        chunk["choices"] = [] if text is None and finish is None else chunk["choices"]
        chunk["usage"] = {
            "prompt_tokens": 10,
            "completion_tokens": output_tokens,
            "total_tokens": 10 + output_tokens,
        }
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def chat_stream(*texts: str, output_tokens: int = 250, before_end: Iterable[Part] = ()) -> FakeReply:
    """A whole stream: its texts, `before_end`, the finishing chunk, usage, the end mark."""
    return FakeReply.stream(
        *(chat_event(text) for text in texts),
        *before_end,
        chat_event(finish="stop"),
        chat_event(output_tokens=output_tokens),
        DONE,
    )


class Answer:
    """What a client got. `pieces` are body messages as they came; `whole` says that the answer has its end."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.whole = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def events(self) -> list[Any]:
        """The data of each event of a stream, decoded but for `[DONE]`."""
        datas = [event.removeprefix(b"data: ") for event in self.body.split(b"\n\n") if event.startswith(b"data: ")]
        return [data.decode() if data == b"[DONE]" else msgspec.json.decode(data) for data in datas]

    @property
    def text(self) -> str:
        """The words of a streamed chat."""
        choices = [choice for event in self.events() if isinstance(event, dict) for choice in event.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


class Exchange:
    """One request over plain ASGI, running. `on_message` sees each ASGI message before the client has it."""

    def __init__(
        self, app: Any, scope: dict[str, Any], body: Sequence[bytes], on_message: Callable[[dict[str, Any]], object]
    ) -> None:
        self.answer = Answer()
        self._body = list(body)
        self._on_message = on_message
        self._gone = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(app(scope, self._receive, self._send))

    async def done(self) -> Answer:
        await self._task
        return self.answer

    async def hang_up(self) -> Answer:
        """Leaves, and waits until the gateway has taken notice."""
        self._gone.set()
        return await self.done()

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(0), "more_body": bool(self._body)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self._on_message(message)
        answer = self.answer
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            return
        if self._gone.is_set():
            return
        answer.pieces.append(message.get("body", b""))
        answer.whole = not message.get("more_body", False)


class SmallGateway:
    """See the top of this file. `app` is the gateway itself; everything else is what stands around it."""

    def __init__(
        self,
        directory: Path,
        models: Sequence[ModelEntry] = (),
        *,
        config: Config | None = None,
        storage: Storage | None = None,
        upstream: FakeUpstream | None = None,
        clock: FakeClock | None = None,
        lessor: Lessor | None = None,
    ) -> None:
        config = config or Config()
        self.directory = directory
        self._lessor = lessor
        self.clock = clock or FakeClock()
        self.storage: Storage = storage or MemoryStorage()
        self.upstream = upstream or FakeUpstream(self.clock)
        access = config.access if config.access.master_key else AccessSettings(master_key=Secret(MASTER_KEY))
        self.config = replace(
            config,
            models=tuple(models) or config.models or (model_entry(),),
            access=access,
            storage=StorageSettings(data_dir=str(directory), journal_fsync="never"),
            config_path=config.config_path or str(directory / "config.yaml"),
        )
        self.app: App

    async def __aenter__(self) -> SmallGateway:
        self.app = create_app(
            self.config,
            upstream=self.upstream,
            storage=self.storage,
            lessor=self._lessor,
            monotonic=self.clock.monotonic,
            wall=self.clock.now,
        )
        await self.app.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.app.close()

    async def make_key(self, text: str = "sk-a-key-of-the-small-gateway", **fields: Any) -> str:
        """A virtual key, in force at once. `fields` are those of `KeyRecord`."""
        record = KeyRecord(token=sha256(text.encode()).digest(), key_name="sk-..." + text[-4:], **fields)
        await self.storage.keys.create(record)
        await self.app.keys_changed()
        return text

    def account(self, key: str) -> Account:
        return self.app.ledger.accounts[KEY_SCOPE, sha256(key.encode()).hexdigest()]

    def pace(self, key: str) -> Any:
        caller = self.app.snapshots.current.keys[sha256(key.encode()).digest()]
        assert caller.key is not None  # for the type checker
        return caller.key.pace

    def begin(
        self,
        *,
        key: str | None = MASTER_KEY,
        path: str = CHAT_PATH,
        method: str = "POST",
        headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] = (),
        body: bytes | Sequence[bytes] | None = None,
        client: tuple[str, int] | None = ("203.0.113.9", 50_000),
        on_message: Callable[[dict[str, Any]], object] = lambda message: None,
        query: bytes = b"",
        **fields: Any,
    ) -> Exchange:
        """Asks, and goes on while the gateway works. `fields` are those of a chat request, put over the usual ones."""
        if body is None:
            asked = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], **fields}
            body = msgspec.json.encode(asked)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        raw = [(_bytes(name).lower(), _bytes(value)) for name, value in pairs]
        if key is not None:
            raw.append((b"authorization", b"Bearer " + key.encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": raw,
            "client": client,
            "server": ("gateway.example", 80),
        }
        pieces = [body] if isinstance(body, bytes) else body
        return Exchange(self.app, scope, pieces, on_message)

    async def ask(self, **asked: Any) -> Answer:
        """As `begin`, and waits for the answer."""
        return await self.begin(**asked).done()

    async def records(self) -> list[CallRecord]:
        """What was written down, in the order of the calls."""
        await self.app.ledger.flush()
        rows, _ = await self.storage.spend.recent()
        return sorted((decode_record(row.detail) for row in rows), key=lambda record: record.seq)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")
